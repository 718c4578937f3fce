//! Secrets by name (`static_resources.secrets`, `sds_config`), and every context that is made of certificates.

use super::common::{Shown, ShownCertificate};
use super::context::Lack;
use super::feed::{SecretFeed, SecretKind};
use super::stats::{ContextStats, Side};
use nuncio_core::config::CompileContext;
use nuncio_core::source::FileSource;
use nuncio_core::stats::{Registry, Scope};
use nuncio_proto::pb::envoy::config::core::v3::ConfigSource;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

/// The secrets and the TLS contexts of a process. Clones share them.
#[derive(Clone, Default)]
pub struct TlsManager(Arc<Inner>);

#[derive(Default)]
struct Inner {
    registry: Registry,
    /// Those of the bootstrap. A name may stand once for each kind.
    fixed: Mutex<HashMap<(SecretKind, String), Type>>,
    feeds: Mutex<Vec<Weak<SecretFeed>>>,
    contexts: Mutex<Vec<Weak<dyn Shows>>>,
    expiry: Mutex<HashMap<String, Scope<Expiry>>>,
}

nuncio_core::stats_block! {
    /// `ssl.certificate.NAME.`
    struct Expiry { gauge expiration_unix_time_seconds }
}

/// A context, as `/certs` sees it.
pub(super) trait Shows: Send + Sync {
    /// Its certificates; `None` while a secret is missing.
    fn shown(&self) -> Option<Shown>;
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
        let Some(value) = r#type else {
            cx.error("Secret type not implemented");
            return;
        };
        let kind = SecretKind::of(&value);
        if lock(&self.0.fixed).insert((kind, name.clone()), value).is_some() {
            let kind = match kind {
                SecretKind::Certificate => "TlsCertificate",
                SecretKind::Validation => "CertificateValidationContext",
                SecretKind::TicketKeys => "TlsSessionTicketKeys",
                SecretKind::Generic => "GenericSecret",
            };
            cx.field("name").error(format!("Duplicate static {kind} secret name {name}"));
        }
    }

    /// The subscriptions that somebody holds, in the order in which they were made.
    pub fn feeds(&self) -> Vec<Arc<SecretFeed>> {
        lock(&self.0.feeds).iter().filter_map(Weak::upgrade).collect()
    }

    /// The subscription to a secret; a new one is made where there is none, unless its source is wrong.
    fn feed(
        &self,
        kind: SecretKind,
        name: &str,
        source: ConfigSource,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<SecretFeed>> {
        let (source, field) = FileSource::read(source, cx)?;
        let mut feeds = lock(&self.0.feeds);
        feeds.retain(|feed| feed.strong_count() > 0);
        let known = feeds.iter().filter_map(Weak::upgrade);
        let mut same = known.filter(|f| f.kind == kind && *f.name == *name && f.source == source);
        if let Some(feed) = same.next() {
            return Some(feed);
        }
        let feed = SecretFeed::new(name, source.exists(&cx.field(field))?, kind);
        feeds.push(Arc::downgrade(&feed));
        Some(feed)
    }

    /// The stats of a context whose owner's begin with `prefix`.
    pub(super) fn stats(&self, prefix: &str, side: Side) -> ContextStats {
        ContextStats::new(&self.0.registry, prefix, side)
    }

    /// Tells when these certificates expire; `prefix` is their owner's in stats.
    pub(super) fn tell_expiry(&self, shown: &Shown, prefix: &str) {
        let Shown { own, authorities } = shown;
        let mut expiry = lock(&self.0.expiry);
        for ShownCertificate { info, label, .. } in own.iter().chain(authorities) {
            let name = format!("{prefix}ssl.certificate.{label}.");
            let gauge = expiry.entry(name).or_insert_with_key(|name| self.0.registry.scope(name));
            let at = info.not_after.and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
            gauge.expiration_unix_time_seconds.set(at.unwrap_or_default().as_secs());
        }
    }

    /// Takes a context into the list, for as long as it lives.
    pub(super) fn keep(&self, context: Weak<dyn Shows>) {
        let mut contexts = lock(&self.0.contexts);
        contexts.retain(|c| c.strong_count() > 0);
        contexts.push(context);
    }

    /// What each context shows, in the order in which they were made.
    pub fn shown(&self) -> Vec<Shown> {
        lock(&self.0.contexts).iter().filter_map(Weak::upgrade).filter_map(|c| c.shown()).collect()
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

/// Secrets by name, for one context.
pub(super) struct Secrets<'a> {
    manager: &'a TlsManager,
    followed: RefCell<Vec<Arc<SecretFeed>>>,
}

impl<'a> Secrets<'a> {
    pub(super) fn of(manager: &'a TlsManager) -> Self {
        Self { manager, followed: RefCell::default() }
    }

    /// The subscriptions that were asked.
    pub(super) fn followed(&self) -> Vec<Arc<SecretFeed>> {
        self.followed.borrow().clone()
    }

    /// The certificate of that name.
    pub(super) fn certificate(
        &self,
        named: &pb::SdsSecretConfig,
        cx: &CompileContext<'_>,
    ) -> Result<pb::TlsCertificate, Lack> {
        match self.find(SecretKind::Certificate, "static secret", named, cx)? {
            Type::TlsCertificate(value) => Ok(value),
            _ => Err(Lack::Waiting),
        }
    }

    /// The validation context of that name.
    pub(super) fn validation(
        &self,
        named: &pb::SdsSecretConfig,
        cx: &CompileContext<'_>,
    ) -> Result<pb::CertificateValidationContext, Lack> {
        match self.find(SecretKind::Validation, "static certificate validation context", named, cx)? {
            Type::ValidationContext(value) => Ok(value),
            _ => Err(Lack::Waiting),
        }
    }

    /// The ticket keys of that name.
    pub(super) fn ticket_keys(
        &self,
        named: &pb::SdsSecretConfig,
        cx: &CompileContext<'_>,
    ) -> Result<pb::TlsSessionTicketKeys, Lack> {
        match self.find(SecretKind::TicketKeys, "tls session ticket keys", named, cx)? {
            Type::SessionTicketKeys(value) => Ok(value),
            _ => Err(Lack::Waiting),
        }
    }

    /// The value of a name; `what` is said where the bootstrap has none.
    fn find(
        &self,
        kind: SecretKind,
        what: &str,
        named: &pb::SdsSecretConfig,
        cx: &CompileContext<'_>,
    ) -> Result<Type, Lack> {
        let pb::SdsSecretConfig { name, sds_config } = named;
        if let Some(source) = sds_config {
            let feed = self.manager.feed(kind, name, source.clone(), &cx.field("sds_config"));
            let feed = feed.ok_or(Lack::Refused)?;
            self.followed.borrow_mut().push(Arc::clone(&feed));
            let secret = feed.present().ok_or(Lack::Waiting)?;
            return secret.r#type.clone().ok_or(Lack::Waiting);
        }
        let found = lock(&self.manager.0.fixed).get(&(kind, name.clone())).cloned();
        if found.is_none() && !cx.told_of("sds_config") {
            cx.field("name").error(format!("Unknown {what}: {name}"));
        }
        found.ok_or(Lack::Refused)
    }
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
