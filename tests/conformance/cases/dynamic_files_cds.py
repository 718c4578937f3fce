"""CDS by file: clusters come, change and go while the proxy runs."""
import yaml

from harness import *

NODE = {'node': {'id': 'me', 'cluster': 'us'}}
CLUSTER = 'type.googleapis.com/envoy.config.cluster.v3.Cluster'
ASSIGNMENT = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment'
COUNTS = (r'^cluster_manager\.(active_clusters|warming_clusters|cluster_(added|modified|removed)'
          r'|cds\.(config_reload|init_fetch_timeout|update_(attempt|failure|rejected|success)|version|version_text))$')
ROUTES = '[{match: {prefix: "/a"}, route: {cluster: a}}, {match: {prefix: "/b"}, route: {cluster: b}}, {match: {prefix: "/"}, route: {cluster: c1}}]'


def response(version, *resources):
    return yaml.safe_dump({'version_info': version, 'resources': list(resources)}, sort_keys=False)


def made(name, u, **more):
    return merge({'@type': CLUSTER, **cluster(name, u)}, more)


async def start(t, first, source=None, ups=(), args=()):
    t.write('cds.yaml', first)
    source = source or {'path_config_source': {'path': t.path('cds.yaml')}}
    more = {**NODE, 'dynamic_resources': {'cds_config': source}}
    await t.start(simple(t, clusters=[cluster('c1', list(ups))], routes=ROUTES, route_config={'validate_clusters': False}, extra=more), args=args)


async def moves_in(t, data):
    before = (await t.stats('cluster_manager.cds.update_attempt'))['cluster_manager.cds.update_attempt']
    t.move_in('cds.yaml', data)
    await t.stat_until('cluster_manager.cds.update_attempt', lambda n: n > before)


async def counts(t, key='stats'):
    t.see(key, await t.stats(regex=COUNTS))


async def statuses(t, key):
    t.see(key, [(await t.req(p)).status for p in ('/a', '/b', '/')])


@case()
async def cds_from_a_file(t):
    u = await t.up()
    await start(t, response('v1', made('a', u)))
    await statuses(t, 'statuses')
    await counts(t)


@case()
async def cds_from_a_path(t):
    u = await t.up()
    await start(t, response('v1'), source={'path': t.path('cds.yaml')})
    await statuses(t, 'before')
    await moves_in(t, response('v2', made('a', u)))
    await statuses(t, 'after')


@case()
async def cds_adds_changes_and_removes(t):
    u = await t.up()
    await start(t, response('v1', made('a', u)))
    await moves_in(t, response('v2', made('a', u), made('b', u)))
    await statuses(t, 'added')
    await counts(t, 'added stats')
    await moves_in(t, response('v3', made('a', u, connect_timeout='2s'), made('b', u)))
    await statuses(t, 'changed')
    await counts(t, 'changed stats')
    await moves_in(t, response('v4', made('b', u)))
    await statuses(t, 'removed')
    await counts(t, 'removed stats')
    await moves_in(t, response('v5'))
    await statuses(t, 'none')
    await counts(t, 'none stats')


@case()
async def cds_equal_again(t):
    u = await t.up()
    await start(t, response('v1', made('a', u)))
    await t.req('/a')
    await moves_in(t, response('v1', made('a', u)))
    await moves_in(t, response('v2', made('a', u)))
    await t.req('/a')
    await counts(t)
    t.see('kept', await t.stats('cluster.a.upstream_cx_total', 'cluster.a.upstream_rq_total', 'cluster.a.membership_change'))
    _, text = await t.admin('/config_dump?resource=dynamic_active_clusters')
    t.see('version', [c['version_info'] for c in json.loads(text)['configs']])


@case()
async def cds_counters_go_on(t):
    """A cluster that is changed goes on counting; its connections are new."""
    u = await t.up()
    await start(t, response('v1', made('a', u)))
    await t.req('/a')
    await moves_in(t, response('v2', made('a', u, connect_timeout='2s')))
    await t.req('/a')
    t.see('stats', await t.stats('cluster.a.upstream_cx_total', 'cluster.a.upstream_rq_total',
                                 'cluster.a.membership_change', 'cluster.a.membership_total'))


@case()
async def cds_removed_under_a_request(t):
    """A request that is under way ends as it would have; its connection closes behind it."""
    u = await t.up(respond=lambda *_: resp(200, 'late'), delay=0.5)
    await start(t, response('v1', made('a', u)))
    running = asyncio.ensure_future(t.req('/a'))
    await t.stat_until('cluster.a.upstream_rq_active', lambda n: n == 1)
    await moves_in(t, response('v2'))
    r = await running
    t.see('running', [r.status, r.body.decode()])
    t.see('next', (await t.req('/a')).status)
    t.see('gone', await t.stats(regex=r'^cluster\.a\.membership_total$'))


@case()
async def cds_static_cluster_stays(t):
    u = await t.up()
    await start(t, response('v1', made('c1', u), made('a', u)))
    await statuses(t, 'statuses')
    await counts(t)
    _, text = await t.admin('/clusters')
    t.see('via api', sorted(l for l in text.splitlines() if 'added_via' in l))


