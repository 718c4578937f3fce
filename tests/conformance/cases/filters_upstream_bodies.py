"""Filters that see bodies on the upstream's side: buffer and compressor, of the router and of the cluster."""
import gzip

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
T = 'type.googleapis.com/'
CODEC = {'name': 'codec', 'typed_config': {'@type': T + 'envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec'}}
H1 = {'explicit_http_config': {'http_protocol_options': {}}}
B = 'envoy.filters.http.buffer'
BUF = lambda n, name=B: http_filter(name, 'buffer.v3.Buffer', '{max_request_bytes: %d}' % n)
GZIP = {'name': 'gz', 'typed_config': {'@type': T + 'envoy.extensions.compression.gzip.compressor.v3.Gzip'}}
COMP = lambda cfg='{}': http_filter('comp', 'compressor.v3.Compressor', {**Y(cfg), 'compressor_library': GZIP})
BOTH = '{request_direction_config: {common_config: {enabled: {default_value: true, runtime_key: k}}}, response_direction_config: {}}'
HM = lambda name, key, value: http_filter('hm', 'header_mutation.v3.HeaderMutation', {'mutations': {'%s_mutations' % name: [{'append': {'header': {'key': key, 'value': value}, 'append_action': 'APPEND_IF_EXISTS_OR_ADD'}}]}})
POST = lambda body, *hs, **k: dict(method='POST', body=body, headers=list(hs), **k)
CHUNKED = lambda body, more=b'', path='/': dict(raw=b'POST %s HTTP/1.1\r\nhost: test.example\r\ntransfer-encoding: chunked\r\n%s\r\n%s' % (path.encode(), more, body))
ABC = CHUNKED(b'3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n')
RETRY = '{timeout: 0s, retry_policy: {retry_on: 5xx, num_retries: 2%s}}'
TEXT = b'lorem ipsum dolor sit amet ' * 40
RT = r'^(http|cluster).*(downstream_rq_too_large|downstream_rq_4xx|c1.upstream_rq_(total|4xx|2xx|completed|retry)$|rq_active|compressor.*(?<!total_compressed_bytes)$)'


def plain(m):
    """The sizes of compressed bodies are the library's business."""
    if (m.h('content-encoding') or '') == 'gzip' and m.body[:2] == b'\x1f\x8b':
        m['body'] = b'gzip of ' + gzip.decompress(m.body)
        m['raw_headers'] = [(k, '<gz>' if k.lower() == 'content-length' else v) for k, v in m['raw_headers']]
    return m


