"""Keys with passwords, PKCS#12, the SPIFFE validator, key usage, parameters by policy, and XFCC by matcher."""
import ssl as pyssl
import subprocess

from harness import *
from harness.tls_config import *

SPIFFE = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig'
T_FCC = T_HCM + '.ForwardClientCertConfig'
PASSWORD = {'inline_string': 'secret'}


def openssl(*args):
    subprocess.run(('openssl', *args), cwd=certs(), check=True, capture_output=True)


def path(name):
    return {'filename': os.path.join(certs(), name)}


async def code(t, context):
    """Whether the configuration is taken: the exit code of validation, and the reason."""
    exit_code, log = await t.run_to_end(cfg(t, [chain(t, context)]), args=['--mode', 'validate'])
    return exit_code


async def shown(t, context):
    await t.start(cfg(t, [chain(t, context)]))
    return (await hands(t, client_ctx())).cn


# ---- keys with passwords

def encrypted(name, *args, password=PASSWORD, source=None, works=True):
    """A key encrypted by `openssl ARGS`."""
    @case('key_' + name)
    async def f(t):
        file = 'enc_%s.key' % name
        openssl(*args, '-passout', 'pass:secret', '-in', 'a.key', '-out', file)
        c = {'certificate_chain': crt('a'), 'private_key': path(file)}
        if password:
            c['password'] = password
        context = down({'tls_certificates': [c]})
        t.see('code', await code(t, context))
        if works:
            t.see('cn', await shown(t, context))


def pkcs8(name, *args, **kw):
    encrypted(name, 'pkcs8', '-topk8', *args, **kw)


pkcs8('pbes2_aes128', '-v2', 'aes-128-cbc')
pkcs8('pbes2_aes192', '-v2', 'aes-192-cbc')
pkcs8('pbes2_aes256', '-v2', 'aes-256-cbc')
pkcs8('pbes2_sha1', '-v2', 'aes-256-cbc', '-v2prf', 'hmacWithSHA1')
pkcs8('pbes2_sha512', '-v2', 'aes-256-cbc', '-v2prf', 'hmacWithSHA512', works=False)
pkcs8('pbes2_3des', '-v2', 'des3')
pkcs8('pbes2_scrypt', '-scrypt', works=False)
pkcs8('pbes1_sha1_3des', '-v1', 'PBE-SHA1-3DES', works=False)
encrypted('traditional_aes128', 'rsa', '-traditional', '-aes128')
encrypted('traditional_aes256', 'rsa', '-traditional', '-aes256')
encrypted('traditional_3des', 'rsa', '-traditional', '-des3')
pkcs8('wrong_password', '-v2', 'aes-256-cbc', password={'inline_string': 'other'}, works=False)
pkcs8('no_password', '-v2', 'aes-256-cbc', password=None, works=False)
pkcs8('empty_password', '-v2', 'aes-256-cbc', password={'inline_string': ''}, works=False)
encrypted('traditional_wrong_password', 'rsa', '-traditional', '-aes128', password={'inline_string': 'other'}, works=False)
encrypted('traditional_no_password', 'rsa', '-traditional', '-aes128', password=None, works=False)


@case()
async def key_password_without_need(t):
    c = {**cert('a'), 'password': PASSWORD}
    t.see('cn', await shown(t, down({'tls_certificates': [c]})))


@case()
async def key_password_from_a_file(t):
    """The whole file is the password, its newline too."""
    openssl('pkcs8', '-topk8', '-v2', 'aes-256-cbc', '-passout', 'pass:secret', '-in', 'a.key', '-out', 'enc_file.key')
    for name, text in (('exact', 'secret'), ('newline', 'secret\n')):
        c = {'certificate_chain': crt('a'), 'private_key': path('enc_file.key'), 'password': {'filename': t.write(name, text)}}
        t.see(name, await code(t, down({'tls_certificates': [c]})))


@case()
async def key_password_of_an_ecdsa_key(t):
    make('ec256', '/CN=ec256.example', 'DNS:a.example', newkey='P-256')
    openssl('ec', '-in', 'ec256.key', '-aes256', '-passout', 'pass:secret', '-out', 'enc_ec.key')
    c = {'certificate_chain': crt('ec256'), 'private_key': path('enc_ec.key'), 'password': PASSWORD}
    t.see('cn', await shown(t, down({'tls_certificates': [c]})))


