"""Twists of active health checks: how their connections end, when they come, odd answers, odd places, and what discovery changes."""
import yaml

from harness import *
from harness.health import (HTTP, STATS, Script, ask, checked, checks, count, events, flags, health_json, healthy, sink)


def assignment(*hosts):
    return yaml.safe_dump({'version_info': str(hosts), 'resources': [{'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': 'c1',
                           'endpoints': [{'lb_endpoints': [h if isinstance(h, dict) else lbe(h) for h in hosts]}]}]}, sort_keys=False)


async def fed(t, hosts, check, cx=None, **kw):
    """A cluster c1 whose hosts are in a file that may be moved over."""
    t.write('eds.yaml', assignment(*hosts))
    c = {'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': {'eds_config': {'path_config_source': {'path': t.path('eds.yaml')}}},
         'health_checks': [check], 'common_lb_config': {'healthy_panic_threshold': {'value': 0}}}
    c = {k: v for k, v in merge(c, Y(cx) or {}).items() if v is not None}
    await t.start(simple(t, clusters=[c], extra='{node: {id: me, cluster: us}}'), **kw)


# ---- how connections of checks end

async def ending(c):
    """How the other side ends the connection."""
    try:
        while True:
            if not await c.r.read(1000):
                return 'end'
    except OSError:
        return 'reset'


ENDS = {
    'after_an_answer': (HTTP, '{reuse_connection: false}', resp(200)),
    'after_a_wrong_answer': (HTTP, '{reuse_connection: false}', resp(503)),
    'after_connection_close': (HTTP, '{}', resp(200, '', [('connection', 'close')])),
    'after_proxy_connection_close': (HTTP, '{}', resp(200, '', [('proxy-connection', 'close')])),
    'after_http_10': (HTTP, '{}', b'HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n'),
    'after_a_timeout': (HTTP, '{}', b''),
    'after_a_bad_answer': (HTTP, '{}', b'HTTP/1.1 what\r\n\r\n'),
    'after_too_much': (HTTP, '{}', resp(200) + b'more'),
    'of_tcp': ('{tcp_health_check: {}}', '{}', b''),
    'of_tcp_after_an_answer': ('{tcp_health_check: {send: {text: "01"}, receive: [{text: "02"}]}}', '{reuse_connection: false}', b'\x02'),
    'of_tcp_after_a_timeout': ('{tcp_health_check: {send: {text: "01"}, receive: [{text: "02"}]}}', '{}', b''),
}
for label, (kind, extra, answer) in ENDS.items():
    @case('end_of_connections_' + label)
    async def end_of_connections(t, kind=kind, extra=extra, answer=answer):
        ends = []

        async def conn(c):
            if 'http' in kind:
                await c.read_request()
            elif 'send' in kind:
                await c.r.read(10)
            c.send(answer)
            await c.drain()
            ends.append(await ending(c))
        u = await t.up('h0', conn=conn)
        await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, kind, extra)]})]))
        t.see('ended', bool(await t.until(lambda: len(ends) >= 2)))
        t.see('how', ends[0])
        t.see('events', await events(t))


# ---- when they come

def near(gap, of):
    """The one of these times that a gap is about."""
    best = min(of, key=lambda x: abs(x - gap))
    return best if abs(gap - best) < 0.1 else round(gap, 2)


