"""custom_response and on_demand: other answers in place of the upstream's or the proxy's own."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS%'
DETAILS = LOG + ' %RESPONSE_CODE_DETAILS%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
T = 'type.googleapis.com/'
LOCAL = lambda **k: {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy', **k}}}
REDIRECT = lambda **k: {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy', **k}}}
CODE = {'name': 'code', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput'}}
CLASS = {'name': 'class', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpResponseStatusCodeClassMatchInput'}}
RH = {'name': 'rh', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpResponseHeaderMatchInput', 'header_name': 'x-r'}}
IS = lambda inp, value: {'single_predicate': {'input': inp, 'value_match': {'exact': value}}}
LIST = lambda *ms: {'custom_response_matcher': {'matcher_list': {'matchers': [{'predicate': p, 'on_match': then} for p, then in ms]}}}
CR = lambda c: http_filter('cr', 'custom_response.v3.CustomResponse', c)
CRR = lambda c: {'typed_per_filter_config': {'cr': {'@type': ftype('custom_response.v3.CustomResponse'), **c}}}
TEXT = lambda s: {'inline_string': s}
AT = lambda p, pf=None: {'match': {'prefix': p}, 'route': {'cluster': 'c1'}, **(pf or {})}


def answer(m, n):
    code = int(m.path.split('?')[0].rsplit('/', 1)[-1] or 200)
    return resp(code, 'of the upstream', [('x-r', '1'), ('content-type', 'text/html')])


def answered(name, cfg, reqs, routes=None, filters=(), after=(), opts=None, respond=answer, log=LOG):
    @case('custom_response_' + name)
    async def _(t):
        u = await t.up('u1', respond)
        await t.start(simple(t, filters=[*filters, CR(cfg), *after], routes=routes, log=log, opts=opts))
        for i, k in enumerate(reqs):
            t.see('%d' % i, await t.req(**k))
        t.see('up', u.reqs, only={'x-q'})
        t.see('stats', await t.stats(regex='custom_response'))
        t.see('log', await t.logs())


PLAIN = LIST((IS(CODE, '503'), LOCAL(body=TEXT('sorry'))))
answered('local', PLAIN, [H(path='/503'), H(path='/200'), H(path='/500'), H(path='/503', method='HEAD')])
answered('local_status', LIST((IS(CODE, '503'), LOCAL(status_code=499, body=TEXT('sorry')))), [H(path='/503')])
answered('local_without_body', LIST((IS(CODE, '503'), LOCAL(status_code=418))), [H(path='/503')])
answered('local_headers', LIST((IS(CODE, '503'), LOCAL(body=TEXT('sorry'), response_headers_to_add=[{'header': {'key': 'x-a', 'value': '%RESPONSE_CODE%'}}, {'header': {'key': 'x-r', 'value': '2'}}, {'header': {'key': 'content-type', 'value': 'text/x'}, 'append_action': 'OVERWRITE_IF_EXISTS_OR_ADD'}]))), [H(path='/503')])
answered('local_format', LIST((IS(CODE, '503'), LOCAL(body=TEXT('old'), body_format={'text_format_source': TEXT('%RESPONSE_CODE% %LOCAL_REPLY_BODY% %REQ(:path)%')}))), [H(path='/503')])
answered('local_format_json', LIST((IS(CODE, '503'), LOCAL(status_code=500, body_format={'json_format': {'code': '%RESPONSE_CODE%', 'path': '%REQ(:path)%'}}))), [H(path='/503')])
answered('details_kept', LIST((IS(CODE, '503'), LOCAL(body=TEXT('sorry'), preserve_response_code_details=True))), [H(path='/503'), H(path='/d')], routes=[{'match': {'path': '/d'}, 'direct_response': {'status': 503}}, AT('/')], log=DETAILS)
answered('details_none', PLAIN, [H(path='/503')], log=DETAILS)
answered('details_own', LIST((IS(CODE, '503'), LOCAL(body=TEXT('sorry'), response_code_details='my own %RESPONSE_CODE%'))), [H(path='/503')], log=DETAILS)
answered('of_a_class', LIST((IS(CLASS, '5xx'), LOCAL(body=TEXT('five'))), (IS(CLASS, '4xx'), LOCAL(body=TEXT('four')))), [H(path='/503'), H(path='/404'), H(path='/200')])
answered('by_a_response_header', LIST((IS(RH, '1'), LOCAL(status_code=201, body=TEXT('by header')))), [H(path='/200')])
answered('of_local_replies', LIST((IS(CODE, '404'), LOCAL(body=TEXT('none'))), (IS(CODE, '403'), LOCAL(body=TEXT('no')))), [H(path='/d'), H(path='/none')], routes=[{'match': {'path': '/d'}, 'direct_response': {'status': 403}}])
answered('of_a_filter_behind', LIST((IS(CODE, '403'), LOCAL(body=TEXT('custom')))), [H(path='/200')], after=[http_filter('rb', 'rbac.v3.RBAC', '{rules: {action: DENY, policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}}')])
answered('of_a_filter_before', LIST((IS(CODE, '403'), LOCAL(body=TEXT('custom')))), [H(path='/200')], filters=[http_filter('rb', 'rbac.v3.RBAC', '{rules: {action: DENY, policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}}')])
answered('of_the_route', PLAIN, [H(path='/own/503'), H(path='/own/500'), H(path='/503'), H(path='/none/503')], routes=[AT('/own', CRR(LIST((IS(CODE, '500'), LOCAL(body=TEXT('own')))))), AT('/none', CRR({})), AT('/')])
answered('nothing', {}, [H(path='/503')])
answered('grpc', PLAIN, [H(('content-type', 'application/grpc'), path='/503', method='POST', body=b'x')])
answered('after_mapper', PLAIN, [H(path='/503')], opts='{local_reply_config: {body_format: {text_format_source: {inline_string: "mapped %LOCAL_REPLY_BODY%"}}}}')


@case()
async def custom_response_verdicts(t):
    await t.up('u1')
    for i, c in enumerate([PLAIN, {}, LIST((IS({'name': 'h', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpRequestHeaderMatchInput', 'header_name': 'x'}}, '1'), LOCAL(body=TEXT('x')))), LIST((IS(CODE, '1'), {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.config.core.v3.Node'}}})), LIST((IS(CODE, '503'), LOCAL(status_code=700))), LIST((IS(CODE, '503'), LOCAL(status_code=100))), LIST((IS(CODE, '503'), REDIRECT()))]):
        code, _ = await t.run_to_end(simple(t, filters=[CR(c)]), args=('--mode', 'validate'))
        t.see('%d' % i, 'refused' if code else 'taken')


OD = lambda c: http_filter('od', 'on_demand.v3.OnDemand', c)
@case()
async def on_demand_static_routes(t):
    u = await t.up('u1')
    pf = {'typed_per_filter_config': {'od': {'@type': ftype('on_demand.v3.PerRouteConfig')}}}
    await t.start(simple(t, filters=[OD('{}')], log=LOG, routes=[{'match': {'path': '/p'}, 'route': {'cluster': 'c1'}, **pf}, {'match': {'path': '/h'}, 'route': {'cluster_header': 'x-c'}}, {'match': {'path': '/a'}, 'route': {'cluster': 'c1'}}]))
    for i, k in enumerate((H(path='/a'), H(path='/p', method='POST', body='x'), H(path='/none'), H(('x-c', 'c1'), path='/h'), H(('x-c', 'zz'), path='/h'))):
        t.see('%d' % i, (await t.req(**k)).status)
    t.see('log', await t.logs())
