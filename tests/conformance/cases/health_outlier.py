"""What counts for outlier detection, how hosts are ejected and come back, and what is told of it."""
import yaml

from harness import *
from harness.health import (EJECT, HTTP, OUTLIER_LOG, ask, checks, count, ejectable, ejections, flags, health_json, healthy, outlier_events)

# Everything is noticed at once, and nobody is ejected.
NOTED = '{consecutive_5xx: %d, consecutive_gateway_failure: %d, consecutive_local_origin_failure: %d, enforcing_consecutive_5xx: 0, enforcing_consecutive_gateway_failure: 0, enforcing_consecutive_local_origin_failure: 0, interval: 60s, max_ejection_percent: 100, split_external_local_origin_errors: %s}'
KINDS = {'consecutive_5xx': '5xx', 'consecutive_gateway_failure': 'gateway', 'consecutive_local_origin_failure': 'local'}


def noted(run=1, split=False):
    return Y(NOTED % (run, run, run, str(split).lower()))


async def detected(t, cluster_name='c1'):
    """How often a run of each kind was complete, once the counts do not move any more."""
    async def read():
        found = await t.stats(regex=r'^cluster\.%s\.outlier_detection\.ejections_detected_consecutive' % cluster_name, settle=0)
        return {KINDS[k.rpartition('ejections_detected_')[2]]: v for k, v in found.items() if v}
    last = [None]

    async def still():
        before, last[0] = last[0], await read()
        return before == last[0]
    await t.until(still, step=0.06)
    return last[0]


async def http(t, respond, request=None, copts=None, routes=None, h2=False, exact=True, **kw):
    """Asks twice with each setting of the split; what was noted. A run is only counted anew when the main thread has taken
    the one before, so that failures have to come one by one for exact counts."""
    request = request or (lambda: t.req('/', timeout=2))
    seen = {}
    for split in (False, True):
        u = await t.up('u%d' % split, **respond) if not h2 else await t.h2up('u%d' % split, respond)
        c = cluster('c1', u, merge({'outlier_detection': noted(split=split)}, json.loads(json.dumps(copts or {}))), h2=h2, **kw)
        await t.start(simple(t, clusters=[c], routes=routes), name='split%d' % split)
        for _ in range(2):
            await request()
            found = await detected(t)
        seen['apart' if split else 'together'] = found if exact else sorted(found)
        await t.stop()
    return seen


async def closes(c):
    await c.read_request()


async def resets(c):
    await c.read_request()
    c.reset()


async def cut_in_body(c):
    await c.read_request()
    c.send(b'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc')
    await c.drain()


async def reset_in_body(c):
    await c.read_request()
    c.send(b'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc')
    await c.drain()
    await c.r.read(10) if c.buf else None
    c.reset()


async def speaks_badly(c):
    await c.read_request()
    c.send(b'what is this\r\n\r\n')
    await c.drain()
    await c.r.read(10)


async def never(c):
    await c.read_request()
    await c.r.read(10)


async def half(c):
    await c.read_request()
    c.send(b'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc')
    await c.drain()
    await c.r.read(10)


async def continues_then_fails(c):
    await c.read_request(cont=False)
    c.send(b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n')
    await c.drain()
    await c.r.read(10)


def route(**kw):
    return [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **kw}}]


