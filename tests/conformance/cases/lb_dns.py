"""DNS clusters and plain balancing."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_HOST_NAME%'


def named(name, u, extra=None, kind='STRICT_DNS', host='localhost', hostname=None):
    e = {'endpoint': {'address': {'socket_address': {'address': host, 'port_value': u.port}}}}
    if hostname:
        e['endpoint']['hostname'] = hostname
    return cluster(name, [], type=kind, extra=merge({'dns_lookup_family': 'V4_ONLY'}, Y(extra) or {}), localities=[{'lb_endpoints': [e]}])


@case()
async def dns_stats(t):
    u = await t.up()
    await t.start(simple(t, clusters=[named('c1', u)], log=LOG))
    await t.req('/')
    t.see('stats', await t.stats('cluster.c1.update_attempt', 'cluster.c1.update_success', 'cluster.c1.update_failure', 'cluster.c1.update_no_rebuild', 'cluster.c1.membership_total', 'cluster.c1.membership_change'))
    t.see('log', await t.logs())


@case()
async def dns_refresh_rate(t):
    u = await t.up()
    await t.start(simple(t, clusters=[named('c1', u, '{dns_refresh_rate: 0.05s}')]))
    t.see('refreshed', bool(await t.stat_until('cluster.c1.update_success', lambda v: v >= 3, 3)))
    t.see('stats', await t.stats('cluster.c1.membership_total', 'cluster.c1.membership_change'))


@case()
async def dns_failure_counts(t):
    u = await t.up()
    await t.start(simple(t, clusters=[named('c1', u, '{dns_failure_refresh_rate: {base_interval: 0.1s}}', host='no-such.invalid')], log='%RESPONSE_CODE% %RESPONSE_FLAGS%'))
    t.see('counted', bool(await t.stat_until('cluster.c1.update_failure', lambda v: v >= 2, 4)))
    t.see('r', await t.req('/'))
    t.see('stats', await t.stats('cluster.c1.update_success', 'cluster.c1.membership_total'))
    t.see('log', await t.logs())


@case()
async def dns_ip_literal(t):
    u = await t.up()
    await t.start(simple(t, clusters=[named('c1', u, host='127.0.0.1'), named('c2', u, kind='LOGICAL_DNS', host='127.0.0.1')], log=LOG, routes='[{match: {prefix: /l}, route: {cluster: c2}}, {match: {prefix: /}, route: {cluster: c1}}]'))
    t.see('strict', (await t.req('/')).status)
    t.see('logical', (await t.req('/l')).status)
    t.see('log', await t.logs())


@case()
async def dns_auto_host_rewrite(t):
    u = await t.up()
    await t.start(simple(t, clusters=[named('c1', u), named('c2', u, hostname='named.example')], routes='[{match: {prefix: /h}, route: {cluster: c2, auto_host_rewrite: true}}, {match: {prefix: /}, route: {cluster: c1, auto_host_rewrite: true}}]'))
    await t.req('/')
    await t.req('/h')
    t.see('up', u.reqs, only={'host', 'x-envoy-original-host'})


@case()
async def dns_clusters_admin(t):
    u = await t.up()
    await t.start(simple(t, clusters=[named('c1', u)]))
    st, b = await t.admin('/clusters')
    t.see('lines', sorted(t.mask(l) for l in b.splitlines() if 'hostname' in l or 'health_flags' in l))


@case()
async def static_name_is_refused(t):
    u = await t.up()
    ok, _ = await t.run_to_end(simple(t), args=('--mode', 'validate'))
    bad, _ = await t.run_to_end(simple(t, clusters=[named('c1', u, kind='STATIC')]), args=('--mode', 'validate'))
    t.see('exit', [ok, bad])


@case()
async def logical_dns_two_endpoints_refused(t):
    u = await t.up()
    c = named('c1', u, kind='LOGICAL_DNS')
    ok, _ = await t.run_to_end(simple(t, clusters=[c]), args=('--mode', 'validate'))
    c['load_assignment']['endpoints'][0]['lb_endpoints'] *= 2
    bad, _ = await t.run_to_end(simple(t, clusters=[c]), args=('--mode', 'validate'))
    t.see('exit', [ok, bad])


@case()
async def round_robin_skips_unhealthy(t):
    us = [await t.up('h%d' % i) for i in range(4)]
    await t.start(simple(t, clusters=[cluster('c1', [lbe(us[0]), lbe(us[1], health_status='UNHEALTHY'), lbe(us[2]), lbe(us[3], health_status='DRAINING')], '{common_lb_config: {healthy_panic_threshold: {value: 0}}}')]))
    got = [(await t.req('/')).h('x-up') for _ in range(8)]
    t.see('counts', {k: got.count(k) for k in sorted(set(got))})


@case()
async def host_weight_zero_refused(t):
    u = await t.up()
    bad, _ = await t.run_to_end(simple(t, clusters=[cluster('c1', [lbe(u, load_balancing_weight=0)])]), args=('--mode', 'validate'))
    ok, _ = await t.run_to_end(simple(t, clusters=[cluster('c1', [lbe(u, load_balancing_weight=1)])]), args=('--mode', 'validate'))
    t.see('exit', [bad, ok])


@case()
async def lb_policy_by_extension(t):
    us = [await t.up('h%d' % i) for i in range(2)]
    pol = {'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'x', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin'}}}]}}
    await t.start(simple(t, clusters=[cluster('c1', us, pol)]))
    got = [(await t.req('/')).h('x-up') for _ in range(8)]
    t.see('counts', {k: got.count(k) for k in sorted(set(got))})


@case()
async def unix_socket_upstream(t):
    got = []

    async def serve(r, w):
        head = await r.readuntil(b'\r\n\r\n')
        got.append(head.split(b'\r\n')[0].decode())
        w.write(resp(200, 'unix'))
        await w.drain()
        w.close()
    srv = await asyncio.start_unix_server(serve, t.path('up.sock'))
    await t.start(simple(t, clusters=[cluster('c1', [{'endpoint': {'address': {'pipe': {'path': t.path('up.sock')}}}}])], log='%UPSTREAM_HOST%|%UPSTREAM_REMOTE_ADDRESS%'))
    t.see('r', await t.req('/x'))
    t.see('got', got)
    t.see('log', await t.logs())
    srv.close()
