"""What random exchanges over HTTP/1 and probes of the admin port found: 100 of the proxy's own, who is counted as the closer, stats that are in use."""
from harness import *

CLOSES = ('http.in.downstream_cx_destroy_remote', 'http.in.downstream_cx_destroy_local', 'http.in.downstream_cx_delayed_close_timeout', 'http.in.downstream_cx_destroy_remote_active_rq')
DIRECT = '[{match: {prefix: /direct}, direct_response: {status: 200}}, {match: {prefix: /}, route: {cluster: c1}}]'
CHUNKED = 'transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'


def informed(name, opts, raw):
    """What the log calls a request whose client goes after a 100 that the proxy gave by itself."""
    @case('informed_' + name)
    async def _(t):
        async def never(c):
            await c.read_request(body=False)
            await c.fill()
        await t.up(conn=never)
        await t.start(simple(t, log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%', opts=opts))
        c = await t.conn()
        c.send(raw)
        t.see('line', (await c.line()).decode())
        await t.stat_until('cluster.c1.upstream_rq_total', lambda n: n == 1)
        c.close()
        await t.stat_until('http.in.downstream_cx_destroy', lambda n: n == 1)
        t.see('stats', await t.stats('http.in.downstream_rq_1xx', 'http.in.downstream_rq_completed'))
        t.see('log', await t.logs())

EXPECTS = 'POST / HTTP/1.1\r\nHost: a\r\nexpect: 100-continue\r\n'
informed('by_100_then_the_client_goes', None, EXPECTS + 'content-length: 5\r\n\r\n')
informed('by_100_then_the_client_goes_in_the_body', None, EXPECTS + 'content-length: 5\r\n\r\nab')
informed('by_100_then_the_client_goes_behind_the_body', None, EXPECTS + 'content-length: 2\r\n\r\nab')


def closer(name, raw, end, lines=1):
    """Who counts as the one that closes a connection whose request was answered before it was read to its end."""
    @case('closer_of_' + name)
    async def _(t):
        await t.up()
        await t.start(simple(t, routes=DIRECT))
        c = await t.conn()
        c.send(raw)
        await c.response()
        getattr(c, end)()
        await t.stat_until('http.in.downstream_cx_destroy', lambda n: n == 1)
        t.see('stats', await t.stats(*CLOSES))

for end in ('close', 'reset'):
    closer('a_direct_response_to_chunks_' + end, 'POST /direct HTTP/1.1\r\nHost: a\r\n' + CHUNKED, end)
    closer('a_direct_response_to_a_body_' + end, 'POST /direct HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\nabc', end)
    closer('a_direct_response_to_half_a_body_' + end, 'POST /direct HTTP/1.1\r\nHost: a\r\ncontent-length: 9\r\n\r\nabc', end)
    closer('a_direct_response_' + end, 'GET /direct HTTP/1.1\r\nHost: a\r\n\r\n', end)
    closer('a_bad_head_' + end, 'GARBAGE\r\n\r\n', end)
    closer('a_head_without_host_' + end, 'GET / HTTP/1.1\r\n\r\n', end)
    closer('a_request_that_asks_for_the_end_' + end, 'GET /direct HTTP/1.1\r\nHost: a\r\nconnection: close\r\n\r\n', end)
    closer('a_plain_request_' + end, 'GET /a HTTP/1.1\r\nHost: a\r\n\r\n', end)


def masked(name, query):
    """A mask may not end at what is an `Any`."""
    @case('config_dump_mask_' + name, group='admin')
    async def _(t):
        await t.up()
        await t.start(simple(t))
        status, _ = await t.admin('/config_dump?' + query)
        t.see('answer', [status, t.last_admin.h('content-type')])

masked('of_a_cluster', 'resource=static_clusters&mask=cluster')
masked('of_a_cluster_and_its_time', 'resource=static_clusters&mask=cluster,last_updated')
masked('of_a_listener', 'resource=static_listeners&mask=listener')
masked('of_a_route_configuration', 'resource=static_route_configs&mask=route_config')
masked('of_a_name_in_a_cluster', 'resource=static_clusters&mask=cluster.name')
masked('of_a_message_in_a_cluster', 'resource=static_clusters&mask=cluster.load_assignment')


@case('addresses_that_are_looked_up', group='dns')
async def _(t):
    await t.up()
    await t.start(simple(t, copts={'type': 'STRICT_DNS'}))
    await t.req('/')
    t.see('stats', await t.stats(regex=r'^(dns\.cares\.(resolve_total|pending|not_found|get_addr)|cluster\.c1\.update_)'))


@case('stats_in_use_of_a_connection', group='admin')
async def _(t):
    await t.up()
    await t.start(simple(t))
    await t.req('/')
    _, body = await t.admin('/stats?usedonly&filter=upstream_cx_(rx|tx)_bytes_buffered')
    t.see('used', [line.partition(':')[0] for line in body.splitlines()])


@case('head_of_a_long_page', group='admin')
async def _(t):
    """An answer to HEAD that is longer than what is copied behind a head: another request on the connection shows where it ends."""
    await t.up()
    await t.start(simple(t))
    c = await t.conn(t.admin_port)
    c.send('HEAD /help HTTP/1.1\r\nHost: a\r\n\r\n')
    m = await c.response('HEAD')
    c.send('GET /ready HTTP/1.1\r\nHost: a\r\n\r\n')
    t.see('head', m['status'])
    t.see('next line', (await c.line()).decode())


def selectors(name, **selector):
    """Selectors without keys are none."""
    @case('subsets_' + name, group='config')
    async def _(t):
        await t.up()
        cfg = simple(t, copts={'lb_subset_config': {'fallback_policy': 'ANY_ENDPOINT', 'subset_selectors': [selector]}})
        code, _ = await t.run_to_end(cfg, args=('--mode', 'validate'))
        t.see('taken', code == 0)

selectors('without_keys_and_keys_to_fall_back_to', fallback_policy='KEYS_SUBSET', fallback_keys_subset=['a'])
selectors('without_keys_and_nothing_to_fall_back_to', fallback_policy='KEYS_SUBSET')
selectors('with_keys_and_others_to_fall_back_to', keys=['b'], fallback_policy='KEYS_SUBSET', fallback_keys_subset=['a'])


def field_size(name, kb, **hcm_options):
    """`max_header_field_size_kb` beside the limit of whole heads."""
    @case('header_field_size_' + name, group='config')
    async def _(t):
        await t.up()
        cfg = simple(t, opts={'http2_protocol_options': {'max_header_field_size_kb': kb}, **hcm_options})
        code, _ = await t.run_to_end(cfg, args=('--mode', 'validate'))
        t.see('taken', code == 0)

field_size('of_the_default', 60)
field_size('above_the_default', 64)
field_size('above_the_limit', 97, max_request_headers_kb=96)
field_size('of_the_limit', 96, max_request_headers_kb=96)


@case('header_field_size_of_a_cluster', group='config')
async def _(t):
    await t.up()
    code, _ = await t.run_to_end(simple(t, clusters=[cluster('c1', t.ups, h2={'max_header_field_size_kb': 200})]), args=('--mode', 'validate'))
    t.see('taken', code == 0)
