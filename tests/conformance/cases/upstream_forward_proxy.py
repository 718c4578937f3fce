"""Dynamic forward proxy: the request's host is looked up, and is the host."""
import os
import ssl

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %UPSTREAM_HOST_NAME% %UPSTREAM_CLUSTER%'
T_DFP = 'type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig'
T_ROUTE = 'type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig'
CACHE = {'name': 'dfp', 'dns_lookup_family': 'V4_ONLY'}


def cache(extra=None):
    return merge(dict(CACHE), Y(extra) or {})


def dfp(name='c1', dns=None, extra=None):
    return merge({'name': name, 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED', 'cluster_type': {'name': 'envoy.clusters.dynamic_forward_proxy', 'typed_config': {'@type': T_DFP, 'dns_cache_config': dns or cache()}}}, Y(extra) or {})


def flt(dns=None, extra=None):
    return http_filter('envoy.filters.http.dynamic_forward_proxy', 'dynamic_forward_proxy.v3.FilterConfig', merge({'dns_cache_config': dns or cache()}, Y(extra) or {}))


def world(t, dns=None, filter=None, **kw):
    kw.setdefault('log', LOG)
    return simple(t, clusters=[dfp(dns=dns)], filters=[flt(dns, filter)], **kw)


def at(u, name='localhost'):
    return '%s:%d' % (name, u.port)


async def cache_stats(t):
    return await t.stats(regex=r'^dns_cache\.')


async def refused(t, clusters, filters=()):
    code, _ = await t.run_to_end(simple(t, clusters=clusters, filters=list(filters)), args=('--mode', 'validate'))
    return code


@case()
async def forward_proxy_stats_and_clusters(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(world(t))
    t.see('before', await cache_stats(t))
    for u in (a, b, a):
        await t.req('/', host=at(u))
    await t.req('/', host=at(a, '127.0.0.1'))
    t.see('stats', await cache_stats(t))
    t.see('cluster', await t.stats('cluster.c1.membership_total', 'cluster.c1.membership_change', 'cluster.c1.upstream_rq_total', 'cluster.c1.upstream_cx_total'))
    _, body = await t.admin('/clusters')
    t.see('clusters', sorted(t.mask(l) for l in body.splitlines() if any(k in l for k in ('hostname', 'health_flags', 'weight', 'rq_total', 'cx_total'))))
    t.see('up', a.reqs)
    t.see('log', await t.logs())


@case()
async def forward_proxy_unknown_name(t):
    await t.start(world(t))
    t.see('r', await t.req('/', host='no-such.invalid'))
    t.see('again', (await t.req('/', host='no-such.invalid')).status)
    t.see('log', await t.logs())


@case()
async def forward_proxy_default_port(t):
    await t.start(world(t))
    t.see('r', (await t.req('/', host='127.0.0.1')).status)
    t.see('log', await t.logs())


@case()
async def forward_proxy_odd_hosts(t):
    await t.start(world(t))
    for h in ('[::1]:1', '[::1]', 'localhost:', 'LOCALHOST:1', 'a..b:1', '127.1:1'):
        await t.req('/', host=h)
    t.see('log', await t.logs())


@case()
async def forward_proxy_without_filter(t):
    """The cluster looks names up itself."""
    a = await t.up('a')
    await t.start(simple(t, clusters=[dfp()], log=LOG))
    t.see('r', await t.req('/', host=at(a)))
    t.see('bad', await t.req('/', host='no-such.invalid'))
    t.see('log', await t.logs())


@case()
async def forward_proxy_filter_and_other_cluster(t):
    """The filter has nothing to do where the route's cluster is of another type."""
    a = await t.up('a')
    await t.start(simple(t, clusters=[cluster('c1', a), dfp('c2')], filters=[flt()], log=LOG))
    t.see('r', await t.req('/', host='no-such.invalid'))
    t.see('stats', await cache_stats(t))
    t.see('log', await t.logs())


@case()
async def forward_proxy_host_rewrite_of_route(t):
    a, b = await t.up('a'), await t.up('b')

    def route(prefix, kw):
        return {'match': {'prefix': prefix}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'envoy.filters.http.dynamic_forward_proxy': {'@type': T_ROUTE, **kw}}}
    await t.start(world(t, routes=[route('/lit', {'host_rewrite_literal': at(a)}), route('/hdr', {'host_rewrite_header': 'x-to'})]))
    t.see('literal', (await t.req('/lit', host='elsewhere.example')).h('x-up'))
    t.see('header', (await t.req('/hdr', host='127.0.0.1:1', headers=[('x-to', at(b))])).h('x-up'))
    t.see('no_header', (await t.req('/hdr', host=at(a))).h('x-up'))
    t.see('up', a.reqs + b.reqs, only={'host', 'x-to', 'x-forwarded-host', 'x-envoy-original-host'})
    t.see('log', await t.logs())


@case()
async def forward_proxy_max_hosts(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(world(t, dns=cache('{max_hosts: 1}')))
    t.see('first', (await t.req('/', host=at(a))).status)
    t.see('second', await t.req('/', host=at(b)))
    t.see('first_again', (await t.req('/', host=at(a))).status)
    t.see('stats', await t.stats('dns_cache.dfp.host_overflow', 'dns_cache.dfp.num_hosts'))
    t.see('log', await t.logs())


@case()
async def forward_proxy_pending_requests_breaker(t):
    a = await t.up('a')
    await t.start(world(t, dns=cache('{dns_cache_circuit_breaker: {max_pending_requests: 0}}')))
    t.see('r', await t.req('/', host=at(a)))
    t.see('stats', await t.stats('dns_cache.dfp.dns_rq_pending_overflow', 'dns_cache.dfp.circuit_breakers.rq_pending_open', 'dns_cache.dfp.circuit_breakers.rq_pending_remaining'))
    t.see('log', await t.logs())


@case()
async def forward_proxy_host_ttl(t):
    a = await t.up('a')
    await t.start(world(t, dns=cache('{host_ttl: 0.3s, dns_refresh_rate: 0.2s, dns_min_refresh_rate: 1s}')))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('came', bool(await t.stat_until('dns_cache.dfp.num_hosts', lambda v: v == 1)))
    t.see('went', bool(await t.stat_until('dns_cache.dfp.num_hosts', lambda v: v == 0)))
    t.see('stats', await t.stats('dns_cache.dfp.host_added', 'dns_cache.dfp.host_removed', 'cluster.c1.membership_total'))
    t.see('again', (await t.req('/', host=at(a))).status)


@case()
async def forward_proxy_preresolve(t):
    a = await t.up('a')
    await t.start(world(t, dns=cache('{preresolve_hostnames: [{address: localhost, port_value: %d}]}' % a.port)))
    t.see('stats', await cache_stats(t))
    t.see('cluster', await t.stats('cluster.c1.membership_total'))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('after', await t.stats('dns_cache.dfp.dns_query_attempt'))


@case()
async def forward_proxy_filter_state(t):
    a = await t.up('a')
    objs = [{'object_key': 'envoy.upstream.dynamic_host', 'format_string': {'text_format_source': {'inline_string': 'localhost'}}},
            {'object_key': 'envoy.upstream.dynamic_port', 'format_string': {'text_format_source': {'inline_string': str(a.port)}}}]
    f = http_filter('fs', 'set_filter_state.v3.Config', {'on_request_headers': objs})
    await t.start(simple(t, clusters=[dfp()], filters=[f, flt(extra='{allow_dynamic_host_from_filter_state: true}')], log=LOG))
    t.see('r', await t.req('/', host='no-such.invalid'))
    t.see('log', await t.logs())


@case()
async def forward_proxy_filter_state_not_allowed(t):
    a = await t.up('a')
    objs = [{'object_key': 'envoy.upstream.dynamic_host', 'format_string': {'text_format_source': {'inline_string': 'localhost'}}},
            {'object_key': 'envoy.upstream.dynamic_port', 'format_string': {'text_format_source': {'inline_string': str(a.port)}}}]
    f = http_filter('fs', 'set_filter_state.v3.Config', {'on_request_headers': objs})
    await t.start(simple(t, clusters=[dfp()], filters=[f, flt()], log=LOG))
    t.see('r', (await t.req('/', host='no-such.invalid')).status)
    t.see('log', await t.logs())


@case()
async def forward_proxy_retries(t):
    a = await t.up('a', lambda m, n: resp(503, 'no') if n == 0 else resp(200, 'yes'))
    await t.start(world(t, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx}}}]'))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('log', await t.logs())


@case()
async def forward_proxy_save_upstream_address(t):
    a = await t.up('a')
    await t.start(world(t, filter='{save_upstream_address: true}', log='%RESPONSE_CODE% %FILTER_STATE(envoy.stream.upstream_address)%'))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('log', await t.logs())


@case()
async def forward_proxy_admin_dump(t):
    a = await t.up('a')
    await t.start(world(t))
    t.see('r', (await t.req('/', host=at(a))).status)
    _, b = await t.admin('/config_dump?resource=dynamic_active_clusters')
    t.see('dump', b[:80])


@case()
async def forward_proxy_two_clusters_share_the_cache(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[dfp(), dfp('c2')], filters=[flt()], routes='[{match: {prefix: /x}, route: {cluster: c2}}, {match: {prefix: /}, route: {cluster: c1}}]', log=LOG))
    t.see('r', [(await t.req(p, host=at(a))).status for p in ('/', '/x')])
    t.see('stats', await cache_stats(t))
    t.see('members', await t.stats('cluster.c1.membership_total', 'cluster.c2.membership_total'))
    t.see('log', await t.logs())


