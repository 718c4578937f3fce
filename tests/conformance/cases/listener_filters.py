"""What looks at a connection before its filter chain: PROXY protocol, original destination, limits, inspectors; and the choice."""
from harness import *

LF = 'type.googleapis.com/envoy.extensions.filters.listener.'
TP = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'
PPU = 'type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport'
RAW = {'name': 'raw', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}
INSPECT = {'name': 'tls', 'typed_config': {'@type': LF + 'tls_inspector.v3.TlsInspector'}}
LOG = '%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT%'
GET = b'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
SIG = b'\r\n\r\n\0\r\nQUIT\n'


def lf(name, kind, **kw):
    return {'name': name, 'typed_config': {'@type': LF + kind, **kw}}


def pp(**kw):
    return lf('envoy.filters.listener.proxy_protocol', 'proxy_protocol.v3.ProxyProtocol', **kw)


def v2(src, dst, sport=6666, dport=80, tlvs=(), command=1, kind=None, extra=b''):
    six = ':' in src
    pack = lambda a: socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, a)
    body = pack(src) + pack(dst) + struct.pack('>HH', sport, dport)
    for t, v in tlvs:
        body += bytes([t]) + struct.pack('>H', len(v)) + v
    body += extra
    return SIG + bytes([0x20 | command, kind if kind is not None else (0x21 if six else 0x11)]) + struct.pack('>H', len(body)) + body


def direct(tag):
    return '[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "%s"}}}]' % tag


def chain(t, match=None, tag='x', name=None, **kw):
    c = {'filters': [hcm(t, routes=direct(tag), **kw)]}
    if match:
        c['filter_chain_match'] = Y(match)
    if name:
        c['name'] = name
    return c


def one(t, filters, log=LOG, extra=None, tag='x', chains=None, clusters=(), **kw):
    l = listener(t, [hcm(t, routes=direct(tag), log=log, **kw)])
    l['stat_prefix'] = 'l1'
    l['listener_filters'] = filters
    if chains:
        l['filter_chains'] = chains
    merge(l, Y(extra) or {})
    return config(t, [l], list(clusters))


async def send(t, data, wait=1.0):
    c = await t.conn()
    for part in data if isinstance(data, (list, tuple)) else [data]:
        c.send(part)
        await c.drain()
        await asyncio.sleep(0.02)
    try:
        r = await c.response('GET', wait)
        return r.get('status') or 'closed'
    except Exception as e:
        return type(e).__name__


PPSTATS = r'(proxy_proto|downstream_cx_proxy|downstream_listener_filter|no_filter_chain|downstream_pre_cx_timeout)'


def heads(name, filters, items, extra=None):
    @case('proxy_protocol_' + name)
    async def _(t):
        await t.start(one(t, [pp(**(filters or {}))], extra=extra))
        out = {}
        for n, data in items:
            out[n] = await send(t, data)
        t.see('by', out)
        t.see('stats', await t.stats(regex=PPSTATS))
        t.see('log', await t.logs())


heads('v1', None, [('tcp4', b'PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\n' + GET), ('tcp6', b'PROXY TCP6 2001:db8::1 2001:db8::2 5555 80\r\n' + GET),
                   ('unknown', b'PROXY UNKNOWN\r\n' + GET), ('unknown_more', b'PROXY UNKNOWN ffff:: ffff:: 1 2\r\n' + GET), ('pieces', [b'PRO', b'XY TCP4 203.0.113.9 10.0.0', b'.1 5555 80\r', b'\n' + GET])])
heads('v1_bad', None, [('family', b'PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n' + GET), ('address', b'PROXY TCP4 1.2.3.x 1.2.3.4 1 2\r\n' + GET), ('six_as_four', b'PROXY TCP4 ::1 ::1 1 2\r\n' + GET),
                       ('port', b'PROXY TCP4 1.2.3.4 1.2.3.4 1 66666\r\n' + GET), ('few', b'PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n' + GET), ('lf', b'PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n' + GET), ('long', b'PROXY UNKNOWN ' + b'x' * 120 + b'\r\n' + GET),
                       ('none', GET), ('lower', b'proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n' + GET), ('port0', b'PROXY TCP4 1.2.3.4 1.2.3.4 0 0\r\n' + GET), ('multicast', b'PROXY TCP4 224.0.0.1 1.2.3.4 1 2\r\n' + GET),
                       ('any', b'PROXY TCP4 0.0.0.0 1.2.3.4 1 2\r\n' + GET)])
