//! From a connected stream to a secured one.

use super::TlsStream;
use super::choice::{Chosen, Staple, take_chosen};
use super::client::{Asked, ClientContext};
use super::error::HandshakeError;
use super::hello::{ClientHello, Hello, RECORD_HEAD, inspect};
use super::params::{cipher_name, group_name};
use super::record::RecordKey;
use super::server::{ServerContext, ServerSide};
use super::session::{Kernel, Session};
use super::signing::signature_name;
use super::stranger::Stranger;
use super::verify::{Verdict, Verifier, facts, take_refused, take_signed};
use crate::stream::{ByteStream, ReadBuf, poll_read_vec, poll_write_all};
use crate::worker::Worker;
use nuncio_core::stream_info::{CertificateInfo, PeerInfo, TlsInfo};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{
    AlertDescription, CommonState, ExtractedSecrets, HandshakeKind, ProtocolVersion, SignatureScheme,
};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use webpki::KeyUsage;

/// A secured connection and what its handshake agreed on.
pub type Secured = (TlsStream, TlsInfo);

/// A handshake of a server that failed, and what is known of the connection all the same.
#[derive(Debug)]
pub struct Unsecured {
    /// Why it failed.
    pub error: HandshakeError,
    /// What it had come to; a certificate that was refused is in it.
    pub seen: TlsInfo,
}

/// The server's side of a handshake; `first` is what was read of the connection already. There is no time limit in
/// here.
///
/// # Errors
/// The handshake failed; the peer was told why, as far as that could be done at once.
pub async fn accept(
    io: Box<dyn ByteStream>,
    first: Vec<u8>,
    context: &ServerContext,
    worker: &Rc<Worker>,
) -> Result<Secured, Unsecured> {
    let Some(side) = context.present() else {
        let error = no_secrets(&*io, &first).await;
        return Err(Unsecured { error, seen: TlsInfo::default() });
    };
    let mut seen = side.before_handshake();
    let answered = answer(io, first, &side, worker, &mut seen).await;
    answered.map_err(|error| Unsecured { error, seen })
}

/// As in Envoy, it is the client's first bytes that are not answered. One is read, which tells that they are there.
async fn no_secrets(io: &dyn ByteStream, first: &[u8]) -> HandshakeError {
    if first.is_empty() {
        let mut byte = [0];
        let read = poll_fn(|cx| io.poll_read(cx, &mut ReadBuf::new(&mut byte))).await;
        if read.is_err() {
            return HandshakeError::Closed;
        }
    }
    HandshakeError::no_secrets()
}

async fn answer(
    io: Box<dyn ByteStream>,
    first: Vec<u8>,
    side: &ServerSide,
    worker: &Rc<Worker>,
    seen: &mut TlsInfo,
) -> Result<Secured, HandshakeError> {
    let mut wire = Wire::new(&*io, worker, first);
    let hello = loop {
        match inspect(&wire.input) {
            Hello::Incomplete => wire.read().await?,
            Hello::Client(hello) => break hello,
            Hello::NotTls => match Stranger::of(&wire.input) {
                Some(stranger) => {
                    wire.output.extend(stranger.answer().into_iter().flatten());
                    wire.send_last().await;
                    return Err(stranger.error());
                }
                // rustls says what is wrong, to us and to the client.
                None => break ClientHello::default(),
            },
        }
    };
    let config = side.config(&hello, &*io);
    let gives_ticket = hello.takes_tickets && config.ticketer.enabled();
    let mut connection =
        UnbufferedServerConnection::new(config).map_err(|e| HandshakeError::from_rustls(&e))?;
    take_chosen();
    let driven = wire.drive(&mut connection).await;
    let local = wire.chosen.and_then(|chosen| side.identity(chosen.at));
    if wire.chosen.is_some_and(|c| c.staple == Staple::Failed) {
        return Err(HandshakeError::no_staple());
    }
    if let Err(error) = driven {
        agreed_before(&connection, seen);
        seen.local = local.or(seen.local.take());
        seen.peer = wire.refused.take().and_then(PeerInfo::refused);
        return Err(error);
    }
    let mut info = info_of(&connection, side.verifier(), KeyUsage::client_auth());
    info.local = local;
    if info.resumed || !gives_ticket {
        info.session_id = wire.session_of(&info);
    }
    info.signature = wire.signed.map_or("", signature_name);
    info.stapled = wire.chosen.filter(|_| hello.wants_status).map(|c| c.staple == Staple::Sent);
    info.server_name = hello.server_name;
    let (early, rest) = wire.finish();
    let (secrets, kernel) =
        connection.dangerous_into_kernel_connection().map_err(|e| HandshakeError::from_rustls(&e))?;
    let stream = secured(io, worker, Kernel::Server(Box::new(kernel)), secrets, &info, &early, &rest)?;
    worker.buffers().give(rest);
    Ok((stream, info))
}

