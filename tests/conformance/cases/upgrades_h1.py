"""Upgrades and CONNECT where both sides speak HTTP/1: who is allowed, what upstreams may answer, timers, ends."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%'
UP = '{upgrade_configs: [{upgrade_type: websocket}]}'
STATS = ['http.in.' + s for s in ('downstream_cx_upgrades_total', 'downstream_cx_upgrades_active', 'downstream_rq_ws_on_non_ws_route', 'downstream_rq_1xx', 'downstream_rq_completed', 'downstream_rq_response_before_rq_complete')]


def ask(*lines, kind='websocket', method='GET', path='/chat'):
    """An upgrade request: header lines without their line ends."""
    return ('%s %s HTTP/1.1\r\nHost: ws.example\r\nConnection: Upgrade\r\nUpgrade: %s\r\n' % (method, path, kind) + ''.join(l + '\r\n' for l in lines) + '\r\n').encode()


def granting(answer=b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'):
    """An upstream that answers so and then echoes bytes in upper case."""
    async def conn(c):
        m = await c.read_request(body=False)
        if m is None:
            return
        c.send(answer)
        m['tunnel'] = b''
        while True:
            if c.buf:
                m['tunnel'] += c.buf
                c.send(c.buf.upper())
                c.buf = b''
                await c.drain()
            if not await c.fill():
                m['closed'] = True
                return
    return conn


async def opened(t, raw, timeout=2):
    c = await t.conn()
    c.send(raw)
    return c, await c.response(timeout=timeout)


def connect(host='dest.example:443', *lines):
    return ('CONNECT %s HTTP/1.1\r\nHost: %s\r\n' % (host, host) + ''.join(l + '\r\n' for l in lines) + '\r\n').encode()


# ---- who is allowed
ROUTES = """
- {match: {path: /none}, direct_response: {status: 200}}
- {match: {path: /off}, route: {cluster: c1, upgrade_configs: [{upgrade_type: WebSocket, enabled: false}]}}
- {match: {path: /on}, route: {cluster: c1, upgrade_configs: [{upgrade_type: websocket}]}}
- {match: {path: /other}, route: {cluster: c1, upgrade_configs: [{upgrade_type: foo}]}}
- {match: {path: /}, route: {cluster: c1}}
"""
for name, opts in (('none', None), ('on', UP), ('off', '{upgrade_configs: [{upgrade_type: websocket, enabled: false}]}'), ('connect_only', '{upgrade_configs: [{upgrade_type: CONNECT}]}')):
    @case('allowed_hcm_' + name)
    async def _(t, opts=opts):
        await t.up('u1', conn=granting())
        await t.start(simple(t, opts=opts, routes=ROUTES, log=LOG))
        for path in ('/', '/on', '/off', '/other', '/none', '/nowhere'):
            c, r = await opened(t, ask(path=path))
            t.see(path, r)
            c.close()
        c, r = await opened(t, connect())
        t.see('connect', r)
        c.close()
        t.see('stats', await t.stats(*STATS))
        t.see('log', await t.logs())


@case()
async def refused_by_two_types(t):
    """Lists of upgrades and repeated headers are one value that nothing equals."""
    await t.up('u1', conn=granting())
    await t.start(simple(t, opts=UP, log=LOG))
    for label, raw in (('list', ask(kind='websocket, foo')), ('twice', ask('Upgrade: foo')), ('blank', ask(kind='')), ('case', ask(kind='WEBSOCKET')), ('h2c', ask(kind='h2c')), ('slash', ask(kind='websocket/13'))):
        c, r = await opened(t, raw)
        t.see(label, r)
        c.close()
    t.see('log', await t.logs())


@case()
async def connection_header_forms(t):
    """What counts as an upgrade request."""
    u = await t.up('u1', conn=granting())
    await t.start(simple(t, opts=UP, log=LOG))
    for label, line in (('plain', b'upgrade'), ('list', b'keep-alive, Upgrade'), ('upper', b'UPGRADE'), ('nominee', b'upgrade, x-hop')):
        c, r = await opened(t, b'GET / HTTP/1.1\r\nHost: a\r\nX-Hop: 1\r\nConnection: ' + line + b'\r\nUpgrade: websocket\r\n\r\n', timeout=1)
        t.see(label, r)
        c.close()
    t.see('up', u.reqs, only={'connection', 'upgrade', 'x-hop'})
    t.see('log', await t.logs())


# ---- what upstreams answer
for name, answer in (('200_length', resp(200, 'plain')), ('200_chunked', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'), ('200_close', b'HTTP/1.1 200 OK\r\nx-a: b\r\nconnection: close\r\n\r\nuntil the end'), ('204', b'HTTP/1.1 204 No Content\r\n\r\n'),
                     ('404', resp(404, 'nothing')), ('426', resp(426, 'other', [('connection', 'close')])), ('503', resp(503, 'down')), ('302', resp(302, '', [('location', '/x')])), ('101_bare', b'HTTP/1.1 101 Switching Protocols\r\n\r\n'), ('101_other', b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n'),
                     ('101_length', b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\ncontent-length: 3\r\n\r\n'), ('garbage', b'garbage\r\n\r\n')):
    @case('answer_' + name)
    async def _(t, answer=answer):
        async def conn(c):
            if await c.read_request(body=False):
                c.send(answer)
                await c.drain()
                if b'until the end' not in answer:
                    await c.fill()
        await t.up('u1', conn=conn)
        await t.start(simple(t, opts=UP, log=LOG))
        c, r = await opened(t, ask(), timeout=1)
        t.see('r', r)
        t.see('stats', await t.stats(*STATS))
        t.see('cx', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_http1_total', 'cluster.c1.upstream_rq_total', 'cluster.c1.upstream_cx_protocol_error'))
        c.close()
        t.see('log', await t.logs())


for name, answer in (('200', resp(200, 'plain')), ('302', resp(302, 'there', [('location', '/x')])), ('404', resp(404, 'nothing'))):
    @case('answer_to_other_type_' + name)
    async def _(t, answer=answer):
        async def conn(c):
            if await c.read_request(body=False):
                c.send(answer)
                await c.drain()
                await c.fill()
        await t.up('u1', conn=conn)
        await t.start(simple(t, opts='{upgrade_configs: [{upgrade_type: foo}]}', log=LOG))
        c, r = await opened(t, ask(kind='foo'), timeout=1)
        t.see('r', r)
        c.close()
        t.see('log', await t.logs())


@case()
async def tunnel_both_ways_and_stats(t):
    u = await t.up('u1', conn=granting())
    await t.start(simple(t, opts=UP, log=LOG))
    c, r = await opened(t, ask())
    t.see('r', r)
    c.send(b'x' * 100000)
    t.see('echo', len(await asyncio.wait_for(c.exactly(100000), 5)))
    t.see('during', await t.stats(*STATS, 'http.in.downstream_rq_active', 'cluster.c1.upstream_rq_active', 'cluster.c1.upstream_cx_active'))
    c.close()
    t.see('closed', bool(await t.until(lambda: u.reqs[0].get('closed'), 2)))
    t.see('after', await t.stats(*STATS, 'http.in.downstream_rq_active', 'http.in.downstream_rq_rx_reset', 'cluster.c1.upstream_rq_active', 'cluster.c1.upstream_cx_destroy_local_with_active_rq', 'cluster.c1.upstream_rq_tx_reset'))
    t.see('log', await t.logs())


@case()
async def tunnel_half_closed_by_client(t):
    u = await t.up('u1', conn=granting())
    await t.start(simple(t, opts=UP, log=LOG))
    c, r = await opened(t, ask())
    c.send(b'last')
    t.see('echo', (await asyncio.wait_for(c.exactly(4), 2)).decode())
    c.shut_wr()
    t.see('state', await c.state(2))
    t.see('closed', bool(await t.until(lambda: u.reqs[0].get('closed'), 2)))
    t.see('log', await t.logs())


@case()
async def tunnel_idle_timeout(t):
    await t.up('u1', conn=granting())
    await t.start(simple(t, opts=UP, log=LOG, routes='[{match: {prefix: /}, route: {cluster: c1, idle_timeout: 0.3s}}]'))
    c, r = await opened(t, ask())
    t.see('r', r.status)
    t.see('state', await c.state(2))
    t.see('stats', await t.stats('http.in.downstream_rq_idle_timeout', 'http.in.downstream_rq_tx_reset', *STATS))
    t.see('log', await t.logs())


@case()
async def tunnel_outlives_route_and_request_timeouts(t):
    await t.up('u1', conn=granting())
    await t.start(simple(t, opts='{upgrade_configs: [{upgrade_type: websocket}], request_timeout: 0.3s}', log=LOG, routes='[{match: {prefix: /}, route: {cluster: c1, timeout: 0.3s}}]'))
    c, r = await opened(t, ask())
    t.see('r', r.status)
    t.see('state', await c.state(0.8))
    c.send(b'still')
    t.see('echo', (await asyncio.wait_for(c.exactly(5), 2)).decode())
    c.close()
    t.see('log', await t.logs())


@case()
async def route_timeout_before_upgrade_is_granted(t):
    async def conn(c):
        await c.read_request(body=False)
        await c.fill()
    await t.up('u1', conn=conn)
    await t.start(simple(t, opts=UP, log=LOG, routes='[{match: {prefix: /}, route: {cluster: c1, timeout: 0.3s}}]'))
    c, r = await opened(t, ask(), timeout=1.5)
    t.see('r', r)
    c.close()
    t.see('log', await t.logs())


@case()
async def route_timeout_of_other_types(t):
    """The route's timeout waits for the end of the request, which an upgrade has not, but for WebSocket."""
    async def conn(c):
        await c.read_request(body=False)
        await c.fill()
    await t.up('u1', conn=conn)
    await t.start(simple(t, opts='{upgrade_configs: [{upgrade_type: foo}, {upgrade_type: CONNECT}]}', log=LOG, routes='[{match: {connect_matcher: {}}, route: {cluster: c1, timeout: 0.3s}}, {match: {prefix: /}, route: {cluster: c1, timeout: 0.3s}}]'))
    for label, raw in (('foo', ask(kind='foo')), ('connect', connect())):
        c, r = await opened(t, raw, timeout=0.8)
        t.see(label, r)
        c.close()
    t.see('log', await t.logs())


