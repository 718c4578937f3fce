"""The admin port, widely: stats that come late, other formats of the same stats, counters of the server's own filters."""
import struct

from harness import *

PROTOBUF = 'application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited'
FLUSH = '{stats_flush_interval: 0.1s}'


async def get(t, path, method='GET', **kw):
    """Status, type and bytes."""
    r = await t.req(path, method=method, port=t.admin_port, **kw)
    return r['status'], r.h('content-type'), r['body']


def fields(b):
    """A protobuf message as a list of field numbers and values."""
    out, i = [], 0

    def varint():
        nonlocal i
        n = s = 0
        while True:
            c = b[i]
            i += 1
            n |= (c & 127) << s
            s += 7
            if c < 128:
                return n
    while i < len(b):
        key = varint()
        if key & 7 == 0:
            out.append((key >> 3, varint()))
        elif key & 7 == 1:
            out.append((key >> 3, struct.unpack('<d', b[i:i + 8])[0]))
            i += 8
        else:
            n = varint()
            out.append((key >> 3, b[i:i + n]))
            i += n
    return out


def metric(b):
    out = {}
    for n, v in fields(b):
        if n == 1:
            out.setdefault('labels', []).append([x.decode() for _, x in fields(v)])
        elif n in (2, 3):
            out['value'] = fields(v)
        else:
            h = fields(v)
            out['kind'] = n
            out['own'] = [[k, x] for k, x in h if k < 3]
            out['parts'] = [fields(x) for k, x in h if k == 3]
    return out


def families(b):
    """Delimited `MetricFamily` messages; histograms without the values of their buckets."""
    out, i = [], 0
    while i < len(b):
        n = s = 0
        while True:
            c = b[i]
            i += 1
            n |= (c & 127) << s
            s += 7
            if c < 128:
                break
        out.append([[k, metric(v) if k == 4 else v.decode() if isinstance(v, bytes) else v] for k, v in fields(b[i:i + n])])
        i += n
    return out


async def served(t, paths=('/200', '/200', '/404', '/503'), extra=FLUSH, **kw):
    await t.up('u1', lambda m, n: resp(int(m['path'][1:4])))
    await t.start(simple(t, extra=extra, **kw))
    for p in paths:
        await t.req(p)
    await t.merged(len(paths))


# ---- Prometheus in protobuf
@case()
async def prometheus_protobuf(t):
    await served(t)
    st, kind, b = await get(t, '/stats/prometheus?prom_protobuf&filter=^(cluster.c1.(upstream_rq_(total|200|2xx|completed)|membership_total)|server.live|http.in.downstream_rq_(total|[245]xx))$')
    t.see('answer', [st, kind])
    t.see('families', families(b))


@case()
async def prometheus_protobuf_histograms(t):
    await served(t, paths=())
    for label, q in (('default', ''), ('cumulative', '&histogram_buckets=cumulative'), ('summary', '&histogram_buckets=summary')):
        st, kind, b = await get(t, '/stats/prometheus?prom_protobuf&filter=^cluster.c1.upstream_cx_(length_ms|connect_ms)$' + q)
        t.see(label, repr(families(b)))


@case()
async def prometheus_native(t):
    """Native histograms: buckets, spans and deltas for sizes of known bodies, and how many buckets there may be."""
    await t.up()
    await t.start(simple(t, copts='{track_cluster_stats: {request_response_sizes: true}}', extra=FLUSH))
    query = '&filter=^cluster.c1.upstream_rq_body_size$'
    native = '/stats/prometheus?prom_protobuf&histogram_buckets=prometheusnative' + query
    t.see('empty', (await get(t, native))[2].hex())
    sizes = [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 100, 100, 100, 1000, 1023, 4000, 123456]
    for n in sizes:
        await t.req('/', method='POST', body=b'x' * n)

    async def merged():
        b = (await get(t, '/stats/prometheus?histogram_buckets=cumulative' + query))[2]
        return b'_count{envoy_cluster_name="c1"} %d\n' % len(sizes) in b
    t.see('merged', bool(await t.until(merged, 5, 0.05)))
    for most in (None, 1, 2, 3, 5, 10, 12, 16, 20, 21, 30, 60, 1000):
        st, kind, b = await get(t, native + ('' if most is None else '&native_histogram_max_buckets=%d' % most))
        t.see('most %s' % most, [st, kind, b.hex()])
    out = {}
    for q in ('0', '-1', 'x', '', '4294967295', '4294967296', '5.5', '+5', ' 5'):
        st, kind, b = await get(t, native + '&native_histogram_max_buckets=' + q.replace(' ', '%20').replace('+', '%2B'))
        out[q] = [st, kind, b.decode() if st != 200 else '']
        st, kind, b = await get(t, '/stats?filter=^nothing$&native_histogram_max_buckets=' + q.replace(' ', '%20').replace('+', '%2B'))
        out['text ' + q] = [st, kind]
    t.see('odd', out)


