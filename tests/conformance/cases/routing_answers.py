"""What routes answer themselves: redirects with all their parts, direct responses from every source, and responses that are followed."""
from harness import *
from harness.tables import H

LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%'


def redirected(name, action, reqs=(H(path='/a/b?c=d'),), match='{prefix: /}', vh=None, opts=None, r=None, **kw):
    """The status and the location of each."""
    @case('answers_redirect_' + name)
    async def _(t):
        vhosts = [{'name': 'v', 'domains': ['*'], 'routes': [{'match': Y(match), 'redirect': Y(action), **(Y(r) or {})}], **(Y(vh) or {})}]
        await t.start(simple(t, clusters=[], vhosts=vhosts, log=LOG, opts=opts, **kw))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**k))
        t.see('log', await t.logs())


HTTPS = ('x-forwarded-proto', 'https')
HOSTS = [H(host=h) for h in ('a.example', 'a.example:80', 'a.example:443', 'a.example:8080', '[::1]', '[::1]:80', '[::1]:8443', '1.2.3.4:80')]
redirected('https_keeps_other_ports', '{https_redirect: true}', HOSTS)
redirected('https_of_https', '{https_redirect: true}', [{**h, 'headers': [HTTPS]} for h in HOSTS[:4]])
redirected('scheme_to_http', '{scheme_redirect: http}', [H(HTTPS, host=h) for h in ('a.example', 'a.example:443', 'a.example:80', '[::1]:443')])
redirected('scheme_of_ones_own', '{scheme_redirect: ftp}', HOSTS[:4])
redirected('scheme_in_another_case', '{scheme_redirect: HTTPS}', HOSTS[:3])
redirected('port', '{port_redirect: 8443}', HOSTS)
redirected('port_80_and_https', '{port_redirect: 80, https_redirect: true}', HOSTS[:4])
redirected('port_443_and_https', '{port_redirect: 443, https_redirect: true}', HOSTS[:4])
redirected('host', '{host_redirect: other.example}', HOSTS[:4])
redirected('host_with_a_port', '{host_redirect: "other.example:99"}', HOSTS[:3])
redirected('host_with_a_port_and_another_port', '{host_redirect: "other.example:99", port_redirect: 100}', HOSTS[:3])
redirected('host_port_and_scheme', '{host_redirect: other.example, port_redirect: 8443, https_redirect: true, path_redirect: /x}', HOSTS[:4])
PATHS = [H(path=p) for p in ('/a/b', '/a/b?c=d', '/a/b?', '/a/', '/a', '/a?x=/a', '/a//b', '/a/b;p=1?q')]
redirected('path', '{path_redirect: /new}', PATHS[:3])
redirected('path_with_a_query', '{path_redirect: "/new?k=v"}', PATHS[:3])
redirected('path_with_an_empty_query', '{path_redirect: "/new?"}', PATHS[:3])
redirected('path_without_a_slash', '{path_redirect: new}', PATHS[:2])
redirected('path_stripped', '{path_redirect: /new, strip_query: true}', PATHS[:3])
redirected('path_with_a_query_stripped', '{path_redirect: "/new?k=v", strip_query: true}', PATHS[:3])
redirected('query_stripped', '{strip_query: true}', PATHS)
redirected('query_stripped_of_the_same_url', '{strip_query: true, response_code: FOUND}', [H(path='/a')])
redirected('prefix', '{prefix_rewrite: /n}', PATHS, '{prefix: /a}')
redirected('prefix_of_a_separated_one', '{prefix_rewrite: /n}', PATHS[:6], '{path_separated_prefix: /a}')
redirected('prefix_of_a_path', '{prefix_rewrite: /n}', [PATHS[4], PATHS[5]], '{path: /a}')
redirected('prefix_to_the_root', '{prefix_rewrite: /}', PATHS[:5], '{prefix: /a/}')
redirected('prefix_and_stripped', '{prefix_rewrite: /n, strip_query: true}', PATHS[:3], '{prefix: /a}')
redirected('prefix_of_any_case', '{prefix_rewrite: /n}', [H(path='/A/b'), H(path='/a/B')], '{prefix: /a, case_sensitive: false}')
redirected('prefix_of_a_regex', '{prefix_rewrite: /n}', PATHS[:2], '{safe_regex: {regex: "/a/.*"}}')
redirected('regex', '{regex_rewrite: {pattern: {regex: "^/a/([^/]+)"}, substitution: "/\\\\1/a"}}', PATHS)
redirected('regex_of_nothing', '{regex_rewrite: {pattern: {regex: "zzz"}, substitution: "q"}}', PATHS[:2])
redirected('regex_to_nothing', '{regex_rewrite: {pattern: {regex: ".*"}, substitution: ""}}', PATHS[:2])
redirected('regex_more_than_once', '{regex_rewrite: {pattern: {regex: "a"}, substitution: "bb"}, strip_query: true}', [H(path='/a/aa?a=a')])
redirected('codes', '{path_redirect: /n, response_code: SEE_OTHER}')
for code in ('MOVED_PERMANENTLY', 'FOUND', 'TEMPORARY_REDIRECT', 'PERMANENT_REDIRECT'):
    redirected('code_' + code.lower(), '{path_redirect: /n, response_code: %s}' % code, [H(), H(method='POST', body='x'), H(method='HEAD')])
