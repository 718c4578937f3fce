"""The overload manager: what presses, which triggers fire, and what connections and requests meet then."""
from harness import *

T = 'type.googleapis.com/envoy.extensions.resource_monitors.'
SCALE = 'type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig'
ACTION = 'envoy.overload_actions.'
POINT = 'envoy.load_shed_points.'
INJECTED = 'envoy.resource_monitors.injected_resource'
LOG = '%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
ROUTES = '[{match: {prefix: /}, direct_response: {status: 200}}]'


def injected(t, name=INJECTED, file='pressure'):
    return {'name': name, 'typed_config': {'@type': T + 'injected_resource.v3.InjectedResourceConfig', 'filename': t.path(file)}}


def at(value=0.9, name=INJECTED):
    return {'name': name, 'threshold': {'value': value}}


def scaled(low, high, name=INJECTED):
    return {'name': name, 'scaled': {'scaling_threshold': low, 'saturation_threshold': high}}


def action(name, *triggers, **more):
    return {'name': ACTION + name, 'triggers': list(triggers) or [at()], **more}


def timers(*each):
    return {'typed_config': {'@type': SCALE, 'timer_scale_factors': [Y(e) for e in each]}}


def manager(t, actions=(), points=(), monitors=None, **more):
    return {'refresh_interval': '0.02s', 'resource_monitors': monitors or [injected(t)],
            **({'actions': list(actions)} if actions else {}),
            **({'loadshed_points': [{'name': POINT + p, 'triggers': [at()]} if isinstance(p, str) else p for p in points]} if points else {}), **more}


async def began(t, pressure, actions=(), points=(), monitors=None, om=None, log=LOG, routes=ROUTES, clusters=(), lextra='{stat_prefix: l1}', **kw):
    """A proxy that is under this pressure."""
    t.write('pressure', str(pressure))
    cfg = simple(t, clusters=list(clusters), routes=routes, lextra=lextra, log=log, **kw)
    cfg['overload_manager'] = manager(t, actions, points, monitors, **(om or {}))
    await t.start(cfg)
    t.see('pressed', await t.stat_until('overload.%s.pressure' % INJECTED, lambda v: v == round(float(pressure) * 100)))


async def press(t, pressure):
    t.move_in('pressure', str(pressure))
    return await t.stat_until('overload.%s.pressure' % INJECTED, lambda v: v == round(float(pressure) * 100))


OVERLOAD = r'^(overload\.envoy|http\.in\.(downstream_rq_overload_close|downstream_cx_overload_disable_keepalive|downstream_rq_5xx|downstream_rq_total|downstream_rq_completed)|listener\.l1\.downstream_(cx_total|cx_overload_reject|cx_active))'


async def overloaded(t):
    return await t.stats(regex=OVERLOAD)


def asked(name, pressure=0.95, actions=(), points=(), reqs=2, opts=None, h2=False, headers=(), wait=1, sheds=True, **kw):
    """What requests get under this pressure."""
    @case('overload_' + name)
    async def _(t):
        await began(t, pressure, actions, points, opts=opts, **kw)
        if h2:
            c = await t.h2()
            for i in range(reqs):
                try:
                    t.see('r%d' % i, await t.h2req('/', headers=headers, conn=c, timeout=1))
                except Exception as e:
                    t.see('r%d' % i, type(e).__name__)
        else:
            c = await t.conn()
            for i in range(reqs):
                r = await t.req(conn=c, headers=headers, timeout=wait)
                t.see('r%d' % i, r)
        if h2:
            t.see('goaway', c.goaway)
        t.see('stats', {k: v if sheds or not k.endswith('shed_load_count') else v > 0 for k, v in (await overloaded(t)).items()})
        t.see('log', await t.logs())


