//! nuncio net.
