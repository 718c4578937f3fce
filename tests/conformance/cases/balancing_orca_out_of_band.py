"""ORCA out of band: hosts report their load over a stream of their own (`enable_oob_load_report`)."""
import struct

from harness import *

CS = 'type.googleapis.com/envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin'
METHOD = '/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics'


def policy(**kw):
    typed = {'@type': CS, 'enable_oob_load_report': True, 'blackout_period': '0s', 'weight_update_period': '0.1s', 'oob_reporting_period': '0.1s', **kw}
    return {'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'x', 'typed_config': typed}}]}}


def report(rps, cpu):
    """`OrcaLoadReport` with its length before it."""
    m = b'\x09' + struct.pack('<d', cpu) + b'\x31' + struct.pack('<d', rps)
    return b'\0' + struct.pack('!I', len(m)) + m


async def reporter(t, name, reports, status=200, content='application/grpc', headers=(), end=None, **kw):
    """A host whose stream tells these; with `end` that ends the stream. Every other request is answered."""
    async def handler(s):
        if s.h(':path') != METHOD:
            await s.body()
            s.respond(200, [('x-up', name), *headers])
            await s.data(name, end=True)
            return
        if reports is None:
            return
        s.respond(status, [('content-type', content)])
        for r in reports:
            await s.data(r)
        if end == 'reset':
            s.reset()
        elif end is not None:
            s.trailers([('grpc-status', end)])
    return await t.h2up(name, handler, **kw)


def asked(u):
    return [m for m in u.reqs if hget(m['headers'], ':path') == METHOD]


async def weights(t, wanted=None):
    """The hosts' weights as `/clusters` tells them."""
    async def now():
        _, text = await t.admin('/clusters')
        return [int(l.rpartition('::')[2]) for l in text.splitlines() if '::weight::' in l]
    if wanted:
        await t.until(lambda: same(now, wanted))
    return await now()


async def same(now, wanted):
    return await now() == wanted


async def world(t, *ups, extra=None, h2=True, **kw):
    await t.start(simple(t, clusters=[cluster('c1', list(ups), h2=h2, extra={**policy(**kw), **(Y(extra) or {})})]))


@case()
async def oob_the_stream(t):
    a = await reporter(t, 'a', [report(100, 0.5)])
    await world(t, a, oob_reporting_period='1.5s')
    await t.until(lambda: asked(a))
    m = asked(a)[0]
    await t.until(lambda: m['body'])
    t.see('head', sorted('%s: %s' % (k, t.mask(v)) for k, v in m['headers']))
    t.see('body', m['body'].hex())
    t.see('ended', m['ended'])


@case()
async def oob_weights(t):
    a, b = await reporter(t, 'a', [report(100, 0.5)]), await reporter(t, 'b', [report(100, 0.25)])
    await world(t, a, b)
    t.see('weights', await weights(t, [200, 400]))


@case()
async def oob_last_report_counts(t):
    a, b = await reporter(t, 'a', [report(100, 0.5), report(100, 0.1)]), await reporter(t, 'b', [report(10, 0.5)])
    await world(t, a, b)
    t.see('weights', await weights(t, [1000, 20]))


@case()
async def oob_answers_count_too(t):
    """What answers report is read beside what comes by a stream: the last one counts."""
    a = await reporter(t, 'a', [report(100, 0.5)], headers=[('endpoint-load-metrics', 'TEXT cpu_utilization=0.1,rps_fractional=7')])
    b = await reporter(t, 'b', [report(100, 0.25)])
    await world(t, a, b)
    await weights(t, [200, 400])
    for _ in range(4):
        await t.req('/')
    t.see('weights', await weights(t, [70, 400]))


@case()
async def oob_answers_of_hosts_that_do_not_stream(t):
    line = ('endpoint-load-metrics', 'TEXT cpu_utilization=0.5,rps_fractional=100')
    a, b = await reporter(t, 'a', [], status=404, headers=[line]), await reporter(t, 'b', [report(100, 0.25)])
    await world(t, a, b)
    for _ in range(4):
        await t.req('/')
    t.see('weights', await weights(t, [400, 400]))


@case()
async def oob_unimplemented(t):
    """Whether a host that does not know the method is asked again."""
    a = await reporter(t, 'a', [], end='12')
    await world(t, a, oob_reporting_period='0.1s')
    await t.until(lambda: asked(a))
    await t.pass_time(1.5)
    t.see('asked', min(2, len(asked(a))))
    t.see('weights', await weights(t))


@case()
async def oob_stream_that_ends_is_begun_again(t):
    a = await reporter(t, 'a', [report(100, 0.5)], end='0')
    await world(t, a, oob_reporting_period='0.1s')
    t.see('again', bool(await t.until(lambda: len(asked(a)) > 1, timeout=8)))
    t.see('conns', a.conns)


@case()
async def oob_stream_that_is_reset_is_begun_again(t):
    a = await reporter(t, 'a', [report(100, 0.5)], end='reset')
    await world(t, a, oob_reporting_period='0.1s')
    t.see('again', bool(await t.until(lambda: len(asked(a)) > 1, timeout=8)))


@case()
async def oob_garbled(t):
    a = await reporter(t, 'a', [b'\0\0\0\0\x03\xff\xff\xff'])
    b = await reporter(t, 'b', [report(100, 0.25)])
    await world(t, a, b)
    t.see('weights', await weights(t, [400, 400]))


@case()
async def oob_stats(t):
    a = await reporter(t, 'a', [report(100, 0.5)])
    await world(t, a)
    await t.stat_until('cluster.c1.lb_orca_oob.reports_received', lambda n: n == 1)
    t.see('stats', await t.stats(regex=r'^cluster\.c1\.(upstream_cx_total|upstream_cx_active|upstream_rq_total|upstream_rq_active|.*orca.*|.*oob.*)'))


@case()
async def oob_over_http1(t):
    """The stream is HTTP/2 whatever requests are."""
    a = await reporter(t, 'a', [report(100, 0.5)])
    b = await reporter(t, 'b', [report(100, 0.25)])
    await world(t, a, b, h2=False)
    t.see('weights', await weights(t, [200, 400]))


@case()
async def oob_other_port_and_authority(t):
    a, side = await t.h2up('a'), await reporter(t, 'side', [report(100, 0.5)])
    await world(t, a, oob_reporting_config={'port_value': side.port, 'authority': 'load.example'})
    t.see('came', bool(await t.until(lambda: asked(side))))
    t.see('authority', [hget(m['headers'], ':authority') for m in asked(side)])
    t.see('of_a', len(asked(a)))


@case()
async def oob_hostname_is_the_authority(t):
    a = await reporter(t, 'a', [report(100, 0.5)])
    c = cluster('c1', a, h2=True, extra=policy())
    c['load_assignment']['endpoints'][0]['lb_endpoints'][0]['endpoint']['hostname'] = 'h.example'
    await t.start(simple(t, clusters=[c]))
    await t.until(lambda: asked(a))
    t.see('authority', [hget(m['headers'], ':authority') for m in asked(a)])


@case()
async def oob_refused(t):
    async def code(**kw):
        return (await t.run_to_end(simple(t, clusters=[cluster('c1', [], extra=policy(**kw))]), args=('--mode', 'validate')))[0]
    t.see('exit', {
        'ok': await code(oob_reporting_period='1s'),
        'zero': await code(oob_reporting_period='0s'),
        'tiny': await code(oob_reporting_period='0.001s'),
        'negative': await code(oob_reporting_period='-1s'),
        'off_with_settings': await code(enable_oob_load_report=False, oob_reporting_config={'port_value': 1}),
    })


def counted(name, **kw):
    """What is counted of one stream that is like this."""
    @case(name='oob_counts_' + name)
    async def _(t):
        a = await reporter(t, 'a', **kw) if kw else t.dead('a')
        await world(t, a)
        keys = ['cluster.c1.lb_orca_oob.' + k for k in 'active_sessions report_errors reports_received stream_failures stream_terminated'.split()]

        async def some():
            return any(v for k, v in (await t.stats(*keys, settle=0)).items() if not k.endswith(('received', 'sessions')))
        await t.until(some)
        t.see('stats', {k.rpartition('.')[2]: min(1, v) for k, v in (await t.stats(*keys)).items()})


counted('an_end', reports=[report(1, 1)], end='0')
counted('an_error', reports=[report(1, 1)], end='14')
counted('a_reset', reports=[report(1, 1)], end='reset')
counted('the_unimplemented', reports=[], end='12')
counted('a_404', reports=[], status=404)
counted('another_type', reports=[report(1, 1)], content='text/html')
counted('the_garbled', reports=[b'\0\0\0\0\x03\xff\xff\xff'])
counted('the_compressed', reports=[b'\1' + report(1, 1)[1:]])
counted('nobody')
