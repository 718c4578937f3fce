"""Consistent hashing: which host a key goes to. Hosts have a `hash_key`, so that ports do not matter."""
from harness import *


def key(i, name=None):
    return {'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': name or 'host-%d' % i}}}}


async def placed(t, lb, policy, n=5, weights=None, status=None, keys=None, localities=None):
    us = [await t.up('h%d' % i) for i in range(n)]
    eps = []
    for i, u in enumerate(us):
        e = lbe(u, extra=key(i))
        if weights:
            e['load_balancing_weight'] = weights[i]
        if status and status[i]:
            e['health_status'] = status[i]
        eps.append(e)
    if localities:
        locs = [{'locality': {'zone': 'z%d' % k}, 'load_balancing_weight': w, 'lb_endpoints': [eps[i] for i in m]} for k, (w, m) in enumerate(localities)]
        c = cluster('c1', localities=locs, extra=lb)
    else:
        c = cluster('c1', eps, lb)
    await t.start(simple(t, clusters=[c], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'hash_policy': Y(policy)}}]))
    conn = await t.conn()
    return conn


async def walk(t, conn, n=60):
    return ''.join([(await t.req('/', conn=conn, headers=[('x-key', 'k%d' % i)])).h('x-up')[1] for i in range(n)])


HEADER = '[{header: {header_name: x-key}}]'


@case()
async def hash_ring_default(t):
    c = await placed(t, 'lb_policy: RING_HASH', HEADER)
    t.see('hosts', await walk(t, c))


@case()
async def hash_ring_small_murmur(t):
    c = await placed(t, '{lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 20, hash_function: MURMUR_HASH_2}}', HEADER)
    t.see('hosts', await walk(t, c))


@case()
async def hash_ring_weights(t):
    c = await placed(t, '{lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 64}}', HEADER, weights=[1, 2, 3, 5, 8])
    t.see('hosts', await walk(t, c))


@case()
async def hash_ring_maximum(t):
    c = await placed(t, '{lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 4, maximum_ring_size: 7}}', HEADER, weights=[1, 2, 3, 5, 8])
    t.see('hosts', await walk(t, c))


@case()
async def hash_maglev_default(t):
    c = await placed(t, 'lb_policy: MAGLEV', HEADER)
    t.see('hosts', await walk(t, c))


@case()
async def hash_maglev_small_weights(t):
    c = await placed(t, '{lb_policy: MAGLEV, maglev_lb_config: {table_size: 101}}', HEADER, weights=[1, 2, 3, 5, 8])
    t.see('hosts', await walk(t, c))


@case()
async def hash_ring_without_unhealthy(t):
    c = await placed(t, 'lb_policy: RING_HASH', HEADER, status=[None, 'DRAINING', None, None, 'DEGRADED'])
    t.see('hosts', await walk(t, c))


@case()
async def hash_maglev_panic(t):
    c = await placed(t, 'lb_policy: MAGLEV', HEADER, status=['UNHEALTHY', 'UNHEALTHY', None, 'UNHEALTHY', 'UNHEALTHY'])
    t.see('hosts', await walk(t, c))


@case()
async def hash_ring_localities(t):
    c = await placed(t, '{lb_policy: RING_HASH, common_lb_config: {locality_weighted_lb_config: {}}}', HEADER, localities=[(1, [0, 1]), (3, [2, 3, 4])])
    t.see('hosts', await walk(t, c))


@case()
async def hash_maglev_by_extension(t):
    c = await placed(t, '{load_balancing_policy: {policies: [{typed_extension_config: {name: m, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.maglev.v3.Maglev, table_size: 31}}}]}}', HEADER)
    t.see('hosts', await walk(t, c))


@case()
async def hash_ring_by_extension(t):
    c = await placed(t, '{load_balancing_policy: {policies: [{typed_extension_config: {name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash, minimum_ring_size: 30, hash_function: MURMUR_HASH_2}}}]}}', HEADER)
    t.see('hosts', await walk(t, c))


