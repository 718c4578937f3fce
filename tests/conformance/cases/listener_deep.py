"""Listener filters and the choice of a chain once more: combinations, pieces, times, counters."""
from harness import *
from harness.tls_config import cert, client_ctx, down, hands

LF = 'type.googleapis.com/envoy.extensions.filters.listener.'
SIG = b'\r\n\r\n\0\r\nQUIT\n'
GET = b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
LOG = '%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS%'


def lf(kind, **kw):
    return {'name': kind.split('.')[0], 'typed_config': {'@type': LF + kind, **kw}}


TLS = lambda **kw: lf('tls_inspector.v3.TlsInspector', **kw)
HTTP = lambda: lf('http_inspector.v3.HttpInspector')
PROXY = lambda **kw: lf('proxy_protocol.v3.ProxyProtocol', **kw)
ORIGINAL = lambda: lf('original_dst.v3.OriginalDst')


def direct(tag):
    return '[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "%s"}}}]' % tag


def link(t, tag, match=None, sock=None, log=None, **kw):
    c = {'name': tag, 'filters': [hcm(t, routes=direct(tag), log=log, **kw)]}
    if match is not None:
        c['filter_chain_match'] = match
    if sock:
        c['transport_socket'] = sock
    return c


def listening(t, filters, links, default=None, **extra):
    l = listener(t, [])
    l.update({'stat_prefix': 'l1', 'listener_filters': filters, 'filter_chains': links, **extra})
    if default:
        l['default_filter_chain'] = default
    l.setdefault('access_log', [filelog(t, '%RESPONSE_FLAGS% %FILTER_CHAIN_NAME% %DOWNSTREAM_LOCAL_CLOSE_REASON% %CONNECTION_TERMINATION_DETAILS%', 'l.log')])
    return config(t, [l], [])


async def said(t, *parts, wait=3, src=None):
    """The body, or how the connection ends."""
    c = await t.conn(src=src)
    try:
        for p in parts:
            c.w.write(p)
            await c.w.drain()
        got = await asyncio.wait_for(c.r.read(), wait)
        return got.split(b'\r\n\r\n')[-1].decode('latin-1') if got.startswith(b'HTTP/1.1 200') else got[:30].decode('latin-1')
    except asyncio.TimeoutError:
        return 'waits'
    except ConnectionError:
        return 'reset'
    finally:
        c.close()


STATS = r'^listener\.l1\.(downstream_(cx_total|pre_cx_timeout|listener_filter_[a-z_]+)|no_filter_chain_match|http_inspector.*)$|^(http_inspector|proxy_proto|tls_inspector)\.(?!bytes_processed)[a-z0-9_.]+$'


def asked(name, filters, links, asks, default=None, **extra):
    """Each client's bytes, and which chain answers them."""
    @case('deep_' + name, timeout=30)
    async def f(t):
        await t.start(listening(t, filters, links(t), default(t) if default else None, **extra))
        for k, parts in asks.items():
            t.see(k, await said(t, *(parts if isinstance(parts, (list, tuple)) else [parts])))
        await t.stat_until('listener.l1.downstream_cx_active', lambda v: v == 0)
        await t.stat_until('listener.l1.downstream_pre_cx_active', lambda v: v == 0)
        t.see('stats', await t.stats(regex=STATS))
        t.see('log', sorted(await t.logs('l.log')))


def by_names(name, matches, names, default=True, contexts=None):
    """Chains with TLS by server name (and more), asked by handshakes."""
    @case('deep_names_' + name, timeout=30)
    async def f(t):
        links = [link(t, 'c%d' % i, m, down({'tls_certificates': [cert('a')], 'alpn_protocols': ['h2', 'http/1.1']})) for i, m in enumerate(matches)]
        d = link(t, 'default', None, down()) if default else None
        await t.start(listening(t, [TLS()], links, d))
        out = {}
        for n in names:
            sni, alpn = n if isinstance(n, tuple) else (n, None)
            h = await hands(t, client_ctx(verify=False, alpn=alpn), sni)
            out['%s %s' % (sni, alpn)] = h.body.split(b'\r\n\r\n')[-1].decode('latin-1') if not h.err else 'none'
        t.see('chains', out)
        t.see('none', await t.stats('listener.l1.no_filter_chain_match'))


by_names('wildcards', [{'server_names': ['a.example']}, {'server_names': ['*.example']}, {'server_names': ['*.b.example']}, {'server_names': ['www.b.example', 'mail.example']}],
         ['a.example', 'x.a.example', 'b.example', 'x.b.example', 'x.y.b.example', 'www.b.example', 'mail.example', 'example', 'other.test', None, 'A.EXAMPLE'])
