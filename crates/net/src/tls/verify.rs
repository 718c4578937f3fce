//! Checking the peer's certificate as `CertificateValidationContext` wants it.

use super::certificate::{Certificate, SanType, Usage};
use super::error::{Fault, RefusedPeer};
use super::material::typed_san_matcher;
use super::signing::Schemes;
use super::spiffe::Spiffe;
use aws_lc_rs::digest::{SHA256, digest};
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::StringMatcher;
use nuncio_core::stream_info::CertificateInfo;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::SubjectAltNameMatcher;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::cell::Cell;
use std::iter;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExtendedKeyUsageValidator, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// What is asked of a peer's certificate.
#[derive(Debug, Default)]
pub(super) struct Validation {
    /// `custom_validator_config`: it judges in place of all else.
    pub(super) spiffe: Option<Spiffe>,
    /// `trusted_ca`; without it any chain is good.
    pub(super) trust: Option<Trust>,
    /// One of these must match a subject alternative name, if there is one.
    pub(super) sans: Vec<SanMatcher>,
    /// SHA-256 of certificates, of which it must be one (or have one of the keys below).
    pub(super) hashes: Vec<[u8; 32]>,
    /// SHA-256 of public keys.
    pub(super) spkis: Vec<[u8; 32]>,
    /// `allow_expired_certificate`
    pub(super) allow_expired: bool,
    /// `trust_chain_verification: ACCEPT_UNTRUSTED`
    pub(super) accept_untrusted: bool,
}

/// Whether a key may sign handshakes, as far as its certificate says what it is for. BoringSSL looks at it on either side,
/// whatever else is asked of the peer.
fn may_sign(leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
    let usage = Certificate::parse(leaf).and_then(|parsed| parsed.usage());
    match usage {
        Some(usage) if !usage.has_any(&[Usage::DIGITAL_SIGNATURE]) => Err(Fault::WrongKeyUsage.into()),
        _ => Ok(()),
    }
}

/// Whether it can be a server's: its key may be used for one of what a handshake uses one for.
fn is_for_servers(parsed: &Certificate<'_>) -> Result<(), Refusal> {
    const ANY: &[Usage] = &[Usage::DIGITAL_SIGNATURE, Usage::KEY_ENCIPHERMENT, Usage::KEY_AGREEMENT];
    match parsed.usage() {
        Some(usage) if !usage.has_any(ANY) => Err(Refusal::chain("0: unsupported certificate purpose")),
        _ => Ok(()),
    }
}

/// Authorities.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) crls: Vec<CertRevocationList<'static>>,
    pub(super) only_leaf_crl: bool,
    /// `max_verify_depth`: authorities between the peer's certificate and the trusted one at most.
    pub(super) max_depth: Option<u32>,
}

/// `SubjectAltNameMatcher`
#[derive(Debug)]
pub(super) struct SanMatcher {
    /// `None`: of any type (`match_subject_alt_names`).
    pub(super) kind: Option<SanType>,
    pub(super) matcher: StringMatcher,
    /// `oid`, as its DER has it: the type of other names.
    pub(super) oid: Option<Box<[u8]>>,
    /// An exact pattern: for DNS names a wildcard in the certificate matches it.
    pub(super) exact: Option<Box<str>>,
}

impl SanMatcher {
    /// Whether an other name of this type is wanted.
    fn matches_other(&self, oid: &[u8], text: &str) -> bool {
        self.oid.as_deref() == Some(oid) && self.matcher.matches(text.as_bytes())
    }

    pub(super) fn matches(&self, kind: SanType, san: &str) -> bool {
        if self.oid.is_some() || self.kind.is_some_and(|k| k != kind) {
            return false;
        }
        match (&self.exact, kind) {
            (Some(name), SanType::Dns) => dns_matches(name, san),
            _ => self.matcher.matches(san.as_bytes()),
        }
    }
}

