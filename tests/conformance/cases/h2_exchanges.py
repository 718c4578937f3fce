"""What random exchanges over HTTP/2 and TLS found: bytes of heads before compression, interim heads that come with their answer, names in
handshakes, counters of connections that fail."""
from harness import *
from harness.tls_config import INSPECT, cfg, chain, client_ctx, down

PLAIN = [(':method', 'GET'), (':scheme', 'http'), (':path', '/a'), (':authority', 'test.example')]
DECOMPRESSED = '|'.join('%%%s_DECOMPRESSED_HEADER_BYTES_%s%%' % (s, w) for s in ('DOWNSTREAM', 'UPSTREAM') for w in ('RECEIVED', 'SENT'))
STEADY = '{generate_request_id: false, route_config: {response_headers_to_remove: [x-envoy-upstream-service-time]}}'
OVER = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED%'
CLOSES = ('http.in.downstream_cx_protocol_error', 'http.in.downstream_cx_destroy_active_rq', 'http.in.downstream_cx_destroy_local_active_rq', 'http.in.downstream_cx_destroy_remote',
          'http.in.downstream_cx_destroy_local', 'http.in.downstream_rq_rx_reset', 'http2.goaway_sent', 'http2.trailers', 'http2.rx_messaging_error')


async def front(t, log, handler=None, h2=True, **kw):
    """A proxy with an upstream behind it, and a client whose SETTINGS were answered."""
    u = await (t.h2up('u1', handler) if h2 else t.up('u1', handler))
    await t.start(simple(t, clusters=[cluster('c1', u, h2=h2)], log=log, **kw))
    c = await t.h2()
    await c.wait(lambda: c.remote_settings)
    return c


def decompressed(name, steps, h2=True, head=PLAIN, opts=None):
    """The bytes of heads, as names and values, that one exchange logs. `steps` is the upstream's part."""
    @case('decompressed_bytes_' + name)
    async def _(t):
        c = await front(t, DECOMPRESSED, steps, h2, opts=opts or STEADY)
        await c.done(c.request(list(head)))
        t.see('log', await t.logs())


async def with_trailers(st):
    await st.body()
    st.respond(200, [('x-a', 'abc')])
    await st.data('hello')
    st.trailers([('x-t', 'abc')])


async def behind_interim(st):
    await st.body()
    st.respond(103, [('link', '</a>')])
    st.respond(200, [('content-length', '0')], end=True)

decompressed('of_a_request', None)
decompressed('with_trailers', with_trailers)
decompressed('behind_a_103', behind_interim)
decompressed('of_two_cookies', None, head=PLAIN + [('cookie', 'a=1'), ('cookie', 'b=2')])
decompressed('where_http1_answers', None, h2=False)
decompressed('of_no_route', None, head=[*PLAIN[:2], (':path', '/a'), (':authority', 'x')], opts='{generate_request_id: false, route_config: {virtual_hosts: []}}')


@case()
async def decompressed_bytes_where_http1_asks(t):
    u = await t.h2up('u1', with_trailers)
    await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], log=DECOMPRESSED, opts=STEADY))
    await t.req('/a')
    t.see('log', await t.logs())


@case()
async def decompressed_bytes_of_trailers_of_a_request(t):
    c = await front(t, DECOMPRESSED, opts=STEADY)
    sid = c.request([(':method', 'POST')] + PLAIN[1:], b'abc', end=False)
    await c.bg
    c.headers(sid, [('x-t', 'abc')])
    await c.done(sid)
    t.see('log', await t.logs())


def interim(name, opts, *statuses):
    """An upstream that says 1xx and its answer at once."""
    @case('interim_with_its_answer_' + name)
    async def _(t):
        async def handler(st):
            await st.body()
            for status in statuses:
                st.conn.c.send_headers(st.sid, [(':status', str(status)), ('x-n', str(status))])
            st.conn.c.send_headers(st.sid, [(':status', '200')], end_stream=True)
            st.conn.flush()
        u = await t.h2up('u1', handler)
        await t.start(simple(t, clusters=[cluster('c1', u, h2=True)], opts=opts))
        m = await t.req('/a')
        t.see('answer', {'status': m['status'], 'interim': [[i['line'], i.h('x-n')] for i in m['interim']]})
        t.see('stats', await t.stats(regex=r'^cluster\.c1\.upstream_rq_(1xx|10\d|2xx|200|completed)$'))

