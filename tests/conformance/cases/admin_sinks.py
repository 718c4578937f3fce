"""What stats sinks send: statsd, dogstatsd and graphite over UDP and Unix sockets, and statsd over TCP."""
from harness import *

SINKS = {'statsd': 'envoy.config.metrics.v3.StatsdSink', 'dog': 'envoy.config.metrics.v3.DogStatsdSink',
         'graphite': 'envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink'}
NODE = '{id: own, cluster: mine}'


class Lines(asyncio.DatagramProtocol):
    """Datagrams as they came."""

    def __init__(self):
        self.datagrams = []

    def datagram_received(self, data, addr):
        self.datagrams.append(data.decode('utf-8', 'replace'))

    def lines(self, pattern='.'):
        return [l for d in self.datagrams for l in d.split('\n') if l and re.search(pattern, l)]


async def receiver(t, label='sink'):
    port = t.port(label)
    _, lines = await asyncio.get_running_loop().create_datagram_endpoint(Lines, ('127.0.0.1', port))
    return lines, {'socket_address': {'protocol': 'UDP', 'address': '127.0.0.1', 'port_value': port}}


def sink(kind, address=None, **fields):
    c = {'@type': 'type.googleapis.com/' + SINKS[kind], **fields}
    if address:
        c['address'] = address
    return {'name': kind, 'typed_config': c}


async def served(t, sinks, paths=('/200', '/200', '/503'), extra=None, flush='0.1s', **kw):
    await t.up('u1', lambda m, n: resp(int(m['path'][1:4])))
    cfg = simple(t, extra=extra, **{'lextra': '{stat_prefix: lp}', **kw})
    if flush:
        cfg['stats_flush_interval'] = flush
    cfg['stats_sinks'] = sinks
    await t.start(cfg)
    for p in paths:
        await t.req(p)


def sums(lines):
    """Counters' gains, added up over the flushes."""
    out = {}
    for l in lines:
        name, _, rest = l.partition(':')
        value, kind = rest.split('|', 1)
        if kind == 'c' or kind.startswith('c|'):
            key = name + ('|' + kind[2:] if kind != 'c' else '')
            out[key] = out.get(key, 0) + int(value)
    return dict(sorted(out.items()))


def kinds(lines):
    """What stands behind each name."""
    out = {}
    for l in lines:
        name, _, rest = l.partition(':')
        name += '|'.join(['', *rest.split('|')[2:]])
        out[name] = re.sub(r'^[0-9.]+', '<n>', '|'.join(rest.split('|')[:2]))
    return dict(sorted(out.items()))


RQ = r'(downstream_rq_(total|completed|2xx|5xx)|upstream_rq_(total|completed|2xx|5xx|200|503)|membership_total|upstream_rq_time|downstream_rq_time)[:;|#]'


async def sent(t, got, count=3, pattern=RQ):
    """Waits until all requests have been told of, and two flushes more; then what was told, without the admin port: how
    often the harness asks there is nobody's business."""
    total = lambda: got.lines(r'upstream_rq_total[:;].*\|c')
    await t.until(lambda: sum(int(l.split(':')[1].split('|')[0]) for l in total()) >= count)
    n = len(total())
    await t.until(lambda: len(total()) >= n + 2)
    return [l for l in got.lines(pattern) if 'admin' not in l]


def udp(name, kind, pattern=RQ, extra=None, **fields):
    @case('sink_' + name)
    async def _(t):
        got, at = await receiver(t)
        await served(t, [sink(kind, at, **fields)], extra=extra)
        lines = await sent(t, got, pattern=pattern)
        t.see('counters', sums(lines))
        t.see('kinds', kinds(lines))


udp('statsd_udp', 'statsd')
udp('statsd_prefix', 'statsd', prefix='my.own')
udp('statsd_keeps_tags_in_names', 'statsd', pattern=r'(listener|http)\..*(downstream_cx_total|worker_0)')
udp('dogstatsd', 'dog')
udp('dogstatsd_prefix', 'dog', prefix='p')
udp('dogstatsd_own_tag', 'dog', extra='{stats_config: {stats_tags: [{tag_name: tier, fixed_value: gold}]}}')
udp('dogstatsd_no_default_tags', 'dog', extra='{stats_config: {use_all_default_tags: false}}')
udp('dogstatsd_listener_tags', 'dog', pattern=r'downstream_cx_total:')
udp('graphite', 'graphite')
udp('graphite_prefix', 'graphite', prefix='g')
udp('statsd_stats_matcher', 'statsd', pattern='upstream_', extra='{stats_config: {stats_matcher: {inclusion_list: {patterns: [{suffix: upstream_rq_total}]}}}}')


