"""jwt_authn: where tokens are looked for, which are taken, what is required, and what goes on with the request."""
import base64
import hashlib
import hmac
import json

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%'
b64 = lambda b: base64.urlsafe_b64encode(b).rstrip(b'=').decode()
SECRET = b'secret-secret-secret-secret-secret'
KEY = {'kty': 'oct', 'kid': 'k', 'alg': 'HS256', 'k': b64(SECRET)}
KEYS = lambda *ks: {'inline_string': json.dumps({'keys': list(ks or [KEY])})}
FAR = 4102444800
H = lambda *hs, **k: dict(headers=list(hs), **k)


def tok(claims=None, key=SECRET, head=None, sig=None, hashed=hashlib.sha256, **more):
    c = {'iss': 'iss', 'exp': FAR, 'sub': 'me', **(claims or {}), **more}
    c = {k: v for k, v in c.items() if v is not None}
    head = {'alg': 'HS256', 'kid': 'k'} if head is None else head
    h = b64(json.dumps(head).encode()) + '.' + b64(json.dumps(c).encode())
    return h + '.' + (b64(hmac.new(key, h.encode(), hashed).digest()) if sig is None else sig)


BEARER = lambda t='', **k: H(('authorization', 'Bearer ' + (t or tok())), **k)
P = lambda **k: {'issuer': 'iss', 'local_jwks': KEYS(), **k}
ALL = {'match': {'prefix': '/'}, 'requires': {'provider_name': 'p'}}
SEEN = {'x-payload', 'x-sub', 'x-c', 'x-n', 'x-b', 'x-l', 'authorization', 'cookie', 'x-t', ':path'}


def jwt(name, cfg, reqs, routes=None, log=LOG, filters=(), opts=None, only=SEEN):
    """The answers, what the upstream sees, the counters and the log."""
    @case('jwt_' + name)
    async def _(t):
        u = await t.up()
        f = http_filter('jwt', 'jwt_authn.v3.JwtAuthentication', cfg)
        await t.start(simple(t, filters=[*filters, f], log=log, routes=routes, opts=opts))
        for i, k in enumerate(reqs):
            m = await t.req(**k)
            t.see('%d' % i, [m.status, m.body.decode(), m.h('www-authenticate'), m.h('content-type')])
        t.see('up', u.reqs, only=only)
        t.see('stats', await t.stats(regex=r'jwt_authn\.'))
        t.see('log', await t.logs())


ONE = lambda p=None, **more: {'providers': {'p': p or P()}, 'rules': [ALL], **more}
jwt('plain', ONE(), [BEARER(), H(), H(('authorization', 'Basic x')), H(('authorization', 'bearer ' + tok())), H(('authorization', 'Bearer')), H(('authorization', 'Bearer ')), H(('authorization', 'Bearer ' + tok() + ' x')), H(('authorization', 'Bearer ' + tok() + ',x'))])
jwt('query', ONE(), [H(path='/?access_token=' + tok()), H(path='/?a=b&access_token=' + tok() + '&c'), H(path='/?access_token=x'), H(path='/?access_token=')])
jwt('forward', ONE(P(forward=True)), [BEARER(), H(path='/?access_token=' + tok() + '&a=b')])
jwt('times', ONE(), [BEARER(tok(exp=1)), BEARER(tok(nbf=FAR)), BEARER(tok(exp=None)), BEARER(tok(nbf=1)), BEARER(tok(exp=0)), BEARER(tok(exp='x')), BEARER(tok(nbf='x')), BEARER(tok(iat='x')), BEARER(tok(exp=-1))])
jwt('clock_skew', ONE(P(clock_skew_seconds=FAR)), [BEARER(tok(exp=1000000000))])
jwt('issuer', ONE(), [BEARER(tok(iss='other')), BEARER(tok(iss=None)), BEARER(tok(iss=7)), BEARER(tok(sub=7))])
jwt('issuer_any', ONE(P(issuer='')), [BEARER(tok(iss='other')), BEARER(tok(iss=None))])
jwt('audiences', ONE(P(audiences=['a', 'https://b/'])), [BEARER(tok(aud='a')), BEARER(tok(aud=['x', 'a'])), BEARER(tok(aud='b')), BEARER(tok(aud='http://b')), BEARER(tok(aud='https://b')), BEARER(tok()), BEARER(tok(aud=[])), BEARER(tok(aud=7))])
jwt('malformed', ONE(), [BEARER('a.b'), BEARER('a.b.c'), BEARER('.'.join(['e30', 'e30', ''])), BEARER(b64(b'{"alg":"none"}') + '.' + b64(b'{}') + '.'), BEARER(b64(b'x') + '.e30.c'), BEARER(b64(b'{"alg":7}') + '.e30.c'), BEARER(b64(b'{"alg":"HS256"}') + '.!!.c'),
                         BEARER(b64(b'{"alg":"HS256"}') + '.' + b64(b'x') + '.c'), BEARER(b64(b'{"alg":"HS256","kid":7}') + '.e30.c'), BEARER(b64(b'{"alg":"HS256"}') + '.e30.!!'), BEARER(b64(b'{"alg":"XX"}') + '.e30.c'), BEARER(b64(b'[]') + '.e30.c'), BEARER('a.b.c.d')])
