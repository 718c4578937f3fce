"""Network filters in front of, or in place of, the proxy: limits, roles, state, answers."""
from harness import *

PRE = 'type.googleapis.com/envoy.extensions.filters.network.'
LOG = '%RESPONSE_FLAGS% lc=%DOWNSTREAM_LOCAL_CLOSE_REASON% td=%CONNECTION_TERMINATION_DETAILS% r=%BYTES_RECEIVED% s=%BYTES_SENT%'


def nf(kind, **kw):
    name = kind.split('.')[0]
    return {'name': 'envoy.filters.network.' + name, 'typed_config': {'@type': PRE + kind, **kw}}


def tcp(t, log=None, **kw):
    kw = {'cluster': 'c1', **kw}
    return nf('tcp_proxy.v3.TcpProxy', stat_prefix='tp', **({'access_log': [filelog(t, log)]} if log else {}), **kw)


async def echo(c):
    while await c.fill():
        c.send(c.buf)
        c.buf = b''
        await c.drain()


async def start(t, filters, clusters=None, log=LOG, lextra=None, **kw):
    if clusters is None:
        clusters = [cluster('c1', await t.up('u1', conn=echo))]
    lextra = merge({'access_log': [filelog(t, log, 'l.log')]}, Y(lextra) or {})
    await t.start(config(t, [listener(t, filters, extra=lextra)], clusters, **kw))


async def speak(t, data=b'hello', src=None):
    """What becomes of a client that says something."""
    c = await t.conn(src=src)
    c.send(data)
    try:
        got = (await asyncio.wait_for(c.exactly(len(data)), 1)).decode()
    except (Closed, asyncio.TimeoutError) as e:
        got = type(e).__name__ + ' ' + c.buf.decode()
    except ConnectionError:
        got = 'reset'
    return c, got


# ---- answers of their own
@case()
async def direct_response(t):
    await start(t, [nf('direct_response.v3.Config', response={'inline_string': 'hello there'})])
    c = await t.conn()
    t.see('state', [await c.state(2), c.buf.decode()])
    t.see('log', await t.logs('l.log'))


@case()
async def direct_response_empty(t):
    await start(t, [nf('direct_response.v3.Config')])
    c = await t.conn()
    t.see('state', [await c.state(2), c.buf.decode()])
    t.see('log', await t.logs('l.log'))


@case()
async def direct_response_client_speaks_first(t):
    await start(t, [nf('direct_response.v3.Config', response={'inline_string': 'x' * 100000})])
    c = await t.conn()
    c.send(b'hello')
    t.see('state', await c.state(2))
    t.see('length', len(c.buf))


@case()
async def echo_filter(t):
    await start(t, [nf('echo.v3.Echo')])
    c, got = await speak(t)
    t.see('got', got)
    c.send(b'more')
    t.see('more', (await c.exactly(4)).decode())
    c.shut_wr()
    t.see('state', [await c.state(2), c.buf.decode()])
    t.see('log', await t.logs('l.log'))


# ---- order
@case()
async def last_must_be_terminal(t):
    for name, fs in (('only_gate', [nf('connection_limit.v3.ConnectionLimit', stat_prefix='x', max_connections=1)]), ('terminal_first', [nf('echo.v3.Echo'), tcp(t)]), ('two_terminals', [tcp(t), tcp(t)])):
        code, out = await t.run_to_end(config(t, [listener(t, fs, name='l_' + name)], [cluster('c1', t.dead('d_' + name))]))
        t.see(name, [code, 'terminal filter' in out])


# ---- connection_limit
CL = ['connection_limit.cl.active_connections', 'connection_limit.cl.limited_connections']


@case()
async def connection_limit(t):
    await start(t, [nf('connection_limit.v3.ConnectionLimit', stat_prefix='cl', max_connections=2), tcp(t)])
    a, ga = await speak(t)
    b, gb = await speak(t)
    c, gc = await speak(t)
    t.see('got', [ga, gb, gc])
    t.see('stats', await t.stats(*CL))
    a.close()
    await t.stat_until(CL[0], lambda v: v == 1)
    d, gd = await speak(t)
    t.see('again', gd)
    t.see('stats2', await t.stats(*CL))
    t.see('log', await t.logs('l.log'))


