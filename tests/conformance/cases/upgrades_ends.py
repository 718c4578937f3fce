"""How tunnels end: WebSockets and CONNECT (forwarded, and terminated to TCP) over each pair of versions; who sends what end first,
resets, GOAWAY, idle time, a drain; what the other side sees of it, and what is counted and logged."""
from harness import *

LOG = ('%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% r=%BYTES_RECEIVED% s=%BYTES_SENT% %PROTOCOL% '
       'uw=%UPSTREAM_WIRE_BYTES_RECEIVED% dw=%DOWNSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_TRANSPORT_FAILURE_REASON%')
OPTS = '{upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}], http2_protocol_options: {allow_connect: true}}'
STATS = (r'^http\.in\.downstream_(cx_(upgrades_active|destroy_(remote|local)(_active_rq)?|drain_close|protocol_error|idle_timeout)|'
         r'rq_(.xx|rx_reset|tx_reset|timeout|idle_timeout|response_before_rq_complete))$|'
         r'^cluster\.c1\.(upstream_rq_(active|rx_reset|tx_reset|.xx|timeout|cancelled|completed)|'
         r'upstream_cx_(active|close_notify|destroy|destroy_(remote|local)(_with_active_rq)?|protocol_error)|http2\.(rx_reset|tx_reset|goaway_sent))$')
CONNECT_ROUTE = """
- match: {connect_matcher: {}}
  route: {cluster: c1, upgrade_configs: [{upgrade_type: CONNECT%s}]%s}
- {match: {prefix: /}, route: {cluster: c1%s}}
"""


class H1Side:
    """A tunnel's end over HTTP/1, or over bare TCP."""

    def __init__(self, c):
        self.c, self.body = c, b''

    async def upto(self, n, timeout=2):
        end = time.monotonic() + timeout
        while len(self.c.buf) < n and not self.c.eof and time.monotonic() < end:
            try:
                await asyncio.wait_for(self.c.fill(), end - time.monotonic())
            except asyncio.TimeoutError:
                break

    async def say(self, data):
        self.c.send(data)
        await self.c.drain()

    async def end(self):
        self.c.shut_wr()

    async def reset(self):
        self.c.reset()

    async def goaway(self):
        pass

    async def sees(self, timeout):
        state = await self.c.state(timeout)
        # Whether a close is a FIN or a reset hangs on what the proxy has not read.
        return [state.replace('data+', '').replace('data', 'open'), self.c.buf.decode('latin-1')]


class H2End:
    """The same as a stream of HTTP/2."""

    def __init__(self, side, sid):
        self.side, self.sid = side, sid

    async def upto(self, n, timeout=2):
        await self.side.wait(lambda: len(self.side.st(self.sid)['body']) >= n, timeout)

    async def say(self, data):
        await self.side.send_data(self.sid, data)

    async def end(self):
        await self.side.send_data(self.sid, b'', end=True)

    async def reset(self):
        self.side.c.reset_stream(self.sid, 8)
        self.side.flush()

    async def goaway(self):
        self.side.raw(b'\x00\x00\x08\x07\x00\x00\x00\x00\x00' + struct.pack('>II', 0 if self.side.client else self.sid, 0))
        await self.side.w.drain()

    async def sees(self, timeout):
        m = self.side.st(self.sid)
        await self.side.wait(lambda: m['ended'] or self.side.eof, timeout)
        how = 'ended' if m.get('complete') else 'reset' if m['reset'] is not None else 'cut' if self.side.eof else 'open'
        return [how, m['reset'], m['body'].decode('latin-1')]


class Host:
    """The other end: grants what is asked for and keeps its side of the tunnel."""

    def __init__(self, kind):
        self.kind, self.tunnel, self.over = kind, None, asyncio.Event()

    async def h1(self, c):
        if self.kind != 'tcp':
            await c.read_request(body=False)
            c.send(b'HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n' if self.kind == 'ws' else b'HTTP/1.1 200 X\r\n\r\n')
            await c.drain()
        self.tunnel = H1Side(c)
        await self.over.wait()

    async def h2(self, s):
        s.respond(200, [])
        self.tunnel = H2End(s.conn, s.sid)


