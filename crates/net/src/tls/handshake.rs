//! From a connected stream to a secured one.

use super::TlsStream;
use super::certificate::Certificate;
use super::choice::{Chosen, Staple, take_chosen};
use super::client::{Asked, ClientContext};
use super::error::HandshakeError;
use super::hello::{ClientHello, Hello, inspect};
use super::params::{cipher_name, group_name};
use super::record::RecordKey;
use super::server::ServerContext;
use super::session::{Kernel, Session};
use super::signing::signature_name;
use super::verify::{Verdict, Verifier, take_signed};
use crate::stream::{ByteStream, ReadBuf, poll_read_vec, poll_write_all};
use crate::worker::Worker;
use nuncio_core::stream_info::{CertificateInfo, PeerInfo, TlsInfo};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, ExtractedSecrets, HandshakeKind, ProtocolVersion, SignatureScheme};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use webpki::KeyUsage;

/// A secured connection and what its handshake agreed on.
pub type Secured = (TlsStream, TlsInfo);

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
) -> Result<Secured, HandshakeError> {
    let Some(side) = context.present() else {
        // As in Envoy, it is the client's first bytes that are not answered. One is read, which tells that they are there.
        if first.is_empty() {
            let mut byte = [0];
            let read = poll_fn(|cx| io.poll_read(cx, &mut ReadBuf::new(&mut byte))).await;
            read.map_err(|_| HandshakeError::Closed)?;
        }
        return Err(HandshakeError::no_secrets());
    };
    let mut wire = Wire::new(&*io, worker, first);
    let hello = loop {
        match inspect(&wire.input) {
            Hello::Incomplete => wire.read().await?,
            Hello::Client(hello) => break hello,
            // rustls says what is wrong, to us and to the client.
            Hello::NotTls => break ClientHello::default(),
        }
    };
    let mut connection = UnbufferedServerConnection::new(side.config(&hello, &*io))
        .map_err(|e| HandshakeError::from_rustls(&e, b""))?;
    take_chosen();
    let driven = wire.drive(&mut connection).await;
    if wire.chosen.is_some_and(|c| c.staple == Staple::Failed) {
        return Err(HandshakeError::no_staple());
    }
    driven?;
    let mut info = info_of(&connection, side.verifier(), KeyUsage::client_auth());
    info.local = wire.chosen.and_then(|chosen| side.identity(chosen.at));
    info.signature = wire.signed.map_or("", signature_name);
    info.stapled = wire.chosen.filter(|_| hello.wants_status).map(|c| c.staple == Staple::Sent);
    info.server_name = hello.server_name;
    let (early, rest) = wire.finish();
    let (secrets, kernel) =
        connection.dangerous_into_kernel_connection().map_err(|e| HandshakeError::from_rustls(&e, b""))?;
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
        .map_err(|e| HandshakeError::from_rustls(&e, b""))?;
    let mut wire = Wire::new(&*io, worker, Vec::new());
    wire.drive(&mut connection).await?;
    let mut info = info_of(&connection, side.verifier(), KeyUsage::server_auth());
    info.signature = wire.signed.map_or("", signature_name);
    info.local = side.identity();
    info.server_name = match &name {
        ServerName::DnsName(name) => Some(name.as_ref().into()),
        _ => None,
    };
    let (early, rest) = wire.finish();
    let (secrets, kernel) =
        connection.dangerous_into_kernel_connection().map_err(|e| HandshakeError::from_rustls(&e, b""))?;
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

/// What logs and headers may ask of a connection.
fn info_of(connection: &CommonState, verifier: &Verifier, usage: KeyUsage) -> TlsInfo {
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    TlsInfo {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TLS13,
            _ => "TLSv1.2",
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
    let chain: Vec<CertificateInfo> =
        chain.iter().filter_map(|der| Certificate::parse(der).map(|c| c.info(der))).collect();
    (!chain.is_empty()).then(|| Box::new(PeerInfo { chain, validated, distrusted, ..PeerInfo::default() }))
}

/// A side of a handshake, as rustls has it.
trait Side {
    type Data;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn state(&self) -> &CommonState;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

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
    /// The peer's first bytes, which tell what it speaks if not TLS.
    first: [u8; 5],
    /// The certificate that a server showed.
    chosen: Option<Chosen>,
    /// How the peer signed.
    signed: Option<SignatureScheme>,
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
            first: [0; 5],
            chosen: None,
            signed: None,
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
            _ => Err(HandshakeError::Closed),
        }
    }

    async fn flush(&mut self) -> Result<(), HandshakeError> {
        let mut at = 0;
        let written = poll_fn(|cx| poll_write_all(self.io, cx, &self.output, &mut at)).await;
        self.output.clear();
        written.map_err(|_| HandshakeError::Closed)
    }

    /// Runs the handshake to its end.
    async fn drive<S: Side>(&mut self, side: &mut S) -> Result<(), HandshakeError> {
        loop {
            self.note_first();
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
                    self.tell(side).await;
                    return Err(HandshakeError::from_rustls(&error, &self.first));
                }
            }
        }
    }

    fn note_first(&mut self) {
        if let (Some(first), [0, ..]) = (self.input.first_chunk(), self.first) {
            self.first = *first;
        }
    }

    fn step<S: Side>(&mut self, side: &mut S) -> Next {
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
        self.chosen = take_chosen().or(self.chosen);
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
        let (io, output) = (self.io, &self.output);
        let mut at = 0;
        poll_fn(|cx| {
            let _ = poll_write_all(io, cx, output, &mut at);
            let _ = io.poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
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