INTERVALS = '{timeout: 0.2s, interval: 0.3s, unhealthy_interval: 0.5s, healthy_edge_interval: 0.7s, unhealthy_edge_interval: 0.9s, no_traffic_interval: 1.1s, no_traffic_healthy_interval: 1.3s, unhealthy_threshold: 2, healthy_threshold: 2}'
GAPS = {
    'healthy': [200, 200, 200], 'failing_for_good': [200, 503, 503, 503], 'one_missing_answer': [200, 'close', 200, 200],
    'two_missing_answers': [200, 'close', 'close', 'close'], 'coming_back': [503, 200, 200, 200], 'first_failure': [503, 503, 503],
    'degraded': [200, (200, '', [('x-envoy-degraded', '')]), 200],
}
for label, answers in GAPS.items():
    for traffic in (True, False):
        @case('gaps_%s%s' % (label, '' if traffic else '_without_traffic'))
        async def gaps(t, answers=answers, traffic=traffic):
            at, s = [], Script(h0=list(answers))

            async def respond(m, n):
                if m['path'] != '/hz':
                    return resp(200)
                at.append(time.monotonic())
                return await s.respond(m, n)
            u, v = await t.up('h0', respond), await t.up('other')
            x = checks(t, HTTP, INTERVALS, log=False)
            hosts = [u, lbe(v, extra='{endpoint: {health_check_config: {disable_active_health_check: true}}}')]
            x['no_traffic_interval'] = '1.1s' if not traffic else '0.1s'
            if traffic:
                x['no_traffic_healthy_interval'] = '0.1s'
            await t.start(simple(t, clusters=[cluster('c1', hosts, {'health_checks': [x], 'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})]))
            if traffic:
                await t.req('/')
                n = len(at)
                s.set('h0', *answers)
                await t.until(lambda: len(at) > n)
                del at[:n]
            await t.until(lambda: len(at) >= len(answers) + (1 if traffic else 0), 10)
            t.see('gaps', [near(b - a, (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3)) for a, b in zip(at, at[1:])])


for key, value in {'min': 700, 'max': 100}.items():
    @case('gaps_bounded_at_runtime_by_' + key)
    async def gaps_bounded(t, key=key, value=value):
        at = []

        def respond(m, n):
            at.append(time.monotonic())
            return resp(200)
        u = await t.up('h0', respond)
        x = checks(t, HTTP, '{interval: 0.4s, no_traffic_interval: 0.4s}', log=False)
        await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]})],
                             extra='{layered_runtime: {layers: [{name: s, static_layer: {health_check: {%s_interval: %d}}}]}}' % (key, value)))
        await t.until(lambda: len(at) >= 3)
        t.see('gaps', [near(b - a, (0.1, 0.4, 0.7)) for a, b in zip(at, at[1:])][:2])


@case()
async def first_checks_are_waited_for(t):
    """Nothing is ready, and nobody listens, before each host has its first verdict."""
    gate = asyncio.Event()

    async def respond(m, n):
        await gate.wait()
        return resp(200)
    us = [await t.up('h0', respond), await t.up('h1')]
    x = checks(t, HTTP, '{timeout: 10s}', log=False)
    await t.start(simple(t, clusters=[cluster('c1', us, {'health_checks': [x]})]), wait=False)

    async def up():
        try:
            return (await t.admin('/ready', timeout=1))[0]
        except (OSError, IndexError):
            return None
    t.see('before', await t.until(up))
    t.see('state', (await t.admin('/ready'))[1])
    await t.until(lambda: len(us[1].reqs))
    t.see('still', (await t.admin('/ready'))[1])
    t.see('asked', [len(u.reqs) > 0 for u in us])
    gate.set()
    t.see('after', bool(await t.until(lambda: is_live(t))))
    t.see('flags', await flags(t))


async def is_live(t):
    return (await t.admin('/ready'))[0] == 200


@case()
async def first_checks_are_waited_for_whatever_they_say(t):
    """A failure is a verdict: the proxy is ready with a host that is out."""
    s = Script(h0='hang')
    await checked(t, s, extra='{timeout: 0.3s, unhealthy_threshold: 5}')
    t.see('ready', await t.admin('/ready'))
    t.see('flags', await flags(t))


@case()
async def first_checks_of_nobody(t):
    await t.start(simple(t, clusters=[cluster('c1', [], {'health_checks': [checks(t, HTTP)]})]))
    t.see('r', (await t.req('/')).status)
    t.see('stats', await t.stats(regex=STATS))


@case()
async def first_checks_that_are_all_off(t):
    u = await t.up('h0')
    await t.start(simple(t, clusters=[cluster('c1', lbe(u, extra='{endpoint: {health_check_config: {disable_active_health_check: true}}}'), {'health_checks': [checks(t, HTTP)]})]))
    t.see('flags', await flags(t))
    t.see('stats', await t.stats(regex=STATS))
    t.see('r', (await t.req('/')).status)


# ---- odd answers