/// Whether one of a certificate's names is one of those that are wanted.
fn has_one(certificate: &Certificate<'_>, wanted: &[SanMatcher]) -> bool {
    let mut found = false;
    certificate.for_each_san(|kind, text| found |= wanted.iter().any(|m| m.matches(kind, text)));
    certificate.for_each_other_name(|oid, text| found |= wanted.iter().any(|m| m.matches_other(oid, text)));
    found
}

/// A name that a peer's certificate has to have (`SubjectAltNameMatcher`), for those who judge connections afterwards.
#[derive(Debug)]
pub struct PeerName(SanMatcher);

impl PeerName {
    /// Compiles the message. `None`: refused, with the reason in `cx`.
    pub fn compile(message: &SubjectAltNameMatcher, cx: &CompileContext<'_>) -> Option<Self> {
        typed_san_matcher(message, cx).map(Self)
    }

    /// Whether the certificate has it.
    pub fn is_of(&self, certificate: &CertificateInfo) -> bool {
        let parsed = Certificate::parse(&certificate.der);
        parsed.is_some_and(|parsed| has_one(&parsed, std::slice::from_ref(&self.0)))
    }
}

/// Whether a certificate's DNS name, which may begin with `*.`, is that of `name`. The wildcard stands for one label
/// (CVE-2020-15104).
pub(super) fn dns_matches(name: &str, san: &str) -> bool {
    if name.eq_ignore_ascii_case(san) {
        return true;
    }
    let (Some(suffix), Some((first, rest))) = (san.strip_prefix("*."), name.split_once('.')) else {
        return false;
    };
    !first.is_empty() && suffix.contains('.') && rest.eq_ignore_ascii_case(suffix)
}

/// Why a certificate was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) what: RefusedPeer,
    pub(super) text: Box<str>,
    /// What the peer is told.
    pub(super) alert: AlertDescription,
}

/// What peers are told of a chain, by the end of what logs say of it (BoringSSL's `SSL_alert_from_verify_result`).
const CHAIN_ALERTS: [(&str, AlertDescription); 7] = [
    ("has expired", AlertDescription::CertificateExpired),
    ("is not yet valid", AlertDescription::BadCertificate),
    ("revoked", AlertDescription::CertificateRevoked),
    ("purpose", AlertDescription::UnsupportedCertificate),
    ("signature failure", AlertDescription::DecryptError),
    ("issuer certificate", AlertDescription::UnknownCA),
    ("get certificate CRL", AlertDescription::UnknownCA),
];

impl Refusal {
    pub(super) fn new(what: RefusedPeer, text: impl Into<Box<str>>) -> Self {
        Self { what, text: text.into(), alert: AlertDescription::CertificateUnknown }
    }

    fn chain(text: &str) -> Self {
        let known = CHAIN_ALERTS.iter().find(|(end, _)| text.ends_with(end));
        let alert = match known {
            Some((_, alert)) => *alert,
            None if text.contains("self signed") => AlertDescription::UnknownCA,
            None => AlertDescription::CertificateUnknown,
        };
        let text = format!("X509_verify_cert: certificate verification error at depth {text}");
        Self { alert, ..Self::new(RefusedPeer::Chain, text) }
    }

    fn revocation(text: &str) -> Self {
        Self::chain(&format!("0: certificate revocation check against provided CRLs failed: {text}"))
    }

    /// None of its subject alternative names is wanted.
    fn sans(certificate: &Certificate<'_>) -> Self {
        let names = sans_of(certificate);
        Self::new(RefusedPeer::San, format!("SAN matcher, certificate SANs are [{names}]"))
    }

