//! From a cluster's name to a stream on a host: clusters, hosts, balancers, circuit breakers and pools.

pub mod call;
pub mod circuit;
pub mod cluster;
pub mod discovery;
pub mod dns_cache;
pub mod error;
pub mod event_log;
pub mod health;
pub mod host;
pub mod http2;
pub mod lb;
mod line;
pub mod manager;
pub mod orca;
pub mod outlier;
pub mod pool;
pub mod requests;
pub mod retry_on;
pub mod retry_plugin;
pub mod stats;

#[cfg(test)]
mod testing;
pub mod transport;
