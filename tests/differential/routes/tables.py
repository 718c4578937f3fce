"""Random route configurations and requests that come near to matching them. All of it follows from a `random.Random`."""

PARTS = ['a', 'b', 'ab', 'A', 'x1', 'a.b', 'a-b', 'aB', 'é'.encode().decode('latin-1'), 'a;p=1', '%61', '']
HEADERS = ['x-a', 'x-b', 'X-C', ':method', 'cookie2', 'x-a', 'x-b', 'host', ':path', ':scheme']
VALUES = ['a', 'b', 'ab', 'A', '', '1', '10', '-3', '9223372036854775807', 'a,b', ' a', 'abc']
NAMES = ['k', 'K', 'q', 'ab']
REGEXES = ['/a.*', '/(a|b)/[a-z]+', '.*b', '/a(/.*)?', '(?i)/AB.*', '/[^/]+/[^/]+', '/a{1,2}b?', '.*', '/x\\d', '/(ab|a)b.*', '/a$', '^/b', '(/a)+', '/\\w+', '/a\\.b', '/.', '.*/b/.*', '/a|/b']
TEMPLATES = ['/{x}', '/a/{x}', '/*/b', '/{x=a/*}/b', '/**', '/{x=**}.b', '/a/{x}/**', '/{x}/{y}', '/{a=*}/{b=**}']
DOMAINS = ['*', 'a.com', '*.a.com', '*-x.a.com', 'a.*', 'a.b.*', 'b.a.com', 'A.b.com', '*.com', 'a.com:80', 'a.com:*', 'a', '[::1]', '[::1]:*']
HOSTS = ['a.com', 'b.a.com', 'c.b.a.com', 'y-x.a.com', 'a.com:80', 'a.com:81', 'a.b.com', 'A.COM', 'a', 'a.', '[::1]', '[::1]:80', 'com', '.com', 'z']
CHANCE = ('x-a', 'x-chance')


def path(r, most=3):
    return '/' + '/'.join(r.choice(PARTS) for _ in range(r.randint(1, most)))


def string_match(r, value):
    kind = r.choice(['exact', 'exact', 'prefix', 'suffix', 'contains', 'safe_regex'])
    if kind == 'safe_regex':
        return {kind: {'regex': r.choice(['a.*', '[a-z]+', '.*', '(?i)A', '1?0?', 'a|b', '^$'])}}
    out = {kind: value if kind == 'exact' else value or 'a'}
    if r.random() < 0.2:
        out['ignore_case'] = True
    return out


def header_value(r, name):
    own = {':method': ['GET', 'POST'], 'host': HOSTS, ':scheme': ['http', 'https'], ':path': [path(r), '/']}
    return r.choice(own.get(name, VALUES)).strip()


def header_match(r):
    out = {'name': r.choice(HEADERS)}
    kind = r.choice(['string', 'string', 'string', 'present', 'range', 'older', 'bare'])
    value = header_value(r, out['name'])
    if kind == 'string':
        out['string_match'] = string_match(r, value)
    elif kind == 'present':
        out['present_match'] = r.random() < 0.7
    elif kind == 'range':
        low = r.choice([-5, 0, 1, 10])
        out['range_match'] = {'start': low, 'end': low + r.choice([1, 5, 100])}
    elif kind == 'older':
        out['exact_match'] = value or 'a'
    if r.random() < 0.2:
        out['invert_match'] = True
    if r.random() < 0.15:
        out['treat_missing_header_as_empty'] = True
    return out


