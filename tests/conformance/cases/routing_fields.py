"""Fields of routes that make texts of formats, choose by hash, or are older spellings of others."""
from harness import *

LOG = '%REQ(:PATH)% %REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% %BYTES_SENT%'
UP = {':path', ':authority', 'host', 'x-envoy-original-path', 'x-envoy-original-host', 'x-forwarded-host'}


def rewritten(name, action, reqs, vhost=None, rt=None, match=None):
    """Requests through one route; what of them the upstream sees."""
    @case(name)
    async def _(t):
        u = await t.up('u1')
        route = {'match': Y(match) or {'prefix': '/'}, 'name': 'rn', 'route': {'cluster': 'c1', **Y(action)}}
        vh = {'name': 'v', 'domains': ['*'], 'routes': [route], **(Y(vhost) or {})}
        await t.start(simple(t, vhosts=[vh], log=LOG, rt=rt))
        for k in reqs:
            await t.req(**({'path': k} if isinstance(k, str) else k))
        t.see('up', [(m.path, m.h('host'), m.h('x-envoy-original-path'), m.h('x-envoy-original-host'), m.h('x-forwarded-host')) for m in u.reqs])
        t.see('log', await t.logs())


X = [{'path': '/a/b?q=1', 'headers': [('x-p', 'v')]}, '/a/b?q=1', {'path': '/c#f', 'headers': [('x-p', '')]}, {'path': '/d', 'headers': [('x-p', 'one'), ('x-p', 'two')]}]
rewritten('path_rewrite_format', '{path_rewrite: "/new/%REQ(x-p)%/end"}', X)
rewritten('path_rewrite_format_may_be_empty', '{path_rewrite: "%REQ(x-p)%"}', X)
rewritten('path_rewrite_reads_the_path', '{path_rewrite: "/pre%PATH(NQ)%%REQ(:path)%"}', ['/a?b=c'])
rewritten('path_rewrite_with_query', '{path_rewrite: "/x?y=1"}', ['/a?b=c', '/a'])
rewritten('path_rewrite_on_a_template', '{path_rewrite: "/t%REQ(x-p)%"}', X[:2], match="{path_match_policy: {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: '/a/{x}'}}}")
rewritten('path_rewrite_suppressed_original', '{path_rewrite: /n, host_rewrite: h}', ['/a'], rt=router(suppress_envoy_headers=True))
rewritten('path_rewrite_of_metadata_and_route', '{path_rewrite: "/%ROUTE_NAME%/%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%/%RESPONSE_CODE%/%METADATA(ROUTE:a:b)%"}', ['/a'])
rewritten('host_rewrite_format', '{host_rewrite: "%REQ(x-p)%.example", append_x_forwarded_host: true}', X)
rewritten('host_rewrite_format_may_be_empty', '{host_rewrite: "%REQ(x-p)%"}', X)
rewritten('host_rewrite_sees_the_old_path', '{host_rewrite: "%REQ(:path)%", path_rewrite: "/%REQ(:authority)%"}', ['/a'])
rewritten('host_rewrite_after_header_changes', '{host_rewrite: "%REQ(x-new)%"}', ['/a'], vhost='{request_headers_to_add: [{header: {key: x-new, value: made.example}}]}')


def answered(name, routes, reqs, opts=None, **kw):
    """Answers of the proxy's own."""
    @case(name)
    async def _(t):
        await t.up('u1')
        await t.start(simple(t, routes=routes, opts=opts, log=LOG, **kw))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**({'path': k} if isinstance(k, str) else k)))
        t.see('log', await t.logs())


