"""Time limits of answers that nobody reads, and what comes before a tunnel is there."""
from harness import *
from harness.tables import H

LOG = '%REQ(:METHOD)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT%'
FLUSH = ['http2.tx_flush_timeout', 'http2.tx_reset', 'http.in.downstream_rq_tx_reset', 'http.in.downstream_rq_rx_reset', 'http.in.downstream_rq_idle_timeout', 'http.in.downstream_rq_max_duration_reached',
         'http.in.downstream_rq_2xx', 'cluster.c1.upstream_rq_completed', 'http.in.downstream_rq_active']
ROUTE = '[{match: {prefix: /}, route: {cluster: c1, %s}}]'


def unread(name, opts=None, route='', wait=0.9, trailers=False, opened=False, body=2000):
    """What becomes of a stream whose answer is complete but finds no window."""
    @case('flush_timeout_' + name)
    async def _(t):
        async def handler(s):
            s.respond(200, [('x-a', 'b')])
            if trailers:
                await s.data(b'x' * body)
                s.trailers([('x-t', '1')])
            else:
                await s.data(b'x' * body, end=True)
        if trailers:
            u = await t.h2up('u1', handler)
            clusters = [cluster('c1', u, h2=True)]
        else:
            u = await t.up('u1', lambda m, n: resp(200, 'x' * body))
            clusters = [cluster('c1', u)]
        await t.start(simple(t, clusters=clusters, routes=ROUTE % route, opts=opts, log=LOG))
        c = await t.h2(settings={4: 10}, auto_window=False)
        sid = c.request([(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')])
        await c.wait(lambda: c.st(sid)['headers'])
        await t.pass_time(wait)
        t.see('reset', c.st(sid).get('reset'))
        t.see('bytes', len(c.st(sid)['body']))
        if opened:
            c.c.increment_flow_control_window(100000, sid)
            c.flush()
            await t.pass_time(0.2)
            t.see('bytes then', len(c.st(sid)['body']))
        t.see('stats', await t.stats(*FLUSH))
        t.see('log', await t.logs())


unread('of_the_manager', '{stream_flush_timeout: 0.3s}')
unread('of_the_route', None, 'flush_timeout: 0.3s')
unread('of_the_route_over_the_manager', '{stream_flush_timeout: 0.3s}', 'flush_timeout: 10s')
unread('off_by_the_route', '{stream_flush_timeout: 0.3s}', 'flush_timeout: 0s')
unread('off_by_the_manager', '{stream_flush_timeout: 0s, stream_idle_timeout: 0.3s}')
unread('longer_than_idle', '{stream_flush_timeout: 10s, stream_idle_timeout: 0.3s}')
unread('of_the_manager_over_the_idle_time_of_the_route', '{stream_flush_timeout: 10s}', 'idle_timeout: 0.3s')
unread('by_the_idle_time_of_the_manager', '{stream_idle_timeout: 0.3s}')
unread('by_the_idle_time_of_the_route', '{stream_idle_timeout: 10s}', 'idle_timeout: 0.3s')
unread('and_the_longest_duration', '{stream_flush_timeout: 10s, common_http_protocol_options: {max_stream_duration: 0.3s}}')
unread('and_the_route_timeout', '{stream_flush_timeout: 10s}', 'timeout: 0.3s')
unread('with_trailers', '{stream_flush_timeout: 0.3s}', trailers=True)
unread('in_time', '{stream_flush_timeout: 2s}', wait=0.3, opened=True)
unread('of_a_large_answer', '{stream_flush_timeout: 0.3s, stream_idle_timeout: 0.6s}', body=3000000, wait=1.2)


@case('flush_timeout_moves_with_the_window')
async def _(t):
    """The time runs from the end of the answer on, whatever goes out meanwhile."""
    u = await t.up('u1', lambda m, n: resp(200, 'x' * 2000))
    await t.start(simple(t, opts='{stream_flush_timeout: 0.5s}', log=LOG))
    c = await t.h2(settings={4: 10}, auto_window=False)
    sid = c.request([(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')])
    await c.wait(lambda: c.st(sid)['headers'])
    for _ in range(4):
        await t.pass_time(0.25)
        if c.st(sid)['reset'] is not None:
            break
        c.c.increment_flow_control_window(10, sid)
        c.flush()
    t.see('reset', c.st(sid).get('reset'))
    t.see('stats', await t.stats('http2.tx_flush_timeout'))


@case('flush_timeout_over_http1')
async def _(t):
    """HTTP/1 has no such time: the stream's idle time counts."""
    u = await t.up('u1', lambda m, n: resp(200, 'x' * 8000000))
    await t.start(simple(t, opts='{stream_flush_timeout: 0.2s}', log=LOG, lextra='{per_connection_buffer_limit_bytes: 20000000}', copts='{per_connection_buffer_limit_bytes: 20000000}'))
    r, w = await asyncio.open_connection('127.0.0.1', t.l1, limit=1024)
    w.write(build('/', 'GET', (), 'a', None, 'HTTP/1.1'))
    await t.pass_time(0.8)
    got = 0
    try:
        while got < 8000000:
            piece = await asyncio.wait_for(r.read(65536), 1)
            if not piece:
                break
            got += len(piece)
    except asyncio.TimeoutError:
        pass
    t.see('all of it', got > 8000000)
    w.close()
    t.see('stats', await t.stats('http.in.downstream_rq_tx_reset', 'http.in.downstream_rq_idle_timeout'))


# ---- what comes before a tunnel is there
CONNECT = '[{match: {connect_matcher: {}}, route: {cluster: c1, upgrade_configs: [{upgrade_type: CONNECT%s}]}}, {match: {prefix: /}, route: {cluster: c1}}]'
ENDS = ', connect_config: {}'
OPTS = '{upgrade_configs: [{upgrade_type: CONNECT}, {upgrade_type: websocket}], http2_protocol_options: {allow_connect: true}}'


def early(name, send, reject=True, ends=ENDS, respond=None, want=200):
    """Bytes behind the head of a request, over HTTP/1."""
    @case('connect_early_' + name)
    async def _(t):
        async def conn(c):
            if not ends:
                await c.r.readuntil(b'\r\n\r\n')
                await asyncio.sleep(0.2)
                c.send(respond or b'HTTP/1.1 200 OK\r\n\r\n')
                await c.drain()
            await asyncio.sleep(1)
        u = await t.up('u1', conn=conn)
        await t.start(simple(t, routes=CONNECT % ends, opts=OPTS, rt=router(reject_connect_request_early_data=reject), log=LOG))
        c = await t.conn()
        c.send(send)
        t.see('r', await c.response('CONNECT', 2))
        t.see('stats', await t.stats('cluster.c1.upstream_rq_total', 'cluster.c1.upstream_rq_4xx', 'cluster.c1.upstream_rq_tx_reset', 'http.in.downstream_rq_4xx', 'cluster.c1.upstream_cx_total'))
        t.see('log', await t.logs())


HEAD = b'CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n\r\n'
early('of_a_forwarded_connect', HEAD + b'early', ends='')
early('of_a_forwarded_connect_allowed', HEAD + b'early', ends='', reject=False)
early('of_a_forwarded_connect_refused', HEAD, ends='', respond=b'HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n')
early('nothing', HEAD)
early('of_a_websocket', b'GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly', ends='', respond=b'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
early('of_a_post', b'POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nearly', ends='', respond=b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')


@case('connect_early_over_http2')
async def _(t):
    async def conn(c):
        await asyncio.sleep(1)
    u = await t.up('u1', conn=conn)
    await t.start(simple(t, routes=CONNECT % ENDS, opts=OPTS, rt=router(reject_connect_request_early_data=True), log=LOG))
    for name, headers in {'plain': [(':method', 'CONNECT'), (':authority', 'h:80')], 'extended': [(':method', 'CONNECT'), (':protocol', 'websocket'), (':scheme', 'http'), (':path', '/'), (':authority', 'h')]}.items():
        c = await t.h2()
        sid = c.request(headers, None, False)
        c.c.send_data(sid, b'early')
        c.flush()
        await c.wait(lambda: c.st(sid)['headers'] or c.st(sid).get('reset'), timeout=2)
        await t.pass_time(0.1)
        t.see(name, [dict(c.st(sid)['headers']).get(':status'), c.st(sid).get('reset')])
    t.see('log', await t.logs())
