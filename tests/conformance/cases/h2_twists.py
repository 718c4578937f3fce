"""HTTP/2 where peers bend the rules: windows, GOAWAY, RST_STREAM both ways, CONNECT, and which frames count as a stream's bytes."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'
BYTES = '%UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_HEADER_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_HEADER_BYTES_RECEIVED%'
SENT = '%DOWNSTREAM_WIRE_BYTES_SENT% %DOWNSTREAM_HEADER_BYTES_SENT% %UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_HEADER_BYTES_SENT%'
GET = [(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')]
POST = [(':method', 'POST')] + GET[1:]
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
STATS = r'^http2\.(rx_reset|tx_reset|goaway_sent|rx_messaging_error|stream_refused_errors)$|cluster\.c1\.http2\.(rx_reset|tx_reset|rx_messaging_error)$'


def frame(kind, flags, stream, payload=b''):
    return len(payload).to_bytes(3, 'big') + bytes([kind, flags]) + stream.to_bytes(4, 'big') + payload


def literal(*pairs):
    return b''.join(b'\0' + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in pairs)


def u32(n):
    return n.to_bytes(4, 'big')


async def told(t, c, s, log=True):
    t.see('status', hget(s['headers'] or [], ':status'))
    t.see('body', len(s['body']))
    t.see('reset', s['reset'])
    t.see('goaway', c.goaways)
    if log:
        t.see('log', await t.logs())


# ---- which frames are a stream's bytes

def answer(name, *frames):
    """A host that says `frames` in one piece."""
    @case('bytes_of_answer_' + name)
    async def f(t):
        async def handler(s):
            await s.body()
            s.conn.raw(b''.join(x(s.sid) for x in frames))
        u = await t.h2up('u1', handler)
        await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=BYTES))
        c = await t.h2()
        s = await c.done(c.request(GET))
        t.see('m', [hget(s['headers'] or [], ':status'), len(s['body'])])
        t.see('log', [line.split()[:2] for line in await t.logs()])


OK = literal((':status', '200'))
def head(n): return frame(HEADERS, END_HEADERS, n, OK)
def last(n): return frame(DATA, END, n, b'12345')


answer('plain', head, last)
answer('behind_other_frames', lambda n: frame(PING, 0, 0, bytes(8)) + frame(0x77, 0, n, b'abc') + frame(WINDOW, 0, 0, u32(5)) + frame(PRIORITY, 0, n, bytes(4) + b'\x10'), head, last)
answer('between_other_frames', head, lambda n: frame(PING, 0, 0, bytes(8)) + frame(0x77, 0, n, b'abc') + frame(WINDOW, 0, n, u32(5)), last)
answer('padded', lambda n: frame(HEADERS, END_HEADERS | PADDED, n, b'\3' + OK + bytes(3)), lambda n: frame(DATA, PADDED | END, n, b'\5' + b'1234' + bytes(5)))
answer('in_continuations', lambda n: frame(HEADERS, 0, n, OK[:4]) + frame(CONTINUATION, 0, n, OK[4:6]) + frame(CONTINUATION, END_HEADERS, n, OK[6:]), last)
answer('interim', lambda n: frame(HEADERS, END_HEADERS, n, literal((':status', '103'))), head, last)
answer('trailers', head, lambda n: frame(DATA, 0, n, b'123'), lambda n: frame(HEADERS, END | END_HEADERS, n, literal(('x', 'y'))))
answer('empty_data', head, lambda n: frame(DATA, 0, n), lambda n: frame(DATA, 0, n, b'1'), lambda n: frame(DATA, END, n))
answer('of_head_alone', lambda n: frame(HEADERS, END | END_HEADERS, n, OK))


@case()
async def bytes_of_answer_in_pieces(t):
    """Frames that come byte by byte."""
    async def handler(s):
        await s.body()
        for b in head(s.sid) + frame(0x77, 0, s.sid, b'abc') + frame(DATA, PADDED, s.sid, b'\2123\0\0') + last(s.sid):
            s.conn.raw(bytes([b]))
            await s.conn.w.drain()
            await asyncio.sleep(0)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=BYTES))
    c = await t.h2()
    s = await c.done(c.request(GET))
    t.see('m', [hget(s['headers'] or [], ':status'), len(s['body'])])
    t.see('log', [line.split()[:2] for line in await t.logs()])


def asked(name, *frames):
    """A client that says `frames` of its first stream in one piece."""
    @case('bytes_of_request_' + name)
    async def f(t):
        await t.up('u1')
        await t.start(simple(t, log=BYTES))
        c = await t.h2()
        await c.wait(lambda: c.remote_settings)
        c.c.get_next_available_stream_id()
        c.st(1)
        # The library has to know of the stream to read the answer.
        c.c.send_headers(1, POST, end_stream=True)
        c.c.clear_outbound_data_buffer()
        c.raw(b''.join(x(1) for x in frames))
        s = await c.done(1)
        t.see('m', [hget(s['headers'] or [], ':status'), len(s['body'])])
        t.see('log', [line.split()[2:] for line in await t.logs()])


ASK = literal(*POST)
def ask(n): return frame(HEADERS, END_HEADERS, n, ASK)


asked('plain', ask, last)
asked('behind_other_frames', lambda n: frame(PING, 0, 0, bytes(8)) + frame(0x77, 0, 0, b'abc') + frame(WINDOW, 0, 0, u32(5)), ask, last)
asked('between_other_frames', ask, lambda n: frame(PING, 0, 0, bytes(8)) + frame(0x77, 0, n, b'abc') + frame(WINDOW, 0, n, u32(5)) + frame(PRIORITY, 0, n, bytes(4) + b'\x10'), last)
asked('padded', lambda n: frame(HEADERS, END_HEADERS | PADDED, n, b'\3' + ASK + bytes(3)), lambda n: frame(DATA, PADDED | END, n, b'\5' + b'1234' + bytes(5)))
asked('in_continuations', lambda n: frame(HEADERS, 0, n, ASK[:4]) + frame(CONTINUATION, 0, n, ASK[4:6]) + frame(CONTINUATION, END_HEADERS, n, ASK[6:]), last)
asked('trailers', ask, lambda n: frame(DATA, 0, n, b'123'), lambda n: frame(HEADERS, END | END_HEADERS, n, literal(('x', 'y'))))
asked('with_priority', lambda n: frame(HEADERS, END_HEADERS | 0x20, n, bytes(4) + b'\x10' + ASK), last)


@case()
async def bytes_sent_beside_heads(t):
    """Of what is sent, frames other than heads."""
    async def handler(s):
        await s.body()
        s.respond(200)
        await s.data(b'x' * 40000, end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=SENT))
    c = await t.h2()
    s = await c.done(c.request(POST, b'y' * 50))
    t.see('body', len(s['body']))
    (line,) = await t.logs()
    down, down_head, up, up_head = map(int, line.split())
    t.see('beside', [down - down_head, up - up_head])


@case()
async def bytes_sent_with_a_reset(t):
    async def handler(s):
        s.respond(200)
        await s.data(b'12345')
        s.reset(2)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=SENT))
    c = await t.h2()
    s = await c.done(c.request(POST, b'abc', end=False))
    t.see('reset', s['reset'])
    (line,) = await t.logs()
    down, down_head, up, up_head = map(int, line.split())
    t.see('beside', [down - down_head, up - up_head])


# ---- windows

def window(name, *frames, open_first=True, settings=None):
    """A client that says this on a stream whose answer waits for its window."""
    @case('window_' + name)
    async def f(t):
        await t.up('u1', lambda m, n: resp(200, 'x' * 100))
        await t.start(simple(t, log=LOG))
        c = await t.h2(settings={4: 10, **(settings or {})}, auto_window=False)
        sid = c.request(GET)
        await c.wait(lambda: len(c.st(sid)['body']) == 10)
        c.raw(b''.join(x(sid) for x in frames))
        s = await c.done(sid)
        await told(t, c, s)


window('of_nothing', lambda n: frame(WINDOW, 0, n, u32(0)))
window('of_nothing_on_connection', lambda n: frame(WINDOW, 0, 0, u32(0)))
window('too_large', lambda n: frame(WINDOW, 0, n, u32(2**31 - 1)))
window('too_large_on_connection', lambda n: frame(WINDOW, 0, 0, u32(2**31 - 1)))
window('short', lambda n: frame(WINDOW, 0, n, b'\0\0\1'))
window('in_parts', lambda n: frame(WINDOW, 0, n, u32(40)), lambda n: frame(WINDOW, 0, n, u32(50)))
window('by_settings', lambda n: frame(SETTINGS, 0, 0, b'\0\4' + u32(100)))
window('by_settings_too_large', lambda n: frame(SETTINGS, 0, 0, b'\0\4' + u32(2**31)))
window('of_an_idle_stream', lambda n: frame(WINDOW, 0, n + 2, u32(1)))
window('reserved_bit', lambda n: frame(WINDOW, 0, n, u32(2**31 + 90)))


@case()
async def window_made_negative(t):
    """A smaller window than what was sent: nothing comes until it is above nothing again."""
    await t.up('u1', lambda m, n: resp(200, 'x' * 100))
    await t.start(simple(t, log=LOG))
    c = await t.h2(settings={4: 50}, auto_window=False)
    sid = c.request(GET)
    await c.wait(lambda: len(c.st(sid)['body']) == 50)
    c.raw(frame(SETTINGS, 0, 0, b'\0\4' + u32(10)) + frame(WINDOW, 0, sid, u32(40)) + frame(PING, 0, 0, b'abcdefgh'))
    await c.wait(lambda: (PING, ACK, 0) in c.frames)
    t.see('then', len(c.st(sid)['body']))
    c.raw(frame(WINDOW, 0, sid, u32(50)))
    await told(t, c, await c.done(sid))


def upstream_window(name, *frames):
    """A host that says this while a request's body waits for its window."""
    @case('window_of_host_' + name)
    async def f(t):
        async def handler(s):
            await s.conn.wait(lambda: len(s.s['body']) == 10)
            s.conn.raw(b''.join(x(s.sid) for x in frames))
            await s.body()
            s.respond(200, end=True)
        u = await t.h2up('u1', handler, settings={4: 10}, auto_window=False)
        await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
        c = await t.h2()
        s = await c.done(c.request(POST, b'x' * 60))
        await told(t, c, s)


