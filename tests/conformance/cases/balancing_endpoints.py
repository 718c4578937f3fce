"""What an assignment says beside its hosts: overload that is dropped, metadata of localities, fields that nobody reads; and what changes of hosts do to connections."""
import json

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST%'
DROPS = 'drop_overload|upstream_rq_total|upstream_rq_503|upstream_rq_completed|no_healthy|upstream_rq_5xx'


def assigned(t, **more):
    """c1 with these further fields of its assignment."""
    c1 = cluster('c1', t.ups)
    merge(c1['load_assignment'], more)
    return c1


def dropping(numerator, denominator=None):
    share = {'numerator': numerator, **({'denominator': denominator} if denominator else {})}
    return {'policy': {'drop_overloads': [{'category': 'c', 'drop_percentage': share}]}}


def dropped(name, more, n=1, **kw):
    @case('drop_overload_' + name)
    async def _(t):
        await t.up()
        await t.start(simple(t, clusters=[assigned(t, **more)], log=LOG, **kw))
        for i in range(n):
            r = await t.req('/')
            t.see('response %d' % i, r)
        t.see('stats', await t.stats(regex=r'^cluster[.]c1[.].*(%s)$' % DROPS))
        t.see('router', await t.stats(regex=r'^http[.]in[.](rq_total|downstream_rq_5xx|rq_drop.*)$'))
        t.see('log', await t.logs())


RETRIES = '[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 2}}}]'
GRPC_LIKE = {'headers': [('content-type', 'application/grpc')]}
dropped('all', dropping(100))
dropped('none', dropping(0))
dropped('without_a_share', {'policy': {'drop_overloads': [{'category': 'c'}]}})
dropped('all_of_a_million', dropping(1000000, 'MILLION'))
dropped('all_is_not_retried', dropping(100), routes=RETRIES)
dropped('all_by_runtime_no_more', dropping(100), extra={'layered_runtime': {'layers': [{'name': 's', 'static_layer': {'load_balancing_policy.drop_overload_limit': 0}}]}})
dropped('limit_by_runtime', dropping(100), extra={'layered_runtime': {'layers': [{'name': 's', 'static_layer': {'load_balancing_policy.drop_overload_limit': 100}}]}})
dropped('limit_by_runtime_without_drops', {}, extra={'layered_runtime': {'layers': [{'name': 's', 'static_layer': {'load_balancing_policy.drop_overload_limit': 100}}]}})
dropped('all_of_a_cluster_in_maintenance', dropping(100), extra={'layered_runtime': {'layers': [{'name': 's', 'static_layer': {'upstream.maintenance_mode.c1': 100}}]}})


@case()
async def drop_overload_half(t):
    await t.up()
    await t.start(simple(t, clusters=[assigned(t, **dropping(50))], log=LOG))
    c = await t.conn()
    got = [(await t.req('/', conn=c)).status for _ in range(200)]
    t.see('statuses', sorted(set(got)))
    t.see('about half', 60 <= got.count(503) <= 140)
    t.see('log', sorted(set(await t.logs())))


@case()
async def drop_overload_grpc(t):
    await t.h2up()
    await t.start(simple(t, clusters=[assigned(t, **dropping(100))], log=LOG))
    t.see('response', await t.h2req('/s/m', 'POST', [('content-type', 'application/grpc'), ('te', 'trailers')]))
    t.see('log', await t.logs())


@case()
async def drop_overload_of_tcp(t):
    await t.up()
    proxy = {'name': 'tcp', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 't', 'cluster': 'c1'}}
    await t.start(config(t, [listener(t, [proxy])], [assigned(t, **dropping(100))]))
    t.see('response', await t.req('/'))


@case()
async def drop_overload_without_hosts(t):
    c1 = {'name': 'c1', 'type': 'STATIC', 'connect_timeout': '1s', 'load_assignment': {'cluster_name': 'c1', **dropping(100)}}
    await t.start(simple(t, clusters=[c1], log=LOG))
    t.see('response', await t.req('/'))
    t.see('log', await t.logs())