by_names('and_protocols', [{'server_names': ['a.example'], 'application_protocols': ['h2']}, {'server_names': ['a.example']}, {'application_protocols': ['http/1.1']}, {'transport_protocol': 'tls'}],
         [('a.example', ['http/1.1']), ('a.example', None), ('b.example', ['http/1.1']), ('b.example', ['x']), ('b.example', None), ('b.example', ['x', 'http/1.1'])])
by_names('without_default', [{'server_names': ['a.example']}], ['a.example', 'b.example', None], default=False)
by_names('most_specific_wins_over_protocol', [{'server_names': ['*.example'], 'application_protocols': ['http/1.1']}, {'server_names': ['a.example'], 'transport_protocol': 'tls'}, {'server_names': ['a.example'], 'transport_protocol': 'raw_buffer'}],
         [('a.example', ['http/1.1']), ('b.example', ['http/1.1']), ('b.example', ['h3'])])
by_names('source_and_name', [{'server_names': ['a.example'], 'source_prefix_ranges': [{'address_prefix': '10.0.0.0', 'prefix_len': 8}]}, {'source_prefix_ranges': [{'address_prefix': '127.0.0.0', 'prefix_len': 8}]}], ['a.example', 'b.example'])


# ---- times

asked('silent_times_out', [TLS()], lambda t: [link(t, 'x')], {'silent': b''}, listener_filters_timeout='0.2s')
asked('no_time_is_no_limit', [TLS()], lambda t: [link(t, 'x')], {'silent': b'', 'speaks': GET}, listener_filters_timeout='0s')


@case()
async def deep_goes_on_after_its_time(t):
    """What came before is not lost, and the chain is that of clear text."""
    await t.start(listening(t, [TLS()], [link(t, 'tls', {'transport_protocol': 'tls'}, down()), link(t, 'raw', {'transport_protocol': 'raw_buffer'})],
                            listener_filters_timeout='0.2s', continue_on_listener_filters_timeout=True))
    c = await t.conn()
    c.w.write(b'GET ')
    await t.stat_until('listener.l1.downstream_pre_cx_timeout', lambda v: v == 1)
    c.w.write(GET[4:])
    t.see('answer', (await asyncio.wait_for(c.r.read(), 3))[-3:].decode())
    t.see('stats', await t.stats(regex=STATS))


@case()
async def deep_goes_on_without_a_proxy_head(t):
    await t.start(listening(t, [PROXY()], [link(t, 'x', log=LOG)], listener_filters_timeout='0.2s', continue_on_listener_filters_timeout=True))
    c = await t.conn()
    c.w.write(b'PROXY TCP4 10.1.1.1')
    await t.stat_until('listener.l1.downstream_pre_cx_timeout', lambda v: v == 1)
    c.w.write(b' 10.2.2.2 1 2\r\n')
    try:
        t.see('answer', (await asyncio.wait_for(c.r.read(), 3))[:40].decode())
    except ConnectionError:
        t.see('answer', 'reset')
    t.see('log', await t.logs())


# ---- PROXY heads

V1 = {'four': b'PROXY TCP4 10.1.1.1 10.2.2.2 6666 80\r\n', 'six': b'PROXY TCP6 2001:db8::1 2001:db8::2 6666 80\r\n', 'unknown': b'PROXY UNKNOWN\r\n', 'unknown_with_more': b'PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n',
      'lower': b'proxy tcp4 10.1.1.1 10.2.2.2 6666 80\r\n', 'port_zero': b'PROXY TCP4 10.1.1.1 10.2.2.2 0 80\r\n', 'port_large': b'PROXY TCP4 10.1.1.1 10.2.2.2 65536 80\r\n', 'port_signed': b'PROXY TCP4 10.1.1.1 10.2.2.2 +1 80\r\n',
      'port_leading_zero': b'PROXY TCP4 10.1.1.1 10.2.2.2 0080 80\r\n', 'family_mixed': b'PROXY TCP4 2001:db8::1 10.2.2.2 1 80\r\n', 'family_six_of_four': b'PROXY TCP6 10.1.1.1 10.2.2.2 1 80\r\n', 'short': b'PROXY TCP4 10.1.1.1 10.2.2.2 1\r\n',
      'long': b'PROXY TCP4 10.1.1.1 10.2.2.2 1 80 ' + b'x' * 100 + b'\r\n', 'more_fields': b'PROXY TCP4 10.1.1.1 10.2.2.2 1 80 9\r\n', 'two_blanks': b'PROXY  TCP4 10.1.1.1 10.2.2.2 1 80\r\n', 'lf_alone': b'PROXY TCP4 10.1.1.1 10.2.2.2 1 80\n',
      'udp': b'PROXY UDP4 10.1.1.1 10.2.2.2 1 80\r\n', 'mapped': b'PROXY TCP6 ::ffff:10.1.1.1 ::ffff:10.2.2.2 1 80\r\n', 'any': b'PROXY TCP4 0.0.0.0 10.2.2.2 1 80\r\n'}


