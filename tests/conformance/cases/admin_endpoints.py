"""Admin endpoints as requests find them: methods, odd targets, parameters, parameters that are wrong."""
from harness import *

HEADERS = {'content-type', 'cache-control', 'x-content-type-options', 'server', 'transfer-encoding', 'content-length', 'connection'}


async def ask(t, path, method='GET', **kw):
    """Status, headers that are the admin port's own, body."""
    r = await t.req(path, method=method, port=t.admin_port, **kw)
    return {'status': r['status'], 'headers': t.hs(r.raw_headers, only=HEADERS), 'body': t.mask(r['body'].decode('utf-8', 'replace'))}


async def bare(t, **kw):
    await t.start(simple(t, clusters=[], routes='[]', **kw))


@case()
async def odd_targets(t):
    await bare(t)
    out = {}
    for p in ('//ready', '/a/../ready', '/./ready', '/re%61dy', '/ready#x', '/ready/', '/READY', '*', 'http://h/ready', '/ready?', '/ready?a=b&c'):
        r = await ask(t, p)
        out[p] = [r['status'], r['headers'], r['body'].splitlines()[:1]]
    t.see('targets', out)


@case()
async def odd_requests(t):
    await bare(t)
    t.see('expect', await ask(t, '/ready', method='POST', headers=[('expect', '100-continue')], body='x'))
    t.see('query_method', await ask(t, '/ready', method='QUERY'))
    t.see('trace', await ask(t, '/ready', method='TRACE'))
    t.see('unknown_method', await ask(t, '/ready', method='FOO'))
    t.see('no_host', await ask(t, '/ready', raw=b'GET /ready HTTP/1.1\r\n\r\n'))
    t.see('bad', await ask(t, '/ready', raw=b'BAD\r\n\r\n'))


@case()
async def body_then_pipelined_request(t):
    await bare(t)
    c = await t.conn(port=t.admin_port)
    c.send(b'POST /ready HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabcGET /nope HTTP/1.1\r\nhost: h\r\n\r\n')
    t.see('first', (await c.response('POST', 5))['status'])
    t.see('second', (await c.response('GET', 5))['status'])


@case()
async def head_of_everything(t):
    await bare(t)
    t.see('heads', {p: await ask(t, p, method='HEAD') for p in ('/', '/stats', '/server_info', '/config_dump', '/nope', '/quitquitquit', '/clusters?format=json')})


@case()
async def stats_parameters_that_are_wrong(t):
    await bare(t)
    out = {}
    for p in ('/stats?hidden=x', '/stats?histogram_buckets=x', '/stats?histogram_buckets=prometheusnative', '/stats?type=x&format=x', '/stats?type=counters',
              '/stats?filter=(&type=x', '/stats?format=html&type=x', '/stats/prometheus?format=x', '/stats/prometheus?type=x', '/stats/prometheus?hidden=x',
              '/stats/prometheus?histogram_buckets=detailed', '/stats/prometheus?histogram_buckets=disjoint', '/stats/prometheus?histogram_buckets=prometheusnative',
              '/stats?format=prometheus&histogram_buckets=detailed', '/stats/prometheus?filter=('):
        out[p] = await ask(t, p)
    t.see('answers', out)


@case()
async def stats_parameters_without_effect(t):
    await bare(t)
    out = {}
    for p in ('/stats?filter=server.live$&hidden=include', '/stats?filter=server.live$&hidden=exclude', '/stats?filter=server.live$&hidden=only', '/stats?filter=server.live$&type=&format=',
              '/stats?filter=server.live$&filter=x', '/stats?filter=server.live$&usedonly=false', '/stats?pretty&format=json&filter=server.live$', '/stats/prometheus?filter=server.live$&type=Counters',
              '/stats/prometheus?filter=server.live$&format=json', '/stats/prometheus?filter=server.live$&text_readouts', '/stats?filter=server.live$&type=Counters',
              '/stats?filter=nothing&format=json', '/stats?filter=server.live$&format=prometheus&type=Histograms'):
        out[p] = await ask(t, p)
    t.see('answers', out)


