//! `envoy.tls.cert_validator.spiffe`: each trust domain has authorities of its own, and a certificate is judged by those
//! of the domain that its first URI names.

use super::certificate::{Certificate, SanType, Usage};
use super::error::RefusedPeer;
use super::material::{Source, san_matchers, trust_of, trust_of_pem};
use super::verify::{Refusal, SanMatcher, Trust};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nuncio_core::config::{CompileContext, data_source, type_name};
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use prost::Name;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::Value;
use webpki::{ExtendedKeyUsageValidator, KeyPurposeIdIter};

/// A compiled `SPIFFECertValidatorConfig`.
#[derive(Debug)]
pub(super) struct Spiffe {
    /// In the order of the configuration.
    domains: Vec<(Box<str>, Trust)>,
    /// Those of `match_typed_subject_alt_names` that are of URIs; others do not count.
    sans: Vec<SanMatcher>,
    allow_expired: bool,
    /// For `/certs`: where the last domain's bundle came from.
    source: Option<Source>,
}

impl Spiffe {
    /// Compiles `custom_validator_config` of a context. `None`: refused, with the reasons in `cx`.
    pub(super) fn compile(
        context: &pb::CertificateValidationContext,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let custom = context.custom_validator_config.as_ref()?;
        let sans = san_matchers(&context.match_typed_subject_alt_names, &[], cx)?;
        let cx = cx.field("custom_validator_config");
        let cx = cx.field("typed_config");
        let any = custom.typed_config.clone().unwrap_or_default();
        if type_name(&any.type_url) != pb::SpiffeCertValidatorConfig::full_name() {
            cx.error(format!("Failed to get certificate validator factory for {}", custom.name));
            return None;
        }
        let pb::SpiffeCertValidatorConfig { trust_domains, trust_bundles } = cx.unpack(&any)?;
        let (domains, source) = match trust_bundles {
            Some(bundles) => {
                let cx = cx.field("trust_bundles");
                let text = data_source(&bundles, &cx)?;
                let domains = bundle_map(&text);
                if let Err(why) = &domains {
                    cx.error(format!("Failed to load SPIFFE Bundle map: {why}"));
                }
                (domains.ok()?, None)
            }
            None => self::trust_domains(&trust_domains, &cx)?,
        };
        let sans = sans.into_iter().filter(|san| san.kind == Some(SanType::Uri)).collect();
        Some(Self { domains, sans, allow_expired: context.allow_expired_certificate, source })
    }

    /// Where the authorities came from.
    pub(super) fn source(&self) -> Option<Source> {
        self.source.clone()
    }

    /// The authorities of all domains.
    pub(super) fn authorities(&self) -> impl Iterator<Item = &Trust> {
        self.domains.iter().map(|(_, trust)| trust)
    }

    /// Checks a peer's chain.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        parsed: &Certificate<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Refusal> {
        // X.509-SVID, section 4.1: a leaf signs no certificates, and says so.
        let signs = parsed.usage().is_none_or(|usage| usage.has_any(&[Usage::CERT_SIGN, Usage::CRL_SIGN]));
        if signs || parsed.is_authority() {
            return Err(Refusal::new(RefusedPeer::Chain, "cert precheck"));
        }
        let mut uris = Vec::new();
        parsed.for_each_san(|kind, text| {
            if kind == SanType::Uri {
                uris.push(text.to_owned());
            }
        });
        let domain = uris.first().and_then(|uri| domain_of(uri));
        let trust = domain.and_then(|domain| self.domains.iter().find(|(name, _)| **name == *domain));
        let Some((_, trust)) = trust else {
            return Err(Refusal::new(RefusedPeer::Chain, "no trust bundle store"));
        };
        trust
            .check(leaf, parsed, rest, now, AnyUsage, algorithms, self.allow_expired)
            .map_err(Refusal::by_judge)?;
        let wanted = |uri: &String| self.sans.iter().any(|san| san.matches(SanType::Uri, uri));
        if !self.sans.is_empty() && !uris.iter().any(wanted) {
            return Err(Refusal::new(RefusedPeer::San, "SAN match"));
        }
        Ok(())
    }
}

/// Whatever a certificate's key is for beside.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// The trust domain of a SPIFFE ID, which has a path.
fn domain_of(uri: &str) -> Option<&str> {
    let (domain, _) = uri.strip_prefix("spiffe://")?.split_once('/')?;
    Some(domain)
}

/// Domains with their authorities.
type Domains = Vec<(Box<str>, Trust)>;

/// `trust_domains`, and where the last one's bundle came from.
fn trust_domains(
    messages: &[pb::spiffe_cert_validator_config::TrustDomain],
    cx: &CompileContext<'_>,
) -> Option<(Domains, Option<Source>)> {
    let (mut domains, mut source): (Domains, _) = (Vec::new(), None);
    for (i, message) in messages.iter().enumerate() {
        let cx = cx.item("trust_domains", i);
        let pb::spiffe_cert_validator_config::TrustDomain { name, trust_bundle } = message;
        if domains.iter().any(|(known, _)| **known == **name) {
            cx.error(format!("Multiple trust bundles are given for one trust domain for {name}"));
            return None;
        }
        let Some(bundle) = trust_bundle else {
            cx.error("a trust domain has no trust_bundle");
            return None;
        };
        domains.push((name.as_str().into(), trust_of(bundle, &cx.field("trust_bundle"))?));
        source = Some(Source(format!("{name}: {}", Source::of(bundle).0).into()));
    }
    Some((domains, source))
}

/// `trust_bundles`: a SPIFFE bundle map, in which each domain has keys with their certificates.
fn bundle_map(text: &[u8]) -> Result<Domains, &'static str> {
    let map: Value = serde_json::from_slice(text).map_err(|_| "it is no JSON")?;
    let domains = map.get("trust_domains").and_then(Value::as_object).filter(|map| !map.is_empty());
    let each = domains.ok_or("no trust_domains")?.iter().map(|(name, bundle)| {
        let keys = bundle.get("keys").and_then(Value::as_array).ok_or("a trust domain without keys")?;
        let mut pem = String::new();
        for key in keys {
            if key.get("use").and_then(Value::as_str) != Some("x509-svid") {
                return Err("a key whose use is not x509-svid");
            }
            let chain = key.get("x5c").and_then(Value::as_array).ok_or("a key without x5c")?;
            for der in chain.iter().filter_map(Value::as_str) {
                let der = STANDARD.decode(der).map_err(|_| "x5c is no base64")?;
                let der = STANDARD.encode(der);
                pem += &format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
            }
        }
        let trust = trust_of_pem(pem.as_bytes()).ok_or("a trust domain without certificates")?;
        Ok((name.as_str().into(), trust))
    });
    each.collect()
}