def v2(body=b'', command=1, family=0x11, length=None, version=2):
    return SIG + bytes([version << 4 | command, family]) + struct.pack('>H', len(body) if length is None else length) + body


FOUR = socket.inet_aton('10.1.1.1') + socket.inet_aton('10.2.2.2') + struct.pack('>HH', 6666, 80)
SIX = socket.inet_pton(socket.AF_INET6, '2001:db8::1') + socket.inet_pton(socket.AF_INET6, '2001:db8::2') + struct.pack('>HH', 6666, 80)
tlv = lambda k, v, n=None: bytes([k]) + struct.pack('>H', len(v) if n is None else n) + v
V2 = {'four': v2(FOUR), 'six': v2(SIX, family=0x21), 'local': v2(command=0, family=0), 'local_with_addresses': v2(FOUR, command=0), 'tlv': v2(FOUR + tlv(1, b'h2')), 'tlv_beyond_the_end': v2(FOUR + tlv(1, b'h2', 9)),
      'tlv_cut': v2(FOUR + b'\1\0'), 'short': v2(FOUR[:8]), 'udp': v2(FOUR, family=0x12), 'unix': v2(b'\0' * 216, family=0x31), 'version_1': v2(FOUR, version=1), 'command_2': v2(FOUR, command=2), 'noop': v2(FOUR + tlv(4, b'\0' * 20)),
      'large': v2(FOUR + tlv(0xe0, b'x' * 3000)), 'unspec': v2(FOUR, family=0)}


def heads(name, table, log_name='log', **options):
    @case('deep_proxy_' + name, timeout=60)
    async def f(t):
        await t.start(listening(t, [PROXY(**options)], [link(t, 'x', log=LOG)]))
        out = {}
        for k, head in table.items():
            c = await t.conn()
            c.w.write(head + GET)
            try:
                got = await asyncio.wait_for(c.r.read(), 3)
                out[k] = got[:12].decode('latin-1')
            except asyncio.TimeoutError:
                out[k] = 'waits'
            except ConnectionError:
                out[k] = 'reset'
            c.close()
        t.see('answers', out)
        t.see('stats', await t.stats(regex=STATS))
        t.see('log', await t.logs())


heads('v1', V1)
heads('v2', V2)
heads('v1_where_none_is_needed', {k: V1[k] for k in ('four', 'lower', 'two_blanks', 'unknown')} | {'none': b''}, allow_requests_without_proxy_protocol=True)
heads('v2_where_none_is_needed', {k: V2[k] for k in ('four', 'version_1', 'local')} | {'none': b''}, allow_requests_without_proxy_protocol=True)


@case(timeout=30)
async def deep_proxy_in_pieces(t):
    await t.start(listening(t, [PROXY()], [link(t, 'x', log=LOG)]))
    for k, head in {'v1': V1['four'], 'v2': V2['tlv']}.items():
        t.see(k, await said(t, *[bytes([b]) for b in head + GET]))
    t.see('log', await t.logs())


# ---- several filters

asked('http_inspector', [HTTP()], lambda t: [link(t, 'one', {'application_protocols': ['http/1.1']}), link(t, 'old', {'application_protocols': ['http/1.0']}), link(t, 'two', {'application_protocols': ['h2c']}), link(t, 'rest', {})],
      {'one': GET, 'ten': b'GET / HTTP/1.0\r\n\r\n', 'nine': b'GET /\r\n\r\n', 'two': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0', 'odd_method': b'BREW / HTTP/1.1\r\n\r\n', 'options': b'OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n',
       'no_http': b'\x05\x01\x00\r\n\r\n', 'pieces': [b'GE', b'T / HT', GET[8:]], 'lower': b'get / http/1.1\r\n\r\n', 'version_11x': b'GET / HTTP/1.10\r\n\r\n'})