answered('redirect_path_rewrite_format', """
- {match: {prefix: /s}, redirect: {path_rewrite: "/n/%REQ(x-p)%", strip_query: true}}
- {match: {prefix: /r}, redirect: {path_rewrite: "r%REQ(x-p)%", host_redirect: h.example}}
- {match: {prefix: /e}, redirect: {path_rewrite: "%REQ(x-p)%", https_redirect: true}}
- {match: {prefix: /q}, redirect: {path_rewrite: "/x?y=%REQ(x-p)%"}}
""", [{'path': p, 'headers': h} for p in ('/s?a=b', '/r?a=b', '/e/f?a=b', '/q?a=b') for h in ([('x-p', 'v')], [])])
F = 'body_format: {text_format_source: {inline_string: "<%LOCAL_REPLY_BODY%> %REQ(:path)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESP(x-r)% %RESP(content-type)% %REQ(x-none)%"}'
answered('direct_response_format', """
- {match: {prefix: /t}, direct_response: {status: 203, body: {inline_string: hey}, %s}}}
- {match: {prefix: /c}, direct_response: {status: 404, body: {inline_string: hey}, %s, content_type: text/x}}}
- {match: {prefix: /n}, direct_response: {status: 200, %s}}}
- {match: {prefix: /h}, direct_response: {status: 200, %s, content_type: text/html; charset=UTF-8}}, response_headers_to_add: [{header: {key: x-r, value: added}}]}
- {match: {prefix: /o}, direct_response: {status: 200, %s, content_type: text/o}}, response_headers_to_add: [{header: {key: content-type, value: own/x}}]}
""" % ((F,) * 5), ['/t', '/c', '/n', '/h', '/o', {'path': '/t', 'method': 'HEAD'}])
answered('direct_response_format_json', """
- {match: {prefix: /j}, direct_response: {status: 200, body: {inline_string: 'a "quoted" text'}, body_format: {json_format: {b: "%LOCAL_REPLY_BODY%", a: "%RESPONSE_CODE%", m: "%REQ(x-none)%"}}}}
- {match: {prefix: /e}, direct_response: {status: 200, body: {inline_string: x}, body_format: {text_format_source: {inline_string: "%REQ(x-none)%"}, omit_empty_values: true}}}
- {match: {prefix: /l}, direct_response: {status: 302, body_format: {text_format_source: {inline_string: "moved"}}}}
""", ['/j', '/e', '/l'])
answered('direct_response_format_and_local_reply_config', """
- {match: {prefix: /}, direct_response: {status: 418, body: {inline_string: in}, body_format: {text_format_source: {inline_string: "<%LOCAL_REPLY_BODY%>"}, content_type: text/own}}}
""", ['/a'], opts='{local_reply_config: {body_format: {text_format_source: {inline_string: "[%LOCAL_REPLY_BODY%]"}, content_type: text/common}}}')
answered('direct_response_format_grpc', """
- {match: {prefix: /}, direct_response: {status: 503, body: {inline_string: in}, body_format: {text_format_source: {inline_string: "<%LOCAL_REPLY_BODY%>"}}}}
""", [{'path': '/a', 'method': 'POST', 'headers': [('content-type', 'application/grpc')], 'body': 'x'}])


def weighted(name, wc, reqs, action=None, filters=(), clusters=3):
    """Which cluster of several each request goes to."""
    @case(name)
    async def _(t):
        ups = [await t.up('u%d' % i, lambda m, n, i=i: resp(200, 'c%d' % i)) for i in range(clusters)]
        rt = {'weighted_clusters': {'clusters': [{'name': 'c%d' % i, 'weight': 1 + i} for i in range(clusters)], **Y(wc)}, **(Y(action) or {})}
        await t.start(simple(t, clusters=[cluster('c%d' % i, u) for i, u in enumerate(ups)], routes=[{'match': {'prefix': '/'}, 'route': rt}], filters=filters))
        t.see('went', [body_repr((await t.req(**k)).body) for k in reqs])


