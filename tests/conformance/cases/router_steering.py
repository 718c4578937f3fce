"""What steers the router: time limits and their headers, retries and hedges, copies of requests."""
import asyncio

from harness import *
from harness.tables import H

LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'
INSIDE = '{internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}'
GRPC = ('content-type', 'application/grpc')
RETRIES = ['cluster.c1.upstream_rq_' + s for s in ('total', 'retry', 'retry_success', 'retry_limit_exceeded', 'retry_overflow', 'timeout', 'per_try_timeout', 'tx_reset', 'rx_reset', 'active', '5xx', '504')]


def late(by, status=200):
    """Answers after so many seconds: the first of `by` to the first request, and so on; the last one repeats."""
    async def f(m, n):
        await asyncio.sleep(by[min(n, len(by)) - 1])
        return resp(status, 'n%d' % n, [('x-n', str(n))])
    return f


def steered(name, action, respond, reqs=(H(),), heads=(), stats=RETRIES, opts=INSIDE, vh=None, r=None, ups=1, trailing=0.0, timeout=5, copts=None, **kw):
    """The answer, what the upstream was asked with, counters and log."""
    @case('steer_' + name)
    async def _(t):
        us = [await t.up('u%d' % (i + 1), respond) for i in range(ups)]
        vhosts = [{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **Y(action)}, **(Y(r) or {})}], **(Y(vh) or {})}]
        await t.start(simple(t, clusters=[cluster('c1', us, copts)], vhosts=vhosts, log=LOG, opts=opts, **kw))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**{'timeout': timeout, **k}))
        if trailing:
            await t.pass_time(trailing)
        asked = [[m.method, m.path, *[m.h(h) for h in heads]] for u in us for m in u.reqs]
        # Which of several upstreams comes first is left to chance.
        t.see('asked', asked if ups == 1 else sorted(asked, key=str))
        if stats:
            t.see('stats', await t.stats(*stats))
        t.see('log', await t.logs())


# ---- what the upstream is told of its time
TOLD = ('x-envoy-expected-rq-timeout-ms', 'grpc-timeout', 'x-envoy-upstream-rq-timeout-ms')
OK = lambda m, n: resp(200, 'up')


def told(name, action, reqs=(H(),), heads=TOLD, **kw):
    steered('told_' + name, action, OK, reqs, heads, stats=None, **kw)


told('default', '{}')
told('no_limit', '{timeout: 0s}', [H(), H(('x-envoy-expected-rq-timeout-ms', '7'))])
told('its_own', '{timeout: 1.5s}')
told('less_than_a_millisecond', '{timeout: 0.0004s}')
told('part_of_a_millisecond', '{timeout: 0.9999s, max_stream_duration: {max_stream_duration: 0.0009s}}')
told('per_try', '{timeout: 9s, retry_policy: {retry_on: 5xx, per_try_timeout: 2s}}')
told('per_try_longer', '{timeout: 1s, retry_policy: {retry_on: 5xx, per_try_timeout: 2s}}')
told('per_try_without_limit', '{timeout: 0s, retry_policy: {retry_on: 5xx, per_try_timeout: 2s}}')
told('per_try_hedged', '{timeout: 9s, retry_policy: {retry_on: 5xx, per_try_timeout: 2s}, hedge_policy: {hedge_on_per_try_timeout: true}}')
told('by_headers', '{timeout: 9s}', [H(*hs) for hs in ([('x-envoy-upstream-rq-timeout-ms', '1234')], [('x-envoy-upstream-rq-timeout-ms', '0')], [('x-envoy-upstream-rq-timeout-ms', 'x')], [('x-envoy-upstream-rq-timeout-ms', '-1')], [('x-envoy-upstream-rq-timeout-ms', '1.5')], [('x-envoy-upstream-rq-per-try-timeout-ms', '77')],
     [('x-envoy-upstream-rq-per-try-timeout-ms', '0')], [('x-envoy-upstream-rq-per-try-timeout-ms', '99999')], [('x-envoy-upstream-rq-timeout-ms', '50'), ('x-envoy-upstream-rq-per-try-timeout-ms', '50')], [('x-envoy-upstream-rq-timeout-ms', '50'), ('x-envoy-upstream-rq-timeout-ms', '60')], [('x-envoy-upstream-rq-timeout-ms', ' 50 ')], [('x-envoy-upstream-rq-timeout-ms', '+50')])])
