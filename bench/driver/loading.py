"""What loading a big bootstrap costs: time and peak memory of `--mode validate`."""
import os
import subprocess
import sys
import tempfile

HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
ROUTER = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'
ADMIN = 'admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n'
BACKEND = '''  clusters:
  - name: backend
    connect_timeout: 1s
    load_assignment:
      cluster_name: backend
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]
'''


def routes(n):
    """One listener with `n` routes that match by prefix and header, rewrite and set a header: 570 bytes each."""
    out = ['''%sstatic_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: h
        typed_config:
          '@type': %s
          stat_prefix: a
          http_filters: [{name: r, typed_config: {'@type': %s}}]
          route_config:
            virtual_hosts:
            - name: v
              domains: ['*']
              routes:
''' % (ADMIN, HCM, ROUTER)]
    for i in range(n):
        out.append('''              - name: route_%d
                match:
                  prefix: /service/%d/api/v1
                  headers:
                  - name: x-tenant
                    string_match:
                      exact: tenant-%d
                route:
                  cluster: backend
                  timeout: 15s
                  prefix_rewrite: /v1/%d/
                request_headers_to_add:
                - header:
                    key: x-route
                    value: route-%d
                  append_action: OVERWRITE_IF_EXISTS_OR_ADD
''' % (i, i, i, i, i))
    return ''.join(out) + BACKEND


def clusters(n, endpoints=20):
    """`n` static clusters."""
    out = [ADMIN + 'static_resources:\n  clusters:\n']
    for i in range(n):
        out.append('''  - name: cluster_%d
    connect_timeout: 1s
    type: STATIC
    lb_policy: LEAST_REQUEST
    load_assignment:
      cluster_name: cluster_%d
      endpoints:
      - lb_endpoints:
''' % (i, i))
        for j in range(endpoints):
            out.append('''        - endpoint:
            address:
              socket_address:
                address: 10.%d.%d.%d
                port_value: 8080
          load_balancing_weight: 1
''' % (i // 250, i % 250, j + 1))
    return ''.join(out)


FILES = {'routes-20000': lambda: routes(20000), 'clusters-2000': lambda: clusters(2000)}


# Runs its arguments and prints exit code, seconds and peak KiB. A process of its own: what is measured counts the memory
# of whoever started it as its own until it execs, and this one has next to none.
RUN = '''import os, sys, time
start = time.monotonic()
null = [(os.POSIX_SPAWN_OPEN, fd, '/dev/null', os.O_WRONLY, 0) for fd in (1, 2)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=null)
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), time.monotonic() - start, usage.ru_maxrss)'''


def measure(binary, flags, text):
    """Seconds and peak resident bytes of one `--mode validate`, and the file's size."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'bootstrap.yaml')
        with open(path, 'w') as f:
            f.write(text)
        out = subprocess.run([sys.executable, '-c', RUN, binary, '--mode', 'validate', '-c', path, *flags], stdout=subprocess.PIPE, text=True, timeout=300, check=True).stdout.split()
        if out[0] != '0':
            raise RuntimeError('ended with ' + out[0])
        size, peak = os.path.getsize(path), int(out[2]) * 1024
        return {'seconds': float(out[1]), 'peak': peak, 'file': size, 'times_file': peak / size}
