"""Hosts with several addresses: RFC 8305 ("Happy Eyeballs"), on every kind of pool."""
import ssl

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT% %UPSTREAM_TRANSPORT_FAILURE_REASON%'
CX = ['upstream_cx_total', 'upstream_cx_connect_fail', 'upstream_cx_connect_timeout', 'upstream_cx_destroy', 'upstream_rq_pending_failure_eject', 'membership_total']


def several(first, *further, **kw):
    """An endpoint with several addresses."""
    return {'endpoint': {'address': addr(first), 'additional_addresses': [{'address': addr(u)} for u in further], **kw}}


def config_of(version=None, count=None):
    c = {}
    if version:
        c['first_address_family_version'] = version
    if count:
        c['first_address_family_count'] = count
    return {'upstream_connection_options': {'happy_eyeballs_config': c}}


async def stats(t):
    return await t.stats(*('cluster.c1.' + n for n in CX))


async def run(t, endpoint, extra=None, n=1, timeout='2s', **kw):
    kw.setdefault('log', LOG)
    await t.start(simple(t, clusters=[cluster('c1', [endpoint], extra, timeout=timeout)], **kw))
    for i in range(n):
        t.see('r%d' % i, await t.req('/', timeout=5))
    t.see('stats', await stats(t))
    t.see('log', await t.logs())


@case()
async def eyeballs_first_address_wins(t):
    a, b = await t.up('a'), await t.up('b', addr='127.0.0.2')
    await run(t, several(a, b), n=2)
    t.see('conns', [a.conns, b.conns])


@case()
async def eyeballs_refused_address_is_passed_over_at_once(t):
    b = await t.up('b', addr='127.0.0.2')
    began = time.monotonic()
    await run(t, several(t.dead(), b))
    t.see('quick', time.monotonic() - began < 3)


@case()
async def eyeballs_silent_address_is_passed_over(t):
    b = await t.up('b', addr='127.0.0.2')
    await t.start(simple(t, clusters=[cluster('c1', [several(t.silent(), b)], timeout='3s')], log=LOG))
    began = time.monotonic()
    t.see('r', await t.req('/', timeout=5))
    t.see('after 300 ms', 0.28 < time.monotonic() - began < 0.9)
    t.see('stats', await stats(t))
    t.see('log', await t.logs())


@case()
async def eyeballs_two_silent_addresses(t):
    b = await t.up('b', addr='127.0.0.3')
    await t.start(simple(t, clusters=[cluster('c1', [several(t.silent(), t.silent('silent2', '127.0.0.2'), b)], timeout='3s')], log=LOG))
    began = time.monotonic()
    t.see('r', await t.req('/', timeout=5))
    t.see('after 600 ms', 0.58 < time.monotonic() - began < 1.2)
    t.see('log', await t.logs())


@case()
async def eyeballs_silent_then_refused(t):
    """The second try fails while the first still waits: the third begins at once."""
    b = await t.up('b', addr='127.0.0.3')
    await t.start(simple(t, clusters=[cluster('c1', [several(t.silent(), t.dead('dead'), b)], timeout='3s')], log=LOG))
    began = time.monotonic()
    t.see('r', await t.req('/', timeout=5))
    t.see('after 300 ms', 0.28 < time.monotonic() - began < 0.55)
    t.see('stats', await stats(t))
    t.see('log', await t.logs())


@case()
async def eyeballs_all_refused(t):
    d = t.dead('dead2')
    d.addr = '127.0.0.2'
    await run(t, several(t.dead(), d))


@case()
async def eyeballs_all_silent(t):
    """The time to connect is that of all tries together."""
    await run(t, several(t.silent(), t.silent('silent2', '127.0.0.2')), timeout='0.6s')


@case()
async def eyeballs_families_take_turns(t):
    """127.0.0.1 and 127.0.0.2 refuse, ::1 answers: it is the second to be tried."""
    d, e, b = t.dead('d'), t.silent('e', '127.0.0.2'), await t.up('b', addr='::1')
    await t.start(simple(t, clusters=[cluster('c1', [several(d, e, b)], timeout='3s')], log=LOG))
    began = time.monotonic()
    t.see('r', await t.req('/', timeout=5))
    t.see('at once', time.monotonic() - began < 0.25)
    t.see('log', await t.logs())


@case()
async def eyeballs_v6_first(t):
    a, b = await t.up('a'), await t.up('b', addr='::1')
    await run(t, several(a, b), config_of('V6'))


@case()
async def eyeballs_v4_first(t):
    a, b = await t.up('a', addr='::1'), await t.up('b')
    await run(t, several(a, b), config_of('V4'))


