"""Path and host rewriting by the connection manager, and what it removes and adds on the way through."""
from harness import *
from harness.tables import H, edge

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)%'


def targets(name, opts, ps, **kw):
    """Observes per request target: status, path at the upstream, location."""
    @case(name)
    async def _(t):
        u = await t.up()
        await t.start(simple(t, opts=opts, log=LOG, **kw))
        out = {}
        for p in ps:
            n = len(u.reqs)
            r = await t.req(p)
            out[p] = ' '.join([str(r.status), u.reqs[-1].path if len(u.reqs) > n else '-', r.h('location') or '-'])
        t.see('by_target', out)
        t.see('stats', await t.stats('http.in.downstream_rq_failed_path_normalization', 'http.in.downstream_rq_redirected_with_normalized_path', 'http.in.downstream_rq_non_relative_path'))
        t.see('log', await t.logs())


def hosts(name, opts, hs, route_config=None):
    """Observes per Host header: status, host at the upstream."""
    @case(name)
    async def _(t):
        u = await t.up()
        await t.start(simple(t, opts=opts, route_config=route_config))
        out = {}
        for h in hs:
            h = h.replace('$L1', str(t.l1))
            n = len(u.reqs)
            r = await t.req(host=h)
            out[h] = '%s %s' % (r.status, u.reqs[-1].h('host') if len(u.reqs) > n else '-')
        t.see('by_host', out)


NORMAL = '{normalize_path: true}'
targets('normalize_dot_segments', NORMAL, ['/a/./b', '/a/../b', '/a/b/..', '/a/b/.', '/..', '/../../x', '/.', '/a/...', '/a/.b', '/a/..b', '/./a', '/a//../b'])
targets('normalize_percent', NORMAL, ['/%41', '/%7e', '/%2e', '/%2E%2e/x', '/a%2fb', '/a%2Fb', '/%c3%a9', '/%C3%A9', '/%25', '/%20', '/%3f', '/%23', '/%5c', '/%5Bx%5D'])
targets('normalize_bad_percent', NORMAL, ['/%', '/%4', '/%zz', '/a%00b', '/%0a', '/%7f', '/%ff'])
targets('normalize_backslash', NORMAL, ['/a\\b', '/a\\..\\b', '\\a', '/a%5cb'])
targets('normalize_query_kept', NORMAL, ['/a/../b?x=/../y', '/a?%41', '/?', '/a?b?c', '/a/..?'])
targets('normalize_parameters', NORMAL, ['/a;x=1/b', '/a/..;x/b', '/a/.;y/b', '/a;/b', '/a;x/../b', '/;x', '/a/%2e%2e;x/b'])
targets('normalize_chars', NORMAL, ['/a b'.replace(' ', '+'), '/a"b', '/a<b>', '/a|b', '/{x}', '/[x]', "/a'b", '/a*b', '/a,b', '/a:b@c'])
targets('normalize_default_off', None, ['/a/../b', '/%41', '//a//b', '/a%2fb', '/a\\b'])
targets('merge_slashes', '{merge_slashes: true}', ['//a', '/a//b', '/a///b//', '//', '/a?x=//y', '/a/%2f/b', '///?//'])
targets('merge_slashes_after_normalize', '{merge_slashes: true, normalize_path: true}', ['/a//../b', '//..//x', '/a/.//b', '/a\\/b'])
for act in ('KEEP_UNCHANGED', 'REJECT_REQUEST', 'UNESCAPE_AND_REDIRECT', 'UNESCAPE_AND_FORWARD', 'IMPLEMENTATION_SPECIFIC_DEFAULT'):
    targets('escaped_slashes_' + act.lower(), '{path_with_escaped_slashes_action: %s}' % act, ['/a%2fb', '/a%2Fb', '/a%5cb', '/a%5Cb', '/a%252fb', '/a?x=%2f', '/ab', '/a%2f%2e%2e%2fb'])
targets('escaped_slashes_forward_normalize', '{path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD, normalize_path: true, merge_slashes: true}', ['/a%2f..%2fb', '/a%2f%2fb', '/a%5c..%5cb'])
targets('escaped_slashes_redirect_normalize', '{path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT, normalize_path: true, merge_slashes: true}', ['/a%2f..%2fb', '/a%2f%2fb?q', '/a/../b', '/a//b'])

hosts('strip_matching_host_port', '{strip_matching_host_port: true}', ['a:$L1', 'a:1', 'a', '[::1]:$L1', 'a:'])
hosts('strip_any_host_port', '{strip_any_host_port: true}', ['a:$L1', 'a:1', 'a', '[::1]:9', '[::1]', 'a:x', 'a:'])
hosts('strip_trailing_host_dot', '{strip_trailing_host_dot: true}', ['a.', 'a.:80', 'a', 'a..', '.', 'a.b.'])
hosts('strip_dot_and_port', '{strip_trailing_host_dot: true, strip_any_host_port: true}', ['a.:80', 'a.', 'a:80'])

