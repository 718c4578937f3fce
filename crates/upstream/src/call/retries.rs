//! How requests of the proxy's own are tried again (`envoy.config.core.v3.RetryPolicy`).

use super::{Answer, NoAnswer};
use crate::cluster::{Cluster, PickContext};
use crate::error::ResetReason;
use crate::host::Host;
use crate::retry_on::RetryOn;
use crate::retry_plugin::{PriorityLoads, RetryChoice, RetryPlugins};
use nuncio_core::config::{CompileContext, duration};
use nuncio_proto::pb::envoy::config::core::v3::{BackoffStrategy, RetryPolicy, retry_policy as parts};
use std::rc::Rc;
use std::time::Duration;

/// A compiled `RetryPolicy`.
#[derive(Clone, Debug)]
pub struct Retries {
    /// What is tried again.
    on: RetryOn,
    /// How often.
    pub(super) most: u32,
    /// The first wait is by chance below this; the next ones below twice that of the one before.
    pub(super) base: Duration,
    /// No later wait is longer, and, as in Envoy, no try.
    pub(super) max: Duration,
    choice: RetryChoice,
}

/// What one request remembers of its tries.
#[derive(Default)]
pub(super) struct Tries {
    /// The hosts that were asked.
    hosts: Vec<Rc<Host>>,
    priority: Option<Box<dyn PriorityLoads>>,
}

impl Retries {
    /// Compiles the message. `on`: conditions that take the place of its own. `None`: refused, with the reason in `cx`.
    pub fn compile(
        message: RetryPolicy,
        on: Option<&str>,
        cx: &CompileContext<'_>,
        plugins: &RetryPlugins,
    ) -> Option<Self> {
        let RetryPolicy {
            retry_back_off,
            num_retries,
            retry_on,
            retry_priority,
            retry_host_predicate,
            host_selection_retry_max_attempts: attempts,
        } = message;
        let predicates = retry_host_predicate.into_iter().map(|predicate| {
            let parts::RetryHostPredicate { name, config_type } = predicate;
            (name, config_type.map(|parts::retry_host_predicate::ConfigType::TypedConfig(any)| any))
        });
        let priority = retry_priority.map(|parts::RetryPriority { name, config_type }| {
            (name, config_type.map(|parts::retry_priority::ConfigType::TypedConfig(any)| any))
        });
        let choice = RetryChoice::compile(predicates.collect(), priority, attempts, cx, plugins);
        let cx = cx.field("retry_back_off");
        let BackoffStrategy { base_interval, max_interval } = retry_back_off.unwrap_or_default();
        let base = match base_interval {
            None => Duration::from_secs(1),
            Some(base) => duration(&base, &cx.field("base_interval"))?,
        };
        let max = match max_interval {
            None => base.saturating_mul(10),
            Some(max) => duration(&max, &cx.field("max_interval"))?,
        };
        Some(Self {
            on: RetryOn::parse_all(on.unwrap_or(&retry_on)),
            most: num_retries.unwrap_or(1),
            base,
            max,
            choice: choice?,
        })
    }

    /// Whether the longest wait is no shorter than the first may be. Some of Envoy's filters ask for it, others do not.
    pub fn grow(&self) -> bool {
        self.max >= self.base
    }

    /// How long a try may take where the whole may take that long.
    pub fn patience(&self, timeout: Duration) -> Duration {
        self.max.min(timeout)
    }

    /// Picks a host for the first try, or for another one.
    pub(super) fn pick(
        &self,
        tries: &mut Tries,
        cluster: &Cluster,
        cx: &PickContext<'_>,
    ) -> Option<Rc<Host>> {
        let Tries { hosts, priority } = tries;
        let host = if hosts.is_empty() {
            cluster.pick(cx)?
        } else {
            let plugin = self.choice.priority.as_ref();
            let memory = plugin.map(|plugin| priority.get_or_insert_with(|| plugin.begin()));
            self.choice.pick(hosts, memory.map(|memory| &mut **memory), cluster, cx)?
        };
        hosts.push(Rc::clone(&host));
        Some(host)
    }

    /// Whether what came is a reason to try again.
    pub(super) fn wants(&self, answer: &Result<Answer, NoAnswer>) -> bool {
        match answer {
            Ok(answer) => self.on.wants_response(&answer.head, |_| false),
            Err(NoAnswer::Reset { reason, sent }) => self.on.wants_reset(*reason, *sent),
            Err(NoAnswer::TimedOut) => self.on.wants_reset(ResetReason::LocalReset, true),
            Err(NoAnswer::NoHost | NoAnswer::GivenUp) => false,
        }
    }
}

#[cfg(test)]
mod tests;
