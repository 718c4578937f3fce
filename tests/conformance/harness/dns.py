"""A scripted DNS server: over UDP and TCP, at one port of 127.0.0.1."""
import asyncio
import ipaddress
import struct

A, AAAA = 1, 28
NXDOMAIN, SERVFAIL = 3, 2


class Dns(asyncio.DatagramProtocol):
    """`records`: a name without its last dot → list of addresses, a response code, or None (no answer).

    `asked` has (name, 'A' or 'AAAA', 'udp' or 'tcp') of each question, in the order in which they came.
    """

    def __init__(self, t, records, name='dns', ttl=30):
        self.records, self.ttl, self.asked = records, ttl, []
        self.port, self.addr = t.port(name), '127.0.0.1'
        t.dns_servers.append(self)

    async def listen(self):
        loop = asyncio.get_running_loop()
        self.udp, _ = await loop.create_datagram_endpoint(lambda: self, (self.addr, self.port))
        self.tcp = await asyncio.start_server(self._stream, self.addr, self.port)
        return self

    def stop(self):
        self.udp.close()
        self.tcp.close()

    def datagram_received(self, data, peer):
        out = self.answer(data, 'udp')
        if out:
            self.udp.sendto(out, peer)

    async def _stream(self, r, w):
        try:
            while True:
                n, = struct.unpack('!H', await r.readexactly(2))
                out = self.answer(await r.readexactly(n), 'tcp')
                if out:
                    w.write(struct.pack('!H', len(out)) + out)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            w.close()

    def answer(self, query, over):
        """The response to one query; None for none."""
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind, = struct.unpack('!H', query[at + 1:at + 3])
        name = '.'.join(labels).lower()
        self.asked.append((name, {A: 'A', AAAA: 'AAAA'}.get(kind, str(kind)), over))
        found = self.records.get(name, NXDOMAIN)
        if found is None:
            return None
        code, addresses = (found, []) if isinstance(found, int) else (0, found)
        version = {A: 4, AAAA: 6}.get(kind)
        packed = [ipaddress.ip_address(a).packed for a in addresses if ipaddress.ip_address(a).version == version]
        question = query[12:at + 5]
        head = query[:2] + struct.pack('!HHHHH', 0x8180 | code, 1, len(packed), 0, 0)
        records = b''.join(b'\xc0\x0c' + struct.pack('!HHIH', kind, 1, self.ttl, len(p)) + p for p in packed)
        return head + question + records
