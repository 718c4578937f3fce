"""`load_balancing_policy`: which policy of a list counts, how policies come in other clothes, and what does not go together."""
from harness import *

LB = 'type.googleapis.com/envoy.extensions.load_balancing_policies.'
TYPED = 'type.googleapis.com/xds.type.v3.TypedStruct'
MAGLEV_7 = {'@type': LB + 'maglev.v3.Maglev', 'table_size': 7}
ROUND_ROBIN = {'@type': LB + 'round_robin.v3.RoundRobin'}
UNKNOWN = {'@type': TYPED, 'type_url': LB + 'unknown.v3.Unknown', 'value': {'a': 1}}
STRUCT = {'@type': 'type.googleapis.com/google.protobuf.Struct', 'value': {'table_size': 7}}


def listed(*configs, names=None):
    return {'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': (names or {}).get(i, 'p%d' % i), 'typed_config': c}} for i, c in enumerate(configs)]}}


def taken(name, extra):
    """Which table there is tells which policy was taken."""
    @case('policy_list_' + name)
    async def _(t):
        us = [await t.up('h%d' % i) for i in range(3)]
        await t.start(simple(t, clusters=[cluster('c1', us, extra)]))
        t.see('seen', len({(await t.req('/')).h('x-up') for _ in range(30)}) > 1)
        t.see('tables', await t.stats(regex=r'^cluster[.]c1[.](maglev|ring_hash)_lb[.]'))


taken('takes_the_first', listed(MAGLEV_7, ROUND_ROBIN))
taken('takes_the_first_and_looks_at_no_other', listed(ROUND_ROBIN, {**MAGLEV_7, 'table_size': 8}))
taken('skips_the_unknown', listed(UNKNOWN, MAGLEV_7))
taken('skips_two_unknown', listed(UNKNOWN, STRUCT, MAGLEV_7))
taken('typed_struct', listed({'@type': TYPED, 'type_url': LB + 'maglev.v3.Maglev', 'value': {'table_size': 7}}))
taken('typed_struct_of_udpa', listed({'@type': 'type.googleapis.com/udpa.type.v1.TypedStruct', 'type_url': LB + 'maglev.v3.Maglev', 'value': {'tableSize': 11}}))
taken('typed_struct_without_value', listed({'@type': TYPED, 'type_url': LB + 'ring_hash.v3.RingHash'}))
taken('name_counts_for_nothing', listed(MAGLEV_7, names={0: 'envoy.load_balancing_policies.ring_hash'}))
taken('over_lb_policy', {'lb_policy': 'RING_HASH', **listed(MAGLEV_7)})
taken('over_lb_policy_and_its_settings', {'lb_policy': 'RING_HASH', 'ring_hash_lb_config': {'minimum_ring_size': 8}, **listed(MAGLEV_7)})
taken('settings_of_another_lb_policy', {'lb_policy': 'MAGLEV', 'ring_hash_lb_config': {'minimum_ring_size': 8}})
taken('lb_policy_that_announces_it', {'lb_policy': 'LOAD_BALANCING_POLICY_CONFIG', **listed(MAGLEV_7)})
taken('beside_a_panic_threshold', {'common_lb_config': {'healthy_panic_threshold': {'value': 10}}, **listed(MAGLEV_7)})


def refused(name, extra, words):
    @case('policy_list_refused_' + name)
    async def _(t):
        await t.up()
        code, out = await t.run_to_end(simple(t, clusters=[cluster('c1', t.ups, extra)]))
        t.see('code', code)
        t.see('why', words in out)


NONE = "didn't find a registered load balancer factory implementation for cluster: 'c1' with names from "
refused('empty', {'load_balancing_policy': {}}, NONE + '[]')
refused('without_policies', {'load_balancing_policy': {'policies': []}}, NONE + '[]')
refused('of_an_empty_policy', {'load_balancing_policy': {'policies': [{}]}}, NONE + '[]')
refused('of_the_unknown', listed(UNKNOWN), NONE + '[p0]')
refused('of_two_unknown', listed(UNKNOWN, STRUCT), NONE)
refused('of_a_name_alone', {'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'envoy.load_balancing_policies.maglev'}}]}}, '')
refused('of_a_struct_under_a_known_name', listed(STRUCT, names={0: 'envoy.load_balancing_policies.maglev'}), NONE + '[envoy.load_balancing_policies.maglev]')
refused('of_a_type_that_is_none', listed({'@type': LB + 'unknown.v3.Unknown'}), '')
refused('typed_struct_with_an_unknown_field', listed({'@type': TYPED, 'type_url': LB + 'maglev.v3.Maglev', 'value': {'table_sizes': 7}}), 'table_sizes')
refused('first_known_is_wrong', listed({**MAGLEV_7, 'table_size': 8}, ROUND_ROBIN), 'The table size of maglev must be prime number')
refused('announced_and_missing', {'lb_policy': 'LOAD_BALANCING_POLICY_CONFIG'}, 'cluster: field load_balancing_policy need to be set')
PARTS = 'load_balancing_policy cannot be combined with partial fields (zone_aware_lb_config, locality_weighted_lb_config, consistent_hashing_lb_config) of common_lb_config'
refused('beside_zones', {'common_lb_config': {'zone_aware_lb_config': {}}, **listed(ROUND_ROBIN)}, PARTS)
refused('beside_locality_weights', {'common_lb_config': {'locality_weighted_lb_config': {}}, **listed(ROUND_ROBIN)}, PARTS)
refused('beside_hashing', {'common_lb_config': {'consistent_hashing_lb_config': {}}, **listed(ROUND_ROBIN)}, PARTS)
refused('beside_subsets', {'lb_subset_config': {'subset_selectors': [{'keys': ['a']}]}, **listed(ROUND_ROBIN)}, 'load_balancing_policy cannot be combined with lb_subset_config')
refused('of_random_subsetting', listed({'@type': LB + 'random_subsetting.v3.RandomSubsetting', 'subset_size': 2, 'child_policy': listed(ROUND_ROBIN)['load_balancing_policy']}), '')
refused('of_pick_first', listed({'@type': LB + 'pick_first.v3.PickFirst'}), '')
refused('of_a_cluster_that_provides_nothing', listed({'@type': LB + 'cluster_provided.v3.ClusterProvided'}), "cluster provided LB specified but cluster 'c1' did not provide one")
refused('of_no_child_of_subsets', listed({'@type': LB + 'subset.v3.Subset', 'subset_selectors': [{'keys': ['a']}], 'subset_lb_policy': {'policies': []}}), '')
