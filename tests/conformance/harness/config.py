"""Envoy v3 configuration as Python dicts, built from small YAML fragments."""
import textwrap

import yaml


def Y(s):
    """A YAML fragment (or an object that is passed through)."""
    return yaml.safe_load(textwrap.dedent(s)) if isinstance(s, str) else s


def merge(a, b):
    """Deep merge of b into a (dicts merge, everything else replaces)."""
    for k, v in (b or {}).items():
        if isinstance(v, dict) and isinstance(a.get(k), dict):
            merge(a[k], v)
        else:
            a[k] = v
    return a


T_HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
T_ROUTER = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'
T_FILE_LOG = 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog'
T_HPO = 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions'


def router(**kw):
    return {'name': 'envoy.filters.http.router', 'typed_config': {'@type': T_ROUTER, **kw}}


def ftype(short):
    return 'type.googleapis.com/envoy.extensions.filters.http.' + short


def http_filter(name, type_, cfg=None):
    return {'name': name, 'typed_config': {'@type': ftype(type_), **(Y(cfg) or {})}}


def filelog(t, fmt, name='access.log', json_fmt=None, filter=None, omit_empty=None):
    c = {'@type': T_FILE_LOG, 'path': t.path(name)}
    if json_fmt is not None:
        c['log_format'] = {'json_format': json_fmt}
    elif fmt is not None:
        c['log_format'] = {'text_format_source': {'inline_string': fmt + '\n'}}
    if omit_empty is not None:
        c['log_format']['omit_empty_values'] = omit_empty
    d = {'name': 'envoy.access_loggers.file', 'typed_config': c}
    if filter:
        d['filter'] = Y(filter)
    return d


def addr(u):
    return {'socket_address': {'address': u.addr, 'port_value': u.port}}


def lbe(u, **kw):
    """One lb_endpoint."""
    return merge({'endpoint': {'address': addr(u)}}, Y(kw.pop('extra', None)) or kw)


def cluster(name, ups=(), extra=None, h2=False, timeout='1s', localities=None, hpo=None, type='STATIC'):
    c = {'name': name, 'type': type, 'connect_timeout': timeout, 'lb_policy': 'ROUND_ROBIN'}
    if not isinstance(ups, (list, tuple)):
        ups = [ups]
    if localities is not None:
        c['load_assignment'] = {'cluster_name': name, 'endpoints': localities}
    else:
        c['load_assignment'] = {'cluster_name': name, 'endpoints': [
            {'lb_endpoints': [u if isinstance(u, dict) else lbe(u) for u in ups]}]}
    if h2 or hpo:
        o = {'@type': T_HPO}
        if h2:
            o['explicit_http_config'] = {'http2_protocol_options': Y(h2) if isinstance(h2, (str, dict)) else {}}
        merge(o, Y(hpo) or {})
        c['typed_extension_protocol_options'] = {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': o}
    e = Y(extra)
    if e:
        merge(c, e)
        for k in [k for k, v in c.items() if v is None]:
            del c[k]
    return c


def hcm(t, routes=None, vhosts=None, opts=None, filters=(), log=None, logs=None, route_config=None, codec='AUTO', rt=None):
    """The HttpConnectionManager network filter."""
    if vhosts is None:
        vhosts = [{'name': 'v', 'domains': ['*'],
                   'routes': Y(routes) if routes is not None else Y('[{match: {prefix: "/"}, route: {cluster: c1}}]')}]
    rc = {'name': 'r', 'virtual_hosts': Y(vhosts)}
    merge(rc, Y(route_config) or {})
    c = {'@type': T_HCM, 'stat_prefix': 'in', 'codec_type': codec, 'route_config': rc,
         'http_filters': [Y(f) for f in filters] + [rt or router()]}
    if log is not None:
        c['access_log'] = [filelog(t, log)]
    if logs is not None:
        c['access_log'] = logs
    o = Y(opts)
    if o:
        merge(c, o)
        for k in [k for k, v in c.items() if v is None]:
            del c[k]
    return {'name': 'envoy.filters.network.http_connection_manager', 'typed_config': c}


def listener(t, filters, name='l1', port=None, extra=None, host='127.0.0.1'):
    port = port or t.port(name)
    setattr(t, name, port)
    l = {'name': name, 'address': {'socket_address': {'address': host, 'port_value': port}},
         'filter_chains': [{'filters': filters}]}
    return merge(l, Y(extra) or {})


def config(t, listeners, clusters, extra=None):
    c = {'admin': {'address': {'socket_address': {'address': '127.0.0.1', 'port_value': t.port('admin')}}},
         'static_resources': {'listeners': listeners, 'clusters': clusters}}
    return merge(c, Y(extra) or {})


def simple(t, ups=None, clusters=None, lextra=None, extra=None, copts=None, **kw):
    """One listener, one HCM; clusters default to c1 with the case's upstreams."""
    if clusters is None:
        clusters = [cluster('c1', ups if ups is not None else t.ups, copts)]
    return config(t, [listener(t, [hcm(t, **kw)], extra=lextra)], clusters, extra)

