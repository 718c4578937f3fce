"""Which requests are traced: samplings, what forces a trace, the reason in x-request-id, decorators. No provider."""
from harness import *

PLAIN = '00000005-0000-4000-8000-000000000000'


def digit(value):
    """The character of an id that tells the reason."""
    return value[14] if value and len(value) == 36 else value


async def asked(t, u, label, *requests):
    """Each request's reason upstream, and what was counted."""
    out = []
    for headers in requests:
        await t.req('/', headers=[('x-request-id', PLAIN), *headers])
        out.append(digit(u.reqs[-1].h('x-request-id')))
    t.see(label, out)


async def counted(t):
    st, b = await t.admin('/stats?filter=tracing')
    t.see('stats', sorted(l for l in b.splitlines() if 'tracing' in l))


KINDS = ([], [('x-client-trace-id', 'c')], [('x-envoy-force-trace', '1')], [('x-client-trace-id', 'c'), ('x-envoy-force-trace', '1')],
         [('x-envoy-force-trace', '1'), ('x-forwarded-for', '8.8.8.8')])

for name, tracing in (('default', '{}'), ('random_off', '{random_sampling: {value: 0}}'), ('client_off', '{client_sampling: {value: 0}, random_sampling: {value: 0}}'),
                      ('overall_off', '{overall_sampling: {value: 0}}'), ('random_below', '{random_sampling: {value: 0.05}}'), ('random_at', '{random_sampling: {value: 0.06}}'),
                      ('random_rounds', '{random_sampling: {value: 0.055}}'), ('random_half', '{random_sampling: {value: 0.5}}'), ('random_one', '{random_sampling: {value: 1}}'), ('overall_at', '{overall_sampling: {value: 0.06}}'), ('overall_below', '{overall_sampling: {value: 0.05}}'), ('overall_parts', '{overall_sampling: {value: 0.9}}'), ('overall_some', '{overall_sampling: {value: 5}}'),
                      ('overall_more', '{overall_sampling: {value: 6}}')):
    @case('sampling_' + name)
    async def _(t, tracing=tracing):
        u = await t.up()
        await t.start(simple(t, opts='{tracing: %s}' % tracing))
        await asked(t, u, 'reasons', *KINDS)
        await counted(t)


@case()
async def without_tracing(t):
    u = await t.up()
    await t.start(simple(t))
    await asked(t, u, 'reasons', *KINDS)
    await counted(t)


@case()
async def reasons_that_come_along(t):
    u = await t.up()
    await t.start(simple(t, opts='{tracing: {random_sampling: {value: 0}}}'))
    out = []
    for d in '49abcf0':
        await t.req('/', headers=[('x-request-id', PLAIN[:14] + d + PLAIN[15:])])
        out.append(digit(u.reqs[-1].h('x-request-id')))
    for own in ('no-uuid', 'zzzzzzzz-0000-4000-8000-000000000000', PLAIN.upper()):
        await t.req('/', headers=[('x-request-id', own), ('x-envoy-force-trace', '1')])
        out.append(u.reqs[-1].h('x-request-id'))
    t.see('reasons', out)
    await counted(t)


@case()
async def reasons_are_taken_away(t):
    u = await t.up()
    await t.start(simple(t, opts='{tracing: {overall_sampling: {value: 0}}}'))
    out = []
    for d in '49ab':
        await t.req('/', headers=[('x-request-id', PLAIN[:14] + d + PLAIN[15:])])
        out.append(digit(u.reqs[-1].h('x-request-id')))
    t.see('reasons', out)
    await counted(t)


for name, ext in (('unpacked', 'pack_trace_reason: false'), ('ids_do_not_count', 'use_request_id_for_trace_sampling: false')):
    @case('sampling_' + name)
    async def _(t, ext=ext):
        u = await t.up()
        await t.start(simple(t, opts='{tracing: {random_sampling: {value: 0}}, request_id_extension: {typed_config: {"@type": type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig, %s}}}' % ext))
        await asked(t, u, 'reasons', *KINDS)
        await counted(t)


for name, keys in (('random_off', 'tracing.random_sampling: 0'), ('global_off', 'tracing.global_enabled: 0'), ('client_off', 'tracing.client_enabled: 0')):
    @case('runtime_' + name)
    async def _(t, keys=keys):
        u = await t.up()
        await t.start(simple(t, opts='{tracing: {}}', extra='{layered_runtime: {layers: [{name: s, static_layer: {%s}}]}}' % keys))
        await asked(t, u, 'reasons', *KINDS)
        await counted(t)


