"""CONNECT and POST that end here: their bytes go to a host alone (`connect_config`)."""
from harness import *

LOG = ('%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %PROTOCOL% r=%BYTES_RECEIVED% s=%BYTES_SENT% '
       'w=%UPSTREAM_WIRE_BYTES_RECEIVED%,%UPSTREAM_WIRE_BYTES_SENT% h=%UPSTREAM_HEADER_BYTES_RECEIVED%,%UPSTREAM_HEADER_BYTES_SENT% '
       '%UPSTREAM_PROTOCOL% %UPSTREAM_HOST% %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_REQUEST_ATTEMPT_COUNT%')
ROUTES = """
- match: {connect_matcher: {}}
  route: {cluster: c1, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
- {match: {prefix: /}, route: {cluster: c1}}
"""
OPTS = '{upgrade_configs: [{upgrade_type: CONNECT}], http2_protocol_options: {allow_connect: true}}'
POST = """
- match: {prefix: /}
  route: {cluster: c1, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}
"""
STATS = ['cluster.c1.upstream_' + n for n in (
    'cx_total', 'cx_http1_total', 'cx_http2_total', 'cx_destroy_local_with_active_rq', 'cx_destroy_remote_with_active_rq',
    'cx_connect_fail', 'cx_rx_bytes_total', 'cx_tx_bytes_total', 'rq_total', 'rq_active', 'rq_200', 'rq_503', 'rq_completed',
    'rq_pending_total', 'rq_pending_failure_eject', 'rq_rx_reset', 'rq_tx_reset', 'rq_cancelled')] + [
    'http.in.downstream_' + n for n in ('cx_upgrades_total', 'cx_upgrades_active', 'rq_2xx', 'rq_5xx', 'rq_rx_reset', 'rq_tx_reset', 'rq_response_before_rq_complete')]
CONNECT = b'CONNECT dest.example:443 HTTP/1.1\r\nHost: dest.example:443\r\n\r\n'
H2CONNECT = [(':method', 'CONNECT'), (':authority', 'dest.example:443')]


async def echo(c):
    """Upper case; says END once the other half has ended."""
    c.up.got = b''
    while await c.fill():
        c.up.got += c.buf
        c.send(c.buf.upper())
        c.buf = b''
        await c.drain()
    c.up.ended = True
    c.send(b'END')


async def start(t, conn=echo, routes=ROUTES, opts=OPTS, ups=None, **kw):
    u = None
    if conn:
        u = await t.up('u1', conn=conn)
        u.ended, u.got = False, b''
    await t.start(simple(t, routes=routes, opts=opts, log=LOG, ups=ups, **kw))
    return u


async def h1(t, raw=CONNECT, method='CONNECT'):
    c = await t.conn()
    c.send(raw)
    t.see('r', await c.response(method=method, timeout=2))
    return c


async def h2(t, head=H2CONNECT):
    c = await t.h2()
    sid = c.request(head, end=False)
    await c.wait(lambda: c.st(sid)['headers'] or c.st(sid)['ended'], 2)
    t.see('hs', t.hs(c.st(sid)['headers'] or []))
    return c, sid


async def close_of(t):
    await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
    t.see('stats', await t.stats(*STATS))
    t.see('log', await t.logs())


async def talk(t, c, sid=None):
    if sid is None:
        c.send(b'hello')
        t.see('echo', (await c.exactly(5)).decode())
    else:
        await c.send_data(sid, b'hello')
        await c.wait(lambda: len(c.st(sid)['body']) >= 5, 2)
        t.see('echo', c.st(sid)['body'].decode())


@case()
async def terminate_h1_client_closes(t):
    u = await start(t)
    c = await h1(t)
    await talk(t, c)
    c.close()
    await t.until(lambda: u.ended, 2)
    await close_of(t)


@case()
async def terminate_h1_client_ends_its_half(t):
    u = await start(t)
    c = await h1(t)
    await talk(t, c)
    c.shut_wr()
    t.see('rest', [await c.state(2), c.buf.decode()])
    await t.until(lambda: u.ended, 2)
    await close_of(t)


@case()
async def terminate_h1_early_bytes(t):
    await start(t)
    c = await h1(t, CONNECT + b'early')
    t.see('echo', (await c.exactly(5)).decode())
    c.close()
    await close_of(t)


@case()
async def terminate_h1_host_speaks_first_and_ends(t):
    async def banner(c):
        c.send(b'220 ready\r\n')
    await start(t, banner)
    c = await h1(t)
    t.see('rest', [await c.state(2), c.buf.decode()])
    await close_of(t)


