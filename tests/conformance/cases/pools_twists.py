"""Twists of pools and limits: retries, gauges, what ends connections and how that is counted."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
SHOWN = re.compile(r'^cluster\.c1\.(upstream_(cx|rq)_[a-z0-9_]+|circuit_breakers\..*|bind_errors|retry_or_shadow_abandoned|http[12]\..*)$')
# Bytes hang on how long numbers are in text.
UNSTEADY = ('bytes_total', 'buffered', 'keepalive_failed')


async def counted(t):
    """All counters and gauges of c1's connections and requests that are not 0, once nothing is under way."""
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
    found = await t.stats(regex=SHOWN)
    return {k[len('cluster.c1.'):]: v for k, v in found.items() if isinstance(v, int) and v and not k.endswith(UNSTEADY)}


def route(**kw):
    return [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **kw}}]


async def once_each(c):
    """Answers one request of a connection and closes."""
    await c.read_request()
    c.send(resp(200))
    await c.drain()


ENDS = {
    'close_by_header': (resp(200, '', [('connection', 'close')]), 'GET'), 'close_by_version': (b'HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n', 'GET'),
    'kept_by_version': (b'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n', 'GET'), 'proxy_connection_close': (resp(200, '', [('proxy-connection', 'close')]), 'GET'),
    'more_than_an_answer': (resp(200) + b'x', 'GET'), 'no_content': (b'HTTP/1.1 204 No Content\r\n\r\n', 'GET'), 'head': (b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n', 'HEAD'),
    'bad_answer': (b'what\r\n\r\n', 'GET'), 'continue': (b'HTTP/1.1 100 Continue\r\n\r\n' + resp(200), 'POST'),
}
for label, (answer, method) in ENDS.items():
    @case('ends_' + label)
    async def ends(t, answer=answer, method=method):
        async def conn(c):
            while await c.read_request():
                c.send(answer)
                await c.drain()
        u = await t.up(conn=conn)
        await t.start(simple(t, log=LOG))
        for _ in range(2):
            await t.req('/', method=method, body='x' if method == 'POST' else None)
        t.see('connections', u.conns)
        t.see('counted', await counted(t))
        t.see('log', await t.logs())


@case()
async def ends_by_the_host_between_requests(t):
    u = await t.up(conn=once_each)
    await t.start(simple(t, log=LOG))
    for i in range(2):
        await t.req('/')
        await t.stat_until('cluster.c1.upstream_cx_destroy_remote', lambda v: v == i + 1)
    t.see('counted', await counted(t))


@case()
async def ends_by_idle_time(t):
    await t.up()
    await t.start(simple(t, clusters=[cluster('c1', t.ups, hpo='{common_http_protocol_options: {idle_timeout: 0.1s}, explicit_http_config: {http_protocol_options: {}}}')]))
    await t.req('/')
    await t.stat_until('cluster.c1.upstream_cx_idle_timeout', lambda v: v == 1)
    t.see('counted', await counted(t))


for code in (0, 1, 2, 5, 7, 8, 11, 13):
    @case('resets_of_http2_%d' % code)
    async def resets(t, code=code):
        async def h(s):
            s.reset(code)
        u = await t.h2up('u1', h)
        await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
        t.see('status', (await t.req('/')).status)
        t.see('counted', await counted(t))
        t.see('log', await t.logs())


@case()
async def resets_by_the_client(t):
    gate = asyncio.Event()

    async def respond(m, n):
        await gate.wait()
    u = await t.up(respond=respond)
    await t.start(simple(t, log=LOG))
    c = await t.conn()
    c.send(build('/'))
    await t.until(lambda: u.reqs)
    c.close()
    t.see('counted', await counted(t))
    gate.set()


@case()
async def resets_by_the_client_over_http2(t):
    gate = asyncio.Event()

    async def h(s):
        await gate.wait()
    u = await t.h2up('u1', h)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=LOG))
    c = await t.conn()
    c.send(build('/'))
    await t.until(lambda: u.reqs)
    c.close()
    t.see('counted', await counted(t))
    gate.set()


@case()
async def retries_beyond_what_may_be(t):
    await t.up(respond=lambda m, n: resp(503))
    await t.start(simple(t, copts='{circuit_breakers: {thresholds: [{max_retries: 0, track_remaining: true}]}}', routes=route(retry_policy={'retry_on': '5xx', 'num_retries': 2}), log=LOG))
    r = await t.req('/')
    t.see('r', [r.status, r.h('x-envoy-overloaded'), r.h('x-envoy-attempt-count')])
    t.see('counted', await counted(t))
    t.see('log', await t.logs())


for label, budget in {'of_nothing': {'budget_percent': {'value': 0}, 'min_retry_concurrency': 0}, 'of_one': {'budget_percent': {'value': 0}, 'min_retry_concurrency': 1}, 'of_all': {'budget_percent': {'value': 100}, 'min_retry_concurrency': 0}, 'by_default': {}}.items():
    @case('retries_by_a_budget_' + label)
    async def budgets(t, budget=budget):
        """A budget takes the place of `max_retries`."""
        await t.up(respond=lambda m, n: resp(503))
        await t.start(simple(t, copts={'circuit_breakers': {'thresholds': [{'max_retries': 0, 'retry_budget': dict(budget), 'track_remaining': True}]}}, routes=route(retry_policy={'retry_on': '5xx', 'num_retries': 2}), log=LOG))
        await t.req('/')
        t.see('counted', await counted(t))
        t.see('log', await t.logs())