ODD = {
    'continue_first': b'HTTP/1.1 100 Continue\r\n\r\n' + resp(200), 'early_hints_first': b'HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n' + resp(200),
    'switching': b'HTTP/1.1 101 Switching Protocols\r\nupgrade: a\r\nconnection: upgrade\r\n\r\n', 'no_content': b'HTTP/1.1 204 No Content\r\n\r\n',
    'not_modified': b'HTTP/1.1 304 Not Modified\r\n\r\n', 'chunked': b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
    'chunked_with_trailers': b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-a: b\r\n\r\n',
    'until_the_end': b'HTTP/1.1 200 OK\r\n\r\nabc', 'http_10': b'HTTP/1.0 200 OK\r\n\r\nabc', 'cut_in_the_body': b'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc',
    'cut_in_the_head': b'HTTP/1.1 200 OK\r\n', 'wrong_and_cut_in_the_body': b'HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nabc',
    'no_reason': b'HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n', 'not_http': b'hello\r\n', 'two_lengths': b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 1\r\n\r\n',
    'large_head': b'HTTP/1.1 200 OK\r\nx-a: ' + b'a' * 70000 + b'\r\ncontent-length: 0\r\n\r\n', 'too_many_headers': b'HTTP/1.1 200 OK\r\n' + b'x-a: b\r\n' * 120 + b'content-length: 0\r\n\r\n',
    'redirect': b'HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n', 'degraded_and_wrong': resp(503, '', [('x-envoy-degraded', '')]),
    'high_status': b'HTTP/1.1 999 High\r\ncontent-length: 0\r\n\r\n',
}
for label, answer in ODD.items():
    @case('odd_answers_' + label)
    async def odd_answers(t, answer=answer):
        n = [0]

        async def conn(c):
            while await c.read_request():
                n[0] += 1
                c.send(resp(200) if n[0] == 1 else answer)
                await c.drain()
                if n[0] > 1:
                    return
        u = await t.up('h0', conn=conn)
        x = checks(t, HTTP, '{unhealthy_threshold: 2, always_log_health_check_failures: true}')
        await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]})]))
        await count(t, 'health_check.attempt', 6)
        t.see('counts', {k: bool(v) for k, v in (await t.stats(regex=STATS)).items() if k.endswith('failure')})
        t.see('well', [f.endswith('healthy') for f in await flags(t)])
        t.see('events', (await events(t))[:6])


@case()
async def odd_answers_wrong_head_of_a_body_that_does_not_come(t):
    """The verdict waits for the end of the answer, which does not come in time."""
    async def conn(c):
        await c.read_request()
        c.send(b'HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nabc')
        await c.drain()
        await c.r.read(10)
    u = await t.up('h0', conn=conn)
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, HTTP)]})]))
    await count(t, 'health_check.failure', 2)
    t.see('flags', await flags(t))
    t.see('events', await events(t))


@case()
async def odd_answers_in_other_ranges(t):
    s = Script(h0=302, h1=200, h2=(204, ''), h3=404, h4=599)
    await checked(t, s, '{http_health_check: {path: /hz, expected_statuses: [{start: 300, end: 400}, {start: 204, end: 205}, {start: 599, end: 600}]}}')
    await count(t, 'health_check.attempt', 10)
    t.see('flags', await flags(t))


@case()
async def odd_answers_expected_and_retriable(t):
    """A status that is both is expected."""
    s = Script(h0=[200, 500, 500, 500, 502, 502, 200])
    await checked(t, s, '{http_health_check: {path: /hz, expected_statuses: [{start: 200, end: 501}], retriable_statuses: [{start: 500, end: 600}]}}', extra='{unhealthy_threshold: 3, always_log_health_check_failures: true}')
    await count(t, 'health_check.attempt', 7)
    t.see('stats', {k: v for k, v in (await t.stats(regex=STATS)).items() if k.endswith('failure')})
    t.see('events', await events(t, unique=False))


@case()
async def odd_answers_retriable_at_first(t):
    s = Script(h0=[500, 500, 200])
    await checked(t, s, '{http_health_check: {path: /hz, retriable_statuses: [{start: 500, end: 600}]}}', extra='{unhealthy_threshold: 3, healthy_threshold: 3}')
    await count(t, 'health_check.attempt', 6)
    t.see('events', await events(t, unique=False))


@case()
async def odd_thresholds_of_zero(t):
    s = Script(h0=[200, 'close'], h1=[200, 503, 200], h2=[503, 200])
    await checked(t, s, extra='{unhealthy_threshold: 0, healthy_threshold: 0}')
    await count(t, 'health_check.attempt', 15)
    t.see('flags', await flags(t))


@case()
async def odd_buffer_without_an_end(t):
    s = Script(h0=(200, 'x' * 70000 + 'ping'))
    await checked(t, s, '{http_health_check: {path: /hz, response_buffer_size: 0, receive: [{text: "70696e67"}]}}')
    t.see('healthy', await healthy(t, 1))


@case()
async def service_names_off_by_runtime(t):
    s = Script(h0=(200, '', [('x-envoy-upstream-healthchecked-cluster', 'other')]))
    await checked(t, s, '{http_health_check: {path: /hz, service_name_matcher: {prefix: svc}}}', log=False,
                  extra='{}', cx=None)
    t.see('out', await flags(t))
    await t.stop()
    us = [await t.up('h1', s.respond)]
    s.answers['h1'], s.seen['h1'] = s.answers['h0'], 0
    x = checks(t, '{http_health_check: {path: /hz, service_name_matcher: {prefix: svc}}}', log=False)
    await t.start(simple(t, clusters=[cluster('c1', us, {'health_checks': [x]})], extra='{layered_runtime: {layers: [{name: s, static_layer: {health_check: {verify_cluster: 0}}}]}}'), name='second')
    t.see('in', await flags(t))
    t.see('stats', await t.stats('cluster.c1.health_check.verify_cluster'))


