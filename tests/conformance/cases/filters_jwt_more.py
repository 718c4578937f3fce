"""jwt_authn beyond the usual: every algorithm, remote keys, odd tokens, the tree of requirements, metadata."""
import base64
import hashlib
import hmac
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%'
META = LOG + ' %DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%'
b64 = lambda b: base64.urlsafe_b64encode(b).rstrip(b'=').decode()
SECRET = b'secret-secret-secret-secret-secret'
KEY = {'kty': 'oct', 'kid': 'k', 'alg': 'HS256', 'k': b64(SECRET)}
KEYS = lambda *ks: {'inline_string': json.dumps({'keys': list(ks or [KEY])})}
FAR = 4102444800
H = lambda *hs, **k: dict(headers=list(hs), **k)
J = lambda o: b64(o if isinstance(o, bytes) else json.dumps(o).encode())
sign = lambda text, key=SECRET, hashed=hashlib.sha256: b64(hmac.new(key, text.encode(), hashed).digest())


def tok(claims=None, key=SECRET, head=None, **more):
    c = {'iss': 'iss', 'exp': FAR, 'sub': 'me', **(claims or {}), **more}
    h = J({'alg': 'HS256', 'kid': 'k'} if head is None else head) + '.' + J({k: v for k, v in c.items() if v is not None})
    return h + '.' + sign(h, key)


def raw(payload, head=b'{"alg":"HS256","kid":"k"}'):
    h = J(head) + '.' + J(payload)
    return h + '.' + sign(h)


BEARER = lambda t='', **k: H(('authorization', 'Bearer ' + (t or tok())), **k)
P = lambda **k: {'issuer': 'iss', 'local_jwks': KEYS(), **k}
RULE = lambda m, r=None: {'match': m, **({'requires': r} if r else {})}
ALL = RULE({'prefix': '/'}, {'provider_name': 'p'})
ONE = lambda p=None, **more: {'providers': {'p': p or P()}, 'rules': [ALL], **more}
NEED = lambda r, ps=None, **more: {'providers': ps or {'p': P(), 'q': P(issuer='q', from_headers=[{'name': 'x-t'}])}, 'rules': [RULE({'prefix': '/'}, r)], **more}
ANY = lambda *rs: {'requires_any': {'requirements': list(rs)}}
EVERY = lambda *rs: {'requires_all': {'requirements': list(rs)}}
NAME = lambda n: {'provider_name': n}
R = lambda p, pf=None, **more: {'match': {'prefix': p}, 'route': {'cluster': 'c1'}, **(pf or {}), **more}
PR = lambda c: {'typed_per_filter_config': {'jwt': {'@type': ftype('jwt_authn.v3.PerRouteConfig'), **c}}}
SEEN = {'x-payload', 'x-sub', 'x-c', 'x-d', 'x-n', 'authorization', 'cookie', 'x-t', ':path'}
FILTER = lambda cfg: http_filter('jwt', 'jwt_authn.v3.JwtAuthentication', cfg)


def jwt(name, cfg, reqs, routes=None, log=LOG, filters=(), after=(), only=SEEN, vhosts=None):
    """The answers, what the upstream sees, the counters and the log."""
    @case('jwt2_' + name)
    async def _(t):
        u = await t.up()
        kw = {'vhosts': vhosts} if vhosts else {'routes': routes}
        await t.start(simple(t, filters=[*filters, FILTER(cfg), *after], log=log, **kw))
        for i, k in enumerate(reqs):
            m = await t.req(**(k() if callable(k) else k))
            t.see('%02d' % i, [m.status, m.body.decode(), m.h('www-authenticate'), m.h('content-type')])
        t.see('up', u.reqs, only=only)
        t.see('stats', await t.stats(regex=r'jwt_authn\.'))
        t.see('log', await t.logs())


# Tokens that are almost right.
jwt('forms', ONE(), [BEARER(t) for t in ('a..b.c', tok() + '.', '.' + tok(), tok().replace('.', '..', 1), tok() + '=', tok() + '==', tok().replace('.', '=.', 1), tok()[:-1])] +
    [H(('authorization', 'Bearer  ' + tok())), H(('authorization', 'xBearer ' + tok())), H(('authorization', 'Basic a, Bearer ' + tok())), H(('authorization', 'Bearer ' + tok()), ('authorization', 'Bearer ' + tok())), BEARER(tok().replace('-', '+').replace('_', '/'))])
jwt('payloads', ONE(), [BEARER(raw(b)) for b in (b'{"iss":"iss","iss":"x"}', b'{"iss":"iss"} ', b'{"iss":"iss"}x', b'{"iss":"iss","exp":1e30}', b'{"iss":"iss","exp":4102444800.7}', b'{"iss":"iss","exp":null}', b'{"iss":null}', b'{"iss":"iss","aud":[1]}',
    b'{"iss":"iss","aud":null}', b'{"iss":"iss","jti":7}', b'{"iss":"iss","iat":-1}', b'{"iss":"iss","nbf":-1}', b'{"iss":"iss","iat":18446744073709551616}', b'"x"', b'null', b'', b'{"iss":"iss","a":"\\ud83d\\ude00"}', b'{"iss":"iss","a":"\xff"}', b'{"iss":"iss","a":NaN}', b'{"iss":"iss","a":01}')])