@case()
async def connection_limit_delay(t):
    await start(t, [nf('connection_limit.v3.ConnectionLimit', stat_prefix='cl', max_connections=1, delay='0.3s'), tcp(t)])
    a, _ = await speak(t)
    b = await t.conn()
    b.send(b'hello')
    t.see('meanwhile', await b.state(0.1))
    t.see('then', await b.state(1))
    t.see('stats', await t.stats(*CL))


@case()
async def connection_limit_off_by_runtime(t):
    await start(t, [nf('connection_limit.v3.ConnectionLimit', stat_prefix='cl', max_connections=1, runtime_enabled={'default_value': True, 'runtime_key': 'k'}), tcp(t)],
                extra={'layered_runtime': {'layers': [{'name': 's', 'static_layer': {'k': False}}]}})
    t.see('got', [(await speak(t))[1] for _ in range(3)])
    t.see('stats', await t.stats(*CL))


@case()
async def connection_limit_before_http(t):
    await t.up('u1')
    await t.start(config(t, [listener(t, [nf('connection_limit.v3.ConnectionLimit', stat_prefix='cl', max_connections=1), hcm(t)])], [cluster('c1', t.ups)]))
    c = await t.conn()
    t.see('first', (await t.req('/', conn=c)).status)
    r = await t.req('/')
    t.see('second', [r.status, r.err])
    t.see('again', (await t.req('/', conn=c)).status)
    t.see('stats', await t.stats(*CL))


# ---- local_ratelimit
@case()
async def local_ratelimit(t):
    await start(t, [nf('local_ratelimit.v3.LocalRateLimit', stat_prefix='rl', token_bucket={'max_tokens': 2, 'tokens_per_fill': 1, 'fill_interval': '60s'}), tcp(t)])
    t.see('got', [(await speak(t))[1] for _ in range(4)])
    t.see('stats', await t.stats('local_rate_limit.rl.rate_limited'))
    t.see('log', sorted(await t.logs('l.log')))


@case()
async def local_ratelimit_refills(t):
    await start(t, [nf('local_ratelimit.v3.LocalRateLimit', stat_prefix='rl', token_bucket={'max_tokens': 1, 'fill_interval': '0.3s'}), tcp(t)])
    a = [(await speak(t))[1] for _ in range(2)]
    await asyncio.sleep(0.4)
    t.see('got', a + [(await speak(t))[1] for _ in range(2)])


@case()
async def local_ratelimit_off_by_runtime(t):
    await start(t, [nf('local_ratelimit.v3.LocalRateLimit', stat_prefix='rl', token_bucket={'max_tokens': 1, 'fill_interval': '60s'}, runtime_enabled={'default_value': False, 'runtime_key': 'k'}), tcp(t)])
    t.see('got', [(await speak(t))[1] for _ in range(3)])
    t.see('stats', await t.stats('local_rate_limit.rl.rate_limited'))


@case()
async def local_ratelimit_too_quick(t):
    code, out = await t.run_to_end(config(t, [listener(t, [nf('local_ratelimit.v3.LocalRateLimit', stat_prefix='rl', token_bucket={'max_tokens': 1, 'fill_interval': '0.01s'}), tcp(t)])], [cluster('c1', t.dead())]))
    t.see('code', [code, 'fill timer must be >= 50ms' in out])


