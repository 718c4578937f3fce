"""Internal listeners: a cluster's host is a listener of the same process, reached without a socket."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_TRANSPORT_FAILURE_REASON%'
INNER = '%RESPONSE_CODE% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT% %CONNECTION_ID%'
T_INTERNAL = 'type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport'
T_RAW = 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'
T_TCP = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'
BOOT = '{bootstrap_extensions: [{name: envoy.bootstrap.internal_listener, typed_config: {"@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}}]}'


def at(name, id=None, **kw):
    """An endpoint that is an internal listener."""
    a = {'server_listener_name': name}
    if id:
        a['endpoint_id'] = id
    return merge({'endpoint': {'address': {'envoy_internal_address': a}}}, kw)


def inside(filters, name='inner', extra=None):
    return merge({'name': name, 'internal_listener': {}, 'filter_chains': [{'filters': filters}]}, Y(extra) or {})


def passing(metadata=(), inner=None):
    return {'name': 'envoy.transport_sockets.internal_upstream', 'typed_config': {
        '@type': T_INTERNAL, 'passthrough_metadata': list(metadata),
        'transport_socket': inner or {'name': 'envoy.transport_sockets.raw_buffer', 'typed_config': {'@type': T_RAW}}}}


def tcp(cluster, **kw):
    return {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': T_TCP, 'stat_prefix': 'tcp', 'cluster': cluster, **kw}}


def inner_hcm(t, log=INNER, name='inner.log', **kw):
    kw.setdefault('routes', [{'match': {'prefix': '/'}, 'route': {'cluster': 'c2'}}])
    h = hcm(t, logs=[filelog(t, log, name)], **kw)
    h['typed_config']['stat_prefix'] = 'inner'
    return h


async def start(t, inner=None, c1=None, outer=None, boot=BOOT, more=(), **kw):
    """l1 → c1 → the internal listener → c2, whose host is a real one."""
    u = t.ups[0] if t.ups else await t.up()
    clusters = [cluster('c1', [at('inner')], c1), cluster('c2', u), *more]
    kw.setdefault('log', LOG)
    outer = outer or [hcm(t, **kw)]
    await t.start(config(t, [listener(t, outer), *(inner or [inside([inner_hcm(t)])])], clusters, boot))
    return u


@case()
async def internal_http(t):
    u = await start(t)
    t.see('r', await t.req('/'))
    t.see('again', (await t.req('/')).status)
    t.see('connections', u.conns)
    t.see('up', u.reqs[0])
    t.see('inner', [' '.join(l.split()[:-1]) for l in await t.logs('inner.log')])
    t.see('outer', await t.logs())


@case()
async def internal_tcp_proxy_inside(t):
    u = await start(t, [inside([tcp('c2')])])
    t.see('r', await t.req('/'))
    t.see('up', u.reqs[0])
    t.see('log', await t.logs())


@case()
async def internal_tcp_proxy_on_both_sides(t):
    u = await start(t, [inside([tcp('c2')])], outer=[tcp('c1')])
    t.see('r', await t.req('/'))
    t.see('large', len((await t.req('/', method='POST', body=b'x' * 300000)).body))
    t.see('stats', await t.stats('tcp.tcp.downstream_cx_total', 'cluster.c1.upstream_cx_total', 'cluster.c2.upstream_cx_total'))


@case()
async def internal_h2_inside(t):
    u = await start(t, c1={'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': T_HPO, 'explicit_http_config': {'http2_protocol_options': {}}}}})
    t.see('r', await t.req('/', method='POST', body=b'y' * 100000))
    t.see('stats', await t.stats('cluster.c1.upstream_cx_http2_total', 'http.inner.downstream_cx_http2_total', 'http.inner.downstream_rq_total'))
    t.see('body', len(u.reqs[0].body))


@case()
async def internal_stats(t):
    await start(t)
    await t.req('/')
    t.see('listener', await t.stats(regex=r'^listener\.(inner|envoy_internal|internal)[^ ]*(cx_total|cx_active)'))
    t.see('manager', await t.stats('listener_manager.total_listeners_active', 'listener_manager.listener_added', 'listener_manager.listener_create_success'))
    t.see('cluster', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_rq_total', 'cluster.c1.membership_total', 'http.inner.downstream_rq_total'))


@case()
async def internal_admin(t):
    await start(t)
    t.see('listeners', t.mask((await t.admin('/listeners'))[1]))
    t.see('json', t.mask((await t.admin('/listeners?format=json'))[1]))
    _, body = await t.admin('/clusters')
    t.see('clusters', sorted(t.mask(l) for l in body.splitlines() if l.startswith('c1::envoy')))
    _, body = await t.admin('/clusters?format=json')
    t.see('address', [h.get('address') for c in json.loads(body)['cluster_statuses'] if c['name'] == 'c1' for h in c['host_statuses']])


@case()
async def internal_unknown_listener(t):
    await start(t, [inside([inner_hcm(t)], name='other')])
    t.see('r', await t.req('/'))
    t.see('stats', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_connect_fail', 'cluster.c1.upstream_rq_pending_failure_eject'))
    t.see('log', await t.logs())


@case()
async def internal_without_bootstrap_extension(t):
    """The default buffer is there although nobody asked for it, or the file is refused."""
    t.see('code', (await t.run_to_end(config(t, [listener(t, [hcm(t)]), inside([inner_hcm(t)])], [cluster('c1', [at('inner')]), cluster('c2', t.dead())]), args=('--mode', 'validate')))[0])
    t.see('cluster alone', (await t.run_to_end(config(t, [listener(t, [hcm(t)], name='l2')], [cluster('c1', [at('inner')])]), args=('--mode', 'validate')))[0])


@case()
async def internal_endpoints_by_identifier(t):
    await t.up()
    u = t.ups[0]
    clusters = [cluster('c1', [at('inner', 'a'), at('inner', 'b')]), cluster('c2', u)]
    await t.start(config(t, [listener(t, [hcm(t, log='%UPSTREAM_HOST%')]), inside([inner_hcm(t, '%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%')])], clusters, BOOT))
    for _ in range(4):
        await t.req('/')
    _, body = await t.admin('/clusters')
    t.see('clusters', sorted(l for l in body.splitlines() if 'health_flags' in l and l.startswith('c1')))
    t.see('log', sorted(await t.logs()))
    t.see('inner', sorted(set(await t.logs('inner.log'))))


def from_(kind, name):
    return {'kind': {kind: {}}, 'name': name}


@case()
async def internal_metadata_of_the_host(t):
    await t.up()
    host = at('inner', metadata={'filter_metadata': {'place': {'rack': 'r7', 'deep': {'x': 1}}}})
    clusters = [cluster('c1', [host], {'transport_socket': passing([from_('host', 'place'), from_('host', 'nothing')])}), cluster('c2', t.ups[0])]
    await t.start(config(t, [listener(t, [hcm(t)]), inside([inner_hcm(t, '%DYNAMIC_METADATA(place)% %DYNAMIC_METADATA(place:rack)% %DYNAMIC_METADATA(nothing)%'), ])], clusters, BOOT))
    t.see('status', (await t.req('/')).status)
    t.see('http', await t.logs('inner.log'))


@case()
async def internal_metadata_of_the_cluster_by_tcp(t):
    await t.up()
    clusters = [cluster('c1', [at('inner', metadata={'filter_metadata': {'both': {'k': 'host'}}})], {
        'metadata': {'filter_metadata': {'of_cluster': {'k': 'v'}, 'both': {'k': 'cluster'}}},
        'transport_socket': passing([from_('cluster', 'of_cluster'), from_('host', 'both'), from_('cluster', 'both')])}), cluster('c2', t.ups[0])]
    log = filelog(t, '%DYNAMIC_METADATA(of_cluster)% %DYNAMIC_METADATA(both:k)%', 'inner.log')
    await t.start(config(t, [listener(t, [hcm(t)]), inside([tcp('c2', access_log=[log])])], clusters, BOOT))
    t.see('status', (await t.req('/')).status)
    t.see('log', await t.logs('inner.log'))


def state(key, value, sharing='ONCE'):
    return {'object_key': key, 'factory_key': 'envoy.string', 'format_string': {'text_format_source': {'inline_string': value}}, 'shared_with_upstream': sharing}


@case()
async def internal_filter_state(t):
    await t.up()
    set_state = http_filter('envoy.filters.http.set_filter_state', 'set_filter_state.v3.Config', {'on_request_headers': [
        state('once', '%REQ(x-a)%'), state('transitive', 'tr', 'TRANSITIVE'), state('alone', 'no', 'NONE')]})
    clusters = [cluster('c1', [at('inner')], {'transport_socket': passing()}), cluster('c2', t.ups[0])]
    await t.start(config(t, [listener(t, [hcm(t, filters=[set_state])]), inside([inner_hcm(t, '%FILTER_STATE(once:PLAIN)% %FILTER_STATE(transitive:PLAIN)% %FILTER_STATE(alone:PLAIN)%')])], clusters, BOOT))
    for v in ('one', 'two', 'one'):
        await t.req('/', headers=[('x-a', v)])
    t.see('connections', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c2.upstream_cx_total'))
    t.see('log', await t.logs('inner.log'))


@case()
async def internal_filter_state_without_the_socket(t):
    await t.up()
    set_state = http_filter('envoy.filters.http.set_filter_state', 'set_filter_state.v3.Config', {'on_request_headers': [state('once', 'v')]})
    clusters = [cluster('c1', [at('inner')]), cluster('c2', t.ups[0])]
    await t.start(config(t, [listener(t, [hcm(t, filters=[set_state])]), inside([inner_hcm(t, '%FILTER_STATE(once:PLAIN)%')])], clusters, BOOT))
    t.see('status', (await t.req('/')).status)
    t.see('log', await t.logs('inner.log'))


@case()
async def internal_two_levels_of_state(t):
    """What is transitive goes on to the next internal connection, what is shared once does not."""
    await t.up()
    set_state = http_filter('envoy.filters.http.set_filter_state', 'set_filter_state.v3.Config', {'on_request_headers': [
        state('once', 'a'), state('transitive', 'b', 'TRANSITIVE')]})
    clusters = [cluster('c1', [at('inner')], {'transport_socket': passing()}), cluster('c3', [at('second')], {'transport_socket': passing()}), cluster('c2', t.ups[0])]
    seen = '%FILTER_STATE(once:PLAIN)% %FILTER_STATE(transitive:PLAIN)%'
    first = inside([inner_hcm(t, seen, 'first.log', routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c3'}}])])
    second = inside([inner_hcm(t, seen, 'second.log')], name='second')
    await t.start(config(t, [listener(t, [hcm(t, filters=[set_state])]), first, second], clusters, BOOT))
    t.see('status', (await t.req('/')).status)
    t.see('first', await t.logs('first.log'))
    t.see('second', await t.logs('second.log'))


@case()
async def internal_chain_by_destination(t):
    """Chains of an internal listener are found by what a connection is, which is no address."""
    u = await t.up()
    l = inside([tcp('c9')])
    l['filter_chains'][0]['filter_chain_match'] = {'prefix_ranges': [{'address_prefix': '127.0.0.1', 'prefix_len': 32}]}
    l['default_filter_chain'] = {'filters': [tcp('c2')]}
    await start(t, [l], more=[cluster('c9', t.dead())])
    t.see('r', (await t.req('/')).status)


@case()
async def internal_tls_inside(t):
    """The inner transport socket is spoken over the internal connection."""
    t.see('code', (await t.run_to_end(config(t, [listener(t, [hcm(t)]), inside([inner_hcm(t)])], [cluster('c1', [at('inner')], {'transport_socket': {
        'name': 'envoy.transport_sockets.internal_upstream', 'typed_config': {'@type': T_INTERNAL}}}), cluster('c2', t.dead())], BOOT), args=('--mode', 'validate')))[0])


REFUSED = {
    'address': {'address': {'socket_address': {'address': '127.0.0.1', 'port_value': 0}}},
    'internal_address': {'internal_listener': None, 'address': {'envoy_internal_address': {'server_listener_name': 'inner'}}},
    'reuse_port': {'enable_reuse_port': True},
    'freebind': {'freebind': True},
    'transparent': {'transparent': True},
    'backlog': {'tcp_backlog_size': 5},
    'fast_open': {'tcp_fast_open_queue_length': 5},
    'mptcp': {'enable_mptcp': True},
    'socket_options': {'socket_options': [{'level': 1, 'name': 9, 'int_value': 1}]},
    'connection_balance': {'connection_balance_config': {'exact_balance': {}}},
    'more_addresses': {'additional_addresses': [{'address': {'envoy_internal_address': {'server_listener_name': 'x'}}}]},
    'not_bound': {'bind_to_port': False},
    'no_name': {'name': ''},
    'original_dst': {'use_original_dst': True},
}


def refused(name, change):
    @case('internal_config_' + name)
    async def _(t):
        l = merge(inside([inner_hcm(t)]), change)
        l = {k: v for k, v in l.items() if v is not None}
        code, _ = await t.run_to_end(config(t, [listener(t, [hcm(t)]), l], [cluster('c1', [at('inner')]), cluster('c2', t.dead())], BOOT), args=('--mode', 'validate'))
        t.see('code', code)


for n, change in REFUSED.items():
    refused(n, change)


@case()
async def internal_health_checks(t):
    """Active checks of an internal host."""
    u = await t.up()
    hc = {'timeout': '1s', 'interval': '0.1s', 'no_traffic_interval': '0.1s', 'unhealthy_threshold': 1, 'healthy_threshold': 1, 'http_health_check': {'path': '/hz'}}
    await start(t, c1={'health_checks': [hc]})
    t.see('healthy', bool(await t.stat_until('cluster.c1.health_check.success', lambda v: v >= 2)))
    t.see('r', (await t.req('/')).status)
