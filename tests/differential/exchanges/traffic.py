"""Random exchanges over HTTP/1: what a client sends and what its upstream answers. All of it follows from a `random.Random`."""

METHODS = ['GET'] * 8 + ['POST'] * 4 + ['HEAD', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE', 'PATCH', 'PURGE', 'FOO', 'get', 'PRI']
TARGETS = ['/', '/a', '/a/b', '/b', '/b?a=1&x', '/a//b/../c', '/c', '/a/%2e%2e/b', '/a%2Fb', '/a%5cb', '/a/./b', '/a?a=%20', '*', 'http://abs.example/a', 'http://abs.example', 'HTTP://u@abs.example:80/b?x=1',
           'https://abs.example/a', 'a', '/a#f', '//a', '/a;p=1', '/a b', '/\xe9', 'abs.example:80', '?a=1', '/a/', '/%zz', '/a\\b', 'ftp://a/b', '/' + 'p' * 300]
HOSTS = ['a.example'] * 6 + ['a.example:80', 'A.Example', 'a.example.', 'a.example.:8080', '', '[::1]:80', 'a b', 'a,b', 'u@a', '1.2.3.4', 'a.example:x']
FIELDS = [
    ('x-a', ['1', '', ' lead', 'a,b', 'a\tb', 'v' * 200, '\xe9', 'a\x01b', 'a\x00b']), ('x-b', ['2', 'b b']), ('X-Mixed-Case', ['V']), ('x_under', ['u']), ('X-A', ['again']), ('accept', ['*/*', 'b']), ('user-agent', ['ua', '']),
    ('cookie', ['a=1', 'b=2; c=3']), ('te', ['trailers', 'gzip', 'trailers, deflate', 'Trailers']), ('connection', ['close', 'keep-alive', 'Close', 'x-a', 'close, x-b', 'te', 'upgrade', 'keep-alive, Upgrade', 'content-length', ',']),
    ('keep-alive', ['timeout=5']), ('proxy-connection', ['keep-alive', 'close']), ('upgrade', ['websocket', 'foo', 'h2c', 'WebSocket', 'v', 'TLS/1.0, HTTP/1.1']), ('expect', ['100-continue', '100-Continue', 'else']),
    ('x-forwarded-for', ['1.2.3.4', '10.0.0.1, 1.2.3.4', 'x', '2001:db8::1', '1.2.3.4:80', '127.0.0.1', ',']), ('x-forwarded-proto', ['https', 'http', 'ftp', 'HTTPS']), ('x-forwarded-host', ['fh']), ('x-forwarded-port', ['81']), ('forwarded', ['for=1']),
    ('x-request-id', ['abc', '11111111-2222-4333-9444-555555555555', '']), ('x-envoy-retry-on', ['5xx', 'bad']), ('x-envoy-max-retries', ['1', 'x', '0']), ('x-envoy-upstream-rq-timeout-ms', ['9000', 'x']), ('x-envoy-expected-rq-timeout-ms', ['8000']),
    ('x-envoy-internal', ['true']), ('x-envoy-external-address', ['1.1.1.1']), ('x-envoy-original-path', ['/o']), ('x-envoy-decorator-operation', ['d']), ('x-envoy-downstream-service-cluster', ['ds']), ('x-envoy-fault-abort-request', ['418', 'x']),
    ('x-envoy-upstream-alt-stat-name', ['alt']), ('x-envoy-ip-tags', ['spoof']), ('x-envoy-force-trace', ['1']), ('x-client-trace-id', ['t']), ('x-forwarded-client-cert', ['Hash=1']), ('x-cluster', ['none', 'nope']), ('x-envoy-attempt-count', ['7']),
    ('origin', ['http://a.example', 'http://evil', 'null']), ('access-control-request-method', ['GET']), ('referer', ['http://r/x', 'bad ref', '/p']), ('content-type', ['application/grpc', 'text/plain', 'application/grpc-web', 'application/json']),
    ('accept-encoding', ['gzip', 'identity', 'gzip;q=0']), ('grpc-timeout', ['1S', 'x']), ('via', ['1.0 p']), ('cdn-loop', ['me', 'other, me', '"']), ('range', ['bytes=0-1']), ('http2-settings', ['AAMAAABk']), ('trailer', ['x-t']), ('host', ['second']),
    ('date', ['Mon, 01 Jan 2024 00:00:00 GMT']), ('server', ['cs']), ('transfer-encoding', ['identity', 'gzip', 'chunked, chunked']), ('content-length', ['0', '5', 'x', '-1', '5, 5', '+5', '99999999999999999999']), ('x-envoy-upstream-stream-duration-ms', ['5000']),
    ('x-envoy-hedge-on-per-try-timeout', ['true']), ('x-envoy-upstream-rq-per-try-timeout-ms', ['5000']), ('x-envoy-retriable-status-codes', ['404,200']), ('x-envoy-retriable-header-names', ['x-a']),
]
BROKEN = ['GARBAGE\r\n\r\n', 'GET / HTTP/1.1\n\n', 'GET /\r\n\r\n', 'GET / HTTP/2.0\r\n\r\n', 'GET / HTTP/1.1\r\nbad header: x\r\n\r\n', 'GET / HTTP/1.1\r\n: x\r\n\r\n', 'GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n', 'GET  /  HTTP/1.1\r\nHost: a\r\n\r\n',
          '\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n', 'GET / HTTP/1.1\r\nHost: a\r\nx\r\n\r\n', 'GET / HTTP/1.1\r\nHost: a\r\nx-a : b\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\x16\x03\x01\x00\x05hello', 'GET / HTTP/1.1\r\nHost: a\r\nx-a: b\n\r\n', 'GET / XTTP/1.1\r\nHost: a\r\n\r\n',
          'GET / HTTP/1.1\r\nHost: a\rx: b\r\n\r\n', 'GET /', 'GET / HTTP/1.1\r\nHos', 'POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 9\r\n\r\nabc', 'POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab', '']

STATUSES = [200] * 8 + [201, 204, 206, 301, 302, 304, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504, 503, 599, 600, 999]
ANSWER_FIELDS = [
    ('x-a', ['1', '', 'a,b', 'bad\x01', '\xe9']), ('X-Mixed-Case', ['V']), ('x_under', ['u']), ('server', ['up', '']), ('date', ['Mon, 01 Jan 2024 00:00:00 GMT']), ('via', ['1.0 up']), ('connection', ['close', 'keep-alive', 'x-a', 'upgrade', 'close, x-a']),
    ('keep-alive', ['timeout=1']), ('proxy-connection', ['close']), ('content-type', ['text/plain', 'application/grpc', 'application/json']), ('location', ['/b', 'http://a.example/b', 'https://x/y', 'bad url', '']), ('etag', ['"e"']), ('vary', ['origin']),
    ('set-cookie', ['a=1', 'b=2']), ('x-envoy-ratelimited', ['true']), ('x-envoy-overloaded', ['true']), ('x-envoy-upstream-service-time', ['5']), ('x-envoy-upstream-canary', ['true']), ('x-envoy-immediate-health-check-fail', ['1']), ('x-envoy-attempt-count', ['9']),
    ('grpc-status', ['0', '14', 'x']), ('grpc-message', ['m']), ('upgrade', ['websocket', 'foo']), ('x-request-id', ['up-id']), ('proxy-status', ['up; error=x']), ('content-encoding', ['gzip']), ('access-control-allow-origin', ['*']), ('x-envoy-degraded', ['1']),
    ('te', ['x']), ('trailer', ['x-t']), ('alt-svc', ['h3=":1"']), ('x-envoy-decorator-operation', ['op']), ('content-length', ['3', 'x', '5, 5']), ('transfer-encoding', ['chunked', 'identity', 'gzip, chunked']), ('host', ['h']), ('www-authenticate', ['Basic']),
]
BAD_ANSWERS = ['garbage\r\n\r\n', 'HTTP/1.1\r\n\r\n', 'HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n', 'HTTP/1.1 abc OK\r\n\r\n', 'HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc', 'HTTP/1.1 200 OK\r\n', 'HTTP/2.0 200\r\ncontent-length: 0\r\n\r\n',
               'HTTP/1.1 200 OK\ncontent-length: 0\n\n', 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 1\r\n\r\n', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n',
               'HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n', 'HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n', 'HTTP/1.0 200 OK\r\n\r\nbody', 'HTTP/1.1 200 OK\r\nx-a: a\r\n b\r\ncontent-length: 0\r\n\r\n',
               'HTTP/1.1 200 OK\r\nx-big: ' + 'b' * 2000 + '\r\ncontent-length: 0\r\n\r\n', ' HTTP/1.1 200 OK\r\n\r\n', 'HTTP/1.1 204 N\r\ncontent-length: 3\r\n\r\nabc', 'HTTP/1.1 304 N\r\ncontent-length: 3\r\n\r\n', '']
INTERIM = ['HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n', 'HTTP/1.1 102 Processing\r\n\r\n', 'HTTP/1.1 100 Continue\r\ncontent-length: 0\r\n\r\n']


def flag(r, chance):
    return r.random() < chance


def fields(r, table, most, bad):
    out = []
    for _ in range(r.choice([0, 1, 1, 2, 3, most])):
        name, values = r.choice(table)
        value = values[0] if flag(r, 0.5) else r.choice(values)
        if not bad and (name in ('content-length', 'transfer-encoding') or any(c < ' ' for c in value)):
            continue
        out.append((r.choice([name, name, name, name.title()]), value))
    return out


def chunked(r, body, trailers, bad):
    """A body in chunks, cut anywhere."""
    out = ''
    while body:
        n = r.randint(1, len(body))
        out += '%x%s\r\n%s\r\n' % (n, r.choice(['', '', '', ';e=1', ' ']), body[:n])
        body = body[n:]
    out += r.choice(['0', '0', '000']) + '\r\n'
    if trailers:
        out += ''.join('%s: %s\r\n' % t for t in trailers)
    if bad and flag(r, 0.3):
        out = out.replace('\r\n', r.choice(['\n', '\r\n\r\n', 'x\r\n']), 1)
    return out + '\r\n'


def body_of(r, bad, headers):
    """(further header fields, the body's bytes) in one of the framings."""
    text = r.choice(['', 'abc', 'hello world', 'x' * 70, 'y' * 3000])
    kind = r.choices(['length', 'chunked', 'both', 'wrong'], [5, 4, 0.4, 0.4 if bad else 0])[0]
    if kind == 'length':
        return [('content-length', str(len(text)))], text
    if kind == 'wrong':
        return [('content-length', str(max(0, len(text) + r.choice([-1, 1, 50]))))], text
    trailers = r.choice([[], [], [('x-t', 'tv')], [('x-t', 'a'), ('x_u', 'b')], [('content-length', '3')], [('bad name', 'x')] if bad else []])
    both = [('content-length', str(len(text)))] if kind == 'both' else []
    return both + [('transfer-encoding', r.choice(['chunked', 'chunked', 'Chunked']))], chunked(r, text, trailers, bad)


def request(r):
    """(bytes, whether the method is HEAD) of one request."""
    bad = flag(r, 0.12)
    if flag(r, 0.05):
        return r.choice(BROKEN), False
    method = r.choice(METHODS)
    target = r.choice(TARGETS) if flag(r, 0.45) else r.choice(['/a', '/b', '/c', '/'])
    if method == 'CONNECT' and flag(r, 0.6):
        target = 'abs.example:80'
    head = [(r.choice(['host', 'Host']), r.choice(HOSTS))] if flag(r, 0.97) else []
    head += fields(r, FIELDS, 6, bad)
    body = ''
    if method in ('POST', 'PUT', 'PATCH') or flag(r, 0.06):
        more, body = body_of(r, bad, head)
        head += more
    if flag(r, 0.07):
        head += [('connection', 'Upgrade'), ('upgrade', r.choice(['websocket', 'foo']))]
    r.shuffle(head)
    version = r.choices(['HTTP/1.1', 'HTTP/1.0', 'HTTP/1.2', 'http/1.1'], [30, 4, 0.3, 0.3])[0]
    return '%s %s %s\r\n%s\r\n%s' % (method, target, version, ''.join('%s:%s%s\r\n' % (n, r.choice([' ', ' ', ' ', '', '  ']), v) for n, v in head), body), method == 'HEAD'


def split(r, data):
    """The bytes in pieces: mostly one, else cut at random places."""
    if len(data) < 2 or flag(r, 0.6):
        return [data]
    cuts = sorted(r.sample(range(1, len(data)), min(len(data) - 1, r.randint(1, 3))))
    return [data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)])]


