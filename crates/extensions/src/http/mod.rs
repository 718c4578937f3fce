//! HTTP filters.

pub mod health_check;
pub mod router;
