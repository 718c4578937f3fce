"""TLS beyond the first handshake: secrets, tickets, what is asked of peers, what is shown of it."""
import ssl as pyssl

from harness import *
from harness.tls_config import *


def secret_file(t, name, resources):
    rs = [{'@type': SECRET, **r} for r in resources]
    import json
    tmp = t.write(name + '.tmp', json.dumps({'resources': rs}))
    os.rename(tmp, t.path(name))
    return t.path(name)


# ---- secrets

@case()
async def secret_static_certificate(t):
    c = {'tls_certificate_sds_secret_configs': [sds('one')]}
    await t.start(cfg(t, [chain(t, down(c))], secrets=[{'name': 'one', 'tls_certificate': cert('a')}]))
    h = await hands(t, client_ctx())
    t.see('r', [h.cn, h.err])
    t.see('stats', await t.stats(regex=r'^(sds|.*ssl_context_update|.*secrets_not_ready|.*sds)'))


@case()
async def secret_static_validation(t):
    c = {'tls_certificate_sds_secret_configs': [sds('one')], 'validation_context_sds_secret_config': sds('ca')}
    s = [{'name': 'ca', 'validation_context': {'trusted_ca': crt('ca')}}, {'name': 'one', 'tls_certificate': inline('a')}]
    await t.start(cfg(t, [chain(t, down(c, require_client_certificate=True))], secrets=s))
    t.see('with', (await t.req('/', ssl=client_ctx(cert_name='client'), sni='a.example')).status)
    t.see('without', (await t.req('/', ssl=client_ctx(), sni='a.example')).status)
    t.see('rogue', (await t.req('/', ssl=client_ctx(cert_name='rogue'), sni='a.example')).status)


@case()
async def secret_combined_validation(t):
    c = {'tls_certificates': [cert('a')], 'combined_validation_context': {
        'default_validation_context': Y('{match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: client.example}}]}'),
        'validation_context_sds_secret_config': sds('ca')}}
    make('other', '/CN=other', 'DNS:other.example')
    s = [{'name': 'ca', 'validation_context': {'trusted_ca': crt('ca')}}]
    await t.start(cfg(t, [chain(t, down(c, require_client_certificate=True))], secrets=s))
    t.see('client', (await t.req('/', ssl=client_ctx(cert_name='client'), sni='a.example')).status)
    t.see('other', (await t.req('/', ssl=client_ctx(cert_name='other'), sni='a.example')).status)
    t.see('stats', await t.stats('listener.l1.ssl.fail_verify_san', 'listener.l1.ssl.fail_verify_error'))


@case()
async def secret_combined_merges_lists(t):
    """Repeated fields of both are kept, and the secret's scalars win."""
    c = {'tls_certificates': [cert('a')], 'combined_validation_context': {
        'default_validation_context': {'trusted_ca': crt('otherca'), **Y('{match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: client.example}}]}')},
        'validation_context_sds_secret_config': sds('ca')}}
    make('other', '/CN=other', 'DNS:other.example')
    s = [{'name': 'ca', 'validation_context': {'trusted_ca': crt('ca'), **Y('{match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: other.example}}]}')}}]
    await t.start(cfg(t, [chain(t, down(c, require_client_certificate=True))], secrets=s))
    for n in ('client', 'other', 'rogue'):
        t.see(n, (await t.req('/', ssl=client_ctx(cert_name=n), sni='a.example')).status)


@case()
async def secret_upstream(t):
    u = await t.up('u1', tls=server_ctx(ca='ca'))
    c = {'tls_certificate_sds_secret_configs': [sds('mine')], 'validation_context_sds_secret_config': sds('ca')}
    s = [{'name': 'ca', 'validation_context': {'trusted_ca': crt('ca')}}, {'name': 'mine', 'tls_certificate': cert('client')}]
    x = cfg(t, [chain(t, tag=None, log='%RESPONSE_CODE% %UPSTREAM_PEER_SUBJECT%')], [cluster('c1', u, up(c, sni='up.example'))], secrets=s)
    await t.start(x)
    t.see('r', (await t.req('/')).status)
    t.see('log', await t.logs())


def refused(name, common=None, secrets=None, upstream=None, **kw):
    @case('refused_' + name)
    async def _(t):
        u = t.dead()
        cl = [cluster('c1', u, upstream(t) if callable(upstream) else upstream)] if upstream else []
        x = cfg(t, [chain(t, down(common(t) if callable(common) else common, **(kw.get('kw') or {})) if common is not None or kw else None)], cl, secrets=secrets)
        code, _ = await t.run_to_end(x, args=['--mode', 'validate'])
        t.see('exit', code)


refused('unknown_static_secret', {'tls_certificate_sds_secret_configs': [{'name': 'nope'}]})
refused('secret_of_another_kind', {'tls_certificate_sds_secret_configs': [{'name': 'ca'}]}, [{'name': 'ca', 'validation_context': {}}])


@case('refused_duplicate_secret')
async def _(t):
    x = cfg(t, [chain(t, down({'tls_certificate_sds_secret_configs': [sds('one')]}))], secrets=[{'name': 'one', 'tls_certificate': cert('a')}] * 2)
    t.see('exit', (await t.run_to_end(x, args=['--mode', 'validate']))[0])


@case('refused_inline_and_secret')
async def _(t):
    x = cfg(t, [chain(t, down({'tls_certificates': [cert('a')], 'tls_certificate_sds_secret_configs': [sds('one')]}))], secrets=[{'name': 'one', 'tls_certificate': cert('b')}])
    t.see('exit', (await t.run_to_end(x, args=['--mode', 'validate']))[0])


