"""Access logs, once more: operators of 1.38 and later, formatters, odd arguments of each operator, filters on odd traffic."""
from harness import *
from harness.tables import H, flt, js, text


def numbers(l):
    return re.sub(r'\d+', 'N', l)


def formatter(name, **config):
    """A formatter extension; `name` is its message below envoy.extensions.formatter."""
    return {'name': name, 'typed_config': dict({'@type': 'type.googleapis.com/envoy.extensions.formatter.' + name}, **config)}


def formatted(name, fmt, formatters, reqs=({},), files=None, json_fmt=None, post=None, opts=None):
    """A log whose format uses formatter extensions; `files` are written first, and `{dir}` stands for their folder."""
    @case(name)
    async def _(t):
        await t.up()
        for file, content in (files or {}).items():
            with open(os.path.join(t.dir, file), 'w') as f:
                f.write(content)
        log = filelog(t, None if json_fmt else fmt.replace('{dir}', t.dir), json_fmt=json_fmt and Y(json_fmt.replace('{dir}', t.dir)))
        log['typed_config']['log_format']['formatters'] = formatters
        await t.start(simple(t, logs=[log], opts=opts))
        for k in reqs:
            await t.req(**k)
        l = await t.logs()
        t.see('log', [post(x) for x in l] if post else l)


# ---- the client certificate header
XFCC = [
    'By=spiffe://a/b;Hash=abc;Subject="CN=x,O=y";URI=spiffe://c/d;DNS=one;DNS=two',
    'By=b1;URI=u1,By=b2;URI=u2;Subject="a;b,c"',
    'by=lower;HASH=upper;uri="quoted \\"in\\" it"',
    'Subject="";URI=;DNS',
    'nonsense',
    '=;;,,=x',
    'URI=unclosed;Subject="open',
    'URI= spaced ; DNS = x ',
    'Cert="%2B";Chain="c;d";URI=a=b',
]
ALL_XFCC = '|'.join('%%XFCC_VALUE(%s)%%' % k for k in ('By', 'Hash', 'Cert', 'Chain', 'Subject', 'URI', 'DNS'))
text('xfcc_value', ALL_XFCC, [H(('x-forwarded-client-cert', x)) for x in XFCC] + [{}, H(('x-forwarded-client-cert', 'URI=first'), ('x-forwarded-client-cert', 'URI=second;By=third'))], opts='{forward_client_cert_details: ALWAYS_FORWARD_ONLY}')
text('xfcc_value_forms', '%XFCC_VALUE(uri)%|%XFCC_VALUE(URI):3%|%XFCC_VALUE(subject):2%|%XFCC_VALUE(dNs)%', [H(('x-forwarded-client-cert', XFCC[0])), H(('x-forwarded-client-cert', XFCC[2]))], opts='{forward_client_cert_details: ALWAYS_FORWARD_ONLY}')
text('xfcc_value_sanitized', '%XFCC_VALUE(URI)%|%REQ(x-forwarded-client-cert)%', [H(('x-forwarded-client-cert', XFCC[0]))])
js('xfcc_value', '{u: "%XFCC_VALUE(URI)%", n: "%XFCC_VALUE(Cert)%", t: "x %XFCC_VALUE(Cert)% y %XFCC_VALUE(Subject)%"}', [H(('x-forwarded-client-cert', XFCC[0]))], opts='{forward_client_cert_details: ALWAYS_FORWARD_ONLY}')

# ---- times of a moment: that there is a number
TIMES = '%ROUTE_RESOLUTION_TIME_US%|%UPSTREAM_CONNECTION_POOL_READY_DURATION%|%DOWNSTREAM_CX_RTT%|%COMMON_DURATION(US_CX_BEG:US_HS_END)%|%COMMON_DURATION(US_CX_BEG:US_CX_END)%|%COMMON_DURATION(DS_RX_BEG:US_TX_END:us)%|%ROUNDTRIP_DURATION%|%DOWNSTREAM_HANDSHAKE_DURATION%'
text('times', TIMES, [dict(path='/up'), dict(path='/d'), dict(path='/none'), dict(path='/up')], routes='[{match: {prefix: /d}, direct_response: {status: 200}}, {match: {prefix: /up}, route: {cluster: c1}}]', post=numbers)
text('times_h2', TIMES, h2=True, up='h2', post=numbers)
text('times_refused', TIMES, up='dead', post=numbers)


