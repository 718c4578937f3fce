//! Listener filters.

pub mod http_inspector;
pub mod local_ratelimit;
pub mod original_dst;
pub mod proxy_protocol;
pub mod tls_inspector;
