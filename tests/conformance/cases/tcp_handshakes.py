"""What the TCP proxy, and filters before it, do around the handshake of a secured listener."""
from harness import *
from harness.tls_config import cert, client_ctx, crt, down, hands

NETWORK = 'type.googleapis.com/envoy.extensions.filters.network.'
LISTENER = 'type.googleapis.com/envoy.extensions.filters.listener.'
LOG = ('%ACCESS_LOG_TYPE% %RESPONSE_FLAGS% r=%BYTES_RECEIVED% s=%BYTES_SENT% n=%UPSTREAM_REQUEST_ATTEMPT_COUNT% lc=%DOWNSTREAM_LOCAL_CLOSE_REASON% '
       '%DOWNSTREAM_TLS_VERSION% %REQUESTED_SERVER_NAME% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%')
STATS = r'^tcp\.tp\.(downstream_cx_(total|no_route)|early_data|idle_timeout|max_)|^cluster\.c1\.upstream_cx_(total|destroy|destroy_local|destroy_remote|connect_fail)$|^listener\.l1\.(downstream_cx_(total|destroy|transport)|ssl\.(handshake|connection_error|fail))'


# Before a handshake Envoy tells of a version all the same.
UNSHAKEN = LOG.replace('%DOWNSTREAM_TLS_VERSION% ', '')


def listening(t, filters, sock=None, lextra=None, lf=None, log=LOG):
    l = listener(t, filters)
    l['stat_prefix'] = 'l1'
    l['access_log'] = [filelog(t, 'listener ' + log.replace('n=%UPSTREAM_REQUEST_ATTEMPT_COUNT% ', ''), 'l.log')]
    l['filter_chains'][0]['transport_socket'] = sock or down()
    if lf:
        l['listener_filters'] = lf
    l.update(lextra or {})
    return l


def proxy(t, **kw):
    return {'name': 'tp', 'typed_config': {'@type': NETWORK + 'tcp_proxy.v3.TcpProxy', 'stat_prefix': 'tp', 'cluster': 'c1', 'access_log': [filelog(t, LOG)], **kw}}


def filter_(kind, **kw):
    return {'name': kind, 'typed_config': {'@type': NETWORK + kind, **kw}}


async def echo(c):
    """Says hi, then sends back what comes."""
    c.send(b'hi ')
    await c.drain()
    while await c.fill():
        c.send(c.buf)
        c.buf = b''
        await c.drain()


async def silent(c):
    while await c.fill():
        c.send(c.buf)
        c.buf = b''
        await c.drain()


async def some(c, n, wait=3):
    try:
        return (await asyncio.wait_for(c.exactly(n), wait)).decode()
    except Exception as e:
        return type(e).__name__


async def raw(t, data, wait=3):
    """What comes of a connection whose client says this in clear text, whatever it is answered."""
    c = await t.conn()
    c.send(data)
    await c.drain()
    try:
        got = await asyncio.wait_for(c.r.read(), wait)
        out = [got[:3].hex(), 'closed']
    except asyncio.TimeoutError:
        out = 'waits'
    except ConnectionError:
        out = 'reset'
    c.close()
    return out


async def tell(t, *names):
    await t.stat_until('listener.l1.downstream_cx_active', lambda v: v == 0)
    t.see('stats', await t.stats(regex=STATS))
    t.see('log', await t.logs())
    t.see('listener_log', await t.logs('l.log'))


def immediate(name, client, greets=True, sock=down, filters=(), **kw):
    """A client that `client` plays against a proxy that connects at once."""
    @case('handshake_' + name)
    async def f(t):
        u = await t.up('u1', conn=echo if greets else silent)
        await t.start(config(t, [listening(t, [*filters, proxy(t, **kw)], sock())], [cluster('c1', u)]))
        await client(t, u)
        await tell(t)


async def speaks(t, u):
    c = await t.conn(ssl=client_ctx(verify=False), sni='a.example')
    t.see('greeting', await some(c, 3))
    c.send('hello')
    t.see('answer', await some(c, 5))
    c.close()


