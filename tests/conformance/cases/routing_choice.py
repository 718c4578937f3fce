"""Which cluster and which host a request goes to: weights, hashes, metadata; and what is counted of each choice."""
import asyncio

from harness import *
from harness.tables import H

LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER_RAW%'


# ---- several clusters by weight: all lead to one upstream, and the log tells which it was
def chosen(name, wc, reqs, route=None, weights=(1, 2, 4), seen=(), stats=None, again=None, **kw):
    """Which of the clusters c0, c1, … each request goes to."""
    @case('choice_' + name)
    async def _(t):
        u = await t.up('u1', lambda m, n: resp(200, 'up'))
        rt = merge({'weighted_clusters': {'clusters': [{'name': 'c%d' % i, 'weight': w} for i, w in enumerate(weights)]}}, {'weighted_clusters': Y(wc)})
        r = merge({'match': {'prefix': '/'}, 'route': rt}, Y(route) or {})
        await t.start(simple(t, clusters=[cluster('c%d' % i, u) for i in range(len(weights))], routes=[r], log=LOG, **kw))
        got = []
        for k in reqs:
            r = await t.req(**k)
            got.append([r.status] + [r.h(h) for h in seen])
        t.see('answers', got)
        if seen:
            t.see('sent', [[m.h('host')] + [m.h(h) for h in seen] for m in u.reqs])
        if stats:
            t.see('stats', await t.stats(*stats))
        t.see('log', await t.logs())


BY = '{header_name: x-r}'
chosen('by_header', BY, [H(('x-r', str(i))) for i in range(15)])
chosen('by_header_large', BY, [H(('x-r', v)) for v in ('18446744073709551615', '4294967296', '18446744073709551614')])
chosen('by_header_odd_forms', '{header_name: x-r, clusters: [{name: c0, weight: 0}, {name: c1, weight: 7}, {name: c2, weight: 0}]}', [H(('x-r', v)) for v in ('', 'x', '-1', '+5', ' 6', '0x3', '1e1', '18446744073709551616', '5,6')])
chosen('by_header_with_a_sign', BY, [H(('x-r', v)) for v in ('+0', '+1', '+3', '00', '01', '0003')])
chosen('by_a_runtime_prefix', '{runtime_key_prefix: p}', [H() for _ in range(6)], extra='{layered_runtime: {layers: [{name: s, static_layer: {p.c0: 0, p.c1: 0, p.c2: 9}}]}}')
chosen('by_a_runtime_prefix_and_header', '{runtime_key_prefix: p, header_name: x-r}', [H(('x-r', str(i))) for i in range(12)], extra='{layered_runtime: {layers: [{name: s, static_layer: {p.c0: 3, p.c2: 5}}]}}')
chosen('by_a_runtime_prefix_of_odd_values', '{runtime_key_prefix: p, header_name: x-r}', [H(('x-r', str(i))) for i in range(8)], extra='{layered_runtime: {layers: [{name: s, static_layer: {p.c0: "x", p.c1: -1, p.c2: 2.7}}]}}')
chosen('with_a_weight_of_0', BY, [H(('x-r', str(i))) for i in range(6)], weights=(0, 3, 0))
chosen('levels_of_a_cluster', """
header_name: x-r
clusters:
- {name: c0, weight: 1, host_rewrite_literal: own, request_headers_to_add: [{header: {key: x-q, value: c0}}], response_headers_to_add: [{header: {key: x-q, value: c0}}]}
- {name: c1, weight: 1, request_headers_to_remove: [x-gone], response_headers_to_remove: [x-gone]}
- {name: c2, weight: 1}
""", [H(('x-r', str(i)), ('x-gone', 'g')) for i in range(3)], '{request_headers_to_add: [{header: {key: x-q, value: route}}], response_headers_to_add: [{header: {key: x-q, value: route}}, {header: {key: x-gone, value: g}}], route: {host_rewrite_literal: ofroute}}', seen=('x-q', 'x-gone'))
chosen('by_cluster_headers', """
header_name: x-r
clusters:
- {cluster_header: x-c, weight: 1, name: null}
- {cluster_header: x-d, weight: 1, name: null}
- {name: c2, weight: 1}
""", [H(('x-r', str(i)), *more) for more in ([], [('x-c', 'c1'), ('x-d', 'nobody')], [('x-c', ''), ('x-d', 'c0'), ('x-d', 'c1')]) for i in range(3)], stats=['http.in.no_cluster', 'http.in.no_route', 'http.in.rq_total'])
chosen('of_a_cluster_that_is_not_there', '{header_name: x-r, clusters: [{name: c0, weight: 1}, {name: nobody, weight: 1}, {name: c2, weight: 1}]}', [H(('x-r', str(i))) for i in range(3)], route_config='{validate_clusters: false}', stats=['http.in.no_cluster'])
chosen('status_of_a_cluster_that_is_not_there', '{header_name: x-r, clusters: [{name: c0, weight: 1}, {name: nobody, weight: 1}, {name: c2, weight: 1}]}', [H(('x-r', '1'))], '{route: {cluster_not_found_response_code: INTERNAL_SERVER_ERROR}}', route_config='{validate_clusters: false}')
FILTER = [http_filter('hm', 'header_mutation.v3.HeaderMutation')]
PER = '{typed_per_filter_config: {hm: {"@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute, mutations: {request_mutations: [{append: {header: {key: x-q, value: %s}}}]}}}}'
chosen('filters_of_a_cluster', {'header_name': 'x-r', 'clusters': [{'name': 'c0', 'weight': 1, **Y(PER % 'c0')}, {'name': 'c1', 'weight': 1}, {'name': 'c2', 'weight': 1}]}, [H(('x-r', str(i))) for i in range(3)], PER % 'route', seen=('x-q',), filters=FILTER)