HASH = '{hash_policy: [{header: {header_name: x-h}}]}'
weighted('weighted_by_hash', '{use_hash_policy: true}', [{'headers': [('x-h', 'v%d' % i)]} for i in range(24)], HASH)
weighted('weighted_by_hash_query_and_terminal', '{use_hash_policy: true}', [{'path': '/?k=%d' % i, 'headers': [('x-h', 'a')] if i % 2 else []} for i in range(16)], '{hash_policy: [{header: {header_name: x-h}, terminal: true}, {query_parameter: {name: k}}]}')
weighted('weighted_by_hash_of_cookie', '{use_hash_policy: true}', [{'headers': [('cookie', 'c=v%d' % i)]} for i in range(16)], '{hash_policy: [{cookie: {name: c, ttl: 10s}}]}')
weighted('weighted_by_hash_switched_off', '{use_hash_policy: false, clusters: [{name: c0, weight: 1}]}', [{'headers': [('x-h', 'v%d' % i)]} for i in range(4)], HASH)
STATE = http_filter('s', 'set_filter_state.v3.Config', "{on_request_headers: [{object_key: k, factory_key: envoy.hashable_string, format_string: {text_format_source: {inline_string: '%REQ(x-h)%'}}}]}")


@case('hash_by_filter_state')
async def _(t):
    ups = [await t.up('u%d' % i, lambda m, n, i=i: resp(200, 'u%d' % i)) for i in range(4)]
    c = cluster('c1', [lbe(u, extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': 'h%d' % i}}}}) for i, u in enumerate(ups)], '{lb_policy: RING_HASH}')
    await t.start(simple(t, clusters=[c], filters=[STATE], routes="""
- {match: {prefix: /s}, route: {cluster: c1, hash_policy: [{filter_state: {key: k}}]}}
- {match: {prefix: /m}, route: {cluster: c1, hash_policy: [{filter_state: {key: other}}, {header: {header_name: x-h}}]}}
"""))
    for p in ('/s', '/m'):
        t.see(p, [body_repr((await t.req(p, headers=[('x-h', 'v%d' % i)])).body) for i in range(16)])


def checked(name, *routes):
    """Which configurations are refused."""
    @case(name)
    async def _(t):
        await t.up('u1')
        codes = []
        for r in routes:
            route = merge({'match': {'prefix': '/'}}, Y(r))
            if 'cluster' not in route.get('route', {'cluster': 0}) and 'weighted_clusters' not in route['route']:
                route['route']['cluster'] = 'c1'
            code, _l = await t.run_to_end(simple(t, vhosts=[{'name': 'v', 'domains': ['*'], 'routes': [route]}]), args=('--mode', 'validate'))
            codes.append((r, code))
        t.see('codes', codes)


checked('rewrites_checked', '{route: {path_rewrite: /a}}', '{route: {path_rewrite: "/%NOPE%"}}', '{route: {path_rewrite: /a, prefix_rewrite: /b}}', '{route: {path_rewrite: /a, regex_rewrite: {pattern: {regex: a}, substitution: b}}}',
        '{route: {host_rewrite: "%REQ(x"}}', '{route: {host_rewrite: h}}', '{redirect: {path_rewrite: "%REQ(x)%"}}', '{redirect: {path_rewrite: "%REQ(x"}}', '{direct_response: {status: 200, body_format: {text_format_source: {inline_string: "%NOPE%"}}}}', '{direct_response: {status: 200, body_format: {}}}')
checked('policies_checked', '{route: {hedge_policy: {initial_requests: 0}}}', '{route: {hedge_policy: {initial_requests: 2, additional_request_chance: {numerator: 1}}}}',
        "{route: {retry_policy: {retry_on: 5xx, retry_options_predicates: [{name: x, typed_config: {'@type': type.googleapis.com/google.protobuf.Empty}}]}}}",
        "{route: {early_data_policy: {name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.early_data.v3.DefaultEarlyDataPolicy}}}}",
        "{route: {early_data_policy: {name: x, typed_config: {'@type': type.googleapis.com/google.protobuf.Empty}}}}", '{route: {early_data_policy: {name: x}}}',
        '{route: {request_mirror_policies: [{cluster: c1, request_headers_mutations: [{append: {header: {key: ":path", value: b}}}]}]}}', '{route: {request_mirror_policies: [{cluster: c1, request_headers_mutations: [{append: {header: {key: a, value: b}}}, {remove: c}]}]}}',
        '{route: {request_mirror_policies: [{cluster: c1, request_headers_mutations: [{remove: host}]}]}}', '{route: {request_mirror_policies: [{cluster: c1, host_rewrite_literal: "a b"}]}}')


@case('hedge_initial_requests_do_nothing')
async def _(t):
    u = await t.up('u1')
    await t.start(simple(t, routes='[{match: {prefix: /}, route: {cluster: c1, hedge_policy: {initial_requests: 3, additional_request_chance: {numerator: 100, denominator: HUNDRED}}}}]'))
    t.see('r', await t.req('/'))
    t.see('n', len(u.reqs))


@case('internal_redirect_older_fields')
async def _(t):
    u = await t.up('u1', lambda m, n: resp(302, '', [('location', 'http://test.example/end%d' % n)]) if n < 4 else resp(200, 'end'))
    await t.start(simple(t, log=LOG, routes="""
- {match: {path: /pass}, route: {cluster: c1, internal_redirect_action: PASS_THROUGH_INTERNAL_REDIRECT, max_internal_redirects: 3}}
- {match: {prefix: /}, route: {cluster: c1, internal_redirect_action: HANDLE_INTERNAL_REDIRECT, max_internal_redirects: 2}}
"""))
    t.see('pass', await t.req('/pass'))
    t.see('follow', await t.req('/a'))
    t.see('up', [m.path for m in u.reqs])
    t.see('log', await t.logs())


@case('request_buffer_limit_older_field')
async def _(t):
    """The older field only lowers the connection's limit; the newer one stands before it."""
    u = await t.up('u1', lambda m, n: resp(500 if n % 2 else 200, 'n%d' % n))
    retry = {'retry_on': '5xx', 'num_retries': 1, 'retry_back_off': {'base_interval': '0.002s'}}
    routes = [{'match': {'prefix': p}, 'route': {'cluster': 'c1', 'retry_policy': retry}, **r} for p, r in (
        ('/low', {'per_request_buffer_limit_bytes': 100}), ('/high', {'per_request_buffer_limit_bytes': 100000}),
        ('/both', {'per_request_buffer_limit_bytes': 100, 'request_body_buffer_limit': 100000}), ('/new', {'request_body_buffer_limit': 100000}), ('/none', {}))]
    await t.start(simple(t, vhosts=[{'name': 'v', 'domains': ['*'], 'routes': routes}], lextra='{per_connection_buffer_limit_bytes: 3000}'))
    out = {}
    for p in ('/low', '/high', '/both', '/new', '/none'):
        for size in (500, 5000):
            if len(u.reqs) % 2:
                await t.req('/none')
            before = len(u.reqs)
            status = (await t.req(p, method='POST', body='x' * size)).status
            out['%s %d' % (p, size)] = (status, len(u.reqs) - before)
    t.see('out', out)


def grpc_timeout(name, action, said):
    @case(name)
    async def _(t):
        u = await t.h2up('u1')
        await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **Y(action)}}]))
        for s in said:
            await t.h2req('/', method='POST', headers=[('content-type', 'application/grpc')] + ([('grpc-timeout', s)] if s else []), body=b'm')
        await t.h2req('/', method='POST', headers=[('grpc-timeout', '2S')], body=b'm')
        t.see('up', [(m.h('grpc-timeout'), m.h('x-envoy-expected-rq-timeout-ms')) for m in u.reqs])


