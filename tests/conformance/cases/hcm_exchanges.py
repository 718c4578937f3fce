"""What random exchanges (tests/differential/exchanges) told apart from Envoy on the client's side."""
from harness import *
from harness.tables import raws

ROUTES = '''
- {match: {prefix: /direct}, direct_response: {status: 200, body: {inline_string: x}}}
- {match: {prefix: /redirect}, redirect: {path_redirect: /x}}
- {match: {prefix: /none}, route: {cluster: none}}
- {match: {prefix: /up}, route: {cluster: c1}}
'''


def closers(name, requests, opts=None, filters=()):
    """Who closes a connection that the request ends: the client, unless the proxy does so at once (then it is waited for)."""
    @case(name)
    async def _(t):
        u = await t.up()
        none = cluster('none', [], '{load_assignment: {cluster_name: none, endpoints: []}}')
        await t.start(simple(t, clusters=[cluster('c1', [u]), none], routes=ROUTES, opts=opts, filters=filters))
        names = ['http.in.downstream_cx_destroy_' + who for who in ('local', 'remote')]
        for i, (label, raw, waits) in enumerate(requests):
            c = await t.conn()
            c.send(raw)
            r = await c.response()
            if waits:
                await c.state(3)
            c.close()
            await t.stat_until('http.in.downstream_cx_destroy', lambda v: v == i + 1)
            t.see(label, [r.status, await t.stats(*names)])


def asks(path, more='connection: close\r\n', version='1.1', method='GET', body=''):
    return '%s %s HTTP/%s\r\nHost: a\r\n%s\r\n%s' % (method, path, version, more, body)


FAULT = http_filter('f', 'fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}}')
closers('close_of_answers_to_heads', [(p, asks(p), False) for p in ('/direct', '/redirect', '/none', '/nowhere')])
closers('close_of_upstream_answers', [('up', asks('/up'), True), ('pipelined', asks('/up', '') + asks('/up'), True)])
closers('close_of_filter_answers', [('fault', asks('/up'), False)], filters=[FAULT])
closers('close_of_http_10', [('nowhere', asks('/nowhere', '', '1.0'), False), ('up', asks('/up', '', '1.0'), True)], opts='{http_protocol_options: {accept_http_10: true}}')
closers('close_of_last_requests', [('direct', asks('/direct', ''), False), ('up', asks('/up', ''), True)], opts='{common_http_protocol_options: {max_requests_per_connection: 1}}')

raws('line_connect_of_old_versions', [(v + ' ' + target, b'CONNECT %s HTTP/%s\r\nHost: a\r\n\r\n' % (target.encode(), v.encode())) for v in ('1.0', '0.9') for target in ('/a', 'a', 'a:80')])
raws('heads_of_old_versions_with_another_fault', [
    ('url', b'GET ftp://a HTTP/1.0\r\nHost: a\r\n\r\n'),
    ('length', b'GET / HTTP/1.0\r\nHost: a\r\ncontent-length: x\r\n\r\n'),
    ('coding', b'GET / HTTP/1.0\r\nHost: a\r\ntransfer-encoding: gzip\r\n\r\n'),
    ('authority', b'GET / HTTP/1.0\r\nHost: a?b\r\n\r\n'),
    ('none', b'GET / HTTP/1.0\r\n\r\n')])


@case()
async def expect_of_refused_heads(t):
    """100 goes out before the head is judged."""
    await t.up()
    await t.start(simple(t, log='%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %REQUEST_HEADERS_BYTES% %REQ(EXPECT)%', opts='{normalize_path: true, path_with_escaped_slashes_action: REJECT_REQUEST}'))
    for label, raw in [('no host', 'POST / HTTP/1.1\r\nexpect: 100-Continue\r\n\r\n'), ('path', 'POST /a%2fb HTTP/1.1\r\nHost: a\r\nexpect: 100-continue\r\n\r\n')]:
        t.see(label, await t.req(raw=raw))
    t.see('counters', await t.stats('http.in.downstream_rq_1xx', 'http.in.downstream_rq_4xx', 'http.in.downstream_rq_completed'))
    t.see('log', await t.logs())


@case()
async def order_of_response_headers(t):
    await t.up()
    await t.start(simple(t, opts='{via: v, always_set_request_id_in_response: true, proxy_status_config: {}}', routes='[{match: {prefix: /d}, direct_response: {status: 503}}, {match: {prefix: /}, route: {cluster: c1}}]'))
    for path in ('/', '/d'):
        r = await t.req(path, headers=[('connection', 'close')])
        t.see(path, [k for k, _ in r.raw_headers])


