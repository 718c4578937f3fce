//! `EDS`: assignments of hosts that are fed.

use super::{Discovery, update};
use crate::cluster::{ClusterShared, Discovery as Named, HostSource, assignment};
use nuncio_core::config::CompileContext;
use nuncio_core::source::{Feed, FileSource, Rejected, ResourceId, Subscriber, Update};
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::EdsClusterConfig;
use nuncio_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

const ASSIGNMENT: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";

/// A compiled `EdsClusterConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdsConfig {
    /// `service_name`, which may be empty: then the assignment has the cluster's name.
    pub service_name: Arc<str>,
    /// `eds_config`
    pub source: FileSource,
}

impl EdsConfig {
    /// Compiles the message; `None`: refused, with the reason in `cx`.
    pub(crate) fn compile(message: Option<EdsClusterConfig>, cx: &CompileContext<'_>) -> Option<Self> {
        let cx = cx.field("eds_cluster_config");
        let Some(EdsClusterConfig { eds_config: Some(source), service_name }) = message else {
            cx.error("cannot create an EDS cluster without an EDS config");
            return None;
        };
        let source = FileSource::compile(source, &cx.field("eds_config"))?;
        Some(Self { service_name: service_name.into(), source })
    }
}

/// Follows the assignment of one cluster.
struct Assignments {
    discovery: Rc<Discovery>,
    cluster: Arc<ClusterShared>,
    /// What the assignment is called.
    name: Arc<str>,
    /// The first answer is in: what changes from now on changes under traffic.
    warm: Cell<bool>,
    /// Ends the hosts' time (`endpoint_stale_after`).
    staleness: RefCell<Option<AbortHandle>>,
}

/// Begins to follow the assignment of a cluster: what the file has now holds when this returns.
pub(super) fn follow(discovery: &Rc<Discovery>, cluster: &Arc<ClusterShared>, config: &EdsConfig) {
    let name = match &*config.service_name {
        "" => Arc::clone(&cluster.config().name),
        _ => Arc::clone(&config.service_name),
    };
    let assignments = Rc::new(Assignments {
        discovery: Rc::clone(discovery),
        cluster: Arc::clone(cluster),
        name,
        warm: Cell::new(false),
        staleness: RefCell::default(),
    });
    let stats = discovery.set.borrow().registry().scope(&cluster.stat_prefix());
    let feed = Feed { stats, subscriber: Box::new(Eds(Rc::clone(&assignments))) };
    match discovery.sources.subscribe(&config.source, feed) {
        Ok(subscription) => discovery.keep(cluster, subscription),
        Err(error) => {
            let (name, path) = (&cluster.config().name, config.source.path.display());
            tracing::error!(target: "upstream", "cluster '{name}': {path} cannot be watched: {error}");
        }
    }
    assignments.warm.set(true);
}

/// The subscriber's hold on the assignments of a cluster.
struct Eds(Rc<Assignments>);

impl Subscriber for Eds {
    fn update(&self, update: &Update<'_>) -> Result<(), Rejected> {
        self.0.update(update)
    }
}

impl Assignments {
    fn update(self: &Rc<Self>, update: &Update<'_>) -> Result<(), Rejected> {
        let Some(message): Option<ClusterLoadAssignment> = update.single("EDS")? else {
            self.cluster.main_stats().update_empty.inc();
            return Ok(());
        };
        let (name, cx) = (&self.name, update.cx.item("resources", 0));
        if *message.cluster_name != **name {
            let why = format!("Unexpected EDS cluster (expecting {name}): {}", message.cluster_name);
            return Err(Rejected::because(why));
        }
        let named = assignment(HostSource::Static, message, &cx).filter(|_| !cx.has_errors());
        let Some(named) = named else {
            let (type_name, version) = (ASSIGNMENT, update.version.into());
            let resource = ResourceId { type_name, name: (**name).into(), version };
            return Err(Rejected { resource: Some(resource), why: None });
        };
        self.take(&named);
        self.await_end(named.stale_after);
        Ok(())
    }

    /// The hosts are these from now on.
    fn take(&self, named: &Named) {
        self.cluster.drops(named.dropped);
        match update::merge(&self.cluster, named) {
            None => {
                self.cluster.main_stats().update_no_rebuild.inc();
                self.discovery.set.borrow_mut().hosts_named_again(&self.cluster);
            }
            Some(update::Change { snapshot, memberships }) => {
                let mut set = self.discovery.set.borrow_mut();
                set.set_hosts(&self.cluster, snapshot, memberships, self.warm.get());
            }
        }
    }

    /// The hosts hold for so long, unless another assignment comes.
    fn await_end(self: &Rc<Self>, after: Option<Duration>) {
        let after = after.map(|after| {
            self.cluster.main_stats().assignment_timeout_received.inc();
            let own = Rc::downgrade(self);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(after).await;
                if let Some(own) = own.upgrade() {
                    own.cluster.main_stats().assignment_stale.inc();
                    own.take(&Named::default());
                }
            })
            .abort_handle()
        });
        if let Some(before) = self.staleness.replace(after) {
            before.abort();
        }
    }
}

impl Drop for Assignments {
    fn drop(&mut self) {
        if let Some(task) = self.staleness.take() {
            task.abort();
        }
    }
}
