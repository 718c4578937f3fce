"""Active health checks of every kind, their event log, outlier detection's, and what health does to connections."""
import struct

from harness import *
from harness.health import (EJECT, FILE_SINK, HTTP, OUTLIER_LOG, STATS, Script, ask, checked, checks, count, ejectable, ejections,
                            events, flags, health_json, healthy, outlier_events, sink)

# ---- the event log

@case()
async def events_of_a_host_that_goes_and_comes(t):
    s = Script(h0=[200, 200, 503, 503, 200])
    await checked(t, s)
    await count(t, 'health_check.success', 4)
    t.see('events', await events(t))


@case()
async def events_by_the_older_field(t):
    s = Script(h0=[200, 503, 200])
    await checked(t, s, extra={'event_log_path': t.path('old.log'), 'event_logger': None})
    await count(t, 'health_check.success', 3)
    t.see('events', await events(t, 'old.log'))


@case()
async def events_to_both_files(t):
    s = Script(h0=[200, 503, 200])
    await checked(t, s, extra={'event_log_path': t.path('old.log')})
    await count(t, 'health_check.success', 3)
    t.see('sink', await events(t))
    t.see('older', await events(t, 'old.log'))


@case()
async def events_of_first_failures(t):
    s = Script(h0=[503, 503, 200], h1=['close', 'close', 200])
    await checked(t, s)
    await healthy(t, 2)
    t.see('events', sorted(await events(t)))


@case()
async def events_of_each_kind_of_failure(t):
    s = Script(h0=[200, 'close', 200, 'hang', 200, 500, 200])
    await checked(t, s)
    await count(t, 'health_check.success', 5)
    t.see('stats', {k: v for k, v in (await t.stats(regex=STATS)).items() if 'network' in k or 'passive' in k})
    t.see('events', await events(t))


@case()
async def events_of_all_failures(t):
    s = Script(h0=[200, 503, 503, 200])
    await checked(t, s, extra='{always_log_health_check_failures: true}')
    await count(t, 'health_check.success', 3)
    t.see('events', await events(t, unique=False))


@case()
async def events_of_all_successes(t):
    s = Script(h0=[503, 200, 200, 503, 200, 200])
    await checked(t, s, extra='{always_log_health_check_success: true, healthy_threshold: 2}')
    await count(t, 'health_check.success', 6)
    t.see('events', await events(t))


@case()
async def events_of_degraded_hosts(t):
    s = Script(h0=[200, (200, '', [('x-envoy-degraded', '')]), 200])
    await checked(t, s)
    await count(t, 'health_check.success', 4)
    t.see('events', await events(t))


@case()
async def events_of_a_host_that_begins_degraded(t):
    s = Script(h0=[(200, '', [('x-envoy-degraded', '')]), (200, '', [('x-envoy-degraded', '')]), 503, 200])
    await checked(t, s)
    await count(t, 'health_check.success', 4)
    t.see('events', await events(t))


@case()
async def events_carry_metadata_and_locality(t):
    s = Script(h0=[200])
    u = await t.up('h0', s.respond)
    where = [{'locality': {'region': 'r', 'zone': 'z', 'sub_zone': 's'}, 'lb_endpoints': [
        lbe(u, extra='{metadata: {filter_metadata: {envoy.lb: {deep: {x: [1, true, null, 2.5, text]}}}}}')]}]
    await t.start(simple(t, clusters=[cluster('c1', localities=where, extra={'health_checks': [checks(t, HTTP)]})]))
    await healthy(t, 1)
    t.see('events', await events(t))


@case()
async def events_name_the_checked_address(t):
    """The host of an event is where the host serves, wherever it is checked; the cluster is its own name."""
    a, b = await t.up('h0'), await t.up('hcport')
    c = cluster('c1', [lbe(a, extra={'endpoint': {'health_check_config': {'port_value': b.port}, 'hostname': 'h.example'}})],
                {'health_checks': [checks(t, HTTP)], 'alt_stat_name': 'other'})
    await t.start(simple(t, clusters=[c]))
    await t.stat_until('cluster.other.health_check.success', lambda v: v >= 1)
    t.see('host', [m.h('host') for m in b.reqs[:1]])
    t.see('events', await events(t))


@case()
async def events_of_a_passive_failure(t):
    s = Script(h0=200)

    async def f(m, n):
        if m['path'] == '/bye':
            return resp(200, '', [('x-envoy-immediate-health-check-fail', 'true')])
        return await s.respond(m, n)
    u = await t.up('h0', f)
    x = checks(t, HTTP, '{interval: 30s, no_traffic_interval: 30s, always_log_health_check_failures: true}')
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]})]))
    await healthy(t, 1)
    await t.req('/bye')
    await healthy(t, 0)
    t.see('flags', await flags(t))
    t.see('json', await health_json(t))
    t.see('stats', await t.stats(regex=STATS))
    t.see('events', await events(t))


# ---- flags and what clears them

@case()
async def flags_of_a_timeout(t):
    s = Script(h0=[200, 'hang', 'hang'])
    await checked(t, s)
    await count(t, 'health_check.failure', 1)
    t.see('timeout', await flags(t))
    t.see('timeout json', await health_json(t))
    s.set('h0', 503)
    await count(t, 'health_check.failure', 4)
    t.see('wrong', await flags(t))
    s.set('h0', 200)
    await healthy(t, 1)
    t.see('well', await flags(t))


@case()
async def flags_of_a_timeout_stay_while_successes_are_too_few(t):
    s = Script(h0=[200, 'hang', 200])
    await checked(t, s, extra='{healthy_threshold: 50}')
    await count(t, 'health_check.success', 4)
    t.see('flags', await flags(t))


@case()
async def flags_of_degraded_hosts(t):
    s = Script(h0=(200, '', [('x-envoy-degraded', 'anything')]), h1=200)
    await checked(t, s)
    await count(t, 'membership_degraded', 1)
    t.see('flags', await flags(t))
    t.see('json', await health_json(t))
    t.see('gauges', {k: v for k, v in (await t.stats(regex=STATS)).items() if 'degraded' in k or 'healthy' in k})


@case()
async def flags_of_an_immediate_failure_in_a_check(t):
    """The header counts in an answer that fails the check, and only there."""
    bad = [('x-envoy-immediate-health-check-fail', 'true')]
    s = Script(h0=(503, '', bad), h1=(200, '', bad), h2=(503, ''))
    await checked(t, s)
    await count(t, 'health_check.failure', 4)
    t.see('flags', await flags(t))
    t.see('json', await health_json(t))
    t.see('gauges', await t.stats(regex=r'^cluster\.c1\.membership_'))
    s.set('h0', 503)
    await asyncio.sleep(0.4)
    t.see('without the header', await flags(t))
    s.set('h0', 200)
    await healthy(t, 2)
    t.see('well', await flags(t))


@case()
async def unchecked_hosts_are_in_no_gauge_of_checks(t):
    a, b = await t.up('h0'), await t.up('h1')
    off = lbe(b, extra='{endpoint: {health_check_config: {disable_active_health_check: true}}}')
    await t.start(simple(t, clusters=[cluster('c1', [a, off], {'health_checks': [checks(t, HTTP, log=False)]})]))
    await count(t, 'health_check.success', 2)
    t.see('stats', {k: v for k, v in (await t.stats(regex=STATS)).items() if k.endswith(('healthy', 'degraded'))})
    t.see('asked', len(b.reqs))