/// The client's side of a handshake.
///
/// # Errors
/// As [`accept`].
pub async fn connect(
    io: Box<dyn ByteStream>,
    context: &ClientContext,
    asked: Asked<'_>,
    worker: &Rc<Worker>,
) -> Result<Secured, HandshakeError> {
    let side = context.present().ok_or_else(HandshakeError::no_secrets)?;
    let name = side.server_name(&asked);
    let mut connection = UnbufferedClientConnection::new(side.config(&asked, &*io), name.clone())
        .map_err(|e| HandshakeError::from_rustls(&e))?;
    let mut wire = Wire::new(&*io, worker, Vec::new());
    wire.drive(&mut connection).await?;
    let mut info = info_of(&connection, side.verifier(), KeyUsage::server_auth());
    info.session_id = wire.session_of(&info);
    info.signature = wire.signed.map_or("", signature_name);
    info.local = side.identity();
    info.server_name = match &name {
        ServerName::DnsName(name) => Some(name.as_ref().into()),
        _ => None,
    };
    let (early, rest) = wire.finish();
    let (secrets, kernel) =
        connection.dangerous_into_kernel_connection().map_err(|e| HandshakeError::from_rustls(&e))?;
    let stream = secured(io, worker, Kernel::Client(Box::new(kernel)), secrets, &info, &early, &rest)?;
    worker.buffers().give(rest);
    Ok((stream, info))
}

fn secured(
    io: Box<dyn ByteStream>,
    worker: &Rc<Worker>,
    kernel: Kernel,
    secrets: ExtractedSecrets,
    info: &TlsInfo,
    early: &[u8],
    rest: &[u8],
) -> Result<TlsStream, HandshakeError> {
    let tls13 = info.version == TLS13;
    let key = |secrets| RecordKey::new(secrets, tls13).map_err(|_| HandshakeError::internal());
    let keys = (key(secrets.rx)?, key(secrets.tx)?);
    Ok(TlsStream::new(io, Rc::clone(worker), Session::new(kernel), keys, early, rest))
}

const TLS13: &str = "TLSv1.3";

pub(super) const TLS12: &str = "TLSv1.2";

/// What a handshake that failed had agreed on.
fn agreed_before(connection: &CommonState, seen: &mut TlsInfo) {
    if connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
        seen.version = TLS13;
    }
    seen.cipher = connection.negotiated_cipher_suite().map_or("", |s| cipher_name(s.suite()));
    seen.group = connection.negotiated_key_exchange_group().map_or("", |g| group_name(g.name()));
}

/// What logs and headers may ask of a connection.
fn info_of(connection: &CommonState, verifier: &Verifier, usage: KeyUsage) -> TlsInfo {
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    TlsInfo {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TLS13,
            _ => TLS12,
        },
        cipher: connection.negotiated_cipher_suite().map_or("", |s| cipher_name(s.suite())),
        group: connection.negotiated_key_exchange_group().map_or("", |g| group_name(g.name())),
        signature: "",
        alpn: connection.alpn_protocol().unwrap_or_default().into(),
        server_name: None,
        local: None,
        peer: connection.peer_certificates().and_then(|chain| peer(chain, verifier, usage)),
        resumed,
        stapled: None,
        session_id: Box::default(),
    }
}

