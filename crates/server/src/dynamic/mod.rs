//! Configuration that changes while the server runs. The main thread watches, reads and compiles; workers get what is
//! compiled.

mod clusters;
mod file;
mod routes;
mod secrets;

pub use clusters::{ClusterBook, ClusterSubscriber, DynamicCluster, DynamicClusters};
pub use file::Files;
pub use routes::{DynamicRoute, RouteSubscriber};
pub use secrets::{DynamicSecret, DynamicSecrets, Sds};

use crate::config::Surroundings;
use nuncio_core::clock::Clock;
use nuncio_core::source::{Feed, FileSource, Sources, Subscription};
use nuncio_core::stats::Registry;
use nuncio_upstream::discovery::Discovery;
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
    /// The clusters that came by CDS.
    pub book: DynamicClusters,
    /// Where hosts come from.
    pub discovery: Rc<Discovery>,
    /// What follows secrets that clusters ask for.
    pub secrets: Sds,
    /// What feeds.
    pub sources: Rc<dyn Sources>,
    /// What is being fed.
    pub subscriptions: RefCell<Vec<Subscription>>,
}

impl Dynamic {
    /// Begins to follow every route configuration that a listener asks for: each is read at once, so that the first
    /// request finds its routes. Must be called on the main thread's runtime.
    ///
    /// # Errors
    /// Where a directory cannot be watched.
    pub fn start(self: &Rc<Self>) -> io::Result<()> {
        for feed in self.surroundings.route_feeds.all() {
            let subscriber = Box::new(RouteSubscriber::new(Rc::clone(self), &feed));
            let stats = self.registry.scope(&feed.stat_prefix);
            let subscription = self.sources.subscribe(&feed.source, Feed { stats, subscriber })?;
            self.subscriptions.borrow_mut().push(subscription);
        }
        Ok(())
    }

    /// Begins to follow the clusters of CDS: those that are there now are added before this returns.
    ///
    /// # Errors
    /// Where a directory cannot be watched.
    pub fn follow_clusters(self: &Rc<Self>, source: &FileSource) -> io::Result<()> {
        let stats = self.registry.scope("cluster_manager.cds.");
        let subscriber = Box::new(ClusterSubscriber::new(Rc::clone(self)));
        let subscription = self.sources.subscribe(source, Feed { stats, subscriber })?;
        self.subscriptions.borrow_mut().push(subscription);
        Ok(())
    }

    /// Begins to follow secrets that nobody asked for before.
    fn follow_secrets(&self) {
        if let Err(error) = self.secrets.follow() {
            tracing::error!(target: "config", "secrets cannot be watched: {error}");
        }
    }

    /// The wall clock.
    pub fn wall(&self) -> SystemTime {
        self.clock.wall()
    }
}
