//! HTTP filters.

pub mod buffer;
pub mod cdn_loop;
mod coding;
pub mod compressor;
pub mod cors;
pub mod csrf;
pub mod custom_response;
pub mod decompressor;
pub mod dynamic_forward_proxy;
pub mod ext_authz;
pub mod fault;
mod frame;
pub mod grpc_http1_bridge;
pub mod grpc_stats;
pub mod grpc_web;
pub mod header_mutation;
pub mod header_to_metadata;
pub mod health_check;
pub mod ip_tagging;
pub mod local_ratelimit;
pub mod on_demand;
pub mod rbac;
pub mod router;
pub mod set_filter_state;
pub mod set_metadata;
pub mod stateful_session;
