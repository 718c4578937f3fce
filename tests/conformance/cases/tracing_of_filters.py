"""Spans of what filters ask on a request's behalf."""
from harness import *

OTLP = ('opentelemetry', 'envoy.config.trace.v3.OpenTelemetryConfig', {'http_service': {'http_uri': {'uri': 'http://otel.example/v1/traces', 'cluster': 'cc', 'timeout': '2s'}}, 'service_name': 'svc'})
ZIPKIN = ('zipkin', 'envoy.config.trace.v3.ZipkinConfig', {'collector_cluster': 'cc', 'collector_endpoint': '/api/v2/spans', 'collector_endpoint_version': 'HTTP_JSON'})
FLUSH = lambda kind, n: '{layered_runtime: {layers: [{name: s, static_layer: {tracing.%s.min_flush_spans: %d, tracing.%s.flush_interval_ms: 400}}]}}' % (kind, n, kind)
HTTP = {'http_service': {'server_uri': {'uri': 'authz.example:80', 'cluster': 'ca', 'timeout': '3s'}}}
GRPC = {'grpc_service': {'envoy_grpc': {'cluster_name': 'ca'}, 'timeout': '3s'}}
KINDS = {'b3', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled', 'traceparent', 'tracestate'}


def asked(name, provider, service, answer, cfg='{}', spans=2, opts='{}', dead=False, reqs=({},)):
    @case('of_ext_authz_' + name)
    async def _(t):
        kind, type_, config_ = provider
        u = await t.up('u1')
        c = await Collector(t).http(202)
        grpc = 'grpc_service' in service
        if dead:
            up = t.dead('authz')
        elif grpc:
            a = Authz(t, answer if callable(answer) else lambda n, r: answer)
            up = (await a.listen()).up
        else:
            up = await t.up('authz', answer)
        f = http_filter('ea', 'ext_authz.v3.ExtAuthz', merge({'transport_api_version': 'V3', **json.loads(json.dumps(service))}, Y(cfg)))
        tracing = merge({'tracing': {'provider': {'name': kind, 'typed_config': {'@type': 'type.googleapis.com/' + type_, **config_}}}}, Y(opts))
        await t.start(simple(t, clusters=[cluster('c1', u), cluster('ca', up, h2=grpc), cluster('cc', c.up)], filters=[f], opts=tracing, extra=FLUSH(kind, spans)))
        for k in reqs:
            await t.req('/p', **k)
        await c.got(spans * len(reqs))
        if not dead:
            t.see('asked', [c.names(t.mask(t.hs(m['headers'] if grpc else m['raw_headers'], only=KINDS))) for m in up.reqs])
        t.see('up', [c.names(t.mask(t.hs(m['raw_headers'], only=KINDS))) for m in u.reqs])
        t.see('spans', c.view())


NO = {'status': {'code': 7}}
for label, provider in (('otlp', OTLP), ('zipkin', ZIPKIN)):
    asked(label + '_http', provider, HTTP, lambda m, n: resp(200))
    asked(label + '_http_denied', provider, HTTP, lambda m, n: resp(403))
    asked(label + '_http_5xx', provider, HTTP, lambda m, n: resp(503))
    asked(label + '_grpc', provider, GRPC, {'status': {'code': 0}})
    asked(label + '_grpc_denied', provider, GRPC, NO)
    asked(label + '_grpc_upstream_spans', provider, GRPC, {'status': {'code': 0}}, spans=3, opts='{tracing: {spawn_upstream_span: true}}')
asked('otlp_not_sampled', OTLP, HTTP, lambda m, n: resp(200), spans=0, opts='{tracing: {random_sampling: {value: 0}}}')
asked('otlp_client_span_off', OTLP, HTTP, lambda m, n: resp(200), '{emit_client_span: false}', spans=1)


async def failing(s):
    s.respond(200, [('content-type', 'application/grpc'), ('grpc-status', '14'), ('grpc-message', 'nope')], end=True)
asked('otlp_grpc_fails', OTLP, GRPC, lambda n, r: failing)
asked('otlp_grpc_dead', OTLP, GRPC, None, dead=True)
asked('otlp_http_with_decision', OTLP, HTTP, lambda m, n: resp(200), reqs=[dict(headers=[('traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'), ('tracestate', 'a=b')])])
