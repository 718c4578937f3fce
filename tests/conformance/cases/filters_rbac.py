"""rbac: matcher trees, counters of single policies, and what metadata says."""
import json

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.rbac)% %DYNAMIC_METADATA(envoy.common)%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
RB = lambda c: http_filter('envoy.filters.http.rbac', 'rbac.v3.RBAC', c)
T = 'type.googleapis.com/'
POL = lambda action, name='pol', perms='[{header: {name: x-a, present_match: true}}]', kind='rules': '%s: {action: %s, policies: {%s: {permissions: %s, principals: [{any: true}]}}}' % (kind, action, name, perms)
ACT = lambda name, action: {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.config.rbac.v3.Action', 'name': name, 'action': action}}}
HEADER = lambda n='x-a': {'name': 'h', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpRequestHeaderMatchInput', 'header_name': n}}
NET = lambda kind, **k: {'name': 'net', 'typed_config': {'@type': T + 'envoy.extensions.matching.common_inputs.network.v3.' + kind, **k}}
IS = lambda inp, value, kind='exact': {'single_predicate': {'input': inp, 'value_match': {kind: value}}}
LIST = lambda *ms, no=None: {'matcher_list': {'matchers': [{'predicate': p, 'on_match': then} for p, then in ms]}, **({'on_no_match': no} if no else {})}


def ruled(name, cfg, reqs, regex=r'\.rbac\.', filters=(), routes=None, nets=(), **kw):
    @case('rbac_' + name)
    async def _(t):
        await t.up('u1')
        await t.start(config(t, [listener(t, [*nets, hcm(t, filters=[*filters, RB(cfg)], log=LOG, routes=routes, **kw)])], [cluster('c1', t.ups)]))
        for i, k in enumerate(reqs):
            m = await t.req(**k)
            t.see('%d' % i, [m.status, m.body.decode()])
        t.see('stats', await t.stats(regex=regex))
        t.see('log', await t.logs())


A, B = H(('x-a', '1')), H(('x-b', '1'))
NO, YES = ACT('bad', 'DENY'), ACT('good', 'ALLOW')
TREE = LIST((IS(HEADER(), '1'), YES), no=NO)
ruled('matcher_no_match_denies', {'matcher': LIST((IS(HEADER(), '1'), YES))}, [A, H()])
ruled('matcher_of_actions', {'matcher': LIST((IS(HEADER(), '1'), YES), (IS(HEADER('x-b'), '1'), NO), (IS(HEADER('x-c'), '1'), ACT('log', 'LOG')))}, [A, B, H(('x-c', '1')), H()])
ruled('matcher_empty', {'matcher': {}}, [H()])
ruled('matcher_and_rules', '{matcher: %s, %s}' % (json.dumps(TREE), POL('DENY')), [A, H()])
ruled('matcher_shadow', {'shadow_matcher': TREE}, [A, H()])
ruled('matcher_shadow_prefix', {'shadow_matcher': TREE, 'matcher': LIST((IS(HEADER(), '1'), YES), no=YES), 'shadow_rules_stat_prefix': 's_', 'rules_stat_prefix': 'r_'}, [A, H()])
ruled('matcher_prefix_map', {'matcher': {'matcher_tree': {'input': HEADER(':path'), 'prefix_match_map': {'map': {'/a': YES, '/a/no': NO}}}, 'on_no_match': NO}}, [H(path='/a/x'), H(path='/a/no/x'), H(path='/b')])
ruled('matcher_exact_map', {'matcher': {'matcher_tree': {'input': HEADER(':method'), 'exact_match_map': {'map': {'GET': YES}}}}}, [H(), H(method='POST')])
ruled('matcher_header_of_several_values', {'matcher': TREE}, [H(('x-a', '1'), ('x-a', '2')), H(('x-a', '1,2')), H(('x-a', '1'), ('x-a', '1'))])
ruled('matcher_several_values_joined', {'matcher': LIST((IS(HEADER(), '1,2'), YES))}, [H(('x-a', '1'), ('x-a', '2')), H(('x-a', '1, 2'))])
ruled('matcher_source_ip', {'matcher': LIST((IS(NET('SourceIPInput'), '127.0.0.9'), YES), no=NO)}, [H(src='127.0.0.9'), H()])
ruled('matcher_direct_source_ip', {'matcher': LIST((IS(NET('DirectSourceIPInput'), '127.0.0.9'), YES), no=NO)}, [H(src='127.0.0.9'), H(), H(('x-forwarded-for', '127.0.0.9'))], opts='{use_remote_address: true, xff_num_trusted_hops: 1}')
ruled('matcher_source_ip_by_xff', {'matcher': LIST((IS(NET('SourceIPInput'), '127.0.0.9'), YES), no=NO)}, [H(), H(('x-forwarded-for', '127.0.0.9'))])
ruled('matcher_destination', {'matcher': LIST((IS(NET('DestinationIPInput'), '127.0.0.1'), YES), no=NO)}, [H()])
ruled('matcher_ip_ranges', {'matcher': {'matcher_tree': {'input': NET('SourceIPInput'), 'custom_match': {'name': 'ip', 'typed_config': {'@type': T + 'xds.type.matcher.v3.IPMatcher', 'range_matchers': [{'ranges': [{'address_prefix': '127.0.0.8', 'prefix_len': 29}], 'on_match': YES}]}}}, 'on_no_match': NO}}, [H(src='127.0.0.9'), H()])
ruled('matcher_and_or_not', {'matcher': LIST(({'and_matcher': {'predicate': [IS(HEADER(), '1'), {'not_matcher': IS(HEADER('x-b'), '1')}]}}, YES), ({'or_matcher': {'predicate': [IS(HEADER('x-c'), 'x', 'prefix'), IS(HEADER('x-d'), 'yy', 'contains')]}}, YES), no=NO)},
      [A, H(('x-a', '1'), ('x-b', '1')), H(('x-c', 'xy')), H(('x-d', 'ayyb')), H()])
ruled('matcher_nested', {'matcher': LIST((IS(HEADER(), '1'), {'matcher': LIST((IS(HEADER('x-b'), '1'), YES))}), no=NO)}, [H(('x-a', '1'), ('x-b', '1')), A, H()])
ruled('matcher_of_the_route', {'matcher': TREE}, [H(path='/own'), A], routes=[{'match': {'path': '/own'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'envoy.filters.http.rbac': {'@type': ftype('rbac.v3.RBACPerRoute'), 'rbac': {'matcher': LIST((IS(HEADER(), '1'), NO), no=YES)}}}}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}])
RULES = lambda more='': '{track_per_rule_stats: true, %s%s}' % (more, POL('DENY'))
ruled('rules_counted', RULES(), [H(), A])
ruled('rules_counted_prefix', RULES('rules_stat_prefix: rp, '), [H(), A])
ruled('rules_counted_prefix_dot', RULES('rules_stat_prefix: rp., '), [H(), A])
ruled('rules_counted_allow', '{track_per_rule_stats: true, %s}' % POL('ALLOW'), [H(), A])
ruled('rules_counted_log', '{track_per_rule_stats: true, %s}' % POL('LOG'), [H(), A])
ruled('rules_counted_shadow', '{track_per_rule_stats: true, shadow_rules_stat_prefix: sp_, %s, %s}' % (POL('ALLOW', 'one'), POL('DENY', 'two', kind='shadow_rules')), [H(), A])
ruled('rules_counted_matcher', {'track_per_rule_stats': True, 'matcher': TREE, 'shadow_matcher': LIST((IS(HEADER(), '1'), NO))}, [H(), A])
ruled('rules_counted_of_the_route', '{track_per_rule_stats: true, rules_stat_prefix: rp_, %s}' % POL('DENY'), [A, H(('x-a', '1'), path='/own'), H(('x-a', '1'), path='/own2')],
      routes=[{'match': {'path': '/own'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'envoy.filters.http.rbac': {'@type': ftype('rbac.v3.RBACPerRoute'), 'rbac': Y('{track_per_rule_stats: true, rules_stat_prefix: own_, %s}' % POL('DENY', 'mine'))}}},
              {'match': {'path': '/own2'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'envoy.filters.http.rbac': {'@type': ftype('rbac.v3.RBACPerRoute'), 'rbac': Y('{%s}' % POL('DENY', 'mine'))}}}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}])


