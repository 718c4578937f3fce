"""Filters that see bodies, or ask somebody: buffer, compressor, decompressor, ext_authz, gRPC bridges, sessions."""
import base64
import gzip
import zlib

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%'
PF = lambda name, ty, cfg: {'typed_per_filter_config': {name: {'@type': ftype(ty), **Y(cfg)}}}
H = lambda *hs, **k: dict(headers=list(hs), **k)
REST = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}


def at(prefix, *extra):
    route = {'match': {'prefix': prefix}, 'route': {'cluster': 'c1'}}
    for e in extra:
        route.update(e)
    return route


def filt(name, filters, reqs, respond=None, routes=None, only=None, stats=(), opts=None, log=LOG, up_only=None, lextra=None, plain=None):
    @case(name)
    async def _(t):
        u = await t.up('u1', respond)
        await t.start(simple(t, filters=filters, routes=routes, log=log, opts=opts, lextra=lextra))
        for i, k in enumerate(reqs):
            n = len(u.reqs)
            r = await t.req(**k)
            if plain:
                plain(r)
            t.see('%d' % i, r, only=only)
            t.see('%d up' % i, [t.req_view(m, only=up_only) for m in u.reqs[n:]])
        if stats:
            t.see('stats', await t.stats(*stats))
        t.see('log', await t.logs())


# ---- buffer
B = 'envoy.filters.http.buffer'
BUF = lambda n: http_filter(B, 'buffer.v3.Buffer', '{max_request_bytes: %d}' % n)
POST = lambda body, **k: dict(method='POST', body=body, **k)
CHUNKED = lambda body, more=b'', path='/': dict(raw=b'POST %s HTTP/1.1\r\nhost: test.example\r\ntransfer-encoding: chunked\r\n%s\r\n%s' % (path.encode(), more, body))
RT = ('http.in.downstream_rq_too_large', 'http.in.downstream_rq_4xx', 'cluster.c1.upstream_rq_total')
filt('buffer_gives_a_length', [BUF(100)], [CHUNKED(b'3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'), CHUNKED(b'0\r\n\r\n'), POST(b'xyz'), H()], stats=RT)
filt('buffer_limit', [BUF(5)], [POST(b'12345'), POST(b'123456'), CHUNKED(b'3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n'), H()], stats=RT)
filt('buffer_of_the_route', [BUF(5)], [POST(b'123456', path=p) for p in ('/big', '/off', '/x')] + [CHUNKED(b'6\r\nabcdef\r\n0\r\n\r\n', path='/off')], stats=RT,
     routes=[at('/big', PF(B, 'buffer.v3.BufferPerRoute', '{buffer: {max_request_bytes: 10}}')), at('/off', PF(B, 'buffer.v3.BufferPerRoute', '{disabled: true}')), REST])
filt('buffer_with_trailers', [BUF(100)], [CHUNKED(b'3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n')], opts='{http_protocol_options: {enable_trailers: true}}')
filt('buffer_of_grpc', [BUF(3)], [POST(b'12345', headers=[('content-type', 'application/grpc')])], stats=RT)


@case('buffer_waits_for_the_whole_request')
async def _(t):
    u = await t.up()
    await t.start(simple(t, filters=[BUF(100)], log=LOG))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab')
    await t.stat_until('http.in.downstream_rq_active', lambda v: v == 1)
    t.see('not yet', await t.stats('cluster.c1.upstream_rq_total', 'cluster.c1.upstream_rq_active'))
    c.send(b'cd')
    t.see('r', await c.response())
    t.see('up', u.reqs)


@case('buffer_and_the_client_goes')
async def _(t):
    await t.up()
    await t.start(simple(t, filters=[BUF(100)], log=LOG))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab')
    await t.stat_until('http.in.downstream_rq_active', lambda v: v == 1)
    c.close()
    await t.stat_until('http.in.downstream_rq_active', lambda v: v == 0)
    t.see('stats', await t.stats('cluster.c1.upstream_rq_total', 'http.in.downstream_rq_rx_reset'))
    t.see('log', await t.logs())


