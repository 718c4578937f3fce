"""A listener's sockets: further addresses, none at all, connections handed to other listeners, options as the kernel has them."""
import ctypes

from harness import *

LF = 'type.googleapis.com/envoy.extensions.filters.listener.'
LOG = '%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS%'
PP = {'name': 'pp', 'typed_config': {'@type': LF + 'proxy_protocol.v3.ProxyProtocol'}}
CX = r'listener\..*(downstream_cx_total|downstream_cx_active|downstream_pre_cx_active|no_filter_chain)'

# Options that the system's own module does not name.
KEEPIDLE, KEEPINTVL, KEEPCNT, FASTOPEN, MPTCP = 4, 5, 6, 23, 262
IP, TCP, SOCKET = socket.IPPROTO_IP, socket.IPPROTO_TCP, socket.SOL_SOCKET
SO_PROTOCOL, IP_FREEBIND, IP_TRANSPARENT = 38, 15, 19
libc = ctypes.CDLL(None, use_errno=True)


def direct(tag):
    return '[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "%s"}}}]' % tag


def one(t, name='l1', extra=None, log=None, **kw):
    l = listener(t, [hcm(t, routes=direct(name), log=log)], name, extra=extra, **kw)
    l['stat_prefix'] = name
    return l


def at(port, host='127.0.0.1'):
    return {'address': {'socket_address': {'address': host, 'port_value': port}}}


def proxied(dst, port, src='192.0.2.1'):
    return b'PROXY TCP4 %s %s 5555 %d\r\n' % (src.encode(), dst.encode(), port)


