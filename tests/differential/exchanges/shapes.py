"""Random configurations of one listener: options of the connection manager, filters, routes, a cluster. All of it follows from a `random.Random`.

A shape is a plain tree of dicts and lists, so that what does not matter for a difference can be cut off."""

from harness.tls_config import cert, crt

T = 'type.googleapis.com/envoy.'
HCM = T + 'extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
SEPARATOR = ' ;; '

# Each is printed as `name=value`, so that a difference names the operator.
OPERATORS = """
PROTOCOL RESPONSE_CODE RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_CODE_DETAILS CONNECTION_TERMINATION_DETAILS BYTES_RECEIVED BYTES_SENT
UPSTREAM_WIRE_BYTES_SENT UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HEADER_BYTES_RECEIVED
UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_WIRE_BYTES_SENT
DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_HEADER_BYTES_RECEIVED
DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED REQUEST_HEADERS_BYTES RESPONSE_HEADERS_BYTES
RESPONSE_TRAILERS_BYTES UPSTREAM_HOST UPSTREAM_HOST_NAME UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_REMOTE_ADDRESS
UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_PROTOCOL
DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS
DOWNSTREAM_LOCAL_ADDRESS ROUTE_NAME VIRTUAL_CLUSTER_NAME GRPC_STATUS REQUESTED_SERVER_NAME LOCAL_REPLY_BODY UPSTREAM_DETECTED_CLOSE_TYPE
DOWNSTREAM_DETECTED_CLOSE_TYPE ACCESS_LOG_TYPE PATH PATH(NQ:PATH) QUERY_PARAMS QUERY_PARAM(a) ROUTE_RESOLUTION_COUNT STREAM_ID
REQ(:METHOD) REQ(:PATH) REQ(:AUTHORITY) REQ(:SCHEME) REQ(X-ENVOY-ORIGINAL-PATH?X-A) REQ(HOST) REQ(CONTENT-LENGTH) REQ(TRANSFER-ENCODING)
REQ(CONNECTION) REQ(X-FORWARDED-FOR) REQ(X-FORWARDED-PROTO) REQ(X-REQUEST-ID) REQ(COOKIE) REQ(TE) RESP(:STATUS) RESP(CONTENT-LENGTH)
RESP(CONNECTION) RESP(SERVER) RESP(X-A) TRAILER(X-T) REQUEST_DURATION REQUEST_TX_DURATION RESPONSE_DURATION RESPONSE_TX_DURATION
COMMON_DURATION(US_TX_BEG:US_RX_END) DYNAMIC_METADATA(ns) METADATA(ROUTE:ns:k) UPSTREAM_METADATA(ns:k)
DOWNSTREAM_TLS_VERSION DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_PEER_DNS_SAN DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_LOCAL_SUBJECT
DOWNSTREAM_LOCAL_DNS_SAN UPSTREAM_TLS_VERSION UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_DNS_SAN TRAILER(GRPC-STATUS) REQ(:PROTOCOL)
""".split()

EMPTY = {'talk': {}, 'hcm': {}, 'filters': [], 'router': {}, 'table': {}, 'host': {}, 'cluster': {}}
NAMES = ['x-a', 'x-b', 'X-Mixed-Case', 'x_under', 'x-envoy-max-retries', 'x-forwarded-host', 'te', 'cookie', 'accept', 'via']
VALUES = ['v', '%PROTOCOL%', '%REQ(x-a)%', '%RESPONSE_CODE%', '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', '%UPSTREAM_CLUSTER%', 'a%%b', '%REQ(:path)%', '']
ACTIONS = ['APPEND_IF_EXISTS_OR_ADD', 'ADD_IF_ABSENT', 'OVERWRITE_IF_EXISTS_OR_ADD', 'OVERWRITE_IF_EXISTS']


def flag(r, chance=0.5):
    return r.random() < chance