@case()
async def cds_one_bad_among_good_ones(t):
    u = await t.up()
    await start(t, response('v1', made('a', u)))
    bad = made('b', u, lb_policy='RING_HASH', ring_hash_lb_config={'minimum_ring_size': 10, 'maximum_ring_size': 5})
    await moves_in(t, response('v2', made('d', u), bad))
    await statuses(t, 'statuses')
    t.see('stats', await t.stats(regex=r'^cluster_manager\.(active_clusters|cds\.(config_reload|update_(attempt|failure|rejected|success)|version_text))$'))
    t.see('d', await t.stats('cluster.d.membership_total'))
    await moves_in(t, response('v3', made('a', u)))
    await statuses(t, 'again')


@case()
async def cds_that_is_refused(t):
    u = await t.up()
    await start(t, response('v1', made('a', u)))
    for key, data in [('type', response('b', made('b', u), {'@type': ASSIGNMENT, 'cluster_name': 'x'})),
                      ('no yaml', 'a: ['), ('no response', '- a'),
                      ('constraint', response('c', made('b', u, connect_timeout='-1s')))]:
        await moves_in(t, data)
        await statuses(t, key)
        await counts(t, key + ' stats')


@case()
async def cds_named_twice(t):
    u = await t.up()
    await start(t, response('v1'))
    await moves_in(t, response('v2', made('a', u), made('a', u, connect_timeout='3s')))
    await statuses(t, 'statuses')
    await counts(t)


@case()
async def cds_with_eds(t):
    u, v = await t.up('u1', respond=lambda *_: resp(200, 'one')), await t.up('u2', respond=lambda *_: resp(200, 'two'))

    def assignment(u):
        return response('e', {'@type': ASSIGNMENT, 'cluster_name': 'a', 'endpoints': [{'lb_endpoints': [lbe(u)]}]})
    t.write('eds.yaml', assignment(u))
    fed = {'@type': CLUSTER, 'name': 'a', 'type': 'EDS', 'connect_timeout': '1s',
           'eds_cluster_config': {'eds_config': {'path_config_source': {'path': t.path('eds.yaml')}}}}
    await start(t, response('v1', fed))
    t.see('first', (await t.req('/a')).body.decode())
    t.move_in('eds.yaml', assignment(v))
    await t.stat_until('cluster.a.membership_change', lambda n: n == 2)
    t.see('second', (await t.req('/a')).body.decode())
    await moves_in(t, response('v2', merge(dict(fed), {'connect_timeout': '2s'})))
    t.see('changed', (await t.req('/a')).body.decode())
    t.see('stats', await t.stats('cluster.a.update_attempt', 'cluster.a.update_success', 'cluster.a.membership_change', 'cluster.a.version'))
    await moves_in(t, response('v3'))
    t.see('gone', (await t.req('/a')).status)


@case()
async def cds_waits_for_health(t):
    """A changed cluster serves when its checks are done; until then the old one does."""
    u, v = await t.up('u1', respond=lambda *_: resp(200, 'one')), await t.up('u2', respond=lambda *_: resp(200, 'two'), delay=0.6)
    await start(t, response('v1', made('a', u)))
    checks = [{'timeout': '2s', 'interval': '0.2s', 'unhealthy_threshold': 1, 'healthy_threshold': 1, 'http_health_check': {'path': '/'}}]
    await moves_in(t, response('v2', made('a', v, health_checks=checks)))
    t.see('meanwhile', (await t.req('/a')).body.decode())
    await counts(t, 'warming')
    _, text = await t.admin('/config_dump?resource=dynamic_warming_clusters')
    t.see('dump', [c['version_info'] for c in json.loads(text)['configs']])
    await t.stat_until('cluster_manager.warming_clusters', lambda n: n == 0)
    t.see('then', (await t.req('/a')).body.decode())
    await counts(t)


@case()
async def cds_in_the_dump(t):
    u = await t.up()
    await start(t, response('v1', made('a', u)))
    _, text = await t.admin('/config_dump?include_eds')
    kinds = ('ClustersConfigDump', 'EndpointsConfigDump')

    def undated(c):
        return {k: undated(v) for k, v in c.items() if k != 'last_updated'} if isinstance(c, dict) else (
            [undated(v) for v in c] if isinstance(c, list) else c)
    t.see('dumps', [undated(c) for c in json.loads(text)['configs'] if c['@type'].endswith(kinds)])


@case()
async def cds_without_node_or_file(t):
    t.write('cds.yaml', response('v1'))
    for key, more in [('node', {'dynamic_resources': {'cds_config': {'path_config_source': {'path': t.path('cds.yaml')}}}}),
                      ('file', {**NODE, 'dynamic_resources': {'cds_config': {'path_config_source': {'path': t.path('none.yaml')}}}}),
                      ('empty', {**NODE, 'dynamic_resources': {'cds_config': {}}})]:
        code, _ = await t.run_to_end(simple(t, clusters=[cluster('c1', [])], extra=more))
        t.see(key, code)