heads('v2', None, [('tcp4', v2('203.0.113.8', '10.0.0.1') + GET), ('tcp6', v2('2001:db8::1', '2001:db8::2') + GET), ('local', v2('203.0.113.8', '10.0.0.1', command=0) + GET),
                   ('local_empty', SIG + b'\x20\0\0\0' + GET), ('unspec', SIG + b'\x21\0\0\0' + GET), ('unix', SIG + b'\x21\x31\0\xd8' + b'a' * 216 + GET), ('udp', v2('203.0.113.8', '10.0.0.1', kind=0x12) + GET),
                   ('tlv', v2('203.0.113.8', '10.0.0.1', tlvs=[(1, b'h2'), (0xe0, b'x' * 50)]) + GET), ('pieces', [v2('203.0.113.9', '10.0.0.1')[:5], v2('203.0.113.9', '10.0.0.1')[5:14], v2('203.0.113.9', '10.0.0.1')[14:], GET])])
heads('v2_bad', None, [('version', SIG + b'\x31\x11\0\x0c' + b'\0' * 12 + GET), ('command', SIG + b'\x22\x11\0\x0c' + b'\0' * 12 + GET), ('short4', SIG + b'\x21\x11\0\x04' + b'\0' * 4 + GET), ('short6', SIG + b'\x21\x21\0\x0c' + b'\0' * 12 + GET),
                       ('family', SIG + b'\x21\x41\0\x0c' + b'\0' * 12 + GET), ('tlv_spill', v2('203.0.113.8', '10.0.0.1', extra=b'\x01\0\xff') + GET), ('tlv_cut', v2('203.0.113.8', '10.0.0.1', extra=b'\x01\0') + GET),
                       ('sig', b'\r\n\r\n\0\r\nQUIX\n' + b'\x21\x11\0\x0c' + b'\0' * 12 + GET), ('multicast', v2('224.0.0.1', '10.0.0.1') + GET), ('zero', v2('0.0.0.0', '0.0.0.0', 0, 0) + GET)])
heads('optional', {'allow_requests_without_proxy_protocol': True}, [('without', GET), ('v1', b'PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\n' + GET), ('v2', v2('203.0.113.8', '10.0.0.1') + GET), ('almost', b'PROXX\r\n'), ('like', b'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n'), ('bad', b'PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n' + GET)])
heads('disallow_v1', {'disallowed_versions': ['V1']}, [('v1', b'PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\n' + GET), ('v2', v2('203.0.113.8', '10.0.0.1') + GET), ('none', GET)])
heads('disallow_v2', {'disallowed_versions': ['V2']}, [('v1', b'PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\n' + GET), ('v2', v2('203.0.113.8', '10.0.0.1') + GET)])
heads('disallow_v1_optional', {'disallowed_versions': ['V1'], 'allow_requests_without_proxy_protocol': True}, [('v1', b'PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\n' + GET), ('v2', v2('203.0.113.8', '10.0.0.1') + GET), ('none', GET)])
heads('stat_prefix', {'stat_prefix': 'mine'}, [('v1', b'PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\n' + GET), ('none', GET)])
heads('timeout', None, [('nothing', b'PROXY')], '{listener_filters_timeout: 0.1s}')
heads('timeout_continue', None, [('nothing', b'')], '{listener_filters_timeout: 0.1s, continue_on_listener_filters_timeout: true}')


@case()
async def proxy_protocol_tlv_metadata(t):
    rules = Y('[{tlv_type: 1, on_tlv_present: {key: alpn}}, {tlv_type: 0xe0, on_tlv_present: {key: own, metadata_namespace: mine}}, {tlv_type: 2, on_tlv_present: {key: name}}]')
    log = '%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:alpn)% %DYNAMIC_METADATA(mine)%'
    l = listener(t, [hcm(t, routes=direct('x'), log=log)])
    l['listener_filters'] = [pp(rules=rules)]
    l['access_log'] = [filelog(t, log, 'l.log')]
    await t.start(config(t, [l], []))
    await send(t, v2('203.0.113.8', '10.0.0.1', tlvs=[(1, b'h2'), (0xe0, b'tenant'), (0xe1, b'no')]) + GET)
    await send(t, v2('203.0.113.8', '10.0.0.1') + GET)
    await send(t, v2('203.0.113.8', '10.0.0.1', tlvs=[(1, b'\xff\xfe'), (1, b'again')]) + GET)
    t.see('log', await t.logs())
    t.see('listener', await t.logs('l.log', stop=False))


