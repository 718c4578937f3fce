"""JSON access logs: types, nesting, order, escapes, what is absent."""
from harness import *
from harness.tables import H, js

js('flat', '{p: "%REQ(:PATH)%", m: "%REQ(:METHOD)%"}')
js('types', '{code: "%RESPONSE_CODE%", sent: "%BYTES_SENT%", proto: "%PROTOCOL%", attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", flags: "%RESPONSE_FLAGS%"}')
js('mixed_text_is_string', '{a: "%RESPONSE_CODE% ", b: "c=%RESPONSE_CODE%", c: "%RESPONSE_CODE%%PROTOCOL%"}')
js('constants', '{s: text, n: 5, f: 1.5, t: true, z: null, e: "", big: 12345678901}')
js('keys_sorted', '{z: "1", a: "2", m: {y: "3", b: "4"}, "10": "5", B: "6"}')
js('nested', '{o: {p: "%REQ(:PATH)%", q: {c: "%RESPONSE_CODE%"}}}')
js('lists', '{l: ["%REQ(:METHOD)%", "%RESPONSE_CODE%", x, 3, ["%PROTOCOL%"], {k: "%RESPONSE_CODE%"}], e: [], o: {}}')
js('missing_is_null', '{none: "%REQ(x-none)%", mixed: "a%REQ(x-none)%b", host: "%UPSTREAM_HOST%", o: {n: "%REQ(x-none)%"}, l: ["%REQ(x-none)%", "x"]}', routes='[{match: {prefix: /}, direct_response: {status: 200}}]')
js('omit_empty', '{none: "%REQ(x-none)%", mixed: "a%REQ(x-none)%b", p: "%REQ(:PATH)%", o: {n: "%REQ(x-none)%"}, l: ["%REQ(x-none)%", "x"]}', omit=True)
js('escapes', '{v: "%REQ(x-a)%", "k\\"q": "1", q: "say \\"%REQ(x-a)%\\""}', [H(('x-a', 'a"b\\c/d')), H(('x-a', 'tab\there')), H(('x-a', '<&>\''))])
js('bytes_not_utf8', '{v: "%REQ(x-a)%"}', [H(('x-a', 'caf\xe9')), H(('x-a', 'caf\xc3\xa9')), H(('x-a', '\x80\xff'))])
js('truncated', '{v: "%REQ(x-a):3%", alt: "%REQ(x-b?x-a):2%"}', [H(('x-a', 'abcdef'))])
js('durations', '{d: "%DURATION%", r: "%RESPONSE_DURATION%", q: "%REQUEST_DURATION%"}', post=lambda l: re.sub(r'\d+', 'N', l), routes='[{match: {prefix: /}, direct_response: {status: 200}}]')
js('metadata_object', '{m: "%CLUSTER_METADATA(ns)%", k: "%CLUSTER_METADATA(ns:k)%", n: "%CLUSTER_METADATA(ns:n)%", l: "%CLUSTER_METADATA(ns:l)%", none: "%CLUSTER_METADATA(ns:x)%"}', copts='{metadata: {filter_metadata: {ns: {k: v, n: 5, f: 0.5, l: [1, two, true], o: {i: null}}}}}')
js('grpc_status', '{s: "%GRPC_STATUS%", n: "%GRPC_STATUS_NUMBER%"}', [H(('content-type', 'application/grpc'), method='POST', body='x')], respond=lambda m, n: resp(200, b'', [('content-type', 'application/grpc'), ('grpc-status', '13')]))
js('cookie_and_repeated', '{c: "%REQ(cookie)%", x: "%REQ(x-a)%"}', [H(('cookie', 'a=1'), ('cookie', 'b=2'), ('x-a', '1'), ('x-a', '2'))])


@case()
async def json_start_time(t):
    await t.up()
    await t.start(simple(t, logs=[filelog(t, None, json_fmt={'t': '%START_TIME%', 's': '%START_TIME(%s)%', 'd': '%DURATION%'})]))
    await t.req('/')
    t.see('line', [re.sub(r'\d+', 'N', l) for l in await t.logs()])