told('by_a_hedge_header', '{timeout: 9s, retry_policy: {retry_on: 5xx, per_try_timeout: 2s}}', [H(('x-envoy-hedge-on-per-try-timeout', v)) for v in ('true', 'false', 'TRUE', '1')])
told('to_a_route_that_hedges_by_a_header', '{timeout: 9s, retry_policy: {retry_on: 5xx, per_try_timeout: 2s}, hedge_policy: {hedge_on_per_try_timeout: true}}', [H(('x-envoy-hedge-on-per-try-timeout', v)) for v in ('true', 'false', 'x')])
VALUES = ['1H', '2M', '3S', '400m', '5000000u', '600000000n', '0m', '1', 'm', '', '-1S', '1.5S', '99999999S', '999999999S', '1h', ' 2S', '2S ', '2 S', '00000002S', '3s']
told('by_grpc_timeouts', '{timeout: 9s, max_stream_duration: {grpc_timeout_header_max: 0s}}', [H(GRPC, ('grpc-timeout', v), method='POST') for v in VALUES])
told('by_grpc_timeouts_older', '{timeout: 9s, max_grpc_timeout: 0s}', [H(GRPC, ('grpc-timeout', v), method='POST') for v in VALUES])
told('by_grpc_timeouts_capped', '{timeout: 9s, max_stream_duration: {grpc_timeout_header_max: 2s}}', [H(GRPC, ('grpc-timeout', v), method='POST') for v in ('1S', '2S', '3S', '0m')] + [H(GRPC, method='POST'), H(('grpc-timeout', '1S'))])
told('by_grpc_timeouts_capped_older', '{timeout: 9s, max_grpc_timeout: 2s}', [H(GRPC, ('grpc-timeout', v), method='POST') for v in ('1S', '2S', '3S', '0m')] + [H(GRPC, method='POST'), H(('grpc-timeout', '1S'))])
told('by_grpc_timeouts_offset', '{timeout: 9s, max_stream_duration: {grpc_timeout_header_max: 5s, grpc_timeout_header_offset: 1s}}', [H(GRPC, ('grpc-timeout', v), method='POST') for v in ('3S', '9S', '1900m')])
told('by_grpc_timeouts_offset_older', '{timeout: 9s, max_grpc_timeout: 5s, grpc_timeout_offset: 1s}', [H(GRPC, ('grpc-timeout', v), method='POST') for v in ('3S', '9S', '1900m')])
told('by_both_kinds', '{timeout: 9s, max_grpc_timeout: 5s, max_stream_duration: {max_stream_duration: 3s}}', [H(GRPC, ('grpc-timeout', '4S'), method='POST'), H()])
told('duration_only', '{max_stream_duration: {max_stream_duration: 3s}}', [H(), H(GRPC, ('grpc-timeout', '1S'), method='POST')])
told('duration_by_a_header', '{}', [H(('x-envoy-upstream-stream-duration-ms', '4000'))], heads=[*TOLD, 'x-envoy-upstream-stream-duration-ms'])
told('without_envoy_headers', '{timeout: 3s}', [H(('x-envoy-expected-rq-timeout-ms', '5')), H(('x-envoy-upstream-rq-timeout-ms', '5000'))], rt=router(suppress_envoy_headers=True))
told('respected', '{timeout: 3s}', [H(*hs) for hs in ([('x-envoy-expected-rq-timeout-ms', '500')], [('x-envoy-expected-rq-timeout-ms', 'x'), ('x-envoy-upstream-rq-timeout-ms', '700')], [('x-envoy-expected-rq-timeout-ms', '500'), ('x-envoy-upstream-rq-timeout-ms', '700')], [('x-envoy-expected-rq-timeout-ms', '0')], [('x-envoy-expected-rq-timeout-ms', '500'), ('x-envoy-upstream-rq-per-try-timeout-ms', '100')])], rt=router(respect_expected_rq_timeout=True))
told('strictly', '{}', [H((h, v)) for h in ('x-envoy-upstream-rq-timeout-ms', 'x-envoy-upstream-rq-per-try-timeout-ms', 'x-envoy-max-retries') for v in ('5000', 'x', '-1', '', '0')] + [H((h, v)) for h in ('x-envoy-retry-on', 'x-envoy-retry-grpc-on') for v in ('5xx', 'cancelled', '5xx,gateway-error', 'nonsense', '5xx,nonsense', '', ' 5xx', '5XX')],
     rt=router(strict_check_headers=['x-envoy-upstream-rq-timeout-ms', 'x-envoy-upstream-rq-per-try-timeout-ms', 'x-envoy-max-retries', 'x-envoy-retry-on', 'x-envoy-retry-grpc-on']))



