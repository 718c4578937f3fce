"""METADATA frames (type 0x4d) between HTTP/2 peers: what `allow_metadata` lets through, in which order, and its limits."""
import hpack

from harness import *

LOG = '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%'
P = [(':method', 'POST'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')]
ALLOW = '{http2_protocol_options: {allow_metadata: true}}'
UP = '{allow_metadata: true}'
METADATA, END_METADATA = 0x4d, 4
NAMES = {0: 'DATA', 1: 'HEADERS', 3: 'RST_STREAM'}


def frame(kind, flags, stream, payload=b''):
    return len(payload).to_bytes(3, 'big') + bytes([kind, flags]) + stream.to_bytes(4, 'big') + payload


def number(n, bits):
    most = (1 << bits) - 1
    if n < most:
        return bytes([n])
    out, n = bytes([most]), n - most
    while n >= 128:
        out, n = out + bytes([n % 128 + 128]), n // 128
    return out + bytes([n])


def block(*pairs):
    """Literal fields without indexing, as Envoy writes them."""
    return b''.join(b'\0' + number(len(k), 7) + k.encode() + number(len(v), 7) + v.encode() for k, v in pairs)


def md(stream, *pairs, flags=END_METADATA):
    return frame(METADATA, flags, stream, block(*pairs))


def told(side, stream=None):
    """Frames of a stream in their order; METADATA with what it says, put together to its END_METADATA."""
    maps, out, parts = iter(side.metadata), [], {}
    for kind, flags, sid in side.frames:
        if kind == METADATA:
            _, _, payload = next(maps)
            parts[sid] = parts.get(sid, b'') + payload
        if sid == 0 or kind not in (*NAMES, METADATA) or (stream and sid != stream):
            continue
        if kind != METADATA:
            out.append(NAMES[kind] + (' END' if flags & 1 and kind != 3 else ''))
        elif flags & END_METADATA:
            fields = hpack.Decoder().decode(parts.pop(sid))
            out.append('METADATA ' + ' '.join(sorted('%s=%s' % (k, v if len(v) < 50 else len(v)) for k, v in fields)))
        else:
            out.append('METADATA part of %d' % len(payload))
    return out


async def counters(t, where='http2'):
    return await t.stats(regex=r'(%s.*metadata|http1.metadata)' % where)


async def pair(t, handler=None, opts=ALLOW, up=UP, **kw):
    """A proxy between an HTTP/2 client and an HTTP/2 upstream; the upstream and the client."""
    u = await t.h2up('u1', handler)
    u.sides = []

    async def keep(s):
        if s.conn not in u.sides:
            u.sides.append(s.conn)
        if handler:
            return await handler(s)
        await s.body()
        s.respond(200)
        await s.data('ok', end=True)
    u.handler = keep
    await t.start(simple(t, clusters=[cluster('c1', u, h2=up)], opts=opts, log=LOG, **kw))
    c = await t.h2()
    await c.wait(lambda: c.remote_settings)
    return u, c


async def warm(c):
    """Makes the connection to the upstream; what is looked at later is the second stream."""
    await c.done(c.request(P))


async def finish(t, u, c, sid, log=True):
    m = await c.done(sid, 3)
    t.see('response', [m.h(':status') if m['headers'] else None, m['body'].decode(), m['reset'], bool(m.get('conn_closed'))])
    t.see('client', told(c, sid))
    t.see('upstream', [told(side, 3) for side in u.sides])
    t.see('goaway', sorted(set(c.goaways)))
    t.see('stats', await counters(t))
    if log:
        t.see('log', await t.logs())


def request(name, send, opts=ALLOW, up=UP, text=True, **kw):
    """What the client sends behind the head of a POST; `send` gives bytes."""
    @case(name)
    async def _(t):
        u, c = await pair(t, opts=opts, up=up, **kw)
        await warm(c)
        sid = c.request(P, end=False)
        for piece in send(sid):
            c.raw(piece)
            await asyncio.sleep(0.05)
        await finish(t, u, c, sid, text)


END = lambda s: frame(0, 1, s, b'x')
request('request_before_the_body', lambda s: [md(s, ('a', '1')), END(s)])
request('request_in_one_write', lambda s: [md(s, ('a', '1')) + frame(0, 0, s, b'b') + md(s, ('c', '2')) + END(s)])
request('request_between_pieces', lambda s: [frame(0, 0, s, b'b'), md(s, ('a', '1')), END(s)])
request('request_many', lambda s: [md(s, ('a', '1')) + md(s, ('b', '2')) + md(s, ('c', '3')), END(s)])
request('request_map', lambda s: [md(s, ('a', '1'), ('b', '2'), ('a', '3'), ('B', 'x'), (':p', 'y'), ('', 'z'), ('e', '')), END(s)])
request('request_refused', lambda s: [md(s, ('a', '1')), END(s)], opts=None)
request('request_upstream_refuses', lambda s: [md(s, ('a', '1')), END(s)], up='{}')
request('request_in_parts', lambda s: [md(s, ('a', '1'), flags=0), md(s, ('b', '2')), END(s)])
request('request_split_in_a_field', lambda s: [frame(METADATA, 0, s, block(('aaaa', '1'))[:3]), frame(METADATA, 4, s, block(('aaaa', '1'))[3:]), END(s)])
request('request_parts_without_end', lambda s: [md(s, ('a', '1'), flags=0), END(s)])
request('request_empty', lambda s: [frame(METADATA, 4, s), END(s)])
request('request_empty_parts', lambda s: [frame(METADATA, 0, s) * 5 + md(s, ('a', '1')), END(s)])
request('request_large', lambda s: [md(s, ('a', 'x' * 16000), flags=0), md(s, ('b', 'y' * 16000), flags=0), md(s, ('c', 'z' * 9000)), END(s)])
request('request_not_hpack', lambda s: [frame(METADATA, 4, s, b'\xff\xff\xff\xff\xff\xff\xff'), END(s)])
request('request_truncated', lambda s: [frame(METADATA, 4, s, block(('aaaa', '1'))[:-1]), END(s)])
request('request_unknown_flags', lambda s: [md(s, ('a', '1'), flags=0xff), END(s)])
request('request_behind_the_end', lambda s: [END(s) + md(s, ('a', '1'))])
request('request_of_no_stream', lambda s: [md(0, ('a', '1')), END(s)])
request('request_of_an_idle_stream', lambda s: [md(s + 2, ('a', '1')), END(s)])
request('request_indexed', lambda s: [frame(METADATA, 4, s, b'\x40\x01a\x011\x40\x01b\x012'), frame(METADATA, 4, s, b'\xbe\xbf'), END(s)])
request('request_static_index', lambda s: [frame(METADATA, 4, s, b'\x82\x84'), END(s)])
LIMITED = '{http2_protocol_options: {allow_metadata: true, max_metadata_size: 1000}}'
request('request_at_the_limit', lambda s: [md(s, ('a', 'x' * 994)), END(s)], opts=LIMITED)
request('request_above_the_limit', lambda s: [md(s, ('a', 'x' * 995)), END(s)], opts=LIMITED)
request('request_above_the_limit_in_parts', lambda s: [md(s, ('a', 'x' * 500), flags=0) + md(s, ('b', 'x' * 500)), END(s)], opts=LIMITED)
request('request_maps_within_the_limit', lambda s: [md(s, ('a', 'x' * 400)) * 2, END(s)], opts=LIMITED)
request('request_maps_above_the_limit', lambda s: [md(s, ('a', 'x' * 400)) * 3, END(s)], opts=LIMITED)
request('request_limit_none', lambda s: [md(s, ('a', '1')), END(s)], opts='{http2_protocol_options: {allow_metadata: true, max_metadata_size: 0}}')
request('request_huge', lambda s: [md(s, ('a', 'x' * 16000), flags=0) * 62 + md(s, ('b', 'y' * 16000)), END(s)])
request('request_too_huge', lambda s: [md(s, ('a', 'x' * 16000), flags=0) * 65 + md(s, ('b', 'y' * 16000)), END(s)])
request('request_between_head_and_continuation', lambda s: [md(s, ('a', '1')) + frame(1, 1, s, b'\x40\x01a\x011') + md(s, ('b', '1'))], text=False)
request('request_flood_of_empty', lambda s: [frame(METADATA, 4, s) * 3000, END(s)])
request('request_flood', lambda s: [md(s, ('a', '1')) * 100, END(s)])
request('request_sizes', lambda s: [md(s, ('a', 'x' * 16373)), md(s, ('a', 'x' * 16374), flags=4), END(s)])
request('request_answered_directly', lambda s: [md(s, ('a', '1')), END(s)], routes='[{match: {prefix: /}, direct_response: {status: 200}}]')


@case()
async def request_behind_a_whole_head(t):
    async def handler(s):
        await asyncio.sleep(0.2)
        s.respond(200, end=True)
    u, c = await pair(t, handler)
    await warm(c)
    sid = c.request(P)
    c.raw(md(sid, ('a', '1')))
    await finish(t, u, c, sid)


def response(name, send, opts=ALLOW, up=UP, **kw):
    """What the upstream does; `send(stream)` is its handler."""
    @case(name)
    async def _(t):
        u, c = await pair(t, send, opts=opts, up=up, **kw)
        sid = c.request(P)
        await finish(t, u, c, sid)


async def before(s):
    s.conn.raw(md(s.sid, ('a', '1')))
    await asyncio.sleep(0.05)
    s.respond(200)
    await s.data('ok', end=True)


async def behind(s):
    s.respond(200)
    s.conn.raw(md(s.sid, ('a', '1')))
    await asyncio.sleep(0.05)
    await s.data('o')
    s.conn.raw(md(s.sid, ('b', '1')))
    await asyncio.sleep(0.05)
    await s.data('k', end=True)


async def trailers(s):
    s.respond(200)
    await s.data('ok')
    s.conn.raw(md(s.sid, ('a', '1')))
    s.trailers([('t', '1')])


async def whole(s):
    s.respond(200, end=True)
    s.conn.raw(md(s.sid, ('a', '1')))


async def body_behind(s):
    s.respond(200)
    s.conn.raw(md(s.sid, ('a', '1')) + frame(0, 1, s.sid))
    await asyncio.sleep(0.1)


async def interim(s):
    s.respond(103)
    s.conn.raw(md(s.sid, ('a', '1')))
    s.respond(200, end=True)


async def broken(s):
    s.respond(200)
    s.conn.raw(frame(METADATA, 4, s.sid, b'\xff\xff\xff\xff\xff\xff\xff'))
    await s.data('ok', end=True)


async def large(s):
    s.respond(200)
    for name in 'abc':
        s.conn.raw(md(s.sid, (name, name * 16000), flags=END_METADATA if name == 'c' else 0))
    await s.data('ok', end=True)


async def reset(s):
    s.conn.raw(md(s.sid, ('a', '1')))
    s.respond(200)
    s.conn.raw(md(s.sid, ('b', '1')))
    s.reset(2)


async def empty(s):
    s.respond(200)
    s.conn.raw(frame(METADATA, 4, s.sid))
    await s.data('ok', end=True)

response('response_before_the_head', before)
response('response_behind_the_head', behind)
response('response_before_trailers', trailers)
response('response_behind_a_whole_head', whole)
response('response_before_an_empty_end', body_behind)
response('response_between_heads', interim)
response('response_not_hpack', broken)
response('response_large', large)
response('response_reset', reset)
response('response_empty', empty)
response('response_refused_upstream', behind, up='{}')
response('response_refused_downstream', behind, opts=None)
response('response_above_the_limit', large, up='{allow_metadata: true, max_metadata_size: 20000}')


@case()
async def to_http1(t):
    u = await t.up()
    await t.start(simple(t, opts=ALLOW, log=LOG))
    c = await t.h2()
    sid = c.request(P, end=False)
    c.raw(md(sid, ('a', '1')))
    c.raw(md(sid, ('a', '1')) + END(sid))
    m = await c.done(sid)
    t.see('r', [m.h(':status'), m['reset']])
    t.see('up', [x.body.decode() for x in u.reqs])
    t.see('stats', await counters(t))
    t.see('log', await t.logs())


@case()
async def from_http1(t):
    u = await t.h2up('u1', behind)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=UP)], log=LOG))
    r = await t.req('/')
    t.see('r', [r.status, r.body.decode()])
    t.see('stats', await counters(t))
    t.see('log', await t.logs())