@case()
async def forward_proxy_refused_configurations(t):
    a = cluster('c2', [])
    hpo = '{typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, upstream_http_protocol_options: %s, explicit_http_config: {http_protocol_options: {}}}}}'
    insecure = dfp(extra=hpo % '{auto_sni: true}')
    insecure['cluster_type']['typed_config']['allow_insecure_cluster_options'] = True
    t.see('exit', {
        'ok': await refused(t, [dfp()], [flt()]),
        'other_settings': await refused(t, [dfp()], [flt(cache('{max_hosts: 7}'))]),
        'other_name': await refused(t, [dfp()], [flt(cache('{name: other}'))]),
        'two_clusters_differ': await refused(t, [dfp(), dfp('c3', cache('{max_hosts: 7}'))]),
        'round_robin': await refused(t, [dfp(extra='{lb_policy: ROUND_ROBIN}')]),
        'no_sni': await refused(t, [dfp(extra=hpo % '{auto_sni: true}')]),
        'sni_and_san': await refused(t, [dfp(extra=hpo % '{auto_sni: true, auto_san_validation: true}')]),
        'insecure': await refused(t, [insecure]),
        'assignment': await refused(t, [dfp(extra='{load_assignment: {cluster_name: c1}}')]),
        'no_name': await refused(t, [dfp(dns={'dns_lookup_family': 'V4_ONLY'})]),
        'max_hosts_zero': await refused(t, [dfp(dns=cache('{max_hosts: 0}'))]),
        'refresh_too_small': await refused(t, [dfp(dns=cache('{dns_refresh_rate: 0s}'))]),
        'min_refresh_too_small': await refused(t, [dfp(dns=cache('{dns_min_refresh_rate: 0.5s}'))]),
        'ttl_zero': await refused(t, [dfp(dns=cache('{host_ttl: 0s}'))]),
        'query_timeout_zero': await refused(t, [dfp(dns=cache('{dns_query_timeout: 0s}'))]),
        'failure_max_below_base': await refused(t, [dfp(dns=cache('{dns_failure_refresh_rate: {base_interval: 2s, max_interval: 1s}}'))]),
        'empty_filter': await refused(t, [dfp()], [http_filter('f', 'dynamic_forward_proxy.v3.FilterConfig')]),
    })


