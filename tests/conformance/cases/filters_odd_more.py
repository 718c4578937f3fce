"""Everyday filters in odd situations: switched by every level, by runtime, with heads alone, big bodies and answers that come early."""
import gzip

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
POST = lambda body, *hs, **k: dict(method='POST', body=body, headers=list(hs), **k)
PF = lambda name, ty, cfg: {'typed_per_filter_config': {name: {'@type': ftype(ty), **Y(cfg)}}}
FC = lambda name, **k: {'typed_per_filter_config': {name: {'@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', **k}}}
X = lambda ty, c='{}', name=None: http_filter(name or ty.split('.')[0], ty, c)
R = lambda p, *more, **k: {'match': {'prefix': p}, 'route': {'cluster': 'c1', **k}, **{a: b for m in more for a, b in m.items()}}
ON = '{default_value: {numerator: 100}}'


def odd(name, filters, reqs, respond=None, routes=None, vhosts=None, opts=None, log=LOG, stats=None, only=None, extra=None, runtime=None):
    @case('odd_' + name)
    async def _(t):
        u = await t.up('u1', respond)
        more = {'layered_runtime': {'layers': [{'name': 'a', 'static_layer': runtime}]}} if runtime else extra
        await t.start(simple(t, filters=filters, log=log, opts=opts, extra=more, **({'vhosts': vhosts} if vhosts else {'routes': routes})))
        for i, k in enumerate(reqs):
            n = len(u.reqs)
            r = await t.req(**k)
            if r.h('content-encoding') == 'gzip' and r['body']:
                r['body'] = gzip.decompress(r['body'])
            t.see('%d' % i, r, only=only)
            t.see('%d up' % i, u.reqs[n:])
        if stats:
            t.see('stats', await t.stats(regex=stats))
        t.see('log', await t.logs())


# ---- each filter switched at each level: by the route, the virtual host, a weighted cluster; off in the chain and on by a level
EACH = {
    'fault': ('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}}'),
    'rbac': ('rbac.v3.RBAC', '{rules: {action: DENY, policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}}'),
    'local_ratelimit': ('local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, token_bucket: {max_tokens: 0, fill_interval: 60s}, filter_enabled: %s, filter_enforced: %s}' % (ON, ON)),
    'csrf': ('csrf.v3.CsrfPolicy', '{filter_enabled: %s}' % ON),
    'header_mutation': ('header_mutation.v3.HeaderMutation', '{mutations: {response_mutations: [{append: {header: {key: x-m, value: "1"}}}]}}'),
    'buffer': ('buffer.v3.Buffer', '{max_request_bytes: 2}'),
    'cdn_loop': ('cdn_loop.v3.CdnLoopConfig', '{cdn_id: me}'),
    'set_metadata': ('set_metadata.v3.Config', '{metadata: [{metadata_namespace: ns, value: {a: b}}]}'),
    'ip_tagging': ('ip_tagging.v3.IPTagging', '{ip_tags: [{ip_tag_name: lo, ip_list: [{address_prefix: 127.0.0.1, prefix_len: 32}]}]}'),
    'header_to_metadata': ('header_to_metadata.v3.Config', '{request_rules: [{header: x-none, on_header_missing: {metadata_namespace: ns, key: a, value: b}}]}'),
    'set_filter_state': ('set_filter_state.v3.Config', '{on_request_headers: [{object_key: k, factory_key: envoy.string, format_string: {text_format_source: {inline_string: "x"}}}]}'),
    'grpc_web': ('grpc_web.v3.GrpcWeb', '{}'),
    'decompressor': ('decompressor.v3.Decompressor', '{decompressor_library: {name: g, typed_config: {"@type": type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip}}}'),
    'compressor': ('compressor.v3.Compressor', '{response_direction_config: {common_config: {min_content_length: 1, content_type: ["text/plain"]}}, compressor_library: {name: g, typed_config: {"@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip}}}'),
}
for name, (ty, cfg) in EACH.items():
    def levels(name=name, ty=ty, cfg=cfg):
        off, on = FC(name, disabled=True), FC(name, config={})
        weighted = {'match': {'prefix': '/w'}, 'route': {'weighted_clusters': {'clusters': [{'name': 'c1', 'weight': 1, **off}]}}}
        asks = [POST(b'abc', ('origin', 'http://x'), ('cdn-loop', 'me'), ('content-type', 'application/grpc-web'), ('accept-encoding', 'gzip'), path=p) for p in ('/off', '/w', '/on', '/x')]
        respond = lambda m, n: resp(200, b'a' * 100, [('content-type', 'text/plain')])
        log = '%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(ns)% %FILTER_STATE(k:PLAIN)% %REQ(x-envoy-ip-tags)% %REQ(content-type)% %REQ(accept-encoding)% %RESP(content-encoding)%'
        hosts = [{'name': 'v', 'domains': ['*'], 'routes': [R('/off', off), weighted, R('/on', on), R('/x')]},
                 {'name': 'o', 'domains': ['off.example'], **off, 'routes': [R('/on', on), R('/')]}]
        for disabled, case_name in ((False, 'levels_of_' + name), (True, 'levels_of_%s_off_in_the_chain' % name)):
            def one(disabled=disabled):
                @case(case_name)
                async def _(t):
                    await t.up('u1', respond)
                    f = {**X(ty, cfg, name), **({'disabled': True} if disabled else {})}
                    await t.start(simple(t, filters=[f], log=log, vhosts=hosts))
                    for host in ('a.example', 'off.example'):
                        for k in asks:
                            r = await t.req(host=host, **k)
                            t.see('%s %s' % (host, k['path']), [r.status, r.h('x-m'), r.h('content-encoding')])
                    t.see('log', await t.logs())
            one()
    levels()

