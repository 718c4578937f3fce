//! `TlsParameters` and the cryptography behind them.

use super::p521::P521;
use super::signing::Schemes;
use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::TlsParameters;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion};
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

/// How many of [`SUITES`] are equals of each other, from the first on.
const DEFAULT_EQUALS: &[usize] = &[2, 2, 1, 1];

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
    ("P-521", &P521),
];

/// How many of [`GROUPS`] are offered by default.
const DEFAULT_GROUPS: usize = 3;

/// What a handshake may agree on.
pub(super) struct Params {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) schemes: Schemes,
    /// The cipher suites of TLS 1.2, equals together.
    pub(super) equals: Equals,
}

/// Cipher suites in the order of our preference; among equals it is the client's.
#[derive(Clone, Debug)]
pub(super) struct Equals(Vec<Vec<SupportedCipherSuite>>);

impl Equals {
    /// Whether a client's order matters.
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|group| group.len() > 1)
    }

    /// All of them, equals in the order in which a client `offers` them.
    pub(super) fn ordered(&self, offers: &[u16]) -> Vec<SupportedCipherSuite> {
        let place = |suite: &SupportedCipherSuite| offers.iter().position(|o| *o == u16::from(suite.suite()));
        let mut all = Vec::new();
        for group in &self.0 {
            let start = all.len();
            all.extend_from_slice(group);
            if let Some(group) = all.get_mut(start..) {
                group.sort_by_key(|suite| place(suite).unwrap_or(usize::MAX));
            }
        }
        all
    }
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
            signature_algorithms,
            compliance_policies,
        } = message.unwrap_or_default();
        // The one that there is.
        let fips = !compliance_policies.is_empty();
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
        if fips {
            versions = vec![&TLS13, &TLS12];
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
        let mut equals = suites(&cipher_suites, cx)?;
        provider.kx_groups = groups(&ecdh_curves, cx)?;
        let mut schemes = schemes(&signature_algorithms, cx)?;
        if fips {
            let suite = |s: &SupportedCipherSuite| s.suite() != CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
            provider.cipher_suites.retain(suite);
            equals =
                Equals(SUITES.iter().filter(|(name, ..)| name.contains("GCM")).map(|s| vec![s.2]).collect());
            provider.kx_groups = vec![kx_group::SECP256R1, kx_group::SECP384R1];
            schemes = Schemes::fips();
        }
        provider.cipher_suites.extend(equals.ordered(&[]));
        Some(Self { provider: Arc::new(provider), versions, schemes, equals })
    }
}

/// `cipher_suites`; an item may hold several with `:` between them, and several in `[A|B]`, which are equals.
fn suites(names: &[String], cx: &CompileContext<'_>) -> Option<Equals> {
    let mut groups = Vec::new();
    for (i, item) in names.iter().enumerate() {
        let cx = cx.item("cipher_suites", i);
        for word in item.split(':') {
            groups.push(group(word, &cx)?);
        }
    }
    if groups.is_empty() {
        let (mut equals, mut rest) = (Vec::new(), SUITES);
        for n in DEFAULT_EQUALS {
            let (group, tail) = rest.split_at_checked(*n)?;
            equals.push(group.iter().map(|(_, _, suite)| *suite).collect());
            rest = tail;
        }
        groups = equals;
    }
    Some(Equals(groups))
}

/// One suite, or equals in brackets.
fn group(word: &str, cx: &CompileContext<'_>) -> Option<Vec<SupportedCipherSuite>> {
    let names = match word.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        None => vec![word],
        Some(Some(names)) => names.split('|').collect(),
        Some(None) => {
            cx.error(format!("Failed to initialize cipher suites {word}"));
            return None;
        }
    };
    let find = |name: &str| {
        let known = SUITES.iter().find(|(openssl, iana, _)| *openssl == name || *iana == name);
        if known.is_none() {
            cx.unsupported(format!("the cipher suite {name} is not built"));
        }
        known.map(|(_, _, suite)| *suite)
    };
    names.into_iter().map(find).collect()
}

/// `signature_algorithms`
fn schemes(names: &[String], cx: &CompileContext<'_>) -> Option<Schemes> {
    let mut names = names.iter().flat_map(|item| item.split(':')).peekable();
    if names.peek().is_none() {
        return Some(Schemes::usual());
    }
    match Schemes::named(names) {
        Ok(schemes) => Some(schemes),
        Err(name) => {
            cx.field("signature_algorithms").unsupported(format!("the algorithm {name} is not built"));
            None
        }
    }
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
