"""Text access logs: every command operator that has meaning for HTTP/1, one or a few by case."""
from harness import *
from harness.tables import H, text


def digits(l):
    """Lengths of numbers are not judged, that they are numbers is."""
    return re.sub(r'\d+', 'N', l)


def signs(l):
    """For durations: N for a number, - for none."""
    return '|'.join('N' if x.isdigit() else x for x in l.split('|'))


def shape(l):
    return re.sub(r'\d', 'd', l)


UP = lambda m, n: resp(200, 'body', [('x-r', 'rv'), ('x-two', 'a'), ('x-two', 'b'), ('x-empty', '')])
TRAIL = lambda m, n: resp(200, b'', [('transfer-encoding', 'chunked')], cl=False) + chunk('abc', trailers=[('x-t', 'tv')])

# ---- time
for nm, f in (('default', '%START_TIME%'), ('format', '%START_TIME(%Y/%m/%dT%H:%M:%S%z)%|%START_TIME(%j %a %b)%'), ('epoch', '%START_TIME(%s)%|%START_TIME(%s.%3f)%|%START_TIME(%s%9f)%'), ('fraction', '%START_TIME(%f)%|%START_TIME(%1f)%|%START_TIME(%3f)%|%START_TIME(%6f)%|%START_TIME(%9f)%'),
              ('e3s', '%START_TIME(%E3S)%|%START_TIME(%E6S)%|%START_TIME(%E4Y-%m-%d)%'), ('percent', '%START_TIME(%%)%|%START_TIME(%Y%%%m)%'), ('emit', '%EMIT_TIME%|%EMIT_TIME(%s)%'), ('empty', '%START_TIME()%')):
    text('time_' + nm, f, post=lambda l: re.sub(r'[A-Z][a-z]{2}\b', 'Abc', shape(l)))
text('time_literal_text', '%START_TIME(year=%Y, x)%|%START_TIME(no spec)%', post=shape)

