"""HTTP/2 on both sides, over the h2 library with its own validation off: clients and scripted upstreams."""
import asyncio
import os
import ssl
import struct
import sys
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from .http1 import Msg, hget
from .upstream import Up


class H2Side:
    """One HTTP/2 connection over asyncio, either side, built on the h2 library."""

    def __init__(self, r, w, client, settings=None, auto_window=True):
        self.r, self.w, self.client, self.auto_window = r, w, client, auto_window
        cfg = h2.config.H2Configuration(client_side=client, header_encoding='latin1', validate_inbound_headers=False,
                                        validate_outbound_headers=False, normalize_outbound_headers=False,
                                        normalize_inbound_headers=False)
        self.c = h2.connection.H2Connection(cfg)
        if settings:
            init = dict(self.c.local_settings)
            init.update(settings)
            self.c.local_settings = h2.settings.Settings(client=client, initial_values=init)
        self.streams = {}
        self.goaway = None
        self.eof = False
        self.ev = asyncio.Condition()
        self.remote_settings = {}
        self.window_ev = asyncio.Event()
        self.fbuf, self.preface, self.frames, self.goaways = b'', False, [], []
        self.metadata = []

    def start(self):
        self.c.initiate_connection()
        self.flush()

    def flush(self):
        d = self.c.data_to_send()
        if d:
            try:
                self.w.write(d)
            except Exception:
                pass

    def raw(self, b):
        try:
            self.w.write(b)
        except Exception:
            pass

    def filter_frames(self, d):
        """Takes GOAWAY frames out: the h2 library would refuse every later frame on the connection. METADATA frames,
        which it does not know, are kept as (stream, flags, payload)."""
        self.fbuf += d
        out = b''
        if not self.client and not self.preface:
            if len(self.fbuf) < 24:
                return b''
            out, self.fbuf, self.preface = self.fbuf[:24], self.fbuf[24:], True
        while len(self.fbuf) >= 9:
            n = int.from_bytes(self.fbuf[:3], 'big') + 9
            if len(self.fbuf) < n:
                break
            fr, self.fbuf = self.fbuf[:n], self.fbuf[n:]
            self.frames.append((fr[3], fr[4], int.from_bytes(fr[5:9], 'big')))
            if fr[3] == 7:
                last, code = struct.unpack('>II', fr[9:17])
                self.goaways.append(code)
                self.goaway = dict(code=code, last=last)
            elif fr[3] == 0x4d:
                self.metadata.append((int.from_bytes(fr[5:9], 'big'), fr[4], fr[9:]))
            else:
                out += fr
        return out

    async def run(self, on_stream=None):
        while True:
            try:
                d = await self.r.read(65536)
            except (ConnectionError, OSError, ssl.SSLError):
                d = b''
            if not d:
                break
            try:
                evs = self.c.receive_data(self.filter_frames(d))
            except h2.exceptions.ProtocolError as e:
                self.flush()
                self.proto_error = repr(e)
                if os.environ.get('CASE_TRACE'):
                    print('h2 protocol error', repr(e), d[:200], file=sys.stderr)
                break
            for e in evs:
                self.event(e, on_stream)
            self.flush()
            async with self.ev:
                self.ev.notify_all()
            self.window_ev.set()
        self.eof = True
        for s in self.streams.values():
            if not s.get('ended'):
                s['ended'] = True
                s.setdefault('reset', None)
                if s.get('reset') is None and not s.get('complete'):
                    s['conn_closed'] = True
        async with self.ev:
            self.ev.notify_all()
        self.window_ev.set()

    def st(self, sid):
        return self.streams.setdefault(sid, Msg(sid=sid, headers=None, raw_headers=[], body=b'', trailers=None, interim=[],
                                                reset=None, ended=False, chunks=[]))

    def event(self, e, on_stream):
        E = h2.events
        if isinstance(e, E.RequestReceived):
            s = self.st(e.stream_id)
            s['raw_headers'] = s['headers'] = list(e.headers)
            if e.stream_ended is not None:
                s['ended'] = s['complete'] = True
            if on_stream:
                on_stream(s)
        elif isinstance(e, E.InformationalResponseReceived):
            self.st(e.stream_id)['interim'].append(list(e.headers))
        elif isinstance(e, E.ResponseReceived):
            s = self.st(e.stream_id)
            s['raw_headers'] = s['headers'] = list(e.headers)
        elif isinstance(e, E.TrailersReceived):
            self.st(e.stream_id)['trailers'] = list(e.headers)
        elif isinstance(e, E.DataReceived):
            s = self.st(e.stream_id)
            s['body'] += e.data
            s['chunks'].append(len(e.data))
            if self.auto_window and e.flow_controlled_length:
                try:
                    self.c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                except Exception:
                    pass
        elif isinstance(e, E.StreamEnded):
            s = self.st(e.stream_id)
            s['ended'] = s['complete'] = True
        elif isinstance(e, E.StreamReset):
            s = self.st(e.stream_id)
            s['reset'] = int(e.error_code)
            s['ended'] = True
        elif isinstance(e, E.ConnectionTerminated):
            self.goaway = dict(code=int(e.error_code), last=e.last_stream_id)
        elif isinstance(e, E.RemoteSettingsChanged):
            for k, v in e.changed_settings.items():
                self.remote_settings[int(k)] = v.new_value

    async def wait(self, pred, timeout=5):
        end = time.monotonic() + timeout
        async with self.ev:
            while not pred():
                left = end - time.monotonic()
                if left <= 0:
                    return False
                try:
                    await asyncio.wait_for(self.ev.wait(), left)
                except asyncio.TimeoutError:
                    return bool(pred())
        return True

    async def send_data(self, sid, data, end=False, timeout=5):
        deadline = time.monotonic() + timeout
        while True:
            try:
                win = self.c.local_flow_control_window(sid)
            except Exception:
                return False
            n = min(len(data), win, self.c.max_outbound_frame_size)
            if n == 0 and data:
                self.window_ev.clear()
                left = deadline - time.monotonic()
                if left <= 0 or self.eof:
                    return False
                try:
                    await asyncio.wait_for(self.window_ev.wait(), left)
                except asyncio.TimeoutError:
                    return False
                continue
            last = n == len(data)
            try:
                self.c.send_data(sid, data[:n], end_stream=end and last)
            except Exception:
                return False
            self.flush()
            try:
                await self.w.drain()
            except Exception:
                return False
            data = data[n:]
            if last:
                return True

    def close(self):
        try:
            self.w.close()
        except Exception:
            pass


