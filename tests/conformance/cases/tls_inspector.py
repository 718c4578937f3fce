"""What the tls_inspector makes of first messages: fingerprints, limits, what it counts, what it closes."""
from harness import *

LF = 'type.googleapis.com/envoy.extensions.filters.listener.'
DR = 'type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config'
LOG = '%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT% %REQUESTED_SERVER_NAME% %DYNAMIC_METADATA(envoy.filters.listener.tls_inspector)%'
# Without `bytes_processed`, which shows once five seconds have passed; `inspector_bytes_processed` looks at that.
STATS = r'^tls_inspector\.(?!bytes_processed)[a-z_]+$|^listener\.l1\..*(downstream_listener_filter|downstream_cx_total)'

v8 = lambda b: bytes([len(b)]) + b
v16 = lambda b: struct.pack('>H', len(b)) + b
u16s = lambda *n: b''.join(struct.pack('>H', x) for x in n)


def ext(kind, body=b''):
    return u16s(kind) + v16(body)


def sni(name):
    return ext(0, v16(b'\0' + v16(name.encode() if isinstance(name, str) else name)))


def alpn(*names):
    return ext(16, v16(b''.join(v8(n) for n in names)))


groups = lambda *n: ext(10, v16(u16s(*n)))
formats = lambda *n: ext(11, v8(bytes(n)))
sigs = lambda *n: ext(13, v16(u16s(*n)))
versions = lambda *n: ext(43, v8(u16s(*n)))
padding = lambda n: ext(21, b'\0' * n)
share = lambda: ext(51, v16(u16s(29) + v16(b'\x09' * 32)))


def hello(*exts, version=0x0303, suites=(0x1301, 0xc02b, 0xc02f), record=0x0301, session=b'', compression=b'\0', none=False, pieces=None):
    """One ClientHello; with `pieces` in records of so many bytes."""
    body = u16s(version) + b'\x07' * 32 + v8(session) + v16(u16s(*suites)) + v8(compression)
    if not none:
        body += v16(b''.join(exts))
    message = b'\x01' + struct.pack('>I', len(body))[1:] + body
    parts = [message[i:i + pieces] for i in range(0, len(message), pieces)] if pieces else [message]
    return b''.join(b'\x16' + u16s(record) + v16(p) for p in parts)


def listening(t, log=LOG, **options):
    answer = {'name': 'd', 'typed_config': {'@type': DR, 'response': {'inline_string': 'ok'}}}
    l = listener(t, [answer])
    l['stat_prefix'] = 'l1'
    l['listener_filters'] = [{'name': 'i', 'typed_config': {'@type': LF + 'tls_inspector.v3.TlsInspector', **options}}]
    l['access_log'] = [filelog(t, log)]
    return config(t, [l], [])


async def said(t, *parts):
    """What the connection answers when these bytes have come, one after another."""
    c = await t.conn()
    for p in parts:
        c.w.write(p)
        await c.w.drain()
    try:
        return (await asyncio.wait_for(c.r.read(), 1)).decode('latin-1')
    except asyncio.TimeoutError:
        return 'waits'
    except ConnectionError:
        return 'reset'
    finally:
        c.close()


def hellos(name, items, both=True, **options):
    """Each hello on a connection of its own: what it is answered, what is logged, what is counted."""
    @case('inspector_' + name, timeout=60)
    async def f(t):
        o = {'enable_ja3_fingerprinting': True, 'enable_ja4_fingerprinting': True, **options} if both else options
        await t.start(listening(t, **o))
        for k, parts in items.items():
            t.see(k, await said(t, *(parts if isinstance(parts, (list, tuple)) else [parts])))
        t.see('stats', await t.stats(regex=STATS))
        t.see('log', await t.logs())


BROWSER = (0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035)
SIGS = sigs(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)
USUAL = [sni('A.example'), ext(23), ext(65281, b'\0'), groups(29, 23, 24), formats(0), ext(35), alpn(b'h2', b'http/1.1'), ext(5, b'\1\0\0\0\0'), SIGS, ext(18), share(), ext(45, b'\1\1'), versions(0x0304, 0x0303)]

