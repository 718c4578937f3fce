"""What random exchanges (tests/differential/exchanges) told apart from Envoy between router and upstream."""
from harness import *

STEERING = ('x-envoy-retry-on', 'x-envoy-max-retries', 'x-envoy-upstream-rq-timeout-ms', 'x-envoy-upstream-rq-per-try-timeout-ms', 'x-envoy-retriable-status-codes',
            'x-envoy-hedge-on-per-try-timeout', 'x-envoy-upstream-alt-stat-name', 'x-envoy-upstream-rq-timeout-alt-response', 'x-envoy-upstream-stream-duration-ms', 'x-envoy-retriable-header-names', 'x-envoy-retry-grpc-on')


def added(*pairs):
    return [{'header': {'key': k, 'value': v}, 'append_action': 'OVERWRITE_IF_EXISTS_OR_ADD'} for k, v in pairs]


@case()
async def routes_add_what_asks_for_retries(t):
    """What a route adds is read as if the client had said it."""
    u = await t.up('u1', lambda m, n: resp(503))
    routes = [{'match': {'prefix': '/' + label}, 'route': {'cluster': 'c1'}, 'request_headers_to_add': added(*pairs)} for label, *pairs in [
        ('on', ('x-envoy-retry-on', '5xx')), ('times', ('x-envoy-retry-on', '5xx'), ('x-envoy-max-retries', '3')), ('codes', ('x-envoy-retry-on', 'retriable-status-codes'), ('x-envoy-retriable-status-codes', '503'))]]
    await t.start(simple(t, routes=routes))
    for r in routes:
        path = r['match']['prefix']
        await t.req(path)
        t.see(path, len(u.reqs))


@case()
async def routes_add_steering_headers(t):
    """Some reach the upstream, since they were looked for before."""
    u = await t.up()
    await t.start(simple(t, routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, 'request_headers_to_add': added(*[(k, '7') for k in STEERING])}]))
    await t.req('/')
    t.see('up', [k for k in STEERING if u.reqs[0].h(k) is not None])


@case()
async def routes_add_time_limits(t):
    async def conn(c):
        await c.read_request()
        await c.fill()
    await t.up('u1', conn=conn)
    routes = [{'match': {'prefix': '/' + label}, 'route': {'cluster': 'c1', 'timeout': limit}, 'request_headers_to_add': added(pair)} for label, limit, pair in [
        ('code', '0.1s', ('x-envoy-upstream-rq-timeout-alt-response', '1')), ('stream', '0s', ('x-envoy-upstream-stream-duration-ms', '100')), ('global', '0.1s', ('x-envoy-upstream-rq-timeout-ms', '9000'))]]
    await t.start(simple(t, routes=routes, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'))
    for r in routes:
        t.see(r['match']['prefix'], (await t.req(r['match']['prefix'])).status)
    t.see('log', await t.logs())


@case()
async def routes_take_away_what_asks_for_retries(t):
    u = await t.up('u1', lambda m, n: resp(503))
    await t.start(simple(t, routes='[{match: {prefix: /}, route: {cluster: c1}, request_headers_to_remove: [x-envoy-retry-on]}]'))
    await t.req('/', headers=[('x-envoy-retry-on', '5xx')])
    t.see('requests', len(u.reqs))


@case()
async def retriable_request_headers_as_rewritten(t):
    u = await t.up('u1', lambda m, n: resp(503))
    policy = {'retry_on': '5xx', 'num_retries': 1, 'retriable_request_headers': [{'name': ':path', 'string_match': {'prefix': '/new'}}]}
    await t.start(simple(t, routes=[{'match': {'prefix': '/a'}, 'route': {'cluster': 'c1', 'prefix_rewrite': '/new', 'retry_policy': policy}}, {'match': {'prefix': '/new'}, 'route': {'cluster': 'c1', 'prefix_rewrite': '/old', 'retry_policy': policy}}]))
    for path in ('/a', '/new'):
        await t.req(path)
        t.see(path, len(u.reqs))


def cookies(name, policy):
    @case('hash_cookie_of_' + name)
    async def _(t):
        await t.up()
        await t.start(simple(t, routes='[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{cookie: {name: c, ttl: 0s}}]}}]', copts={'lb_policy': policy}))
        t.see('cookie', (await t.req('/')).h('set-cookie') is not None)


for policy in ('ROUND_ROBIN', 'RANDOM', 'LEAST_REQUEST', 'RING_HASH', 'MAGLEV'):
    cookies(policy.lower(), policy)


@case()
async def closes_that_answers_announce(t):
    """Counted when the head says so, whatever the body's end is."""
    heads = ['content-length: 2\r\nconnection: close\r\n', 'connection: close\r\n', 'content-length: 2\r\nproxy-connection: close\r\n', 'content-length: 2\r\nkeep-alive: timeout=1\r\n', '']
    version = ['1.1', '1.1', '1.1', '1.1', '1.0']
    await t.up('u1', lambda m, n: ('HTTP/%s 200 OK\r\n%s\r\nok' % (version[int(m['path'][1:])], heads[int(m['path'][1:])])).encode())
    await t.start(simple(t))
    for i in range(len(heads)):
        c = await t.conn()
        c.send('GET /%d HTTP/1.1\r\nHost: a\r\n\r\n' % i)
        while b'ok' not in c.buf and await c.fill():
            pass
        c.close()
        t.see(heads[i] + version[i], await t.stats('cluster.c1.upstream_cx_close_notify'))


@case()
async def whole_urls_of_an_empty_host(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', [u], hpo='{explicit_http_config: {http_protocol_options: {send_fully_qualified_url: true}}}')]))
    for host in ('', 'a', 'a:80'):
        r = await t.req(raw='GET /p HTTP/1.1\r\nHost: %s\r\n\r\n' % host)
        t.see(repr(host), [r.status, u.reqs[-1]['path'] if u.reqs else None])
