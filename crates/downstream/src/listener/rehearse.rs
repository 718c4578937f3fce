//! A connection led to its filter chain without a socket, for explanations.

use super::admit::{Looked, look, secure};
use super::{DownstreamTransport, Listener, SocketFacts};
use crate::explain::at_once;
use crate::why;
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_net::stream::{ByteStream, pair};
use nuncio_net::tls::ServerContext;
use std::rc::Rc;
use std::sync::Arc;

/// Where a rehearsed connection ends up.
pub(crate) enum Rehearsed {
    /// In this filter chain; behind its handshake, where it has one.
    Chain { at: usize, connection: Box<ConnectionInfo>, secured: Option<Arc<ServerContext>> },
    /// It is closed, and this is why.
    Closed(String),
    /// It waits for more than a request's first bytes.
    Undecided(String),
}

impl Listener {
    /// Leads a connection, whose first bytes are there, through listener filters, choice of a chain and the beginning
    /// of a handshake.
    pub(crate) fn rehearse(self: &Rc<Self>, io: Box<dyn ByteStream>) -> Rehearsed {
        let now = self.world.worker.now();
        let mut facts = SocketFacts::of(io.local_address(), io.peer_address());
        let mut first = Vec::new();
        match at_once(look(self, &*io, &mut facts, &mut first)) {
            Some(Looked::Done) => {}
            Some(Looked::Closed | Looked::TooLate) => {
                return Rehearsed::Closed("a listener filter closes the connection".into());
            }
            None if self.config.continue_on_filters_timeout => {}
            None => {
                let why = "a listener filter waits for more than the request (a PROXY header?), until \
                           listener_filters_timeout closes the connection";
                return Rehearsed::Undecided(why.into());
            }
        }
        let named = facts.clone();
        let Some(at) = self.config.chain_of(&facts) else {
            let connection = self.connection_info(&*io, usize::MAX, facts, now);
            why::no_filter_chain(&self.config, &connection, &named, now);
            return Rehearsed::Closed("no filter chain takes the connection".into());
        };
        let connection = Box::new(self.connection_info(&*io, at, facts, now));
        let Some(DownstreamTransport::Tls(context)) = self.config.filter_chains.get(at).map(|c| &c.transport)
        else {
            return Rehearsed::Chain { at, connection, secured: None };
        };
        // One that goes on waits for the client's next message, which nobody can write.
        if let Some(Err(())) = at_once(secure(self, io, first, context, (at, &connection))) {
            return Rehearsed::Closed("the TLS handshake fails".into());
        }
        Rehearsed::Chain { at, connection, secured: Some(Arc::clone(context)) }
    }

    /// Why a network filter before the last one of its chain closes the connection; `None` where none does.
    pub(crate) fn turns_away(&self, at: usize, connection: &ConnectionInfo) -> Option<String> {
        let chain = self.config.filter_chains.get(at)?;
        for (config, named) in chain.gates.iter().zip(&chain.gate_names) {
            let gate = Arc::clone(config).start(&self.world);
            if !gate.rehearses() {
                continue;
            }
            let (local, remote) = (connection.local.clone(), connection.remote.clone());
            let (io, _peer) = pair(usize::MAX, local, remote);
            if let Some(None) = at_once(gate.pass(Box::new(io), Rc::new(connection.clone()))) {
                return Some(format!("the network filter {} closes the connection", named.name));
            }
        }
        None
    }
}