def up(name, of_router=(), of_cluster=(), reqs=(), action=None, filters=(), respond=None, stats=RT, vh=None, opts=None, copts=None, log=LOG, h2=None, lextra=None, see=None):
    @case('upstream_bodies_' + name)
    async def _(t):
        u = await t.h2up('u1', respond) if h2 else await t.up('u1', respond)
        rt = router(upstream_http_filters=[*of_router, CODEC]) if of_router else None
        hpo = {**({'explicit_http_config': {'http2_protocol_options': {}}} if h2 else H1), **({'http_filters': [*of_cluster, CODEC]} if of_cluster else {})}
        vhost = {'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **(Y(action) or {})}}], **(Y(vh) or {})}
        await t.start(simple(t, clusters=[cluster('c1', [u], copts, hpo=hpo)], filters=filters, log=log, vhosts=[vhost], rt=rt, opts=opts, lextra=lextra))
        for i, k in enumerate(reqs):
            n = len(u.reqs)
            t.see('%d' % i, plain(await t.req(**k)))
            t.see('%d up' % i, [t.req_view(plain(m)) for m in u.reqs[n:]])
        t.see('stats', await t.stats(regex=stats))
        t.see('log', await t.logs())


failing = lambda first=1, status=503: lambda m, n: resp(status, 'bad') if n <= first else resp(200, 'good')

up('buffer_of_the_router', [BUF(100)], reqs=[ABC, CHUNKED(b'0\r\n\r\n'), POST(b'xyz'), H()])
up('buffer_of_the_cluster', of_cluster=[BUF(100)], reqs=[ABC, CHUNKED(b'0\r\n\r\n'), POST(b'xyz'), H()])
up('buffer_limit', [BUF(5)], reqs=[POST(b'12345'), POST(b'123456'), CHUNKED(b'3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n'), H()])
up('buffer_limit_of_the_cluster', of_cluster=[BUF(5)], reqs=[POST(b'123456'), CHUNKED(b'3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n'), POST(b'12')])
up('buffer_limit_is_not_retried', [BUF(5)], reqs=[POST(b'123456')], action='{retry_policy: {retry_on: "5xx,retriable-4xx,retriable-status-codes", num_retries: 2, retriable_status_codes: [413]}}')
up('buffer_off_by_the_route', [BUF(5)], reqs=[POST(b'123456'), ABC], vh={'typed_per_filter_config': {B: {'@type': ftype('buffer.v3.BufferPerRoute'), 'disabled': True}}})
up('buffer_of_the_route', [BUF(5)], reqs=[POST(b'123456'), POST(b'1' * 11)], vh={'typed_per_filter_config': {B: {'@type': ftype('buffer.v3.BufferPerRoute'), 'buffer': {'max_request_bytes': 10}}}})
up('buffer_and_retries', [BUF(100)], reqs=[ABC, POST(b'xyz')], action=RETRY % '', respond=failing(2))
up('buffer_and_retries_beyond_the_replay', [BUF(1000)], reqs=[POST(b'x' * 50)], action=RETRY % '', vh='{per_request_buffer_limit_bytes: 20}', respond=failing(1))
up('buffer_with_trailers', [BUF(100)], reqs=[CHUNKED(b'3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n')], opts='{http_protocol_options: {enable_trailers: true}}')
up('buffer_on_both_sides', [BUF(5)], filters=[BUF(100)], reqs=[ABC, POST(b'1234567')])
up('buffer_before_and_behind_mutations', [HM('request', 'x-a', 'before'), BUF(100, 'b'), HM('request', 'x-a', 'behind %REQ(content-length)%')], reqs=[ABC, H()])
up('buffer_of_grpc', [BUF(3)], reqs=[POST(b'12345', ('content-type', 'application/grpc'))])
up('buffer_and_the_route_headers', [BUF(5)], reqs=[POST(b'123456')], vh='{response_headers_to_add: [{header: {key: x-v, value: "%RESPONSE_CODE%"}}], include_attempt_count_in_response: true}')
up('buffer_of_much', [BUF(3000000)], reqs=[POST(b'x' * 2000000), CHUNKED(b'10000\r\n' + b'y' * 65536 + b'\r\n0\r\n\r\n')], copts='{per_connection_buffer_limit_bytes: 4096}', lextra='{per_connection_buffer_limit_bytes: 4096}', stats='^(http|cluster).*(too_large|upstream_rq_total)')
up('buffer_and_an_early_answer_after_all', [BUF(100)], reqs=[ABC], respond=lambda m, n: resp(200, b'z' * 5000))
up('compressor_of_responses', [COMP()], reqs=[H(('accept-encoding', 'gzip')), H(), H(('accept-encoding', 'gzip'), method='HEAD'), H(('accept-encoding', 'br, gzip;q=0'))], respond=lambda m, n: resp(200, TEXT, [('content-type', 'text/plain'), ('etag', '"abc"')]))
up('compressor_of_responses_of_the_cluster', of_cluster=[COMP()], reqs=[H(('accept-encoding', 'gzip')), H(('accept-encoding', 'gzip'))], respond=lambda m, n: resp(200, TEXT if n == 1 else 'short', [('content-type', 'text/html')]))
up('compressor_of_chunks', [COMP()], reqs=[H(('accept-encoding', 'gzip'))], respond=lambda m, n: b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/plain\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n')
up('compressor_of_requests', [COMP(BOTH)], reqs=[POST(TEXT, ('content-type', 'text/plain')), POST(b'short', ('content-type', 'text/plain')), H()])
up('compressor_of_requests_and_retries', [COMP(BOTH)], reqs=[POST(TEXT, ('content-type', 'text/plain'))], action=RETRY % '', respond=failing(1))
up('compressor_of_responses_and_retries', [COMP()], reqs=[H(('accept-encoding', 'gzip'))], action=RETRY % '', respond=lambda m, n: resp(503 if n == 1 else 200, TEXT, [('content-type', 'text/plain')]))
up('compressor_on_both_sides', [COMP()], filters=[COMP()], reqs=[H(('accept-encoding', 'gzip'))], respond=lambda m, n: resp(200, TEXT, [('content-type', 'text/plain')]))
up('compressor_behind_buffer', [BUF(5000), COMP(BOTH)], reqs=[POST(TEXT, ('content-type', 'text/plain')), CHUNKED(b'3\r\nabc\r\n0\r\n\r\n', b'content-type: text/plain\r\n')])
up('compressor_before_buffer', [COMP(BOTH), BUF(5000)], reqs=[POST(TEXT, ('content-type', 'text/plain'))])
up('compressor_sees_no_own_answers', [COMP()], filters=[BUF(5)], reqs=[POST(b'123456', ('accept-encoding', 'gzip'))])
up('compressor_of_the_route', [COMP()], reqs=[H(('accept-encoding', 'gzip'))], respond=lambda m, n: resp(200, TEXT, [('content-type', 'text/plain')]), vh={'typed_per_filter_config': {'comp': {'@type': ftype('compressor.v3.CompressorPerRoute'), 'disabled': True}}})
up('buffer_before_a_redirect', [BUF(100)], reqs=[ABC], action='{internal_redirect_policy: {}}', respond=lambda m, n: resp(302, '', [('location', 'http://test.example/b')]) if n == 1 else resp(200, 'there'))


@case('upstream_bodies_buffer_waits')
async def _(t):
    """The connection is made while the request still comes."""
    u = await t.up()
    await t.start(simple(t, rt=router(upstream_http_filters=[BUF(100), CODEC]), log=LOG))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab')
    await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 1)
    t.see('not yet', await t.stats(regex='c1.upstream_(rq|cx)_(total|active|pending_total|pending_active)$'))
    t.see('asked', len(u.reqs))
    c.send(b'cd')
    t.see('r', await c.response())
    t.see('up', u.reqs)
    t.see('log', await t.logs())


@case('upstream_bodies_buffer_and_the_client_goes')
async def _(t):
    u = await t.up()
    await t.start(simple(t, rt=router(upstream_http_filters=[BUF(100), CODEC]), log=LOG))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab')
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 1)
    c.close()
    await t.stat_until('http.in.downstream_rq_active', lambda v: v == 0)
    t.see('stats', await t.stats('cluster.c1.upstream_rq_total', 'cluster.c1.upstream_rq_cancelled', 'cluster.c1.upstream_rq_tx_reset', 'http.in.downstream_rq_rx_reset', 'cluster.c1.upstream_cx_destroy'))
    t.see('asked', len(u.reqs))
    t.see('log', await t.logs())


