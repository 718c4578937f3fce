//! What `DownstreamTlsContext` and `UpstreamTlsContext` have in common.

use super::certificate::Certificate;
use super::context::Lack;
use super::key_log::KeyFile;
use super::material::{Identity, Source, identity, validation};
use super::ocsp::OcspTimes;
use super::params::Params;
use super::secrets::{Secrets, TlsManager, merged};
use super::verify::{SharedVerifier, Validation, Verifier};
use aws_lc_rs::digest::{Context as Digest, SHA256};
use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::CertificateInfo;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use rustls::DistinguishedName;
use std::sync::Arc;

/// Who has a context: where its secrets come from, and what its stats are called.
#[derive(Clone, Copy)]
pub struct TlsOwner<'a> {
    /// Secrets by name, and the list of all contexts.
    pub manager: &'a TlsManager,
    /// The prefix of the owner's stats, with its trailing dot (`listener.ADDR.`).
    pub stat_prefix: &'a str,
}

/// A compiled `CommonTlsContext`.
pub(super) struct Common {
    pub(super) params: Params,
    pub(super) identities: Vec<Identity>,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) key_log: Option<Arc<KeyFile>>,
    validation: Option<(Validation, Authority)>,
    suppress_hints: bool,
}

/// Where the authorities came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Authority {
    /// For `/certs`.
    pub(super) source: Option<Source>,
    /// Their name in stats: that of the secret.
    pub(super) label: Option<Box<str>>,
}

/// What certificates without a secret's name are called in stats.
const UNNAMED: &str = "unnamed_cert_e3b0c442";
/// The same, of authorities.
const UNNAMED_CA: &str = "unnamed_ca_cert_e3b0c442";

impl Common {
    /// Compiles the message; `newest` is the newest version where none is named.
    pub(super) fn compile(
        message: Option<pb::CommonTlsContext>,
        newest: TlsProtocol,
        cx: &CompileContext<'_>,
        secrets: &Secrets<'_>,
    ) -> Result<Self, Lack> {
        let pb::CommonTlsContext {
            tls_params,
            tls_certificates,
            alpn_protocols,
            validation_context_type,
            tls_certificate_sds_secret_configs,
            key_log,
        } = message.unwrap_or_default();
        let params = Params::compile(tls_params, newest, &cx.field("tls_params"));
        if !tls_certificates.is_empty() && !tls_certificate_sds_secret_configs.is_empty() {
            let side = if newest == TlsProtocol::TlSv13 { "server" } else { "client" };
            cx.error(format!("SDS and non-SDS TLS certificates may not be mixed in {side} contexts"));
            return Err(Lack::Refused);
        }
        let names = alpn_protocols.iter().map(String::len);
        if names.clone().any(|n| !(1..256).contains(&n)) || names.map(|n| n + 1).sum::<usize>() > 65_535 {
            cx.field("alpn_protocols").error("Invalid ALPN protocol string");
            return Err(Lack::Refused);
        }
        let identities = params.as_ref().ok_or(Lack::Refused).and_then(|params| {
            identities(&tls_certificates, &tls_certificate_sds_secret_configs, params, cx, secrets)
        });
        let validation = validation_of(validation_context_type, cx, secrets);
        if validation.as_ref().is_err_and(|lack| *lack == Lack::Refused) {
            return Err(Lack::Refused);
        }
        let (identities, validation) = (identities?, validation?);
        let alpn = alpn_protocols.into_iter().map(String::into_bytes).collect();
        let suppress_hints = validation.as_ref().is_some_and(|(_, _, suppress)| *suppress);
        let validation = validation.map(|(validation, authority, _)| (validation, authority));
        let key_log = match &key_log {
            Some(message) => Some(KeyFile::compile(message, &cx.field("key_log")).ok_or(Lack::Refused)?),
            None => None,
        };
        let params = params.ok_or(Lack::Refused)?;
        Ok(Self { params, identities, alpn, key_log, validation, suppress_hints })
    }

    /// Whether an authority is configured.
    pub(super) fn has_authority(&self) -> bool {
        self.validation.as_ref().is_some_and(|(v, _)| v.trust.is_some())
    }

    /// The authority's source, and a verifier that asks a client for its certificate.
    pub(super) fn verifier(&mut self, require: bool, name_wanted: bool) -> (SharedVerifier, Authority) {
        let (validation, authority) = self.validation.take().unwrap_or_default();
        let require = require || validation.spiffe.is_some();
        let ask = require
            || validation.trust.is_some()
            || !(validation.hashes.is_empty() && validation.spkis.is_empty() && validation.sans.is_empty());
        let anchors = validation.authorities().filter(|_| !self.suppress_hints).flat_map(|t| &t.anchors);
        let hints = anchors.map(|a| DistinguishedName::in_sequence(a.subject.as_ref())).collect();
        let algorithms = self.params.provider.signature_verification_algorithms;
        let validation = Arc::new(validation);
        let schemes = self.params.schemes.clone();
        let verifier =
            Verifier { validation, algorithms, schemes, ask, require, hints, name_wanted, san: None };
        (Arc::new(verifier), authority)
    }
}

