//! nuncio upstream.
