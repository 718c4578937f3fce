"""Hosts whose health is watched: scripted answers to checks, event logs, flags; and hosts that are ejected."""
import asyncio
import json
import re

from .config import Y, cluster, lbe, merge, simple
from .http1 import resp

HC = '{timeout: 1s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1}'
FILE_SINK = 'type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink'
STATS = r'^cluster\.c1\.(health_check\.|membership_(healthy|degraded|excluded)$)'
OD = r'^cluster\.c1\.outlier_detection\.'
TIME = re.compile(r'"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"')


def sink(t, name='hc.log'):
    return [{'name': 'envoy.health_check.event_sinks.file', 'typed_config': {'@type': FILE_SINK, 'event_log_path': t.path(name)}}]


def checks(t, kind, extra=None, log=True):
    x = merge(Y(HC), Y(kind))
    if log:
        x['event_logger'] = sink(t)
    x = merge(x, Y(extra) or {})
    for k in [k for k, v in x.items() if v is None]:
        del x[k]
    return x


HTTP = '{http_health_check: {path: /hz}}'


class Script:
    """What each host answers to its checks: one answer, or a list of them, of which the last is repeated. An answer is a
    status, the arguments of `resp` as a tuple, 'close' or 'hang'."""

    def __init__(self, **answers):
        self.answers = {k: list(v) if isinstance(v, list) else [v] for k, v in answers.items()}
        self.seen = {k: 0 for k in answers}

    def next(self, up):
        self.seen[up] += 1
        a = self.answers[up]
        return a.pop(0) if len(a) > 1 else a[0]

    def set(self, up, *answers):
        self.answers[up] = list(answers)

    async def respond(self, m, n):
        if not m['path'].startswith('/hz'):
            return resp(200, m['up'], [('x-up', m['up'])])
        a = self.next(m['up'])
        if a == 'close':
            return None
        if a == 'hang':
            await asyncio.sleep(5)
            return None
        if isinstance(a, tuple):
            return resp(*a)
        return resp(a, '')


async def checked(t, script, kind=HTTP, extra=None, cx=None, log=True, endpoint=None, **kw):
    """Starts a cluster c1 with a host for each name of the script."""
    us = [await t.up(name, script.respond) for name in script.answers]
    hosts = [lbe(u, extra=endpoint) if endpoint else u for u in us]
    c = cluster('c1', hosts, merge({'health_checks': [checks(t, kind, extra, log)],
                                    'common_lb_config': {'healthy_panic_threshold': {'value': 0}}}, Y(cx) or {}))
    await t.start(simple(t, clusters=[c], **kw))
    return us


async def healthy(t, n, timeout=5):
    return bool(await t.stat_until('cluster.c1.membership_healthy', lambda v: v == n, timeout))


async def count(t, name, n, timeout=5):
    return bool(await t.stat_until('cluster.c1.' + name, lambda v: v >= n, timeout))


async def flags(t, words=('health_flags',)):
    _, text = await t.admin('/clusters')
    return [l for l in text.splitlines() if any('::%s::' % w in l for w in words)]


async def health_json(t):
    _, text = await t.admin('/clusters?format=json')
    return [h.get('health_status') for c in json.loads(text)['cluster_statuses'] for h in c.get('host_statuses', [])]


def timeless(lines):
    return [TIME.sub('"timestamp":"<time>"', l) for l in lines]


async def events(t, name='hc.log', unique=True):
    """The event log's lines without their times; a line like the one before it is left out."""
    lines = timeless(await t.logs(name))
    return [l for i, l in enumerate(lines) if not unique or i == 0 or lines[i - 1] != l]


# ---- outlier detection
EJECT = '{consecutive_5xx: 2, interval: 0.2s, base_ejection_time: 0.5s, max_ejection_percent: 100}'
OUTLIER_LOG = '{cluster_manager: {outlier_detection: {event_log_path: %s}}}'
OUTLIER_SECS = re.compile(r'"secs_since_last_action":"\d+"')


async def ejectable(t, od, answers, cx=None, log=True, checks_of=None):
    """A cluster c1 whose hosts answer requests as `answers` says; `answers` may change. Checks are answered with 200."""
    async def f(m, n):
        if m['path'] == '/hz':
            return resp(200)
        a = answers[m['up']]
        return resp(*(a if isinstance(a, tuple) else (a, m['up'], [('x-up', m['up'])])))
    us = [await t.up(name, f) for name in answers]
    extra = {'outlier_detection': Y(od), 'common_lb_config': {'healthy_panic_threshold': {'value': 0}}}
    if checks_of:
        extra['health_checks'] = [checks(t, HTTP, checks_of, log=False)]
    c = cluster('c1', us, merge(extra, Y(cx) or {}))
    await t.start(simple(t, clusters=[c], extra=OUTLIER_LOG % t.path('outlier.log') if log else None))
    return us


async def ask(t, n):
    return [(await t.req('/')).status for _ in range(n)]


async def outlier_events(t):
    return [OUTLIER_SECS.sub('"secs_since_last_action":"<secs>"', l) for l in timeless(await t.logs('outlier.log'))]


async def ejections(t):
    return {k[len('cluster.c1.outlier_detection.'):]: v for k, v in (await t.stats(regex=OD)).items() if v}
