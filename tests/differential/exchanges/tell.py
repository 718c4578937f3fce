"""What differs between two observations of one exchange, of what kind it is, and how it is printed."""
import re

import yaml
from shapes import SEPARATOR

DURATIONS = re.compile(r'(DURATION[^=]*)=\d+')
SENT = re.compile(r'WIRE_BYTES_SENT|(UP|DOWN)STREAM_HEADER_BYTES_SENT|cx_tx_bytes_total')
VOLATILE = re.compile(r'(STREAM_ID)=\S+')


def fields(line):
    line = VOLATILE.sub(r'\1=S', DURATIONS.sub(r'\1=N', line))
    return dict(f.partition('=')[::2] for f in line.split(SEPARATOR)) if SEPARATOR in line else {'': line}


def heads_differ(a, b):
    """What of two heads differs: the first line, names of fields, or only their order."""
    a, b = a.split(b'\r\n'), b.split(b'\r\n')
    if a[0] != b[0]:
        return ['line']
    if sorted(a) == sorted(b):
        return ['order'] if a != b else []
    return sorted({'field ' + f.partition(b':')[0].decode('latin-1').lower() for f in set(a) ^ set(b)} or {'field repeated'})


def bytes_differ(side, a, b):
    """Kinds of differences between what one side was sent: the client, or one connection of the upstream."""
    out = []
    if len(a[0]) != len(b[0]):
        out.append('count')
    for x, y in zip(a[0], b[0]):
        out += heads_differ(x[0], y[0]) + (['body'] if x[1] != y[1] else []) + (['trailers'] if x[2] != y[2] else []) + (['stream end'] if x[3:] != y[3:] else [])
    if a[1] != b[1]:
        out.append('rest')
    if a[2:] != b[2:]:
        out.append('end')
    return ['%s %s' % (side, o) for o in out]


def is_free(seen):
    """Whether how the same is said is not compared, so that its bytes cannot be: a chunked body is cut anyhow, HPACK has many ways."""
    sides = [seen['client']] + seen['upstream']
    return any(b'transfer-encoding: chunked' in part.lower() for messages, rest, *_ in sides for part in [m[0] for m in messages] + [rest]) \
        or any(rest.startswith(b'SETTINGS') for _, rest, *_ in sides)


def differences(envoy, nuncio):
    """{what: (Envoy's, nuncio's)}, empty where both are alike."""
    out = {}
    if envoy['client'] != nuncio['client']:
        for kind in bytes_differ('client', envoy['client'], nuncio['client']):
            out[kind] = (envoy['client'], nuncio['client'])
    if envoy['upstream'] != nuncio['upstream']:
        kinds = ['upstream connections'] if len(envoy['upstream']) != len(nuncio['upstream']) else []
        for a, b in zip(envoy['upstream'], nuncio['upstream']):
            kinds += bytes_differ('upstream', a, b)
        for kind in kinds:
            out[kind] = (envoy['upstream'], nuncio['upstream'])
    logs = [[fields(l) for l in seen['log']] for seen in (envoy, nuncio)]
    if any(len(m) > 3 for m in envoy['client'][0]):
        # Streams of one connection end in any order.
        logs = [sorted(lines, key=lambda l: sorted(l.items())) for lines in logs]
    if len(logs[0]) != len(logs[1]):
        out['log lines'] = (envoy['log'], nuncio['log'])
    for a, b in zip(*logs):
        for name in sorted(set(a) | set(b)):
            if a.get(name) != b.get(name):
                out['log ' + name] = (a.get(name), b.get(name))
    counters = [seen.get('counters', {}) for seen in (envoy, nuncio)]
    for name in sorted(set(counters[0]) | set(counters[1])):
        if counters[0].get(name) != counters[1].get(name):
            out['counter ' + name] = (counters[0].get(name), counters[1].get(name))
    if is_free(envoy) or is_free(nuncio):
        out = {k: v for k, v in out.items() if not SENT.search(k)}
    return out


def plain(name):
    """A kind of difference, without the number of its listener."""
    return re.sub(r'\b(in|c)\d+\b', r'\1', re.sub(r'HOST_\d+', 'PORT', name))


def kind_of(found):
    return sorted({plain(k) for k in found})


def weightiest(kinds):
    """The one kind that tells most of its cause: what peers saw before what was logged, and counters last."""
    ranks = 'client line', 'client', 'upstream', 'log RESPONSE', 'log lines', 'log', 'counter'
    return min(kinds, key=lambda kind: next(i for i, rank in enumerate(ranks) if kind.startswith(rank)))


def messages_of(side, seen):
    if side == 'client':
        answers, rest, ended = seen
        lines = [repr(p) for a in answers for p in a if p] + (['rest ' + repr(rest)] if rest else []) + [ended]
    else:
        lines = []
        for i, (requests, rest) in enumerate(seen):
            lines += ['connection %d' % i] + [repr(p) for a in requests for p in a if p] + (['rest ' + repr(rest)] if rest else [])
    return lines


def show(shape, ex, found):
    """The exchange as `--case` reads it, and what differed."""
    case = {'shape': {k: v for k, v in shape.items() if v}, 'exchange': {k: v for k, v in ex.items() if v not in ([], {}, 'body')}}
    print(yaml.safe_dump(case, width=200, default_flow_style=None, sort_keys=False).rstrip())
    shown = set()
    for what, (envoy, nuncio) in found.items():
        side = what.partition(' ')[0]
        if side not in ('client', 'upstream'):
            print('  %s: Envoy %r, nuncio %r' % (what, envoy, nuncio))
        elif side not in shown:
            shown.add(side)
            for who, seen in (('Envoy ', envoy), ('nuncio', nuncio)):
                print('  %s %s:\n      %s' % (who, side, '\n      '.join(messages_of(side, seen))))


def show_seen(seen, counters):
    """What both saw alike."""
    for side in ('client', 'upstream'):
        print('  both %s:\n      %s' % (side, '\n      '.join(messages_of(side, seen[side]))))
    for line in seen['log']:
        print('  both log: %s' % ' '.join('%s=%s' % f for f in fields(line).items() if f[1] != '-'))
    print('  both counters: %s' % ' '.join('%s=%d' % c for c in sorted(counters.items())))
