//! nuncio downstream.

pub mod hcm;
pub mod route;
