"""Random exchanges over HTTP/2: what a client sends as frames, and what an HTTP/2 upstream answers. All of it follows from a `random.Random`."""
from traffic import ANSWER_FIELDS, FIELDS, HOSTS, METHODS, STATUSES, TARGETS, flag

# Of HTTP/1's own, which are not allowed here, few.
CONNECTION_FIELDS = ('connection', 'keep-alive', 'proxy-connection', 'upgrade', 'transfer-encoding', 'http2-settings')
CODES = [0, 1, 2, 5, 7, 8, 11, 13]
BODIES = ['', 'abc', 'hello world', 'x' * 70, 'y' * 3000]
TRAILERS = [[('x-t', 'tv')], [('x-t', 'a'), ('x_u', 'b')], [('grpc-status', '0')], [('grpc-status', '13'), ('grpc-message', 'm')], [('x-t', 'a'), ('x-t', 'b')]]
BAD_TRAILERS = [[(':path', '/')], [('connection', 'close')], [('X-T', 'upper')], [('content-length', '3')], [('x-t', 'bad\n')]]
# What a peer must not send, or need not: (name, step); `s` stands for the stream of the request, `i` for an idle one.
ODD_FRAMES = [
    ['s', 'window', 0], ['s', 'window', 1], ['s', 'window', 2147483647], [0, 'window', 0], [0, 'window', 2147483647], ['i', 'window', 1],
    ['s', 'priority', 0], ['s', 'priority', 1], ['i', 'priority', 3], ['i', 'rst', 8], ['i', 'data', 'idle', False], [0, 'frame', 0, 0, 'x'], ['s', 'frame', 9, 4, ''],
    [0, 'settings', {}], [0, 'settings', {'4': 100}], [0, 'settings', {'4': 2147483648}], [0, 'settings', {'5': 1}], [0, 'settings', {'2': 2}], [0, 'settings', {'3': 0}], [0, 'settings', {'99': 1}], [0, 'settings', {'1': 0}],
    ['s', 'frame', 4, 0, ''], [0, 'frame', 4, 1, 'x'], [0, 'frame', 4, 0, 'abc'], [0, 'ping'], [0, 'frame', 6, 0, 'short'], ['s', 'frame', 6, 0, '12345678'], [0, 'frame', 6, 1, '12345678'],
    ['s', 'frame', 3, 0, 'x'], ['s', 'frame', 2, 0, 'x'], ['s', 'frame', 8, 0, 'x'], ['s', 'frame', 250, 255, 'unknown'], [0, 'frame', 250, 0, ''], [0, 'goaway', 0, 0], [0, 'goaway', 2, 0], [0, 'goaway', 11, 1],
    ['s', 'frame', 5, 4, '\x00\x00\x00\x02\x82'], ['s', 'frame', 1, 12, '\xff\x82'], ['s', 'frame', 0, 8, '\x05ab'], ['s', 'frame', 1, 4, '\xff\xff\xff\xff\xff'], ['s', 'data', 'more', True], ['s', 'head', [['x-late', '1']], False],
]


def fields(r, table, most, bad):
    out = []
    for _ in range(r.choice([0, 1, 1, 2, 3, most])):
        name, values = r.choice(table)
        value = values[0] if flag(r, 0.5) else r.choice(values)
        if not bad and (name.lower() in CONNECTION_FIELDS + ('content-length', 'host') or any(c < ' ' for c in value) or name == 'te'):
            continue
        if not bad:
            value = value.strip(' ')
        out.append([name if bad and flag(r, 0.3) else name.lower(), value])
    return out


def pseudo(r, bad):
    """The pseudo header fields of a request."""
    method = r.choice(METHODS)
    target = r.choice(TARGETS) if flag(r, 0.35) else r.choice(['/a', '/b', '/c', '/'])
    authority = r.choice(HOSTS)
    if method == 'CONNECT' and flag(r, 0.8):
        out = [[':method', method], [':authority', 'abs.example:80']]
    else:
        out = [[':method', method], [':scheme', r.choice(['http', 'http', 'http', 'https'])], [':path', target], [':authority', authority]]
    if flag(r, 0.06):
        out = [[':method', 'CONNECT'], [':protocol', r.choice(['websocket', 'foo', 'connect-udp'])], [':scheme', 'http'], [':path', '/a'], [':authority', 'a.example']]
    if bad and flag(r, 0.5):
        way, at = r.choice(['gone', 'twice', 'unknown', 'empty', 'odd']), r.randrange(len(out))
        if way == 'gone':
            del out[at]
        elif way == 'twice':
            out.append(list(out[at]))
        elif way == 'unknown':
            out.append([':unknown', 'x'])
        else:
            out[at][1] = '' if way == 'empty' else r.choice([' ', 'a b', '\xe9', 'x\x01', 'ftp', '*'])
    return out


