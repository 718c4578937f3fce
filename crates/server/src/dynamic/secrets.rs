//! SDS: secrets.

use super::Files;
use nuncio_core::clock::Clock;
use nuncio_core::config::{Sink, type_name};
use nuncio_core::source::{Feed, Rejected, ResourceId, Sources, Subscriber, Update};
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
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::SystemTime;
use tokio::sync::Notify;
use tokio::task::spawn_local;

nuncio_core::stats_block! {
    /// `sds.NAME.`, besides what every subscription counts.
    struct RotationStats { counter key_rotation_failed }
}

/// A secret that is subscribed to, as `/config_dump` prints it.
#[derive(Clone)]
pub struct DynamicSecret {
    /// The subscription, which has the secret. It ends with the last context that is made of it.
    pub feed: Weak<SecretFeed>,
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
    /// What feeds.
    pub sources: Rc<dyn Sources>,
    /// What the files of secrets may hold.
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
    pub fn follow(&self) -> io::Result<()> {
        for feed in self.manager.feeds() {
            let own = Arc::downgrade(&feed);
            if !self.book.borrow().iter().any(|known| known.feed.ptr_eq(&own)) {
                self.subscribe(&feed, own)?;
            }
        }
        Ok(())
    }

    fn subscribe(&self, feed: &Arc<SecretFeed>, own: Weak<SecretFeed>) -> io::Result<()> {
        let prefix = format!("sds.{}.", feed.name);
        let (book, clock) = (Rc::clone(&self.book), self.files.clock.clone());
        let entry = DynamicSecret { feed: Weak::clone(&own), version: None, updated: clock.wall() };
        book.borrow_mut().push(entry);
        let came = Rc::new(Notify::new());
        let subscriber = SecretSubscriber {
            name: feed.name.clone(),
            feed: Weak::clone(&own),
            came: Rc::clone(&came),
            book,
            clock,
        };
        let feeding = Feed { stats: self.registry.scope(&prefix), subscriber: Box::new(subscriber) };
        let subscription = self.sources.subscribe(&feed.source, feeding)?;
        let (end, book) = (feed.end(), Rc::clone(&self.book));
        let mut files = SecretFiles {
            name: feed.name.clone(),
            feed: Weak::clone(&own),
            watched: Vec::new(),
            watches: Vec::new(),
            stats: self.registry.scope(&prefix),
            files: self.files.clone(),
        };
        files.look();
        spawn_local(async move {
            tokio::select! {
                () = end.come() => {}
                () = files.follow(&came) => {}
            }
            // With the last who is made of the secret goes what watches over it.
            drop(subscription);
            book.borrow_mut().retain(|known| !known.feed.ptr_eq(&own));
        });
        Ok(())
    }
}

/// Gives a secret to the contexts that are made of it.
struct SecretSubscriber {
    name: Box<str>,
    feed: Weak<SecretFeed>,
    /// Told of every response: the secret may name other files.
    came: Rc<Notify>,
    book: DynamicSecrets,
    clock: Clock,
}

impl Subscriber for SecretSubscriber {
    fn update(&self, update: &Update<'_>) -> Result<(), Rejected> {
        let whole = |why: String| Rejected { resource: None, why: Some(why) };
        let [resource] = update.resources else {
            return Err(whole(match update.resources.len() {
                0 => format!("Missing SDS resources for {} in onConfigUpdate()", self.name),
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
                name: self.name.clone(),
                version: update.version.into(),
            }),
            why: None,
        };
        let message: Secret = cx.decode(&resource.value).ok_or_else(refused)?;
        if cx.has_errors() {
            return Err(refused());
        }
        self.came.notify_one();
        // Where nobody is left to be told, this is about to end.
        let Some(feed) = self.feed.upgrade() else { return Ok(()) };
        feed.offer(message, &cx).map_err(|_| refused())?;
        let mut book = self.book.borrow_mut();
        if let Some(own) = book.iter_mut().find(|known| known.feed.ptr_eq(&self.feed)) {
            own.version = Some(update.version.to_owned());
            own.updated = self.clock.wall();
        }
        Ok(())
    }
}

/// The files that one secret names, and the watches over them.
struct SecretFiles {
    name: Box<str>,
    feed: Weak<SecretFeed>,
    /// What [`watches`](Self::watches) watch.
    watched: Vec<WatchedFiles>,
    watches: Vec<MoveWatch>,
    stats: Scope<RotationStats>,
    files: Files,
}

impl SecretFiles {
    /// Reads the files anew whenever something is moved into their place, for ever; `came` tells of responses.
    async fn follow(&mut self, came: &Notify) {
        loop {
            tokio::select! {
                () = came.notified() => self.look(),
                moved = self.moved() => match moved {
                    Ok(at) => self.rotate(at),
                    Err(error) => {
                        let name = &self.name;
                        tracing::error!(target: "config", "files of {name} are no longer watched: {error}");
                        self.watches.clear();
                    }
                },
            }
        }
    }

    /// The number of the directory that something was moved into.
    async fn moved(&self) -> io::Result<usize> {
        type Move<'a> = Pin<Box<dyn Future<Output = io::Result<usize>> + 'a>>;
        let watches = self.watches.iter().enumerate();
        let mut moves: Vec<Move<'_>> = watches
            .map(|(at, watch)| -> Move<'_> { Box::pin(async move { watch.moved().await.map(|()| at) }) })
            .collect();
        poll_fn(|cx| {
            let ready = moves.iter_mut().find_map(|moved| match moved.as_mut().poll(cx) {
                Poll::Ready(moved) => Some(moved),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Watches the files that the secret names now.
    fn look(&mut self) {
        let Some(feed) = self.feed.upgrade() else { return };
        let watched = feed.watched();
        if watched == self.watched {
            return;
        }
        self.watched.clear();
        self.watches.clear();
        for files in watched {
            match MoveWatch::of_directory(&files.directory) {
                Ok(watch) => {
                    self.watches.push(watch);
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
        let Some(feed) = self.feed.upgrade() else { return };
        let sink = Sink::new(self.files.permissions.unsupported);
        sink.set_regex_limits(self.files.regex_limits);
        if feed.reread(&sink).is_ok() {
            return;
        }
        // Envoy tries once for each watch.
        self.stats.key_rotation_failed.add(self.watched.get(at).map_or(1, |files| files.watches));
        let (errors, _) = sink.finish();
        let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
        tracing::warn!(
            target: "config",
            "Failed to reload certificates of the secret '{}': {}",
            self.name,
            reasons.join("; ")
        );
    }
}