@case()
async def local_ratelimit_share_key(t):
    rl = dict(token_bucket={'max_tokens': 1, 'fill_interval': '60s'}, share_key='k')
    u = await t.up('u1', conn=echo)
    await t.start(config(t, [listener(t, [nf('local_ratelimit.v3.LocalRateLimit', stat_prefix='a', **rl), tcp(t)]), listener(t, [nf('local_ratelimit.v3.LocalRateLimit', stat_prefix='b', **rl), tcp(t)], name='l2')], [cluster('c1', u)]))
    got = []
    for port in (t.l1, t.l2):
        c = await t.conn(port)
        c.send(b'hello')
        got.append(await c.state(0.5))
    t.see('got', got)
    t.see('stats', await t.stats('local_rate_limit.a.rate_limited', 'local_rate_limit.b.rate_limited'))


# ---- set_filter_state, sni_cluster
def state(key, text, **kw):
    return {'object_key': key, 'format_string': {'text_format_source': {'inline_string': text}}, **kw}


@case()
async def set_filter_state_names_the_cluster(t):
    a = await t.up('ua', conn=echo)
    await start(t, [nf('set_filter_state.v3.Config', on_new_connection=[state('envoy.tcp_proxy.cluster', 'c%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%')]), tcp(t, '%UPSTREAM_CLUSTER% %FILTER_STATE(envoy.tcp_proxy.cluster:PLAIN)%', cluster='other')], [cluster('c127.0.0.1', a), cluster('other', t.dead())])
    c, got = await speak(t)
    t.see('got', got)
    c.close()
    t.see('log', await t.logs())


@case()
async def set_filter_state_in_logs(t):
    await start(t, [nf('set_filter_state.v3.Config', on_new_connection=[state('my.key', 'peer %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', factory_key='envoy.string'), state('my.empty', '%REQUESTED_SERVER_NAME%', factory_key='envoy.string'),
                                                                        state('my.skipped', '%FILTER_CHAIN_NAME%', factory_key='envoy.string', skip_if_empty=True)]),
                    tcp(t, '%FILTER_STATE(my.key)% %FILTER_STATE(my.key:PLAIN)% %FILTER_STATE(my.empty)% %FILTER_STATE(my.skipped)% %FILTER_STATE(none)%')])
    c, _ = await speak(t)
    c.close()
    t.see('log', await t.logs())


@case()
async def set_filter_state_in_http_logs(t):
    await t.up('u1')
    await t.start(config(t, [listener(t, [nf('set_filter_state.v3.Config', on_new_connection=[state('my.key', 'v', factory_key='envoy.string')]), hcm(t, log='%FILTER_STATE(my.key:PLAIN)%')])], [cluster('c1', t.ups)]))
    c = await t.conn()
    await t.req('/', conn=c)
    await t.req('/', conn=c)
    t.see('log', await t.logs())


@case()
async def set_filter_state_idle_timeout(t):
    await start(t, [nf('set_filter_state.v3.Config', on_new_connection=[state('envoy.tcp_proxy.per_connection_idle_timeout_ms', '200')]), tcp(t)])
    c, got = await speak(t)
    t.see('then', await c.state(2))
    t.see('stats', await t.stats('tcp.tp.idle_timeout'))


@case()
async def set_filter_state_unknown_factory(t):
    code, out = await t.run_to_end(config(t, [listener(t, [nf('set_filter_state.v3.Config', on_new_connection=[state('no.such', 'x')]), tcp(t)])], [cluster('c1', t.dead())]))
    t.see('code', [code, "'no.such' does not have an object factory" in out])


@case()
async def set_filter_state_hash(t):
    async def conn(c):
        c.send(c.up.name.encode())
    ups = [await t.up('u%d' % i, conn=conn) for i in range(4)]
    await start(t, [nf('set_filter_state.v3.Config', on_new_connection=[state('k', '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', factory_key='envoy.hashable_string')]), tcp(t, hash_policy=[{'filter_state': {'key': 'k'}}])],
                [cluster('c1', ups, {'lb_policy': 'MAGLEV'})])
    seen = {}
    for n in range(2, 10):
        for _ in range(2):
            c = await t.conn(src='127.0.0.%d' % n)
            await c.state(2)
            seen.setdefault(n, set()).add(c.buf)
            c.close()
    t.see('same', [len(s) for s in seen.values()])
    t.see('spread', len(set.union(*seen.values())) > 1)


