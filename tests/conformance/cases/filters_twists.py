"""Everyday filters, once more: what one would not guess of each."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
T = 'type.googleapis.com/'
POST = lambda body, *hs, **k: dict(method='POST', body=body, headers=list(hs), **k)
B = 'envoy.filters.http.buffer'
BUF = lambda n, name=B: http_filter(name, 'buffer.v3.Buffer', '{max_request_bytes: %d}' % n)
GZIP = {'name': 'gz', 'typed_config': {'@type': T + 'envoy.extensions.compression.gzip.compressor.v3.Gzip'}}
COMP = lambda cfg='{}': http_filter('comp', 'compressor.v3.Compressor', {**Y(cfg), 'compressor_library': GZIP})
OFF = lambda name, kind: {'typed_per_filter_config': {name: {'@type': kind, 'disabled': True}}}


@case('buffer_of_frames')
async def _(t):
    """What ends a request is not held against its length, unless something waits before it."""
    u = await t.up('u1')
    await t.start(simple(t, filters=[BUF(10)], log=LOG + ' %BYTES_RECEIVED%'))
    t.see('one frame', await t.h2req(method='POST', body=b'abcdefghijkl'))
    c = await t.h2()
    hs = [(':method', 'POST'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')]
    sid = c.request(hs, None, end=False)
    await c.send_data(sid, b'abcdefgh', False)
    await t.stat_until('http.in.downstream_rq_active', lambda v: v == 1)
    await c.send_data(sid, b'ijkl', True)
    t.see('two frames', await c.done(sid))
    t.see('up', [t.req_view(m) for m in u.reqs])
    t.see('log', await t.logs())


@case('buffer_behind_a_larger_one')
async def _(t):
    u = await t.up('u1')
    await t.start(simple(t, filters=[BUF(100), BUF(5, 'b')], log=LOG + ' %BYTES_RECEIVED%'))
    t.see('much', await t.req(method='POST', body=b'abcdefghijkl'))
    t.see('little', await t.req(method='POST', body=b'abc'))
    t.see('up', [t.req_view(m) for m in u.reqs])
    t.see('log', await t.logs())


@case('compressor_off_by_the_route_is_off_for_responses')
async def _(t):
    u = await t.up('u1', lambda m, n: resp(200, b'x' * 1000, [('content-type', 'text/plain')]))
    route = lambda path, kind: {'match': {'prefix': path}, 'route': {'cluster': 'c1'}, **OFF('comp', kind)}
    routes = [route('/off', ftype('compressor.v3.CompressorPerRoute')), route('/disabled', T + 'envoy.config.route.v3.FilterConfig')]
    await t.start(simple(t, filters=[COMP('{request_direction_config: {common_config: {enabled: {default_value: true, runtime_key: k}}}, response_direction_config: {remove_accept_encoding_header: true}}')], routes=routes))
    for path in ('/off', '/disabled'):
        t.see(path, await t.req(**POST(b'y' * 1000, ('accept-encoding', 'gzip'), ('content-type', 'text/plain'), path=path)))
        t.see(path + ' stats', await t.stats(regex=r'^http.*compressor.*(?<!total_compressed_bytes)$'))
    t.see('up', [t.req_view({**m, 'body': b'compressed' if len(m.body) < 100 else m.body}) for m in u.reqs])
