"""Protobuf without its library. A schema is {number: (name, kind)}; a dict is a message, `[]` in a name: repeated."""
import struct


def _varint(b, at):
    n = shift = 0
    while True:
        c = b[at]
        at += 1
        n |= (c & 0x7f) << shift
        if c < 0x80:
            return n, at
        shift += 7


def decode(schema, b):
    """Protobuf bytes as a dict; a field that the schema does not have is kept by its number."""
    out, at = {}, 0
    while at < len(b):
        tag, at = _varint(b, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            v, at = _varint(b, at)
        elif wire == 2:
            n, at = _varint(b, at)
            v, at = b[at:at + n], at + n
        else:
            n = 8 if wire == 1 else 4
            v, at = int.from_bytes(b[at:at + n], 'little'), at + n
        name, kind = schema.get(number, ('field %d' % number, None))
        if isinstance(kind, dict):
            v = decode(kind, v)
        elif kind == 'double':
            v = struct.unpack('<d', v.to_bytes(8, 'little'))[0]
        elif kind == 'str':
            v = v.decode('utf-8', 'replace')
        elif kind == 'hex' or isinstance(v, bytes):
            v = v.hex()
        if name.endswith('[]'):
            out.setdefault(name[:-2], []).append(v)
        else:
            out[name] = v
    return out


def _number(n):
    n &= 2**64 - 1
    out = b''
    while True:
        n, low = n >> 7, n & 0x7f
        out += bytes([low | (0x80 if n else 0)])
        if not n:
            return out


def encode(schema, message):
    """A dict as protobuf bytes."""
    out, known = b'', {name.replace('[]', ''): (number, kind) for number, (name, kind) in schema.items()}
    for name, values in message.items():
        number, kind = known[name]
        for v in values if isinstance(values, list) else [values]:
            if kind == 'int':
                out += _number(number << 3) + _number(int(v))
            elif kind == 'double':
                out += _number(number << 3 | 1) + struct.pack('<d', v)
            else:
                v = encode(kind, v) if isinstance(kind, dict) else v.encode() if isinstance(v, str) else v
                out += _number(number << 3 | 2) + _number(len(v)) + v
    return out


VALUE = {}
STRUCT = {1: ('fields[]', {1: ('key', 'str'), 2: ('value', VALUE)})}
VALUE.update({1: ('null', 'int'), 2: ('number', 'double'), 3: ('string', 'str'), 4: ('bool', 'int'), 5: ('struct', STRUCT), 6: ('list', {1: ('values[]', VALUE)})})


def struct_of(v):
    """The message of a `google.protobuf.Struct`, for `encode`."""
    def value(v):
        if isinstance(v, dict):
            return {'struct': struct_of(v)}
        if isinstance(v, list):
            return {'list': {'values': [value(x) for x in v]}}
        return {'bool': v} if isinstance(v, bool) else {'string': v} if isinstance(v, str) else {'null': 0} if v is None else {'number': float(v)}
    return {'fields': [{'key': k, 'value': value(x)} for k, x in v.items()]}