@case()
async def stats_used_only(t):
    await t.up('u1')
    await t.start(simple(t))
    await t.req('/')
    await t.stat_until('http.in.downstream_cx_active', lambda v: v == 0)
    _, b = await t.admin('/stats?usedonly&filter=^(http.in|listener_manager|cluster_manager|runtime|server.(live|state|wip|static|dynamic|concurrency|debug|fips))')
    t.see('names', sorted(l.split(':')[0] for l in b.splitlines() if 'buffered' not in l and '_ms' not in l and 'rq_time' not in l))
    await t.admin('/reset_counters', 'POST')
    _, b = await t.admin('/stats?usedonly&filter=^http.in.downstream_rq_(total|2xx|4xx)')
    t.see('after_reset', b)


@case()
async def recent_lookups(t):
    await bare(t)

    async def total(p, method='GET'):
        r = await ask(t, p, method)
        return {**r, 'body': re.sub(r'\d+', 'N', r['body'])}
    t.see('off', await total('/stats/recentlookups'))
    t.see('enable_get', await total('/stats/recentlookups/enable'))
    t.see('enable', await total('/stats/recentlookups/enable', 'POST'))
    t.see('clear', await total('/stats/recentlookups/clear', 'POST'))
    t.see('disable', await total('/stats/recentlookups/disable', 'POST'))
    t.see('off_again', await total('/stats/recentlookups'))


@case()
async def profilers(t):
    await bare(t)
    out = {}
    for p in ('/cpuprofiler', '/cpuprofiler?enable=x', '/cpuprofiler?enable=n', '/heapprofiler', '/heapprofiler?enable=y', '/allocprofiler', '/allocprofiler?enable=x', '/allocprofiler?enable=n'):
        out[p] = await ask(t, p, 'POST')
    t.see('answers', out)
    t.see('contention', await ask(t, '/contention'))


@case()
async def forms(t):
    await bare(t, extra='{layered_runtime: {layers: [{name: adm, admin_layer: {}}]}}')
    form = [('content-type', 'application/x-www-form-urlencoded')]
    t.see('runtime', await ask(t, '/runtime_modify', 'POST', headers=form, body='a=b&c=d%20e'))
    t.see('entries', json.loads((await t.admin('/runtime'))[1])['entries'])
    t.see('query_wins', await ask(t, '/runtime_modify?x=1', 'POST', headers=form, body='y=1'))
    t.see('then', sorted(json.loads((await t.admin('/runtime'))[1])['entries']))
    t.see('no_value', await ask(t, '/runtime_modify?z', 'POST'))
    t.see('body_without_type', await ask(t, '/runtime_modify', 'POST', body='q=1'))
    t.see('end', sorted(json.loads((await t.admin('/runtime'))[1])['entries']))


@case()
async def logging_changes(t):
    await bare(t)
    out = {}
    for q in ('level=warning', 'paths=http:debug,router:trace,', 'paths=http', 'paths=http:', 'paths=:debug', 'paths=', 'level=INFO', 'level=off', 'http:debug', 'admin=warn', 'admin=critical',
              'level=info&level=debug', 'group=http:debug', 'group=', 'paths=http:info&level=info', 'x=', '=info'):
        st, b = await t.admin('/logging?' + q, 'POST')
        lines = b.splitlines()
        out[q] = [st, lines[0] if st != 200 else [l for l in lines if re.match(r'  (http|router|admin|main): ', l)]]
    t.see('answers', out)


@case()
async def access_log_of_the_admin_port(t):
    fmt = '%REQ(:METHOD)% %REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %ROUTE_NAME% %UPSTREAM_HOST% %REQ(X-FORWARDED-FOR)% %REQ(X-REQUEST-ID)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %LISTENER_NAME%'
    await bare(t, extra={'admin': {'access_log': [filelog(t, fmt, name='admin.log', filter='{header_filter: {header: {name: x-log, present_match: true}}}')]}})
    log = [('x-log', '1')]
    await t.req('/ready', port=t.admin_port, headers=log)
    await t.req('//ready?a=b', port=t.admin_port, headers=log)
    await t.req('/ready', port=t.admin_port)
    await t.req('/nope', port=t.admin_port, headers=log + [('x-forwarded-for', '1.2.3.4')])
    await t.req('/logging?level=info', method='POST', port=t.admin_port, headers=log, body='abc')
    await t.req('/ready', method='HEAD', port=t.admin_port, headers=log)
    t.see('log', [re.sub(r' \d{3,} - - ', ' N - - ', l) for l in await t.logs('admin.log')])