def refused(name, *actions):
    @case('choice_refused_' + name)
    async def _(t):
        u = t.dead('u1')
        exits = []
        for action in actions:
            routes = [{'match': {'prefix': '/'}, 'route': Y(action)}]
            exits.append((await t.run_to_end(simple(t, clusters=[cluster('c1', u), cluster('c2', u)], routes=routes), args=('--mode', 'validate')))[0])
        t.see('exits', exits)


refused('weights', '{weighted_clusters: {clusters: [{name: c1, weight: 0}]}}', '{weighted_clusters: {clusters: []}}', '{weighted_clusters: {clusters: [{name: c1}]}}', '{weighted_clusters: {clusters: [{name: c1, weight: 4294967295}, {name: c2, weight: 1}]}}',
        '{weighted_clusters: {clusters: [{name: c1, weight: 4294967295}]}}', '{weighted_clusters: {clusters: [{weight: 1}]}}', '{weighted_clusters: {clusters: [{name: c1, cluster_header: x, weight: 1}]}}', '{weighted_clusters: {clusters: [{name: c1, weight: 3}], total_weight: 5}}',
        '{weighted_clusters: {clusters: [{name: c1, weight: 3}], header_name: "a b"}}', '{weighted_clusters: {clusters: [{name: c1, weight: 3}], use_hash_policy: true}}', '{weighted_clusters: {clusters: [{name: c1, weight: 3}, {name: c1, weight: 3}]}}', '{weighted_clusters: {clusters: [{cluster_header: "", name: "", weight: 3}]}}')
refused('hash_policies', '{cluster: c1, hash_policy: [{}]}', '{cluster: c1, hash_policy: [{header: {header_name: ""}}]}', '{cluster: c1, hash_policy: [{header: {header_name: "a b"}}]}', '{cluster: c1, hash_policy: [{cookie: {name: ""}}]}', '{cluster: c1, hash_policy: [{query_parameter: {name: ""}}]}',
        '{cluster: c1, hash_policy: [{connection_properties: {}}]}', '{cluster: c1, hash_policy: [{filter_state: {key: ""}}]}', '{cluster: c1, hash_policy: [{cookie: {name: a, ttl: -1s}}]}', '{cluster: c1, hash_policy: [{cookie: {name: a, attributes: [{name: ""}]}}]}', '{cluster: c1, hash_policy: [{cookie: {name: a, attributes: [{name: "b c", value: "d;e"}]}}]}',
        '{cluster: c1, hash_policy: [{header: {header_name: a, regex_rewrite: {pattern: {regex: "["}, substitution: x}}}]}', '{cluster: c1, hash_policy: [{header: {header_name: a, regex_rewrite: {pattern: {regex: "a"}, substitution: "\\\\1"}}}]}', '{cluster: c1, hash_policy: [{header: {header_name: ":path"}}]}')


