"""Levels and formats of header changes, and who may steer the router, with values that few think of."""
from harness import *
from harness.tables import H

LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %ROUTE_NAME% %VIRTUAL_CLUSTER_NAME% %UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'
OPERATORS = ['%ROUTE_NAME%', '%PROTOCOL%', '%REQ(:PATH)%', '%REQ(X-NONE)%', '%REQ(X-NONE?:AUTHORITY)%', '%REQ(:METHOD):2%', '%UPSTREAM_CLUSTER%', '%UPSTREAM_CLUSTER_RAW%', '%VIRTUAL_CLUSTER_NAME%', '%RESPONSE_CODE%', '%RESPONSE_FLAGS%', '%UPSTREAM_REQUEST_ATTEMPT_COUNT%', '%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%', '%DYNAMIC_METADATA(a:b)%', '%METADATA(ROUTE:a:b)%', '%METADATA(CLUSTER:a:b)%', '%QUERY_PARAM(q)%', '%PATH(NQ:PATH)%', '100%% sure', '%RESPONSE_CODE_DETAILS%', '%REQUESTED_SERVER_NAME%', '%CONNECTION_TERMINATION_DETAILS%', '%BYTES_RECEIVED%', '%GRPC_STATUS%']


def adds(list, prefix='x-f', **kw):
    return [{'header': {'key': '%s%d' % (prefix, i), 'value': v}, **kw} for i, v in enumerate(list)]


def formatted(name, where, **kw):
    """Every operator in headers of requests and of responses."""
    @case('levels_formats_' + name)
    async def _(t):
        u = await t.up('u1', lambda m, n: resp(200, 'up', [('x-u', '1')]))
        route = {'match': {'prefix': '/'}, 'name': 'me', 'metadata': {'filter_metadata': {'a': {'b': 'of the route'}}}, 'route': {'cluster': 'c1'}}
        vhost = {'name': 'v', 'domains': ['*'], 'routes': [route], 'virtual_clusters': [{'name': 'vc', 'headers': [{'name': ':path', 'string_match': {'prefix': '/'}}]}]}
        table = {}
        at = {'route': route, 'vhost': vhost, 'table': table}[where]
        at['request_headers_to_add'] = adds(OPERATORS, append_action='OVERWRITE_IF_EXISTS_OR_ADD', keep_empty_value=True)
        at['response_headers_to_add'] = adds(OPERATORS, append_action='OVERWRITE_IF_EXISTS_OR_ADD')
        await t.start(simple(t, vhosts=[vhost], route_config=table, log=LOG, copts={'metadata': {'filter_metadata': {'a': {'b': 'of the cluster'}}}}))
        r = await t.req('/p?q=%41')
        t.see('sent', {v: u.reqs[0].h('x-f%d' % i) for i, v in enumerate(OPERATORS)})
        t.see('answered', {v: r.h('x-f%d' % i) for i, v in enumerate(OPERATORS)})


for where in ('route', 'vhost', 'table'):
    formatted(where, where)


@case('levels_formats_of_direct_answers')
async def _(t):
    route = {'match': {'prefix': '/'}, 'name': 'me', 'direct_response': {'status': 418}, 'response_headers_to_add': adds(OPERATORS)}
    await t.start(simple(t, vhosts=[{'name': 'v', 'domains': ['*'], 'routes': [route]}], clusters=[]))
    r = await t.req('/p?q=%41')
    t.see('answered', {v: r.h('x-f%d' % i) for i, v in enumerate(OPERATORS)})


def mutated(name, headers, add, remove=(), side='request'):
    """What comes of changes of one level, in their order."""
    @case('levels_changes_' + name)
    async def _(t):
        u = await t.up('u1', lambda m, n: resp(200, '', headers if side == 'response' else []))
        route = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, side + '_headers_to_add': Y(add), side + '_headers_to_remove': list(remove)}
        await t.start(simple(t, routes=[route]))
        r = await t.req(headers=headers if side == 'request' else [])
        seen = u.reqs[0] if side == 'request' else r
        t.see('headers', [[n.lower(), v] for n, v in seen.raw_headers if n.lower() in ('x-a', 'x-b', 'x-c', 'x-d')])