STOP = [action('stop_accepting_requests')]
asked('requests_below', 0.5, STOP)
asked('requests_at', 0.9, STOP)
asked('requests_refused', 0.95, STOP)
asked('requests_refused_over_http2', 0.95, STOP, h2=True)
asked('requests_refused_with_a_header', 0.95, STOP, opts='{append_local_overload: true}')
asked('requests_refused_of_grpc', 0.95, STOP, headers=[('content-type', 'application/grpc')])
asked('requests_refused_without_filters', 0.95, STOP, filters=[http_filter('hm', 'header_mutation.v3.HeaderMutation', '{mutations: {response_mutations: [{append: {header: {key: x-f, value: "1"}}}]}}')])
asked('requests_refused_and_mapped', 0.95, STOP, opts='{local_reply_config: {mappers: [{filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 503, runtime_key: k}}}}, status_code: 429, body: {inline_string: "busy"}}]}}')
asked('keepalive_ends', 0.95, [action('disable_http_keepalive')], reqs=1)
asked('keepalive_stays', 0.5, [action('disable_http_keepalive')])
asked('keepalive_ends_over_http2', 0.95, [action('disable_http_keepalive')], h2=True)
asked('point_decode_headers', 0.95, points=['http_connection_manager_decode_headers'])
asked('point_decode_headers_with_a_header', 0.95, points=['http_connection_manager_decode_headers'], opts='{append_local_overload: true}', h2=True)
asked('point_creating_codec', 0.95, points=['hcm_ondata_creating_codec'], reqs=1, wait=4)
asked('point_http1_abort', 0.95, points=['http1_server_abort_dispatch'], reqs=1)
asked('point_http2_goaway', 0.95, points=['http2_server_go_away_on_dispatch'], h2=True, sheds=False)
asked('point_filter_check', 0.95, points=['http_downstream_filter_check'])
asked('point_filter_check_below', 0.5, points=['http_downstream_filter_check'])
asked('point_listener_accept', 0.95, points=['tcp_listener_accept'], reqs=1)
asked('connections_rejected', 0.95, [action('reject_incoming_connections')], reqs=1)
asked('connections_not_rejected', 0.5, [action('reject_incoming_connections')], reqs=1)
asked('connections_not_rejected_by_one_that_bypasses', 0.95, [action('reject_incoming_connections')], reqs=1, lextra='{stat_prefix: l1, bypass_overload_manager: true}')
asked('requests_of_one_that_bypasses', 0.95, STOP, reqs=1, lextra='{stat_prefix: l1, bypass_overload_manager: true}')


@case('overload_point_http2_goaway_and_close')
async def _(t):
    await began(t, 0.95, points=['http2_server_go_away_and_close_on_dispatch'])
    c = await t.h2()
    r = await t.h2req('/', conn=c, timeout=4)
    t.see('answered', bool(r['headers']))
    t.see('closed', bool(await t.until(lambda: c.closed, timeout=4)) if hasattr(c, 'closed') else None)
    t.see('goaway', c.goaway)
    t.see('stats', await t.stats(regex=r'^overload\.envoy\.load_shed'))


@case('overload_point_of_upstream_connections')
async def _(t):
    u = await t.up('u1')
    await began(t, 0.95, points=['connection_pool_new_connection'], clusters=[cluster('c1', u)], routes='[{match: {prefix: /}, route: {cluster: c1}}]')
    t.see('r', await t.req())
    t.see('stats', await overloaded(t))
    t.see('cluster', await t.stats('cluster.c1.upstream_rq_pending_overflow', 'cluster.c1.upstream_cx_overflow', 'cluster.c1.upstream_cx_total', 'cluster.c1.upstream_rq_503', 'cluster.c1.upstream_rq_total'))
    t.see('log', await t.logs())


@case('overload_comes_and_goes')
async def _(t):
    await began(t, 0.1, STOP)
    out = [(await t.req()).status]
    for p in (0.95, 0.89, 1, 0):
        t.see('pressed %s' % p, await press(t, p))
        await t.pass_time(0.1)
        out.append((await t.req()).status)
    t.see('out', out)
    t.see('stats', await overloaded(t))


@case('overload_connections_wait')
async def _(t):
    """Listeners that accept nothing: a connection waits in the kernel until the pressure is gone."""
    await began(t, 0.95, [action('stop_accepting_connections')])
    await t.pass_time(0.1)
    c = await t.conn()
    c.send(build('/', 'GET', (), 'a', None, 'HTTP/1.1'))
    t.see('answered', (await c.response('GET', 0.3)).status or None)
    t.see('stats', await overloaded(t))
    t.see('pressed low', await press(t, 0.1))
    t.see('after', await t.req())


