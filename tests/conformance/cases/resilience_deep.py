"""What a cluster says of its own requests, upstream logs, and filters of the upstream's side."""
from harness import *
from harness.tables import H

T = 'type.googleapis.com/'
H1 = {'explicit_http_config': {'http_protocol_options': {}}}
LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'


def failing(first=1, status=503, body='bad'):
    """An upstream whose first answers fail."""
    return lambda m, n: resp(status, body) if n <= first else resp(200, 'good')


def of_cluster(name, hpo, reqs=(H(),), action=None, vh=None, rt=None, respond=None, seen=None, stats=(), respond2=None, **kw):
    """What becomes of requests to a cluster with these HTTP options."""
    @case('cluster_' + name)
    async def _(t):
        u, u2 = await t.up('u1', respond), await t.up('u2', respond2)
        routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **(Y(action) or {})}}]
        clusters = [cluster('c1', u, hpo={**H1, **Y(hpo)}), cluster('c2', u2)]
        await t.start(simple(t, clusters=clusters, vhosts=[{'name': 'v', 'domains': ['*'], 'routes': routes, **(Y(vh) or {})}], log=LOG, rt=rt, **kw))
        for i, k in enumerate(reqs):
            r = await t.req(**k)
            t.see('r%d' % i, [r.status, body_repr(r.body)])
        if 'c2' in str(hpo) + str(action):
            await t.until(lambda: len(u2.reqs) >= 1, timeout=0.5)
            t.see('mirrored', [len(u.reqs), len(u2.reqs)])
        else:
            t.see('asked', len(u.reqs))
        if stats:
            t.see('stats', await t.stats(*stats))
        t.see('log', await t.logs())


R5 = '{retry_policy: {retry_on: 5xx, num_retries: %d}}'
of_cluster('retry_policy', R5 % 1, respond=failing())
of_cluster('retry_policy_over_the_route', R5 % 0, action=R5 % 2, respond=failing())
of_cluster('retry_policy_over_the_virtual_host', R5 % 2, vh=R5 % 0, respond=failing(2))
of_cluster('retry_policy_and_headers', R5 % 0, reqs=[H(('x-envoy-max-retries', '2'))], respond=failing(2), opts='{internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}')
of_cluster('retry_policy_other_condition', '{retry_policy: {retry_on: retriable-status-codes, retriable_status_codes: [418], num_retries: 1}}', action=R5 % 1, respond=failing(1, 418))
of_cluster('retry_policy_per_try_timeout', '{retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s}}', respond=lambda m, n: asyncio.sleep(0.4, resp(200, 'late')) if n == 1 else resp(200, 'good'))
of_cluster('mirror_policy', '{request_mirror_policies: [{cluster: c2}]}', stats=['cluster.c2.upstream_rq_total'])
of_cluster('mirror_policy_over_the_route', '{request_mirror_policies: [{cluster: c2}]}', action='{request_mirror_policies: [{cluster: c1}]}')
of_cluster('mirror_policy_gone', '{request_mirror_policies: [{cluster: c2-gone}]}')
of_cluster('suppressed_grpc_codes', '{}', rt=router(suppress_grpc_request_failure_code_stats=True), reqs=[H(), H(('content-type', 'application/grpc'), method='POST')], respond=lambda m, n: resp(503, ''), stats=['cluster.c1.upstream_rq_503', 'cluster.c1.upstream_rq_5xx', 'cluster.c1.upstream_rq_total', 'cluster.c1.external.upstream_rq_503', 'cluster.c1.upstream_rq_completed'])
of_cluster('suppressed_grpc_codes_of_good_answers', '{}', rt=router(suppress_grpc_request_failure_code_stats=True), reqs=[H(('content-type', 'application/grpc'), method='POST')], respond=lambda m, n: resp(200, '', [('content-type', 'application/grpc'), ('grpc-status', '14')]), stats=['cluster.c1.upstream_rq_200', 'cluster.c1.upstream_rq_2xx', 'cluster.c1.upstream_rq_503', 'cluster.c1.upstream_rq_completed'])
of_cluster('suppressed_grpc_codes_of_own_answers', '{}', rt=router(suppress_grpc_request_failure_code_stats=True), action='{timeout: 0.1s}', reqs=[H(('content-type', 'application/grpc'), method='POST')], respond=lambda m, n: asyncio.sleep(0.3, resp(200, 'x')), stats=['cluster.c1.upstream_rq_504', 'cluster.c1.upstream_rq_5xx', 'cluster.c1.upstream_rq_completed', 'cluster.c1.upstream_rq_timeout'])


