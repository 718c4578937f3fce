//! What may be plugged into retries: which hosts they avoid, and how load moves between priorities.

use crate::cluster::{Avoid, Cluster, PickContext};
use crate::host::Host;
use crate::lb::Loads;
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::registry::Table;
use prost::{Message, Name};
use prost_types::Any;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

/// A `retry_host_predicate`: which hosts a retry would rather not have.
pub trait RetryHostPredicate: Debug + Send + Sync {
    /// Whether another host shall be picked, given the hosts that were tried already, in their order.
    fn rejects(&self, candidate: &Host, attempted: &[Rc<Host>]) -> bool;
}

/// A `retry_priority`: how load spreads over priorities when a request is tried again.
pub trait RetryPriority: Debug + Send + Sync {
    /// What it remembers of one request.
    fn begin(&self) -> Box<dyn PriorityLoads>;
}

/// The memory of a [`RetryPriority`] for one request.
pub trait PriorityLoads {
    /// The loads for the next pick, given the hosts that were tried already, in their order;
    /// `None` leaves them as they are.
    fn loads(&mut self, attempted: &[Rc<Host>], cluster: &Cluster) -> Option<&Loads>;
}

/// Compiles the message of one plug-in.
pub trait RetryPluginFactory: Send + Sync {
    /// Its configuration message; the full name is the registry's key.
    type Config: Message + Name + Default;
    /// [`RetryHostPredicate`] or [`RetryPriority`].
    type Plugin: ?Sized;

    /// Compiles the message. `None`: refused, and the reason is recorded in the context.
    fn compile(&self, config: Self::Config, cx: &CompileContext<'_>) -> Option<Arc<Self::Plugin>>;
}

/// A factory whose message type is erased: what the registry holds.
pub trait AnyRetryPluginFactory<P: ?Sized>: Send + Sync {
    /// Unpacks and compiles a plug-in's configuration.
    fn compile_any(&self, config: &Any, cx: &CompileContext<'_>) -> Option<Arc<P>>;
}

impl<F: RetryPluginFactory> AnyRetryPluginFactory<F::Plugin> for F {
    fn compile_any(&self, config: &Any, cx: &CompileContext<'_>) -> Option<Arc<F::Plugin>> {
        self.compile(cx.unpack(config)?, cx)
    }
}

/// The retry plug-ins that are built.
#[derive(Default)]
pub struct RetryPlugins {
    /// `retry_host_predicate`
    pub host_predicates: Table<dyn AnyRetryPluginFactory<dyn RetryHostPredicate>>,
    /// `retry_priority`
    pub priorities: Table<dyn AnyRetryPluginFactory<dyn RetryPriority>>,
}

impl RetryPlugins {
    /// The full names of their configuration messages.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.host_predicates.names().chain(self.priorities.names())
    }
}

/// The plug-ins of one retry policy, and how often they may reject a host.
#[derive(Clone, Debug)]
pub struct RetryChoice {
    /// `retry_host_predicate`
    pub predicates: Box<[Arc<dyn RetryHostPredicate>]>,
    /// `retry_priority`
    pub priority: Option<Arc<dyn RetryPriority>>,
    /// `host_selection_retry_max_attempts`
    pub attempts: u32,
}

impl Default for RetryChoice {
    fn default() -> Self {
        Self { predicates: Box::default(), priority: None, attempts: 1 }
    }
}

/// A plug-in as configurations have it: its name and its message.
pub type Named = (String, Option<Any>);

impl RetryChoice {
    /// Compiles the plug-ins of the policy at `cx`; a number of attempts that is 0 is one. `None`: refused, and the
    /// reasons are recorded.
    pub fn compile(
        predicates: Vec<Named>,
        priority: Option<Named>,
        attempts: i64,
        cx: &CompileContext<'_>,
        plugins: &RetryPlugins,
    ) -> Option<Self> {
        let compiled: Vec<Option<_>> = (0..)
            .zip(predicates)
            .map(|(i, named)| one(named, &plugins.host_predicates, &cx.item("retry_host_predicate", i)))
            .collect();
        let priority = match priority {
            None => None,
            Some(named) => Some(one(named, &plugins.priorities, &cx.field("retry_priority"))?),
        };
        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX).max(1);
        Some(Self { predicates: compiled.into_iter().collect::<Option<_>>()?, priority, attempts })
    }

    /// Whether somebody asks which hosts were tried.
    pub fn remembers(&self) -> bool {
        !self.predicates.is_empty() || self.priority.is_some()
    }

    /// Picks a host for another try behind those that were `attempted`; `memory` is of the same request.
    pub fn pick(
        &self,
        attempted: &[Rc<Host>],
        memory: Option<&mut (dyn PriorityLoads + 'static)>,
        cluster: &Cluster,
        cx: &PickContext<'_>,
    ) -> Option<Rc<Host>> {
        let loads = memory.and_then(|memory| memory.loads(attempted, cluster));
        let rejects = |host: &Host| self.predicates.iter().any(|p| p.rejects(host, attempted));
        let avoid = Avoid { rejects: &rejects, attempts: self.attempts };
        cluster.pick(&PickContext { avoid: Some(avoid), loads, ..*cx })
    }
}

fn one<P: ?Sized>(
    (name, config): Named,
    table: &Table<dyn AnyRetryPluginFactory<P>>,
    cx: &CompileContext<'_>,
) -> Option<Arc<P>> {
    let any = config.unwrap_or_default();
    let Some(factory) = table.get(&any.type_url) else {
        unknown(&name, &any.type_url, cx);
        return None;
    };
    factory.compile_any(&any, &cx.field("typed_config"))
}

/// Records that nobody knows such a plug-in.
pub fn unknown(name: &str, type_url: &str, cx: &CompileContext<'_>) {
    let kind = type_name(type_url);
    cx.unsupported(format!("Didn't find a registered implementation for '{name}' with type URL: '{kind}'"));
}