@case()
async def key_password_of_an_upstream_context(t):
    openssl('pkcs8', '-topk8', '-v2', 'aes-256-cbc', '-passout', 'pass:secret', '-in', 'client.key', '-out', 'enc_client.key')
    u = await t.up('u1', tls=server_ctx('up', ca='ca'))
    c = {'tls_certificates': [{'certificate_chain': crt('client'), 'private_key': path('enc_client.key'), 'password': PASSWORD}]}
    await t.start(cfg(t, [chain(t, tag=None)], [cluster('c1', u, up(c))]))
    t.see('status', (await t.req('/')).status)


# ---- PKCS#12

def p12(name, *args, password=PASSWORD, more=None, works=True, export=('-export', '-inkey', 'a.key', '-in', 'a.crt')):
    @case('pkcs12_' + name)
    async def f(t):
        file = 'p12_%s.p12' % name
        openssl('pkcs12', *export, *args, '-passout', 'pass:secret', '-out', file)
        c = {'pkcs12': path(file), **(more() if more else {})}
        if password:
            c['password'] = password
        context = down({'tls_certificates': [c]})
        t.see('code', await code(t, context))
        if works:
            await t.start(cfg(t, [chain(t, context)]))
            h = await hands(t, client_ctx())
            t.see('cn', h.cn)
            t.see('certs', json.loads((await t.admin('/certs'))[1])['certificates'][0]['cert_chain'][0]['path'].replace(certs(), 'DIR'))


p12('plain')
p12('aes256', '-keypbe', 'AES-256-CBC', '-certpbe', 'AES-256-CBC')
p12('legacy_3des', '-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1')
p12('with_authority', '-certfile', 'ca.crt')
p12('unencrypted_certificates', '-certpbe', 'NONE')
p12('wrong_password', password={'inline_string': 'x'}, works=False)
p12('no_password', password=None, works=False)
p12('beside_a_key', more=lambda: {'private_key': path('a.key')}, works=False)
p12('beside_a_chain', more=lambda: {'certificate_chain': crt('a')}, works=False)
p12('no_key', export=('-export', '-nokeys', '-in', 'a.crt'), works=False)


@case()
async def pkcs12_inline(t):
    openssl('pkcs12', '-export', '-inkey', 'a.key', '-in', 'a.crt', '-passout', 'pass:secret', '-out', 'inline.p12')
    data = base64.b64encode(open(os.path.join(certs(), 'inline.p12'), 'rb').read()).decode()
    c = {'pkcs12': {'inline_bytes': data}, 'password': PASSWORD}
    t.see('cn', await shown(t, down({'tls_certificates': [c]})))


@case()
async def pkcs12_is_none(t):
    t.see('code', await code(t, down({'tls_certificates': [{'pkcs12': crt('a'), 'password': PASSWORD}]})))


# ---- x-forwarded-client-cert

XFCC = 'x-forwarded-client-cert'


def masked(text):
    """A header without what changes with each run: hashes and certificates."""
    if text is None:
        return None
    text = re.sub(r'[0-9a-f]{64}', '<sha256>', text)
    text = re.sub(r'-----BEGIN%20CERTIFICATE[^";,}]*', '<pem>', text)
    text = re.sub(r'-----BEGIN CERTIFICATE-----[^"]*', '<lines>', text)
    return text


async def forwarded(t, opts, sent=(None,), clients=('client',), requests=None, both=False):
    """The header that the upstream gets, for each that the client sends."""
    u = await t.up()
    c = {'tls_certificates': [cert('own' if both else 'a')], 'validation_context': {'trusted_ca': crt('ca')}}
    await t.start(cfg(t, [chain(t, down(c), tag=None, opts=opts)], [cluster('c1', u)]))
    for name in clients:
        got = []
        for value in sent:
            headers = [(XFCC, value)] if value is not None else []
            r = await t.req('/', headers=headers + (requests or []), ssl=client_ctx(cert_name=name), sni='a.example')
            got.append(masked(u.reqs[-1].h(XFCC)) if r.status == 200 else r.status)
        t.see(name or 'none', got)


def forwarders():
    make('own', '/CN=own.example', 'URI:spiffe://suite/own,URI:spiffe://suite/second,DNS:a.example')
    make('rich', '/C=DE/O=A, "B"/CN=rich', 'URI:spiffe://x/1,URI:spiffe://x/2,DNS:r.example,DNS:s.example,email:a@b.example')
    make('bare', '/CN=bare', '')