interim('counted', None, 103)
interim('passed_on', 'proxy_100_continue: true', 103)
interim('first_of_two', 'proxy_100_continue: true', 103, 102)
interim('first_of_those_that_pass', 'proxy_100_continue: true', 110, 103)


def authority(name, *fields):
    @case('authority_' + name)
    async def _(t):
        c = await front(t, OVER)
        m = await c.done(c.request(PLAIN[:3] + list(fields)), 0.2)
        t.see('answer', [m['headers'] and hget(m['headers'], ':status'), m['reset']])
        c.close()
        await t.stat_until('http.in.downstream_cx_destroy', lambda n: n == 1)
        t.see('stats', await t.stats(*CLOSES))
        t.see('log', await t.logs())

authority('with_user', (':authority', 'u@a.example'))
authority('with_user_and_password', (':authority', 'u:p@a.example:80'))
authority('beside_a_host_with_user', (':authority', 'a.example'), ('host', 'u@a.example'))
authority('of_odd_characters', (':authority', "a!$&'()*+,;=~_.example"))


def broken(name, *frames, opened=True):
    """Frames that end a connection; nothing is said here of a GOAWAY."""
    @case('broken_connection_counters_' + name)
    async def _(t):
        async def slow(st):
            await st.body()
        c = await front(t, '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%', slow)
        if opened:
            c.request([(':method', 'POST')] + PLAIN[1:], end=False)
            await t.stat_until('cluster.c1.upstream_rq_total', lambda n: n == 1)
        for kind, flags, stream, payload in frames:
            c.raw(struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload)
        await t.stat_until('http.in.downstream_cx_protocol_error', lambda n: n == 1, 2)
        c.close()
        await t.stat_until('http.in.downstream_cx_destroy', lambda n: n == 1)
        t.see('stats', await t.stats(*CLOSES))
        t.see('log', await t.logs())

broken('data_of_an_idle_stream', (0, 0, 21, b'abc'))
broken('data_of_an_idle_stream_alone', (0, 0, 21, b'abc'), opened=False)
broken('settings_of_three_bytes', (4, 0, 0, b'abc'))
broken('short_ping', (6, 0, 0, b'short'))
broken('headers_without_pseudo_fields', (1, 5, 1, b'\x00\x01a\x01b'), opened=False)
broken('headers_without_pseudo_fields_beside_another', (1, 5, 3, b'\x00\x01a\x01b'))
broken('trailers_that_do_not_end', (1, 4, 1, b'\x00\x01a\x01b'))
broken('settings_of_a_stream', (4, 0, 1, b''))
broken('ping_of_a_stream', (6, 0, 1, b'12345678'))
broken('push_promise', (5, 4, 1, b'\x00\x00\x00\x02\x82'))
broken('goaway_that_names_a_stream_of_the_clients', (7, 0, 0, struct.pack('>II', 1, 0)))
broken('goaway_that_lets_in_more', (7, 0, 0, struct.pack('>II', 2, 0)), (7, 0, 0, struct.pack('>II', 4, 0)))


def named(name, filters):
    @case('server_name_' + name, group='tls')
    async def _(t):
        log = '%REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION%'
        await t.start(cfg(t, [chain(t, down(), log=log)], filters=filters))
        r = await t.req('/', ssl=client_ctx(), sni='a.example')
        t.see('status', r['status'])
        t.see('stats', await t.stats('http.in.downstream_cx_ssl_total', 'http.in.downstream_cx_ssl_active', 'http.in.downstream_cx_total'))
        t.see('log', await t.logs())

named('without_an_inspector', None)
named('with_an_inspector', INSPECT)


@case('connections_that_are_secured', group='tls')
async def _(t):
    await t.start(cfg(t, [chain(t, down())]))
    c = await t.conn(ssl=client_ctx(), sni='a.example')
    names = 'http.in.downstream_cx_ssl_total', 'http.in.downstream_cx_ssl_active'
    await t.stat_until('http.in.downstream_cx_active', lambda n: n == 1)
    t.see('open', await t.stats(*names))
    c.close()
    await t.stat_until('http.in.downstream_cx_destroy', lambda n: n == 1)
    t.see('closed', await t.stats(*names))