@case('upstream_bodies_buffer_without_a_host')
async def _(t):
    """A connection that fails is told before the body has come."""
    t.dead('u1')
    await t.start(simple(t, clusters=[cluster('c1', t.dead('u1'))], rt=router(upstream_http_filters=[BUF(100), CODEC]), log=LOG))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab')
    t.see('r', await c.response())
    t.see('log', [l.replace('111', '') for l in await t.logs()])


@case('upstream_bodies_buffer_and_the_server_goes')
async def _(t):
    """The connection ends while the body is awaited."""
    async def conn(c):
        c.close()
    await t.up('u1', conn=conn)
    await t.start(simple(t, rt=router(upstream_http_filters=[BUF(100), CODEC]), log=LOG))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab')
    t.see('r', await c.response())
    t.see('stats', await t.stats(regex='c1.upstream_rq_(total|rx_reset|tx_reset|pending_failure_eject)$'))
    t.see('log', await t.logs())


def timed(name, action, body=b'ab', log=LOG, **kw):
    @case('upstream_bodies_' + name)
    async def _(t):
        u = await t.up('u1', lambda m, n: asyncio.sleep(0.6, resp(200, 'late')) if n == 1 else resp(200, 'good'))
        routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **Y(action)}}]
        await t.start(simple(t, routes=routes, rt=router(upstream_http_filters=[BUF(100), CODEC]), log=log, **kw))
        c = await t.conn()
        c.send(b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n' + body)
        t.see('r', await c.response())
        t.see('bodies', [body_repr(m.body) for m in u.reqs])
        t.see('log', await t.logs())


timed('buffer_and_the_idle_timeout', '{idle_timeout: 0.2s}')
timed('buffer_and_per_try_timeouts', '{retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.2s}}', b'abcd')
timed('buffer_and_hedges', '{retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.2s}, hedge_policy: {hedge_on_per_try_timeout: true}}', b'abcd')
timed('buffer_and_the_per_try_idle_timeout', '{retry_policy: {retry_on: 5xx, num_retries: 0, per_try_idle_timeout: 0.2s}}')


def mirrored(name, filters, reqs, respond=None, of_router=False):
    @case('upstream_bodies_mirror_' + name)
    async def _(t):
        u, m = await t.up('u1', respond), await t.up('u2')
        rt = router(upstream_http_filters=[*filters, CODEC]) if of_router else None
        clusters = [cluster('c1', u), cluster('c2', m, hpo=H1 if of_router else {**H1, 'http_filters': [*filters, CODEC]})]
        await t.start(simple(t, clusters=clusters, routes='[{match: {prefix: /}, route: {cluster: c1, request_mirror_policies: [{cluster: c2}]}}]', rt=rt, log=LOG))
        for k in reqs:
            n = len(m.reqs)
            await t.req(**k)
            await t.until(lambda: len(m.reqs) > n, timeout=0.5)
        await t.stat_until('cluster.c2.upstream_rq_active', lambda v: v == 0)
        t.see('main', [t.req_view(plain(x)) for x in u.reqs])
        t.see('copies', [t.req_view(plain(x)) for x in m.reqs])
        t.see('stats', await t.stats(regex='c2.upstream_rq_(total|2xx|4xx|403|413)$|c2.internal.upstream_rq_...$|too_large|rbac'))
        t.see('log', await t.logs())


mirrored('through_mutations', [HM('request', 'x-a', 'copy')], [H(), POST(b'abc')])
mirrored('through_buffer', [BUF(100)], [ABC, H()])
mirrored('beyond_buffer', [BUF(2)], [POST(b'abc')])
mirrored('through_compressor', [COMP(BOTH)], [POST(TEXT, ('content-type', 'text/plain'))])
mirrored('past_the_routers_filters', [HM('request', 'x-a', 'router')], [H(), POST(b'abc')], of_router=True)
mirrored('denied_by_rbac', [http_filter('rb', 'rbac.v3.RBAC', '{rules: {action: DENY, policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}}')], [H()])


def uplog(name, filters, reqs, respond=None):
    @case('upstream_bodies_log_' + name)
    async def _(t):
        await t.up('u1', respond)
        log = filelog(t, '%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %RESP(content-encoding)% %REQ(content-length)% %REQ(content-encoding)%', name='up.log')
        await t.start(simple(t, rt=router(upstream_http_filters=[*filters, CODEC], upstream_log=[log]), log=LOG))
        for k in reqs:
            await t.req(**k)
        await t.logs()
        t.see('up', [' '.join(str(w if not w.isdigit() or int(w) in (0, 5, 7, 200, 413, len(TEXT)) else '<gz>') for w in l.split()) for l in await t.logs('up.log', stop=False)])


uplog('of_buffer', [BUF(10)], [ABC, POST(b'1234567'), POST(b'12345678901')], lambda m, n: resp(200, 'x' * 7))
uplog('of_compressor', [COMP(BOTH)], [POST(TEXT, ('content-type', 'text/plain'), ('accept-encoding', 'gzip'))], lambda m, n: resp(200, TEXT, [('content-type', 'text/plain')]))


@case('upstream_bodies_h2')
async def _(t):
    """Over HTTP/2 on both sides, with trailers."""
    u = await t.h2up('u1')
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True, hpo={'http_filters': [BUF(10), HM('request', 'x-n', '%REQ(content-length)%'), CODEC]})], log=LOG))
    t.see('body', await t.h2req(method='POST', body=b'abc'))
    t.see('none', await t.h2req())
    t.see('much', await t.h2req(method='POST', body=b'abcdefghijkl'))
    t.see('up', [t.req_view(m) for m in u.reqs])
    t.see('log', await t.logs())


