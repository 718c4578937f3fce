"""Log entries of tunnels when they are established: upgrades, CONNECT terminated here and forwarded."""
from harness import *

F = '%ACCESS_LOG_TYPE% %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% %RESP(x-up)%'
ON = '{access_log_options: {flush_log_on_tunnel_successfully_established: true}, upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]}'
WS = b'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
CONNECT = '[{match: {connect_matcher: {}}, route: {cluster: c1, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}, {match: {prefix: /}, route: {cluster: c1}}]'
FORWARD = '[{match: {connect_matcher: {}}, route: {cluster: c1, upgrade_configs: [{upgrade_type: CONNECT}]}}, {match: {prefix: /}, route: {cluster: c1}}]'


def switching(status=101):
    async def conn(c):
        m = await c.read_request()
        if m is None:
            return
        if status == 101:
            c.send(b'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-up: yes\r\n\r\n')
        else:
            c.send(resp(status, headers=[('x-up', 'no')]))
        while await c.fill():
            c.send(c.buf)
            c.buf = b''
    return conn


async def echo(c):
    while await c.fill():
        c.send(c.buf)
        c.buf = b''


async def tunnel(t, head, data=b'12345'):
    c = await t.conn()
    c.send(head)
    r = await c.response(head.split()[0].decode(), 3)
    t.see('status', r['status'])
    if r['status'] in (101, 200):
        c.send(data)
        await c.drain()
        got = b''
        while len(got) < len(data):
            got += c.buf
            c.buf = b''
            if len(got) < len(data) and not await c.fill():
                break
        t.see('echo', got.decode())
    c.close()
    t.see('log', await t.logs())


def case_of(name, opts, conn, head, **kw):
    @case('tunnel_established_' + name)
    async def _(t):
        await t.up('u1', conn=conn)
        await t.start(simple(t, opts=opts, log=F, **kw))
        await tunnel(t, head)


case_of('websocket', ON, switching(), WS)
case_of('websocket_off', ON.replace('true', 'false'), switching(), WS)
case_of('websocket_refused', ON, switching(403), WS)
case_of('connect_terminated', ON, echo, b'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n', routes=CONNECT)
case_of('with_start', ON.replace('{access_log_options: {', '{access_log_options: {flush_access_log_on_new_request: true, '), switching(), WS)


@case()
async def tunnel_established_log_type_filter(t):
    await t.up('u1', conn=switching())
    logs = [filelog(t, F, filter='{log_type_filter: {types: [DownstreamTunnelSuccessfullyEstablished]}}')]
    await t.start(simple(t, opts=ON, logs=logs))
    await tunnel(t, WS)


@case()
async def tunnel_established_not_for_plain_requests(t):
    await t.up('u1')
    await t.start(simple(t, opts=ON, log=F))
    t.see('r', (await t.req('/'))['status'])
    t.see('log', await t.logs())


@case()
async def tunnel_established_h2(t):
    """Extended CONNECT of HTTP/2 to an upstream that is upgraded."""
    await t.up('u1', conn=switching())
    opts = ON[:-1] + ', http2_protocol_options: {allow_connect: true}}'
    await t.start(simple(t, opts=opts, log=F))
    h = await t.h2()
    sid = h.request([(':method', 'CONNECT'), (':scheme', 'http'), (':path', '/'), (':authority', 'a'), (':protocol', 'websocket')], None, end=False)
    t.see('answered', bool(await t.until(lambda: h.st(sid).get('headers') or h.st(sid).get('status'))))
    h.close()
    t.see('log', await t.logs())