@case()
async def route_tracing_stands_for_all_of_it(t):
    u = await t.up()
    routes = '''[{match: {prefix: /, headers: [{name: x-r, string_match: {exact: "1"}}]}, route: {cluster: c1}, tracing: {}},
                 {match: {prefix: /, headers: [{name: x-r, string_match: {exact: "2"}}]}, route: {cluster: c1}, tracing: {random_sampling: {numerator: 5, denominator: TEN_THOUSAND}}},
                 {match: {prefix: /, headers: [{name: x-r, string_match: {exact: "3"}}]}, route: {cluster: c1}, tracing: {random_sampling: {numerator: 6, denominator: TEN_THOUSAND}}},
                 {match: {prefix: /, headers: [{name: x-r, string_match: {exact: "4"}}]}, route: {cluster: c1}, tracing: {overall_sampling: {numerator: 0}}},
                 {match: {prefix: /}, route: {cluster: c1}}]'''
    await t.start(simple(t, opts='{tracing: {random_sampling: {value: 0}}}', routes=routes))
    await asked(t, u, 'reasons', *([('x-r', str(n))] for n in range(5)))
    await counted(t)


@case()
async def a_request_without_a_route_and_local_answers(t):
    await t.up()
    routes = '[{match: {path: /here}, direct_response: {status: 200}}, {match: {path: /moved}, redirect: {path_redirect: /x}}]'
    await t.start(simple(t, opts='{tracing: {}, always_set_request_id_in_response: true}', routes=routes))
    out = []
    for path in ('/here', '/moved', '/none'):
        r = await t.req(path, headers=[('x-request-id', PLAIN)])
        out.append([r.status, digit(r.h('x-request-id'))])
    t.see('answers', out)
    await counted(t)


DECORATED = '''[{match: {prefix: /, headers: [{name: x-r, string_match: {exact: "1"}}]}, route: {cluster: c1}, decorator: {operation: op}},
                {match: {prefix: /, headers: [{name: x-r, string_match: {exact: "2"}}]}, route: {cluster: c1}, decorator: {operation: op, propagate: false}},
                {match: {prefix: /local}, direct_response: {status: 200}, decorator: {operation: local}},
                {match: {prefix: /}, route: {cluster: c1}}]'''

for name, direction, opts in (('inbound', '{}', '{tracing: {}}'), ('outbound', '{traffic_direction: OUTBOUND}', '{tracing: {}}'), ('untraced', '{}', '{}'),
                              ('not_sampled', '{}', '{tracing: {overall_sampling: {value: 0}}}')):
    @case('decorator_' + name)
    async def _(t, direction=direction, opts=opts):
        u = await t.up('u1', lambda m, n: resp(200, 'x', [('x-envoy-decorator-operation', 'theirs')] if m['path'] == '/theirs' else []))
        await t.start(simple(t, opts=opts, lextra=direction, routes=DECORATED))
        out = []
        for path in ('/', '/theirs'):
            for headers in ([], [('x-r', '1')], [('x-r', '2')], [('x-r', '1'), ('x-envoy-decorator-operation', 'mine')], [('x-envoy-decorator-operation', 'mine')],
                            [('x-r', '1'), ('x-envoy-decorator-operation', '')]):
                r = await t.req(path, headers=headers)
                out.append([u.reqs[-1].h('x-envoy-decorator-operation'), r.h('x-envoy-decorator-operation')])
        r = await t.req('/local')
        out.append(r.h('x-envoy-decorator-operation'))
        t.see('up_down', out)


@case()
async def redirects_are_followed_once_decided(t):
    u = await t.up('u1', lambda m, n: resp(302, '', [('location', 'http://x/b')]) if m['path'] == '/a' else resp(200, 'x'))
    routes = '[{match: {prefix: /}, route: {cluster: c1, internal_redirect_policy: {}}, decorator: {operation: op}}]'
    await t.start(simple(t, opts='{tracing: {}}', routes=routes))
    r = await t.req('/a', headers=[('x-request-id', PLAIN)])
    t.see('got', [r.status, r.h('x-envoy-decorator-operation'), [digit(q.h('x-request-id')) for q in u.reqs]])
    await counted(t)
