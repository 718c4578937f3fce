"""What random clusters on both proxies told apart: weights of localities, panic by numbers, subsets that fall back, and override_host below subsets."""
from harness import *

LB = 'type.googleapis.com/envoy.extensions.load_balancing_policies.'
U, D, DRAINING, TIMEOUT = 'UNHEALTHY', 'DEGRADED', 'DRAINING', 'TIMEOUT'
COUNTS = r'^cluster[.]c1[.]lb_(healthy_panic|subsets)'


def one(kind, **config):
    return {'policies': [{'typed_extension_config': {'name': 'p', 'typed_config': {'@type': LB + kind, **config}}}]}


RR = one('round_robin.v3.RoundRobin')


async def host(t, name, state=None, weight=None, md=None):
    h = lbe(await t.up(name), extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': name, **(md or {})}}}})
    if state:
        h['health_status'] = state
    if weight:
        h['load_balancing_weight'] = weight
    return h


def loc(hosts, zone=None, weight=None, priority=0, **more):
    l = {'lb_endpoints': hosts, **more}
    if zone is not None:
        l['locality'] = {'zone': zone} if zone else {}
    if weight:
        l['load_balancing_weight'] = weight
    if priority:
        l['priority'] = priority
    return l


async def begin(t, localities, extra, want=None, policy=None):
    action = {'cluster': 'c1', 'hash_policy': [{'header': {'header_name': 'x-k'}}]}
    routes = [{'match': {'path': '/%d' % i}, 'route': {**action, 'metadata_match': {'filter_metadata': {'envoy.lb': w}}}} for i, w in enumerate(want or [])]
    c1 = cluster('c1', localities=localities, extra=extra)
    if policy:
        c1['load_assignment']['policy'] = policy
    await t.start(simple(t, clusters=[c1], routes=routes + [{'match': {'prefix': '/'}, 'route': action}]))


async def seen(t, n=24, path='/', **kw):
    """Who answers."""
    c, all = await t.conn(), set()
    for i in range(n):
        r = await t.req(path, conn=c, headers=[('x-k', 'k%d' % i), *kw.get('headers', [])])
        all.add(r.h('x-up') or str(r.status))
    return sorted(all)


# Weights of localities.

HASHED = {'RING_HASH': {'lb_policy': 'RING_HASH', 'common_lb_config': {'locality_weighted_lb_config': {}}}, 'MAGLEV': {'lb_policy': 'MAGLEV', 'maglev_lb_config': {'table_size': 101}, 'common_lb_config': {'locality_weighted_lb_config': {}}},
          'ROUND_ROBIN': {'common_lb_config': {'locality_weighted_lb_config': {}}}, 'LEAST_REQUEST': {'lb_policy': 'LEAST_REQUEST', 'common_lb_config': {'locality_weighted_lb_config': {}}}}


def weighed(name, *all, policies=('MAGLEV', 'ROUND_ROBIN')):
    """Localities as (zone or None for no locality at all, weight, how many hosts)."""
    for policy in policies:
        @case('weighed_%s_%s' % (name, policy.lower()))
        async def _(t, policy=policy):
            localities = []
            for i, (zone, weight, n) in enumerate(all):
                localities.append(loc([await host(t, 'h%d%d' % (i, k)) for k in range(n)], zone, weight))
            await begin(t, localities, HASHED[policy])
            t.see('seen', await seen(t, 40))


weighed('of_nowhere_counts_for_nothing', (None, 3, 1), policies=tuple(HASHED))
weighed('of_nowhere_beside_a_zone', (None, 3, 1), ('a', 1, 2))
weighed('of_nowhere_beside_a_zone_without', (None, 3, 1), ('a', None, 2))
weighed('of_an_empty_locality', ('', 3, 1), ('a', None, 1))
weighed('by_a_locality_without_hosts', ('a', 5, 0), ('a', None, 1), ('b', None, 1))
weighed('by_the_last_of_three', ('a', 5, 1), ('a', None, 1), ('b', 1, 1))
weighed('all_without', ('a', None, 1), ('b', None, 1))


# Panic goes by numbers of hosts.

def panic(name, states, policy=None, threshold=None, weights=None, lb='RANDOM'):
    @case('panic_by_numbers_' + name)
    async def _(t):
        hosts = [await host(t, 'h%d' % i, s, (weights or {}).get(i)) for i, s in enumerate(states)]
        extra = {'lb_policy': lb, **({'common_lb_config': {'healthy_panic_threshold': {'value': threshold}}} if threshold is not None else {})}
        await begin(t, [loc(hosts, 'a')], extra, policy=policy)
        t.see('seen', await seen(t, 60))
        t.see('counts', await t.stats('cluster.c1.lb_healthy_panic'))


BY_WEIGHT = {'weighted_priority_health': True}
panic('of_a_heavy_host', [U, D], BY_WEIGHT, weights={0: 2})
panic('of_a_light_host', [U, U, None], BY_WEIGHT, weights={2: 10})
panic('of_a_sixth_and_two_sixths', [None, D, D, U, U, U])
panic('of_a_third_and_a_third', [None, D, U], threshold=66)
panic('of_a_third_and_a_third_and_more', [None, D, U], threshold=67)
panic('of_three_sevenths', [None, D, D, U, U, U, TIMEOUT])
panic('of_a_fraction_below', [None, U, U], threshold=33.9)
panic('of_a_fraction_above', [None, U, U], threshold=34)
panic('of_draining_hosts', [None, DRAINING, U], threshold=50)
panic('of_a_table', [None, U, U, D, U], BY_WEIGHT, lb='RING_HASH')


@case()
async def panic_by_numbers_in_all_priorities(t):
    """In total panic load goes by numbers, too."""
    p0 = [await host(t, 'a%d' % i, U, 10) for i in range(2)]
    p1 = [await host(t, 'b%d' % i, U) for i in range(2)]
    await begin(t, [loc(p0, 'a'), loc(p1, 'b', priority=1)], {'lb_policy': 'RANDOM'}, policy=BY_WEIGHT)
    c, n = await t.conn(), 0
    for _ in range(200):
        n += (await t.req('/', conn=c)).h('x-up').startswith('b')
    t.see('second priority', 60 <= n <= 140)


# Subsets.

def subsets(name, hosts, subset, want, extra=None, old=True, priorities=None, n=20):
    """`hosts`: (name, state, metadata); `want`: what routes ask for, the last one nothing."""
    @case('mixed_subsets_' + name)
    async def _(t):
        made = [await host(t, h, s, None, m) for h, s, m in hosts]
        localities = [loc(made, 'a')] if not priorities else [loc(made[a:b], 'z%d' % i, priority=i) for i, (a, b) in enumerate(priorities)]
        more = {'lb_subset_config': subset} if old else {'load_balancing_policy': one('subset.v3.Subset', **{'subset_lb_policy': RR, **subset})}
        await begin(t, localities, merge(more, extra or {}), want)
        for i in range(len(want)):
            t.see('asked %d' % i, await seen(t, n, '/%d' % i))
        t.see('asked nothing', await seen(t, n))
        t.see('counts', await t.stats(regex=COUNTS))


V = [{'keys': ['v']}]
SINGLE = [{'keys': ['v'], 'single_host_per_subset': True}]
subsets('panic_of_two_sets_counts_twice', [('a', U, {'v': '1'})], {'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': '9'}, 'subset_selectors': V, 'panic_mode_any': True}, [{'v': '2'}], {'common_lb_config': {'healthy_panic_threshold': {'value': 100}}})
subsets('panic_mode_any_that_finds_nobody', [('a', U, {'v': '1'})], {'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': '9'}, 'subset_selectors': V, 'panic_mode_any': True}, [{'v': '2'}], {'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})
subsets('any_that_finds_nobody_and_panic_mode_any', [('a', U, {'v': '1'})], {'fallback_policy': 'ANY_ENDPOINT', 'subset_selectors': V, 'panic_mode_any': True}, [{'v': '2'}], {'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})
subsets('fallback_list_in_panic', [('a', U, {'v': '1'}), ('b', U, {'v': '2'})], {'fallback_policy': 'NO_FALLBACK', 'subset_selectors': V, 'metadata_fallback_policy': 'FALLBACK_LIST'}, [{'fallback_list': [{'v': '3'}, {'v': '1'}]}, {'fallback_list': [{'v': '2'}, {'v': '1'}]}])
subsets('single_hosts_of_two_priorities', [('a', None, {'v': '1'}), ('b', None, {'v': '1'}), ('c', None, {'v': '1'}), ('d', None, {'v': '2'})], {'subset_selectors': SINGLE}, [{'v': '1'}, {'v': '2'}], priorities=[(0, 2), (2, 4)])
subsets('single_hosts_of_the_last_priority', [('a', None, {'v': '1'}), ('b', None, {'v': '1'}), ('c', None, {'v': '1'}), ('d', None, {'v': '2'})], {'subset_selectors': SINGLE}, [{'v': '1'}, {'v': '2'}], priorities=[(0, 1), (1, 4)])
subsets('single_hosts_of_lists', [('a', None, {'v': ['1', '2']}), ('b', None, {'v': ['2']}), ('c', None, {'v': '1'})], {'subset_selectors': SINGLE, 'list_as_any': True}, [{'v': '1'}, {'v': '2'}])
subsets('degraded_alone_over_a_table', [('a', D, {'v': '1'})], {'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': '2'}, 'subset_selectors': V, 'panic_mode_any': True}, [{'v': '1'}, {'v': '2'}], {'lb_policy': 'RING_HASH', 'common_lb_config': {'healthy_panic_threshold': {'value': 30}}})


# override_host below subsets.

def below(name, n=12, headers=None, state=None, want=({'v': '1'},), subset=None, sources=None, **over):
    @case('override_host_below_subsets_' + name)
    async def _(t):
        md = ['1', '1', '2', '2']
        hosts = [await host(t, 'h%d' % i, (state or {}).get(i), None, {'v': v}) for i, v in enumerate(md)]
        inner = one('override_host.v3.OverrideHost', override_host_sources=sources or [{'header': 'x-to'}], fallback_policy=RR, **over)
        lb = one('subset.v3.Subset', **{'subset_selectors': V, 'fallback_policy': 'NO_FALLBACK', 'subset_lb_policy': inner, **(subset or {})})
        await begin(t, [loc(hosts, 'a')], {'load_balancing_policy': lb}, list(want))
        at = lambda i: '127.0.0.1:%d' % t.ups[i].port
        for i in range(len(want)):
            t.see('asked %d' % i, await seen(t, n, '/%d' % i, headers=(headers or (lambda at: []))(at)))
        t.see('asked nothing', await seen(t, n, headers=(headers or (lambda at: []))(at)))
        t.see('counts', await t.stats(regex=COUNTS))


below('of_the_subset', headers=lambda at: [('x-to', at(1))])
below('of_another_subset', headers=lambda at: [('x-to', at(2))])
below('without_the_header')
below('list_of_both', headers=lambda at: [('x-to', at(2) + ',' + at(0))])
below('unhealthy', headers=lambda at: [('x-to', at(1))], state={1: U})
below('all_unhealthy', headers=lambda at: [('x-to', at(1))], state={0: U, 1: U})
below('of_any_endpoint', headers=lambda at: [('x-to', at(3))], want=({'v': '7'},), subset={'fallback_policy': 'ANY_ENDPOINT'})
below('of_the_default_subset', headers=lambda at: [('x-to', at(3))], want=({'v': '7'},), subset={'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': '2'}})
below('not_of_the_default_subset', headers=lambda at: [('x-to', at(0))], want=({'v': '7'},), subset={'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': '2'}})
below('of_a_single_host', headers=lambda at: [('x-to', at(1))], subset={'subset_selectors': SINGLE})
below('no_fallback', headers=lambda at: [('x-to', at(1))], want=({'v': '7'},))


