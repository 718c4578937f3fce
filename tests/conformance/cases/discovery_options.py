"""What clusters say of how their hosts are found and reached, where one would not look first."""
import json

from harness import *

T_CARES = 'type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig'
T_DNS = 'type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster'
LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%'
UPDATES = ['update_attempt', 'update_success', 'update_failure', 'membership_total', 'membership_change']


def resolver(d, **kw):
    return {'name': 'envoy.network.dns_resolver.cares', 'typed_config': {'@type': T_CARES, 'resolvers': [{'socket_address': {'address': d.addr, 'port_value': d.port}}], **kw}}


def at(host, port):
    return {'endpoint': {'address': {'socket_address': {'address': host, 'port_value': port}}}}


def dns(d, u, kind=None, extra=None, hosts=('a.test',), **config):
    """A cluster of the new type, or of an old one."""
    c = {'name': 'c1', 'connect_timeout': '1s', 'load_assignment': {'cluster_name': 'c1', 'endpoints': [{'lb_endpoints': [at(h, u.port)]} for h in hosts]}}
    base = {'dns_refresh_rate': '60s', 'dns_lookup_family': 'V4_ONLY', 'typed_dns_resolver_config': resolver(d)}
    if kind:
        merge(c, {'type': kind, **base, **config})
    else:
        c['cluster_type'] = {'name': 'envoy.cluster.dns', 'typed_config': {'@type': T_DNS, **base, **config}}
    return merge(c, extra or {})


async def updates(t):
    return await t.stats(*('cluster.c1.' + n for n in UPDATES))


async def counted(t, name, n):
    return bool(await t.stat_until('cluster.c1.' + name, lambda v: v >= n))


def validated(name, extra, **kw):
    """Whether a file is taken that says this of its cluster."""
    @case('options_valid_' + name)
    async def _(t):
        u = await t.up()
        code, _ = await t.run_to_end(simple(t, clusters=[merge(cluster('c1', [u], **kw), Y(extra))]), args=['--mode', 'validate'])
        t.see('refused', code != 0)