    /// A judge of its own refused the chain: whatever it found, the peer is told no more.
    pub(super) fn by_judge(self) -> Self {
        Self { alert: AlertDescription::CertificateUnknown, ..self }
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The chain leads to a trusted authority, or a pin matched.
    Validated,
    /// It was let pass.
    Accepted,
}

impl Validation {
    /// Whether it asks anything of a certificate.
    pub(super) fn judges(&self) -> bool {
        self.spiffe.is_some() || self.trust.is_some() || !(self.hashes.is_empty() && self.spkis.is_empty())
    }

    /// Everybody whom it trusts.
    pub(super) fn authorities(&self) -> impl Iterator<Item = &Trust> {
        self.trust.iter().chain(self.spiffe.iter().flat_map(Spiffe::authorities))
    }

    /// What tells two of them apart.
    pub(super) fn fingerprint(&self) -> Vec<u8> {
        let mut text = format!(
            "{:?}{:?}{:?}{}{}",
            self.sans, self.hashes, self.spkis, self.allow_expired, self.accept_untrusted
        )
        .into_bytes();
        text.extend(format!("{:?}", self.spiffe).into_bytes());
        if let Some(trust) = &self.trust {
            text.extend(format!("{}{:?}", trust.only_leaf_crl, trust.max_depth).into_bytes());
            trust.certificates.iter().for_each(|c| text.extend_from_slice(digest(&SHA256, c).as_ref()));
            text.extend(format!("{:?}", trust.crls).into_bytes());
        }
        text
    }

    /// Checks a peer's chain; `san` is a name that its certificate must have beside.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
        algorithms: &WebPkiSupportedAlgorithms,
        san: Option<&str>,
    ) -> Result<Verdict, Refusal> {
        let parsed =
            Certificate::parse(leaf).ok_or_else(|| Refusal::chain("0: certificate signature failure"))?;
        if let Some(spiffe) = &self.spiffe {
            return spiffe.check(leaf, &parsed, rest, now, algorithms).map(|()| Verdict::Validated);
        }
        let mut verdict = Verdict::Accepted;
        if let Some(trust) = &self.trust {
            match trust.check(leaf, &parsed, rest, now, usage, algorithms, self.allow_expired) {
                Ok(()) => verdict = Verdict::Validated,
                Err(_) if self.accept_untrusted => {}
                Err(refusal) => return Err(refusal),
            }
        }
        if let Some(name) = san
            && !has_name(&parsed, name)
        {
            return Err(Refusal::sans(&parsed));
        }
        if !self.sans.is_empty() && !has_one(&parsed, &self.sans) {
            return Err(Refusal::sans(&parsed));
        }
        if !(self.hashes.is_empty() && self.spkis.is_empty()) {
            let is =
                |list: &[[u8; 32]], bytes: &[u8]| list.iter().any(|h| digest(&SHA256, bytes).as_ref() == h);
            if !is(&self.hashes, leaf) && !is(&self.spkis, parsed.spki) {
                return Err(Refusal::new(RefusedPeer::Hash, "cert hash and spki"));
            }
            if self.trust.is_none() {
                verdict = Verdict::Validated;
            }
        }
        Ok(verdict)
    }
}

/// Whether a certificate is of a name that its connection wants.
fn listed(leaf: &CertificateDer<'_>, name: &str) -> Result<(), Refusal> {
    let parsed =
        Certificate::parse(leaf).ok_or_else(|| Refusal::chain("0: certificate signature failure"))?;
    if has_name(&parsed, name) {
        return Ok(());
    }
    let sans = sans_of(&parsed);
    let text = format!("verify SAN list, expected SANs: [{name}], certificate SANs: [{sans}]");
    Err(Refusal::new(RefusedPeer::San, text))
}

/// Every subject alternative name, as failures tell them.
fn sans_of(certificate: &Certificate<'_>) -> String {
    let mut names = Vec::new();
    certificate.for_each_san(|_, name| names.push(name.to_owned()));
    names.join(", ")
}