@case()
async def request_timeout_before_upgrade_is_granted(t):
    async def conn(c):
        await c.read_request(body=False)
        await c.fill()
    await t.up('u1', conn=conn)
    await t.start(simple(t, opts='{upgrade_configs: [{upgrade_type: websocket}], request_timeout: 0.3s}', log=LOG))
    c, r = await opened(t, ask(), timeout=1.5)
    t.see('r', r)
    c.close()
    t.see('log', await t.logs())


@case()
async def upgrade_with_own_filters(t):
    own = http_filter('hc', 'health_check.v3.HealthCheck', '{pass_through_mode: false, headers: [{name: ":path", string_match: {exact: /hz}}]}')
    await t.up('u1', conn=granting())
    await t.start(simple(t, opts={'upgrade_configs': [{'upgrade_type': 'websocket', 'filters': [own, router()]}]}, log=LOG))
    for path in ('/hz', '/x'):
        c, r = await opened(t, ask(path=path))
        t.see(path, r)
        c.close()
    t.see('plain', (await t.req('/hz', timeout=1)).status)
    t.see('log', await t.logs())


@case()
async def upgrade_configs_refused(t):
    for label, kw in (('hcm_twice', dict(opts='{upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: WebSocket}]}')),
                      ('route_twice', dict(routes='[{match: {prefix: /}, route: {cluster: c1, upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]}}]')),
                      ('hcm_empty_type', dict(opts='{upgrade_configs: [{}]}')), ('route_empty_type', dict(routes='[{match: {prefix: /}, route: {cluster: c1, upgrade_configs: [{}]}}]')),
                      ('no_terminal', dict(opts={'upgrade_configs': [{'upgrade_type': 'a', 'filters': [http_filter('hc', 'health_check.v3.HealthCheck', '{pass_through_mode: false}')]}]})),
                      ('connect_config_for_other', dict(routes='[{match: {prefix: /}, route: {cluster: c1, upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]}}]'))):
        t.see(label, (await t.run_to_end(simple(t, ups=[t.dead()], **kw), args=('--mode', 'validate')))[0])


