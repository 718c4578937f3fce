"""ext_authz with an HTTP service."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.ext_authz:x-md-a)%'
PF = lambda name, ty, cfg: {'typed_per_filter_config': {name: {'@type': ftype(ty), **Y(cfg)}}}
STATS = tuple(p + s for p in ('cluster.c1.ext_authz.', 'http.in.ext_authz.') for s in ('ok', 'denied', 'error', 'disabled', 'failure_mode_allowed', 'timeout', 'invalid'))


def authz(name, respond, cfg='{}', reqs=({},), routes=None, dead=False, stats=STATS):
    @case('ext_authz_' + name)
    async def _(t):
        u = await t.up('u1')
        a = t.dead('authz') if dead else await t.up('authz', respond)
        f = http_filter('ea', 'ext_authz.v3.ExtAuthz', merge({'http_service': {'server_uri': {'uri': 'authz.example:80', 'cluster': 'ca', 'timeout': '3s'}}}, Y(cfg)))
        await t.start(simple(t, clusters=[cluster('c1', u), cluster('ca', a)], filters=[f], log=LOG, routes=routes))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**k))
        t.see('up', u.reqs)
        if not dead:
            t.see('authz', a.reqs)
        t.see('stats', await t.stats(*stats))
        t.see('log', await t.logs())


YES = lambda m, n: resp(200)
NO = lambda m, n: resp(403, 'go away', [('x-d', '1'), ('content-type', 'text/html')])
RICH = lambda m, n: resp(200, '', [('x-user', 'bob'), ('x-secret', 's'), ('x-resp', 'r'), ('x-app', '1'), ('x-app', '2'), ('x-envoy-auth-headers-to-remove', 'x-rm, X-Other'), ('x-md-a', 'v')])
REST = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}
authz('plain', YES, reqs=[dict(path='/p?q=1', method='PUT', body='b', headers=[('authorization', 'Bearer z'), ('x-a', '1'), ('cookie', 'c=1')])])
authz('denied_plain', NO)
authz('denied_401', lambda m, n: resp(401, 'who?', [('www-authenticate', 'Basic'), ('set-cookie', 'a=b'), ('location', '/login')]))
authz('denied_redirect', lambda m, n: resp(302, '', [('location', 'https://login.example/'), ('x-o', '1')]), '{http_service: {authorization_response: {allowed_client_headers: {patterns: [{exact: location}]}}}}')
authz('changes_headers', RICH, '{http_service: {authorization_response: {allowed_upstream_headers: {patterns: [{exact: x-user}]}, allowed_upstream_headers_to_append: {patterns: [{exact: x-app}]}}}}', [dict(headers=[('x-user', 'me'), ('x-app', '0'), ('x-rm', '1'), ('x-other', '2')])])
authz('metadata_of_headers', RICH, '{http_service: {authorization_response: {dynamic_metadata_from_headers: {patterns: [{prefix: x-md}]}}}}')
authz('path_prefix', YES, '{http_service: {path_prefix: /auth}}', [dict(path='/a/b')])
authz('path_override', YES, '{http_service: {path_override: /verify}}', [dict(path='/a/b?c')])
authz('allowed_headers', YES, '{allowed_headers: {patterns: [{prefix: x-, ignore_case: true}]}}', [dict(headers=[('x-a', '1'), ('X-B', '2'), ('y', '3')])])
authz('disallowed_headers', YES, '{allowed_headers: {patterns: [{prefix: x-}]}, disallowed_headers: {patterns: [{exact: x-b}]}}', [dict(headers=[('x-a', '1'), ('x-b', '2')])])
authz('error_5xx', lambda m, n: resp(500, 'boom'))
authz('error_5xx_allowed', lambda m, n: resp(502, 'boom'), '{failure_mode_allow: true}')
authz('status_on_error', None, '{status_on_error: {code: BadGateway}}', dead=True)


@case('ext_authz_times_out')
async def _(t):
    u = await t.up('u1')

    async def silent(c):
        await c.read_request()
        await c.fill()
    a = await t.up('authz', conn=silent)
    f = http_filter('ea', 'ext_authz.v3.ExtAuthz', {'http_service': {'server_uri': {'uri': 'authz.example:80', 'cluster': 'ca', 'timeout': '0.1s'}}})
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('ca', a)], filters=[f], log=LOG))
    t.see('r', await t.req('/'))
    t.see('stats', await t.stats(*STATS))
    t.see('log', await t.logs())


BODY = lambda m='': '{with_request_body: {max_request_bytes: 10%s}}' % m
authz('body_whole', YES, BODY(), [dict(method='POST', body='0123456789')])
authz('body_too_large', YES, BODY(), [dict(method='POST', body='0123456789A')])
authz('body_partial', YES, BODY(', allow_partial_message: true'), [dict(method='POST', body='0123456789A'), dict(method='POST', body='01')])
authz('body_none', YES, BODY(), [dict()])
authz('of_the_route', NO, '{}', [dict(path='/free'), dict(path='/x')], routes=[{'match': {'prefix': '/free'}, 'route': {'cluster': 'c1'}, **PF('ea', 'ext_authz.v3.ExtAuthzPerRoute', '{disabled: true}')}, REST])
authz('direct_response', NO, '{}', [dict(path='/d'), dict(path='/none')], routes=[{'match': {'prefix': '/d'}, 'direct_response': {'status': 200}}])
authz('filter_enabled', NO, '{filter_enabled: {default_value: {numerator: 0}}}')
authz('deny_at_disable', YES, '{filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {default_value: true, runtime_key: d}}')
authz('stat_prefix', NO, '{stat_prefix: pre}', stats=STATS + ('cluster.c1.ext_authz.pre.denied', 'http.in.ext_authz.pre.denied'))
authz('no_charge', NO, '{charge_cluster_response_stats: false}', stats=STATS + ('cluster.c1.upstream_rq_403', 'cluster.c1.upstream_rq_4xx'))
authz('charge', NO, '{}', stats=STATS + ('cluster.c1.upstream_rq_403', 'cluster.c1.upstream_rq_4xx', 'cluster.c1.upstream_rq_completed', 'cluster.ca.upstream_rq_403', 'cluster.ca.upstream_rq_total', 'cluster.ca.upstream_rq_completed', 'cluster.ca.internal.upstream_rq_403', 'cluster.ca.external.upstream_rq_403'))
authz('head_and_grpc', NO, '{}', [dict(method='HEAD'), dict(method='POST', body='x', headers=[('content-type', 'application/grpc')])])
authz('headers_to_add', YES, '{http_service: {authorization_request: {headers_to_add: [{key: x-from, value: proxy}, {key: x-a, value: other}]}}, allowed_headers: {patterns: [{exact: x-a}]}}', [dict(headers=[('x-a', '1')])])
