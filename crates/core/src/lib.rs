//! nuncio core.