# ---- HTTP checks

@case()
async def http_checks_over_http2(t):
    u = await t.h2up('h0')
    x = checks(t, '{http_health_check: {path: "/hz?q=1", codec_client_type: HTTP2, request_headers_to_add: [{header: {key: X-Hc, value: "1"}}]}}', log=False)
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]}, h2=True)]))
    await count(t, 'health_check.success', 3)
    t.see('request', u.reqs[0])
    t.see('connections', u.conns)
    t.see('codec', sorted(k for k in await t.stats(regex=r'^cluster\.c1\.http[12]\.')))
    t.see('cx', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_http2_total', 'cluster.c1.upstream_rq_total'))


@case()
async def http_checks_over_http2_beside_http1_traffic(t):
    """The cluster speaks HTTP/1; only its checks speak HTTP/2, on another port."""
    a, b = await t.up('h0'), await t.h2up('hcport')
    x = checks(t, '{http_health_check: {path: /hz, codec_client_type: HTTP2}}', log=False)
    await t.start(simple(t, clusters=[cluster('c1', [lbe(a, extra={'endpoint': {'health_check_config': {'port_value': b.port}}})], {'health_checks': [x]})]))
    t.see('healthy', await healthy(t, 1))
    t.see('r', (await t.req('/')).status)


@case()
async def http_checks_over_http2_of_an_http1_host(t):
    u = await t.up('h0')
    x = checks(t, '{http_health_check: {path: /hz, codec_client_type: HTTP2}}')
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]})]))
    await count(t, 'health_check.failure', 2)
    t.see('flags', await flags(t))
    t.see('events', await events(t))


@case()
async def http_checks_go_away_while_they_wait(t):
    """GOAWAY without an error lets the check end; the next one connects anew."""
    async def h(s):
        s.goaway_raw(0, 2**31 - 1)
        await asyncio.sleep(0.05)
        s.respond(200, end=True)
    u = await t.h2up('h0', h)
    x = checks(t, '{http_health_check: {path: /hz, codec_client_type: HTTP2}}')
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]})]))
    await count(t, 'health_check.success', 3)
    t.see('failures', await t.stats('cluster.c1.health_check.failure'))
    t.see('a connection each', u.conns >= 3 and u.conns - len(u.reqs) in (0, 1))
    t.see('events', await events(t))


@case()
async def http_checks_go_away_with_an_error(t):
    async def h(s):
        s.goaway_raw(2, 2**31 - 1)
        await asyncio.sleep(0.3)
        s.respond(200, end=True)
    u = await t.h2up('h0', h)
    x = checks(t, '{http_health_check: {path: /hz, codec_client_type: HTTP2}}')
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]})]))
    await count(t, 'health_check.failure', 2)
    t.see('stats', await t.stats('cluster.c1.health_check.success'))
    t.see('flags', await flags(t))
    t.see('events', await events(t))


@case()
async def http_checks_stream_reset(t):
    async def h(s):
        s.reset(8)
    u = await t.h2up('h0', h)
    x = checks(t, '{http_health_check: {path: /hz, codec_client_type: HTTP2}}')
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]})]))
    await count(t, 'health_check.network_failure', 3)
    t.see('one connection', u.conns)
    t.see('events', await events(t))


@case()
async def http_checks_with_a_body(t):
    s = Script(h0=200)
    us = await checked(t, s, '{http_health_check: {path: /hz, method: POST, send: {text: "70696e67"}, host: a.example}}')
    await count(t, 'health_check.success', 1)
    t.see('request', us[0].reqs[0])


@case()
async def http_checks_methods(t):
    for i, method in enumerate(['HEAD', 'OPTIONS', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'GET']):
        u = await t.up('h%d' % i)
        x = checks(t, {'http_health_check': {'path': '/hz', 'method': method}}, log=False)
        p = await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x]})]), name='p%d' % i)
        await t.until(lambda: u.reqs)
        t.see(method, u.reqs[0])
        await t.stop()


@case()
async def http_checks_compare_bodies(t):
    s = Script(h0=(200, 'xx ping yy pong'), h1=(200, 'pong ping'), h2=(200, 'x' * 2000 + 'pingpong'), h3=(503, 'pingpong'))
    await checked(t, s, '{http_health_check: {path: /hz, receive: [{text: "70696e67"}, {binary: cG9uZw==}]}}')
    await count(t, 'health_check.failure', 6)
    t.see('flags', await flags(t))


@case()
async def http_checks_read_as_much_as_they_may(t):
    s = Script(h0=(200, 'x' * 100 + 'ping'), h1=(200, 'ping' + 'x' * 5000), h2=(200, 'x' * 60 + 'ping'))
    await checked(t, s, '{http_health_check: {path: /hz, response_buffer_size: 64, receive: [{text: "70696e67"}]}}')
    await count(t, 'health_check.failure', 2)
    t.see('flags', await flags(t))


@case()
async def http_checks_connections_that_close_between(t):
    """A connection that its host closes between two checks is no failure."""
    async def conn(c):
        await c.read_request()
        c.send(resp(200))
        await c.drain()
        await asyncio.sleep(0.02)
    u = await t.up('h0', conn=conn)
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, HTTP)]})]))
    await count(t, 'health_check.success', 4)
    t.see('failures', await t.stats('cluster.c1.health_check.failure'))
    t.see('events', await events(t))


@case()
async def http_checks_connection_close(t):
    s = Script(h0=[(200, '', [('connection', 'close')])] * 3 + [200])
    us = await checked(t, s)
    await count(t, 'health_check.success', 6)
    t.see('connections', us[0].conns)
    t.see('failures', await t.stats('cluster.c1.health_check.failure'))


@case()
async def http_checks_on_connections_of_their_own(t):
    s = Script(h0=200)
    us = await checked(t, s, extra='{reuse_connection: false}')
    await count(t, 'health_check.success', 4)
    t.see('a connection each', us[0].conns - len(us[0].reqs) in (0, 1))


@case()
async def http_checks_after_a_timeout_connect_anew(t):
    s = Script(h0=[200, 200, 'hang', 200])
    us = await checked(t, s)
    await count(t, 'health_check.success', 4)
    t.see('connections', us[0].conns)


@case()
async def http_checks_service_names(t):
    name = 'x-envoy-upstream-healthchecked-cluster'
    s = Script(h0=(200, '', [(name, 'svc-1')]), h1=(200, '', [(name, 'other')]), h2=200)
    await checked(t, s, '{http_health_check: {path: /hz, service_name_matcher: {prefix: svc}}}')
    await count(t, 'health_check.verify_cluster', 6)
    t.see('flags', await flags(t))


@case()
async def http_checks_service_names_off_at_runtime(t):
    s = Script(h0=(200, '', [('x-envoy-upstream-healthchecked-cluster', 'other')]))
    await checked(t, s, '{http_health_check: {path: /hz, service_name_matcher: {prefix: svc}}}',
                  extra='{}', log=False)
    await count(t, 'health_check.failure', 2)
    await t.admin('/runtime_modify?health_check.verify_cluster=0', 'POST')
    t.see('admin', (await t.admin('/runtime?format=json'))[0])


