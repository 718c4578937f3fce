"""The TCP proxy: bytes both ways, how each side ends, its stats and its log."""
from harness import *

TYPE = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'
LOG = ('%RESPONSE_FLAGS% r=%BYTES_RECEIVED% s=%BYTES_SENT% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% '
       'n=%UPSTREAM_REQUEST_ATTEMPT_COUNT% lc=%DOWNSTREAM_LOCAL_CLOSE_REASON% '
       'w=%UPSTREAM_WIRE_BYTES_RECEIVED%,%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_TRANSPORT_FAILURE_REASON% '
       '%RESPONSE_CODE% %PROTOCOL% %ACCESS_LOG_TYPE%')


def proxy(t, cluster='c1', **kw):
    tp = {'@type': TYPE, 'stat_prefix': 'tp', 'access_log': [filelog(t, LOG)]}
    if cluster:
        tp['cluster'] = cluster
    tp.update(kw)
    return {'name': 'tp', 'typed_config': tp}


async def echo(c):
    """Says END once the client has ended its half."""
    while await c.fill():
        c.send(c.buf)
        c.buf = b''
        await c.drain()
    c.send(b'END')


async def start(t, u, extra=None, **kw):
    await t.start(config(t, [listener(t, [proxy(t, **kw)])], [cluster('c1', u, extra)]))
    return await t.conn()


async def see_stats(t):
    await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
    t.see('stats', await t.stats(
        *('tcp.tp.' + n for n in ('downstream_cx_total', 'downstream_cx_rx_bytes_total', 'downstream_cx_tx_bytes_total',
                                  'downstream_cx_no_route', 'idle_timeout', 'max_downstream_connection_duration',
                                  'upstream_flush_active')),
        *('cluster.c1.upstream_' + n for n in (
            'cx_total', 'cx_http1_total', 'cx_destroy_local_with_active_rq', 'cx_destroy_remote_with_active_rq',
            'cx_connect_fail', 'cx_connect_attempts_exceeded', 'cx_none_healthy', 'cx_overflow',
            'cx_rx_bytes_total', 'cx_tx_bytes_total', 'rq_total', 'rq_active', 'rq_pending_total',
            'rq_pending_failure_eject'))))


@case()
async def client_ends_first(t):
    c = await start(t, await t.up('u1', conn=echo))
    c.send(b'hello')
    t.see('echo', (await c.exactly(5)).decode())
    c.shut_wr()
    t.see('rest', [await c.state(2), c.buf.decode()])
    c.close()
    await see_stats(t)
    t.see('log', await t.logs())


@case()
async def host_ends_first(t):
    async def conn(c):
        c.send(b'banner')
        c.shut_wr()
        while await c.fill():
            pass
        c.up.got = c.buf
    u = await t.up('u1', conn=conn)
    u.got = b''
    c = await start(t, u)
    t.see('banner', [await c.state(2), c.buf.decode()])
    c.send(b'more')
    await c.drain()
    c.shut_wr()
    await see_stats(t)
    t.see('got', u.got.decode())
    t.see('log', await t.logs())


@case()
async def host_resets(t):
    async def conn(c):
        await c.fill()
        c.reset()
    c = await start(t, await t.up('u1', conn=conn))
    c.send(b'x')
    t.see('state', await c.state(2))
    await see_stats(t)
    t.see('log', await t.logs())


@case()
async def client_resets(t):
    c = await start(t, await t.up('u1', conn=echo))
    c.send(b'hello')
    t.see('echo', (await c.exactly(5)).decode())
    c.reset()
    await see_stats(t)
    t.see('log', await t.logs())


@case()
async def dead_host(t):
    c = await start(t, t.dead())
    t.see('state', await c.state(2))
    await see_stats(t)
    t.see('log', await t.logs())


@case()
async def dead_host_three_attempts(t):
    c = await start(t, t.dead(), max_connect_attempts=3)
    t.see('state', await c.state(2))
    await see_stats(t)
    t.see('log', await t.logs())


@case()
async def second_attempt_finds_another_host(t):
    u = await t.up('u1', conn=echo)
    d = t.dead()
    await t.start(config(t, [listener(t, [proxy(t, max_connect_attempts=2)])], [cluster('c1', [d, u])]))
    for _ in range(2):
        c = await t.conn()
        c.send(b'hello')
        await c.exactly(5)
        c.shut_wr()
        await c.state(2)
        c.close()
    await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
    # Which host is first is chance; of two connections one meets the dead one first at least.
    t.see('log', max(await t.logs()))


@case()
async def no_host(t):
    c = await start(t, [])
    t.see('state', await c.state(2))
    await see_stats(t)
    t.see('log', await t.logs())


@case()
async def no_cluster(t):
    c = await start(t, await t.up('u1', conn=echo), cluster='gone')
    t.see('state', await c.state(2))
    await see_stats(t)
    t.see('log', await t.logs())


@case()
async def max_connections(t):
    u = await t.up('u1', conn=echo)
    c = await start(t, u, '{circuit_breakers: {thresholds: [{max_connections: 1}]}}')
    c.send(b'hello')
    t.see('echo', (await c.exactly(5)).decode())
    d = await t.conn()
    t.see('second', await d.state(2))
    c.shut_wr()
    await c.state(2)
    c.close()
    await see_stats(t)
    t.see('log', sorted(await t.logs()))


@case()
async def idle_timeout(t):
    c = await start(t, await t.up('u1', conn=echo), idle_timeout='0.3s')
    c.send(b'hello')
    t.see('echo', (await c.exactly(5)).decode())
    t.see('state', await c.state(2))
    await see_stats(t)
    t.see('log', await t.logs())


@case()
async def max_duration(t):
    c = await start(t, await t.up('u1', conn=echo), max_downstream_connection_duration='0.3s')
    c.send(b'hello')
    t.see('echo', (await c.exactly(5)).decode())
    t.see('state', await c.state(2))
    await see_stats(t)
    t.see('log', await t.logs())


@case()
async def weighted_clusters(t):
    a, b = await t.up('u1', conn=echo), await t.up('u2', conn=echo)
    weights = {'clusters': [{'name': 'c1', 'weight': 1}, {'name': 'c2', 'weight': 3}]}
    await t.start(config(t, [listener(t, [proxy(t, None, weighted_clusters=weights)])],
                         [cluster('c1', a), cluster('c2', b)]))
    for _ in range(60):
        c = await t.conn()
        c.send(b'x')
        await c.exactly(1)
        c.close()
    t.see('sum', a.conns + b.conns)
    t.see('shares', [3 <= a.conns <= 30, 30 <= b.conns <= 57])


@case()
async def much_both_ways(t):
    c = await start(t, await t.up('u1', conn=echo))
    data = bytes(range(256)) * 8192
    c.send(data)
    await c.drain()
    c.shut_wr()
    while await c.fill():
        pass
    t.see('same', c.buf == data + b'END')
    await see_stats(t)
    t.see('log', await t.logs())


@case()
async def refused(t):
    c1 = cluster('c1', t.dead())
    for name, tp in (('neither', proxy(t, None)), ('attempts', proxy(t, max_connect_attempts=0)),
                     ('weight', proxy(t, None, weighted_clusters={'clusters': [{'name': 'c1', 'weight': 0}]}))):
        t.see(name, (await t.run_to_end(config(t, [listener(t, [tp])], [c1]), args=('--mode', 'validate')))[0])