redirected('of_odd_targets', '{https_redirect: true}', [H(path='/%41?%42'), H(path='/a"b'), H(path='/a|b'), H(method='OPTIONS', path='*'), H(path='/a#b')])
redirected('with_headers', '{path_redirect: /n}', vh='{response_headers_to_add: [{header: {key: location, value: "http://mine/"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-v, value: "%RESPONSE_CODE%"}}]}')
redirected('with_headers_appended', '{path_redirect: /n}', vh='{response_headers_to_add: [{header: {key: location, value: "http://mine/"}}]}')
redirected('with_headers_removed', '{path_redirect: /n}', vh='{response_headers_to_remove: [location, server]}')
redirected('of_absolute_forms', '{https_redirect: true}', [H(raw=b'GET http://b.example:80/x?y HTTP/1.1\r\nhost: a.example\r\n\r\n'), H(raw=b'GET https://b.example/x HTTP/1.1\r\nhost: a.example\r\n\r\n')])
redirected('of_no_host', '{https_redirect: true}', [H(raw=b'GET /x HTTP/1.0\r\n\r\n')], opts='{http_protocol_options: {accept_http_10: true, default_host_for_http_10: d.example}}')
redirected('of_the_upstream_scheme', '{path_redirect: /n}', [H()], opts='{scheme_header_transformation: {scheme_to_overwrite: https}}')


def refused(name, *routes):
    @case('answers_refused_' + name)
    async def _(t):
        exits = []
        for r in routes:
            exits.append((await t.run_to_end(simple(t, clusters=[], routes=[{'match': {'prefix': '/'}, **Y(r)}]), args=('--mode', 'validate')))[0])
        t.see('exits', exits)


refused('redirects', '{redirect: {port_redirect: 70000}}', '{redirect: {port_redirect: 0, path_redirect: /a}}', '{redirect: {host_redirect: "a b"}}', '{redirect: {path_redirect: "a\\nb"}}', '{redirect: {https_redirect: false}}', '{redirect: {scheme_redirect: ""}}',
        '{redirect: {prefix_rewrite: "a\\rb"}}', '{redirect: {response_code: 9}}', '{redirect: {regex_rewrite: {pattern: {regex: "("}, substitution: x}}}', '{redirect: {regex_rewrite: {pattern: {regex: "a"}, substitution: "\\\\2"}}}', '{redirect: {}}', '{redirect: {https_redirect: true, scheme_redirect: http}}',
        '{redirect: {path_redirect: /a, prefix_rewrite: /b}}', '{redirect: {regex_rewrite: {substitution: x}}}')