def message(r, head, text, trailers, bad):
    """The steps of one message with this head, body and trailers, cut into frames anyhow."""
    steps = [['head', head, not text and not trailers and flag(r, 0.8)]]
    if flag(r, 0.08):
        steps[0].append(r.choice([1, 3, 10]))
    if steps[0][2]:
        return steps
    while text:
        n = len(text) if flag(r, 0.5) else r.randint(1, len(text))
        piece, text = text[:n], text[n:]
        steps.append(['data', piece, not text and not trailers and flag(r, 0.7)])
        if flag(r, 0.1):
            steps[-1].append(r.choice([0, 1, 40]))
        if flag(r, 0.3):
            steps.append(['pause', 0.004])
    if trailers:
        steps.append(['trailers', trailers])
    elif not (steps[-1][0] in ('data', 'head') and steps[-1][2]):
        steps.append(['data', '', True])
    if bad and flag(r, 0.2):
        steps.append(r.choice([['data', 'late', True], ['trailers', [['x-late', '1']]], ['rst', 0]]))
    return steps


def body_of(r, bad):
    """(further header fields, body, trailers)"""
    text = r.choice(BODIES)
    length = [] if flag(r, 0.4) else [['content-length', str(len(text) + (r.choice([-1, 1, 7]) if bad and flag(r, 0.4) else 0))]]
    trailers = [list(t) for t in (r.choice(BAD_TRAILERS) if bad and flag(r, 0.3) else r.choice(TRAILERS))] if flag(r, 0.25) else []
    return length, text, trailers


def request(r):
    """The steps of one request."""
    bad = flag(r, 0.12)
    head = pseudo(r, bad)
    more, text, trailers = [], '', []
    if head[0][1] in ('POST', 'PUT', 'PATCH', 'CONNECT') or flag(r, 0.08):
        more, text, trailers = body_of(r, bad)
        if head[0][1] == 'CONNECT' and not bad:
            more, trailers = [], []
    rest = fields(r, FIELDS, 6, bad) + more
    if flag(r, 0.04):
        rest.append(['te', r.choice(['trailers', 'trailers', 'gzip'])])
    r.shuffle(rest)
    steps = message(r, (rest[:1] + head + rest[1:]) if bad and flag(r, 0.1) else head + rest, text, trailers, bad)
    if flag(r, 0.06):
        at = r.randint(1, len(steps))
        steps = steps[:at] + r.choice([[], [['pause', 0.02]]]) + [['rst', r.choice(CODES)]]
    return steps


def conversation(r):
    """What an HTTP/2 client does: its settings, whether it feeds windows, its steps as [stream, what, …]."""
    steps, count = [], r.choices([1, 2, 3], [6, 3, 1])[0]
    together = flag(r, 0.25)
    for i in range(count):
        stream = 2 * i + 1
        of_request = [[stream, *s] for s in request(r)]
        if flag(r, 0.08):
            number, *odd = r.choice(ODD_FRAMES)
            odd = [{'s': stream, 'i': stream + 20}.get(number, number), *odd]
            of_request.insert(r.randint(0, len(of_request)), odd)
        steps += of_request
        if i + 1 < count and not together:
            steps.append([0, 'rest'])
    settings = {'4': r.choice([0, 1, 10, 100])} if flag(r, 0.08) else {}
    if flag(r, 0.04):
        settings[r.choice(['1', '2', '3', '6'])] = r.choice([0, 100])
    if settings.get('4') is not None and flag(r, 0.6):
        steps += [[0, 'pause', 0.02], [1, 'window', 5000]]
    return {'steps': steps, 'settings': settings, 'feeds': flag(r, 0.93), 'requests': count}


def answer(r):
    """What an HTTP/2 upstream does with one request."""
    steps, bad = [], flag(r, 0.08)
    if flag(r, 0.1):
        steps.append(['head', [[':status', r.choice(['100', '103', '102', '101'])]] + r.choice([[], [['link', '</a>']]]), False])
    kind = r.choices(['answer', 'rst', 'goaway', 'close', 'reset'], [20, 1.2, 0.6, 0.6, 0.4])[0]
    if kind == 'rst':
        return steps + [['rst', r.choice(CODES)]]
    if kind == 'goaway':
        return steps + [['goaway', r.choice([0, 0, 2, 11]), r.choice([0, 1, 2147483647])], *r.choice([[], [['close']]])]
    if kind in ('close', 'reset'):
        return steps + [[kind]]
    status = str(r.choice(STATUSES))
    more, text, trailers = body_of(r, bad) if status not in ('204', '304') or flag(r, 0.1) else ([], '', [])
    head = [[':status', status]] + fields(r, ANSWER_FIELDS, 5, bad) + more
    if bad and flag(r, 0.4):
        head = r.choice([head[1:], head + [[':status', '200']], [[':status', r.choice(['abc', '', '20', '2000', '099'])]], [[':path', '/']] + head, head + [[':unknown', 'x']], head + [['x-big', 'b' * 2000]]])
    steps += message(r, head, text, trailers, bad)
    if flag(r, 0.08):
        end = r.choice([['rst', r.choice(CODES)], ['close'], ['reset'], ['goaway', 0, 1]])
        steps = steps[:r.randint(1, len(steps))] + r.choice([[], [['pause', 0.02]]]) + [end]
    if flag(r, 0.04):
        number, *odd = r.choice(ODD_FRAMES)
        steps.insert(r.randint(0, len(steps)), ['on', {'s': 's', 'i': 41}.get(number, number), *odd])
    return steps


def server_settings(r):
    """SETTINGS of an HTTP/2 upstream."""
    out = {}
    if flag(r, 0.05):
        out['3'] = r.choice([0, 1, 2])
    if flag(r, 0.05):
        out['4'] = r.choice([0, 1, 100])
    if flag(r, 0.5):
        out['8'] = 1
    return out
