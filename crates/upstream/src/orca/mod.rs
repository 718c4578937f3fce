//! What the load that hosts report is for: their weights (`client_side_weighted_round_robin`), and their localities'
//! shares (`load_aware_locality`).
//!
//! Workers leave what answers report with the hosts that gave them. The main thread makes weights and shares of it every
//! so often, and publishes the hosts anew where a weight has changed.

mod localities;
mod out_of_band;
mod report;

pub use out_of_band::OutOfBand;
pub(crate) use report::LoadReport;

use crate::cluster::ClusterShared;
use crate::discovery::Discovery;
use crate::host::{HostShared, LocalityHosts};
use crate::lb::LoadAware;
use out_of_band::Streams;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What reports are for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReports {
    /// Hosts weigh by them.
    pub weights: Option<LoadWeights>,
    /// Localities share by them.
    pub localities: Option<LoadAware>,
}

impl LoadReports {
    /// Takes what a host reports.
    pub(crate) fn take(&self, report: &LoadReport, of: &LoadRecord, now: Instant) {
        if let Some(weights) = &self.weights {
            of.take_weight(report, weights, now);
        }
        if let Some(localities) = &self.localities {
            of.take_busy(report.busy(&localities.metrics), now);
        }
    }

    /// How hosts are asked out of band: once, for whatever it is for.
    fn out_of_band(&self) -> Option<&OutOfBand> {
        let weights = self.weights.as_ref().and_then(|weights| weights.out_of_band.as_ref());
        weights.or_else(|| self.localities.as_ref()?.out_of_band.as_ref())
    }
}

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
    /// How busy the host is, from 0 to 1, and since when that is known.
    busy: Option<(f64, Instant)>,
}

impl LoadRecord {
    fn with<R>(&self, look: impl FnOnce(&mut Reported) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the weight that a report comes to, if it says enough.
    fn take_weight(&self, report: &LoadReport, config: &LoadWeights, now: Instant) {
        if let Some(weight) = config.weigh(report) {
            self.with(|reported| {
                (reported.weight, reported.last) = (weight, Some(now));
                reported.since.get_or_insert(now);
            });
        }
    }

    /// Takes how busy the host is; nothing is said by a host that says 0.
    fn take_busy(&self, busy: f64, now: Instant) {
        if busy > 0.0 {
            self.with(|reported| reported.busy = Some((busy.min(1.0), now)));
        }
    }

    /// How busy it is, as far as it has said so within the time before `now` in which that counts; zero: at any time.
    fn busy(&self, counts: Duration, now: Instant) -> Option<f64> {
        let (busy, at) = self.with(|reported| reported.busy)?;
        (counts.is_zero() || now.saturating_duration_since(at) <= counts).then_some(busy)
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

/// Begins to look after a cluster that goes by reports.
pub(crate) fn follow(discovery: &Rc<Discovery>, cluster: &Arc<ClusterShared>) {
    let Some(config) = &cluster.config().lb.reports else { return };
    let mut streams = config.out_of_band().map(|how| Streams::new(discovery, cluster, config, how));
    let mut keep_up = move || {
        if let Some(streams) = &mut streams {
            streams.keep_up();
        }
    };
    match (&config.weights, &config.localities) {
        (Some(weights), Some(localities)) => {
            follow_weights(discovery, cluster, weights.clone(), keep_up);
            localities::follow(discovery, cluster, localities, || {});
        }
        (Some(weights), None) => follow_weights(discovery, cluster, weights.clone(), keep_up),
        (None, Some(localities)) => localities::follow(discovery, cluster, localities, keep_up),
        (None, None) => keep_up(),
    }
}

/// Weighs the hosts every so often. `keep_up` is called before each time.
fn follow_weights(
    discovery: &Rc<Discovery>,
    cluster: &Arc<ClusterShared>,
    config: LoadWeights,
    mut keep_up: impl FnMut() + 'static,
) {
    let (discovery, cluster) = (Rc::clone(discovery), Arc::clone(cluster));
    let worker = Rc::clone(&discovery.worker);
    worker.spawn(async move {
        loop {
            keep_up();
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
