"""Files that random changes (tests/differential/files) told apart from Envoy."""
from harness import *


def verdict(name, change):
    """Whether `--mode validate` takes the file as `change` makes it."""
    @case(name)
    async def _(t):
        await t.up()
        cfg = simple(t)
        change(cfg['static_resources'])
        code, said = await t.run_to_end(cfg, args=('--mode', 'validate'))
        t.see('taken', code == 0)


def twice(**more):
    def change(resources):
        resources['listeners'].append({**resources['listeners'][0], **more})
    return change


verdict('listeners_twice_alike', twice())
verdict('listeners_twice_otherwise', twice(per_connection_buffer_limit_bytes=5))
SUBSETS = {'locality_weight_aware': True, 'subset_selectors': [{'keys': ['v']}]}
verdict('subsets_by_locality_without_weights', lambda s: s['clusters'][0].update(lb_subset_config=SUBSETS))
verdict('subsets_by_locality_with_weights', lambda s: s['clusters'][0].update(lb_subset_config=SUBSETS, common_lb_config={'locality_weighted_lb_config': {}}))
verdict('subsets_by_locality_without_selectors', lambda s: s['clusters'][0].update(lb_subset_config={'locality_weight_aware': True}))
