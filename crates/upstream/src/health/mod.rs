//! Active health: hosts are asked how they are, from the main thread, and get traffic while they answer well.

mod config;
mod probe;
mod session;

pub use config::{Check, CheckTarget, HealthCheckConfig, HttpCheck, Intervals, TcpCheck};

use crate::cluster::{ClusterShared, HostSource};
use crate::discovery::Discovery;
use crate::discovery::update::without_failed;
use crate::host::{HealthFlags, HostShared};
use crate::line::Line;
use crate::pool::SocketConnector;
use crate::stats::HealthCheckStats;
use nuncio_core::address::Address;
use nuncio_core::stats::Scope;
use probe::Probe;
use session::{Change, Session, Verdict};
use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a cluster whose hosts are checked has besides.
pub(crate) struct HealthLine {
    line: Line<Told>,
    pub(crate) stats: Scope<HealthCheckStats>,
}

/// What the cluster's supervisor is told.
pub(crate) enum Told {
    /// Hosts were published.
    Hosts,
    /// A host has said in an answer that it is leaving.
    Leaving(Arc<HostShared>),
}

impl HealthLine {
    pub(crate) fn new(stats: Scope<HealthCheckStats>) -> Self {
        Self { line: Line::new(), stats }
    }

    pub(crate) fn tell(&self, told: Told) {
        self.line.tell(told);
    }

    fn listen(&self) -> Option<mpsc::UnboundedReceiver<Told>> {
        self.line.listen()
    }
}

/// Whether a host is checked at all.
pub(crate) fn is_checked(host: &HostShared) -> bool {
    host.spec().check.as_ref().is_none_or(|target| !target.disabled)
}

/// The checks of one cluster.
struct Checks {
    discovery: Rc<Discovery>,
    cluster: Arc<ClusterShared>,
    /// Hosts without their first verdict; with the last one the cluster is warm.
    waiting: Cell<usize>,
    first: Cell<Option<oneshot::Sender<()>>>,
}

/// Begins to check the hosts of a cluster that wants it; resolves when each of its first hosts has a verdict.
pub(crate) fn follow(
    discovery: &Rc<Discovery>,
    cluster: &Arc<ClusterShared>,
) -> Option<oneshot::Receiver<()>> {
    cluster.config().health_check.as_ref()?;
    let told = cluster.health_line()?.listen()?;
    let (tell, first) = oneshot::channel();
    let checks = Rc::new(Checks {
        discovery: Rc::clone(discovery),
        cluster: Arc::clone(cluster),
        waiting: Cell::new(cluster.hosts().hosts().filter(|h| is_checked(h)).count()),
        first: Cell::new(Some(tell)),
    });
    checks.verdict_of_new(0);
    discovery.worker.spawn(checks.supervise(told));
    Some(first)
}

