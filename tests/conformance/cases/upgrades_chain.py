"""A WebSocket through two proxies, HTTP/1 to the first, HTTP/2 between them, HTTP/1 behind: what each of them says when a setting is missing."""
from harness import *

LOG = '%REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%'
UP = {'upgrade_configs': [{'upgrade_type': 'websocket'}]}
ALLOW = {'http2_protocol_options': {'allow_connect': True}}
ASK = b'GET /chat HTTP/1.1\r\nHost: ws.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'


def answering(answer=b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'):
    async def conn(c):
        m = await c.read_request(body=False)
        if m is None:
            return
        c.send(answer)
        while await c.fill():
            c.send(c.buf.upper())
            c.buf = b''
            await c.drain()
    return conn


def chain(name, front=UP, back=merge(dict(UP), ALLOW), h2=True, back_codec='AUTO', back_h2=False, answer=None, front_route=None, back_route=None):
    """`front` and `back` are fields of the connection managers; `h2` says how the front speaks to the back."""
    @case('chain_' + name)
    async def _(t):
        u = await t.up('u1', conn=answering(*([answer] if answer else [])))
        b = Up(t, 'pb')
        route = lambda more: [{'match': {'prefix': '/'}, 'name': 'all', 'route': merge({'cluster': 'c1'}, more or {})}]
        back_hcm = hcm(t, routes=route(back_route), opts=back, codec=back_codec, logs=[filelog(t, LOG, name='back.log')])
        await t.start(config(t, [listener(t, [back_hcm], name='lb', port=b.port)], [cluster('c1', u, h2=back_h2)]), name='B')
        front_hcm = hcm(t, routes=route(front_route), opts=front, logs=[filelog(t, LOG, name='front.log')])
        await t.start(config(t, [listener(t, [front_hcm])], [cluster('c1', b, h2=h2)]), name='A')
        c = await t.conn()
        c.send(ASK)
        r = await c.response(timeout=3)
        t.see('r', r)
        if r.status == 101:
            c.send(b'hello')
            try:
                t.see('echo', await asyncio.wait_for(c.exactly(5), 0.6))
            except (asyncio.TimeoutError, Closed) as e:
                t.see('echo', type(e).__name__)
        c.close()
        t.see('front', await t.logs('front.log'))
        t.see('back', await t.logs('back.log', stop=False))


chain('whole')
chain('front_forbids', front=None)
chain('front_route_forbids', front_route={'upgrade_configs': [{'upgrade_type': 'websocket', 'enabled': False}]})
chain('front_route_allows', front=None, front_route={'upgrade_configs': [{'upgrade_type': 'websocket'}]})
chain('back_forbids', back=ALLOW)
chain('back_route_forbids', back_route={'upgrade_configs': [{'upgrade_type': 'websocket', 'enabled': False}]})
chain('back_without_allow_connect', back=UP)
chain('back_without_both', back=None)
chain('back_spares_the_connection', back=merge(dict(UP), {'http2_protocol_options': {'override_stream_error_on_invalid_http_message': True}}))
chain('front_speaks_http1', h2=False)
chain('front_speaks_http1_to_http2', h2=False, back_codec='HTTP2')
chain('back_serves_http1', back_codec='HTTP1')
chain('back_speaks_http2_behind', back_h2=True)
chain('behind_refuses', answer=b'HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno')
chain('behind_answers_200', answer=b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