def logger(name, config, n=1, names=('access.log',), post=None):
    """One file access log with this log_format (or whole config), and its lines."""
    @case(name)
    async def _(t):
        await t.up()
        c = {'@type': T_FILE_LOG, 'path': t.path('access.log'), **Y(config)}
        await t.start(simple(t, logs=[{'name': 'l', 'typed_config': c}]))
        for i in range(n):
            await t.req('/%d' % i)
        with_ends = await t.logs()
        with open(t.path('access.log'), 'rb') as f:
            raw = f.read()
        t.see('raw', post(raw.decode('latin1')) if post else raw)
        t.see('lines', len(with_ends))


logger('text_without_newline', '{log_format: {text_format_source: {inline_string: "%REQ(:PATH)%;"}}}', n=3)
logger('legacy_format', '{format: "%REQ(:PATH)% legacy\\n"}', n=2)
logger('legacy_json_format', '{json_format: {p: "%REQ(:PATH)%", c: "%RESPONSE_CODE%"}}', n=2)
logger('legacy_typed_json_format', '{typed_json_format: {p: "%REQ(:PATH)%", c: "%RESPONSE_CODE%"}}', n=2)
logger('legacy_text_format', '{log_format: {text_format: "%REQ(:PATH)% tf\\n"}}', n=2)
logger('omit_empty_text', '{log_format: {text_format_source: {inline_string: "[%REQ(x-none)%][%REQ(:PATH)%]\\n"}, omit_empty_values: true}}')
logger('json_sort_false', '{log_format: {json_format: {z: "%REQ(:PATH)%", a: 1}, json_format_options: {sort_properties: false}}}')
logger('json_sort_true', '{log_format: {json_format: {z: "%REQ(:PATH)%", a: 1, m: {y: 1, b: 2}}, json_format_options: {sort_properties: true}}}')
logger('empty_format', '{log_format: {text_format_source: {inline_string: "\\n"}}}', n=2)
logger('formatter_req_without_query', '{log_format: {text_format_source: {inline_string: "%REQ_WITHOUT_QUERY(:PATH)%\\n"}, formatters: [{name: f, typed_config: {"@type": type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery}}]}}')
logger('formatter_metadata', '{log_format: {text_format_source: {inline_string: "%METADATA(CLUSTER:a:b)%\\n"}, formatters: [{name: f, typed_config: {"@type": type.googleapis.com/envoy.extensions.formatter.metadata.v3.Metadata}}]}}')


@case()
async def stderr_logger(t):
    await t.up()
    await t.start(simple(t, logs=[{'name': 's', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog', 'log_format': {'json_format': {'STDERR': '%REQ(:PATH)%'}}}}]))
    await t.req('/e')
    await t.stop()
    t.see('lines', [l for l in t.proxy_log().splitlines() if 'STDERR' in l])


@case()
async def listener_access_log(t):
    await t.up()
    await t.start(simple(t, lextra={'access_log': [filelog(t, '%RESPONSE_CODE%|%BYTES_RECEIVED%|%PROTOCOL%|%REQ(:PATH)%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%ACCESS_LOG_TYPE%|%RESPONSE_FLAGS%', 'l.log')]}))
    c = await t.conn()
    await t.req('/1', conn=c)
    await t.req('/2', conn=c)
    c.close()
    t.see('log', await t.logs('l.log'))


@case()
async def log_on_new_request(t):
    await t.up()
    await t.start(simple(t, log='%ACCESS_LOG_TYPE%|%REQ(:PATH)%|%RESPONSE_CODE%|%BYTES_SENT%|%UPSTREAM_HOST%|%DURATION%|%ROUTE_NAME%', opts='{access_log_options: {flush_access_log_on_new_request: true}}', routes='[{name: rn, match: {prefix: /}, route: {cluster: c1}}]'))
    await t.req('/n')
    t.see('log', [re.sub(r'\|\d+\|rn$', '|N|rn', l) for l in await t.logs()])


@case()
async def log_periodic_flush(t):
    await t.up('u1', delay=0.5)
    await t.start(simple(t, log='%ACCESS_LOG_TYPE%|%REQ(:PATH)%|%RESPONSE_CODE%', opts='{access_log_options: {access_log_flush_interval: 0.2s}}'))
    await t.req('/p')
    l = await t.logs()
    t.see('kinds', sorted(set(l)))
    t.see('last', l[-1])


@case()
async def log_legacy_flush_fields(t):
    await t.up()
    await t.start(simple(t, log='%ACCESS_LOG_TYPE%|%RESPONSE_CODE%', opts='{flush_access_log_on_new_request: true}'))
    await t.req('/p')
    t.see('log', await t.logs())
