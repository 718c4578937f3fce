//! Connections to hosts that are likely to be picked next (`predictive_preconnect_ratio`).

use super::{Cluster, ClusterConfig};
use crate::circuit::RequestPriority;
use crate::host::Host;
use crate::lb::{LbConfig, LbPolicy, PickContext};
use crate::pool::Load;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Hosts that are looked at for one request.
const LOOKED_AT: usize = 3;

/// Picks that were made ahead: the next picks come from here.
pub(super) struct Ahead(RefCell<VecDeque<Rc<Host>>>);

impl Ahead {
    /// `None` where nothing is picked ahead: the ratio does not want it, or the next pick depends on more than the last.
    pub(super) fn new(config: &ClusterConfig) -> Option<Box<Self>> {
        let LbConfig { policy, subsets, override_host, .. } = &config.lb;
        let even = matches!(policy, LbPolicy::RoundRobin | LbPolicy::Random);
        let foreseen = even && subsets.is_none() && override_host.is_none();
        let wanted = config.preconnect().predictive > 1.0 && foreseen;
        wanted.then(|| Box::new(Self(RefCell::default())))
    }

    /// The first pick that was made ahead.
    pub(super) fn take(&self) -> Option<Rc<Host>> {
        self.0.borrow_mut().pop_front()
    }

    /// The hosts have changed.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

impl Cluster {
    /// Before a request goes to a pool: connects to the hosts that come next, as far as the room for streams falls short.
    #[cold]
    pub(super) fn connect_ahead(&self, ahead: &Ahead, priority: RequestPriority, http2: bool) {
        let ratio = self.config().preconnect().predictive;
        for _ in 0..LOOKED_AT {
            if !self.load().lacks_room(ratio, 1) {
                return;
            }
            let Some(host) = self.pick_ahead(ahead) else { return };
            let opened = match http2 {
                true => host.http2_pool(priority).preconnect(&host),
                false => host.pool(priority).preconnect(&host),
            };
            if !opened {
                return;
            }
        }
    }

    /// The pick after those that were made ahead; none where there are as many as hosts.
    fn pick_ahead(&self, ahead: &Ahead) -> Option<Rc<Host>> {
        let set = self.hosts.borrow();
        if ahead.0.borrow().len() >= set.hosts().count() {
            return None;
        }
        let host = self.own(self.pick_from(&set, &PickContext::default())?);
        ahead.0.borrow_mut().push_back(Rc::clone(&host));
        Some(host)
    }

    /// The streams of all its hosts' pools on this worker.
    fn load(&self) -> Load {
        let mut load = Load::default();
        for host in self.own.borrow().iter().flatten() {
            RequestPriority::ALL.into_iter().for_each(|priority| load.add(host.load(priority)));
        }
        load
    }
}
