"""Admin endpoints: status, headers, exact output shapes."""
from harness import *

HEADERS = {'content-type', 'cache-control', 'x-content-type-options', 'server', 'transfer-encoding', 'content-length'}
# Fields whose values belong to a build, a machine or a moment.
VOLATILE = re.compile(r'(version_info|last_updated|uptime|version|hot_restart_version|user_agent|commit|pid|hostname|build)')


def steady(o):
    """A JSON value with what belongs to a moment replaced by a word."""
    if isinstance(o, dict):
        return {k: '<%s>' % type(v).__name__ if VOLATILE.search(k) else steady(v) for k, v in o.items()}
    return [steady(x) for x in o] if isinstance(o, list) else o


async def answer(t, label, path, method='GET', body=True):
    st, b = await t.admin(path, method)
    t.see(label, {'status': st, 'headers': t.hs(t.last_admin.raw_headers, only=HEADERS), **({'body': b} if body else {})})


@case()
async def ready_and_methods(t):
    await t.start(simple(t, clusters=[], routes='[]'))
    await answer(t, 'ready', '/ready')
    await answer(t, 'ready_post', '/ready', 'POST')
    await answer(t, 'head', '/ready', 'HEAD')
    await answer(t, 'put', '/ready', 'PUT')
    await answer(t, 'query', '/ready?x=1')


@case()
async def mutations_need_post(t):
    await t.start(simple(t, clusters=[], routes='[]'))
    out = {}
    for p in ('/quitquitquit', '/healthcheck/fail', '/healthcheck/ok', '/drain_listeners', '/logging', '/reset_counters', '/reopen_logs', '/runtime_modify?a=1', '/cpuprofiler?enable=y', '/stats/recentlookups/clear'):
        st, b = await t.admin(p)
        out[p] = [st, b]
    t.see('get', out)


@case()
async def posts_answer_ok(t):
    await t.start(simple(t, clusters=[], routes='[]', extra='{layered_runtime: {layers: [{name: a, admin_layer: {}}]}}'))
    for p in ('/healthcheck/fail', '/healthcheck/ok', '/reset_counters', '/reopen_logs', '/runtime_modify?a.b=1', '/runtime_modify', '/drain_listeners?graceful'):
        await answer(t, p, p, 'POST')


@case()
async def quitquitquit_ends(t):
    pr = await t.start(simple(t, clusters=[], routes='[]'))
    await answer(t, 'quit', '/quitquitquit', 'POST')
    t.see('exit', await asyncio.wait_for(pr.process.wait(), 5))


@case()
async def unknown_path_text(t):
    await t.start(simple(t, clusters=[], routes='[]'))
    await answer(t, 'miss', '/nope', body=False)
    st, b = await t.admin('/nope')
    t.see('lines', [l for l in b.splitlines() if l.startswith('  /') and 'prof' not in l and 'heap' not in l])


@case()
async def help_paths(t):
    await t.start(simple(t, clusters=[], routes='[]'))
    st, b = await t.admin('/help')
    t.see('paths', [l.split(': ')[0].strip() for l in b.splitlines() if l.startswith('  /')])
    t.see('stats_help', [l for l in b.splitlines() if l.startswith('  /stats: ')])


@case()
async def home_page(t):
    await t.start(simple(t, clusters=[], routes='[]'))
    await answer(t, 'home', '/', body=False)
    st, b = await t.admin('/')
    t.see('links', sorted(set(re.findall(r"href='([^']+)'", b) + re.findall(r"action='([^']+)'", b))))


@case()
async def server_info(t):
    await t.start(simple(t, clusters=[], routes='[]', extra='{node: {id: n1, cluster: cl, locality: {zone: z}, metadata: {k: v}}}'))
    await answer(t, 'answer', '/server_info', body=False)
    j = json.loads((await t.admin('/server_info'))[1])
    t.see('keys', sorted(j))
    t.see('state', j['state'])
    t.see('node', {k: j['node'].get(k) for k in ('id', 'cluster', 'locality', 'metadata', 'user_agent_name')})
    o = j['command_line_options']
    t.see('options', {k: o.get(k) for k in ('concurrency', 'mode', 'drain_time', 'drain_strategy', 'parent_shutdown_time', 'file_flush_interval', 'local_address_ip_version', 'restart_epoch', 'base_id', 'log_format', 'config_yaml', 'admin_address_path', 'cpuset_threads', 'allow_unknown_static_fields', 'service_zone', 'component_log_level', 'file_flush_min_size_kb')})
    await t.admin('/healthcheck/fail', 'POST')
    t.see('draining', json.loads((await t.admin('/server_info'))[1])['state'])