jwt('heads', ONE(), [BEARER(raw(b'{"iss":"iss"}', h)) for h in (b'{"alg":"HS256"}', b'{"alg":"hs256"}', b'{"alg":"none"}', b'{"alg":""}', b'{"kid":"k"}', b'{"alg":"HS256","kid":""}', b'{"alg":"HS256","kid":null}', b'{"alg":"HS256","crit":["x"]}', b'{"alg":"ES256K"}', b'{"alg":"HS256","typ":"at+jwt"}')])
CODES = ['', tok(nbf=FAR), tok(exp=1), 'x', 'a.b.c', J(b'x') + '.e30.c', J({}) + '.e30.c', J({'alg': 'XX'}) + '.e30.c', J({'alg': 'HS256', 'kid': 7}) + '.e30.c', J({'alg': 'HS256'}) + '.!.c', J({'alg': 'HS256'}) + '.eA.c', tok(iss=7), tok(sub=7), tok(iat='x'), tok(iat=-1), tok(nbf='x'), tok(nbf=-1), tok(exp='x'), tok(exp=-1), tok({'jti': 7}), tok(aud=7),
         J({'alg': 'HS256'}) + '.e30.!', tok(iss='zz'), tok(aud='zz'), tok(key=b'x'), tok(head={'alg': 'HS256', 'kid': 'zz'})]
jwt('codes_of_failures', NEED(ANY(NAME('p'), {'allow_missing_or_failed': {}}), {'p': P(audiences=['a'], failed_status_in_metadata='why')}), [BEARER(t if t == '' or 'zz' in t else t) if t else H() for t in CODES], log=META, only=())
jwt('codes_of_denials', ONE(P(failed_status_in_metadata='why')), [H(), BEARER(tok(exp=1))], log=META)
jwt('codes_beside_payloads', NEED(ANY(NAME('p'), NAME('q')), {'p': P(failed_status_in_metadata='why', payload_in_metadata='pay'), 'q': P(issuer='q', failed_status_in_metadata='why_q', payload_in_metadata='pay_q')}), [BEARER(tok(iss='q')), BEARER(), H()], log=META, only=())

# Where tokens are found, and in which order they are tried.
jwt('order', ONE(P(from_headers=[{'name': 'x-z'}, {'name': 'x-a'}], from_params=['b', 'a'], from_cookies=['cy', 'cx'])), [
    H(('x-z', tok(exp=1)), ('x-a', tok(aud=7))), H(('x-z', tok(aud=7)), ('x-a', tok(exp=1))), H(('x-a', tok(exp=1)), path='/?a=' + tok(aud=7)), H(path='/?a=' + tok(exp=1) + '&b=' + tok(aud=7)), H(('cookie', 'cx=' + tok(exp=1) + '; cy=' + tok(aud=7))), H(('cookie', 'cx=' + tok(exp=1)), path='/?a=' + tok(aud=7)),
    H(('x-z', tok()), ('x-a', tok())), H(('x-z', ''), ('x-a', tok())), H(('cookie', 'cx="' + tok() + '"')), H(('cookie', 'cx=' + tok()), ('cookie', 'z=1'))], only={'x-z', 'x-a', 'cookie'})
jwt('of_repeated_headers', ONE(P(from_headers=[{'name': 'x-t'}])), [H(('x-t', tok()), ('x-t', tok())), H(('x-t', ' ' + tok() + ' ')), H(('X-T', tok()))])
jwt('of_odd_queries', ONE(P(from_params=['t'], forward_payload_header='x-payload')), [H(path=p) for p in ('/?t=' + tok() + '&t=x', '/?z=1&t=' + tok() + '&a=2&z=3&q=%41x', '/?t=' + tok().replace('.', '%2E'), '/?T=' + tok(), '/?t', '/x?y?t=' + tok(), '/?a=1&t=' + tok() + '#f')])
jwt('prefixes', ONE(P(from_headers=[{'name': 'x-t', 'value_prefix': 'a '}, {'name': 'x-t', 'value_prefix': 'b'}])), [H(('x-t', 'a ' + tok())), H(('x-t', 'b' + tok())), H(('x-t', tok())), H(('x-t', 'a')), H(('x-t', 'b'))])
jwt('issuers_by_location', NEED(ANY(NAME('p'), NAME('q'), {'allow_missing': {}})), [H(('x-t', tok())), BEARER(tok(iss='q')), H(('x-t', tok(iss='q')), ('authorization', 'Bearer ' + tok(iss='q')))])

# What goes on.
jwt('claims', ONE(P(claim_to_headers=[{'header_name': 'x-c', 'claim_name': c} for c in ('a.b', 'x', 'x', 'none', 'e', 'z')] + [{'header_name': 'X-D', 'claim_name': 'a'}, {'header_name': 'x-n', 'claim_name': 'num'}])),
    [BEARER(tok({'a.b': 'dotted', 'x': 'X', 'e': '', 'z': None, 'num': 12345678901234})), BEARER(raw(b'{"iss":"iss","z":null,"num":0,"a":{"b":null}}')), BEARER(tok({'num': 1e300})), BEARER(tok({'num': 1e-7, 'x': 'a\nb'})), BEARER(tok({'num': -0.0, 'x': '\u00e9', 'a': [1.5, None, True, {'k': -1}]})), BEARER(tok({'num': 9007199254740993})), BEARER(tok({'num': 18446744073709551615}))])
