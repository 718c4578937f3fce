"""The names of all stats of a cluster, by its kind, after the same traffic."""
from harness import *

T_DFP = 'type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig'
T_AGG = 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig'


async def names(t, prefix='cluster.c1.'):
    _, body = await t.admin('/stats?filter=^' + prefix.replace('.', '[.]'))
    found = (l.partition(': ')[0][len(prefix):] for l in body.splitlines())
    return sorted(re.sub(r'127[.]0[.]0[.]1_\d+', '<host>', name) for name in found)


def of(name, make, host=None, headers=(), paths=('/',), **kw):
    @case('stat_names_' + name)
    async def _(t):
        u = await (t.h2up() if kw.get('h2') else t.up())
        await t.start(simple(t, clusters=make(t, u), filters=kw.get('filters', ())))
        for p in paths:
            await t.req(p, host=host(u) if host else 'test.example', headers=headers(u) if callable(headers) else headers)
        await t.pass_time(0.1)
        t.see('names', await names(t))


def one(extra=None, **kw):
    return lambda t, u: [cluster('c1', u, extra, **kw)]


def localhost(kind, extra=None):
    def make(t, u):
        e = {'endpoint': {'address': {'socket_address': {'address': 'localhost', 'port_value': u.port}}}}
        return [cluster('c1', [e], merge({'dns_lookup_family': 'V4_ONLY'}, Y(extra) or {}), type=kind)]
    return make


CACHE = {'dns_cache_config': {'name': 'd', 'dns_lookup_family': 'V4_ONLY'}}

of('static', one())
of('static_unused', one(), paths=())
of('static_http2', one(h2=True), h2=True)
of('static_codes', one(), paths=('/', '/404'))
of('strict_dns', localhost('STRICT_DNS'))
of('logical_dns', localhost('LOGICAL_DNS'))
of('original_dst', lambda t, u: [{'name': 'c1', 'type': 'ORIGINAL_DST', 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED', 'original_dst_lb_config': {'use_http_header': True}}],
   headers=lambda u: [('x-envoy-original-dst-host', '127.0.0.1:%d' % u.port)])
of('forward_proxy', lambda t, u: [{'name': 'c1', 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED', 'cluster_type': {'name': 'envoy.clusters.dynamic_forward_proxy', 'typed_config': {'@type': T_DFP, **CACHE}}}],
   host=lambda u: 'localhost:%d' % u.port, filters=[http_filter('envoy.filters.http.dynamic_forward_proxy', 'dynamic_forward_proxy.v3.FilterConfig', CACHE)])
of('aggregate', lambda t, u: [{'name': 'c1', 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED', 'cluster_type': {'name': 'envoy.clusters.aggregate', 'typed_config': {'@type': T_AGG, 'clusters': ['c2']}}}, cluster('c2', u)])
of('with_outlier', one('{outlier_detection: {}}'))
of('with_checks', one('{health_checks: [{timeout: 1s, interval: 5s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /}}]}'))
of('with_tcp_checks', one('{health_checks: [{timeout: 1s, interval: 5s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]}'))
of('with_ring_hash', one('{lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 10, maximum_ring_size: 10}}'))
of('with_maglev', one('{lb_policy: MAGLEV, maglev_lb_config: {table_size: 11}}'))
of('with_subsets', one('{lb_subset_config: {fallback_policy: ANY_ENDPOINT, subset_selectors: [{keys: [a]}]}}'))
of('with_sizes_and_budgets', one('{track_cluster_stats: {timeout_budgets: true, request_response_sizes: true, per_endpoint_stats: true}}'))
of('with_remaining', one('{circuit_breakers: {thresholds: [{track_remaining: true}, {priority: HIGH, track_remaining: true}]}}'))
of('with_remaining_of_high_alone', one('{circuit_breakers: {thresholds: [{priority: HIGH, track_remaining: true, retry_budget: {}}]}}'))
of('with_socket_matches', one({'transport_socket_matches': [{'name': 'raw', 'match': {}, 'transport_socket': {'name': 'envoy.transport_sockets.raw_buffer', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}}]}))
of('with_slow_start', one('{round_robin_lb_config: {slow_start_config: {slow_start_window: 10s}}}'))
of('with_least_request', one('{lb_policy: LEAST_REQUEST}'))
of('with_canary', one(), headers=[('x-envoy-upstream-alt-stat-name', 'other')])
of('with_internal_request', one(), headers=[('x-envoy-internal', 'true'), ('x-forwarded-for', '10.0.0.1')])


@case()
async def stat_names_of_a_tcp_proxy(t):
    await t.up()
    p = {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 'p', 'cluster': 'c1'}}
    await t.start(config(t, [listener(t, [p])], [cluster('c1', t.ups)]))
    await t.req('/')
    await t.pass_time(0.1)
    t.see('names', await names(t))
    t.see('tcp', await names(t, 'tcp.p.'))


@case()
async def stat_names_of_retries_and_mirrors(t):
    async def respond(m, n):
        return resp(503 if n == 0 else 200)
    u = await t.up(respond=respond)
    r = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': {'retry_on': '5xx', 'num_retries': 2}, 'request_mirror_policies': [{'cluster': 'c2'}]}}
    await t.start(simple(t, routes=[r], clusters=[cluster('c1', u), cluster('c2', u)]))
    await t.req('/')
    await t.pass_time(0.2)
    t.see('names', await names(t))
    t.see('mirror', await names(t, 'cluster.c2.'))


@case()
async def stat_names_of_failures(t):
    t.ups.append(t.dead())
    await t.start(simple(t))
    await t.req('/')
    await t.pass_time(0.1)
    t.see('names', await names(t))


@case()
async def stat_names_of_alt_stat_name(t):
    await t.up()
    await t.start(simple(t, copts='{alt_stat_name: "a:b.c"}'))
    await t.req('/')
    _, body = await t.admin('/stats?filter=^cluster[.]')
    t.see('prefixes', sorted({l.split('upstream_rq_total')[0] for l in body.splitlines() if 'upstream_rq_total' in l}))
    _, body = await t.admin('/stats/prometheus?filter=upstream_rq_total')
    t.see('prometheus', [l for l in body.splitlines() if not l.startswith('#')])