def typed(name, kind, **fields):
    return {'name': name, 'typed_config': {'@type': T + kind, **fields}}


def header(r):
    out = {'header': {'key': r.choice(NAMES + ['x-new']), 'value': r.choice(VALUES)}}
    if flag(r):
        out['append_action'] = r.choice(ACTIONS)
    if flag(r, 0.3):
        out['keep_empty_value'] = True
    return out


def headers(r):
    return [header(r) for _ in range(r.randint(1, 3))]


def header_changes(r, chance=0.15):
    out = {}
    for name in ('request_headers_to_add', 'response_headers_to_add'):
        if flag(r, chance):
            out[name] = headers(r)
    for name in ('request_headers_to_remove', 'response_headers_to_remove'):
        if flag(r, chance):
            out[name] = [r.choice(NAMES) for _ in range(r.randint(1, 2))]
    return out


def pick(r, table, chance):
    """Some of the named things of a table {name: function of r}."""
    return {name: make(r) for name, make in table.items() if flag(r, chance)}


def string_match(r):
    return r.choice([{'exact': 'v'}, {'prefix': 'x'}, {'safe_regex': {'regex': '.*'}}, {'contains': 'a'}])


def local_reply(r):
    text = {'text_format_source': {'inline_string': r.choice(['%LOCAL_REPLY_BODY%|%RESPONSE_CODE%', '%RESPONSE_CODE_DETAILS% %REQ(:path)%\n', '', '%RESPONSE_FLAGS%'])}}
    json = {'json_format': {'c': '%RESPONSE_CODE%', 'b': '%LOCAL_REPLY_BODY%', 'p': '%REQ(:path)%', 'a': ['%PROTOCOL%']}}
    out = {}
    if flag(r, 0.6):
        out['body_format'] = {**r.choice([text, json]), **r.choice([{}, {'content_type': 'text/html'}])}
    if flag(r, 0.6):
        mapper = {'filter': r.choice([
            {'status_code_filter': {'comparison': {'op': r.choice(['EQ', 'GE', 'LE']), 'value': {'default_value': r.choice([400, 404, 500, 503]), 'runtime_key': 'k'}}}},
            {'response_flag_filter': {'flags': r.choice([['NR'], ['UF', 'UC'], []])} if flag(r) else {}},
            {'header_filter': {'header': {'name': 'x-a', 'present_match': True}}},
        ])}
        for name, value in (('status_code', r.choice([404, 418, 500, 200])), ('body', {'inline_string': 'mapped'}), ('headers_to_add', headers(r)), ('body_format_override', json)):
            if flag(r, 0.4):
                mapper[name] = value
        out['mappers'] = [mapper]
    return out


def http1_options(r):
    return pick(r, {
        'accept_http_10': lambda r: True,
        'default_host_for_http_10': lambda r: 'ten.example',
        'allow_absolute_url': lambda r: flag(r),
        'enable_trailers': lambda r: True,
        'allow_chunked_length': lambda r: True,
        'override_stream_error_on_invalid_http_message': lambda r: flag(r, 0.7),
        'send_fully_qualified_url': lambda r: flag(r),
        'allow_custom_methods': lambda r: True,
        'ignore_http_11_upgrade': lambda r: [string_match(r)],
        'header_key_format': lambda r: r.choice([{'proper_case_words': {}}, {'stateful_formatter': typed('preserve', 'extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig', **r.choice([{}, {'forward_reason_phrase': True}, {'formatter_type_on_envoy_headers': 'PROPER_CASE'}]))}]),
    }, 0.18)


