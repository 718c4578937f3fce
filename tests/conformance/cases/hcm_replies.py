"""Local replies, direct responses, limits of a connection, timers, response headers of the connection manager."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
FORMAT = '%RESPONSE_CODE%|%LOCAL_REPLY_BODY%|%REQ(:PATH)%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%'
DIRECT = '[{match: {path: /d}, direct_response: {status: 403, body: {inline_string: denied}}}, {match: {path: /nc}, route: {cluster: zz}}, {match: {path: /re}, redirect: {path_redirect: /x}}, {match: {path: /up}, route: {cluster: c1}}, {match: {path: /dead}, route: {cluster: cd}}]'


def replies(name, opts, ps=('/d', '/nc', '/none', '/re', '/up', '/dead'), routes=DIRECT, headers=()):
    """What clients get, per path, under one local_reply_config."""
    @case(name)
    async def _(t):
        u = await t.up('u1', lambda m, n: resp(418, 'tea'))
        await t.start(simple(t, clusters=[cluster('c1', u), cluster('cd', t.dead())], log=LOG, routes=routes, route_config={'validate_clusters': False}, opts=opts))
        for p in ps:
            t.see(p, await t.req(p, headers=headers))
        t.see('log', await t.logs())


def mapper(filter, **kw):
    return json.dumps({'local_reply_config': {'mappers': [{'filter': Y(filter), **{k: Y(v) if isinstance(v, str) else v for k, v in kw.items()}}]}})


ST = '{status_code_filter: {comparison: {op: %s, value: {default_value: %d, runtime_key: k}}}}'
replies('local_reply_default', None)
replies('local_reply_text_format', json.dumps({'local_reply_config': {'body_format': {'text_format_source': {'inline_string': FORMAT}}}}))
replies('local_reply_content_type', json.dumps({'local_reply_config': {'body_format': {'text_format_source': {'inline_string': '<p>%LOCAL_REPLY_BODY%'}, 'content_type': 'text/html; charset=UTF-8'}}}), ps=('/d', '/none'))
replies('local_reply_json_types', json.dumps({'local_reply_config': {'body_format': {'json_format': {'code': '%RESPONSE_CODE%', 'text': 'c=%RESPONSE_CODE%', 'n': 5, 'b': True, 'l': ['%REQ(:PATH)%', 'x'], 'none': '%REQ(nope)%', 'body': '%LOCAL_REPLY_BODY%'}}}}), ps=('/d', '/none'))
replies('local_reply_empty_format', json.dumps({'local_reply_config': {'body_format': {'text_format_source': {'inline_string': ''}}}}), ps=('/d', '/none'))
replies('local_reply_text_format_deprecated_field', json.dumps({'local_reply_config': {'body_format': {'text_format': 'old %RESPONSE_CODE%\n'}}}), ps=('/d',))
replies('local_reply_status_only', mapper(ST % ('EQ', 403), status_code=499), ps=('/d', '/none'))
replies('local_reply_first_mapper_wins', json.dumps({'local_reply_config': {'mappers': [{'filter': Y(ST % ('GE', 400)), 'status_code': 451}, {'filter': Y(ST % ('EQ', 403)), 'status_code': 452}]}}), ps=('/d', '/nc'))
replies('local_reply_body_override', mapper(ST % ('GE', 400), body={'inline_string': 'new body'}), ps=('/d', '/none', '/dead', '/up'))
replies('local_reply_headers', mapper(ST % ('GE', 300), headers_to_add=[{'header': {'key': 'x-a', 'value': '%RESPONSE_CODE%'}}, {'header': {'key': 'server', 'value': 'mine'}, 'append_action': 'OVERWRITE_IF_EXISTS_OR_ADD'}, {'header': {'key': 'content-type', 'value': 'a/b'}, 'append_action': 'OVERWRITE_IF_EXISTS_OR_ADD'}]), ps=('/d', '/re', '/none', '/up'))
replies('local_reply_flag_filter', mapper('{response_flag_filter: {flags: [UF, NR]}}', status_code=555, body={'inline_string': 'flagged'}))
replies('local_reply_header_filter', mapper('{header_filter: {header: {name: x-want, string_match: {exact: "1"}}}}', body={'inline_string': 'wanted'}), ps=('/d',), headers=[('x-want', '1')])
replies('local_reply_and_filter', mapper('{and_filter: {filters: [%s, {header_filter: {header: {name: ":path", string_match: {exact: /d}}}}]}}' % (ST % ('GE', 400)), status_code=410), ps=('/d', '/none'))
replies('local_reply_grpc', None, headers=[('content-type', 'application/grpc')])
replies('local_reply_grpc_with_format', json.dumps({'local_reply_config': {'body_format': {'text_format_source': {'inline_string': 'F %LOCAL_REPLY_BODY%'}}}}), ps=('/d',), headers=[('content-type', 'application/grpc+proto')])


def direct(name, routes, reqs, **kw):
    """Observes the answers of routes that need no upstream."""
    @case(name)
    async def _(t):
        await t.start(simple(t, clusters=[], routes=routes, log=LOG, **kw))
        for label, k in reqs:
            t.see(label, await t.req(**k))
        t.see('log', await t.logs())


ROOT = '[{match: {prefix: /}, direct_response: %s}]'
direct('direct_response_statuses', '[%s]' % ', '.join('{match: {path: /%d}, direct_response: {status: %d, body: {inline_string: b}}}' % (s, s) for s in (200, 201, 202, 204, 301, 304, 404, 500, 599)), [(str(s), dict(path='/%d' % s)) for s in (200, 201, 202, 204, 301, 304, 404, 500, 599)])
direct('direct_response_no_body', ROOT % '{status: 200}', [('get', {}), ('head', dict(method='HEAD')), ('post', dict(method='POST', body='abc'))])
direct('direct_response_head', ROOT % '{status: 200, body: {inline_string: hello}}', [('head', dict(method='HEAD')), ('http10', dict(version='HTTP/1.0'))])
direct('direct_response_headers', '[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: x}}, response_headers_to_add: [{header: {key: content-type, value: application/x}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-p, value: "%PROTOCOL%"}}], response_headers_to_remove: [server]}]', [('get', {})])
direct('direct_response_inline_bytes', ROOT % '{status: 200, body: {inline_bytes: AAEC/w==}}', [('get', {})])
direct('direct_response_body_format', ROOT % '{status: 200, body: {inline_string: "a%b%%"}}', [('get', {})])
direct('direct_response_large_allowed', ROOT % ('{status: 200, body: {inline_string: "%s"}}' % ('x' * 5000)), [('get', {})], route_config={'max_direct_response_body_size_bytes': 5000})
direct('redirect_codes', '[%s]' % ', '.join('{match: {path: /%s}, redirect: {path_redirect: /t, response_code: %s}}' % (c, c) for c in ('MOVED_PERMANENTLY', 'FOUND', 'SEE_OTHER', 'TEMPORARY_REDIRECT', 'PERMANENT_REDIRECT')), [(c, dict(path='/' + c)) for c in ('MOVED_PERMANENTLY', 'FOUND', 'SEE_OTHER', 'TEMPORARY_REDIRECT', 'PERMANENT_REDIRECT')])
direct('redirect_parts', """
- {match: {prefix: /host}, redirect: {host_redirect: other.example}}
- {match: {prefix: /https}, redirect: {https_redirect: true}}
- {match: {prefix: /scheme}, redirect: {scheme_redirect: ftp}}
- {match: {prefix: /port}, redirect: {port_redirect: 8443, https_redirect: true}}
- {match: {prefix: /path}, redirect: {path_redirect: /new}}
- {match: {prefix: /pathq}, redirect: {path_redirect: "/new?z=1"}}
- {match: {prefix: /prefix/}, redirect: {prefix_rewrite: /p2/}}
- {match: {prefix: /regex}, redirect: {regex_rewrite: {pattern: {regex: "^/regex/([a-z]+)"}, substitution: '/r/\\1'}}}
- {match: {prefix: /strip}, redirect: {strip_query: true, host_redirect: h2}}
- {match: {prefix: /none}, redirect: {}}
""", [(p + ' ' + h, dict(path=p, host=h)) for p in ('/host/a?q=1', '/https', '/scheme', '/port', '/path?q=1', '/prefix/x?y', '/regex/ab/c?d', '/strip?q=1', '/none') for h in ('a.example', 'a.example:80')])
direct('redirect_post_and_head', '[{match: {prefix: /}, redirect: {path_redirect: /n}}]', [('post', dict(method='POST', body='abc')), ('head', dict(method='HEAD'))])
direct('redirect_response_headers', '[{match: {prefix: /}, redirect: {path_redirect: /n}, response_headers_to_add: [{header: {key: x-r, value: "1"}}, {header: {key: location, value: "http://z/"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}]', [('get', {})])
direct('non_forwarding_action', '[{match: {path: /nf}, non_forwarding_action: {}}, {match: {prefix: /}, direct_response: {status: 200}}]', [('nf', dict(path='/nf')), ('ok', {})])


@case()
async def max_requests_per_connection_downstream(t):
    await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {max_requests_per_connection: 2}}', log=LOG))
    c = await t.conn()
    t.see('r', [await t.req('/%d' % i, conn=c) for i in range(2)])
    t.see('state', await c.state(1.5))
    t.see('stats', await t.stats('http.in.downstream_cx_max_requests_reached', 'http.in.downstream_cx_drain_close', 'http.in.downstream_cx_destroy_local'))


@case()
async def max_requests_per_connection_upstream(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', u, hpo='{common_http_protocol_options: {max_requests_per_connection: 2}, explicit_http_config: {http_protocol_options: {}}}')]))
    c = await t.conn()
    for i in range(5):
        await t.req('/%d' % i, conn=c)
    t.see('conns', [m.conn for m in u.reqs])
    t.see('first', u.reqs[0])
    t.see('second', u.reqs[1])
    t.see('stats', await t.stats('cluster.c1.upstream_cx_max_requests', 'cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_http1_total'))


@case()
async def idle_timeout_downstream(t):
    await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {idle_timeout: 0.2s}}'))
    c = await t.conn()
    t.see('r', (await t.req('/', conn=c)).status)
    t.see('state', await c.state(2))
    fresh = await t.conn()
    t.see('never_used', await fresh.state(2))
    t.see('stats', await t.stats('http.in.downstream_cx_idle_timeout', 'http.in.downstream_cx_destroy_local'))


@case()
async def idle_timeout_upstream(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', u, hpo='{common_http_protocol_options: {idle_timeout: 0.2s}, explicit_http_config: {http_protocol_options: {}}}')]))
    await t.req('/')
    t.see('closed', bool(await t.until(lambda: u.closed_conns == 1, 3)))
    t.see('r', (await t.req('/')).status)
    t.see('stats', await t.stats('cluster.c1.upstream_cx_idle_timeout', 'cluster.c1.upstream_cx_total'))


@case()
async def max_connection_duration_idle(t):
    await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {max_connection_duration: 0.3s}}'))
    c = await t.conn()
    t.see('r', (await t.req('/', conn=c)).status)
    t.see('state', await c.state(3))
    t.see('stats', await t.stats('http.in.downstream_cx_max_duration_reached', 'http.in.downstream_cx_destroy_local'))


@case()
async def request_timeout_body(t):
    u = await t.up()
    await t.start(simple(t, opts='{request_timeout: 0.3s}', log=LOG))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc')
    t.see('r', await c.response(timeout=3))
    t.see('ok', (await t.req('/', method='POST', body='x')).status)
    t.see('stats', await t.stats('http.in.downstream_rq_timeout', 'http.in.downstream_rq_4xx'))
    t.see('log', await t.logs())


@case()
async def request_timeout_not_for_response(t):
    u = await t.up('u1', delay=0.5)
    await t.start(simple(t, opts='{request_timeout: 0.2s}', log=LOG))
    t.see('r', await t.req('/', timeout=3))
    t.see('log', await t.logs())


@case()
async def max_stream_duration_hcm(t):
    u = await t.up('u1', delay=2)
    await t.start(simple(t, opts='{common_http_protocol_options: {max_stream_duration: 0.3s}}', log=LOG))
    t.see('r', await t.req('/', timeout=3))
    t.see('stats', await t.stats('http.in.downstream_rq_max_duration_reached'))
    t.see('log', await t.logs())


@case()
async def max_stream_duration_incomplete_request(t):
    u = await t.up('u1', delay=2)
    await t.start(simple(t, opts='{common_http_protocol_options: {max_stream_duration: 0.3s}}', log=LOG))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc')
    t.see('r', await c.response(timeout=3))
    t.see('log', await t.logs())


@case()
async def stream_idle_timeout_incomplete_request(t):
    u = await t.up('u1', delay=2)
    await t.start(simple(t, opts='{stream_idle_timeout: 0.3s}', log=LOG))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc')
    t.see('r', await c.response(timeout=3))
    t.see('log', await t.logs())


@case()
async def stream_idle_timeout_route_override(t):
    u = await t.up('u1', delay=0.6)
    await t.start(simple(t, opts='{stream_idle_timeout: 0.3s}', log=LOG, routes='[{match: {prefix: /off}, route: {cluster: c1, idle_timeout: 0s}}, {match: {prefix: /long}, route: {cluster: c1, idle_timeout: 5s}}, {match: {prefix: /}, route: {cluster: c1}}]'))
    for p in ('/off', '/long', '/'):
        t.see(p, (await t.req(p, timeout=3)).status)
    t.see('log', await t.logs())


INTERNAL = '{internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}'


def route_timeout(name, action, headers=(), path='/', delay=1.0, vhost=None, internal=True):
    @case(name)
    async def _(t):
        u = await t.up('u1', delay=delay)
        # x-envoy-* headers are only listened to when they come from inside.
        await t.start(simple(t, log=LOG, opts=INTERNAL, vhosts=[merge({'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': merge({'cluster': 'c1'}, Y(action))}]}, Y(vhost) or {})]))
        t.see('r', await t.req(path, headers=list(headers) + ([('x-forwarded-for', '10.0.0.1')] if internal else []), timeout=3))
        t.see('up', u.reqs)
        t.see('stats', await t.stats('cluster.c1.upstream_rq_timeout', 'cluster.c1.upstream_rq_504', 'cluster.c1.upstream_rq_completed'))
        t.see('log', await t.logs())


route_timeout('route_timeout_504', '{timeout: 0.3s}')
route_timeout('route_timeout_header_shortens', '{timeout: 10s}', [('x-envoy-upstream-rq-timeout-ms', '300')])
route_timeout('route_timeout_header_external_ignored', '{timeout: 2s}', [('x-envoy-upstream-rq-timeout-ms', '300')], internal=False, delay=0.6)
route_timeout('route_timeout_header_zero_is_none', '{timeout: 0.3s}', [('x-envoy-upstream-rq-timeout-ms', '0')], delay=0.5)
route_timeout('route_timeout_header_bad_value', '{timeout: 0.3s}', [('x-envoy-upstream-rq-timeout-ms', 'abc')])
route_timeout('route_timeout_alt_response', '{timeout: 0.3s}', [('x-envoy-upstream-rq-timeout-alt-response', '1')])
route_timeout('route_timeout_zero', '{timeout: 0s}', delay=0.4)
route_timeout('route_timeout_expected_header', '{timeout: 7.25s}', delay=0)
route_timeout('route_timeout_grpc', '{timeout: 0.3s}', [('content-type', 'application/grpc')])
route_timeout('route_max_stream_duration', '{timeout: 10s, max_stream_duration: {max_stream_duration: 0.3s}}')
route_timeout('route_grpc_timeout_header', '{max_stream_duration: {grpc_timeout_header_max: 10s}}', [('grpc-timeout', '300m'), ('content-type', 'application/grpc')])
route_timeout('route_grpc_timeout_offset', '{max_stream_duration: {grpc_timeout_header_max: 10s, grpc_timeout_header_offset: 0.1s}}', [('grpc-timeout', '4S'), ('content-type', 'application/grpc')], delay=0)
route_timeout('route_attempt_count_headers', '{timeout: 5s}', delay=0, vhost='{include_request_attempt_count: true, include_attempt_count_in_response: true}')


@case()
async def timeout_after_response_started(t):
    async def conn(c):
        await c.read_request()
        c.send(b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc')
        await c.drain()
        await c.fill()
    await t.up('u1', conn=conn)
    await t.start(simple(t, log=LOG, routes='[{match: {prefix: /}, route: {cluster: c1, timeout: 0.3s}}]'))
    c = await t.conn()
    t.see('r', await t.req('/', conn=c, timeout=3))
    t.see('state', await c.state(0.5))
    t.see('log', await t.logs())


@case()
async def timeout_waits_for_request_end(t):
    """The route timeout starts when the request is complete."""
    u = await t.up()
    await t.start(simple(t, log=LOG, routes='[{match: {prefix: /}, route: {cluster: c1, timeout: 0.3s}}]'))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab')
    await asyncio.sleep(0.6)
    c.send(b'cd')
    t.see('r', await c.response(timeout=3))
    t.see('log', await t.logs())


def response_headers(name, hs, opts=None, reqs=({},), only=None, rt=None, hpo=None):
    @case(name)
    async def _(t):
        u = await t.up('u1', lambda m, n: resp(200, 'x', hs))
        await t.start(simple(t, clusters=[cluster('c1', u, hpo=hpo)], opts=opts, rt=rt))
        for i, k in enumerate(reqs):
            t.see(str(i), await t.req(**k), only=only)


response_headers('response_hop_headers_removed', [('connection', 'x-hop'), ('x-hop', '1'), ('keep-alive', '5'), ('proxy-connection', 'x'), ('te', 'trailers'), ('upgrade', 'x'), ('proxy-authenticate', 'p'), ('trailer', 'x')])
response_headers('response_date_kept', [('date', 'Mon, 01 Jan 2001 00:00:00 GMT'), ('x-a', '1')])
response_headers('response_envoy_headers', [('x-envoy-upstream-service-time', '5'), ('x-envoy-attempt-count', '3'), ('x-envoy-decorator-operation', 'op'), ('x-envoy-overloaded', 'true'), ('x-envoy-custom', '1')])
response_headers('response_server_empty', [('server', '')], opts='{server_header_transformation: APPEND_IF_ABSENT}')
response_headers('response_server_name_set', [('server', 'mine')], opts='{server_name: other}')
response_headers('response_via_appended', [('via', '1.1 a'), ('via', '1.1 b')], opts='{via: p}')
response_headers('response_set_cookie_order', [('set-cookie', 'a=1'), ('x-b', '1'), ('set-cookie', 'b=2; Path=/'), ('set-cookie', '')])
response_headers('response_request_id_from_upstream', [('x-request-id', 'up')], opts='{always_set_request_id_in_response: true}')
response_headers('response_connection_close_downstream', [('connection', 'close')], reqs=({}, dict(headers=[('connection', 'close')])))
response_headers('response_content_headers', [('content-type', ''), ('content-encoding', 'gzip'), ('etag', 'W/"x"'), ('vary', 'a'), ('vary', 'b')])
response_headers('response_upstream_max_headers_set', [('x-%d' % i, '1') for i in range(5)], hpo='{common_http_protocol_options: {max_headers_count: 5}, explicit_http_config: {http_protocol_options: {}}}')
response_headers('response_underscore_upstream_drop', [('x_a', '1'), ('x-a', '2')], hpo='{common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}, explicit_http_config: {http_protocol_options: {}}}')
response_headers('response_max_headers_kb', [('x-a', 'a' * 1200)], hpo='{common_http_protocol_options: {max_response_headers_kb: 1}, explicit_http_config: {http_protocol_options: {}}}')


@case()
async def casing_proper_words_corners(t):
    u = await t.up('u1', lambda m, n: resp(200, 'x', [('www-authenticate', 'x'), ('x--b', '1'), ('x-1a', '1'), ('te-', '1')]))
    fmt = '{header_key_format: {proper_case_words: {}}}'
    await t.start(simple(t, clusters=[cluster('c1', u, hpo='{explicit_http_config: {http_protocol_options: %s}}' % fmt)], opts='{http_protocol_options: %s}' % fmt))
    t.see('r', await t.req(headers=[('x--y', '1'), ('1a-b', '1'), ("x'y", '1'), ('x$y-z', '1'), ('etag', '1')]), keep_case=True)
    t.see('up', u.reqs, keep_case=True)


@case()
async def casing_preserve_corners(t):
    pc = '{header_key_format: {stateful_formatter: {name: preserve_case, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig, forward_reason_phrase: true}}}}'
    u = await t.up('u1', lambda m, n: resp(200, 'x', [('X-Dup', '1'), ('x-DUP', '2'), ('SERVER', 's')], reason='Fine Indeed'))
    await t.start(simple(t, clusters=[cluster('c1', u, hpo='{explicit_http_config: {http_protocol_options: %s}}' % pc)], opts='{http_protocol_options: %s}' % pc))
    t.see('r', await t.req(headers=[('X-Dup', '1'), ('x-dUP', '2'), ('HOST-X', '3'), ('X-Forwarded-PROTO', 'http')]), keep_case=True)
    t.see('up', u.reqs, keep_case=True)


@case()
async def health_check_filter_local(t):
    f = http_filter('hc', 'health_check.v3.HealthCheck', '{pass_through_mode: false, headers: [{name: ":path", string_match: {exact: /hz}}]}')
    u = await t.up()
    await t.start(simple(t, filters=[f], log=LOG))
    t.see('hz', await t.req('/hz'))
    t.see('other', await t.req('/x'))
    t.see('query', await t.req('/hz?x'))
    t.see('fail', (await t.admin('/healthcheck/fail', 'POST'))[1])
    t.see('hz_failed', await t.req('/hz'))
    t.see('other_failed', await t.req('/x'))
    t.see('ready', await t.admin('/ready'))
    t.see('ok', (await t.admin('/healthcheck/ok', 'POST'))[1])
    t.see('hz_ok', (await t.req('/hz')).status)
    t.see('up', u.paths)
    t.see('log', await t.logs())


@case()
async def health_check_filter_pass_through(t):
    f = http_filter('hc', 'health_check.v3.HealthCheck', '{pass_through_mode: true, headers: [{name: ":path", string_match: {exact: /hz}}]}')
    u = await t.up('u1', lambda m, n: resp(503 if m['path'] == '/hz' else 200, 'u'))
    await t.start(simple(t, filters=[f], log=LOG))
    t.see('hz', await t.req('/hz'))
    t.see('fail', (await t.admin('/healthcheck/fail', 'POST'))[0])
    t.see('hz_failed', await t.req('/hz'))
    t.see('up', u.paths)
    t.see('log', await t.logs())


@case()
async def health_check_filter_cache(t):
    f = http_filter('hc', 'health_check.v3.HealthCheck', '{pass_through_mode: true, cache_time: 60s, headers: [{name: ":path", string_match: {exact: /hz}}]}')
    u = await t.up('u1', lambda m, n: resp(200 if n < 3 else 500, 'u%d' % n))
    await t.start(simple(t, filters=[f], log=LOG))
    t.see('r', [await t.req('/hz') for _ in range(3)])
    t.see('up', u.paths)
    t.see('log', await t.logs())


@case()
async def draining_closes_connections(t):
    u = await t.up()
    await t.start(simple(t), args=('--drain-strategy', 'immediate'))
    c = await t.conn()
    t.see('before', await t.req('/', conn=c))
    await t.admin('/healthcheck/fail', 'POST')
    t.see('after', await t.req('/', conn=c))
    t.see('state', await c.state(2))
    t.see('stats', await t.stats('http.in.downstream_cx_drain_close'))


@case()
async def buffer_limit_back_pressure(t):
    """A client that does not read holds the upstream back; nothing is lost."""
    big = b'z' * 3000000
    u = await t.up('u1', lambda m, n: resp(200, big))
    await t.start(simple(t, lextra='{per_connection_buffer_limit_bytes: 32768}', copts='{per_connection_buffer_limit_bytes: 32768}'))
    c = await t.conn()
    c.send(build('/'))
    t.see('paused', bool(await t.stat_until('cluster.c1.upstream_flow_control_paused_reading_total', lambda n: n > 0)))
    r = await c.response(timeout=5)
    t.see('whole', r.body == big)


@case()
async def response_ends_while_request_goes_on(t):
    """100-continue is not sent twice, and a body that comes later does not become a request."""
    await t.start(simple(t, clusters=[], routes='[{match: {prefix: /}, direct_response: {status: 200}}]', log=LOG))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\n')
    t.see('r', await c.response())
    c.send(b'Host: b\r\n\r\n')
    t.see('state', await c.state(2))
    t.see('log', await t.logs())
