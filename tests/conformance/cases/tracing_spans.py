"""Spans that are exported, and what goes on to the upstream."""
from harness import *

FLUSH = lambda n=1, kind='zipkin': '{layered_runtime: {layers: [{name: s, static_layer: {tracing.%s.min_flush_spans: %d}}]}}' % (kind, n)
ZIPKIN = '{collector_cluster: cc, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON}'
NODE = '{node: {id: node-1, cluster: cluster-1, locality: {zone: zone-1}}}'


def provider(kind, cfg):
    return {'name': 'envoy.tracers.' + kind, 'typed_config': {'@type': 'type.googleapis.com/envoy.config.trace.v3.' + {'zipkin': 'ZipkinConfig', 'opentelemetry': 'OpenTelemetryConfig'}[kind], **Y(cfg)}}


def traced(t, u, c, kind='zipkin', cfg=ZIPKIN, opts='{}', flush=1, extra=None, h2=False, **kw):
    """A listener with a provider, the upstream `c1` and the collector `cc`."""
    tracing = merge({'provider': provider(kind, cfg)}, Y(opts))
    return simple(t, clusters=[cluster('c1', u), cluster('cc', c.up, h2=h2)], opts={'tracing': tracing}, extra=merge(merge(Y(FLUSH(flush, kind)), Y(NODE)), Y(extra or '{}')), **kw)


@case('zipkin_plain')
async def _(t):
    u = await t.up()
    c = await Collector(t).http()
    await t.start(traced(t, u, c))
    t.see('r', await t.req('/p?q=1', headers=[('user-agent', 'ua')]))
    await c.got(1)
    t.see('spans', c.view())
    t.see('up', c.names(t.view(u.reqs)))
    t.see('collector', [t.req_view(m, body=False) for m in c.up.reqs])
    t.see('stats', await t.stats(regex=r'^tracing|cluster.cc.*upstream_rq_2|internal.upstream_rq_completed'))


T64, S64, P64, T128 = '463ac35c9f6413ad', 'a2fb4a1d1a96d312', '0020000000000001', '463ac35c9f6413ad48485a3953bb6124'
B3 = lambda t=T128, s=S64, *more: [('x-b3-traceid', t), ('x-b3-spanid', s), *more]
TP = '00-%s-%s-01' % (T128, S64)
OWN = (T64, S64, P64, T128, T128[16:], '0' * 16)
CONTEXT = {'b3', 'traceparent', 'tracestate', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled', 'x-b3-flags', 'x-envoy-decorator-operation'}
IDS = ('traceId', 'id', 'parentId', 'kind', 'shared', 'name', 'spanId', 'parentSpanId', 'traceState', 'flags')

B3_IN = {
    'none': [], 'ids': B3(), 'short_trace': B3(T64), 'with_parent': B3(T128, S64, ('x-b3-parentspanid', P64)),
    'sampled': B3(T128, S64, ('x-b3-sampled', '1')), 'not_sampled': B3(T128, S64, ('x-b3-sampled', '0')), 'sampled_true': B3(T128, S64, ('x-b3-sampled', 'true')),
    'sampled_false': B3(T128, S64, ('x-b3-sampled', 'false')), 'debug': B3(T128, S64, ('x-b3-flags', '1')), 'sampled_alone': [('x-b3-sampled', '1')], 'not_sampled_alone': [('x-b3-sampled', '0')],
    'trace_alone': [('x-b3-traceid', T128)], 'span_alone': [('x-b3-spanid', S64)], 'bad_trace': B3('xyz'), 'bad_span': B3(T128, 'nope'), 'odd_lengths': B3('1', '2'), 'long_trace': B3(T128 + '0'),
    'bad_parent': B3(T128, S64, ('x-b3-parentspanid', 'zz')), 'empty_parent': B3(T128, S64, ('x-b3-parentspanid', '')), 'zero_ids': B3('0' * 16, '0' * 16),
}
B3_SINGLE = {
    'whole': '%s-%s-1-%s' % (T128, S64, P64), 'short': '%s-%s-1' % (T64, S64), 'ids': '%s-%s' % (T128, S64), 'not_sampled': '%s-%s-0' % (T128, S64), 'debug': '%s-%s-d' % (T128, S64),
    'deny': '0', 'accept': '1', 'debug_alone': 'd', 'bad_flag': 'x', 'empty': '', 'truncated': T128 + '-' + S64[:8], 'bad_sampled': '%s-%s-9' % (T128, S64), 'cut_at_flag': '%s-%s-' % (T128, S64),
    'bad_ids': 'g' * 16 + '-' + S64, 'too_long': '%s-%s-1-%s0' % (T128, S64, P64), 'short_parent': '%s-%s-1-%s' % (T64, S64, P64), 'parent_without_flag': '%s-%s-%s' % (T128, S64, P64),
}


async def chain(t, label, c, u, requests, keys=IDS, more=set(), **kw):
    """What each request leaves: the context that goes on, and the spans, in the order of the requests."""
    out = {}
    for name, headers in requests.items():
        before = len(c.spans())
        r = await t.req('/', headers=list(headers), **kw)
        await t.until(lambda: len(c.spans()) > before, 0.1, 0.01)
        await asyncio.sleep(0.02)
        out[name] = c.names({'status': r.status, 'up': t.hs(u.reqs[-1]['raw_headers'], only=CONTEXT | more) if u.reqs else None,
                             'spans': c.view(before, keys)})
        u.reqs.clear()
    t.see(label, out)


for name, cfg, opts, direction, router_opts in (
        ('shared', '', '{}', '{}', {}), ('not_shared', 'shared_span_context: false', '{}', '{}', {}), ('egress', '', '{}', '{traffic_direction: OUTBOUND}', {}),
        ('upstream_span', '', '{spawn_upstream_span: true}', '{}', {}), ('upstream_span_egress', '', '{spawn_upstream_span: true}', '{traffic_direction: OUTBOUND}', {}),
        ('split', 'split_spans_for_request: true', '{}', '{}', {}), ('child', '', '{}', '{}', {'start_child_span': True}), ('split_child', 'split_spans_for_request: true', '{}', '{}', {'start_child_span': True}),
        ('split_child_egress', 'split_spans_for_request: true', '{}', '{traffic_direction: OUTBOUND}', {'start_child_span': True}),
        ('long_ids', 'trace_id_128bit: true', '{}', '{}', {}), ('with_w3c', 'trace_context_option: USE_B3_WITH_W3C_PROPAGATION', '{}', '{}', {}),
        ('no_propagation', '', '{no_context_propagation: true}', '{}', {})):
    @case('zipkin_b3_' + name)
    async def _(t, cfg=cfg, opts=opts, direction=direction, router_opts=router_opts):
        u = await t.up()
        c = await Collector(t, *OWN).http()
        await t.start(traced(t, u, c, cfg=ZIPKIN[:-1] + (', ' + cfg if cfg else '') + '}', opts=opts, lextra=direction, rt=router(**router_opts)))
        requests = dict(B3_IN)
        if 'W3C' in cfg:
            requests.update(traceparent=[('traceparent', TP)], traceparent_off=[('traceparent', TP[:-1] + '0'), ('tracestate', 'a=b')], both=[*B3(T64), ('traceparent', TP)], bad_traceparent=[('traceparent', 'x')], sampled_and_traceparent=[('x-b3-sampled', '0'), ('traceparent', TP)])
        await chain(t, 'requests', c, u, requests)


for name, opts in (('single', '{}'), ('single_upstream_span', '{spawn_upstream_span: true}')):
    @case('zipkin_b3_' + name)
    async def _(t, opts=opts):
        u = await t.up()
        c = await Collector(t, *OWN).http()
        await t.start(traced(t, u, c, opts=opts))
        await chain(t, 'requests', c, u, {k: [('b3', v)] for k, v in B3_SINGLE.items()})
        await chain(t, 'both', c, u, {'single_wins': [('b3', B3_SINGLE['short']), *B3()]})


WHOLE = ('name', 'kind', 'tags', 'attributes', 'annotations', 'events', 'status')


async def whole(t, label, c, u=None, more=set(), count=1, **kw):
    """One request: its spans with all that they say, and what the upstream saw of the context."""
    before, n = len(c.spans()), len(u.reqs) if u else 0
    r = await t.req(**kw)
    await t.until(lambda: len(c.spans()) - before >= count, 1, 0.01)
    await asyncio.sleep(0.02)
    out = {'status': r.status, 'spans': c.view(before, WHOLE)}
    if u:
        out['up'] = [t.hs(m['raw_headers'], only=CONTEXT | more) for m in u.reqs[n:]]
    t.see(label, c.names(out))


async def up_and_collector(t, respond=None):
    return await t.up('u1', respond), await Collector(t, *OWN).http()


for name, opts in (('', '{}'), ('_upstream_span', '{spawn_upstream_span: true}'), ('_verbose', '{verbose: true}'), ('_verbose_upstream_span', '{verbose: true, spawn_upstream_span: true}')):
    @case('tags' + name)
    async def _(t, opts=opts):
        u, c = await up_and_collector(t, lambda m, n: resp(503 if m['path'] == '/503' else 200, 'body', [('x-envoy-upstream-canary', 'true')]))
        routes = '[{match: {path: /local}, direct_response: {status: 418, body: {inline_string: hi}}}, {match: {path: /moved}, redirect: {path_redirect: /x}}, {match: {path: /dead}, route: {cluster: dead}}, {match: {path: /nowhere}, route: {cluster_header: x-none}}, {match: {prefix: /}, route: {cluster: c1}}]'
        cfg = traced(t, u, c, opts=opts, routes=routes)
        cfg['static_resources']['clusters'].append(cluster('dead', t.dead(), '{alt_stat_name: dead_alt}'))
        await t.start(cfg)
        two = 2 if 'upstream' in opts else 1
        await whole(t, 'post', c, u, path='/p?q=1', method='POST', body='12345', headers=[('user-agent', 'me'), ('x-envoy-downstream-service-cluster', 'down'), ('x-client-trace-id', 'mine'), ('x-envoy-force-trace', '1')], count=two)
        await whole(t, 'error', c, u, path='/503', count=two)
        await whole(t, 'local', c, u, path='/local')
        await whole(t, 'moved', c, u, path='/moved')
        await whole(t, 'no_cluster', c, u, path='/nowhere')
        await whole(t, 'dead', c, u, path='/dead', count=two)
        await whole(t, 'refused', c, u, path='/a%00b', count=0)


@case()
async def tags_of_requests_without_a_route(t):
    u, c = await up_and_collector(t)
    await t.start(traced(t, u, c, routes='[{match: {prefix: /p}, route: {cluster: c1}, decorator: {operation: op}}]'))
    await whole(t, 'none', c, u, path='/none')
    await whole(t, 'bad', c, u, raw=b'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n', count=0)
    await whole(t, 'xff', c, u, path='/p', headers=[('x-forwarded-for', '1.2.3.4, 5.6.7.8')])


@case()
async def tags_url(t):
    u, c = await up_and_collector(t)
    await t.start(traced(t, u, c, opts='{max_path_tag_length: 10}', routes='[{match: {prefix: /}, route: {cluster: c1, prefix_rewrite: /rewritten/}}]'))
    await whole(t, 'long', c, path='/0123456789')
    await whole(t, 'exact', c, path='/012345678')
    await whole(t, 'https', c, path='/a', headers=[('x-forwarded-proto', 'https')])
    await whole(t, 'absolute', c, raw=b'GET http://other.example/x HTTP/1.1\r\nHost: a\r\n\r\n')
    await whole(t, 'no_host', c, raw=b'GET /h HTTP/1.0\r\n\r\n', count=0)


@case()
async def tags_url_default_length(t):
    u, c = await up_and_collector(t)
    await t.start(traced(t, u, c))
    await whole(t, 'long', c, path='/' + 'a' * 300)


for name, opts, n in (('', '{}', 1), ('_upstream_span', '{spawn_upstream_span: true}', 3)):
    @case('retries' + name)
    async def _(t, opts=opts, n=n):
        u, c = await up_and_collector(t, lambda m, n: resp(200 if n == 3 else 503, 'x'))
        await t.start(traced(t, u, c, opts=opts, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}}}}]'))
        await whole(t, 'retried', c, u, count=n)


