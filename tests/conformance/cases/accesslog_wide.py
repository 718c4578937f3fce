"""Access logs, further: what operators print for requests that go wrong, listeners' logs, entries before the end."""
from harness import *
from harness.tables import H, js, text

DIRECT = '[{match: {prefix: /d}, direct_response: {status: 200, body: {inline_string: hello}}}, {match: {prefix: /up}, route: {cluster: c1}}]'
BAD = [dict(raw=b'GARBAGE\r\n\r\n'), dict(raw=b'GET /up HTTP/1.1\r\nContent-Length: x\r\nHost: a\r\n\r\n'), dict(path='/none'), dict(path='/d'), dict(path='/up'), dict(raw=b'GET /up HTTP/1.1\r\n\r\n')]
TRAIL = lambda m, n: resp(200, b'', [('transfer-encoding', 'chunked')], cl=False) + chunk('abc', trailers=[('x-t', 'tv'), ('x-u', '1')])
TRAILERS = dict(opts='{http_protocol_options: {enable_trailers: true}}', hpo='{explicit_http_config: {http_protocol_options: {enable_trailers: true}}}')
HEADER_BYTES = '|'.join('%%%s_%sHEADER_BYTES_%s%%' % (s, d, w) for s in ('DOWNSTREAM', 'UPSTREAM') for d in ('', 'DECOMPRESSED_') for w in ('RECEIVED', 'SENT'))


# Without the header whose length depends on the time.
STEADY = '[{match: {prefix: /}, route: {cluster: c1}, response_headers_to_remove: [x-envoy-upstream-service-time]}]'


def no_times(l):
    return re.sub(r'\d', 'd', l)


