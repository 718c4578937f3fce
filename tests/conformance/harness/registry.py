"""The list of cases: one named behaviour each, registered by a decorator and found by glob."""
import importlib.util
import os

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CASES = {}
_group = [None]


class Case:
    """A named behaviour: an async function that drives a proxy and stores observations."""

    def __init__(self, cid, group, fn, timeout, solo):
        self.id, self.group, self.fn, self.timeout, self.solo = cid, group, fn, timeout, solo


def case(name=None, timeout=20, group=None, solo=False):
    """Registers a case. The id is <group>.<name>; the group is the part of the file's name before '_'.

    `timeout` is in seconds and ends the case by itself; a `solo` case runs when no other one does.
    """
    def deco(fn):
        g = group or _group[0]
        cid = '%s.%s' % (g, name or fn.__name__.strip('_'))
        if cid in CASES:
            raise RuntimeError('duplicate case ' + cid)
        CASES[cid] = Case(cid, g, fn, timeout, solo)
        return fn
    return deco


def load_cases():
    """Imports every cases/*.py (files that start with '_' are helpers) and returns all cases by id."""
    d = os.path.join(HERE, 'cases')
    for f in sorted(os.listdir(d)):
        if not f.endswith('.py') or f.startswith('_'):
            continue
        _group[0] = f[:-3].split('_')[0]
        spec = importlib.util.spec_from_file_location('case_' + f[:-3], os.path.join(d, f))
        m = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(m)
    return CASES
