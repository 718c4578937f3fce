"""Aggregate clusters: the priorities of other clusters, one after another."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%'
T_AGG = 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig'


def agg(members, name='c1', extra=None):
    return merge({'name': name, 'connect_timeout': '1s', 'lb_policy': 'CLUSTER_PROVIDED', 'cluster_type': {'name': 'envoy.clusters.aggregate', 'typed_config': {'@type': T_AGG, 'clusters': members}}}, Y(extra) or {})


def sick(u):
    return lbe(u, health_status='UNHEALTHY')


def which(t):
    return t.stats(regex=r'cluster\.c[1ab]\.(upstream_rq_(200|503|5xx|2xx|total|completed|retry.*|timeout|pending_total|active)|upstream_cx_(total|none_healthy)|lb_healthy_panic|external\.upstream_rq_.*|membership_.*|retry\.upstream_rq.*|circuit_breakers\.default\.rq_retry_open)$')


async def refused(t, *cs):
    code, _ = await t.run_to_end(simple(t, clusters=list(cs)), args=('--mode', 'validate'))
    return code


@case()
async def aggregate_first_healthy_cluster(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(simple(t, clusters=[agg(['ca', 'cb']), cluster('ca', a), cluster('cb', b)], log=LOG))
    t.see('r', [(await t.req('/')).h('x-up') for _ in range(3)])
    t.see('stats', await which(t))
    t.see('log', await t.logs())


@case()
async def aggregate_falls_back(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(simple(t, clusters=[agg(['ca', 'cb']), cluster('ca', [sick(a)]), cluster('cb', b)], log=LOG))
    t.see('r', [(await t.req('/')).h('x-up') for _ in range(3)])
    t.see('stats', await which(t))
    t.see('log', await t.logs())


@case()
async def aggregate_priorities_of_members(t):
    """ca's second priority comes before cb."""
    us = [await t.up(n) for n in 'abc']
    ca = cluster('ca', localities=[{'lb_endpoints': [sick(us[0])]}, {'priority': 1, 'lb_endpoints': [lbe(us[1])]}])
    await t.start(simple(t, clusters=[agg(['ca', 'cb']), ca, cluster('cb', us[2])], log=LOG))
    t.see('r', [(await t.req('/')).h('x-up') for _ in range(3)])
    t.see('log', await t.logs())


@case()
async def aggregate_partly_healthy_spills(t):
    us = [await t.up('h%d' % i) for i in range(4)]
    await t.start(simple(t, clusters=[agg(['ca', 'cb']), cluster('ca', [lbe(us[0]), sick(us[1]), sick(us[2])], '{common_lb_config: {healthy_panic_threshold: {value: 0}}}'), cluster('cb', us[3])]))
    got = [(await t.req('/')).h('x-up') for _ in range(200)]
    share = got.count('h0') / len(got)
    t.see('share', 0.32 < share < 0.62)
    t.see('others', sorted(set(got)))


@case()
async def aggregate_all_unhealthy(t):
    """Every member in panic: hosts get requests all the same."""
    a, b = await t.up('a'), await t.up('b')
    await t.start(simple(t, clusters=[agg(['ca', 'cb']), cluster('ca', [sick(a)]), cluster('cb', [sick(b)])], log='%RESPONSE_CODE% %RESPONSE_FLAGS%'))
    got = [(await t.req('/')).h('x-up') for _ in range(40)]
    t.see('r', sorted(set(got)))
    t.see('panic', {k: v > 0 for k, v in (await t.stats('cluster.ca.lb_healthy_panic', 'cluster.cb.lb_healthy_panic', 'cluster.c1.lb_healthy_panic')).items()})


@case()
async def aggregate_all_unhealthy_without_panic(t):
    a, b = await t.up('a'), await t.up('b')
    no = '{common_lb_config: {healthy_panic_threshold: {value: 0}}}'
    await t.start(simple(t, clusters=[agg(['ca', 'cb'], extra=no), cluster('ca', [sick(a)], no), cluster('cb', [sick(b)], no)], log=LOG))
    t.see('r', await t.req('/'))
    t.see('stats', await which(t))
    t.see('log', await t.logs())


@case()
async def aggregate_member_panic_off_alone(t):
    a, b = await t.up('a'), await t.up('b')
    no = '{common_lb_config: {healthy_panic_threshold: {value: 0}}}'
    await t.start(simple(t, clusters=[agg(['ca', 'cb'], extra=no), cluster('ca', [sick(a)]), cluster('cb', [sick(b)])], log=LOG))
    t.see('r', (await t.req('/')).status)
    t.see('stats', await which(t))
    t.see('log', await t.logs())