@case()
async def sink_counters_are_told_once_used(t):
    """A used counter that gained nothing is told as 0; an unused one is not told."""
    got, at = await receiver(t)
    await served(t, [sink('statsd', at)])
    await sent(t, got)
    t.see('zeros', '0|c' in [l.split(':')[1] for l in got.lines(r'cluster\.c1\.upstream_rq_total:')])
    t.see('unused', got.lines(r'cluster\.c1\.upstream_rq_timeout:'))
    t.see('one_line_each', all('\n' not in d for d in got.datagrams))


@case()
async def sink_gauges_are_told_at_each_flush(t):
    got, at = await receiver(t)
    await served(t, [sink('statsd', at)])
    await sent(t, got)
    t.see('levels', sorted(set(got.lines(r'cluster\.c1\.(membership_total|membership_healthy|max_host_weight):'))))
    t.see('more_than_once', len(got.lines(r'cluster\.c1\.membership_total:')) > 1)
    t.see('unused', sorted(set(got.lines(r'cluster\.c1\.(lb_subsets_active|upstream_rq_pending_active):'))))


@case()
async def sink_timers(t):
    """One line for each request."""
    got, at = await receiver(t)
    await served(t, [sink('statsd', at)])
    await sent(t, got)
    t.see('number', [len(got.lines(n)) for n in (r'http\.in\.downstream_rq_time:', r'cluster\.c1\.upstream_rq_time:')])
    t.see('shape', sorted({re.sub(r':\d+\|', ':<n>|', l) for l in got.lines(r'\.(downstream_rq_time|upstream_cx_connect_ms):')}))


@case()
async def sink_histograms_of_sizes(t):
    got, at = await receiver(t)
    await served(t, [sink('statsd', at)], copts='{track_cluster_stats: {request_response_sizes: true}}')
    await sent(t, got)
    t.see('shape', sorted({re.sub(r':\d+\|', ':<n>|', l) for l in got.lines(r'upstream_r[qs]_(headers|body)_size:')}))


@case()
async def sink_histograms_of_percents(t):
    got, at = await receiver(t)
    await served(t, [sink('statsd', at)], copts='{track_cluster_stats: {timeout_budgets: true}}')
    await sent(t, got)
    t.see('shape', sorted({re.sub(r':[0-9.]+\|', ':<n>|', l) for l in got.lines(r'percent_used')}))
    t.see('fraction', all('.' in l.split(':')[1] or l.split(':')[1].startswith(('0|', '1|')) for l in got.lines(r'percent_used:')))


for kind in ('dog', 'graphite'):
    @case('sink_buffered_' + kind)
    async def _(t, kind=kind):
        got, at = await receiver(t)
        await served(t, [sink(kind, at, max_bytes_per_datagram=500)])
        lines = await sent(t, got)
        t.see('counters', sums(lines))
        t.see('several', any('\n' in d for d in got.datagrams))
        t.see('within', all(len(d) <= 500 or '\n' not in d.rstrip('\n') for d in got.datagrams))
        t.see('ends_with_newline', any(d.endswith('\n') for d in got.datagrams if '\n' in d))


@case()
async def sink_two_at_once(t):
    a, at = await receiver(t, 's1')
    b, bt = await receiver(t, 's2')
    await served(t, [sink('statsd', at), sink('dog', bt)])
    await sent(t, a)
    await sent(t, b)
    t.see('a', sums(a.lines(r'upstream_rq_total')))
    t.see('b', sums(b.lines(r'upstream_rq_total')))


@case()
async def sink_nobody_listens(t):
    await served(t, [sink('statsd', {'socket_address': {'protocol': 'UDP', 'address': '127.0.0.1', 'port_value': t.port('none')}})])
    t.see('r', (await t.req('/200'))['status'])


