"""How connections to hosts end: age, idleness, number of requests, health, removal; and what is kept apart in pools of its own."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
SHOWN = re.compile(r'^cluster\.c1\.(upstream_(cx|rq)_[a-z0-9_]+|circuit_breakers\..*)$')
UNSTEADY = ('bytes_total', 'buffered', 'keepalive_failed')
T_TCP = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'
T_TCPOPT = 'type.googleapis.com/envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions'


async def counted(t):
    found = await t.stats(regex=SHOWN)
    return {k[len('cluster.c1.'):]: v for k, v in found.items() if isinstance(v, int) and v and not k.endswith(UNSTEADY)}


def options(protocol, more=None, **common):
    o = {'@type': T_HPO, 'common_http_protocol_options': common, 'explicit_http_config': {protocol + '_protocol_options': {}}}
    return {'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': merge(o, more or {})}}


async def gone(t, n=1):
    await t.stat_until('cluster.c1.upstream_cx_destroy', lambda v: v >= n)


for proto in ('http', 'http2'):
    h2 = proto == 'http2'

    @case('%s_age_of_an_idle_connection' % proto)
    async def _(t, proto=proto, h2=h2):
        await (t.h2up() if h2 else t.up())
        await t.start(simple(t, copts=options(proto, max_connection_duration='0.15s')))
        t.see('r', (await t.req('/')).status)
        await gone(t)
        t.see('counted', await counted(t))

    @case('%s_age_with_jitter' % proto)
    async def _(t, proto=proto, h2=h2):
        await (t.h2up() if h2 else t.up())
        await t.start(simple(t, copts=options(proto, max_connection_duration='0.1s', max_connection_duration_jitter={'value': 50})))
        t.see('r', (await t.req('/')).status)
        await gone(t)
        t.see('counted', await counted(t))

    @case('%s_age_while_a_request_waits_behind' % proto)
    async def _(t, proto=proto, h2=h2):
        """The connection that is too old serves nobody else: the next has one of its own."""
        gates = [asyncio.Event(), asyncio.Event()]

        async def respond(m, n):
            if m['path'] == '/held':
                await gates[0].wait()
            return resp(200)

        async def handler(s):
            if s.h(':path') == '/held':
                await gates[0].wait()
            s.respond(200, end=True)
        u = await (t.h2up('u1', handler) if h2 else t.up('u1', respond))
        await t.start(simple(t, copts=options(proto, max_connection_duration='0.1s')))
        held = asyncio.create_task(t.req('/held'))
        await t.stat_until('cluster.c1.upstream_cx_max_duration_reached', lambda v: v == 1)
        t.see('other', (await t.req('/')).status)
        gates[0].set()
        t.see('held', (await held).status)
        t.see('connections', u.conns)
        await gone(t, 2)
        t.see('counted', await counted(t))

    @case('%s_idle_timeout_of_zero' % proto)
    async def _(t, proto=proto, h2=h2):
        await (t.h2up() if h2 else t.up())
        await t.start(simple(t, copts=options(proto, idle_timeout='0s')))
        for _ in range(2):
            await t.req('/')
        t.see('counted', await counted(t))

    @case('%s_requests_of_zero' % proto)
    async def _(t, proto=proto, h2=h2):
        await (t.h2up() if h2 else t.up())
        await t.start(simple(t, copts=options(proto, max_requests_per_connection=0)))
        for _ in range(3):
            await t.req('/')
        t.see('counted', await counted(t))

    @case('%s_cluster_field_of_requests' % proto)
    async def _(t, proto=proto, h2=h2):
        """The older field of the cluster itself."""
        await (t.h2up() if h2 else t.up())
        c = cluster('c1', t.ups, {'max_requests_per_connection': 2})
        if h2:
            c['http2_protocol_options'] = {}
        await t.start(simple(t, clusters=[c]))
        for _ in range(4):
            await t.req('/')
        await gone(t, 2)
        t.see('counted', await counted(t))

    @case('%s_ejected_host' % proto)
    async def _(t, proto=proto, h2=h2):
        """Its idle connections are closed."""
        async def handler(s):
            s.respond(500 if s.h(':path') == '/bad' else 200, end=True)
        await (t.h2up('u1', handler) if h2 else t.up('u1', lambda m, n: resp(500 if m['path'] == '/bad' else 200)))
        await t.start(simple(t, copts=merge(options(proto), {'outlier_detection': {'consecutive_5xx': 2, 'max_ejection_percent': 100, 'base_ejection_time': '60s'}, 'common_lb_config': {'healthy_panic_threshold': {'value': 0}}}), log=LOG))
        for p in ('/', '/bad', '/bad'):
            await t.req(p)
        await gone(t)
        t.see('ejected', await counted(t))
        t.see('log', await t.logs())


for keep in (False, True):
    @case('checked_host_fails_%s' % ('and_closes' if keep else 'and_keeps'))
    async def _(t, keep=keep):
        """TCP connections of a host that fails its checks go with `close_connections_on_host_health_failure`."""
        state = {'code': 200}
        checks = await t.up('check', lambda m, n: resp(state['code']))

        async def conn(c):
            c.send(b'hello')
            await c.fill()
        u = await t.up('u1', conn=conn)
        e = lbe(u)
        e['endpoint']['health_check_config'] = {'port_value': checks.port}
        c = cluster('c1', [e], {'close_connections_on_host_health_failure': keep, 'health_checks': [{'timeout': '1s', 'interval': '0.05s', 'no_traffic_interval': '0.05s', 'unhealthy_threshold': 1, 'healthy_threshold': 1, 'http_health_check': {'path': '/'}}]})
        p = {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': T_TCP, 'stat_prefix': 'p', 'cluster': 'c1', 'access_log': [filelog(t, '%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_LOCAL_CLOSE_REASON% %UPSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_LOCAL_CLOSE_REASON%')]}}
        await t.start(config(t, [listener(t, [p])], [c]))
        await t.stat_until('cluster.c1.membership_healthy', lambda v: v == 1)
        client = await t.conn()
        await t.until(lambda: u.conns == 1)
        await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 1)
        state['code'] = 503
        await t.stat_until('cluster.c1.membership_healthy', lambda v: v == 0)
        if keep:
            await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
        t.see('open', await t.stats('cluster.c1.upstream_cx_active', 'cluster.c1.upstream_cx_destroy', 'cluster.c1.upstream_cx_destroy_local', 'cluster.c1.upstream_cx_destroy_with_active_rq'))
        client.close()
        await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
        t.see('log', await t.logs())


def tcp(t, copts, popts=None, log='%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_LOCAL_CLOSE_REASON% %UPSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_LOCAL_CLOSE_REASON% %DOWNSTREAM_DETECTED_CLOSE_TYPE%'):
    p = {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': T_TCP, 'stat_prefix': 'p', 'cluster': 'c1', 'access_log': [filelog(t, log)], **(Y(popts) or {})}}
    return config(t, [listener(t, [p])], [cluster('c1', t.ups, copts)])


async def tcp_of(t, copts, popts=None, ends='cluster.c1.upstream_cx_destroy'):
    async def conn(c):
        c.send(b'hello')
        await c.fill()
    await t.up(conn=conn)
    await t.start(tcp(t, copts, popts))
    c = await t.conn()
    t.see('ended', bool(await t.stat_until(ends, lambda v: v >= 1)))
    t.see('counted', await counted(t))
    t.see('proxy', {k: v for k, v in (await t.stats(regex=r'^tcp\.p\.')).items() if v and not k.endswith('bytes_total') and 'buffered' not in k})
    c.close()
    t.see('log', await t.logs())


@case()
async def tcp_idle_timeout_of_the_proxy(t):
    await tcp_of(t, None, {'idle_timeout': '0.1s'})


@case()
async def tcp_duration_of_the_proxy(t):
    await tcp_of(t, None, {'max_downstream_connection_duration': '0.1s'})


@case()
async def tcp_idle_timeout_of_the_cluster(t):
    """Of connections in the pool that nobody has yet: one that is opened ahead."""
    async def conn(c):
        c.send(b'hello')
        await c.fill()
    await t.up(conn=conn)
    await t.start(tcp(t, {'preconnect_policy': {'per_upstream_preconnect_ratio': 2}, 'typed_extension_protocol_options': {'envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions': {'@type': T_TCPOPT, 'idle_timeout': '0.2s'}}}))
    c = await t.conn()
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 1)
    t.see('idle', bool(await t.stat_until('cluster.c1.upstream_cx_idle_timeout', lambda v: v == 1, timeout=2)))
    t.see('counted', await counted(t))
    c.close()


@case()
async def tcp_connections_ahead(t):
    """A connection that is opened ahead serves the next client."""
    async def conn(c):
        c.send(b'hello')
        await c.fill()
    u = await t.up(conn=conn)
    await t.start(tcp(t, {'preconnect_policy': {'per_upstream_preconnect_ratio': 2}}))
    clients = []
    for i in range(3):
        clients.append(await t.conn())
        await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == i + 1)
        await t.until(lambda: u.conns >= 2 * (i + 1), timeout=1)
        t.see('after %d' % i, await counted(t))


for label, opts in {
    'keepalive': '{upstream_connection_options: {tcp_keepalive: {keepalive_probes: 3, keepalive_time: 10, keepalive_interval: 5}}}',
    'keepalive_empty': '{upstream_connection_options: {tcp_keepalive: {}}}',
    'interface_name': '{upstream_connection_options: {set_local_interface_name_on_upstream_connections: true}}',
    'eyeballs': '{upstream_connection_options: {happy_eyeballs_config: {first_address_family_version: V4, first_address_family_count: 2}}}',
    'eyeballs_of_none': '{upstream_connection_options: {happy_eyeballs_config: {first_address_family_count: 0}}}',
    'nothing': '{upstream_connection_options: {}}',
    'keepalive_of_zero': '{upstream_connection_options: {tcp_keepalive: {keepalive_probes: 0, keepalive_time: 0, keepalive_interval: 0}}}',
    'keepalive_too_large': '{upstream_connection_options: {tcp_keepalive: {keepalive_time: 4294967295}}}',
}.items():
    @case('connection_options_' + label)
    async def _(t, opts=opts):
        import subprocess
        u = await t.up()
        try:
            await t.start(simple(t, copts=opts, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%'))
        except Exception:
            t.see('starts', False)
            return
        t.see('r', (await t.req('/')).status)
        out = subprocess.run(['ss', '-tnoH', 'dport', '=', ':%d' % u.port], capture_output=True, text=True).stdout
        t.see('keepalive timer', 'timer:(keepalive' in out)
        t.see('log', await t.logs())
