"""client_side_weighted_round_robin and wrr_locality: weights by the load reports (ORCA) that hosts send with their answers."""
import base64
import struct

from harness import *

LB = 'type.googleapis.com/envoy.extensions.load_balancing_policies.'
QUICK = {'blackout_period': '0s', 'weight_update_period': '0.1s'}
# A few periods of updates.
SETTLED = 0.35
REPORT = 'endpoint-load-metrics'


def policies(*all):
    return {'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': name, 'typed_config': {'@type': LB + kind, **config}}} for name, kind, config in all]}}


def by_reports(**config):
    return ('cs', 'client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin', {**QUICK, **config})


def text(rps, utilization, **more):
    return 'TEXT ' + ','.join(['rps_fractional=%s' % rps, 'application_utilization=%s' % utilization] + ['%s=%s' % kv for kv in more.items()])


def double(field, value):
    return bytes([field << 3 | 1]) + struct.pack('<d', value)


def entry(field, key, value):
    inner = b'\x0a' + bytes([len(key)]) + key.encode() + double(2, value)
    return bytes([field << 3 | 2, len(inner)]) + inner


async def reporting(t, headers, config=None, n=6, weights=None, extra=None, policy=None, zones=None, priorities=None, trailers=None, filters=()):
    """Hosts that answer with these headers, each a list of pairs; so many requests go to them."""
    all = []
    for i, own in enumerate(headers):
        def respond(m, n, own=own, i=i):
            name = 'h%d' % i
            if trailers is None:
                return resp(200, name, [('x-up', name), *own])
            return resp(200, b'', [('x-up', name), ('transfer-encoding', 'chunked'), *own], cl=False) + chunk(name.encode(), trailers=trailers[i])
        host = lbe(await t.up('h%d' % i, respond))
        if weights:
            host['load_balancing_weight'] = weights[i]
        all.append(host)
    balancing = policies(policy or by_reports(**(config or {})))
    merge(balancing, extra or {})
    if zones:
        localities = [{'locality': {'zone': zone}, 'load_balancing_weight': weight, 'lb_endpoints': [all[i] for i in of]} for zone, weight, of in zones]
    elif priorities:
        localities = [{'priority': p, 'lb_endpoints': [all[i] for i in of]} for p, of in enumerate(priorities)]
    else:
        localities = [{'lb_endpoints': all}]
    await t.start(simple(t, clusters=[cluster('c1', localities=localities, extra=balancing)], filters=filters))
    return await ask(t, n)


async def ask(t, n, **kw):
    c = await t.conn()
    return [(await t.req('/', conn=c, **kw)).h('x-up') for _ in range(n)]


async def weights_now(t):
    """The hosts' weights as `/clusters` tells them, in the order of the hosts."""
    _, body = await t.admin('/clusters')
    found = dict(line.split('::weight::') for line in body.splitlines() if '::weight::' in line)
    return [int(found['c1::127.0.0.1:%d' % u.port]) for u in t.ups]


async def weigh(t, wanted):
    return await weights_now(t) == wanted


async def settled(t):
    await t.pass_time(SETTLED)
    return await weights_now(t)


def one(name, value, header=REPORT, **config):
    """What a host weighs that reports this; the other one reports a weight of 7."""
    @case('orca_' + name)
    async def _(t):
        await reporting(t, [[(header, value)], [(REPORT, text(7, 1))]], config)
        t.see('weights', await settled(t))