HTTP_KINDS = {
    'of_a_closed_connection': ({'conn': closes}, {}), 'of_a_reset': ({'conn': resets}, {}), 'of_a_cut_body': ({'conn': cut_in_body}, {}), 'of_a_reset_body': ({'conn': reset_in_body}, {}),
    'of_a_bad_answer': ({'conn': speaks_badly}, {}), 'of_a_failure_behind_100': ({'conn': continues_then_fails}, {}),
    'of_the_routes_time': ({'conn': never}, {'routes': route(timeout='0.2s')}), 'of_the_routes_time_in_the_body': ({'conn': half}, {'routes': route(timeout='0.2s')}),
    'of_the_time_of_a_try': ({'conn': never}, {'routes': route(retry_policy={'retry_on': '5xx', 'num_retries': 1, 'per_try_timeout': '0.1s'})}),
    'of_the_idle_time_of_a_try': ({'conn': never}, {'routes': route(retry_policy={'retry_on': '5xx', 'num_retries': 1, 'per_try_idle_timeout': '0.1s'})}),
    'of_the_idle_time_of_a_try_in_the_body': ({'conn': half}, {'routes': route(retry_policy={'retry_on': '5xx', 'num_retries': 1, 'per_try_idle_timeout': '0.1s'})}),
    'of_the_idle_time_of_the_stream': ({'conn': never}, {'routes': route(idle_timeout='0.2s')}),
    'of_the_longest_time_of_a_stream': ({'conn': never}, {'hpo': {'common_http_protocol_options': {'max_stream_duration': '0.2s'}, 'explicit_http_config': {'http_protocol_options': {}}}}),
    'of_the_longest_time_of_a_stream_in_the_body': ({'conn': half}, {'hpo': {'common_http_protocol_options': {'max_stream_duration': '0.2s'}, 'explicit_http_config': {'http_protocol_options': {}}}}),
    'of_hedged_tries': ({'conn': never}, {'routes': route(timeout='0.5s', hedge_policy={'hedge_on_per_try_timeout': True}, retry_policy={'retry_on': '5xx', 'num_retries': 1, 'per_try_timeout': '0.15s'})}),
    'of_504_for_a_time_out': ({'conn': never}, {'routes': route(timeout='0.2s', retry_policy={'retry_on': 'reset', 'num_retries': 1})}),
    'of_retried_answers': ({'respond': lambda m, n: resp(503)}, {'routes': route(retry_policy={'retry_on': '5xx', 'num_retries': 2}), 'exact': False}),
    'of_pending_overflow': ({}, {'copts': {'circuit_breakers': {'thresholds': [{'max_pending_requests': 0, 'max_connections': 0}]}}}),
    'of_requests_overflow': ({}, {'copts': {'circuit_breakers': {'thresholds': [{'max_requests': 0}]}}}),
}
for label, (respond, kw) in HTTP_KINDS.items():
    @case('counts_' + label)
    async def counts(t, respond=respond, kw=kw):
        t.see('noted', await http(t, respond, **json.loads(json.dumps(kw))))


@case()
async def counts_of_statuses(t):
    await t.up('u1', lambda m, n: resp(int(m['path'][1:])))
    await t.start(simple(t, copts={'outlier_detection': noted()}))
    seen, before = {}, {}
    for status in (200, 302, 404, 408, 429, 500, 501, 502, 503, 504, 505, 599, 600):
        await t.req('/%d' % status)
        now = await detected(t)
        seen[str(status)] = sorted(k for k in now if now[k] != before.get(k, 0))
        before = now
    t.see('noted', seen)


@case()
async def counts_of_connects(t):
    """A refused connect, one that hangs, and one whose handshake fails."""
    for label, make, extra in (('refused', lambda n: t.dead(n), {}), ('hangs', lambda n: t.silent(n), {}),
                               ('handshake', None, {'transport_socket': {'name': 'tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'}}})):
        for split in (False, True):
            name = '%s%d' % (label, split)
            u = make(name) if make else await t.up(name)
            await t.start(simple(t, clusters=[cluster('c1', u, merge({'outlier_detection': noted(split=split)}, dict(extra)), timeout='0.2s')]), name=name)
            for _ in range(2):
                await ask(t, 1)
                found = await detected(t)
            t.see('%s %s' % (label, 'apart' if split else 'together'), found)
            await t.stop()


@case()
async def counts_of_clients_that_go(t):
    u = await t.up('u1', conn=never)
    await t.start(simple(t, clusters=[cluster('c1', u, {'outlier_detection': noted()})]))
    for _ in range(2):
        c = await t.conn()
        n = len(u.reqs)
        c.send(build('/'))
        await t.until(lambda: len(u.reqs) > n)
        c.close()
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
    t.see('noted', await detected(t))


@case()
async def counts_of_mirrors(t):
    a, b = await t.up('u1'), await t.up('u2', lambda m, n: resp(500))
    r = route(request_mirror_policies=[{'cluster': 'c2'}])
    await t.start(simple(t, clusters=[cluster('c1', a), cluster('c2', b, {'outlier_detection': noted()})], routes=r))
    for i in range(2):
        await ask(t, 1)
        await t.stat_until('cluster.c2.upstream_rq_500', lambda v: v == i + 1)
        found = await detected(t, 'c2')
    t.see('noted', found)