def answer(r):
    """What the upstream does with one request, as a list of steps."""
    steps = []
    if flag(r, 0.12):
        steps.append(['send', r.choice(INTERIM)])
    if flag(r, 0.06):
        return steps + [r.choice([['close'], ['reset']])]
    if flag(r, 0.1):
        data = r.choice(BAD_ANSWERS)
    else:
        bad = flag(r, 0.06)
        status, more, body = r.choice(STATUSES), [], ''
        if status not in (204, 304) or flag(r, 0.1):
            more, body = body_of(r, bad, [])
        if flag(r, 0.08):
            more, body = [], r.choice(['', 'until the end'])
            steps_end = [['close']]
        else:
            steps_end = []
        head = fields(r, ANSWER_FIELDS, 5, bad) + more
        r.shuffle(head)
        data = 'HTTP/1.%s %d %s\r\n%s\r\n%s' % ('0' if flag(r, 0.05) else '1', status, r.choice(['OK', 'Reason', '']), ''.join('%s: %s\r\n' % h for h in head), body)
        for piece in split(r, data):
            steps += [['send', piece], ['pause', 0.004]]
        return steps + steps_end
    steps += [['send', data], ['pause', 0.004]]
    return steps + ([r.choice([['close'], ['reset']])] if flag(r, 0.5) else [])


def conversation(r):
    """What an HTTP/1 client sends on one connection."""
    count = r.choices([1, 2, 3], [6, 3, 1])[0]
    requests = [request(r) for _ in range(count)]
    data = ''.join(bytes_of for bytes_of, _ in requests)
    pieces = split(r, data) if flag(r, 0.7) else [bytes_of for bytes_of, _ in requests if bytes_of]
    return {'pieces': pieces, 'requests': count, 'heads': [i for i, (_, head) in enumerate(requests) if head]}