@case('upstream_bodies_places')
async def _(t):
    """Which filters may stand there."""
    kinds = {'buffer': BUF(1), 'compressor': COMP(), 'decompressor': http_filter('d', 'decompressor.v3.Decompressor', {'decompressor_library': {'name': 'gz', 'typed_config': {'@type': T + 'envoy.extensions.compression.gzip.decompressor.v3.Gzip'}}}),
             'header_mutation': HM('request', 'x-a', 'b'), 'grpc_stats': http_filter('g', 'grpc_stats.v3.FilterConfig'), 'fault': http_filter('f', 'fault.v3.HTTPFault'), 'set_metadata': http_filter('s', 'set_metadata.v3.Config'),
             'header_to_metadata': http_filter('h', 'header_to_metadata.v3.Config'), 'local_ratelimit': http_filter('l', 'local_ratelimit.v3.LocalRateLimit', '{stat_prefix: a}'), 'cors': http_filter('c', 'cors.v3.Cors'),
             'set_filter_state': http_filter('s', 'set_filter_state.v3.Config'), 'health_check': http_filter('h', 'health_check.v3.HealthCheck', '{pass_through_mode: true}')}
    async def code(f):
        return (await t.run_to_end(simple(t, clusters=[cluster('c1', t.dead('d'))], rt=router(upstream_http_filters=[f, CODEC])), args=('--mode', 'validate')))[0]
    t.see('exit', {k: await code(f) for k, f in kinds.items()})