@case()
async def retried_request(t):
    """What came for the first attempt is not said again to the second."""
    async def handler(s):
        if len(u.reqs) > 1:
            await s.body()
            s.respond(200)
            return await s.data('ok', end=True)
        await s.conn.wait(lambda: s.conn.metadata)
        s.respond(503, end=True)
    u, c = await pair(t, handler, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx}}}]')
    sid = c.request(P, end=False)
    c.raw(md(sid, ('a', '1')))
    await t.until(lambda: len(u.reqs) > 1)
    c.raw(md(sid, ('b', '1')) + END(sid))
    m = await c.done(sid)
    t.see('r', [m.h(':status'), m['body'].decode()])
    t.see('first', told(u.sides[0], 1))
    t.see('second', told(u.sides[0], 3))


def filtered(name, flt, send):
    @case('filter_' + name)
    async def _(t):
        u, c = await pair(t, filters=[flt])
        await warm(c)
        sid = c.request(P, end=False)
        c.raw(send(sid))
        await finish(t, u, c, sid)


IN_PIECES = lambda s: md(s, ('a', '1')) + frame(0, 0, s, b'b') + md(s, ('c', '2')) + END(s)
filtered('buffer', http_filter('envoy.filters.http.buffer', 'buffer.v3.Buffer', '{max_request_bytes: 1000}'), IN_PIECES)
filtered('delay', http_filter('envoy.filters.http.fault', 'fault.v3.HTTPFault', '{delay: {fixed_delay: 0.1s, percentage: {numerator: 100}}}'), IN_PIECES)
filtered('abort', http_filter('envoy.filters.http.fault', 'fault.v3.HTTPFault', '{abort: {http_status: 503, percentage: {numerator: 100}}}'), lambda s: md(s, ('a', '1')))


