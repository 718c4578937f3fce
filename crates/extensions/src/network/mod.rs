//! Network filters.

pub mod connection_limit;
pub mod direct_response;
pub mod echo;
pub mod local_ratelimit;
pub mod rbac;
pub mod set_filter_state;
pub mod sni_cluster;

use nuncio_core::runtime::Runtime;
use nuncio_proto::pb::envoy::config::core::v3::RuntimeFeatureFlag;

/// A switch that a runtime key may turn.
#[derive(Debug)]
struct Switch {
    key: Box<str>,
    default: bool,
}

impl Switch {
    /// On where there is no message.
    fn compile(message: Option<RuntimeFeatureFlag>) -> Self {
        let RuntimeFeatureFlag { default_value, runtime_key } = message.unwrap_or_default();
        Self { key: runtime_key.into(), default: default_value.unwrap_or(true) }
    }

    fn is_on(&self, runtime: &Runtime) -> bool {
        runtime.boolean(&self.key, self.default)
    }
}