# ---- what is asked, and where

for label, path in {'without_a_slash': 'hz', 'with_a_fragment': '/hz#a', 'not_ascii': '/hé', 'absolute': 'http://a.example/hz', 'star': '*'}.items():
    @case('odd_paths_' + label)
    async def odd_paths(t, path=path):
        heads = []

        async def conn(c):
            while True:
                l = await c.line()
                await c.headers()
                heads.append(l)
                c.send(resp(200))
                await c.drain()
        u = await t.up('h0', conn=conn)
        await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, {'http_health_check': {'path': path}}, '{timeout: 0.2s}')]})]))
        await count(t, 'health_check.attempt', 2)
        t.see('line', heads[:1])
        t.see('events', await events(t))


@case()
async def formats_of_every_kind(t):
    s = Script(h0=200)
    names = ['UPSTREAM_CLUSTER', 'UPSTREAM_HOST', 'UPSTREAM_HOST_NAME', 'UPSTREAM_LOCAL_ADDRESS', 'DOWNSTREAM_REMOTE_ADDRESS', 'DOWNSTREAM_LOCAL_ADDRESS',
             'REQ(:path)', 'RESP(a)', 'HOSTNAME', 'ROUTE_NAME', 'RESPONSE_CODE', 'DYNAMIC_METADATA(a:b)', 'CLUSTER_METADATA(a:b)', 'UPSTREAM_METADATA(envoy.lb:a)',
             'BYTES_SENT', 'VIRTUAL_CLUSTER_NAME', 'REQUESTED_SERVER_NAME', 'UPSTREAM_REQUEST_ATTEMPT_COUNT', 'ENVIRONMENT(NOT_THERE)', 'FILTER_STATE(a)', 'CONNECTION_ID', 'STREAM_ID', 'TRACE_ID', 'RESPONSE_FLAGS']
    add = [{'header': {'key': 'x-%d' % i, 'value': '[%%%s%%]' % n}} for i, n in enumerate(names)]
    us = await checked(t, s, {'http_health_check': {'path': '/hz', 'request_headers_to_add': add}}, endpoint='{metadata: {filter_metadata: {envoy.lb: {a: b}}}, endpoint: {hostname: e.example}}', log=False)
    await t.until(lambda: us[0].reqs)
    heads = dict(us[0].reqs[0]['raw_headers'])
    t.see('values', {n: heads.get('x-%d' % i) for i, n in enumerate(names) if n not in ('HOSTNAME',)})


@case()
async def headers_that_checks_own(t):
    s = Script(h0=200)
    us = await checked(t, s, '''{http_health_check: {path: /hz, method: POST, send: {text: "70"}, request_headers_to_remove: [content-length, accept], request_headers_to_add: [
        {header: {key: content-length, value: "7"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-forwarded-proto, value: a}}, {header: {key: connection, value: close}},
        {header: {key: content-type, value: a/b}}]}}''', extra='{timeout: 0.3s}', log=False)
    await t.until(lambda: us[0].reqs)
    t.see('request', us[0].reqs[0])


@case()
async def places_of_checks(t):
    """A whole address of its own, with and without a port beside it."""
    a, b, c = [await t.up(n) for n in ('h0', 'hcaddr', 'hcport')]
    for label, config in {'address': {'address': addr(b)}, 'address and port': {'address': addr(b), 'port_value': c.port}}.items():
        await t.start(simple(t, clusters=[cluster('c1', lbe(a, extra={'endpoint': {'health_check_config': config}}), {'health_checks': [checks(t, HTTP, log=False)]})]), name=label.replace(' ', ''))
        t.see(label, [len(u.reqs) > 0 for u in (a, b, c)])
        t.see(label + ' flags', await flags(t))
        for u in (a, b, c):
            del u.reqs[:]
        await t.stop()