@case()
async def http_checks_retriable_statuses(t):
    s = Script(h0=[200, 503, 503, 200, 429, 200])
    await checked(t, s, '{http_health_check: {path: /hz, retriable_statuses: [{start: 500, end: 600}], expected_statuses: [{start: 200, end: 201}, {start: 204, end: 205}]}}',
                  extra='{unhealthy_threshold: 3}')
    await count(t, 'health_check.success', 5)
    t.see('events', await events(t))


@case()
async def http_checks_formats_in_headers(t):
    s = Script(h0=200)
    us = await checked(t, s, '''{http_health_check: {path: /hz, request_headers_to_add: [
        {header: {key: x-meta, value: '%UPSTREAM_METADATA(["envoy.lb", "a"])%'}}, {header: {key: x-host, value: '%UPSTREAM_REMOTE_ADDRESS%'}},
        {header: {key: x-proto, value: '%PROTOCOL%'}}, {header: {key: x-percent, value: '100%%'}},
        {header: {key: user-agent, value: mine}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}}''',
                       endpoint='{metadata: {filter_metadata: {envoy.lb: {a: b}}}}', log=False)
    await t.until(lambda: us[0].reqs)
    t.see('request', us[0].reqs[0])


@case()
async def http_checks_headers_appended_and_removed(t):
    s = Script(h0=200)
    us = await checked(t, s, '''{http_health_check: {path: /hz, request_headers_to_remove: [user-agent], request_headers_to_add: [
        {header: {key: x-a, value: one}}, {header: {key: X-A, value: two}}, {header: {key: x-b, value: one}},
        {header: {key: x-b, value: two}, append_action: ADD_IF_ABSENT}, {header: {key: x-empty, value: ''}},
        {header: {key: x-kept, value: ''}, keep_empty_value: true}]}}''', log=False)
    await t.until(lambda: us[0].reqs)
    t.see('request', us[0].reqs[0])


@case()
async def http_checks_names_asked_for(t):
    """The endpoint's own name for checks, before the check's host, before the endpoint's name, before the cluster's."""
    hosts = [await t.up('h%d' % i) for i in range(3)]
    own = ['{endpoint: {hostname: e.example, health_check_config: {hostname: own.example}}}', '{endpoint: {hostname: e.example}}', '{}']
    for label, host in [('with host', 'set.example'), ('without', '')]:
        x = checks(t, {'http_health_check': {'path': '/hz', 'host': host}}, log=False)
        await t.start(simple(t, clusters=[cluster('c1', [lbe(u, extra=e) for u, e in zip(hosts, own)], {'health_checks': [x]})]), name=label.replace(' ', ''))
        await count(t, 'health_check.success', 3)
        t.see(label, [u.reqs[-1].h('host') for u in hosts])
        await t.stop()


# ---- gRPC checks

def grpc_reply(status, flag=0):
    body = b'' if status is None else b'\x08' + bytes([status])
    return struct.pack('>BI', flag, len(body)) + body


def grpc_host(replies):
    """Answers of a gRPC host to its checks, in their order; each a coroutine function of the stream."""
    left = list(replies)

    async def h(s):
        await s.body()
        reply = left.pop(0) if len(left) > 1 else left[0]
        await reply(s)
    return h


def says(status=1, grpc_status='0', headers=(('content-type', 'application/grpc'),)):
    async def h(s):
        s.respond(200, list(headers))
        if status is not None:
            await s.data(grpc_reply(status))
        s.trailers([('grpc-status', grpc_status)])
    return h


def head_only(status=200, headers=()):
    async def h(s):
        s.respond(status, [('content-type', 'application/grpc'), *headers], end=True)
    return h


async def grpc(t, replies, kind='{grpc_health_check: {}}', extra=None, cx=None, n=3, wait='attempt'):
    u = await t.h2up('h0', grpc_host(replies))
    await t.start(simple(t, clusters=[cluster('c1', u, merge({'health_checks': [checks(t, kind, extra)]}, Y(cx) or {}), h2=True)]))
    await count(t, 'health_check.' + wait, n)
    return u


@case()
async def grpc_checks_as_they_are_asked(t):
    u = await grpc(t, [says()], n=2)
    t.see('request', u.reqs[0])
    t.see('second', u.reqs[1])
    t.see('connections', u.conns)
    t.see('flags', await flags(t))
    t.see('stats', sorted(k for k in await t.stats(regex=r'^cluster\.c1\.(http2|grpc|health_check)\.')))
    t.see('events', await events(t))


@case()
async def grpc_checks_of_a_service(t):
    u = await grpc(t, [says()], '{grpc_health_check: {service_name: svc.One, authority: hc.example, initial_metadata: [{header: {key: X-Token, value: "%UPSTREAM_REMOTE_ADDRESS%"}}, {header: {key: x-two, value: b}}]}}',
                   extra='{timeout: 2.5s}', n=1)
    t.see('request', u.reqs[0])


@case()
async def grpc_checks_of_a_named_endpoint(t):
    u = await t.h2up('h0', grpc_host([says()]))
    e = lbe(u, extra='{endpoint: {hostname: e.example, health_check_config: {hostname: own.example}}}')
    await t.start(simple(t, clusters=[cluster('c1', e, {'health_checks': [checks(t, '{grpc_health_check: {authority: set.example}}')]}, h2=True)]))
    await count(t, 'health_check.success', 1)
    t.see('request', u.reqs[0])


for label, reply in {
    'not_serving': says(2), 'unknown': says(0), 'service_unknown': says(3), 'odd_status': says(9), 'empty_message': says(None),
    'serving_with_an_error': says(1, '13'), 'no_status': says(1, ''), 'unimplemented': head_only(200, [('grpc-status', '12')]),
    'ok_without_a_message': head_only(200, [('grpc-status', '0')]), 'head_without_a_status': head_only(200),
    'http_503': head_only(503), 'http_503_with_a_status': head_only(503, [('grpc-status', '0')]),
    'other_content': says(1, '0', (('content-type', 'text/plain'),)),
    'other_grpc_content': says(1, '0', (('content-type', 'application/grpc+proto'),)),
}.items():
    @case('grpc_checks_answered_' + label)
    async def grpc_answer(t, reply=reply):
        u = await grpc(t, [says(), reply, reply, reply, says()], extra='{unhealthy_threshold: 2, always_log_health_check_failures: true}', n=6)
        t.see('connections', u.conns)
        t.see('stats', {k: v for k, v in (await t.stats(regex=STATS)).items() if k.endswith(('.failure', 'network_failure'))})
        t.see('events', await events(t))


async def two_messages(s):
    s.respond(200, [('content-type', 'application/grpc')])
    await s.data(grpc_reply(1) + grpc_reply(1))
    s.trailers([('grpc-status', '0')])


async def message_in_pieces(s):
    s.respond(200, [('content-type', 'application/grpc')])
    for b in grpc_reply(1):
        await s.data(bytes([b]))
    s.trailers([('grpc-status', '0')])


async def body_ends_the_stream(s):
    s.respond(200, [('content-type', 'application/grpc')])
    await s.data(grpc_reply(1), end=True)


async def compressed(s):
    s.respond(200, [('content-type', 'application/grpc')])
    await s.data(grpc_reply(1, flag=1))
    s.trailers([('grpc-status', '0')])


async def not_protobuf(s):
    s.respond(200, [('content-type', 'application/grpc')])
    await s.data(struct.pack('>BI', 0, 3) + b'\xff\xff\xff')
    s.trailers([('grpc-status', '0')])


