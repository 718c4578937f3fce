"""Scripted HTTP/1.1 upstreams."""
import asyncio
import os
import sys

from .http1 import Closed, H1Stream, Msg, resp


class UpConn(H1Stream):
    def __init__(self, r, w, up, idx):
        super().__init__(r, w)
        self.up, self.idx, self.n = up, idx, 0

    async def read_request(self, body=True, cont=True):
        """Parses one request; records it in up.reqs. None at end of stream."""
        try:
            l = await self.line()
            parts = l.decode('latin1').split(' ')
            hs = await self.headers()
        except Closed:
            return None
        m = Msg(method=parts[0], path=' '.join(parts[1:-1]), version=parts[-1], raw_headers=hs, body=b'',
                trailers=[], conn=self.idx, up=self.up.name)
        self.up.reqs.append(m)
        self.n += 1
        m['n'] = len(self.up.reqs)
        if body:
            if cont and (m.h('expect') or '').lower() == '100-continue':
                self.send(b'HTTP/1.1 100 Continue\r\n\r\n')
            await self.read_body(m)
        return m

    async def read_body(self, m):
        try:
            if (m.h('transfer-encoding') or '').lower() == 'chunked':
                m['body'], m['trailers'], m['chunks'] = await self.chunked()
            elif m.h('content-length'):
                n = int(m.h('content-length'))
                while len(self.buf) < n:
                    if not await self.fill():
                        m['body'], self.buf = self.buf, b''
                        m['aborted'] = True
                        return
                m['body'] = await self.exactly(n)
        except Closed:
            m['aborted'] = True


class Up:
    """Scripted HTTP/1 upstream. respond(req, n) -> bytes | None(close) ; or conn(c) coroutine."""
    proto = 'h1'

    def __init__(self, t, name, respond=None, conn=None, addr='127.0.0.1', port=None, delay=0, tls=None):
        self.t, self.name, self.respond, self.connfn, self.addr = t, name, respond, conn, addr
        self.port = port or t.port(name)
        self.delay, self.tls = delay, tls
        self.reqs, self.conns, self.tasks = [], 0, set()
        self.closed_conns = 0
        self.live = []
        self.srv = None

    async def listen(self):
        self.srv = await asyncio.start_server(self._conn, self.addr, self.port, ssl=self.tls, limit=2**20,
                                              reuse_address=True)
        return self

    async def _conn(self, r, w):
        self.tasks.add(asyncio.current_task())
        self.conns += 1
        c = UpConn(r, w, self, self.conns)
        self.live.append(c)
        try:
            if self.connfn:
                await self.connfn(c)
            else:
                await self.serve(c)
        except (Closed, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as e:
            if os.environ.get('CASE_TRACE'):
                print('upstream error', self.t.case.id, repr(e), file=sys.stderr)
        finally:
            self.closed_conns += 1
            if c in self.live:
                self.live.remove(c)
            c.close()

    async def serve(self, c):
        while True:
            m = await c.read_request()
            if m is None:
                return
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.respond is None:
                out = resp(200, self.name, [('x-up', self.name)])
            else:
                out = self.respond(m, m['n'])
                if asyncio.iscoroutine(out):
                    out = await out
            if out is None:
                return
            if out == 'reset':
                c.reset()
                return
            c.send(out)
            await c.drain()

    async def stop(self):
        if self.srv:
            self.srv.close()
            self.srv = None
        for x in list(self.tasks):
            x.cancel()
        for c in list(self.live):
            c.close()

    @property
    def paths(self):
        return [m['path'] for m in self.reqs]


