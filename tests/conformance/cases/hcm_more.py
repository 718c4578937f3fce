"""Options of the connection manager and rules of HTTP/1, beside one another: what the other files leave out."""
from harness import *
from harness.tables import PROTOCOL_LOG, raws

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'


def get(*lines, target='/', method='GET', version='HTTP/1.1', host='a'):
    hs = (['Host: ' + host] if host is not None else []) + list(lines)
    return ('%s %s %s\r\n' % (method, target, version) + ''.join(l + '\r\n' for l in hs) + '\r\n').encode('latin1')


raws('asterisk_target', [('get', get(target='*')), ('options', get(target='*', method='OPTIONS')), ('options_path', get(target='*/x', method='OPTIONS')), ('post', get(target='*', method='POST'))], only={'host'})
raws('custom_methods_allowed', [('brew', get(method='BREW')), ('lower', get(method='get')), ('m_search', get(method='M-SEARCH')), ('bad', get(method='A(B'))], opts='{http_protocol_options: {allow_custom_methods: true}}', only={'host'})
raws('http10_with_options', [('ka', get('Connection: keep-alive', version='HTTP/1.0')), ('close', get('Connection: close', version='HTTP/1.0')), ('plain', get(version='HTTP/1.0')), ('te', get('Transfer-Encoding: chunked', version='HTTP/1.0', method='POST') + b'1\r\na\r\n0\r\n\r\n'), ('upgrade', get('Connection: upgrade', 'Upgrade: foo', version='HTTP/1.0'))], opts='{http_protocol_options: {accept_http_10: true}}', only={'host', 'connection'})
raws('max_headers_count', [('at', get(*['X-%d: 1' % i for i in range(9)])), ('above', get(*['X-%d: 1' % i for i in range(10)]))], opts='{common_http_protocol_options: {max_headers_count: 10}}', only={'host'})
raws('max_headers_kb', [('below', get('X: ' + 'a' * 900)), ('above', get('X: ' + 'a' * 1100)), ('line', get(target='/' + 'a' * 1100))], opts='{max_request_headers_kb: 1}', only={'host'})
raws('stream_error_kept_connections', [('host', get(host=None)), ('te', get('Transfer-Encoding: gzip', method='POST')), ('header', get('X Y: 1')), ('upgrade', get('Connection: upgrade', 'Upgrade: x'))], opts='{http_protocol_options: {override_stream_error_on_invalid_http_message: true}}')
raws('te_forms_more', [('trailers', get('TE: trailers')), ('deflate', get('TE: deflate')), ('both', get('TE: trailers, deflate;q=0.5')), ('empty', get('TE:')), ('nominated', get('TE: trailers', 'Connection: te'))], only={'te', 'connection'})
raws('keep_alive_headers', [('ka', get('Keep-Alive: timeout=5', 'Connection: keep-alive')), ('proxy', get('Proxy-Connection: keep-alive')), ('twice', get('Connection: close', 'Connection: keep-alive')), ('list', get('Connection: keep-alive, close'))], only={'connection', 'keep-alive', 'proxy-connection'})
raws('bodies_of_odd_methods', [('head', get('Content-Length: 3', method='HEAD') + b'abc'), ('trace', get('Content-Length: 3', method='TRACE') + b'abc'), ('options', get('Content-Length: 3', method='OPTIONS') + b'abc'), ('delete', get(method='DELETE')), ('patch', get(method='PATCH')), ('put', get(method='PUT'))], only={'content-length', 'transfer-encoding'})
raws('expect_and_errors', [('close', get('Expect: 100-continue', 'Connection: close', 'Content-Length: 1', method='POST') + b'x'), ('chunked', get('Expect: 100-continue', 'Transfer-Encoding: chunked', method='POST') + b'1\r\na\r\n0\r\n\r\n')], only={'expect', 'content-length', 'transfer-encoding'})
raws('strip_ports', [('80', get(host='a:80')), ('81', get(host='a:81')), ('v6', get(host='[::1]:80')), ('dot', get(host='a.:80')), ('bad', get(host='a:x'))], opts='{strip_any_host_port: true, strip_trailing_host_dot: true}', only={'host'})
raws('paths_merged_and_normalised', [(p, get(target=p)) for p in ('//a///b', '/a/./b/../c', '/%2e%2e/x', '/a%2fb', '/a%5cb', '/..', '/a//../b', '/%41%7e')], opts='{normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD}', only={'host'}, log='%REQ(:PATH)% ' + LOG)
raws('absolute_https', [('https', get(target='https://b/x')), ('http', get(target='http://b/x')), ('port', get(target='http://b:8080/x?y'))], opts='{use_remote_address: true}', only={'host', 'x-forwarded-proto'})


