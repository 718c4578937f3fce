//! Certificates, keys and authorities from where the configuration says they are.

use super::certificate::{Certificate, SanType, oid_bytes};
use super::ocsp::Ocsp;
use super::verify::{SanMatcher, Trust, Validation};
use nuncio_core::config::{CompileContext, data_source};
use nuncio_core::matcher::StringMatcher;
use nuncio_core::stream_info::CertificateInfo;
use nuncio_proto::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType as PbSanType;
use nuncio_proto::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use webpki::{BorrowedCertRevocationList, CertRevocationList, anchor_from_trusted_cert};

/// A certificate of ours with its key.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) info: Arc<CertificateInfo>,
    pub(super) is_ecdsa: bool,
    /// The names that it is chosen by: its DNS names, else its common name.
    pub(super) names: Vec<Box<str>>,
    pub(super) source: Source,
    /// Its name in stats.
    pub(super) label: Box<str>,
    pub(super) ocsp: Option<Ocsp>,
}

/// Where certificates came from, for `/certs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(pub Box<str>);

impl Source {
    fn of(message: &DataSource) -> Self {
        Self(match &message.specifier {
            Some(Specifier::Filename(path)) => path.as_str().into(),
            Some(
                Specifier::EnvironmentVariable(_) | Specifier::InlineBytes(_) | Specifier::InlineString(_),
            ) => "<inline>".into(),
            None => "".into(),
        })
    }
}

/// One `TlsCertificate`, which stats call `label`.
pub(super) fn identity(
    message: &pb::TlsCertificate,
    label: &str,
    provider: &CryptoProvider,
    cx: &CompileContext<'_>,
) -> Option<Identity> {
    // What is watched is a matter of secrets that are fed.
    let pb::TlsCertificate { certificate_chain, private_key, ocsp_staple, watched_directory: _ } = message;
    let (chain_cx, key_cx) = (cx.field("certificate_chain"), cx.field("private_key"));
    let (Some(chain_source), Some(key_source)) = (certificate_chain, private_key) else {
        cx.error("Either private_key or certificate_chain was not set in the TLS certificate");
        return None;
    };
    let source = Source::of(chain_source);
    let chain_pem = data_source(chain_source, &chain_cx)?;
    let key_pem = data_source(key_source, &key_cx)?;
    let chain = certificates(&chain_pem).filter(|chain| !chain.is_empty());
    let Some(chain) = chain else {
        chain_cx.error(format!("Failed to load certificate chain from {}", source.0));
        return None;
    };
    let key_source = Source::of(key_source);
    let Ok(key) = PrivateKeyDer::from_pem_slice(&key_pem) else {
        key_cx.error(format!("Failed to load private key from {}", key_source.0));
        return None;
    };
    let leaf = chain.first()?.clone();
    let certified = match CertifiedKey::from_der(chain, key, provider) {
        Ok(certified) => certified,
        Err(error) => {
            let why = match error {
                rustls::Error::InconsistentKeys(_) => "KEY_VALUES_MISMATCH".to_owned(),
                other => other.to_string(),
            };
            key_cx.error(format!("Failed to load private key from {}, Cause: {why}", key_source.0));
            return None;
        }
    };
    let Some(parsed) = Certificate::parse(&leaf) else {
        chain_cx.error(format!("Failed to load certificate chain from {}", source.0));
        return None;
    };
    let mut names: Vec<Box<str>> = Vec::new();
    parsed.for_each_san(|kind, name| {
        if kind == SanType::Dns {
            names.push(name.to_ascii_lowercase().into());
        }
    });
    if names.is_empty() {
        names.extend(parsed.common_name().map(|n| n.to_ascii_lowercase().into_boxed_str()));
    }
    let ocsp = match ocsp_staple {
        Some(staple) => staple_of(staple, &parsed, &cx.field("ocsp_staple"))?,
        None => None,
    };
    Some(Identity {
        label: label.into(),
        ocsp,
        info: Arc::new(parsed.info(&leaf)),
        is_ecdsa: parsed.is_ecdsa(),
        names,
        source,
        key: Arc::new(certified),
    })
}

