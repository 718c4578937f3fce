"""TLS once more: every operator of both sides, hosts whose handshakes fail, names and kinds of certificates, sockets by match."""
import ssl as pyssl

from harness import *
from harness.tls_config import aside, cert, cfg, chain, client_ctx, crt, down, hands, make, server_ctx, up

SIDES = ('TLS_VERSION', 'TLS_CIPHER', 'PEER_SUBJECT', 'PEER_ISSUER', 'PEER_URI_SAN', 'PEER_DNS_SAN', 'PEER_IP_SAN', 'LOCAL_URI_SAN', 'LOCAL_DNS_SAN', 'LOCAL_IP_SAN')
OURS = ('LOCAL_SUBJECT', 'LOCAL_EMAIL_SAN', 'LOCAL_OTHERNAME_SAN', 'PEER_EMAIL_SAN', 'PEER_OTHERNAME_SAN', 'PEER_CHAIN_FINGERPRINTS_1', 'PEER_CHAIN_FINGERPRINTS_256', 'PEER_CHAIN_SERIALS',
        'PEER_FINGERPRINT_1', 'PEER_FINGERPRINT_256', 'PEER_ISSUER_FINGERPRINT_256', 'PEER_ISSUER_SERIAL', 'PEER_SERIAL')


def hidden(lines):
    """Logs without what changes with each run."""
    out = []
    for l in lines:
        l = re.sub(r'\b[0-9a-f]{64}\b', '<sha256>', l)
        l = re.sub(r'\b[0-9a-f]{40}\b', '<40>', l)
        l = re.sub(r'20\d\d-\d\d-\d\dT[0-9:.]*Z', '<time>', l)
        out.append(re.sub(r'-----BEGIN%20CERTIFICATE[^ ]*', '<pem>', l))
    return out


def operators(side, names):
    return ' '.join('%s=%%%s_%s%%' % (n, side, n) for n in names)


def rich():
    make('rich2', '/C=DE/O=A, "B"/OU=x+y/CN=rich', 'URI:spiffe://x/1,URI:spiffe://x/2,DNS:r.example,DNS:s.example,IP:10.1.2.3,IP:::1,email:a@b.example,otherName:1.2.3.4;UTF8:other')
    make('rich_server', '/O=Server/CN=rich.server', 'URI:spiffe://y/1,DNS:up.example,DNS:a.example,IP:10.9.9.9,email:s@b.example,otherName:1.2.3.4;UTF8:mine')


@case(timeout=60)
async def operators_of_clients(t):
    await aside(rich)
    c = {'tls_certificates': [cert('rich_server')], 'validation_context': {'trusted_ca': crt('ca')}}
    log = operators('DOWNSTREAM', SIDES + OURS) + ' group=%DOWNSTREAM_TLS_GROUP% start=%DOWNSTREAM_PEER_CERT_V_START% end=%DOWNSTREAM_PEER_CERT_V_END% cert=%DOWNSTREAM_PEER_CERT%'
    await t.start(cfg(t, [chain(t, down(c), log=log)]))
    for ctx in (client_ctx(cert_name='rich2'), client_ctx(cert_name='rich2', max12=True), client_ctx()):
        t.see('status%d' % len(t.obs), (await t.req('/', ssl=ctx, sni='a.example')).status)
    t.see('log', hidden(await t.logs()))


@case(timeout=60)
async def operators_of_hosts(t):
    await aside(rich)
    u = await t.up('u1', tls=server_ctx('rich_server', ca='ca'))
    c = {'tls_certificates': [cert('rich2')], 'validation_context': {'trusted_ca': crt('ca')}}
    log = operators('UPSTREAM', SIDES) + ' group=%UPSTREAM_TLS_GROUP% start=%UPSTREAM_PEER_CERT_V_START% end=%UPSTREAM_PEER_CERT_V_END% cert=%UPSTREAM_PEER_CERT%'
    await t.start(cfg(t, [chain(t, tag=None, log=log)], [cluster('c1', u, up(c, sni='up.example'))]))
    t.see('status', (await t.req('/')).status)
    t.see('log', hidden(await t.logs()))


@case()
async def operators_without_tls(t):
    u = await t.up()
    log = operators('UPSTREAM', SIDES) + ' ' + operators('DOWNSTREAM', SIDES) + ' %DOWNSTREAM_PEER_CERT_V_START% %UPSTREAM_PEER_CERT%'
    await t.start(cfg(t, [chain(t, tag=None, log=log)], [cluster('c1', u)]))
    t.see('status', (await t.req('/')).status)
    t.see('log', await t.logs())


