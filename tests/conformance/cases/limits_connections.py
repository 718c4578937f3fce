"""Circuit breakers of connections and requests, by protocol: what waits, what is refused, and how often `upstream_cx_overflow` counts."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
SHOWN = re.compile(r'^cluster\.c1\.(upstream_(cx|rq)_[a-z0-9_]+|circuit_breakers\..*)$')
# Bytes hang on how long numbers are in text.
UNSTEADY = ('bytes_total', 'buffered', 'keepalive_failed')


async def counted(t):
    """All counters and gauges of c1's connections and requests that are not 0."""
    found = await t.stats(regex=SHOWN)
    return {k[len('cluster.c1.'):]: v for k, v in found.items() if isinstance(v, int) and v and not k.endswith(UNSTEADY)}


def breakers(limits):
    return {'circuit_breakers': {'thresholds': [merge({'track_remaining': True}, Y(limits))]}}


async def together(t, n):
    """So many requests of one client in one write, so that all are there before a connection to the host is; their streams."""
    c = await t.h2()
    sids = []
    for i in range(n):
        sids.append(c.c.get_next_available_stream_id())
        c.st(sids[-1])
        c.c.send_headers(sids[-1], [(':method', 'GET'), (':scheme', 'http'), (':authority', 'test.example'), (':path', '/%d' % i)], end_stream=True)
    c.flush()
    return c, sids


class Held:
    """A host that keeps each request until it is let go, in the order in which they came."""

    def __init__(self):
        self.waiting, self.answered = [], 0

    async def hold(self):
        gate = asyncio.Event()
        self.waiting.append(gate)
        await gate.wait()

    async def respond(self, m, n):
        await self.hold()
        return resp(200)

    async def handler(self, s):
        await self.hold()
        s.respond(200, end=True)

    async def host(self, t, h2, **kw):
        return await (t.h2up('u1', self.handler, **kw) if h2 else t.up('u1', self.respond))

    async def let_go(self, t, total):
        """One by one: the next goes when nobody is waiting for the place of the one before any more."""
        for i in range(total):
            await t.until(lambda: len(self.waiting) > i)
            self.waiting[i].set()
            await t.stat_until('cluster.c1.upstream_rq_200', lambda v: v == i + 1)


def case_of_held(name, limits, n, arrived, h2=False, copts=None, refused=0):
    """`arrived`: how many of `n` requests reach the host before it answers any; so many are `refused`."""
    @case('held_' + name)
    async def _(t):
        held = Held()
        u = await held.host(t, h2)
        await t.start(simple(t, clusters=[cluster('c1', u, merge(breakers(limits), Y(copts) or {}), h2=h2)], log=LOG, opts={'codec_type': 'HTTP2'}))
        c, sids = await together(t, n)
        await t.until(lambda: len(held.waiting) >= arrived)
        await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == arrived)
        t.see('meanwhile', await counted(t))
        await held.let_go(t, n - refused)
        t.see('answers', sorted([(await c.done(s)).h(':status') for s in sids]))
        await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
        t.see('in the end', await counted(t))
        t.see('connections', u.conns)
        t.see('log', sorted(await t.logs()))


for proto, h2 in (('http1', False), ('http2', True)):
    for most, n in ((1, 1), (1, 2), (1, 4), (2, 4)):
        case_of_held('%s_connections_%d_of_%d' % (proto, most, n), '{max_connections: %d}' % most, n, n if h2 else min(most, n), h2)
    case_of_held(proto + '_connections_1_pending_1', '{max_connections: 1, max_pending_requests: 1}', 3, 1, h2, refused=2)
    case_of_held(proto + '_requests_2', '{max_requests: 2}', 4, 2, h2, refused=2)
    case_of_held(proto + '_connections_1_preconnecting', '{max_connections: 1}', 2, 2 if h2 else 1, h2, '{preconnect_policy: {per_upstream_preconnect_ratio: 2}}')
    case_of_held(proto + '_connections_3_preconnecting', '{max_connections: 3}', 2, 2, h2, '{preconnect_policy: {per_upstream_preconnect_ratio: 3}}')
for most, n, streams in ((1, 3, 1), (1, 4, 2), (2, 4, 1), (2, 5, 2), (3, 3, 1)):
    case_of_held('http2_connections_%d_streams_%d_of_%d' % (most, streams, n), '{max_connections: %d}' % most, n, min(n, most * streams), '{max_concurrent_streams: %d}' % streams)
case_of_held('http2_pending_1_streams_1', '{max_pending_requests: 1}', 3, 1, '{max_concurrent_streams: 1}', refused=2)
case_of_held('http2_streams_1_preconnecting', '{max_connections: 2}', 3, 2, '{max_concurrent_streams: 1}', '{preconnect_policy: {per_upstream_preconnect_ratio: 1.5}}')