@case()
async def sni_cluster(t):
    a = await t.up('ua', conn=echo)
    await start(t, [nf('sni_cluster.v3.SniCluster'), tcp(t, '%UPSTREAM_CLUSTER% %REQUESTED_SERVER_NAME%')], [cluster('a.example', a), cluster('c1', a)],
                lextra={'listener_filters': [{'name': 'tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector'}}]})
    # A hello of a client that asks for a.example, read from the library; nobody has to answer it.
    ctx = ssl.create_default_context()
    out = ssl.MemoryBIO()
    obj = ctx.wrap_bio(ssl.MemoryBIO(), out, server_hostname='a.example')
    try:
        obj.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = out.read()
    c = await t.conn()
    c.send(hello)
    t.see('sni', (await c.exactly(len(hello))) == hello)
    c.close()
    c, got = await speak(t, b'not tls at all')
    t.see('plain', got)
    c.close()
    t.see('log', await t.logs())


# ---- rbac
def rbac(rules, **kw):
    return nf('rbac.v3.RBAC', stat_prefix='tcp.', rules=Y(rules), **kw)


RB = ['tcp.rbac.' + n for n in ('allowed', 'denied', 'shadow_allowed', 'shadow_denied')]
ANY = '{permissions: [{any: true}], principals: [{any: true}]}'
for name, rules, sources in (
        ('allow_remote_ip', '{action: ALLOW, policies: {p: {permissions: [{any: true}], principals: [{remote_ip: {address_prefix: 127.0.0.2, prefix_len: 32}}]}}}', (2, 3)),
        ('deny_direct_remote_ip', '{action: DENY, policies: {p: {permissions: [{any: true}], principals: [{direct_remote_ip: {address_prefix: 127.0.0.2, prefix_len: 32}}]}}}', (2, 3)),
        ('source_ip', '{action: ALLOW, policies: {p: {permissions: [{any: true}], principals: [{source_ip: {address_prefix: 127.0.0.0, prefix_len: 31}}, {source_ip: {address_prefix: 127.0.0.4, prefix_len: 32}}]}}}', (1, 2, 4)),
        ('no_policies_allow', '{action: ALLOW}', (1,)),
        ('no_policies_deny', '{action: DENY}', (1,)),
        ('log_action', '{action: LOG, policies: {p: %s}}' % ANY, (1,)),
        ('principals_and_or_not', '{action: ALLOW, policies: {p: {permissions: [{any: true}], principals: [{and_ids: {ids: [{not_id: {remote_ip: {address_prefix: 127.0.0.3, prefix_len: 32}}}, {or_ids: {ids: [{remote_ip: {address_prefix: 127.0.0.2, prefix_len: 31}}]}}]}}]}}}', (2, 3, 4)),
        ('destination_ip', '{action: ALLOW, policies: {p: {permissions: [{destination_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}], principals: [{any: true}]}, q: {permissions: [{destination_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}], principals: [{any: true}]}}}', (1,)),
        ('destination_port_not', '{action: ALLOW, policies: {p: {permissions: [{destination_port: 1}], principals: [{any: true}]}}}', (1,)),
        ('destination_port_range', '{action: ALLOW, policies: {p: {permissions: [{destination_port_range: {start: 1024, end: 65536}}], principals: [{any: true}]}}}', (1,)),
        ('destination_port_range_end_is_not_in_it', '{action: ALLOW, policies: {p: {permissions: [{not_rule: {destination_port_range: {start: 1, end: 1024}}}], principals: [{any: true}]}}}', (1,)),
        ('requested_server_name', '{action: ALLOW, policies: {p: {permissions: [{requested_server_name: {exact: ""}}], principals: [{any: true}]}}}', (1,)),
        ('permissions_and_or_not', '{action: ALLOW, policies: {p: {permissions: [{and_rules: {rules: [{not_rule: {destination_port: 1}}, {or_rules: {rules: [{destination_port: 2}, {any: true}]}}]}}], principals: [{any: true}]}}}', (1,)),
        ('authenticated', '{action: ALLOW, policies: {p: {permissions: [{any: true}], principals: [{authenticated: {}}]}}}', (1,))):
    @case('rbac_' + name)
    async def _(t, rules=rules, sources=sources):
        await start(t, [rbac(rules), tcp(t)])
        for n in sources:
            c, got = await speak(t, src='127.0.0.%d' % n)
            t.see('from %d' % n, got)
            c.close()
        t.see('stats', await t.stats(*RB))
        t.see('log', await t.logs('l.log'))


