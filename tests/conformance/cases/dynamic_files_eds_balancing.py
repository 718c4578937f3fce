"""EDS by file: what updates mean for balancers, priorities, subsets, tables and checks."""
import yaml

from harness import *

ASSIGNMENT = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment'


def place(ups, priority=0, zone=None, weight=None):
    """Hosts of one priority and zone; each an upstream, or one with further fields."""
    p = {'lb_endpoints': [u if isinstance(u, dict) else lbe(u) for u in ups], 'priority': priority}
    if zone:
        p['locality'] = {'zone': zone}
    if weight:
        p['load_balancing_weight'] = weight
    return p


def response(version, *places, **more):
    a = merge({'@type': ASSIGNMENT, 'cluster_name': 'c1', 'endpoints': list(places)}, more)
    return yaml.safe_dump({'version_info': version, 'resources': [a]}, sort_keys=False)


def fed(t, extra=None):
    source = {'path_config_source': {'path': t.path('eds.yaml')}}
    return merge({'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': {'eds_config': source}}, Y(extra) or {})


async def start(t, first, extra=None, **kw):
    t.write('eds.yaml', first)
    await t.start(simple(t, clusters=[fed(t, extra)], extra='{node: {id: me, cluster: us}}', **kw))


async def then(t, data):
    """Moves an assignment in and waits until it was looked at."""
    before = (await t.stats('cluster.c1.update_attempt'))['cluster.c1.update_attempt']
    t.move_in('eds.yaml', data)
    await t.stat_until('cluster.c1.update_attempt', lambda n: n > before)


async def ups(t, n):
    return [await t.up('u%d' % i) for i in range(n)]


async def served(t, n=6, path='/', **kw):
    """Who answers so many requests, and how often; statuses of those that nobody answers."""
    got = {}
    for _ in range(n):
        r = await t.req(path, **kw)
        who = r.h('x-up') or str(r.status)
        got[who] = got.get(who, 0) + 1
    return got


async def who(t, **kw):
    return sorted(await served(t, **kw))


async def shown(t, words):
    _, text = await t.admin('/clusters')
    return sorted(t.mask(l) for l in text.splitlines() if any('::%s::' % w in l for w in words.split()))


def of(u, health=None, weight=None, meta=None, hc=None, **more):
    e = merge(lbe(u), {k: v for k, v in (('health_status', health), ('load_balancing_weight', weight)) if v})
    if meta:
        e['metadata'] = {'filter_metadata': {'envoy.lb': meta}}
    if hc:
        e['endpoint']['health_check_config'] = hc
    return merge(e, more)


BY_VERSION = '{lb_subset_config: {fallback_policy: NO_FALLBACK, subset_selectors: [{keys: [v]}]}}'
ROUTES = '[{match: {prefix: /1}, route: {cluster: c1, metadata_match: {filter_metadata: {envoy.lb: {v: "1"}}}}}, {match: {prefix: /2}, route: {cluster: c1, metadata_match: {filter_metadata: {envoy.lb: {v: "2"}}}}}, {match: {prefix: /}, route: {cluster: c1}}]'
SUBSETS = 'cluster.c1.lb_subsets_active', 'cluster.c1.lb_subsets_created', 'cluster.c1.lb_subsets_removed'


@case()
async def eds_host_changes_its_subset(t):
    u = await ups(t, 2)
    await start(t, response('1', place([of(u[0], meta={'v': '1'}), of(u[1], meta={'v': '1'})])), BY_VERSION, routes=ROUTES)
    t.see('before', [await who(t, path=p) for p in ('/1', '/2')])
    await then(t, response('2', place([of(u[0], meta={'v': '1'}), of(u[1], meta={'v': '2'})])))
    t.see('after', [await who(t, path=p) for p in ('/1', '/2')])
    t.see('stats', await t.stats(*SUBSETS))


@case()
async def eds_subset_goes(t):
    u = await ups(t, 2)
    await start(t, response('1', place([of(u[0], meta={'v': '1'}), of(u[1], meta={'v': '2'})])), BY_VERSION, routes=ROUTES)
    t.see('before', await t.stats(*SUBSETS))
    await then(t, response('2', place([of(u[0], meta={'v': '1'})])))
    t.see('after', [await who(t, path=p) for p in ('/1', '/2')])
    t.see('stats', await t.stats(*SUBSETS))
    await then(t, response('3', place([of(u[0], meta={'v': '1'}), of(u[1], meta={'v': '2'})])))
    t.see('again', [await who(t, path=p) for p in ('/1', '/2')])
    t.see('stats_again', await t.stats(*SUBSETS))


