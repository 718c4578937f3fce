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