@case()
async def filter_of_the_response(t):
    async def handler(s):
        s.conn.raw(md(s.sid, ('a', '1')))
        s.respond(200, [('content-type', 'text/plain')])
        s.conn.raw(md(s.sid, ('b', '1')))
        await s.data('o' * 100)
        s.conn.raw(md(s.sid, ('c', '1')))
        await s.data('k', end=True)
    u, c = await pair(t, handler, filters=[http_filter('envoy.filters.http.compressor', 'compressor.v3.Compressor', """
        {response_direction_config: {common_config: {min_content_length: 1}}, compressor_library: {name: gzip, typed_config: {
         '@type': type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip}}}""")])
    sid = c.request(P + [('accept-encoding', 'gzip')])
    await c.done(sid)
    t.see('encoding', c.st(sid).h('content-encoding'))
    t.see('metadata', [x for x in told(c, sid) if x[0] in 'MH'])


@case()
async def two_streams(t):
    u, c = await pair(t)
    await warm(c)
    a, b = c.request(P, end=False), c.request(P, end=False)
    c.raw(md(a, ('a', '1'), flags=0) + md(b, ('b', '1'), flags=0) + md(a, ('a2', '1')) + md(b, ('b2', '1')) + END(a) + END(b))
    await c.done(a)
    await c.done(b)
    t.see('upstream', [sorted([told(u.sides[0], 3), told(u.sides[0], 5)])])


