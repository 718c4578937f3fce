"""Retry budgets that look back (`budget_interval`)."""
from harness import *

ROUTES = '[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 1, retry_back_off: {base_interval: 0.5s, max_interval: 0.5s}}}}]'
COUNTS = 'upstream_rq_retry', 'upstream_rq_retry_overflow'


def budget(percent, least, interval=None, extra=None):
    b = {'budget_percent': {'value': percent}, 'min_retry_concurrency': least, **({'budget_interval': interval} if interval else {})}
    return {'circuit_breakers': {'thresholds': [merge({'retry_budget': b}, Y(extra) or {})]}}


async def world(t, *args, **kw):
    def answer(m, _):
        return {'/bad': resp(503), '/hang': b''}.get(m['path'], resp(200, 'ok'))
    u = await t.up('u', answer)
    await t.start(simple(t, clusters=[cluster('c1', u, extra=budget(*args, **kw))], routes=ROUTES))


async def ask(t, path, n):
    """So many requests at once."""
    conns = [await t.conn() for _ in range(n)]
    for c in conns:
        c.send('GET %s HTTP/1.1\r\nhost: x\r\n\r\n' % path)
    return conns


async def fails(t, n):
    """So many requests fail at once: which of them are tried again."""
    for c in await ask(t, '/bad', n):
        await c.response('GET', 5)
    return await t.stats(*['cluster.c1.' + k for k in COUNTS])


async def after_ten(t, *args):
    await world(t, *args)
    for _ in range(10):
        await t.req('/')
    t.see('stats', await fails(t, 4))


@case()
async def budget_without_interval(t):
    """What is active counts, and what was does not: some of four."""
    await world(t, 25, 0)
    for _ in range(10):
        await t.req('/')
    t.see('stats', await fails(t, 4))


@case()
async def budget_interval_counts_what_is_done(t):
    await after_ten(t, 100, 0, '30s')


@case()
async def budget_interval_is_a_share(t):
    """Ten and up to four: two of a share of fifteen percent."""
    await after_ten(t, 15, 0, '30s')


@case()
async def budget_interval_that_is_over(t):
    await world(t, 50, 0, '0.1s')
    for _ in range(10):
        await t.req('/')
    await t.pass_time(0.3)
    t.see('stats', await fails(t, 1))


@case()
async def budget_interval_and_the_least(t):
    await world(t, 0, 2, '30s')
    t.see('stats', await fails(t, 6))


@case()
async def budget_interval_leaves_out_what_began_before(t):
    """Requests that are active count no longer than others."""
    await world(t, 60, 0, '0.1s')
    await ask(t, '/hang', 8)
    await t.stat_until('cluster.c1.upstream_rq_active', lambda n: n == 8)
    await t.pass_time(0.3)
    t.see('stats', await fails(t, 1))


@case()
async def budget_interval_leaves_other_limits(t):
    await world(t, 50, 0, '30s', extra='{max_requests: 1}')
    await ask(t, '/hang', 1)
    await t.stat_until('cluster.c1.upstream_rq_active', lambda n: n == 1)
    t.see('r', (await t.req('/')).status)
    t.see('stats', await t.stats('cluster.c1.upstream_rq_active_overflow', 'cluster.c1.circuit_breakers.default.rq_open'))


@case()
async def budget_interval_refused(t):
    t.see('exit', {i: (await t.run_to_end(simple(t, clusters=[cluster('c1', [], extra=budget(20, 3, i))]), args=('--mode', 'validate')))[0] for i in ('0s', '0.0001s', '-1s', '1000000000000s')})
