"""The TCP proxy's later fields: fields of PROXY heads, when it connects, what it reads before, drains, tunnels' request identifiers."""
import base64

import yaml

from harness import *
from harness.tls_config import client_ctx, down, hands

TYPE = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'
LF = 'type.googleapis.com/envoy.extensions.filters.listener.'
PPU = 'type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport'
RAW = {'name': 'raw', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}
UUID = {'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig'}}
SIG = b'\r\n\r\n\0\r\nQUIT\n'
LOG = ('%ACCESS_LOG_TYPE% %RESPONSE_FLAGS% r=%BYTES_RECEIVED% s=%BYTES_SENT% %UPSTREAM_HOST% n=%UPSTREAM_REQUEST_ATTEMPT_COUNT% '
       'lc=%DOWNSTREAM_LOCAL_CLOSE_REASON% %UPSTREAM_TRANSPORT_FAILURE_REASON%')
STATS = (r'^tcp\.tp\.(downstream_cx_(total|drain_close|no_route|.x_bytes_total)|early_data|idle_timeout|max_)|'
         r'^cluster\.c1\.upstream_cx_(total|destroy|connect_fail|active)')

b64 = lambda b: base64.b64encode(b).decode()
tlv = lambda kind, value: {'type': kind, 'value': b64(value)}
text = lambda kind, fmt: {'type': kind, 'format_string': {'text_format_source': {'inline_string': fmt}}}


def proxy(t, log=LOG, **kw):
    return {'name': 'tp', 'typed_config': {'@type': TYPE, 'stat_prefix': 'tp', 'cluster': 'c1', 'access_log': [filelog(t, log)], **kw}}


def made(t, u, filters=(), log=LOG, lextra=None, extra=None, h2=False, sock=None, **kw):
    l = listener(t, [*filters, proxy(t, log, **kw)], extra=lextra)
    if sock:
        l['filter_chains'][0]['transport_socket'] = sock
    return config(t, [l], [cluster('c1', u, extra, h2=h2)])


# ---- proxy_protocol_tlvs

def v2(tlvs=(), command=1, src='10.1.1.1', dst='10.2.2.2', sport=6666, dport=80):
    body = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack('>HH', sport, dport) if command else b''
    for k, v in tlvs:
        body += bytes([k]) + struct.pack('>H', len(v)) + v
    return SIG + bytes([0x20 | command, 0x11 if command else 0]) + struct.pack('>H', len(body)) + body


def shown(head):
    """A head of version 2 in words."""
    assert head.startswith(SIG), head
    size = struct.unpack('>H', head[14:16])[0]
    body = head[16:16 + size]
    kind = head[13]
    skip = {0x11: 12, 0x21: 36}.get(kind, 0)
    out, rest = ['%02x%02x' % (head[12], kind), '' if not skip else '.'.join(str(b) for b in body[:4])], body[skip:]
    while rest:
        n = struct.unpack('>H', rest[1:3])[0]
        out.append('%02x=%s' % (rest[0], rest[3:3 + n].decode('latin-1')))
        rest = rest[3 + n:]
    return out + [head[16 + size:].decode('latin-1')]


async def reading(c):
    c.up.got = b''
    while await c.fill():
        c.up.got += c.buf
        c.buf = b''


def tlvs(name, fields, policy=None, passing='INCLUDE_ALL', incoming=None, added=(), keeps=True, pp=True):
    @case('tlvs_' + name)
    async def f(t):
        u = await t.up('u1', conn=reading)
        conf = {'version': 'V2'}
        if passing:
            conf['pass_through_tlvs'] = {'match_type': passing} if isinstance(passing, str) else {'match_type': 'INCLUDE', 'tlv_type': passing}
        if added:
            conf['added_tlvs'] = list(added)
        extra = {'transport_socket': {'name': 'p', 'typed_config': {'@type': PPU, 'config': conf, 'transport_socket': RAW}}}
        lextra = None
        if pp:
            o = {'pass_through_tlvs': {'match_type': 'INCLUDE_ALL'}} if keeps else {}
            lextra = {'listener_filters': [{'name': 'pp', 'typed_config': {'@type': LF + 'proxy_protocol.v3.ProxyProtocol', 'allow_requests_without_proxy_protocol': True, **o}}]}
        o = {'proxy_protocol_tlvs': fields, **({'proxy_protocol_tlv_merge_policy': policy} if policy else {})}
        await t.start(made(t, u, extra=extra, lextra=lextra, **o))
        c = await t.conn()
        c.w.write((incoming or b'') + b'hello')
        await t.until(lambda: getattr(u, 'got', b'').endswith(b'hello'))
        t.see('head', shown(u.got))


