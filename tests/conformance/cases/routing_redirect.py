"""Internal redirects: who follows which, what the second request looks like, what is counted and logged of both."""
from harness import *

LOG = '%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% %BYTES_RECEIVED% %BYTES_SENT% %REQ(X-ENVOY-ORIGINAL-URL)% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'
STATS = ['http.in.passthrough_internal_redirect_' + s for s in ('bad_location', 'no_route', 'predicate', 'too_many_redirects', 'unsafe_scheme')] + [
    'cluster.c1.upstream_internal_redirect_' + s for s in ('failed_total', 'succeeded_total')] + ['cluster.c1.' + s for s in (
        'upstream_rq_total', 'upstream_rq_completed', 'upstream_rq_3xx', 'upstream_rq_302', 'upstream_rq_200', 'upstream_rq_active', 'upstream_rq_tx_reset', 'external.upstream_rq_302', 'retry_or_shadow_abandoned')] + [
    'http.in.' + s for s in ('downstream_rq_total', 'downstream_rq_completed', 'downstream_rq_2xx', 'downstream_rq_3xx', 'downstream_rq_active', 'downstream_rq_http1_total', 'rq_total', 'downstream_rq_rx_reset')]
P = 'type.googleapis.com/envoy.extensions.internal_redirect.'
PREVIOUS = {'name': 'previous', 'typed_config': {'@type': P + 'previous_routes.v3.PreviousRoutesConfig'}}
SAFE = {'name': 'safe', 'typed_config': {'@type': P + 'safe_cross_scheme.v3.SafeCrossSchemeConfig'}}


def allow(*names):
    return {'name': 'allow', 'typed_config': {'@type': P + 'allow_listed_routes.v3.AllowListedRoutesConfig', 'allowed_route_names': list(names)}}


def going(m, n):
    """An upstream whose path says where it sends on: /to?URL (302), /code/N?URL; everything else is 200."""
    path, _, to = m.path.partition('?')
    if path.startswith('/code/'):
        return resp(int(path[6:]), 'moved', [('location', to), ('x-copy', 'one'), ('x-copy', 'two')])
    if path == '/to':
        return resp(302, 'moved', [('location', to)])
    if path == '/bare':
        return resp(302, 'moved')
    if path == '/twice':
        return resp(302, '', [('location', 'http://test.example/to?http://test.example/end')])
    return resp(200, 'end')


def redirects(name, policy, reqs, routes=None, opts=None, extra=None, seen=True, vhost=None, rextra=None):
    @case('internal_redirect_' + name)
    async def _(t):
        u = await t.up('u1', going)
        rt = merge({'cluster': 'c1', 'internal_redirect_policy': Y(policy)}, Y(rextra) or {})
        rs = Y(routes) if routes else [{'match': {'prefix': '/'}, 'name': 'all', 'route': rt}]
        for r in rs:
            if r.get('route', {}).pop('follows', None):
                r['route']['internal_redirect_policy'] = Y(policy)
        vh = merge({'name': 'v', 'domains': ['*'], 'routes': rs}, Y(vhost) or {})
        await t.start(simple(t, vhosts=[vh], opts=opts, log=LOG))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**({'path': k} if isinstance(k, str) else k)))
        if seen:
            t.see('upstream', u.reqs)
        t.see('stats', await t.stats(*STATS))
        t.see('log', await t.logs())