@case()
async def secret_several_certificates(t):
    c = {'tls_certificate_sds_secret_configs': [sds('one'), sds('two')]}
    await t.start(cfg(t, [chain(t, down(c))], secrets=[{'name': 'one', 'tls_certificate': cert('a')}, {'name': 'two', 'tls_certificate': cert('b')}]))
    t.see('by', {n: (await hands(t, client_ctx(), n)).cn for n in ('a.example', 'b.example', 'x.b.example')})


@case()
async def secret_from_file(t):
    p = secret_file(t, 'sds.json', [{'name': 'one', 'tls_certificate': cert('a')}])
    c = {'tls_certificate_sds_secret_configs': [sds('one', p)]}
    await t.start(cfg(t, [chain(t, down(c))]))
    h = await hands(t, client_ctx())
    t.see('r', [h.cn, h.err])
    t.see('stats', await t.stats(regex=r'^(sds.*(attempt|success|failure|rejected)|.*ssl_context_update|.*secrets_not_ready)'))


@case()
async def secret_file_is_replaced(t):
    """A connection that stands goes on; a new one gets the new certificate."""
    p = secret_file(t, 'sds.json', [{'name': 'one', 'tls_certificate': cert('a')}])
    c = {'tls_certificate_sds_secret_configs': [sds('one', p)]}
    await t.start(cfg(t, [chain(t, down(c))]))
    old = await t.conn(ssl=client_ctx(verify=False), sni='a.example')
    t.see('first', (await t.req('/', conn=old)).status)
    secret_file(t, 'sds.json', [{'name': 'one', 'tls_certificate': cert('b')}])
    ok = await t.stat_until('sds.one.update_success', lambda v: v >= 2)
    t.see('seen', bool(ok))
    t.see('old', (await t.req('/', conn=old)).status)
    t.see('new', (await hands(t, client_ctx(), 'b.example')).cn)
    t.see('stats', await t.stats(regex=r'^.*ssl_context_update'))


@case()
async def secret_file_is_bad_later(t):
    """A bad update changes nothing."""
    p = secret_file(t, 'sds.json', [{'name': 'one', 'tls_certificate': cert('a')}])
    await t.start(cfg(t, [chain(t, down({'tls_certificate_sds_secret_configs': [sds('one', p)]}))]))
    t.write('x.tmp', '{"resources": [{"@type": "%s", "name": "one", "tls_certificate": {"certificate_chain": {"inline_string": "no"}, "private_key": {"inline_string": "no"}}}]}' % SECRET)
    os.rename(t.path('x.tmp'), p)
    await t.stat_until('sds.one.update_rejected', lambda v: v >= 1)
    t.see('r', (await hands(t, client_ctx())).cn)
    t.see('stats', await t.stats('sds.one.update_success', 'sds.one.update_rejected', 'sds.one.update_attempt'))


@case()
async def secret_file_lacks_it(t):
    p = secret_file(t, 'sds.json', [{'name': 'other', 'tls_certificate': cert('a')}])
    x = down({'tls_certificate_sds_secret_configs': [{'name': 'one', 'sds_config': {**sds('one', p)['sds_config'], 'initial_fetch_timeout': '0.1s'}}]})
    await t.start(cfg(t, [chain(t, x)]))
    h = await hands(t, client_ctx())
    t.see('r', [h.cn, h.err])
    t.see('stats', await t.stats(regex=r'(secrets_not_ready|sds.one.(update|init).*|ssl_context_update)'))


