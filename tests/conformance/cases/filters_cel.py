"""Expressions (CEL) that come as messages: conditions of rbac policies, and CelMatcher in matcher trees."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.rbac)% %DYNAMIC_METADATA(envoy.common)%'
T = 'type.googleapis.com/'
H = lambda *hs, **k: dict(headers=list(hs), **k)


def const(value):
    """A literal's message."""
    kind = {bool: 'bool_value', int: 'int64_value', float: 'double_value', str: 'string_value'}.get(type(value))
    return {'const_expr': {kind: value} if kind else {'null_value': 'NULL_VALUE'}}


def name(dotted):
    """`a.b.c`, as an identifier and fields."""
    first, *fields = dotted.split('.')
    e = {'ident_expr': {'name': first}}
    for f in fields:
        e = {'select_expr': {'operand': e, 'field': f}}
    return e


def expr(x):
    return x if isinstance(x, dict) else const(x)


def call(function, *args, of=None):
    c = {'function': function, 'args': [expr(a) for a in args]}
    return {'call_expr': {**({'target': expr(of)} if of is not None else {}), **c}}


EQ = lambda a, b: call('_==_', a, b)
AND = lambda *a: call('_&&_', *a)
OR = lambda *a: call('_||_', *a)
NOT = lambda a: call('!_', a)
INDEX = lambda a, b: call('_[_]', a, b)
HAS = lambda e: {'select_expr': {**e['select_expr'], 'test_only': True}}
LISTED = lambda *a: {'list_expr': {'elements': [expr(x) for x in a]}}
MAP = lambda *kv: {'struct_expr': {'entries': [{'id': i + 1, 'map_key': expr(k), 'value': expr(v)} for i, (k, v) in enumerate(kv)]}}
HEADER = lambda n: INDEX(name('request.headers'), n)
PATH = name('request.path')


def rules(condition, action='ALLOW', field='condition', **more):
    return {'action': action, 'policies': {'pol': {'permissions': [{'any': True}], 'principals': [{'any': True}], field: condition, **more}}}


def rbac(cfg):
    return http_filter('envoy.filters.http.rbac', 'rbac.v3.RBAC', cfg)


def ruled(case_name, cfg, reqs, filters=(), routes=None, **kw):
    @case('cel_rbac_' + case_name)
    async def _(t):
        await t.up('u1')
        await t.start(config(t, [listener(t, [hcm(t, filters=[*filters, rbac(cfg)], log=LOG, routes=routes, **kw)])], [cluster('c1', t.ups)]))
        for i, k in enumerate(reqs):
            m = await t.req(**k)
            t.see('%d' % i, [m.status, m.body.decode()])
        t.see('stats', await t.stats(regex=r'\.rbac\.'))
        t.see('log', await t.logs())


def each(case_name, conditions, reqs, action='ALLOW', filters=(), **kw):
    """One route for each condition, with rules of its own; what each says of each request."""
    @case('cel_rbac_' + case_name)
    async def _(t):
        await t.up('u1')
        routes = [{'match': {'prefix': '/%d/' % i}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'envoy.filters.http.rbac': {'@type': ftype('rbac.v3.RBACPerRoute'), 'rbac': {'rules': rules(c, action, **kw)}}}} for i, c in enumerate(conditions)]
        await t.start(simple(t, filters=[*filters, rbac({})], routes=routes))
        for i, _c in enumerate(conditions):
            t.see('%d' % i, [(await t.req(**{**k, 'path': '/%d/%s' % (i, k.get('path', ''))})).status for k in reqs])


