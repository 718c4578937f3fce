"""gRPC and HTTP/2 streams where something is unusual: statuses that are missing, resets by code, upgrades' odd answers, CONNECT."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %GRPC_STATUS% r=%BYTES_RECEIVED% s=%BYTES_SENT% %PROTOCOL%'
GRPC = [('content-type', 'application/grpc')]
MSG = lambda n, ch=b'm': b'\0' + struct.pack('>I', n) + ch * n
STATS = (r'^http\.in\.(downstream_rq_(.xx|rx_reset|tx_reset|timeout|completed)|rq_reset_after)$|'
         r'^cluster\.c1\.(upstream_rq_(rx_reset|tx_reset|.xx|timeout|cancelled|retry)|upstream_cx_(protocol_error|total|destroy_remote)|http2\.(header_overflow|rx_reset|tx_reset|trailers|stream_refused_errors|goaway_sent|rx_messaging_error))$')


def end_of(m):
    """How a stream ended, without what each encoder chooses."""
    return {'status': m.h(':status') if m['headers'] else None, 'type': m.h('content-type') if m['headers'] else None,
            'grpc': [m.h('grpc-status'), m.h('grpc-message')] if m['headers'] else None, 'body': m['body'].decode('latin-1'),
            'trailers': sorted(m['trailers']) if m['trailers'] else None, 'reset': m['reset']}


async def call(t, path='/p.S/m', body=MSG(3), headers=(), conn=None, method='POST', timeout=3, ty='application/grpc', end=True):
    c = conn or await t.h2()
    sid = c.request([(':method', method), (':scheme', 'http'), (':path', path), (':authority', 'a'), ('te', 'trailers'), *([('content-type', ty)] if ty else []), *headers], body, **({} if end else {'end': False}))
    return await c.done(sid, timeout)


def grpc(name, serve, routes=None, headers=(), opts=None, copts=None, ty='application/grpc', body=MSG(3), extra=None, filters=(), times=1, hpo=None):
    @case('grpc_' + name, timeout=40)
    async def f(t):
        u = await t.h2up('u1', serve)
        await t.start(simple(t, clusters=[cluster('c1', u, copts, h2=True, hpo=hpo)], routes=routes, opts=opts, log=LOG, filters=filters, extra=extra))
        for i in range(times):
            t.see('answer%d' % i, end_of(await call(t, headers=headers, ty=ty, body=body)))
        t.see('asked', len(u.reqs))
        t.see('stats', await t.stats(regex=STATS))
        t.see('log', await t.logs())


def answering(head=GRPC, data=None, trailers=None, status=200, end=None, reset=None, read=True, goaway=None):
    async def serve(s):
        if read:
            await s.body()
        if head is not None:
            s.respond(status, list(head), end=end if end is not None else data is None and trailers is None and reset is None)
        if data:
            await s.data(data, end=trailers is None and reset is None)
        if trailers is not None:
            s.trailers(list(trailers))
        if reset is not None:
            s.reset(reset)
    return serve


OK = [('grpc-status', '0')]
grpc('trailers_only', answering([*GRPC, ('grpc-status', '5'), ('grpc-message', 'no%20such')]))
grpc('status_in_head_and_trailers', answering([*GRPC, ('grpc-status', '0')], MSG(2), [('grpc-status', '13')]))
grpc('no_status_at_all', answering(GRPC, MSG(2), [('x', 'y')]))
grpc('no_trailers', answering(GRPC, MSG(2)))
grpc('head_alone', answering(GRPC))
grpc('head_with_status_and_body', answering([*GRPC, ('grpc-status', '3')], MSG(2)))
grpc('http_error', answering([('content-type', 'text/html')], b'<p>no', status=503))
grpc('http_404_grpc_type', answering(GRPC, status=404))
grpc('half_a_message', answering(GRPC, b'\0\0\0\0\x09abc', OK))
grpc('status_beyond', answering(GRPC, MSG(1), [('grpc-status', '77')]))
grpc('status_twice', answering(GRPC, MSG(1), [('grpc-status', '0'), ('grpc-status', '5')]))
for code in (0, 1, 2, 3, 5, 7, 8, 9, 11, 13, 99):
    grpc('reset_%d_before_head' % code, answering(None, reset=code))
for code in (0, 2, 7, 8):
    grpc('reset_%d_midway' % code, answering(GRPC, MSG(2), reset=code))
grpc('reset_0_after_trailers', answering(GRPC, MSG(2), OK, reset=0, read=False))
grpc('reset_0_before_reading', answering(GRPC, MSG(2), OK, reset=0, read=False), body=MSG(3))


async def never(s):
    await s.body()
    await asyncio.sleep(5)


DEADLINE = '[{match: {prefix: /}, route: {cluster: c1, timeout: 1s, max_stream_duration: {grpc_timeout_header_max: 10s}}}]'
grpc('deadline', never, DEADLINE, [('grpc-timeout', '200m')])
grpc('deadline_bounded', never, DEADLINE.replace('10s', '0.2s'), [('grpc-timeout', '5S')])
grpc('deadline_offset', never, DEADLINE.replace('10s', '10s, grpc_timeout_header_offset: 0.3s'), [('grpc-timeout', '500m')])
grpc('deadline_bad', never, DEADLINE, [('grpc-timeout', 'soon')])
grpc('deadline_old_field', never, '[{match: {prefix: /}, route: {cluster: c1, timeout: 1s, max_grpc_timeout: 0.3s}}]', [('grpc-timeout', '100m')])
grpc('route_timeout', never, '[{match: {prefix: /}, route: {cluster: c1, timeout: 0.2s}}]')
grpc('deadline_passed_on', answering([*GRPC, *OK]), DEADLINE, [('grpc-timeout', '900m')])
grpc('direct', never, '[{match: {prefix: /}, direct_response: {status: 403, body: {inline_string: "no, 100%\\n"}}}]')
grpc('no_route', never, '[{match: {prefix: /other}, route: {cluster: c1}}]')
grpc('redirect', never, '[{match: {prefix: /}, redirect: {path_redirect: /x}}]')
grpc('type_with_parameters', never, '[{match: {prefix: /}, direct_response: {status: 503}}]', ty='application/grpc; charset=utf-8')
grpc('type_with_suffix', never, '[{match: {prefix: /}, direct_response: {status: 401}}]', ty='application/grpc+json')
grpc('type_of_web', never, '[{match: {prefix: /}, direct_response: {status: 401}}]', ty='application/grpc-web')
grpc('retry_on_status', answering([*GRPC, ('grpc-status', '14')]), '[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: unavailable, num_retries: 2}}}]')
grpc('retry_on_status_in_trailers', answering(GRPC, MSG(1), [('grpc-status', '14')]), '[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: unavailable, num_retries: 2}}}]')
grpc('retry_on_reset', answering(None, reset=2), '[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: reset, num_retries: 2}}}]')
grpc('response_too_many_headers', answering([*GRPC, *[('x-%d' % i, 'y') for i in range(120)], *OK]))
grpc('trailers_too_many', answering(GRPC, MSG(1), [*[('x-%d' % i, 'y') for i in range(120)], *OK]))
grpc('trailers_too_large', answering(GRPC, MSG(1), [('x', 'y' * 70000), *OK]))
WEB = [{'name': 'w', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb'}}]
grpc('web_no_status', answering(GRPC, MSG(2)), filters=WEB, ty='application/grpc-web+proto')
grpc('web_reset', answering(GRPC, MSG(2), reset=2), filters=WEB, ty='application/grpc-web+proto')
grpc('web_local_reply', never, '[{match: {prefix: /}, direct_response: {status: 403}}]', filters=WEB, ty='application/grpc-web+proto')


@case(timeout=40)
async def grpc_cancelled_by_client(t):
    """The client resets by each code: the host is told."""
    seen = []

    async def serve(s):
        s.respond(200, GRPC)
        await s.data(MSG(1))
        await t.until(lambda: s.s['reset'] is not None, 3)
        seen.append(s.s['reset'])
    u = await t.h2up('u1', serve)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    for code in (0, 2, 5, 8, 11):
        c = await t.h2()
        sid = c.request([(':method', 'POST'), (':scheme', 'http'), (':path', '/p.S/m'), (':authority', 'a'), ('content-type', 'application/grpc'), ('te', 'trailers')], None, end=False)
        await c.wait(lambda: c.st(sid)['body'])
        n = len(seen)
        c.rst(sid, code)
        await t.until(lambda: len(seen) > n)
        c.close()
    t.see('told', seen)
    t.see('stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())


# ---- upgrades and their odd answers

UP = '{upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}, {upgrade_type: foo}], http2_protocol_options: {allow_connect: true}}'
WS = [('connection', 'upgrade'), ('upgrade', 'websocket'), ('sec-websocket-key', 'dGhlIHNhbXBsZSBub25jZQ=='), ('sec-websocket-version', '13')]


def upgraded(name, answer, headers=WS, method='GET', body=None, after=b'', opts=UP):
    """HTTP/1 on both sides: what the host answers to an upgrade, and what the client sees of it."""
    @case('upgrade_' + name, timeout=30)
    async def f(t):
        async def serve(c):
            m = await c.read_request(body=False)
            c.up.head = {k: m.h(k) for k in ('connection', 'upgrade', 'content-length', 'transfer-encoding', 'sec-websocket-key')}
            c.send(answer)
            await c.drain()
            while await c.fill():
                c.up.got = getattr(c.up, 'got', b'') + c.buf
                c.buf = b''
        u = await t.up('u1', conn=serve)
        await t.start(simple(t, opts=opts, log=LOG))
        c = await t.conn()
        c.send(build('/', method, list(headers), 'a', body))
        await c.drain()
        try:
            r = await c.response(method, 1.5)
            t.see('answer', r)
        except Exception as e:
            t.see('answer', type(e).__name__)
        try:
            c.send(after or b'ping')
            await c.drain()
            await t.pass_time(0.2)
        except ConnectionError:
            pass
        t.see('asked', getattr(u, 'head', None))
        t.see('got', getattr(u, 'got', b'').decode('latin-1'))
        t.see('state', await c.state(0.3))
        c.close()
        t.see('stats', await t.stats(regex=r'upgrades|downstream_cx_upgrades|upstream_rq_.xx$|^http\.in\.downstream_rq_.xx$'))
        t.see('log', await t.logs())


SWITCH = b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
upgraded('with_more_headers', SWITCH + b'Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: p\r\nX-Other: 1\r\nServer: me\r\nDate: now\r\n\r\n')
upgraded('with_a_length', SWITCH + b'Content-Length: 5\r\n\r\nhello')
upgraded('chunked', SWITCH + b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n')
upgraded('without_upgrade_header', b'HTTP/1.1 101 Switching Protocols\r\n\r\n')
upgraded('to_something_else', SWITCH.replace(b'websocket', b'other') + b'\r\n')
upgraded('and_bytes_at_once', SWITCH + b'\r\nfirst frame')
for code in (200, 204, 301, 304, 400, 401, 403, 404, 426, 500, 503):
    upgraded('refused_by_%d' % code, b'HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n' % code if code not in (204, 304) else b'HTTP/1.1 %d X\r\n\r\n' % code)
upgraded('refused_with_a_body', b'HTTP/1.1 403 X\r\nContent-Length: 4\r\n\r\nnope')
upgraded('refused_and_closed', b'HTTP/1.1 403 X\r\nConnection: close\r\n\r\nnope')
upgraded('continued_first', b'HTTP/1.1 100 Continue\r\n\r\n' + SWITCH + b'\r\n')
upgraded('hinted_first', b'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n' + SWITCH + b'\r\n')
upgraded('with_a_body', SWITCH + b'\r\n', body='hello')
upgraded('by_post', SWITCH + b'\r\n', method='POST', body='hello')
upgraded('of_another_type', SWITCH.replace(b'websocket', b'foo') + b'\r\n', headers=[('connection', 'upgrade'), ('upgrade', 'foo')])
upgraded('of_two_types', SWITCH + b'\r\n', headers=[('connection', 'upgrade'), ('upgrade', 'foo, websocket')])
upgraded('h2c', b'HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n', headers=[('connection', 'upgrade, http2-settings'), ('upgrade', 'h2c'), ('http2-settings', 'AAMAAABkAAQAAP__')])
upgraded('without_connection_upgrade', b'HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n', headers=WS[1:])
upgraded('unasked_101', SWITCH + b'\r\n', headers=[])


def extended(name, head, answer=None, data=b'ping', opts=UP, copts=None):
    """HTTP/2 downstream, HTTP/1 upstream."""
    @case('extended_' + name, timeout=30)
    async def f(t):
        async def serve(c):
            m = await c.read_request(body=False)
            c.up.head = {'method': m['method'], **{k: m.h(k) for k in ('connection', 'upgrade', 'content-length', 'host', 'sec-websocket-key')}}
            c.send(answer or SWITCH + b'\r\n')
            await c.drain()
            while await c.fill():
                c.up.got = getattr(c.up, 'got', b'') + c.buf
                c.send(c.buf)
                c.buf = b''
        u = await t.up('u1', conn=serve)
        await t.start(simple(t, opts=opts, log=LOG, copts=copts))
        c = await t.h2()
        sid = c.request(head, None, end=False)
        await c.wait(lambda: c.st(sid)['headers'] or c.st(sid)['reset'] is not None, 1.5)
        m = c.st(sid)
        t.see('head', [m.h(':status') if m['headers'] else None, sorted(k for k, _ in m['headers'] or []), m['reset']])
        try:
            await c.send_data(sid, data, end=True, timeout=1)
        except Exception as e:
            t.see('sending', type(e).__name__)
        await t.pass_time(0.3)
        t.see('asked', getattr(u, 'head', None))
        t.see('end', [c.st(sid)['body'].decode('latin-1'), c.st(sid)['reset']])
        c.close()
        t.see('log', await t.logs())


XC = [(':method', 'CONNECT'), (':protocol', 'websocket'), (':scheme', 'http'), (':path', '/chat'), (':authority', 'a')]
extended('usual', XC)
extended('with_key_and_version', [*XC, ('sec-websocket-version', '13'), ('sec-websocket-protocol', 'p, q'), ('origin', 'x')])
extended('without_path', [h for h in XC if h[0] != ':path'])
extended('without_scheme', [h for h in XC if h[0] != ':scheme'])
extended('by_get', [(':method', 'GET'), *XC[1:]])
extended('of_unknown_type', [(k, 'other' if k == ':protocol' else v) for k, v in XC])
extended('with_length', [*XC, ('content-length', '4')])
extended('with_upgrade_header', [*XC, ('upgrade', 'websocket')])
extended('refused_403', XC, b'HTTP/1.1 403 X\r\nContent-Length: 2\r\n\r\nno')
extended('refused_200', XC, b'HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok')
extended('refused_426', XC, b'HTTP/1.1 426 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n')
extended('cookies', [*XC, ('cookie', 'a=1'), ('cookie', 'b=2')])
extended('type_in_capitals', [(k, 'WebSocket' if k == ':protocol' else v) for k, v in XC])