@case('steer_times_below_a_millisecond')
async def _(t):
    """They are none at all."""
    async def respond(m, n):
        await asyncio.sleep(0.05)
        return resp(200, 'up')
    u = await t.up('u1', respond)
    limits = {'timeout': '{timeout: %s}', 'idle': '{idle_timeout: %s}', 'try': '{retry_policy: {retry_on: 5xx, num_retries: 0, per_try_timeout: %s}}', 'idle-try': '{retry_policy: {retry_on: 5xx, num_retries: 0, per_try_idle_timeout: %s}}', 'stream': '{max_stream_duration: {max_stream_duration: %s}}',
              'back-off': '{retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: %s}}}', 'grpc': '{max_grpc_timeout: %s}', 'grpc-stream': '{max_stream_duration: {grpc_timeout_header_max: %s}}'}
    routes = [{'match': {'path': '/' + path}, 'route': {'cluster': 'c1', **Y(action % '0.0009s')}} for path, action in limits.items()]
    await t.start(simple(t, routes=routes, opts='{stream_idle_timeout: 0.0009s, request_timeout: 0.0009s, request_headers_timeout: 0.0009s, common_http_protocol_options: {max_stream_duration: 0.0009s, idle_timeout: 0.0009s}}', log=LOG))
    for path in limits:
        grpc = [GRPC, ('grpc-timeout', '9S')] if 'grpc' in path else []
        t.see(path, (await t.req('/' + path, method='POST', headers=grpc)).body)
    t.see('told', [[m.path, *[m.h(h) for h in TOLD]] for m in u.reqs])
    t.see('log', await t.logs())


# ---- time limits against each other
SLOW = late([1.0])
for name, action, reqs in (
        ('the_route', '{timeout: 0.1s}', [H()]),
        ('a_header', '{timeout: 9s}', [H(('x-envoy-upstream-rq-timeout-ms', '100'))]),
        ('a_header_with_another_answer', '{timeout: 9s}', [H(('x-envoy-upstream-rq-timeout-ms', '100'), ('x-envoy-upstream-rq-timeout-alt-response', 'x'))]),
        ('a_try_and_another_answer', '{timeout: 9s}', [H(('x-envoy-upstream-rq-per-try-timeout-ms', '100'), ('x-envoy-upstream-rq-timeout-alt-response', 'x'))]),
        ('idling', '{idle_timeout: 0.1s, timeout: 9s}', [H()]),
        ('idling_tries', '{retry_policy: {retry_on: 5xx, num_retries: 1, per_try_idle_timeout: 0.1s, retry_back_off: {base_interval: 0.002s}}}', [H()]),
        ('idling_tries_before_their_time', '{retry_policy: {retry_on: 5xx, num_retries: 0, per_try_idle_timeout: 0.1s, per_try_timeout: 0.3s}}', [H()]),
        ('tries_before_idling', '{retry_policy: {retry_on: 5xx, num_retries: 0, per_try_idle_timeout: 0.3s, per_try_timeout: 0.1s}}', [H()]),
        ('a_duration_by_header', '{}', [H(('x-envoy-upstream-stream-duration-ms', '100'))]),
        ('the_stream', '{max_stream_duration: {max_stream_duration: 0.1s}}', [H()]),
        ('the_stream_before_the_route', '{timeout: 0.3s, max_stream_duration: {max_stream_duration: 0.1s}}', [H()]),
        ('the_route_before_the_stream', '{timeout: 0.1s, max_stream_duration: {max_stream_duration: 0.3s}}', [H()]),
        ('grpc', '{timeout: 9s, max_stream_duration: {grpc_timeout_header_max: 0s}}', [H(GRPC, ('grpc-timeout', '100m'), method='POST')]),
        ('grpc_older', '{timeout: 9s, max_grpc_timeout: 0s}', [H(GRPC, ('grpc-timeout', '100m'), method='POST')]),
        ('all_tries', '{timeout: 0.5s, retry_policy: {retry_on: 5xx, num_retries: 9, per_try_timeout: 0.2s, retry_back_off: {base_interval: 0.002s}}}', [H()]),
        ('tries_that_are_not_retried', '{retry_policy: {retry_on: connect-failure, num_retries: 3, per_try_timeout: 0.1s}}', [H()]),
        ('tries_without_conditions', '{retry_policy: {per_try_timeout: 0.1s}}', [H()]),
        ('tries_by_reset', '{retry_policy: {retry_on: reset, num_retries: 1, per_try_timeout: 0.1s, retry_back_off: {base_interval: 0.002s}}}', [H()]),
        ('tries_by_gateway_errors', '{retry_policy: {retry_on: gateway-error, num_retries: 1, per_try_timeout: 0.1s, retry_back_off: {base_interval: 0.002s}}}', [H()])):
    steered('time_of_' + name, action, SLOW, reqs)