@case()
async def proxy_protocol_tlv_filter_state(t):
    rules = Y('[{tlv_type: 1, on_tlv_present: {key: alpn}}]')
    log = '%FILTER_STATE(envoy.network.proxy_protocol.tlv:PLAIN)% %FILTER_STATE(envoy.network.proxy_protocol.tlv:FIELD:alpn)%'
    l = listener(t, [hcm(t, routes=direct('x'), log=log)])
    l['listener_filters'] = [pp(rules=rules, tlv_location='FILTER_STATE')]
    await t.start(config(t, [l], []))
    await send(t, v2('203.0.113.8', '10.0.0.1', tlvs=[(1, b'h2')]) + GET)
    t.see('log', await t.logs())


@case()
async def proxy_protocol_then_chain(t):
    """Source ranges look at the restored client, direct ones at the socket's peer, ports at the restored destination."""
    chains = [chain(t, '{source_prefix_ranges: [{address_prefix: 203.0.113.0, prefix_len: 24}]}', 'source'), chain(t, '{destination_port: 8080}', 'port'),
              chain(t, '{prefix_ranges: [{address_prefix: 10.9.0.0, prefix_len: 16}]}', 'destination'), chain(t, None, 'other')]
    await t.start(one(t, [pp()], chains=chains))
    out = {}
    for n, h in (('source', v2('203.0.113.8', '10.0.0.1')), ('port', v2('198.51.100.1', '10.0.0.1', dport=8080)), ('destination', v2('198.51.100.1', '10.9.1.1')), ('other', v2('198.51.100.1', '10.0.0.1'))):
        c = await t.conn()
        c.send(h + GET)
        out[n] = (await c.response('GET', 2))['body'].decode()
    t.see('by', out)


@case()
async def proxy_protocol_and_xff(t):
    u = await t.up()
    l = listener(t, [hcm(t, opts='{use_remote_address: true}')])
    l['listener_filters'] = [pp()]
    await t.start(config(t, [l], [cluster('c1', u)]))
    for src in ('203.0.113.8', '10.1.1.1'):
        await send(t, v2(src, '10.0.0.1') + GET)
    t.see('up', u.reqs, only={'x-forwarded-for', 'x-envoy-external-address', 'x-envoy-internal'})


@case()
async def proxy_protocol_before_tls(t):
    d = certs()
    sock = {'name': 'tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', 'common_tls_context': {'tls_certificates': [
        {'certificate_chain': {'filename': d + '/a.crt'}, 'private_key': {'filename': d + '/a.key'}}]}}}
    c1 = chain(t, '{server_names: [a.example]}', 'secured', log=LOG + ' %REQUESTED_SERVER_NAME%')
    c1['transport_socket'] = sock
    await t.start(one(t, [pp(), INSPECT], chains=[c1]))

    def go():
        x = ssl.create_default_context(cafile=d + '/ca.crt')
        with socket.create_connection(('127.0.0.1', t.l1), timeout=3) as s:
            s.sendall(v2('203.0.113.8', '10.0.0.1'))
            with x.wrap_socket(s, server_hostname='a.example') as w:
                w.sendall(GET.replace(b'\r\n\r\n', b'\r\nConnection: close\r\n\r\n'))
                out = b''
                while True:
                    b = w.recv(4096)
                    if not b:
                        return out
                    out += b
    t.see('r', (await asyncio.get_running_loop().run_in_executor(None, go)).split(b'\r\n')[0].decode())
    t.see('log', await t.logs())


# ---- PROXY protocol to hosts