@case()
async def clusters_json(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', u, '{circuit_breakers: {thresholds: [{priority: HIGH, max_connections: 7}, {max_retries: 9}]}}')]))
    await t.req('/')
    st, b = await t.admin('/clusters?format=json')
    t.see('type', t.last_admin.h('content-type'))
    t.see('json', json.loads(t.mask(b).replace('<u1>', '1')))


@case()
async def clusters_json_weights_health_locality(t):
    a, b = await t.up('a'), await t.up('b')
    c = cluster('c1', localities=[{'locality': {'region': 'r', 'zone': 'z', 'sub_zone': 's'}, 'priority': 0, 'lb_endpoints': [lbe(a, load_balancing_weight=3), lbe(b, health_status='DRAINING')]}])
    await t.start(simple(t, clusters=[c]))
    st, x = await t.admin('/clusters?format=json')
    hosts = json.loads(t.mask(x).replace('<a>', '1').replace('<b>', '2'))['cluster_statuses'][0]['host_statuses']
    t.see('hosts', [{k: v for k, v in h.items() if k != 'stats'} for h in hosts])
    st, x = await t.admin('/clusters')
    t.see('text', sorted(t.mask(l) for l in x.splitlines() if re.search(r'weight|health_flags|region|zone|priority|canary', l) and 'default_priority' not in l and 'high_priority' not in l))


@case()
async def clusters_text_thresholds(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', u, '{alt_stat_name: alt, circuit_breakers: {thresholds: [{max_connections: 1, max_pending_requests: 2, max_requests: 3, max_retries: 4}]}, outlier_detection: {}}')]))
    st, b = await t.admin('/clusters')
    t.see('lines', [t.mask(l) for l in b.splitlines() if '127.0.0.1' not in l])


@case()
async def clusters_text_host_counters(t):
    u = await t.up('u1', lambda m, n: resp(int(m['path'][1:])))
    await t.start(simple(t))
    for p in ('/200', '/200', '/404', '/503', '/200', '/200'):
        await t.req(p)
    st, b = await t.admin('/clusters')
    t.see('lines', sorted(t.mask(l) for l in b.splitlines() if re.search(r'::(rq_|cx_)', l)))


@case()
async def clusters_filter(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('other', u)]))
    st, b = await t.admin('/clusters?filter=oth.*')
    t.see('names', sorted({l.split('::')[0] for l in b.splitlines()}))
    st, b = await t.admin('/clusters?format=json&filter=c1')
    t.see('json', [c['name'] for c in json.loads(b)['cluster_statuses']])
    st, b = await t.admin('/clusters?format=bogus')
    t.see('bogus', st)


@case()
async def listeners_several(t):
    u = await t.up()
    l = [listener(t, [hcm(t)]), listener(t, [hcm(t)], name='l2')]
    l[0]['additional_addresses'] = [{'address': {'socket_address': {'address': '127.0.0.1', 'port_value': t.port('extra')}}}]
    del l[1]['name']
    await t.start(config(t, l, [cluster('c1', u)]))
    st, b = await t.admin('/listeners')
    t.see('text', sorted(re.sub(r'[0-9a-f]{8}-[0-9a-f-]{27}', '<uuid>', t.mask(x)) for x in b.splitlines()))


def dump(t, b):
    return steady(json.loads(t.mask(b)))


@case()
async def config_dump_types(t):
    u = await t.up()
    await t.start(simple(t))
    await answer(t, 'answer', '/config_dump', body=False)
    j = json.loads((await t.admin('/config_dump'))[1])
    t.see('types', [c['@type'] for c in j['configs']])
    t.see('keys', {c['@type'].split('.')[-1]: sorted(c) for c in j['configs']})
    t.see('endpoints', [c['@type'] for c in json.loads((await t.admin('/config_dump?include_eds'))[1])['configs']])


def numbers(s):
    """Ports as quoted words, so that the masked text is still JSON."""
    return re.sub(r'("port_value": )(\d+)', r'\1"\2"', s)


