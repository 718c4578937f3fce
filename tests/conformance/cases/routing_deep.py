"""Matcher trees in virtual hosts, and clusters that plug-ins name."""
from harness import *
from harness.tables import H

T = 'type.googleapis.com/'
HTTP, NET = T + 'envoy.type.matcher.v3.', T + 'envoy.extensions.matching.common_inputs.network.v3.'
ENV = T + 'envoy.extensions.matching.common_inputs.environment_variable.v3.Config'
CHECKS = T + 'envoy.extensions.matching.input_matchers.'
SPECIFIER = T + 'envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier'


def ext(type_url, **fields):
    return {'name': 'x', 'typed_config': {'@type': type_url, **fields}}


def header(name='x-a'):
    return ext(HTTP + 'HttpRequestHeaderMatchInput', header_name=name)


def said(body, match='{prefix: /}', **kw):
    """A route that answers with a word of its own."""
    return {'match': Y(match), 'direct_response': {'status': 200, 'body': {'inline_string': body}}, **kw}


def one(body, match='{prefix: /}', **kw):
    return {'action': ext(T + 'envoy.config.route.v3.Route', **said(body, match, **kw))}


def several(*routes):
    return {'action': ext(T + 'envoy.config.route.v3.RouteList', routes=list(routes))}


def nested(tree):
    return {'matcher': tree}


def is_(input, **value):
    return {'single_predicate': {'input': input, 'value_match': value}}


def checks(input, kind, **fields):
    return {'single_predicate': {'input': input, 'custom_match': ext(CHECKS + kind, **fields)}}


def first(*rows, no=None):
    return {'matcher_list': {'matchers': [{'predicate': p, 'on_match': then} for p, then in rows]}, **({'on_no_match': no} if no else {})}


def by(input, kind, rows, no=None):
    tree = ext(T + 'xds.type.matcher.v3.' + kind, **rows) if kind.endswith('Matcher') else {'map': rows}
    return {'matcher_tree': {'input': input, ('custom_match' if kind.endswith('Matcher') else kind): tree}, **({'on_no_match': no} if no else {})}


LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% %VIRTUAL_CLUSTER_NAME%'


def matched(name, tree, reqs, filters=(), extra=None, vh=None, net=(), **kw):
    """What each request is answered when the virtual host has this matcher."""
    @case('matcher_' + name)
    async def _(t):
        manager = hcm(t, vhosts=[{'name': 'v', 'domains': ['*'], 'matcher': tree, **(Y(vh) or {})}], filters=filters, log=LOG, **kw)
        await t.start(config(t, [listener(t, [*net, manager])], [], extra))
        t.see('said', [[r.status, body_repr(r.body)] for k in reqs for r in [await t.req(**k)]])
        t.see('log', await t.logs())


