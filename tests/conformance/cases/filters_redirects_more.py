"""custom_response with redirect_policy: another request of the proxy's own, whose answer the client gets."""
import asyncio

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %UPSTREAM_CLUSTER% %ROUTE_NAME%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
T = 'type.googleapis.com/'
REDIRECT = lambda **k: {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy', **k}}}
LOCAL = lambda **k: {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy', **k}}}
CODE = {'name': 'code', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput'}}
LIST = lambda *ms: {'custom_response_matcher': {'matcher_list': {'matchers': [{'predicate': {'single_predicate': {'input': CODE, 'value_match': {'exact': code}}}, 'on_match': then} for code, then in ms]}}}
CR = lambda *ms: http_filter('cr', 'custom_response.v3.CustomResponse', LIST(*ms))
PER = lambda *ms: {'typed_per_filter_config': {'cr': {'@type': ftype('custom_response.v3.CustomResponse'), **LIST(*ms)}}}
HM = http_filter('hm', 'header_mutation.v3.HeaderMutation', '{mutations: {request_mutations: [{append: {header: {key: x-m, value: "1"}, append_action: APPEND_IF_EXISTS_OR_ADD}}], response_mutations: [{append: {header: {key: x-m, value: "1"}, append_action: APPEND_IF_EXISTS_OR_ADD}}]}}')
DENY = http_filter('rb', 'rbac.v3.RBAC', '{rules: {action: DENY, policies: {p: {permissions: [{header: {name: x-deny, present_match: true}}], principals: [{any: true}]}}}}')
SORRY = {'name': 'sorry', 'match': {'prefix': '/sorry'}, 'route': {'cluster': 'c2'}}
REST = {'name': 'rest', 'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}
TO = lambda **k: ('503', REDIRECT(uri='http://sorry.test/sorry/page?x=1', **k))
ADD = lambda k, v, **o: {'header': {'key': k, 'value': v}, **o}


def fails(m, n):
    code = int(m.path.split('?')[0].rsplit('/', 1)[-1] or 200)
    return resp(code, 'of the upstream', [('x-up', '1')])


def redirected(name, filters, reqs, routes=(SORRY, REST), respond=fails, second=lambda m, n: resp(200, 'sorry page', [('x-up', '2')]), vhosts=None, stats='custom_response|internal_redirect|^http.in.downstream_rq_[a-z0-9]*$|c[12]\\.upstream_rq_(total|503|200)$', opts=None, log=LOG):
    @case('custom_redirect_' + name)
    async def _(t):
        u, s = await t.up('u1', respond), await t.up('u2', second)
        await t.start(simple(t, ups=[u], clusters=[cluster('c1', [u]), cluster('c2', [s]), cluster('none')], filters=filters, routes=None if vhosts else list(routes), vhosts=vhosts, log=log, opts=opts))
        for i, k in enumerate(reqs):
            t.see('%d' % i, await t.req(**k))
        t.see('up', u.reqs, drop={'x-envoy-expected-rq-timeout-ms'})
        t.see('second', s.reqs)
        t.see('stats', await t.stats(regex=stats))
        t.see('log', await t.logs())


redirected('to_a_uri', [CR(TO())], [H(path='/503'), H(path='/200'), H(('x-q', '1'), ('cookie', 'a=b'), path='/x/503?q=1')])
redirected('methods', [CR(TO())], [H(path='/503', method='HEAD'), H(path='/503', method='POST', body=b'abc'), H(path='/503', method='DELETE'), H(path='/503', method='PUT', body=b'')])
redirected('status', [CR(TO(status_code=299))], [H(path='/503')])
redirected('status_over_an_error', [CR(TO(status_code=299))], [H(path='/503')], second=lambda m, n: resp(404, 'nothing'))
redirected('status_over_a_redirect', [CR(TO(status_code=299))], [H(path='/503')], second=lambda m, n: resp(302, 'nothing', [('location', 'http://x/')]))
redirected('response_headers', [CR(TO(response_headers_to_add=[ADD('x-a', '%RESPONSE_CODE% %REQ(:path)% %REQ(:authority)%'), ADD('x-up', 'mine'), ADD('x-r', '%RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%')]))], [H(path='/503')])
redirected('response_headers_of_an_error', [CR(TO(response_headers_to_add=[ADD('x-a', '1')]))], [H(path='/503')], second=lambda m, n: resp(500, 'nothing'))
redirected('request_headers', [CR(TO(request_headers_to_add=[ADD('x-a', '%RESPONSE_CODE% %REQ(:path)% %REQ(:authority)% %REQ(:method)%'), ADD('x-q', '2'), ADD('x-o', 'o', append_action='OVERWRITE_IF_EXISTS_OR_ADD')]))], [H(('x-q', '1'), ('x-o', '1'), path='/503')])
redirected('request_headers_choose_the_route', [CR(TO(request_headers_to_add=[ADD('x-go', '1')]))], [H(path='/503')], routes=[{**SORRY, 'match': {'prefix': '/sorry', 'headers': [{'name': 'x-go', 'string_match': {'exact': '1'}}]}}, REST])
redirected('without_a_route', [CR(TO())], [H(path='/p/503'), H(path='/p/503', method='POST', body=b'x')], routes=[{'match': {'prefix': '/p'}, 'route': {'cluster': 'c1'}}])
redirected('to_a_direct_response', [CR(TO(status_code=201))], [H(path='/503')], routes=[{'match': {'prefix': '/sorry'}, 'direct_response': {'status': 200, 'body': {'inline_string': 'direct'}}}, REST])
redirected('to_a_redirect', [CR(TO(status_code=201))], [H(path='/503')], routes=[{'match': {'prefix': '/sorry'}, 'redirect': {'host_redirect': 'elsewhere'}}, REST])
redirected('that_fails_alike', [CR(TO(status_code=222))], [H(path='/503')], second=lambda m, n: resp(503, 'again'))
redirected('to_a_cluster_without_hosts', [CR(TO())], [H(path='/503')], routes=[{'match': {'prefix': '/sorry'}, 'route': {'cluster': 'none'}}, REST])
redirected('of_local_replies', [CR(TO(), ('403', REDIRECT(uri='http://a/sorry/403')), ('404', REDIRECT(uri='http://a/sorry/404')))], [H(path='/d'), H(path='/none'), H(path='/gone')], routes=[SORRY, {'match': {'path': '/d'}, 'direct_response': {'status': 403}}, {'match': {'path': '/gone'}, 'route': {'cluster': 'none'}}])
redirected('of_a_filter_before', [DENY, CR(('403', REDIRECT(uri='http://a/sorry/403')))], [H(('x-deny', '1'), path='/')])
redirected('of_a_filter_behind', [CR(('403', REDIRECT(uri='http://a/sorry/403'))), DENY], [H(('x-deny', '1'), path='/'), H(('x-deny', '1'), path='/', method='POST', body=b'abc')])
redirected('through_all_filters', [HM, CR(TO()), http_filter('hm2', 'header_mutation.v3.HeaderMutation', '{mutations: {request_mutations: [{append: {header: {key: x-n, value: "1"}, append_action: APPEND_IF_EXISTS_OR_ADD}}], response_mutations: [{append: {header: {key: x-n, value: "1"}, append_action: APPEND_IF_EXISTS_OR_ADD}}]}}')], [H(path='/503')])
redirected('action', [CR(('503', REDIRECT(redirect_action={'host_redirect': 'h.test', 'path_redirect': '/sorry/p'})), ('500', REDIRECT(redirect_action={'https_redirect': True, 'path_redirect': '/sorry/s', 'port_redirect': 8443})), ('502', REDIRECT(redirect_action={'path_redirect': '/sorry/q', 'strip_query': True})), ('504', REDIRECT(redirect_action={'scheme_redirect': 'ftp', 'path_redirect': '/sorry/f?z=1'})), ('501', REDIRECT(redirect_action={'host_redirect': 'other'})))], [H(path='/503?a=1'), H(path='/500'), H(path='/502?a=1'), H(path='/504?a=1'), H(path='/501')])
redirected('uris', [CR(('503', REDIRECT(uri='https://sorry.test:8443/sorry/a')), ('500', REDIRECT(uri='http://sorry.test/sorry/p#f')), ('502', REDIRECT(uri='http://SORRY.test/sorry')), ('504', REDIRECT(uri='http://u:p@sorry.test/sorry/u')), ('501', REDIRECT(uri='http://[::1]:80/sorry/6')))], [H(path='/503'), H(path='/500'), H(path='/502'), H(path='/504'), H(path='/501')])
redirected('to_the_root', [CR(('503', REDIRECT(uri='http://sorry.test')), ('500', REDIRECT(uri='http://sorry.test?q=1')))], [H(path='/503'), H(path='/500')], vhosts=[{'name': 's', 'domains': ['sorry.test'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c2'}}]}, {'name': 'r', 'domains': ['*'], 'routes': [REST]}])
redirected('to_another_host', [CR(TO())], [H(path='/503')], vhosts=[{'name': 's', 'domains': ['sorry.test'], 'response_headers_to_add': [ADD('x-vh', 's')], 'request_headers_to_add': [ADD('x-vh', 's')], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c2'}}]}, {'name': 'r', 'domains': ['*'], 'response_headers_to_add': [ADD('x-vh', 'r')], 'request_headers_to_add': [ADD('x-vh', 'r')], 'routes': [REST]}])
redirected('that_requires_tls', [CR(TO())], [H(path='/503')], vhosts=[{'name': 's', 'domains': ['sorry.test'], 'require_tls': 'ALL', 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c2'}}]}, {'name': 'r', 'domains': ['*'], 'routes': [REST]}])
redirected('of_the_route', [CR(TO())], [H(path='/own/503'), H(path='/own/500'), H(path='/off/503')], routes=[SORRY, {'match': {'prefix': '/own'}, 'route': {'cluster': 'c1'}, **PER(('500', REDIRECT(uri='http://o/sorry/own')))}, {'match': {'prefix': '/off'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'cr': {'@type': T + 'envoy.config.route.v3.FilterConfig', 'disabled': True}}}, REST])
redirected('to_a_route_without_it', [CR(TO(status_code=299, response_headers_to_add=[ADD('x-a', '1')]))], [H(path='/503')], routes=[{**SORRY, 'typed_per_filter_config': {'cr': {'@type': T + 'envoy.config.route.v3.FilterConfig', 'disabled': True}}}, REST])
redirected('to_a_route_of_its_own', [CR(TO(status_code=299))], [H(path='/503')], routes=[{**SORRY, **PER(('200', LOCAL(status_code=288, body={'inline_string': 'own'})))}, REST])
redirected('beside_internal_redirects', [CR(TO())], [H(path='/302'), H(path='/503')], routes=[SORRY, {'match': {'prefix': '/302'}, 'route': {'cluster': 'c1', 'internal_redirect_policy': {}}}, {**REST, 'route': {'cluster': 'c1', 'internal_redirect_policy': {}}}], respond=lambda m, n: resp(302, 'go', [('location', 'http://test.example/503')]) if m.path == '/302' else resp(503, 'no'))
redirected('after_retries', [CR(TO())], [H(path='/503'), H(path='/503', method='POST', body=b'abc')], routes=[SORRY, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': {'retry_on': '5xx', 'num_retries': 1}}}])
redirected('ids', [CR(TO())], [H(('x-request-id', 'abc'), ('x-forwarded-for', '1.2.3.4'), ('x-envoy-original-path', '/z'), path='/503')], opts='{use_remote_address: true, preserve_external_request_id: true, via: me}')
redirected('of_grpc', [CR(TO())], [H(('content-type', 'application/grpc'), ('te', 'trailers'), method='POST', path='/503', body=b'x')])
redirected('of_a_local_answer_behind_a_redirect', [CR(TO()), DENY], [H(path='/503')], routes=[{**SORRY, 'request_headers_to_add': [ADD('x-deny', '1')]}, REST], second=lambda m, n: resp(403, 'x'))
redirected('and_cookies', [CR(TO(response_headers_to_add=[ADD('set-cookie', 'c=3')]))], [H(path='/503')], respond=lambda m, n: resp(503, 'x', [('set-cookie', 'a=1')]), second=lambda m, n: resp(200, 'y', [('set-cookie', 'b=2')]))


@case('custom_redirect_verdicts')
async def _(t):
    await t.up('u1')
    for i, k in enumerate([{}, {'uri': ''}, {'uri': 'sorry'}, {'uri': '/sorry'}, {'uri': 'ftp://sorry/x'}, {'uri': 'http:///x'}, {'uri': 'http://sorry.test/'}, {'uri': 'http://a/', 'redirect_action': {'host_redirect': 'x'}},
                           {'redirect_action': {}}, {'redirect_action': {'prefix_rewrite': '/x'}}, {'redirect_action': {'regex_rewrite': {'pattern': {'regex': 'a'}, 'substitution': 'b'}}}, {'redirect_action': {'path_redirect': '/x', 'response_code': 'FOUND'}},
                           {'uri': 'http://a/', 'status_code': 100}, {'uri': 'http://a/', 'status_code': 1000}, {'uri': 'http://a/', 'modify_request_headers_action': {'name': 'x', 'typed_config': {'@type': T + 'envoy.config.core.v3.Node'}}},
                           {'uri': 'http://a/', 'request_headers_to_add': [ADD(':path', '/x')]}, {'uri': 'http://a/', 'response_headers_to_add': [ADD('host', 'x')]}, {'uri': 'http://a/#f'}, {'uri': 'http://a b/'}, {'redirect_action': {'path_redirect': '/x#f'}}, {'redirect_action': {'https_redirect': True, 'scheme_redirect': 'http'}}]):
        code, log = await t.run_to_end(simple(t, filters=[CR(('503', REDIRECT(**k)))]), args=('--mode', 'validate'))
        t.see('%d' % i, 'refused' if code else 'taken')


@case('custom_redirect_before_the_body_has_come')
async def _(t):
    u, s = await t.up('u1', lambda m, n: resp(503, 'early')), await t.up('u2', lambda m, n: resp(200, 'sorry'))
    await t.start(simple(t, ups=[u], clusters=[cluster('c1', [u]), cluster('c2', [s]), cluster('none')], filters=[CR(('403', REDIRECT(uri='http://a/sorry/403'))), DENY], routes=[SORRY, REST], log=LOG, opts='{stream_idle_timeout: 0.5s}'))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nhost: a\r\nx-deny: 1\r\ncontent-length: 10\r\n\r\nabc')
    t.see('answer', await c.response())
    t.see('second', s.reqs)
    t.see('stats', await t.stats(regex='custom_response|^http.in.downstream_rq_[a-z0-9]*$'))
    t.see('log', await t.logs())


@case('custom_redirect_of_an_early_answer')
async def _(t):
    async def early(c):
        await c.read_request(body=False)
        c.send(resp(503, 'early', [('x-up', '1')]))
        await asyncio.sleep(2)
    u, s = await t.up('u1', conn=early), await t.up('u2', lambda m, n: resp(200, 'sorry'))
    await t.start(simple(t, ups=[u], clusters=[cluster('c1', [u]), cluster('c2', [s])], filters=[CR(TO())], routes=[SORRY, REST], log=LOG, opts='{stream_idle_timeout: 0.5s}'))
    c = await t.conn()
    c.send(b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc')
    t.see('answer', await c.response())
    t.see('second', s.reqs)
    t.see('log', await t.logs())