jwt('keys', ONE(P(local_jwks=KEYS(KEY, {**KEY, 'kid': 'other', 'k': b64(b'x' * 32)}))), [BEARER(tok(head={'alg': 'HS256'})), BEARER(tok(head={'alg': 'HS256', 'kid': 'other'})), BEARER(tok(head={'alg': 'HS256', 'kid': 'none'})), BEARER(tok(head={'alg': 'HS384', 'kid': 'k'}, hashed=hashlib.sha384))])
jwt('hs_sizes', ONE(P(local_jwks=KEYS({k: v for k, v in KEY.items() if k != 'alg'}))), [BEARER(tok(head={'alg': 'HS384', 'kid': 'k'}, hashed=hashlib.sha384)), BEARER(tok(head={'alg': 'HS512', 'kid': 'k'}, hashed=hashlib.sha512)), BEARER(tok(head={'alg': 'RS256', 'kid': 'k'}))])
jwt('from_headers', ONE(P(from_headers=[{'name': 'x-t'}, {'name': 'x-u', 'value_prefix': 'Token '}, {'name': 'x-v', 'value_prefix': 'jwt='}])), [H(('x-t', tok())), H(('x-u', 'Token ' + tok())), H(('x-u', tok())), H(('x-v', 'a=b, jwt=' + tok() + ', c')), BEARER(), H(path='/?access_token=' + tok())])
jwt('from_params', ONE(P(from_params=['jwt'])), [H(path='/?jwt=' + tok()), H(path='/?jwt=' + tok() + '&x=y'), BEARER(), H(path='/?access_token=' + tok())])
jwt('from_cookies', ONE(P(from_cookies=['tok'])), [H(('cookie', 'a=b; tok=' + tok())), H(('cookie', 'tok=x')), BEARER()])
jwt('payload_forwarded', ONE(P(forward_payload_header='x-payload')), [BEARER(), BEARER(tok(a=['x', {'y': 1.5}]))])
jwt('payload_forwarded_padded', ONE(P(forward_payload_header='x-payload', pad_forward_payload_header=True)), [BEARER(tok(a='1')), BEARER(tok(a='12')), BEARER(tok(a='123'))])
jwt('payload_header_of_clients', ONE(P(forward_payload_header='x-payload', claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}]), bypass_cors_preflight=True), [BEARER(tok(sub=None)) | {'headers': [('authorization', 'Bearer ' + tok(sub=None)), ('x-payload', 'evil'), ('x-sub', 'evil')]}])
jwt('claims_to_headers', ONE(P(claim_to_headers=[{'header_name': 'x-c', 'claim_name': 'n.a.b'}, {'header_name': 'x-n', 'claim_name': 'num'}, {'header_name': 'x-b', 'claim_name': 'flag'}, {'header_name': 'x-l', 'claim_name': 'list'}, {'header_name': 'x-sub', 'claim_name': 'sub'}])),
    [BEARER(tok({'n': {'a': {'b': 'deep'}}, 'num': 7, 'flag': True, 'list': ['a', 'b']})), BEARER(tok({'n': {'a': 'x'}, 'num': 1.5, 'flag': False, 'list': {'x': 'y'}})), BEARER(tok({'num': -3, 'list': []}))])
