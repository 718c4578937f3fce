"""Odd values: what matchers, redirects, answers and rewrites make of them."""
from harness import *
from harness.tables import H

T = 'type.googleapis.com/'
LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%'


def paths(*all, **kw):
    return [H(path=p, **kw) for p in all]


def chosen(name, matches, reqs, **kw):
    """Which of the matches takes each request: the number of the first, or none."""
    @case('odd_' + name)
    async def _(t):
        routes = [{'match': m, 'direct_response': {'status': 200, 'body': {'inline_string': str(i)}}} for i, m in enumerate(Y(matches))]
        await t.start(simple(t, routes=routes, clusters=[], **kw))
        for i, k in enumerate(reqs):
            r = await t.req(**k)
            t.see('r%d' % i, [r.status, r.text] if r else None)


def header(value):
    return '[{prefix: /, headers: [{name: x-a, %s}]}]' % value


VALUES = ['', ' ', '5', ' 5', '5 ', '+5', '-5', '05', '5.0', '0x5', '5,6', '4', '10', '9', '9223372036854775807', '9223372036854775808', '-9223372036854775808', '-9223372036854775809', 'five', '5\t']
chosen('header_range', header('range_match: {start: -5, end: 10}'), [H(('x-a', v)) for v in VALUES] + [H()])
chosen('header_range_empty', header('range_match: {start: 5, end: 5}'), [H(('x-a', v)) for v in ('5', '4', '')] + [H()])
chosen('header_range_inverted', header('range_match: {start: 0, end: 10}, invert_match: true'), [H(('x-a', v)) for v in ('5', '10', '', 'x')] + [H()])
chosen('header_range_missing_as_empty', header('range_match: {start: 0, end: 10}, treat_missing_header_as_empty: true'), [H(('x-a', '5')), H(('x-a', '')), H()])
chosen('header_range_twice', header('range_match: {start: 0, end: 10}'), [H(('x-a', '5'), ('x-a', '6')), H(('x-a', '5'), ('x-a', '')), H(('x-a', ''), ('x-a', '5'))])
for word, kind in {'exact_empty': 'exact: ""', 'suffix': 'suffix: x', 'contains': 'contains: x', 'regex_any': 'safe_regex: {regex: ".*"}', 'regex_not_a': 'safe_regex: {regex: "[^a]"}',
                   'exact_any_case': 'exact: aXb, ignore_case: true', 'contains_any_case': 'contains: XY, ignore_case: true', 'suffix_any_case': 'suffix: "É", ignore_case: true'}.items():
    chosen('header_string_' + word, header('string_match: {%s}' % kind),
           [H(('x-a', v)) for v in ('', 'x', 'axb', 'AXB', 'xyx', 'axyb', 'a', 'é', 'É', 'xx')] + [H(), H(('x-a', 'x'), ('x-a', 'y')), H(('x-a', ''), ('x-a', 'x'))])
chosen('header_missing_as_empty', '[{prefix: /, headers: [{name: x-a, string_match: {exact: b}, treat_missing_header_as_empty: true}]}, {prefix: /, headers: [{name: x-a, string_match: {safe_regex: {regex: "a*"}}, treat_missing_header_as_empty: true}]}, {prefix: /, headers: [{name: x-a, string_match: {exact: b}, invert_match: true}]}]',
       [H(), H(('x-a', '')), H(('x-a', 'b')), H(('x-a', 'aaa')), H(('x-a', 'c'))])
chosen('header_present', '[{prefix: /, headers: [{name: x-a, present_match: false}]}, {prefix: /, headers: [{name: x-b, present_match: true, invert_match: true}]}, {prefix: /, headers: [{name: x-c}]}]',
       [H(), H(('x-a', '')), H(('x-a', '1'), ('x-b', '')), H(('x-a', '1'), ('x-b', '1'), ('x-c', '')), H(('x-a', '1'), ('x-b', '1'))])