@case('overload_trigger_scaled')
async def _(t):
    await began(t, 0.5, [action('stop_accepting_requests', scaled(0.4, 0.8))])
    seen = {}
    for p in (0.5, 0.4, 0.6, 0.79, 0.8, 1):
        await press(t, p)
        await t.pass_time(0.05)
        seen[str(p)] = await t.stats(regex=r'^overload\.envoy\.overload')
    t.see('seen', seen)


@case('overload_trigger_scaled_refuses_a_part')
async def _(t):
    await began(t, 0.6, [action('stop_accepting_requests', scaled(0.4, 0.8))], log=None)
    c = await t.conn()
    out = [(await t.req(conn=c)).status for _ in range(200)]
    t.see('about half', 60 < out.count(503) < 140)


@case('overload_file_odd')
async def _(t):
    """Files that hold no pressure."""
    await began(t, 0.5, STOP)
    seen = {}
    for i, text in enumerate(('1.5', '-0.1', 'x', '', '0.25\n', ' 0.5')):
        failed = (await t.stats('overload.%s.failed_updates' % INJECTED)).popitem()[1]
        t.move_in('pressure', text)
        await t.pass_time(0.15)
        now = await t.stats('overload.%s.failed_updates' % INJECTED, 'overload.%s.pressure' % INJECTED)
        seen[repr(text)] = [now['overload.%s.failed_updates' % INJECTED] > failed, now['overload.%s.pressure' % INJECTED]]
    t.see('seen', seen)


@case('overload_file_gone')
async def _(t):
    cfg = simple(t, clusters=[], routes=ROUTES)
    cfg['overload_manager'] = manager(t, STOP)
    code, _ = await t.run_to_end(cfg, ['--mode', 'validate'])
    t.see('validate', code)
    cfg['overload_manager']['resource_monitors'][0]['typed_config']['filename'] = t.path('there/is/none')
    code, _ = await t.run_to_end(cfg, ['--mode', 'validate'])
    t.see('no directory', code)


def idle(name, factor, opts, wanted, pressure=0.95, first=True, lextra='{stat_prefix: l1}'):
    """How long a connection is idle until it is closed."""
    @case('overload_timers_' + name)
    async def _(t):
        await began(t, pressure, [action('reduce_timeouts', scaled(0.5, 1.0), **timers(factor))], opts=opts, log=None, lextra=lextra)
        c = await t.conn()
        if first:
            t.see('r', (await t.req(conn=c)).status)
        start = time.monotonic()
        try:
            while await asyncio.wait_for(c.r.read(100), 9):
                pass
            took = time.monotonic() - start
            t.see('closed in time', wanted[0] < took < wanted[1])
        except asyncio.TimeoutError:
            t.see('closed in time', 'never')
        t.see('stats', await t.stats(regex=r'^(http\.in\.downstream_cx_(idle_timeout|max_duration_reached)|overload\.envoy\.overload)'))


IDLE = '{common_http_protocol_options: {idle_timeout: 4s}, drain_timeout: 0.1s, delayed_close_timeout: 0.05s}'
idle('of_idle_connections', '{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 0.2s}', IDLE, (0.0, 1.8), 1.0)
idle('of_idle_connections_by_a_part', '{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_scale: {value: 10}}', IDLE, (0.1, 2.2), 1.0)
idle('of_idle_connections_halfway', '{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 0.2s}', IDLE, (1.2, 3.3), 0.75)
idle('of_other_things', '{timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 0.2s}', IDLE, (3.4, 7), 1.0)
idle('of_connections', '{timer: HTTP_DOWNSTREAM_CONNECTION_MAX, min_timeout: 0.2s}', '{common_http_protocol_options: {max_connection_duration: 6s}, drain_timeout: 0.1s, delayed_close_timeout: 0.05s}', (0.0, 3.5), 1.0)


@case('overload_timers_of_streams')
async def _(t):
    """A stream's idle time, before and after the pressure comes."""
    u = await t.up('u1', lambda m, n: asyncio.sleep(8, resp(200, 'late')))
    await began(t, 0.1, [action('reduce_timeouts', **timers('{timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 0.3s}'))], clusters=[cluster('c1', u)],
                routes='[{match: {prefix: /}, route: {cluster: c1, timeout: 0s, idle_timeout: 6s}}]')
    c = await t.conn()
    c.send(build('/', 'GET', (), 'a', None, 'HTTP/1.1'))
    start = time.monotonic()
    await t.until(lambda: u.reqs)
    await press(t, 1)
    r = await c.response('GET', 8)
    t.see('r', r)
    t.see('in time', time.monotonic() - start < 4.5)
    t.see('log', await t.logs())


