//! From an accepted socket to the router's request for a cluster, and back: listeners, the HTTP connection
//! manager, HTTP filters, routes and the router.

pub mod explain;
pub mod filter;
pub mod hcm;
pub mod listener;
pub mod network;
pub mod route;
pub mod router;
pub mod tcp_proxy;
pub mod tracing;
mod why;
pub mod world;
