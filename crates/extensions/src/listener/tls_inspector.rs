//! `envoy.filters.listener.tls_inspector`: what a client asks for before its handshake is answered.

use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::Fingerprints;
use nuncio_downstream::listener::{
    Inspected, ListenerFilter, ListenerFilterConfig, ListenerFilterFactory, MakeListenerFilter, SocketFacts,
};
use nuncio_downstream::world::World;
use nuncio_net::stream::ByteStream;
use nuncio_net::tls::hello::{ClientHello, Hello, MAX_HELLO, examine};
use nuncio_net::tls::{ja3, ja4};
use nuncio_proto::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector as Message;
use prost_types::{Value, value::Kind};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct TlsInspectorFactory;

/// A compiled `TlsInspector`.
struct TlsInspectorConfig {
    ja3: bool,
    ja4: bool,
    /// Connections that do not begin with a good ClientHello are closed.
    only_tls: bool,
    /// Bytes that are looked at.
    limit: usize,
}

/// Where a connection's own log finds why no ClientHello was found.
const NAMESPACE: &str = "envoy.filters.listener.tls_inspector";
/// Versions that a ClientHello may name as the one before there was an extension for it: TLS 1.0 to 1.3.
const VERSIONS: RangeInclusive<u16> = 0x0301..=0x0304;

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

    fn compile(&self, config: Message, cx: &CompileContext<'_>) -> Option<Arc<dyn ListenerFilterConfig>> {
        let Message {
            enable_ja3_fingerprinting,
            enable_ja4_fingerprinting,
            close_connection_on_client_hello_parsing_errors: only_tls,
            max_client_hello_size,
        } = config;
        let limit = max_client_hello_size.map_or(MAX_HELLO, |n| n as usize);
        if limit > MAX_HELLO {
            cx.field("max_client_hello_size")
                .error(format!("max_client_hello_size of {limit} is greater than maximum of {MAX_HELLO}."));
            return None;
        }
        Some(Arc::new(TlsInspectorConfig {
            ja3: enable_ja3_fingerprinting.unwrap_or_default(),
            ja4: enable_ja4_fingerprinting.unwrap_or_default(),
            only_tls,
            limit,
        }))
    }
}

impl ListenerFilterConfig for TlsInspectorConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> MakeListenerFilter {
        let stats: Scope<TlsInspectorStats> = world.stats.scope("tls_inspector.");
        Box::new(move || Box::new(TlsInspector { config: Arc::clone(&self), stats: stats.clone() }))
    }
}

/// One connection's inspector.
struct TlsInspector {
    config: Arc<TlsInspectorConfig>,
    stats: Scope<TlsInspectorStats>,
}

impl ListenerFilter for TlsInspector {
    fn inspect(&mut self, bytes: &[u8], facts: &mut SocketFacts, _: &dyn ByteStream) -> Inspected {
        let Self { config, stats } = &*self;
        let bytes = bytes.get(..config.limit).unwrap_or(bytes);
        let (hello, processed) = examine(bytes);
        let failure = match hello {
            Hello::Incomplete if bytes.len() < config.limit => return Inspected::More,
            Hello::Incomplete => Some(Failure::TooLarge),
            Hello::NotTls => Some(Failure::NotDetected),
            Hello::Client(hello) => self.found(hello, facts).err(),
        };
        stats.bytes_processed.record(processed as u64);
        let Some(failure) = failure else { return Inspected::Done { consumed: 0 } };
        match failure {
            Failure::TooLarge => stats.client_hello_too_large.inc(),
            Failure::NotDetected | Failure::Version => stats.tls_not_found.inc(),
        }
        let reason = Kind::StringValue(failure.reason().to_owned());
        let fields = &mut facts.metadata.entry(NAMESPACE.to_owned()).or_default().fields;
        fields.insert("failure_reason".to_owned(), Value { kind: Some(reason) });
        match failure {
            Failure::NotDetected if !config.only_tls => Inspected::Done { consumed: 0 },
            _ => Inspected::Close,
        }
    }
}

/// Why a connection does not begin with a ClientHello.
#[derive(Clone, Copy)]
enum Failure {
    TooLarge,
    NotDetected,
    Version,
}

impl Failure {
    fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "ClientHelloTooLarge",
            Self::NotDetected => "ClientHelloNotDetected",
            Self::Version => "ClientHelloInvalidTlsVersion",
        }
    }
}

impl TlsInspector {
    fn found(&self, hello: ClientHello, facts: &mut SocketFacts) -> Result<(), Failure> {
        let Self { config, stats } = self;
        if config.ja3 || config.ja4 {
            let of = |wanted: bool, make: fn(&ClientHello) -> Option<String>| {
                wanted.then(|| make(&hello)).flatten().unwrap_or_default().into()
            };
            facts.fingerprints =
                Some(Box::new(Fingerprints { ja3: of(config.ja3, ja3), ja4: of(config.ja4, ja4) }));
        }
        match hello.server_name.is_some() {
            true => stats.sni_found.inc(),
            false => stats.sni_not_found.inc(),
        }
        facts.server_name = hello.server_name;
        if !VERSIONS.contains(&hello.legacy_version) {
            return Err(Failure::Version);
        }
        stats.tls_found.inc();
        match hello.alpn.is_empty() {
            true => stats.alpn_not_found.inc(),
            false => stats.alpn_found.inc(),
        }
        facts.application_protocols = hello.alpn;
        facts.transport_protocol = "tls";
        Ok(())
    }
}