OWN = [tlv(0xf1, b'one'), text(0xf2, '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_CLUSTER%')]
THEIRS = v2([(0xf1, b'theirs'), (0xe0, b'other')])
tlvs('without_a_head', OWN)
tlvs('without_the_listener_filter', OWN, pp=False)
tlvs('not_passed', OWN, passing=None)
tlvs('passed_by_type', OWN, passing=[0xf2])
tlvs('beside_a_head', OWN, incoming=THEIRS)
tlvs('beside_a_head_that_keeps_none', OWN, incoming=THEIRS, keeps=False)
tlvs('beside_a_head_without_fields', OWN, incoming=v2())
tlvs('beside_a_local_head', OWN, incoming=v2(command=0))
tlvs('beside_a_v1_head', OWN, incoming=b'PROXY TCP4 10.1.1.1 10.2.2.2 6666 80\r\n')
tlvs('overwrite', OWN, 'OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD', incoming=THEIRS)
tlvs('overwrite_without_a_head', OWN, 'OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD')
tlvs('overwrite_two', [tlv(0xf1, b'a'), tlv(0xf1, b'b')], 'OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD', incoming=v2([(0xf1, b'x'), (0xf1, b'y'), (0xe0, b'z')]))
tlvs('overwrite_beside_a_head_without_fields', OWN, 'OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD', incoming=v2())
tlvs('append', OWN, 'APPEND_IF_EXISTS_OR_ADD', incoming=THEIRS)
tlvs('append_without_a_head', OWN, 'APPEND_IF_EXISTS_OR_ADD')
tlvs('twice_the_same', [tlv(0xf1, b'a'), tlv(0xf1, b'b')])
tlvs('under_added_ones', OWN, added=[tlv(0xf1, b'cluster'), tlv(0xf3, b'three')])
tlvs('empty_values', [text(0xf5, '%REQUESTED_SERVER_NAME%'), text(0xf6, '%DYNAMIC_METADATA(a:b)%x'), text(0xf7, '')])


def refused(name, **kw):
    @case('refused_' + name)
    async def f(t):
        t.see('code', (await t.run_to_end(made(t, await t.up('u1', conn=reading), **kw), args=['--mode', 'validate']))[0])


refused('tlv_beyond_a_byte', proxy_protocol_tlvs=[tlv(256, b'x')])
refused('tlv_value_and_format', proxy_protocol_tlvs=[{**tlv(1, b'x'), **text(1, 'y')}])
refused('tlv_without_value', proxy_protocol_tlvs=[{'type': 1}])
refused('tlv_bad_format', proxy_protocol_tlvs=[text(1, '%NO_SUCH%')])
refused('on_data_without_bytes', upstream_connect_mode='ON_DOWNSTREAM_DATA')
refused('on_data_zero_bytes', upstream_connect_mode='ON_DOWNSTREAM_DATA', max_early_data_bytes=0)
refused('on_handshake_without_bytes', upstream_connect_mode='ON_DOWNSTREAM_TLS_HANDSHAKE')
refused('on_handshake_zero_bytes', upstream_connect_mode='ON_DOWNSTREAM_TLS_HANDSHAKE', max_early_data_bytes=0)
refused('immediate_zero_bytes', max_early_data_bytes=0)


# ---- when it connects

async def echo(c):
    """Says hi, then sends back what comes, and END once the client has ended its half."""
    c.up.at = len(getattr(c.up.t, 'sent', b''))
    c.send(b'hi ')
    await c.drain()
    while await c.fill():
        c.send(c.buf)
        c.buf = b''
        await c.drain()
    c.send(b'END')
    await c.drain()


async def read_some(c, n, wait=1.5):
    try:
        return (await asyncio.wait_for(c.exactly(n), wait)).decode()
    except Exception as e:
        return type(e).__name__


