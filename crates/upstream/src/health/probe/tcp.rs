//! `tcp_health_check`

use super::{Connection, Exchanged, Gone, Probe, read, write};
use crate::health::config::TcpCheck;
use crate::health::session::{FailureKind, Verdict};
use nuncio_net::stream::ByteStream;

const GOOD: Verdict = Verdict::Good { degraded: false };

/// More than this is not kept of what a host says.
const KEEP: usize = 1 << 20;

/// A connection, and what has come on it since the last good answer.
pub(super) struct Tcp {
    stream: Box<dyn ByteStream>,
    input: Vec<u8>,
}

impl Probe<'_> {
    pub(super) async fn tcp(&mut self, check: &TcpCheck) -> Result<Exchanged, Gone> {
        if self.connection.is_none() {
            let (stream, _) = self.dialer.open(self.host, self.config).await?;
            self.connection = Some(Connection::Tcp(Tcp { stream, input: Vec::new() }));
        }
        if check.receive.is_empty() {
            // That it connects is all that is asked, each time anew; Envoy closes before it would send.
            return Ok(Exchanged { verdict: GOOD, stays: false });
        }
        let Some(Connection::Tcp(tcp)) = &mut self.connection else { return Err(Gone) };
        let mut said = match &check.proxy_head {
            Some(config) => config.own_head(tcp.stream.local_address(), tcp.stream.peer_address()),
            None => Vec::new(),
        };
        said.extend_from_slice(&check.send);
        write(&*tcp.stream, &said).await?;
        tcp.answer(check).await?;
        Ok(Exchanged { verdict: GOOD, stays: true })
    }
}

impl Tcp {
    /// Waits for all that is to come.
    async fn answer(&mut self, check: &TcpCheck) -> Result<(), Gone> {
        while !contains_in_order(&self.input, &check.receive) {
            if self.input.len() > KEEP {
                return Err(Gone);
            }
            read(&*self.stream, &mut self.input).await?;
        }
        self.input.clear();
        Ok(())
    }

    /// As in Envoy, a good answer that nobody asked for is one, and a connection that ends is a failure.
    pub(super) async fn idle(&mut self, check: &TcpCheck) -> Verdict {
        match self.answer(check).await {
            Ok(()) => GOOD,
            Err(Gone) => Verdict::failed(FailureKind::Network),
        }
    }
}

/// Whether every piece is in `bytes`, each behind the one before.
pub(in crate::health) fn contains_in_order(bytes: &[u8], pieces: &[Box<[u8]>]) -> bool {
    let mut rest = bytes;
    pieces.iter().filter(|p| !p.is_empty()).all(|piece| {
        let found = rest.windows(piece.len()).position(|w| w == &**piece);
        rest = found.and_then(|at| rest.get(at + piece.len()..)).unwrap_or_default();
        found.is_some()
    })
}
