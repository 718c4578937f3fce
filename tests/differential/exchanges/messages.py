"""HTTP/1 messages in bytes, read leniently: only so far as two proxies' bytes are compared without what framing leaves open."""
import re

BREAK = b'\r\n\r\n'


def chunks(data):
    """(body, trailers, bytes taken) of a chunked body, or None while it is not whole or is none."""
    body, at = b'', 0
    while True:
        line, sep, _ = data[at:].partition(b'\r\n')
        size = re.match(rb'[0-9a-fA-F]+', line)
        if not sep or not size:
            return None
        at += len(line) + 2
        size = int(size[0], 16)
        if size == 0:
            if data[at:at + 2] == b'\r\n':
                return body, b'', at + 2
            end = data.find(BREAK, at)
            return None if end < 0 else (body, data[at:end], end + 4)
        if len(data) < at + size + 2:
            return None
        body += data[at:at + size]
        at += size + 2


def framing(head):
    """('chunked',), ('length', n) or ('none',) of a head."""
    if re.search(rb'(?i)\r\ntransfer-encoding:[^\r\n]*chunked', head):
        return ('chunked',)
    length = re.search(rb'(?i)\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*(?=\r\n|$)', head)
    return ('length', int(length[1])) if length else ('none',)


def has_body(head, heads, index):
    """Whether a message with this head may have a body; `heads` are the numbers of the requests with HEAD, None for requests."""
    if heads is None:
        return True
    status = head[9:12]
    return not (index in heads or status[:1] == b'1' or status in (b'204', b'304'))


def messages(data, heads):
    """([(head, body, trailers)], the rest that is no whole message). For answers `heads` tells which requests were HEAD."""
    out, index = [], 0
    while data:
        head, sep, rest = data.partition(BREAK)
        if not sep:
            break
        kind = framing(head) if has_body(head, heads, index) else ('length', 0)
        if kind[0] == 'chunked':
            read = chunks(rest)
            if read is None:
                break
            body, trailers, taken = read
        elif kind[0] == 'length':
            if len(rest) < kind[1]:
                break
            body, trailers, taken = rest[:kind[1]], b'', kind[1]
        elif heads is None:
            body, trailers, taken = b'', b'', 0
        else:
            body, trailers, taken = rest, b'', len(rest)
        out.append((head, body, trailers))
        data = rest[taken:]
        index += not (heads is not None and head[9:10] == b'1' and head[9:12] != b'101')
    return out, partial(data)


def partial(data):
    """What is left at the end, with the sizes of the whole chunks in it taken out: proxies may cut them as they like."""
    head, sep, rest = data.partition(BREAK)
    if not sep or framing(head) != ('chunked',):
        return data
    body = b''
    while True:
        line, sep, after = rest.partition(b'\r\n')
        size = re.fullmatch(rb'[0-9a-fA-F]+', line)
        if not sep or not size or len(after) < int(size[0], 16) + 2:
            return head + BREAK + body + rest
        body, rest = body + after[:int(size[0], 16)], after[int(size[0], 16) + 2:]


def upstream_request(data):
    """(where the first request's head ends, where it ends as a whole) in what a server has got; None for what has not come yet."""
    head, sep, rest = data.partition(BREAK)
    if not sep:
        return None, None
    at, kind = len(head) + 4, framing(head)
    if kind[0] == 'none':
        return at, at
    if kind[0] == 'length':
        return at, at + kind[1] if len(rest) >= kind[1] else None
    read = chunks(rest)
    return at, at + read[2] if read else None
