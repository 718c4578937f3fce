//! `envoy.retry_priorities.previous_priorities`: load moves to priorities that were not tried.

use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use nuncio_upstream::cluster::Cluster;
use nuncio_upstream::host::Host;
use nuncio_upstream::lb::Loads;
use nuncio_upstream::retry_plugin::{PriorityLoads, RetryPluginFactory, RetryPriority};
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the plug-in's message.
pub struct PreviousPrioritiesFactory;

#[derive(Debug)]
struct PreviousPriorities {
    /// After every so many attempts the loads are worked out anew.
    update_frequency: usize,
}

/// What was tried, for one request.
struct Tried {
    update_frequency: usize,
    /// Attempts that count no longer: all priorities were used up.
    forgotten: usize,
    excluded: Vec<bool>,
    loads: Option<Loads>,
}

impl RetryPluginFactory for PreviousPrioritiesFactory {
    type Config = PreviousPrioritiesConfig;
    type Plugin = dyn RetryPriority;

    fn compile(&self, config: Self::Config, _: &CompileContext<'_>) -> Option<Arc<Self::Plugin>> {
        let PreviousPrioritiesConfig { update_frequency } = config;
        let update_frequency = usize::try_from(update_frequency).unwrap_or(1).max(1);
        Some(Arc::new(PreviousPriorities { update_frequency }))
    }
}

impl RetryPriority for PreviousPriorities {
    fn begin(&self) -> Box<dyn PriorityLoads> {
        let update_frequency = self.update_frequency;
        Box::new(Tried { update_frequency, forgotten: 0, excluded: Vec::new(), loads: None })
    }
}

impl PriorityLoads for Tried {
    fn loads(&mut self, attempted: &[Rc<Host>], cluster: &Cluster) -> Option<&Loads> {
        let count = attempted.len().saturating_sub(self.forgotten);
        if count < self.update_frequency {
            return None;
        }
        if count.is_multiple_of(self.update_frequency) {
            let counts = cluster.counts();
            self.excluded.resize(counts.len(), false);
            for host in attempted.iter().skip(self.forgotten) {
                let priority = cluster.priority_of(host);
                if let Some(mark) = priority.and_then(|at| self.excluded.get_mut(at)) {
                    *mark = true;
                }
            }
            self.loads = Loads::without(&counts, &self.excluded);
            if self.loads.is_none() {
                self.excluded.fill(false);
                self.forgotten = attempted.len();
                self.loads = Loads::without(&counts, &self.excluded);
            }
        }
        self.loads.as_ref()
    }
}