/// The OCSP response of `ocsp_staple`, which must be that of the certificate; an empty file holds none. The outer `None`:
/// refused.
#[allow(clippy::option_option, reason = "refused, absent, present")]
fn staple_of(
    message: &DataSource,
    certificate: &Certificate<'_>,
    cx: &CompileContext<'_>,
) -> Option<Option<Ocsp>> {
    if let Some(Specifier::InlineString(_)) = message.specifier {
        cx.error("OCSP staple cannot be provided via inline_string");
        return None;
    }
    let der = data_source(message, cx)?;
    if der.is_empty() {
        return Some(None);
    }
    match Ocsp::parse(&der) {
        Ok(ocsp) if ocsp.serial == certificate.serial() => Some(Some(ocsp)),
        Ok(_) => {
            cx.error("OCSP response does not match its TLS certificate");
            None
        }
        Err(why) => {
            cx.error(why);
            None
        }
    }
}

/// All certificates of a PEM text; `None` where one cannot be read.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}

/// A `CertificateValidationContext` and, for `/certs`, its authorities.
pub(super) fn validation(
    message: &pb::CertificateValidationContext,
    cx: &CompileContext<'_>,
) -> Option<(Validation, Option<Source>)> {
    let pb::CertificateValidationContext {
        trusted_ca,
        verify_certificate_spki,
        verify_certificate_hash,
        match_typed_subject_alt_names,
        match_subject_alt_names,
        crl,
        allow_expired_certificate,
        trust_chain_verification,
        only_verify_leaf_cert_crl,
        max_verify_depth,
        // Whoever asks clients for certificates reads it.
        suppress_client_ca_list: _,
        // A matter of secrets that are fed.
        watched_directory: _,
    } = message;
    let mut source = None;
    let mut trust = None;
    if let Some(ca) = trusted_ca {
        source = Some(Source::of(ca));
        trust = Some(self::trust(ca, &cx.field("trusted_ca"))?);
    }
    let sans = san_matchers(match_typed_subject_alt_names, match_subject_alt_names, cx)?;
    if !sans.is_empty() && trust.is_none() {
        cx.error(
            "SAN-based verification of peer certificates without trusted CA is insecure and not allowed",
        );
        return None;
    }
    if let Some(crl) = crl {
        let lists = revocations(crl, &cx.field("crl"))?;
        let Some(trust) = &mut trust else {
            cx.field("crl").error("Failed to load CRL: trusted_ca is not set");
            return None;
        };
        trust.crls = lists;
    }
    if let Some(trust) = &mut trust {
        trust.only_leaf_crl = *only_verify_leaf_cert_crl;
        trust.max_depth = *max_verify_depth;
    }
    let hashes =
        pins(verify_certificate_hash, "verify_certificate_hash", cx, |text| from_hex(&text.replace(':', "")));
    let spkis = pins(verify_certificate_spki, "verify_certificate_spki", cx, from_base64);
    let validation = Validation {
        trust,
        sans,
        hashes: hashes?,
        spkis: spkis?,
        allow_expired: *allow_expired_certificate,
        accept_untrusted: TrustChainVerification::try_from(*trust_chain_verification)
            == Ok(TrustChainVerification::AcceptUntrusted),
    };
    Some((validation, source))
}

fn trust(message: &DataSource, cx: &CompileContext<'_>) -> Option<Trust> {
    let pem = data_source(message, cx)?;
    let certificates = certificates(&pem).filter(|list| !list.is_empty());
    let anchors = certificates.as_ref().and_then(|list| {
        list.iter()
            .map(|c| anchor_from_trusted_cert(c).ok().map(|a| a.to_owned()))
            .collect::<Option<Vec<_>>>()
    });
    let (Some(certificates), Some(anchors)) = (certificates, anchors) else {
        cx.error(format!("Failed to load trusted CA certificates from {}", Source::of(message).0));
        return None;
    };
    Some(Trust { certificates, anchors, crls: Vec::new(), only_leaf_crl: false, max_depth: None })
}

