"""All names of a cluster's stats, on clusters that use much of what there is, before and after traffic; `/clusters` of them."""
from harness import *

MANY = {
    'track_cluster_stats': {'timeout_budgets': True, 'request_response_sizes': True, 'per_endpoint_stats': True},
    'circuit_breakers': {'thresholds': [{'track_remaining': True, 'retry_budget': {}}, {'priority': 'HIGH', 'track_remaining': True}], 'per_host_thresholds': [{'max_connections': 100}]},
    'outlier_detection': {'split_external_local_origin_errors': True},
    'health_checks': [{'timeout': '1s', 'interval': '5s', 'unhealthy_threshold': 1, 'healthy_threshold': 1, 'http_health_check': {'path': '/'}}],
}
KINDS = {
    'many': MANY,
    'subsets_and_ring': {'lb_policy': 'RING_HASH', 'ring_hash_lb_config': {'minimum_ring_size': 10, 'maximum_ring_size': 10}, 'lb_subset_config': {'fallback_policy': 'ANY_ENDPOINT', 'subset_selectors': [{'keys': ['a']}]}},
    'zone_aware': {'common_lb_config': {'zone_aware_lb_config': {'min_cluster_size': 1}}},
    'locality_weighted': {'common_lb_config': {'locality_weighted_lb_config': {}}},
    'preconnecting': {'preconnect_policy': {'per_upstream_preconnect_ratio': 1.5, 'predictive_preconnect_ratio': 1.5}},
}


async def names(t):
    _, body = await t.admin('/stats?filter=^cluster[.]c1[.]')
    found = (l.partition(': ')[0][len('cluster.c1.'):] for l in body.splitlines())
    return sorted(re.sub(r'127[.]0[.]0[.]1_\d+', '<host>', name) for name in found)


for kind, copts in KINDS.items():
    for h2 in (False, True):
        @case('names_of_%s%s' % (kind, '_over_http2' if h2 else ''))
        async def _(t, copts=copts, h2=h2):
            u = await (t.h2up() if h2 else t.up())
            r = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'hash_policy': [{'header': {'header_name': 'x-hash'}}], 'retry_policy': {'retry_on': '5xx'}}}]
            await t.start(simple(t, clusters=[cluster('c1', u, copts, h2=h2)], routes=r))
            before = await names(t)
            t.see('before', before)
            await t.req('/')
            await t.stat_until('cluster.c1.upstream_rq_total', lambda v: v >= 1)
            await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
            t.see('after', sorted(set(await names(t)) - set(before)))


@case()
async def clusters_page_of_many(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', u, {k: v for k, v in MANY.items() if k != 'health_checks'})]))
    await t.req('/')
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
    t.see('text', sorted(l for l in (await t.admin('/clusters'))[1].splitlines() if l.startswith('c1::')))
    import json
    _, body = await t.admin('/clusters?format=json')
    t.see('json', [c for c in json.loads(body)['cluster_statuses'] if c['name'] == 'c1'])


@case()
async def endpoints_stats_of_failures(t):
    """`per_endpoint_stats` of a host that cannot be reached, fails, times out and is well."""
    async def respond(m, n):
        if m['path'] == '/slow':
            await asyncio.sleep(1)
        return resp(503 if m['path'] == '/bad' else 200)
    for name, u in (('up', await t.up(respond=respond)), ('dead', t.dead())):
        await t.start(simple(t, clusters=[cluster('c1', u, {'track_cluster_stats': {'per_endpoint_stats': True}})], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'timeout': '0.2s'}}]), name=name)
        for p in ('/', '/bad', '/slow'):
            await t.req(p)
        await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
        t.see(name, {re.sub(r'127[.]0[.]0[.]1_\d+', '<host>', k): v for k, v in (await t.stats(regex=r'^cluster[.]c1[.]endpoint[.]')).items()})
        await t.stop()


@case()
async def budgets_and_sizes_of_failures(t):
    """What is recorded of requests that time out, are refused, and have no body."""
    async def respond(m, n):
        if m['path'] == '/slow':
            await asyncio.sleep(1)
        return resp(200, 'x' * 10)
    u = await t.up(respond=respond)
    await t.start(simple(t, clusters=[cluster('c1', u, {'track_cluster_stats': {'timeout_budgets': True, 'request_response_sizes': True}})], routes=[{'match': {'prefix': '/none'}, 'route': {'cluster': 'c1', 'timeout': '0s'}}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'timeout': '0.3s', 'retry_policy': {'retry_on': '5xx', 'per_try_timeout': '0.2s', 'num_retries': 0}}}]))
    for p in ('/', '/slow', '/none'):
        await t.req(p)
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
    _, text = await t.admin('/stats/prometheus?filter=upstream_r[qs]_(body_size|headers_count|headers_size|timeout_budget)')
    t.see('counts', sorted(l for l in text.splitlines() if '_count' in l.partition('{')[0]))
