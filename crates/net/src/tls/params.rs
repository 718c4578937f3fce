//! `TlsParameters` and the cryptography behind them.

use super::p521::P521;
use super::signing::Schemes;
use super::suites::{self, RuleError};
use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::TlsParameters;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::{
    CompliancePolicy, TlsProtocol,
};
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, NamedGroup, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

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
    ("MLKEM1024", kx_group::MLKEM1024),
];

/// How many of [`GROUPS`] are offered by default.
const DEFAULT_GROUPS: usize = 3;

/// What a `CompliancePolicy` puts in the place of everything else.
struct Policy {
    versions: Vec<&'static SupportedProtocolVersion>,
    suites13: &'static [CipherSuite],
    /// Of TLS 1.2.
    rule: &'static str,
    groups: Vec<&'static dyn SupportedKxGroup>,
    schemes: &'static [SignatureScheme],
}

impl Policy {
    /// As BoringSSL has it, without key exchange by RSA.
    fn of(policy: CompliancePolicy) -> Self {
        const AES_256: &[CipherSuite] = &[CipherSuite::TLS13_AES_256_GCM_SHA384];
        match policy {
            CompliancePolicy::Fips202205 => Self {
                versions: vec![&TLS13, &TLS12],
                suites13: &[CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_AES_256_GCM_SHA384],
                rule: "ECDHE+AESGCM",
                groups: vec![kx_group::SECP256R1, kx_group::SECP384R1],
                schemes: &Schemes::FIPS,
            },
            CompliancePolicy::Cnsa1202603 => Self {
                versions: vec![&TLS13, &TLS12],
                suites13: AES_256,
                rule: "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384",
                groups: vec![kx_group::MLKEM1024, kx_group::SECP384R1],
                schemes: &Schemes::CNSA,
            },
            CompliancePolicy::Cnsa2202603 => Self {
                versions: vec![&TLS13],
                suites13: AES_256,
                rule: "",
                groups: vec![kx_group::MLKEM1024],
                schemes: &Schemes::CNSA,
            },
        }
    }
}

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
        _ => suites::name(suite),
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
        // Each sets everything anew.
        let last = compliance_policies.last().and_then(|number| CompliancePolicy::try_from(*number).ok());
        let policy = last.map(Policy::of);
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
        if let Some(policy) = &policy {
            versions = policy.versions.clone();
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
        if let Some(policy) = policy {
            provider.cipher_suites.retain(|suite| policy.suites13.contains(&suite.suite()));
            equals = Equals(suites::read(policy.rule).unwrap_or_default());
            provider.kx_groups = policy.groups;
            schemes = Schemes::of_policy(policy.schemes);
        }
        provider.cipher_suites.extend(equals.ordered(&[]));
        Some(Self { provider: Arc::new(provider), versions, schemes, equals })
    }
}

/// `cipher_suites`: the items are one rule, with `:` between them.
fn suites(items: &[String], cx: &CompileContext<'_>) -> Option<Equals> {
    let rule = items.join(":");
    let cx = cx.field("cipher_suites");
    match suites::read(&rule) {
        Ok(groups) => return Some(Equals(groups)),
        Err(RuleError::Unbuilt(left)) => {
            let left = left.join(", ");
            cx.unsupported(format!(
                "the cipher suites {left}, which it leaves, are not built (there is neither CBC nor key exchange by \
                 RSA: `!SHA1:!kRSA` takes them out)"
            ));
        }
        Err(RuleError::Words(words)) => {
            let words = words.join(", ");
            cx.error(format!(
                "Failed to initialize cipher suites {rule}. The following ciphers were rejected when tried \
                 individually: {words}"
            ));
        }
    }
    None
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