refused('direct_responses', '{direct_response: {status: 99}}', '{direct_response: {status: 199}}', '{direct_response: {status: 200}}', '{direct_response: {status: 599}}', '{direct_response: {status: 600}}', '{direct_response: {}}', '{direct_response: {status: 200, body: {}}}',
        '{direct_response: {status: 200, body: {filename: /nonexistent}}}', '{direct_response: {status: 200, body: {filename: ""}}}', '{direct_response: {status: 200, body: {inline_string: ""}}}', '{direct_response: {status: 200, body: {environment_variable: NOT_THERE_AT_ALL}}}',
        '{direct_response: {status: 200, body: {inline_string: a, inline_bytes: YQ==}}}', '{direct_response: {status: 200, body: {filename: /tmp}}}', '{direct_response: {status: 200, body: {inline_string: %s}}}' % ('x' * 4096), '{direct_response: {status: 200, body: {inline_string: %s}}}' % ('x' * 4097))


# ---- direct responses
def direct(name, response, reqs=(H(),), vh=None, r=None, env=None, files=(), **kw):
    @case('answers_direct_' + name)
    async def _(t):
        for path, data in files:
            t.write(path, data)
        body = Y(response.replace('DIR', t.dir))
        vhosts = [{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'direct_response': body, **(Y(r) or {})}], **(Y(vh) or {})}]
        await t.start(simple(t, clusters=[], vhosts=vhosts, log=LOG + ' %BYTES_SENT%', **kw), **({'env': env} if env else {}))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**k))
        t.see('log', await t.logs())


direct('of_a_file', '{status: 200, body: {filename: DIR/body.txt}}', files=[('body.txt', 'from a file\n')], reqs=[H(), H(method='HEAD'), H(method='POST', body='abc')])
direct('of_an_empty_file', '{status: 200, body: {filename: DIR/body.txt}}', files=[('body.txt', '')])
direct('of_bytes', '{status: 200, body: {inline_bytes: AAEC/w==}}')
direct('of_a_variable', '{status: 200, body: {environment_variable: PATH_OF_CASE}}', env={'PATH_OF_CASE': 'from outside'})
direct('with_a_type', '{status: 200, body: {inline_string: "<p>"}}', vh='{response_headers_to_add: [{header: {key: content-type, value: text/html}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}', reqs=[H(), H(method='HEAD')])
direct('with_a_type_appended', '{status: 200, body: {inline_string: "<p>"}}', vh='{response_headers_to_add: [{header: {key: content-type, value: text/html}}]}')
direct('with_a_type_without_body', '{status: 200}', vh='{response_headers_to_add: [{header: {key: content-type, value: text/html}, append_action: OVERWRITE_IF_EXISTS}, {header: {key: x-a, value: b}, append_action: ADD_IF_ABSENT}]}')
direct('formatted_as_json', '{status: 418, body: {inline_string: inner}, body_format: {json_format: {p: "%REQ(:PATH)%", n: "%RESPONSE_CODE%", b: "%LOCAL_REPLY_BODY%", l: [1, true]}}}', reqs=[H(path='/x"y?z')])
direct('formatted_without_a_body', '{status: 200, body_format: {text_format_source: {inline_string: "[%LOCAL_REPLY_BODY%] %RESPONSE_FLAGS% %ROUTE_NAME%"}, content_type: "text/x"}}', r='{name: named}')
direct('formatted_from_a_file', '{status: 200, body_format: {text_format_source: {filename: DIR/f.txt}}}', files=[('f.txt', '%PROTOCOL% %REQ(x-a?x-b)%\n')], reqs=[H(('x-b', 'bb')), H(('x-b', 'bb'), method='HEAD')])
direct('of_every_hundred', '{status: 299, body: {inline_string: b}}')
direct('of_205', '{status: 205, body: {inline_string: b}}')
direct('of_a_teapot_over_http_10', '{status: 418, body: {inline_string: b}}', reqs=[H(version='HTTP/1.0')], opts='{http_protocol_options: {accept_http_10: true}}')
direct('as_large_as_allowed', '{status: 200, body: {inline_string: %s}}' % ('x' * 5000), route_config='{max_direct_response_body_size_bytes: 5000}')
direct('with_mapped_replies', '{status: 403, body: {inline_string: b}}', opts='{local_reply_config: {mappers: [{filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 403, runtime_key: k}}}}, status_code: 444, body: {inline_string: mapped}, headers_to_add: [{header: {key: x-m, value: m}}]}], body_format: {text_format_source: {inline_string: "<%LOCAL_REPLY_BODY% %RESPONSE_CODE%>"}}}}')
direct('in_formats_of_headers', '{status: 200, body: {inline_string: b}}', vh='{response_headers_to_add: [{header: {key: x-a, value: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:path)% %UPSTREAM_HOST% %ROUTE_NAME%"}}]}')


