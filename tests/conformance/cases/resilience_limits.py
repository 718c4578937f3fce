"""Circuit breakers, cut connections, pools and their limits."""
from harness import *
from harness.tables import HOST_LOG as LOG, cb, cut, hold_up

CS = ['cluster.c1.circuit_breakers.default.cx_open', 'cluster.c1.circuit_breakers.default.rq_pending_open', 'cluster.c1.circuit_breakers.default.rq_open', 'cluster.c1.upstream_cx_overflow', 'cluster.c1.upstream_rq_pending_overflow', 'cluster.c1.upstream_rq_active_overflow', 'cluster.c1.upstream_rq_total', 'cluster.c1.upstream_cx_total', 'http.in.downstream_rq_5xx', 'cluster.c1.upstream_rq_503']
cb('max_requests', '[{max_requests: 1}]', CS)
cb('max_connections_and_pending', '[{max_connections: 1, max_pending_requests: 1}]', CS, holds=2)
cb('max_pending_zero', '[{max_pending_requests: 0}]', CS, holds=0)
cb('max_connections_zero', '[{max_connections: 0, max_pending_requests: 5}]', CS, holds=0)
cb('max_connections_queues', '[{max_connections: 1}]', CS)
cb('all_zero', '[{max_connections: 0, max_pending_requests: 0, max_requests: 0, max_retries: 0}]', CS, holds=0)
cb('track_remaining', '[{max_requests: 3, track_remaining: true}]', CS + ['cluster.c1.circuit_breakers.default.remaining_rq', 'cluster.c1.circuit_breakers.default.remaining_cx', 'cluster.c1.circuit_breakers.default.remaining_pending', 'cluster.c1.circuit_breakers.default.remaining_retries'])
cb('high_priority_limits_do_not_bind_default', '[{priority: HIGH, max_requests: 0}]', CS)
cb('max_connection_pools', '[{max_connection_pools: 0}]', CS + ['cluster.c1.upstream_cx_pool_overflow'], holds=0)

