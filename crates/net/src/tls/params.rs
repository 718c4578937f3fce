//! `TlsParameters` and the cryptography behind them.

use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::TlsParameters;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, NamedGroup, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

/// The cipher suites of TLS 1.2 that rustls has, by their names in OpenSSL, in Envoy's order.
const SUITES: &[(&str, &str, SupportedCipherSuite)] = &[
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
];

/// Those of TLS 1.3, which no configuration restricts.
const SUITES13: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// Groups by Envoy's names.
const GROUPS: &[(&str, &dyn SupportedKxGroup)] = &[
    ("X25519MLKEM768", kx_group::X25519MLKEM768),
    ("X25519", kx_group::X25519),
    ("P-256", kx_group::SECP256R1),
    ("P-384", kx_group::SECP384R1),
];

/// How many of [`GROUPS`] are offered by default.
const DEFAULT_GROUPS: usize = 3;

/// What a handshake may agree on.
pub(super) struct Params {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
}

/// A cipher suite's name as logs and stats show it.
pub fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        _ => SUITES.iter().find(|(_, _, s)| s.suite() == suite).map_or("", |(name, _, _)| name),
    }
}

/// A group's name as logs and stats show it.
pub fn group_name(group: NamedGroup) -> &'static str {
    GROUPS.iter().find(|(_, g)| g.name() == group).map_or("", |(name, _)| name)
}

/// The name of a signature scheme as stats show it (RFC 8446 section 4.2.3).
pub(super) fn signature_name(scheme: SignatureScheme) -> &'static str {
    match scheme {
        SignatureScheme::RSA_PSS_SHA256 => "rsa_pss_rsae_sha256",
        SignatureScheme::RSA_PSS_SHA384 => "rsa_pss_rsae_sha384",
        SignatureScheme::RSA_PSS_SHA512 => "rsa_pss_rsae_sha512",
        SignatureScheme::RSA_PKCS1_SHA256 => "rsa_pkcs1_sha256",
        SignatureScheme::RSA_PKCS1_SHA384 => "rsa_pkcs1_sha384",
        SignatureScheme::RSA_PKCS1_SHA512 => "rsa_pkcs1_sha512",
        SignatureScheme::ECDSA_NISTP256_SHA256 => "ecdsa_secp256r1_sha256",
        SignatureScheme::ECDSA_NISTP384_SHA384 => "ecdsa_secp384r1_sha384",
        SignatureScheme::ECDSA_NISTP521_SHA512 => "ecdsa_secp521r1_sha512",
        SignatureScheme::ED25519 => "ed25519",
        _ => "",
    }
}

impl Params {
    /// Compiles the parameters; `newest` is the newest version where none is named.
    pub(super) fn compile(
        message: Option<TlsParameters>,
        newest: TlsProtocol,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let TlsParameters {
            tls_minimum_protocol_version,
            tls_maximum_protocol_version,
            cipher_suites,
            ecdh_curves,
        } = message.unwrap_or_default();
        let version = |number: i32, default: TlsProtocol| match TlsProtocol::try_from(number) {
            Ok(TlsProtocol::TlsAuto) | Err(_) => default,
            Ok(version) => version,
        };
        let minimum = version(tls_minimum_protocol_version, TlsProtocol::TlSv12);
        let maximum = version(tls_maximum_protocol_version, newest);
        let mut versions = Vec::new();
        for (number, version) in [(TlsProtocol::TlSv13, &TLS13), (TlsProtocol::TlSv12, &TLS12)] {
            if (minimum as i32..=maximum as i32).contains(&(number as i32)) {
                versions.push(version);
            }
        }
        if versions.is_empty() {
            cx.error("tls_maximum_protocol_version is below tls_minimum_protocol_version");
            return None;
        }
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = SUITES13.to_vec();
        if newest == TlsProtocol::TlSv13 {
            // A server chooses, and OpenSSL's clients want this one most.
            provider.cipher_suites.swap(0, 1);
        }
        provider.cipher_suites.extend(suites(&cipher_suites, cx)?);
        provider.kx_groups = groups(&ecdh_curves, cx)?;
        Some(Self { provider: Arc::new(provider), versions })
    }
}

/// `cipher_suites`; an item may hold several in `[A|B]`, which are equals, and with `:` between them.
fn suites(names: &[String], cx: &CompileContext<'_>) -> Option<Vec<SupportedCipherSuite>> {
    if names.is_empty() {
        return Some(SUITES.iter().map(|(_, _, suite)| *suite).collect());
    }
    let mut suites = Vec::new();
    let mut good = true;
    for (i, item) in names.iter().enumerate() {
        for name in item.split([':', '[', ']', '|']).filter(|n| !n.is_empty()) {
            match SUITES.iter().find(|(openssl, iana, _)| *openssl == name || *iana == name) {
                Some((_, _, suite)) => suites.push(*suite),
                None => {
                    cx.item("cipher_suites", i).unsupported(format!("the cipher suite {name} is not built"));
                    good = false;
                }
            }
        }
    }
    good.then_some(suites)
}

/// `ecdh_curves`
fn groups(names: &[String], cx: &CompileContext<'_>) -> Option<Vec<&'static dyn SupportedKxGroup>> {
    if names.is_empty() {
        return Some(GROUPS.iter().take(DEFAULT_GROUPS).map(|(_, group)| *group).collect());
    }
    let mut groups = Vec::new();
    let mut good = true;
    for (i, item) in names.iter().enumerate() {
        for name in item.split(':') {
            match GROUPS.iter().find(|(known, _)| *known == name) {
                Some((_, group)) => groups.push(*group),
                None => {
                    cx.item("ecdh_curves", i).unsupported(format!("the group {name} is not built"));
                    good = false;
                }
            }
        }
    }
    good.then_some(groups)
}
