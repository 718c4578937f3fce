"""The front proxy's ground once more: chain choice, PROXY heads, inspectors, upgrades' own filters, tunnels, half-close."""
import ssl as pyssl

from harness import *
from harness.tls_config import certs, cert, client_ctx, down, hands

LF = 'type.googleapis.com/envoy.extensions.filters.listener.'
INSPECTOR = {'name': 'envoy.filters.listener.tls_inspector', 'typed_config': {'@type': LF + 'tls_inspector.v3.TlsInspector'}}
HTTP = {'name': 'envoy.filters.listener.http_inspector', 'typed_config': {'@type': LF + 'http_inspector.v3.HttpInspector'}}
T_TCP = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'


def answering(t, tag, match=None, tls=None, **kw):
    kw.setdefault('routes', '[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "%s"}}}]' % tag)
    c = {'name': tag, 'filters': [hcm(t, **kw)]}
    if match is not None:
        c['filter_chain_match'] = Y(match)
    if tls:
        c['transport_socket'] = tls
    return c


def chained(t, chains, filters=(), more=None, clusters=()):
    l = listener(t, [])
    l['filter_chains'] = chains
    l['listener_filters'] = list(filters)
    l['stat_prefix'] = 'l1'
    merge(l, Y(more) or {})
    return config(t, [l], list(clusters))


async def body(t, **kw):
    r = await t.req('/', **kw)
    return r['body'].decode() if r['status'] else r.get('err', 'closed') and 'closed'


@case(timeout=60)
async def chain_of_protocols_by_http_inspector(t):
    """application_protocols of clear text: what the inspector saw."""
    chains = [answering(t, 'h2', '{application_protocols: [h2c]}'), answering(t, 'h11', '{application_protocols: [http/1.1]}'),
              answering(t, 'h10', '{application_protocols: [http/1.0]}', opts='{http_protocol_options: {accept_http_10: true, default_host_for_http_10: a}}'), answering(t, 'other')]
    await t.start(chained(t, chains, [HTTP]))
    t.see('h11', await body(t))
    t.see('h10', await body(t, version='HTTP/1.0'))
    t.see('h2', (await t.h2req('/'))['body'].decode())
    c = await t.conn()
    c.send('NOT HTTP AT ALL\r\n\r\n')
    t.see('other', (await c.response('GET', 2))['status'])
    t.see('stats', await t.stats(regex=r'http_inspector'))


@case(timeout=60)
async def chain_order_names_before_protocols(t):
    """A server name counts before transport and application protocols; a suffix before none."""
    tls = down({'tls_certificates': [cert('a')], 'alpn_protocols': ['h2', 'http/1.1']})
    chains = [answering(t, 'exact', '{server_names: [a.example]}', tls), answering(t, 'suffix', '{server_names: ["*.example"]}', tls),
              answering(t, 'alpn', '{application_protocols: [h2]}', tls), answering(t, 'tls', '{transport_protocol: tls}', tls), answering(t, 'raw', '{transport_protocol: raw_buffer}')]
    await t.start(chained(t, chains, [INSPECTOR]))
    for sni in ('a.example', 'b.example', 'deep.b.example', 'elsewhere.test', None):
        ctx = client_ctx(alpn=['h2', 'http/1.1'], verify=False)
        h = await hands(t, ctx, sni=sni, send=None)
        t.see('alpn_%s' % sni, [h.alpn, h.err])
    for sni in ('a.example', 'x.y.example', 'elsewhere.test'):
        t.see('one_%s' % sni, await body(t, ssl=client_ctx(verify=False), sni=sni))
    t.see('raw', await body(t))


@case()
async def chain_of_exact_name_and_other_protocol(t):
    """Once a name matched, there is no way back to chains without one."""
    tls = down()
    chains = [answering(t, 'named', '{server_names: [a.example], application_protocols: [h2]}', tls), answering(t, 'rest', '{}', tls)]
    await t.start(chained(t, chains, [INSPECTOR]))
    t.see('http1', await body(t, ssl=client_ctx(verify=False), sni='a.example'))
    t.see('other', await body(t, ssl=client_ctx(verify=False), sni='b.example'))
    t.see('stats', await t.stats('listener.l1.no_filter_chain_match'))


@case()
async def chain_by_source_and_port_ranges(t):
    chains = [answering(t, 'type', '{source_type: SAME_IP_OR_LOOPBACK}'), answering(t, 'source', '{source_prefix_ranges: [{address_prefix: 127.0.0.2, prefix_len: 32}]}'),
              answering(t, 'wide', '{source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}')]
    await t.start(chained(t, chains))
    t.see('by', {s or 'usual': await body(t, src=s) for s in (None, '127.0.0.2', '127.0.0.3')})