START = call('startsWith', '/ok', of=PATH)
A = H(('x-a', '1'))
ruled('allows', {'rules': rules(START)}, [H(path='/ok'), H(path='/no')])
ruled('denies', {'rules': rules(START, 'DENY')}, [H(path='/ok'), H(path='/no')])
ruled('logs', {'rules': rules(START, 'LOG')}, [H(path='/ok'), H(path='/no')])
ruled('checked_empty', {'rules': rules({}, field='checked_condition')}, [H()])
ruled('in_shadow', {'shadow_rules': rules(START)}, [H(path='/ok'), H(path='/no')])
ruled('that_fails', {'rules': rules(EQ(HEADER('x-a'), '1'))}, [A, H(), H(('x-a', '2'))])
ruled('that_fails_denies', {'rules': rules(EQ(HEADER('x-a'), '1'), 'DENY')}, [A, H(), H(('x-a', '2'))])
ruled('checked', {'rules': rules({'expr': START}, field='checked_condition')}, [H(path='/ok'), H(path='/no')])
ruled('both', {'rules': rules(START, checked_condition={'expr': EQ(PATH, '/')})}, [H(path='/ok'), H(path='/'), H(path='/no')])
ruled('with_principals', {'rules': {'policies': {'pol': {'permissions': [{'header': {'name': 'x-p', 'present_match': True}}], 'principals': [{'not_id': {'header': {'name': 'x-q', 'present_match': True}}}], 'condition': START}}}},
      [H(path='/ok'), H(('x-p', '1'), path='/ok'), H(('x-p', '1'), ('x-q', '1'), path='/ok'), H(('x-p', '1'), path='/no')])
ruled('first_of_several', {'rules': {'policies': {n: {'permissions': [{'any': True}], 'principals': [{'any': True}], 'condition': c} for n, c in (('b', EQ(HEADER('x-a'), '1')), ('a', START), ('c', const(True)))}}}, [A, H(path='/ok'), H(('x-a', '1'), path='/ok'), H()])
each('of_no_bool', [const(True), const(False), const(1), const('true'), const(None), name('request'), name('nosuch'), name('request.nosuch'), LISTED(), MAP(('a', 1)), PATH], [{}])
each('logic', [AND(True, EQ(HEADER('x-a'), '1')), OR(EQ(HEADER('x-b'), '1'), EQ(HEADER('x-a'), '1')), NOT(EQ(HEADER('x-a'), '1')), NOT(NOT(HAS(name('request.headers.x')))), AND(EQ(HEADER('x-a'), '1'), EQ(HEADER('x-b'), '1')),
               call('_?_:_', HAS(INDEX_ := {'select_expr': {'operand': name('request.headers'), 'field': 'x-a'}}), EQ(INDEX_, '1'), const(True)), call('_!=_', HEADER('x-a'), '1'), call('@in', 'x-a', name('request.headers')), call('@in', HEADER('x-a'), LISTED('1', '2'))], [A, H(), H(('x-b', '1')), H(('x-a', '1'), ('x-b', '1')), H(('x', ''))])
each('functions', [call('matches', '^/[0-9]+/p', of=PATH), call('contains', '/p', of=PATH), call('endsWith', 'p', of=PATH), call('contains', PATH, '/p'), call('_>_', call('size', PATH), 4), call('_>_', call('size', of=PATH), 4), EQ(call('int', HEADER('x-a')), 1), EQ(call('_+_', 1, 2), 3), EQ(call('-_', 1), -1),
                   EQ(call('type', PATH), name('string')), EQ(INDEX(MAP(('a', 1), ('b', 2)), 'b'), 2), EQ(INDEX(LISTED(1, 2), 1), 2), call('_<_', name('request.time'), call('timestamp', '2100-01-01T00:00:00Z')), EQ(call('duration', '60s'), call('duration', '1m'))], [dict(path='p', headers=[('x-a', '1')]), dict(path='q')])