META = LOG + ' %DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%'
jwt('payload_in_metadata', ONE(P(payload_in_metadata='pay', header_in_metadata='head')), [BEARER(tok(n=7, s='x y', l=[1, 'a']))], log=META)
jwt('payload_normalised', ONE(P(payload_in_metadata='pay', normalize_payload_in_metadata={'space_delimited_claims': ['scope']})), [BEARER(tok(scope='a b c')), BEARER(tok(scope='a'))], log=META)
jwt('failed_status_in_metadata', {'providers': {'p': P(failed_status_in_metadata='why')}, 'rules': [{'match': {'prefix': '/'}, 'requires': {'requires_any': {'requirements': [{'provider_name': 'p'}, {'allow_missing_or_failed': {}}]}}}]}, [H(), BEARER(tok(exp=1)), BEARER('x')], log=META)
RULE = lambda m, r=None: {'match': m, **({'requires': r} if r else {})}
jwt('rules', {'providers': {'p': P()}, 'rules': [RULE({'prefix': '/open'}), RULE({'path': '/exact'}, {'provider_name': 'p'}), RULE({'safe_regex': {'regex': '/r/[0-9]+'}}, {'provider_name': 'p'}), RULE({'prefix': '/h', 'headers': [{'name': 'x-h', 'present_match': True}]}, {'provider_name': 'p'}), RULE({'path_separated_prefix': '/sep'}, {'provider_name': 'p'})]},
    [H(path=p) for p in ('/open/x', '/exact', '/exact/x', '/r/1', '/r/x', '/h', '/sep/x', '/sepx', '/exact?q')] + [H(('x-h', '1'), path='/h')])
jwt('rules_none', {'providers': {'p': P()}}, [H(), BEARER('x')])
NEED = lambda r, ps=None, **more: {'providers': ps or {'p': P(), 'q': P(issuer='q', from_headers=[{'name': 'x-t'}])}, 'rules': [RULE({'prefix': '/'}, r)], **more}
Q = tok(iss='q')
BOTH = H(('authorization', 'Bearer ' + tok()), ('x-t', Q))
EITHER = {'requirements': [{'provider_name': 'p'}, {'provider_name': 'q'}]}
jwt('any', NEED({'requires_any': EITHER}), [BEARER(), H(('x-t', Q)), BOTH, H(), H(('x-t', 'x')), BEARER(tok(exp=1)), H(('authorization', 'Bearer ' + tok(exp=1)), ('x-t', Q)), BEARER(tok(iss='zz'))])
jwt('all', NEED({'requires_all': EITHER}), [BEARER(), H(('x-t', Q)), BOTH, H(), H(('authorization', 'Bearer x'), ('x-t', Q))])
jwt('allow_missing', NEED({'requires_any': {'requirements': [{'provider_name': 'p'}, {'allow_missing': {}}]}}), [H(), BEARER(), BEARER('x'), BEARER(tok(exp=1)), BEARER(tok(iss='zz'))])
jwt('allow_missing_alone', NEED({'allow_missing': {}}), [H(), BEARER(), BEARER('x'), BEARER(tok(exp=1)), BEARER(tok(iss='zz'))])
jwt('allow_missing_or_failed', NEED({'requires_any': {'requirements': [{'provider_name': 'p'}, {'allow_missing_or_failed': {}}]}}), [H(), BEARER(), BEARER('x')])
jwt('allow_missing_or_failed_alone', NEED({'allow_missing_or_failed': {}}), [H(), BEARER(), BEARER('x')])
jwt('provider_and_audiences', NEED({'provider_and_audiences': {'provider_name': 'p', 'audiences': ['z']}}), [BEARER(), BEARER(tok(aud='z'))])
jwt('requirement_map', {'providers': {'p': P()}, 'requirement_map': {'m': {'provider_name': 'p'}}, 'rules': [{'match': {'prefix': '/'}, 'requirement_name': 'm'}]}, [H(), BEARER()])
jwt('bypass_preflight', ONE(bypass_cors_preflight=True), [H(('origin', 'x'), ('access-control-request-method', 'GET'), method='OPTIONS'), H(method='OPTIONS'), H(('origin', 'x'), method='OPTIONS'), H(('origin', 'x'), ('access-control-request-method', 'GET'))])
PR = lambda c: {'typed_per_filter_config': {'jwt': {'@type': ftype('jwt_authn.v3.PerRouteConfig'), **c}}}
R = lambda p, pf=None: {'match': {'prefix': p}, 'route': {'cluster': 'c1'}, **(pf or {})}
jwt('per_route', {'providers': {'p': P()}, 'requirement_map': {'m': {'provider_name': 'p'}}, 'rules': [RULE({'prefix': '/x'}, {'provider_name': 'p'})]}, [H(path=p) for p in ('/off', '/on', '/x', '/gone')] + [BEARER(path='/on')],
    routes=[R('/off', PR({'disabled': True})), R('/on', PR({'requirement_name': 'm'})), R('/gone', PR({'requirement_name': 'zz'})), R('/')])