async def says_no_tls(t, u):
    t.see('raw', await raw(t, b'GET / HTTP/1.1\r\n\r\n'))
    t.see('conns', u.conns)


async def goes(t, u):
    c = await t.conn()
    await t.until(lambda: u.conns)
    c.close()


async def goes_within(t, u):
    c = await t.conn()
    c.send(b'\x16\x03\x01\x02\x00\x01\x00')
    await t.until(lambda: u.conns)
    c.close()


async def distrusts(t, u):
    t.see('err', (await hands(t, client_ctx(ca='otherca'), send=b'')).err)


async def shows_nothing(t, u):
    h = await hands(t, client_ctx(max12=True), send=b'')
    t.see('err', h.err)


def asking():
    return down({'tls_certificates': [cert('a')], 'validation_context': {'trusted_ca': crt('ca')}}, require_client_certificate=True)


immediate('of_the_usual_client', speaks)
immediate('in_clear_text', says_no_tls, greets=False)
immediate('that_never_begins', goes)
immediate('that_is_cut', goes_within)
immediate('that_the_client_ends', distrusts, greets=False)
immediate('without_the_certificate', shows_nothing, greets=False, sock=asking)
DATA = {'upstream_connect_mode': 'ON_DOWNSTREAM_DATA', 'max_early_data_bytes': 100}
SHAKEN = {'upstream_connect_mode': 'ON_DOWNSTREAM_TLS_HANDSHAKE', 'max_early_data_bytes': 100}


async def speaks_first(t, u):
    c = await t.conn(ssl=client_ctx(verify=False), sni='a.example')
    t.see('before', u.conns)
    c.send('hello')
    t.see('answer', await some(c, 8))
    c.close()


immediate('and_data_then_connect', speaks_first, **DATA)
immediate('data_in_clear_text', says_no_tls, **DATA)
immediate('data_without_the_certificate', shows_nothing, sock=asking, **DATA)
immediate('then_connect', speaks, **SHAKEN)
immediate('then_connect_in_clear_text', says_no_tls, **SHAKEN)
immediate('then_connect_without_the_certificate', shows_nothing, sock=asking, **SHAKEN)
immediate('with_early_bytes', speaks, max_early_data_bytes=100)
immediate('with_early_bytes_in_clear_text', says_no_tls, greets=False, max_early_data_bytes=100)


@case()
async def handshake_and_no_host(t):
    """The connection is closed whether its handshake has begun or not."""
    u = t.dead()
    await t.start(config(t, [listening(t, [proxy(t)])], [cluster('c1', u)]))
    await hands(t, client_ctx(), send=b'')
    await t.stat_until('listener.l1.downstream_cx_active', lambda v: v == 0)
    t.see('stats', await t.stats('cluster.c1.upstream_cx_connect_fail', 'tcp.tp.downstream_cx_total'))


@case()
async def handshake_and_no_cluster(t):
    await t.start(config(t, [listening(t, [proxy(t, cluster='none', access_log=[filelog(t, UNSHAKEN)])], log=UNSHAKEN)], []))
    t.see('err', (await hands(t, client_ctx(), send=b'')).err is not None)
    await tell(t)


@case()
async def handshake_takes_too_long(t):
    """transport_socket_connect_timeout while the host is there already."""
    u = await t.up('u1', conn=silent)
    l = listening(t, [proxy(t)])
    l['filter_chains'][0]['transport_socket_connect_timeout'] = '0.3s'
    await t.start(config(t, [l], [cluster('c1', u)]))
    c = await t.conn()
    t.see('state', await c.state(2))
    t.see('conns', u.conns)
    await tell(t)


@case()
async def handshake_and_much_before_it(t):
    """What the host says before the client's handshake arrives behind it, in order."""
    async def floods(c):
        c.send(b'x' * 300000 + b'end')
        await c.drain()
        await silent(c)
    u = await t.up('u1', conn=floods)
    await t.start(config(t, [listening(t, [proxy(t)])], [cluster('c1', u)]))
    ctx = client_ctx(verify=False)
    c = await t.conn()
    await t.until(lambda: u.conns)
    await c.w.start_tls(ctx, server_hostname='a.example')
    got = await some(c, 300003)
    t.see('got', [len(got), got[-3:]])
    c.close()
    await t.logs()


