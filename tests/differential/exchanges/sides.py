"""One proxy with the upstreams of a batch, and what one exchange looks like from outside of it: client, upstream, log, counters."""
import asyncio
import os
import re
import socket
import struct

from harness.net import LOCAL_IP
from messages import messages, upstream_request

READY_WITHIN = 60     # seconds
PLAIN = [['send', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok']]
COUNTED = re.compile(r'^(cluster\.c|http\.in|listener\.(?!admin)|http1\.|http2\.|vhost\.|tls_inspector)')
UUID = re.compile(rb'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')
CHANGING = [
    (re.compile(rb'(?im)^(date|x-proxy-date): [^\r\n]*'), rb'\1: DATE'),
    (re.compile(rb'(?im)^(x-envoy-upstream-service-time): \d+'), rb'\1: N'),
    # What is left of the time when a request is tried again.
    (re.compile(rb'(?im)^(x-envoy-expected-rq-timeout-ms): \d+(?<!00)\b'), rb'\1: LEFT'),
    (UUID, b'UUID'),
]


async def get(host, port, path):
    """The body of an admin answer, empty when there is none."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port, limit=1 << 24), 3)
        writer.write(b'GET %s HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n' % path.encode())
        whole, _ = messages(await asyncio.wait_for(reader.read(-1), 10), ())
        writer.close()
        return whole[0][1].decode(errors='replace') if whole else ''
    except (OSError, asyncio.TimeoutError):
        return ''


class Upstream:
    """Takes the requests of one exchange and answers them one after another from its script; keeps the bytes of each connection."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.begin([], 'body')

    async def listen(self):
        self.server = await asyncio.start_server(self.serve, self.host, self.port, limit=1 << 24)

    def begin(self, answers, when):
        self.answers, self.when, self.seen, self.writers, self.asked = answers, when, [], [], 0

    async def serve(self, reader, writer):
        bytes_of = bytearray()
        self.seen.append(bytes_of)
        self.writers.append(writer)
        at, answered = 0, False
        try:
            while True:
                head, whole = upstream_request(bytes(bytes_of[at:]))
                if not answered and (whole if self.when == 'body' else head) is not None:
                    answered = True
                    if not await self.answer(writer):
                        return
                if whole is not None:
                    at, answered = at + whole, False
                    continue
                piece = await reader.read(65536)
                if not piece:
                    return
                bytes_of += piece
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def answer(self, writer):
        """Plays the next answer of the script; whether the connection goes on."""
        answer = self.answers[self.asked] if self.asked < len(self.answers) else PLAIN
        self.asked += 1
        for what, *rest in answer:
            if what == 'send':
                writer.write(rest[0].encode('latin-1'))
                await writer.drain()
            elif what == 'pause':
                await asyncio.sleep(rest[0])
            elif what == 'close':
                return False
            elif what == 'reset':
                abort(writer)
                return False
        return True

    def end(self):
        for writer in self.writers:
            writer.close()


def abort(writer):
    """Ends a connection with a RST."""
    writer.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    writer.transport.abort()


class Side:
    """One proxy. All its sockets are on an address of its own, so that both sides can have the same ports."""

    def __init__(self, name, argv, host, ports, folder):
        self.name, self.argv, self.host, self.ports, self.folder = name, argv, host, ports, folder
        self.upstreams = [Upstream(host, port) for port in ports['upstreams']]
        self.process = None

    def log_path(self, which):
        return os.path.join(self.folder, 'log%d' % which)

    async def start(self, config):
        """Whether it serves; `self.output` says why not."""
        os.makedirs(self.folder, exist_ok=True)
        file = os.path.join(self.folder, 'config.yaml')
        with open(file, 'w') as f:
            f.write(config)
        for which in range(len(self.upstreams)):
            open(self.log_path(which), 'w').close()
        for upstream in self.upstreams:
            await upstream.listen()
        with open(os.path.join(self.folder, 'output'), 'wb') as out:
            self.process = await asyncio.create_subprocess_exec(
                *self.argv, '-c', file, '--concurrency', '1', '--file-flush-interval-msec', '20',
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder)
        for _ in range(READY_WITHIN * 50):
            if self.process.returncode is not None:
                return False
            if 'LIVE' in await get(self.host, self.ports['admin'], '/ready'):
                return True
            await asyncio.sleep(0.02)
        return False

    async def takes(self, config):
        """Whether the configuration is valid to this proxy."""
        os.makedirs(self.folder, exist_ok=True)
        file = os.path.join(self.folder, 'validate.yaml')
        with open(file, 'w') as f:
            f.write(config)
        nowhere = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*self.argv, '--mode', 'validate', '-c', file, stdin=nowhere, stdout=nowhere, stderr=nowhere)
        return await process.wait() == 0

    def output(self):
        with open(os.path.join(self.folder, 'output'), errors='replace') as f:
            return f.read()[-1200:]

    async def stop(self):
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        for upstream in self.upstreams:
            upstream.end()
            upstream.server.close()

    async def counters(self):
        out = {}
        for line in (await get(self.host, self.ports['admin'], '/stats?usedonly')).splitlines():
            name, _, value = line.rpartition(': ')
            if COUNTED.match(name) and value.isdigit():
                out[name.replace(self.host, 'HOST')] = int(value)
        return out

    def plain(self, data, own=()):
        """Bytes without what changes from run to run."""
        for pattern, by in CHANGING:
            data = pattern.sub(by, data)
        data = data.replace(self.host.encode(), b'HOST').replace(LOCAL_IP.encode(), b'LOCAL')
        for port in own:
            data = data.replace(b'HOST:%d' % port, b'CLIENT')
        known = {p: b'HOST:%s%d' % (kind[:1].encode(), i) for kind in ('listeners', 'upstreams') for i, p in enumerate(self.ports[kind])}
        return re.sub(rb'(?:HOST|LOCAL):(\d{4,5})\b', lambda m: known.get(int(m[1]), b'HOST:EPH'), data)

    async def exchange(self, which, ex, patience):
        """What the client and the upstream of listener `which` saw."""
        upstream = self.upstreams[which]
        upstream.begin(ex['answers'], ex['when'])
        begun = os.path.getsize(self.log_path(which))
        reader, writer = await asyncio.open_connection(self.host, self.ports['listeners'][which], limit=1 << 24, local_addr=(self.host, 0))
        own = [writer.get_extra_info('sockname')[1]]
        received = bytearray()
        ended = await self.converse(reader, writer, ex, received, patience)
        writer.close()
        return {'which': which, 'begun': begun, 'own': own, 'client': bytes(received), 'ended': ended, 'upstream': upstream}

    async def converse(self, reader, writer, ex, received, patience):
        """Sends the pieces while it reads; whether the proxy ended the connection (`closed`) or not (`open`).

        By FIN or RST is a matter of what the client had sent by then."""
        async def send():
            try:
                for piece in ex['pieces']:
                    writer.write(piece.encode('latin-1'))
                    await writer.drain()
                    await asyncio.sleep(patience / 10)
                if ex['end'] == 'fin':
                    writer.write_eof()
            except (ConnectionError, OSError):
                pass
        sending = asyncio.ensure_future(send())
        try:
            while True:
                quiet = patience if not sending.done() or len(messages(bytes(received), ex['heads'])[0]) < ex['requests'] else patience / 4
                try:
                    piece = await asyncio.wait_for(reader.read(65536), quiet)
                except asyncio.TimeoutError:
                    if sending.done():
                        break
                    continue
                except (ConnectionError, OSError):
                    return 'closed'
                if not piece:
                    return 'closed'
                received += piece
        finally:
            sending.cancel()
        if ex['end'] == 'reset':
            abort(writer)
        return 'open'

    def observed(self, seen, ex):
        """The comparable form of what `exchange` gave."""
        upstream = seen['upstream']
        answers, rest = messages(self.plain(seen['client'], seen['own']), ex['heads'])
        asked = []
        for data in upstream.seen:
            requests, left = messages(self.plain(bytes(data), seen['own']), None)
            asked.append([requests, left])
        return {'client': [answers, rest, seen['ended']], 'upstream': [a for a in asked if a != [[], b'']]}

    def log(self, seen):
        with open(self.log_path(seen['which']), 'rb') as f:
            f.seek(seen['begun'])
            return self.plain(f.read(), seen['own']).decode('latin-1').splitlines()