def match(r):
    kind = r.choices(['prefix', 'path', 'path_separated_prefix', 'safe_regex', 'template', 'connect'], [5, 5, 3, 5, 2, 0.2])[0]
    out, text = {}, path(r)
    if kind == 'prefix':
        out['prefix'] = r.choice([text, '/', '/' + r.choice(PARTS)])
    elif kind == 'path':
        out['path'] = text
    elif kind == 'path_separated_prefix':
        text = text.replace('?', '').replace('#', '').rstrip('/') or '/a'
        out['path_separated_prefix'] = text
    elif kind == 'safe_regex':
        out['safe_regex'] = {'regex': r.choice(REGEXES)}
    elif kind == 'connect':
        out['connect_matcher'] = {}
    else:
        out['path_match_policy'] = {'name': 't', 'typed_config': {
            '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig', 'path_template': r.choice(TEMPLATES)}}
    if kind in ('prefix', 'path', 'path_separated_prefix') and r.random() < 0.2:
        out['case_sensitive'] = False
    guarded = r.random()
    if guarded < 0.25:
        # Many routes of one path that ask for one header's exact value take their own way through the index.
        out['headers'] = [{'name': 'x-a', 'string_match': {'exact': r.choice(VALUES).strip() or 'a'}}]
    elif guarded < 0.5:
        out['headers'] = [header_match(r) for _ in range(r.randint(1, 2))]
    if r.random() < 0.15:
        out['query_parameters'] = [{'name': r.choice(NAMES), **r.choice([{'present_match': r.random() < 0.7}, {'string_match': string_match(r, r.choice(VALUES).strip())}, {}])}]
    if r.random() < 0.1:
        out['cookies'] = [{'name': r.choice(NAMES), 'string_match': string_match(r, r.choice(VALUES).strip()), 'invert_match': r.random() < 0.3}]
    if r.random() < 0.05:
        out['grpc'] = {}
    if r.random() < 0.05:
        out['tls_context'] = {r.choice(['presented', 'validated']): r.random() < 0.5}
    if r.random() < 0.05:
        # A connection has `k`, and nothing else.
        out['filter_state'] = [{'key': r.choice(['k', 'k', 'none']), 'string_match': string_match(r, r.choice(['state', 'st', 'other']))}]
    if r.random() < 0.05:
        # Nobody has said anything yet when routes are looked for.
        out['dynamic_metadata'] = [{'filter': 'f', 'path': [{'key': 'k'}], 'value': r.choice([{'present_match': True}, {'string_match': {'exact': 'v'}}]), 'invert': r.random() < 0.6}]
    if r.random() < 0.05:
        out['runtime_fraction'] = {'default_value': {'numerator': r.choice([0, 100])}}
    return out


def rewrite(r, matched):
    choices = [{'regex_rewrite': {'pattern': {'regex': r.choice(['a', '/(a|b)', 'b$', '^/', '[a-z]+', 'b*'])}, 'substitution': r.choice(['', 'Z', '/z', '\\0\\0'])}}]
    if 'path_match_policy' not in matched:
        choices.append({'prefix_rewrite': r.choice(['/', '/n', '/n/', '/n?x=y'])})
    return r.choice(choices)


def weighted(r):
    """Several clusters, chosen by a header's number or by a hash; the response tells which it was."""
    clusters = [{'name': 'none', 'weight': r.randint(0, 3) + (i == 0), 'request_headers_to_add': mutations(r), 'response_headers_to_add': [{'header': {'key': 'x-weight', 'value': str(i)}}]} for i in range(r.choice([3, 3, 11]))]
    if r.random() < 0.5:
        return {'weighted_clusters': {'header_name': CHANCE[1], 'clusters': clusters}}
    # What only some requests have cannot be the last word: chance would decide.
    policies = [r.choice([{'header': {'header_name': r.choice(['x-a', 'x-b', ':method', 'x-c'])}}, {'query_parameter': {'name': r.choice(NAMES)}}, {'cookie': {'name': r.choice(NAMES)}},
                          {'header': {'header_name': 'x-a', 'regex_rewrite': {'pattern': {'regex': r.choice(['a', '[0-9]+', '^(.)', 'b*'])}, 'substitution': r.choice(['', 'Z', '\\0\\0'])}}}]) for _ in range(r.randint(0, 3))]
    for policy in policies:
        if r.random() < 0.2:
            policy['terminal'] = True
    always = [{'header': {'header_name': r.choice(['host', ':path'])}}]
    return {'weighted_clusters': {'use_hash_policy': True, 'clusters': clusters}, 'hash_policy': r.choice([policies + always, always + policies])}


def mutations(r):
    """`request_headers_to_add` of one level."""
    actions = ['APPEND_IF_EXISTS_OR_ADD', 'ADD_IF_ABSENT', 'OVERWRITE_IF_EXISTS_OR_ADD', 'OVERWRITE_IF_EXISTS']
    return [{'header': {'key': r.choice(['x-a', 'x-q']), 'value': r.choice(['new', '%REQ(x-b)%', '%REQ(:method)%'])}, 'append_action': r.choice(actions)} for _ in range(r.choice([0, 0, 0, 1, 2]))]


