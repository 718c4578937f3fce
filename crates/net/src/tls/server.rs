//! `DownstreamTlsContext`, compiled: a listener's side of handshakes.

use super::choice::Resolver;
use super::common::{Authority, Common, Shown, session_context};
use super::context::{Compile, Context, Generation, Lack};
use super::handshake::TLS12;
use super::hello::ClientHello;
use super::key_log::KeyFile;
use super::material::Identity;
use super::params::Params;
use super::secrets::Secrets;
use super::stats::Side;
use super::tickets::{Lifetime, TicketKeys, Ticketer};
use super::verify::{SharedVerifier, Verifier};
use crate::stream::ByteStream;
use nuncio_core::config::{self, CompileContext};
use nuncio_core::stream_info::{CertificateInfo, TlsInfo};
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::downstream_tls_context::{
    OcspStaplePolicy, SessionTicketKeysType,
};
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::version::TLS13;
use rustls::{KeyLog, NoKeyLog, ServerConfig, SupportedCipherSuite};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Sessions that a server keeps for clients without tickets.
const SESSIONS: usize = 1024;

/// How long a session of TLS 1.2 lives where nothing is configured.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2 * 3600);

/// A compiled `DownstreamTlsContext`.
pub type ServerContext = Context<ServerSide>;

/// What one generation of a context answers handshakes with.
pub struct ServerSide {
    /// With ALPN and without it (for a client whose protocols are all others: as in Envoy it gets none), for clients
    /// that take TLS 1.3 and for others, whose tickets live for another time.
    configs: [Arc<ServerConfig>; 4],
    /// Where the client's order of cipher suites matters.
    orders: Option<Orders>,
    verifier: SharedVerifier,
    identities: Vec<Identity>,
    authority: Authority,
    key_log: Option<Arc<KeyFile>>,
}

/// Configurations for clients of TLS 1.2, whose order of cipher suites counts among equals.
struct Orders {
    params: Params,
    resolver: Arc<Resolver>,
    kept: Mutex<ByOrder>,
}

/// Configurations by the order of suites and the one that they are like.
type ByOrder = HashMap<(Vec<u16>, usize), Arc<ServerConfig>>;

/// Orders that configurations are kept for at most; clients with others get the usual one.
const MOST_ORDERS: usize = 32;

/// The session rules of a message, resolved.
struct Sessions {
    /// `None`: no tickets.
    tickets: Option<Arc<TicketKeys>>,
    stateful: bool,
    timeout: Duration,
}

impl Generation for ServerSide {
    type Message = pb::DownstreamTlsContext;
    const SIDE: Side = Side::Server;
}

impl Compile for ServerSide {
    fn shown(&self) -> Shown {
        Shown::of(&self.identities, &self.verifier, &self.authority)
    }