async def resets(s):
    s.reset(2)


async def goes_away(s):
    s.goaway_raw(0, 2**31 - 1)
    await asyncio.sleep(0.02)
    await says()(s)


async def goes_away_with_an_error(s):
    s.goaway_raw(11, 2**31 - 1)
    await asyncio.sleep(0.2)
    await says()(s)


async def closes(s):
    s.conn.close()


async def hangs(s):
    await asyncio.sleep(3)


for label, reply in {'two_messages': two_messages, 'in_pieces': message_in_pieces, 'ended_by_the_body': body_ends_the_stream,
                     'compressed': compressed, 'not_protobuf': not_protobuf, 'reset': resets, 'go_away': goes_away,
                     'go_away_with_an_error': goes_away_with_an_error, 'closed': closes, 'never': hangs}.items():
    @case('grpc_checks_odd_' + label)
    async def grpc_odd(t, reply=reply):
        u = await grpc(t, [says(), reply, says()], extra='{unhealthy_threshold: 2, always_log_health_check_failures: true}', n=5)
        t.see('connections', u.conns)
        t.see('stats', {k: v for k, v in (await t.stats(regex=STATS)).items() if k.endswith(('.failure', 'network_failure'))})
        t.see('events', await events(t))


@case()
async def grpc_checks_on_connections_of_their_own(t):
    u = await grpc(t, [says()], extra='{reuse_connection: false}', n=4)
    t.see('a connection each', u.conns - len(u.reqs) in (0, 1))


# ---- TCP checks

def tcp_host(seen, answer=b'', close=False):
    async def conn(c):
        seen.append(b'')
        at = len(seen) - 1
        while True:
            data = await c.r.read(4096)
            if not data:
                return
            seen[at] += data
            if answer:
                c.send(answer)
                await c.drain()
            if close:
                await asyncio.sleep(0.02)
                return
    return conn


async def tcp(t, kind, answer=b'', close=False, extra=None, n=3, wait='attempt'):
    seen = []
    u = await t.up('h0', conn=tcp_host(seen, answer, close))
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, kind, extra)]})]))
    await count(t, 'health_check.' + wait, n)
    return u, seen


@case()
async def tcp_checks_of_a_port(t):
    u, seen = await tcp(t, '{tcp_health_check: {}}', wait='success')
    t.see('a connection each', u.conns >= 3)
    t.see('said', seen[0])
    t.see('events', await events(t))


@case()
async def tcp_checks_send_and_receive(t):
    u, seen = await tcp(t, '{tcp_health_check: {send: {text: "0102"}, receive: [{text: "03"}, {text: "05"}]}}', b'\x03\x04\x05', wait='success')
    t.see('connections', u.conns)
    t.see('events', await events(t))


@case()
async def tcp_checks_send_alone(t):
    """Without anything to receive, what is sent is lost: the connection is closed as soon as it is there."""
    u, seen = await tcp(t, '{tcp_health_check: {send: {text: "0102"}}}', wait='success')
    t.see('a connection each', u.conns >= 3)
    await t.stop()
    t.see('said', seen[0])


@case()
async def tcp_checks_send_binary(t):
    u, seen = await tcp(t, '{tcp_health_check: {send: {binary: AQI=}, receive: [{text: "03"}]}}', b'\x03', n=2)
    await t.stop()
    t.see('said', seen[0])
    t.see('events', await events(t))


@case()
async def tcp_checks_receive_alone(t):
    """A greeting that comes once serves one check of a connection."""
    async def conn(c):
        c.send(b'\x03')
        await c.drain()
        await c.r.read(100)
    u = await t.up('h0', conn=conn)
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, '{tcp_health_check: {receive: [{text: "03"}]}}')]})]))
    await count(t, 'health_check.success', 2)
    t.see('events', await events(t))


@case()
async def tcp_checks_wrong_answer(t):
    u, seen = await tcp(t, '{tcp_health_check: {send: {text: "01"}, receive: [{text: "03"}]}}', b'\x09', n=2, wait='failure')
    t.see('flags', await flags(t))
    t.see('events', await events(t))


@case()
async def tcp_checks_connections_that_close_between(t):
    """The close of a connection that is kept for the next check counts as a failure at once."""
    u, seen = await tcp(t, '{tcp_health_check: {send: {text: "01"}, receive: [{text: "03"}]}}', b'\x03', close=True, wait='failure')
    t.see('events', (await events(t))[:4])


@case()
async def tcp_checks_say_who_they_are_v1(t):
    u, seen = await tcp(t, '{tcp_health_check: {proxy_protocol_config: {version: V1}, send: {text: "0102"}, receive: [{text: "03"}]}}', b'\x03', n=2, wait='success')
    await t.stop()
    t.see('connections', u.conns)
    t.see('said', re.sub(rb'\d{4,5}', b'<port>', seen[0])[:120])


@case()
async def tcp_checks_say_who_they_are_v2(t):
    u, seen = await tcp(t, '{tcp_health_check: {proxy_protocol_config: {version: V2}, send: {text: "0102"}, receive: [{text: "03"}]}}', b'\x03', n=2, wait='success')
    await t.stop()
    t.see('said', seen[0][:40].hex())


@case()
async def tcp_checks_say_who_they_are_alone(t):
    u, seen = await tcp(t, '{tcp_health_check: {proxy_protocol_config: {version: V2}}}', n=2, wait='success')
    await t.stop()
    t.see('said', seen[0][:40].hex())


# ---- outlier detection

@case()
async def outlier_events_of_5xx(t):
    a = {'h0': 500}
    await ejectable(t, EJECT, a)
    await ask(t, 2)
    await count(t, 'outlier_detection.ejections_active', 1)
    t.see('flags', await flags(t))
    t.see('json', await health_json(t))
    a['h0'] = 200
    t.see('back', await healthy(t, 1))
    t.see('stats', await ejections(t))
    t.see('events', await outlier_events(t))


@case()
async def outlier_events_of_a_second_ejection(t):
    a = {'h0': 500}
    await ejectable(t, EJECT, a)
    for i in range(2):
        async def ejected():
            await ask(t, 2)
            return (await t.stats('cluster.c1.outlier_detection.ejections_enforced_total'))['cluster.c1.outlier_detection.ejections_enforced_total'] > i
        t.see('ejection %d' % i, bool(await t.until(ejected)))
        t.see('back %d' % i, await healthy(t, 1))
    t.see('events', (await outlier_events(t))[:4])


@case()
async def outlier_events_of_gateway_failures(t):
    a = {'h0': 503}
    await ejectable(t, '{consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100, interval: 10s, max_ejection_percent: 100}', a)
    await ask(t, 2)
    await count(t, 'outlier_detection.ejections_active', 1)
    t.see('stats', await ejections(t))
    t.see('events', await outlier_events(t))


@case()
async def outlier_events_that_are_not_enforced(t):
    a = {'h0': 500}
    await ejectable(t, '{consecutive_5xx: 2, enforcing_consecutive_5xx: 0, interval: 10s, max_ejection_percent: 100}', a)
    await ask(t, 2)
    await count(t, 'outlier_detection.ejections_detected_consecutive_5xx', 1)
    t.see('stats', await ejections(t))
    t.see('events', await outlier_events(t))


