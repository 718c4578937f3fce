"""HTTP/2 heads that are refused, floods, resets, drains and stats, as Envoy answers them."""
from harness import *

LOG = '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
B = [(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')]
P = [(':method', 'POST')] + B[1:]
STATS = ('http2.rx_reset', 'http2.tx_reset', 'http2.header_overflow', 'http2.rx_messaging_error', 'http2.inbound_empty_frames_flood',
         'http2.inbound_priority_frames_flood', 'http2.inbound_window_update_frames_flood', 'http2.goaway_sent', 'http2.trailers')


async def counters(t, *names):
    return await t.stats(*(names or STATS))


def head(name, fields, end=True, opts=None):
    @case('head_' + name)
    async def _(t):
        u = await t.up()
        await t.start(simple(t, log=LOG, opts=opts))
        c = await t.h2()
        sid = c.request(fields, end=end)
        m = await c.done(sid, 2)
        t.see('r', t.resp_view(m))
        t.see('goaway', sorted(set(c.goaways)))
        t.see('up', [t.req_view(x, only={'host', 'cookie', 'x', 'te'}) for x in u.reqs])
        t.see('alive', (await t.h2req('/')).h(':status'))
        t.see('log', await t.logs())


head('upper_case_name', B + [('X-A', '1')])
head('connection_header', B + [('connection', 'close')])
head('transfer_encoding', B + [('transfer-encoding', 'chunked')])
head('upgrade', B + [('upgrade', 'websocket')])
head('te_trailers', B + [('te', 'trailers')])
head('repeated_path', B + [(':path', '/x')])
head('pseudo_after_regular', [B[0], B[1], ('a', 'b'), B[2], B[3]])
head('no_scheme', [B[0], B[2], B[3]])
head('no_path', [B[0], B[1], B[3]])
head('no_authority', B[:3])
head('host_for_authority', B[:3] + [('host', 'h')])
head('host_and_authority', B + [('host', 'h')])
head('padded_value', B + [('x', ' v ')])
head('nul_in_value', B + [('x', 'a\0b')])
head('cr_in_value', B + [('x', 'a\rb')])
head('bad_name', B + [('x y', 'b')])
head('empty_name', B + [('', 'b')])
head('path_without_slash', [B[0], B[1], (':path', 'x'), B[3]])
head('empty_path', [B[0], B[1], (':path', ''), B[3]])
head('unknown_pseudo', B + [(':foo', 'x')])
head('status_in_request', B + [(':status', '200')])
head('length_without_body', B + [('content-length', '5')])
head('length_repeated', P + [('content-length', '3'), ('content-length', '3')], end=False)
head('length_bad', P + [('content-length', '+3')], end=False)
head('method_bad', [(':method', 'G T')] + B[1:])
head('authority_bad', B[:3] + [(':authority', 'a b')])
head('scheme_bad', [B[0], (':scheme', '1http')] + B[2:])
head('scheme_other', [B[0], (':scheme', 'ftp')] + B[2:])
head('too_many', B + [('x%d' % i, '1') for i in range(97)])
head('most', B + [('x%d' % i, '1') for i in range(96)])
head('too_large', B + [('x%d' % i, 'a' * 1000) for i in range(62)])
head('cookie_crumbs_count', B + [('cookie', 'a=%d' % i) for i in range(97)])
head('underscore_refused', B + [('a_b', '1')], opts='{common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}}')
head('underscore_dropped', B + [('a_b', '1'), ('x', '2')], opts='{common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}}')
head('malformed_spares_connection', B + [('X-A', '1')], opts='{http2_protocol_options: {override_stream_error_on_invalid_http_message: true}}')


def frame(kind, flags, stream, payload=b''):
    return len(payload).to_bytes(3, 'big') + bytes([kind, flags]) + stream.to_bytes(4, 'big') + payload


def flood(name, frames, opts=None, post=True):
    @case('flood_' + name)
    async def _(t):
        u = await t.up()
        await t.start(simple(t, log=LOG, opts=opts))
        c = await t.h2()
        await c.wait(lambda: c.remote_settings)
        sid = c.request(P if post else B, end=False)
        c.raw(frames(sid))
        m = await c.done(sid, 2)
        t.see('closed', bool(m.get('conn_closed')))
        t.see('stats', await counters(t))
        t.see('log', await t.logs())


flood('empty_data', lambda s: frame(0, 0, s) * 3)
flood('priority', lambda s: frame(2, 0, s, b'\0\0\0\0\0') * 201)
flood('window_update', lambda s: frame(8, 0, 0, b'\0\0\0\1') * 30)
flood('empty_data_allowed', lambda s: frame(0, 0, s) * 3 + frame(0, 1, s, b'x'),
      opts='{http2_protocol_options: {max_consecutive_inbound_frames_with_empty_payload: 5}}')
flood('priority_limit', lambda s: frame(2, 0, s, b'\0\0\0\0\0') * 5, opts='{http2_protocol_options: {max_inbound_priority_frames_per_stream: 2}}')


@case()
async def client_reset_before_response(t):
    async def f(m, n):
        await asyncio.sleep(0.5)
        return resp(200, 'late')
    u = await t.up('u1', f)
    await t.start(simple(t, log=LOG))
    c = await t.h2()
    sid = c.request(B)
    while not u.reqs:
        await asyncio.sleep(0.01)
    c.raw(frame(3, 0, sid, (8).to_bytes(4, 'big')))
    t.see('alive', (await c.done(c.request(B), 3)).h(':status'))
    t.see('stats', await counters(t, 'http2.rx_reset', 'http2.tx_reset'))
    t.see('log', sorted(await t.logs()))


@case()
async def upstream_resets(t):
    """What the codes of an upstream's RST_STREAM become."""
    async def h(s):
        s.reset(int(dict(s.s['headers'])['code']))
    u = await t.h2up('u1', h)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    for code in (0, 1, 2, 7, 8, 11, 13):
        r = await t.req('/', headers=[('code', str(code))])
        t.see('r%d' % code, [r.status, r.body.decode()])
    t.see('log', await t.logs())


@case()
async def upstream_speaks_http1(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    r = await t.req('/')
    t.see('r', [r.status, r.body.decode()])
    t.see('log', await t.logs())


@case()
async def early_response_resets_without_error(t):
    await t.start(simple(t, routes='[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hi}}}]', clusters=[], log=LOG))
    c = await t.h2()
    sid = c.request(P, end=False)
    m = await c.done(sid, 2)
    t.see('r', [m.h(':status'), m.body.decode(), m.get('reset')])
    t.see('log', await t.logs())


@case()
async def max_requests_downstream_sends_goaway(t):
    u = await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {max_requests_per_connection: 2}}'))
    c = await t.h2()
    a = await c.done(c.request(B))
    b = await c.done(c.request(B))
    await c.wait(lambda: c.goaway, 2)
    t.see('statuses', [a.h(':status'), b.h(':status')])
    t.see('goaway', c.goaway)
    t.see('stats', await t.stats(regex='downstream_cx_max_requests_reached'))
