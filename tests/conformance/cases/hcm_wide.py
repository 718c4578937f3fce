"""The connection manager at large: what each odd exchange counts as, and variations on every part of it."""
from harness import *
from harness.tables import H, PROTOCOL_LOG, edge, raws

COUNTED = r'^(http\.in\.|http1\.|http2\.|listener\.)'
# Bytes hang on dates and ports; what is buffered at a moment, and times, hang on the moment.
UNCOUNTED = r'bytes|worker_|_ms|rq_time|accepted_per_socket|total_connections|admin|limit.cl.active'


async def counters(t, regex=COUNTED):
    """Every counter and gauge of the connection manager that is not 0."""
    await asyncio.sleep(0.05)
    found = await t.stats(regex=regex)
    out = {}
    for name, value in found.items():
        if isinstance(value, int) and value and not re.search(UNCOUNTED, name):
            out[re.sub(r'127\.0\.0\.1_\d+', 'L', name)] = value
    return out


def counted(name, items, opts=None, up=None, lextra=None, wait=None, **kw):
    """items: (label, raw bytes, what the client does then). Observes statuses, and every counter at the end."""
    @case('counts_' + name)
    async def _(t):
        await t.up('u1', up)
        await t.start(simple(t, opts=opts, lextra=lextra, **kw))
        for label, raw, then in items:
            c = await t.conn()
            c.send(raw)
            if then == 'close':
                await asyncio.sleep(0.1)
                c.close()
                await asyncio.sleep(0.1)
                continue
            if then == 'reset':
                await asyncio.sleep(0.1)
                c.reset()
                await asyncio.sleep(0.1)
                continue
            got = []
            for _ in range(then if isinstance(then, int) else 1):
                r = await c.response(timeout=2)
                got.append('%s %s' % (r.status, r.err) + ' +%d' % len(r.interim) * bool(r.interim))
            if then == 'state':
                got.append(await c.state(3))
            t.see(label, got)
            c.close()
            await asyncio.sleep(0.02)
        t.see('counters', await counters(t))


GET = b'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
POST = b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n'

counted('plain', [('get', GET, None), ('two', GET + GET, 2), ('post', POST + b'hello', None), ('head', GET.replace(b'GET', b'HEAD'), 'close')])
counted('client_gone', [('in head', b'GET / HT', 'close'), ('in body', POST + b'he', 'close'), ('before anything', b'', 'close'), ('reset in head', b'GET / HT', 'reset')])
counted('codec_errors', [('garbage', b'\x01\x02\r\n\r\n', 'state'), ('version', b'GET / HTTP/0.9\r\nHost: a\r\n\r\n', 'state'), ('length and chunked', POST.replace(b'\r\n\r\n', b'\r\ntransfer-encoding: chunked\r\n\r\n'), 'state'),
                         ('bad chunk', b'POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n', 'state'), ('te', b'POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: x\r\n\r\n', 'state'),
                         ('large', b'GET / HTTP/1.1\r\nHost: a\r\nx: ' + b'y' * 70000 + b'\r\n\r\n', 'state'), ('many', b'GET / HTTP/1.1\r\nHost: a\r\n' + b'x: y\r\n' * 120 + b'\r\n', 'state')])
counted('refused_requests', [('no host', b'GET / HTTP/1.1\r\n\r\n', 'state'), ('bad host', b'GET / HTTP/1.1\r\nHost: a"\r\n\r\n', 'state'), ('asterisk', b'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', 'state'),
                             ('fragment', b'GET /p#f HTTP/1.1\r\nHost: a\r\n\r\n', 'state'), ('nul', b'GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n', 'state'), ('connect', b'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n', 'state'),
                             ('upgrade', b'GET / HTTP/1.1\r\nHost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n', 'state')], '{normalize_path: true}')
counted('stream_errors_kept', [('no host', b'GET / HTTP/1.1\r\n\r\n', None), ('bad host', b'GET / HTTP/1.1\r\nHost: a"\r\n\r\n' + GET, 2), ('no path', b'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n' + GET, 2)],
        '{stream_error_on_invalid_http_message: true}')
UNDERSCORES = b'GET / HTTP/1.1\r\nHost: a\r\nx_a: 1\r\nX_B: 2\r\n\r\n'
counted('underscores_dropped', [('two', UNDERSCORES, None), ('again', UNDERSCORES + UNDERSCORES, 2)], '{common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}}')
counted('underscores_rejected', [('two', UNDERSCORES, 'state'), ('again', GET + UNDERSCORES, 2)], '{common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}}')
counted('underscores_in_trailers', [('t', b'POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx_t: 1\r\n\r\n', None)],
        '{common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}, http_protocol_options: {enable_trailers: true}}')
counted('http10', [('refused', b'GET / HTTP/1.0\r\n\r\n', 'state')])
counted('http10_accepted', [('get', b'GET / HTTP/1.0\r\n\r\n', 'state'), ('kept', b'GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n', None)], '{http_protocol_options: {accept_http_10: true, default_host_for_http_10: d}}')
counted('max_requests', [('three', GET * 2, 2), ('one', GET, None)], '{common_http_protocol_options: {max_requests_per_connection: 2}}')
counted('idle', [('used', GET, 'state'), ('unused', b'', 'state')], '{common_http_protocol_options: {idle_timeout: 0.2s}, drain_timeout: 0.1s}')
counted('max_duration', [('used', GET, 'state'), ('unused', b'', 'state')], '{common_http_protocol_options: {max_connection_duration: 0.2s}, drain_timeout: 0.1s}')
counted('request_timeouts', [('body', POST, 'state'), ('head', b'GET / HT', 'state')], '{request_timeout: 0.2s}')
counted('header_timeouts', [('body', POST + b'hello', None), ('head', b'GET / HT', 'state')], '{request_headers_timeout: 0.2s}')
counted('stream_idle', [('body', POST, 'state'), ('head', b'GET / HT', 'state')], '{stream_idle_timeout: 0.2s}')
counted('stream_duration', [('body', POST, 'state')], '{common_http_protocol_options: {max_stream_duration: 0.2s}}')
counted('delayed_close', [('lingering', b'GET / HTTP/1.1\r\n\r\n', 'state'), ('early', POST, 'state')], '{delayed_close_timeout: 0.2s}', routes='[{match: {prefix: /}, direct_response: {status: 200}}]')
counted('delayed_close_off', [('lingering', b'GET / HTTP/1.1\r\n\r\n', 'state'), ('early', POST, 'state')], '{delayed_close_timeout: 0s}', routes='[{match: {prefix: /}, direct_response: {status: 200}}]')
counted('close_asked', [('client', GET.replace(b'\r\n\r\n', b'\r\nconnection: close\r\n\r\n'), 'state')])
counted('ip_detection', [('none', GET, None)], '{original_ip_detection_extensions: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-ip, reject_with_status: {code: Forbidden}}}]}')
counted('paths_redirected', [('slash', b'GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n', None)], '{path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT}')
counted('routes', [('none', GET, None), ('redirect', GET.replace(b'/ ', b'/r '), None), ('direct', GET.replace(b'/ ', b'/d '), None), ('no cluster', GET.replace(b'/ ', b'/n '), None)],
        routes='[{match: {prefix: /r}, redirect: {path_redirect: /x}}, {match: {prefix: /d}, direct_response: {status: 204}}, {match: {prefix: /n}, route: {cluster_header: x-c}}]')
