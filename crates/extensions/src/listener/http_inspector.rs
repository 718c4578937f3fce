//! `envoy.filters.listener.http_inspector`: whether a client speaks HTTP without TLS, and which.

use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
use nuncio_downstream::listener::{
    Inspected, ListenerFilter, ListenerFilterConfig, ListenerFilterFactory, MakeListenerFilter, SocketFacts,
};
use nuncio_downstream::world::World;
use nuncio_net::stream::ByteStream;
use nuncio_proto::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector as Message;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct HttpInspectorFactory;

/// A compiled `HttpInspector`.
struct HttpInspectorConfig;

nuncio_core::stats_block! {
    /// `http_inspector.`
    struct HttpInspectorStats {
        counter http10_found,
        counter http11_found,
        counter http2_found,
        counter http_not_found,
        counter read_error,
    }
}

impl ListenerFilterFactory for HttpInspectorFactory {
    type Config = Message;

    fn compile(&self, config: Message, _cx: &CompileContext<'_>) -> Option<Arc<dyn ListenerFilterConfig>> {
        let Message {} = config;
        Some(Arc::new(HttpInspectorConfig))
    }
}

impl ListenerFilterConfig for HttpInspectorConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> MakeListenerFilter {
        let stats: Scope<HttpInspectorStats> = world.stats.scope("http_inspector.");
        Box::new(move || Box::new(HttpInspector { stats: stats.clone() }))
    }
}

/// One connection's inspector.
struct HttpInspector {
    stats: Scope<HttpInspectorStats>,
}

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Incomplete,
    Http10,
    Http11,
    Http2,
    Other,
}

/// The preface of HTTP/2 (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a request line at most.
const MAX_LINE: usize = 64 * 1024;

fn spoken(bytes: &[u8]) -> Spoken {
    if PREFACE.starts_with(bytes) && bytes.len() < PREFACE.len() {
        return Spoken::Incomplete;
    }
    if bytes.starts_with(PREFACE) {
        return Spoken::Http2;
    }
    let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
        // A method is of letters; what else begins a connection is told at once.
        let method = bytes.split(|b| *b == b' ').next().unwrap_or_default();
        let good = method.iter().all(|b| b.is_ascii_alphabetic() || *b == b'-') && bytes.len() < MAX_LINE;
        return if good { Spoken::Incomplete } else { Spoken::Other };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut parts = line.split(|b| *b == b' ');
    let named = [parts.next(), parts.next()].iter().all(|part| part.is_some_and(|part| !part.is_empty()));
    match (named, parts.next(), parts.next()) {
        (true, Some(b"HTTP/1.1"), None) => Spoken::Http11,
        // Any other version stands for an old one, and a line without one is of HTTP/0.9.
        (true, None, None) => Spoken::Http10,
        (true, Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Spoken::Http10
        }
        _ => Spoken::Other,
    }
}

impl ListenerFilter for HttpInspector {
    fn inspect(&mut self, bytes: &[u8], facts: &mut SocketFacts, _: &dyn ByteStream) -> Inspected {
        if facts.transport_protocol == "tls" {
            return Inspected::Done { consumed: 0 };
        }
        let (counter, protocol): (_, &[u8]) = match spoken(bytes) {
            Spoken::Incomplete => return Inspected::More,
            Spoken::Http10 => (&self.stats.http10_found, b"http/1.0"),
            Spoken::Http11 => (&self.stats.http11_found, b"http/1.1"),
            Spoken::Http2 => (&self.stats.http2_found, b"h2c"),
            Spoken::Other => (&self.stats.http_not_found, b""),
        };
        counter.inc();
        if !protocol.is_empty() {
            facts.application_protocols = vec![protocol.into()];
        }
        Inspected::Done { consumed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_told_by_their_first_bytes() {
        for (bytes, want) in [
            (&b"GET / HTTP/1.1\r\nhost"[..], Spoken::Http11),
            (b"GET / HTTP/1.0\r\n", Spoken::Http10),
            (b"GET / HTTP/1.", Spoken::Incomplete),
            (b"PRI * HT", Spoken::Incomplete),
            (PREFACE, Spoken::Http2),
            (b"\x16\x03\x01", Spoken::Other),
            (b"hello\n", Spoken::Other),
            (b"GET /\r\n", Spoken::Http10),
            (b"GET / HTTP/1.2\r\n", Spoken::Http10),
            (b"GET / HTTP/1.10\r\n", Spoken::Other),
            (b"get / http/1.1\r\n", Spoken::Other),
            (b"GET  HTTP/1.1\r\n", Spoken::Other),
            (b"GET /a b HTTP/1.1\r\n", Spoken::Other),
        ] {
            assert_eq!(spoken(bytes), want, "{bytes:?}");
        }
    }
}