# ---- runtime
KEY = lambda k, d=100: '{runtime_key: %s, default_value: {numerator: %d}}' % (k, d)
odd('fault_by_runtime', [X('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 0}}, delay: {fixed_delay: 0.001s, percentage: {numerator: 0}}, abort_percent_runtime: a.p, abort_http_status_runtime: a.s, delay_percent_runtime: d.p, delay_duration_runtime: d.d}')], [H(), H(method='HEAD')], runtime={'a.p': 100, 'a.s': 477, 'd.p': 100, 'd.d': 1}, stats='fault')
odd('fault_by_usual_runtime_keys', [X('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 0}}}')], [H()], runtime={'fault.http.abort.abort_percent': 100, 'fault.http.abort.http_status': 444}, stats='fault')
odd('fault_odd_status_in_runtime', [X('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}}')], [H()], runtime={'fault.http.abort.http_status': 666})
odd('fault_grpc_status_in_runtime', [X('fault.v3.HTTPFault', '{abort: {grpc_status: 5, percentage: {numerator: 100}}}')], [H(('content-type', 'application/grpc'), method='POST', body=b'x'), H()], runtime={'fault.http.abort.grpc_status': 7})
odd('fault_max_active', [X('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}, max_active_faults: 0}')], [H()], stats='fault')
odd('fault_max_active_by_runtime', [X('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}}')], [H()], runtime={'fault.http.max_active_faults': 0}, stats='fault')
odd('fault_header_numbers', [X('fault.v3.HTTPFault', '{abort: {header_abort: {}, percentage: {numerator: 100}}, delay: {header_delay: {}, percentage: {numerator: 100}}}')], [H(('x-envoy-fault-abort-request', v)) for v in ('418', '199', '600', 'x', '', '200', '0418')] + [H(('x-envoy-fault-abort-grpc-request', v)) for v in ('5', '16', '17', 'x')] + [H(('x-envoy-fault-abort-request', '418'), ('x-envoy-fault-abort-request-percentage', v)) for v in ('0', '100', '200', 'x')] + [H(('x-envoy-fault-delay-request', v)) for v in ('1', 'x', '')])
odd('fault_percent_by_header_below_the_filters', [X('fault.v3.HTTPFault', '{abort: {header_abort: {}, percentage: {numerator: 0}}}')], [H(('x-envoy-fault-abort-request', '418'), ('x-envoy-fault-abort-request-percentage', '100'))])
odd('csrf_by_runtime', [X('csrf.v3.CsrfPolicy', '{filter_enabled: %s, shadow_enabled: %s}' % (KEY('c.e'), KEY('c.s', 0)))], [POST(b'x', ('origin', 'http://evil'))], runtime={'c.e': 0, 'c.s': 100}, stats='csrf')
odd('csrf_shadow_and_on', [X('csrf.v3.CsrfPolicy', '{filter_enabled: %s, shadow_enabled: %s}' % (ON, ON))], [POST(b'x', ('origin', 'http://evil')), POST(b'x'), POST(b'x', ('referer', 'http://test.example/a')), POST(b'x', ('referer', 'junk')), POST(b'x', ('origin', 'null'), ('referer', 'http://test.example/a')), H(('origin', 'http://evil'), method='DELETE'), H(('origin', 'http://evil'), method='PATCH', body=b'x'), H(('origin', 'http://evil')), POST(b'x', ('origin', 'https://test.example:443')), POST(b'x', ('origin', 'test.example'))], stats='csrf')
odd('cors_by_runtime', [X('cors.v3.Cors')], [H(('origin', 'http://a')), H(('origin', 'http://a'), ('access-control-request-method', 'GET'), method='OPTIONS')], routes=[R('/', PF('cors', 'cors.v3.CorsPolicy', '{allow_origin_string_match: [{exact: "http://a"}], filter_enabled: %s, shadow_enabled: %s}' % (KEY('c.e'), KEY('c.s', 0))))], runtime={'c.e': 0, 'c.s': 100}, stats='cors')
odd('cors_everything', [X('cors.v3.Cors')], [H(('origin', 'http://a'), ('access-control-request-method', 'GET'), ('access-control-request-private-network', 'true'), method='OPTIONS'), H(('origin', 'http://a')), H(('origin', 'http://a'), method='OPTIONS'), H(('origin', 'http://b'), ('access-control-request-method', 'GET'), ('access-control-request-private-network', 'true'), method='OPTIONS')], respond=lambda m, n: resp(200, 'x', [('access-control-allow-origin', 'http://up'), ('access-control-expose-headers', 'up'), ('vary', 'x')]), routes=[R('/', PF('cors', 'cors.v3.CorsPolicy', '{allow_origin_string_match: [{exact: "http://a"}], allow_methods: "GET,PUT", allow_headers: "a,b", expose_headers: "c,d", max_age: "60", allow_credentials: true, allow_private_network_access: true, forward_not_matching_preflights: false}'))], stats='cors')
odd('cors_preflights_not_forwarded', [X('cors.v3.Cors')], [H(('origin', 'http://b'), ('access-control-request-method', 'GET'), method='OPTIONS'), H(('origin', 'http://b'), method='OPTIONS')], routes=[R('/', PF('cors', 'cors.v3.CorsPolicy', '{allow_origin_string_match: [{exact: "http://a"}], forward_not_matching_preflights: %s}' % v)) for v in ('false',)])
odd('rate_limit_by_runtime', [X('local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, token_bucket: {max_tokens: 0, fill_interval: 60s}, filter_enabled: %s, filter_enforced: %s, request_headers_to_add_when_not_enforced: [{header: {key: x-over, value: "1"}}]}' % (KEY('l.e', 0), KEY('l.f')))], [H(), H(method='HEAD')], runtime={'l.e': 100, 'l.f': 0}, stats='lr\\.')
odd('ext_percentages', [X('local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, token_bucket: {max_tokens: 0, fill_interval: 60s}, filter_enabled: {default_value: {numerator: 10000, denominator: TEN_THOUSAND}}, filter_enforced: {default_value: {numerator: 1000000, denominator: MILLION}}}')], [H()])

