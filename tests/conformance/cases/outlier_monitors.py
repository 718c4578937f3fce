"""`monitors` of outlier detection: Envoy 1.40 has the field and no extension for it."""
from harness import *

MONITOR = 'type.googleapis.com/envoy.extensions.outlier_detection_monitors.consecutive_errors.v3.ConsecutiveErrors'


def monitored(name, monitors):
    @case('monitors_' + name)
    async def _(t):
        u = await t.up()
        code, _ = await t.run_to_end(simple(t, [u], copts={'outlier_detection': {'monitors': monitors}}), args=['--mode', 'validate'])
        t.see('refused', code != 0)


monitored('none', [])
monitored('consecutive_errors', [{'name': 'm', 'typed_config': {'@type': MONITOR, 'threshold': 2, 'error_buckets': {'http_errors': [{'range': {'start': 400, 'end': 404}}]}}}])
monitored('without_a_type', [{'name': 'm'}])
monitored('of_an_unknown_type', [{'name': 'm', 'typed_config': {'@type': 'type.googleapis.com/no.Such'}}])
monitored('of_something_else', [{'name': 'm', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'}}])