counted('statuses', [(str(s), GET.replace(b'/ ', b'/%d ' % s), None) for s in (200, 304, 404, 500, 599, 600, 777)],
        up=lambda m, n: resp(int(m['path'][1:]), b'' if m['path'] == '/304' else b'x'))
counted('informational', [('100', POST.replace(b'\r\n\r\n', b'\r\nexpect: 100-continue\r\n\r\n') + b'hello', None), ('early hints', GET, None)],
        up=lambda m, n: b'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n' + resp(200, 'x'))
counted('upstream_broken', [('cut', GET, None), ('bad', GET.replace(b'/ ', b'/bad '), None), ('short', GET.replace(b'/ ', b'/short '), 'state')],
        up=lambda m, n: {'/': None, '/bad': b'nonsense\r\n\r\n', '/short': b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nabc'}[m['path']])

counted('informational_each', [('continued', POST.replace(b'\r\n\r\n', b'\r\nexpect: 100-continue\r\n\r\n') + b'hello', None)])
counted('informational_proxied', [('continued', POST.replace(b'\r\n\r\n', b'\r\nexpect: 100-continue\r\n\r\n') + b'hello', None)], '{proxy_100_continue: true}', up=lambda m, n: b'HTTP/1.1 100 Continue\r\n\r\n' + resp(200, 'x'))
counted('informational_hints', [('one', GET, None), ('another', POST + b'hello', None)], up=lambda m, n: b'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n' + resp(200, 'x'))
counted('informational_two', [('two', GET, None)], up=lambda m, n: b'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n' + resp(200, 'x'))
counted('max_requests_closes', [('one', GET, 'state')], '{common_http_protocol_options: {max_requests_per_connection: 1}}')
counted('upstream_says_close', [('one', GET, 'state')], up=lambda m, n: resp(200, 'x', [('connection', 'close')]))
counted('http10_bodies', [('long', b'GET /l HTTP/1.0\r\n\r\n', 'state'), ('unknown length', b'GET /u HTTP/1.0\r\n\r\n', 'state'), ('asked close', b'GET /l HTTP/1.0\r\nconnection: close\r\n\r\n', 'state')], '{http_protocol_options: {accept_http_10: true, default_host_for_http_10: d}}',
        up=lambda m, n: resp(200, 'x') if m['path'] == '/l' else b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n')
counted('proxy_connection_close', [('one', GET.replace(b'\r\n\r\n', b'\r\nproxy-connection: close\r\n\r\n'), 'state')])
counted('local_reply_with_close', [('400 kept', b'GET /a HTTP/1.1\r\nHost: a\r\n\r\n', 'state')], routes='[{match: {prefix: /}, direct_response: {status: 400}}]')
counted('delayed_close_ends', [('bad', b'\x01\r\n\r\n', 'close'), ('early', POST, 'close')], routes='[{match: {prefix: /}, direct_response: {status: 200}}]')
counted('head_of_errors', [('none', b'HEAD / HTTP/1.1\r\n\r\n', 'close')])
counted('payload_too_slow', [('slow', POST, 'state')], '{stream_idle_timeout: 0.2s}', routes='[{match: {prefix: /}, direct_response: {status: 200}}]')


@case()
async def counts_draining(t):
    """A connection that answers while the server drains is closed behind its answer."""
    await t.up()
    await t.start(simple(t))
    used, fresh = await t.conn(), await t.conn()
    used.send(GET)
    t.see('before', (await used.response()).h('connection'))
    await t.admin('/healthcheck/fail', 'POST')
    used.send(GET)
    t.see('used', (await used.response()).h('connection'))
    t.see('used state', await used.state(7))
    fresh.send(GET)
    t.see('fresh', (await fresh.response()).h('connection'))
    t.see('counters', await counters(t))


@case()
async def counts_h2_early_answers(t):
    """What a stream counts as whose request was not complete when it was answered."""
    await t.up()
    await t.start(simple(t, routes='[{match: {prefix: /d}, direct_response: {status: 200}}, {match: {prefix: /}, route: {cluster: c1}}]'))
    c = await t.h2()
    sid = c.request([(':method', 'POST'), (':scheme', 'http'), (':path', '/d'), (':authority', 'a')], None, end=False)
    t.see('early', await c.done(sid))
    sid = c.request([(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')], None)
    t.see('whole', await c.done(sid))
    c.close()
    t.see('counters', await counters(t))


@case()
async def counts_h2_underscores_dropped(t):
    await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}}'))
    for n in range(2):
        t.see(str(n), await t.h2req('/', headers=[('x_a', '1'), ('x_b', '2'), ('x-c', '3')]))
    t.see('counters', await counters(t))


@case()
async def counts_h2_underscores_rejected(t):
    await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}}'))
    c = await t.h2()
    sid = c.request([(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a'), ('x_a', '1')], None)
    m = await c.done(sid)
    t.see('rejected', m)
    t.see('counters', await counters(t))


@case()
async def counts_of_the_h2_codec(t):
    """Every name below http2., of a listener and of a cluster, after one exchange."""
    await t.h2up()
    await t.start(simple(t, copts='{typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}}'))
    t.see('answer', await t.h2req('/'))
    t.see('names', sorted(n for n in await t.stats(regex=r'http2\.')))
    t.see('set', {n: v for n, v in (await t.stats(regex=r'http2\..*connections')).items()})


@case()
async def counts_of_the_h1_codec(t):
    """Every name below http1., of a listener and of a cluster, after one exchange."""
    await t.up()
    await t.start(simple(t))
    t.see('before', sorted(n for n in await t.stats(regex=r'http1\.')))
    t.see('status', (await t.req('/')).status)
    t.see('names', sorted(n for n in await t.stats(regex=r'http1\.')))


counted('upgrades', [('asked', b'GET /ws HTTP/1.1\r\nHost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n', 'state')], '{upgrade_configs: [{upgrade_type: websocket}]}',
        up=lambda m, n: b'HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n')


@case()
async def counts_upgrade_granted(t):
    """A tunnel that the upstream ends."""
    async def conn(c):
        await c.read_request()
        c.send(b'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello')
        await c.drain()
        await c.exactly(1)
    await t.up('u1', conn=conn)
    await t.start(simple(t, opts='{upgrade_configs: [{upgrade_type: websocket}]}'))
    c = await t.conn()
    c.send(b'GET /ws HTTP/1.1\r\nHost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
    t.see('r', (await c.response()).status)
    t.see('hello', (await c.exactly(5)).decode())
    c.send(b'x')
    t.see('state', await c.state(3))
    t.see('counters', await counters(t))


@case()
async def counts_answer_cut_early(t):
    """The upstream breaks its answer off while the request still comes."""
    async def conn(c):
        await c.read_request(body=False)
        c.send(b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello')
        await c.drain()
        await c.exactly(1)
    await t.up('u1', conn=conn)
    await t.start(simple(t, log=PROTOCOL_LOG))
    c = await t.conn()
    c.send(POST)
    while b'hello' not in c.buf:
        await c.fill()
    c.send(b'x')
    t.see('state', await c.state(3))
    t.see('counters', await counters(t))
    t.see('log', await t.logs())


def cut_answers(name, data, hold, cut=True, routes=None, copts=None, ask=GET):
    """An answer that has begun breaks off: after `hold` seconds the upstream closes, or (no `cut`) never."""
    @case('counts_' + name)
    async def _(t):
        async def conn(c):
            while await c.read_request():
                c.send(data)
                await c.drain()
                await asyncio.sleep(hold)
                if cut:
                    return
        await t.up('u1', conn=conn)
        await t.start(simple(t, log=PROTOCOL_LOG, routes=routes, copts=copts))
        c = await t.conn()
        c.send(ask)
        t.see('state', await c.state(2))
        t.see('counters', await counters(t))
        t.see('log', await t.logs())


LONG = b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello'
CHUNKED = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n'
cut_answers('answer_cut_length', LONG, 0.1)
cut_answers('answer_cut_chunked', CHUNKED, 0.1)
cut_answers('answer_cut_grpc', CHUNKED.replace(b'\r\n\r\n', b'\r\ncontent-type: application/grpc\r\n\r\n', 1), 0.1, ask=GET.replace(b'\r\n\r\n', b'\r\ncontent-type: application/grpc\r\n\r\n'))
cut_answers('answer_bad_chunk', CHUNKED + b'zz\r\n', 1)
cut_answers('answer_too_slow', LONG, 1, False, '[{match: {prefix: /}, route: {cluster: c1, timeout: 0.3s}}]')
cut_answers('answer_idle', LONG, 1, False, '[{match: {prefix: /}, route: {cluster: c1, idle_timeout: 0.3s}}]')
cut_answers('answer_too_long_in_cluster', LONG, 1, False, copts='{typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, common_http_protocol_options: {max_stream_duration: 0.3s}, explicit_http_config: {http_protocol_options: {}}}}}')


# ---- Proxy-Status
def proxy_status(name, opts, routes=None, ask=(H(),), up=None, clusters=None, copts=None, extra=''):
    @case('proxy_status_' + name)
    async def _(t):
        await t.up('u1', up)
        await t.start(simple(t, opts='{proxy_status_config: %s%s}' % (opts, extra), routes=routes, log=PROTOCOL_LOG, copts=copts, extra='{node: {id: some-node, cluster: some-cluster}}',
                             clusters=None if clusters is None else clusters(t)))
        for n, kw in enumerate(ask):
            t.see(str(n), await t.req(**{'path': '/', **kw}))
        t.see('log', await t.logs())


def dead(t):
    return [cluster('c1', t.dead())]


SLOW_ROUTE = '[{match: {prefix: /}, route: {cluster: c1, timeout: 0.2s}}]'


async def late(m, n):
    await asyncio.sleep(0.6)
    return resp(200, 'late')


proxy_status('fine', '{}')
proxy_status('no_route', '{}', routes='[{match: {path: /x}, route: {cluster: c1}}]')
proxy_status('refused', '{}', clusters=dead)
proxy_status('no_host', '{}', clusters=lambda t: [cluster('c1', [])])
proxy_status('timeout', '{}', routes=SLOW_ROUTE, up=late)
proxy_status('cut', '{}', up=lambda m, n: None)
proxy_status('bad_answer', '{}', up=lambda m, n: b'nonsense\r\n\r\n')
proxy_status('no_cluster', '{}', routes='[{match: {prefix: /}, route: {cluster_header: x-c}}]', ask=[H(), H(('x-c', 'nope'))])
proxy_status('bad_requests', '{}', ask=[dict(raw=b'GET / HTTP/1.1\r\n\r\n'), dict(raw=b'\x01\r\n\r\n'), dict(raw=b'GET / HTTP/1.0\r\nhost: a\r\n\r\n')])
proxy_status('strict_header', '{}', ask=[H()], extra='')
proxy_status('overflow', '{}', copts='{circuit_breakers: {thresholds: [{max_pending_requests: 0, max_connections: 0}]}}')
proxy_status('retried', '{}', clusters=dead, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: connect-failure, num_retries: 1}}}]')
proxy_status('direct', '{}', routes='[{match: {prefix: /}, direct_response: {status: 503}}]')
proxy_status('request_timeout', '{}', ask=[dict(raw=b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n')], extra=', stream_idle_timeout: 0.2s')
proxy_status('upstream_has_one', '{}', up=lambda m, n: resp(503, 'x', [('proxy-status', 'origin; error=dns_error')]))
proxy_status('remove_details', '{remove_details: true}', clusters=dead)
proxy_status('remove_flags', '{remove_response_flags: true}', clusters=dead)
proxy_status('remove_termination', '{remove_connection_termination_details: true}', clusters=dead)
proxy_status('recommended_code', '{set_recommended_response_code: true}', clusters=dead)
proxy_status('recommended_code_no_route', '{set_recommended_response_code: true}', routes='[{match: {path: /x}, route: {cluster: c1}}]')
proxy_status('recommended_code_timeout', '{set_recommended_response_code: true}', routes=SLOW_ROUTE, up=late)
proxy_status('recommended_code_cut', '{set_recommended_response_code: true}', up=lambda m, n: None)
proxy_status('recommended_code_bad_answer', '{set_recommended_response_code: true}', up=lambda m, n: b'nonsense\r\n\r\n')
proxy_status('recommended_code_bad_request', '{set_recommended_response_code: true}', ask=[dict(raw=b'\x01\r\n\r\n')])
proxy_status('recommended_code_overflow', '{set_recommended_response_code: true}', copts='{circuit_breakers: {thresholds: [{max_pending_requests: 0, max_connections: 0}]}}')
proxy_status('literal_name', '{literal_proxy_name: the-proxy}', clusters=dead)
proxy_status('node_id', '{use_node_id: true}', clusters=dead)
proxy_status('server_name', '{}', clusters=dead, extra=', server_name: me')
proxy_status('local_reply_mapped', '{}', clusters=dead, extra=', local_reply_config: {mappers: [{filter: {response_flag_filter: {flags: [UF]}}, status_code: 418, headers_to_add: [{header: {key: proxy-status, value: mine}}]}]}')


# ---- Limits on the time of connections
@case()
async def http1_safe_max_connection_duration(t):
    """A connection that has lived long enough ends with the next answer, and not before."""
    await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {max_connection_duration: 0.3s}, drain_timeout: 0.1s, http1_safe_max_connection_duration: true}'))
    used, fresh = await t.conn(), await t.conn()
    used.send(GET)
    t.see('before', await used.response())
    t.see('used', await used.state(1.2))
    t.see('fresh', await fresh.state(0.1))
    t.see('soft drain', await t.stats('http.in.downstream_cx_http1_soft_drain', 'http.in.downstream_cx_max_duration_reached', 'http.in.downstream_cx_drain_close'))
    used.send(GET)
    t.see('after', await used.response())
    t.see('ended', await used.state(2))
    t.see('counters', await counters(t))


@case()
async def http1_safe_max_connection_duration_in_request(t):
    """A connection whose time is over within a request ends with its answer."""
    await t.up('u1', late)
    await t.start(simple(t, opts='{common_http_protocol_options: {max_connection_duration: 0.3s}, drain_timeout: 0.1s, http1_safe_max_connection_duration: true}'))
    c = await t.conn()
    c.send(GET)
    t.see('r', await c.response())
    t.see('ended', await c.state(2))
    t.see('counters', await counters(t))


@case()
async def drain_timeout_jitter_lengthens(t):
    """With a jitter of 100 % the drain time is between one and two times what is configured."""
    await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {idle_timeout: 0.1s}, drain_timeout: 0.5s, drain_timeout_jitter: {value: 100}, delayed_close_timeout: 0s}'))
    c = await t.conn()
    c.send(GET)
    await c.response()
    begun = time.monotonic()
    t.see('state', await c.state(3))
    t.see('in time', 0.55 < time.monotonic() - begun < 1.4)


@case()
async def max_connection_duration_jitter_lengthens(t):
    await t.up()
    await t.start(simple(t, opts='{common_http_protocol_options: {max_connection_duration: 0.5s, max_connection_duration_jitter: {value: 100}}, drain_timeout: 0s, delayed_close_timeout: 0s}'))
    begun = time.monotonic()
    c = await t.conn()
    c.send(GET)
    await c.response()
    t.see('state', await c.state(3))
    t.see('in time', 0.45 < time.monotonic() - begun < 1.4)


def upgrade_ignored(name, values, headers):
    @case('ignored_upgrade_' + name)
    async def _(t):
        u = await t.up()
        await t.start(simple(t, opts={'http_protocol_options': {'ignore_http_11_upgrade': values}, 'upgrade_configs': [{'upgrade_type': 'websocket'}]}, log=PROTOCOL_LOG))
        for n, hs in enumerate(headers):
            t.see(str(n), await t.req('/', headers=hs))
        t.see('up', [t.req_view(m) for m in u.reqs])
        t.see('log', await t.logs())


UP = lambda *values: [('connection', 'Upgrade')] + [('upgrade', v) for v in values]
upgrade_ignored('prefix', [{'prefix': 'TLS/'}], [UP('TLS/1.2'), UP('tls/1.2'), UP('other')])
upgrade_ignored('lists', [{'exact': 'foo'}, {'exact': 'BAR', 'ignore_case': True}], [UP('foo, bar'), UP('foo'), UP('foo, other'), UP('foo', 'bar')])
upgrade_ignored('connection_lists', [{'exact': 'foo'}], [[('connection', 'keep-alive, Upgrade'), ('upgrade', 'foo')], [('connection', 'x-a, upgrade'), ('upgrade', 'foo'), ('x-a', '1')], [('upgrade', 'foo')]])
upgrade_ignored('h2c', [{'exact': 'foo'}], [[('connection', 'Upgrade, HTTP2-Settings'), ('upgrade', 'h2c'), ('http2-settings', 'AAA')]])


# ---- Limits on streams by the cluster
def stream_limit(name, cluster_limit=None, headers=(), routes=None, raw=None, opts=None):
    @case('cluster_stream_limit_' + name)
    async def _(t):
        await t.up('u1', late)
        copts = '{typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, common_http_protocol_options: {max_stream_duration: %s}, explicit_http_config: {http_protocol_options: {}}}}}' % cluster_limit if cluster_limit else None
        await t.start(simple(t, copts=copts, routes=routes, log=PROTOCOL_LOG, opts=opts))
        t.see('r', await t.req('/', headers=list(headers), raw=raw))
        t.see('stats', await t.stats('cluster.c1.upstream_rq_max_duration_reached', 'cluster.c1.upstream_rq_timeout', 'cluster.c1.upstream_rq_retry', 'cluster.c1.upstream_rq_tx_reset'))
        t.see('log', await t.logs())


stream_limit('hit', '0.2s')
stream_limit('not_hit', '3s')
stream_limit('incomplete', '0.2s', raw=b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n')
stream_limit('retried', '0.2s', routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 1}}}]')
INSIDE = '{use_remote_address: true, internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}'
stream_limit('by_header', None, [('x-envoy-upstream-stream-duration-ms', '200')], opts=INSIDE)
stream_limit('by_header_over_cluster', '0.2s', [('x-envoy-upstream-stream-duration-ms', '3000')], opts=INSIDE)
stream_limit('by_header_zero', '0.2s', [('x-envoy-upstream-stream-duration-ms', '0')], opts=INSIDE)
stream_limit('by_header_bad', '0.2s', [('x-envoy-upstream-stream-duration-ms', 'x')], opts=INSIDE)
stream_limit('by_header_from_outside', None, [('x-envoy-upstream-stream-duration-ms', '200')], opts='{use_remote_address: true}')
stream_limit('grpc', '0.2s', [('content-type', 'application/grpc')])


# ---- The connection limit filter
def limited(name, cfg, conns, extra=None):
    """conns: what each of several connections in a row does."""
    @case('connection_limit_' + name)
    async def _(t):
        await t.up()
        cl = {'name': 'cl', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit', 'stat_prefix': 'cl', **Y(cfg)}}
        await t.start(config(t, [listener(t, [cl, hcm(t)], extra={'access_log': [filelog(t, '%CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_LOCAL_CLOSE_REASON% %RESPONSE_FLAGS%')]})], [cluster('c1', t.ups)], extra))
        kept = []
        for n in range(conns):
            begun = time.monotonic()
            c = await t.conn()
            c.send(GET)
            r = await c.response(timeout=2)
            t.see(str(n), [r.status, r.err, time.monotonic() - begun > 0.25])
            kept.append(c)
        t.see('while', await t.stats('connection_limit.cl.active_connections', 'connection_limit.cl.limited_connections', 'http.in.downstream_cx_active'))
        for c in kept:
            c.close()
        await t.stat_until('http.in.downstream_cx_active', lambda n: n == 0)
        t.see('again', (await t.req('/')).status)
        t.see('counters', await counters(t, COUNTED[:-1] + '|connection_limit)'))
        t.see('log', sorted(await t.logs()))


limited('two', '{max_connections: 2}', 4)
limited('delayed', '{max_connections: 1, delay: 0.3s}', 2)
limited('switched_off', '{max_connections: 1, runtime_enabled: {default_value: false, runtime_key: cl.on}}', 3)
limited('switched_off_by_runtime', '{max_connections: 1, runtime_enabled: {default_value: true, runtime_key: cl.on}}', 3, '{layered_runtime: {layers: [{name: s, static_layer: {cl.on: false}}]}}')


def listener_limit(name, runtime, conns, lextra=None):
    @case('listener_limit_' + name)
    async def _(t):
        await t.up()
        await t.start(simple(t, extra={'layered_runtime': {'layers': [{'name': 's', 'static_layer': runtime}]}}, lextra=lextra))
        kept = []
        for n in range(conns):
            c = await t.conn()
            c.send(GET)
            r = await c.response(timeout=1)
            t.see(str(n), [r.status, r.err])
            kept.append(c)
        t.see('while', await counters(t, r'^listener\.127.*(cx_active|overflow|cx_total)'))
        for c in kept:
            c.close()
        await t.stat_until('http.in.downstream_cx_active', lambda n: n == 0)
        t.see('again', (await t.req('/')).status)
        t.see('counters', await counters(t))


listener_limit('two', {'envoy.resource_limits.listener.l1.connection_limit': 2}, 4)
listener_limit('none', {'envoy.resource_limits.listener.other.connection_limit': 0}, 2)
listener_limit('zero', {'envoy.resource_limits.listener.l1.connection_limit': 0}, 1)
listener_limit('ignored', {'envoy.resource_limits.listener.l1.connection_limit': 1}, 2, '{ignore_global_conn_limit: true}')
listener_limit('global', {'overload.global_downstream_max_connections': 2}, 4)
listener_limit('global_ignored', {'overload.global_downstream_max_connections': 1}, 3, '{ignore_global_conn_limit: true}')


# ---- Buffers
def flow(name, size, limits, down):
    """A body of `size` bytes against buffers of `limits`, in one direction; both sides read."""
    @case('flow_' + name)
    async def _(t):
        body = b'z' * size
        u = await t.up('u1', (lambda m, n: resp(200, body)) if down else None)
        await t.start(simple(t, lextra='{per_connection_buffer_limit_bytes: %d}' % limits[0], copts='{per_connection_buffer_limit_bytes: %d}' % limits[1]))
        r = await t.req('/') if down else await t.req('/', 'POST', body=body)
        t.see('whole', [r.status, r.body == body if down else u.reqs[0].body == body])
        await t.stat_until('http.in.downstream_rq_active', lambda n: n == 0)
        names = ['cluster.c1.upstream_flow_control_' + n for n in ('paused_reading_total', 'resumed_reading_total', 'backed_up_total', 'drained_total')] + [
            'http.in.downstream_flow_control_paused_reading_total', 'http.in.downstream_flow_control_resumed_reading_total']
        s = await t.stats(*names)
        t.see('counted', {n: s[n] > 0 for n in names})


flow('small_down', 1000, (32768, 32768), True)
flow('small_up', 1000, (32768, 32768), False)
flow('large_down', 3000000, (16384, 16384), True)
flow('large_up', 3000000, (16384, 16384), False)
flow('large_down_upstream_limit', 3000000, (1 << 23, 16384), True)
flow('large_up_listener_limit', 3000000, (16384, 1 << 23), False)


def wide(name, opts, reqs, **kw):
    """Whole heads as the upstream gets them."""
    edge('wide_' + name, opts, reqs, only=None, **kw)


# ---- Framing and heads, further
def post(extra, body=b''):
    return b'POST / HTTP/1.1\r\nHost: a\r\n' + extra + b'\r\n' + body


raws('wide_fold_odd', [('first line', b'GET / HTTP/1.1\r\n x: 1\r\nHost: a\r\n\r\n'), ('in name', b'GET / HTTP/1.1\r\nHost: a\r\nx\r\n : 1\r\n\r\n'), ('many', b'GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\n 2\r\n\t3\r\n 4\r\ny: 5\r\n\r\n'),
                       ('of host', b'GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n'), ('of te', post(b'transfer-encoding:\r\n chunked\r\n', b'0\r\n\r\n')), ('of connection', b'GET / HTTP/1.1\r\nHost: a\r\nconnection: x-a,\r\n x-b\r\nx-a: 1\r\nx-b: 2\r\n\r\n'), ('empty value', b'GET / HTTP/1.1\r\nHost: a\r\nx:\r\n 1\r\n\r\n')])
raws('wide_chunk_extensions', [('quoted', post(b'transfer-encoding: chunked\r\n', b'3;a="b;c"\r\nabc\r\n0\r\n\r\n')), ('on last', post(b'transfer-encoding: chunked\r\n', b'3\r\nabc\r\n0;x=y\r\n\r\n')), ('long', post(b'transfer-encoding: chunked\r\n', b'3;' + b'x' * 20000 + b'\r\nabc\r\n0\r\n\r\n')),
                               ('only semicolon', post(b'transfer-encoding: chunked\r\n', b'3;\r\nabc\r\n0\r\n\r\n')), ('upper hex', post(b'transfer-encoding: chunked\r\n', b'A\r\n0123456789\r\n0\r\n\r\n')), ('zeros', post(b'transfer-encoding: chunked\r\n', b'0003\r\nabc\r\n000\r\n\r\n'))])
raws('wide_trailers_enabled', [('two', post(b'transfer-encoding: chunked\r\n', b'1\r\na\r\n0\r\nx: 1\r\ny: 2\r\n\r\n')), ('repeated', post(b'transfer-encoding: chunked\r\n', b'1\r\na\r\n0\r\nx: 1\r\nx: 2\r\n\r\n')), ('empty value', post(b'transfer-encoding: chunked\r\n', b'1\r\na\r\n0\r\nx:\r\n\r\n')),
                               ('many', post(b'transfer-encoding: chunked\r\n', b'1\r\na\r\n0\r\n' + b'x: 1\r\n' * 101 + b'\r\n')), ('large', post(b'transfer-encoding: chunked\r\n', b'1\r\na\r\n0\r\nx: ' + b'y' * 70000 + b'\r\n\r\n')), ('no body', post(b'transfer-encoding: chunked\r\n', b'0\r\nx: 1\r\n\r\n'))],
     '{http_protocol_options: {enable_trailers: true}}')
raws('wide_allow_chunked_length', [('both', post(b'content-length: 3\r\ntransfer-encoding: chunked\r\n', b'3\r\nabc\r\n0\r\n\r\n')), ('gzip', post(b'content-length: 3\r\ntransfer-encoding: gzip, chunked\r\n', b'3\r\nabc\r\n0\r\n\r\n')), ('bad length', post(b'content-length: x\r\ntransfer-encoding: chunked\r\n', b'3\r\nabc\r\n0\r\n\r\n')),
                                   ('http10', b'POST / HTTP/1.0\r\nHost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n')], '{http_protocol_options: {allow_chunked_length: true, accept_http_10: true}}')
raws('wide_http10', [('keep', b'GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n'), ('keep and close', b'GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n'), ('head', b'HEAD / HTTP/1.0\r\nHost: a\r\n\r\n'), ('absolute', b'GET http://b/c HTTP/1.0\r\n\r\n'),
                     ('expect', b'POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx'), ('empty host', b'GET / HTTP/1.0\r\nHost:\r\n\r\n'), ('upgrade', b'GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n')],
     '{http_protocol_options: {accept_http_10: true, default_host_for_http_10: the.default}}')
raws('wide_absolute_form', [('upper scheme', b'GET HTTP://b/c HTTP/1.1\r\nHost: a\r\n\r\n'), ('https', b'GET https://b/c HTTP/1.1\r\nHost: a\r\n\r\n'), ('port', b'GET http://b:81/c HTTP/1.1\r\nHost: a\r\n\r\n'), ('empty path', b'GET http://b HTTP/1.1\r\nHost: a\r\n\r\n'),
                            ('query', b'GET http://b/?q=http://x HTTP/1.1\r\nHost: a\r\n\r\n'), ('v6', b'GET http://[::1]:80/c HTTP/1.1\r\nHost: a\r\n\r\n'), ('no authority', b'GET http:///c HTTP/1.1\r\nHost: a\r\n\r\n'), ('ws', b'GET ws://b/c HTTP/1.1\r\nHost: a\r\n\r\n')])
raws('wide_override_stream_error', [('chunk', post(b'transfer-encoding: chunked\r\n', b'zz\r\n')), ('no host', b'GET / HTTP/1.1\r\n\r\n'), ('bad header', b'GET / HTTP/1.1\r\nHost: a\r\nx y: 1\r\n\r\n'), ('length', post(b'content-length: x\r\n'))],
     '{http_protocol_options: {override_stream_error_on_invalid_http_message: true}}')
raws('wide_override_stream_error_off', [('chunk', post(b'transfer-encoding: chunked\r\n', b'zz\r\n')), ('no host', b'GET / HTTP/1.1\r\n\r\n')],
     '{stream_error_on_invalid_http_message: true, http_protocol_options: {override_stream_error_on_invalid_http_message: false}}')
raws('wide_underscores_reject_kept', [('one', b'GET / HTTP/1.1\r\nHost: a\r\nx_y: 1\r\n\r\n'), ('after', GET)], '{stream_error_on_invalid_http_message: true, common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}}')
raws('wide_limits', [('exact count', b'GET / HTTP/1.1\r\nHost: a\r\n' + b'x: y\r\n' * 4 + b'\r\n'), ('one more', b'GET / HTTP/1.1\r\nHost: a\r\n' + b'x: y\r\n' * 5 + b'\r\n'), ('target counts', b'GET /' + b'a' * 1100 + b' HTTP/1.1\r\nHost: a\r\n\r\n'), ('below', b'GET /' + b'a' * 900 + b' HTTP/1.1\r\nHost: a\r\n\r\n')],
     '{max_request_headers_kb: 1, common_http_protocol_options: {max_headers_count: 5}}')
raws('wide_expect', [('upper', post(b'Expect: 100-CONTINUE\r\nContent-Length: 1\r\n', b'x')), ('two', post(b'Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n', b'x')), ('no body', post(b'Expect: 100-continue\r\n')), ('list', post(b'Expect: 100-continue, x\r\nContent-Length: 1\r\n', b'x')), ('get', b'GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n')])

# ---- Who the client is
wide('via_joined', '{via: me}', [H(('via', '1.1 other')), H(('via', 'a'), ('via', 'b')), H()])
wide('add_user_agent', '{add_user_agent: true}', [H(('user-agent', 'own')), H(), H(('x-envoy-downstream-service-cluster', 'c')), H(('user-agent', ''))], extra='{node: {id: some-node, cluster: some-cluster}}')
wide('xff_ports', '{use_remote_address: false}', [H(('x-forwarded-for', '1.2.3.4:80')), H(('x-forwarded-for', '[::1]:80')), H(('x-forwarded-for', '::1')), H(('x-forwarded-for', '1.2.3.4, ')), H(('x-forwarded-for', ',')), H(('x-forwarded-for', ''))], log='%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%')
wide('xff_hops_ura', '{use_remote_address: true, xff_num_trusted_hops: 2}', [H(('x-forwarded-for', '1.1.1.1, 2.2.2.2, 3.3.3.3')), H(('x-forwarded-for', '1.1.1.1')), H(('x-forwarded-for', 'x, y')), H()], log='%DOWNSTREAM_REMOTE_ADDRESS%')
wide('internal_addresses', '{use_remote_address: false, internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}, {address_prefix: "fd00::", prefix_len: 8}]}}',
     [H(('x-forwarded-for', '10.1.1.1')), H(('x-forwarded-for', 'fd00::1')), H(('x-forwarded-for', '11.1.1.1')), H(('x-forwarded-for', '10.1.1.1, 10.1.1.2')), H(('x-envoy-internal', 'true'))])
wide('detection_header_rejects', '{original_ip_detection_extensions: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-ip, reject_with_status: {code: ServiceUnavailable}}}]}',
     [H(('x-ip', '1.2.3.4')), H(('x-ip', '1.2.3.4, 5.6.7.8')), H(('x-ip', '1.2.3.4'), ('x-ip', '5.6.7.8')), H(('x-ip', '::1')), H(('x-ip', ''))], log='%DOWNSTREAM_REMOTE_ADDRESS% %RESPONSE_CODE_DETAILS%')
wide('detection_trusted_internal', '{internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}, original_ip_detection_extensions: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-ip, allow_extension_to_set_address_as_trusted: true}}]}',
     [H(('x-ip', '10.2.3.4')), H(('x-ip', '11.2.3.4')), H(('x-ip', '10.2.3.4'), ('x-forwarded-for', '8.8.8.8')), H()])
wide('request_id_kept', '{use_remote_address: false}', [H(('x-request-id', '11111111-2222-4333-8444-555555555555')), H(('x-request-id', 'odd')), H(('x-request-id', '')), H(('x-request-id', 'a'), ('x-request-id', 'b'))])
wide('request_id_edge', '{use_remote_address: true, preserve_external_request_id: true, always_set_request_id_in_response: true}', [H(('x-request-id', 'odd')), H(('x-request-id', '')), H()])
wide('request_id_no_pack', '{request_id_extension: {typed_config: {"@type": type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig, pack_trace_reason: false, use_request_id_for_trace_sampling: false}}, preserve_external_request_id: true}', [H(('x-request-id', '11111111-2222-9333-8444-555555555555')), H(('x-request-id', 'odd'))])
wide('request_id_off', '{generate_request_id: false, always_set_request_id_in_response: true}', [H(), H(('x-request-id', 'mine'))])
wide('client_trace_id', '{use_remote_address: false}', [H(('x-client-trace-id', 'x'), ('x-request-id', '11111111-2222-4333-8444-555555555555')), H(('x-envoy-force-trace', '1'))])
wide('scheme_and_proto', '{}', [H(('x-forwarded-proto', 'HTTPS')), H(('x-forwarded-proto', 'ftp')), H(('x-forwarded-proto', 'https, http')), H(('x-forwarded-proto', '')), H(('x-forwarded-proto', 'https'), ('x-forwarded-proto', 'http'))], log='%REQ(:SCHEME)%|%REQ(X-FORWARDED-PROTO)%')
wide('forwarded_client_cert', '{forward_client_cert_details: ALWAYS_FORWARD_ONLY}', [H(('x-forwarded-client-cert', 'By=x')), H(('x-forwarded-client-cert', 'a'), ('x-forwarded-client-cert', 'b'))])
wide('hop_headers', '{}', [H(('te', 'trailers, gzip')), H(('te', 'gzip;q=1, trailers;q=0.5')), H(('keep-alive', 'timeout=1'), ('proxy-connection', 'keep-alive')), H(('connection', 'te'), ('te', 'trailers')), H(('trailer', 'x')), H(('proxy-authenticate', 'x'), ('proxy-authorization', 'y'))])
wide('server_name', '{server_name: "", server_header_transformation: PASS_THROUGH}', [H()])

# ---- Paths and hosts
PATHS = '{normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: %s}'
for action in ('REJECT_REQUEST', 'UNESCAPE_AND_REDIRECT', 'UNESCAPE_AND_FORWARD', 'KEEP_UNCHANGED'):
    raws('wide_path_' + action.lower(), [(p, b'GET %s HTTP/1.1\r\nHost: a\r\n\r\n' % p.encode()) for p in ('/a%2Fb', '/a%2fb?x=%2f', '/a%5cb', '/%2f%2fa', '/a%252fb', '/..%2fa', '/a/%2e%2e%2fb')], PATHS % action, follow=False)
raws('wide_path_odd', [(p, b'GET %s HTTP/1.1\r\nHost: a\r\n\r\n' % p.encode()) for p in ('/./', '/..', '/a/..//b', '/a/.;x/b', '/a/..;x/b', '/%2E%2E/a', '/a?b/../c', '/a;b=c/../d', '//', '/a//', '/%41', '/a%7Eb', '/a%20b')], '{normalize_path: true, merge_slashes: true}')
raws('wide_host_stripping', [(h, b'GET / HTTP/1.1\r\nHost: %s\r\n\r\n' % h.encode()) for h in ('a:80', 'a.:80', '[::1]:80', '[::1]', 'a:', 'a..', 'a.b.c.', ':80', 'a:80:90')], '{strip_any_host_port: true, strip_trailing_host_dot: true}')
raws('wide_host_case', [(h, b'GET / HTTP/1.1\r\nHost: %s\r\n\r\n' % h.encode()) for h in ('A.COM', 'xn--a', 'a_b', 'a%41', '1.2.3.4', '[FE80::1]')])


# ---- The health check filter
HC = '/healthcheck/fail'


def health(name, cfg, paths, clusters=None, fail=False, up=None, log=PROTOCOL_LOG, cluster_name='some-cluster', lb=None):
    """paths: requests, before and (with `fail`) after the server is marked failed."""
    @case('wide_health_' + name)
    async def _(t):
        u = await t.up('u1', up)
        cs = [cluster('c1', t.ups)] + ([] if clusters is None else clusters(t))
        await t.start(simple(t, clusters=cs, filters=[http_filter('hc', 'health_check.v3.HealthCheck', cfg)], log=log, extra='{node: {id: some-node, cluster: %s}}' % cluster_name))
        async def ask(label):
            for n, kw in enumerate(paths):
                t.see('%s %d' % (label, n), await t.req(**kw))
        await ask('before')
        if fail:
            await t.admin(HC, 'POST')
            await ask('failed')
            await t.admin('/healthcheck/ok', 'POST')
            await ask('well again')
        t.see('up', u.paths)
        t.see('log', await t.logs())


ON = 'headers: [{name: ":path", string_match: {exact: /hc}}]'
health('local_failed', '{pass_through_mode: false, %s}' % ON, [dict(path='/hc'), dict(path='/other')], fail=True)
health('local_query', '{pass_through_mode: false, %s}' % ON, [dict(path='/hc?x=1'), dict(path='/hc/'), dict(path='/hc', method='HEAD'), dict(path='/hc', method='POST', body='x')])
health('pass_through_failed', '{pass_through_mode: true, %s}' % ON, [dict(path='/hc'), dict(path='/other')], fail=True)
health('cache_failed', '{pass_through_mode: true, cache_time: 60s, %s}' % ON, [dict(path='/hc'), dict(path='/hc'), dict(path='/other')], fail=True)
health('cache_of_errors', '{pass_through_mode: true, cache_time: 60s, %s}' % ON, [dict(path='/hc'), dict(path='/hc')], up=lambda m, n: resp(503 if n == 1 else 200, 'x'))
health('cache_of_statuses', '{pass_through_mode: true, cache_time: 60s, %s}' % ON, [dict(path='/hc'), dict(path='/hc')], up=lambda m, n: resp(302, 'x', [('location', '/y')]))
health('cache_degraded', '{pass_through_mode: true, cache_time: 60s, %s}' % ON, [dict(path='/hc'), dict(path='/hc')], up=lambda m, n: resp(200, 'x', [('x-envoy-degraded', 'true')]))
health('several_headers', '{pass_through_mode: false, headers: [{name: ":path", string_match: {prefix: /hc}}, {name: x-hc, present_match: true}, {name: ":method", string_match: {exact: GET}}]}',
       [dict(path='/hc1'), dict(path='/hc1', headers=[('x-hc', '1')]), dict(path='/hc1', method='POST', headers=[('x-hc', '1')])])
health('no_headers', '{pass_through_mode: false}', [dict(path='/'), dict(path='/x')])
health('percent_of_empty', '{pass_through_mode: false, cluster_min_healthy_percentages: {e: {value: 50}}, %s}' % ON, [dict(path='/hc')], clusters=lambda t: [cluster('e', [])])
health('percent_zero_of_empty', '{pass_through_mode: false, cluster_min_healthy_percentages: {e: {value: 0}}, %s}' % ON, [dict(path='/hc')], clusters=lambda t: [cluster('e', [])])
health('percent_unknown_cluster', '{pass_through_mode: false, cluster_min_healthy_percentages: {nope: {value: 50}}, %s}' % ON, [dict(path='/hc')])
health('percent_all_well', '{pass_through_mode: false, cluster_min_healthy_percentages: {c1: {value: 100}}, %s}' % ON, [dict(path='/hc')], fail=True)
health('percent_fraction', '{pass_through_mode: false, cluster_min_healthy_percentages: {d: {value: 50.1}}, %s}' % ON, [dict(path='/hc')],
       clusters=lambda t: [cluster('d', [lbe(t.dead('d1'), extra='{health_status: UNHEALTHY}'), lbe(t.dead('d2'))])])
health('percent_above', '{pass_through_mode: false, cluster_min_healthy_percentages: {d: {value: 51}}, %s}' % ON, [dict(path='/hc')],
       clusters=lambda t: [cluster('d', [lbe(t.dead('d1'), extra='{health_status: UNHEALTHY}'), lbe(t.dead('d2'))])])
health('percent_degraded_counts', '{pass_through_mode: false, cluster_min_healthy_percentages: {d: {value: 100}}, %s}' % ON, [dict(path='/hc')],
       clusters=lambda t: [cluster('d', [lbe(t.dead('d1'), extra='{health_status: DEGRADED}'), lbe(t.dead('d2'))])])
health('upstream_header_kept', '{pass_through_mode: true, %s}' % ON, [dict(path='/hc'), dict(path='/other')], up=lambda m, n: resp(200, 'x', [('x-envoy-upstream-healthchecked-cluster', 'theirs')]))


# ---- Filters switched off, local replies, virtual hosts
CORS = http_filter('cors', 'cors.v3.Cors')
FAULT = http_filter('fault', 'fault.v3.HTTPFault', '{abort: {http_status: 418, percentage: {numerator: 100}}}')


def switched(name, filters, routes, asks, vextra=None, route_config=None):
    @case('wide_switch_' + name)
    async def _(t):
        await t.up()
        vhosts = [{'name': 'v', 'domains': ['*'], 'routes': Y(routes), **(Y(vextra) or {})}]
        await t.start(simple(t, filters=filters, vhosts=vhosts, route_config=route_config))
        for p in asks:
            t.see(p, (await t.req(p)).status)


OFF = '{fault: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}'
EMPTY_ON = '{fault: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 419, percentage: {numerator: 100}}}}}'
BOTH = '[{match: {prefix: /off}, route: {cluster: c1}, typed_per_filter_config: %s}, {match: {prefix: /on}, route: {cluster: c1}, typed_per_filter_config: %s}, {match: {prefix: /}, route: {cluster: c1}}]' % (OFF, EMPTY_ON)
switched('per_route', [FAULT], BOTH, ['/', '/off', '/on'])
switched('vhost_off_route_on', [FAULT], BOTH, ['/', '/off', '/on'], vextra='{typed_per_filter_config: %s}' % OFF)
switched('table_off', [FAULT], BOTH, ['/', '/off', '/on'], route_config='{typed_per_filter_config: %s}' % OFF)
switched('disabled_in_chain', [{**FAULT, 'disabled': True}], BOTH, ['/', '/off', '/on'])
switched('disabled_in_chain_vhost_on', [{**FAULT, 'disabled': True}], BOTH, ['/', '/off', '/on'], vextra='{typed_per_filter_config: %s}' % EMPTY_ON)
switched('direct_and_redirect', [FAULT], '[{match: {prefix: /d}, direct_response: {status: 200}, typed_per_filter_config: %s}, {match: {prefix: /r}, redirect: {path_redirect: /x}, typed_per_filter_config: %s}, {match: {prefix: /}, direct_response: {status: 200}}]' % (OFF, OFF), ['/d', '/r', '/'])

DOMAINS = '''[{name: star, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: star}}}]},
  {name: exact, domains: [a.b.com, "a.b.com:8080"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: exact}}}]},
  {name: suffix, domains: ["*.b.com", "*-x.b.com"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: suffix}}}]},
  {name: longer, domains: ["*.a.b.com"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: longer}}}]},
  {name: prefix, domains: ["a.*", "a.b.*"], routes: [{match: {prefix: /only}, direct_response: {status: 200, body: {inline_string: prefix}}}]}]'''


@case()
async def wide_virtual_hosts(t):
    await t.start(simple(t, clusters=[], vhosts=DOMAINS))
    for h in ('a.b.com', 'A.B.COM', 'a.b.com:8080', 'a.b.com:81', 'x.b.com', 'b.com', 'y.a.b.com', 'q-x.b.com', '-x.b.com', 'a.b.org', 'a.', 'a.c', 'other', 'x.b.com.', '.b.com'):
        r = await t.req('/', host=h)
        t.see(h, [r.status, r.body.decode()])


def replied(name, cfg, asks, routes='[{match: {prefix: /d}, direct_response: {status: 503, body: {inline_string: own}}}, {match: {prefix: /}, route: {cluster: c1}}]'):
    @case('wide_local_reply_' + name)
    async def _(t):
        await t.start(simple(t, clusters=[cluster('c1', t.dead())], routes=routes, opts={'local_reply_config': Y(cfg)}, log=PROTOCOL_LOG))
        for n, kw in enumerate(asks):
            t.see(str(n), await t.req(**kw))
        t.see('log', await t.logs())


replied('header_actions', '{mappers: [{filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 503, runtime_key: x}}}}, headers_to_add: [{header: {key: a, value: "1"}}, {header: {key: a, value: "2"}}, {header: {key: content-type, value: x/y}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: b, value: "%RESPONSE_CODE% %RESPONSE_FLAGS% %REQ(:PATH)%"}}]}]}', [dict(path='/x'), dict(path='/d')])
replied('json', '{body_format: {json_format: {code: "%RESPONSE_CODE%", flags: "%RESPONSE_FLAGS%", body: "%LOCAL_REPLY_BODY%", nested: {path: "%REQ(:PATH)%", none: "%REQ(nope)%"}}}}', [dict(path='/x"y'), dict(path='/d'), dict(path='/x', method='HEAD')])
replied('mapper_without_match', '{mappers: [{filter: {status_code_filter: {comparison: {op: GE, value: {default_value: 600, runtime_key: x}}}}, status_code: 200}], body_format: {text_format_source: {inline_string: "%LOCAL_REPLY_BODY%!"}, content_type: text/html}}', [dict(path='/x'), dict(path='/d')])
replied('status_class', '{mappers: [{filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 503, runtime_key: x}}}}, status_code: 404, body: {inline_string: "gone"}}]}', [dict(path='/x'), dict(path='/x', headers=[('content-type', 'application/grpc')]), dict(path='/x', method='HEAD')])
replied('not_matching_flag', '{mappers: [{filter: {response_flag_filter: {flags: [UT]}}, status_code: 500}, {filter: {or_filter: {filters: [{response_flag_filter: {flags: [UF]}}, {header_filter: {header: {name: x, present_match: true}}}]}}, status_code: 501}]}', [dict(path='/x'), dict(path='/d'), dict(path='/d', headers=[('x', '1')])])


# ---- Early header mutation
def early(name, mutations, reqs, opts='{}', routes=None, more=()):
    extensions = [{'name': 'early', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation', 'mutations': Y(m)}} for m in (mutations, *more)]
    edge('early_' + name, {'early_header_mutation_extensions': extensions, **Y(opts)}, reqs, only=None, routes=routes, log='%REQ(:PATH)% %REQ(X-FORWARDED-FOR)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %RESPONSE_CODE%')


early('adds_and_removes', '[{append: {header: {key: x-new, value: "1"}}}, {remove: x-old}, {append: {header: {key: x-set, value: mine}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]', [H(('x-old', '1'), ('x-set', 'theirs')), H()])
early('before_forwarded_for', '[{append: {header: {key: x-forwarded-for, value: 9.9.9.9}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]', [H(('x-forwarded-for', '1.2.3.4')), H()])
early('before_sanitising', '[{append: {header: {key: x-envoy-retry-on, value: 5xx}}}, {append: {header: {key: x-envoy-internal, value: "true"}}}]', [H()], opts='{use_remote_address: true}')
early('seen_by_routes', '[{append: {header: {key: x-route, value: "%REQ(x-from)%"}}}]', [H(('x-from', 'direct')), H()], routes='[{match: {prefix: /, headers: [{name: x-route, string_match: {exact: direct}}]}, direct_response: {status: 202}}, {match: {prefix: /}, route: {cluster: c1}}]')
early('two_extensions', '[{append: {header: {key: x-a, value: "1"}}}]', [H(('x-a', '0'))], more=('[{append: {header: {key: x-b, value: "%REQ(x-a)%"}}}]',))
early('remove_on_match', '[{remove_on_match: {key_matcher: {prefix: x-drop-}}}]', [H(('x-drop-a', '1'), ('x-drop-b', '2'), ('x-keep', '3'))])
