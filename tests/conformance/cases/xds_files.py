"""Configuration that comes from files and changes while the proxy runs."""
import yaml

from harness import *

NODE = '{node: {id: me, cluster: us}}'

ROUTES = 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration'


def table(status=201, name='r1', **more):
    hosts = [{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'direct_response': {'status': status}}]}]
    return {'@type': ROUTES, 'name': name, 'virtual_hosts': hosts, **more}


def to_cluster(name, **more):
    hosts = [{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': name}}]}]
    return {'@type': ROUTES, 'name': 'r1', 'virtual_hosts': hosts, **more}


def response(version, *resources, as_json=False):
    text = {'version_info': version, 'resources': list(resources)}
    return json.dumps(text) if as_json else yaml.safe_dump(text, sort_keys=False)


def manager(t, source=None, name='r1', prefix='a'):
    h = hcm(t, routes='[]')
    typed = h['typed_config']
    del typed['route_config']
    typed['stat_prefix'] = prefix
    typed['rds'] = {'route_config_name': name, 'config_source': source or {'path_config_source': {'path': t.path('rds.yaml')}}}
    return h


async def start(t, first, source=None, clusters=(), args=(), **kw):
    t.write('rds.yaml', first)
    await t.start(config(t, [listener(t, [manager(t, source, **kw)])], list(clusters), NODE), args=args)


async def moves_in(t, data, status=None, name='rds.yaml'):
    """Moves a file in and waits until it was looked at."""
    before = (await t.stats('http.a.rds.r1.update_attempt'))['http.a.rds.r1.update_attempt']
    t.move_in(name, data)
    await t.stat_until('http.a.rds.r1.update_attempt', lambda n: n > before)


async def counts(t, key='stats'):
    t.see(key, await t.stats(regex=r'^(http\.a\.rds\..*\.(config_reload|init_fetch_timeout|update_(attempt|empty|failure|rejected|success)|version)|server\.dynamic_unknown_fields)$'))


@case()
async def rds_from_a_file(t):
    await start(t, response('v1', table()))
    t.see('status', (await t.req('/')).status)
    await counts(t)


@case()
async def rds_from_a_path(t):
    await start(t, response('v1', table()), source={'path': t.path('rds.yaml')})
    t.see('status', (await t.req('/')).status)
    await moves_in(t, response('v2', table(202)))
    t.see('then', (await t.req('/')).status)


@case()
async def rds_from_json(t):
    t.write('rds.json', response('v1', table(), as_json=True))
    await start(t, '', source={'path_config_source': {'path': t.path('rds.json')}})
    t.see('status', (await t.req('/')).status)
    await moves_in(t, response('v2', table(202), as_json=True), name='rds.json')
    t.see('then', (await t.req('/')).status)
    await counts(t)


@case()
async def rds_moved_in_under_a_connection(t):
    """The connection stays, its next request has the new routes."""
    await start(t, response('v1', table()))
    c = await t.conn()
    t.see('first', (await t.req('/', conn=c)).status)
    await moves_in(t, response('v2', table(202)))
    t.see('second', (await t.req('/', conn=c)).status)
    await moves_in(t, response('v3', table(203)))
    t.see('third', (await t.req('/', conn=c)).status)
    t.see('connections', await t.stats('http.a.downstream_cx_total', 'http.a.downstream_cx_active'))
    await counts(t)


@case()
async def rds_moved_in_under_http2_streams(t):
    await start(t, response('v1', table()))
    c = await t.h2()
    t.see('first', (await t.h2req('/', conn=c)).status)
    await moves_in(t, response('v2', table(202)))
    t.see('second', (await t.h2req('/', conn=c)).status)


@case()
async def rds_written_in_place_is_not_seen(t):
    await start(t, response('v1', table()))
    t.write('rds.yaml', response('v2', table(202)))
    await asyncio.sleep(0.3)
    t.see('status', (await t.req('/')).status)
    await counts(t)


@case()
async def rds_equal_to_the_last_one(t):
    await start(t, response('v1', table()))
    await moves_in(t, response('v1', table()))
    await moves_in(t, response('v2', table()))
    await counts(t)
    st, body = await t.admin('/config_dump?resource=dynamic_route_configs')
    t.see('version', [c.get('version_info') for c in json.loads(body)['configs']])


async def refused(t, second, args=(), clusters=()):
    await start(t, response('v1', table()), args=args, clusters=clusters)
    await moves_in(t, second)
    t.see('status', (await t.req('/')).status)
    await counts(t)
    await moves_in(t, response('v3', table(203)))
    t.see('then', (await t.req('/')).status)
    await counts(t, 'then stats')


@case()
async def rds_that_is_no_yaml(t):
    await refused(t, 'version_info: [')


@case()
async def rds_that_is_no_response(t):
    await refused(t, '- a\n- b\n')


@case()
async def rds_with_a_value_of_the_wrong_kind(t):
    await refused(t, response('v2', {'@type': ROUTES, 'name': 'r1', 'virtual_hosts': [{'name': {}, 'domains': ['*']}]}))


@case()
async def rds_against_a_constraint(t):
    await refused(t, response('v2', {'@type': ROUTES, 'name': 'r1', 'virtual_hosts': [{'name': 'v', 'domains': []}]}))


@case()
async def rds_that_does_not_compile(t):
    await refused(t, response('v2', {'@type': ROUTES, 'name': 'r1', 'virtual_hosts': [{'name': 'v', 'domains': ['*', '*']}]}))


@case()
async def rds_with_a_regex_that_is_too_large(t):
    routes = [{'match': {'safe_regex': {'regex': 'a{97}'}}, 'direct_response': {'status': 202}}]
    await refused(t, response('v2', {'@type': ROUTES, 'name': 'r1', 'virtual_hosts': [{'name': 'v', 'domains': ['*'], 'routes': routes}]}))


@case()
async def rds_of_another_name(t):
    await refused(t, response('v2', table(202, 'r2')))


@case()
async def rds_with_two_resources(t):
    await refused(t, response('v2', table(202), table(203, 'r2')))


@case()
async def rds_without_resources(t):
    await refused(t, response('v2'))


@case()
async def rds_of_another_type(t):
    await refused(t, response('v2', {'@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', 'name': 'r1'}))


@case()
async def rds_of_an_unknown_type(t):
    await refused(t, response('v2', {'@type': 'type.googleapis.com/envoy.config.route.v3.Nope', 'name': 'r1'}))


@case()
async def rds_with_an_unknown_field(t):
    await refused(t, response('v2', table(202, nope=1)))


@case()
async def rds_with_an_unknown_field_that_is_rejected(t):
    await refused(t, response('v2', table(202, nope=1)), args=('--reject-unknown-dynamic-fields',))


@case()
async def rds_with_an_unknown_field_that_is_ignored(t):
    await refused(t, response('v2', table(202, nope=1)), args=('--ignore-unknown-dynamic-fields',))


@case()
async def rds_to_an_unknown_cluster(t):
    """Unlike a table in a listener, it is taken."""
    await refused(t, response('v2', to_cluster('nope')))


@case()
async def rds_to_an_unknown_cluster_that_is_validated(t):
    await refused(t, response('v2', to_cluster('nope', validate_clusters=True)))


@case()
async def rds_that_begins_badly(t):
    """There are no routes until a good one comes."""
    await start(t, 'version_info: [')
    r = await t.req('/')
    t.see('first', [r.status, r.h('server')])
    await counts(t)
    await moves_in(t, response('v2', table(202)))
    t.see('then', (await t.req('/')).status)
    await counts(t, 'then stats')


@case()
async def rds_without_routes_in_the_log(t):
    t.write('rds.yaml', response('v1'))
    m = manager(t)
    m['typed_config']['access_log'] = [{'name': 'f', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog', 'path': t.path('access.log'),
                                        'log_format': {'text_format_source': {'inline_string': '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%\n'}}}}]
    await t.start(config(t, [listener(t, [m])], [], NODE))
    await t.req('/')
    t.see('log', await t.logs())


@case()
async def rds_by_a_watched_directory(t):
    """What counts is a move in the directory, not one of the file."""
    os.mkdir(t.path('watched'))
    await start(t, response('v1', table()), source={'path_config_source': {'path': t.path('rds.yaml'), 'watched_directory': {'path': t.path('watched')}}})
    t.move_in('rds.yaml', response('v2', table(202)))
    await asyncio.sleep(0.2)
    t.see('file moved', (await t.req('/')).status)
    await moves_in(t, 'x', name='watched/any')
    t.see('any moved', (await t.req('/')).status)
    await counts(t)


@case()
async def rds_behind_a_link_that_is_swapped(t):
    """As Kubernetes mounts configuration: a link to a directory is replaced."""
    for n, status in ((1, 201), (2, 202)):
        os.mkdir(t.path('d%d' % n))
        t.write('d%d/rds.yaml' % n, response('v%d' % n, table(status)))
    os.symlink('d1', t.path('data'))
    source = {'path_config_source': {'path': t.path('data/rds.yaml'), 'watched_directory': {'path': t.path('.')}}}
    await t.start(config(t, [listener(t, [manager(t, source)])], [], NODE))
    t.see('first', (await t.req('/')).status)
    os.symlink('d2', t.path('data.new'))
    os.rename(t.path('data.new'), t.path('data'))
    t.see('swapped', bool(await t.stat_until('http.a.rds.r1.config_reload', lambda n: n == 2)))
    t.see('then', (await t.req('/')).status)


@case()
async def rds_keeps_streams_on_their_routes(t):
    """A request in progress ends on the route that it began on."""
    go = asyncio.Event()

    async def f(m, k):
        await go.wait()
        return resp(200, 'late')
    u = await t.up('u1', f)
    await start(t, response('v1', to_cluster('c1')), clusters=[cluster('c1', u)])
    slow = asyncio.ensure_future(t.req('/slow'))
    t.see('begun', bool(await t.stat_until('cluster.c1.upstream_rq_active', lambda n: n == 1)))
    await moves_in(t, response('v2', table(202)))
    t.see('new', (await t.req('/')).status)
    go.set()
    t.see('old', (await slow).status)


@case()
async def rds_shared_by_two_listeners(t):
    t.write('rds.yaml', response('v1', table()))
    listeners = [listener(t, [manager(t)]), listener(t, [manager(t, prefix='b')], name='l2')]
    await t.start(config(t, listeners, [], NODE))
    t.see('stats', sorted(await t.stats(regex=r'^http\.[ab]\.rds\.r1\.update_attempt$')))
    await moves_in(t, response('v2', table(202)))
    t.see('first', (await t.req('/')).status)
    t.see('second', (await t.req('/', port=t.l2)).status)


@case()
async def rds_in_the_dump(t):
    await start(t, response('v1', table()))
    await moves_in(t, response('v2', table(202)))
    await moves_in(t, response('v3', table(203, 'other')))
    st, body = await t.admin('/config_dump')
    for c in json.loads(body)['configs']:
        if c['@type'].endswith('.RoutesConfigDump'):
            for r in c['dynamic_route_configs']:
                r['last_updated'] = '<time>'
            t.see('routes', c)
    st, body = await t.admin('/config_dump?resource=dynamic_route_configs&name_regex=nope')
    t.see('none', body)


@case()
async def rds_counts_virtual_clusters_of_each_table(t):
    def with_clusters(*names):
        hosts = [{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}],
                  'virtual_clusters': [{'name': n, 'headers': [{'name': ':path', 'string_match': {'prefix': '/' + n}}]} for n in names]}]
        return {'@type': ROUTES, 'name': 'r1', 'virtual_hosts': hosts}
    u = await t.up()
    await start(t, response('v1', with_clusters('x', 'y')), clusters=[cluster('c1', u)])
    await t.req('/y')
    await moves_in(t, response('v2', with_clusters('z', 'y', 'x')))
    for path in ('/z', '/y', '/x', '/y'):
        await t.req(path)
    t.see('stats', await t.stats(regex=r'^vhost\..*upstream_rq_total$'))


