"""local_ratelimit: a share of the local cluster's, and more of what descriptors are made of."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
ON = 'filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}'
LONG = lambda n: 'token_bucket: {max_tokens: %d, tokens_per_fill: 1, fill_interval: 6000s}' % n
TELL = ', enable_x_ratelimit_headers: DRAFT_VERSION_03'
LR = lambda more='', most=100: http_filter('lr', 'local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, %s, %s%s}' % (LONG(most), ON, TELL + more))
PL = lambda c: {'typed_per_filter_config': {'lr': {'@type': ftype('local_ratelimit.v3.LocalRateLimit'), **Y(c)}}}
D = lambda *entries, n=1, more='': '{entries: [%s], %s%s}' % (', '.join('{key: "%s"%s}' % (e[0], ', value: "%s"' % e[1] if len(e) > 1 else '') for e in entries), LONG(n), more)
DS = lambda *ds: ', descriptors: [%s]' % ', '.join(ds)
BY = lambda action, more='': '[{actions: [%s]%s}]' % (action, more)
STATS = tuple('lr.http_local_rate_limit.' + s for s in ('enabled', 'enforced', 'rate_limited', 'ok', 'shadow_mode'))
TOLD = ('x-ratelimit-limit', 'x-ratelimit-remaining')
SET = lambda v: http_filter('sm', 'set_metadata.v3.Config', '{metadata: [{metadata_namespace: ns, value: %s}]}' % v)


def limited(name, more, reqs, limits=None, most=100, opts=None, before=(), extra=None, clusters=None, respond=None, port=None):
    @case('local_ratelimit_' + name)
    async def _(t):
        u = await t.up('u1', respond)
        r = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}
        if limits:
            r['route']['rate_limits'] = Y(limits)
        e = extra(t) if callable(extra) else extra
        cs = None if clusters is None else [cluster('c1', [u]), *clusters(t, u)]
        await t.start(simple(t, filters=[*before, LR(more, most)], routes=[r], log=LOG, opts=opts, extra=e, clusters=cs))
        seen = []
        for k in reqs:
            m = await t.req(**k)
            seen.append([m.status, *(m.h(n) for n in TOLD)])
        t.see('answers', seen)
        t.see('stats', await t.stats(*STATS))
        t.see('log', await t.logs())


K = '{request_headers: {header_name: x-k, descriptor_key: k}}'
ONE = H(('x-k', 'one'))
AM = lambda cidr, more='', invert='false': '{remote_address_match: {descriptor_value: v, address_matcher: {ranges: [{address_prefix: %s}], invert_match: %s}%s}}' % (cidr, invert, more)
limited('remote_address_match', DS(D(('remote_address_match', 'v'))) , [H(), H()], limits=BY(AM('127.0.0.0, prefix_len: 8')))
limited('remote_address_match_not', DS(D(('remote_address_match', 'v'))) , [H(), H()], limits=BY(AM('10.0.0.0, prefix_len: 8')))
limited('remote_address_match_inverted', DS(D(('remote_address_match', 'v'))) , [H(), H()], limits=BY(AM('10.0.0.0, prefix_len: 8', invert='true')))
limited('remote_address_match_key', DS(D(('mine', 'v'))) , [H(), H()], limits=BY(AM('127.0.0.1, prefix_len: 32', ', descriptor_key: mine')))
limited('remote_address_match_of_the_client', DS(D(('remote_address_match', 'v'))) , [H(('x-forwarded-for', '10.1.1.1')), H(('x-forwarded-for', '10.1.1.1')), H(), H()], limits=BY(AM('10.0.0.0, prefix_len: 8')), opts='{use_remote_address: false, xff_num_trusted_hops: 0}')
limited('remote_address_match_value_is_a_format', DS(D(('remote_address_match', 'GET'), n=1), D(('remote_address_match', '%REQ(:method)%'), n=2), D(('remote_address_match', 'd'), n=3)), [H()] * 4, limits=BY('{remote_address_match: {descriptor_value: "%REQ(:method)%", default_value: d, address_matcher: {ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}}'))
EXT = lambda name, cfg: '{extension: {name: %s, typed_config: %s}}' % (name, cfg)
IN = lambda short, more='': '{"@type": type.googleapis.com/envoy.type.matcher.v3.%s%s}' % (short, more)
limited('extension_header', DS(D(('hh', 'one')), D(('x-k', 'one'), n=5)), [ONE, ONE, H()], limits=BY(EXT('hh', IN('HttpRequestHeaderMatchInput', ', header_name: x-k'))))
limited('extension_header_twice', DS(D(('hh', 'a,b')), D(('hh', 'a'), n=5)), [H(('x-k', 'a'), ('x-k', 'b'))] * 2, limits=BY(EXT('hh', IN('HttpRequestHeaderMatchInput', ', header_name: x-k'))))
limited('extension_query', DS(D(('q', 'one'))), [H(path='/?a=one'), H(path='/?a=one'), H(path='/?a=two')], limits=BY(EXT('q', IN('HttpRequestQueryParamMatchInput', ', query_param: a'))))
NET = lambda short: '{"@type": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.%s}' % short
limited('extension_source_ip', DS(D(('ip', '127.0.0.1'))), [H(), H()], limits=BY(EXT('ip', NET('SourceIPInput'))))
CEL = lambda text, more='': EXT('x', '{"@type": type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor, descriptor_key: cel, text: \'%s\'%s}' % (text, more))
limited('remote_address_match_empty_value', DS(D(('generic_key', 'g'))), [H(), H()], limits=BY('{remote_address_match: {descriptor_value: "%REQ(x-none)%", address_matcher: {ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}}, {generic_key: {descriptor_value: g}}'))
limited('extension_header_empty', DS(D(('generic_key', 'g')), D(('hh', ''), ('generic_key', 'g'), n=3)), [H(('x-k', ''))] * 2, limits=BY(EXT('hh', IN('HttpRequestHeaderMatchInput', ', header_name: x-k')) + ', {generic_key: {descriptor_value: g}}'))
limited('hits_by_odd_numbers', DS(D(('k', 'one'), n=20)) + ', rate_limits: ' + BY(K, ', hits_addend: {format: "%REQ(x-n)%"}'), [H(('x-k', 'one'), ('x-n', n)) for n in ('1.5', '2.9', '0.5', '1e1', '+2', 'nan', 'inf', '-0')])
limited('extension_expr', DS(D(('cel', 'one'))), [ONE, ONE, H(('x-k', 'two')), H()], limits=BY(CEL('request.headers["x-k"]')))
limited('extension_expr_skip', DS(D(('cel', 'one')), D(('generic_key', 'g'))), [ONE, ONE, H(), H()], limits=BY(CEL('request.headers["x-k"]', ', skip_if_error: true') + ', {generic_key: {descriptor_value: g}}'))
limited('extension_expr_number', DS(D(('cel', '3')), D(('cel', 'true'), n=2)), [H(path='/ab'), H(path='/ab')], limits=BY(CEL('size(request.path)')))
limited('extension_expr_boolean', DS(D(('cel', 'true'))), [H(), H()], limits=BY(CEL('request.method == "GET"')))
limited('limit_is_not_for_it', DS(D(('k', 'one'), n=2)), [ONE, ONE, ONE], limits=BY(K, ', limit: {dynamic_metadata: {metadata_key: {key: ns, path: [{key: a}]}}}'), before=[SET('{a: {requests_per_unit: 1, unit: HOUR}}')])
limited('static_limit_is_not_for_it', DS(D(('k', 'one'), n=2)), [ONE, ONE, ONE], limits=BY(K, ', limit: {rate_limit: {requests_per_unit: 1, unit: HOUR}}'))
limited('on_stream_done_of_the_route', DS(D(('k', 'one'))), [ONE, ONE, ONE], limits=BY(K, ', apply_on_stream_done: true'))
limited('on_stream_done_in_the_filter', DS(D(('k', 'one'))) + ', rate_limits: ' + BY(K, ', apply_on_stream_done: true'), [ONE, ONE, ONE])
HITS = lambda f, more='': ', hits_addend: {format: "%s"%s}' % (f, more)
limited('hits_by_a_header', DS(D(('k', 'one'), n=10)) + ', rate_limits: ' + BY(K, HITS('%REQ(x-n)%')), [H(('x-k', 'one'), ('x-n', n)) for n in ('3', '4', '5', '3', '0', 'x', '-1', '1.5', '1000000001')] + [ONE])
limited('hits_given_back_by_format', DS(D(('k', 'one'), n=3)) + ', rate_limits: ' + BY(K, HITS('%REQ(x-n)%', ', is_negative_hits: true')), [H(('x-k', 'one'), ('x-n', '1')), ONE])
limited('hits_by_metadata', DS(D(('k', 'one'), n=10)) + ', rate_limits: ' + BY(K, HITS('%DYNAMIC_METADATA(ns:n)%')), [ONE, ONE, ONE], before=[SET('{n: 4}')])
limited('hits_of_the_route', DS(D(('k', 'one'), n=10)), [H(('x-k', 'one'), ('x-n', '4'))] * 3, limits=BY(K, HITS('%REQ(x-n)%')))
limited('hits_number_of_the_route', DS(D(('k', 'one'), n=10)), [ONE] * 3, limits=BY(K, ', hits_addend: {number: 4}'))

LOCAL = {'cluster_manager': {'local_cluster_name': 'local'}}
MEMBERS = lambda n: lambda t, u: [cluster('local', extra={'load_assignment': {'cluster_name': 'local', 'endpoints': [{'lb_endpoints': [{'endpoint': {'address': {'socket_address': {'address': '127.0.0.%d' % (i + 1), 'port_value': u.port}}}} for i in range(n)]}]}})]
SHARE = ', local_cluster_rate_limit: {}'
limited('share_of_one', SHARE, [H()] * 3, most=2, clusters=MEMBERS(1), extra=LOCAL)
limited('share_of_two', SHARE, [H()] * 5, most=4, clusters=MEMBERS(2), extra=LOCAL)
limited('share_of_three', SHARE, [H()] * 5, most=4, clusters=MEMBERS(3), extra=LOCAL)
limited('share_of_none', SHARE, [H()] * 3, most=2, clusters=MEMBERS(0), extra=LOCAL)
limited('share_of_many', SHARE, [H()] * 3, most=2, clusters=MEMBERS(9), extra=LOCAL)
limited('share_of_descriptors', SHARE + DS(D(('k', 'one'), n=4)), [ONE] * 5, limits=BY(K), clusters=MEMBERS(2), extra=LOCAL)
limited('share_of_wildcards', SHARE + DS(D(('k',), n=4)), [ONE] * 5, limits=BY(K), clusters=MEMBERS(2), extra=LOCAL)


@case('local_ratelimit_more_verdicts')
async def _(t):
    u = await t.up('u1')
    LOCALS = dict(clusters=[cluster('c1', [u]), cluster('local', [u])], extra=LOCAL)
    tries = [
        (SHARE, {}), (SHARE, dict(extra=LOCAL)), (SHARE, LOCALS), (SHARE + ', local_rate_limit_per_downstream_connection: true', LOCALS),
        (', rate_limits: ' + BY(K, ', hits_addend: {format: "%REQ(x)% %REQ(y)%"}'), {}), (', rate_limits: ' + BY(K, ', hits_addend: {format: "x"}'), {}), (', rate_limits: ' + BY(K, ', hits_addend: {format: "%NOPE%"}'), {}),
        (', rate_limits: ' + BY(K, ', hits_addend: {format: "%REQ(x)%", number: 1}'), {}), (', rate_limits: ' + BY(K, ', hits_addend: {format: "%%"}'), {}), (', rate_limits: ' + BY(K, ', hits_addend: {}'), {}),
        (', rate_limits: ' + BY('{dynamic_metadata: {descriptor_key: k, metadata_key: {key: ns, path: [{key: a}]}}}'), {}), (', rate_limits: ' + BY('{remote_address_match: {descriptor_value: v}}'), {}), (', rate_limits: ' + BY('{remote_address_match: {descriptor_value: v, address_matcher: {}}}'), {}),
        (', rate_limits: ' + BY('{remote_address_match: {address_matcher: {ranges: [{address_prefix: 1.2.3.4}]}}}'), {}), (', rate_limits: ' + BY(EXT('x', '{"@type": type.googleapis.com/envoy.config.core.v3.Node}')), {}), (', rate_limits: ' + BY(CEL('1 +')), {}),
        (', rate_limits: ' + BY(EXT('x', '{"@type": type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor, descriptor_key: cel}')), {}), (', rate_limits: ' + BY(EXT('x', '{"@type": type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor, text: "1"}')), {}),
        (', rate_limits: ' + BY(K, ', limit: {}'), {}), (', rate_limits: ' + BY(EXT('x', IN('HttpResponseHeaderMatchInput', ', header_name: x'))), {})]
    for i, (more, k) in enumerate(tries):
        code, log = await t.run_to_end(simple(t, filters=[LR(more)], **k), args=('--mode', 'validate'))
        t.see('%d' % i, 'refused' if code else 'taken')