@case()
async def outlier_events_beyond_the_limit(t):
    """What overflows is counted and not written."""
    a = {'h0': 500, 'h1': 500}
    await ejectable(t, '{consecutive_5xx: 2, interval: 10s, max_ejection_percent: 50}', a)
    await ask(t, 12)
    await count(t, 'outlier_detection.ejections_overflow', 1)
    t.see('events', len(await outlier_events(t)))


@case()
async def outlier_events_of_local_failures(t):
    d = t.dead('h0')
    c = cluster('c1', d, {'outlier_detection': Y('{split_external_local_origin_errors: true, consecutive_local_origin_failure: 2, interval: 10s, max_ejection_percent: 100}')})
    await t.start(simple(t, clusters=[c], extra=OUTLIER_LOG % t.path('outlier.log')))
    await ask(t, 2)
    await count(t, 'outlier_detection.ejections_active', 1)
    t.see('stats', await ejections(t))
    t.see('events', await outlier_events(t))


RATES = '{consecutive_5xx: 1000, interval: 0.4s, base_ejection_time: 60s, max_ejection_percent: 100, success_rate_minimum_hosts: 3, success_rate_request_volume: 5, failure_percentage_minimum_hosts: 3, failure_percentage_request_volume: 5, %s}'


@case()
async def outlier_events_of_success_rates(t):
    a = {'h0': 200, 'h1': 200, 'h2': 200, 'h3': 500}
    await ejectable(t, RATES % 'success_rate_stdev_factor: 1000', a)

    async def f():
        await ask(t, 24)
        return (await t.stats('cluster.c1.outlier_detection.ejections_active'))['cluster.c1.outlier_detection.ejections_active']
    t.see('ejected', bool(await t.until(f)))
    t.see('events', (await outlier_events(t)))


@case()
async def outlier_events_of_failure_percentages(t):
    a = {'h0': 200, 'h1': 200, 'h2': 500}
    await ejectable(t, RATES % 'enforcing_success_rate: 0, success_rate_stdev_factor: 900000, enforcing_failure_percentage: 100, failure_percentage_threshold: 90', a)

    async def f():
        await ask(t, 18)
        return (await t.stats('cluster.c1.outlier_detection.ejections_active'))['cluster.c1.outlier_detection.ejections_active']
    t.see('ejected', bool(await t.until(f)))
    t.see('events', (await outlier_events(t)))


@case()
async def outlier_success_rates_in_clusters(t):
    a = {'h0': 200, 'h1': 200, 'h2': 500}
    await ejectable(t, RATES % 'enforcing_success_rate: 0', a, log=False)

    async def f():
        await ask(t, 18)
        _, text = await t.admin('/clusters')
        # An interval that ends among the requests leaves a host with too few of them, and then there is no mean.
        return '::success_rate_average::66.6667' in text and text
    text = await t.until(f)
    t.see('lines', [l for l in (text or '').splitlines() if 'success_rate' in l])
    _, text = await t.admin('/clusters?format=json')
    t.see('json keys', sorted(json.loads(text)['cluster_statuses'][0]))


@case()
async def outlier_check_ends_an_ejection(t):
    """A passing health check lets an ejected host back long before its time."""
    a = {'h0': 500}
    await ejectable(t, '{consecutive_5xx: 2, interval: 10s, base_ejection_time: 60s, max_ejection_percent: 100}', a, checks_of='{interval: 0.3s}')
    await ask(t, 2)
    await count(t, 'outlier_detection.ejections_enforced_total', 1)
    t.see('back', await healthy(t, 1))
    t.see('stats', await ejections(t))
    t.see('events', await outlier_events(t))


@case()
async def outlier_check_does_not_end_an_ejection(t):
    a = {'h0': 500}
    await ejectable(t, '{consecutive_5xx: 2, interval: 10s, base_ejection_time: 60s, max_ejection_percent: 100, successful_active_health_check_uneject_host: false}', a, checks_of='{interval: 0.1s}')
    await ask(t, 2)
    await count(t, 'outlier_detection.ejections_active', 1)
    n = (await t.stats('cluster.c1.health_check.success'))['cluster.c1.health_check.success']
    await count(t, 'health_check.success', n + 3)
    t.see('flags', await flags(t))
    t.see('events', await outlier_events(t))


@case()
async def outlier_ejected_and_failed(t):
    """Both flags stand; each goes with its own cause."""
    a = {'h0': 500}
    s = Script(h0=[200, 200, 503])

    async def f(m, n):
        return await s.respond(m, n) if m['path'] == '/hz' else resp(500)
    u = await t.up('h0', f)
    x = checks(t, HTTP, '{interval: 0.2s}', log=False)
    c = cluster('c1', u, {'health_checks': [x], 'outlier_detection': Y('{consecutive_5xx: 1, interval: 10s, base_ejection_time: 60s, max_ejection_percent: 100, successful_active_health_check_uneject_host: false}'),
                          'common_lb_config': {'healthy_panic_threshold': {'value': 0}}})
    await t.start(simple(t, clusters=[c]))
    await ask(t, 1)
    await count(t, 'health_check.failure', 1)
    t.see('flags', await flags(t))
    t.see('json', await health_json(t))


DEGRADED = [('x-envoy-degraded', '1')]


@case()
async def outlier_degraded_hosts(t):
    a = {'h0': (200, 'h0', [('x-up', 'h0'), *DEGRADED]), 'h1': 200}
    await ejectable(t, '{detect_degraded_hosts: true, interval: 0.2s, base_ejection_time: 3s, max_ejection_percent: 100}', a)
    await ask(t, 2)
    t.see('degraded', bool(await count(t, 'membership_degraded', 1)))
    t.see('flags', await flags(t))
    t.see('json', await health_json(t))
    t.see('stats', await ejections(t))
    t.see('gauges', await t.stats(regex=r'^cluster\.c1\.membership_'))

    async def spared():
        return 'h0' not in {(await t.req('/')).h('x-up') for _ in range(6)}
    t.see('spared', bool(await t.until(spared)))
    a['h0'] = 200
    t.see('back', await healthy(t, 2))
    t.see('events', (await outlier_events(t))[:2])


@case()
async def outlier_degraded_hosts_in_all_answers(t):
    """Whatever the status is, and again while it is degraded already."""
    a = {'h0': (500, 'h0', DEGRADED)}
    await ejectable(t, '{detect_degraded_hosts: true, consecutive_5xx: 100, interval: 0.2s, base_ejection_time: 60s, max_ejection_percent: 100}', a)
    await ask(t, 3)
    t.see('degraded', bool(await count(t, 'membership_degraded', 1)))
    await ask(t, 2)
    t.see('flags', await flags(t))
    t.see('stats', await ejections(t))
    t.see('events', await outlier_events(t))


@case()
async def outlier_degraded_hosts_and_the_limit(t):
    a = {'h0': (200, 'h0', DEGRADED), 'h1': (200, 'h1', DEGRADED)}
    await ejectable(t, '{detect_degraded_hosts: true, interval: 0.2s, base_ejection_time: 60s, max_ejection_percent: 0}', a)
    await ask(t, 4)
    await asyncio.sleep(0.3)
    t.see('flags', await flags(t))
    t.see('stats', await ejections(t))
    t.see('events', sorted(await outlier_events(t)))