hellos('fingerprints', {'browser': hello(*USUAL, suites=BROWSER), 'plain': hello(), 'none': hello(none=True), 'sni': hello(sni('b.example')), 'ip': hello(groups(29), SIGS)})
hellos('fingerprints_without_grease', {
    'browser': hello(ext(0x0a0a), *USUAL[:3], groups(0x1a1a, 29, 23), formats(0, 1, 2), *USUAL[5:-1], versions(0x2a2a, 0x0304, 0x0303), ext(0xfafa, b'\0'), suites=(0x3a3a, *BROWSER)),
    'suites_only': hello(suites=(0x0a0a,)), 'sig': hello(sni('a'), sigs(0x0a0a, 0x0403))})
hellos('fingerprints_of_versions', {
    'v10': hello(version=0x0301), 'v11': hello(version=0x0302), 'v12': hello(version=0x0303), 'ssl3': hello(version=0x0300), 'odd': hello(version=0x0305),
    'listed_10': hello(versions(0x0301)), 'listed_13': hello(versions(0x0304)), 'listed_mixed': hello(versions(0x0302, 0x0304, 0x0303)), 'listed_odd': hello(versions(0x7f1c)),
    'listed_high': hello(versions(0x0305, 0x0304)), 'legacy_high_listed_12': hello(versions(0x0303), version=0x0304)})
hellos('fingerprints_of_alpn', {
    n: hello(alpn(*v)) for n, v in {'h2': [b'h2'], 'one': [b'x'], 'first': [b'http/1.0', b'h2'], 'odd': [b'\xab\xcd'], 'mixed': [b'0\xab'], 'grease': [b'\x0a\x0a', b'h2'], 'dash': [b'-a'], 'upper': [b'HTTP'], 'spdy': [b'spdy/3']}.items()})
hellos('fingerprints_of_many', {
    'suites': hello(suites=tuple(range(0x1301, 0x1301 + 120))), 'extensions': hello(*[ext(2000 + i) for i in range(105)]), 'session': hello(session=b'\5' * 32), 'no_null_compression': hello(compression=b'\1'),
    'sorted': hello(ext(35), ext(23), sni('a'), SIGS, suites=(0xc030, 0x1301, 0x0035))})
hellos('ja3_alone', {'browser': hello(*USUAL, suites=BROWSER)}, both=False, enable_ja3_fingerprinting=True)
hellos('ja4_alone', {'browser': hello(*USUAL, suites=BROWSER)}, both=False, enable_ja4_fingerprinting=True)
hellos('no_fingerprints', {'browser': hello(*USUAL, suites=BROWSER), 'plain': b'GET / HTTP/1.1\r\n\r\n'}, both=False)
hellos('bad_hellos', {
    'plain': b'GET / HTTP/1.1\r\n\r\n', 'other_record': b'\x17\x03\x03\0\5hello', 'alert': b'\x15\x03\1\0\2\2\x28', 'other_message': b'\x16\x03\1\0\x04\2\0\0\0', 'empty_record': b'\x16\x03\1\0\0' + hello(sni('a')),
    'odd_record_version': hello(sni('a'), record=0x0399), 'record_version_2': hello(sni('a'), record=0x0201), 'twice_sni': hello(sni('a'), sni('b')), 'bad_sni': hello(ext(0, b'\0\5\0\0\1')), 'empty_sni': hello(ext(0)),
    'cut_extension': hello(b'\0\0\0\x20\0'), 'odd_suites': b'\x16\x03\1\0\x2d\1\0\0\x29\3\3' + b'\7' * 32 + b'\0\0\3\x13\1\0\1\0\0\0', 'no_suites': hello(sni('a'), suites=()),
    'unknown_suites': hello(sni('a'), suites=(0x9999,)), 'sni_zero_byte': hello(sni(b'a\0b')), 'sni_long': hello(sni('a' * 256)), 'sni_255': hello(sni('a' * 255)), 'sni_space': hello(sni('a b'))})
hellos('closes_on_bad_hellos', {
    'plain': b'GET / HTTP/1.1\r\n\r\n', 'alert': b'\x15\x03\1\0\2\2\x28', 'other_message': b'\x16\x03\1\0\x04\2\0\0\0', 'good': hello(sni('a.example')), 'ssl3': hello(version=0x0300), 'cut_extension': hello(b'\0\0\0\x20\0'), 'empty': b''},
    close_connection_on_client_hello_parsing_errors=True)
hellos('in_pieces', {
    'bytewise': [bytes([b]) for b in hello(sni('a.example'), alpn(b'h2'))], 'records': hello(sni('a.example'), alpn(b'h2'), SIGS, pieces=10), 'records_and_more': [hello(sni('a.example'), pieces=7), b'more'],
    'long': hello(sni('a.example'), padding(8000)), 'longer_than_a_record': hello(sni('a.example'), padding(15000), pieces=16000)})
