//! `envoy.clusters.aggregate`: the priorities of other clusters, one after another.

use super::Cluster;
use crate::host::Host;
use crate::lb::priority::Choice;
use crate::lb::{Counts, Loads, PickContext};
use crate::manager::ClusterManager;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// The member clusters of one aggregate, on one worker.
pub(super) struct Aggregate {
    members: Box<[Arc<str>]>,
    manager: Weak<ClusterManager>,
    /// `None`: hosts or members have changed since it was made.
    order: RefCell<Option<Rc<Order>>>,
}

/// The priorities of all members that have hosts, in their order, and how load spreads over them.
struct Order {
    steps: Vec<Step>,
    counts: Vec<Counts>,
    loads: Loads,
}

/// One priority of one member.
struct Step {
    cluster: Rc<Cluster>,
    priority: usize,
    /// All load to its healthy hosts, and all to its degraded ones.
    healthy: Loads,
    degraded: Loads,
}

impl Aggregate {
    pub(super) fn new(members: &[Arc<str>], manager: &Weak<ClusterManager>) -> Self {
        Self { members: members.into(), manager: Weak::clone(manager), order: RefCell::default() }
    }

    /// A cluster of this name, or its hosts or their health, are not what they were.
    pub(super) fn changed(&self, name: &str) {
        if self.members.iter().any(|member| **member == *name) {
            // What it holds may be the last to hold a cluster.
            let old = self.order.borrow_mut().take();
            drop(old);
        }
    }

    /// A host of the member and priority that chance chooses by the load that each gets. As in Envoy the request's
    /// hash has no say in that; the member's balancer sees it.
    pub(super) fn pick(&self, own: &Cluster, cx: &PickContext<'_>) -> Option<Rc<Host>> {
        let order = self.order(own)?;
        let loads = cx.loads.unwrap_or(&order.loads);
        let Choice { priority, degraded } = loads.choose(own.core.worker.rng().next())?;
        let step = order.steps.get(priority)?;
        let loads = if degraded { &step.degraded } else { &step.healthy };
        step.cluster.find(&PickContext { loads: Some(loads), ..*cx })
    }

    pub(super) fn counts(&self, own: &Cluster) -> Vec<Counts> {
        self.order(own).map(|order| order.counts.clone()).unwrap_or_default()
    }

    /// Which of all priorities a member's host is of.
    pub(super) fn priority_of(&self, own: &Cluster, host: &Host) -> Option<usize> {
        let priority = host.shared().priority() as usize;
        let of_host = |step: &Step| step.priority == priority && Rc::ptr_eq(&step.cluster.core, host.core());
        self.order(own)?.steps.iter().position(of_host)
    }

    fn order(&self, own: &Cluster) -> Option<Rc<Order>> {
        if let Some(order) = &*self.order.borrow() {
            return Some(Rc::clone(order));
        }
        let order = Rc::new(self.line_up(own)?);
        *self.order.borrow_mut() = Some(Rc::clone(&order));
        Some(order)
    }

    /// Members that are not there, or have no hosts, are passed over.
    fn line_up(&self, own: &Cluster) -> Option<Order> {
        let manager = self.manager.upgrade()?;
        let (mut steps, mut counts) = (Vec::new(), Vec::new());
        for name in &self.members {
            let Some(cluster) = manager.get(name).filter(|cluster| !cluster.is_aggregate()) else { continue };
            let of_member = cluster.shared().counts();
            for (priority, count) in of_member.iter().enumerate().filter(|(_, count)| count.hosts > 0) {
                let only = |degraded| Loads::only(Choice { priority, degraded }, of_member.len());
                let (healthy, degraded) = (only(false), only(true));
                steps.push(Step { cluster: Rc::clone(&cluster), priority, healthy, degraded });
                counts.push(*count);
            }
        }
        let threshold = own.config().lb.at_runtime(own.core.shared.runtime()).panic_threshold;
        Some(Order { steps, loads: Loads::compute(&counts, threshold), counts })
    }
}
