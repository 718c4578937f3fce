"""Access logs with expressions (CEL): attributes, functions, what values print, filters, what is refused."""
import ssl as pyssl

from harness import *
from harness.tables import H, flt, js, text

T_CEL = 'type.googleapis.com/envoy.extensions.formatter.cel.v3.Cel'
T_FILTER = 'type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter'
T_TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'
FULL = '[{name: "rt", match: {prefix: /none}, direct_response: {status: 404}}, {name: up, match: {prefix: /up}, route: {cluster: c1}, metadata: {filter_metadata: {rm: {a: b, n: 1000000, f: 1.5, l: [1, x, {k: v}], z: null, e: ""}}}}, {match: {prefix: /}, route: {cluster: c1}}]'


def each(*expressions, op='CEL'):
    """A format with one line's part per expression."""
    return '|'.join('%%%s(%s)%%' % (op, e) for e in expressions)


def evaluated(name, *expressions, reqs=({},), respond=None, features=None, **kw):
    """Expressions and what they come to: as text, and with their type."""
    @case('cel_' + name)
    async def _(t):
        await t.up('u1', respond)
        log = filelog(t, None, json_fmt={e: {'text': '%%CEL(%s)%%' % e, 'typed': '%%TYPED_CEL(%s)%%' % e} for e in expressions})
        if features:
            log['typed_config']['log_format']['formatters'] = [{'name': 'cel', 'typed_config': {'@type': T_CEL, 'cel_config': Y(features)}}]
        await t.start(simple(t, logs=[log], **kw))
        for k in reqs:
            await t.req(**k)
        t.see('log', await t.logs())


def cel_filter(expression, features=None):
    c = {'@type': T_FILTER, 'expression': expression}
    if features:
        c['cel_config'] = Y(features)
    return {'extension_filter': {'name': 'cel', 'typed_config': c}}


# ---- values
evaluated('literals', '1', '-1', '1u', '1.0', '1.5', '1e100', 'true', 'null', '"s"', "b'ab'", '[1,2]', '{"a":1}', '{}', '[]', '0x1F', "r'a'", '"""t"""', '(1)', '1 // comment')
evaluated('numbers', '0.1+0.2', '1000000.0', '100.0', '123456789.0', '0.0001', '1e-7', '1.0/3.0', '-0.0', '18446744073709551615u', '-9223372036854775808', '9223372036854775807', '1e16', '123456789012345680000.0')
evaluated('arithmetic', '1+2', '1+2.0', '1u+2u', '1-2u', '7/2', '-7/2', '7%2', '7/0', '9223372036854775807+1', '1.5%2.0', '-(-1)', '--1', '2*3', '1.5*2.0')
evaluated('comparison', '1 < 2.0', '1 == 1.0', '1 == "a"', '1 != "a"', '"a" < "b"', 'true < false', 'null == null', '1 < "a"', '1 in [1,2]', '"a" in {"a":1}', '3 in []', '[1]==[1.0]', '{"a":1}=={"a":1}', '{"a":1}=={"b":1}', '1 == 1 == true', 'b"a" == "a"')
evaluated('logic', 'true && nosuch', 'false && nosuch', 'nosuch && false', 'nosuch || true', 'nosuch || false', '!true', '!1', '!!true', 'true ? 1 : nosuch', '1 ? 1 : 2', 'nosuch ? 1 : 2', '1 && false', '1 || true', '1 || false')
evaluated('containers', '[1,2][0]', '[1,2][5]', '[1,2][1.0]', '[1,2]["a"]', '{"a":1}["a"]', '{"a":1}.a', '{"a":1}["b"]', '{1:2}[1u]', '{"a":1,"a":2}', '{1.5:1}', '{true:1}', '{1:2}', '{"b":1,"a":[1,{"c":null}]}', 'size([1,2])', 'size({1:2})', '[nosuch]')
evaluated('text_functions', '"abc".contains("b")', '"abc".startsWith("b")', '"abc".endsWith("c")', '"abc".matches("^a.c$")', 'matches("xabc","^a")', 'contains("abc","b")', 'size("é")', '"ab".size()', 'bytes("é").size()', '"a"+"b"', '"abc".contains(1)', r'"\x41\101\u00e9"')
evaluated('conversions', 'int("5")', 'int(1.9)', 'int(-1.9)', 'int(true)', 'int("x")', 'int(1e30)', 'uint(5)', 'uint(-1)', 'double(1)', 'double("1.5")', 'bool("true")', 'bool("t")', 'bool("x")', 'bytes("a")', 'dyn(1)', 'type(1)', 'type(1)==int', 'type("")==string', 'int')
evaluated('time', 'duration("1h")', 'duration("1.5s")', 'duration("-1.5s")', 'duration("0s")', 'duration("1ms")', 'duration("100ns")', 'duration("25h61m")', 'duration("x")', 'timestamp("2020-01-01T00:00:00.5Z")', 'timestamp(0)', 'timestamp("x")', 'timestamp("2020-01-02T03:04:05.678Z").getDayOfMonth()', 'timestamp("2020-01-02T03:04:05.678Z").getMonth()', 'timestamp("2020-01-02T03:04:05.678Z").getDayOfWeek()', 'timestamp("2020-01-02T03:04:05.678Z").getMilliseconds()', 'timestamp("2020-01-02T03:04:05.678Z").getHours("America/New_York")', 'timestamp("2020-01-02T03:04:05.678Z").getHours("+02:00")', 'duration("3723.5s").getHours()', 'duration("3723.5s").getMinutes()', 'duration("3723.5s").getMilliseconds()', 'duration("1h")+duration("1m")', 'timestamp(10)-timestamp(0)', 'request.time > timestamp("2020-01-01T00:00:00Z")')
evaluated('string_features', 'string(1)', 'string(1.5)', 'string(true)', 'string(b"ab")', 'string(duration("1.5s"))', 'string(timestamp(5))', 'string(null)', 'string([1])', '"a"+"b"', '[1]+[2]', '"A".lowerAscii()', '"a".upperAscii()', '"a,b,c".split(",")', '"a,b,c".split(",",2)', '"aa".replace("a","b")', '"aa".replace("a","b",1)', '["a","b"].join(",")', 'request.path.replace("/","_") + string(response.code)', features='{enable_string_conversion: true, enable_string_concat: true, enable_string_functions: true}', reqs=[dict(path='/a/b')])