@case()
async def places_of_checks_in_the_file_system(t):
    seen = []

    async def conn(r, w):
        while True:
            try:
                head = await r.readuntil(b'\r\n\r\n')
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            seen.append(head)
            w.write(resp(200))
    server = await asyncio.start_unix_server(conn, t.path('host.sock'))
    host = {'endpoint': {'address': {'pipe': {'path': t.path('host.sock')}}, 'health_check_config': {'hostname': 'p.example'}}}
    await t.start(simple(t, clusters=[cluster('c1', host, {'health_checks': [checks(t, HTTP)]})]))
    t.see('healthy', await healthy(t, 1))
    t.see('request', [l for l in seen[0].decode().splitlines()])
    t.see('events', [l.replace(t.dir, '<dir>') for l in await events(t)])
    server.close()


@case()
async def places_of_checks_behind_a_proxy_head(t):
    """Checks go through the transport socket that says who is there; there is nobody but the proxy."""
    for version, fields in (('V1', []), ('V2', []), ('V2', [{'type': 200, 'value': 'eA=='}])):
        label = version + ' with fields' * len(fields)
        seen = []

        async def conn(c):
            seen.append(await c.r.read(1000))
            c.send(resp(200))
            await c.drain()
            await c.r.read(1000)
        u = await t.up('h%d' % len(t.ups), conn=conn)
        socket_ = {'name': 'p', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport', 'config': {'version': version, 'added_tlvs': fields},
                   'transport_socket': {'name': 'raw', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}}}
        await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, HTTP, log=False)], 'transport_socket': socket_})]), name=label.replace(' ', ''))
        await t.until(lambda: seen)
        head = seen[0].split(b'GET')[0]
        t.see(label, head[:40].hex() if version == 'V2' else re.sub(rb' \d{4,5}', b' <port>', head))
        t.see(label + ' flags', (await flags(t))[0].rpartition('::')[2])
        await t.stop()


# ---- what discovery says

STATES = ['UNKNOWN', 'HEALTHY', 'UNHEALTHY', 'DRAINING', 'TIMEOUT', 'DEGRADED']


@case()
async def states_of_discovery_beside_checks(t):
    s = Script(**{'%s%d' % (k, i): 200 if k == 'good' else 503 for i in range(len(STATES)) for k in ('good', 'bad')})
    us = [await t.up(name, s.respond) for name in s.answers]
    hosts = [lbe(u, extra={'health_status': STATES[int(u.name[-1])]}) for u in us]
    await t.start(simple(t, clusters=[cluster('c1', hosts, {'health_checks': [checks(t, HTTP, log=False)]})]))
    await count(t, 'health_check.attempt', 30)
    t.see('flags', await flags(t))
    t.see('json', await health_json(t))
    t.see('stats', {k: v for k, v in (await t.stats(regex=STATS)).items() if k.endswith(('healthy', 'degraded', 'excluded'))})


@case()
async def states_of_discovery_alone(t):
    us = [await t.up('h%d' % i) for i in range(len(STATES))]
    await t.start(simple(t, clusters=[cluster('c1', [lbe(u, extra={'health_status': s}) for u, s in zip(us, STATES)])]))
    t.see('flags', await flags(t))
    t.see('json', await health_json(t))
    t.see('gauges', await t.stats(regex=r'^cluster\.c1\.membership_'))
    t.see('served', sorted({(await t.req('/')).h('x-up') for _ in range(8)}))


@case()
async def updates_switch_checks_off_and_on(t):
    s = Script(h0=503, h1=200)
    us = [await t.up(n, s.respond) for n in ('h0', 'h1')]
    off = lbe(us[0], extra='{endpoint: {health_check_config: {disable_active_health_check: true}}}')
    await fed(t, us, checks(t, HTTP))
    await healthy(t, 1)
    t.see('checked', await flags(t))
    t.move_in('eds.yaml', assignment(off, us[1]))
    t.see('switched off', bool(await healthy(t, 2)))
    t.see('flags off', await flags(t))
    t.move_in('eds.yaml', assignment(*us))
    t.see('switched on', bool(await healthy(t, 1)))
    t.see('flags on', await flags(t))
    t.see('events', await events(t))


@case()
async def updates_move_a_check(t):
    """A host that is checked somewhere else is another host."""
    s = Script(h0=200, h1=503)
    us = [await t.up(n, s.respond) for n in ('h0', 'h1')]
    await fed(t, [us[0]], checks(t, HTTP))
    await healthy(t, 1)
    t.move_in('eds.yaml', assignment(lbe(us[0], extra={'endpoint': {'health_check_config': {'port_value': us[1].port}}})))
    t.see('out', bool(await healthy(t, 0)))
    t.see('flags', sorted(await flags(t)))
    t.see('total', await t.stats('cluster.c1.membership_total'))
    t.see('events', await events(t))