# ---- buffer, compressor, decompressor: limits and odd messages
BUF = lambda n: X('buffer.v3.Buffer', '{max_request_bytes: %d}' % n)
odd('buffer_exactly', [BUF(5)], [POST(b'abcde'), POST(b'abcdef'), dict(raw=b'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n'), dict(raw=b'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n'), POST(b''), H(method='HEAD'), dict(raw=b'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n')])
odd('buffer_twice', [BUF(3), {**BUF(5), 'name': 'b2'}], [POST(b'abcd'), POST(b'abc'), POST(b'abcdef')])
odd('buffer_larger_behind_smaller', [{**BUF(5), 'name': 'b2'}, BUF(3)], [POST(b'abcd'), POST(b'abc'), POST(b'abcdef')])
odd('buffer_and_direct_answers', [BUF(3)], [POST(b'abcdef', path='/d'), POST(b'abc', path='/d'), POST(b'abcdef', path='/none')], routes=[{'match': {'prefix': '/d'}, 'direct_response': {'status': 204}}])
odd('buffer_over_the_hcm_limit', [BUF(100000)], [POST(b'x' * 5000)], extra=None, opts='{}')
GZ = '{response_direction_config: {common_config: {min_content_length: %d, content_type: ["text/plain"]%s}}%s, compressor_library: {name: g, typed_config: {"@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip}}%s}'
TEXT = lambda m, n: resp(200, b'a' * 100, [('content-type', 'text/plain')])
AE = lambda v, *more, **k: H(('accept-encoding', v), *more, **k)
odd('compressor_by_runtime', [X('compressor.v3.Compressor', GZ % (1, ', enabled: {default_value: true, runtime_key: c.e}', '', ''))], [AE('gzip')], respond=TEXT, runtime={'c.e': False}, stats='compressor', only={'content-encoding', 'vary'}, log='%RESPONSE_CODE% %RESPONSE_FLAGS%')
odd('compressor_ranges_and_upgrades', [X('compressor.v3.Compressor', GZ % (1, '', '', ''))], [AE('gzip', ('range', 'bytes=0-1')), AE('gzip', method='HEAD'), AE('gzip', path='/x')], respond=lambda m, n: resp(206 if m.h('range') else 200, b'a' * 100, [('content-type', 'text/plain'), ('accept-ranges', 'bytes')]), only={'content-encoding', 'vary', 'accept-ranges', 'content-length', 'transfer-encoding'}, log='%RESPONSE_CODE% %RESPONSE_FLAGS%')
odd('compressor_of_redirects_and_errors', [X('compressor.v3.Compressor', GZ % (1, '', '', ''))], [AE('gzip', path=p) for p in ('/301', '/404', '/500', '/204', '/304')], respond=lambda m, n: resp(int(m.path[1:]), b'' if m.path in ('/204', '/304') else b'a' * 100, [('content-type', 'text/plain')], cl=m.path not in ('/204', '/304')), only={'content-encoding', 'vary'}, log='%RESPONSE_CODE% %RESPONSE_FLAGS%')
odd('compressor_uncompressible', [X('compressor.v3.Compressor', GZ % (1, '', '', ''))], [AE('gzip', path='/404')], respond=lambda m, n: resp(404, b'a' * 100, [('content-type', 'text/plain; charset=utf-8')]), only={'content-encoding', 'vary'}, log='%RESPONSE_CODE% %RESPONSE_FLAGS%')
odd('compressor_transfer_encodings', [X('compressor.v3.Compressor', GZ % (1, '', '', ''))], [AE(v) for v in ('gzip;q=0', '*;q=0', 'identity', 'identity;q=0.5, gzip;q=0.1', 'GZIP', 'gzip ; q=1', 'deflate, *', 'x-gzip', '')], respond=TEXT, only={'content-encoding', 'vary'}, stats='compressor.g.gzip.(header|compressed|not)', log='%RESPONSE_CODE% %RESPONSE_FLAGS%')
odd('compressor_per_route', [X('compressor.v3.Compressor', GZ % (1, '', '', ''))], [AE('gzip', path=p) for p in ('/off', '/over', '/x')], routes=[R('/off', PF('compressor', 'compressor.v3.CompressorPerRoute', '{disabled: true}')), R('/over', PF('compressor', 'compressor.v3.CompressorPerRoute', '{overrides: {response_direction_config: {remove_accept_encoding_header: {value: true}}}}'.replace('{value: true}', 'true'))), R('/x')], respond=TEXT, only={'content-encoding', 'vary', 'accept-encoding'}, log='%RESPONSE_CODE% %RESPONSE_FLAGS%')
odd('decompressor_by_runtime', [X('decompressor.v3.Decompressor', '{request_direction_config: {common_config: {enabled: {default_value: true, runtime_key: d.r}}}, decompressor_library: {name: g, typed_config: {"@type": type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip}}}')], [POST(b'junk', ('content-encoding', 'gzip')), POST(b'', ('content-encoding', 'gzip')), H(('content-encoding', 'gzip'))], runtime={'d.r': False}, stats='decompressor')

