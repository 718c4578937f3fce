"""override_host: the host that a header or metadata of the request names, before any balancer; and which health a session's host may have."""
from harness import *

LB = 'type.googleapis.com/envoy.extensions.load_balancing_policies.'
ROUND_ROBIN = {'name': 'rr', 'typed_config': {'@type': LB + 'round_robin.v3.RoundRobin'}}
BY_HEADER = [{'header': 'x-to'}]
BY_METADATA = [{'metadata': {'key': 'envoy.lb', 'path': [{'key': 'to'}]}}]
NOBODY = '127.0.0.1:1'
LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.lb)%'


def policies(*all):
    return {'policies': [{'typed_extension_config': one} for one in all]}


def override(sources=BY_HEADER, fallback=ROUND_ROBIN, **more):
    config = {'@type': LB + 'override_host.v3.OverrideHost', 'override_host_sources': sources, 'fallback_policy': policies(fallback), **more}
    return {'name': 'o', 'typed_config': config}


def metadata_filter(namespace, value):
    return http_filter('m', 'set_metadata.v3.Config', {'metadata': [{'metadata_namespace': namespace, 'value': value}]})


async def hosts(t, n=4, states=(), **kw):
    """As many hosts, the first of which have these states."""
    all = []
    for i in range(n):
        u = await t.up('h%d' % i, **kw)
        all.append(lbe(u, health_status=states[i]) if i < len(states) and states[i] else lbe(u))
    return all


def at(t, i):
    return '127.0.0.1:%d' % t.ups[i].port


async def begin(t, policy=None, all=None, extra=None, **kw):
    c1 = cluster('c1', all or await hosts(t), merge({'load_balancing_policy': policies(policy or override())}, extra or {}))
    await t.start(simple(t, clusters=[c1], log=LOG, **kw))


async def where(t, headers, n=6):
    """Who answered so many requests."""
    seen = set()
    for _ in range(n):
        r = await t.req('/', headers=headers)
        seen.add('%s %s' % (r.status, r.h('x-up')))
    return sorted(seen)


def by_header(name, of, **kw):
    """`of`: the header's lines, made of the context."""
    @case('override_host_' + name)
    async def _(t):
        await begin(t, **kw)
        t.see('at', await where(t, of(t)))


by_header('of_a_header', lambda t: [('x-to', at(t, 2))])
by_header('without_the_header', lambda t: [], all=None)
by_header('first_of_a_list', lambda t: [('x-to', at(t, 3) + ',' + at(t, 1))])
by_header('list_with_blanks', lambda t: [('x-to', ' %s , %s ' % (at(t, 3), at(t, 1)))])
by_header('skips_whom_it_does_not_know', lambda t: [('x-to', NOBODY + ',' + at(t, 1))])
by_header('knows_nobody', lambda t: [('x-to', NOBODY)])
by_header('without_a_port', lambda t: [('x-to', '127.0.0.1')])
by_header('garbled', lambda t: [('x-to', 'nonsense,' + at(t, 1))])
by_header('garbled_behind_one_that_is_known', lambda t: [('x-to', at(t, 1) + ',nonsense')])
by_header('of_a_name', lambda t: [('x-to', 'localhost:%d' % t.ups[1].port)])
by_header('empty', lambda t: [('x-to', '')])
by_header('commas_alone', lambda t: [('x-to', ',,')])
by_header('two_lines', lambda t: [('x-to', at(t, 2)), ('x-to', at(t, 0))])
by_header('second_source', lambda t: [('x-other', at(t, 2))], policy=override([{'header': 'x-to'}, {'header': 'x-other'}]))
by_header('of_two_sources', lambda t: [('x-other', at(t, 2)), ('x-to', at(t, 1))], policy=override([{'header': 'x-to'}, {'header': 'x-other'}]))
by_header('unknown_of_the_first_source', lambda t: [('x-other', at(t, 2)), ('x-to', NOBODY)], policy=override([{'header': 'x-to'}, {'header': 'x-other'}]))
by_header('garbled_in_the_first_source', lambda t: [('x-other', at(t, 2)), ('x-to', 'nonsense')], policy=override([{'header': 'x-to'}, {'header': 'x-other'}]))
by_header('header_in_another_case', lambda t: [('X-To', at(t, 2))], policy=override([{'header': 'x-tO'}]))


def by_health(name, states, of):
    @case('override_host_' + name)
    async def _(t):
        await begin(t, all=await hosts(t, states=states))
        t.see('at', await where(t, of(t)))


by_health('unhealthy', ['UNHEALTHY'], lambda t: [('x-to', at(t, 0))])
by_health('unhealthy_then_another', ['UNHEALTHY'], lambda t: [('x-to', at(t, 0) + ',' + at(t, 2))])
by_health('draining', ['DRAINING'], lambda t: [('x-to', at(t, 0))])
by_health('degraded', ['DEGRADED'], lambda t: [('x-to', at(t, 0))])
by_health('in_panic', ['UNHEALTHY'] * 4, lambda t: [('x-to', at(t, 1))])