# ---- attributes
POST = dict(path='/up/a?q=1&r=2', method='POST', body=b'abc', headers=[('x-a', 'one'), ('x-a', 'two'), ('referer', 'http://r/e'), ('user-agent', 'ua'), ('x-request-id', 'c1f5b7a2-0000-4000-8000-000000000000')])
evaluated('request', 'request.path', 'request.url_path', 'request.query', 'request.host', 'request.scheme', 'request.method', 'request.referer', 'request.useragent', 'request.protocol', 'request.size', 'request.total_size - request.headers_bytes', 'request.nonsense', 'request', 'request["path"]', 'request["nonsense"]', '.request.path', reqs=[POST, dict(path='/?')], routes=FULL)
evaluated('request_headers', 'request.headers["x-a"]', 'request.headers["X-A"]', 'request.headers["none"]', 'request.headers[":path"]', 'request.headers["host"]', 'request.headers[":authority"]', 'request.headers.referer', '"x-a" in request.headers', '"none" in request.headers', 'has(request.headers.referer)', 'has(request.headers.none)', 'has(request.path)', 'has(request.nonsense)', 'request.headers["bad name"]', 'request.headers[1]', 'request.headers["content-length"] == "3"', 'int(request.headers["content-length"]) > 1', reqs=[POST], routes=FULL)
evaluated('response', 'response.code', 'response.code_details', 'response.flags', 'response.grpc_status', 'response.size', 'response.headers["x-r"]', 'response.headers[":status"]', 'response.headers["none"]', 'response.trailers["x"]', 'response.code in [200, 201]', 'response.code >= 400 || response.flags != 0', 'response.code == 200u', 'response', 'response.nonsense', reqs=[dict(path='/up'), dict(path='/none'), dict(raw=b'GARBAGE\r\n\r\n')], routes=FULL, respond=lambda m, n: resp(200, 'hello', [('x-r', 'v'), ('x-r', 'w')]))
evaluated('connection', 'connection.mtls', 'connection.requested_server_name', 'connection.tls_version', 'connection.subject_peer_certificate', 'connection.uri_san_peer_certificate', 'connection.termination_details', 'connection.transport_failure_reason', 'connection.nonsense', 'connection', 'source.address', 'source.port == 0', 'destination.address', 'source', 'source.nonsense')
evaluated('upstream', 'upstream.address', 'upstream.port > 0', 'upstream.locality', 'upstream.locality.region', 'upstream.locality.sub_zone', 'upstream.locality.nonsense', 'upstream.transport_failure_reason', 'upstream.request_attempt_count', 'upstream.num_endpoints', 'upstream.tls_version', 'upstream', 'upstream_filter_state', 'upstream_filter_state["x"]', 'has(upstream.address)', 'has(upstream.locality.zone)', reqs=[dict(path='/up'), dict(path='/none')], routes=FULL)
evaluated('xds', 'xds.cluster_name', 'xds.cluster_metadata', 'xds.route_name', 'xds.route_metadata', 'xds.route_metadata.filter_metadata.rm', 'xds.route_metadata.filter_metadata.rm.l[2].k', 'xds.route_metadata.filter_metadata["none"]', 'xds.virtual_host_name', 'xds.virtual_host_metadata', 'xds.upstream_host_metadata', 'xds.upstream_host_locality_metadata', 'xds.filter_chain_name', 'xds.listener_metadata', 'xds.listener_direction', 'xds.node.id', 'xds.node.cluster', 'xds.node.metadata', 'xds.node.metadata.m', 'xds.node.locality', 'xds.node.user_agent_name', 'xds', 'xds.nonsense', reqs=[dict(path='/up'), dict(path='/none'), dict(path='/other')], routes=FULL, lextra='{traffic_direction: OUTBOUND, metadata: {filter_metadata: {lm: {a: b}}}}', extra='{node: {id: nid, cluster: ncl, metadata: {m: 1}, locality: {region: r1, sub_zone: s1}}}', copts='{metadata: {filter_metadata: {cm: {a: b}}}}')
SET = ['{name: sm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config, metadata: [{metadata_namespace: ns, value: {s: "te\\"xt", n: 5, f: 1.5, big: 1000000, b: true, l: [1, x], o: {k: v}, z: null, e: ""}}]}}',
       '{name: sf, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, on_request_headers: [{object_key: my.key, factory_key: envoy.string, format_string: {text_format_source: {inline_string: "fs%REQ(:METHOD)%"}}}]}}']