@case()
async def prometheus_protobuf_by_accept(t):
    await served(t, paths=())
    out = {}
    for a in (PROTOBUF, 'application/vnd.google.protobuf', 'application/vnd.google.protobuf;q=0.3, text/plain', 'text/plain, application/vnd.google.protobuf', 'APPLICATION/VND.GOOGLE.PROTOBUF', 'application/vnd.google.protobuf2', '*/*', ' application/vnd.google.protobuf ; x=y', 'application/openmetrics-text; version=1.0.0'):
        for p in ('/stats/prometheus?filter=server.live$', '/stats?format=prometheus&filter=server.live$', '/stats?filter=server.live$'):
            st, kind, b = await get(t, p, headers=[('accept', a)])
            out['%s %s' % (a, p)] = [st, kind]
    for q in ('prom_protobuf=false', 'prom_protobuf=', 'format=text&prom_protobuf', 'prom_protobuf&histogram_buckets=detailed', 'prom_protobuf&filter=nothing_at_all', 'prom_protobuf&type=Gauges', 'prom_protobuf&histogram_buckets=x'):
        st, kind, b = await get(t, '/stats/prometheus?filter=server.live$&' + q)
        out[q] = [st, kind, len(b)]
    t.see('answers', out)


# ---- stats that come with the first use
DEFER = '{deferred_stat_options: {enable_deferred_creation_stats: true}, stats_flush_interval: 0.1s}'


async def names(t, q=''):
    _, b = await t.admin('/stats' + q)
    return sorted(l.split(': ')[0] for l in b.splitlines() if '_buffered' not in l)


@case()
async def deferred_creation(t):
    await t.up('u1')
    await t.start(simple(t, clusters=[cluster('c1', t.ups[0]), cluster('c2', t.ups[0])], extra=DEFER))
    q = '?filter=^cluster.c[12]'
    before = await names(t, q)
    t.see('before', before)
    await t.req('/')
    await t.stat_until('cluster.c1.upstream_rq_total', lambda v: v == 1)
    t.see('after', [n for n in await names(t, q) if n not in before])


@case()
async def deferred_creation_off(t):
    await t.up('u1')
    await t.start(simple(t, extra='{deferred_stat_options: {enable_deferred_creation_stats: false}}'))
    t.see('names', await names(t, '?filter=^cluster.c1'))


@case()
async def deferred_creation_other_readers(t):
    await t.up('u1')
    await t.start(simple(t, clusters=[cluster('c1', t.ups[0]), cluster('c2', t.ups[0])], extra=DEFER))
    await t.req('/')
    await t.stat_until('cluster.c1.upstream_rq_total', lambda v: v == 1)
    _, b = await t.admin('/stats/prometheus?filter=upstream_rq_(total|timeout)$')
    t.see('prometheus', b)
    t.see('used', await names(t, '?usedonly&filter=^cluster.c2'))
    _, b = await t.admin('/clusters')
    t.see('clusters', [l for l in b.splitlines() if l.startswith('c2::') and 'default_priority' in l])
    await t.admin('/reset_counters', 'POST')
    t.see('after_reset', len(await names(t, '?filter=^cluster.c2.upstream')))


@case()
async def deferred_creation_sizes_and_budgets(t):
    await t.up('u1')
    await t.start(simple(t, copts='{track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}, outlier_detection: {}, health_checks: [{timeout: 1s, interval: 100s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /hc}}]}', extra=DEFER))
    t.see('names', [n for n in await names(t, '?filter=^cluster.c1.(upstream|health|outlier)') if not n.endswith('health_check.healthy')])


# ---- the health check filter's own counters
HC = 'headers: [{name: ":path", string_match: {exact: /200}}]'


def health(name, config, steps, copts=None):
    @case('health_check_filter_' + name)
    async def _(t):
        await t.up('u1', lambda m, n: resp(int(m['path'][1:4])))
        await t.start(simple(t, filters=[http_filter('hc', 'health_check.v3.HealthCheck', '{%s, %s}' % (config, HC))], copts=copts))
        statuses = []
        for s in steps:
            if s in ('fail', 'ok'):
                await t.admin('/healthcheck/' + s, 'POST')
            else:
                statuses.append((await t.req(s)).status)
        t.see('statuses', statuses)
        t.see('stats', await t.stats(regex='^http.in.health_check'))
        t.see('tracing', await t.stats('http.in.tracing.health_check'))