validated('jitter_negative', '{type: STRICT_DNS, dns_jitter: -1s}')
validated('jitter_of_zero', '{type: STRICT_DNS, dns_jitter: 0s}')
validated('jitter_of_a_static_cluster', '{dns_jitter: 1s}')
validated('refresh_below_a_millisecond', '{type: STRICT_DNS, dns_refresh_rate: 0.0005s}')
validated('refresh_of_a_millisecond', '{type: STRICT_DNS, dns_refresh_rate: 0.001s}')
validated('refresh_just_above_a_millisecond', '{type: STRICT_DNS, dns_refresh_rate: 0.0011s}')
validated('refresh_of_a_static_cluster', '{dns_refresh_rate: 1s}')
validated('failure_rate_without_base', '{type: STRICT_DNS, dns_failure_refresh_rate: {max_interval: 1s}}')
validated('failure_rate_upside_down', '{type: STRICT_DNS, dns_failure_refresh_rate: {base_interval: 2s, max_interval: 1s}}')
validated('failure_rate_of_zero', '{type: STRICT_DNS, dns_failure_refresh_rate: {base_interval: 0s}}')
validated('failure_rate_below_a_millisecond', '{type: STRICT_DNS, dns_failure_refresh_rate: {base_interval: 0.0001s}}')
validated('cleanup_of_zero', '{cleanup_interval: 0s}')
validated('cleanup_of_a_static_cluster', '{cleanup_interval: 1s}')
validated('connect_timeout_of_zero', '{connect_timeout: 0s}')
validated('bind_without_an_address', '{upstream_bind_config: {}}')
validated('bind_to_a_name', '{upstream_bind_config: {source_address: {address: localhost, port_value: 0}}}')
validated('bind_extra_without_an_address', '{upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}, extra_source_addresses: [{}]}}')
validated('bind_extra_and_additional', '{upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}, extra_source_addresses: [{address: {address: "::1", port_value: 0}}], additional_source_addresses: [{address: "::1", port_value: 0}]}}')
validated('bind_extra_of_the_same_family', '{upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}, extra_source_addresses: [{address: {address: 127.0.0.2, port_value: 0}}]}}')
validated('bind_two_extra', '{upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}, extra_source_addresses: [{address: {address: "::1", port_value: 0}}, {address: {address: "::1", port_value: 0}}]}}')
validated('bind_extra_alone', '{upstream_bind_config: {extra_source_addresses: [{address: {address: "::1", port_value: 0}}]}}')
validated('bind_unknown_selector', '{upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}, local_address_selector: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}}}')
validated('bind_default_selector', '{upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}, local_address_selector: {name: x, typed_config: {"@type": type.googleapis.com/envoy.config.upstream.local_address_selector.v3.DefaultLocalAddressSelector}}}}')
validated('type_and_cluster_type', '{type: STATIC, cluster_type: {name: envoy.cluster.static}}')
validated('no_type', '{type: null}')
validated('eds_config_of_a_static_cluster', '{eds_cluster_config: {service_name: x}}')
validated('eds_without_a_config', '{type: EDS, load_assignment: null}')
validated('eds_with_endpoints', '{type: EDS, eds_cluster_config: {eds_config: {path_config_source: {path: /nowhere}}}}')
validated('original_dst_with_endpoints', '{type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}')
validated('original_dst_config_of_a_static_cluster', '{original_dst_lb_config: {use_http_header: true}}')
validated('wait_of_a_static_cluster', '{wait_for_warm_on_init: false}')
validated('names_in_a_static_cluster', '{load_assignment: {cluster_name: c1, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: a.test, port_value: 1}}}}]}]}}')
validated('port_by_name', '{load_assignment: {cluster_name: c1, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, named_port: http}}}}]}]}}')
validated('endpoint_without_address', '{load_assignment: {cluster_name: c1, endpoints: [{lb_endpoints: [{endpoint: {}}]}]}}')
validated('port_too_large', '{load_assignment: {cluster_name: c1, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 65536}}}}]}]}}')
validated('priority_too_high', '{load_assignment: {cluster_name: c1, endpoints: [{priority: 129, lb_endpoints: []}]}}')
validated('priority_without_the_ones_before', '{load_assignment: {cluster_name: c1, endpoints: [{priority: 2, lb_endpoints: []}]}}')
validated('overprovisioning_of_zero', '{load_assignment: {cluster_name: c1, policy: {overprovisioning_factor: 0}}}')
validated('weights_beyond_32_bits', '{load_assignment: {cluster_name: c1, endpoints: [{lb_endpoints: [{load_balancing_weight: 4294967295, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}, {load_balancing_weight: 1, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 2}}}}]}]}}')
validated('locality_weights_beyond_32_bits', '{load_assignment: {cluster_name: c1, endpoints: [{locality: {zone: a}, load_balancing_weight: 4294967295, lb_endpoints: []}, {locality: {zone: b}, load_balancing_weight: 1, lb_endpoints: []}]}}')
validated('logical_dns_of_two', '{type: LOGICAL_DNS, load_assignment: {cluster_name: c1, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: a.test, port_value: 1}}}}, {endpoint: {address: {socket_address: {address: b.test, port_value: 1}}}}]}]}}')
validated('logical_dns_with_a_priority', '{type: LOGICAL_DNS, load_assignment: {cluster_name: c1, endpoints: [{priority: 1, lb_endpoints: [{endpoint: {address: {socket_address: {address: a.test, port_value: 1}}}}]}]}}')
validated('negative_buffer_timeout', '{per_connection_buffer_high_watermark_timeout: -1s}')
validated('panic_above_all', '{common_lb_config: {healthy_panic_threshold: {value: 101}}}')
validated('negative_panic', '{common_lb_config: {healthy_panic_threshold: {value: -1}}}')
validated('host_names_by_a_table_of_a_static_cluster', '{lb_policy: MAGLEV, common_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true}}}')
validated('balance_factor_below_100', '{lb_policy: MAGLEV, common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 99}}}')