async def ask(t, head=b'', port=None, host='127.0.0.1'):
    """Status and body of one request, or what stood in its way."""
    try:
        r, w = await asyncio.wait_for(asyncio.open_connection(host, port or t.l1), 3)
    except OSError as e:
        return type(e).__name__
    s = H1Stream(r, w)
    try:
        s.send(head + b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
        m = await asyncio.wait_for(read_response(s, 'GET'), 3)
        return [m['status'], m['body'].decode()]
    except (Closed, OSError, IndexError) as e:
        return 'closed'
    finally:
        s.close()


async def shown(t, key='listeners'):
    st, text = await t.admin('/listeners')
    _, body = await t.admin('/listeners?format=json')
    body = re.sub(r'("port_value": )(\d+)', r'\1"\2"', body)
    t.see(key, [sorted(t.mask(text).splitlines()), sorted(json.loads(t.mask(body))['listener_statuses'], key=lambda l: l['name'])])


def sockets_of(pid):
    """Copies of a process's sockets."""
    pidfd, out = libc.syscall(434, pid, 0), []
    for fd in os.listdir('/proc/%d/fd' % pid):
        try:
            if os.readlink('/proc/%d/fd/%s' % (pid, fd)).startswith('socket:'):
                copy = libc.syscall(438, pidfd, int(fd), 0)
                if copy >= 0:
                    out.append(socket.socket(fileno=copy))
        except OSError:
            pass
    os.close(pidfd)
    return out


def options(t, level, name, wanted):
    """The option's value on each of the proxy's sockets that are wanted."""
    found = []
    for s in sockets_of(t.proxies[0].process.pid):
        try:
            if wanted(s):
                found.append(s.getsockopt(level, name))
        except (OSError, IndexError):
            pass
        s.close()
    return found


def option(t, port, level, name, listening=True):
    """That of the sockets at a port."""
    accepts = lambda s: bool(s.getsockopt(SOCKET, socket.SO_ACCEPTCONN))
    return options(t, level, name, lambda s: s.getsockname()[1] == port and accepts(s) == listening)


# ---- further addresses

@case()
async def additional_addresses(t):
    more = [t.port('m1'), t.port('m2')]
    l = one(t, log=LOG)
    l['additional_addresses'] = [at(p) for p in more]
    await t.start(config(t, [l], []))
    t.see('r', [await ask(t, port=p) for p in [t.l1, *more]])
    await shown(t)
    t.see('stats', await t.stats(regex=CX))
    t.see('totals', await t.stats('listener_manager.total_listeners_active', 'listener_manager.listener_create_success'))
    t.see('log', await t.logs())


@case()
async def additional_address_is_a_pipe(t):
    l = one(t, log=LOG)
    l['additional_addresses'] = [{'address': {'pipe': {'path': t.path('s')}}}]
    await t.start(config(t, [l], []))
    r, w = await asyncio.open_unix_connection(t.path('s'))
    s = H1Stream(r, w)
    s.send(b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    m = await read_response(s, 'GET')
    s.close()
    t.see('r', [m['status'], m['body'].decode(), await ask(t)])
    await shown(t)


@case()
async def additional_address_of_another_listener(t):
    p = t.port('m')
    l = [one(t), one(t, 'l2')]
    for x in l:
        x['additional_addresses'] = [at(p)]
    code, text = await t.run_to_end(config(t, l, []))
    t.see('code', code)
    t.see('said', 'duplicate address' in text)


@case()
async def additional_address_and_chains_by_port(t):
    p = t.port('m')
    l = one(t)
    l['additional_addresses'] = [at(p)]
    l['filter_chains'].append({'filters': [hcm(t, routes=direct('more'))], 'filter_chain_match': {'destination_port': p}})
    await t.start(config(t, [l], []))
    t.see('r', [await ask(t), await ask(t, port=p)])


@case()
async def additional_addresses_drained(t):
    p = t.port('m')
    l = one(t)
    l['additional_addresses'] = [at(p)]
    await t.start(config(t, [l], []))
    t.see('before', [await ask(t), await ask(t, port=p)])
    await t.admin('/drain_listeners', 'POST')

    async def refused():
        return await ask(t, port=p) == 'ConnectionRefusedError' and await ask(t) == 'ConnectionRefusedError'
    t.see('after', await t.until(refused))


# ---- no socket

@case()
async def bind_to_port_false(t):
    await t.start(config(t, [one(t, extra='{bind_to_port: false}'), one(t, 'l2')], []))
    t.see('r', [await ask(t), await ask(t, port=t.l2)])
    await shown(t)
    t.see('stats', await t.stats(regex=CX))
    t.see('totals', await t.stats('listener_manager.total_listeners_active', 'listener_manager.listener_create_success'))


@case()
async def bind_to_port_false_by_deprecated_field(t):
    await t.start(config(t, [one(t, extra='{deprecated_v1: {bind_to_port: false}}')], []))
    t.see('r', await ask(t))


@case()
async def bind_to_port_false_twice_at_one_address(t):
    l = [one(t, extra='{bind_to_port: false}'), one(t, 'l2', extra='{bind_to_port: false}')]
    l[1]['address'] = l[0]['address']
    code, text = await t.run_to_end(config(t, l, []))
    t.see('code', code)
    t.see('said', 'duplicate address' in text)


@case()
async def bind_to_port_false_beside_the_same_address(t):
    l = [one(t), one(t, 'l2', extra='{bind_to_port: false}')]
    l[1]['address'] = l[0]['address']
    code, text = await t.run_to_end(config(t, l, []))
    t.see('code', code)
    t.see('said', 'duplicate address' in text)


# ---- handed to other listeners

def handing(t, others, log=LOG, extra=None):
    """A listener that reads PROXY heads and hands connections on, and unbound ones: (name, address, port, fields)."""
    first = one(t, extra='{use_original_dst: true}', log=log)
    first['listener_filters'] = [PP]
    ls = [first]
    for name, host, port, fields in others:
        l = one(t, name, host=host, port=port, log=log, extra=fields or '{bind_to_port: false}')
        ls.append(l)
    return config(t, ls, [], extra)


@case()
async def original_dst_finds_a_listener(t):
    await t.start(handing(t, [('a', '10.1.1.1', 80, None), ('b', '10.1.1.1', 81, None)]))
    t.see('r', [await ask(t, proxied('10.1.1.1', p)) for p in (80, 81, 82)])
    t.see('other_address', await ask(t, proxied('10.1.1.2', 80)))
    t.see('stats', await t.stats(regex=CX))
    t.see('log', await t.logs())


@case()
async def original_dst_finds_a_wildcard(t):
    await t.start(handing(t, [('a', '10.1.1.1', 80, None), ('w', '0.0.0.0', 80, None)]))
    t.see('r', [await ask(t, proxied(h, 80)) for h in ('10.1.1.1', '10.1.1.2')])
    t.see('other_port', await ask(t, proxied('10.1.1.2', 81)))


@case()
async def original_dst_finds_an_ipv6_wildcard(t):
    l = handing(t, [('w', '::', 80, None)])
    await t.start(l)
    t.see('v4', await ask(t, proxied('10.1.1.1', 80)))
    t.see('v6', await ask(t, b'PROXY TCP6 2001:db8::1 2001:db8::2 5555 80\r\n'))


@case()
async def original_dst_finds_an_ipv6_wildcard_of_both(t):
    l = handing(t, [('w', '::', 80, None)])
    l['static_resources']['listeners'][1]['address']['socket_address']['ipv4_compat'] = True
    await t.start(l)
    t.see('v4', await ask(t, proxied('10.1.1.1', 80)))
    t.see('v6', await ask(t, b'PROXY TCP6 2001:db8::1 2001:db8::2 5555 80\r\n'))


@case()
async def original_dst_finds_a_bound_listener(t):
    p = t.port('b')
    await t.start(handing(t, [('b', '127.0.0.1', p, '{bind_to_port: true}')]))
    t.see('r', [await ask(t, proxied('127.0.0.1', p)), await ask(t, port=p)])
    t.see('stats', await t.stats(regex=CX))


@case()
async def original_dst_finds_an_additional_address(t):
    l = handing(t, [('a', '10.1.1.1', 80, None)])
    l['static_resources']['listeners'][1]['additional_addresses'] = [at(81, '10.1.1.2')]
    await t.start(l)
    t.see('r', [await ask(t, proxied(h, p)) for h, p in (('10.1.1.1', 80), ('10.1.1.2', 81), ('10.1.1.2', 80))])


@case()
async def original_dst_is_asked_once(t):
    """The second listener would hand it on itself."""
    l = handing(t, [('a', '10.1.1.1', 80, '{bind_to_port: false, use_original_dst: true}'), ('b', '10.2.2.2', 80, None)])
    l['static_resources']['listeners'][1]['listener_filters'] = [PP]
    await t.start(l)
    t.see('r', await ask(t, proxied('10.1.1.1', 80) + proxied('10.2.2.2', 80)))
    t.see('log', await t.logs())


@case()
async def original_dst_and_chains_of_the_new_listener(t):
    l = handing(t, [('a', '0.0.0.0', 80, None)])
    new = l['static_resources']['listeners'][1]
    new['filter_chains'][0]['filter_chain_match'] = {'prefix_ranges': [{'address_prefix': '10.1.1.0', 'prefix_len': 24}]}
    await t.start(l)
    t.see('r', [await ask(t, proxied(h, 80)) for h in ('10.1.1.1', '10.1.2.1')])
    t.see('stats', await t.stats(regex=CX))


@case()
async def original_dst_off_keeps_it(t):
    l = handing(t, [('a', '10.1.1.1', 80, None)])
    l['static_resources']['listeners'][0]['use_original_dst'] = False
    await t.start(l)
    t.see('r', await ask(t, proxied('10.1.1.1', 80)))


@case()
async def original_dst_and_a_limit_of_the_new_listener(t):
    l = handing(t, [('a', '10.1.1.1', 80, None)], extra='{layered_runtime: {layers: [{name: s, static_layer: {envoy.resource_limits.listener.a.connection_limit: 0}}]}}')
    await t.start(l)
    t.see('r', await ask(t, proxied('10.1.1.1', 80)))
    t.see('stats', await t.stats(regex=r'listener\..*(overflow|cx_total)'))


@case()
async def use_proxy_proto_of_a_chain(t):
    l = one(t, log='%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%')
    l['filter_chains'][0]['use_proxy_proto'] = True
    await t.start(config(t, [l], []))
    t.see('r', [await ask(t, proxied('10.1.1.1', 80)), await ask(t)])
    t.see('log', await t.logs())


# ---- what the kernel was told

def kernel(name, fields, wanted, port=None, refused=False, listening=True):
    @case('option_' + name)
    async def _(t):
        await t.start(config(t, [one(t, extra=fields)], []))
        if not listening:
            c = await t.conn()
            await c.drain()
            await t.until(lambda: option(t, t.l1, SOCKET, socket.SO_TYPE, False))
        for label, level, number in wanted:
            t.see(label, option(t, t.l1, level, number, listening))


KEEP = [('on', SOCKET, socket.SO_KEEPALIVE), ('idle', TCP, KEEPIDLE), ('interval', TCP, KEEPINTVL), ('probes', TCP, KEEPCNT)]
kernel('keepalive', '{tcp_keepalive: {keepalive_time: 11, keepalive_interval: 7, keepalive_probes: 3}}', KEEP)
kernel('keepalive_on_connections', '{tcp_keepalive: {keepalive_time: 11}}', KEEP, listening=False)
kernel('keepalive_of_defaults', '{tcp_keepalive: {}}', KEEP)
kernel('keepalive_none', '{}', KEEP[:1])
kernel('keepalive_of_zeros', '{tcp_keepalive: {keepalive_time: 0, keepalive_probes: 0, keepalive_interval: 0}}', KEEP[:1])
kernel('keepalive_of_one_zero', '{tcp_keepalive: {keepalive_time: 0, keepalive_probes: 4}}', KEEP[:1])
kernel('by_number_of_one_family', '{socket_options: [{level: 6, name: 4, int_value: 17, ip_version: SOCKET_IP_VERSION_IPV4}, {level: 6, name: 5, int_value: 18, ip_version: SOCKET_IP_VERSION_IPV6}]}', KEEP[1:3])
kernel('fast_open', '{tcp_fast_open_queue_length: 5}', [('queue', TCP, FASTOPEN)])
kernel('fast_open_zero', '{tcp_fast_open_queue_length: 0}', [('queue', TCP, FASTOPEN)])
kernel('freebind', '{freebind: true}', [('on', IP, IP_FREEBIND)])
kernel('freebind_false', '{freebind: false}', [('on', IP, IP_FREEBIND)])
kernel('transparent', '{transparent: true}', [('on', IP, IP_TRANSPARENT)])
kernel('transparent_false', '{transparent: false}', [('on', IP, IP_TRANSPARENT)])
kernel('mptcp', '{enable_mptcp: true}', [('protocol', SOCKET, SO_PROTOCOL)])
kernel('reuse_port', '{}', [('on', SOCKET, socket.SO_REUSEPORT), ('address', SOCKET, socket.SO_REUSEADDR)])
kernel('reuse_port_false', '{enable_reuse_port: false}', [('on', SOCKET, socket.SO_REUSEPORT)])
kernel('reuse_port_by_deprecated_field', '{reuse_port: true}', [('on', SOCKET, socket.SO_REUSEPORT)])
kernel('by_number', '{socket_options: [{level: 1, name: 9, int_value: 1, state: STATE_PREBIND}, {level: 6, name: 4, int_value: 13, state: STATE_BOUND}, {level: 6, name: 5, int_value: 14, state: STATE_LISTENING}]}', KEEP[:3])
kernel('by_bytes', '{socket_options: [{level: 6, name: 4, buf_value: EwAAAA==}]}', KEEP[1:2])
kernel('by_number_of_streams', '{socket_options: [{level: 6, name: 4, int_value: 17, type: {stream: {}}}, {level: 6, name: 5, int_value: 18, type: {datagram: {}}}]}', KEEP[1:3])
kernel('by_number_of_everything', '{socket_options: [{level: 6, name: 4, int_value: 19, type: {}}]}', KEEP[1:2])
kernel('keepalive_and_by_number', '{tcp_keepalive: {keepalive_time: 11}, socket_options: [{level: 6, name: 4, int_value: 17, state: STATE_PREBIND}]}', KEEP[1:2])


@case()
async def options_of_an_additional_address(t):
    own, plain = t.port('own'), t.port('plain')
    l = one(t, extra='{socket_options: [{level: 6, name: 4, int_value: 21}], tcp_keepalive: {keepalive_interval: 9}}')
    l['additional_addresses'] = [{**at(own), 'socket_options': {'socket_options': [{'level': 6, 'name': 4, 'int_value': 22}]}, 'tcp_keepalive': {'keepalive_interval': 8}},
                                 at(plain)]
    await t.start(config(t, [l], []))
    for name, p in (('l1', t.l1), ('own', own), ('plain', plain)):
        t.see(name, [option(t, p, TCP, n) for n in (KEEPIDLE, KEEPINTVL)])


@case()
async def options_of_an_additional_address_are_none(t):
    p = t.port('own')
    l = one(t, extra='{socket_options: [{level: 6, name: 4, int_value: 21}]}')
    l['additional_addresses'] = [{**at(p), 'socket_options': {}}]
    await t.start(config(t, [l], []))
    t.see('idle', [option(t, x, TCP, KEEPIDLE) == [21] for x in (t.l1, p)])


@case()
async def freebind_of_an_address_that_is_not_ours(t):
    p = t.port('m')
    l = one(t, extra='{freebind: true}')
    l['additional_addresses'] = [at(p, '192.0.2.77')]
    await t.start(config(t, [l], []))
    await shown(t)


def cannot(name, fields):
    @case(name)
    async def _(t):
        code, text = await t.run_to_end(config(t, [one(t, extra=fields)], []))
        t.see('code', code)


cannot('option_unknown_ends_it', '{socket_options: [{level: 99, name: 3, int_value: 1}]}')
cannot('address_that_is_not_ours_ends_it', '{address: {socket_address: {address: 192.0.2.77, port_value: 80}}}')
cannot('mptcp_on_a_pipe', '{enable_mptcp: true, address: {socket_address: null, pipe: {path: s}}}')


@case()
async def pipe_has_its_mode(t):
    l = one(t)
    l['address'] = {'pipe': {'path': t.path('s'), 'mode': 0o600}}
    await t.start(config(t, [l], []))
    t.see('mode', oct(os.stat(t.path('s')).st_mode))


@case()
async def pipe_without_a_mode(t):
    l = one(t)
    l['address'] = {'pipe': {'path': t.path('s')}}
    await t.start(config(t, [l], []))
    t.see('mode', oct(os.stat(t.path('s')).st_mode))


@case()
async def accepts_at_most_so_many(t):
    await t.start(config(t, [one(t, extra='{max_connections_to_accept_per_socket_event: 1}')], []))
    t.see('r', [await ask(t) for _ in range(2)])


# ---- on the upstream side

def bound(name, config_, wanted):
    @case('upstream_bind_' + name)
    async def _(t):
        await t.up('u1', lambda m, n: resp(200))
        await t.start(simple(t, copts='{upstream_bind_config: %s}' % config_))
        c = await t.conn()
        c.send(build('/', 'GET', (), 'a', None, 'HTTP/1.1'))
        r = await c.response('GET', 3)
        t.see('status', r['status'])
        u = t.ups[0]
        if u.live and name != 'address_of_another_family':
            t.see('source', u.live[0].w.get_extra_info('peername')[0])
        for label, level, number in wanted:
            t.see(label, to_upstream(t, level, number))


def to_upstream(t, level, name):
    """That of the connections to the first upstream."""
    return options(t, level, name, lambda s: s.getpeername()[1] == t.ups[0].port)


bound('address', '{source_address: {address: 127.0.0.9, port_value: 0}}', [])
bound('address_of_another_family', '{source_address: {address: "::1", port_value: 0}}', [])
bound('extra_of_the_family', '{source_address: {address: "::1", port_value: 0}, extra_source_addresses: [{address: {address: 127.0.0.8, port_value: 0}}]}', [])
bound('extra_same_family', '{source_address: {address: 127.0.0.7, port_value: 0}, extra_source_addresses: [{address: {address: "::1", port_value: 0}}]}', [])
bound('additional_of_the_family', '{source_address: {address: "::1", port_value: 0}, additional_source_addresses: [{address: 127.0.0.8, port_value: 0}]}', [])
bound('options', '{socket_options: [{level: 6, name: 4, int_value: 23}]}', KEEP[1:2])
bound('options_of_extra', '{source_address: {address: "::1", port_value: 0}, socket_options: [{level: 6, name: 4, int_value: 23}], extra_source_addresses: [{address: {address: 127.0.0.8, port_value: 0}, socket_options: {socket_options: [{level: 6, name: 4, int_value: 24}]}}]}', KEEP[1:2])
bound('options_of_streams', '{socket_options: [{level: 6, name: 4, int_value: 23, type: {stream: {}}}, {level: 6, name: 5, int_value: 24, type: {datagram: {}}}]}', KEEP[1:3])
bound('no_local_port', '{source_address: {address: 127.0.0.9, port_value: 0}}', [('no_port', IP, 24)])


@case()
async def upstream_keepalive_of_one_zero(t):
    await t.up('u1', lambda m, n: resp(200))
    await t.start(simple(t, copts='{upstream_connection_options: {tcp_keepalive: {keepalive_time: 0, keepalive_probes: 4}}}'))
    c = await t.conn()
    c.send(build('/', 'GET', (), 'a', None, 'HTTP/1.1'))
    await c.response('GET', 3)
    t.see('on', to_upstream(t, SOCKET, socket.SO_KEEPALIVE))


for case_, text in (
    ('two_of_one_family', '{source_address: {address: 127.0.0.7, port_value: 0}, extra_source_addresses: [{address: {address: 127.0.0.8, port_value: 0}}]}'),
    ('extra_without_a_first', '{extra_source_addresses: [{address: {address: 127.0.0.8, port_value: 0}}]}'),
    ('extra_and_additional', '{source_address: {address: "::1", port_value: 0}, extra_source_addresses: [{address: {address: 127.0.0.8, port_value: 0}}], additional_source_addresses: [{address: 127.0.0.8, port_value: 0}]}'),
    ('three_addresses', '{source_address: {address: "::1", port_value: 0}, extra_source_addresses: [{address: {address: 127.0.0.8, port_value: 0}}, {address: {address: 127.0.0.9, port_value: 0}}]}'),
):
    @case('upstream_bind_refused_' + case_)
    async def _(t, text=text):
        u = t.dead('u1')
        code, out = await t.run_to_end(simple(t, [u], copts='{upstream_bind_config: %s}' % text), ['--mode', 'validate'])
        t.see('code', code)
