"""TLS contexts, listeners that have them, clients that shake hands with them."""
import asyncio
import os
import socket
import ssl as pyssl
import subprocess

from .config import Y, config, hcm, listener, merge
from .tls import certs, making

TLS_D = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'
TLS_U = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'
SECRET = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret'
INSPECT = [{'name': 'envoy.filters.listener.tls_inspector', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector'}}]


def crt(name):
    return {'filename': os.path.join(certs(), name + '.crt')}


def cert(name):
    return {'certificate_chain': crt(name), 'private_key': {'filename': os.path.join(certs(), name + '.key')}}


def inline(name):
    rd = lambda n: {'inline_string': open(os.path.join(certs(), n)).read()}
    return {'certificate_chain': rd(name + '.crt'), 'private_key': rd(name + '.key')}


def down(common=None, **kw):
    return {'name': 'tls', 'typed_config': {'@type': TLS_D, 'common_tls_context': common if common is not None else {'tls_certificates': [cert('a')]}, **kw}}


def up(common=None, **kw):
    d = {'@type': TLS_U, **kw}
    if common is not None:
        d['common_tls_context'] = common
    return {'transport_socket': {'name': 'tls', 'typed_config': d}}


def chain(t, sock=None, match=None, tag='x', extra=None, **kw):
    kw.setdefault('routes', '[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "%s"}}}]' % tag if tag else None)
    c = {'filters': [hcm(t, **kw)]}
    if sock:
        c['transport_socket'] = sock
    if match:
        c['filter_chain_match'] = Y(match)
    return merge(c, Y(extra) or {})


def cfg(t, chains, clusters=(), secrets=None, filters=None, lextra=None):
    l = listener(t, [])
    l['filter_chains'] = chains
    l['stat_prefix'] = 'l1'
    if filters is not None:
        l['listener_filters'] = filters
    merge(l, Y(lextra) or {})
    c = config(t, [l], list(clusters), {'node': {'id': 'node-1', 'cluster': 'group'}})
    if secrets:
        c['static_resources']['secrets'] = secrets
    return c


def client_ctx(alpn=None, cert_name=None, verify=True, ca='ca', max12=False):
    c = pyssl.create_default_context(cafile=os.path.join(certs(), ca + '.crt'))
    if not verify:
        c.check_hostname, c.verify_mode = False, pyssl.CERT_NONE
    if alpn:
        c.set_alpn_protocols(alpn)
    if cert_name:
        c.load_cert_chain(os.path.join(certs(), cert_name + '.crt'), os.path.join(certs(), cert_name + '.key'))
    if max12:
        c.maximum_version = pyssl.TLSVersion.TLSv1_2
    return c


def server_ctx(name='up', alpn=None, ca=None):
    c = pyssl.SSLContext(pyssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(os.path.join(certs(), name + '.crt'), os.path.join(certs(), name + '.key'))
    if alpn:
        c.set_alpn_protocols(alpn)
    if ca:
        c.load_verify_locations(os.path.join(certs(), ca + '.crt'))
        c.verify_mode = pyssl.CERT_REQUIRED
    return c


async def aside(make_many):
    """Runs what makes many certificates beside the event loop: keys take their time, and what waits meanwhile for a
    process or a socket in another case would find its own time over."""
    await asyncio.get_running_loop().run_in_executor(None, make_many)


def make(*args, **kw):
    """One more certificate, in the folder of all."""
    with making:
        _make(*args, **kw)


def _make(name, subj, san, ca='ca', extra='', days='3650', newkey='rsa:2048'):
    d = certs()
    p = lambda x: os.path.join(d, name + x)
    if os.path.exists(p('.crt')):
        return
    run = lambda *a: subprocess.run(a, check=True, cwd=d, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    open(p('.ext'), 'w').write(('subjectAltName=%s\n' % san if san else '') + (extra or 'extendedKeyUsage=serverAuth,clientAuth\n'))
    key = ('-newkey', newkey) if newkey.startswith('rsa') else ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:' + newkey)
    run('openssl', 'req', *key, '-nodes', '-keyout', p('.key'), '-out', p('.csr'), '-subj', subj)
    if days == 'expired':
        open(p('.idx'), 'w').close()
        open(p('.cnf'), 'w').write('[ca]\ndefault_ca=x\n[x]\ndatabase=%s\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nrand_serial=yes\n[p]\ncommonName=supplied\n' % p('.idx'))
        run('openssl', 'ca', '-batch', '-config', p('.cnf'), '-in', p('.csr'), '-cert', ca + '.crt', '-keyfile', ca + '.key', '-notext', '-out', p('.crt'),
            '-startdate', '20200101000000Z', '-enddate', '20210101000000Z', '-extfile', p('.ext'))
        return
    run('openssl', 'x509', '-req', '-in', p('.csr'), '-CA', ca + '.crt', '-CAkey', ca + '.key', '-CAcreateserial', '-out', p('.crt'), '-days', days, '-extfile', p('.ext'))


class Hands:
    """What a blocking handshake came to."""


async def hands(t, ctx, sni='a.example', session=None, port=None, send=b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'):
    def go():
        h = Hands()
        h.err, h.cn, h.reused, h.session, h.alpn, h.body, h.version, h.cipher = None, None, None, None, None, b'', None, None
        try:
            with socket.create_connection(('127.0.0.1', port or t.l1), timeout=5) as raw:
                with ctx.wrap_socket(raw, server_hostname=sni, session=session) as s:
                    peer = s.getpeercert()
                    h.cn = dict(x[0] for x in peer['subject'])['commonName'] if peer else None
                    h.reused, h.alpn, h.version, h.cipher = s.session_reused, s.selected_alpn_protocol(), s.version(), s.cipher()[0]
                    if send:
                        s.sendall(send)
                        while True:
                            b = s.recv(65536)
                            if not b:
                                break
                            h.body += b
                    h.session = s.session
        except (pyssl.SSLError, OSError) as e:
            h.err = type(e).__name__
        return h
    return await asyncio.get_running_loop().run_in_executor(None, go)


def sds(name, path=None, watched=None):
    d = {'name': name}
    if path:
        p = {'path': path}
        if watched:
            p['watched_directory'] = {'path': watched}
        d['sds_config'] = {'path_config_source': p, 'resource_api_version': 'V3'}
    return d
