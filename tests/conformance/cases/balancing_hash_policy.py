"""A hash policy inside a balancer (`consistent_hashing_lb_config.hash_policy`), beside those of routes and clusters."""
from harness import *

LB = 'type.googleapis.com/envoy.extensions.load_balancing_policies.'
KEYS = ['k%d' % i for i in range(16)]
BY_ROUTE = '[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: x-route}}]}}]'
PLAIN = '[{match: {prefix: /}, route: {cluster: c1}}]'


def hashing(kind, *policies, **more):
    config = {'@type': LB + kind, 'consistent_hashing_lb_config': {'hash_policy': [Y(p) for p in policies]}, **more}
    return {'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'h', 'typed_config': config}}]}}


RING, MAGLEV = 'ring_hash.v3.RingHash', 'maglev.v3.Maglev'


async def begin(t, extra, routes=PLAIN, n=4, **kw):
    """Hosts whose places do not depend on their ports."""
    hosts = [lbe(await t.up('h%d' % i), extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': 'h%d' % i}}}}) for i in range(n)]
    await t.start(simple(t, clusters=[cluster('c1', hosts, extra, hpo=kw.pop('hpo', None))], routes=routes, **kw))


async def places(t, of, keys=KEYS, times=1, **kw):
    """Where each key leads; several hosts where it leads nowhere in particular."""
    out = {}
    for key in keys:
        seen = {(await t.req(of(key)[0], headers=of(key)[1], **kw)).h('x-up') for _ in range(times)}
        out[key] = sorted(seen)[0] if len(seen) == 1 else 'several'
    return out


HEADER = '{header: {header_name: x-lb}}'
BOTH = lambda k: ('/', [('x-lb', k), ('x-route', 'same')])

for name, kind in (('ring_hash', RING), ('maglev', MAGLEV)):
    @case('hash_policy_of_' + name)
    async def _(t, kind=kind):
        await begin(t, hashing(kind, HEADER))
        t.see('places', await places(t, lambda k: ('/', [('x-lb', k)])))

    @case('hash_policy_of_%s_before_that_of_the_route' % name)
    async def _(t, kind=kind):
        await begin(t, hashing(kind, HEADER), BY_ROUTE)
        t.see('places', await places(t, BOTH))

    @case('hash_policy_of_the_route_where_%s_has_none' % name)
    async def _(t, kind=kind):
        await begin(t, hashing(kind), BY_ROUTE)
        t.see('places', await places(t, lambda k: ('/', [('x-route', k)])))

    @case('hash_policy_of_%s_finds_nothing' % name)
    async def _(t, kind=kind):
        """The route's is not asked then."""
        await begin(t, hashing(kind, HEADER), BY_ROUTE)
        t.see('places', await places(t, lambda k: ('/', [('x-route', k)]), KEYS[:1], 40))


def cluster_own(header):
    return {'explicit_http_config': {'http_protocol_options': {}}, 'hash_policy': [{'header': {'header_name': header}}]}


@case()
async def hash_policy_of_a_balancer_before_that_of_the_cluster(t):
    await begin(t, hashing(RING, HEADER), hpo=cluster_own('x-route'))
    t.see('places', await places(t, BOTH))


@case()
async def hash_policy_of_two_policies(t):
    await begin(t, hashing(RING, HEADER, '{query_parameter: {name: q}}'))
    t.see('both', await places(t, lambda k: ('/?q=1', [('x-lb', k)])))
    t.see('second', await places(t, lambda k: ('/?q=' + k, [])))


@case()
async def hash_policy_terminal(t):
    await begin(t, hashing(RING, '{terminal: true, header: {header_name: x-lb}}', '{query_parameter: {name: q}}'))
    t.see('first', await places(t, lambda k: ('/?q=' + k, [('x-lb', 'same')])))
    t.see('second', await places(t, lambda k: ('/?q=' + k, [])))


@case()
async def hash_policy_regex_rewrite(t):
    await begin(t, hashing(RING, '{header: {header_name: x-lb, regex_rewrite: {pattern: {regex: "^(.).*"}, substitution: "\\\\1"}}}'))
    t.see('places', await places(t, lambda k: ('/', [('x-lb', k)])))


@case()
async def hash_policy_source_ip(t):
    await begin(t, hashing(RING, '{connection_properties: {source_ip: true}}'))
    out = {}
    for i in range(2, 10):
        out[i] = (await t.req('/', src='127.0.0.%d' % i)).h('x-up')
    t.see('places', out)


@case()
async def hash_policy_cookie_that_is_there(t):
    await begin(t, hashing(RING, '{cookie: {name: c}}'))
    t.see('places', await places(t, lambda k: ('/', [('cookie', 'a=1; c=' + k)])))


@case()
async def hash_policy_cookie_is_made(t):
    await begin(t, hashing(RING, '{cookie: {name: c, ttl: 10s, path: /p}}'))
    c = await t.conn()
    first = await t.req('/', conn=c)
    again = [(await t.req('/', conn=c)).h('x-up') for _ in range(8)]
    t.see('cookie', [bool(first.h('set-cookie')), (first.h('set-cookie') or '').partition(';')[2]])
    t.see('same', set(again) == {first.h('x-up')})


@case()
async def hash_policy_cookie_without_ttl(t):
    await begin(t, hashing(RING, '{cookie: {name: c}}'))
    c = await t.conn()
    first = await t.req('/', conn=c)
    t.see('cookie', first.h('set-cookie'))
    t.see('places', len({(await t.req('/', conn=c)).h('x-up') for _ in range(40)}) > 1)


@case()
async def hash_policy_cookie_with_a_session_ttl(t):
    await begin(t, hashing(MAGLEV, '{cookie: {name: c, ttl: 0s, attributes: [{name: SameSite, value: Strict}]}}'))
    r = await t.req('/')
    t.see('cookie', [bool(r.h('set-cookie')), (r.h('set-cookie') or '').partition(';')[2]])


@case()
async def hash_policy_filter_state(t):
    filters = [http_filter('fs', 'set_filter_state.v3.Config', '{on_request_headers: [{object_key: my.key, factory_key: envoy.hashable_string, format_string: {text_format_source: {inline_string: "%REQ(x-lb)%"}}}]}')]
    await begin(t, hashing(RING, '{filter_state: {key: my.key}}'), filters=filters)
    t.see('places', await places(t, lambda k: ('/', [('x-lb', k)])))


@case()
async def hash_policy_of_changed_headers(t):
    """What the route makes of the request's headers counts."""
    await begin(t, hashing(RING, HEADER), '[{match: {prefix: /}, route: {cluster: c1}, request_headers_to_add: [{header: {key: x-lb, value: fixed}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}]')
    t.see('places', await places(t, lambda k: ('/', [('x-lb', k)])))


@case()
async def hash_policy_below_subsets(t):
    child = hashing(RING, HEADER)['load_balancing_policy']
    top = {'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 's', 'typed_config': {
        '@type': LB + 'subset.v3.Subset', 'fallback_policy': 'ANY_ENDPOINT', 'subset_selectors': [{'keys': ['v']}], 'subset_lb_policy': child}}}]}}
    await begin(t, top, BY_ROUTE)
    t.see('places', await places(t, BOTH))


