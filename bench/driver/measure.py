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


class Bench:
    """What every measurement needs: the bench's own programs and the fixed upstream."""

    def __init__(self, program, kinds):
        self.program, self.kinds = program, kinds
        self.upstream_port = free_port()
        self.upstream = Process([program, 'upstream', str(self.upstream_port)], self.upstream_port)

    def start(self, name, variant, clusters=1, wrap=None, ready_within=20):
        """The proxy `name` with this variant's configuration; `wrap(folder)` gives a command to run it under."""
        folder, port, admin = tempfile.mkdtemp(prefix='nuncio_bench_'), free_port(), free_port()
        argv = self.kinds[name].command(variant, port, self.upstream_port, folder, admin, clusters=clusters, single_process=bool(wrap))
        proxy = Process([*(wrap(folder) if wrap else []), *argv], port, folder, ready_within)
        proxy.admin = admin
        return proxy

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
        self.upstream.end()


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
    bench.load(proxy.port, warm, path=path_of(variant))
    before = proxy.cpu()
    result = bench.load(proxy.port, requests, path=path_of(variant))
    user, system, exact = (b - a for a, b in zip(before, proxy.cpu()))
    share = user / (user + system) if user + system else 0
    return {'cpu_us': exact / requests * 1e6, 'user_us': exact * share / requests * 1e6, 'system_us': exact * (1 - share) / requests * 1e6,
            'rps': result['rps'], 'p50_us': result['p50_us'], 'p99_us': result['p99_us']}


def perf_instructions(bench, proxy, variant, requests):
    """{user, all} instructions per request by hardware counters."""
    bench.load(proxy.port, 2000, path=path_of(variant))
    counter = subprocess.Popen(['perf', 'stat', '-x,', '-e', 'instructions:u,instructions', '-p', ','.join(map(str, proxy.pids()))],
                               stderr=subprocess.PIPE, text=True)
    bench.load(proxy.port, requests, path=path_of(variant))
    counter.send_signal(2)
    counts = [int(m) for m in re.findall(r'^(\d+),', counter.communicate()[1], re.M)]
    return {'user': counts[0] / requests, 'all': counts[1] / requests}


def valgrind_instructions(bench, name, variant, few=1000, many=4000, connections=64):
    """User instructions per request: two runs that differ only in their number of requests, so that start-up cancels.

    Counts all threads of the one process (nginx runs without a master for it).
    """
    totals = []
    for n in (few, many):
        proxy = bench.start(name, variant, ready_within=240, wrap=lambda folder: [
            'valgrind', '--tool=cachegrind', '--cache-sim=no', '--cachegrind-out-file=/dev/null', '--trace-children=no'])
        try:
            bench.load(proxy.port, n, connections, path=path_of(variant), limit=600)
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
