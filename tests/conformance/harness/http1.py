"""HTTP/1.1 as bytes: a parsing stream for both sides, messages, request and response builders."""
import asyncio
import base64
import hashlib
import socket
import ssl
import struct
import time


class Closed(Exception):
    pass


class H1Stream:
    """Byte stream with HTTP/1 message parsing; used for clients and upstreams."""

    def __init__(self, r, w):
        self.r, self.w, self.buf, self.eof, self.err = r, w, b'', False, None
        self.rx = 0

    async def fill(self):
        if self.eof:
            return False
        try:
            d = await self.r.read(65536)
        except (OSError, ssl.SSLError):
            self.eof, self.err = True, 'reset'
            return False
        if not d:
            self.eof = True
            return False
        self.rx += len(d)
        self.buf += d
        return True

    async def line(self):
        while b'\n' not in self.buf:
            if not await self.fill():
                raise Closed()
        l, self.buf = self.buf.split(b'\n', 1)
        return l.rstrip(b'\r')

    async def exactly(self, n):
        while len(self.buf) < n:
            if not await self.fill():
                raise Closed()
        d, self.buf = self.buf[:n], self.buf[n:]
        return d

    async def headers(self):
        hs = []
        while True:
            l = await self.line()
            if l == b'':
                return hs
            k, _, v = l.partition(b':')
            hs.append((k.decode('latin1'), v.strip().decode('latin1')))

    async def chunked(self, on=None):
        body = b''
        chunks = []
        while True:
            n = int((await self.line()).split(b';')[0], 16)
            if n == 0:
                tr = await self.headers()
                return body, tr, chunks
            d = await self.exactly(n)
            chunks.append(n)
            body += d
            if on:
                on(d)
            await self.exactly(2)

    def send(self, b):
        if isinstance(b, str):
            b = b.encode('latin1')
        try:
            self.w.write(b)
        except Exception:
            pass

    async def drain(self):
        try:
            await self.w.drain()
        except Exception:
            pass

    def close(self):
        try:
            self.w.close()
        except Exception:
            pass

    def shut_wr(self):
        try:
            self.w.write_eof()
        except Exception:
            pass

    def reset(self):
        """Abort with a TCP RST."""
        try:
            s = self.w.get_extra_info('socket')
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.w.transport.abort()
        except Exception:
            pass

    async def state(self, timeout=1.0):
        """'closed' when the peer closes within timeout, else 'open' ('data' if bytes came)."""
        end = time.monotonic() + timeout
        while not self.eof:
            left = end - time.monotonic()
            if left <= 0:
                return 'data' if self.buf else 'open'
            try:
                await asyncio.wait_for(self.fill(), left)
            except asyncio.TimeoutError:
                return 'data' if self.buf else 'open'
        return 'data+closed' if self.buf else 'closed'


def hget(hs, name, default=None):
    for k, v in hs:
        if k.lower() == name.lower():
            return v
    return default


def hall(hs, name):
    return [v for k, v in hs if k.lower() == name.lower()]


def body_repr(b, limit=600):
    if b is None:
        return None
    if len(b) <= limit:
        try:
            return b.decode('utf-8')
        except UnicodeDecodeError:
            return 'b64:' + base64.b64encode(b).decode()
    return 'len=%d sha1=%s' % (len(b), hashlib.sha1(b).hexdigest()[:16])


class Msg(dict):
    """A parsed message; attribute access for convenience."""
    __getattr__ = dict.get

    def h(self, name, default=None):
        return hget(self.get('raw_headers') or [], name, default)

    def all(self, name):
        return hall(self.get('raw_headers') or [], name)


REASON = {200: 'OK', 201: 'Created', 204: 'No Content', 206: 'Partial Content', 301: 'Moved Permanently', 302: 'Found',
          303: 'See Other', 304: 'Not Modified', 307: 'Temporary Redirect', 308: 'Permanent Redirect',
          400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found', 409: 'Conflict',
          413: 'Payload Too Large', 418: "I'm a teapot", 429: 'Too Many Requests', 500: 'Internal Server Error',
          502: 'Bad Gateway', 503: 'Service Unavailable', 504: 'Gateway Timeout', 101: 'Switching Protocols'}


def resp(status=200, body=b'', headers=(), cl=True, reason=None):
    """Bytes of an HTTP/1.1 response."""
    if isinstance(body, str):
        body = body.encode()
    if isinstance(headers, dict):
        headers = list(headers.items())
    out = 'HTTP/1.1 %d %s\r\n' % (status, reason or REASON.get(status, 'X'))
    for k, v in headers:
        out += '%s: %s\r\n' % (k, v)
    if cl and status >= 200 and status not in (204, 304):
        out += 'content-length: %d\r\n' % len(body)
    return out.encode('latin1') + b'\r\n' + body


def chunk(*parts, trailers=()):
    out = b''
    for p in parts:
        p = p.encode() if isinstance(p, str) else p
        out += b'%x\r\n%s\r\n' % (len(p), p)
    out += b'0\r\n'
    for k, v in trailers:
        out += ('%s: %s\r\n' % (k, v)).encode()
    return out + b'\r\n'


def build(path='/', method='GET', headers=(), host='test.example', body=None, version='HTTP/1.1'):
    if isinstance(headers, dict):
        headers = list(headers.items())
    out = '%s %s %s\r\n' % (method, path, version)
    if host is not None:
        out += 'Host: %s\r\n' % host
    for k, v in headers:
        out += '%s: %s\r\n' % (k, v)
    if body is not None:
        b = body if isinstance(body, bytes) else body.encode()
        names = [k.lower() for k, _ in headers]
        if 'content-length' not in names and 'transfer-encoding' not in names:
            out += 'Content-Length: %d\r\n' % len(b)
        return out.encode('latin1') + b'\r\n' + b
    return out.encode('latin1') + b'\r\n'


async def read_response(s, method='GET'):
    interim = []
    m = Msg(line=None, status=0, raw_headers=[], body=b'', trailers=[], interim=interim, err=None)
    try:
        while True:
            l = (await s.line()).decode('latin1')
            hs = await s.headers()
            parts = l.split(' ')
            st = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else -1
            if 100 <= st < 200 and st != 101:
                interim.append(Msg(line=l, raw_headers=hs))
                continue
            break
        m.update(line=l, status=st, raw_headers=hs)
        if st == 101 or method == 'HEAD' or st in (204, 304) or (method == 'CONNECT' and 200 <= st < 300):
            return m
        if 'chunked' in (m.h('transfer-encoding') or '').lower():
            acc = []
            try:
                b, tr, ch = await s.chunked(acc.append)
                m.update(body=b, trailers=tr, chunks=ch)
            except Closed:
                m['body'] = b''.join(acc)
                raise
        elif m.h('content-length') is not None:
            n = int(m.h('content-length'))
            while len(s.buf) < n:
                if not await s.fill():
                    m['body'], s.buf = s.buf, b''
                    raise Closed()
            m['body'] = await s.exactly(n)
        else:
            while await s.fill():
                pass
            m['body'], s.buf = s.buf, b''
    except Closed:
        m['err'] = 'closed'
    return m


class ClientConn(H1Stream):
    async def response(self, method='GET', timeout=5):
        try:
            return await asyncio.wait_for(read_response(self, method), timeout)
        except asyncio.TimeoutError:
            return Msg(line=None, status=-1, raw_headers=[], body=self.buf, err='timeout', interim=[])


