//! Listening sockets: bound on the main thread, one per worker, accepted from on the workers.

mod accept;
mod bind;

pub use accept::{Accepted, Listener, ListenerCounts};
pub use bind::{BindError, BoundSocket, Keepalive, ListenSpec, OptionState, SocketOption, bind};

pub(crate) use bind::{apply_options, unix_sock_addr};

#[cfg(test)]
mod tests;
