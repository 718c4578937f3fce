//! Sans-IO HTTP codecs: bytes in, events out; events in, bytes out.
//!
//! Nothing here knows a socket, a clock, a configuration file or another nuncio crate. Every decoder is
//! resumable: any split of the same input gives the same events.

pub mod h1;
pub mod h2;
pub mod head;
pub mod proxy;

mod scan;