def upstream(name, cfg, transport=None, listener_filters=None, head=b'', want_tls=False, reqs=1, extra=None, log=None):
    @case('upstream_proxy_protocol_' + name)
    async def _(t):
        seen = []

        async def conn(c):
            if cfg.get('version') == 'V2':
                fixed = await c.exactly(16)
                body = await c.exactly(struct.unpack('>H', fixed[14:])[0])
                n = {1: 12, 2: 36, 0: 0}[fixed[13] >> 4]
                ports = body[n - 4:n] if n else b''
                seen.append([fixed[12:14].hex(), body[:n - 4].hex() if n else '', struct.unpack('>H', ports[2:])[0] if n and struct.unpack('>H', ports[2:])[0] < 1000 else 'port', body[n:].hex()])
            else:
                line = (await c.line()).decode()
                seen.append(line)
            while True:
                m = await c.read_request()
                if m is None:
                    return
                c.send(resp(200, 'ok'))
        u = await t.up('u1', conn=conn)
        ts = {'transport_socket': {'name': 'pp', 'typed_config': {'@type': PPU, 'config': cfg, 'transport_socket': transport or RAW, **(extra or {})}}}
        l = listener(t, [hcm(t, log=log)])
        if listener_filters:
            l['listener_filters'] = listener_filters
        await t.start(config(t, [l], [cluster('c1', u, ts)]))
        out = []
        for _i in range(reqs):
            c = await t.conn()
            c.send((head[_i] if isinstance(head, (list, tuple)) else head) + GET)
            out.append((await c.response('GET', 2)).get('status'))
        t.see('r', out)
        t.see('seen', [[x if not isinstance(x, str) else x for x in s] if isinstance(s, list) else s for s in seen])
        t.see('conns', u.conns)


upstream('v1', {'version': 'V1'}, reqs=2, head=[b'', b''])
upstream('v2', {'version': 'V2'})
upstream('v2_of_restored_client', {'version': 'V2'}, listener_filters=[pp()], head=v2('203.0.113.8', '10.0.0.1'))
upstream('v1_of_restored_client', {'version': 'V1'}, listener_filters=[pp()], head=b'PROXY TCP6 2001:db8::1 2001:db8::2 5555 80\r\n')
upstream('one_pool_per_client', {'version': 'V1'}, listener_filters=[pp()], reqs=3, head=[b'PROXY TCP4 203.0.113.%d 10.0.0.1 5555 80\r\n' % i for i in (7, 7, 8)])
upstream('tlvs_passed', {'version': 'V2', 'pass_through_tlvs': {'match_type': 'INCLUDE_ALL'}}, listener_filters=[pp(pass_through_tlvs={'match_type': 'INCLUDE_ALL'})], head=v2('203.0.113.8', '10.0.0.1', tlvs=[(1, b'h2'), (0xe0, b'x')]))
upstream('tlvs_chosen', {'version': 'V2', 'pass_through_tlvs': {'match_type': 'INCLUDE', 'tlv_type': [0xe0]}}, listener_filters=[pp(pass_through_tlvs={'match_type': 'INCLUDE_ALL'})], head=v2('203.0.113.8', '10.0.0.1', tlvs=[(1, b'h2'), (0xe0, b'x')]))
upstream('tlvs_chosen_below', {'version': 'V2', 'pass_through_tlvs': {'match_type': 'INCLUDE_ALL'}}, listener_filters=[pp(pass_through_tlvs={'match_type': 'INCLUDE', 'tlv_type': [1]})], head=v2('203.0.113.8', '10.0.0.1', tlvs=[(1, b'h2'), (0xe0, b'x')]))
upstream('tlvs_not_kept', {'version': 'V2', 'pass_through_tlvs': {'match_type': 'INCLUDE_ALL'}}, listener_filters=[pp()], head=v2('203.0.113.8', '10.0.0.1', tlvs=[(1, b'h2')]))
upstream('tlvs_added', {'version': 'V2', 'added_tlvs': [{'type': 0xe5, 'value': base64.b64encode(b'hello').decode()}]})
upstream('of_local', {'version': 'V2'}, listener_filters=[pp()], head=SIG + b'\x20\0\0\0')


@case()
async def upstream_proxy_protocol_tcp_proxy(t):
    seen = []

    async def conn(c):
        seen.append((await c.line()).decode())
        while c.buf or await c.fill():
            c.send(c.buf)
            c.buf = b''
    u = await t.up('u1', conn=conn)
    ts = {'transport_socket': {'name': 'pp', 'typed_config': {'@type': PPU, 'config': {'version': 'V1'}, 'transport_socket': RAW}}}
    l = listener(t, [{'name': 'tp', 'typed_config': {'@type': TP, 'stat_prefix': 'tp', 'cluster': 'c1'}}])
    l['listener_filters'] = [pp()]
    await t.start(config(t, [l], [cluster('c1', u, ts)]))
    c = await t.conn()
    c.send(b'PROXY TCP4 203.0.113.7 10.0.0.1 5555 80\r\nhello')
    t.see('echo', (await c.exactly(5)).decode())
    t.see('line', seen)


