"""Balancing that takes more than one host: zones, priorities, slow start, policies as extensions."""
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
    await zones_seen(t)


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