/// Our certificates. Of several secrets those are taken that are there, as in Envoy.
fn identities(
    certificates: &[pb::TlsCertificate],
    named: &[pb::SdsSecretConfig],
    params: &Params,
    cx: &CompileContext<'_>,
    secrets: &Secrets<'_>,
) -> Result<Vec<Identity>, Lack> {
    let mut identities = Vec::new();
    let mut lack = None;
    for (i, certificate) in certificates.iter().enumerate() {
        match identity(
            certificate,
            UNNAMED,
            &params.provider,
            &params.schemes,
            &cx.item("tls_certificates", i),
        ) {
            Some(identity) => identities.push(identity),
            None => lack = Some(Lack::Refused),
        }
    }
    for (i, named) in named.iter().enumerate() {
        let cx = cx.item("tls_certificate_sds_secret_configs", i);
        let made = secrets.certificate(named, &cx).and_then(|certificate| {
            identity(&certificate, &named.name, &params.provider, &params.schemes, &cx).ok_or(Lack::Refused)
        });
        match made {
            Ok(identity) => identities.push(identity),
            Err(Lack::Waiting) => lack = lack.or(Some(Lack::Waiting)),
            Err(Lack::Refused) => lack = Some(Lack::Refused),
        }
    }
    match lack {
        Some(Lack::Waiting) if !identities.is_empty() => Ok(identities),
        Some(lack) => Err(lack),
        None => Ok(identities),
    }
}

/// The validation context, its authority, and whether clients are not told of it.
fn validation_of(
    message: Option<ValidationContextType>,
    cx: &CompileContext<'_>,
    secrets: &Secrets<'_>,
) -> Result<Option<(Validation, Authority, bool)>, Lack> {
    let (message, label, field) = match message {
        None => return Ok(None),
        Some(ValidationContextType::ValidationContext(message)) => (message, None, "validation_context"),
        Some(ValidationContextType::ValidationContextSdsSecretConfig(named)) => {
            let field = "validation_context_sds_secret_config";
            (secrets.validation(&named, &cx.field(field))?, Some(named.name), field)
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let field = "combined_validation_context";
            let CombinedCertificateValidationContext {
                default_validation_context,
                validation_context_sds_secret_config,
            } = combined;
            let (cx, default) = (cx.field(field), default_validation_context.unwrap_or_default());
            let named = validation_context_sds_secret_config.unwrap_or_default();
            let secret = secrets.validation(&named, &cx.field("validation_context_sds_secret_config"))?;
            (merged(default, secret), Some(named.name), field)
        }
    };
    let (validation, source) = validation(&message, &cx.field(field)).ok_or(Lack::Refused)?;
    let authority = Authority { source, label: label.map(String::into_boxed_str) };
    Ok(Some((validation, authority, message.suppress_client_ca_list)))
}

/// A context's certificates, its own and those of its authorities, as `/certs` and stats tell of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Ours: each certificate, where it came from, and its name in stats.
    pub own: Vec<ShownCertificate>,
    /// The authorities'.
    pub authorities: Vec<ShownCertificate>,
}

/// One certificate of [`Shown`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// What it says.
    pub info: Arc<CertificateInfo>,
    /// Where it came from.
    pub source: Source,
    /// Its name in stats: that of its secret.
    pub label: Box<str>,
    /// Until when its OCSP response holds, where it has one.
    pub ocsp: Option<OcspTimes>,
}

impl Shown {
    pub(super) fn of(identities: &[Identity], verifier: &Verifier, authority: &Authority) -> Self {
        let own = identities
            .iter()
            .map(|i| ShownCertificate {
                info: Arc::clone(&i.info),
                source: i.source.clone(),
                label: i.label.clone(),
                ocsp: i.ocsp.as_ref().map(|o| o.times),
            })
            .collect();
        let several = verifier.validation.spiffe.is_some();
        let label = |at: usize| match &authority.label {
            Some(label) => label.clone(),
            None if several => format!("unnamed_ca_cert_{at}").into(),
            None => UNNAMED_CA.into(),
        };
        let all = verifier.validation.authorities().flat_map(|trust| &trust.certificates);
        let parsed = all.filter_map(|der| Some((der, Certificate::parse(der)?)));
        let authorities = match &authority.source {
            Some(source) => parsed
                .enumerate()
                .map(|(at, (der, certificate))| ShownCertificate {
                    info: Arc::new(certificate.info(der)),
                    source: source.clone(),
                    label: label(at),
                    ocsp: None,
                })
                .collect(),
            None => Vec::new(),
        };
        Self { own, authorities }
    }
}

/// What a session is bound to beside its keys: who answers, and what is asked of the client. A ticket of one context
/// opens no session of another that differs in any of it (CVE-2022-21654, nginx CVE-2025-23419).
pub(super) fn session_context(identities: &[Identity], verifier: &Verifier) -> [u8; 32] {
    let mut digest = Digest::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    for identity in identities {
        part(identity.info.issuer.as_bytes());
        part(identity.info.subject.as_bytes());
        let sans = [&identity.info.dns_sans, &identity.info.uri_sans, &identity.info.ip_sans];
        sans.into_iter().flatten().for_each(|san| part(san.as_bytes()));
    }
    part(&[u8::from(verifier.require), u8::from(verifier.ask)]);
    part(&verifier.validation.fingerprint());
    let mut out = [0; 32];
    out.copy_from_slice(digest.finish().as_ref());
    out
}