evaluated('metadata', 'metadata', 'metadata.filter_metadata', 'metadata.filter_metadata.ns', 'metadata.filter_metadata.ns.s', 'metadata.filter_metadata.ns.n', 'metadata.filter_metadata.ns.n == 5', 'metadata.filter_metadata.ns.f', 'metadata.filter_metadata.ns.big', 'metadata.filter_metadata.ns.b', 'metadata.filter_metadata.ns.l', 'metadata.filter_metadata.ns.l[1]', 'metadata.filter_metadata.ns.o.k', 'metadata.filter_metadata.ns.z', 'metadata.filter_metadata.ns.none', 'metadata.filter_metadata["none"]', 'has(metadata.filter_metadata.ns)', 'has(metadata.filter_metadata.none)', 'size(metadata.filter_metadata)', 'metadata.nonsense', filters=SET)
evaluated('filter_state', 'filter_state["my.key"]', 'filter_state["none"]', 'filter_state', 'filter_state["my.key"] == b"fsGET"', 'string(filter_state["my.key"])', filters=SET, features='{enable_string_conversion: true}')
evaluated('metadata_unset', 'metadata', 'metadata.filter_metadata', 'metadata.filter_metadata.ns')

# ---- numbers of metadata, with and without expressions
NUMBERS = '{n: 1000000, big: 1.0e+21, f: 0.0001, neg: -5, x: 1.0e+15, tiny: 1.5e-7, hundred: 100, third: 0.3333333333333333, near: 99999, id: 9007199254740993}'
NUMBERED = '[{match: {prefix: /}, route: {cluster: c1}, metadata: {filter_metadata: {rm: %s}}}]' % NUMBERS
text('metadata_numbers', '|'.join('%%METADATA(ROUTE:rm:%s)%%' % k for k in Y(NUMBERS)) + '|%METADATA(ROUTE:rm)%', routes=NUMBERED)
js('metadata_numbers', '{all: "%METADATA(ROUTE:rm)%", n: "%METADATA(ROUTE:rm:n)%", in: "x%METADATA(ROUTE:rm:n)%", lit: 1000000, near: 99999, hundred: 100000}', routes=NUMBERED)