@case()
async def rbac_network_filter_matcher(t):
    await t.up('u1')
    nf = {'name': 'r', 'typed_config': {'@type': T + 'envoy.extensions.filters.network.rbac.v3.RBAC', 'stat_prefix': 'nr', 'matcher': LIST((IS(NET('SourceIPInput'), '127.0.0.9'), NO), no=YES), 'shadow_matcher': LIST((IS(NET('SourceIPInput'), '127.0.0.8'), YES)), 'shadow_rules_stat_prefix': 'sh'}}
    l = listener(t, [nf, hcm(t)], extra={'access_log': [filelog(t, '%CONNECTION_TERMINATION_DETAILS%')]})
    await t.start(config(t, [l], [cluster('c1', t.ups)]))
    for src in ('127.0.0.1', '127.0.0.8', '127.0.0.9'):
        t.see(src, (await t.req('/', src=src)).status)
    t.see('stats', await t.stats(regex=r'rbac\.'))
    t.see('log', await t.logs())


@case()
async def rbac_matcher_verdicts(t):
    await t.up('u1')
    for i, c in enumerate([{'matcher': TREE}, {'matcher': LIST((IS({'name': 'x', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpResponseHeaderMatchInput', 'header_name': 'x'}}, '1'), YES))},
                           {'matcher': LIST((IS(HEADER(), '1'), {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.config.core.v3.Node'}}}))}, {'matcher': LIST((IS(HEADER(), '1'), ACT('', 'ALLOW')))}, {'matcher': LIST((IS(NET('ApplicationProtocolInput'), '1'), YES))},
                           {'matcher': LIST((IS(NET('TransportProtocolInput'), '1'), YES))}, {'matcher': LIST((IS(NET('ServerNameInput'), '1'), YES))}, {'matcher': LIST((IS(NET('DestinationPortInput'), '1'), YES))}, {'matcher': LIST((IS(NET('SourceTypeInput'), 'local'), YES))}, {'matcher': LIST((IS(NET('SourcePortInput'), '1'), YES))}, {'matcher': LIST((IS(NET('FilterStateInput', key='k'), '1'), YES))}, 
                           *[{'matcher': LIST((IS({'name': 'ssl', 'typed_config': {'@type': T + 'envoy.extensions.matching.common_inputs.ssl.v3.%sInput' % k}}, '1'), YES))} for k in ('Subject', 'UriSan', 'DnsSan')], {'matcher': LIST((IS({'name': 'q', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpRequestQueryParamMatchInput', 'query_param': 'a'}}, '1'), YES))}]):
        code, _ = await t.run_to_end(simple(t, filters=[RB(c)]), args=('--mode', 'validate'))
        t.see('%d' % i, 'refused' if code else 'taken')
