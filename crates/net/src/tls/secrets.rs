//! Secrets by name (`static_resources.secrets`), and every context that is made of certificates.

use super::common::{Shown, ShownCertificate};
use super::stats::{ContextStats, Side};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::{Registry, Scope};
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::SystemTime;

/// The secrets and the TLS contexts of a process. Clones share them.
#[derive(Clone, Default)]
pub struct TlsManager(Arc<Inner>);

#[derive(Default)]
struct Inner {
    registry: Registry,
    fixed: Mutex<Fixed>,
    contexts: Mutex<Vec<Weak<dyn Context>>>,
    expiry: Mutex<HashMap<String, Scope<Expiry>>>,
}

/// Secrets of the bootstrap. A name may stand once for each kind.
#[derive(Default)]
struct Fixed {
    certificates: HashMap<String, pb::TlsCertificate>,
    validations: HashMap<String, pb::CertificateValidationContext>,
    ticket_keys: HashMap<String, pb::TlsSessionTicketKeys>,
}

nuncio_core::stats_block! {
    /// `ssl.certificate.NAME.`
    struct Expiry { gauge expiration_unix_time_seconds }
}

/// A context, as the manager sees it.
pub(super) trait Context: Send + Sync {
    /// Its certificates.
    fn shown(&self) -> Shown;
}

/// A value that is replaced as a whole while others hold on to the one before.
pub(super) struct Swap<T>(RwLock<Arc<T>>);

impl<T> Swap<T> {
    pub(super) fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    pub(super) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TlsManager {
    /// A manager without secrets; when certificates expire is told in `registry`.
    pub fn new(registry: &Registry) -> Self {
        Self(Arc::new(Inner { registry: registry.clone(), ..Inner::default() }))
    }

    /// Keeps a secret of the bootstrap.
    pub fn add_static(&self, secret: pb::Secret, cx: &CompileContext<'_>) {
        let pb::Secret { name, r#type } = secret;
        let mut fixed = lock(&self.0.fixed);
        let (kind, twice) = match r#type {
            Some(Type::TlsCertificate(value)) => {
                ("TlsCertificate", fixed.certificates.insert(name.clone(), value).is_some())
            }
            Some(Type::ValidationContext(value)) => {
                ("CertificateValidationContext", fixed.validations.insert(name.clone(), value).is_some())
            }
            Some(Type::SessionTicketKeys(value)) => {
                ("TlsSessionTicketKeys", fixed.ticket_keys.insert(name.clone(), value).is_some())
            }
            None => {
                if !cx.told_of("generic_secret") {
                    cx.error("Secret type not implemented");
                }
                return;
            }
        };
        if twice {
            cx.field("name").error(format!("Duplicate static {kind} secret name {name}"));
        }
    }

    /// The certificate of that name.
    pub(super) fn certificate(
        &self,
        named: &pb::SdsSecretConfig,
        cx: &CompileContext<'_>,
    ) -> Option<pb::TlsCertificate> {
        found(&lock(&self.0.fixed).certificates, named, "static secret", cx)
    }

    /// The validation context of that name.
    pub(super) fn validation(
        &self,
        named: &pb::SdsSecretConfig,
        cx: &CompileContext<'_>,
    ) -> Option<pb::CertificateValidationContext> {
        found(&lock(&self.0.fixed).validations, named, "static certificate validation context", cx)
    }

    /// The ticket keys of that name.
    pub(super) fn ticket_keys(
        &self,
        named: &pb::SdsSecretConfig,
        cx: &CompileContext<'_>,
    ) -> Option<pb::TlsSessionTicketKeys> {
        found(&lock(&self.0.fixed).ticket_keys, named, "tls session ticket keys", cx)
    }

    /// The stats of a context whose owner's begin with `prefix`.
    pub(super) fn stats(&self, prefix: &str, side: Side) -> ContextStats {
        ContextStats::new(&self.0.registry, prefix, side)
    }

    /// Takes a context into the list, for as long as it lives; `prefix` is its owner's in stats.
    pub(super) fn keep<C: Context + 'static>(&self, context: &Arc<C>, prefix: &str) {
        let Shown { own, authorities } = context.shown();
        let mut expiry = lock(&self.0.expiry);
        for ShownCertificate { info, label, .. } in own.iter().chain(&authorities) {
            let name = format!("{prefix}ssl.certificate.{label}.");
            let gauge = expiry.entry(name).or_insert_with_key(|name| self.0.registry.scope(name));
            let at = info.not_after.and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
            gauge.expiration_unix_time_seconds.set(at.unwrap_or_default().as_secs());
        }
        let mut contexts = lock(&self.0.contexts);
        contexts.retain(|c| c.strong_count() > 0);
        let weak: Weak<C> = Arc::downgrade(context);
        contexts.push(weak);
    }

    /// What each context shows, in the order in which they were made.
    pub fn shown(&self) -> Vec<Shown> {
        lock(&self.0.contexts).iter().filter_map(Weak::upgrade).map(|c| c.shown()).collect()
    }

    /// When the first certificate expires; `None` without any.
    pub fn first_expiry(&self) -> Option<SystemTime> {
        self.shown()
            .iter()
            .flat_map(|s| s.own.iter().chain(&s.authorities))
            .filter_map(|c| c.info.not_after)
            .min()
    }
}

fn found<T: Clone>(
    table: &HashMap<String, T>,
    named: &pb::SdsSecretConfig,
    what: &str,
    cx: &CompileContext<'_>,
) -> Option<T> {
    let pb::SdsSecretConfig { name } = named;
    let found = table.get(name).cloned();
    if found.is_none() && !cx.told_of("sds_config") {
        cx.field("name").error(format!("Unknown {what}: {name}"));
    }
    found
}

/// `default` with what `secret` sets, as protobuf merges messages: lists are joined, other fields replaced where they
/// are set.
pub(super) fn merged(
    default: pb::CertificateValidationContext,
    secret: pb::CertificateValidationContext,
) -> pb::CertificateValidationContext {
    use prost::Message;
    let mut both = default;
    // Merging what was just encoded cannot fail.
    let _ = both.merge(secret.encode_to_vec().as_slice());
    both
}
