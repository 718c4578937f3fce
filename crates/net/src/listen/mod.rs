//! Listening sockets: bound on the main thread, one per worker, accepted from on the workers.

mod accept;
mod bind;
mod options;

pub use accept::{Accepted, Listener, ListenerCounts, Pause};
pub use bind::{BindError, BoundSocket, ListenSpec, bind};
pub use options::{Keepalive, OptionState, SocketOption};

pub(crate) use bind::unix_sock_addr;
pub(crate) use options::apply_options;

#[cfg(test)]
mod tests;