# ---- filters before it

@case()
async def handshake_after_a_limit_of_connections(t):
    """connection_limit closes before there is a handshake."""
    u = await t.up('u1', conn=echo)
    f = filter_('connection_limit.v3.ConnectionLimit', stat_prefix='cl', max_connections=1)
    await t.start(config(t, [listening(t, [f, proxy(t, access_log=[filelog(t, UNSHAKEN)])], log=UNSHAKEN)], [cluster('c1', u)]))
    c = await t.conn(ssl=client_ctx(verify=False), sni='a.example')
    t.see('greeting', await some(c, 3))
    t.see('second', (await hands(t, client_ctx(), send=b'')).err is not None)
    t.see('counts', await t.stats('connection_limit.cl.limited_connections', 'listener.l1.ssl.handshake', 'listener.l1.ssl.connection_error'))
    c.close()
    await tell(t)


def before_http(name, filters, client, stats=r'^http\.in\.downstream_cx_(total|destroy|ssl|http1|active|protocol)|^listener\.l1\.(downstream_cx_(total|destroy)|ssl\.(handshake|connection_error|fail))', sock=down):
    """The same in front of HTTP."""
    @case('handshake_http_' + name)
    async def f(t):
        u = await t.up('u1', lambda m, n: resp(200, 'x'))
        log = '%RESPONSE_CODE% %FILTER_STATE(a:PLAIN)% %FILTER_STATE(b:PLAIN)% %DOWNSTREAM_TLS_VERSION%'
        await t.start(config(t, [listening(t, [*filters, hcm(t, log=log)], sock())], [cluster('c1', u)]))
        await client(t)
        await t.stat_until('listener.l1.downstream_cx_active', lambda v: v == 0)
        t.see('stats', await t.stats(regex=stats))
        t.see('log', await t.logs())


async def asks(t):
    t.see('status', (await t.req('/', ssl=client_ctx(verify=False), sni='a.example')).status)


async def asks_in_clear_text(t):
    t.see('raw', await raw(t, b'GET / HTTP/1.1\r\nHost: a\r\n\r\n'))


async def asks_without_certificate(t):
    t.see('err', (await hands(t, client_ctx(max12=True), send=b'')).err)


def state(key, fmt):
    return {'object_key': key, 'factory_key': 'envoy.string', 'format_string': {'text_format_source': {'inline_string': fmt}}}


LIMIT = filter_('local_ratelimit.v3.LocalRateLimit', stat_prefix='rl', token_bucket={'max_tokens': 1, 'fill_interval': '3600s'})
RBAC = lambda action: filter_('rbac.v3.RBAC', stat_prefix='rb', rules={'action': action, 'policies': {'p': {'permissions': [{'any': True}], 'principals': [{'any': True}]}}})
SETS = filter_('set_filter_state.v3.Config', on_new_connection=[state('a', 'new')], on_downstream_tls_handshake=[state('b', 'shaken %DOWNSTREAM_TLS_VERSION% %FILTER_STATE(a:PLAIN)%')])
before_http('usual', [], asks)
before_http('in_clear_text', [], asks_in_clear_text)
before_http('without_the_certificate', [], asks_without_certificate, sock=asking)
before_http('rbac_allows', [RBAC('ALLOW')], asks)
before_http('rbac_denies', [RBAC('DENY')], asks)
before_http('rbac_in_clear_text', [RBAC('DENY')], asks_in_clear_text)
before_http('states', [SETS], asks)
before_http('states_in_clear_text', [SETS], asks_in_clear_text)


async def asks_twice(t):
    t.see('first', (await t.req('/', ssl=client_ctx(verify=False), sni='a.example')).status)
    await t.stat_until('listener.l1.downstream_cx_active', lambda v: v == 0)
    t.see('second', (await hands(t, client_ctx(), send=b'')).err is not None)


before_http('rate_limit', [LIMIT], asks_twice)
