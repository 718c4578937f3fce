//! Active health: hosts are asked how they are, from the main thread, and get traffic while they answer well.

mod config;
mod dial;
mod event;
mod probe;
mod session;

pub(crate) use config::compile;
pub use config::{Check, CheckTarget, Events, GrpcCheck, HealthCheckConfig, HttpCheck, Intervals, TcpCheck};
pub(crate) use dial::{Dialer, Gone};
pub(crate) use probe::{Http2, Judge};
pub(crate) use session::{FailureKind, Verdict};

use crate::cluster::{ClusterConfig, ClusterShared, HostSource, UpstreamProtocol};
use crate::discovery::Discovery;
use crate::discovery::update::without_failed;
use crate::host::{HealthFlags, HostShared};
use crate::line::Line;
use crate::outlier;
use crate::stats::{HealthCheckStats, HealthGauges};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::{Registry, Scope};
use probe::Probe;
use session::{Change, Failure, Session};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a cluster whose hosts are checked has besides.
pub(crate) struct HealthLine {
    line: Line<Told>,
    /// Of each of its checks.
    each: Vec<Scope<HealthCheckStats>>,
    /// What several checks come to together.
    together: Option<Scope<HealthGauges>>,
}

/// What the cluster's supervisor is told.
pub(crate) enum Told {
    /// Hosts were published.
    Hosts,
    /// A host has said in an answer that it is leaving.
    Leaving(Arc<HostShared>),
}

impl HealthLine {
    /// For a cluster with these checks, whose stats begin with `prefix`.
    pub(crate) fn new(checks: &[HealthCheckConfig], registry: &Registry, prefix: &str) -> Self {
        let several = checks.len() > 1;
        let scope = |check: &HealthCheckConfig| match several {
            true => registry.scope(&format!("{prefix}health_check.name.{}.", check.name)),
            false => registry.scope(&format!("{prefix}health_check.")),
        };
        Self {
            line: Line::new(),
            each: checks.iter().map(scope).collect(),
            together: several.then(|| registry.scope(&format!("{prefix}health_check."))),
        }
    }

    pub(crate) fn tell(&self, told: Told) {
        self.line.tell(told);
    }

    fn listen(&self) -> Option<mpsc::UnboundedReceiver<Told>> {
        self.line.listen()
    }
}

/// Whether the cluster's checks can speak what they are to speak.
pub(crate) fn check_protocols(config: &ClusterConfig, cx: &CompileContext<'_>) -> Option<()> {
    for (at, check) in config.health_checks.iter().enumerate() {
        let cx = cx.item("health_checks", at);
        match &check.check {
            Check::Grpc(_) if config.http.protocol == UpstreamProtocol::Http1 => {
                let text = format!("{} cluster must support HTTP/2 for gRPC healthchecking", config.name);
                cx.field("grpc_health_check").error(text);
                return None;
            }
            Check::Http(http) if http.by_alpn && !config.is_secured() => {
                cx.field("http_health_check").field("use_alpn_protocol").error(format!(
                    "use_alpn_protocol configured for the health check of cluster {} which has a non-ALPN \
                     transport socket",
                    config.name
                ));
                return None;
            }
            _ => {}
        }
    }
    Some(())
}

/// The checks of one cluster.
struct Checks {
    discovery: Rc<Discovery>,
    cluster: Arc<ClusterShared>,
    dialer: Dialer,
    watched: RefCell<HashMap<*const HostShared, Rc<Watched>>>,
    /// Hosts without their first verdict, as soon as the first hosts are known; with the last one the cluster is warm.
    waiting: Cell<Option<usize>>,
    first: Cell<Option<oneshot::Sender<()>>>,
}

/// A host that is checked.
struct Watched {
    host: Arc<HostShared>,
    /// In the order of the cluster's checks.
    sessions: RefCell<Vec<Session>>,
}

/// A host, and what ends its checks when it is dropped.
type Kept = (Rc<Watched>, Vec<oneshot::Sender<()>>);

/// Begins to check the hosts of a cluster that wants it; resolves when each of its first hosts, which are there once
/// `found` has resolved, has a verdict.
pub(crate) fn follow(
    discovery: &Rc<Discovery>,
    cluster: &Arc<ClusterShared>,
    found: Option<oneshot::Receiver<()>>,
) -> Option<oneshot::Receiver<()>> {
    let Some(told) = cluster.health_line().and_then(|line| line.listen()) else { return found };
    let (tell, first) = oneshot::channel();
    let checks = Rc::new(Checks {
        dialer: Dialer::new(discovery, cluster),
        discovery: Rc::clone(discovery),
        cluster: Arc::clone(cluster),
        watched: RefCell::default(),
        waiting: Cell::new(None),
        first: Cell::new(Some(tell)),
    });
    match found {
        None => checks.hosts_are_known(),
        Some(found) => {
            let checks = Rc::clone(&checks);
            discovery.worker.spawn(async move {
                // Without an answer there is nothing more to be known.
                let _ = found.await;
                checks.hosts_are_known();
            });
        }
    }
    discovery.worker.spawn(checks.supervise(told));
    Some(first)
}

