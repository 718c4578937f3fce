"""The router with odd values: redirects that are followed, names of clusters and weights by header, answers that ask for another try."""
from harness import *
from harness.tables import H

LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% %VIRTUAL_CLUSTER_NAME% %UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'
FOLLOWED = ['http.in.passthrough_internal_redirect_' + s for s in ('bad_location', 'no_route', 'predicate', 'too_many_redirects', 'unsafe_scheme')] + ['cluster.c1.upstream_internal_redirect_' + s for s in ('succeeded_total', 'failed_total')]


def followed(name, locations, policy='{max_internal_redirects: 3}', method='GET', body=None, status=302, routes=(), host='test.example', heads=(), opts=None, **kw):
    """Where each redirect leads: what the upstream is asked, and what the client gets."""
    @case('odd_redirect_' + name)
    async def _(t):
        def answer(m, n):
            at = [i for i in range(len(locations)) if m.path == '/from/%d' % i]
            if not at:
                return resp(200, 'there')
            location = locations[at[0]]
            return resp(status, 'moved', [('location', v) for v in ([] if location is None else [location] if isinstance(location, str) else location)] + [('x-more', '1')])
        u = await t.up('u1', answer)
        all = [Y(r) for r in routes] + [{'match': {'prefix': '/'}, 'name': 'all', 'route': {'cluster': 'c1', 'internal_redirect_policy': Y(policy)}}]
        await t.start(simple(t, vhosts=[{'name': 'v', 'domains': ['test.example', 'other.example', 'other.example:*', 'a'], 'routes': all}], log=LOG, opts=opts, **kw))
        for i in range(len(locations)):
            n = len(u.reqs)
            r = await t.req('/from/%d' % i, method=method, body=body, host=host)
            t.see('r%d' % i, [r.status, r.h('location'), r.text] if r else None)
            t.see('asked%d' % i, [[m.method, m.path, m.h('host'), m.h('x-envoy-original-url'), m.h('content-length'), m.text, *[m.h(h) for h in heads]] for m in u.reqs[n:]])
        t.see('stats', await t.stats(*FOLLOWED))
        t.see('log', await t.logs())


followed('urls', ['http://test.example/t', 'HTTP://test.example/t', 'http://TEST.example/t', 'http://test.example', 'http://test.example?q=1', 'http://test.example/t?q=1#f', 'http://test.example:80/t', 'http://other.example:8080/t', 'http://user@test.example/t', 'http://unknown.example/t', 'http:///t', 'http:t', '//test.example/t', '/t', 't', '?q=1', '', ' ', 'http://test.example/t t', 'ftp://test.example/t'])
followed('no_location', [None, ['http://test.example/a', 'http://test.example/b'], ['/a', '/b']])
followed('other_scheme', ['https://test.example/t', 'HTTPS://test.example/t'])
followed('other_scheme_allowed', ['https://test.example/t', 'http://test.example/t'], '{max_internal_redirects: 3, allow_cross_scheme_redirect: true}', heads=['x-forwarded-proto'])
followed('of_other_statuses', ['http://test.example/t'], '{redirect_response_codes: [301, 303, 307, 300, 304]}', status=301)
followed('of_a_status_that_is_not_asked_for', ['http://test.example/t'], '{redirect_response_codes: [301]}', status=302)
followed('of_303_with_a_body', ['http://test.example/t'], '{redirect_response_codes: [303]}', status=303, method='POST', body='abc', heads=['content-type', 'transfer-encoding'])
followed('of_303_of_a_head', ['http://test.example/t'], '{redirect_response_codes: [303]}', status=303, method='HEAD')
followed('of_301_with_a_body', ['http://test.example/t'], '{redirect_response_codes: [301]}', status=301, method='PUT', body='abc')
followed('never', ['http://test.example/t'], '{max_internal_redirects: 0}')
followed('in_a_circle', ['http://test.example/from/0'], '{max_internal_redirects: 2}')
followed('to_other_actions', ['http://test.example/direct', 'http://test.example/away', 'http://test.example/gone', 'http://test.example/other'],
         routes=['{name: direct, match: {path: /direct}, direct_response: {status: 200, body: {inline_string: said}}}', '{name: away, match: {path: /away}, redirect: {path_redirect: /x}}', '{name: gone, match: {path: /gone}, route: {cluster: nobody}}', '{name: other, match: {path: /other}, route: {cluster: c1, prefix_rewrite: /rewritten}}'], route_config='{validate_clusters: false}')
followed('by_names', ['http://test.example/one', 'http://test.example/two', 'http://test.example/three'], '{max_internal_redirects: 3, predicates: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig, allowed_route_names: [one]}}]}',
         routes=['{name: one, match: {path: /one}, route: {cluster: c1}}', '{name: two, match: {path: /two}, route: {cluster: c1}}', '{match: {path: /three}, route: {cluster: c1}}'])
followed('headers_copied', ['http://test.example/t'], '{response_headers_to_copy: [x-more, x-none, Location]}', heads=['x-more', 'x-none', 'location'])