one('text', text(100, 0.5))
one('text_of_cpu', 'TEXT cpu_utilization=0.5,rps_fractional=100')
one('text_of_mem_alone', 'TEXT mem_utilization=0.5,rps_fractional=100')
one('text_with_colons', 'TEXT cpu_utilization:0.5,rps_fractional:100')
one('text_with_blanks', 'TEXT  cpu_utilization = 0.5 , rps_fractional = 100 ')
one('text_blanks_behind_commas', 'TEXT cpu_utilization=0.5, rps_fractional=100')
one('text_without_utilization', 'TEXT rps_fractional=100')
one('text_without_rps', 'TEXT application_utilization=0.5')
one('text_unknown_metric', text(100, 0.5, other='1'))
one('text_named_metric', 'TEXT rps_fractional=100,cpu_utilization=0.5,named_metrics.foo=0.25')
one('text_named_metric_without_name', text(100, 0.5, **{'named_metrics.': '1'}))
one('text_twice', 'TEXT rps_fractional=100,application_utilization=0.5,rps_fractional=300')
one('text_not_a_number', 'TEXT rps_fractional=many,application_utilization=0.5')
one('text_nan', 'TEXT rps_fractional=nan,application_utilization=0.5')
one('text_infinite', 'TEXT rps_fractional=inf,application_utilization=0.5')
one('text_negative', 'TEXT rps_fractional=100,application_utilization=-0.5,cpu_utilization=0.25')
one('text_negative_rps', 'TEXT rps_fractional=-100,application_utilization=0.5')
one('text_exponent', 'TEXT rps_fractional=1e2,application_utilization=5e-1')
one('text_without_value', 'TEXT rps_fractional=,application_utilization=0.5')
one('text_without_name', 'TEXT =5,rps_fractional=100,application_utilization=0.5')
one('text_empty_items', 'TEXT rps_fractional=100,,application_utilization=0.5,')
one('text_old_rps', 'TEXT rps=100,application_utilization=0.5')
one('text_above_one', text(100, 2.5))
one('text_lower_case_prefix', 'text rps_fractional=100,application_utilization=0.5')
one('without_prefix', 'rps_fractional=100,application_utilization=0.5')
one('unknown_prefix', 'XML rps_fractional=100,application_utilization=0.5')
one('empty', '')
one('prefix_alone', 'TEXT')
one('json', 'JSON {"rps_fractional": 100, "application_utilization": 0.5}')
one('json_camel_case', 'JSON {"rpsFractional": 100, "applicationUtilization": 0.5}')
one('json_numbers_in_text', 'JSON {"rps_fractional": "100", "application_utilization": "0.5"}')
one('json_unknown_field', 'JSON {"rps_fractional": 100, "application_utilization": 0.5, "other": 1}')
one('json_garbled', 'JSON {"rps_fractional": 100')
one('json_maps', 'JSON {"rps_fractional": 100, "cpu_utilization": 0.5, "named_metrics": {"foo": 0.25}, "utilization": {"bar": 0.2}, "request_cost": {"baz": 0.1}}', metric_names_for_computing_utilization=['utilization.bar'])
one('json_whole_rps', 'JSON {"rps": 100, "application_utilization": 0.5}')
one('bin', 'BIN ' + base64.b64encode(double(6, 100) + double(9, 0.5)).decode())
one('bin_header', base64.b64encode(double(6, 100) + double(9, 0.5)).decode(), REPORT + '-bin')
one('bin_header_without_padding', base64.b64encode(double(6, 100) + double(9, 0.5)).decode().rstrip('='), REPORT + '-bin')
one('bin_header_with_padding', base64.b64encode(double(6, 100) + double(9, 0.5) + double(1, 0.3) + double(2, 0.1)).decode(), REPORT + '-bin')
one('bin_header_garbled', '!!!', REPORT + '-bin')
one('bin_header_of_something_else', base64.b64encode(b'\xff\xff\xff').decode(), REPORT + '-bin')
one('bin_header_with_unknown_fields', base64.b64encode(double(6, 100) + double(9, 0.5) + double(15, 1)).decode(), REPORT + '-bin')
one('bin_header_with_a_prefix', 'BIN ' + base64.b64encode(double(6, 100) + double(9, 0.5)).decode(), REPORT + '-bin')