@case()
async def override_host_of_a_lower_priority(t):
    await hosts(t, 2)
    c1 = cluster('c1', extra={'load_balancing_policy': policies(override())}, localities=[{'priority': i, 'lb_endpoints': [lbe(u)]} for i, u in enumerate(t.ups)])
    await t.start(simple(t, clusters=[c1]))
    t.see('at', await where(t, [('x-to', at(t, 1))]))
    t.see('else', await where(t, []))


@case()
async def override_host_without_status_of_the_cluster(t):
    """`override_host_status` is about sessions alone."""
    await begin(t, all=await hosts(t, states=['UNHEALTHY']), extra={'common_lb_config': {'override_host_status': {'statuses': ['HEALTHY']}}})
    t.see('at', await where(t, [('x-to', at(t, 0))]))


def by_metadata(name, namespace, value, policy=None, n=4):
    @case('override_host_metadata_' + name)
    async def _(t):
        await hosts(t, n)
        c1 = cluster('c1', [lbe(u) for u in t.ups], {'load_balancing_policy': policies(policy or override(BY_METADATA))})
        await t.start(simple(t, clusters=[c1], filters=[metadata_filter(namespace, value(t))], log=LOG.replace(' %DYNAMIC_METADATA(envoy.lb)%', '')))
        t.see('at', await where(t, []))


DEEP = override([{'metadata': {'key': 'my', 'path': [{'key': 'a'}, {'key': 'b'}]}}])
by_metadata('text', 'envoy.lb', lambda t: {'to': at(t, 2)})
by_metadata('list_of_texts_in_one', 'envoy.lb', lambda t: {'to': NOBODY + ',' + at(t, 2)})
by_metadata('of_another_namespace', 'envoy.other', lambda t: {'to': at(t, 2)})
by_metadata('deep', 'my', lambda t: {'a': {'b': at(t, 1)}}, DEEP)
by_metadata('too_deep', 'my', lambda t: {'a': at(t, 1)}, DEEP)
by_metadata('number', 'envoy.lb', lambda t: {'to': 5})
by_metadata('list', 'envoy.lb', lambda t: {'to': [at(t, 2)]})