# ---- the others

@case()
async def original_dst_of_a_plain_connection(t):
    """Without redirection the destination is the socket's own, and nothing is restored."""
    await t.start(one(t, [lf('od', 'original_dst.v3.OriginalDst')], log=LOG.replace('%DOWNSTREAM_REMOTE_ADDRESS% ', '')))
    t.see('r', await send(t, GET))
    t.see('log', await t.logs())


@case()
async def use_original_dst_of_a_plain_connection(t):
    await t.start(one(t, [lf('od', 'original_dst.v3.OriginalDst')], extra='{use_original_dst: true}', log='%DOWNSTREAM_LOCAL_ADDRESS%'))
    t.see('r', await send(t, GET))
    t.see('log', await t.logs())


@case()
async def local_ratelimit(t):
    f = lf('rl', 'local_ratelimit.v3.LocalRateLimit', stat_prefix='rl', token_bucket=Y('{max_tokens: 2, tokens_per_fill: 1, fill_interval: 100s}'))
    await t.start(one(t, [f]))
    t.see('r', [await send(t, GET) for _ in range(4)])
    t.see('stats', await t.stats(regex=r'(rate_limit|downstream_cx_total|listener_filter)'))


@case()
async def local_ratelimit_off(t):
    f = lf('rl', 'local_ratelimit.v3.LocalRateLimit', stat_prefix='rl', token_bucket=Y('{max_tokens: 1, tokens_per_fill: 1, fill_interval: 100s}'), runtime_enabled=Y('{default_value: false, runtime_key: k}'))
    await t.start(one(t, [f]))
    t.see('r', [await send(t, GET) for _ in range(3)])
    t.see('stats', await t.stats(regex=r'rate_limit'))


def disabled(name, predicate, want=None):
    @case('filter_disabled_' + name)
    async def _(t):
        p = Y(predicate(t) if callable(predicate) else predicate)
        f = pp()
        f['filter_disabled'] = p
        l = one(t, [f])
        if callable(predicate):
            p = Y(predicate(t))
            f['filter_disabled'] = p
        await t.start(l)
        t.see('plain', await send(t, GET))
        t.see('proxied', await send(t, v2('203.0.113.8', '10.0.0.1') + GET))


disabled('any', '{any_match: true}')
disabled('not_any', '{not_match: {any_match: true}}')
disabled('port', lambda t: '{destination_port_range: {start: %d, end: %d}}' % (getattr(t, 'l1', 1), getattr(t, 'l1', 1) + 1))
disabled('port_end_is_out', lambda t: '{destination_port_range: {start: 1, end: %d}}' % getattr(t, 'l1', 1))
disabled('or', '{or_match: {rules: [{any_match: true}, {not_match: {any_match: true}}]}}')
disabled('and', '{and_match: {rules: [{any_match: true}, {not_match: {any_match: true}}]}}')


# ---- filter chain match

def chosen(name, chains, probes, filters=None, default=None, lextra=None):
    """Which chain takes a connection, by its tag; probes are (label, PROXY head, kwargs)."""
    @case('match_' + name)
    async def _(t):
        cs = [chain(t, m(t) if callable(m) else m, n) for n, m in chains]
        extra = {'default_filter_chain': chain(t, None, default)} if default else {}
        await t.start(one(t, filters if filters is not None else [pp()], chains=cs, extra=merge(extra, Y(lextra) or {})))
        out = {}
        for n, h in probes:
            c = await t.conn()
            c.send(h + GET)
            try:
                out[n] = (await c.response('GET', 1)).get('body', b'').decode() or 'closed'
            except Exception as e:
                out[n] = type(e).__name__
        t.see('by', out)
        t.see('stats', await t.stats('listener.l1.no_filter_chain_match'))


