"""One random change of a configuration: values of the wrong kind or at the edge, keys gone, doubled, misspelt or moved in from elsewhere."""
import copy
import re

ODD = [True, False, None, 0, 1, -1, 2, 1.5, 4294967296, 9223372036854775808, 1e300, '', ' ', 'x', 'é', '1', 'true', 'NaN', '1s', '-1s', [], {}, [{}], ['x'], {'x': 1}, '0', '%', '%REQ(', 'a b', '127.0.0.1', '\n', 'a\x00b', '@type', '[', '(']
DURATIONS = ['0s', '1', 1, '-1s', '1.5s', '1m', '0.000000001s', '0.0000000001s', '0.000001s', '315576000000s', '315576000001s', '1s ', ' 1s', 's', '.5s', '1.s', '+1s', '1e3s', '9223372036854s', {'seconds': 1}]
DURATION = re.compile(r'-?\d+(\.\d+)?s')
KEPT = ('path', 'filename')


class Change:
    """What was changed: at which place, to what."""

    def __init__(self, how, place, value=None):
        self.how, self.place, self.value = how, place, value

    @property
    def kind(self):
        """Alike for changes of one sort at one field; extension and element numbers aside."""
        value = type(self.value).__name__ if not isinstance(self.value, (str, dict)) else str(self.value)[:12]
        return '%s %s %s' % (self.how, '.'.join(str(p) for p in self.place if not isinstance(p, int))[-60:], value)

    def __str__(self):
        return '%s %s %s' % (self.how, '.'.join(map(str, self.place)), '' if self.value is None and self.how != 'set' else repr(self.value)[:150])


class Pool:
    """What stands anywhere in the configurations: the values of each key, and the keys that stand beside others below the same parent or type."""

    def __init__(self, trees):
        self.values, self.beside = {}, {}
        for tree in trees:
            for path, parent, key in places(tree):
                if isinstance(key, str):
                    seen = self.values.setdefault(key, [])
                    if parent[key] not in seen and len(seen) < 60:
                        seen.append(parent[key])
                    self.beside.setdefault(room(path, parent), {}).setdefault(key, seen)


def room(path, parent):
    """What names the message that a dict is: its type, or the key it stands at."""
    return parent.get('@type') or next((p for p in reversed(path[:-1]) if isinstance(p, str)), '')


def places(tree, path=()):
    """(path, parent, key) of everything in a tree."""
    for k, v in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield path + (k,), tree, k
        if isinstance(v, (dict, list)):
            yield from places(v, path + (k,))


def camel(key):
    return re.sub(r'_(\w)', lambda m: m[1].upper(), key)


def other(r, value):
    """Another value in place of this one."""
    if isinstance(value, str) and DURATION.fullmatch(value) and r.random() < 0.7:
        return r.choice(DURATIONS)
    ways = [lambda: r.choice(ODD)]
    if isinstance(value, bool):
        ways += [lambda: not value, lambda: str(value).lower(), lambda: str(value)]
    elif isinstance(value, (int, float)):
        ways += [lambda: str(value), lambda: value + 0.5, lambda: float(value), lambda: -value, lambda: 0, lambda: value * 1000, lambda: '%d.0' % value, lambda: 1 << 32]
    elif isinstance(value, str):
        ways += [lambda: value.lower(), lambda: value.upper(), lambda: value + ' ', lambda: value + 'x', lambda: value[:-1], lambda: [value], lambda: value * 2]
    elif isinstance(value, list):
        ways += [lambda: [], lambda: value + value, lambda: value[0] if value else None, lambda: value + [None], lambda: value[::-1]]
    else:
        ways += [lambda: {}, lambda: [value], lambda: None, lambda: list(value)]
    return r.choice(ways)()


def changed(r, tree, pool):
    """(what was changed, the tree with it)"""
    while True:
        path, parent, key = r.choice([p for p in places(tree) if p[0][0] != 'admin'])
        if key in KEPT:
            continue
        how = r.choices(['set', 'gone', 'spelt', 'unknown', 'moved', 'added', 'doubled'], [5, 2, 1, 0.5, 4, 5, 1])[0]
        if how == 'set':
            new = other(r, parent[key])
            if new == parent[key] and type(new) is type(parent[key]):
                continue
            parent[key] = new
            return Change(how, path, new), tree
        if how == 'gone':
            del parent[key]
            return Change(how, path), tree
        if not isinstance(parent, dict):
            continue
        if how == 'spelt':
            new = r.choice([camel, str.upper, lambda k: k + ' ', lambda k: k.replace('_', '-'), lambda k: k[:-1]])(key)
            if new == key:
                continue
            parent[new] = parent.pop(key)
            return Change(how, path, new), tree
        if how == 'unknown':
            parent['no_such_field'] = 1
            return Change(how, path[:-1], 'no_such_field'), tree
        if how == 'doubled':
            if camel(key) == key:
                continue
            parent[camel(key)] = copy.deepcopy(parent[key])
            return Change(how, path, camel(key)), tree
        if how == 'moved':
            new = copy.deepcopy(r.choice(pool.values[key]))
            if new == parent[key]:
                continue
            parent[key] = new
            return Change(how, path, new), tree
        near = pool.beside.get(room(path, parent), {})
        more = [k for k in near if k not in parent]
        if more:
            new = r.choice(more)
            parent[new] = copy.deepcopy(r.choice(near[new]))
            return Change(how, path[:-1] + (new,), parent[new]), tree
