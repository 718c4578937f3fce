"""Upgrades that are not granted, or granted oddly, over each pair of versions: what either side sees of answers that say
`upgrade` all the same, of bytes that come too early or too late, of retries, redirects, mirrors, filters and timers."""
from harness import *

LOG = ('%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% r=%BYTES_RECEIVED% s=%BYTES_SENT% %PROTOCOL% '
       'attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT%')
OPTS = '{upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: foo}, {upgrade_type: CONNECT}], http2_protocol_options: {allow_connect: true}}'
UP2 = '{allow_connect: true}'
STATS = (r'^http\.in\.downstream_(cx_(upgrades_total|upgrades_active|destroy_(remote|local)(_active_rq)?|drain_close|protocol_error)|'
         r'rq_(.xx|rx_reset|tx_reset|ws_on_non_ws_route|timeout|response_before_rq_complete))$|'
         r'^cluster\.c1\.(upstream_rq_(total|rx_reset|tx_reset|.xx|timeout|per_try_timeout|cancelled|retry|completed)|'
         r'upstream_cx_(total|destroy|destroy_(remote|local)(_with_active_rq)?|protocol_error|none_healthy|active))$')
DROPPED = (b'date', b'server', b'x-envoy-upstream-service-time')


def head_lines(raw):
    """A head as it came, its fields in order of their names, without what changes from run to run."""
    line, *fields = raw.split(b'\r\n')
    return [line.decode('latin-1'), sorted(f.decode('latin-1') for f in fields if f.split(b':')[0].lower() not in DROPPED)]


async def raw_head(c, timeout=1.5):
    """The next head as it came; what follows stays in the buffer. What came instead where there is none."""
    end = time.monotonic() + timeout
    while b'\r\n\r\n' not in c.buf:
        try:
            if not await asyncio.wait_for(c.fill(), max(end - time.monotonic(), 0.01)):
                return ['closed', c.buf.decode('latin-1')]
        except asyncio.TimeoutError:
            return ['nothing', c.buf.decode('latin-1')]
    raw, c.buf = c.buf.split(b'\r\n\r\n', 1)
    return head_lines(raw)


def switching(kind='websocket', status=101, more=''):
    return ('HTTP/1.1 %d X\r\nConnection: upgrade\r\nUpgrade: %s\r\n%s\r\n' % (status, kind, more)).encode()


class Host:
    """An HTTP/1 host that notes what it gets behind each head, answers, and perhaps ends."""

    def __init__(self, answers, ends=None, waits=0.0):
        self.answers = answers if isinstance(answers, list) else [answers]
        self.ends, self.waits, self.asked, self.got, self.over = ends, waits, [], [], []

    async def __call__(self, c):
        m = await c.read_request(body=False)
        if m is None:
            return
        n = len(self.asked)
        self.asked.append([m['method'], m['path'], *['%s: %s' % (k, m.h(k)) for k in ('connection', 'upgrade', 'content-length', 'transfer-encoding') if m.h(k) is not None]])
        self.got.append(b'')
        self.over.append(None)
        if self.waits:
            await c.state(self.waits)
        c.send(self.answers[min(n, len(self.answers) - 1)])
        await c.drain()
        if self.ends == 'fin':
            c.shut_wr()
        elif self.ends == 'close':
            return
        elif self.ends == 'reset':
            c.reset()
            return
        while True:
            self.got[n] += c.buf
            c.buf = b''
            if not await c.fill():
                self.over[n] = c.err or 'fin'
                return

    def is_over(self):
        return all(self.over)

    def seen(self, t):
        t.see('asked', self.asked)
        t.see('got', [g.decode('latin-1') for g in self.got])


class Host2:
    """The same over HTTP/2."""

    def __init__(self, answers, ends=None, waits=0.0):
        self.answers = answers if isinstance(answers, list) else [answers]
        self.ends, self.waits, self.asked, self.streams = ends, waits, [], []

    async def __call__(self, s):
        n = len(self.asked)
        self.asked.append(['%s: %s' % (k, s.h(k)) for k in (':method', ':protocol', ':path', 'connection', 'upgrade', 'content-length') if s.h(k) is not None])
        self.streams.append(s)
        if self.waits:
            await s.conn.wait(lambda: False, self.waits)
        status, headers, data, end = self.answers[min(n, len(self.answers) - 1)]
        s.respond(status, headers, end=end and not data)
        if data:
            await s.data(data, end=end)
        if isinstance(self.ends, int):
            s.reset(self.ends)

    def is_over(self):
        return all(s.s['reset'] is not None or s.conn.eof for s in self.streams)

    def seen(self, t):
        t.see('asked', self.asked)
        t.see('got', [[s.s['body'].decode('latin-1'), s.s['reset']] for s in self.streams])


