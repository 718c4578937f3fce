"""The shape of the process's own log lines, and other fields of the bootstrap that only its own output shows."""
from harness import *

INFO = ('--component-log-level', 'main:info')
SAID = 'starting main dispatch loop'


def shaped(name, log_format, args=()):
    @case('process_log_' + name)
    async def _(t):
        cfg = simple(t, clusters=[], routes='[]')
        cfg['application_log_config'] = {'log_format': Y(log_format)}
        await t.start(cfg, args=[*INFO, *args])
        log = await t.until(lambda: SAID in t.proxy_log() and t.proxy_log())
        line = next(l for l in log.splitlines() if SAID in l)
        # Keys come in any order.
        t.see('line', json.loads(line) if line.startswith('{"') else re.sub(r'\d{4,}', '<n>', line))


shaped('text', '{text_format: "%l|%n|%v|"}')
shaped('text_of_all_forms', '{text_format: "%L %v %_ %j %+ [%*]"}')
shaped('text_with_tabs', '{text_format: "%Y\\t%l\\tenvoy %n\\t%v\\tend"}')
shaped('text_escaped', '{text_format: "\\"%l\\"\\t%v"}', ['--log-format-escaped'])
shaped('json', '{json_format: {z: "%j", b: "%l", "a key": "%n"}}')
shaped('json_types', '{json_format: {m: "%j", n: 5, f: 1.5, t: true, l: [1, "%l"], nothing: null}}')
shaped('json_nested', '{json_format: {m: {deep: "%j"}}}')
shaped('json_percent', '{json_format: {m: "%j", p: "100%%"}}')
shaped('json_escaped', '{json_format: {m: "%j"}}', ['--log-format-escaped'])


def refused(name, fields, args=()):
    @case('process_log_refused_' + name)
    async def _(t):
        cfg = simple(t, clusters=[], routes='[]')
        cfg['application_log_config'] = Y(fields)
        code, text = await t.run_to_end(cfg, args)
        t.see('code', code)
        t.see('says', [w for w in ('Usage of %v is unavailable for JSON log formats', 'Usage of %_ is unavailable for JSON log formats',
                                   'Only one of ApplicationLogConfig.log_format or CLI option --log-format can be specified.') if w in text])


refused('message_in_json', '{log_format: {json_format: {m: "%v"}}}')
refused('escaped_message_in_json', '{log_format: {json_format: {m: "%_"}}}')
refused('message_in_a_key', '{log_format: {json_format: {"%v": m}}}')
refused('empty', '{log_format: {}}')
refused('by_both', '{log_format: {text_format: "%v"}}', ['--log-format', '%v'])


@case()
async def process_log_config_without_a_format(t):
    await t.start(simple(t, clusters=[], routes='[]', extra='{application_log_config: {}}'))
    t.see('ready', (await t.admin('/ready'))[0])


def accepted(name, extra, stat=None):
    @case('bootstrap_' + name)
    async def _(t):
        await t.start(simple(t, clusters=[], routes='[]', extra=extra))
        t.see('ready', (await t.admin('/ready'))[0])
        if stat:
            t.see('stat', await t.stats(stat))


accepted('regex_engine', '{default_regex_engine: {name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.regex_engines.v3.GoogleRE2}}}')
accepted('version_override', '{stats_server_version_override: 42}', 'server.version')


def wrong(name, extra):
    @case('bootstrap_refused_' + name)
    async def _(t):
        code, _ = await t.run_to_end(simple(t, clusters=[], routes='[]', extra=extra), ['--mode', 'validate'])
        t.see('code', code)


wrong('flush_twice', '{stats_flush_on_admin: true, stats_flush_interval: 1s}')
wrong('flush_too_often', '{stats_flush_interval: 0.0001s}')
wrong('flush_too_seldom', '{stats_flush_interval: 300s}')
wrong('regex_engine_of_another_kind', '{default_regex_engine: {name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}')


# ---- stats of hosts

ENDPOINT = re.compile(r'endpoint')


def per_endpoint(t, **kw):
    u, dead = t.ups[0], t.dead('d')
    c = cluster('c1', [lbe(u), merge(lbe(dead), {'health_status': 'UNHEALTHY', 'endpoint': {'hostname': 'its-name'}})], '{track_cluster_stats: {per_endpoint_stats: true}}')
    return simple(t, clusters=[c, cluster('c2', u)], **kw)


def hosts(t, text):
    return [t.mask(re.sub(r'127\.0\.0\.1_(\d+)', r'127.0.0.1:\1 ', l)) for l in text.splitlines() if ENDPOINT.search(l)]


def per_endpoint_case(name, path, **kw):
    @case('per_endpoint_' + name)
    async def _(t):
        await t.up('u1', lambda m, n: resp(int(m['path'][1:4])))
        await t.start(per_endpoint(t, **kw))
        for p in ('/200', '/200', '/503'):
            await t.req(p)
        t.see('r', hosts(t, (await t.admin(path))[1].replace('},{', '},\n{')))


per_endpoint_case('text', '/stats')
per_endpoint_case('used_only', '/stats?usedonly')
per_endpoint_case('filter', '/stats?filter=rq_total')
per_endpoint_case('gauges', '/stats?type=Gauges')
per_endpoint_case('json', '/stats?format=json&type=Counters')
per_endpoint_case('prometheus', '/stats/prometheus')
per_endpoint_case('prometheus_filter', '/stats/prometheus?filter=endpoint.*healthy')
per_endpoint_case('with_a_matcher', '/stats', extra='{stats_config: {stats_matcher: {exclusion_list: {patterns: [{contains: rq_}]}}}}')
per_endpoint_case('with_a_tag', '/stats/prometheus?filter=healthy', extra='{stats_config: {stats_tags: [{tag_name: tier, fixed_value: gold}]}}')
per_endpoint_case('without_default_tags', '/stats/prometheus?filter=healthy', extra='{stats_config: {use_all_default_tags: false}}')


@case()
async def per_endpoint_alt_stat_name(t):
    u = await t.up('u1')
    await t.start(simple(t, clusters=[cluster('c1', u, '{alt_stat_name: other.name, track_cluster_stats: {per_endpoint_stats: true}}')]))
    await t.req('/')
    t.see('r', hosts(t, (await t.admin('/stats'))[1]))
    t.see('p', hosts(t, (await t.admin('/stats/prometheus'))[1]))


@case()
async def per_endpoint_to_sinks(t):
    got = []

    class Lines(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            got.append(data.decode())
    port = t.port('sink')
    await asyncio.get_running_loop().create_datagram_endpoint(Lines, ('127.0.0.1', port))
    u = await t.up('u1')
    cfg = per_endpoint(t, extra='{stats_flush_interval: 0.1s}')
    cfg['stats_sinks'] = [{'name': 's', 'typed_config': {'@type': 'type.googleapis.com/envoy.config.metrics.v3.DogStatsdSink', 'address': {'socket_address': {'address': '127.0.0.1', 'port_value': port}}}}]
    await t.start(cfg)
    await t.req('/')
    # Ten stats of each of two hosts, at one flush after the request.
    await t.until(lambda: any('endpoint.rq_total:1' in l for l in got) and len({l.split(':')[0] + l.partition('|')[2] for l in got if 'endpoint' in l}) == 20)
    t.see('names', sorted({t.mask(re.sub(r':\d+\|', ':<n>|', l)) for l in got if 'endpoint' in l}))