def xfcc(name, opts, sent=(None,), **kw):
    @case('xfcc_' + name, timeout=60)
    async def f(t):
        await aside(forwarders)
        await forwarded(t, opts, sent, clients=('client', 'rich', 'bare', None), both=True, **kw)


ALL = '{subject: true, cert: true, chain: true, dns: true, uri: true, issuer: true%s}'
PRIOR = (None, 'By=x;Hash=1', '{"By":["x"],"Hash":"1"}', '[{"Hash":"1"}]', '', '[]', '[{"Hash":"1"}', '[x]', '  [{}]', '[{}] ', '[', '[{},]')
xfcc('issuer', '{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {issuer: true}}')
xfcc('everything', '{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: %s}' % (ALL % ''))
xfcc('json', '{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: %s}' % (ALL % ', format: JSON'))
xfcc('json_subject', '{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {subject: true, format: JSON}}')
xfcc('json_hash_alone', '{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {format: JSON}}')
xfcc('json_appended', '{forward_client_cert_details: APPEND_FORWARD, set_current_client_cert_details: {uri: true, issuer: true, format: JSON}}', PRIOR)
xfcc('text_appended', '{forward_client_cert_details: APPEND_FORWARD, set_current_client_cert_details: {uri: true, issuer: true}}', PRIOR)
xfcc('json_forward_only', '{forward_client_cert_details: FORWARD_ONLY, set_current_client_cert_details: {format: JSON}}', PRIOR)


def action(mode, details='{}'):
    return {'name': 'a', 'typed_config': {'@type': T_FCC, 'forward_client_cert_details': mode, 'set_current_client_cert_details': Y(details)}}


def header_matcher(header, *entries, no_match=None):
    tree = {'input': {'name': 'h', 'typed_config': {'@type': 'type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput', 'header_name': header}},
            'exact_match_map': {'map': {value: {'action': a} for value, a in entries}}}
    m = {'matcher_tree': tree}
    if no_match:
        m['on_no_match'] = {'action': no_match}
    return m


def by_matcher(name, matcher, rest='{}', values=('one', 'two', 'three', None)):
    @case('xfcc_matcher_' + name)
    async def f(t):
        u = await t.up()
        c = {'tls_certificates': [cert('a')], 'validation_context': {'trusted_ca': crt('ca')}}
        await t.start(cfg(t, [chain(t, down(c), tag=None, opts={**Y(rest), 'forward_client_cert_matcher': matcher})], [cluster('c1', u)]))
        for client in ('client', None):
            got = []
            for value in values:
                headers = [(XFCC, 'By=x')] + ([('kind', value)] if value else [])
                r = await t.req('/', headers=headers, ssl=client_ctx(cert_name=client), sni='a.example')
                got.append(masked(u.reqs[-1].h(XFCC)) if r.status == 200 else r.status)
            t.see(client or 'none', got)


by_matcher('by_header', header_matcher('kind', ('one', action('APPEND_FORWARD', '{uri: true}')), ('two', action('ALWAYS_FORWARD_ONLY')), ('three', action('FORWARD_ONLY'))),
           rest='{forward_client_cert_details: SANITIZE_SET, set_current_client_cert_details: {dns: true}}')
by_matcher('with_no_match', header_matcher('kind', ('one', action('SANITIZE')), no_match=action('SANITIZE_SET', '{subject: true, format: JSON}')),
           rest='{forward_client_cert_details: ALWAYS_FORWARD_ONLY}')
by_matcher('of_the_header_itself', header_matcher(XFCC, ('By=x', action('ALWAYS_FORWARD_ONLY'))))


@case()
async def xfcc_matcher_refused(t):
    """Actions of another type."""
    def take(matcher):
        return cfg(t, [chain(t, down(), opts={'forward_client_cert_matcher': matcher})])
    t.see('another_type', (await t.run_to_end(take(header_matcher('x', ('one', {'name': 'a', 'typed_config': {'@type': T_ROUTER}}))), args=['--mode', 'validate']))[0])


# ---- the SPIFFE validator

def spiffe(domains=None, bundles=None, **kw):
    config = {'@type': SPIFFE}
    if domains is not None:
        config['trust_domains'] = [{'name': n, 'trust_bundle': crt(ca)} for n, ca in domains]
    if bundles is not None:
        config['trust_bundles'] = bundles
    return {'custom_validator_config': {'name': 'envoy.tls.cert_validator.spiffe', 'typed_config': config}, **kw}


