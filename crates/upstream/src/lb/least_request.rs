//! `LEAST_REQUEST`: the least loaded of some.

use super::layout::List;
use super::slow_start::SlowStart;
use super::weighted::{self, Scales};
use super::{Balancer, HostList, LeastRequest, PickContext};
use crate::cluster::ClusterCore;
use crate::host::HostShared;
use nuncio_core::rng::Rng;
use std::sync::Arc;

/// A balancer for hosts of equal or different weights.
pub(super) fn make(
    config: &LeastRequest,
    slow_start: Option<&SlowStart>,
    list: &List,
    core: &ClusterCore,
) -> Box<dyn Balancer> {
    let hosts = Arc::clone(&list.hosts);
    let scales = Scales::new(Some(config.active_request_bias), slow_start, &hosts, core);
    if !list.even || scales.is_starting() {
        return weighted::make(hosts, scales, core.worker.rng());
    }
    if config.full_scan {
        Box::new(FullScan { hosts })
    } else {
        Box::new(OfSome { hosts, choices: config.choice_count })
    }
}

/// The best of a few chosen by chance, with repetition; the first wins a tie.
struct OfSome {
    hosts: HostList,
    choices: u32,
}

impl Balancer for OfSome {
    fn pick(&self, _: &PickContext<'_>, rng: &Rng) -> Option<&Arc<HostShared>> {
        let mut best: Option<(u32, &Arc<HostShared>)> = None;
        for _ in 0..self.choices.max(1) {
            let host = self.hosts.get(rng.below(self.hosts.len() as u64) as usize)?;
            let active = host.active_requests();
            if best.is_none_or(|(least, _)| active < least) {
                best = Some((active, host));
            }
        }
        best.map(|(_, host)| host)
    }
}

/// The least loaded of all; chance decides a tie.
struct FullScan {
    hosts: HostList,
}

impl Balancer for FullScan {
    fn pick(&self, _: &PickContext<'_>, rng: &Rng) -> Option<&Arc<HostShared>> {
        let (mut least, mut best, mut ties) = (u32::MAX, None, 0);
        for host in self.hosts.iter() {
            let active = host.active_requests();
            if active < least {
                (least, best, ties) = (active, Some(host), 1);
            } else if active == least {
                ties += 1;
                if rng.below(ties) == 0 {
                    best = Some(host);
                }
            }
        }
        best
    }
}