def http2_options(r):
    return pick(r, {
        'hpack_table_size': lambda r: r.choice([0, 64, 8192]),
        'max_concurrent_streams': lambda r: r.choice([1, 2, 100]),
        'initial_stream_window_size': lambda r: r.choice([65535, 100000]),
        'initial_connection_window_size': lambda r: r.choice([65535, 200000]),
        'allow_connect': lambda r: True,
        'allow_metadata': lambda r: True,
        'override_stream_error_on_invalid_http_message': lambda r: flag(r, 0.7),
        'max_consecutive_inbound_frames_with_empty_payload': lambda r: r.choice([0, 1]),
        'max_inbound_priority_frames_per_stream': lambda r: 1,
        'max_inbound_window_update_frames_per_data_frame_sent': lambda r: 1,
        'max_metadata_size': lambda r: 4096,
        'use_oghttp2_codec': lambda r: False,
    }, 0.12)


def common_options(r):
    return pick(r, {
        'headers_with_underscores_action': lambda r: r.choice(['ALLOW', 'REJECT_REQUEST', 'DROP_HEADER']),
        'max_headers_count': lambda r: r.choice([3, 6, 100]),
        'max_requests_per_connection': lambda r: r.choice([1, 2]),
        'max_response_headers_kb': lambda r: 1,
    }, 0.15)


HCM_OPTIONS = {
    'normalize_path': lambda r: flag(r, 0.8),
    'merge_slashes': lambda r: True,
    'path_with_escaped_slashes_action': lambda r: r.choice(['KEEP_UNCHANGED', 'REJECT_REQUEST', 'UNESCAPE_AND_REDIRECT', 'UNESCAPE_AND_FORWARD']),
    'server_header_transformation': lambda r: r.choice(['OVERWRITE', 'APPEND_IF_ABSENT', 'PASS_THROUGH']),
    'server_name': lambda r: r.choice(['srv', 'a b']),
    'via': lambda r: r.choice(['1.1 me', 'x']),
    'add_user_agent': lambda r: True,
    'use_remote_address': lambda r: True,
    'xff_num_trusted_hops': lambda r: r.choice([1, 2]),
    'skip_xff_append': lambda r: True,
    'append_x_forwarded_port': lambda r: True,
    'internal_address_config': lambda r: r.choice([{'cidr_ranges': [{'address_prefix': '127.0.0.0', 'prefix_len': 8}]}, {'unix_sockets': True}]),
    'proxy_100_continue': lambda r: True,
    'generate_request_id': lambda r: flag(r, 0.3),
    'preserve_external_request_id': lambda r: True,
    'always_set_request_id_in_response': lambda r: True,
    'strip_any_host_port': lambda r: True,
    'strip_trailing_host_dot': lambda r: True,
    'stream_error_on_invalid_http_message': lambda r: True,
    'max_request_headers_kb': lambda r: r.choice([1, 96]),
    'scheme_header_transformation': lambda r: r.choice([{'scheme_to_overwrite': 'https'}, {'scheme_to_overwrite': 'http', 'match_upstream': True}, {'match_upstream': True}]),
    'local_reply_config': local_reply,
    'proxy_status_config': lambda r: pick(r, {'remove_details': lambda r: True, 'remove_connection_termination_details': lambda r: True, 'remove_response_flags': lambda r: True, 'set_recommended_response_code': lambda r: True, 'literal_proxy_name': lambda r: 'me'}, 0.4),
    'upgrade_configs': lambda r: [{'upgrade_type': r.choice(['websocket', 'foo', 'CONNECT']), **r.choice([{}, {}, {'enabled': False}])}],
    'forward_client_cert_details': lambda r: r.choice(['SANITIZE', 'FORWARD_ONLY', 'APPEND_FORWARD', 'SANITIZE_SET', 'ALWAYS_FORWARD_ONLY']),
    'early_header_mutation_extensions': lambda r: [typed('e', 'extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation', mutations=[r.choice([{'append': header(r)}, {'remove': r.choice(NAMES)}])])],
    'set_current_client_cert_details': lambda r: pick(r, {k: (lambda r: True) for k in ('subject', 'cert', 'chain', 'dns', 'uri')}, 0.4),
    'http_protocol_options': http1_options,
    'http2_protocol_options': http2_options,
    'common_http_protocol_options': common_options,
}


