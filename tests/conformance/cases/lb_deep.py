"""Balancing that takes more than one host: zones, priorities, slow start, policies as extensions."""
import json

from harness import *

U, D = 'UNHEALTHY', 'DEGRADED'
LB = 'type.googleapis.com/envoy.extensions.load_balancing_policies.'
ZONE_STATS = ['cluster.c1.lb_zone_routing_all_directly', 'cluster.c1.lb_zone_routing_sampled', 'cluster.c1.lb_zone_routing_cross_zone',
              'cluster.c1.lb_zone_cluster_too_small', 'cluster.c1.lb_zone_no_capacity_left', 'cluster.c1.lb_local_cluster_not_ok',
              'cluster.c1.lb_recalculate_zone_structures']


async def go(t, n, path='/', **kw):
    c = await t.conn()
    return [(await t.req(path, conn=c, **kw)).h('x-up') or 'none' for _ in range(n)]


def counts(l):
    return {k: l.count(k) for k in sorted(set(l))}


def policy(name, **config):
    """One policy of `load_balancing_policy`."""
    return {'typed_extension_config': {'name': name, 'typed_config': {'@type': LB + name, **config}}}


def policies(*all):
    return {'load_balancing_policy': {'policies': list(all)}}


# Zones: proxies by zone in `me`, hosts by zone in c1.

def proxies(zones, health=None):
    """The cluster of the proxies themselves; nobody connects to it."""
    endpoints, port = [], 1000
    for zone, n in zones.items():
        hosts = []
        for _ in range(n):
            port += 1
            host = {'endpoint': {'address': {'socket_address': {'address': '127.0.0.9', 'port_value': port}}}}
            if health:
                host['health_status'] = health
            hosts.append(host)
        endpoints.append({'locality': {'zone': zone}, 'lb_endpoints': hosts})
    return cluster('me', localities=endpoints)


async def zoned(t, local, hosts, extra=None, node={'zone': 'a'}, args=(), health=None, more=None, weights=None):
    """`hosts`: by zone, each a list of the hosts' health."""
    endpoints = []
    for zone, states in hosts.items():
        all = []
        for i, state in enumerate(states):
            host = lbe(await t.up('%s%d' % (zone, i)))
            if state:
                host['health_status'] = state
            if weights:
                host['load_balancing_weight'] = weights[zone]
            all.append(host)
        endpoints.append({'locality': {'zone': zone}, 'lb_endpoints': all})
    c1 = cluster('c1', localities=endpoints, extra=extra)
    top = {'node': {'id': 'i', 'cluster': 'me', **({'locality': node} if node else {})}, 'cluster_manager': {'local_cluster_name': 'me'}}
    merge(top, more)
    await t.start(simple(t, clusters=[proxies(local, health), c1], extra=top), args=args)


async def zones_seen(t, n=40, **kw):
    got = await go(t, n, **kw)
    t.see('zones', sorted({g[0] for g in got}))
    t.see('hosts', len(set(got)))
    stats = await t.stats(*ZONE_STATS)
    sampled = stats.pop(ZONE_STATS[1]) or 0
    crossed = stats.pop(ZONE_STATS[2]) or 0
    t.see('stats', stats)
    t.see('sampled', [sampled > 0, crossed > 0, sampled + crossed])


THREE = [None] * 3


@case()
async def zone_all_stay(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE})
    await zones_seen(t)


@case()
async def zone_some_leave(t):
    """Three of four proxies share half of the hosts: a third of their requests goes to the other zone."""
    await zoned(t, {'a': 3, 'b': 1}, {'a': THREE, 'b': THREE})
    await zones_seen(t, 80)


@case()
async def zone_without_hosts(t):
    await zoned(t, {'a': 1, 'b': 1, 'c': 2}, {'b': THREE, 'c': THREE})
    await zones_seen(t, 60)


@case()
async def zone_unknown_to_the_proxies(t):
    """No proxy is where this one stands: all of its zone's hosts are room."""
    await zoned(t, {'b': 2}, {'a': THREE, 'b': THREE})
    await zones_seen(t)


@case()
async def zone_node_without_locality(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, node=None)
    await zones_seen(t)


@case()
async def zone_by_command_line(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, node=None, args=('--service-zone', 'b'))
    await zones_seen(t)


@case()
async def zone_by_command_line_over_node(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, args=('--service-zone', 'b'))
    await zones_seen(t)


@case()
async def zone_region_must_agree(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, node={'region': 'r', 'zone': 'a'})
    await zones_seen(t)


