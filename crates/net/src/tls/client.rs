//! `UpstreamTlsContext`, compiled: a cluster's side of handshakes.

use super::common::{Authority, Common, Shown};
use super::context::{Compile, Context, Generation, Lack};
use super::key_log::KeyFile;
use super::material::Identity;
use super::secrets::Secrets;
use super::stats::Side;
use super::verify::{SharedVerifier, Verifier};
use crate::stream::ByteStream;
use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::CertificateInfo;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, KeyLog, NoKeyLog, SignatureScheme};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A compiled `UpstreamTlsContext`.
pub type ClientContext = Context<ClientSide>;

/// What is asked of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The host's name, for `auto_host_sni`.
    pub host_name: Option<&'a str>,
    /// Its address.
    pub host: Option<IpAddr>,
    /// The server name to ask for, in place of any other.
    pub server_name: Option<&'a str>,
    /// A name of which its certificate must be, where certificates are checked at all.
    pub san: Option<&'a str>,
    /// What is offered by ALPN where `alpn_protocols` is empty.
    pub offer: Offer,
    /// What is offered by ALPN, in place of anything else.
    pub protocols: Option<&'a [Box<str>]>,
}

/// What is going to be spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Offer {
    /// Nobody knows.
    #[default]
    Nothing,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// The one or the other, as the server likes.
    Either,
}

impl Offer {
    /// The protocols' names, the best one first.
    fn names(self) -> &'static [&'static [u8]] {
        match self {
            Self::Nothing => &[],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Either => &[b"h2", b"http/1.1"],
        }
    }
}

/// What makes a configuration of its own.
#[derive(PartialEq, Eq, Hash)]
struct Wish {
    offer: Offer,
    protocols: Option<Box<[Box<str>]>>,
    /// A name that is looked at beside; empty: none.
    san: Box<str>,
}

type ByWish = HashMap<Wish, Arc<ClientConfig>>;

/// Configurations for names and offers of their own that are kept at most.
const CONFIGS: usize = 256;

/// `max_session_keys`
#[derive(Clone, Copy, Debug)]
struct MaxSessionKeys(Option<u32>);

impl MaxSessionKeys {
    fn resumption(self) -> Resumption {
        match self.0 {
            Some(0) => Resumption::disabled(),
            // rustls keeps sessions by server name; so many names at least are kept.
            other => Resumption::in_memory_sessions(other.unwrap_or(1).max(64) as usize),
        }
    }
}

/// What one generation of a context makes handshakes with.
pub struct ClientSide {
    config: Arc<ClientConfig>,
    verifier: SharedVerifier,
    identities: Vec<Identity>,
    authority: Authority,
    sni: Option<ServerName<'static>>,
    /// `auto_host_sni`
    host_sni: bool,
    max_session_keys: MaxSessionKeys,
    /// Configurations that look at a name beside, or offer what the context does not name.
    asked: Mutex<ByWish>,
    key_log: Option<Arc<KeyFile>>,
}

impl Generation for ClientSide {
    type Message = pb::UpstreamTlsContext;
    const SIDE: Side = Side::Client;
}

impl Compile for ClientSide {
    fn shown(&self) -> Shown {
        Shown::of(&self.identities, &self.verifier, &self.authority)
    }

