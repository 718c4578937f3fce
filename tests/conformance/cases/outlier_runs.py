"""Outlier detection as single answers of single hosts move it: who is out after which, and what was counted."""
from harness import *
from harness.health import ejections, flags

LB = 'type.googleapis.com/envoy.extensions.load_balancing_policies.'
LONG = {'interval': '1000s', 'base_ejection_time': '1000s', 'max_ejection_time': '1000s', 'max_ejection_percent': 100}


def one(kind, **config):
    return {'policies': [{'typed_extension_config': {'name': 'p', 'typed_config': {'@type': LB + kind, **config}}}]}


BY_NAME = one('override_host.v3.OverrideHost', override_host_sources=[{'header': 'x-to'}], fallback_policy=one('round_robin.v3.RoundRobin'))


def runs(name, steps, n=2, states=(), **od):
    """`steps`: 'a500' is an answer of host a with this status; c: the connection closes; d: an answer that says degraded; s: none in time."""
    @case('runs_' + name)
    async def _(t):
        async def respond(m, k):
            do = m.h('x-do')
            if do == 'c':
                return None
            if do == 's':
                await t.pass_time(0.4)
                return None
            if do == 'd':
                return resp(200, '', [('x-envoy-degraded', '1')])
            return resp(int(do), '')
        hosts = []
        for i in range(n):
            host = lbe(await t.up('abcdefgh'[i], respond))
            if i < len(states) and states[i]:
                host['health_status'] = states[i]
            hosts.append(host)
        c1 = cluster('c1', hosts, {'outlier_detection': {**LONG, **od}, 'load_balancing_policy': BY_NAME})
        await t.start(simple(t, clusters=[c1], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'timeout': '0.2s'}}]))
        out = []
        for step in steps.split():
            to = t.ups['abcdefgh'.index(step[0])]
            r = await t.req('/', headers=[('x-to', '127.0.0.1:%d' % to.port), ('x-do', step[1:])])
            out.append(r.status)
            await settled(t)
        t.see('answers', out)
        t.see('flags', await flags(t))
        t.see('counts', await ejections(t))


async def settled(t):
    """The main thread has heard of it: its counters stay as they are."""
    before = None

    async def same():
        nonlocal before
        now = await ejections(t)
        same, before = now == before, now
        return same
    await t.until(same, step=0.03)


GATEWAY = {'enforcing_consecutive_gateway_failure': 100}
SPLIT = {'split_external_local_origin_errors': True}
runs('one_below_the_threshold', 'a500 a500', consecutive_5xx=3)
runs('at_the_threshold', 'a500 a500 a500', consecutive_5xx=3)
runs('a_good_answer_begins_anew', 'a500 a500 a200 a500 a500', consecutive_5xx=3)
runs('a_404_is_good', 'a500 a404 a500', consecutive_5xx=2)
runs('a_599_is_bad', 'a599 a599', consecutive_5xx=2)
runs('hosts_are_apart', 'a500 b500 a500', consecutive_5xx=2)
runs('gateway_alone_is_not_enforced', 'a503 a503', consecutive_5xx=9, consecutive_gateway_failure=2)
runs('gateway_is_enforced', 'a503 a503', consecutive_5xx=9, consecutive_gateway_failure=2, **GATEWAY)
runs('gateway_and_500_between', 'a503 a500 a503', consecutive_5xx=9, consecutive_gateway_failure=2, **GATEWAY)
runs('gateway_of_each_kind', 'a502 a503 a504', consecutive_5xx=9, consecutive_gateway_failure=3, **GATEWAY)
runs('both_at_once', 'a503 a503', consecutive_5xx=2, consecutive_gateway_failure=2, **GATEWAY)
runs('closes_are_503', 'ac ac', consecutive_5xx=9, consecutive_gateway_failure=2, **GATEWAY)
runs('silence_is_504', 'as as', consecutive_5xx=9, consecutive_gateway_failure=2, **GATEWAY)
runs('closes_are_local', 'ac ac', consecutive_5xx=2, consecutive_local_origin_failure=2, **SPLIT)
runs('silence_is_local', 'as as', consecutive_5xx=2, consecutive_local_origin_failure=2, **SPLIT)
runs('bad_answers_are_not_local', 'a500 ac a500', consecutive_5xx=9, consecutive_local_origin_failure=2, **SPLIT)
runs('local_and_not_enforced', 'ac ac', consecutive_local_origin_failure=2, enforcing_consecutive_local_origin_failure=0, **SPLIT)
runs('not_enforced_5xx', 'a500 a500', consecutive_5xx=2, enforcing_consecutive_5xx=0)
runs('of_one', 'a500', consecutive_5xx=1)
runs('of_zero', 'a500 a500 a500', consecutive_5xx=0)
runs('half_of_two', 'a500 b500', consecutive_5xx=1, max_ejection_percent=50)
runs('half_of_three', 'a500 b500', n=3, consecutive_5xx=1, max_ejection_percent=50)
runs('two_thirds_of_three', 'a500 b500 c500', n=3, consecutive_5xx=1, max_ejection_percent=67)
runs('none_of_two', 'a500 b500', consecutive_5xx=1, max_ejection_percent=0)
runs('always_one_of_two', 'a500 b500', consecutive_5xx=1, max_ejection_percent=0, always_eject_one_host=True)
runs('always_one_where_one_is_allowed', 'a500 b500', consecutive_5xx=1, max_ejection_percent=50, always_eject_one_host=True)
runs('an_ejected_host_that_fails_again', 'a500 a500', consecutive_5xx=1)
runs('of_hosts_that_are_out_already', 'a500 b500', states=['UNHEALTHY', None], consecutive_5xx=1, max_ejection_percent=50)
runs('degraded_by_its_word', 'ad', consecutive_5xx=1, detect_degraded_hosts=True)
runs('degraded_and_not_asked', 'ad', consecutive_5xx=1)
runs('degraded_then_ejected', 'ad a500', consecutive_5xx=1, detect_degraded_hosts=True)
runs('ejected_then_degraded', 'a500 ad', consecutive_5xx=1, detect_degraded_hosts=True)
runs('degraded_by_discovery_then_ejected', 'a500', states=['DEGRADED'], consecutive_5xx=1)
