//! nuncio downstream.