for part in ('bootstrap', 'clusters', 'listeners', 'routes'):
    @case('config_dump_' + part)
    async def _(t, part=part):
        u = await t.up()
        await t.start(simple(t, routes='[{name: rn, match: {prefix: /a}, route: {cluster: c1, timeout: 1.5s, retry_policy: {retry_on: 5xx, num_retries: 2}}}, {match: {safe_regex: {regex: ".*"}}, redirect: {path_redirect: /x}}]', copts='{circuit_breakers: {thresholds: [{max_connections: 5}]}}'))
        j = json.loads(t.mask(numbers((await t.admin('/config_dump'))[1])))
        c = [c for c in j['configs'] if part in c['@type'].lower()][0]
        t.see('config', steady(c))


@case()
async def config_dump_resource(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('c2', u)]))
    out = {}
    for r in ('static_clusters', 'dynamic_active_clusters', 'static_listeners', 'static_route_configs', 'bootstrap', 'nonsense'):
        st, b = await t.admin('/config_dump?resource=' + r)
        out[r] = [st, [[x['@type'], sorted(x)] for x in json.loads(b).get('configs', [])] if st == 200 else b]
    t.see('by_resource', out)


@case()
async def config_dump_name_regex_and_mask(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('d2', u)]))
    st, b = await t.admin('/config_dump?name_regex=^c.*')
    t.see('names', [[c['@type'].split('.')[-1], [x['cluster']['name'] for x in c.get('static_clusters', [])]] for c in json.loads(b).get('configs', [])])
    st, b = await t.admin('/config_dump?resource=static_clusters&mask=cluster.name')
    t.see('mask', json.loads(b))
    st, b = await t.admin('/config_dump?resource=static_clusters&name_regex=d')
    t.see('both', [c['cluster']['name'] for c in json.loads(b).get('configs', [])])
    t.see('bad_regex', (await t.admin('/config_dump?name_regex=['))[0])
    t.see('bad_mask', (await t.admin('/config_dump?mask=nope'))[0])


@case()
async def config_dump_eds(t):
    u = await t.up()
    await t.start(simple(t))
    st, b = await t.admin('/config_dump?include_eds')
    j = json.loads(t.mask(numbers(b)))
    t.see('eds', [steady(c) for c in j['configs'] if 'Endpoints' in c['@type']])


@case()
async def config_dump_redacts_keys(t):
    await t.start(simple(t, clusters=[], routes='[]', extra={'static_resources': {'secrets': [{'name': 's1', 'generic_secret': {'secret': {'inline_string': 'top secret'}}}]}}))
    st, b = await t.admin('/config_dump?resource=static_secrets')
    t.see('secrets', steady(json.loads(b)))
    t.see('leaks', 'top secret' in (await t.admin('/config_dump'))[1])


@case()
async def runtime_endpoint(t):
    await t.start(simple(t, clusters=[], routes='[]', extra='{layered_runtime: {layers: [{name: base, static_layer: {a: {b: 5, s: text}, t: true, f: 0.5}}, {name: adm, admin_layer: {}}]}}'))
    t.see('runtime', json.loads((await t.admin('/runtime'))[1]))
    t.see('modify', await t.admin('/runtime_modify?a.b=7&new.key=x', 'POST'))
    t.see('after', json.loads((await t.admin('/runtime'))[1]))
    t.see('remove', (await t.admin('/runtime_modify?a.b=', 'POST'))[1])
    t.see('removed', json.loads((await t.admin('/runtime'))[1])['entries'].get('a.b'))


@case()
async def runtime_without_layers(t):
    await t.start(simple(t, clusters=[], routes='[]'))
    await answer(t, 'runtime', '/runtime', body=False)
    t.see('json', json.loads((await t.admin('/runtime'))[1]))
    await answer(t, 'modify', '/runtime_modify?a=1', 'POST')


@case()
async def init_dump_and_certs(t):
    await t.start(simple(t, clusters=[], routes='[]'))
    await answer(t, 'init', '/init_dump')
    await answer(t, 'certs', '/certs')
    await answer(t, 'hot_restart', '/hot_restart_version', body=False)
    await answer(t, 'memory', '/memory', body=False)


async def with_traffic(t, **kw):
    u = await t.up('u1', lambda m, n: resp(int(m['path'][1:] or 200)))
    await t.start(simple(t, extra='{stats_flush_interval: 0.1s}', **kw))
    for p in ('/200', '/200', '/404', '/503'):
        await t.req(p)
    await t.merged(4)