async def begin(t, up2, host, routes=None, opts=None, copts=None, hpo=None, filters=(), clusters=()):
    u = await (t.h2up('u1', host) if up2 else t.up('u1', conn=host))
    o = Y(OPTS)
    merge(o, Y(opts) or {})
    main = cluster('c1', u, copts, h2=UP2 if up2 else False, hpo=hpo)
    await t.start(simple(t, clusters=[main, *clusters], routes=routes, opts=o, log=LOG, filters=filters))


def asking(kind='websocket', method='GET', more=()):
    return build('/', method, [('connection', 'upgrade'), ('upgrade', kind), *more], 'a')


def extended(kind='websocket', more=()):
    return [(':method', 'CONNECT'), (':protocol', kind), (':scheme', 'http'), (':path', '/'), (':authority', 'a'), *more]


async def from_h1(t, ask, early=b'', late=b'late', ends='close', wait=0.25):
    c = await t.conn()
    c.send(ask + early)
    await c.drain()
    t.see('head', await raw_head(c))
    if late:
        c.send(late)
        await c.drain()
    state = await c.state(wait)
    t.see('then', [state, c.buf.decode('latin-1')])
    if ends == 'fin':
        c.buf = b''
        c.shut_wr()
        t.see('behind the end', [await c.state(wait), c.buf.decode('latin-1')])
    c.close()


async def from_h2(t, ask, early=b'', late=b'late', ends='close', wait=0.25):
    c = await t.h2()
    sid = c.request(ask, early or None, end=False)
    await c.wait(lambda: c.st(sid)['headers'] or c.st(sid)['ended'], 1.5)
    m = c.st(sid)
    t.see('head', sorted('%s: %s' % h for h in m['headers'] or [] if h[0].encode() not in DROPPED))
    if late:
        await c.send_data(sid, late, end=ends == 'fin', timeout=1)
    await c.wait(lambda: c.st(sid)['ended'] or c.eof, wait)
    t.see('then', [m['body'].decode('latin-1'), 'ended' if m['ended'] else 'open', m['reset'], c.goaways, 'closed' if c.eof else 'open'])
    c.close()


def refused(name, answer, down2=False, up2=False, kind='websocket', method='GET', more=(), early=b'', late=b'late', ends='close', host_ends=None,
            waits=0.0, routes=None, opts=None, copts=None, hpo=None, filters=(), wait=0.25):
    pair = 'h%d_h%d' % (2 if down2 else 1, 2 if up2 else 1)

    @case('refused_%s_%s' % (pair, name), timeout=30)
    async def f(t):
        host = (Host2 if up2 else Host)(answer, host_ends, waits)
        await begin(t, up2, host, routes, opts, copts, hpo, filters)
        if down2:
            await from_h2(t, extended(kind, more), early, late, ends, wait)
        else:
            await from_h1(t, asking(kind, method, more), early, late, ends, wait)
        await t.until(lambda: host.is_over() or host_ends, 0.5)
        host.seen(t)
        await t.stat_until('http.in.downstream_cx_active', lambda v: v == 0, 1)
        t.see('stats', await t.stats(regex=STATS))
        t.see('log', await t.logs())


LEN2 = 'Content-Length: 2\r\n'
CHUNKED = 'Transfer-Encoding: chunked\r\n'
PIECES = b'2\r\nno\r\n0\r\n\r\n'
PLAIN = b'HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nno'

# An answer that says `upgrade`: to the codec it is a tunnel, whatever its status.
for status in (200, 204, 304, 403, 426, 500):
    refused('saying_upgrade_%d' % status, switching(status=status) + b'raw')
    refused('saying_upgrade_%d' % status, switching(status=status) + b'raw', down2=True)
    refused('saying_upgrade_%d' % status, (status, [('connection', 'upgrade'), ('upgrade', 'websocket')], b'raw', False), up2=True)