# ---- clusters by header
def named(name, values, route='{cluster_header: x-to}', clusters=('c1',), **kw):
    @case('odd_cluster_' + name)
    async def _(t):
        u = await t.up('u1')
        await t.start(simple(t, clusters=[cluster(c, u) for c in clusters], routes=[{'match': {'prefix': '/'}, 'name': 'r', 'route': Y(route)}], log=LOG, **kw))
        for i, hs in enumerate(values):
            r = await t.req(headers=hs)
            t.see('r%d' % i, [r.status, r.text])
        t.see('asked', [m.h('x-to') for m in u.reqs])
        t.see('log', await t.logs())


TO = [[('x-to', v)] for v in ('c1', '', ' c1 ', 'C1', 'c1,c1', 'c2', 'c 1')] + [[], [('x-to', 'c1'), ('x-to', 'c2')], [('x-to', 'c2'), ('x-to', 'c1')], [('X-TO', 'c1')]]
named('by_header', TO)
named('by_header_not_found_404', TO, '{cluster_header: x-to, cluster_not_found_response_code: NOT_FOUND}')
named('by_header_not_found_500', TO, '{cluster_header: x-to, cluster_not_found_response_code: INTERNAL_SERVER_ERROR}')
named('by_pseudo_header', [[], [('x-to', 'c1')]], '{cluster_header: ":authority"}', clusters=('test.example',))


@case('odd_weights_by_header')
async def _(t):
    """The number decides; without one, chance does: then both are possible, and nothing is said."""
    a, b = await t.up('a', lambda m, n: resp(200, 'a')), await t.up('b', lambda m, n: resp(200, 'b'))
    route = Y('{weighted_clusters: {header_name: x-w, clusters: [{name: a, weight: 30}, {name: b, weight: 70}]}}')
    await t.start(simple(t, clusters=[cluster('a', a), cluster('b', b)], routes=[{'match': {'prefix': '/'}, 'route': route}]))
    for v in ('0', '29', '30', '99', '100', '129', '130', '18446744073709551615', ' 30 ', '030'):
        t.see(v, (await t.req(headers=[('x-w', v)])).text)
    # Forty tries with chance alone: not all alike.
    for label, hs in (('empty', [('x-w', '')]), ('word', [('x-w', 'x')]), ('negative', [('x-w', '-1')]), ('part', [('x-w', '1.5')]), ('hex', [('x-w', '0x1')]), ('two', [('x-w', '1'), ('x-w', '2')]), ('too_large', [('x-w', '18446744073709551616')]), ('plus', [('x-w', '+1')]), ('list', [('x-w', '1,2')])):
        seen = {(await t.req(headers=hs)).text for _ in range(40)}
        t.see(label, sorted(seen))


# ---- answers that ask for another try
def again(name, policy, statuses, reqs=(H(),), heads=(), stats='upstream_rq_retry|upstream_rq_425', respond=None):
    @case('odd_retry_' + name)
    async def _(t):
        u = await t.up('u1', respond or (lambda m, n: resp(*(statuses[min(n, len(statuses)) - 1]))))
        await t.start(simple(t, routes=[{'match': {'prefix': '/'}, 'name': 'r', 'route': {'cluster': 'c1', 'retry_policy': Y(policy)}}], log=LOG))
        for i, k in enumerate(reqs):
            r = await t.req(**k)
            t.see('r%d' % i, [r.status, r.text, *[r.h(h) for h in heads]])
        t.see('asked', len(u.reqs))
        t.see('stats', await t.stats(regex=r'cluster\.c1\.(retry|%s)' % stats))
        t.see('log', await t.logs())


again('too_early', '{retry_on: retriable-status-codes, retriable_status_codes: [425]}', [(425, 'early'), (200, 'late')])
again('too_early_twice', '{retry_on: retriable-status-codes, retriable_status_codes: [425], num_retries: 1}', [(425, 'early')])
again('too_early_of_a_post', '{retry_on: retriable-status-codes, retriable_status_codes: [425]}', [(425, 'early'), (200, 'late')], [H(method='POST', body='x')])
again('too_early_unasked', '{retry_on: 5xx}', [(425, 'early'), (200, 'late')])
again('too_early_of_4xx', '{retry_on: retriable-4xx}', [(425, 'early'), (200, 'late')])
again('words', '{retry_on: " 5xx , gateway-error,nonsense,,RESET"}', [(500, 'a'), (200, 'b')])
again('codes_beyond', '{retry_on: retriable-status-codes, retriable_status_codes: [200, 99, 600, 0, 4294967295]}', [(200, 'a'), (201, 'b')])
again('headers_of_any_value', '{retry_on: retriable-headers, retriable_headers: [{name: x-again}, {name: ":status", string_match: {exact: "418"}}], num_retries: 3}', [(200, 'a', [('x-again', '')]), (418, 'b'), (200, 'c')])
again('envoy_headers_of_many', '{retry_on: "", num_retries: 2}', [(503, 'a'), (200, 'b')], [H(('x-envoy-retry-on', v), ('x-envoy-max-retries', m)) for v, m in (('5xx', '1'), ('5xx', '0'), ('5xx', 'x'), ('5xx', '-1'), ('5xx', '4294967296'), ('gateway-error', ' 1 '), ('connect-failure', '9'), ('', '9'))])