    fn compile(
        message: pb::DownstreamTlsContext,
        cx: &CompileContext<'_>,
        secrets: &Secrets<'_>,
    ) -> Result<Self, Lack> {
        let pb::DownstreamTlsContext {
            common_tls_context,
            require_client_certificate,
            session_ticket_keys_type,
            session_timeout,
            disable_stateful_session_resumption,
            full_scan_certs_on_sni_mismatch,
            prefer_client_ciphers,
            ocsp_staple_policy,
        } = message;
        let common_cx = cx.field("common_tls_context");
        let told = common_cx.told_of("tls_certificate_sds_secret_configs");
        let policy =
            OcspStaplePolicy::try_from(ocsp_staple_policy).unwrap_or(OcspStaplePolicy::LenientStapling);
        let sessions = Sessions::compile(
            session_ticket_keys_type,
            session_timeout,
            !disable_stateful_session_resumption,
            cx,
            secrets,
        );
        let mut common = Common::compile(common_tls_context, TlsProtocol::TlSv13, &common_cx, secrets)?;
        if common.identities.is_empty() {
            if !told {
                cx.error("No TLS certificates found for server context");
            }
            return Err(Lack::Refused);
        }
        if policy == OcspStaplePolicy::MustStaple && common.identities.iter().any(|i| i.ocsp.is_none()) {
            cx.error("Required OCSP response is missing from TLS context");
            return Err(Lack::Refused);
        }
        let (verifier, authority) = common.verifier(require_client_certificate.unwrap_or(false), false);
        let scan = full_scan_certs_on_sni_mismatch.unwrap_or(false);
        let resolver = Arc::new(Resolver::new(&common.identities, scan, policy));
        let built = ServerConfig::builder_with_provider(Arc::clone(&common.params.provider))
            .with_protocol_versions(&common.params.versions);
        let builder = match built {
            Ok(builder) => builder,
            Err(error) => {
                common_cx.field("tls_params").error(error.to_string());
                return Err(Lack::Refused);
            }
        };
        let client_verifier: Arc<Verifier> = Arc::clone(&verifier);
        let own: Arc<Resolver> = Arc::clone(&resolver);
        let mut base = builder.with_client_cert_verifier(client_verifier).with_cert_resolver(own);
        base.alpn_protocols = common.alpn;
        if let Some(file) = &common.key_log {
            let file: Arc<dyn KeyLog> = Arc::<KeyFile>::clone(file);
            base.key_log = file;
        }
        base.ignore_client_order = !prefer_client_ciphers;
        base.enable_secret_extraction = true;
        let context = session_context(&common.identities, &verifier);
        let configs = sessions?.configs(base, context);
        let orders = (common.params.equals.any() && !prefer_client_ciphers).then(|| Orders {
            params: common.params,
            resolver,
            kept: Mutex::default(),
        });
        let (identities, key_log) = (common.identities, common.key_log);
        Ok(Self { configs, orders, verifier, identities, authority, key_log })
    }
}

impl ServerContext {
    /// What is known of a connection whose handshake comes to nothing in time.
    pub fn before_handshake(&self) -> TlsInfo {
        self.present().map(|side| side.before_handshake()).unwrap_or_default()
    }

    /// Whether `protocol` is one of `alpn_protocols`.
    pub fn speaks(&self, protocol: &[u8]) -> bool {
        let side = self.present();
        let with_alpn = side.as_ref().and_then(|side| side.configs.first());
        with_alpn.is_some_and(|with| with.alpn_protocols.iter().any(|own| own.as_slice() == protocol))
    }
}

impl ServerSide {
    /// The configuration for a client that says this.
    pub(super) fn config(&self, hello: &ClientHello, io: &dyn ByteStream) -> Arc<ServerConfig> {
        let usual = self.usual(hello);
        let config = match &self.orders {
            Some(orders) => orders.config(usual, hello, &self.verifier),
            None => Arc::clone(usual),
        };
        if self.key_log.as_ref().is_none_or(|file| file.wants(io)) {
            return config;
        }
        let mut config = ServerConfig::clone(&config);
        config.key_log = Arc::new(NoKeyLog {});
        Arc::new(config)
    }

    fn usual(&self, hello: &ClientHello) -> &Arc<ServerConfig> {
        let [with13, _, with12, _] = &self.configs;
        let alpn = &with13.alpn_protocols;
        let shared = hello.alpn.iter().any(|offered| alpn.iter().any(|p| p.as_slice() == &**offered));
        let [_, without13, _, without12] = &self.configs;
        match (hello.tls13, shared) {
            (true, true) => with13,
            (true, false) => without13,
            (false, true) => with12,
            (false, false) => without12,
        }
    }

    pub(super) fn verifier(&self) -> &SharedVerifier {
        &self.verifier
    }

    /// What is known of a connection before its handshake: as in Envoy, the least version, and the first certificate.
    pub(super) fn before_handshake(&self) -> TlsInfo {
        TlsInfo { version: TLS12, local: self.identity(0), ..TlsInfo::default() }
    }

    /// Our certificate at this place in the list.
    pub(super) fn identity(&self, at: usize) -> Option<Arc<CertificateInfo>> {
        self.identities.get(at).map(|i| Arc::clone(&i.info))
    }
}

