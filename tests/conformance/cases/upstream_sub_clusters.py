"""Sub clusters of the dynamic forward proxy: a cluster for each name that requests want to go to."""
import os
import ssl

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %UPSTREAM_HOST_NAME% %UPSTREAM_CLUSTER%'
T_DFP = 'type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig'


def parent(sub=None, name='c1', extra=None, **config):
    typed = {'@type': T_DFP, 'sub_clusters_config': merge({}, Y(sub) or {}), **config}
    return merge({'name': name, 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED', 'dns_lookup_family': 'V4_ONLY', 'cluster_type': {'name': 'envoy.clusters.dynamic_forward_proxy', 'typed_config': typed}}, Y(extra) or {})


def flt(config=None, **more):
    return http_filter('envoy.filters.http.dynamic_forward_proxy', 'dynamic_forward_proxy.v3.FilterConfig', {'sub_cluster_config': Y(config) or {}, **more})


def world(t, sub=None, filter=None, extra=None, **kw):
    kw.setdefault('log', LOG)
    return simple(t, clusters=[parent(sub, extra=extra)], filters=[flt(filter)], **kw)


def at(u, name='localhost'):
    return '%s:%d' % (name, u.port)


async def members(t, words=''):
    _, body = await t.admin('/clusters')
    return sorted(t.mask(l) for l in body.splitlines() if not words or any(w in l for w in words.split()))


async def managed(t):
    return await t.stats(regex=r'^cluster_manager\.(active|warming)_clusters|^cluster_manager\.cluster_(added|modified|removed|updated)$')


def asked_of(dns):
    return Y('{typed_dns_resolver_config: {name: envoy.network.dns_resolver.cares, typed_config: {"@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, resolvers: [{socket_address: {address: 127.0.0.1, port_value: %d}}]}}}' % dns.port)


async def refused(t, clusters, filters=()):
    code, _ = await t.run_to_end(simple(t, clusters=clusters, filters=list(filters)), args=('--mode', 'validate'))
    return code


@case()
async def sub_clusters_serve(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(world(t))
    t.see('before', await managed(t))
    for u in (a, b, a):
        t.see('r%d' % len(t.obs), (await t.req('/', host=at(u))).h('x-up'))
    t.see('after', await managed(t))
    t.see('clusters', await members(t))
    t.see('up', a.reqs + b.reqs)
    t.see('log', await t.logs())


@case()
async def sub_clusters_stats(t):
    a = await t.up('a')
    await t.start(world(t))
    for _ in range(2):
        await t.req('/', host=at(a))
    await t.req('/', host='127.0.0.1:1')
    for key, name in (('there', 'DFPCluster_localhost_%d' % a.port), ('not_there', 'DFPCluster_127.0.0.1_1'), ('parent', 'c1')):
        values = await t.stats(*['cluster.%s.%s' % (name, k) for k in 'upstream_rq_total upstream_rq_200 upstream_rq_503 upstream_cx_total membership_total lb_healthy_panic upstream_cx_none_healthy update_attempt'.split()])
        t.see(key, {k.rpartition('.')[2]: v for k, v in values.items()})
    t.see('log', await t.logs())


@case()
async def sub_clusters_overflow(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(world(t, '{max_sub_clusters: 1}'))
    t.see('first', (await t.req('/', host=at(a))).status)
    t.see('second', await t.req('/', host=at(b)))
    t.see('first_again', (await t.req('/', host=at(a))).status)
    t.see('stats', await managed(t))
    t.see('log', await t.logs())


@case()
async def sub_clusters_unknown_name(t):
    await t.start(world(t))
    t.see('r', await t.req('/', host='no-such.invalid'))
    t.see('again', (await t.req('/', host='no-such.invalid')).status)
    t.see('clusters', await members(t))
    t.see('log', await t.logs())


@case()
async def sub_clusters_default_port_and_case(t):
    await t.start(world(t))
    for h in ('127.0.0.1', 'LOCALHOST:1', 'localhost:1', '[::1]:1', '[::1]', 'localhost:'):
        await t.req('/', host=h)
    t.see('clusters', await members(t, 'added_via'))
    t.see('log', await t.logs())


@case()
async def sub_clusters_ttl(t):
    a = await t.up('a')
    await t.start(world(t, '{sub_cluster_ttl: 0.3s}'))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('came', await managed(t))
    t.see('went', bool(await t.stat_until('cluster_manager.active_clusters', lambda v: v == 1)))
    t.see('gone', await managed(t))
    t.see('clusters', await members(t, 'added_via'))
    t.see('again', (await t.req('/', host=at(a))).status)


@case()
async def sub_clusters_without_the_filter(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[parent()], log=LOG))
    t.see('r', await t.req('/', host=at(a)))
    t.see('stats', await t.stats('cluster.c1.upstream_cx_none_healthy', 'cluster.c1.upstream_rq_503'))
    t.see('log', await t.logs())


@case()
async def sub_clusters_made_by_one_route_serve_another(t):
    """Where a cluster of the name is there, the filter is not needed."""
    a = await t.up('a')
    off = {'envoy.filters.http.dynamic_forward_proxy': {'@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', 'disabled': True}}
    routes = [{'match': {'prefix': '/x'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': off}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}]
    await t.start(world(t, routes=routes))
    t.see('r', [(await t.req(p, host=at(a))).status for p in ('/x', '/', '/x')])
    t.see('log', await t.logs())


@case()
async def sub_clusters_named_by_a_route(t):
    """They are clusters as any other, and are found by their names."""
    a = await t.up('a')
    routes = [{'match': {'prefix': '/x'}, 'route': {'cluster': 'DFPCluster:localhost:%d' % a.port}}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}]
    await t.start(world(t, route_config={'name': 'r', 'validate_clusters': False, 'virtual_hosts': [{'name': 'v', 'domains': ['*'], 'routes': routes}]}))
    t.see('r', [(await t.req(p, host=at(a))).status for p in ('/x', '/', '/x')])
    t.see('log', await t.logs())


@case()
async def sub_clusters_filter_of_the_other_kind(t):
    """A filter with a DNS cache before a cluster with sub clusters, and the other way around."""
    a = await t.up('a')
    cache = {'name': 'dfp', 'dns_lookup_family': 'V4_ONLY'}
    other = http_filter('envoy.filters.http.dynamic_forward_proxy', 'dynamic_forward_proxy.v3.FilterConfig', {'dns_cache_config': cache})
    await t.start(simple(t, clusters=[parent()], filters=[other], log=LOG))
    t.see('r', await t.req('/', host=at(a)))
    t.see('log', await t.logs())


@case()
async def sub_clusters_host_rewrite_of_route(t):
    a = await t.up('a')
    per = {'envoy.filters.http.dynamic_forward_proxy': {'@type': 'type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig', 'host_rewrite_literal': at(a)}}
    await t.start(world(t, routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': per}]))
    t.see('r', (await t.req('/', host='elsewhere.example')).h('x-up'))
    t.see('up', a.reqs, only={'host'})
    t.see('log', await t.logs())


@case()
async def sub_clusters_host_rewrite_of_the_action(t):
    a = await t.up('a')
    await t.start(world(t, routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'host_rewrite_literal': at(a)}}]))
    t.see('r', (await t.req('/', host='localhost:1')).status)
    t.see('clusters', await members(t, 'added_via'))
    t.see('log', await t.logs())


@case()
async def sub_clusters_limits_of_the_cluster(t):
    """Sub clusters have the settings of the cluster."""
    a = await t.up('a')
    await t.start(world(t, extra='{circuit_breakers: {thresholds: [{max_requests: 7, max_connections: 5}]}, outlier_detection: {consecutive_5xx: 3}}'))
    await t.req('/', host=at(a))
    t.see('clusters', await members(t, 'max_ success_rate'))


@case()
async def sub_clusters_checked(t):
    """Active checks hold a sub cluster back until its first check is done."""
    a = await t.up('a')
    checks = '{health_checks: [{timeout: 1s, interval: 60s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /ok}}]}'
    await t.start(world(t, extra=checks))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('clusters', await members(t, 'health_flags'))
    t.see('paths', [m.path for m in a.reqs])
    t.see('log', await t.logs())


@case()
async def sub_clusters_warming_timeout(t):
    """What takes longer to come up than the filter waits for is answered in its stead."""
    u = t.silent()
    checks = '{health_checks: [{timeout: 10s, interval: 60s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /ok}}]}'
    await t.start(world(t, filter='{cluster_init_timeout: 0.2s}', extra=checks))
    t.see('r', await t.req('/', host=at(u, '127.0.0.1')))
    t.see('stats', await managed(t))
    t.see('clusters', await members(t, 'added_via'))
    t.see('log', await t.logs())


async def dump(t):
    _, b = await t.admin('/config_dump?resource=dynamic_active_clusters')
    found = json.loads(b)
    for c in found['configs']:
        c.pop('last_updated', None)
    return t.mask(json.dumps(found, sort_keys=True, indent=1)).splitlines()


@case()
async def sub_clusters_dump(t):
    a = await t.up('a')
    await t.start(world(t))
    await t.req('/', host=at(a))
    t.see('dump', await dump(t))
    _, b = await t.admin('/config_dump?resource=static_clusters')
    t.see('parent', [l for l in b.splitlines() if 'name' in l])


@case()
async def sub_clusters_dns(t):
    """What says how names are looked up in place of the cluster's own fields."""
    a = await t.up('a')
    await t.start(world(t, '{dns_cluster_config: {dns_lookup_family: V4_ONLY, all_addresses_in_single_endpoint: true}}'))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('dump', await dump(t))


@case()
async def sub_clusters_filter_state(t):
    """The filter looks at it where it may, the cluster always."""
    a, b = await t.up('a'), await t.up('b')
    objs = [{'object_key': 'envoy.upstream.dynamic_' + k, 'format_string': {'text_format_source': {'inline_string': v}}} for k, v in (('host', 'localhost'), ('port', str(a.port)))]
    f = http_filter('fs', 'set_filter_state.v3.Config', {'on_request_headers': objs})
    await t.start(simple(t, clusters=[parent()], filters=[f, flt(allow_dynamic_host_from_filter_state=True)], log=LOG))
    t.see('r', (await t.req('/', host=at(b))).h('x-up'))
    t.see('clusters', await members(t, 'added_via'))
    t.see('log', await t.logs())


@case()
async def sub_clusters_filter_state_not_allowed(t):
    a, b = await t.up('a'), await t.up('b')
    objs = [{'object_key': 'envoy.upstream.dynamic_' + k, 'format_string': {'text_format_source': {'inline_string': v}}} for k, v in (('host', 'localhost'), ('port', str(a.port)))]
    f = http_filter('fs', 'set_filter_state.v3.Config', {'on_request_headers': objs})
    await t.start(simple(t, clusters=[parent()], filters=[f, flt()], log=LOG))
    t.see('r', (await t.req('/', host=at(b))).status)
    t.see('clusters', await members(t, 'added_via'))
    t.see('log', await t.logs())


@case()
async def sub_clusters_that_cannot_be(t):
    """A policy that no such cluster can have is found with the first request."""
    a = await t.up('a')
    await t.start(world(t, '{lb_policy: LOAD_BALANCING_POLICY_CONFIG}', '{cluster_init_timeout: 0.3s}'))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('clusters', await members(t, 'added_via'))
    t.see('log', await t.logs())


@case()
async def sub_clusters_filter_beside_a_dns_cache(t):
    a = await t.up('a')
    c = parent()
    c['cluster_type']['typed_config'] = {'@type': T_DFP, 'dns_cache_config': {'name': 'dfp', 'dns_lookup_family': 'V4_ONLY'}}
    await t.start(simple(t, clusters=[c], filters=[flt()], log=LOG))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('log', await t.logs())


@case()
async def sub_clusters_tls(t):
    """The name is asked for, and the certificate has to be for it."""
    seen = []
    d = certs()
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(os.path.join(d, 'up.crt'), os.path.join(d, 'up.key'))
    ctx.sni_callback = lambda _, name, __: seen.append(name)
    a = await t.up('a', tls=ctx)
    dns = await t.dns({'up.example': ['127.0.0.1'], 'other.example': ['127.0.0.1']})
    tls = {'name': 'tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', 'common_tls_context': {'validation_context': {'trusted_ca': {'filename': os.path.join(d, 'ca.crt')}}}}}
    await t.start(world(t, extra={'transport_socket': tls, **asked_of(dns)}, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST_NAME%'))
    t.see('r', [(await t.req('/', host=at(a, name))).status for name in ('up.example', 'other.example')])
    t.see('sni', seen)
    t.see('log', await t.logs())


@case()
async def sub_clusters_preresolved(t):
    a = await t.up('a')
    await t.start(world(t, '{preresolve_clusters: [{address: localhost, port_value: %d}]}' % a.port))
    t.see('before', await members(t, 'added_via'))
    t.see('managed', await managed(t))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('after', await members(t, 'added_via'))


@case()
async def sub_clusters_of_two_clusters(t):
    """Clusters that want the same name share its sub cluster, whose settings are the first one's."""
    a = await t.up('a')
    two = [parent(extra='{metadata: {filter_metadata: {m: {k: one}}}}'), parent(name='c2', extra='{metadata: {filter_metadata: {m: {k: two}}}}')]
    routes = '[{match: {prefix: /x}, route: {cluster: c2}}, {match: {prefix: /}, route: {cluster: c1}}]'
    await t.start(simple(t, clusters=two, filters=[flt()], routes=routes, log=LOG + ' %CLUSTER_METADATA(m:k)%'))
    t.see('r', [(await t.req(p, host=at(a))).status for p in ('/', '/x', '/')])
    t.see('managed', await managed(t))
    t.see('log', await t.logs())


@case()
async def sub_clusters_balance(t):
    """A name with two addresses, by the policy of sub clusters."""
    u = await t.up('u')
    v = await t.up('v', addr='127.0.0.2', port=u.port)
    d = await t.dns({'two.example': ['127.0.0.1', '127.0.0.2']})
    await t.start(world(t, '{lb_policy: ROUND_ROBIN}', extra=asked_of(d)))
    got = [(await t.req('/', host=at(u, 'two.example'))).h('x-up') for _ in range(4)]
    t.see('got', sorted(got))


@case()
async def sub_clusters_refused(t):
    t.see('exit', {
        'ok': await refused(t, [parent()], [flt()]),
        'provided': await refused(t, [parent('{lb_policy: CLUSTER_PROVIDED}')]),
        'none': await refused(t, [parent('{lb_policy: LOAD_BALANCING_POLICY_CONFIG}')]),
        'least': await refused(t, [parent('{lb_policy: LEAST_REQUEST}')]),
        'max_zero': await refused(t, [parent('{max_sub_clusters: 0}')]),
        'ttl_zero': await refused(t, [parent('{sub_cluster_ttl: 0s}')]),
        'init_zero': await refused(t, [parent()], [flt('{cluster_init_timeout: 0s}')]),
        'filter_alone': await refused(t, [cluster('c1', [])], [flt()]),
        'round_robin': await refused(t, [parent(extra='{lb_policy: ROUND_ROBIN}')]),
        'dns': await refused(t, [parent('{dns_cluster_config: {}}')]),
        'dns_family': await refused(t, [parent('{dns_cluster_config: {dns_lookup_family: V4_ONLY}}')]),
        'saved': await refused(t, [parent()], [flt(save_upstream_address=True)]),
    })
