//! `envoy.filters.listener.tls_inspector`: what a client asks for before its handshake is answered.

use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
use nuncio_downstream::listener::{
    Inspected, ListenerFilter, ListenerFilterConfig, ListenerFilterFactory, MakeListenerFilter, SocketFacts,
};
use nuncio_downstream::world::World;
use nuncio_net::stream::ByteStream;
use nuncio_net::tls::hello::{Hello, inspect};
use nuncio_proto::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector as Message;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct TlsInspectorFactory;

/// A compiled `TlsInspector`.
struct TlsInspectorConfig;

nuncio_core::stats_block! {
    /// `tls_inspector.`
    struct TlsInspectorStats {
        counter alpn_found,
        counter alpn_not_found,
        counter client_hello_too_large,
        counter sni_found,
        counter sni_not_found,
        counter tls_found,
        counter tls_not_found,
        histogram bytes_processed,
    }
}

impl ListenerFilterFactory for TlsInspectorFactory {
    type Config = Message;

    fn compile(&self, config: Message, _cx: &CompileContext<'_>) -> Option<Arc<dyn ListenerFilterConfig>> {
        let Message {} = config;
        Some(Arc::new(TlsInspectorConfig))
    }
}

impl ListenerFilterConfig for TlsInspectorConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> MakeListenerFilter {
        let stats: Scope<TlsInspectorStats> = world.stats.scope("tls_inspector.");
        Box::new(move || Box::new(TlsInspector { stats: stats.clone() }))
    }
}

/// One connection's inspector.
struct TlsInspector {
    stats: Scope<TlsInspectorStats>,
}

impl ListenerFilter for TlsInspector {
    fn inspect(&mut self, bytes: &[u8], facts: &mut SocketFacts, _: &dyn ByteStream) -> Inspected {
        let stats = &self.stats;
        match inspect(bytes) {
            Hello::Incomplete => return Inspected::More,
            Hello::NotTls => stats.tls_not_found.inc(),
            Hello::Client(hello) => {
                stats.tls_found.inc();
                if hello.alpn.is_empty() {
                    stats.alpn_not_found.inc();
                } else {
                    stats.alpn_found.inc();
                    facts.application_protocols = hello.alpn;
                }
                if hello.server_name.is_some() {
                    stats.sni_found.inc();
                    facts.server_name = hello.server_name;
                } else {
                    stats.sni_not_found.inc();
                }
                facts.transport_protocol = "tls";
            }
        }
        stats.bytes_processed.record(bytes.len() as u64);
        Inspected::Done { consumed: 0 }
    }
}