# ---- hedges
HEDGE = '{timeout: %s, hedge_policy: {hedge_on_per_try_timeout: true}, retry_policy: {retry_on: %s, num_retries: %d, per_try_timeout: 0.15s, retry_back_off: {base_interval: 0.002s}}}'


def hedged(name, respond, retry_on='5xx', retries=1, whole='5s', ups=2, **kw):
    steered('hedge_' + name, HEDGE % (whole, retry_on, retries), respond, ups=ups, heads=('x-envoy-attempt-count', 'x-envoy-is-timeout-retry'), vh='{include_request_attempt_count: true, include_attempt_count_in_response: true, include_is_timeout_retry_header: true}', **kw)


def by_host(**how):
    """Answers by the attempt's number: (seconds, status), 'reset'."""
    async def f(m, n):
        step = how['a' + (m.h('x-envoy-attempt-count') or '1')]
        if step == 'reset':
            return 'reset'
        await asyncio.sleep(step[0])
        return resp(step[1], 'attempt %s' % m.h('x-envoy-attempt-count'))
    return f


hedged('second_is_faster', by_host(a1=(1.0, 200), a2=(0.0, 200)))
hedged('first_comes_after_all', by_host(a1=(0.25, 200), a2=(1.0, 200)))
hedged('second_fails_first_is_good', by_host(a1=(0.35, 200), a2=(0.0, 503)))
hedged('second_is_reset_first_is_good', by_host(a1=(0.35, 200), a2='reset'))
hedged('first_fails_second_is_good', by_host(a1=(0.25, 503), a2=(0.3, 200)))
hedged('both_fail', by_host(a1=(0.25, 503), a2=(0.3, 500)))
hedged('none_comes', by_host(a1=(1.0, 200), a2=(1.0, 200)), whole='0.5s')
hedged('three', by_host(a1=(1.0, 200), a2=(1.0, 200), a3=(0.0, 200)), retries=2)
hedged('without_a_condition', by_host(a1=(0.4, 200), a2=(0.0, 200)), retry_on='connect-failure')
hedged('no_retries_left', by_host(a1=(0.4, 200), a2=(0.0, 200)), retries=0)
hedged('a_fast_error_is_retried', by_host(a1=(0.0, 503), a2=(0.0, 200)))
hedged('with_a_body', by_host(a1=(1.0, 200), a2=(0.0, 200)), reqs=[H(method='POST', body='abc')])
hedged('breaker', by_host(a1=(0.4, 200), a2=(0.0, 200)), copts='{circuit_breakers: {thresholds: [{max_retries: 0}]}}')