@case()
async def connects_on_data(t):
    """Nothing is connected to until the client says something."""
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, upstream_connect_mode='ON_DOWNSTREAM_DATA', max_early_data_bytes=1000))
    c = await t.conn()
    await t.pass_time(0.2)
    t.see('before', [u.conns, await t.stats('tcp.tp.downstream_cx_total', 'cluster.c1.upstream_cx_total', 'cluster.c1.upstream_cx_active')])
    c.send('hello')
    t.see('answer', await read_some(c, 8))
    c.shut_wr()
    t.see('end', await read_some(c, 3))
    c.close()
    t.see('after', await t.stats(regex=STATS))
    t.see('log', await t.logs())


@case()
async def connects_on_data_that_never_comes(t):
    """The client ends, or closes, without a word."""
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, upstream_connect_mode='ON_DOWNSTREAM_DATA', max_early_data_bytes=1000))
    c = await t.conn()
    c.shut_wr()
    t.see('half', await read_some(c, 6))
    c.close()
    c = await t.conn()
    await t.pass_time(0.1)
    c.close()
    await t.pass_time(0.1)
    t.see('conns', u.conns)
    t.see('stats', await t.stats(regex=STATS))


@case()
async def connects_on_data_idle(t):
    """A client that stays silent."""
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, upstream_connect_mode='ON_DOWNSTREAM_DATA', max_early_data_bytes=1000, idle_timeout='0.3s'))
    c = await t.conn()
    t.see('silent', await c.state(1.2))
    t.see('stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())


@case()
async def connects_on_data_max_duration(t):
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, upstream_connect_mode='ON_DOWNSTREAM_DATA', max_early_data_bytes=1000, max_downstream_connection_duration='0.3s'))
    c = await t.conn()
    t.see('silent', await c.state(1.2))
    t.see('log', await t.logs())


@case()
async def connects_on_much_data(t):
    """More than the limit of early data still arrives whole."""
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, upstream_connect_mode='ON_DOWNSTREAM_DATA', max_early_data_bytes=10))
    c = await t.conn()
    c.send('x' * 100000)
    got = await read_some(c, 100003)
    t.see('answer', [len(got), got[:6]])
    c.shut_wr()
    t.see('end', await read_some(c, 3))
    t.see('log', await t.logs())


@case()
async def connects_on_data_to_a_dead_host(t):
    u = t.dead()
    await t.start(made(t, u, upstream_connect_mode='ON_DOWNSTREAM_DATA', max_early_data_bytes=1000, max_connect_attempts=2))
    c = await t.conn()
    c.send('hello')
    t.see('state', await c.state(1.5))
    t.see('stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())


@case()
async def connects_on_data_and_end(t):
    """Data and the end of the client's half come before there is a connection."""
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, upstream_connect_mode='ON_DOWNSTREAM_DATA', max_early_data_bytes=1000))
    c = await t.conn()
    c.send('hello')
    c.shut_wr()
    t.see('answer', await read_some(c, 11))
    c.close()
    t.see('log', await t.logs())


@case()
async def connects_at_once_and_reads(t):
    """Early data with IMMEDIATE: the host is reached without a word of the client."""
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, max_early_data_bytes=5))
    c = await t.conn()
    t.see('greeting', await read_some(c, 3))
    c.send('hello, world')
    t.see('answer', await read_some(c, 12))
    c.close()
    t.see('log', await t.logs())


@case()
async def reads_before_a_connection_that_fails(t):
    """Bytes that were read for nobody are counted, or not."""
    u = t.silent()
    await t.start(made(t, u, max_early_data_bytes=1000, extra={'connect_timeout': '0.3s'}))
    c = await t.conn()
    c.send('hello')
    t.see('state', await c.state(1.5))
    t.see('stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())


@case()
async def connects_after_the_handshake(t):
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, upstream_connect_mode='ON_DOWNSTREAM_TLS_HANDSHAKE', max_early_data_bytes=0, sock=down(), log=LOG + ' %DOWNSTREAM_TLS_VERSION%'))
    c = await t.conn(ssl=client_ctx(verify=False), sni='a.example')
    t.see('greeting', await read_some(c, 3))
    t.see('conns', u.conns)
    c.send('hello')
    t.see('answer', await read_some(c, 5))
    c.close()
    t.see('log', await t.logs())


@case()
async def connects_before_the_handshake(t):
    """IMMEDIATE on a secured listener: the host is reached while the client has not said a word."""
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, sock=down()))
    c = await t.conn()
    await t.pass_time(0.2)
    t.see('before', u.conns)
    c.close()
    await t.pass_time(0.1)
    t.see('log', await t.logs())


