"""What random requests and answers, sent through Envoy and through us, told apart: interim responses, counters of odd answers, the
headers of a route on answers that others give, bytes of heads that fail."""
from harness import *
from harness.tables import H

GET = 'GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n'
HINTS = b'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'
CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'


def interim(name, opts, pre, then=resp(200, 'x'), extra='', post=False, **kw):
    """Observes what precedes the final response, the log, and the counters of 1xx on both sides."""
    @case('interim_' + name)
    async def _(t):
        await t.up('u1', lambda m, n: pre + then)
        await t.start(simple(t, opts=opts, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %RESP(link)% %DOWNSTREAM_HEADER_BYTES_SENT%', rt=router(suppress_envoy_headers=True), **kw))
        if post:
            r = await t.req('/', 'POST', body='hello', headers=H(extra))
        else:
            r = await t.req('/', headers=H(extra))
        t.see('interim', [(m.line, sorted((k, '<uuid>' if UUID.fullmatch(v) else v) for k, v in m.raw_headers if k.lower() != 'date')) for m in r.interim])
        t.see('status', r.status)
        t.see('counters', {k: v for k, v in (await t.stats(regex=r'^(cluster\.c1|http\.in)\..*(_1\dx|_10\d|_1xx|rq_completed|rq_200|rq_2xx)$')).items() if v})
        t.see('asked', len(t.ups[0].reqs))
        t.see('log', await t.logs())


ON = '{proxy_100_continue: true}'
interim('hints', ON, HINTS)
interim('hints_off', '{}', HINTS)
interim('processing', ON, b'HTTP/1.1 102 Processing\r\n\r\n')
interim('104', ON, b'HTTP/1.1 104 Upload\r\nx: y\r\n\r\n')
interim('110', ON, b'HTTP/1.1 110 Odd\r\nx: y\r\n\r\n')
interim('199', ON, b'HTTP/1.1 199 Odd\r\nx: y\r\n\r\n')
interim('two_hints', ON, HINTS + HINTS.replace(b'/a', b'/b'))
interim('continue_then_hints', ON, CONTINUE + HINTS)
interim('hints_then_continue', ON, HINTS + CONTINUE)
interim('continue_asked_for', ON, CONTINUE + HINTS, extra='expect: 100-continue', post=True)
interim('continue_off', '{}', CONTINUE, extra='expect: 100-continue', post=True)
interim('hints_with_all_headers', '{proxy_100_continue: true, via: v, server_name: s, always_set_request_id_in_response: true}',
        b'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nserver: up\r\ndate: Mon, 01 Jan 2020 00:00:00 GMT\r\nconnection: keep-alive\r\nset-cookie: a=1\r\nx-request-id: up\r\nX-Case: y\r\n\r\n')
interim('hints_with_route_headers', ON, HINTS, routes='[{match: {prefix: "/"}, route: {cluster: c1}, response_headers_to_add: [{header: {key: x-r, value: "%RESPONSE_CODE%"}}]}]')
interim('hints_and_the_case_of_names', '{proxy_100_continue: true, http_protocol_options: {header_key_format: {proper_case_words: {}}}}', HINTS)
RETRY = '[{match: {prefix: "/"}, route: {cluster: c1, retry_policy: {retry_on: 5xx, num_retries: 2}}}]'
interim('no_retry_after_hints', ON, HINTS, resp(503, 'x'), routes=RETRY)
interim('no_retry_after_hints_off', '{}', HINTS, resp(503, 'x'), routes=RETRY)
interim('no_retry_after_hints_and_a_cut', '{}', HINTS, b'nonsense\r\n\r\n', routes=RETRY)
interim('hints_then_bad', ON, HINTS, b'nonsense\r\n\r\n')


@case()
async def interim_hints_over_h2(t):
    await t.up('u1', lambda m, n: HINTS + CONTINUE + resp(200, 'x'))
    await t.start(simple(t, opts=ON))
    c = await t.h2()
    sid = c.request([(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')], None)
    m = await c.done(sid, 5)
    t.see('status', m.status)
    t.see('interim', m.interim)


def odd_answers(name, answers, copts=None):
    """answers: (label, bytes, whether the upstream closes behind them). Observes the cluster's counters of each, by a cluster of its own."""
    @case('counters_of_answers_' + name)
    async def _(t):
        def scripted(raw, close):
            async def conn(c):
                while await c.read_request() is not None:
                    c.send(raw)
                    await c.drain()
                    if close:
                        return
            return conn
        for i, (label, raw, close) in enumerate(answers):
            await t.up('u%d' % i, conn=scripted(raw, close))
        routes = [{'match': {'prefix': '/%d/' % i}, 'route': {'cluster': 'c%d' % i}} for i in range(len(answers))]
        await t.start(simple(t, clusters=[cluster('c%d' % i, t.ups[i], copts) for i in range(len(answers))], routes=routes,
                             log='%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HEADER_BYTES_RECEIVED% %UPSTREAM_PROTOCOL%'))
        for i, (label, raw, close) in enumerate(answers):
            c = await t.conn()
            c.send(GET % ('/%d/' % i, ''))
            await c.response(timeout=2)
            c.close()
        await t.until(lambda: False, timeout=0.15)
        for i, (label, raw, close) in enumerate(answers):
            found = await t.stats(regex=r'^cluster\.c%d\.upstream_(cx_(protocol_error|close_notify|destroy.*|active|http1_total)|rq_(rx_reset|tx_reset|completed|\dxx|unknown|active|total))$' % i, settle=0)
            t.see(label, {k.split('.', 2)[2]: v for k, v in found.items() if v})
        t.see('log', await t.logs())


OK = b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'
odd_answers('closing', [
    ('close said', b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello', False), ('close said and done', b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello', True),
    ('closed in silence', OK, True), ('1.0', b'HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello', False), ('1.0 keep-alive', b'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello', False),
    ('until the end', b'HTTP/1.1 200 OK\r\n\r\nhello', True), ('proxy-connection', b'HTTP/1.1 200 OK\r\nproxy-connection: close\r\ncontent-length: 5\r\n\r\nhello', False),
    ('close in capitals', b'HTTP/1.1 200 OK\r\nConnection: CLOSE\r\ncontent-length: 5\r\n\r\nhello', False), ('close in a list', b'HTTP/1.1 200 OK\r\nConnection: x, close\r\ncontent-length: 5\r\n\r\nhello', False),
    ('408 in silence', b'HTTP/1.1 408 T\r\nconnection: close\r\ncontent-length: 0\r\n\r\n', True)])
odd_answers('with_more_behind', [
    ('excess', OK + b'!', False), ('second answer', OK + OK, False), ('empty line', OK + b'\r\n', False), ('interim behind', OK + CONTINUE, False),
    ('204 and body', b'HTTP/1.1 204 No Content\r\n\r\nhello', False), ('304 and body', b'HTTP/1.1 304 N\r\ncontent-length: 5\r\n\r\nhello', False), ('chunked and more', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nmore', False)])
odd_answers('that_are_bad', [
    ('garbage', b'nonsense\r\n\r\n', False), ('garbage and close', b'nonsense\r\n\r\n', True), ('nothing', b'', True), ('half a head', b'HTTP/1.1 200 OK\r\nx: y\r\n', True), ('half a line', b'HTTP/1.1 2', True),
    ('length a', b'HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: a\r\n\r\nhello', False), ('204 with length', b'HTTP/1.1 204 No Content\r\nx: y\r\ncontent-length: 5\r\n\r\nhello', False), ('204 chunked', b'HTTP/1.1 204 No Content\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n', False),
    ('gzip', b'HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: gzip\r\n\r\nhello', True), ('name', b'HTTP/1.1 200 OK\r\na: b\r\nx y: v\r\nc: d\r\ncontent-length: 5\r\n\r\nhello', False), ('NUL', b'HTTP/1.1 200 OK\r\na: b\r\nx: \x00\r\ncontent-length: 5\r\n\r\nhello', False),
    ('short', b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel', True), ('bad chunk', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n', False), ('cut chunk', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel', True),
    ('both lengths', b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n', False), ('no colon', b'HTTP/1.1 200 OK\r\na: b\r\nfoo\r\ncontent-length: 0\r\n\r\n', False)])
odd_answers('with_folds', [
    ('fold', b'HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n', False), ('fold first', b'HTTP/1.1 200 OK\r\na: \r\n c\r\ncontent-length: 0\r\n\r\n', False), ('CR', b'HTTP/1.1 200 OK\r\na: b\rc\r\ncontent-length: 0\r\n\r\n', False),
    ('blanks', b'HTTP/1.1 200 OK\r\na:    b  \t \r\ncontent-length: 0\r\n\r\n', False), ('no blank', b'HTTP/1.1 200 OK\r\na:b\r\ncontent-length:0\r\n\r\n', False), ('empty', b'HTTP/1.1 200 OK\r\na:\r\ncontent-length: 0\r\n\r\n', False)])


@case()
async def protocol_of_an_upstream_connection(t):
    """A connection keeps the version of its last answer for the log of the next request."""
    versions = {'/0': b'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n', '/1': b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'}
    await t.up('u1', lambda m, n: versions[m['path']])
    await t.start(simple(t, log='%REQ(:PATH)% %UPSTREAM_PROTOCOL% %PROTOCOL%'))
    for path in ('/1', '/0', '/1', '/1', '/0', '/0', '/1'):
        await t.req(path)
    t.see('log', await t.logs())


ROUTE_HEADERS = {'response_headers_to_add': [{'header': {'key': 'x-r', 'value': '%RESPONSE_CODE% %REQ(:path)%'}}], 'response_headers_to_remove': ['content-type']}


def answered_by(name, raw, opts=None, filters=(), then=None, up=None, route=None, **kw):
    """An answer that is neither the upstream's nor the router's, on a route that changes the headers of its responses."""
    @case('route_headers_on_' + name)
    async def _(t):
        await t.up('u1', up)
        await t.start(simple(t, opts=opts, filters=filters, routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}, **ROUTE_HEADERS, **(Y(route) or {})}], log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%', **kw))
        c = await t.conn()
        c.send(raw)
        if then:
            await t.until(lambda: t.ups[0].reqs or t.ups[0].conns, timeout=1)
            c.send(then)
        t.see('response', await c.response(timeout=4))
        c.close()
        t.see('log', await t.logs())


POST = 'POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n'
answered_by('a_bad_chunk', POST + '2\r\nhi\r\n', then='zz\r\n')
answered_by('request_timeout', POST, '{request_timeout: 0.2s}')
answered_by('stream_idle_timeout', POST, '{stream_idle_timeout: 0.2s}')
answered_by('max_stream_duration', POST, '{common_http_protocol_options: {max_stream_duration: 0.2s}}')
answered_by('a_fault', GET % ('/', ''), filters=[http_filter('f', 'fault.v3.HTTPFault', {'abort': {'http_status': 418, 'percentage': {'numerator': 100}}})])
answered_by('rbac', GET % ('/', ''), filters=[http_filter('f', 'rbac.v3.RBAC', {'rules': {'action': 'DENY', 'policies': {'p': {'permissions': [{'any': True}], 'principals': [{'any': True}]}}}})])
answered_by('a_rate_limit', GET % ('/', ''), filters=[http_filter('f', 'local_ratelimit.v3.LocalRateLimit', {'stat_prefix': 'a', 'token_bucket': {'max_tokens': 0, 'fill_interval': '60s'}, 'filter_enabled': {'default_value': {'numerator': 100}}, 'filter_enforced': {'default_value': {'numerator': 100}}})])
answered_by('a_full_buffer', 'POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 9\r\n\r\nhellohell', filters=[http_filter('b', 'buffer.v3.Buffer', {'max_request_bytes': 5})])
answered_by('a_large_response', GET % ('/', ''), filters=[http_filter('b', 'compressor.v3.Compressor', None)] if False else [http_filter('c', 'cors.v3.Cors')], up=lambda m, n: b'nonsense\r\n\r\n')
answered_by('a_health_check', GET % ('/', ''), filters=[http_filter('h', 'health_check.v3.HealthCheck', {'pass_through_mode': False})])
answered_by('a_refused_upgrade', GET % ('/', 'connection: upgrade\r\nupgrade: websocket\r\n'))
answered_by('an_escaped_slash', GET % ('/a%2fb', ''), '{path_with_escaped_slashes_action: REJECT_REQUEST}')
answered_by('csrf', 'POST / HTTP/1.1\r\nHost: a\r\norigin: http://b\r\ncontent-length: 0\r\n\r\n', filters=[http_filter('c', 'csrf.v3.CsrfPolicy', {'filter_enabled': {'default_value': {'numerator': 100}}})])
answered_by('a_route_timeout', POST, route='{route: {cluster: c1, timeout: 0.2s}}', then='0\r\n\r\n', up=lambda m, n: asyncio.sleep(3))
answered_by('cors_preflight', 'OPTIONS / HTTP/1.1\r\nHost: a\r\norigin: http://b\r\naccess-control-request-method: GET\r\n\r\n', filters=[http_filter('c', 'cors.v3.Cors')],
            route='{typed_per_filter_config: {c: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_origin_string_match: [{exact: "http://b"}]}}}')


def rest_behind(name, items, opts=None):
    """What stands behind a request that was answered, and whether the connection takes it for the next one."""
    @case('behind_a_request_' + name)
    async def _(t):
        await t.up()
        await t.start(simple(t, opts=opts, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'))
        for label, rest in items:
            c = await t.conn()
            c.send((GET % ('/', '')).encode() + rest)
            first = await c.response(timeout=2)
            t.see(label, [first.status, await c.state(0.3)])
            c.close()
        t.see('log', sorted(await t.logs()))


rest_behind('at_once', [(repr(x)[2:-1], x) for x in (b'hello', b'h', b'H', b'G', b'GE', b'x', b'X', b'\x01', b' ', b'\r', b'\n', b'\r\n', b'\r\n\r\n', b'hello\r\n', b'0\r\n\r\n', b'get / HTTP/1.1\r\n', b'HELLO', b'GET')])


@case()
async def behind_a_request_later(t):
    await t.up()
    await t.start(simple(t, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'))
    for rest in (b'hello', b'H', b'x', b'\x01', b'\r\n', b'get'):
        c = await t.conn()
        c.send(GET % ('/', ''))
        first = await c.response(timeout=2)
        c.send(rest)
        t.see(repr(rest), [first.status, await c.state(0.3)])
        c.close()
    t.see('log', sorted(await t.logs()))


def head_bytes(name, heads, opts=None):
    """DOWNSTREAM_HEADER_BYTES_RECEIVED and what was sent, of odd heads, those that fail among them."""
    @case('bytes_of_heads_' + name)
    async def _(t):
        await t.up()
        await t.start(simple(t, opts=opts, log='%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_HEADER_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_RECEIVED% %REQUEST_HEADERS_BYTES%'))
        out = {}
        for label, raw in heads:
            c = await t.conn()
            c.send(raw)
            r = await c.response(timeout=1)
            out[label] = [r.status, body_repr(r.body)]
            c.close()
            await t.until(lambda: False, timeout=0.03)
        t.see('answers', out)
        t.see('log', await t.logs())


head_bytes('with_folds', [('fold', b'GET / HTTP/1.1\r\nHost: a\r\nx: a\r\n b\r\n\r\n'), ('fold first', b'GET / HTTP/1.1\r\nHost: a\r\nx: \r\n b\r\n\r\n'), ('CR', b'GET / HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n'), ('two folds', b'GET / HTTP/1.1\r\nHost: a\r\nx: a\r\n\tb\r\n  c\r\n\r\n'),
                          ('LF', b'GET / HTTP/1.1\nHost: a\nx: a\n b\n\n'), ('CR at the end', b'GET / HTTP/1.1\r\nHost: a\r\nx: a\r\r\n\r\n'), ('blanks', b'GET / HTTP/1.1\r\nHost:   a  \r\nx:\r\n\r\n')])
head_bytes('that_fail', [('1.0', b'GET / HTTP/1.0\r\nHost: a\r\nx: y\r\n\r\n'), ('0.9', b'GET / HTTP/0.9\r\nHost: a\r\n\r\n'), ('2.0', b'GET / HTTP/2.0\r\nHost: a\r\n\r\n'), ('no host', b'GET / HTTP/1.1\r\nx: y\r\n\r\n'), ('method', b'FOO / HTTP/1.1\r\nHost: a\r\n\r\n'),
                         ('both lengths', b'POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'), ('coding', b'POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: x\r\n\r\n'), ('length', b'POST / HTTP/1.1\r\nHost: a\r\nx: y\r\ncontent-length: a\r\n\r\n'),
                         ('name', b'GET / HTTP/1.1\r\nHost: a\r\nx y: z\r\nb: c\r\n\r\n'), ('NUL', b'GET / HTTP/1.1\r\nHost: a\r\nx: \x00\r\n\r\n'), ('host', b'GET / HTTP/1.1\r\nHost: "\r\nx: y\r\n\r\n'), ('underscore', b'GET / HTTP/1.1\r\nHost: a\r\nb: c\r\nx_y: z\r\n\r\n'),
                         ('connection', b'GET / HTTP/1.1\r\nHost: a\r\nconnection: x-forwarded-for\r\n\r\n'), ('no colon', b'GET / HTTP/1.1\r\nHost: a\r\nfoo\r\n\r\n'), ('fragment', b'GET /#x HTTP/1.1\r\nHost: a\r\n\r\n'), ('absolute', b'GET ftp://h/ HTTP/1.1\r\nHost: a\r\n\r\n'), ('https', b'GET https://h/ HTTP/1.1\r\nHost: a\r\n\r\n')],
           '{common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}}')


@case()
async def errors_of_heads_of_head_requests(t):
    """A head that fails is answered with a body whatever its method was; later refusals know that it was HEAD."""
    await t.up()
    await t.start(simple(t, opts='{delayed_close_timeout: 0.05s}', log='%RESPONSE_CODE% %BYTES_SENT% %DOWNSTREAM_WIRE_BYTES_SENT%'))
    for label, raw in (('version', b'HEAD / HTTP/1.0\r\nHost: a\r\n\r\n'), ('length', b'HEAD / HTTP/1.1\r\nHost: a\r\ncontent-length: x\r\n\r\n'), ('coding', b'HEAD / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: x\r\n\r\n'), ('url', b'HEAD ftp://x/ HTTP/1.1\r\nHost: a\r\n\r\n'),
                       ('name', b'HEAD / HTTP/1.1\r\nHost: a\r\nx y: z\r\n\r\n'), ('host', b'HEAD / HTTP/1.1\r\nHost: "\r\n\r\n'), ('large', b'HEAD / HTTP/1.1\r\nHost: a\r\nx: ' + b'y' * 70000 + b'\r\n\r\n'), ('many', b'HEAD / HTTP/1.1\r\nHost: a\r\n' + b'x: y\r\n' * 120 + b'\r\n')):
        c = await t.conn()
        c.send(raw)
        await c.state(1.5)
        t.see(label, [c.buf.split(b'\r\n')[0].decode(), c.buf.split(b'\r\n\r\n', 1)[1].decode()])
        c.close()
    t.see('log', await t.logs())


def attempts_bytes(name, answers, policy):
    @case('bytes_of_attempts_' + name)
    async def _(t):
        await t.up('u1', lambda m, n: answers[min(n, len(answers)) - 1])
        await t.start(simple(t, routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', 'retry_policy': Y(policy)}}],
                             log='%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_HEADER_BYTES_SENT% %UPSTREAM_HEADER_BYTES_RECEIVED% %UPSTREAM_REQUEST_ATTEMPT_COUNT%'))
        await t.req('/', 'POST', body='hello', headers=[('x-envoy-upstream-rq-timeout-ms', '0')])
        t.see('log', await t.logs())


FIVE = '{retry_on: "5xx", num_retries: 2, retry_back_off: {base_interval: 0.005s, max_interval: 0.005s}}'
attempts_bytes('that_answer', [resp(503, 'abc'), resp(503, 'abcd'), resp(200, 'x')], FIVE)
attempts_bytes('that_fail', [b'nonsense\r\n\r\n', None, resp(200, 'x')], FIVE)
attempts_bytes('that_all_fail', [b'nonsense\r\n\r\n'], FIVE)
attempts_bytes('that_all_answer', [resp(503, 'abc')], FIVE)
