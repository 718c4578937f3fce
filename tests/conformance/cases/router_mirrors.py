"""Mirrored requests while they stream, and tunnels whose client talks early."""
from harness import *

LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
MIRROR = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'request_mirror_policies': [{'cluster': 'cs'}]}}]
COUNTS = ['cluster.cs.upstream_rq_total', 'cluster.cs.upstream_rq_200', 'cluster.cs.internal.upstream_rq_200', 'cluster.c1.upstream_rq_total']


async def started(t, main=None, shadow=None, routes=None, **kw):
    u, s = await t.up('main', main), await t.up('shadow', shadow)
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('cs', s)], routes=routes or MIRROR, log=LOG, **kw))
    return u, s


@case('mirror_streams_before_the_body_is_whole')
async def _(t):
    seen = asyncio.Event()
    u = await t.up('main')

    async def shadow(c):
        line = await c.line()
        await c.headers()
        t.see('begun', [body_repr(line.strip()), body_repr(await c.exactly(5))])
        seen.set()
        t.see('rest', body_repr(await c.exactly(5)))
        c.send(resp(200))
        await c.drain()
        await c.read_request()
    s = await t.up('shadow', conn=shadow)
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('cs', s)], routes=MIRROR))
    conn = await t.conn()
    conn.send(b'POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nfirst')
    await asyncio.wait_for(seen.wait(), 5)
    conn.send(b'secon')
    t.see('r', await conn.response())
    await t.stat_until('cluster.cs.upstream_rq_200', lambda v: v == 1)


@case('mirror_of_a_large_body')
async def _(t):
    """More than the buffers hold: the copy has all of it, since both sides read."""
    u, s = await started(t, lextra='{per_connection_buffer_limit_bytes: 16384}')
    t.see('r', (await t.req('/a', method='POST', body='x' * 300000)).status)
    await t.stat_until('cluster.cs.upstream_rq_200', lambda v: v == 1)
    t.see('lengths', [len(u.reqs[0].body), len(s.reqs[0].body)])


@case('mirror_of_chunks_and_trailers')
async def _(t):
    u, s = await started(t, opts='{http_protocol_options: {enable_trailers: true}}')
    conn = await t.conn()
    conn.send(b'POST /a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-t: v\r\n\r\n')
    t.see('r', (await conn.response()).status)
    await t.stat_until('cluster.cs.upstream_rq_200', lambda v: v == 1)
    t.see('bodies', [body_repr(m.body) for m in u.reqs + s.reqs])
    t.see('framing', [(m.h('content-length'), m.h('transfer-encoding')) for m in u.reqs + s.reqs])


@case('mirror_given_up_with_its_request')
async def _(t):
    """The client leaves in the middle: neither upstream gets the end."""
    u, s = await started(t)
    conn = await t.conn()
    conn.send(b'POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nfirst')
    await t.stat_until('cluster.cs.upstream_rq_active', lambda v: v == 1)
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 1)
    conn.close()
    await t.stat_until('cluster.cs.upstream_rq_active', lambda v: v == 0)
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
    t.see('whole', [len(u.reqs), len(s.reqs)])
    t.see('codes', await t.stats('cluster.cs.upstream_rq_200', 'cluster.cs.upstream_rq_503'))


@case('mirror_times_out')
async def _(t):
    async def mute(c):
        await c.read_request()
        await c.read_request()
    u, s = await t.up('main'), await t.up('shadow', conn=mute)
    routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'timeout': '0.1s', 'request_mirror_policies': [{'cluster': 'cs'}]}}]
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('cs', s)], routes=routes, log=LOG))
    t.see('r', (await t.req('/a', method='POST', body='x')).status)
    await t.stat_until('cluster.cs.upstream_rq_timeout', lambda v: v == 1)
    t.see('stats', await t.stats('cluster.cs.upstream_rq_504', 'cluster.cs.internal.upstream_rq_504', 'cluster.c1.upstream_rq_200'))


@case('mirror_once_for_a_request_that_is_retried')
async def _(t):
    routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': {'retry_on': '5xx', 'num_retries': 2, 'retry_back_off': {'base_interval': '0.002s'}}, 'request_mirror_policies': [{'cluster': 'cs'}]}}]
    u, s = await started(t, lambda m, n: resp(503 if n < 3 else 200, 'x'), routes=routes)
    t.see('r', (await t.req('/a', method='POST', body='abc')).status)
    await t.stat_until('cluster.cs.upstream_rq_200', lambda v: v == 1)
    t.see('counts', [len(u.reqs), len(s.reqs)])


@case('mirror_header_changes')
async def _(t):
    routes = Y("""
- match: {prefix: /}
  request_headers_to_add: [{header: {key: x-route, value: r}}]
  route:
    cluster: c1
    request_mirror_policies:
    - cluster: cs
      request_headers_mutations:
      - {remove: x-gone}
      - {append: {header: {key: x-copy, value: "%REQ(x-route)%-%REQ(x-kept)%-%REQ(x-gone)%"}}}
      - {append: {header: {key: x-kept, value: new}, append_action: OVERWRITE_IF_EXISTS}}
      - {append: {header: {key: x-absent, value: new}, append_action: OVERWRITE_IF_EXISTS}}
""")
    u, s = await started(t, routes=routes)
    t.see('r', (await t.req('/a', headers=[('x-gone', 'g'), ('x-kept', 'k')])).status)
    await t.stat_until('cluster.cs.upstream_rq_200', lambda v: v == 1)
    names = ('x-route', 'x-gone', 'x-kept', 'x-copy', 'x-absent', 'host')
    t.see('main', [u.reqs[0].h(n) for n in names])
    t.see('copy', [s.reqs[0].h(n) for n in names])


@case('mirror_to_two_clusters')
async def _(t):
    routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'request_mirror_policies': [{'cluster': 'cs'}, {'cluster': 'c1', 'host_rewrite_literal': 'own'}, {'cluster_header': 'x-to'}]}}]
    u, s = await started(t, routes=routes)
    t.see('r', (await t.req('/a', method='POST', body='abc', headers=[('x-to', 'cs')])).status)
    await t.stat_until('cluster.cs.upstream_rq_200', lambda v: v == 2)
    await t.stat_until('cluster.c1.upstream_rq_200', lambda v: v == 2)
    t.see('hosts', sorted((m.h('host'), body_repr(m.body)) for m in u.reqs + s.reqs))


@case('connect_early_data_passes')
async def _(t):
    """A CONNECT whose client talks before it is answered."""
    async def h(s):
        s.respond(200)
    u = await t.h2up('u1', h)
    routes = [{'match': {'connect_matcher': {}}, 'route': {'cluster': 'c1', 'upgrade_configs': [{'upgrade_type': 'CONNECT'}]}}]
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], routes=routes, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%', opts='{upgrade_configs: [{upgrade_type: CONNECT}]}'))
    conn = await t.conn()
    conn.send(b'CONNECT a.example:80 HTTP/1.1\r\nhost: a.example:80\r\n\r\nearly')
    t.see('status', (await conn.response(method='CONNECT')).status)
    conn.close()
    await t.stat_until('http.in.downstream_rq_active', lambda v: v == 0)
    t.see('log', await t.logs())