@case()
async def eds_subset_by_a_locality_weight(t):
    u = await ups(t, 2)
    extra = '{common_lb_config: {locality_weighted_lb_config: {}}, lb_subset_config: {fallback_policy: NO_FALLBACK, locality_weight_aware: true, subset_selectors: [{keys: [v]}]}}'
    await start(t, response('1', place([of(u[0], meta={'v': '1'})], zone='a', weight=1), place([of(u[1], meta={'v': '1'})], zone='b', weight=3)), extra, routes=ROUTES)
    got = await served(t, 40, path='/1')
    t.see('shares', {k: round(v / 10) for k, v in sorted(got.items())})
    await then(t, response('2', place([of(u[0], meta={'v': '1'})], zone='a', weight=1), place([of(u[1], meta={'v': '1'})], zone='b')))
    t.see('one', await who(t, path='/1'))


@case()
async def eds_host_moves_to_another_priority(t):
    u = await ups(t, 2)
    await start(t, response('1', place(u[:1]), place(u[1:], 1)))
    t.see('before', await who(t))
    await then(t, response('2', place(u[1:]), place(u[:1], 1)))
    t.see('after', await who(t))
    t.see('hosts', await shown(t, 'priority'))
    t.see('stats', await t.stats('cluster.c1.membership_change', 'cluster.c1.membership_total', 'cluster.c1.upstream_cx_total'))


@case()
async def eds_first_priority_empties(t):
    u = await ups(t, 2)
    await start(t, response('1', place(u[:1]), place(u[1:], 1)))
    await then(t, response('2', place(u[1:], 1)))
    t.see('served', await who(t))
    await then(t, response('3', place(u[:1])))
    t.see('back', await who(t))
    t.see('hosts', await shown(t, 'priority'))


@case()
async def eds_priority_without_the_ones_before(t):
    """Only the third priority has hosts."""
    u = await ups(t, 1)
    await start(t, response('1', place(u, 2)))
    t.see('served', await served(t))
    t.see('hosts', await shown(t, 'priority'))


@case()
async def eds_factor_changes(t):
    """Half of the first priority is healthy: with a factor of 200 it takes all, of 100 a half."""
    u = await ups(t, 3)
    places = place([of(u[0]), of(u[1], 'UNHEALTHY')]), place(u[2:], 1)
    await start(t, response('1', *places, policy={'overprovisioning_factor': 200}))
    t.see('all', await who(t, n=20))
    await then(t, response('2', *places, policy={'overprovisioning_factor': 100}))
    t.see('half', await who(t, n=40))


@case()
async def eds_weighted_priority_health(t):
    u = await ups(t, 3)
    places = place([of(u[0], weight=9), of(u[1], 'UNHEALTHY', weight=1)]), place(u[2:], 1)
    await start(t, response('1', *places, policy={'weighted_priority_health': True}))
    t.see('by_weight', await who(t, n=30))
    await then(t, response('2', *places))
    t.see('by_count', await who(t, n=60))


@case()
async def eds_all_unhealthy_and_panic(t):
    u = await ups(t, 2)
    await start(t, response('1', place([of(x, 'UNHEALTHY') for x in u])))
    t.see('panic', await who(t))
    t.see('stats', await t.stats('cluster.c1.lb_healthy_panic', 'cluster.c1.membership_healthy'))
    await then(t, response('2', place([of(u[0], 'UNHEALTHY'), u[1]])))
    t.see('one', await who(t))


@case()
async def eds_all_unhealthy_without_panic(t):
    u = await ups(t, 2)
    await start(t, response('1', place([of(x, 'UNHEALTHY') for x in u])), '{common_lb_config: {healthy_panic_threshold: {value: 0}}}')
    t.see('none', await who(t))
    await then(t, response('2', place([of(u[0], 'DEGRADED'), of(u[1], 'TIMEOUT')])))
    t.see('degraded', await who(t))
    t.see('hosts', await shown(t, 'health_flags'))


@case()
async def eds_ring_after_updates(t):
    """A table follows hosts, and a host that comes back takes its old place."""
    u = await ups(t, 3)
    names = [of(x, meta={'hash_key': 'k%d' % i}) for i, x in enumerate(u)]
    routes = '[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: k}}]}}]'
    await start(t, response('1', place(names)), '{lb_policy: RING_HASH}', routes=routes)

    async def map_of():
        return [(await t.req('/', headers=[('k', str(i))])).h('x-up') for i in range(12)]
    t.see('three', await map_of())
    await then(t, response('2', place(names[:2])))
    t.see('two', await map_of())
    await then(t, response('3', place(names)))
    t.see('again', await map_of())
    t.see('stats', await t.stats(regex=r'cluster.c1.ring_hash_lb'))