jwt('stripped_failure', ONE(strip_failure_response=True), [H(), BEARER(tok(exp=1)), BEARER('x'), BEARER(tok(iss='zz'))])
jwt('stat_prefix', ONE(stat_prefix='own'), [H(), BEARER()])
jwt('subjects', ONE(P(subjects={'prefix': 'm'})), [BEARER(), BEARER(tok(sub='x')), BEARER(tok(sub=None))])
jwt('lifetime', ONE(P(require_expiration=True, max_lifetime='3600s')), [BEARER(tok(exp=None)), BEARER(tok()), BEARER(tok(iat=FAR - 60)), BEARER(tok(iat=1))])
jwt('require_expiration', ONE(P(require_expiration=True)), [BEARER(tok(exp=None)), BEARER()])
jwt('clear_route_cache', ONE(P(claim_to_headers=[{'header_name': 'x-sub', 'claim_name': 'sub'}], clear_route_cache=True)), [BEARER(), BEARER(tok(sub='other'))], routes=[{'match': {'prefix': '/', 'headers': [{'name': 'x-sub', 'string_match': {'exact': 'me'}}]}, 'direct_response': {'status': 201}}, R('/')])
jwt('grpc', ONE(), [H(('content-type', 'application/grpc'), method='POST', body=b'x')])
jwt('two_tokens', ONE(), [H(('authorization', 'Bearer ' + tok(exp=1)), path='/?access_token=' + tok()), H(('authorization', 'Bearer ' + tok()), path='/?access_token=' + tok(exp=1))])
jwt('filter_state_rules', {'providers': {'p': P()}, 'filter_state_rules': {'name': 'sel', 'requires': {'one': {'provider_name': 'p'}, 'none': {'allow_missing': {}}}}}, [H(('x-s', 'one')), BEARER('', method='GET') | {'headers': [('authorization', 'Bearer ' + tok()), ('x-s', 'one')]}, H(('x-s', 'none')), H(('x-s', 'zz'))],
    filters=[http_filter('fs', 'set_filter_state.v3.Config', {'on_request_headers': [{'object_key': 'sel', 'factory_key': 'envoy.string', 'format_string': {'text_format_source': {'inline_string': '%REQ(x-s)%'}}}]})])


@case()
async def jwt_verdicts(t):
    await t.up('u1')
    J = lambda **k: http_filter('jwt', 'jwt_authn.v3.JwtAuthentication', k)
    for i, f in enumerate([J(**ONE()), J(**ONE(P(local_jwks={'inline_string': 'x'}))), J(**ONE(P(local_jwks={'inline_string': '{}'}))), J(**ONE(P(local_jwks={'inline_string': '{"keys":[]}'}))), J(**ONE(P(local_jwks=KEYS({'kty': 'zz'})))), J(**ONE(P(local_jwks=KEYS({'kty': 'oct'})))),
                           J(providers={'p': P()}, rules=[RULE({'prefix': '/'}, {'provider_name': 'zz'})]), J(providers={'p': P()}, rules=[{'match': {'prefix': '/'}, 'requirement_name': 'zz'}]), J(**ONE({'issuer': 'x'})), J(), J(**NEED({'requires_any': {'requirements': [{'provider_name': 'p'}]}})),
                           J(**ONE(P(local_jwks=KEYS(KEY, {'kty': 'zz'})))), J(**ONE(P(claim_to_headers=[{'header_name': 'x'}]))), J(**NEED({}))]):
        code, _ = await t.run_to_end(simple(t, filters=[f]), args=('--mode', 'validate'))
        t.see('%d' % i, 'refused' if code else 'taken')