each('constants', [EQ({'const_expr': {'uint64_value': 5}}, call('uint', 5)), EQ({'const_expr': {'bytes_value': 'YWI='}}, call('bytes', 'ab')), EQ({'const_expr': {'duration_value': '60s'}}, call('duration', '1m')), EQ({'const_expr': {'timestamp_value': '2020-01-01T00:00:00Z'}}, call('timestamp', '2020-01-01T00:00:00Z')), EQ(1.5, call('double', '1.5')), EQ(const(None), const(None)), EQ(1, 1.0), EQ(1, {'const_expr': {'uint64_value': 1}})], [{}])
each('attributes', [EQ(name('request.method'), 'POST'), EQ(name('request.host'), 'test.example'), EQ(name('request.scheme'), 'http'), EQ(name('request.protocol'), 'HTTP/1.1'), EQ(name('request.query'), 'a=b'), EQ(name('request.url_path'), '/5/p'), EQ(INDEX(name('request'), 'method'), 'POST'), call('startsWith', '127.0.0.1:', of=name('source.address')), call('_>_', name('destination.port'), 1), EQ(name('connection.mtls'), False),
                    EQ(name('request.useragent'), 'ua'), EQ(name('request.referer'), 'http://r/'), call('_>=_', name('request.size'), 0), EQ(name('xds.route_name'), ''), EQ(name('xds.virtual_host_name'), 'v'), EQ(name('xds.filter_chain_name'), ''), EQ(name('response.code'), 0), HAS(name('response.code')), EQ(name('connection.requested_server_name'), ''), HAS(name('connection.requested_server_name')), call('_>_', name('connection.id'), 0), HAS(name('upstream.address')), HAS(name('request.duration')), EQ(name('xds.listener_direction'), 0)],
     [dict(path='p?a=b', method='POST', headers=[('user-agent', 'ua'), ('referer', 'http://r/')]), {}])
SET_STATE = http_filter('fs', 'set_filter_state.v3.Config', {'on_request_headers': [{'object_key': 'k.v', 'factory_key': 'envoy.string', 'format_string': {'text_format_source': {'inline_string': '%REQ(x-a)%'}}}]})
SET_META = http_filter('md', 'set_metadata.v3.Config', {'metadata': [{'metadata_namespace': 'ns', 'value': {'a': {'b': 'c'}, 'l': [1, 2]}}]})
each('metadata_and_state', [EQ(INDEX(INDEX(INDEX(name('metadata.filter_metadata'), 'ns'), 'a'), 'b'), 'c'), EQ(INDEX(name('filter_state'), 'k.v'), {'const_expr': {'bytes_value': 'MQ=='}}), EQ(INDEX(name('filter_state'), 'k.v'), '1'), call('@in', 'k.v', name('filter_state')), EQ(INDEX(INDEX(INDEX(name('metadata.filter_metadata'), 'ns'), 'l'), 1), 2.0)], [A, H()], filters=[SET_META, SET_STATE])
FEATURES = lambda **k: {'cel_config': k}
each('concat', [EQ(call('_+_', HEADER('x-a'), 'b'), '1b')], [A, H()], cel_config={'enable_string_concat': True})
each('conversion', [EQ(call('string', 1), '1')], [{}], cel_config={'enable_string_conversion': True})
each('string_functions', [EQ(call('lowerAscii', of=HEADER('x-a')), 'ab'), EQ(call('replace', 'B', 'c', of=HEADER('x-a')), 'Ac'), EQ(call('size', call('split', 'B', of=HEADER('x-a'))), 2)], [H(('x-a', 'AB')), H(('x-a', 'x'))], cel_config={'enable_string_functions': True})


