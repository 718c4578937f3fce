"""Filters where they meet bodies, trailers, HEAD, other filters' answers and each other; codings beyond gzip; rarer rules of rbac."""
import base64
import gzip
import json

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
POST = lambda body, *hs, **k: dict(method='POST', body=body, headers=list(hs), **k)
PF = lambda name, ty, cfg: {'typed_per_filter_config': {name: {'@type': ftype(ty), **Y(cfg)}}}
R = lambda p, *more, **k: {'match': {'prefix': p}, 'route': {'cluster': 'c1', **k}, **{a: b for m in more for a, b in m.items()}}
X = lambda ty, c='{}', name=None: http_filter(name or ty.split('.')[0], ty, c)
TRAILERS = '{http_protocol_options: {enable_trailers: true}}'
UP_TRAILERS = '{typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {enable_trailers: true}}}}}'
CHUNKED = lambda body, trailers=b'', head=b'', path=b'/': dict(raw=b'POST %s HTTP/1.1\r\nhost: test.example\r\ntransfer-encoding: chunked\r\n%s\r\n%x\r\n%s\r\n0\r\n%s\r\n' % (path, head, len(body), body, trailers))


def deep(name, filters, reqs, respond=None, routes=None, vhosts=None, opts=None, log=LOG, stats=None, only=None, up_only=None, clusters=None, copts=None, plain=None):
    @case('deep_' + name)
    async def _(t):
        u = await t.up('u1', respond)
        kw = {'vhosts': vhosts} if vhosts else {'routes': routes}
        await t.start(simple(t, filters=filters, log=log, opts=opts, copts=copts, **kw))
        for i, k in enumerate(reqs):
            n = len(u.reqs)
            r = await t.req(**k)
            if plain:
                plain(r)
            t.see('%d' % i, r, only=only)
            t.see('%d up' % i, [t.req_view(m, only=up_only) for m in u.reqs[n:]])
        if stats:
            t.see('stats', await t.stats(regex=stats))
        t.see('log', await t.logs())