@case()
async def eyeballs_family_count(t):
    """Two of the first family before the other one."""
    d, b, c = t.dead('d'), await t.up('b', addr='127.0.0.2'), await t.up('c', addr='::1')
    await run(t, several(d, c, b), config_of(count=2))


@case()
async def eyeballs_family_that_none_has(t):
    a, b = await t.up('a'), await t.up('b', addr='127.0.0.2')
    await run(t, several(a, b), config_of('V6'))


@case()
async def eyeballs_family_pipe(t):
    a, b = await t.up('a'), await t.up('b', addr='127.0.0.2')
    c = cluster('c1', [several(a, b)], config_of('PIPE'))
    t.see('exit', (await t.run_to_end(simple(t, clusters=[c]), args=('--mode', 'validate')))[0])


@case()
async def eyeballs_count_of_zero(t):
    a = await t.up('a')
    c = cluster('c1', [several(a)])
    c['upstream_connection_options'] = {'happy_eyeballs_config': {'first_address_family_count': 0}}
    t.see('exit', (await t.run_to_end(simple(t, clusters=[c]), args=('--mode', 'validate')))[0])


@case()
async def eyeballs_additional_pipe(t):
    a = await t.up('a')
    e = {'endpoint': {'address': addr(a), 'additional_addresses': [{'address': {'pipe': {'path': '/tmp/x'}}}]}}
    t.see('exit', (await t.run_to_end(simple(t, clusters=[cluster('c1', [e])]), args=('--mode', 'validate')))[0])


@case()
async def eyeballs_additional_to_a_pipe(t):
    a = await t.up('a')
    e = {'endpoint': {'address': {'pipe': {'path': '/tmp/x'}}, 'additional_addresses': [{'address': addr(a)}]}}
    t.see('exit', (await t.run_to_end(simple(t, clusters=[cluster('c1', [e])]), args=('--mode', 'validate')))[0])


@case()
async def eyeballs_additional_without_address(t):
    a = await t.up('a')
    e = {'endpoint': {'address': addr(a), 'additional_addresses': [{}]}}
    t.see('exit', (await t.run_to_end(simple(t, clusters=[cluster('c1', [e])]), args=('--mode', 'validate')))[0])


@case()
async def eyeballs_additional_name(t):
    a = await t.up('a')
    e = {'endpoint': {'address': addr(a), 'additional_addresses': [{'address': {'socket_address': {'address': 'localhost', 'port_value': 80}}}]}}
    t.see('exit', (await t.run_to_end(simple(t, clusters=[cluster('c1', [e])]), args=('--mode', 'validate')))[0])


@case()
async def eyeballs_additional_in_strict_dns(t):
    """Names have no further addresses."""
    b = await t.up('b', addr='127.0.0.2')
    e = several(t.dead(), b)
    c = cluster('c1', [e], type='STRICT_DNS')
    code, _ = await t.run_to_end(simple(t, clusters=[c]), args=('--mode', 'validate'))
    t.see('exit', code)
    if code == 0:
        await t.start(simple(t, clusters=[c], log=LOG))
        t.see('r', await t.req('/'))
        t.see('log', await t.logs())


@case()
async def eyeballs_http2(t):
    b = await t.h2up('b', addr='127.0.0.2')
    await t.start(simple(t, clusters=[cluster('c1', [several(t.dead(), b)], h2=True)], log=LOG))
    t.see('r', await t.req('/'))
    t.see('stats', await stats(t))
    t.see('log', await t.logs())


@case()
async def eyeballs_tls_handshake_decides(t):
    """The first address accepts and does not speak TLS: the second one's handshake wins."""
    cd = certs()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cd + '/up.crt', cd + '/up.key')

    async def rude(c):
        c.send(b'HTTP/1.1 400 Bad Request\r\n\r\n')
        await c.drain()
    a = await t.up('a', conn=rude)
    b = await t.up('b', addr='127.0.0.2', tls=context)
    tls = Y('{transport_socket: {name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}}')
    await run(t, several(a, b), tls)
    t.see('a', a.conns)


@case()
async def eyeballs_tls_stalled_handshake(t):
    """The first address accepts and says nothing: the second gets its turn, and wins."""
    cd = certs()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cd + '/up.crt', cd + '/up.key')

    async def mute(c):
        await asyncio.sleep(10)
    a = await t.up('a', conn=mute)
    b = await t.up('b', addr='127.0.0.2', tls=context)
    tls = Y('{transport_socket: {name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}}')
    await run(t, several(a, b), tls)