def action(r, matched):
    kind = r.choices(['direct', 'redirect', 'cluster', 'weighted'], [5, 2, 3, 1])[0]
    if kind == 'direct':
        return {'direct_response': {'status': r.choice([200, 201, 302, 404])}}
    if kind == 'redirect':
        out = {**r.choice([{}, {'path_redirect': r.choice(['/r', 'r', '/r?s=t'])}, {'path_rewrite': '/%REQ(x-a)%'}, rewrite(r, matched)])}
        for field, values in (('host_redirect', ['h.com', 'h.com:99']), ('port_redirect', [80, 8443]), ('strip_query', [True]), ('response_code', ['FOUND', 'PERMANENT_REDIRECT'])):
            if r.random() < 0.3:
                out[field] = r.choice(values)
        if r.random() < 0.4:
            out.update(r.choice([{'https_redirect': True}, {'scheme_redirect': 'ftp'}]))
        return {'redirect': out}
    route = {'cluster': 'none'} if kind == 'cluster' else weighted(r)
    if r.random() < 0.5:
        route.update(rewrite(r, matched))
    elif r.random() < 0.3:
        route['path_rewrite'] = '/w%REQ(x-a)%'
    if r.random() < 0.3:
        route.update(r.choice([{'host_rewrite_literal': 'l'}, {'host_rewrite_header': 'x-b'}, {'host_rewrite': '%REQ(x-a)%.h'},
                               {'host_rewrite_path_regex': {'pattern': {'regex': '^/([^/]+).*'}, 'substitution': '\\1.p'}}]))
    return {'route': route}


def route(r, name):
    m = match(r)
    more = {'request_headers_to_remove': [r.choice(['x-a', 'x-q'])]} if r.random() < 0.1 else {}
    return {'name': name, 'match': m, **action(r, m), 'request_headers_to_add': mutations(r), **more, 'response_headers_to_add': [
        {'header': {'key': 'x-seen', 'value': '%REQ(x-a)%;%REQ(x-q)%'}}, {'header': {'key': 'x-route', 'value': name}}, {'header': {'key': 'x-path', 'value': '%REQ(:path)%'}}, {'header': {'key': 'x-host', 'value': '%REQ(:authority)%'}}]}


T = 'type.googleapis.com/'
TREE_INPUTS = ['x-a', 'x-b', ':path', ':method', 'host', 'x-none']


def tree_value(r, name):
    return r.choice(['GET', 'POST']) if name == ':method' else path(r) if name == ':path' else r.choice(HOSTS) if name == 'host' else r.choice(VALUES).strip()


def tree_input(name):
    return {'name': 'i', 'typed_config': {'@type': T + 'envoy.type.matcher.v3.HttpRequestHeaderMatchInput', 'header_name': name}}


def predicate(r, deep=2):
    kind = r.choice(['single'] * 4 + (['or_matcher', 'and_matcher', 'not_matcher'] if deep else []))
    if kind == 'not_matcher':
        return {kind: predicate(r, deep - 1)}
    if kind != 'single':
        return {kind: {'predicate': [predicate(r, deep - 1) for _ in range(2)]}}
    name = r.choice(TREE_INPUTS)
    if r.random() < 0.1:
        checks = T + 'envoy.extensions.matching.input_matchers.'
        check = r.choice([{'@type': checks + 'consistent_hashing.v3.ConsistentHashing', 'threshold': r.randint(0, 3), 'modulo': r.randint(3, 5), 'seed': r.randint(0, 9)},
                          {'@type': checks + 'runtime_fraction.v3.RuntimeFraction', 'seed': r.randint(0, 9), 'runtime_fraction': {'default_value': {'numerator': r.choice([0, 30, 60, 100])}}}])
        return {'single_predicate': {'input': tree_input(name), 'custom_match': {'name': 'm', 'typed_config': check}}}
    value = string_match(r, tree_value(r, name))
    if 'safe_regex' in value:
        value['safe_regex']['google_re2'] = {}
    return {'single_predicate': {'input': tree_input(name), 'value_match': value}}