jwt('claims_by_path', ONE(P(claim_to_headers=[{'header_name': 'x-c', 'claim_path': [{'key': 'https://a.b/c'}, {'key': 'd'}]}])), [BEARER(tok({'https://a.b/c': {'d': 'deep'}})), BEARER()])
jwt('claims_of_two', NEED(EVERY(NAME('p'), NAME('q')), {'p': P(claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}], forward_payload_header='x-payload'), 'q': P(issuer='q', from_headers=[{'name': 'x-t'}], claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}], forward=True)}), [H(('authorization', 'Bearer ' + tok(sub='one')), ('x-t', tok(iss='q', sub='two')), ('x-sub', 'evil'))])
jwt('client_headers_when_missing', NEED(ANY(NAME('p'), {'allow_missing': {}}), {'p': P(claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}], forward_payload_header='x-payload')}), [H(('x-sub', 'evil'), ('x-payload', 'evil'), ('x-c', 'mine'))])
jwt('client_headers_without_rule', {'providers': {'p': P(claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}])}, 'rules': [RULE({'prefix': '/x'}, NAME('p'))]}, [H(('x-sub', 'evil'))])
jwt('client_headers_of_another', NEED(NAME('q'), {'p': P(forward_payload_header='x-payload'), 'q': P(issuer='q', forward_payload_header='x-c')}), [H(('authorization', 'Bearer ' + tok(iss='q')), ('x-payload', 'evil'), ('x-c', 'evil'))])
jwt('metadata_of_two', NEED(EVERY(NAME('p'), NAME('q')), {'p': P(payload_in_metadata='m', header_in_metadata='h'), 'q': P(issuer='q', from_headers=[{'name': 'x-t'}], payload_in_metadata='m', header_in_metadata='hq')}), [H(('authorization', 'Bearer ' + tok(a={'b': [1, None, 1.5]})), ('x-t', tok(iss='q', sub='two')))], log=META, only=())
jwt('metadata_normalised', ONE(P(payload_in_metadata='m', normalize_payload_in_metadata={'space_delimited_claims': ['scope', 'num', 'l', 'o', 'none']})), [BEARER(tok({'scope': '  a  b ', 'num': 7, 'l': ['a b'], 'o': {'x': 'a b'}})), BEARER(tok(scope=''))], log=META, only=())
jwt('metadata_of_denied', NEED(EVERY(NAME('p'), NAME('q')), {'p': P(payload_in_metadata='m'), 'q': P(issuer='q', from_headers=[{'name': 'x-t'}])}), [BEARER()], log=META, only=())
for what, more in {'by_payload_metadata': {'payload_in_metadata': 'm'}, 'by_header_metadata': {'header_in_metadata': 'm'}, 'by_payload_header': {'forward_payload_header': 'x-sub'}, 'by_nothing': {}}.items():
    jwt('reroute_' + what, ONE(P(clear_route_cache=True, **more)), [BEARER(), BEARER() | {'headers': [('authorization', 'Bearer ' + tok()), ('x-gone', '1')]}], filters=[http_filter('hm', 'header_mutation.v3.HeaderMutation', {'mutations': {'request_mutations': [{'append': {'header': {'key': 'x-new', 'value': '1'}}}]}})],
        routes=[{'match': {'prefix': '/', 'headers': [{'name': 'x-new', 'present_match': True}]}, 'direct_response': {'status': 201}}, R('/')], only=())

# The tree of requirements.
jwt('any_in_all', NEED(EVERY(ANY(NAME('p'), {'allow_missing': {}}), ANY(NAME('q'), {'allow_missing_or_failed': {}}))), [H(), BEARER(), BEARER('x'), H(('x-t', 'x')), H(('authorization', 'Bearer ' + tok()), ('x-t', 'x'))])
jwt('all_in_any', NEED(ANY(EVERY(NAME('p'), NAME('q')), NAME('q'))), [H(), BEARER(), H(('x-t', tok(iss='q'))), H(('x-t', tok(iss='q')), ('authorization', 'Bearer ' + tok())), H(('x-t', tok(iss='q')), ('authorization', 'Bearer x'))])
jwt('any_failures', NEED(ANY(NAME('p'), NAME('q'))), [H(('authorization', 'Bearer ' + tok(exp=1)), ('x-t', 'x')), H(('authorization', 'Bearer x'), ('x-t', tok(iss='q', exp=1))), H(('authorization', 'Bearer ' + tok(iss='zz')), ('x-t', tok(iss='q', exp=1))), H(('authorization', 'Bearer ' + tok(exp=1)), ('x-t', tok(iss='zz'))), H(('x-t', tok(iss='zz')))])
jwt('all_with_missing', NEED(EVERY(NAME('p'), {'allow_missing': {}})), [H(), BEARER(), H(('x-t', 'x'), ('authorization', 'Bearer ' + tok()))])
jwt('all_failures', NEED(EVERY(NAME('p'), NAME('q'))), [H(('authorization', 'Bearer ' + tok(exp=1)), ('x-t', 'x')), H(('authorization', 'Bearer ' + tok()), ('x-t', 'x'))])
jwt('any_both_lenient', NEED(ANY({'allow_missing': {}}, NAME('p'), {'allow_missing_or_failed': {}})), [H(), BEARER('x'), BEARER(tok(exp=1))])
jwt('lenient_finds_issuers', NEED({'allow_missing': {}}, {'p': P(), 'q': P(issuer='q', payload_in_metadata='q'), 'any': {'local_jwks': KEYS(), 'payload_in_metadata': 'any'}}), [BEARER(tok(iss='q')), BEARER(tok(iss='zz')), BEARER(tok(iss=None)), BEARER(tok(iss='q', exp=1))], log=META, only=())
jwt('failed_finds_headers', NEED({'allow_missing_or_failed': {}}, {'p': P(forward_payload_header='x-payload', failed_status_in_metadata='why')}), [BEARER(), BEARER(tok(exp=1)), H(('authorization', 'Bearer ' + tok()), path='/?access_token=' + tok(exp=1))], log=META)
jwt('missing_with_two_tokens', NEED({'allow_missing': {}}, {'p': P()}), [H(('authorization', 'Bearer ' + tok()), path='/?access_token=x'), H(('authorization', 'Bearer x'), path='/?access_token=' + tok())])
jwt('empty_requirement', NEED({}), [H(), BEARER('x')])
jwt('audiences_of_requirements', NEED({'provider_and_audiences': {'provider_name': 'p', 'audiences': []}}, {'p': P(audiences=['a'])}), [BEARER(tok(aud='a')), BEARER(tok(aud='b')), BEARER()])
jwt('audience_forms', ONE(P(audiences=['https://a/', 'b.c', ''])), [BEARER(tok(aud=a)) for a in ('https://a', 'http://a', 'a', 'a/', 'https://b.c/', 'http://b.c', 'B.C', '', '/')])
jwt('subject_forms', ONE(P(subjects={'exact': 'ME', 'ignore_case': True})), [BEARER(), BEARER(tok(sub='x')), BEARER(tok(sub=''))])
jwt('lifetimes', ONE(P(max_lifetime='100s')), [BEARER(tok(exp=FAR)), BEARER(tok(exp=None)), BEARER(tok(exp=None, iat=FAR)), BEARER(tok(iat=FAR - 100)), BEARER(tok(nbf=1, exp=FAR))])
jwt('lifetimes_that_are_short', ONE(P(max_lifetime='1000s', require_expiration=True)), [lambda: BEARER(tok(exp=int(time.time()) + 900)), lambda: BEARER(tok(exp=int(time.time()) + 2000)), BEARER(tok(exp=0)), BEARER(tok(exp=None))], only=())
jwt('lifetimes_of_none', ONE(P(max_lifetime='0s')), [lambda: BEARER(tok(exp=int(time.time()) + 900)), lambda: BEARER(tok(exp=int(time.time()) - 30))], only=())
jwt('clock_skew_of_lifetimes', ONE(P(clock_skew_seconds=1)), [lambda: BEARER(tok(exp=int(time.time()) - 30)), lambda: BEARER(tok(nbf=int(time.time()) + 30)), lambda: BEARER(tok(nbf=int(time.time()) - 30))], only=())
jwt('no_keys', ONE(P(local_jwks={'inline_string': ''}, failed_status_in_metadata='why')), [BEARER(), BEARER('x')], log=META)
jwt('extract_only_status', NEED({'extract_only_without_validation': {'verification_status_header': 'x-c'}}, {'p': P()}), [H(), BEARER(), BEARER(tok(exp=1)), BEARER('x'), BEARER(tok(key=b'x')), H(('x-c', 'evil'))])
jwt('extract_only_in_any', NEED(ANY(NAME('p'), {'extract_only_without_validation': {'verification_status_header': 'x-c'}}), {'p': P()}), [H(), BEARER(), BEARER(tok(exp=1))])
jwt('client_headers_of_disabled', {'providers': {'p': P(claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}])}, 'rules': [ALL]}, [H(('x-sub', 'evil'), path='/off'), H(('x-sub', 'evil'), path='/none')], routes=[R('/off', PR({'disabled': True})), R('/', PR({'requirement_name': 'zz'}))])
jwt('client_headers_of_failed', NEED({'allow_missing_or_failed': {}}, {'p': P(claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}])}), [H(('x-sub', 'evil')), H(('authorization', 'Bearer x'), ('x-sub', 'evil'))])
jwt('extract_only', NEED({'extract_only_without_validation': {}}, {'p': P(payload_in_metadata='m', forward_payload_header='x-payload', claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}])}), [H(), BEARER(), BEARER(tok(exp=1)), BEARER('x'), BEARER(tok(key=b'x')), BEARER(tok(iss='zz'))], log=META)