def percent(value):
    return {'numerator': value, 'denominator': 'HUNDRED'}


FILTERS = {
    'buffer': lambda r: typed('buffer', 'extensions.filters.http.buffer.v3.Buffer', max_request_bytes=r.choice([3, 20, 100000])),
    'cors': lambda r: typed('envoy.filters.http.cors', 'extensions.filters.http.cors.v3.Cors'),
    'csrf': lambda r: typed('csrf', 'extensions.filters.http.csrf.v3.CsrfPolicy', filter_enabled={'default_value': percent(r.choice([0, 100]))}),
    'fault': lambda r: typed('fault', 'extensions.filters.http.fault.v3.HTTPFault', abort={'http_status': r.choice([418, 503, 200]), 'percentage': percent(r.choice([0, 100]))}, **r.choice([{}, {'headers': [{'name': 'x-a', 'present_match': True}]}])),
    'abort_header': lambda r: typed('fault2', 'extensions.filters.http.fault.v3.HTTPFault', abort={'header_abort': {}, 'percentage': percent(100)}),
    'header_mutation': lambda r: typed('mut', 'extensions.filters.http.header_mutation.v3.HeaderMutation', mutations={k: [r.choice([{'append': header(r)}, {'remove': r.choice(NAMES)}])] for k in ('request_mutations', 'response_mutations') if flag(r, 0.7)}),
    'to_metadata': lambda r: typed('h2m', 'extensions.filters.http.header_to_metadata.v3.Config', request_rules=[{'header': 'x-a', 'on_header_present': {'metadata_namespace': 'ns', 'key': 'k'}, 'on_header_missing': {'metadata_namespace': 'ns', 'key': 'm', 'value': 'none'}, 'remove': flag(r)}]),
    'set_metadata': lambda r: typed('sm', 'extensions.filters.http.set_metadata.v3.Config', metadata=[{'metadata_namespace': 'ns', 'value': {'x': 1, 's': 'a'}}]),
    'limit': lambda r: typed('rl', 'extensions.filters.http.local_ratelimit.v3.LocalRateLimit', stat_prefix='rl', token_bucket={'max_tokens': 1, 'fill_interval': '3600s'}, filter_enabled={'default_value': percent(100)}, filter_enforced={'default_value': percent(r.choice([0, 100]))}, **r.choice([{}, {'enable_x_ratelimit_headers': 'DRAFT_VERSION_03'}, {'status': {'code': 'Forbidden'}}])),
    'rbac': lambda r: typed('rbac', 'extensions.filters.http.rbac.v3.RBAC', rules={'action': r.choice(['ALLOW', 'DENY', 'LOG']), 'policies': {'p': {'permissions': [r.choice([{'any': True}, {'header': {'name': 'x-a', 'present_match': True}}, {'url_path': {'path': {'prefix': '/a'}}}])], 'principals': [{'any': True}]}}}),
    'compressor': lambda r: typed('gz', 'extensions.filters.http.compressor.v3.Compressor', compressor_library=typed('text', 'extensions.compression.gzip.compressor.v3.Gzip'), response_direction_config={'common_config': {'min_content_length': 1000}, **r.choice([{}, {'disable_on_etag_header': True}, {'remove_accept_encoding_header': True}])}),
    'grpc_web': lambda r: typed('envoy.filters.http.grpc_web', 'extensions.filters.http.grpc_web.v3.GrpcWeb'),
    'grpc_stats': lambda r: typed('envoy.filters.http.grpc_stats', 'extensions.filters.http.grpc_stats.v3.FilterConfig', stats_for_all_methods=True, emit_filter_state=flag(r)),
    'health': lambda r: typed('hc', 'extensions.filters.http.health_check.v3.HealthCheck', pass_through_mode=flag(r), headers=[{'name': ':path', 'string_match': {'exact': '/a'}}]),
    'ip_tagging': lambda r: typed('ip', 'extensions.filters.http.ip_tagging.v3.IPTagging', request_type='BOTH', ip_tags=[{'ip_tag_name': 't', 'ip_list': [{'address_prefix': '127.0.0.0', 'prefix_len': 8}]}]),
    'cdn_loop': lambda r: typed('cdn', 'extensions.filters.http.cdn_loop.v3.CdnLoopConfig', cdn_id='me', max_allowed_occurrences=r.choice([0, 1])),
}

