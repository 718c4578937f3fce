"""gRPC where the two sides speak different versions, deadlines in every unit, local replies of every kind, cancellation, logs."""
from harness import *

LOG = ('%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% g=%GRPC_STATUS% n=%GRPC_STATUS_NUMBER% s=%GRPC_STATUS(SNAKE_STRING)% '
       'r=%BYTES_RECEIVED% s=%BYTES_SENT% %PROTOCOL%')
TYPE = [('content-type', 'application/grpc')]
STATS = (r'^http\.in\.downstream_rq_(.xx|rx_reset|tx_reset|timeout|max_duration_reached)$|'
         r'^cluster\.c1\.(upstream_rq_(rx_reset|tx_reset|.xx|timeout|cancelled|max_duration_reached)|grpc\..*)$')


def message(data=b'hello'):
    return b'\0' + struct.pack('>I', len(data)) + data


def h1_request(body=message(), more=()):
    return build('/p.S/M', 'POST', [*TYPE, ('te', 'trailers'), *more], 'a', body)


def h2_head(more=()):
    return [(':method', 'POST'), (':scheme', 'http'), (':path', '/p.S/M'), (':authority', 'a'), *TYPE, ('te', 'trailers'), *more]


def answer_of(m):
    return {'head': sorted('%s: %s' % h for h in m['headers'] or [] if h[0] not in ('date', 'server', 'x-envoy-upstream-service-time')),
            'body': m['body'].decode('latin-1'), 'trailers': sorted(m['trailers']) if m['trailers'] else None,
            'end': ['ended' if m['ended'] else 'open', m['reset']]}


async def start(t, h2, serve, routes=None, opts=None, filters=(), copts=None, extra=None):
    u = await (t.h2up('u1', serve) if h2 else t.up('u1', conn=serve))
    await t.start(simple(t, clusters=[cluster('c1', u, copts, h2=h2)], routes=routes, opts=opts, log=LOG, filters=filters, extra=extra))
    return u


async def by_h2(t, more=(), body=message(), timeout=2):
    c = await t.h2()
    sid = c.request(h2_head(more), body)
    m = await c.done(sid, timeout)
    t.see('answer', answer_of(m))
    c.close()


async def by_h1(t, more=()):
    c = await t.conn()
    c.send(h1_request(more=more))
    t.see('answer', await c.response('POST', 2))
    c.close()