@case()
async def outlier_degraded_hosts_that_are_ejected(t):
    a = {'h0': (200, 'h0', DEGRADED)}
    await ejectable(t, '{detect_degraded_hosts: true, consecutive_5xx: 2, interval: 0.2s, base_ejection_time: 60s, max_ejection_percent: 100}', a)
    await ask(t, 1)
    await count(t, 'membership_degraded', 1)
    a['h0'] = 500
    await ask(t, 2)
    await count(t, 'outlier_detection.ejections_active', 1)
    t.see('flags', await flags(t))
    t.see('json', await health_json(t))
    t.see('stats', await ejections(t))
    t.see('events', await outlier_events(t))


@case()
async def outlier_degraded_hosts_only_where_asked_for(t):
    a = {'h0': (200, 'h0', DEGRADED)}
    await ejectable(t, '{interval: 0.2s, max_ejection_percent: 100}', a)
    await ask(t, 2)
    await asyncio.sleep(0.2)
    t.see('flags', await flags(t))
    t.see('stats', await ejections(t))


@case()
async def outlier_degraded_hosts_and_checks(t):
    """A passing check does not end what answers said."""
    a = {'h0': (200, 'h0', DEGRADED)}
    await ejectable(t, '{detect_degraded_hosts: true, interval: 0.2s, base_ejection_time: 60s, max_ejection_percent: 100}', a, checks_of='{interval: 0.1s}')
    await ask(t, 1)
    await count(t, 'membership_degraded', 1)
    n = (await t.stats('cluster.c1.health_check.success'))['cluster.c1.health_check.success']
    await count(t, 'health_check.success', n + 3)
    t.see('flags', await flags(t))


@case()
async def outlier_ejections_of_hosts_that_go(t):
    """An ejected host that EDS takes away is no active ejection any more."""
    us = [await t.up('h0', lambda m, n: resp(500)), await t.up('h1')]
    def assignment(*ups):
        import yaml
        return yaml.safe_dump({'version_info': str(len(ups)), 'resources': [{'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': 'c1',
                                'endpoints': [{'lb_endpoints': [lbe(u) for u in ups]}]}]}, sort_keys=False)
    t.write('eds.yaml', assignment(*us))
    c = {'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': {'eds_config': {'path_config_source': {'path': t.path('eds.yaml')}}},
         'outlier_detection': Y('{consecutive_5xx: 1, interval: 10s, base_ejection_time: 60s, max_ejection_percent: 100}')}
    await t.start(simple(t, clusters=[c], extra='{node: {id: me, cluster: us}}'))
    await ask(t, 4)
    await count(t, 'outlier_detection.ejections_active', 1)
    t.move_in('eds.yaml', assignment(us[1]))
    t.see('gone', bool(await t.stat_until('cluster.c1.membership_total', lambda v: v == 1)))
    t.see('stats', await ejections(t))
    t.see('active', await t.stats('cluster.c1.outlier_detection.ejections_active'))


# ---- what becomes of connections

async def host_with_a_slow_path(t, s, name='h0'):
    async def f(m, n):
        if m['path'] == '/slow':
            await asyncio.sleep(1)
            return resp(200, 'late')
        return await s.respond(m, n)
    return await t.up(name, f)


for label, extra in {'by_default': '{}', 'and_asked_to_close': '{close_connections_on_host_health_failure: true}'}.items():
    @case('failed_host_loses_idle_connections_' + label)
    async def idle_of_failed(t, extra=extra):
        """Connections of a host that fails its checks are closed when nobody uses them; requests on them end well."""
        s = Script(h0=200)
        u = await host_with_a_slow_path(t, s)
        x = checks(t, HTTP, '{reuse_connection: false}', log=False)
        await t.start(simple(t, clusters=[cluster('c1', u, merge({'health_checks': [x]}, Y(extra)))]))
        await healthy(t, 1)
        await ask(t, 1)
        c = await t.conn()
        c.send(build('/slow'))
        await asyncio.sleep(0.1)
        await ask(t, 1)
        s.set('h0', 503)
        await healthy(t, 0)
        await asyncio.sleep(0.3)
        t.see('stats while it fails', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_active', 'cluster.c1.upstream_cx_destroy_local', 'cluster.c1.upstream_cx_destroy_local_with_active_rq'))
        r = await c.response(timeout=3)
        t.see('slow', [r['status'], r.get('err')])
        await asyncio.sleep(0.1)
        t.see('stats behind', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_active', 'cluster.c1.upstream_cx_destroy_local', 'cluster.c1.upstream_cx_destroy_local_with_active_rq'))


@case()
async def ejected_host_loses_idle_connections(t):
    a = {'h0': 200}
    await ejectable(t, '{consecutive_5xx: 1, interval: 10s, base_ejection_time: 60s, max_ejection_percent: 100}', a, log=False)
    await ask(t, 1)
    c = await t.conn()
    a['h0'] = 500
    await ask(t, 1)
    await count(t, 'outlier_detection.ejections_active', 1)
    await asyncio.sleep(0.3)
    t.see('stats', await t.stats('cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_active', 'cluster.c1.upstream_cx_destroy_local'))


for label, extra in {'by_default': '{}', 'and_asked_to_close': '{close_connections_on_host_health_failure: true}'}.items():
    @case('failed_host_and_tcp_' + label)
    async def tcp_of_failed(t, extra=extra):
        state = {'good': True}

        async def conn(c):
            while True:
                data = await c.r.read(100)
                if not data:
                    return
                if data.startswith(b'GET /hz'):
                    c.send(resp(200 if state['good'] else 503))
                else:
                    c.send(b'echo ' + data)
                await c.drain()
        u = await t.up('h0', conn=conn)
        x = checks(t, HTTP, '{reuse_connection: false}', log=False)
        proxy = {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 'tcp', 'cluster': 'c1'}}
        await t.start(config(t, [listener(t, [proxy])], [cluster('c1', u, merge({'health_checks': [x]}, Y(extra)))]))
        await healthy(t, 1)
        c = await t.conn()
        c.send(b'one')
        t.see('one', await c.exactly(8))
        state['good'] = False
        await healthy(t, 0)
        await asyncio.sleep(0.3)
        c.send(b'two')
        try:
            t.see('two', await asyncio.wait_for(c.exactly(8), 1))
        except Exception as e:
            t.see('two', type(e).__name__)
        t.see('stats', await t.stats('cluster.c1.upstream_cx_active', 'cluster.c1.upstream_cx_destroy_local', 'cluster.c1.upstream_cx_destroy_remote'))


# ---- several checks of one cluster

@case()
async def several_checks(t):
    s = Script(h0=[200, 200, 503, 503, 200])
    us = await checked(t, s, cx={'health_checks': [checks(t, HTTP, {'name': 'web', 'event_logger': sink(t)}), checks(t, '{tcp_health_check: {}}', {'name': 'port', 'event_logger': sink(t, 'tcp.log')})]})
    await t.stat_until('cluster.c1.health_check.name.web.success', lambda v: v >= 4)
    t.see('flags', await flags(t))
    t.see('names', sorted(await t.stats(regex=r'^cluster\.c1\.health_check\.')))
    t.see('gauges', await t.stats(regex=r'^cluster\.c1\.health_check\..*(healthy|degraded)$'))
    t.see('web', await events(t))
    t.see('port', await events(t, 'tcp.log'))


@case()
async def several_checks_of_which_one_fails(t):
    u = await t.up('h0', lambda m, n: resp(503 if m['path'] == '/b' else 200, '', [('x-envoy-degraded', '')] if m['path'] == '/a' else []))
    both = [checks(t, '{http_health_check: {path: /a}}', '{name: a}', log=False), checks(t, '{http_health_check: {path: /b}}', '{name: b}', log=False)]
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': both})]))
    await t.stat_until('cluster.c1.health_check.name.b.failure', lambda v: v >= 2)
    t.see('flags', await flags(t))
    t.see('json', await health_json(t))
    t.see('gauges', await t.stats(regex=r'^cluster\.c1\.health_check\..*(healthy|degraded)$'))
    _, text = await t.admin('/stats/prometheus?filter=health_check')
    t.see('prometheus', sorted(l.rpartition(' ')[0] for l in text.splitlines() if not l.startswith('#')))


# ---- over TLS

def tls_server(alpn=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(certs() + '/up.crt', certs() + '/up.key')
    if alpn:
        ctx.set_alpn_protocols(alpn)
    return ctx


def tls_socket(**common):
    return {'name': 'tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
                                            'sni': 'up.example', 'common_tls_context': common}}


async def agreed(seen, c):
    """An HTTP/1 host that notes what its handshakes agreed on."""
    seen.append(c.w.get_extra_info('ssl_object').selected_alpn_protocol() or '')
    while await c.read_request():
        c.send(resp(200))
        await c.drain()


@case()
async def tls_checks(t):
    """Checks shake hands as traffic does, and count as it."""
    u = await t.up('h0', tls=tls_server())
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, HTTP, log=False)], 'transport_socket': tls_socket()})]))
    t.see('healthy', await healthy(t, 1))
    await count(t, 'health_check.success', 2)
    t.see('request', u.reqs[0])
    t.see('ssl', await t.stats('cluster.c1.ssl.handshake', 'cluster.c1.ssl.connection_error'))
    t.see('served', (await t.req('/')).status)