@case()
async def counts_of_resets_over_http2(t):
    async def h(s):
        s.reset({'/refused': 7, '/internal': 2, '/cancel': 8, '/none': 0}[s.h(':path')])
    for split in (False, True):
        u = await t.h2up('u%d' % split, h)
        await t.start(simple(t, clusters=[cluster('c1', u, {'outlier_detection': noted(split=split)}, h2=True)]), name='split%d' % split)
        for path in ('/refused', '/internal', '/cancel', '/none'):
            await t.req(path)
            found = await detected(t)
        t.see('apart' if split else 'together', found)
        await t.stop()


GRPC = [('content-type', 'application/grpc'), ('te', 'trailers')]


@case()
async def counts_of_grpc(t):
    """By the status of the head, if it has one; what trailers say comes too late, or does it."""
    async def h(s):
        _, where, status = s.h(':path').split('/')
        ct = [('content-type', 'application/grpc')]
        if where == 'only':
            s.respond(200, [*ct, ('grpc-status', status)], end=True)
        elif where == 'head':
            s.respond(200, [*ct, ('grpc-status', status)])
            await s.data(b'x', end=True)
        else:
            s.respond(200, ct)
            await s.data(b'\0\0\0\0\0')
            s.trailers([('grpc-status', status)])
    u = await t.h2up('u1', h)
    await t.start(simple(t, clusters=[cluster('c1', u, {'outlier_detection': noted()}, h2=True)]))
    before, seen = {}, {}
    for where in ('only', 'head', 'trailers'):
        for status in (0, 1, 2, 4, 8, 12, 13, 14, 15, 16, 99):
            await t.h2req('/%s/%d' % (where, status), 'POST', GRPC)
            now = await detected(t)
            seen['%s %d' % (where, status)] = sorted(k for k in now if now[k] != before.get(k, 0))
            before = now
    await t.h2req('/only/14')
    now = await detected(t)
    seen['no gRPC'] = sorted(k for k in now if now[k] != before.get(k, 0))
    t.see('noted', seen)


BETWEEN = {
    'a_good_answer': '/200', 'a_404': '/404', 'a_500': '/500', 'a_503': '/503', 'a_switch': '/101',
}
for label, path in BETWEEN.items():
    @case('runs_with_%s_between' % label)
    async def runs_between(t, path=path):
        """Failure, something else, failure: whether that is a run of two, or of three."""
        async def respond(m, n):
            if m['path'] == '/101':
                return b'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n'
            return resp(int(m['path'][1:]))
        await t.up('u1', respond)
        od = merge(noted(3), {'consecutive_gateway_failure': 2})
        await t.start(simple(t, copts={'outlier_detection': od}, opts='{upgrade_configs: [{upgrade_type: websocket}]}'))
        for p in ('/502', path, '/502', '/504'):
            await t.req(p, headers=[('connection', 'upgrade'), ('upgrade', 'websocket')] if p == '/101' else [])
        t.see('noted', await detected(t))


@case()
async def runs_end_by_a_connection(t):
    """With the split a connection that comes about ends a run of local failures, an answer does not count for it."""
    u = t.dead('u1')
    await t.start(simple(t, clusters=[cluster('c1', u, {'outlier_detection': noted(2, True)})]))
    await ask(t, 1)
    t.see('one', await detected(t))
    await u.listen()
    t.ups.append(u)
    await ask(t, 1)
    await u.stop()
    await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
    await ask(t, 1)
    t.see('one and one', await detected(t))
    await ask(t, 1)
    t.see('two', await detected(t))


@case()
async def runs_of_zero_are_none(t):
    await t.up('u1', lambda m, n: resp(503))
    await t.start(simple(t, copts={'outlier_detection': noted(0)}))
    await ask(t, 3)
    t.see('noted', await detected(t))


# ---- the TCP proxy

T_TCP = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'


def tcp(**kw):
    return {'name': 'tcp', 'typed_config': {'@type': T_TCP, 'stat_prefix': 'tcp', 'cluster': 'c1', **kw}}


async def tcp_once(t):
    c = await t.conn()
    await c.state(1)
    c.close()


@case()
async def tcp_counts_connects_that_fail(t):
    for label, make in (('refused', t.dead), ('hangs', t.silent)):
        for split in (False, True):
            name = '%s%d' % (label, split)
            await t.start(config(t, [listener(t, [tcp()])], [cluster('c1', make(name), {'outlier_detection': noted(split=split)}, timeout='0.2s')]), name=name)
            for _ in range(2):
                await tcp_once(t)
                found = await detected(t)
            t.see('%s %s' % (label, 'apart' if split else 'together'), found)
            await t.stop()