/// Whether a certificate is one of `name`, which is a DNS name or an IP address.
fn has_name(certificate: &Certificate<'_>, name: &str) -> bool {
    let ip: Option<IpAddr> = name.parse().ok();
    let mut found = false;
    certificate.for_each_san(|kind, san| {
        found |= match (kind, ip) {
            (SanType::Dns, None) => dns_matches(name, san),
            (SanType::IpAddress, Some(ip)) => san.parse() == Ok(ip),
            _ => false,
        };
    });
    found
}

impl Trust {
    #[allow(clippy::too_many_arguments, reason = "one call; it is what a chain is checked against")]
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        parsed: &Certificate<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        usage: impl ExtendedKeyUsageValidator,
        algorithms: &WebPkiSupportedAlgorithms,
        allow_expired: bool,
    ) -> Result<(), Refusal> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        if self.certificates.iter().any(|c| c.as_ref() == leaf.as_ref()) {
            // It is trusted itself, as whoever signs for himself is.
            return if allow_expired || parsed.holds_at(at) { Ok(()) } else { Err(expired(parsed, at)) };
        }
        let entity = EndEntityCert::try_from(leaf).map_err(|e| chain_refusal(&e, parsed, at))?;
        // A chain that was good when its certificate began to hold is one that only its time has ended.
        let when = if allow_expired { parsed.begins() } else { now };
        let crls: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|builder| {
            let depth = if self.only_leaf_crl {
                RevocationCheckDepth::EndEntity
            } else {
                RevocationCheckDepth::Chain
            };
            builder.with_depth(depth).with_status_policy(UnknownStatusPolicy::Deny).build()
        });
        // As BoringSSL counts: certificates without the trusted one, the peer's own among them.
        let most = self.max_depth.map(|max| max.max(1));
        let depth = |path: &webpki::VerifiedPath<'_>| match most {
            Some(most) if path.intermediate_certificates().count() >= most as usize => {
                Err(webpki::Error::MaximumPathDepthExceeded)
            }
            _ => Ok(()),
        };
        entity
            .verify_for_usage(algorithms.all, &self.anchors, rest, when, usage, revocation, Some(&depth))
            .map(drop)
            .map_err(|e| match (&e, most) {
                (webpki::Error::MaximumPathDepthExceeded, Some(most)) => {
                    Refusal::chain(&format!("{most}: unable to get local issuer certificate"))
                }
                (webpki::Error::UnknownIssuer, _) => unknown_issuer(parsed, rest),
                _ => chain_refusal(&e, parsed, at),
            })
    }
}

/// The chain ends before a trusted authority: at which certificate, and how.
fn unknown_issuer(leaf: &Certificate<'_>, rest: &[CertificateDer<'_>]) -> Refusal {
    let rest: Vec<Certificate<'_>> = rest.iter().filter_map(|der| Certificate::parse(der)).collect();
    let (mut last, mut depth) = (leaf, 0);
    while !last.self_issued() && depth < rest.len() {
        let Some(issuer) = rest.iter().find(|c| last.issued_by(c)) else { break };
        (last, depth) = (issuer, depth + 1);
    }
    let what = match (last.self_issued(), depth) {
        (true, 0) => "self signed certificate",
        (true, _) => "self signed certificate in certificate chain",
        (false, _) => "unable to get local issuer certificate",
    };
    Refusal::chain(&format!("{depth}: {what}"))
}

/// It does not hold now.
fn expired(certificate: &Certificate<'_>, now: SystemTime) -> Refusal {
    Refusal::chain(if certificate.began_by(now) {
        "0: certificate has expired"
    } else {
        "0: certificate is not yet valid"
    })
}