@case()
async def override_host_below_subsets_below_override_host(t):
    hosts = [await host(t, 'h%d' % i, None, None, {'v': v}) for i, v in enumerate(['1', '1', '2'])]
    inner = one('override_host.v3.OverrideHost', override_host_sources=[{'header': 'x-in'}], fallback_policy=RR)
    middle = one('subset.v3.Subset', subset_selectors=V, fallback_policy='NO_FALLBACK', subset_lb_policy=inner)
    lb = one('override_host.v3.OverrideHost', override_host_sources=[{'header': 'x-out'}], fallback_policy=middle)
    await begin(t, [loc(hosts, 'a')], {'load_balancing_policy': lb}, [{'v': '1'}])
    at = lambda i: '127.0.0.1:%d' % t.ups[i].port
    t.see('out', await seen(t, 6, '/0', headers=[('x-out', at(2))]))
    t.see('in', await seen(t, 6, '/0', headers=[('x-in', at(1))]))
    t.see('both', await seen(t, 6, '/0', headers=[('x-in', at(1)), ('x-out', at(2))]))


@case()
async def override_host_below_subsets_selected(t):
    """`selected_host_key` is written all the same."""
    hosts = [await host(t, 'h%d' % i, None, None, {'v': v}) for i, v in enumerate(['1', '2'])]
    inner = one('override_host.v3.OverrideHost', override_host_sources=[{'header': 'x-to'}], fallback_policy=RR, selected_host_key={'key': 'envoy.lb', 'path': [{'key': 'served'}]})
    lb = one('subset.v3.Subset', subset_selectors=V, fallback_policy='NO_FALLBACK', subset_lb_policy=inner)
    route = {'cluster': 'c1', 'metadata_match': {'filter_metadata': {'envoy.lb': {'v': '1'}}}}
    await t.start(simple(t, clusters=[cluster('c1', hosts, {'load_balancing_policy': lb})], routes=[{'match': {'prefix': '/'}, 'route': route}], log='%DYNAMIC_METADATA(envoy.lb:served)%'))
    for to in (0, 1):
        await t.req('/', headers=[('x-to', '127.0.0.1:%d' % t.ups[to].port)])
    await t.req('/')
    t.see('log', await t.logs())


