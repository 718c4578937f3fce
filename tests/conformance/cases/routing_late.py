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
