"""Tables from rows, and docs/performance.md from tables."""
import datetime
import os
import platform
import statistics

from . import measure

BEGIN, END = '<!-- bench:begin (written by bench/run --write) -->', '<!-- bench:end -->'


def table(head, lines):
    return '\n'.join(['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)] + ['| ' + ' | '.join(l) + ' |' for l in lines]) + '\n'


def median_by(rows, key, names, variants):
    """{(variant, proxy): median of rows' key}"""
    out = {}
    for v in variants:
        for n in names:
            values = [r[key] for r in rows if r.get('proxy') == n and r.get('variant') == v and key in r]
            if values:
                out[v, n] = statistics.median(values)
    return out


def grid(rows, key, names, show):
    """Variants down, proxies across."""
    variants = list(dict.fromkeys(r['variant'] for r in rows if 'variant' in r))
    medians = median_by(rows, key, names, variants)
    return table(['', *names], [[v, *[show(medians[v, n]) if (v, n) in medians else '–' for n in names]] for v in variants])


def per_proxy(rows, columns):
    """One line per proxy: columns are (title, key, show); medians over rounds."""
    lines = []
    for n in dict.fromkeys(r['proxy'] for r in rows):
        mine = [r for r in rows if r['proxy'] == n]
        line = [n]
        for _, key, show in columns:
            values = [r[key] for r in mine if key in r]
            line.append(show(statistics.median(values)) if values else '–')
        lines.append(line)
    return table(['', *[c[0] for c in columns]], lines)


def kilo(v):
    return '%.1fk' % (v / 1000)


def text(results, names, versions, missing, method):
    """The whole report as Markdown."""
    out = []

    def section(title, body, note=''):
        out.append('### %s\n\n%s%s' % (title, note + '\n\n' if note else '', body))
    if 'instructions' in results:
        section('User instructions per request', grid(results['instructions'], 'user', names, kilo), method)
        if any('all' in r for r in results['instructions']):
            section('Instructions per request, user and kernel', grid(results['instructions'], 'all', names, kilo))
    if 'cpu' in results:
        section('CPU time per request (µs, user + system)', grid(results['cpu'], 'cpu_us', names, lambda v: '%.1f' % v), 'Scheduler time of the proxy process, median of the interleaved rounds.')
        section('Of it in user space (µs)', grid(results['cpu'], 'user_us', names, lambda v: '%.1f' % v), 'By the share of clock ticks, so coarser than the sum.')
        section('Requests per second', grid(results['cpu'], 'rps', names, lambda v: '%.0f' % v), 'Closed loop; proxy, upstream and load generator share the machine, so this is a comparison, not a limit.')
        apart = {'bulk': ('Bulk: MB per CPU second', lambda r: measure.BULK / 1e6 / r['cpu_us'] * 1e6, 'Bodies of %d MiB to clients; `bulk-h2-…` on 2 connections of 4 streams, the others on 8 connections.' % (measure.BULK >> 20)),
                 'handshake': ('Whole TLS handshakes per CPU second', lambda r: 1e6 / r['cpu_us'], 'TLS 1.3, X25519, a connection and one small GET each, certificates of P-256 and of RSA 2048.'),
                 'grpc': ('Unary gRPC calls per CPU second', lambda r: 1e6 / r['cpu_us'], '8 connections of 32 streams; HTTP/2 on both sides, trailers.')}
        for prefix, (title, worth, note) in apart.items():
            rows = [{**r, 'worth': worth(r)} for r in results['cpu'] if r.get('variant', '').startswith(prefix) and 'cpu_us' in r]
            if rows:
                section(title, grid(rows, 'worth', names, lambda v: '%.0f' % v), note)
    if 'syscalls' in results:
        section('System calls per request', per_proxy(results['syscalls'], [('all', 'total', lambda v: '%.2f' % v)] + [(k, k, lambda v: '%.2f' % v) for k in ('read', 'recvfrom', 'readv', 'recvmsg', 'write', 'writev', 'sendto', 'sendmsg', 'epoll_wait', 'epoll_ctl')]))
    if 'latency' in results:
        us = lambda v: '%.0f' % v
        section('Latency at a fixed rate (µs from the time due)', per_proxy(results['latency'], [('rate/s', 'rate', us), ('p50', 'p50_us', us), ('p90', 'p90_us', us), ('p99', 'p99_us', us), ('p99.9', 'p999_us', us)]))
    kib = lambda v: '%.2f' % (v / 1024)
    if 'idle' in results:
        section('Memory per idle keep-alive connection (KiB)', per_proxy(results['idle'], [('connections', 'connections', lambda v: '%d' % v), ('PSS', 'pss_per_connection', kib), ('RSS', 'rss_per_connection', kib)]), 'Process memory, kernel not counted; each connection has made one request.')
    if 'clusters' in results:
        section('Memory per static cluster (KiB)', per_proxy(results['clusters'], [('clusters', 'clusters', lambda v: '%d' % v), ('PSS', 'pss_per_cluster', kib), ('RSS', 'rss_per_cluster', kib)]))
    if 'scrape' in results:
        one = lambda v: '%.1f' % v
        section('A scrape of /stats/prometheus', per_proxy(results['scrape'], [('clusters', 'clusters', lambda v: '%d' % v), ('bytes', 'bytes', lambda v: '%d' % v), ('ms', 'ms', one), ('CPU ms', 'cpu_ms', one)]), 'Until the whole answer was read, from another process on this machine.')
    if 'startup' in results:
        mib = lambda v: '%.1f' % (v / 1048576)
        section('Start-up of a small file', per_proxy(results['startup'], [('ready, ms', 'ready_ms', lambda v: '%.0f' % v), ('RSS, MiB', 'rss', mib), ('PSS, MiB', 'pss', mib)]))
    if 'load' in results:
        for key, title, show in (('seconds', 'Loading a big bootstrap (seconds)', lambda v: '%.2f' % v), ('times_file', 'Peak memory of it (times the file)', lambda v: '%.1f' % v)):
            section(title, grid(results['load'], key, names, show), '`--mode validate` of a YAML file with one listener of 20,000 routes (11 MB), and of one with 2,000 clusters of 20 endpoints (7 MB).')
    failed = [(s, r) for s, rows in results.items() for r in rows if 'failed' in r]
    if failed:
        section('Not measured', '\n'.join('- %s, %s: %s' % (s, ' '.join(str(r[k]) for k in ('proxy', 'variant') if k in r), r['failed']) for s, r in failed) + '\n')
    section('Machine and versions', '\n'.join(['- %s, %s CPUs, Linux %s' % (cpu_model(), os.cpu_count(), platform.release()), '- %s' % datetime.date.today()]
                                              + ['- %s: %s' % v for v in versions.items()] + ['- %s: not installed here' % m for m in missing]) + '\n')
    return '\n'.join(out)


def cpu_model():
    with open('/proc/cpuinfo') as f:
        return next((l.split(':')[1].strip() for l in f if l.startswith('model name')), platform.machine())


def raw(results):
    """Every row, as one fenced block per scenario."""
    out = []
    for s, rows in results.items():
        out.append('%s\n%s' % (s, '\n'.join('  ' + ' '.join('%s=%s' % (k, round(v, 2) if isinstance(v, float) else v) for k, v in r.items()) for r in rows)))
    return '### Raw rows\n\n```\n%s\n```\n' % '\n'.join(out)


def write(path, body):
    """Replaces what stands between the marks."""
    with open(path) as f:
        page = f.read()
    head, rest = page.split(BEGIN)
    with open(path, 'w') as f:
        f.write(head + BEGIN + '\n\n' + body + '\n' + END + rest.split(END)[1])
