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
            await c.r.read()
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
        # In one piece: a head that comes alone has nothing early behind it.
        sid = c.c.get_next_available_stream_id()
        c.st(sid)
        c.c.send_headers(sid, headers)
        c.c.send_data(sid, b'early')
        c.flush()
        await c.wait(lambda: c.st(sid)['headers'] or c.st(sid).get('reset'), timeout=2)
        await t.pass_time(0.1)
        t.see(name, [dict(c.st(sid)['headers']).get(':status'), c.st(sid).get('reset')])
    t.see('log', await t.logs())


# ---- twists of retries
LOG2 = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'
INSIDE = '{internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}'


def tried(name, action, respond, reqs=(H(),), stats=('cluster.c1.upstream_rq_retry', 'cluster.c1.upstream_rq_retry_success', 'cluster.c1.upstream_rq_retry_limit_exceeded'), heads=(), vh=None, **kw):
    """How often the upstream is asked, and what the client gets."""
    @case('twist_' + name)
    async def _(t):
        u = await t.up('u1', respond)
        vhosts = [{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **Y(action)}}], **(Y(vh) or {})}]
        await t.start(simple(t, vhosts=vhosts, log=LOG2, **kw))
        for i, k in enumerate(reqs):
            r = await t.req(**k)
            t.see('r%d' % i, [r.status, body_repr(r.body), *[[h, r.h(h)] for h in ('x-envoy-attempt-count', 'grpc-status', 'x-envoy-overloaded', 'x-envoy-ratelimited') if r.h(h)]])
        t.see('asked', len(u.reqs))
        for h in heads:
            t.see('header ' + h, [m.h(h) for m in u.reqs])
        t.see('stats', await t.stats(*stats))
        t.see('log', await t.logs())


def grpc(status, then='0', times=1):
    return lambda m, n: resp(200, '', [('content-type', 'application/grpc'), ('grpc-status', status if n <= times else then)])


G = ('content-type', 'application/grpc')
for word, status in {'cancelled': '1', 'deadline-exceeded': '4', 'resource-exhausted': '8', 'internal': '13', 'unavailable': '14'}.items():
    tried('grpc_' + word.replace('-', '_'), '{retry_policy: {retry_on: %s}}' % word, grpc(status), [H(G, method='POST')])
