"""The proxy under test as a process: start, wait until ready, stop, what it printed."""
import asyncio
import os
import re
import signal
import subprocess
import time

READY_WITHIN = 10     # seconds
STOPS_WITHIN = 4      # seconds; then it is killed, and the case sees exit code -9


class NotReady(Exception):
    """The proxy ended, or did not answer 200 on /ready in time."""


class Proxy:
    """One process. `ready` is an async function that says whether it serves. `env` comes on top of this process's."""

    def __init__(self, argv, cwd, log_path, env=None):
        self.argv, self.cwd, self.log_path, self.env = argv, cwd, log_path, env
        self.process = None

    async def spawn(self):
        with open(self.log_path, 'wb') as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.cwd,
                env={**os.environ, **self.env} if self.env else None)
        return self

    async def wait_ready(self, ready):
        """Returns when `ready()` is true; notices a dead process at once."""
        # A loop with a deadline, not a task that is cancelled: asyncio.wait_for can lose a cancellation (bpo-37658).
        end = time.monotonic() + READY_WITHIN
        while not await ready():
            if self.process.returncode is not None:
                raise NotReady('proxy exited rc=%s: %s' % (self.process.returncode, self.log()))
            if time.monotonic() > end:
                raise NotReady('proxy not ready: ' + self.log())
            await asyncio.sleep(0.01)

    def send_signal(self, sig):
        self.process.send_signal(sig)

    def terminate(self):
        """SIGTERM, if it still runs."""
        self._signal(signal.SIGTERM)

    async def ended(self):
        """Exit code, after at most STOPS_WITHIN seconds of patience."""
        try:
            await asyncio.wait_for(self.process.wait(), STOPS_WITHIN)
        except asyncio.TimeoutError:
            self._signal(signal.SIGKILL)
            await self.process.wait()
        return self.process.returncode

    def _signal(self, sig):
        if self.process.returncode is None:
            try:
                self.process.send_signal(sig)
            except ProcessLookupError:
                pass

    def log(self):
        """The end of what it printed, without a configuration dump in it."""
        try:
            with open(self.log_path, errors='replace') as f:
                return re.sub(r'\{"(static_resources|admin)".*', '{...}', f.read())[-1500:]
        except OSError:
            return ''
