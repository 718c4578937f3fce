//! `envoy.retry_host_predicates.previous_hosts`: another host than those that were tried.

use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use nuncio_upstream::host::Host;
use nuncio_upstream::retry_plugin::{RetryHostPredicate, RetryPluginFactory};
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the predicate's message.
pub struct PreviousHostsFactory;

#[derive(Debug)]
struct PreviousHosts;

impl RetryPluginFactory for PreviousHostsFactory {
    type Config = PreviousHostsPredicate;
    type Plugin = dyn RetryHostPredicate;

    fn compile(&self, config: Self::Config, _: &CompileContext<'_>) -> Option<Arc<Self::Plugin>> {
        let PreviousHostsPredicate {} = config;
        Some(Arc::new(PreviousHosts))
    }
}

impl RetryHostPredicate for PreviousHosts {
    fn rejects(&self, candidate: &Host, attempted: &[Rc<Host>]) -> bool {
        attempted.iter().any(|host| host.address() == candidate.address())
    }
}