SAID = ['2S', '500m', '20M', '90000S', None, 'x']
grpc_timeout('grpc_timeout_older_max', '{max_grpc_timeout: 3s}', SAID)
grpc_timeout('grpc_timeout_older_no_cap', '{max_grpc_timeout: 0s, timeout: 7s}', SAID)
grpc_timeout('grpc_timeout_older_offset', '{max_grpc_timeout: 10s, grpc_timeout_offset: 0.6s}', SAID)
grpc_timeout('grpc_timeout_older_offset_alone', '{grpc_timeout_offset: 0.6s}', SAID)
grpc_timeout('grpc_timeout_older_beside_newer', '{max_grpc_timeout: 3s, max_stream_duration: {grpc_timeout_header_max: 5s}}', SAID)
grpc_timeout('grpc_timeout_older_with_tries', '{max_grpc_timeout: 3s, retry_policy: {retry_on: 5xx, per_try_timeout: 1s}}', SAID)


@case('weighted_by_hash_of_a_cookie_to_be_made')
async def _(t):
    """A cookie that the client has not got yet: whether it is placed by the one that it will be given."""
    ups = [await t.up('u%d' % i, lambda m, n, i=i: resp(200, 'c%d' % i)) for i in range(4)]
    rt = {'weighted_clusters': {'clusters': [{'name': 'c%d' % i, 'weight': 1} for i in range(4)], 'use_hash_policy': True}, 'hash_policy': Y('[{cookie: {name: c, ttl: 10s}}]')}
    await t.start(simple(t, clusters=[cluster('c%d' % i, u) for i, u in enumerate(ups)], routes=[{'match': {'prefix': '/'}, 'route': rt}]))
    conn = await t.conn()
    got = [await t.req('/', conn=conn) for _ in range(40)]
    t.see('one', len({body_repr(r.body) for r in got}) == 1)
    t.see('cookies', len({r.h('set-cookie') for r in got}))
    made = got[0].h('set-cookie').split(';')[0].replace('"', '') if got[0].h('set-cookie') else 'c=none'
    again = {body_repr((await t.req('/', conn=conn, headers=[('cookie', made)])).body) for _ in range(20)}
    t.see('again', len(again))