@case()
async def terminate_h1_host_resets(t):
    async def conn(c):
        await c.fill()
        c.reset()
    await start(t, conn)
    c = await h1(t)
    c.send(b'x')
    t.see('rest', [await c.state(2), c.buf.decode()])
    await close_of(t)


for proto in ('h1', 'h2'):
    @case('terminate_%s_dead_host' % proto)
    async def _(t, proto=proto):
        await start(t, None, ups=t.dead())
        if proto == 'h1':
            await h1(t, method='GET')
        else:
            c, sid = await h2(t)
            t.see('m', await c.done(sid, 2))
        await close_of(t)


@case()
async def terminate_no_host(t):
    await start(t, None, ups=[])
    await h1(t, method='GET')
    t.see('stats', await t.stats(*STATS))
    t.see('log', await t.logs())


@case()
async def terminate_retry_on_connect_failure(t):
    u = await t.up('u1', conn=echo)
    d = t.dead()
    routes = """
- match: {connect_matcher: {}}
  route: {cluster: c1, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}], retry_policy: {retry_on: connect-failure, num_retries: 2}}
"""
    await t.start(simple(t, routes=routes, opts=OPTS, log='%RESPONSE_CODE% %RESPONSE_FLAGS% n=%UPSTREAM_REQUEST_ATTEMPT_COUNT%', ups=[d, u]))
    for i in range(2):
        c = await t.conn()
        c.send(CONNECT)
        t.see('r%d' % i, (await c.response(method='CONNECT', timeout=2)).line)
        c.send(b'hello')
        t.see('echo%d' % i, (await c.exactly(5)).decode())
        c.close()
    t.see('log', max(await t.logs()))


@case()
async def terminate_h2_client_ends(t):
    """The client's end reaches the host, whose last words still come back."""
    u = await start(t)
    c, sid = await h2(t)
    await talk(t, c, sid)
    await c.send_data(sid, b'bye', end=True)
    m = await c.done(sid, 2)
    t.see('m', m)
    t.see('up', [u.ended, u.got.decode()])
    await close_of(t)


@case()
async def terminate_h2_host_ends(t):
    async def conn(c):
        await c.fill()
        c.send(b'last words')
    await start(t, conn)
    c, sid = await h2(t)
    await c.send_data(sid, b'x')
    m = await c.done(sid, 2)
    await asyncio.sleep(0.05)
    t.see('m', m)
    await close_of(t)


@case()
async def terminate_h2_host_resets(t):
    async def conn(c):
        await c.fill()
        c.reset()
    await start(t, conn)
    c, sid = await h2(t)
    await c.send_data(sid, b'x')
    t.see('m', await c.done(sid, 2))
    await close_of(t)


@case()
async def terminate_h2_client_resets(t):
    u = await start(t)
    c, sid = await h2(t)
    await talk(t, c, sid)
    c.rst(sid)
    await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
    t.see('alive', not c.eof)
    await close_of(t)


@case()
async def terminate_h2_two_tunnels(t):
    """Each tunnel has a connection of its own."""
    u = await start(t)
    c, sid = await h2(t)
    other = c.request(H2CONNECT, end=False)
    await c.wait(lambda: c.st(other)['headers'], 2)
    await c.send_data(other, b'two')
    await c.send_data(sid, b'one')
    await c.wait(lambda: len(c.st(sid)['body']) >= 3 and len(c.st(other)['body']) >= 3, 2)
    t.see('bodies', [c.st(sid)['body'].decode(), c.st(other)['body'].decode()])
    t.see('conns', u.conns)


for name, head in (('bytestream', [(':method', 'CONNECT'), (':protocol', 'bytestream'), (':scheme', 'https'), (':path', '/p'), (':authority', 'dest.example:443')]),
                   ('websocket', [(':method', 'CONNECT'), (':protocol', 'websocket'), (':scheme', 'https'), (':path', '/p'), (':authority', 'dest.example:443')]),
                   ('with_path', [(':method', 'CONNECT'), (':scheme', 'https'), (':path', '/p'), (':authority', 'dest.example:443')]),
                   ('without_port', [(':method', 'CONNECT'), (':authority', 'dest.example')]),
                   ('without_authority', [(':method', 'CONNECT')])):
    @case('terminate_h2_' + name)
    async def _(t, head=head):
        u = await start(t)
        c, sid = await h2(t, head)
        await c.send_data(sid, b'hello')
        await c.wait(lambda: len(c.st(sid)['body']) >= 5 or c.st(sid)['ended'], 2)
        s = c.st(sid)
        t.see('m', [s['body'].decode(), s['reset']])
        t.see('up', u.got.decode('latin1'))
        c.close()
        t.see('log', await t.logs())