@case()
async def rbac_refuses_what_requests_have(t):
    for name, what in (('header', '{header: {name: x, present_match: true}}'),):
        code, _ = await t.run_to_end(config(t, [listener(t, [rbac('{policies: {p: {permissions: [%s], principals: [{any: true}]}}}' % what), tcp(t)], name='l_' + name)], [cluster('c1', t.dead('d_' + name))]))
        t.see(name, code)


@case()
async def rbac_shadow_rules(t):
    await start(t, [rbac('{action: ALLOW, policies: {p: %s}}' % ANY, shadow_rules=Y('{action: DENY, policies: {s: %s}}' % ANY)), tcp(t)])
    c, got = await speak(t)
    t.see('got', got)
    c.close()
    t.see('stats', await t.stats(*RB))


@case()
async def rbac_shadow_prefix(t):
    await start(t, [nf('rbac.v3.RBAC', stat_prefix='tcp.', shadow_rules_stat_prefix='sh_', shadow_rules=Y('{action: ALLOW, policies: {s: %s}}' % ANY)), tcp(t)])
    c, got = await speak(t)
    t.see('got', got)
    c.close()
    t.see('stats', await t.stats('tcp.rbac.allowed', 'tcp.rbac.sh_.shadow_allowed', 'tcp.rbac.sh_shadow_allowed', 'tcp.rbac.shadow_allowed'))


@case()
async def rbac_continuous(t):
    await start(t, [rbac('{action: ALLOW, policies: {p: %s}}' % ANY, enforcement_type='CONTINUOUS'), tcp(t)])
    c, got = await speak(t)
    c.send(b'again')
    await c.exactly(5)
    t.see('stats', await t.stats(*RB))


@case()
async def rbac_once(t):
    await start(t, [rbac('{action: ALLOW, policies: {p: %s}}' % ANY), tcp(t)])
    c, got = await speak(t)
    c.send(b'again')
    await c.exactly(5)
    t.see('stats', await t.stats(*RB))


@case()
async def rbac_without_a_word(t):
    """A client that says nothing is not asked."""
    await start(t, [rbac('{action: ALLOW}'), tcp(t)])
    c = await t.conn()
    t.see('state', await c.state(0.2))
    t.see('stats', await t.stats(*RB))


@case()
async def rbac_delay_deny(t):
    await start(t, [rbac('{action: ALLOW}', delay_deny='0.3s'), tcp(t)])
    c = await t.conn()
    c.send(b'hello')
    t.see('meanwhile', await c.state(0.1))
    t.see('then', await c.state(1))
    t.see('stats', await t.stats(*RB))


@case()
async def rbac_before_http(t):
    await t.up('u1')
    await t.start(config(t, [listener(t, [rbac('{action: ALLOW, policies: {p: {permissions: [{any: true}], principals: [{remote_ip: {address_prefix: 127.0.0.2, prefix_len: 32}}]}}}'), hcm(t, log='%RESPONSE_CODE% %RESPONSE_FLAGS%')])], [cluster('c1', t.ups)]))
    for n in (2, 3):
        r = await t.req('/', src='127.0.0.%d' % n)
        t.see('from %d' % n, [r.status, r.err])
    t.see('stats', await t.stats(*RB))
    t.see('log', await t.logs())
