//! `override_host`.

use super::first_known;
use crate::lb::{LbConfig, LbPolicy, OverrideHost, OverrideSource};
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::MetadataPath;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::override_host::v3 as pb;
use nuncio_proto::pb::envoy::extensions::load_balancing_policies::override_host::v3::override_host::OverrideHostSource;
use prost_types::Any;

pub(super) fn override_host(any: &Any, config: &mut LbConfig, cx: &CompileContext<'_>) -> Option<()> {
    let pb::OverrideHost { override_host_sources, selected_host_key, fallback_policy } = cx.unpack(any)?;
    let each = override_host_sources.into_iter().enumerate();
    let sources: Vec<_> =
        each.map(|(i, message)| source(message, &cx.item("override_host_sources", i))).collect();
    let selected = selected_host_key.as_ref().map(MetadataPath::new);
    first_known(fallback_policy, config, &cx.field("fallback_policy"), |names| {
        let names = names.join(", ");
        format!(
            "dynamic forwarding LB: didn't find a registered fallback load balancer factory with names from {names}"
        )
    })?;
    if config.policy == LbPolicy::ClusterProvided {
        cx.field("fallback_policy").error("a cluster that picks its hosts itself is no fallback");
        return None;
    }
    if config.override_host.as_ref().is_some_and(|below| below.selected.is_some()) {
        cx.field("fallback_policy")
            .unsupported("selected_host_key of one override_host below another is not built");
        return None;
    }
    let sources = sources.into_iter().collect::<Option<_>>()?;
    // One below another finds the list of the upper one already made, as in Envoy: its own sources count for nothing.
    config.override_host = Some(Box::new(OverrideHost { sources, selected }));
    Some(())
}

fn source(message: OverrideHostSource, cx: &CompileContext<'_>) -> Option<OverrideSource> {
    let OverrideHostSource { header, metadata } = message;
    match (header.is_empty(), metadata) {
        (false, None) => Some(OverrideSource::Header(header.to_ascii_lowercase().into())),
        (true, Some(path)) => Some(OverrideSource::Metadata(MetadataPath::new(&path))),
        (false, Some(_)) => {
            cx.error("Only one override source must be set");
            None
        }
        (true, None) => {
            cx.error("Empty override source");
            None
        }
    }
}
