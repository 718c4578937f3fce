"""The cluster shapes whose placement is compared, and their hosts.

Hosts are addresses of the loopback network, so that one listening socket stands for all of them.
"""
LB = 'type.googleapis.com/envoy.extensions.load_balancing_policies.'


def endpoint(address, port, weight=None, key=None, name=None, health=None):
    e = {'endpoint': {'address': {'socket_address': {'address': address, 'port_value': port}}}}
    if name:
        e['endpoint']['hostname'] = name
    if weight:
        e['load_balancing_weight'] = weight
    if key:
        e['metadata'] = {'filter_metadata': {'envoy.lb': {'hash_key': key}}}
    if health:
        e['health_status'] = health
    return e


def locality(endpoints, zone=None, weight=None, priority=None, region=None):
    out = {'lb_endpoints': endpoints}
    if zone:
        out['locality'] = {'zone': zone, **({'region': region} if region else {})}
    if weight:
        out['load_balancing_weight'] = weight
    if priority:
        out['priority'] = priority
    return out


RING, MAGLEV = {'lb_policy': 'RING_HASH'}, {'lb_policy': 'MAGLEV'}


def ring(**config):
    return {**RING, 'ring_hash_lb_config': config}


def table(size):
    return {**MAGLEV, 'maglev_lb_config': {'table_size': size}}


def extension(name, **config):
    return {'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'p', 'typed_config': {'@type': LB + name, **config}}}]}}


WEIGHTED = {'common_lb_config': {'locality_weighted_lb_config': {}}}


def hashing(**config):
    return {'common_lb_config': {'consistent_hashing_lb_config': config}}


class Shape:
    """A cluster, and whether its assignment is fed: then it begins with hosts that go."""

    def __init__(self, name, settings, localities, gone=None):
        self.name, self.settings, self.localities, self.gone = name, settings, localities, gone

    def assignment(self, localities):
        return {'cluster_name': self.name, 'endpoints': localities}


def shapes(port):
    """20 shapes; `port` is where every host listens."""

    def hosts(net, n, **kw):
        return [endpoint('127.%d.0.%d' % (net, i + 1), port, **{k: v[i % len(v)] if isinstance(v, (list, tuple)) else v % i for k, v in kw.items()}) for i in range(n)]

    one = lambda net, n, **kw: [locality(hosts(net, n, **kw))]
    zones = lambda net, weights, n=4, **kw: [locality(hosts(net + i, n, **kw), 'z%d' % (i * 7 % 5), w) for i, w in enumerate(weights)]
    u = [None, None, 'UNHEALTHY', None, 'DEGRADED']
    return [
        Shape('ring', RING, one(1, 7)),
        Shape('ring_murmur', ring(hash_function='MURMUR_HASH_2'), one(2, 7)),
        Shape('ring_weights', ring(minimum_ring_size=4096), one(3, 9, weight=[1, 2, 5, 17])),
        Shape('ring_small', ring(minimum_ring_size=1, maximum_ring_size=64), one(4, 50)),
        Shape('ring_large', ring(minimum_ring_size=200000), one(5, 20, weight=[3, 1])),
        Shape('ring_keys', RING, one(6, 8, key='key-%d')),
        Shape('ring_names', {**RING, 'type': 'STRICT_DNS', **hashing(use_hostname_for_hashing=True)}, one(7, 8, name='host-%d.example')),
        Shape('ring_localities', {**RING, **WEIGHTED}, zones(10, [1, 5, 3])),
        Shape('ring_localities_one_without_weight', {**ring(hash_function='MURMUR_HASH_2'), **WEIGHTED}, zones(20, [2, None, 9], weight=[1, 4])),
        Shape('ring_unhealthy', RING, one(30, 10, health=u)),
        Shape('ring_priorities', RING, [locality(hosts(31, 6, health=[None, 'UNHEALTHY'])), locality(hosts(32, 3), priority=1)]),
        Shape('ring_bounded', {**RING, **hashing(hash_balance_factor=120)}, one(33, 6)),
        Shape('ring_removed', RING, one(34, 9), gone=hosts(35, 3)),
        Shape('maglev', MAGLEV, one(36, 7)),
        Shape('maglev_small_weights', table(257), one(37, 9, weight=[1, 2, 5, 17])),
        Shape('maglev_localities', {**table(65537), **WEIGHTED}, zones(40, [4, 1, 2, 8], weight=[1, 1, 3])),
        Shape('maglev_keys_and_names', extension('maglev.v3.Maglev', consistent_hashing_lb_config={'use_hostname_for_hashing': True}), [locality(hosts(50, 4, key='k%d') + hosts(51, 4, name='n%d'))]),
        Shape('maglev_removed', table(5003), one(52, 12, weight=[2, 3]), gone=hosts(53, 5)),
        Shape('maglev_extension', extension('maglev.v3.Maglev', table_size=1009, locality_weighted_lb_config={}), zones(60, [7, 3])),
        Shape('ring_extension', extension('ring_hash.v3.RingHash', hash_function='XX_HASH', minimum_ring_size=100, maximum_ring_size=1000, locality_weighted_lb_config={},
                                          consistent_hashing_lb_config={'hash_balance_factor': 150}), zones(70, [1, 1, 1], n=3, weight=[1, 2])),
    ]
