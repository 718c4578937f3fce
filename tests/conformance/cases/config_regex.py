"""Regular expressions as RE2 reads them: what is refused, in which words, and how large a program may be."""
import re

from harness import *

HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'


def bootstrap(pattern, layer=None):
    route = {'match': {'safe_regex': {'regex': pattern}}, 'direct_response': {'status': 200}}
    chain = {'filters': [{'name': 'h', 'typed_config': {'@type': HCM, 'stat_prefix': 'a', 'route_config': {
        'name': 'r', 'virtual_hosts': [{'name': 'v', 'domains': ['*'], 'routes': [route]}]}}}]}
    out = {'static_resources': {'listeners': [{'name': 'l', 'address': {'socket_address': {'address': '127.0.0.1', 'port_value': 0}}, 'filter_chains': [chain]}]}}
    if layer is not None:
        out['layered_runtime'] = {'layers': [{'name': 'base', 'static_layer': layer}]}
    return out


WORDS = r"regex '.*' RE2 program size of .* necessary\.|(?:invalid|missing|bad|no argument|trailing|unexpected|pattern too) .*"


async def verdicts(t, patterns, layer=None):
    """The exit code of `--mode validate`, and RE2's words."""
    out = {}
    for pattern in patterns:
        code, log = await t.run_to_end(bootstrap(pattern, layer), args=('--mode', 'validate'))
        said = [re.sub(r'\x1b\[\d*m', '', w) for w in re.findall(WORDS, log)] if code else []
        out[pattern] = [code, said[-1:] and said[-1]]
    t.see('verdicts', out)


@case()
async def regex_program_of_a_hundred(t):
    await verdicts(t, ['a{96}', 'a{97}', 'a{48,}', '[a-c]{97}', '(?:ab|ac){32}', '(?:ab|ac){33}', '^a{200}', '^' + 'a' * 200, '(a{94})', '(a{95})', '(?i)a{96}', '(?i)a{97}',
                       '.{96}', '(?:a|b){97}', 'a{0,47}', 'a{0,48}', 'é{48}', 'é{49}'])


@case()
async def regex_program_of_alternations(t):
    hosts = ['host-%d.example.com' % n for n in range(12)]
    await verdicts(t, ['|'.join(hosts[:4]), '|'.join(hosts[:8]), '|'.join(hosts), '(?:%s)(?::\\d+)?' % '|'.join(hosts), '/(?:%s)/.*' % '|'.join('v%d' % n for n in range(40)),
                       '/api/(?:%s)(?:/[^/]+)*' % '|'.join(['users', 'user-groups', 'usage', 'orders', 'order-items', 'organisations'])])


@case()
async def regex_program_limit_by_runtime(t):
    await verdicts(t, ['abc', 'abcd', 'a{96}'], {'re2.max_program_size.error_level': 7})


@case()
async def regex_program_limit_raised_by_runtime(t):
    await verdicts(t, ['a{97}', 'a{996}', 'a{997}'], {'re2.max_program_size.error_level': '1000'})


@case()
async def regex_program_limit_that_is_no_number(t):
    await verdicts(t, ['a{96}', 'a{97}'], {'re2.max_program_size.error_level': 'text'})


@case()
async def regex_program_warning_by_runtime(t):
    await verdicts(t, ['abc', 'abcd'], {'re2.max_program_size.error_level': 1000, 're2.max_program_size.warn_level': 7})


@case()
async def regex_syntax_of_groups(t):
    await verdicts(t, ['(?P<n>a)', '(?<n>a)', '(?P<n>a)(?P<n>b)', '(?P<n-1>a)', '(?P<>a)', '(?P<n', "(?'n'a)", '(?P=n)', '(?=a)', '(?!a)', '(?<=a)', '(?<!a)', '(?>a)', '(?#c)', '(?i', '(?ii)a', '(?i-i)a',
                       '(?x)a', '(?)a', '(?-)a', '(', ')', '(a', 'a)'])


@case()
async def regex_syntax_of_repetitions(t):
    await verdicts(t, ['a++', 'a*+', 'a**', 'a{2}{3}', 'a{2}??', 'a{,2}', 'a{01}', 'a{1001}', 'a{2,1}', 'a{9999999999}', '*', '*?', '|*', '(*)', '^*', '(?i)*', '(?:a{100}){11}', '((a{10}){10}){11}', 'x{2}}', '{1}'])


@case()
async def regex_syntax_of_escapes(t):
    await verdicts(t, ['\\C', '\\pN', '\\p{Greek}', '\\p{greek}', '\\p{Foo}', '\\pX', '\\p', '\\z', '\\Z', '\\A', '\\G', '\\Qa.b\\E*', '\\Q\\E*', '\\E', '\\8', '\\1', '\\01', '\\400', '\\x4', '\\x{100}', '\\x{}', '\\h', '\\R', '\\K',
                       '\\e', '\\cA', '\\u0041', '\\_', '\\é', 'a\\', '[a\\', '[\\b]', '[\\A]'])


@case()
async def regex_syntax_of_classes(t):
    await verdicts(t, ['[', ']', '[]', '[]a]', '[^]', '[a-]', '[z-a]', '[a-\\d]', '[[:alpha:]]', '[[:foo:]]', '[:alpha:]', '[[=a=]]', '[\\pL\\d]', '[\\p{Foo}]', '[a-\\x]'])


@case()
async def regex_limit_of_every_kind_of_matcher(t):
    """Whatever takes a pattern has the limit."""
    out = {}
    big = 'a{97}'
    spots = {
        'header': {'match': {'prefix': '/', 'headers': [{'name': 'x', 'string_match': {'safe_regex': {'regex': big}}}]}, 'direct_response': {'status': 200}},
        'query': {'match': {'prefix': '/', 'query_parameters': [{'name': 'x', 'string_match': {'safe_regex': {'regex': big}}}]}, 'direct_response': {'status': 200}},
        'rewrite': {'match': {'prefix': '/'}, 'route': {'cluster': 'c', 'regex_rewrite': {'pattern': {'regex': big}, 'substitution': 'x'}}},
        'redirect': {'match': {'prefix': '/'}, 'redirect': {'regex_rewrite': {'pattern': {'regex': big}, 'substitution': 'x'}}},
    }
    for spot, route in spots.items():
        cfg = bootstrap('a')
        rc = cfg['static_resources']['listeners'][0]['filter_chains'][0]['filters'][0]['typed_config']['route_config']
        rc['virtual_hosts'][0]['routes'] = [route]
        cfg['static_resources']['clusters'] = [{'name': 'c'}]
        code, log = await t.run_to_end(cfg, args=('--mode', 'validate'))
        out[spot] = [code, re.findall(WORDS, log)[-1:]]
    t.see('verdicts', out)