@case()
async def stats_query_parameters(t):
    await with_traffic(t)
    out = {}
    for q in ('filter=^cluster.c1.upstream_rq_(2xx|404)$', 'filter=c1.upstream_rq_4xx&usedonly', 'filter=c1.upstream_rq_retry&usedonly', 'filter=c1.membership&type=Counters', 'filter=c1.membership_total&type=Gauges', 'type=Bogus', 'format=bogus', 'filter=[', 'filter=server.live', 'filter=control_plane.identifier&type=TextReadouts', 'filter=^http.in.downstream_rq_[24]xx$&format=json', 'filter=nothing_at_all', 'filter=nothing_at_all&format=json'):
        st, b = await t.admin('/stats?' + q)
        out[q] = [st, b if st != 200 or len(b) < 300 else b[:300]]
    t.see('by_query', out)


@case()
async def stats_json_histograms(t):
    await with_traffic(t)
    j = json.loads((await t.admin('/stats?format=json&filter=^cluster.c1.upstream_rq_time$'))[1])
    h = j['stats'][-1]['histograms']
    t.see('keys', sorted(h))
    t.see('quantiles', h['supported_quantiles'])
    t.see('shape', [[c['name'], len(c['values']), sorted(c['values'][0])] for c in h['computed_quantiles']])


for kind in ('cumulative', 'disjoint', 'detailed', 'summary', 'none'):
    @case('stats_histogram_buckets_' + kind)
    async def _(t, kind=kind):
        await with_traffic(t)
        st, b = await t.admin('/stats?filter=^cluster.c1.upstream_rq_time$&histogram_buckets=' + kind)
        t.see('text', [st, [re.sub(r'[=:].*', '', l) for l in b.splitlines()] if kind == 'detailed' else re.sub(r'[\d.]+(?=,[\d.]+\))|(?<=,)[\d.]+(?=\))', 'N', re.sub(r'(?<=[BP])[\d.]+', 'X', b))[:120]])
        st, b = await t.admin('/stats?format=json&filter=^cluster.c1.upstream_rq_time$&histogram_buckets=' + kind)
        j = json.loads(b)
        t.see('json', _shape(j))


def _shape(o):
    if isinstance(o, dict):
        return {k: _shape(v) for k, v in o.items()}
    if isinstance(o, list):
        return [_shape(o[0])] if o else []
    return type(o).__name__.replace('float', 'number').replace('int', 'number')


@case()
async def stats_prometheus_cluster(t):
    await with_traffic(t)
    st, b = await t.admin('/stats/prometheus?filter=^cluster.c1.(upstream_rq_|membership|circuit_breakers)')
    t.see('type', t.last_admin.h('content-type'))
    t.see('lines', [l for l in b.splitlines() if 'upstream_rq_time' not in l])


@case()
async def stats_prometheus_http(t):
    await with_traffic(t)
    st, b = await t.admin('/stats/prometheus?filter=^http.in.downstream_(rq|cx)_(total|.xx|active)')
    t.see('lines', b.splitlines())


@case()
async def stats_prometheus_listener(t):
    await with_traffic(t)
    st, b = await t.admin('/stats/prometheus?filter=^listener.127')
    t.see('lines', [t.mask(re.sub(r'_%d' % t.l1, '_<l1>', l)) for l in b.splitlines() if '_bucket' not in l and 'length_ms' not in l and 'per_socket' not in l])


@case()
async def stats_prometheus_histogram(t):
    await with_traffic(t)
    st, b = await t.admin('/stats/prometheus?filter=^cluster.c1.upstream_rq_time$')
    t.see('lines', [re.sub(r' [\d.]+$', ' N', l) for l in b.splitlines()])
    st, b = await t.admin('/stats?format=prometheus&usedonly&filter=^cluster.c1.upstream_rq_retry')
    t.see('usedonly', b)


@case()
async def stats_prometheus_all_families(t):
    await with_traffic(t)
    st, b = await t.admin('/stats/prometheus')
    t.see('families', sorted({' '.join(l.split(' ')[2:4]) for l in b.splitlines() if l.startswith('# TYPE') and re.search('envoy_(cluster|http|listener|cluster_manager|listener_manager)_', l) and 'async_client' not in l}))