upstream_window('of_nothing', lambda n: frame(WINDOW, 0, n, u32(0)))
upstream_window('of_nothing_on_connection', lambda n: frame(WINDOW, 0, 0, u32(0)))
upstream_window('too_large', lambda n: frame(WINDOW, 0, n, u32(2**31 - 1)))
upstream_window('too_large_on_connection', lambda n: frame(WINDOW, 0, 0, u32(2**31 - 1)))
upstream_window('by_settings', lambda n: frame(SETTINGS, 0, 0, b'\0\4' + u32(100)))
upstream_window('by_settings_too_large', lambda n: frame(SETTINGS, 0, 0, b'\0\4' + u32(2**31)))


# ---- RST_STREAM

@case()
async def reset_by_host_in_the_body(t):
    """What a client is told of each code."""
    async def handler(s):
        s.respond(200)
        await s.data(b'x')
        await s.conn.wait(lambda: s.s.get('go'))
        s.reset(int(s.h(':path')[1:]))
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    out = {}
    for code in range(15):
        c = await t.h2()
        sid = c.request(GET[:2] + [(':path', '/%d' % code), GET[3]])
        await c.wait(lambda: c.st(sid)['body'] == b'x')
        u.reqs[-1]['go'] = True
        async with u.live[-1].ev:
            u.live[-1].ev.notify_all()
        out[str(code)] = (await c.done(sid))['reset']
    t.see('codes', out)
    t.see('log', await t.logs())


