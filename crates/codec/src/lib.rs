//! nuncio codec.