@case()
async def terminate_not_in_hcm_but_on_route(t):
    await start(t, opts=None)
    c = await h1(t)
    await talk(t, c)


@case()
async def terminate_in_hcm_but_route_disables(t):
    await start(t, routes=ROUTES.replace('upgrade_type: CONNECT', 'upgrade_type: CONNECT, enabled: false'))
    await h1(t, method='GET')
    t.see('log', await t.logs())


@case()
async def terminate_h2_without_allow_connect(t):
    await start(t, opts='{upgrade_configs: [{upgrade_type: CONNECT}]}')
    c, sid = await h2(t)
    m = await c.done(sid, 2)
    t.see('m', [m['reset'], m.get('conn_closed'), c.goaway])
    t.see('log', await t.logs())


@case()
async def terminate_adds_headers_and_counts_route(t):
    await start(t, routes="""
- match: {connect_matcher: {}}
  route: {cluster: c1, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
  response_headers_to_add: [{header: {key: x-tunnel, value: '%UPSTREAM_HOST%'}}]
""")
    c = await h1(t)
    await talk(t, c)


@case()
async def terminate_matches_authority(t):
    """Domains see the authority of CONNECT without its port."""
    u = await t.up('u1', conn=echo)
    r = "[{match: {connect_matcher: {}}, route: {cluster: c1, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}]"
    await t.start(simple(t, vhosts=[{'name': 'a', 'domains': ['a.example'], 'routes': Y(r)}, {'name': 'b', 'domains': ['b.example:443'], 'routes': Y(r)}], opts=OPTS, log='%REQ(:AUTHORITY)% %RESPONSE_CODE%'))
    for host in ('a.example:443', 'b.example:443', 'a.example:80', 'c.example:443'):
        c = await t.conn()
        c.send(('CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (host, host)).encode())
        t.see(host, (await c.response(method='CONNECT', timeout=2)).line)
        c.close()
    t.see('log', await t.logs())


@case()
async def terminate_post_h1(t):
    u = await start(t, routes=POST)
    c = await t.conn()
    c.send(b'POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello')
    t.see('r', await c.response(timeout=2))
    t.see('up', [u.ended, u.got.decode()])
    t.see('state', await c.state(0.2))
    await close_of(t)


@case()
async def terminate_post_h1_chunked(t):
    u = await start(t, routes=POST)
    c = await t.conn()
    c.send(b'POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
    await t.until(lambda: u.got == b'hello', 2)
    c.send(b'3\r\nbye\r\n0\r\n\r\n')
    t.see('r', await c.response(timeout=2))
    t.see('up', [u.ended, u.got.decode()])
    await close_of(t)


@case()
async def terminate_post_h1_host_ends_first(t):
    async def conn(c):
        await c.fill()
        c.send(b'last words')
    await start(t, conn, routes=POST)
    c = await t.conn()
    c.send(b'POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
    t.see('r', await c.response(timeout=2))
    await close_of(t)


@case()
async def terminate_post_without_body(t):
    u = await start(t, routes=POST)
    t.see('r', await t.req('/p', 'POST'))
    t.see('up', [u.ended, u.got.decode()])
    await close_of(t)


@case()
async def terminate_post_h2(t):
    u = await start(t, routes=POST)
    c, sid = await h2(t, [(':method', 'POST'), (':scheme', 'http'), (':path', '/p'), (':authority', 'a')])
    await talk(t, c, sid)
    await c.send_data(sid, b'bye', end=True)
    t.see('m', await c.done(sid, 2))
    t.see('up', [u.ended, u.got.decode()])
    await close_of(t)


@case()
async def terminate_post_h2_trailers(t):
    u = await start(t, routes=POST)
    c, sid = await h2(t, [(':method', 'POST'), (':scheme', 'http'), (':path', '/p'), (':authority', 'a')])
    await talk(t, c, sid)
    c.headers(sid, [('x-trailer', '1')])
    t.see('m', await c.done(sid, 2))
    t.see('up', [u.ended, u.got.decode()])


@case()
async def terminate_other_methods_are_http(t):
    """The route terminates CONNECT and POST alone."""
    async def conn(c):
        m = await c.read_request()
        if m:
            c.send(resp(200, m['method']))
            await c.drain()
    await t.up('u1', conn=conn)
    await t.start(simple(t, routes=POST, opts=OPTS, log=LOG))
    for method in ('GET', 'PUT', 'OPTIONS'):
        t.see(method, await t.req('/p', method))
    t.see('log', await t.logs())


@case()
async def terminate_post_needs_allow_post(t):
    async def conn(c):
        m = await c.read_request()
        if m:
            c.send(resp(200, m['method']))
            await c.drain()
    await t.up('u1', conn=conn)
    await t.start(simple(t, routes=POST.replace('allow_post: true', ''), opts=OPTS, log=LOG))
    t.see('r', await t.req('/p', 'POST', body='x'))
    t.see('log', await t.logs())


@case()
async def terminate_stream_idle(t):
    await start(t, routes=ROUTES.replace('cluster: c1, up', 'cluster: c1, idle_timeout: 0.3s, up'))
    c = await h1(t)
    await talk(t, c)
    t.see('rest', [await c.state(2), c.buf.decode()])
    await close_of(t)


@case()
async def terminate_h2_stream_idle(t):
    await start(t, routes=ROUTES.replace('cluster: c1, up', 'cluster: c1, idle_timeout: 0.3s, up'))
    c, sid = await h2(t)
    await talk(t, c, sid)
    t.see('m', (await c.done(sid, 2))['reset'])
    await close_of(t)


@case()
async def terminate_route_timeout_does_not_cut(t):
    await start(t, routes=ROUTES.replace('cluster: c1, up', 'cluster: c1, timeout: 0.2s, up'))
    c = await h1(t)
    await asyncio.sleep(0.4)
    await talk(t, c)


@case()
async def terminate_max_stream_duration(t):
    await start(t, routes=ROUTES.replace('cluster: c1, up', 'cluster: c1, max_stream_duration: {max_stream_duration: 0.3s}, up'))
    c = await h1(t)
    await talk(t, c)
    t.see('rest', [await c.state(2), c.buf.decode()])
    await close_of(t)


@case()
async def terminate_large_both_ways(t):
    await start(t)
    c, sid = await h2(t)
    blob = bytes(range(97, 123)) * 20000
    sending = asyncio.ensure_future(c.send_data(sid, blob, end=True))
    m = await c.done(sid, 5)
    await sending
    t.see('same', m['body'] == blob.upper() + b'END')
    await close_of(t)


@case()
async def terminate_type_of_case(t):
    """The type's letters compare without case, in both places."""
    await start(t, routes=ROUTES.replace('CONNECT', 'connect'), opts='{upgrade_configs: [{upgrade_type: connect}]}')
    c = await h1(t)
    await talk(t, c)


@case()
async def terminate_refused_for_other_types(t):
    code, out = await t.run_to_end(simple(t, ups=[], routes='[{match: {prefix: /}, route: {cluster: c1, upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]}}]'))
    t.see('code', code)
    t.see('says', 'Non-CONNECT upgrade type websocket has ConnectConfig' in out)


for version in ('V1', 'V2'):
    @case('terminate_tells_of_the_client_' + version.lower())
    async def _(t, version=version):
        async def conn(c):
            want = 16 + 12 if version == 'V2' else None
            head = await c.exactly(want) if want else (await c.line())
            c.up.head = head
            c.send(b'ready')
            while await c.fill():
                c.send(c.buf.upper())
                c.buf = b''
                await c.drain()
        u = await t.up('u1', conn=conn)
        await t.start(simple(t, routes=ROUTES.replace('connect_config: {}', 'connect_config: {proxy_protocol_config: {version: %s}}' % version), opts=OPTS, log=LOG))
        c = await t.conn()
        c.send(CONNECT)
        t.see('r', (await c.response(method='CONNECT', timeout=2)).line)
        t.see('ready', (await c.exactly(5)).decode())
        head = u.head
        me, there = c.w.get_extra_info('sockname')[1], t.l1
        if version == 'V1':
            t.see('head', head.decode() == 'PROXY TCP4 127.0.0.1 127.0.0.1 %d %d' % (me, there))
        else:
            t.see('head', head == b'\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c' + bytes([127, 0, 0, 1] * 2) + struct.pack('>HH', me, there))
        await talk(t, c)
        c.close()
        t.see('log', await t.logs())
