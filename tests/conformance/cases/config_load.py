"""Loading a configuration: the command line, merging, what is shown of what was written."""
from harness import *

MINIMAL = 'admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n'
HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
ROUTER = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'


async def verdicts(t, rows, words=False):
    """The exit code (Envoy's runs have `-l` and `--disable-hot-restart` already) of `--mode validate` for each list of flags; with `words` the line that says what is wrong."""
    out = {}
    for row in rows:
        code, log = await t.run_to_end(MINIMAL, args=('--mode', 'validate', *row))
        said = [l for l in log.splitlines() if l.startswith('error: ')]
        out[' '.join(row)] = [code, *(said if words else ())]
    t.see('verdicts', out)


@case()
async def cli_flags_that_are_taken(t):
    await verdicts(t, [
        ('--component-log-level', 'upstream:debug,config:trace'),
        ('--log-format', '%v', '--log-format-escaped'), ('--log-path', '/nonexistent/x'), ('--drain-time-s', '5'),
        ('--drain-strategy', 'immediate'), ('--parent-shutdown-time-s', '5'), ('--base-id', '4294967295'), ('--base-id-path', '/nonexistent/x'),
        ('--admin-address-path', '/nonexistent/x'), ('--restart-epoch', '1'), ('--use-dynamic-base-id',), ('--local-address-ip-version', 'v6'),
        ('--service-cluster', 'a', '--service-node', 'b', '--service-zone', 'c'), ('--file-flush-interval-msec', '1', '--file-flush-min-size-kb', '0'),
        ('--allow-unknown-static-fields',), ('--reject-unknown-dynamic-fields', '--ignore-unknown-dynamic-fields'), ('--cpuset-threads',),
        ('--config-yaml', '{node: {id: x}}'), ('--stats-tag', 'a:b', '--stats-tag', 'c:d')])


@case()
async def cli_flags_that_are_refused_in_envoys_words(t):
    await verdicts(t, [
        ('--component-log-level', 'upstream'), ('--component-log-level', 'nope:debug'), ('--component-log-level', 'upstream:nope'),
        ('--local-address-ip-version', 'v5'), ('--use-dynamic-base-id', '--restart-epoch', '1'), ('--stats-tag', 'a'), ('--stats-tag', 'a-b:c'),
        ('--stats-tag', 'a:b', '--stats-tag', 'a:c')], words=True)


@case()
async def cli_flags_that_cannot_be_read(t):
    await verdicts(t, [
        ('--concurrency', 'x'), ('--drain-time-s', '1s'), ('--base-id', '4294967296'), ('--restart-epoch', 'a'),
        ('--file-flush-interval-msec', '1.5'), ('--mode', 'serve'), ('--bogus',), ('extra',), ('-x',), ('--config-yaml', 'node: ['),
        ('--config-yaml', '{nope: 1}'), ('--log-level',)])


@case()
async def cli_config_yaml_is_merged(t):
    """Single values are replaced, lists grow, messages join; a oneof's other arm takes its place."""
    cfg = simple(t, clusters=[cluster('c1', t.dead())], routes='[]', extra='{node: {id: a, cluster: b, metadata: {x: 1, y: 2}}, layered_runtime: {layers: [{name: one, static_layer: {a: 1}}]}}')
    over = '{node: {id: z, metadata: {y: 3}}, static_resources: {clusters: [{name: c2, connect_timeout: 3s}]}, layered_runtime: {layers: [{name: two, static_layer: {a: 2}}]}}'
    await t.start(cfg, args=('--config-yaml', over))
    st, body = await t.admin('/config_dump')
    dumped = next(c for c in json.loads(body)['configs'] if c['@type'].endswith('BootstrapConfigDump'))['bootstrap']
    t.see('node', {k: dumped['node'].get(k) for k in ('id', 'cluster', 'metadata')})
    t.see('clusters', [(c['name'], c.get('connect_timeout')) for c in dumped['static_resources']['clusters']])
    t.see('layers', dumped['layered_runtime'])
    st, body = await t.admin('/runtime')
    t.see('runtime', json.loads(body))


@case()
async def typed_struct_is_shown_as_written(t):
    router = {'@type': 'type.googleapis.com/udpa.type.v1.TypedStruct', 'type_url': ROUTER, 'value': {'suppressEnvoyHeaders': True}}
    hcm_value = {'stat_prefix': 'a', 'http_filters': [{'name': 'r', 'typed_config': router}],
                 'route_config': {'virtual_hosts': [{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'direct_response': {'status': 204}}]}]}}
    typed = {'@type': 'type.googleapis.com/xds.type.v3.TypedStruct', 'type_url': HCM, 'value': hcm_value}
    cfg = config(t, [listener(t, [{'name': 'h', 'typed_config': typed}])], [])
    await t.start(cfg)
    t.see('answer', (await t.req('/')).status)
    st, body = await t.admin('/config_dump')
    for c in json.loads(body)['configs']:
        if c['@type'].endswith('ListenersConfigDump'):
            t.see('listener', c['static_listeners'][0]['listener']['filter_chains'])
        if c['@type'].endswith('.RoutesConfigDump'):
            t.see('routes', [r['route_config'] for r in c.get('static_route_configs', [])])


def chain(t, status, name):
    return {'name': name, 'filters': [hcm(t, routes="[{match: {prefix: /}, direct_response: {status: %d}}]" % status)]}


async def first_answer(t, extra, chains):
    l = listener(t, [], extra=extra)
    l['filter_chains'] = chains
    if not chains:
        del l['filter_chains']
    await t.start(config(t, [l], []))
    c = await t.conn()
    if chains and 'filters' not in chains[0]:
        t.see('connection', await c.state(2))
    else:
        c.send(build('/'))
        t.see('status', (await c.response()).status)
    t.see('stats', await t.stats(regex=r'^listener\.(?!admin)[^.]*\.(downstream_cx_total|no_filter_chain_match)$'))
    st, body = await t.admin('/config_dump')
    dump = next((c for c in json.loads(body)['configs'] if c['@type'].endswith('.RoutesConfigDump')), {})
    t.see('parts', [c['@type'].split('.')[-1] for c in json.loads(body)['configs']])
    t.see('dumped', sorted(r['route_config']['virtual_hosts'][0]['routes'][0]['direct_response']['status'] for r in dump.get('static_route_configs', [])))


@case()
async def default_filter_chain_alone(t):
    await first_answer(t, {'default_filter_chain': chain(t, 201, 'last')}, [])


@case()
async def default_filter_chain_beside_one_that_takes_all(t):
    await first_answer(t, {'default_filter_chain': chain(t, 201, 'last')}, [chain(t, 202, 'first')])


@case()
async def filter_chain_without_filters_closes(t):
    await first_answer(t, None, [{'name': 'empty'}])
