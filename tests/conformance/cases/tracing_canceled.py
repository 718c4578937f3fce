"""Spans of questions that nobody waits for any more, and what OTLP says of who made a span."""
from harness import *

OTLP = ('opentelemetry', 'envoy.config.trace.v3.OpenTelemetryConfig', {'http_service': {'http_uri': {'uri': 'http://otel.example/v1/traces', 'cluster': 'cc', 'timeout': '2s'}}, 'service_name': 'svc'})
ZIPKIN = ('zipkin', 'envoy.config.trace.v3.ZipkinConfig', {'collector_cluster': 'cc', 'collector_endpoint': '/api/v2/spans', 'collector_endpoint_version': 'HTTP_JSON'})
FLUSH = lambda kind, n: '{layered_runtime: {layers: [{name: s, static_layer: {tracing.%s.min_flush_spans: %d}}]}}' % (kind, n)
HTTP = {'http_service': {'server_uri': {'uri': 'authz.example:80', 'cluster': 'ca', 'timeout': '3s'}}}
GRPC = {'grpc_service': {'envoy_grpc': {'cluster_name': 'ca'}, 'timeout': '3s'}}


def gives_up(name, provider, service, cfg='{}', timeout=False):
    """The client goes, or the question takes too long, while the service says nothing."""
    @case('canceled_' + name)
    async def _(t):
        kind, type_, config_ = provider
        u, c, asked = await t.up('u1'), await Collector(t).http(202), asyncio.Event()
        grpc = 'grpc_service' in service
        if grpc:
            async def silent(s):
                await s.body()
                asked.set()
                await asyncio.sleep(20)
            a = await t.h2up('authz', silent)
        else:
            async def quiet(s):
                await s.read_request()
                asked.set()
                await s.fill()
            a = await t.up('authz', conn=quiet)
        f = http_filter('ea', 'ext_authz.v3.ExtAuthz', merge({'transport_api_version': 'V3', **json.loads(json.dumps(service))}, Y(cfg)))
        tracing = {'tracing': {'provider': {'name': kind, 'typed_config': {'@type': 'type.googleapis.com/' + type_, **config_}}}}
        await t.start(simple(t, clusters=[cluster('c1', u), cluster('ca', a, h2=grpc), cluster('cc', c.up)], filters=[f], opts=tracing, extra=FLUSH(kind, 2), log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'))
        if timeout:
            t.see('r', (await t.req('/p')).status)
        else:
            x = await t.conn()
            x.send(b'GET /p HTTP/1.1\r\nHost: a\r\n\r\n')
            await asyncio.wait_for(asked.wait(), 5)
            x.w.close()
        await c.got(2)
        t.see('spans', c.view())
        t.see('stats', await t.stats(regex=r'cluster.ca.(upstream_rq_(cancelled|timeout|[0-9]|completed|rx_reset|tx_reset)|internal)|ext_authz'))
        t.see('log', await t.logs())


for label, provider in (('otlp', OTLP), ('zipkin', ZIPKIN)):
    gives_up(label + '_http', provider, HTTP)
    gives_up(label + '_grpc', provider, GRPC)
gives_up('otlp_http_timed_out', OTLP, HTTP, '{http_service: {server_uri: {timeout: 0.1s}}}', timeout=True)
gives_up('otlp_grpc_timed_out', OTLP, GRPC, '{grpc_service: {timeout: 0.1s}}', timeout=True)


@case('otlp_scope')
async def _(t):
    kind, type_, config_ = OTLP
    u = await t.up('u1')
    seen = []

    def take(m, n):
        seen.append(m['body'])
        return resp(202)
    c = await t.up('cc', take)
    for own in (None, True, False):
        tracing = {'tracing': {'provider': {'name': kind, 'typed_config': {'@type': 'type.googleapis.com/' + type_, **config_, **({} if own is None else {'set_instrumentation_scope': own})}}}}
        await t.start(simple(t, clusters=[cluster('c1', u), cluster('cc', c)], opts=tracing, extra=FLUSH(kind, 1)))
        await t.req('/p')
        await t.until(lambda: seen)
        t.see(str(own), seen[-1].count(b'envoy'))
        seen.clear()
        await t.stop()