@case('answers_direct_too_large_of_a_table')
async def _(t):
    exits = []
    for most, size in ((0, 0), (0, 1), (10, 10), (10, 11), (100000, 100000)):
        cfg = simple(t, clusters=[], routes=[said_of(size)], route_config={'max_direct_response_body_size_bytes': most})
        exits.append((await t.run_to_end(cfg, args=('--mode', 'validate')))[0])
    t.see('exits', exits)


def said_of(size):
    return {'match': {'prefix': '/'}, 'direct_response': {'status': 200, 'body': {'inline_bytes': __import__('base64').b64encode(b'x' * size).decode()}}}


@case('answers_redirect_response_code_of_a_file_that_changes')
async def _(t):
    """A body from a file is what it was at the start."""
    t.write('body.txt', 'first')
    await t.start(simple(t, clusters=[], routes=[{'match': {'prefix': '/'}, 'direct_response': {'status': 200, 'body': {'filename': t.path('body.txt')}}}]))
    t.see('before', (await t.req()).body)
    t.move_in('body.txt', 'second')
    await t.pass_time(0.1)
    t.see('after', (await t.req()).body)


# ---- responses that are followed
IR_STATS = ['http.in.passthrough_internal_redirect_' + s for s in ('bad_location', 'no_route', 'predicate', 'too_many_redirects', 'unsafe_scheme')] + ['cluster.c1.upstream_internal_redirect_failed_total', 'cluster.c1.upstream_internal_redirect_succeeded_total']
P = 'type.googleapis.com/envoy.extensions.internal_redirect.'


def followed(name, location, policy='{}', reqs=(H(path='/from'),), status=302, routes=None, more=(), vhosts=None, **kw):
    """An upstream that sends `/from` to `location`, and says of all others what it has seen."""
    @case('answers_followed_' + name)
    async def _(t):
        def respond(m, n):
            if m.path.startswith('/from'):
                return resp(status, 'moved', [('location', location), *more])
            return resp(200, '%s %s%s %s %s %s' % (m.method, m.h('host'), m.path, m.h('x-envoy-original-url'), m.h('content-length'), m.h('x-copied')))
        await t.up('u1', respond)
        rs = Y(routes) or [{'match': {'prefix': '/'}, 'name': 'all', 'route': {'cluster': 'c1', 'internal_redirect_policy': Y(policy)}}]
        await t.start(simple(t, vhosts=Y(vhosts) or [{'name': 'v', 'domains': ['*'], 'routes': rs}], log=LOG, **kw))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**k))
        t.see('stats', await t.stats(*IR_STATS))
        t.see('log', await t.logs())


TO = 'http://test.example/to'
for word, location in {'with_a_fragment': TO + '#frag', 'with_blanks': '  %s ' % TO, 'in_upper_case': 'HTTP://TEST.EXAMPLE/To', 'with_userinfo': 'http://u:p@test.example/to', 'with_an_ipv6_host': 'http://[::1]:8080/to', 'with_a_port': 'http://test.example:81/to', 'with_an_empty_port': 'http://test.example:/to',
                       'with_a_bad_port': 'http://test.example:99999/to', 'without_a_path': 'http://test.example', 'of_dots': 'http://test.example/a/../to', 'of_escapes': 'http://test.example/%2e%2e/to', 'of_odd_bytes': 'http://test.example/t|o', 'with_a_query_only': 'http://test.example?to',
                       'without_a_scheme': '//test.example/to', 'of_a_path': '/to', 'of_a_relative_path': 'to', 'of_a_query': '?to', 'of_nothing': '', 'of_no_host': 'http:///to', 'of_an_opaque_one': 'mailto:me', 'of_the_same': 'http://test.example/from', 'of_one_slash': 'http:/to'}.items():
    followed(word, location)
