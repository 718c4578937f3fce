//! What rustls still knows of a connection after its handshake: the next keys, and where tickets are kept.

use super::TlsError;
use super::record::RecordKey;
use rustls::ProtocolVersion;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;

/// The secrets behind a connection.
pub(super) struct Session {
    kernel: Kernel,
    /// A handshake message that has not all come yet.
    partial: Vec<u8>,
}

/// Whose side we are.
pub(super) enum Kernel {
    Server(Box<KernelConnection<ServerConnectionData>>),
    Client(Box<KernelConnection<ClientConnectionData>>),
}

/// What a handshake message after the handshake asks for.
#[derive(Default)]
pub(super) struct After {
    /// The peer seals with a new key from now on.
    pub(super) read_key: Option<RecordKey>,
    /// The peer wants us to do the same.
    pub(super) answer_update: bool,
}

/// Bytes of a handshake message after the handshake at most: tickets are small.
const MAX_MESSAGE: usize = 1 << 16;

impl Session {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self { kernel, partial: Vec::new() }
    }

    fn version(&self) -> ProtocolVersion {
        match &self.kernel {
            Kernel::Server(k) => k.protocol_version(),
            Kernel::Client(k) => k.protocol_version(),
        }
    }

    /// The key that our records are sealed with after the present one.
    pub(super) fn next_write_key(&mut self) -> Result<RecordKey, TlsError> {
        let secret = match &mut self.kernel {
            Kernel::Server(k) => k.update_tx_secret(),
            Kernel::Client(k) => k.update_tx_secret(),
        };
        RecordKey::new(secret.map_err(|_| TlsError::Internal)?, true)
    }

    fn next_read_key(&mut self) -> Result<RecordKey, TlsError> {
        let secret = match &mut self.kernel {
            Kernel::Server(k) => k.update_rx_secret(),
            Kernel::Client(k) => k.update_rx_secret(),
        };
        RecordKey::new(secret.map_err(|_| TlsError::Internal)?, true)
    }

    /// Takes a record's worth of handshake messages.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<After, TlsError> {
        if self.version() != ProtocolVersion::TLSv1_3 {
            // Renegotiation: neither side of ours takes part in it.
            return Err(TlsError::NoRenegotiation);
        }
        if bytes.is_empty() || self.partial.len() + bytes.len() > MAX_MESSAGE {
            return Err(TlsError::Unexpected);
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        let mut rest = &*all;
        let mut after = After::default();
        while let Some((&[kind, a, b, c], behind)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some((body, behind)) = behind.split_at_checked(length) else { break };
            rest = behind;
            match (kind, body) {
                (4, _) => self.ticket(body)?,
                // A key changes between records, never within one (RFC 8446, 5.1).
                (24, [asked @ (0 | 1)]) if rest.is_empty() => {
                    after.read_key = Some(self.next_read_key()?);
                    after.answer_update = *asked == 1;
                }
                _ => return Err(TlsError::Unexpected),
            }
        }
        self.partial = if rest.is_empty() { Vec::new() } else { rest.to_vec() };
        Ok(after)
    }

    fn ticket(&mut self, body: &[u8]) -> Result<(), TlsError> {
        match &mut self.kernel {
            Kernel::Client(k) => k.handle_new_session_ticket(body).map_err(|_| TlsError::Unexpected),
            Kernel::Server(_) => Err(TlsError::Unexpected),
        }
    }
}
