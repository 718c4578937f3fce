"""The two ends of a proxy: a client and a scripted upstream, each in HTTP/1 and HTTP/2, in clear text and TLS."""
import asyncio
import os
import socket
import ssl
import struct

from frames import PREFACE, Reader, Writer
from harness.tls import certs
from messages import messages, upstream_request

PLAIN = [['send', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok']]
PLAIN_H2 = [['head', [[':status', '200'], ['content-length', '2']], False], ['data', 'ok', True]]
GONE = ConnectionError, OSError, ssl.SSLError


def abort(writer):
    """Ends a connection with a RST."""
    writer.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    writer.transport.abort()


def client_tls(h2, certificate):
    """What a client brings to a handshake: nothing is verified, the shown certificate is the suite's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(['h2'] if h2 else ['http/1.1'])
    if certificate:
        context.load_cert_chain(os.path.join(certs(), 'client.crt'), os.path.join(certs(), 'client.key'))
    return context


def server_tls(h2):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(certs(), 'up.crt'), os.path.join(certs(), 'up.key'))
    context.set_alpn_protocols(['h2', 'http/1.1'] if h2 else ['http/1.1'])
    return context


async def converse(reader, writer, ex, patience):
    """One connection of a client: (what it received, bytes or a `Reader`; `closed` or `open`).

    By FIN or RST is a matter of what the client had sent by then."""
    speaks = ClientOfStreams if 'steps' in ex else ClientOfBytes
    client = speaks(reader, writer, ex, patience)
    sending = asyncio.ensure_future(client.send())
    try:
        while True:
            quiet = patience / 4 if sending.done() and client.satisfied() else patience
            try:
                piece = await asyncio.wait_for(reader.read(65536), quiet)
            except asyncio.TimeoutError:
                if sending.done():
                    break
                continue
            if not piece:
                return client.received, 'closed'
            client.take(piece)
    except GONE:
        return client.received, 'closed'
    finally:
        sending.cancel()
    if ex['end'] == 'reset':
        abort(writer)
    return client.received, 'open'


class ClientOfBytes:
    """An HTTP/1 client: sends the pieces of the exchange."""

    def __init__(self, reader, writer, ex, patience):
        self.writer, self.ex, self.patience, self.received = writer, ex, patience, bytearray()

    async def send(self):
        try:
            for piece in self.ex['pieces']:
                self.writer.write(piece.encode('latin-1'))
                await self.writer.drain()
                await asyncio.sleep(self.patience / 10)
            if self.ex['end'] == 'fin' and self.writer.can_write_eof():
                self.writer.write_eof()
        except GONE:
            pass

    def take(self, piece):
        self.received += piece

    def satisfied(self):
        return len(messages(bytes(self.received), self.ex['heads'])[0]) >= self.ex['requests']


class ClientOfStreams:
    """An HTTP/2 client: plays its steps, acknowledges, and feeds windows where the exchange says so."""

    def __init__(self, reader, writer, ex, patience):
        self.writer, self.ex, self.patience = writer, ex, patience
        self.frames, self.received, self.moved = Writer(), Reader(False, ex['feeds']), asyncio.Event()
        self.opened, self.finished = set(), False

    async def send(self):
        try:
            # What a proxy says of a frame that comes with the preface would be a matter of how it reads.
            self.writer.write(PREFACE + self.frames.settings(self.ex['settings']))
            while self.received.settings is None and await self.move():
                pass
            out = b''
            for stream, what, *rest in self.ex['steps']:
                if what in ('pause', 'rest'):
                    self.writer.write(out)
                    out = b''
                    await self.writer.drain()
                    await (asyncio.sleep(rest[0]) if what == 'pause' else self.rest())
                    continue
                if what == 'head' and stream % 2:
                    self.opened.add(stream)
                out += self.frames.step(stream, what, *rest)
            self.writer.write(out)
            await self.writer.drain()
            if self.ex['end'] == 'fin' and self.writer.can_write_eof():
                await asyncio.sleep(self.patience / 10)
                self.finished = True
                self.writer.write_eof()
        except GONE:
            pass

    async def rest(self):
        """Until all streams so far have ended, or nobody moves any more."""
        while not self.satisfied() and await self.move():
            pass

    async def move(self):
        """Waits until something comes; whether it did."""
        self.moved.clear()
        try:
            await asyncio.wait_for(self.moved.wait(), self.patience)
        except asyncio.TimeoutError:
            return False
        return True

    def take(self, piece):
        self.received.feed(piece)
        replies = self.received.take_replies()
        if replies and not self.finished and not self.writer.is_closing():
            self.writer.write(replies)
        self.moved.set()

    def satisfied(self):
        return all(self.received.stream(s).ended for s in self.opened)


class Upstream:
    """Takes the requests of one exchange and answers them one after another from its script; keeps what each connection said.

    A connection that begins with HTTP/2's preface is served as such."""

    def __init__(self, host, port, talk):
        self.host, self.port, self.talk = host, port, talk
        self.begin({'answers': [], 'when': 'body'})

    async def listen(self):
        tls = server_tls(self.talk.get('up') == 'h2') if self.talk.get('up_tls') else None
        self.server = await asyncio.start_server(self.serve, self.host, self.port, limit=1 << 24, ssl=tls)

    def begin(self, ex):
        self.answers, self.when, self.settings = ex['answers'], ex['when'], ex.get('server', {})
        self.seen, self.writers, self.asked, self.answering = [], [], 0, set()

    async def serve(self, reader, writer):
        self.writers.append(writer)
        number = len(self.seen)
        self.seen.append(bytearray())
        try:
            first = await reader.read(65536)
            if PREFACE.startswith(first[:len(PREFACE)]) and first:
                await self.serve_streams(number, first, reader, writer)
            elif first:
                await self.serve_bytes(number, first, reader, writer)
        except GONE:
            pass
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()

    def next_answer(self, plain):
        self.asked += 1
        return self.answers[self.asked - 1] if self.asked <= len(self.answers) else plain

    async def serve_bytes(self, number, piece, reader, writer):
        bytes_of = self.seen[number]
        at, answered = 0, False
        while piece:
            bytes_of += piece
            while True:
                head, whole = upstream_request(bytes(bytes_of[at:]))
                if not answered and (whole if self.when == 'body' else head) is not None:
                    answered = True
                    if not await self.answer(writer, self.next_answer(PLAIN)):
                        return
                if whole is None:
                    break
                at, answered = at + whole, False
            piece = await reader.read(65536)

    async def answer(self, writer, script):
        """Plays an answer; whether the connection goes on."""
        for what, *rest in script:
            if what == 'send':
                writer.write(rest[0].encode('latin-1'))
                await writer.drain()
            elif not await self.other(writer, what, rest):
                return False
        return True

    async def other(self, writer, what, rest):
        """Steps that both protocols know; whether the connection goes on."""
        if what == 'pause':
            await asyncio.sleep(rest[0])
        elif what == 'close':
            writer.close()
            return False
        elif what == 'reset':
            abort(writer)
            return False
        return True

    async def serve_streams(self, number, piece, reader, writer):
        seen = self.seen[number] = Reader(True)
        frames, answered = Writer(), set()
        writer.write(frames.settings(self.settings))
        while piece:
            for stream in seen.feed(piece):
                asked = stream in seen.streams and (seen.streams[stream].ended if self.when == 'body' else seen.streams[stream].blocks)
                if asked and stream not in answered:
                    answered.add(stream)
                    task = asyncio.ensure_future(self.answer_stream(writer, frames, stream, self.next_answer(PLAIN_H2)))
                    self.answering.add(task)
                    task.add_done_callback(self.answering.discard)
            writer.write(seen.take_replies())
            piece = await reader.read(65536)

    async def answer_stream(self, writer, frames, stream, script):
        try:
            for what, *rest in script:
                if what == 'on':
                    other, what, *rest = rest
                    writer.write(frames.step(stream if other == 's' else other, what, *rest))
                elif what in ('pause', 'close', 'reset'):
                    if not await self.other(writer, what, rest):
                        return
                else:
                    writer.write(frames.step(stream, what, *rest))
        except GONE:
            pass

    def end(self):
        for task in self.answering:
            task.cancel()
        for writer in self.writers:
            writer.close()