chosen('header_pseudo', '[{prefix: /, headers: [{name: ":scheme", string_match: {exact: https}}]}, {prefix: /, headers: [{name: ":path", string_match: {suffix: "?x"}}]}, {prefix: /, headers: [{name: Host, string_match: {prefix: a}}]}, {prefix: /, headers: [{name: ":method", string_match: {exact: get, ignore_case: true}}]}]',
       [H(), *paths('/a?x', '/x'), H(host='a.b'), H(method='POST'), H(method='OPTIONS')])
chosen('query', '[{prefix: /, query_parameters: [{name: a, string_match: {exact: ""}}]}, {prefix: /, query_parameters: [{name: a, string_match: {exact: "1"}}]}, {prefix: /, query_parameters: [{name: a b, present_match: true}]}, {prefix: /, query_parameters: [{name: a, present_match: true}]}]',
       paths('/', '/?', '/?a', '/?a=', '/?a=1', '/?a=&a=1', '/?a=1&a=2', '/?a=2&a=1', '/?A=1', '/?a=%31', '/?%61=1', '/?&&a=1', '/?b=1;a=1', '/?a+b=1', '/?a%20b', '/?x?a=1', '/?x&a=1=2', '/?=1', '/?a=+1'))
chosen('query_regex_and_absent', '[{prefix: /, query_parameters: [{name: a, string_match: {safe_regex: {regex: "[0-9]+"}}}, {name: b, present_match: false}]}, {prefix: /, query_parameters: [{name: b, present_match: false}]}]',
       paths('/', '/?a=1', '/?a=1&b', '/?a=1x', '/?b=', '/?a=%201'))
chosen('query_ignore_case', '[{prefix: /, query_parameters: [{name: a, string_match: {prefix: aB, ignore_case: true}}]}]', paths('/?a=ab', '/?a=ABc', '/?a=a', '/?a=%41b'))
for kind in ('prefix: /A/b', 'path: /A/b', 'path_separated_prefix: /A/b', 'safe_regex: {regex: "/A/[b-c]?"}'):
    for sensitive in (True, False):
        word = kind.split(':')[0] + ('' if sensitive else '_any_case')
        chosen('path_' + word, '[{%s, case_sensitive: %s}]' % (kind, str(sensitive).lower()),
               paths('/A/b', '/a/B', '/A/b/', '/A/b/c', '/A/bc', '/A/b?x', '/A/b?', '/A/b;x', '/A%2Fb', '/A/%62', '//A/b', '/A//b', '/A/./b', '/A/x/../b', '/A/', '/A', '/A/b%2f', '/A/b\\c'))
chosen('path_normalized', '[{path: /a/b}, {prefix: /a/}]', paths('/a/./b', '/a/x/../b', '/a//b', '/a%2Fb', '/a/%62', '/../a/b', '/a/b/..', '/A/../a/b', '/a/b/.'), opts='{normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD}')
TEMPLATE = '[{path_match_policy: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "%s"}}}]'
for i, template in enumerate(('/a/*', '/a/**', '/*/b', '/a/{x}', '/{x=**}', '/a/{x=b/*}/c', '/{a=*}/{b=**}/e', '/**.m3u8')):
    chosen('template_%d' % i, TEMPLATE % template, paths('/a', '/a/', '/a/b', '/a/b/', '/a/b/c', '/a//b', '/', '/x/b', '/a/b/d/c', '/x/y/e', '/a/%20', '/a/b?c=/d', '/x.m3u8', '/a/b.m3u8', '/.m3u8'))
chosen('cookies', '[{prefix: /, cookies: [{name: a, string_match: {exact: ""}}]}, {prefix: /, cookies: [{name: a, string_match: {exact: "1"}}]}, {prefix: /, cookies: [{name: b, string_match: {prefix: x}, invert_match: true}]}]',
       [H(('cookie', v)) for v in ('a', 'a=', 'a=1', 'a="1"', 'a=1; a=2', 'a=2; a=1', ' a=1', 'b=xa;a=1', 'b=xa; a=2', 'b=y', 'A=1', 'a =1', 'a= 1', 'a=1;', ';;a=1', 'b=xz')] + [H(), H(('cookie', 'a=2'), ('cookie', 'a=1')), H(('cookie', 'b=x'), ('cookie', 'a=1'))])


