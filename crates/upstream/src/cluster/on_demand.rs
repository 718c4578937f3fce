//! Hosts that are made when somebody wants to go there.

use super::destination::Destination;
use super::{Cluster, ClusterCore};
use crate::host::{Host, HostShared};
use crate::line::Line;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hosts that one cluster has at most; whoever wants another one finds none. Clients may choose destinations, and what
/// they choose must not fill the memory.
const MOST: usize = 1 << 16;

/// The hosts of a cluster that makes them on demand, and the line on which workers tell of new ones.
pub(crate) struct OnDemand {
    hosts: Mutex<HashMap<Destination, Arc<Demanded>>>,
    line: Line<Arc<HostShared>>,
}

/// A host, and whether it was picked since somebody last looked.
struct Demanded {
    host: Arc<HostShared>,
    used: AtomicBool,
}

impl OnDemand {
    pub(crate) fn new() -> Self {
        Self { hosts: Mutex::default(), line: Line::new() }
    }

    /// The line of new hosts, for the main thread, once.
    pub(crate) fn line(&self) -> &Line<Arc<HostShared>> {
        &self.line
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<Destination, Arc<Demanded>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host of a destination, made by `make` if it is the first time; `None` where there are too many.
    fn take(&self, to: &Destination, make: impl FnOnce() -> Arc<HostShared>) -> Option<Arc<Demanded>> {
        let mut hosts = self.hosts();
        if let Some(known) = hosts.get(to) {
            return Some(Arc::clone(known));
        }
        if hosts.len() >= MOST {
            return None;
        }
        let demanded = Arc::new(Demanded { host: make(), used: AtomicBool::new(true) });
        hosts.insert(to.clone(), Arc::clone(&demanded));
        self.line.tell(Arc::clone(&demanded.host));
        Some(demanded)
    }

    /// Forgets hosts that were not picked since the last call and that nobody is connected to; whether there were any.
    pub(crate) fn sweep(&self) -> bool {
        let mut hosts = self.hosts();
        let before = hosts.len();
        hosts.retain(|_, known| known.used.swap(false, Relaxed) || known.host.is_in_use());
        hosts.len() < before
    }

    /// Those of `hosts` that are not forgotten.
    pub(crate) fn still(&self, hosts: impl Iterator<Item = Arc<HostShared>>) -> Vec<Arc<HostShared>> {
        let known = self.hosts();
        let known: std::collections::HashSet<_> = known.values().map(|d| Arc::as_ptr(&d.host)).collect();
        hosts.filter(|host| known.contains(&Arc::as_ptr(host))).collect()
    }
}

/// A worker's hosts of a cluster that makes them on demand.
#[derive(Default)]
pub(super) struct WorkerHosts(RefCell<HashMap<Destination, WorkerHost>>);

/// A worker's own part of a host, and what all workers share.
type WorkerHost = (Rc<Host>, Arc<Demanded>);

impl WorkerHosts {
    /// The host for a destination.
    pub(super) fn pick(&self, core: &Rc<ClusterCore>, to: &Destination) -> Option<Rc<Host>> {
        if let Some((host, demanded)) = self.0.borrow().get(to) {
            demanded.used.store(true, Relaxed);
            return Some(Rc::clone(host));
        }
        let demanded = core.shared.on_demand()?.take(to, || HostShared::new(to.host(core.config())))?;
        demanded.used.store(true, Relaxed);
        let host = Host::new(Arc::clone(&demanded.host), Rc::clone(core));
        self.0.borrow_mut().insert(to.clone(), (Rc::clone(&host), demanded));
        Some(host)
    }

    /// Lets go of hosts that were forgotten; the others.
    pub(super) fn remaining(&self, cluster: &Cluster) -> Vec<Rc<Host>> {
        let mut own = self.0.borrow_mut();
        if let Some(on_demand) = cluster.core.shared.on_demand() {
            let hosts = on_demand.hosts();
            own.retain(|to, (_, demanded)| hosts.get(to).is_some_and(|known| Arc::ptr_eq(known, demanded)));
        }
        own.values().map(|(host, _)| Rc::clone(host)).collect()
    }
}
