//! nuncio downstream.

pub mod route;
