"""A scripted external authorisation service (`envoy.service.auth.v3.Authorization`) over gRPC."""
from .protobuf import STRUCT, decode, encode, struct_of

_PAIR = {1: ('key', 'str'), 2: ('value', 'str')}
_ADDRESS = {1: ('socket_address', {1: ('protocol', 'int'), 2: ('address', 'str'), 3: ('port_value', 'int')}), 2: ('pipe', {1: ('path', 'str')})}
_PEER = {1: ('address', _ADDRESS), 2: ('service', 'str'), 3: ('labels[]', _PAIR), 4: ('principal', 'str'), 5: ('certificate', 'str')}
_HTTP = {1: ('id', 'str'), 2: ('method', 'str'), 3: ('headers[]', _PAIR), 13: ('header_map', {1: ('headers[]', {1: ('key', 'str'), 2: ('value', 'str'), 3: ('raw_value', 'hex')})}),
         4: ('path', 'str'), 5: ('host', 'str'), 6: ('scheme', 'str'), 7: ('query', 'str'), 8: ('fragment', 'str'), 9: ('size', 'int'), 10: ('protocol', 'str'), 11: ('body', 'str'), 12: ('raw_body', 'hex')}
_METADATA = {1: ('filter_metadata[]', {1: ('key', 'str'), 2: ('value', STRUCT)}), 2: ('typed_filter_metadata[]', {1: ('key', 'str'), 2: ('value', {1: ('type_url', 'str'), 2: ('value', 'hex')})})}
_REQUEST = {1: ('attributes', {1: ('source', _PEER), 2: ('destination', _PEER), 4: ('request', {1: ('time', {}), 2: ('http', _HTTP)}), 10: ('context_extensions[]', _PAIR),
                               11: ('metadata_context', _METADATA), 13: ('route_metadata_context', _METADATA), 12: ('tls_session', {1: ('sni', 'str')})})}
_OPTION = {1: ('header', {1: ('key', 'str'), 2: ('value', 'str'), 3: ('raw_value', 'str')}), 2: ('append', {1: ('value', 'int')}), 3: ('append_action', 'int'), 4: ('keep_empty_value', 'int')}
_DENIED = {1: ('status', {1: ('code', 'int')}), 2: ('headers[]', _OPTION), 3: ('body', 'str')}
_RESPONSE = {1: ('status', {1: ('code', 'int'), 2: ('message', 'str')}), 2: ('denied_response', _DENIED), 5: ('error_response', _DENIED), 4: ('dynamic_metadata', STRUCT),
             3: ('ok_response', {2: ('headers[]', _OPTION), 3: ('dynamic_metadata', STRUCT), 5: ('headers_to_remove[]', 'str'), 6: ('response_headers_to_add[]', _OPTION),
                                 7: ('query_parameters_to_set[]', _PAIR), 8: ('query_parameters_to_remove[]', 'str')})}


def option(key, value='', **kw):
    """A HeaderValueOption."""
    return {'header': {'key': key, 'value': value}, **kw}


def check_response(message):
    """The bytes of a CheckResponse; structs are given as plain objects."""
    message = dict(message)
    if 'dynamic_metadata' in message:
        message['dynamic_metadata'] = struct_of(message['dynamic_metadata'])
    return encode(_RESPONSE, message)


def _plain(v):
    if isinstance(v, list):
        pairs = all(isinstance(x, dict) and set(x) <= {'key', 'value'} for x in v)
        if pairs and len({x.get('key') for x in v}) == len(v):
            return {x.get('key', ''): _plain(x.get('value', '')) for x in v}
        return [_plain(x) for x in v]
    return {k: _plain(x) for k, x in v.items()} if isinstance(v, dict) else v


class Authz:
    """An upstream that is asked. `answer(n, request)` gives a CheckResponse as a dict, or a coroutine that takes the stream."""

    def __init__(self, t, answer):
        self.t, self.answer, self.up, self.asked = t, answer, None, []

    async def listen(self, name='authz', **kw):
        async def take(s):
            body = await s.body()
            request = decode(_REQUEST, body[5:])
            self.asked.append((s.headers, request))
            answer = self.answer(len(self.asked), request)
            if not isinstance(answer, dict):
                return await answer(s)
            await reply(s, check_response(answer))
        self.up = await self.t.h2up(name, take, **kw)
        return self

    def requests(self):
        """What was asked, comparable."""
        return [self._view(r) for _, r in self.asked]

    def heads(self):
        return [self.t.mask(self.t.hs(h)) for h, _ in self.asked]

    def _view(self, request):
        request = _plain(request)
        attributes = request.get('attributes', {})
        http = attributes.get('request', {})
        if 'time' in http:
            http['time'] = '<time>'
        http = http.get('http', {})
        if 'id' in http:
            http['id'] = '<id>'
        if 'x-request-id' in http.get('headers', {}):
            http['headers']['x-request-id'] = '<uuid>'
        for h in http.get('header_map', {}).get('headers', []):
            if h['key'] == 'x-request-id':
                h['raw_value'] = '<uuid>'
        for peer in ('source', 'destination'):
            if 'certificate' in attributes.get(peer, {}):
                attributes[peer]['certificate'] = attributes[peer]['certificate'][:30]
            address = attributes.get(peer, {}).get('address', {}).get('socket_address', {})
            if 'port_value' in address:
                address['port_value'] = self.t.mask('127.0.0.1:%d' % address['port_value'])
        return self.t.mask(request)


async def reply(s, message, status='0', trailers=()):
    """Answers a unary call."""
    s.respond(200, [('content-type', 'application/grpc')])
    await s.data(b'\0' + len(message).to_bytes(4, 'big') + message)
    s.trailers([('grpc-status', status), *trailers])