@case()
async def retries_of_each_priority(t):
    await t.up(respond=lambda m, n: resp(503))
    r = [{'match': {'prefix': '/high'}, 'route': {'cluster': 'c1', 'priority': 'HIGH', 'retry_policy': {'retry_on': '5xx'}}}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': {'retry_on': '5xx'}}}]
    await t.start(simple(t, copts='{circuit_breakers: {thresholds: [{priority: HIGH, max_retries: 0}]}}', routes=r, log=LOG))
    await t.req('/high')
    await t.req('/')
    t.see('counted', await counted(t))
    t.see('log', await t.logs())


for label, limits in {'requests': '{max_requests: 0}', 'pending': '{max_pending_requests: 0}', 'connections_and_pending': '{max_connections: 0, max_pending_requests: 0}', 'pools': '{max_connection_pools: 0}', 'connections': '{max_connections: 0}'}.items():
    for h2 in (False, True):
        @case('limits_of_no_%s%s' % (label, '_over_http2' if h2 else ''))
        async def limits_of_nothing(t, limits=limits, h2=h2):
            u = await (t.h2up('u1') if h2 else t.up())
            await t.start(simple(t, clusters=[cluster('c1', u, {'circuit_breakers': {'thresholds': [merge(Y(limits), {'track_remaining': True})]}}, h2=h2)], log=LOG))
            t.see('r', await t.req('/'))
            t.see('counted', await counted(t))
            t.see('log', await t.logs())


@case()
async def limits_twice_of_one_priority(t):
    """The first of a priority counts."""
    await t.up()
    await t.start(simple(t, copts='{circuit_breakers: {thresholds: [{max_requests: 0}, {max_requests: 5}]}}', log=LOG))
    t.see('r', (await t.req('/')).status)


@case()
async def limits_of_http2_streams(t):
    """The host's own limit of streams opens another connection, unless there may be none: then requests wait."""
    gate = asyncio.Event()

    async def h(s):
        await gate.wait()
        s.respond(200, end=True)
    for label, cb in {'may': {}, 'may not': {'circuit_breakers': {'thresholds': [{'max_connections': 1}]}}}.items():
        gate.clear()
        u = await t.h2up('u' + label.replace(' ', ''), h)
        await t.start(simple(t, clusters=[cluster('c1', u, cb, h2='{max_concurrent_streams: 1}')], log=LOG), name=label.replace(' ', ''))
        reqs = [asyncio.create_task(t.req('/')) for _ in range(2)]
        await t.until(lambda: len(u.reqs) >= (2 if label == 'may' else 1))
        await t.stat_until('cluster.c1.upstream_rq_pending_active', lambda v: v == (0 if label == 'may' else 1))
        t.see(label, await t.stats('cluster.c1.upstream_cx_active', 'cluster.c1.upstream_rq_pending_active', 'cluster.c1.upstream_rq_active'))
        gate.set()
        t.see(label + ' r', [(await r).status for r in reqs])
        await t.stop()


@case()
async def tracks_timeout_budgets_and_sizes(t):
    await t.up(respond=lambda m, n: resp(200, 'x' * 100))
    await t.start(simple(t, copts='{track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}}', routes=route(timeout='10s')))
    for _ in range(2):
        await t.req('/', method='POST', body='y' * 50)
    await counted(t)
    _, text = await t.admin('/stats/prometheus?filter=upstream_r[qs]_(body_size|headers_count|timeout_budget)')
    t.see('sums', sorted(l for l in text.splitlines() if '_count' in l or ('_sum' in l and 'headers' not in l and 'budget' not in l)))


@case()
async def tracks_endpoints(t):
    us = [await t.up('h0'), t.dead('h1')]
    await t.start(simple(t, clusters=[cluster('c1', us, '{track_cluster_stats: {per_endpoint_stats: true}}')]))
    for _ in range(4):
        await t.req('/')
    await counted(t)
    found = await t.stats(regex=r'^cluster\.c1\.endpoint')
    for u in us:
        found = {k.replace('127.0.0.1_%d' % u.port, u.name): v for k, v in found.items()}
    t.see('stats', found)
    _, text = await t.admin('/clusters')
    t.see('clusters', sorted(l for l in text.splitlines() if '::cx_' in l or '::rq_' in l))


@case()
async def hosts_that_go_lose_their_connections(t):
    """Idle connections of a host that discovery takes away are closed, busy ones when they are done."""
    import yaml
    gate = asyncio.Event()

    async def respond(m, n):
        if m['path'] == '/slow':
            await gate.wait()
        return resp(200, m['up'])

    def assignment(*ups):
        return yaml.safe_dump({'version_info': str(len(ups)), 'resources': [{'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': 'c1', 'endpoints': [{'lb_endpoints': [lbe(u) for u in ups]}]}]}, sort_keys=False)
    us = [await t.up('h0', respond), await t.up('h1', respond)]
    t.write('eds.yaml', assignment(us[0]))
    c = {'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': {'eds_config': {'path_config_source': {'path': t.path('eds.yaml')}}}}
    await t.start(simple(t, clusters=[c], extra='{node: {id: me, cluster: us}}'))
    slow = asyncio.create_task(t.req('/slow'))
    await t.until(lambda: us[0].reqs)
    await t.req('/')
    t.see('before', await t.stats('cluster.c1.upstream_cx_active'))
    t.move_in('eds.yaml', assignment(us[1]))
    t.see('one is closed', bool(await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 1)))
    gate.set()
    t.see('slow', (await slow).status)
    t.see('both', bool(await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)))
    t.see('counted', await counted(t))