# ---- what is left of a request that was refused
text('refused_requests', '%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%|%REQ(:PATH)%|%PATH%|%REQUEST_HEADERS_BYTES%|%RESPONSE_HEADERS_BYTES%|%RESP(connection)%|%ROUTE_RESOLUTION_COUNT%|%LOCAL_REPLY_BODY%|%DOWNSTREAM_WIRE_BYTES_RECEIVED%|%BYTES_SENT%', [k for k in BAD if k.get('path') != '/up'], routes=DIRECT)
text('attempts_without_host', '%UPSTREAM_REQUEST_ATTEMPT_COUNT%|%UPSTREAM_HOST%|%UPSTREAM_CLUSTER%|%RESPONSE_FLAGS%|%UPSTREAM_DETECTED_CLOSE_TYPE%|%DOWNSTREAM_DETECTED_CLOSE_TYPE%', copts='{load_assignment: {cluster_name: c1, endpoints: []}}')
text('reset_after_response', '%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%|%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%|%RESPONSE_TX_DURATION%|%COMMON_DURATION(DS_RX_BEG:DS_TX_END)%|%BYTES_SENT%', respond=lambda m, n: b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nabc', reqs=[dict(timeout=0.5)])

# ---- bytes
text('header_bytes', HEADER_BYTES, [dict(raw=b'GET / HTTP/1.1\r\nHost: h.x\r\n\r\n'), dict(raw=b'GET / HTTP/1.1\r\nHost:  a  \r\nX-A:b\r\nAccept: a\r\nAccept: b\r\n\r\n'), dict(raw=b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc'), dict(method='HEAD')], opts='{generate_request_id: false}', routes=STEADY)
text('header_bytes_direct', '%DOWNSTREAM_HEADER_BYTES_RECEIVED%|%DOWNSTREAM_HEADER_BYTES_SENT%|%UPSTREAM_HEADER_BYTES_RECEIVED%|%UPSTREAM_HEADER_BYTES_SENT%|%DOWNSTREAM_WIRE_BYTES_SENT%', [dict(path='/d'), dict(path='/none'), H(('connection', 'close'), path='/d')], routes=DIRECT)
text('header_bytes_trailers', HEADER_BYTES, respond=TRAIL, routes=STEADY, **{**TRAILERS, 'opts': '{generate_request_id: false, http_protocol_options: {enable_trailers: true}}'})
text('header_bytes_after_1xx', '%UPSTREAM_HEADER_BYTES_RECEIVED%|%UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED%|%UPSTREAM_WIRE_BYTES_RECEIVED%', respond=lambda m, n: b'HTTP/1.1 103 Early Hints\r\nlink: abc\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
text('expect_100_bytes', '%DOWNSTREAM_WIRE_BYTES_SENT%|%DOWNSTREAM_HEADER_BYTES_SENT%|%BYTES_RECEIVED%', [dict(raw=b'POST /d HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab')], routes=DIRECT)

# ---- arguments
QUERY = '/?a=%20x&b=%zz%2&d&=e&x+y=1%2b&u=%e9%C3%A9&p=%25%41%7e%2F&last=%'
text('query_params_decoded', '%QUERY_PARAMS(DECODED)%|%QUERY_PARAMS(ORIG)%|%QUERY_PARAMS(DECODED):5%|%QUERY_PARAM(b)%|%QUERY_PARAM(d)%|%QUERY_PARAM(x+y)%', [dict(path=QUERY), dict(path='/?'), dict(path='/?%41'), dict(path='/?%4')])
text('address_masks_odd', '|'.join('%%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(%s)%%' % a for a in ('0', '33', '129', '-1', 'x', '24,64', ' 8 ', '12')) + '|%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%|%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(16)%|%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(31)%', [H(('x-forwarded-for', '5.6.7.8')), H(('x-forwarded-for', '2001:db8:1:2:3:4:5:6'))])
text('server_name_forms', '|'.join('%%REQUESTED_SERVER_NAME(%s)%%' % a for a in ('', 'SNI_ONLY', 'SNI_FIRST', 'HOST_FIRST', 'HOST_FIRST:HOST', 'HOST_FIRST:ORIG', 'HOST_FIRST:ORIG_OR_HOST', 'SNI_FIRST:ORIG', 'SNI_ONLY:HOST')), [dict(path='/', headers=[('host', 'a.b:80')]), dict(path='/r')], routes='[{match: {prefix: /r}, route: {cluster: c1, host_rewrite_literal: new.h}}, {match: {prefix: /}, route: {cluster: c1}}]')
text('time_local', '%START_TIME_LOCAL%|%START_TIME_LOCAL(%H %z %Z)%|%EMIT_TIME_LOCAL(%Ez %s)%', post=no_times)
text('time_letter_case', '%START_TIME(%^a|%#a|%^B|%^p|%#p|%#Z|%Z)%', post=lambda l: re.sub('[A-Z]{4,}', 'LETTERS', re.sub(r'\b(SUN|MON|TUE|WED|THU|FRI|SAT)\b', 'DAY', l.replace('PM', 'AM').replace('pm', 'am'))))
text('stream_info_req', '%STREAM_INFO_REQ(x-a)%|%STREAM_INFO_REQ(x-n?x-a):1%|%STREAM_INFO_REQ(:path)%', [H(('x-a', 'av'))])
text('coalesce_forms', '%COALESCE({"operators": ["RESPONSE_FLAGS", "PROTOCOL"]})%|%COALESCE({"operators": ["TRACE_ID", "SPAN_ID"]})%|%COALESCE({"operators": [{"command": "REQ", "param": "x-e"}, "PROTOCOL"]})%|%COALESCE({"operators": [{"command": "REQ", "param": "x-a", "max_length": 2}, {"command": "START_TIME", "param": "%%Y"}]}):1%', [H(('x-a', 'av'), ('x-e', ''))])
js('coalesce', '{code: \'%COALESCE({"operators": ["RESPONSE_CODE"]})%\', cut: \'%COALESCE({"operators": ["RESPONSE_CODE"]}):1%\', none: \'%COALESCE({"operators": ["TRACE_ID"]})%\', s: \'%COALESCE({"operators": ["TRACE_ID", "PROTOCOL"]})%\'}')
js('lengths', '{k: "%METADATA(ROUTE:ns:k):1%", f: "%METADATA(ROUTE:ns:f):2%", o: "%METADATA(ROUTE:ns:o):3%", r: "%REQ(x-a):2%"}', [H(('x-a', 'a"b'))], routes='[{match: {prefix: /}, route: {cluster: c1}, metadata: {filter_metadata: {ns: {k: long, f: 0.25, o: {a: [1]}}}}}]')
text('metadata_sources', '%METADATA(VIRTUAL_HOST:ns:k)%|%METADATA(LISTENER:ns:k)%|%METADATA(LISTENER_FILTER_CHAIN:ns:k)%|%METADATA(UPSTREAM_HOST:ns:k)%|%FILTER_STATE(k:FIELD:a)%|%UPSTREAM_FILTER_STATE(k:PLAIN)%')


@case()
async def metadata_of_listener(t):
    await t.up()
    vhosts = [{'name': 'v', 'domains': ['*'], 'routes': Y('[{match: {prefix: /}, route: {cluster: c1}}]'), 'metadata': Y('{filter_metadata: {ns: {k: of-host}}}')}]
    await t.start(simple(t, log='%METADATA(VIRTUAL_HOST:ns:k)%|%METADATA(LISTENER:ns:k)%|%METADATA(LISTENER:ns)%', vhosts=vhosts, lextra={'metadata': Y('{filter_metadata: {ns: {k: of-listener}}}')}))
    await t.req('/')
    t.see('log', await t.logs())


# ---- formats elsewhere
FIELDS = ('%UPSTREAM_CLUSTER%', '%UPSTREAM_REQUEST_ATTEMPT_COUNT%', '%RESPONSE_CODE%', '%RESPONSE_FLAGS%', '%RESP(:status)%', '%REQ(:path)%', '%CLUSTER_METADATA(ns:k)%', '%UPSTREAM_HOST%', '%ACCESS_LOG_TYPE%', '%LOCAL_REPLY_BODY%', '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%', '%COALESCE({"operators": ["TRACE_ID", "PROTOCOL"]})%')


@case()
async def formats_in_headers(t):
    u = await t.up()
    added = [{'header': {'key': 'x-f%d' % i, 'value': f}, 'keep_empty_value': True} for i, f in enumerate(FIELDS)]
    await t.start(simple(t, clusters=[cluster('c1', [u], '{metadata: {filter_metadata: {ns: {k: v}}}}'), cluster('dead', [t.dead('u9')]), cluster('none', [], '{load_assignment: {cluster_name: none, endpoints: []}}')],
                         routes='[{match: {prefix: /dead}, route: {cluster: dead}}, {match: {prefix: /nohost}, route: {cluster: none}}, {match: {prefix: /nc}, route: {cluster_header: x-c}}, {match: {prefix: /d}, direct_response: {status: 200}}, {match: {prefix: /r}, redirect: {path_redirect: /x}}, {match: {prefix: /up}, route: {cluster: c1}}]',
                         route_config={'request_headers_to_add': added, 'response_headers_to_add': added}))
    for p in ('/up', '/dead', '/nohost', '/nc', '/d', '/r', '/none'):
        t.see(p, await t.req(p))
    t.see('up', [t.req_view(m) for m in u.reqs])


@case()
async def formats_of_codec_errors(t):
    await t.up()
    await t.start(simple(t, log='%RESPONSE_FLAGS%|%RESPONSE_CODE%', opts='{local_reply_config: {body_format: {text_format_source: {inline_string: "%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%|%REQ(:path)%|%LOCAL_REPLY_BODY%"}}}}'))
    for raw in (b'GARBAGE\r\n\r\n', b'GET / HTTP/1.1\r\nContent-Length: x\r\nHost: a\r\n\r\n', b'GET / HTTP/1.1\r\n\r\n'):
        t.see(repr(raw[:20]), await t.req(raw=raw))
    t.see('log', await t.logs())


# ---- entries before the end
@case()
async def log_on_new_request_of_each_kind(t):
    await t.up()
    await t.start(simple(t, log='%ACCESS_LOG_TYPE%|%REQ(:PATH)%|%RESPONSE_CODE%|%UPSTREAM_CLUSTER%|%UPSTREAM_HOST%|%DOWNSTREAM_WIRE_BYTES_RECEIVED%|%ROUTE_RESOLUTION_COUNT%|%RESP(:status)%', opts='{access_log_options: {flush_access_log_on_new_request: true}}', routes=DIRECT))
    for k in BAD:
        await t.req(**k)
    t.see('log', await t.logs())


def options(name, opts):
    """Whether these options are accepted."""
    @case('log_options_' + name)
    async def _(t):
        code, _log = await t.run_to_end(simple(t, clusters=[], routes='[]', log='x', opts=opts), args=('--mode', 'validate'))
        t.see('exit', code)


options('interval_too_short', '{access_log_options: {access_log_flush_interval: 0.0005s}}')
options('interval_twice', '{access_log_flush_interval: 1s, access_log_options: {}}')
options('new_request_twice', '{flush_access_log_on_new_request: true, access_log_options: {flush_access_log_on_new_request: true}}')
options('interval_old', '{access_log_flush_interval: 1s, flush_access_log_on_new_request: true}')


# ---- listeners
@case()
async def listener_log_of_each_kind(t):
    await t.up()
    await t.start(simple(t, opts='{http_protocol_options: {accept_http_10: true}}', lextra={'access_log': [filelog(t, '%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%|%BYTES_RECEIVED%|%BYTES_SENT%|%PROTOCOL%|%DOWNSTREAM_DETECTED_CLOSE_TYPE%|%FILTER_CHAIN_NAME%|%LISTENER_NAME%|%REQUEST_DURATION%|%UPSTREAM_HOST%|%ROUTE_RESOLUTION_COUNT%|%UPSTREAM_REQUEST_ATTEMPT_COUNT%|%DOWNSTREAM_WIRE_BYTES_RECEIVED%', 'l.log')]}, routes='[{match: {prefix: /d}, direct_response: {status: 200}}]'))
    for raw in (b'', b'GET /d', b'GARBAGE\r\n\r\n', b'GET /d HTTP/1.1\r\nHost: a\r\n\r\n', b'GET /d HTTP/1.0\r\nHost: a\r\n\r\n'):
        c = await t.conn()
        if raw:
            c.send(raw)
        if raw.endswith(b'\r\n\r\n'):
            await c.response(timeout=1.0)
        else:
            await t.pass_time(0.1)
        c.close()
        await t.pass_time(0.1)
    t.see('log', await t.logs('l.log'))