@case()
async def reset_by_host_before_the_answer(t):
    async def handler(s):
        s.reset(int(s.h(':path')[1:]))
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    out = {}
    for code in range(15):
        s = await t.h2req('/%d' % code)
        out[str(code)] = [hget(s['headers'] or [], ':status'), s['reset']]
    t.see('codes', out)
    t.see('log', await t.logs())


@case()
async def reset_by_client(t):
    """What a host is told of each code."""
    gone = []

    async def handler(s):
        await s.body()
        gone.append(s.s['reset'])
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    for code in range(14):
        c = await t.h2()
        sid = c.request(POST, end=False)
        await t.until(lambda: len(u.reqs) == code + 1)
        c.rst(sid, code)
        await t.until(lambda: len(gone) == code + 1)
    t.see('codes', gone)
    t.see('log', await t.logs())


@case()
async def reset_by_host_behind_the_whole_answer(t):
    """The rest of the request is not wanted; the answer counts."""
    async def handler(s):
        s.respond(200)
        await s.data(b'done', end=True)
        s.reset(0)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    c = await t.h2()
    sid = c.request(POST, end=False)
    s = await c.done(sid)
    await c.wait(lambda: s['reset'] is not None, 1)
    await told(t, c, s)


# ---- GOAWAY

@case()
async def goaway_of_host_between_two_streams(t):
    """The second stream is above the last id: it may be tried again, the first one goes on."""
    async def handler(s):
        if s.s['conn'] > 1:
            await s.body()
            return s.respond(200, [('x-conn', '2')], end=True)
        if s.sid == 3:
            s.goaway_raw(0, 1)
            return
        await t.until(lambda: u.conns == 2)
        s.respond(200, [('x-conn', '1')], end=True)
    u = await t.h2up('u1', handler)
    routes = '[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: reset, num_retries: 1}}}]'
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG, routes=routes))
    c = await t.h2()
    one = c.request(GET)
    await t.until(lambda: len(u.reqs) == 1)
    two = c.request(GET)
    first, second = await c.done(one), await c.done(two)
    t.see('conns', [hget(x['headers'] or [], 'x-conn') for x in (first, second)])
    t.see('stats', await t.stats(regex=r'cluster\.c1\.(upstream_cx_(total|close_notify|destroy\w*)|upstream_rq_(retry|total|rx_reset|tx_reset))$'))
    t.see('log', sorted(await t.logs()))