for label, endpoint in {'of_the_endpoint': '{hostname: new.example}', 'of_the_check': '{health_check_config: {hostname: new.example}}', 'none': '{health_check_config: {}}',
                        'in_the_same_place': None}.items():
    @case('updates_of_names_' + label)
    async def updates_of_names(t, endpoint=endpoint):
        """Which names make another host of the one that is there; both are checked then, while the first is well."""
        u = await t.up('h0')
        await fed(t, [u], checks(t, HTTP, log=False))
        await healthy(t, 1)
        renamed = {'health_check_config': {'port_value': u.port}} if endpoint is None else Y(endpoint)
        t.move_in('eds.yaml', assignment(lbe(u, extra={'endpoint': renamed})))
        await t.stat_until('cluster.c1.update_success', lambda v: v == 2)
        n = len(u.reqs)
        await t.until(lambda: len(u.reqs) > n + 6)
        t.see('hosts', sorted({m.h('host') for m in u.reqs[n + 2:]}))
        t.see('flags', await flags(t))
        t.see('connections', u.conns)


@case()
async def updates_of_names_without_checks(t):
    for label, endpoint in {'endpoint': '{hostname: new.example}', 'check': '{health_check_config: {hostname: new.example}}', 'port': '{health_check_config: {port_value: 9}}', 'off': '{health_check_config: {disable_active_health_check: true}}'}.items():
        u = await t.up('h' + label)
        await fed(t, [u], None, {'health_checks': None}, name=label)
        await t.req('/')
        t.move_in('eds.yaml', assignment(lbe(u, extra={'endpoint': Y(endpoint)})))
        await t.stat_until('cluster.c1.update_success', lambda v: v == 2)
        t.see(label, await flags(t, ('hostname', 'cx_total')))
        t.see(label + ' changes', await t.stats('cluster.c1.membership_change', 'cluster.c1.update_no_rebuild'))
        await t.stop()


@case()
async def updates_of_states_beside_checks(t):
    u = await t.up('h0')
    await fed(t, [u], checks(t, HTTP))
    await healthy(t, 1)
    for state in STATES[2:] + STATES[:1]:
        t.move_in('eds.yaml', assignment(lbe(u, extra={'health_status': state})))
        await t.until(lambda: state_is(t, state))
        t.see(state, await flags(t))
        t.see(state + ' gauges', await t.stats('cluster.c1.membership_healthy', 'cluster.c1.membership_degraded', 'cluster.c1.health_check.healthy'))
    t.see('events', await events(t))


async def state_is(t, state):
    await t.until(lambda: True)
    return (await health_json(t))[0].get('eds_health_status') == ('HEALTHY' if state == 'UNKNOWN' else state)


@case()
async def updates_take_hosts_whatever_their_health(t):
    us = [await t.up('h0'), await t.up('h1')]
    await fed(t, us, checks(t, HTTP), '{ignore_health_on_host_removal: true}')
    await healthy(t, 2)
    t.move_in('eds.yaml', assignment(us[1]))
    t.see('gone', bool(await t.stat_until('cluster.c1.membership_total', lambda v: v == 1)))
    t.see('flags', await flags(t))


@case()
async def updates_take_hosts_and_bring_them_back(t):
    """A host that is well stays although discovery has dropped it, and is as it was when it is named again; one that fails goes."""
    s = Script(h0=200, h1=200)
    us = [await t.up(n, s.respond) for n in ('h0', 'h1')]
    await fed(t, us, checks(t, HTTP))
    await healthy(t, 2)
    t.move_in('eds.yaml', assignment(us[1]))
    await t.until(lambda: has(t, 'pending_dynamic_removal'))
    t.see('dropped', sorted(await flags(t)))
    t.see('served', sorted({(await t.req('/')).h('x-up') for _ in range(4)}))
    t.move_in('eds.yaml', assignment(*us))
    await t.until(lambda: has_not(t, 'pending_dynamic_removal'))
    t.see('named again', sorted(await flags(t)))
    t.move_in('eds.yaml', assignment(us[1]))
    await t.until(lambda: has(t, 'pending_dynamic_removal'))
    s.set('h0', 503)
    t.see('gone', bool(await t.stat_until('cluster.c1.membership_total', lambda v: v == 1)))
    t.see('gauges', await t.stats(regex=r'^cluster\.c1\.(membership_(healthy|total|change)|health_check\.healthy)$'))
    t.see('events', await events(t))


async def has(t, word):
    return any(word in l for l in await flags(t))


async def has_not(t, word):
    return not await has(t, word)


