"""HTTP/2 in bytes: frames written from steps, and read into streams. Nothing is checked, so that broken sequences can be written, too."""
import struct

import hpack

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
MAX_FRAME = 16384


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


class Writer:
    """Frames of one direction of a connection; keeps the state of its header compression."""

    def __init__(self):
        self.encoder = hpack.Encoder()

    def head(self, stream, fields, end, cut=0):
        """HEADERS, the last `cut` bytes of its block in a CONTINUATION."""
        block = self.encoder.encode([(n.encode('latin-1'), v.encode('latin-1')) for n, v in fields], huffman=False)
        first, more = (block[:-cut], block[-cut:]) if 0 < cut < len(block) else (block, None)
        out = frame(HEADERS, (END_STREAM if end else 0) | (END_HEADERS if more is None else 0), stream, first)
        return out if more is None else out + frame(CONTINUATION, END_HEADERS, stream, more)

    def data(self, stream, text, end, padding=None):
        body = text.encode('latin-1')
        flags = END_STREAM if end else 0
        if padding is not None:
            return frame(DATA, flags | PADDED, stream, bytes([padding]) + body + bytes(padding))
        pieces = [body[i:i + MAX_FRAME] for i in range(0, len(body), MAX_FRAME)] or [b'']
        return b''.join(frame(DATA, flags if p is pieces[-1] else 0, stream, p) for p in pieces)

    def settings(self, values):
        return frame(SETTINGS, 0, 0, b''.join(struct.pack('>HI', int(k), v) for k, v in values.items()))

    def step(self, stream, what, *rest):
        """The bytes of one step of a script that concerns this stream."""
        if what == 'head':
            return self.head(stream, *rest)
        if what == 'trailers':
            return self.head(stream, rest[0], True)
        if what == 'data':
            return self.data(stream, *rest)
        if what == 'rst':
            return frame(RST_STREAM, 0, stream, struct.pack('>I', rest[0]))
        if what == 'window':
            return frame(WINDOW_UPDATE, 0, stream, struct.pack('>I', rest[0]))
        if what == 'priority':
            return frame(PRIORITY, 0, stream, struct.pack('>IB', rest[0], 15))
        if what == 'goaway':
            return frame(GOAWAY, 0, 0, struct.pack('>II', rest[1], rest[0]))
        if what == 'settings':
            return self.settings(rest[0])
        if what == 'ping':
            return frame(PING, 0, 0, b'12345678')
        return frame(rest[0], rest[1], stream, rest[2].encode('latin-1'))     # 'frame'


class Stream:
    """What came on one stream."""

    def __init__(self):
        self.blocks, self.body, self.how = [], b'', 'open'

    def take_end(self, how):
        """The first end counts, save that a reset comes behind an end."""
        self.how = how if self.how == 'open' else '%s, %s' % (self.how, how)

    @property
    def ended(self):
        return self.how != 'open'


class Reader:
    """Reads one direction of a connection. `replies` are frames that the other side has to be sent: ACKs, and windows where it feeds."""

    def __init__(self, preface, feeds=True):
        self.preface, self.feeds = preface, feeds
        self.decoder = hpack.Decoder(max_header_list_size=1 << 24)
        self.rest, self.block, self.replies = b'', b'', b''
        self.streams, self.settings, self.said = {}, None, []
        self.pings = 0

    def feed(self, data):
        """Takes bytes; the numbers of streams on which something came."""
        self.rest += data
        if self.preface:
            if len(self.rest) < len(PREFACE):
                return []
            self.rest, self.preface = self.rest[len(PREFACE):], False
        touched = []
        while len(self.rest) >= 9:
            length = int.from_bytes(self.rest[:3], 'big')
            if len(self.rest) < 9 + length:
                break
            kind, flags, stream = self.rest[3], self.rest[4], int.from_bytes(self.rest[5:9], 'big')
            payload, self.rest = self.rest[9:9 + length], self.rest[9 + length:]
            self.take(kind, flags, stream, payload)
            touched.append(stream)
        return touched

    def take(self, kind, flags, number, payload):
        if kind in (HEADERS, CONTINUATION):
            self.block += payload
            self.ends = flags & END_STREAM if kind == HEADERS else self.ends
            if flags & END_HEADERS:
                self.take_block(number)
        elif kind == DATA:
            stream = self.stream(number)
            stream.body += payload
            if self.feeds and payload:
                more = struct.pack('>I', len(payload))
                self.replies += frame(WINDOW_UPDATE, 0, 0, more) + frame(WINDOW_UPDATE, 0, number, more)
            if flags & END_STREAM:
                stream.take_end('end')
        elif kind == RST_STREAM:
            self.stream(number).take_end('RST %d' % int.from_bytes(payload[:4], 'big'))
        elif kind == GOAWAY:
            last, code = struct.unpack('>II', payload[:8])
            self.said.append('GOAWAY %d last %d' % (code, last))
        elif kind == SETTINGS and not flags & ACK:
            values = ['%d=%d' % struct.unpack('>HI', payload[i:i + 6]) for i in range(0, len(payload), 6)]
            self.settings = ' '.join(sorted(values))
            self.said.append('SETTINGS ' + self.settings)
            self.replies += frame(SETTINGS, ACK, 0)
        elif kind == PING and flags & ACK:
            self.pings += 1
        elif kind == PING:
            self.replies += frame(PING, ACK, 0, payload)

    def take_block(self, number):
        block, self.block = self.block, b''
        stream = self.stream(number)
        try:
            fields = self.decoder.decode(block, raw=True)
        except hpack.HPACKError as e:
            self.said.append('HPACK %s' % type(e).__name__)
            return
        stream.blocks.append([(bytes(n), bytes(v)) for n, v in fields])
        if self.ends:
            stream.take_end('end')

    def stream(self, number):
        return self.streams.setdefault(number, Stream())

    def take_replies(self):
        out, self.replies = self.replies, b''
        return out

    def messages(self):
        """([(head, body, trailers, how it ended)] by stream, interim heads as messages of their own; what the connection was told)."""
        out = []
        for number in sorted(self.streams):
            stream = self.streams[number]
            blocks = list(stream.blocks)
            while len(blocks) > 1 and dict(blocks[0]).get(b':status', b'')[:1] == b'1':
                out.append((lines(blocks.pop(0)), b'', b'', b'interim'))
            head = lines(blocks[0]) if blocks else b''
            out.append((head, stream.body, b'\r\n\r\n'.join(map(lines, blocks[1:])), stream.how.encode()))
        said = self.said + ['PING acknowledged'] * self.pings
        return out, '\r\n'.join(said).encode()


def lines(fields):
    """A block as the lines of a head: what is pseudo in the first, in any order."""
    pseudo = b' '.join(sorted(n + b'=' + v for n, v in fields if n[:1] == b':'))
    return b'\r\n'.join([pseudo] + [n + b': ' + v for n, v in fields if n[:1] != b':'])