@case()
async def body_held_by_a_window(t):
    """The upstream reads nothing: metadata is not held back with the body."""
    async def handler(s):
        await s.conn.wait(lambda: s.conn.metadata)
    u = await t.h2up('u1', handler, auto_window=False)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=UP)], opts=ALLOW, log=LOG))
    c = await t.h2()
    sid = c.request(P, end=False)
    c.raw(frame(0, 0, sid, b'x' * 16000) * 5 + md(sid, ('a', '1')))
    await t.until(lambda: u.live and u.live[0].metadata, 2)
    t.see('upstream', [x for x in told(u.live[0], 1) if x[0] in 'HM'])
    t.see('received', u.live[0].st(1)['body'].__len__())


@case()
async def wire_bytes(t):
    u = await t.h2up('u1', behind)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=UP)], opts=ALLOW,
                         log='%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_HEADER_BYTES_RECEIVED%'))
    c = await t.h2()
    sid = c.request(P, end=False)
    await t.until(lambda: u.reqs)
    c.raw(md(sid, ('a', 'x' * 100)))
    c.raw(END(sid))
    await c.done(sid)
    t.see('log', await t.logs())


@case()
async def settings_of_both_sides(t):
    u, c = await pair(t)
    await warm(c)
    t.see('to_the_client', sorted(map(str, c.remote_settings.items())))
    t.see('to_the_upstream', sorted(map(str, u.sides[0].remote_settings.items())))


@case()
async def upgraded_stream(t):
    async def handler(s):
        s.respond(200)
        s.conn.raw(md(s.sid, ('up', '1')))
        await s.conn.wait(lambda: s.conn.metadata)
        await s.data('ok', end=True)
    up = '{allow_metadata: true, allow_connect: true}'
    u, c = await pair(t, handler, up=up, opts='{http2_protocol_options: {allow_metadata: true, allow_connect: true}, upgrade_configs: [{upgrade_type: websocket}]}')
    sid = c.request([(':method', 'CONNECT'), (':protocol', 'websocket')] + P[1:], end=False)
    await c.wait(lambda: c.metadata)
    c.raw(md(sid, ('down', '1')))
    await c.wait(lambda: c.st(sid)['body'])
    t.see('client', [x for x in told(c, sid) if x[0] in 'HM'])
    t.see('upstream', [x for x in told(u.sides[0], 1) if x[0] in 'HM'])