def retried(name, of, n_retries=3, statuses=(503, 503, 503, 503), **kw):
    """Which hosts the attempts went to."""
    @case('override_host_retries_' + name)
    async def _(t):
        seen = []

        def respond(m, n):
            seen.append(m['up'])
            return resp(503, 'no', [('x-up', m['up'])])
        await hosts(t, respond=respond)
        c1 = cluster('c1', [lbe(u) for u in t.ups], {'load_balancing_policy': policies(kw.get('policy') or override())})
        await t.start(simple(t, clusters=[c1], routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': {'retry_on': '5xx', 'num_retries': n_retries, 'retry_back_off': {'base_interval': '0.001s'}}}}]))
        r = await t.req('/', headers=of(t))
        known = kw.get('known', len(seen))
        t.see('tried', [r.status, seen[:known], len(seen)])


retried('take_the_next_of_the_list', lambda t: [('x-to', ','.join(at(t, i) for i in (3, 1, 2, 0)))])
retried('leave_out_the_unknown', lambda t: [('x-to', ','.join((at(t, 3), NOBODY, at(t, 1))))], n_retries=1)
retried('come_to_the_end', lambda t: [('x-to', ','.join((at(t, 3), at(t, 1))))], known=2)
retried('go_on_with_the_next_source', lambda t: [('x-to', at(t, 3)), ('x-other', at(t, 1))], n_retries=1, policy=override([{'header': 'x-to'}, {'header': 'x-other'}]))
retried('name_one_twice', lambda t: [('x-to', ','.join((at(t, 3), at(t, 3), at(t, 1))))], n_retries=2)


def selected(name, of, **kw):
    """What the metadata say of the host."""
    @case('override_host_selected_' + name)
    async def _(t):
        await hosts(t)
        key = kw.get('key') or {'key': 'envoy.lb', 'path': [{'key': 'served'}]}
        c1 = cluster('c1', [lbe(u) for u in t.ups], {'load_balancing_policy': policies(override(selected_host_key=key, **kw.get('more', {})))})
        await t.start(simple(t, clusters=[c1], log='%%RESPONSE_CODE%% %%DYNAMIC_METADATA(%s)%%' % key['key'], filters=kw.get('filters', ())))
        t.see('at', await where(t, of(t), 1))
        t.see('log', await t.logs())


selected('by_header', lambda t: [('x-to', at(t, 2))])
selected('deep', lambda t: [('x-to', at(t, 2))], key={'key': 'my', 'path': [{'key': 'a'}, {'key': 'b'}]})
selected('beside_others', lambda t: [('x-to', at(t, 2))], filters=[metadata_filter('envoy.lb', {'kept': 1})])
selected('second_of_the_list', lambda t: [('x-to', NOBODY + ',' + at(t, 2))])


@case()
async def override_host_selected_by_the_fallback(t):
    await hosts(t, 1)
    c1 = cluster('c1', [lbe(u) for u in t.ups], {'load_balancing_policy': policies(override(selected_host_key={'key': 'envoy.lb', 'path': [{'key': 'served'}]}))})
    await t.start(simple(t, clusters=[c1], log=LOG))
    t.see('at', await where(t, [], 1))
    t.see('log', await t.logs())


@case()
async def override_host_over_ring_hash(t):
    """The fallback places by the route's hash policy."""
    await hosts(t)
    fallback = {'name': 'r', 'typed_config': {'@type': LB + 'ring_hash.v3.RingHash'}}
    c1 = cluster('c1', [lbe(u, extra={'metadata': {'filter_metadata': {'envoy.lb': {'hash_key': u.name}}}}) for u in t.ups], {'load_balancing_policy': policies(override(fallback=fallback))})
    await t.start(simple(t, clusters=[c1], routes='[{match: {prefix: /}, route: {cluster: c1, hash_policy: [{header: {header_name: x-k}}]}}]'))
    t.see('by hash', {k: await where(t, [('x-k', k)], 3) for k in 'abcdef'})
    t.see('by header', {k: await where(t, [('x-k', k), ('x-to', at(t, 2))], 3) for k in 'abc'})


@case()
async def override_host_over_override_host(t):
    await begin(t, override([{'header': 'x-outer'}], fallback=override([{'header': 'x-inner'}])))
    t.see('outer', await where(t, [('x-outer', at(t, 1)), ('x-inner', at(t, 2))]))
    t.see('inner', await where(t, [('x-inner', at(t, 2))]))


async def answered(t, clusters):
    code, out = await t.run_to_end(simple(t, clusters=clusters))
    t.see('code', code)
    return out


def refused(name, config, word):
    @case('override_host_refused_' + name)
    async def _(t):
        await t.up()
        out = await answered(t, [cluster('c1', t.ups, {'load_balancing_policy': policies({'name': 'o', 'typed_config': {'@type': LB + 'override_host.v3.OverrideHost', **config}})})])
        t.see('why', word in out)


refused('without_sources', {'fallback_policy': policies(ROUND_ROBIN)}, '')
refused('with_two_sources_in_one', {'override_host_sources': [{'header': 'x-to', **BY_METADATA[0]}], 'fallback_policy': policies(ROUND_ROBIN)}, 'Only one override source must be set')
refused('without_a_fallback', {'override_host_sources': BY_HEADER}, '')
refused('with_an_empty_source', {'override_host_sources': [{}], 'fallback_policy': policies(ROUND_ROBIN)}, 'Empty override source')
refused('with_an_unknown_fallback', {'override_host_sources': BY_HEADER, 'fallback_policy': policies({'name': 'x', 'typed_config': {'@type': 'type.googleapis.com/google.protobuf.Struct', 'value': {}}})}, "didn't find a registered fallback load balancer factory with names from")
refused('with_no_fallback_in_the_list', {'override_host_sources': BY_HEADER, 'fallback_policy': {'policies': []}}, "didn't find a registered fallback load balancer factory with names from")
refused('with_a_bad_header', {'override_host_sources': [{'header': 'a\nb'}], 'fallback_policy': policies(ROUND_ROBIN)}, '')


# Sessions: `override_host_status` says which health a host may have to keep them.

HEADER = '{"@type": type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState, name: x-session}'


def session(name, state, statuses=None, strict=False):
    @case('override_host_status_' + name)
    async def _(t):
        import base64
        all = await hosts(t, 3, states=[state])
        filter = http_filter('ss', 'stateful_session.v3.StatefulSession', '{strict: %s, session_state: {name: envoy.http.stateful_session.header, typed_config: %s}}' % (str(strict).lower(), HEADER))
        extra = {} if statuses is None else {'common_lb_config': {'override_host_status': {'statuses': statuses}}}
        await t.start(simple(t, clusters=[cluster('c1', all, extra)], filters=[filter], log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'))
        keep = base64.b64encode(at(t, 0).encode()).decode()
        seen = {(await t.req('/', headers=[('x-session', keep)])).h('x-up') or 'none' for _ in range(6)}
        t.see('kept', seen == {'h0'})
        t.see('never', 'h0' not in seen)
        t.see('log', sorted(set(await t.logs())))


for state in ('UNKNOWN', 'HEALTHY', 'UNHEALTHY', 'DRAINING', 'TIMEOUT', 'DEGRADED'):
    session('default_' + state.lower(), state)
    session('alone_' + state.lower(), state, [state])
session('draining_is_not_unhealthy', 'DRAINING', ['UNHEALTHY'])
session('timeout_is_not_unhealthy', 'TIMEOUT', ['UNHEALTHY'])
session('unknown_is_not_healthy', None, ['HEALTHY'])
session('healthy_is_not_unknown', 'HEALTHY', ['UNKNOWN'])
session('none', 'HEALTHY', [])
session('strict', 'HEALTHY', ['DRAINING'], strict=True)
