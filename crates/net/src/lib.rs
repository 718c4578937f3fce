//! Sockets: byte streams, listeners, worker threads and timers. The only crate with `unsafe` in it, and that
//! in [`sys`] alone.

pub mod datagram;
pub mod dns;
pub mod drain;
pub mod inbuf;
pub mod listen;
pub mod log_files;
pub mod mailbox;
pub mod stream;
pub mod sys;
pub mod timer;
pub mod tls;
pub mod watch;
pub mod worker;
