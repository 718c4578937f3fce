"""What programs read of the admin port, whole, on configurations of different kind: /config_dump, /clusters?format=json,
the names of /stats, the series of /stats/prometheus. What belongs to a build or a moment is left out."""
from harness import *

# Of a build or a moment.
LEFT_OUT = ('last_updated', 'user_agent_build_version', 'extensions', 'version_info')
# Stats whose being there depends on the moment or on the build.
OWN_STATS = re.compile(r'^(server\.(hot_restart_generation|memory)|.*(upstream|downstream)_cx_.*_buffered$)')


def lasting(o):
    """A JSON value without what belongs to a build or a moment; the values of host stats, too."""
    if isinstance(o, dict):
        return {k: 'N' if k == 'value' and 'name' in o and o['name'].endswith('_active') else lasting(v) for k, v in o.items() if k not in LEFT_OUT}
    return [lasting(x) for x in o] if isinstance(o, list) else o


def place(t, s):
    """Addresses in stat names have their port behind a `_`."""
    return t.mask(re.sub(r'(127\.0\.0\.1)_\d+', r'\1_PORT', s))


def quoted_ports(s):
    return re.sub(r'("port_value": )(\d+)', r'\1"\2"', re.sub(r'/[^"]*nuncio_certs_[^/"]*', '<certs>', s))


# Of a certificate that each run makes anew.
OF_A_RUN = ('path', 'serial_number', 'days_until_expiration', 'valid_from', 'expiration_time')


def shape_of_certs(o):
    if isinstance(o, dict):
        return {k: '<%s>' % type(v).__name__ if k in OF_A_RUN else shape_of_certs(v) for k, v in o.items()}
    return [shape_of_certs(x) for x in o] if isinstance(o, list) else o


async def read_all(t, paths=('/a', '/b'), ssl=None):
    for p in paths:
        await t.req(p, ssl=ssl, sni='a.example' if ssl else None)
    await t.merged(len(paths))
    st, b = await t.admin('/config_dump')
    t.see('config_dump', lasting(json.loads(t.mask(quoted_ports(b)))))
    st, b = await t.admin('/config_dump?include_eds')
    t.see('endpoints', [lasting(c) for c in json.loads(t.mask(quoted_ports(b)))['configs'] if 'Endpoints' in c['@type']])
    st, b = await t.admin('/clusters?format=json')
    # Envoy walks a hash map.
    t.see('clusters', sorted(lasting(json.loads(t.mask(quoted_ports(b)))).get('cluster_statuses', []), key=lambda c: c['name']))
    st, b = await t.admin('/clusters')
    t.see('clusters_text', sorted((re.sub(r'(cx_active::)\d+', r'\1N', t.mask(l)) for l in b.splitlines()), key=lambda l: l.split('::')[0]))
    st, b = await t.admin('/listeners?format=json')
    t.see('listeners', json.loads(t.mask(quoted_ports(b))))
    st, b = await t.admin('/certs')
    t.see('certs', shape_of_certs(json.loads(b)))
    st, b = await t.admin('/server_info')
    info = json.loads(b)
    t.see('server_info', {**{k: type(v).__name__ for k, v in info.items()}, 'state': info['state'], 'node': sorted(info['node']), 'command_line_options': {k: type(v).__name__ for k, v in info['command_line_options'].items()}})
    st, b = await t.admin('/stats')
    t.see('stats', [n for n in (place(t, l.split(': ')[0]) for l in b.splitlines()) if not OWN_STATS.search(n)])
    st, b = await t.admin('/stats/prometheus')
    series = [place(t, l if l.startswith('#') else l.rsplit(' ', 1)[0]) for l in b.splitlines() if '_bucket{' not in l]
    t.see('series', [s for s in series if not re.search('_buffered|hot_restart_generation|server_memory', s)])


FLUSH = {'stats_flush_interval': '0.1s'}


