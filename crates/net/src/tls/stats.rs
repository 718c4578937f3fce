//! `ssl.` stats of a listener or a cluster.

use super::error::{HandshakeError, RefusedPeer};
use nuncio_core::stats::{Registry, Scope};
use nuncio_core::stream_info::TlsInfo;
use std::cell::OnceCell;
use std::sync::OnceLock;

nuncio_core::stats_block! {
    /// What is counted of handshakes (`listener.ADDR.ssl.`, `cluster.NAME.ssl.`).
    pub struct SslCounters {
        counter connection_error,
        counter fail_verify_cert_hash,
        counter fail_verify_error,
        counter fail_verify_no_cert,
        counter fail_verify_san,
        counter handshake,
        counter no_certificate,
        counter ocsp_staple_failed,
        counter ocsp_staple_omitted,
        counter ocsp_staple_requests,
        counter ocsp_staple_responses,
        counter session_reused,
    }
}

nuncio_core::stats_block! {
    /// How contexts follow their secrets (`listener.ADDR.server_ssl_socket_factory.`,
    /// `cluster.NAME.client_ssl_socket_factory.`).
    pub(super) struct FactoryCounters {
        counter downstream_context_secrets_not_ready,
        counter ssl_context_update_by_sds,
        counter upstream_context_secrets_not_ready,
    }
}

/// Whose handshakes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A listener's.
    Server,
    /// A cluster's.
    Client,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// A context's own share of its owner's counters: it writes few, but they are all there as long as it is.
pub(super) struct ContextStats {
    registry: Registry,
    prefix: Box<str>,
    /// From the first generation on.
    handshakes: OnceLock<Scope<SslCounters>>,
    factory: Scope<FactoryCounters>,
}

impl ContextStats {
    /// Of a context whose owner's stats begin with `prefix`.
    pub(super) fn new(registry: &Registry, prefix: &str, side: Side) -> Self {
        let factory = registry.scope(&format!("{prefix}{}_ssl_socket_factory.", side.name()));
        let prefix = format!("{prefix}ssl.").into();
        Self { registry: registry.clone(), prefix, handshakes: OnceLock::new(), factory }
    }

    /// There is a generation.
    pub(super) fn made(&self) {
        self.handshakes.get_or_init(|| self.registry.scope(&self.prefix));
    }

    /// A secret changed.
    pub(super) fn updated(&self) {
        self.factory.ssl_context_update_by_sds.inc();
    }
}

/// Counters that are there from the first connection on that agreed on their thing: one block each.
macro_rules! agreed {
    ($($field:ident $block:ident = $name:literal,)*) => {
        $(nuncio_core::stats_block! {
            /// Handshakes that agreed on it.
            struct $block { counter $field = $name }
        })*

        /// What handshakes agreed on.
        #[derive(Default)]
        struct Agreed {
            $($field: OnceCell<Scope<$block>>,)*
        }

        impl Agreed {
            fn count(&self, registry: &Registry, prefix: &str, name: &str) {
                match name {
                    $($name => self.$field.get_or_init(|| registry.scope(prefix)).$field.inc(),)*
                    _ => {}
                }
            }
        }
    };
}