def workloads():
    usage, both = 'keyUsage=digitalSignature', 'extendedKeyUsage=serverAuth,clientAuth'
    make_with('sp_one', 'URI:spiffe://one.example/a/b,DNS:x.example', usage, both)
    make_with('sp_other', 'URI:spiffe://one.example/a/b', usage, both, ca='otherca')
    make_with('sp_two', 'URI:spiffe://two.example/c', usage, both, ca='otherca')
    make_with('sp_two_uris', 'URI:spiffe://one.example/a,URI:spiffe://two.example/b', usage, both)
    make_with('sp_two_uris_back', 'URI:http://x/,URI:spiffe://two.example/b,URI:spiffe://one.example/a', usage, both)
    make_with('sp_no_path', 'URI:spiffe://one.example', usage, both)
    make_with('sp_upper', 'URI:SPIFFE://ONE.example/a', usage, both)
    make_with('sp_port', 'URI:spiffe://one.example:1/a', usage, both)
    make_with('sp_http', 'URI:http://one.example/a', usage, both)
    make_with('sp_none', 'DNS:one.example', usage, both)
    make_with('sp_expired', 'URI:spiffe://one.example/a', usage, both, days='expired')
    make_with('sp_unknown', 'URI:spiffe://three.example/a', usage, both)
    make_with('sp_usage', 'URI:spiffe://one.example/a', both)
    make_with('sp_signer', 'URI:spiffe://one.example/a', usage + ',keyCertSign', both)
    make_with('sp_crl', 'URI:spiffe://one.example/a', usage + ',cRLSign')
    make_with('sp_ca', 'URI:spiffe://one.example/a', usage, 'basicConstraints=CA:TRUE')
    make_with('sp_server', 'URI:spiffe://one.example/a', usage, 'extendedKeyUsage=serverAuth')


def make_with(name, san, *lines, **kw):
    make(name, '/CN=' + name, san, extra='\n'.join(lines) + '\n', **kw)


WORKLOADS = ('sp_one', 'sp_other', 'sp_two', 'sp_two_uris', 'sp_two_uris_back', 'sp_no_path', 'sp_upper', 'sp_port', 'sp_http', 'sp_none', 'sp_expired', 'sp_unknown', 'sp_usage',
             'sp_signer', 'sp_crl', 'sp_ca', 'sp_server', None)


def validated(name, context, require=True, clients=WORKLOADS):
    @case('spiffe_' + name, timeout=60)
    async def f(t):
        await aside(workloads)
        c = {'tls_certificates': [cert('a')], 'validation_context': context()}
        await t.start(cfg(t, [chain(t, down(c, require_client_certificate=require), log='%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_CERT_V_START%')],
                          lextra={'access_log': [filelog(t, '%DOWNSTREAM_TRANSPORT_FAILURE_REASON%', name='l.log')]}))
        out = {}
        for client in clients:
            out[client or 'none'] = (await t.req('/', ssl=client_ctx(cert_name=client, verify=False), sni='a.example')).status
        t.see('status', out)
        p = 'listener.l1.ssl.'
        t.see('stats', await t.stats(*(p + n for n in ('fail_verify_no_cert', 'fail_verify_error', 'fail_verify_san', 'fail_verify_cert_hash', 'no_certificate', 'handshake', 'connection_error'))))
        t.see('log', await t.logs('l.log'))


ONE = [('one.example', 'ca'), ('two.example', 'otherca')]
validated('domains', lambda: spiffe(ONE))
validated('not_required', lambda: spiffe(ONE), require=False, clients=('sp_one', 'sp_unknown', None))
validated('expired_allowed', lambda: spiffe(ONE, allow_expired_certificate=True), clients=('sp_one', 'sp_expired'))
validated('san_matchers', lambda: spiffe(ONE, match_typed_subject_alt_names=Y('[{san_type: URI, matcher: {prefix: "spiffe://one.example/a/"}}]')))
validated('dns_matchers', lambda: spiffe(ONE, match_typed_subject_alt_names=Y('[{san_type: DNS, matcher: {exact: x.example}}]')), clients=('sp_one', 'sp_two'))
validated('beside_trusted_ca', lambda: spiffe([('two.example', 'otherca')], trusted_ca=crt('ca')), clients=('sp_one', 'sp_two'))
validated('accept_untrusted', lambda: spiffe(ONE, trust_chain_verification='ACCEPT_UNTRUSTED'), clients=('sp_one', 'sp_other', 'sp_unknown', 'sp_none'))
validated('hashes_do_not_count', lambda: spiffe(ONE, verify_certificate_hash=['a' * 64]), clients=('sp_one', 'sp_two'))