health('plain', 'pass_through_mode: false', ['/200', '/404', 'fail', '/200', 'ok', '/200'])
health('pass_through', 'pass_through_mode: true', ['/200', 'fail', '/200', '/404', 'ok', '/200'])
health('cached', 'pass_through_mode: true, cache_time: 10s', ['/200', '/200', 'fail', '/200', 'ok', '/200'])
health('clusters', 'pass_through_mode: false, cluster_min_healthy_percentages: {c1: {value: 50}}', ['/200', '/404'])
health('cluster_unknown', 'pass_through_mode: false, cluster_min_healthy_percentages: {nope: {value: 50}}', ['/200'])
health('cluster_empty', 'pass_through_mode: false, cluster_min_healthy_percentages: {c1: {value: 50}}', ['/200'], copts='{load_assignment: {cluster_name: c1, endpoints: []}}')


# ---- what programs read, on clusters of further kinds
LEFT_OUT = ('last_updated', 'user_agent_build_version', 'extensions', 'version_info', 'value')


def lasting(o):
    """A JSON value without what belongs to a build or a moment."""
    if isinstance(o, dict):
        return {k: lasting(v) for k, v in o.items() if k not in LEFT_OUT}
    return [lasting(x) for x in o] if isinstance(o, list) else o


def reader(name, paths=('/a',)):
    def wrap(f):
        @case('readers_more_' + name)
        async def _(t):
            await t.up('u1')
            await t.start(merge(f(t), dict(stats_flush_interval='0.1s')))
            for p in paths:
                await t.req(p)
            await t.merged(len(paths))
            quoted = lambda s: re.sub(r'("port_value": )(\d+)', r'\1"\2"', s)
            _, b = await t.admin('/config_dump?include_eds')
            t.see('endpoints', [lasting(c) for c in json.loads(t.mask(quoted(b)))['configs'] if 'Endpoints' in c['@type']])
            _, b = await t.admin('/clusters?format=json')
            t.see('clusters', sorted(lasting(json.loads(t.mask(quoted(b))))['cluster_statuses'], key=lambda c: c['name']))
            _, b = await t.admin('/stats?filter=^cluster[.]')
            t.see('stats', [l.split(': ')[0] for l in b.splitlines() if '_buffered' not in l])
            _, b = await t.admin('/stats?filter=(ring_hash_lb|maglev_lb|lb_subsets|canary.*_(200|2xx))')
            t.see('values', b)
            _, b = await t.admin('/stats/prometheus?filter=^cluster[.]')
            t.see('series', [l if l.startswith('#') else l.rsplit(' ', 1)[0] for l in b.splitlines() if '_bucket{' not in l and '_buffered' not in l])
    return wrap


@reader('subsets_and_canary', ('/a', '/b'))
def _(t):
    u = t.ups[0]
    hosts = [lbe(u, metadata=Y('{filter_metadata: {envoy.lb: {stage: x, canary: true}, other: {k: [1, a]}}}'), load_balancing_weight=3)]
    return simple(t, clusters=[cluster('c1', localities=[{'lb_endpoints': hosts}], extra='{lb_subset_config: {fallback_policy: ANY_ENDPOINT, subset_selectors: [{keys: [stage]}]}}')])


@reader('ring_hash')
def _(t):
    u = t.ups[0]
    hosts = [lbe(u), lbe(t.dead('d1'), load_balancing_weight=2), lbe(t.dead('d2'), health_status='UNHEALTHY')]
    return simple(t, clusters=[cluster('c1', localities=[{'lb_endpoints': hosts}], extra='{lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 64}}')], routes='[{match: {prefix: /}, direct_response: {status: 200}}]')


@reader('maglev')
def _(t):
    u = t.ups[0]
    return simple(t, clusters=[cluster('c1', localities=[{'lb_endpoints': [lbe(u), lbe(t.dead('d1'))]}], extra='{lb_policy: MAGLEV, maglev_lb_config: {table_size: 101}}')], routes='[{match: {prefix: /}, direct_response: {status: 200}}]')