one('text_negative_beside_what_counts', 'TEXT rps_fractional=100,cpu_utilization=-0.5,application_utilization=0.5')
one('text_negative_errors', 'TEXT rps_fractional=100,eps=-5,application_utilization=0.5', error_utilization_penalty=1)
one('text_mem_above_one', 'TEXT rps_fractional=100,mem_utilization=1.5,application_utilization=0.5')
one('text_prefix_and_two_blanks', 'TEXT  rps_fractional=100,application_utilization=0.5')
one('text_blank_before_the_sign', 'TEXT rps_fractional =100,application_utilization=0.5')
one('text_blank_behind_the_sign', 'TEXT rps_fractional= 100,application_utilization=0.5')
one('text_sign_in_the_value', 'TEXT rps_fractional=100=5,application_utilization=0.5')
one('text_named_metric_with_a_colon', 'TEXT rps_fractional=100,named_metrics.a:b=5,application_utilization=0.5')
one('text_plus', 'TEXT rps_fractional=+100,application_utilization=.5')
one('text_named_metric_twice', 'TEXT rps_fractional=100,application_utilization=0.5,named_metrics.a=1,named_metrics.a=2')
one('text_upper_case_name', 'TEXT RPS_FRACTIONAL=100,application_utilization=0.5')
one('text_utilization_map', 'TEXT rps_fractional=100,application_utilization=0.5,utilization.foo=0.25')
one('json_negative', 'JSON {"rps_fractional": 100, "application_utilization": -0.5, "cpu_utilization": 0.25}')
one('json_null', 'JSON {"rps_fractional": 100, "application_utilization": 0.5, "eps": null}')
one('json_nan', 'JSON {"rps_fractional": 100, "application_utilization": 0.5, "cpu_utilization": "NaN"}')
one('json_nan_rps', 'JSON {"rps_fractional": "NaN", "application_utilization": 0.5}')
one('json_infinite_rps', 'JSON {"rps_fractional": "Infinity", "application_utilization": 0.5}')
one('text_request_cost', 'TEXT rps_fractional=100,application_utilization=0.5,request_cost.foo=0.25')
one('text_utilization_without_name', 'TEXT rps_fractional=100,application_utilization=0.5,utilization.=0.25')
one('text_utilization_above_one', 'TEXT rps_fractional=100,application_utilization=0.5,utilization.foo=25', metric_names_for_computing_utilization=['utilization.foo'])
one('text_whole_rps_beside', 'TEXT rps=5,rps_fractional=100,application_utilization=0.5')
one('json_list', 'JSON [100]')
one('json_twice', 'JSON {"rps_fractional": 100, "application_utilization": 0.5, "rps_fractional": 200}')
one('json_both_spellings', 'JSON {"rps_fractional": 100, "application_utilization": 0.5, "rpsFractional": 200}')
one('json_wrong_type', 'JSON {"rps_fractional": true, "application_utilization": 0.5}')
one('json_garbage_behind', 'JSON {"rps_fractional": 100, "application_utilization": 0.5} x')
one('json_without_blank', 'JSON{"rps_fractional": 100, "application_utilization": 0.5}')
one('bin_negative', 'BIN ' + base64.b64encode(double(6, 100) + double(9, -0.5) + double(1, 0.25)).decode())
one('bin_empty', 'BIN ')
one('bin_infinite_rps', 'BIN ' + base64.b64encode(double(6, float('inf')) + double(9, 0.5)).decode())
one('bin_nan_utilization', 'BIN ' + base64.b64encode(double(6, 100) + double(9, float('nan')) + double(1, 0.25)).decode())
one('bin_maps', 'BIN ' + base64.b64encode(double(6, 100) + double(9, 0.5) + entry(8, 'foo', 0.2) + entry(5, 'bar', 0.1) + entry(4, 'baz', 0.05)).decode(), metric_names_for_computing_utilization=['named_metrics.foo'])
one('bin_utilization_wildcard', 'BIN ' + base64.b64encode(double(6, 100) + double(9, 0.5) + entry(5, 'foo', 0.2) + entry(5, 'bar', 0.1)).decode(), metric_names_for_computing_utilization=['utilization.*'])
one('bin_request_cost_wildcard', 'BIN ' + base64.b64encode(double(6, 100) + double(9, 0.5) + entry(4, 'foo', 0.2) + entry(4, 'bar', 4)).decode(), metric_names_for_computing_utilization=['request_cost.*'])