A = lambda key, value, action='APPEND_IF_EXISTS_OR_ADD', keep=False: '{header: {key: %s, value: "%s"}, append_action: %s, keep_empty_value: %s}' % (key, value, action, str(keep).lower())
for side in ('request', 'response'):
    mutated('twice_the_same_' + side, [('x-a', '0')], '[%s, %s, %s]' % (A('x-a', '1'), A('X-A', '2', 'OVERWRITE_IF_EXISTS_OR_ADD'), A('x-a', '3')), side=side)
    mutated('removed_and_added_' + side, [('x-a', '0'), ('x-b', '0')], '[%s, %s]' % (A('x-a', '%REQ(x-a)%1'), A('x-b', '2', 'OVERWRITE_IF_EXISTS')), ['x-a', 'x-b'], side=side)
    mutated('empty_values_' + side, [('x-a', '0'), ('x-d', '')], '[%s, %s, %s, %s]' % (A('x-a', '', 'OVERWRITE_IF_EXISTS_OR_ADD'), A('x-b', '', keep=True), A('x-c', '%REQ(x-none)%', 'ADD_IF_ABSENT', True), A('x-d', 'd', 'ADD_IF_ABSENT')), side=side)
    mutated('of_lists_' + side, [('x-a', '1'), ('x-a', '2')], '[%s, %s]' % (A('x-a', '3'), A('x-b', '%REQ(x-a)%|%RESP(x-a)%')), side=side)


# ---- who may steer
STEER = [('x-envoy-upstream-rq-timeout-ms', '12340'), ('x-envoy-upstream-rq-per-try-timeout-ms', '4999'), ('x-envoy-max-retries', '3'), ('x-envoy-retry-on', '5xx'), ('x-envoy-retry-grpc-on', 'cancelled'), ('x-envoy-retriable-status-codes', '418'), ('x-envoy-retriable-header-names', 'x-r'), ('x-envoy-hedge-on-per-try-timeout', 'true'),
         ('x-envoy-upstream-rq-timeout-alt-response', '1'), ('x-envoy-upstream-alt-stat-name', 'alt'), ('x-envoy-upstream-stream-duration-ms', '5000'), ('x-envoy-expected-rq-timeout-ms', '7777'), ('x-envoy-attempt-count', '9'), ('x-envoy-is-timeout-retry', 'true'), ('x-envoy-original-path', '/o'), ('x-envoy-original-host', 'o'),
         ('x-envoy-original-url', 'http://o/'), ('x-envoy-internal', 'true'), ('x-envoy-external-address', '9.9.9.9'), ('x-envoy-downstream-service-cluster', 'dc'), ('x-envoy-downstream-service-node', 'dn'), ('x-envoy-force-trace', '1'), ('x-envoy-decorator-operation', 'op'), ('x-envoy-ip-tags', 'tag'), ('x-envoy-immediate-health-check-fail', '1'), ('x-envoy-ratelimited', '1'), ('x-envoy-nobody', '1')]


def steered(name, opts, vh='{}', rt=None, **kw):
    """Which of the headers go on, and as what."""
    @case('levels_steer_' + name)
    async def _(t):
        u = await t.up('u1')
        await t.start(simple(t, vhosts=[{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'prefix_rewrite': '/new/'}}], **Y(vh)}], opts=opts, **({'rt': rt} if rt else {})))
        await t.req(headers=STEER, **kw)
        t.see('sent', {h: u.reqs[0].h(h) for h, _ in STEER})


EDGE = '{use_remote_address: true}'
MESH = '{use_remote_address: true, internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}'
for word, opts in (('from_outside', EDGE), ('from_inside', MESH), ('without_addresses', '{}')):
    steered(word, opts)
    steered(word + '_counted', opts, '{include_request_attempt_count: true, include_is_timeout_retry_header: true}')
    steered(word + '_suppressed', opts, rt=router(suppress_envoy_headers=True))
    steered(word + '_respected', opts, rt=router(respect_expected_rq_timeout=True))
