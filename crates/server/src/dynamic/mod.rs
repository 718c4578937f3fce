//! Configuration that changes while the server runs. The main thread watches, reads and compiles; workers get what is
//! compiled.

mod file;
mod routes;
mod secrets;

pub use file::{FileFeed, Permissions};
pub use routes::{DynamicRoute, RouteSubscriber};
pub use secrets::{DynamicSecret, DynamicSecrets, Sds, SecretTask};

use crate::config::Surroundings;
use nuncio_core::clock::Clock;
use nuncio_core::source::Feed;
use nuncio_core::stats::Registry;
use nuncio_net::watch::MoveWatch;
use nuncio_upstream::manager::ClusterSet;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::SystemTime;

/// The route configurations that hold now, as `/config_dump` prints them.
pub type DynamicRoutes = Rc<RefCell<Vec<DynamicRoute>>>;

/// What every subscription of the process works with.
pub struct Dynamic {
    /// What compiling needs.
    pub surroundings: Surroundings,
    /// The clusters that routes may name.
    pub clusters: Rc<RefCell<ClusterSet>>,
    /// Where stats are registered.
    pub registry: Registry,
    /// The machine's time.
    pub clock: Clock,
    /// What is there, for `/config_dump`.
    pub routes: DynamicRoutes,
    /// What texts may hold.
    pub permissions: Permissions,
}

impl Dynamic {
    /// Begins to follow every route configuration that a listener asks for: each is read at once, so that the first
    /// request finds its routes. Must be called on the main thread's runtime.
    ///
    /// # Errors
    /// Where a directory cannot be watched.
    pub fn start(self: &Rc<Self>, spawn: impl Fn(WatchTask), unknown: &Rc<Unknown>) -> io::Result<()> {
        for feed in self.surroundings.route_feeds.all() {
            let watch = MoveWatch::of(&feed.source)?;
            let subscriber = RouteSubscriber::new(Rc::clone(self), &feed);
            let file = FileFeed {
                path: feed.source.path.clone(),
                feed: Feed {
                    stats: self.registry.scope(&feed.stat_prefix),
                    subscriber: Box::new(subscriber),
                },
                permissions: self.permissions,
                regex_limits: self.surroundings.regex_limits(),
                clock: self.clock.clone(),
                unknown: Rc::clone(unknown),
            };
            file.refresh();
            spawn(WatchTask { watch, file });
        }
        Ok(())
    }

    /// The wall clock.
    pub fn wall(&self) -> SystemTime {
        self.clock.wall()
    }
}

/// Told how many fields of a text nobody knows.
pub type Unknown = dyn Fn(u64);

/// A file and the watch over it.
pub struct WatchTask {
    watch: MoveWatch,
    file: FileFeed,
}

impl WatchTask {
    /// Reads the file anew whenever something is moved into its place, for ever.
    pub async fn run(self) {
        loop {
            if let Err(error) = self.watch.moved().await {
                tracing::error!(target: "config", "{} is no longer watched: {error}", self.file.path.display());
                return;
            }
            self.file.refresh();
        }
    }
}