@case()
async def session_ids(t):
    """TLS 1.2 has one, and it is the same where the session is resumed."""
    await t.start(cfg(t, [chain(t, down({'tls_certificates': [cert('a')]}, disable_stateless_session_resumption=True), log='%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_SESSION_ID%')]))
    ctx = client_ctx(max12=True)
    first = await hands(t, ctx)
    again = await hands(t, ctx, session=first.session)
    await hands(t, client_ctx())
    t.see('reused', again.reused)
    lines = [l.split() for l in await t.logs()]
    t.see('log', [[l[0], len(l[1])] for l in lines])
    t.see('same', lines[0][1] == lines[1][1])


def counted(lines):
    return [[l.split()[0], *(len(x) for x in l.split()[1:])] for l in lines]


@case()
async def session_ids_beside_tickets(t):
    await t.start(cfg(t, [chain(t, down(), log='%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_SESSION_ID%')]))
    ctx = client_ctx(max12=True)
    first = await hands(t, ctx)
    again = await hands(t, ctx, session=first.session)
    t.see('reused', again.reused)
    t.see('log', counted(await t.logs()))


def ids_of_hosts(name, make_ctx):
    @case('session_ids_of_hosts_' + name)
    async def f(t):
        def closing(m, n):
            return resp(200, 'x', headers=[('connection', 'close')])
        u = await t.up('u1', closing, tls=make_ctx())
        await t.start(cfg(t, [chain(t, tag=None, log='%UPSTREAM_TLS_VERSION% %UPSTREAM_TLS_SESSION_ID%')], [cluster('c1', u, up({}))]))
        for _ in range(2):
            await t.req('/')
        t.see('stats', await t.stats('cluster.c1.ssl.session_reused', 'cluster.c1.ssl.handshake'))
        t.see('log', counted(await t.logs()))


def ctx_without_tickets():
    c = server_ctx()
    c.maximum_version = pyssl.TLSVersion.TLSv1_2
    c.options |= pyssl.OP_NO_TICKET
    return c


ids_of_hosts('12_without_tickets', ctx_without_tickets)


# ---- hosts whose handshake comes to nothing

REASON = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%|%UPSTREAM_TLS_VERSION% %UPSTREAM_PEER_SUBJECT%'
COUNTED = r'^cluster\.c1\.(ssl\.(handshake|connection_error|fail_[a-z_]*|no_certificate)|upstream_cx_(connect_fail|connect_timeout|total|destroy|destroy_local|destroy_remote)|upstream_rq_(pending_failure_eject|total|503))$'


def host(name, server=None, common=None, extra=None, made=None, **kw):
    """A host that `server` plays (an ssl context, or a raw one) and what asks it."""
    @case('host_' + name, timeout=30)
    async def f(t):
        if made:
            await aside(made)
        s = server() if server else server_ctx()
        u = await t.up('u1', tls=s) if isinstance(s, pyssl.SSLContext) else await t.up('u1', conn=s)
        c = common() if common else {'validation_context': {'trusted_ca': crt('ca')}}
        await t.start(cfg(t, [chain(t, tag=None, log=REASON)], [cluster('c1', u, {**(extra or {}), **up(c, **kw)})]))
        r = await t.req('/')
        t.see('r', [r.status, r.body.decode()])
        t.see('stats', await t.stats(regex=COUNTED))
        t.see('log', await t.logs())


def ctx12(**kw):
    c = server_ctx(**kw)
    c.maximum_version = pyssl.TLSVersion.TLSv1_2
    return c


def ctx13():
    c = server_ctx()
    c.minimum_version = pyssl.TLSVersion.TLSv1_3
    return c


def trusting(**kw):
    return lambda: {'validation_context': {'trusted_ca': crt('ca'), **kw}}


def says(data, then_reset=False):
    async def serve(c):
        await c.fill()
        c.send(data)
        await c.drain()
        if then_reset:
            c.reset()
        else:
            c.close()
    return lambda: serve


def expired():
    make('expired_host', '/CN=up.example', 'DNS:up.example', days='expired')


def for_clients():
    make('client_only', '/CN=up.example', 'DNS:up.example', extra='extendedKeyUsage=clientAuth\n')


def weak_ciphers():
    c = ctx12()
    c.set_ciphers('AES128-SHA')
    return c