impl Checks {
    /// Keeps a task for each check of each host.
    async fn supervise(self: Rc<Self>, mut told: mpsc::UnboundedReceiver<Told>) {
        let mut kept: HashMap<*const HostShared, Kept> = HashMap::new();
        loop {
            let hosts = self.cluster.hosts();
            let before = kept.len();
            kept.retain(|host, _| hosts.hosts().any(|h| Arc::as_ptr(h) == *host));
            let gone = before != kept.len();
            for host in hosts.hosts().filter(|h| h.spec().is_checked()) {
                kept.entry(Arc::as_ptr(host)).or_insert_with(|| self.begin(host));
            }
            drop(hosts);
            self.watched
                .replace(kept.iter().map(|(host, (watched, _))| (*host, Rc::clone(watched))).collect());
            if gone {
                self.gauge();
            }
            match told.recv().await {
                None => return,
                Some(Told::Hosts) => {}
                Some(Told::Leaving(host)) => self.leaves(&host),
            }
            if !self.discovery.is_current(&self.cluster) {
                return;
            }
        }
    }

    fn configs(&self) -> &[HealthCheckConfig] {
        &self.cluster.config().health_checks
    }

    fn begin(self: &Rc<Self>, host: &Arc<HostShared>) -> Kept {
        let sessions = self.configs().iter().map(|_| Session::new(host.health_flags())).collect();
        let watched = Rc::new(Watched { host: Arc::clone(host), sessions: RefCell::new(sessions) });
        let each = (0..self.configs().len()).map(|at| {
            let (keep, gone) = oneshot::channel();
            let task = Rc::clone(self).check_until(Rc::clone(&watched), at, gone);
            self.discovery.worker.spawn(task);
            keep
        });
        let each = each.collect();
        (watched, each)
    }

    /// Checks a host until it is gone.
    async fn check_until(self: Rc<Self>, watched: Rc<Watched>, at: usize, mut gone: oneshot::Receiver<()>) {
        tokio::select! {
            biased;
            _ = &mut gone => {}
            () = self.check(&watched, at) => {}
        }
    }

    async fn check(&self, watched: &Watched, at: usize) {
        let stats = self.cluster.health_line().and_then(|line| line.each.get(at));
        let (Some(config), Some(stats)) = (self.configs().get(at), stats) else { return };
        let worker = &self.discovery.worker;
        let jitter = worker.rng().below(config.initial_jitter.as_millis() as u64);
        if jitter > 0 {
            tokio::time::sleep(Duration::from_millis(jitter)).await;
        }
        let mut probe = Probe::new(&self.dialer, config, &watched.host, stats);
        loop {
            stats.attempt.inc();
            let verdict = match tokio::time::timeout(config.timeout, probe.check()).await {
                Ok(verdict) => verdict,
                Err(_) => {
                    probe.give_up();
                    Verdict::failed(FailureKind::Timeout)
                }
            };
            let mut wait = self.take(watched, at, verdict);
            loop {
                tokio::select! {
                    biased;
                    verdict = probe.idle() => wait = self.take(watched, at, verdict),
                    () = tokio::time::sleep(wait) => break,
                }
            }
        }
    }

    /// Takes a verdict in; the time to the next check.
    fn take(&self, watched: &Watched, at: usize, verdict: Verdict) -> Duration {
        let Some(config) = self.configs().get(at) else { return Duration::MAX };
        let change = self.judge(watched, at, config, verdict);
        let good = matches!(verdict, Verdict::Good { .. });
        let rng = self.discovery.worker.rng();
        session::wait(config, (good, change), self.has_traffic(), rng, self.cluster.runtime())
    }