# ---- retries
def retried(name, policy, respond, reqs=(H(),), **kw):
    base = {'retry_back_off': {'base_interval': '0.002s', 'max_interval': '0.01s'}, 'num_retries': 2}
    steered('retry_' + name, {'retry_policy': {**base, **Y(policy)}}, respond, reqs, heads=('x-envoy-attempt-count', 'x-envoy-is-timeout-retry'), vh='{include_request_attempt_count: true, include_attempt_count_in_response: true, include_is_timeout_retry_header: true}', **kw)


def seq(*steps):
    def f(m, n):
        s = steps[min(n, len(steps)) - 1]
        return resp(s, 'n%d' % n) if isinstance(s, int) else s
    return f


retried('too_early', '{retry_on: retriable-status-codes, retriable_status_codes: [425]}', seq(425, 200))
retried('too_early_of_early_data', '{retry_on: retriable-status-codes, retriable_status_codes: [425]}', seq(425, 200), [H(('early-data', '1'))])
retried('too_early_without_being_told', '{retry_on: 5xx}', seq(425, 200))
retried('conditions_with_blanks', '{retry_on: " 5xx , gateway-error "}', seq(500, 200))
retried('conditions_of_nonsense', '{retry_on: "nonsense,5xx"}', seq(500, 200))
retried('conditions_in_upper_case', '{retry_on: "5XX"}', seq(500, 200))
retried('conditions_of_grpc_in_the_wrong_field', '{retry_on: "cancelled"}', lambda m, n: resp(200, '', [GRPC, ('grpc-status', '1' if n == 1 else '0')]), [H(GRPC, ('x-envoy-retry-on', 'unavailable'), method='POST')])
for code in (500, 501, 502, 503, 504, 505, 599):
    retried('gateway_error_%d' % code, '{retry_on: gateway-error}', seq(code, 200))
retried('of_409_and_codes', '{retry_on: "retriable-4xx,retriable-status-codes", retriable_status_codes: [404, 200]}', seq(409, 404, 201))
retried('of_success', '{retry_on: retriable-status-codes, retriable_status_codes: [200]}', seq(200, 200, 200))
retried('by_headers_of_the_request', '{retry_on: retriable-headers, retriable_headers: [{name: x-a}]}', lambda m, n: resp(200, 'x', [('x-b', '1')] if n < 3 else []), [H(('x-envoy-retriable-header-names', 'X-B, x-c')), H(('x-envoy-retriable-header-names', ''))])
retried('by_codes_of_the_request', '{retry_on: retriable-status-codes}', seq(404, 405, 200), [H(('x-envoy-retriable-status-codes', '404,x,405'))])
retried('most_by_a_header', '{retry_on: 5xx}', seq(503), [H(('x-envoy-max-retries', v)) for v in ('0', '1', '4', 'x', '-1', ' 3')])
retried('most_by_a_header_without_conditions', '{}', seq(503), [H(('x-envoy-max-retries', '4'))])
retried('zero_by_the_route_more_by_the_header', '{retry_on: 5xx, num_retries: 0}', seq(503), [H(('x-envoy-max-retries', '2'))])
retried('headers_of_any', '{retry_on: retriable-headers, retriable_headers: [{name: x-a, string_match: {exact: "1"}}, {name: ":status", string_match: {prefix: "4"}}]}', lambda m, n: resp({1: 404, 2: 200}.get(n, 201), 'x', [('x-a', '1')] if n == 2 else []))
retried('request_headers_of_a_path', '{retry_on: 5xx, retriable_request_headers: [{name: ":path", string_match: {prefix: /yes}}, {name: host, string_match: {exact: again}}]}', seq(503), [H(path='/yes'), H(path='/no'), H(path='/no', host='again')])
retried('closed_before_an_answer', '{retry_on: reset}', seq(None, 200))
retried('closed_before_an_answer_of_a_post', '{retry_on: reset}', seq(None, 200), [H(method='POST', body='abc')])
retried('reset_before_the_request_is_not_reset', '{retry_on: reset-before-request}', seq(None, 200))
retried('connect_failure_is_not_reset', '{retry_on: connect-failure}', seq(None, 200))
retried('refused_stream_is_not_reset', '{retry_on: refused-stream}', seq(None, 200))
retried('half_an_answer', '{retry_on: "5xx,reset"}', seq(b'HTTP/1.1 200 OK\r\ncontent-le', 200))
retried('garbage', '{retry_on: "5xx"}', seq(b'nonsense\r\n\r\n', 200))
retried('limited_answers', '{retry_on: 5xx}', lambda m, n: resp(503, 'x', [('x-envoy-ratelimited', 'true')]))
retried('overloaded_answers', '{retry_on: 5xx}', lambda m, n: resp(503 if n == 1 else 200, 'x', [('x-envoy-overloaded', 'true')]))
retried('per_try_limits_are_told', '{retry_on: 5xx, num_retries: 1, per_try_timeout: 0.15s}', late([0.6, 0.0]))
retried('budget_of_nothing', '{retry_on: 5xx}', seq(503), copts='{circuit_breakers: {thresholds: [{retry_budget: {budget_percent: {value: 0}, min_retry_concurrency: 0}}]}}')
retried('budget_least', '{retry_on: 5xx}', seq(503), copts='{circuit_breakers: {thresholds: [{max_retries: 0, retry_budget: {budget_percent: {value: 0}, min_retry_concurrency: 1}}]}}')
retried('of_an_empty_policy', '{num_retries: 3}', seq(503), [H(), H(('x-envoy-retry-on', '5xx'))])
for word, steps in {'seconds': [('retry-after', '1')], 'seconds_beyond_the_most': [('retry-after', '3')], 'seconds_of_zero': [('retry-after', '0')], 'a_date': [('retry-after', 'Wed, 21 Oct 2015 07:28:00 GMT')]}.items():
    retried('limited_by_' + word, '{retry_on: 5xx, num_retries: 1, rate_limited_retry_back_off: {reset_headers: [{name: Retry-After, format: SECONDS}], max_interval: 2s}}', lambda m, n, steps=steps: resp(503 if n == 1 else 200, 'x', steps), stats=['cluster.c1.upstream_rq_retry_backoff_ratelimited', 'cluster.c1.upstream_rq_retry_backoff_exponential', *RETRIES])


