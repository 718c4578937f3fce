//! Weights by the load that hosts report (`client_side_weighted_round_robin`).
//!
//! Workers leave what answers report with the hosts that gave them. The main thread makes weights of it every so often,
//! and publishes the hosts anew where a weight has changed.

mod out_of_band;
mod report;

pub use out_of_band::OutOfBand;
pub(crate) use report::LoadReport;

use crate::cluster::ClusterShared;
use crate::discovery::Discovery;
use crate::host::{HostShared, LocalityHosts};
use crate::lb::LbPolicy;
use out_of_band::Streams;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `ClientSideWeightedRoundRobin`
#[derive(Clone, Debug, PartialEq)]
pub struct LoadWeights {
    /// `blackout_period`: a host has to report for so long before its weight counts.
    pub blackout: Duration,
    /// `weight_expiration_period`: a weight counts for so long after the last report.
    pub expiration: Duration,
    /// `weight_update_period`
    pub update: Duration,
    /// `error_utilization_penalty`
    pub penalty: f64,
    /// `metric_names_for_computing_utilization`
    pub metrics: Box<[Box<str>]>,
    /// `enable_oob_load_report`: hosts report over streams of their own, too.
    pub out_of_band: Option<OutOfBand>,
}

impl LoadWeights {
    /// The least time between two updates.
    pub const LEAST_UPDATE: Duration = Duration::from_millis(100);

    /// What a host weighs that reports this: requests per second over how busy it is, errors counted in. `None` where
    /// the report says too little.
    fn weigh(&self, report: &LoadReport) -> Option<u32> {
        let requests = report.requests;
        let mut busy = report.busy(&self.metrics);
        if requests <= 0.0 {
            return None;
        }
        if self.penalty != 0.0 {
            busy += self.penalty * report.errors / requests;
        }
        // The cast cuts what is beyond its range.
        (busy > 0.0).then(|| (requests / busy) as u32)
    }
}

impl Default for LoadWeights {
    fn default() -> Self {
        Self {
            blackout: Duration::from_secs(10),
            expiration: Duration::from_secs(180),
            update: Duration::from_secs(1),
            penalty: 0.0,
            metrics: Box::default(),
            out_of_band: None,
        }
    }
}

/// What one host has reported, to any worker.
#[derive(Debug, Default)]
pub(crate) struct LoadRecord(Mutex<Reported>);

#[derive(Clone, Copy, Debug, Default)]
struct Reported {
    weight: u32,
    /// The last report.
    last: Option<Instant>,
    /// The first one, unless its weight has expired since.
    since: Option<Instant>,
}

impl LoadRecord {
    fn with<R>(&self, look: impl FnOnce(&mut Reported) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a report, if it says enough.
    pub(crate) fn take(&self, report: &LoadReport, config: &LoadWeights, now: Instant) {
        if let Some(weight) = config.weigh(report) {
            self.with(|reported| {
                (reported.weight, reported.last) = (weight, Some(now));
                reported.since.get_or_insert(now);
            });
        }
    }

    /// The reported weight, if it counts now.
    fn weight(&self, config: &LoadWeights, now: Instant) -> Option<u32> {
        self.with(|reported| {
            let age = |at: Instant| now.saturating_duration_since(at);
            if age(reported.since?) < config.blackout {
                return None;
            }
            if age(reported.last?) > config.expiration {
                reported.since = None;
                return None;
            }
            Some(reported.weight)
        })
    }
}

/// Begins to weigh the hosts of a cluster that goes by reports.
pub(crate) fn follow(discovery: &Rc<Discovery>, cluster: &Arc<ClusterShared>) {
    let LbPolicy::ClientSideWeighted(config) = &cluster.config().lb.policy else { return };
    let (config, discovery, cluster) =
        (Rc::new((**config).clone()), Rc::clone(discovery), Arc::clone(cluster));
    let worker = Rc::clone(&discovery.worker);
    worker.spawn(async move {
        let mut streams = config.out_of_band.as_ref().map(|_| Streams::new(&discovery, &cluster, &config));
        loop {
            if let Some(streams) = &mut streams {
                streams.keep_up();
            }
            tokio::time::sleep(config.update).await;
            if !discovery.is_current(&cluster) {
                return;
            }
            if weigh_all(&config, &cluster, discovery.worker.now()) {
                discovery.set.borrow_mut().weights_changed(&cluster);
            }
        }
    });
}

/// Gives each host its weight, priority by priority; whether one of them has changed.
fn weigh_all(config: &LoadWeights, cluster: &ClusterShared, now: Instant) -> bool {
    let hosts = cluster.hosts();
    hosts.priorities.iter().fold(false, |changed, priority| changed | weigh_priority(config, priority, now))
}

/// A host whose reports do not count weighs as much as the median of those whose reports do.
fn weigh_priority(config: &LoadWeights, localities: &[LocalityHosts], now: Instant) -> bool {
    let (mut weights, mut others, mut changed) = (Vec::new(), Vec::new(), false);
    for host in localities.iter().flat_map(|l| &l.hosts) {
        match host.load().weight(config, now) {
            Some(weight) => {
                weights.push(weight);
                changed |= host.set_weight(weight);
            }
            None => others.push(host),
        }
    }
    if !others.is_empty() {
        let weight = median(&mut weights).unwrap_or(1);
        others.into_iter().for_each(|host: &Arc<HostShared>| changed |= host.set_weight(weight));
    }
    changed
}

/// Of an even number the mean of the two in the middle, cut.
fn median(weights: &mut [u32]) -> Option<u32> {
    weights.sort_unstable();
    let middle = weights.len() / 2;
    let upper = *weights.get(middle)?;
    if !weights.len().is_multiple_of(2) {
        return Some(upper);
    }
    let lower = *weights.get(middle.checked_sub(1)?)?;
    Some(((u64::from(lower) + u64::from(upper)) / 2) as u32)
}

#[cfg(test)]
mod tests;
