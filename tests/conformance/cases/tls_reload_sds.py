"""Secrets that come from files and change while the proxy runs."""
import base64
import shutil
import socket
import ssl as pyssl

from harness import *

TLS_D = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'
TLS_U = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'
SECRET = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret'
NODE = {'node': {'id': 'node-1', 'cluster': 'group'}}
COUNTS = r'^(sds\..*\.(update_(attempt|success|failure|rejected)|init_fetch_timeout|key_rotation_failed)|.*\.(server|client)_ssl_socket_factory\..*)$'


def file(name):
    return {'filename': os.path.join(certs(), name)}


def pair(name):
    return {'certificate_chain': file(name + '.crt'), 'private_key': file(name + '.key')}


def text(name):
    with open(os.path.join(certs(), name)) as f:
        return f.read()


def inline(name):
    return {'certificate_chain': {'inline_string': text(name + '.crt')}, 'private_key': {'inline_string': text(name + '.key')}}


def one(value, name='one', kind='tls_certificate'):
    return {'@type': SECRET, 'name': name, kind: value}


def sds(t, name='one', path='sds.json', watched=None):
    p = {'path': t.path(path)}
    if watched:
        p['watched_directory'] = {'path': watched}
    return {'name': name, 'sds_config': {'path_config_source': p, 'resource_api_version': 'V3'}}


def response(*resources, version='v1'):
    return json.dumps({'version_info': version, 'resources': list(resources)})


def down(common, **kw):
    return {'name': 'tls', 'typed_config': {'@type': TLS_D, 'common_tls_context': common, **kw}}


def up(common, **kw):
    return {'transport_socket': {'name': 'tls', 'typed_config': {'@type': TLS_U, 'common_tls_context': common, **kw}}}


DIRECT = '[{match: {prefix: /}, direct_response: {status: 200}}]'


def tls_listener(t, common, name='l1', routes=DIRECT, log=None, **kw):
    l = listener(t, [hcm(t, routes=routes, log=log)], name=name)
    l['stat_prefix'] = name
    if common is not None:
        l['filter_chains'][0]['transport_socket'] = down(common, **kw)
    return l


async def start(t, common, clusters=(), more=(), **kw):
    await t.start(config(t, [tls_listener(t, common, **kw), *more], list(clusters), NODE))


def client(name=None, verify=False, max12=False):
    c = pyssl.create_default_context(cafile=os.path.join(certs(), 'ca.crt'))
    if not verify:
        c.check_hostname, c.verify_mode = False, pyssl.CERT_NONE
    if name:
        c.load_cert_chain(os.path.join(certs(), name + '.crt'), os.path.join(certs(), name + '.key'))
    if max12:
        c.maximum_version = pyssl.TLSVersion.TLSv1_2
    return c