R = lambda f, *l: '%s: [%s]' % (f, ', '.join('{address_prefix: "%s", prefix_len: %s}' % tuple(x.split('/')) for x in l))
P = lambda s, d='10.0.0.1', sp=6666, dp=80: v2(s, d, sp, dp)
chosen('longest_source', [('eight', '{%s}' % R('source_prefix_ranges', '10.0.0.0/8')), ('sixteen', '{%s}' % R('source_prefix_ranges', '10.1.0.0/16')), ('rest', None)], [('a', P('10.1.2.3')), ('b', P('10.2.2.3')), ('c', P('11.1.1.1'))])
chosen('source_ports', [('p', '{source_ports: [5555, 5556]}'), ('rest', None)], [('a', P('1.2.3.4', sp=5555)), ('b', P('1.2.3.4', sp=5557))])
chosen('source_type', [('local', '{source_type: SAME_IP_OR_LOOPBACK}'), ('external', '{source_type: EXTERNAL}')], [('loop', P('127.0.0.1')), ('same', P('10.0.0.1')), ('other', P('1.2.3.4'))])
chosen('direct_source', [('direct', '{%s}' % R('direct_source_prefix_ranges', '127.0.0.0/8')), ('rest', None)], [('a', P('1.2.3.4'))])
chosen('port_without_way_back', [('port', '{destination_port: 80, %s}' % R('source_prefix_ranges', '10.0.0.0/8')), ('any', '{%s}' % R('source_prefix_ranges', '11.0.0.0/8'))], [('in', P('10.1.1.1')), ('out', P('11.1.1.1')), ('else', P('11.1.1.1', dp=81))], default='default')
chosen('destination_before_source', [('d', '{%s}' % R('prefix_ranges', '10.0.0.0/24')), ('s', '{%s}' % R('source_prefix_ranges', '1.2.3.0/24'))], [('both', P('1.2.3.4')), ('s', P('1.2.3.4', '10.9.9.9')), ('none', P('9.9.9.9', '10.9.9.9'))])
chosen('transport_before_alpn', [('raw', '{transport_protocol: raw_buffer}'), ('h', '{application_protocols: [http/1.1]}')], [('a', b'')], filters=[INSPECT, lf('hi', 'http_inspector.v3.HttpInspector')])
chosen('http_inspector', [('h1', '{application_protocols: [http/1.1]}'), ('h0', '{application_protocols: [http/1.0]}'), ('rest', None)], [('a', b'')], filters=[lf('hi', 'http_inspector.v3.HttpInspector')])
chosen('none', [('s', '{%s}' % R('source_prefix_ranges', '1.2.3.0/24'))], [('a', P('9.9.9.9'))])
chosen('ipv6', [('six', '{%s}' % R('source_prefix_ranges', '2001:db8::/32')), ('four', '{%s}' % R('source_prefix_ranges', '0.0.0.0/0'))], [('a', v2('2001:db8::1', '2001:db8::2')), ('b', P('1.2.3.4'))])

NET = 'type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.'


def tree(name, matcher, chains, probes, filters=None, default=None):
    chosen_matcher(name, matcher, chains, probes, filters, default)


def chosen_matcher(name, matcher, chains, probes, filters, default):
    @case('matcher_' + name)
    async def _(t):
        cs = [chain(t, None, n, name=n) for n in chains]
        x = one(t, filters if filters is not None else [pp()], chains=cs)
        l = x['static_resources']['listeners'][0]
        l['filter_chain_matcher'] = Y(matcher)
        if default:
            l['default_filter_chain'] = chain(t, None, default)
        await t.start(x)
        out = {}
        for n, h in probes:
            c = await t.conn()
            c.send(h + GET)
            try:
                out[n] = (await c.response('GET', 1)).get('body', b'').decode() or 'closed'
            except Exception as e:
                out[n] = type(e).__name__
        t.see('by', out)
        t.see('stats', await t.stats('listener.l1.no_filter_chain_match'))


