#!/usr/bin/env python3
"""Runs the suite against stand-ins that do next to nothing and prints what they pass (has to be nothing)."""
import json
import os
import stat
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

STANDIN = r'''#!%s
import asyncio, signal, sys
import yaml
mode = %r
if mode == 'exit':
    sys.exit(0)
if '--mode' in sys.argv:
    sys.exit(1 if mode in ('503', 'pipe') else 0)
cfg = yaml.safe_load(open(sys.argv[sys.argv.index('-c') + 1]))
sr = cfg.get('static_resources') or {}
first = None
for c in sr.get('clusters') or []:
    for e in (c.get('load_assignment') or {}).get('endpoints') or []:
        for l in e.get('lb_endpoints') or []:
            a = l.get('endpoint', {}).get('address', {}).get('socket_address')
            if a and not first:
                first = (a['address'], a['port_value'])


async def admin(r, w):
    try:
        while True:
            h = await r.readuntil(b'\r\n\r\n')
            path = h.split(b' ')[1]
            body = b'LIVE\n' if path == b'/ready' else b''
            w.write(b'HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\ncache-control: no-cache, max-age=0\r\nserver: envoy\r\ncontent-length: %%d\r\nconnection: close\r\n\r\n' %% len(body) + body)
            await w.drain()
            w.close()
            return
    except Exception:
        w.close()


async def answer(r, w):
    try:
        while True:
            await r.readuntil(b'\r\n\r\n')
            w.write(b'HTTP/1.1 ' + {'404': b'404 Not Found', '503': b'503 Service Unavailable', '200': b'200 OK'}[mode] + b'\r\nserver: envoy\r\ncontent-length: 0\r\n\r\n')
            await w.drain()
    except Exception:
        w.close()


async def pipe(r, w):
    try:
        r2, w2 = await asyncio.open_connection(*first)
    except Exception:
        w.close()
        return

    async def cp(a, b):
        try:
            while True:
                d = await a.read(65536)
                if not d:
                    break
                b.write(d)
                await b.drain()
        except Exception:
            pass
        b.close()
    await asyncio.gather(cp(r, w2), cp(r2, w))


async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: sys.exit(0) if False else loop.stop())
    a = cfg['admin']['address']['socket_address']
    await asyncio.start_server(admin, a['address'], a['port_value'])
    for l in sr.get('listeners') or []:
        s = l['address']['socket_address']
        await asyncio.start_server(pipe if mode == 'pipe' else answer, s['address'], s['port_value'])
    await asyncio.Event().wait()
try:
    asyncio.run(main())
except RuntimeError:
    pass
'''


def main():
    passed = {}
    with tempfile.TemporaryDirectory() as d:
        for mode in ('exit', '404', '503', '200', 'pipe'):
            p = os.path.join(d, 'standin_' + mode)
            with open(p, 'w') as f:
                f.write(STANDIN % (sys.executable, mode))
            os.chmod(p, os.stat(p).st_mode | stat.S_IXUSR)
            out = os.path.join(d, mode + '.json')
            subprocess.run([sys.executable, os.path.join(HERE, 'run.py'), '--bin', p, '--json', out, '-q', '--first-difference',
                            *sys.argv[1:]], stdout=subprocess.DEVNULL)
            with open(out) as f:
                results = json.load(f)
            agreeing = [c for c, r in results.items() if r['agrees']]
            print('%-5s passes %d of %d' % (mode, len(agreeing), len(results)), flush=True)
            for c in agreeing:
                passed.setdefault(c, []).append(mode)
                print('      ' + c)
    return 1 if passed else 0


if __name__ == '__main__':
    sys.exit(main())
