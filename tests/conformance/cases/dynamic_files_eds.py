"""EDS by file: the hosts of a cluster change while the proxy runs."""
import yaml

from harness import *

NODE = '{node: {id: me, cluster: us}}'
ASSIGNMENT = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment'
COUNTS = (r'^cluster(_manager\.cluster_updated|\.c1\.(assignment_stale|assignment_timeout_received|init_fetch_timeout|'
          r'max_host_weight|membership_.*|update_(attempt|empty|failure|no_rebuild|rejected|success)|version|version_text|warming_state))$')


def assignment(*ups, name='c1', **more):
    endpoints = [{'lb_endpoints': [u if isinstance(u, dict) else lbe(u) for u in ups]}]
    return merge({'@type': ASSIGNMENT, 'cluster_name': name, 'endpoints': endpoints}, more)


def response(version, *resources):
    return yaml.safe_dump({'version_info': version, 'resources': list(resources)}, sort_keys=False)


def fed(t, extra=None, service=None, source=None):
    source = source or {'path_config_source': {'path': t.path('eds.yaml')}}
    config = {'eds_config': source, **({'service_name': service} if service else {})}
    c = {'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': config}
    return merge(c, Y(extra) or {})


async def start(t, first, extra=None, service=None, source=None, node=NODE, **kw):
    t.write('eds.yaml', first)
    await t.start(simple(t, clusters=[fed(t, extra, service, source)], extra=node, **kw))


async def moves_in(t, data, name='eds.yaml'):
    """Moves a file in and waits until it was looked at."""
    before = (await t.stats('cluster.c1.update_attempt'))['cluster.c1.update_attempt']
    t.move_in(name, data)
    await t.stat_until('cluster.c1.update_attempt', lambda n: n > before)


async def counts(t, key='stats'):
    t.see(key, await t.stats(regex=COUNTS))


async def hosts(t, key='hosts', words='health_flags'):
    _, text = await t.admin('/clusters')
    t.see(key, [l for l in text.splitlines() if any('::%s::' % w in l for w in words.split())])


async def served(t, n=4):
    return sorted({(await t.req('/')).body.decode() for _ in range(n)})


async def two(t):
    return [await t.up('u1', respond=body('one')), await t.up('u2', respond=body('two'))]


def body(text):
    return lambda *_: resp(200, text)


@case()
async def eds_from_a_file(t):
    u = await two(t)
    await start(t, response('v1', assignment(*u)))
    t.see('served', await served(t))
    await counts(t)
    await hosts(t)


@case()
async def eds_hosts_come_and_go(t):
    u = await two(t)
    await start(t, response('v1', assignment(u[0])))
    t.see('first', await served(t))
    await moves_in(t, response('v2', assignment(*u)))
    t.see('second', await served(t))
    await counts(t, 'both')
    await moves_in(t, response('v3', assignment(u[1])))
    t.see('third', await served(t))
    await counts(t, 'one')
    await hosts(t)


@case()
async def eds_service_name(t):
    u = await two(t)
    await start(t, response('v1', assignment(*u, name='svc')), service='svc')
    t.see('served', await served(t))
    _, text = await t.admin('/clusters')
    t.see('name', [l for l in text.splitlines() if 'eds_' in l or 'added_via' in l])
    _, text = await t.admin('/clusters?format=json')
    t.see('json', [c.get('eds_service_name') for c in json.loads(text)['cluster_statuses']])


@case()
async def eds_path(t):
    u = await two(t)
    await start(t, response('v1', assignment(u[0])), source={'path': t.path('eds.yaml')})
    await moves_in(t, response('v2', assignment(u[1])))
    t.see('served', await served(t))


@case()
async def eds_equal_again(t):
    """An equal assignment, whatever its version or order, changes nothing."""
    u = await two(t)
    await start(t, response('v1', assignment(*u)))
    await moves_in(t, response('v1', assignment(*u)))
    await moves_in(t, response('v2', assignment(*u)))
    await moves_in(t, response('v3', assignment(*reversed(u))))
    await moves_in(t, response('v4', assignment(*u, u[0])))
    await counts(t)


@case()
async def eds_host_changes_in_place(t):
    """Weight, health and metadata change under a host that stays the same."""
    u = await two(t)
    await start(t, response('v1', assignment(*u)))
    await served(t)
    await moves_in(t, response('v2', assignment(lbe(u[0], load_balancing_weight=5), u[1])))
    await counts(t, 'weight')
    await moves_in(t, response('v3', assignment(lbe(u[0], health_status='UNHEALTHY'), u[1])))
    await counts(t, 'health')
    await hosts(t)
    t.see('served', await served(t))
    await moves_in(t, response('v4', assignment(lbe(u[0], metadata={'filter_metadata': {'envoy.lb': {'a': 'b'}}}), u[1])))
    await counts(t, 'metadata')
    await hosts(t, 'counted', 'cx_total rq_total weight')


@case()
async def eds_health_statuses(t):
    u = await t.up()
    statuses = ['UNKNOWN', 'HEALTHY', 'UNHEALTHY', 'DRAINING', 'TIMEOUT', 'DEGRADED']
    await start(t, response('v0', assignment(u)))
    for status in statuses:
        await moves_in(t, response(status, assignment(lbe(u, health_status=status))))
        await hosts(t, status)
        t.see(status + ' gauges', await t.stats(regex=r'^cluster\.c1\.membership_(healthy|degraded|excluded|total)$'))


@case()
async def eds_empty_assignment_and_empty_response(t):
    u = await t.up()
    await start(t, response('v1', assignment(u)))
    await moves_in(t, response('v2'))
    t.see('kept', (await t.req('/')).status)
    await counts(t, 'no resource')
    await moves_in(t, response('v3', {'@type': ASSIGNMENT, 'cluster_name': 'c1'}))
    r = await t.req('/')
    t.see('gone', [r.status, r.body.decode()])
    await counts(t, 'no hosts')