@case()
async def goaway_of_host_without_a_retry(t):
    async def handler(s):
        s.goaway_raw(0, 0)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    c = await t.h2()
    await told(t, c, await c.done(c.request(GET), 2))


def goaway_with(code):
    @case('goaway_of_host_with_code_%d' % code)
    async def f(t):
        async def handler(s):
            s.goaway_raw(code, s.sid)
            await s.body()
            s.respond(200, end=True)
        u = await t.h2up('u1', handler)
        await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
        c = await t.h2()
        first = await c.done(c.request(GET))
        second = await c.done(c.request(GET))
        t.see('status', [hget(x['headers'] or [], ':status') for x in (first, second)])
        t.see('conns', u.conns)
        t.see('log', await t.logs())


goaway_with(2)
goaway_with(11)


def drained(name, opts, path=None):
    """GOAWAY twice: one that lets everybody in, and the last word once the time is over."""
    @case('drain_' + name)
    async def f(t):
        await t.up('u1')
        await t.start(simple(t, log=LOG, opts=opts))
        c = await t.h2()
        seen = []
        whole = c.filter_frames

        def filtered(data):
            before = len(c.goaways)
            out = whole(data)
            if len(c.goaways) > before:
                seen.append(dict(c.goaway))
            return out
        c.filter_frames = filtered
        await c.done(c.request(GET))
        if path:
            await t.admin(path, 'POST')
        await c.wait(lambda: len(c.goaways) == 1)
        s = await c.done(c.request(GET), 1)
        t.see('between', hget(s['headers'] or [], ':status'))
        await c.wait(lambda: c.eof, 4)
        t.see('closed', c.eof)
        t.see('goaways', seen)


drained('after_max_duration', '{common_http_protocol_options: {max_connection_duration: 0.2s}, drain_timeout: 0.5s}')
drained('after_idle', '{common_http_protocol_options: {idle_timeout: 0.2s}, drain_timeout: 0.5s}')
drained('after_requests', '{common_http_protocol_options: {max_requests_per_connection: 1}, drain_timeout: 0.5s}')


# ---- CONNECT in odd forms

def connect(name, headers, allow=True, end=False, opts=None):
    @case('connect_' + name)
    async def f(t):
        await t.up('u1')
        o = Y(opts or '{upgrade_configs: [{upgrade_type: CONNECT}, {upgrade_type: websocket}]}')
        o['http2_protocol_options'] = {'allow_connect': allow}
        routes = '[{match: {connect_matcher: {}}, route: {cluster: c1}}, {match: {prefix: /}, route: {cluster: c1}}]'
        await t.start(simple(t, log=LOG, opts=o, routes=routes))
        c = await t.h2()
        s = await c.done(c.request(headers, end=end), 1)
        await told(t, c, s)


