"""The TCP proxy beyond bytes to a host: tunnels (`tunneling_config`), hashing, metadata, back-off, periodic log entries."""
from harness import *

TYPE = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'
LOG = ('%ACCESS_LOG_TYPE% %RESPONSE_FLAGS% r=%BYTES_RECEIVED% s=%BYTES_SENT% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% '
       'n=%UPSTREAM_REQUEST_ATTEMPT_COUNT% lc=%DOWNSTREAM_LOCAL_CLOSE_REASON% up=%UPSTREAM_PROTOCOL% '
       'w=%UPSTREAM_WIRE_BYTES_RECEIVED%,%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_TRANSPORT_FAILURE_REASON%')
STATS = ['tcp.tp.' + n for n in ('downstream_cx_total', 'downstream_cx_rx_bytes_total', 'downstream_cx_tx_bytes_total', 'downstream_cx_no_route', 'idle_timeout', 'max_downstream_connection_duration')] + [
    'cluster.c1.upstream_' + n for n in ('cx_total', 'cx_http1_total', 'cx_http2_total', 'cx_connect_fail', 'cx_connect_attempts_exceeded', 'cx_destroy_local_with_active_rq', 'cx_destroy_remote_with_active_rq',
                                         'rq_total', 'rq_active', 'rq_pending_total', 'rq_200', 'rq_completed', 'rq_rx_reset', 'rq_tx_reset')]
HOST = 'dest.example:443'


def proxy(t, log=LOG, **kw):
    tp = {'@type': TYPE, 'stat_prefix': 'tp', 'access_log': [filelog(t, log)]}
    if 'weighted_clusters' not in kw:
        tp['cluster'] = 'c1'
    tp.update(kw)
    return {'name': 'tp', 'typed_config': tp}


def tunneling(**kw):
    return {'tunneling_config': {'hostname': HOST, **kw}}


async def start(t, u, h2=False, log=LOG, filters=(), lextra=None, clusters=None, **kw):
    clusters = clusters or [cluster('c1', u, h2=h2)]
    if h2:
        # How small a head becomes is each encoder's own.
        log = re.sub(r'w=%UPSTREAM_WIRE_BYTES_RECEIVED%,%UPSTREAM_WIRE_BYTES_SENT% ', '', log)
    await t.start(config(t, [listener(t, [*filters, proxy(t, log, **kw)], extra=lextra)], clusters))


async def finish(t, log=True):
    await t.stat_until('tcp.tp.downstream_cx_total', lambda v: v is not None)
    await t.stat_until('cluster.c1.upstream_rq_active', lambda v: v == 0)
    t.see('stats', await t.stats(*STATS))
    if log:
        t.see('log', await t.logs())


def granting(answer=b'HTTP/1.1 200 OK\r\n\r\n', ends=False):
    """An HTTP/1 proxy that answers CONNECT or POST so, then echoes in upper case and says END at the end."""
    async def conn(c):
        m = await c.read_request(body=False)
        if m is None:
            return
        c.send(answer)
        m['tunnel'] = b''
        while True:
            if c.buf:
                m['tunnel'] += c.buf
                c.send(c.buf.upper())
                c.buf = b''
                await c.drain()
                if ends:
                    return
            if not await c.fill():
                m['closed'] = True
                c.send(b'END')
                return
    return conn


def h2_granting(status=200, headers=(), trailers=None, end=False):
    async def handler(s):
        s.respond(status, headers, end=end)
        if end:
            return
        at = 0
        while True:
            await s.conn.wait(lambda: len(s.s['body']) > at or s.s['ended'], 5)
            piece = s.s['body'][at:]
            at += len(piece)
            if piece:
                await s.data(piece.upper())
            elif s.s['ended']:
                break
        if s.s['reset'] is None:
            if trailers:
                await s.data(b'END')
                s.trailers(trailers)
            else:
                await s.data(b'END', end=True)
    return handler


