"""Retry budgets: what runtime keys say of them, and what gauges tell."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'
TOLD = re.compile(r'^cluster\.c1\.(upstream_rq_retry.*|circuit_breakers\..*retr.*)$')
PREFIX = 'circuit_breakers.c1.default.'


async def told(t):
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
    return {k[len('cluster.c1.'):]: v for k, v in (await t.stats(regex=TOLD)).items()}


def runtime(keys):
    return {'layered_runtime': {'layers': [{'name': 'static', 'static_layer': keys}, {'name': 'admin', 'admin_layer': {}}]}}


async def world(t, thresholds, keys=None, respond=lambda m, n: resp(503)):
    await t.up(respond=respond)
    cb = {'circuit_breakers': {'thresholds': [merge({'track_remaining': True}, Y(thresholds))]}}
    route = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': {'retry_on': '5xx', 'num_retries': 2, 'retry_back_off': {'base_interval': '0.001s'}}}}]
    await t.start(simple(t, copts=cb, routes=route, log=LOG, extra=runtime(keys or {})))


NOTHING = {'retry_budget': {'budget_percent': {'value': 0}, 'min_retry_concurrency': 0}}
ALL = {'retry_budget': {'budget_percent': {'value': 100}, 'min_retry_concurrency': 9}}
for label, (thresholds, keys) in {
    'runtime_makes_one': ({}, {'budget_percent': 0, 'min_retry_concurrency': 0}),
    'runtime_makes_one_of_percents_alone': ({}, {'budget_percent': 100}),
    'runtime_makes_one_of_a_least_number_alone': ({'max_retries': 0}, {'min_retry_concurrency': 1}),
    'runtime_takes_all': (ALL, {'budget_percent': 0, 'min_retry_concurrency': 0}),
    'runtime_gives_all': (NOTHING, {'budget_percent': 100.0, 'min_retry_concurrency': 0}),
    'runtime_gives_a_fraction': (NOTHING, {'budget_percent': 99.5}),
    'runtime_gives_a_least_number': (NOTHING, {'min_retry_concurrency': 1}),
    'runtime_says_max_retries_of_no_budget': (ALL, {}),
    'interval_runtime_takes_all': ({'retry_budget': {'budget_percent': {'value': 100}, 'budget_interval': '10s'}}, {'budget_percent': 0, 'min_retry_concurrency': 0}),
    'interval_open': ({'max_retries': 0, 'retry_budget': {'budget_percent': {'value': 100}, 'budget_interval': '10s'}}, {}),
    'open_by_max_retries': ({'max_retries': 1, 'retry_budget': {}}, {}),
    'not_open_by_max_retries': ({'max_retries': 2, 'retry_budget': {'budget_percent': {'value': 100}}}, {}),
    'unused': ({'max_retries': 0, 'retry_budget': {'budget_percent': {'value': 100}}}, {}),
}.items():
    @case('budget_' + label)
    async def _(t, label=label, thresholds=thresholds, keys=keys):
        keys = {PREFIX + 'retry_budget.' + k: v for k, v in keys.items()}
        if label == 'runtime_says_max_retries_of_no_budget':
            keys[PREFIX + 'max_retries'] = 0
        await world(t, dict(thresholds), keys)
        if label != 'runtime_says_max_retries_of_no_budget':
            t.see('before', await told(t))
        if label != 'unused':
            await t.req('/')
            t.see('after', await told(t))
            t.see('log', await t.logs())


@case()
async def budget_of_runtime_comes_and_goes(t):
    """A budget that runtime makes counts from then on, with the retries that are under way."""
    await world(t, {'max_retries': 0})
    await t.req('/')
    t.see('none', await told(t))
    await t.admin('/runtime_modify?' + PREFIX + 'retry_budget.min_retry_concurrency=2', 'POST')
    await t.req('/')
    t.see('made', await told(t))
    await t.admin('/runtime_modify?' + PREFIX + 'retry_budget.min_retry_concurrency=', 'POST')
    await t.req('/')
    t.see('gone', await told(t))
    t.see('log', await t.logs())


@case()
async def budget_gauges_while_retries_are_under_way(t):
    """`rq_retry_open` goes by `max_retries`, whatever the budget lets pass."""
    gate = asyncio.Event()

    async def respond(m, n):
        if n > 2:
            await gate.wait()
            return resp(200)
        return resp(503)
    await world(t, {'max_retries': 2, 'retry_budget': {'budget_percent': {'value': 100}}}, respond=respond)
    u = t.ups[0]
    first = asyncio.create_task(t.req('/'))
    second = asyncio.create_task(t.req('/'))
    await t.until(lambda: len(u.reqs) >= 4)
    t.see('two', {k[len('cluster.c1.'):]: v for k, v in (await t.stats(regex=TOLD)).items()})
    gate.set()
    t.see('answers', [(await first).status, (await second).status])
    t.see('none', await told(t))
