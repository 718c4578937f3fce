"""What is measured, by name. Every scenario returns rows: a list of dicts, one per proxy and round."""
import statistics
import subprocess
import time

from . import loading, measure
from .processes import NotReady

# name -> variants of the configuration
LOAD_SCENARIOS = {'plain': ['plain'], 'logs': ['log-text', 'log-json'], 'routes': ['routes-1', 'routes-2000', 'routes-2000-exact', 'routes-2000-header', 'routes-2000-regex'], 'protocols': ['h2-h2', 'h2-h1', 'tls-h1'], 'policies': ['watched-upstreams', 'watched-h2', 'policies'],
                  'grpc': ['grpc'], 'handshakes': ['handshake-ecdsa', 'handshake-rsa'], 'bulk': ['bulk-h1-h1', 'bulk-tls-h1', 'bulk-h2-h1', 'bulk-h2-h2']}
# Of these only CPU time is counted: valgrind knows no instruction that speeds ciphers up, and bodies are the kernel's work.
CPU_ONLY = ('handshakes', 'bulk')
# What only programs that take an Envoy bootstrap can be asked.
BOOTSTRAP_ONLY = ('nuncio', 'envoy')


def each(names, work, rows):
    """Runs `work(name)` for each proxy; one that cannot do it becomes a row that says why."""
    for name in names:
        try:
            rows.append({'proxy': name, **work(name)})
        except (NotReady, RuntimeError, OSError, subprocess.SubprocessError) as e:
            rows.append({'proxy': name, 'failed': ' '.join(str(e).split())[:200]})
        print('  ', rows[-1], flush=True)


def names_for(variant, names):
    """The relay knows no paths and no logs: it is the floor of every variant but stands where nothing is read. nginx speaks no
    HTTP/2 to upstreams, and is left out of what small requests cost by HTTP/2 and TLS."""
    if variant in ('plain', 'bulk-h1-h1'):
        absent = ()
    elif variant in ('h2-h2', 'h2-h1', 'tls-h1', 'grpc', 'bulk-h2-h2'):
        absent = ('relay', 'nginx')
    elif variant in ('watched-upstreams', 'watched-h2', 'policies'):
        absent = tuple(n for n in names if n not in BOOTSTRAP_ONLY)
    else:
        absent = ('relay',)
    return [n for n in names if n not in absent]


def cpu(bench, names, variant, rounds, requests):
    """CPU time per request and throughput, rounds interleaved: all proxies run, one is loaded at a time."""
    rows, proxies = [], {}
    try:
        for name in names_for(variant, names):
            try:
                proxies[name] = bench.start(name, variant)
            except NotReady as e:
                rows.append({'variant': variant, 'proxy': name, 'failed': ' '.join(str(e).split())[:200]})
                print('  ', rows[-1], flush=True)
        for i in range(rounds):
            mine = []
            each(proxies, lambda n: {'variant': variant, 'round': i + 1, **measure.cpu_per_request(bench, proxies[n], variant, requests)}, mine)
            rows += mine
    finally:
        for p in proxies.values():
            p.end()
    return rows


def instructions(bench, names, variant, counters, few, many):
    """Instructions per request: hardware counters, else valgrind."""
    rows = []

    def one(name):
        if counters:
            proxy = bench.start(name, variant)
            try:
                return {'variant': variant, **measure.perf_instructions(bench, proxy, variant, 50000)}
            finally:
                proxy.end()
        return {'variant': variant, **measure.valgrind_instructions(bench, name, variant, few, many)}
    each(names_for(variant, names), one, rows)
    return rows


def syscalls(bench, names):
    rows = []

    def one(name):
        calls = measure.syscalls_per_request(bench, name, 'plain')
        return {'variant': 'plain', 'total': sum(calls.values()), **calls} if calls else {'failed': 'no strace'}
    each(names, one, rows)
    return rows