@case('overload_timers_of_handshakes')
async def _(t):
    """A client that says nothing has little time for its handshake."""
    d = certs()
    tls = {'name': 'tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', 'common_tls_context': {
        'tls_certificates': [{'certificate_chain': {'filename': d + '/a.crt'}, 'private_key': {'filename': d + '/a.key'}}]}}}
    t.write('pressure', '1')
    l = listener(t, [hcm(t, routes=ROUTES)], extra='{stat_prefix: l1}')
    l['filter_chains'][0].update(transport_socket=tls, transport_socket_connect_timeout='6s')
    cfg = config(t, [l], [])
    cfg['overload_manager'] = manager(t, [action('reduce_timeouts', **timers('{timer: TRANSPORT_SOCKET_CONNECT, min_timeout: 0.2s}'))])
    await t.start(cfg)
    t.see('active', await t.stat_until('overload.envoy.overload_actions.reduce_timeouts.active', lambda v: v == 1))
    c = await t.conn()
    start = time.monotonic()
    await asyncio.wait_for(c.r.read(1), 8)
    t.see('in time', time.monotonic() - start < 4)
    t.see('stats', await t.stats('listener.l1.downstream_cx_transport_socket_connect_timeout'))


def refused(name, **om):
    @case('overload_refused_' + name)
    async def _(t):
        t.write('pressure', '0.1')
        exits = []
        for m in om.get('each', [om]):
            cfg = simple(t, clusters=[], routes=ROUTES)
            cfg['overload_manager'] = manager(t, **{k: v for k, v in m.items()})
            code, _ = await t.run_to_end(cfg, ['--mode', 'validate'])
            exits.append(code)
        t.see('exit', exits)


refused('actions', each=[
    {'actions': [action('x')]}, {'actions': [{'name': 'x', 'triggers': [at()]}]}, {'actions': [action('stop_accepting_requests')] * 2},
    {'actions': [action('stop_accepting_requests', at(name='other'))]}, {'actions': [action('stop_accepting_requests', at(0.5), at(0.9))]},
    {'actions': [{'name': ACTION + 'stop_accepting_requests'}]}, {'actions': [action('stop_accepting_requests', {'name': INJECTED})]},
    {'actions': [action('stop_accepting_requests', at(1.5))]}, {'actions': [action('stop_accepting_requests', scaled(0.8, 0.8))]}, {'actions': [action('stop_accepting_requests', scaled(0.9, 0.8))]},
    {'actions': [action('stop_accepting_requests', **timers('{timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 1s}'))]},
])
refused('timers', each=[
    {'actions': [action('reduce_timeouts')]}, {'actions': [action('reduce_timeouts', typed_config={'@type': SCALE})]},
    {'actions': [action('reduce_timeouts', **timers('{timer: HTTP_DOWNSTREAM_STREAM_IDLE}'))]}, {'actions': [action('reduce_timeouts', **timers('{timer: UNSPECIFIED, min_timeout: 1s}'))]},
    {'actions': [action('reduce_timeouts', **timers('{timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_scale: {value: 120}}'))]},
    {'actions': [action('reduce_timeouts', **timers('{timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 1s}', '{timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 2s}'))]},
    {'actions': [{'name': 'mine', 'triggers': [at()], **timers('{timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 1s}')}]},
    {'actions': [action('reduce_timeouts', **timers('{timer: HTTP_DOWNSTREAM_STREAM_FLUSH, min_timeout: 1s}'))]},
    {'actions': [action('reduce_timeouts', **timers('{timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 1s}')), {'name': 'mine', 'triggers': [at()], **timers('{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 1s}')}]},
])
refused('points', each=[
    {'points': ['x']}, {'points': ['tcp_listener_accept'] * 2}, {'points': [{'name': 'mine', 'triggers': [at()]}]}, {'points': [{'name': POINT + 'tcp_listener_accept'}]},
    {'points': [{'name': POINT + 'tcp_listener_accept', 'triggers': [at(name='other')]}]}, {'points': [{'name': POINT + 'tcp_listener_accept', 'triggers': [at(), at(0.5)]}]},
    {'points': ['http3_server_go_away_on_dispatch']},
    {'points': ['tcp_listener_accept'], 'actions': [{'name': POINT + 'tcp_listener_accept', 'triggers': [at()]}]},
])
HEAP = T + 'fixed_heap.v3.FixedHeapConfig'


