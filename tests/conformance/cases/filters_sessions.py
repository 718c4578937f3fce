"""stateful_session: what is counted, and what clients are told where a strict session's host is gone."""
import base64

from harness import *

LOG = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'
HEADER = '{"@type": type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState, name: x-session}'
SS = lambda more='': http_filter('ss', 'stateful_session.v3.StatefulSession', '{session_state: {name: envoy.http.stateful_session.header, typed_config: %s}%s}' % (HEADER, more))
GONE = base64.b64encode(b'127.0.0.1:1').decode()


def sessions(name, more, routes=None, codes=True):
    """A new session, one that goes on, one whose host is gone, and one that is none."""
    @case('session_' + name)
    async def _(t):
        await t.up('h0')
        await t.up('h1')
        await t.start(simple(t, filters=[SS(more)], log=LOG, routes=routes))
        first = await t.req('/')
        keep = first.h('x-session')
        for key, value in (('again', keep), ('gone', GONE), ('none', '!!'), ('empty', '')):
            r = await t.req('/', headers=[('x-session', value)])
            t.see(key, [r.status, r.body.decode() if r.status != 200 else '', bool(r.h('x-session'))])
        t.see('stats', await t.stats(regex='stateful_session'))
        t.see('log', await t.logs())


sessions('counted', ', stat_prefix: own')
sessions('counted_strict', ', stat_prefix: own, strict: true')
sessions('not_counted', '')
sessions('strict_status', ', strict: true, status_on_strict_destination_not_found: 428')
sessions('strict_status_not_strict', ', status_on_strict_destination_not_found: 428')
sessions('strict_status_odd', ', strict: true, status_on_strict_destination_not_found: 999, stat_prefix: own')


@case()
async def session_counted_off_its_path(t):
    await t.up('h0')
    f = http_filter('ss', 'stateful_session.v3.StatefulSession', '{stat_prefix: own, session_state: {name: envoy.http.stateful_session.cookie, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState, cookie: {name: sess, path: /p, ttl: 60s}}}}')
    r = {'match': {'prefix': '/p/own'}, 'route': {'cluster': 'c1'}, 'typed_per_filter_config': {'ss': {'@type': ftype('stateful_session.v3.StatefulSessionPerRoute'), 'stateful_session': Y('{stat_prefix: other, session_state: {name: envoy.http.stateful_session.header, typed_config: %s}}' % HEADER)}}}
    await t.start(simple(t, filters=[f], log=LOG, routes=[r, {'match': {'path': '/p/d'}, 'direct_response': {'status': 204}}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}]))
    for path in ('/off', '/p', '/p/own', '/p/d'):
        t.see(path, (await t.req(path)).status)
    t.see('stats', await t.stats(regex='stateful_session'))
    t.see('log', await t.logs())
