"""rbac: each kind of permission and principal, and what clients are told."""
from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
H = lambda *hs, **k: dict(headers=list(hs), **k)
RB = lambda c: http_filter('rb', 'rbac.v3.RBAC', c)
PASS = '[{any: true}]'


def policy(perms=PASS, ids=PASS, action='ALLOW'):
    return '{rules: {action: %s, policies: {pol: {permissions: %s, principals: %s}}}}' % (action, perms, ids)


def kinds(name, each, reqs, opts=None, filters=()):
    """Each configuration in a virtual host of its own, with all requests."""
    @case('rbac_kinds_' + name)
    async def _(t):
        await t.up('u1')
        vhosts = [{'name': n, 'domains': [n + '.example'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}], 'typed_per_filter_config': {'rb': {'@type': ftype('rbac.v3.RBACPerRoute'), 'rbac': Y(cfg)}}} for n, cfg in each.items()]
        await t.start(simple(t, filters=[*filters, RB('{}')], opts=opts, vhosts=vhosts))
        for n in each:
            t.see(n, [(await t.req(**{**k, 'host': n + '.example'})).status for k in reqs])


ids = lambda **k: {n: policy(ids=v) for n, v in k.items()}
perms = lambda **k: {n: policy(perms=v) for n, v in k.items()}
PATHS = [H(path=p) for p in ('/a', '/a?q', '/a/b', '/A', '/a#f', '/a%2fb', '/', '/b')]
kinds('paths', perms(exact='[{url_path: {path: {exact: /a}}}]', prefix='[{url_path: {path: {prefix: /a}}}]', regex='[{url_path: {path: {safe_regex: {regex: "/a.*"}}}}]', case='[{url_path: {path: {exact: /a, ignore_case: true}}}]', suffix='[{url_path: {path: {suffix: b}}}]', contains='[{url_path: {path: {contains: a}}}]', header='[{header: {name: ":path", string_match: {exact: /a}}}]'), PATHS)
kinds('headers', perms(exact='[{header: {name: x-a, string_match: {exact: "1"}}}]', invert='[{header: {name: x-a, string_match: {exact: "1"}, invert_match: true}}]', missing='[{header: {name: x-a, string_match: {exact: ""}, treat_missing_header_as_empty: true}}]', absent='[{header: {name: x-a, present_match: false}}]', range='[{header: {name: x-a, range_match: {start: 1, end: 3}}}]', method='[{header: {name: ":method", string_match: {exact: GET}}}]', host='[{header: {name: host, string_match: {exact: host.example}}}]', authority='[{header: {name: ":authority", string_match: {exact: authority.example}}}]', scheme='[{header: {name: ":scheme", string_match: {exact: http}}}]'),
      [H(), H(('x-a', '1')), H(('x-a', '2')), H(('x-a', '3')), H(('x-a', '1'), ('x-a', '2')), H(('x-a', '')), H(method='POST')])
