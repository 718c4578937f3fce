"""Tables of cases: each function here registers one case per row, from the few things in which the rows differ."""
import asyncio
import json

from .config import Y, cluster, filelog, simple
from .http1 import Msg, build, resp
from .registry import case

PROTOCOL_LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %PROTOCOL%'
HOST_LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST%'


def H(*hs, **kw):
    """Keywords of a request with these headers."""
    return dict(headers=list(hs), **kw)


# ---- requests as bytes
def raws(name, items, opts=None, lextra=None, follow=True, only=None, log=PROTOCOL_LOG, warm=False, **kw):
    """items: (label, raw bytes). Observes the answer, whether the connection closes, and what reached the upstream.

    With `warm` each finds a connection to the upstream ready, so that nothing hangs on how long a connect takes."""
    @case(name)
    async def _(t):
        u = await t.up()
        await t.start(simple(t, opts=opts, log=log, **kw))
        for label, raw in items:
            if warm:
                await t.req('/warm')
            n = len(u.reqs)
            c = await t.conn()
            c.send(raw)
            r = await c.response(timeout=1.0)
            t.see(label, r)
            # After an error answer with 'connection: close' Envoy lingers (delayed close); when exactly it closes is not judged.
            if (r.h('connection') or '').lower() != 'close' or b'lose\r\n' in raw:
                t.see(label + ' conn', await c.state(0.15))
            t.see(label + ' up', [t.req_view(m, only=only) for m in u.reqs[n:]])
            c.close()
        t.see('alive', (await t.req('/')).status)
        t.see('log', await t.logs())


# ---- upstreams that answer with these bytes
def badup(name, data, close=True, again=True):
    @case('upstream_bad_' + name)
    async def _(t):
        async def conn(c):
            m = await c.read_request()
            if m and m['path'] == '/good':
                c.send(resp(200, 'good'))
                await c.drain()
            elif m:
                c.send(data)
                await c.drain()
                if close:
                    return
                await asyncio.sleep(0.3)
            await c.read_request()
        u = await t.up('u1', conn=conn)
        await t.start(simple(t, log=PROTOCOL_LOG + ' %UPSTREAM_TRANSPORT_FAILURE_REASON%'))
        c = await t.conn()
        t.see('r', await t.req('/bad', conn=c, timeout=2))
        t.see('conn', await c.state(0.2))
        t.see('good', await t.req('/good'))
        t.see('log', await t.logs())


def cut(name, data, how, path='/'):
    @case(name)
    async def _(t):
        async def conn(c):
            m = await c.read_request()
            if m is None:
                return
            if data:
                c.send(data)
                await c.drain()
                await asyncio.sleep(0.05)
            if how == 'reset':
                c.reset()
        u = await t.up('u1', conn=conn)
        await t.start(simple(t, log=HOST_LOG + ' %BYTES_SENT%'))
        c = await t.conn()
        t.see('r', await t.req(path, conn=c))
        t.see('conn', await c.state(0.2) if data else '-')
        t.see('h2', await t.h2req(path))
        t.see('stats', await t.stats('cluster.c1.upstream_cx_destroy_remote_with_active_rq', 'cluster.c1.upstream_rq_rx_reset', 'cluster.c1.upstream_rq_5xx', 'cluster.c1.upstream_rq_2xx', 'cluster.c1.upstream_cx_destroy_with_active_rq'))
        t.see('log', await t.logs())


# ---- what reaches the upstream
XFF = {'x-forwarded-for', 'x-forwarded-proto', 'x-envoy-external-address', 'x-envoy-internal', 'x-envoy-downstream-service-cluster', 'x-forwarded-port', 'x-forwarded-client-cert'}


def edge(name, opts, reqs, only=XFF, log='%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%|%REQ(X-FORWARDED-FOR)%', **kw):
    @case(name)
    async def _(t):
        u = await t.up()
        await t.start(simple(t, opts=opts, log=log, **kw))
        for i, k in enumerate(reqs):
            n = len(u.reqs)
            r = await t.req(**k)
            t.see('%d' % i, u.reqs[-1] if len(u.reqs) > n else Msg(line=r.line, raw_headers=r.raw_headers, body=r.body), only=only)
        t.see('log', await t.logs())


# ---- access logs
def text(name, fmt, reqs=({},), respond=None, routes=None, opts=None, h2=False, up='h1', handler=None, extra=None, post=None, filters=(), copts=None, ups=True, hpo=None):
    @case(name)
    async def _(t):
        if up == 'dead':
            t.dead()
            us = [t.dead('u1')]
        elif up == 'h2':
            us = [await t.h2up('u1', handler)]
        else:
            us = [await t.up('u1', respond)]
        await t.start(simple(t, clusters=[cluster('c1', us, copts, h2=(up == 'h2'), hpo=hpo)], routes=routes, opts=opts, logs=[filelog(t, fmt)], extra=extra, filters=filters))
        for k in reqs:
            await (t.h2req(**k) if h2 else t.req(**k))
        l = await t.logs()
        t.see('log', [post(x) for x in l] if post else l)


def js(name, fmt, reqs=({},), respond=None, post=None, omit=None, routes=None, **kw):
    @case('json_' + name)
    async def _(t):
        await t.up('u1', respond)
        await t.start(simple(t, logs=[filelog(t, None, json_fmt=Y(fmt), omit_empty=omit)], routes=routes, **kw))
        for k in reqs:
            await t.req(**k)
        l = await t.logs()
        t.see('raw_first', post(l[0]) if post else l[0])
        t.see('parsed', [json.loads(x) for x in l])


def flt(name, f, reqs, respond=None, routes=None, extra=None, opts=None, up=True):
    @case('filter_' + name)
    async def _(t):
        await t.up('u1', respond or (lambda m, n: resp(int(m.h('x-st') or 200), 'x')))
        await t.start(simple(t, logs=[filelog(t, '%REQ(:PATH)%', filter=f), filelog(t, '%REQ(:PATH)% %RESPONSE_CODE%', 'all.log')], routes=routes, extra=extra, opts=opts))
        for k in reqs:
            await t.req(**k)
        t.see('log', await t.logs())
        t.see('unfiltered', await t.logs('all.log'))


# ---- limits
async def hold_up(t, name='u1', hold=0.6):
    async def f(m, n):
        if m['path'].startswith('/hold'):
            await asyncio.sleep(hold)
        return resp(200, 'ok ' + m['path'])
    return await t.up(name, f)


def cb(name, thresholds, stats, h2=False, holds=1, extra_req=None, hdr=None):
    @case('circuit_breaker_' + name)
    async def _(t):
        if h2:
            async def h(s):
                if s.h(':path').startswith('/hold'):
                    await asyncio.sleep(0.6)
                s.respond(200)
                await s.data(b'ok ' + s.h(':path').encode(), end=True)
            u = await t.h2up('u1', h)
        else:
            u = await hold_up(t)
        await t.start(simple(t, clusters=[cluster('c1', u, {'circuit_breakers': {'thresholds': Y(thresholds)}}, h2=h2)], log=HOST_LOG))
        cs = []
        for i in range(holds):
            c = await t.conn()
            c.send(build('/hold%d' % i))
            cs.append(c)
            await asyncio.sleep(0.05)
        r = await t.req('/over')
        t.see('over', r)
        t.see('gauges', await t.stats(*[s for s in stats if '_open' in s]))
        t.see('held', [(await c.response()).status for c in cs])
        t.see('after', (await t.req('/after')).status)
        t.see('stats', await t.stats(*[s for s in stats if '_open' not in s]))
        t.see('log', await t.logs())
