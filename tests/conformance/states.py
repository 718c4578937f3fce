"""The one file that says for every case what is expected of it today.

    CASE  pass
    CASE  pending AREA             what it needs is not built yet; the area says what
    CASE  differs RULE reason      we deliberately do otherwise; listed in docs/differences.md too
"""
import os

HERE = os.path.dirname(os.path.abspath(__file__))
STATES = os.path.join(HERE, 'states.txt')
DIFFERENCES = os.path.join(HERE, '..', '..', 'docs', 'differences.md')
# Groups whose area goes by another name.
AREAS = {'h2': 'http2'}


def load(path=STATES):
    """{case id: (state, rest of the line)}; raises ValueError for a line that is none."""
    states = {}
    with open(path) as f:
        for n, line in enumerate(f, 1):
            words = line.split('#')[0].split(None, 2)
            if not words:
                continue
            cid, state, rest = words[0], words[1] if len(words) > 1 else '', words[2].strip() if len(words) > 2 else ''
            if cid in states:
                raise ValueError('%s:%d: %s stands here twice' % (path, n, cid))
            wanted = {'pass': 0, 'pending': 1, 'differs': 2}.get(state)
            if wanted is None or len(rest.split()) < wanted or (wanted == 0 and rest):
                raise ValueError('%s:%d: want "CASE pass", "CASE pending AREA" or "CASE differs RULE reason"' % (path, n))
            states[cid] = (state, rest)
    return states


def save(states, path=STATES):
    """Writes the file, sorted by case."""
    with open(path) as f:
        head = [l for l in f if l.startswith('#')]
    with open(path + '.new', 'w') as f:
        f.writelines(head)
        for cid, (state, rest) in sorted(states.items()):
            f.write(('%-56s %s %s' % (cid, state, rest)).rstrip() + '\n')
    os.replace(path + '.new', path)


def unlisted(states):
    """The `differs` cases that docs/differences.md does not name."""
    try:
        with open(DIFFERENCES) as f:
            text = f.read()
    except OSError:
        text = ''
    return sorted(c for c, (state, _) in states.items() if state == 'differs' and '`%s`' % c not in text)


def first_state(cid):
    """The state of a case that has just been recorded."""
    group = cid.split('.')[0]
    return 'pending', AREAS.get(group, group)