@case('choice_refused_weights_by_runtime')
async def _(t):
    """The sum is that of the start, with what runtime says then."""
    u = t.dead('u1')
    exits = []
    for layer in ('{p.c1: 0, p.c2: 0}', '{p.c1: 0}', '{p.c1: 4294967295}', '{p.c1: 99999999999}'):
        routes = Y('[{match: {prefix: /}, route: {weighted_clusters: {runtime_key_prefix: p, clusters: [{name: c1, weight: 3}, {name: c2, weight: 3}]}}}]')
        cfg = simple(t, clusters=[cluster('c1', u), cluster('c2', u)], routes=routes, extra={'layered_runtime': {'layers': [{'name': 's', 'static_layer': Y(layer)}]}})
        exits.append((await t.run_to_end(cfg, args=('--mode', 'validate')))[0])
    t.see('exits', exits)


# ---- hashes: 29 clusters show where a hash falls
def hashed(name, policies, reqs, cookies=False, pre=None, **kw):
    """The cluster that the hash of each request names, of 29."""
    @case('hashed_' + name)
    async def _(t):
        u = await t.up('u1', lambda m, n: resp(200, 'up'))
        rt = {'hash_policy': Y(policies), 'weighted_clusters': {'use_hash_policy': True, 'clusters': [{'name': 'c%d' % i, 'weight': 1} for i in range(29)]}}
        await t.start(simple(t, clusters=[cluster('c%d' % i, u) for i in range(29)], routes=[{'match': {'prefix': '/'}, 'route': rt}], log='%UPSTREAM_CLUSTER_RAW%', **kw))
        if cookies:
            t.see('cookies', [(await t.req(**k)).all('set-cookie') for k in reqs])
        else:
            for k in reqs:
                await t.req(**k)
        t.see('log', await t.logs())