impl Checks {
    /// Keeps one task per host.
    async fn supervise(self: Rc<Self>, mut told: mpsc::UnboundedReceiver<Told>) {
        let mut sessions: HashMap<*const HostShared, oneshot::Sender<()>> = HashMap::new();
        loop {
            let hosts = self.cluster.hosts();
            sessions.retain(|host, _| hosts.hosts().any(|h| Arc::as_ptr(h) == *host));
            for host in hosts.hosts().filter(|h| is_checked(h)) {
                sessions.entry(Arc::as_ptr(host)).or_insert_with(|| {
                    let (keep, gone) = oneshot::channel();
                    self.discovery.worker.spawn(Rc::clone(&self).check_until(Arc::clone(host), gone));
                    keep
                });
            }
            drop(hosts);
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

    /// Checks a host until it is gone.
    async fn check_until(self: Rc<Self>, host: Arc<HostShared>, mut gone: oneshot::Receiver<()>) {
        tokio::select! {
            biased;
            _ = &mut gone => {}
            () = self.check(&host) => {}
        }
    }

    async fn check(&self, host: &Arc<HostShared>) {
        let (Some(config), Some(line)) = (&self.cluster.config().health_check, self.cluster.health_line())
        else {
            return;
        };
        let worker = &self.discovery.worker;
        let jitter = worker.rng().below(config.initial_jitter.as_millis() as u64);
        if jitter > 0 {
            tokio::time::sleep(Duration::from_millis(jitter)).await;
        }
        let target = host.spec().check.as_deref();
        let named = target.map(|t| &*t.hostname).filter(|name| !name.is_empty());
        let mut probe = Probe {
            connector: &SocketConnector,
            options: &self.cluster.config().connect,
            address: address(host, target),
            authority: named.unwrap_or(&self.cluster.config().name),
            kept: None,
        };
        let (mut session, mut new) = (Session::new(), true);
        loop {
            line.stats.attempt.inc();
            let checked = tokio::time::timeout(config.timeout, probe.check(config)).await;
            let (verdict, said) = checked.unwrap_or((Verdict::Timeout, probe::Said::default()));
            if said.verified {
                line.stats.verify_cluster.inc();
            }
            // Answers to requests may have taken it out meanwhile.
            session.failed = host.health_flags().contains(HealthFlags::FAILED_ACTIVE_HC);
            let change = session.take(verdict, config);
            self.apply(host, verdict, &session, change == Change::Changed || new, said.leaving, line);
            if std::mem::take(&mut new) {
                self.verdict_of_new(1);
            }
            let good = matches!(verdict, Verdict::Good { .. });
            let (traffic, runtime) = (self.has_traffic(), self.cluster.runtime());
            tokio::time::sleep(session::wait(config, (good, change), traffic, worker.rng(), runtime)).await;
        }
    }

    fn apply(
        &self,
        host: &Arc<HostShared>,
        verdict: Verdict,
        session: &Session,
        mut changed: bool,
        leaving: bool,
        line: &HealthLine,
    ) {
        let stats = &line.stats;
        let before = host.health_flags();
        host.set_health(HealthFlags::PENDING_ACTIVE_HC.with(HealthFlags::NOT_COUNTED_YET), false);
        host.set_health(HealthFlags::FAILED_ACTIVE_HC, session.failed);
        host.set_health(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, leaving);
        match verdict {
            Verdict::Good { degraded } => {
                stats.success.inc();
                host.set_health(HealthFlags::DEGRADED_ACTIVE_HC, degraded);
            }
            Verdict::Wrong | Verdict::Retriable => stats.failure.inc(),
            Verdict::Network | Verdict::Timeout => {
                stats.failure.inc();
                stats.network_failure.inc();
            }
        }
        host.set_health(HealthFlags::ACTIVE_HC_TIMEOUT, session.failed && verdict == Verdict::Timeout);
        changed |= before != host.health_flags();
        if changed {
            self.publish();
        }
    }

    /// A host has said that it is leaving: it is out at once.
    fn leaves(&self, host: &Arc<HostShared>) {
        let Some(line) = self.cluster.health_line().filter(|_| is_checked(host)) else { return };
        let out = HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL.with(HealthFlags::FAILED_ACTIVE_HC);
        if host.health_flags().contains(out) {
            return;
        }
        line.stats.failure.inc();
        line.stats.passive_failure.inc();
        host.set_health(out, true);
        self.publish();
    }

    /// Balancers and gauges follow.
    fn publish(&self) {
        let hosts = self.cluster.hosts();
        let with =
            |flag: HealthFlags| hosts.hosts().filter(|h| h.health_flags().contains(flag)).count() as u64;
        if let Some(line) = self.cluster.health_line() {
            let checked = hosts.hosts().count() as u64;
            line.stats.healthy.set(checked - with(HealthFlags::FAILED_ACTIVE_HC));
            line.stats.degraded.set(with(HealthFlags::DEGRADED_ACTIVE_HC));
        }
        let mut set = self.discovery.set.borrow_mut();
        // What EDS no longer names was kept for its health alone; with DNS the next answer decides.
        let fed = matches!(self.cluster.config().discovery.source, HostSource::Eds(_));
        match fed.then(|| without_failed(&hosts)).flatten() {
            Some(left) => set.set_hosts(&self.cluster, left, 1, true),
            None => set.health_changed(&self.cluster),
        }
    }

    /// Whether the cluster ever had a connection.
    fn has_traffic(&self) -> bool {
        let hosts = self.cluster.hosts();
        hosts.hosts().any(|host| host.counters().iter().any(|c| c.cx_total.value() > 0))
    }

    /// So many more hosts have had their first verdict.
    fn verdict_of_new(&self, hosts: usize) {
        self.waiting.set(self.waiting.get().saturating_sub(hosts));
        if self.waiting.get() == 0
            && let Some(first) = self.first.take()
        {
            // Nobody may be waiting.
            let _ = first.send(());
        }
    }
}

/// Where a host is asked.
fn address(host: &HostShared, target: Option<&CheckTarget>) -> Address {
    let own = target.and_then(|t| t.address.clone()).unwrap_or_else(|| host.address());
    match (target.map(|t| t.port).filter(|port| *port != 0), own) {
        (Some(port), Address::Ip(ip)) => Address::Ip(SocketAddr::new(ip.ip(), port)),
        (_, own) => own,
    }
}

#[cfg(test)]
mod tests;
