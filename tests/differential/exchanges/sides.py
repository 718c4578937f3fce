"""One proxy with the upstreams of a batch, and what one exchange looks like from outside of it: client, upstream, log, counters."""
import asyncio
import os
import re

from frames import Reader
from harness.net import LOCAL_IP
from messages import messages
from speak import GONE, Upstream, client_tls, converse

READY_WITHIN = 60     # seconds
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


class Side:
    """One proxy. All its sockets are on an address of its own, so that both sides can have the same ports."""

    def __init__(self, name, argv, host, ports, folder, talks):
        self.name, self.argv, self.host, self.ports, self.folder, self.talks = name, argv, host, ports, folder, talks
        self.upstreams = [Upstream(host, port, talk) for port, talk in zip(ports['upstreams'], talks)]
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
        upstream, talk = self.upstreams[which], self.talks[which]
        upstream.begin(ex)
        seen = {'which': which, 'begun': os.path.getsize(self.log_path(which)), 'own': [], 'client': b'', 'ended': 'refused', 'upstream': upstream}
        tls = client_tls('steps' in ex, talk.get('client_cert')) if talk.get('tls') else None
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(
                self.host, self.ports['listeners'][which], limit=1 << 24, local_addr=(self.host, 0), ssl=tls, server_hostname='a.example' if tls else None), 5)
        except (*GONE, asyncio.TimeoutError):
            return seen
        seen['own'].append(writer.get_extra_info('sockname')[1])
        seen['client'], seen['ended'] = await converse(reader, writer, ex, patience)
        writer.close()
        return seen

    def observed(self, seen, ex):
        """The comparable form of what `exchange` gave."""
        answers, rest = self.read(seen['client'], seen['own'], ex.get('heads', []))
        asked = [self.read(data, seen['own'], None) for data in seen['upstream'].seen]
        return {'client': [answers, rest, seen['ended']], 'upstream': [a for a in asked if a != [[], b'']]}

    def read(self, said, own, heads):
        """[messages, what is no message] of one direction of a connection."""
        if isinstance(said, Reader):
            whole, rest = said.messages()
            return [[tuple(self.plain(part, own) for part in m) for m in whole], rest]
        return list(messages(self.plain(bytes(said), own), heads))

    def log(self, seen):
        with open(self.log_path(seen['which']), 'rb') as f:
            f.seek(seen['begun'])
            return self.plain(f.read(), seen['own']).decode('latin-1').splitlines()