CONNECT = [(':method', 'CONNECT')]
connect('with_a_path', CONNECT + [(':authority', 'a:80'), (':path', '/')])
connect('with_a_scheme', CONNECT + [(':authority', 'a:80'), (':scheme', 'http')])
connect('without_authority', CONNECT)
connect('extended_without_path', CONNECT + [(':protocol', 'websocket'), (':scheme', 'http'), (':authority', 'a')])
connect('extended_without_scheme', CONNECT + [(':protocol', 'websocket'), (':path', '/'), (':authority', 'a')])
connect('extended_of_get', [(':method', 'GET'), (':protocol', 'websocket'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')])
connect('extended_of_unknown_protocol', CONNECT + [(':protocol', 'morse'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')])
connect('extended_without_protocol_name', CONNECT + [(':protocol', ''), (':scheme', 'http'), (':path', '/'), (':authority', 'a')])
connect('extended_ended_at_once', CONNECT + [(':protocol', 'websocket'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')], end=True)
connect('not_allowed', CONNECT + [(':authority', 'a:80')], allow=False)
connect('without_upgrade', CONNECT + [(':authority', 'a:80')], opts='{}')


# ---- answers without bodies that say they have one, and answers that come early

def early(name, status, headers, body=b'', method='GET', end=True):
    @case('answer_' + name)
    async def f(t):
        async def handler(s):
            await s.body()
            s.respond(status, headers, end=not body and end)
            if body:
                await s.data(body, end=end)
        u = await t.h2up('u1', handler)
        await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
        c = await t.h2()
        s = await c.done(c.request([(':method', method)] + GET[1:]), 2)
        t.see('headers', [x for x in s['headers'] or [] if x[0] in (':status', 'content-length')])
        await told(t, c, s)


early('204_with_length', 204, [('content-length', '5')])
early('204_with_body', 204, [], b'12345')
early('304_with_length', 304, [('content-length', '5')])
early('304_with_body', 304, [('content-length', '5')], b'12345')
early('head_with_length', 200, [('content-length', '5')], method='HEAD')
early('head_with_body', 200, [('content-length', '5')], b'12345', method='HEAD')
early('205_with_body', 205, [], b'12345')
early('of_length_without_body', 200, [('content-length', '5')])
early('of_no_length_with_body', 200, [('content-length', '0')], b'12345')
early('of_two_lengths', 200, [('content-length', '5'), ('content-length', '5')], b'12345')
early('of_bad_length', 200, [('content-length', '5x')], b'12345')


# ---- what is said twice

@case()
async def repeated_fields_of_a_request(t):
    u = await t.up('u1')
    await t.start(simple(t, log=LOG))
    names = ['accept', 'accept-encoding', 'accept-language', 'authorization', 'cache-control', 'content-type', 'from', 'grpc-timeout', 'if-match',
             'if-modified-since', 'if-range', 'if-unmodified-since', 'origin', 'pragma', 'referer', 'user-agent', 'via', 'x-a', 'x-forwarded-for', 'x-request-id']
    c = await t.h2()
    s = await c.done(c.request(GET + [(n, v) for v in ('http://a/1', 'http://a/2') for n in names]))
    t.see('status', hget(s['headers'] or [], ':status'))
    t.see('asked', [[v for k, v in u.reqs[0]['raw_headers'] if k.lower() == n] for n in names])


@case()
async def repeated_fields_of_an_answer(t):
    names = ['age', 'cache-control', 'content-type', 'etag', 'grpc-message', 'grpc-status', 'location', 'server', 'set-cookie', 'vary', 'via', 'x-a']

    async def handler(s):
        await s.body()
        s.respond(200, [(n, v) for v in '12' for n in names])
        await s.data(b'x')
        s.trailers([(n, v) for v in '12' for n in ('grpc-message', 'grpc-status', 'x-a', 'via')])
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    c = await t.h2()
    s = await c.done(c.request(GET))
    t.see('head', [[v for k, v in s['headers'] or [] if k == n] for n in names])
    t.see('trailers', sorted(s['trailers'] or []))