CLEAN = {'x-envoy-internal', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-port', 'x-envoy-external-address', 'forwarded', 'x-real-ip', 'true-client-ip'}
edge('xff_odd_values', '{use_remote_address: false}', [H(('x-forwarded-for', v)) for v in ('', ' ', '1.2.3.4:80', '[::1]', '::1', '1.2.3.4,', ',1.2.3.4', '1.2.3.4 , 5.6.7.8', 'unknown', '001.2.3.4')])
edge('xff_odd_values_ura', '{use_remote_address: true, xff_num_trusted_hops: 1}', [H(('x-forwarded-for', v)) for v in ('', '1.2.3.4:80', '2001:db8::1', '1.2.3.4,', 'a, b', '1.1.1.1,2.2.2.2')])
edge('xff_more_hops_than_addresses', '{use_remote_address: true, xff_num_trusted_hops: 5}', [H(), H(('x-forwarded-for', '1.1.1.1')), H(('x-forwarded-for', '1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4, 5.5.5.5, 6.6.6.6'))])
edge('xff_internal_v6_cidr', '{use_remote_address: false, internal_address_config: {cidr_ranges: [{address_prefix: "fd00::", prefix_len: 8}]}}', [H(('x-forwarded-for', v)) for v in ('fd00::1', 'fe00::1', '10.0.0.1')])
edge('xff_internal_two_addresses', '{use_remote_address: false, internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}', [H(('x-forwarded-for', '10.0.0.1, 10.0.0.2')), H(('x-forwarded-for', '10.0.0.1')), H(('x-forwarded-for', '10.0.0.1'), ('x-forwarded-for', '10.0.0.2'))])
edge('xff_internal_unix_sockets', '{use_remote_address: true, internal_address_config: {unix_sockets: true}}', [H(), H(('x-forwarded-for', '10.0.0.1'))])
edge('other_forwarded_headers_pass', '{use_remote_address: true}', [H(('forwarded', 'for=1.1.1.1'), ('x-real-ip', '2.2.2.2'), ('x-forwarded-host', 'h'), ('x-forwarded-port', '1'), ('true-client-ip', '3.3.3.3'))], only=CLEAN)
edge('xfproto_case', '{use_remote_address: false}', [H(('x-forwarded-proto', 'HTTPS')), H(('x-forwarded-proto', 'http,https')), H(('x-forwarded-proto', ''))], log='%REQ(:SCHEME)%|%REQ(X-FORWARDED-PROTO)%')
edge('scheme_match_upstream', '{scheme_header_transformation: {match_upstream: true}}', [H(), H(('x-forwarded-proto', 'https'))], log='%REQ(:SCHEME)%|%REQ(X-FORWARDED-PROTO)%')
edge('scheme_overwrite_http', '{scheme_header_transformation: {scheme_to_overwrite: http}, use_remote_address: true}', [H(), H(('x-forwarded-proto', 'https'))], log='%REQ(:SCHEME)%|%REQ(X-FORWARDED-PROTO)%')
edge('xfport_append_ura_false', '{append_x_forwarded_port: true}', [H(), H(('x-forwarded-port', '99'))])
edge('detection_custom_header_port', '{original_ip_detection_extensions: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-real-ip}}]}',
     [H(('x-real-ip', '7.7.7.7:80')), H(('x-real-ip', '::1')), H(('x-real-ip', '7.7.7.7'), ('x-forwarded-for', '1.1.1.1')), H(('x-real-ip', '7.7.7.7'), ('x-real-ip', '8.8.8.8'))])
edge('detection_two_extensions', '{original_ip_detection_extensions: [{name: a, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-a-ip}}, {name: b, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-b-ip}}]}',
     [H(('x-a-ip', '1.1.1.1'), ('x-b-ip', '2.2.2.2')), H(('x-b-ip', '2.2.2.2')), H()])
edge('detection_reject_default_status', '{original_ip_detection_extensions: [{name: a, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-a-ip, reject_with_status: {code: TooManyRequests}}}]}', [H(), H(('x-a-ip', 'x')), H(('x-a-ip', '9.9.9.9'))], log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%')
edge('detection_xff_skip_append', '{original_ip_detection_extensions: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig, xff_num_trusted_hops: 0, skip_xff_append: true}}]}', [H(), H(('x-forwarded-for', '1.1.1.1'))])
edge('xfcc_modes_without_tls', '{forward_client_cert_details: ALWAYS_FORWARD_ONLY}', [H(('x-forwarded-client-cert', 'By=x'))])
edge('xfcc_append_without_tls', '{forward_client_cert_details: APPEND_FORWARD, set_current_client_cert_details: {uri: true}}', [H(('x-forwarded-client-cert', 'By=x')), H()])
edge('internal_only_headers', '{use_remote_address: true}', [H(('x-int', '1'), ('x-ext', '2')), H(('x-int', '1'), ('x-forwarded-for', '8.8.8.8'))], only={'x-int', 'x-ext'}, route_config={'internal_only_headers': ['x-int']})
edge('date_and_server_of_client_pass', None, [H(('server', 'client'), ('date', 'x'), ('via', '1.1 c'))], only={'server', 'via'})


@case()
async def fragments_are_dropped_where_the_feature_is_off(t):
    """envoy.reloadable_features.http_reject_path_with_fragment: false."""
    u = await t.up()
    extra = '{layered_runtime: {layers: [{name: s, static_layer: {envoy.reloadable_features.http_reject_path_with_fragment: false}}]}}'
    await t.start(simple(t, opts='{normalize_path: true}', extra=extra, log='%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %REQ(:PATH)%'))
    out = {}
    for target in ('/a#b', '/a#', '/#', '/a?x#y?z', '/a/../b#c', '#', '/a%23b', '/a#b/../c'):
        n = len(u.reqs)
        r = await t.req(target)
        out[target] = '%s %s' % (r.status, u.reqs[-1].path if len(u.reqs) > n else '-')
    t.see('by_target', out)
    t.see('stats', await t.stats('http.in.downstream_rq_failed_path_normalization', 'http.in.downstream_rq_non_relative_path'))
    t.see('log', await t.logs())