for down2 in (False, True):
    refused('saying_upgrade_with_a_length', switching(status=426, more=LEN2) + b'no', down2=down2)
    refused('saying_upgrade_with_no_length', switching(status=426, more='Content-Length: 0\r\n'), down2=down2)
    refused('saying_upgrade_chunked', switching(status=426, more=CHUNKED) + PIECES, down2=down2)
    refused('saying_upgrade_and_close', switching(status=403, more='').replace(b'upgrade\r\n', b'upgrade, close\r\n', 1) + b'raw', down2=down2)
    refused('saying_upgrade_and_closing', switching(status=426) + b'raw', down2=down2, host_ends='close', late=b'')
    refused('saying_upgrade_and_resetting', switching(status=426) + b'raw', down2=down2, host_ends='reset', late=b'')
    refused('saying_upgrade_to_another_kind', switching('other', 403, LEN2) + b'no', down2=down2)
    refused('saying_upgrade_h2c', switching('h2c', 426, LEN2) + b'no', down2=down2)
    refused('saying_upgrade_of_foo', switching('foo', 426, LEN2) + b'no', down2=down2, kind='foo')
    refused('saying_upgrade_200_of_foo', switching('foo', 200, LEN2) + b'no', down2=down2, kind='foo')

# Bytes of the client before an answer, and behind it.
for down2 in (False, True):
    for up2 in (False, True):
        kw = dict(down2=down2, up2=up2)
        no = (403, [('content-length', '2')], b'no', True) if up2 else PLAIN % 403
        hang = (403, [], b'no', False) if up2 else b'HTTP/1.1 403 X\r\n\r\nno'
        yes = (200, [], b'hi', False) if up2 else switching() + b'hi'
        yes_foo = (200, [], b'hi', False) if up2 else switching('foo') + b'hi'
        if not up2:
            # Over HTTP/2 the answer lets them through, and the end of the stream races with them.
            refused('early_bytes', no, early=b'early', late=b'', waits=0.2, **kw)
        refused('early_bytes_of_foo', no, early=b'early', late=b'', waits=0.2, kind='foo', **kw)
        refused('early_bytes_then_granted', yes, early=b'early', waits=0.2, **kw)
        refused('early_bytes_of_foo_then_granted', yes_foo, early=b'early', waits=0.2, kind='foo', **kw)
        refused('with_a_body_that_goes_on', hang, **kw)
        refused('with_a_body_that_goes_on_of_foo', hang, kind='foo', **kw)
        refused('client_ends_behind_it', hang, ends='fin', **kw)
        refused('granted_without_being_asked', (101, [], b'hi', False) if up2 else b'HTTP/1.1 101 X\r\n\r\nhi', **kw)
        refused('granted_by_200', (200, [('content-length', '2')], b'hi', True) if up2 else PLAIN % 200, late=b'', **kw)
        if up2:
            refused('granted_by_201', (201, [], b'hi', False), **kw)
        refused('granted_by_200_of_foo', (200, [('content-length', '2')], b'hi', True) if up2 else PLAIN % 200, late=b'', kind='foo', **kw)


