//! `envoy.retry_host_predicates.omit_host_metadata`: no host whose metadata has these values.

use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::config::core::v3::Metadata;
use nuncio_proto::pb::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig;
use nuncio_upstream::host::{Host, LB_NAMESPACE};
use nuncio_upstream::retry_plugin::{RetryHostPredicate, RetryPluginFactory};
use prost_types::value::Kind;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the predicate's message.
pub struct OmitHostMetadataFactory;

/// The values below `envoy.lb`, all of which a host that is left out has.
#[derive(Debug)]
struct OmitHostMetadata(BTreeMap<String, Option<Kind>>);

impl RetryPluginFactory for OmitHostMetadataFactory {
    type Config = OmitHostMetadataConfig;
    type Plugin = dyn RetryHostPredicate;

    fn compile(&self, config: Self::Config, _: &CompileContext<'_>) -> Option<Arc<Self::Plugin>> {
        let OmitHostMetadataConfig { metadata_match } = config;
        let Metadata { mut filter_metadata, typed_filter_metadata: _ } = metadata_match.unwrap_or_default();
        let wanted = filter_metadata.remove(LB_NAMESPACE).unwrap_or_default().fields;
        Some(Arc::new(OmitHostMetadata(wanted.into_iter().map(|(key, v)| (key, v.kind)).collect())))
    }
}

impl RetryHostPredicate for OmitHostMetadata {
    fn rejects(&self, candidate: &Host, _: &[Rc<Host>]) -> bool {
        // A host without metadata is never left out, nor is any where nothing is asked.
        let metadata = candidate.metadata();
        let Some(own) = metadata.as_ref().and_then(|m| m.get(LB_NAMESPACE)) else { return false };
        !self.0.is_empty()
            && self.0.iter().all(|(key, wanted)| own.fields.get(key).is_some_and(|v| v.kind == *wanted))
    }
}
