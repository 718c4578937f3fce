"""Everyday filters, once more: what one would not guess of each."""
import base64

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
T = 'type.googleapis.com/'
POST = lambda body, *hs, **k: dict(method='POST', body=body, headers=list(hs), **k)
B = 'envoy.filters.http.buffer'
BUF = lambda n, name=B: http_filter(name, 'buffer.v3.Buffer', '{max_request_bytes: %d}' % n)
GZIP = {'name': 'gz', 'typed_config': {'@type': T + 'envoy.extensions.compression.gzip.compressor.v3.Gzip'}}
COMP = lambda cfg='{}': http_filter('comp', 'compressor.v3.Compressor', {**Y(cfg), 'compressor_library': GZIP})
OFF = lambda name, kind: {'typed_per_filter_config': {name: {'@type': kind, 'disabled': True}}}


@case('buffer_of_frames')
async def _(t):
    """What ends a request is not held against its length, unless something waits before it."""
    u = await t.up('u1')
    await t.start(simple(t, filters=[BUF(10)], log=LOG + ' %BYTES_RECEIVED%'))
    t.see('one frame', await t.h2req(method='POST', body=b'abcdefghijkl'))
    c = await t.h2()
    hs = [(':method', 'POST'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')]
    sid = c.request(hs, None, end=False)
    await c.send_data(sid, b'abcdefgh', False)
    await t.stat_until('http.in.downstream_rq_active', lambda v: v == 1)
    await c.send_data(sid, b'ijkl', True)
    t.see('two frames', await c.done(sid))
    t.see('up', [t.req_view(m) for m in u.reqs])
    t.see('log', await t.logs())


@case('buffer_behind_a_larger_one')
async def _(t):
    u = await t.up('u1')
    await t.start(simple(t, filters=[BUF(100), BUF(5, 'b')], log=LOG + ' %BYTES_RECEIVED%'))
    t.see('much', await t.req(method='POST', body=b'abcdefghijkl'))
    t.see('little', await t.req(method='POST', body=b'abc'))
    t.see('up', [t.req_view(m) for m in u.reqs])
    t.see('log', await t.logs())


@case('compressor_off_by_the_route_is_off_for_responses')
async def _(t):
    u = await t.up('u1', lambda m, n: resp(200, b'x' * 1000, [('content-type', 'text/plain')]))
    route = lambda path, kind: {'match': {'prefix': path}, 'route': {'cluster': 'c1'}, **OFF('comp', kind)}
    routes = [route('/off', ftype('compressor.v3.CompressorPerRoute')), route('/disabled', T + 'envoy.config.route.v3.FilterConfig')]
    await t.start(simple(t, filters=[COMP('{request_direction_config: {common_config: {enabled: {default_value: true, runtime_key: k}}}, response_direction_config: {remove_accept_encoding_header: true}}')], routes=routes))
    for path in ('/off', '/disabled'):
        t.see(path, await t.req(**POST(b'y' * 1000, ('accept-encoding', 'gzip'), ('content-type', 'text/plain'), path=path)))
        t.see(path + ' stats', await t.stats(regex=r'^http.*compressor.*(?<!total_compressed_bytes)$'))
    t.see('up', [t.req_view({**m, 'body': b'compressed' if len(m.body) < 100 else m.body}) for m in u.reqs])


# ---- dictionaries of zstd: two that `zstd --train` has made, with the numbers 77 and 99, and a body of the first
DICT = base64.b64decode('N6Qw7E0AAAAkENgKkg4MwzAMg7vW+CSbT1tKy9L2su0zAXlvQghphN2lmVwEUwEgGA6IyxD0BgAABEAGDyccowuj1iiIYRAAAAAAAAAAAAAAAAAAIE0ECQBgAAAAAPTxhrlBTipjCAwAAAAAAAAAAAABAAAABAAAAAgAAABvciIsICJub3RlIjogIm51IGNoaSB1cHNpbG9uIGdhbW1hIHRhdSBldGEgdGhldGEgcHNpIn17ImlkIjogMjFvdGUiOiAib21pY3JvbiBlcHNpbG9uIHhpIGFscGhhIGlvdGEgb21pY3JvbiByaG8gZXRhIn17ImlkIjogNDMsICJ1c2VyIjogIm9tZWdhLWRlbHRhIiwgInJvbGUiOiAiYWRtaW5pc3RyYXRvciIsICJub3RlIjogImFscGhhIGVwc2lsb24ga2FwcGEga2FwcGEgc2lnbWEgcHNpIGxhbWJkYSB1cHNpbG9uIn17ImlkIjogMTczLCAidXNlciI6ICJwc2ktdXBzaWxvbiIsICJyb2xlIjogImFkbWluaXN0cmF0b3IiLCAibm90ZSI6ICJkZWx0YSBlcHNpbG9uIHVwc2lsb24gZXRhIG9taWNyb24gcHNpIG9tZWdhIGRlbHRhIn17ImlkIjogMiwgInVzZXIiOiAiZGVsdGEtdGF1IiwgInJvbGUiOiAiYWRtaW5pc3RyYXRvciIsICJub3RlIjogInRoZXRhIGFscGhhIG9tZWdhIGV0YSB4aSBpb3RhIHpldGEgbnUifXsiaWQiOiA3MSwgInVz')
DICT2 = base64.b64decode('N6Qw7GMAAAAjENhJkg4MwzAMgzv2sb0blnsfLBFPGoGS41ojrRECP0uSlQpTASgYCoQTq/IFAAAEIEcPIqAgjSIGIYihAAAAAAAAAAAAAKIBAIFYC0gAAAAAAACUcqX4iZ5lyAAAAAAAAAAAAAAAAQAAAAQAAAAIAAAAb3RlIjogInVwc2lsb24gdGF1IHJobyBjaGkgeGkga2FwcGEgdXBzaWxvbiBzaWdtYSJlIjogIm9tZWdhIGFscGhhIGV0YSB6ZXRhIHRhdSBvbWljcm9uIHVwc2lsb24gcGhpImljcm9uIGJldGEgcHNpIn17ImlkIjogMjIsICJ1c2VyIjogInBzaS1jaGkiLCAicm9sb3RlIjogIm9taWNyb24gYmV0YSBvbWVnYSBldGEgcmhvIHVwc2lsb24gbnUgZGVsdGFvdGUiOiAicHNpIG9taWNyb24gdGhldGEgc2lnbWEgZGVsdGEgZXBzaWxvbiBrYXBwYWEgZXBzaWxvbiJ9eyJpZCI6IDEwLCAidXNlciI6ICJ6ZXRhLXVwc2lsb24iLCAicm9saWxvbiB1cHNpbG9uIG9taWNyb24gZXBzaWxvbiBlcHNpbG9uIGFscGhhIGFscGhhIn0gImNoaSB6ZXRhIGRlbHRhIGdhbW1hIGxhbWI=')
ZBODY = base64.b64decode('KLUv/SVNaw0BAAOBAp/r0ge3L9zufSMI/F+MASwGHM4Kxveu0CxH1l4pAXdvL2g=')
ZPLAIN = base64.b64decode('KLUv/SRrrQIAEsUQFqAnbcDaFgs2Nfn7GTn+L0YK40v9FzUHP02hJbSSHdWbndBXfZDHuJO/RDKoyk1xziV+EdQLAKG5hM/g4ZJACReyIQUAShgGSyrQA8/9zXU+AXdvL2g=')
INLINE = lambda b: {'inline_bytes': base64.b64encode(b).decode()}


def zstd(name, dictionaries, bodies):
    @case('zstd_dictionary_' + name)
    async def _(t):
        u = await t.up()
        lib = {'name': 'zs', 'typed_config': {'@type': T + 'envoy.extensions.compression.zstd.decompressor.v3.Zstd', 'dictionaries': [INLINE(d) for d in dictionaries]}}
        await t.start(simple(t, filters=[http_filter('d', 'decompressor.v3.Decompressor', {'decompressor_library': lib})], log=LOG))
        for i, body in enumerate(bodies):
            await t.req(**POST(body, ('content-encoding', 'zstd')))
            t.see('%d' % i, body_repr(u.reqs[-1].body))
        t.see('stats', await t.stats(regex='^http.*(error|request.decompressed|uncompressed)'))


zstd('of_the_stream', [DICT], [ZBODY, ZPLAIN])
zstd('second_of_two', [DICT2, DICT], [ZBODY])
zstd('missing', [DICT2], [ZBODY, ZPLAIN])
zstd('none', [], [ZBODY])


@case('zstd_dictionary_verdicts')
async def _(t):
    t.dead('u1')
    t.write('dict', DICT)

    async def code(kind, cfg):
        lib = {'name': 'zs', 'typed_config': {'@type': T + 'envoy.extensions.compression.zstd.%s.v3.Zstd' % kind, **cfg}}
        f = http_filter('d', '%s.v3.%s' % (kind, kind.capitalize()), {kind + '_library': lib})
        return 'refused' if (await t.run_to_end(simple(t, [t.dead('d')], filters=[f]), args=('--mode', 'validate')))[0] else 'taken'
    for label, source in (('good', INLINE(DICT)), ('bad', INLINE(b'no dictionary')), ('file', {'filename': t.path('dict')}), ('no file', {'filename': t.path('none')})):
        t.see(label, [await code('decompressor', {'dictionaries': [source]}), await code('compressor', {'dictionary': source})])


# ---- one filter, some requests
def twist(name, filters, reqs, routes=None, respond=None, stats=None, opts=None, log=LOG, extra=None, vh=None, port2=None, clusters=None):
    @case('twist_' + name)
    async def _(t):
        u = await t.up('u1', respond)
        vhost = {'name': 'v', 'domains': ['*'], 'routes': Y(routes) or [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}], **(Y(vh) or {})}
        await t.start(simple(t, filters=filters, log=log, vhosts=[vhost], opts=opts, extra=extra))
        for i, k in enumerate(reqs):
            n = len(u.reqs)
            t.see('%d' % i, await t.req(**k))
            t.see('%d up' % i, [t.req_view(m) for m in u.reqs[n:]])
        if stats:
            t.see('stats', await t.stats(regex=stats))
        t.see('log', await t.logs())


RUNTIME = lambda **kv: {'layered_runtime': {'layers': [{'name': 's', 'static_layer': {k.replace('__', '.'): v for k, v in kv.items()}}]}}
FAULT = lambda cfg: http_filter('envoy.filters.http.fault', 'fault.v3.HTTPFault', cfg)
ABORT = '{abort: {http_status: 503, percentage: {numerator: 100}}}'
for status in (0, 100, 204, 600, 1000):
    twist('fault_runtime_status_%d' % status, [FAULT(ABORT)], [H()], extra=RUNTIME(fault__http__abort__http_status=status), stats='^http.in.(fault|downstream_rq_.xx)')
twist('fault_runtime_grpc_status', [FAULT('{abort: {grpc_status: 5, percentage: {numerator: 100}}}')], [H(), POST(b'', ('content-type', 'application/grpc'))], extra=RUNTIME(fault__http__abort__grpc_status=14))
twist('fault_by_header_status', [FAULT('{abort: {header_abort: {}, percentage: {numerator: 100}}}')], [H(('x-envoy-fault-abort-request', s)) for s in ('200', '199', '599', '600', 'x', '', '503.5', ' 404')] + [H(('x-envoy-fault-abort-request', '418'), ('x-envoy-fault-abort-request-percentage', p)) for p in ('0', '100', '200', '-1', 'x')], stats='^http.in.fault')
twist('fault_by_header_grpc_status', [FAULT('{abort: {header_abort: {}, percentage: {numerator: 100}}}')], [H(('x-envoy-fault-abort-grpc-request', s)) for s in ('0', '5', '16', '17', 'x')] + [H(('x-envoy-fault-abort-grpc-request', '5'), ('x-envoy-fault-abort-request', '418'))])
twist('fault_headers_and_nodes', [FAULT('{abort: {http_status: 418, percentage: {numerator: 100}}, headers: [{name: x-f, string_match: {prefix: a}}, {name: x-g, present_match: true, invert_match: true}], downstream_nodes: [n1, n2]}')], [H(('x-f', 'abc'), ('x-envoy-downstream-service-node', n)) for n in ('n1', 'n3')] + [H(('x-f', 'abc')), H(('x-f', 'b'), ('x-envoy-downstream-service-node', 'n1')), H(('x-f', 'a'), ('x-g', '1'), ('x-envoy-downstream-service-node', 'n1'))], opts='{use_remote_address: false}', stats='^http.in.fault')
twist('fault_disables_downstream_cluster_stats', [FAULT('{abort: {http_status: 418, percentage: {numerator: 100}}, disable_downstream_cluster_stats: true}')], [H(('x-envoy-downstream-service-cluster', 'dc'))], stats='fault')
twist('fault_downstream_cluster_stats', [FAULT('{abort: {http_status: 418, percentage: {numerator: 100}}}')], [H(('x-envoy-downstream-service-cluster', 'dc')), H(('x-envoy-downstream-service-cluster', 'd.c x'))], stats='fault')
twist('fault_filter_metadata', [FAULT('{abort: {http_status: 418, percentage: {numerator: 100}}, filter_metadata: {a: b}}')], [H()], log=LOG + ' %DYNAMIC_METADATA(envoy.filters.http.fault)%')
twist('fault_of_another_cluster', [FAULT('{upstream_cluster: c2, abort: {http_status: 418, percentage: {numerator: 100}}}')], [H()])
twist('fault_most_specific', [FAULT(ABORT)], [H(path='/a'), H(path='/b'), H(path='/c')], routes=[{'match': {'prefix': '/a'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'envoy.filters.http.fault': {'@type': ftype('fault.v3.HTTPFault'), 'abort': {'http_status': 404, 'percentage': {'numerator': 100}}}}}, {'match': {'prefix': '/b'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'envoy.filters.http.fault': {'@type': ftype('fault.v3.HTTPFault')}}}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}])
RATE = '{response_rate_limit: {fixed_limit: {limit_kbps: 100}, percentage: {numerator: 100}}}'
twist('fault_rate_limit_and_trailers', [FAULT(RATE)], [H()], respond=lambda m, n: b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n', opts='{http_protocol_options: {enable_trailers: true}}', stats='^http.in.fault')
twist('fault_rate_limit_by_header', [FAULT('{response_rate_limit: {header_limit: {}, percentage: {numerator: 100}}}')], [H(('x-envoy-fault-throughput-response', v)) for v in ('1000', '0', 'x')] + [H()], stats='^http.in.fault')
twist('fault_of_bodies', [FAULT(ABORT)], [POST(b'x' * 100), dict(method='HEAD')], opts='{}')
CORS = http_filter('envoy.filters.http.cors', 'cors.v3.Cors')
POLICY = lambda cfg: {'envoy.filters.http.cors': {'@type': ftype('cors.v3.CorsPolicy'), **Y(cfg)}}
PRE = lambda origin='https://a.example', *hs: dict(method='OPTIONS', headers=[('origin', origin), ('access-control-request-method', 'GET'), *hs])
cors = lambda name, cfg, reqs, **kw: twist('cors_' + name, [CORS], reqs, vh={'typed_per_filter_config': POLICY(cfg)}, stats='^http.in.cors', **kw)
cors('private_network', '{allow_origin_string_match: [{exact: "https://a.example"}], allow_private_network_access: true}', [PRE('https://a.example', ('access-control-request-private-network', v)) for v in ('true', 'false', 'TRUE')] + [PRE()])
cors('forwards_preflights_that_do_not_match', '{allow_origin_string_match: [{prefix: "https://b"}], forward_not_matching_preflights: true}', [PRE(), PRE('https://b.example')])
cors('keeps_preflights_that_do_not_match', '{allow_origin_string_match: [{prefix: "https://b"}], forward_not_matching_preflights: false, allow_methods: "GET,PUT"}', [PRE(), PRE('https://b.example'), H(('origin', 'https://a.example')), H(('origin', 'https://b.c'))])
cors('answers_have_these_already', '{allow_origin_string_match: [{safe_regex: {regex: ".*"}}], allow_credentials: true, expose_headers: x-e}', [H(('origin', 'null')), H(('origin', '')), H()], respond=lambda m, n: resp(200, 'x', [('access-control-allow-origin', 'https://u'), ('access-control-expose-headers', 'x-u'), ('access-control-allow-credentials', 'false')]))
cors('shadow', '{allow_origin_string_match: [{exact: "https://a.example"}], filter_enabled: {default_value: {numerator: 0}}, shadow_enabled: {default_value: {numerator: 100}}}', [PRE(), H(('origin', 'https://a.example')), H(('origin', 'https://c'))])
cors('options_without_a_method', '{allow_origin_string_match: [{exact: "https://a.example"}], max_age: "60", allow_headers: x-h}', [dict(method='OPTIONS', headers=[('origin', 'https://a.example')]), dict(method='OPTIONS', headers=[('origin', 'https://a.example'), ('access-control-request-method', '')]), dict(method='OPTIONS')])
CSRF = lambda cfg='{filter_enabled: {default_value: {numerator: 100}}}': http_filter('envoy.filters.http.csrf', 'csrf.v3.CsrfPolicy', cfg)
twist('csrf_origins', [CSRF()], [dict(method='POST', headers=hs) for hs in ([('origin', 'http://test.example')], [('origin', 'https://test.example')], [('origin', 'http://test.example:80')], [('origin', 'test.example')], [('origin', 'null')], [('origin', 'null'), ('referer', 'http://test.example/x')], [('referer', 'http://test.example/a?b')], [('referer', 'http://other/test.example')], [('origin', '')], [])] + [dict(method=m, headers=[('origin', 'http://e')]) for m in ('GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PATCH', 'TRACE')], stats='csrf')
twist('csrf_of_a_host_with_a_port', [CSRF('{filter_enabled: {default_value: {numerator: 100}}, additional_origins: [{suffix: ".friend"}, {exact: "e:8"}]}')], [dict(method='POST', host='test.example:8080', headers=[('origin', o)]) for o in ('http://test.example:8080', 'http://test.example', 'http://a.friend', 'https://e:8', 'http://e')], stats='csrf')


# ---- header_mutation, metadata and state
HM = lambda cfg: http_filter('hm', 'header_mutation.v3.HeaderMutation', cfg)
APP = lambda key, value, action='APPEND_IF_EXISTS_OR_ADD', **kw: {'append': {'header': {'key': key, 'value': value}, 'append_action': action, **kw}}
MUT = lambda **kw: HM({'mutations': kw})
TRAILED = dict(raw=b'POST / HTTP/1.1\r\nhost: test.example\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\nx-u: 2\r\n\r\n')
twist('header_mutation_request_trailers', [MUT(request_trailers_mutations=[APP('x-t', 'more'), {'remove': 'x-u'}, APP('x-new', '%REQ(host)%')])], [TRAILED, POST(b'abc')], opts='{http_protocol_options: {enable_trailers: true}}')
twist('header_mutation_actions', [MUT(request_mutations=[APP('x-a', '1', 'ADD_IF_ABSENT'), APP('x-b', '1', 'OVERWRITE_IF_EXISTS'), APP('x-c', '1', 'OVERWRITE_IF_EXISTS_OR_ADD'), APP('x-d', '%REQ(x-none)%'), {'append': {'header': {'key': 'x-e', 'value': ''}, 'keep_empty_value': True}}, {'remove_on_match': {'key_matcher': {'prefix': 'x-rm'}}}])], [H(('x-a', 'old'), ('x-b', 'old'), ('x-b', 'older'), ('x-c', 'old'), ('x-rm-1', 'a'), ('x-rm-2', 'b')), H()])
twist('header_mutation_query', [MUT(query_parameter_mutations=[{'append': {'record': {'key': 'a', 'value': '%REQ(x-v)%'}, 'action': 'APPEND_IF_EXISTS_OR_ADD'}}, {'remove': 'b'}])], [H(('x-v', 'a b&c'), path=p) for p in ('/p?b=1&a=0', '/p', '/p?', '/p?b', '/p?a=1&a=2&c=%2F', '/p?b=1#f')])
TO_META = lambda rules: http_filter('h2m', 'header_to_metadata.v3.Config', rules)
twist('header_to_metadata_twists', [TO_META('{request_rules: [{header: x-v, on_header_present: {key: v, type: NUMBER}, on_header_missing: {key: v, value: none}, remove: true}, {cookie: c, on_header_present: {metadata_namespace: ns, key: c, type: STRING}}, {header: x-b, on_header_present: {key: b, type: PROTOBUF_VALUE, encode: BASE64}}, {header: x-r, on_header_present: {key: r, regex_value_rewrite: {pattern: {regex: "(a+)b"}, substitution: "<\\\\1>"}}}]}')], [H(('x-v', v), ('cookie', 'd=1; c=two'), ('x-r', 'aaabaab')) for v in ('12', '1.5', 'x', '', '-0', '1e3')] + [H()], log=LOG + ' %DYNAMIC_METADATA(envoy.lb)% %DYNAMIC_METADATA(ns)%')
# ---- grpc_web
WEB = http_filter('envoy.filters.http.grpc_web', 'grpc_web.v3.GrpcWeb')
frame = lambda b, flag=0: bytes([flag]) + len(b).to_bytes(4, 'big') + b
web_up = lambda m, n: resp(200, frame(b'answer'), [('content-type', 'application/grpc'), ('grpc-status', '0')])
twist('grpc_web_text_of_a_bad_length', [WEB], [POST(base64.b64encode(frame(b'ask'))[:k], ('content-type', 'application/grpc-web-text'), ('accept', 'application/grpc-web-text'), path='/s/m') for k in (11, 7)], respond=web_up)
twist('grpc_web_kinds', [WEB], [POST(frame(b'ask'), ('content-type', k), path='/s/m') for k in ('application/grpc-web', 'application/grpc-web+proto', 'application/grpc-web+json', 'application/grpc-webx', 'Application/grpc-web', 'application/grpc-web; charset=utf-8')] + [POST(base64.b64encode(frame(b'ask')) * 2, ('content-type', 'application/grpc-web-text+proto'), path='/s/m')], respond=web_up)
twist('grpc_web_bad_text', [WEB], [POST(b, ('content-type', 'application/grpc-web-text'), path='/s/m') for b in (b'!!!!', b'AAAA=AAA', b'')], respond=web_up)
twist('grpc_web_upstream_is_not_grpc', [WEB], [POST(frame(b'ask'), ('content-type', 'application/grpc-web'), path='/s/m')], respond=lambda m, n: resp(404, 'no such thing', [('content-type', 'text/plain')]))
# ---- local_ratelimit
LRL = lambda cfg: http_filter('lrl', 'local_ratelimit.v3.LocalRateLimit', merge({'stat_prefix': 'lrl', 'filter_enabled': {'default_value': {'numerator': 100}}, 'filter_enforced': {'default_value': {'numerator': 100}}}, Y(cfg)))
BUCKET = '{token_bucket: {max_tokens: %d, tokens_per_fill: 1, fill_interval: 1000s}%s}'
twist('local_ratelimit_headers_and_status', [LRL(BUCKET % (1, ', status: {code: ServiceUnavailable}, enable_x_ratelimit_headers: DRAFT_VERSION_03, response_headers_to_add: [{header: {key: x-r, value: "%RESPONSE_CODE%"}}, {header: {key: x-local, value: one}}], request_headers_to_add_when_not_enforced: [{header: {key: x-q, value: q}}]'))], [H(), H(), H(method='HEAD')], stats='lrl.*(enabled|enforced|ok|rate_limited)')
twist('local_ratelimit_status_too_low', [LRL(BUCKET % (1, ', status: {code: OK}'))], [H(), H()])
twist('local_ratelimit_grpc', [LRL(BUCKET % (1, ', rate_limited_as_resource_exhausted: true'))], [POST(b'', ('content-type', 'application/grpc'))] * 2)
twist('local_ratelimit_not_enforced', [LRL({**Y(BUCKET % (1, ', request_headers_to_add_when_not_enforced: [{header: {key: x-q, value: q}}], enable_x_ratelimit_headers: DRAFT_VERSION_03')), 'filter_enforced': {'default_value': {'numerator': 0}}})], [H(), H()], stats='lrl.*(enabled|enforced|ok|rate_limited)')
# ---- compressor
comp = lambda name, cfg, reqs, hs=(('content-type', 'text/plain'),), body=b'lorem ipsum ' * 30, status=200: twist('compressor_' + name, [COMP(cfg)], reqs, respond=lambda m, n: resp(status, body, list(hs)), stats=r'^http.*compressor.*(?<!total_compressed_bytes)$')
AE = lambda v: dict(method='HEAD', headers=[('accept-encoding', v)])
comp('weights_of_a_head', '{}', [AE(v) for v in ('gzip;q=0.001', 'gzip;q=1.1', 'gzip; q=0.5', 'gzip ;q=0', 'gzip;Q=0', 'gzip,gzip;q=0', 'x-gzip', 'gzip;foo=1', ',,gzip', '*;q=0.5,gzip;q=0', 'identity;q=0')])
comp('type_with_odd_letters', '{response_direction_config: {common_config: {content_type: [text/Plain]}}}', [AE('gzip')], hs=[('content-type', 'TEXT/plain ; x=y')])
comp('vary_star', '{}', [AE('gzip')], hs=[('content-type', 'text/plain'), ('vary', '*')])
comp('vary_in_other_letters', '{}', [AE('gzip')], hs=[('content-type', 'text/plain'), ('vary', 'accept-encoding')])
# ---- rbac, cdn_loop, health_check
RBAC = lambda rules: http_filter('rb', 'rbac.v3.RBAC', {'rules': Y(rules)})
twist('rbac_permissions_of_paths', [RBAC('{action: ALLOW, policies: {p: {permissions: [{url_path: {path: {prefix: /a}}}, {and_rules: {rules: [{header: {name: ":method", string_match: {exact: POST}}}, {not_rule: {url_path: {path: {suffix: x}}}}]}}, {uri_template: {name: u, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/t/{id}/end"}}}], principals: [{any: true}]}}}')], [H(path=p) for p in ('/a?x', '/b', '/t/1/end', '/t/1/2/end', '/b?/a')] + [POST(b'', path='/b'), POST(b'', path='/bx')], stats='rbac')
twist('rbac_principals', [RBAC('{action: DENY, policies: {p: {permissions: [{any: true}], principals: [{header: {name: x-u, string_match: {contains: bad}}}, {not_id: {header: {name: x-ok, present_match: true}}}]}, "q r": {permissions: [{destination_port_range: {start: 1, end: 2}}], principals: [{remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}]}}}')], [H(('x-ok', '1')), H(), H(('x-ok', '1'), ('x-u', 'a bad one'))], stats='rbac')
twist('cdn_loop_of_many', [http_filter('c', 'cdn_loop.v3.CdnLoopConfig', '{cdn_id: mine, max_allowed_occurrences: 1}')], [H(('cdn-loop', v)) for v in ('mine', 'mine, mine', 'mine;a=b, other', 'Mine', 'mine:80', '"q"', ',', 'a b')] + [H(('cdn-loop', 'mine'), ('cdn-loop', 'mine'))])
HC = lambda cfg: http_filter('hc', 'health_check.v3.HealthCheck', cfg)
twist('health_check_twists', [HC('{pass_through_mode: false, headers: [{name: ":path", string_match: {exact: /health}}]}')], [H(path='/health'), H(path='/health?a'), POST(b'abc', path='/health'), dict(method='HEAD', path='/health')], stats='^http.in.(downstream_rq_.xx|health)')
twist('health_check_by_clusters', [HC('{pass_through_mode: false, cluster_min_healthy_percentages: {c1: {value: 50}, none: {value: 0}}, headers: [{name: ":path", string_match: {prefix: /h}}]}')], [H(path='/h')])


# ---- who the client is, and what answers instead
JWT = lambda cfg: http_filter('envoy.filters.http.jwt_authn', 'jwt_authn.v3.JwtAuthentication', cfg)
CUSTOM = lambda cfg: http_filter('envoy.filters.http.custom_response', 'custom_response.v3.CustomResponse', cfg)
twist('stateful_session_header_strict', [http_filter('ss', 'stateful_session.v3.StatefulSession', {'strict': True, 'session_state': {'name': 'envoy.http.stateful_session.header', 'typed_config': {'@type': T + 'envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState', 'name': 'x-session'}}})], [H(('x-session', v)) for v in (base64.b64encode(b'127.0.0.1:1').decode(), 'nonsense')], log=LOG)
twist('set_metadata_twists', [http_filter('sm', 'set_metadata.v3.Config', '{metadata: [{metadata_namespace: a, value: {x: 1, l: [1], o: {p: 1}}}, {metadata_namespace: a, value: {x: 2, l: [2], o: {q: 2}}, allow_overwrite: true}, {metadata_namespace: a, value: {x: 3}}]}')], [H()], log=LOG + ' %DYNAMIC_METADATA(a)%', stats='set_metadata')
twist('set_filter_state_twists', [http_filter('sf', 'set_filter_state.v3.Config', '{on_request_headers: [{object_key: k, factory_key: envoy.string, format_string: {text_format_source: {inline_string: "%REQ(x-a)%"}}, skip_if_empty: true}, {object_key: k2, factory_key: envoy.string, format_string: {text_format_source: {inline_string: "%REQ(x-b)%-"}}, read_only: true}]}')], [H(('x-a', '1')), H(('x-b', '2')), H()], log=LOG + ' %FILTER_STATE(k:PLAIN)% %FILTER_STATE(k2:PLAIN)%')
twist('grpc_http1_bridge_twists', [http_filter('b', 'grpc_http1_bridge.v3.Config', '{upgrade_protobuf_to_grpc: true}')], [POST(b'abc', ('content-type', 'application/grpc'), path='/s/m'), H()], respond=lambda m, n: resp(200, frame(b'xy'), [('content-type', 'application/grpc'), ('grpc-status', '3'), ('grpc-message', 'bad%20one')]))
twist('disabled_and_optional', [{'name': 'opt', 'is_optional': True, 'typed_config': {'@type': T + 'google.protobuf.StringValue', 'value': 'x'}}, {**HM({'mutations': {'request_mutations': [APP('x-a', 'on')]}}), 'disabled': True}], [H(path='/on'), H(path='/off')], routes=[{'match': {'prefix': '/on'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'hm': {'@type': T + 'envoy.config.route.v3.FilterConfig', 'config': {'@type': ftype('header_mutation.v3.HeaderMutationPerRoute'), 'mutations': {'request_mutations': [APP('x-b', 'route')]}}}}}, {'match': {'prefix': '/off'}, 'route': {'cluster': 'c1'}}])
twist('on_demand_alone', [http_filter('od', 'on_demand.v3.OnDemand')], [H(), POST(b'abc')])
twist('header_mutation_most_specific_first_or_last', [HM({'most_specific_header_mutations_wins': True, 'mutations': {'request_mutations': [APP('x-a', 'filter', 'OVERWRITE_IF_EXISTS_OR_ADD')]}})], [H(path='/r')], vh={'typed_per_filter_config': {'hm': {'@type': ftype('header_mutation.v3.HeaderMutationPerRoute'), 'mutations': {'request_mutations': [APP('x-a', 'vhost', 'OVERWRITE_IF_EXISTS_OR_ADD')]}}}}, routes=[{'match': {'prefix': '/r'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'hm': {'@type': ftype('header_mutation.v3.HeaderMutationPerRoute'), 'mutations': {'request_mutations': [APP('x-a', 'route', 'OVERWRITE_IF_EXISTS_OR_ADD')]}}}}])
twist('local_ratelimit_descriptors', [LRL('{token_bucket: {max_tokens: 3, fill_interval: 1000s}, rate_limits: [{actions: [{request_headers: {header_name: x-k, descriptor_key: k}}]}], descriptors: [{entries: [{key: k, value: one}], token_bucket: {max_tokens: 1, fill_interval: 1000s}}], enable_x_ratelimit_headers: DRAFT_VERSION_03}')], [H(('x-k', 'one')), H(('x-k', 'one')), H(('x-k', 'two')), H(), H(), H(('x-k', 'one'))], stats='lrl.*(enabled|enforced|ok|rate_limited)')
twist('local_ratelimit_wildcards', [LRL('{token_bucket: {max_tokens: 100, fill_interval: 1000s}, rate_limits: [{actions: [{request_headers: {header_name: x-k, descriptor_key: k}}]}], descriptors: [{entries: [{key: k}], token_bucket: {max_tokens: 1, fill_interval: 1000s}}], always_consume_default_token_bucket: false}')], [H(('x-k', v)) for v in ('a', 'b', 'a', 'b', '')])
twist('csrf_shadow', [CSRF('{filter_enabled: {default_value: {numerator: 0}}, shadow_enabled: {default_value: {numerator: 100}}}')], [dict(method='POST', headers=[('origin', 'http://e')]), dict(method='POST', headers=[('origin', 'http://test.example')]), dict(method='POST')], stats='csrf')
