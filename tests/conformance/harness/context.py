"""Everything that a case uses: upstreams, a proxy, clients, admin, observations. One context per run of a case."""
import asyncio
import os
import re
import shutil
import socket
import tempfile
import time

import yaml

from .diff import diff, plain
from .dns import Dns
from .http1 import ClientConn, H1Stream, Msg, body_repr, build, read_response
from .http2 import H2Client, H2Up
from .net import free_port
from .normalise import Normaliser
from .proxy import Proxy
from .upstream import Up

# What a client's close needs to be seen by a proxy before SIGTERM would end the stream for another reason.
CLOSE_SEEN = 0.03


class Differs(Exception):
    """An observation is not the recorded one, in a run that only asks whether the case passes."""


class T(Normaliser):
    """`binary` is started as the proxy; with `envoy` also the flags that only Envoy needs.

    With `expect` (the recorded observations) the case ends at the first difference.
    """

    def __init__(self, case, binary, envoy, expect=None):
        super().__init__(tempfile.mkdtemp(prefix='nuncio_case_'))
        self.case, self.binary, self.envoy, self.expect = case, binary, envoy, expect
        self.obs = {}
        self.ups = []
        self.dns_servers = []
        self.held = []
        self.proxies = []
        self.conns = []
        self.bg = []
        self.last_log = ''

    def port(self, label):
        p = free_port()
        self.ports[p] = label
        return p

    def see(self, key, v, **kw):
        """Stores an observation; messages are turned into their normal view."""
        if key in self.obs:
            raise RuntimeError('observation twice: ' + key)
        self.obs[key] = plain(self.view(v, **kw))
        if self.expect is not None:
            d = diff(self.expect.get(key), self.obs[key], key)
            if d:
                raise Differs(d[0])

    # ---- upstreams
    async def up(self, name='u1', respond=None, **kw):
        u = await Up(self, name, respond, **kw).listen()
        self.ups.append(u)
        return u

    async def h2up(self, name='u1', handler=None, **kw):
        u = await H2Up(self, name, handler, **kw).listen()
        self.ups.append(u)
        return u

    def dead(self, name='dead'):
        """An upstream address on which nothing listens."""
        return Up(self, name)

    # ---- proxy
    def silent(self, name='silent', addr='127.0.0.1'):
        """An upstream address that swallows packets: a listening socket whose backlog is full."""
        u = Up(self, name, addr=addr)
        family = socket.AF_INET6 if ':' in addr else socket.AF_INET
        self.held.append(socket.socket(family))
        self.held[-1].bind((addr, u.port))
        self.held[-1].listen(0)
        for _ in range(3):
            self.held.append(socket.socket(family))
            self.held[-1].setblocking(False)
            self.held[-1].connect_ex((addr, u.port))
        return u

    async def dns(self, records, name='dns', **kw):
        return await Dns(self, records, name, **kw).listen()

    def write(self, name, data):
        p = os.path.join(self.dir, name)
        with open(p, 'wb' if isinstance(data, bytes) else 'w') as f:
            f.write(data)
        return p

    def move_in(self, name, data):
        """Writes a file apart and moves it into its place, as atomic updates of configuration files do."""
        os.rename(self.write(name + '.new', data), self.path(name))

    def path(self, name):
        return os.path.join(self.dir, name)

    def argv(self, path):
        a = [self.binary, '-c', path, '--concurrency', '1']
        if self.envoy:
            a += ['-l', 'error', '--disable-hot-restart']
        return a

    async def start(self, cfg, name='proxy', wait=True, admin=None, raw=None, ext='yaml', args=(), env=None):
        """Writes the configuration and starts the proxy; returns when it is ready."""
        if raw is None:
            raw = yaml.safe_dump(cfg, sort_keys=False, default_flow_style=False, width=1000)
            admin = admin or cfg['admin']['address']['socket_address']['port_value']
        p = self.write(name + '.' + ext, raw)
        self.admin_port = admin
        proxy = Proxy([*self.argv(p), *args], self.dir, self.path(name + '.log'), env)
        self.proxies.append(proxy)
        await proxy.spawn()

        async def ready():
            try:
                return (await self.admin('/ready', port=admin, timeout=1))[0] == 200
            except (OSError, asyncio.TimeoutError, IndexError):
                return False
        if wait:
            await proxy.wait_ready(ready)
        return proxy

    async def run_to_end(self, cfg, args=(), timeout=5):
        """Starts the proxy where it is expected to end by itself: (exit code, what it printed)."""
        p = self.write('proxy.yaml', cfg if isinstance(cfg, str) else yaml.safe_dump(cfg, sort_keys=False))
        proxy = Proxy([*self.argv(p), *args], self.dir, self.path('proxy.log'))
        self.proxies.append(proxy)
        await proxy.spawn()
        await asyncio.wait_for(proxy.process.wait(), timeout)
        return proxy.process.returncode, proxy.log()

    def proxy_log(self, name='proxy'):
        for p in self.proxies:
            if p.log_path == self.path(name + '.log'):
                return p.log()
        return self.last_log

    async def stop(self):
        """SIGTERM to the proxies of this case, wait for them; their exit codes."""
        for p in self.proxies:
            p.terminate()
        codes = []
        for p in self.proxies:
            if p.process is not None:
                codes.append(await p.ended())
            self.last_log = p.log()
        self.proxies = []
        return codes

    async def cleanup(self):
        for b in self.bg:
            b.cancel()
        for c in self.conns:
            c.close()
        try:
            await self.stop()
            for u in self.ups:
                await u.stop()
            for x in self.dns_servers:
                x.stop()
            for x in self.held:
                x.close()
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    async def logs(self, name='access.log', stop=True):
        """Access log lines, read after the proxy has ended (so that it has flushed)."""
        if stop and self.proxies:
            for c in self.conns:
                c.close()
            await asyncio.sleep(CLOSE_SEEN)
            await self.stop()
        try:
            with open(self.path(name), encoding='utf-8', errors='replace') as f:
                return self.mask(f.read().splitlines())
        except OSError:
            return ['<no file>']

    # ---- admin
    async def admin(self, path, method='GET', port=None, timeout=5):
        """(status, body text); the whole message stays in `last_admin`."""
        async def go():
            r, w = await asyncio.open_connection('127.0.0.1', port or self.admin_port, limit=2**24)
            s = H1Stream(r, w)
            try:
                s.send('%s %s HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n%s\r\n' % (
                    method, path, 'Content-Length: 0\r\n' if method == 'POST' else ''))
                m = await read_response(s, method)
                self.last_admin = m
                return m['status'], m['body'].decode('utf-8', 'replace')
            finally:
                s.close()
        return await asyncio.wait_for(go(), timeout)

    async def stats(self, *names, port=None, regex=None, settle=0.02):
        """Chosen counters and gauges, by exact name or by regex; None for one that is not there."""
        await asyncio.sleep(settle)
        _, b = await self.admin('/stats', port=port)
        found = dict(l.partition(': ')[::2] for l in b.splitlines())

        def value(v):
            return int(v) if v is not None and v.lstrip('-').isdigit() else v
        if regex:
            return {k: value(v) for k, v in sorted(found.items()) if re.search(regex, k)}
        return {n: value(found.get(n)) for n in names}

    async def until(self, fn, timeout=5, step=0.02):
        """Polls fn (may be async) until it is true; its value, or False."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            v = fn()
            if asyncio.iscoroutine(v):
                v = await v
            if v:
                return v
            await asyncio.sleep(step)
        return False

    async def stat_until(self, name, pred, timeout=5):
        async def f():
            v = (await self.stats(name, settle=0))[name]
            return v is not None and pred(v)
        return await self.until(f, timeout, 0.03)

    async def merged(self, requests):
        """Waits until flushes have merged the histograms of so many requests, and one more has emptied the last interval."""
        async def f():
            _, b = await self.admin('/stats/prometheus?filter=^http[.].*downstream_rq_time$')
            counts = [int(l.split()[-1]) for l in b.splitlines() if '_count{' in l and '"admin"' not in l]
            _, b = await self.admin('/stats?filter=^http[.].*downstream_rq_time$')
            quiet = all(' P0(nan,' in l or 'No recorded' in l for l in b.splitlines() if not l.startswith('http.admin.'))
            return sum(counts) == requests and quiet
        return await self.until(f)

    @staticmethod
    async def pass_time(seconds):
        """A stretch of the case's own time: a timer under test, a scripted delay, or a while in which something must not
        happen. What can be seen is waited for by `until`."""
        await asyncio.sleep(seconds)

    # ---- clients
    async def _connect(self, host, port, src, ssl, sni):
        """A listener may be bound a moment after /ready: a refused connection is tried again for a while."""
        end = time.monotonic() + (2 if self.expect is None else 0.2)
        while True:
            try:
                r, w = await asyncio.open_connection(host, port or self.l1, ssl=ssl, server_hostname=sni, limit=2**22,
                                                     local_addr=(src, 0) if src else None)
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.02)
                continue
            self.ports.setdefault(w.get_extra_info('sockname')[1], 'cport')
            return r, w

    async def conn(self, port=None, src=None, ssl=None, sni=None, host='127.0.0.1'):
        c = ClientConn(*await self._connect(host, port, src, ssl, sni))
        self.conns.append(c)
        return c

    async def h2(self, port=None, settings=None, ssl=None, sni=None, src=None, auto_window=True):
        r, w = await self._connect('127.0.0.1', port, src, ssl, sni)
        c = H2Client(r, w, True, settings, auto_window)
        c.start()
        self.conns.append(c)
        c.task = asyncio.ensure_future(c.run())
        self.bg.append(c.task)
        return c

    async def h2req(self, path='/', method='GET', headers=(), body=None, authority='test.example', conn=None, timeout=5, **kw):
        c = conn or await self.h2(**kw)
        hs = [(':method', method), (':scheme', 'http'), (':path', path), (':authority', authority)] + (
            list(headers.items()) if isinstance(headers, dict) else list(headers))
        sid = c.request(hs, body)
        m = await c.done(sid, timeout)
        if conn is None:
            c.close()
        return m

    async def req(self, path='/', method='GET', headers=(), host='test.example', body=None, raw=None, port=None, src=None,
                  conn=None, timeout=5, ssl=None, sni=None, version='HTTP/1.1'):
        """One HTTP/1 request on a fresh connection (or conn); returns the parsed response."""
        own = conn is None
        if own:
            try:
                conn = await self.conn(port, src, ssl, sni)
            except Exception as e:
                return Msg(line='connect-failed', status=0, raw_headers=[], body=b'', err=type(e).__name__)
        if raw is None:
            raw = build(path, method, headers, host, body, version)
        conn.send(raw)
        r = await conn.response(method, timeout)
        if own:
            conn.close()
        return r

    async def statuses(self, reqs):
        """[(label, kwargs)] -> {label: 'status x-up'}"""
        out = {}
        for label, kw in reqs:
            r = await self.req(**kw)
            out[label] = '%s %s' % (r['status'], r.h('x-up') or body_repr(r['body'], 120))
        return out
