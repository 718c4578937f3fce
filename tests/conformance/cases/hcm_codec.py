"""The HTTP/1 codec at its corners: request lines, header lines, lengths, chunks, limits, Connection."""
from harness import *
from harness.tables import badup, raws


def get(*lines, target='/', method='GET', version='HTTP/1.1', host='a'):
    """A request without a body: header lines without their line ends."""
    hs = (['Host: ' + host] if host is not None else []) + list(lines)
    return ('%s %s %s\r\n' % (method, target, version) + ''.join(l + '\r\n' for l in hs) + '\r\n').encode('latin1')


def post(*lines, body=b'', target='/'):
    return get(*lines, target=target, method='POST') + body


CHUNKED = 'Transfer-Encoding: chunked'
NEXT = get(target='/next')

# ---- request line
raws('line_extra_spaces', [('two_before_target', b'GET  / HTTP/1.1\r\nHost: a\r\n\r\n'), ('two_before_version', b'GET /  HTTP/1.1\r\nHost: a\r\n\r\n'), ('trailing', b'GET / HTTP/1.1 \r\nHost: a\r\n\r\n')], only={'host'})
raws('line_tab_separator', [('tab', b'GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n'), ('leading_space', b' GET / HTTP/1.1\r\nHost: a\r\n\r\n')], only={'host'})
raws('line_version_case', [('lower', b'GET / http/1.1\r\nHost: a\r\n\r\n'), ('digits', b'GET / HTTP/1.10\r\nHost: a\r\n\r\n'), ('two_digits', b'GET / HTTP/11.1\r\nHost: a\r\n\r\n')], only={'host'})
raws('line_version_other', [('1_3', b'GET / HTTP/1.3\r\nHost: a\r\n\r\n'), ('3_0', b'GET / HTTP/3.0\r\nHost: a\r\n\r\n'), ('0_9', b'GET / HTTP/0.9\r\nHost: a\r\n\r\n'), ('name', b'GET / FTP/1.1\r\nHost: a\r\n\r\n')], only={'host'})
raws('line_target_chars', [('quote', get(target='/a"b')), ('angle', get(target='/a<b>')), ('pipe', get(target='/a|b')), ('backslash', get(target='/a\\b')), ('braces', get(target='/{x}')), ('caret', get(target='/^'))], only={'host'})
raws('line_target_high_bytes', [('utf8', b'GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n'), ('latin1', b'GET /caf\xe9 HTTP/1.1\r\nHost: a\r\n\r\n')], only={'host'})
raws('line_target_control', [('nul', b'GET /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n'), ('bell', b'GET /a\x07 HTTP/1.1\r\nHost: a\r\n\r\n'), ('del', b'GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n'), ('cr', b'GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n')], only={'host'})
raws('line_target_query_only', [('q', get(target='?x=1')), ('frag', get(target='/p#f')), ('frag_query', get(target='/p?x#f')), ('double_slash', get(target='//h/p'))], only={'host'})
raws('line_target_empty', [('none', b'GET HTTP/1.1\r\nHost: a\r\n\r\n'), ('blank', b'GET  HTTP/1.1\r\nHost: a\r\n\r\n')], only={'host'})
raws('line_methods_registered', [(m.lower(), get(method=m)) for m in ('PATCH', 'MKCOL', 'REPORT', 'SEARCH', 'PURGE', 'M-SEARCH', 'SOURCE', 'LINK')], only={'host'})
raws('line_methods_unknown', [('brew', get(method='BREW')), ('long', get(method='A' * 40)), ('dash', get(method='X-Y')), ('digit', get(method='G3T')), ('prefix', get(method='GE')), ('suffix', get(method='GETX'))], only={'host'})
raws('line_query_method', [('without_type', get(method='QUERY')), ('with_type', post('Content-Type: text/plain', 'Content-Length: 1', body=b'x').replace(b'POST', b'QUERY'))], only={'host', 'content-type'})
raws('line_method_empty', [('empty', b' / HTTP/1.1\r\nHost: a\r\n\r\n'), ('only_crlf', b'\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n')], only={'host'})
raws('line_bare_cr_end', [('cr', b'GET / HTTP/1.1\rHost: a\r\r'), ('crcrlf', b'GET / HTTP/1.1\r\r\nHost: a\r\n\r\n')], only={'host'})

