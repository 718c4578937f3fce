//! Listener filters.

pub mod http_inspector;
pub mod tls_inspector;
