"""load_aware_locality: localities by the room that their hosts report (ORCA), the proxy's own first."""
import struct

from harness import *

LB = 'type.googleapis.com/envoy.extensions.load_balancing_policies.'
OWN = "^cluster[.]c1[.]load_aware_locality[.]"
ZONES = r'^cluster[.]c1[.]lb_(zone_routing|healthy_panic|recalculate|local_cluster|zone_no)'
CS = {'blackout_period': '0s', 'weight_update_period': '0.1s'}


def one(kind, name='p', **config):
    return {'policies': [{'typed_extension_config': {'name': name, 'typed_config': {'@type': LB + kind, **config}}}]}


RR = one('round_robin.v3.RoundRobin')


def policy(child=RR, **config):
    config = {'weight_update_period': '0.1s', 'remote_probe_fraction': 0, 'smoothing_time_constant': '0.001s', **config}
    return one('load_aware_locality.v3.LoadAwareLocality', endpoint_picking_policy=child, **config)


def busy(utilization, rps=10, **more):
    if utilization is None:
        return []
    return [('endpoint-load-metrics', 'TEXT ' + ','.join('%s=%s' % kv for kv in {'rps_fractional': rps, 'application_utilization': utilization, **more}.items()))]


NODE = {'node': {'id': 'n1', 'cluster': 'self', 'locality': {'zone': 'here'}}}


async def zones(t, *all, extra=None, node=NODE, lb=None, **config):
    """Localities in their order: (zone, a report for each host or a function that gives one, and what else the locality has)."""
    localities = []
    for zone, reports, *more in all:
        hosts = []
        for i, report in enumerate(reports):
            name = '%s%d' % (zone or 'none', i)
            states = (more[0].get('states') or []) if more else []

            def respond(m, n, name=name, report=report):
                return resp(200, name, [('x-up', name), *(report() if callable(report) else report if isinstance(report, list) else busy(report))])
            host = lbe(await t.up(name, respond))
            if i < len(states) and states[i]:
                host['health_status'] = states[i]
            hosts.append(host)
        rest = {k: v for k, v in (more[0] if more else {}).items() if k != 'states'}
        localities.append({**({'locality': {'zone': zone}} if zone else {}), 'lb_endpoints': hosts, **rest})
    balancing = {'load_balancing_policy': lb or policy(**config)}
    await t.start(simple(t, clusters=[cluster('c1', localities=localities, extra=merge(balancing, extra or {}))], extra=node))


async def ask(t, n, **kw):
    """How many answers each host gave."""
    c, seen = await t.conn(), {}
    for _ in range(n):
        r = await t.req('/', conn=c, **kw)
        name = r.h('x-up') or str(r.status)
        seen[name] = seen.get(name, 0) + 1
    return dict(sorted(seen.items()))


async def recomputed(t, n=2):
    """So many further looks at what hosts have reported."""
    name = 'cluster.c1.load_aware_locality.recompute_total'
    now = (await t.stats(name))[name] or 0
    return await t.stat_until(name, lambda v: v >= now + n)


async def told(t, n=40):
    """Hosts have reported what they report, and that counts."""
    seen = await ask(t, n)
    await recomputed(t)
    return seen


async def conditions(t):
    """Which of its counters have counted."""
    return {k.rpartition('.')[2]: v > 0 for k, v in (await t.stats(regex=OWN)).items()}


def between(n, low, high):
    return 'so many' if low <= n <= high else n


def shares(seen, **ranges):
    """By zone, whether the counts are what they should be."""
    sums = {}
    for name, n in seen.items():
        zone = name.rstrip('0123456789')
        sums[zone] = sums.get(zone, 0) + n
    return {zone: between(sums.get(zone, 0), *ranges.get(zone, (0, 0))) for zone in sorted(set(sums) | set(ranges))}


# How localities share.

@case()
async def load_aware_cold_start_stays_here(t):
    await zones(t, ('here', [None, None]), ('there', [None, None]))
    t.see('went', await ask(t, 20))
    t.see('zones', await t.stats(regex=ZONES))
    await recomputed(t)
    t.see('conditions', await conditions(t))
    t.see('went then', await ask(t, 20))


@case()
async def load_aware_stats_at_the_start(t):
    await zones(t, ('here', [None]), ('there', [None]), weight_update_period='100s')
    t.see('own', await t.stats(regex=OWN))
    t.see('zones', await t.stats(regex=ZONES.replace('|recalculate', '')))


