"""Random route configurations and requests that come near to matching them. All of it follows from a `random.Random`."""

PARTS = ['a', 'b', 'ab', 'A', 'x1', 'a.b', 'a-b', 'aB', 'é'.encode().decode('latin-1'), 'a;p=1', '%61', '']
HEADERS = ['x-a', 'x-b', 'X-C', ':method', 'cookie2']
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


def header_match(r):
    out = {'name': r.choice(HEADERS)}
    kind = r.choice(['string', 'string', 'string', 'present', 'range', 'older', 'bare'])
    value = r.choice(['GET', 'POST']) if out['name'] == ':method' else r.choice(VALUES).strip()
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
        out['runtime_fraction'] = {'default_value': {'numerator': r.choice([0, 100])}}
    return out


def rewrite(r, matched):
    choices = [{'regex_rewrite': {'pattern': {'regex': r.choice(['a', '/(a|b)', 'b$', '^/', '[a-z]+', 'b*'])}, 'substitution': r.choice(['', 'Z', '/z', '\\0\\0'])}}]
    if 'path_match_policy' not in matched:
        choices.append({'prefix_rewrite': r.choice(['/', '/n', '/n/', '/n?x=y'])})
    return r.choice(choices)


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
    route = {'cluster': 'none'} if kind == 'cluster' else {'weighted_clusters': {'header_name': CHANCE[1], 'clusters': [
        {'name': 'none', 'weight': r.randint(0, 3) + (i == 0), 'response_headers_to_add': [{'header': {'key': 'x-weight', 'value': str(i)}}]} for i in range(3)]}}
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
    return {'name': name, 'match': m, **action(r, m), 'response_headers_to_add': [
        {'header': {'key': 'x-route', 'value': name}}, {'header': {'key': 'x-path', 'value': '%REQ(:path)%'}}, {'header': {'key': 'x-host', 'value': '%REQ(:authority)%'}}]}


def table(r):
    """A RouteConfiguration."""
    domains = r.sample(DOMAINS, r.randint(1, 8))
    hosts = []
    while domains:
        mine = [domains.pop() for _ in range(min(len(domains), r.randint(1, 2)))]
        n = r.choice([1, 3, 10, 40, 120])
        host = {'name': 'v%d' % len(hosts), 'domains': mine, 'routes': [route(r, 'v%dr%d' % (len(hosts), i)) for i in range(n)]}
        if r.random() < 0.05:
            host['require_tls'] = r.choice(['ALL', 'EXTERNAL_ONLY'])
        hosts.append(host)
    out = {'name': 't', 'virtual_hosts': hosts}
    for field in ('ignore_port_in_host_matching', 'ignore_path_parameters_in_path_matching'):
        if r.random() < 0.2:
            out[field] = True
    return out


def request(r, table):
    """(method, path, headers) with the pseudo `host` among them; often one that some route is made for."""
    text = path(r)
    if r.random() < 0.6:
        routes = r.choice(table['virtual_hosts'])['routes']
        m = r.choice(routes)['match']
        text = m.get('path') or m.get('path_separated_prefix') or m.get('prefix') or text
        text += r.choice(['', '', '/', '/' + r.choice(PARTS), r.choice(PARTS)])
        if r.random() < 0.1:
            text = text.swapcase()
    if r.random() < 0.4:
        text += '?' + '&'.join('%s=%s' % (r.choice(NAMES), r.choice(VALUES).strip()) for _ in range(r.randint(1, 2)))
    headers = [('host', r.choice(HOSTS))]
    headers += [(name.lower(), r.choice(VALUES).strip()) for name in ('x-a', 'x-b', 'x-c') for _ in range(r.choice([0, 1, 1, 2]))]
    if r.random() < 0.2:
        headers.append(('cookie', '; '.join('%s=%s' % (r.choice(NAMES), r.choice(VALUES).strip()) for _ in range(r.randint(1, 2)))))
    if r.random() < 0.1:
        headers.append(('content-type', r.choice(['application/grpc', 'application/grpc+proto', 'text/plain'])))
    headers.append((CHANCE[1], str(r.randint(0, 20))))
    return r.choice(['GET', 'GET', 'GET', 'POST', 'PUT']), text, headers
