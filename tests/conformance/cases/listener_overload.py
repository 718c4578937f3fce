"""The overload manager's limit of downstream connections."""
from harness import *

NAME = 'envoy.resource_monitors.global_downstream_max_connections'
T_MONITOR = 'type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig'


def monitor(most, name=NAME):
    return {'name': name, 'typed_config': {'@type': T_MONITOR, 'max_active_downstream_connections': most}}


def limited(t, most, lextra='{stat_prefix: l1}', extra=None, **more):
    cfg = simple(t, clusters=[], routes='[{match: {prefix: /}, direct_response: {status: 200}}]', lextra=lextra, extra=extra)
    cfg['overload_manager'] = {'resource_monitors': [monitor(most)], **more}
    return cfg


async def opened(t, n, port=None):
    """Connections, one after another, and what each is worth."""
    conns, out = [], []
    for _ in range(n):
        c = await t.conn(port)
        c.send(build('/', 'GET', (), 'a', None, 'HTTP/1.1'))
        r = await c.response('GET', 2)
        conns.append(c)
        out.append(r['status'])
    return conns, out


STATS = r'^(overload\.envoy|listener\.(l1|l2)\.(downstream_(cx_total|cx_overflow|global_cx_overflow|cx_overload_reject)))'


@case()
async def overload_connections(t):
    await t.start(limited(t, 2))
    _, out = await opened(t, 4)
    t.see('answers', out)
    t.see('stats', await t.stats(regex=STATS))


@case()
async def overload_connections_come_free(t):
    await t.start(limited(t, 1))
    conns, out = await opened(t, 2)
    t.see('before', out)
    conns[0].close()
    t.see('after', bool(await t.until(lambda: free(t))))


async def free(t):
    _, out = await opened(t, 1)
    return out == [200]


@case()
async def overload_connections_of_two_listeners(t):
    cfg = limited(t, 2)
    cfg['static_resources']['listeners'].append(listener(t, [hcm(t, routes='[{match: {prefix: /}, direct_response: {status: 201}}]')], 'l2', extra='{stat_prefix: l2}'))
    await t.start(cfg)
    _, a = await opened(t, 1)
    _, b = await opened(t, 2, t.l2)
    t.see('answers', a + b)
    t.see('stats', await t.stats(regex=STATS))


@case()
async def overload_connections_ignored(t):
    await t.start(limited(t, 1, '{stat_prefix: l1, ignore_global_conn_limit: true}'))
    _, out = await opened(t, 3)
    t.see('answers', out)
    t.see('stats', await t.stats(regex=STATS))


@case()
async def overload_connections_before_the_runtime_key(t):
    await t.start(limited(t, 2, extra='{layered_runtime: {layers: [{name: s, static_layer: {overload.global_downstream_max_connections: 1}}]}}'))
    _, out = await opened(t, 3)
    t.see('answers', out)


@case()
async def overload_connections_and_a_listener_limit(t):
    await t.start(limited(t, 3, extra='{layered_runtime: {layers: [{name: s, static_layer: {envoy.resource_limits.listener.l1.connection_limit: 1}}]}}'))
    _, out = await opened(t, 2)
    t.see('answers', out)
    t.see('stats', await t.stats(regex=STATS))


@case()
async def overload_connections_leave_admin_alone(t):
    await t.start(limited(t, 1))
    _, out = await opened(t, 1)
    t.see('admin', [(await t.admin('/ready'))[0] for _ in range(3)])


def refused(name, om):
    @case('overload_refused_' + name)
    async def _(t):
        cfg = limited(t, 1)
        cfg['overload_manager'] = om
        code, _ = await t.run_to_end(cfg, ['--mode', 'validate'])
        t.see('code', code)


refused('empty', {})
refused('twice', {'resource_monitors': [monitor(1), monitor(2)]})
refused('none', {'resource_monitors': [monitor(0)]})
refused('another_name', {'resource_monitors': [monitor(1, 'x')]})
refused('no_type', {'resource_monitors': [{'name': NAME}]})
