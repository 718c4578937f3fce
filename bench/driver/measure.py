"""Counters of one proxy: instructions where the machine has them, else from valgrind; CPU time; load runs."""
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

from .processes import Process, free_port
from .proxies import secured


# What h2load (nghttp2) is told for the variants that it drives, and the scheme.
H2LOAD = {'h2-h2': (['-c', '8', '-m', '32'], 'http'), 'watched-h2': (['-c', '8', '-m', '32'], 'http'), 'h2-h1': (['-c', '8', '-m', '32'], 'http'), 'tls-h1': (['-c', '64', '-m', '1', '--h1'], 'https'),
          'grpc': (['-c', '8', '-m', '32'], 'http'), 'handshake-ecdsa': (['--h1'], 'https'), 'handshake-rsa': (['--h1'], 'https'),
          'bulk-h1-h1': (['-c', '8', '-m', '1', '--h1'], 'http'), 'bulk-tls-h1': (['-c', '8', '-m', '1', '--h1'], 'https'),
          'bulk-h2-h1': (['-c', '2', '-m', '4'], 'http'), 'bulk-h2-h2': (['-c', '2', '-m', '4'], 'http')}
# Connections that are made at once where each request has one of its own.
AT_ONCE = 100
# The body of a bulk variant's answer, in bytes.
BULK = 8 << 20


def worth(variant):
    """One request of the variant is worth so many small GETs: rounds of all variants take about the same time."""
    return {'bulk': 200, 'handshake': 20}.get(variant.split('-')[0], 1)


def certificate(folder, variant):
    """A certificate of our own and its key, in one file and in two."""
    key, cert = os.path.join(folder, 'key.pem'), os.path.join(folder, 'cert.pem')
    kind = ['rsa:2048'] if variant.endswith('rsa') else ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
    subprocess.run(['openssl', 'req', '-x509', '-newkey', *kind, '-nodes', '-days', '2', '-subj', '/CN=localhost',
                    '-keyout', key, '-out', cert], check=True, capture_output=True, timeout=60)
    with open(os.path.join(folder, 'both.pem'), 'w') as both:
        both.write(open(cert).read() + open(key).read())


class Bench:
    """What every measurement needs: the bench's own programs and the fixed upstream."""

    def __init__(self, program, kinds):
        self.program, self.kinds = program, kinds
        self.upstream_port = free_port()
        self.upstream = Process([program, 'upstream', str(self.upstream_port)], self.upstream_port)
        self.others = {}

    def start(self, name, variant, clusters=1, wrap=None, ready_within=20):
        """The proxy `name` with this variant's configuration; `wrap(folder)` gives a command to run it under."""
        folder, port, admin = tempfile.mkdtemp(prefix='nuncio_bench_'), free_port(), free_port()
        upstream = self.upstream_of(variant)
        if secured(variant):
            certificate(folder, variant)
        argv = self.kinds[name].command(variant, port, upstream, folder, admin, clusters=clusters, single_process=bool(wrap))
        proxy = Process([*(wrap(folder) if wrap else []), *argv], port, folder, ready_within)
        proxy.admin = admin
        return proxy

    def upstream_of(self, variant):
        """Port of the upstream of a variant, which is started with its first use."""
        kind = {'h2-h2': 'http2', 'watched-h2': 'http2', 'grpc': 'grpc', 'bulk-h2-h2': 'bulk-http2'}.get(variant) or ('bulk' if variant.startswith('bulk') else '')
        if not kind:
            return self.upstream_port
        if kind not in self.others:
            port = free_port()
            if kind == 'grpc':
                self.others[kind] = Process([self.program, 'grpc', str(port)], port)
            elif kind == 'bulk':
                self.others[kind] = Process([self.program, 'upstream', str(port), str(BULK)], port)
            else:
                # A nuncio that answers by itself, or has the large body from its own upstream.
                if 'nuncio' not in self.kinds:
                    raise RuntimeError('the HTTP/2 upstream is nuncio itself, which is not there')
                folder = tempfile.mkdtemp(prefix='nuncio_bench_')
                variant, behind = ('answers', 0) if kind == 'http2' else ('plain', self.upstream_of('bulk'))
                self.others[kind] = Process(self.kinds['nuncio'].command(variant, port, behind, folder, free_port()), port, folder)
        return self.others[kind].port

    def drive(self, proxy, variant, requests, limit=300):
        """Exactly `requests` requests of this variant's kind."""
        if variant not in H2LOAD:
            return self.load(proxy.port, requests, path=path_of(variant), limit=limit)
        flags, scheme = H2LOAD[variant]
        if variant.startswith('handshake'):
            # Each connection makes one request, after a whole handshake.
            begun = time.monotonic()
            for _ in range(0, requests, AT_ONCE):
                self.h2load(proxy, scheme, [*flags, '-c', str(AT_ONCE)], AT_ONCE, limit)
            return {'rps': requests / (time.monotonic() - begun)}
        if variant == 'grpc':
            body = os.path.join(self.upstream.folder, 'call')
            with open(body, 'wb') as f:
                f.write(b'\0\0\0\0\x0ahello, you')
            flags = [*flags, '-d', body, '-H', 'content-type: application/grpc', '-H', 'te: trailers']
        return {'rps': self.h2load(proxy, scheme, flags, requests, limit)}

    def h2load(self, proxy, scheme, flags, requests, limit):
        """Runs h2load; requests per second."""
        out = subprocess.run(['h2load', '-n', str(requests), *flags, '%s://127.0.0.1:%d/' % (scheme, proxy.port)], capture_output=True, text=True, timeout=limit)
        done, rps = re.search(r'(\d+) succeeded', out.stdout), re.search(r'([\d.]+) req/s', out.stdout)
        if not done or not rps or int(done[1]) != requests or not re.search(r'status codes: %d 2xx' % requests, out.stdout):
            raise RuntimeError('h2load: ' + ' '.join((out.stdout + out.stderr).split())[-300:])
        return float(rps[1])

    def load(self, port, requests, connections=64, rate=0, path='/', limit=300):
        """Exactly `requests` requests; the load generator's own numbers."""
        out = subprocess.run([self.program, 'load', str(port), '--requests', str(requests), '--connections', str(connections),
                              '--rate', str(rate), '--path', path], capture_output=True, text=True, timeout=limit)
        if out.returncode != 0:
            raise RuntimeError('load: ' + out.stderr.strip())
        result = json.loads(out.stdout)
        if result['errors']:
            raise RuntimeError('load: %d requests were not answered with 200' % result['errors'])
        return result

    def close(self):
        for process in (*self.others.values(), self.upstream):
            process.end()