agreed! {
    tls12 Tls12 = "versions.TLSv1.2",
    tls13 Tls13 = "versions.TLSv1.3",
    aes128 Aes128 = "ciphers.TLS_AES_128_GCM_SHA256",
    aes256 Aes256 = "ciphers.TLS_AES_256_GCM_SHA384",
    chacha20 Chacha20 = "ciphers.TLS_CHACHA20_POLY1305_SHA256",
    ecdsa_aes128 EcdsaAes128 = "ciphers.ECDHE-ECDSA-AES128-GCM-SHA256",
    ecdsa_aes256 EcdsaAes256 = "ciphers.ECDHE-ECDSA-AES256-GCM-SHA384",
    ecdsa_chacha20 EcdsaChacha20 = "ciphers.ECDHE-ECDSA-CHACHA20-POLY1305",
    rsa_aes128 RsaAes128 = "ciphers.ECDHE-RSA-AES128-GCM-SHA256",
    rsa_aes256 RsaAes256 = "ciphers.ECDHE-RSA-AES256-GCM-SHA384",
    rsa_chacha20 RsaChacha20 = "ciphers.ECDHE-RSA-CHACHA20-POLY1305",
    x25519_mlkem768 X25519Mlkem768 = "curves.X25519MLKEM768",
    x25519 X25519 = "curves.X25519",
    p256 P256 = "curves.P-256",
    p384 P384 = "curves.P-384",
    p521 P521 = "curves.P-521",
    pss_sha256 PssSha256 = "sigalgs.rsa_pss_rsae_sha256",
    pss_sha384 PssSha384 = "sigalgs.rsa_pss_rsae_sha384",
    pss_sha512 PssSha512 = "sigalgs.rsa_pss_rsae_sha512",
    pkcs1_sha256 Pkcs1Sha256 = "sigalgs.rsa_pkcs1_sha256",
    pkcs1_sha384 Pkcs1Sha384 = "sigalgs.rsa_pkcs1_sha384",
    pkcs1_sha512 Pkcs1Sha512 = "sigalgs.rsa_pkcs1_sha512",
    ecdsa_p256 EcdsaP256 = "sigalgs.ecdsa_secp256r1_sha256",
    ecdsa_p384 EcdsaP384 = "sigalgs.ecdsa_secp384r1_sha384",
    ecdsa_p521 EcdsaP521 = "sigalgs.ecdsa_secp521r1_sha512",
    ed25519 Ed25519 = "sigalgs.ed25519",
}

/// One worker's `ssl.` stats of a listener or a cluster.
pub struct SslStats {
    registry: Registry,
    prefix: Box<str>,
    side: Side,
    /// From the first handshake on: they are those of contexts, which may wait for their secrets.
    counters: OnceCell<Scope<SslCounters>>,
    agreed: Agreed,
    factory: Scope<FactoryCounters>,
}

impl SslStats {
    /// The stats below `prefix`, which is the owner's (`listener.ADDR.`).
    pub fn new(registry: &Registry, prefix: &str, side: Side) -> Self {
        let factory = registry.scope(&format!("{prefix}{}_ssl_socket_factory.", side.name()));
        let prefix = format!("{prefix}ssl.").into();
        let (counters, agreed) = (OnceCell::new(), Agreed::default());
        Self { registry: registry.clone(), prefix, side, counters, agreed, factory }
    }

    fn counters(&self) -> &SslCounters {
        self.counters.get_or_init(|| self.registry.scope(&self.prefix))
    }

    /// A handshake succeeded.
    pub fn secured(&self, info: &TlsInfo) {
        self.counters().handshake.inc();
        if let Some(stapled) = info.stapled {
            self.counters().ocsp_staple_requests.inc();
            let outcome = if stapled {
                &self.counters().ocsp_staple_responses
            } else {
                &self.counters().ocsp_staple_omitted
            };
            outcome.inc();
        }
        if info.resumed {
            self.counters().session_reused.inc();
        }
        match &info.peer {
            None => self.counters().no_certificate.inc(),
            Some(peer) if peer.distrusted => self.counters().fail_verify_error.inc(),
            Some(_) => {}
        }
        for (family, name) in [
            ("versions", info.version),
            ("ciphers", info.cipher),
            ("curves", info.group),
            ("sigalgs", info.signature),
        ] {
            self.agreed.count(&self.registry, &self.prefix, &format!("{family}.{name}"));
        }
    }

    /// A handshake failed.
    pub fn failed(&self, error: &HandshakeError) {
        let HandshakeError::Failed { refused, .. } = error else { return };
        match refused {
            None => self.counters().connection_error.inc(),
            Some(RefusedPeer::Reset) => {}
            Some(RefusedPeer::Secrets) => match self.side {
                Side::Server => self.factory.downstream_context_secrets_not_ready.inc(),
                Side::Client => self.factory.upstream_context_secrets_not_ready.inc(),
            },
            Some(RefusedPeer::Staple) => {
                self.counters().ocsp_staple_requests.inc();
                self.counters().ocsp_staple_failed.inc();
            }
            Some(RefusedPeer::NoCertificate) => self.counters().fail_verify_no_cert.inc(),
            Some(RefusedPeer::Chain) => self.counters().fail_verify_error.inc(),
            Some(RefusedPeer::San) => self.counters().fail_verify_san.inc(),
            Some(RefusedPeer::Hash) => self.counters().fail_verify_cert_hash.inc(),
        }
    }
}