async def opened(t, kind, down2, up2, idle='', opts=None, hpo=None, extra=None, lextra=None):
    """Both ends of a tunnel that has carried something each way."""
    host = Host(kind)
    u = await (t.h2up('u1', host.h2) if up2 else t.up('u1', conn=host.h1))
    o = Y(OPTS)
    merge(o, Y(opts) or {})
    routes = CONNECT_ROUTE % (', connect_config: {}' if kind == 'tcp' else '', idle, idle)
    await t.start(simple(t, clusters=[cluster('c1', u, h2='{allow_connect: true}' if up2 else False, hpo=hpo)], routes=routes, opts=o, log=LOG, extra=extra, lextra=lextra))
    if down2:
        c = await t.h2()
        head = [(':method', 'CONNECT'), (':authority', 'a:1')]
        sid = c.request(head if kind != 'ws' else [*head, (':protocol', 'websocket'), (':scheme', 'http'), (':path', '/')], end=False)
        await c.wait(lambda: c.st(sid)['headers'] or c.st(sid)['ended'], 2)
        client = H2End(c, sid)
    else:
        c = await t.conn()
        c.send(build('/', 'GET', [('connection', 'upgrade'), ('upgrade', 'websocket')], 'a') if kind == 'ws' else b'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n')
        await c.response('CONNECT', 2)
        client = H1Side(c)
    await t.until(lambda: host.tunnel, 2)
    await client.say(b'up')
    await host.tunnel.upto(2)
    await host.tunnel.say(b'down')
    await client.upto(4)
    return host, client


async def finish(t, host, client, hurry=0.3):
    t.see('client', await client.sees(hurry))
    t.see('host', await host.tunnel.sees(hurry))
    t.see('stats', await t.stats(regex=STATS))
    client.side.close() if isinstance(client, H2End) else client.c.close()
    await t.stat_until('http.in.downstream_rq_active', lambda v: v == 0, 2)
    host.over.set()
    t.see('log', await t.logs())


async def client_ends(t, host, client):
    await client.end()


async def client_ends_then_host(t, host, client):
    await client.end()
    await host.tunnel.sees(0.3)
    await host.tunnel.say(b'more')
    await host.tunnel.end()


async def host_ends(t, host, client):
    await host.tunnel.end()


async def host_ends_then_client(t, host, client):
    await host.tunnel.end()
    await client.sees(0.3)
    await client.say(b'more')
    await client.end()


async def host_says_and_ends(t, host, client):
    await host.tunnel.say(b'last' * 5000)
    await host.tunnel.end()
    await client.upto(20004)


async def client_says_and_ends(t, host, client):
    await client.say(b'last' * 5000)
    await client.end()
    await host.tunnel.upto(20002)


async def client_resets(t, host, client):
    await client.reset()


async def host_resets(t, host, client):
    await host.tunnel.reset()


async def nobody_speaks(t, host, client):
    await client.sees(1.2)


async def listeners_drain(t, host, client):
    await t.admin('/drain_listeners', 'POST')
    await client.sees(0.3)
    await client.say(b'behind the drain')
    await host.tunnel.upto(18)


async def client_says_goaway(t, host, client):
    await client.goaway()
    await client.say(b'behind')
    await host.tunnel.upto(8)


async def host_says_goaway(t, host, client):
    await host.tunnel.goaway()
    await host.tunnel.say(b'behind')
    await client.upto(10)


def ends(act, only=lambda down2, up2: True, **kw):
    for kind in ('ws', 'connect', 'tcp'):
        for down2 in (False, True):
            for up2 in (False, True):
                if not only(down2, up2) or (kind == 'tcp' and up2):
                    continue

                def make(kind=kind, down2=down2, up2=up2):
                    @case('end_%s_h%d_%s_%s' % (kind, 2 if down2 else 1, 'tcp' if kind == 'tcp' else 'h2' if up2 else 'h1', act.__name__), timeout=30)
                    async def f(t):
                        host, client = await opened(t, kind, down2, up2, **kw)
                        await act(t, host, client)
                        await finish(t, host, client)
                make()


ends(client_ends)
ends(client_ends_then_host)
ends(host_ends)
ends(host_ends_then_client)
ends(host_says_and_ends)
ends(client_says_and_ends)
ends(client_resets)
ends(host_resets)
ends(nobody_speaks, idle=', idle_timeout: 0.3s')
ends(listeners_drain)
ends(client_says_goaway, lambda down2, up2: down2)
ends(host_says_goaway, lambda down2, up2: up2)
