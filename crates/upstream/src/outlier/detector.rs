//! The main thread's side of outlier detection of one cluster.

use super::{Cause, Origin, OutlierConfig, SuccessRates, Told};
use crate::cluster::ClusterShared;
use crate::discovery::Discovery;
use crate::host::{HealthFlags, HostShared};
use crate::stats::OutlierStats;
use nuncio_core::stats::Scope;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

/// What is remembered of a host that was ejected.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Ejections in a row: each is longer than the one before.
    times: u32,
    /// Until when it is out.
    until: Option<Instant>,
}

struct Detector {
    discovery: Rc<Discovery>,
    cluster: Arc<ClusterShared>,
    /// As runtime keys have it in this interval.
    config: OutlierConfig,
    stats: Scope<OutlierStats>,
    records: HashMap<*const HostShared, Record>,
}

/// Begins to watch over the hosts of a cluster that wants it.
pub(crate) fn follow(discovery: &Rc<Discovery>, cluster: &Arc<ClusterShared>) {
    let (Some(config), Some(line)) = (&cluster.config().outlier, cluster.outlier_line()) else { return };
    let (Some(told), Some(stats)) = (line.listen(), cluster.outlier_stats()) else { return };
    let detector = Detector {
        discovery: Rc::clone(discovery),
        cluster: Arc::clone(cluster),
        config: config.at_runtime(cluster.runtime()),
        stats,
        records: HashMap::new(),
    };
    discovery.worker.spawn(detector.run(told));
}

impl Detector {
    async fn run(mut self, mut told: UnboundedReceiver<Told>) {
        let mut tick = Box::pin(tokio::time::sleep(self.interval()));
        loop {
            tokio::select! {
                one = told.recv() => {
                    let Some((host, cause)) = one else { return };
                    self.take_runtime();
                    self.run_completed(&host, cause);
                }
                () = &mut tick => {
                    self.take_runtime();
                    self.tick();
                    let next = tick.deadline() + self.interval();
                    tick.as_mut().reset(next);
                }
            }
            if !self.discovery.is_current(&self.cluster) {
                return;
            }
        }
    }

    fn interval(&self) -> Duration {
        self.config.interval.max(Duration::from_millis(1))
    }

    /// Takes what runtime keys say now.
    fn take_runtime(&mut self) {
        if let Some(config) = &self.cluster.config().outlier {
            self.config = config.at_runtime(self.cluster.runtime());
        }
    }

    fn run_completed(&mut self, host: &Arc<HostShared>, cause: Cause) {
        let known = self.cluster.hosts().hosts().any(|h| Arc::ptr_eq(h, host));
        if !known || is_ejected(host) {
            return;
        }
        self.detected(cause);
        self.eject(host, cause);
        if cause == Cause::Consecutive5xx {
            self.stats.ejections_consecutive_5xx.inc();
        }
        // A further run is noticed though no success came between.
        host.outlier().reset(cause);
    }

    fn detected(&self, cause: Cause) {
        let stats = &self.stats;
        match cause {
            Cause::Consecutive5xx => &stats.ejections_detected_consecutive_5xx,
            Cause::ConsecutiveGatewayFailure => &stats.ejections_detected_consecutive_gateway_failure,
            Cause::ConsecutiveLocalOriginFailure => {
                &stats.ejections_detected_consecutive_local_origin_failure
            }
            Cause::SuccessRate => &stats.ejections_detected_success_rate,
            Cause::LocalOriginSuccessRate => &stats.ejections_detected_local_origin_success_rate,
            Cause::FailurePercentage => &stats.ejections_detected_failure_percentage,
            Cause::LocalOriginFailurePercentage => &stats.ejections_detected_local_origin_failure_percentage,
        }
        .inc();
    }

    fn enforced(&self, cause: Cause) {
        let stats = &self.stats;
        stats.ejections_enforced_total.inc();
        match cause {
            Cause::Consecutive5xx => &stats.ejections_enforced_consecutive_5xx,
            Cause::ConsecutiveGatewayFailure => &stats.ejections_enforced_consecutive_gateway_failure,
            Cause::ConsecutiveLocalOriginFailure => {
                &stats.ejections_enforced_consecutive_local_origin_failure
            }
            Cause::SuccessRate => &stats.ejections_enforced_success_rate,
            Cause::LocalOriginSuccessRate => &stats.ejections_enforced_local_origin_success_rate,
            Cause::FailurePercentage => &stats.ejections_enforced_failure_percentage,
            Cause::LocalOriginFailurePercentage => &stats.ejections_enforced_local_origin_failure_percentage,
        }
        .inc();
    }