@case()
async def times_of_pool(t):
    """How long a stream waited for its connection: with one that is new, idle, and busy."""
    u = await t.up('u1', lambda m, n: resp(200, 'ok'))
    await t.start(simple(t, log='%UPSTREAM_CONNECTION_POOL_READY_DURATION%|%COMMON_DURATION(US_CX_BEG:US_CX_END)%|%UPSTREAM_CONNECTION_ID%'))
    for _ in range(3):
        await t.req('/')
    t.see('log', [re.sub(r'^\d$', 'N', x.split('|')[0]) for x in await t.logs()])


@case('json_times_of_moments')
async def _(t):
    await t.up()
    await t.start(simple(t, logs=[filelog(t, None, json_fmt={'a': '%ROUTE_RESOLUTION_TIME_US%', 'b': '%UPSTREAM_CONNECTION_POOL_READY_DURATION%', 'c': '%DOWNSTREAM_CX_RTT%', 'd': 'x%DOWNSTREAM_CX_RTT%'})], routes='[{match: {prefix: /d}, direct_response: {status: 200}}, {match: {prefix: /}, route: {cluster: c1}}]'))
    for p in ('/d', '/'):
        await t.req(p)
    t.see('log', [numbers(x) for x in await t.logs()])


# ---- formatters
FILE = formatter('file_content.v3.FileContent')
formatted('formatter_file_content', '[%FILE_CONTENT({dir}/a.txt)%][%FILE_CONTENT({dir}/a.txt):3%][%FILE_CONTENT({dir}/empty)%][%FILE_CONTENT({dir}/lines)%]\n', [FILE], files={'a.txt': 'content', 'empty': '', 'lines': 'one\ntwo\n'})
formatted('formatter_file_content_json', None, [FILE], files={'a.txt': 'con"tent\n', 'n': '5'}, json_fmt='{a: "%FILE_CONTENT({dir}/a.txt)%", n: "%FILE_CONTENT({dir}/n)%", m: "x%FILE_CONTENT({dir}/n)%"}')
formatted('formatters_together', '%REQ_WITHOUT_QUERY(:PATH)%|%REQ_WITHOUT_QUERY(x-a?:PATH):4%|%REQ_WITHOUT_QUERY(x-b)%|%METADATA(ROUTE:a)%|%FILE_CONTENT({dir}/a)%\n', [formatter('req_without_query.v3.ReqWithoutQuery'), formatter('metadata.v3.Metadata'), FILE], [dict(path='/p/q?x=1&y=2#f'), H(('x-a', 'v?w=1'), path='/?')], files={'a': 'b'})
formatted('formatter_cel', '%CEL(request.path)%|%CEL(request.method)%|%CEL(response.code)%|%CEL(request.headers["x-a"])%|%CEL(request.headers["none"])%|%CEL(connection.mtls)%|%CEL(response.code >= 200)%|%CEL(request.path):3%\n', [formatter('cel.v3.Cel')], [H(('x-a', 'v'), path='/p?q=1')])


@case()
async def formatters_refused(t):
    out = {}
    for fmt, formatters in [('%FILE_CONTENT(/nonexistent/file)%', [FILE]), ('%FILE_CONTENT()%', [FILE]), ('%FILE_CONTENT%', [FILE]), ('%FILE_CONTENT(/a:b:c)%', [FILE]), ('%FILE_CONTENT(/etc/passwd)%', []),
                            ('%REQ_WITHOUT_QUERY(:PATH)%', []), ('%REQ_WITHOUT_QUERY%', [formatter('req_without_query.v3.ReqWithoutQuery')]), ('%XFCC_VALUE(nonsense)%', []), ('%XFCC_VALUE%', []), ('%XFCC_VALUE()%', []),
                            ('%PROTOCOL%', [formatter('nonsense.v3.Nonsense')]), ('%PROTOCOL%', [{'name': 'none'}]), ('%CEL(1 +)%', []), ('%CEL()%', [])]:
        log = filelog(t, fmt)
        log['typed_config']['log_format']['formatters'] = formatters
        code, _log = await t.run_to_end(simple(t, clusters=[], routes='[]', logs=[log]), args=('--mode', 'validate'))
        out['%s %d' % (fmt, len(formatters))] = code
    t.see('exit', out)


