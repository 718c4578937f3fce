"""How much a failing upstream is asked again: circuit breakers and retry budgets hold a storm of retries."""
from harness import *


def storm(name, breakers, least, most):
    """400 requests by 40 clients at once to an upstream that fails half of them: what it is asked, as a factor."""
    @case('storm_' + name)
    async def _(t):
        async def half(m, n):
            await asyncio.sleep(0.004)
            return resp(503 if n % 2 else 200, 'x')
        u = await t.up('u1', half)
        policy = {'retry_on': '5xx', 'num_retries': 10, 'retry_back_off': {'base_interval': '0.02s', 'max_interval': '0.02s'}}
        await t.start(simple(t, clusters=[cluster('c1', u, {'circuit_breakers': {'thresholds': [Y(breakers)]}})], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': policy}}]))

        async def client():
            conn = await t.conn()
            for _ in range(10):
                await t.req('/', conn=conn)
        await asyncio.gather(*[client() for _ in range(40)])
        asked = len(u.reqs) / 400
        t.see('asked as often as allowed', least <= asked <= most)
        t.see('overflow', (await t.stats('cluster.c1.upstream_rq_retry_overflow'))['cluster.c1.upstream_rq_retry_overflow'] > 0)


WIDE = 'max_connections: 5000, max_pending_requests: 5000, max_requests: 5000'
storm('without_a_budget', '{max_retries: 5000, %s}' % WIDE, 1.7, 2.3)
storm('held_by_the_budget', '{retry_budget: {budget_percent: {value: 10}, min_retry_concurrency: 2}, %s}' % WIDE, 1.0, 1.25)
storm('held_by_max_retries', '{max_retries: 2, %s}' % WIDE, 1.0, 1.25)
