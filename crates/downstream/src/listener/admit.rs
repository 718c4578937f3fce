//! From an accepted socket to the chain that serves it, where that takes a look first: listener filters, the choice of
//! a filter chain, the handshake.

use super::access_log::ConnectionLog;
use super::filter::Inspected;
use super::limits::Permit;
use super::{ConnectionGuard, DownstreamTransport, Listener, SocketFacts};
use crate::why;
use nuncio_core::overload::Timer;
use nuncio_core::stream_info::{ConnectionInfo, ResponseFlag};
use nuncio_net::stream::{ByteStream, Deferred, Rewind, poll_read_vec};
use nuncio_net::timer::within;
use nuncio_net::tls::{HandshakeError, ServerContext, Unsecured, accept};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Serves a connection of a listener from its first byte until it is closed.
pub(super) async fn admit(
    mut permit: Permit,
    io: Box<dyn ByteStream>,
    mut facts: SocketFacts,
    accepted: Instant,
) {
    let mut first = Vec::new();
    if !inspect(permit.listener(), &*io, &mut facts, &mut first).await {
        return not_admitted(permit.listener(), &*io, facts, &first, accepted);
    }
    if let Some(other) = handed_to(permit.listener(), &*io, &facts) {
        permit = Permit::of_handed(&other);
        facts.forget_states();
        if !inspect(&other, &*io, &mut facts, &mut first).await {
            return not_admitted(&other, &*io, facts, &first, accepted);
        }
    }
    let listener = Rc::clone(permit.listener());
    let config = &listener.config;
    let Some(at) = config.chain_of(&facts) else {
        return no_chain(&listener, io, (facts, &first), accepted);
    };
    // A chain without filters closes the connection before it counts as one.
    let (Some(chain), Some(Some(filter))) = (config.filter_chains.get(at), listener.chains.get(at)) else {
        return;
    };
    let guard = ConnectionGuard::new(permit, accepted);
    let connection = Rc::new(listener.connection_info(&*io, at, facts, accepted));
    let io = match &chain.transport {
        DownstreamTransport::RawBuffer if first.is_empty() => io,
        DownstreamTransport::RawBuffer => Box::new(Rewind::new(first, io)),
        DownstreamTransport::Tls(context) if filter.precedes_handshake() => {
            deferred(&listener, io, first, context, (at, &connection))
        }
        DownstreamTransport::Tls(context) => {
            let Ok(io) = secure(&listener, io, first, context, (at, &connection)).await else {
                Rc::clone(filter).turned_away(&connection, true);
                ConnectionLog::of_none(&listener, &connection);
                return drop(guard);
            };
            io
        }
    };
    let (io, log) = ConnectionLog::begin(&listener, listener.limit_patience(io, &connection), &connection);
    Rc::clone(filter).serve(io, connection).await;
    drop(log);
    drop(guard);
}

/// The listener that takes a connection in the place of `listener` (`use_original_dst`): the one at the address that the
/// connection was going to, where a listener filter has found that out. That one hands nothing on itself.
fn handed_to(listener: &Rc<Listener>, io: &dyn ByteStream, facts: &SocketFacts) -> Option<Rc<Listener>> {
    if !listener.config.hands_off || facts.local == *io.local_address() {
        return None;
    }
    listener.world.listeners.find(&facts.local).filter(|other| !Rc::ptr_eq(other, listener))
}

/// Runs the listener filters on the `bytes` that have come, and on more; false where the connection is to be closed.
async fn inspect(
    listener: &Rc<Listener>,
    io: &dyn ByteStream,
    facts: &mut SocketFacts,
    bytes: &mut Vec<u8>,
) -> bool {
    if listener.filters.is_empty() {
        return true;
    }
    let stats = &listener.stats;
    stats.downstream_pre_cx_active.inc();
    let looking = look(listener, io, facts, bytes);
    let end = within(listener.config.filters_timeout, looking).await.unwrap_or(Looked::TooLate);
    stats.downstream_pre_cx_active.dec();
    match end {
        Looked::Done => true,
        Looked::Closed => false,
        Looked::TooLate => {
            stats.downstream_pre_cx_timeout.inc();
            listener.config.continue_on_filters_timeout
        }
    }
}

/// How the look at the first bytes ended.
pub(super) enum Looked {
    Done,
    Closed,
    TooLate,
}

/// Bytes that listener filters may look at.
const LOOK_AT_MOST: usize = 64 * 1024;