def fed(t, version, ups, **more):
    return json.dumps({'version_info': version, 'resources': [{'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': 'c1',
                                                                'endpoints': [{'lb_endpoints': [lbe(u) for u in ups]}], **more}]})


def eds(t, **more):
    return {'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': {'eds_config': {'path_config_source': {'path': t.path('eds.json')}}}, **more}


NODE = {'node': {'id': 'i', 'cluster': 'c'}}


@case()
async def drop_overload_by_eds(t):
    """What an assignment says of drops counts when hosts come or go with it."""
    u, v = await t.up('u1'), await t.up('u2')
    t.write('eds.json', fed(t, '1', [u]))
    await t.start(simple(t, clusters=[eds(t)], extra=NODE))
    t.see('first', (await t.req('/')).status)
    steps = [('drops', [u], dropping(100)), ('drops, and a host comes', [u, v], dropping(100)), ('none', [u, v], {}), ('none, and a host goes', [u], {}),
             ('drops, and another host', [v], dropping(100))]
    for i, (name, ups, more) in enumerate(steps, 2):
        t.move_in('eds.json', fed(t, str(i), ups, **more))
        await t.stat_until('cluster.c1.update_success', lambda n: n >= i)
        await t.pass_time(0.05)
        t.see(name, (await t.req('/')).status)


@case()
async def drop_overload_by_eds_from_the_start(t):
    u = await t.up('u1')
    t.write('eds.json', fed(t, '1', [u], **dropping(100)))
    await t.start(simple(t, clusters=[eds(t)], extra=NODE))
    t.see('status', (await t.req('/')).status)


@case()
async def drop_overload_by_eds_refused(t):
    """Two categories: the assignment as a whole is refused."""
    u = await t.up()
    t.write('eds.json', fed(t, '1', [u]))
    await t.start(simple(t, clusters=[eds(t)], extra=NODE))
    t.see('first', (await t.req('/')).status)
    two = dropping(100)
    two['policy']['drop_overloads'] *= 2
    t.move_in('eds.json', fed(t, '2', [u], **two))
    await t.stat_until('cluster.c1.update_rejected', lambda n: n >= 1)
    t.see('then', (await t.req('/')).status)
    t.see('stats', await t.stats('cluster.c1.update_rejected', 'cluster.c1.update_success'))


def refused(name, more, words):
    @case('endpoints_refused_' + name)
    async def _(t):
        await t.up()
        code, out = await t.run_to_end(simple(t, clusters=[assigned(t, **(more(t) if callable(more) else more))]))
        t.see('code', code)
        t.see('why', words in out)


TWO = dropping(10)
TWO['policy']['drop_overloads'] *= 2
refused('two_categories', TWO, 'Cluster drop_overloads config has 2 categories. Envoy only support one.')
refused('dropping_more_than_all', dropping(110), 'Cluster drop_overloads config is invalid. drop_ratio=1.1(Numerator 110 / Denominator 100). The valid range is 0~1.')
refused('dropping_more_than_all_of_a_million', dropping(2000000, 'MILLION'), 'Cluster drop_overloads config is invalid. drop_ratio=2(Numerator 2000000 / Denominator 1000000). The valid range is 0~1.')
refused('category_without_name', {'policy': {'drop_overloads': [{'drop_percentage': {'numerator': 1}}]}}, '')
refused('endpoint_by_name', lambda t: {'named_endpoints': {'e': {'address': addr(t.ups[0])}}, 'endpoints': [{'lb_endpoints': [{'endpoint_name': 'e'}]}]}, '')
refused('leds_of_a_static_cluster', {'endpoints': [{'leds_cluster_locality_config': {'leds_config': {'path_config_source': {'path': '/dev/null'}}, 'leds_collection_name': 'x'}}]}, '')


@case()
async def endpoints_that_nobody_reads(t):
    u, v = await t.up('u1'), await t.up('u2')
    c1 = cluster('c1', localities=[{'proximity': 9, 'lb_endpoints': [lbe(u)], 'load_balancer_endpoints': {'lb_endpoints': [lbe(v)]}}])
    c1['load_assignment']['named_endpoints'] = {'e': {'address': addr(v)}}
    await t.start(simple(t, clusters=[c1]))
    t.see('seen', sorted({(await t.req('/')).h('x-up') for _ in range(6)}))
    t.see('stats', await t.stats('cluster.c1.membership_total'))


