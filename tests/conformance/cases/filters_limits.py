"""local_ratelimit with descriptors: which of them requests give, whose bucket pays, and what clients are told."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
ON = 'filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}'
LONG = lambda n: 'token_bucket: {max_tokens: %d, tokens_per_fill: 1, fill_interval: 6000s}' % n
LR = lambda more='', most=2: http_filter('lr', 'local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, %s, %s%s}' % (LONG(most), ON, more))
PL = lambda c: {'typed_per_filter_config': {'lr': {'@type': ftype('local_ratelimit.v3.LocalRateLimit'), **Y(c)}}}
D = lambda *entries, n=1, more='': '{entries: [%s], %s%s}' % (', '.join('{key: "%s"%s}' % (e[0], ', value: "%s"' % e[1] if len(e) > 1 else '') for e in entries), LONG(n), more)
STATS = tuple('lr.http_local_rate_limit.' + s for s in ('enabled', 'enforced', 'rate_limited', 'ok', 'shadow_mode'))
TOLD = ('x-ratelimit-limit', 'x-ratelimit-remaining')


def limited(name, more, reqs, limits=None, vhost=None, route=None, most=100, told=False, pf=None, opts=None, filters=None, extra=None, routes=None):
    """Statuses, what clients are told, counters and the log; `limits` are the route's, `vhost` the virtual host's."""
    @case('local_ratelimit_' + name)
    async def _(t):
        await t.up('u1')
        r = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **Y(route or '{}')}, **(pf or {})}
        if limits:
            r['route']['rate_limits'] = Y(limits)
        v = {'name': 'v', 'domains': ['*'], 'routes': routes or [r]}
        if vhost:
            v['rate_limits'] = Y(vhost)
        await t.start(simple(t, filters=filters or [LR(more, most)], vhosts=[v], log=LOG, opts=opts, extra=extra))
        seen = []
        for k in reqs:
            m = await t.req(**k)
            seen.append([m.status, *(m.h(n) for n in TOLD), *([] if not told else [bool(m.h(n)) for n in ('x-ratelimit-reset', 'retry-after')])])
        t.see('answers', seen)
        t.see('stats', await t.stats(*STATS))
        t.see('log', await t.logs())


TELL = ', enable_x_ratelimit_headers: DRAFT_VERSION_03'
BY = lambda action: '[{actions: [%s]}]' % action
K = '{request_headers: {header_name: x-k, descriptor_key: k}}'
L = '{request_headers: {header_name: x-l, descriptor_key: l}}'
DS = lambda *ds: ', descriptors: [%s]' % ', '.join(ds)
ONE, TWO = H(('x-k', 'one')), H(('x-k', 'two'))
BOTH = H(('x-k', 'one'), ('x-l', 'a'))

limited('actions_in_the_filter', DS(D(('k', 'one'))) + ', rate_limits: ' + BY(K) + TELL, [ONE, ONE, TWO, H()], told=True)
limited('filter_before_route', DS(D(('k', 'one')), D(('l', 'a'))) + ', rate_limits: ' + BY(L) + TELL, [ONE, ONE, BOTH, BOTH], limits=BY(K))
limited('entries_of_two', DS(D(('k', 'one'), ('l', 'a'))) + TELL, [BOTH, BOTH, ONE, H(('x-l', 'a'))], limits=BY(K + ', ' + L))
limited('order_of_entries_counts', DS(D(('l', 'a'), ('k', 'one'))) + TELL, [BOTH, BOTH], limits=BY(K + ', ' + L))
limited('slowest_pays_first', DS(D(('k', 'one'), n=3), '{entries: [{key: l, value: a}], token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 60s}}') + TELL, [BOTH, BOTH, ONE, ONE], limits='[{actions: [%s]}, {actions: [%s]}]' % (L, K))
limited('default_bucket_alone', TELL, [ONE, ONE, TWO], limits=BY(K), most=2)
limited('default_bucket_pays_too', DS(D(('k', 'one'), n=5)) + TELL, [ONE, ONE, ONE, TWO], limits=BY(K), most=2)
limited('default_bucket_is_spared', DS(D(('k', 'one'), n=3)) + ', always_consume_default_token_bucket: false' + TELL, [ONE, ONE, ONE, ONE, TWO, TWO], limits=BY(K), most=1)
limited('wildcard', DS(D(('k',), n=1)) + TELL, [ONE, ONE, TWO, TWO, H(('x-k', '')), H()], limits=BY(K))
limited('wildcard_of_two', DS(D(('k', 'one'), ('l',), n=1)) + TELL, [BOTH, BOTH, H(('x-k', 'one'), ('x-l', 'b')), H(('x-k', 'two'), ('x-l', 'b')), H(('x-k', 'two'), ('x-l', 'b'))], limits=BY(K + ', ' + L))
limited('exact_before_wildcard', DS(D(('k',), n=1), D(('k', 'one'), n=2)) + TELL, [ONE, ONE, ONE, TWO, TWO], limits=BY(K))
limited('wildcards_forget_the_oldest', DS(D(('k',), n=1)) + ', max_dynamic_descriptors: 2', [ONE, TWO, H(('x-k', 'three')), ONE, H(('x-k', 'three')), TWO], limits=BY(K))
limited('wildcards_keep_what_is_used', DS(D(('k',), n=1)) + ', max_dynamic_descriptors: 2', [ONE, TWO, ONE, H(('x-k', 'three')), ONE, TWO], limits=BY(K))
limited('shadow_mode', DS(D(('k', 'one'), more=', shadow_mode: true')) + TELL, [ONE, ONE, ONE], limits=BY(K))
limited('stage', DS(D(('k', 'one'))) + ', stage: 1', [ONE, ONE, BOTH, BOTH], limits='[{stage: 1, actions: [%s]}, {actions: [%s]}]' % (K, L))
limited('disable_key', DS(D(('k', 'one'))), [ONE, ONE], limits='[{disable_key: x, actions: [%s]}]' % K)
limited('virtual_host_where_the_route_has_none', DS(D(('k', 'one'))), [ONE, ONE], vhost=BY(K))
limited('virtual_host_beside_the_route', DS(D(('k', 'one')), D(('l', 'a'))), [ONE, ONE, BOTH, BOTH], vhost=BY(K), limits=BY(L))
limited('virtual_host_included', DS(D(('k', 'one')), D(('l', 'a'))) + ', vh_rate_limits: INCLUDE', [ONE, ONE, BOTH], vhost=BY(K), limits=BY(L))
limited('virtual_host_ignored', DS(D(('k', 'one'))) + ', vh_rate_limits: IGNORE', [ONE, ONE], vhost=BY(K))
limited('virtual_host_included_by_the_route', DS(D(('k', 'one'))) + ', vh_rate_limits: IGNORE', [ONE, ONE], vhost=BY(K), limits=BY(L), route='{include_vh_rate_limits: true}')
limited('generic_key', DS(D(('generic_key', 'g')), D(('own', 'h'))), [H(), H(), H()], limits=BY('{generic_key: {descriptor_value: g}}'))
limited('generic_key_named', DS(D(('own', 'h'))), [H(), H()], limits=BY('{generic_key: {descriptor_value: h, descriptor_key: own}}'))
limited('generic_key_is_no_format', DS(D(('generic_key', '%REQ(x-k)%'))), [ONE, ONE, TWO, TWO], limits=BY('{generic_key: {descriptor_value: "%REQ(x-k)%"}}'))
limited('generic_key_default', DS(D(('generic_key', 'none'))), [H(), H(), ONE], limits=BY('{generic_key: {descriptor_value: "%REQ(x-k)%", default_value: none}}'))
limited('remote_address', DS(D(('remote_address', '127.0.0.1'))), [H(), H()], limits=BY('{remote_address: {}}'))
limited('masked_remote_address', DS(D(('masked_remote_address', '127.0.0.0/8'))), [H(), H(src='127.0.0.9')], limits=BY('{masked_remote_address: {v4_prefix_mask_len: 8}}'))
limited('masked_remote_address_default', DS(D(('masked_remote_address', '127.0.0.1/32'))), [H(), H(), H(src='127.0.0.9')], limits=BY('{masked_remote_address: {}}'))
limited('clusters', DS(D(('destination_cluster', 'c1'), ('source_cluster', 'me'))), [H(), H()], limits=BY('{destination_cluster: {}}, {source_cluster: {}}'), extra='{node: {id: i, cluster: me}}')
limited('header_value_match', DS(D(('header_match', 'm')), D(('own', 'z'))), [ONE, ONE, TWO, TWO], limits='[{actions: [{header_value_match: {descriptor_value: m, headers: [{name: x-k, string_match: {exact: one}}]}}]}, {actions: [{header_value_match: {descriptor_value: z, descriptor_key: own, expect_match: false, headers: [{name: x-k, string_match: {exact: one}}]}}]}]')
limited('query_parameter_value_match', DS(D(('query_match', 'm'))), [H(path='/?a=1'), H(path='/?a=1'), H(path='/?a=2')], limits=BY('{query_parameter_value_match: {descriptor_value: m, query_parameters: [{name: a, string_match: {exact: "1"}}]}}'))
limited('query_parameters', DS(D(('q', '1')), D(('q', ''))), [H(path='/?a=1'), H(path='/?a=1&b'), H(path='/'), H(path='/?a=')], limits=BY('{query_parameters: {query_parameter_name: a, descriptor_key: q}}'))
limited('skip_if_absent', DS(D(('k', 'one'))), [ONE, ONE, BOTH], limits=BY(K + ', {request_headers: {header_name: x-l, descriptor_key: l, skip_if_absent: true}}'))
limited('absent_spoils_the_whole', DS(D(('k', 'one'))), [ONE, ONE], limits=BY(K + ', ' + L))
limited('repeated_header', DS(D(('k', 'one'))), [H(('x-k', 'one'), ('x-k', 'two'))] * 2, limits=BY(K))
SETS = http_filter('sm', 'set_metadata.v3.Config', '{metadata: [{metadata_namespace: ns, value: {a: {b: one}, c: 7}}]}')
limited('metadata', None, [H(), H()], limits=BY('{metadata: {descriptor_key: k, metadata_key: {key: ns, path: [{key: a}, {key: b}]}}}'), filters=[SETS, LR(DS(D(('k', 'one'))), 100)])
limited('metadata_default', None, [H(), H()], limits=BY('{metadata: {descriptor_key: k, default_value: none, metadata_key: {key: ns, path: [{key: c}]}}}'), filters=[SETS, LR(DS(D(('k', 'none'))), 100)])
limited('metadata_of_the_route', DS(D(('k', 'one'))), [H(), H()], limits=BY('{metadata: {descriptor_key: k, source: ROUTE_ENTRY, metadata_key: {key: ns, path: [{key: a}]}}}'), pf={'metadata': {'filter_metadata': {'ns': {'a': 'one'}}}})
limited('hits_addend_of_the_route', DS(D(('k', 'one'), n=5)) + TELL, [ONE, ONE, ONE], limits='[{actions: [%s], hits_addend: {number: 2}}]' % K)
limited('hits_addend', DS(D(('k', 'one'), n=5)) + ', rate_limits: [{actions: [%s], hits_addend: {number: 2}}]' % K + TELL, [ONE, ONE, ONE])
limited('hits_addend_zero', DS(D(('k', 'one'), n=1)) + ', rate_limits: [{actions: [%s], hits_addend: {number: 0}}]' % K + TELL, [ONE, ONE])
limited('hits_given_back', DS(D(('k', 'one'), n=3)) + ', rate_limits: [{actions: [%s, {header_value_match: {descriptor_value: z, headers: [{name: x-l, present_match: true}]}}], hits_addend: {number: 2, is_negative_hits: true}}, {actions: [%s]}]' % (K, K) + TELL, [ONE, ONE, ONE, BOTH, ONE])
limited('hits_given_back_alone', DS(D(('k', 'one'), n=3)) + ', rate_limits: [{actions: [%s], hits_addend: {number: 1, is_negative_hits: true}}]' % K + TELL, [ONE, ONE])
limited('x_ratelimit_option_in_the_filter', DS(D(('k', 'one')), D(('l', 'a'))) + ', rate_limits: [{actions: [%s], x_ratelimit_option: DRAFT_VERSION_03}, {actions: [%s]}]' % (K, L), [ONE, ONE, H(('x-l', 'a')), TWO])
limited('x_ratelimit_option_off', DS(D(('k', 'one')), D(('l', 'a'))) + TELL + ', rate_limits: [{actions: [%s], x_ratelimit_option: "OFF"}, {actions: [%s]}]' % (K, L), [ONE, ONE, H(('x-l', 'a')), TWO])
limited('shadow_mode_not_enforced', None, [ONE, ONE], limits=BY(K), filters=[http_filter('lr', 'local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, %s, filter_enabled: {default_value: {numerator: 100}}%s}' % (LONG(9), DS(D(('k', 'one'), more=', shadow_mode: true'))))])
limited('shadow_mode_beside_others', DS(D(('k', 'one'), more=', shadow_mode: true'), '{entries: [{key: l, value: a}], token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 60s}}') + TELL, [ONE, BOTH, BOTH, BOTH], limits='[{actions: [%s]}, {actions: [%s]}]' % (K, L))
limited('retry_after_alone', ', enable_retry_after_header: true', [H(), H()], most=1, told=True)
limited('repeated_header_joined', DS(D(('k', 'one,two'))), [H(('x-k', 'one'), ('x-k', 'two'))] * 2, limits=BY(K))
limited('x_ratelimit_option_of_the_route', DS(D(('k', 'one'))), [ONE, TWO], limits='[{actions: [%s], x_ratelimit_option: DRAFT_VERSION_03}]' % K)
limited('retry_after', ', enable_retry_after_header: true' + TELL, [H(), H()], most=1, told=True)
limited('no_default_bucket', None, [H(), H()], filters=[http_filter('lr', 'local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, %s%s}' % (ON, TELL))])
limited('descriptors_of_the_route', None, [ONE, ONE, TWO], limits=BY(K), pf=PL('{stat_prefix: lr, %s, %s%s}' % (LONG(50), ON, DS(D(('k', 'one'))))), filters=[http_filter('lr', 'local_ratelimit.v3.LocalRateLimit', '{stat_prefix: own}')])
limited('no_route_limits_for_direct_responses', DS(D(('k', 'one'))), [ONE, ONE], routes=[{'match': {'prefix': '/'}, 'direct_response': {'status': 200}}], vhost=BY(K))


@case()
async def local_ratelimit_verdicts(t):
    await t.up('u1')
    B = lambda b, more='': http_filter('lr', 'local_ratelimit.v3.LocalRateLimit', '{stat_prefix: lr, token_bucket: %s%s}' % (b, more))
    ok = '{max_tokens: 1, fill_interval: 1s}'
    rl = lambda r: B(ok, DS(D(('k', 'one'))) + ', rate_limits: [%s]' % r)
    for i, f in enumerate([B(ok), B('{max_tokens: 1, fill_interval: 0.04s}'), B('{max_tokens: 0, fill_interval: 1s}'), B('{max_tokens: 1}'), B('{max_tokens: 1, fill_interval: 1s, tokens_per_fill: 0}'),
                           LR(DS(D(('k', 'one')), D(('k', 'one')))), LR(DS(D(('k',)), D(('k',)))), LR(DS('{entries: [{key: k, value: a}], token_bucket: {max_tokens: 1, fill_interval: 0.01s}}')),
                           rl('{stage: 1, actions: [%s]}' % K), rl('{disable_key: x, actions: [%s]}' % K), rl('{actions: []}'), rl('{actions: [{}]}'), rl('{actions: [%s], limit: {dynamic_metadata: {metadata_key: {key: a, path: [{key: b}]}}}}' % K),
                           rl('{actions: [%s], hits_addend: {}}' % K), LR(', max_dynamic_descriptors: 0'), LR(', local_cluster_rate_limit: {}'), rl('{actions: [{dynamic_metadata: {descriptor_key: k, metadata_key: {key: ns, path: [{key: a}]}}}]}')]):
        code, _ = await t.run_to_end(simple(t, filters=[f]), args=('--mode', 'validate'))
        t.see('%d' % i, 'refused' if code else 'taken')


@case()
async def local_ratelimit_per_connection_with_descriptors(t):
    await t.up('u1')
    r = lambda p, pf=None: {'match': {'prefix': p}, 'route': {'cluster': 'c1', 'rate_limits': Y(BY(K))}, **(pf or {})}
    own = PL('{stat_prefix: own, %s, %s, local_rate_limit_per_downstream_connection: true}' % (LONG(1), ON))
    await t.start(simple(t, filters=[LR(DS(D(('k', 'one'))) + ', local_rate_limit_per_downstream_connection: true', 3)], routes=[r('/own', own), r('/')], log=LOG))
    for i in range(2):
        c, seen = await t.conn(), []
        for k in (ONE, ONE, H(), H(), H(path='/own'), H(path='/own')):
            c.send(build(**k))
            seen.append((await c.response()).status)
        t.see('connection %d' % i, seen)
    c, seen = await t.conn(), []
    for k in (H(path='/own'), H(path='/own'), H(), H(), ONE):
        c.send(build(**k))
        seen.append((await c.response()).status)
    t.see('the other way round', seen)