fn peer(chain: &[CertificateDer<'_>], verifier: &Verifier, usage: KeyUsage) -> Option<Box<PeerInfo>> {
    let (leaf, rest) = chain.split_first()?;
    let validation = &verifier.validation;
    let mut distrusted = false;
    let validated = if validation.accept_untrusted {
        let verdict = validation.check(leaf, rest, UnixTime::now(), usage, &verifier.algorithms, None);
        distrusted = validation.trust.is_some() && verdict != Ok(Verdict::Validated);
        verdict == Ok(Verdict::Validated)
    } else {
        // It would not have come so far.
        validation.trust.is_some() || !(validation.hashes.is_empty() && validation.spkis.is_empty())
    };
    let chain = facts(chain.iter());
    (!chain.is_empty()).then(|| Box::new(PeerInfo { chain, validated, distrusted, ..PeerInfo::default() }))
}

/// A side of a handshake, as rustls has it.
trait Side {
    type Data;
    const IS_CLIENT: bool;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn state(&self) -> &CommonState;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    const IS_CLIENT: bool = false;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    const IS_CLIENT: bool = true;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

/// What a step of the handshake wants next.
enum Next {
    Again,
    Flush,
    Read,
    Done,
    Failed(rustls::Error),
    /// An alert in the clear where records are sealed.
    Unopened,
    Closed,
    /// The peer has closed its side.
    Ended,
}

/// The bytes of a handshake on their way in and out.
struct Wire<'a> {
    io: &'a dyn ByteStream,
    worker: &'a Worker,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Application data that came with the last message of the handshake.
    early: Vec<u8>,
    /// The certificate that a server showed.
    chosen: Option<Chosen>,
    /// How the peer signed.
    signed: Option<SignatureScheme>,
    /// What a client showed that was refused.
    refused: Option<Vec<CertificateInfo>>,
    /// The session's identifier, from the ServerHello on.
    session_id: Option<Box<[u8]>>,
}

/// The session's identifier, where these bytes begin with a ServerHello (RFC 5246, section 7.4.1.3).
fn session_id(bytes: &[u8]) -> Option<&[u8]> {
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    // Behind the heads of record and message, the version and the random bytes.
    const AT: usize = RECORD_HEAD + 4 + 2 + 32;
    if bytes.first() != Some(&HANDSHAKE) || bytes.get(RECORD_HEAD) != Some(&SERVER_HELLO) {
        return None;
    }
    let (length, rest) = bytes.get(AT..)?.split_first()?;
    rest.get(..usize::from(*length))
}

/// Whether the last whole record is an alert, by the type that it shows.
fn ends_in_alert(mut records: &[u8]) -> bool {
    let mut last = None;
    while let Some((&[kind, _, _, high, low], rest)) = records.split_first_chunk::<RECORD_HEAD>() {
        last = Some(kind);
        records = rest.get(usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default();
    }
    last == Some(21)
}

/// Bytes of a handshake that were not understood yet at most.
const MAX_INPUT: usize = 1 << 17;

impl<'a> Wire<'a> {
    fn new(io: &'a dyn ByteStream, worker: &'a Worker, first: Vec<u8>) -> Self {
        let mut input = worker.buffers().take();
        input.extend_from_slice(&first);
        Self {
            io,
            worker,
            input,
            output: worker.buffers().take(),
            early: Vec::new(),
            chosen: None,
            signed: None,
            refused: None,
            session_id: None,
        }
    }

    async fn read(&mut self) -> Result<(), HandshakeError> {
        if self.input.len() >= MAX_INPUT {
            return Err(HandshakeError::internal());
        }
        if self.input.len() == self.input.capacity() {
            self.input.reserve(self.input.len());
        }
        match poll_fn(|cx| poll_read_vec(self.io, cx, &mut self.input)).await {
            Ok(n) if n > 0 => Ok(()),
            Ok(_) => Err(HandshakeError::Closed),
            Err(error) => Err(HandshakeError::broken(&error)),
        }
    }

    /// Keeps the session's identifier out of the ServerHello, be it ours or the peer's.
    fn note_session(&mut self) {
        if self.session_id.is_none() {
            let hello = if self.output.is_empty() { &self.input } else { &self.output };
            self.session_id = session_id(hello).map(Box::from);
        }
    }

    async fn flush(&mut self) -> Result<(), HandshakeError> {
        self.note_session();
        let mut at = 0;
        let written = poll_fn(|cx| poll_write_all(self.io, cx, &self.output, &mut at)).await;
        self.output.clear();
        written.map_err(|_| HandshakeError::Closed)
    }

    /// Runs the handshake to its end.
    async fn drive<S: Side>(&mut self, side: &mut S) -> Result<(), HandshakeError> {
        loop {
            match self.step(side) {
                Next::Again => {}
                // Behind its last message a client may have gone before our tickets come.
                Next::Flush => match self.flush().await {
                    Err(error) if side.state().is_handshaking() => return Err(error),
                    _ => {}
                },
                Next::Read => self.read().await?,
                Next::Done | Next::Ended => return Ok(()),
                Next::Closed => return Err(HandshakeError::Closed),
                Next::Failed(error) => {
                    let answered = side.state().protocol_version().is_some();
                    self.tell(side).await;
                    let at_once = rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) == error;
                    if S::IS_CLIENT && at_once && !answered {
                        return Err(HandshakeError::refused_hello());
                    }
                    return Err(HandshakeError::from_rustls(&error));
                }
                Next::Unopened => return Err(HandshakeError::alert_in_the_clear()),
            }
        }
    }

    fn step<S: Side>(&mut self, side: &mut S) -> Next {
        if S::IS_CLIENT {
            self.note_session();
        }
        let UnbufferedStatus { discard, state, .. } = side.process(&mut self.input);
        let next = match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let start = self.output.len();
                let mut encoded = data.encode(&mut []);
                if let Err(EncodeError::InsufficientSize(size)) = &encoded {
                    self.output.resize(start + size.required_size, 0);
                    encoded = data.encode(self.output.get_mut(start..).unwrap_or_default());
                }
                match encoded {
                    Ok(_) => Next::Again,
                    Err(error) => Next::Failed(rustls::Error::General(error.to_string())),
                }
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Next::Flush
            }
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    self.early.extend_from_slice(record.payload);
                }
                Next::Again
            }
            Ok(ConnectionState::BlockedHandshake) => Next::Read,
            Ok(ConnectionState::WriteTraffic(_)) => Next::Done,
            Ok(_) => Next::Ended,
            Err(error) => Next::Failed(error),
        };
        let sealed = side.state().protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let next = match next {
            Next::Failed(rustls::Error::AlertReceived(_)) if sealed && ends_in_alert(&self.input) => {
                Next::Unopened
            }
            next => next,
        };
        self.chosen = take_chosen().or(self.chosen);
        if let Some(refused) = take_refused() {
            self.refused = Some(refused);
        }
        self.signed = take_signed().or(self.signed);
        self.input.drain(..discard.min(self.input.len()));
        match next {
            // A server may send before the client has finished; we wait for it.
            Next::Done if side.state().is_handshaking() => Next::Read,
            Next::Ended if side.state().is_handshaking() => Next::Closed,
            // It said goodbye right behind its last message.
            Next::Ended => Next::Done,
            next => next,
        }
    }

    /// Sends the alert that rustls has for the peer, as far as that can be done at once.
    async fn tell<S: Side>(&mut self, side: &mut S) {
        // One alert: what was refused is not looked at again. (rustls remembers where it stood, so that it stays.)
        for _ in 0..4 {
            match self.step(side) {
                Next::Again if self.output.is_empty() => {}
                _ => break,
            }
        }
        self.send_last().await;
    }

    /// Sends what there is to send, as far as that can be done at once, and our end.
    async fn send_last(&mut self) {
        let (io, output) = (self.io, &self.output);
        let mut at = 0;
        poll_fn(|cx| {
            let _ = poll_write_all(io, cx, output, &mut at);
            let _ = io.poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// The session's identifier: TLS 1.3 has none, what stands there is the client's own.
    fn session_of(&mut self, info: &TlsInfo) -> Box<[u8]> {
        self.session_id.take().filter(|_| info.version == TLS12).unwrap_or_default()
    }

    /// What came with the end of the handshake, and what came behind it.
    fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        (std::mem::take(&mut self.early), std::mem::take(&mut self.input))
    }
}

impl Drop for Wire<'_> {
    fn drop(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            self.worker.buffers().give(std::mem::take(buffer));
        }
    }
}
