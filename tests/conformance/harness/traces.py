"""Collectors of traces: what a proxy exports, decoded, with this run's identifiers and times replaced by words."""
import json
import re

from .http1 import resp
from .protobuf import decode

_KEY_VALUE = {1: ('key', 'str'), 2: ('value', {1: ('string', 'str'), 2: ('bool', 'int'), 3: ('int', 'int'), 4: ('double', 'fixed')})}
_EVENT = {1: ('time', 'fixed'), 2: ('name', 'str'), 3: ('attributes[]', _KEY_VALUE)}
_OTLP_SPAN = {1: ('traceId', 'hex'), 2: ('spanId', 'hex'), 3: ('traceState', 'str'), 4: ('parentSpanId', 'hex'), 5: ('name', 'str'), 6: ('kind', 'int'),
              7: ('start', 'fixed'), 8: ('end', 'fixed'), 9: ('attributes[]', _KEY_VALUE), 10: ('droppedAttributes', 'int'), 11: ('events[]', _EVENT),
              15: ('status', {2: ('message', 'str'), 3: ('code', 'int')}), 16: ('flags', 'fixed')}
_SCOPE = {1: ('name', 'str'), 2: ('version', 'str'), 3: ('attributes[]', _KEY_VALUE)}
OTLP = {1: ('resourceSpans[]', {1: ('resource', {1: ('attributes[]', _KEY_VALUE)}), 2: ('scopeSpans[]', {1: ('scope', _SCOPE), 2: ('spans[]', _OTLP_SPAN)}), 3: ('schemaUrl', 'str')})}
_ENDPOINT = {1: ('serviceName', 'str'), 2: ('ipv4', 'hex'), 3: ('ipv6', 'hex'), 4: ('port', 'int')}
ZIPKIN = {1: ('spans[]', {1: ('traceId', 'hex'), 2: ('parentId', 'hex'), 3: ('id', 'hex'), 4: ('kind', 'int'), 5: ('name', 'str'), 6: ('timestamp', 'fixed'), 7: ('duration', 'int'),
                          8: ('localEndpoint', _ENDPOINT), 9: ('remoteEndpoint', _ENDPOINT), 10: ('annotations[]', {1: ('timestamp', 'fixed'), 2: ('value', 'str')}),
                          11: ('tags[]', {1: ('key', 'str'), 2: ('value', 'str')}), 12: ('debug', 'int'), 13: ('shared', 'int')})}


# A build, as a proxy names itself: commit, version and how it was built.
VERSION = re.compile(r'[0-9a-f]{40}/[0-9.]+/\w+/\w+/[\w.-]+')


class Names:
    """Identifiers of this run by the order in which they are seen; those that a case chose itself stay."""

    HEX = re.compile(r'(?<![0-9a-zA-Z])([0-9a-f]{32}|[0-9a-f]{16})(?![0-9a-zA-Z])')

    def __init__(self, *own):
        self.own, self.names = set(own), {}

    def __call__(self, v):
        if isinstance(v, str):
            return self.HEX.sub(self._name, v)
        if isinstance(v, dict):
            return {self(k): self(x) for k, x in v.items()}
        if isinstance(v, (list, tuple)):
            return [self(x) for x in v]
        return v

    def _name(self, m):
        v = m.group(1)
        if v in self.own:
            return v
        if len(v) == 32 and v.startswith('0' * 16):
            return '<0+%s>' % self.HEX.sub(self._name, v[16:]).strip('<>')
        if len(v) == 32 and v[16:] in self.names:
            # A trace's long identifier that ends as a span's short one.
            return '<high+%s>' % self.names[v[16:]][1:-1]
        return self.names.setdefault(v, '<%s%d>' % ('long' if len(v) == 32 else 'id', len(self.names) + 1))


def pairs(attributes):
    """Attributes as a list of `key: value`, in their order."""
    def text(v):
        return v.get('string', v) if isinstance(v, dict) and len(v) < 2 and not (v and 'string' not in v) else v
    return ['%s: %s' % (a.get('key', ''), text(a.get('value', '<none>'))) for a in attributes]