# ---- CONNECT without connect_config: it goes on to the upstream
CONNECT_ON = '[{match: {connect_matcher: {}}, route: {cluster: c1}}, {match: {prefix: /}, route: {cluster: c1}}]'
for name, answer in (('200', b'HTTP/1.1 200 OK\r\n\r\n'), ('200_length', b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n'), ('200_chunked', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'), ('403', resp(403, 'no')), ('101', b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n')):
    @case('connect_forwarded_' + name)
    async def _(t, answer=answer):
        u = await t.up('u1', conn=granting(answer))
        await t.start(simple(t, opts='{upgrade_configs: [{upgrade_type: CONNECT}]}', routes=CONNECT_ON, log=LOG))
        c = await t.conn()
        c.send(connect())
        r = await c.response(method='CONNECT', timeout=1)
        t.see('r', r)
        if name.startswith('200'):
            c.send(b'hello')
            t.see('echo', (await asyncio.wait_for(c.exactly(5), 2)).decode())
        c.close()
        t.see('up', u.reqs)
        t.see('log', await t.logs())


@case()
async def connect_early_data(t):
    u = await t.up('u1', conn=granting(b'HTTP/1.1 200 OK\r\n\r\n'))
    await t.start(simple(t, opts='{upgrade_configs: [{upgrade_type: CONNECT}]}', routes=CONNECT_ON, log=LOG))
    c = await t.conn()
    c.send(connect() + b'early')
    t.see('r', await c.response(method='CONNECT', timeout=1))
    t.see('state', await c.state(0.2))
    c.close()
    t.see('log', await t.logs())


@case()
async def connect_host_ports(t):
    """Stripped ports come back on the way upstream."""
    u = await t.up('u1', conn=granting(b'HTTP/1.1 200 OK\r\n\r\n'))
    await t.start(simple(t, opts='{upgrade_configs: [{upgrade_type: CONNECT}], strip_any_host_port: true}', routes=CONNECT_ON, log=LOG + ' %REQ(:AUTHORITY)%'))
    for host in ('dest.example:443', 'dest.example:80', '[::1]:8443', 'dest.example'):
        c = await t.conn()
        c.send(connect(host))
        t.see(host, await c.response(method='CONNECT', timeout=1))
        c.close()
    t.see('up', [[m['line'] if 'line' in m else m['method'] + ' ' + m['path'], m.h('host')] for m in u.reqs])
    t.see('log', await t.logs())


@case()
async def connect_with_body_headers(t):
    await t.up('u1', conn=granting(b'HTTP/1.1 200 OK\r\n\r\n'))
    await t.start(simple(t, opts='{upgrade_configs: [{upgrade_type: CONNECT}]}', routes=CONNECT_ON, log=LOG))
    for line in ('Content-Length: 0', 'Content-Length: 5', 'Transfer-Encoding: chunked', 'Upgrade: foo', 'Connection: close', 'Expect: 100-continue'):
        c = await t.conn()
        c.send(connect('dest.example:443', line))
        t.see(line, await c.response(method='CONNECT', timeout=1))
        c.close()
    t.see('log', await t.logs())


@case()
async def connect_no_route(t):
    await t.up('u1', conn=granting())
    await t.start(simple(t, opts='{upgrade_configs: [{upgrade_type: CONNECT}]}', log=LOG))
    c, r = await opened(t, connect())
    t.see('r', r)
    t.see('stats', await t.stats(*STATS))
    t.see('log', await t.logs())