@case()
async def eds_maglev_weights_change(t):
    u = await ups(t, 2)
    routes = '[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: k}}]}}]'
    keys = [{'hash_key': 'a'}, {'hash_key': 'b'}]
    await start(t, response('1', place([of(u[0], meta=keys[0]), of(u[1], meta=keys[1])])), '{lb_policy: MAGLEV, maglev_lb_config: {table_size: 11}}', routes=routes)

    async def map_of():
        return [(await t.req('/', headers=[('k', str(i))])).h('x-up') for i in range(12)]
    t.see('even', await map_of())
    t.see('table', await t.stats(regex=r'cluster.c1.maglev_lb'))
    await then(t, response('2', place([of(u[0], meta=keys[0], weight=9), of(u[1], meta=keys[1])])))
    t.see('heavy', await map_of())
    t.see('heavy_table', await t.stats(regex=r'cluster.c1.maglev_lb'))


@case()
async def eds_weights_change(t):
    u = await ups(t, 2)
    await start(t, response('1', place([of(u[0], weight=1), of(u[1], weight=1)])))
    t.see('even', await served(t, 12))
    await then(t, response('2', place([of(u[0], weight=1), of(u[1], weight=5)])))
    t.see('five', await served(t, 12))
    t.see('stats', await t.stats('cluster.c1.max_host_weight', 'cluster.c1.membership_change', 'cluster.c1.upstream_cx_total'))


@case()
async def eds_host_twice(t):
    """An address named twice in one place, and in two."""
    u = await ups(t, 2)
    await start(t, response('1', place([of(u[0]), of(u[0], weight=3), of(u[1])])))
    t.see('once', await shown(t, 'weight'))
    await then(t, response('2', place(u[:1], zone='a'), place(u, zone='b')))
    t.see('zones', await shown(t, 'zone'))
    await then(t, response('3', place(u[:1]), place(u, 1)))
    t.see('priorities', await shown(t, 'priority'))
    t.see('stats', await t.stats('cluster.c1.membership_total'))


@case()
async def eds_host_changes_its_zone(t):
    u = await ups(t, 2)
    await start(t, response('1', place(u[:1], zone='a'), place(u[1:], zone='b')))
    await t.req('/')
    await then(t, response('2', place(u, zone='b')))
    t.see('zones', await shown(t, 'zone'))
    t.see('served', await who(t))
    t.see('stats', await t.stats('cluster.c1.membership_change', 'cluster.c1.membership_total'))


@case()
async def eds_hostname_changes(t):
    u = await ups(t, 1)
    named = [of(u[0], endpoint={**lbe(u[0])['endpoint'], 'hostname': n}) for n in ('one.example', 'two.example')]
    routes = '[{match: {prefix: /}, route: {cluster: c1, auto_host_rewrite: true}}]'
    await start(t, response('1', place(named[:1])), routes=routes)
    await t.req('/')
    await then(t, response('2', place(named[1:])))
    await t.req('/')
    t.see('hosts', [m.h('host') for m in u[0].reqs])
    t.see('shown', await shown(t, 'hostname'))
    t.see('stats', await t.stats('cluster.c1.membership_change', 'cluster.c1.upstream_cx_total', 'cluster.c1.update_no_rebuild'))


@case()
async def eds_additional_addresses(t):
    """The first address is dead; an update takes the others away."""
    u = await ups(t, 1)
    d = t.dead('dead')
    two = {'endpoint': {'address': addr(d), 'additional_addresses': [{'address': addr(u[0])}]}}
    await start(t, response('1', place([two])))
    t.see('other', await who(t, n=2))
    await then(t, response('2', place([{'endpoint': {'address': addr(d)}}])))
    t.see('none', await who(t, n=2))
    t.see('shown', await shown(t, 'health_flags'))


CHECKS = '{health_checks: [{timeout: 1s, interval: 60s, no_traffic_interval: 60s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /hc}}]}'


def checked(status=200):
    return lambda m, n: resp(status if m['path'] == '/hc' else 200, 'x', headers=[('x-up', 'bad' if status != 200 else 'good')])


@case()
async def eds_new_host_waits_for_its_check(t):
    good = await t.up('good', checked())
    bad = await t.up('bad', checked(503))
    await start(t, response('1', place([good])), CHECKS)
    await then(t, response('2', place([good, bad])))
    await t.until(lambda: len(bad.reqs) > 0)
    await t.stat_until('cluster.c1.health_check.failure', lambda n: n > 0)
    t.see('served', await who(t))
    t.see('hosts', await shown(t, 'health_flags'))