# ---- compressor
LIB = {'gzip': {'name': 'gz', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip'}},
       'br': {'name': 'br', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.compression.brotli.compressor.v3.Brotli'}},
       'zstd': {'name': 'zs', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.compression.zstd.compressor.v3.Zstd'}}}
C = 'comp'
COMP = lambda cfg='{}', lib='gzip', name=C: http_filter(name, 'compressor.v3.Compressor', merge({'compressor_library': LIB[lib]}, Y(cfg)))
BIG = b'compress me ' * 50
AE = lambda v: H(('accept-encoding', v))


def unzip(r):
    """Puts what was compressed in place of what came, so that it does not matter how well."""
    b = r.body
    if r.h('content-encoding') == 'gzip' and b[:2] == b'\x1f\x8b':
        r['body'] = b'gunzipped:' + gzip.decompress(b)
    elif r.h('content-encoding') in ('br', 'zstd'):
        r['body'] = b'shorter' if len(b) < len(BIG) else b'not shorter'


def comp(name, cfg, reqs, headers=(('content-type', 'text/plain'),), body=BIG, status=200, stats=(), filters=None, routes=None, lib='gzip', respond=None):
    answer = respond or (lambda s, n=0: resp(status, body, list(headers)))
    filt('compressor_' + name, filters or [COMP(cfg, lib)], reqs, respond=answer, plain=unzip, up_only=('accept-encoding', 'content-encoding', 'content-length', 'transfer-encoding'),
         stats=stats, routes=routes, log='%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%')


SIZES = ('compressed', 'not_compressed', 'no_accept_header', 'header_identity', 'header_gzip', 'header_compressor_used', 'header_compressor_overshadowed', 'header_wildcard', 'header_not_valid', 'content_length_too_small', 'not_compressed_etag')
GS = tuple('http.in.compressor.gz.gzip.' + s for s in SIZES)
GR = tuple('http.in.compressor.gz.gzip.response.' + s for s in SIZES)
comp('accept_encoding_forms', '{}', [AE('gzip'), AE('deflate'), AE('*'), AE('gzip;q=0'), AE('*;q=0'), AE('identity'), AE('identity, gzip;q=0.5'), AE('gzip;q=0.5, identity;q=0.6'), AE(''), H(), AE('GZIP'), AE('deflate, gzip'), AE('gzip;q=x'), AE('br, *;q=0.1')], stats=GS)
comp('new_names_of_stats', '{response_direction_config: {}}', [AE('gzip'), AE('br'), H()], stats=GR + ('http.in.compressor.gz.gzip.response.total_uncompressed_bytes',))
for n, size in (('just_too_small', 29), ('just_enough', 30)):
    comp(n, '{}', [AE('gzip')], body=b'x' * size, stats=GS)
comp('own_minimum', '{response_direction_config: {common_config: {min_content_length: 700}}}', [AE('gzip')], stats=GR)
comp('content_types', '{response_direction_config: {common_config: {content_type: [text/html, application/json]}}}', [AE('gzip')], headers=[('content-type', 'application/json; charset=utf-8')])
comp('content_type_others', '{}', [AE('gzip')], headers=[('content-type', 'image/png')], stats=GS)
comp('content_type_none', '{}', [AE('gzip')], headers=[], stats=GS)
comp('etag_strong', '{}', [AE('gzip')], headers=[('content-type', 'text/html'), ('etag', '"abc"')], stats=GS)
comp('etag_weak', '{}', [AE('gzip')], headers=[('content-type', 'text/html'), ('etag', 'W/"abc"')], stats=GS)
comp('etag_disables', '{response_direction_config: {disable_on_etag_header: true}}', [AE('gzip')], headers=[('content-type', 'text/html'), ('etag', 'W/"abc"')], stats=GR)
comp('etag_weakened', '{response_direction_config: {weaken_etag_on_compress: true}}', [AE('gzip')], headers=[('content-type', 'text/html'), ('etag', '"abc"')], stats=GR)
comp('cache_control_no_transform', '{}', [AE('gzip')], headers=[('content-type', 'text/html'), ('cache-control', 'max-age=1, no-transform')], stats=GS)
comp('already_encoded', '{}', [AE('gzip')], headers=[('content-type', 'text/html'), ('content-encoding', 'br')], stats=GS)
comp('vary_is_added_to', '{}', [AE('gzip'), H()], headers=[('content-type', 'text/html'), ('vary', 'cookie')])
comp('vary_is_there', '{}', [AE('gzip')], headers=[('content-type', 'text/html'), ('vary', 'cookie, Accept-Encoding')])
comp('removes_accept_encoding', '{response_direction_config: {remove_accept_encoding_header: true}}', [AE('gzip, br')])
comp('off', '{response_direction_config: {common_config: {enabled: {default_value: false, runtime_key: k}}}}', [AE('gzip')], stats=GR)
comp('statuses', '{response_direction_config: {uncompressible_response_codes: [206, 404]}}', [AE('gzip')], status=404)
comp('status_206', '{}', [AE('gzip')], status=206)
comp('status_header', '{response_direction_config: {status_header_enabled: true}}', [AE('gzip'), AE('br'), H()])
comp('chunked', '{}', [AE('gzip'), H()], respond=lambda s, n=0: b'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n')
comp('chunked_with_trailers', '{}', [AE('gzip')], respond=lambda s, n=0: b'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n')
comp('head', '{}', [dict(method='HEAD', headers=[('accept-encoding', 'gzip')])])
comp('local_reply', '{response_direction_config: {common_config: {min_content_length: 3}}}', [dict(headers=[('accept-encoding', 'gzip')], path='/d')], routes=[{'match': {'prefix': '/'}, 'direct_response': {'status': 200, 'body': {'inline_string': 'hello there, you who wait for an answer'}}}])
comp('of_the_route', '{}', [dict(headers=[('accept-encoding', 'gzip')], path=p) for p in ('/off', '/rm', '/x')],
     routes=[at('/off', PF(C, 'compressor.v3.CompressorPerRoute', '{disabled: true}')), at('/rm', PF(C, 'compressor.v3.CompressorPerRoute', '{overrides: {response_direction_config: {remove_accept_encoding_header: true}}}')), REST])
comp('two_filters', None, [AE('gzip, br'), AE('br, gzip'), AE('gzip;q=0.5, br'), AE('gzip'), AE('*')], filters=[COMP('{}', 'br', 'b'), COMP('{}', 'gzip', 'g')])
comp('two_filters_choose_first', None, [AE('gzip, br'), AE('br, gzip'), AE('*')], filters=[COMP('{choose_first: true}', 'br', 'b'), COMP('{}', 'gzip', 'g')])
comp('brotli', '{}', [AE('br'), AE('gzip')], lib='br', stats=('http.in.compressor.br.brotli.compressed',))
comp('zstd', '{}', [AE('zstd'), AE('gzip')], lib='zstd', stats=('http.in.compressor.zs.zstd.compressed',))


@case('compressor_of_requests')
async def _(t):
    u = await t.up()
    await t.start(simple(t, filters=[COMP('{request_direction_config: {common_config: {enabled: {default_value: true, runtime_key: k}}}}')]))
    for n, (body, hs) in enumerate(((BIG, [('content-type', 'text/plain')]), (b'small', [('content-type', 'text/plain')]), (BIG, [('content-type', 'image/png')]))):
        t.see('r%d' % n, (await t.req(method='POST', body=body, headers=hs)).status)
        m = u.reqs[-1]
        b = m.body
        t.see('up%d' % n, dict(headers=t.hs(m.raw_headers, only=('content-encoding', 'content-length', 'transfer-encoding')), body=len(gzip.decompress(b)) if b[:2] == b'\x1f\x8b' else len(b)))
    t.see('stats', await t.stats(*('http.in.compressor.gz.gzip.request.' + s for s in ('compressed', 'not_compressed', 'content_length_too_small'))))


# ---- decompressor
DLIB = {'gzip': {'name': 'gz', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip'}}}
DEC = lambda cfg='{}', lib='gzip': http_filter('dec', 'decompressor.v3.Decompressor', merge({'decompressor_library': DLIB[lib]}, Y(cfg)))
DS = tuple('http.in.decompressor.gz.gzip.%s.%s' % (d, s) for d in ('request', 'response') for s in ('decompressed', 'not_decompressed'))
Z = gzip.compress(BIG, mtime=0)
filt('decompressor_of_requests', [DEC()], [POST(Z, headers=[('content-encoding', 'gzip')]), POST(Z, headers=[('content-encoding', 'gzip, br')]), POST(b'plain'), POST(Z, headers=[('content-encoding', 'br, gzip')]),
     POST(Z, headers=[('content-encoding', 'gzip'), ('cache-control', 'no-transform')])], stats=DS)
filt('decompressor_of_responses', [DEC()], [H(), H(('accept-encoding', 'br'))], respond=lambda s, n=0: resp(200, Z, [('content-encoding', 'gzip')]), stats=DS)
filt('decompressor_directions_off', [DEC('{request_direction_config: {common_config: {enabled: {default_value: false, runtime_key: a}}}, response_direction_config: {common_config: {enabled: {default_value: false, runtime_key: b}}}}')],
     [POST(Z, headers=[('content-encoding', 'gzip')])], respond=lambda s, n=0: resp(200, Z, [('content-encoding', 'gzip')]), stats=DS)
filt('decompressor_does_not_advertise', [DEC('{request_direction_config: {advertise_accept_encoding: false}}')], [H(), H(('accept-encoding', 'br'))], stats=DS)
filt('decompressor_of_garbage', [DEC()], [POST(b'\x1f\x8b' + b'garbage' * 10, headers=[('content-encoding', 'gzip')])], stats=DS, up_only=('content-encoding',))


# ---- gRPC bridges
GRPC = [('content-type', 'application/grpc')]


def grpc_up(head, data, trailers):
    async def h(s):
        await s.body()
        if data is None and trailers is None:
            s.respond(200, head, end=True)
            return
        s.respond(200, head)
        if trailers is None:
            await s.data(data, end=True)
        else:
            await s.data(data)
            s.trailers(trailers)
    return h


def bridge(name, cfg, reqs, head=GRPC, data=b'\0\0\0\0\2ok', trailers=(('grpc-status', '0'),), filters=None, stats=()):
    @case('grpc_http1_bridge_' + name)
    async def _(t):
        u = await t.h2up('u1', grpc_up(list(head), data, trailers and list(trailers)))
        f = filters or [http_filter('br', 'grpc_http1_bridge.v3.Config', cfg)]
        await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], filters=f, log=LOG))
        for i, k in enumerate(reqs):
            t.see('%d' % i, await t.req(**k))
        t.see('up', u.reqs)
        if stats:
            t.see('stats', await t.stats(*stats))
        t.see('log', await t.logs())


CALL = dict(path='/p.S/M', method='POST', headers=GRPC, body=b'\0\0\0\0\1x')
bridge('ok', '{}', [CALL])
bridge('error_without_a_message', '{}', [CALL], trailers=(('grpc-status', '7'),))
bridge('trailers_only', '{}', [CALL], head=GRPC + [('grpc-status', '3'), ('grpc-message', 'bad')], data=None, trailers=None)
bridge('passes_what_is_not_grpc', '{}', [dict(path='/p.S/M', method='POST', headers=[('content-type', 'text/plain')], body=b'x')], head=[('content-type', 'text/plain')], data=b'hello')
bridge('upgrades_protobuf', '{upgrade_protobuf_to_grpc: true}', [dict(path='/p.S/M', method='POST', headers=[('content-type', 'application/x-protobuf')], body=b'ab')])
bridge('upgrades_and_drops_the_query', '{upgrade_protobuf_to_grpc: true, ignore_query_parameters: true}', [dict(path='/p.S/M?a=b', method='POST', headers=[('content-type', 'application/x-protobuf')], body=b'ab')])


def web(name, reqs, **kw):
    bridge(name, '{}', reqs, filters=[http_filter('w', 'grpc_web.v3.GrpcWeb')], **kw)


WEB = lambda ty, body, **k: dict(path='/p.S/M', method='POST', headers=[('content-type', ty)] + k.pop('more', []), body=body)
web('web_binary', [WEB('application/grpc-web', b'\0\0\0\0\1x'), WEB('application/grpc-web+proto', b'\0\0\0\0\1x')])
web('web_text', [WEB('application/grpc-web-text', base64.b64encode(b'\0\0\0\0\1x'), more=[('accept', 'application/grpc-web-text')])])
web('web_text_broken', [WEB('application/grpc-web-text', b'!!!!', more=[('accept', 'application/grpc-web-text')])])
web('web_error', [WEB('application/grpc-web', b'\0\0\0\0\1x')], trailers=(('grpc-status', '5'), ('grpc-message', 'gone')))
web('web_passes_grpc', [CALL])
web('web_trailers_only', [WEB('application/grpc-web', b'\0\0\0\0\1x'), WEB('application/grpc-web-text', base64.b64encode(b'\0\0\0\0\1x'), more=[('accept', 'application/grpc-web-text+proto')])], head=GRPC + [('grpc-status', '3'), ('grpc-message', 'bad')], data=None, trailers=None)
web('web_answer_is_no_grpc', [WEB('application/grpc-web', b'\0\0\0\0\1x'), WEB('application/grpc-web-text', base64.b64encode(b'\0\0\0\0\1x'), more=[('accept', 'application/grpc-web-text')])], head=[('content-type', 'text/html')], data=b'what 100% ~', trailers=None)
web('web_answer_without_content_type', [WEB('application/grpc-web', b'\0\0\0\0\1x')], head=[], data=None, trailers=None)
web('web_forms', [WEB('application/grpc-web-text', b'AAAAAAF'), WEB('application/grpc-web; charset=x', b'x'), WEB('Application/grpc-web', b'x'), WEB('application/grpc-web', b'', more=[('accept', 'application/grpc-web')])])
@case()
async def grpc_web_local_replies(t):
    await t.start(simple(t, clusters=[cluster('c1', t.dead(), h2=True)], filters=[http_filter('w', 'grpc_web.v3.GrpcWeb')], log=LOG,
                         routes=Y('[{match: {path: /d}, direct_response: {status: 403, body: {inline_string: no way}}}, {match: {path: /u}, route: {cluster: c1}}]')))
    for path in ('/d', '/u', '/none'):
        t.see(path, await t.req(path, method='POST', headers=[('content-type', 'application/grpc-web')], body=b'x'))
    t.see('log', await t.logs())


GST = 'cluster.c1.grpc.p.S.M.'
for n, c, names in (('default', '{}', ()), ('all', '{stats_for_all_methods: true}', ()), ('none', '{stats_for_all_methods: false}', ()), ('some', '{individual_method_stats_allowlist: {services: [{name: p.S, method_names: [M]}]}}', ()),
                    ('upstream', '{stats_for_all_methods: true, enable_upstream_stats: true}', ())):
    bridge('stats_' + n, c, [CALL, dict(CALL, path='/other')], filters=[http_filter('gs', 'grpc_stats.v3.FilterConfig', c)], trailers=(('grpc-status', '5'),),
           stats=tuple(p + s for p in (GST, 'cluster.c1.grpc.') for s in ('5', '0', 'success', 'failure', 'total', 'request_message_count', 'response_message_count')))


# ---- stateful sessions
def session(state, more=''):
    kind = 'header' if 'HeaderBased' in state else 'cookie'
    return http_filter('ss', 'stateful_session.v3.StatefulSession', '{session_state: {name: envoy.http.stateful_session.%s, typed_config: %s}%s}' % (kind, state, more))


COOKIE = '{"@type": type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState, cookie: {name: sess, path: /p, ttl: 60s}}'
BRIEF = '{"@type": type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState, cookie: {name: sess}}'
HEADER = '{"@type": type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState, name: x-session}'


def sticks(name, state, more='', routes=None):
    @case('session_' + name)
    async def _(t):
        us = [await t.up('h%d' % i) for i in range(3)]
        await t.start(simple(t, filters=[session(state, more)], routes=routes, log=LOG))
        for path in ('/p/x', '/off', '/p'):
            r = await t.req(path)
            ck, xs = r.h('set-cookie'), r.h('x-session')
            t.see('%s cookie' % path, ck and ck.split(';')[1:])
            t.see('%s header' % path, bool(xs))
            keys = [('cookie', ck.split(';')[0])] if ck else [('x-session', xs)] if xs else []
            if not keys:
                continue
            again = [await t.req(path, headers=keys) for _ in range(4)]
            t.see('%s sticks' % path, {a.h('x-up') for a in again} == {r.h('x-up')})
            t.see('%s told again' % path, [bool(a.h('set-cookie') or a.h('x-session')) for a in again])
        for bad in ('nonsense', base64.b64encode(b'127.0.0.1:1').decode(), base64.b64encode(b'no address').decode()):
            r = await t.req('/p', headers=[('cookie', 'sess=' + bad), ('x-session', bad)])
            t.see('bad %s' % bad, (r.status, r.body if r.status != 200 else b'', bool(r.h('set-cookie') or r.h('x-session'))))
        t.see('log', await t.logs())


sticks('cookie', COOKIE)
sticks('cookie_for_the_session', BRIEF)
sticks('header', HEADER)
sticks('strict', BRIEF, ', strict: true')
sticks('off_for_a_route', BRIEF, routes=[at('/off', PF('ss', 'stateful_session.v3.StatefulSessionPerRoute', '{disabled: true}')), REST])

# ---- rate of responses
FF = lambda c: http_filter('envoy.filters.http.fault', 'fault.v3.HTTPFault', c)
FSTATS = ('http.in.fault.response_rl_injected', 'http.in.fault.active_faults')
filt('fault_response_rate', [FF('{response_rate_limit: {fixed_limit: {limit_kbps: 100}, percentage: {numerator: 100}}}')], [H()], respond=lambda s, n=0: resp(200, b'z' * 5000), stats=FSTATS)
filt('fault_response_rate_by_header', [FF('{response_rate_limit: {header_limit: {}, percentage: {numerator: 100}}}')], [H(), H(('x-envoy-fault-throughput-response', '100')), H(('x-envoy-fault-throughput-response', '0')), H(('x-envoy-fault-throughput-response', '100'), ('x-envoy-fault-throughput-response-percentage', '0'))],
     respond=lambda s, n=0: resp(200, b'z' * 500), stats=FSTATS)
filt('fault_counts_by_client_cluster', [FF('{abort: {http_status: 429, percentage: {numerator: 100}}}')], [H(('x-envoy-downstream-service-cluster', 'shop')), H(('x-envoy-downstream-service-cluster', 'shop')), H()],
     stats=('http.in.fault.shop.aborts_injected', 'http.in.fault.aborts_injected'))
filt('fault_only_for_a_cluster', [FF('{abort: {http_status: 429, percentage: {numerator: 100}}, upstream_cluster: other}')], [H()])
filt('fault_with_disabled_client_stats', [FF('{abort: {http_status: 429, percentage: {numerator: 100}}, disable_downstream_cluster_stats: true}')], [H(('x-envoy-downstream-service-cluster', 'shop'))],
     stats=('http.in.fault.shop.aborts_injected', 'http.in.fault.aborts_injected'))

# ---- why a response was not compressed
WHY = '{response_direction_config: {status_header_enabled: true, disable_on_etag_header: true, uncompressible_response_codes: [404]}}'
PLAIN = ('content-type', 'text/plain')
comp('status_header_too_small', WHY, [AE('gzip')], body=b'tiny')
comp('status_header_type', WHY, [AE('gzip')], headers=[('content-type', 'image/png')])
comp('status_header_etag', WHY, [AE('gzip')], headers=[PLAIN, ('etag', 'W/"a"')])
comp('status_header_code', WHY, [AE('gzip')], headers=[PLAIN], status=404)
comp('status_header_several_reasons', WHY, [AE('gzip')], headers=[('content-type', 'image/png'), ('etag', 'W/"a"')], status=404, body=b'tiny')
comp('status_header_encoded', WHY, [AE('gzip'), AE('identity')], headers=[PLAIN, ('content-encoding', 'br')])
comp('status_header_no_transform', WHY, [AE('gzip')], headers=[PLAIN, ('cache-control', 'no-transform')])
comp('status_header_chunked', WHY, [AE('gzip')], respond=lambda s, n=0: b'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n')