@case()
async def endpoints_in_the_old_list_alone(t):
    u = await t.up()
    c1 = cluster('c1', localities=[{'load_balancer_endpoints': {'lb_endpoints': [lbe(u)]}}])
    await t.start(simple(t, clusters=[c1]))
    t.see('status', (await t.req('/')).status)
    t.see('stats', await t.stats('cluster.c1.membership_total'))


@case()
async def locality_metadata_in_a_log(t):
    ups = [await t.up('h%d' % i) for i in range(2)]
    localities = [{'locality': {'zone': 'a'}, 'metadata': {'filter_metadata': {'my': {'k': 'v', 'deep': {'n': 1}}}}, 'lb_endpoints': [lbe(ups[0], extra={'metadata': {'filter_metadata': {'my': {'k': 'own'}}}})]},
                  {'locality': {'zone': 'b'}, 'lb_endpoints': [lbe(ups[1])]}]
    fmt = "%CEL(xds.upstream_host_locality_metadata.filter_metadata['my'].k)% %CEL(xds.upstream_host_locality_metadata)% %UPSTREAM_METADATA(my)%"
    await t.start(simple(t, clusters=[cluster('c1', localities=localities)], log=fmt))
    for _ in range(2):
        await t.req('/')
    t.see('log', sorted(await t.logs()))


# close_connections_on_host_set_change

