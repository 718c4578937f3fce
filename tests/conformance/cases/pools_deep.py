"""Connection pools in their corners: what is opened when, what is shared with whom, and what each limit does."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
CX = ['upstream_cx_total', 'upstream_cx_active', 'upstream_cx_overflow', 'upstream_cx_connect_fail']


async def cx(t, *more, name='c1'):
    return await t.stats(*('cluster.%s.%s' % (name, n) for n in [*CX, *more]))


async def open_at(t, u, n, patience=3):
    """Whether the upstream has had so many connections, and no more a while later."""
    await t.until(lambda: u.conns >= n, patience)
    await asyncio.sleep(0.1)
    return u.conns


def held():
    """An upstream's answer that waits until it is let go."""
    gate = asyncio.Event()

    async def respond(m, n):
        await gate.wait()
        return resp(200, 'late')
    return gate, respond


def preconnect(per=None, predictive=None):
    p = {}
    if per:
        p['per_upstream_preconnect_ratio'] = per
    if predictive:
        p['predictive_preconnect_ratio'] = predictive
    return {'preconnect_policy': p}


def ahead(name, ratio, n):
    @case('preconnect_' + name)
    async def _(t):
        gate, respond = held()
        u = await t.up(respond=respond)
        await t.start(simple(t, copts=preconnect(ratio)))
        reqs = [asyncio.create_task(t.req('/')) for _ in range(n)]
        await t.until(lambda: len(u.reqs) >= n)
        t.see('busy', await open_at(t, u, n + 1, 0.5))
        t.see('stats', await cx(t))
        gate.set()
        for r in reqs:
            await r
        await t.req('/')
        t.see('after', await open_at(t, u, 0))


ahead('ratio_1', 1.0, 2)
ahead('ratio_1_5_one', 1.5, 1)
ahead('ratio_1_5_two', 1.5, 2)
ahead('ratio_2_one', 2.0, 1)
ahead('ratio_3_two', 3.0, 2)


@case()
async def preconnect_of_a_limited_cluster(t):
    gate, respond = held()
    u = await t.up(respond=respond)
    await t.start(simple(t, copts=merge(preconnect(3.0), {'circuit_breakers': {'thresholds': [{'max_connections': 2}]}})))
    r = asyncio.create_task(t.req('/'))
    await t.until(lambda: len(u.reqs) >= 1)
    t.see('conns', await open_at(t, u, 2))
    t.see('stats', await cx(t))
    gate.set()
    await r


@case()
async def preconnect_replaces_what_is_closed(t):
    u = await t.up(respond=lambda m, n: resp(200, 'x', [('connection', 'close')]))
    await t.start(simple(t, copts=preconnect(2.0)))
    for _ in range(3):
        await t.req('/')
    t.see('conns', await open_at(t, u, 4))
    t.see('stats', await cx(t, 'upstream_cx_close_notify'))


@case()
async def preconnect_http2(t):
    u = await t.h2up()
    await t.start(simple(t, clusters=[cluster('c1', u, preconnect(2.0), h2='{max_concurrent_streams: 1}')]))
    await t.req('/')
    t.see('stats', await cx(t))
    await t.req('/')
    t.see('later', await cx(t))


@case()
async def preconnect_http2_has_room(t):
    u = await t.h2up()
    await t.start(simple(t, clusters=[cluster('c1', u, preconnect(3.0), h2=True)]))
    await t.req('/')
    await t.req('/')
    t.see('stats', await cx(t))