async def talk(t, c, name='echo'):
    c.send(b'hello')
    t.see(name, (await c.exactly(5)).decode())


# ---- tunnels
for post in (False, True):
    @case('tunnel_h1_%s' % ('post' if post else 'connect'))
    async def _(t, post=post):
        u = await t.up('u1', conn=granting())
        await start(t, u, **tunneling(use_post=post))
        c = await t.conn()
        await talk(t, c)
        t.see('up', u.reqs[0])
        c.shut_wr()
        t.see('rest', [await c.state(2), c.buf.decode()])
        await finish(t)

    @case('tunnel_h2_%s' % ('post' if post else 'connect'))
    async def _(t, post=post):
        u = await t.h2up('u1', h2_granting())
        await start(t, u, True, **tunneling(use_post=post))
        c = await t.conn()
        await talk(t, c)
        t.see('up', u.reqs[0])
        c.shut_wr()
        t.see('rest', [await c.state(2), c.buf.decode()])
        t.see('ended', [u.reqs[0]['ended'], u.reqs[0]['reset']])
        await finish(t)


@case()
async def tunnel_post_path(t):
    u = await t.h2up('u1', h2_granting())
    await start(t, u, True, **tunneling(use_post=True, post_path='/tunnel?x=1'))
    c = await t.conn()
    await talk(t, c)
    t.see('up', u.reqs[0])


@case()
async def tunnel_post_path_needs_post(t):
    code, out = await t.run_to_end(config(t, [listener(t, [proxy(t, **tunneling(post_path='/x'))])], [cluster('c1', t.dead())]))
    t.see('code', code)
    t.see('says', "Can't set a post path when POST method isn't used" in out)


@case()
async def tunnel_hostname_format(t):
    u = await t.h2up('u1', h2_granting())
    await start(t, u, True, tunneling_config={'hostname': '%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%:%UPSTREAM_CLUSTER%%REQUESTED_SERVER_NAME%'})
    c = await t.conn()
    await talk(t, c)
    t.see('up', u.reqs[0])