@case()
async def tls_checks_of_a_plain_host(t):
    u = await t.up('h0')
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, HTTP)], 'transport_socket': tls_socket()})]))
    await count(t, 'health_check.network_failure', 2)
    t.see('flags', (await flags(t))[0].startswith('c1::'))
    t.see('events', (await events(t))[:1])


@case()
async def tls_checks_offer_what_they_are_told(t):
    seen = []
    u = await t.up('h0', conn=lambda c: agreed(seen, c), tls=tls_server(['two', 'one']))
    x = checks(t, HTTP, '{tls_options: {alpn_protocols: [one, two]}}', log=False)
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x], 'transport_socket': tls_socket(alpn_protocols=['one'])})]))
    t.see('healthy', await healthy(t, 1))
    t.see('check', seen[:1])
    await t.req('/')
    t.see('traffic', seen[1:])


@case()
async def tls_checks_by_criteria(t):
    """The criteria stand for the endpoint's metadata: checks go in the clear, traffic does not."""
    u, plain = await t.up('h0', tls=tls_server()), await t.up('hcport')
    matches = [{'name': 'clear', 'match': {'kind': 'clear'}, 'transport_socket': {'name': 'raw', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}}]
    x = checks(t, HTTP, '{transport_socket_match_criteria: {kind: clear}}', log=False)
    e = lbe(u, extra={'endpoint': {'health_check_config': {'port_value': plain.port}}})
    await t.start(simple(t, clusters=[cluster('c1', e, {'health_checks': [x], 'transport_socket': tls_socket(), 'transport_socket_matches': matches})]))
    t.see('healthy', await healthy(t, 1))
    t.see('served', (await t.req('/')).status)


@case()
async def tls_checks_over_http2(t):
    u = await t.h2up('h0', tls=tls_server(['h2']))
    x = checks(t, '{http_health_check: {path: /hz, codec_client_type: HTTP2}}', log=False)
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x], 'transport_socket': tls_socket(alpn_protocols=['h2'])}, h2=True)]))
    t.see('healthy', await healthy(t, 1))
    t.see('request', u.reqs[0])


for label, alpn in {'h2': ['h2'], 'http1': ['http/1.1'], 'none': None}.items():
    @case('tls_checks_speak_what_is_agreed_' + label)
    async def tls_agreed(t, label=label, alpn=alpn):
        u = await (t.h2up if label == 'h2' else t.up)('h0', tls=tls_server(alpn))
        x = checks(t, '{http_health_check: {path: /hz, use_alpn_protocol: true}}', log=False)
        await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [x], 'transport_socket': tls_socket(alpn_protocols=['h2', 'http/1.1'])})]))
        t.see('healthy', await healthy(t, 1))
        t.see('request', u.reqs[0])


@case()
async def tls_checks_by_grpc(t):
    u = await t.h2up('h0', grpc_host([says()]), tls=tls_server(['h2']))
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks(t, '{grpc_health_check: {}}', log=False)], 'transport_socket': tls_socket(alpn_protocols=['h2'])}, h2=True)]))
    t.see('healthy', await healthy(t, 1))
    t.see('request', u.reqs[0])


# ---- what configuration is refused, and what is not

