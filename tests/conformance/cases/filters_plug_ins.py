"""Plug-ins of filters: those of ext_authz's retries, and rbac's principals by extension."""
from harness import *
from harness.tls_config import client_ctx

T = 'type.googleapis.com/'
PREVIOUS_HOSTS = '{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}'
RETRIES = ['cluster.ca.upstream_rq_' + s for s in ('total', 'retry', 'retry_success', 'retry_limit_exceeded')]


def retried(name, policy, endpoints, statuses):
    """How often each host of the service is asked."""
    @case('ext_authz_retry_' + name)
    async def _(t):
        u = await t.up('u1')
        hosts = [await t.up('a%d' % i, lambda m, n, status=status: resp(status)) for i, status in enumerate(statuses)]
        f = http_filter('ea', 'ext_authz.v3.ExtAuthz', {'http_service': {'server_uri': {'uri': 'authz.example:80', 'cluster': 'ca', 'timeout': '3s'}, 'retry_policy': {'retry_on': '5xx', 'retry_back_off': {'base_interval': '0.001s', 'max_interval': '2s'}, **Y(policy)}}})
        ca = cluster('ca', hosts)
        ca['load_assignment']['endpoints'] = endpoints(ca['load_assignment']['endpoints'][0]['lb_endpoints'])
        await t.start(simple(t, clusters=[cluster('c1', u), ca], filters=[f]))
        for i in range(4):
            r = await t.req('/')
            t.see('r%d' % i, r.status)
        # Which host is asked first is left to chance where there are several.
        t.see('good', [len(a.reqs) for a, status in zip(hosts, statuses) if status == 200])
        if endpoints is by_priority:
            t.see('stats', await t.stats(*RETRIES))


def flat(hosts):
    return [{'lb_endpoints': hosts}]


def by_priority(hosts):
    return [{'priority': i, 'lb_endpoints': [host]} for i, host in enumerate(hosts)]


retried('another_host', '{num_retries: 1, host_selection_retry_max_attempts: 9, retry_host_predicate: [%s]}' % PREVIOUS_HOSTS, flat, [200, 503])
retried('all_hosts', '{num_retries: 3, host_selection_retry_max_attempts: 20, retry_host_predicate: [%s]}' % PREVIOUS_HOSTS, flat, [503, 503, 503, 200])
retried('another_priority', '{num_retries: 1, retry_priority: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 1}}}', by_priority, [503, 200])


@case('ext_authz_retry_refused')
async def _(t):
    """Plug-ins that nobody knows."""
    for label, policy in (('predicate', '{retry_host_predicate: [{name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}]}'), ('priority', '{retry_priority: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}}')):
        f = http_filter('ea', 'ext_authz.v3.ExtAuthz', {'http_service': {'server_uri': {'uri': 'authz.example:80', 'cluster': 'c1', 'timeout': '3s'}, 'retry_policy': Y(policy)}})
        code, _ = await t.run_to_end(simple(t, clusters=[cluster('c1', t.dead('d'))], filters=[f]), args=('--mode', 'validate'))
        t.see(label, code)


# ---- principals
MTLS = T + 'envoy.extensions.rbac.principals.mtls_authenticated.v3.Config'
SAN = lambda kind, text: {'san_matcher': {'san_type': kind, 'matcher': Y(text)}}
KINDS = {'any': {'any_validated_client_certificate': True}, 'dns': SAN('DNS', '{suffix: example}'), 'dns_exact': SAN('DNS', '{exact: client.example}'), 'dns_other': SAN('DNS', '{exact: other.example}'), 'uri': SAN('URI', '{prefix: "spiffe:"}'), 'email': SAN('EMAIL', '{contains: "@"}'), 'ip': SAN('IP_ADDRESS', '{prefix: "127."}'),
         'both': {'any_validated_client_certificate': True, **SAN('DNS', '{exact: other.example}')}}


def policy(principal):
    return {'action': 'ALLOW', 'policies': {'p': {'permissions': [{'any': True}], 'principals': [principal]}}}


