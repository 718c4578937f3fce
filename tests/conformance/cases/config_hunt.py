"""What is taken and what is refused, found by changing one field of a good file at a time."""
from harness import *

NETWORK = 'type.googleapis.com/envoy.extensions.filters.network.'
ECHO = {'name': 'e', 'typed_config': {'@type': NETWORK + 'echo.v3.Echo'}}


def verdicts(name, files):
    """files: (label, function of the case that gives a bootstrap). Observes the exit code of `--mode validate` for each."""
    @case(name)
    async def _(t):
        out = {}
        for label, make in files:
            out[label] = (await t.run_to_end(make(t), args=('--mode', 'validate')))[0]
        t.see('verdicts', out)


def with_cluster(extra):
    return lambda t: config(t, [], [cluster('c1', t.dead(), extra)])


def with_network_filter(short, settings):
    body = {'@type': NETWORK + short, **Y(settings)}
    return lambda t: config(t, [listener(t, [{'name': 'f', 'typed_config': body}, ECHO])], [])


def with_routes(routes, **kw):
    return lambda t: simple(t, t.dead(), routes=routes, **kw)


def with_option(opts):
    return lambda t: simple(t, t.dead(), opts=opts)


def port_range(start, end):
    return with_network_filter('rbac.v3.RBAC', {'stat_prefix': 'a', 'rules': {'policies': {'p': {
        'permissions': [{'destination_port_range': {'start': start, 'end': end}}], 'principals': [{'any': True}]}}}})


verdicts('ranges_of_ports_in_rbac', [('%s to %s' % r, port_range(*r)) for r in (
    (1, 65535), (0, 65536), (65535, 65536), (5, 5), (5, 4), (0, 0), (-1, 5), (0, 65537), (70000, 80000))])

verdicts('longest_durations', [(d, with_cluster({'connect_timeout': d})) for d in (
    '9223372035s', '9223372035.999999999s', '9223372036s', '315576000000s', '315576000001s', '0.000000001s', '0.0000000001s', '-1s', '1.s', '+1s', '01s', '1S', ' 1s')])

verdicts('regex_without_case', [(label, with_routes([{'match': {'prefix': '/', 'headers': [{'name': 'x', 'string_match': match}]}, 'route': {'cluster': 'c1'}}])) for label, match in (
    ('regex', {'safe_regex': {'regex': 'a'}}), ('regex, case counts', {'safe_regex': {'regex': 'a'}, 'ignore_case': False}),
    ('regex without case', {'safe_regex': {'regex': 'a'}, 'ignore_case': True}), ('exact without case', {'exact': 'a', 'ignore_case': True}))])


def subsets(selector):
    return with_cluster({'lb_subset_config': {'subset_selectors': [selector]}})


verdicts('fallback_keys_of_other_policies', [
    ('keys', subsets({'keys': ['a', 'b'], 'fallback_policy': 'KEYS_SUBSET', 'fallback_keys_subset': ['a']})),
    ('any', subsets({'keys': ['a', 'b'], 'fallback_policy': 'ANY_ENDPOINT', 'fallback_keys_subset': ['a']})),
    ('not said', subsets({'keys': ['a', 'b'], 'fallback_keys_subset': ['a']})),
    ('keys without any', subsets({'keys': ['a', 'b'], 'fallback_policy': 'KEYS_SUBSET'}))])

verdicts('connection_limit_without_its_number', [
    ('none', with_network_filter('connection_limit.v3.ConnectionLimit', {'stat_prefix': 'a'})),
    ('0', with_network_filter('connection_limit.v3.ConnectionLimit', {'stat_prefix': 'a', 'max_connections': 0})),
    ('1', with_network_filter('connection_limit.v3.ConnectionLimit', {'stat_prefix': 'a', 'max_connections': {'value': 1}}))])


def compat(address):
    return lambda t: config(t, [listener(t, [ECHO], extra={'address': {'socket_address': {'address': address, 'ipv4_compat': True}}})], [])


verdicts('ipv4_compat_of_addresses', [(a, compat(a)) for a in ('127.0.0.1', '0.0.0.0', '::', '::1', '::ffff:127.0.0.1')])

verdicts('router_that_is_disabled', [
    ('router', lambda t: simple(t, t.dead(), rt={**router(), 'disabled': True})),
    ('filter before it', lambda t: simple(t, t.dead(), filters=[{**http_filter('c', 'cors.v3.Cors'), 'disabled': True}]))])

verdicts('transport_socket_match_without_a_socket', [
    ('none', with_cluster({'transport_socket_matches': [{'name': 'a', 'match': {'x': '1'}}]})),
    ('raw', with_cluster({'transport_socket_matches': [{'name': 'a', 'match': {'x': '1'}, 'transport_socket': {
        'name': 'r', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}}]}))])


def body(source):
    return with_routes([{'match': {'prefix': '/'}, 'direct_response': {'status': 200, 'body': source}}])


verdicts('watched_directories_of_sources_without_a_file', [
    ('string', body({'inline_string': 'a', 'watched_directory': {'path': '/nonexistent'}})),
    ('bytes', body({'inline_bytes': 'YQ==', 'watched_directory': {'path': '/nonexistent'}})),
    ('alone', body({'watched_directory': {'path': '/nonexistent'}}))])


def socket_option(value):
    return with_cluster({'upstream_bind_config': {'source_address': {'address': '127.0.0.1', 'port_value': 0}, 'socket_options': [
        {'level': 1, 'name': 9, 'state': 'STATE_PREBIND', **value}]}})


verdicts('socket_options_beyond_an_int', [
    ('int', socket_option({'int_value': 1})), ('large int', socket_option({'int_value': 4294967295})), ('larger', socket_option({'int_value': 2**63 - 1})),
    ('too large', socket_option({'int_value': 2**63})), ('large level', socket_option({'int_value': 1, 'level': 2**40})), ('no value', socket_option({}))])


def health_check(settings):
    return lambda t: simple(t, t.dead(), filters=[http_filter('h', 'health_check.v3.HealthCheck', settings)])


verdicts('health_check_filter_combinations', [
    ('percentages and pass through', health_check({'pass_through_mode': True, 'cluster_min_healthy_percentages': {'c1': {'value': 50}}})),
    ('percentages', health_check({'pass_through_mode': False, 'cluster_min_healthy_percentages': {'c1': {'value': 50}}})),
    ('cache without pass through', health_check({'pass_through_mode': False, 'cache_time': '1s'})),
    ('cache', health_check({'pass_through_mode': True, 'cache_time': '1s'})), ('nothing', health_check({}))])