hellos('limit', {
    'fits': hello(sni('a.example'), padding(500)), 'exact': hello(sni('a.example'), padding(1000 - len(hello(sni('a.example'), padding(0))))), 'one_more': hello(sni('a.example'), padding(1001 - len(hello(sni('a.example'), padding(0))))),
    'far': hello(sni('a.example'), padding(5000)), 'begun': hello(sni('a.example'), padding(5000))[:1000], 'begun_less': hello(sni('a.example'), padding(5000))[:999], 'plain': b'x' * 2000}, max_client_hello_size=1000, initial_read_buffer_size=300)
hellos('limit_16k', {'fits': hello(sni('a.example'), padding(16384 - len(hello(sni('a.example'), padding(0))))), 'one_more': hello(sni('a.example'), padding(16385 - len(hello(sni('a.example'), padding(0)))))})


def options(name, **o):
    @case('inspector_options_' + name)
    async def f(t):
        code, log = await t.run_to_end(listening(t, **o), args=['--mode', 'validate'])
        t.see('code', code)


options('limit_beyond_16k', max_client_hello_size=16385)
options('limit_16k', max_client_hello_size=16384)
options('limit_zero', max_client_hello_size=0)
options('limit_below_buffer', max_client_hello_size=300, initial_read_buffer_size=1000)
options('buffer_255', initial_read_buffer_size=255)
options('buffer_256', initial_read_buffer_size=256)
options('buffer_beyond_64k', initial_read_buffer_size=65537)


@case()
async def server_name_in_logs(t):
    """Names that are no host names are marked."""
    log = '%REQUESTED_SERVER_NAME(HOST_FIRST)% %REQUESTED_SERVER_NAME(HOST_FIRST:HOST)% %REQUESTED_SERVER_NAME(HOST_FIRST:ORIG)% %REQUESTED_SERVER_NAME%'
    routes = '[{match: {prefix: /}, route: {cluster: c1, host_rewrite_literal: "re_written"}}]'
    await t.up('u1', lambda m, n: resp(200, 'x'))
    await t.start(simple(t, routes=routes, log=log))
    for host in ('a.example', 'a_b:80', 'A-b.example:443', '[::1]:80', 'x*'):
        await t.req('/', host=host)
    t.see('log', await t.logs())


@case(timeout=60)
async def inspector_bytes_processed(t):
    """How many bytes it took to tell: those of a record's head, of a whole record, of all of a message's records, or the limit."""
    cfg = listening(t, max_client_hello_size=2000)
    cfg['stats_flush_interval'] = '0.1s'
    await t.start(cfg)
    small = hello(sni('a.example'))
    sums = {}
    for k, data in {'plain': b'GET / HTTP/1.1\r\n\r\n', 'alert': b'\x15\x03\1\0\2\2\x28' + b'x' * 100, 'hello_and_more': small + b'x' * 500, 'records': hello(sni('a.example'), pieces=1), 'too_large': hello(padding(5000))}.items():
        await said(t, data)

        async def merged():
            _, text = await t.admin('/stats/prometheus?filter=bytes_processed')
            return next((l.split()[-1] for l in text.splitlines() if '_count' in l), None) == str(len(sums) + 1) and text
        text = await t.until(merged)
        sums[k] = round(float([l.split()[-1] for l in text.splitlines() if '_sum' in l][0]), 3)
    t.see('sums', sums)


@case()
async def inspector_takes_its_time(t):
    """A client that says nothing, or too little: the time of listener filters ends it, with a line in the listener's log."""
    cfg = listening(t, log='%DYNAMIC_METADATA(envoy.filters.listener.tls_inspector)% %DURATION% %RESPONSE_FLAGS% %BYTES_RECEIVED%'.replace('%DURATION% ', ''))
    cfg['static_resources']['listeners'][0]['listener_filters_timeout'] = '0.2s'
    await t.start(cfg)
    for k, data in {'nothing': b'', 'four_bytes': b'GET ', 'half': hello(sni('a'))[:40]}.items():
        t.see(k, await said(t, data))
    t.see('stats', await t.stats('listener.l1.downstream_pre_cx_timeout', 'tls_inspector.tls_not_found', 'tls_inspector.tls_found'))
    t.see('log', await t.logs())
