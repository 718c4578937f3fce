//! `TlsKeyLog`: the secrets of handshakes in a file, for whoever has to read what was recorded of them.

use super::certificate::hex;
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
}

impl KeyFile {
    /// The file that the message names.
    pub(super) fn of(message: TlsKeyLog) -> Arc<Self> {
        let TlsKeyLog { path } = message;
        Arc::new(Self { path: path.into(), file: OnceLock::new() })
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