answered('direct_response_format_beside_a_type_of_the_route', """
- {match: {prefix: /t}, direct_response: {status: 200, body: {inline_string: x}, body_format: {text_format_source: {inline_string: "t"}}}, response_headers_to_add: [{header: {key: content-type, value: own/x}}]}
- {match: {prefix: /j}, direct_response: {status: 200, body: {inline_string: x}, body_format: {json_format: {a: b}}}, response_headers_to_add: [{header: {key: content-type, value: own/x}}]}
- {match: {prefix: /n}, direct_response: {status: 200, body: {inline_string: x}}, response_headers_to_add: [{header: {key: content-type, value: own/x}}]}
- {match: {prefix: /v}, direct_response: {status: 200, body: {inline_string: x}, body_format: {text_format_source: {inline_string: "%RESPONSE_FLAGS%/%UPSTREAM_HOST%/%ROUTE_NAME%/%DOWNSTREAM_LOCAL_ADDRESS%/%DURATION%/%REQ(x-request-id)%"}}}}
""", ['/t', '/j', '/n'])


@case('path_parameters_ignored_in_every_segment')
async def _(t):
    rc = {'ignore_path_parameters_in_path_matching': True}
    routes = [{'match': m, 'route': {'cluster': 'c1', **r}, 'response_headers_to_add': [{'header': {'key': 'x-route', 'value': str(i)}}]} for i, (m, r) in enumerate([
        ({'path': '/a/b'}, {'prefix_rewrite': '/n'}), ({'safe_regex': {'regex': '/a{2,3}/c'}}, {}), ({'path_separated_prefix': '/a/x'}, {'prefix_rewrite': '/p'}), ({'prefix': '/a/y'}, {'prefix_rewrite': '/q'}), ({'path': '/a'}, {}), ({'path': '/a/'}, {}), ({'prefix': '/'}, {})])]
    u = await t.up('u1')
    await t.start(simple(t, vhosts=[{'name': 'v', 'domains': ['*'], 'routes': routes}], route_config=rc))
    paths = ['/a;p/b', '/a;p=1/b;q', '/a;p;r/b?x;y', '/;p/a/b', '/aa;x/c;y', '/a;1/x;2/z;3', '/a;1/y;2/z;3', '/a;x', '/a;x/', '/a/;x', '/a;x/b/', ';a', '/a/b;/']
    t.see('by_path', {p: (await t.req(p)).h('x-route') for p in paths})
    t.see('up', [m.path for m in u.reqs])