# Sessions of hosts in odd states.

def session(name, states, extra=None, strict=False, priorities=None, route=None, md=None):
    """A session of the first host."""
    @case('session_' + name)
    async def _(t):
        import base64
        hosts = [await host(t, 'h%d' % i, s, None, (md or {}).get(i)) for i, s in enumerate(states)]
        localities = [loc(hosts, 'a')] if not priorities else [loc(hosts[a:b], 'z%d' % i, priority=i) for i, (a, b) in enumerate(priorities)]
        state = {'name': 'envoy.http.stateful_session.header', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState', 'name': 'x-session'}}
        filter = http_filter('ss', 'stateful_session.v3.StatefulSession', {'strict': strict, 'session_state': state})
        c1 = cluster('c1', localities=localities, extra=extra)
        await t.start(simple(t, clusters=[c1], filters=[filter], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **(route or {})}}], log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'))
        keep = base64.b64encode(('127.0.0.1:%d' % t.ups[0].port).encode()).decode()
        t.see('seen', await seen(t, 12, headers=[('x-session', keep)]))
        t.see('counts', await t.stats('cluster.c1.lb_healthy_panic', 'cluster.c1.upstream_cx_none_healthy'))
        t.see('log', sorted(set(await t.logs())))


session('of_a_degraded_host', [D, None, None])
session('of_a_degraded_host_strict', [D, None, None], strict=True)
session('of_an_unhealthy_host', [U, None, None])
session('of_an_unhealthy_host_strict', [U, None, None], strict=True)
session('of_an_unhealthy_host_in_panic', [U, U, U])
session('of_an_unhealthy_host_in_panic_strict', [U, U, U], strict=True)
session('of_an_unhealthy_host_that_may_be', [U, None], {'common_lb_config': {'override_host_status': {'statuses': ['UNHEALTHY']}}})
session('of_a_draining_host', [DRAINING, None, None])
session('of_a_draining_host_strict', [DRAINING, None, None], strict=True)
session('of_a_lower_priority', [None, None], priorities=[(1, 2), (0, 1)])
session('of_another_subset', [None, None], {'lb_subset_config': {'subset_selectors': V, 'fallback_policy': 'NO_FALLBACK'}}, route={'metadata_match': {'filter_metadata': {'envoy.lb': {'v': '2'}}}}, md={0: {'v': '1'}, 1: {'v': '2'}})
session('of_no_subset', [None, None], {'lb_subset_config': {'subset_selectors': V, 'fallback_policy': 'NO_FALLBACK'}}, route={'metadata_match': {'filter_metadata': {'envoy.lb': {'v': '7'}}}}, md={0: {'v': '1'}, 1: {'v': '2'}})
session('over_a_ring', [None, None, None], {'lb_policy': 'RING_HASH'})
session('over_override_host', [None, None], {'load_balancing_policy': one('override_host.v3.OverrideHost', override_host_sources=[{'header': 'x-to'}], fallback_policy=RR)})
session('over_load_aware_locality', [None, None], {'load_balancing_policy': one('load_aware_locality.v3.LoadAwareLocality', endpoint_picking_policy=RR)})