def recalculated(name, *all, **config):
    @case('load_aware_recalculated_' + name)
    async def _(t):
        await zones(t, *all, **config)
        await ask(t, 2)
        await recomputed(t, 3)
        t.see('structures', await t.stats('cluster.c1.lb_recalculate_zone_structures'))


recalculated('for_one', ('here', [None]))
recalculated('for_one_elsewhere', ('there', [None]))
recalculated('for_three', ('here', [None]), ('a', [None]), ('b', [None, None]))
recalculated('for_two_priorities', ('here', [None]), ('a', [None], {'priority': 1}))
recalculated('for_three_priorities', ('here', [None]), ('a', [None], {'priority': 1}), ('b', [None], {'priority': 2}))
recalculated('for_none')
recalculated('without_a_locality_of_its_own', ('here', [None]), ('a', [None]), node={'node': {'id': 'n1', 'cluster': 'self'}})


@case()
async def load_aware_cold_start_probes(t):
    await zones(t, ('here', [None]), ('there', [None]), remote_probe_fraction=0.5)
    t.see('shares', shares(await ask(t, 200), here=(60, 140), there=(60, 140)))
    await recomputed(t)
    t.see('conditions', await conditions(t))
    t.see('zones', {k: between(v, 60, 140) for k, v in (await t.stats(regex=ZONES.replace('|recalculate', ''))).items()})


@case()
async def load_aware_probe_by_default(t):
    await zones(t, ('here', [None]), ('there', [None]), remote_probe_fraction=None)
    t.see('shares', shares(await ask(t, 600), here=(550, 599), there=(1, 50)))


def probed(name, n, wanted, *all, rounds=1, **config):
    """`rounds`: how often requests are sent before, where the first ones decide who reports next."""
    @case('load_aware_' + name)
    async def _(t):
        await zones(t, *all, **config)
        for _ in range(rounds):
            await told(t)
        t.see('shares', shares(await ask(t, n), **wanted))
        await recomputed(t)
        t.see('conditions', await conditions(t))


probed('probes_go_by_hosts', 400, {'here': (120, 280), 'a': (25, 90), 'b': (90, 210)}, ('here', [None]), ('a', [None]), ('b', [None] * 3), remote_probe_fraction=0.5)
probed('probe_where_none_is_elsewhere', 20, {'here': (20, 20)}, ('here', [None]), remote_probe_fraction=0.5)
probed('here_is_full', 40, {'there': (40, 40)}, ('here', [1.0]), ('there', [None]))
probed('here_is_more_than_full', 40, {'there': (40, 40)}, ('here', [2.5]), ('there', [None]))
probed('here_is_half_full', 300, {'here': (60, 140), 'there': (160, 240)}, ('here', [0.5]), ('there', [None]))
probed('here_is_within_the_threshold', 40, {'here': (40, 40)}, ('here', [0.1]), ('there', [None]))
probed('here_is_beyond_the_threshold', 300, {'here': (100, 180), 'there': (120, 200)}, ('here', [0.11]), ('there', [None]))
probed('threshold_of_zero', 300, {'here': (100, 190), 'there': (110, 200)}, ('here', [0.01]), ('there', [None]), utilization_variance_threshold=0)
probed('threshold_of_all', 40, {'here': (40, 40)}, ('here', [1.0]), ('there', [None]), utilization_variance_threshold=1)
probed('more_than_full_is_full', 40, {'here': (40, 40)}, ('here', [1.5]), ('there', [None]), utilization_variance_threshold=1)
probed('all_are_full', 300, {'here': (60, 140), 'there': (160, 240)}, ('here', [1.0]), ('there', [1.0, 1.0]), rounds=3)
probed('room_counts_by_hosts', 400, {'here': (45, 120), 'there': (280, 355)}, ('here', [0.5]), ('there', [None, None]))
probed('mean_of_the_hosts', 300, {'here': (60, 140), 'there': (160, 240)}, ('here', [0.2, 0.8]), ('there', [None, None]), utilization_variance_threshold=0.4)
probed('hosts_that_say_nothing_are_no_part_of_the_mean', 40, {'there': (40, 40)}, ('here', [1.0, None]), ('there', [None]))
probed('three_zones', 600, {'here': (70, 160), 'a': (195, 330), 'b': (160, 290)}, ('here', [0.7]), ('a', [0.3]), ('b', [0.4]), remote_probe_fraction=0.03, rounds=3)
probed('full_and_probes', 40, {'there': (40, 40)}, ('here', [1.0]), ('there', [None]), remote_probe_fraction=0.5)
probed('here_has_no_hosts', 200, {'a': (60, 140), 'b': (60, 140)}, ('a', [None]), ('b', [None]))
probed('of_no_locality_of_its_own', 300, {'here': (60, 140), 'there': (160, 240)}, ('here', [0.5]), ('there', [None]), node={'node': {'id': 'n1', 'cluster': 'self'}})
probed('of_no_locality_and_hosts_without_one', 200, {'none': (60, 140), 'there': (60, 140)}, ('', [0.05]), ('there', [None]), node={'node': {'id': 'n1', 'cluster': 'self'}})
probed('of_a_single_locality', 10, {'here': (10, 10)}, ('here', [0.5]))
probed('of_a_single_locality_elsewhere', 10, {'there': (10, 10)}, ('there', [0.5]))
probed('written_the_other_way_round', 40, {'here': (40, 40)}, ('there', [None]), ('here', [None]))
probed('locality_weights_count_for_nothing', 40, {'here': (40, 40)}, ('here', [None], {'load_balancing_weight': 1}), ('there', [None], {'load_balancing_weight': 100}))