for name, opts, n in (('', '{}', 1), ('_upstream_span', '{spawn_upstream_span: true}', 2)):
    @case('time_runs_out' + name)
    async def _(t, opts=opts, n=n):
        async def silent(k):
            await k.read_request()
            await k.fill()
        u = await t.up('u1', conn=silent)
        c = await Collector(t, *OWN).http()
        await t.start(traced(t, u, c, opts=opts, routes='[{match: {path: /try}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.05s, retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}}}}, {match: {path: /gone}, route: {cluster: c1, timeout: 9s}}, {match: {prefix: /}, route: {cluster: c1, timeout: 0.1s}}]'))
        await whole(t, 'route', c, u, count=n)
        await whole(t, 'per_try', c, u, path='/try', count=n + n // 2)
        k = await t.conn()
        before = len(c.spans())
        k.send(build('/gone'))
        await t.until(lambda: len(u.reqs) == 4)
        k.close()
        await c.got(before + n)
        t.see('gone', c.view(before, WHOLE))

    @case('upstream_breaks' + name)
    async def _(t, opts=opts, n=n):
        async def breaks(k):
            m = await k.read_request()
            if m['path'] == '/late':
                k.send(b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc')
                await k.drain()
                await asyncio.sleep(0.02)
        u = await t.up('u1', conn=breaks)
        c = await Collector(t, *OWN).http()
        await t.start(traced(t, u, c, opts=opts))
        await whole(t, 'at_once', c, u, path='/', count=n)
        await whole(t, 'late', c, u, path='/late', count=n)


TAGS = '''[{tag: lit, literal: {value: v}}, {tag: env, environment: {name: TRC_NOT_SET, default_value: d}}, {tag: env_none, environment: {name: TRC_NOT_SET}}, {tag: env_set, environment: {name: LC_ALL_TRC, default_value: x}},
 {tag: head, request_header: {name: x-h}}, {tag: head_default, request_header: {name: x-none, default_value: hd}}, {tag: head_none, request_header: {name: x-none}},
 {tag: md_route, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: s}]}}}, {tag: md_num, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: num}]}}},
 {tag: md_bool, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: b}]}}}, {tag: md_obj, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: o}]}}},
 {tag: md_list, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: l}]}}}, {tag: md_null, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: z}]}}}, {tag: md_deep, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: o}, {key: k}]}}},
 {tag: md_default, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: none}]}, default_value: md}}, {tag: md_none, metadata: {kind: {route: {}}, metadata_key: {key: ns, path: [{key: none}]}}},
 {tag: md_request, metadata: {kind: {request: {}}, metadata_key: {key: dyn, path: [{key: k}]}}}, {tag: md_cluster, metadata: {kind: {cluster: {}}, metadata_key: {key: cns, path: [{key: k}]}}},
 {tag: md_host, metadata: {kind: {host: {}}, metadata_key: {key: hns, path: [{key: k}]}, default_value: nohost}}, {tag: component, literal: {value: mine}}, {tag: http.method, literal: {value: mine}},
 {tag: fmt, value: "%REQ(x-h)%-%RESPONSE_CODE%-%REQ(none)%"}, {tag: fmt_none, value: "%REQ(none)%"}, {tag: fmt_text, value: plain}, {tag: twice, literal: {value: hcm}}]'''
TAGGED = '''[{match: {prefix: /r}, route: {cluster: c1}, tracing: {custom_tags: [{tag: twice, literal: {value: route}}, {tag: only, request_header: {name: x-h}}]}, metadata: {filter_metadata: {ns: {s: text}}}},
             {match: {prefix: /local}, direct_response: {status: 200}}, {match: {prefix: /}, route: {cluster: c1}, metadata: {filter_metadata: {ns: {s: text, num: 1.5, b: true, o: {k: v}, l: [1, a], z: null}}}}]'''

for name, opts, n in (('', '{}', 1), ('_upstream_span', '{spawn_upstream_span: true}', 2)):
    @case('custom_tags' + name)
    async def _(t, opts=opts, n=n):
        u, c = await up_and_collector(t)
        md = http_filter('sm', 'set_metadata.v3.Config', '{metadata: [{metadata_namespace: dyn, value: {k: dynamic}}]}')
        cfg = traced(t, u, c, opts=merge(Y(opts), {'custom_tags': Y(TAGS)}), routes=TAGGED, filters=[md])
        cfg['static_resources']['clusters'][0]['metadata'] = {'filter_metadata': {'cns': {'k': 'of cluster'}}}
        cfg['static_resources']['clusters'][0]['load_assignment']['endpoints'][0]['lb_endpoints'][0]['metadata'] = {'filter_metadata': {'hns': {'k': 'of host'}}}
        await t.start(cfg)
        await whole(t, 'all', c, u, headers=[('x-h', 'one'), ('x-h', 'two')], count=n)
        await whole(t, 'route', c, u, path='/r', headers=[('x-h', '1')], count=n)
        await whole(t, 'local', c, u, path='/local')


@case()
async def sampled_or_not(t):
    u, c = await up_and_collector(t)
    await t.start(traced(t, u, c, opts='{random_sampling: {value: 0}}'))
    ID = 'aaaaaaaa-0000-4000-8000-00000000000%d'
    await chain(t, 'requests', c, u, {'not': [], 'client': [('x-client-trace-id', 'c')], 'forced': [('x-envoy-force-trace', '1')], 'by_parent': B3(T128, S64, ('x-b3-sampled', '1')), 'parent_says_nothing': B3(), 'parent_says_no': [*B3(T128, S64, ('x-b3-sampled', '0')), ('x-envoy-force-trace', '1')]})
    t.see('stats', await t.stats(regex=r'http\.in\.tracing'))


for name, direction, opts, n in (('', '{}', '{}', 1), ('_egress', '{traffic_direction: OUTBOUND}', '{}', 1), ('_upstream_span', '{}', '{spawn_upstream_span: true}', 2), ('_formats', '{}', '{operation: "%REQ(:METHOD)% %REQ(x-none)%", upstream_operation: "up %UPSTREAM_CLUSTER%", spawn_upstream_span: true}', 2)):
    @case('operations' + name)
    async def _(t, direction=direction, opts=opts, n=n):
        u, c = await up_and_collector(t, lambda m, n: resp(200, 'x', [('x-envoy-decorator-operation', 'theirs')] if m['path'] == '/theirs' else []))
        routes = '[{match: {path: /empty}, route: {cluster: c1}, decorator: {operation: op-%REQ(:METHOD)%, propagate: false}}, {match: {prefix: /}, route: {cluster: c1}, decorator: {operation: op}}]'
        await t.start(traced(t, u, c, opts=opts, lextra=direction, routes=routes))
        for i, (path, headers) in enumerate((('/', []), ('/', [('x-envoy-decorator-operation', 'mine')]), ('/theirs', []), ('/empty', []), ('/', [('x-envoy-decorator-operation', '')]))):
            await chain(t, str(i), c, u, {'got': headers}, keys=('name', 'kind')) if path == '/' else await whole(t, str(i), c, u, path=path, headers=headers, count=n)


OTLP_HTTP = '{http_service: {http_uri: {uri: "http://otel.example/v1/traces", cluster: cc, timeout: 2s}}, service_name: svc}'
OTLP_GRPC = '{grpc_service: {envoy_grpc: {cluster_name: cc}, timeout: 0.5s}, service_name: svc}'
OTEL = lambda cfg=OTLP_HTTP, **kw: dict(kind='opentelemetry', cfg=cfg, **kw)


@case('otlp_http_plain')
async def _(t):
    u = await t.up()
    c = await Collector(t).http(200)
    await t.start(traced(t, u, c, **OTEL()))
    await t.req('/p?q=1', headers=[('user-agent', 'ua')])
    await c.got(1)
    t.see('spans', c.view())
    t.see('resources', c.resources())
    t.see('up', c.names(t.view(u.reqs)))
    t.see('collector', [t.req_view(m, body=False) for m in c.up.reqs])
    t.see('stats', await t.stats(regex='tracing|cluster.cc.*upstream_rq_2|internal.upstream_rq_completed'))


@case('otlp_grpc_plain')
async def _(t):
    u = await t.up()
    c = await Collector(t).grpc()
    await t.start(traced(t, u, c, h2=True, **OTEL(OTLP_GRPC)))
    await t.req('/p?q=1', headers=[('user-agent', 'ua')])
    await c.got(1)
    t.see('spans', c.view())
    t.see('resources', c.resources())
    t.see('up', c.names(t.view(u.reqs)))
    t.see('collector', [t.hs(m['headers']) for m in c.up.reqs])
    t.see('stats', await t.stats(regex='tracing|cluster.cc.*upstream_rq_2|internal.upstream_rq_completed|grpc'))


for name, opts in (('', '{}'), ('_upstream_span', '{spawn_upstream_span: true}')):
    @case('mirrors' + name)
    async def _(t, opts=opts):
        u, c = await up_and_collector(t)
        m = await t.up('mirror')
        routes = '[{match: {path: /%s}, route: {cluster: c1, request_mirror_policies: [{cluster: cm%s}]}}, {match: {path: /%s}, route: {cluster: c1, request_mirror_policies: [{cluster: cm, trace_sampled: false}]}}, {match: {prefix: /}, route: {cluster: c1, request_mirror_policies: [{cluster: cm, trace_sampled: true}]}}]' % ('as_it_is', '', 'no')
        cfg = traced(t, u, c, opts=merge(Y(opts), Y('{custom_tags: [{tag: lit, literal: {value: v}}]}')), routes=routes)
        cfg['static_resources']['clusters'].append(cluster('cm', m))
        await t.start(cfg)
        for path, headers, n in (('/as_it_is', [], 2), ('/no', [], 1), ('/yes', B3(T128, S64, ('x-b3-sampled', '0')), 1)):
            await whole(t, path, c, u, path=path, headers=headers, count=n + (path != '/yes' and len(opts) > 2))
        await t.until(lambda: len(m.reqs) == 3)
        t.see('mirrored', c.names([t.hs(r['raw_headers'], only=CONTEXT) for r in m.reqs]))


@case()
async def access_log_identifiers(t):
    u, c = await up_and_collector(t)
    await t.start(traced(t, u, c, log='%TRACE_ID% %SPAN_ID% %REQ(x-b3-traceid)% %REQ(x-b3-spanid)%', routes='[{match: {path: /local}, direct_response: {status: 200}}, {match: {prefix: /}, route: {cluster: c1}, request_headers_to_add: [{header: {key: x-trace, value: "%TRACE_ID%/%SPAN_ID%"}}]}]'))
    await t.req('/', headers=B3())
    await t.req('/')
    await t.req('/', headers=B3(T128, S64, ('x-b3-sampled', '0')))
    await t.req('/', headers=B3('x'))
    await t.req('/local')
    await c.got(3)
    t.see('spans', c.view(0, IDS))
    t.see('up', c.names([t.hs(r['raw_headers'], only={'x-trace'}) for r in u.reqs]))
    t.see('log', c.names(await t.logs()))


@case()
async def access_log_identifiers_without_a_provider(t):
    await t.up()
    await t.start(simple(t, opts='{tracing: {}}', log='%TRACE_ID% %SPAN_ID%'))
    await t.req('/')
    t.see('log', await t.logs())


for name, opts in (('', '{operation: "%RESPONSE_CODE% %UPSTREAM_CLUSTER% %REQ(x-b3-spanid)%", upstream_operation: "%RESPONSE_CODE% %UPSTREAM_HOST%"}'), ('_upstream_span', '{operation: "%RESPONSE_CODE% %ROUTE_NAME%", upstream_operation: "%RESPONSE_CODE% %UPSTREAM_HOST% %ROUTE_NAME%", spawn_upstream_span: true}')):
    @case('operation_formats' + name)
    async def _(t, opts=opts):
        u, c = await up_and_collector(t)
        routes = '[{match: {path: /of_route}, route: {cluster: c1}, name: rn, decorator: {operation: op}, tracing: {operation: "route %REQ(:PATH)%", upstream_operation: "route up %REQ(:PATH)%"}}, {match: {path: /tracing}, route: {cluster: c1}, decorator: {operation: op}, tracing: {}}, {match: {prefix: /}, route: {cluster: c1}, name: rn}]'
        await t.start(traced(t, u, c, opts=opts, routes=routes))
        for path in ('/', '/of_route', '/tracing'):
            r = await t.req(path)
            t.see('answer ' + path, r.h('x-envoy-decorator-operation'))
        await c.got(3)
        await asyncio.sleep(0.03)
        t.see('spans', c.view(0, ('name', 'kind')))


GRPC = [('content-type', 'application/grpc'), ('te', 'trailers')]
for name, opts, n in (('', '{}', 1), ('_upstream_span', '{spawn_upstream_span: true}', 2)):
    @case('tags_of_grpc' + name)
    async def _(t, opts=opts, n=n):
        async def answer(s):
            await s.body()
            p = hget(s.s['headers'], ':path')
            if p == '/s/Head':
                return s.respond(200, [('content-type', 'application/grpc'), ('grpc-status', '5'), ('grpc-message', 'nope')], end=True)
            s.respond(200, [('content-type', 'application/grpc')])
            await s.data(b'\0\0\0\0\0')
            s.trailers([('grpc-status', p[-1]), ('grpc-message', 'm')] if p[-1] != 'n' else [('x', 'y')])
        u = await t.h2up('u1', answer)
        c = await Collector(t, *OWN).http()
        cfg = traced(t, u, c, opts=opts)
        cfg['static_resources']['clusters'][0] = cluster('c1', u, h2=True)
        await t.start(cfg)
        k = await t.h2()
        for path in ('/s/M0', '/s/M1', '/s/M13', '/s/Head', '/s/n'):
            before = len(c.spans())
            await t.h2req(path, 'POST', GRPC + [('grpc-timeout', '5S')], b'\0\0\0\0\0', conn=k)
            await c.got(before + n)
            await asyncio.sleep(0.02)
            t.see(path, c.view(before, ('name', 'kind', 'tags')))


@case()
async def health_checks_and_redirects(t):
    u, c = await up_and_collector(t, lambda m, n: resp(302, '', [('location', 'http://x/b')]) if m['path'] == '/a' else resp(200, 'x'))
    hc = http_filter('hc', 'health_check.v3.HealthCheck', '{pass_through_mode: false, headers: [{name: ":path", string_match: {exact: /hc}}]}')
    await t.start(traced(t, u, c, filters=[hc], routes='[{match: {prefix: /}, route: {cluster: c1, internal_redirect_policy: {}}}]'))
    await whole(t, 'redirect', c, u, path='/a', count=2)
    await whole(t, 'health', c, u, path='/hc', count=0)
    t.see('stats', await t.stats(regex=r'http\.in\.tracing'))


@case()
async def upgrades(t):
    async def echo(k):
        await k.read_request(body=False)
        k.send(b'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
        await k.fill()
    u = await t.up('u1', conn=echo)
    c = await Collector(t, *OWN).http()
    cfg = traced(t, u, c, opts='{spawn_upstream_span: true}')
    cfg['static_resources']['listeners'][0]['filter_chains'][0]['filters'][0]['typed_config']['upgrade_configs'] = [{'upgrade_type': 'websocket'}]
    await t.start(cfg)
    k = await t.conn()
    k.send(b'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n')
    await t.until(lambda: u.reqs)
    await asyncio.sleep(0.05)
    k.send(b'abc')
    await asyncio.sleep(0.05)
    k.close()
    await c.got(2)
    t.see('spans', c.view(0, WHOLE))


for version in ('HTTP_JSON', 'HTTP_PROTO'):
    @case('zipkin_export_' + version.lower())
    async def _(t, version=version):
        u, c = await up_and_collector(t)
        await t.start(traced(t, u, c, cfg=ZIPKIN.replace('HTTP_JSON', version), opts='{verbose: true, spawn_upstream_span: true}', flush=2))
        await t.req('/', headers=B3(T128, S64, ('x-b3-parentspanid', P64)))
        await c.got(2)
        t.see('collector', [t.req_view(m, body=False) for m in c.up.reqs])
        t.see('spans', c.view())
        await t.req('/', headers=B3(T64))
        await c.got(4)
        t.see('more', c.view(2))


for name, cfg, status in (
        ('hostname', '{collector_hostname: zipkin.example}', 202), ('answers_200', '{}', 200), ('answers_500', '{}', 500), ('breaks', '{}', None),
        ('service', '{collector_cluster: "", collector_endpoint: "", collector_service: {http_uri: {uri: "https://zipkin.example:9411/api/v2/spans?x=1", cluster: cc, timeout: 1s}, request_headers_to_add: [{header: {key: X-Token, value: t1}}, {header: {key: x-token, value: t2}}, {header: {key: host, value: other}}]}}', 202),
        ('service_of_a_path', '{collector_service: {http_uri: {uri: /spans, cluster: cc, timeout: 1s}, request_headers_to_add: [{header: {key: x-f, value: "%HOSTNAME%-%REQ(a)%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}}', 202), ('service_of_a_host', '{collector_service: {http_uri: {uri: "http://h.example", cluster: cc, timeout: 1s}}}', 202)):
    @case('zipkin_collector_' + name)
    async def _(t, cfg=cfg, status=status):
        u = await t.up()
        c = await Collector(t).http(status if status else (lambda m, n: None))
        base = {k: v for k, v in merge(Y(ZIPKIN), Y(cfg)).items() if v != ''}
        await t.start(traced(t, u, c, cfg=base))
        await t.req('/')
        await t.until(lambda: c.up.reqs)
        await asyncio.sleep(0.03)
        t.see('collector', [t.req_view(m, body=False) for m in c.up.reqs])
        t.see('stats', await t.stats(regex=r'^tracing|cluster.cc.upstream_rq_(2|5)..$'))


@case()
async def zipkin_collector_is_dead(t):
    u = await t.up()
    c = Collector(t)
    c.up = t.dead()
    await t.start(traced(t, u, c))
    await t.req('/')
    await t.stat_until('tracing.zipkin.reports_dropped', lambda v: v)
    t.see('stats', await t.stats(regex=r'^tracing'))


@case()
async def zipkin_flush_by_count_and_time(t):
    u, c = await up_and_collector(t)
    await t.start(traced(t, u, c, flush=3, extra='{layered_runtime: {layers: [{name: s, static_layer: {tracing.zipkin.min_flush_spans: 3, tracing.zipkin.flush_interval_ms: 400}}]}}'))
    for _ in range(4):
        await t.req('/')
    await c.got(4, 2)
    t.see('reports', [len(json.loads(b)) for b in c.bodies()])
    s = await t.stats(regex=r'^tracing')
    s['tracing.zipkin.timer_flushed'] = s['tracing.zipkin.timer_flushed'] > 0
    t.see('stats', s)


@case()
async def zipkin_default_flush(t):
    u, c = await up_and_collector(t)
    cfg = traced(t, u, c)
    del cfg['layered_runtime']
    await t.start(cfg)
    for _ in range(6):
        await t.req('/')
    await c.got(5, 2)
    t.see('reports', [len(json.loads(b)) for b in c.bodies()])
    t.see('stats', await t.stats(regex=r'^tracing'))


@case()
async def bootstrap_provider(t):
    u, c = await up_and_collector(t)
    cfg = traced(t, u, c)
    tracing = cfg['static_resources']['listeners'][0]['filter_chains'][0]['filters'][0]['typed_config']['tracing']
    cfg['tracing'] = {'http': tracing.pop('provider')}
    await t.start(cfg)
    await whole(t, 'r', c, u)


@case()
async def zipkin_timestamp_ids(t):
    u, c = await up_and_collector(t)
    await t.start(traced(t, u, c, cfg=ZIPKIN[:-1] + ', timestamp_trace_ids: true, trace_id_128bit: true}'))
    now = int(time.time())
    await t.req('/')
    await c.got(1)
    s = c.spans()[0]
    t.see('ids', [len(s['traceId']), abs(int(s['traceId'][:8], 16) - now) < 3, s['traceId'][16:] == s['id'], len(s['id'])])


REFUSED = {
    'zipkin_v1': ('zipkin', '{collector_cluster: cc, collector_endpoint: /x}'), 'zipkin_no_cluster': ('zipkin', '{collector_cluster: none, collector_endpoint: /x, collector_endpoint_version: HTTP_JSON}'),
    'zipkin_no_collector': ('zipkin', '{collector_endpoint_version: HTTP_JSON}'), 'zipkin_no_endpoint': ('zipkin', '{collector_cluster: cc, collector_endpoint_version: HTTP_JSON}'),
    'zipkin_service_without_cluster': ('zipkin', '{collector_service: {http_uri: {uri: /x, cluster: nope, timeout: 1s}}, collector_endpoint_version: HTTP_JSON}'),
    'otlp_both': ('opentelemetry', '{grpc_service: {envoy_grpc: {cluster_name: cc}}, http_service: {http_uri: {uri: "http://x/v1", cluster: cc, timeout: 1s}}}'),
}
for name, (kind, cfg) in REFUSED.items():
    @case('refused_' + name)
    async def _(t, kind=kind, cfg=cfg):
        u, c = await up_and_collector(t)
        code, _ = await t.run_to_end(traced(t, u, c, kind=kind, cfg=cfg), timeout=3)
        t.see('code', code)


for name, mode in (('', 'pass_through_mode: false'), ('_passed_through', 'pass_through_mode: true')):
    @case('health_checks' + name)
    async def _(t, mode=mode):
        u, c = await up_and_collector(t)
        hc = http_filter('hc', 'health_check.v3.HealthCheck', '{%s, headers: [{name: ":path", string_match: {exact: /hc}}]}' % mode)
        await t.start(traced(t, u, c, filters=[hc], opts='{spawn_upstream_span: true}'))
        await whole(t, 'health', c, u, path='/hc', count=0)
        t.see('stats', await t.stats(regex=r'http\.in\.tracing'))
        await whole(t, 'forced', c, u, path='/hc', headers=[('x-client-trace-id', 'a')], count=0)
        await whole(t, 'by_parent', c, u, path='/hc', headers=B3(T128, S64, ('x-b3-sampled', '1')), count=0)
        t.see('more', await t.stats(regex=r'http\.in\.tracing'))


@case()
async def tags_of_grpc_failures(t):
    async def answer(s):
        await s.body()
        s.respond(200, [('content-type', 'application/grpc'), ('grpc-status', hget(s.s['headers'], ':path').split('.')[1])], end=True)
    u = await t.h2up('u1', answer)
    c = await Collector(t, *OWN).http()
    cfg = traced(t, u, c, opts='{spawn_upstream_span: true}')
    cfg['static_resources']['clusters'][0] = cluster('c1', u, h2=True)
    await t.start(cfg)
    k = await t.h2()
    out = {}
    for status in [*range(18), 'x', '99']:
        before = len(c.spans())
        await t.h2req('/s/M.%s' % status, 'POST', GRPC, b'\0\0\0\0\0', conn=k)
        await c.got(before + 2)
        out['status %s' % status] = [[x for x in s['tags'] if x.startswith(('error', 'grpc.s'))] for s in c.view(before, ('name', 'kind', 'tags'))]
    await t.h2req('/s/M.0', 'POST', [('content-type', 'text/plain')], b'x', conn=k)
    await c.got(len(c.spans()) + 1, 0.2)
    t.see('errors', out)
    t.see('plain', [[x for x in s['tags'] if x.startswith(('error', 'grpc'))] for s in c.view(36 + 4, ('name', 'kind', 'tags'))])


@case()
async def health_checks_without_a_provider(t):
    u = await t.up()
    hc = http_filter('hc', 'health_check.v3.HealthCheck', '{pass_through_mode: true, headers: [{name: ":path", string_match: {exact: /hc}}]}')
    await t.start(simple(t, filters=[hc], opts='{tracing: {}}'))
    await t.req('/hc')
    t.see('up', [r.h('x-request-id')[14] for r in u.reqs])
    t.see('stats', await t.stats(regex=r'http\.in\.tracing'))
    await t.req('/hc', headers=[('x-client-trace-id', 'a')])
    t.see('forced', [r.h('x-request-id')[14] for r in u.reqs])
    t.see('more', await t.stats(regex=r'http\.in\.tracing'))


@case()
async def when_decisions_are_counted(t):
    go = asyncio.Event()

    async def slow(k):
        m = await k.read_request()
        if m['path'] == '/head':
            k.send(b'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na')
            await go.wait()
            k.send(b'bc')
        await k.fill()
    u = await t.up('u1', conn=slow)
    await t.start(simple(t, opts='{tracing: {}}'))
    k = await t.conn()
    k.send(build('/'))
    await t.until(lambda: u.reqs)
    t.see('during', await t.stats(regex=r'http\.in\.tracing'))
    k.close()
    await asyncio.sleep(0.05)
    t.see('after', await t.stats(regex=r'http\.in\.tracing'))
    k = await t.conn()
    k.send(build('/head'))
    await k.fill()
    t.see('head', await t.stats(regex=r'http\.in\.tracing'))
    go.set()
    await asyncio.sleep(0.05)
    t.see('whole', await t.stats(regex=r'http\.in\.tracing'))
    t.see('local', [(await t.req('/', raw=b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nupgrade: x\r\n\r\n', timeout=1)).status, await t.stats(regex=r'http\.in\.tracing')])


W3C_IN = {
    'none': [], 'sampled': [('traceparent', TP)], 'not_sampled': [('traceparent', TP[:-1] + '0')], 'state': [('traceparent', TP), ('tracestate', 'a=1,b=2')], 'states': [('traceparent', TP), ('tracestate', 'a=1'), ('tracestate', 'b=2')],
    'state_alone': [('tracestate', 'a=1')], 'flags_ff': [('traceparent', TP[:-2] + 'ff')], 'flags_02': [('traceparent', TP[:-2] + '02')], 'later_version': [('traceparent', '01' + TP[2:])], 'version_ff': [('traceparent', 'ff' + TP[2:])], 'longer': [('traceparent', TP + '-more')],
    'upper_case': [('traceparent', TP.upper())], 'short_trace': [('traceparent', '00-%s-%s-01' % (T64, S64))], 'zero_trace': [('traceparent', '00-%s-%s-01' % ('0' * 32, S64))], 'zero_span': [('traceparent', '00-%s-%s-01' % (T128, '0' * 16))],
    'no_hex': [('traceparent', TP.replace('463a', 'zzzz'))], 'empty': [('traceparent', '')], 'garbage': [('traceparent', 'x')], 'twice': [('traceparent', TP), ('traceparent', 'x')], 'b3_is_nothing': B3(T128, S64, ('x-b3-sampled', '1')), 'dashes': [('traceparent', TP.replace('-', '_'))],
}

for name, opts, direction, router_opts in (('', '{}', '{}', {}), ('_egress', '{}', '{traffic_direction: OUTBOUND}', {}), ('_upstream_span', '{spawn_upstream_span: true}', '{}', {}),
                                           ('_upstream_span_egress', '{spawn_upstream_span: true}', '{traffic_direction: OUTBOUND}', {}), ('_child', '{}', '{}', {'start_child_span': True}), ('_no_propagation', '{no_context_propagation: true}', '{}', {}),
                                           ('_never', '{random_sampling: {value: 0}}', '{}', {})):
    @case('otlp_w3c' + name)
    async def _(t, opts=opts, direction=direction, router_opts=router_opts):
        u = await t.up()
        c = await Collector(t, *OWN).http(200)
        await t.start(traced(t, u, c, opts=opts, lextra=direction, rt=router(**router_opts), **OTEL()))
        await chain(t, 'requests', c, u, W3C_IN)


SAMPLERS = {
    'always_on': '{name: envoy.tracers.opentelemetry.samplers.always_on, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig}}',
    'ratio_none': '{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig, sampling_percentage: {numerator: 0}}}',
    'ratio_all': '{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig, sampling_percentage: {numerator: 100}}}',
    'ratio_some': '{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig, sampling_percentage: {numerator: 30}}}',
    'ratio_million': '{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig, sampling_percentage: {numerator: 300000, denominator: MILLION}}}',
}
for k in ('always_on', 'ratio_none', 'ratio_all', 'ratio_some'):
    SAMPLERS['parent_' + k] = '{name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig, wrapped_sampler: %s}}' % SAMPLERS[k]
RATIOS = {'at_%s' % h: [('traceparent', '00-%s%s-%s-0%d' % (h, '0' * (32 - len(h)), S64, f))] for f in (0, 1) for h in ('00', '20', '4c', '4d', '80', 'ff')}
LOW = {'low_%s_%d' % (h, f): [('traceparent', '00-00000000000000a1%s%s-%s-0%d' % (h, '0' * (16 - len(h)), S64, f))] for f in (0, 1) for h in ('00', '20', '4c', '4d', '80', 'ff', '0000000000000020', '00000000000000ff')}
for name, sampler in SAMPLERS.items():
    @case('otlp_sampler_' + name)
    async def _(t, sampler=sampler, name=name):
        u = await t.up()
        c = await Collector(t, *OWN).http(200)
        await t.start(traced(t, u, c, opts='{spawn_upstream_span: true}', **OTEL(merge(Y(OTLP_HTTP), {'sampler': Y(sampler)}))))
        requests = {k: W3C_IN[k] for k in ('none', 'sampled', 'not_sampled', 'state', 'garbage', 'zero_trace')} if 'some' not in name and 'million' not in name else {k: W3C_IN[k] for k in ('sampled', 'not_sampled')}
        await chain(t, 'requests', c, u, {**requests, **RATIOS, **LOW} if 'ratio' in name else requests, keys=(*IDS, 'attributes') if name == 'always_on' else IDS)


@case()
async def otlp_sampler_after_a_request_is_not_chosen(t):
    u = await t.up()
    c = await Collector(t, *OWN).http(200)
    await t.start(traced(t, u, c, opts='{random_sampling: {value: 0}}', **OTEL(merge(Y(OTLP_HTTP), {'sampler': Y(SAMPLERS['always_on'])}))))
    await chain(t, 'requests', c, u, {k: W3C_IN[k] for k in ('none', 'sampled', 'not_sampled')})
    t.see('stats', await t.stats(regex=r'http\.in\.tracing'))


ENV = '{name: e, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig}}'
STATIC = '{name: s, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig, attributes: {%s}}}'
for name, cfg, env in (('static', {'resource_detectors': [Y(STATIC % 'k1: v1, k2: v2')]}, None), ('two', {'resource_detectors': [Y(STATIC % 'k1: v1, k2: v2'), Y(STATIC % 'k2: other, k3: v3')]}, None),
                       ('empty_values', {'resource_detectors': [Y(STATIC % 'k1: "", "": v')]}, None), ('names_the_service', {'resource_detectors': [Y(STATIC % 'service.name: of-detector, telemetry.sdk.name: mine')]}, None),
                       ('names_the_service_unnamed', {'service_name': '', 'resource_detectors': [Y(STATIC % 'service.name: of-detector')]}, None), ('no_service_name', {'service_name': ''}, None),
                       ('environment', {'resource_detectors': [Y(ENV)]}, 'a=1,b=two words,service.name=from-env'), ('environment_unset', {'resource_detectors': [Y(ENV)]}, None), ('environment_bad', {'resource_detectors': [Y(ENV)]}, 'a,b=1,=2,c=,d=e=f'),
                       ('environment_and_static', {'resource_detectors': [Y(ENV), Y(STATIC % 'a: static')]}, 'a=env, b = spaced ,e=%41'),
                       ('nothing_of_the_sdk', {'set_telemetry_sdk_resource_attributes': False}, None), ('nothing_of_the_service', {'set_service_name_resource_attribute': False}, None)):
    @case('otlp_resource_' + name)
    async def _(t, cfg=cfg, env=env):
        u = await t.up()
        c = await Collector(t).http(200)
        full = {k: v for k, v in merge(Y(OTLP_HTTP), cfg).items() if v != ''}
        await t.start(traced(t, u, c, **OTEL(full)), env={'OTEL_RESOURCE_ATTRIBUTES': env} if env is not None else None)
        await t.req('/')
        await c.got(1)
        t.see('resources', c.resources())


for name, cfg, status in (('answers_202', {}, 202), ('answers_503', {}, 503), ('breaks', {}, None), ('no_timeout', {'http_service': {'http_uri': {'timeout': '0s'}}}, 200),
                          ('headers', {'http_service': {'request_headers_to_add': [{'header': {'key': 'X-Token', 'value': 't1'}}, {'header': {'key': 'x-token', 'value': 't2'}}, {'header': {'key': 'user-agent', 'value': 'mine'}}, {'header': {'key': 'x-f', 'value': '%HOSTNAME%-%REQ(a)%'}}]}}, 200),
                          ('path_only', {'http_service': {'http_uri': {'uri': '/v1/x'}}}, 200), ('host_only', {'http_service': {'http_uri': {'uri': 'http://h.example:4318'}}}, 200), ('bare_host', {'http_service': {'http_uri': {'uri': 'h.example:4318/v1/traces'}}}, 200)):
    @case('otlp_http_' + name)
    async def _(t, cfg=cfg, status=status):
        u = await t.up()
        c = await Collector(t).http(status if status else (lambda m, n: None))
        await t.start(traced(t, u, c, **OTEL(merge(Y(OTLP_HTTP), cfg))))
        await t.req('/')
        await t.until(lambda: c.up.reqs)
        await asyncio.sleep(0.03)
        t.see('collector', [t.req_view(m, body=False) for m in c.up.reqs])
        t.see('stats', await t.stats(regex=r'^tracing|cluster.cc.upstream_rq_(2|5)..$'))


for name, kind, cfg in (('http', 'http', OTLP_HTTP), ('grpc', 'grpc', OTLP_GRPC)):
    @case('otlp_%s_flush_by_count_and_time' % name)
    async def _(t, kind=kind, cfg=cfg):
        u = await t.up()
        c = await (Collector(t).http(200) if kind == 'http' else Collector(t).grpc())
        await t.start(traced(t, u, c, h2=kind == 'grpc', extra='{layered_runtime: {layers: [{name: s, static_layer: {tracing.opentelemetry.min_flush_spans: 3, tracing.opentelemetry.flush_interval_ms: 400}}]}}', **OTEL(cfg)))
        for _ in range(4):
            await t.req('/')
        await c.got(4, 2)
        t.see('reports', [r['scopes'][0]['spans'] for r in c.resources() if r['scopes'][0]['spans']])
        s = await t.stats(regex=r'^tracing')
        s['tracing.opentelemetry.timer_flushed'] = s['tracing.opentelemetry.timer_flushed'] > 0
        t.see('stats', s)


@case()
async def otlp_idle_flush(t):
    """What is sent when the timer comes and nothing waits."""
    u = await t.up()
    c = await Collector(t).http(200)
    await t.start(traced(t, u, c, extra='{layered_runtime: {layers: [{name: s, static_layer: {tracing.opentelemetry.flush_interval_ms: 50}}]}}', **OTEL()))
    await t.stat_until('tracing.opentelemetry.timer_flushed', lambda v: v > 2)
    t.see('reports', len(c.up.reqs))
    t.see('sent', await t.stats('tracing.opentelemetry.spans_sent', 'tracing.opentelemetry.spans_dropped'))


@case()
async def otlp_cache_is_full(t):
    u = await t.up()
    c = await Collector(t).http(200)
    await t.start(traced(t, u, c, flush=10, **OTEL(merge(Y(OTLP_HTTP), {'max_cache_size': 2}))))
    for _ in range(5):
        await t.req('/')
    t.see('stats', await t.stats(regex=r'^tracing'))
    t.see('reports', len(c.up.reqs))


for name, answer in (('fails', [('grpc-status', '14')]), ('http_500', None)):
    @case('otlp_grpc_' + name)
    async def _(t, answer=answer):
        async def say(s):
            if answer is None:
                return s.respond(500, [('content-type', 'text/plain')], end=True)
            s.respond(200, [('content-type', 'application/grpc'), *answer], end=True)
        u = await t.up()
        c = await Collector(t).grpc(answer=say)
        await t.start(traced(t, u, c, h2=True, **OTEL(OTLP_GRPC)))
        await t.req('/')
        await t.until(lambda: c.up.reqs)
        await asyncio.sleep(0.05)
        t.see('stats', await t.stats(regex=r'^tracing|cluster.cc.upstream_rq_(2|5)..$|grpc'))


for name, more in (('authority', {'grpc_service': {'envoy_grpc': {'authority': 'otel.example'}}}), ('metadata', {'grpc_service': {'initial_metadata': [{'key': 'x-token', 'value': 't'}, {'key': 'X-Host', 'value': '%HOSTNAME%'}, {'key': 'x-bin', 'value': 'a'}]}}),
                   ('no_timeout', {'grpc_service': {'timeout': '0s'}}), ('skip_envoy_headers', {'grpc_service': {'envoy_grpc': {'skip_envoy_headers': True}}}), ('max_message', {'grpc_service': {'envoy_grpc': {'max_receive_message_length': 0}}})):
    @case('otlp_grpc_' + name)
    async def _(t, more=more):
        u = await t.up()
        c = await Collector(t).grpc()
        await t.start(traced(t, u, c, h2=True, **OTEL(merge(Y(OTLP_GRPC), more))))
        await t.req('/')
        await c.got(1)
        t.see('collector', [t.hs(m['headers']) for m in c.up.reqs])
        t.see('stats', await t.stats(regex=r'^tracing|cluster.cc.upstream_rq_(2|5)..$'))


@case()
async def otlp_without_an_exporter(t):
    u = await t.up()
    c = await Collector(t).http(200)
    code, _ = await t.run_to_end(traced(t, u, c, **OTEL('{service_name: s}')), timeout=3)
    t.see('code', code)


@case()
async def otlp_clusters_that_are_not_there(t):
    u = await t.up()
    c = await Collector(t).http(200)
    for i, cfg in enumerate((OTLP_HTTP, OTLP_GRPC)):
        await t.start(traced(t, u, c, **OTEL(cfg.replace('cc', 'nope'))), name='p%d' % i)
        t.see('status %d' % i, (await t.req('/')).status)
        await asyncio.sleep(0.05)
        t.see('stats %d' % i, await t.stats(regex=r'^tracing'))
        await t.stop()


for name, opts in (('', '{}'), ('_verbose_upstream_span', '{verbose: true, spawn_upstream_span: true}')):
    @case('otlp_spans' + name)
    async def _(t, opts=opts):
        u = await t.up('u1', lambda m, n: resp(503 if m['path'] == '/503' else 404 if m['path'] == '/404' else 200, 'body'))
        c = await Collector(t, *OWN).http(200)
        routes = '[{match: {path: /local}, direct_response: {status: 500}}, {match: {prefix: /}, route: {cluster: c1}}]'
        await t.start(traced(t, u, c, opts=merge(Y(opts), {'custom_tags': Y('[{tag: component, literal: {value: mine}}, {tag: lit, literal: {value: v}}, {tag: md, metadata: {kind: {request: {}}, metadata_key: {key: x, path: [{key: z}]}, default_value: d}}]')}), routes=routes, log='%TRACE_ID% %SPAN_ID%', **OTEL()))
        n = 2 if 'upstream' in opts else 1
        await whole(t, 'ok', c, u, path='/ok', count=n, headers=[('traceparent', TP)])
        for path in ('/503', '/404', '/local'):
            await whole(t, path, c, u, path=path, count=n if path != '/local' else 1)
        t.see('log', c.names(await t.logs()))


@case()
async def otlp_collectors_that_do_not_answer(t):
    async def silent(k):
        await k.read_request()
        await k.fill()

    async def waits(s):
        await asyncio.sleep(9)
    u = await t.up()
    for i, cfg in enumerate((OTLP_HTTP.replace('2s', '0.1s'), OTLP_GRPC.replace('0.5s', '0.1s'))):
        c = Collector(t)
        c.up = await t.up('c0', conn=silent) if i == 0 else await t.h2up('c1', waits)
        await t.start(traced(t, u, c, h2=i == 1, **OTEL(cfg)), name='p%d' % i)
        await t.req('/')
        await t.until(lambda: c.up.reqs)
        await asyncio.sleep(0.4)
        t.see('stats %d' % i, await t.stats('cluster.cc.upstream_rq_timeout', 'cluster.cc.upstream_rq_active', 'cluster.cc.upstream_rq_504', 'tracing.opentelemetry.spans_sent'))
        await t.stop()


@case()
async def counts_of_refused_requests(t):
    await t.up()
    await t.start(simple(t, opts='{tracing: {}, normalize_path: true}', routes='[{match: {path: /a}, route: {cluster: c1}}]'))
    for raw in (b'GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n', b'GET / HTTP/1.1\r\n\r\n', b'x\r\n\r\n', b'GET /b HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n', b'GET /a HTTP/1.0\r\nHost: a\r\n\r\n'):
        r = await t.req(raw=raw)
        t.see('%s' % raw[:12], [r['status'], await t.stats(regex=r'http\.in\.tracing')])


@case()
async def custom_tags_of_odd_values(t):
    u, c = await up_and_collector(t)
    MD = lambda tag, path, more='', ns='ns': '{tag: %s, metadata: {kind: {route: {}}, metadata_key: {key: %s, path: [%s]}%s}}' % (tag, ns, ', '.join('{key: %s}' % p for p in path), more)
    tags = '[%s]' % ', '.join([MD(k, [k]) for k in ('int', 'big', 'huge', 'part', 'small', 'neg', 'empty', 'nil')] + [
        MD('nil_default', ['nil'], ', default_value: d'), MD('empty_default', ['empty'], ', default_value: d'), MD('obj', ['obj']), MD('beyond', ['obj', 'in', 'x'], ', default_value: d'), MD('other_ns', ['int'], ', default_value: d', 'none'),
        '{tag: cluster, metadata: {kind: {cluster: {}}, metadata_key: {key: ns, path: [{key: x}]}, default_value: d}}', '{tag: env, environment: {name: HOME_NONE, default_value: ""}}', '{tag: twice, literal: {value: a}}', '{tag: twice, literal: {value: b}}', '{tag: "guid:x-request-id", literal: {value: mine}}'])
    await t.start(traced(t, u, c, opts={'custom_tags': Y(tags)}, routes='[{match: {prefix: /}, route: {cluster: c1}, metadata: {filter_metadata: {ns: {int: 7, big: 1234567, huge: 123456789012, part: 0.1, small: 1.0e-7, neg: -2.5, empty: "", nil: null, obj: {in: {deep: [true, null, 1.5]}}}}}}]'))
    await whole(t, 'r', c)


ODD = {'hex_prefix': B3('0x1', '0x2'), 'plus': B3('+1', '+2'), 'minus': B3('-1', '1'), 'blank': B3('1 1', '2'), 'leading_zeros': B3('0' * 20 + '1', '1'), 'upper': B3('ABCDEF', 'FF'), 'seventeen': B3('1' * 17, '1'), 'empty_ids': B3('', ''), 'wide_odd': B3('0x' + '1' * 30, '1'), 'no_high': B3('0' * 16 + T64, S64)}


@case('zipkin_b3_odd_numbers')
async def _(t):
    u, c = await up_and_collector(t)
    await t.start(traced(t, u, c))
    await chain(t, 'requests', c, u, ODD)


@case()
async def proxies_in_front_and_http2(t):
    u, c = await up_and_collector(t)
    await t.start(traced(t, u, c, opts='{spawn_upstream_span: true}', extra='{}'))
    before = len(c.spans())
    await t.h2req('/p', headers=[('x-forwarded-proto', 'https'), ('x-forwarded-for', '1.2.3.4')])
    await c.got(before + 2)
    t.see('h2', c.view(before, WHOLE))


@case('time_runs_out_hedged')
async def _(t):
    async def slow(k):
        m = await k.read_request()
        if m['n'] == 1:
            await asyncio.sleep(0.3)
        k.send(resp(200, 'x'))
        await k.fill()
    u = await t.up('u1', conn=slow)
    c = await Collector(t, *OWN).http()
    await t.start(traced(t, u, c, opts='{spawn_upstream_span: true}', routes='[{match: {prefix: /}, route: {cluster: c1, hedge_policy: {hedge_on_per_try_timeout: true}, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.05s, retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}}}}]'))
    await whole(t, 'r', c, count=3)


@case('retries_answer_without_a_body')
async def _(t):
    u, c = await up_and_collector(t, lambda m, n: resp(200 if n == 2 else 503, ''))
    await t.start(traced(t, u, c, opts='{spawn_upstream_span: true}', routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}}}}]'))
    await whole(t, 'r', c, count=3)


for name, other in (('alike', ZIPKIN), ('unlike', ZIPKIN[:-1] + ', trace_id_128bit: true}')):
    @case('connection_managers_' + name)
    async def _(t, other=other):
        """Those that are configured alike share a provider: their spans are counted, and sent, together."""
        u, c = await up_and_collector(t)
        cfg = traced(t, u, c, flush=2)
        second = traced(t, u, c, flush=2, cfg=other)['static_resources']['listeners'][0]
        second['name'] = 'l2'
        first = cfg['static_resources']['listeners'][0]['address']['socket_address']['port_value']
        cfg['static_resources']['listeners'].append(second)
        await t.start(cfg)
        for port in (first, t.l1):
            await t.req('/', port=port)
        await c.got(2, 0.3)
        t.see('reports', [len(json.loads(b)) for b in c.bodies()])
        for port in (first, t.l1):
            await t.req('/', port=port)
        await c.got(4, 0.3)
        t.see('more', sum(len(json.loads(b)) for b in c.bodies()))


@case()
async def spans_of_connects_and_of_filters_that_answer(t):
    u, c = await up_and_collector(t)
    f = http_filter('lr', 'local_ratelimit.v3.LocalRateLimit', '{stat_prefix: rl, token_bucket: {max_tokens: 1, fill_interval: 100s}, filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}}')
    await t.start(traced(t, u, c, opts='{spawn_upstream_span: true}', filters=[f]))
    await whole(t, 'passed', c, u, count=2)
    await whole(t, 'limited', c, u, count=1)
