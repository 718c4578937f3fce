"""One random exchange: a client's connection, and what the upstream answers to each request that reaches it."""
import streams
import traffic


def exchange(r, talk):
    """`talk` says which protocols the listener's client and its upstream speak. Answers are in the order in which the upstream is asked."""
    client = streams if talk.get('down') == 'h2' else traffic
    upstream = streams if talk.get('up') == 'h2' else traffic
    out = client.conversation(r)
    out.update(end=r.choices(['wait', 'fin', 'reset'], [8, 1.5, 0.5])[0], when=r.choices(['body', 'head'], [12, 1])[0],
               answers=[upstream.answer(r) for _ in range(out['requests'] + 2)])
    if upstream is streams:
        out['server'] = streams.server_settings(r)
    return out
