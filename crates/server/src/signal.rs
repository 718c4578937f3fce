//! The signals that a server listens to.

use std::io;
use tokio::signal::unix::{self, SignalKind};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end in order.
    End(&'static str),
    /// SIGUSR1: open the logs anew.
    ReopenLogs,
}

/// The signals of this process. While it lives, SIGHUP does nothing; SIGPIPE never does anything.
#[derive(Debug)]
pub struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    usr1: unix::Signal,
    hup: unix::Signal,
}

impl Signals {
    /// Takes the signals over; needs a runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            term: unix::signal(SignalKind::terminate())?,
            int: unix::signal(SignalKind::interrupt())?,
            usr1: unix::signal(SignalKind::user_defined1())?,
            hup: unix::signal(SignalKind::hangup())?,
        })
    }

    /// The next one that asks for something. May be dropped and called again.
    pub async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                biased;
                _ = self.term.recv() => return Signal::End("SIGTERM"),
                _ = self.int.recv() => return Signal::End("SIGINT"),
                _ = self.usr1.recv() => return Signal::ReopenLogs,
                _ = self.hup.recv() => tracing::warn!(target: "main", "caught and ignored SIGHUP"),
            }
        }
    }
}
