"""What longer runs look at: memory and descriptors of a process, and a line for each thing that has to hold."""
import asyncio
import os
import time

# Memory comes and goes with the bodies that are under way, several MiB of them: what is kept is the least of each so many samples.
WINDOW = 10


def memory(pid):
    """PSS in KiB."""
    with open('/proc/%d/smaps_rollup' % pid) as f:
        return next(int(l.split()[1]) for l in f if l.startswith('Pss:'))


async def sample(pid, samples, until, every):
    while time.monotonic() < until:
        samples.append((time.monotonic(), memory(pid), len(os.listdir('/proc/%d/fd' % pid))))
        await asyncio.sleep(every)


def floors(samples):
    """The least memory of each window, so that bodies under way are left out and what is never given back is not."""
    windows = [samples[i:i + WINDOW] for i in range(0, len(samples) - WINDOW + 1, WINDOW)] or [samples]
    return [min(w, key=lambda s: s[1]) for w in windows]


def slope(points):
    """KiB per minute by least squares."""
    mx = sum(p[0] for p in points) / len(points)
    my = sum(p[1] for p in points) / len(points)
    below = sum((p[0] - mx) ** 2 for p in points) or 1
    return sum((p[0] - mx) * (p[1] - my) for p in points) / below * 60


class Books:
    """The checks at the end, one line each."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, ok, figures):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        print('%-5s %-44s %s' % ('ok' if ok else 'FAIL', what, figures), flush=True)
