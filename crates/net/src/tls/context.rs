//! A compiled TLS context, which is made anew when a secret of it changes.

use super::common::{Shown, TlsOwner};
use super::feed::{Commit, Follower, SecretFeed};
use super::secrets::{Secrets, Shows, TlsManager};
use super::stats::{self, ContextStats};
use nuncio_core::config::{CompileContext, Place, Reported, Sink};
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// Why a context is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// It is wrong; the sink knows why.
    Refused,
    /// A secret has not come yet.
    Waiting,
}

/// One generation of a context: what makes or answers handshakes.
pub trait Generation: Send + Sync + Sized + 'static {
    /// `DownstreamTlsContext` or `UpstreamTlsContext`.
    type Message: Clone + Send + Sync;
    /// Whose handshakes they are.
    const SIDE: stats::Side;
}

/// How a generation is made.
pub(super) trait Compile: Generation {
    /// Compiles the message with the secrets that are there.
    fn compile(message: Self::Message, cx: &CompileContext<'_>, secrets: &Secrets<'_>) -> Result<Self, Lack>;

    /// Its certificates.
    fn shown(&self) -> Shown;
}

/// A compiled context. Connections keep the generation that they began with.
pub struct Context<G: Generation> {
    /// `None` while a secret is missing.
    present: RwLock<Option<Arc<G>>>,
    /// How to make the next one, where secrets may change.
    recipe: Option<Recipe<G>>,
    stat_prefix: Box<str>,
    manager: TlsManager,
    stats: ContextStats,
}

struct Recipe<G: Generation> {
    message: G::Message,
    path: String,
    place: Option<Place>,
    /// They are fed as long as somebody holds them.
    _feeds: Vec<Arc<SecretFeed>>,
}

#[allow(private_bounds, reason = "the two generations are made in this module alone")]
impl<G: Compile> Context<G> {
    /// Compiles the message. `None`: refused, and the reasons are recorded in `cx`.
    pub fn compile(message: G::Message, cx: &CompileContext<'_>, owner: TlsOwner<'_>) -> Option<Arc<Self>> {
        let TlsOwner { manager, stat_prefix } = owner;
        let secrets = Secrets::of(manager);
        let first = match G::compile(message.clone(), cx, &secrets) {
            Ok(first) => Some(first),
            Err(Lack::Waiting) => None,
            Err(Lack::Refused) => return None,
        };
        let feeds = secrets.followed();
        let recipe = (!feeds.is_empty()).then(|| Recipe {
            message,
            path: cx.path(),
            place: cx.place(),
            _feeds: feeds.clone(),
        });
        let context = Arc::new(Self {
            present: RwLock::default(),
            recipe,
            stat_prefix: stat_prefix.into(),
            manager: manager.clone(),
            stats: manager.stats(stat_prefix, G::SIDE),
        });
        if let Some(first) = first {
            context.publish(first);
        }
        let shows: Weak<Self> = Arc::downgrade(&context);
        manager.keep(shows);
        for feed in feeds {
            let follower: Weak<Self> = Arc::downgrade(&context);
            feed.followed_by(follower);
        }
        Some(context)
    }

    fn publish(&self, next: G) {
        self.stats.made();
        self.manager.tell_expiry(&next.shown(), &self.stat_prefix);
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(next));
    }
}

impl<G: Generation> Context<G> {
    /// What makes handshakes now; `None` while a secret is missing.
    pub(super) fn present(&self) -> Option<Arc<G>> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<G: Compile> Shows for Context<G> {
    fn shown(&self) -> Option<Shown> {
        self.present().map(|generation| generation.shown())
    }
}

impl<G: Compile> Follower for Context<G> {
    fn remade(self: Arc<Self>, sink: &Sink) -> Result<Commit, Reported> {
        let Some(recipe) = &self.recipe else { return Ok(Box::new(|| {})) };
        let cx = CompileContext::at(sink, &recipe.path, recipe.place);
        let next = match G::compile(recipe.message.clone(), &cx, &Secrets::of(&self.manager)) {
            Ok(next) => Some(next),
            Err(Lack::Waiting) => None,
            Err(Lack::Refused) => return Err(Reported),
        };
        Ok(Box::new(move || {
            self.stats.updated();
            if let Some(next) = next {
                self.publish(next);
            }
        }))
    }
}