@case('odd_domains')
async def _(t):
    """Hosts in every form meet domains in every form."""
    domains = ['a.com', '*.a.com', '*.b.a.com', '*-x.a.com', 'a.*', 'a.b.*', 'a.c*', 'A.Upper', '[::1]', '[::1]:80', 'p.com:80', 'p.com', '*.p.com:80', 'dot.com.', '1.2.3.4', '*']
    vhosts = [{'name': 'v%d' % i, 'domains': [d], 'routes': [{'match': {'prefix': '/'}, 'direct_response': {'status': 200, 'body': {'inline_string': d}}}]} for i, d in enumerate(domains)]
    await t.start(simple(t, vhosts=vhosts, clusters=[]))
    for i, host in enumerate(['a.com', 'A.COM', 'a.com:80', 'a.com.', 'x.a.com', '.a.com', 'y.b.a.com', 'b.a.com', '1-x.a.com', '-x.a.com', 'a.org', 'a.b.org', 'a.cz', 'a.', 'a.upper', '[::1]', '[::1]:80', '[::1]:81', 'p.com', 'p.com:80', 'p.com:81', 'q.p.com:80', 'q.p.com', 'dot.com.', 'dot.com', '1.2.3.4', '1.2.3.4:5', 'x', '']):
        t.see('r%d' % i, (await t.req(host=host)).text)


@case('odd_domains_without_ports')
async def _(t):
    """ignore_port_in_host_matching, with domains that have ports all the same."""
    domains = ['a.com', '*.a.com', 'p.com:80', '[::1]', '*']
    vhosts = [{'name': 'v%d' % i, 'domains': [d], 'routes': [{'match': {'prefix': '/'}, 'direct_response': {'status': 200, 'body': {'inline_string': d}}}]} for i, d in enumerate(domains)]
    await t.start(simple(t, vhosts=vhosts, clusters=[], route_config='{ignore_port_in_host_matching: true}'))
    for i, host in enumerate(['a.com', 'a.com:80', 'a.com:', 'a.com:x', 'a.com:99999', 'x.a.com:1', 'p.com', 'p.com:80', '[::1]:80', '[::1]', '::1', 'a.com:80:90']):
        t.see('r%d' % i, (await t.req(host=host)).text)


def redirected(name, action, reqs, route='{}', match='{prefix: /}', **kw):
    """The status and location of each answer."""
    @case('odd_redirect_' + name)
    async def _(t):
        await t.start(simple(t, routes=[{'match': Y(match), 'redirect': Y(action), **Y(route)}], clusters=[], log=LOG, **kw))
        for i, k in enumerate(reqs):
            r = await t.req(**k)
            t.see('r%d' % i, [r.status, r.h('location'), r.text] if r else None)


