"""Fields of routes, and of what looks at requests, that few configurations set."""
from harness import *
from harness.tables import H

T = 'type.googleapis.com/'
NET = T + 'envoy.extensions.matching.common_inputs.network.v3.'
LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%'


def said(body, match='{prefix: /}', **kw):
    return {'match': Y(match), 'direct_response': {'status': 200, 'body': {'inline_string': body}}, **kw}


def answered(name, routes=None, reqs=(H(),), stats=None, ups=False, **kw):
    """What each request is answered."""
    @case(name)
    async def _(t):
        if ups:
            await t.up('u1', lambda m, n: resp(200, m.path))
        await t.start(simple(t, routes=routes, log=LOG, **({} if ups else {'clusters': []}), **kw))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**k))
        if stats:
            t.see('stats', await t.stats(*stats))
        t.see('log', await t.logs())


def refused(name, *configs):
    @case(name)
    async def _(t):
        exits = [await t.run_to_end(simple(t, clusters=[], **c), args=('--mode', 'validate')) for c in configs]
        t.see('exit', [code for code, _ in exits])


answered('filter_action', '[{match: {prefix: /f}, filter_action: {}}, {match: {prefix: /g}, filter_action: {action: {"@type": type.googleapis.com/google.protobuf.Empty}}}, {match: {prefix: /}, non_forwarding_action: {}}]',
         [H(path=p) for p in ('/f', '/g', '/n')], stats=['http.in.no_cluster', 'http.in.no_route', 'http.in.rq_total', 'http.in.rq_direct_response'])
answered('path_normalization_options_do_nothing', None, [H(path=p) for p in ('/a/../b', '/a//b', '/a%2Fb')], ups=True,
         opts='{path_normalization_options: {forwarding_transformation: {operations: [{normalize_path_rfc_3986: {}}, {merge_slashes: {}}]}, http_filter_transformation: {operations: [{merge_slashes: {}}]}}}')


# ---- an address in the filter state
def state(key, factory, text):
    return {'name': 'fs', 'typed_config': {'@type': T + 'envoy.extensions.filters.network.set_filter_state.v3.Config', 'on_new_connection': [
        {'object_key': key, **({'factory_key': factory} if factory else {}), 'format_string': {'text_format_source': {'inline_string': text}}, 'shared_with_upstream': 'ONCE'}]}}


def by_address(name, factory, text, key='k', ranges='[{address_prefix: 10.0.0.0, prefix_len: 8}]', invert=False):
    @case('filter_state_address_' + name)
    async def _(t):
        match = {'prefix': '/', 'filter_state': [{'key': key, 'address_match': {'ranges': Y(ranges), **({'invert_match': True} if invert else {})}}]}
        manager = hcm(t, routes=[said('in', match), said('out')], log=LOG)
        cfg = config(t, [listener(t, [state(key, factory, text), manager])], [])
        code, _ = await t.run_to_end(cfg, args=('--mode', 'validate'))
        t.see('validate', code)
        if code == 0:
            await t.start(cfg)
            t.see('r', await t.req())


by_address('of_text', 'envoy.string', '10.1.2.3')
by_address('of_text_inverted', 'envoy.string', '10.1.2.3', invert=True)
by_address('of_text_elsewhere_inverted', 'envoy.string', '11.1.2.3', invert=True)
by_address('of_an_address', 'envoy.network.ip', '10.1.2.3')
by_address('of_an_original_destination', None, '10.1.2.3:80', key='envoy.network.transport_socket.original_dst_address')
by_address('of_an_original_destination_inverted', None, '10.1.2.3:80', key='envoy.network.transport_socket.original_dst_address', invert=True)
by_address('of_an_original_destination_elsewhere_inverted', None, '11.1.2.3:80', key='envoy.network.transport_socket.original_dst_address', invert=True)
by_address('of_an_original_local_address', None, '10.1.2.3:80', key='envoy.filters.listener.original_dst.local_ip')
by_address('of_nothing', 'envoy.string', '', key='k')


# ---- cors where it stood before
OLD = '{allow_origin_string_match: [{exact: http://a.example}], allow_methods: "GET, POST", max_age: "5"%s}'
CORS = [http_filter('envoy.filters.http.cors', 'cors.v3.Cors')]
ASK = [('origin', 'http://a.example'), ('access-control-request-method', 'GET')]


