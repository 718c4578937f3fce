"""ext_authz over HTTP and gRPC: retries, what answers may change, what is logged, shadow mode."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.ext_authz)%'
REST = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}
OK, NO = {'status': {'code': 0}}, {'status': {'code': 7}}
STATS = r'ext_authz|cluster\.ca\..*(upstream_rq_[0-9]|retry|completed|timeout)|cluster\.c1\.upstream_rq_(403|4xx|5..|completed)'
H = lambda *hs, **k: dict(headers=list(hs), **k)
OWN = lambda cfg, key='ea': {'typed_per_filter_config': {key: {'@type': ftype('ext_authz.v3.ExtAuthzPerRoute'), **Y(cfg)}}}


def took(x):
    return re.sub(r'(duration":|lat=|sent=|got=)[0-9]+', r'\1<int>', x)


async def observe(t, u, asked, reqs, stats=STATS):
    for i, k in enumerate(reqs):
        t.see('r%d' % i, await t.req(**k))
    t.see('up', u.reqs)
    t.see('asked', asked())
    t.see('stats', await t.stats(regex=stats))
    t.see('log', [took(x) for x in await t.logs()])


def http(name, respond, cfg='{}', reqs=({},), routes=None, log=LOG, up=None, filters=(), copts=None, ca=None, **kw):
    """The service speaks HTTP."""
    @case('ext_authz_http_' + name)
    async def _(t):
        u = await t.up('u1', up)
        a = await t.up('authz', respond if not isinstance(respond, dict) else None, **(respond if isinstance(respond, dict) else {}))
        f = http_filter('ea', 'ext_authz.v3.ExtAuthz', merge({'http_service': {'server_uri': {'uri': 'authz.example:80', 'cluster': 'ca', 'timeout': '3s'}}}, Y(cfg)))
        await t.start(simple(t, clusters=[cluster('c1', u, copts), cluster('ca', a, ca)], filters=[*filters, f], log=log, routes=routes, **kw))
        await observe(t, u, lambda: a.reqs, reqs)


def grpc(name, answer, cfg='{}', reqs=({},), routes=None, log=LOG, up=None, filters=(), copts=None, full=False, **kw):
    """The service speaks gRPC."""
    @case('ext_authz_grpc_' + name)
    async def _(t):
        u = await t.up('u1', up)
        a = await Authz(t, answer if callable(answer) else lambda n, r: answer).listen()
        f = http_filter('ea', 'ext_authz.v3.ExtAuthz', merge({'transport_api_version': 'V3', 'grpc_service': {'envoy_grpc': {'cluster_name': 'ca'}, 'timeout': '3s'}}, Y(cfg)))
        await t.start(simple(t, clusters=[cluster('c1', u, copts), cluster('ca', a.up, h2=True)], filters=[*filters, f], log=log, routes=routes, **kw))
        await observe(t, u, (lambda: [a.requests(), a.heads()]) if full else lambda: len(a.asked), reqs)


YES = lambda m, n: resp(200)
DENY = lambda m, n: resp(403, 'go away', [('x-d', '1')])
after = lambda k, fails: lambda m, n: fails if n <= k else resp(200)
# ---- Tries again.
BACK_OFF = "retry_back_off: {base_interval: 0.01s, max_interval: 1s}"
POLICY = lambda more='': '{http_service: {retry_policy: {num_retries: 2, %s%s}}}' % (BACK_OFF, more)
http('retries', after(1, resp(503)), POLICY())
http('retries_over', lambda m, n: resp(503), POLICY())
http('retries_usual_number', lambda m, n: resp(503), '{http_service: {retry_policy: {%s}}}' % BACK_OFF)
http('retries_on_500', after(1, resp(500)), POLICY())
http('retries_on_409', after(1, resp(409)), POLICY(', retry_on: retriable-4xx'))
http('retries_on_5xx_said', after(1, resp(500)), POLICY(', retry_on: 5xx'))
http('retries_on_nothing_that_happens', after(1, resp(503)), POLICY(', retry_on: connect-failure'))
http('retries_with_a_body', after(1, resp(503)), merge(Y(POLICY()), Y('{with_request_body: {max_request_bytes: 10}}')), [dict(method='POST', body='0123')])
http('retries_denial', DENY, POLICY())
http('retries_ratelimited', after(1, resp(503, '', [('x-envoy-ratelimited', 'true')])), POLICY())
http('retries_of_the_route', after(1, resp(503)), reqs=[dict(path='/a')], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, **OWN('{check_settings: {http_service: {server_uri: {uri: a, cluster: ca, timeout: 3s}, retry_policy: {num_retries: 3, %s}}}}' % BACK_OFF)}])


def failing(**kw):
    async def go(s):
        if 'http' in kw:
            return s.respond(kw['http'], [], end=True)
        if 'reset' in kw:
            return s.reset(kw['reset'])
        s.respond(200, [('content-type', 'application/grpc'), ('grpc-status', kw['status'])], end=True)
    return go


tries = lambda k, fails: lambda n, r: fails if n <= k else OK
GPOLICY = lambda on, more='': '{grpc_service: {retry_policy: {num_retries: 2, retry_on: "%s", %s%s}}}' % (on, BACK_OFF, more)
grpc('retries_on_two', tries(2, failing(status='14')), GPOLICY('unavailable'))
grpc('retries_on_three', tries(3, failing(status='14')), GPOLICY('unavailable'))
grpc('retries_on_another', tries(1, failing(status='13')), GPOLICY('unavailable,cancelled'))
grpc('retries_on_5xx', tries(1, failing(http=503)), GPOLICY('5xx'))
grpc('retries_on_gateway', tries(1, failing(http=500)), GPOLICY('gateway-error'))
grpc('retries_on_reset', tries(1, failing(reset=2)), GPOLICY('reset'))
grpc('retries_on_refused', tries(1, failing(reset=7)), GPOLICY('refused-stream'))
grpc('retries_on_reset_before', tries(1, failing(reset=2)), GPOLICY('reset-before-request'))
grpc('retries_on_internal_of_list', tries(1, failing(status='13')), GPOLICY('cancelled,internal'))
grpc('retries_on_usual_number', tries(9, failing(status='14')), '{grpc_service: {retry_policy: {retry_on: unavailable, %s}}}' % BACK_OFF)
grpc('retries_on_none', tries(9, failing(status='14')), '{grpc_service: {retry_policy: {retry_on: unavailable, num_retries: 0, %s}}}' % BACK_OFF)
grpc('retries_of_the_route', tries(1, failing(status='14')), routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, **OWN('{check_settings: {grpc_service: {envoy_grpc: {cluster_name: ca}, timeout: 3s, retry_policy: {retry_on: unavailable, %s}}}}' % BACK_OFF)}])


@case('ext_authz_retries_refused')
async def _(t):
    u = await t.up('u1')
    gs = lambda policy: {'grpc_service': {'envoy_grpc': {'cluster_name': 'c1'}, 'retry_policy': Y(policy)}}
    hs = lambda policy: {'http_service': {'server_uri': {'uri': 'a', 'cluster': 'c1', 'timeout': '1s'}, 'retry_policy': Y(policy)}}
    for i, policy in enumerate(('{retry_back_off: {base_interval: 2s, max_interval: 1s}}', '{retry_back_off: {max_interval: 1s}}', '{retry_back_off: {base_interval: 0s}}', '{retry_on: nonsense}', '{num_retries: 0}')):
        for kind, of in (('grpc', gs), ('http', hs)):
            code, _ = await t.run_to_end(simple(t, filters=[http_filter('ea', 'ext_authz.v3.ExtAuthz', of(policy))]), args=('--mode', 'validate'))
            t.see('%s %s' % (kind, policy), 'refused' if code else 'taken')


# ---- What an answer may change.
ok = lambda **k: {**OK, 'ok_response': k}
denied = lambda **k: {**NO, 'denied_response': {'status': {'code': 401}, **k}}
CHECKED = '{validate_mutations: true}'
for name, answer in (
    ('header_name', ok(headers=[option('x y', '1')])), ('header_value', ok(headers=[option('x-a', 'a\nb')])), ('header_append_value', ok(headers=[option('x-a', 'a\nb', append={'value': 1})])),
    ('headers_fine', ok(headers=[option('x-a', 'b'), option('X-Upper', 'b'), option('x-b', '\x80\xff')])),
    ('header_pseudo', ok(headers=[option(':path', '/new')])),
    ('removes_bad', ok(headers=[option('x-a', '1')], headers_to_remove=['x y', ':path', ''])), ('response_header', ok(response_headers_to_add=[option('x y', '1')])), ('response_value', ok(response_headers_to_add=[option('x-a', 'a\rb')])),
    ('query', ok(query_parameters_to_set=[{'key': 'a b', 'value': '1'}])), ('query_value', ok(query_parameters_to_set=[{'key': 'a', 'value': 'x y'}])), ('query_value_hash', ok(query_parameters_to_set=[{'key': 'a', 'value': 'x#y'}])), ('query_value_amp', ok(query_parameters_to_set=[{'key': 'a', 'value': 'x&y=z'}])), ('query_value_escaped', ok(query_parameters_to_set=[{'key': 'a', 'value': '%20+_~'}])), ('query_empty', ok(query_parameters_to_set=[{'key': '', 'value': '1'}])), ('query_removes_bad', ok(query_parameters_to_remove=['a b'])),
    ('denied_header', denied(headers=[option('x y', '1')], body='b')), ('denied_value', denied(headers=[option('x-a', 'a\nb')], body='b')), ('denied_fine', denied(headers=[option('x-a', 'a')], body='b')), ('denied_append_value', denied(headers=[option('x-a', 'a\nb', append={'value': 1})], body='b')),
):
    grpc('validate_' + name, answer, CHECKED, [dict(path='/p?a=0')])
grpc('validate_allowed_failure', ok(headers=[option('x y', '1')]), '{validate_mutations: true, failure_mode_allow: true, status_on_error: {code: BadGateway}}')
RULES = lambda rules='{}', more='': '{decoder_header_mutation_rules: %s%s}' % (rules, more)
MANY = ok(headers=[option('x-a', 'n'), option('x-b', 'n', append={'value': 1}), option(':path', '/new'), option(':method', 'PUT'), option(':scheme', 'https'), option('host', 'other'), option(':authority', 'more', append={'value': 1}), option('x-envoy-foo', 'n'), option('via', 'me'), option('cookie', 'c=1')], headers_to_remove=['x-rm', 'x-envoy-rm', 'user-agent'])
RQ = [H(('x-a', 'o'), ('x-b', 'o'), ('x-rm', '1'), ('x-envoy-rm', '1'), ('user-agent', 'ua'))]
for name, rules in (('usual', '{}'), ('all', '{disallow_all: true}'), ('system', '{disallow_system: true}'), ('envoy', '{allow_envoy: true}'), ('routing', '{allow_all_routing: true}'), ('expression', '{disallow_expression: {regex: "x-a|x-rm"}}'),
                    ('allow_expression', '{disallow_all: true, allow_expression: {regex: "x-.*"}}'), ('both_expressions', '{allow_expression: {regex: "x-a"}, disallow_expression: {regex: "x-.*"}}'), ('error', '{disallow_all: true, disallow_is_error: true}'), ('error_of_one', '{disallow_expression: {regex: "x-b"}, disallow_is_error: true}'), ('error_of_removal', '{disallow_expression: {regex: "x-rm"}, disallow_is_error: true}')):
    grpc('rules_' + name, MANY, RULES(rules), RQ)
grpc('rules_denied', denied(headers=[option('x-a', 'a')], body='b'), RULES('{disallow_all: true, disallow_is_error: true}'))
grpc('rules_response_headers', ok(response_headers_to_add=[option('x-a', 'a')]), RULES('{disallow_all: true, disallow_is_error: true}'))
grpc('rules_query', ok(query_parameters_to_set=[{'key': 'a', 'value': '1'}]), RULES('{disallow_all: true, disallow_is_error: true}'), [dict(path='/p?a=0')])
CHANGES = lambda m, n: resp(200, '', [('x-a', 'n'), ('x-b', 'n'), ('x-envoy-foo', 'n'), ('x-envoy-auth-headers-to-remove', 'x-rm,user-agent')])
ALL_UP = {'http_service': {'authorization_response': {'allowed_upstream_headers': {'patterns': [{'exact': 'x-a'}, {'prefix': 'x-envoy-f'}]}, 'allowed_upstream_headers_to_append': {'patterns': [{'exact': 'x-b'}]}}}}
for name, rules in (('usual', '{}'), ('all', '{disallow_all: true}'), ('error', '{disallow_all: true, disallow_is_error: true}')):
    http('rules_' + name, CHANGES, merge(Y(RULES(rules)), ALL_UP), RQ)
http('validate_fine', CHANGES, merge(Y(CHECKED), ALL_UP), RQ)

# ---- What is told to logs.
FS = '%RESPONSE_CODE% fs=%FILTER_STATE(ea)% plain=%FILTER_STATE(ea:PLAIN)% lat=%FILTER_STATE(ea:FIELD:latency_us)% sent=%FILTER_STATE(ea:FIELD:bytesSent)% got=%FILTER_STATE(ea:FIELD:bytesReceived)% k=%FILTER_STATE(ea:FIELD:k)% host=%FILTER_STATE(ea:FIELD:upstreamHost)% cluster=%FILTER_STATE(ea:FIELD:upstreamCluster)%'
META = '{filter_metadata: {k: v, o: {p: 1}}%s}'
for kind, make, answers in (('grpc', grpc, (OK, NO)), ('http', http, (YES, DENY))):
    make('filter_metadata', answers[0], META % '', log=FS)
    make('filter_metadata_denied', answers[1], META % '', log=FS)
    make('state_stats', answers[0], '{emit_filter_state_stats: true}', log=FS)
    make('state_stats_metadata', answers[0], META % ', emit_filter_state_stats: true', log=FS)
    make('state_stats_denied', answers[1], '{emit_filter_state_stats: true}', log=FS)
    make('state_stats_off', answers[0], META % ', emit_filter_state_stats: true, filter_enabled: {default_value: {numerator: 0}}', log=FS)
    make('state_stats_of_the_route', answers[0], META % ', emit_filter_state_stats: true', log=FS, routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, **OWN('{disabled: true}')}])
    make('state_stats_taken', answers[0], META % ', emit_filter_state_stats: true', log=FS, filters=[http_filter('fs', 'set_filter_state.v3.Config', '{on_request_headers: [{object_key: ea, factory_key: envoy.string, format_string: {text_format_source: {inline_string: mine}}}]}')])

# ---- Limits of the response's headers.
grpc('limits_of_count', ok(response_headers_to_add=[option('x-%d' % i, 'v') for i in range(20)]), '{enforce_response_header_limits: true}', copts='{typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, common_http_protocol_options: {max_headers_count: 10}}}}')
grpc('limits_not_enforced', ok(response_headers_to_add=[option('x-%d' % i, 'v') for i in range(20)]), '{}', copts='{typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, common_http_protocol_options: {max_headers_count: 10}}}}')
grpc('limits_of_size', ok(response_headers_to_add=[option('x-%d' % i, 'v' * 8000) for i in range(10)]), '{enforce_response_header_limits: true}')
grpc('limits_set_and_append', ok(response_headers_to_add=[option('x-up', 'mine', append_action=2), *[option('x-%d' % (i % 3), 'v', append_action=(0, 1, 2, 3)[i % 4]) for i in range(20)]]), '{enforce_response_header_limits: true}', up=lambda m, n: resp(200, 'u', [('x-up', 'u')]), copts='{typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, common_http_protocol_options: {max_headers_count: 10}}}}')
grpc('limits_of_a_denial', denied(headers=[option('x-%d' % i, 'v') for i in range(120)], body='b'), '{enforce_response_header_limits: true}')
grpc('limits_of_a_denial_not_enforced', denied(headers=[option('x-%d' % i, 'v') for i in range(120)], body='b'), '{}')
grpc('limits_of_a_denial_size', denied(headers=[option('x-%d' % i, 'v' * 8000) for i in range(12)], body='b'), '{enforce_response_header_limits: true}')
http('limits_of_a_denial', lambda m, n: resp(403, 'b', [('x-%d' % i, 'v') for i in range(99)]), '{enforce_response_header_limits: true}', ca={'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions', 'explicit_http_config': {'http_protocol_options': {}}, 'common_http_protocol_options': {'max_headers_count': 200}}}})

# ---- Shadow mode.
SHADOW = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %FILTER_STATE(ea.shadow)% plain=%FILTER_STATE(ea.shadow:PLAIN)% code=%FILTER_STATE(ea.shadow:FIELD:status_code)% %DYNAMIC_METADATA(envoy.filters.http.ext_authz)%'
RICH = {**NO, 'denied_response': {'status': {'code': 401}, 'headers': [option('www-authenticate', 'Basic'), option('set-cookie', 'a=1'), option('set-cookie', 'b=2')], 'body': 'no'}, 'dynamic_metadata': {'why': 'no'}}
ON = '{shadow_mode: true%s}'
grpc('shadow_denied', RICH, ON % '', log=SHADOW)
grpc('shadow_ok', ok(headers=[option('x-a', '1')], response_headers_to_add=[option('x-r', '1')]), ON % '', log=SHADOW)
grpc('shadow_error', lambda n, r: failing(status='14'), ON % '', log=SHADOW)
grpc('shadow_error_response', {**NO, 'error_response': {'status': {'code': 429}, 'headers': [option('x-e', '1')], 'body': 'slow'}}, ON % '', log=SHADOW)
grpc('shadow_error_allowed', lambda n, r: failing(status='14'), ON % ', failure_mode_allow: true, failure_mode_allow_header_add: true', log=SHADOW)
grpc('shadow_error_status', lambda n, r: failing(status='14'), ON % ', status_on_error: {code: BadGateway}', log=SHADOW)
grpc('shadow_invalid', ok(headers=[option('x y', '1')]), ON % ', validate_mutations: true', log=SHADOW)
grpc('shadow_disabled', NO, ON % ', filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {runtime_key: x, default_value: true}', log=SHADOW)
grpc('shadow_body', RICH, ON % ', with_request_body: {max_request_bytes: 10}', [dict(method='POST', body='0123')], log=SHADOW)
grpc('shadow_body_too_large', RICH, ON % ', with_request_body: {max_request_bytes: 3}', [dict(method='POST', body='0123')], log=SHADOW)
http('shadow_denied', lambda m, n: resp(401, 'no', [('www-authenticate', 'Basic'), ('set-cookie', 'a=1'), ('set-cookie', 'b=2'), ('x-e', '')]), "{shadow_mode: true, http_service: {authorization_response: {allowed_client_headers: {patterns: [{exact: set-cookie}, {exact: x-e}]}}}}", log=SHADOW)
http('shadow_ok', YES, ON % '', log=SHADOW)
http('shadow_error', lambda m, n: resp(500), ON % '', log=SHADOW)

# ---- HTTP in depth.
RAW = '{allowed_headers: {patterns: [{prefix: x-}, {exact: cookie}, {exact: accept}]}%s}'
TWICE = [dict(headers=[('x-a', '1'), ('x-a', '2'), ('cookie', 'a=1'), ('cookie', 'b=2'), ('x-bytes', b'a\xffb'), ('x-empty', ''), ('accept', 'a'), ('accept', 'b')])]
http('headers_twice', YES, RAW % '', TWICE)
http('headers_twice_raw', YES, RAW % ', encode_raw_headers: true', TWICE)
http('disallowed_of_the_usual', YES, '{disallowed_headers: {patterns: [{exact: authorization}]}}', [H(('authorization', 'z'), path='/p')])
http('headers_to_add_twice', YES, '{http_service: {authorization_request: {headers_to_add: [{key: x-a, value: "1"}, {key: x-a, value: "2"}, {key: authorization, value: mine}, {key: x-fmt, value: "%REQ(x-b)%"}]}}, allowed_headers: {patterns: [{exact: x-a}]}}', [H(('x-a', '0'), ('authorization', 'theirs'), ('x-b', 'b'))])
http('methods', YES, '{}', [dict(method=m) for m in ('HEAD', 'OPTIONS', 'DELETE', 'PATCH')] + [dict(method='CONNECT', path='a:80')])
http('path_prefix_query', YES, '{http_service: {path_prefix: /auth}}', [dict(path='/a?b=c&d'), dict(path='/')])
http('path_override_query', YES, '{http_service: {path_override: "/v?x=1"}}', [dict(path='/a?b=c')])
http('body_bytes', YES, '{with_request_body: {max_request_bytes: 100, pack_as_bytes: true}}', [dict(method='POST', body=b'\xff\x00a')])
http('body_chunked', YES, '{with_request_body: {max_request_bytes: 100}}', [dict(method='POST', headers=[('transfer-encoding', 'chunked')], body='5\r\n01234\r\n0\r\n\r\n'), dict(method='POST', headers=[('content-length', '0')])])
http('body_partial_chunked', YES, '{with_request_body: {max_request_bytes: 4, allow_partial_message: true}}', [dict(method='POST', headers=[('transfer-encoding', 'chunked')], body='5\r\n01234\r\n3\r\nabc\r\n0\r\n\r\n')])
http('body_too_large_allowed', YES, '{failure_mode_allow: true, with_request_body: {max_request_bytes: 4}}', [dict(method='POST', body='01234')])
http('statuses', lambda m, n: resp((201, 204, 206, 299, 301, 400, 404, 429, 499)[n - 1], 'b'), '{}', [{}] * 9)
http('statuses_5xx', lambda m, n: resp((500, 503, 504, 599)[n - 1], 'b'), '{}', [{}] * 4)
http('status_on_error_set', lambda m, n: resp(500, 'b', [('x-a', '1')]), '{status_on_error: {code: ServiceUnavailable}}')
http('failure_allowed_header', lambda m, n: resp(500), '{failure_mode_allow: true, failure_mode_allow_header_add: true}', [H(('x-envoy-auth-failure-mode-allowed', 'false'))])
http('denied_header_patterns', lambda m, n: resp(403, 'b', [('x-a', '1'), ('x-a', '2'), ('x-b', '3'), ('content-type', 'text/html'), ('server', 'mine'), ('date', 'x'), ('www-authenticate', 'Basic'), ('set-cookie', 'a'), ('set-cookie', 'b'), ('proxy-authenticate', 'p'), ('x-envoy-upstream-service-time', '7')]), '{http_service: {authorization_response: {allowed_client_headers: {patterns: [{exact: x-a}, {safe_regex: {regex: "set-.*"}}]}}}}')
http('denied_all_headers', lambda m, n: resp(403, 'b', [('x-a', '1'), ('x-a', '2'), ('content-type', 'text/html'), ('server', 'mine'), ('via', 'v'), ('connection', 'close'), ('set-cookie', 'a'), ('set-cookie', 'b')]))
http('denied_chunked', lambda m, n: b'HTTP/1.1 403 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n')
http('denied_body_limit', lambda m, n: resp(403, '0123456789'), '{max_denied_response_body_bytes: 4}')
http('denied_metadata', lambda m, n: resp(403, 'b', [('x-md-a', 'v'), ('x-md-b', 'w'), ('x-md-a', '2')]), '{http_service: {authorization_response: {dynamic_metadata_from_headers: {patterns: [{prefix: x-md}]}}}}')
http('ok_metadata_twice', lambda m, n: resp(200, 'b', [('x-md-a', 'v'), ('x-md-b', 'w'), ('x-md-a', '2')]), '{http_service: {authorization_response: {dynamic_metadata_from_headers: {patterns: [{prefix: x-md}]}}}}')
http('ok_metadata_off', lambda m, n: resp(200, 'b', [('x-md-a', 'v')]), '{enable_dynamic_metadata_ingestion: false, http_service: {authorization_response: {dynamic_metadata_from_headers: {patterns: [{prefix: x-md}]}}}}')
http('ok_upstream_twice', lambda m, n: resp(200, 'b', [('x-a', '1'), ('x-a', '2'), ('x-b', '3'), ('x-b', '4'), ('x-c', '5')]), '{http_service: {authorization_response: {allowed_upstream_headers: {patterns: [{exact: x-a}]}, allowed_upstream_headers_to_append: {patterns: [{exact: x-b}, {exact: x-c}]}}}}', [H(('x-a', '0'), ('x-b', '0')), {}])
http('ok_upstream_both_lists', lambda m, n: resp(200, 'b', [('x-a', '1')]), '{http_service: {authorization_response: {allowed_upstream_headers: {patterns: [{exact: x-a}]}, allowed_upstream_headers_to_append: {patterns: [{exact: x-a}]}}}}', [H(('x-a', '0'))])
http('ok_upstream_framing', lambda m, n: resp(200, 'b', [('host', 'h'), ('te', 'trailers'), ('x-a', '1')]), '{http_service: {authorization_response: {allowed_upstream_headers: {patterns: [{safe_regex: {regex: "host|te|x-a"}}]}}}}', [dict(method='POST', body='0123')])
http('ok_client_headers', lambda m, n: resp(200, 'b', [('x-a', '1'), ('x-a', '2'), ('set-cookie', 'a'), ('server', 's'), ('x-up', 'mine')]), '{http_service: {authorization_response: {allowed_client_headers_on_success: {patterns: [{exact: x-a}, {exact: x-up}, {exact: set-cookie}]}}}}', up=lambda m, n: resp(200, 'u', [('x-up', 'u'), ('set-cookie', 'u')]))
http('ok_removes_odd', lambda m, n: resp(200, '', [('x-envoy-auth-headers-to-remove', ' x-a ,, X-B,host,:path'), ('x-envoy-auth-headers-to-remove', 'x-c')]), '{}', [H(('x-a', '1'), ('x-b', '2'), ('x-c', '3'), ('x-envoy-auth-headers-to-remove', 'x-d'), ('x-d', '4'))])
http('ok_clears_route', lambda m, n: resp(200, '', [('x-go', 'b')]), '{clear_route_cache: true, http_service: {authorization_response: {allowed_upstream_headers: {patterns: [{exact: x-go}]}}}}', routes=[{'match': {'prefix': '/', 'headers': [{'name': 'x-go', 'string_match': {'exact': 'b'}}]}, 'direct_response': {'status': 202}}, REST])
http('no_cluster', YES, '{http_service: {server_uri: {cluster: nosuch}}}')
http('per_route_service', YES, '{}', [dict(path='/own/x'), dict(path='/y')], routes=[{'match': {'prefix': '/own'}, 'route': {'cluster': 'c1'}, **OWN('{check_settings: {http_service: {server_uri: {uri: a, cluster: ca, timeout: 1s}, path_prefix: /mine, authorization_request: {headers_to_add: [{key: x-own, value: "1"}]}}}}')}, REST])
http('per_route_body', YES, '{with_request_body: {max_request_bytes: 4}}', [dict(path=p, method='POST', body='0123456') for p in ('/more', '/none', '/x')], routes=[{'match': {'prefix': '/more'}, 'route': {'cluster': 'c1'}, **OWN('{check_settings: {with_request_body: {max_request_bytes: 40}}}')}, {'match': {'prefix': '/none'}, 'route': {'cluster': 'c1'}, **OWN('{check_settings: {disable_request_body_buffering: true}}')}, REST])
http('per_route_merged', YES, '{}', [dict(path='/a')], vhosts=[{'name': 'v', 'domains': ['*'], **OWN('{disabled: true}'), 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, **OWN('{disabled: false}')}]}])
http('deny_at_disable_status', YES, '{status_on_error: {code: BadGateway}, filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {default_value: true, runtime_key: d}}')
http('unknown_cluster_of_the_route', DENY, '{}', routes=[{'match': {'prefix': '/'}, 'route': {'cluster_header': 'x-c'}}], reqs=[{}, H(('x-c', 'c1')), H(('x-c', 'nosuch'))])
http('two_filters', YES, '{stat_prefix: one}', filters=[http_filter('ea2', 'ext_authz.v3.ExtAuthz', '{stat_prefix: two, http_service: {server_uri: {uri: a, cluster: ca, timeout: 1s}, path_prefix: /two}}')])
http('host_rewritten_and_xff', YES, RAW % '', [H(('x-forwarded-for', '9.9.9.9'), ('x-forwarded-proto', 'https'), ('x-envoy-original-path', '/z'))], opts='{use_remote_address: true, generate_request_id: true}')
http('upgrade', YES, '{}', [H(('connection', 'upgrade'), ('upgrade', 'websocket'))], opts='{upgrade_configs: [{upgrade_type: websocket}]}', up=lambda m, n: b'HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n')


@case('ext_authz_http_refused')
async def _(t):
    await t.up('u1')
    for name, cfg in (('prefix', '{http_service: {path_prefix: auth}}'), ('override', '{http_service: {path_override: auth}}'), ('both_paths', '{http_service: {path_prefix: /a, path_override: /b}}'), ('both_lists', '{allowed_headers: {patterns: [{exact: a}]}, http_service: {authorization_request: {allowed_headers: {patterns: [{exact: b}]}}}}'),
                      ('adds_host', '{http_service: {authorization_request: {headers_to_add: [{key: host, value: h}]}}}'), ('adds_path', '{http_service: {authorization_request: {headers_to_add: [{key: ":path", value: /h}]}}}'), ('adds_bad', '{http_service: {authorization_request: {headers_to_add: [{key: "x y", value: h}]}}}'), ('no_timeout', '{http_service: {server_uri: {timeout: null}}}'), ('body_of_nothing', '{with_request_body: {max_request_bytes: 0}}')):
        c = merge({'http_service': {'server_uri': {'uri': 'a', 'cluster': 'c1', 'timeout': '1s'}}}, Y(cfg))
        if name == 'no_timeout':
            del c['http_service']['server_uri']['timeout']
        code, _ = await t.run_to_end(simple(t, filters=[http_filter('ea', 'ext_authz.v3.ExtAuthz', c)]), args=('--mode', 'validate'))
        t.see(name, 'refused' if code else 'taken')


VALUES = ('%20', '+', '~', '_', '-.', '/', '%zz', "!*'()", ':@', ',;', '\xe9', '[', '$')
grpc('validate_query_values', lambda n, r: ok(query_parameters_to_set=[{'key': 'a', 'value': VALUES[n - 1]}]), CHECKED, [dict(path='/p')] * len(VALUES))
BYTES = ('\t', '\x01', '\x7f', '\xe9', ' a ', '\0', '\x1f')
grpc('validate_header_values', lambda n, r: ok(headers=[option('x-a', BYTES[n - 1])]), CHECKED, [{}] * len(BYTES))
grpc('retries_heads', tries(1, failing(status='14')), GPOLICY('unavailable'), full=True)
grpc('retries_longest_below_base', tries(1, failing(status='14')), '{grpc_service: {retry_policy: {retry_on: unavailable, retry_back_off: {base_interval: 0.6s, max_interval: 0.5s}}}}')
http('retries_longest_below_base', after(1, resp(500)), '{http_service: {retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 0.6s, max_interval: 0.5s}}}}')
grpc('rules_bad_values', lambda n, r: ok(headers=[option(*(('x-a', 'a\nb'), (':scheme', 'ftp'), (':authority', 'a b'), ('host', 'a b'), (':status', '99'))[n - 1])]), RULES('{allow_all_routing: true, disallow_is_error: true}'), [{}] * 5)
SHADOW_FIELDS = '%FILTER_STATE(ea.shadow:FIELD:check_result)% %FILTER_STATE(ea.shadow:FIELD:status_code)% %FILTER_STATE(ea.shadow:FIELD:response_headers)% %FILTER_STATE(ea.shadow:FIELD:nosuch)% %CEL(filter_state["ea.shadow"].check_result)% %CEL(filter_state["ea.shadow"].status_code)%'
grpc('shadow_fields', RICH, ON % '', log=SHADOW_FIELDS)
grpc('shadow_twice', RICH, ON % '', log=SHADOW, filters=[http_filter('fs', 'set_filter_state.v3.Config', '{on_request_headers: [{object_key: ea.shadow, factory_key: envoy.string, format_string: {text_format_source: {inline_string: mine}}}]}')])