# How a report becomes a weight.

one('metric_application_wanted', text(100, 0.5, cpu_utilization=0.2), metric_names_for_computing_utilization=['application_utilization'])
one('metric_rps_wanted', text(100, 0.5), metric_names_for_computing_utilization=['rps_fractional'])
one('metric_eps_wanted', text(100, 0.5, eps=2), metric_names_for_computing_utilization=['eps'])
one('metric_prefix_alone_wanted', text(100, 0.5, **{'named_metrics.foo': 0.25}), metric_names_for_computing_utilization=['named_metrics.', 'named_metrics'])
one('metric_star_wanted', text(100, 0.5, **{'named_metrics.foo': 0.25}), metric_names_for_computing_utilization=['*'])
one('metric_partial_wildcard_wanted', text(100, 0.5, **{'named_metrics.foo': 0.25}), metric_names_for_computing_utilization=['named_metrics.f*'])
one('metric_above_application', text(100, 0.5, **{'named_metrics.foo': 0.9}), metric_names_for_computing_utilization=['named_metrics.foo'])
one('metric_of_negative_value', text(100, 0.5, **{'named_metrics.foo': -0.9}), metric_names_for_computing_utilization=['named_metrics.foo'])

one('errors', text(100, 0.5, eps=10))
one('errors_and_penalty', text(100, 0.5, eps=10), error_utilization_penalty=5)
one('errors_without_penalty', text(100, 0.5, eps=10), error_utilization_penalty=0)
one('errors_alone', 'TEXT rps_fractional=100,eps=50')
one('fraction_is_cut', text(10, 3))
one('less_than_one', text(0.1, 0.5))
one('huge', text(1e12, 0.001))
one('named_metric_wanted', text(100, 0.5, **{'named_metrics.foo': 0.25}), metric_names_for_computing_utilization=['named_metrics.foo'])
one('named_metric_of_0', text(100, 0.5, **{'named_metrics.foo': 0}), metric_names_for_computing_utilization=['named_metrics.foo'])
one('named_metric_missing', text(100, 0.5), metric_names_for_computing_utilization=['named_metrics.foo'])
one('named_metrics_greatest', text(100, 0.5, **{'named_metrics.foo': 0.25, 'named_metrics.bar': 0.8}), metric_names_for_computing_utilization=['named_metrics.foo', 'named_metrics.bar'])
one('named_metrics_by_wildcard', text(100, 0.5, **{'named_metrics.foo': 0.25, 'named_metrics.bar': 0.8}), metric_names_for_computing_utilization=['named_metrics.*'])
one('metric_cpu_wanted', text(100, 0.5, cpu_utilization=0.2), metric_names_for_computing_utilization=['cpu_utilization'])
one('metric_mem_wanted', text(100, 0.5, mem_utilization=0.2), metric_names_for_computing_utilization=['mem_utilization'])
one('metric_request_cost_wanted', 'JSON {"rps_fractional": 100, "application_utilization": 0.5, "request_cost": {"foo": 0.1}}', metric_names_for_computing_utilization=['request_cost.foo'])
one('metric_without_group', text(100, 0.5, **{'named_metrics.foo': 0.25}), metric_names_for_computing_utilization=['foo'])
one('application_before_cpu', text(100, 0.5, cpu_utilization=0.1))
one('cpu_where_application_is_0', text(100, 0, cpu_utilization=0.1))

# When a weight counts.

one('blackout_by_default', text(100, 0.5), blackout_period='10s')
one('period_below_its_least', text(100, 0.5), weight_update_period='0.001s')