# ---- in text, with lengths, elsewhere
text('cel_lengths', '%CEL(request.path):3%|%CEL(12345):2%|%CEL(nosuch):1%|%TYPED_CEL(request.path):3%|%TYPED_CEL(12345):2%|%TYPED_CEL([1,2,3]):3%|x%CEL("")%y|%CEL(request.path):0%|%CEL(request.headers):3%', [dict(path='/path')])
js('cel_lengths', '{a: "%TYPED_CEL(request.path):3%", b: "%TYPED_CEL(12345):2%", c: "%TYPED_CEL([1,2,3]):3%", d: "x%TYPED_CEL({})%y", e: "x%CEL(nosuch)%", f: "%CEL(request.path):2%", g: "%TYPED_CEL({\\"a\\":\\"bcd\\"}):2%"}', [dict(path='/path')])
text('cel_typed_in_text', each('1', '1.5', '"a"', 'request.path', 'true', 'null', '[1,"a"]', '{}', 'nosuch', 'duration("1s")', 'b"ab"', 'type(1)', op='TYPED_CEL'))
js('cel_omitted', '{a: "%TYPED_CEL(nosuch)%", b: "%TYPED_CEL(null)%", c: "%CEL(null)%", d: "%TYPED_CEL(request)%", e: "%TYPED_CEL(\\"\\")%", f: "%CEL(request.path)%"}', omit=True)
text('cel_in_coalesce', '%COALESCE({"operators": ["TRACE_ID", {"command": "CEL", "param": "request.path"}]})%|%COALESCE({"operators": [{"command": "CEL", "param": "nosuch"}, "PROTOCOL"]})%', [dict(path='/path')])


@case()
async def cel_in_headers(t):
    """Expressions in the headers of routes, and in the body of local replies."""
    u = await t.up()
    await t.start(simple(t, routes='[{match: {prefix: /d}, direct_response: {status: 403}}, {match: {prefix: /}, route: {cluster: c1}, request_headers_to_add: [{header: {key: x-cel, value: "%CEL(request.method)%/%CEL(request.headers[\\"x-a\\"])%"}}, {header: {key: x-none, value: "%CEL(nosuch)%"}}, {header: {key: x-early, value: "%CEL(response.code)%"}}], response_headers_to_add: [{header: {key: x-code, value: "%CEL(response.code)%"}}]}]', opts='{local_reply_config: {body_format: {text_format_source: {inline_string: "%CEL(response.code)% %CEL(request.path)% %CEL(response.code_details)%"}}}}'))
    r = await t.req('/p', headers=[('x-a', 'v')])
    t.see('up', t.req_view(u.reqs[-1], only={'x-cel', 'x-none', 'x-early'}))
    t.see('x-code', r.h('x-code'))
    t.see('direct', (await t.req('/d?q')).body.decode())


@case()
async def cel_of_a_connection(t):
    """A listener's own log knows neither request nor response."""
    await t.up()
    fmt = each('request.path', 'request.headers', 'request.headers["a"]', 'request.protocol', 'request.headers_bytes', 'response.code', 'response.flags', 'response.grpc_status', 'response.headers', 'connection.mtls', 'source.address', 'upstream.address', 'upstream.request_attempt_count', 'xds.route_name', 'xds.cluster_name', 'xds.filter_chain_name', 'metadata', 'size(request.headers)', 'upstream_filter_state', 'response.backend_latency', 'request.path == "/"', 'has(request.path)')
    await t.start(simple(t, lextra={'access_log': [filelog(t, fmt)]}))
    await t.req('/path')
    t.see('log', await t.logs())