@case()
async def aggregate_without_hosts(t):
    await t.start(simple(t, clusters=[agg(['ca', 'cb']), cluster('ca', []), cluster('cb', [])], log=LOG))
    t.see('r', await t.req('/'))
    t.see('stats', await which(t))
    t.see('log', await t.logs())


@case()
async def aggregate_unknown_member(t):
    b = await t.up('b')
    await t.start(simple(t, clusters=[agg(['nobody', 'cb']), cluster('cb', b)], log=LOG))
    t.see('r', await t.req('/'))
    t.see('log', await t.logs())


@case()
async def aggregate_same_member_twice(t):
    b = await t.up('b')
    await t.start(simple(t, clusters=[agg(['cb', 'cb']), cluster('cb', b)], log=LOG))
    t.see('r', await t.req('/'))


@case()
async def aggregate_of_aggregates(t):
    a, b = await t.up('a'), await t.up('b')
    await t.start(simple(t, clusters=[agg(['inner', 'cb']), agg(['ca'], 'inner'), cluster('ca', a), cluster('cb', b)], log=LOG))
    t.see('r', await t.req('/'))
    t.see('stats', await t.stats('cluster.inner.upstream_rq_total', 'cluster.ca.upstream_rq_total', 'cluster.cb.upstream_rq_total', 'cluster.inner.membership_total'))
    t.see('log', await t.logs())


@case()
async def aggregate_of_itself(t):
    b = await t.up('b')
    t.see('exit', await refused(t, agg(['c1', 'cb']), cluster('cb', b)))


@case()
async def aggregate_connect_failure_retries_on_next_priority(t):
    d, b = t.dead('d'), await t.up('b')
    rp = '{retry_on: connect-failure, num_retries: 3, retry_priority: {name: envoy.retry_priorities.previous_priorities, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 1}}}'
    await t.start(simple(t, clusters=[agg(['ca', 'cb']), cluster('ca', d), cluster('cb', b)], routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: %s}}]' % rp, log=LOG))
    t.see('r', await t.req('/'))
    t.see('stats', await which(t))
    t.see('log', await t.logs())


@case()
async def aggregate_retries_stay_with_the_first(t):
    d, b = t.dead('d'), await t.up('b')
    await t.start(simple(t, clusters=[agg(['ca', 'cb']), cluster('ca', d), cluster('cb', b)], routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: connect-failure, num_retries: 2}}}]', log=LOG))
    t.see('r', (await t.req('/')).status)
    t.see('stats', await which(t))
    t.see('log', await t.logs())


@case()
async def aggregate_retry_breaker_of_whom(t):
    a, b = await t.up('a', lambda m, n: resp(503, 'no')), await t.up('b')
    none = '{circuit_breakers: {thresholds: [{max_retries: 0}]}}'
    routes = '[{match: {prefix: /x}, route: {cluster: c2, retry_policy: {retry_on: 5xx}}}, {match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx}}}]'
    await t.start(simple(t, clusters=[agg(['ca'], extra=none), cluster('ca', a), agg(['cb'], 'c2'), cluster('cb', a, none)], routes=routes, log=LOG))
    t.see('own', (await t.req('/')).status)
    t.see('member', (await t.req('/x')).status)
    t.see('stats', await t.stats(regex=r'cluster\.c[12ab]\.upstream_rq_retry(_overflow|_limit_exceeded)?$'))
    t.see('log', await t.logs())


@case()
async def aggregate_request_breaker_of_whom(t):
    a = await t.up('a')
    none = '{circuit_breakers: {thresholds: [{max_requests: 0}]}}'
    routes = '[{match: {prefix: /x}, route: {cluster: c2}}, {match: {prefix: /}, route: {cluster: c1}}]'
    await t.start(simple(t, clusters=[agg(['ca'], extra=none), cluster('ca', a), agg(['cb'], 'c2'), cluster('cb', a, none)], routes=routes, log=LOG))
    t.see('own', (await t.req('/')).status)
    t.see('member', (await t.req('/x')).status)
    t.see('stats', await t.stats(regex=r'cluster\.c[12ab]\.upstream_rq_(pending|active)_overflow$'))
    t.see('log', await t.logs())