def jwk_bundle(**domains):
    def der(ca):
        return base64.b64encode(pyssl.PEM_cert_to_DER_cert(open(os.path.join(certs(), ca + '.crt')).read())).decode()
    return json.dumps({'trust_domains': {name.replace('_', '.'): {'sequence_number': 1, 'spiffe_refresh_hint': 60,
                       'keys': [{'kty': 'RSA', 'use': 'x509-svid', 'x5c': [der(ca)], 'n': 'x', 'e': 'AQAB'} for ca in cas]} for name, cas in domains.items()}})


validated('bundles', lambda: spiffe(bundles={'inline_string': jwk_bundle(one_example=['ca'], two_example=['otherca'])}))
validated('bundles_of_two_authorities', lambda: spiffe(bundles={'inline_string': jwk_bundle(one_example=['ca', 'otherca'])}), clients=('sp_one', 'sp_other', 'sp_two'))
validated('bundles_beside_domains', lambda: spiffe([('two.example', 'otherca')], bundles={'inline_string': jwk_bundle(one_example=['ca'])}), clients=('sp_one', 'sp_two'))


def spiffe_config(name, context):
    @case('spiffe_config_' + name)
    async def f(t):
        await aside(workloads)
        t.see('code', await code(t, down({'tls_certificates': [cert('a')], 'validation_context': context()})))


spiffe_config('empty', lambda: spiffe())
spiffe_config('no_domains', lambda: spiffe([]))
spiffe_config('domain_twice', lambda: spiffe([('one.example', 'ca'), ('one.example', 'otherca')]))
spiffe_config('no_bundle', lambda: {'custom_validator_config': {'name': 'x', 'typed_config': {'@type': SPIFFE, 'trust_domains': [{'name': 'one.example'}]}}})
spiffe_config('bad_bundle', lambda: {'custom_validator_config': {'name': 'x', 'typed_config': {'@type': SPIFFE, 'trust_domains': [{'name': 'one.example', 'trust_bundle': {'inline_string': 'nonsense'}}]}}})
spiffe_config('bundles_not_json', lambda: spiffe(bundles={'inline_string': 'x'}))
spiffe_config('bundles_without_domains', lambda: spiffe(bundles={'inline_string': '{}'}))
spiffe_config('bundles_without_keys', lambda: spiffe(bundles={'inline_string': '{"trust_domains": {"a": {}}}'}))
spiffe_config('bundles_of_other_use', lambda: spiffe(bundles={'inline_string': jwk_bundle(one_example=['ca']).replace('x509-svid', 'jwt-svid')}))
spiffe_config('unknown_validator', lambda: {'custom_validator_config': {'name': 'x', 'typed_config': {'@type': T_ROUTER}}})
spiffe_config('crl_beside', lambda: spiffe(ONE, crl=crt('ca')))


@case(timeout=60)
async def spiffe_upstream(t):
    await aside(workloads)
    ups = {n: await t.up(n, tls=server_ctx(n)) for n in ('sp_one', 'sp_other', 'sp_unknown', 'sp_none')}
    # A handshake's time is not what is looked at.
    cs = [cluster(n, u, {'connect_timeout': '5s', **up({'validation_context': spiffe(ONE)})}) for n, u in ups.items()]
    routes = [{'match': {'prefix': '/' + n}, 'route': {'cluster': n}} for n in ups]
    await t.start(cfg(t, [chain(t, tag=None, routes=routes, log='%RESPONSE_CODE% %UPSTREAM_TRANSPORT_FAILURE_REASON%')], cs))
    t.see('status', {n: (await t.req('/' + n)).status for n in ups})
    t.see('stats', await t.stats(*('cluster.%s.ssl.%s' % (n, s) for n in ups for s in ('fail_verify_error', 'fail_verify_san'))))
    t.see('log', await t.logs())


@case(timeout=60)
async def spiffe_certs(t):
    await t.start(cfg(t, [chain(t, down({'tls_certificates': [cert('a')], 'validation_context': spiffe(ONE)}))]))
    found = json.loads((await t.admin('/certs'))[1])['certificates']
    t.see('authorities', [[x['path'].replace(certs(), 'DIR') for x in c.get('ca_cert', [])] for c in found])
    t.see('expiry', sorted(await t.stats(regex=r'ssl\.certificate')))


