"""ip_tagging from a file, read once or whenever something is moved beside it."""
from harness import *

TAGS = lambda name, net='127.0.0.0', length=8: 'ip_tags:\n- {ip_tag_name: %s, ip_list: [{address_prefix: %s, prefix_len: %d}]}\n' % (name, net, length)
IPT = lambda t, name, watched=None, more='{}': http_filter('ipt', 'ip_tagging.v3.IPTagging', {'ip_tags_datasource': {'filename': t.path(name), **({'watched_directory': {'path': t.path(watched)}} if watched else {})}, **Y(more)})


async def tags(t, u, **kw):
    await t.req(**kw)
    return [(k, v) for k, v in u.reqs[-1]['raw_headers'] if 'tag' in k.lower()]


def of_file(name, text, file='tags.yaml', more='{}', **kw):
    @case('ip_tag_file_' + name)
    async def _(t):
        u = await t.up()
        t.write(file, text)
        await t.start(simple(t, filters=[IPT(t, file, more=more)]))
        t.see('tags', await tags(t, u, **kw))
        t.see('stats', await t.stats(regex='ip_tagging'))


of_file('yaml', TAGS('local'))
of_file('json', '{"ip_tags": [{"ip_tag_name": "j", "ip_list": [{"address_prefix": "127.0.0.1", "prefix_len": 32}]}]}', 'tags.json')
of_file('of_several', TAGS('one') + '- {ip_tag_name: two, ip_list: [{address_prefix: 10.0.0.0, prefix_len: 8}]}\n- {ip_tag_name: three, ip_list: [{address_prefix: 127.0.0.1}, {address_prefix: 127.0.0.1, prefix_len: 99}]}\n')
of_file('of_none', '{}')
of_file('of_none_that_fits', TAGS('far', '10.0.0.0'))
of_file('with_a_header', TAGS('local'), more='{ip_tag_header: {header: x-tag, action: APPEND_IF_EXISTS_OR_ADD}}', headers=[('x-tag', 'mine')])
of_file('sanitizes_its_header', TAGS('local'), more='{ip_tag_header: {header: x-tag}}', headers=[('x-tag', 'mine')])
of_file('of_internal_requests', TAGS('local'), more='{request_type: INTERNAL}', headers=[('x-forwarded-for', '8.8.8.8')])


@case('ip_tag_file_follows_moves')
async def _(t):
    """Whatever is moved into the directory has the file read again; what is wrong leaves the tags as they were."""
    import os
    u = await t.up()
    os.mkdir(t.path('d'))
    t.write('d/tags.yaml', TAGS('first'))
    await t.start(simple(t, filters=[IPT(t, 'd/tags.yaml', 'd')]))
    success = 'http.in.ip_tagging.reload_success'
    t.see('first', await tags(t, u))
    t.see('first stats', await t.stats(regex='ip_tagging'))
    t.move_in('d/tags.yaml', TAGS('second'))
    await t.stat_until(success, lambda v: v == 1)
    t.see('second', await tags(t, u))
    t.move_in('d/tags.yaml', TAGS('third', 'nonsense'))
    t.move_in('d/tags.yaml', ': no yaml [')
    t.move_in('d/other', 'x')
    t.move_in('d/tags.yaml', TAGS('fourth'))
    await t.until(lambda: _has(t, u, 'fourth'))
    t.see('fourth', await tags(t, u))
    before = (await t.stats(success))[success]
    t.move_in('d/other', 'y')
    await t.stat_until(success, lambda v: v > before)
    t.see('any move counts', (await t.stats(success))[success] - before)
    t.move_in('d/tags.yaml', '{}')
    await t.until(lambda: _has(t, u, None))
    t.see('none', await tags(t, u))


async def _has(t, u, name):
    found = await tags(t, u)
    return bool(found) and found[0][1] == name if name else not found


@case('ip_tag_file_without_a_directory_is_read_once')
async def _(t):
    u = await t.up()
    t.write('tags.yaml', TAGS('first'))
    await t.start(simple(t, filters=[IPT(t, 'tags.yaml')]))
    t.see('first', await tags(t, u))
    t.move_in('tags.yaml', TAGS('second'))
    await t.pass_time(0.3)
    t.see('still', await tags(t, u))


@case('ip_tag_file_steers_routes')
async def _(t):
    u = await t.up()
    t.write('tags.yaml', TAGS('vip'))
    routes = [{'match': {'prefix': '/', 'headers': [{'name': 'x-envoy-ip-tags', 'string_match': {'contains': 'vip'}}]}, 'direct_response': {'status': 201}}, {'match': {'prefix': '/'}, 'route': {'cluster': 'c1'}}]
    await t.start(simple(t, filters=[IPT(t, 'tags.yaml')], routes=routes))
    t.see('status', (await t.req()).status)


@case('ip_tag_file_verdicts')
async def _(t):
    for name, text in (('good.yaml', TAGS('a')), ('good.json', '{}'), ('a.yml', TAGS('a')), ('a.txt', TAGS('a')), ('unknown.yaml', 'other: 1\n'), ('bad.yaml', TAGS('a', '1.2.3.4.5')), ('broken.yaml', ': ['), ('noname.yaml', 'ip_tags: [{ip_list: []}]')):
        t.write(name, text)

    async def code(ds, more='{}'):
        f = http_filter('ipt', 'ip_tagging.v3.IPTagging', {**({'ip_tags_datasource': ds} if ds is not None else {}), **Y(more)})
        return 'refused' if (await t.run_to_end(simple(t, [t.dead('d')], filters=[f]), args=('--mode', 'validate')))[0] else 'taken'
    t.dead('u1')
    for name in ('good.yaml', 'good.json', 'a.yml', 'a.txt', 'unknown.yaml', 'bad.yaml', 'broken.yaml', 'noname.yaml', 'missing.yaml'):
        t.see(name, await code({'filename': t.path(name)}))
    t.see('inline', await code({'inline_string': TAGS('a')}))
    t.see('environment', await code({'environment_variable': 'HOME'}))
    t.see('nothing', await code({}))
    t.see('no name', await code({'filename': ''}))
    t.see('neither', await code(None))
    t.see('both', await code({'filename': t.path('good.yaml')}, '{ip_tags: [{ip_tag_name: a, ip_list: [{address_prefix: 1.2.3.4}]}]}'))
    t.see('directory', await code({'filename': t.path('good.yaml'), 'watched_directory': {'path': t.path('')}}))
    t.see('no directory', await code({'filename': t.path('good.yaml'), 'watched_directory': {'path': t.path('none')}}))