    fn judge(&self, watched: &Watched, at: usize, config: &HealthCheckConfig, verdict: Verdict) -> Change {
        let host = &watched.host;
        let mut sessions = watched.sessions.borrow_mut();
        let new = sessions.iter().all(Session::is_new);
        let Some(session) = sessions.get_mut(at) else { return Change::None };
        let (before, failed) = (host.health_flags(), session.failed());
        let name = &self.cluster.config().name;
        let change = session.take(verdict, config, &mut |event| {
            if !config.events.log.is_empty() {
                let wall = self.discovery.worker.wall();
                config.events.log.write(event.json(&config.check, name, host, wall));
            }
        });
        let recovered = failed && !session.failed();
        let together = sessions.iter().fold(HealthFlags::default(), |all, session| all.with(session.flags));
        drop(sessions);
        host.set_health(Session::FLAGS.without(together), false);
        host.set_health(together, true);
        match verdict {
            _ if recovered => host.set_health(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, false),
            Verdict::Bad(Failure { leaving: true, .. }) => {
                host.set_health(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, true);
            }
            _ => {}
        }
        self.count(at, verdict);
        let after = host.health_flags();
        if new || before != after {
            self.publish();
        }
        let out = HealthFlags::FAILED_ACTIVE_HC;
        if after.contains(out) && !before.contains(out) {
            self.discovery.set.borrow_mut().host_failed(&self.cluster, host);
        }
        if new {
            self.verdict_of_new(1);
        }
        let ejected = HealthFlags::FAILED_OUTLIER_CHECK;
        if matches!(verdict, Verdict::Good { .. })
            && !after.contains(HealthFlags::FAILED_ACTIVE_HC)
            && after.contains(ejected)
            && let Some(line) = self.cluster.outlier_line()
        {
            line.tell(outlier::Told::Passed(Arc::clone(host)));
        }
        change
    }

    fn count(&self, at: usize, verdict: Verdict) {
        let Some(stats) = self.cluster.health_line().and_then(|line| line.each.get(at)) else { return };
        match verdict {
            Verdict::Good { .. } => stats.success.inc(),
            Verdict::Bad(failure) => {
                stats.failure.inc();
                match failure.kind {
                    FailureKind::Active => {}
                    FailureKind::Passive => stats.passive_failure.inc(),
                    FailureKind::Network | FailureKind::Timeout => stats.network_failure.inc(),
                }
            }
        }
    }

    /// A host has said that it is leaving: it is out at once. As in Envoy, its last check is the one that knows.
    fn leaves(&self, host: &Arc<HostShared>) {
        let Some(watched) = self.watched.borrow().get(&Arc::as_ptr(host)).cloned() else { return };
        let at = self.configs().len().saturating_sub(1);
        let Some(config) = self.configs().get(at) else { return };
        let kind = FailureKind::Passive;
        let failure = Failure { kind, retriable: false, status: 0, leaving: true };
        self.judge(&watched, at, config, Verdict::Bad(failure));
    }

    /// Balancers and gauges follow.
    fn publish(&self) {
        self.gauge();
        let hosts = self.cluster.hosts();
        let mut set = self.discovery.set.borrow_mut();
        // What EDS no longer names was kept for its health alone; with DNS the next answer decides.
        let fed = matches!(self.cluster.config().discovery.source, HostSource::Eds(_));
        match fed.then(|| without_failed(&hosts)).flatten() {
            Some(left) => set.set_hosts(&self.cluster, left, 1, true),
            None => set.health_changed(&self.cluster),
        }
    }

    /// How many hosts are well and how many degraded, by each check and by all of them.
    fn gauge(&self) {
        let Some(line) = self.cluster.health_line() else { return };
        let watched = self.watched.borrow();
        let count = |at: usize, is: &dyn Fn(HealthFlags) -> bool| {
            let flags = |w: &&Rc<Watched>| w.sessions.borrow().get(at).is_some_and(|s| is(s.flags));
            watched.values().filter(flags).count() as u64
        };
        let well = |flags: HealthFlags| !flags.contains(HealthFlags::FAILED_ACTIVE_HC);
        let degraded = |flags: HealthFlags| flags.contains(HealthFlags::DEGRADED_ACTIVE_HC);
        for (at, stats) in line.each.iter().enumerate() {
            stats.healthy.set(count(at, &well));
            stats.degraded.set(count(at, &degraded));
        }
        if let Some(together) = &line.together {
            let all = |is: &dyn Fn(HealthFlags) -> bool| {
                watched.values().filter(|w| is(w.host.health_flags())).count() as u64
            };
            together.healthy.set(all(&well));
            together.degraded.set(all(&degraded));
        }
    }

    /// Whether the cluster ever had a connection.
    fn has_traffic(&self) -> bool {
        let hosts = self.cluster.hosts();
        hosts.hosts().any(|host| host.counters().iter().any(|c| c.cx_total.value() > 0))
    }

    /// The hosts that there are now are the first ones.
    fn hosts_are_known(&self) {
        let waits = |h: &Arc<HostShared>| {
            h.spec().is_checked() && h.health_flags().contains(HealthFlags::PENDING_ACTIVE_HC)
        };
        self.waiting.set(Some(self.cluster.hosts().hosts().filter(|h| waits(h)).count()));
        self.verdict_of_new(0);
    }

    /// So many more hosts have had their first verdict.
    fn verdict_of_new(&self, hosts: usize) {
        let Some(waiting) = self.waiting.get() else { return };
        self.waiting.set(Some(waiting.saturating_sub(hosts)));
        if waiting <= hosts
            && let Some(first) = self.first.take()
        {
            // Nobody may be waiting.
            let _ = first.send(());
        }
    }
}

#[cfg(test)]
mod tests;