cut('cut_before_response', b'', 'close')
cut('reset_before_response', b'', 'reset')
cut('cut_in_head', b'HTTP/1.1 200 OK\r\ncontent-le', 'close')
cut('reset_in_head', b'HTTP/1.1 200 OK\r\ncontent-le', 'reset')
cut('cut_in_body', b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', 'close')
cut('reset_in_body', b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', 'reset')
cut('cut_in_chunk', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc', 'close')
cut('cut_after_continue', b'HTTP/1.1 100 Continue\r\n\r\n', 'close')


@case()
async def high_priority_route_uses_high_limits(t):
    u = await hold_up(t)
    await t.start(simple(t, clusters=[cluster('c1', u, '{circuit_breakers: {thresholds: [{max_requests: 100}, {priority: HIGH, max_requests: 0}]}}')], log=LOG, routes='[{match: {prefix: /high}, route: {cluster: c1, priority: HIGH}}, {match: {prefix: /}, route: {cluster: c1}}]'))
    t.see('high', await t.req('/high'))
    t.see('default', (await t.req('/x')).status)
    t.see('stats', await t.stats('cluster.c1.circuit_breakers.high.rq_open', 'cluster.c1.circuit_breakers.default.rq_open', 'cluster.c1.upstream_rq_active_overflow'))
    t.see('log', await t.logs())


@case()
async def circuit_breaker_from_runtime(t):
    u = await t.up()
    await t.start(simple(t, log=LOG, extra='{layered_runtime: {layers: [{name: s, static_layer: {circuit_breakers.c1.default.max_requests: 0}}]}}'))
    t.see('r', await t.req('/'))
    t.see('log', await t.logs())


@case()
async def connect_refused(t):
    await t.start(simple(t, clusters=[cluster('c1', t.dead())], log=LOG))
    t.see('r', await t.req('/'))
    t.see('post', await t.req('/', method='POST', body='abc'))
    t.see('stats', await t.stats('cluster.c1.upstream_cx_connect_fail', 'cluster.c1.upstream_cx_total', 'cluster.c1.upstream_rq_total', 'cluster.c1.upstream_rq_pending_failure_eject', 'cluster.c1.upstream_rq_pending_total', 'cluster.c1.upstream_rq_5xx', 'http.in.downstream_rq_5xx', 'cluster.c1.upstream_cx_destroy_with_active_rq'))
    t.see('log', await t.logs())


@case()
async def connect_timeout_no_answer(t):
    """An address that swallows packets: a listening socket with a full backlog."""
    await t.start(simple(t, clusters=[cluster('c1', t.silent('u1'), timeout='0.25s')], log=LOG))
    t.see('r', await t.req('/', timeout=4))
    t.see('stats', await t.stats('cluster.c1.upstream_cx_connect_timeout', 'cluster.c1.upstream_cx_connect_fail', 'cluster.c1.upstream_rq_pending_failure_eject'))
    t.see('log', await t.logs())


@case()
async def no_endpoints(t):
    await t.start(simple(t, clusters=[cluster('c1', [])], log=LOG))
    t.see('r', await t.req('/'))
    t.see('stats', await t.stats('cluster.c1.upstream_cx_none_healthy', 'cluster.c1.membership_total', 'cluster.c1.upstream_rq_total', 'http.in.downstream_rq_5xx', 'cluster.c1.upstream_rq_503'))
    t.see('log', await t.logs())


@case()
async def all_endpoints_unhealthy_no_panic(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', [lbe(u, health_status='UNHEALTHY')], '{common_lb_config: {healthy_panic_threshold: {value: 0}}}')], log=LOG))
    t.see('r', await t.req('/'))
    t.see('log', await t.logs())


@case()
async def unknown_cluster_codes(t):
    u = await t.up()
    await t.start(simple(t, log=LOG, route_config={'validate_clusters': False}, routes='[{match: {path: /404}, route: {cluster: zz, cluster_not_found_response_code: NOT_FOUND}}, {match: {path: /500}, route: {cluster: zz, cluster_not_found_response_code: INTERNAL_SERVER_ERROR}}, {match: {prefix: /}, route: {cluster: zz}}]'))
    for p in ('/404', '/500', '/x'):
        t.see(p, await t.req(p))
    t.see('stats', await t.stats('http.in.no_cluster', 'http.in.no_route', 'http.in.rq_total'))
    t.see('log', await t.logs())


@case()
async def pool_uses_most_recent_connection(t):
    u = await hold_up(t, hold=0.2)
    await t.start(simple(t))
    await asyncio.gather(*[t.req('/hold%d' % i) for i in range(3)])
    conns = []
    for i in range(4):
        await t.req('/%d' % i)
        conns.append(u.reqs[-1].conn)
    t.see('conns', u.conns)
    t.see('same', len(set(conns)))


@case()
async def pool_connection_not_shared_while_busy(t):
    u = await hold_up(t, hold=0.3)
    await t.start(simple(t))
    c = await t.conn()
    c.send(build('/hold'))
    await t.until(lambda: u.reqs)
    await t.req('/other')
    t.see('conns', u.conns)
    t.see('held', (await c.response()).status)
    t.see('stats', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_active', 'cluster.c1.upstream_rq_total', 'cluster.c1.upstream_rq_active', 'cluster.c1.upstream_rq_pending_total', 'cluster.c1.upstream_rq_pending_active'))


@case()
async def pending_request_of_gone_client_is_dropped(t):
    u = await hold_up(t, hold=0.5)
    await t.start(simple(t, clusters=[cluster('c1', u, '{circuit_breakers: {thresholds: [{max_connections: 1}]}}')], log=LOG))
    c = await t.conn()
    c.send(build('/hold'))
    await t.until(lambda: u.reqs)
    gone = await t.conn()
    gone.send(build('/gone'))
    await t.stat_until('cluster.c1.upstream_rq_pending_active', lambda v: v == 1)
    gone.close()
    t.see('held', (await c.response()).status)
    t.see('after', (await t.req('/after')).status)
    t.see('paths', u.paths)
    t.see('stats', await t.stats('cluster.c1.upstream_rq_cancelled', 'cluster.c1.upstream_rq_total', 'cluster.c1.upstream_rq_pending_total'))
    t.see('log', sorted(await t.logs()))


@case()
async def client_gone_resets_upstream(t):
    u = await t.up('u1', delay=2)
    await t.start(simple(t, log=LOG))
    c = await t.conn()
    c.send(build('/'))
    await t.until(lambda: u.reqs)
    c.close()
    t.see('upstream_closed', bool(await t.until(lambda: u.closed_conns or not u.live or u.live[0].r.at_eof(), 3)))
    t.see('stats', await t.stats('cluster.c1.upstream_rq_cancelled', 'cluster.c1.upstream_rq_tx_reset', 'cluster.c1.upstream_cx_destroy_local_with_active_rq', 'http.in.downstream_rq_rx_reset', 'http.in.downstream_cx_destroy_remote_active_rq'))
    t.see('log', await t.logs())


@case()
async def upstream_bind_address(t):
    u = await t.up()
    await t.start(simple(t, copts='{upstream_bind_config: {source_address: {address: 127.0.0.7, port_value: 0}}}', log='%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%'))
    t.see('r', (await t.req('/')).status)
    t.see('log', await t.logs())


@case()
async def stale_connection_post_not_retried(t):
    """An upstream that closes exactly when the second request arrives."""
    async def conn(c):
        await c.read_request()
        c.send(resp(200, 'x'))
        await c.drain()
        await c.read_request()
    u = await t.up('u1', conn=conn)
    await t.start(simple(t, log=LOG))
    t.see('first', (await t.req('/1')).status)
    t.see('post', await t.req('/2', method='POST', body='abc'))
    t.see('get', (await t.req('/3')).status)
    t.see('get2', (await t.req('/4')).status)
    t.see('paths', u.paths)
    t.see('log', await t.logs())


@case()
async def maintenance_mode(t):
    await t.up()
    await t.start(simple(t, log=LOG, extra='{layered_runtime: {layers: [{name: s, static_layer: {upstream.maintenance_mode.c1: 100}}]}}'))
    t.see('r', await t.req('/'))
    t.see('stats', await t.stats('cluster.c1.upstream_rq_maintenance_mode', 'cluster.c1.upstream_rq_503', 'cluster.c1.upstream_rq_total'))
    t.see('log', await t.logs())


@case()
async def per_connection_buffer_large_upload(t):
    got = []

    async def conn(c):
        m = await c.read_request()
        if m:
            got.append(len(m.body))
            c.send(resp(200, 'ok'))
            await c.read_request()
    await t.up('u1', conn=conn)
    await t.start(simple(t, lextra='{per_connection_buffer_limit_bytes: 4096}', copts='{per_connection_buffer_limit_bytes: 4096}', log='%BYTES_RECEIVED% %RESPONSE_CODE%'))
    t.see('r', (await t.req('/', method='POST', body=b'q' * 1000000)).status)
    t.see('got', got)
    t.see('log', await t.logs())


@case()
async def outlier_consecutive_5xx_ejects(t):
    us = [await t.up('h0', lambda m, n: resp(200, 'g', [('x-up', 'h0')])), await t.up('h1', lambda m, n: resp(500, 'b', [('x-up', 'h1')]))]
    await t.start(simple(t, clusters=[cluster('c1', us, {'outlier_detection': Y('{consecutive_5xx: 2, interval: 10s, max_ejection_percent: 100}'), 'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})]))
    for _ in range(10):
        await t.req('/')
        await asyncio.sleep(0.04)
    t.see('h1', len(us[1].reqs))
    t.see('stats', await t.stats(regex=r'outlier_detection\.(ejections_active|ejections_enforced_total|ejections_total|ejections_consecutive_5xx|ejections_(enforced|detected)_consecutive_5xx)$'))


@case()
async def outlier_stat_names(t):
    await t.up()
    await t.start(simple(t, copts='{outlier_detection: {}}'))
    t.see('names', sorted(await t.stats(regex=r'outlier_detection')))


@case()
async def cluster_without_outlier_has_no_stats(t):
    await t.up()
    await t.start(simple(t))
    t.see('names', sorted(await t.stats(regex=r'outlier_detection|health_check')))
