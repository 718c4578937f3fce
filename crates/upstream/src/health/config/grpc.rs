//! `GrpcHealthCheck`

use nuncio_core::config::CompileContext;
use nuncio_core::header::{HeaderMutations, MutationFields};
use nuncio_proto::pb::envoy::config::core::v3::health_check as kinds;
use prost::Message;
use std::sync::Arc;

/// `GrpcHealthCheck`
#[derive(Clone, Debug)]
pub struct GrpcCheck {
    /// The request, as one gRPC message.
    pub message: Box<[u8]>,
    /// `authority`; empty: the cluster's name.
    pub authority: Box<str>,
    /// `initial_metadata`
    pub metadata: Arc<HeaderMutations>,
}

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, Eq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

pub(super) fn compile(message: kinds::GrpcHealthCheck, cx: &CompileContext<'_>) -> Option<GrpcCheck> {
    let kinds::GrpcHealthCheck { service_name, authority, initial_metadata } = message;
    let fields = MutationFields { add: "initial_metadata", ..MutationFields::REQUEST };
    let metadata = HeaderMutations::compile(&initial_metadata, &[], cx, fields)?;
    let request = HealthCheckRequest { service: service_name }.encode_to_vec();
    // Not compressed, and how long it is.
    let mut framed = vec![0];
    framed.extend_from_slice(&(request.len() as u32).to_be_bytes());
    framed.extend_from_slice(&request);
    Some(GrpcCheck { message: framed.into(), authority: authority.into(), metadata: Arc::new(metadata) })
}
