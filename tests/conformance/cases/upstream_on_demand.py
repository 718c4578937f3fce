"""Hosts that are made on demand (ORIGINAL_DST, dynamic forward proxy) in their corners: their health, IPv6, sub-clusters."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER%'
T_DFP = 'type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig'
OD = '{outlier_detection: {consecutive_5xx: 1, interval: 10s, base_ejection_time: 60s, max_ejection_percent: 100, enforcing_consecutive_5xx: 100}}'
CX = ('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_active', 'cluster.c1.upstream_cx_destroy_local')


def od(extra=None):
    return merge({'name': 'c1', 'type': 'ORIGINAL_DST', 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED', 'original_dst_lb_config': {'use_http_header': True}}, Y(extra) or {})


def to(u):
    return [('x-envoy-original-dst-host', '%s:%d' % (('[%s]' % u.addr) if ':' in u.addr else u.addr, u.port))]


def cache(extra=None):
    return merge({'name': 'dfp', 'dns_lookup_family': 'V4_ONLY'}, Y(extra) or {})


def dfp(dns=None, typed=None, extra=None, name='c1'):
    typed = typed or {'dns_cache_config': dns or cache()}
    return merge({'name': name, 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED', 'cluster_type': {'name': 'envoy.clusters.dynamic_forward_proxy', 'typed_config': {'@type': T_DFP, **typed}}}, Y(extra) or {})


def flt(typed=None):
    return http_filter('envoy.filters.http.dynamic_forward_proxy', 'dynamic_forward_proxy.v3.FilterConfig', typed or {'dns_cache_config': cache()})


def at(u, name='localhost'):
    return '%s:%d' % (name, u.port)


async def kinds(t, kind, state):
    """A cluster of a kind over one host, and what leads a request there."""
    async def respond(m, n):
        return resp(state[0], m['up'], [('x-up', m['up'])])
    u = await t.up(respond=respond)
    if kind == 'original_dst':
        await t.start(simple(t, clusters=[od(OD)], log=LOG))
        return u, {'headers': to(u)}
    await t.start(simple(t, clusters=[dfp(extra=OD)], filters=[flt()], log=LOG))
    return u, {'host': at(u)}


for kind in ('original_dst', 'forward_proxy'):
    @case('on_demand_%s_ejected_host_loses_idle_connections' % kind)
    async def _(t, kind=kind):
        state = [200]
        u, kw = await kinds(t, kind, state)
        await t.req('/', **kw)
        t.see('before', await t.stats(*CX))
        state[0] = 500
        t.see('fails', (await t.req('/', **kw)).status)
        t.see('ejected', bool(await t.stat_until('cluster.c1.outlier_detection.ejections_active', lambda v: v == 1)))
        t.see('closed', bool(await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)))
        t.see('stats', await t.stats(*CX))
        state[0] = 200
        t.see('next', (await t.req('/', **kw)).status)
        t.see('connections', u.conns)
        _, body = await t.admin('/clusters')
        t.see('flags', [l.rpartition('::')[2] for l in body.splitlines() if 'health_flags' in l])
        t.see('log', await t.logs())

    @case('on_demand_%s_busy_connection_of_an_ejected_host' % kind)
    async def _(t, kind=kind):
        """It carries its request to its end, and no further one."""
        gate = asyncio.Event()

        async def respond(m, n):
            if m['path'] == '/slow':
                await gate.wait()
                return resp(200, 'late')
            return resp(500)
        u = await t.up(respond=respond)
        if kind == 'original_dst':
            await t.start(simple(t, clusters=[od(OD)], log=LOG))
            kw = {'headers': to(u)}
        else:
            await t.start(simple(t, clusters=[dfp(extra=OD)], filters=[flt()], log=LOG))
            kw = {'host': at(u)}
        slow = asyncio.create_task(t.req('/slow', **kw))
        await t.until(lambda: u.reqs)
        await t.req('/', **kw)
        await t.stat_until('cluster.c1.outlier_detection.ejections_active', lambda v: v == 1)
        gate.set()
        t.see('slow', (await slow).status)
        t.see('closed', bool(await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)))
        t.see('stats', await t.stats(*CX))


@case()
async def on_demand_original_dst_over_ipv6(t):
    u = await t.up('six', addr='::1')
    await t.start(simple(t, clusters=[od()], log=LOG))
    t.see('r', (await t.req('/', headers=to(u))).h('x-up'))
    t.see('without brackets', (await t.req('/', headers=[('x-envoy-original-dst-host', '::1:%d' % u.port)])).status)
    t.see('no port', (await t.req('/', headers=[('x-envoy-original-dst-host', '127.0.0.1')])).status)
    t.see('port 0', (await t.req('/', headers=[('x-envoy-original-dst-host', '127.0.0.1:0')])).status)
    _, body = await t.admin('/clusters')
    t.see('clusters', sorted(t.mask(l) for l in body.splitlines() if 'hostname' in l))
    t.see('log', await t.logs())


@case()
async def on_demand_original_dst_header_wins_over_what_was_restored(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[od('{original_dst_lb_config: {upstream_port_override: %d}}' % a.port)], log=LOG))
    t.see('port of the header', (await t.req('/', headers=[('x-envoy-original-dst-host', '127.0.0.1:1')])).h('x-up'))


@case()
async def on_demand_original_dst_header_is_sent_on(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[od()], log=LOG))
    await t.req('/', headers=to(a))
    t.see('up', a.reqs[0], only={'x-envoy-original-dst-host'})


@case()
async def on_demand_original_dst_metadata_over_header(t):
    a, b = await t.up('a'), await t.up('b')
    meta = http_filter('envoy.filters.http.header_to_metadata', 'header_to_metadata.v3.Config', {'request_rules': [
        {'header': 'x-meta', 'on_header_present': {'metadata_namespace': 'place', 'key': 'to', 'type': 'STRING'}}]})
    await t.start(simple(t, clusters=[od({'original_dst_lb_config': {'metadata_key': {'key': 'place', 'path': [{'key': 'to'}]}}})], filters=[meta], log=LOG))
    t.see('both', (await t.req('/', headers=[*to(a), ('x-meta', '127.0.0.1:%d' % b.port)])).h('x-up'))
    t.see('header', (await t.req('/', headers=to(a))).h('x-up'))
    t.see('bad metadata', (await t.req('/', headers=[*to(a), ('x-meta', 'nowhere')])).h('x-up'))
    t.see('stats', await t.stats('cluster.c1.original_dst_host_invalid'))


@case()
async def on_demand_original_dst_with_health_checks(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[od({'health_checks': [{'timeout': '1s', 'interval': '0.1s', 'no_traffic_interval': '0.1s', 'unhealthy_threshold': 1, 'healthy_threshold': 1, 'http_health_check': {'path': '/hz'}}]})], log=LOG))
    t.see('r', (await t.req('/', headers=to(a))).status)
    t.see('checked', bool(await t.stat_until('cluster.c1.health_check.success', lambda v: v >= 1, 2)))
    t.see('again', (await t.req('/', headers=to(a))).status)


@case()
async def on_demand_forward_proxy_over_ipv6(t):
    u = await t.up('six', addr='::1')
    dns = cache('{dns_lookup_family: ALL}')
    await t.start(simple(t, clusters=[dfp(dns)], filters=[flt({'dns_cache_config': dns})], log=LOG))
    t.see('literal', (await t.req('/', host='[::1]:%d' % u.port)).h('x-up'))
    _, body = await t.admin('/clusters')
    t.see('clusters', sorted(t.mask(l) for l in body.splitlines() if 'hostname' in l))
    t.see('log', await t.logs())


@case()
async def on_demand_forward_proxy_family_of_literals(t):
    u = await t.up('six', addr='::1')
    await t.start(simple(t, clusters=[dfp()], filters=[flt()], log=LOG))
    t.see('status', (await t.req('/', host='[::1]:%d' % u.port)).status)
    t.see('log', await t.logs())
