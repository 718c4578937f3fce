"""Balancers where one would not look first: odd sizes, values of odd kinds, held requests, several rules at once."""
import asyncio

from harness import *

LB = 'type.googleapis.com/envoy.extensions.load_balancing_policies.'
U, D = 'UNHEALTHY', 'DEGRADED'
BY_KEY = '[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: x-k}}]}}]'
KEYS = ['k%d' % i for i in range(24)]


def md(v, key=None):
    return {'metadata': {'filter_metadata': {'envoy.lb': {**v, **({'hash_key': key} if key else {})}}}}


def policies(kind, **config):
    return {'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'p', 'typed_config': {'@type': LB + kind, **config}}}]}}


async def keyed(t, n, weights=None, states=None, hostnames=None):
    """Hosts whose places do not depend on their ports."""
    all = []
    for i in range(n):
        host = lbe(await t.up('h%d' % i), extra=md({}, 'h%d' % i) if not hostnames else {})
        if hostnames:
            host['endpoint']['hostname'] = hostnames[i]
        if weights and weights[i]:
            host['load_balancing_weight'] = weights[i]
        if states and states[i]:
            host['health_status'] = states[i]
        all.append(host)
    return all


async def places(t, keys=KEYS):
    c = await t.conn()
    out = {}
    for k in keys:
        r = await t.req('/', headers=[('x-k', k)], conn=c)
        out[k] = r.h('x-up') or str(r.status)
    return out


# Tables of odd sizes and shares.

def table(name, extra, n=3, gauges=True, **kw):
    @case('table_' + name)
    async def _(t):
        await t.start(simple(t, clusters=[cluster('c1', await keyed(t, n, **kw), extra)], routes=BY_KEY))
        t.see('places', await places(t))
        if gauges:
            t.see('gauges', await t.stats(regex=r'^cluster[.]c1[.](maglev|ring_hash)_lb[.]'))


RING = lambda **config: policies('ring_hash.v3.RingHash', **config)
MAGLEV = lambda **config: policies('maglev.v3.Maglev', **config)
table('ring_of_one', RING(minimum_ring_size=1, maximum_ring_size=1))
table('ring_smaller_than_its_hosts', RING(minimum_ring_size=1, maximum_ring_size=2), n=5)
table('ring_of_weights_that_do_not_divide', RING(minimum_ring_size=16), weights=[1, 3, 7])
table('ring_of_a_heavy_host_at_its_most', RING(minimum_ring_size=8, maximum_ring_size=20), weights=[1, 100, 1])
table('ring_of_a_single_host', RING(minimum_ring_size=7), n=1)
table('ring_without_unhealthy_hosts', RING(minimum_ring_size=12), n=4, states=[None, U, None, D])
table('ring_of_murmur_and_weights', RING(minimum_ring_size=30, hash_function='MURMUR_HASH_2'), weights=[2, 1, 1])
table('ring_of_murmur_by_default_of_the_name', RING(minimum_ring_size=30, hash_function='DEFAULT_HASH'))
table('ring_in_panic', RING(minimum_ring_size=12), n=4, states=[None, U, U, U])
table('maglev_of_two_places', MAGLEV(table_size=2))
table('maglev_smaller_than_its_hosts', MAGLEV(table_size=3), n=5)
table('maglev_of_weights', MAGLEV(table_size=31), weights=[1, 2, 5])
table('maglev_of_a_heavy_host', MAGLEV(table_size=13), weights=[1, 1000, 1])
table('maglev_without_unhealthy_hosts', MAGLEV(table_size=17), n=4, states=[U, None, None, D])
table('maglev_of_hostnames', MAGLEV(table_size=17, consistent_hashing_lb_config={'use_hostname_for_hashing': True}), hostnames=['a.x', 'b.x', 'c.x'])
table('ring_of_hostnames', RING(minimum_ring_size=17, consistent_hashing_lb_config={'use_hostname_for_hashing': True}), hostnames=['a.x', 'b.x', 'c.x'])
table('ring_of_the_old_fields', '{lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 9, maximum_ring_size: 9}}', weights=[1, 2, 1])
table('maglev_of_the_old_fields', '{lb_policy: MAGLEV, maglev_lb_config: {table_size: 11}}', weights=[1, 2, 1])


@case()
async def table_hash_keys_of_odd_kinds(t):
    """Only a text that is not empty takes the address's place: the gauges alone are the same whatever the ports."""
    hosts = [lbe(await t.up('h%d' % i), extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': v}}}}) for i, v in enumerate((5, '', 'x', 'x'))]
    await t.start(simple(t, clusters=[cluster('c1', hosts, MAGLEV(table_size=101))], routes=BY_KEY))
    t.see('answered', all(v.startswith('h') for v in (await places(t)).values()))
    t.see('gauges', await t.stats(regex=r'^cluster[.]c1[.]maglev_lb[.]'))


@case()
async def table_by_locality_weights(t):
    all = await keyed(t, 4, weights=[1, 3, None, None])
    locs = [{'locality': {'zone': 'a'}, 'load_balancing_weight': 1, 'lb_endpoints': all[:2]}, {'locality': {'zone': 'b'}, 'load_balancing_weight': 4, 'lb_endpoints': all[2:]}]
    await t.start(simple(t, clusters=[cluster('c1', localities=locs, extra=RING(minimum_ring_size=40, locality_weighted_lb_config={}))], routes=BY_KEY))
    t.see('places', await places(t))
    t.see('gauges', await t.stats(regex=r'^cluster[.]c1[.]ring_hash_lb[.]'))


@case()
async def table_retries_go_round(t):
    """previous_hosts: the next place of the ring, the next hash of the table."""
    seen = []

    def respond(m, n):
        seen.append(m['up'])
        return resp(503, 'no')
    hosts = [lbe(await t.up('h%d' % i, respond), extra=md({}, 'h%d' % i)) for i in range(4)]
    retry = {'retry_on': '5xx', 'num_retries': 3, 'retry_back_off': {'base_interval': '0.001s'}, 'host_selection_retry_max_attempts': 8,
             'retry_host_predicate': [{'name': 'p', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate'}}]}
    routes = [{'match': {'prefix': '/' + c}, 'route': {'cluster': c, 'hash_policy': [{'header': {'header_name': 'x-k'}}], 'retry_policy': retry}} for c in ('ring', 'maglev')]
    await t.start(simple(t, clusters=[cluster('ring', hosts, RING(minimum_ring_size=32)), cluster('maglev', hosts, MAGLEV(table_size=31))], routes=routes))
    out = {}
    for path in ('/ring', '/maglev'):
        for k in KEYS[:8]:
            seen.clear()
            await t.req(path, headers=[('x-k', k)])
            out['%s %s' % (path, k)] = list(seen)
    t.see('tried', out)


# Bounded loads, while requests are held.

def bounded(name, extra, held, weights=None, n=3):
    """So many requests of one key are held; where do they go, and where do others?"""
    @case('bounded_' + name)
    async def _(t):
        gate, order = asyncio.Event(), []

        async def wait(name):
            await gate.wait()
            return resp(200, name, [('x-up', name)])

        def respond_as(name):
            def respond(m, n):
                order.append(name)
                return wait(name)
            return respond
        hosts = []
        for i in range(n):
            host = lbe(await t.up('h%d' % i, respond_as('h%d' % i)), extra=md({}, 'h%d' % i))
            if weights:
                host['load_balancing_weight'] = weights[i]
            hosts.append(host)
        await t.start(simple(t, clusters=[cluster('c1', hosts, extra)], routes=BY_KEY))
        tasks = []
        for i in range(held):
            tasks.append(asyncio.ensure_future(t.req('/', headers=[('x-k', 'k%d' % (i // 4))])))
            await t.until(lambda: len(order) > i)
        t.see('went to', order)
        gate.set()
        await asyncio.gather(*tasks)


FACTOR = lambda n: {'consistent_hashing_lb_config': {'hash_balance_factor': n}}
bounded('ring_100', RING(minimum_ring_size=64, **FACTOR(100)), 12)
bounded('ring_150', RING(minimum_ring_size=64, **FACTOR(150)), 12)
bounded('ring_1000', RING(minimum_ring_size=64, **FACTOR(1000)), 12)
bounded('maglev_120', MAGLEV(table_size=101, **FACTOR(120)), 12)
bounded('maglev_weights', MAGLEV(table_size=101, **FACTOR(125)), 16, weights=[1, 2, 5])
bounded('ring_old_field', {'lb_policy': 'RING_HASH', 'ring_hash_lb_config': {'minimum_ring_size': 64}, 'common_lb_config': {'consistent_hashing_lb_config': {'hash_balance_factor': 110}}}, 12)


# Least request.

def least(name, extra, weights, low, high, n=120):
    """The share of the first host, in percent, within bounds."""
    @case('least_request_' + name)
    async def _(t):
        all = await keyed(t, len(weights), weights=weights)
        await t.start(simple(t, clusters=[cluster('c1', all, extra)]))
        c = await t.conn()
        got = [(await t.req('/', conn=c)).h('x-up') for _ in range(n)]
        share = 100 * got.count('h0') / n
        t.see('share', low <= share <= high)
        t.see('used', sorted(set(got)))


LEAST = lambda **config: policies('least_request.v3.LeastRequest', **config)
least('weights_count_without_bias', LEAST(active_request_bias={'default_value': 0, 'runtime_key': 'b'}), [3, 1], 73, 77)
least('weights_count_with_bias_2', LEAST(active_request_bias={'default_value': 2, 'runtime_key': 'b'}), [3, 1], 73, 77)
least('weights_and_full_scan', LEAST(selection_method='FULL_SCAN'), [3, 1], 73, 77)
least('old_full_scan_field', LEAST(enable_full_scan=True), [None, None], 30, 70)
least('of_many_choices', LEAST(choice_count=10), [None, None], 30, 70)
least('old_weights', '{lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 5}}', [1, 4], 18, 22)


@case()
async def least_request_leaves_busy_hosts_alone(t):
    """Full scan: a host that holds a request gets none while others are idle."""
    gate = asyncio.Event()

    async def wait(name):
        await gate.wait()
        return resp(200, '', [('x-up', name)])
    for i in range(3):
        await t.up('h%d' % i, lambda m, n, i=i: wait('h%d' % i) if m['path'] == '/hold' else resp(200, '', [('x-up', 'h%d' % i)]))
    await t.start(simple(t, clusters=[cluster('c1', t.ups, LEAST(selection_method='FULL_SCAN'))]))
    held = [asyncio.ensure_future(t.req('/hold'))]
    await t.until(lambda: sum(len(u.reqs) for u in t.ups) == 1)
    busy = {u.name for u in t.ups if u.reqs}
    got = {(await t.req('/')).h('x-up') for _ in range(30)}
    t.see('busy is left alone', not (busy & got))
    t.see('others', len(got))
    gate.set()
    await asyncio.gather(*held)


# Subsets by values of odd kinds.

SUBSETS = {'subset_selectors': [{'keys': ['v']}]}


def subset(name, config, metadata, wants, n=8, states=None, weights=None, route=None, localities=None, top=None, stats=('selected', 'fallback', 'fallback_panic', 'created', 'active')):
    @case('subset_' + name)
    async def _(t):
        all = []
        for i, m in enumerate(metadata):
            host = lbe(await t.up('h%d' % i), extra=md(m) if m is not None else {})
            if states and states[i]:
                host['health_status'] = states[i]
            if weights:
                host['load_balancing_weight'] = weights[i]
            all.append(host)
        routes = [{'match': {'path': path}, 'route': {'cluster': 'c1', **({'metadata_match': {'filter_metadata': {'envoy.lb': want}}} if want is not None else {})}} for path, want in wants.items()]
        extra = merge({'lb_subset_config': config}, top or {})
        c1 = cluster('c1', all, extra) if localities is None else cluster('c1', localities=[{**l, 'lb_endpoints': [all[i] for i in l['lb_endpoints']]} for l in localities], extra=extra)
        await t.start(simple(t, clusters=[c1], routes=routes))
        t.see('by', {path: sorted({'%s %s' % (r.status, r.h('x-up')) for r in [await t.req(path) for _ in range(n)]}) for path in wants})
        t.see('stats', await t.stats(*['cluster.c1.lb_subsets_' + s for s in stats], 'cluster.c1.lb_healthy_panic'))


subset('kinds_of_values', SUBSETS, [{'v': '1'}, {'v': 1}, {'v': True}, {'v': None}, {'v': {'a': 1}}, {'v': [1, 2]}],
       {'/text': {'v': '1'}, '/number': {'v': 1}, '/bool': {'v': True}, '/null': {'v': None}, '/struct': {'v': {'a': 1}}, '/list': {'v': [1, 2]}, '/other': {'v': [2, 1]}})
subset('list_as_any_of_kinds', {**SUBSETS, 'list_as_any': True}, [{'v': [1, 'a']}, {'v': ['a', True]}, {'v': []}, {'v': 'a'}], {'/a': {'v': 'a'}, '/1': {'v': 1}, '/true': {'v': True}, '/list': {'v': [1, 'a']}, '/empty': {'v': []}})
subset('of_hosts_without_metadata', {**SUBSETS, 'fallback_policy': 'ANY_ENDPOINT'}, [None, {}, {'v': 'a'}], {'/a': {'v': 'a'}, '/none': None, '/b': {'v': 'b'}})
subset('more_keys_than_a_selector', SUBSETS, [{'v': 'a', 'w': 'b'}], {'/both': {'v': 'a', 'w': 'b'}, '/one': {'v': 'a'}})
subset('selectors_that_overlap', {'subset_selectors': [{'keys': ['v']}, {'keys': ['v', 'w']}, {'keys': ['w']}]}, [{'v': 'a', 'w': 'x'}, {'v': 'a', 'w': 'y'}, {'v': 'b', 'w': 'x'}],
       {'/v': {'v': 'a'}, '/vw': {'v': 'a', 'w': 'y'}, '/w': {'w': 'x'}, '/no': {'v': 'b', 'w': 'y'}})
subset('selector_twice', {'subset_selectors': [{'keys': ['v']}, {'keys': ['v'], 'fallback_policy': 'ANY_ENDPOINT'}]}, [{'v': 'a'}, {'v': 'b'}], {'/a': {'v': 'a'}, '/c': {'v': 'c'}})
subset('default_subset_empty', {**SUBSETS, 'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {}}, [{'v': 'a'}, {'v': 'b'}], {'/c': {'v': 'c'}, '/none': None})
subset('default_subset_of_nobody', {**SUBSETS, 'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': 'z'}}, [{'v': 'a'}, {'v': 'b'}], {'/c': {'v': 'c'}})
subset('default_subset_of_nobody_and_panic_mode_any', {**SUBSETS, 'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': 'z'}, 'panic_mode_any': True}, [{'v': 'a'}, {'v': 'b'}], {'/c': {'v': 'c'}, '/a': {'v': 'a'}})
subset('unhealthy_as_a_whole', {**SUBSETS, 'fallback_policy': 'ANY_ENDPOINT'}, [{'v': 'a'}, {'v': 'a'}, {'v': 'b'}], {'/a': {'v': 'a'}, '/b': {'v': 'b'}}, states=[U, U, None])
subset('unhealthy_as_a_whole_without_panic', {**SUBSETS, 'fallback_policy': 'ANY_ENDPOINT'}, [{'v': 'a'}, {'v': 'a'}, {'v': 'b'}], {'/a': {'v': 'a'}, '/b': {'v': 'b'}}, states=[U, U, None], top={'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})
subset('unhealthy_and_panic_mode_any_without_panic', {**SUBSETS, 'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': 'a'}, 'panic_mode_any': True}, [{'v': 'a'}, {'v': 'a'}, {'v': 'b'}], {'/a': {'v': 'a'}, '/none': None}, states=[U, U, None], top={'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})
subset('degraded_hosts_of_it', SUBSETS, [{'v': 'a'}, {'v': 'a'}, {'v': 'b'}], {'/a': {'v': 'a'}}, states=[D, U, None])
subset('over_priorities', SUBSETS, [{'v': 'a'}, {'v': 'b'}, {'v': 'a'}], {'/a': {'v': 'a'}, '/b': {'v': 'b'}}, localities=[{'priority': 0, 'lb_endpoints': [1]}, {'priority': 1, 'lb_endpoints': [0, 2]}])
subset('over_priorities_first_is_down', SUBSETS, [{'v': 'a'}, {'v': 'a'}, {'v': 'a'}], {'/a': {'v': 'a'}}, localities=[{'priority': 0, 'lb_endpoints': [0]}, {'priority': 1, 'lb_endpoints': [1, 2]}], states=[U, None, None])
subset('single_host_of_several', {'subset_selectors': [{'keys': ['v'], 'single_host_per_subset': True}]}, [{'v': 'a'}, {'v': 'a'}, {'v': 'b'}], {'/a': {'v': 'a'}, '/b': {'v': 'b'}, '/c': {'v': 'c'}}, stats=('selected', 'created', 'active', 'single_host_per_subset_duplicate'))
subset('single_host_that_is_unhealthy', {'subset_selectors': [{'keys': ['v'], 'single_host_per_subset': True}]}, [{'v': 'a'}, {'v': 'a'}], {'/a': {'v': 'a'}}, states=[U, None], stats=('selected', 'created', 'active', 'single_host_per_subset_duplicate'))
subset('single_host_and_any', {'fallback_policy': 'ANY_ENDPOINT', 'subset_selectors': [{'keys': ['v'], 'single_host_per_subset': True}]}, [{'v': 'a'}, {'v': 'b'}], {'/c': {'v': 'c'}, '/none': None})
subset('keys_subset_in_two_steps', {'subset_selectors': [{'keys': ['v', 'w', 'x'], 'fallback_policy': 'KEYS_SUBSET', 'fallback_keys_subset': ['v', 'w']}, {'keys': ['v', 'w'], 'fallback_policy': 'KEYS_SUBSET', 'fallback_keys_subset': ['v']}, {'keys': ['v']}]},
       [{'v': 'a', 'w': 'b'}, {'v': 'a', 'w': 'c', 'x': 'd'}], {'/two': {'v': 'a', 'w': 'b', 'x': 'z'}, '/one': {'v': 'a', 'w': 'q', 'x': 'z'}, '/none': {'v': 'q', 'w': 'q', 'x': 'q'}})
subset('keys_subset_without_a_selector', {'fallback_policy': 'ANY_ENDPOINT', 'subset_selectors': [{'keys': ['v', 'w'], 'fallback_policy': 'KEYS_SUBSET', 'fallback_keys_subset': ['v']}]}, [{'v': 'a', 'w': 'b'}, {'v': 'a', 'w': 'c'}], {'/x': {'v': 'a', 'w': 'x'}})
subset('fallback_list', {**SUBSETS, 'metadata_fallback_policy': 'FALLBACK_LIST', 'fallback_policy': 'NO_FALLBACK'}, [{'v': 'a'}, {'v': 'b'}],
       {'/second': {'fallback_list': [{'v': 'z'}, {'v': 'b'}]}, '/over': {'v': 'q', 'fallback_list': [{'v': 'a'}]}, '/nobody': {'fallback_list': [{'v': 'y'}, {'v': 'z'}]}, '/empty': {'v': 'a', 'fallback_list': []}, '/none': {'v': 'b'}})
subset('fallback_list_and_any', {**SUBSETS, 'metadata_fallback_policy': 'FALLBACK_LIST', 'fallback_policy': 'ANY_ENDPOINT'}, [{'v': 'a'}, {'v': 'b'}], {'/nobody': {'fallback_list': [{'v': 'y'}, {'v': 'a'}]}})
subset('weights_within', SUBSETS, [{'v': 'a'}, {'v': 'a'}, {'v': 'b'}], {'/a': {'v': 'a'}}, weights=[1, 3, 9], n=16)
subset('over_ring_hash', SUBSETS, [{'v': 'a', 'hash_key': 'x'}, {'v': 'a', 'hash_key': 'y'}, {'v': 'b'}], {'/a': {'v': 'a'}, '/b': {'v': 'b'}}, top={'lb_policy': 'RING_HASH'}, n=20)
subset('over_least_request', SUBSETS, [{'v': 'a'}, {'v': 'a'}, {'v': 'b'}], {'/a': {'v': 'a'}, '/b': {'v': 'b'}}, top={'lb_policy': 'LEAST_REQUEST'}, n=20)


# Panic thresholds, fractions and all.

def panic(name, threshold, states, runtime=None, n=40):
    @case('panic_' + name)
    async def _(t):
        all = await keyed(t, len(states), states=states)
        extra = {} if threshold is None else {'common_lb_config': {'healthy_panic_threshold': {'value': threshold}}}
        top = {} if runtime is None else {'layered_runtime': {'layers': [{'name': 's', 'static_layer': {'upstream.healthy_panic_threshold': runtime}}]}}
        await t.start(simple(t, clusters=[cluster('c1', all, extra)], extra=top))
        got = [(await t.req('/')) for _ in range(n)]
        t.see('seen', sorted({'%s %s' % (r.status, r.h('x-up')) for r in got}))
        t.see('stats', await t.stats('cluster.c1.lb_healthy_panic', 'cluster.c1.upstream_cx_none_healthy'))


panic('of_a_fraction', 33.9, [None, U, U])
panic('just_at_it', 50, [None, U])
panic('just_below_it', 51, [None, U])
panic('of_0_by_runtime', 50, [U, U], runtime=0)
panic('of_more_by_runtime', 0, [None, U], runtime=80)
panic('of_all_degraded', None, [D, D])
panic('of_nobody', None, [])
panic('draining_hosts', None, ['DRAINING', 'DRAINING', None])
panic('draining_hosts_alone', None, ['DRAINING', 'DRAINING'])
panic('draining_and_unhealthy_hosts', None, ['DRAINING', U, None, None])


@case()
async def panic_draining_hosts_are_excluded(t):
    all = await keyed(t, 5, states=['DRAINING', None, U, D, 'TIMEOUT'])
    await t.start(simple(t, clusters=[cluster('c1', all)]))
    t.see('stats', await t.stats(regex='^cluster[.]c1[.]membership_'))


subset('selector_that_begins_a_longer_one', {'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': 'd'}, 'subset_selectors': [{'keys': ['v', 'w'], 'fallback_policy': 'NO_FALLBACK'}, {'keys': ['v'], 'fallback_policy': 'ANY_ENDPOINT'}, {'keys': ['w'], 'fallback_policy': 'ANY_ENDPOINT'}]},
       [{'v': 'a', 'w': 'b'}, {'v': 'd'}], {'/v': {'v': 'x'}, '/w': {'w': 'x'}, '/vw': {'v': 'x', 'w': 'x'}}, n=16)
subset('shorter_selector_first', {'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': 'd'}, 'subset_selectors': [{'keys': ['v'], 'fallback_policy': 'ANY_ENDPOINT'}, {'keys': ['v', 'w'], 'fallback_policy': 'KEYS_SUBSET', 'fallback_keys_subset': ['v']}]},
       [{'v': 'a', 'w': 'b'}, {'v': 'd'}], {'/v': {'v': 'x'}, '/vw': {'v': 'x', 'w': 'x'}, '/a': {'v': 'a', 'w': 'x'}}, n=16)
subset('single_host_unhealthy_without_panic', {'subset_selectors': [{'keys': ['v'], 'single_host_per_subset': True}]}, [{'v': 'a'}, {'v': 'a'}, {'v': 'b'}], {'/a': {'v': 'a'}, '/b': {'v': 'b'}}, states=[U, None, None], top={'common_lb_config': {'healthy_panic_threshold': {'value': 0}}}, stats=('selected', 'created', 'active', 'single_host_per_subset_duplicate'))
subset('single_host_and_more_keys', {'subset_selectors': [{'keys': ['v'], 'single_host_per_subset': True}]}, [{'v': 'a'}, {'v': 'b'}], {'/both': {'v': 'a', 'w': 'x'}}, stats=('selected',))
subset('single_host_over_priorities', {'subset_selectors': [{'keys': ['v'], 'single_host_per_subset': True}]}, [{'v': 'a'}, {'v': 'a'}, {'v': 'b'}], {'/a': {'v': 'a'}, '/b': {'v': 'b'}}, localities=[{'priority': 0, 'lb_endpoints': [2]}, {'priority': 1, 'lb_endpoints': [0, 1]}], stats=('selected', 'created', 'active', 'single_host_per_subset_duplicate'))
subset('of_hosts_that_are_degraded_and_one_host', {'subset_selectors': [{'keys': ['v'], 'single_host_per_subset': True}]}, [{'v': 'a'}, {'v': 'a'}], {'/a': {'v': 'a'}}, states=[D, None], stats=('selected',))