followed('of_two_locations', TO, more=[('location', 'http://test.example/two')])
followed('with_a_body', TO, reqs=[H(method='POST', path='/from', body='abc'), H(method='PUT', path='/from', body='')])
followed('with_a_body_by_303', TO, '{redirect_response_codes: [303]}', [H(method='POST', path='/from', body='abc'), H(method='HEAD', path='/from'), H(method='GET', path='/from')], 303)
followed('with_a_body_by_301', TO, '{redirect_response_codes: [301]}', [H(method='POST', path='/from', body='abc')], 301)
followed('copies', TO, '{response_headers_to_copy: [x-copied, x-none, set-cookie]}', [H(path='/from'), H(('x-copied', 'old'), ('x-none', 'kept'), path='/from')], more=[('x-copied', '1'), ('x-copied', '2')])
followed('to_a_direct_response', TO, routes="""
- {match: {prefix: /from}, name: from, route: {cluster: c1, internal_redirect_policy: {}}}
- {match: {prefix: /to}, name: to, direct_response: {status: 201, body: {inline_string: direct}}}
""")
followed('to_a_redirect', TO, routes="""
- {match: {prefix: /from}, name: from, route: {cluster: c1, internal_redirect_policy: {}}}
- {match: {prefix: /to}, name: to, redirect: {path_redirect: /else}}
""")
followed('to_a_route_that_does_not_follow', TO + '?x', routes="""
- {match: {prefix: /from}, name: from, route: {cluster: c1, internal_redirect_policy: {}}}
- {match: {prefix: /to}, name: to, route: {cluster: c1, prefix_rewrite: /from/again}}
""")
followed('to_a_host_that_wants_tls', TO, vhosts="""
- {name: a, domains: [a.example], routes: [{match: {prefix: /}, route: {cluster: c1, internal_redirect_policy: {}}}]}
- {name: v, domains: ["*"], require_tls: ALL, routes: [{match: {prefix: /}, route: {cluster: c1}}]}
""", reqs=[H(host='a.example', path='/from')])
followed('to_a_cluster_that_is_gone', TO, routes="""
- {match: {prefix: /from}, name: from, route: {cluster: c1, internal_redirect_policy: {}}}
- {match: {prefix: /to}, name: to, route: {cluster: nobody}}
""", route_config='{validate_clusters: false}')
followed('across_schemes', 'https://test.example/to', '{allow_cross_scheme_redirect: true}')
followed('across_schemes_from_https', TO, '{allow_cross_scheme_redirect: true}', [H(('x-forwarded-proto', 'https'), path='/from')])
followed('across_schemes_from_https_unless_allowed', TO, reqs=[H(('x-forwarded-proto', 'https'), path='/from')])
followed('across_schemes_by_the_safe_predicate', TO, {'allow_cross_scheme_redirect': True, 'predicates': [{'name': 'safe', 'typed_config': {'@type': P + 'safe_cross_scheme.v3.SafeCrossSchemeConfig'}}]}, [H(('x-forwarded-proto', 'https'), path='/from')])
followed('with_a_changed_host', TO, routes="""
- {match: {prefix: /from}, name: from, request_headers_to_add: [{header: {key: x-copied, value: first}}], route: {cluster: c1, host_rewrite_literal: changed, prefix_rewrite: /from/changed, internal_redirect_policy: {}}}
- {match: {prefix: /to}, name: to, request_headers_to_add: [{header: {key: x-copied, value: second}}], route: {cluster: c1, host_rewrite_literal: again}}
""")
followed('by_a_retried_request', TO, routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: retriable-status-codes, retriable_status_codes: [302], num_retries: 1, retry_back_off: {base_interval: 0.002s}}, internal_redirect_policy: {}}}]')