host('good')
host('of_another_authority', lambda: server_ctx('rogue'))
host('expired', lambda: server_ctx('expired_host'), made=expired)
host('expired_allowed', lambda: server_ctx('expired_host'), trusting(allow_expired_certificate=True), made=expired)
host('for_clients_only', lambda: server_ctx('client_only'), made=for_clients)
host('other_san_dns', common=trusting(match_typed_subject_alt_names=[{'san_type': 'DNS', 'matcher': {'exact': 'other.example'}}]))
host('other_san_uri', common=trusting(match_typed_subject_alt_names=[{'san_type': 'URI', 'matcher': {'prefix': 'spiffe://'}}]))
host('wildcard_san', common=trusting(match_typed_subject_alt_names=[{'san_type': 'DNS', 'matcher': {'exact': 'x.svc.example'}}]))
host('wildcard_san_two_labels', common=trusting(match_typed_subject_alt_names=[{'san_type': 'DNS', 'matcher': {'exact': 'x.y.svc.example'}}]))
host('san_by_suffix', common=trusting(match_typed_subject_alt_names=[{'san_type': 'DNS', 'matcher': {'suffix': '.example'}}]))
host('san_by_contains', common=trusting(match_typed_subject_alt_names=[{'san_type': 'DNS', 'matcher': {'contains': 'p.ex'}}]))
host('san_by_regex', common=trusting(match_typed_subject_alt_names=[{'san_type': 'DNS', 'matcher': {'safe_regex': {'regex': 'up[.].*'}}}]))
host('several_sans', common=trusting(match_typed_subject_alt_names=[{'san_type': 'DNS', 'matcher': {'exact': 'x.example'}}, {'san_type': 'DNS', 'matcher': {'exact': 'up.example'}}]))
host('other_hash', common=trusting(verify_certificate_hash=['b' * 64]))
host('other_spki', common=trusting(verify_certificate_spki=['NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=']))
host('accept_untrusted', lambda: server_ctx('rogue'), trusting(trust_chain_verification='ACCEPT_UNTRUSTED'))
host('wants_a_certificate_13', lambda: server_ctx(ca='ca'))
host('wants_a_certificate_12', lambda: ctx12(ca='ca'))
host('gets_a_rogue_certificate_12', lambda: ctx12(ca='ca'), lambda: {'tls_certificates': [cert('rogue')], 'validation_context': {'trusted_ca': crt('ca')}})
host('speaks_12_alone_and_13_is_wanted', ctx12, lambda: {'tls_params': {'tls_minimum_protocol_version': 'TLSv1_3', 'tls_maximum_protocol_version': 'TLSv1_3'}})
host('speaks_13_alone', ctx13, lambda: {})
host('speaks_13_where_we_may', ctx13, lambda: {'tls_params': {'tls_maximum_protocol_version': 'TLSv1_3'}})
host('speaks_other_ciphers', weak_ciphers, lambda: {'tls_params': {'cipher_suites': ['ECDHE-RSA-AES128-GCM-SHA256']}})
host('speaks_http', says(b'HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n'))
host('speaks_noise', says(b'\x01\x02\x03\x04\x05\x06\x07\x08'))
host('ends_at_once', says(b''))
host('resets', says(b'', True))
host('sends_an_alert', says(b'\x15\x03\x03\x00\x02\x02\x28'))
host('sends_an_alert_of_a_name', says(b'\x15\x03\x03\x00\x02\x02\x70'))
host('sends_a_version_alert', says(b'\x15\x03\x03\x00\x02\x02\x46'))
host('sends_half_a_record', says(b'\x16\x03\x03\x00\x40\x02'))


async def mute(c):
    await c.fill()
    await asyncio.sleep(5)


host('is_silent', lambda: mute, extra={'connect_timeout': '0.3s'})


# ---- names and certificates

def names():
    make('exact', '/CN=x.b.example', 'DNS:x.b.example')
    make('upper', '/CN=upper', 'DNS:UPPER.example')
    make('common', '/CN=common.example', '')
    make('ec_a', '/CN=ec', 'DNS:a.example', newkey='P-256')
    make('ec_b', '/CN=ec_b', 'DNS:b.example', newkey='P-384')


def chosen(name, certificates, asked, full_scan=None, contexts=None):
    @case('chosen_' + name, timeout=60)
    async def f(t):
        await aside(names)
        kw = {} if full_scan is None else {'full_scan_certs_on_sni_mismatch': full_scan}
        await t.start(cfg(t, [chain(t, down({'tls_certificates': [cert(c) for c in certificates]}, **kw))]))
        for label, make_ctx in (contexts or {'usual': client_ctx}).items():
            out = {}
            for sni in asked:
                ctx = make_ctx()
                ctx.check_hostname = False
                h = await hands(t, ctx, sni or None)
                out[sni or 'none'] = h.cn or h.err
            t.see(label, out)
        t.see('stats', await t.stats(regex=r'^listener\.l1\.ssl\.(handshake|sigalgs.*|connection_error)$'))