# ---- absolute form
raws('absolute_form_odd', [('upper_scheme', get(target='HTTP://abs.example/p')), ('userinfo', get(target='http://u:p@abs.example/p')), ('empty_host', get(target='http:///p')), ('query_no_path', get(target='http://abs.example?q=1'))], only={'host', 'x-forwarded-proto'})
raws('absolute_form_schemes', [('ftp', get(target='ftp://abs.example/p')), ('ws', get(target='ws://abs.example/p')), ('no_slashes', get(target='http:abs.example/p')), ('mailto', get(target='mailto:a@b'))], only={'host', 'x-forwarded-proto'})
raws('absolute_form_ports', [('80', get(target='http://abs.example:80/p')), ('bad', get(target='http://abs.example:99999/p')), ('alpha', get(target='http://abs.example:x/p')), ('v6', get(target='http://[::1]:81/p')), ('empty', get(target='http://abs.example:/p'))], only={'host'})
raws('absolute_form_without_host_header', [('none', get(target='http://abs.example/p', host=None)), ('fragment', get(target='http://abs.example/p#x')), ('asterisk', get(target='http://abs.example', method='OPTIONS'))], only={'host'})

# ---- Host
raws('host_forms', [('port', get(host='a:80')), ('v6', get(host='[::1]:80')), ('upper', get(host='EXAMPLE.Com')), ('dot', get(host='a.')), ('underscore', get(host='a_b'))], only={'host'})
raws('host_bad_forms', [('comma', get(host='a,b')), ('quote', get(host='a"b')), ('percent', get(host='a%20b')), ('high', get(host='caf\xe9')), ('hash', get(host='a#b')), ('question', get(host='a?b'))], only={'host'})
raws('host_odd_ports', [('empty', get(host='a:')), ('alpha', get(host='a:b')), ('big', get(host='a:99999')), ('neg', get(host='a:-1')), ('two', get(host='a:1:2'))], only={'host'})

# ---- header lines
raws('header_name_tokens', [('all', get("!#$%&'*+-.^_`|~09az: v")), ('quote', get('X"A: v')), ('slash', get('X/A: v')), ('comma', get('X,A: v')), ('brace', get('X{: v'))], only={"!#$%&'*+-.^_`|~09az", 'x"a', 'x/a', 'x,a', 'x{'})
raws('header_name_bad_bytes', [('high', get('X\xe9: v')), ('nul', get('X\x00: v')), ('tab', get('X\t: v')), ('space_inside', get('X A: v')), ('del', get('X\x7f: v'))], only={'x'})
raws('header_space_first_line', [('space', b'GET / HTTP/1.1\r\n Host: a\r\n\r\n'), ('tab', b'GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n')], only={'host', 'x'})
raws('header_fold', [('space', get('X-A: 1', ' 2')), ('tab', get('X-A: 1', '\t2')), ('twice', get('X-A: 1', ' 2', ' 3')), ('empty_first', get('X-A:', ' 2')), ('blank_line', get('X-A: 1', ' ', 'X-B: 2'))], only={'x-a', 'x-b'})
raws('header_fold_of_length', [('cl', post('Content-Length: ', ' 3', body=b'abc')), ('te', post('Transfer-Encoding:', ' chunked', body=b'0\r\n\r\n'))], only={'content-length', 'transfer-encoding'})
raws('header_value_spaces', [('around', get('X-A: \t  v \t ')), ('inside', get('X-A: a  b')), ('only', get('X-A:   ')), ('none', get('X-A:v'))], only={'x-a'})
raws('header_value_controls', [(n, get('X-A: a%sb' % ch)) for n, ch in (('soh', '\x01'), ('bs', '\x08'), ('vt', '\x0b'), ('esc', '\x1b'), ('del', '\x7f'))], only={'x-a'})
raws('header_value_high_bytes', [('latin1', get('X-A: \xe9')), ('x80', get('X-A: \x80')), ('xff', get('X-A: \xff'))], only={'x-a'})
raws('header_bare_lf_mixed', [('mixed', b'GET / HTTP/1.1\r\nHost: a\nX-A: 1\r\n\n'), ('lf_in_value', b'GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\nX-B: 2\r\n\r\n')], only={'host', 'x-a', 'x-b'})
raws('header_cr_before_end', [('crcrlf', b'GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\r\n\r\n'), ('cr_only_line', b'GET / HTTP/1.1\r\nHost: a\r\n\rX: 1\r\n\r\n')], only={'host', 'x-a', 'x'})
raws('header_underscore_default', [('u', get('X_A: 1', 'X-A: 2'))], only={'x_a', 'x-a'})
raws('header_underscore_reject', [('u', get('X_A: 1')), ('none', get('X-A: 1'))], opts='{common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}}', only={'x_a', 'x-a'})
raws('header_underscore_drop', [('u', get('X_A: 1', 'X-A: 2', 'Content_Length: 5'))], opts='{common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}}', only={'x_a', 'x-a', 'content_length'})
raws('header_repeated', [('accept', get('Accept: a', 'Accept: b')), ('cookie', get('Cookie: a=1', 'Cookie: b=2')), ('ua', get('User-Agent: a', 'User-Agent: b')), ('empty', get('X-A:', 'X-A: 1'))], only={'accept', 'cookie', 'user-agent', 'x-a'})
raws('header_referer_cleaned', [('good', get('Referer: http://x.example/p')), ('relative', get('Referer: /p')), ('twice', get('Referer: http://a/', 'Referer: http://b/')), ('garbage', get('Referer: \\\\')), ('userinfo', get('Referer: http://u:p@h/'))], only={'referer'})
raws('header_count_limit', [('99', get(*['X-%d: v' % i for i in range(98)])), ('101', get(*['X-%d: v' % i for i in range(101)]))], only={'host'})
raws('header_count_limit_set', [('3', get('X-1: a', 'X-2: b')), ('4', get('X-1: a', 'X-2: b', 'X-3: c')), ('5', get(*['X-%d: v' % i for i in range(4)]))], opts='{common_http_protocol_options: {max_headers_count: 4}}', only={'host'})
raws('header_size_limit', [('under', get('X-A: ' + 'a' * 59000)), ('over', get('X-A: ' + 'a' * 62000))], only={'host'})
raws('header_size_limit_set', [('under', get('X-A: ' + 'a' * 900)), ('over', get('X-A: ' + 'a' * 1100)), ('path', get(target='/' + 'p' * 1100))], opts='{max_request_headers_kb: 1}', only={'host'})