@case()
async def access_log_path_is_a_file_log(t):
    await bare(t, extra={'admin': {'access_log_path': t.path('admin.log')}})
    await t.req('/certs', port=t.admin_port)
    t.see('log', [re.sub(r'^\[[^]]*\]|(?<=" 200 - 0 )\d+ \d+', '', l) for l in await t.logs('admin.log') if 'certs' in l])


@case()
async def allow_paths_see_the_whole_target(t):
    await bare(t, extra={'admin': {'allow_paths': [{'prefix': '/ready'}, {'safe_regex': {'regex': '/stats\\?filter=.*live'}}, {'suffix': 'memory'}, {'contains': 'list'}]}})
    out = {}
    for p in ('/ready', '/readyness', '/stats', '/stats?filter=server.live', '/memory', '/listeners', '//listeners', '/quitquitquit', '/help'):
        r = await ask(t, p)
        out[p] = [r['status'], r['headers'], '' if r['status'] == 200 else r['body'].splitlines()[:1]]
    t.see('answers', out)
    t.see('post', await ask(t, '/quitquitquit', 'POST'))


@case()
async def vhost_stats_of_retries_and_timeouts(t):
    await t.up('u1', lambda m, n: resp(503) if 'bad' in m['path'] else resp(200))
    await t.start(simple(t, vhosts=r"""
- name: "v:h"
  domains: ["*"]
  virtual_clusters:
  - {name: "a.b", headers: [{name: ":path", string_match: {prefix: /v}}, {name: ":method", string_match: {exact: GET}}]}
  - {name: posts, headers: [{name: ":method", string_match: {exact: POST}}]}
  routes:
  - {match: {prefix: /d}, direct_response: {status: 200}, stat_prefix: direct}
  - {match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 1, retry_back_off: {base_interval: 0.001s}}}, stat_prefix: "r:p"}
""", log='%VIRTUAL_CLUSTER_NAME%'))
    st = []
    for k in (dict(path='/v/ok'), dict(path='/v/bad'), dict(path='/x', method='POST', body='a'), dict(path='/y'), dict(path='/d')):
        st.append((await t.req(**k)).status)
    t.see('statuses', st)
    t.see('stats', {k: v for k, v in (await t.stats(regex=r'^vhost\.')).items() if 'time:' not in k and not k.endswith('_time')})
    _, b = await t.admin('/stats/prometheus?filter=^vhost')
    t.see('series', [l for l in b.splitlines() if 'rq_time' not in l])
    t.see('log', await t.logs())


@case()
async def vhost_virtual_cluster_refused(t):
    out = {}
    for name, vc in (('no_headers', '{name: a}'), ('no_name', '{headers: [{name: x, present_match: true}]}')):
        cfg = simple(t, clusters=[], vhosts='[{name: v, domains: ["*"], virtual_clusters: [%s], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]' % vc)
        out[name] = (await t.run_to_end(cfg))[0]
    t.see('codes', out)


@case()
async def cluster_stats_sizes_and_budgets(t):
    await t.up('u1', lambda m, n: resp(200, 'abcde', [('x-one', '1')]))
    await t.start(simple(t, copts='{track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}}', routes='[{match: {prefix: /}, route: {cluster: c1, timeout: 100s}}]', extra='{stats_flush_interval: 0.1s}'))
    await t.req('/', method='POST', body='abc', headers=[('x-two', '22')])
    await t.merged(1)
    _, b = await t.admin('/stats?filter=^cluster.c1.upstream_r[qs]_(body|headers_count|timeout_budget)')
    t.see('values', [re.sub(r' P25.*', '', l) for l in b.splitlines()])


@case()
async def cluster_track_timeout_budgets(t):
    await t.up('u1')
    await t.start(simple(t, copts='{track_timeout_budgets: true}'))
    _, b = await t.admin('/stats?filter=^cluster.c1.upstream_r[qs]_(body_size|headers_size|timeout_budget)')
    t.see('names', [l.split(':')[0] for l in b.splitlines()])
