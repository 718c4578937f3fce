"""Processes of one bench run: started in their own folder, measured from outside, ended by their own ids."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TICK = os.sysconf('SC_CLK_TCK')


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class NotReady(Exception):
    """A proxy ended, or did not listen in time; the text is what it printed."""


class Process:
    """A program with its own folder, log and (if it is a server) port."""

    def __init__(self, argv, port=None, folder=None, ready_within=20, stdin=subprocess.DEVNULL, env=None):
        self.folder = folder or tempfile.mkdtemp(prefix='nuncio_bench_')
        self.port, self.argv = port, argv
        self.log = os.path.join(self.folder, 'output')
        with open(self.log, 'wb') as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(argv, stdin=stdin, stdout=log, stderr=log, cwd=self.folder, env=env, start_new_session=True)
        if port:
            self.ready_after = self._wait_listening(ready_within)

    def _wait_listening(self, limit):
        while time.monotonic() - self.started < limit:
            if self.process.poll() is not None:
                raise NotReady('%s exited with %s: %s' % (self.argv[0], self.process.returncode, self.output()[-600:]))
            with socket.socket() as s:
                if s.connect_ex(('127.0.0.1', self.port)) == 0:
                    return time.monotonic() - self.started
            time.sleep(0.002)
        self.end()
        raise NotReady('%s does not listen: %s' % (self.argv[0], self.output()[-600:]))

    def output(self):
        with open(self.log, errors='replace') as f:
            return f.read()

    def pids(self):
        """This process and its descendants."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            try:
                for task in os.listdir('/proc/%d/task' % pid):
                    with open('/proc/%d/task/%s/children' % (pid, task)) as f:
                        todo += [int(p) for p in f.read().split()]
            except OSError:
                pass
        return found

    def cpu(self):
        """(user, system, exact sum) in seconds; user and system in clock ticks, the sum from the scheduler."""
        user = system = exact = 0
        for pid in self.pids():
            with open('/proc/%d/stat' % pid) as f:
                fields = f.read().rsplit(')', 1)[1].split()
            user, system = user + int(fields[11]) / TICK, system + int(fields[12]) / TICK
            for task in os.listdir('/proc/%d/task' % pid):
                with open('/proc/%d/task/%s/schedstat' % (pid, task)) as f:
                    exact += int(f.read().split()[0]) / 1e9
        return user, system, exact

    def memory(self):
        """(RSS, PSS) in bytes, of all its processes."""
        rss = pss = 0
        for pid in self.pids():
            with open('/proc/%d/smaps_rollup' % pid) as f:
                for line in f:
                    if line.startswith('Rss:'):
                        rss += int(line.split()[1]) * 1024
                    elif line.startswith('Pss:'):
                        pss += int(line.split()[1]) * 1024
        return rss, pss

    def end(self, keep=False):
        """SIGTERM, patience, SIGKILL; removes the folder unless told to keep it. Returns what it printed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        printed = self.output()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        return printed