def on_match(r, routes, deep):
    """Another tree, or some of the routes."""
    kind = r.random()
    if deep and kind < 0.3:
        return {'matcher': tree(r, routes, deep - 1)}
    if kind < 0.6:
        return {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.config.route.v3.Route', **r.choice(routes)}}}
    some = r.sample(routes, r.randint(0, min(len(routes), 6)))
    return {'action': {'name': 'a', 'typed_config': {'@type': T + 'envoy.config.route.v3.RouteList', 'routes': some}}}


def tree(r, routes, deep=2):
    """A matcher over request headers that leads to these routes."""
    then = lambda: on_match(r, routes, deep)
    name, kind = r.choice(TREE_INPUTS), r.choice(['list', 'list', 'exact_match_map', 'prefix_match_map', 'names', 'addresses'])
    if kind == 'list':
        out = {'matcher_list': {'matchers': [{'predicate': predicate(r), 'on_match': then()} for _ in range(r.randint(1, 4))]}}
    elif kind == 'names':
        domains = r.sample(['a.com', '*.a.com', '*.com', '*', 'b.a.com', 'A.COM'], r.randint(1, 4))
        custom = {'@type': T + 'xds.type.matcher.v3.ServerNameMatcher', 'domain_matchers': [{'domains': [d], 'on_match': then()} for d in domains]}
        out = {'matcher_tree': {'input': tree_input('host'), 'custom_match': {'name': 'c', 'typed_config': custom}}}
    elif kind == 'addresses':
        ranges = [{'ranges': [{'address_prefix': '::', 'prefix_len': r.choice([0, 64])}], 'exclusive': r.random() < 0.5, 'on_match': then()}]
        out = {'matcher_tree': {'input': tree_input('host'), 'custom_match': {'name': 'c', 'typed_config': {'@type': T + 'xds.type.matcher.v3.IPMatcher', 'range_matchers': ranges}}}}
    else:
        keys = {tree_value(r, name) or 'a' for _ in range(r.randint(1, 5))}
        out = {'matcher_tree': {'input': tree_input(name), kind: {'map': {key: then() for key in sorted(keys)}}}}
    if r.random() < 0.5:
        out['on_no_match'] = then()
    return out


def routes_of(part):
    """Every route of a virtual host, or of what its matcher is made of."""
    if isinstance(part, list):
        return [route for each in part for route in routes_of(each)]
    if not isinstance(part, dict):
        return []
    return [part] if 'match' in part and 'name' in part else routes_of(list(part.values()))


def table(r):
    """A RouteConfiguration."""
    domains = r.sample(DOMAINS, r.randint(1, 8))
    hosts = []
    while domains:
        mine = [domains.pop() for _ in range(min(len(domains), r.randint(1, 2)))]
        n = r.choice([1, 3, 10, 40, 120])
        host = {'name': 'v%d' % len(hosts), 'domains': mine, 'routes': [route(r, 'v%dr%d' % (len(hosts), i)) for i in range(n)]}
        host['request_headers_to_add'] = mutations(r)
        if r.random() < 0.05:
            host['require_tls'] = r.choice(['ALL', 'EXTERNAL_ONLY'])
        if r.random() < 0.2:
            host['matcher'] = tree(r, host.pop('routes'))
        hosts.append(host)
    out = {'name': 't', 'virtual_hosts': hosts, 'request_headers_to_add': mutations(r)}
    if r.random() < 0.15:
        out['vhost_header'] = r.choice(['X-Host', 'host', ':authority'])
    for field in ('ignore_port_in_host_matching', 'ignore_path_parameters_in_path_matching', 'most_specific_header_mutations_wins'):
        if r.random() < 0.2:
            out[field] = True
    return out


def request(r, table):
    """(method, path, headers) with the pseudo `host` among them; often one that some route is made for."""
    text = path(r)
    routes = routes_of(r.choice(table['virtual_hosts']))
    if routes and r.random() < 0.6:
        m = r.choice(routes)['match']
        text = m.get('path') or m.get('path_separated_prefix') or m.get('prefix') or text
        text += r.choice(['', '', '/', '/' + r.choice(PARTS), r.choice(PARTS)])
        if r.random() < 0.1:
            text = text.swapcase()
    if r.random() < 0.4:
        text += '?' + '&'.join('%s=%s' % (r.choice(NAMES), r.choice(VALUES).strip()) for _ in range(r.randint(1, 2)))
    headers = [('host', r.choice(HOSTS))]
    if r.random() < 0.5:
        headers.append(('x-host', r.choice(HOSTS)))
    headers += [(name.lower(), r.choice(VALUES).strip()) for name in ('x-a', 'x-b', 'x-c') for _ in range(r.choice([0, 1, 1, 2]))]
    if r.random() < 0.2:
        headers.append(('cookie', '; '.join('%s=%s' % (r.choice(NAMES), r.choice(VALUES).strip()) for _ in range(r.randint(1, 2)))))
    if r.random() < 0.1:
        headers.append(('content-type', r.choice(['application/grpc', 'application/grpc+proto', 'text/plain'])))
    headers.append((CHANCE[1], str(r.randint(0, 20))))
    return r.choice(['GET', 'GET', 'GET', 'POST', 'PUT']), text, headers