H2 = {'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {'@type': T_HPO, 'explicit_http_config': {'http2_protocol_options': {}}}}}
SECURE = {'transport_socket': tls_socket()}

for label, (kind, cx) in {
    'grpc_over_http1': ('{grpc_health_check: {}}', {}), 'grpc_over_http2': ('{grpc_health_check: {}}', H2),
    'grpc_pseudo_header': ('{grpc_health_check: {initial_metadata: [{header: {key: ":path", value: a}}]}}', H2),
    'grpc_bad_authority': ('{grpc_health_check: {authority: "a\\nb"}}', H2),
    'body_of_get': ('{http_health_check: {path: /, send: {text: "00"}}}', {}),
    'body_of_delete': ('{http_health_check: {path: /, method: DELETE, send: {text: "00"}}}', {}),
    'body_of_options': ('{http_health_check: {path: /, method: OPTIONS, send: {text: "00"}}}', {}),
    'method_connect': ('{http_health_check: {path: /, method: CONNECT}}', {}),
    'receives_more_than_is_read': ('{http_health_check: {path: /, response_buffer_size: 1, receive: [{text: "0000"}]}}', {}),
    'statuses_upside_down': ('{http_health_check: {path: /, expected_statuses: [{start: 300, end: 200}]}}', {}),
    'statuses_below_100': ('{http_health_check: {path: /, expected_statuses: [{start: 99, end: 200}]}}', {}),
    'statuses_above_599': ('{http_health_check: {path: /, retriable_statuses: [{start: 500, end: 601}]}}', {}),
    'host_in_headers': ('{http_health_check: {path: /, request_headers_to_add: [{header: {key: host, value: a}}]}}', {}),
    'unknown_format': ('{http_health_check: {path: /, request_headers_to_add: [{header: {key: a, value: "%NONE%"}}]}}', {}),
    'alpn_without_tls': ('{http_health_check: {path: /, use_alpn_protocol: true}}', {}),
    'alpn_with_tls': ('{http_health_check: {path: /, use_alpn_protocol: true}}', SECURE),
    'odd_hex': ('{tcp_health_check: {send: {text: "0"}}}', {}), 'no_hex': ('{tcp_health_check: {send: {text: "zz"}}}', {}),
    'empty_hex': ('{tcp_health_check: {send: {text: ""}}}', {}),
    'no_checker': ('{}', {}), 'unknown_checker': ('{custom_health_check: {name: foo}}', {}),
    'alt_port': ('{http_health_check: {path: /}, alt_port: 1}', {}),
    'sink_without_a_path': ('{tcp_health_check: {}, event_logger: [{name: a, typed_config: {"@type": %s}}]}' % FILE_SINK, {}),
    'sink_in_no_folder': ('{tcp_health_check: {}, event_logger: [{name: a, typed_config: {"@type": %s, event_log_path: /no/such/x}}]}' % FILE_SINK, {}),
}.items():
    @case('config_' + label)
    async def config_of_checks(t, kind=kind, cx=cx):
        c = cluster('c1', t.dead(), merge({'health_checks': [checks(t, kind, log=False)]}, json.loads(json.dumps(cx))))
        import yaml
        path = t.write('v.yaml', yaml.safe_dump(simple(t, clusters=[c])))
        p = await asyncio.create_subprocess_exec(t.binary, '--mode', 'validate', '-c', path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        t.see('refused', await asyncio.wait_for(p.wait(), 10) != 0)


@case()
async def config_of_several_checks(t):
    import yaml
    a, b = checks(t, '{tcp_health_check: {}}', log=False), checks(t, '{tcp_health_check: {}}', log=False)
    out = {}
    for label, names in {'no names': (None, None), 'one name': ('a', None), 'equal': ('a', 'a'), 'two': ('a', 'b')}.items():
        both = [{**x, **({'name': n} if n else {})} for x, n in zip((a, b), names)]
        path = t.write('v.yaml', yaml.safe_dump(simple(t, clusters=[cluster('c1', t.dead(), {'health_checks': both})])))
        p = await asyncio.create_subprocess_exec(t.binary, '--mode', 'validate', '-c', path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        out[label] = await asyncio.wait_for(p.wait(), 10) != 0
    t.see('refused', out)


@case()
async def check_of_alt_port_asks_the_endpoint(t):
    """`alt_port` is read nowhere."""
    a, b = await t.up('h0'), await t.up('hcport')
    await t.start(simple(t, clusters=[cluster('c1', a, {'health_checks': [checks(t, HTTP, {'alt_port': b.port}, log=False)]})]))
    await healthy(t, 1)
    t.see('asked', [bool(a.reqs), bool(b.reqs)])


@case()
async def connections_of_all_clusters_are_bound(t):
    """`cluster_manager.upstream_bind_config` holds where a cluster has none of its own, for checks too."""
    peers = {'h0': set(), 'h1': set()}

    async def conn(c):
        peers[c.up.name].add(c.w.get_extra_info('peername')[0])
        while await c.read_request():
            c.send(resp(200))
            await c.drain()
    a, b = await t.up('h0', conn=conn), await t.up('h1', conn=conn)
    own = {'upstream_bind_config': {'source_address': {'address': '127.0.0.3', 'port_value': 0}}}
    routes = '[{match: {prefix: /b}, route: {cluster: c2}}, {match: {prefix: /}, route: {cluster: c1}}]'
    await t.start(simple(t, clusters=[cluster('c1', a, {'health_checks': [checks(t, HTTP, log=False)]}), cluster('c2', b, own)], routes=routes,
                         extra='{cluster_manager: {upstream_bind_config: {source_address: {address: 127.0.0.2, port_value: 0}}}}'))
    await t.req('/a')
    await t.req('/b')
    t.see('from', {k: sorted(v) for k, v in peers.items()})


# ---- all that is shown

@case()
async def names_of_busy_clusters(t):
    """The names of all stats, and what /clusters says but for its numbers, of two clusters that use what there is to count."""
    u, v = await t.up('h0'), await t.h2up('h1', lambda s: says()(s) if 'Health' in s.h(':path') else plain_answer(s))
    busy = '{interval: 0.2s, no_traffic_interval: 0.2s, timeout: 1s}'
    one = cluster('c1', u, {'health_checks': [checks(t, HTTP, busy, log=False)], **Y('''{alt_stat_name: other.name, outlier_detection: {},
        track_cluster_stats: {timeout_budgets: true, request_response_sizes: true, per_endpoint_stats: true},
        circuit_breakers: {thresholds: [{track_remaining: true, retry_budget: {}}]}, lb_subset_config: {subset_selectors: [{keys: [a]}]}}''')})
    two = cluster('c2', v, {'health_checks': [checks(t, '{grpc_health_check: {}}', busy, log=False)], **Y('{outlier_detection: {detect_degraded_hosts: true}, track_timeout_budgets: true}')}, h2=True)
    await t.start(simple(t, clusters=[one, two], routes='[{match: {prefix: /b}, route: {cluster: c2}}, {match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx}}}]'))
    for _ in range(3):
        await t.req('/a')
        await t.req('/b')
    await asyncio.sleep(0.4)
    _, text = await t.admin('/stats')
    t.see('text', sorted(re.sub(r'127\.0\.0\.1_\d+', '<host>', l.partition(': ')[0]) for l in text.splitlines() if l.startswith('cluster.')))
    _, text = await t.admin('/stats/prometheus')
    t.see('prometheus', sorted({l.partition('{')[0] for l in text.splitlines() if l.startswith('envoy_cluster_') and not l.startswith('envoy_cluster_manager')}))
    _, text = await t.admin('/clusters')
    t.see('clusters', sorted(l.rpartition('::')[0] for l in text.splitlines()))


async def plain_answer(s):
    s.respond(200, end=True)


@case()
async def flags_of_hosts_that_wait_for_their_first_check(t):
    """A host that comes later does not count before its first check; one that goes stays as long as it is well."""
    import yaml
    s = Script(h0=200, h1='hang')
    us = [await t.up(n, s.respond) for n in ('h0', 'h1')]

    def assignment(*ups):
        return yaml.safe_dump({'version_info': str(ups), 'resources': [{'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': 'c1',
                               'endpoints': [{'lb_endpoints': [lbe(u) for u in ups]}]}]}, sort_keys=False)
    t.write('eds.yaml', assignment(us[0]))
    c = {'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': {'eds_config': {'path_config_source': {'path': t.path('eds.yaml')}}},
         'health_checks': [checks(t, HTTP, '{timeout: 3s}', log=False)], 'common_lb_config': {'ignore_new_hosts_until_first_hc': True}}
    await t.start(simple(t, clusters=[c], extra='{node: {id: me, cluster: us}}'))
    await healthy(t, 1)
    t.move_in('eds.yaml', assignment(*us))
    await t.stat_until('cluster.c1.membership_total', lambda v: v == 2)
    t.see('new', await flags(t))
    t.see('new json', await health_json(t))
    t.see('gauges', await t.stats(regex=r'^cluster\.c1\.membership_(healthy|degraded|excluded|total)$'))
    t.move_in('eds.yaml', assignment(us[1]))

    async def going():
        return any('pending_dynamic_removal' in l for l in await flags(t))
    await t.until(going)
    t.see('going', sorted(await flags(t)))
    t.see('going json', sorted(json.dumps(h, sort_keys=True) for h in await health_json(t)))


@case()
async def canary_hosts_are_called_so(t):
    u = await t.up('h0')
    await t.start(simple(t, clusters=[cluster('c1', lbe(u, extra='{metadata: {filter_metadata: {envoy.lb: {canary: true}}}}'))]))
    t.see('lines', await flags(t, ('canary', 'hostname', 'weight')))
