//! HTTP filters.

pub mod cors;
pub mod health_check;
pub mod router;
