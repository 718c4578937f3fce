//! Secrets that come from files (SDS), and come again.

use super::material::{identity, validation};
use super::signing::Schemes;
use super::tickets::TicketKeys;
use nuncio_core::config::{CompileContext, Place, Reported, Sink, data_source_read_once};
use nuncio_core::source::FileSource;
use nuncio_proto::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::watch;

/// What a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretKind {
    /// `tls_certificate`
    Certificate,
    /// `validation_context`
    Validation,
    /// `session_ticket_keys`
    TicketKeys,
    /// `generic_secret`
    Generic,
}

impl SecretKind {
    /// The kind of a message's value.
    pub(super) fn of(value: &Type) -> Self {
        match value {
            Type::TlsCertificate(_) => Self::Certificate,
            Type::ValidationContext(_) => Self::Validation,
            Type::SessionTicketKeys(_) => Self::TicketKeys,
            Type::GenericSecret(_) => Self::Generic,
        }
    }

    /// The field of the message.
    fn field(self) -> &'static str {
        match self {
            Self::Certificate => "tls_certificate",
            Self::Validation => "validation_context",
            Self::TicketKeys => "session_ticket_keys",
            Self::Generic => "generic_secret",
        }
    }
}

/// Who is made of a secret.
pub(super) trait Follower: Send + Sync {
    /// Makes itself of the secrets that are there now, for [`commit`](Commit) to bring it into use.
    ///
    /// # Errors
    /// It cannot be made of them; the sink knows why.
    fn remade(self: Arc<Self>, sink: &Sink) -> Result<Commit, Reported>;
}

/// Brings what was made into use.
pub(super) type Commit = Box<dyn FnOnce()>;

/// A subscription to one secret, which all contexts share that name it from the same source. The main thread alone
/// feeds it.
pub struct SecretFeed {
    /// `SdsSecretConfig.name`
    pub name: Box<str>,
    /// `SdsSecretConfig.sds_config`
    pub source: FileSource,
    /// What is expected.
    pub kind: SecretKind,
    state: Mutex<State>,
    followers: Mutex<Vec<Weak<dyn Follower>>>,
    /// Dropped with this.
    alive: watch::Sender<()>,
}

/// The end of a subscription, which comes when nobody holds it any more; a context of a worker may be the last to.
pub struct FeedEnd(watch::Receiver<()>);

impl FeedEnd {
    /// Waits for it.
    pub async fn come(mut self) {
        // Nothing is ever sent.
        while self.0.changed().await.is_ok() {}
    }
}

#[derive(Default)]
struct State {
    /// What came, and where it stands.
    given: Option<Given>,
    /// The same with the content of the files that it names.
    present: Option<Arc<pb::Secret>>,
}

#[derive(Clone)]
struct Given {
    secret: pb::Secret,
    path: String,
    place: Option<Place>,
}

/// A directory with files of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedFiles {
    /// Something that is moved in here may be new content.
    pub directory: PathBuf,
    /// How often Envoy watches it: once for each file, once for a `watched_directory`.
    pub watches: u64,
}