# Rules and routes.
jwt('rule_matchers', {'providers': {'p': P()}, 'rules': [RULE({'prefix': '/Q', 'query_parameters': [{'name': 'a', 'string_match': {'exact': 'b'}}]}, NAME('p')), RULE({'prefix': '/CI', 'case_sensitive': False}, NAME('p')), RULE({'path': '/Pi', 'case_sensitive': False}, NAME('p')), RULE({'path_match_policy': {'name': 'x', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig', 'path_template': '/t/*/z'}}}, NAME('p')),
    RULE({'safe_regex': {'regex': '/R.*'}, 'headers': [{'name': 'x-h', 'present_match': True, 'invert_match': True}]}, NAME('p')), RULE({'prefix': '/g', 'grpc': {}}, NAME('p'))]}, [H(path=p) for p in ('/Q?a=b', '/Q?a=c', '/ci', '/PI', '/pix', '/t/1/z', '/t/1/2/z', '/R?x', '/g', '/q?a=b')] + [H(('x-h', '1'), path='/R')])
jwt('first_rule_wins', {'providers': {'p': P()}, 'rules': [RULE({'path': '/open'}), ALL], 'filter_state_rules': {'name': 'sel', 'requires': {'x': NAME('p')}}}, [H(path='/open'), H(path='/open?x'), H(path='/shut')])
FS = http_filter('fs', 'set_filter_state.v3.Config', {'on_request_headers': [{'object_key': 'sel', 'factory_key': 'envoy.string', 'format_string': {'text_format_source': {'inline_string': '%REQ(x-s)%'}}}]})
jwt('state_behind_rules', {'providers': {'p': P()}, 'rules': [RULE({'prefix': '/open'})], 'filter_state_rules': {'name': 'sel', 'requires': {'x': NAME('p')}}}, [H(('x-s', 'x'), path='/open'), H(('x-s', 'x'), path='/other'), H(('x-s', 'y'), path='/other')], filters=[FS])
jwt('route_levels', {'providers': {'p': P()}, 'requirement_map': {'b': NAME('p'), 'a': {'allow_missing': {}}}, 'rules': [ALL]}, [H(path=p) for p in ('/off', '/a', '/none', '/b', '/d')], vhosts=[{'name': 'v', 'domains': ['*'], **PR({'disabled': True}), 'routes': [R('/off'), R('/a', PR({'requirement_name': 'a'})), R('/none', PR({'requirement_name': 'zz'})), R('/b', PR({'requirement_name': 'b'})), {'match': {'prefix': '/d'}, 'direct_response': {'status': 200}, **PR({'requirement_name': 'b'})}]}])
jwt('of_direct_answers', ONE(), [H(path='/d'), BEARER(path='/d'), H(path='/none')], routes=[{'match': {'prefix': '/d'}, 'direct_response': {'status': 202}}])
jwt('long_paths', ONE(), [H(path='/' + 'a' * 300), H(path='/x?q="<y>'), H(host='h.example:81')])
jwt('rewritten_paths', ONE(), [H(('x-envoy-original-path', '/evil'), path='/p')], routes=[R('/')])
jwt('head_and_bodies', ONE(), [H(method='HEAD'), H(method='POST', body='x' * 100), BEARER(method='POST', body='abc'), H(('content-type', 'application/grpc-web'), method='POST', body='x')])
jwt('stripped_grpc', ONE(strip_failure_response=True), [H(('content-type', 'application/grpc'), method='POST', body=b'x'), H(method='HEAD')])
jwt('preflight_and_client_headers', ONE(P(forward_payload_header='x-payload'), bypass_cors_preflight=True), [H(('origin', 'x'), ('access-control-request-method', 'GET'), ('x-payload', 'evil'), method='OPTIONS'), H(('origin', ''), ('access-control-request-method', 'GET'), method='OPTIONS')])
jwt('cache', ONE(P(jwt_cache_config={'jwt_cache_size': 2})), [BEARER(), BEARER(), BEARER(tok(sub='b')), BEARER(tok(sub='c')), BEARER(), BEARER(tok(sub='c')), BEARER(tok(exp=1)), BEARER(tok(exp=1))], only=())
jwt('cache_and_audiences', NEED({'provider_and_audiences': {'provider_name': 'p', 'audiences': ['z']}}, {'p': P(jwt_cache_config={})}, ), [BEARER(tok(aud='z')), BEARER(tok(aud='z')), BEARER(), BEARER()], only=())
jwt('cache_of_short_tokens', ONE(P(jwt_cache_config={'jwt_max_token_size': 100})), [BEARER(), BEARER()], only=())
jwt('cache_forwards', ONE(P(jwt_cache_config={}, forward_payload_header='x-payload', payload_in_metadata='m')), [BEARER(), BEARER()], log=META)
jwt('rbac_reads_payload', ONE(P(payload_in_metadata='m')), [BEARER(tok(role='admin')), BEARER(tok(role='user'))], after=[http_filter('rb', 'rbac.v3.RBAC', {'rules': {'action': 'ALLOW', 'policies': {'p': {'permissions': [{'any': True}], 'principals': [{'metadata': {'filter': 'envoy.filters.http.jwt_authn', 'path': [{'key': 'm'}, {'key': 'role'}], 'value': {'string_match': {'exact': 'admin'}}}}]}}}})])


def keys():
    """One key of each kind: its JWK's parts, and how it signs."""
    num = lambda n, size=None: b64(n.to_bytes(size or (n.bit_length() + 7) // 8, 'big'))
    r = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    n = r.public_key().public_numbers()
    out = {}
    for size, h in ((256, hashes.SHA256()), (384, hashes.SHA384()), (512, hashes.SHA512())):
        jwk = {'kty': 'RSA', 'n': num(n.n), 'e': num(n.e)}
        out['RS%d' % size] = (jwk, lambda m, h=h: r.sign(m, padding.PKCS1v15(), h))
        out['PS%d' % size] = (jwk, lambda m, h=h: r.sign(m, padding.PSS(padding.MGF1(h), h.digest_size), h))
        curve, crv, size_of = {256: (ec.SECP256R1(), 'P-256', 32), 384: (ec.SECP384R1(), 'P-384', 48), 512: (ec.SECP521R1(), 'P-521', 66)}[size]
        e = ec.generate_private_key(curve)
        en = e.public_key().public_numbers()

        def es(m, e=e, h=h, s=size_of):
            a, b = decode_dss_signature(e.sign(m, ec.ECDSA(h)))
            return a.to_bytes(s, 'big') + b.to_bytes(s, 'big')
        out['ES%d' % size] = ({'kty': 'EC', 'crv': crv, 'x': num(en.x, size_of), 'y': num(en.y, size_of)}, es)
    d = ed25519.Ed25519PrivateKey.generate()
    out['EdDSA'] = ({'kty': 'OKP', 'crv': 'Ed25519', 'x': b64(d.public_key().public_bytes_raw())}, d.sign)
    return out


def signed(alg, sign, kid=None, payload=None):
    h = J({'alg': alg, **({'kid': kid} if kid else {})}) + '.' + J(payload or {'iss': 'iss', 'exp': FAR})
    return h + '.' + b64(sign(h.encode()))


@case()
async def jwt2_algorithms(t):
    ks = keys()
    await t.up()
    jwks = [{**jwk, 'kid': alg, 'alg': alg} for alg, (jwk, _) in ks.items()]
    await t.start(simple(t, filters=[FILTER(ONE(P(local_jwks=KEYS(*jwks))))]))
    for alg, (_, sign) in ks.items():
        good = signed(alg, sign, alg)
        bad = good[:-6] + ('AAAAAA' if good[-6:] != 'AAAAAA' else 'BBBBBB')
        short = good.rsplit('.', 1)[0] + '.' + b64(sign(good.rsplit('.', 1)[0].encode())[:-1])
        for what, k in (('good', good), ('bad', bad), ('short', short), ('no_kid', signed(alg, sign))):
            m = await t.req(headers=[('authorization', 'Bearer ' + k)])
            t.see('%s %s' % (alg, what), [m.status, m.body.decode()])
    for said, alg in (('RS256', 'PS256'), ('RS384', 'RS256'), ('ES256', 'ES384'), ('HS256', 'RS256'), ('EdDSA', 'ES256')):
        m = await t.req(headers=[('authorization', 'Bearer ' + signed(said, ks[alg][1]))])
        t.see('%s by %s' % (said, alg), [m.status, m.body.decode()])


@case()
async def jwt2_algorithms_of_bare_keys(t):
    ks = keys()
    await t.up()
    jwks = [jwk for alg, (jwk, _) in ks.items() if alg[:2] != 'PS' and alg[:4] != 'RS3' and alg[:4] != 'RS5']
    await t.start(simple(t, filters=[FILTER(ONE(P(local_jwks=KEYS(*jwks))))]))
    for alg, (_, sign) in ks.items():
        m = await t.req(headers=[('authorization', 'Bearer ' + signed(alg, sign, 'any'))])
        t.see(alg, [m.status, m.body.decode()])
    key = json.dumps(ks['RS256'][0]).encode()
    m = await t.req(headers=[('authorization', 'Bearer ' + signed('HS256', lambda text: hmac.new(key, text, hashlib.sha256).digest()))])
    t.see('a public key as a secret', [m.status, m.body.decode()])


@case()
async def jwt2_keys_that_are_taken(t):
    ks = keys()
    await t.up()
    RSA, EC, OKP = ks['RS256'][0], ks['ES256'][0], ks['EdDSA'][0]
    cut = lambda k, *gone: {a: b for a, b in k.items() if a not in gone}
    for i, k in enumerate([RSA, cut(RSA, 'n'), cut(RSA, 'e'), {**RSA, 'n': '!'}, {**RSA, 'n': 7}, {**RSA, 'alg': 'HS256'}, {**RSA, 'alg': 'RSX'}, {**RSA, 'alg': 7}, {**RSA, 'kid': 7}, {**RSA, 'use': 'enc'}, EC, cut(EC, 'crv'), cut(EC, 'x'), {**EC, 'crv': 'P-384'}, {**EC, 'crv': 'secp256k1'}, {**EC, 'crv': 7}, {**EC, 'alg': 'ES384'}, {**EC, 'alg': 'RS256'}, {**EC, 'x': EC['y']},
                           OKP, {**OKP, 'crv': 'X25519'}, {**OKP, 'x': 'AAAA'}, {**OKP, 'alg': 'EdDSA'}, {**OKP, 'alg': 'ES256'}, cut(OKP, 'crv'), cut(OKP, 'x'), KEY, {**KEY, 'alg': 'RS256'}, {**KEY, 'k': ''}, {**KEY, 'k': '!'}, {**KEY, 'k': 7}, {'k': 'x'}, {'kty': 7}]):
        code, _ = await t.run_to_end(simple(t, filters=[FILTER(ONE(P(local_jwks=KEYS(k))))]), args=('--mode', 'validate'))
        t.see('%02d' % i, 'refused' if code else 'taken')
    for i, text in enumerate(['{"keys":{}}', '{"keys":[7]}', '{"keys":"x"}', '[]', '', '{"keys":[],"x":1}']):
        code, _ = await t.run_to_end(simple(t, filters=[FILTER(ONE(P(local_jwks={'inline_string': text})))]), args=('--mode', 'validate'))
        t.see('text %d' % i, 'refused' if code else 'taken')


@case()
async def jwt2_verdicts(t):
    await t.up('u1')
    REMOTE = lambda **k: {'issuer': 'iss', 'remote_jwks': {'http_uri': {'uri': 'http://k/', 'cluster': 'c1', 'timeout': '1s'}, **k}}
    for i, c in enumerate([ONE(REMOTE()), ONE({'remote_jwks': {'http_uri': {'uri': 'http://k/', 'cluster': 'none', 'timeout': '1s'}}}), ONE(REMOTE(cache_duration='0s')), ONE(REMOTE(cache_duration='0.001s')), ONE(REMOTE(async_fetch={})), ONE(REMOTE(retry_policy={'num_retries': 2})),
                           ONE(REMOTE(retry_policy={'retry_back_off': {'base_interval': '1s', 'max_interval': '0.5s'}})), ONE({'remote_jwks': {}}), ONE(P(from_headers=[{'name': ''}])), ONE(P(from_headers=[{'name': 'a b'}])), ONE(P(claim_to_headers=[{'header_name': 'x'}])), ONE(P(claim_to_headers=[{'claim_name': 'x', 'header_name': ''}])),
                           {**ONE(), 'requirement_map': {'m': NAME('zz')}}, NEED(NAME('')), NEED({'provider_and_audiences': {'provider_name': 'zz'}}), NEED(EVERY(NAME('p'))), {'providers': {'p': P()}, 'rules': [{'match': {'prefix': '/'}, 'requires': NAME('p'), 'requirement_name': 'x'}]}, {'providers': {'p': P()}, 'rules': [{'requires': NAME('p')}]}, {'providers': {'': P()}}, ONE(P(jwt_cache_config={'jwt_cache_size': 0})),
                           ONE(P(forward_payload_header='a\nb')), ONE(P(max_lifetime='-1s')), ONE(P(max_lifetime='0s')), ONE(P(local_jwks={'filename': '/none'})), {'providers': {'p': P()}, 'rules': [{'match': {'connect_matcher': {}}, 'requires': NAME('p')}]}, {'providers': {'p': P()}, 'filter_state_rules': {'name': ''}}, {'providers': {'p': P()}, 'filter_state_rules': {'name': 'x', 'requires': {'a': NAME('zz')}}},
                           {'providers': {'p': P()}, 'rules': [RULE({'safe_regex': {'regex': '('}}, NAME('p'))]}, ONE(P(claim_to_headers=[{'header_name': 'x', 'claim_name': 'a', 'claim_path': [{'key': 'b'}]}])), ONE(P(claim_to_headers=[{'header_name': 'x', 'claim_path': [{'key': ''}]}]))]):
        code, _ = await t.run_to_end(simple(t, filters=[FILTER(c)]), args=('--mode', 'validate'))
        t.see('%02d' % i, 'refused' if code else 'taken')
    for i, c in enumerate([{'disabled': False}, {}, {'requirement_name': ''}, {'disabled': True}]):
        code, _ = await t.run_to_end(simple(t, filters=[FILTER(ONE())], routes=[R('/', PR(c))]), args=('--mode', 'validate'))
        t.see('route %d' % i, 'refused' if code else 'taken')


@case()
async def jwt2_keys_from_places(t):
    await t.up()
    path = t.write('jwks.json', KEYS()['inline_string'])
    body = base64.b64encode(KEYS()['inline_string'].encode()).decode()
    os.environ['CASE_JWKS'] = KEYS()['inline_string']
    sources = {'file': {'filename': str(path)}, 'bytes': {'inline_bytes': body}, 'env': {'environment_variable': 'CASE_JWKS'}}
    cfg = {'providers': {k: P(local_jwks=v) for k, v in sources.items()}, 'rules': [RULE({'prefix': '/' + k}, NAME(k)) for k in sources]}
    await t.start(simple(t, filters=[FILTER(cfg)]))
    for k in sources:
        t.see(k, [(await t.req(**BEARER(path='/' + k))).status, (await t.req(**BEARER(tok(key=b'x'), path='/' + k))).status])


def remote(name, respond, reqs, remote=None, uri='http://keys.example/a/jwks?x=1', need=None, more=None, stats=r'jwt_authn\.|cluster\.ck\.(upstream_rq_(total|200|404|5xx|timeout|retry)|internal\.upstream_rq_200)$', gap=0, dead=False, first=0, lines=False):
    """Keys that a service gives, and how often it is asked."""
    @case('jwt2_remote_' + name)
    async def _(t):
        u = await t.up()
        k = t.dead('keys') if dead else await t.up('keys', respond)
        p = {'issuer': 'iss', 'remote_jwks': {'http_uri': {'uri': uri, 'cluster': 'ck', 'timeout': '0.5s'}, **(remote or {})}, **(more or {})}
        cfg = need(p) if need else ONE(p)
        await t.start(simple(t, clusters=[cluster('c1', u), cluster('ck', k)], filters=[FILTER(cfg)], log=LOG))
        if first:
            await t.until(lambda: len(k.reqs) >= first)
            await asyncio.sleep(0.1)
        for i, q in enumerate(reqs):
            m = await t.req(**q)
            t.see('%d' % i, [m.status, m.body.decode(), m.h('www-authenticate')])
            if gap:
                await asyncio.sleep(gap)
        if not dead:
            t.see('asked', [r.line for r in k.reqs] if lines else k.reqs)
        t.see('stats', await t.stats(regex=stats))
        t.see('log', await t.logs())


GIVE = lambda m, n: resp(200, KEYS()['inline_string'], [('content-type', 'application/json')])
remote('plain', GIVE, [BEARER(), BEARER(), BEARER('x'), H(), BEARER(tok(exp=1)), BEARER(tok(key=b'x'))])
remote('bad_first', GIVE, [BEARER('x'), H(), BEARER(tok(iss='zz')), BEARER(tok(exp=1)), BEARER(tok(key=b'x')), BEARER()])
remote('not_found', lambda m, n: resp(404, 'no'), [BEARER(), BEARER()])
remote('failing', lambda m, n: resp(503, 'no'), [BEARER()])
remote('empty', lambda m, n: resp(200, ''), [BEARER()])
remote('no_json', lambda m, n: resp(200, 'x'), [BEARER()])
remote('no_keys', lambda m, n: resp(200, '{"keys":[]}'), [BEARER()])
remote('at_204', lambda m, n: resp(204), [BEARER()])
remote('recovers', lambda m, n: GIVE(m, n) if n >= 2 else resp(500, 'no'), [BEARER(), BEARER(), BEARER()])
remote('dead', None, [BEARER()], dead=True, stats=r'jwt_authn\.')
remote('expires', GIVE, [BEARER(), BEARER()], {'cache_duration': '0.2s'}, gap=0.4)
remote('kept', GIVE, [BEARER(), BEARER()], {'cache_duration': '60s'}, gap=0.2)
remote('uri_without_path', GIVE, [BEARER()], uri='https://keys.example')
remote('uri_of_port', GIVE, [BEARER()], uri='http://keys.example:81/k')
remote('unknown_kid', GIVE, [BEARER(), BEARER(tok(head={'alg': 'HS256', 'kid': 'new'})), BEARER(tok(head={'alg': 'HS256', 'kid': 'new'}))])
remote('retried', lambda m, n: GIVE(m, n) if n >= 3 else resp(503, 'no'), [BEARER()], {'retry_policy': {'num_retries': 3, 'retry_back_off': {'base_interval': '0.01s', 'max_interval': '0.2s'}}}, lines=True)
remote('retried_in_vain', lambda m, n: resp(503, 'no'), [BEARER()], {'retry_policy': {'num_retries': 1, 'retry_back_off': {'base_interval': '0.01s', 'max_interval': '0.2s'}}}, lines=True)
remote('not_retried', lambda m, n: resp(404, 'no'), [BEARER()], {'retry_policy': {'num_retries': 1, 'retry_back_off': {'base_interval': '0.01s', 'max_interval': '0.2s'}}}, lines=True)
remote('ahead', GIVE, [BEARER(), BEARER()], {'async_fetch': {'fast_listener': False}}, first=1)
remote('ahead_fast', GIVE, [BEARER(), BEARER()], {'async_fetch': {'fast_listener': True}}, first=1)
remote('ahead_fails_first', lambda m, n: GIVE(m, n) if n >= 2 else resp(500, 'no'), [BEARER()], {'async_fetch': {'failed_refetch_duration': '0.1s'}}, first=2)
remote('or_local', GIVE, [H(('x-t', tok(iss='q')), ('authorization', 'Bearer ' + tok())), BEARER(), H(('x-t', tok(iss='q')))], need=lambda p: NEED(ANY(NAME('q'), NAME('p')), {'p': p, 'q': P(issuer='q', from_headers=[{'name': 'x-t'}])}))
remote('and_local', GIVE, [H(('x-t', tok(iss='q')), ('authorization', 'Bearer ' + tok())), BEARER()], need=lambda p: NEED(EVERY(NAME('p'), NAME('q')), {'p': p, 'q': P(issuer='q', from_headers=[{'name': 'x-t'}])}))
remote('lenient', lambda m, n: resp(404, 'no'), [BEARER(), H()], need=lambda p: NEED(ANY(NAME('p'), {'allow_missing_or_failed': {}}), {'p': p}))
remote('lenient_alone', GIVE, [BEARER(), BEARER(tok(key=b'x')), H()], need=lambda p: NEED({'allow_missing_or_failed': {}}, {'p': p}))
remote('with_body', GIVE, [BEARER(method='POST', body='abc'), BEARER(method='POST', body='d' * 5000)])
remote('cached_tokens', GIVE, [BEARER(), BEARER()], more={'jwt_cache_config': {}})


@case()
async def jwt2_remote_times_out(t):
    u = await t.up()

    async def silent(c):
        await c.read_request()
        await c.fill()
    k = await t.up('keys', conn=silent)
    p = {'issuer': 'iss', 'remote_jwks': {'http_uri': {'uri': 'http://k/', 'cluster': 'ck', 'timeout': '0.1s'}}}
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('ck', k)], filters=[FILTER(ONE(p))], log=LOG))
    m = await t.req(**BEARER())
    t.see('r', [m.status, m.body.decode()])
    t.see('stats', await t.stats(regex=r'jwt_authn\.|cluster\.ck\.upstream_rq_timeout'))
    t.see('log', await t.logs())


# What is looked at first, and what a lenient part of a tree does to headers that another part has set.
BAD = dict(key=b'x')
jwt('precedence', ONE(P(audiences=['a'], subjects={'exact': 'me'}, max_lifetime='100s', failed_status_in_metadata='why')), [BEARER(tok(exp=1, sub='x')), BEARER(tok(exp=1, aud='zz')), BEARER(tok(sub='x', aud='zz')), BEARER(tok(aud='zz')), BEARER(tok(nbf=FAR, sub='x')), BEARER(tok(nbf=FAR)), BEARER(tok(exp=1, iss='zz'))], log=META)
jwt('codes_of_keys', ONE(P(failed_status_in_metadata='why')), [BEARER(tok(**BAD)), BEARER(tok(head={'alg': 'HS256', 'kid': 'zz'}))], log=META)
jwt('lenient_part_of_all', NEED(EVERY(NAME('p'), {'allow_missing': {}}), {'p': P(forward_payload_header='x-payload', claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}], forward=True)}), [BEARER()])
jwt('lenient_part_of_all_removed', NEED(EVERY(NAME('p'), {'allow_missing': {}}), {'p': P(forward_payload_header='x-payload', claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}])}), [BEARER()])
jwt('claims_of_tokens', ONE(P(from_headers=[{'name': 'x-a'}, {'name': 'x-b'}], claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}], forward_payload_header='x-payload', payload_in_metadata='m')), [H(('x-a', tok(sub='a')), ('x-b', tok(sub='b')))], log=META)
jwt('extract_only_sets', NEED({'extract_only_without_validation': {'verification_status_header': 'x-c'}}, {'p': P(audiences=['a'])}), [H(('authorization', 'Bearer ' + tok(aud='zz')), ('x-c', 'evil')), H(('authorization', 'Bearer ' + tok(aud='a')), ('x-c', 'evil')), H(('authorization', 'Bearer ' + tok(iss='zz')))])


@case()
async def jwt2_remote_code_of_failure(t):
    u, k = await t.up(), await t.up('keys', lambda m, n: resp(404, 'no'))
    p = {'issuer': 'iss', 'failed_status_in_metadata': 'why', 'remote_jwks': {'http_uri': {'uri': 'http://k/', 'cluster': 'ck', 'timeout': '1s'}}}
    await t.start(simple(t, clusters=[cluster('c1', u), cluster('ck', k)], filters=[FILTER(ONE(p))], log=META))
    t.see('r', (await t.req(**BEARER())).status)
    t.see('log', await t.logs())

# Whose tokens a lenient part of a list looks at, and which failures a list tells.
LOOKS = [H(('x-t', 'x')), BEARER('x')]
PA = {'provider_and_audiences': {'provider_name': 'p', 'audiences': ['z']}}
for what, need in {'a_name': ANY(NAME('p'), {'allow_missing': {}}), 'audiences': ANY(PA, {'allow_missing': {}}), 'all': ANY(EVERY(NAME('p'), NAME('p')), {'allow_missing': {}}), 'any': ANY(ANY(NAME('p'), NAME('p')), {'allow_missing': {}}), 'nobody': ANY({'allow_missing': {}}, {'allow_missing': {}}),
                   'mixed': ANY(NAME('p'), EVERY(NAME('q'), NAME('q')), {'allow_missing': {}})}.items():
    jwt('lenient_beside_' + what, NEED(need), LOOKS)
jwt('extract_only_beside_a_name', NEED(ANY(NAME('p'), {'extract_only_without_validation': {'verification_status_header': 'x-c'}})), LOOKS)
jwt('lenient_in_all_looks_everywhere', NEED(EVERY(NAME('p'), {'allow_missing': {}})), [H(('authorization', 'Bearer ' + tok()), ('x-t', 'x'))])
jwt('codes_of_lists', NEED(ANY(NAME('p'), NAME('q')), {'p': P(failed_status_in_metadata='why'), 'q': P(issuer='q', from_headers=[{'name': 'x-t'}], failed_status_in_metadata='why_q')}), [H(), BEARER(tok(exp=1)), H(('x-t', tok(iss='q', exp=1))), H(('authorization', 'Bearer ' + tok(exp=1)), ('x-t', 'x'))], log=META)
jwt('codes_of_all', NEED(EVERY(NAME('p'), NAME('q')), {'p': P(failed_status_in_metadata='why'), 'q': P(issuer='q', from_headers=[{'name': 'x-t'}], failed_status_in_metadata='why_q')}), [H(), BEARER(tok(exp=1)), BEARER()], log=META)
