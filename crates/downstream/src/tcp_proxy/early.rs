//! What a client says before there is a host for it (`max_early_data_bytes`, `upstream_connect_mode`).

use super::pump::Direction;
use super::stats::TcpProxyStats;
use nuncio_core::config::CompileContext;
use nuncio_net::stream::{ByteStream, poll_read_vec};
use nuncio_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3::UpstreamConnectMode;
use std::io;
use std::task::{Context, Poll};

/// When the client is read, and when its host is looked for.
#[derive(Clone, Copy, Debug)]
pub struct EarlyConfig {
    /// The client is no longer read once more than this has come.
    limit: usize,
    /// What comes before a host is looked for.
    pub(super) mode: UpstreamConnectMode,
}

impl EarlyConfig {
    /// `Ok(None)`: the client is read only once there is a host. `Err`: refused, and the reason is recorded.
    pub(super) fn compile(
        mode: i32,
        limit: Option<u32>,
        cx: &CompileContext<'_>,
    ) -> Result<Option<Self>, ()> {
        let mode = UpstreamConnectMode::try_from(mode).unwrap_or(UpstreamConnectMode::Immediate);
        let Some(limit) = limit else {
            if mode == UpstreamConnectMode::Immediate {
                return Ok(None);
            }
            cx.error("max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE");
            return Err(());
        };
        Ok(Some(Self { limit: limit as usize, mode }))
    }
}

/// Bytes that were read for a host that is not there yet.
#[derive(Default)]
pub(super) struct Early {
    bytes: Vec<u8>,
    ended: bool,
}

/// Room that is made for one read.
const READ: usize = 16 * 1024;

impl Early {
    /// Reads as far as it may. Ready, without an error, where bytes came or the end did; an error is the client's.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn ByteStream,
        config: EarlyConfig,
        stats: &TcpProxyStats,
    ) -> Poll<io::Result<()>> {
        let before = (self.bytes.len(), self.ended);
        let silent = !self.has_spoken();
        while !self.ended && self.bytes.len() <= config.limit {
            if io.poll_read_ready(cx).is_pending() {
                break;
            }
            self.bytes.reserve(READ);
            match poll_read_vec(io, cx, &mut self.bytes) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(n)) => self.ended = n == 0,
            }
        }
        if before == (self.bytes.len(), self.ended) {
            return Poll::Pending;
        }
        if silent {
            stats.early_data_received_count_total.inc();
        }
        Poll::Ready(Ok(()))
    }

    /// Whether what the mode wants has come, now that [`poll`](Self::poll) would wait: something to begin with, or the
    /// end of the handshake, where there is one.
    pub(super) fn suffices(
        &self,
        cx: &mut Context<'_>,
        io: &dyn ByteStream,
        mode: UpstreamConnectMode,
    ) -> bool {
        match mode {
            UpstreamConnectMode::Immediate => true,
            UpstreamConnectMode::OnDownstreamData => !self.bytes.is_empty(),
            UpstreamConnectMode::OnDownstreamTlsHandshake => matches!(io.poll_open(cx), Poll::Ready(Ok(()))),
        }
    }

    /// So many bytes have come.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the client said something, be it that it says nothing.
    fn has_spoken(&self) -> bool {
        self.ended || !self.bytes.is_empty()
    }

    /// The direction to the host, which begins with these bytes.
    pub(super) fn into_direction(self) -> Direction {
        Direction::beginning_with(self.bytes, self.ended)
    }
}