def reader(name, tls=None, up_tls=None):
    def wrap(f):
        @case('readers_' + name)
        async def _(t):
            await t.up('u1', **({'tls': up_tls()} if up_tls else {}))
            await t.start(merge(f(t), dict(FLUSH)))
            await read_all(t, ssl=tls() if tls else None)
    return wrap


@reader('minimal')
def _(t):
    return simple(t)


@reader('no_clusters')
def _(t):
    return simple(t, clusters=[], routes='[{match: {prefix: /a}, direct_response: {status: 200, body: {inline_string: hi}}}, {match: {prefix: /}, redirect: {https_redirect: true, response_code: FOUND}}]')


@reader('two_listeners')
def _(t):
    u = t.ups[0]
    l = [listener(t, [hcm(t)]), listener(t, [hcm(t, opts='{stat_prefix: other.dotted}')], name='l2', extra='{stat_prefix: "second:one", traffic_direction: OUTBOUND, per_connection_buffer_limit_bytes: 32768}')]
    return config(t, l, [cluster('c1', u), cluster('c2.dotted', u), cluster('c:3', u)])


@reader('localities')
def _(t):
    u = t.ups[0]
    loc = [{'locality': {'region': 'r', 'zone': 'z', 'sub_zone': 's'}, 'priority': 0, 'load_balancing_weight': 3, 'lb_endpoints': [lbe(u, load_balancing_weight=2)]},
           {'locality': {'region': 'r', 'zone': 'why'}, 'priority': 1, 'lb_endpoints': [lbe(t.dead('d1')), lbe(t.dead('d2'), health_status='UNHEALTHY')]}]
    return simple(t, clusters=[cluster('c1', localities=loc)])


@reader('dns')
def _(t):
    u = t.ups[0]

    def at(kind, name):
        c = cluster(name, extra={'type': kind, 'dns_lookup_family': 'V4_ONLY'})
        c['load_assignment']['endpoints'] = [{'lb_endpoints': [{'endpoint': {'address': {'socket_address': {'address': 'localhost', 'port_value': u.port}}}}]}]
        return c
    return simple(t, clusters=[at('STRICT_DNS', 'c1'), at('LOGICAL_DNS', 'c2')])


@reader('limits')
def _(t):
    return simple(t, copts='{alt_stat_name: alt.name, per_connection_buffer_limit_bytes: 4096, circuit_breakers: {thresholds: [{max_connections: 5, track_remaining: true}, {priority: HIGH, max_retries: 1, track_remaining: true}]}}')


@reader('weighted')
def _(t):
    u = t.ups[0]
    return simple(t, clusters=[cluster('c1', u), cluster('c2', u, '{lb_policy: LEAST_REQUEST}')], routes='[{name: w, match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c1, weight: 1}, {name: c2, weight: 0}]}, timeout: 0.25s}}]')


@reader('logs')
def _(t):
    return simple(t, logs=[filelog(t, '%PROTOCOL%', filter='{status_code_filter: {comparison: {op: GE, value: {default_value: 400, runtime_key: k}}}}'),
                           filelog(t, None, name='b.log', json_fmt={'a': '%PROTOCOL%', 'n': {'b': 1.5, 'c': True, 'd': None}})])


@reader('node_and_runtime')
def _(t):
    return simple(t, extra=r"""
node: {id: n-1, cluster: cl, locality: {region: r, zone: z}, metadata: {a: {b: [1, two, 3.5]}, empty: ""}}
layered_runtime: {layers: [{name: base, static_layer: {my: {key: 5, other: text}}}, {name: adm, admin_layer: {}}]}
stats_config: {stats_tags: [{tag_name: fixed, fixed_value: value-1}, {tag_name: one, regex: "^cluster\\.c((\\d)\\.)"}]}
""")