@case()
async def hash_policy_below_override_host(t):
    child = hashing(MAGLEV, HEADER)['load_balancing_policy']
    top = {'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'o', 'typed_config': {
        '@type': LB + 'override_host.v3.OverrideHost', 'override_host_sources': [{'header': 'x-to'}], 'fallback_policy': child}}}]}}
    await begin(t, top, BY_ROUTE)
    t.see('places', await places(t, BOTH))


@case()
async def hash_policy_and_priorities(t):
    """The priority is chosen by the same hash."""
    locs = []
    for p, states in enumerate([[None, 'UNHEALTHY'], [None, None]]):
        hosts = []
        for i, s in enumerate(states):
            name = 'p%d-%d' % (p, i)
            hosts.append(lbe(await t.up(name), **({'health_status': s} if s else {}), metadata={'filter_metadata': {'envoy.lb': {'hash_key': name}}}))
        locs.append({'priority': p, 'lb_endpoints': hosts})
    await t.start(simple(t, clusters=[cluster('c1', localities=locs, extra=hashing(RING, HEADER))], routes=BY_ROUTE))
    t.see('places', await places(t, BOTH, times=3))


@case()
async def hash_policy_of_tcp(t):
    """A connection has a source, and no headers."""
    hosts = [lbe(await t.up('h%d' % i), extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': 'h%d' % i}}}}) for i in range(4)]
    proxy = {'name': 'tcp', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 't', 'cluster': 'c1'}}
    await t.start(config(t, [listener(t, [proxy])], [cluster('c1', hosts, hashing(RING, HEADER, '{connection_properties: {source_ip: true}}'))]))
    t.see('places', {i: (await t.req('/', src='127.0.0.%d' % i)).h('x-up') for i in range(2, 12)})


@case()
async def hash_policy_of_tcp_before_its_own(t):
    hosts = [lbe(await t.up('h%d' % i), extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': 'h%d' % i}}}}) for i in range(4)]
    proxy = {'name': 'tcp', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 't', 'cluster': 'c1', 'hash_policy': [{'source_ip': {}}]}}
    await t.start(config(t, [listener(t, [proxy])], [cluster('c1', hosts, hashing(RING, HEADER))]))
    t.see('several', len({(await t.req('/')).h('x-up') for _ in range(40)}) > 1)


@case()
async def hash_policy_with_old_fields_beside_it(t):
    """The new message takes the place of the old fields, balance factor and all."""
    await begin(t, hashing(RING, HEADER, hash_balance_factor=100, use_hostname_for_hashing=True))
    t.see('places', await places(t, lambda k: ('/', [('x-lb', k)])))


@case()
async def hash_policy_with_a_bad_regex_refused(t):
    await t.up()
    code, out = await t.run_to_end(simple(t, clusters=[cluster('c1', t.ups, hashing(RING, '{header: {header_name: x, regex_rewrite: {pattern: {regex: "("}, substitution: a}}}'))]))
    t.see('code', code)
