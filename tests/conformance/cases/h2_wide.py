"""HTTP/2 between two peers who do unusual things: refusals, GOAWAY, keepalive, METADATA, one large answer among small ones."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %PROTOCOL% n=%UPSTREAM_REQUEST_ATTEMPT_COUNT%'
GET = [(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')]


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


def retry(on):
    return '[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: %s, num_retries: 2, retry_back_off: {base_interval: 0.01s}}}}]' % on


def h2(u, opts=True, extra=None):
    return [cluster('c1', u, extra, h2=opts)]


# ---- METADATA (0x4d), which nothing here allows
@case()
async def metadata_of_client_is_passed_over(t):
    await t.up()
    await t.start(simple(t, log=LOG))
    c = await t.h2()
    sid = c.request([(':method', 'POST')] + GET[1:], end=False)
    c.raw(frame(0x4d, 4, sid, b'\x00\x01a\x01b'))
    c.raw(frame(0x4d, 4, 0, b'\x00\x01a\x01b'))
    await c.send_data(sid, b'x', end=True)
    t.see('m', await c.done(sid, 2))
    t.see('goaway', c.goaways)


@case()
async def metadata_of_upstream_is_passed_over(t):
    async def handler(s):
        await s.body()
        s.respond(200)
        s.conn.raw(frame(0x4d, 4, s.sid, b'\x00\x01a\x01b'))
        await s.data(b'ok', end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log=LOG))
    t.see('m', await t.h2req('/'))


@case()
async def unknown_frames_and_flags(t):
    await t.up()
    await t.start(simple(t, log=LOG))
    c = await t.h2()
    c.raw(frame(0xfe, 0xff, 0, b'zzz'))
    sid = c.request(GET)
    c.raw(frame(0xfe, 0xff, sid, b'zzz'))
    t.see('m', await c.done(sid, 2))


# ---- refusals
def refusing(times, code=7):
    async def handler(s):
        await s.body()
        if len(s.up.reqs) <= times:
            return s.reset(code)
        s.respond(200)
        await s.data(b'ok %d' % len(s.up.reqs), end=True)
    return handler


for name, code in (('refused', 7), ('internal', 2), ('cancel', 8), ('no_error', 0), ('enhance_calm', 11), ('http11', 13), ('protocol', 1), ('connect', 10)):
    @case('upstream_reset_%s_without_policy' % name)
    async def _(t, code=code):
        u = await t.h2up('u1', refusing(9, code))
        await t.start(simple(t, clusters=h2(u), log=LOG))
        t.see('m', await t.h2req('/'))
        t.see('asked', len(u.reqs))
        t.see('stats', await t.stats('cluster.c1.upstream_rq_rx_reset', 'cluster.c1.upstream_rq_tx_reset', 'cluster.c1.upstream_rq_total', 'cluster.c1.upstream_cx_total'))
        t.see('log', await t.logs())

for on in ('refused-stream', 'reset', 'reset-before-request', 'connect-failure', 'gateway-error'):
    @case('upstream_refuses_retry_on_' + on.replace('-', '_'))
    async def _(t, on=on):
        u = await t.h2up('u1', refusing(1))
        await t.start(simple(t, clusters=h2(u), routes=retry(on), log=LOG))
        t.see('m', await t.h2req('/'))
        t.see('asked', len(u.reqs))
        t.see('stats', await t.stats('cluster.c1.upstream_rq_retry', 'cluster.c1.upstream_rq_retry_success', 'cluster.c1.upstream_rq_rx_reset'))
        t.see('log', await t.logs())


@case()
async def upstream_refuses_a_post_retried(t):
    u = await t.h2up('u1', refusing(1))
    await t.start(simple(t, clusters=h2(u), routes=retry('refused-stream'), log=LOG))
    t.see('m', await t.h2req('/', 'POST', body=b'hello'))
    t.see('bodies', [m['body'].decode() for m in u.reqs])


# ---- GOAWAY
@case()
async def upstream_goaway_lets_streams_finish(t):
    go = asyncio.Event()

    async def handler(s):
        await s.body()
        if s.h(':path') == '/slow':
            s.respond(200)
            s.goaway_raw(0, s.sid)
            await go.wait()
            await s.data(b'slow', end=True)
        else:
            s.respond(200)
            await s.data(b'quick', end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log=LOG))
    c = await t.h2()
    slow = c.request(GET[:2] + [(':path', '/slow')] + GET[3:])
    await c.wait(lambda: c.st(slow)['headers'], 2)
    await t.stat_until('cluster.c1.upstream_cx_close_notify', lambda v: v == 1)
    t.see('quick', await t.h2req('/quick', conn=c))
    go.set()
    t.see('slow', await c.done(slow, 2))
    t.see('conns', u.conns)
    t.see('stats', await t.stats('cluster.c1.upstream_cx_close_notify', 'cluster.c1.upstream_cx_total', 'cluster.c1.upstream_rq_rx_reset'))


@case()
async def upstream_goaway_before_the_stream(t):
    """What was not looked at is tried elsewhere only with a policy."""
    async def handler(s):
        if len(s.up.reqs) == 1:
            s.goaway_raw(0, 0)
            await asyncio.sleep(0.05)
            s.conn.close()
            return
        await s.body()
        s.respond(200)
        await s.data(b'ok', end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log=LOG))
    t.see('m', await t.h2req('/'))
    t.see('again', await t.h2req('/'))
    t.see('log', await t.logs())


@case()
async def client_goaway_lets_streams_finish(t):
    await t.up('u1', delay=0.2)
    await t.start(simple(t, log=LOG))
    c = await t.h2()
    sid = c.request(GET)
    c.raw(frame(7, 0, 0, struct.pack('>II', 0, 0)))
    t.see('m', await c.done(sid, 2))


# ---- limits of the peer
@case()
async def upstream_allows_one_stream(t):
    go = asyncio.Event()

    async def handler(s):
        await s.body()
        if len(s.up.reqs) > 1:
            go.set()
        await asyncio.wait_for(go.wait(), 3)
        s.respond(200)
        await s.data(b'c%d' % s.s['conn'], end=True)
    u = await t.h2up('u1', handler, settings={3: 1})
    await t.start(simple(t, clusters=h2(u), log=LOG))
    c = await t.h2()
    first = c.request(GET)
    await t.until(lambda: len(u.reqs) == 1, 2)
    second = c.request(GET)
    t.see('first', (await c.done(first, 4))['body'].decode())
    t.see('second', (await c.done(second, 4))['body'].decode())
    t.see('conns', u.conns)


@case()
async def upstream_small_initial_window(t):
    async def handler(s):
        body = await s.body()
        s.respond(200)
        await s.data(b'%d' % len(body), end=True)
    u = await t.h2up('u1', handler, settings={4: 1000})
    await t.start(simple(t, clusters=h2(u), log=LOG))
    t.see('m', await t.h2req('/', 'POST', body=b'x' * 50000))


@case()
async def upstream_pushes(t):
    """A promise that was forbidden ends the connection."""
    async def handler(s):
        await s.body()
        s.conn.raw(frame(5, 4, s.sid, struct.pack('>I', 2) + b'\x82\x86\x84\x01\x01a'))
        await asyncio.sleep(0.2)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log='%RESPONSE_CODE% %RESPONSE_FLAGS%'))
    m = await t.h2req('/')
    t.see('status', t.hs(m['headers'])[0])
    t.see('stats', await t.stats('cluster.c1.upstream_cx_protocol_error'))
    t.see('log', await t.logs())


# ---- a host that speaks HTTP/1
BAD_REQUEST = b'HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'


async def of_http1(t, conn, **request):
    """What comes of requests to a host that takes HTTP/2 for a broken request."""
    u = await t.up('u1', conn=conn)
    await t.start(simple(t, clusters=h2(u), log=LOG))
    t.see('m', await t.h2req('/', **request))
    t.see('again', t.hs((await t.h2req('/', **request))['headers'])[0])
    t.see('conns', u.conns)
    t.see('stats', await t.stats('cluster.c1.upstream_rq_502', 'cluster.c1.upstream_rq_503', 'cluster.c1.upstream_cx_protocol_error',
                                 'cluster.c1.upstream_cx_destroy_local_with_active_rq', 'cluster.c1.upstream_cx_destroy_remote_with_active_rq'))
    t.see('log', await t.logs())


@case()
async def upstream_is_http1_and_closes(t):
    async def conn(c):
        await c.fill()
        c.send(BAD_REQUEST)
        c.close()
    await of_http1(t, conn)


@case()
async def upstream_is_http1_and_closes_on_a_post(t):
    async def conn(c):
        await c.fill()
        c.send(BAD_REQUEST)
        c.close()
    await of_http1(t, conn, method='POST', body=b'hello')


@case()
async def upstream_is_http1_and_stays(t):
    async def conn(c):
        await c.fill()
        c.send(BAD_REQUEST)
        while await c.fill():
            c.buf = b''
    await of_http1(t, conn)


@case()
async def upstream_is_http1_and_answers_nothing(t):
    async def conn(c):
        await c.fill()
        c.close()
    await of_http1(t, conn)


@case()
async def upstream_is_http1_and_says_it_in_pieces(t):
    async def conn(c):
        await c.fill()
        for piece in (BAD_REQUEST[:4], BAD_REQUEST[4:20], BAD_REQUEST[20:]):
            c.send(piece)
            await c.drain()
            await asyncio.sleep(0.02)
        c.close()
    await of_http1(t, conn)


@case()
async def upstream_breaks_a_rule_of_frames(t):
    """It is a protocol error of the connection, and its streams are told so before it is closed."""
    async def conn(c):
        await c.fill()
        c.send(frame(4, 0, 0) + frame(0, 0, 0, b'data of no stream'))
        while await c.fill():
            c.buf = b''
    await of_http1(t, conn)


# ---- keepalive
@case()
async def keepalive_upstream_unanswered(t):
    async def conn(c):
        # Speaks enough to be taken for a server, and answers no PING.
        c.send(frame(4, 0, 0))
        while await c.fill():
            c.buf = b''
    u = await t.up('u1', conn=conn)
    await t.start(simple(t, clusters=h2(u, {'connection_keepalive': {'interval': '0.1s', 'timeout': '0.1s'}}), log=LOG))
    t.see('m', await t.h2req('/'))
    t.see('stats', await t.stats('cluster.c1.http2.keepalive_timeout', 'cluster.c1.upstream_cx_destroy_local_with_active_rq'))
    t.see('log', await t.logs())


@case()
async def keepalive_downstream_unanswered(t):
    await t.up('u1', delay=1)
    await t.start(simple(t, opts={'http2_protocol_options': {'connection_keepalive': {'interval': '0.1s', 'timeout': '0.1s'}}}, log=LOG))
    c = await t.conn()
    c.send(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + frame(4, 0, 0) + frame(1, 5, 1, b'\x82\x86\x84\x01\x01a'))
    t.see('closed', (await c.state(2)).endswith('closed'))
    t.see('stats', await t.stats('http.in.http2.keepalive_timeout', 'http2.keepalive_timeout'))
    t.see('log', await t.logs())


@case()
async def keepalive_answered(t):
    u = await t.h2up('u1')
    await t.start(simple(t, clusters=h2(u, {'connection_keepalive': {'interval': '0.05s', 'timeout': '0.2s'}}), log=LOG))
    c = await t.h2()
    t.see('a', (await t.h2req('/', conn=c))['body'].decode())
    await asyncio.sleep(0.4)
    t.see('b', (await t.h2req('/', conn=c))['body'].decode())
    t.see('conns', u.conns)
    t.see('pings', sum(1 for s in u.live for k, flags, _ in s.frames if k == 6 and not flags & 1) >= 3)


# ---- fairness
@case()
async def one_large_answer_among_small_ones(t):
    """Small answers pass a large one that its client takes slowly."""
    async def handler(s):
        await s.body()
        s.respond(200)
        await s.data(b'x' * 3000000 if s.h(':path') == '/large' else b'small', end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log=LOG))
    c = await t.h2()
    large = c.request(GET[:2] + [(':path', '/large')] + GET[3:])
    await c.wait(lambda: len(c.st(large)['body']) > 50000, 2)
    small = [c.request(GET) for _ in range(10)]
    for sid in small:
        await c.done(sid, 5)
    t.see('small', [c.st(sid)['body'].decode() for sid in small])
    await c.done(large, 10)
    t.see('large', len(c.st(large)['body']))


@case()
async def a_stalled_stream_holds_nobody_up(t):
    """A client that opens no window for one stream gets the others all the same."""
    async def handler(s):
        await s.body()
        s.respond(200)
        await s.data(b'x' * 200000 if s.h(':path') == '/large' else b'small', end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log=LOG))
    c = await t.h2(auto_window=False)
    large = c.request(GET[:2] + [(':path', '/large')] + GET[3:])
    await c.wait(lambda: len(c.st(large)['body']) >= 60000, 2)
    c.c.increment_flow_control_window(1000000)
    c.flush()
    got = []
    for _ in range(5):
        sid = c.request(GET)
        got.append((await c.done(sid, 2))['body'].decode())
    t.see('small', got)
    t.see('large has its window and no more', len(c.st(large)['body']))


# ---- answers without bodies, and odd ones
@case()
async def bodiless_answers(t):
    async def handler(s):
        await s.body()
        path = s.h(':path')
        s.respond(int(path[1:4]), [('content-length', '5')] if path.endswith('l') else [], end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log=LOG))
    for path, method in (('/204', 'GET'), ('/304l', 'GET'), ('/200', 'GET'), ('/200l', 'HEAD'), ('/205', 'GET')):
        t.see('%s %s h2' % (method, path), await t.h2req(path, method))
        t.see('%s %s h1' % (method, path), await t.req(path, method))


@case()
async def answer_longer_than_announced(t):
    async def handler(s):
        await s.body()
        s.respond(200, [('content-length', '3')])
        await s.data(b'abcde', end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log='%RESPONSE_CODE% %RESPONSE_FLAGS%'))
    m = await t.h2req('/')
    t.see('reset', m['reset'])
    t.see('log', await t.logs())


@case()
async def answer_with_connection_headers(t):
    async def handler(s):
        await s.body()
        s.respond(200, [('connection', 'close'), ('x-a', '1')], end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log=LOG))
    t.see('m', await t.h2req('/'))
    t.see('log', await t.logs())


# ---- gRPC
GRPC = [(':method', 'POST'), (':scheme', 'http'), (':path', '/s/m'), (':authority', 'a'), ('content-type', 'application/grpc'), ('te', 'trailers')]
GLOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %GRPC_STATUS% %GRPC_STATUS_NUMBER% %TRAILER(GRPC-MESSAGE)% %RESPONSE_CODE_DETAILS%'
MESSAGE = b'\x00\x00\x00\x00\x02hi'


@case('grpc_trailers_only')
async def _(t):
    async def handler(s):
        await s.body()
        s.respond(200, [('content-type', 'application/grpc'), ('grpc-status', '5'), ('grpc-message', 'not here')], end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log=GLOG))
    c = await t.h2()
    sid = c.request(GRPC, MESSAGE)
    t.see('m', await c.done(sid, 2))
    t.see('log', await t.logs())


@case('grpc_status_in_trailers')
async def _(t):
    async def handler(s):
        await s.body()
        s.respond(200, [('content-type', 'application/grpc')])
        await s.data(MESSAGE)
        s.trailers([('grpc-status', '13'), ('grpc-message', 'oops%20there')])
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log=GLOG))
    c = await t.h2()
    sid = c.request(GRPC, MESSAGE)
    t.see('m', await c.done(sid, 2))
    t.see('log', await t.logs())


for name, routes, ups in (('no_route', '[{match: {prefix: /none}, route: {cluster: c1}}]', 'dead'), ('no_host', None, 'none'), ('dead_host', None, 'dead')):
    @case('grpc_local_reply_' + name)
    async def _(t, routes=routes, ups=ups):
        u = t.dead() if ups == 'dead' else []
        await t.start(simple(t, clusters=h2(u), routes=routes, log=GLOG))
        c = await t.h2()
        sid = c.request(GRPC, MESSAGE)
        t.see('m', await c.done(sid, 2))
        t.see('log', await t.logs())


@case('grpc_upstream_resets_in_answer')
async def _(t):
    async def handler(s):
        await s.body()
        s.respond(200, [('content-type', 'application/grpc')])
        await s.data(MESSAGE)
        await asyncio.sleep(0.05)
        s.reset(2)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=h2(u), log=GLOG))
    c = await t.h2()
    sid = c.request(GRPC, MESSAGE)
    t.see('m', await c.done(sid, 2))
    t.see('log', await t.logs())


for name, action, timeout in (('max_applies', '{cluster: c1, max_stream_duration: {grpc_timeout_header_max: 0s}}', '200m'), ('max_caps', '{cluster: c1, max_stream_duration: {grpc_timeout_header_max: 0.2s}}', '10S'), ('route_timeout', '{cluster: c1, timeout: 0.2s}', '10S')):
    @case('grpc_deadline_' + name)
    async def _(t, action=action, timeout=timeout):
        async def handler(s):
            await s.body()
            await asyncio.sleep(2)
        u = await t.h2up('u1', handler)
        await t.start(simple(t, clusters=h2(u), routes='[{match: {prefix: /}, route: %s}]' % action, log=GLOG))
        c = await t.h2()
        sid = c.request(GRPC + [('grpc-timeout', timeout)], MESSAGE)
        t.see('m', await c.done(sid, 2))
        t.see('asked', t.hs(u.reqs[0]['headers']))
        t.see('log', await t.logs())


@case('grpc_http1_upstream_error_becomes_status')
async def _(t):
    await t.up('u1', lambda m, n: resp(503, 'busy'))
    await t.start(simple(t, log=GLOG))
    c = await t.h2()
    sid = c.request(GRPC, MESSAGE)
    t.see('m', await c.done(sid, 2))
    t.see('log', await t.logs())
