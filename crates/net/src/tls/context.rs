//! `DownstreamTlsContext` and `UpstreamTlsContext`, compiled.

use super::hello::ClientHello;
use super::material::{Identity, Source, identity, validation};
use super::params::Params;
use super::verify::{SharedVerifier, Validation, Verifier};
use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::CertificateInfo;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::downstream_tls_context::SessionTicketKeysType;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DistinguishedName, ServerConfig, SignatureScheme};
use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Sessions that a server keeps for clients without tickets.
const SESSIONS: usize = 1024;

/// A compiled `DownstreamTlsContext`: what a listener's side of a handshake needs.
pub struct ServerContext {
    config: Arc<ServerConfig>,
    /// The same without ALPN, for a client whose protocols are all others: as in Envoy it gets none.
    without_alpn: Option<Arc<ServerConfig>>,
    verifier: SharedVerifier,
    identities: Vec<Identity>,
    authority: Option<Source>,
    require_sni: bool,
}

/// A compiled `UpstreamTlsContext`: what a cluster's side of a handshake needs.
pub struct ClientContext {
    config: Arc<ClientConfig>,
    verifier: SharedVerifier,
    identities: Vec<Identity>,
    authority: Option<Source>,
    sni: Option<ServerName<'static>>,
    /// `auto_host_sni`
    host_sni: bool,
}

/// What both sides have in common.
struct Common {
    params: Params,
    identities: Vec<Identity>,
    alpn: Vec<Vec<u8>>,
    validation: Option<(Validation, Option<Source>)>,
    suppress_hints: bool,
}

fn common(
    message: Option<pb::CommonTlsContext>,
    newest: TlsProtocol,
    cx: &CompileContext<'_>,
) -> Option<Common> {
    let cx = cx.field("common_tls_context");
    let pb::CommonTlsContext { tls_params, tls_certificates, alpn_protocols, validation_context_type } =
        message.unwrap_or_default();
    let params = Params::compile(tls_params, newest, &cx.field("tls_params"));
    let mut identities = Vec::new();
    for (i, certificate) in tls_certificates.iter().enumerate() {
        if let Some(params) = &params {
            identities.extend(identity(certificate, &params.provider, &cx.item("tls_certificates", i)));
        }
    }
    let mut suppress_hints = false;
    let validation = match &validation_context_type {
        Some(ValidationContextType::ValidationContext(message)) => {
            suppress_hints = message.suppress_client_ca_list;
            Some(validation(message, &cx.field("validation_context"))?)
        }
        None => None,
    };
    if identities.len() < tls_certificates.len() {
        return None;
    }
    let alpn = alpn_protocols.into_iter().map(String::into_bytes).collect();
    Some(Common { params: params?, identities, alpn, validation, suppress_hints })
}

impl Common {
    /// The authority's source, and a verifier that asks a client for its certificate.
    fn verifier(&mut self, require: bool, name_wanted: bool) -> (SharedVerifier, Option<Source>) {
        let (validation, authority) = self.validation.take().unwrap_or_default();
        let ask = require
            || validation.trust.is_some()
            || !(validation.hashes.is_empty() && validation.spkis.is_empty() && validation.sans.is_empty());
        let hints = match &validation.trust {
            Some(trust) if !self.suppress_hints => {
                trust.anchors.iter().map(|a| DistinguishedName::in_sequence(a.subject.as_ref())).collect()
            }
            _ => Vec::new(),
        };
        let algorithms = self.params.provider.signature_verification_algorithms;
        (Arc::new(Verifier { validation, algorithms, ask, require, hints, name_wanted }), authority)
    }
}