VALUES = [H(), H(('x-a', 'a')), H(('x-a', 'ab')), H(('x-a', 'abc')), H(('x-a', 'b')), H(('x-a', ''))]
matched('exact_map', by(header(), 'exact_match_map', {'a': one('A'), 'ab': one('AB')}), VALUES)
matched('exact_map_no_match', by(header(), 'exact_match_map', {'a': one('A')}, no=one('none')), VALUES)
matched('prefix_map', by(header(), 'prefix_match_map', {'a': one('A'), 'ab': one('AB'), 'b': one('B')}, no=one('none')), VALUES)
matched('prefix_map_empty_key', by(header(), 'prefix_match_map', {'': one('any'), 'ab': one('AB')}), VALUES)
matched('prefix_map_of_paths', by(header(':path'), 'prefix_match_map', {'/a': one('A'), '/a/b': one('AB'), '/': one('root')}), [H(path=p) for p in ('/', '/a', '/a/b', '/a/bc?x=/a', '/ab', '/b?a')])
matched('exact_map_of_paths_with_queries', by(header(':path'), 'exact_match_map', {'/a': one('A'), '/a?b': one('AB')}), [H(path=p) for p in ('/a', '/a?b', '/a?c')])
matched('host_and_method', first((is_(header(':authority'), exact='a.example'), one('host')), (is_(header('host'), exact='b.example'), one('host header')), (is_(header(':method'), exact='POST'), one('post'))), [H(host='a.example'), H(host='b.example'), H(method='POST'), H()])
matched('list_first_wins', first((is_(header(), prefix='a'), one('prefix')), (is_(header(), exact='ab'), one('exact')), no=one('none')), VALUES)
matched('string_kinds', first((is_(header(), exact='A', ignore_case=True), one('exact')), (is_(header(), suffix='c'), one('suffix')), (is_(header(), contains='b'), one('contains')), (is_(header(), safe_regex={'google_re2': {}, 'regex': '[x-z]+'}), one('regex'))), VALUES + [H(('x-a', 'xyz')), H(('x-a', 'wxyz'))])
matched('and_or_not', first(({'and_matcher': {'predicate': [is_(header(), prefix='a'), is_(header('x-b'), exact='1')]}}, one('and')), ({'or_matcher': {'predicate': [is_(header(), exact='ab'), is_(header('x-b'), exact='2')]}}, one('or')), ({'not_matcher': is_(header(), exact='b')}, one('not'))), VALUES + [H(('x-a', 'a'), ('x-b', '1')), H(('x-b', '2'))])
matched('nested_falls_through', first((is_(header(), prefix='a'), nested(by(header('x-b'), 'exact_match_map', {'1': one('a1')}))), (is_(header(), exact='ab'), one('ab')), no=one('none')), VALUES + [H(('x-a', 'ab'), ('x-b', '1'))])
matched('nested_with_its_own_default', first((is_(header(), prefix='a'), nested(by(header('x-b'), 'exact_match_map', {'1': one('a1')}, no=one('inner'))), ), (is_(header(), exact='ab'), one('ab')), no=one('outer')), VALUES + [H(('x-a', 'ab'), ('x-b', '1'))])
matched('nested_in_maps', by(header(), 'exact_match_map', {'a': nested(by(header('x-b'), 'prefix_match_map', {'1': one('a1')}))}, no=one('outer')), VALUES + [H(('x-a', 'a'), ('x-b', '12'))])
matched('nested_in_prefix_maps', by(header(), 'prefix_match_map', {'a': one('A'), 'ab': nested(by(header('x-b'), 'exact_match_map', {'1': one('ab1')}))}, no=one('outer')), VALUES + [H(('x-a', 'abc'), ('x-b', '1'))])
matched('values_are_joined', by(header(), 'exact_match_map', {'1,2': one('joined'), '1': one('first'), '2': one('last')}), [H(('x-a', '1'), ('x-a', '2')), H(('x-a', '1,2')), H(('x-a', '1'))])
matched('route_that_does_not_match', by(header(), 'exact_match_map', {'a': one('A', '{prefix: /a}')}, no=one('none')), [H(('x-a', 'a'), path='/a/b'), H(('x-a', 'a'), path='/b'), H(path='/b')])
matched('list_of_routes', by(header(), 'exact_match_map', {'a': several(said('long', '{prefix: /a/b}', name='one'), said('short', '{prefix: /a}'), said('never', '{path: /a}'))}, no=several(said('other', '{prefix: /o}'))), [H(('x-a', 'a'), path=p) for p in ('/a', '/a/b', '/b')] + [H(path='/o'), H(path='/a')])
matched('empty_list', by(header(), 'exact_match_map', {'a': several()}, no=one('none')), [H(('x-a', 'a')), H()])
matched('without_anything', {}, [H()])
matched('only_a_default', {'on_no_match': one('default')}, [H(), H(path='/x')])
matched('none_finds_404', by(header(), 'exact_match_map', {'a': one('A')}), [H(), H(('x-a', 'a'))], vh='{require_tls: NONE}')
matched('require_tls_comes_first', by(header(), 'exact_match_map', {'a': one('A')}), [H(), H(('x-a', 'a'))], vh='{require_tls: ALL}')
matched('names', by(header(':authority'), 'ServerNameMatcher', {'domain_matchers': [{'domains': ['a.example', '*.b.example'], 'on_match': one('ab')}, {'domains': ['*.example'], 'on_match': one('wild')}, {'domains': ['*'], 'on_match': one('any')}]}), [H(host=h) for h in ('a.example', 'x.b.example', 'b.example', 'A.Example', 'a.example:80', 'q')])
matched('addresses_of_a_header', by(header(), 'IPMatcher', {'range_matchers': [{'ranges': [{'address_prefix': '10.0.0.0', 'prefix_len': 8}], 'on_match': one('ten')}, {'ranges': [{'address_prefix': '10.1.0.0', 'prefix_len': 16}], 'on_match': one('ten one')}]}, no=one('none')), [H(('x-a', v)) for v in ('10.2.3.4', '10.1.2.3', '11.0.0.0', 'x', '::1')])
matched('custom_addresses', first((checks(header(), 'ip.v3.Ip', cidr_ranges=[{'address_prefix': '10.0.0.0', 'prefix_len': 8}, {'address_prefix': '::1', 'prefix_len': 128}], stat_prefix='p'), one('in')), no=one('out')), [H()] + [H(('x-a', v)) for v in ('10.2.3.4', '11.0.0.0', 'x', '::1')])
matched('custom_hash', first((checks(header(), 'consistent_hashing.v3.ConsistentHashing', threshold=3, modulo=7), one('above')), no=one('below')), [H()] + [H(('x-a', 'v%d' % i)) for i in range(24)])
matched('custom_hash_seed', first((checks(header(), 'consistent_hashing.v3.ConsistentHashing', threshold=50, modulo=100, seed=12345), one('above')), no=one('below')), [H(('x-a', 'v%d' % i)) for i in range(24)])
matched('custom_fraction', first((checks(header(), 'runtime_fraction.v3.RuntimeFraction', runtime_fraction=Y('{default_value: {numerator: 50}}')), one('in')), no=one('out')), [H()] + [H(('x-a', 'v%d' % i)) for i in range(24)])
matched('custom_fraction_seed', first((checks(header(), 'runtime_fraction.v3.RuntimeFraction', runtime_fraction=Y('{default_value: {numerator: 3000, denominator: TEN_THOUSAND}, runtime_key: k}'), seed=7), one('in')), no=one('out')), [H()] + [H(('x-a', 'v%d' % i)) for i in range(24)])
matched('filter_state', by(ext(NET + 'FilterStateInput', key='k'), 'exact_match_map', {'v1': one('one'), 'v2': one('two')}, no=one('none')), [H()],
        net=[{'name': 'fs', 'typed_config': {'@type': T + 'envoy.extensions.filters.network.set_filter_state.v3.Config', **Y('{on_new_connection: [{object_key: k, factory_key: envoy.string, format_string: {text_format_source: {inline_string: v1}}}]}')}}])