# What counts as a report.

probed('nothing_in_use_is_no_report', 40, {'here': (40, 40)}, ('here', [0]), ('there', [None]))
probed('processor_where_the_application_says_nothing', 40, {'there': (40, 40)}, ('here', [[('endpoint-load-metrics', 'TEXT cpu_utilization=1')]]), ('there', [None]))
probed('a_report_without_requests', 40, {'there': (40, 40)}, ('here', [[('endpoint-load-metrics', 'TEXT application_utilization=1')]]), ('there', [None]))
probed('garbled_reports', 40, {'here': (40, 40)}, ('here', [[('endpoint-load-metrics', 'TEXT application_utilization=1,nonsense')]]), ('there', [None]))
probed('named_metrics_come_first', 40, {'there': (40, 40)}, ('here', [busy(0.05, **{'named_metrics.foo': 1})]), ('there', [None]), metric_names_for_computing_utilization=['named_metrics.foo'])
probed('named_metrics_that_are_not_there', 40, {'here': (40, 40)}, ('here', [busy(0.05)]), ('there', [None]), metric_names_for_computing_utilization=['named_metrics.foo'])
probed('named_metrics_that_nobody_asked_for', 40, {'here': (40, 40)}, ('here', [busy(0.05, **{'named_metrics.foo': 1})]), ('there', [None]))
probed('errors_count_for_nothing', 40, {'here': (40, 40)}, ('here', [busy(0.05, eps=1000)]), ('there', [None]))


@case()
async def load_aware_reports_grow_old(t):
    """Hosts that have been silent for too long: the locality counts by its hosts, and what it had said is kept in mind."""
    await zones(t, ('here', [1.0]), ('there', [None]), weight_expiration_period='0.4s')
    await told(t)
    await t.stat_until('cluster.c1.load_aware_locality.stale_locality_total', lambda v: v > 0)
    t.see('went', shares(await ask(t, 4), here=(0, 4), there=(0, 4)))
    t.see('conditions', await conditions(t))


@case()
async def load_aware_reports_never_grow_old(t):
    await zones(t, ('here', [1.0]), ('there', [None]), weight_expiration_period='0s')
    await told(t)
    await recomputed(t, 5)
    t.see('shares', shares(await ask(t, 40), there=(40, 40)))
    t.see('conditions', await conditions(t))


@case()
async def load_aware_smoothing_is_slow(t):
    """The first report counts as it is, the next ones little by little."""
    now = [1.0]
    await zones(t, ('here', [lambda: busy(now[0])]), ('there', [None]), smoothing_time_constant='100s', utilization_variance_threshold=0.9, remote_probe_fraction=0)
    await told(t)
    now[0] = 0.01
    t.see('went', shares(await told(t), there=(40, 40)))
    t.see('went then', shares(await ask(t, 40), there=(40, 40)))


@case()
async def load_aware_smoothing_is_quick(t):
    now = [0.8]
    await zones(t, ('here', [lambda: busy(now[0])]), ('there', [None]))
    await told(t)
    now[0] = 0.01
    await told(t, 100)
    t.see('shares', shares(await ask(t, 40), here=(40, 40)))