@case()
async def reasons_of_all_statuses(t):
    codes = [c for c in range(200, 600)]
    routes = [{'match': {'path': '/%d' % c}, 'direct_response': {'status': c}} for c in codes]
    await t.start(simple(t, clusters=[], routes=routes))
    c = await t.conn()
    t.see('lines', [(await t.req('/%d' % n, conn=c)).line for n in codes])


def timers(name, opts, script, routes=None, **kw):
    """What a client sees that sends its pieces with pauses."""
    @case(name)
    async def _(t):
        await t.up('u1', delay=kw.get('delay', 0))
        await t.start(simple(t, opts=opts, log=LOG, routes=routes))
        c = await t.conn()
        for piece in script:
            if isinstance(piece, bytes):
                c.send(piece)
            else:
                await asyncio.sleep(piece)
        t.see('r', await c.response(timeout=1.5))
        c.close()
        t.see('stats', await t.stats(*['http.in.downstream_rq_' + s for s in ('timeout', 'header_timeout', 'idle_timeout', 'max_duration_reached', 'rx_reset', 'tx_reset', 'completed')]))
        t.see('log', await t.logs())


timers('headers_timeout_partial_line', '{request_headers_timeout: 0.2s}', [b'GET / HT'])
timers('headers_timeout_not_for_bodies', '{request_headers_timeout: 0.2s}', [b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n', 0.4, b'ab'])
timers('request_timeout_in_head', '{request_timeout: 0.2s}', [b'GET / HT'])
timers('stream_idle_in_head', '{stream_idle_timeout: 0.2s}', [b'GET / HT'])
timers('stream_idle_moves_with_data', '{stream_idle_timeout: 0.4s}', [b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n', 0.25, b'a', 0.25, b'b', 0.25, b'c'])
timers('max_stream_duration_zero_route', '{common_http_protocol_options: {max_stream_duration: 0.2s}}', [b'GET / HTTP/1.1\r\nHost: a\r\n\r\n'], routes='[{match: {prefix: /}, route: {cluster: c1, max_stream_duration: {max_stream_duration: 0s}}}]', delay=0.5)
timers('grpc_timeout_without_offset', None, [b'POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\ngrpc-timeout: 4S\r\nContent-Length: 0\r\n\r\n'], routes='[{match: {prefix: /}, route: {cluster: c1, max_stream_duration: {grpc_timeout_header_max: 10s}}}]')


@case()
async def grpc_timeout_forms(t):
    u = await t.up()
    await t.start(simple(t, routes='[{match: {path: /cap}, route: {cluster: c1, max_stream_duration: {grpc_timeout_header_max: 2s}}}, {match: {path: /off}, route: {cluster: c1, max_stream_duration: {grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 0.5s}}}, {match: {path: /none}, route: {cluster: c1, max_stream_duration: {max_stream_duration: 2s}}}]'))
    for path in ('/cap', '/off', '/none'):
        for value in ('4S', '700m', '1H', '5M', '1500000u', '99999999H', '100000000m', '5', 'x', ''):
            await t.req(path, headers=[('grpc-timeout', value), ('content-type', 'application/grpc')])
    await t.req('/cap', headers=[('grpc-timeout', '4S')])
    t.see('up', [[m['path'], m.h('grpc-timeout')] for m in u.reqs])


@case()
async def strict_check_headers_inside(t):
    u = await t.up()
    await t.start(simple(t, opts='{internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}', rt=router(strict_check_headers=['x-envoy-upstream-rq-timeout-ms', 'x-envoy-upstream-rq-per-try-timeout-ms', 'x-envoy-max-retries', 'x-envoy-retry-on', 'x-envoy-retry-grpc-on']), log=LOG))
    for k, v in (('x-envoy-upstream-rq-timeout-ms', 'abc'), ('x-envoy-upstream-rq-timeout-ms', '-1'), ('x-envoy-upstream-rq-timeout-ms', ' 5000 '), ('x-envoy-max-retries', '1x'), ('x-envoy-retry-on', '5xx,foo'), ('x-envoy-retry-on', '5xx, reset'), ('x-envoy-retry-grpc-on', 'foo'), ('x-envoy-retry-grpc-on', 'cancelled'), ('x-envoy-upstream-rq-per-try-timeout-ms', '')):
        t.see(k + '=' + v, await t.req('/', headers=[(k, v), ('x-forwarded-for', '10.0.0.1')]))
    t.see('log', await t.logs())


@case()
async def respect_expected_timeout_inside(t):
    u = await t.up()
    await t.start(simple(t, opts='{internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}', rt=router(respect_expected_rq_timeout=True)))
    for hs in ([('x-envoy-expected-rq-timeout-ms', '1234')], [('x-envoy-expected-rq-timeout-ms', 'x')], [('x-envoy-upstream-rq-timeout-ms', '777')], [('x-envoy-expected-rq-timeout-ms', '1234'), ('x-envoy-upstream-rq-timeout-ms', '777')], [('x-envoy-expected-rq-timeout-ms', '0')]):
        await t.req('/', headers=hs + [('x-forwarded-for', '10.0.0.1')])
    t.see('up', u.reqs, only={'x-envoy-expected-rq-timeout-ms', 'x-envoy-upstream-rq-timeout-ms'})


@case()
async def health_check_percentages(t):
    hc = lambda name, p, path: http_filter(name, 'health_check.v3.HealthCheck', '{pass_through_mode: false, headers: [{name: ":path", string_match: {exact: %s}}], cluster_min_healthy_percentages: {%s: {value: %s}}}' % (path, p[0], p[1]))
    await t.up()
    await t.start(simple(t, filters=[hc('a', ('c1', 50), '/a'), hc('b', ('nope', 50), '/b')], log=LOG))
    for p in ('/a', '/b', '/c'):
        t.see(p, await t.req(p))
    t.see('post', await t.req('/a', method='POST', body='abc'))
    t.see('head', await t.req('/a', method='HEAD'))
    t.see('stats', await t.stats('http.in.downstream_rq_2xx', 'http.in.downstream_rq_completed', 'http.in.downstream_rq_total'))
    t.see('log', await t.logs())


@case()
async def health_check_waits_for_the_body(t):
    f = http_filter('hc', 'health_check.v3.HealthCheck', '{pass_through_mode: false, headers: [{name: ":path", string_match: {exact: /hz}}]}')
    await t.start(simple(t, clusters=[], routes='[]', filters=[f], log=LOG))
    c = await t.conn()
    c.send(b'POST /hz HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n')
    t.see('early', (await c.response(timeout=0.3)).err)
    c.send(b'ab')
    t.see('r', await c.response(timeout=1))
    t.see('state', await c.state(0.1))
    t.see('log', await t.logs())


@case()
async def casing_of_framing_headers(t):
    pc = '{header_key_format: {stateful_formatter: {name: preserve_case, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig, formatter_type_on_envoy_headers: PROPER_CASE}}}}'
    u = await t.up('u1', lambda m, n: b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-aB: 1\r\n\r\n1\r\na\r\n0\r\n\r\n')
    await t.start(simple(t, clusters=[cluster('c1', u, hpo='{explicit_http_config: {http_protocol_options: %s}}' % pc)], opts='{http_protocol_options: %s}' % pc))
    t.see('r', await t.req(raw=b'POST / HTTP/1.1\r\nHOST: a\r\nTransfer-ENCODING: chunked\r\nX-Request-ID: 1\r\n\r\n1\r\na\r\n0\r\n\r\n'), keep_case=True)
    t.see('plain', await t.req(raw=b'GET / HTTP/1.1\r\nhost: a\r\nConnection: close\r\n\r\n'), keep_case=True)
    t.see('up', u.reqs, keep_case=True)


@case()
async def casing_one_side_only(t):
    pc = '{header_key_format: {stateful_formatter: {name: preserve_case, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig}}}}'
    proper = '{header_key_format: {proper_case_words: {}}}'
    u = await t.up('u1', lambda m, n: resp(200, 'x', [('X-rESP', '1')]))
    await t.start(simple(t, clusters=[cluster('c1', u, hpo='{explicit_http_config: {http_protocol_options: %s}}' % proper)], opts='{http_protocol_options: %s}' % pc))
    t.see('r', await t.req(headers=[('X-rEQ', '1')]), keep_case=True)
    t.see('up', u.reqs, keep_case=True)


@case()
async def drain_close_on_http10_and_head(t):
    await t.up()
    await t.start(simple(t, opts='{http_protocol_options: {accept_http_10: true}}'), args=('--drain-strategy', 'immediate'))
    await t.admin('/healthcheck/fail', 'POST')
    for label, raw in (('10ka', get('Connection: keep-alive', version='HTTP/1.0')), ('head', get(method='HEAD')), ('get', get())):
        c = await t.conn()
        c.send(raw)
        t.see(label, await c.response(method='HEAD' if label == 'head' else 'GET'))
        t.see(label + ' again', (await t.req('/', conn=c, timeout=1)).line)
        c.close()
    t.see('stats', await t.stats('http.in.downstream_cx_drain_close'))


@case()
async def max_requests_one(t):
    await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {max_requests_per_connection: 1}}'))
    t.see('r', await t.req('/'))
    c = await t.conn()
    c.send(get() + get(target='/2'))
    t.see('first', await c.response())
    t.see('second', (await c.response(timeout=0.5)).err)


@case()
async def response_status_in_mutations(t):
    u = await t.up('u1', lambda m, n: resp(418, 'tea'))
    await t.start(simple(t, routes='[{match: {path: /d}, direct_response: {status: 403}, response_headers_to_add: [{header: {key: x-code, value: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"}}]}, {match: {path: /r}, redirect: {path_redirect: /x}, response_headers_to_add: [{header: {key: x-code, value: "%RESPONSE_CODE%"}}]}, {match: {prefix: /}, route: {cluster: c1}, response_headers_to_add: [{header: {key: x-code, value: "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%"}}]}]'))
    for p in ('/d', '/r', '/u'):
        t.see(p, await t.req(p))


@case()
async def grpc_timeout_announced(t):
    """gRPC upstreams are told the limit of the stream, asked or not."""
    u = await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {max_stream_duration: 3s}}', routes='[{match: {path: /route}, route: {cluster: c1, max_stream_duration: {max_stream_duration: 2s}}}, {match: {path: /off}, route: {cluster: c1, max_stream_duration: {max_stream_duration: 0s}}}, {match: {path: /empty}, route: {cluster: c1, max_stream_duration: {}}}, {match: {prefix: /}, route: {cluster: c1}}]'))
    for path in ('/route', '/off', '/empty', '/plain'):
        for hs in ([], [('content-type', 'application/grpc')], [('content-type', 'application/grpc'), ('grpc-timeout', '4S')]):
            await t.req(path, headers=hs)
    t.see('up', [[m['path'], m.h('content-type'), m.h('grpc-timeout')] for m in u.reqs])