@case()
async def handshake_mode_in_clear_text(t):
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, upstream_connect_mode='ON_DOWNSTREAM_TLS_HANDSHAKE', max_early_data_bytes=100))
    c = await t.conn()
    t.see('greeting', await read_some(c, 3))
    t.see('conns', u.conns)


@case()
async def side_timeouts_do_nothing(t):
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, downstream_idle_timeout='0.2s', upstream_idle_timeout='0.2s'))
    c = await t.conn()
    t.see('greeting', await read_some(c, 3))
    t.see('silent', await c.state(0.8))
    c.send('hello')
    t.see('answer', await read_some(c, 5))


# ---- drains

async def drained(t, **kw):
    u = await t.up('u1', conn=echo)
    await t.start(made(t, u, **kw), args=['--drain-time-s', '1', '--drain-strategy', 'immediate'])
    c = await t.conn()
    t.see('greeting', await read_some(c, 3))
    t.see('admin', (await t.admin('/drain_listeners?graceful&skip_exit', 'POST'))[0])
    t.see('silent', await c.state(0.5))
    try:
        c.send('hello')
        t.see('answer', await read_some(c, 5))
        t.see('state', await c.state(1))
    except ConnectionError as e:
        t.see('answer', type(e).__name__)
    t.see('stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())


@case()
async def drain_closes(t):
    """check_drain_close: the connection is closed with its next bytes."""
    await drained(t, check_drain_close=True)


@case()
async def drain_leaves_alone(t):
    await drained(t)


# ---- tunnels

def h2_granting():
    async def serve(s):
        s.respond(200)
        await s.data('ok', end=True)
    return serve


def tunnelled(name, log='%DYNAMIC_METADATA(envoy.filters.network.tcp_proxy)%', h2=True, headers=('x-request-id', 'own-id'), filters=(), **kw):
    @case('tunnel_' + name)
    async def f(t):
        u = await t.h2up('u1', h2_granting())
        await t.start(made(t, u, h2=h2, log=log, filters=filters, tunneling_config={'hostname': 'h:1', **kw}))
        c = await t.conn()
        c.send('hello')
        t.see('answer', await read_some(c, 2))
        await t.until(lambda: u.reqs)
        seen = {h: hget(u.reqs[0]['headers'], h) for h in headers}
        c.close()
        lines = await t.logs()
        ids = {i: 'id%d' % n for n, i in enumerate(dict.fromkeys(re.findall(r'[0-9a-f]{8}-[0-9a-f-]{27}', str([lines, seen]))))}
        t.see('seen', yaml.safe_load(re.sub(r'[0-9a-f]{8}-[0-9a-f-]{27}', lambda m: ids[m[0]], yaml.safe_dump([seen, lines]))))


tunnelled('request_id', request_id_extension=UUID)
tunnelled('request_id_header', request_id_extension=UUID, request_id_header='own-id')
tunnelled('request_id_metadata_key', request_id_extension=UUID, request_id_metadata_key='id')
tunnelled('no_request_id', request_id_header='own-id', request_id_metadata_key='id')
tunnelled('request_id_and_header_to_add', request_id_extension=UUID, headers_to_add=[{'header': {'key': 'x-request-id', 'value': 'mine'}}])
tunnelled('request_id_post', request_id_extension=UUID, use_post=True)
tunnelled('request_id_empty_extension', request_id_extension={})
tunnelled('request_id_no_pack', request_id_extension={'typed_config': {**UUID['typed_config'], 'pack_trace_reason': False, 'use_request_id_for_trace_sampling': False}})
FORMATTERS = [{'name': 'f', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.formatter.cel.v3.Cel'}},
              {'name': 'm', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.formatter.metadata.v3.Metadata'}}]
tunnelled('formatters', formatters=FORMATTERS, headers=('a', 'b'), headers_to_add=[{'header': {'key': 'a', 'value': '%CEL(connection.id >= 0)%'}}, {'header': {'key': 'b', 'value': '%METADATA(LISTENER:x:y)%!'}}])


# ---- what comes before: values of PROXY heads, objects of the filter state

def values(name, tlv_fields, encoding, location=None, log='%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol)% %FILTER_STATE(envoy.network.proxy_protocol.tlv)%'):
    @case('proxy_values_' + name)
    async def f(t):
        u = await t.up('u1', conn=echo)
        rules = [{'tlv_type': k, 'on_tlv_present': {'key': 'k%x' % k, 'value_string_encoding': encoding}} for k, _ in tlv_fields]
        pp = {'@type': LF + 'proxy_protocol.v3.ProxyProtocol', 'rules': rules, **({'tlv_location': location} if location else {})}
        await t.start(made(t, u, lextra={'listener_filters': [{'name': 'pp', 'typed_config': pp}], 'access_log': [filelog(t, log, 'l.log')]}))
        c = await t.conn()
        c.w.write(v2(tlv_fields) + b'hello')
        t.see('answer', await read_some(c, 8))
        c.close()
        t.see('log', await t.logs('l.log'))


ODD = [(0xe0, b'plain'), (0xe1, b'\xff\x00\xfe'), (0xe2, b'a'), (0xe3, b'')]
values('base64', ODD[1:2], 'BASE64')
values('base64_in_filter_state', ODD[1:2], 'BASE64', 'FILTER_STATE')
values('sanitized', ODD[1:2], 'SANITIZED_UTF8')

SFS = 'type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config'


def state(key, fmt, **kw):
    return {'object_key': key, 'factory_key': 'envoy.string', 'format_string': {'text_format_source': {'inline_string': fmt}}, **kw}


def sfs(**lists):
    return {'name': 'sfs', 'typed_config': {'@type': SFS, **lists}}


STATE_LOG = '%ACCESS_LOG_TYPE% %FILTER_STATE(a:PLAIN)% %FILTER_STATE(b:PLAIN)% %FILTER_STATE(c:PLAIN)%'


@case()
async def states_in_time(t):
    """What is set when the connection comes, after its handshake, and with its first bytes; and what a log sees meanwhile."""
    u = await t.up('u1', conn=echo)
    f = sfs(on_new_connection=[state('a', 'new')], on_downstream_tls_handshake=[state('b', 'shaken %FILTER_STATE(a:PLAIN)%')], on_downstream_data=[state('c', 'data %FILTER_STATE(b:PLAIN)%'), state('a', 'again', read_only=True)])
    await t.start(made(t, u, filters=[f], log=STATE_LOG, access_log_options={'flush_access_log_on_connected': True}))
    c = await t.conn()
    t.see('greeting', await read_some(c, 3))
    c.close()
    c = await t.conn()
    t.see('greeting_2', await read_some(c, 3))
    c.send('hello')
    t.see('answer', await read_some(c, 5))
    c.close()
    t.see('log', await t.logs())


@case()
async def states_of_a_handshake(t):
    u = await t.up('u1', conn=echo)
    f = sfs(on_new_connection=[state('a', 'new %DOWNSTREAM_TLS_CIPHER%')], on_downstream_tls_handshake=[state('b', 'shaken %DOWNSTREAM_TLS_VERSION%')])
    await t.start(made(t, u, filters=[f], sock=down(), log='%FILTER_STATE(b:PLAIN)%'))
    c = await t.conn(ssl=client_ctx(verify=False), sni='a.example')
    t.see('greeting', await read_some(c, 3))
    c.close()
    t.see('log', await t.logs())


@case()
async def states_of_data_choose_the_cluster(t):
    """The cluster is chosen once the first bytes have come."""
    u = await t.up('u1', conn=echo)
    f = sfs(on_downstream_data=[{'object_key': 'envoy.tcp_proxy.cluster', 'format_string': {'text_format_source': {'inline_string': 'c1'}}}])
    await t.start(made(t, u, filters=[f], cluster='none', upstream_connect_mode='ON_DOWNSTREAM_DATA', max_early_data_bytes=100))
    c = await t.conn()
    c.send('hello')
    t.see('answer', await read_some(c, 8))
    c.close()
    t.see('log', await t.logs())


@case()
async def states_of_data_before_http(t):
    u = await t.up('u1', lambda m, n: resp(200, 'x'))
    f = sfs(on_new_connection=[state('a', 'new')], on_downstream_data=[state('c', 'data')])
    l = listener(t, [f, hcm(t, log=STATE_LOG)])
    await t.start(config(t, [l], [cluster('c1', u)]))
    t.see('status', (await t.req('/'))['status'])
    t.see('h2', (await t.h2req('/')).h(':status'))
    t.see('log', await t.logs())
