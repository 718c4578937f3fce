//! The HTTP connection manager: from decoded heads to routed streams, and back.

pub mod forwarded;
pub mod local_reply;
pub mod normalize;
pub mod original_ip;
pub mod policy;
pub mod request_id;
pub mod response_headers;
pub mod sanitize;
