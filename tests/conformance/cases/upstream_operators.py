"""Operators of access logs that tell of the upstream's side, by what becomes of a request."""
import json

from harness import *

OPS = ['UPSTREAM_HOST', 'UPSTREAM_HOST_NAME', 'UPSTREAM_HOST_NAME_WITHOUT_PORT', 'UPSTREAM_CLUSTER', 'UPSTREAM_CLUSTER_RAW', 'UPSTREAM_LOCAL_ADDRESS', 'UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT', 'UPSTREAM_LOCAL_PORT',
       'UPSTREAM_REMOTE_ADDRESS', 'UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT', 'UPSTREAM_REMOTE_PORT', 'UPSTREAM_PROTOCOL', 'UPSTREAM_REQUEST_ATTEMPT_COUNT', 'UPSTREAM_TRANSPORT_FAILURE_REASON', 'UPSTREAM_LOCAL_CLOSE_REASON',
       'UPSTREAM_DETECTED_CLOSE_TYPE', 'UPSTREAM_TLS_VERSION', 'UPSTREAM_TLS_CIPHER', 'UPSTREAM_TLS_SESSION_ID', 'UPSTREAM_PEER_SUBJECT', 'UPSTREAM_PEER_ISSUER', 'UPSTREAM_PEER_CERT', 'UPSTREAM_PEER_URI_SAN', 'UPSTREAM_PEER_DNS_SAN',
       'UPSTREAM_PEER_IP_SAN', 'UPSTREAM_LOCAL_URI_SAN', 'UPSTREAM_PEER_CERT_V_START', 'UPSTREAM_PEER_CERT_V_END', 'UPSTREAM_CONNECTION_ID', 'UPSTREAM_METADATA(envoy.lb:a)', 'CLUSTER_METADATA(x:a)']
BYTES = ['UPSTREAM_WIRE_BYTES_SENT', 'UPSTREAM_WIRE_BYTES_RECEIVED', 'UPSTREAM_HEADER_BYTES_SENT', 'UPSTREAM_HEADER_BYTES_RECEIVED', 'UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT', 'UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED']
TIMES = ['UPSTREAM_CONNECTION_POOL_READY_DURATION', 'REQUEST_TX_DURATION', 'RESPONSE_DURATION', 'RESPONSE_TX_DURATION', 'REQUEST_DURATION', 'COMMON_DURATION(US_CX_BEG:US_CX_END:us)', 'COMMON_DURATION(US_CX_BEG:US_HS_END:us)', 'COMMON_DURATION(US_TX_BEG:US_TX_END:us)',
         'COMMON_DURATION(US_TX_END:US_RX_BEG:us)', 'COMMON_DURATION(US_RX_BEG:US_RX_END:us)', 'COMMON_DURATION(US_RX_BODY_BEG:US_RX_END:us)']
FLAGS = ['RESPONSE_CODE', 'RESPONSE_FLAGS', 'RESPONSE_CODE_DETAILS']


async def lines_of(t):
    """The lines of the log, with numbers of ports left out."""
    await t.logs()
    with open(t.path('access.log')) as f:
        return [{k: '<port>' if k in ('UPSTREAM_LOCAL_PORT', 'UPSTREAM_REMOTE_PORT') and v else v for k, v in json.loads(l).items()} for l in f]


async def run(t, clusters, routes=None, asks=1, headers=(), method='GET', body=None, timeout=5, **kw):
    fields = {o: '%' + o + '%' for o in FLAGS + OPS + BYTES + TIMES}
    await t.start(simple(t, clusters=clusters, routes=routes, logs=[filelog(t, None, json_fmt=fields)], opts='{generate_request_id: false}', **kw))
    for _ in range(asks):
        await t.req('/', method=method, body=body, headers=headers, timeout=timeout)
    lines = await lines_of(t)
    for i, l in enumerate(lines):
        l = {k: ('<time>' if k in TIMES and isinstance(v, int) else v) for k, v in l.items()}
        if l.get('UPSTREAM_PROTOCOL') == 'HTTP/2':
            # Envoy's encoder makes other blocks of the same fields.
            l = {k: v for k, v in l.items() if k not in ('UPSTREAM_HEADER_BYTES_SENT', 'UPSTREAM_WIRE_BYTES_SENT')}
        t.see('line %d' % i, {k: ('<id>' if k == 'UPSTREAM_CONNECTION_ID' and v else v) for k, v in l.items() if v is not None})
        t.see('without %d' % i, sorted(k for k, v in l.items() if v is None))


def route(**kw):
    return [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **kw}}]


RETRY = {'retry_policy': {'retry_on': '5xx,reset,connect-failure', 'num_retries': 1, 'retry_back_off': {'base_interval': '0.001s'}}}
META = {'metadata': {'filter_metadata': {'x': {'a': 'of the cluster'}}}, 'alt_stat_name': 'other'}


def host(u, name=None):
    e = lbe(u, metadata={'filter_metadata': {'envoy.lb': {'a': 'of the host'}}})
    if name:
        e['endpoint']['hostname'] = name
    return e


@case()
async def operators_of_a_success(t):
    u = await t.up()
    await run(t, [cluster('c1', [host(u, 'h.example:8080')], META)], asks=2)


@case()
async def operators_of_a_success_over_http2(t):
    u = await t.h2up()
    await run(t, [cluster('c1', [host(u, 'h.example')], META, h2=True)], asks=2)


@case()
async def operators_of_a_body_each_way(t):
    u = await t.up(respond=lambda m, n: resp(200, 'y' * 1000))
    await run(t, [cluster('c1', [host(u)])], method='POST', body='x' * 500)


@case()
async def operators_of_a_refused_connection(t):
    await run(t, [cluster('c1', [host(t.dead(), 'dead.example')], META)])