@case()
async def eds_host_without_checks(t):
    good = await t.up('good', checked())
    bad = await t.up('bad', checked(503))
    await start(t, response('1', place([of(good), of(bad, hc={'disable_active_health_check': True})])), CHECKS)
    t.see('served', await who(t))
    t.see('asked', [m['path'] for m in bad.reqs].count('/hc'))
    t.see('hosts', await shown(t, 'health_flags'))


@case()
async def eds_health_over_checks(t):
    """What EDS says of a host's health counts beside what checks find."""
    good = await t.up('good', checked())
    other = await t.up('other', checked())
    await start(t, response('1', place([of(good), of(other, 'UNHEALTHY')])), CHECKS)
    await t.stat_until('cluster.c1.health_check.success', lambda n: n >= 2)
    t.see('hosts', await shown(t, 'health_flags'))
    await then(t, response('2', place([of(good, 'DEGRADED'), of(other)])))
    t.see('after', await shown(t, 'health_flags'))
    t.see('stats', await t.stats('cluster.c1.membership_healthy', 'cluster.c1.membership_degraded'))


@case()
async def eds_aggregate_follows(t):
    """A member without hosts is passed over until it has some."""
    u = await ups(t, 2)
    t.write('eds.yaml', response('1'))
    agg = {'name': 'agg', 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED', 'cluster_type': {'name': 'envoy.clusters.aggregate', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig', 'clusters': ['c1', 'c2']}}}
    await t.start(simple(t, clusters=[fed(t), cluster('c2', u[1]), agg], extra='{node: {id: me, cluster: us}}', routes='[{match: {prefix: /}, route: {cluster: agg}}]'))
    t.see('second', await who(t))
    await then(t, response('2', place(u[:1])))
    t.see('first', await who(t))
    await then(t, response('3', place([of(u[0], 'UNHEALTHY')])))
    t.see('unhealthy', await who(t))
    await then(t, response('4'))
    t.see('gone', await who(t))


@case()
async def eds_locality_weights_change(t):
    u = await ups(t, 2)
    await start(t, response('1', place(u[:1], zone='a', weight=1), place(u[1:], zone='b')), '{common_lb_config: {locality_weighted_lb_config: {}}}')
    t.see('one', await who(t))
    await then(t, response('2', place(u[:1], zone='a'), place(u[1:], zone='b', weight=1)))
    t.see('other', await who(t))
    await then(t, response('3', place(u[:1], zone='a'), place(u[1:], zone='b')))
    t.see('none', await who(t))


@case()
async def eds_locality_twice_in_an_assignment(t):
    u = await ups(t, 2)
    await start(t, response('1', place(u[:1], zone='a', weight=1), place(u[1:], zone='a', weight=4)))
    t.see('served', await who(t))
    t.see('hosts', await shown(t, 'zone'))


@case()
async def eds_slow_start_does_not_begin_anew(t):
    """A host that stays is not new when its weight changes."""
    u = await ups(t, 2)
    extra = '{round_robin_lb_config: {slow_start_config: {slow_start_window: 0.1s, min_weight_percent: {value: 1}}}}'
    await start(t, response('1', place(u)), extra)
    await t.pass_time(0.2)
    await then(t, response('2', place([of(u[0], weight=2), of(u[1], weight=2)])))
    t.see('even', await served(t, 8))


@case()
async def eds_parts_of_an_endpoint_change(t):
    """Which parts make another host of it: a new connection tells."""
    u = await ups(t, 1)
    at = {'address': addr(u[0])}
    endpoints = [
        {'endpoint': at},
        {'endpoint': {**at, 'additional_addresses': [{'address': {'socket_address': {'address': '127.0.0.9', 'port_value': 1}}}]}},
        {'endpoint': {**at, 'health_check_config': {'hostname': 'check.example'}}},
        {'endpoint': {**at, 'health_check_config': {'port_value': 1}}},
        {'endpoint': {**at, 'observability_name': 'seen'}},
        {'endpoint': {**at, 'hostname': 'h.example'}},
    ]
    await start(t, response('0', place(endpoints[:1])))
    await t.req('/')
    seen = []
    for i, e in enumerate(endpoints[1:]):
        await then(t, response('a%d' % i, place([e])))
        await t.req('/')
        seen.append((await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.membership_change')))
        await then(t, response('b%d' % i, place(endpoints[:1])))
        await t.req('/')
    t.see('changes', [{k.rpartition('.')[2]: v for k, v in s.items()} for s in seen])