@case()
async def updates_take_failed_hosts_at_once(t):
    s = Script(h0=503, h1=200)
    us = [await t.up(n, s.respond) for n in ('h0', 'h1')]
    await fed(t, us, checks(t, HTTP))
    await healthy(t, 1)
    t.move_in('eds.yaml', assignment(us[1]))
    t.see('gone', bool(await t.stat_until('cluster.c1.membership_total', lambda v: v == 1)))
    t.see('gauges', await t.stats(regex=r'^cluster\.c1\.(membership_(healthy|total)|health_check\.healthy)$'))


# ---- what answers to requests say

@case()
async def leaving_hosts_come_back_by_a_check(t):
    """A passing check takes away both what an answer said and what came of it."""
    leaving = [('x-envoy-immediate-health-check-fail', '')]

    def respond(m, n):
        return resp(200, 'x', leaving if m['path'] == '/bye' else [])
    u = await t.up('h0', respond)
    x = checks(t, HTTP, '{interval: 0.6s, no_traffic_interval: 0.6s, healthy_threshold: 2}')
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x], 'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})]))
    await healthy(t, 1)
    await t.req('/bye')
    t.see('out', bool(await healthy(t, 0)))
    t.see('flags', await flags(t))
    t.see('gauges', await t.stats(regex=STATS))
    t.see('back', bool(await healthy(t, 1)))
    t.see('flags back', await flags(t))
    t.see('events', await events(t))


for label, answer in {'of_errors': resp(503, 'x', [('x-envoy-immediate-health-check-fail', 'a')]), 'of_redirects': resp(302, '', [('x-envoy-immediate-health-check-fail', 'false'), ('location', '/')]),
                      'with_a_body_to_come': b'HTTP/1.1 200 OK\r\nx-envoy-immediate-health-check-fail: 1\r\ncontent-length: 9\r\n\r\nabc'}.items():
    @case('leaving_hosts_' + label)
    async def leaving_hosts(t, answer=answer):
        u = await t.up('h0', lambda m, n: resp(200) if m['path'] == '/hz' else answer)
        x = checks(t, HTTP, '{interval: 60s, no_traffic_interval: 60s}', log=False)
        await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]})]))
        await healthy(t, 1)
        c = await t.conn()
        c.send(build('/'))
        t.see('out', bool(await healthy(t, 0)))
        t.see('flags', await flags(t))


@case()
async def leaving_hosts_over_http2(t):
    async def h(s):
        s.respond(200, [('x-envoy-immediate-health-check-fail', 'true')] if s.h(':path') == '/bye' else [], end=True)
    u = await t.h2up('h0', h)
    x = checks(t, '{http_health_check: {path: /hz, codec_client_type: HTTP2}}', '{interval: 60s, no_traffic_interval: 60s}', log=False)
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]}, h2=True)]))
    await healthy(t, 1)
    await t.req('/bye')
    t.see('out', bool(await healthy(t, 0)))
    t.see('flags', await flags(t))


@case()
async def leaving_hosts_that_are_not_checked(t):
    u = await t.up('h0', lambda m, n: resp(200, 'x', [('x-envoy-immediate-health-check-fail', 'true')]))
    off = lbe(u, extra='{endpoint: {health_check_config: {disable_active_health_check: true}}}')
    await t.start(simple(t, clusters=[cluster('c1', off, {'health_checks': [checks(t, HTTP, log=False)]})]))
    await ask(t, 2)
    t.see('flags', await flags(t))
    t.see('stats', await t.stats('cluster.c1.health_check.passive_failure', 'cluster.c1.membership_healthy'))
    t.see('header', (await t.req('/')).h('x-envoy-immediate-health-check-fail'))


# ---- checks count apart

for label, kind in {'http': HTTP, 'tcp': '{tcp_health_check: {}}'}.items():
    @case('counts_of_checks_alone_' + label)
    async def counts_of_checks(t, kind=kind):
        """What checks leave in the cluster's stats, and at their host."""
        u = await t.up('h0')
        await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, kind, log=False)]})]))
        await count(t, 'health_check.success', 3)
        t.see('stats', {k: v for k, v in (await t.stats(regex=r'^cluster\.c1\.')).items() if v and not k.endswith(('attempt', 'success')) and isinstance(v, int)})
        t.see('host', await flags(t, ('cx_total', 'cx_active', 'rq_total', 'rq_success', 'cx_connect_fail')))