impl Orders {
    /// `usual` with the client's order among equals, where TLS 1.2 will be spoken.
    fn config(
        &self,
        usual: &Arc<ServerConfig>,
        hello: &ClientHello,
        verifier: &SharedVerifier,
    ) -> Arc<ServerConfig> {
        if hello.tls13 && self.params.versions.contains(&&TLS13) {
            return Arc::clone(usual);
        }
        let suites = self.params.equals.ordered(&hello.suites);
        let key = (suites.iter().map(|s| s.suite().into()).collect(), Arc::as_ptr(usual).addr());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = kept.get(&key) {
            return Arc::clone(config);
        }
        let made = if kept.len() < MOST_ORDERS { self.make(usual, suites, verifier) } else { None };
        match made {
            Some(config) => Arc::clone(kept.entry(key).or_insert_with(|| Arc::new(config))),
            None => Arc::clone(usual),
        }
    }

    fn make(
        &self,
        usual: &ServerConfig,
        suites: Vec<SupportedCipherSuite>,
        verifier: &SharedVerifier,
    ) -> Option<ServerConfig> {
        let mut provider = CryptoProvider::clone(&self.params.provider);
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        provider.cipher_suites.extend(suites);
        let (verifier, resolver) = (Arc::<Verifier>::clone(verifier), Arc::<Resolver>::clone(&self.resolver));
        let builder = ServerConfig::builder_with_provider(Arc::new(provider));
        let mut config = builder
            .with_protocol_versions(&self.params.versions)
            .ok()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.alpn_protocols.clone_from(&usual.alpn_protocols);
        config.key_log = Arc::clone(&usual.key_log);
        config.ignore_client_order = usual.ignore_client_order;
        config.enable_secret_extraction = usual.enable_secret_extraction;
        config.session_storage = Arc::clone(&usual.session_storage);
        config.ticketer = Arc::clone(&usual.ticketer);
        config.send_tls13_tickets = usual.send_tls13_tickets;
        Some(config)
    }
}

impl Sessions {
    fn compile(
        keys: Option<SessionTicketKeysType>,
        timeout: Option<prost_types::Duration>,
        stateful: bool,
        cx: &CompileContext<'_>,
        secrets: &Secrets<'_>,
    ) -> Result<Self, Lack> {
        let timeout = match &timeout {
            None => SESSION_TIMEOUT,
            Some(value) => config::duration(value, &cx.field("session_timeout")).ok_or(Lack::Refused)?,
        };
        let tickets = match keys {
            None => Some(TicketKeys::random()),
            Some(SessionTicketKeysType::DisableStatelessSessionResumption(true)) => None,
            Some(SessionTicketKeysType::DisableStatelessSessionResumption(false)) => {
                Some(TicketKeys::random())
            }
            Some(SessionTicketKeysType::SessionTicketKeys(message)) => {
                Some(TicketKeys::compile(&message, &cx.field("session_ticket_keys")).ok_or(Lack::Refused)?)
            }
            Some(SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(named)) => {
                let cx = cx.field("session_ticket_keys_sds_secret_config");
                let message = secrets.ticket_keys(&named, &cx)?;
                Some(TicketKeys::compile(&message, &cx).ok_or(Lack::Refused)?)
            }
        };
        Ok(Self { tickets: tickets.map(Arc::new), stateful, timeout })
    }

    /// The four configurations of [`ServerSide::configs`].
    fn configs(self, base: ServerConfig, context: [u8; 32]) -> [Arc<ServerConfig>; 4] {
        let storage: Arc<dyn rustls::server::StoresServerSessions> = if self.stateful {
            ServerSessionMemoryCache::new(SESSIONS)
        } else {
            Arc::new(NoServerSessionStorage {})
        };
        let make = |version: Lifetime, alpn: bool| {
            let mut config = base.clone();
            config.session_storage = Arc::clone(&storage);
            if !alpn {
                config.alpn_protocols.clear();
            }
            match &self.tickets {
                Some(keys) => config.ticketer = Ticketer::new(keys, context, version),
                // In TLS 1.3 every resumption is by ticket.
                None => config.send_tls13_tickets = 0,
            }
            Arc::new(config)
        };
        let (new, old) = (Lifetime::tls13(), Lifetime::tls12(self.timeout));
        [make(new, true), make(new, false), make(old, true), make(old, false)]
    }
}