@case()
async def stats_config_tags(t):
    await t.up('u1')
    await t.start(simple(t, extra=r"""
stats_config:
  stats_tags:
  - {tag_name: my.code, regex: "_rq(_(\\d{3}))$"}
  - {tag_name: fixed, fixed_value: yes-it-is}
"""))
    await t.req('/')
    st, b = await t.admin('/stats/prometheus?filter=^cluster.c1.upstream_rq_(200|2xx|total)$')
    t.see('lines', b.splitlines())


@case()
async def stats_config_no_default_tags(t):
    await t.up('u1')
    await t.start(simple(t, extra='{stats_config: {use_all_default_tags: false, stats_tags: [{tag_name: envoy.cluster_name}]}}'))
    await t.req('/')
    st, b = await t.admin('/stats/prometheus?filter=upstream_rq_200$')
    t.see('cluster', b.splitlines())
    st, b = await t.admin('/stats/prometheus?filter=^http.in.downstream_rq_total$')
    t.see('http', b.splitlines())


for nm, m in (('reject_all', '{reject_all: true}'), ('inclusion', '{inclusion_list: {patterns: [{prefix: cluster.c1.upstream_rq_2}, {exact: server.live}]}}'), ('exclusion', '{exclusion_list: {patterns: [{prefix: cluster.}, {safe_regex: {regex: "http\\\\..*"}}]}}')):
    @case('stats_matcher_' + nm)
    async def _(t, m=m):
        await t.up('u1')
        await t.start(simple(t, extra={'stats_config': {'stats_matcher': Y(m)}}))
        t.see('r', await t.req('/'))
        t.see('stats', sorted(await t.stats(regex=r'^(cluster\.c1\.upstream_rq_2|cluster\.c1\.upstream_rq_total|http\.in\.downstream_rq_2xx|server\.live)')))


@case()
async def reset_counters_keeps_gauges(t):
    await with_traffic(t)
    names = ('cluster.c1.upstream_rq_total', 'cluster.c1.upstream_rq_2xx', 'cluster.c1.membership_total', 'http.in.downstream_rq_total', 'server.live')
    t.see('before', await t.stats(*names))
    await t.admin('/reset_counters', 'POST')
    t.see('after', await t.stats(*names))
    await t.req('/200')
    t.see('then', await t.stats(*names))


@case()
async def healthcheck_fail_stats(t):
    await t.start(simple(t, clusters=[], routes='[]'))
    await t.admin('/healthcheck/fail', 'POST')
    t.see('failed', [await t.stats('server.live', 'server.state'), await t.admin('/ready')])
    await t.admin('/healthcheck/ok', 'POST')
    t.see('ok', [await t.stats('server.live', 'server.state'), await t.admin('/ready')])


@case()
async def drain_listeners_graceful_skip_exit(t):
    await t.up()
    await t.start(simple(t))
    t.see('answer', await t.admin('/drain_listeners?graceful&skip_exit', 'POST'))
    await t.pass_time(0.2)
    t.see('still', (await t.req('/')).status)


@case()
async def drain_listeners_inbound_only(t):
    u = await t.up()
    l = [listener(t, [hcm(t)], extra='{traffic_direction: INBOUND}'), listener(t, [hcm(t)], name='l2', extra='{traffic_direction: OUTBOUND}')]
    await t.start(config(t, l, [cluster('c1', u)]))
    t.see('answer', await t.admin('/drain_listeners?inboundonly', 'POST'))

    async def refused(port):
        try:
            r, w = await asyncio.open_connection('127.0.0.1', port)
            w.close()
            return False
        except ConnectionRefusedError:
            return True
    t.see('inbound_refused', bool(await t.until(lambda: refused(t.l1), 3)))
    t.see('outbound', (await t.req('/', port=t.l2)).status)
    t.see('stats', await t.stats('listener_manager.total_listeners_active', 'listener_manager.listener_stopped'))


@case()
async def logging_levels(t):
    await t.start(simple(t, clusters=[], routes='[]'))
    st, b = await t.admin('/logging', 'POST')
    t.see('first', [st, b.splitlines()[0]])
    out = {}
    for q in ('level=info', 'paths=http:debug,router:trace', 'http=nope', 'nope=info', 'level=', 'a=b&c=d', 'level=trace&http=info'):
        st, b = await t.admin('/logging?' + q, 'POST')
        out[q] = [st, 'active loggers' in b if st == 200 else b.splitlines()[0]]
    t.see('by_query', out)


