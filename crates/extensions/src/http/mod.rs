//! HTTP filters.

pub mod cors;
pub mod csrf;
pub mod fault;
pub mod health_check;
pub mod router;