@reader('headers_and_matchers')
def _(t):
    return simple(t, routes=r"""
- name: first
  match: {safe_regex: {regex: "/[ab].*"}, headers: [{name: x, present_match: true, invert_match: true}], query_parameters: [{name: q, string_match: {exact: "1"}}]}
  route: {cluster: c1, prefix_rewrite: "/", host_rewrite_literal: h, idle_timeout: 10s}
- {match: {path: /exact}, route: {cluster: c1, regex_rewrite: {pattern: {regex: "^/(.*)$"}, substitution: "/x/\\1"}}}
- {match: {prefix: /}, route: {cluster_header: x-cluster}, metadata: {filter_metadata: {ns: {k: v}}}}
""", opts="""
server_name: me
via: v
use_remote_address: true
xff_num_trusted_hops: 1
stream_idle_timeout: 1.5s
common_http_protocol_options: {idle_timeout: 3600s, headers_with_underscores_action: REJECT_REQUEST}
request_timeout: 2.000000001s
local_reply_config: {mappers: [{filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: k}}}}, status_code: 410, body: {inline_string: gone}}]}
""", route_config="""
request_headers_to_add: [{header: {key: x-a, value: "%PROTOCOL%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
response_headers_to_remove: [x-b]
most_specific_header_mutations_wins: true
""")


@reader('health_check_filter')
def _(t):
    return simple(t, filters=[http_filter('hc', 'health_check.v3.HealthCheck', '{pass_through_mode: false, headers: [{name: ":path", string_match: {exact: /hc}}]}')])


# ---- TLS

TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.'


def pem(name):
    return {'filename': os.path.join(certs(), name)}


def pair(name):
    return {'certificate_chain': pem(name + '.crt'), 'private_key': pem(name + '.key')}


def trusting(cert=None):
    c = ssl.create_default_context(cafile=os.path.join(certs(), 'ca.crt'))
    if cert:
        c.load_cert_chain(os.path.join(certs(), cert + '.crt'), os.path.join(certs(), cert + '.key'))
    return c


def serving(cert):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(os.path.join(certs(), cert + '.crt'), os.path.join(certs(), cert + '.key'))
    return c


def secured(t, common, extra=None):
    l = listener(t, [hcm(t, routes='[{match: {prefix: /}, direct_response: {status: 200}}]')], extra='{stat_prefix: tls}')
    l['filter_chains'][0]['transport_socket'] = {'name': 'tls', 'typed_config': {'@type': TLS + 'DownstreamTlsContext', 'common_tls_context': common, **(extra or {})}}
    return l


@reader('tls', tls=trusting)
def _(t):
    return config(t, [secured(t, {'tls_certificates': [pair('a')]})], [])


@reader('tls_two_certificates_and_a_ca', tls=lambda: trusting('client'))
def _(t):
    common = {'tls_certificates': [pair('a'), pair('b')], 'validation_context': {'trusted_ca': pem('ca.crt')}, 'alpn_protocols': ['h2', 'http/1.1']}
    return config(t, [secured(t, common, {'require_client_certificate': True})], [])


@reader('tls_static_secrets', tls=trusting)
def _(t):
    cfg = config(t, [secured(t, {'tls_certificate_sds_secret_configs': [{'name': 'own'}], 'validation_context_sds_secret_config': {'name': 'trust'}})], [])
    cfg['static_resources']['secrets'] = [{'name': 'own', 'tls_certificate': pair('a')}, {'name': 'trust', 'validation_context': {'trusted_ca': pem('ca.crt')}}]
    return cfg


@reader('tls_upstream', up_tls=lambda: serving('up'))
def _(t):
    sock = {'name': 'tls', 'typed_config': {'@type': TLS + 'UpstreamTlsContext', 'sni': 'up.example', 'common_tls_context': {'validation_context': {'trusted_ca': pem('ca.crt')}}}}
    return simple(t, clusters=[cluster('c1', t.ups[0], {'transport_socket': sock})])


@reader('listener_of_several_addresses')
def _(t):
    return simple(t, lextra={'additional_addresses': [{'address': {'socket_address': {'address': '127.0.0.1', 'port_value': t.port('more')}}}], 'stat_prefix': 'several'})


@reader('stats_of_hosts')
def _(t):
    return simple(t, copts='{track_cluster_stats: {per_endpoint_stats: true, request_response_sizes: true, timeout_budgets: true}}')