# ---- key usage

USAGES = {'none': '', 'signing': 'keyUsage=digitalSignature\n', 'enciphering': 'keyUsage=keyEncipherment\n', 'agreement': 'keyUsage=keyAgreement\n',
          'certs': 'keyUsage=keyCertSign\n', 'critical': 'keyUsage=critical,keyEncipherment\n'}


def usages():
    for n, usage in USAGES.items():
        make('ku_' + n, '/CN=' + n, 'DNS:a.example', extra=usage + 'extendedKeyUsage=serverAuth,clientAuth\n')
        make('ku_ec_' + n, '/CN=' + n, 'DNS:a.example', extra=usage + 'extendedKeyUsage=serverAuth,clientAuth\n', newkey='P-256')


def usage_of_servers(name, extra):
    @case('key_usage_' + name)
    async def f(t):
        await aside(usages)
        names = [k + n for n in USAGES for k in ('ku_', 'ku_ec_')]
        ups = {n: await t.up(n, tls=server_ctx(n)) for n in names}
        cs = [cluster(n, u, up({'validation_context': {'trusted_ca': crt('ca')}}, **extra)) for n, u in ups.items()]
        routes = [{'match': {'path': '/' + n}, 'route': {'cluster': n}} for n in ups]
        await t.start(cfg(t, [chain(t, tag=None, routes=routes, log='%REQ(:path)% %RESPONSE_CODE% %UPSTREAM_TRANSPORT_FAILURE_REASON%')], cs))
        for n in ups:
            await t.req('/' + n)
        t.see('connection_errors', await t.stats(*('cluster.%s.ssl.%s' % (n, s) for n in ups for s in ('connection_error', 'fail_verify_error'))))
        t.see('log', await t.logs())


usage_of_servers('of_servers', {})
usage_of_servers('of_servers_enforced', {'enforce_rsa_key_usage': True})
usage_of_servers('of_servers_not_enforced', {'enforce_rsa_key_usage': False})


@case()
async def key_usage_of_clients(t):
    await aside(usages)
    c = {'tls_certificates': [cert('a')], 'validation_context': {'trusted_ca': crt('ca')}}
    await t.start(cfg(t, [chain(t, down(c, require_client_certificate=True))], lextra={'access_log': [filelog(t, '%DOWNSTREAM_TRANSPORT_FAILURE_REASON%')]}))
    names = [k + n for n in USAGES for k in ('ku_', 'ku_ec_')]
    t.see('status', {n: (await t.req('/', ssl=client_ctx(cert_name=n, verify=False), sni='a.example')).status for n in names})
    t.see('log', await t.logs())


@case()
async def key_usage_of_our_own(t):
    await aside(usages)
    for n in USAGES:
        t.see(n, await code(t, down({'tls_certificates': [cert('ku_' + n)]})))


# ---- P-521

@case()
async def p521_certificate_of_ours(t):
    make('p521', '/CN=p521.example', 'DNS:a.example', newkey='P-521')
    t.see('code', await code(t, down({'tls_certificates': [cert('p521')]})))
    t.see('cn', await shown(t, down({'tls_certificates': [cert('p521')]})))


@case()
async def p384_certificate_of_ours(t):
    make('p384', '/CN=p384.example', 'DNS:a.example', newkey='P-384')
    t.see('cn', await shown(t, down({'tls_certificates': [cert('p384')]})))


@case()
async def p521_certificate_of_a_client(t):
    make('p521', '/CN=p521.example', 'DNS:a.example', newkey='P-521')
    c = {'tls_certificates': [cert('a')], 'validation_context': {'trusted_ca': crt('ca')}}
    await t.start(cfg(t, [chain(t, down(c, require_client_certificate=True))], lextra={'access_log': [filelog(t, '%DOWNSTREAM_TRANSPORT_FAILURE_REASON%')]}))
    t.see('status', (await t.req('/', ssl=client_ctx(cert_name='p521', verify=False), sni='a.example')).status)
    t.see('log', await t.logs())


@case(timeout=60)
async def p521_curve(t):
    c = {'tls_certificates': [cert('a')], 'tls_params': {'ecdh_curves': ['P-521']}}
    await t.start(cfg(t, [chain(t, down(c))]))
    for name, change in (('tls13', lambda c: None), ('tls12', only12)):
        ctx = client_ctx()
        change(ctx)
        t.see(name, (await hands(t, ctx)).version)
    t.see('stats', await t.stats(regex=r'listener.l1.ssl.curves'))