@case()
async def sink_on_admin(t):
    """`stats_flush_on_admin`: what is asked for is told to sinks."""
    got, at = await receiver(t)
    await served(t, [sink('statsd', at)], extra='{stats_flush_on_admin: true}', flush=None)
    await t.pass_time(0.2)
    t.see('before', got.lines(r'cluster\.c1\.upstream_rq_total:'))
    await t.admin('/stats')
    await t.until(lambda: got.lines(r'cluster\.c1\.upstream_rq_total:'))
    t.see('after', got.lines(r'cluster\.c1\.upstream_rq_total:'))
    await t.admin('/stats/prometheus')
    await t.until(lambda: len(got.lines(r'cluster\.c1\.upstream_rq_total:')) > 1)
    t.see('again', got.lines(r'cluster\.c1\.upstream_rq_total:'))


@case()
async def sink_at_the_end(t):
    """What was counted since the last flush is told before the process ends."""
    got, at = await receiver(t)
    await served(t, [sink('statsd', at)], flush='200s')
    await t.stop()
    await t.until(lambda: got.lines(r'cluster\.c1\.upstream_rq_total:'))
    t.see('told', sums(got.lines(r'cluster\.c1\.upstream_rq_total:')))


@case()
async def sink_tcp(t):
    stream = bytearray()

    async def collect(c):
        while True:
            d = await c.r.read(65536)
            if not d:
                return
            stream.extend(d)
    s = await t.up('s', conn=collect)
    u = await t.up('u1', lambda m, n: resp(200))
    cfg = simple(t, clusters=[cluster('c1', u), cluster('sink', s)], extra='{node: %s, stats_flush_interval: 0.1s}' % NODE)
    cfg['stats_sinks'] = [sink('statsd', tcp_cluster_name='sink')]
    await t.start(cfg)
    for _ in range(3):
        await t.req('/')

    def lines():
        return [l for l in bytes(stream).decode().split('\n')[:-1] if '.c1.' in l and re.search(RQ, l)]
    await t.until(lambda: sums(lines()).get('envoy.cluster.c1.upstream_rq_total') == 3)
    n = len(lines())
    await t.until(lambda: len(lines()) > n)
    t.see('counters', sums(lines()))
    t.see('kinds', kinds(lines()))


@case()
async def sink_tcp_comes_back(t):
    """A connection that the receiver closes is made again at the next flush."""
    stream, closed = bytearray(), []

    async def collect(c):
        if not closed:
            await c.r.read(10)
            closed.append(1)
            return
        while True:
            d = await c.r.read(65536)
            if not d:
                return
            stream.extend(d)
    s = await t.up('s', conn=collect)
    u = await t.up('u1', lambda m, n: resp(200))
    cfg = simple(t, clusters=[cluster('c1', u), cluster('sink', s)], extra='{node: %s, stats_flush_interval: 0.1s}' % NODE)
    cfg['stats_sinks'] = [sink('statsd', tcp_cluster_name='sink')]
    await t.start(cfg)
    t.see('again', bool(await t.until(lambda: b'membership_total' in stream)))


for name, fields, extra in (
    ('statsd_of_nothing', {}, None),
    ('tcp_of_an_unknown_cluster', {'tcp_cluster_name': 'nope'}, NODE),
    ('tcp_without_a_node', {'tcp_cluster_name': 'c1'}, None),
):
    @case('sink_refused_' + name)
    async def _(t, fields=fields, extra=extra):
        cfg = simple(t, [t.dead('u1')])
        cfg['stats_sinks'] = [sink('statsd', **fields)]
        if extra:
            cfg['node'] = Y(extra)
        code, _ = await t.run_to_end(cfg, ['--mode', 'validate'])
        t.see('code', code)


for name, fields in (('dog_of_nothing', {}), ('dog_of_no_bytes', {'address': {'socket_address': {'address': '127.0.0.1', 'port_value': 5}}, 'max_bytes_per_datagram': 0})):
    @case('sink_refused_' + name)
    async def _(t, fields=fields):
        cfg = simple(t, [t.dead('u1')])
        cfg['stats_sinks'] = [sink('dog', **fields)]
        code, _ = await t.run_to_end(cfg, ['--mode', 'validate'])
        t.see('code', code)
