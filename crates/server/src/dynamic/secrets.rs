//! SDS: secrets.

use super::Files;
use super::file::FileFeed;
use nuncio_core::clock::Clock;
use nuncio_core::config::{Sink, type_name};
use nuncio_core::source::{Feed, Rejected, ResourceId, Subscriber, Update};
use nuncio_core::stats::{Registry, Scope};
use nuncio_net::tls::{SecretFeed, TlsManager, WatchedFiles};
use nuncio_net::watch::MoveWatch;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use prost::Name;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

nuncio_core::stats_block! {
    /// `sds.NAME.`, besides what every subscription counts.
    struct RotationStats { counter key_rotation_failed }
}

/// A secret that is subscribed to, as `/config_dump` prints it.
#[derive(Clone)]
pub struct DynamicSecret {
    /// The subscription, which has the secret.
    pub feed: Arc<SecretFeed>,
    /// `version_info` of the last response that was taken; `None` until one was.
    pub version: Option<String>,
    /// When it was taken, or the subscription was made.
    pub updated: SystemTime,
}

/// Every secret that is subscribed to.
pub type DynamicSecrets = Rc<RefCell<Vec<DynamicSecret>>>;

/// What subscriptions to secrets work with.
pub struct Sds {
    /// Who knows what is subscribed to.
    pub manager: TlsManager,
    /// Where stats are registered.
    pub registry: Registry,
    /// What reads.
    pub files: Files,
    /// What is there, for `/config_dump`.
    pub book: DynamicSecrets,
}

impl Sds {
    /// Begins to follow the secrets that are subscribed to and not followed yet: each is read at once, so that the
    /// first connection finds it. Must be called on the main thread's runtime.
    ///
    /// # Errors
    /// Where a directory cannot be watched.
    pub fn follow(&self, spawn: impl Fn(SecretTask)) -> io::Result<()> {
        for feed in self.manager.feeds() {
            if self.book.borrow().iter().any(|known| Arc::ptr_eq(&known.feed, &feed)) {
                continue;
            }
            spawn(self.task(&feed)?);
        }
        Ok(())
    }

    fn task(&self, feed: &Arc<SecretFeed>) -> io::Result<SecretTask> {
        let prefix = format!("sds.{}.", feed.name);
        let updated = self.files.clock.wall();
        self.book.borrow_mut().push(DynamicSecret { feed: Arc::clone(feed), version: None, updated });
        let subscriber = SecretSubscriber {
            feed: Arc::clone(feed),
            book: Rc::clone(&self.book),
            clock: self.files.clock.clone(),
        };
        let file = FileFeed {
            path: feed.source.path.clone(),
            feed: Feed { stats: self.registry.scope(&prefix), subscriber: Box::new(subscriber) },
            files: self.files.clone(),
        };
        let response = MoveWatch::of(&feed.source)?;
        let stats = self.registry.scope(&prefix);
        let mut task = SecretTask {
            response,
            file,
            feed: Arc::clone(feed),
            watched: Vec::new(),
            files: Vec::new(),
            stats,
        };
        task.refresh();
        Ok(task)
    }
}

/// Gives a secret to the contexts that are made of it.
struct SecretSubscriber {
    feed: Arc<SecretFeed>,
    book: DynamicSecrets,
    clock: Clock,
}

impl Subscriber for SecretSubscriber {
    fn update(&self, update: &Update<'_>) -> Result<(), Rejected> {
        let whole = |why: String| Rejected { resource: None, why: Some(why) };
        let [resource] = update.resources else {
            return Err(whole(match update.resources.len() {
                0 => format!("Missing SDS resources for {} in onConfigUpdate()", self.feed.name),
                many => format!("Unexpected SDS secrets length: {many}"),
            }));
        };
        let kind = type_name(&resource.type_url);
        if kind != Secret::full_name() {
            return Err(whole(format!("Unexpected SDS resource type: {kind}")));
        }
        let cx = update.cx.item("resources", 0);
        let refused = || Rejected {
            resource: Some(ResourceId {
                type_name: "envoy.extensions.transport_sockets.tls.v3.Secret",
                name: self.feed.name.clone(),
                version: update.version.into(),
            }),
            why: None,
        };
        let message: Secret = cx.decode(&resource.value).ok_or_else(refused)?;
        if cx.has_errors() {
            return Err(refused());
        }
        self.feed.offer(message, &cx).map_err(|_| refused())?;
        let mut book = self.book.borrow_mut();
        if let Some(own) = book.iter_mut().find(|known| Arc::ptr_eq(&known.feed, &self.feed)) {
            own.version = Some(update.version.to_owned());
            own.updated = self.clock.wall();
        }
        Ok(())
    }
}

/// One secret's response and files, and the watches over them.
pub struct SecretTask {
    response: MoveWatch,
    file: FileFeed,
    feed: Arc<SecretFeed>,
    /// What [`files`](Self::files) watch.
    watched: Vec<WatchedFiles>,
    files: Vec<MoveWatch>,
    stats: Scope<RotationStats>,
}

/// What was moved into place.
enum Moved {
    Response,
    /// Something in the directory of this number.
    Files(usize),
}

impl SecretTask {
    /// Reads the response or the files anew whenever something is moved into their place, for ever.
    pub async fn run(mut self) {
        loop {
            match self.moved().await {
                Ok(Moved::Response) => self.refresh(),
                Ok(Moved::Files(at)) => self.rotate(at),
                Err(error) => {
                    let name = &self.feed.name;
                    tracing::error!(target: "config", "the secret {name} is no longer watched: {error}");
                    return;
                }
            }
        }
    }

    async fn moved(&self) -> io::Result<Moved> {
        type Move<'a> = Pin<Box<dyn Future<Output = io::Result<Moved>> + 'a>>;
        let response: Move<'_> = Box::pin(async { self.response.moved().await.map(|()| Moved::Response) });
        let files = self.files.iter().enumerate().map(|(at, watch)| -> Move<'_> {
            Box::pin(async move { watch.moved().await.map(|()| Moved::Files(at)) })
        });
        let mut moves: Vec<Move<'_>> = std::iter::once(response).chain(files).collect();
        poll_fn(|cx| {
            let ready = moves.iter_mut().find_map(|moved| match moved.as_mut().poll(cx) {
                Poll::Ready(moved) => Some(moved),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn refresh(&mut self) {
        self.file.refresh();
        let watched = self.feed.watched();
        if watched == self.watched {
            return;
        }
        self.watched.clear();
        self.files.clear();
        for files in watched {
            match MoveWatch::of_directory(&files.directory) {
                Ok(watch) => {
                    self.files.push(watch);
                    self.watched.push(files);
                }
                Err(error) => {
                    let directory = files.directory.display();
                    tracing::warn!(target: "config", "{directory} cannot be watched: {error}");
                }
            }
        }
    }

    /// Takes the new content of files, or goes on with the old one.
    fn rotate(&self, at: usize) {
        let sink = Sink::new(self.file.files.permissions.unsupported);
        sink.set_regex_limits(self.file.files.regex_limits);
        if self.feed.reread(&sink).is_ok() {
            return;
        }
        // Envoy tries once for each watch.
        self.stats.key_rotation_failed.add(self.watched.get(at).map_or(1, |files| files.watches));
        let (errors, _) = sink.finish();
        let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let name = &self.feed.name;
        tracing::warn!(
            target: "config",
            "Failed to reload certificates of the secret '{name}': {}",
            reasons.join("; ")
        );
    }
}