END = 'http://test.example/end'
redirects('followed', '{}', ['/to?' + END])
redirects('host_and_query', '{}', ['/to?http://other.example:8080/a/b?c=d', '/to?http://other.example', '/to?http://other.example?q=1', '/to?http://other.example/x#frag'])
redirects('codes', '{redirect_response_codes: [301, 303, 307, 308], max_internal_redirects: 1}', ['/code/%d?%s' % (c, END) for c in (301, 302, 303, 307, 308)])
redirects('other_codes_are_left_out', '{redirect_response_codes: [302, 304, 200, 500]}', ['/code/302?' + END, '/code/304?' + END, '/code/500?' + END])
redirects('no_policy', None, ['/to?' + END], routes='[{match: {prefix: /}, name: all, route: {cluster: c1}}]')
redirects('once_unless_told', '{}', ['/twice'])
redirects('more_often', '{max_internal_redirects: 2}', ['/twice', '/to?http://test.example/twice'])
redirects('never', '{max_internal_redirects: 0}', ['/to?' + END])
redirects('bad_location', '{}', ['/bare', '/to?', '/to?end', '/to?/end', '/to?ftp://test.example/', '/to?http://', '/to?//test.example/end', '/to?http:///x', '/to?HTTP://test.example/end'])
redirects('bodies', '{}', [{'path': '/to?' + END, 'method': 'POST', 'body': 'hello'}, {'path': '/code/302?' + END, 'method': 'PUT', 'body': 'x' * 3000}, {'path': '/to?' + END, 'method': 'HEAD'}])
redirects('see_other', '{redirect_response_codes: [303, 302]}', [{'path': '/code/303?' + END, 'method': 'POST', 'body': 'hello'}, {'path': '/code/303?' + END, 'method': 'HEAD'}, {'path': '/code/302?' + END, 'method': 'POST', 'body': 'hello'}, {'path': '/code/303?' + END, 'method': 'DELETE'}])
redirects('body_too_large', '{}', [{'path': '/to?' + END, 'method': 'POST', 'body': 'x' * 2000}], vhost='{request_body_buffer_limit: 1000}')
redirects('no_route', '{}', ['/to?' + END, '/to?http://test.example/other'], routes='[{match: {path: /to}, name: to, route: {cluster: c1, follows: true}}, {match: {path: /other}, name: other, direct_response: {status: 204}}]')
redirects('to_other_routes', '{}', ['/to?http://test.example/direct', '/to?http://test.example/moved', '/to?http://test.example/gone'], routes="""
- {match: {path: /direct}, name: direct, direct_response: {status: 203, body: {inline_string: direct}}}
- {match: {path: /moved}, name: moved, redirect: {host_redirect: elsewhere}}
- {match: {path: /gone}, name: gone, route: {cluster_header: x-none}}
- {match: {prefix: /}, name: all, route: {cluster: c1, follows: true}}
""")
redirects('scheme', '{}', ['/to?https://test.example/end', {'path': '/to?http://test.example/end', 'headers': [('x-forwarded-proto', 'https')]}, {'path': '/to?https://test.example/end', 'headers': [('x-forwarded-proto', 'https')]}])
redirects('cross_scheme', '{allow_cross_scheme_redirect: true}', ['/to?https://test.example/end', {'path': '/to?http://test.example/end', 'headers': [('x-forwarded-proto', 'https')]}])
redirects('copied_headers', '{redirect_response_codes: [302], response_headers_to_copy: [x-copy, X-Gone]}', [{'path': '/code/302?' + END, 'headers': [('x-copy', 'old'), ('x-gone', 'gone'), ('x-stays', 'y')]}])
redirects('previous_routes', json.dumps({'max_internal_redirects': 5, 'predicates': [PREVIOUS]}), ['/twice', '/to?http://test.example/b', '/to?http://test.example/b2'], routes="""
- {match: {path: /b}, name: b, route: {cluster: c1, follows: true, prefix_rewrite: '/twice'}}
- {match: {path: /b2}, name: b2, route: {cluster: c1, follows: true}}
- {match: {prefix: /}, name: all, route: {cluster: c1, follows: true}}
""")
redirects('allow_listed_routes', json.dumps({'max_internal_redirects': 5, 'predicates': [allow('b')]}), ['/to?http://test.example/b', '/to?http://test.example/c'], routes="""
- {match: {path: /b}, name: b, route: {cluster: c1}}
- {match: {prefix: /}, name: all, route: {cluster: c1, follows: true}}
""")
redirects('safe_cross_scheme', json.dumps({'allow_cross_scheme_redirect': True, 'predicates': [SAFE]}), ['/to?https://test.example/end', {'path': '/to?http://test.example/end', 'headers': [('x-forwarded-proto', 'https')]}, {'path': '/to?https://test.example/end', 'headers': [('x-forwarded-proto', 'https')]}])
redirects('rewrites', '{}', ['/a/to?' + END], routes="[{match: {prefix: /a/}, name: a, route: {cluster: c1, follows: true, prefix_rewrite: '/', host_rewrite_literal: inner}}, {match: {prefix: /}, name: all, route: {cluster: c1}}]",
          vhost="{include_request_attempt_count: true, include_attempt_count_in_response: true, request_headers_to_add: [{header: {key: x-add, value: '%REQ(:PATH)%'}}], response_headers_to_add: [{header: {key: x-res, value: '%RESPONSE_CODE%'}}]}")
redirects('with_retries', '{}', seen=False, reqs=['/to?' + END, '/code/503?' + END], rextra='{retry_policy: {retry_on: "5xx,retriable-status-codes", retriable_status_codes: [302], num_retries: 1, retry_back_off: {base_interval: 0.002s}}}')
redirects('request_policy', '{}', [{'path': '/to?http://test.example/x/../end', 'headers': [('x-forwarded-for', '1.2.3.4'), ('x-envoy-internal', 'true'), ('x-envoy-expected-rq-timeout-ms', '9'), ('x-request-id', 'mine')]}], opts='{use_remote_address: true, normalize_path: true, generate_request_id: true, via: v}')
redirects('filters_run_again', '{}', ['/to?' + END], opts="{http_filters: [{name: cors, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 418, percentage: {numerator: 100}}, headers: [{name: ':path', string_match: {exact: /end}}]}}, {name: router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}")


@case('internal_redirect_predicate_twice')
async def _(t):
    await t.up('u1', going)
    routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'internal_redirect_policy': {'predicates': [PREVIOUS, PREVIOUS]}}}]
    t.see('twice', (await t.run_to_end(simple(t, vhosts=[{'name': 'v', 'domains': ['*'], 'routes': routes}]), args=('--mode', 'validate')))[0])


@case('internal_redirect_over_http2')
async def _(t):
    u = await t.up('u1', going)
    await t.start(simple(t, routes='[{match: {prefix: /}, name: all, route: {cluster: c1, internal_redirect_policy: {max_internal_redirects: 2}}}]', log=LOG))
    t.see('get', await t.h2req('/to?' + END))
    t.see('post', await t.h2req('/twice', method='POST', body=b'hello'))
    t.see('upstream', [(m.method, m.path, body_repr(m.body)) for m in u.reqs])
    t.see('stats', await t.stats(*STATS))
    t.see('log', await t.logs())


@case('internal_redirect_copied_headers_refused')
async def _(t):
    await t.up('u1', going)
    codes = []
    for header in ('host', ':path', 'x-fine', 'content-length'):
        routes = [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'internal_redirect_policy': {'response_headers_to_copy': [header]}}}]
        codes.append((header, (await t.run_to_end(simple(t, vhosts=[{'name': 'v', 'domains': ['*'], 'routes': routes}]), args=('--mode', 'validate')))[0]))
    t.see('codes', codes)