@case()
async def counts_of_failed_connects(t):
    d = t.dead('h0')
    await t.start(simple(t, clusters=[cluster('c1', d, {'health_checks': [checks(t, HTTP)]})]))
    await count(t, 'health_check.failure', 3)
    t.see('stats', {k: v for k, v in (await t.stats(regex=r'^cluster\.c1\.')).items() if v and not k.endswith(('attempt', 'failure')) and isinstance(v, int)})
    t.see('host', await flags(t, ('cx_total', 'cx_active', 'rq_total', 'rq_error', 'cx_connect_fail')))
    t.see('events', await events(t))


@case()
async def counts_of_silent_hosts(t):
    """A connect that does not come is ended by the check's time, or by the cluster's if that is shorter."""
    for label, timeout in {'check': '5s', 'cluster': '0.1s'}.items():
        u = t.silent('h' + label)
        x = checks(t, HTTP, {'timeout': '0.3s', 'event_logger': sink(t, label + '.events')}, log=False)
        await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]}, timeout=timeout)]), name=label)
        await count(t, 'health_check.failure', 2)
        t.see(label, (await flags(t))[0].rpartition('::')[2])
        t.see(label + ' events', await events(t, label + '.events'))


# ---- what configuration is refused

for label, x in {
    'timeout_of_zero': {'timeout': '0s'}, 'interval_of_zero': {'interval': '0s'}, 'no_timeout': {'timeout': None}, 'no_threshold': {'healthy_threshold': None}, 'no_interval': {'interval': None},
    'unhealthy_interval_of_zero': {'unhealthy_interval': '0s'}, 'no_traffic_of_zero': {'no_traffic_interval': '0s'}, 'jitter_beyond_all': {'interval_jitter_percent': 4000, 'interval_jitter': '1s'},
    'negative_jitter': {'initial_jitter': '-1s'}, 'path_empty': {'http_health_check': {'path': ''}}, 'path_with_a_break': {'http_health_check': {'path': '/a\nb'}},
    'path_with_a_nul': {'http_health_check': {'path': '/a\0b'}}, 'host_with_a_break': {'http_health_check': {'path': '/', 'host': 'a\nb'}},
    'receive_empty': {'http_health_check': {'path': '/', 'receive': [{'text': ''}]}}, 'receive_nothing': {'http_health_check': {'path': '/', 'receive': [{}]}}, 'send_nothing': {'http_health_check': {'path': '/', 'method': 'POST', 'send': {}}},
    'send_binary': {'http_health_check': {'path': '/', 'method': 'POST', 'send': {'binary': 'AQI='}}}, 'send_empty_binary': {'tcp_health_check': {'send': {'binary': ''}}}, 'receive_binary': {'tcp_health_check': {'receive': [{'binary': 'AQI='}]}},
    'alpn_empty': {'tls_options': {'alpn_protocols': ['']}}, 'alpn_none': {'tls_options': {}}, 'headers_too_many': {'http_health_check': {'path': '/', 'request_headers_to_add': [{'header': {'key': 'a', 'value': 'b'}}] * 1001}},
    'remove_pseudo': {'http_health_check': {'path': '/', 'request_headers_to_remove': [':path']}}, 'remove_host': {'http_health_check': {'path': '/', 'request_headers_to_remove': ['host']}}, 'status_below_zero': {'http_health_check': {'path': '/', 'expected_statuses': [{'start': -5, 'end': 200}]}},
    'buffer_smaller': {'http_health_check': {'path': '/', 'response_buffer_size': 3, 'receive': [{'text': '00'}, {'text': '0000'}]}}, 'expected_of_nothing': {'http_health_check': {'path': '/', 'expected_statuses': [{}]}}, 'tcp_receive_no_hex': {'tcp_health_check': {'receive': [{'text': 'xyz'}]}},
    'no_service_name': {'http_health_check': {'path': '/', 'service_name_matcher': {}}}, 'http3': {'http_health_check': {'path': '/', 'codec_client_type': 'HTTP3'}}, 'method_patch_send': {'http_health_check': {'path': '/', 'method': 'PATCH', 'send': {'text': '00'}}},
    'sink_without_a_kind': {'event_logger': [{'name': 'a'}]}, 'two_sinks': {'event_logger': [{'name': 'a', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink', 'event_log_path': '/dev/null'}}] * 2},
}.items():
    @case('refused_' + label)
    async def refused(t, x=x):
        base = checks(t, HTTP if not any(k.endswith('_health_check') for k in x) else '{}', json.loads(json.dumps(x)), log=False)
        path = t.write('v.yaml', yaml.safe_dump(simple(t, clusters=[cluster('c1', t.dead(), {'health_checks': [base]})])))
        p = await asyncio.create_subprocess_exec(t.binary, '--mode', 'validate', '-c', path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        t.see('refused', await asyncio.wait_for(p.wait(), 10) != 0)