@case('cluster_hash_policy')
async def _(t):
    """The cluster's hash policy places requests, not the route's."""
    ups = [await t.up('u%d' % i, lambda m, n, i=i: resp(200, 'u%d' % i)) for i in range(4)]
    c = cluster('c1', ups, extra='{lb_policy: RING_HASH}', hpo={**H1, **Y('{hash_policy: [{header: {header_name: x-c}}]}')})
    await t.start(simple(t, clusters=[c], routes='[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: x-r}}]}}]'))
    async def hosts(make):
        return len({(await t.req(headers=make(i))).body for i in range(12)})
    t.see('by the cluster alone', await hosts(lambda i: [('x-c', 'same'), ('x-r', str(i))]) == 1)
    t.see('by the route', await hosts(lambda i: [('x-r', 'same'), ('x-c', str(i))]) == 1)


# ---- upstream logs
UPLOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %BYTES_RECEIVED% %BYTES_SENT%'


def uplog(name, fmt=UPLOG, reqs=(H(),), action=None, respond=None, options=None, opts=None, vh=None, dead=False, h2=False, respond_h2=None, filter=None, **kw):
    @case('upstream_log_' + name)
    async def _(t):
        u = t.dead('u1') if dead else await t.h2up('u1', respond_h2) if h2 else await t.up('u1', respond)
        log = filelog(t, fmt, name='up.log', filter=filter)
        rt = router(upstream_log=[log], **({'upstream_log_options': Y(options)} if options else {}))
        routes = [{'name': 'rn', 'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **(Y(action) or {})}}]
        await t.start(simple(t, clusters=[cluster('c1', u, h2=h2)], vhosts=[{'name': 'v', 'domains': ['*'], 'routes': routes, **(Y(vh) or {})}], log=LOG, rt=rt, opts=opts, **kw))
        for k in reqs:
            await t.req(**k)
        t.see('log', await t.logs())
        t.see('up', await t.logs('up.log', stop=False))


uplog('of_one_request', reqs=[H(path='/a'), H(path='/b', method='POST', body='hello')], respond=lambda m, n: resp(200, 'answer'))
uplog('of_retries', action=R5 % 2, respond=failing(2))
uplog('of_a_failed_connection', dead=True)
uplog('of_retried_connections', dead=True, action='{retry_policy: {retry_on: connect-failure, num_retries: 2}}')
uplog('of_a_timeout', action='{timeout: 0.1s}', respond=lambda m, n: asyncio.sleep(0.4, resp(200, 'late')))
uplog('of_a_per_try_timeout', action='{retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s}}', respond=lambda m, n: asyncio.sleep(0.4, resp(200, 'late')) if n == 1 else resp(200, 'good'))
uplog('of_heads', fmt='%REQ(x-a)% %REQ(x-added)% %REQ(:AUTHORITY)% %REQ(x-envoy-attempt-count)% %RESP(x-r)% %RESP(x-added)% %RESP(:STATUS)%', reqs=[H(('x-a', '1'))], respond=lambda m, n: resp(200, 'x', [('x-r', 'up')]), action='{prefix_rewrite: /new}', vh='{include_request_attempt_count: true, request_headers_to_add: [{header: {key: x-added, value: q}}], response_headers_to_add: [{header: {key: x-added, value: p}}]}')
uplog('of_names', fmt='%ROUTE_NAME% %VIRTUAL_CLUSTER_NAME% %PROTOCOL% %UPSTREAM_PROTOCOL% %REQ(:METHOD)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %ACCESS_LOG_TYPE% %UPSTREAM_TRANSPORT_FAILURE_REASON%', reqs=[H()])
uplog('of_names_over_http2', fmt='%ROUTE_NAME% %PROTOCOL% %UPSTREAM_PROTOCOL% %DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %STREAM_ID%' .replace(' %STREAM_ID%', ''), h2=True)
uplog('of_a_reset', action='{}', respond=lambda m, n: None)
uplog('filtered', filter='{status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: k}}}}', action=R5 % 1, respond=failing())
uplog('when_streams_begin', options='{flush_upstream_log_on_upstream_stream: true}', fmt=UPLOG + ' %ACCESS_LOG_TYPE%', action=R5 % 1, respond=failing())
uplog('at_intervals', options='{upstream_log_flush_interval: 0.2s}', fmt='%RESPONSE_CODE% %ACCESS_LOG_TYPE%', respond=lambda m, n: asyncio.sleep(0.5, resp(200, 'late')))
uplog('of_hedges', action='{retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.15s}, hedge_policy: {hedge_on_per_try_timeout: true}}', respond=lambda m, n: asyncio.sleep(0.4, resp(200, 'late')))
uplog('of_direct_answers', reqs=[H(path='/x')], action=None, vh='{request_headers_to_add: []}', opts='{}')


# ---- filters of the upstream's side
CODEC = {'name': 'envoy.filters.http.upstream_codec', 'typed_config': {'@type': ftype('upstream_codec.v3.UpstreamCodec')}}


def mutation(name='hm', req=None, res=None):
    add = lambda side: [{'append': {'header': {'key': k, 'value': v}, 'append_action': 'APPEND_IF_EXISTS_OR_ADD'}} for k, v in side]
    return http_filter(name, 'header_mutation.v3.HeaderMutation', {'mutations': {**({'request_mutations': add(req)} if req else {}), **({'response_mutations': add(res)} if res else {})}})


def upfilters(name, of_cluster=None, of_router=None, reqs=(H(),), action=None, respond=None, vh=None, only=frozenset({'x-up', 'x-down', 'x-add', 'x-n', 'x-r', 'x-envoy-attempt-count'}), log=LOG + ' %REQ(x-add)% %RESP(x-r)% %RESP(x-n)%', **kw):
    @case('upstream_filters_' + name)
    async def _(t):
        u = await t.up('u1', respond or (lambda m, n: resp(200, 'x', [('x-up', 'yes')])))
        hpo = {**H1, 'http_filters': of_cluster} if of_cluster else None
        rt = router(upstream_http_filters=of_router) if of_router else None
        routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **(Y(action) or {})}}]
        await t.start(simple(t, clusters=[cluster('c1', u, hpo=hpo)], vhosts=[{'name': 'v', 'domains': ['*'], 'routes': routes, **(Y(vh) or {})}], log=log, rt=rt, **kw))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**k), only=only)
        t.see('up', u.reqs, only=only)
        t.see('log', await t.logs())