def old_cors(name, route=None, vh=None, per=None, reqs=None, **kw):
    @case('old_cors_' + name)
    async def _(t):
        await t.up('u1', lambda m, n: resp(200, 'up'))
        r = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **({'cors': Y(route)} if route else {})}, **(Y(per) or {})}
        await t.start(simple(t, vhosts=[{'name': 'v', 'domains': ['*'], 'routes': [r], **({'cors': Y(vh)} if vh else {})}], filters=CORS, **kw))
        for i, k in enumerate(reqs or [H(*ASK, method='OPTIONS'), H(('origin', 'http://a.example')), H(('origin', 'http://b.example'))]):
            t.see('r%d' % i, await t.req(**k))


old_cors('of_the_route', OLD % '')
old_cors('of_the_virtual_host', vh=OLD % '')
old_cors('of_both', OLD % ', allow_headers: x-r', OLD % ', allow_headers: x-v, expose_headers: x-e')
old_cors('beside_the_new_one', OLD % '', per='{typed_per_filter_config: {envoy.filters.http.cors: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_origin_string_match: [{exact: http://b.example}]}}}')
old_cors('with_a_switch', OLD % ', filter_enabled: {default_value: {numerator: 0, denominator: HUNDRED}, runtime_key: k}')
old_cors('with_credentials', OLD % ', allow_credentials: true, allow_private_network_access: true', reqs=[H(*ASK, ('access-control-request-private-network', 'true'), method='OPTIONS')])


# ---- tables by scope
def scopes(builder, *each):
    return {'scoped_routes': {'name': 's', 'scope_key_builder': {'fragments': Y(builder)}, 'scoped_route_configurations_list': {'scoped_route_configurations': list(each)}}, 'route_config': None}


def scope(name, *keys, routes=None, **kw):
    return {'name': name, 'key': {'fragments': [{'string_key': k} for k in keys]},
            'route_configuration': {'name': 'r-' + name, 'virtual_hosts': [{'name': 'v-' + name, 'domains': ['*'], 'routes': routes or [said(name)]}]}, **kw}


HV = '[{header_value_extractor: {name: x-s, %s}}]'
REQS = [H(), *[H(('x-s', v)) for v in ('a', 'b', '', 'a,b', 'k=a', 'x;k=b', 'k=', 'k=a=b', ' a', 'b;k=a')], H(('x-s', 'a'), ('x-s', 'b'))]
for name, how in {'whole': 'index: 0', 'first_part': 'element_separator: ",", index: 0', 'second_part': 'element_separator: ",", index: 1', 'element': 'element_separator: ";", element: {key: k, separator: "="}'}.items():
    answered('scopes_by_' + name, None, REQS, opts=scopes(HV % how, scope('A', 'a'), scope('B', 'b')), stats=['http.in.no_route', 'http.in.rq_total', 'http.in.downstream_rq_4xx'])
answered('scopes_by_two_headers', None, [H(('x-s', 'a'), ('x-t', 'b')), H(('x-s', 'b'), ('x-t', 'a')), H(('x-s', 'a'))],
         opts=scopes('[{header_value_extractor: {name: x-s, index: 0}}, {header_value_extractor: {name: x-t, index: 0}}]', scope('AB', 'a', 'b'), scope('A', 'a')))
answered('scopes_and_filters', None, [H(('x-s', 'a')), H(('x-s', 'q'))], opts=scopes(HV % 'index: 0', scope('A', 'a')),
         filters=[http_filter('hm', 'header_mutation.v3.HeaderMutation', '{mutations: {request_mutations: [{append: {header: {key: x-s, value: b}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}], response_mutations: [{append: {header: {key: x-f, value: "1"}}}]}}')])
