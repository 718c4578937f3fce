"""Access log filters."""
from harness import *
from harness.tables import H, flt

ST = [H(('x-st', str(s)), path='/%d' % s) for s in (200, 301, 404, 500, 503)]
CODE = '{status_code_filter: {comparison: {op: %s, value: {default_value: %d, runtime_key: k}}}}'
for op in ('EQ', 'GE', 'LE', 'NE'):
    flt('status_%s' % op.lower(), CODE % (op, 404), ST)
flt('status_no_runtime_key_value', '{status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: log.min}}}}', ST, extra='{layered_runtime: {layers: [{name: s, static_layer: {log.min: 400}}]}}')
flt('duration_ge', '{duration_filter: {comparison: {op: GE, value: {default_value: 200, runtime_key: k}}}}', [dict(path='/fast'), dict(path='/slow')], respond=lambda m, n: _slow(m))
flt('duration_le', '{duration_filter: {comparison: {op: LE, value: {default_value: 150, runtime_key: k}}}}', [dict(path='/fast'), dict(path='/slow')], respond=lambda m, n: _slow(m))
flt('header_present', '{header_filter: {header: {name: x-log, present_match: true}}}', [H(('x-log', ''), path='/with'), dict(path='/without')])
flt('header_value', '{header_filter: {header: {name: x-log, string_match: {prefix: "ye"}}}}', [H(('x-log', 'yes'), path='/yes'), H(('x-log', 'no'), path='/no'), dict(path='/none')])
flt('header_invert', '{header_filter: {header: {name: x-log, string_match: {exact: "no"}, invert_match: true}}}', [H(('x-log', 'no'), path='/no'), H(('x-log', 'x'), path='/x'), dict(path='/none')])
flt('header_path', '{header_filter: {header: {name: ":path", string_match: {safe_regex: {regex: "/a.*"}}}}}', [dict(path='/a1'), dict(path='/b1')])
flt('and', '{and_filter: {filters: [%s, %s]}}' % (CODE % ('GE', 400), CODE % ('LE', 499)), ST)
flt('or', '{or_filter: {filters: [%s, %s]}}' % (CODE % ('EQ', 200), CODE % ('GE', 503)), ST)
flt('nested_and_or', '{and_filter: {filters: [{or_filter: {filters: [%s, %s]}}, {header_filter: {header: {name: x-st, present_match: true}}}]}}' % (CODE % ('EQ', 200), CODE % ('EQ', 500)), ST)
flt('runtime_all', '{runtime_filter: {runtime_key: a.b, percent_sampled: {numerator: 100}}}', ST[:2])
flt('runtime_none', '{runtime_filter: {runtime_key: a.b, percent_sampled: {numerator: 0}}}', ST[:2])
flt('runtime_from_layer', '{runtime_filter: {runtime_key: a.b, percent_sampled: {numerator: 0}, use_independent_randomness: true}}', ST[:2], extra='{layered_runtime: {layers: [{name: s, static_layer: {a: {b: 100}}}]}}')
NOROUTE = '[{match: {prefix: /up}, route: {cluster: c1}}, {match: {prefix: /nc}, route: {cluster: c9}}]'
flt('response_flag_any', '{response_flag_filter: {}}', [dict(path='/up'), dict(path='/none')], routes=NOROUTE.replace(', {match: {prefix: /nc}, route: {cluster: c9}}', ''))
flt('response_flag_nr', '{response_flag_filter: {flags: [NR]}}', [dict(path='/up'), dict(path='/none')], routes='[{match: {prefix: /up}, route: {cluster: c1}}]')
flt('response_flag_other', '{response_flag_filter: {flags: [UF, UO]}}', [dict(path='/up'), dict(path='/none')], routes='[{match: {prefix: /up}, route: {cluster: c1}}]')
flt('not_health_check', '{not_health_check_filter: {}}', [dict(path='/a'), H(('user-agent', 'Envoy/HC'), path='/hc')])
flt('traceable', '{traceable_filter: {}}', [dict(path='/a'), H(('x-envoy-force-trace', '1'), path='/forced')])
flt('grpc_status', '{grpc_status_filter: {statuses: [NOT_FOUND, INTERNAL]}}', [H(('x-g', g), ('content-type', 'application/grpc'), path='/%s' % g, method='POST', body='x') for g in ('0', '5', '13')] + [dict(path='/plain404')],
    respond=lambda m, n: resp(404) if m['path'] == '/plain404' else resp(200, b'', [('content-type', 'application/grpc'), ('grpc-status', m.h('x-g') or '0')]))
flt('grpc_status_exclude', '{grpc_status_filter: {statuses: [OK], exclude: true}}', [H(('x-g', g), ('content-type', 'application/grpc'), path='/%s' % g, method='POST', body='x') for g in ('0', '5')],
    respond=lambda m, n: resp(200, b'', [('content-type', 'application/grpc'), ('grpc-status', m.h('x-g') or '0')]))
flt('metadata_no_match_default', '{metadata_filter: {matcher: {filter: ns, path: [{key: k}], value: {string_match: {exact: v}}}}}', ST[:1])
flt('metadata_no_match_false', '{metadata_filter: {matcher: {filter: ns, path: [{key: k}], value: {string_match: {exact: v}}}, match_if_key_not_found: false}}', ST[:1])
flt('log_type', '{log_type_filter: {types: [DownstreamStart]}}', ST[:1], opts='{access_log_options: {flush_access_log_on_new_request: true}}')
flt('log_type_exclude', '{log_type_filter: {types: [DownstreamEnd], exclude: true}}', ST[:1], opts='{access_log_options: {flush_access_log_on_new_request: true}}')


async def _slow(m):
    if m['path'] == '/slow':
        await asyncio.sleep(0.3)
    return resp(200, 'x')
