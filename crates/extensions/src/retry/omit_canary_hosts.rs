//! `envoy.retry_host_predicates.omit_canary_hosts`: no host that its metadata calls a canary.

use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::extensions::retry::host::omit_canary_hosts::v3::OmitCanaryHostsPredicate;
use nuncio_upstream::host::Host;
use nuncio_upstream::retry_plugin::{RetryHostPredicate, RetryPluginFactory};
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the predicate's message.
pub struct OmitCanaryHostsFactory;

#[derive(Debug)]
struct OmitCanaryHosts;

impl RetryPluginFactory for OmitCanaryHostsFactory {
    type Config = OmitCanaryHostsPredicate;
    type Plugin = dyn RetryHostPredicate;

    fn compile(&self, config: Self::Config, _: &CompileContext<'_>) -> Option<Arc<Self::Plugin>> {
        let OmitCanaryHostsPredicate {} = config;
        Some(Arc::new(OmitCanaryHosts))
    }
}

impl RetryHostPredicate for OmitCanaryHosts {
    fn rejects(&self, candidate: &Host, _: &[Rc<Host>]) -> bool {
        candidate.canary()
    }
}