matched('environment', by(ext(ENV, name='NUNCIO_SURELY_NOT_SET'), 'exact_match_map', {'': one('empty')}, no=one('none')), [H()])
matched('per_filter_and_mutations', by(header(), 'exact_match_map', {'a': one('A', response_headers_to_add=[{'header': {'key': 'x-r', 'value': 'route'}}])}), [H(('x-a', 'a'))], vh='{virtual_clusters: [{name: vc, headers: [{name: ":path", string_match: {prefix: /}}]}], response_headers_to_add: [{header: {key: x-r, value: host}}]}')
matched('regex_route_inside', by(header(), 'exact_match_map', {'a': several(said('digits', '{safe_regex: {regex: "/[0-9]+"}}'), said('sep', '{path_separated_prefix: /a}'), said('ci', '{path: /CI, case_sensitive: false}'))}), [H(('x-a', 'a'), path=p) for p in ('/12', '/12a', '/a/x', '/ax', '/ci')])


matched('names_of_any_case', by(header(':authority'), 'ServerNameMatcher', {'domain_matchers': [{'domains': ['A.Example', '*.B.example'], 'on_match': one('ab')}]}), [H(host=h) for h in ('A.Example', 'a.example', 'x.B.example', 'x.b.example')])


def tls_required(name, filters=(), reqs=({},), vh=None, **kw):
    @case('require_tls_' + name)
    async def _(t):
        await t.start(simple(t, clusters=[], vhosts=[{'name': 'v', 'domains': ['*'], 'require_tls': 'ALL', 'routes': [said('x')], **(Y(vh) or {})}], filters=filters, log=LOG + ' %REQ(x-seen)%', **kw))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**k))
        t.see('stats', await t.stats('http.in.no_route', 'http.in.rq_direct_response', 'http.in.rq_total', 'http.in.downstream_rq_3xx'))
        t.see('log', await t.logs())


