//! Certificates, keys and authorities from where the configuration says they are.

use super::certificate::{Certificate, SanType, from_hex, oid_bytes};
use super::ocsp::Ocsp;
use super::pkcs12;
use super::private_key::private_key;
use super::signing::Schemes;
use super::spiffe::Spiffe;
use super::verify::{SanMatcher, Trust, Validation};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nuncio_core::config::{CompileContext, data_source_read_once};
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
    pub(super) fn of(message: &DataSource) -> Self {
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
    schemes: &Schemes,
    cx: &CompileContext<'_>,
) -> Option<Identity> {
    // What is watched is a matter of secrets that are fed.
    let pb::TlsCertificate {
        certificate_chain,
        private_key,
        ocsp_staple,
        password,
        pkcs12,
        watched_directory: _,
    } = message;
    let password = match password {
        Some(source) => data_source_read_once(source, &cx.field("password"))?,
        None => Vec::new(),
    };
    let (chain, key, source) = match pkcs12 {
        Some(file) if certificate_chain.is_none() && private_key.is_none() => {
            key_store(file, &password, provider, &cx.field("pkcs12"))?
        }
        Some(_) => {
            cx.error("pkcs12 and certificate_chain or private_key are mutually exclusive");
            return None;
        }
        None => key_pair(certificate_chain.as_ref(), private_key.as_ref(), &password, cx)?,
    };
    let key_cx = cx.field(if pkcs12.is_some() { "pkcs12" } else { "private_key" });
    let leaf = chain.first()?.clone();
    let certified = match CertifiedKey::from_der(chain, key, provider) {
        Ok(certified) => certified,
        Err(error) => {
            let why = match error {
                rustls::Error::InconsistentKeys(_) => "KEY_VALUES_MISMATCH".to_owned(),
                other => other.to_string(),
            };
            let key = pkcs12.as_ref().or(private_key.as_ref()).map_or(source, Source::of);
            key_cx.error(format!("Failed to load private key from {}, Cause: {why}", key.0));
            return None;
        }
    };
    let Some(parsed) = Certificate::parse(&leaf) else {
        cx.error(format!("Failed to load certificate chain from {}", source.0));
        return None;
    };
    // With their case, as in Envoy: a server name is compared with them in lower case.
    let mut names: Vec<Box<str>> = Vec::new();
    parsed.for_each_san(|kind, name| {
        if kind == SanType::Dns {
            names.push(name.into());
        }
    });
    if names.is_empty() {
        names.extend(parsed.common_name().map(Box::from));
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
        key: Arc::new(schemes.bind(certified)),
    })
}

/// A chain, its key, and where they came from.
type Loaded = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Source);

/// `certificate_chain` and `private_key`. `None`: refused, with the reason in `cx`.
fn key_pair(
    chain: Option<&DataSource>,
    key: Option<&DataSource>,
    password: &[u8],
    cx: &CompileContext<'_>,
) -> Option<Loaded> {
    let (chain_cx, key_cx) = (cx.field("certificate_chain"), cx.field("private_key"));
    let (Some(chain_source), Some(key_source)) = (chain, key) else {
        cx.error("Either private_key or certificate_chain was not set in the TLS certificate");
        return None;
    };
    let source = Source::of(chain_source);
    let chain_pem = data_source_read_once(chain_source, &chain_cx)?;
    let key_pem = data_source_read_once(key_source, &key_cx)?;
    let Some(chain) = certificates(&chain_pem).filter(|chain| !chain.is_empty()) else {
        chain_cx.error(format!("Failed to load certificate chain from {}", source.0));
        return None;
    };
    let Some(key) = private_key(&key_pem, password) else {
        key_cx.error(format!("Failed to load private key from {}", Source::of(key_source).0));
        return None;
    };
    Some((chain, key, source))
}

/// `pkcs12`. `None`: refused, with the reason in `cx`.
fn key_store(
    file: &DataSource,
    password: &[u8],
    provider: &CryptoProvider,
    cx: &CompileContext<'_>,
) -> Option<Loaded> {
    let source = Source::of(file);
    let bytes = data_source_read_once(file, cx)?;
    let Some((chain, key)) = pkcs12::open(&bytes, password, provider) else {
        cx.error(format!("Failed to load pkcs12 from {}", source.0));
        return None;
    };
    Some((chain, key, source))
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
    let der = data_source_read_once(message, cx)?;
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
        custom_validator_config,
    } = message;
    if custom_validator_config.is_some() {
        let spiffe = Spiffe::compile(message, cx)?;
        let source = spiffe.source();
        return Some((Validation { spiffe: Some(spiffe), ..Validation::default() }, source));
    }
    let mut source = None;
    let mut trust = None;
    if let Some(ca) = trusted_ca {
        source = Some(Source::of(ca));
        trust = Some(trust_of(ca, &cx.field("trusted_ca"))?);
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
    let hashes = pins(verify_certificate_hash, "verify_certificate_hash", cx, |text| {
        from_hex(&text.replace(':', ""))?.try_into().ok()
    });
    let spkis = pins(verify_certificate_spki, "verify_certificate_spki", cx, |text| {
        STANDARD.decode(text).ok()?.try_into().ok()
    });
    let validation = Validation {
        spiffe: None,
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

/// The authorities that a source holds. `None`: refused, with the reason in `cx`.
pub(super) fn trust_of(message: &DataSource, cx: &CompileContext<'_>) -> Option<Trust> {
    let trust = trust_of_pem(&data_source_read_once(message, cx)?);
    if trust.is_none() {
        cx.error(format!("Failed to load trusted CA certificates from {}", Source::of(message).0));
    }
    trust
}

/// The authorities of a PEM text; `None` where there is none, or one that cannot be read.
pub(super) fn trust_of_pem(pem: &[u8]) -> Option<Trust> {
    let certificates = certificates(pem).filter(|list| !list.is_empty())?;
    let anchors = certificates.iter().map(|c| anchor_from_trusted_cert(c).ok().map(|a| a.to_owned()));
    let anchors = anchors.collect::<Option<Vec<_>>>()?;
    Some(Trust { certificates, anchors, crls: Vec::new(), only_leaf_crl: false, max_depth: None })
}

fn revocations(message: &DataSource, cx: &CompileContext<'_>) -> Option<Vec<CertRevocationList<'static>>> {
    let pem = data_source_read_once(message, cx)?;
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

pub(super) fn san_matchers(
    typed: &[pb::SubjectAltNameMatcher],
    untyped: &[nuncio_proto::pb::envoy::r#type::matcher::v3::StringMatcher],
    cx: &CompileContext<'_>,
) -> Option<Vec<SanMatcher>> {
    let mut matchers = Vec::new();
    for (i, message) in typed.iter().enumerate() {
        matchers.push(typed_san_matcher(message, &cx.item("match_typed_subject_alt_names", i))?);
    }
    if typed.is_empty() {
        for (i, message) in untyped.iter().enumerate() {
            matchers.push(san_matcher(None, message, &cx.item("match_subject_alt_names", i))?);
        }
    }
    Some(matchers)
}

pub(super) fn typed_san_matcher(
    message: &pb::SubjectAltNameMatcher,
    cx: &CompileContext<'_>,
) -> Option<SanMatcher> {
    let pb::SubjectAltNameMatcher { san_type, matcher, oid } = message;
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
    Some(SanMatcher { oid, ..san_matcher(Some(kind), matcher, &cx.field("matcher"))? })
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
