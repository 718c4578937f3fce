"""`per_connection_buffer_high_watermark_timeout` of listeners and clusters: connections whose peer takes nothing for too long."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_TRANSPORT_FAILURE_REASON% %DOWNSTREAM_LOCAL_CLOSE_REASON% %UPSTREAM_LOCAL_CLOSE_REASON% %UPSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_DETECTED_CLOSE_TYPE%'
BIG = b'x' * (8 << 20)
COUNTED = re.compile(r'^(cluster\.c1\.upstream_(cx|rq)_[a-z0-9_]+|http\.in\.downstream_(cx|rq)_[a-z0-9_]+|listener\..*downstream_cx_[a-z_]+|tcp\.p\.[a-z_]+)$')
UNSTEADY = ('bytes_total', 'buffered', 'length_ms', 'backed_up_total', 'drained_total', 'paused_reading_total', 'resumed_reading_total', 'worker_0.downstream_cx_total', 'worker_0.downstream_cx_active')


async def counted(t):
    found = await t.stats(regex=COUNTED)
    return {re.sub(r'127\.0\.0\.1_\d+', '<l>', k): v for k, v in found.items() if isinstance(v, int) and v and not k.endswith(UNSTEADY) and 'admin' not in k}


def big(t):
    return resp(200, BIG.decode())


async def stuck_client(t, lextra, http2=False, patience=3):
    """A client that asks for much and reads nothing."""
    await t.up(respond=lambda m, n: big(t))
    await t.start(simple(t, log=LOG, lextra=lextra, copts='{per_connection_buffer_limit_bytes: 65536}', opts={'codec_type': 'HTTP2'} if http2 else None))
    r, w = await asyncio.open_connection('127.0.0.1', t.l1, limit=1024)
    if http2:
        w.transport.pause_reading()
    w.transport.pause_reading()
    w.write(build('/'))
    closed = await t.stat_until('http.in.downstream_cx_destroy', lambda v: v == 1, timeout=patience)
    t.see('closed', bool(closed))
    t.see('counted', await counted(t))
    w.transport.abort()
    t.see('log', await t.logs())


for label, (lextra, patience) in {
    'listener_closes': ('{per_connection_buffer_limit_bytes: 65536, per_connection_buffer_high_watermark_timeout: 0.5s}', 5),
    'listener_of_zero': ('{per_connection_buffer_limit_bytes: 65536, per_connection_buffer_high_watermark_timeout: 0s}', 1),
    'listener_without_a_limit': ('{per_connection_buffer_high_watermark_timeout: 0.5s}', 5),
    'listener_none': ('{per_connection_buffer_limit_bytes: 65536}', 1),
}.items():
    @case('watermark_timeout_' + label)
    async def _(t, lextra=lextra, patience=patience):
        await stuck_client(t, lextra, patience=patience)


@case()
async def watermark_timeout_listener_client_reads_in_time(t):
    """Each time that the buffer falls below begins anew."""
    await t.up(respond=lambda m, n: big(t))
    await t.start(simple(t, log='%RESPONSE_CODE% %RESPONSE_FLAGS%', lextra='{per_connection_buffer_limit_bytes: 65536, per_connection_buffer_high_watermark_timeout: 0.6s}'))
    r, w = await asyncio.open_connection('127.0.0.1', t.l1, limit=1024)
    w.write(build('/'))
    got = 0
    while got < len(BIG):
        part = await r.read(1 << 20)
        if not part:
            break
        got += len(part)
        if got % (1 << 20) < 2048:
            await asyncio.sleep(0.05)
    t.see('all', got >= len(BIG))
    w.close()
    t.see('log', await t.logs())


async def stuck_host(t, copts, patience=5, h2=False, routes=None):
    """A host that reads nothing of a large body."""
    async def conn(c):
        c.w.transport.pause_reading()
        await asyncio.sleep(30)
    u = await t.up(conn=conn)
    await t.start(simple(t, clusters=[cluster('c1', u, copts, h2=h2)], log=LOG, routes=routes))
    c = await t.conn()
    c.send(build('/', method='POST', body=BIG))
    closed = await t.stat_until('cluster.c1.upstream_cx_destroy', lambda v: v >= 1, timeout=patience)
    t.see('closed', bool(closed))
    if closed:
        m = await c.response('POST')
        t.see('r', [m.status, m['body']])
    t.see('counted', await counted(t))
    c.close()
    if closed:
        t.see('log', await t.logs())


for label, (copts, patience) in {
    'cluster_closes': ('{per_connection_buffer_limit_bytes: 65536, per_connection_buffer_high_watermark_timeout: 0.5s}', 5),
    'cluster_of_zero': ('{per_connection_buffer_limit_bytes: 65536, per_connection_buffer_high_watermark_timeout: 0s}', 1),
    'cluster_without_a_limit': ('{per_connection_buffer_high_watermark_timeout: 0.5s}', 5),
}.items():
    @case('watermark_timeout_' + label)
    async def _(t, copts=copts, patience=patience):
        await stuck_host(t, copts, patience)


@case()
async def watermark_timeout_cluster_is_retried(t):
    await stuck_host(t, '{per_connection_buffer_limit_bytes: 65536, per_connection_buffer_high_watermark_timeout: 0.5s}', routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': {'retry_on': 'reset,connect-failure'}}}])


def tcp(t, lextra, copts, u):
    p = {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 'p', 'cluster': 'c1', 'access_log': [filelog(t, '%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_LOCAL_CLOSE_REASON% %UPSTREAM_LOCAL_CLOSE_REASON% %UPSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_DETECTED_CLOSE_TYPE%')]}}
    return config(t, [listener(t, [p], extra=lextra)], [cluster('c1', u, copts)])


@case()
async def watermark_timeout_tcp_listener(t):
    async def conn(c):
        c.send(BIG)
        await asyncio.sleep(30)
    u = await t.up(conn=conn)
    await t.start(tcp(t, '{per_connection_buffer_limit_bytes: 65536, per_connection_buffer_high_watermark_timeout: 0.5s}', '{per_connection_buffer_limit_bytes: 65536}', u))
    r, w = await asyncio.open_connection('127.0.0.1', t.l1, limit=1024)
    w.transport.pause_reading()
    t.see('closed', bool(await t.stat_until('cluster.c1.upstream_cx_destroy', lambda v: v == 1)))
    t.see('counted', await counted(t))
    w.transport.abort()
    t.see('log', await t.logs())


@case()
async def watermark_timeout_tcp_cluster(t):
    async def conn(c):
        c.w.transport.pause_reading()
        await asyncio.sleep(30)
    u = await t.up(conn=conn)
    await t.start(tcp(t, '{per_connection_buffer_limit_bytes: 65536}', '{per_connection_buffer_limit_bytes: 65536, per_connection_buffer_high_watermark_timeout: 0.5s}', u))
    c = await t.conn()
    c.send(BIG)
    t.see('closed', bool(await t.stat_until('cluster.c1.upstream_cx_destroy', lambda v: v == 1)))
    t.see('counted', await counted(t))
    c.close()
    t.see('log', await t.logs())


@case()
async def watermark_timeout_refused(t):
    for key, where in (('lextra', 'listener'), ('copts', 'cluster')):
        u = t.dead()
        cfg = simple(t, [u], **{key: '{per_connection_buffer_high_watermark_timeout: -1s}'})
        t.see(where, (await t.run_to_end(cfg, timeout=10))[0])