def refused_chains(name, *matches):
    @case('chains_refused_' + name)
    async def f(t):
        chains = [answering(t, 'c%d' % i, m) for i, m in enumerate(matches)]
        t.see('code', (await t.run_to_end(chained(t, chains), args=['--mode', 'validate']))[0])


refused_chains('equal', '{server_names: [a]}', '{server_names: [a]}')
refused_chains('overlap', '{server_names: [a, b]}', '{server_names: [b]}')
refused_chains('partial_wildcard', '{server_names: ["*a.example"]}')
refused_chains('star', '{server_names: ["*"]}')
refused_chains('inner_star', '{server_names: ["a.*.example"]}')
refused_chains('empty_twice', '{}', '{}')
refused_chains('names_and_suffix', '{suffix_len: 8}')
refused_chains('upper_name', '{server_names: [A.Example]}')


# ---- tls_inspector

@case(timeout=60)
async def fingerprints(t):
    """JA3 and JA4 of the inspector, in logs."""
    i = merge({}, INSPECTOR)
    i = {'name': 'i', 'typed_config': {'@type': LF + 'tls_inspector.v3.TlsInspector', 'enable_ja3_fingerprinting': True, 'enable_ja4_fingerprinting': True}}
    await t.start(chained(t, [answering(t, 'x', tls=down(), log='%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%')], [i]))
    ctx = pyssl.SSLContext(pyssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode, ctx.maximum_version = False, pyssl.CERT_NONE, pyssl.TLSVersion.TLSv1_2
    ctx.set_ciphers('ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384')
    await t.req('/', ssl=ctx, sni='a.example')
    t.see('log', await t.logs())


@case()
async def inspector_of_plain_bytes(t):
    await t.start(chained(t, [answering(t, 'raw', '{transport_protocol: raw_buffer}')], [INSPECTOR]))
    t.see('r', await body(t))
    t.see('stats', await t.stats(regex=r'tls_inspector\.(tls_|connection_closed|client_hello|sni|alpn)'))


@case()
async def inspector_of_a_hello_too_large(t):
    i = {'name': 'i', 'typed_config': {'@type': LF + 'tls_inspector.v3.TlsInspector', 'initial_read_buffer_size': 256, 'max_client_hello_size': 600}}
    await t.start(chained(t, [answering(t, 'x', tls=down())], [i]))
    c = await t.conn()
    c.raw(b'\x16\x03\x01\x10\x00\x01\x00\x0f\xfc\x03\x03' + b'x' * 2000) if hasattr(c, 'raw') else c.send(b'\x16\x03\x01\x10\x00\x01\x00\x0f\xfc\x03\x03' + b'x' * 2000)
    t.see('state', await c.state(2))
    t.see('stats', await t.stats(regex=r'tls_inspector\.(client_hello_too_large|connection_closed)'))


# ---- upgrades

WS = [('connection', 'upgrade'), ('upgrade', 'websocket'), ('sec-websocket-key', 'x'), ('sec-websocket-version', '13')]
HM = 'type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation'


def adds(name, value='1'):
    return {'name': 'envoy.filters.http.header_mutation', 'typed_config': {'@type': HM, 'mutations': {'request_mutations': [{'append': {'header': {'key': name, 'value': value}}}]}}}


@case()
async def upgrade_with_filters_of_its_own(t):
    """What an upgrade's own list has, and what the usual list has, and a type without a list."""
    u = await t.up('u1', lambda m, n: resp(200, 'x'))
    ups = [{'upgrade_type': 'websocket', 'filters': [adds('own'), router()]}, {'upgrade_type': 'other'}, {'upgrade_type': 'off', 'enabled': False}]
    await t.start(simple(t, opts={'upgrade_configs': ups}, filters=[adds('usual')]))
    for kind in ('websocket', 'WebSocket', 'other', 'off', 'none'):
        r = await t.req('/', headers=[('connection', 'upgrade'), ('upgrade', kind)])
        t.see(kind, [r.status, {k: u.reqs[-1].h(k) for k in ('own', 'usual', 'upgrade')} if r.status == 200 else None])


@case()
async def upgrade_switched_on_by_the_route(t):
    u = await t.up('u1', lambda m, n: resp(200, 'x'))
    routes = """[{match: {prefix: /on}, route: {cluster: c1, upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: "off", enabled: true}]}},
                 {match: {prefix: /off}, route: {cluster: c1, upgrade_configs: [{upgrade_type: websocket, enabled: false}, {upgrade_type: listed, enabled: false}]}}, {match: {prefix: /}, route: {cluster: c1}}]"""
    await t.start(simple(t, routes=routes, opts='{upgrade_configs: [{upgrade_type: listed}, {upgrade_type: "off", enabled: false}]}', log='%REQ(:path)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%'))
    for path in ('/on', '/off', '/'):
        for kind in ('websocket', 'listed', 'off'):
            t.see(path + kind, (await t.req(path, headers=[('connection', 'upgrade'), ('upgrade', kind)])).status)
    t.see('log', await t.logs())


@case()
async def connect_udp_is_refused(t):
    u = await t.h2up()
    await t.start(simple(t, clusters=[cluster('c1', u, h2='{allow_connect: true}')], opts='{http2_protocol_options: {allow_connect: true}}', log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'))
    c = await t.h2()
    await c.wait(lambda: c.remote_settings)
    sid = c.request([(':method', 'CONNECT'), (':protocol', 'connect-udp'), (':scheme', 'http'), (':path', '/.well-known/masque/udp/1.2.3.4/53/'), (':authority', 'a'), ('capsule-protocol', '?1')], end=False)
    m = await c.done(sid, 2)
    t.see('h2', [m.h(':status') if m['headers'] else None, m['reset']])
    r = await t.req('/.well-known/masque/udp/1.2.3.4/53/', headers=[('connection', 'upgrade'), ('upgrade', 'connect-udp'), ('capsule-protocol', '?1')])
    t.see('h1', r.status)
    t.see('log', await t.logs())


# ---- tcp_proxy

def tcp(t, u, more='{}', log='%BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_FLAGS%'):
    c = {'@type': T_TCP, 'stat_prefix': 'tcp', 'cluster': 'c1', 'access_log': [filelog(t, log)], **Y(more)}
    return config(t, [listener(t, [{'name': 'envoy.filters.network.tcp_proxy', 'typed_config': c}])], [u])


@case()
async def tcp_half_close_both_ways(t):
    """The client ends first, and still reads all of the answer."""
    async def serve(c):
        data = await c.r.read()
        c.w.write(b'got %d' % len(data))
        await c.w.drain()
        c.w.close()
    u = await t.up('u1', conn=serve)
    await t.start(tcp(t, cluster('c1', u)))
    c = await t.conn()
    c.w.write(b'x' * 1000)
    c.w.write_eof()
    t.see('answer', (await asyncio.wait_for(c.r.read(), 3)).decode())
    t.see('log', await t.logs())


@case()
async def tcp_log_on_connected(t):
    """A line when the upstream is connected to, and one at the end."""
    async def serve(c):
        await c.r.read(10)
        c.w.write(b'ok')
        await c.w.drain()
        c.w.close()
    u = await t.up('u1', conn=serve)
    await t.start(tcp(t, cluster('c1', u), '{access_log_options: {flush_access_log_on_connected: true}}', log='%ACCESS_LOG_TYPE% %BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_FLAGS%'))
    c = await t.conn()
    c.w.write(b'hello')
    t.see('answer', (await asyncio.wait_for(c.r.read(), 3)).decode())
    t.see('log', await t.logs())


def tunnelled(name, more, headers):
    @case('tunnel_' + name)
    async def f(t):
        async def serve(s):
            s.respond(200)
            await s.data('ok', end=True)
        u = await t.h2up('u1', serve)
        await t.start(tcp(t, cluster('c1', u, h2=True), {'tunneling_config': Y(more)}))
        c = await t.conn()
        c.w.write(b'hello')
        try:
            t.see('answer', (await asyncio.wait_for(c.r.read(), 3)).decode())
        except ConnectionError:
            t.see('answer', 'reset')
        t.see('request', {h: hget(u.reqs[0]['headers'], h) for h in (':method', ':authority', ':path', ':protocol', *headers)} if u.reqs else None)


tunnelled('headers', """{hostname: "h:1", headers_to_add: [{header: {key: a, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}, {header: {key: b, value: "%PROTOCOL%-%UPSTREAM_CLUSTER%"}},
          {header: {key: c, value: "one"}}, {header: {key: c, value: "two"}}, {header: {key: d, value: "%REQUESTED_SERVER_NAME%"}}]}""", 'abcd')
tunnelled('post', '{hostname: "h:1", use_post: true, post_path: /p, headers_to_add: [{header: {key: a, value: x}}]}', 'a')
tunnelled('host_of_the_connection', '{hostname: "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%:443"}', '')