@case()
async def secret_of_upstream_from_file_lacks_it(t):
    u = await t.up('u1', tls=server_ctx())
    p = secret_file(t, 'sds.json', [])
    v = {'validation_context_sds_secret_config': {'name': 'one', 'sds_config': {**sds('one', p)['sds_config'], 'initial_fetch_timeout': '0.1s'}}}
    await t.start(cfg(t, [chain(t, tag=None, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%')], [cluster('c1', u, up(v))]))
    t.see('r', await t.req('/'))
    t.see('stats', await t.stats(regex=r'(secrets_not_ready)'))
    t.see('log', await t.logs())


@case()
async def secret_of_watched_directory(t):
    """The secret's files are in a folder that a symbolic link names; moving the link brings the new ones."""
    import shutil
    for n, k in (('v1', 'a'), ('v2', 'b')):
        os.mkdir(t.path(n))
        shutil.copy(os.path.join(certs(), k + '.crt'), t.path(n + '/tls.crt'))
        shutil.copy(os.path.join(certs(), k + '.key'), t.path(n + '/tls.key'))
    os.symlink('v1', t.path('data'))
    f = lambda n: {'filename': t.path('data/' + n)}
    s = [{'name': 'one', 'tls_certificate': {'certificate_chain': f('tls.crt'), 'private_key': f('tls.key'), 'watched_directory': {'path': t.dir}}}]
    os.mkdir(t.path('conf'))
    p = secret_file(t, 'conf/sds.json', s)
    await t.start(cfg(t, [chain(t, down({'tls_certificate_sds_secret_configs': [sds('one', p)]}))]))
    t.see('first', (await hands(t, client_ctx())).cn)
    os.symlink('v2', t.path('next'))
    os.rename(t.path('next'), t.path('data'))
    async def changed():
        return (await hands(t, client_ctx(), 'b.example')).cn
    t.see('second', await t.until(changed))


@case()
async def secret_validation_file_is_replaced(t):
    p = secret_file(t, 'sds.json', [{'name': 'ca', 'validation_context': {'trusted_ca': crt('otherca')}}])
    c = {'tls_certificates': [cert('a')], 'validation_context_sds_secret_config': sds('ca', p)}
    await t.start(cfg(t, [chain(t, down(c, require_client_certificate=True))]))
    t.see('before', [(await t.req('/', ssl=client_ctx(cert_name=n), sni='a.example')).status for n in ('client', 'rogue')])
    secret_file(t, 'sds.json', [{'name': 'ca', 'validation_context': {'trusted_ca': crt('ca')}}])
    await t.stat_until('sds.ca.update_success', lambda v: v >= 2)
    t.see('after', [(await t.req('/', ssl=client_ctx(cert_name=n), sni='a.example')).status for n in ('client', 'rogue')])


def shown(t, text):
    """/certs with what hangs on the day and on the folder replaced."""
    import json
    text = text.replace(certs(), '<certs>')
    text = re.sub(r'"serial_number": ?"[0-9a-f]+"', '"serial_number": "<serial>"', text)
    text = re.sub(r'"(valid_from|expiration_time)": ?"[^"]*"', r'"\1": "<time>"', text)
    text = re.sub(r'"days_until_expiration": ?"\d+"', '"days_until_expiration": "<days>"', text)
    return text


@case()
async def certs_of_both_sides(t):
    u = t.dead()
    v = {'validation_context': {'trusted_ca': crt('ca')}, 'tls_certificates': [cert('client')]}
    await t.start(cfg(t, [chain(t, down({'tls_certificates': [cert('a'), inline('b')]}))], [cluster('c1', u, up(v))]))
    s, b = await t.admin('/certs')
    items = json.loads(shown(t, b))['certificates']
    t.see('certs', [s, sorted(items, key=lambda i: json.dumps(i))])
    t.see('type', t.last_admin.h('content-type'))


@case()
async def certs_of_ips_and_uris(t):
    make('many', '/O=A/CN=many', 'DNS:many.example,IP:10.1.2.3,IP:::1,URI:spiffe://x/y,email:a@b.example')
    await t.start(cfg(t, [chain(t, down({'tls_certificates': [cert('many')]}))]))
    t.see('certs', shown(t, (await t.admin('/certs'))[1]))


@case()
async def certificate_expiration_stats(t):
    make('soon', '/CN=soon.example', 'DNS:soon.example', days='20')
    v = {'validation_context': {'trusted_ca': crt('ca')}, 'tls_certificates': [cert('client')]}
    await t.start(cfg(t, [chain(t, down({'tls_certificates': [cert('a'), cert('soon')], 'validation_context': {'trusted_ca': crt('ca')}}))], [cluster('c1', t.dead(), up(v))]))
    s = await t.stats(regex=r'(certificate|days_until|expiration)')
    t.see('days', s.pop('server.days_until_first_cert_expiring') in (19, 20))
    t.see('stats', {re.sub(r'[0-9a-f]{64}', '<hash>', k): '<time>' if isinstance(x, int) and x > 1000000 else x for k, x in s.items()})


@case()
async def certificate_expiration_names(t):
    c = {'tls_certificate_sds_secret_configs': [sds('one'), sds('two.x')], 'combined_validation_context': {'default_validation_context': {}, 'validation_context_sds_secret_config': sds('ca')}}
    s = [{'name': 'one', 'tls_certificate': cert('a')}, {'name': 'two.x', 'tls_certificate': inline('b')}, {'name': 'ca', 'validation_context': {'trusted_ca': crt('ca')}}]
    v = {'tls_certificates': [inline('client')], 'validation_context_sds_secret_config': sds('ca')}
    await t.start(cfg(t, [chain(t, down(c))], [cluster('c1', t.dead(), up(v))], secrets=s))
    t.see('names', sorted(await t.stats(regex=r'(ssl.certificate|ssl_socket_factory)')))


@case()
async def certs_of_secrets(t):
    c = {'tls_certificate_sds_secret_configs': [sds('one')], 'validation_context_sds_secret_config': sds('ca')}
    s = [{'name': 'one', 'tls_certificate': inline('a')}, {'name': 'ca', 'validation_context': {'trusted_ca': crt('ca')}}]
    await t.start(cfg(t, [chain(t, down(c))], secrets=s))
    t.see('certs', shown(t, (await t.admin('/certs'))[1]))


# ---- tickets and sessions

def keys(*seeds):
    import base64
    return {'keys': [{'inline_bytes': base64.b64encode(bytes([s]) * 80).decode()} for s in seeds]}


async def resumes(t, ctx, sni='a.example', port=None, other=None):
    first = await hands(t, ctx, sni, port=port)
    if first.err:
        return first.err
    second = await hands(t, ctx, sni, session=first.session, port=other or port)
    return second.err or second.reused


for _v, _max in (('13', False), ('12', True)):
    @case('ticket_resumes_' + _v)
    async def _(t, m=_max):
        await t.start(cfg(t, [chain(t, down())]))
        t.see('reused', await resumes(t, client_ctx(max12=m)))
        t.see('stats', await t.stats('listener.l1.ssl.session_reused', 'listener.l1.ssl.handshake'))

    @case('ticket_stateless_disabled_' + _v)
    async def _(t, m=_max):
        await t.start(cfg(t, [chain(t, down(disable_stateless_session_resumption=True))]))
        t.see('reused', await resumes(t, client_ctx(max12=m)))

    @case('ticket_both_disabled_' + _v)
    async def _(t, m=_max):
        await t.start(cfg(t, [chain(t, down(disable_stateless_session_resumption=True, disable_stateful_session_resumption=True))]))
        t.see('reused', await resumes(t, client_ctx(max12=m)))

    @case('ticket_keys_of_two_listeners_' + _v)
    async def _(t, m=_max):
        """The same keys; the first is used to make tickets, all to read them."""
        ls = []
        for n, k in (('l1', (1,)), ('l2', (2, 1)), ('l3', (3,))):
            l = listener(t, [], name=n)
            l['filter_chains'] = [chain(t, down(session_ticket_keys=keys(*k)))]
            ls.append(l)
        await t.start(config(t, ls, []))
        x = client_ctx(max12=m)
        t.see('same', await resumes(t, x, port=t.l1))
        t.see('rotated', await resumes(t, x, port=t.l1, other=t.l2))
        t.see('new_to_old', await resumes(t, x, port=t.l2, other=t.l1))
        t.see('foreign', await resumes(t, x, port=t.l1, other=t.l3))


@case()
async def ticket_keys_bind_the_configuration(t):
    """The same keys do not carry a session to a chain that asks for a certificate, or that has other certificates."""
    ls = []
    v = {'validation_context': {'trusted_ca': crt('ca')}}
    for n, s in (('l1', down(session_ticket_keys=keys(1))), ('l2', down({'tls_certificates': [cert('a')], **v}, session_ticket_keys=keys(1))),
                 ('l3', down({'tls_certificates': [cert('b')]}, session_ticket_keys=keys(1))),
                 ('l4', down({'tls_certificates': [cert('a')], 'alpn_protocols': ['http/1.1']}, session_ticket_keys=keys(1)))):
        l = listener(t, [], name=n)
        l['filter_chains'] = [chain(t, s)]
        ls.append(l)
    await t.start(config(t, ls, []))
    x = client_ctx(verify=False)
    for n in ('l2', 'l3', 'l4'):
        t.see(n, await resumes(t, x, port=t.l1, other=getattr(t, n)))


@case()
async def ticket_keys_by_secret(t):
    s = [{'name': 'tickets', 'session_ticket_keys': keys(1)}]
    l = listener(t, [])
    l['filter_chains'] = [chain(t, down(session_ticket_keys=keys(1)))]
    l2 = listener(t, [], name='l2')
    l2['filter_chains'] = [chain(t, down(session_ticket_keys_sds_secret_config=sds('tickets')))]
    x = config(t, [l, l2], [])
    x['static_resources']['secrets'] = s
    await t.start(x)
    t.see('reused', await resumes(t, client_ctx(), port=t.l1, other=t.l2))


for _n, _k in (('short', 79), ('long', 81)):
    @case('refused_ticket_key_' + _n)
    async def _(t, n=_k):
        import base64
        x = down(session_ticket_keys={'keys': [{'inline_bytes': base64.b64encode(b'x' * n).decode()}]})
        t.see('exit', (await t.run_to_end(cfg(t, [chain(t, x)]), args=['--mode', 'validate']))[0])


@case()
async def session_timeout(t):
    await t.start(cfg(t, [chain(t, down(session_timeout='1s'))]))
    x = client_ctx(max12=True)
    t.see('hint', (await hands(t, x)).session.ticket_lifetime_hint)
    x = client_ctx()
    t.see('hint13', (await hands(t, x)).session.ticket_lifetime_hint)


@case()
async def session_timeout_default(t):
    await t.start(cfg(t, [chain(t, down())]))
    t.see('hint', (await hands(t, client_ctx(max12=True))).session.ticket_lifetime_hint)
    t.see('hint13', (await hands(t, client_ctx())).session.ticket_lifetime_hint)


@case()
async def upstream_sessions(t):
    """Two connections to a host: the second resumes, unless max_session_keys is 0."""
    seen = []

    async def conn(c):
        seen.append(c.w.get_extra_info('ssl_object').session_reused)
        await c.read_request()
        c.send(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
        await c.drain()
    u = await t.up('u1', tls=server_ctx(), conn=conn)
    v = await t.up('u2', tls=server_ctx(), conn=conn)
    await t.start(cfg(t, [chain(t, tag=None, routes='[{match: {prefix: /a}, route: {cluster: c1}}, {match: {prefix: /}, route: {cluster: c2}}]')],
                      [cluster('c1', u, up({}, sni='up.example')), cluster('c2', v, up({}, sni='up.example', max_session_keys=0))]))
    for n, p in enumerate(('/a', '/a', '/b', '/b')):
        await t.req(p)
        await t.until(lambda n=n: len(seen) > n)
        await asyncio.sleep(0.05)
    t.see('reused', seen)
    t.see('stats', await t.stats('cluster.c1.ssl.session_reused', 'cluster.c2.ssl.session_reused'))


# ---- what is asked of a peer

def peer(name, ctx, clients, more=None, kw=None):
    @case('peer_' + name)
    async def _(t):
        if more:
            more(t)
        c = {'tls_certificates': [cert('a')], 'validation_context': ctx(t) if callable(ctx) else ctx}
        await t.start(cfg(t, [chain(t, down(c, **(kw if kw is not None else {'require_client_certificate': True})))],
                          lextra={'access_log': [filelog(t, '%DOWNSTREAM_TRANSPORT_FAILURE_REASON%')]}))
        out = {}
        for n in clients:
            r = await t.req('/', ssl=client_ctx(cert_name=n, verify=False), sni='a.example')
            out[n or 'none'] = r.status
        t.see('by', out)
        p = 'listener.l1.ssl.'
        t.see('stats', await t.stats(*(p + n for n in ('fail_verify_no_cert', 'fail_verify_error', 'fail_verify_san', 'fail_verify_cert_hash', 'no_certificate', 'handshake', 'connection_error'))))
        t.see('log', await t.logs())


def sha(name):
    return hashlib.sha256(pyssl.PEM_cert_to_DER_cert(open(os.path.join(certs(), name + '.crt')).read())).hexdigest()


def spki(name):
    import base64
    import subprocess
    d = certs()
    pub = subprocess.run(['openssl', 'x509', '-in', name + '.crt', '-pubkey', '-noout'], cwd=d, capture_output=True).stdout
    der = subprocess.run(['openssl', 'pkey', '-pubin', '-outform', 'DER'], input=pub, capture_output=True).stdout
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def extra_certs(t):
    make('expired', '/CN=expired', 'DNS:client.example', days='expired')
    make('mail', '/CN=mail', 'email:a@b.example,IP:10.1.2.3,DNS:*.wild.example')
    make('noclient', '/CN=noclient', 'DNS:client.example', extra='extendedKeyUsage=serverAuth\n')
    make('other_name', '/CN=on', 'otherName:1.2.3.4;UTF8:other text')


def chain_certs(t):
    """An authority below the authority, and one below that."""
    ca = 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\n'
    make('mid', '/CN=mid', '', extra=ca)
    make('low', '/CN=low', '', 'mid', extra=ca)
    make('deep', '/CN=deep', 'DNS:deep.example', 'low')
    d = certs()
    p = os.path.join(d, 'deepchain.crt')
    if not os.path.exists(p):
        open(p, 'w').write(''.join(open(os.path.join(d, n + '.crt')).read() for n in ('deep', 'low', 'mid')))
        open(os.path.join(d, 'deepchain.key'), 'w').write(open(os.path.join(d, 'deep.key')).read())


def crl(t):
    """A list of the authority on which `revoked` stands."""
    import subprocess
    d = certs()
    make('revoked', '/CN=revoked', 'DNS:revoked.example')
    p = os.path.join(d, 'ca.crl')
    if not os.path.exists(p):
        open(os.path.join(d, 'index.txt'), 'w').close()
        open(os.path.join(d, 'crlnumber'), 'w').write('01\n')
        open(os.path.join(d, 'crl.cnf'), 'w').write('[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=3000\n')
        run = lambda *a: subprocess.run(a, check=True, cwd=d, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run('openssl', 'ca', '-config', 'crl.cnf', '-keyfile', 'ca.key', '-cert', 'ca.crt', '-revoke', 'revoked.crt')
        run('openssl', 'ca', '-config', 'crl.cnf', '-keyfile', 'ca.key', '-cert', 'ca.crt', '-gencrl', '-out', 'ca.crl')
    return p


CA = lambda **kw: (lambda t: {'trusted_ca': crt('ca'), **kw})
SAN = lambda kind, m: CA(match_typed_subject_alt_names=[{'san_type': kind, 'matcher': m}])

peer('hash', lambda t: {'verify_certificate_hash': [sha('client')]}, ['client', 'rogue', None])
peer('hash_with_colons', lambda t: {'verify_certificate_hash': [':'.join(sha('rogue').upper()[i:i + 2] for i in range(0, 64, 2))]}, ['client', 'rogue'])
peer('spki', lambda t: {'verify_certificate_spki': [spki('client')]}, ['client', 'rogue'])
peer('hash_or_spki_and_ca', lambda t: {'trusted_ca': crt('ca'), 'verify_certificate_hash': [sha('rogue')], 'verify_certificate_spki': [spki('client')]}, ['client', 'rogue'])
peer('expired', CA(), ['expired', 'client'], extra_certs)
peer('expired_allowed', CA(allow_expired_certificate=True), ['expired', 'client', 'rogue'], extra_certs)
peer('untrusted_accepted', CA(trust_chain_verification='ACCEPT_UNTRUSTED'), ['client', 'rogue', 'expired', None], extra_certs)
peer('untrusted_accepted_optional', CA(trust_chain_verification='ACCEPT_UNTRUSTED'), ['rogue', None], kw={})
peer('san_email', SAN('EMAIL', {'suffix': '@b.example'}), ['mail', 'client'], extra_certs)
peer('san_ip', SAN('IP_ADDRESS', {'exact': '10.1.2.3'}), ['mail', 'client'], extra_certs)
peer('san_dns_wildcard_in_certificate', SAN('DNS', {'exact': 'x.wild.example'}), ['mail', 'client'], extra_certs)
peer('san_dns_wildcard_two_labels', SAN('DNS', {'exact': 'x.y.wild.example'}), ['mail'], extra_certs)
peer('san_dns_suffix', SAN('DNS', {'suffix': '.wild.example'}), ['mail', 'client'], extra_certs)
peer('san_uri_regex', SAN('URI', {'safe_regex': {'regex': 'spiffe://[a-z]+/client'}}), ['client', 'mail'], extra_certs)
peer('san_untyped', CA(match_subject_alt_names=[{'exact': 'client.example'}]), ['client', 'rogue', 'mail'], extra_certs)
peer('san_ignore_case', SAN('DNS', {'exact': 'CLIENT.example', 'ignore_case': True}), ['client'])
peer('san_other_name', CA(match_typed_subject_alt_names=[{'san_type': 'OTHER_NAME', 'oid': '1.2.3.4', 'matcher': {'exact': 'other text'}}]), ['other_name', 'client'], extra_certs)
peer('purpose', CA(), ['noclient'], extra_certs)
peer('depth_1', CA(max_verify_depth=1), ['client', 'deepchain'], chain_certs)
peer('depth_2', CA(max_verify_depth=2), ['deepchain'], chain_certs)
peer('depth_0', CA(max_verify_depth=0), ['client', 'deepchain'], chain_certs)
peer('depth_3', CA(max_verify_depth=3), ['deepchain'], chain_certs)
peer('self_signed', CA(), ['otherca'])
peer('chain', CA(), ['deepchain', 'deep'], chain_certs)
peer('crl', lambda t: {'trusted_ca': crt('ca'), 'crl': {'filename': crl(t)}}, ['revoked', 'client'])
peer('crl_and_chain', lambda t: {'trusted_ca': crt('ca'), 'crl': {'filename': crl(t)}}, ['deepchain', 'client'], chain_certs)
peer('crl_leaf_only', lambda t: {'trusted_ca': crt('ca'), 'crl': {'filename': crl(t)}, 'only_verify_leaf_cert_crl': True}, ['revoked', 'client'])
peer('intermediate_as_authority', lambda t: {'trusted_ca': crt('mid')}, ['deepchain', 'client'], chain_certs)


# ---- parameters

def params(name, p, ctxs, more=None, names=('a',)):
    @case('params_' + name)
    async def _(t):
        if more:
            more(t)
        await t.start(cfg(t, [chain(t, down({'tls_certificates': [cert(n) for n in names], 'tls_params': Y(p)}), log='%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%')]))
        out = {}
        for n, make_ctx in ctxs:
            h = await hands(t, make_ctx())
            out[n] = h.err or [h.version, h.cipher, h.cn]
        t.see('by', out)


def ciphers(text, max12=True):
    def go():
        c = client_ctx(max12=max12, verify=False)
        c.set_ciphers(text)
        return c
    return go


def curve(name):
    def go():
        c = client_ctx(verify=False)
        c.set_ecdh_curve(name)
        return c
    return go


def ec(t):
    make('ec', '/CN=ec.example', 'DNS:a.example', newkey='prime256v1')


params('max_12', '{tls_maximum_protocol_version: TLSv1_2}', [('any', client_ctx), ('12', lambda: client_ctx(max12=True))])
params('one_cipher', '{tls_maximum_protocol_version: TLSv1_2, cipher_suites: [ECDHE-RSA-AES256-GCM-SHA384]}', [('any', client_ctx), ('256', ciphers('ECDHE-RSA-AES256-GCM-SHA384')), ('128', ciphers('ECDHE-RSA-AES128-GCM-SHA256'))])
params('equal_group', "{tls_maximum_protocol_version: TLSv1_2, cipher_suites: ['[ECDHE-RSA-AES256-GCM-SHA384|ECDHE-RSA-AES128-GCM-SHA256]']}", [('256_first', ciphers('ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256')), ('128_first', ciphers('ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384'))])
params('server_order', '{tls_maximum_protocol_version: TLSv1_2, cipher_suites: [ECDHE-RSA-AES256-GCM-SHA384, ECDHE-RSA-AES128-GCM-SHA256]}', [('128_first', ciphers('ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384'))])
params('curves', '{ecdh_curves: [P-256]}', [('p256', curve('prime256v1')), ('p384', curve('secp384r1'))])
params('two_kinds_of_key', '{}', [('ecdsa', ciphers('ECDHE-ECDSA-AES128-GCM-SHA256')), ('rsa', ciphers('ECDHE-RSA-AES128-GCM-SHA256'))], ec, ('a', 'ec'))


@case()
async def prefer_client_ciphers(t):
    c = {'tls_certificates': [cert('a')], 'tls_params': Y('{tls_maximum_protocol_version: TLSv1_2, cipher_suites: [ECDHE-RSA-AES256-GCM-SHA384, ECDHE-RSA-AES128-GCM-SHA256]}')}
    await t.start(cfg(t, [chain(t, down(c, prefer_client_ciphers=True))]))
    t.see('cipher', (await hands(t, ciphers('ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384')())).cipher)


@case()
async def require_sni(t):
    await t.start(cfg(t, [chain(t, down(require_sni=True))], lextra={'access_log': [filelog(t, '%DOWNSTREAM_TRANSPORT_FAILURE_REASON%')]}))
    x = client_ctx(verify=False)
    t.see('with', (await hands(t, x)).err)
    t.see('without', bool((await hands(t, x, None)).err))
    t.see('log', await t.logs())


@case()
async def full_scan_on_mismatch(t):
    """A server name that no certificate has: the first certificate, or with the scan the first that fits the client's keys."""
    ec(t)
    out = {}
    ls = []
    for n, scan in (('l1', False), ('l2', True)):
        l = listener(t, [], name=n)
        l['filter_chains'] = [chain(t, down({'tls_certificates': [cert('a'), cert('ec')]}, full_scan_certs_on_sni_mismatch=scan))]
        ls.append(l)
    await t.start(config(t, ls, []))
    for n in ('l1', 'l2'):
        for k in ('ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256'):
            c = ciphers(k)()
            c.check_hostname = False
            c.verify_mode = pyssl.CERT_REQUIRED
            h = await hands(t, c, 'zz.example', port=getattr(t, n))
            out[n + ' ' + k] = h.cn or 'error'
    t.see('by', out)


@case()
async def cipher_stats(t):
    await t.start(cfg(t, [chain(t, down())]))
    await hands(t, client_ctx())
    await hands(t, client_ctx(max12=True))
    t.see('stats', {k: v for k, v in (await t.stats(regex=r'listener.l1.ssl\.')).items() if 'expiration' not in k})


def ocsp(t, name='a', what='good', days='30'):
    """A signed answer about a certificate."""
    import subprocess
    d = certs()
    out = os.path.join(d, '%s_%s.ocsp' % (name, what))
    if os.path.exists(out):
        return out
    run = lambda *a: subprocess.run(a, check=True, cwd=d, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    serial = subprocess.run(['openssl', 'x509', '-in', name + '.crt', '-serial', '-noout'], cwd=d, capture_output=True, text=True).stdout.strip().split('=')[1]
    rev = '230101000000Z' if what == 'revoked' else ''
    open(os.path.join(d, 'ocsp.txt'), 'w').write('%s\t350101000000Z\t%s\t%s\tunknown\t/CN=%s\n' % ('R' if rev else 'V', rev, serial, name))
    run('openssl', 'ocsp', '-issuer', 'ca.crt', '-cert', name + '.crt', '-reqout', 'req.der')
    run('openssl', 'ocsp', '-index', 'ocsp.txt', '-CA', 'ca.crt', '-rsigner', 'ca.crt', '-rkey', 'ca.key', '-reqin', 'req.der', '-respout', out, '-ndays', days)
    return out


async def staple(t, port=None):
    """What openssl says of the staple, and whether the handshake succeeded."""
    p = await asyncio.create_subprocess_exec('openssl', 's_client', '-connect', '127.0.0.1:%d' % (port or t.l1), '-servername', 'a.example', '-status',
                                             stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    out = (await p.communicate())[0].decode('latin1')
    m = re.search(r'OCSP [Rr]esponse: *(no response sent)?', out)
    got = 'none' if 'no response sent' in out else ('staple' if 'OCSP Response Status' in out else '?')
    return [got, 'Verification' in out or 'Verify return code' in out and 'Cipher is (NONE)' not in out]


for _pol in ('LENIENT_STAPLING', 'STRICT_STAPLING', 'MUST_STAPLE'):
    @case('ocsp_' + _pol.lower())
    async def _(t, pol=_pol):
        ls = []
        for n, resp_ in (('l1', 'good'), ('l2', None)):
            if resp_ is None and pol == 'MUST_STAPLE':
                continue
            c = cert('a')
            if resp_:
                c['ocsp_staple'] = {'filename': ocsp(t, 'a', resp_)}
            l = listener(t, [], name=n)
            l['stat_prefix'] = n
            l['filter_chains'] = [chain(t, down({'tls_certificates': [c]}, ocsp_staple_policy=pol))]
            ls.append(l)
        await t.start(config(t, ls, []))
        out = {}
        for n in ('l1', 'l2'):
            if not hasattr(t, n):
                continue
            p = getattr(t, n)
            h = await hands(t, client_ctx(), port=p)
            out[n] = [h.err, *await staple(t, p)]
            await t.stat_until('listener.%s.ssl.handshake' % n, lambda v: v >= 2)
            t.see('stats_' + n, list((await t.stats(regex=r'listener.%s.ssl.ocsp' % n)).values()))
        t.see('by', out)


@case('refused_must_staple_without_response')
async def _(t):
    x = down(ocsp_staple_policy='MUST_STAPLE')
    t.see('exit', (await t.run_to_end(cfg(t, [chain(t, x)]), args=['--mode', 'validate']))[0])


@case('refused_ocsp_of_another')
async def _(t):
    c = cert('b')
    c['ocsp_staple'] = {'filename': ocsp(t, 'a')}
    t.see('exit', (await t.run_to_end(cfg(t, [chain(t, down({'tls_certificates': [c]}))]), args=['--mode', 'validate']))[0])


# ---- upstream

def auto(name, hpo=None, sock=None, reqs=({},), routes=None, srv='up', hostname=None, extra=None, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%', h2=False):
    @case('upstream_' + name)
    async def _(t):
        seen = []
        ctx = server_ctx(srv, ['h2'] if h2 else None)
        ctx.sni_callback = lambda so, n, c: seen.append(n)
        u = await (t.h2up('u1', tls=ctx) if h2 else t.up('u1', tls=ctx))
        ep = lbe(u, endpoint={'hostname': hostname}) if hostname else u
        c = cluster('c1', ep, merge(up(**(sock() if callable(sock) else sock or {})), extra or {}), hpo=hpo, h2=h2)
        await t.start(cfg(t, [chain(t, tag=None, routes=routes, log=log)], [c]))
        out = []
        for kw in reqs:
            out.append((await t.req('/', **kw)).status)
            await asyncio.sleep(0.02)
        t.see('status', out)
        t.see('sni', seen)
        t.see('conns', u.conns if not h2 else None)
        t.see('log', await t.logs())


H1 = {'explicit_http_config': {'http_protocol_options': {}}}
SNI = lambda **kw: {**H1, 'upstream_http_protocol_options': kw}
TRUST = lambda: {'common': {'validation_context': {'trusted_ca': crt('ca')}}}

auto('auto_sni', SNI(auto_sni=True), reqs=({'host': 'up.example'}, {'host': 'UP.example:8443'}, {'host': '127.0.0.1'}, {'host': 'other.example'}))
auto('auto_sni_over_sni', SNI(auto_sni=True), {'sni': 'fixed.example'}, reqs=({'host': 'up.example'},))
auto('auto_sni_pools_by_name', SNI(auto_sni=True), reqs=({'host': 'a.svc.example'}, {'host': 'a.svc.example'}, {'host': 'b.svc.example'}))
auto('auto_sni_header', SNI(auto_sni=True, override_auto_sni_header='x-sni'), reqs=({'host': 'up.example', 'headers': [('x-sni', 'q.svc.example')]}, {'host': 'up.example'}, {'host': 'up.example', 'headers': [('x-sni', '')]}))
auto('auto_san', SNI(auto_sni=True, auto_san_validation=True), TRUST, reqs=({'host': 'up.example'}, {'host': 'wrong.example'}, {'host': 'x.svc.example'}))
auto('auto_san_ip', SNI(auto_sni=True, auto_san_validation=True), TRUST, reqs=({'host': '127.0.0.1'},))
auto('auto_sni_rewritten_host', SNI(auto_sni=True), reqs=({'host': 'one.example'},), routes='[{match: {prefix: /}, route: {cluster: c1, host_rewrite_literal: up.example}}]')
auto('auto_host_sni', None, {'auto_host_sni': True, 'sni': 'fixed.example'}, hostname='up.example')
auto('auto_host_sni_without_name', None, {'auto_host_sni': True, 'sni': 'fixed.example'})
auto('auto_sni_san', None, lambda: {**TRUST(), 'sni': 'up.example', 'auto_sni_san_validation': True})
auto('auto_sni_san_wrong', None, lambda: {**TRUST(), 'sni': 'zz.example', 'auto_sni_san_validation': True})
auto('no_sni', None, {})
auto('auto_sni_h2', {'upstream_http_protocol_options': {'auto_sni': True}}, reqs=({'host': 'a.svc.example'}, {'host': 'b.svc.example'}), h2=True)


@case()
async def upstream_auto_sni_without_tls(t):
    u = await t.up()
    await t.start(cfg(t, [chain(t, tag=None)], [cluster('c1', u, hpo=SNI(auto_sni=True, auto_san_validation=True))]))
    t.see('r', (await t.req('/')).status)


@case()
async def upstream_scheme_follows_its_socket(t):
    """match_upstream: the scheme of a request is that of the connection to the host."""
    secured, plain = await t.up('u1', tls=server_ctx('up', None)), await t.up('u2')
    routes = '[{match: {prefix: /s}, route: {cluster: c1}}, {match: {prefix: /}, route: {cluster: c2}}]'
    clusters = [cluster('c1', secured, up({})), cluster('c2', plain)]
    extra = {'scheme_header_transformation': {'match_upstream': True}}
    await t.start(cfg(t, [chain(t, tag=None, routes=routes, log='%REQ(:SCHEME)% %REQ(X-FORWARDED-PROTO)%', opts=extra)], clusters))
    t.see('status', [(await t.req(path)).status for path in ('/s', '/p')])
    t.see('log', await t.logs())


@case()
async def upstream_alpn(t):
    """What is offered follows the protocol where nothing is configured."""
    got = {}
    ups = []
    for n, mk in (('u1', t.up), ('u2', t.h2up), ('u3', t.up)):
        async def one(n=n, mk=mk):
            c = server_ctx('up', ['h2', 'http/1.1', 'custom'] if n != 'u3' else ['custom', 'http/1.1'])
            return await mk(n, tls=c)
        ups.append(await one())
    cs = [cluster('c1', ups[0], up({})), cluster('c2', ups[1], up({}), h2=True), cluster('c3', ups[2], up({'alpn_protocols': ['custom', 'http/1.1']}))]
    await t.start(cfg(t, [chain(t, tag=None, routes='[{match: {prefix: /1}, route: {cluster: c1}}, {match: {prefix: /2}, route: {cluster: c2}}, {match: {prefix: /3}, route: {cluster: c3}}]')], cs))
    t.see('status', [(await t.req('/%d' % i)).status for i in (1, 2, 3)])


# ---- transport_socket_matches

def matches(*items):
    return [{'name': n, 'match': m, 'transport_socket': s} for n, m, s in items]


RAW = {'name': 'raw', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}
MT = lambda **kw: {'metadata': {'filter_metadata': {'envoy.transport_socket_match': kw}}}


@case()
async def transport_socket_matches(t):
    a, b = await t.up('plain'), await t.up('secured', tls=server_ctx())
    c = cluster('c1', [lbe(a), lbe(b, **MT(mtls=True))], {'transport_socket_matches': matches(('tls', {'mtls': True}, up({})['transport_socket']), ('plain', {}, RAW))})
    await t.start(cfg(t, [chain(t, tag=None)], [c]))
    t.see('up', sorted([(await t.req('/')).h('x-up') for _ in range(4)]))
    t.see('stats', await t.stats(regex=r'total_match_count'))


@case()
async def transport_socket_matches_default(t):
    """An endpoint that nothing matches gets the cluster's own transport socket."""
    a, b = await t.up('plain'), await t.up('secured', tls=server_ctx())
    c = cluster('c1', [lbe(a, **MT(raw='yes')), lbe(b)], {**up({}), 'transport_socket_matches': matches(('raw', {'raw': 'yes'}, RAW))})
    await t.start(cfg(t, [chain(t, tag=None)], [c]))
    t.see('up', sorted([(await t.req('/')).h('x-up') for _ in range(4)]))
    t.see('stats', await t.stats(regex=r'total_match_count'))


refused('two_client_certificates', upstream=lambda t: up({'tls_certificates': [cert('client'), cert('a')]}))
refused('san_without_ca', upstream=lambda t: up({'validation_context': Y('{match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}')}))
refused('no_certificates', {})
refused('key_of_another', lambda t: {'tls_certificates': [{'certificate_chain': crt('a'), 'private_key': {'filename': os.path.join(certs(), 'b.key')}}]})
refused('missing_file', {'tls_certificates': [{'certificate_chain': {'filename': '/nonexistent'}, 'private_key': {'filename': '/nonexistent'}}]})
refused('crl_without_ca', lambda t: {'tls_certificates': [cert('a')], 'validation_context': {'crl': {'filename': crl(t)}}})
refused('bad_hash', lambda t: {'tls_certificates': [cert('a')], 'validation_context': {'verify_certificate_hash': ['z' * 64]}})
refused('unknown_cipher', lambda t: {'tls_certificates': [cert('a')], 'tls_params': {'cipher_suites': ['NOPE']}})
refused('unknown_curve', lambda t: {'tls_certificates': [cert('a')], 'tls_params': {'ecdh_curves': ['NOPE']}})
refused('alpn_too_long', lambda t: {'tls_certificates': [cert('a')], 'alpn_protocols': ['x' * 256]})


@case()
async def handshake_timeout(t):
    """transport_socket_connect_timeout: the client connects and says nothing."""
    await t.start(cfg(t, [chain(t, down(), extra='{transport_socket_connect_timeout: 0.15s}')]))
    c = await t.conn()
    t.see('state', await c.state(2))
    t.see('stats', await t.stats('listener.l1.downstream_cx_transport_socket_connect_timeout', 'listener.l1.downstream_cx_total'))


@case()
async def certificate_with_password(t):
    import subprocess
    d = certs()
    subprocess.run(['openssl', 'rsa', '-aes128', '-in', 'a.key', '-passout', 'pass:secret', '-out', 'apw.key'], cwd=d, check=True, capture_output=True)
    c = {'certificate_chain': crt('a'), 'private_key': {'filename': os.path.join(d, 'apw.key')}, 'password': {'inline_string': 'secret'}}
    await t.start(cfg(t, [chain(t, down({'tls_certificates': [c]}))]))
    t.see('cn', (await hands(t, client_ctx())).cn)


@case()
async def key_log(t):
    p = t.path('keys.log')
    c = {'tls_certificates': [cert('a')], 'key_log': {'path': p}}
    await t.start(cfg(t, [chain(t, down(c))]))
    await hands(t, client_ctx())
    await hands(t, client_ctx(max12=True))
    await t.stop()
    t.see('labels', sorted({l.split(' ')[0] for l in open(p)}))
