"""Virtual hosts, header mutations and the order of things in a route."""
from harness import *
from harness.tables import H


def named(n, dom):
    return {'name': n, 'domains': dom, 'routes': [{'match': {'prefix': '/'}, 'direct_response': {'status': 200, 'body': {'inline_string': n}}}]}


def by_host(name, vhosts, hs, **kw):
    @case(name)
    async def _(t):
        await t.start(simple(t, clusters=[], vhosts=[named(n, d) for n, d in vhosts], **kw))
        t.see('by_host', {h: '%s %s' % (r.status, body_repr(r.body)) for h in hs for r in [await t.req(host=h)]})


by_host('domain_wildcard_needs_a_character', [('w', ['*.foo.com']), ('p', ['foo.*']), ('any', ['*'])], ['.foo.com', 'foo.com', 'foo.', 'a.foo.com', 'foo.x'])
by_host('domain_suffix_without_dot', [('s', ['*-bar.foo.com']), ('any', ['*'])], ['a-bar.foo.com', '-bar.foo.com', 'bar.foo.com', 'a.b-bar.foo.com'])
by_host('domain_longest_suffix_over_order', [('short', ['*.c']), ('long', ['*.b.c']), ('longest', ['*.a.b.c'])], ['x.c', 'x.b.c', 'x.a.b.c', 'y.x.a.b.c'])
by_host('domain_suffix_before_prefix', [('p', ['a.*']), ('s', ['*.b'])], ['a.b', 'a.c', 'c.b'])
by_host('domain_ipv6_and_ports', [('v6', ['[::1]']), ('v6p', ['[::1]:80']), ('p', ['h:*']), ('any', ['*'])], ['[::1]', '[::1]:80', '[::1]:81', 'h:1', 'h'])
by_host('domain_empty_host', [('a', ['a']), ('any', ['*'])], ['', 'a'])
by_host('domain_several_per_vhost', [('one', ['a', 'b', '*.c']), ('two', ['d', 'x.c'])], ['a', 'b', 'z.c', 'x.c', 'd', 'e'])


def refused(name, vhosts):
    @case(name)
    async def _(t):
        good, _l = await t.run_to_end(simple(t, clusters=[], vhosts=[named('a', ['a'])]), args=('--mode', 'validate'))
        bad, _l = await t.run_to_end(simple(t, clusters=[], vhosts=vhosts), args=('--mode', 'validate'))
        t.see('exit', [good, bad])


refused('vhost_duplicate_domain_refused', [named('a', ['x']), named('b', ['X'])])
refused('vhost_two_wildcards_refused', [named('a', ['*']), named('b', ['*'])])
by_host('domain_inner_wildcard_is_no_wildcard', [('inner', ['a.*.b']), ('any', ['*'])], ['a.x.b', 'a.*.b', 'a..b'])
refused('vhost_empty_domain_list_refused', [named('a', [])])
refused('vhost_name_empty_refused', [named('', ['a'])])


