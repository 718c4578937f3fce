//! CDS: clusters that come, change and go.

use super::Dynamic;
use crate::admin::wire::timestamp_millis;
use nuncio_core::config::type_name;
use nuncio_core::source::{Rejected, Subscriber, Update};
use nuncio_core::stats::Scope;
use nuncio_proto::pb::envoy::config::cluster::v3::Cluster;
use nuncio_upstream::cluster::ClusterConfig;
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

nuncio_core::stats_block! {
    /// `cluster_manager.cds.`, besides what every subscription counts.
    pub struct ClusterFeedStats {
        counter config_reload,
        gauge config_reload_time_ms,
    }
}

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

/// A cluster that came by CDS.
#[derive(Clone, Debug)]
pub struct DynamicCluster {
    /// Its name.
    pub name: String,
    /// `version_info` of the response that it came in.
    pub version: String,
    /// Its wire bytes.
    pub bytes: Vec<u8>,
    /// Since when it is configured.
    pub updated: SystemTime,
}

/// What CDS has given, as `/config_dump` prints it.
#[derive(Clone, Debug, Default)]
pub struct ClusterBook {
    /// `version_info` of the last response that was taken whole.
    pub version: String,
    /// The clusters, by name.
    pub clusters: Vec<DynamicCluster>,
}

/// Shared by who keeps it and who shows it.
pub type DynamicClusters = Rc<RefCell<ClusterBook>>;

impl ClusterBook {
    /// A cluster by name.
    pub fn get(&self, name: &str) -> Option<&DynamicCluster> {
        self.clusters.iter().find(|c| c.name == name)
    }
}

/// Compiles clusters and hands them to the cluster manager. A cluster that is wrong in itself is refused alone; the
/// response then counts as refused, as in Envoy.
pub struct ClusterSubscriber {
    dynamic: Rc<Dynamic>,
    stats: Scope<ClusterFeedStats>,
}

/// What became of a resource.
enum Outcome {
    Taken,
    Unchanged,
    Refused,
}

impl ClusterSubscriber {
    /// For the clusters of `dynamic`.
    pub fn new(dynamic: Rc<Dynamic>) -> Self {
        Self { stats: dynamic.registry.scope("cluster_manager.cds."), dynamic }
    }

    /// One resource of the response, which is called `name`.
    fn take(&self, name: &str, at: usize, update: &Update<'_>, seen: &mut HashSet<String>) -> Outcome {
        let cx = update.cx.item("resources", at);
        if !seen.insert(name.to_owned()) {
            cx.field("name").error(format!("duplicate cluster {name} found"));
            return Outcome::Refused;
        }
        let Some(resource) = update.resources.get(at) else { return Outcome::Refused };
        let Dynamic { book, discovery, surroundings, clusters, checks, .. } = &*self.dynamic;
        let known = book.borrow().get(name).map(|c| c.bytes == resource.value);
        // What stands in the bootstrap stays as it is.
        let fixed = known.is_none() && clusters.borrow().get(name).is_some();
        if known == Some(true) || fixed {
            return Outcome::Unchanged;
        }
        let before = cx.sink().error_count();
        let message: Option<Cluster> = cx.decode(&resource.value);
        let config = message.and_then(|m| ClusterConfig::compile(m, &cx, &surroundings.of_clusters()));
        let Some(mut config) = config.filter(|_| cx.sink().error_count() == before) else {
            return Outcome::Refused;
        };
        if !checks {
            config.check_nobody();
        }
        self.keep(name, update.version, &resource.value);
        discovery.add(Arc::new(config));
        Outcome::Taken
    }

    fn keep(&self, name: &str, version: &str, bytes: &[u8]) {
        let new = DynamicCluster {
            name: name.to_owned(),
            version: version.to_owned(),
            bytes: bytes.to_vec(),
            updated: self.dynamic.wall(),
        };
        let clusters = &mut self.dynamic.book.borrow_mut().clusters;
        match clusters.binary_search_by(|c| c.name.as_str().cmp(name)) {
            Ok(at) => clusters.splice(at..=at, [new]).for_each(drop),
            Err(at) => clusters.insert(at, new),
        }
    }

    /// Removes clusters that the response no longer has; how many.
    fn remove(&self, seen: &HashSet<String>) -> usize {
        let clusters = &mut self.dynamic.book.borrow_mut().clusters;
        let gone: Vec<_> = clusters.extract_if(.., |c| !seen.contains(&c.name)).collect();
        gone.iter().filter(|c| self.dynamic.discovery.remove(&c.name)).count()
    }
}

impl Subscriber for ClusterSubscriber {
    fn update(&self, update: &Update<'_>) -> Result<(), Rejected> {
        let kinds = update.resources.iter().map(|r| type_name(&r.type_url));
        if let Some(other) = kinds.into_iter().find(|kind| *kind != CLUSTER) {
            return Err(Rejected::because(format!("Unexpected CDS resource type: {other}")));
        }
        // What cannot be read, or breaks a rule that stands in the message's definition, is refused with all the rest.
        if update.cx.has_errors() {
            return Err(Rejected { resource: None, why: None });
        }
        let (mut seen, mut refused) = (HashSet::new(), Vec::new());
        let (mut taken, mut unchanged) = (0, 0);
        for (at, resource) in update.resources.iter().enumerate() {
            let name = name_of(&resource.value);
            match self.take(&name, at, update, &mut seen) {
                Outcome::Taken => taken += 1,
                Outcome::Unchanged => unchanged += 1,
                Outcome::Refused => refused.push(name),
            }
        }
        let removed = self.remove(&seen);
        self.dynamic.follow_secrets();
        tracing::info!(
            target: "upstream",
            "cds: added/updated {taken} cluster(s) (skipped {unchanged} unmodified cluster(s)); removed {removed} \
             cluster(s)"
        );
        if !refused.is_empty() {
            return Err(Rejected::because(format!(
                "Error adding/updating cluster(s) {}",
                refused.join(", ")
            )));
        }
        if taken > 0 {
            self.stats.config_reload.inc();
            self.stats.config_reload_time_ms.set(timestamp_millis(self.dynamic.wall()));
        }
        update.version.clone_into(&mut self.dynamic.book.borrow_mut().version);
        Ok(())
    }
}

/// The field `name` of a cluster's wire bytes.
fn name_of(bytes: &[u8]) -> String {
    use nuncio_proto::wire::{Reader, Wire};
    let name = Reader::new(bytes).flatten().filter_map(|(number, wire)| match wire {
        Wire::Bytes(text) if number == 1 => Some(text),
        _ => None,
    });
    name.last().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}