pub(super) async fn look(
    listener: &Rc<Listener>,
    io: &dyn ByteStream,
    facts: &mut SocketFacts,
    bytes: &mut Vec<u8>,
) -> Looked {
    for (make, disabled) in &listener.filters {
        if disabled.as_ref().is_some_and(|d| d.holds(facts)) {
            continue;
        }
        let mut filter = make();
        loop {
            match filter.inspect(bytes, facts, io) {
                Inspected::Done { consumed } => {
                    bytes.drain(..consumed.min(bytes.len()));
                    break;
                }
                Inspected::Close => return Looked::Closed,
                Inspected::More => {}
            }
            if bytes.len() >= LOOK_AT_MOST {
                listener.stats.downstream_listener_filter_error.inc();
                return Looked::Closed;
            }
            if bytes.len() == bytes.capacity() {
                bytes.reserve(1024);
            }
            match poll_fn(|cx| poll_read_vec(io, cx, bytes)).await {
                Ok(n) if n > 0 => {}
                _ => {
                    listener.stats.downstream_listener_filter_remote_close.inc();
                    return Looked::Closed;
                }
            }
        }
    }
    Looked::Done
}

/// A listener filter closes the connection, or the client did before they were done: the listener's log tells of it.
/// As in Envoy, which only ever peeked at them, bytes that nobody took reset the connection.
fn not_admitted(
    listener: &Rc<Listener>,
    io: &dyn ByteStream,
    facts: SocketFacts,
    first: &[u8],
    accepted: Instant,
) {
    if !first.is_empty() {
        io.reset_on_drop();
    }
    ConnectionLog::of_none(listener, &Rc::new(listener.connection_info(io, usize::MAX, facts, accepted)));
}

/// No chain takes the connection: it is closed, as [`not_admitted`] says, and the listener's log tells of it.
fn no_chain(
    listener: &Rc<Listener>,
    io: Box<dyn ByteStream>,
    (facts, first): (SocketFacts, &[u8]),
    accepted: Instant,
) {
    listener.stats.no_filter_chain_match.inc();
    if !first.is_empty() {
        io.reset_on_drop();
    }
    let named = facts.clone();
    let connection = Rc::new(listener.connection_info(&*io, usize::MAX, facts, accepted));
    why::no_filter_chain(&listener.config, &connection, &named, listener.world.worker.now());
    let mut flags = connection.state.flags.get();
    flags.set(ResponseFlag::NoRouteFound);
    connection.state.flags.set(flags);
    ConnectionLog::of_none(listener, &connection);
}

/// A stream whose handshake begins when it is first read or written.
fn deferred(
    listener: &Rc<Listener>,
    io: Box<dyn ByteStream>,
    first: Vec<u8>,
    context: &Arc<ServerContext>,
    (at, connection): (usize, &Rc<ConnectionInfo>),
) -> Box<dyn ByteStream> {
    let (listener, context, connection) = (Rc::clone(listener), Arc::clone(context), Rc::clone(connection));
    Box::new(Deferred::new(io, |io| async move {
        secure(&listener, io, first, &context, (at, &connection)).await
    }))
}

/// The server's side of a handshake, within its time. The `connection` is told what came of it.
pub(super) async fn secure(
    listener: &Rc<Listener>,
    io: Box<dyn ByteStream>,
    first: Vec<u8>,
    context: &ServerContext,
    (at, connection): (usize, &ConnectionInfo),
) -> Result<Box<dyn ByteStream>, ()> {
    let handshake = accept(io, first, context, &listener.world.worker);
    let limit = listener.config.filter_chains.get(at).and_then(|c| c.connect_timeout);
    let limit = match listener.overload() {
        Some(overload) => overload.timeout(Timer::TransportSocketConnect, limit),
        None => limit,
    };
    let Unsecured { error, seen } = match within(limit, handshake).await {
        None => {
            listener.stats.downstream_cx_transport_socket_connect_timeout.inc();
            connection.state.local_close.set(Some("transport_socket_timeout"));
            Unsecured { error: HandshakeError::Closed, seen: context.before_handshake() }
        }
        Some(Ok((stream, tls))) => {
            if let Some(ssl) = &listener.ssl {
                ssl.secured(&tls);
            }
            let _ = connection.tls.set(Rc::new(tls));
            return Ok(Box::new(stream));
        }
        Some(Err(unsecured)) => unsecured,
    };
    let _ = connection.tls.set(Rc::new(seen));
    if let Some(ssl) = &listener.ssl {
        ssl.failed(&error);
    }
    if let HandshakeError::Failed { text, .. } = error {
        if let Some(chain) = listener.config.filter_chains.get(at) {
            why::handshake(&chain.places, connection, &text, listener.world.worker.now());
        }
        let _ = connection.state.transport_failure.set(text);
    }
    Err(())
}