@case()
async def operators_of_a_timeout_of_connecting(t):
    await run(t, [cluster('c1', [host(t.silent())], timeout='0.1s')])


@case()
async def operators_of_a_timeout(t):
    async def respond(m, n):
        await asyncio.sleep(3)
    u = await t.up(respond=respond)
    await run(t, [cluster('c1', [host(u)])], route(timeout='0.1s'))


@case()
async def operators_of_a_timeout_of_a_try(t):
    async def respond(m, n):
        if n == 1:
            await asyncio.sleep(3)
        return resp(200)
    u = await t.up(respond=respond)
    await run(t, [cluster('c1', [host(u)])], route(retry_policy={'retry_on': '5xx', 'per_try_timeout': '0.1s'}))


for label, outcome in {'closes': None, 'resets': 'reset', 'closes_in_the_head': b'HTTP/1.1 20', 'says_what_is_not_http': b'what\r\n\r\n', 'closes_in_the_body': b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc'}.items():
    @case('operators_of_a_host_that_' + label)
    async def _(t, outcome=outcome):
        async def conn(c):
            await c.read_request()
            if outcome == 'reset':
                c.reset()
            elif outcome:
                c.send(outcome)
                await c.drain()
        u = await t.up(conn=conn)
        await run(t, [cluster('c1', [host(u)])])


for code in (1, 7, 8):
    @case('operators_of_a_reset_of_http2_%d' % code)
    async def _(t, code=code):
        async def h(s):
            s.reset(code)
        u = await t.h2up('u1', h)
        await run(t, [cluster('c1', [host(u)], h2=True)])


@case()
async def operators_of_an_answer_that_is_retried(t):
    u = await t.up(respond=lambda m, n: resp(503 if n == 1 else 200))
    await run(t, [cluster('c1', [host(u)])], route(**RETRY))


@case()
async def operators_of_an_overflow(t):
    u = await t.up()
    await run(t, [cluster('c1', [host(u)], {'circuit_breakers': {'thresholds': [{'max_pending_requests': 0}]}})])


@case()
async def operators_of_an_overflow_of_requests(t):
    u = await t.up()
    await run(t, [cluster('c1', [host(u)], {'circuit_breakers': {'thresholds': [{'max_requests': 0}]}})])


@case()
async def operators_of_an_overflow_of_pools(t):
    u = await t.up()
    await run(t, [cluster('c1', [host(u)], {'circuit_breakers': {'thresholds': [{'max_connection_pools': 0}]}})])


@case()
async def operators_without_a_host(t):
    await run(t, [cluster('c1', [], META)])


@case()
async def operators_of_an_unknown_cluster(t):
    await t.up()
    await run(t, [cluster('c1', t.ups)], [{'match': {'prefix': '/'}, 'route': {'cluster_header': 'x-to'}}], headers=[('x-to', 'nowhere')])


@case()
async def operators_of_a_direct_response(t):
    await t.up()
    await run(t, [cluster('c1', t.ups)], [{'match': {'prefix': '/'}, 'direct_response': {'status': 200}}])


@case()
async def operators_of_a_client_that_goes(t):
    """Before the host has answered."""
    gate = asyncio.Event()

    async def respond(m, n):
        await gate.wait()
    u = await t.up(respond=respond)
    await t.start(simple(t, clusters=[cluster('c1', [host(u)])], logs=[filelog(t, None, json_fmt={o: '%' + o + '%' for o in FLAGS + OPS[:14] + BYTES})]))
    c = await t.conn()
    c.send(build('/'))
    await t.until(lambda: u.reqs)
    c.close()
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
    t.see('line', await lines_of(t))
    gate.set()


@case()
async def operators_of_a_pipe(t):
    import os
    path = os.path.join(t.dir, 's')

    async def conn(r, w):
        await r.readuntil(b'\r\n\r\n')
        w.write(resp(200))
        await w.drain()
    srv = await asyncio.start_unix_server(conn, path)
    try:
        await run(t, [cluster('c1', [{'endpoint': {'address': {'pipe': {'path': path}}}}])])
    finally:
        srv.close()


@case()
async def operators_of_a_tcp_proxy(t):
    async def conn(c):
        c.send(b'hello')
    u = await t.up(conn=conn)
    ops = FLAGS + OPS + BYTES[:2] + ['CONNECTION_TERMINATION_DETAILS', 'BYTES_RECEIVED', 'BYTES_SENT', 'DURATION']
    p = {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 'p', 'cluster': 'c1', 'access_log': [filelog(t, None, json_fmt={o: '%' + o + '%' for o in ops})]}}
    await t.start(config(t, [listener(t, [p])], [cluster('c1', [host(u, 'h.example')], META)]))
    c = await t.conn()
    await t.stat_until('cluster.c1.upstream_cx_destroy', lambda v: v == 1)
    c.close()
    for l in await lines_of(t):
        t.see('line', {k: ('<id>' if k in ('UPSTREAM_CONNECTION_ID', 'DURATION') and v is not None else v) for k, v in l.items() if v is not None})


@case()
async def operators_of_a_tcp_proxy_that_cannot_connect(t):
    ops = FLAGS + OPS + BYTES[:2] + ['CONNECTION_TERMINATION_DETAILS']
    p = {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 'p', 'cluster': 'c1', 'max_connect_attempts': 2, 'access_log': [filelog(t, None, json_fmt={o: '%' + o + '%' for o in ops})]}}
    await t.start(config(t, [listener(t, [p])], [cluster('c1', [host(t.dead(), 'h.example')], META)]))
    c = await t.conn()
    await t.stat_until('cluster.c1.upstream_cx_destroy', lambda v: v == 2)
    c.close()
    for l in await lines_of(t):
        t.see('line', {k: v for k, v in l.items() if v is not None})