refused('scopes_refused', {'opts': scopes(HV % 'index: 0', scope('A', 'a'), scope('A', 'b'))}, {'opts': scopes(HV % 'index: 0', scope('A', 'a'), scope('B', 'a'))}, {'opts': scopes(HV % 'index: 0')},
        {'opts': scopes('[]', scope('A', 'a'))}, {'opts': scopes('[{}]', scope('A', 'a'))}, {'opts': scopes(HV % 'index: 1', scope('A', 'a'))}, {'opts': scopes(HV % 'element: {key: a, separator: ""}', scope('A', 'a'))},
        {'opts': scopes(HV % 'element: {key: a, separator: ","}', scope('A', 'a'))}, {'opts': scopes(HV % 'index: 0', {k: v for k, v in scope('A', 'a').items() if k != 'route_configuration'})}, {'opts': scopes(HV % 'index: 0', scope('A', 'a', 'b'))},
        {'opts': scopes(HV % 'index: 0', scope('A', 'a', on_demand=True))}, {'opts': scopes(HV % 'index: 0', {**scope('A', 'a'), 'route_configuration_name': 'x'})})


@case('matcher_custom_addresses_stats')
async def _(t):
    """What cannot be read as an address is counted."""
    check = {'single_predicate': {'input': {'name': 'x', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpRequestHeaderMatchInput', 'header_name': 'x-a'}},
                                  'custom_match': {'name': 'x', 'typed_config': {'@type': T + 'envoy.extensions.matching.input_matchers.ip.v3.Ip', 'cidr_ranges': Y('[{address_prefix: 10.0.0.0, prefix_len: 8}]'), 'stat_prefix': 'pre'}}}}
    tree = {'matcher_list': {'matchers': [{'predicate': check, 'on_match': {'action': {'name': 'x', 'typed_config': {'@type': T + 'envoy.config.route.v3.Route', **said('in')}}}}]}}
    await t.start(simple(t, clusters=[], vhosts=[{'name': 'v', 'domains': ['*'], 'matcher': tree}]))
    for v in ('10.1.1.1', 'x', '', '300.1.1.1'):
        await t.req(headers=[('x-a', v)])
    await t.req()
    t.see('stats', await t.stats(regex='ip_parsing|parsing_failed'))


# ---- twists of what routes do to requests
def sent(name, action, reqs=(H(),), heads=(), match='{prefix: /}', vh=None, respond=None, **kw):
    """The request's head as the upstream gets it: path, host, and these headers."""
    @case('twist_' + name)
    async def _(t):
        u = await t.up('u1', respond or (lambda m, n: resp(200, 'up')))
        vhosts = [{'name': 'v', 'domains': ['*'], 'routes': [{'match': Y(match), 'route': {'cluster': 'c1', **Y(action)}}], **(Y(vh) or {})}]
        await t.start(simple(t, vhosts=vhosts, log=LOG, **kw))
        for i, k in enumerate(reqs):
            r = await t.req(**k)
            t.see('r%d' % i, [r.status, r.h('location'), r.h('x-r')])
        t.see('sent', [[m.path, m.h('host'), *[m.h(h) for h in heads]] for m in u.reqs])


ORIGINALS = ('x-envoy-original-path', 'x-envoy-original-host', 'x-forwarded-host')
sent('regex_and_host_header', '{regex_rewrite: {pattern: {regex: "/(a|b)/"}, substitution: "/\\\\1\\\\1/"}, host_rewrite_header: x-host, append_x_forwarded_host: true}', [H(('x-host', 'h.example'), path='/a/b/c?d=/a/'), H(path='/a/'), H(('x-host', ''), path='/z')], ORIGINALS)
sent('host_from_the_path', '{host_rewrite_path_regex: {pattern: {regex: "^/(.+)/.+$"}, substitution: "\\\\1.example"}}', [H(path='/one/two?x=/y/z'), H(path='/one')], ORIGINALS)
sent('prefix_rewrite_keeps_the_query', '{prefix_rewrite: /b}', [H(path='/a?x=/a'), H(path='/a/'), H(path='/ab')], ORIGINALS, match='{prefix: /a}')
sent('prefix_rewrite_to_the_root', '{prefix_rewrite: /}', [H(path='/a'), H(path='/a/b'), H(path='/a//b')], ORIGINALS, match='{prefix: /a}')
sent('template_with_all_operators', '{path_rewrite_policy: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: "/{rest}/{one}.{two}"}}}', [H(path=p) for p in ('/a/x/y/z/w', '/a/x/y/', '/a/x', '/a/x/y/z?q=1')], ORIGINALS[:1],
     match='{path_match_policy: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/a/{one}/{two=*}/{rest=**}"}}}')
ADD = '[{header: {key: x-m, value: %s}, append_action: %s}]'
LEVELS = {'append': 'APPEND_IF_EXISTS_OR_ADD', 'if_absent': 'ADD_IF_ABSENT', 'overwrite_or_add': 'OVERWRITE_IF_EXISTS_OR_ADD', 'overwrite': 'OVERWRITE_IF_EXISTS'}
for word, how in LEVELS.items():
    for first in (False, True):
        sent('levels_%s%s' % (word, '_most_specific_wins' if first else ''), '{weighted_clusters: {clusters: [{name: c1, weight: 1, request_headers_to_add: %s}]}, cluster: null}' % (ADD % ('weight', how)), [H(), H(('x-m', 'own'))], ['x-m'],
             vh='{request_headers_to_add: %s}' % (ADD % ('host', how)), route_config='{request_headers_to_add: %s, most_specific_header_mutations_wins: %s}' % (ADD % ('table', how), str(first).lower()))
sent('steering_from_outside', '{}', [H(('x-forwarded-for', '8.8.8.8'), ('x-envoy-upstream-rq-timeout-ms', '500'), ('x-envoy-max-retries', '9'), ('x-envoy-retry-on', '5xx'), ('x-envoy-internal', 'true'), ('x-envoy-expected-rq-timeout-ms', '3'), ('x-envoy-decorator-operation', 'o'))], ['x-envoy-upstream-rq-timeout-ms', 'x-envoy-max-retries', 'x-envoy-internal', 'x-envoy-expected-rq-timeout-ms', 'x-envoy-decorator-operation'],
     opts='{use_remote_address: true, xff_num_trusted_hops: 1}')
sent('without_envoy_headers', '{prefix_rewrite: /b, host_rewrite_literal: h}', [H(('x-envoy-upstream-rq-timeout-ms', '500'), path='/a')], [*ORIGINALS, 'x-envoy-expected-rq-timeout-ms', 'x-envoy-upstream-rq-timeout-ms'], match='{prefix: /a}', rt=router(suppress_envoy_headers=True))
sent('expected_time_respected', '{timeout: 9s}', [H(('x-envoy-expected-rq-timeout-ms', '1234')), H(('x-envoy-expected-rq-timeout-ms', 'x')), H(('x-envoy-expected-rq-timeout-ms', '1234'), ('x-envoy-upstream-rq-timeout-ms', '77'))], ['x-envoy-expected-rq-timeout-ms', 'x-envoy-upstream-rq-timeout-ms'], rt=router(respect_expected_rq_timeout=True),
     opts='{internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}')


def to_there(status=302, path='/there', **kw):
    return lambda m, n: resp(status, '', [('location', 'http://test.example' + path)]) if m.path != '/there' else resp(200, 'there')


REDIRECTED = ['x-envoy-original-url', 'x-copied', 'content-length']
sent('redirect_of_a_post_by_303', '{internal_redirect_policy: {redirect_response_codes: [303]}}', [H(method='POST', body='abc', path='/here')], REDIRECTED, respond=to_there(303))
sent('redirect_of_a_post_by_307', '{internal_redirect_policy: {redirect_response_codes: [307]}}', [H(method='POST', body='abc', path='/here')], REDIRECTED, respond=to_there(307))
sent('redirect_with_a_copied_header', '{internal_redirect_policy: {response_headers_to_copy: [x-copied]}}', [H(path='/here'), H(('x-copied', 'old'), path='/here')], REDIRECTED, respond=lambda m, n: resp(302, '', [('location', 'http://test.example/there')] + ([('x-copied', 'new')] if n == 1 else [])) if m.path != '/there' else resp(200, 'there'))
sent('redirect_relative', '{internal_redirect_policy: {}}', [H(path='/here')], REDIRECTED, respond=lambda m, n: resp(302, '', [('location', '/there')]))
sent('redirect_to_another_scheme', '{internal_redirect_policy: {}}', [H(path='/here')], REDIRECTED, respond=lambda m, n: resp(302, '', [('location', 'https://test.example/there')]))
sent('redirect_twice_where_one_is_allowed', '{internal_redirect_policy: {max_internal_redirects: 1}}', [H(path='/1')], REDIRECTED, respond=lambda m, n: resp(302, '', [('location', 'http://test.example/%d' % (n + 1))]))