@case()
async def cel_rbac_verdicts(t):
    loop = {'comprehension_expr': {'iter_var': 'x', 'iter_range': LISTED(1), 'accu_var': '__result__', 'accu_init': const(True), 'loop_condition': const(True), 'loop_step': name('__result__'), 'result': name('__result__')}}
    deep = lambda n, e=const(True): e if n == 0 else deep(n - 1, NOT(e))
    for label, r in {
        'empty': rules({}), 'constant of no kind': rules({'const_expr': {}}), 'call without function': rules({'call_expr': {}}), 'unknown function': rules(call('nosuch', 1)), 'too few': rules(call('_==_', 1)), 'bad pattern': rules(call('matches', '[', of=PATH)), 'loop': rules(loop), 'map with field': rules({'struct_expr': {'entries': [{'field_key': 'value', 'value': const(1)}]}}), 'string()': rules(EQ(call('string', 1), '1')), 'concat': rules(EQ(call('_+_', 'a', 'b'), 'ab')), 'lowerAscii': rules(EQ(call('lowerAscii', of='A'), 'a')), 'string() on': rules(EQ(call('string', 1), '1'), cel_config={'enable_string_conversion': True}),
        'deep 20': rules(deep(20)), 'deep 90': rules(deep(90)), 'select without operand': rules({'select_expr': {'field': 'a'}}), 'no name': rules({'ident_expr': {}}), 'select without field': rules({'select_expr': {'operand': name('request')}}), 'checked empty': rules({}, field='checked_condition'),
        'cel_config alone': {'policies': {'p': {'permissions': [{'any': True}], 'principals': [{'any': True}], 'cel_config': {'enable_string_concat': True}}}}, 'bad pattern size': rules(call('matches', 'a{1000}', of=PATH)), 'target of operator': rules(call('_==_', 1, of=1)), 'and of one': rules(AND(True)), 'and of three': rules(AND(True, True, True)), 'has of root': rules({'select_expr': {'operand': name('request'), 'field': '', 'test_only': True}}),
        'both': rules(const(True), checked_condition={'expr': const(True)}), 'index of one': rules(call('_[_]', 1)), 'not of two': rules(call('!_', True, True)), 'cond of two': rules(call('_?_:_', True, True)), 'matches of three': rules(call('matches', 'a', 'b', 'c')), 'timezone': rules(EQ(call('getHours', 'UTC', of=name('request.time')), 1)), 'reserved name': rules(name('for')), '_in_': rules(call('_in_', 1, LISTED(1))), 'in': rules(call('in', 1, LISTED(1))),
    }.items():
        code, said = await t.run_to_end(simple(t, clusters=[cluster('c1', t.dead())], filters=[rbac({'rules': r})]), args=('--mode', 'validate'))
        t.see(label, 'refused' if code else 'taken')