ROUTER_OPTIONS = {
    'suppress_envoy_headers': lambda r: True,
    'respect_expected_rq_timeout': lambda r: True,
    'strict_check_headers': lambda r: ['x-envoy-max-retries', 'x-envoy-retry-on'],
    'dynamic_stats': lambda r: flag(r),
    'suppress_grpc_request_failure_code_stats': lambda r: True,
}

RETRY_ON = ['5xx', 'gateway-error', 'reset', 'connect-failure', 'retriable-4xx', 'refused-stream', 'retriable-status-codes', 'retriable-headers', 'envoy-ratelimited', 'reset-before-request', 'http3-post-connect-failure', 'cancelled', 'unavailable']


def retry(r):
    out = {'retry_on': ','.join(r.sample(RETRY_ON, r.randint(1, 3))), 'num_retries': r.choice([1, 2]), 'retry_back_off': {'base_interval': '0.001s'}}
    out.update(pick(r, {'retriable_status_codes': lambda r: [r.choice([200, 404, 503])], 'retriable_headers': lambda r: [{'name': 'x-a'}], 'retriable_request_headers': lambda r: [{'name': 'x-a'}]}, 0.3))
    return out


ROUTE_OPTIONS = {
    'prefix_rewrite': lambda r: r.choice(['/', '/new', '/new/']),
    'host_rewrite_literal': lambda r: 'new.example',
    'append_x_forwarded_host': lambda r: True,
    'retry_policy': retry,
    'upgrade_configs': lambda r: [{'upgrade_type': r.choice(['websocket', 'foo']), 'enabled': flag(r)}],
    'internal_redirect_policy': lambda r: {'max_internal_redirects': r.choice([1, 2])},
    'cors': lambda r: {'allow_origin_string_match': [{'prefix': 'http://a'}], 'allow_methods': 'GET', 'max_age': '5'},
    'hash_policy': lambda r: [{'cookie': {'name': 'c', 'ttl': '0s'}}],
    'priority': lambda r: 'HIGH',
    'max_stream_duration': lambda r: {'max_stream_duration': '30s', 'grpc_timeout_header_max': '20s'},
    'timeout': lambda r: '20s',
}


def action(r):
    """What a route does: (field, value)."""
    kind = r.choices(['route', 'direct_response', 'redirect'], [7, 1.5, 1])[0]
    if kind == 'direct_response':
        # Not 204 with a body, which is another answer to clients (docs/differences.md).
        return {kind: r.choice([{'status': 204}, {'status': r.choice([200, 304, 404, 503]), **r.choice([{}, {'body': {'inline_string': 'direct'}}])}])}
    if kind == 'redirect':
        return {kind: r.choice([{'https_redirect': True}, {'host_redirect': 'to.example'}, {'path_redirect': '/to?x'}, {'prefix_rewrite': '/to', 'response_code': 'FOUND', 'strip_query': True}, {'port_redirect': 81}])}
    out = r.choices([{'cluster': 'CLUSTER'}, {'cluster_header': 'x-cluster'}, {'cluster': 'dead'}, {'cluster': 'none'}], [20, 1, 1, 1])[0]
    return {kind: {**out, **pick(r, ROUTE_OPTIONS, 0.08)}}