tls_required('in_the_log', reqs=[H(path='/a?b=c', host='h:80')])
tls_required('comes_after_filters', filters=[http_filter('rbac', 'rbac.v3.RBAC', '{rules: {action: DENY, policies: {p: {permissions: [{header: {name: x-a, string_match: {exact: "1"}}}], principals: [{any: true}]}}}}')], reqs=[H(), H(('x-a', '1'))])
tls_required('with_header_changes', vh='{response_headers_to_add: [{header: {key: x-r, value: host}}], request_headers_to_add: [{header: {key: x-seen, value: host}}]}', route_config='{response_headers_to_add: [{header: {key: x-t, value: table}}]}')
tls_required('and_filters_of_the_virtual_host', vh='{typed_per_filter_config: {hm: {"@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute, mutations: {response_mutations: [{append: {header: {key: x-vh, value: "1"}}}]}}}}',
             filters=[http_filter('hm', 'header_mutation.v3.HeaderMutation', '{mutations: {response_mutations: [{append: {header: {key: x-chain, value: "1"}}}], request_mutations: [{append: {header: {key: x-seen, value: "yes"}}}]}}')])


def refused(name, *hosts):
    @case('matcher_' + name)
    async def _(t):
        exits = [await t.run_to_end(simple(t, clusters=[], vhosts=[{'name': 'v', 'domains': ['*'], **h}]), args=('--mode', 'validate')) for h in hosts]
        t.see('exit', [code for code, _ in exits])


A = one('A')
refused('inputs_that_routes_may_not_use', {'matcher': {'on_no_match': A}}, *[{'matcher': by(i, 'exact_match_map', {'a': A})} for i in (
    header(), ext(HTTP + 'HttpRequestTrailerMatchInput', header_name='x'), ext(HTTP + 'HttpResponseHeaderMatchInput', header_name='x'), ext(HTTP + 'HttpRequestQueryParamMatchInput', query_param='x'),
    ext(NET + 'SourceIPInput'), ext(NET + 'DynamicMetadataInput', filter='f', path=[{'key': 'k'}]), ext(ENV, name='HOME'))])
refused('and_routes_refused', {'matcher': {'on_no_match': A}}, {'matcher': {'on_no_match': A}, 'routes': [said('x')]}, {'matcher': {}, 'routes': [said('x')]})
refused('actions_that_are_no_routes', {'matcher': {'on_no_match': {'action': ext(T + 'google.protobuf.StringValue', value='x')}}}, {'matcher': {'on_no_match': {**A, 'keep_matching': True}}},
        {'matcher': {'on_no_match': {'action': ext(T + 'envoy.config.route.v3.Route', match={'prefix': '/'})}}}, {'matcher': {'on_no_match': {'action': ext(T + 'envoy.config.route.v3.Route', match={'prefix': '/'}, route={'cluster': 'gone'})}}},
        {'matcher': first((checks(header(), 'consistent_hashing.v3.ConsistentHashing', threshold=3, modulo=2), A))}, {'matcher': by(header(), 'exact_match_map', {})}, {'matcher': by(header(), 'prefix_match_map', {'a': {}})})


# ---- clusters that plug-ins name
def to(cluster):
    return {'action': ext(T + 'envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction', cluster=cluster)}


def plugin(tree, **kw):
    return {'extension': {'name': 'p', 'typed_config': {'@type': SPECIFIER, 'cluster_matcher': tree}}, **kw}


CLUSTERS = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%'