# ---- secured

async def secured(t, seen):
    """An upstream with a certificate for up.example, and a cluster that trusts its issuer."""
    d = certs()
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(os.path.join(d, 'up.crt'), os.path.join(d, 'up.key'))
    ctx.sni_callback = lambda _, name, __: seen.append(name)
    tls = {'name': 'tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', 'common_tls_context': {'validation_context': {'trusted_ca': {'filename': os.path.join(d, 'ca.crt')}}}}}
    return await t.up('a', tls=ctx), dfp(extra={'transport_socket': tls})


@case()
async def forward_proxy_tls_certificate_of_another(t):
    """Without any options the host's name is asked for, and its certificate has to be for it."""
    seen = []
    a, c = await secured(t, seen)
    await t.start(simple(t, clusters=[c], filters=[flt()], log='%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST_NAME%'))
    t.see('r', (await t.req('/', host=at(a))).status)
    t.see('sni', seen)
    t.see('log', await t.logs())


@case()
async def forward_proxy_tls_by_the_hosts_name(t):
    """The name is that of the request, wherever the filter state leads it."""
    seen = []
    a, c = await secured(t, seen)
    objs = [{'object_key': 'envoy.upstream.dynamic_' + k, 'format_string': {'text_format_source': {'inline_string': v}}} for k, v in (('host', 'localhost'), ('port', str(a.port)))]
    f = http_filter('fs', 'set_filter_state.v3.Config', {'on_request_headers': objs})
    await t.start(simple(t, clusters=[c], filters=[f, flt(extra='{allow_dynamic_host_from_filter_state: true}')], log='%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST_NAME%'))
    t.see('r', (await t.req('/', host='up.example')).status)
    t.see('sni', seen)
    t.see('log', await t.logs())


@case()
async def forward_proxy_tls_default_port(t):
    _, c = await secured(t, [])
    await t.start(simple(t, clusters=[c], filters=[flt()], log='%RESPONSE_FLAGS% %UPSTREAM_HOST%'))
    t.see('r', (await t.req('/', host='127.0.0.1')).status)
    t.see('log', await t.logs())