# ---- decompressor: what Envoy's own libraries have packed, and what grows beyond measure
GZ, GZ0 = gzip.compress(b'hello ' * 20, mtime=0), gzip.compress(b'0' * 100000, mtime=0)
BR, BR0 = base64.b64decode('G3cAACRAapDE6vCczgA='), base64.b64decode('W5+GAUACJh4LJMsvAA==')
ZS, ZS0 = base64.b64decode('KLUv/SB4bQAAMGhlbGxvIAEAL2kpAg=='), base64.b64decode('KLUv/aCghgEAVQAAEDAwAQCbhjnAAg==')
DEC = lambda kind, c='{}', lib='{}': http_filter('dec', 'decompressor.v3.Decompressor', merge({'decompressor_library': {'name': 'lib', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.compression.%s.decompressor.v3.%s' % (kind, kind.title()), **Y(lib)}}}, Y(c)))
KINDS = {'gzip': ('gzip', GZ, GZ0), 'brotli': ('br', BR, BR0), 'zstd': ('zstd', ZS, ZS0)}
size = lambda r: r.__setitem__('body', b'%d bytes' % len(r.body)) if len(r.body) > 1000 else None
for kind, (enc, good, zeros) in KINDS.items():
    CE = ('content-encoding', enc)
    deep('decompressor_%s' % kind, [DEC(kind)], [POST(good, CE), POST(good, ('content-encoding', enc.upper())), POST(b'plain'), POST(good, ('content-encoding', enc + ', x')), POST(good, ('content-encoding', 'x, ' + enc)), POST(good, CE, ('cache-control', 'No-Transform'))], stats=r'decompressor\.', up_only=('content-encoding', 'content-length', 'transfer-encoding', 'accept-encoding'))
    deep('decompressor_%s_of_responses' % kind, [DEC(kind)], [H(), H(('accept-encoding', 'x')), H(method='HEAD')], respond=lambda s, n=0, good=good, CE=CE: resp(200, good, [CE, ('etag', '"x"'), ('vary', 'a')]), stats=r'decompressor\.')
    deep('decompressor_%s_in_pieces' % kind, [DEC(kind)], [dict(raw=b'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-encoding: %s\r\n\r\n' % enc.encode() + b''.join(b'1\r\n%c\r\n' % b for b in good) + b'0\r\n\r\n')], up_only=('content-encoding', 'content-length', 'transfer-encoding'), stats=r'decompressor\..*(compressed_bytes|error|overflow)')
    deep('decompressor_%s_before_trailers' % kind, [DEC(kind)], [CHUNKED(good, b'x-t: 1\r\n', b'content-encoding: %s\r\n' % enc.encode())], opts=TRAILERS)
    deep('decompressor_%s_cut_short' % kind, [DEC(kind)], [POST(good[:-4], CE), POST(b'', CE), POST(good + good, CE), POST(b'\x00\x01\x02\x03' * 9, CE)], up_only=('content-encoding', 'content-length', 'transfer-encoding'), log='%RESPONSE_CODE%', stats=r'decompressor\..*request')
for kind, (enc, good, zeros) in KINDS.items():
    CE = ('content-encoding', enc)
    for what, body in (('garbage', b'\x00\x01\x02\x03' * 9), ('zeros', zeros), ('cut', good[:-4]), ('twice', good + good), ('tail', good + b'tail')):
        deep('decompressor_%s_error_%s' % (kind, what), [DEC(kind)], [POST(body, CE)], log='%RESPONSE_CODE%', up_only=('content-encoding',), stats=r'decompressor\..*(library|request)')
    deep('decompressor_%s_tells_in_trailers' % kind, [DEC(kind)], [CHUNKED(good, b'x-t: 1\r\n', b'content-encoding: %s\r\n' % enc.encode())], opts=TRAILERS, copts=UP_TRAILERS,
         respond=lambda s, n=0, good=good, enc=enc: b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-encoding: %s\r\n\r\n%x\r\n%s\r\n0\r\nx-u: 1\r\n\r\n' % (enc.encode(), len(good), good))
deep('decompressor_both_directions_rules', [DEC('gzip', '{request_direction_config: {common_config: {ignore_no_transform_header: true}}, response_direction_config: {common_config: {ignore_no_transform_header: true}}}')], [POST(GZ, ('content-encoding', 'gzip'), ('cache-control', 'no-transform'))], respond=lambda s, n=0: resp(200, GZ, [('content-encoding', 'gzip'), ('cache-control', 'no-transform')]))
deep('compressor_after_decompressor', [X('compressor.v3.Compressor', '{compressor_library: {name: gz, typed_config: {"@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip}}, response_direction_config: {common_config: {min_content_length: 1}}}'), DEC('brotli')], [H(('accept-encoding', 'gzip'))], respond=lambda s, n=0: resp(200, BR, [('content-encoding', 'br'), ('content-type', 'text/plain')]),
     log='%RESPONSE_CODE%', plain=lambda r: r.__setitem__('body', b'gunzipped:' + gzip.decompress(r.body)) if r.body[:2] == b'\x1f\x8b' else None)

# ---- rbac's rarer rules
RB = lambda who='[{any: true}]', what='[{any: true}]', action='ALLOW', more='': http_filter('rb', 'rbac.v3.RBAC', '{rules: {action: %s, policies: {p: {permissions: %s, principals: %s}}}%s}' % (action, what, who, more))
FS = lambda key, text, factory='envoy.string': http_filter('fs' + key, 'set_filter_state.v3.Config', {'on_request_headers': [{'object_key': key, 'factory_key': factory, 'format_string': {'text_format_source': {'inline_string': text}}}]})
SM = http_filter('sm', 'set_metadata.v3.Config', '{metadata: [{metadata_namespace: ns, value: {role: admin, deep: {a: b}}}]}')
A, B = H(('x-a', 'yes')), H(('x-a', 'no'))
deep('rbac_filter_state', [FS('k', '%REQ(x-a)%'), RB('[{filter_state: {key: k, string_match: {exact: "yes"}}}]')], [A, B, H()])
deep('rbac_filter_state_missing', [RB('[{not_id: {filter_state: {key: k, string_match: {prefix: x}}}}]')], [A])
MD = lambda v, src='': '{metadata_matcher: {filter: ns, path: [{key: role}], value: {string_match: {exact: %s}}}%s}' % (v, src)
for v, src in (('admin', ''), ('admin', ', metadata_source: DYNAMIC'), ('admin', ', metadata_source: ROUTE'), ('route', ', metadata_source: ROUTE')):
    name = v + '_' + (src.split()[-1].lower() if src else 'usual')
    routes = [{**R('/'), 'metadata': {'filter_metadata': {'ns': {'role': 'route'}}}}]
    deep('rbac_sourced_metadata_of_principals_' + name, [SM, RB('[{sourced_metadata: %s}]' % MD(v, src))], [H()], routes=routes)
    deep('rbac_sourced_metadata_of_permissions_' + name, [SM, RB(what='[{sourced_metadata: %s}]' % MD(v, src))], [H()], routes=routes)
TEMPLATE = '[{uri_template: {name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/a/{x}/c"}}}]'
deep('rbac_uri_template', [RB(what=TEMPLATE)], [H(path=p) for p in ('/a/b/c', '/a/b/c?d', '/a/b', '/a/b/x/c', '/a//c')])
deep('rbac_metadata_on_both', [RB('[{header: {name: x-a, string_match: {exact: "yes"}}}]', more=', shadow_rules: {action: DENY, policies: {q: {permissions: [{url_path: {path: {prefix: /s}}}], principals: [{any: true}]}}}')], [A, B, H(path='/s'), H(('x-a', 'yes'), path='/s')], log='%RESPONSE_CODE% %DYNAMIC_METADATA(envoy.filters.http.rbac)%', stats=r'rbac\.')
deep('rbac_head_and_bodies', [RB('[{header: {name: x-a, present_match: true}}]')], [H(method='HEAD'), POST(b'x' * 100), CHUNKED(b'abc', b'x-t: 1\r\n')])
deep('rbac_levels', [RB(action='DENY')], [H(path=p) for p in ('/r', '/v', '/off')], stats=r'rbac\.', vhosts=[{'name': 'v', 'domains': ['*'], **PF('rb', 'rbac.v3.RBACPerRoute', '{}'), 'routes': [R('/r', PF('rb', 'rbac.v3.RBACPerRoute', '{rbac: {rules: {action: DENY, policies: {own: {permissions: [{any: true}], principals: [{any: true}]}}}}}')), R('/off', {'typed_per_filter_config': {'rb': {'@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', 'disabled': True}}}), R('/')]}])

# ---- others, at their edges
BUF = lambda n: http_filter('bu', 'buffer.v3.Buffer', '{max_request_bytes: %d}' % n)
deep('buffer_before_cors_preflight', [BUF(3), X('cors.v3.Cors')], [H(('origin', 'http://a'), ('access-control-request-method', 'PUT'), method='OPTIONS'), POST(b'abcdef')], routes=[R('/', PF('cors', 'cors.v3.CorsPolicy', '{allow_origin_string_match: [{exact: "http://a"}], allow_methods: PUT}'))])
deep('buffer_disabled_by_the_host', [BUF(3)], [POST(b'abcdef'), POST(b'abcdef', path='/own')], vhosts=[{'name': 'v', 'domains': ['*'], **PF('bu', 'buffer.v3.BufferPerRoute', '{disabled: true}'), 'routes': [R('/own', PF('bu', 'buffer.v3.BufferPerRoute', '{buffer: {max_request_bytes: 2}}')), R('/')]}])
deep('buffer_with_expect', [BUF(10)], [dict(raw=b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\nabc')])
deep('cors_of_local_replies', [X('cors.v3.Cors'), X('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}, headers: [{name: x-f, present_match: true}]}')], [H(('origin', 'http://a'), ('x-f', '1')), H(('origin', 'http://a'), path='/none-such'), H(('origin', 'http://b'), ('x-f', '1'))], routes=[R('/', PF('cors', 'cors.v3.CorsPolicy', '{allow_origin_string_match: [{exact: "http://a"}], expose_headers: x-e, allow_credentials: true}'))], stats=r'http\.in\.(cors|fault)\.')
deep('cors_levels', [X('cors.v3.Cors')], [H(('origin', o), ('access-control-request-method', 'PUT'), method='OPTIONS', path=p) for o in ('http://a', 'http://v') for p in ('/r', '/x')], vhosts=[{'name': 'v', 'domains': ['*'], **PF('cors', 'cors.v3.CorsPolicy', '{allow_origin_string_match: [{exact: "http://v"}], allow_methods: VHOST, max_age: "7"}'), 'routes': [R('/r', PF('cors', 'cors.v3.CorsPolicy', '{allow_origin_string_match: [{exact: "http://a"}], allow_headers: x-r}')), R('/')]}])
deep('cors_odd_origins', [X('cors.v3.Cors')], [H(('origin', o)) for o in ('', 'null', 'HTTP://A', 'http://a, http://b')] + [H(('origin', 'http://a'), ('origin', 'http://b'))], routes=[R('/', PF('cors', 'cors.v3.CorsPolicy', '{allow_origin_string_match: [{exact: "http://a"}, {exact: "null"}]}'))], stats=r'cors')
deep('csrf_levels_and_bodies', [X('csrf.v3.CsrfPolicy', '{filter_enabled: {default_value: {numerator: 100}}}')], [POST(b'abc', ('origin', 'http://x'), path='/x'), POST(b'abc', ('origin', 'http://x'), path='/off'), POST(b'', ('origin', 'http://x'), path='/own'), POST(b'a', ('origin', 'http://test.example')), POST(b'a', ('origin', ''), ('referer', 'http://test.example/x')), POST(b'a', ('origin', 'null')), POST(b'a', ('origin', 'null'), ('referer', 'http://test.example/x')), POST(b'a', ('origin', 'http://')), POST(b'a', ('origin', 'NULL'))], stats='csrf',
     routes=[R('/off', PF('csrf', 'csrf.v3.CsrfPolicy', '{filter_enabled: {default_value: {numerator: 0}}}')), R('/own', PF('csrf', 'csrf.v3.CsrfPolicy', '{filter_enabled: {default_value: {numerator: 100}}, additional_origins: [{exact: x}]}')), R('/')])
deep('header_mutation_trailers_of_both', [X('header_mutation.v3.HeaderMutation', '{mutations: {request_trailers_mutations: [{append: {header: {key: x-rt, value: "%REQ(:path)%"}}}, {remove: x-gone}], response_trailers_mutations: [{append: {header: {key: x-st, value: "%RESPONSE_CODE%"}}}]}}')], [CHUNKED(b'abc', b'x-t: 1\r\nx-gone: 1\r\n'), POST(b'abc'), H(method='HEAD')],
     respond=lambda s, n=0: b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-u: 1\r\n\r\n', opts=TRAILERS, copts=UP_TRAILERS)
deep('header_to_metadata_meets_local_replies', [X('header_to_metadata.v3.Config', '{request_rules: [{header: x-a, on_header_present: {metadata_namespace: m, key: q}, remove: true}], response_rules: [{header: x-b, on_header_present: {metadata_namespace: m, key: s}, on_header_missing: {metadata_namespace: m, key: s, value: none}}]}')], [H(('x-a', '1')), H(('x-a', '1'), path='/d'), H(('x-a', ''))], routes=[{'match': {'prefix': '/d'}, 'direct_response': {'status': 200}}, R('/')], respond=lambda s, n=0: resp(200, 'b', [('x-b', '2')]), log='%RESPONSE_CODE% %DYNAMIC_METADATA(m)%')
deep('fault_and_ratelimit', [X('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}, headers: [{name: x-f, present_match: true}]}'), X('local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, token_bucket: {max_tokens: 1, fill_interval: 60s}, filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}}')], [H(('x-f', '1')), H(), H(), H(('x-f', '1'))], stats=r'^lr\.|fault')
deep('fault_of_bodies', [X('fault.v3.HTTPFault', '{abort: {http_status: 503, percentage: {numerator: 100}}}')], [POST(b'x' * 10000), H(method='HEAD'), H(('content-type', 'application/grpc'), method='POST', body=b'x'), CHUNKED(b'abc', b'x-t: 1\r\n')])
deep('fault_disabled_by_levels', [X('fault.v3.HTTPFault', '{abort: {http_status: 503, percentage: {numerator: 100}}}')], [H(path='/off'), H(path='/own'), H(path='/x')], vhosts=[{'name': 'v', 'domains': ['*'], **PF('fault', 'fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}}'), 'routes': [R('/off', {'typed_per_filter_config': {'fault': {'@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', 'disabled': True}}}), R('/own', PF('fault', 'fault.v3.HTTPFault', '{}')), R('/')]}], stats='fault')
deep('local_ratelimit_head_and_grpc', [X('local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, token_bucket: {max_tokens: 1, fill_interval: 60s}, filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}, response_headers_to_add: [{header: {key: x-l, value: "%PROTOCOL%"}}]}')], [H(), H(method='HEAD'), POST(b'abc'), H(('content-type', 'application/grpc'), method='POST', body=b'x'), CHUNKED(b'abc', b'x-t: 1\r\n')], stats=r'^lr\.')
deep('grpc_web_of_head_only_answers', [X('grpc_web.v3.GrpcWeb')], [POST(b'\0\0\0\0\1a', ('content-type', 'application/grpc-web+proto')), POST(base64.b64encode(b'\0\0\0\0\1a'), ('content-type', 'application/grpc-web-text')), POST(b'!!!!', ('content-type', 'application/grpc-web-text')), POST(b'', ('content-type', 'application/grpc-web'))], respond=lambda s, n=0: resp(200, '', [('content-type', 'application/grpc'), ('grpc-status', '5'), ('grpc-message', 'gone')]), stats=r'grpc')
deep('grpc_web_of_failures', [X('grpc_web.v3.GrpcWeb')], [POST(b'\0\0\0\0\1a', ('content-type', 'application/grpc-web+proto')), POST(b'\0\0\0\0\1a', ('content-type', 'application/grpc-web'), path='/d')], respond=lambda s, n=0: resp(503, 'text', [('content-type', 'text/plain')]), routes=[{'match': {'prefix': '/d'}, 'direct_response': {'status': 403, 'body': {'inline_string': 'no'}}}, R('/')])
deep('http1_bridge_upgrades', [X('grpc_http1_bridge.v3.Config', '{upgrade_protobuf_to_grpc: true}')], [POST(b'abc', ('content-type', 'application/x-protobuf')), POST(b'', ('content-type', 'application/x-protobuf')), POST(b'abc', ('content-type', 'application/json')), H(('content-type', 'application/x-protobuf'))], respond=lambda s, n=0: b'HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n7\r\n\0\0\0\0\2hi\r\n0\r\ngrpc-status: 0\r\n\r\n', copts=UP_TRAILERS)
deep('http1_bridge_of_failures', [X('grpc_http1_bridge.v3.Config')], [POST(b'\0\0\0\0\1a', ('content-type', 'application/grpc'))], respond=lambda s, n=0: resp(200, b'', [('content-type', 'application/grpc'), ('grpc-status', '7'), ('grpc-message', 'no%20entry')]))
deep('http1_bridge_ignores_query', [X('grpc_http1_bridge.v3.Config', '{ignore_query_parameters: true}')], [POST(b'\0\0\0\0\1a', ('content-type', 'application/grpc'), path='/p?a=b'), POST(b'a', path='/p?a=b')], respond=lambda s, n=0: resp(200, b'\0\0\0\0\2hi', [('content-type', 'application/grpc'), ('grpc-status', '0')]))
TAGS = '{ip_tags: [{ip_tag_name: lo, ip_list: [{address_prefix: 127.0.0.1, prefix_len: 32}]}, {ip_tag_name: nine, ip_list: [{address_prefix: 127.0.0.9, prefix_len: 32}]}]%s}'
deep('ip_tagging_header_set', [X('ip_tagging.v3.IPTagging', TAGS % ', request_type: BOTH, ip_tag_header: {header: x-tags}')], [H(), H(('x-tags', 'evil')), H(('x-envoy-ip-tags', 'evil')), H(('x-tags', 'evil'), src='127.0.0.9'), H(('x-forwarded-for', '10.0.0.1'), ('x-tags', 'evil'))], stats='ip_tagging', up_only=('x-tags', 'x-envoy-ip-tags'))
deep('ip_tagging_header_appended', [X('ip_tagging.v3.IPTagging', TAGS % ', ip_tag_header: {header: x-tags, action: APPEND_IF_EXISTS_OR_ADD}')], [H(), H(('x-tags', 'mine')), H(('x-tags', 'a'), ('x-tags', 'b'))], up_only=('x-tags', 'x-envoy-ip-tags'))
deep('ip_tagging_reroutes', [X('ip_tagging.v3.IPTagging', TAGS % '')], [H(), H(('x-forwarded-for', '10.0.0.1'))], routes=[{'match': {'prefix': '/', 'headers': [{'name': 'x-envoy-ip-tags', 'string_match': {'contains': 'lo'}}]}, 'direct_response': {'status': 201}}, R('/')])
deep('cdn_loop_forms', [X('cdn_loop.v3.CdnLoopConfig', '{cdn_id: me, max_allowed_occurrences: 1}')], [H(('cdn-loop', v)) for v in ('me', 'me, me', 'ME', 'me; a=b', 'me;', 'a, , b', '"me"', 'me, "x', 'a b', ',me', 'me:80')] + [H(('cdn-loop', 'me'), ('cdn-loop', 'me'))])
deep('on_demand_is_there', [X('on_demand.v3.OnDemand')], [H(), H(path='/none')], routes=[R('/a')])
LOCAL = lambda **k: {'name': 'a', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy', **k}}
CODE = {'name': 'c', 'typed_config': {'@type': 'type.googleapis.com/envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput'}}
CR = lambda code, **k: http_filter('cr', 'custom_response.v3.CustomResponse', {'custom_response_matcher': {'matcher_list': {'matchers': [{'predicate': {'single_predicate': {'input': CODE, 'value_match': {'exact': code}}}, 'on_match': {'action': LOCAL(**k)}}]}}})
deep('custom_response_and_bodies', [CR('500', body={'inline_string': 'sorry'}, response_headers_to_add=[{'header': {'key': 'x-c', 'value': '%RESPONSE_CODE%'}}])], [H(), H(method='HEAD'), POST(b'abc'), H(('content-type', 'application/grpc'), method='POST', body=b'x')], respond=lambda s, n=0: b'HTTP/1.1 500 Oops\r\nx-up: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n', opts=TRAILERS)
deep('custom_response_over_rbac_and_cors', [X('cors.v3.Cors'), CR('403', status_code=499, body={'inline_string': 'sorry'}), RB(action='DENY')], [H(('origin', 'http://a'))], routes=[R('/', PF('cors', 'cors.v3.CorsPolicy', '{allow_origin_string_match: [{exact: "http://a"}]}'))])
deep('set_filter_state_and_fault', [FS('k', '%REQ(x-a)%'), X('fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}}')], [A], log='%RESPONSE_CODE% %FILTER_STATE(k:PLAIN)%')
deep('set_metadata_typed', [X('set_metadata.v3.Config', '{metadata: [{metadata_namespace: ns, typed_value: {"@type": type.googleapis.com/google.protobuf.StringValue, value: a}}, {metadata_namespace: ns, typed_value: {"@type": type.googleapis.com/google.protobuf.StringValue, value: b}}, {metadata_namespace: ns, value: {a: b}}, {metadata_namespace: ns2, value: {a: b}}, {metadata_namespace: ns2, typed_value: {"@type": type.googleapis.com/google.protobuf.StringValue, value: b}}]}')], [H()], log='%DYNAMIC_METADATA(ns)% %DYNAMIC_METADATA(ns2)%', stats='set_metadata')
deep('names_of_filters_in_details', [X('fault.v3.HTTPFault', '{abort: {grpc_status: 7, percentage: {numerator: 100}}}')], [H(), H(('content-type', 'application/grpc'), method='POST', body=b'x')])