# ---- request and response headers
text('default_format', None, [H(('user-agent', 'ua'), ('x-forwarded-for', '1.2.3.4'), ('x-request-id', '11111111-2222-4333-8444-555555555555')), H(path='/q?x=1', method='POST', body='abc')], post=lambda l: re.sub(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z', '<time>', re.sub(r' (\d+) (\d+) (\d+) (\d+|-) "', r' \1 \2 N N "', re.sub(r'[0-9a-f]{8}-[0-9a-f-]{27}', '<uuid>', l))))
text('req_headers', '%REQ(x-a)%|%REQ(X-A)%|%REQ(:METHOD)%|%REQ(:path)%|%REQ(:AUTHORITY)%|%REQ(:SCHEME)%|%REQ(HOST)%|%REQ(none)%', [H(('X-A', 'v'))])
text('req_alternative', '%REQ(x-a?x-b)%|%REQ(x-none?:path)%|%REQ(x-none?x-no)%', [H(('x-a', '1'), ('x-b', '2')), H(('x-b', '2'))])
text('req_truncate', '%REQ(x-a):3%|%REQ(x-a):0%|%REQ(x-a):100%|%REQ(x-none?x-a):2%|%REQ(:path):5%', [H(('x-a', 'abcdef'), path='/long/path')])
text('req_repeated', '%REQ(x-a)%|%REQ(cookie)%', [H(('x-a', '1'), ('x-a', '2'), ('cookie', 'a=1'), ('cookie', 'b=2'))])
text('req_values_as_they_are', '"%REQ(x-a)%"', [H(('x-a', 'a"b\\c')), H(('x-a', 'a\tb')), H(('x-a', 'caf\xe9')), H(('x-a', '%START_TIME%')), H(('x-a', ''))])
text('resp_headers', '%RESP(x-r)%|%RESP(X-TWO)%|%RESP(:STATUS)%|%RESP(x-empty)%|%RESP(none)%|%RESP(server)%|%RESP(content-length)%|%RESP(x-none?x-r):1%', respond=UP)
text('long_names', '%REQUEST_HEADER(x-a)%|%RESPONSE_HEADER(x-r)%|%RESPONSE_TRAILER(x-t)%|%REQUEST_HEADER(x-a?y):1%', [H(('x-a', 'v1'))], respond=UP)
text('trailer_without_trailers', '%TRAILER(x-t)%|%TRAILER(x-t?x-u):2%', respond=TRAIL)
text('trailer_enabled', '%TRAILER(x-t)%|%TRAILER(X-T):1%', respond=TRAIL, opts='{http_protocol_options: {enable_trailers: true}}', hpo='{explicit_http_config: {http_protocol_options: {enable_trailers: true}}}')
text('req_after_rewrite', '%REQ(:PATH)%|%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%|%REQ(:AUTHORITY)%|%PATH%|%PATH(WQ)%|%PATH(NQ)%|%PATH(WQ:ORIG)%|%PATH(NQ:ORIG)%|%PATH(NQ:PATH)%|%PATH(WQ:ORIG_OR_PATH)%', [dict(path='/a/x?q=1')], routes='[{match: {prefix: /a}, route: {cluster: c1, prefix_rewrite: /b, host_rewrite_literal: h.x}}]')
text('query_params', '%QUERY_PARAM(a)%|%QUERY_PARAM(b)%|%QUERY_PARAM(A)%|%QUERY_PARAM(c):2%|%QUERY_PARAMS%|%QUERY_PARAMS(DECODED)%', [dict(path='/?a=1&b=%20x&c=long'), dict(path='/'), dict(path='/?a&a=2')])

# ---- response
text('code_flags_details', '%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_FLAGS_LONG%|%RESPONSE_CODE_DETAILS%|%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%', [dict(path='/'), dict(path='/none')], routes='[{match: {path: /}, route: {cluster: c1}}]')
text('code_flags_dead_upstream', '%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_FLAGS_LONG%|%RESPONSE_CODE_DETAILS%|%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%|%UPSTREAM_TRANSPORT_FAILURE_REASON%|%UPSTREAM_HOST%|%UPSTREAM_CLUSTER%|%UPSTREAM_REQUEST_ATTEMPT_COUNT%', up='dead')
text('bytes', '%BYTES_RECEIVED%|%BYTES_SENT%', [dict(), dict(method='POST', body='hello'), dict(method='HEAD'), dict(raw=b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n' + chunk('abc', 'de'))], respond=lambda m, n: resp(200, b'' if m['method'] == 'HEAD' else b'0123456789', [('content-length', '10')], cl=False))
text('wire_bytes', '%DOWNSTREAM_WIRE_BYTES_RECEIVED%|%DOWNSTREAM_HEADER_BYTES_RECEIVED%|%UPSTREAM_WIRE_BYTES_SENT%|%UPSTREAM_HEADER_BYTES_SENT%|%UPSTREAM_WIRE_BYTES_RECEIVED%|%UPSTREAM_HEADER_BYTES_RECEIVED%', [H(('x-request-id', '11111111-2222-4333-8444-555555555555'), raw=b'GET / HTTP/1.1\r\nHost: a\r\n\r\n'), dict(raw=b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc')])
text('header_sizes', '%REQUEST_HEADERS_BYTES%|%RESPONSE_HEADERS_BYTES%|%RESPONSE_TRAILERS_BYTES%', [dict(raw=b'GET / HTTP/1.1\r\nHost: a\r\nx-envoy-upstream-rq-timeout-ms: 1000\r\n\r\n')], routes='[{match: {prefix: /}, direct_response: {status: 200}}]')
text('protocol', '%PROTOCOL%|%UPSTREAM_PROTOCOL%', [dict(), dict(version='HTTP/1.0')], opts='{http_protocol_options: {accept_http_10: true}}')
text('protocol_bad_request', '%PROTOCOL%|%REQ(:METHOD)%|%RESPONSE_CODE%|%RESPONSE_FLAGS%|%BYTES_SENT%|%DURATION%|%UPSTREAM_CLUSTER%|%ROUTE_NAME%|%REQ(x-a)%', [dict(raw=b'GARBAGE\r\n\r\n'), dict(raw=b'GET / HTTP/1.1\r\nX-A: 1\r\n\r\n')], post=lambda l: re.sub(r'\|\d+\|-\|-\|', '|N|-|-|', l))
text('grpc_status', '%GRPC_STATUS%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS(CAMEL_STRING)%|%GRPC_STATUS(NUMBER)%|%GRPC_STATUS_NUMBER%', [H(('content-type', 'application/grpc'), method='POST', body='x'), dict()], respond=lambda m, n: resp(200, b'', [('content-type', 'application/grpc'), ('grpc-status', '7')]))
text('grpc_status_unknown', '%GRPC_STATUS%|%GRPC_STATUS_NUMBER%', [H(('content-type', 'application/grpc'), method='POST', body='x')], respond=lambda m, n: resp(200, b'', [('content-type', 'application/grpc'), ('grpc-status', '99')]))

# ---- durations
text('durations', '%DURATION%|%REQUEST_DURATION%|%RESPONSE_DURATION%|%RESPONSE_TX_DURATION%|%REQUEST_TX_DURATION%|%ROUNDTRIP_DURATION%|%DOWNSTREAM_HANDSHAKE_DURATION%', [dict(), dict(method='POST', body='x')], post=signs)
text('durations_local_reply', '%DURATION%|%REQUEST_DURATION%|%RESPONSE_DURATION%|%RESPONSE_TX_DURATION%|%REQUEST_TX_DURATION%', routes='[{match: {prefix: /}, direct_response: {status: 200}}]', post=signs)
text('common_duration', '|'.join('%%COMMON_DURATION(%s:us)%%' % p for p in ('DS_RX_BEG:DS_TX_END', 'DS_RX_BEG:DS_RX_END', 'US_TX_BEG:US_TX_END', 'US_TX_END:US_RX_BEG', 'US_RX_BEG:US_RX_END', 'DS_TX_BEG:DS_TX_END', 'US_CX_BEG:US_CX_END', 'US_CX_END:US_HS_END', 'DS_TX_END:DS_RX_BEG')) + '|%COMMON_DURATION(DS_RX_BEG:DS_TX_END)%|%COMMON_DURATION(DS_RX_BEG:nope)%', post=signs)

# ---- addresses
text('downstream_addresses', '%DOWNSTREAM_REMOTE_ADDRESS%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_REMOTE_PORT%|%DOWNSTREAM_LOCAL_ADDRESS%|%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_LOCAL_PORT%|%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%|%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_DIRECT_REMOTE_PORT%|%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%|%DOWNSTREAM_DIRECT_LOCAL_PORT%')
text('downstream_addresses_xff', '%DOWNSTREAM_REMOTE_ADDRESS%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_REMOTE_PORT%|%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%', [H(('x-forwarded-for', '5.6.7.8')), H(('x-forwarded-for', '2001:db8::1'))])
text('address_masks', '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%|%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT(16)%', [H(('x-forwarded-for', '5.6.7.8'))])
text('upstream_addresses', '%UPSTREAM_HOST%|%UPSTREAM_REMOTE_ADDRESS%|%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%UPSTREAM_REMOTE_PORT%|%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%|%UPSTREAM_HOST_NAME%|%UPSTREAM_HOST_NAME_WITHOUT_PORT%|%UPSTREAM_HOSTS_ATTEMPTED%|%UPSTREAM_SERVER_NAME%')
text('upstream_local_port', '%UPSTREAM_LOCAL_ADDRESS%|%UPSTREAM_LOCAL_PORT%', post=digits)
text('upstream_cluster', '%UPSTREAM_CLUSTER%|%UPSTREAM_CLUSTER_RAW%', copts='{alt_stat_name: other}')
text('upstream_none_for_direct', '%UPSTREAM_HOST%|%UPSTREAM_CLUSTER%|%UPSTREAM_LOCAL_ADDRESS%|%UPSTREAM_REMOTE_ADDRESS%|%UPSTREAM_PROTOCOL%|%UPSTREAM_REQUEST_ATTEMPT_COUNT%|%UPSTREAM_CONNECTION_ID%|%UPSTREAM_TRANSPORT_FAILURE_REASON%', routes='[{match: {prefix: /}, direct_response: {status: 200}}]')
text('connection_ids', '%CONNECTION_ID%|%UPSTREAM_CONNECTION_ID%|%STREAM_ID%|%UNIQUE_ID%', [dict(), dict()], post=lambda l: re.sub(r'[0-9a-f]{8}-[0-9a-f-]{27}', '<uuid>', digits(l) if '-' not in l else re.sub(r'^\d+\|\d+', 'N|N', l)))

# ---- names
text('names', '%ROUTE_NAME%|%VIRTUAL_CLUSTER_NAME%|%FILTER_CHAIN_NAME%|%LISTENER_NAME%|%REQUESTED_SERVER_NAME%|%ACCESS_LOG_TYPE%|%CONNECTION_TERMINATION_DETAILS%|%DOWNSTREAM_TRANSPORT_FAILURE_REASON%', routes='[{name: my-route, match: {prefix: /}, route: {cluster: c1}}]')
text('tls_operators_on_plain', '%DOWNSTREAM_TLS_VERSION%|%DOWNSTREAM_TLS_CIPHER%|%DOWNSTREAM_TLS_SESSION_ID%|%DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_URI_SAN%|%DOWNSTREAM_LOCAL_SUBJECT%|%DOWNSTREAM_PEER_CERT%|%DOWNSTREAM_PEER_FINGERPRINT_256%|%TLS_JA3_FINGERPRINT%|%UPSTREAM_TLS_VERSION%|%UPSTREAM_PEER_SUBJECT%')
text('metadata_none', '%DYNAMIC_METADATA(a:b)%|%DYNAMIC_METADATA(a)%|%CLUSTER_METADATA(a:b)%|%UPSTREAM_METADATA(a:b)%|%FILTER_STATE(k:PLAIN)%|%FILTER_STATE(k)%')
text('metadata_of_cluster', '%CLUSTER_METADATA(ns:k)%|%CLUSTER_METADATA(ns:o:i)%|%CLUSTER_METADATA(ns)%|%CLUSTER_METADATA(ns:n)%|%METADATA(CLUSTER:ns:k)%', copts='{metadata: {filter_metadata: {ns: {k: val, n: 5, o: {i: true}}}}}')
text('metadata_of_route', '%METADATA(ROUTE:ns:k)%|%METADATA(ROUTE:ns)%|%METADATA(DYNAMIC:a:b)%', routes='[{match: {prefix: /}, route: {cluster: c1}, metadata: {filter_metadata: {ns: {k: v}}}}]')
text('hostname_environment', '%ENVIRONMENT(NUNCIO_TEST_UNSET)%|%ENVIRONMENT(NUNCIO_TEST_UNSET):3%')
text('literal_percent', '100%% of %REQ(:METHOD)%%%|%%REQ(x)%%')
text('local_reply_body', '%LOCAL_REPLY_BODY%|%RESPONSE_CODE%', [dict(path='/d'), dict(path='/')], routes='[{match: {path: /d}, direct_response: {status: 200, body: {inline_string: hello}}}, {match: {prefix: /}, route: {cluster: c1}}]')
text('attempts', '%UPSTREAM_REQUEST_ATTEMPT_COUNT%|%RESPONSE_FLAGS%|%RESPONSE_CODE%', [dict(path='/'), dict(path='/503')], respond=lambda m, n: resp(503 if m['path'] == '/503' else 200), routes='[{match: {prefix: /}, route: {cluster: c1}}]')
text('client_gone', '%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%|%BYTES_SENT%|%DOWNSTREAM_DETECTED_CLOSE_TYPE%|%CONNECTION_TERMINATION_DETAILS%', [dict(timeout=0.2)], respond=lambda m, n: asyncio.sleep(2))
text('request_id_forms', '%REQ(X-REQUEST-ID)%|%STREAM_ID%', [H(('x-request-id', 'not-a-uuid')), H(('x-request-id', '11111111-2222-4333-8444-555555555555'))], opts='{preserve_external_request_id: true}', post=lambda l: re.sub(r'[02-9a-f][0-9a-f]{7}-[0-9a-f-]{27}', '<uuid>', l))
text('trace_ids_none', '%TRACE_ID%|%SPAN_ID%')
text('coalesce', '%COALESCE({"operators": [{"command": "REQ", "param": "x-a"}, {"command": "REQ", "param": ":path"}]})%|%COALESCE({"operators": [{"command": "REQ", "param": "x-a"}, "PROTOCOL"]}):4%', [H(('x-a', 'av')), dict()])


def refused(name, formats):
    """Formats that make the configuration invalid: exit code by format."""
    @case('format_refused_' + name)
    async def _(t):
        out = {}
        for f in formats:
            code, _log = await t.run_to_end(simple(t, clusters=[], routes='[]', log=f), args=('--mode', 'validate'))
            out[f] = code
        t.see('exit', out)


refused('unknown', ['%REQ(x)%', '%NOPE%', '%REQ%', '%REQ()%', '%DURATION(x)%', '%START_TIME', 'a%', '%', '%REQ(x', '%REQ(x):a%', '%REQ(x):-1%', '%REQ(a?b?c)%', '%req(x)%', '%REQ(x)% %', '% %', '%RESPONSE_CODE:3%'])
refused('arguments', ['%QUERY_PARAM(a)%', '%CLUSTER_METADATA(a:b):2%', '%PATH(ORIG)%', '%TRAILER%', '%DYNAMIC_METADATA()%', '%DYNAMIC_METADATA(a:b', '%FILTER_STATE(k:BAD)%', '%COMMON_DURATION(DS_RX_BEG)%', '%COMMON_DURATION(A:B:week)%', '%ENVIRONMENT%', '%GRPC_STATUS(BAD)%', '%PROTOCOL(x)%', '%BYTES_SENT():3%', '%METADATA(NOPE:a)%', '%PATH(XX)%', '%QUERY_PARAM()%'])
