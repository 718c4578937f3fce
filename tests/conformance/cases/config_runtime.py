"""Runtime keys: which are taken, and what those do that no field names."""
from harness import *

LAYERS = '{layered_runtime: {layers: [{name: base, static_layer: %s}]}}'


async def verdicts(t, layers):
    out = {}
    for layer in layers:
        code, _ = await t.run_to_end((LAYERS % layer)[1:-1] + '\n', args=('--mode', 'validate'))
        out[layer] = code
    t.see('verdicts', out)


@case()
async def runtime_keys_that_are_taken(t):
    await verdicts(t, [
        '{my.own: 1}', '{my.own: yes}', '{my.own: text}', '{my.own: {deeper: {still: 1.5}}}', '{my.own: {numerator: 5, denominator: MILLION}}',
        '{envoy.something.made.up: text}', '{envoy: {something: {made: 1}}}', '{envoy.reloadable_features.gone_long_ago: true}',
        '{envoy.reloadable_features.gone_long_ago: text}', '{envoy.restart_features.gone_long_ago: false}',
        '{envoy.reloadable_features.http_reject_path_with_fragment: true}', '{envoy.reloadable_features.http_reject_path_with_fragment: "TRUE"}',
        '{envoy.reloadable_features.test_feature_false: true}', '{envoy.reloadable_features.quic_reject_all: true}',
        '{envoy.features.enable_all_deprecated_features: true}',
        '{"envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst": true}',
        '{upstream.healthy_panic_threshold: 0}', '{upstream.healthy_panic_threshold: text}', '{outlier_detection.consecutive_5xx: 1}',
        '{health_check.min_interval: 5}', '{overload.premature_reset_total_stream_count: 5}', '{http.max_requests_per_io_cycle: 1}', '{}'])


@case()
async def runtime_keys_that_are_refused(t):
    await verdicts(t, ['{a: null}', '{a: [1]}', '{a: []}', '{a: {b: null}}', '{a: {b: [x]}}'])


async def panics(t, extra, layer):
    """One of three hosts is healthy; who answers six requests."""
    async def f(m, k):
        if m['path'] == '/hz':
            return resp(200 if m['up'] == 'h0' else 503, '')
        return resp(200, m['up'], [('x-up', m['up'])])
    us = [await t.up('h%d' % i, f) for i in range(3)]
    checks = Y('{timeout: 1s, interval: 60s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /hz}}')
    c = cluster('c1', us, merge({'health_checks': [checks]}, extra))
    await t.start(simple(t, clusters=[c], extra=LAYERS % layer))
    seen = set()
    for _ in range(6):
        seen.add((await t.req('/')).h('x-up'))
    t.see('answered', sorted(seen))
    t.see('panic', await t.stats('cluster.c1.lb_healthy_panic'))


@case()
async def runtime_panic_threshold_off(t):
    await panics(t, {}, '{upstream.healthy_panic_threshold: 0}')


@case()
async def runtime_panic_threshold_over_the_field(t):
    await panics(t, {'common_lb_config': {'healthy_panic_threshold': {'value': 10}}}, '{upstream.healthy_panic_threshold: 90}')


@case()
async def runtime_panic_threshold_that_is_no_number(t):
    await panics(t, {'common_lb_config': {'healthy_panic_threshold': {'value': 10}}}, '{upstream.healthy_panic_threshold: text}')


async def ejects(t, layer, n=3, detection='{base_ejection_time: 60s, max_ejection_percent: 100}'):
    async def f(m, k):
        return resp(503, '')
    us = [await t.up('h%d' % i, f) for i in range(2)]
    c = cluster('c1', us, {'outlier_detection': Y(detection)})
    await t.start(simple(t, clusters=[c], extra=LAYERS % layer))
    for _ in range(n):
        await t.req('/')
    t.see('stats', await t.stats(regex=r'^cluster\.c1\.outlier_detection\.(ejections_(active|enforced_total|total|overflow|detected_consecutive_(5xx|gateway_failure))|ejections_enforced_consecutive_(5xx|gateway_failure))$', settle=0.1))


@case()
async def runtime_outlier_consecutive_5xx(t):
    await ejects(t, '{outlier_detection.consecutive_5xx: 1, outlier_detection.consecutive_gateway_failure: 100}', n=2)


@case()
async def runtime_outlier_not_enforced(t):
    await ejects(t, '{outlier_detection: {consecutive_5xx: 1, consecutive_gateway_failure: 100, enforcing_consecutive_5xx: 0}}', n=2)


@case()
async def runtime_outlier_max_ejection_percent(t):
    await ejects(t, '{outlier_detection: {consecutive_5xx: 1, consecutive_gateway_failure: 100, max_ejection_percent: 50}}', n=4)


@case()
async def runtime_outlier_consecutive_gateway_failure_is_enforced(t):
    await ejects(t, '{outlier_detection: {consecutive_gateway_failure: 1, enforcing_consecutive_gateway_failure: 100}}', n=2)


@case()
async def runtime_outlier_key_changed_by_admin(t):
    async def f(m, k):
        return resp(503, '')
    u = await t.up('u1', f)
    c = cluster('c1', u, {'outlier_detection': Y('{base_ejection_time: 60s, max_ejection_percent: 100, consecutive_gateway_failure: 100}')})
    await t.start(simple(t, clusters=[c], extra='{layered_runtime: {layers: [{name: a, admin_layer: {}}]}}'))
    await t.req('/')
    await t.req('/')
    t.see('changed', (await t.admin('/runtime_modify?outlier_detection.consecutive_5xx=3', method='POST')))
    await t.req('/')
    t.see('stats', await t.stats(regex=r'^cluster\.c1\.outlier_detection\.ejections_(active|enforced_total)$', settle=0.1))


@case()
async def runtime_health_check_interval_is_bounded(t):
    """Checks would come once a minute; the key makes them come often."""
    checked = []

    async def f(m, k):
        if m['path'] == '/hz':
            checked.append(k)
        return resp(200, '')
    u = await t.up('u1', f)
    checks = Y('{timeout: 1s, interval: 60s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /hz}}')
    await t.start(simple(t, clusters=[cluster('c1', u, {'health_checks': [checks]})], extra=LAYERS % '{health_check.max_interval: 50}'))
    t.see('several', await t.until(lambda: len(checked) > 3))