# ---- operators with odd values around them
ROUTES = '[{name: direct, match: {prefix: /d}, direct_response: {status: 200, body: {inline_string: hello}}}, {name: "up?", match: {prefix: /}, route: {cluster: c1}, metadata: {filter_metadata: {ns: {s: "a b", n: 5, f: 1.5, b: true, z: null, l: [1, x, {k: v}], e: "", o: {}}}}}]'
text('odd_metadata_values', '|'.join('%%METADATA(ROUTE:ns:%s)%%' % k for k in 'snfbzleoq') + '|%METADATA(ROUTE:ns:s):1%|%METADATA(ROUTE:ns:l:0)%|%METADATA(ROUTE)%|%METADATA(ROUTE:)%|%METADATA(ROUTE:none)%', routes=ROUTES)
js('odd_metadata_values', '{%s, t: "<%%METADATA(ROUTE:ns:n)%%>", all: "%%METADATA(ROUTE:ns)%%"}' % ', '.join('%s: "%%METADATA(ROUTE:ns:%s)%%"' % (k, k) for k in 'snfbzleoq'), routes=ROUTES)
text('odd_common_durations', '|'.join('%%COMMON_DURATION(%s)%%' % a for a in ('DS_RX_BEG:DS_RX_BEG', 'DS_TX_END:DS_RX_BEG', 'nonsense:DS_TX_END', 'DS_RX_BEG:DS_TX_END:ns', 'US_TX_BEG:US_RX_BEG:us', 'ds_rx_beg:DS_TX_END')), [dict(path='/x'), dict(path='/d')], routes=ROUTES, post=numbers)
text('odd_paths', '%PATH%|%PATH(WQ)%|%PATH(NQ)%|%PATH(NQ:PATH):3%|%PATH(WQ:ORIG)%|%PATH(NQ:ORIG_OR_PATH)%|%PATH(:PATH)%', [dict(path='/a/b?c=d#e'), dict(path='/r/x?y'), dict(path='/?')], routes='[{match: {prefix: /r}, route: {cluster: c1, prefix_rewrite: /new}}, {match: {prefix: /}, route: {cluster: c1}}]')
text('odd_headers_odd', '%REQ(x-a)%|%REQ(X-A):0%|%REQ(x-a):1%|%REQ(:scheme)%|%REQ(host)%|%REQ(:method?x)%|%RESP(:status)%|%RESP(x-r):2%|%RESP(none?x-r)%|%REQ(x-empty)%|%REQ(x-empty?x-a)%|%TRAILER(none?other):3%', [H(('x-a', 'one'), ('x-a', 'two'), ('x-empty', '')), {}], respond=lambda m, n: resp(200, '', [('x-r', 'first'), ('x-r', 'second')]))
text('odd_literals', '100%%|%%PROTOCOL%%|%%%PROTOCOL%%%|a\\tb|{}|"q"|\u00e9|%PROTOCOL%%PROTOCOL%')
text('odd_environment', '%ENVIRONMENT(NUNCIO_NOT_SET)%|%ENVIRONMENT(NUNCIO_NOT_SET):2%|%ENVIRONMENT(=)%')
js('odd_environment', '{a: "%ENVIRONMENT(NUNCIO_NOT_SET)%", n: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", p: "%DOWNSTREAM_LOCAL_PORT%x", q: "%RESPONSE_FLAGS%", r: "%RESPONSE_FLAGS_LONG%", c: "%CUSTOM_FLAGS%", g: "%GRPC_STATUS%", gn: "%GRPC_STATUS_NUMBER%"}')
js('odd_omitted', '{a: "%REQ(none)%", b: "x%REQ(none)%y", c: {d: "%REQ(none)%"}, e: ["%REQ(none)%", "%PROTOCOL%"], f: "%CUSTOM_FLAGS%", g: "", h: {}, i: []}', omit=True)
js('odd_not_omitted', '{a: "%REQ(none)%", b: "x%REQ(none)%y", c: {d: "%REQ(none)%"}, e: ["%REQ(none)%", "%PROTOCOL%"], f: "%CUSTOM_FLAGS%", g: "", h: {}, i: []}')
js('odd_keys', '{"b c": 1, "a\\"": "%PROTOCOL%", "\\u00e9": x, "": y, "%PROTOCOL%": z, Z: 1, a: {z: 1, y: "%RESPONSE_CODE%"}}')
text('odd_grpc_status_forms', '%GRPC_STATUS%|%GRPC_STATUS(CAMEL_STRING)%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS(NUMBER)%|%GRPC_STATUS_NUMBER%', [H(('content-type', 'application/grpc'), path='/%s' % s, method='POST') for s in ('0', '1', '14', '16', '17', '99', 'x', '-1', '007')], respond=lambda m, n: resp(200, '', [('grpc-status', m['path'][1:]), ('content-type', 'application/grpc')]))
text('odd_attempts', '%UPSTREAM_HOSTS_ATTEMPTED%|%UPSTREAM_HOST_NAMES_ATTEMPTED%|%UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%|%UPSTREAM_HOST_NAME%|%UPSTREAM_HOST_NAME_WITHOUT_PORT%|%UPSTREAM_REQUEST_ATTEMPT_COUNT%|%UPSTREAM_CONNECTION_IDS_ATTEMPTED%', respond=lambda m, n: resp(503), routes='[{match: {prefix: /}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s}}}}]', post=lambda l: re.sub(r'\|[\d,]+$', lambda m: '|' + str(len(m[0].split(','))), l))

