//! Clusters that are made of another one when somebody wants to go to a name (`sub_clusters_config`).

use super::{ClusterConfig, Discovery, HostSource, LocalityEndpoints, NamedEndpoint};
use crate::dns_cache::split;
use crate::host::{HealthFlags, HostSpec};
use crate::lb::LbConfig;
use crate::line::Line;
use nuncio_core::address::Address;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::LbPolicy as PolicyName;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// A compiled `SubClustersConfig`.
#[derive(Clone, Debug)]
pub struct SubClustersConfig {
    /// `lb_policy`
    pub(crate) policy: PolicyName,
    /// What that and the settings of the cluster itself come to; `None` where no such cluster can be, as in Envoy, which
    /// finds out when it makes the first.
    pub(crate) lb: Option<LbConfig>,
    /// `max_sub_clusters`
    pub(crate) most: usize,
    /// `sub_cluster_ttl`: those that nobody wanted for so long go, up to as long again later.
    pub(crate) ttl: Duration,
    /// How names are looked up.
    pub(crate) source: HostSource,
    /// `allow_insecure_cluster_options`
    pub(crate) insecure: bool,
}

/// A name that requests want to go to, and its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubCluster {
    /// What the cluster is called, `DFPCluster:NAME:PORT`.
    pub cluster: Arc<str>,
    /// What is looked up; may be an IP address.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

impl SubCluster {
    /// Of a name with a port, as a DNS cache calls it.
    pub fn of(key: &str) -> Self {
        let (name, port) = split(key, 0);
        let name = name.trim_matches(['[', ']']);
        Self { cluster: format!("DFPCluster:{name}:{port}").into(), host: name.into(), port }
    }
}

/// What a cluster was made for that no configuration names.
#[derive(Clone, Debug)]
pub struct MadeFor {
    /// The cluster that it was made of.
    pub parent: Arc<str>,
    /// The name that requests wanted to go to.
    pub to: SubCluster,
    /// When that was.
    pub at: SystemTime,
}

impl ClusterConfig {
    /// The cluster that is made of this one for a name; `None` where it has none, or its settings allow none.
    pub(crate) fn sub_cluster(&self, to: SubCluster, at: SystemTime) -> Option<Self> {
        let HostSource::SubClusters(subs) = &self.discovery.source else { return None };
        let mut config = self.clone();
        config.lb = subs.lb.clone()?;
        if config.observability_name == config.name {
            config.observability_name = Arc::clone(&to.cluster);
        }
        config.name = Arc::clone(&to.cluster);
        config.discovery = Discovery::of(subs.source.clone());
        config.discovery.endpoints.push(LocalityEndpoints {
            priority: 0,
            weight: None,
            locality: Arc::default(),
            hosts: Vec::new(),
            names: vec![NamedEndpoint { name: Arc::clone(&to.host), port: to.port, spec: spec(&to.host) }],
        });
        config.made = Some(Arc::new(MadeFor { parent: Arc::clone(&self.name), to, at }));
        Some(config)
    }
}

/// A host of this name, wherever it will be.
fn spec(name: &Arc<str>) -> HostSpec {
    HostSpec {
        address: Address::Ip(SocketAddr::from(([0, 0, 0, 0], 0))),
        further: None,
        hostname: Arc::clone(name),
        locality: Arc::default(),
        locality_metadata: None,
        weight: 1,
        priority: 0,
        health: HealthFlags::default(),
        metadata: None,
        check: None,
        stat_name: None,
    }
}

/// What workers tell the main thread.
pub(crate) enum Wish {
    /// This one shall be.
    For(SubCluster),
    /// None shall be any more: the cluster that they are made of is gone.
    None,
}

/// There are as many sub clusters as there may be (`max_sub_clusters`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// The clusters that are made of one, by name, and the line on which workers want more.
pub(crate) struct SubClusters {
    most: usize,
    /// Whether somebody has wanted it since the last sweep.
    known: Mutex<HashMap<Arc<str>, bool>>,
    line: Line<Wish>,
}

impl SubClusters {
    /// None yet.
    pub(super) fn new(config: &SubClustersConfig) -> Self {
        Self { most: config.most, known: Mutex::default(), line: Line::new() }
    }

    /// The line on which the main thread is told.
    pub(crate) fn line(&self) -> &Line<Wish> {
        &self.line
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Arc<str>, bool>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody wants to go there: it stays, or is made.
    fn want(&self, to: &SubCluster) -> Result<(), TooMany> {
        let mut known = self.known();
        if let Some(wanted) = known.get_mut(&to.cluster) {
            *wanted = true;
            return Ok(());
        }
        if known.len() >= self.most {
            return Err(TooMany);
        }
        known.insert(Arc::clone(&to.cluster), true);
        self.line.tell(Wish::For(to.clone()));
        Ok(())
    }

    /// Those that nobody has wanted since the last call, which are known no longer.
    pub(crate) fn sweep(&self) -> Vec<Arc<str>> {
        self.known().extract_if(|_, wanted| !std::mem::take(wanted)).map(|(name, _)| name).collect()
    }

    /// All of them, which are known no longer.
    pub(crate) fn all(&self) -> Vec<Arc<str>> {
        self.known().drain().map(|(name, _)| name).collect()
    }

    /// The cluster is gone.
    pub(super) fn retire(&self) {
        self.line.tell(Wish::None);
    }
}

impl super::Cluster {
    /// Sees to it that there is a cluster for a name, if this one has others made of it.
    ///
    /// # Errors
    /// `max_sub_clusters` keeps it out.
    pub fn want(&self, to: &SubCluster) -> Result<(), TooMany> {
        self.core.shared.sub_clusters().map_or(Ok(()), |subs| subs.want(to))
    }
}

#[cfg(test)]
mod tests;