@case()
async def orca_blackout_ends(t):
    """Reports have to come for so long."""
    await reporting(t, [[(REPORT, text(100, 0.5))], [(REPORT, text(50, 1))]], {'blackout_period': '0.6s'})
    t.see('first', await settled(t))
    await t.pass_time(0.5)
    t.see('then', await weights_now(t))


@case()
async def orca_reports_expire(t):
    await reporting(t, [[(REPORT, text(100, 0.5))], [(REPORT, text(50, 1))]], {'weight_expiration_period': '0.8s'})
    t.see('first', await settled(t))
    await t.pass_time(0.8)
    t.see('then', await weights_now(t))


@case()
async def orca_expired_reports_begin_with_a_blackout(t):
    await reporting(t, [[(REPORT, text(100, 0.5))], [(REPORT, text(50, 1))]], {'weight_expiration_period': '0.4s', 'blackout_period': '0.2s'})
    await t.pass_time(0.8)
    await ask(t, 4)
    t.see('soon', (await weights_now(t)))
    for _ in range(4):
        await t.pass_time(0.1)
        await ask(t, 4)
    t.see('then', await weights_now(t))


def unreported(name, headers, **kw):
    @case('orca_unreported_' + name)
    async def _(t):
        await reporting(t, headers, n=4 * len(headers), **kw)
        t.see('weights', await settled(t))


def w(n):
    return [(REPORT, text(n, 1))]


unreported('all', [[], []])
unreported('weighs_the_median_of_one', [w(10), []])
unreported('weighs_the_median_of_two', [w(10), w(21), []])
unreported('weighs_the_median_of_three', [w(10), w(100), w(30), []])
unreported('loses_its_configured_weight', [[], []], weights=[5, 3])
unreported('weighs_the_median_of_its_priority', [w(10), [], w(50), []], priorities=[[0, 1], [2, 3]])
unreported('counts_over_localities', [w(10), [], w(50), []], zones=[('a', 1, [0, 1]), ('b', 1, [2, 3])])


@case()
async def orca_configured_weights_before_the_first_update(t):
    got = await reporting(t, [[], []], {'weight_update_period': '30s'}, weights=[3, 1], n=40)
    t.see('weights', await weights_now(t))
    t.see('shares', [abs(got.count('h0') - 30) <= 1])


@case()
async def orca_shares_follow_weights(t):
    await reporting(t, [w(30), w(10)])
    t.see('weights', await settled(t))
    got = await ask(t, 80)
    t.see('shares', [abs(got.count('h0') - 60) <= 2])


@case()
async def orca_weights_change(t):
    now = [30]
    a = await t.up('h0', lambda m, n: resp(200, '', [('x-up', 'h0'), (REPORT, text(now[0], 1))]))
    b = await t.up('h1', lambda m, n: resp(200, '', [('x-up', 'h1'), (REPORT, text(10, 1))]))
    await t.start(simple(t, clusters=[cluster('c1', [a, b], policies(by_reports()))]))
    for value in (30, 1, 10):
        now[0] = value
        await ask(t, 40)
        t.see('weights of %d' % value, await settled(t))


# Where reports are found.

@case()
async def orca_report_passes_on(t):
    await reporting(t, [w(30)])
    r = await t.req('/')
    t.see('header', r.h(REPORT))


def trailing(name, headers, trailers):
    @case('orca_trailers_' + name)
    async def _(t):
        up = {'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': T_HPO, 'explicit_http_config': {'http_protocol_options': {'enable_trailers': True}}}}}
        await reporting(t, headers, extra=up, trailers=trailers)
        t.see('weights', await settled(t))


trailing('count', [[], []], [w(30), w(10)])
trailing('count_less_than_headers', [w(30), w(10)], [w(5), w(6)])
trailing('behind_garbled_headers', [[(REPORT, 'TEXT x')], w(10)], [w(30), w(6)])


@case()
async def orca_trailers_that_are_not_read(t):
    await reporting(t, [[], []], trailers=[w(30), w(10)])
    t.see('weights', await settled(t))


