"""What may differ between two runs of one behaviour is replaced by a word: ports, addresses, UUIDs, times."""
import re

from .http1 import Msg, body_repr
from .net import LOCAL_IP

UUID = re.compile(r'^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')
DROPPED_HEADERS = {'date'}
_PORT = re.compile(r'(?<![\d.<])\d{4,5}(?![\d.])')
_EPHEMERAL = re.compile(r'(127\.\d+\.\d+\.\d+:)(3[2-9]\d{3}|[456]\d{4})(?!\d)')


class Normaliser:
    """Turns messages and values of one case into their comparable view."""

    def __init__(self, directory):
        self.dir = directory
        self.ports = {}       # port -> label

    def mask(self, v):
        """A string, bytes, list or dict with this run's ports, folder and address replaced."""
        if isinstance(v, str):
            v = v.replace(self.dir, '<dir>')
            v = _PORT.sub(lambda m: '<%s>' % self.ports[int(m.group(0))] if int(m.group(0)) in self.ports else m.group(0), v)
            if not LOCAL_IP.startswith('127.'):
                v = v.replace(LOCAL_IP, '<localip>')
            return _EPHEMERAL.sub(r'\1<eph>', v)
        if isinstance(v, bytes):
            return self.mask(body_repr(v))
        if isinstance(v, dict):
            return {self.mask(str(k)): ('<%s>' % self.ports[x] if k == 'port_value' and x in self.ports else self.mask(x))
                    for k, x in v.items()}
        if isinstance(v, (list, tuple)):
            return [self.mask(x) for x in v]
        return v

    def hs(self, hs, drop=(), keep_case=False, only=None):
        """Header list: lower-case, sorted by name, in order inside one name."""
        out = []
        for k, v in hs or []:
            lk = k.lower()
            if lk in DROPPED_HEADERS or lk in drop:
                continue
            if only is not None and lk not in only:
                continue
            if lk == 'x-request-id' and UUID.match(v):
                v = '<uuid>'
            if lk == 'x-envoy-upstream-service-time' and v.isdigit():
                v = '<int>'
            if lk == 'user-agent':
                v = re.sub(r'[0-9a-f]{40}/[0-9.]+/\w+/\w+/[\w.-]+', '<version>', v)
            if lk == 'x-forwarded-for' and LOCAL_IP.startswith('127.'):
                v = v.replace('127.0.0.1', '<localip>')
            out.append('%s: %s' % (k if keep_case else lk, v))
        return sorted(out, key=lambda x: x.split(': ')[0].lower())

    def req_view(self, m, drop=(), keep_case=False, only=None, body=True):
        """A request as the upstream got it."""
        d = {'line': '%s %s %s' % (m['method'], m['path'], m['version']) if 'method' in m else 'h2'}
        d['headers'] = self.hs(m['raw_headers'], drop, keep_case, only)
        if body:
            d['body'] = body_repr(m['body'])
        if m.get('trailers'):
            d['trailers'] = self.hs(m['trailers'])
        if m.get('aborted'):
            d['aborted'] = True
        if m.get('reset') is not None:
            d['reset'] = m['reset']
        return d

    def resp_view(self, r, drop=(), keep_case=False, only=None, body=True):
        """A response as the client got it."""
        if r is None:
            return None
        d = {}
        if 'line' in r:
            d['line'] = r['line']
        d['headers'] = self.hs(r['raw_headers'], drop, keep_case, only)
        if body:
            d['body'] = body_repr(r['body'])
        if r.get('interim'):
            d['interim'] = [{'line': i.get('line'), 'headers': self.hs(i['raw_headers'])} if isinstance(i, dict) else self.hs(i)
                            for i in r['interim']]
        if r.get('trailers'):
            d['trailers'] = self.hs(r['trailers'])
        for k in ('err', 'reset', 'timeout', 'conn_closed'):
            if r.get(k) not in (None, False):
                d[k] = r[k]
        return d

    def view(self, v, **kw):
        """The masked view of anything that a case observed."""
        def one(m):
            return self.req_view(m, **kw) if ('method' in m or m.get('up')) else self.resp_view(m, **kw)
        if isinstance(v, Msg):
            v = one(v)
        elif isinstance(v, list) and v and isinstance(v[0], Msg):
            v = [one(x) for x in v]
        return self.mask(v)