@case()
async def hash_sources(t):
    c = await placed(t, 'lb_policy: RING_HASH', '[{header: {header_name: x-key, regex_rewrite: {pattern: {regex: "-.*"}, substitution: ""}}}, {query_parameter: {name: q}, terminal: true}, {cookie: {name: c}}, {connection_properties: {source_ip: true}}]')
    out = {}
    for name, path, hs in [
        ('header', '/', [('x-key', 'a')]), ('rewritten', '/', [('x-key', 'a-zzz')]), ('two', '/', [('x-key', 'b'), ('x-key', 'a')]),
        ('two_other_order', '/', [('x-key', 'a'), ('x-key', 'b')]), ('query', '/?q=1', []), ('query_2', '/?q=2&q=3', []), ('query_escaped', '/?q=%31', []),
        ('query_empty', '/?q', []), ('both', '/?q=1', [('x-key', 'a')]), ('cookie', '/', [('cookie', 'x=1; c=abc')]), ('cookie_quoted', '/', [('cookie', 'c="abc"')]),
        ('cookie_2', '/', [('cookie', 'c=abcd')]), ('cookie_behind_terminal', '/', [('x-key', 'q'), ('cookie', 'c=abcd')]), ('none', '/', []),
    ]:
        out[name] = (await t.req(path, conn=c, headers=hs)).h('x-up')
    t.see('hosts', out)


@case()
async def hash_cookie_is_made(t):
    c = await placed(t, 'lb_policy: RING_HASH', '[{cookie: {name: sticky, ttl: 60s, path: /p, attributes: [{name: SameSite, value: Strict}, {name: Secure}]}}, {cookie: {name: session, ttl: 0s}}]')
    rs = [await t.req('/', conn=c) for _ in range(4)]
    t.see('same', len({r.h('x-up') for r in rs}))
    t.see('cookies', [re.sub('="[0-9a-f]+"', '="<hex>"', v) for v in rs[0].all('set-cookie')])
    mine = '; '.join(v.split(';')[0] for v in rs[0].all('set-cookie'))
    r = await t.req('/', conn=c, headers=[('cookie', mine.replace('"', ''))])
    t.see('again', [r.h('x-up') == rs[0].h('x-up'), r.h('set-cookie')])


@case()
async def hash_of_header_that_the_route_sets(t):
    us = [await t.up('h%d' % i) for i in range(5)]
    route = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'hash_policy': Y(HEADER)}, 'request_headers_to_add': Y('[{header: {key: x-key, value: fixed}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]')}
    await t.start(simple(t, clusters=[cluster('c1', [lbe(u, extra=key(i)) for i, u in enumerate(us)], 'lb_policy: RING_HASH')], routes=[route]))
    c = await t.conn()
    t.see('hosts', await walk(t, c, 12))


@case()
async def hash_priorities_share_the_hash(t):
    us = [await t.up('h%d' % i) for i in range(5)]
    locs = [{'priority': 0, 'lb_endpoints': [lbe(us[0], extra=key(0)), lbe(us[1], extra=merge(key(1), {'health_status': 'UNHEALTHY'}))]}, {'priority': 1, 'lb_endpoints': [lbe(u, extra=key(i + 2)) for i, u in enumerate(us[2:])]}]
    await t.start(simple(t, clusters=[cluster('c1', localities=locs, extra='lb_policy: MAGLEV')], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'hash_policy': Y(HEADER)}}]))
    c = await t.conn()
    t.see('hosts', await walk(t, c))


@case()
async def hash_retry_moves_on(t):
    us = [await t.up('h%d' % i, lambda m, n: resp(503 if m.h('x-envoy-attempt-count') != '3' else 200, 'x', [('x-up', m['up'])])) for i in range(5)]
    route = {'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'hash_policy': Y(HEADER), 'retry_policy': Y('{retry_on: 5xx, num_retries: 3, retry_back_off: {base_interval: 0.002s}, host_selection_retry_max_attempts: 20, retry_host_predicate: [{name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}')}}
    vh = {'name': 'v', 'domains': ['*'], 'include_request_attempt_count': True, 'routes': [route]}
    await t.start(simple(t, clusters=[cluster('c1', [lbe(u, extra=key(i)) for i, u in enumerate(us)], 'lb_policy: RING_HASH')], vhosts=[vh]))
    c = await t.conn()
    t.see('hosts', await walk(t, c, 20))