# ---- Connection and hop-by-hop
raws('connection_nominates', [('x', get('Connection: x-hop', 'X-Hop: 1', 'X-Keep: 2')), ('list', get('Connection: keep-alive, x-hop, x-two', 'X-Hop: 1', 'X-Two: 2')), ('case', get('Connection: X-HOP', 'x-hop: 1'))], only={'x-hop', 'x-two', 'x-keep', 'connection'})
raws('connection_nominates_protected', [('host', get('Connection: host')), ('xff', get('Connection: x-forwarded-for', 'X-Forwarded-For: 1.1.1.1')), ('cl', post('Connection: content-length', 'Content-Length: 1', body=b'x')), ('pseudo', get('Connection: :path'))], only={'host', 'x-forwarded-for', 'content-length'})
raws('connection_nominates_forwarded', [('xfh', get('Connection: x-forwarded-host', 'X-Forwarded-Host: z')), ('xfp', get('Connection: x-forwarded-proto', 'X-Forwarded-Proto: https')), ('cookie', get('Connection: cookie', 'Cookie: a=1')), ('auth', get('Connection: authorization', 'Authorization: b'))], only={'x-forwarded-host', 'x-forwarded-proto', 'cookie', 'authorization'})
raws('connection_nominates_te', [('te', get('Connection: te', 'TE: trailers')), ('te_gzip', get('Connection: TE', 'TE: gzip')), ('te_mixed', get('Connection: te', 'TE: gzip, trailers;q=0.5'))], only={'te', 'connection'})
raws('te_header', [('trailers', get('TE: trailers')), ('gzip', get('TE: gzip')), ('mixed', get('TE: gzip, trailers')), ('case', get('TE: Trailers')), ('twice', get('TE: gzip', 'TE: trailers'))], only={'te'})
raws('connection_empty_elements', [('commas', get('Connection: ,, x-hop ,', 'X-Hop: 1')), ('empty', get('Connection:', 'X-Hop: 1')), ('twice', get('Connection: x-hop', 'Connection: x-two', 'X-Hop: 1', 'X-Two: 2'))], only={'x-hop', 'x-two', 'connection'})
raws('connection_keep_alive_header', [('ka', get('Keep-Alive: timeout=5', 'Connection: keep-alive')), ('pc', get('Proxy-Connection: keep-alive')), ('pa', get('Proxy-Authorization: x', 'Proxy-Authenticate: y'))], only={'keep-alive', 'proxy-connection', 'connection', 'proxy-authorization', 'proxy-authenticate'})
raws('upgrade_headers_without_upgrade', [('h2c', get('Upgrade: h2c', 'Connection: upgrade, http2-settings', 'HTTP2-Settings: AA')), ('upgrade_only', get('Upgrade: websocket')), ('conn_only', get('Connection: upgrade'))], only={'upgrade', 'connection', 'http2-settings'})