def changes(name, extra, before, after, stays=(0, 1)):
    """Whether connections to hosts that stay are closed when hosts come or go."""
    @case('host_set_change_' + name)
    async def _(t):
        ups = [await t.up('h%d' % i) for i in range(3)]
        t.write('eds.json', fed(t, '1', [ups[i] for i in before]))
        await t.start(simple(t, clusters=[eds(t, **extra)], extra=NODE))
        c = await t.conn()
        for _ in range(len(before)):
            await t.req('/', conn=c)
        t.see('first', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_active'))
        t.move_in('eds.json', after(t, ups) if callable(after) else fed(t, '2', [ups[i] for i in after]))
        await t.stat_until('cluster.c1.update_success', lambda n: n >= 2)
        await t.pass_time(0.1)
        t.see('closed', [ups[i].closed_conns for i in stays])
        t.see('status', (await t.req('/', conn=c)).status)


CLOSES = {'common_lb_config': {'close_connections_on_host_set_change': True}}


def heavier(t, ups):
    return json.dumps({'version_info': '2', 'resources': [{'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': 'c1',
                                                           'endpoints': [{'lb_endpoints': [lbe(ups[0], load_balancing_weight=5), lbe(ups[1])]}]}]})


changes('closes_when_one_comes', CLOSES, [0, 1], [0, 1, 2])
changes('closes_when_one_goes', CLOSES, [0, 1, 2], [0, 1])
changes('closes_when_one_takes_the_place_of_another', CLOSES, [0, 1], [0, 2], stays=[0])
changes('closes_when_the_order_changes', CLOSES, [0, 1], [1, 0])
changes('closes_when_weights_change', CLOSES, [0, 1], heavier)
changes('closes_when_nothing_changes', CLOSES, [0, 1], [0, 1])
changes('leaves_connections_without_it', {}, [0, 1], [0, 1, 2])


@case()
async def host_set_change_leaves_running_requests(t):
    import asyncio
    gate = asyncio.Event()

    async def respond(m, n):
        await gate.wait()
        return resp(200, 'late', [('x-up', 'h0')])

    def late(m, n):
        return respond(m, n)
    a, b = await t.up('h0', late), await t.up('h1')
    t.write('eds.json', fed(t, '1', [a]))
    await t.start(simple(t, clusters=[eds(t, **CLOSES)], extra=NODE))
    task = asyncio.ensure_future(t.req('/'))
    await t.until(lambda: a.reqs)
    t.move_in('eds.json', fed(t, '2', [a, b]))
    await t.stat_until('cluster.c1.update_success', lambda n: n >= 2)
    await t.pass_time(0.05)
    gate.set()
    t.see('response', (await task).status)
    await t.stat_until('cluster.c1.upstream_cx_active', lambda n: n == 0, 1)
    t.see('active', await t.stats('cluster.c1.upstream_cx_active'))


@case()
async def host_set_change_closes_when_health_changes(t):
    """A host that is found degraded is a change, too."""
    ups = [await t.up('h0'), await t.up('h1', lambda m, n: resp(200, '', [('x-up', 'h1')] + ([('x-envoy-degraded', 'true')] if m['path'] == '/check' and t.degraded else [])))]
    t.degraded = False
    check = {'timeout': '1s', 'interval': '0.1s', 'no_traffic_interval': '0.1s', 'unhealthy_threshold': 1, 'healthy_threshold': 1, 'http_health_check': {'path': '/check'}}
    await t.start(simple(t, clusters=[cluster('c1', ups, {**CLOSES, 'health_checks': [check]})]))
    await t.stat_until('cluster.c1.membership_healthy', lambda n: n == 2)
    c = await t.conn()
    for _ in range(4):
        await t.req('/', conn=c)
    before = (await t.stats('cluster.c1.upstream_cx_destroy_local'))['cluster.c1.upstream_cx_destroy_local']
    t.degraded = True
    await t.stat_until('cluster.c1.membership_degraded', lambda n: n == 1)
    await t.pass_time(0.1)
    after = (await t.stats('cluster.c1.upstream_cx_destroy_local'))['cluster.c1.upstream_cx_destroy_local']
    t.see('closed', after - before)


# preconnect_enabled_metadata

def preconnected(name, matcher, metadata, n=1):
    @case('preconnect_metadata_' + name)
    async def _(t):
        hosts = [lbe(await t.up('h%d' % i), extra={'metadata': {'filter_metadata': {'my': m}}} if m else {}) for i, m in enumerate(metadata)]
        await t.start(simple(t, clusters=[cluster('c1', hosts, {'preconnect_policy': {'per_upstream_preconnect_ratio': 2, **matcher}})]))
        for _ in range(n):
            await t.req('/')
        await t.pass_time(0.1)
        t.see('connections', sorted(u.conns for u in t.ups))
        t.see('stats', await t.stats('cluster.c1.upstream_cx_total'))


ENABLED = {'preconnect_enabled_metadata': {'filter': 'my', 'path': [{'key': 'early'}], 'value': {'bool_match': True}}}
preconnected('matches', ENABLED, [{'early': True}])
preconnected('does_not_match', ENABLED, [{'early': False}])
preconnected('of_a_host_without_metadata', ENABLED, [None])
preconnected('without_a_matcher', {}, [None])
preconnected('of_two_hosts', ENABLED, [{'early': True}, {'early': False}], n=2)
preconnected('predictive', {**ENABLED, 'per_upstream_preconnect_ratio': 1, 'predictive_preconnect_ratio': 2}, [{'early': False}, {'early': False}])
preconnected('predictive_of_all', {**ENABLED, 'per_upstream_preconnect_ratio': 1, 'predictive_preconnect_ratio': 2}, [{'early': True}, {'early': True}])


@case()
async def drained_by_eds_and_panic(t):
    """Two of three hosts are drained by an update: no panic, and no request to them."""
    ups = [await t.up('h%d' % i) for i in range(3)]
    t.write('eds.json', fed(t, '1', ups))
    await t.start(simple(t, clusters=[eds(t)], extra=NODE))
    drained = [lbe(u, **({'health_status': 'DRAINING'} if i < 2 else {})) for i, u in enumerate(ups)]
    t.move_in('eds.json', fed(t, '2', [], endpoints=[{'lb_endpoints': drained}]))
    await t.stat_until('cluster.c1.update_success', lambda n: n >= 2)
    await t.pass_time(0.05)
    t.see('seen', sorted({(await t.req('/')).h('x-up') for _ in range(12)}))
    t.see('stats', await t.stats('cluster.c1.lb_healthy_panic', 'cluster.c1.membership_excluded', 'cluster.c1.membership_healthy'))