@case('steer_retry_host_predicates_and_attempts')
async def _(t):
    """A canary and hosts that were asked already are passed over as long as others come up."""
    ups = [await t.up('u%d' % i, lambda m, n: resp(503, 'x')) for i in range(3)]
    hosts = [lbe(ups[0]), lbe(ups[1], extra={'metadata': {'filter_metadata': {'envoy.lb': {'canary': True}}}}), lbe(ups[2])]
    P = 'type.googleapis.com/envoy.extensions.retry.host.'
    policy = Y('{retry_on: 5xx, num_retries: 5, host_selection_retry_max_attempts: 10, retry_back_off: {base_interval: 0.002s}}')
    policy['retry_host_predicate'] = [{'name': 'p', 'typed_config': {'@type': P + 'previous_hosts.v3.PreviousHostsPredicate'}}, {'name': 'c', 'typed_config': {'@type': P + 'omit_canary_hosts.v3.OmitCanaryHostsPredicate'}}]
    await t.start(simple(t, clusters=[cluster('c1', hosts, '{lb_policy: RANDOM}')], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': policy}}], log=LOG))
    await t.req()
    t.see('asked in all', sum(len(u.reqs) for u in ups))
    t.see('both', [len(ups[0].reqs) > 0 or len(ups[1].reqs) > 0, len(ups[2].reqs) > 0 or len(ups[1].reqs) > 0])
    t.see('log', await t.logs())


@case('steer_retry_options_predicates_refused')
async def _(t):
    """Envoy's image has no such plug-in."""
    exits = []
    for extra in ({'retry_options_predicates': [{'name': 'x', 'typed_config': {'@type': 'type.googleapis.com/google.protobuf.Struct'}}]}, {'retry_host_predicate': [{'name': 'nobody'}]}, {'retry_priority': {'name': 'nobody'}}, {'retry_back_off': {'base_interval': '0s'}}, {'retry_back_off': {'base_interval': '2s', 'max_interval': '1s'}},
                  {'retry_back_off': {'max_interval': '1s'}}, {'rate_limited_retry_back_off': {'reset_headers': []}}, {'rate_limited_retry_back_off': {'reset_headers': [{'name': 'a b'}]}}, {'rate_limited_retry_back_off': {'reset_headers': [{'name': 'a'}], 'max_interval': '0s'}}, {'host_selection_retry_max_attempts': -1}, {'per_try_timeout': '-1s'}, {'retriable_headers': [{'name': ''}]}, {'retry_on': 'nonsense'}):
        routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': {'retry_on': '5xx', **extra}}}]
        exits.append((await t.run_to_end(simple(t, clusters=[cluster('c1', t.dead('u1'))], routes=routes), args=('--mode', 'validate')))[0])
    t.see('exits', exits)


# ---- copies
SHADOWS = ['cluster.cs.upstream_rq_total', 'cluster.cs.upstream_rq_completed', 'cluster.c1.upstream_rq_total', 'cluster.c1.retry_or_shadow_abandoned', 'cluster.cs.retry_or_shadow_abandoned', 'cluster.cs.internal.upstream_rq_completed']


def copied(name, policy, reqs=(H(),), wanted=1, heads=('host', 'x-envoy-internal', 'x-forwarded-for', 'x-own', 'x-route'), action=None, r=None, rc=None, stats=SHADOWS, copts=None, shadow=None, main=None, **kw):
    """What a copy looks like beside its request. `wanted` copies come."""
    @case('steer_copy_' + name)
    async def _(t):
        u, s = await t.up('main', main), await t.up('shadow', shadow)
        policies = Y(policy)
        policies = policies if isinstance(policies, list) else [policies]
        routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'request_mirror_policies': policies, **(Y(action) or {})}, **(Y(r) or {})}]
        await t.start(simple(t, clusters=[cluster('c1', u), cluster('cs', s, copts)], routes=routes, route_config=rc, log=LOG, **kw))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, (await t.req(**k)).status)
        if wanted:
            await t.until(lambda: len(s.reqs) >= wanted)
        await t.pass_time(0.1)
        t.see('main', [[m.method, m.path, *[m.h(h) for h in heads], body_repr(m.body)] for m in u.reqs])
        t.see('copies', sorted([m.method, m.path, *[m.h(h) or '' for h in heads], body_repr(m.body)] for m in s.reqs))
        t.see('stats', await t.stats(*stats))
        t.see('log', await t.logs())


