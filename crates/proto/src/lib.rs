//! nuncio proto.