def only_ecdsa():
    c = client_ctx(max12=True)
    c.set_ciphers('ECDHE-ECDSA-AES128-GCM-SHA256')
    return c


def only_rsa():
    c = client_ctx(max12=True)
    c.set_ciphers('ECDHE-RSA-AES128-GCM-SHA256')
    return c


ASKED = ('a.example', 'b.example', 'x.b.example', 'y.b.example', 'x.y.b.example', 'upper.example', 'common.example', 'nope.example', 'a.example.', '')
chosen('by_name', ['a', 'b', 'exact', 'upper', 'common'], ASKED)
chosen('by_name_in_another_order', ['common', 'exact', 'b', 'a'], ASKED)
chosen('wildcard_before_exact', ['b', 'exact'], ('x.b.example', 'y.b.example', 'b.example'))
chosen('full_scan', ['b', 'a'], ('nope.example', 'a.example', ''), True)
KINDS = {'usual': client_ctx, 'ecdsa': only_ecdsa, 'rsa': only_rsa}
chosen('by_kind', ['a', 'ec_a'], ('a.example', 'nope.example'), contexts=KINDS)
chosen('by_kind_ecdsa_first', ['ec_a', 'a'], ('a.example', 'nope.example'), contexts=KINDS)
chosen('by_kind_and_name', ['a', 'ec_a', 'b', 'ec_b'], ('a.example', 'b.example', 'x.b.example', 'nope.example'), contexts=KINDS)
chosen('by_kind_full_scan', ['a', 'ec_b'], ('b.example', 'nope.example', 'x.b.example'), True, contexts=KINDS)
chosen('ecdsa_alone', ['ec_a'], ('a.example',), contexts=KINDS)


# ---- sockets by match

def matched(name, matches, metadata, default=None, extra=None):
    @case('match_' + name)
    async def f(t):
        u = await t.up('u1', tls=server_ctx())
        v = await t.up('u2')
        c = cluster('c1', u)
        eps = [{'endpoint': {'address': addr(x)}, 'metadata': {'filter_metadata': {'envoy.transport_socket_match': m}}} for x, m in zip((u, v), metadata)]
        c['load_assignment'] = {'cluster_name': 'c1', 'endpoints': [{'lb_endpoints': eps}]}
        c['transport_socket_matches'] = matches
        c.update(default or {})
        c.update(extra or {})
        await t.start(cfg(t, [chain(t, tag=None, log='%RESPONSE_CODE% %UPSTREAM_TLS_VERSION% %UPSTREAM_HOST% %UPSTREAM_TRANSPORT_FAILURE_REASON%')], [c]))
        t.see('status', [(await t.req('/')).status for _ in range(4)])
        t.see('stats', await t.stats(regex=r'^cluster\.c1\.(transport_socket_match\..*|ssl\.handshake|.*match_count)$'))
        t.see('log', sorted(await t.logs()))


TLS_MATCH = {'name': 'secured', 'match': {'tls': True}, **up({}, sni='up.example')}
RAW_MATCH = {'name': 'raw', 'match': {'clear': 'yes'}, 'transport_socket': {'name': 'raw', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}}
matched('first_of_two', [TLS_MATCH, RAW_MATCH], [{'tls': True}, {'clear': 'yes'}])
matched('nothing_falls_to_the_default', [TLS_MATCH], [{'tls': True}, {}])
matched('empty_match_takes_all', [TLS_MATCH, {'name': 'rest', 'transport_socket': RAW_MATCH['transport_socket']}], [{'tls': True}, {'tls': False}])
matched('both_criteria', [{**TLS_MATCH, 'match': {'tls': True, 'zone': 'a'}}, RAW_MATCH], [{'tls': True, 'zone': 'a', 'more': 1}, {'tls': True, 'clear': 'yes'}])
matched('default_is_tls', [RAW_MATCH], [{}, {'clear': 'yes'}], default=up({}))
matched('of_types', [{**TLS_MATCH, 'match': {'tls': 'true'}}, TLS_MATCH, RAW_MATCH], [{'tls': True}, {'clear': 'yes'}])