def monitor(type_, name='m', **fields):
    return {'name': name, 'typed_config': {'@type': type_, **fields}}


H = 'envoy.resource_monitors.fixed_heap'
refused('monitors', each=[
    {'monitors': [monitor(HEAP, H)]}, {'monitors': [monitor(HEAP, H, max_heap_size_bytes=0)]}, {'monitors': [monitor(HEAP, H, max_heap_size_bytes=1000)]},
    {'monitors': [monitor(HEAP, 'mine', max_heap_size_bytes=1000)]}, {'monitors': [monitor(HEAP, H, max_heap_size_bytes=1000, max_heap_size_bytes_runtime=Y('{default_value: 5, runtime_key: k}'))]},
    {'monitors': [monitor(HEAP, H, max_heap_size_bytes_runtime=Y('{default_value: 0, runtime_key: k}'))]}, {'monitors': [monitor(HEAP, H, max_heap_size_bytes_runtime=Y('{default_value: 5, runtime_key: k}'))]},
    {'monitors': [monitor(HEAP, H, max_heap_size_bytes=1000)] * 2}, {'monitors': [monitor(T + 'injected_resource.v3.InjectedResourceConfig', INJECTED)]},
])
refused('intervals', each=[{'refresh_interval': x} for x in ('0s', '-1s', '0.0005s', '10s')])
refused('streams', each=[{'actions': [action('reset_high_memory_stream')]}, {'actions': [action('shrink_heap')]},
                         {'actions': [action('shrink_heap', typed_config=Y('{"@type": type.googleapis.com/envoy.config.overload.v3.ShrinkHeapConfig, timer_interval: 1s, max_unfreed_memory_bytes: 1000}'))]},
                         {'actions': [action('shrink_heap', typed_config=Y('{"@type": type.googleapis.com/envoy.config.overload.v3.ShrinkHeapConfig, timer_interval: 0.1s}'))]}])


@case('overload_fixed_heap')
async def _(t):
    """A heap of no size is always full."""
    cfg = simple(t, clusters=[], routes=ROUTES, log=LOG, lextra='{stat_prefix: l1}')
    cfg['overload_manager'] = manager(t, [action('stop_accepting_requests', at(0.95, H)), action('shrink_heap', at(0.5, H))], monitors=[monitor(HEAP, H, max_heap_size_bytes=1000)])
    await t.start(cfg)
    t.see('active', await t.stat_until('overload.envoy.overload_actions.stop_accepting_requests.active', lambda v: v == 1))
    t.see('r', await t.req())
    t.see('pressure', (await t.stats('overload.%s.pressure' % H))['overload.%s.pressure' % H] >= 100)
    t.see('names', sorted(await t.stats(regex=r'^overload\.')))


@case('overload_fixed_heap_large')
async def _(t):
    cfg = simple(t, clusters=[], routes=ROUTES, log=LOG, lextra='{stat_prefix: l1}')
    cfg['overload_manager'] = manager(t, [action('stop_accepting_requests', at(0.95, H))], monitors=[monitor(HEAP, H, max_heap_size_bytes=100000000000), injected(t)])
    t.write('pressure', '0.3')
    await t.start(cfg)
    t.see('there', await t.stat_until('overload.%s.pressure' % INJECTED, lambda v: v == 30))
    t.see('r', await t.req())
    t.see('stats', await overloaded(t))


@case('overload_two_resources')
async def _(t):
    """One action, the higher of two pressures."""
    t.write('p2', '0.1')
    two = 'envoy.resource_monitors.fixed_heap'
    await began(t, 0.1, [action('stop_accepting_requests', scaled(0.2, 0.6), at(1.0, two))], monitors=[injected(t), monitor(HEAP, two, max_heap_size_bytes=100000000000000)])
    t.see('calm', (await t.req()).status)
    await press(t, 0.7)
    await t.pass_time(0.1)
    t.see('under pressure', (await t.req()).status)
    t.see('stats', await t.stats(regex=r'^overload\.envoy\.overload'))