# ---- parameters

async def agreed(t, context, clients):
    await t.start(cfg(t, [chain(t, context)]))
    for name, change in clients:
        ctx = client_ctx(verify=False)
        change(ctx)
        h = await hands(t, ctx)
        t.see(name, [h.err and 'refused', h.version, h.cipher])


def only12(c):
    c.maximum_version = pyssl.TLSVersion.TLSv1_2


def suites(text):
    def change(c):
        only12(c)
        c.set_ciphers(text)
    return change


R128, R256, RCHA = 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-RSA-CHACHA20-POLY1305'
ORDERS = [('128_256', suites(R128 + ':' + R256)), ('256_128', suites(R256 + ':' + R128)), ('cha_128_256', suites(':'.join((RCHA, R128, R256)))), ('256_cha_128', suites(':'.join((R256, RCHA, R128))))]


def groups(name, *items):
    @case('suites_' + name)
    async def f(t):
        await agreed(t, down({'tls_certificates': [cert('a')], 'tls_params': {'cipher_suites': list(items)}}), ORDERS)


groups('group_then_one', '[%s|%s]' % (R256, R128), RCHA)
groups('one_then_group', RCHA, '[%s|%s]' % (R256, R128))
groups('two_groups', '[%s|%s]' % (R256, RCHA), R128)
groups('group_of_one', '[%s]' % R256, R128)
groups('plain_order', R256, R128, RCHA)
groups('default')
groups('in_one_item', '%s:[%s|%s]' % (RCHA, R256, R128))