impl ServerContext {
    /// Compiles the message. `None`: refused, and the reasons are recorded in `cx`.
    pub fn compile(message: pb::DownstreamTlsContext, cx: &CompileContext<'_>) -> Option<Arc<Self>> {
        let pb::DownstreamTlsContext {
            common_tls_context,
            require_client_certificate,
            require_sni,
            session_ticket_keys_type,
            disable_stateful_session_resumption,
            full_scan_certs_on_sni_mismatch,
            prefer_client_ciphers,
            // Only LENIENT_STAPLING is built: a response that was given is sent, whatever it says.
            ocsp_staple_policy: _,
        } = message;
        let disable_stateless_session_resumption = matches!(
            session_ticket_keys_type,
            Some(SessionTicketKeysType::DisableStatelessSessionResumption(true))
        );
        let told = cx.field("common_tls_context").told_of("tls_certificate_sds_secret_configs");
        let mut common = common(common_tls_context, TlsProtocol::TlSv13, cx)?;
        if common.identities.is_empty() {
            if !told {
                cx.error("No TLS certificates found for server context");
            }
            return None;
        }
        let (verifier, authority) = common.verifier(require_client_certificate.unwrap_or(false), false);
        let resolver = Resolver::new(&common.identities, full_scan_certs_on_sni_mismatch.unwrap_or(false));
        let built = ServerConfig::builder_with_provider(Arc::clone(&common.params.provider))
            .with_protocol_versions(&common.params.versions);
        let builder = match built {
            Ok(builder) => builder,
            Err(error) => {
                cx.field("common_tls_context").field("tls_params").error(error.to_string());
                return None;
            }
        };
        let client_verifier: Arc<Verifier> = Arc::clone(&verifier);
        let mut config =
            builder.with_client_cert_verifier(client_verifier).with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = common.alpn;
        config.ignore_client_order = !prefer_client_ciphers;
        config.enable_secret_extraction = true;
        // Keys of their own: a ticket of one context opens no session of another (CVE-2025-23419).
        if !disable_stateless_session_resumption
            && let Ok(ticketer) = rustls::crypto::aws_lc_rs::Ticketer::new()
        {
            config.ticketer = ticketer;
        }
        config.session_storage = if disable_stateful_session_resumption {
            Arc::new(NoServerSessionStorage {})
        } else {
            ServerSessionMemoryCache::new(SESSIONS)
        };
        if disable_stateless_session_resumption {
            // In TLS 1.3 every resumption is by ticket.
            config.send_tls13_tickets = 0;
        }
        let without_alpn = (!config.alpn_protocols.is_empty()).then(|| {
            let mut config = config.clone();
            config.alpn_protocols.clear();
            Arc::new(config)
        });
        Some(Arc::new(Self {
            config: Arc::new(config),
            without_alpn,
            verifier,
            identities: common.identities,
            authority,
            require_sni: require_sni.unwrap_or(false),
        }))
    }

    /// The configuration for a client that offers these protocols; `None` where it has to name a server and does not.
    pub(super) fn config(&self, hello: &ClientHello) -> Option<&Arc<ServerConfig>> {
        if self.require_sni && hello.server_name.is_none() {
            return None;
        }
        let shared = hello
            .alpn
            .iter()
            .any(|offered| self.config.alpn_protocols.iter().any(|p| p.as_slice() == &**offered));
        match &self.without_alpn {
            Some(other) if !shared => Some(other),
            _ => Some(&self.config),
        }
    }

    pub(super) fn verifier(&self) -> &SharedVerifier {
        &self.verifier
    }

    /// Our certificate at this place in the list.
    pub(super) fn identity(&self, at: usize) -> Option<Arc<CertificateInfo>> {
        self.identities.get(at).map(|i| Arc::clone(&i.info))
    }

    /// Our certificates in their order, with where they came from.
    pub fn certificates(&self) -> impl Iterator<Item = (&CertificateInfo, &Source)> {
        self.identities.iter().map(|i| (&*i.info, &i.source))
    }

    /// The authorities' certificates, with where they came from.
    pub fn authorities(&self) -> Option<(Vec<CertificateInfo>, &Source)> {
        authorities(&self.verifier, self.authority.as_ref())
    }
}

fn authorities<'a>(
    verifier: &Verifier,
    source: Option<&'a Source>,
) -> Option<(Vec<CertificateInfo>, &'a Source)> {
    use super::certificate::Certificate;
    let trust = verifier.validation.trust.as_ref()?;
    let list = trust.certificates.iter().filter_map(|c| Certificate::parse(c).map(|p| p.info(c))).collect();
    Some((list, source?))
}

impl ClientContext {
    /// Compiles the message. `None`: refused, and the reasons are recorded in `cx`.
    pub fn compile(message: pb::UpstreamTlsContext, cx: &CompileContext<'_>) -> Option<Arc<Self>> {
        let pb::UpstreamTlsContext {
            common_tls_context,
            sni,
            max_session_keys,
            auto_host_sni,
            auto_sni_san_validation,
        } = message;
        let mut common = common(common_tls_context, TlsProtocol::TlSv12, cx)?;
        if common.identities.len() > 1 {
            cx.field("common_tls_context")
                .field("tls_certificates")
                .error("Multiple TLS certificates are not supported for client contexts");
            return None;
        }
        let sni = match sni.is_empty() {
            true => None,
            false => match ServerName::try_from(sni.clone()) {
                Ok(name) => Some(name),
                Err(_) => {
                    cx.field("sni").error(format!("'{sni}' is no server name"));
                    return None;
                }
            },
        };
        if auto_sni_san_validation && common.validation.as_ref().is_none_or(|(v, _)| v.trust.is_none()) {
            cx.error("'auto_sni_san_validation' was configured without configuring a trusted CA");
            return None;
        }
        let (verifier, authority) = common.verifier(false, auto_sni_san_validation);
        let built = ClientConfig::builder_with_provider(Arc::clone(&common.params.provider))
            .with_protocol_versions(&common.params.versions);
        let builder = match built {
            Ok(builder) => builder,
            Err(error) => {
                cx.field("common_tls_context").field("tls_params").error(error.to_string());
                return None;
            }
        };
        let shown = Shown(common.identities.first().map(|i| Arc::clone(&i.key)));
        let server_verifier: Arc<Verifier> = Arc::clone(&verifier);
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(server_verifier)
            .with_client_cert_resolver(Arc::new(shown));
        config.alpn_protocols = common.alpn;
        config.enable_secret_extraction = true;
        config.resumption = match max_session_keys {
            Some(0) => Resumption::disabled(),
            // rustls keeps sessions by server name; so many names at least are kept.
            other => Resumption::in_memory_sessions(other.unwrap_or(1).max(64) as usize),
        };
        Some(Arc::new(Self {
            config: Arc::new(config),
            verifier,
            identities: common.identities,
            authority,
            sni,
            host_sni: auto_host_sni,
        }))
    }