async def close(t):
    t.see('stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())


def crossing(name, down2, up2, h1_answer, h2_answer, opts=None, copts=None):
    @case('cross_%s_h%d_h%d' % (name, 2 if down2 else 1, 2 if up2 else 1), timeout=20)
    async def f(t):
        async def serve1(c):
            await c.read_request()
            c.send(h1_answer)
            await c.drain()
            await c.fill()

        async def serve2(s):
            await s.body()
            await h2_answer(s)
        await start(t, up2, serve2 if up2 else serve1, opts=opts, copts=copts)
        await (by_h2(t) if down2 else by_h1(t))
        await close(t)


async def with_trailers(s):
    s.respond(200, TYPE)
    await s.data(message(b'yes'))
    s.trailers([('grpc-status', '5'), ('grpc-message', 'no%20such'), ('x', 'y')])


async def trailers_only(s):
    s.respond(200, [*TYPE, ('grpc-status', '7'), ('grpc-message', 'stop')], end=True)


async def no_trailers(s):
    s.respond(200, TYPE)
    await s.data(message(b'yes'), end=True)


CHUNKED = b'HTTP/1.1 200 X\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n'
WITH = CHUNKED + b'Trailer: grpc-status\r\n\r\n' + chunk(message(b'yes'), trailers=[('grpc-status', '5'), ('grpc-message', 'no%20such'), ('x', 'y')])
ONLY = b'HTTP/1.1 200 X\r\nContent-Type: application/grpc\r\ngrpc-status: 7\r\ngrpc-message: stop\r\nContent-Length: 0\r\n\r\n'
ENABLED = '{http_protocol_options: {enable_trailers: true}}'
CLUSTER_TRAILERS = {'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {'@type': T_HPO, 'explicit_http_config': {'http_protocol_options': {'enable_trailers': True}}}}}
for down2 in (False, True):
    for up2 in (False, True):
        if not (down2 and up2):
            crossing('trailers', down2, up2, WITH, with_trailers)
            crossing('trailers_enabled', down2, up2, WITH, with_trailers, ENABLED, None if up2 else CLUSTER_TRAILERS)
            crossing('trailers_only', down2, up2, ONLY, trailers_only)
            crossing('no_trailers', down2, up2, CHUNKED + b'\r\n' + chunk(message(b'yes')), no_trailers)


@case(timeout=20)
async def request_trailers_h2_to_h1(t):
    """Trailers of a request toward an HTTP/1 host, enabled and not, and back from one."""
    async def serve(c):
        await c.read_request()
        c.send(ONLY)
        await c.drain()
        await c.fill()
    u = await start(t, False, serve, copts=CLUSTER_TRAILERS)
    c = await t.h2()
    sid = c.request(h2_head(), message(), end=False)
    await c.wait(lambda: False, 0.05)
    c.headers(sid, [('x-end', '1')])
    t.see('answer', answer_of(await c.done(sid, 2)))
    t.see('asked', [[m['body'].decode('latin-1'), m['trailers'], m.h('transfer-encoding')] for m in u.reqs])
    await close(t)


# ---- deadlines

async def never(s):
    await s.conn.wait(lambda: s.s['reset'] is not None, 4)

MAX = '[{match: {prefix: /}, route: {cluster: c1, timeout: 3s, max_stream_duration: {%s}}}]'
OLD = '[{match: {prefix: /}, route: {cluster: c1, timeout: 3s, %s}}]'


def told(name, routes, values):
    """What the host is told of the deadline."""
    @case('deadline_told_' + name, timeout=20)
    async def f(t):
        async def serve(s):
            await s.body()
            s.respond(200, [*TYPE, ('grpc-status', '0')], end=True)
        u = await start(t, True, serve, routes)
        for value in values:
            c = await t.h2()
            sid = c.request(h2_head([('grpc-timeout', value)] if value is not None else []), message())
            await c.done(sid, 2)
            c.close()
        t.see('told', [[hget(m['headers'], 'grpc-timeout'), hget(m['headers'], 'x-envoy-expected-rq-timeout-ms')] for m in u.reqs])



UNITS = ['1H', '2M', '3S', '1400m', '1500000u', '99999999S', '0S', '0m', '100000000S', '1.5S', '-1S', 'S', '5', '5s', '', ' 5S', '5S ', '00000005S', '1H1M', None]
told('max_of_none', MAX % 'grpc_timeout_header_max: 0s', UNITS)
told('max_of_two_seconds', MAX % 'grpc_timeout_header_max: 2s', UNITS)
told('max_and_offset', MAX % 'grpc_timeout_header_max: 2s, grpc_timeout_header_offset: 0.5s', UNITS)
told('max_and_stream_duration', MAX % 'max_stream_duration: 4s, grpc_timeout_header_max: 2s', UNITS)
told('stream_duration_alone', MAX % 'max_stream_duration: 4s', UNITS)
told('old_max_of_none', OLD % 'max_grpc_timeout: 0s', UNITS)
told('old_max', OLD % 'max_grpc_timeout: 2s', UNITS)
told('old_max_and_offset', OLD % 'max_grpc_timeout: 2s, grpc_timeout_offset: 0.5s', UNITS)
told('nothing_said', '[{match: {prefix: /}, route: {cluster: c1, timeout: 3s}}]', UNITS)


def late(name, routes, value, down2=True, opts=None):
    @case('deadline_late_%s%s' % (name, '' if down2 else '_h1'), timeout=20)
    async def f(t):
        u = await start(t, True, never, routes, opts)
        await (by_h2(t, [('grpc-timeout', value)]) if down2 else by_h1(t, [('grpc-timeout', value)]))
        await t.until(lambda: all(m['reset'] is not None for m in u.reqs), 0.5)
        t.see('host', [m['reset'] for m in u.reqs])
        await close(t)


for down2 in (True, False):
    late('max', MAX % 'grpc_timeout_header_max: 0s', '200m', down2)
    late('micros', MAX % 'grpc_timeout_header_max: 0s', '200000u', down2)
    late('old', OLD % 'max_grpc_timeout: 0s', '200m', down2)
    late('zero_old', OLD % 'max_grpc_timeout: 0.2s', '0m', down2)
    late('stream_duration', MAX % 'max_stream_duration: 0.2s', '5S', down2)
    late('of_the_listener', OLD % 'retry_policy: {num_retries: 0}', '5S', down2, '{common_http_protocol_options: {max_stream_duration: 0.2s}}')
    late('idle', OLD % 'idle_timeout: 0.2s', '5S', down2)


# ---- local replies

def local(name, routes=None, opts=None, filters=(), copts=None, dead=False, more=(), path_headers=None, extra=None, body=message()):
    for down2 in (True, False):
        @case('local_%s%s' % (name, '' if down2 else '_h1'), timeout=20)
        async def f(t, down2=down2):
            async def serve(s):
                s.reset(2)
            if dead:
                await t.start(simple(t, clusters=[cluster('c1', t.dead(), copts, h2=True)], routes=routes, opts=opts, log=LOG, filters=filters, extra=extra))
            else:
                await start(t, True, serve, routes, opts, filters, copts, extra)
            await (by_h2(t, more, body) if down2 else by_h1(t, more))
            await close(t)


def direct(status, text='x', more=''):
    return '[{match: {prefix: /}, direct_response: {status: %d, body: {inline_string: "%s"}}%s}]' % (status, text, more)


for status in (200, 204, 301, 400, 401, 403, 404, 413, 418, 429, 500, 501, 502, 503, 504):
    local('direct_%d' % status, direct(status, '' if status == 204 else 'said %d' % status))
local('message_of_odd_bytes', direct(403, 'a b%c\\"d\\\\e\\tf\\nü~'))
local('message_empty', '[{match: {prefix: /}, direct_response: {status: 403}}]')
local('reset_by_host')
local('no_cluster', '[{match: {prefix: /}, route: {cluster: other}}]', {'route_config': {'validate_clusters': False}})
local('cluster_header_missing', '[{match: {prefix: /}, route: {cluster_header: x-c}}]')
local('no_route', '[{match: {path: /other}, route: {cluster: c1}}]')
local('no_host_fits', '[{match: {prefix: /}, route: {cluster: c1}}]', copts='{load_assignment: {cluster_name: c1, endpoints: []}}')
local('breaker', copts='{circuit_breakers: {thresholds: [{max_requests: 0}]}}', body=None)
local('pending_breaker', copts='{circuit_breakers: {thresholds: [{max_pending_requests: 0}]}}', body=None)
local('rbac', filters=[http_filter('r', 'rbac.v3.RBAC', {'rules': {'action': 'DENY', 'policies': {'p': {'permissions': [{'any': True}], 'principals': [{'any': True}]}}}})])
local('fault', filters=[http_filter('f', 'fault.v3.HTTPFault', {'abort': {'http_status': 429, 'percentage': {'numerator': 100}}})])
local('fault_grpc', filters=[http_filter('f', 'fault.v3.HTTPFault', {'abort': {'grpc_status': 9, 'percentage': {'numerator': 100}}})])
local('rewritten', direct(403, 'no'), opts={'local_reply_config': {'mappers': [{'filter': {'status_code_filter': {'comparison': {'op': 'EQ', 'value': {'default_value': 403, 'runtime_key': 'k'}}}}, 'status_code': 404, 'body': {'inline_string': 'mapped: é\n'}, 'headers_to_add': [{'header': {'key': 'x-m', 'value': '1'}}]}]}})
local('json_body', direct(503, 'no'), opts={'local_reply_config': {'body_format': {'json_format': {'code': '%RESPONSE_CODE%', 'text': '%LOCAL_REPLY_BODY%'}}}})
local('with_route_headers', direct(403, 'no', ', response_headers_to_add: [{header: {key: x-r, value: "%RESPONSE_CODE%"}}]'))
local('rate_limited', filters=[http_filter('l', 'local_ratelimit.v3.LocalRateLimit', {'stat_prefix': 'l', 'token_bucket': {'max_tokens': 1, 'tokens_per_fill': 1, 'fill_interval': '3600s'}, 'filter_enabled': {'default_value': {'numerator': 0}}, 'filter_enforced': {'default_value': {'numerator': 0}}})])
local('path_refused', opts='{path_with_escaped_slashes_action: REJECT_REQUEST, normalize_path: true}')


# ---- cancellation, and both directions at once

@case(timeout=20)
async def half_duplex(t):
    """The host answers each message as it comes, and goes on behind the end of the request."""
    async def serve(s):
        s.respond(200, TYPE)
        await s.conn.wait(lambda: len(s.s['body']) >= 10, 2)
        await s.data(message(b'one'))
        await s.conn.wait(lambda: s.s['ended'], 2)
        await s.data(message(b'two'))
        s.trailers([('grpc-status', '0')])
    await start(t, True, serve)
    c = await t.h2()
    sid = c.request(h2_head(), message(), end=False)
    await c.wait(lambda: c.st(sid)['body'], 2)
    t.see('first', c.st(sid)['body'].decode('latin-1'))
    await c.send_data(sid, message(b'more'), end=True)
    t.see('answer', answer_of(await c.done(sid, 2)))
    await close(t)


@case(timeout=20)
async def trailers_before_the_request_ends(t):
    """The host ends the call first: the client's stream ends with NO_ERROR, the host's is reset."""
    async def serve(s):
        s.respond(200, TYPE)
        await s.data(message(b'one'))
        s.trailers([('grpc-status', '8')])
    u = await start(t, True, serve)
    c = await t.h2()
    sid = c.request(h2_head(), message(), end=False)
    await c.wait(lambda: c.st(sid)['reset'] is not None, 1)
    t.see('answer', answer_of(c.st(sid)))
    await t.until(lambda: u.reqs[0]['reset'] is not None, 1)
    t.see('host', u.reqs[0]['reset'])
    await close(t)


for code in (0, 1, 2, 5, 7, 8, 11, 13):
    @case('cancelled_by_client_%d' % code, timeout=20)
    async def f(t, code=code):
        """What the host is told of a client's reset, before an answer and within it; and the log."""
        async def serve(s):
            if s.h('x-answer'):
                s.respond(200, TYPE)
                await s.data(message(b'one'))
        u = await start(t, True, serve)
        for more in ([], [('x-answer', '1')]):
            c = await t.h2()
            sid = c.request(h2_head(more), message(), end=False)
            await (c.wait(lambda: c.st(sid)['body'], 1) if more else t.until(lambda: u.reqs and u.reqs[0]['body'], 1))
            c.rst(sid, code)
            await t.until(lambda: u.reqs[-1]['reset'] is not None, 1)
            c.close()
        t.see('host', [m['reset'] for m in u.reqs])
        await close(t)


@case(timeout=20)
async def client_of_http1_leaves(t):
    """What an HTTP/2 host is told where a client of HTTP/1 closes its connection."""
    async def serve(s):
        s.respond(200, TYPE)
        await s.data(message(b'one'))
    u = await start(t, True, serve)
    c = await t.conn()
    c.send(h1_request())
    await t.until(lambda: u.reqs and u.reqs[0]['ended'], 1)
    c.close()
    await t.until(lambda: u.reqs[0]['reset'] is not None, 1)
    t.see('host', u.reqs[0]['reset'])
    await close(t)