# Retries that would rather have another host: what is counted of the picks.

PREVIOUS = {'name': 'p', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate'}}
PRIORITIES = {'name': 'q', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig', 'update_frequency': 1}}
ZONES = r'^cluster[.]c1[.](lb_(healthy_panic|subsets_(selected|fallback|fallback_panic))|upstream_rq_retry)$'


def retried(name, hosts, extra, want=None, attempts=None, priorities=None, n=10, by_priority=False, exact=True):
    """Every answer is a failure: what was tried, and what was counted. `hosts`: (name, state, metadata)."""
    @case('retried_' + name)
    async def _(t):
        tried, made = [], []

        def respond(m, k):
            tried.append(m['up'])
            return resp(503, 'no')
        for h, s, md in hosts:
            e = lbe(await t.up(h, respond), extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': h, **md}}}})
            if s:
                e['health_status'] = s
            made.append(e)
        localities = [loc(made, 'a')] if not priorities else [loc(made[a:b], 'z%d' % i, priority=i) for i, (a, b) in enumerate(priorities)]
        retry = {'retry_on': '5xx', 'num_retries': 2, 'retry_back_off': {'base_interval': '0.001s'}}
        if attempts is not None:
            retry.update({'retry_host_predicate': [PREVIOUS], **({'host_selection_retry_max_attempts': attempts} if attempts else {})})
        if by_priority:
            retry['retry_priority'] = PRIORITIES
        route = {'cluster': 'c1', 'hash_policy': [{'header': {'header_name': 'x-k'}}], 'retry_policy': retry, **({'metadata_match': {'filter_metadata': {'envoy.lb': want}}} if want else {})}
        await t.start(simple(t, clusters=[cluster('c1', localities=localities, extra=extra)], routes=[{'match': {'prefix': '/'}, 'route': route}]))
        all = set()
        for i in range(n):
            tried.clear()
            await t.req('/', headers=[('x-k', 'k%d' % i)])
            all.add(' '.join(tried) if exact else ' '.join(sorted(set(tried))))
        t.see('tried', sorted(all))
        t.see('counts', await t.stats(regex=ZONES))


SUB = {'fallback_policy': 'ANY_ENDPOINT', 'subset_selectors': V}
retried('one_host_of_a_subset', [('a', None, {'v': '1'}), ('b', None, {'v': '2'})], {'lb_subset_config': SUB}, {'v': '1'}, 5)
retried('one_host_of_a_fallback', [('a', None, {'v': '1'})], {'lb_subset_config': SUB}, {'v': '2'}, 5)
retried('by_default_attempts', [('a', None, {'v': '1'})], {'lb_subset_config': SUB}, {'v': '1'}, 0)
retried('one_host_of_a_table_in_panic', [('a', U, {})], {'lb_policy': 'MAGLEV', 'maglev_lb_config': {'table_size': 11}}, None, 5)
retried('one_host_in_panic', [('a', U, {})], {}, None, 5)
retried('a_subset_in_panic', [('a', U, {'v': '1'})], {'lb_subset_config': SUB}, {'v': '1'}, 5)
retried('behind_an_empty_default_subset', [('a', None, {'v': '1'})], {'lb_subset_config': {'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': '9'}, 'subset_selectors': V, 'panic_mode_any': True}}, {'v': '2'}, 5)
retried('ring_hosts_in_turn', [('a', None, {}), ('b', None, {}), ('c', None, {})], {'lb_policy': 'RING_HASH', 'ring_hash_lb_config': {'minimum_ring_size': 32}}, None, 5)
retried('over_priorities', [('a', None, {}), ('b', None, {}), ('c', None, {})], {}, None, None, [(0, 1), (1, 2), (2, 3)], by_priority=True)
retried('over_priorities_of_a_subset', [('a', None, {'v': '1'}), ('b', None, {'v': '2'}), ('c', None, {'v': '1'})], {'lb_subset_config': SUB}, {'v': '1'}, None, [(0, 1), (1, 2), (2, 3)], by_priority=True)
retried('over_priorities_of_a_subset_in_one', [('a', None, {'v': '2'}), ('b', None, {'v': '1'}), ('c', None, {'v': '2'})], {'lb_subset_config': SUB}, {'v': '1'}, None, [(0, 1), (1, 2), (2, 3)], by_priority=True)
retried('over_priorities_of_the_default_subset', [('a', None, {'v': '2'}), ('b', None, {'v': '1'}), ('c', None, {'v': '1'})], {'lb_subset_config': {'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': '1'}, 'subset_selectors': V, 'panic_mode_any': True}}, None, None, [(0, 1), (1, 2), (2, 3)], by_priority=True)
retried('a_table_does_not_leave_priorities_out', [('a', None, {}), ('b', None, {}), ('c', None, {})], {'lb_policy': 'MAGLEV', 'maglev_lb_config': {'table_size': 11}}, None, None, [(0, 2), (2, 3)], by_priority=True)
retried('a_table_of_a_subset_does_not_leave_priorities_out', [('a', None, {'v': '1'}), ('b', None, {'v': '1'}), ('c', None, {'v': '1'})], {'lb_policy': 'RING_HASH', 'ring_hash_lb_config': {'minimum_ring_size': 32}, 'lb_subset_config': SUB}, {'v': '1'}, 3, [(0, 2), (2, 3)], by_priority=True)