HEADER = '{header: {header_name: x-h}}'
hashed('several_values_of_a_header', '[%s]' % HEADER, [H(('x-h', 'a'), ('x-h', 'b')), H(('x-h', 'b'), ('x-h', 'a')), H(('x-h', 'a,b')), H(('x-h', 'ab')), H(('x-h', 'a')), H(('x-h', 'a'), ('x-h', 'a')), H(('x-h', 'b'), ('x-h', 'a'), ('x-h', 'c'))])
hashed('an_empty_header', '[%s, {query_parameter: {name: q}}]' % HEADER, [H(('x-h', ''), path='/?q=1'), H(path='/?q=1'), H(('x-h', ''), ('x-h', ''), path='/?q=1')])
hashed('pseudo_headers', '[{header: {header_name: ":path"}}, {header: {header_name: ":authority"}}, {header: {header_name: ":method"}}]', [H(path='/a'), H(path='/a?b'), H(path='/a', host='other'), H(path='/a', method='POST')])
hashed('the_host', '[{header: {header_name: host}}]', [H(host='a'), H(host='b'), H(host='c')])
hashed('a_rewritten_header', '[{header: {header_name: x-h, regex_rewrite: {pattern: {regex: "^(.)[0-9]*(.)"}, substitution: "\\\\2\\\\1"}}}]', [H(('x-h', v)) for v in ('a12b', 'ab', 'ba', 'a', 'a12b3c', 'zz')] + [H(('x-h', 'a1b'), ('x-h', 'c2d')), H(('x-h', 'c2d'), ('x-h', 'a1b'))])
hashed('a_header_rewritten_everywhere', '[{header: {header_name: x-h, regex_rewrite: {pattern: {regex: "[0-9]"}, substitution: ""}}}]', [H(('x-h', v)) for v in ('a1b2', 'ab', '12', '')])
hashed('query_parameters', '[{query_parameter: {name: k}}, {header: {header_name: x-h}}]', [H(('x-h', 'z'), path=p) for p in ('/?k=1', '/?k=1&k=2', '/?K=1', '/?k=', '/?k', '/?a=b', '/', '/?k=a%20b', '/?k=a b'.replace(' ', '+'), '/?kk=1', '/?a=b&k=1', '/?k=1#f', '/?%6b=1', '/?k=%31')])
hashed('cookies', '[{cookie: {name: k}}, {header: {header_name: x-h}}]', [H(('x-h', 'z'), ('cookie', v)) for v in ('k=1', 'a=b; k=1', 'k="1"', 'k=', 'K=1', 'kk=1', 'k = 1', 'k=1; k=2', ' k=1', 'k', 'a=b;k=1', 'a=b,k=1', 'k=1;')] + [H(('x-h', 'z'), ('cookie', 'a=b'), ('cookie', 'k=1')), H(('x-h', 'z'))])
hashed('several_policies', '[{header: {header_name: x-a}}, {header: {header_name: x-b}}, {header: {header_name: x-c}}]', [H(*[(h, 'v') for h in hs]) for hs in (['x-a'], ['x-b'], ['x-a', 'x-b'], ['x-a', 'x-b', 'x-c'], ['x-c', 'x-a'], ['x-b', 'x-c'])])
hashed('the_same_policy_twice', '[{header: {header_name: x-a}}, {header: {header_name: x-a}}]', [H(('x-a', v)) for v in 'abc'])
hashed('terminal', '[{header: {header_name: x-a}, terminal: true}, {header: {header_name: x-b}}, {header: {header_name: x-c}, terminal: true}, {header: {header_name: x-d}}]', [H(*[('x-' + c, 'v') for c in s]) for s in ('a', 'ab', 'b', 'bc', 'bcd', 'bd', 'd', 'cd', 'abcd')])
hashed('terminal_behind_one_that_found_something', '[{header: {header_name: x-a}}, {header: {header_name: x-b}, terminal: true}, {header: {header_name: x-c}}]', [H(*[('x-' + c, 'v') for c in s]) for s in ('a', 'ac', 'abc', 'bc', 'c')])
hashed('source_ip', '[{connection_properties: {source_ip: true}}]', [H(), H(src='127.0.0.2'), H(src='127.0.0.3'), H(('x-forwarded-for', '9.9.9.9'))])
hashed('source_ip_of_a_proxy', '[{connection_properties: {source_ip: true}}]', [H(), H(('x-forwarded-for', '9.9.9.9')), H(('x-forwarded-for', '8.8.8.8')), H(('x-forwarded-for', '2001:db8::1'))], opts='{use_remote_address: false, xff_num_trusted_hops: 0}')
hashed('source_ip_switched_off', '[{connection_properties: {source_ip: false}}, %s]' % HEADER, [H(('x-h', 'a')), H(('x-h', 'b'))])


def value(factory, text='%REQ(x-h)%'):
    return [http_filter('s', 'set_filter_state.v3.Config', {'on_request_headers': [{'object_key': 'k', 'factory_key': factory, 'format_string': {'text_format_source': {'inline_string': text}}}]})]