class Collector:
    """An upstream that takes spans and answers `status`."""

    def __init__(self, t, *own):
        self.t, self.up, self.names = t, None, Names(*own)

    async def http(self, status=202, name='collector', **kw):
        self.up = await self.t.up(name, (lambda m, n: resp(status)) if isinstance(status, int) else status, **kw)
        return self

    async def grpc(self, name='collector', answer=None):
        async def take(s):
            body = await s.body()
            s.s['body'] = body if body is not None else s.s.get('body', b'')
            if answer is not None:
                return await answer(s)
            s.respond(200, [('content-type', 'application/grpc')])
            await s.data(b'\0\0\0\0\0')
            s.trailers([('grpc-status', '0')])
        self.up = await self.t.h2up(name, take)
        return self

    def bodies(self):
        return [bytes(m['body']) for m in self.up.reqs]

    async def got(self, count, timeout=7):
        """Waits until so many spans have come."""
        return await self.t.until(lambda: len(self.spans()) >= count, timeout)

    def spans(self):
        """All spans, decoded, not yet normalised."""
        out = []
        for m, b in zip(self.up.reqs, self.bodies()):
            kind = m.h('content-type') if hasattr(m, 'h') else dict(m['headers']).get('content-type')
            if kind == 'application/json':
                out += json.loads(b or b'[]')
            elif kind == 'application/grpc':
                if len(b) >= 5:
                    out += self._otlp(b[5:])
            elif m['path'].startswith('/v1') if hasattr(m, 'h') else True:
                out += self._otlp(b)
            else:
                out += decode(ZIPKIN, b).get('spans', [])
        return out

    @staticmethod
    def _otlp(b):
        return [s for r in decode(OTLP, b).get('resourceSpans', []) for sc in r.get('scopeSpans', []) for s in sc.get('spans', [])]

    def resources(self):
        """What stands around the spans of each OTLP report."""
        out = []
        for b in self.bodies():
            for r in decode(OTLP, b[5:] if b[:1] == b'\0' else b).get('resourceSpans', []):
                out.append({'resource': sorted(pairs(r.get('resource', {}).get('attributes', []))), 'schemaUrl': r.get('schemaUrl'),
                            'scopes': [{'scope': sc.get('scope'), 'spans': len(sc.get('spans', []))} for sc in r.get('scopeSpans', [])]})
        return json.loads(VERSION.sub('<version>', json.dumps(self.t.mask(out))))

    def view(self, since=0, keys=None):
        """What was exported after the first `since` spans, comparable: sorted, because reports may overtake each other."""
        spans = [self._span(s) for s in self.spans()[since:]]
        own = Names(*self.names.own)

        def order(s):
            own.names.clear()
            return s['name'], str(s['kind']), str(own(s))
        spans = sorted(({k: s[k] for k in keys or s if k in s} for s in spans), key=order)
        return self.names(self.t.mask(spans))

    def _span(self, s):
        s = dict(s)
        for key in ('timestamp', 'start', 'end', 'duration'):
            if key in s:
                s[key] = '<time>' if isinstance(s[key], int) else '<%s>' % type(s[key]).__name__
        if isinstance(s.get('tags'), list):
            s['tags'] = {p['key']: p.get('value') for p in s['tags']}
        if isinstance(s.get('tags'), dict):
            s['tags'] = ['%s: %s' % (k, self._tag(k, v)) for k, v in sorted(s['tags'].items())]
        if 'attributes' in s:
            s['attributes'] = [self._tag(None, p) for p in pairs(s['attributes'])]
        for key in ('annotations', 'events'):
            if key in s:
                s[key] = [a.get('value', a.get('name')) for a in s[key]]
        return s

    def _tag(self, key, v):
        v = re.sub(r'(guid:x-request-id: )?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', r'\1<uuid>', str(v))
        return re.sub(r'^(peer\.address: )?127\.0\.0\.1:<cport>$', r'\g<1>127.0.0.1:<cport>', v)