@case()
async def zone_cluster_too_small(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': [None, None]})
    await zones_seen(t)


@case()
async def zone_min_cluster_size(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': [None, None], 'b': [None]}, '{common_lb_config: {zone_aware_lb_config: {min_cluster_size: 3}}}')
    await zones_seen(t)


@case()
async def zone_min_cluster_size_counts_healthy_hosts(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': [None, None], 'b': [None, U]}, '{common_lb_config: {zone_aware_lb_config: {min_cluster_size: 4}}}')
    await zones_seen(t)


@case()
async def zone_min_cluster_size_by_runtime(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': [None, None], 'b': [None]},
                more={'layered_runtime': {'layers': [{'name': 's', 'static_layer': {'upstream.zone_routing.min_cluster_size': 2}}]}})
    await zones_seen(t)


@case()
async def zone_routing_disabled(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, '{common_lb_config: {zone_aware_lb_config: {routing_enabled: {value: 0}}}}')
    await zones_seen(t)


@case()
async def zone_routing_disabled_by_runtime(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE},
                more={'layered_runtime': {'layers': [{'name': 's', 'static_layer': {'upstream.zone_routing.enabled': 0}}]}})
    await zones_seen(t)


@case()
async def zone_local_cluster_in_panic(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, health=U)
    await zones_seen(t)


@case()
async def zone_upstreams_in_panic(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': [None, U, U, U], 'b': [U, U, U]}, '{common_lb_config: {zone_aware_lb_config: {min_cluster_size: 1}}}')
    await zones_seen(t, 60)


@case()
async def zone_own_hosts_unhealthy(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': [U, U], 'b': [None] * 6})
    await zones_seen(t)


@case()
async def zone_single_locality(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': [None] * 6})
    await zones_seen(t)


@case()
async def zone_least_request(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, 'lb_policy: LEAST_REQUEST')
    await zones_seen(t)


@case()
async def zone_random(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, 'lb_policy: RANDOM')
    await zones_seen(t)


@case()
async def zone_ring_hash_takes_no_notice(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, 'lb_policy: RING_HASH')
    await zones_seen(t, 160)


@case()
async def zone_locality_weights_take_its_place(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, '{common_lb_config: {locality_weighted_lb_config: {}}}')
    await zones_seen(t)


def zone_aware(**config):
    return policies(policy('round_robin.v3.RoundRobin', locality_lb_config={'zone_aware_lb_config': config}))


@case()
async def zone_extension_default(t):
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, policies(policy('round_robin.v3.RoundRobin')))
    await zones_seen(t)


@case()
async def zone_force_local_zone(t):
    await zoned(t, {'a': 3, 'b': 1}, {'a': [None, None], 'b': [None] * 4}, zone_aware(force_local_zone={'min_size': 2}))
    await zones_seen(t)


@case()
async def zone_force_local_zone_with_too_few_hosts(t):
    await zoned(t, {'a': 3, 'b': 1}, {'a': [None, None], 'b': [None] * 4}, zone_aware(force_local_zone={'min_size': 3}))
    await zones_seen(t, 80)


@case()
async def zone_force_locality_direct_routing(t):
    await zoned(t, {'a': 3, 'b': 1}, {'a': [None], 'b': [None] * 5}, zone_aware(force_locality_direct_routing=True))
    await zones_seen(t)


@case()
async def zone_basis_of_weights(t):
    """By hosts the own zone has half of what there is, by weights a quarter."""
    await zoned(t, {'a': 1, 'b': 1}, {'a': THREE, 'b': THREE}, zone_aware(locality_basis='HEALTHY_HOSTS_WEIGHT'), weights={'a': 1, 'b': 3})
    await zones_seen(t, 80)


@case()
async def zone_of_the_local_cluster_itself(t):
    us = [await t.up('%s%d' % (z, i)) for z in 'ab' for i in range(3)]
    me = cluster('c1', localities=[{'locality': {'zone': z}, 'lb_endpoints': [lbe(u) for u in us if u.name[0] == z]} for z in 'ab'])
    await t.start(simple(t, clusters=[me], extra={'node': {'id': 'i', 'cluster': 'me', 'locality': {'zone': 'a'}}, 'cluster_manager': {'local_cluster_name': 'c1'}}))
    await zones_seen(t)


@case()
async def zone_local_cluster_unknown(t):
    await t.up()
    code, out = await t.run_to_end(simple(t, extra={'cluster_manager': {'local_cluster_name': 'nobody'}}))
    t.see('code', code)
    t.see('why', "local cluster 'nobody' must be defined" in out)


# Subsets as a policy, and what the older message had not got.

def md(v):
    return {'metadata': {'filter_metadata': {'envoy.lb': v}}}


VERSIONS = [{'version': 'v1', 'stage': 's1'}, {'version': 'v1', 'stage': 's2'}, {'version': 'v2', 'stage': 's1'}, {'version': 'v2', 'stage': 's2'}]


def subset_policy(config, child=None):
    return policies(policy('subset.v3.Subset', subset_lb_policy={'policies': [child or policy('round_robin.v3.RoundRobin')]}, **config))


async def subsets(t, extra, wants, metadata=VERSIONS, localities=None, n=12, stats=()):
    """`wants`: what each path asks for."""
    hosts = [lbe(await t.up('h%d' % i), extra=md(m)) for i, m in enumerate(metadata)]
    routes = []
    for path, want in wants.items():
        route = {'cluster': 'c1'}
        if want is not None:
            route['metadata_match'] = {'filter_metadata': {'envoy.lb': want}}
        routes.append({'match': {'path': path}, 'route': route})
    c1 = cluster('c1', hosts, extra) if localities is None else cluster('c1', localities=localities(hosts), extra=extra)
    await t.start(simple(t, clusters=[c1], routes=routes))
    out = {}
    for path in wants:
        rs = [await t.req(path) for _ in range(n)]
        out[path] = counts(['%s %s' % (r.status, r.h('x-up')) for r in rs]) if localities else sorted({'%s %s' % (r.status, r.h('x-up')) for r in rs})
    t.see('by', out)
    t.see('stats', await t.stats('cluster.c1.lb_subsets_selected', 'cluster.c1.lb_subsets_fallback', 'cluster.c1.lb_subsets_created', 'cluster.c1.lb_subsets_active', *stats))


WANTS = {'/v1': {'version': 'v1'}, '/v2s1': {'version': 'v2', 'stage': 's1'}, '/v9': {'version': 'v9'}, '/none': None}

for fallback in ('NO_FALLBACK', 'ANY_ENDPOINT', 'DEFAULT_SUBSET'):
    @case('subset_policy_' + fallback.lower())
    async def _(t, fallback=fallback):
        await subsets(t, subset_policy({'fallback_policy': fallback, 'default_subset': {'version': 'v2'}, 'subset_selectors': [{'keys': ['version']}, {'keys': ['stage', 'version']}]}), WANTS)


@case()
async def subset_policy_without_selectors(t):
    await subsets(t, subset_policy({}), WANTS)


@case()
async def subset_policy_without_selectors_any(t):
    await subsets(t, subset_policy({'fallback_policy': 'ANY_ENDPOINT'}), WANTS)


@case()
async def subset_policy_over_maglev(t):
    await subsets(t, subset_policy({'subset_selectors': [{'keys': ['version']}]}, policy('maglev.v3.Maglev', table_size=7)), WANTS, n=40)


@case()
async def subset_redundant_keys(t):
    await subsets(t, subset_policy({'allow_redundant_keys': True, 'subset_selectors': [{'keys': ['version']}, {'keys': ['stage', 'version']}]}),
                  {'/more': {'version': 'v1', 'x': 'y'}, '/both': {'version': 'v2', 'stage': 's1', 'x': 'y'}, '/wrong': {'version': 'v2', 'stage': 's9', 'x': 'y'},
                   '/neither': {'x': 'y'}, '/one': {'version': 'v2'}, '/none': None})


@case()
async def subset_redundant_keys_fall_back(t):
    await subsets(t, subset_policy({'allow_redundant_keys': True, 'fallback_policy': 'ANY_ENDPOINT', 'subset_selectors': [{'keys': ['version'], 'fallback_policy': 'NO_FALLBACK'}, {'keys': ['stage']}]}),
                  {'/v': {'version': 'v9', 'x': 'y'}, '/s': {'stage': 's9', 'x': 'y'}, '/both': {'stage': 's1', 'version': 'v1'}, '/neither': {'x': 'y'}})


FALLBACK_LIST = {'metadata_fallback_policy': 'FALLBACK_LIST', 'subset_selectors': [{'keys': ['version']}, {'keys': ['stage', 'version']}]}
LISTS = {'/second': {'fallback_list': [{'version': 'v9'}, {'version': 'v2'}]}, '/over': {'stage': 's1', 'fallback_list': [{'version': 'v9'}, {'version': 'v1'}]},
         '/nobody': {'fallback_list': [{'version': 'v8'}, {'version': 'v9'}]}, '/empty': {'version': 'v1', 'fallback_list': []}, '/text': {'version': 'v1', 'fallback_list': 'v2'},
         '/plain': {'version': 'v2'}}


@case()
async def subset_fallback_list(t):
    await subsets(t, {'lb_subset_config': FALLBACK_LIST}, LISTS)


@case()
async def subset_fallback_list_and_fallback(t):
    await subsets(t, {'lb_subset_config': {**FALLBACK_LIST, 'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'stage': 's2'}}}, LISTS)


@case()
async def subset_fallback_list_is_a_key_without_its_policy(t):
    await subsets(t, {'lb_subset_config': {'subset_selectors': [{'keys': ['version']}], 'fallback_policy': 'ANY_ENDPOINT'}}, LISTS)


@case()
async def subset_fallback_list_in_a_policy(t):
    await subsets(t, subset_policy(FALLBACK_LIST), LISTS)


def halves(weights):
    return lambda hosts: [{'locality': {'zone': z}, 'load_balancing_weight': w, 'lb_endpoints': hosts[i * 2:i * 2 + 2]} for i, (z, w) in enumerate(zip('ab', weights))]


# v1 is twice in zone a and once in b; v2 once in b.
UNEVEN = [{'version': 'v1'}, {'version': 'v1'}, {'version': 'v1'}, {'version': 'v2'}]
BY_LOCALITY = {'common_lb_config': {'locality_weighted_lb_config': {}}}


@case()
async def subset_locality_weights_do_not_count(t):
    await subsets(t, {**BY_LOCALITY, 'lb_subset_config': {'subset_selectors': [{'keys': ['version']}]}}, {'/v1': {'version': 'v1'}}, UNEVEN, halves((1, 3)), n=48)


@case()
async def subset_locality_weight_aware(t):
    await subsets(t, {**BY_LOCALITY, 'lb_subset_config': {'locality_weight_aware': True, 'subset_selectors': [{'keys': ['version']}]}}, {'/v1': {'version': 'v1'}}, UNEVEN, halves((1, 3)), n=48)


@case()
async def subset_scale_locality_weight(t):
    await subsets(t, {**BY_LOCALITY, 'lb_subset_config': {'locality_weight_aware': True, 'scale_locality_weight': True, 'subset_selectors': [{'keys': ['version']}]}},
                  {'/v1': {'version': 'v1'}}, UNEVEN, halves((10, 40)), n=48)


@case()
async def subset_single_host(t):
    await subsets(t, {'lb_subset_config': {'subset_selectors': [{'keys': ['version'], 'single_host_per_subset': True}]}},
                  {'/a': {'version': 'a'}, '/b': {'version': 'b'}, '/c': {'version': 'c'}}, [{'version': 'a'}, {'version': 'b'}, {'version': 'a'}, {}],
                  stats=['cluster.c1.lb_subsets_single_host_per_subset_duplicate'])


@case()
async def subset_default_subset_empty_panics(t):
    await subsets(t, {'lb_subset_config': {'panic_mode_any': True, 'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'version': 'nobody'}, 'subset_selectors': [{'keys': ['version']}]}},
                  WANTS, stats=['cluster.c1.lb_subsets_fallback_panic'])


async def refused(t, extra, *words):
    await t.up()
    code, out = await t.run_to_end(simple(t, copts=extra))
    t.see('code', code)
    t.see('words', [w in out for w in words])


for name, selector, words in (
        ('none', {'keys': ['a'], 'fallback_policy': 'KEYS_SUBSET'}, 'fallback_keys_subset cannot be empty'),
        ('others', {'keys': ['a'], 'fallback_policy': 'KEYS_SUBSET', 'fallback_keys_subset': ['b']}, 'fallback_keys_subset must be a subset of selector keys'),
        ('all', {'keys': ['a'], 'fallback_policy': 'KEYS_SUBSET', 'fallback_keys_subset': ['a']}, 'fallback_keys_subset cannot be equal to keys')):
    @case('subset_refused_fallback_keys_' + name)
    async def _(t, selector=selector, words=words):
        await refused(t, {'lb_subset_config': {'subset_selectors': [selector]}}, words)


@case()
async def refused_subset_config_beside_a_policy(t):
    await refused(t, {'lb_subset_config': {'subset_selectors': [{'keys': ['a']}]}, **policies(policy('round_robin.v3.RoundRobin'))},
                  'cluster: load_balancing_policy cannot be combined with lb_subset_config')


@case()
async def refused_subset_policy_without_a_known_child(t):
    await refused(t, policies(policy('subset.v3.Subset', subset_selectors=[{'keys': ['a']}], subset_lb_policy={'policies': []})),
                  "cluster: didn't find a registered load balancer factory implementation for subset lb with names from []")


@case()
async def refused_hostname_for_hashing(t):
    await refused(t, {'lb_policy': 'RING_HASH', 'common_lb_config': {'consistent_hashing_lb_config': {'use_hostname_for_hashing': True}}},
                  "Cannot use hostname for consistent hashing loadbalancing for cluster of type: 'envoy.cluster.static'")


@case()
async def policy_first_known_counts(t):
    us = [await t.up('h%d' % i) for i in range(3)]
    unknown = {'typed_extension_config': {'name': 'other', 'typed_config': {'@type': 'type.googleapis.com/google.protobuf.Struct', 'value': {}}}}
    await t.start(simple(t, clusters=[cluster('c1', us, policies(unknown, policy('maglev.v3.Maglev', table_size=7), policy('round_robin.v3.RoundRobin')))],
                         routes='[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: x-k}}]}}]'))
    t.see('places', {k: sorted(set(await go(t, 4, headers=[('x-k', k)]))) for k in 'abcdef'} and len({(await go(t, 1, headers=[('x-k', 'a')]))[0] for _ in range(6)}))


# A route's hash policy means nothing to balancers that do not hash.

for name in ('RANDOM', 'LEAST_REQUEST', 'ROUND_ROBIN'):
    @case('hash_policy_without_hashing_' + name.lower())
    async def _(t, name=name):
        us = [await t.up('h%d' % i) for i in range(3)]
        await t.start(simple(t, clusters=[cluster('c1', us, {'lb_policy': name})], routes='[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: x-k}}]}}]'))
        t.see('used', sorted(set(await go(t, 60, headers=[('x-k', 'same')]))))


@case()
async def hash_policy_and_priorities_without_hashing(t):
    """Half of the first priority is down: 70 % stay there, whatever the hash."""
    locs = [{'priority': p, 'lb_endpoints': [lbe(await t.up('p%d%d' % (p, i)), **({'health_status': s} if s else {})) for i, s in enumerate(states)]}
            for p, states in enumerate([[None, U], [None]])]
    await t.start(simple(t, clusters=[cluster('c1', localities=locs)], routes='[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: x-k}}]}}]'))
    t.see('used', sorted(set(await go(t, 60, headers=[('x-k', 'same')]))))


async def prioritised(t, priorities, extra=None, n=80, weights=None, opf=None, policy=None):
    """`priorities`: each a list of the hosts' health; tells which hosts are used, and the share of each priority within bounds."""
    locs = []
    for p, states in enumerate(priorities):
        hosts = []
        for i, s in enumerate(states):
            host = lbe(await t.up('p%d-%d' % (p, i)))
            if s:
                host['health_status'] = s
            if weights:
                host['load_balancing_weight'] = weights[p][i]
            hosts.append(host)
        locs.append({'priority': p, 'lb_endpoints': hosts})
    c1 = cluster('c1', localities=locs, extra=extra)
    if policy:
        c1['load_assignment']['policy'] = policy
    await t.start(simple(t, clusters=[c1]))
    got = await go(t, n)
    t.see('used', sorted(set(got)))
    t.see('stats', await t.stats('cluster.c1.lb_healthy_panic', 'cluster.c1.upstream_cx_none_healthy', 'cluster.c1.membership_degraded', 'cluster.c1.membership_healthy'))


def priorities(name, of, **kw):
    @case('priorities_' + name)
    async def _(t):
        await prioritised(t, of, **kw)


priorities('second_of_three', [[U, U], [None, None], [None]])
priorities('degraded_before_the_next', [[D, D], [D]], n=40)
priorities('degraded_of_two_share', [[D, U], [D]])
priorities('healthy_of_the_last_before_degraded', [[D], [D], [None]], n=40)
priorities('weighted_health', [[None, U], [None]], weights=[[9, 1], [1]], policy={'weighted_priority_health': True}, n=40)
priorities('weighted_health_of_a_heavy_host_down', [[U, None], [None]], weights=[[9, 1], [1]], policy={'weighted_priority_health': True})
priorities('overprovisioning_100', [[None, None, None, U], [None]], policy={'overprovisioning_factor': 100})
priorities('panic_off_spills_to_nobody', [[U, U], [U]], extra='{common_lb_config: {healthy_panic_threshold: {value: 0}}}', n=10)
priorities('panic_of_one_priority_alone', [[None, U, U, U, U, U], [None, U, U, U, U, U]], n=120)
priorities('panic_100', [[None, None, U], [None, U]], extra='{common_lb_config: {healthy_panic_threshold: {value: 100}}}', n=120)
priorities('panic_counts_degraded_hosts', [[D, D, U]], n=40)
priorities('least_request_and_degraded', [[None, D, D, D], [U]], extra='lb_policy: LEAST_REQUEST', n=120)
priorities('ring_hash_leaves_degraded_hosts_out', [[None, D, D]], extra='lb_policy: RING_HASH', n=60)
priorities('ring_hash_in_panic_fails_nothing', [[U, U]], extra='{lb_policy: RING_HASH, common_lb_config: {zone_aware_lb_config: {fail_traffic_on_panic: true}}}', n=20)


@case()
async def locality_weights_of_unhealthy_localities(t):
    """A locality with half of its hosts down keeps 70 % of its weight."""
    us = {n: await t.up(n) for n in ('a0', 'a1', 'b0', 'b1')}
    locs = [{'locality': {'zone': z}, 'load_balancing_weight': 10, 'lb_endpoints': [lbe(us[z + '0']), lbe(us[z + '1'], **({'health_status': U} if z == 'a' else {}))]} for z in 'ab']
    await t.start(simple(t, clusters=[cluster('c1', extra=BY_LOCALITY, localities=locs)]))
    got = [g[0] for g in await go(t, 170)]
    t.see('shares', [66 <= got.count('a') <= 74, sorted(set(got))])


@case()
async def locality_named_twice_is_one(t):
    """Its last weight counts."""
    us = {n: await t.up(n) for n in ('a0', 'a1', 'b0')}
    locs = [{'locality': {'zone': 'a'}, 'load_balancing_weight': 1, 'lb_endpoints': [lbe(us['a0'])]}, {'locality': {'zone': 'b'}, 'load_balancing_weight': 2, 'lb_endpoints': [lbe(us['b0'])]},
            {'locality': {'zone': 'a'}, 'load_balancing_weight': 6, 'lb_endpoints': [lbe(us['a1'])]}]
    await t.start(simple(t, clusters=[cluster('c1', extra=BY_LOCALITY, localities=locs)]))
    t.see('counts', counts(await go(t, 80)))


# Slow start: a host that comes later gets little at first.

async def joins(t, extra, n=60):
    old, new = [await t.up('old%d' % i) for i in range(2)], await t.up('new')

    def assignment(*ups):
        return json.dumps({'version_info': str(len(ups)), 'resources': [{'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': 'c1',
                                                                         'endpoints': [{'lb_endpoints': [lbe(u) for u in ups]}]}]})
    t.write('eds.json', assignment(*old))
    c1 = {'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': {'eds_config': {'path_config_source': {'path': t.path('eds.json')}}}, **Y(extra)}
    await t.start(simple(t, clusters=[c1], extra={'node': {'id': 'i', 'cluster': 'c'}}))
    await go(t, 1)
    await asyncio.sleep(2.2)
    t.move_in('eds.json', assignment(*old, new))
    await t.stat_until('cluster.c1.membership_total', lambda n: n == 3)
    await asyncio.sleep(0.05)
    got = await go(t, n)
    t.see('old', sorted(set(got) - {'new'}))
    t.see('few', got.count('new') < n // 6)
    t.see('half a share', got.count('new') >= n // 4)


WINDOW = "slow_start_config: {slow_start_window: 2s, min_weight_percent: {value: 1}}"


@case()
async def slow_start_round_robin(t):
    await joins(t, '{lb_policy: ROUND_ROBIN, round_robin_lb_config: {%s}}' % WINDOW)


@case()
async def slow_start_least_request(t):
    await joins(t, '{lb_policy: LEAST_REQUEST, least_request_lb_config: {%s}}' % WINDOW)


@case()
async def slow_start_policy(t):
    await joins(t, policies(policy('round_robin.v3.RoundRobin', **Y('{%s}' % WINDOW))))


@case()
async def slow_start_none(t):
    await joins(t, {'lb_policy': 'ROUND_ROBIN'})


@case()
async def slow_start_high_min_weight(t):
    await joins(t, '{lb_policy: ROUND_ROBIN, round_robin_lb_config: {slow_start_config: {slow_start_window: 2s, min_weight_percent: {value: 100}}}}')
