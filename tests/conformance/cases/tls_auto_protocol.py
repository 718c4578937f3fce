"""What is spoken to a cluster's hosts, and what is offered for it (ALPN): auto_config above all."""
import ssl as pyssl

from harness import *

TLS_U = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'
RAW = 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'
COUNTS = r'^cluster\.c1\.upstream_(cx_(total|http1_total|http2_total|active|connect_fail)|rq_(total|pending_total))$'
LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_PROTOCOL%'


class Either(H2Up):
    """Speaks what was agreed on by ALPN, and HTTP/1 where nothing was."""

    def __init__(self, *a, **kw):
        super().__init__(*a, **kw)
        self.agreed = []

    async def _conn(self, r, w):
        agreed = w.get_extra_info('ssl_object').selected_alpn_protocol()
        self.agreed.append(agreed)
        if agreed == 'h2':
            await super()._conn(r, w)
        else:
            await Up._conn(self, r, w)


def server(offers):
    c = pyssl.SSLContext(pyssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(os.path.join(certs(), 'up.crt'), os.path.join(certs(), 'up.key'))
    if offers:
        c.set_alpn_protocols(offers)
    return c


async def upstream(t, *offers, **kw):
    u = await Either(t, 'u1', tls=server(list(offers)), **kw).listen()
    t.ups.append(u)
    return u


def tls(**common):
    return {'name': 'tls', 'typed_config': {'@type': TLS_U, 'common_tls_context': common}}


def auto(u, socket=None, http1=None, http2=None, extra=None, **common):
    config = {}
    if http1 is not None:
        config['http_protocol_options'] = http1
    if http2 is not None:
        config['http2_protocol_options'] = http2
    return cluster('c1', u, {'transport_socket': socket or tls(**common), **(extra or {})}, hpo={'auto_config': config})


async def start(t, c, **kw):
    await t.start(config(t, [listener(t, [hcm(t, log=LOG, **kw)])], [c]))


async def closing(t, u, status):
    t.see('status', status)
    t.see('agreed', u.agreed)
    t.see('stats', await t.stats(regex=COUNTS))
    t.see('log', await t.logs())


def chosen(name, *offers, **kw):
    @case(name)
    async def f(t):
        u = await upstream(t, *offers)
        await start(t, auto(u, **kw))
        await closing(t, u, [(await t.req('/%d' % i)).status for i in range(2)])


chosen('auto_picks_http2', 'h2', 'http/1.1')
chosen('auto_picks_http1', 'http/1.1')
chosen('auto_without_alpn', )
chosen('auto_of_an_unknown_protocol', 'custom', alpn_protocols=['custom'])
chosen('auto_offers_what_the_context_says', 'h2', 'http/1.1', alpn_protocols=['http/1.1'])
chosen('auto_prefers_the_order_of_the_server', 'http/1.1', 'h2')
chosen('auto_with_options', 'h2', 'http/1.1', http1={}, http2={'max_concurrent_streams': 5})


def at_once(name, n, *offers, **kw):
    """So many requests at once, before there is any connection."""
    @case(name)
    async def f(t):
        u = await upstream(t, *offers)
        await start(t, auto(u, **kw))
        rs = await asyncio.gather(*[t.req('/%d' % i) for i in range(n)])
        t.see('status', [r.status for r in rs])
        t.see('stats', await t.stats(regex=r'^cluster\.c1\.upstream_(cx_(http2_total|connect_fail)|rq_(total|pending_total))$'))
        t.see('many', (await t.stats('cluster.c1.upstream_cx_total'))['cluster.c1.upstream_cx_total'] > 1)


at_once('auto_many_at_once_over_http2', 4, 'h2', 'http/1.1')
at_once('auto_many_at_once_over_http1', 4, 'http/1.1')


@case()
async def auto_limits_streams(t):
    """max_concurrent_streams opens further connections."""
    gate = asyncio.Event()

    async def hold(st):
        await gate.wait()
        st.respond(200, [], end=True)
    u = await upstream(t, 'h2', handler=hold)
    await start(t, auto(u, http2={'max_concurrent_streams': 1}))
    rs = [asyncio.ensure_future(t.req('/%d' % i)) for i in range(3)]
    await t.stat_until('cluster.c1.upstream_rq_active', lambda n: n >= 3)
    gate.set()
    t.see('status', [(await r).status for r in rs])
    t.see('stats', await t.stats(regex=COUNTS))


@case()
async def auto_learns_anew(t):
    """A host that speaks HTTP/2 may speak HTTP/1 after its connection has ended."""
    u = await upstream(t, 'h2', 'http/1.1')
    await start(t, auto(u))
    t.see('first', (await t.req('/')).status)
    for side in list(u.live):
        side.close()
    await t.stat_until('cluster.c1.upstream_cx_active', lambda n: n == 0)
    u.tls.set_alpn_protocols(['http/1.1'])
    t.see('second', (await t.req('/')).status)
    t.see('agreed', u.agreed)
    t.see('stats', await t.stats(regex=COUNTS))
    t.see('log', await t.logs())


@case()
async def auto_cannot_connect(t):
    await start(t, auto(t.dead()))
    t.see('r', await t.req('/'))
    t.see('stats', await t.stats(regex=COUNTS))
    t.see('log', await t.logs())


@case()
async def auto_body_and_trailers(t):
    u = await upstream(t, 'h2')
    await start(t, auto(u))
    r = await t.req('/', 'POST', body=b'x' * 100000)
    t.see('r', [r.status, len(u.reqs)])
    t.see('log', await t.logs())


@case()
async def auto_of_an_http2_client(t):
    u = await upstream(t, 'http/1.1')
    await start(t, auto(u))
    await t.h2req('/')
    t.see('reqs', len(u.reqs))
    t.see('log', await t.logs())


def offered(name, hpo, h2=False):
    @case('alpn_offered_' + name)
    async def f(t):
        u = await upstream(t, 'h2', 'http/1.1')
        await start(t, cluster('c1', u, {'transport_socket': tls()}, h2=h2, hpo=hpo))
        await closing(t, u, (await t.req('/')).status)


offered('by_default', None)
offered('of_http2', None, h2=True)
offered('of_http1', {'explicit_http_config': {'http_protocol_options': {}}})
offered('of_the_downstream_protocol', {'use_downstream_protocol_config': {'http2_protocol_options': {}}})


def refused(name, make):
    @case('auto_refused_' + name)
    async def f(t):
        code, _ = await t.run_to_end(config(t, [listener(t, [hcm(t)])], [make(t)]), args=['--mode', 'validate'])
        t.see('code', code)


raw = lambda: {'name': 'raw', 'typed_config': {'@type': RAW}}
refused('without_tls', lambda t: cluster('c1', t.dead(), hpo={'auto_config': {}}))
refused('with_a_raw_socket', lambda t: auto(t.dead(), raw()))
refused('with_a_raw_match', lambda t: auto(t.dead(), extra={'transport_socket_matches': [{'name': 'm', 'match': {}, 'transport_socket': raw()}]}))
refused('nothing_wrong', lambda t: auto(t.dead()))