HOSTS = [H(host=h) for h in ('a.com', 'a.com:80', 'a.com:443', 'a.com:8080', '[::1]', '[::1]:80', '[::1]:443', 'a.com:', 'A.com:080')]
redirected('https', '{https_redirect: true}', HOSTS)
redirected('scheme', '{scheme_redirect: http}', HOSTS)
redirected('scheme_other', '{scheme_redirect: FTP}', HOSTS[:3])
redirected('scheme_https', '{scheme_redirect: https}', HOSTS[:3])
redirected('port', '{port_redirect: 8443}', HOSTS)
redirected('port_80', '{port_redirect: 80}', HOSTS[:4])
redirected('port_and_host', '{port_redirect: 81, host_redirect: "b.com:82"}', HOSTS[:3])
redirected('port_and_host_of_six', '{port_redirect: 81, host_redirect: "[::2]"}', HOSTS[:3])
redirected('host_and_https', '{host_redirect: "b.com:80", https_redirect: true}', HOSTS[:3])
redirected('path_with_a_query', '{path_redirect: "/p?q=1"}', paths('/', '/?x=1', '/a?', '/a?x#f'))
redirected('path_with_a_query_stripped', '{path_redirect: "/p?q=1", strip_query: true}', paths('/', '/?x=1'))
redirected('path_with_a_fragment', '{path_redirect: "/p#here"}', paths('/', '/?x=1'))
redirected('path_empty', '{path_redirect: ""}', paths('/', '/a?x=1'))
redirected('path_without_a_slash', '{path_redirect: "p"}', paths('/', '/a?x=1'))
redirected('prefix', '{prefix_rewrite: "/p?y="}', paths('/a', '/a/b?x=1', '/ab'), match='{prefix: /a}')
redirected('prefix_of_a_path', '{prefix_rewrite: /p}', paths('/a', '/a?x=1'), match='{path: /a}')
redirected('prefix_stripped', '{prefix_rewrite: /p, strip_query: true}', paths('/a', '/a/b?x=1', '/a?'), match='{prefix: /a}')
redirected('prefix_of_a_regex', '{prefix_rewrite: /p}', paths('/a1', '/a2?x=1'), match='{safe_regex: {regex: "/a[0-9]"}}')
redirected('regex', '{regex_rewrite: {pattern: {regex: "/(a+)/(b*)"}, substitution: "/\\\\2/\\\\1?\\\\0"}}', paths('/a/b', '/aa/', '/x', '/a/b?c=/a/b'))
redirected('regex_that_leaves_nothing', '{regex_rewrite: {pattern: {regex: ".*"}, substitution: ""}}', paths('/a/b', '/?q'))
redirected('codes', '{response_code: TEMPORARY_REDIRECT}', [H(), H(method='POST', body='x'), H(method='HEAD')])
redirected('strip_query', '{strip_query: true}', paths('/', '/a?x=1', '/a?'))
redirected('odd_characters', '{host_redirect: b.com}', paths('/a%20b', '/%00', '/a"b', '/a<b>', '/%ff', '/a|b'))
redirected('changes', '{host_redirect: b.com}', [H()], route='{response_headers_to_add: [{header: {key: location, value: other}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: x-c, value: "%RESPONSE_CODE%|%REQ(:authority)%|%PROTOCOL%"}}]}')
redirected('from_https', '{port_redirect: 80}', [H(('x-forwarded-proto', 'https'), host=h) for h in ('a.com', 'a.com:443')], opts='{use_remote_address: false}')


def said(name, action, reqs=(H(), H(method='HEAD'), H(method='POST', body='x')), route='{}', **kw):
    """The whole answer."""
    @case('odd_answer_' + name)
    async def _(t):
        await t.start(simple(t, routes=[{'match': {'prefix': '/'}, 'direct_response': Y(action), **Y(route)}], clusters=[], log=LOG, **kw))
        for i, k in enumerate(reqs):
            t.see('r%d' % i, await t.req(**k))
        t.see('log', await t.logs())


said('bytes', '{status: 200, body: {inline_bytes: AAH/}}')
said('without_a_body', '{status: 200}')
said('of_204', '{status: 204, body: {inline_string: gone}}')
said('of_304', '{status: 304, body: {inline_string: same}}')
said('of_201', '{status: 201, body: {inline_string: made}}')
said('of_302', '{status: 302, body: {inline_string: there}}')
said('of_599', '{status: 599, body: {inline_string: odd}}')
said('text_format', '{status: 200, body: {inline_string: "b%"}, body_format: {text_format_source: {inline_string: "%LOCAL_REPLY_BODY%|%RESPONSE_CODE%|%REQ(:path)%|%ROUTE_NAME%"}, content_type: text/x}}', route='{name: me}')
said('json_format', '{status: 404, body: {inline_string: b}, body_format: {json_format: {b: "%LOCAL_REPLY_BODY%", c: "%RESPONSE_CODE%"}}}')
said('typed_headers', '{status: 200, body: {inline_string: "{}"}}', route='{response_headers_to_add: [{header: {key: content-type, value: application/json}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: content-length, value: "9"}, append_action: ADD_IF_ABSENT}, {header: {key: server, value: me}}, {header: {key: date, value: now}, append_action: ADD_IF_ABSENT}]}')
said('removed_headers', '{status: 200, body: {inline_string: x}}', route='{response_headers_to_remove: [content-type, date, server]}')
