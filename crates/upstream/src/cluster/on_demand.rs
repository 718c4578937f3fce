//! Hosts that are made when somebody wants to go there.

use super::destination::Destination;
use super::{Cluster, ClusterCore, ClusterShared};
use crate::host::{Health, Host, HostShared, HostSpec};
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
    line: Line<Demand>,
}

/// What happened to the hosts of a cluster that makes them on demand.
pub(crate) enum Demand {
    /// Somebody wants to go to this one.
    Came(Arc<HostShared>),
    /// Some are forgotten.
    Went,
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

    /// The line on which the main thread is told.
    pub(crate) fn line(&self) -> &Line<Demand> {
        &self.line
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<Destination, Arc<Demanded>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host of a destination, made by `make` if it is the first time; `None` where there are too many.
    fn take(&self, to: &Destination, make: impl FnOnce() -> Option<HostSpec>) -> Option<Arc<Demanded>> {
        let mut hosts = self.hosts();
        if let Some(known) = hosts.get(to) {
            return Some(Arc::clone(known));
        }
        if hosts.len() >= MOST {
            return None;
        }
        let demanded = Arc::new(Demanded { host: HostShared::new(make()?), used: AtomicBool::new(true) });
        hosts.insert(to.clone(), Arc::clone(&demanded));
        self.line.tell(Demand::Came(Arc::clone(&demanded.host)));
        Some(demanded)
    }

    /// Forgets hosts that were not picked since the last call and that nobody is connected to; whether there were any.
    pub(crate) fn sweep(&self) -> bool {
        let mut hosts = self.hosts();
        let before = hosts.len();
        hosts.retain(|_, known| known.used.swap(false, Relaxed) || known.host.is_in_use());
        hosts.len() < before
    }

    /// Forgets the host of a destination.
    pub(crate) fn remove(&self, to: &Destination) {
        let gone = self.hosts().remove(to);
        if gone.is_some() {
            self.line.tell(Demand::Went);
        }
    }

    /// Those of `hosts` that are not forgotten.
    pub(crate) fn still(&self, hosts: impl Iterator<Item = Arc<HostShared>>) -> Vec<Arc<HostShared>> {
        let known = self.hosts();
        let known: std::collections::HashSet<_> = known.values().map(|d| Arc::as_ptr(&d.host)).collect();
        hosts.filter(|host| known.contains(&Arc::as_ptr(host))).collect()
    }
}

impl ClusterShared {
    /// The host of a destination, if the cluster makes hosts of those.
    fn demand(&self, to: &Destination) -> Option<Arc<Demanded>> {
        let demanded = self.on_demand()?.take(to, || to.host(self.config()))?;
        demanded.used.store(true, Relaxed);
        Some(demanded)
    }

    /// Sees to it that there is a host for a destination.
    pub(crate) fn has_demand(&self, to: &Destination) {
        self.demand(to);
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
            if let Destination::Name(_) = to {
                // As in Envoy, one that is out for its health is none; where addresses are named, it is all the same.
                if host.shared().health_flags().health() == Health::Unhealthy {
                    return None;
                }
                // The name may lead elsewhere by now, or nowhere.
                host.shared().move_to(to.addresses(core.config())?);
            }
            return Some(Rc::clone(host));
        }
        let demanded = core.shared.demand(to)?;
        let host = Host::new(Arc::clone(&demanded.host), Rc::clone(core));
        self.0.borrow_mut().insert(to.clone(), (Rc::clone(&host), demanded));
        Some(host)
    }

    /// The host with pools that hold nothing yet takes the place of the one that is out for its health; that one, where
    /// the worker has used it.
    pub(super) fn renew(&self, failed: &Arc<HostShared>) -> Option<Rc<Host>> {
        let mut own = self.0.borrow_mut();
        let (host, _) = own.values_mut().find(|(host, _)| Arc::ptr_eq(host.shared(), failed))?;
        let renewed = host.renewed();
        Some(std::mem::replace(host, renewed))
    }

    /// Lets go of hosts that were forgotten.
    pub(super) fn forget(&self, cluster: &Cluster) {
        let Some(on_demand) = cluster.core.shared.on_demand() else { return };
        let (mut own, hosts) = (self.0.borrow_mut(), on_demand.hosts());
        let is_gone = |to: &Destination, demanded: &Arc<Demanded>| {
            hosts.get(to).is_none_or(|known| !Arc::ptr_eq(known, demanded))
        };
        let gone: Vec<WorkerHost> =
            own.extract_if(|to, (_, demanded)| is_gone(to, demanded)).map(|(_, host)| host).collect();
        drop((hosts, own));
        drop(gone);
    }
}