@reader('ring_hash_of_priorities')
def _(t):
    u = t.ups[0]
    loc = [{'priority': 0, 'lb_endpoints': [lbe(u)]}, {'priority': 1, 'lb_endpoints': [lbe(t.dead('d1')), lbe(t.dead('d2'))]}]
    return simple(t, clusters=[cluster('c1', localities=loc, extra='{lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 10}}')], routes='[{match: {prefix: /}, direct_response: {status: 200}}]')


@reader('empty_localities')
def _(t):
    u = t.ups[0]
    loc = [{'locality': {'region': 'r'}, 'priority': 1, 'lb_endpoints': []}, {'locality': {'region': 'r', 'zone': 'z'}, 'load_balancing_weight': 2, 'lb_endpoints': [lbe(u)]}]
    return simple(t, clusters=[cluster('c1', localities=loc)])


@reader('checked_and_ejectable')
def _(t):
    return simple(t, copts='{outlier_detection: {split_external_local_origin_errors: true}, health_checks: [{timeout: 1s, interval: 100s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /hc}}]}')


@case()
async def canary_by_header_and_failures(t):
    await t.up('u1', lambda m, n: resp(200, '', [('x-envoy-upstream-canary', 'true')]) if m['path'] == '/h' else resp(503))
    await t.start(simple(t, clusters=[cluster('c1', localities=[{'lb_endpoints': [lbe(t.ups[0])]}]), cluster('c2', localities=[{'lb_endpoints': [lbe(t.dead('d1'), metadata=Y('{filter_metadata: {envoy.lb: {canary: true}}}'))]}])], routes='[{match: {prefix: /dead}, route: {cluster: c2}}, {match: {prefix: /}, route: {cluster: c1}}]'))
    for p in ('/h', '/x', '/dead'):
        await t.req(p)
    t.see('stats', await t.stats(regex=r'^cluster\.c[12]\.canary\..*(\d\d\d|xx|completed)$'))


@case()
async def used_only_of_clusters(t):
    await t.up('u1')
    await t.start(simple(t, clusters=[cluster('c1', t.ups[0]), cluster('c2', t.ups[0])]))
    t.see('before', await names(t, '?usedonly&filter=^cluster.c[12]'))
    await t.req('/')
    t.see('after', await names(t, '?usedonly&filter=^cluster.c[12]'))
    t.see('histograms', await names(t, '?usedonly&type=Histograms'))


# ---- odd parameters of each endpoint
ODD = ('/clusters?format=JSON', '/clusters?format=', '/clusters?filter=', '/clusters?filter=^c1$&format=text', '/clusters?filter=%5B', '/clusters?nonsense=1', '/listeners?format=', '/listeners?format=xml&x', '/config_dump?resource=static_listeners&mask=', '/config_dump?mask=,', '/config_dump?resource=nope&mask=x', '/config_dump?name_regex=nothing', '/config_dump?name_regex=', '/config_dump?include_eds=false',
       '/config_dump?resource=static_endpoint_configs', '/config_dump?resource=configs', '/config_dump?resource=static_clusters&resource=nope', '/init_dump?mask=', '/init_dump?mask=a,b', '/certs?format=json', '/memory?format=x', '/runtime?filter=a', '/ready?format=json', '/hot_restart_version?x=1', '/stats?filter=server.live&format=JSON', '/stats?filter=', '/stats?usedonly=&filter=server.live', '/stats?type=gauges', '/stats?type=Gauges&filter=server.live$&invert_filter=&usedonly', '/stats/recentlookups?x', '/stats/', '/contention?enable', '/logging', '/help/')


@case()
async def odd_parameters(t):
    await t.up('u1')
    await t.start(simple(t))
    out = {}
    for p in ODD:
        st, kind, b = await get(t, p)
        out[p] = [st, kind, len(b) > 0]
    t.see('get', out)
    out = {}
    for p in ('/healthcheck/ok?x=1', '/healthcheck/fail/', '/reset_counters?name=x', '/reopen_logs?x', '/logging?level=', '/logging?level=INFO', '/logging?level=info&level=debug', '/logging?paths=,', '/logging?paths=http', '/logging?paths=http:', '/logging?paths=:debug', '/logging?http=info&x=y', '/runtime_modify?', '/runtime_modify?=x', '/cpuprofiler?enable=', '/heapprofiler?enable=maybe', '/drain_listeners?graceful=false&skip_exit', '/stats/recentlookups/enable?x', '/clusters', '/stats?filter=server.live$'):
        st, kind, b = await get(t, p, 'POST')
        out[p] = [st, kind, b.decode()[:60].split('\n')[0] if st != 200 else len(b) > 0]
    t.see('post', out)
