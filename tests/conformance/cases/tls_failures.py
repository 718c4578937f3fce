"""Handshakes that fail: what the listener's log, the counters and the client learn of them."""
import ssl as pyssl

from harness import *
from harness.tls_config import cert, cfg, chain, client_ctx, crt, down, hands

OPS = ('TLS_VERSION', 'TLS_CIPHER', 'PEER_SUBJECT', 'PEER_ISSUER', 'PEER_URI_SAN', 'PEER_DNS_SAN', 'LOCAL_SUBJECT', 'LOCAL_DNS_SAN', 'LOCAL_URI_SAN', 'PEER_CERT_V_START')
LOG = ' '.join('%s=%%DOWNSTREAM_%s%%' % (o, o) for o in OPS) + ' sni=%REQUESTED_SERVER_NAME% lc=%DOWNSTREAM_LOCAL_CLOSE_REASON% f=%RESPONSE_FLAGS% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%'
COUNTS = r'^listener\.l1\.(ssl\.(handshake|connection_error|fail_.*|no_certificate|session_reused)|downstream_cx_(total|destroy|transport_socket_connect_timeout))$|^http\.in\.downstream_cx_(total|destroy|destroy_local|destroy_remote|ssl_total|ssl_active|http1_total)$'


def masked(lines):
    return [re.sub(r'20\d\d-\d\d-\d\dT[^ ]*', '<time>', l) for l in lines]


def failing(name, client, common=None, extra=None, **kw):
    @case('fails_' + name)
    async def f(t):
        c = common() if common else {'tls_certificates': [cert('a')]}
        lextra = {'access_log': [filelog(t, LOG, 'l.log')]}
        ch = chain(t, down(c, **kw))
        ch.update(extra or {})
        await t.start(cfg(t, [ch], lextra=lextra))
        t.see('client', await client(t))
        await t.stat_until('listener.l1.downstream_cx_active', lambda v: v == 0)
        t.see('stats', await t.stats(regex=COUNTS))
        t.see('log', masked(await t.logs('l.log')))


def shaking(**kw):
    async def client(t):
        h = await hands(t, client_ctx(**kw))
        # How a client learns of an end behind its own last message is up to time.
        return h.body[:12].decode('latin-1') or h.err is not None
    return client


def saying(*parts):
    async def client(t):
        c = await t.conn()
        for p in parts:
            c.w.write(p)
            await c.w.drain()
        try:
            got = await asyncio.wait_for(c.r.read(), 3)
        except asyncio.TimeoutError:
            got = b'waits'
        except ConnectionError:
            got = b'reset'
        c.close()
        return got.hex() if got[:1] == b'\x15' else got[:5].decode('latin-1')
    return client


def trusting(**kw):
    return lambda: {'tls_certificates': [cert('a')], 'validation_context': {'trusted_ca': crt('ca'), **{k: v() if callable(v) else v for k, v in kw.items()}}}


failing('not_at_all', shaking())
failing('rogue', shaking(cert_name='rogue'), trusting(), require_client_certificate=True)
failing('rogue_12', shaking(cert_name='rogue', max12=True), trusting(), require_client_certificate=True)
failing('no_certificate', shaking(), trusting(), require_client_certificate=True)
failing('no_certificate_12', shaking(max12=True), trusting(), require_client_certificate=True)
failing('other_name', shaking(cert_name='client'), trusting(match_typed_subject_alt_names=[{'san_type': 'DNS', 'matcher': {'exact': 'other.example'}}]), require_client_certificate=True)
failing('other_hash', shaking(cert_name='client'), trusting(verify_certificate_hash=['a' * 64]))
failing('other_spki', shaking(cert_name='client'), trusting(verify_certificate_spki=['NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=']))
failing('client_distrusts', shaking(ca='otherca'))
failing('client_distrusts_12', shaking(ca='otherca', max12=True))
failing('http', saying(b'GET / HTTP/1.1\r\n\r\n'))
failing('connect', saying(b'CONNECT a:1 HTTP/1.1\r\n\r\n'))
failing('post', saying(b'POST / HTTP/1.1\r\n\r\n'))
failing('put', saying(b'PUT / HTTP/1.1\r\n\r\n'))
failing('http2', saying(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'))
failing('noise', saying(b'\x05\x01\x00\x01\x02\x03'))
failing('four_bytes_and_end', saying(b'GET '))
failing('alert', saying(b'\x15\x03\x01\x00\x02\x02\x28'))
failing('data_record', saying(b'\x17\x03\x03\x00\x05hello'))
failing('other_record_version', saying(b'\x16\x05\x01\x00\x05hello'))
failing('empty_record', saying(b'\x16\x03\x01\x00\x00'))
failing('other_message', saying(b'\x16\x03\x01\x00\x04\x02\x00\x00\x00'))
failing('oversized_record', saying(b'\x16\x03\x01\xff\xff' + b'x' * 70000))
failing('too_slow', saying(b'\x16\x03\x01\x02\x00\x01'), extra={'transport_socket_connect_timeout': '0.3s'})
failing('silent_too_long', saying(b''), extra={'transport_socket_connect_timeout': '0.3s'})


def only(version):
    def ctx():
        c = client_ctx()
        c.minimum_version = c.maximum_version = version
        return c

    async def client(t):
        h = await hands(t, ctx())
        return [h.err, h.version]
    return client


def params(**kw):
    return lambda: {'tls_certificates': [cert('a')], 'tls_params': kw}


failing('version_13_wanted', only(pyssl.TLSVersion.TLSv1_2), params(tls_minimum_protocol_version='TLSv1_3'))
failing('version_12_wanted', only(pyssl.TLSVersion.TLSv1_3), params(tls_maximum_protocol_version='TLSv1_2'))


def ciphers(names, curve=None):
    async def client(t):
        c = client_ctx(max12=True)
        c.set_ciphers(names)
        if curve:
            c.set_ecdh_curve(curve)
        h = await hands(t, c)
        return [h.err, h.version, h.cipher]
    return client


failing('no_shared_cipher', ciphers('AES256-SHA'), params(cipher_suites=['ECDHE-RSA-AES128-GCM-SHA256']))
failing('no_shared_kind_of_key', ciphers('ECDHE-ECDSA-AES128-GCM-SHA256'), params(cipher_suites=['ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES128-GCM-SHA256']))
failing('no_shared_curve', ciphers('ECDHE-RSA-AES128-GCM-SHA256', 'secp521r1'), params(ecdh_curves=['X25519']))


async def resetting(t):
    c = await t.conn()
    c.w.write(b'\x16\x03\x01\x02\x00\x01')
    await c.w.drain()
    c.w.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    await t.stat_until('listener.l1.downstream_cx_active', lambda v: v == 1)
    c.w.transport.abort()
    return 'gone'


failing('reset_by_the_client', resetting)