@case()
async def suites_bad_groups(t):
    for name, item in (('open', '[%s' % R128), ('closed', '%s]' % R128), ('empty', '[]'), ('twice', '[[%s]]' % R128), ('bar', '%s|%s' % (R128, R256)), ('iana', 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'), ('plus', '+%s' % R128), ('blank', '%s %s' % (R128, R256)), ('comma', '%s,%s' % (R128, R256))):
        t.see(name, await code(t, down({'tls_certificates': [cert('a')], 'tls_params': {'cipher_suites': [item]}})))


@case()
async def group_with_client_preference(t):
    c = {'tls_certificates': [cert('a')], 'tls_params': {'cipher_suites': [R256, R128, RCHA]}}
    await agreed(t, down(c, prefer_client_ciphers=True), ORDERS)


def policy(name, *policies, more='{}'):
    @case('policy_' + name)
    async def f(t):
        c = {'tls_certificates': [cert('a')], 'tls_params': {'compliance_policies': list(policies), **Y(more)}}
        await agreed(t, down(c), [('any', lambda c: None), ('tls12', only12), *ORDERS, ('cha', suites(RCHA))])


policy('fips', 'FIPS_202205')
policy('fips_after_suites', 'FIPS_202205', more="{cipher_suites: ['%s']}" % RCHA)
policy('fips_after_versions', 'FIPS_202205', more='{tls_maximum_protocol_version: TLSv1_2}')


@case()
async def policy_unknown(t):
    for name in ('NOPE', 'FIPS'):
        t.see(name, await code(t, down({'tls_certificates': [cert('a')], 'tls_params': {'compliance_policies': [name]}})))


@case()
async def signature_algorithms(t):
    make('ec256', '/CN=ec256.example', 'DNS:a.example', newkey='P-256')
    c = {'tls_certificates': [cert('a')], 'tls_params': {'signature_algorithms': ['rsa_pss_rsae_sha256', 'ecdsa_secp256r1_sha256']}}
    t.see('known', await code(t, down(c)))
    for name in ('ed25519', 'nope', 'rsa_pss_rsae_sha512', 'rsa_pss_rsae_sha256:ecdsa_secp521r1_sha512'):
        t.see(name, await code(t, down({'tls_certificates': [cert('a')], 'tls_params': {'signature_algorithms': [name]}})))


@case()
async def signature_algorithms_of_a_server(t):
    """What the server signs with, and takes from clients."""
    c = {'tls_certificates': [cert('a')], 'tls_params': {'signature_algorithms': ['rsa_pss_rsae_sha512']}, 'validation_context': {'trusted_ca': crt('ca')}}
    await t.start(cfg(t, [chain(t, down(c, require_client_certificate=True))]))
    t.see('status', (await t.req('/', ssl=client_ctx(cert_name='client', verify=False), sni='a.example')).status)
    t.see('stats', await t.stats(regex=r'listener.l1.ssl.sigalgs'))


# ---- key log

def logged(name, **ranges):
    @case('key_log_' + name)
    async def f(t):
        p = t.path('keys.log')
        await t.start(cfg(t, [chain(t, down({'tls_certificates': [cert('a')], 'key_log': {'path': p, **ranges}}))]))
        await hands(t, client_ctx())
        await t.stop()
        t.see('lines', os.path.exists(p) and len(open(p).read().splitlines()))


logged('of_the_remote_range', remote_address_range=Y('[{address_prefix: 127.0.0.0, prefix_len: 8}]'))
logged('of_another_remote_range', remote_address_range=Y('[{address_prefix: 10.0.0.0, prefix_len: 8}]'))
logged('of_the_local_range', local_address_range=Y('[{address_prefix: 10.0.0.0, prefix_len: 8}, {address_prefix: 127.0.0.1, prefix_len: 32}]'))
logged('of_another_local_range', local_address_range=Y('[{address_prefix: 10.0.0.0, prefix_len: 8}]'))
logged('of_both_ranges', local_address_range=Y('[{address_prefix: 127.0.0.0, prefix_len: 8}]'), remote_address_range=Y('[{address_prefix: 10.0.0.0, prefix_len: 8}]'))


# ---- what is known by name

@case()
async def refused_parts(t):
    """Parts of a context that Envoy knows by name and this build does not."""
    for name, common in (('selector', {'custom_tls_certificate_selector': {'name': 'nope', 'typed_config': {'@type': T_ROUTER}}}),
                         ('handshaker', {'custom_handshaker': {'name': 'nope', 'typed_config': {'@type': T_ROUTER}}}),
                         ('timestamps', {'validation_context': {'require_signed_certificate_timestamp': True}}),
                         ('private_key_provider', {'tls_certificates': [{'certificate_chain': crt('a'), 'private_key_provider': {'provider_name': 'nope', 'typed_config': {'@type': T_ROUTER}}}]}),
                         ('provider_with_fallback', {'tls_certificates': [{**cert('a'), 'private_key_provider': {'provider_name': 'nope', 'fallback': True, 'typed_config': {'@type': T_ROUTER}}}]}),
                         ('provider_instance', {'tls_certificate_provider_instance': {'instance_name': 'x', 'certificate_name': 'y'}}),
                         ('sct', {'tls_certificates': [{**cert('a'), 'signed_certificate_timestamp': [crt('a')]}]})):
        t.see(name, await code(t, down({'tls_certificates': [cert('a')], **common})))


# ---- words of cipher suites

def words(name, rule, *shown):
    """What a rule leaves for a client that has one suite alone."""
    @case('cipher_words_' + name)
    async def f(t):
        await t.start(cfg(t, [chain(t, down({'tls_certificates': [cert('a')], 'tls_params': {'cipher_suites': rule}}))]))
        for suites in shown:
            ctx = client_ctx(verify=False, max12=True)
            ctx.set_ciphers(suites)
            t.see(suites, (await hands(t, ctx)).cipher)


GCM128, GCM256, CHACHA = 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-RSA-CHACHA20-POLY1305'
words('all_but', ['ALL:!kRSA:!SHA1:!PSK'], GCM128, GCM256, CHACHA)
words('several_items', ['ALL', '!kRSA', '!SHA1', '-CHACHA20'], GCM256, CHACHA)
words('together', ['ECDHE+AESGCM'], GCM128, CHACHA)
words('moved', ['ECDHE+AESGCM:+AES128'], GCM128 + ':' + GCM256)
words('by_strength', ['ECDHE+AESGCM:@STRENGTH'], GCM128 + ':' + GCM256)
words('taken_out_and_in', ['ALL:!kRSA:!SHA1:-ALL:CHACHA20'], GCM128, CHACHA)


@case()
async def cipher_words_refused(t):
    for rule in ('NONSENSE', '!NONSENSE:ECDHE+AESGCM', '!ALL', 'ECDHE-RSA-AES128-GCM-SHA256,ECDHE-RSA-AES256-GCM-SHA384'):
        t.see(rule, await code(t, down({'tls_certificates': [cert('a')], 'tls_params': {'cipher_suites': [rule]}})))
