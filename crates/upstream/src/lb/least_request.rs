//! `LEAST_REQUEST`: the least loaded of some.

use super::edf::Edf;
use super::layout::List;
use super::{Balancer, HostList, LeastRequest, PickContext};
use crate::host::HostShared;
use nuncio_core::rng::Rng;
use std::cell::RefCell;
use std::sync::Arc;

/// A balancer for hosts of equal or different weights.
pub(super) fn make(config: &LeastRequest, list: &List, rng: &Rng) -> Box<dyn Balancer> {
    let hosts = Arc::clone(&list.hosts);
    if list.even {
        return if config.full_scan {
            Box::new(FullScan { hosts })
        } else {
            Box::new(OfSome { hosts, choices: config.choice_count })
        };
    }
    let bias = config.active_request_bias;
    let edf = RefCell::new(Edf::new(hosts.iter().map(|h| loaded_weight(h, bias)), rng));
    Box::new(Weighted { hosts, bias, edf })
}

/// A host's weight, lower the more requests it has: weight / (active + 1) ^ bias.
fn loaded_weight(host: &HostShared, bias: f64) -> f64 {
    let load = f64::from(host.active_requests()) + 1.0;
    let weight = f64::from(host.weight());
    if bias == 0.0 {
        weight
    } else if bias == 1.0 {
        weight / load
    } else {
        weight / load.powf(bias)
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

struct Weighted {
    hosts: HostList,
    bias: f64,
    edf: RefCell<Edf>,
}

impl Balancer for Weighted {
    fn pick(&self, _: &PickContext<'_>, _: &Rng) -> Option<&Arc<HostShared>> {
        let weight_of = |i: usize| self.hosts.get(i).map_or(1.0, |h| loaded_weight(h, self.bias));
        let at = self.edf.borrow_mut().pick(weight_of)?;
        self.hosts.get(at)
    }
}