@case()
async def admin_access_log(t):
    await t.start(simple(t, clusters=[], routes='[]', extra={'admin': {'access_log': [{'name': 'a', 'typed_config': {'@type': T_FILE_LOG, 'path': t.path('admin.log'), 'log_format': {'text_format_source': {'inline_string': '%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n'}}}}]}}))
    await t.admin('/server_info')
    await t.admin('/nope')
    await t.admin('/logging')
    t.see('log', [l for l in await t.logs('admin.log') if '/ready' not in l])


@case()
async def admin_allow_paths(t):
    await t.start(simple(t, clusters=[], routes='[]', extra={'admin': {'allow_paths': [{'exact': '/ready'}, {'prefix': '/stats'}]}}))
    out = {}
    for p in ('/ready', '/stats?filter=server.live', '/server_info', '/ready?x', '/'):
        out[p] = list(await t.admin(p))
    t.see('by_path', out)


@case()
async def admin_keep_alive_and_http10(t):
    await t.start(simple(t, clusters=[], routes='[]'))
    c = await t.conn(port=t.admin_port)
    for i in range(2):
        r = await t.req('/ready', conn=c)
        t.see('r%d' % i, r)
    r = await t.req('/ready', port=t.admin_port, version='HTTP/1.0')
    t.see('http10', r.line)


@case()
async def vhost_virtual_cluster_stats(t):
    await t.up()
    await t.start(simple(t, vhosts='[{name: vh, domains: ["*"], virtual_clusters: [{name: vc, headers: [{name: ":path", string_match: {prefix: /v}}]}], routes: [{match: {prefix: /}, route: {cluster: c1}, stat_prefix: rp}]}]', log='%VIRTUAL_CLUSTER_NAME%'))
    await t.req('/v1')
    await t.req('/x')
    t.see('stats', {k: v for k, v in (await t.stats(regex=r'^vhost\.')).items() if 'time' not in k})
    t.see('log', await t.logs())


@case()
async def cluster_stats_internal_external_canary(t):
    await t.up('u1', lambda m, n: resp(200, 'x', [('x-envoy-upstream-canary', 'true')]))
    await t.start(simple(t, opts='{use_remote_address: false, internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}'))
    await t.req('/', headers=[('x-forwarded-for', '10.0.0.1')])
    await t.req('/', headers=[('x-forwarded-for', '8.8.8.8')])
    t.see('stats', await t.stats(regex=r'^cluster\.c1\.(internal|external|canary)\..*(\dxx|\d\d\d|completed)$'))


@case()
async def cluster_alt_stat_name(t):
    await t.up()
    await t.start(simple(t, copts='{alt_stat_name: other_name}'))
    await t.req('/', headers=[('x-envoy-upstream-alt-stat-name', 'extra')])
    t.see('stats', await t.stats(regex=r'^cluster\.(c1|other_name)\..*upstream_rq_(200|2xx|total|completed)$'))


@case()
async def cluster_stats_timeout_budgets(t):
    await t.up()
    await t.start(simple(t, copts='{track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}}', extra='{stats_flush_interval: 0.1s}'))
    await t.req('/', method='POST', body='abc')
    await t.merged(1)
    st, b = await t.admin('/stats?filter=^cluster.c1.upstream_r[qs]_(headers|body|timeout_budget)')
    t.see('names', sorted(l.split(':')[0] for l in b.splitlines()))


@case()
async def stat_names_with_odd_characters(t):
    u = await t.up()
    await t.start(simple(t, clusters=[cluster('a:b.c/d|e', u)], routes='[{match: {prefix: /}, route: {cluster: "a:b.c/d|e"}}]', opts='{stat_prefix: "p:q.r"}'))
    await t.req('/')
    t.see('names', sorted(await t.stats(regex=r'^(cluster|http)\..*(upstream_rq_200|downstream_rq_2xx)$')))
    st, b = await t.admin('/stats/prometheus?filter=upstream_rq_200')
    t.see('prometheus', b.splitlines())


@case()
async def no_admin_address(t):
    u = await t.up()
    cfg = simple(t)
    del cfg['admin']
    await t.start(cfg, admin=1, wait=False)
    t.see('r', await t.req('/'))
