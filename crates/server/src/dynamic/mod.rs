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
use nuncio_net::dns::SystemResolver;
use nuncio_net::worker::Worker;
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
    /// Clusters that come are checked as they say; else all their hosts count as healthy.
    pub checks: bool,
    /// Where hosts come from.
    pub discovery: Rc<Discovery>,
    /// What follows secrets that clusters ask for.
    pub secrets: Sds,
    /// What feeds.
    pub sources: Rc<dyn Sources>,
    /// What is being fed.
    pub subscriptions: RefCell<Vec<Subscription>>,
}

/// What dynamic configuration is put on.
pub struct Ground {
    /// What compiling needs.
    pub surroundings: Surroundings,
    /// What reads the files that configuration names.
    pub files: Files,
    /// The clusters.
    pub clusters: Rc<RefCell<ClusterSet>>,
    /// Where stats are registered.
    pub registry: Registry,
    /// The route configurations that come.
    pub routes: DynamicRoutes,
    /// The clusters that come.
    pub book: DynamicClusters,
    /// The secrets that come.
    pub secrets: DynamicSecrets,
    /// As in [`Dynamic`].
    pub checks: bool,
}

impl Dynamic {
    /// Reads the secrets that come from files, and follows their changes from now on. Must be called on the runtime of
    /// `worker`, which is the main thread's.
    ///
    /// # Errors
    /// Where a directory cannot be watched.
    pub fn begin(ground: Ground, worker: &Rc<Worker>) -> io::Result<Rc<Self>> {
        let Ground { surroundings, files, clusters, registry, routes, book, secrets, checks } = ground;
        let (manager, clock) = (surroundings.tls.clone(), files.clock.clone());
        let sources: Rc<dyn Sources> = Rc::new(files.clone());
        let (own, feeds) = (registry.clone(), Rc::clone(&sources));
        let secrets = Sds { manager, registry: own, sources: feeds, files, book: secrets };
        secrets.follow()?;
        let discovery =
            Discovery::new(&clusters, worker, Rc::new(SystemResolver::new()), Rc::clone(&sources));
        discovery.keep_caches(&surroundings.dns_caches);
        Ok(Rc::new(Self {
            surroundings,
            clusters,
            registry,
            clock,
            routes,
            book,
            checks,
            discovery,
            secrets,
            sources,
            subscriptions: RefCell::default(),
        }))
    }

    /// Waits for the hosts of the static clusters, then for CDS and the hosts of its clusters.
    ///
    /// # Errors
    /// Where a directory cannot be watched.
    pub async fn warm(self: &Rc<Self>, cds: Option<&FileSource>) -> io::Result<()> {
        self.discovery.start().wait().await;
        if let Some(source) = cds {
            self.follow_clusters(source)?;
            self.discovery.all_warm().await;
        }
        Ok(())
    }

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
    fn follow_clusters(self: &Rc<Self>, source: &FileSource) -> io::Result<()> {
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
