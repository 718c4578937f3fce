"""Filters that look at heads alone: they change headers, keep metadata, tag and turn away."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
PF = lambda name, ty, cfg: {'typed_per_filter_config': {name: {'@type': ftype(ty), **Y(cfg)}}}


def filt(name, filters, reqs, respond=None, routes=None, stats=(), opts=None, log=LOG, up_only=None, rc=None, vhosts=None, extra=None, copts=None):
    """One filter, several requests: what the client and the upstream see, counters, the log."""
    @case(name)
    async def _(t):
        u = await t.up('u1', respond)
        await t.start(simple(t, filters=filters, routes=routes, log=log, opts=opts, route_config=rc, vhosts=vhosts, extra=extra, copts=copts))
        for i, k in enumerate(reqs):
            n = len(u.reqs)
            t.see('%d' % i, await t.req(**k))
            t.see('%d up' % i, [t.req_view(m, only=up_only) for m in u.reqs[n:]])
        if stats:
            t.see('stats', await (t.stats(regex=stats) if isinstance(stats, str) else t.stats(*stats)))
        t.see('log', await t.logs())


H = lambda *hs, **k: dict(headers=list(hs), **k)
ROUTE = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}


def verdicts(name, *filters, routes=None):
    """Which configurations start."""
    @case(name)
    async def _(t):
        await t.up('u1')
        for i, f in enumerate(filters):
            code, _ = await t.run_to_end(simple(t, filters=[f], routes=routes), args=('--mode', 'validate'))
            t.see('%d' % i, 'refused' if code else 'taken')


# ---- header_mutation
HM = lambda c: http_filter('hm', 'header_mutation.v3.HeaderMutation', c)
HMR = lambda c: PF('hm', 'header_mutation.v3.HeaderMutationPerRoute', c)
APPEND = lambda k, v, **kw: {'append': {'header': {'key': k, 'value': v}, **kw}}
ANSWER = lambda *hs: resp(200, body='ok', headers=list(hs))

filt('header_mutation_actions_more', [HM({'mutations': {'request_mutations': [
    APPEND('x-a', '1'), APPEND('x-b', '1', append_action='ADD_IF_ABSENT'), APPEND('x-c', '1', append_action='OVERWRITE_IF_EXISTS'),
    APPEND('x-d', '1', append_action='OVERWRITE_IF_EXISTS_OR_ADD'), {'remove': 'x-e'}]}})],
    [H(), H(('x-a', '0'), ('x-b', '0'), ('x-c', '0'), ('x-d', '0'), ('x-e', '0'), ('x-c', '00'), ('x-d', '00'))])
filt('header_mutation_one_after_another', [HM({'mutations': {'request_mutations': [
    APPEND('x-a', '%REQ(x-in)%'), {'remove': 'x-in'}, APPEND('x-b', '%REQ(x-in)%'), APPEND('x-c', '%REQ(x-a)%'), {'remove': 'x-a'}, APPEND('x-a', 'again')]}})],
    [H(('x-in', 'v')), H()])
filt('header_mutation_empty_values', [HM({'mutations': {'request_mutations': [
    APPEND('x-a', '%REQ(x-none)%'), APPEND('x-b', ''), APPEND('x-c', '', keep_empty_value=True), APPEND('x-d', '%REQ(x-none)%', keep_empty_value=True),
    APPEND('x-e', 'a%REQ(x-none)%b')]}})], [H()])
filt('header_mutation_response', [HM({'mutations': {'response_mutations': [
    APPEND('x-a', '%RESPONSE_CODE%'), APPEND('x-b', '%REQ(:path)%'), {'remove': 'x-up'}, APPEND('x-c', '%RESP(x-d)%'), {'remove': 'server'},
    APPEND('x-d', '2'), APPEND('x-e', '%UPSTREAM_HOST%'), APPEND('content-type', 'text/html', append_action='OVERWRITE_IF_EXISTS')]}})],
    [H(path='/p')], respond=lambda m, n: ANSWER(('x-d', '1'), ('content-type', 'text/plain')))
filt('header_mutation_local_replies', [HM({'mutations': {'request_mutations': [APPEND('x-q', '1')], 'response_mutations': [APPEND('x-a', '%RESPONSE_CODE_DETAILS%'), APPEND('x-q', '%REQ(x-q)%')]}})],
    [H(path='/d'), H(path='/r'), H(path='/none'), H()],
    routes=[{'match': {'path': '/d'}, 'direct_response': {'status': 201, 'body': {'inline_string': 'd'}}}, {'match': {'path': '/r'}, 'redirect': {'path_redirect': '/x'}},
            {'match': {'path': '/'}, 'route': {'cluster': 'c1'}}])
filt('header_mutation_remove_on_match', [HM({'mutations': {'request_mutations': [{'remove_on_match': {'key_matcher': {'prefix': 'x-int'}}}],
    'response_mutations': [{'remove_on_match': {'key_matcher': {'safe_regex': {'regex': 'x-(foo|bar)'}}}}]}})],
    [H(('x-int', '1'), ('x-internal', '1'), ('X-Interest', '2'), ('x-other', '3'))], respond=lambda m, n: ANSWER(('x-foo', '1'), ('X-Bar', '2'), ('x-foobar', '3')))
filt('header_mutation_query_parameters', [HM({'mutations': {'query_parameter_mutations': [
    {'append': {'record': {'key': 'num', 'value': 'v'}}}, {'append': {'record': {'key': 'h', 'value': '%REQ(x-h)%'}, 'action': 'OVERWRITE_IF_EXISTS_OR_ADD'}},
    {'append': {'record': {'key': 'c', 'value': 'C'}, 'action': 'OVERWRITE_IF_EXISTS'}}, {'append': {'record': {'key': 'a', 'value': 'A'}, 'action': 'ADD_IF_ABSENT'}}, {'remove': 'gone'}]}})],
    [H(('x-h', 'a b&c'), path='/p'), H(('x-h', 'h'), path='/p?z=1&c=1&gone=2&a=3&c=2&gone&b=%7ex&num=0'), H(path='/p?'), H(path='/p?x#f'), H(path='/p?e&f=&=g&h=1=2')], up_only=())
filt('header_mutation_query_blanks', [HM({'mutations': {'query_parameter_mutations': [{'remove': 'gone'}]}})], [H(path='/p?b=%20x&a=%0d%0aX:%20y&gone')], up_only=())
filt('header_mutation_trailers', [HM({'mutations': {'request_trailers_mutations': [APPEND('x-t', '%REQ(x-in)%'), {'remove': 'x-gone'}], 'response_trailers_mutations': [APPEND('x-rt', '%RESPONSE_CODE%'), {'remove': 'x-up-gone'}]}})],
    [dict(raw=b'POST / HTTP/1.1\r\nhost: a\r\nx-in: i\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-gone: 1\r\nx-keep: 2\r\n\r\n')],
    respond=lambda m, n: b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-up-gone: 1\r\nx-up-keep: 2\r\n\r\n',
    opts={'http_protocol_options': {'enable_trailers': True}}, copts={'http_protocol_options': {'enable_trailers': True}})
for n, m in (('path', {'remove': ':path'}), ('host', {'remove': 'host'}), ('method', {'remove': ':method'}), ('scheme', {'remove': ':scheme'})):
    filt('header_mutation_removes_' + n, [HM({'mutations': {'request_mutations': [m]}})], [H()])
filt('header_mutation_removes_from_local_replies', [HM({'mutations': {'request_mutations': [{'remove': 'host'}, {'remove': ':path'}]}})], [H()], routes=[{'match': {'prefix': '/'}, 'direct_response': {'status': 200}}])
for wins in (False, True):
    filt('header_mutation_four_levels' + ('_reversed' if wins else ''), [HM({'most_specific_header_mutations_wins': wins, 'mutations': {'request_mutations': [APPEND('x-l', 'filter')]}})],
         [H(), H(path='/own'), H(path='/off')],
         vhosts=[{'name': 'v', 'domains': ['*'], **HMR({'mutations': {'request_mutations': [APPEND('x-l', 'vhost')], 'response_mutations': [APPEND('x-l', 'vhost')]}}), 'routes': [
             {'match': {'path': '/own'}, 'route': {'cluster': 'c1'}, **HMR({'mutations': {'request_mutations': [APPEND('x-l', 'route')], 'response_mutations': [APPEND('x-l', 'route')]}})},
             {'match': {'path': '/off'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'hm': {'@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', 'disabled': True, 'config': {}}}},
             ROUTE]}],
         rc=HMR({'mutations': {'request_mutations': [APPEND('x-l', 'table')], 'response_mutations': [APPEND('x-l', 'table')]}}))
filt('header_mutation_weighted_cluster', [HM({})], [H()], routes=[{'match': {'prefix': '/'}, **HMR({'mutations': {'request_mutations': [APPEND('x-l', 'route')]}}),
    'route': {'weighted_clusters': {'clusters': [{'name': 'c1', 'weight': 1, **HMR({'mutations': {'request_mutations': [APPEND('x-l', 'cluster')]}})}]}}}])
verdicts('header_mutation_verdicts', HM({'mutations': {'request_mutations': [{}]}}), HM({'mutations': {'request_mutations': [{'append': {}}]}}),
        HM({'mutations': {'request_mutations': [APPEND('', 'x')]}}), HM({'mutations': {'request_mutations': [APPEND('x', '%NOPE%')]}}), HM({'mutations': {'request_mutations': [{'remove': 'a\nb'}]}}),
        HM({'mutations': {'request_mutations': [{'remove_on_match': {}}]}}), HM({'mutations': {'query_parameter_mutations': [{}]}}),
        HM({'mutations': {'query_parameter_mutations': [{'append': {'record': {'key': '', 'value': 'x'}}}]}}), HM({'mutations': {'query_parameter_mutations': [{'append': {}}]}}),
        HM({'mutations': {'query_parameter_mutations': [{'append': {'record': {'key': 'k', 'value': 3}}}]}}),
        HM({'mutations': {'query_parameter_mutations': [{'append': {'record': {'key': 'k', 'value': 'v'}}, 'remove': 'x'}]}}),
        HM({'mutations': {'request_mutations': [APPEND('x', 'y', append=True, append_action='ADD_IF_ABSENT')]}}),
        HM({'mutations': {'request_mutations': [APPEND('x', 'y', append=False)]}}), *[HM({'mutations': {'request_mutations': [m]}}) for m in (
            APPEND(':path', '/x'), APPEND('host', 'x'), {'remove': ':path'}, {'remove': 'host'}, {'remove': 'x y'}, {'remove': ''}, APPEND('x y', 'v'))],
        HM({'mutations': {'query_parameter_mutations': [{'append': {'record': {'key': 'k', 'value': '%NOPE%'}}}]}}), HM({'mutations': {'query_parameter_mutations': [{'append': {'record': {'key': 'k'}}}]}}))

# ---- header_to_metadata
H2M = lambda c: http_filter('h2m', 'header_to_metadata.v3.Config', c)
META = '%DYNAMIC_METADATA(ns)% %DYNAMIC_METADATA(envoy.filters.http.header_to_metadata)%'
filt('header_to_metadata_rules_more', [H2M('''
request_rules:
- {header: x-a, on_header_present: {metadata_namespace: ns, key: a}, on_header_missing: {metadata_namespace: ns, key: a, value: none}, remove: true}
- {header: x-b, on_header_present: {key: b, value: fixed}}
- {header: x-n, on_header_present: {metadata_namespace: ns, key: num, type: NUMBER}}
''')], [H(('x-a', '1'), ('x-b', '2'), ('x-n', '3.5')), H(('x-a', ''), ('x-n', 'x')), H(('x-a', 'p'), ('x-a', 'q')), H()], log=META)
filt('header_to_metadata_types', [H2M('''
request_rules:
- {header: x-n, on_header_present: {metadata_namespace: ns, key: num, type: NUMBER}}
- {header: x-64, on_header_present: {metadata_namespace: ns, key: s64, encode: BASE64}}
- {header: x-p, on_header_present: {metadata_namespace: ns, key: p, type: PROTOBUF_VALUE, encode: BASE64}}
- {header: x-pn, on_header_present: {metadata_namespace: ns, key: pn, type: PROTOBUF_VALUE}}
''')], [H(('x-n', '12')), H(('x-n', ' 7 ')), H(('x-n', '1e3')), H(('x-n', '0x10')), H(('x-64', 'aGVsbG8=')), H(('x-64', '!!')), H(('x-p', 'GgVoZWxsbw==')), H(('x-p', 'zz')), H(('x-pn', 'x'))], log=META)
filt('header_to_metadata_rewrite', [H2M('''
request_rules:
- {header: ":path", on_header_present: {metadata_namespace: ns, key: c, regex_value_rewrite: {pattern: {regex: "^/(c-[^/]+)/?.*$"}, substitution: "\\\\1"}}}
''')], [H(path='/c-1/x'), H(path='/other'), H(path='/c-')], log=META)
filt('header_to_metadata_cookie', [H2M('''
request_rules:
- {cookie: k, on_header_present: {metadata_namespace: ns, key: k}, on_header_missing: {metadata_namespace: ns, key: k, value: none}}
''')], [H(('cookie', 'a=1; k=v; b=2')), H(('cookie', 'k="q"')), H(('cookie', 'kk=1')), H(('cookie', 'k=')), H(('cookie', 'a=1'), ('cookie', 'k=two'))], log=META)
filt('header_to_metadata_response', [H2M('''
response_rules:
- {header: x-up, on_header_present: {metadata_namespace: ns, key: up}, on_header_missing: {metadata_namespace: ns, key: up, value: none}, remove: true}
''')], [H(path='/with'), H(path='/without'), H(path='/local')], respond=lambda m, n: ANSWER(*([('x-up', 'u')] if m['path'] == '/with' else [])),
     routes=[{'match': {'path': '/local'}, 'direct_response': {'status': 200}}, ROUTE], log=META)
filt('header_to_metadata_of_the_route', [H2M('{request_rules: [{header: x-a, on_header_present: {metadata_namespace: ns, key: a}}]}')], [H(('x-a', '1'), ('x-b', '2'), path='/own'), H(('x-a', '1'), ('x-b', '2'))],
     routes=[{'match': {'path': '/own'}, 'route': {'cluster': 'c1'}, **PF('h2m', 'header_to_metadata.v3.Config', '{request_rules: [{header: x-b, on_header_present: {metadata_namespace: ns, key: b}}]}')}, ROUTE], log=META)
filt('header_to_metadata_too_long', [H2M('{request_rules: [{header: x-a, on_header_present: {metadata_namespace: ns, key: a}}]}')], [H(('x-a', 'v' * 8191)), H(('x-a', 'v' * 8192))], log='%DYNAMIC_METADATA(ns:a):3%', up_only=())
filt('header_to_metadata_stats', [H2M('{stat_prefix: sp, request_rules: [{header: x-a, on_header_present: {metadata_namespace: ns, key: a, type: NUMBER}, on_header_missing: {key: m, value: one}}, {header: x-b, on_header_present: {key: b, encode: BASE64}}, {header: x-c, on_header_present: {key: c, regex_value_rewrite: {pattern: {regex: z}, substitution: ''}}}], response_rules: [{header: x-r, on_header_present: {key: r}, on_header_missing: {key: r, value: none}}]}')],
     [H(('x-a', '1')), H(('x-a', 'x'), ('x-b', '!')), H(), H(('x-a', '1' * 9000)), H(('x-c', 'z')), H(('x-c', 'q'), ('x-a', ''))], log=META, up_only=(), stats='^http_filter_name')
verdicts('header_to_metadata_verdicts', H2M('{}'), H2M('{request_rules: [{header: x}]}'), H2M('{request_rules: [{on_header_present: {key: k}}]}'), H2M('{request_rules: [{header: x, on_header_present: {metadata_namespace: ns}}]}'),
        H2M('{request_rules: [{header: x, on_header_missing: {key: k}}]}'), H2M('{request_rules: [{header: x, cookie: y, on_header_present: {key: k}}]}'),
        H2M('{request_rules: [{header: x, on_header_present: {key: k}}, {header: x, on_header_present: {key: k, regex_value_rewrite: {pattern: {regex: "("}, substitution: a}}}]}'),
        H2M('{request_rules: [{cookie: x, on_header_present: {key: k}, remove: true}]}'),
        H2M('{response_rules: [{cookie: x, on_header_present: {key: k}}]}'), H2M('{request_rules: [{header: x, on_header_missing: {key: k, regex_value_rewrite: {pattern: {regex: "a"}, substitution: a}}}]}'),
        H2M('{request_rules: [{header: x, on_header_present: {key: k, value: v, regex_value_rewrite: {pattern: {regex: "a"}, substitution: a}}}]}'))

# ---- set_metadata
SM = lambda c: http_filter('sm', 'set_metadata.v3.Config', c)
filt('set_metadata_more', [SM('{metadata: [{metadata_namespace: ns, value: {a: 1, l: [1], o: {x: y}}}, {metadata_namespace: ns, value: {a: 2, b: z}}, {metadata_namespace: ns, allow_overwrite: true, value: {c: true, l: [2], o: {w: v}}}, {metadata_namespace: other, value: {q: null}}]}')],
     [H()], log='%DYNAMIC_METADATA(ns)% %DYNAMIC_METADATA(other)%', stats=['http.in.set_metadata.overwrite_denied'])
filt('set_metadata_old_form', [SM('{metadata_namespace: ns, value: {a: 1, l: [1], o: {x: y}}}'), {**SM('{metadata_namespace: ns, value: {a: 2, l: [2], o: {z: w}}}'), 'name': 'sm2'}],
     [H()], log='%DYNAMIC_METADATA(ns)%', stats=['http.in.set_metadata.overwrite_denied'])
verdicts('set_metadata_verdicts', SM('{metadata: [{value: {a: 1}}]}'), SM('{metadata: [{metadata_namespace: ns}]}'), SM('{}'))

# ---- cdn_loop
CDN = lambda c: http_filter('cdn', 'cdn_loop.v3.CdnLoopConfig', c)
filt('cdn_loop_more', [CDN('{cdn_id: me}')], [H(), H(('cdn-loop', 'other')), H(('cdn-loop', 'a, me')), H(('cdn-loop', 'me; v=1, b')), H(('cdn-loop', 'x'), ('cdn-loop', 'me')), H(('cdn-loop', 'me2, "me"')), H(('cdn-loop', ',,')), H(('cdn-loop', 'a;b'))])
filt('cdn_loop_occurrences', [CDN('{cdn_id: "me.example:80", max_allowed_occurrences: 2}')], [H(('cdn-loop', 'me.example:80, x, me.example:80')), H(('cdn-loop', 'me.example:80, me.example:80;a=b,me.example:80')), H(('cdn-loop', 'ME.example:80'))])
verdicts('cdn_loop_verdicts', CDN('{}'), CDN('{cdn_id: "a b"}'), CDN('{cdn_id: "a, b"}'), CDN('{cdn_id: "[::1]"}'), CDN('{cdn_id: "a;x"}'), CDN('{cdn_id: "a:99999"}'), CDN('{cdn_id: "[::g]"}'))

# ---- ip_tagging
TAG = lambda c: http_filter('tags', 'ip_tagging.v3.IPTagging', c)
TAGS = 'ip_tags: [{ip_tag_name: inside, ip_list: [{address_prefix: 10.0.0.0, prefix_len: 8}]}, {ip_tag_name: lab, ip_list: [{address_prefix: 11.0.0.0, prefix_len: 8}, {address_prefix: "2001:db8::", prefix_len: 32}]}, {ip_tag_name: one, ip_list: [{address_prefix: 1.2.3.4, prefix_len: 32}]}]'
XFF = lambda a, *more, **kw: H(('x-forwarded-for', a), *more, **kw)
IPS = [XFF('10.2.2.3'),  XFF('10.2.0.1', ('x-envoy-ip-tags', 'forged')), XFF('2001:db8::1'), XFF('1.2.3.4'), XFF('9.9.9.9', ('x-envoy-ip-tags', 'forged'))]
filt('ip_tagging_more', [TAG('{%s}' % TAGS)], IPS, opts={'xff_num_trusted_hops': 0}, stats=['http.in.ip_tagging.%s' % s for s in ('inside.hit', 'lab.hit', 'one.hit', 'no_hit', 'total')])
for kind in ('INTERNAL', 'EXTERNAL'):
    filt('ip_tagging_' + kind.lower(), [TAG('{request_type: %s, %s}' % (kind, TAGS))], [XFF('10.2.2.3'), XFF('1.2.3.4'), H()], opts={'internal_address_config': {'cidr_ranges': [{'address_prefix': '10.0.0.0', 'prefix_len': 8}]}},
         stats=['http.in.ip_tagging.%s' % s for s in ('inside.hit', 'no_hit', 'total')])
for action in ('SANITIZE', 'APPEND_IF_EXISTS_OR_ADD'):
    filt('ip_tagging_header_' + action[:6].lower(), [TAG('{ip_tag_header: {header: x-tag, action: %s}, %s}' % (action, TAGS))], [XFF('10.2.2.3', ('x-tag', 'old')), XFF('9.9.9.9', ('x-tag', 'old')), XFF('10.2.2.3')])
verdicts('ip_tagging_verdicts', TAG('{}'), TAG('{ip_tags: [{ip_tag_name: x, ip_list: [{address_prefix: nope}]}]}'), TAG('{ip_tags: [{ip_tag_name: x}]}'), TAG('{ip_tags: [{ip_list: [{address_prefix: 1.1.1.1}]}]}'), TAG('{ip_tag_header: {header: ""}, %s}' % TAGS))
verdicts('ip_tagging_has_no_routes', TAG('{%s}' % TAGS), routes=[{**ROUTE, **PF('tags', 'ip_tagging.v3.IPTagging', '{%s}' % TAGS)}])

# ---- set_filter_state
SFS = lambda c: http_filter('sfs', 'set_filter_state.v3.Config', {'on_request_headers': [Y(x) for x in c]} if isinstance(c, list) else c)
OBJ = lambda key, text, **kw: {'object_key': key, 'format_string': {'text_format_source': {'inline_string': text}, **kw.pop('fmt', {})}, **kw}
FS = '%FILTER_STATE(a:PLAIN)% %FILTER_STATE(b:PLAIN)% %FILTER_STATE(envoy.string:PLAIN)%'
filt('set_filter_state_objects', [SFS([OBJ('a', '%REQ(x-a)%', factory_key='envoy.string'), OBJ('b', 'h%REQ(x-a)%', factory_key='envoy.hashable_string'), OBJ('envoy.string', 'own')])],
     [H(('x-a', 'v')), H()], log=FS)
filt('set_filter_state_empty', [SFS([OBJ('a', '%REQ(x-a)%', factory_key='envoy.string', skip_if_empty=True), OBJ('b', '%REQ(x-a)%', factory_key='envoy.string', skip_if_empty=True, fmt={'omit_empty_values': True})])],
     [H(('x-a', 'v')), H(), H(('x-a', ''))], log=FS)
filt('set_filter_state_twice', [SFS([OBJ('a', '1', factory_key='envoy.string'), OBJ('a', '2', factory_key='envoy.string')])], [H()], log=FS)
filt('set_filter_state_steers_routes', [SFS({'on_request_headers': [OBJ('a', '%REQ(x-a)%', factory_key='envoy.string')], 'clear_route_cache': True})], [H(('x-a', 'v')), H()], log=FS,
     routes=[{'match': {'prefix': '/', 'filter_state': [{'key': 'a', 'string_match': {'exact': 'v'}}]}, 'direct_response': {'status': 201}}, ROUTE])
filt('set_filter_state_of_the_route', [SFS([OBJ('a', 'filter', factory_key='envoy.string')])], [H(path='/own'), H()], log=FS,
     routes=[{'match': {'path': '/own'}, 'route': {'cluster': 'c1'}, **PF('sfs', 'set_filter_state.v3.Config', {'on_request_headers': [OBJ('a', 'route', factory_key='envoy.string'), OBJ('b', '%FILTER_STATE(a:PLAIN)%', factory_key='envoy.string')]})}, ROUTE])
verdicts('set_filter_state_verdicts', SFS([]), SFS([{'factory_key': 'envoy.string'}]), SFS([OBJ('a', 'x')]), SFS([OBJ('a', 'x', factory_key='nope')]), SFS([OBJ('a', '%NOPE%', factory_key='envoy.string')]), SFS([OBJ('', 'x', factory_key='envoy.string')]))
