//! The admin port: what it can be asked and what it answers, in Envoy's shapes.
//!
//! Everything here runs on the main thread; workers are reached through messages only, and their stats are
//! read where they lie. [`Admin::answer`] is a function of the server's state and a request.

mod actions;
mod certs;
mod clusters;
mod config_dump;
mod help;
mod http;
mod info;
mod json;
mod listeners;
mod logging;
mod request;
mod runtime;
mod search;
mod stats;
mod sub_clusters;
mod table;
pub(crate) mod wire;

pub use actions::Action;
pub(crate) use json::object;
pub use listeners::ListenerFacts;
pub use request::{Request, Response};
pub use stats::History;

use crate::cli::Options;
use crate::config::Dump;
use crate::dynamic::{DynamicClusters, DynamicRoutes, DynamicSecrets};
use crate::explain::Explainer;
use crate::log::Log;
use crate::sinks::Sinks;
use crate::stats::ProcessStats;
use nuncio_core::clock::Clock;
use nuncio_core::lifecycle::Lifecycle;
use nuncio_core::matcher::StringMatcher;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::{Registry, StatsConfig};
use nuncio_net::tls::TlsManager;
use nuncio_upstream::manager::ClusterSet;
use serde_json::Value;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

#[cfg(test)]
mod tests;

/// How far the server has come (`envoy.admin.v3.ServerInfo.State`, with the numbers of `server.state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Live = 0,
    /// It serves, and is marked failed for health checks.
    Draining = 1,
    /// Clusters are still being prepared.
    PreInitializing = 2,
    /// Listeners are still being prepared.
    Initializing = 3,
}

impl State {
    /// Envoy's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
        }
    }
}

/// What the admin port knows of the server.
pub struct Admin {
    /// The process's log; none in tests.
    pub log: Option<&'static Log>,
    /// The machine's time.
    pub clock: Clock,
    /// When the process started.
    pub started: Instant,
    /// The command line.
    pub options: Rc<Options>,
    /// The node as `/server_info` shows it (`envoy.config.core.v3.Node`).
    pub node: Value,
    /// What completes the node in `/config_dump`, as wire bytes of the same message.
    pub node_bytes: Vec<u8>,
    /// Targets that are served (`admin.allow_paths`); empty: all.
    pub allow_paths: Box<[StringMatcher]>,
    /// The configuration as it was loaded.
    pub dump: Dump,
    /// TLS contexts.
    pub tls: TlsManager,
    /// Clusters that came after the start.
    pub dynamic_clusters: DynamicClusters,
    /// Route configurations that came after the start.
    pub routes: DynamicRoutes,
    /// Secrets that are subscribed to.
    pub secrets: DynamicSecrets,
    /// The listeners in the order of the configuration.
    pub listeners: Vec<ListenerFacts>,
    /// The clusters.
    pub clusters: Rc<RefCell<ClusterSet>>,
    /// Runtime keys.
    pub runtime: Runtime,
    /// Every stat.
    pub registry: Registry,
    /// Resets of counters, intervals of histograms.
    pub history: RefCell<History>,
    /// Who is told of the stats at each flush.
    pub sinks: RefCell<Sinks>,
    /// Whether `/stats/recentlookups` was enabled.
    pub lookups: Cell<bool>,
    /// How often histograms are flushed; none: whenever stats are asked for.
    pub flush_interval: Option<Duration>,
    /// Which stats are shown, and what in their names is a tag.
    pub stats_config: StatsConfig,
    /// Downstream connections open now.
    pub connections: Box<dyn Fn() -> u64>,
    /// The process's own stats; none in tests.
    pub stats: Option<ProcessStats>,
    /// Marked failed or not.
    pub lifecycle: Lifecycle,
    /// Whether start-up is over, and if not, how far it is.
    pub progress: Rc<Cell<State>>,
    /// Where actions go.
    pub actions: UnboundedSender<Action>,
    /// What explains requests, once the server is up.
    pub explainer: OnceCell<Explainer>,
}

impl Admin {
    /// Answers a request.
    pub fn answer(&self, request: &Request) -> Response {
        table::dispatch(self, request)
    }

    /// Ends an interval of the histograms, sets the gauges that follow at flushes only, and tells the sinks.
    pub fn flush(&self) {
        let mut history = self.history.borrow_mut();
        history.flush(&self.registry);
        if let Some(stats) = &self.stats {
            stats.flush(self.state());
        }
        let mut sinks = self.sinks.borrow_mut();
        if !sinks.is_empty() {
            stats::refresh(self);
            let config = &self.stats_config;
            history.tell(&self.registry, config, &mut |name, told| sinks.tell(name, None, told, config));
            let clusters = self.clusters.borrow();
            stats::tell_endpoints(&clusters, &mut history, config, &mut |name, tagged, told| {
                sinks.tell(name, Some(tagged), told, config);
            });
            sinks.flush();
        }
    }

    /// The state as `/ready` tells it.
    pub fn state(&self) -> State {
        match self.progress.get() {
            State::Live if self.lifecycle.health_check_failed() => State::Draining,
            state => state,
        }
    }
}