class H2Client(H2Side):
    def request(self, headers, body=None, end=True):
        sid = self.c.get_next_available_stream_id()
        self.st(sid)
        self.c.send_headers(sid, headers, end_stream=end and body is None)
        self.flush()
        if body is not None:
            self.bg = asyncio.ensure_future(self.send_data(sid, body, end))
        return sid

    def headers(self, sid, headers, end=True):
        self.c.send_headers(sid, headers, end_stream=end)
        self.flush()

    def rst(self, sid, code=8):
        self.c.reset_stream(sid, code)
        self.flush()

    async def done(self, sid, timeout=5):
        ok = await self.wait(lambda: self.st(sid)['ended'] or self.eof, timeout)
        s = self.st(sid)
        if not ok:
            s['timeout'] = True
        return s


class UpStream:
    """Server side of one h2 stream."""

    def __init__(self, conn, s, up):
        self.conn, self.s, self.up, self.sid = conn, s, up, s['sid']
        self.headers = s['headers']

    def h(self, name, d=None):
        return hget(self.headers, name, d)

    async def body(self, timeout=5):
        await self.conn.wait(lambda: self.s['ended'], timeout)
        return self.s['body']

    def respond(self, status=200, headers=(), end=False):
        hs = [(':status', str(status))] + list(headers)
        try:
            self.conn.c.send_headers(self.sid, hs, end_stream=end)
        except Exception:
            pass
        self.conn.flush()

    async def data(self, b, end=False):
        return await self.conn.send_data(self.sid, b if isinstance(b, bytes) else b.encode(), end)

    def trailers(self, hs):
        self.conn.c.send_headers(self.sid, list(hs), end_stream=True)
        self.conn.flush()

    def reset(self, code=2):
        try:
            self.conn.c.reset_stream(self.sid, code)
        except Exception:
            pass
        self.conn.flush()

    def goaway(self, code=0, last=None):
        self.conn.c.close_connection(error_code=code, last_stream_id=last)
        self.conn.flush()

    def goaway_raw(self, code=0, last=0):
        """GOAWAY that leaves the h2 library's state alone, so that open streams can finish."""
        self.conn.raw(b'\x00\x00\x08\x07\x00\x00\x00\x00\x00' + struct.pack('>II', last, code))


class H2Up(Up):
    """Scripted HTTP/2 upstream (prior knowledge or TLS). handler(stream) coroutine."""
    proto = 'h2'

    def __init__(self, t, name, handler=None, settings=None, auto_window=True, **kw):
        super().__init__(t, name, **kw)
        self.handler, self.settings, self.auto_window = handler, settings, auto_window

    async def _conn(self, r, w):
        self.tasks.add(asyncio.current_task())
        self.conns += 1
        cid = self.conns
        side = H2Side(r, w, False, self.settings, self.auto_window)
        side.idx = cid
        self.live.append(side)
        side.start()

        def on_stream(s):
            s['conn'] = cid
            s['up'] = self.name
            self.reqs.append(s)
            s['n'] = len(self.reqs)
            tk = asyncio.ensure_future(self._stream(UpStream(side, s, self)))
            self.tasks.add(tk)
        try:
            await side.run(on_stream)
        except asyncio.CancelledError:
            pass
        finally:
            self.closed_conns += 1
            if side in self.live:
                self.live.remove(side)
            side.close()

    async def _stream(self, st):
        try:
            if self.handler:
                await self.handler(st)
            else:
                await st.body()
                if st.s['reset'] is None:
                    st.respond(200, [('x-up', self.name)])
                    await st.data(self.name, end=True)
        except asyncio.CancelledError:
            pass
        except Exception as e:
            if os.environ.get('CASE_TRACE'):
                print('h2 upstream error', self.t.case.id, repr(e), file=sys.stderr)

    @property
    def paths(self):
        return [hget(m['headers'], ':path') for m in self.reqs]

