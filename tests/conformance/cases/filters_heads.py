"""Filters that see heads alone: header_mutation, local_ratelimit, rbac and their like; and whom local replies pass."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
PF = lambda name, ty, cfg: {'typed_per_filter_config': {name: {'@type': ftype(ty), **Y(cfg)}}}
H = lambda *hs, **k: dict(headers=list(hs), **k)
REST = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}


def at(prefix, *extra):
    route = {'match': {'prefix': prefix}, 'route': {'cluster': 'c1'}}
    for e in extra:
        route.update(e)
    return route


def filt(name, filters, reqs, respond=None, routes=None, vhosts=None, only=None, stats=(), opts=None, log=LOG, up_only=None, extra=None, drop=()):
    @case(name)
    async def _(t):
        u = await t.up('u1', respond)
        await t.start(simple(t, filters=filters, routes=routes, vhosts=vhosts, log=log, opts=opts, extra=extra))
        for i, k in enumerate(reqs):
            n = len(u.reqs)
            r = await t.req(**k)
            t.see('%d' % i, r, only=only, drop=drop)
            t.see('%d up' % i, [t.req_view(m, only=up_only) for m in u.reqs[n:]])
        if stats:
            t.see('stats', await t.stats(*stats))
        t.see('log', await t.logs())


# ---- header_mutation
HM = lambda c: http_filter('hm', 'header_mutation.v3.HeaderMutation', c)
PH = lambda c: PF('hm', 'header_mutation.v3.HeaderMutationPerRoute', c)
APP = lambda k, v, a=None: '{append: {header: {key: "%s", value: "%s"}%s}}' % (k, v, ', append_action: %s' % a if a else '')
BOTH = lambda req=(), rs=(): '{mutations: {request_mutations: [%s], response_mutations: [%s]}}' % (', '.join(req), ', '.join(rs))
UP = lambda s, n=0: resp(200, b'b', [('x-a', 'up'), ('x-up', 'kept'), ('x-gone', '1'), ('x-pre-1', 'a'), ('x-pre-2', 'b')])
filt('header_mutation_actions', [HM(BOTH([APP('x-a', 'new'), APP('x-b', 'new', 'ADD_IF_ABSENT'), APP('x-a2', 'new', 'ADD_IF_ABSENT'), APP('x-c', 'new', 'OVERWRITE_IF_EXISTS_OR_ADD'), APP('x-d', 'new', 'OVERWRITE_IF_EXISTS'), APP('x-e', 'new', 'OVERWRITE_IF_EXISTS'), '{remove: x-gone}']))],
     [H(('x-a', 'o'), ('x-a2', 'o'), ('x-c', 'o'), ('x-c', 'p'), ('x-e', 'o'), ('x-gone', '1'))])
filt('header_mutation_responses', [HM(BOTH(rs=[APP('x-a', 'new'), APP('x-new', 'new'), '{remove: x-gone}', APP('x-up', 'new', 'OVERWRITE_IF_EXISTS_OR_ADD')]))], [H()], respond=UP)
filt('header_mutation_formats', [HM(BOTH([APP('x-host', '%REQ(:authority)%'), APP('x-p', '%PROTOCOL%'), APP('x-none', '%REQ(nope)%')], [APP('x-code', '%RESPONSE_CODE%'), APP('x-path', '%REQ(:path)%'), APP('x-seen', '%RESP(x-a)%')]))], [H(path='/f')], respond=UP)
filt('header_mutation_of_the_path', [HM(BOTH([APP('x-p', '%PATH(WQ:ORIG)%')]))], [H()])
filt('header_mutation_of_local_replies', [HM(BOTH(rs=[APP('x-new', 'new')]))], [H(path='/d'), H(path='/none'), dict(raw=b'GET / HTTP/1.1\r\n\r\n'), dict(raw=b'GET bad HTTP/1.1\r\nhost: a\r\n\r\n')],
     routes=[{'match': {'prefix': '/d'}, 'direct_response': {'status': 201, 'body': {'inline_string': 'b'}}}])
filt('header_mutation_of_a_later_filters_reply', [HM(BOTH(rs=[APP('x-one', 'new')])), http_filter('f', 'fault.v3.HTTPFault', '{abort: {http_status: 429, percentage: {numerator: 100}}}'), http_filter('hm2', 'header_mutation.v3.HeaderMutation', BOTH([APP('x-two', 'new')], [APP('x-two', 'new')]))], [H()])
filt('header_mutation_keeps_empty', [HM('{mutations: {request_mutations: [{append: {header: {key: x-e, value: "%REQ(nope)%"}, keep_empty_value: true}}, {append: {header: {key: x-f, value: "%REQ(nope)%"}}}]}}')], [H()])
VH = [{'name': 'v', 'domains': ['*'], **PH(BOTH([APP('x-l', 'vh')], [APP('x-l', 'vh')])), 'routes': [at('/r', PH(BOTH([APP('x-l', 'route')], [APP('x-l', 'route')]))), at('/')]}]
filt('header_mutation_levels', [HM(BOTH([APP('x-l', 'filter')], [APP('x-l', 'filter')]))], [H(path='/r'), H(path='/x')], vhosts=VH)
filt('header_mutation_levels_most_specific', [HM('{most_specific_header_mutations_wins: true, ' + BOTH([APP('x-l', 'filter')], [APP('x-l', 'filter')])[1:])], [H(path='/r'), H(path='/x')], vhosts=VH)
filt('header_mutation_on_match', [HM('{mutations: {request_mutations: [{remove_on_match: {key_matcher: {prefix: x-pre}}}], response_mutations: [{remove_on_match: {key_matcher: {prefix: x-pre}}}]}}')], [H(('x-pre-a', '1'), ('x-prf', '2'), ('X-Pre', '3'))], respond=UP)
filt('header_mutation_of_queries', [HM('{mutations: {query_parameter_mutations: [{append: {record: {key: a, value: "1"}}}, {append: {record: {key: b, value: "%REQ(x-v)%"}, action: OVERWRITE_IF_EXISTS_OR_ADD}}, {remove: c}]}}')], [H(('x-v', 'v w'), path='/p?b=2&c=3&d'), H(path='/p')])

# ---- local_ratelimit
TB = 'token_bucket: {max_tokens: 2, tokens_per_fill: 2, fill_interval: 60s}'
ON = 'filter_enabled: {default_value: {numerator: 100}, runtime_key: e}, filter_enforced: {default_value: {numerator: 100}, runtime_key: f}'
LR = lambda x='', on=ON, tb=TB: http_filter('lr', 'local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, %s%s%s}' % (tb, ', ' + on if on else '', x))
PL = lambda c: PF('lr', 'local_ratelimit.v3.LocalRateLimit', c)
LS = tuple('lr.http_local_rate_limit.' + s for s in ('enabled', 'enforced', 'rate_limited', 'ok', 'shadow_mode'))
filt('local_ratelimit_plain', [LR()], [H()] * 4, stats=LS)
filt('local_ratelimit_status_and_headers', [LR(', status: {code: ServiceUnavailable}, response_headers_to_add: [{header: {key: x-l, value: "yes1"}}], request_headers_to_add_when_not_enforced: [{header: {key: x-over, value: "1"}}]')], [H()] * 3, stats=LS)
filt('local_ratelimit_low_status', [LR(', status: {code: OK}')], [H()] * 3, stats=LS)
filt('local_ratelimit_not_enforced', [LR(', request_headers_to_add_when_not_enforced: [{header: {key: x-over, value: "1"}}]', on='filter_enabled: {default_value: {numerator: 100}, runtime_key: e}')], [H()] * 3, stats=LS)
filt('local_ratelimit_not_enabled', [LR(on='')], [H()] * 3, stats=LS)
filt('local_ratelimit_x_ratelimit', [LR(', enable_x_ratelimit_headers: DRAFT_VERSION_03')], [H()] * 3, stats=LS, drop=('x-ratelimit-reset',))
filt('local_ratelimit_of_the_route', [LR()], [H(path='/r')] * 3 + [H(path='/x')] * 3, stats=LS, routes=[at('/r', PL('{stat_prefix: own, token_bucket: {max_tokens: 1, fill_interval: 60s}, %s}' % ON)), REST])
filt('local_ratelimit_only_of_the_route', [http_filter('lr', 'local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr}')], [H(path='/r')] * 3 + [H(path='/x')] * 3, routes=[at('/r', PL('{stat_prefix: own, token_bucket: {max_tokens: 1, fill_interval: 60s}, %s}' % ON)), REST],
     stats=('own.http_local_rate_limit.rate_limited', 'lr.http_local_rate_limit.enabled'))
DESC = ', descriptors: [{entries: [{key: k, value: one}], token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 60s}}]'
RL = lambda stage='': {'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'rate_limits': Y('[{%sactions: [{request_headers: {header_name: x-k, descriptor_key: k}}]}]' % stage)}}
filt('local_ratelimit_descriptors', [LR(DESC)], [H(('x-k', 'one'))] * 2 + [H(('x-k', 'two'))] * 3 + [H()], stats=LS, routes=[RL()])
filt('local_ratelimit_grpc', [LR(', rate_limited_as_resource_exhausted: true')], [H(('content-type', 'application/grpc'), method='POST', body=b'x')] * 3, stats=LS)
filt('local_ratelimit_per_connection', [LR(', local_rate_limit_per_downstream_connection: true')], [H()] * 4, stats=LS)

# ---- rbac
RB = lambda c: http_filter('envoy.filters.http.rbac', 'rbac.v3.RBAC', c)
RS = tuple('http.in.rbac.' + s for s in ('allowed', 'denied', 'shadow_allowed', 'shadow_denied'))
POL = lambda action, perms='[{any: true}]', who='[{any: true}]', name='p', kind='rules': '%s: {action: %s, policies: {%s: {permissions: %s, principals: %s}}}' % (kind, action, name, perms, who)
filt('rbac_none', [RB('{}')], [H()], stats=RS)
filt('rbac_allow_by_header', [RB('{%s}' % POL('ALLOW', '[{header: {name: x-a, string_match: {exact: "1"}}}]'))], [H(('x-a', '1')), H(('x-a', '2')), H()], stats=RS)
filt('rbac_deny_by_path', [RB('{%s}' % POL('DENY', '[{url_path: {path: {prefix: /adm}}}]', name='no-admin'))], [H(path='/adm/x?y'), H(path='/x')], stats=RS)
filt('rbac_and_or_not', [RB('{%s}' % POL('ALLOW', '[{and_rules: {rules: [{header: {name: ":method", string_match: {exact: GET}}}, {not_rule: {url_path: {path: {exact: /no}}}}, {or_rules: {rules: [{header: {name: x-a, present_match: true}}, {header: {name: x-b, present_match: true}}]}}]}}]'))],
     [H(('x-a', '')), H(('x-b', ''), path='/yes'), H(('x-a', ''), path='/no'), H(), H(('x-a', ''), method='POST')], stats=RS)
filt('rbac_addresses', [RB('{%s}' % POL('ALLOW', who='[{direct_remote_ip: {address_prefix: 127.0.0.0, prefix_len: 24}}, {remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}]'))], [H(), H(src='127.0.1.1'), H(('x-forwarded-for', '10.1.1.1'), src='127.0.1.1')], stats=RS)
filt('rbac_destination', [RB('{%s}' % POL('DENY', '[{destination_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}]', '[{header: {name: x-deny, present_match: true}}]', name='dst'))], [H(), H(('x-deny', '1'))], stats=RS)
filt('rbac_shadow', [RB('{%s, %s}' % (POL('ALLOW'), POL('DENY', '[{header: {name: x-a, present_match: true}}]', name='sp', kind='shadow_rules')))], [H(), H(('x-a', '1'))], stats=RS, log=LOG + ' %DYNAMIC_METADATA(envoy.filters.http.rbac)%')
filt('rbac_shadow_alone_with_prefix', [RB('{shadow_rules_stat_prefix: pre_, %s}' % POL('ALLOW', '[{header: {name: x-a, present_match: true}}]', name='sp', kind='shadow_rules'))], [H(), H(('x-a', '1'))],
     stats=RS + ('http.in.rbac.pre_shadow_allowed', 'http.in.rbac.pre_shadow_denied'), log=LOG + ' %DYNAMIC_METADATA(envoy.filters.http.rbac)%')
filt('rbac_log_action', [RB('{%s}' % POL('LOG', '[{header: {name: x-a, present_match: true}}]'))], [H(), H(('x-a', '1'))], stats=RS, log=LOG + ' %DYNAMIC_METADATA(envoy.common)%')
filt('rbac_authenticated_without_tls', [RB('{%s}' % POL('ALLOW', who='[{authenticated: {}}]'))], [H()], stats=RS)
filt('rbac_of_the_route', [RB('{%s}' % POL('DENY'))], [H(path='/off'), H(path='/own'), H(path='/x')], stats=RS,
     routes=[at('/off', PF('envoy.filters.http.rbac', 'rbac.v3.RBACPerRoute', '{}')), at('/own', PF('envoy.filters.http.rbac', 'rbac.v3.RBACPerRoute', '{rbac: {%s}}' % POL('ALLOW'))), REST])
filt('rbac_grpc', [RB('{%s}' % POL('DENY'))], [H(('content-type', 'application/grpc'), method='POST', body=b'x')], stats=RS)
filt('rbac_names_in_order', [RB('{rules: {action: DENY, policies: {b: {permissions: [{any: true}], principals: [{any: true}]}, a: {permissions: [{any: true}], principals: [{any: true}]}}}}')], [H()])
filt('rbac_policy_stats', [RB('{track_per_rule_stats: true, rules_stat_prefix: rp_, %s}' % POL('DENY', '[{header: {name: x-a, present_match: true}}]', name='pol'))], [H(), H(('x-a', '1'))], stats=RS + ('http.in.rbac.policy.pol.denied', 'http.in.rbac.rp_policy.pol.denied', 'http.in.rbac.rp_denied', 'http.in.rbac.rp_allowed'))
filt('rbac_matcher', [RB('''{matcher: {matcher_list: {matchers: [{predicate: {single_predicate: {input: {name: h, typed_config: {"@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x-a}}, value_match: {exact: "1"}}},
   on_match: {action: {name: a, typed_config: {"@type": type.googleapis.com/envoy.config.rbac.v3.Action, name: good, action: ALLOW}}}}]},
   on_no_match: {action: {name: d, typed_config: {"@type": type.googleapis.com/envoy.config.rbac.v3.Action, name: bad, action: DENY}}}}}''')], [H(('x-a', '1')), H()], stats=RS)

# ---- metadata, filter state, cdn_loop, ip_tagging
MD = 'metadata %DYNAMIC_METADATA(md)% %DYNAMIC_METADATA(envoy.lb)%'
H2M = lambda c: http_filter('h2m', 'header_to_metadata.v3.Config', c)
filt('header_to_metadata_rules', [H2M('{request_rules: [{header: x-a, on_header_present: {metadata_namespace: md, key: a, type: STRING}, remove: true}, {header: x-n, on_header_present: {metadata_namespace: md, key: num, type: NUMBER}}, {header: x-d, on_header_missing: {metadata_namespace: md, key: d, value: none}}, {cookie: c, on_header_present: {key: cookie}}]}')],
     [H(('x-a', 'v'), ('x-n', '4.5'), ('cookie', 'b=1; c=2')), H(('x-n', 'no'), ('x-d', '1'))], log=MD)
filt('header_to_metadata_rewrites', [H2M('{request_rules: [{header: ":path", on_header_present: {metadata_namespace: md, key: p, regex_value_rewrite: {pattern: {regex: "^/(\\\\w+)/.*"}, substitution: "\\\\1"}}}], response_rules: [{header: x-r, on_header_present: {metadata_namespace: md, key: r}, remove: true}]}')],
     [H(path='/abc/d')], respond=lambda s, n=0: resp(200, b'', [('x-r', 'res')]), log=MD)
filt('set_metadata', [http_filter('sm', 'set_metadata.v3.Config', '{metadata: [{metadata_namespace: md, value: {a: 1, l: [x], m: {k: v}}}, {metadata_namespace: md, value: {a: 2, l: [y], m: {j: w}}, allow_overwrite: true}, {metadata_namespace: md, value: {z: 1}}]}')], [H()], log=MD)
filt('set_filter_state', [http_filter('sfs', 'set_filter_state.v3.Config', '{on_request_headers: [{object_key: my.key, factory_key: envoy.string, format_string: {text_format_source: {inline_string: "%REQ(x-a)%-%PROTOCOL%"}}}]}')], [H(('x-a', 'v'))], log='%FILTER_STATE(my.key:PLAIN)%')
filt('cdn_loop', [http_filter('cl', 'cdn_loop.v3.CdnLoopConfig', '{cdn_id: me, max_allowed_occurrences: 1}')], [H(), H(('cdn-loop', 'other')), H(('cdn-loop', 'me')), H(('cdn-loop', 'me, me')), H(('cdn-loop', 'me; a=b, x')), H(('cdn-loop', '"bad'))])
filt('ip_tagging', [http_filter('it', 'ip_tagging.v3.IPTagging', '{request_type: BOTH, ip_tags: [{ip_tag_name: loop, ip_list: [{address_prefix: 127.0.0.0, prefix_len: 8}]}, {ip_tag_name: ten, ip_list: [{address_prefix: 10.0.0.0, prefix_len: 8}]}]}')], [H(), H(('x-forwarded-for', '10.1.1.1')), H(('x-forwarded-for', '9.1.1.1'), ('x-envoy-ip-tags', 'mine'))],
     stats=('http.in.ip_tagging.loop.hit', 'http.in.ip_tagging.ten.hit', 'http.in.ip_tagging.no_hit', 'http.in.ip_tagging.total'))
