"""Makes a difference small: leaves out of an exchange and of a shape whatever it does not need."""
import copy
import re

from tell import kind_of

TRIES, LEVELS, MOST = 120, 4, 24
HURRIED = 0.15, 0.3     # seconds of patience, and until counters are at rest


def cuts(ex):
    """Smaller exchanges, the boldest first."""
    key = 'steps' if 'steps' in ex else 'pieces'
    parts = ex[key]
    if key == 'pieces' and len(parts) > 1:
        yield {**ex, 'pieces': [''.join(parts)]}
    for i in range(len(parts)):
        if len(parts) > 1:
            yield {**ex, key: parts[:i] + parts[i + 1:]}
    for less in ('settings', 'server'):
        if ex.get(less):
            yield {**ex, less: {}}
    if ex['end'] != 'wait':
        yield {**ex, 'end': 'wait'}
    if ex['when'] != 'body':
        yield {**ex, 'when': 'body'}
    for i in range(len(ex['answers'])):
        yield {**ex, 'answers': ex['answers'][:i] + ex['answers'][i + 1:]}
    for i, steps in enumerate(ex['answers']):
        for j in range(len(steps)):
            yield {**ex, 'answers': ex['answers'][:i] + [steps[:j] + steps[j + 1:]] + ex['answers'][i + 1:]}
        for j, step in enumerate(steps):
            for smaller in step_less(step):
                yield {**ex, 'answers': ex['answers'][:i] + [steps[:j] + [smaller] + steps[j + 1:]] + ex['answers'][i + 1:]}
    for i, part in enumerate(parts):
        for smaller in lines_less(part) if key == 'pieces' else step_less(part):
            yield {**ex, key: parts[:i] + [smaller] + parts[i + 1:]}


def step_less(step):
    """The step with less in it: a header field fewer."""
    for at, part in enumerate(step):
        if step[0] == 'send' and at == 1:
            for text in lines_less(part):
                yield [step[0], text]
        elif isinstance(part, list):
            for i in [i for i, field in enumerate(part) if field[0][:1] != ':']:
                yield step[:at] + [part[:i] + part[i + 1:]] + step[at + 1:]


def lines_less(text):
    """The text without one of its header lines."""
    for m in re.finditer(r'(?<=\n)[^\r\n]+\r\n', text):
        yield text[:m.start()] + text[m.end():]


def paths(tree, path=()):
    """Paths of what can be cut off a shape: parts of it before what is in them."""
    out = []
    for k, v in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if not (isinstance(v, str) or k in ('match', 'header', 'typed_config') or (path == () and not v)) and (path or k not in ('host', 'talk')):
            out.append(path + (k,))
        if isinstance(v, (dict, list)) and len(path) < 4 and k not in ('match', 'header'):
            out += paths(v, path + (k,))
    return sorted(out, key=len)


def without(tree, path):
    """The shape without what is at `path`."""
    out = copy.deepcopy(tree)
    at = out
    for k in path[:-1]:
        at = at[k]
    if len(path) == 1:
        at[path[0]] = type(at[path[0]])()
    elif path[-1] in at if isinstance(at, dict) else path[-1] < len(at):
        del at[path[-1]]
    return out


class Shrinker:
    """Looks for less that still shows the kind `wanted`. `pair_of` makes both proxies from shapes."""

    def __init__(self, pair_of, wanted):
        self.pair_of, self.wanted = pair_of, wanted

    def shows(self, found):
        return self.wanted in kind_of(found)

    async def which_show(self, shapes, ex):
        """What each of these shapes differs in, or None where a proxy does not take them."""
        pair = self.pair_of(shapes)
        try:
            if await pair.start() != [True, True]:
                return None
            return [await pair.once(i, ex, *HURRIED) for i in range(len(shapes))]
        finally:
            await pair.stop()

    async def small(self, shape, ex, found):
        """(shape, exchange, differences) with less in it."""
        for _ in range(LEVELS):
            ways = [path for path in paths(shape) if without(shape, path) != shape and await self.pair_of([without(shape, path)]).valid()][:MOST]
            seen = await self.which_show([without(shape, path) for path in ways], ex) if ways else None
            good = [path for path, s in zip(ways, seen or []) if self.shows(s)]
            if not good:
                break
            for some in (good, good[:len(good) // 2], good[:1]):
                smaller = shape
                for path in reversed(some):
                    smaller = without(smaller, path)
                seen = await self.which_show([smaller], ex)
                if seen and self.shows(seen[0]):
                    break
            else:
                break
            shape = smaller
        pair = self.pair_of([shape])
        try:
            if await pair.start() == [True, True]:
                ex = await self.less_of(pair, ex)
                found = await pair.alone(0, ex) or found
        finally:
            await pair.stop()
        return shape, ex, found

    async def less_of(self, pair, ex):
        tries, again = 0, True
        while again:
            again = False
            for smaller in cuts(ex):
                tries += 1
                if tries > TRIES:
                    return ex
                if self.shows(await pair.once(0, smaller, *HURRIED)):
                    ex, again = smaller, True
                    break
        return ex
