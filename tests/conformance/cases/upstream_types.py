"""Cluster types by the name of an extension, and what is refused of them."""
from harness import *

T_DNS = 'type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster'
LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_HOST_NAME%'


def of_type(u, name, cfg=None, host='localhost', copies=1, extra=None):
    """A cluster whose cluster_type is `name`, with the fields `cfg` of a DnsCluster where there are any."""
    kind = {'name': name}
    if cfg is not None:
        kind['typed_config'] = {'@type': T_DNS, **Y(cfg)}
    e = {'endpoint': {'address': {'socket_address': {'address': host, 'port_value': u.port}}}}
    c = {'name': 'c1', 'cluster_type': kind, 'connect_timeout': '1s', 'load_assignment': {'cluster_name': 'c1', 'endpoints': [{'lb_endpoints': [e] * copies}]}}
    return merge(c, Y(extra) or {})


async def refused(t, c):
    return (await t.run_to_end(simple(t, clusters=[c]), args=('--mode', 'validate')))[0]


@case()
async def types_by_name(t):
    u = await t.up()
    out = {}
    for name in ('envoy.cluster.static', 'envoy.cluster.strict_dns', 'envoy.cluster.logical_dns', 'envoy.cluster.dns', 'envoy.clusters.static', 'envoy.clusters.dns', 'nobody', ''):
        out[name] = await refused(t, of_type(u, name, host='127.0.0.1'))
    t.see('exit', out)


@case()
async def types_static_serves(t):
    u = await t.up('a')
    await t.start(simple(t, clusters=[of_type(u, 'envoy.cluster.static', host='127.0.0.1')], log=LOG))
    t.see('r', await t.req('/'))
    t.see('log', await t.logs())


@case()
async def types_dns_serves(t):
    u = await t.up('a')
    await t.start(simple(t, clusters=[of_type(u, 'envoy.cluster.dns', '{dns_lookup_family: V4_ONLY}')], log=LOG))
    t.see('r', await t.req('/'))
    t.see('stats', await t.stats('cluster.c1.membership_total', 'cluster.c1.update_success'))
    t.see('log', await t.logs())


@case()
async def types_dns_single_endpoint(t):
    u = await t.up('a')
    await t.start(simple(t, clusters=[of_type(u, 'any name', '{dns_lookup_family: V4_ONLY, all_addresses_in_single_endpoint: true}')], log=LOG))
    t.see('r', await t.req('/'))
    t.see('log', await t.logs())


@case()
async def types_dns_refresh_rate(t):
    u = await t.up('a')
    await t.start(simple(t, clusters=[of_type(u, 'envoy.cluster.dns', '{dns_lookup_family: V4_ONLY, dns_refresh_rate: 0.05s}')]))
    t.see('refreshed', bool(await t.stat_until('cluster.c1.update_success', lambda v: v >= 3, 3)))


@case()
async def types_dns_respects_no_ttl_of_the_hosts_file(t):
    """A name of the hosts file has no time to live: the refresh rate holds."""
    u = await t.up('a')
    await t.start(simple(t, clusters=[of_type(u, 'envoy.cluster.dns', '{dns_lookup_family: V4_ONLY, dns_refresh_rate: 0.05s, respect_dns_ttl: true}')]))
    t.see('refreshed', bool(await t.stat_until('cluster.c1.update_success', lambda v: v >= 3, 3)))


@case()
async def types_dns_refused_configurations(t):
    u = await t.up()
    t.see('exit', {
        'two_in_one': await refused(t, of_type(u, 'x', '{all_addresses_in_single_endpoint: true}', copies=2)),
        'two': await refused(t, of_type(u, 'x', '{}', copies=2)),
        'failure_max': await refused(t, of_type(u, 'x', '{dns_failure_refresh_rate: {base_interval: 2s, max_interval: 1s}}')),
        'refresh_zero': await refused(t, of_type(u, 'x', '{dns_refresh_rate: 0s}')),
        'provided': await refused(t, of_type(u, 'x', '{}', extra='{lb_policy: CLUSTER_PROVIDED}')),
        'type_too': await refused(t, of_type(u, 'x', '{}', extra='{type: STATIC}')),
    })