# Priorities and health.

def stated(name, n, wanted, *all, **config):
    @case('load_aware_' + name)
    async def _(t):
        await zones(t, *all, **config)
        t.see('shares', shares(await ask(t, n), **wanted))
        t.see('zones', await t.stats(regex=ZONES.replace('|recalculate', '')))
        await recomputed(t)
        t.see('conditions', await conditions(t))


U, D = 'UNHEALTHY', 'DEGRADED'
stated('unhealthy_hosts_are_left_out', 20, {'here': (20, 20)}, ('here', [None, None, None], {'states': [U]}), ('there', [None]))
stated('here_is_down', 20, {'there': (20, 20)}, ('here', [None], {'states': [U]}), ('there', [None]))
stated('all_but_one_are_down', 20, {'there': (20, 20)}, ('here', [None], {'states': [U]}), ('there', [None, None], {'states': [U]}), extra={'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})
stated('degraded_alone', 20, {'here': (20, 20)}, ('here', [None], {'states': [D]}), ('there', [None], {'states': [D]}))
stated('degraded_elsewhere', 20, {'there': (20, 20)}, ('here', [None], {'states': [U]}), ('there', [None], {'states': [D]}))
stated('degraded_here_healthy_elsewhere', 20, {'there': (20, 20)}, ('here', [None], {'states': [D]}), ('there', [None, None, None]))
stated('panic_stays_here', 20, {'here': (20, 20)}, ('here', [None, None], {'states': [U, U]}), ('there', [None, None], {'states': [U, U]}))
stated('panic_with_one_left', 20, {'here': (20, 20)}, ('here', [None, None], {'states': [U, U]}), ('there', [None, None], {'states': [U]}))
stated('panic_is_off', 4, {'503': (4, 4)}, ('here', [None], {'states': [U]}), ('there', [None], {'states': [U]}), extra={'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})
stated('second_priority', 20, {'there': (20, 20)}, ('here', [None], {'states': [U]}), ('there', [None], {'priority': 1}), ('far', [None], {'priority': 1, 'states': [U]}))
stated('second_priority_has_here', 20, {'here': (20, 20)}, ('far', [None], {'states': [U]}), ('there', [None], {'priority': 1}), ('here', [None], {'priority': 1}))
stated('zone_in_two_priorities', 20, {'here': (20, 20)}, ('here', [None]), ('there', [None], {'priority': 1}), ('here', [None], {'priority': 1}))
stated('no_hosts', 2, {'503': (2, 2)})


# What chooses within a locality.

def child(name, policy_, wanted=None, n=20, **kw):
    @case('load_aware_over_' + name)
    async def _(t):
        await zones(t, ('here', [None, None]), ('there', [None]), child=policy_, **kw)
        t.see('shares', shares(await ask(t, n), **(wanted or {'here': (n, n)})))
        t.see('zones', await t.stats(regex=ZONES.replace('|recalculate', '')))


child('least_request', one('least_request.v3.LeastRequest'))
child('random', one('random.v3.Random'))
child('reports', one('client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin', **CS))
child('zone_aware_round_robin', one('round_robin.v3.RoundRobin', locality_lb_config={'zone_aware_lb_config': {'min_cluster_size': 1}}))
child('weighted_round_robin', one('round_robin.v3.RoundRobin', locality_lb_config={'locality_weighted_lb_config': {}}))
child('a_slow_start', one('round_robin.v3.RoundRobin', slow_start_config={'slow_start_window': '10s'}))


@case()
async def load_aware_round_robin_goes_round(t):
    await zones(t, ('here', [None] * 4), ('there', [None]))
    t.see('went', await ask(t, 20))


def table(name, kind, **config):
    @case('load_aware_over_' + name)
    async def _(t):
        """A table has all hosts: the locality is chosen and counted, and not followed."""
        localities = []
        for zone, n in (('here', 2), ('there', 2)):
            hosts = [lbe(await t.up(zone + str(i)), extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': zone + str(i)}}}}) for i in range(n)]
            localities.append({'locality': {'zone': zone}, 'lb_endpoints': hosts})
        c1 = cluster('c1', localities=localities, extra={'load_balancing_policy': policy(child=one(kind, **config))})
        routes = '[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: x-k}}]}}]'
        await t.start(simple(t, clusters=[c1], extra=NODE, routes=routes))
        t.see('places', {k: list(await ask(t, 1, headers=[('x-k', k)])) for k in 'abcdefghijkl'})
        t.see('zones', await t.stats(regex=ZONES.replace('|recalculate', '')))
        t.see('table', await t.stats(regex=r'^cluster[.]c1[.](maglev|ring_hash)_lb'))


table('a_ring', 'ring_hash.v3.RingHash', minimum_ring_size=32)
table('maglev', 'maglev.v3.Maglev', table_size=31)


@case()
async def load_aware_over_reports_weighs_both(t):
    """Localities by room, hosts by weight."""
    await zones(t, ('here', [0.05, 0.025]), ('there', [None]), child=one('client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin', **CS))
    await told(t)

    async def weights():
        _, text = await t.admin('/clusters')
        return [int(l.rpartition('::')[2]) for l in text.splitlines() if '::weight::' in l]
    await t.until(lambda: has(weights, 400))
    t.see('weights', await weights())
    t.see('shares', shares(await ask(t, 30), here=(30, 30)))


async def has(weights, wanted):
    return wanted in await weights()


@case()
async def load_aware_below_override_host(t):
    lb = one('override_host.v3.OverrideHost', override_host_sources=[{'header': 'x-to'}], fallback_policy=policy())
    await zones(t, ('here', [None]), ('there', [None]), lb=lb)
    t.see('without', await ask(t, 10))
    t.see('with', await ask(t, 10, headers=[('x-to', '127.0.0.1:%d' % t.ups[1].port)]))
    t.see('zones', await t.stats(regex=ZONES.replace('|recalculate', '')))


@case()
async def load_aware_out_of_band(t):
    """Hosts report over streams of their own."""
    metrics = b'\x49' + struct.pack('<d', 1.0) + b'\x31' + struct.pack('<d', 10.0)

    def host(name, tells):
        async def handler(s):
            if 'OpenRca' in s.h(':path'):
                s.respond(200, [('content-type', 'application/grpc')])
                if tells:
                    await s.data(b'\0' + struct.pack('!I', len(metrics)) + metrics)
                return
            await s.body()
            s.respond(200, [('x-up', name)], end=True)
        return t.h2up(name, handler)
    here, there = await host('here0', True), await host('there0', False)
    localities = [{'locality': {'zone': z}, 'lb_endpoints': [lbe(u)]} for z, u in (('here', here), ('there', there))]
    lb = policy(enable_oob_load_report=True, oob_reporting_period='0.1s')
    await t.start(simple(t, clusters=[cluster('c1', localities=localities, h2=True, extra={'load_balancing_policy': lb})], extra=NODE))
    asked = lambda u: any('OpenRca' in (hget(m['headers'], ':path') or '') for m in u.reqs)
    t.see('asked', bool(await t.until(lambda: asked(here), 1.5)))
    await recomputed(t)
    t.see('shares', sorted(shares(await ask(t, 20), here=(0, 20), there=(0, 20)).items()))
    t.see('went', await ask(t, 20))
    t.see('stats', sorted(await t.stats(regex=r'^cluster[.]c1[.]lb_orca_oob')))


def refused(name, policy_):
    @case('load_aware_refused_' + name)
    async def _(t):
        u = await t.up()
        code, out = await t.run_to_end(simple(t, [u], copts={'load_balancing_policy': policy_}), args=['--mode', 'validate'])
        t.see('refused', code != 0)


refused('period_below_a_tenth', policy(weight_update_period='0.05s'))
refused('no_smoothing', policy(smoothing_time_constant='0s'))
refused('threshold_above_one', policy(utilization_variance_threshold=1.1))
refused('negative_threshold', policy(utilization_variance_threshold=-0.1))
refused('probes_of_all', policy(remote_probe_fraction=1))
refused('negative_probes', policy(remote_probe_fraction=-0.1))
refused('negative_expiration', policy(weight_expiration_period='-1s'))
refused('itself', policy(child=policy()))
refused('nothing_within', policy(child={}))
refused('a_cluster_that_picks_itself', policy(child=one('cluster_provided.v3.ClusterProvided')))
refused('a_child_that_is_wrong', policy(child=one('maglev.v3.Maglev', table_size=10)))
refused('below_wrr_locality', one('wrr_locality.v3.WrrLocality', endpoint_picking_policy=policy()))