def fetch(port, path):
    """(milliseconds until the whole answer is here, its bytes) of a GET."""
    buffer, size = bytearray(1 << 20), 0
    with socket.create_connection(('127.0.0.1', port)) as s:
        begun = time.perf_counter()
        s.sendall(b'GET %s HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n' % path.encode())
        while n := s.recv_into(buffer):
            size += n
        return (time.perf_counter() - begun) * 1000, size


def has_counters():
    """Does `perf stat` count instructions here?"""
    if not shutil.which('perf'):
        return False
    out = subprocess.run(['perf', 'stat', '-x,', '-e', 'instructions:u', 'true'], capture_output=True, text=True)
    return out.returncode == 0 and re.search(r'^\d+,', out.stderr, re.M) is not None


def path_of(variant):
    """The request path: with many routes the one that the last of them matches."""
    return '/service-%05d/x' % (int(variant.split('-')[1]) - 1) if variant.startswith('routes-') else '/'


def cpu_per_request(bench, proxy, variant, requests, warm=2000):
    """Closed loop over 64 connections: CPU microseconds per request and the load generator's numbers."""
    requests, warm = max(requests // worth(variant), AT_ONCE), max(warm // worth(variant), AT_ONCE)
    bench.drive(proxy, variant, warm)
    before = proxy.cpu()
    result = bench.drive(proxy, variant, requests)
    user, system, exact = (b - a for a, b in zip(before, proxy.cpu()))
    share = user / (user + system) if user + system else 0
    return {'cpu_us': exact / requests * 1e6, 'user_us': exact * share / requests * 1e6, 'system_us': exact * (1 - share) / requests * 1e6,
            **{key: result[key] for key in ('rps', 'p50_us', 'p99_us') if key in result}}


def perf_instructions(bench, proxy, variant, requests):
    """{user, all} instructions per request by hardware counters."""
    bench.drive(proxy, variant, 2000)
    counter = subprocess.Popen(['perf', 'stat', '-x,', '-e', 'instructions:u,instructions', '-p', ','.join(map(str, proxy.pids()))],
                               stderr=subprocess.PIPE, text=True)
    bench.drive(proxy, variant, requests)
    counter.send_signal(2)
    counts = [int(m) for m in re.findall(r'^(\d+),', counter.communicate()[1], re.M)]
    return {'user': counts[0] / requests, 'all': counts[1] / requests}


def valgrind_instructions(bench, name, variant, few=1000, many=4000):
    """User instructions per request: two runs that differ only in their number of requests, so that start-up cancels.

    Counts all threads of the one process (nginx runs without a master for it).
    """
    totals = []
    for n in (few, many):
        proxy = bench.start(name, variant, ready_within=240, wrap=lambda folder: [
            'valgrind', '--tool=cachegrind', '--cache-sim=no', '--cachegrind-out-file=/dev/null', '--trace-children=no'])
        try:
            bench.drive(proxy, variant, n, limit=600)
        finally:
            printed = proxy.end()
        found = re.search(r'I\s+refs:\s+([\d,]+)', printed)
        if not found:
            raise RuntimeError('valgrind printed no count: ' + printed[-400:])
        totals.append(int(found.group(1).replace(',', '')))
    return {'user': (totals[1] - totals[0]) / (many - few)}


def syscalls_per_request(bench, name, variant, requests=5000):
    """{name: calls per request} by strace, without its start-up; None where strace is missing."""
    if not shutil.which('strace'):
        return None
    proxy = bench.start(name, variant)
    out = os.path.join(proxy.folder, 'calls')
    try:
        bench.load(proxy.port, 1000, path=path_of(variant))
        args = [a for p in proxy.pids() for a in ('-p', str(p))]
        trace = subprocess.Popen(['strace', '-f', '-c', '-o', out, *args], stderr=subprocess.PIPE)
        trace.stderr.read(1)        # it says that it is attached
        bench.load(proxy.port, requests, path=path_of(variant))
        trace.send_signal(2)
        trace.wait(20)
        with open(out) as f:
            rows = [l.split() for l in f if re.match(r'\s*\d+\.\d+ ', l)]
        return {r[-1]: int(r[3]) / requests for r in rows if r[-1] != 'total' and int(r[3]) / requests > 0.01}
    finally:
        proxy.end()
