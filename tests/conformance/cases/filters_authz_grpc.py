"""ext_authz with a gRPC service."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.ext_authz)%'
GRPC = {'grpc_service': {'envoy_grpc': {'cluster_name': 'ca'}, 'timeout': '3s'}}
OWN = lambda cfg, key='ea': {'typed_per_filter_config': {key: {'@type': ftype('ext_authz.v3.ExtAuthzPerRoute'), **Y(cfg)}}}
REST = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}
OK, NO = {'status': {'code': 0}}, {'status': {'code': 7}}
STATS = r'ext_authz|cluster\.ca\..*(upstream_rq_[0-9]|grpc|timeout|retry|completed)|cluster\.c1\.upstream_rq_(403|4xx|5..|completed)'


def authz(name, answer, cfg='{}', reqs=({},), routes=None, dead=False, filters=(), heads=False, respond=None, extra=None, copts=None, more_clusters=(), **kw):
    @case('ext_authz_grpc_' + name)
    async def _(t):
        u = await t.up('u1', respond)
        a = Authz(t, answer if callable(answer) else lambda n, r: answer)
        up = t.dead('authz') if dead else (await a.listen()).up
        c = merge({'transport_api_version': 'V3', **json.loads(json.dumps(GRPC))}, Y(cfg))
        f = http_filter('ea', 'ext_authz.v3.ExtAuthz', {k: v for k, v in c.items() if v is not None})
        await t.start(simple(t, clusters=[cluster('c1', u, copts), cluster('ca', up, h2=True), *[m(t) for m in more_clusters]], filters=[*filters, f], log=LOG, routes=routes, extra=extra, **kw))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**k))
        t.see('up', u.reqs)
        t.see('asked', a.requests())
        if heads:
            t.see('heads', a.heads())
        t.see('stats', await t.stats(regex=STATS))
        t.see('log', [re.sub('duration":[0-9]+', 'duration":"<int>"', x) for x in await t.logs()])


H = lambda *hs, **k: dict(headers=list(hs), **k)
# What the service is told.
authz('plain', OK, reqs=[dict(path='/p?q=1', method='PUT', body='b', headers=[('x-a', '1'), ('x-a', '2'), ('cookie', 'c=1'), ('x-empty', ''), ('X-Case', 'V')]), {}], heads=True)
authz('raw_headers', OK, '{encode_raw_headers: true}', [H(('x-a', '1'), ('x-a', '2'), ('x-empty', ''))])
authz('allowed_headers', OK, '{allowed_headers: {patterns: [{prefix: x-}]}, disallowed_headers: {patterns: [{exact: x-b}]}}', [H(('x-a', '1'), ('x-b', '2'), ('y', '3'), ('authorization', 'z'))])
authz('disallowed_headers', OK, '{disallowed_headers: {patterns: [{exact: x-b}]}}', [H(('x-a', '1'), ('x-b', '2'))])
authz('body', OK, '{with_request_body: {max_request_bytes: 10}}', [dict(method='POST', body='0123456789'), dict(method='POST', body='0123456789A'), {}])
authz('body_partial', OK, '{with_request_body: {max_request_bytes: 4, allow_partial_message: true}}', [dict(method='POST', body='0123456789'), dict(method='POST', body='01')])
authz('body_bytes', OK, '{with_request_body: {max_request_bytes: 10, pack_as_bytes: true}}', [dict(method='POST', body='0123'), {}])
authz('body_not_utf8', OK, '{with_request_body: {max_request_bytes: 10}}', [dict(method='POST', body=b'\xff\xfeab')])
authz('context_extensions', OK, routes=[{'match': {'prefix': '/a'}, 'route': {'cluster': 'c1'}, **OWN('{check_settings: {context_extensions: {k: route, r: "1"}}}')}, REST], reqs=[dict(path='/a'), dict(path='/b')])
SET_META = http_filter('md', 'set_metadata.v3.Config', {'metadata': [{'metadata_namespace': 'ns', 'value': {'a': {'b': 'c'}, 'l': [1, True, None]}}, {'metadata_namespace': 'other', 'value': {'z': 1}}, {'metadata_namespace': 'typed', 'typed_value': {'@type': 'type.googleapis.com/google.protobuf.StringValue', 'value': 'tv'}}]})
authz('metadata', OK, '{metadata_context_namespaces: [ns, nosuch], typed_metadata_context_namespaces: [typed], route_metadata_context_namespaces: [rns]}', filters=[SET_META],
      routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, 'metadata': {'filter_metadata': {'rns': {'k': 'v'}, 'rx': {'k': 'w'}}, 'typed_filter_metadata': {'rtyped': {'@type': 'type.googleapis.com/google.protobuf.StringValue', 'value': 'rtv'}}}}])
authz('labels', OK, '{bootstrap_metadata_labels_key: labels}', extra='{node: {id: node, cluster: c, metadata: {labels: {app: web, num: 3, nested: {a: b}}}}}')
authz('labels_none', OK, '{bootstrap_metadata_labels_key: nosuch}', extra='{node: {id: node, cluster: c, metadata: {labels: {app: web}}}}')
authz('tls_session_plain', OK, '{include_tls_session: true, include_peer_certificate: true}')
authz('initial_metadata', OK, {'grpc_service': {'initial_metadata': [{'key': 'x-m', 'value': 'v'}, {'key': 'x-id', 'value': '%REQ(x-a)%'}, {'key': 'x-b-bin', 'value': 'ab'}]}}, [H(('x-a', '1'))], heads=True)
authz('authority', OK, {'grpc_service': {'envoy_grpc': {'authority': 'authz.example'}}}, heads=True)
authz('skip_envoy_headers', OK, {'grpc_service': {'envoy_grpc': {'skip_envoy_headers': True}}}, heads=True)
authz('traced_heads', OK, reqs=[H(('x-request-id', 'abc'), ('traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'))], heads=True)
authz('xff', OK, reqs=[H(('x-forwarded-for', '9.9.9.9'))], opts='{use_remote_address: true}')
# What it says when it lets a request go.
APPEND, IF_ABSENT, OVERWRITE, IF_EXISTS = 0, 1, 2, 3
authz('ok_headers', {**OK, 'ok_response': {'headers': [option('x-new', '1'), option('x-set', 'new'), option('x-app', 'more', append={'value': 1}), option('x-noapp', 'x', append={'value': 0}), option('x-none', 'x', append={'value': 1})], 'headers_to_remove': ['x-rm', ':path', 'host', 'X-Up']}},
      reqs=[H(('x-set', 'old'), ('x-app', 'old'), ('x-noapp', 'old'), ('x-rm', '1'), ('x-up', '1'))])
authz('ok_append_actions', {**OK, 'ok_response': {'headers': [option('x-0', 'n', append_action=0), option('x-1', 'n', append_action=1), option('x-2', 'n', append_action=2), option('x-3', 'n', append_action=3), option('y-1', 'n', append_action=1), option('y-3', 'n', append_action=3), option('y-2', 'n', append_action=2)]}}, reqs=[H(('x-0', 'o'), ('x-1', 'o'), ('x-2', 'o'), ('x-3', 'o'))])
authz('ok_empty_values', {**OK, 'ok_response': {'headers': [option('x-e'), option('x-k', '', keep_empty_value=1), option('x-o')]}}, reqs=[H(('x-o', 'old'))])
authz('ok_pseudo_headers', {**OK, 'ok_response': {'headers': [option(':path', '/new'), option(':method', 'POST'), option('host', 'other'), option(':authority', 'auth')]}})
authz('ok_response_headers', {**OK, 'ok_response': {'response_headers_to_add': [option('x-r', '1'), option('x-up', 'mine', append_action=2), option('x-up2', 'mine', append_action=0), option('server', 'me', append_action=1), option('x-q', '1', append={'value': 1}), option('x-q', '2', append={'value': 1})]}}, respond=lambda m, n: resp(200, 'u', [('x-up', 'u'), ('x-up2', 'u')]))
authz('ok_query', {**OK, 'ok_response': {'query_parameters_to_set': [{'key': 'a', 'value': 'new'}, {'key': 'n', 'value': '1+2'}], 'query_parameters_to_remove': ['r']}}, reqs=[dict(path='/p?a=1&r=2&a=3&z=%20'), dict(path='/p')])
authz('ok_metadata', {**OK, 'dynamic_metadata': {'user': 'bob', 'n': 3, 'o': {'p': [1]}}})
authz('ok_metadata_off', {**OK, 'dynamic_metadata': {'user': 'bob'}}, '{enable_dynamic_metadata_ingestion: false}')
authz('ok_clears_route', {**OK, 'ok_response': {'headers': [option('x-go', 'b')]}}, '{clear_route_cache: true}', routes=[{'match': {'prefix': '/', 'headers': [{'name': 'x-go', 'string_match': {'exact': 'b'}}]}, 'direct_response': {'status': 202}}, REST])
authz('ok_keeps_route', {**OK, 'ok_response': {'headers': [option('x-go', 'b')]}}, routes=[{'match': {'prefix': '/', 'headers': [{'name': 'x-go', 'string_match': {'exact': 'b'}}]}, 'direct_response': {'status': 202}}, REST])
authz('empty_response', {})
# What it says when it does not.
authz('denied', NO)
authz('denied_response', {**NO, 'denied_response': {'status': {'code': 401}, 'headers': [option('www-authenticate', 'Basic'), option('x-d', '1'), option('x-d', '2', append={'value': 1}), option('content-type', 'text/html'), option('content-length', '3')], 'body': 'go away'}})
authz('denied_append_actions', {**NO, 'denied_response': {'status': {'code': 401}, 'headers': [option('x-d', '1', append_action=0), option('x-d', '2', append_action=0), option('x-e', '1', append_action=2), option('x-e', '2', append_action=2), option('x-f', '1', append_action=1), option('x-f', '2', append_action=1), option('x-g', '1', append_action=3)]}})
authz('denied_status_zero', {**NO, 'denied_response': {'headers': [option('x-d', '1')], 'body': 'b'}})
authz('denied_with_ok_response', {**NO, 'ok_response': {'headers': [option('x-a', '1')]}})
authz('ok_with_denied_response', {**OK, 'denied_response': {'status': {'code': 401}, 'body': 'b'}})
authz('denied_status_200', {**NO, 'denied_response': {'status': {'code': 200}, 'body': 'fine'}})
authz('denied_metadata', {**NO, 'dynamic_metadata': {'why': 'no'}})
authz('denied_codes', lambda n, r: {'status': {'code': (16, 13, 14, 5)[n - 1], 'message': 'm'}}, reqs=[{}, {}, {}, {}])
authz('denied_body_limit', {**NO, 'denied_response': {'status': {'code': 401}, 'body': '0123456789'}}, '{max_denied_response_body_bytes: 4}')
authz('denied_of_grpc', {**NO, 'denied_response': {'status': {'code': 401}, 'body': 'b'}}, reqs=[dict(method='POST', headers=[('content-type', 'application/grpc')], body='x'), dict(method='HEAD')])
authz('error_response', {**NO, 'error_response': {'status': {'code': 429}, 'headers': [option('x-e', '1')], 'body': 'slow down'}})
authz('error_response_allowed', {**NO, 'error_response': {'status': {'code': 429}, 'headers': [option('x-e', '1')], 'body': 'slow down'}}, '{failure_mode_allow: true}')
authz('charge', NO, '{charge_cluster_response_stats: false}')
authz('stat_prefix', NO, '{stat_prefix: pre}')
# What is no answer.
def failing(**kw):
    async def go(s):
        if 'http' in kw:
            return s.respond(kw['http'], [], end=True)
        if 'reset' in kw:
            return s.reset()
        if 'body' in kw:
            s.respond(200, [('content-type', 'application/grpc')])
            await s.data(kw['body'])
            return s.trailers([('grpc-status', '0')])
        s.respond(200, [('content-type', 'application/grpc'), ('grpc-status', kw['status']), ('grpc-message', 'nope')], end=True)
    return lambda n, r: go


for n, kw in (('status_14', dict(status='14')), ('status_7', dict(status='7')), ('status_0_without_message', dict(status='0')), ('http_503', dict(http=503)), ('reset', dict(reset=1)), ('bad_message', dict(body=b'\0\0\0\0\2\xff\xff')), ('cut_message', dict(body=b'\0\0\0\0\9')), ('two_messages', dict(body=b'\0\0\0\0\0\0\0\0\0\0')), ('compressed', dict(body=b'\1\0\0\0\0'))):
    authz('fails_' + n, failing(**kw))
authz('fails_allowed', failing(status='14'), '{failure_mode_allow: true, failure_mode_allow_header_add: true}')
authz('fails_status_on_error', failing(status='14'), '{status_on_error: {code: ServiceUnavailable}}')
authz('dead', OK, dead=True)
authz('no_cluster', OK, {'grpc_service': {'envoy_grpc': {'cluster_name': 'nosuch'}}})


@case()
async def ext_authz_grpc_times_out(t):
    u = await t.up('u1')

    async def silent(s):
        await s.body()
        await asyncio.sleep(5)
    a = await t.h2up('authz', silent)
    f = http_filter('ea', 'ext_authz.v3.ExtAuthz', {'transport_api_version': 'V3', 'grpc_service': {'envoy_grpc': {'cluster_name': 'ca'}, 'timeout': '0.1s'}})
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('ca', a, h2=True)], filters=[f], log=LOG))
    t.see('r', await t.req('/'))
    t.see('heads', [t.mask(t.hs(m['headers'])) for m in a.reqs])
    t.see('stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())


RETRY = {'grpc_service': {'retry_policy': {'num_retries': 2, 'retry_back_off': {'base_interval': '0.01s', 'max_interval': '2s'}}}}
authz('retries', lambda n, r: failing(status='14')(n, r) if n < 3 else OK, RETRY)
authz('retries_http', lambda n, r: failing(http=503)(n, r) if n < 3 else OK, RETRY)
authz('retries_over', failing(reset=1), RETRY)
authz('retries_on', lambda n, r: failing(status='14')(n, r) if n < 2 else OK, merge(json.loads(json.dumps(RETRY)), {'grpc_service': {'retry_policy': {'retry_on': 'unavailable'}}}))
authz('of_the_route', OK, routes=[{'match': {'prefix': '/off'}, 'route': {'cluster': 'c1'}, **OWN('{disabled: true}')}, {'match': {'prefix': '/body'}, 'route': {'cluster': 'c1'}, **OWN('{check_settings: {with_request_body: {max_request_bytes: 5}}}')}, {'match': {'prefix': '/nobody'}, 'route': {'cluster': 'c1'}, **OWN('{check_settings: {disable_request_body_buffering: true}}')}, REST],
      cfg='{with_request_body: {max_request_bytes: 20}}', reqs=[dict(path=p, method='POST', body='0123') for p in ('/off', '/body', '/nobody', '/x')])
authz('service_of_the_route', OK, routes=[{'match': {'prefix': '/own'}, 'route': {'cluster': 'c1'}, **OWN({'check_settings': {'grpc_service': {'envoy_grpc': {'cluster_name': 'ca', 'authority': 'own.example'}}}})}, REST], reqs=[dict(path='/own'), dict(path='/x')], heads=True)
authz('merged_context', OK, reqs=[dict(path='/a')], vhosts=[{'name': 'v', 'domains': ['*'], **OWN('{check_settings: {context_extensions: {k: host, h: "1"}}}'), 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, **OWN('{check_settings: {context_extensions: {k: route, r: "1"}}}')}]}])
authz('disabled', OK, '{filter_enabled: {default_value: {numerator: 0}}}')
authz('enabled_metadata', NO, '{filter_enabled_metadata: {filter: ns, path: [{key: a}, {key: b}], value: {string_match: {exact: c}}}}', filters=[SET_META])
authz('enabled_metadata_not', NO, '{filter_enabled_metadata: {filter: ns, path: [{key: a}, {key: b}], value: {string_match: {exact: x}}}}', filters=[SET_META])
authz('enabled_metadata_not_deny', NO, '{deny_at_disable: {runtime_key: x, default_value: true}, filter_enabled_metadata: {filter: ns, path: [{key: a}], value: {string_match: {exact: x}}}}', filters=[SET_META])
authz('error_response_plain', {**NO, 'error_response': {}})
authz('error_response_status', {**NO, 'error_response': {}}, '{status_on_error: {code: BadGateway}}')
authz('no_timeout', OK, {'grpc_service': {'timeout': '0s'}}, heads=True)
authz('downstream_service', OK, reqs=[H(('x-envoy-downstream-service-cluster', 'front'))])
authz('metadata_of_denied_off', {**NO, 'dynamic_metadata': {'why': 'no'}}, '{enable_dynamic_metadata_ingestion: false}')


@case()
async def ext_authz_grpc_http2_request(t):
    u = await t.up('u1')
    a = Authz(t, lambda n, r: OK)
    f = http_filter('ea', 'ext_authz.v3.ExtAuthz', merge({'transport_api_version': 'V3'}, json.loads(json.dumps(GRPC))))
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('ca', (await a.listen()).up, h2=True)], filters=[f], log=LOG))
    t.see('r', await t.h2req('/p', 'POST', [('x-a', '1')], b'body'))
    t.see('asked', a.requests())


@case()
async def ext_authz_grpc_tls(t):
    u = await t.up('u1')
    a = Authz(t, lambda n, r: OK)
    c = certs()
    f = http_filter('ea', 'ext_authz.v3.ExtAuthz', merge({'transport_api_version': 'V3', 'include_peer_certificate': True, 'include_tls_session': True}, json.loads(json.dumps(GRPC))))
    x = simple(t, clusters=[cluster('c1', u), cluster('ca', (await a.listen()).up, h2=True)], filters=[f], log=LOG)
    tls = {'common_tls_context': {'tls_certificates': [{'certificate_chain': {'filename': os.path.join(c, 'a.crt')}, 'private_key': {'filename': os.path.join(c, 'a.key')}}], 'validation_context': {'trusted_ca': {'filename': os.path.join(c, 'ca.crt')}}}}
    x['static_resources']['listeners'][0]['filter_chains'][0]['transport_socket'] = {'name': 'tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', **tls}}
    await t.start(x)
    for i, own in enumerate((False, True)):
        s = ssl.create_default_context()
        s.check_hostname, s.verify_mode = False, ssl.CERT_NONE
        if own:
            s.load_cert_chain(os.path.join(c, 'client.crt'), os.path.join(c, 'client.key'))
        t.see('r%d' % i, await t.req('/', ssl=s, sni='sni.example'))
    t.see('asked', a.requests())
