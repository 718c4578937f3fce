//! The messages inside `HttpConnectionManager` that the policy is made of, compiled one by one.

use super::super::forwarded::{InternalAddresses, ProtoByPort, Scheme, SchemeTransformation};
use super::super::original_ip::{Detection, XffTrust};
use super::super::request_id::RequestIds;
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::header::OrderedMutations;
use nuncio_core::matcher::CidrList;
use nuncio_proto::pb::envoy::config::core::v3 as core_pb;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use nuncio_proto::pb::envoy::extensions::http::early_header_mutation::header_mutation::v3::HeaderMutation as EarlyMutation;
use nuncio_proto::pb::envoy::extensions::http::original_ip_detection as detection_pb;
use nuncio_proto::pb::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use nuncio_proto::pb::envoy::r#type::v3::HttpStatus;
use pb::http_connection_manager::InternalAddressConfig;
use prost::Name;
use std::sync::Arc;

/// `internal_address_config`; `cx` is at the field.
pub fn internal_addresses(
    message: Option<&InternalAddressConfig>,
    cx: &CompileContext<'_>,
) -> Option<InternalAddresses> {
    let Some(InternalAddressConfig { unix_sockets, cidr_ranges }) = message else {
        return Some(InternalAddresses::None);
    };
    let unix_sockets = *unix_sockets;
    if cidr_ranges.is_empty() {
        return Some(InternalAddresses::Private { unix_sockets });
    }
    Some(InternalAddresses::Ranges {
        ranges: CidrList::compile(cidr_ranges, cx, "cidr_ranges")?,
        unix_sockets,
    })
}

/// `original_ip_detection_extensions`; `cx` is at the connection manager.
pub fn original_ip_detection(
    list: &[core_pb::TypedExtensionConfig],
    cx: &CompileContext<'_>,
) -> Option<Vec<Detection>> {
    let detection = |(i, extension): (usize, &core_pb::TypedExtensionConfig)| {
        let core_pb::TypedExtensionConfig { name, typed_config } = extension;
        let cx = cx.item("original_ip_detection_extensions", i);
        let cx = cx.field("typed_config");
        let any = typed_config.clone().unwrap_or_default();
        let found = type_name(&any.type_url);
        if found == detection_pb::xff::v3::XffConfig::full_name() {
            xff(&cx.unpack(&any)?, &cx)
        } else if found == detection_pb::custom_header::v3::CustomHeaderConfig::full_name() {
            Some(custom_header(cx.unpack(&any)?))
        } else {
            cx.error(format!("Original IP detection extension not found: '{name}'"));
            None
        }
    };
    list.iter().enumerate().map(detection).collect()
}

fn xff(message: &detection_pb::xff::v3::XffConfig, cx: &CompileContext<'_>) -> Option<Detection> {
    let detection_pb::xff::v3::XffConfig { xff_num_trusted_hops, xff_trusted_cidrs, skip_xff_append } =
        message;
    let proxies = match xff_trusted_cidrs {
        Some(detection_pb::xff::v3::XffTrustedCidrs { cidrs }) if !cidrs.is_empty() => {
            if *xff_num_trusted_hops > 0 {
                cx.error("Cannot set both xff_num_trusted_hops and xff_trusted_cidrs");
                return None;
            }
            Some(CidrList::compile(cidrs, &cx.field("xff_trusted_cidrs"), "cidrs")?)
        }
        _ => None,
    };
    Some(Detection::Xff {
        trust: proxies.map_or(XffTrust::Hops(*xff_num_trusted_hops), XffTrust::Proxies),
        skip_append: skip_xff_append.unwrap_or(true),
    })
}

/// A rejection's status that is no error is 403, as in Envoy.
fn custom_header(message: detection_pb::custom_header::v3::CustomHeaderConfig) -> Detection {
    let detection_pb::custom_header::v3::CustomHeaderConfig {
        header_name,
        allow_extension_to_set_address_as_trusted,
        reject_with_status,
    } = message;
    let status =
        |HttpStatus { code }| u16::try_from(code).ok().filter(|c| (400..600).contains(c)).unwrap_or(403);
    Detection::CustomHeader {
        name: header_name.to_ascii_lowercase().into(),
        trusted: allow_extension_to_set_address_as_trusted,
        reject: reject_with_status.map(status),
    }
}

/// `scheme_header_transformation`. Only `http` and `https` come this far.
pub fn scheme_transformation(message: Option<core_pb::SchemeHeaderTransformation>) -> SchemeTransformation {
    use core_pb::scheme_header_transformation::Transformation;
    let core_pb::SchemeHeaderTransformation { transformation, match_upstream } = message.unwrap_or_default();
    let overwrite = transformation.map(|Transformation::SchemeToOverwrite(scheme)| match &*scheme {
        "https" => Scheme::Https,
        _ => Scheme::Http,
    });
    SchemeTransformation { overwrite, match_upstream }
}

/// `forward_proto_config`. A number that is no port matches none.
pub fn proto_by_port(message: Option<pb::ForwardProtoConfig>) -> ProtoByPort {
    let pb::ForwardProtoConfig { https_destination_ports, http_destination_ports } =
        message.unwrap_or_default();
    let ports = |list: Vec<u32>| list.into_iter().filter_map(|p| u16::try_from(p).ok()).collect();
    ProtoByPort { https: ports(https_destination_ports), http: ports(http_destination_ports) }
}

/// `early_header_mutation_extensions`; `cx` is at the connection manager.
pub fn early_mutations(
    list: &[core_pb::TypedExtensionConfig],
    cx: &CompileContext<'_>,
) -> Option<Arc<[OrderedMutations]>> {
    let mutations = |(i, extension): (usize, &core_pb::TypedExtensionConfig)| {
        let core_pb::TypedExtensionConfig { name, typed_config } = extension;
        let cx = cx.item("early_header_mutation_extensions", i);
        let found = typed_config.as_ref().map_or("", |any| type_name(&any.type_url));
        let Some(any) = typed_config.as_ref().filter(|_| found == EarlyMutation::full_name()) else {
            cx.error(format!(
                "Didn't find a registered implementation for '{name}' with type URL: '{found}'"
            ));
            return None;
        };
        let cx = cx.field("typed_config");
        let EarlyMutation { mutations } = cx.unpack(any)?;
        OrderedMutations::compile(&mutations, &cx, "mutations")
    };
    list.iter().enumerate().map(mutations).collect()
}

/// `request_id_extension` on top of what the other fields say; `cx` is at the field.
pub fn request_id_extension(
    ids: RequestIds,
    message: Option<&pb::RequestIdExtension>,
    cx: &CompileContext<'_>,
) -> Option<RequestIds> {
    let Some(pb::RequestIdExtension { typed_config: Some(any) }) = message else { return Some(ids) };
    let cx = cx.field("typed_config");
    let found = type_name(&any.type_url);
    if found != UuidRequestIdConfig::full_name() {
        cx.error(format!("Didn't find a registered implementation for type: '{found}'"));
        return None;
    }
    let UuidRequestIdConfig { pack_trace_reason, use_request_id_for_trace_sampling } = cx.unpack(any)?;
    Some(RequestIds {
        pack_trace_reason: pack_trace_reason.unwrap_or(true),
        trace_sampling: use_request_id_for_trace_sampling.unwrap_or(true),
        ..ids
    })
}

#[cfg(test)]
mod tests;