    fn compile(
        message: pb::UpstreamTlsContext,
        cx: &CompileContext<'_>,
        secrets: &Secrets<'_>,
    ) -> Result<Self, Lack> {
        let pb::UpstreamTlsContext {
            common_tls_context,
            sni,
            max_session_keys,
            auto_host_sni,
            auto_sni_san_validation,
        } = message;
        let common_cx = cx.field("common_tls_context");
        let mut common = Common::compile(common_tls_context, TlsProtocol::TlSv12, &common_cx, secrets)?;
        if common.identities.len() > 1 {
            common_cx
                .field("tls_certificates")
                .error("Multiple TLS certificates are not supported for client contexts");
            return Err(Lack::Refused);
        }
        let sni = match sni.is_empty() {
            true => None,
            false => match ServerName::try_from(sni.clone()) {
                Ok(name) => Some(name),
                Err(_) => {
                    cx.field("sni").error(format!("'{sni}' is no server name"));
                    return Err(Lack::Refused);
                }
            },
        };
        if auto_sni_san_validation && !common.has_authority() {
            cx.error("'auto_sni_san_validation' was configured without configuring a trusted CA");
            return Err(Lack::Refused);
        }
        let (verifier, authority) = common.verifier(false, auto_sni_san_validation);
        let built = ClientConfig::builder_with_provider(Arc::clone(&common.params.provider))
            .with_protocol_versions(&common.params.versions);
        let builder = match built {
            Ok(builder) => builder,
            Err(error) => {
                common_cx.field("tls_params").error(error.to_string());
                return Err(Lack::Refused);
            }
        };
        let ours = Ours(common.identities.first().map(|i| Arc::clone(&i.key)));
        let server_verifier: Arc<Verifier> = Arc::clone(&verifier);
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(server_verifier)
            .with_client_cert_resolver(Arc::new(ours));
        config.alpn_protocols = common.alpn;
        if let Some(file) = &common.key_log {
            let file: Arc<dyn KeyLog> = Arc::<KeyFile>::clone(file);
            config.key_log = file;
        }
        config.enable_secret_extraction = true;
        let max_session_keys = MaxSessionKeys(max_session_keys);
        config.resumption = max_session_keys.resumption();
        Ok(Self {
            config: Arc::new(config),
            verifier,
            identities: common.identities,
            authority,
            sni,
            host_sni: auto_host_sni,
            max_session_keys,
            asked: Mutex::default(),
            key_log: common.key_log,
        })
    }
}

impl ClientSide {
    /// The configuration for a connection of which this is asked.
    pub(super) fn config(&self, asked: &Asked<'_>, io: &dyn ByteStream) -> Arc<ClientConfig> {
        let config = self.config_for(asked);
        if self.key_log.as_ref().is_none_or(|file| file.wants(io)) {
            return config;
        }
        let mut config = ClientConfig::clone(&config);
        config.key_log = Arc::new(NoKeyLog {});
        Arc::new(config)
    }

    fn config_for(&self, asked: &Asked<'_>) -> Arc<ClientConfig> {
        let san = asked.san.filter(|san| self.verifier.validation.judges() && !san.is_empty());
        let offer = if self.config.alpn_protocols.is_empty() { asked.offer } else { Offer::Nothing };
        if san.is_none() && offer == Offer::Nothing && asked.protocols.is_none() {
            return Arc::clone(&self.config);
        }
        let key = Wish {
            offer,
            protocols: asked.protocols.map(Box::from),
            san: Box::from(san.unwrap_or_default()),
        };
        let mut kept = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = kept.get(&key) {
            return Arc::clone(config);
        }
        let mut config = ClientConfig::clone(&self.config);
        match asked.protocols {
            Some(protocols) => {
                config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            }
            None => config.alpn_protocols.extend(offer.names().iter().map(|name| name.to_vec())),
        }
        if let Some(san) = san {
            let mut verifier = Verifier::clone(&self.verifier);
            verifier.san = Some(san.into());
            // A session that was begun without looking at the name is not resumed where the name counts.
            config.resumption = self.max_session_keys.resumption();
            config.dangerous().set_certificate_verifier(Arc::new(verifier));
        }
        let config = Arc::new(config);
        if kept.len() >= CONFIGS {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&config));
        config
    }

    pub(super) fn verifier(&self) -> &SharedVerifier {
        &self.verifier
    }

    /// The name to ask for; an address is never sent, it only stands for sessions.
    pub(super) fn server_name(&self, asked: &Asked<'_>) -> ServerName<'static> {
        let named = |name: &str| ServerName::try_from(name.to_owned()).ok();
        let from_host = || asked.host_name.filter(|n| self.host_sni && !n.is_empty()).and_then(named);
        let address = asked.host.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        let own = asked.server_name.and_then(named);
        own.or_else(from_host).or_else(|| self.sni.clone()).unwrap_or(ServerName::IpAddress(address.into()))
    }

    /// Our certificate, if a server asks for one.
    pub(super) fn identity(&self) -> Option<Arc<CertificateInfo>> {
        self.identities.first().map(|i| Arc::clone(&i.info))
    }
}

/// A client's certificate, shown to every server that asks.
#[derive(Debug)]
struct Ours(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Ours {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