    /// Ejects a host, if so many may be out and the cause is enforced this time.
    fn eject(&mut self, host: &Arc<HostShared>, cause: Cause) {
        let hosts = self.cluster.hosts();
        let total = hosts.hosts().count();
        let out = hosts.hosts().filter(|h| is_ejected(h)).count();
        let share = 100.0 * (out + 1) as f64 / total as f64;
        let first = self.config.always_eject_one_host && out == 0;
        if share > f64::from(self.config.max_ejection_percent) && !first {
            self.stats.ejections_overflow.inc();
            return;
        }
        // Envoy's older counters know two causes alone.
        if matches!(cause, Cause::Consecutive5xx | Cause::SuccessRate) {
            self.stats.ejections_total.inc();
        }
        let percent = self.config.enforcing.get(cause as usize).copied().unwrap_or(0);
        let worker = &self.discovery.worker;
        if worker.rng().below(100) >= u64::from(percent) {
            return;
        }
        self.enforced(cause);
        let (base, max) = (self.config.base_ejection_time, self.config.max_ejection_time);
        let record = self.records.entry(Arc::as_ptr(host)).or_default();
        if base * record.times < max + base {
            record.times += 1;
        }
        let jitter = self.config.max_ejection_time_jitter.as_millis() as u64;
        let jitter = Duration::from_millis(if jitter > 0 { worker.rng().below(jitter + 1) } else { 0 });
        record.until = worker.now().checked_add((base * record.times).min(max) + jitter);
        self.stats.ejections_active.inc();
        host.set_health(HealthFlags::FAILED_OUTLIER_CHECK, true);
        self.discovery.set.borrow_mut().health_changed(&self.cluster);
    }

    /// The interval is over: hosts come back, and rates are compared.
    fn tick(&mut self) {
        let now = self.discovery.worker.now();
        let hosts = self.cluster.hosts();
        let mut changed = false;
        self.records.retain(|host, _| hosts.hosts().any(|h| Arc::as_ptr(h) == *host));
        for host in hosts.hosts() {
            let Some(record) = self.records.get_mut(&Arc::as_ptr(host)) else { continue };
            if !is_ejected(host) {
                record.times = record.times.saturating_sub(1);
            } else if record.until.is_none_or(|until| until <= now) {
                changed = true;
                host.set_health(HealthFlags::FAILED_OUTLIER_CHECK, false);
                self.stats.ejections_active.dec();
                for cause in [
                    Cause::Consecutive5xx,
                    Cause::ConsecutiveGatewayFailure,
                    Cause::ConsecutiveLocalOriginFailure,
                ] {
                    host.outlier().reset(cause);
                }
            }
        }
        if changed {
            self.discovery.set.borrow_mut().health_changed(&self.cluster);
        }
        self.compare(Origin::External);
        self.compare(Origin::Local);
    }

    /// Ejects hosts whose rate falls behind.
    fn compare(&mut self, origin: Origin) {
        let (by_rate, by_failures) = match origin {
            Origin::External => (Cause::SuccessRate, Cause::FailurePercentage),
            Origin::Local => (Cause::LocalOriginSuccessRate, Cause::LocalOriginFailurePercentage),
        };
        let hosts = self.cluster.hosts();
        let rates: Vec<(Arc<HostShared>, f64, u32)> = hosts
            .hosts()
            .map(|host| (host, host.outlier().rate(origin).take()))
            .filter(|(host, (_, total))| *total > 0 && !is_ejected(host))
            .map(|(host, (good, total))| {
                (Arc::clone(host), 100.0 * f64::from(good) / f64::from(total), total)
            })
            .collect();
        let enough = |volume: u32| rates.iter().filter(move |(.., total)| *total >= volume);
        let limits = self.config.success_rate;
        let valid: Vec<_> = enough(limits.request_volume).collect();
        let mut known = SuccessRates::UNKNOWN;
        if !valid.is_empty() && valid.len() >= limits.minimum_hosts as usize {
            let rates = valid.iter().map(|(_, rate, _)| *rate);
            let threshold = threshold(rates.clone(), self.config.stdev_factor);
            known = SuccessRates { average: rates.sum::<f64>() / valid.len() as f64, threshold };
            for (host, ..) in valid.iter().filter(|(_, rate, _)| *rate < threshold) {
                self.stats.ejections_success_rate.inc();
                self.detected(by_rate);
                self.eject(host, by_rate);
            }
        }
        self.cluster.set_success_rates(origin, known);
        let limits = self.config.failure_percentage;
        let valid: Vec<_> = enough(limits.request_volume).collect();
        if !valid.is_empty() && valid.len() >= limits.minimum_hosts as usize {
            let most = f64::from(self.config.failure_percentage_threshold);
            for (host, ..) in valid.iter().filter(|(_, rate, _)| 100.0 - rate >= most) {
                self.detected(by_failures);
                self.eject(host, by_failures);
            }
        }
    }
}

fn is_ejected(host: &HostShared) -> bool {
    host.health_flags().contains(HealthFlags::FAILED_OUTLIER_CHECK)
}

/// The success rate below which a host is an outlier: mean less `factor` thousandths of the standard deviation.
pub(super) fn threshold(rates: impl Iterator<Item = f64> + Clone, factor: u32) -> f64 {
    let count = rates.clone().count() as f64;
    let mean = rates.clone().sum::<f64>() / count;
    let variance = rates.map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    mean - variance.sqrt() * f64::from(factor) / 1000.0
}
