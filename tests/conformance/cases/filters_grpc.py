"""grpc_stats: what is counted of calls, under which names, and what the filter state says of them."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %FILTER_STATE(envoy.filters.http.grpc_stats)% %FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)% %FILTER_STATE(envoy.filters.http.grpc_stats:FIELD:request_message_count)% %FILTER_STATE(envoy.filters.http.grpc_stats:FIELD:response_message_count)% %FILTER_STATE(envoy.filters.http.grpc_stats:FIELD:x)%'
GRPC = [('content-type', 'application/grpc')]
MSG = lambda n: b'\0' + n.to_bytes(4, 'big') + b'x' * n
CALL = lambda path='/p.S/M', body=MSG(1), ty='application/grpc', more=(): dict(path=path, method='POST', headers=[('content-type', ty), *more], body=body)


def answers(head=GRPC, data=(MSG(2),), trailers=(('grpc-status', '0'),)):
    async def h(s):
        await s.body()
        if not data and trailers is None:
            s.respond(200, list(head), end=True)
            return
        s.respond(200, list(head))
        for i, d in enumerate(data):
            await s.data(d, end=trailers is None and i == len(data) - 1)
        if trailers is not None:
            s.trailers(list(trailers))
    return h


def counted(name, cfg, reqs, up=None, routes=None, copts=None, regex=r'\.grpc[.-]', vhosts=None, more=()):
    """Calls, the counters that there are behind them, and the log."""
    @case('grpc_stats_' + name)
    async def _(t):
        u = await t.h2up('u1', up or answers())
        f = [*more, http_filter('gs', 'grpc_stats.v3.FilterConfig', cfg)]
        await t.start(simple(t, clusters=[cluster('c1', u, copts, h2=True)], filters=f, log=LOG, routes=routes))
        for i, k in enumerate(reqs):
            r = await t.req(**k)
            t.see('%d' % i, r.status)
        if regex:
            t.see('stats', await t.stats(regex=regex))
        t.see('log', await t.logs())


ALL = '{stats_for_all_methods: true}'
STATE = '{emit_filter_state: true}'
counted('messages', ALL, [CALL(), CALL(body=MSG(3) + MSG(0) + MSG(9)), CALL(body=MSG(3)[:4]), CALL(body=b'')],
        answers(data=(MSG(2)[:3], MSG(2)[3:] + MSG(1), MSG(70000))))
counted('states_of_calls', ALL, [CALL(), CALL()], answers(trailers=(('grpc-status', '16'),)))
counted('odd_statuses', ALL, [CALL()], answers(trailers=(('grpc-status', '99'), ('grpc-message', 'x'))))
counted('status_that_is_no_number', ALL, [CALL()], answers(trailers=(('grpc-status', 'abc'),)))
counted('status_in_the_head', ALL, [CALL()], answers(head=GRPC + [('grpc-status', '3')], data=(), trailers=None))
counted('no_status', ALL, [CALL()], answers(trailers=(('x', 'y'),)))
counted('names_that_are_none', ALL, [CALL('/'), CALL('/a'), CALL('/a/'), CALL('//b'), CALL('/a/b/c'), CALL('/a.b/c?q=1'), CALL('/a//b'), CALL('/c/d/')])
counted('names_that_are_none_without_methods', '{}', [CALL('/'), CALL('/a'), CALL('/a/'), CALL('//b'), CALL('/a/b/c'), CALL('/a.b/c?q=1'), CALL('/a//b'), CALL('/c/d/')])
counted('dots_replaced', '{stats_for_all_methods: true, replace_dots_in_grpc_service_name: true}', [CALL('/a.b.C/m'), CALL('/a.b.C/m.n')])
counted('dots_replaced_in_a_list', '{individual_method_stats_allowlist: {services: [{name: a.b.C, method_names: [m]}]}, replace_dots_in_grpc_service_name: true}', [CALL('/a.b.C/m'), CALL('/a.b.C/o')])
counted('allowlist', '{individual_method_stats_allowlist: {services: [{name: p.S, method_names: [M, O]}, {name: q, method_names: [M]}]}}',
        [CALL(), CALL('/p.S/O'), CALL('/p.S/P'), CALL('/q/M'), CALL('/p.S/M?x')])
counted('content_types', ALL, [CALL(ty='application/grpc+proto'), CALL(ty='application/grpc-web'), CALL(ty='application/grpcx'), CALL(ty='application/json'), CALL(ty='application/grpc; charset=x')])
counted('answer_is_no_grpc', ALL, [CALL()], answers(head=[('content-type', 'text/plain')]))
counted('connect_protocol', STATE, [CALL(ty='application/connect+proto', more=[('connect-protocol-version', '1')]), CALL(ty='application/connect+proto')],
        answers(head=[('content-type', 'application/connect+proto')], data=(MSG(2), b'\2\0\0\0\2{}'), trailers=None))
counted('state', STATE, [CALL(), CALL(body=MSG(1) + MSG(2)), CALL(body=b''), CALL(ty='text/plain')])
counted('state_without_answer', STATE, [CALL()], answers(head=GRPC + [('grpc-status', '3')], data=(), trailers=None))
counted('state_and_names_that_are_none', STATE, [CALL('/a')])
counted('upstream_time', '{stats_for_all_methods: true, enable_upstream_stats: true}', [CALL(), CALL('/other')], regex=r'c1\.grpc.*(upstream_rq_time|success)')
counted('upstream_time_without_methods', '{enable_upstream_stats: true}', [CALL()], regex=r'c1\.grpc.*(upstream_rq_time|success)')
counted('local_replies', ALL, [CALL('/d/x'), CALL('/r/x'), CALL('/none/x')], routes='[{match: {prefix: /d/}, direct_response: {status: 403}}, {match: {prefix: /r/}, redirect: {path_redirect: /x}}]')
counted('weighted', ALL, [CALL(), CALL()], routes='[{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c1, weight: 1}]}}}]')
counted('alternative_name', ALL, [CALL()], copts='{alt_stat_name: other}', regex='grpc')
counted('chosen_by_a_header', ALL, [CALL(more=[('x-c', 'c1')]), CALL(more=[('x-c', 'c9')])], routes='[{match: {prefix: /}, route: {cluster_header: x-c}}]')
counted('prefix_rewritten', ALL, [CALL('/a.B/c')], routes='[{match: {prefix: /a.B/}, route: {cluster: c1, prefix_rewrite: /z/}}]')
counted('per_route', ALL, [CALL(), CALL('/off/x')], routes=[{'match': {'prefix': '/off'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'gs': {'@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', 'disabled': True}}}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}])


@case()
async def grpc_stats_of_an_upstream_that_is_gone(t):
    f = [http_filter('gs', 'grpc_stats.v3.FilterConfig', ALL)]
    await t.start(simple(t, clusters=[cluster('c1', t.dead(), h2=True)], filters=f, log=LOG))
    t.see('r', await t.req(**CALL()))
    t.see('stats', await t.stats(regex=r'\.grpc[.-]'))


@case()
async def grpc_stats_verdicts(t):
    await t.up('u1')
    pf = lambda c: [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'gs': {'@type': ftype('grpc_stats.v3.FilterConfig'), **c}}}]
    for i, (c, routes) in enumerate([('{}', None), ('{individual_method_stats_allowlist: {}}', None), ('{individual_method_stats_allowlist: {services: [{name: a}]}}', None), ('{individual_method_stats_allowlist: {services: [{method_names: [a]}]}}', None),
                           ('{}', pf({})), ('{stats_for_all_methods: true, individual_method_stats_allowlist: {}}', None)]):
        code, _ = await t.run_to_end(simple(t, filters=[http_filter('gs', 'grpc_stats.v3.FilterConfig', c)], routes=routes), args=('--mode', 'validate'))
        t.see('%d' % i, 'refused' if code else 'taken')