@case()
async def aggregate_protocol_is_the_members(t):
    a = await t.h2up('a')
    await t.start(simple(t, clusters=[agg(['ca']), cluster('ca', a, h2=True)], log='%RESPONSE_CODE% %UPSTREAM_PROTOCOL%'))
    t.see('r', (await t.req('/')).status)
    t.see('log', await t.logs())


@case()
async def aggregate_hash_of_the_member(t):
    us = [await t.up('h%d' % i) for i in range(4)]
    await t.start(simple(t, clusters=[agg(['ca']), cluster('ca', us, '{lb_policy: RING_HASH}')], routes='[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: k}}]}}]'))
    t.see('alike', all([len({(await t.req('/', headers=[('k', str(i))])).h('x-up') for _ in range(4)}) == 1 for i in range(4)]))


@case()
async def aggregate_timeouts_are_its_own(t):
    """max_stream_duration and metadata are those of the aggregate."""
    a = await t.up('a', delay=1)
    hpo = '{typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, common_http_protocol_options: {max_stream_duration: 0.2s}, explicit_http_config: {http_protocol_options: {}}}}}'
    routes = '[{match: {prefix: /x}, route: {cluster: c2}}, {match: {prefix: /}, route: {cluster: c1}}]'
    await t.start(simple(t, clusters=[agg(['ca'], extra=hpo), cluster('ca', a), agg(['cb'], 'c2'), cluster('cb', a, hpo)], routes=routes, log='%RESPONSE_CODE% %RESPONSE_FLAGS%'))
    t.see('own', (await t.req('/')).status)
    t.see('member', (await t.req('/x')).status)


@case()
async def aggregate_member_metadata_and_names(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[agg(['ca'], extra='{alt_stat_name: other, metadata: {filter_metadata: {m: {k: agg}}}}'), cluster('ca', a, '{metadata: {filter_metadata: {m: {k: member}}}}')], log='%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %CLUSTER_METADATA(m:k)%'))
    await t.req('/')
    t.see('log', await t.logs())


@case()
async def aggregate_by_tcp_proxy(t):
    a, b = await t.up('a'), await t.up('b')
    f = {'name': 'tcp', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 't', 'cluster': 'c1', 'access_log': [filelog(t, '%RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER%')]}}
    await t.start(config(t, [listener(t, [f])], [agg(['ca', 'cb']), cluster('ca', [sick(a)]), cluster('cb', b)]))
    t.see('r', await t.req('/'))
    t.see('stats', await which(t))
    t.see('log', await t.logs())


@case()
async def aggregate_admin_clusters(t):
    a = await t.up('a')
    await t.start(simple(t, clusters=[agg(['ca']), cluster('ca', a)]))
    await t.req('/')
    _, b = await t.admin('/clusters')
    t.see('lines', sorted(t.mask(l) for l in b.splitlines() if l.startswith('c1::')))


@case()
async def aggregate_active_checks_move_it(t):
    """The first member's host fails its checks: the second takes over."""
    a, b = await t.up('a', lambda m, n: resp(503 if m['path'] == '/hc' else 200, 'a', [('x-up', 'a')])), await t.up('b')
    hc = '{health_checks: [{timeout: 1s, interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /hc}}]}'
    await t.start(simple(t, clusters=[agg(['ca', 'cb']), cluster('ca', a, hc), cluster('cb', b)]))
    t.see('moved', bool(await t.until(lambda: is_b(t))))


async def is_b(t):
    return (await t.req('/')).h('x-up') == 'b'


@case()
async def aggregate_refused_configurations(t):
    b = await t.up('b')
    ca = cluster('ca', b)
    t.see('exit', {
        'ok': await refused(t, agg(['ca']), ca),
        'none': await refused(t, agg([]), ca),
        'round_robin': await refused(t, agg(['ca'], extra='{lb_policy: ROUND_ROBIN}'), ca),
        'type_too': await refused(t, {**agg(['ca']), 'type': 'STATIC'}, ca),
        'assignment': await refused(t, agg(['ca'], extra='{load_assignment: {cluster_name: c1}}'), ca),
        'no_config': await refused(t, agg(['ca'], extra=None) | {'cluster_type': {'name': 'envoy.clusters.aggregate'}}, ca),
        'other_name': await refused(t, agg(['ca']) | {'cluster_type': {'name': 'x', 'typed_config': {'@type': T_AGG, 'clusters': ['ca']}}}, ca),
        'unknown_name': await refused(t, agg(['ca']) | {'cluster_type': {'name': 'x'}}, ca),
        'health_checks': await refused(t, agg(['ca'], extra='{health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]}'), ca),
    })
