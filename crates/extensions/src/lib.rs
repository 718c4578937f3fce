//! nuncio extensions.
