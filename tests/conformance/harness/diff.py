"""Field by field comparison of two observations."""
import json


def plain(v):
    """What a value is after a trip through JSON: the recorded form."""
    return json.loads(json.dumps(v))


def diff(want, got, path=''):
    """One line per difference; empty when equal."""
    if type(want) is not type(got):
        return ['%s: want %r got %r' % (path, want, got)]
    if isinstance(want, dict):
        return _diff_dict(want, got, path)
    if isinstance(want, list):
        return _diff_list(want, got, path)
    return [] if want == got else ['%s: want %r got %r' % (path, want, got)]


def _diff_dict(want, got, path):
    out = []
    for k in sorted(set(want) | set(got)):
        p = '%s.%s' % (path, k) if path else k
        if k not in got:
            out.append('%s: want %r, absent' % (p, want[k]))
        elif k not in want:
            out.append('%s: not wanted %r' % (p, got[k]))
        else:
            out += diff(want[k], got[k], p)
    return out


def _diff_list(want, got, path):
    if want == got:
        return []
    if all(isinstance(x, str) for x in want + got):
        missing = [x for x in want if x not in got]
        extra = [x for x in got if x not in want]
        if missing or extra:
            return ['%s: missing %r extra %r' % (path, missing, extra)]
        return ['%s: want %r got %r' % (path, want, got)]
    if len(want) != len(got):
        return ['%s: want %d items got %d: %r / %r' % (path, len(want), len(got), want, got)]
    return [l for i, (a, b) in enumerate(zip(want, got)) for l in diff(a, b, '%s[%d]' % (path, i))]