def route(r, match):
    out = {'match': match, **action(r), **header_changes(r, 0.08)}
    if flag(r, 0.3):
        out['name'] = 'route-' + match.get('prefix', 'x').strip('/')
    if flag(r, 0.1):
        out['metadata'] = {'filter_metadata': {'ns': {'k': 'of-route'}}}
    if flag(r, 0.05):
        out['request_body_buffer_limit'] = 16
    return out


def talk(r):
    """Which protocols a listener's client and upstream speak: `how` the cluster comes to know of the upstream's."""
    out = {'down': r.choice(['h1', 'h2']), 'up': r.choice(['h1', 'h2'])}
    if flag(r, 0.25):
        out['tls'] = True
        if flag(r, 0.4):
            out['client_cert'] = True
    if flag(r, 0.25):
        out['up_tls'] = True
        if flag(r, 0.5):
            out['how'] = 'auto'
    if out['down'] == out['up'] and flag(r, 0.15):
        out['how'] = 'downstream'
    return out


def upstream_http2(r):
    return {k: v for k, v in http2_options(r).items() if k != 'allow_connect'}


def cluster(r, talk):
    options = {}
    if talk.get('how') == 'downstream':
        options['use_downstream_protocol_config'] = r.choice([{}, {'http2_protocol_options': {}}]) if talk['up'] == 'h1' else {'http2_protocol_options': upstream_http2(r)}
    elif talk.get('how') == 'auto':
        options['auto_config'] = pick(r, {'http2_protocol_options': upstream_http2}, 0.3)
    elif talk['up'] == 'h2':
        options['explicit_http_config'] = {'http2_protocol_options': upstream_http2(r)}
    elif flag(r, 0.35):
        options['explicit_http_config'] = {'http_protocol_options': pick(r, {
            'enable_trailers': lambda r: True,
            'allow_chunked_length': lambda r: True,
            'override_stream_error_on_invalid_http_message': lambda r: True,
            'send_fully_qualified_url': lambda r: True,
            'header_key_format': lambda r: r.choice([{'proper_case_words': {}}, {'stateful_formatter': typed('preserve', 'extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig')}]),
        }, 0.4)}
    common = common_options(r)
    if common:
        options['common_http_protocol_options'] = common
        if not talk.get('how'):
            options.setdefault('explicit_http_config', {'http_protocol_options': {}})
    out = pick(r, {
        'circuit_breakers': lambda r: {'thresholds': [{'max_retries': r.choice([0, 3]), 'track_remaining': flag(r), 'max_pending_requests': r.choice([0, 1, 9])}]},
        'track_cluster_stats': lambda r: {'request_response_sizes': True},
        'metadata': lambda r: {'filter_metadata': {'ns': {'k': 'c'}}},
        'per_connection_buffer_limit_bytes': lambda r: 1024,
        'connect_timeout': lambda r: '5s',
        'alt_stat_name': lambda r: 'c.alt',
    }, 0.08)
    return {**out, **({'typed_extension_protocol_options': {OPTIONS: {'@type': T + OPTIONS[6:], **options}}} if options else {})}


def shape(r):
    spoken = talk(r)
    host = {'routes': [route(r, {'prefix': '/a'}), route(r, {'prefix': '/b'}), route(r, r.choice([{'prefix': '/'}, {'prefix': '/'}, {'path': '/c'}]))], **header_changes(r, 0.06),
            **pick(r, {'include_request_attempt_count': lambda r: True, 'include_attempt_count_in_response': lambda r: True, 'require_tls': lambda r: r.choice(['ALL', 'EXTERNAL_ONLY']), 'retry_policy': retry,
                       'virtual_clusters': lambda r: [{'name': 'vc', 'headers': [{'name': ':method', 'string_match': {'exact': 'GET'}}]}]}, 0.05)}
    if flag(r, 0.06):
        host['routes'].append(route(r, {'connect_matcher': {}}))
    return {
        'talk': spoken,
        'hcm': pick(r, HCM_OPTIONS, 0.11),
        'filters': [FILTERS[name](r) for name in r.sample(sorted(FILTERS), r.choice([0, 0, 1, 1, 2, 3]))],
        'router': pick(r, ROUTER_OPTIONS, 0.08),
        'table': {**header_changes(r, 0.04), **pick(r, {'internal_only_headers': lambda r: ['x-b'], 'most_specific_header_mutations_wins': lambda r: True, 'validate_clusters': lambda r: False, 'ignore_port_in_host_matching': lambda r: True, 'max_direct_response_body_size_bytes': lambda r: 100}, 0.04)},
        'host': host,
        'cluster': cluster(r, spoken),
    }