DE = X('decompressor.v3.Decompressor', EACH['decompressor'][1])
odd('decompressor_advertises', [DE], [H(*[('accept-encoding', v) for v in vs]) for vs in ((), ('gzip',), ('br',), ('GZIP',), ('gzip;q=0.5',), ('br, gzip',), ('gzip,br',), ('x-gzip',), ('br', 'gzip'), ('*',), ('identity;q=0',), ('',))], respond=lambda m, n: resp(200, m.h('accept-encoding') or 'none'))
odd('buffer_of_pieces_too_large', [BUF(3)], [dict(raw=b'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n'), POST(b'x' * 4)])
odd('fault_statuses_in_runtime', [X('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}}')], [H()], runtime={'fault.http.abort.http_status': 200})
# ---- metadata, filter state, header rules at their edges
odd('header_to_metadata_forms', [X('header_to_metadata.v3.Config', '{request_rules: [{header: x-n, on_header_present: {metadata_namespace: ns, key: num, type: NUMBER}}, {header: x-p, on_header_present: {metadata_namespace: ns, key: p, type: PROTOBUF_VALUE, encode: BASE64}}, {cookie: c, on_header_present: {metadata_namespace: ns, key: c}, on_header_missing: {metadata_namespace: ns, key: c, value: none}}, {header: x-r, on_header_present: {key: r, regex_value_rewrite: {pattern: {regex: "^(a+).*"}, substitution: "<\\\\1>"}}}]}')], [H(('x-n', v)) for v in ('1', '1.5', '-2e3', 'x', '', '0x10')] + [H(('x-p', v)) for v in ('GgEx', '!!', '')] + [H(('cookie', v)) for v in ('c=1', 'd=2; c="q"', 'c=', 'c')] + [H(('x-r', v)) for v in ('aab', 'bb', 'a')], log='%DYNAMIC_METADATA(ns)% %DYNAMIC_METADATA(envoy.filters.http.header_to_metadata)%')
odd('header_to_metadata_repeated_and_long', [X('header_to_metadata.v3.Config', '{request_rules: [{header: x-a, on_header_present: {metadata_namespace: ns, key: a}, remove: true}], response_rules: [{header: x-b, on_header_present: {metadata_namespace: ns, key: b}, remove: true}]}')], [H(('x-a', '1'), ('x-a', '2')), H(('x-a', 'y' * 9000))], respond=lambda m, n: resp(200, 'x', [('x-b', '1'), ('x-b', '2')]), log='%DYNAMIC_METADATA(ns:a):10% %DYNAMIC_METADATA(ns:b)%')
odd('header_to_metadata_stats', [X('header_to_metadata.v3.Config', '{stat_prefix: mine, request_rules: [{header: x-n, on_header_present: {metadata_namespace: ns, key: num, type: NUMBER}}, {header: x-a, on_header_missing: {metadata_namespace: ns, key: a, value: b}}]}')], [H(('x-n', '1')), H(('x-n', 'x')), H()], stats='header_to_metadata|mine')
odd('set_metadata_over', [X('set_metadata.v3.Config', '{metadata: [{metadata_namespace: ns, value: {a: 1, b: [1], c: {d: e}}}, {metadata_namespace: ns, value: {a: 2, b: [2], c: {f: g}}, allow_overwrite: true}, {metadata_namespace: ns, value: {z: 1}}]}')], [H()], log='%DYNAMIC_METADATA(ns)%', stats='set_metadata')
odd('set_metadata_old_fields', [X('set_metadata.v3.Config', '{metadata_namespace: ns, value: {a: 1}, metadata: [{metadata_namespace: ns, value: {a: 2}}]}')], [H()], log='%DYNAMIC_METADATA(ns)%', stats='set_metadata')
FS = lambda *os: X('set_filter_state.v3.Config', '{on_request_headers: [%s]}' % ', '.join(os))
OBJ = lambda key, text, more='': '{object_key: %s, factory_key: envoy.string, format_string: {text_format_source: {inline_string: "%s"}}%s}' % (key, text, more)
odd('set_filter_state_edges', [FS(OBJ('a', '%REQ(x-a)%', ', skip_if_empty: true'), OBJ('a', 'second'), OBJ('b', '%REQ(x-a)%'), OBJ('c', '%FILTER_STATE(a:PLAIN)%'), OBJ('d', 'x', ', read_only: true'), OBJ('d', 'later'))], [H(('x-a', '1')), H()], log='%FILTER_STATE(a:PLAIN)% %FILTER_STATE(b:PLAIN)% %FILTER_STATE(c:PLAIN)% %FILTER_STATE(d:PLAIN)%')
odd('set_filter_state_read_only', [FS(OBJ('c', 'x', ', read_only: true'), OBJ('c', 'later', ', read_only: true'), OBJ('d', 'x'), OBJ('d', 'later', ', read_only: true'), OBJ('e', 'x', ', read_only: true'), OBJ('e', 'later'))], [H()], log='%FILTER_STATE(c:PLAIN)% %FILTER_STATE(d:PLAIN)% %FILTER_STATE(e:PLAIN)%')
odd('header_mutation_edges', [X('header_mutation.v3.HeaderMutation', '{mutations: {request_mutations: [{append: {header: {key: x-a, value: "%REQ(x-a)%b"}, append_action: OVERWRITE_IF_EXISTS}}, {remove_on_match: {key_matcher: {prefix: x-rm}}}, {append: {header: {key: x-new, value: "%REQ(:path)%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}], response_mutations: [{remove: content-length}, {append: {header: {key: x-s, value: "%RESPONSE_CODE% %RESP(x-u)% %UPSTREAM_CLUSTER%"}, append_action: ADD_IF_ABSENT}}]}}')], [H(('x-a', 'a'), ('x-rm1', '1'), ('x-rm-2', '2'), ('y', '3')), H(method='HEAD')], respond=lambda m, n: resp(200, 'abc', [('x-u', 'u')]))
odd('grpc_stats_and_web', [X('grpc_stats.v3.FilterConfig', '{stats_for_all_methods: true}'), X('grpc_web.v3.GrpcWeb')], [POST(b'\0\0\0\0\1a', ('content-type', 'application/grpc-web'), path='/a.S/M'), POST(b'', ('content-type', 'application/grpc'), path='/a.S/M'), POST(b'\0\0\0\0\1a\0\0\0', ('content-type', 'application/grpc'), path='/a.S/M')], respond=lambda m, n: resp(200, b'\0\0\0\0\1b', [('content-type', 'application/grpc'), ('grpc-status', '0')]), stats='grpc')
WEB = ('content-type', 'application/grpc-web')
odd('grpc_web_stats', [X('grpc_web.v3.GrpcWeb')], [POST(b'\0\0\0\0\1a', WEB, path=p) for p in ('/a.S/M', '/a.S/M?x=1', '/a.S', '/a/b/c', '/fails/M', '/none/M', '/odd/M', '/d/M')] + [POST(b'x', ('content-type', 'application/grpc'), path='/a.S/M')], respond=lambda m, n: resp(200, b'', [('content-type', 'application/grpc')] + ([] if 'none' in m.path else [('grpc-status', '7' if 'fails' in m.path else '99' if 'odd' in m.path else '0')])), routes=[{'match': {'prefix': '/d/'}, 'direct_response': {'status': 200}}, R('/')], stats='grpc-web', only={'grpc-status', 'content-type'})
odd('cdn_loop_behind_others', [X('cdn_loop.v3.CdnLoopConfig', '{cdn_id: me, max_allowed_occurrences: 0}'), X('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}}')], [H(), H(('cdn-loop', 'me')), H(('cdn-loop', 'a,b')), H(('cdn-loop', ''))])
odd('rbac_log_and_metadata', [X('rbac.v3.RBAC', '{rules: {action: LOG, policies: {p: {permissions: [{header: {name: x-log, present_match: true}}], principals: [{any: true}]}}}, shadow_rules: {action: ALLOW, policies: {}}, shadow_rules_stat_prefix: sh, rules_stat_prefix: ru}')], [H(), H(('x-log', '1'))], log='%RESPONSE_CODE% %DYNAMIC_METADATA(envoy.filters.http.rbac)% %DYNAMIC_METADATA(envoy.common)%', stats='rbac')
odd('answers_before_the_body', [X('rbac.v3.RBAC', EACH['rbac'][1])], [POST(b'x' * 100000), dict(raw=b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n')])
odd('optional_and_unknown', [{'name': 'nope', 'is_optional': True, 'typed_config': {'@type': 'type.googleapis.com/google.protobuf.StringValue', 'value': 'x'}}, X('header_mutation.v3.HeaderMutation', EACH['header_mutation'][1])], [H()], routes=[R('/', {'typed_per_filter_config': {'zz': {'@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', 'is_optional': True, 'config': {'@type': 'type.googleapis.com/google.protobuf.StringValue', 'value': 'x'}}}})])


# ---- what is refused
BAD = {
    'fault': ('fault.v3.HTTPFault', ['{abort: {}}', '{abort: {http_status: 199}}', '{abort: {http_status: 600}}', '{delay: {}}', '{delay: {fixed_delay: 0s}}', '{delay: {fixed_delay: -1s}}', '{abort: {http_status: 200, grpc_status: 1}}', '{response_rate_limit: {fixed_limit: {limit_kbps: 0}}}', '{response_rate_limit: {}}', '{abort: {percentage: {numerator: 100}}}', '{headers: [{}]}', '{max_active_faults: 0}', '{upstream_cluster: "x", downstream_nodes: [a]}', '{abort: {http_status: 200, percentage: {numerator: 101}}}']),
    'buffer': ('buffer.v3.Buffer', ['{}', '{max_request_bytes: 0}', '{max_request_bytes: -1}', '{max_request_bytes: 4294967295}', '{max_request_bytes: 4294967296}']),
    'csrf': ('csrf.v3.CsrfPolicy', ['{}', '{filter_enabled: {}}', '{filter_enabled: {default_value: {}}}', '{filter_enabled: %s, additional_origins: [{}]}' % ON, '{filter_enabled: %s, additional_origins: [{safe_regex: {regex: "("}}]}' % ON]),
    'cdn_loop': ('cdn_loop.v3.CdnLoopConfig', ['{}', '{cdn_id: ""}', '{cdn_id: "a b"}', '{cdn_id: "a:80"}', '{cdn_id: "[::1]"}', '{cdn_id: "a,b"}', '{cdn_id: "\\"a\\""}']),
    'ip_tagging': ('ip_tagging.v3.IPTagging', ['{}', '{ip_tags: [{}]}', '{ip_tags: [{ip_tag_name: a, ip_list: [{address_prefix: x}]}]}', '{ip_tags: [{ip_tag_name: a, ip_list: [{address_prefix: 1.2.3.4, prefix_len: 33}]}]}', '{ip_tags: [{ip_tag_name: a}], ip_tag_header: {}}', '{ip_tags: [{ip_tag_name: a}], ip_tag_header: {header: "a b"}}', '{request_type: 7, ip_tags: [{ip_tag_name: a}]}']),
    'header_mutation': ('header_mutation.v3.HeaderMutation', ['{}', '{mutations: {request_mutations: [{}]}}', '{mutations: {request_mutations: [{remove: ""}]}}', '{mutations: {request_mutations: [{remove: host}]}}', '{mutations: {request_mutations: [{remove: ":path"}]}}', '{mutations: {request_mutations: [{append: {}}]}}', '{mutations: {request_mutations: [{append: {header: {key: a, value: "%NOPE%"}}}]}}', '{mutations: {request_mutations: [{append: {header: {key: "a b", value: x}}}]}}', '{mutations: {request_mutations: [{remove_on_match: {}}]}}']),
    'header_to_metadata': ('header_to_metadata.v3.Config', ['{}', '{request_rules: [{}]}', '{request_rules: [{header: a}]}', '{request_rules: [{header: a, cookie: b, on_header_present: {key: a}}]}', '{request_rules: [{header: a, on_header_present: {}}]}', '{request_rules: [{header: a, on_header_missing: {key: a}}]}', '{request_rules: [{header: a, on_header_present: {key: a, value: b, regex_value_rewrite: {pattern: {regex: a}, substitution: b}}}]}', '{response_rules: [{cookie: a, on_header_present: {key: a}}]}', '{request_rules: [{cookie: a, on_header_present: {key: a}, remove: true}]}']),
    'set_metadata': ('set_metadata.v3.Config', ['{}', '{metadata: [{}]}', '{metadata: [{metadata_namespace: a}]}', '{metadata_namespace: a}', '{value: {a: b}}', '{metadata: [{metadata_namespace: a, value: {a: b}, typed_value: {"@type": type.googleapis.com/google.protobuf.StringValue}}]}']),
    'set_filter_state': ('set_filter_state.v3.Config', ['{}', '{on_request_headers: [{}]}', '{on_request_headers: [{object_key: a, format_string: {text_format_source: {inline_string: a}}}]}', '{on_request_headers: [{object_key: a, factory_key: nope, format_string: {text_format_source: {inline_string: a}}}]}', '{on_request_headers: [{object_key: envoy.tcp_proxy.cluster, format_string: {text_format_source: {inline_string: a}}}]}', '{on_request_headers: [{factory_key: envoy.string, format_string: {text_format_source: {inline_string: a}}}]}', '{on_request_headers: [{object_key: a, factory_key: envoy.string}]}']),
    'local_ratelimit': ('local_ratelimit.v3.LocalRateLimit', ['{}', '{stat_prefix: ""}', '{stat_prefix: a}', '{stat_prefix: a, token_bucket: {}}', '{stat_prefix: a, token_bucket: {max_tokens: 1}}', '{stat_prefix: a, token_bucket: {max_tokens: 1, fill_interval: 0.01s}}', '{stat_prefix: a, token_bucket: {max_tokens: 1, tokens_per_fill: 0, fill_interval: 1s}}', '{stat_prefix: a, filter_enabled: %s}' % ON, '{stat_prefix: a, stage: 11}', '{stat_prefix: a, descriptors: [{}]}', '{stat_prefix: a, status: {code: 1000}}', '{stat_prefix: a, token_bucket: {max_tokens: 0, fill_interval: 1s}}']),
    'rbac': ('rbac.v3.RBAC', ['{}', '{rules: {}}', '{rules: {policies: {p: {}}}}', '{rules: {policies: {p: {permissions: [{any: true}]}}}}', '{rules: {policies: {p: {permissions: [{any: false}], principals: [{any: true}]}}}}', '{rules: {policies: {p: {permissions: [{}], principals: [{any: true}]}}}}', '{rules: {action: 9}}', '{rules: {policies: {p: {permissions: [{destination_port: 70000}], principals: [{any: true}]}}}}', '{rules: {policies: {p: {permissions: [{destination_port_range: {start: 5, end: 1}}], principals: [{any: true}]}}}}']),
    'grpc_stats': ('grpc_stats.v3.FilterConfig', ['{}', '{stats_for_all_methods: true, individual_method_stats_allowlist: {}}']),
    'compressor': ('compressor.v3.Compressor', ['{}', '{compressor_library: {}}', '{compressor_library: {name: g, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}}', GZ % (1, '', '', ', choose_first: true')]),
}
for name, (ty, configs) in BAD.items():
    def refused(name=name, ty=ty, configs=configs):
        @case('verdicts_of_' + name, timeout=60)
        async def _(t):
            await t.up('u1')
            for i, c in enumerate(configs):
                code, _ = await t.run_to_end(simple(t, filters=[X(ty, c)]), args=('--mode', 'validate'))
                t.see('%d' % i, 'refused' if code else 'taken')
    refused()