# ---- body length
raws('length_forms', [('zeros', post('Content-Length: 003', body=b'abc')), ('spaces', post('Content-Length:   3  ', body=b'abc')), ('tab', post('Content-Length:\t3', body=b'abc')), ('case', post('CONTENT-LENGTH: 3', body=b'abc'))])
raws('length_bad_forms', [('hex', post('Content-Length: 0x3', body=b'abc')), ('float', post('Content-Length: 3.0', body=b'abc')), ('empty', post('Content-Length:', body=b'')), ('inner_space', post('Content-Length: 1 2', body=b'ab')), ('big', post('Content-Length: 99999999999999999999', body=b'a'))])
raws('length_lists', [('same_list', post('Content-Length: 3,3', body=b'abc')), ('diff_list', post('Content-Length: 3, 4', body=b'abc')), ('trailing', post('Content-Length: 3,', body=b'abc')), ('minus_zero', post('Content-Length: -0'))])
raws('length_max_uint64', [('max', post('Content-Length: 18446744073709551615', body=b'')), ('int64', post('Content-Length: 9223372036854775807'))], follow=False)
raws('length_pipelined_exact', [('three', post('Content-Length: 3', body=b'abc' + NEXT))])
raws('te_forms', [('upper', post('Transfer-Encoding: CHUNKED', body=b'0\r\n\r\n')), ('tab', post('Transfer-Encoding:\tchunked', body=b'0\r\n\r\n')), ('trailing_space', post('Transfer-Encoding: chunked ', body=b'0\r\n\r\n'))])
raws('te_bad_forms', [('twice', post(CHUNKED, CHUNKED, body=b'0\r\n\r\n')), ('list', post('Transfer-Encoding: chunked, chunked', body=b'0\r\n\r\n')), ('identity_chunked', post('Transfer-Encoding: identity, chunked', body=b'0\r\n\r\n')), ('quoted', post('Transfer-Encoding: "chunked"', body=b'0\r\n\r\n'))])
raws('te_bad_values', [('xchunked', post('Transfer-Encoding: xchunked', body=b'0\r\n\r\n')), ('vt', post('Transfer-Encoding: \x0bchunked', body=b'0\r\n\r\n')), ('empty', post('Transfer-Encoding:', body=b'')), ('param', post('Transfer-Encoding: chunked;x=1', body=b'0\r\n\r\n')), ('comma', post('Transfer-Encoding: chunked,', body=b'0\r\n\r\n'))])
raws('te_name_obfuscated', [('space', post('Transfer-Encoding : chunked', body=b'0\r\n\r\n')), ('underscore', post('Transfer_Encoding: chunked', 'Content-Length: 0')), ('x', post('X-Transfer-Encoding: chunked', 'Content-Length: 0'))])
raws('te_http10', [('te', b'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'), ('cl', b'POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nab')], opts='{http_protocol_options: {accept_http_10: true}}')
raws('te_get', [('get', get(CHUNKED) + b'1\r\na\r\n0\r\n\r\n'), ('head', get(CHUNKED, method='DELETE') + b'0\r\n\r\n')])
raws('cl_te_orders', [('te_first', post(CHUNKED, 'Content-Length: 5', body=b'0\r\n\r\n')), ('cl_zero', post('Content-Length: 0', CHUNKED, body=b'0\r\n\r\n'))])
raws('cl_te_allowed_pipelined', [('te_first', post(CHUNKED, 'Content-Length: 5', body=b'0\r\n\r\n' + NEXT))], opts='{http_protocol_options: {allow_chunked_length: true}}')