# Names.

@case()
async def options_failure_rate_comes_sooner(t):
    """After a failure the next look-up follows the rate of failures, not of successes."""
    u, d = await t.up(), await t.dns({'a.test': 2})
    await t.start(simple(t, clusters=[dns(d, u, 'STRICT_DNS', dns_failure_refresh_rate={'base_interval': '0.05s', 'max_interval': '0.1s'}, wait_for_warm_on_init=False)], log=LOG))
    t.see('fails', await counted(t, 'update_failure', 2))
    d.records['a.test'] = ['127.0.0.1']
    t.see('found', await counted(t, 'membership_total', 1))
    t.see('r', (await t.req('/')).status)


@case()
async def options_failure_rate_of_the_new_type(t):
    u, d = await t.up(), await t.dns({'a.test': 2})
    await t.start(simple(t, clusters=[dns(d, u, dns_failure_refresh_rate={'base_interval': '0.05s', 'max_interval': '0.1s'}, extra={'wait_for_warm_on_init': False})], log=LOG))
    t.see('fails', await counted(t, 'update_failure', 2))
    d.records['a.test'] = ['127.0.0.1']
    t.see('found', await counted(t, 'membership_total', 1))
    t.see('r', (await t.req('/')).status)


@case()
async def options_jitter_lets_names_be_asked(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1']})
    await t.start(simple(t, clusters=[dns(d, u, 'STRICT_DNS', dns_refresh_rate='0.05s', dns_jitter='0.05s')]))
    t.see('asked again', await counted(t, 'update_success', 4))
    t.see('changes', (await updates(t))['cluster.c1.membership_change'])


@case()
async def options_two_names_of_one_address(t):
    """Two names that lead to one place are one host."""
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1'], 'b.test': ['127.0.0.1']})
    await t.start(simple(t, clusters=[dns(d, u, 'STRICT_DNS', hosts=('a.test', 'b.test'))], log=LOG))
    await counted(t, 'update_success', 2)
    t.see('r', (await t.req('/')).status)
    t.see('stats', await updates(t))
    _, text = await t.admin('/clusters')
    t.see('hosts', [l for l in text.splitlines() if '::hostname::' in l])


@case()
async def options_a_name_that_says_one_address_twice(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1', '127.0.0.1', '127.0.0.2']})
    await t.start(simple(t, clusters=[dns(d, u, 'STRICT_DNS')], log=LOG))
    await counted(t, 'membership_total', 1)
    t.see('stats', await updates(t))


@case()
async def options_addresses_beside_names(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.2']})
    await t.start(simple(t, clusters=[dns(d, u, 'STRICT_DNS', hosts=('127.0.0.1', 'a.test'))]))
    await counted(t, 'membership_total', 2)
    t.see('stats', await updates(t))
    t.see('asked', sorted(set(n for n, _, _ in d.asked)))


@case()
async def options_waits_for_the_first_answer(t):
    """The listener is there once names were asked for; without waiting, at once."""
    u, d = await t.up(), await t.dns({'a.test': None})
    c = dns(d, u, 'STRICT_DNS', typed_dns_resolver_config=resolver(d, query_timeout_seconds=1, query_tries=1))
    await t.start(simple(t, clusters=[c]), wait=False)

    async def state():
        try:
            _, text = await t.admin('/server_info')
        except OSError:
            return None
        return json.loads(text)['state']
    t.see('first', await t.until(state))
    t.see('then', bool(await t.until(lambda: is_live(state), 8)))
    t.see('stats', await updates(t))


async def is_live(state):
    return await state() == 'LIVE'


@case()
async def options_does_not_wait(t):
    u, d = await t.up(), await t.dns({'a.test': None})
    await t.start(simple(t, clusters=[dns(d, u, 'STRICT_DNS', wait_for_warm_on_init=False)]))
    t.see('r', (await t.req('/')).status)


@case()
async def options_names_of_two_localities(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1'], 'b.test': ['127.0.0.2']})
    c = dns(d, u, 'STRICT_DNS', hosts=('a.test', 'b.test'))
    for l, zone in zip(c['load_assignment']['endpoints'], 'pq'):
        l['locality'] = {'zone': zone}
        l['load_balancing_weight'] = 3
    await t.start(simple(t, clusters=[c]))
    await counted(t, 'membership_total', 2)
    _, text = await t.admin('/clusters')
    t.see('zones', sorted(t.mask(l) for l in text.splitlines() if '::zone::' in l or '::priority::' in l))


@case()
async def options_names_of_two_priorities(t):
    u, d = await t.up(), await t.dns({'a.test': ['127.0.0.1'], 'b.test': 3})
    c = dns(d, u, 'STRICT_DNS', hosts=('a.test', 'b.test'), wait_for_warm_on_init=False)
    c['load_assignment']['endpoints'][0]['priority'] = 1
    await t.start(simple(t, clusters=[c], log=LOG))
    await counted(t, 'membership_total', 1)
    t.see('r', (await t.req('/')).status)
    t.see('log', await t.logs())


# Source addresses.

def bound(name, extra, n=1):
    @case('options_bound_' + name)
    async def _(t):
        u = await t.up(addr='127.0.0.1')
        await t.start(simple(t, clusters=[cluster('c1', [u], Y(extra))], log=LOG))
        for _ in range(n):
            await t.req('/')
        t.see('log', sorted(set(await t.logs())))


bound('to_an_address', '{upstream_bind_config: {source_address: {address: 127.0.0.3, port_value: 0}}}')
bound('to_the_first_of_a_family', '{upstream_bind_config: {source_address: {address: "::1", port_value: 0}, extra_source_addresses: [{address: {address: 127.0.0.4, port_value: 0}}]}}')
bound('to_the_own_of_its_family', '{upstream_bind_config: {source_address: {address: 127.0.0.3, port_value: 0}, extra_source_addresses: [{address: {address: "::1", port_value: 0}}]}}')
bound('to_the_older_list', '{upstream_bind_config: {source_address: {address: "::1", port_value: 0}, additional_source_addresses: [{address: 127.0.0.4, port_value: 0}]}}')
bound('to_another_family', '{upstream_bind_config: {source_address: {address: "::1", port_value: 0}}}')
bound('to_nobodys_address', '{upstream_bind_config: {source_address: {address: 192.0.2.1, port_value: 0}}}')
bound('with_the_default_selector', '{upstream_bind_config: {source_address: {address: 127.0.0.3, port_value: 0}, local_address_selector: {name: x, typed_config: {"@type": type.googleapis.com/envoy.config.upstream.local_address_selector.v3.DefaultLocalAddressSelector}}}}')


@case()
async def options_bound_by_the_bootstrap(t):
    u = await t.up(addr='127.0.0.1')
    await t.start(simple(t, clusters=[cluster('c1', [u])], log=LOG, extra={'cluster_manager': {'upstream_bind_config': {'source_address': {'address': '127.0.0.5', 'port_value': 0}}}}))
    await t.req('/')
    t.see('log', await t.logs())


@case()
async def options_bound_by_the_cluster_before_the_bootstrap(t):
    u = await t.up(addr='127.0.0.1')
    own = {'upstream_bind_config': {'source_address': {'address': '127.0.0.6', 'port_value': 0}}}
    await t.start(simple(t, clusters=[cluster('c1', [u], own)], log=LOG, extra={'cluster_manager': {'upstream_bind_config': {'source_address': {'address': '127.0.0.5', 'port_value': 0}}}}))
    await t.req('/')
    t.see('log', await t.logs())