copied('of_a_host_with_a_port', '{cluster: cs}', [H(host='a.example:8080'), H(host='[::1]:80'), H(host='[::1]'), H(host='a')], 4)
copied('without_the_suffix', '{cluster: cs, disable_shadow_host_suffix_append: true}', [H(host='a.example:8080')])
copied('with_a_host_of_its_own', '{cluster: cs, host_rewrite_literal: own.example}', [H(host='a.example:8080')])
copied('with_a_host_of_its_own_and_no_suffix', '{cluster: cs, host_rewrite_literal: "own.example:1", disable_shadow_host_suffix_append: true}', [H()])
copied('with_headers_of_its_own', '{cluster: cs, request_headers_mutations: [{append: {header: {key: x-own, value: "%REQ(:path)% %PROTOCOL%"}}}, {remove: x-route}, {append: {header: {key: x-route, value: again}}}]}', r='{request_headers_to_add: [{header: {key: x-route, value: r}}]}')
copied('to_nobody', '{cluster: nobody}', wanted=0, rc='{validate_clusters: false}')
copied('to_whom_a_header_names', '{cluster_header: x-to}', [H(('x-to', 'cs')), H(('x-to', 'nobody')), H(), H(('x-to', ''))])
copied('of_no_share', '{cluster: cs, runtime_fraction: {default_value: {numerator: 0}}}', wanted=0)
copied('of_all', '{cluster: cs, runtime_fraction: {default_value: {numerator: 100}}}')
copied('of_no_share_by_runtime', '{cluster: cs, runtime_fraction: {default_value: {numerator: 100}, runtime_key: k}}', wanted=0, extra='{layered_runtime: {layers: [{name: s, static_layer: {k: 0}}]}}')
copied('of_all_by_runtime', '{cluster: cs, runtime_fraction: {default_value: {numerator: 0}, runtime_key: k}}', extra='{layered_runtime: {layers: [{name: s, static_layer: {k: {numerator: 100}}}]}}')
copied('after_rewrites', '{cluster: cs}', [H(path='/a/b?c')], action='{prefix_rewrite: /n, host_rewrite_literal: main.example}')
copied('of_a_table', '{cluster: cs}', action='{request_mirror_policies: []}', rc='{request_mirror_policies: [{cluster: cs}]}')
copied('of_a_route_over_its_table', '{cluster: cs, disable_shadow_host_suffix_append: true}', rc='{request_mirror_policies: [{cluster: cs}, {cluster: cs}]}')
copied('of_head_and_options', '{cluster: cs}', [H(method='HEAD'), H(method='OPTIONS')], 2)
copied('of_bodies', '{cluster: cs}', [H(method='POST', body='abc'), H(method='POST', body='')], 2)
copied('whose_answer_is_an_error', '{cluster: cs}', shadow=lambda m, n: resp(503, 'x'), stats=[*SHADOWS, 'cluster.cs.upstream_rq_503', 'cluster.cs.upstream_rq_retry'])
copied('whose_answer_never_comes', '{cluster: cs}', shadow=lambda m, n: None, stats=[*SHADOWS, 'cluster.cs.upstream_rq_503', 'cluster.cs.upstream_cx_destroy_with_active_rq'])
copied('beyond_a_breaker', '{cluster: cs}', wanted=0, copts='{circuit_breakers: {thresholds: [{max_pending_requests: 0}]}}', stats=[*SHADOWS, 'cluster.cs.upstream_rq_pending_overflow', 'cluster.cs.upstream_rq_503'])
copied('to_a_cluster_without_hosts', '{cluster: cs}', wanted=0, copts='{load_assignment: {cluster_name: cs, endpoints: []}}', stats=[*SHADOWS, 'cluster.cs.upstream_cx_none_healthy', 'cluster.cs.upstream_rq_503', 'cluster.cs.internal.upstream_rq_503'])
copied('to_a_cluster_in_maintenance', '{cluster: cs}', wanted=0, extra='{layered_runtime: {layers: [{name: s, static_layer: {upstream.maintenance_mode.cs: 100}}]}}', stats=[*SHADOWS, 'cluster.cs.upstream_rq_maintenance_mode', 'cluster.cs.upstream_rq_503'])
copied('of_a_request_that_fails', '{cluster: cs}', main=lambda m, n: None)
copied('of_an_attempt_count', '{cluster: cs}', heads=('host', 'x-envoy-attempt-count', 'x-envoy-expected-rq-timeout-ms', 'traceparent'), action='{timeout: 3s}')