@case()
async def cel_of_tls(t):
    """What expressions know of certificates on both sides."""
    await t.up()
    file = lambda name: {'filename': os.path.join(certs(), name)}
    sock = {'name': 'tls', 'typed_config': {'@type': T_TLS, 'common_tls_context': {'tls_certificates': [{'certificate_chain': file('a.crt'), 'private_key': file('a.key')}], 'validation_context': {'trusted_ca': file('ca.crt')}}}}
    names = ('mtls', 'tls_version', 'requested_server_name', 'subject_local_certificate', 'subject_peer_certificate', 'uri_san_local_certificate', 'uri_san_peer_certificate', 'dns_san_local_certificate', 'dns_san_peer_certificate')
    fmt = each(*('connection.' + n for n in names), 'size(connection.sha256_peer_certificate_digest)', 'has(connection.peer_certificate)')
    c = simple(t, log=fmt, routes='[{match: {prefix: /}, direct_response: {status: 200}}]')
    c['static_resources']['listeners'][0]['filter_chains'][0]['transport_socket'] = sock
    c['static_resources']['listeners'][0]['listener_filters'] = [{'name': 'i', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector'}}]
    await t.start(c)
    for own in (None, 'client'):
        ctx = pyssl.SSLContext(pyssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname, ctx.verify_mode = False, pyssl.CERT_NONE
        if own:
            ctx.load_cert_chain(os.path.join(certs(), own + '.crt'), os.path.join(certs(), own + '.key'))
        t.see('status %s' % own, (await t.req('/', ssl=ctx, sni='a.example')).status)
    t.see('log', await t.logs())


# ---- filters
ODD = [dict(path='/ok'), H(('x-st', '404'), path='/404'), H(('x-st', '503'), ('x-log', 'yes'), path='/503')]
flt('cel_code', cel_filter('response.code >= 400'), ODD)
flt('cel_mixed', cel_filter('(connection.mtls && request.headers["x-log"] == "true") || request.url_path.contains("04")'), ODD)
flt('cel_header_missing', cel_filter('request.headers["x-log"] == "yes"'), ODD)
flt('cel_no_bool', cel_filter('response.code'), ODD)
flt('cel_error', cel_filter('nosuch.field'), ODD)
flt('cel_true', cel_filter('true'), ODD)
flt('cel_has', cel_filter('has(request.headers.none) || !("x-log" in request.headers)'), ODD)
flt('cel_features', cel_filter('"x" + string(response.code) == "x404"', '{enable_string_conversion: true, enable_string_concat: true}'), ODD)
flt('cel_among_others', {'and_filter': {'filters': [cel_filter('request.method == "GET"'), {'or_filter': {'filters': [cel_filter('response.flags != 0'), cel_filter('response.code == 503')]}}]}}, ODD)



# ---- refused
BAD = ['1 +', '', '"a', 'a b', 'x ? y', '(1', '1)', '[1', '{1', 'a.', 'a..b', '1 = 2', '9223372036854775808', '18446744073709551616u', 'if', 'a.if', 'request.?path', 'a[?1]', 'has(request)', 'has(a[1])', 'has()', '[1].all(x, x > 0)', '[1].map(x, x)', 'request.headers.exists(x, true)', 'nosuch(1)', 'a.nosuch()', 'size(1, 2)', 'string(1)', '"a".lowerAscii()', '"a".split(",")', '"abc".matches("[")', 'Foo{}', '(' * 33 + '1' + ')' * 33, '(' * 32 + '1' + ')' * 32, '1' + '+1' * 32, '1' + '+1' * 31, 'a' + '.b' * 32, 'a' + '.b' * 31, '!' * 301 + 'true', 'a || ' * 100 + 'b', r'"\q"', '0x', '1e', '@x', '`a`', "'it''s'"]


@case()
async def cel_refused(t):
    """Which expressions a proxy does not start with, in formats and in filters."""
    out = {}
    for i, e in enumerate(BAD):
        log = filelog(t, '%%CEL(%s)%%' % e) if i % 3 else filelog(t, 'x', filter=cel_filter(e))
        code, _log = await t.run_to_end(simple(t, clusters=[], routes='[]', logs=[log]), args=('--mode', 'validate'))
        out[e if len(e) < 60 else e[:20] + '...%d' % len(e)] = code
    t.see('exit', out)


@case()
async def cel_forms_refused(t):
    """Commands around expressions, and formatters with odd configurations."""
    out = {}
    for fmt, formatters in [('%CEL%', None), ('%TYPED_CEL%', None), ('%CEL(1)', None), ('%CEL(1):x%', None), ('%CELX(1)%', None), ('%TYPED_CEL(1 +)%', None), ('%CEL(string(1))%', None),
                            ('%CEL(string(1))%', '{}'), ('%CEL(string(1))%', '{cel_config: {}}'), ('%CEL(string(1))%', '{cel_config: {enable_string_conversion: true}}'), ('%CEL(string(1))%', '{cel_config: {enable_string_concat: true}}'),
                            ('%CEL("a".lowerAscii())%', '{cel_config: {enable_string_functions: true}}'), ('%CEL(1)%', '{nonsense: 1}'), ('%CEL(1)%', '{cel_config: {nonsense: 1}}')]:
        log = filelog(t, fmt)
        if formatters:
            log['typed_config']['log_format']['formatters'] = [{'name': 'cel', 'typed_config': {'@type': T_CEL, **Y(formatters)}}]
        code, _log = await t.run_to_end(simple(t, clusters=[], routes='[]', logs=[log]), args=('--mode', 'validate'))
        out['%s %s' % (fmt, formatters)] = code
    for label, f in [('no name', {'extension_filter': {'typed_config': {'@type': T_FILTER, 'expression': 'true'}}}), ('no config', {'extension_filter': {'name': 'cel'}}), ('unknown', {'extension_filter': {'name': 'x', 'typed_config': {'@type': T_CEL}}}), ('empty', cel_filter(''))]:
        code, _log = await t.run_to_end(simple(t, clusters=[], routes='[]', logs=[filelog(t, 'x', filter=f)]), args=('--mode', 'validate'))
        out[label] = code
    t.see('exit', out)
