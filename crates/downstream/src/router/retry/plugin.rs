//! What may be plugged into retries: which hosts they avoid, and how load moves between priorities.

use nuncio_core::config::CompileContext;
use nuncio_core::registry::Table;
use nuncio_upstream::cluster::Cluster;
use nuncio_upstream::host::Host;
use nuncio_upstream::lb::Loads;
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