upfilters('of_the_cluster', [mutation(req=[('x-add', 'cluster')], res=[('x-r', '%UPSTREAM_CLUSTER%')]), CODEC])
upfilters('of_the_router', None, [mutation(req=[('x-add', 'router')], res=[('x-r', 'router')]), CODEC])
upfilters('cluster_over_router', [mutation(req=[('x-add', 'cluster')]), CODEC], [mutation(req=[('x-add', 'router')], res=[('x-r', 'router')]), CODEC])
upfilters('in_order', [mutation('a', [('x-add', 'one')], [('x-r', 'one')]), mutation('b', [('x-add', 'two')], [('x-r', 'two')]), CODEC])
upfilters('codec_alone', [CODEC])
upfilters('each_attempt', [mutation(req=[('x-n', '%UPSTREAM_REQUEST_ATTEMPT_COUNT%'), ('x-add', 'a')]), CODEC], action=R5 % 1, respond=failing())
upfilters('after_the_route', [mutation(req=[('x-add', 'filter')], res=[('x-r', 'filter')]), CODEC], vh='{request_headers_to_add: [{header: {key: x-add, value: route}}], response_headers_to_add: [{header: {key: x-r, value: route}}]}')
upfilters('seen_by_retries', [mutation(res=[('x-retry', 'yes')]), CODEC], action='{retry_policy: {retry_on: retriable-headers, num_retries: 1, retriable_headers: [{name: x-retry, present_match: true}]}}')
upfilters('disabled', [{**mutation(req=[('x-add', 'off')]), 'disabled': True}, CODEC])
upfilters('unknown_and_optional', [{'name': 'x', 'is_optional': True, 'typed_config': {'@type': T + 'google.protobuf.StringValue', 'value': 'x'}}, mutation(req=[('x-add', 'on')]), CODEC])
upfilters('typed_per_route', [mutation('hm', req=[('x-add', 'filter')]), CODEC], vh={'typed_per_filter_config': {'hm': {'@type': ftype('header_mutation.v3.HeaderMutationPerRoute'), 'mutations': {'request_mutations': [{'append': {'header': {'key': 'x-add', 'value': 'route'}}}]}}}})