/// BoringSSL's words for what webpki says. The depth is 0 where the peer's own certificate is at fault.
fn chain_refusal(error: &webpki::Error, leaf: &Certificate<'_>, now: SystemTime) -> Refusal {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } if !leaf.holds_at(now) => {
            expired(leaf, now)
        }
        Error::InvalidCertValidity => expired(leaf, now),
        Error::CertExpired { .. } => Refusal::chain("1: certificate has expired"),
        Error::CertNotValidYet { .. } => Refusal::chain("1: certificate is not yet valid"),
        Error::CertRevoked => Refusal::revocation("certificate revoked"),
        Error::UnknownRevocationStatus => Refusal::revocation("unable to get certificate CRL"),
        Error::RequiredEkuNotFoundContext(_) => Refusal::chain("0: unsupported certificate purpose"),
        Error::InvalidSignatureForPublicKey => Refusal::chain("0: certificate signature failure"),
        Error::CaUsedAsEndEntity if leaf.self_issued() => Refusal::chain("0: self signed certificate"),
        other => Refusal::chain(&format!("0: {other:?}")),
    }
}

thread_local! {
    /// How the peer of this thread's present step of a handshake signed: rustls tells its verifier alone.
    static SIGNED: Cell<Option<SignatureScheme>> = const { Cell::new(None) };
}

/// How the peer signed, if the step of a handshake that has just been made checked its signature.
pub(super) fn take_signed() -> Option<SignatureScheme> {
    SIGNED.take()
}

thread_local! {
    /// The chain that this thread's present step of a handshake has refused: rustls does not keep it.
    static REFUSED: Cell<Option<Vec<CertificateInfo>>> = const { Cell::new(None) };
}

/// The client's chain, if the step of a handshake that has just been made refused it.
pub(super) fn take_refused() -> Option<Vec<CertificateInfo>> {
    REFUSED.take()
}

/// What is known of a chain's certificates, those left out that are none.
pub(super) fn facts<'c>(chain: impl Iterator<Item = &'c CertificateDer<'c>>) -> Vec<CertificateInfo> {
    chain.filter_map(|der| Certificate::parse(der).map(|c| c.info(der))).collect()
}

/// A verifier of either side.
#[derive(Clone, Debug)]
pub(super) struct Verifier {
    pub(super) validation: Arc<Validation>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// How the peer may sign.
    pub(super) schemes: Schemes,
    /// Client certificates: whether one is asked for, and has to be shown.
    pub(super) ask: bool,
    pub(super) require: bool,
    pub(super) hints: Vec<DistinguishedName>,
    /// Server certificates: the name that rustls was given has to be in them.
    pub(super) name_wanted: bool,
    /// Server certificates: a name that has to be in them (`auto_san_validation`).
    pub(super) san: Option<Box<str>>,
}

impl Verifier {
    fn tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        SIGNED.set(Some(dss.scheme));
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        SIGNED.set(Some(dss.scheme));
        let parsed = Certificate::parse(cert).ok_or(CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.spki);
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let san = self.name_wanted.then(|| name.to_str());
        if self.validation.trust.is_some()
            && !self.validation.accept_untrusted
            && let Some(parsed) = Certificate::parse(leaf)
        {
            is_for_servers(&parsed).map_err(Fault::Refused)?;
        }
        self.validation
            .check(leaf, rest, now, KeyUsage::server_auth(), &self.algorithms, san.as_deref())
            .and_then(|_| self.san.as_deref().map_or(Ok(()), |san| listed(leaf, san)))
            .map_err(Fault::Refused)?;
        may_sign(leaf).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.list().to_vec()
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.ask
    }

    fn client_auth_mandatory(&self) -> bool {
        self.require
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let checked = may_sign(leaf).and_then(|()| {
            let usage = KeyUsage::client_auth();
            let checked = self.validation.check(leaf, rest, now, usage, &self.algorithms, None);
            checked.map_err(|refusal| Fault::Refused(refusal).into())
        });
        match checked {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(error) => {
                REFUSED.set(Some(facts(iter::once(leaf).chain(rest))));
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.list().to_vec()
    }
}

/// A verifier that the connection's owner keeps, to ask it again what a chain is worth.
pub(super) type SharedVerifier = Arc<Verifier>;