fn revocations(message: &DataSource, cx: &CompileContext<'_>) -> Option<Vec<CertRevocationList<'static>>> {
    let pem = data_source(message, cx)?;
    let lists: Option<Vec<_>> = CertificateRevocationListDer::pem_slice_iter(&pem)
        .map(|der| {
            let der = der.ok()?;
            let list = BorrowedCertRevocationList::from_der(&der).ok()?;
            list.to_owned().ok().map(CertRevocationList::Owned)
        })
        .collect();
    let lists = lists.filter(|l| !l.is_empty());
    if lists.is_none() {
        cx.error(format!("Failed to load CRL from {}", Source::of(message).0));
    }
    lists
}

fn san_matchers(
    typed: &[pb::SubjectAltNameMatcher],
    untyped: &[nuncio_proto::pb::envoy::r#type::matcher::v3::StringMatcher],
    cx: &CompileContext<'_>,
) -> Option<Vec<SanMatcher>> {
    let mut matchers = Vec::new();
    for (i, message) in typed.iter().enumerate() {
        let pb::SubjectAltNameMatcher { san_type, matcher, oid } = message;
        let cx = cx.item("match_typed_subject_alt_names", i);
        let Some(matcher) = matcher else {
            cx.error("matcher: value is required");
            return None;
        };
        let kind = match PbSanType::try_from(*san_type) {
            Ok(PbSanType::Email) => SanType::Email,
            Ok(PbSanType::Dns) => SanType::Dns,
            Ok(PbSanType::Uri) => SanType::Uri,
            Ok(PbSanType::IpAddress) => SanType::IpAddress,
            Ok(PbSanType::OtherName) => SanType::OtherName,
            Ok(PbSanType::Unspecified) | Err(_) => return None,
        };
        let oid = match (kind, oid_bytes(oid)) {
            (SanType::OtherName, None) => {
                cx.error(format!("Failed to create SAN matcher for OTHER_NAME with OID: {oid}"));
                return None;
            }
            (SanType::OtherName, Some(bytes)) => Some(bytes.into_boxed_slice()),
            _ => None,
        };
        matchers.push(SanMatcher { oid, ..san_matcher(Some(kind), matcher, &cx.field("matcher"))? });
    }
    if typed.is_empty() {
        for (i, message) in untyped.iter().enumerate() {
            matchers.push(san_matcher(None, message, &cx.item("match_subject_alt_names", i))?);
        }
    }
    Some(matchers)
}

fn san_matcher(
    kind: Option<SanType>,
    message: &nuncio_proto::pb::envoy::r#type::matcher::v3::StringMatcher,
    cx: &CompileContext<'_>,
) -> Option<SanMatcher> {
    let exact = match &message.match_pattern {
        Some(MatchPattern::Exact(text)) => Some(text.as_str().into()),
        _ => None,
    };
    Some(SanMatcher { kind, matcher: StringMatcher::compile(message, cx)?, oid: None, exact })
}

fn pins(
    texts: &[String],
    field: &str,
    cx: &CompileContext<'_>,
    decode: impl Fn(&str) -> Option<[u8; 32]>,
) -> Option<Vec<[u8; 32]>> {
    texts
        .iter()
        .enumerate()
        .map(|(i, text)| {
            let pin = decode(text);
            if pin.is_none() {
                let what = if field.ends_with("hash") { "SHA-256" } else { "base64-encoded SHA-256" };
                cx.item(field, i).error(format!("Invalid {what} {text}"));
            }
            pin
        })
        .collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}

/// Base64 (RFC 4648) of 32 bytes.
fn from_base64(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_suffix('=')?;
    let mut bytes = Vec::with_capacity(33);
    let (mut bits, mut have) = (0_u32, 0);
    for c in digits.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    bytes.try_into().ok()
}