@case()
async def orca_h2_headers_and_trailers(t):
    def handler(value, name, behind):
        async def go(st):
            await st.body()
            st.respond(200, [('x-up', name)] + ([] if behind else w(value)))
            if behind:
                await st.data('x')
                st.trailers(w(value))
            else:
                await st.data('x', end=True)
        return go
    ups = [await t.h2up('h0', handler(30, 'h0', False)), await t.h2up('h1', handler(10, 'h1', True))]
    await t.start(simple(t, clusters=[cluster('c1', ups, policies(by_reports()), h2=True)]))
    await ask(t, 6)
    t.see('weights', await settled(t))


@case()
async def orca_both_headers(t):
    await reporting(t, [[(REPORT, text(30, 1)), (REPORT + '-bin', base64.b64encode(double(6, 100) + double(9, 0.5)).decode())], w(10)])
    t.see('weights', await settled(t))


@case()
async def orca_two_lines(t):
    await reporting(t, [[(REPORT, text(30, 1)), (REPORT, text(50, 1))], w(10)])
    t.see('weights', await settled(t))


@case()
async def orca_report_of_an_error(t):
    a = await t.up('h0', lambda m, n: resp(500, '', [('x-up', 'h0'), *w(30)]))
    b = await t.up('h1', lambda m, n: resp(200, '', [('x-up', 'h1'), *w(10)]))
    await t.start(simple(t, clusters=[cluster('c1', [a, b], policies(by_reports()))]))
    await ask(t, 6)
    t.see('weights', await settled(t))


@case()
async def orca_reports_of_attempts(t):
    """One report of a request counts: that of the first attempt."""
    await t.up('h0', lambda m, n: resp(503 if n % 2 else 200, '', w(30) if n % 2 else w(10)))
    await t.start(simple(t, clusters=[cluster('c1', t.ups, policies(by_reports()))],
                         routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 1, retry_back_off: {base_interval: 0.001s}}}}]'))
    await ask(t, 1)
    t.see('weights', await settled(t))


@case()
async def orca_report_of_a_later_attempt(t):
    """A first attempt without a report leaves it to the next."""
    await t.up('h0', lambda m, n: resp(503 if n % 2 else 200, '', [] if n % 2 else w(10)))
    await t.start(simple(t, clusters=[cluster('c1', t.ups, policies(by_reports()))],
                         routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 1, retry_back_off: {base_interval: 0.001s}}}}]'))
    await ask(t, 1)
    t.see('weights', await settled(t))


@case()
async def orca_report_of_a_1xx_does_not_count(t):
    a = await t.up('h0', lambda m, n: b'HTTP/1.1 103 Early Hints\r\n%s: %s\r\n\r\n' % (REPORT.encode(), text(30, 1).encode()) + resp(200, '', [('x-up', 'h0')]))
    b = await t.up('h1', lambda m, n: resp(200, '', [('x-up', 'h1'), *w(10)]))
    await t.start(simple(t, clusters=[cluster('c1', [a, b], policies(by_reports()))]))
    await ask(t, 6)
    t.see('weights', await settled(t))


@case()
async def orca_other_policies_do_not_look(t):
    await reporting(t, [w(30), w(10)], policy=('rr', 'round_robin.v3.RoundRobin', {}), weights=[2, 1])
    t.see('weights', await settled(t))


@case()
async def orca_stats(t):
    await reporting(t, [w(30), w(10)], weights=[2, 1])
    await settled(t)
    t.see('stats', await t.stats('cluster.c1.membership_change', 'cluster.c1.update_no_rebuild', 'cluster.c1.membership_healthy', 'cluster.c1.lb_recalculate_zone_structures'))


