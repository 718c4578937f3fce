//! `TlsKeyLog`: the secrets of handshakes in a file, for whoever has to read what was recorded of them.

use super::certificate::hex;
use crate::stream::ByteStream;
use nuncio_core::address::Address;
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::CidrList;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::TlsKeyLog;
use rustls::KeyLog;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// A file in the format of NSS, to which lines are appended. It is opened with the first of them.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    file: OnceLock<Option<File>>,
    /// `local_address_range` and `remote_address_range`: whose connections are told of; empty: of all.
    local: CidrList,
    remote: CidrList,
}

impl KeyFile {
    /// The file that the message names. `None`: refused, with the reasons in `cx`.
    pub(super) fn compile(message: &TlsKeyLog, cx: &CompileContext<'_>) -> Option<Arc<Self>> {
        let TlsKeyLog { path, local_address_range, remote_address_range } = message;
        let local = CidrList::compile(local_address_range, cx, "local_address_range")?;
        let remote = CidrList::compile(remote_address_range, cx, "remote_address_range")?;
        Some(Arc::new(Self { path: path.into(), file: OnceLock::new(), local, remote }))
    }

    /// Whether it is told of this connection.
    pub(super) fn wants(&self, io: &dyn ByteStream) -> bool {
        // It is there with the first connection, if nothing is ever written into it.
        let _ = self.file();
        let within = |list: &CidrList, address: &Address| {
            list.is_empty() || address.ip().is_some_and(|ip| list.contains(ip))
        };
        within(&self.local, io.local_address()) && within(&self.remote, io.peer_address())
    }

    fn file(&self) -> Option<&File> {
        let open = || match OpenOptions::new().append(true).create(true).open(&self.path) {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::error!(target: "connection", "cannot open key log '{}': {error}", self.path.display());
                None
            }
        };
        self.file.get_or_init(open).as_ref()
    }
}

impl KeyLog for KeyFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        if let Some(mut file) = self.file() {
            // One write, so that lines of several workers stay whole. A full disk ends no handshake.
            let _ = file.write_all(line.as_bytes());
        }
    }
}