tried('grpc_condition_of_another_status', '{retry_policy: {retry_on: "cancelled,unavailable"}}', grpc('13'), [H(G, method='POST')])
tried('grpc_condition_and_no_grpc', '{retry_policy: {retry_on: unavailable}}', grpc('14'), [H()])
tried('grpc_by_header', '{}', grpc('14'), [H(G, ('x-envoy-retry-grpc-on', 'unavailable'), ('x-envoy-max-retries', '2'), method='POST')], opts=INSIDE)
tried('grpc_by_header_from_outside', '{}', grpc('14'), [H(G, ('x-forwarded-for', '8.8.8.8'), ('x-envoy-retry-grpc-on', 'unavailable'), method='POST')], opts='{use_remote_address: true, xff_num_trusted_hops: 1}')
tried('5xx_of_a_limited_answer', '{retry_policy: {retry_on: 5xx}}', lambda m, n: resp(503, 'x', [('x-envoy-ratelimited', 'true')] if n == 1 else []))
tried('limited_and_gateway_error', '{retry_policy: {retry_on: "gateway-error,envoy-ratelimited", num_retries: 3}}', lambda m, n: resp(429, 'x', [('x-envoy-ratelimited', 'true')]) if n == 1 else resp(502, 'y') if n == 2 else resp(200, 'z'))
tried('retriable_4xx_alone', '{retry_policy: {retry_on: retriable-4xx, num_retries: 2}}', lambda m, n: resp(409 if n == 1 else 404, 'x'))
tried('status_codes_of_header_and_route', '{retry_policy: {retry_on: retriable-status-codes, retriable_status_codes: [418], num_retries: 4}}', lambda m, n: resp({1: 418, 2: 420}.get(n, 200), 'x'), [H(('x-envoy-retriable-status-codes', '420, 421'))], opts=INSIDE)
tried('headers_inverted', '{retry_policy: {retry_on: retriable-headers, num_retries: 2, retriable_headers: [{name: x-ok, present_match: true, invert_match: true}]}}', lambda m, n: resp(200, 'x', [('x-ok', '1')] if n > 1 else []))
tried('request_headers_switch_off', '{retry_policy: {retry_on: 5xx, num_retries: 2, retriable_request_headers: [{name: ":method", string_match: {exact: GET}}]}}', lambda m, n: resp(503 if n % 2 else 200, 'x'), [H(method='DELETE'), H()])
tried('attempt_counts_both_ways', '{retry_policy: {retry_on: 5xx, num_retries: 3}}', lambda m, n: resp(503 if n < 3 else 200, 'x'), vh='{include_request_attempt_count: true, include_attempt_count_in_response: true}', heads=['x-envoy-attempt-count'], reqs=[H(('x-envoy-attempt-count', '7'))])
tried('limited_backoff_in_seconds', '{retry_policy: {retry_on: 5xx, num_retries: 1, rate_limited_retry_back_off: {reset_headers: [{name: retry-after, format: SECONDS}], max_interval: 0.5s}}}', lambda m, n: resp(503 if n == 1 else 200, 'x', [('retry-after', '100')]), stats=('cluster.c1.upstream_rq_retry_backoff_ratelimited', 'cluster.c1.upstream_rq_retry_backoff_exponential'))
tried('limited_backoff_by_a_point_in_the_past', '{retry_policy: {retry_on: 5xx, num_retries: 1, rate_limited_retry_back_off: {reset_headers: [{name: x-reset, format: UNIX_TIMESTAMP}]}}}', lambda m, n: resp(503 if n == 1 else 200, 'x', [('x-reset', '1000')]), stats=('cluster.c1.upstream_rq_retry_backoff_ratelimited', 'cluster.c1.upstream_rq_retry_backoff_exponential'))
tried('limited_backoff_second_header', '{retry_policy: {retry_on: 5xx, num_retries: 1, rate_limited_retry_back_off: {reset_headers: [{name: x-bad, format: SECONDS}, {name: retry-after, format: SECONDS}]}}}', lambda m, n: resp(503 if n == 1 else 200, 'x', [('x-bad', '1.5'), ('retry-after', '1')]), stats=('cluster.c1.upstream_rq_retry_backoff_ratelimited', 'cluster.c1.upstream_rq_retry_backoff_exponential'))
tried('body_larger_than_the_limit', '{retry_policy: {retry_on: 5xx, num_retries: 2}}', lambda m, n: resp(503, 'x'), [H(method='POST', body='y' * 3000)], vh='{request_body_buffer_limit: 1000}', stats=('cluster.c1.retry_or_shadow_abandoned', 'cluster.c1.upstream_rq_retry'))
tried('alt_response', '{timeout: 0.2s}', lambda m, n: asyncio.sleep(1, resp(200, 'x')), [H(('x-envoy-upstream-rq-timeout-alt-response', '1'))], opts=INSIDE, stats=('cluster.c1.upstream_rq_timeout', 'http.in.downstream_rq_2xx'))
tried('per_try_beyond_the_whole', '{timeout: 0.3s, retry_policy: {retry_on: 5xx, num_retries: 2, per_try_timeout: 0.5s}}', lambda m, n: asyncio.sleep(1, resp(200, 'x')), stats=('cluster.c1.upstream_rq_timeout', 'cluster.c1.upstream_rq_per_try_timeout'))
tried('maintenance', '{retry_policy: {retry_on: 5xx}}', lambda m, n: resp(200, 'x'), extra='{layered_runtime: {layers: [{name: s, static_layer: {upstream.maintenance_mode.c1: 100}}]}}', stats=('cluster.c1.upstream_rq_maintenance_mode', 'cluster.c1.upstream_rq_503', 'cluster.c1.upstream_rq_total'))
tried('retries_off_by_runtime', '{retry_policy: {retry_on: 5xx, num_retries: 2}}', lambda m, n: resp(503, 'x'), extra='{layered_runtime: {layers: [{name: s, static_layer: {upstream.use_retry: 0}}]}}')