# ---- a cluster that goes while a stream runs
@case('steer_cluster_goes_while_a_stream_runs')
async def _(t):
    """What runs ends as it would have; what comes then finds none."""
    began, go = asyncio.Event(), asyncio.Event()

    async def conn(c):
        while await c.read_request():
            c.send(b'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc')
            await c.drain()
            began.set()
            await go.wait()
            c.send(b'def')
            await c.drain()
    u = await t.up('u1', conn=conn)
    cds = lambda *cs: {'version_info': str(len(cs)), 'resources': [{'@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', **c} for c in cs]}
    import json
    c1 = cluster('c1', u)
    t.write('cds.json', json.dumps(cds(c1)))
    cfg = simple(t, clusters=[], routes='[{match: {prefix: /}, route: {cluster: c1}}]', route_config='{validate_clusters: false}', log=LOG,
                 extra={'node': {'id': 'n1', 'cluster': 'c'}, 'dynamic_resources': {'cds_config': {'path_config_source': {'path': t.path('cds.json')}, 'resource_api_version': 'V3'}}})
    await t.start(cfg)
    c = await t.conn()
    c.send(b'GET /held HTTP/1.1\r\nhost: h\r\n\r\n')
    await asyncio.wait_for(began.wait(), 5)
    t.move_in('cds.json', json.dumps(cds()))
    await t.stat_until('cluster_manager.cluster_removed', lambda v: v == 1)
    t.see('then', await t.req('/then'))
    go.set()
    t.see('held', await c.response())
    t.see('again', (await t.req('/again')).status)
    t.see('log', await t.logs())
