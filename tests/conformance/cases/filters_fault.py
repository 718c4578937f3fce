"""fault: the metadata that a fault leaves on its stream."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %DYNAMIC_METADATA(envoy.filters.http.fault)% %DYNAMIC_METADATA(fl)%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
FF = lambda c, name='fl': http_filter(name, 'fault.v3.HTTPFault', '{filter_metadata: {a: b, n: {x: 1.5}}, headers: [{name: x-f, present_match: true}], %s}' % c)
ALL = 'percentage: {numerator: 100}'
REQS = [H(('x-f', '1')), H()]


def faults(name, c, routes=None, filters=None):
    @case('fault_metadata_' + name)
    async def _(t):
        await t.up('u1')
        await t.start(simple(t, filters=filters or [FF(c)], log=LOG, routes=routes))
        for i, k in enumerate(REQS):
            t.see('%d' % i, (await t.req(**k)).status)
        t.see('log', await t.logs())


faults('of_aborts', 'abort: {http_status: 429, %s}' % ALL)
faults('of_delays', 'delay: {fixed_delay: 0.01s, %s}' % ALL)
faults('of_both', 'delay: {fixed_delay: 0.01s, %s}, abort: {http_status: 429, %s}' % (ALL, ALL))
faults('of_rates', 'response_rate_limit: {fixed_limit: {limit_kbps: 1000}, %s}' % ALL)
faults('of_none', 'abort: {http_status: 429, percentage: {numerator: 0}}')
faults('usual_name', None, filters=[FF('abort: {http_status: 429, %s}' % ALL, 'envoy.filters.http.fault')])
faults('of_the_route', 'max_active_faults: 9', routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'fl': {'@type': ftype('fault.v3.HTTPFault'), **Y('{filter_metadata: {own: 1}, abort: {http_status: 429, %s}}' % ALL)}}}])