/// How often files are read until two readings agree, while somebody replaces them.
const READINGS: usize = 5;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SecretFeed {
    pub(super) fn new(name: &str, source: FileSource, kind: SecretKind) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            source,
            kind,
            state: Mutex::default(),
            followers: Mutex::default(),
            alive: watch::Sender::new(()),
        })
    }

    /// Its end, for whoever feeds it and does not hold it.
    pub fn end(&self) -> FeedEnd {
        FeedEnd(self.alive.subscribe())
    }

    /// The secret, with the content of its files; `None` until the first one came.
    pub fn present(&self) -> Option<Arc<pb::Secret>> {
        lock(&self.state).present.clone()
    }

    pub(super) fn followed_by(&self, follower: Weak<dyn Follower>) {
        let mut followers = lock(&self.followers);
        followers.retain(|f| f.strong_count() > 0);
        followers.push(follower);
    }

    /// Takes a secret that stands at `cx` and makes every context of it anew, or leaves all of them as they are.
    /// True: it is another one than before.
    ///
    /// # Errors
    /// The sink knows why.
    pub fn offer(&self, secret: pb::Secret, cx: &CompileContext<'_>) -> Result<bool, Reported> {
        if *secret.name != *self.name {
            let text = format!("Unexpected SDS secret (expecting {}): {}", self.name, secret.name);
            return Err(cx.field("name").error(text));
        }
        let kind = secret.r#type.as_ref().map(SecretKind::of);
        if kind != Some(self.kind) {
            return Err(cx.error(format!("Unexpected SDS secret type: {} is expected", self.kind.field())));
        }
        let resolved = resolved(&secret, cx)?;
        let given = Given { secret, path: cx.path(), place: cx.place() };
        self.take(given, resolved, cx)
    }

    /// Reads the files of the secret again. True: there is other content.
    ///
    /// # Errors
    /// The sink knows why; everything is as it was.
    pub fn reread(&self, sink: &Sink) -> Result<bool, Reported> {
        let Some(given) = lock(&self.state).given.clone() else { return Ok(false) };
        let path = given.path.clone();
        let cx = CompileContext::at(sink, &path, given.place);
        let mut now = resolved(&given.secret, &cx)?;
        for _ in 0..READINGS {
            let again = resolved(&given.secret, &cx)?;
            let same = again == now;
            now = again;
            if same {
                break;
            }
        }
        self.take(given, now, &cx)
    }

    fn take(&self, given: Given, resolved: pb::Secret, cx: &CompileContext<'_>) -> Result<bool, Reported> {
        let before = self.present();
        if before.as_deref() == Some(&resolved) {
            lock(&self.state).given = Some(given);
            return Ok(false);
        }
        checked(&resolved, cx)?;
        lock(&self.state).present = Some(Arc::new(resolved));
        let followers: Vec<_> = lock(&self.followers).iter().filter_map(Weak::upgrade).collect();
        let remade: Result<Vec<Commit>, Reported> =
            followers.into_iter().map(|follower| follower.remade(cx.sink())).collect();
        match remade {
            Ok(commits) => {
                lock(&self.state).given = Some(given);
                commits.into_iter().for_each(|commit| commit());
                Ok(true)
            }
            Err(reported) => {
                lock(&self.state).present = before;
                Err(reported)
            }
        }
    }

    /// Where files of the secret are.
    pub fn watched(&self) -> Vec<WatchedFiles> {
        let state = lock(&self.state);
        let value = state.given.as_ref().and_then(|given| given.secret.r#type.as_ref());
        let (directory, sources) = match value {
            Some(Type::TlsCertificate(c)) => {
                (&c.watched_directory, vec![&c.certificate_chain, &c.private_key])
            }
            Some(Type::ValidationContext(v)) => (&v.watched_directory, vec![&v.trusted_ca, &v.crl]),
            // As in Envoy, they are read once.
            Some(Type::SessionTicketKeys(_)) => return Vec::new(),
            // No context is made of them.
            Some(Type::GenericSecret(_)) | None => return Vec::new(),
        };
        let mut watched: Vec<WatchedFiles> = Vec::new();
        let mut add = |directory: &Path| match watched.iter_mut().find(|w| w.directory == directory) {
            Some(known) => known.watches += 1,
            None => watched.push(WatchedFiles { directory: directory.to_owned(), watches: 1 }),
        };
        if let Some(directory) = directory {
            add(Path::new(&directory.path));
            return watched;
        }
        for source in sources.into_iter().flatten() {
            if let Some(Specifier::Filename(path)) = &source.specifier {
                let parent = Path::new(path).parent().filter(|p| !p.as_os_str().is_empty());
                add(parent.unwrap_or(Path::new(".")));
            }
        }
        watched
    }
}

/// The secret with the content of its files in their place, so that it is one thing whatever becomes of them.
fn resolved(secret: &pb::Secret, cx: &CompileContext<'_>) -> Result<pb::Secret, Reported> {
    let mut secret = secret.clone();
    match &mut secret.r#type {
        Some(Type::TlsCertificate(value)) => {
            let cx = cx.field("tls_certificate");
            resolve(&mut value.certificate_chain, &cx.field("certificate_chain"))?;
            resolve(&mut value.private_key, &cx.field("private_key"))?;
            resolve(&mut value.ocsp_staple, &cx.field("ocsp_staple"))?;
            resolve(&mut value.password, &cx.field("password"))?;
            resolve(&mut value.pkcs12, &cx.field("pkcs12"))?;
        }
        Some(Type::ValidationContext(value)) => {
            let cx = cx.field("validation_context");
            resolve(&mut value.trusted_ca, &cx.field("trusted_ca"))?;
            resolve(&mut value.crl, &cx.field("crl"))?;
        }
        Some(Type::SessionTicketKeys(value)) => {
            let cx = cx.field("session_ticket_keys");
            for (i, key) in value.keys.iter_mut().enumerate() {
                resolve_one(key, &cx.item("keys", i))?;
            }
        }
        Some(Type::GenericSecret(_)) | None => {}
    }
    Ok(secret)
}

fn resolve(source: &mut Option<DataSource>, cx: &CompileContext<'_>) -> Result<(), Reported> {
    source.as_mut().map_or(Ok(()), |source| resolve_one(source, cx))
}

fn resolve_one(source: &mut DataSource, cx: &CompileContext<'_>) -> Result<(), Reported> {
    if let Some(Specifier::Filename(_)) = source.specifier {
        // What cannot be read is in the sink.
        let bytes = data_source_read_once(source, cx).ok_or(Reported)?;
        source.specifier = Some(Specifier::InlineBytes(bytes));
    }
    Ok(())
}

/// Looks at what is wrong with a secret whoever uses it, where it stands.
fn checked(secret: &pb::Secret, cx: &CompileContext<'_>) -> Result<(), Reported> {
    let good = match &secret.r#type {
        Some(Type::TlsCertificate(value)) => {
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let schemes = Schemes::usual();
            identity(value, &secret.name, &provider, &schemes, &cx.field("tls_certificate")).is_some()
        }
        // Without an authority it depends on what it is combined with.
        Some(Type::ValidationContext(value)) => {
            (value.trusted_ca.is_none() && value.custom_validator_config.is_none())
                || validation(value, &cx.field("validation_context")).is_some()
        }
        Some(Type::SessionTicketKeys(value)) => {
            TicketKeys::compile(value, &cx.field("session_ticket_keys")).is_some()
        }
        Some(Type::GenericSecret(_)) | None => true,
    };
    if good { Ok(()) } else { Err(Reported) }
}