@case()
async def orca_under_subsets(t):
    md = lambda v: {'metadata': {'filter_metadata': {'envoy.lb': {'v': v}}}}
    hosts = [lbe(await t.up('h%d' % i, lambda m, n, i=i: resp(200, '', [('x-up', 'h%d' % i), *w(10 * (i + 1))])), extra=md('ab'[i // 2])) for i in range(4)]
    child = policies(by_reports())['load_balancing_policy']
    c1 = cluster('c1', hosts, policies(('s', 'subset.v3.Subset', {'subset_selectors': [{'keys': ['v']}], 'fallback_policy': 'ANY_ENDPOINT', 'subset_lb_policy': child})))
    routes = [{'match': {'path': '/' + v}, 'route': {'cluster': 'c1', 'metadata_match': {'filter_metadata': {'envoy.lb': {'v': v}}}}} for v in 'ab'] + [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}]
    await t.start(simple(t, clusters=[c1], routes=routes))

    async def all_asked():
        # Weights that change in between begin a new round, which may ask the same host again.
        for path in ('/a', '/b'):
            await t.req(path)
        return all(u.reqs for u in t.ups)
    await t.until(all_asked)
    await t.until(lambda: weigh(t, [10, 20, 30, 40]))
    t.see('weights', await weights_now(t))


@case()
async def orca_under_override_host(t):
    child = policies(by_reports())['load_balancing_policy']
    await reporting(t, [w(10), w(20)], policy=('o', 'override_host.v3.OverrideHost', {'override_host_sources': [{'header': 'x-to'}], 'fallback_policy': child}))
    t.see('weights', await settled(t))


# wrr_locality: localities by their weights, hosts within them by reports.

def wrr(**config):
    return ('w', 'wrr_locality.v3.WrrLocality', {'endpoint_picking_policy': policies(by_reports(**config))['load_balancing_policy']})


@case()
async def wrr_locality_shares(t):
    await reporting(t, [w(10), w(30), w(20)], policy=wrr(), zones=[('a', 1, [0, 1]), ('b', 3, [2])], n=40)
    t.see('weights', await settled(t))
    got = await ask(t, 160)
    t.see('shares', [abs(got.count('h0') - 10) <= 3, abs(got.count('h1') - 30) <= 4, abs(got.count('h2') - 120) <= 4])


@case()
async def wrr_locality_without_weights(t):
    await reporting(t, [w(10), w(30), w(20)], policy=wrr(), zones=[('a', None, [0, 1]), ('b', None, [2])], n=12)
    t.see('used', sorted(set(await ask(t, 40))))


@case()
async def wrr_locality_one_without_weight(t):
    await reporting(t, [w(10), w(30)], policy=wrr(), zones=[('a', 2, [0]), ('b', None, [1])], n=12)
    t.see('used', sorted(set(await ask(t, 40))))


@case()
async def cs_localities_without_wrr_count_for_nothing(t):
    got = await reporting(t, [[], []], zones=[('a', 1, [0]), ('b', 9, [1])], n=40)
    t.see('halves', [abs(got.count('h0') - 20) <= 1])


def refused(name, policy, words):
    @case('wrr_locality_' + name)
    async def _(t):
        await t.up()
        code, out = await t.run_to_end(simple(t, clusters=[cluster('c1', t.ups, policies(policy))]))
        t.see('code', code)
        t.see('why', words in out)


UNKNOWN = {'policies': [{'typed_extension_config': {'name': 'x', 'typed_config': {'@type': 'type.googleapis.com/google.protobuf.Struct', 'value': {}}}}]}
refused('refused_over_round_robin', ('w', 'wrr_locality.v3.WrrLocality', {'endpoint_picking_policy': policies(('rr', 'round_robin.v3.RoundRobin', {}))['load_balancing_policy']}),
        'Currently WrrLocalityLoadBalancer only supports ClientSideWeightedRoundRobinLoadBalancer as its endpoint picking policy.')
refused('refused_over_nothing', ('w', 'wrr_locality.v3.WrrLocality', {}), '')
refused('refused_over_an_unknown_policy', ('w', 'wrr_locality.v3.WrrLocality', {'endpoint_picking_policy': UNKNOWN}), 'No supported endpoint picking policy.')
refused('refused_negative_period', by_reports(weight_update_period='-1s'), 'Expected positive duration')