# ---- filters on odd traffic
flt('odd_response_flag_some', '{response_flag_filter: {flags: [NR, UF, DPE]}}', [dict(path='/none'), dict(path='/d'), dict(raw=b'BAD\r\n\r\n')], routes='[{match: {prefix: /d}, direct_response: {status: 200}}]')
flt('odd_status_of_nothing', '{status_code_filter: {comparison: {op: LE, value: {default_value: 0, runtime_key: k}}}}', [dict(path='/x'), dict(raw=b'GET / HTTP/1.1\r\n', timeout=0.2)])
flt('odd_not_equal', '{status_code_filter: {comparison: {op: NE, value: {default_value: 200, runtime_key: k}}}}', [H(('x-st', s), path='/' + s) for s in ('200', '204', '404')])
flt('odd_header_ranges', '{header_filter: {header: {name: x-n, range_match: {start: 5, end: 10}}}}', [H(('x-n', n), path='/' + n) for n in ('4', '5', '9', '10', '5x', '-5')])
flt('odd_and_or_nested', '{or_filter: {filters: [{and_filter: {filters: [{header_filter: {header: {name: x-a, present_match: true}}}, {status_code_filter: {comparison: {op: GE, value: {default_value: 400, runtime_key: k}}}}]}}, {header_filter: {header: {name: x-b, present_match: true}}}]}}', [H(('x-a', '1'), path='/a'), H(('x-a', '1'), ('x-st', '404'), path='/a404'), H(('x-b', '1'), path='/b'), dict(path='/none')])
flt('odd_log_type_excluded', '{log_type_filter: {types: [DownstreamEnd], exclude: true}}', [dict(path='/x')], opts='{access_log_options: {flush_access_log_on_new_request: true}}')
flt('odd_grpc_excluded', '{grpc_status_filter: {statuses: [OK], exclude: true}}', [dict(path='/x'), H(('x-st', '404'), path='/y')])
