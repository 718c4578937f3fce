"""Fields of clusters that few set: what a response has to be for outlier detection, the upstream's kind, transport sockets
by a matcher."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST%'
OD = '{outlier_detection: {consecutive_5xx: 2, interval: 10s, base_ejection_time: 60s, max_ejection_percent: 100, enforcing_consecutive_5xx: 100, enforcing_consecutive_gateway_failure: 0}, common_lb_config: {healthy_panic_threshold: {value: 0}}}'
T_UP = 'type.googleapis.com/envoy.extensions.upstreams.http.'


def options(**kw):
    return {'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': merge({'@type': T_HPO, 'explicit_http_config': {'http_protocol_options': {}}}, kw)}}


def header(name, **kw):
    return {'headers': [{'name': name, **kw}]}


def matching(name, predicate, answers, sent=()):
    """Asks for each answer in turn, then whether the host is ejected."""
    @case('outlier_matcher_' + name)
    async def _(t):
        todo = list(answers)

        async def respond(m, n):
            a = todo.pop(0) if todo else (200, '', [])
            return resp(*a) if isinstance(a, tuple) else resp(a)
        await t.up(respond=respond)
        await t.start(simple(t, copts=merge(Y(OD), options(outlier_detection={'error_matcher': predicate})), log=LOG))
        for _ in answers:
            await t.req('/', headers=list(sent))
        await t.pass_time(0.2)
        t.see('stats', await t.stats('cluster.c1.outlier_detection.ejections_enforced_total', 'cluster.c1.outlier_detection.ejections_detected_consecutive_5xx', 'cluster.c1.outlier_detection.ejections_detected_consecutive_gateway_failure'))
        t.see('next', (await t.req('/')).status)


STATUS = {'http_response_headers_match': header(':status', string_match={'exact': '429'})}
matching('status', STATUS, [429, 429])
matching('status_5xx_is_no_error', STATUS, [500, 500, 503])
matching('status_mixed', STATUS, [429, 200, 429])
matching('header', {'http_response_headers_match': header('x-bad', present_match=True)}, [(200, '', [('x-bad', '1')])] * 2)
matching('not', {'not_match': STATUS}, [200, 200])
matching('any', {'any_match': True}, [200, 204])
matching('or', {'or_match': {'rules': [STATUS, {'http_response_headers_match': header(':status', string_match={'exact': '418'})}]}}, [418, 429])
matching('and', {'and_match': {'rules': [STATUS, {'http_response_headers_match': header('x-bad', present_match=True)}]}}, [429, (429, '', [('x-bad', '1')]), (429, '', [('x-bad', '1')])])
matching('of_request_headers', {'http_request_headers_match': header('x-a', present_match=True)}, [200, 200], [('x-a', '1')])
matching('range', {'http_response_headers_match': header(':status', range_match={'start': 400, 'end': 500})}, [404, 404])


@case()
async def outlier_matcher_and_connect_failures(t):
    """What never was an answer counts all the same."""
    t.ups.append(t.dead())
    await t.start(simple(t, copts=merge(Y(OD), options(outlier_detection={'error_matcher': STATUS})), log=LOG))
    for _ in range(2):
        await t.req('/')
    await t.pass_time(0.2)
    t.see('stats', await t.stats('cluster.c1.outlier_detection.ejections_enforced_total'))


def upstream_kind(name, kind, **kw):
    @case('upstream_config_' + name)
    async def _(t):
        raw = []

        async def conn(c):
            data = await c.r.read(200)
            raw.append(data)
            c.send(b'raw bytes')
            await c.drain()
        u = await t.up(conn=conn) if kw.get('raw') else await t.up()
        r = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}
        await t.start(simple(t, routes=[r], copts={'upstream_config': {'name': 'any', 'typed_config': {'@type': T_UP + kind}}}, log=LOG))
        m = await t.req('/', method=kw.get('method', 'GET'), body=kw.get('body'), timeout=2)
        t.see('r', m)
        t.see('raw', [d.decode('latin-1') for d in raw])
        t.see('reqs', len(u.reqs))
        t.see('log', [l.rsplit(' ', 1)[0] for l in await t.logs()])


upstream_kind('generic', 'generic.v3.GenericConnectionPoolProto')
upstream_kind('http', 'http.v3.HttpConnectionPoolProto')
upstream_kind('tcp', 'tcp.v3.TcpConnectionPoolProto', raw=True, method='POST', body=b'up')


def validate(name, extra):
    @case('cluster_field_' + name)
    async def _(t):
        code, _ = await t.run_to_end(simple(t, clusters=[cluster('c1', t.dead(), extra)]), args=('--mode', 'validate'))
        t.see('code', code)


validate('queuing_policies_empty', '{queuing_policies: {}}')
validate('queuing_policy_fifo', {'queuing_policies': {'pending_rq_policy': {'name': 'envoy.queue_policy.fifo', 'typed_config': {'@type': 'type.googleapis.com/google.protobuf.Struct'}}}})
validate('queuing_policy_unknown', {'queuing_policies': {'pending_rq_policy': {'name': 'nobody.knows', 'typed_config': {'@type': 'type.googleapis.com/google.protobuf.Struct'}}}})
validate('network_filters', {'filters': [{'name': 'envoy.filters.network.echo', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo'}}]})


def sockets():
    return [{'name': n, 'transport_socket': {'name': 'envoy.transport_sockets.upstream_proxy_protocol', 'typed_config': {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport',
        'config': {'version': v}, 'transport_socket': {'name': 'envoy.transport_sockets.raw_buffer', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}}}}
        for n, v in (('one', 'V1'), ('two', 'V2'))]


def named(name):
    return {'action': {'name': 'a', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.matching.common_inputs.transport_socket.v3.TransportSocketNameAction', 'name': name}}}


def tree(input, map_, on_no_match=None):
    m = {'matcher_tree': {'input': {'name': 'i', 'typed_config': input}, 'exact_match_map': {'map': map_}}}
    if on_no_match:
        m['on_no_match'] = on_no_match
    return m


T_IN = 'type.googleapis.com/envoy.extensions.matching.common_inputs.transport_socket.v3.'
BY_HOST = {'@type': T_IN + 'EndpointMetadataInput', 'filter': 'envoy.lb', 'path': [{'key': 'kind'}]}
BY_LOCALITY = {'@type': T_IN + 'LocalityMetadataInput', 'filter': 'envoy.lb', 'path': [{'key': 'kind'}]}
BY_STATE = {'@type': T_IN + 'FilterStateInput', 'key': 'sock'}


def by_matcher(name, matcher, headers=(), host=None, filters=(), repeat=1):
    @case('transport_matcher_' + name)
    async def _(t):
        raw = []

        async def conn(c):
            data = await c.r.read(2000)
            raw.append('v1' if data.startswith(b'PROXY') else 'v2' if data.startswith(b'\r\n\r\n\0') else 'plain')
            c.send(resp(200, ''))
            await c.drain()
        u = await t.up(conn=conn)
        await t.start(simple(t, clusters=[cluster('c1', lbe(u, extra=host), {'transport_socket_matches': sockets(), 'transport_socket_matcher': matcher})], filters=list(filters), log=LOG))
        for _ in range(repeat):
            await t.req('/', headers=list(headers))
        t.see('heads', raw)
        t.see('stats', await t.stats(regex=r'^cluster\.c1\..*match_count'))


META = '{metadata: {filter_metadata: {envoy.lb: {kind: two}}}}'
SETS = {'name': 'fs', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config', 'on_request_headers': [
    {'object_key': 'sock', 'factory_key': 'envoy.hashable_string', 'format_string': {'text_format_source': {'inline_string': '%REQ(x-sock)%'}}, 'shared_with_upstream': 'ONCE'}]}}
by_matcher('of_endpoint', tree(BY_HOST, {'one': named('one'), 'two': named('two')}), host=META)
by_matcher('nothing_matches', tree(BY_HOST, {'one': named('one')}), host=META)
by_matcher('on_no_match', tree(BY_HOST, {'one': named('one')}, named('two')), host=META)
by_matcher('unknown_socket', tree(BY_HOST, {'two': named('nobody')}), host=META)
by_matcher('of_filter_state', tree(BY_STATE, {'one': named('one'), 'two': named('two')}), headers=[('x-sock', 'one')], filters=[SETS])
by_matcher('of_filter_state_unset', tree(BY_STATE, {'one': named('one')}))


@case()
async def transport_matcher_refused(t):
    async def code(extra):
        return (await t.run_to_end(simple(t, clusters=[cluster('c1', t.dead(), extra)]), args=('--mode', 'validate')))[0]
    m = tree(BY_HOST, {'one': named('one')})
    t.see('without names', await code({'transport_socket_matches': [merge(dict(sockets()[0]), {'name': ''})], 'transport_socket_matcher': m}))
    t.see('same names', await code({'transport_socket_matches': [sockets()[0], sockets()[0]], 'transport_socket_matcher': m}))
    t.see('without matches', await code({'transport_socket_matcher': m}))
    t.see('other action', await code({'transport_socket_matches': sockets(), 'transport_socket_matcher': tree(BY_HOST, {'one': {'action': {'name': 'a', 'typed_config': {'@type': 'type.googleapis.com/google.protobuf.StringValue', 'value': 'one'}}}})}))