asked('tls_and_http_inspector', [TLS(), HTTP()], lambda t: [link(t, 'http', {'application_protocols': ['http/1.1']}), link(t, 'rest', {})], {'get': GET, 'noise': b'\x05\x01\x00\x01\x02\x03\r\n'})
asked('proxy_then_http_inspector', [PROXY(), HTTP()], lambda t: [link(t, 'http', {'application_protocols': ['http/1.1'], 'source_prefix_ranges': [{'address_prefix': '10.0.0.0', 'prefix_len': 8}]}), link(t, 'rest', {})],
      {'ours': V1['four'] + GET, 'other': b'PROXY TCP4 11.1.1.1 10.2.2.2 6666 80\r\n' + GET, 'pieces': [V1['four'][:10], V1['four'][10:] + GET[:5], GET[5:]]})
asked('original_dst_beside_others', [ORIGINAL(), TLS()], lambda t: [link(t, 'x')], {'get': GET})
asked('two_proxy_heads', [PROXY(), PROXY()], lambda t: [link(t, 'x', {'source_prefix_ranges': [{'address_prefix': '10.7.0.0', 'prefix_len': 16}]}), link(t, 'rest', {})], {'two': V1['four'] + b'PROXY TCP4 10.7.1.1 10.2.2.2 6666 80\r\n' + GET, 'one': V1['four'] + GET})
asked('chains_by_port_of_the_head', [PROXY()], lambda t: [link(t, 'eighty', {'destination_port': 80}), link(t, 'https', {'destination_port': 443}), link(t, 'rest', {})],
      {'eighty': V1['four'] + GET, 'https': b'PROXY TCP4 10.1.1.1 10.2.2.2 6666 443\r\n' + GET, 'other': b'PROXY TCP4 10.1.1.1 10.2.2.2 6666 81\r\n' + GET})
asked('chains_by_destination_of_the_head', [PROXY()], lambda t: [link(t, 'wide', {'prefix_ranges': [{'address_prefix': '10.0.0.0', 'prefix_len': 8}]}), link(t, 'narrow', {'prefix_ranges': [{'address_prefix': '10.2.0.0', 'prefix_len': 16}]}),
                                                                  link(t, 'host', {'prefix_ranges': [{'address_prefix': '10.2.2.3', 'prefix_len': 32}]})],
      {'narrow': V1['four'] + GET, 'host': b'PROXY TCP4 10.1.1.1 10.2.2.3 6666 80\r\n' + GET, 'wide': b'PROXY TCP4 10.1.1.1 10.3.2.3 6666 80\r\n' + GET, 'none': b'PROXY TCP4 10.1.1.1 11.3.2.3 6666 80\r\n' + GET})
asked('chains_by_source_port', [PROXY()], lambda t: [link(t, 'ports', {'source_ports': [6666, 7777]}), link(t, 'rest', {})], {'listed': V1['four'] + GET, 'other': b'PROXY TCP4 10.1.1.1 10.2.2.2 6667 80\r\n' + GET})
asked('default_chain_alone', [], lambda t: [], {'get': GET}, default=lambda t: link(t, 'default'))


def refuses(name, make):
    @case('deep_refused_' + name)
    async def f(t):
        t.see('code', (await t.run_to_end(make(t), args=['--mode', 'validate']))[0])


refuses('no_chains', lambda t: listening(t, [], []))
refuses('inner_wildcard', lambda t: listening(t, [TLS()], [link(t, 'x', {'server_names': ['a.*.example']})]))
refuses('star_alone', lambda t: listening(t, [TLS()], [link(t, 'x', {'server_names': ['*']})]))
refuses('prefix_too_long', lambda t: listening(t, [], [link(t, 'x', {'prefix_ranges': [{'address_prefix': '10.0.0.0', 'prefix_len': 33}]})]))
refuses('same_match_of_two', lambda t: listening(t, [], [link(t, 'x', {'destination_port': 80}), link(t, 'y', {'destination_port': 80})]))
refuses('port_beyond', lambda t: listening(t, [], [link(t, 'x', {'destination_port': 65536})]))
refuses('unknown_filter', lambda t: listening(t, [{'name': 'nope'}], [link(t, 'x')]))
refuses('negative_time', lambda t: listening(t, [], [link(t, 'x')], listener_filters_timeout='-1s'))
refuses('suffix_match', lambda t: listening(t, [], [link(t, 'x', {'address_suffix': '10.0.0.0', 'suffix_len': 8})]))
refuses('backlog_zero', lambda t: listening(t, [], [link(t, 'x')], tcp_backlog_size=0))
refuses('backlog', lambda t: listening(t, [], [link(t, 'x')], tcp_backlog_size=17))
refuses('accepts_zero', lambda t: listening(t, [], [link(t, 'x')], max_connections_to_accept_per_socket_event=0))