def specified(name, tree, reqs, action=None, filters=(), plugins=None, named=None, respond=None, log=CLUSTERS, vh=None, **kw):
    """Which of two clusters each request reaches where a plug-in chooses."""
    @case('specifier_' + name)
    async def _(t):
        u1, u2 = await t.up('u1', respond or (lambda m, n: resp(200, 'one'))), await t.up('u2', lambda m, n: resp(200, 'two'))
        route = {'cluster_specifier_plugin': named} if named else {'inline_cluster_specifier_plugin': plugin(tree)}
        vhosts = [{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {**route, **(Y(action) or {})}}], **(Y(vh) or {})}]
        await t.start(simple(t, clusters=[cluster('c1', u1), cluster('c2', u2)], vhosts=vhosts, filters=filters, log=log, route_config={'cluster_specifier_plugins': plugins} if plugins else None, **kw))
        t.see('said', [[r.status, body_repr(r.body)] for k in reqs for r in [await t.req(**k)]])
        t.see('log', await t.logs())


CHOICE = [H(('x-a', '1')), H(('x-a', '2')), H(('x-a', '3')), H()]
specified('by_header', by(header(), 'exact_match_map', {'1': to('c1'), '2': to('c2')}), CHOICE)
specified('default', by(header(), 'exact_match_map', {'2': to('c2')}, no=to('c1')), CHOICE)
specified('unknown_cluster', by(header(), 'exact_match_map', {'1': to('gone')}, no=to('c1')), CHOICE[:2])
specified('unknown_cluster_status', by(header(), 'exact_match_map', {'1': to('gone')}), CHOICE[:2], action='{cluster_not_found_response_code: NOT_FOUND}')
specified('response_inputs_find_nothing', first((is_(ext(HTTP + 'HttpResponseStatusCodeMatchInput'), exact='200'), to('c2')), (is_(ext(HTTP + 'HttpResponseHeaderMatchInput', header_name='x'), exact='1'), to('c2')), (is_(header(), exact='1'), to('c1')), no=to('c1')), CHOICE[:2])
specified('response_input_then_default', by(ext(HTTP + 'HttpResponseStatusCodeClassMatchInput'), 'exact_match_map', {'2xx': to('c2')}, no=to('c1')), [H()])
specified('trailers_find_nothing', by(ext(HTTP + 'HttpRequestTrailerMatchInput', header_name='x'), 'exact_match_map', {'1': to('c2')}, no=to('c1')), [H()])
specified('headers_that_filters_set', by(header('x-set'), 'exact_match_map', {'1': to('c2')}, no=to('c1')), [H()], filters=[http_filter('hm', 'header_mutation.v3.HeaderMutation', '{mutations: {request_mutations: [{append: {header: {key: x-set, value: "1"}}}]}}')])
specified('named', None, CHOICE, plugins=[plugin(by(header(), 'exact_match_map', {'1': to('c1')}, no=to('c2')))], named='p')
specified('named_twice_the_last', None, CHOICE[:2], plugins=[plugin(by(header(), 'exact_match_map', {'1': to('c1')}, no=to('c2'))), plugin({'on_no_match': to('c1')})], named='p')
specified('attempt_count_and_headers', by(header(), 'exact_match_map', {'1': to('c1')}, no=to('c2')), CHOICE[:2], action='{prefix_rewrite: /new}', vh='{include_request_attempt_count: true, request_headers_to_add: [{header: {key: x-c, value: "%UPSTREAM_CLUSTER%"}}]}')
# What is said here of addresses, queries, metadata and `keep_matching` is not recorded: the real Envoy crashes on them.
TRIED = first((is_(header('x-envoy-attempt-count'), exact='1'), to('c2')), no=to('c1'))
specified('retry_keeps_its_cluster', TRIED, [H()], action='{retry_policy: {retry_on: 5xx, num_retries: 1}}', respond=lambda m, n: resp(503, 'bad'), vh='{include_request_attempt_count: true}')
specified('retry_asks_again', TRIED, [H()], action='{retry_policy: {retry_on: 5xx, num_retries: 1, refresh_cluster_on_retry: true}}', respond=lambda m, n: resp(503, 'bad'), vh='{include_request_attempt_count: true}')
specified('retry_asks_again_without_counts', TRIED, [H()], action='{retry_policy: {retry_on: 5xx, num_retries: 1, refresh_cluster_on_retry: true}}', respond=lambda m, n: resp(503, 'bad'))