@case()
async def tcp_connections_end_runs(t):
    """One that comes about is a good answer."""
    for split in (False, True):
        u = t.dead('u%d' % split)
        await t.start(config(t, [listener(t, [tcp()])], [cluster('c1', u, {'outlier_detection': noted(2, split)})]), name='split%d' % split)
        await tcp_once(t)

        async def conn(c):
            c.send(b'hello')
            await c.drain()
        u.connfn = conn
        await u.listen()
        t.ups.append(u)
        c = await t.conn()
        await c.exactly(5)
        await c.state(1)
        await u.stop()
        await tcp_once(t)
        t.see('one and one %d' % split, await detected(t))
        await tcp_once(t)
        t.see('two %d' % split, await detected(t))
        await t.stop()


@case()
async def tcp_ejects(t):
    good = await t.up('u1', conn=lambda c: c.r.read(10))
    od = '{consecutive_5xx: 2, interval: 60s, max_ejection_percent: 100}'
    await t.start(config(t, [listener(t, [tcp(max_connect_attempts=1)])], [cluster('c1', [good, t.dead('u2')], {'outlier_detection': Y(od), 'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})]))

    async def out():
        c = await t.conn()
        await c.state(0.05)
        c.close()
        return (await t.stats('cluster.c1.outlier_detection.ejections_active', settle=0))['cluster.c1.outlier_detection.ejections_active'] == 1
    t.see('ejected', bool(await t.until(out)))
    t.see('flags', [f.rpartition('::')[2] for f in await flags(t)])


@case()
async def tcp_tunnels_count(t):
    u = await t.up('u1', lambda m, n: resp(503))
    await t.start(config(t, [listener(t, [tcp(tunneling_config={'hostname': 'a.example:1'})])], [cluster('c1', u, {'outlier_detection': noted()})]))
    for _ in range(2):
        await tcp_once(t)
        found = await detected(t)
    t.see('noted', found)


# ---- how many may be out

for label, hosts, percent, one in (('10_of_1', 1, 10, None), ('10_of_1_always_one', 1, 10, True), ('10_of_9', 9, 10, None), ('10_of_10', 10, 10, None), ('34_of_3', 3, 34, None), ('66_of_3', 3, 66, None), ('67_of_3', 3, 67, None),
                                   ('0_of_2', 2, 0, None), ('0_of_2_always_one', 2, 0, True), ('100_of_2', 2, 100, None), ('default_of_1', 1, None, None)):
    @case('at_most_' + label)
    async def at_most(t, hosts=hosts, percent=percent, one=one):
        od = {'consecutive_5xx': 1, 'interval': '60s', 'base_ejection_time': '60s'}
        if percent is not None:
            od['max_ejection_percent'] = percent
        if one is not None:
            od['always_eject_one_host'] = one
        us = [await t.up('h%d' % i, lambda m, n: resp(500)) for i in range(hosts)]
        await t.start(simple(t, clusters=[cluster('c1', us, {'outlier_detection': od, 'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})]))
        await ask(t, 2 * hosts)
        await detected(t)
        t.see('out', {k: v for k, v in (await ejections(t)).items() if k in ('ejections_active', 'ejections_enforced_total', 'ejections_total')})
        t.see('overflow', 'ejections_overflow' in await ejections(t))


# ---- how long

async def out_again(t, n):
    """Fails requests until there were n enforced ejections."""
    async def f():
        await ask(t, 1)
        return (await t.stats('cluster.c1.outlier_detection.ejections_enforced_total', settle=0))['cluster.c1.outlier_detection.ejections_enforced_total'] >= n
    return bool(await t.until(f))


@case()
async def times_grow_to_the_longest(t):
    """Each ejection in a row lasts longer by the base time, up to the longest; the intervals decide when it ends. In panic
    the host serves all the while."""
    a = {'h0': 500}
    await ejectable(t, '{consecutive_5xx: 1, interval: 0.8s, base_ejection_time: 1s, max_ejection_time: 2s, max_ejection_percent: 100}', a, cx='{common_lb_config: {healthy_panic_threshold: {value: 50}}}', log=False)
    took = []
    for i in range(3):
        t.see('out %d' % i, await out_again(t, i + 1))
        at = time.monotonic()
        await healthy(t, 1)
        took.append(time.monotonic() - at > 1.9)
    t.see('twice as long', took)


@case()
async def times_of_the_configuration_and_runtime(t):
    """Runtime keys take the place of what the cluster says."""
    a = {'h0': 500}
    us = [await t.up('h0', lambda m, n: resp(a['h0']))]
    c = cluster('c1', us, {'outlier_detection': Y('{consecutive_5xx: 5, interval: 60s, base_ejection_time: 60s, max_ejection_percent: 0}')})
    await t.start(simple(t, clusters=[c], extra='{layered_runtime: {layers: [{name: s, static_layer: {outlier_detection: {consecutive_5xx: 2, interval_ms: 100, base_ejection_time_ms: 200, max_ejection_percent: 100}}}]}}'))
    await ask(t, 2)
    t.see('out', bool(await count(t, 'outlier_detection.ejections_enforced_total', 1)))
    t.see('back', bool(await t.stat_until('cluster.c1.outlier_detection.ejections_active', lambda v: v == 0)))
    t.see('stats', await ejections(t))


# ---- rates

RATE = '{consecutive_5xx: 1000, consecutive_local_origin_failure: 1000, interval: 1s, base_ejection_time: 60s, max_ejection_percent: 100, success_rate_minimum_hosts: 3, success_rate_request_volume: 5, failure_percentage_minimum_hosts: 3, failure_percentage_request_volume: 5, %s}'


async def until_out(t, requests, stat='ejections_active'):
    async def f():
        await ask(t, requests)
        return (await t.stats('cluster.c1.outlier_detection.' + stat, settle=0))['cluster.c1.outlier_detection.' + stat]
    return bool(await t.until(f, 8))


async def with_a_dead_host(t, od):
    us = [await t.up('h%d' % i) for i in range(4)] + [t.dead('dead')]
    c = cluster('c1', us, {'outlier_detection': Y(od), 'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})
    await t.start(simple(t, clusters=[c], extra=OUTLIER_LOG % t.path('outlier.log')))


async def lines(t):
    _, text = await t.admin('/clusters')
    return [l for l in text.splitlines() if 'success_rate' in l]


@case()
async def rates_of_local_failures(t):
    """Hosts that had a connection from before have no local successes for it: each request comes with its own."""
    await with_a_dead_host(t, RATE % 'split_external_local_origin_errors: true, success_rate_stdev_factor: 1000')
    t.see('ejected', await until_out(t, 30))
    t.see('stats', {k: v for k, v in (await ejections(t)).items() if 'rate' in k})
    t.see('events', (await outlier_events(t))[:1])


@case()
async def rates_of_local_failures_by_percentage(t):
    await with_a_dead_host(t, RATE % 'split_external_local_origin_errors: true, enforcing_local_origin_success_rate: 0, success_rate_stdev_factor: 900000, enforcing_failure_percentage_local_origin: 100, failure_percentage_threshold: 90')
    t.see('ejected', await until_out(t, 30))
    t.see('stats', {k: v for k, v in (await ejections(t)).items() if 'percentage' in k})
    t.see('events', (await outlier_events(t))[:1])


@case()
async def rates_that_are_not_enforced(t):
    a = {'h0': 200, 'h1': 200, 'h2': 200, 'h3': 500}
    await ejectable(t, RATE % 'success_rate_stdev_factor: 1000, enforcing_success_rate: 0, failure_percentage_threshold: 90', a)
    await until_out(t, 24, 'ejections_detected_success_rate')
    t.see('enforced', {k: v for k, v in (await ejections(t)).items() if 'enforced' in k or 'active' in k})
    t.see('events', sorted(set(await outlier_events(t))))


@case()
async def rates_of_too_few_hosts(t):
    a = {'h0': 200, 'h1': 500}
    await ejectable(t, RATE % 'success_rate_stdev_factor: 0, enforcing_failure_percentage: 100', a, log=False)
    begun = time.monotonic()

    async def f():
        await ask(t, 16)
        return time.monotonic() - begun > 2.2
    await t.until(f)
    t.see('stats', await ejections(t))
    t.see('lines', await lines(t))


@case()
async def rates_of_too_few_requests(t):
    a = {'h0': 200, 'h1': 200, 'h2': 500}
    await ejectable(t, merge(Y(RATE % 'success_rate_stdev_factor: 0, enforcing_failure_percentage: 100'), {'success_rate_request_volume': 1000, 'failure_percentage_request_volume': 1000}), a, log=False)
    begun = time.monotonic()

    async def f():
        await ask(t, 18)
        return time.monotonic() - begun > 2.2
    await t.until(f)
    t.see('stats', await ejections(t))
    t.see('lines', await lines(t))


@case()
async def rates_in_clusters_of_both_kinds(t):
    us = [await t.up('h%d' % i) for i in range(3)]
    c = cluster('c1', us, {'outlier_detection': Y(RATE % 'split_external_local_origin_errors: true')})
    await t.start(simple(t, clusters=[c]))
    t.see('before', await lines(t))

    async def shown():
        await ask(t, 24)
        text = await lines(t)
        return any('::success_rate::100' in l for l in text) and text
    t.see('after', [l for l in await t.until(shown) or [] if 'local_origin' not in l])
    _, text = await t.admin('/clusters?format=json')
    one = json.loads(text)['cluster_statuses'][0]
    t.see('json', sorted(k for k in one) + sorted(k for k in one['host_statuses'][0]))


# ---- checks and ejections

@case()
async def checks_let_back_at_once_whatever_failed(t):
    """Rates count from anew, too."""
    a = {'h0': 500, 'h1': 200}
    await ejectable(t, '{consecutive_5xx: 2, interval: 60s, base_ejection_time: 60s, max_ejection_percent: 100}', a, checks_of='{interval: 0.2s}')
    await ask(t, 4)
    t.see('out', bool(await count(t, 'outlier_detection.ejections_enforced_total', 1)))
    t.see('back', await healthy(t, 2))
    t.see('out again', await out_again(t, 2))
    t.see('events', (await outlier_events(t))[:3])


@case()
async def ejected_hosts_serve_in_panic(t):
    us = [await t.up('h%d' % i, lambda m, n: resp(500, m['up'], [('x-up', m['up'])])) for i in range(2)]
    od = '{consecutive_5xx: 1, interval: 60s, max_ejection_percent: 100}'
    await t.start(simple(t, clusters=[cluster('c1', us, {'outlier_detection': Y(od)})]))
    await ask(t, 4)
    await count(t, 'outlier_detection.ejections_active', 2)
    t.see('served', bool(await t.until(lambda: both_serve(t))))
    t.see('panic', (await t.stats('cluster.c1.lb_healthy_panic'))['cluster.c1.lb_healthy_panic'] > 0)
    t.see('flags', await flags(t))


async def both_serve(t):
    return len({(await t.req('/')).h('x-up') for _ in range(6)} - {None}) == 2


@case()
async def ejected_hosts_do_not_serve_without_panic(t):
    await t.up('h0', lambda m, n: resp(500))
    await t.start(simple(t, copts='{outlier_detection: {consecutive_5xx: 1, interval: 60s, max_ejection_percent: 100}, common_lb_config: {healthy_panic_threshold: {value: 0}}}', log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'))
    await ask(t, 1)
    await count(t, 'outlier_detection.ejections_active', 1)
    t.see('r', bool(await t.until(lambda: is_503(t))))
    t.see('none healthy', (await t.stats('cluster.c1.upstream_cx_none_healthy'))['cluster.c1.upstream_cx_none_healthy'] > 0)
    t.see('log', (await t.logs())[-1])


async def is_503(t):
    return (await t.req('/')).status == 503


# ---- what configuration is refused

for label, od in {
    'longest_below_base': {'base_ejection_time': '10s', 'max_ejection_time': '5s'}, 'base_above_the_default_longest': {'base_ejection_time': '600s'}, 'interval_of_zero': {'interval': '0s'},
    'base_of_zero': {'base_ejection_time': '0s'}, 'longest_of_zero': {'max_ejection_time': '0s'}, 'negative_jitter': {'max_ejection_time_jitter': '-1s'}, 'percent_101': {'max_ejection_percent': 101}, 'enforcing_101': {'enforcing_consecutive_5xx': 101},
    'enforcing_rate_101': {'enforcing_success_rate': 101}, 'threshold_101': {'failure_percentage_threshold': 101}, 'empty': {}, 'of_zero': {'consecutive_5xx': 0, 'success_rate_minimum_hosts': 0, 'success_rate_request_volume': 0},
}.items():
    @case('outlier_refused_' + label)
    async def outlier_refused(t, od=od):
        path = t.write('v.yaml', yaml.safe_dump(simple(t, clusters=[cluster('c1', t.dead(), {'outlier_detection': dict(od)})])))
        p = await asyncio.create_subprocess_exec(t.binary, '--mode', 'validate', '-c', path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        t.see('refused', await asyncio.wait_for(p.wait(), 10) != 0)
