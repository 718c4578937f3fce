"""Which servers are asked for names, for what, and what comes of their answers."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_HOST_NAME%'
T_CARES = 'type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig'
T_GAI = 'type.googleapis.com/envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig'
T_DNS = 'type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster'
T_DFP = 'type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig'
UPDATES = ['update_success', 'update_failure', 'membership_total', 'membership_change']


def cares(*servers, **kw):
    return {'name': 'envoy.network.dns_resolver.cares', 'typed_config': {'@type': T_CARES, 'resolvers': [{'socket_address': {'address': d.addr, 'port_value': d.port}} for d in servers], **kw}}


def named(u, extra=None, kind='STRICT_DNS', host='a.test', name='c1', family='V4_ONLY'):
    e = {'endpoint': {'address': {'socket_address': {'address': host, 'port_value': u.port}}}}
    return cluster(name, [], type=kind, extra=merge({'dns_lookup_family': family, 'dns_refresh_rate': '60s'}, Y(extra) or {}), localities=[{'lb_endpoints': [e]}])


async def updates(t, *more):
    return await t.stats(*('cluster.c1.' + n for n in [*UPDATES, *more]))


async def tell(t, d):
    """What was asked, each question once."""
    t.see('asked', sorted(map(list, set(d.asked))))


async def run(t, u, c, extra=None, n=1, **kw):
    await t.start(simple(t, clusters=[c], log=LOG, extra=extra, **kw))
    for i in range(n):
        t.see('r%d' % i, (await t.req('/')).status)
    t.see('stats', await updates(t))


@case()
async def of_a_cluster(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    await run(t, u, named(u, {'typed_dns_resolver_config': cares(d)}))
    t.see('dns', await t.stats(regex=r'^dns\.'))
    await tell(t, d)
    t.see('log', await t.logs())


@case()
async def of_the_bootstrap(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    await run(t, u, named(u), {'typed_dns_resolver_config': cares(d)})
    await tell(t, d)


@case()
async def a_clusters_own_goes_first(t):
    u, d, e = await t.up(), await t.dns({'a.test': ['127.0.0.1']}), await t.dns({}, 'dns2')
    await run(t, u, named(u, {'typed_dns_resolver_config': cares(d)}), {'typed_dns_resolver_config': cares(e)})
    await tell(t, d)
    t.see('the other', e.asked)


@case()
async def old_resolution_config(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    old = {'resolvers': [{'socket_address': {'address': d.addr, 'port_value': d.port}}], 'dns_resolver_options': {'use_tcp_for_dns_lookups': True}}
    await run(t, u, named(u, {'dns_resolution_config': old}))
    await tell(t, d)


@case()
async def old_resolvers(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    await run(t, u, named(u, {'dns_resolvers': [{'socket_address': {'address': d.addr, 'port_value': d.port}}]}))
    await tell(t, d)


@case()
async def old_resolvers_over_tcp(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    await run(t, u, named(u, {'dns_resolvers': [{'socket_address': {'address': d.addr, 'port_value': d.port}}], 'use_tcp_for_dns_lookups': True}))
    await tell(t, d)


@case()
async def old_in_the_bootstrap(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    old = {'resolvers': [{'socket_address': {'address': d.addr, 'port_value': d.port}}]}
    await run(t, u, named(u), {'dns_resolution_config': old})
    await tell(t, d)


@case()
async def old_tcp_in_the_bootstrap(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    old = {'resolvers': [{'socket_address': {'address': d.addr, 'port_value': d.port}}]}
    await run(t, u, named(u), {'dns_resolution_config': old, 'use_tcp_for_dns_lookups': True})
    await tell(t, d)


@case()
async def typed_goes_before_old(t):
    u, d, e = await t.up(), await t.dns({'a.test': ['127.0.0.1']}), await t.dns({}, 'dns2')
    old = {'resolvers': [{'socket_address': {'address': e.addr, 'port_value': e.port}}]}
    await run(t, u, named(u, {'dns_resolution_config': old, 'typed_dns_resolver_config': cares(d)}))
    await tell(t, d)
    t.see('the other', e.asked)


@case()
async def over_tcp(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    await run(t, u, named(u, {'typed_dns_resolver_config': cares(d, dns_resolver_options={'use_tcp_for_dns_lookups': True})}))
    await tell(t, d)


@case()
async def tcp_of_the_cluster_beside_typed(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    await run(t, u, named(u, {'typed_dns_resolver_config': cares(d), 'use_tcp_for_dns_lookups': True}))
    await tell(t, d)


FAMILIES = {'both.test': ['127.0.0.1', '::1'], 'four.test': ['127.0.0.1'], 'six.test': ['::1']}


def of_family(family, name):
    @case('family_%s_%s' % (family.lower(), name.split('.')[0]))
    async def _(t):
        d, u = await t.dns(FAMILIES), await t.up()
        await t.up('u6', addr='::1', port=u.port)
        await t.start(simple(t, clusters=[named(u, {'typed_dns_resolver_config': cares(d)}, host=name, family=family)], log=LOG))
        t.see('r', [(await t.req('/')).status for _ in range(2)])
        t.see('total', await t.stats('cluster.c1.membership_total'))
        await tell(t, d)
        t.see('log', sorted(await t.logs()))


for f in ('AUTO', 'V4_ONLY', 'V6_ONLY', 'V4_PREFERRED', 'ALL'):
    for n in FAMILIES:
        of_family(f, n)


@case()
async def logical_with_several_addresses(t):
    d, u = await t.dns({'a.test': ['127.0.0.1', '127.0.0.2', '127.0.0.3']}), t.dead()
    b = await t.up('b', addr='127.0.0.2', port=u.port)
    await run(t, u, named(u, {'typed_dns_resolver_config': cares(d)}, kind='LOGICAL_DNS'))
    _, body = await t.admin('/clusters')
    t.see('lines', sorted(t.mask(l) for l in body.splitlines() if 'hostname' in l))
    t.see('log', await t.logs())


@case()
async def logical_with_both_families(t):
    d, u = await t.dns(FAMILIES), t.dead()
    b = await t.up('b', port=u.port)
    await run(t, u, named(u, {'typed_dns_resolver_config': cares(d)}, kind='LOGICAL_DNS', host='both.test', family='ALL'))
    t.see('log', await t.logs())


@case()
async def logical_by_the_new_type(t):
    d, u = await t.dns({'a.test': ['127.0.0.1', '127.0.0.2']}), t.dead()
    b = await t.up('b', addr='127.0.0.2', port=u.port)
    c = named(u)
    for k in ('type', 'dns_lookup_family', 'dns_refresh_rate'):
        del c[k]
    c['cluster_type'] = {'name': 'envoy.cluster.dns', 'typed_config': {'@type': T_DNS, 'dns_lookup_family': 'V4_ONLY', 'all_addresses_in_single_endpoint': True, 'typed_dns_resolver_config': cares(d)}}
    await run(t, u, c)
    await tell(t, d)
    t.see('log', await t.logs())


@case()
async def a_failed_lookup_keeps_the_hosts(t):
    records = {'a.test': ['127.0.0.1']}
    u, d = await t.up(), await t.dns(records)
    await t.start(simple(t, clusters=[named(u, {'typed_dns_resolver_config': cares(d), 'dns_refresh_rate': '0.1s'})]))
    t.see('r', (await t.req('/')).status)
    records['a.test'] = SERVFAIL
    t.see('failed', bool(await t.stat_until('cluster.c1.update_failure', lambda v: v >= 1)))
    t.see('still', (await t.req('/')).status)
    t.see('total', await t.stats('cluster.c1.membership_total', 'cluster.c1.membership_change'))


@case()
async def a_name_that_is_gone(t):
    records = {'a.test': ['127.0.0.1']}
    u, d = await t.up(), await t.dns(records)
    await t.start(simple(t, clusters=[named(u, {'typed_dns_resolver_config': cares(d), 'dns_refresh_rate': '0.1s'})]))
    t.see('r', (await t.req('/')).status)
    del records['a.test']
    n = (await t.stats('cluster.c1.update_success'))['cluster.c1.update_success']
    t.see('asked again', bool(await t.stat_until('cluster.c1.update_success', lambda v: v >= n + 2)))
    t.see('then', (await t.req('/')).status)
    t.see('total', await t.stats('cluster.c1.membership_total', 'cluster.c1.update_failure'))


@case()
async def a_logical_name_that_is_gone(t):
    records = {'a.test': ['127.0.0.1']}
    u, d = await t.up(), await t.dns(records)
    await t.start(simple(t, clusters=[named(u, {'typed_dns_resolver_config': cares(d), 'dns_refresh_rate': '0.1s'}, kind='LOGICAL_DNS')]))
    t.see('r', (await t.req('/')).status)
    del records['a.test']
    n = len(d.asked)
    t.see('asked again', bool(await t.until(lambda: len(d.asked) > n + 3)))
    t.see('then', (await t.req('/')).status)
    t.see('total', await t.stats('cluster.c1.membership_total'))


@case()
async def addresses_come_and_go(t):
    records = {'a.test': ['127.0.0.1']}
    u, d = await t.up(), await t.dns(records)
    await t.up('v', addr='127.0.0.2', port=u.port)
    await t.start(simple(t, clusters=[named(u, {'typed_dns_resolver_config': cares(d), 'dns_refresh_rate': '0.1s'})]))
    records['a.test'] = ['127.0.0.2', '127.0.0.1']
    await t.stat_until('cluster.c1.membership_total', lambda v: v == 2)
    t.see('two', sorted([(await t.req('/')).body for _ in range(2)]))
    records['a.test'] = ['127.0.0.2']
    await t.stat_until('cluster.c1.membership_total', lambda v: v == 1)
    t.see('one', [(await t.req('/')).body for _ in range(2)])
    t.see('change', await t.stats('cluster.c1.membership_change'))


@case()
async def ttl_decides(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']}, ttl=1)
    await t.start(simple(t, clusters=[named(u, {'typed_dns_resolver_config': cares(d), 'respect_dns_ttl': True})]))
    t.see('again', bool(await t.stat_until('cluster.c1.update_success', lambda v: v >= 2, 3)))


@case()
async def ttl_of_the_new_type_is_raised(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']}, ttl=1)
    c = named(u)
    for k in ('type', 'dns_lookup_family', 'dns_refresh_rate'):
        del c[k]
    c['cluster_type'] = {'name': 'envoy.cluster.dns', 'typed_config': {'@type': T_DNS, 'dns_lookup_family': 'V4_ONLY', 'respect_dns_ttl': True, 'dns_min_refresh_rate': '30s', 'typed_dns_resolver_config': cares(d)}}
    await t.start(simple(t, clusters=[c]))
    t.see('r', (await t.req('/')).status)
    await asyncio.sleep(1.6)
    t.see('stats', await updates(t))


@case()
async def no_server_answers(t):
    u, d = await t.up(), await t.dns({'a.test': None})
    await t.start(simple(t, clusters=[named(u, {'typed_dns_resolver_config': cares(d, query_timeout_seconds=1, query_tries=1), 'wait_for_warm_on_init': False})], log=LOG))
    t.see('failed', bool(await t.stat_until('cluster.c1.update_failure', lambda v: v >= 1, 4)))
    t.see('dns', await t.stats(regex=r'^dns\.'))
    await tell(t, d)
    t.see('r', (await t.req('/')).status)


@case()
async def tries_go_to_the_next_server(t):
    u, d, e = await t.up(), await t.dns({'a.test': None}), await t.dns({'a.test': ['127.0.0.1']}, 'dns2')
    await t.start(simple(t, clusters=[named(u, {'typed_dns_resolver_config': cares(d, e, query_timeout_seconds=1, query_tries=2)})], log=LOG))
    t.see('r', (await t.req('/')).status)
    t.see('asked', [sorted(map(list, set(x.asked))) for x in (d, e)])
    t.see('dns', await t.stats(regex=r'^dns\.'))


@case()
async def a_server_that_fails(t):
    u, d, e = await t.up(), await t.dns({'a.test': SERVFAIL}), await t.dns({'a.test': ['127.0.0.1']}, 'dns2')
    await run(t, u, named(u, {'typed_dns_resolver_config': cares(d, e)}))


@case()
async def resolvers_as_fallback_of_none(t):
    u = await t.up()
    d = await t.dns({'a.test': ['127.0.0.1']})
    await t.start(simple(t, clusters=[named(u, {'typed_dns_resolver_config': cares(d, use_resolvers_as_fallback=True), 'wait_for_warm_on_init': False})]))
    await asyncio.sleep(0.3)
    t.see('asked', d.asked)


@case()
async def getaddrinfo(t):
    u = await t.up()
    gai = {'name': 'envoy.network.dns_resolver.getaddrinfo', 'typed_config': {'@type': T_GAI}}
    await run(t, u, named(u, {'typed_dns_resolver_config': gai}, host='localhost'))
    t.see('dns', await t.stats(regex=r'^dns\.'))
    t.see('log', await t.logs())


@case()
async def getaddrinfo_unknown_name(t):
    u = await t.up()
    gai = {'name': 'envoy.network.dns_resolver.getaddrinfo', 'typed_config': {'@type': T_GAI, 'num_retries': 1}}
    await t.start(simple(t, clusters=[named(u, {'typed_dns_resolver_config': gai, 'wait_for_warm_on_init': False}, host='no-such.invalid')]))
    t.see('counted', bool(await t.until(lambda: True)))


def refused(name, typed):
    @case('refused_' + name)
    async def _(t):
        u = await t.up()
        t.see('exit', (await t.run_to_end(simple(t, clusters=[named(u, {'typed_dns_resolver_config': typed})]), args=('--mode', 'validate')))[0])


refused('apple', {'name': 'envoy.network.dns_resolver.apple', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.network.dns_resolver.apple.v3.AppleDnsResolverConfig'}})
refused('without_config', {'name': 'envoy.network.dns_resolver.cares'})
refused('unknown', {'name': 'x', 'typed_config': {'@type': 'type.googleapis.com/envoy.config.core.v3.Address'}})
refused('name_as_server', {'name': 'x', 'typed_config': {'@type': T_CARES, 'resolvers': [{'socket_address': {'address': 'dns.test', 'port_value': 53}}]}})
refused('pipe_as_server', {'name': 'x', 'typed_config': {'@type': T_CARES, 'resolvers': [{'pipe': {'path': '/tmp/x'}}]}})
refused('all_options', {'name': 'x', 'typed_config': {'@type': T_CARES, 'rotate_nameservers': True, 'udp_max_queries': 5, 'max_udp_channel_duration': '1s', 'reinit_channel_on_timeout': True, 'dns_resolver_options': {'no_default_search_domain': True}, 'edns0_max_payload_size': 1232}})
refused('qcache', {'name': 'x', 'typed_config': {'@type': T_CARES, 'qcache_max_ttl': 5}})


def dfp(d, extra=None):
    cache = merge({'name': 'dfp', 'dns_lookup_family': 'V4_ONLY', 'typed_dns_resolver_config': cares(d)}, Y(extra) or {})
    return {'name': 'c1', 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED', 'cluster_type': {'name': 'envoy.clusters.dynamic_forward_proxy', 'typed_config': {'@type': T_DFP, 'dns_cache_config': cache}}}, http_filter('envoy.filters.http.dynamic_forward_proxy', 'dynamic_forward_proxy.v3.FilterConfig', {'dns_cache_config': cache})


@case()
async def of_a_forward_proxy(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    c, f = dfp(d)
    await t.start(simple(t, clusters=[c], filters=[f], log=LOG))
    t.see('r', (await t.req('/', host='a.test:%d' % u.port)).status)
    await tell(t, d)
    t.see('log', await t.logs())


@case()
async def a_forward_proxys_name_with_several_addresses(t):
    d, u = await t.dns({'a.test': ['127.0.0.1', '127.0.0.2']}), t.dead()
    b = await t.up('b', addr='127.0.0.2', port=u.port)
    c, f = dfp(d)
    await t.start(simple(t, clusters=[c], filters=[f], log=LOG))
    t.see('r', (await t.req('/', host='a.test:%d' % u.port)).status)
    t.see('log', await t.logs())


@case()
async def a_forward_proxy_that_asks_no_more_after_a_failure(t):
    d, u = await t.dns({'a.test': SERVFAIL}), await t.up()
    c, f = dfp(d, '{disable_dns_refresh_on_failure: true, dns_refresh_rate: 0.2s, dns_failure_refresh_rate: {base_interval: 0.1s}}')
    await t.start(simple(t, clusters=[c], filters=[f], log=LOG))
    t.see('r', (await t.req('/', host='a.test:%d' % u.port)).status)
    t.see('stats', await t.stats(regex=r'^dns_cache\.dfp\.(host|num|dns_query)'))
    await asyncio.sleep(0.6)
    t.see('later', await t.stats(regex=r'^dns_cache\.dfp\.(host|num|dns_query)'))
    t.see('again', (await t.req('/', host='a.test:%d' % u.port)).status)
    t.see('at last', await t.stats(regex=r'^dns_cache\.dfp\.(host|num|dns_query)'))


@case()
async def a_forward_proxy_that_filters_addresses(t):
    d, u = await t.dns({'a.test': ['127.0.0.1'], 'b.test': ['127.0.0.2']}), await t.up()
    c, f = dfp(d, '{resolved_address_filter: {ranges: [{address_prefix: 127.0.0.2, prefix_len: 32}], invert_match: false}}')
    code, _ = await t.run_to_end(simple(t, clusters=[c], filters=[f], log=LOG), args=('--mode', 'validate'))
    t.see('exit', code)
    if code == 0:
        await t.start(simple(t, clusters=[c], filters=[f], log=LOG + ' %RESPONSE_CODE_DETAILS%'))
        t.see('a', (await t.req('/', host='a.test:%d' % u.port)).status)
        t.see('b', (await t.req('/', host='b.test:%d' % u.port)).status)
        t.see('stats', await t.stats(regex=r'^dns_cache\.dfp\.'))
        t.see('log', await t.logs())


@case()
async def a_router_that_waits_for_a_name_watches_the_client(t):
    """Without the filter it is the router that waits."""
    d, u = await t.dns({'a.test': None}), await t.up()
    c, _ = dfp(d, '{dns_query_timeout: 2s}')
    await t.start(simple(t, clusters=[c], log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'))
    conn = await t.conn()
    conn.send(build('/', host='a.test:%d' % u.port))
    await t.stat_until('http.in.downstream_rq_active', lambda v: v == 1)
    conn.close()
    began = time.monotonic()
    await t.stat_until('http.in.downstream_rq_active', lambda v: v == 0)
    t.see('at once', time.monotonic() - began < 1)
    t.see('stats', await t.stats('http.in.downstream_rq_rx_reset', 'http.in.downstream_cx_destroy_remote_active_rq', 'cluster.c1.upstream_rq_total'))
    t.see('log', await t.logs())


@case()
async def a_router_that_waits_for_a_name_has_the_querys_time(t):
    d, u = await t.dns({'a.test': None}), await t.up()
    c, _ = dfp(d, '{dns_query_timeout: 1s}')
    await t.start(simple(t, clusters=[c], log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%', routes='[{match: {prefix: /}, route: {cluster: c1, timeout: 0.3s}}]'))
    began = time.monotonic()
    t.see('r', await t.req('/', host='a.test:%d' % u.port))
    took = time.monotonic() - began
    t.see('took', 'the route' if took < 0.8 else 'the query')
    t.see('log', await t.logs())


@case()
async def a_router_that_waits_for_a_name_has_the_streams_idle_time(t):
    d, u = await t.dns({'a.test': None}), await t.up()
    c, _ = dfp(d, '{dns_query_timeout: 2s}')
    await t.start(simple(t, clusters=[c], log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%', opts='{stream_idle_timeout: 0.3s}'))
    began = time.monotonic()
    t.see('r', await t.req('/', host='a.test:%d' % u.port))
    t.see('at once', time.monotonic() - began < 1.5)
    t.see('log', await t.logs())


@case()
async def a_router_that_waits_for_a_name_keeps_the_body(t):
    d, u = await t.dns({'a.test': ['127.0.0.1']}), await t.up()
    c, _ = dfp(d)
    await t.start(simple(t, clusters=[c]))
    t.see('r', (await t.req('/', method='POST', body='abc', host='a.test:%d' % u.port)).status)
    t.see('up', u.reqs, only={'host', 'content-length'})