def mtls(cfg):
    return {'custom': {'name': 'envoy.rbac.principals.mtls_authenticated', 'typed_config': {'@type': MTLS, **cfg}}}


def secured(trusted):
    c = certs()
    tls = {'@type': T + 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', 'common_tls_context': {'tls_certificates': [{'certificate_chain': {'filename': os.path.join(c, 'a.crt')}, 'private_key': {'filename': os.path.join(c, 'a.key')}}]}}
    if trusted:
        tls['common_tls_context']['validation_context'] = {'trusted_ca': {'filename': os.path.join(c, 'ca.crt')}, 'trust_chain_verification': trusted}
    return {'transport_socket': {'name': 'tls', 'typed_config': tls}}


for word, trusted in (('validated', 'VERIFY_TRUST_CHAIN'), ('let_pass', 'ACCEPT_UNTRUSTED'), ('not_asked_for', None)):
    for who in ('client', 'rogue', None):
        @case('rbac_mtls_%s_%s' % (word, who or 'nobody'))
        async def _(t, trusted=trusted, who=who):
            u = await t.up('u1')
            vhosts = [{'name': n, 'domains': [n], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}], 'typed_per_filter_config': {'rb': {'@type': ftype('rbac.v3.RBACPerRoute'), 'rbac': {'rules': policy(mtls(cfg))}}}} for n, cfg in KINDS.items()]
            cfg = simple(t, vhosts=vhosts, filters=[http_filter('rb', 'rbac.v3.RBAC', {})])
            cfg['static_resources']['listeners'][0]['filter_chains'][0].update(secured(trusted))
            await t.start(cfg)
            for n in KINDS:
                r = await t.req(host=n, ssl=client_ctx(cert_name=who, verify=False))
                t.see(n, r.status)


@case('rbac_mtls_in_clear_text')
async def _(t):
    u = await t.up('u1')
    vhosts = [{'name': n, 'domains': [n], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}], 'typed_per_filter_config': {'rb': {'@type': ftype('rbac.v3.RBACPerRoute'), 'rbac': {'rules': policy(p)}}}} for n, p in (('any', mtls(KINDS['any'])), ('not', {'not_id': mtls(KINDS['any'])}))]
    await t.start(simple(t, vhosts=vhosts, filters=[http_filter('rb', 'rbac.v3.RBAC', {})]))
    for n in ('any', 'not'):
        t.see(n, (await t.req(host=n)).status)


@case('rbac_mtls_refused')
async def _(t):
    for label, principal in (('nothing', mtls({})), ('false', mtls({'any_validated_client_certificate': False})), ('unknown', {'custom': {'name': 'x', 'typed_config': {'@type': T + 'google.protobuf.Empty'}}}), ('no_kind', mtls({'san_matcher': {'matcher': {'exact': 'x'}}})), ('untyped', {'custom': {'name': 'envoy.rbac.principals.mtls_authenticated'}})):
        code, _ = await t.run_to_end(simple(t, clusters=[], filters=[http_filter('rb', 'rbac.v3.RBAC', {'rules': policy(principal)})]), args=('--mode', 'validate'))
        t.see(label, code)


@case('rbac_mtls_of_connections')
async def _(t):
    """The network filter knows them, too."""
    u = await t.up('u1')
    for label, cfg in (('any', KINDS['any']), ('dns_other', KINDS['dns_other'])):
        conf = simple(t)
        chain = conf['static_resources']['listeners'][0]['filter_chains'][0]
        chain.update(secured('VERIFY_TRUST_CHAIN'))
        chain['filters'].insert(0, {'name': 'rb', 'typed_config': {'@type': T + 'envoy.extensions.filters.network.rbac.v3.RBAC', 'stat_prefix': 'n.', 'rules': policy(mtls(cfg))}})
        await t.start(conf, name='p-' + label)
        r = await t.req(ssl=client_ctx(cert_name='client', verify=False))
        t.see(label, r.status if r else None)
        await t.stop()
