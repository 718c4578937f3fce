//! The HTTP connection manager: from decoded heads to routed streams, and back.

pub mod answer;
mod client_cert;
pub(crate) mod config;
mod conn;
pub mod deadlines;
pub mod exchange;
pub mod forwarded;
mod h1;
mod h2;
mod live;
pub mod local_reply;
pub mod normalize;
pub mod original_ip;
pub mod policy;
mod proxy_status;
mod rehearse;
pub mod request_id;
pub mod response_headers;
pub mod sanitize;
mod slot;
pub mod stats;
pub mod stream;
pub(crate) mod stream_limits;
pub mod upgrade;

pub use config::{HcmConfig, HcmFactory, Timeouts, compile_table};
pub use live::{Hcm, Routing};