@case()
async def eyeballs_tcp_proxy(t):
    async def echo(c):
        c.send(b'hello')
        await c.drain()
    b = await t.up('b', conn=echo, addr='127.0.0.2')
    tcp = {'name': 'envoy.filters.network.tcp_proxy', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 'tcp', 'cluster': 'c1', 'access_log': [filelog(t, LOG)]}}
    await t.start(config(t, [listener(t, [tcp])], [cluster('c1', [several(t.dead(), b)])]))
    c = await t.conn()
    t.see('got', (await asyncio.wait_for(c.r.read(5), 5)))
    c.close()
    t.see('stats', await stats(t))
    t.see('log', await t.logs())


@case()
async def eyeballs_retry_takes_the_same_host(t):
    d = t.dead('dead2')
    d.addr = '127.0.0.2'
    await run(t, several(t.dead(), d), routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: connect-failure, num_retries: 1}}}]')


@case()
async def eyeballs_source_address_by_family(t):
    """Each try leaves from the source address of its own family."""
    seen = []

    async def tell(c):
        seen.append(c.w.get_extra_info('peername')[0])
        m = await c.read_request()
        c.send(resp(200, 'x'))
        await c.drain()
    b = await t.up('b', conn=tell, addr='::1')
    bind = Y('{upstream_bind_config: {source_address: {address: 127.0.0.9, port_value: 0}, extra_source_addresses: [{address: {address: "::1", port_value: 0}}]}}')
    await run(t, several(t.dead(), b), bind)
    t.see('from', seen)


@case()
async def eyeballs_health_checks_ask_the_first_address(t):
    a, b = await t.up('a'), await t.up('b', addr='127.0.0.2')
    check = Y('{health_checks: [{timeout: 1s, interval: 5s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /hc}}]}')
    await t.start(simple(t, clusters=[cluster('c1', [several(t.dead(), b)], check)], log=LOG))
    await t.stat_until('cluster.c1.health_check.attempt', lambda v: v >= 1)
    t.see('stats', await t.stats('cluster.c1.health_check.failure', 'cluster.c1.health_check.success'))
    t.see('b', b.conns)


def load(t, endpoints):
    return json.dumps({'resources': [{'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': 'c1', 'endpoints': [{'lb_endpoints': endpoints}]}]})


def eds(t):
    return {'name': 'c1', 'type': 'EDS', 'connect_timeout': '1s', 'eds_cluster_config': {'eds_config': {'path_config_source': {'path': t.path('eds.json')}, 'resource_api_version': 'V3'}}}


def eds_config(t, **kw):
    return simple(t, clusters=[eds(t)], extra={'node': {'id': 'node1', 'cluster': 'cluster1'}}, **kw)


@case()
async def eyeballs_eds(t):
    """Addresses that change make another host."""
    b, c = await t.up('b', addr='127.0.0.2'), await t.up('c', addr='127.0.0.3')
    d = t.dead()
    t.write('eds.json', load(t, [several(d, b)]))
    await t.start(eds_config(t, log=LOG))
    t.see('first', await t.req('/'))
    names = ['cluster.c1.membership_change', 'cluster.c1.membership_total', 'cluster.c1.update_no_rebuild', 'cluster.c1.update_success']
    t.see('before', await t.stats(*names))
    t.move_in('eds.json', load(t, [several(d, c)]))
    await t.stat_until('cluster.c1.update_success', lambda v: v >= 2)
    t.see('after', await t.stats(*names))
    t.see('second', await t.req('/'))
    t.move_in('eds.json', load(t, [several(d, c)]))
    await t.stat_until('cluster.c1.update_success', lambda v: v >= 3)
    t.see('same again', await t.stats(*names))
    t.see('log', await t.logs())


@case()
async def eyeballs_in_static_endpoints_dump(t):
    a, b = await t.up('a'), await t.up('b', addr='127.0.0.2')
    await t.start(simple(t, clusters=[cluster('c1', [several(a, b)])]))
    _, body = await t.admin('/config_dump?include_eds&resource=static_endpoint_configs')
    t.see('static', [c['endpoint_config'] for c in json.loads(body)['configs']])


@case()
async def eyeballs_in_clusters(t):
    a, b = await t.up('a'), await t.up('b', addr='127.0.0.2')
    await t.start(simple(t, clusters=[cluster('c1', [several(a, b)])]))
    await t.req('/')
    _, body = await t.admin('/clusters')
    t.see('lines', sorted(t.mask(l) for l in body.splitlines() if 'hostname' in l or 'cx_total' in l))
    _, body = await t.admin('/clusters?format=json')
    t.see('json', [{k: v for k, v in h.items() if k != 'stats'} for c in json.loads(body)['cluster_statuses'] for h in c['host_statuses']])