@case()
async def preconnect_not_to_the_degraded(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', [lbe(u, health_status='DEGRADED')], preconnect(3.0))]))
    await t.req('/')
    t.see('stats', await cx(t))


@case()
async def predictive_opens_at_the_next_host(t):
    a, b, c = await t.up('a'), await t.up('b'), await t.up('c')
    await t.start(simple(t, clusters=[cluster('c1', [a, b, c], preconnect(None, 2.0))]))
    await t.req('/')
    await t.until(lambda: a.conns + b.conns + c.conns >= 2)
    await asyncio.sleep(0.1)
    t.see('one request', sorted([a.conns, b.conns, c.conns]))
    for _ in range(2):
        await t.req('/')
    await asyncio.sleep(0.1)
    t.see('three', sorted([a.conns, b.conns, c.conns]))
    t.see('served', sorted([len(a.reqs), len(b.reqs), len(c.reqs)]))
    t.see('stats', await cx(t))


@case()
async def predictive_3(t):
    ups = [await t.up('u%d' % i) for i in range(4)]
    await t.start(simple(t, clusters=[cluster('c1', ups, preconnect(None, 3.0))]))
    await t.req('/')
    await asyncio.sleep(0.2)
    t.see('one request', sorted(u.conns for u in ups))
    for _ in range(7):
        await t.req('/')
    await asyncio.sleep(0.1)
    t.see('eight', sorted(u.conns for u in ups))
    t.see('served', sorted(len(u.reqs) for u in ups))


@case()
async def predictive_of_one_host(t):
    u = await t.up()
    await t.start(simple(t, copts=preconnect(None, 2.0)))
    await t.req('/')
    await asyncio.sleep(0.1)
    t.see('conns', u.conns)
    await t.req('/')
    await asyncio.sleep(0.1)
    t.see('two', u.conns)


@case()
async def predictive_of_a_ring(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(simple(t, clusters=[cluster('c1', [a, b], merge(preconnect(None, 2.0), {'lb_policy': 'RING_HASH'}))]))
    await t.req('/')
    await asyncio.sleep(0.1)
    t.see('conns', sorted([a.conns, b.conns]))


def refused(name, extra):
    @case('refused_' + name)
    async def _(t):
        u = await t.up()
        t.see('exit', (await t.run_to_end(simple(t, copts=extra), args=('--mode', 'validate')))[0])


refused('ratio_below_1', preconnect(0.5))
refused('ratio_above_3', preconnect(None, 3.5))
refused('per_host_requests', {'circuit_breakers': {'per_host_thresholds': [{'max_requests': 3}]}})
refused('per_host_connections', {'circuit_breakers': {'per_host_thresholds': [{'max_connections': 3}]}})
refused('per_host_pending', {'circuit_breakers': {'per_host_thresholds': [{'max_pending_requests': 3}]}})
refused('per_host_retries', {'circuit_breakers': {'per_host_thresholds': [{'max_retries': 3}]}})
refused('per_host_pools', {'circuit_breakers': {'per_host_thresholds': [{'max_connection_pools': 3}]}})
refused('per_host_budget', {'circuit_breakers': {'per_host_thresholds': [{'retry_budget': {}}]}})
refused('per_host_track', {'circuit_breakers': {'per_host_thresholds': [{'track_remaining': True}]}})


async def held_requests(t, paths, arrived):
    """Requests that hang at their hosts, each of which has got its own."""
    reqs = [asyncio.create_task(t.req(path)) for path in paths]
    await t.until(arrived)
    return reqs


@case()
async def per_host_connections(t):
    gate, respond = held()
    a, b = await t.up('a', respond=respond), await t.up('b', respond=respond)
    await t.start(simple(t, clusters=[cluster('c1', [a, b], '{circuit_breakers: {per_host_thresholds: [{max_connections: 1}]}}')], log=LOG))
    reqs = await held_requests(t, ['/', '/'], lambda: len(a.reqs) + len(b.reqs) == 2)
    reqs += [asyncio.create_task(t.req('/')) for _ in range(2)]
    await t.stat_until('cluster.c1.upstream_rq_pending_active', lambda v: v == 2)
    t.see('conns', [a.conns, b.conns])
    t.see('stats', await cx(t, 'upstream_rq_pending_active', 'circuit_breakers.default.cx_open'))
    gate.set()
    t.see('r', [(await r).status for r in reqs])
    t.see('after', [a.conns, b.conns])


@case()
async def per_host_connections_of_high_priority(t):
    gate, respond = held()
    a = await t.up('a', respond=respond)
    routes = '[{match: {prefix: /high}, route: {cluster: c1, priority: HIGH}}, {match: {prefix: /}, route: {cluster: c1}}]'
    await t.start(simple(t, clusters=[cluster('c1', [a], '{circuit_breakers: {per_host_thresholds: [{priority: HIGH, max_connections: 1}]}}')], routes=routes, log=LOG))
    reqs = await held_requests(t, ['/', '/', '/high'], lambda: len(a.reqs) == 3)
    reqs.append(asyncio.create_task(t.req('/high')))
    await t.stat_until('cluster.c1.upstream_rq_pending_active', lambda v: v == 1)
    t.see('conns', a.conns)
    t.see('stats', await cx(t, 'upstream_rq_pending_active'))
    gate.set()
    t.see('r', [(await r).status for r in reqs])


@case()
async def per_host_connections_of_tcp(t):
    async def hello(c):
        c.send(b'hello')
        await c.drain()
        await asyncio.sleep(5)
    a = await t.up('a', conn=hello)
    tcp = {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 'tcp', 'cluster': 'c1', 'access_log': [filelog(t, '%RESPONSE_FLAGS%')]}}
    await t.start(config(t, [listener(t, [tcp])], [cluster('c1', [a], '{circuit_breakers: {per_host_thresholds: [{max_connections: 1}]}}')]))
    c = await t.conn()
    t.see('first', await asyncio.wait_for(c.r.read(5), 5))
    d = await t.conn()
    try:
        second = await asyncio.wait_for(d.r.read(5), 0.5)
    except asyncio.TimeoutError:
        second = 'waits'
    t.see('second', second)
    t.see('stats', await cx(t, 'upstream_rq_pending_active'))


@case()
async def pools_of_each_client(t):
    u = await t.up()
    await t.start(simple(t, copts={'connection_pool_per_downstream_connection': True}))
    c, d = await t.conn(), await t.conn()
    for conn in (c, c, d, c, d):
        conn.send(build('/'))
        await conn.response()
    t.see('conns', u.conns)
    t.see('stats', await cx(t))


@case()
async def pools_of_each_client_over_http2(t):
    u = await t.h2up()
    await t.start(simple(t, clusters=[cluster('c1', u, {'connection_pool_per_downstream_connection': True}, h2=True)]))
    for _ in range(3):
        await t.req('/')
    t.see('stats', await cx(t))


@case()
async def one_pool_for_all_clients(t):
    u = await t.up()
    await t.start(simple(t))
    for _ in range(3):
        await t.req('/')
    t.see('conns', u.conns)


@case()
async def limits_of_each_priority(t):
    gate, respond = held()
    u = await t.up(respond=respond)
    routes = '[{match: {prefix: /high}, route: {cluster: c1, priority: HIGH}}, {match: {prefix: /}, route: {cluster: c1}}]'
    cb = '{circuit_breakers: {thresholds: [{priority: DEFAULT, max_connections: 1, max_pending_requests: 1, track_remaining: true}, {priority: HIGH, max_connections: 2, max_pending_requests: 1, track_remaining: true}]}}'
    await t.start(simple(t, clusters=[cluster('c1', u, cb)], routes=routes, log=LOG))
    reqs = []
    for path, n in (('/', 3), ('/high', 4)):
        for _ in range(n):
            reqs.append(asyncio.create_task(t.req(path)))
            await asyncio.sleep(0.05)
    t.see('conns', u.conns)
    t.see('open', await t.stats(regex=r'^cluster\.c1\.circuit_breakers.*(open|cx|pending|retries|rq)$'))
    t.see('stats', await cx(t, 'upstream_rq_pending_overflow', 'upstream_rq_pending_active', 'upstream_rq_active'))
    gate.set()
    t.see('r', [(await r).status for r in reqs])
    t.see('log', sorted(await t.logs()))


@case()
async def max_requests_of_a_connection(t):
    u = await t.up()
    await t.start(simple(t, copts=None, clusters=[cluster('c1', u, hpo='{common_http_protocol_options: {max_requests_per_connection: 2}, explicit_http_config: {http_protocol_options: {}}}')]))
    for _ in range(5):
        await t.req('/')
    t.see('conns', u.conns)
    t.see('stats', await cx(t, 'upstream_cx_max_requests', 'upstream_cx_destroy', 'upstream_cx_destroy_local'))


@case()
async def max_requests_of_an_http2_connection(t):
    u = await t.h2up()
    await t.start(simple(t, clusters=[cluster('c1', u, hpo='{common_http_protocol_options: {max_requests_per_connection: 2}, explicit_http_config: {http2_protocol_options: {}}}')]))
    for _ in range(5):
        await t.req('/')
    t.see('stats', await cx(t, 'upstream_cx_max_requests', 'upstream_cx_destroy', 'upstream_cx_destroy_local'))


@case()
async def max_duration_of_an_idle_connection(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', u, hpo='{common_http_protocol_options: {max_connection_duration: 0.2s}, explicit_http_config: {http_protocol_options: {}}}')]))
    await t.req('/')
    await t.until(lambda: u.closed_conns >= 1)
    await t.req('/')
    t.see('conns', u.conns)
    t.see('stats', await cx(t, 'upstream_cx_max_duration_reached', 'upstream_cx_destroy_local', 'upstream_cx_idle_timeout'))


@case()
async def max_duration_of_a_busy_connection(t):
    gate, respond = held()
    u = await t.up(respond=respond)
    await t.start(simple(t, clusters=[cluster('c1', u, hpo='{common_http_protocol_options: {max_connection_duration: 0.1s}, explicit_http_config: {http_protocol_options: {}}}')], log=LOG))
    r = asyncio.create_task(t.req('/'))
    await t.until(lambda: len(u.reqs) >= 1)
    await asyncio.sleep(0.3)
    gate.set()
    t.see('r', (await r).status)
    await t.until(lambda: u.closed_conns >= 1)
    t.see('stats', await cx(t, 'upstream_cx_max_duration_reached', 'upstream_cx_destroy_local', 'upstream_cx_destroy_with_active_rq'))


@case()
async def idle_timeout_of_http2(t):
    u = await t.h2up()
    await t.start(simple(t, clusters=[cluster('c1', u, hpo='{common_http_protocol_options: {idle_timeout: 0.2s}, explicit_http_config: {http2_protocol_options: {}}}')]))
    await t.req('/')
    t.see('closed', bool(await t.stat_until('cluster.c1.upstream_cx_idle_timeout', lambda v: v == 1)))
    t.see('stats', await cx(t, 'upstream_cx_destroy_local', 'upstream_cx_destroy_remote'))


@case()
async def a_keep_alive_race(t):
    """The host closes the idle connection just as the next request goes onto it."""
    async def once(c):
        m = await c.read_request()
        c.send(resp(200, 'x'))
        await c.drain()
        m = await c.read_request()
    u = await t.up(conn=once)
    await t.start(simple(t, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%'))
    t.see('first', (await t.req('/')).status)
    t.see('second', await t.req('/'))
    t.see('stats', await cx(t, 'upstream_cx_destroy_remote', 'upstream_cx_destroy_remote_with_active_rq'))
    t.see('log', await t.logs())


@case()
async def a_reset_before_the_head(t):
    u = await t.up(respond=lambda m, n: 'reset')
    await t.start(simple(t, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%'))
    t.see('r', await t.req('/'))
    t.see('stats', await cx(t, 'upstream_cx_destroy_remote', 'upstream_cx_destroy_remote_with_active_rq', 'upstream_rq_rx_reset'))
    t.see('log', await t.logs())


@case()
async def a_client_that_goes_while_it_waits(t):
    s = t.silent('u1')
    await t.start(simple(t, clusters=[cluster('c1', s, timeout='0.6s')], log=LOG))
    c = await t.conn()
    c.send(build('/'))
    await t.stat_until('cluster.c1.upstream_rq_pending_active', lambda v: v == 1)
    c.close()
    await t.stat_until('cluster.c1.upstream_rq_pending_active', lambda v: v == 0)
    t.see('gone', await cx(t, 'upstream_rq_cancelled', 'upstream_rq_total', 'upstream_rq_pending_total'))
    await t.stat_until('cluster.c1.upstream_cx_connect_timeout', lambda v: v == 1)
    t.see('later', await cx(t, 'upstream_cx_connect_timeout', 'upstream_rq_pending_failure_eject', 'upstream_cx_destroy', 'upstream_cx_destroy_local'))


@case()
async def requests_share_a_failure(t):
    s = t.silent('u1')
    await t.start(simple(t, clusters=[cluster('c1', s, timeout='0.4s')], log=LOG))
    reqs = [asyncio.create_task(t.req('/', timeout=4)) for _ in range(3)]
    t.see('r', [(await r).status for r in reqs])
    t.see('stats', await cx(t, 'upstream_cx_connect_timeout', 'upstream_rq_pending_failure_eject', 'upstream_rq_pending_total', 'upstream_rq_total'))
    t.see('log', await t.logs())


@case()
async def waiting_for_the_only_connection(t):
    gate, respond = held()
    u = await t.up(respond=respond)
    await t.start(simple(t, copts='{circuit_breakers: {thresholds: [{max_connections: 1}]}}', log='%RESPONSE_CODE% %RESPONSE_FLAGS%'))
    reqs = [asyncio.create_task(t.req('/'))]
    await t.until(lambda: len(u.reqs) == 1)
    reqs += [asyncio.create_task(t.req('/')) for _ in range(2)]
    await t.stat_until('cluster.c1.upstream_rq_pending_active', lambda v: v == 2)
    t.see('stats', await cx(t, 'upstream_rq_pending_active', 'upstream_rq_pending_total', 'circuit_breakers.default.cx_open'))
    gate.set()
    t.see('r', [(await r).status for r in reqs])
    t.see('conns', u.conns)


@case()
async def local_interface_name(t):
    u = await t.up()
    await t.start(simple(t, copts='{upstream_connection_options: {set_local_interface_name_on_upstream_connections: true}}', log=LOG))
    t.see('r', (await t.req('/')).status)


@case()
async def endpoints_name_in_stats(t):
    u = await t.up()
    e = {'endpoint': {'address': addr(u), 'observability_name': 'first.one'}}
    await t.start(simple(t, clusters=[cluster('c1', [e], '{track_cluster_stats: {per_endpoint_stats: true}}')]))
    await t.req('/')
    t.see('stats', await t.stats(regex=r'^cluster\.c1\.endpoint'))
    _, body = await t.admin('/clusters')
    t.see('clusters', sorted(t.mask(l) for l in body.splitlines() if 'hostname' in l))


@case()
async def upstream_http_options_of_the_cluster(t):
    u = await t.up()
    t.see('exit', (await t.run_to_end(simple(t, copts='{upstream_http_protocol_options: {auto_sni: true}}'), args=('--mode', 'validate')))[0])


def state(*objects):
    return http_filter('s', 'set_filter_state.v3.Config', {'on_request_headers': list(objects)})


def of_header(key, factory, shared='ONCE', header='x-key'):
    o = {'object_key': key, 'factory_key': factory, 'format_string': {'text_format_source': {'inline_string': '%%REQ(%s)%%' % header}}}
    if shared:
        o['shared_with_upstream'] = shared
    return o


def by_state(name, *objects):
    @case('state_' + name)
    async def _(t):
        u = await t.up()
        await t.start(simple(t, filters=[state(*objects)]))
        conns = []
        for value in ('a', 'a', 'b', 'a', 'b', 'c'):
            await t.req('/', headers=[('x-key', value), ('x-other', 'one')])
            conns.append(u.conns)
        t.see('conns', conns)


by_state('shared_once', of_header('k', 'envoy.hashable_string'))
by_state('shared_transitively', of_header('k', 'envoy.hashable_string', 'TRANSITIVE'))
by_state('not_shared', of_header('k', 'envoy.hashable_string', 'NONE'))
by_state('not_said_to_be_shared', of_header('k', 'envoy.hashable_string', None))
by_state('shared_without_a_hash', of_header('k', 'envoy.string'))


@case()
async def state_of_the_connection(t):
    """What a network filter shares counts for all streams of the connection."""
    u = await t.up()
    cfg = simple(t)
    chain = cfg['static_resources']['listeners'][0]['filter_chains'][0]
    chain['filters'].insert(0, {'name': 's', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config', 'on_new_connection': [{'object_key': 'k', 'factory_key': 'envoy.hashable_string', 'shared_with_upstream': 'TRANSITIVE', 'format_string': {'text_format_source': {'inline_string': '%DOWNSTREAM_REMOTE_ADDRESS%'}}}]}})
    await t.start(cfg)
    c, d = await t.conn(), await t.conn()
    for conn in (c, c, d, c):
        conn.send(build('/'))
        await conn.response()
    t.see('conns', u.conns)


@case()
async def state_names_the_server(t):
    import ssl
    names = []
    cd = certs()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cd + '/up.crt', cd + '/up.key')
    context.sni_callback = lambda _, name, __: names.append(name)
    u = await t.up(tls=context)
    tls = Y('{transport_socket: {name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: configured.example}}}')
    await t.start(simple(t, copts=tls, filters=[state(of_header('envoy.network.upstream_server_name', 'envoy.network.upstream_server_name', None))]))
    for value in ('a.example', 'a.example', 'b.example'):
        await t.req('/', headers=[('x-key', value)])
    t.see('names', names)
    t.see('conns', u.conns)
