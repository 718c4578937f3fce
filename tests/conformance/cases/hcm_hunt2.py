"""More of what random requests told apart: statuses without a class, rewrites of an empty host, targets that are refused."""
from harness import *

GET = 'GET %s HTTP/1.1\r\nHost: %s\r\n\r\n'


@case()
async def cluster_counters_of_statuses_without_a_class(t):
    await t.up('u1', lambda m, n: resp(int(m['path'][1:]), 'x', reason='R'))
    await t.start(simple(t, routes='[{match: {prefix: "/"}, route: {cluster: c1}}]', log='%RESPONSE_CODE% %RESPONSE_FLAGS%'))
    for status in (600, 777, 999, 599, 200):
        await t.req('/%d' % status)
    t.see('counters', {k: v for k, v in (await t.stats(regex=r'^(cluster\.c1|http\.in)\..*(_\dxx|_\d\d\d|rq_completed|unknown)$')).items() if v})
    t.see('log', await t.logs())


@case()
async def virtual_cluster_counters_of_statuses_without_a_class(t):
    await t.up('u1', lambda m, n: resp(int(m['path'][1:]), 'x', reason='R'))
    await t.start(simple(t, vhosts=[{'name': 'v', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}],
                                     'virtual_clusters': [{'name': 'vc', 'headers': [{'name': ':path', 'string_match': {'prefix': '/'}}]}]}]))
    for status in (600, 999, 200):
        await t.req('/%d' % status)
    t.see('counters', {k: v for k, v in (await t.stats(regex=r'^vhost\..*(_\dxx|_\d\d\d|rq_completed|unknown)$')).items() if v})


def rewritten(name, route, hosts=('', 'a', 'a:80')):
    @case('host_rewrite_' + name)
    async def _(t):
        await t.up()
        await t.start(simple(t, routes=[{'match': {'prefix': '/'}, 'route': {'cluster': 'c1', **Y(route)}}]))
        for host in hosts:
            c = await t.conn()
            c.send(GET % ('/p', host))
            r = await c.response(timeout=2)
            c.close()
            m = t.ups[0].reqs[-1] if t.ups[0].reqs else None
            t.see(repr(host), [r.status, {k: v for k, v in m.raw_headers if k in ('host', 'x-envoy-original-host', 'x-forwarded-host')} if m else None])


rewritten('of_an_empty_host', '{host_rewrite_literal: b}')
rewritten('of_an_empty_host_appending', '{host_rewrite_literal: b, append_x_forwarded_host: true}')
rewritten('by_an_empty_header', '{host_rewrite_header: x-none}')
rewritten('by_path', '{host_rewrite_path_regex: {pattern: {regex: "^/(.+)$"}, substitution: "\\\\1"}}')


@case()
async def https_target_on_plain_text(t):
    """Refused by the codec: neither the log nor a mapper sees the request."""
    await t.up()
    mappers = [{'filter': {'header_filter': {'header': {'name': ':method', 'present_match': True}}}, 'status_code': 418}]
    await t.start(simple(t, opts={'use_remote_address': True, 'local_reply_config': {'mappers': mappers}},
                         log='%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:PATH)% %REQUEST_HEADERS_BYTES% %BYTES_SENT%'))
    for method in ('GET', 'POST'):
        c = await t.conn()
        c.send('%s https://h.example/p HTTP/1.1\r\nHost: a\r\n%s\r\n' % (method, 'content-length: 0\r\n' if method == 'POST' else ''))
        await c.state(1.5)
        t.see(method, [c.buf.split(b'\r\n')[0].decode(), c.buf.split(b'\r\n\r\n', 1)[1].decode()])
        c.close()
    t.see('log', await t.logs())


@case()
async def https_target_behind_a_proxy(t):
    await t.up()
    await t.start(simple(t, opts='{use_remote_address: true, xff_num_trusted_hops: 1}', log='%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%'))
    r = await t.req(raw='GET https://h.example/p HTTP/1.1\r\nHost: a\r\nx-forwarded-for: 1.2.3.4\r\n\r\n')
    t.see('status', r.status)
    t.see('log', await t.logs())
