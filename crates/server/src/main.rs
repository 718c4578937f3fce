//! nuncio server.

fn main() {}
