"""Filters on the upstream's side, and fields that change nothing."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
T = 'type.googleapis.com/'
CODEC = {'name': 'codec', 'typed_config': {'@type': T + 'envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec'}}
RULES = lambda action='DENY', header='x-deny', more='': '{rules: {action: %s, policies: {p: {permissions: [{header: {name: %s, present_match: true}}], principals: [{any: true}]}}}%s}' % (action, header, more)
RB = lambda *a, **k: http_filter('rb', 'rbac.v3.RBAC', RULES(*a, **k))


def upstream(name, of_router=(), of_cluster=(), reqs=(), routes=None, filters=(), respond=None, stats='rbac', retry=None):
    @case('upstream_' + name)
    async def _(t):
        u = await t.up('u1', respond)
        rt = router(upstream_http_filters=[*of_router, CODEC]) if of_router else None
        c = cluster('c1', [u], hpo={'explicit_http_config': {'http_protocol_options': {}}, 'http_filters': [*of_cluster, CODEC]} if of_cluster else None)
        await t.start(simple(t, clusters=[c], filters=filters, log=LOG, routes=routes, rt=rt))
        for i, k in enumerate(reqs):
            t.see('%d' % i, await t.req(**k))
        t.see('up', u.reqs)
        t.see('stats', await t.stats(regex=stats))
        t.see('log', await t.logs())


upstream('rbac_of_the_router', [RB()], reqs=[H(), H(('x-deny', '1')), H(('x-deny', '1'), method='POST', body=b'abc')])
upstream('rbac_of_the_cluster', of_cluster=[RB()], reqs=[H(), H(('x-deny', '1'))])
upstream('rbac_of_the_cluster_shadow', of_cluster=[http_filter('rb', 'rbac.v3.RBAC', '{shadow_%s}' % RULES()[1:-1])], reqs=[H(), H(('x-deny', '1'))])
upstream('rbac_prefixed', [RB(more=', rules_stat_prefix: mine, track_per_rule_stats: true')], reqs=[H(), H(('x-deny', '1'))])
upstream('rbac_of_the_route', [RB()], reqs=[H(('x-deny', '1')), H(('x-other', '1'))], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'rb': {'@type': ftype('rbac.v3.RBACPerRoute'), 'rbac': Y(RULES(header='x-other'))}}}])
upstream('rbac_off_by_the_route', [RB()], reqs=[H(('x-deny', '1'))], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'rb': {'@type': ftype('rbac.v3.RBACPerRoute')}}}])
upstream('rbac_before_a_retry', [RB()], reqs=[H(('x-deny', '1'))], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': {'retry_on': 'retriable-status-codes', 'retriable_status_codes': [403], 'num_retries': 2}}}])
upstream('rbac_and_route_headers', [RB(header='x-added')], reqs=[H()], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, 'request_headers_to_add': [{'header': {'key': 'x-added', 'value': '1'}}]}])

AUDIT = ', audit_logging_options: {audit_condition: ON_DENY_AND_ALLOW, logger_configs: [{audit_logger: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Struct}}}]}'


@case('rbac_audit_options_do_nothing')
async def _(t):
    await t.up('u1')
    await t.start(simple(t, filters=[http_filter('rb', 'rbac.v3.RBAC', '{rules: {action: DENY, policies: {p: {permissions: [{header: {name: x-deny, present_match: true}}], principals: [{any: true}]}}%s}}' % AUDIT)], log=LOG))
    t.see('passes', await t.req())
    t.see('denied', await t.req(headers=[('x-deny', '1')]))
    t.see('stats', await t.stats(regex='rbac'))
    t.see('log', await t.logs())


@case('stateful_session_found_by_name')
async def _(t):
    await t.up('u1')
    state = lambda name, kind, cfg: {'session_state': {'name': name, 'typed_config': {'@type': T + 'envoy.extensions.http.stateful_session.' + kind, **cfg}}}
    cookie, header = ('cookie.v3.CookieBasedSessionState', {'cookie': {'name': 'a'}}), ('header.v3.HeaderBasedSessionState', {'name': 'x'})
    for name, kind in (('x', cookie), ('envoy.http.stateful_session.cookie', cookie), ('header', header), ('envoy.http.stateful_session.header', header)):
        code, _ = await t.run_to_end(simple(t, filters=[http_filter('ss', 'stateful_session.v3.StatefulSession', state(name, *kind))]), args=('--mode', 'validate'))
        t.see(name, 'refused' if code else 'taken')