ACT = lambda n: '{action: {name: a, typed_config: {"@type": type.googleapis.com/google.protobuf.StringValue, value: %s}}}' % n
INP = lambda n: '{name: i, typed_config: {"@type": %s%s}}' % (NET, n)
EXACT = lambda inp, m, no=None: '{matcher_tree: {input: %s, exact_match_map: {map: {%s}}}%s}' % (INP(inp), ', '.join('"%s": %s' % (k, ACT(v)) for k, v in m.items()), ', on_no_match: %s' % ACT(no) if no else '')
tree('source_ip', EXACT('SourceIPInput', {'1.2.3.4': 'a'}, 'b'), ['a', 'b'], [('a', P('1.2.3.4')), ('b', P('1.2.3.5'))])
tree('destination_port', EXACT('DestinationPortInput', {'80': 'a', '81': 'b'}), ['a', 'b'], [('a', P('1.2.3.4')), ('b', P('1.2.3.4', dp=81)), ('none', P('1.2.3.4', dp=82))])
tree('default_chain', EXACT('DestinationPortInput', {'80': 'a'}), ['a'], [('a', P('1.2.3.4')), ('none', P('1.2.3.4', dp=82))], default='dflt')
tree('source_port', EXACT('SourcePortInput', {'6666': 'a'}, 'b'), ['a', 'b'], [('a', P('1.2.3.4')), ('b', P('1.2.3.4', sp=7))])
tree('destination_ip', EXACT('DestinationIPInput', {'10.0.0.1': 'a'}, 'b'), ['a', 'b'], [('a', P('1.2.3.4')), ('b', P('1.2.3.4', '10.0.0.2'))])
tree('direct_source', EXACT('DirectSourceIPInput', {'127.0.0.1': 'a'}, 'b'), ['a', 'b'], [('a', P('1.2.3.4'))])
tree('source_type', EXACT('SourceTypeInput', {'local': 'a'}, 'b'), ['a', 'b'], [('a', P('127.0.0.1')), ('b', P('1.2.3.4'))])
tree('transport', EXACT('TransportProtocolInput', {'raw_buffer': 'a', 'tls': 'b'}), ['a', 'b'], [('a', b'')], filters=[INSPECT])
tree('application', EXACT('ApplicationProtocolInput', {"'http/1.1'": 'a'}, 'b'), ['a', 'b'], [('a', b'')], filters=[lf('hi', 'http_inspector.v3.HttpInspector')])
tree('unknown_chain', EXACT('DestinationPortInput', {'80': 'nobody'}, 'a'), ['a'], [('x', P('1.2.3.4')), ('a', P('1.2.3.4', dp=82))])
tree('ip_tree', '{matcher_tree: {input: %s, custom_match: {name: ip, typed_config: {"@type": type.googleapis.com/xds.type.matcher.v3.IPMatcher, range_matchers: [{ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}], on_match: %s}, {ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}], on_match: %s}]}}}, on_no_match: %s}' % (INP('SourceIPInput'), ACT('a'), ACT('b'), ACT('c')),
     ['a', 'b', 'c'], [('a', P('10.2.3.4')), ('b', P('10.1.3.4')), ('c', P('11.1.1.1'))])
tree('list', '{matcher_list: {matchers: [{predicate: {single_predicate: {input: %s, value_match: {prefix: "10."}}}, on_match: %s}, {predicate: {not_matcher: {single_predicate: {input: %s, value_match: {exact: "80"}}}}, on_match: %s}]}, on_no_match: %s}' % (
    INP('SourceIPInput'), ACT('a'), INP('DestinationPortInput'), ACT('b'), ACT('c')), ['a', 'b', 'c'], [('a', P('10.2.3.4')), ('b', P('1.1.3.4', dp=81)), ('c', P('11.1.1.1'))])


@case('matcher_refused_same_name')
async def _(t):
    x = one(t, [], chains=[chain(t, None, 'a', name='a'), chain(t, None, 'b', name='a')])
    x['static_resources']['listeners'][0]['filter_chain_matcher'] = Y(EXACT('DestinationPortInput', {'80': 'a'}))
    t.see('exit', (await t.run_to_end(x, args=['--mode', 'validate']))[0])


@case('matcher_refused_without_names')
async def _(t):
    x = one(t, [], chains=[chain(t, None, 'a')])
    x['static_resources']['listeners'][0]['filter_chain_matcher'] = Y(EXACT('DestinationPortInput', {'80': 'a'}))
    t.see('exit', (await t.run_to_end(x, args=['--mode', 'validate']))[0])


@case('refused_same_match')
async def _(t):
    x = one(t, [], chains=[chain(t, '{destination_port: 80}', 'a'), chain(t, '{destination_port: 80}', 'b')])
    t.see('exit', (await t.run_to_end(x, args=['--mode', 'validate']))[0])


@case('http_inspector_and_tls_stats')
async def _(t):
    await t.start(one(t, [INSPECT, lf('hi', 'http_inspector.v3.HttpInspector')]))
    t.see('r', [await send(t, GET), await send(t, b'GET / HTTP/1.0\r\n\r\n'), await send(t, b'\x16\x03\x01\x00\x05hello')])
    t.see('stats', {k: v for k, v in (await t.stats(regex=r'^(tls|http)_inspector')).items() if 'bytes' not in k})