kinds('ports', perms(any_port='[{destination_port_range: {start: 1, end: 65536}}]', none='[{destination_port_range: {start: 1, end: 2}}]', zero='[{destination_port: 1}]', name='[{requested_server_name: {exact: ""}}]', name_any='[{requested_server_name: {safe_regex: {regex: ".*"}}}]', destination='[{destination_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}]', destination_not='[{destination_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}]'), [H()])
IPS = [H(), H(src='127.0.0.9'), H(('x-forwarded-for', '9.9.9.9')), H(('x-forwarded-for', '9.9.9.9, 127.0.0.9')), H(('x-forwarded-for', 'x'))]
NINE = '{address_prefix: 9.9.9.9, prefix_len: 32}'
LO9 = '{address_prefix: 127.0.0.9, prefix_len: 32}'
ADDRESSES = ids(remote='[{remote_ip: %s}]' % NINE, direct='[{direct_remote_ip: %s}]' % NINE, source='[{source_ip: %s}]' % NINE, remote_lo='[{remote_ip: %s}]' % LO9, direct_lo='[{direct_remote_ip: %s}]' % LO9, source_lo='[{source_ip: %s}]' % LO9, v6='[{remote_ip: {address_prefix: "::", prefix_len: 0}}]', zero='[{remote_ip: {address_prefix: 0.0.0.0, prefix_len: 0}}]')
kinds('addresses', ADDRESSES, IPS)
kinds('addresses_of_the_edge', ADDRESSES, IPS, opts='{use_remote_address: true}')
kinds('addresses_of_hops', ADDRESSES, IPS, opts='{use_remote_address: true, xff_num_trusted_hops: 1}')
kinds('sets', ids(both='[{and_ids: {ids: [{any: true}, {header: {name: x-a, present_match: true}}]}}]', either='[{or_ids: {ids: [{header: {name: x-b, present_match: true}}, {header: {name: x-a, present_match: true}}]}}]', neither='[{not_id: {header: {name: x-a, present_match: true}}}]', two='[{header: {name: x-b, present_match: true}}, {header: {name: x-a, present_match: true}}]', deep='[{not_id: {and_ids: {ids: [{not_id: {any: true}}]}}}]', path='[{url_path: {path: {prefix: /a}}}]'), [H(), H(('x-a', '1')), H(('x-a', '1'), ('x-b', '1')), H(path='/a')])
kinds('permission_sets', perms(both='[{and_rules: {rules: [{any: true}, {header: {name: x-a, present_match: true}}]}}]', either='[{or_rules: {rules: [{header: {name: x-b, present_match: true}}, {header: {name: x-a, present_match: true}}]}}]', neither='[{not_rule: {header: {name: x-a, present_match: true}}}]', two='[{header: {name: x-b, present_match: true}}, {header: {name: x-a, present_match: true}}]'), [H(), H(('x-a', '1')), H(('x-a', '1'), ('x-b', '1'))])
META = '{filter: ns, path: [{key: a}, {key: b}], value: %s}'
SET = http_filter('md', 'set_metadata.v3.Config', {'metadata': [{'metadata_namespace': 'ns', 'value': {'a': {'b': 'c', 'num': 3, 'l': ['x', 'w'], 't': True, 'z': None}}}]})
kinds('metadata', {**perms(exact='[{metadata: %s}]' % (META % '{string_match: {exact: c}}'), other='[{metadata: %s}]' % (META % '{string_match: {exact: d}}'), present='[{metadata: %s}]' % (META % '{present_match: true}'), nil_is='[{metadata: {filter: ns, path: [{key: a}, {key: z}], value: {null_match: {}}}}]', nil_there='[{metadata: {filter: ns, path: [{key: a}, {key: z}], value: {present_match: true}}}]', nil_not='[{metadata: {filter: ns, path: [{key: a}, {key: z}], value: {present_match: false}}}]', not_there='[{metadata: {filter: ns, path: [{key: a}, {key: b}], value: {present_match: false}}}]', nil_of_none='[{metadata: {filter: ns, path: [{key: a}, {key: none}], value: {null_match: {}}}}]', nil_of_no_space='[{metadata: {filter: nope, path: [{key: a}], value: {null_match: {}}}}]', one_of_none='[{metadata: {filter: nope, path: [{key: a}], value: {present_match: false}, invert: true}}]', absent='[{metadata: {filter: nope, path: [{key: a}], value: {present_match: false}}}]', invert='[{metadata: {filter: ns, path: [{key: a}, {key: b}], value: {string_match: {exact: d}}, invert: true}}]',
                           number='[{metadata: {filter: ns, path: [{key: a}, {key: num}], value: {double_match: {exact: 3}}}}]', ranged='[{metadata: {filter: ns, path: [{key: a}, {key: num}], value: {double_match: {range: {start: 3, end: 4}}}}}]', listed='[{metadata: {filter: ns, path: [{key: a}, {key: l}], value: {list_match: {one_of: {string_match: {exact: w}}}}}}]', flag='[{metadata: {filter: ns, path: [{key: a}, {key: t}], value: {bool_match: true}}}]', either='[{metadata: {filter: ns, path: [{key: a}, {key: b}], value: {or_match: {value_matchers: [{string_match: {exact: q}}, {string_match: {exact: c}}]}}}}]'),
                   **ids(of_id='[{metadata: %s}]' % (META % '{string_match: {exact: c}}'))}, [H()], filters=[SET])