@case()
async def sources_that_are_refused(t):
    t.write('rds.yaml', response('v1', table()))
    out = {}
    for label, source in {
        'no such file': {'path_config_source': {'path': '/nonexistent/rds.yaml'}},
        'no such path': {'path': '/nonexistent/rds.yaml'},
        'no such directory': {'path_config_source': {'path': t.path('rds.yaml'), 'watched_directory': {'path': '/nonexistent'}}},
        'no path': {'path_config_source': {}},
        'no specifier': {'initial_fetch_timeout': '1s'},
        'good': {'path_config_source': {'path': t.path('rds.yaml')}, 'initial_fetch_timeout': '0s', 'resource_api_version': 'V3'},
    }.items():
        cfg = config(t, [listener(t, [manager(t, source)])], [])
        code, _ = await t.run_to_end(cfg, args=('--mode', 'validate'))
        out[label] = code
    t.see('verdicts', out)


@case()
async def a_bad_file_does_not_fail_validation(t):
    t.write('rds.yaml', 'version_info: [')
    code, _ = await t.run_to_end(config(t, [listener(t, [manager(t)])], []), args=('--mode', 'validate'))
    t.see('code', code)


@case()
async def a_source_needs_a_node(t):
    t.write('rds.yaml', response('v1', table()))
    cfg = config(t, [listener(t, [manager(t)])], [])
    out = {}
    for label, args in {'none': (), 'id': ('--service-node', 'n'), 'cluster': ('--service-cluster', 'c')}.items():
        code, log = await t.run_to_end(cfg, args=args)
        out[label] = [code, re.findall(r"[\w.]*: node 'id' and 'cluster' are required", log)[-1:]]
    t.see('ends', out)