def mutate(name, levels, reqs=({},), up_headers=(('x-r', 'up'),), only=None, **kw):
    """levels: (route, virtual host, route table) header mutation fields. Observes both sides."""
    @case(name)
    async def _(t):
        u = await t.up('u1', lambda m, n: resp(200, 'x', list(up_headers)))
        r, v, rc = [Y(l) or {} for l in levels]
        vh = {'name': 'v', 'domains': ['*'], 'routes': [{'name': 'rn', 'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, **r}], **v}
        await t.start(simple(t, vhosts=[vh], route_config=rc, **kw))
        for i, k in enumerate(reqs):
            t.see('resp%d' % i, await t.req(**k), only=only)
        t.see('up', u.reqs, only=only)


ADD = '{%s_headers_to_add: [{header: {key: x-lvl, value: %s}%s}]}'
OV = ', append_action: OVERWRITE_IF_EXISTS_OR_ADD'
mutate('mutation_append_order', [ADD % ('request', 'route', ''), ADD % ('request', 'vhost', ''), ADD % ('request', 'table', '')], only={'x-lvl'})
mutate('mutation_overwrite_order', [ADD % ('request', 'route', OV), ADD % ('request', 'vhost', OV), ADD % ('request', 'table', OV)], only={'x-lvl'})
mutate('mutation_overwrite_most_specific_wins', [ADD % ('request', 'route', OV), ADD % ('request', 'vhost', OV), '{most_specific_header_mutations_wins: true, request_headers_to_add: [{header: {key: x-lvl, value: table}%s}]}' % OV], only={'x-lvl'})
mutate('mutation_response_order', [ADD % ('response', 'route', ''), ADD % ('response', 'vhost', ''), ADD % ('response', 'table', '')], only={'x-lvl'})
mutate('mutation_actions', ['{request_headers_to_add: [{header: {key: x-a, value: new}}, {header: {key: x-b, value: new}, append_action: ADD_IF_ABSENT}, {header: {key: x-c, value: new}, append_action: OVERWRITE_IF_EXISTS}, {header: {key: x-d, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}', None, None],
       reqs=[H(('x-a', 'old'), ('x-b', 'old'), ('x-c', 'old'), ('x-d', 'old')), {}], only={'x-a', 'x-b', 'x-c', 'x-d'})
mutate('mutation_append_field', ['{request_headers_to_add: [{header: {key: x-a, value: new}, append: false}, {header: {key: x-b, value: new}, append: true}]}', None, None], reqs=[H(('x-a', 'old'), ('x-b', 'old'))], only={'x-a', 'x-b'})
mutate('mutation_remove', ['{request_headers_to_remove: [x-a, X-B], response_headers_to_remove: [x-r, server]}', None, None], reqs=[H(('X-A', '1'), ('x-b', '2'), ('x-c', '3'))], only={'x-a', 'x-b', 'x-c', 'x-r', 'server'})
mutate('mutation_remove_then_add', ['{request_headers_to_remove: [x-a], request_headers_to_add: [{header: {key: x-a, value: "was %REQ(x-a)%"}}]}', None, None], reqs=[H(('x-a', 'old'))], only={'x-a'})
mutate('mutation_empty_values', ['{request_headers_to_add: [{header: {key: x-e, value: ""}}, {header: {key: x-k, value: ""}, keep_empty_value: true}, {header: {key: x-n, value: "%REQ(x-none)%"}}]}', None, None], only={'x-e', 'x-k', 'x-n'})
mutate('mutation_operators', ['{request_headers_to_add: [{header: {key: x-p, value: "%PROTOCOL% %REQ(:METHOD)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% 100%%"}}, {header: {key: x-c, value: "%UPSTREAM_CLUSTER%|%ROUTE_NAME%"}}], response_headers_to_add: [{header: {key: x-code, value: "%RESPONSE_CODE%"}}, {header: {key: x-from, value: "%RESP(x-r)%"}}, {header: {key: x-host, value: "%UPSTREAM_HOST%"}}]}', None, None], only={'x-p', 'x-c', 'x-code', 'x-from', 'x-host'})
mutate('mutation_service_time_and_attempts', [None, '{include_request_attempt_count: true, include_attempt_count_in_response: true}', None], only={'x-envoy-attempt-count', 'x-envoy-upstream-service-time'})


@case()
async def mutation_of_host_and_pseudo_headers_refused(t):
    out = {}
    for k in ('x-a', 'host', 'Host', ':path', ':method', ''):
        route = {'match': {'prefix': '/'}, 'direct_response': {'status': 200}, 'request_headers_to_add': [{'header': {'key': k, 'value': 'v'}}]}
        out['add ' + k], _ = await t.run_to_end(simple(t, clusters=[], routes=[route]), args=('--mode', 'validate'))
        route = {'match': {'prefix': '/'}, 'direct_response': {'status': 200}, 'request_headers_to_remove': [k]}
        out['remove ' + k], _ = await t.run_to_end(simple(t, clusters=[], routes=[route]), args=('--mode', 'validate'))
    t.see('exit', out)