@case(timeout=20)
async def answer_before_the_body_ends(t):
    """The same of an ordinary request whose body has not ended: its connection to the host ends with a request on it."""
    host = Host(PLAIN % 403)
    await begin(t, False, host)
    await from_h1(t, b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody')
    host.seen(t)
    t.see('stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())


@case(timeout=20)
async def answer_malformed_of_an_ordinary_request(t):
    """What is counted where an HTTP/2 host's head cannot be, the request being whole, and not."""
    host = Host2((200, [('connection', 'x')], b'', True))
    await begin(t, True, host)
    await from_h1(t, build('/', host='a'), late=b'')
    t.see('stats', await t.stats(regex=STATS))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody')
    t.see('second', await raw_head(c))
    c.close()
    t.see('more stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())


@case(timeout=20)
async def upload_idle_a_trys_time(t):
    """`per_try_idle_timeout` and a request whose body has not ended: it begins with the end of the request."""
    host = Host(PLAIN % 200, waits=0.8)
    await begin(t, False, host, '[{match: {prefix: /}, route: {cluster: c1, retry_policy: {per_try_idle_timeout: 0.2s}}}]')
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody')
    t.see('head', await raw_head(c))
    c.close()
    host2 = host.asked
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody')
    t.see('whole', await raw_head(c))
    c.close()
    t.see('asked', host2)
    t.see('log', await t.logs())


RETRY = '[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: "%s", num_retries: 2, retry_back_off: {base_interval: 0.001s}}}}]'
FAILS = (503, [], b'', True)
for down2 in (False, True):
    for up2 in (False, True):
        kw = dict(down2=down2, up2=up2)
        ok = (200, [], b'hi', False) if up2 else switching() + b'hi'
        okf = (200, [], b'hi', False) if up2 else switching('foo') + b'hi'
        bad = (503, [], b'no', True) if up2 else b'HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\nno'
        moved = (302, [('location', 'http://a/else')], b'', True) if up2 else b'HTTP/1.1 302 X\r\nLocation: http://a/else\r\nContent-Length: 0\r\n\r\n'
        refused('then_granted_at_the_second_try', [bad, ok], routes=RETRY % '5xx', **kw)
        refused('early_bytes_and_a_second_try', [bad, ok], routes=RETRY % '5xx', early=b'early', waits=0.1, **kw)
        if not up2:
            refused('three_times', bad, late=b'', routes=RETRY % '5xx', **kw)
        refused('then_redirected', [moved, ok], routes='[{match: {prefix: /}, route: {cluster: c1, internal_redirect_policy: {}}}]', **kw)
        refused('with_a_buffer_filter', ok, filters=[http_filter('b', 'buffer.v3.Buffer', {'max_request_bytes': 100})], wait=0.4, **kw)
        refused('not_answered_in_the_routes_time', ok, waits=0.8, routes='[{match: {prefix: /}, route: {cluster: c1, timeout: 0.2s}}]', **kw)
        refused('not_answered_in_a_trys_time', ok, waits=0.8, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {per_try_timeout: 0.2s}}}]', **kw)
        refused('not_answered_in_the_routes_idle_time', ok, waits=0.8, routes='[{match: {prefix: /}, route: {cluster: c1, idle_timeout: 0.2s}}]', **kw)
        refused('granted_and_outlives_the_routes_time', ok, wait=0.5, routes='[{match: {prefix: /}, route: {cluster: c1, timeout: 0.2s}}]', **kw)
        refused('granted_and_outlives_a_trys_time', ok, wait=0.5, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, per_try_timeout: 0.2s}}}]', **kw)
        refused('granted_and_idle_a_trys_time', ok, wait=0.6, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, per_try_idle_timeout: 0.2s}}}]', **kw)
        refused('idle_a_trys_time', ok, waits=0.8, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {per_try_idle_timeout: 0.2s}}}]', **kw)
        refused('foo_idle_a_trys_time', okf, kind='foo', waits=0.5, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {per_try_idle_timeout: 0.2s}}}]', **kw)
        refused('foo_not_answered_in_a_trys_time', okf, kind='foo', waits=0.5, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {per_try_timeout: 0.2s}}}]', **kw)
        refused('granted_and_idle', ok, wait=0.8, routes='[{match: {prefix: /}, route: {cluster: c1, idle_timeout: 0.3s}}]', **kw)
        refused('granted_for_a_while', ok, wait=0.8, routes='[{match: {prefix: /}, route: {cluster: c1, max_stream_duration: {max_stream_duration: 0.3s}}}]', **kw)
        refused('granted_for_a_while_by_the_cluster', ok, wait=0.8, hpo={'common_http_protocol_options': {'max_stream_duration': '0.3s'}, **({} if up2 else {'explicit_http_config': {'http_protocol_options': {}}})}, **kw)
        refused('granted_for_a_while_by_the_listener', ok, wait=0.8, opts={'common_http_protocol_options': {'max_stream_duration': '0.3s'}}, **kw)
        refused('refused_and_hangs_beyond_the_routes_time', (403, [], b'no', False) if up2 else b'HTTP/1.1 403 X\r\n\r\nno', wait=0.6, routes='[{match: {prefix: /}, route: {cluster: c1, timeout: 0.2s}}]', **kw)
        refused('request_time', ok, wait=0.6, waits=0.1, opts={'request_timeout': '0.3s'}, **kw)


def mirrored(down2, up2, kind):
    @case('mirrored_%s_h%d_h%d' % (kind, 2 if down2 else 1, 2 if up2 else 1), timeout=20)
    async def f(t):
        """An upgrade with a mirror: what the copy is."""
        answer = (200, [], b'hi', False) if up2 else switching(kind) + b'hi'
        host, copy = (Host2 if up2 else Host)(answer), (Host2 if up2 else Host)(answer)
        u2 = await (t.h2up('u2', copy) if up2 else t.up('u2', conn=copy))
        await begin(t, up2, host, '[{match: {prefix: /}, route: {cluster: c1, request_mirror_policies: [{cluster: c2}]}}]', clusters=[cluster('c2', u2, h2=UP2 if up2 else False)])
        await (from_h2(t, extended(kind)) if down2 else from_h1(t, asking(kind)))
        await t.until(lambda: copy.asked, 1)
        await t.until(copy.is_over, 0.5)
        host.seen(t)
        t.see('copy', [copy.asked, [g.decode() for g in copy.got] if not up2 else [s.s['body'].decode() for s in copy.streams]])
        t.see('stats', await t.stats(regex=STATS.replace('c1', 'c[12]')))
        t.see('log', await t.logs())


for kind in ('websocket', 'foo'):
    for pair in ((False, False), (False, True), (True, False), (True, True)):
        mirrored(*pair, kind)