# ---- chunks
raws('chunk_size_forms', [('upper', post(CHUNKED, body=b'A\r\n0123456789\r\n0\r\n\r\n')), ('zeros', post(CHUNKED, body=b'0003\r\nabc\r\n000\r\n\r\n')), ('lower', post(CHUNKED, body=b'a\r\n0123456789\r\n0\r\n\r\n'))])
raws('chunk_size_bad', [('neg', post(CHUNKED, body=b'-1\r\n\r\n')), ('x', post(CHUNKED, body=b'0x3\r\nabc\r\n0\r\n\r\n')), ('empty', post(CHUNKED, body=b'\r\nabc\r\n0\r\n\r\n')), ('plus', post(CHUNKED, body=b'+3\r\nabc\r\n0\r\n\r\n')), ('space_first', post(CHUNKED, body=b' 3\r\nabc\r\n0\r\n\r\n'))], warm=True)
raws('chunk_size_trailing_space', [('space', post(CHUNKED, body=b'3 \r\nabc\r\n0\r\n\r\n')), ('tab', post(CHUNKED, body=b'3\t\r\nabc\r\n0\r\n\r\n')), ('space_ext', post(CHUNKED, body=b'3 ;x\r\nabc\r\n0\r\n\r\n'))])
raws('chunk_size_overflow', [('17_digits', post(CHUNKED, body=b'10000000000000003\r\nabc\r\n0\r\n\r\n')), ('16_f', post(CHUNKED, body=b'ffffffffffffffff\r\n'))])
raws('chunk_line_ends', [('lf_size', post(CHUNKED, body=b'3\nabc\r\n0\r\n\r\n')), ('lf_data', post(CHUNKED, body=b'3\r\nabc\n0\r\n\r\n')), ('lf_last', post(CHUNKED, body=b'3\r\nabc\r\n0\n\n')), ('cr_size', post(CHUNKED, body=b'3\rabc\r\n0\r\n\r\n'))])
raws('chunk_extension_forms', [('value', post(CHUNKED, body=b'3;a=b;c="d e"\r\nabc\r\n0;z\r\n\r\n')), ('lf', post(CHUNKED, body=b'3;a\nb\r\nabc\r\n0\r\n\r\n')), ('cr', post(CHUNKED, body=b'3;a\rb\r\nabc\r\n0\r\n\r\n')), ('nul', post(CHUNKED, body=b'3;a\x00\r\nabc\r\n0\r\n\r\n')), ('long', post(CHUNKED, body=b'3;' + b'x' * 5000 + b'\r\nabc\r\n0\r\n\r\n'))])
raws('chunk_trailers_dropped', [('one', post(CHUNKED, body=b'3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n' + NEXT)), ('cl', post(CHUNKED, body=b'0\r\nContent-Length: 5\r\n\r\n'))])
raws('chunk_trailers_bad', [('no_colon', post(CHUNKED, body=b'0\r\nxt\r\n\r\n')), ('space', post(CHUNKED, body=b'0\r\nX T: 1\r\n\r\n')), ('nul', post(CHUNKED, body=b'0\r\nX-T: \x00\r\n\r\n'))], warm=True)
raws('chunk_trailers_enabled_forbidden', [('te', post(CHUNKED, body=b'1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\nHost: z\r\nX-T: 1\r\n\r\n'))], opts='{http_protocol_options: {enable_trailers: true}}', copts={'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {'@type': T_HPO, 'explicit_http_config': {'http_protocol_options': {'enable_trailers': True}}}}})
raws('chunk_body_missing_end', [('crlf_after_data', post(CHUNKED, body=b'3\r\nabcX\r\n0\r\n\r\n')), ('short', post(CHUNKED, body=b'5\r\nabc\r\n0\r\n\r\n' + b'\r\n'))])

# ---- pipelining, early ends
raws('pipeline_error_second', [('bad', get(target='/1') + b'BAD\r\n\r\n'), ('bad_header', get(target='/1') + get('X Y: 1', target='/2'))], only={'host'})
raws('pipeline_close_first', [('close', get('Connection: close', target='/1') + get(target='/2'))], only={'host'})
raws('expect_forms', [('http10', b'POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx'), ('case', post('Expect: 100-Continue', 'Content-Length: 1', body=b'x')), ('no_body', get('Expect: 100-continue')), ('list', post('Expect: 100-continue, x', 'Content-Length: 1', body=b'x'))], opts='{http_protocol_options: {accept_http_10: true}}')

# ---- HTTP/1.0
raws('http10_connection', [('ka_close', b'GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n'), ('upper', b'GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n'), ('absolute', b'GET http://abs.example/p HTTP/1.0\r\n\r\n')], opts='{http_protocol_options: {accept_http_10: true}}')
raws('http10_error_answers', [('404_path', b'GET nope HTTP/1.0\r\nHost: a\r\n\r\n'), ('bad_header', b'GET / HTTP/1.0\r\nHost: a\r\nX Y: 1\r\n\r\n'), ('chunk', b'GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n')], opts='{http_protocol_options: {accept_http_10: true}}')

# ---- what upstreams may not answer
badup('1xx_then_garbage', b'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\ngarbage\r\n\r\n')
badup('status_99', b'HTTP/1.1 99 X\r\ncontent-length: 0\r\n\r\n')
badup('status_600', b'HTTP/1.1 600 X\r\ncontent-length: 0\r\n\r\n', close=False)
badup('status_999', b'HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n', close=False)
badup('status_4_digits', b'HTTP/1.1 2000 X\r\ncontent-length: 0\r\n\r\n')
badup('no_reason', b'HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok', close=False)
badup('empty_reason', b'HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok', close=False)
badup('odd_reason', b'HTTP/1.1 200 Sehr \xc3\xa9 gut!\r\ncontent-length: 2\r\n\r\nok', close=False)
badup('version_2', b'HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok')
badup('icy', b'ICY 200 OK\r\ncontent-length: 2\r\n\r\nok')
badup('bare_lf', b'HTTP/1.1 200 OK\ncontent-length: 2\n\nok', close=False)
badup('leading_crlf', b'\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok', close=False)
badup('fold', b'HTTP/1.1 200 OK\r\nx-a: 1\r\n 2\r\ncontent-length: 2\r\n\r\nok', close=False)
badup('header_no_colon', b'HTTP/1.1 200 OK\r\nxa\r\ncontent-length: 2\r\n\r\nok')
badup('header_space_colon', b'HTTP/1.1 200 OK\r\nx-a : 1\r\ncontent-length: 2\r\n\r\nok')
badup('header_nul', b'HTTP/1.1 200 OK\r\nx-a: a\x00b\r\ncontent-length: 2\r\n\r\nok')
badup('header_high', b'HTTP/1.1 200 OK\r\nx-a: caf\xc3\xa9\r\ncontent-length: 2\r\n\r\nok', close=False)
badup('cl_twice_same', b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok', close=False)
badup('cl_twice_other', b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok')
badup('cl_negative', b'HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok')
badup('te_gzip', b'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok')
badup('te_identity', b'HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok')
badup('te_gzip_chunked', b'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n', close=False)
badup('204_with_body', b'HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok', close=False)
badup('204_chunked', b'HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n', close=False)
badup('304_with_length', b'HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\netag: x\r\n\r\n', close=False)
badup('101_with_body', b'HTTP/1.1 101 Switching Protocols\r\ncontent-length: 2\r\n\r\nok')
badup('headers_too_many', b'HTTP/1.1 200 OK\r\n' + b''.join(b'x-%d: 1\r\n' % i for i in range(101)) + b'content-length: 2\r\n\r\nok')
badup('headers_too_large', b'HTTP/1.1 200 OK\r\nx-a: ' + b'a' * 90000 + b'\r\ncontent-length: 2\r\n\r\nok')
badup('reply_before_request', b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno', close=False)
badup('connection_nominates', b'HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=1\r\nproxy-connection: x\r\ncontent-length: 2\r\n\r\nok', close=False)
badup('chunk_extension', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nx-t: 1\r\n\r\n', close=False)
badup('chunk_crlf_missing', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokX\r\n0\r\n\r\n')
badup('http10_keepalive', b'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok', close=False)
badup('http10_chunked', b'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n')
badup('connection_close_length', b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok')
badup('two_continues', b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok', close=False)