@case()
async def tunnel_headers_to_add(t):
    u = await t.h2up('u1', h2_granting())
    heads = [{'header': {'key': 'x-peer', 'value': '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}}, {'header': {'key': 'x-two', 'value': 'a'}}, {'header': {'key': 'x-two', 'value': 'b'}},
             {'header': {'key': 'x-two', 'value': 'c'}, 'append_action': 'ADD_IF_ABSENT'}, {'header': {'key': 'x-empty', 'value': '%REQUESTED_SERVER_NAME%'}}, {'header': {'key': 'proxy-authorization', 'value': 'Basic x'}}]
    await start(t, u, True, **tunneling(headers_to_add=heads))
    c = await t.conn()
    await talk(t, c)
    t.see('up', u.reqs[0])


@case()
async def tunnel_h1_headers_to_add(t):
    u = await t.up('u1', conn=granting())
    await start(t, u, **tunneling(headers_to_add=[{'header': {'key': 'X-Peer', 'value': '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}}]))
    c = await t.conn()
    await talk(t, c)
    t.see('up', u.reqs[0])


for name, answer in (('403', b'HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno'), ('201', b'HTTP/1.1 201 Created\r\n\r\n'), ('204', b'HTTP/1.1 204 No Content\r\n\r\n'), ('502_close', b'HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\n\r\n'),
                     ('length', b'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n'), ('chunked', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'), ('garbage', b'nonsense\r\n\r\n'), ('interim', b'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n')):
    @case('tunnel_h1_answer_' + name)
    async def _(t, answer=answer):
        u = await t.up('u1', conn=granting(answer))
        await start(t, u, **tunneling())
        c = await t.conn()
        c.send(b'hello')
        try:
            t.see('echo', (await asyncio.wait_for(c.exactly(5), 1)).decode('latin1'))
        except (Closed, asyncio.TimeoutError) as e:
            t.see('echo', [type(e).__name__, c.buf.decode('latin1')])
        c.close()
        await finish(t)


for status in (201, 403, 503):
    @case('tunnel_h2_answer_%d' % status)
    async def _(t, status=status):
        u = await t.h2up('u1', h2_granting(status))
        await start(t, u, True, **tunneling())
        c = await t.conn()
        c.send(b'hello')
        t.see('state', [await c.state(2), c.buf.decode()])
        c.close()
        await finish(t)


@case()
async def tunnel_h2_answer_ends_at_once(t):
    u = await t.h2up('u1', h2_granting(end=True))
    await start(t, u, True, **tunneling())
    c = await t.conn()
    c.send(b'hello')
    t.see('state', [await c.state(2), c.buf.decode()])
    c.close()
    await finish(t)


@case()
async def tunnel_h2_refused_three_attempts(t):
    u = await t.h2up('u1', h2_granting(503))
    await start(t, u, True, max_connect_attempts=3, **tunneling())
    c = await t.conn()
    t.see('state', await c.state(2))
    t.see('asked', len(u.reqs))
    c.close()
    await finish(t)


@case()
async def tunnel_dead_host(t):
    await start(t, t.dead(), **tunneling())
    c = await t.conn()
    t.see('state', await c.state(2))
    await finish(t)


@case()
async def tunnel_h1_host_ends(t):
    u = await t.up('u1', conn=granting(ends=True))
    await start(t, u, **tunneling())
    c = await t.conn()
    c.send(b'hello')
    t.see('rest', [await c.state(2), c.buf.decode()])
    await finish(t)


@case()
async def tunnel_h2_host_resets(t):
    async def handler(s):
        s.respond(200)
        await s.conn.wait(lambda: s.s['body'], 5)
        s.reset(8)
    u = await t.h2up('u1', handler)
    await start(t, u, True, **tunneling())
    c = await t.conn()
    c.send(b'hello')
    t.see('rest', [await c.state(2), c.buf.decode()])
    await finish(t)


@case()
async def tunnel_h2_client_resets(t):
    u = await t.h2up('u1', h2_granting())
    await start(t, u, True, **tunneling())
    c = await t.conn()
    await talk(t, c)
    c.reset()
    await t.until(lambda: u.reqs[0]['ended'], 2)
    t.see('up', [u.reqs[0]['ended'], u.reqs[0]['reset']])
    await finish(t)


@case()
async def tunnel_h2_two_share_a_connection(t):
    u = await t.h2up('u1', h2_granting())
    await start(t, u, True, **tunneling())
    a, b = await t.conn(), await t.conn()
    await talk(t, a, 'a')
    await talk(t, b, 'b')
    t.see('conns', u.conns)


@case()
async def tunnel_host_speaks_first(t):
    async def handler(s):
        s.respond(200)
        await s.data(b'220 ready\r\n')
        await s.body()
    u = await t.h2up('u1', handler)
    await start(t, u, True, **tunneling())
    c = await t.conn()
    t.see('banner', (await c.exactly(11)).decode())


@case()
async def tunnel_large_both_ways(t):
    u = await t.h2up('u1', h2_granting())
    await start(t, u, True, **tunneling())
    c = await t.conn()
    blob = bytes(range(97, 123)) * 20000

    async def send():
        c.send(blob)
        await c.drain()
        c.shut_wr()
    task = asyncio.ensure_future(send())
    t.see('state', await c.state(5))
    await task
    t.see('same', c.buf == blob.upper() + b'END')


@case()
async def tunnel_propagates_headers_and_trailers(t):
    u = await t.h2up('u1', h2_granting(headers=[('x-a', '1'), ('x-b', '2')], trailers=[('x-end', '3')]))
    log = '%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers)% %FILTER_STATE(envoy.tcp_proxy.propagate_response_trailers)%'
    await start(t, u, True, log=log, **tunneling(propagate_response_headers=True, propagate_response_trailers=True))
    c = await t.conn()
    await talk(t, c)
    c.shut_wr()
    await c.state(2)
    c.close()
    t.see('log', await t.logs())


@case()
async def tunnel_idle_timeout(t):
    u = await t.h2up('u1', h2_granting())
    await start(t, u, True, idle_timeout='0.3s', **tunneling())
    c = await t.conn()
    await talk(t, c)
    t.see('rest', [await c.state(2), c.buf.decode()])
    await t.until(lambda: u.reqs[0]['ended'], 2)
    t.see('up', u.reqs[0]['reset'])
    await finish(t)


@case()
async def tunnel_into_a_terminating_proxy(t):
    """Bytes through two proxies: the first one's tunnel ends in the second one's connect_config."""
    async def echo(c):
        while await c.fill():
            c.send(c.buf.upper())
            c.buf = b''
            await c.drain()
        c.send(b'END')
    u = await t.up('u1', conn=echo)
    b = Up(t, 'pb')
    routes = '[{match: {connect_matcher: {}}, route: {cluster: c1, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}]'
    await t.start(config(t, [listener(t, [hcm(t, routes=routes, opts='{upgrade_configs: [{upgrade_type: CONNECT}], http2_protocol_options: {allow_connect: true}}')], name='lb', port=b.port)], [cluster('c1', u)]), name='B')
    await start(t, b, True, **tunneling())
    c = await t.conn()
    await talk(t, c)
    c.shut_wr()
    t.see('rest', [await c.state(2), c.buf.decode()])
    t.see('log', await t.logs())


# ---- log entries while a connection lives
async def echo(c):
    while await c.fill():
        c.send(c.buf)
        c.buf = b''
        await c.drain()


for name, kw in (('options', {'access_log_options': {'flush_access_log_on_connected': True, 'access_log_flush_interval': '0.2s'}}), ('old_fields', {'flush_access_log_on_connected': True, 'access_log_flush_interval': '0.2s'})):
    @case('log_on_connected_and_periodic_' + name)
    async def _(t, kw=kw):
        u = await t.up('u1', conn=echo)
        await start(t, u, log='%ACCESS_LOG_TYPE% %RESPONSE_FLAGS% r=%BYTES_RECEIVED% s=%BYTES_SENT% %UPSTREAM_HOST% w=%UPSTREAM_WIRE_BYTES_RECEIVED%', **kw)
        c = await t.conn()
        await talk(t, c)
        await asyncio.sleep(0.3)
        c.close()
        await t.stat_until('cluster.c1.upstream_cx_active', lambda v: v == 0)
        lines = await t.logs()
        t.see('log', sorted(set(lines)))


@case()
async def log_on_start(t):
    u = await t.up('u1', conn=echo)
    await start(t, u, log='%ACCESS_LOG_TYPE% %BYTES_RECEIVED% %UPSTREAM_HOST% %UPSTREAM_CLUSTER%', access_log_options={'flush_access_log_on_start': True})
    c = await t.conn()
    await talk(t, c)
    c.close()
    t.see('log', await t.logs())


@case()
async def log_on_connected_through_a_tunnel(t):
    u = await t.h2up('u1', h2_granting())
    await start(t, u, True, log='%ACCESS_LOG_TYPE% %UPSTREAM_HOST% %UPSTREAM_PROTOCOL%', access_log_options={'flush_access_log_on_connected': True}, **tunneling())
    c = await t.conn()
    await talk(t, c)
    c.close()
    t.see('log', await t.logs())


@case()
async def log_options_and_old_fields_clash(t):
    for name, kw in (('interval', {'access_log_flush_interval': '1s'}), ('connected', {'flush_access_log_on_connected': True})):
        code, out = await t.run_to_end(config(t, [listener(t, [proxy(t, access_log_options={}, **kw)])], [cluster('c1', t.dead())]))
        t.see(name, [code, 'Only one of' in out])


# ---- which host
def meta_hosts(t, ups):
    return [{'lb_endpoints': [lbe(u, extra={'metadata': {'filter_metadata': {'envoy.lb': {'v': str(i)}}}}) for i, u in enumerate(ups)]}]


SUBSETS = {'lb_subset_config': {'fallback_policy': 'NO_FALLBACK', 'subset_selectors': [{'keys': ['v']}]}}


def meta(v):
    return {'filter_metadata': {'envoy.lb': {'v': v}}}


def naming(name):
    async def conn(c):
        c.send(name)
    return conn


async def who(t, n=1, port=None):
    seen = []
    for _ in range(n):
        c = await t.conn(port)
        state = await c.state(2)
        seen.append(c.buf.decode())
        c.close()
    return seen


@case()
async def metadata_match(t):
    ups = [await t.up('u%d' % i, conn=naming(b'%d' % i)) for i in range(3)]
    await start(t, None, clusters=[cluster('c1', localities=meta_hosts(t, ups), extra=SUBSETS)], metadata_match=meta('1'))
    t.see('who', await who(t, 3))


@case()
async def metadata_match_of_nobody(t):
    ups = [await t.up('u%d' % i, conn=naming(b'%d' % i)) for i in range(2)]
    await start(t, None, clusters=[cluster('c1', localities=meta_hosts(t, ups), extra=SUBSETS)], metadata_match=meta('9'))
    t.see('who', await who(t, 2))
    t.see('log', await t.logs())


@case()
async def metadata_match_of_weighted_cluster(t):
    ups = [await t.up('u%d' % i, conn=naming(b'%d' % i)) for i in range(3)]
    await start(t, None, clusters=[cluster('c1', localities=meta_hosts(t, ups), extra=SUBSETS)],
                weighted_clusters={'clusters': [{'name': 'c1', 'weight': 1, 'metadata_match': meta('2')}]}, metadata_match=meta('1'))
    t.see('who', await who(t, 3))


@case()
async def hash_policy_source_ip(t):
    """A client stays with its host; others go elsewhere."""
    ups = [await t.up('u%d' % i, conn=naming(b'%d' % i)) for i in range(4)]
    await start(t, None, clusters=[cluster('c1', ups, {'lb_policy': 'RING_HASH'})], hash_policy=[{'source_ip': {}}])
    same, spread = [], set()
    for n in range(2, 12):
        seen = set()
        for _ in range(2):
            c = await t.conn(src='127.0.0.%d' % n)
            await c.state(2)
            seen.add(c.buf.decode())
            c.close()
        same.append(len(seen))
        spread |= seen
    t.see('same', same)
    t.see('spread', len(spread) > 1)


@case()
async def backoff_between_attempts(t):
    await start(t, t.dead(), max_connect_attempts=3, backoff_options={'base_interval': '0.2s', 'max_interval': '0.2s'})
    c = await t.conn()
    t.see('state', await c.state(3))
    await finish(t)


@case()
async def backoff_then_client_goes(t):
    await start(t, t.dead(), max_connect_attempts=30, backoff_options={'base_interval': '5s', 'max_interval': '10s'})
    c = await t.conn()
    await t.stat_until('cluster.c1.upstream_cx_connect_fail', lambda v: v == 1)
    t.see('open', await c.state(0.1))
    c.close()
    t.see('stats', await t.stats('cluster.c1.upstream_cx_connect_fail', 'tcp.tp.downstream_cx_total'))


@case()
async def backoff_refused(t):
    for name, b in (('order', {'base_interval': '2s', 'max_interval': '1s'}), ('none', {'max_interval': '1s'})):
        code, out = await t.run_to_end(config(t, [listener(t, [proxy(t, backoff_options=b)])], [cluster('c1', t.dead())]))
        t.see(name, code)


@case()
async def max_duration_with_jitter(t):
    u = await t.up('u1', conn=echo)
    await start(t, u, max_downstream_connection_duration='0.2s', max_downstream_connection_duration_jitter_percentage={'value': 50})
    c = await t.conn()
    await talk(t, c)
    t.see('rest', [await c.state(2), c.buf.decode()])
    await finish(t)
