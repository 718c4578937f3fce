//! The main thread's side of outlier detection of one cluster.

use super::event::{self, Event};
use super::{Cause, Origin, OutlierConfig, SuccessRates, Told};
use crate::cluster::ClusterShared;
use crate::discovery::Discovery;
use crate::host::{HealthFlags, HostShared, HostSnapshot};
use crate::stats::OutlierStats;
use nuncio_core::stats::Scope;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

/// What is remembered of a host that was ejected, or found degraded.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Ejections in a row: each is longer than the one before.
    times: u32,
    /// All of them.
    ejections: u32,
    /// Until when it is out.
    until: Option<Instant>,
    ejected: Option<Instant>,
    /// When it was let back.
    back: Option<Instant>,
    /// As above, for how long it is degraded, and how often in a row it was.
    degraded_until: Option<Instant>,
    degraded_times: u32,
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
                    let Some(one) = one else { return };
                    self.take_runtime();
                    self.take(&one);
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

    fn take(&mut self, told: &Told) {
        let hosts = self.cluster.hosts();
        let (Told::Run(host, _) | Told::Passed(host) | Told::Degraded(host)) = told else {
            return self.forget(&hosts);
        };
        if !hosts.hosts().any(|h| Arc::ptr_eq(h, host)) {
            return;
        }
        match told {
            Told::Run(_, cause) => self.run_completed(host, *cause),
            Told::Passed(_) if self.config.check_ends_ejection && is_ejected(host) => {
                self.let_back(host);
                self.publish();
            }
            Told::Passed(_) => {}
            Told::Degraded(_) => self.degrade(host),
            Told::Hosts => {}
        }
    }

    fn publish(&self) {
        self.discovery.set.borrow_mut().health_changed(&self.cluster);
    }

    fn run_completed(&mut self, host: &Arc<HostShared>, cause: Cause) {
        if is_ejected(host) {
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
        let enforced = self.discovery.worker.rng().below(100) < u64::from(percent);
        if enforced {
            self.enforced(cause);
            let until = self.out_for(|record| &mut record.times, host);
            let now = self.discovery.worker.now();
            let record = self.records.entry(Arc::as_ptr(host)).or_default();
            record.until = until;
            record.ejected = Some(now);
            record.ejections += 1;
            self.stats.ejections_active.inc();
            host.set_health(HealthFlags::FAILED_OUTLIER_CHECK, true);
            self.publish();
            self.discovery.set.borrow_mut().host_failed(&self.cluster, host);
        }
        let rates = self.cluster.success_rates_of(cause.origin());
        let own_rate = host.outlier().shown_rate(cause.origin());
        self.tell(host, Event::Ejected { cause, enforced, rates, own_rate });
    }

    /// Until when a host is out, or degraded: each time in a row longer than the one before.
    fn out_for(
        &mut self,
        times: impl Fn(&mut Record) -> &mut u32,
        host: &Arc<HostShared>,
    ) -> Option<Instant> {
        let (base, max) = (self.config.base_ejection_time, self.config.max_ejection_time);
        let times = times(self.records.entry(Arc::as_ptr(host)).or_default());
        if base * *times < max + base {
            *times += 1;
        }
        let worker = &self.discovery.worker;
        let jitter = self.config.max_ejection_time_jitter.as_millis() as u64;
        let jitter = Duration::from_millis(if jitter > 0 { worker.rng().below(jitter + 1) } else { 0 });
        worker.now().checked_add((base * *times).min(max) + jitter)
    }

    /// A host has said that it is degraded: it gets traffic when there are too few others, for a while.
    fn degrade(&mut self, host: &Arc<HostShared>) {
        if is_degraded(host) {
            return;
        }
        self.stats.ejections_detected_degradation.inc();
        let until = self.out_for(|record| &mut record.degraded_times, host);
        self.records.entry(Arc::as_ptr(host)).or_default().degraded_until = until;
        host.set_health(HealthFlags::DEGRADED_OUTLIER_DETECTION, true);
        self.publish();
        self.tell(host, Event::Degraded);
    }

    /// An ejected host gets traffic again.
    fn let_back(&mut self, host: &Arc<HostShared>) {
        host.set_health(HealthFlags::FAILED_OUTLIER_CHECK, false);
        self.stats.ejections_active.dec();
        for cause in
            [Cause::Consecutive5xx, Cause::ConsecutiveGatewayFailure, Cause::ConsecutiveLocalOriginFailure]
        {
            host.outlier().reset(cause);
        }
        let now = self.discovery.worker.now();
        self.records.entry(Arc::as_ptr(host)).or_default().back = Some(now);
        self.tell(host, Event::Unejected);
    }

    /// Writes an event.
    fn tell(&self, host: &Arc<HostShared>, event: Event) {
        if self.config.log.is_empty() {
            return;
        }
        let worker = &self.discovery.worker;
        let record = self.records.get(&Arc::as_ptr(host)).copied().unwrap_or_default();
        let last = if event == Event::Unejected { record.ejected } else { record.back };
        let told = event::Told {
            cluster: &self.cluster.config().name,
            host,
            at: worker.wall(),
            ejections: record.ejections,
            since: last.map(|at| worker.now().saturating_duration_since(at)),
        };
        self.config.log.write(event.json(&told));
    }

    /// The interval is over: hosts come back, and rates are compared.
    fn tick(&mut self) {
        let now = self.discovery.worker.now();
        let hosts = self.cluster.hosts();
        let mut changed = false;
        self.forget(&hosts);
        for host in hosts.hosts() {
            let Some(record) = self.records.get_mut(&Arc::as_ptr(host)) else { continue };
            let over = |until: Option<Instant>| until.is_none_or(|until| until <= now);
            let (is_back, is_well) = (over(record.until), over(record.degraded_until));
            // Whoever has stayed in will be out for a shorter time.
            if !is_degraded(host) {
                record.degraded_times = record.degraded_times.saturating_sub(1);
            }
            if !is_ejected(host) {
                record.times = record.times.saturating_sub(1);
            }
            if is_degraded(host) && is_well {
                host.set_health(HealthFlags::DEGRADED_OUTLIER_DETECTION, false);
                changed = true;
                self.tell(host, Event::Unejected);
            }
            if is_ejected(host) && is_back {
                changed = true;
                self.let_back(host);
            }
        }
        if changed {
            self.publish();
        }
        self.compare(Origin::External);
        self.compare(Origin::Local);
    }

    /// Drops what is known of hosts that are gone; those that were out count no more.
    fn forget(&mut self, hosts: &HostSnapshot) {
        self.records.retain(|host, _| hosts.hosts().any(|h| Arc::as_ptr(h) == *host));
        let out = hosts.hosts().filter(|h| is_ejected(h)).count() as u64;
        self.stats.ejections_active.set(out);
    }

    /// Ejects hosts whose rate falls behind.
    fn compare(&mut self, origin: Origin) {
        let (by_rate, by_failures) = match origin {
            Origin::External => (Cause::SuccessRate, Cause::FailurePercentage),
            Origin::Local => (Cause::LocalOriginSuccessRate, Cause::LocalOriginFailurePercentage),
        };
        let hosts = self.cluster.hosts();
        let least = self.config.success_rate.minimum_hosts.min(self.config.failure_percentage.minimum_hosts);
        let enough_hosts = hosts.hosts().count() >= least as usize;
        let rates: Vec<(Arc<HostShared>, f64, u32)> = hosts
            .hosts()
            .map(|host| (host, host.outlier().rate(origin).take()))
            .inspect(|(host, _)| host.outlier().show_rate(origin, SuccessRates::NO_RATE))
            .filter(|(host, (_, total))| *total > 0 && enough_hosts && !is_ejected(host))
            .map(|(host, (good, total))| {
                (Arc::clone(host), 100.0 * f64::from(good) / f64::from(total), total)
            })
            .collect();
        let least =
            self.config.success_rate.request_volume.min(self.config.failure_percentage.request_volume);
        for (host, rate, _) in rates.iter().filter(|(.., total)| *total >= least) {
            host.outlier().show_rate(origin, *rate);
        }
        let enough = |volume: u32| rates.iter().filter(move |(.., total)| *total >= volume);
        let limits = self.config.success_rate;
        let valid: Vec<_> = enough(limits.request_volume).collect();
        let mut known = SuccessRates::UNKNOWN;
        if !valid.is_empty() && valid.len() >= limits.minimum_hosts as usize {
            let rates = valid.iter().map(|(_, rate, _)| *rate);
            let threshold = threshold(rates.clone(), self.config.stdev_factor);
            known = SuccessRates { average: rates.sum::<f64>() / valid.len() as f64, threshold };
            self.cluster.set_success_rates(origin, known);
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

fn is_degraded(host: &HostShared) -> bool {
    host.health_flags().contains(HealthFlags::DEGRADED_OUTLIER_DETECTION)
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
