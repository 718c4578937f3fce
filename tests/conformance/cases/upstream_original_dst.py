"""ORIGINAL_DST clusters: a host for each destination that requests name."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %UPSTREAM_HOST_NAME% %UPSTREAM_CLUSTER%'
HDR = 'x-envoy-original-dst-host'
STATS = ('cluster.c1.original_dst_host_invalid', 'cluster.c1.membership_total', 'cluster.c1.membership_change', 'cluster.c1.upstream_cx_none_healthy', 'cluster.c1.upstream_rq_total', 'cluster.c1.upstream_cx_total')


def od(name='c1', lb='{use_http_header: true}', extra=None):
    c = {'name': name, 'type': 'ORIGINAL_DST', 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED'}
    if lb:
        c['original_dst_lb_config'] = Y(lb)
    return merge(c, Y(extra) or {})


def to(u, name=HDR):
    return [(name, '127.0.0.1:%d' % u.port)]


def meta_filter(value, ns='my', key='dst'):
    return http_filter('sm', 'set_metadata.v3.Config', {'metadata': [{'metadata_namespace': ns, 'value': {key: value}}]})


async def refused(t, c):
    code, out = await t.run_to_end(simple(t, clusters=[c] if isinstance(c, dict) else c), args=('--mode', 'validate'))
    return code


@case()
async def original_dst_hosts_and_stats(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(simple(t, clusters=[od()], log=LOG))
    for u in (a, b, a, a):
        await t.req('/', headers=to(u))
    await t.stat_until('cluster.c1.membership_total', lambda v: v == 2)
    t.see('stats', await t.stats(*STATS))
    st, body = await t.admin('/clusters')
    t.see('clusters', sorted(t.mask(l) for l in body.splitlines() if any(k in l for k in ('hostname', 'health_flags', 'weight', 'priority', 'rq_total', 'cx_total', 'locality', 'region', 'canary', 'added_via_api'))))
    t.see('up', a.reqs)
    t.see('log', await t.logs())


@case()
async def original_dst_bad_headers(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[od()], log=LOG))
    for v in ('', '127.0.0.1', 'localhost:80', '127.0.0.1:', '127.0.0.1:99999', '[::1]', 'a:b', '1.2.3:80', '127.0.0.1:%d, 127.0.0.1:1' % a.port, ' 127.0.0.1:%d ' % a.port, '127.0.0.1:0'):
        await t.req('/', headers=[(HDR, v)])
    await t.req('/')
    t.see('stats', await t.stats(*STATS[:1]))
    t.see('log', await t.logs())


@case()
async def original_dst_first_of_two_headers(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(simple(t, clusters=[od()], log=LOG))
    t.see('r', await t.req('/', headers=to(a) + to(b)))
    t.see('up', a.reqs)


@case()
async def original_dst_header_name(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(simple(t, clusters=[od(lb='{use_http_header: true, http_header_name: X-To}')], log=LOG))
    t.see('own', await t.req('/', headers=to(a, 'x-to') + to(b)))
    t.see('usual', (await t.req('/', headers=to(b))).status)
    t.see('log', await t.logs())


@case()
async def original_dst_authority_as_header(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[od(lb='{use_http_header: true, http_header_name: ":authority"}')], log=LOG))
    t.see('r', await t.req('/', host='127.0.0.1:%d' % a.port))
    t.see('name', (await t.req('/', host='localhost:%d' % a.port)).status)
    t.see('log', await t.logs())


@case()
async def original_dst_port_override(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[od(lb='{use_http_header: true, upstream_port_override: %d}' % a.port)], log=LOG))
    t.see('r', await t.req('/', headers=[(HDR, '127.0.0.1:1')]))
    t.see('log', await t.logs())


@case()
async def original_dst_metadata(t):
    a, b = await t.up('a'), await t.up('b')
    f = meta_filter('127.0.0.1:%d' % a.port)
    await t.start(simple(t, clusters=[od(lb='{use_http_header: true, metadata_key: {key: my, path: [{key: dst}]}}')], filters=[f], log=LOG))
    t.see('over_header', await t.req('/', headers=to(b)))
    t.see('log', await t.logs())


@case()
async def original_dst_metadata_list_takes_the_first(t):
    a, b = await t.up('a'), await t.up('b')
    f = meta_filter(['127.0.0.1:%d' % a.port, '127.0.0.1:%d' % b.port])
    await t.start(simple(t, clusters=[od(lb='{metadata_key: {key: my, path: [{key: dst}]}}')], filters=[f], log=LOG))
    t.see('r', await t.req('/'))


@case()
async def original_dst_metadata_that_is_no_address(t):
    b = await t.up('b')
    f = meta_filter('nonsense')
    await t.start(simple(t, clusters=[od(lb='{use_http_header: true, metadata_key: {key: my, path: [{key: dst}]}}')], filters=[f], log=LOG))
    t.see('header', await t.req('/', headers=to(b)))
    t.see('none', (await t.req('/')).status)
    t.see('stats', await t.stats(*STATS[:1]))
    t.see('log', await t.logs())


@case()
async def original_dst_metadata_that_is_a_number(t):
    f = meta_filter(80)
    await t.start(simple(t, clusters=[od(lb='{metadata_key: {key: my, path: [{key: dst}]}}')], filters=[f], log=LOG))
    t.see('none', (await t.req('/')).status)
    t.see('stats', await t.stats(*STATS[:1]))


@case()
async def original_dst_filter_state(t):
    a, b = await t.up('a'), await t.up('b')
    v = '127.0.0.1:%d' % a.port
    f = http_filter('fs', 'set_filter_state.v3.Config', {'on_request_headers': [{'object_key': 'envoy.network.transport_socket.original_dst_address', 'format_string': {'text_format_source': {'inline_string': v}}}]})
    await t.start(simple(t, clusters=[od()], filters=[f], log=LOG))
    t.see('r', await t.req('/', headers=to(b)))
    t.see('log', await t.logs())


@case()
async def original_dst_without_any(t):
    await t.start(simple(t, clusters=[od(lb=None)], log=LOG))
    t.see('r', await t.req('/', headers=[(HDR, '127.0.0.1:1')]))
    t.see('stats', await t.stats(*STATS))
    t.see('log', await t.logs())


@case()
async def original_dst_dead_host(t):
    d = t.dead('d')
    await t.start(simple(t, clusters=[od()], log=LOG))
    t.see('r', await t.req('/', headers=to(d)))
    t.see('log', await t.logs())


@case()
async def original_dst_retry_goes_to_the_same(t):
    a = await t.up('a', lambda m, n: resp(503, 'no') if n == 0 else resp(200, 'yes'))
    await t.start(simple(t, clusters=[od()], routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 2}}}]', log=LOG))
    t.see('r', (await t.req('/', headers=to(a))).status)
    t.see('log', await t.logs())


@case()
async def original_dst_idle_hosts_go(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[od(extra='{cleanup_interval: 0.2s, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, common_http_protocol_options: {idle_timeout: 0.1s}, explicit_http_config: {http_protocol_options: {}}}}}')]))
    t.see('r', (await t.req('/', headers=to(a))).status)
    t.see('came', bool(await t.stat_until('cluster.c1.membership_total', lambda v: v == 1)))
    t.see('went', bool(await t.stat_until('cluster.c1.membership_total', lambda v: v == 0)))
    t.see('change', (await t.stats('cluster.c1.membership_change')))
    t.see('again', (await t.req('/', headers=to(a))).status)


@case()
async def original_dst_pooled_hosts_stay(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[od(extra='{cleanup_interval: 0.1s}')]))
    await t.req('/', headers=to(a))
    await t.stat_until('cluster.c1.membership_total', lambda v: v == 1)
    # Long enough for several rounds of cleaning up.
    await t.until(lambda: False, 0.5)
    t.see('stats', await t.stats('cluster.c1.membership_total', 'cluster.c1.membership_change'))
    await t.req('/', headers=to(a))
    t.see('connections', (await t.stats('cluster.c1.upstream_cx_total')))


@case()
async def original_dst_refused_configurations(t):
    t.see('exit', {
        'ok': await refused(t, od()),
        'round_robin': await refused(t, od(extra='{lb_policy: ROUND_ROBIN}')),
        'no_policy': await refused(t, {'name': 'c1', 'type': 'ORIGINAL_DST'}),
        'assignment': await refused(t, od(extra='{load_assignment: {cluster_name: c1, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}}')),
        'empty_assignment': await refused(t, od(extra='{load_assignment: {cluster_name: c1}}')),
        'name_without_use': await refused(t, od(lb='{http_header_name: x-a}')),
        'subsets': await refused(t, od(extra='{lb_subset_config: {fallback_policy: ANY_ENDPOINT, subset_selectors: [{keys: [a]}]}}')),
        'cleanup_zero': await refused(t, od(extra='{cleanup_interval: 0s}')),
        'port_too_large': await refused(t, od(lb='{upstream_port_override: 70000}')),
        'provided_by_static': await refused(t, cluster('c1', [], '{lb_policy: CLUSTER_PROVIDED}')),
        'other_lb_config': await refused(t, od(lb=None, extra='{ring_hash_lb_config: {}}')),
        'policy_extension': await refused(t, {'name': 'c1', 'type': 'ORIGINAL_DST', 'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'x', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided'}}}]}}),
        'cluster_type': await refused(t, {'name': 'c1', 'cluster_type': {'name': 'envoy.cluster.original_dst'}, 'lb_policy': 'CLUSTER_PROVIDED'}),
    })


@case()
async def original_dst_by_tcp_proxy_without_destination(t):
    c = od(lb=None)
    f = {'name': 'tcp', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 't', 'cluster': 'c1', 'access_log': [filelog(t, '%RESPONSE_FLAGS% %UPSTREAM_HOST%')]}}
    await t.start(config(t, [listener(t, [f])], [c]))
    k = await t.conn()
    k.send(b'x')
    t.see('got', await k.state())
    t.see('stats', await t.stats('cluster.c1.upstream_cx_none_healthy', 'cluster.c1.upstream_cx_total'))
    t.see('log', await t.logs())


@case()
async def original_dst_behind_proxy_protocol(t):
    """The PROXY head restores the local address: that is a destination."""
    a = await t.up('a')
    lf = [{'name': 'pp', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol'}}]
    await t.start(simple(t, clusters=[od(lb=None)], lextra={'listener_filters': lf}, log=LOG))
    raw = b'PROXY TCP4 1.2.3.4 127.0.0.1 1000 %d\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n' % a.port
    t.see('r', await t.req(raw=raw))
    t.see('log', await t.logs())