@case()
async def log_of_refused_upgrades(t):
    await t.up()
    await t.start(simple(t, log='%RESPONSE_CODE% %UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %RESPONSE_CODE_DETAILS%'))
    await t.req(raw='GET / HTTP/1.1\r\nHost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
    t.see('log', await t.logs())


@case()
async def log_of_paths_with_fragments(t):
    await t.up()
    await t.start(simple(t, log='%PATH(NQ)% %PATH(NQ:PATH)% %PATH(WQ)% %QUERY_PARAMS%'))
    for target in ('/a#f', '/a?q#f', '/a#f?q'):
        await t.req(raw='GET %s HTTP/1.1\r\nHost: a\r\n\r\n' % target)
    t.see('log', await t.logs())


@case()
async def log_of_route_resolutions(t):
    """Tags of the client's address have the route looked up again."""
    await t.up()
    tags = http_filter('ip', 'ip_tagging.v3.IPTagging', '{request_type: BOTH, ip_tags: [{ip_tag_name: t, ip_list: [{address_prefix: 9.0.0.0, prefix_len: 8}]}]}')
    await t.start(simple(t, log='%ROUTE_RESOLUTION_COUNT%', filters=[tags], opts='{use_remote_address: true, xff_num_trusted_hops: 1}'))
    for address in ('9.1.1.1', '8.1.1.1'):
        await t.req('/', headers=[('x-forwarded-for', address)])
    t.see('log', await t.logs())


@case()
async def order_of_overwritten_headers(t):
    """What is overwritten goes to the end."""
    u = await t.up('u1', lambda m, n: resp(200, 'ok', [('x-a', '1'), ('server', 'up'), ('x-b', '2'), ('content-type', 'a/b')]))
    new = lambda *names: [{'header': {'key': k, 'value': 'new'}, 'append_action': a} for a in ('OVERWRITE_IF_EXISTS_OR_ADD', 'OVERWRITE_IF_EXISTS') for k in names]
    await t.start(simple(t, routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, 'request_headers_to_add': new('x-a', 'user-agent'), 'response_headers_to_add': new('x-a', 'content-type')}]))
    r = await t.req('/', headers=[('x-a', '1'), ('user-agent', 'ua'), ('x-b', '2'), ('accept', '*/*')])
    t.see('down', [k for k, _ in r.raw_headers])
    t.see('up', [k for k, _ in u.reqs[0].raw_headers])


@case()
async def first_bytes_that_begin_no_method(t):
    """Only blanks and control characters are refused before the line is whole."""
    await t.up()
    await t.start(simple(t))
    for first in (b' ', b'\x01', b'\x16\x03', b'get', b'x', b'(', b'\r\nx', b'\x80', b'PR'):
        c = await t.conn()
        c.send(first)
        t.see(repr(first), await c.state(0.2))
        c.close()


@case()
async def grpc_needs_a_path(t):
    """CONNECT has none: its answers are not gRPC's."""
    await t.up()
    await t.start(simple(t, log='%RESPONSE_CODE% %GRPC_STATUS%'))
    for raw in (b'CONNECT a:80 HTTP/1.1\r\nHost: a\r\ncontent-type: application/grpc\r\n\r\n', b'GET /no HTTP/1.1\r\nHost: a\r\ncontent-type: application/grpc\r\nx-forwarded-proto: http\r\n\r\n'):
        t.see(raw[:4].decode(), (await t.req(raw=raw)).status)
    t.see('log', await t.logs())


@case()
async def log_of_bodies_that_fail_in_a_filter(t):
    await t.up()
    buffer = http_filter('b', 'buffer.v3.Buffer', '{max_request_bytes: 1000}')
    await t.start(simple(t, filters=[buffer], log='%RESPONSE_CODE% %UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %RESPONSE_CODE_DETAILS%'))
    await t.req(raw=b'POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n')
    t.see('log', await t.logs())


@case()
async def log_of_route_resolutions_before_a_reply(t):
    await t.up()
    tags = http_filter('ip', 'ip_tagging.v3.IPTagging', '{request_type: BOTH, ip_tags: [{ip_tag_name: t, ip_list: [{address_prefix: 127.0.0.0, prefix_len: 8}]}]}')
    await t.start(simple(t, log='%ROUTE_RESOLUTION_COUNT%', filters=[tags, FAULT]))
    await t.req('/')
    t.see('log', await t.logs())


@case()
async def http2_settings_without_h2c(t):
    """It goes with an offer of h2c only."""
    u = await t.up()
    await t.start(simple(t))
    for label, more in [('alone', ''), ('upgrade', 'upgrade: websocket\r\n'), ('h2c', 'upgrade: h2c\r\n'), ('connection', 'connection: upgrade, http2-settings\r\nupgrade: h2c\r\n')]:
        await t.req(raw='GET / HTTP/1.1\r\nHost: a\r\nhttp2-settings: AA\r\n%s\r\n' % more)
        t.see(label, [(k, v) for k, v in u.reqs[-1].raw_headers if k in ('http2-settings', 'upgrade', 'connection')])