MATCHER = lambda e, form='cel_expr_parsed': {'name': 'cel', 'typed_config': {'@type': T + 'xds.type.matcher.v3.CelMatcher', 'expr_match': {form: {'expr': e}}}}
CEL_INPUT = {'name': 'attributes', 'typed_config': {'@type': T + 'xds.type.matcher.v3.HttpAttributesCelMatchInput'}}
ACT = lambda id, action: {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.config.rbac.v3.Action', 'name': id, 'action': action}}}
NO, YES = ACT('bad', 'DENY'), ACT('good', 'ALLOW')
ONE = lambda e, input=CEL_INPUT, **k: {'single_predicate': {'input': input, 'custom_match': MATCHER(e, **k)}}
TREE = lambda *ms, no=NO: {'matcher_list': {'matchers': [{'predicate': p, 'on_match': then} for p, then in ms]}, **({'on_no_match': no} if no else {})}
HEADER_INPUT = {'name': 'h', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpRequestHeaderMatchInput', 'header_name': 'x-a'}}
IS_A = EQ(HEADER('x-a'), '1')
for form in ('cel_expr_parsed', 'cel_expr_checked', 'parsed_expr', 'checked_expr'):
    ruled('matcher_' + form, {'matcher': TREE((ONE(IS_A, form=form), YES))}, [A, H(), H(('x-a', '2'))])
ruled('matcher_no_bool', {'matcher': TREE((ONE(PATH), YES))}, [A])
ruled('matcher_in_not', {'matcher': TREE(({'not_matcher': ONE(IS_A)}, YES))}, [A, H(), H(('x-a', '2'))])
ruled('matcher_in_and_or', {'matcher': TREE(({'and_matcher': {'predicate': [ONE(START), ONE(IS_A)]}}, YES), ({'or_matcher': {'predicate': [ONE(EQ(HEADER('x-b'), '1')), ONE(EQ(HEADER('x-c'), '1'))]}}, ACT('or', 'ALLOW')))}, [H(('x-a', '1'), path='/ok'), A, H(('x-c', '1')), H(('x-b', '1'))])
ruled('matcher_response', {'matcher': TREE((ONE(EQ(name('response.code'), 200)), YES))}, [A])
ruled('matcher_response_not', {'matcher': TREE(({'not_matcher': ONE(EQ(name('response.code'), 200))}, YES))}, [A])
ruled('matcher_response_or', {'matcher': TREE((ONE(OR(EQ(name('response.code'), 200), IS_A)), YES))}, [A, H()])
ruled('matcher_shadow', {'shadow_matcher': TREE((ONE(IS_A), YES), no=None)}, [A, H()])
ruled('matcher_attributes', {'matcher': TREE((ONE(AND(EQ(name('xds.virtual_host_name'), 'v'), call('startsWith', '127.', of=name('source.address')))), YES))}, [A])


@case()
async def cel_matcher_verdicts(t):
    plain = lambda matcher, input=CEL_INPUT: {'single_predicate': {'input': input, 'custom_match': matcher}}
    whole = lambda m: {'name': 'cel', 'typed_config': {'@type': T + 'xds.type.matcher.v3.CelMatcher', **m}}
    for label, m in {
        'no expression': plain(whole({})), 'empty expression': plain(whole({'expr_match': {}})), 'text': plain(whole({'expr_match': {'cel_expr_string': 'true'}})), 'parsed without expr': plain(whole({'expr_match': {'cel_expr_parsed': {}}})), 'empty expr': plain(MATCHER({})), 'legacy empty': plain(MATCHER({}, 'parsed_expr')),
        'described': plain(whole({'expr_match': {'cel_expr_parsed': {'expr': IS_A}}, 'description': 'x'})), 'both': plain(whole({'expr_match': {'cel_expr_parsed': {'expr': IS_A}, 'parsed_expr': {'expr': const(False)}}})), 'parsed and checked': plain(whole({'expr_match': {'cel_expr_parsed': {'expr': IS_A}, 'cel_expr_checked': {'expr': IS_A}}})),
        'header input': plain(MATCHER(IS_A), HEADER_INPUT), 'value of attributes': {'single_predicate': {'input': CEL_INPUT, 'value_match': {'exact': 'x'}}}, 'unknown function': ONE(call('nosuch')), 'loop': ONE({'comprehension_expr': {'iter_var': 'x', 'iter_range': LISTED(1), 'accu_var': '__result__', 'accu_init': const(True), 'loop_condition': const(True), 'loop_step': name('__result__'), 'result': name('__result__')}}),
        'string()': ONE(EQ(call('string', 1), '1')), 'concat': ONE(EQ(call('_+_', 'a', 'b'), 'ab')), 'source info': plain(whole({'expr_match': {'cel_expr_parsed': {'expr': IS_A, 'source_info': {'location': 'here', 'positions': {'1': 2}}}}})), 'types': plain(whole({'expr_match': {'cel_expr_checked': {'expr': IS_A, 'reference_map': {'1': {'name': 'x', 'overload_id': ['over']}}, 'type_map': {'1': {'primitive': 'BOOL'}}, 'expr_version': '1'}}})),
    }.items():
        code, said = await t.run_to_end(simple(t, clusters=[cluster('c1', t.dead())], filters=[rbac({'matcher': TREE((m, YES))})]), args=('--mode', 'validate'))
        t.see(label, 'refused' if code else 'taken')
for label, e in (('first_false', AND(False, EQ(name('response.code'), 200))), ('last_false', AND(EQ(name('response.code'), 200), False)), ('has', HAS(name('response.code'))), ('root', EQ(name('response'), 1)), ('trailers', HAS(name('response.trailers'))), ('absent', EQ(name('upstream.address'), 'x'))):
    ruled('matcher_response_' + label, {'matcher': TREE((ONE(e), YES))}, [H()])


@case()
async def cel_network_rbac(t):
    await t.up('u1')
    conditions = [call('startsWith', '127.0.0.9:', of=name('source.address')), EQ(name('request.path'), '/'), EQ(name('connection.mtls'), False), HAS(name('request.path'))]
    net = lambda i, c: {'name': 'r', 'typed_config': {'@type': T + 'envoy.extensions.filters.network.rbac.v3.RBAC', 'stat_prefix': 'n%d' % i, 'rules': rules(c)}}
    ls = [listener(t, [net(i, c), hcm(t)], name='l%d' % (i + 1)) for i, c in enumerate(conditions)]
    await t.start(config(t, ls, [cluster('c1', t.ups)]))
    for i in range(len(conditions)):
        t.see('%d' % i, [(await t.req('/', src=src, port=getattr(t, 'l%d' % (i + 1)))).status for src in ('127.0.0.1', '127.0.0.9')])
    t.see('stats', await t.stats(regex=r'\.rbac\.'))


@case()
async def cel_custom_response(t):
    await t.up('u1', lambda m, n: resp(int(m['path'][1:4]), 'up'))
    policy = lambda text: {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy', 'body': {'inline_string': text}}}}
    f = http_filter('cr', 'custom_response.v3.CustomResponse', {'custom_response_matcher': TREE((ONE(EQ(name('response.code'), 503)), policy('down')), (ONE(AND(call('_>_', name('response.code'), 400), IS_A)), policy('bad')), no=None)})
    await t.start(simple(t, filters=[f]))
    t.see('said', [(await t.req(path, headers=h)).body.decode() for path in ('/200', '/404', '/503') for h in ([], [('x-a', '1')])])


@case()
async def cel_places(t):
    """Where an expression may stand."""
    tree = lambda then: TREE((ONE(IS_A), then), no=then)
    routed = {'action': {'name': 'r', 'typed_config': {'@type': T + 'envoy.config.route.v3.Route', 'match': {'prefix': '/'}, 'direct_response': {'status': 200}}}}
    chain = {'action': {'name': 'c', 'typed_config': {'@type': T + 'google.protobuf.StringValue', 'value': 'a'}}}
    certificate = {'action': {'name': 'c', 'typed_config': {'@type': T + 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ForwardClientCertConfig', 'forward_client_cert_details': 'SANITIZE'}}}
    own = [cluster('c1', t.dead())]
    chosen = simple(t, clusters=own, lextra={'filter_chain_matcher': tree(chain)})
    chosen['static_resources']['listeners'][0]['filter_chains'][0]['name'] = 'a'
    net = {'name': 'r', 'typed_config': {'@type': T + 'envoy.extensions.filters.network.rbac.v3.RBAC', 'stat_prefix': 'nr', 'matcher': tree(NO)}}
    for label, c in {'virtual host': simple(t, clusters=own, vhosts=[{'name': 'v', 'domains': ['*'], 'matcher': tree(routed)}]), 'filter chain': chosen, 'network rbac': config(t, [listener(t, [net, hcm(t)])], own), 'client certificate': simple(t, clusters=own, opts={'forward_client_cert_matcher': tree(certificate)}), 'http rbac': simple(t, clusters=own, filters=[rbac({'matcher': tree(NO)})])}.items():
        code, said = await t.run_to_end(c, args=('--mode', 'validate'))
        t.see(label, 'refused' if code else 'taken')


@case()
async def cel_matcher_of_two_forms(t):
    """Which expression counts where a matcher has several."""
    await t.up('u1')
    forms = ('cel_expr_checked', 'cel_expr_parsed', 'parsed_expr', 'checked_expr')
    pairs = [(a, b) for a in forms for b in forms if a != b and not {a, b} == {'parsed_expr', 'checked_expr'}]
    both = lambda a, b: TREE(({'single_predicate': {'input': CEL_INPUT, 'custom_match': {'name': 'cel', 'typed_config': {'@type': T + 'xds.type.matcher.v3.CelMatcher', 'expr_match': {a: {'expr': const(True)}, b: {'expr': const(False)}}}}}}, YES))
    routes = [{'match': {'prefix': '/%d' % i}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'envoy.filters.http.rbac': {'@type': ftype('rbac.v3.RBACPerRoute'), 'rbac': {'matcher': both(*p)}}}} for i, p in enumerate(pairs)]
    await t.start(simple(t, filters=[rbac({})], routes=routes))
    t.see('true one is', {' and not '.join(p): (await t.req('/%d' % i)).status for i, p in enumerate(pairs)})