def idle_memory(bench, names, connections=10000):
    """Process memory per idle keep-alive connection, each after one request, kernel memory not counted."""
    rows = []

    def one(name):
        proxy = bench.start(name, 'plain')
        try:
            bench.load(proxy.port, 2000)
            before = proxy.memory()
            held = subprocess.Popen([bench.program, 'idle', str(proxy.port), '--connections', str(connections)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                if not held.stdout.readline().startswith('ready'):
                    raise RuntimeError('the connections could not be opened')
                time.sleep(0.5)         # a proxy may give buffers back a moment after the answer
                after = proxy.memory()
            finally:
                held.stdin.close()
                held.wait(60)
            return {'connections': connections, 'pss_per_connection': (after[1] - before[1]) / connections,
                    'rss_per_connection': (after[0] - before[0]) / connections, 'pss_before': before[1]}
        finally:
            proxy.end()
    each([n for n in names if n != 'relay'], one, rows)
    return rows


def cluster_memory(bench, names, clusters=2000):
    """Process memory per static cluster with one endpoint."""
    rows = []

    def at(name, n):
        proxy = bench.start(name, 'plain', clusters=n, ready_within=60)
        try:
            bench.load(proxy.port, 200, connections=4)
            return proxy.memory()
        finally:
            proxy.end()

    def one(name):
        small, large = at(name, 1), at(name, clusters + 1)
        return {'clusters': clusters, 'pss_per_cluster': (large[1] - small[1]) / clusters, 'rss_per_cluster': (large[0] - small[0]) / clusters}
    each([n for n in names if n in BOOTSTRAP_ONLY], one, rows)
    return rows


def scrape(bench, names, rounds, clusters=2000):
    """How long `/stats/prometheus` takes with many static clusters, whole answer read; median of the rounds."""
    rows = []

    def one(name):
        proxy = bench.start(name, 'plain', clusters=clusters, ready_within=60)
        try:
            bench.load(proxy.port, 200, connections=4)
            measure.fetch(proxy.admin, '/stats/prometheus')
            before = proxy.cpu()[2]
            took = [measure.fetch(proxy.admin, '/stats/prometheus') for _ in range(rounds)]
            return {'clusters': clusters, 'bytes': took[0][1], 'ms': statistics.median(t[0] for t in took),
                    'cpu_ms': (proxy.cpu()[2] - before) / rounds * 1000}
        finally:
            proxy.end()
    each([n for n in names if n in BOOTSTRAP_ONLY], one, rows)
    return rows


def startup(bench, names, rounds):
    """From exec until the listener accepts, and memory then (median of the rounds)."""
    rows = []

    def one(name):
        took, memory = [], []
        for _ in range(rounds):
            proxy = bench.start(name, 'plain')
            took.append(proxy.ready_after)
            memory.append(proxy.memory())
            proxy.end()
        return {'ready_ms': statistics.median(took) * 1000, 'rss': statistics.median(m[0] for m in memory), 'pss': statistics.median(m[1] for m in memory)}
    each(names, one, rows)
    return rows


def load(kinds, names):
    """Time and peak memory of loading a big bootstrap."""
    rows = []
    for variant, text in loading.FILES.items():
        text = text()
        flags = {'envoy': ['-l', 'error']}
        each([n for n in names if n in BOOTSTRAP_ONLY],
             lambda n: {'variant': variant, **loading.measure(kinds[n].binary, flags.get(n, []), text)}, rows)
    return rows


def latency(bench, names, rounds, rate, seconds):
    """Open loop at a fixed rate: latency from the time a request was due."""
    rows, proxies = [], {}
    try:
        for name in names:
            try:
                proxies[name] = bench.start(name, 'plain')
                bench.load(proxies[name].port, 2000)
            except (NotReady, RuntimeError) as e:
                proxies.pop(name, None)
                rows.append({'proxy': name, 'failed': ' '.join(str(e).split())[:200]})
        for i in range(rounds):
            mine = []
            each(proxies, lambda n: {'round': i + 1, 'rate': rate, **bench.load(proxies[n].port, rate * seconds, rate=rate)}, mine)
            rows += mine
    finally:
        for p in proxies.values():
            p.end()
    return rows