@case()
async def eds_that_is_refused(t):
    """The last good hosts stay, and the counters tell."""
    u = await t.up()
    await start(t, response('v1', assignment(u)))
    bad = lbe(u)
    bad['endpoint']['address']['socket_address']['address'] = 'localhost'
    for key, data in [('other name', response('a', assignment(u, name='x'))),
                      ('two', response('b', assignment(u), assignment(u, name='x'))),
                      ('type', response('c', {'@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', 'name': 'x'})),
                      ('no yaml', 'a: ['),
                      ('no address', response('d', assignment({'endpoint': {}}))),
                      ('name as address', response('e', assignment(bad))),
                      ('priority', response('f', {'@type': ASSIGNMENT, 'cluster_name': 'c1', 'endpoints': [{'priority': 200}]}))]:
        await moves_in(t, data)
        await counts(t, key)
        t.see(key + ' status', (await t.req('/')).status)
    await moves_in(t, response('v2', assignment(u)))
    await counts(t, 'good again')


@case()
async def eds_refused_at_the_start(t):
    u = await t.up()
    await start(t, response('v1', assignment(u, name='x')))
    r = await t.req('/')
    t.see('status', [r.status, r.body.decode()])
    await counts(t)
    await moves_in(t, response('v2', assignment(u)))
    t.see('then', (await t.req('/')).status)
    await counts(t, 'then stats')


@case()
async def eds_priorities(t):
    u = await two(t)

    def prio(a, b):
        return {'@type': ASSIGNMENT, 'cluster_name': 'c1', 'endpoints': [
            {'priority': 1, 'lb_endpoints': [lbe(a)]}, {'priority': 0, 'lb_endpoints': [lbe(b)]}]}
    await start(t, response('v1', prio(*u)))
    t.see('first', await served(t))
    await moves_in(t, response('v2', prio(*reversed(u))))
    t.see('second', await served(t))
    await counts(t)
    await hosts(t, words='priority')
    await moves_in(t, response('v3', assignment(u[0])))
    t.see('third', await served(t))
    await counts(t, 'then')


@case()
async def eds_connection_stays_with_its_host(t):
    """The pools of a host that stays are kept; those of a host that is gone are closed."""
    u = await t.up()
    v = await t.up('u2')
    await start(t, response('v1', assignment(u)))
    await t.req('/')
    await moves_in(t, response('v2', assignment(u, v)))
    await t.req('/')
    await t.req('/')
    await moves_in(t, response('v3', assignment(v)))
    await t.stat_until('cluster.c1.upstream_cx_active', lambda n: n == 1)
    t.see('stats', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_active', 'cluster.c1.upstream_cx_destroy_local',
                                 'cluster.c1.upstream_rq_total'))


@case()
async def eds_stale(t):
    u = await t.up()
    await start(t, response('v1', assignment(u)))
    await moves_in(t, response('v2', assignment(u, policy={'endpoint_stale_after': '0.2s'})))
    t.see('status', (await t.req('/')).status)
    await t.stat_until('cluster.c1.assignment_stale', lambda n: n > 0)
    t.see('stale', (await t.req('/')).status)
    await counts(t)


CHECKED = 'health_checks: [{timeout: 1s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]'


@case()
async def eds_host_that_is_well_stays(t):
    """A host that is no longer named stays as long as its checks find it well."""
    u = await two(t)
    await start(t, response('v1', assignment(*u)), CHECKED)
    await moves_in(t, response('v2', assignment(u[0])))
    await hosts(t, 'kept')
    t.see('served', await served(t))
    await counts(t)
    await moves_in(t, response('v3', assignment(*u)))
    await hosts(t, 'named again')


@case()
async def eds_host_goes_though_it_is_well(t):
    u = await two(t)
    await start(t, response('v1', assignment(*u)), CHECKED + '\nignore_health_on_host_removal: true')
    await moves_in(t, response('v2', assignment(u[0])))
    await hosts(t)
    t.see('served', await served(t))
    await counts(t)


@case()
async def eds_host_out_by_configuration_goes_at_once(t):
    u = await two(t)
    await start(t, response('v1', assignment(*u)), CHECKED)
    await moves_in(t, response('v2', assignment(u[0], lbe(u[1], health_status='UNHEALTHY'))))
    await hosts(t, 'out')
    await moves_in(t, response('v3', assignment(u[0])))
    await hosts(t, 'gone')
    await counts(t)


@case()
async def eds_in_the_dump(t):
    u = await t.up()
    await start(t, response('v1', assignment(lbe(u, health_status='DEGRADED'), name='svc')), service='svc')
    _, text = await t.admin('/config_dump?include_eds')
    dumps = json.loads(text)['configs']
    t.see('endpoints', [c for c in dumps if 'Endpoints' in c['@type']])


@case()
async def eds_without_node(t):
    t.write('eds.yaml', response('v1'))
    code, text = await t.run_to_end(simple(t, clusters=[fed(t)]))
    t.see('exit', code)
    t.see('why', "node 'id' and 'cluster' are required" in text)


@case()
async def eds_config_that_is_missing(t):
    for key, c in [('none', {'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s'}),
                   ('empty', {'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': {}}),
                   ('static', {**fed(t), 'type': 'STATIC'}),
                   ('no file', fed(t, source={'path_config_source': {'path': t.path('nowhere.yaml')}}))]:
        t.write('eds.yaml', response('v1'))
        code, _ = await t.run_to_end(simple(t, clusters=[c], extra=NODE))
        t.see(key, code)