for word, factory in {'hashable_text': 'envoy.hashable_string', 'text': 'envoy.string'}.items():
    @case('hashed_filter_state_of_' + word)
    async def _(t, factory=factory):
        """The hash is taken when a host is picked, behind the filters."""
        ups = [await t.up('u%d' % i) for i in range(5)]
        c = cluster('c1', [lbe(u, extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': 'h%d' % i}}}}) for i, u in enumerate(ups)], '{lb_policy: RING_HASH}')
        await t.start(simple(t, clusters=[c], filters=value(factory), routes='[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{filter_state: {key: k}}, {header: {header_name: x-i}}]}}]'))
        t.see('places', [(await t.req(headers=[('x-h', v), ('x-i', 'i')])).h('x-up') for v in 'abcdefgh'])


# ---- cookies that are made
def made(name, cookie, reqs=(H(),), vh=None, respond=None, action=None, lb='RING_HASH', **kw):
    """The cookie that a client without one is given; its value is left out, but for its form."""
    @case('cookie_' + name)
    async def _(t):
        import re
        u = await t.up('u1', respond or (lambda m, n: resp(200, 'up')))
        c = cluster('c1', u, {'lb_policy': lb})
        cookies = cookie if isinstance(cookie, list) else [cookie]
        rt = {'cluster': 'c1', 'hash_policy': [{'cookie': Y(c)} for c in cookies], **(action or {})}
        await t.start(simple(t, clusters=[c], vhosts=[{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': rt}], **(Y(vh) or {})}], log='%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%', **kw))
        for i, k in enumerate(reqs):
            r = await t.req(**k)
            t.see('r%d' % i, [r.status, [re.sub('"[0-9a-f]+"', '<made>', v) for v in r.all('set-cookie')]])
        t.see('sent', [m.all('cookie') for m in u.reqs])
        t.see('log', await t.logs())


made('of_no_ttl', '{name: c}')
made('of_a_session', '{name: c, ttl: 0s}')
made('of_some_time', '{name: c, ttl: 90s}')
made('of_part_of_a_second', '{name: c, ttl: 1.9s}')
made('of_less_than_a_second', '{name: c, ttl: 0.2s}')
made('with_a_path', '{name: c, ttl: 5s, path: /a}', [H(path='/a'), H(path='/b')])
made('with_attributes', '{name: c, ttl: 5s, path: /a, attributes: [{name: SameSite, value: Strict}, {name: Secure}, {name: Domain, value: a.example}]}')
made('with_attributes_for_a_session', '{name: c, ttl: 0s, attributes: [{name: HttpOnly}]}')
made('only_where_there_is_none', '{name: c, ttl: 5s}', [H(('cookie', 'c=x')), H(('cookie', 'c=')), H(('cookie', 'd=x'))])
made('two_of_them', ['{name: c, ttl: 5s}', '{name: d, ttl: 6s, path: /d}'], [H(), H(('cookie', 'c=x'))])
made('beside_those_of_the_upstream', '{name: c, ttl: 5s}', respond=lambda m, n: resp(200, 'up', [('set-cookie', 'u=1'), ('set-cookie', 'v=2')]))
made('with_an_error', '{name: c, ttl: 5s}', respond=lambda m, n: resp(503, 'up'))
made('not_where_nobody_answers', '{name: c, ttl: 5s}', respond=lambda m, n: None)
made('once_for_a_request_that_is_retried', '{name: c, ttl: 5s}', respond=lambda m, n: resp(503 if n == 1 else 200, 'x'), action={'retry_policy': {'retry_on': '5xx', 'retry_back_off': {'base_interval': '0.002s'}}})
made('not_where_nobody_hashes', '{name: c, ttl: 5s}', lb='ROUND_ROBIN')
made('of_maglev', '{name: c, ttl: 5s}', lb='MAGLEV')
made('and_headers_of_the_route', '{name: c, ttl: 5s}', vh='{response_headers_to_remove: [set-cookie]}')
made('and_headers_that_are_added', '{name: c, ttl: 5s}', vh='{response_headers_to_add: [{header: {key: set-cookie, value: own}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}')


@case('hashed_by_what_an_attempt_is_told')
async def _(t):
    """Each attempt is placed by the head as it is then."""
    ups = [await t.up('u%d' % i, lambda m, n, i=i: resp(503, 'x')) for i in range(5)]
    c = cluster('c1', [lbe(u, extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': 'h%d' % i}}}}) for i, u in enumerate(ups)], '{lb_policy: RING_HASH}')
    rt = Y('{cluster: c1, hash_policy: [{header: {header_name: x-envoy-attempt-count}}], retry_policy: {retry_on: 5xx, num_retries: 5, retry_back_off: {base_interval: 0.002s}}}')
    await t.start(simple(t, clusters=[c], vhosts=[{'name': 'v', 'domains': ['*'], 'include_request_attempt_count': True, 'routes': [{'match': {'prefix': '/'}, 'route': rt}]}]))
    await t.req()
    t.see('asked', [[m.h('x-envoy-attempt-count') for m in u.reqs] for u in ups])


# ---- hosts by metadata
SUBSETS = '{lb_policy: RANDOM, lb_subset_config: {fallback_policy: %s, subset_selectors: [{keys: [v]}, {keys: [v, z]}]}}'
PLACES = [{'v': 'one'}, {'v': 'two'}, {'v': 'two', 'z': 'a'}, {'v': 'three', 'z': 'b'}]


def by_metadata(name, route, reqs, fallback='NO_FALLBACK', filters=(), **kw):
    @case('metadata_match_' + name)
    async def _(t):
        hosts = [lbe(await t.up('h%d' % i), extra={'metadata': {'filter_metadata': {'envoy.lb': m}}}) for i, m in enumerate(PLACES)]
        r = {'match': {'prefix': '/'}, 'route': Y(route)}
        await t.start(simple(t, clusters=[cluster('c1', hosts, SUBSETS % fallback)], routes=[r], filters=filters, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%', **kw))
        t.see('places', [[r.status, r.h('x-up')] for r in [await t.req(**k) for k in reqs]])
        t.see('stats', await t.stats(*['cluster.c1.lb_subsets_' + s for s in ('selected', 'fallback', 'active')]))
        t.see('log', await t.logs())


def lb(**kw):
    return '{filter_metadata: {envoy.lb: {%s}}}' % ', '.join('%s: %s' % i for i in kw.items())


META = [http_filter('m', 'set_metadata.v3.Config', '{metadata: [{metadata_namespace: envoy.lb, value: {v: one}}]}')]
by_metadata('of_the_route', '{cluster: c1, metadata_match: %s}' % lb(v='one'), [H(), H()])
by_metadata('of_two_keys', '{cluster: c1, metadata_match: %s}' % lb(z='b', v='three'), [H(), H()])
by_metadata('of_nobody', '{cluster: c1, metadata_match: %s}' % lb(v='four'), [H()])
by_metadata('of_another_filter', '{cluster: c1, metadata_match: {filter_metadata: {other: {v: one}}}}', [H()])
by_metadata('of_the_request', '{cluster: c1}', [H(), H()], filters=META)
by_metadata('of_route_and_request', '{cluster: c1, metadata_match: %s}' % lb(v='three', z='b'), [H(), H()], filters=META)
by_metadata('of_route_and_request_apart', '{cluster: c1, metadata_match: %s}' % lb(z='a'), [H()], filters=[http_filter('m', 'set_metadata.v3.Config', '{metadata: [{metadata_namespace: envoy.lb, value: {v: two}}]}')])
by_metadata('of_weights_and_route', '{weighted_clusters: {clusters: [{name: c1, weight: 1, metadata_match: %s}]}, metadata_match: %s}' % (lb(v='two', z='a'), lb(v='three')), [H(), H()])
by_metadata('of_weights_that_add_to_it', '{weighted_clusters: {clusters: [{name: c1, weight: 1, metadata_match: %s}]}, metadata_match: %s}' % (lb(z='b'), lb(v='three')), [H(), H()])
by_metadata('of_weights_alone', '{weighted_clusters: {clusters: [{name: c1, weight: 1, metadata_match: %s}]}}' % lb(v='one'), [H(), H()])


# ---- what routes and virtual clusters count
VCS = """
- {name: get, headers: [{name: ":method", string_match: {exact: GET}}, {name: ":path", string_match: {prefix: /v}}]}
- {name: post, headers: [{name: ":method", string_match: {exact: POST}}]}
- {name: late, headers: [{name: ":path", string_match: {safe_regex: {regex: "/v/[0-9]+"}}}]}
"""


def virtual(name, reqs, route='{cluster: c1}', respond=None, vcs=VCS, regex='^vhost', vh=None, r=None, **kw):
    """All counters of the virtual host's clusters and routes."""
    @case('virtual_clusters_' + name)
    async def _(t):
        await t.up('u1', respond or (lambda m, n: resp(200, 'up')))
        vhosts = [{'name': 'v.1', 'domains': ['*'], 'virtual_clusters': Y(vcs), 'routes': [{'match': {'prefix': '/'}, 'route': Y(route), **(Y(r) or {})}], **(Y(vh) or {})}]
        await t.start(simple(t, vhosts=vhosts, log='%VIRTUAL_CLUSTER_NAME% %RESPONSE_CODE% %ROUTE_NAME%', **kw))
        t.see('r', [(await t.req(**k)).status for k in reqs])
        t.see('stats', {k: v for k, v in (await t.stats(regex=regex)).items() if 'upstream_rq_time' not in k})
        t.see('log', await t.logs())


virtual('by_method_and_path', [H(path='/v/1'), H(path='/w/1'), H(path='/v/2', method='POST'), H(path='/v/3', method='DELETE'), H(path='/v/3?x', method='DELETE')])
virtual('of_errors', [H(), H(method='POST')], respond=lambda m, n: resp(503 if m.method == 'GET' else 404, 'x'))
virtual('of_retries', [H(path='/v'), H(method='POST')], '{cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.002s}}}', respond=lambda m, n: resp(503 if m.method == 'POST' or n < 2 else 200, 'x'))
virtual('of_timeouts', [H(path='/v', timeout=3)], '{cluster: c1, timeout: 0.1s}', respond=lambda m, n: asyncio.sleep(1, resp(200, 'x')))
virtual('of_per_try_timeouts', [H(path='/v', timeout=3)], '{cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s, retry_back_off: {base_interval: 0.002s}}}', respond=lambda m, n: asyncio.sleep(1, resp(200, 'x')))
virtual('of_resets', [H(path='/v')], respond=lambda m, n: None)
virtual('of_refused_retries', [H(path='/v')], '{cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 1}}', respond=lambda m, n: resp(503, 'x'), copts='{circuit_breakers: {thresholds: [{max_retries: 0}]}}')
virtual('and_stats_of_a_route', [H(path='/v'), H(path='/w')], r='{stat_prefix: "pre.fix", name: named}')
virtual('of_direct_answers', [H(path='/v')], r='{direct_response: {status: 200}, route: null, stat_prefix: pre}')
virtual('of_an_unknown_cluster', [H(path='/v')], '{cluster: nobody}', route_config='{validate_clusters: false}')
virtual('of_two_that_match', [H(path='/v/1')], vcs='[{name: a, headers: [{name: ":path", string_match: {prefix: /}}]}, {name: b, headers: [{name: ":path", string_match: {prefix: /v}}]}]')
virtual('of_an_inverted_header', [H(path='/v/1'), H(('x-a', 'b'))], vcs='[{name: a, headers: [{name: x-a, present_match: true, invert_match: true}]}]')
virtual('after_a_rewrite', [H(path='/a/1')], '{cluster: c1, prefix_rewrite: /v/}', r='{match: {prefix: /a/}}')
virtual('without_any', [H(path='/a/1')], vcs='[]', r='{stat_prefix: pre}', regex='^vhost')
virtual('of_a_canary', [H(path='/v/1')], respond=lambda m, n: resp(200, 'x', [('x-envoy-upstream-canary', 'true')]), r='{stat_prefix: pre}')
virtual('from_inside', [H(path='/v/1'), H(('x-envoy-internal', 'true'), path='/v/1')], r='{stat_prefix: pre}', opts='{internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}')
virtual('refused', [H()], vcs='[{name: a, headers: [{name: x-a}]}]')