GONE = first((is_(header('x-envoy-attempt-count'), exact='1'), to('gone')), no=to('c1'))
specified('retry_asks_again_and_it_is_gone', GONE, [H()], action='{retry_policy: {retry_on: 5xx, num_retries: 1, refresh_cluster_on_retry: true}}', respond=lambda m, n: resp(503, 'bad'), vh='{include_request_attempt_count: true}')
specified('retry_policy_of_the_virtual_host_asks_again', TRIED, [H()], respond=lambda m, n: resp(503, 'bad'), vh='{include_request_attempt_count: true, retry_policy: {retry_on: 5xx, num_retries: 1, refresh_cluster_on_retry: true}}')
UNKNOWN = {'is_optional': True, 'extension': {'name': 'p', 'typed_config': {'@type': T + 'google.protobuf.StringValue', 'value': 'x'}}}


@case('specifier_optional_and_unknown_leaves_it_to_the_next')
async def _(t):
    routes = [{'match': {'prefix': '/'}, 'route': {'inline_cluster_specifier_plugin': UNKNOWN}}, said('next')]
    await t.start(simple(t, clusters=[], routes=routes))
    t.see('said', (await t.req()).status)


@case('specifier_retry_refreshes_other_specifiers')
async def _(t):
    """A cluster that a header names is asked once."""
    u1, u2 = await t.up('u1', lambda m, n: resp(503, 'one')), await t.up('u2', lambda m, n: resp(200, 'two'))
    await t.start(simple(t, clusters=[cluster('c1', u1), cluster('c2', u2)], routes='[{match: {prefix: /}, route: {cluster_header: x-c, retry_policy: {retry_on: 5xx, num_retries: 1, refresh_cluster_on_retry: true}}}]', log=CLUSTERS))
    t.see('r', (await t.req(headers=[('x-c', 'c1')])).status)
    t.see('log', await t.logs())


@case('specifier_plugins_refused')
async def _(t):
    async def code(action, plugins=()):
        vhosts = [{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': action}]}]
        return (await t.run_to_end(simple(t, clusters=[cluster('c1', t.dead('d'))], vhosts=vhosts, route_config={'cluster_specifier_plugins': list(plugins)}), args=('--mode', 'validate')))[0]
    good, named = plugin({'on_no_match': to('c1')}), {'cluster_specifier_plugin': 'p'}
    unknown = {'extension': {'name': 'p', 'typed_config': {'@type': T + 'google.protobuf.StringValue', 'value': 'x'}}}
    t.see('exit', {
        'inline': await code({'inline_cluster_specifier_plugin': good}), 'named': await code(named, [good]), 'no such name': await code(named), 'twice': await code(named, [good, good]),
        'unknown': await code(named, [unknown]), 'unknown, optional': await code(named, [{**unknown, 'is_optional': True}]), 'unknown, unused': await code({'cluster': 'c1'}, [unknown]),
        'inline unknown': await code({'inline_cluster_specifier_plugin': unknown}), 'inline unknown, optional': await code({'inline_cluster_specifier_plugin': {**unknown, 'is_optional': True}}),
        'no cluster': await code({'inline_cluster_specifier_plugin': plugin({'on_no_match': to('')})}), 'an empty matcher': await code({'inline_cluster_specifier_plugin': plugin({})}),
        'another action': await code({'inline_cluster_specifier_plugin': plugin({'on_no_match': one('x')})}), 'and a cluster': await code({'cluster': 'c1', 'inline_cluster_specifier_plugin': good})})


@case('specifier_optional_and_unknown')
async def _(t):
    """Requests of a route whose plug-in nobody knows."""
    routes = [{'match': {'prefix': '/named'}, 'route': {'cluster_specifier_plugin': 'p'}}, {'match': {'prefix': '/'}, 'route': {'inline_cluster_specifier_plugin': UNKNOWN}}]
    await t.start(simple(t, clusters=[], routes=routes, route_config={'cluster_specifier_plugins': [UNKNOWN]}, log=CLUSTERS))
    t.see('said', [(await t.req(p)).status for p in ('/named', '/x')])
    t.see('log', await t.logs())
