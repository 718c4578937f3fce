//! What a cluster says of the requests to it (`HttpProtocolOptions`): the business of whoever sends them, above this crate.

use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::config::route::v3::RetryPolicy;
use nuncio_proto::pb::envoy::config::route::v3::route_action::{HashPolicy, RequestMirrorPolicy};
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The fields, as configured; each takes the place of what routes say.
pub struct RequestMessages {
    /// `retry_policy`
    pub retry_policy: Option<RetryPolicy>,
    /// `hash_policy`
    pub hash_policy: Vec<HashPolicy>,
    /// `request_mirror_policies`
    pub request_mirror_policies: Vec<RequestMirrorPolicy>,
    /// `http_filters`
    pub http_filters: Vec<HttpFilter>,
}

impl RequestMessages {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        let Self { retry_policy, hash_policy, request_mirror_policies, http_filters } = self;
        retry_policy.is_none()
            && hash_policy.is_empty()
            && request_mirror_policies.is_empty()
            && http_filters.is_empty()
    }
}

/// Compiles them.
pub trait CompileRequests: Send + Sync {
    /// The fields of `HttpProtocolOptions`, which `cx` is of. `None`: refused, with the reasons in `cx`.
    fn compile(&self, messages: RequestMessages, cx: &CompileContext<'_>) -> Option<RequestOptions>;
}

/// What the fields became, for whoever compiled them.
#[derive(Clone)]
pub struct RequestOptions(Arc<dyn Any + Send + Sync>);

impl RequestOptions {
    /// Keeps it.
    pub fn new<T: Any + Send + Sync>(options: T) -> Self {
        Self(Arc::new(options))
    }

    /// What was kept.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for RequestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestOptions")
    }
}
