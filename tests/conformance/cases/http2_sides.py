"""HTTP/2 seen frame by frame on both sides: settings and their order, windows, GOAWAY and its codes, limits, floods, keepalive."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %PROTOCOL% r=%BYTES_RECEIVED% s=%BYTES_SENT%'
STATS = (r'^http\.in\.downstream_(cx_(destroy_(remote|local)_active_rq|protocol_error|drain_close|max_requests_reached)|rq_(.xx|rx_reset|tx_reset|too_many_premature_resets))$|'
         r'^cluster\.c1\.(upstream_rq_(total|rx_reset|tx_reset|.xx|retry|retry_success|cancelled|pending_total|pending_overflow|active_overflow)|'
         r'upstream_cx_(total|close_notify|protocol_error|destroy|destroy_(remote|local)(_with_active_rq)?|max_requests|overflow))$|'
         r'^(cluster\.c1\.|)http2\.(rx_reset|tx_reset|goaway_sent|header_overflow|inbound_.*|outbound_.*|keepalive_timeout|rx_messaging_error|stream_refused_errors|trailers|dropped_headers_with_underscores|requests_rejected_with_underscores_in_headers|metadata_empty_frames)$')
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9


def frame(kind, flags, sid, body=b''):
    return len(body).to_bytes(3, 'big') + bytes((kind, flags)) + sid.to_bytes(4, 'big') + body


def u32(n):
    return n.to_bytes(4, 'big')


def literal(*fields):
    return b''.join(b'\0' + bytes((len(k),)) + k.encode() + bytes((len(v),)) + v.encode() for k, v in fields)


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b''.join(k.to_bytes(2, 'big') + u32(v) for k, v in pairs))


class Wire:
    """A peer that writes frames as it likes and keeps those that it gets, each as (type, flags, stream, body)."""

    def __init__(self, r, w):
        self.r, self.w, self.buf, self.frames, self.eof = r, w, b'', [], False
        self.changed = asyncio.Condition()

    async def read(self, preface=False):
        while True:
            try:
                d = await self.r.read(65536)
            except OSError:
                d = b''
            self.buf += d
            if preface and len(self.buf) >= 24:
                self.buf, preface = self.buf[24:], False
            while not preface and len(self.buf) >= 9 and len(self.buf) >= 9 + int.from_bytes(self.buf[:3], 'big'):
                n = 9 + int.from_bytes(self.buf[:3], 'big')
                f, self.buf = self.buf[:n], self.buf[n:]
                self.frames.append((f[3], f[4], int.from_bytes(f[5:9], 'big'), f[9:]))
            self.eof = not d
            async with self.changed:
                self.changed.notify_all()
            if not d:
                return

    def send(self, *frames):
        self.w.write(b''.join(frames))

    def of(self, kind):
        return [f for f in self.frames if f[0] == kind]

    async def wait(self, pred, timeout=2):
        async def go():
            async with self.changed:
                await self.changed.wait_for(lambda: pred() or self.eof)
        try:
            await asyncio.wait_for(go(), timeout)
        except asyncio.TimeoutError:
            pass
        return bool(pred())

    def shown(self, *kinds):
        """Frames without what changes: heads by their flags alone, GOAWAY without the words of whoever wrote the codec."""
        out = []
        for kind, flags, sid, body in self.frames:
            if kind == GOAWAY:
                body = body[:8]
            if kind in kinds:
                out.append([kind, flags, sid, body.hex() if kind not in (DATA, HEADERS) else len(body) if kind == DATA else None])
        return out


class WireUp(Up):
    """An upstream of such peers: `script(wire, n)` runs for each connection."""

    def __init__(self, t, name, script):
        super().__init__(t, name)
        self.script, self.wires = script, []

    async def _conn(self, r, w):
        self.tasks.add(asyncio.current_task())
        self.conns += 1
        wire = Wire(r, w)
        self.wires.append(wire)
        reading = asyncio.ensure_future(wire.read(preface=True))
        self.tasks.add(reading)
        try:
            await self.script(wire, self.conns)
            await reading
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            w.close()


async def up(t, script):
    u = await WireUp(t, 'u1', script).listen()
    t.ups.append(u)
    return u


async def client(t, first=settings()):
    c = await t.conn()
    wire = Wire(c.r, c.w)
    wire.send(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', first)
    t.bg.append(asyncio.ensure_future(wire.read()))
    return wire


ASK = literal((':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a'))
POST = literal((':method', 'POST'), (':scheme', 'http'), (':path', '/'), (':authority', 'a'))
OK = b'\x88'
DIRECT = '[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}]'


def ask(sid, end=True, block=ASK):
    return frame(HEADERS, 4 | (1 if end else 0), sid, block)


def answering(*more, first=settings(), data=b'hi'):
    """A host that answers each request at once with `data`; `more` goes out before the answer."""
    async def script(w, n):
        w.send(first)
        seen = 0
        while await w.wait(lambda: len(w.of(HEADERS)) > seen, 10) and not w.eof:
            sid = w.of(HEADERS)[seen][2]
            seen += 1
            w.send(*[f(sid) if callable(f) else f for f in more], frame(HEADERS, 4, sid, OK), frame(DATA, 1, sid, data))
    return script


async def silent(w, n):
    """A host that answers nothing."""
    w.send(settings())


async def run(t, script, opts=None, h2=True, copts=None, routes=None, extra=None, hpo=None):
    u = await up(t, script)
    await t.start(simple(t, clusters=[cluster('c1', u, copts, h2=h2, hpo=hpo)], opts=opts, log=LOG, routes=routes, extra=extra))
    return u


async def finish(t):
    t.see('stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())


# ---- what either side says first

def greeted(name, h2='{}', opts='{}'):
    @case('greeting_' + name, timeout=20)
    async def f(t):
        """SETTINGS and windows of both sides, in order."""
        u = await run(t, answering(), h2=h2, opts=opts)
        w = await client(t)
        w.send(ask(1))
        await w.wait(lambda: w.of(DATA))
        for wire in (w, u.wires[0]):
            await wire.wait(lambda: [f for f in wire.of(SETTINGS) if f[1] & 1])
        t.see('to the client', w.shown(SETTINGS, WINDOW))
        t.see('to the host', u.wires[0].shown(SETTINGS, WINDOW))
        t.see('log', await t.logs())


greeted('usual')
ALL = '{hpack_table_size: 100, max_concurrent_streams: 7, initial_stream_window_size: 70000, initial_connection_window_size: 80000, allow_connect: true, allow_metadata: true}'
greeted('all', ALL, '{http2_protocol_options: %s}' % ALL)
greeted('least', '{hpack_table_size: 0, max_concurrent_streams: 1, initial_stream_window_size: 65535, initial_connection_window_size: 65535}', '{http2_protocol_options: {hpack_table_size: 0, max_concurrent_streams: 1, initial_stream_window_size: 65535, initial_connection_window_size: 65535}}')
greeted('most', '{hpack_table_size: 65536, max_concurrent_streams: 2147483647, initial_stream_window_size: 2147483647, initial_connection_window_size: 2147483647}', '{http2_protocol_options: {hpack_table_size: 65536, max_concurrent_streams: 2147483647, initial_stream_window_size: 2147483647, initial_connection_window_size: 2147483647}}')
OWN = '{custom_settings_parameters: [{identifier: 0x10, value: 5}, {identifier: 0x20, value: 6}], hpack_table_size: 512}'
greeted('own_parameters', OWN, '{http2_protocol_options: %s}' % OWN)


# ---- limits and windows

def body_of(name, n, h2='{}', opts='{}', parts=1):
    @case('windows_' + name, timeout=20)
    async def f(t):
        """WINDOW_UPDATE for a request's body, and for an answer's."""
        async def script(w, k):
            w.send(settings(), frame(WINDOW, 0, 0, u32(1 << 24)))
            await w.wait(lambda: sum(len(f[3]) for f in w.of(DATA)) >= n, 5)
            w.send(frame(HEADERS, 4, 1, OK))
            for i in range(0, n, 16384):
                w.send(frame(DATA, 1 if i + 16384 >= n else 0, 1, b'x' * min(16384, n - i)))
        u = await run(t, script, h2=h2, opts=opts)
        w = await client(t, settings((4, 1 << 24)) + frame(WINDOW, 0, 0, u32(1 << 24)))
        w.send(frame(HEADERS, 4, 1, POST))
        for i in range(0, n, 16384):
            w.send(frame(DATA, 1 if i + 16384 >= n else 0, 1, b'x' * min(16384, n - i)))
        await w.wait(lambda: sum(len(f[3]) for f in w.of(DATA)) >= n, 5)

        def sums(wire):
            out = {}
            for _, _, sid, body in wire.of(WINDOW):
                out.setdefault(sid, []).append(int.from_bytes(body, 'big'))
            return [[sid, sum(v)] for sid, v in sorted(out.items())]
        t.see('to the client', sums(w))
        t.see('to the host', sums(u.wires[0]))
        await finish(t)


body_of('of_small_bodies', 1000)
body_of('of_60000', 60000)
body_of('of_60000_in_small_windows', 60000, '{initial_stream_window_size: 65535, initial_connection_window_size: 65535}', '{http2_protocol_options: {initial_stream_window_size: 65535, initial_connection_window_size: 65535}}')


def streams_of(name, most_peer, most_own, n=3):
    @case('streams_' + name, timeout=20)
    async def f(t):
        """How many requests share a connection to a host, by its limit and ours."""
        async def script(w, k):
            w.send(settings(*([(3, most_peer)] if most_peer is not None else [])))
            await w.wait(lambda: w.of(SETTINGS) and [f for f in w.of(SETTINGS) if f[1] & 1], 2)
            await w.wait(lambda: False, 0.4)
            for f in w.of(HEADERS):
                w.send(frame(HEADERS, 4, f[2], OK), frame(DATA, 1, f[2], b'hi'))
            seen = len(w.of(HEADERS))
            while await w.wait(lambda: len(w.of(HEADERS)) > seen, 5) and not w.eof:
                sid = w.of(HEADERS)[seen][2]
                seen += 1
                w.send(frame(HEADERS, 4, sid, OK), frame(DATA, 1, sid, b'hi'))
        u = await run(t, script, h2='{max_concurrent_streams: %d}' % most_own if most_own else '{}')
        w = await client(t)
        for i in range(n):
            w.send(ask(1 + 2 * i))
        await w.wait(lambda: len([f for f in w.frames if f[1] & 1 and f[0] in (DATA, HEADERS)]) == n, 5)
        t.see('answers', len(w.of(DATA)))
        t.see('by connection', sorted(len(x.of(HEADERS)) for x in u.wires))
        await finish(t)


streams_of('by_our_limit', None, 1)
streams_of('by_our_limit_of_two', None, 2)
streams_of('by_the_hosts_limit_of_none', 0, None, 1)


# ---- GOAWAY

def hosts_goaway(name, frames, n=1, routes=None, twice=False):
    @case('goaway_of_host_' + name, timeout=20)
    async def f(t):
        """GOAWAY right before an answer, and what is counted of it."""
        u = await run(t, answering(*frames), routes=routes)
        w = await client(t)
        for i in range(n):
            w.send(ask(1 + 2 * i))
            await w.wait(lambda: len([f for f in w.frames if f[1] & 1 and f[0] in (DATA, HEADERS)]) == i + 1, 2)
        t.see('answers', [[f[0], f[1], f[2]] for f in w.frames if f[0] in (DATA, HEADERS, RST)])
        t.see('connections', len(u.wires))
        await t.until(lambda: u.wires[0].eof, 1)
        t.see('to the host', u.wires[0].shown(GOAWAY, RST, PING))
        await finish(t)


def goaway(last, code=0, text=b''):
    return lambda sid: frame(GOAWAY, 0, 0, u32(sid if last is None else last) + u32(code) + text)


for code in (0, 1, 2, 11, 13):
    hosts_goaway('before_the_answer_%d' % code, [goaway(None, code)])
hosts_goaway('before_the_answer_with_text', [goaway(None, 0, b'bye')])
hosts_goaway('of_most_before_the_answer', [goaway(0x7fffffff)])
hosts_goaway('twice_before_the_answer', [goaway(0x7fffffff), goaway(None)])
hosts_goaway('then_another_request', [goaway(None)], 2)
hosts_goaway('of_no_stream', [goaway(0)])
hosts_goaway('of_no_stream_retried', [goaway(0)], routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: refused-stream, num_retries: 1}}}]')
hosts_goaway('of_no_stream_enhance', [goaway(0, 11)])
hosts_goaway('that_grows', [goaway(1), goaway(3)])
hosts_goaway('of_an_even_stream', [goaway(2)])


def clients_goaway(name, *frames):
    @case('goaway_of_client_' + name, timeout=20)
    async def f(t):
        await run(t, answering())
        w = await client(t)
        w.send(ask(1, False, POST), *frames, frame(DATA, 1, 1, b'body'))
        await w.wait(lambda: w.of(DATA), 1)
        t.see('answers', [[f[0], f[1], f[2]] for f in w.frames if f[0] in (DATA, HEADERS, RST)])
        w.send(ask(3))
        await w.wait(lambda: len(w.of(DATA)) > 1, 0.4)
        t.see('then', w.shown(GOAWAY, DATA, RST))
        await finish(t)


clients_goaway('of_nothing', frame(GOAWAY, 0, 0, u32(0) + u32(0)))
clients_goaway('with_an_error', frame(GOAWAY, 0, 0, u32(0) + u32(2)))
clients_goaway('of_most', frame(GOAWAY, 0, 0, u32(0x7ffffffe) + u32(0)))
clients_goaway('short', frame(GOAWAY, 0, 0, u32(0)))


# ---- what breaks a connection, and what is said of it

def broken(name, *frames, opts='{}', first=settings(), spare=False):
    @case('broken_' + name + ('_spared' if spare else ''), timeout=20)
    async def f(t):
        """A request waits on the connection meanwhile."""
        o = Y(opts)
        if spare:
            merge(o, {'http2_protocol_options': {'override_stream_error_on_invalid_http_message': True}})
        u = await run(t, silent, opts=o)
        w = await client(t, first)
        w.send(ask(1, False, POST))
        await t.until(lambda: u.wires and u.wires[0].of(HEADERS), 2)
        w.send(*frames)
        await w.wait(lambda: w.of(GOAWAY) or w.of(RST), 0.5)
        await w.wait(lambda: w.eof, 0.3)
        t.see('told', w.shown(GOAWAY, RST))
        t.see('closed', w.eof)
        await finish(t)


broken('setting_of_enable_push_2', settings((2, 2)))
broken('setting_of_frame_size', settings((5, 100)))
broken('setting_of_window', settings((4, 0x80000000)))
broken('setting_of_connect_2', settings((8, 2)))
broken('settings_of_a_stream', frame(SETTINGS, 0, 1))
broken('settings_ack_with_body', frame(SETTINGS, 1, 0, bytes(6)))
broken('settings_of_five_bytes', frame(SETTINGS, 0, 0, bytes(5)))
broken('ping_of_seven_bytes', frame(PING, 0, 0, bytes(7)))
broken('ping_of_a_stream', frame(PING, 0, 1, bytes(8)))
broken('priority_of_four_bytes', frame(PRIORITY, 0, 1, bytes(4)))
broken('priority_of_itself', frame(PRIORITY, 0, 1, u32(1) + b'\1'))
broken('reset_of_idle', frame(RST, 0, 9, u32(8)))
broken('reset_of_nothing', frame(RST, 0, 0, u32(8)))
broken('reset_of_three_bytes', frame(RST, 0, 1, bytes(3)))
broken('data_of_idle', frame(DATA, 0, 9, b'x'))
broken('data_of_nothing', frame(DATA, 0, 0, b'x'))
broken('data_of_pure_padding', frame(DATA, 8, 1, b'\5x'))
broken('headers_of_even', ask(2))
broken('headers_of_nothing', ask(0))
broken('headers_below', ask(5), ask(3))
broken('headers_on_itself', frame(HEADERS, 0x24 | 1, 3, u32(3) + b'\1' + ASK))
broken('headers_twice', ask(1, False))
broken('continuation_alone', frame(CONTINUATION, 4, 1, ASK))
broken('continuation_of_another', frame(HEADERS, 0, 3, ASK), frame(CONTINUATION, 4, 5, b''))
broken('frame_between_continuations', frame(HEADERS, 0, 3, ASK), frame(PING, 0, 0, bytes(8)))
broken('push_promise', frame(5, 4, 1, u32(2) + ASK))
broken('frame_too_large', frame(DATA, 0, 1, bytes(16385)))
broken('hpack_index_beyond', frame(HEADERS, 5, 3, b'\xff\x7f'))
broken('hpack_resize_too_large', frame(HEADERS, 5, 3, b'\x3f\xe1\xff\x03' + ASK))
broken('hpack_resize_at_the_end', frame(HEADERS, 5, 3, ASK + b'\x20'))
broken('hpack_cut', frame(HEADERS, 5, 3, ASK[:-3]))
for spare in (False, True):
    broken('upper_case', ask(3, True, ASK + literal(('X-A', 'b'))), spare=spare)
    broken('no_path', ask(3, True, literal((':method', 'GET'), (':scheme', 'http'), (':authority', 'a'))), spare=spare)
    broken('length_too_short', ask(3, False, POST + literal(('content-length', '1'))), frame(DATA, 1, 3, b'two'), spare=spare)
    broken('trailers_with_pseudo', frame(HEADERS, 5, 1, literal((':path', '/'))), spare=spare)
    broken('trailers_without_end', frame(HEADERS, 4, 1, literal(('a', 'b'))), spare=spare)
    broken('te_other', ask(3, True, ASK + literal(('te', 'gzip'))), spare=spare)

FLOODS = '{http2_protocol_options: {%s}}'
broken('flood_of_pings', *[frame(PING, 0, 0, bytes(8))] * 40, opts=FLOODS % 'max_outbound_control_frames: 3')
broken('flood_of_settings', *[settings()] * 40, opts=FLOODS % 'max_outbound_control_frames: 3')
broken('flood_of_empty_data', *[frame(DATA, 0, 1)] * 5, opts=FLOODS % 'max_consecutive_inbound_frames_with_empty_payload: 2')
broken('flood_of_empty_data_spared', *[frame(DATA, 0, 1)] * 5, opts=FLOODS % 'max_consecutive_inbound_frames_with_empty_payload: 2', spare=True)
broken('flood_of_priorities', *[frame(PRIORITY, 0, 9, bytes(4) + b'\1')] * 60, opts=FLOODS % 'max_inbound_priority_frames_per_stream: 2')
broken('flood_of_windows', *[frame(WINDOW, 0, 1, u32(1))] * 60, opts=FLOODS % 'max_inbound_window_update_frames_per_data_frame_sent: 1')
broken('streams_beyond', ask(3, False, POST), ask(5, False, POST), opts=FLOODS % 'max_concurrent_streams: 1')


# ---- keepalive

def kept(name, opts, answers=True, idle=False):
    @case('keepalive_' + name, timeout=20)
    async def f(t):
        """PINGs to a client, answered and not."""
        await run(t, silent, opts='{http2_protocol_options: {connection_keepalive: %s}}' % opts)
        w = await client(t)
        if not idle:
            w.send(ask(1, False, POST))
        if answers:
            for _ in range(2):
                n = len(w.of(PING))
                await w.wait(lambda: len(w.of(PING)) > n, 2)
                w.send(*[frame(PING, 1, 0, f[3]) for f in w.of(PING)[n:]])
        await w.wait(lambda: w.eof, 3)
        t.see('pinged', min(len(w.of(PING)), 2))
        t.see('told', [w.shown(GOAWAY, RST), w.eof])
        await finish(t)


kept('unanswered', '{interval: 0.2s, timeout: 0.1s, interval_jitter: {value: 0}}', False)
kept('unanswered_without_streams', '{interval: 0.2s, timeout: 0.1s, interval_jitter: {value: 0}}', False, True)
kept('after_idle_alone', '{connection_idle_interval: 0.2s, timeout: 0.1s}', False)