def named(tree, name):
    """The tree with the cluster's true name in it."""
    if isinstance(tree, dict):
        return {k: named(v, name) for k, v in tree.items()}
    if isinstance(tree, list):
        return [named(v, name) for v in tree]
    return name if tree == 'CLUSTER' else tree


def address(host, port):
    return {'socket_address': {'address': host, 'port_value': port}}


def endpoints(name, host, port):
    return {'cluster_name': name, 'endpoints': [{'lb_endpoints': [{'endpoint': {'address': address(host, port)}}] if port else []}]}


def downstream_tls(talk):
    if not talk.get('tls'):
        return {}
    common = {'tls_certificates': [cert('a')], 'alpn_protocols': ['h2', 'http/1.1']}
    if talk.get('client_cert'):
        common['validation_context'] = {'trusted_ca': crt('ca')}
    return {'transport_socket': typed('tls', 'extensions.transport_sockets.tls.v3.DownstreamTlsContext', common_tls_context=common)}


def upstream_tls(talk):
    if not talk.get('up_tls'):
        return {}
    alpn = {} if talk.get('how') else {'alpn_protocols': ['h2' if talk['up'] == 'h2' else 'http/1.1']}
    return {'transport_socket': typed('tls', 'extensions.transport_sockets.tls.v3.UpstreamTlsContext', sni='up.example', common_tls_context=alpn)}


def bootstrap(shapes, host, ports, folder):
    """The configuration of a proxy that serves these shapes, one listener each."""
    listeners, clusters = [], []
    form = SEPARATOR.join('%s=%%%s%%' % (o, o) for o in OPERATORS) + '\n'
    for i, s in enumerate(shapes):
        name = 'c%d' % i
        removed = ['x-envoy-upstream-service-time']
        table = {'name': 'r', **s['table'], 'virtual_hosts': [{'name': 'v', 'domains': ['*'], **named(s['host'], name)}]}
        table['response_headers_to_remove'] = table.get('response_headers_to_remove', []) + removed
        hcm = {'@type': HCM, 'stat_prefix': 'in%d' % i, **s['hcm'], 'route_config': table,
               'http_filters': s['filters'] + [typed('envoy.filters.http.router', 'extensions.filters.http.router.v3.Router', **s['router'])],
               'access_log': [typed('log', 'extensions.access_loggers.file.v3.FileAccessLog', path='%s/log%d' % (folder, i), log_format={'text_format_source': {'inline_string': form}})]}
        chain = {'filters': [{'name': 'hcm', 'typed_config': hcm}], **downstream_tls(s['talk'])}
        listeners.append({'name': 'l%d' % i, 'address': address(host, ports['listeners'][i]), 'filter_chains': [chain]})
        clusters.append({'name': name, 'type': 'STATIC', 'connect_timeout': '5s', **s['cluster'], **upstream_tls(s['talk']), 'load_assignment': endpoints(name, host, ports['upstreams'][i])})
    clusters += [{'name': 'dead', 'load_assignment': endpoints('dead', host, ports['dead'])}, {'name': 'none', 'load_assignment': endpoints('none', host, 0)}]
    return {'admin': {'address': address(host, ports['admin'])}, 'static_resources': {'listeners': listeners, 'clusters': clusters}}