    pub(super) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    pub(super) fn verifier(&self) -> &SharedVerifier {
        &self.verifier
    }

    /// The name to ask for; an address is never sent, it only stands for sessions.
    pub(super) fn server_name(&self, host_name: Option<&str>, host: Option<IpAddr>) -> ServerName<'static> {
        let from_host = || {
            let name = host_name.filter(|n| self.host_sni && !n.is_empty())?;
            ServerName::try_from(name.to_owned()).ok()
        };
        let address = host.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        from_host().or_else(|| self.sni.clone()).unwrap_or(ServerName::IpAddress(address.into()))
    }

    /// Our certificate, if a server asks for one.
    pub(super) fn identity(&self) -> Option<Arc<CertificateInfo>> {
        self.identities.first().map(|i| Arc::clone(&i.info))
    }

    /// Our certificates in their order, with where they came from.
    pub fn certificates(&self) -> impl Iterator<Item = (&CertificateInfo, &Source)> {
        self.identities.iter().map(|i| (&*i.info, &i.source))
    }

    /// The authorities' certificates, with where they came from.
    pub fn authorities(&self) -> Option<(Vec<CertificateInfo>, &Source)> {
        authorities(&self.verifier, self.authority.as_ref())
    }
}

/// A client's certificate, shown to every server that asks.
#[derive(Debug)]
struct Shown(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// What a choice among certificates looks at.
#[derive(Debug)]
struct Choice {
    key: Arc<CertifiedKey>,
    is_ecdsa: bool,
    names: Vec<Box<str>>,
}

impl Choice {
    fn of(identity: &Identity) -> Self {
        Self { key: Arc::clone(&identity.key), is_ecdsa: identity.is_ecdsa, names: identity.names.clone() }
    }
}

thread_local! {
    /// The choice that was just made on this thread: rustls tells nobody of it.
    static CHOSEN: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Takes the choice that was made since the last call.
pub(super) fn take_chosen() -> Option<usize> {
    CHOSEN.take()
}

/// Chooses a certificate by server name, then by the kinds of keys that the client takes.
#[derive(Debug)]
struct Resolver {
    all: Vec<Choice>,
    by_name: HashMap<Box<str>, Vec<usize>>,
    scan_on_mismatch: bool,
}

impl Resolver {
    fn new(identities: &[Identity], scan_on_mismatch: bool) -> Self {
        let all: Vec<Choice> = identities.iter().map(Choice::of).collect();
        let mut by_name: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (at, choice) in all.iter().enumerate() {
            for name in &choice.names {
                by_name.entry(name.clone()).or_default().push(at);
            }
        }
        Self { all, by_name, scan_on_mismatch }
    }

    /// The first that fits among `candidates`: an ECDSA client prefers such a key and takes another one.
    fn fitting(&self, candidates: impl Iterator<Item = usize>, ecdsa: bool) -> Option<usize> {
        let mut second = None;
        for at in candidates {
            let is = self.all.get(at)?.is_ecdsa;
            if is == ecdsa {
                return Some(at);
            }
            if ecdsa {
                second = second.or(Some(at));
            }
        }
        second
    }
}

/// What a client that takes ECDSA certificates offers.
const ECDSA: [SignatureScheme; 3] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
];

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let ecdsa = hello.signature_schemes().iter().any(|s| ECDSA.contains(s));
        let named =
            |name: &str| self.by_name.get(name).map(Vec::as_slice).unwrap_or_default().iter().copied();
        let mut found = None;
        if let Some(name) = hello.server_name() {
            let name = name.to_ascii_lowercase();
            found = self.fitting(named(&name), ecdsa).or_else(|| {
                let (_, rest) = name.split_once('.')?;
                self.fitting(named(&format!("*.{rest}")), ecdsa)
            });
            if found.is_none() && !self.scan_on_mismatch {
                found = Some(0);
            }
        }
        let found = found.or_else(|| self.fitting(0..self.all.len(), ecdsa)).unwrap_or(0);
        CHOSEN.set(Some(found));
        self.all.get(found).map(|c| Arc::clone(&c.key))
    }
}