def options(protocol, **common):
    return {'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {'@type': T_HPO, 'common_http_protocol_options': common, 'explicit_http_config': {protocol + '_protocol_options': {}}}}}


for proto, h2 in (('http', False), ('http2', True)):
    case_of_held('%s_one_request_each_connections_1' % proto, '{max_connections: 1}', 3, 1, h2, options(proto, max_requests_per_connection=1))
    case_of_held('%s_two_requests_each_connections_2' % proto, '{max_connections: 2}', 5, 4 if h2 else 2, h2, options(proto, max_requests_per_connection=2))


def case_of_silence(name, limits, n, h2=False, copts=None):
    """A host that takes no connection: what is counted while requests wait, and when their connections' time is over."""
    @case('silent_' + name)
    async def _(t):
        await t.start(simple(t, clusters=[cluster('c1', t.silent(), merge(breakers(limits), Y(copts) or {}), h2=h2, timeout='1s')], log=LOG, opts={'codec_type': 'HTTP2'}))
        c, sids = await together(t, n)
        await t.stat_until('cluster.c1.upstream_rq_pending_active', lambda v: v > 0)
        t.see('meanwhile', await counted(t))
        t.see('answers', sorted([(await c.done(s)).h(':status') for s in sids]))
        t.see('in the end', await counted(t))
        t.see('log', sorted(await t.logs()))


for proto, h2 in (('http1', False), ('http2', True)):
    for limits in ({'max_connections': 1}, {'max_connections': 2}, {'max_connections': 1, 'max_pending_requests': 2}, {'max_requests': 1}, {'max_connections': 0}):
        name = '_'.join('%s_%d' % (k[4:].partition('_')[0], v) for k, v in limits.items())
        case_of_silence('%s_%s' % (proto, name), limits, 3, h2)
    case_of_silence(proto + '_preconnecting', {'max_connections': 2}, 3, h2, '{preconnect_policy: {per_upstream_preconnect_ratio: 2}}')
    case_of_silence(proto + '_preconnecting_without_limit', {}, 3, h2, '{preconnect_policy: {per_upstream_preconnect_ratio: 3}}')
case_of_silence('http2_streams_2', {'max_connections': 1}, 3, '{max_concurrent_streams: 2}')


def case_of_tcp(name, limits, n, open_):
    """Connections of a TCP proxy: so many are `open_`ed of those of `n` clients."""
    @case('tcp_' + name)
    async def _(t):
        async def conn(c):
            c.send(b'hello')
            await c.fill()
        u = await t.up(conn=conn)
        p = {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 'p', 'cluster': 'c1', 'access_log': [filelog(t, '%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS%')]}}
        await t.start(config(t, [listener(t, [p])], [cluster('c1', u, breakers(limits))]))
        clients = []
        for i in range(n):
            clients.append(await t.conn())
            await t.stat_until('tcp.p.downstream_cx_total', lambda v: v == i + 1)
            if i < open_:
                await t.until(lambda: u.conns == i + 1)
                await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == i + 1)
        t.see('meanwhile', await counted(t))
        t.see('proxy', await t.stats('tcp.p.downstream_cx_no_route', 'tcp.p.max_downstream_connection_duration', 'tcp.p.downstream_cx_total'))
        for c in clients:
            c.close()
        await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
        t.see('in the end', await counted(t))
        t.see('log', sorted(await t.logs()))


case_of_tcp('connections_1', {'max_connections': 1}, 3, 1)
case_of_tcp('connections_0', {'max_connections': 0}, 2, 0)
case_of_tcp('pending_0', {'max_pending_requests': 0}, 2, 0)
case_of_tcp('requests_1', {'max_requests': 1}, 2, 1)
case_of_tcp('pools_0', {'max_connection_pools': 0}, 1, 0)
case_of_tcp('preconnecting', {'max_connections': 3}, 2, 2)


ENDS = {
    'head': lambda s: s.respond(200, end=True),
    'data': lambda s: s.respond(200) or s.data(b'x', end=True),
    'empty_data': lambda s: s.respond(200) or s.data(b'', end=True),
    'trailers': lambda s: s.respond(200) or s.trailers([('a', 'b')]),
    'reset': lambda s: s.reset(8),
}
for end, how in ENDS.items():
    @case('last_request_over_http2_ends_by_' + end)
    async def _(t, how=how):
        """A connection that has carried all that it may is closed with its last answer."""
        async def handler(s):
            done = how(s)
            if done:
                await done
        u = await t.h2up('u1', handler)
        await t.start(simple(t, clusters=[cluster('c1', u, options('http2', max_requests_per_connection=1))], log=LOG))
        for i in range(2):
            t.see('r%d' % i, (await t.req('/')).status)
            await t.stat_until('cluster.c1.upstream_cx_destroy', lambda v: v == i + 1)
        t.see('counted', await counted(t))


@case()
async def drained_over_http2_by_goaway(t):
    """What the host has seen goes on; the connection ends with it."""
    gate = asyncio.Event()

    async def handler(s):
        s.goaway_raw(0, s.sid)
        await gate.wait()
        s.respond(200, end=True)
    u = await t.h2up('u1', handler)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    r = asyncio.create_task(t.req('/'))
    await t.stat_until('cluster.c1.upstream_cx_close_notify', lambda v: v == 1)
    t.see('meanwhile', await counted(t))
    gate.set()
    t.see('r', (await r).status)
    await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
    t.see('counted', await counted(t))


@case()
async def drained_over_http2_by_its_age(t):
    held = Held()
    u = await held.host(t, True)
    await t.start(simple(t, clusters=[cluster('c1', u, options('http2', max_connection_duration='0.1s'))], log=LOG))
    r = asyncio.create_task(t.req('/'))
    await t.stat_until('cluster.c1.upstream_cx_max_duration_reached', lambda v: v == 1)
    t.see('meanwhile', await counted(t))
    await held.let_go(t, 1)
    t.see('r', (await r).status)
    await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
    t.see('counted', await counted(t))


@case()
async def drained_over_http2_by_its_age_and_left_by_the_client(t):
    held = Held()
    u = await held.host(t, True)
    await t.start(simple(t, clusters=[cluster('c1', u, options('http2', max_connection_duration='0.1s'))], log=LOG))
    c = await t.conn()
    c.send(build('/'))
    await t.stat_until('cluster.c1.upstream_cx_max_duration_reached', lambda v: v == 1)
    c.close()
    await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
    t.see('counted', await counted(t))