def told(name, cfg, reqs, opts=None, routes=None):
    @case('rbac_told_' + name)
    async def _(t):
        u = await t.up('u1')
        await t.start(simple(t, filters=[RB(cfg)], log=LOG, opts=opts, routes=routes))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**k))
        t.see('up', u.reqs)
        t.see('stats', await t.stats(regex=r'\.rbac\.'))
        t.see('log', await t.logs())


NEED = lambda h, action='ALLOW': '{rules: {action: %s, policies: {"pol one": {permissions: [{any: true}], principals: [{header: {name: %s, present_match: true}}]}}}}' % (action, h)
told('denied', NEED('x-a'), [H(), H(('x-a', '1')), H(method='HEAD'), H(('content-type', 'application/grpc'), method='POST', body='x'), H(method='POST', body='abc')])
told('denied_by_policy', NEED('x-a', 'DENY'), [H(), H(('x-a', '1'))])
told('empty_rules', '{rules: {action: ALLOW}}', [H()])
told('empty_deny', '{rules: {action: DENY}}', [H()])
told('log_alone', NEED('x-a', 'LOG'), [H(), H(('x-a', '1'))])
told('of_direct_answers', NEED('x-a'), [H(path='/d'), H(path='/nowhere')], routes=[{'match': {'prefix': '/d'}, 'direct_response': {'status': 200}}])
told('rewritten', NEED('x-a'), [H()], opts='{local_reply_config: {mappers: [{filter: {response_flag_filter: {flags: [UAEX]}}, status_code: 499}, {filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 403, runtime_key: x}}}}, status_code: 418, body: {inline_string: "no %RESPONSE_CODE_DETAILS%"}}]}}')
told('per_route', NEED('x-a'), [H(path='/none'), H(path='/own'), H(('x-b', '1'), path='/own'), H(path='/x')], routes=[{'match': {'path': p}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'rb': {'@type': ftype('rbac.v3.RBACPerRoute'), **c}}} for p, c in (('/none', {}), ('/own', {'rbac': Y(NEED('x-b'))}))] + [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}])


@case('rbac_authenticated')
async def _(t):
    await t.up('u1')
    c = certs()
    tls = {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', 'common_tls_context': {'tls_certificates': [{'certificate_chain': {'filename': os.path.join(c, 'a.crt')}, 'private_key': {'filename': os.path.join(c, 'a.key')}}], 'validation_context': {'trusted_ca': {'filename': os.path.join(c, 'ca.crt')}}}}
    for label, who in (('any', '{authenticated: {}}'), ('regex', '{authenticated: {principal_name: {safe_regex: {regex: ".*"}}}}'), ('none', '{authenticated: {principal_name: {exact: nobody}}}'), ('not', '{not_id: {authenticated: {}}}'), ('client', '{authenticated: {principal_name: {contains: client}}}'), ('sni', None)):
        cfg = policy(ids='[%s]' % who) if who else policy(perms='[{requested_server_name: {exact: sni.example}}]')
        x = simple(t, filters=[RB(cfg)])
        x['static_resources']['listeners'][0]['filter_chains'][0]['transport_socket'] = {'name': 'tls', 'typed_config': tls}
        x['static_resources']['listeners'][0]['listener_filters'] = [{'name': 'ti', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector'}}]
        await t.start(x, name='p-' + label)
        seen = []
        for own, sni in ((False, 'sni.example'), (True, 'sni.example'), (True, 'other.example')):
            s = ssl.create_default_context()
            s.check_hostname, s.verify_mode = False, ssl.CERT_NONE
            if own:
                s.load_cert_chain(os.path.join(c, 'client.crt'), os.path.join(c, 'client.key'))
            seen.append((await t.req('/', ssl=s, sni=sni)).status)
        t.see(label, seen)
        await t.stop()