@case('upstream_filters_refused')
async def _(t):
    async def code(filters, place='cluster'):
        d = t.dead('d')
        c = cluster('c1', d, hpo={**H1, 'http_filters': filters}) if place == 'cluster' else cluster('c1', d)
        return (await t.run_to_end(simple(t, clusters=[c], rt=router(upstream_http_filters=filters) if place == 'router' else None), args=('--mode', 'validate')))[0]
    cors, rt = http_filter('envoy.filters.http.cors', 'cors.v3.Cors'), router()
    t.see('exit', {p: {'good': await code([mutation(req=[('x-a', 'b')]), CODEC], p), 'codec missing': await code([mutation(req=[('x-a', 'b')])], p), 'codec not last': await code([CODEC, mutation(req=[('x-a', 'b')])], p),
                       'twice': await code([CODEC, CODEC], p), 'cors': await code([cors, CODEC], p), 'router': await code([rt], p), 'optional cors': await code([{**cors, 'is_optional': True}, CODEC], p)} for p in ('cluster', 'router')})


# ---- CONNECT and what comes too early
CONNECT = [{'match': {'connect_matcher': {}}, 'route': {'cluster': 'c1', 'upgrade_configs': [{'upgrade_type': 'CONNECT', 'connect_config': {}}]}}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}]


def early(name, reject, h2=False, data=b'early', late=b'', method='CONNECT'):
    @case('connect_early_data_' + name)
    async def _(t):
        async def conn(c):
            got = await c.exactly(len(data or late))
            c.send(b'<' + got + b'>')
            await c.drain()
        u = await t.up('u1', conn=conn)
        opts = '{upgrade_configs: [{upgrade_type: CONNECT}], http2_protocol_options: {allow_connect: true}}'
        await t.start(simple(t, routes=CONNECT, opts=opts, rt=router(reject_connect_request_early_data=reject), log=LOG))
        c = await t.conn()
        c.send(b'CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n\r\n' + data)
        r = await c.response('CONNECT', 2)
        t.see('r', r)
        if r.status == 200:
            if late:
                c.send(late)
            t.see('back', body_repr(await c.exactly(len(data or late) + 2)))
            # The upstream's end comes first, not the client's.
            await c.state(2)
        t.see('log', await t.logs())


early('allowed', False)
early('rejected', True)
early('rejected_but_late', True, data=b'', late=b'late')