def server(name='up', ca=None):
    c = pyssl.SSLContext(pyssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(os.path.join(certs(), name + '.crt'), os.path.join(certs(), name + '.key'))
    if ca:
        c.load_verify_locations(os.path.join(certs(), ca + '.crt'))
        c.verify_mode = pyssl.CERT_REQUIRED
    return c


async def shown(t, port=None):
    """The subject of the certificate that a new connection is shown."""
    def go():
        import subprocess
        try:
            der = None
            with socket.create_connection(('127.0.0.1', port or t.l1), timeout=5) as raw:
                with client().wrap_socket(raw, server_hostname='a.example') as s:
                    der = s.getpeercert(True)
        except (pyssl.SSLError, OSError):
            # A reset or an end, as it happens.
            return 'closed'
        r = subprocess.run(['openssl', 'x509', '-inform', 'DER', '-noout', '-subject', '-nameopt', 'RFC2253'], input=der, capture_output=True)
        return r.stdout.decode().strip().removeprefix('subject=')
    return await asyncio.get_running_loop().run_in_executor(None, go)


async def counted(t, key='stats'):
    t.see(key, await t.stats(regex=COUNTS))


async def moves_in(t, data, name='sds.json', secret='one'):
    """Moves a file in and waits until it was looked at."""
    stat = 'sds.%s.update_attempt' % secret
    before = (await t.stats(stat))[stat]
    t.move_in(name, data)
    await t.stat_until(stat, lambda n: n > before)


def steady(text):
    text = re.sub(r'"LS0t[^"]*"', '"<pem>"', text)
    text = re.sub(r'"(last_updated)": ?"[^"]*"', r'"\1": "<time>"', text)
    return json.loads(text)


# ---- what is counted and shown

@case()
async def sds_counts_everything(t):
    t.write('sds.json', response(one(pair('a'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('cn', await shown(t))
    t.see('names', sorted(n for n in await t.stats(regex=r'^sds\..*') if not n.endswith('version_text')))
    await counted(t)
    t.see('version', await t.stats('sds.one.version'))


@case()
async def sds_same_content_again(t):
    t.write('sds.json', response(one(pair('a'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    await moves_in(t, response(one(pair('a')), version='v2'))
    await t.stat_until('sds.one.update_success', lambda n: n >= 2)
    await counted(t)


@case()
async def sds_in_config_dump(t):
    t.write('sds.json', response(one(pair('a'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('dump', steady((await t.admin('/config_dump?resource=dynamic_active_secrets'))[1]))
    t.see('warming', steady((await t.admin('/config_dump?resource=dynamic_warming_secrets'))[1]))


@case()
async def sds_inline_key_is_redacted(t):
    t.write('sds.json', response(one(inline('a'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    dump = (await t.admin('/config_dump'))[1]
    t.see('key', 'PRIVATE KEY' in dump)
    b = (await t.admin('/config_dump?resource=dynamic_active_secrets'))[1]
    t.see('private', steady(b)['configs'][0]['secret']['tls_certificate']['private_key'])


@case()
async def sds_missing_in_config_dump(t):
    t.write('sds.json', response(one(pair('a'), 'other')))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('warming', steady((await t.admin('/config_dump?resource=dynamic_warming_secrets'))[1]))
    t.see('active', steady((await t.admin('/config_dump?resource=dynamic_active_secrets'))[1]))


@case()
async def sds_every_kind_in_config_dump(t):
    t.write('ca.json', response(one({'trusted_ca': file('ca.crt')}, 'ca', 'validation_context')))
    t.write('keys.json', response(one({'keys': [{'inline_bytes': base64.b64encode(b'k' * 80).decode()}]}, 'keys', 'session_ticket_keys')))
    common = {'tls_certificates': [pair('a')], 'validation_context_sds_secret_config': sds(t, 'ca', 'ca.json')}
    await start(t, common, session_ticket_keys_sds_secret_config=sds(t, 'keys', 'keys.json'))
    d = steady((await t.admin('/config_dump?resource=dynamic_active_secrets'))[1])
    t.see('dump', sorted(d['configs'], key=lambda c: c['name']))
    await counted(t)


@case()
async def sds_in_certs(t):
    t.write('sds.json', response(one(pair('a'))))
    t.write('ca.json', response(one({'trusted_ca': file('ca.crt')}, 'ca', 'validation_context')))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)], 'validation_context_sds_secret_config': sds(t, 'ca', 'ca.json')})
    c = json.loads((await t.admin('/certs'))[1])['certificates'][0]
    t.see('own', [x['path'].replace(certs(), '<certs>') for x in c['cert_chain']])
    t.see('ca', [x['path'].replace(certs(), '<certs>') for x in c['ca_cert']])


@case()
async def sds_missing_in_certs(t):
    t.write('sds.json', response())
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('certs', json.loads((await t.admin('/certs'))[1]))
    t.see('days', (await t.stats('server.days_until_first_cert_expiring')))


@case()
async def sds_expiry_is_a_stat(t):
    t.write('sds.json', response(one(pair('a'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('names', sorted(await t.stats(regex=r'ssl\.certificate\.')))


# ---- what a response may hold

@case()
async def sds_response_without_resources(t):
    t.write('sds.json', response())
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_response_with_two(t):
    t.write('sds.json', response(one(pair('a')), one(pair('b'), 'two')))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_response_of_another_name(t):
    t.write('sds.json', response(one(pair('a'), 'two')))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_response_of_another_kind(t):
    t.write('sds.json', response(one({'trusted_ca': file('ca.crt')}, kind='validation_context')))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_response_of_another_type(t):
    t.write('sds.json', json.dumps({'resources': [{'@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', 'name': 'one'}]}))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_file_is_no_response(t):
    t.write('sds.json', '{"resources": [')
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_file_comes_good_later(t):
    t.write('sds.json', '{"resources": [')
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('before', await shown(t))
    await moves_in(t, response(one(pair('b'))))
    await t.stat_until('sds.one.update_success', lambda n: n >= 1)
    t.see('after', await shown(t))
    await counted(t)


@case()
async def sds_key_is_of_another_certificate(t):
    t.write('sds.json', response(one(pair('a'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    await moves_in(t, response(one({'certificate_chain': file('b.crt'), 'private_key': file('a.key')})))
    await t.stat_until('sds.one.update_rejected', lambda n: n >= 1)
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_key_is_not_there(t):
    t.write('sds.json', response(one(pair('a'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    await moves_in(t, response(one({'certificate_chain': file('b.crt'), 'private_key': file('nope.key')})))
    await t.stat_until('sds.one.update_rejected', lambda n: n >= 1)
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_goes_on_after_a_bad_update(t):
    t.write('sds.json', response(one(pair('a'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    await moves_in(t, '{')
    await moves_in(t, response(one(pair('b')), version='v3'))
    await t.stat_until('sds.one.update_success', lambda n: n >= 2)
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_yaml(t):
    import yaml
    t.write('sds.yaml', yaml.safe_dump({'resources': [one(pair('a'))]}))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t, path='sds.yaml')]})
    t.see('cn', await shown(t))


# ---- who shares what

@case()
async def sds_of_two_listeners_is_one_subscription(t):
    t.write('sds.json', response(one(pair('a'))))
    common = {'tls_certificate_sds_secret_configs': [sds(t)]}
    await start(t, common, more=[tls_listener(t, common, 'l2')])
    t.see('before', [await shown(t), await shown(t, t.l2)])
    await moves_in(t, response(one(pair('b'))))
    await t.stat_until('sds.one.update_success', lambda n: n >= 2)
    t.see('after', [await shown(t), await shown(t, t.l2)])
    await counted(t)


@case()
async def sds_of_the_same_name_and_two_kinds(t):
    t.write('sds.json', response(one(pair('a'))))
    t.write('ca.json', response(one({'trusted_ca': file('ca.crt')}, kind='validation_context')))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)], 'validation_context_sds_secret_config': sds(t, path='ca.json')})
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_of_two_certificates(t):
    """The context is there when both secrets are."""
    t.write('sds.json', response(one(pair('a'))))
    t.write('two.json', response())
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t), sds(t, 'two', 'two.json')]})
    t.see('before', await shown(t))
    await moves_in(t, response(one(pair('b'), 'two')), 'two.json', 'two')
    await t.stat_until('sds.two.update_success', lambda n: n >= 1)
    t.see('after', await shown(t))
    await counted(t)


@case()
async def sds_and_a_static_secret(t):
    t.write('sds.json', response(one({'trusted_ca': file('ca.crt')}, kind='validation_context')))
    c = config(t, [tls_listener(t, {'tls_certificate_sds_secret_configs': [{'name': 'mine'}], 'validation_context_sds_secret_config': sds(t)},
                                require_client_certificate=True)], [], NODE)
    c['static_resources']['secrets'] = [{'name': 'mine', 'tls_certificate': pair('a')}]
    await t.start(c)
    t.see('r', [(await t.req('/', ssl=client(n), sni='a.example')).status for n in ('client', 'rogue')])
    await counted(t)


# ---- kinds

@case()
async def sds_combined_validation(t):
    t.write('ca.json', response(one({'trusted_ca': file('otherca.crt')}, 'ca', 'validation_context')))
    combined = {'default_validation_context': {'match_typed_subject_alt_names': [{'san_type': 'DNS', 'matcher': {'exact': 'client.example'}}]},
                'validation_context_sds_secret_config': sds(t, 'ca', 'ca.json')}
    await start(t, {'tls_certificates': [pair('a')], 'combined_validation_context': combined}, require_client_certificate=True)
    t.see('before', [(await t.req('/', ssl=client(n), sni='a.example')).status for n in ('client', 'rogue', 'b')])
    await moves_in(t, response(one({'trusted_ca': file('ca.crt')}, 'ca', 'validation_context')), 'ca.json', 'ca')
    await t.stat_until('sds.ca.update_success', lambda n: n >= 2)
    t.see('after', [(await t.req('/', ssl=client(n), sni='a.example')).status for n in ('client', 'rogue', 'b')])


@case()
async def sds_combined_validation_lacks_its_authority(t):
    """Matchers of the file without an authority are refused, and what was there stays."""
    t.write('ca.json', response(one({'trusted_ca': file('ca.crt')}, 'ca', 'validation_context')))
    combined = {'default_validation_context': {'match_typed_subject_alt_names': [{'san_type': 'DNS', 'matcher': {'exact': 'client.example'}}]},
                'validation_context_sds_secret_config': sds(t, 'ca', 'ca.json')}
    await start(t, {'tls_certificates': [pair('a')], 'combined_validation_context': combined}, require_client_certificate=True)
    await moves_in(t, response(one({}, 'ca', 'validation_context')), 'ca.json', 'ca')
    await t.stat_until('sds.ca.update_rejected', lambda n: n >= 1)
    t.see('r', [(await t.req('/', ssl=client(n), sni='a.example')).status for n in ('client', 'rogue', 'b')])
    await counted(t)


@case()
async def sds_validation_is_missing(t):
    t.write('ca.json', response())
    await start(t, {'tls_certificates': [pair('a')], 'validation_context_sds_secret_config': sds(t, 'ca', 'ca.json')})
    t.see('cn', await shown(t))
    await counted(t)


@case()
async def sds_ticket_keys(t):
    key = lambda c: {'inline_bytes': base64.b64encode(c * 80).decode()}
    t.write('keys.json', response(one({'keys': [key(b'a')]}, 'keys', 'session_ticket_keys')))
    await start(t, {'tls_certificates': [pair('a')]}, session_ticket_keys_sds_secret_config=sds(t, 'keys', 'keys.json'))

    ctx = client(max12=True)

    def once(session):
        with socket.create_connection(('127.0.0.1', t.l1), timeout=5) as raw:
            with ctx.wrap_socket(raw, server_hostname='a.example', session=session) as s:
                return s.session, s.session_reused
    run = lambda s: asyncio.get_running_loop().run_in_executor(None, once, s)
    session, _ = await run(None)
    t.see('same', (await run(session))[1])
    await moves_in(t, response(one({'keys': [key(b'b'), key(b'a')]}, 'keys', 'session_ticket_keys')), 'keys.json', 'keys')
    await t.stat_until('sds.keys.update_success', lambda n: n >= 2)
    t.see('old key opens', (await run(session))[1])
    await moves_in(t, response(one({'keys': [key(b'c')]}, 'keys', 'session_ticket_keys')), 'keys.json', 'keys')
    await t.stat_until('sds.keys.update_success', lambda n: n >= 3)
    t.see('gone key', (await run(session))[1])
    await counted(t)


@case()
async def sds_ticket_keys_are_short(t):
    t.write('keys.json', response(one({'keys': [{'inline_string': 'short'}]}, 'keys', 'session_ticket_keys')))
    await start(t, {'tls_certificates': [pair('a')]}, session_ticket_keys_sds_secret_config=sds(t, 'keys', 'keys.json'))
    t.see('cn', await shown(t))
    await counted(t)


# ---- upstream

@case()
async def sds_upstream_certificate_is_replaced(t):
    """A connection to the host goes on with the old one; the next one shows the new one."""
    u = await t.up('u1', tls=server(ca='ca'))
    t.write('sds.json', response(one(pair('client'))))
    await start(t, None, [cluster('c1', u, up({'tls_certificate_sds_secret_configs': [sds(t)]}))], routes=None,
                log='%RESPONSE_CODE% %UPSTREAM_LOCAL_URI_SAN% %UPSTREAM_LOCAL_DNS_SAN%')
    t.see('first', (await t.req('/')).status)
    await moves_in(t, response(one(pair('b'))))
    await t.stat_until('sds.one.update_success', lambda n: n >= 2)
    t.see('kept', (await t.req('/')).status)
    await counted(t)
    t.see('connections', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.ssl.handshake'))
    t.see('log', await t.logs())


@case()
async def sds_upstream_authority_is_replaced(t):
    u = await t.up('u1', tls=server())
    t.write('ca.json', response(one({'trusted_ca': file('otherca.crt')}, 'ca', 'validation_context')))
    await start(t, None, [cluster('c1', u, up({'validation_context_sds_secret_config': sds(t, 'ca', 'ca.json')}))], routes=None,
                log='%RESPONSE_CODE% %RESPONSE_FLAGS%')
    t.see('before', (await t.req('/')).status)
    await moves_in(t, response(one({'trusted_ca': file('ca.crt')}, 'ca', 'validation_context')), 'ca.json', 'ca')
    await t.stat_until('sds.ca.update_success', lambda n: n >= 2)
    t.see('after', (await t.req('/')).status)
    await counted(t)
    t.see('log', await t.logs())


@case()
async def sds_upstream_certificate_is_missing(t):
    u = await t.up('u1', tls=server())
    t.write('sds.json', response())
    await start(t, None, [cluster('c1', u, up({'tls_certificate_sds_secret_configs': [sds(t)]}))], routes=None,
                log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%')
    t.see('status', (await t.req('/')).status)
    await counted(t)
    t.see('cx', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_connect_fail', 'cluster.c1.ssl.connection_error'))
    t.see('log', await t.logs())


@case()
async def sds_downstream_missing_in_the_log(t):
    """Connections that are refused for want of a secret."""
    t.write('sds.json', response())
    l = tls_listener(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    l['access_log'] = [{'name': 'f', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog', 'path': t.path('access.log'),
                        'log_format': {'text_format_source': {'inline_string': '%RESPONSE_FLAGS% %DOWNSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS% %RESPONSE_CODE_DETAILS%\n'}}}}]
    await t.start(config(t, [l], [], NODE))
    t.see('cn', await shown(t))
    t.see('stats', await t.stats('listener.l1.downstream_cx_total', 'listener.l1.downstream_cx_destroy', 'listener.l1.ssl.connection_error', 'listener.l1.downstream_cx_transport_socket_connect_timeout'))
    t.see('log', await t.logs())


# ---- files that secrets name

def folder(t, name, cert):
    os.makedirs(t.path(name), exist_ok=True)
    for kind in ('crt', 'key'):
        shutil.copy(os.path.join(certs(), '%s.%s' % (cert, kind)), t.path('%s/tls.%s' % (name, kind)))


def within(t, name):
    return {'certificate_chain': {'filename': t.path(name + '/tls.crt')}, 'private_key': {'filename': t.path(name + '/tls.key')}}


def put(t, name, cert, kinds=('key', 'crt')):
    """Moves another certificate into a folder, file by file."""
    for kind in kinds:
        shutil.copy(os.path.join(certs(), '%s.%s' % (cert, kind)), t.path('tmp'))
        os.rename(t.path('tmp'), t.path('%s/tls.%s' % (name, kind)))


async def becomes(t, wanted, timeout=5):
    async def is_so():
        return (await shown(t)) == wanted or None
    return await t.until(is_so, timeout)


@case()
async def sds_files_of_a_secret_are_moved(t):
    """Without watched_directory too."""
    folder(t, 'data', 'a')
    t.write('sds.json', response(one(within(t, 'data'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    t.see('before', await shown(t))
    put(t, 'data', 'b')
    t.see('after', await becomes(t, 'CN=b.example'))
    t.see('attempts', await t.stats('sds.one.update_attempt', 'sds.one.update_success'))


@case()
async def sds_files_of_a_secret_do_not_fit_for_a_while(t):
    folder(t, 'data', 'a')
    t.write('sds.json', response(one(within(t, 'data'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    put(t, 'data', 'b', ['crt'])
    await t.stat_until('sds.one.key_rotation_failed', lambda n: n >= 1)
    t.see('meanwhile', await shown(t))
    put(t, 'data', 'b', ['key'])
    t.see('after', await becomes(t, 'CN=b.example'))
    await counted(t)


@case()
async def sds_files_written_in_place_are_not_read(t):
    folder(t, 'data', 'a')
    t.write('sds.json', response(one(within(t, 'data'))))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t)]})
    folder(t, 'data', 'b')
    t.see('same', await shown(t))
    put(t, 'data', 'b', ['key'])
    t.see('after', await becomes(t, 'CN=b.example'))


@case()
async def sds_authority_is_moved(t):
    os.makedirs(t.path('data'))
    shutil.copy(os.path.join(certs(), 'otherca.crt'), t.path('data/ca.crt'))
    t.write('ca.json', response(one({'trusted_ca': {'filename': t.path('data/ca.crt')}, 'watched_directory': {'path': t.path('data')}}, 'ca', 'validation_context')))
    await start(t, {'tls_certificates': [pair('a')], 'validation_context_sds_secret_config': sds(t, 'ca', 'ca.json')}, require_client_certificate=True)
    t.see('before', [(await t.req('/', ssl=client(n), sni='a.example')).status for n in ('client', 'rogue')])
    shutil.copy(os.path.join(certs(), 'ca.crt'), t.path('tmp'))
    os.rename(t.path('tmp'), t.path('data/ca.crt'))

    async def changed():
        return (await t.req('/', ssl=client('client'), sni='a.example')).status == 200 or None
    t.see('changed', await t.until(changed))
    t.see('rogue', (await t.req('/', ssl=client('rogue'), sni='a.example')).status)
    await counted(t)


@case()
async def sds_file_of_a_watched_directory(t):
    """The response itself is behind a link that moves."""
    for name, cert in (('v1', 'a'), ('v2', 'b')):
        os.mkdir(t.path(name))
        t.write(name + '/sds.json', response(one(pair(cert))))
    os.symlink('v1', t.path('data'))
    await start(t, {'tls_certificate_sds_secret_configs': [sds(t, path='data/sds.json', watched=t.dir)]})
    t.see('before', await shown(t))
    os.symlink('v2', t.path('next'))
    os.rename(t.path('next'), t.path('data'))
    t.see('after', await becomes(t, 'CN=b.example'))


@case()
async def reload_of_a_certificate_in_the_listener(t):
    """watched_directory where the certificate stands in the listener itself."""
    folder(t, 'data', 'a')
    await start(t, {'tls_certificates': [{**within(t, 'data'), 'watched_directory': {'path': t.path('data')}}]})
    t.see('before', await shown(t))
    put(t, 'data', 'b')
    t.see('after', await becomes(t, 'CN=b.example', 1))


@case()
async def reload_of_a_static_secret(t):
    folder(t, 'data', 'a')
    c = config(t, [tls_listener(t, {'tls_certificate_sds_secret_configs': [{'name': 'mine'}]})], [], NODE)
    c['static_resources']['secrets'] = [{'name': 'mine', 'tls_certificate': {**within(t, 'data'), 'watched_directory': {'path': t.path('data')}}}]
    await t.start(c)
    t.see('before', await shown(t))
    put(t, 'data', 'b')
    t.see('after', await becomes(t, 'CN=b.example', 1))


@case()
async def reload_of_watched_sources(t):
    """watched_directory of the data sources themselves."""
    folder(t, 'data', 'a')
    w = {'watched_directory': {'path': t.path('data')}}
    c = {k: {**v, **w} for k, v in within(t, 'data').items()}
    await start(t, {'tls_certificates': [c]})
    t.see('before', await shown(t))
    put(t, 'data', 'b')
    t.see('after', await becomes(t, 'CN=b.example', 1))


# ---- what is refused

def refused(name, make, node=True):
    @case('sds_refused_' + name)
    async def f(t):
        t.write('sds.json', response(one(pair('a'))))
        code, _ = await t.run_to_end(config(t, [tls_listener(t, make(t))], [], NODE if node else {}), args=['--mode', 'validate'])
        t.see('code', code)


refused('without_node', lambda t: {'tls_certificate_sds_secret_configs': [sds(t)]}, node=False)
refused('file_is_not_there', lambda t: {'tls_certificate_sds_secret_configs': [sds(t, path='none.json')]})
refused('directory_is_not_there', lambda t: {'tls_certificate_sds_secret_configs': [sds(t, watched='/nonexistent/x')]})
refused('beside_a_certificate', lambda t: {'tls_certificates': [pair('a')], 'tls_certificate_sds_secret_configs': [sds(t)]})
refused('nothing_wrong', lambda t: {'tls_certificate_sds_secret_configs': [sds(t)]})


# ---- static secrets in the dump

def dumped(name, *secrets):
    @case('static_secret_in_config_dump_' + name)
    async def f(t):
        c = config(t, [tls_listener(t, {'tls_certificates': [pair('a')]})], [], NODE)
        c['static_resources']['secrets'] = list(secrets)
        await t.start(c)
        t.see('dump', steady((await t.admin('/config_dump?resource=static_secrets'))[1]))
        boot = steady((await t.admin('/config_dump?mask=bootstrap'))[1])
        t.see('bootstrap', boot['configs'][0]['bootstrap']['static_resources'].get('secrets'))


dumped('certificate', {'name': 's', 'tls_certificate': {'certificate_chain': {'inline_string': 'no matter'}, 'private_key': {'inline_string': 'secret'}}})
dumped('authority', {'name': 's', 'validation_context': {'trusted_ca': {'inline_string': 'no matter'}}})
dumped('ticket_keys', {'name': 's', 'session_ticket_keys': {'keys': [{'inline_string': 'k'}]}})
dumped('generic', {'name': 's', 'generic_secret': {'secret': {'inline_string': 'hush'}}})
dumped('of_every_name', {'name': 'b', 'generic_secret': {'secret': {'inline_bytes': 'aHVzaA=='}}}, {'name': 'a', 'generic_secret': {'secret': {'environment_variable': 'HOME'}}})


@case()
async def refused_duplicate_generic_secret(t):
    c = config(t, [tls_listener(t, None)], [], NODE)
    c['static_resources']['secrets'] = [{'name': 's', 'generic_secret': {'secret': {'inline_string': 'x'}}}] * 2
    code, _ = await t.run_to_end(c, args=['--mode', 'validate'])
    t.see('code', code)
