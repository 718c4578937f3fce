//! Asks a host how it is.

mod grpc;
mod http;
mod http1;
mod http2;
mod tcp;

pub(crate) use http2::Http2;
pub(super) use tcp::contains_in_order;

use super::config::{Check, HealthCheckConfig};
use super::dial::{Dialer, Gone};
use super::session::{FailureKind, Verdict};
use crate::host::HostShared;
use crate::stats::HealthCheckStats;
use http1::Http1;
use nuncio_codec::head::{HeaderMap, ResponseHead};
use nuncio_net::stream::{ByteStream, poll_read_vec, poll_write_all};
use std::future::{pending, poll_fn};
use std::sync::Arc;
use tcp::Tcp;

/// One check of one host, with the connection that it keeps from time to time.
pub(super) struct Probe<'a> {
    dialer: &'a Dialer,
    config: &'a HealthCheckConfig,
    host: &'a Arc<HostShared>,
    stats: &'a HealthCheckStats,
    connection: Option<Connection<'a>>,
}

/// A connection to the host.
enum Connection<'a> {
    Http1(Http1),
    Http2(Box<Http2<'a>>),
    Tcp(Tcp),
}

/// Judges an answer while it comes; the first verdict ends it.
pub(crate) trait Judge {
    fn head(&mut self, head: &ResponseHead, end_stream: bool) -> Option<Verdict>;
    fn data(&mut self, data: &[u8], end_stream: bool) -> Option<Verdict>;
    fn trailers(&mut self, trailers: &HeaderMap) -> Option<Verdict>;
}

/// What came of an exchange.
pub(crate) struct Exchanged {
    pub(crate) verdict: Verdict,
    /// The connection serves another check.
    stays: bool,
}

impl<'a> Probe<'a> {
    pub(super) fn new(
        dialer: &'a Dialer,
        config: &'a HealthCheckConfig,
        host: &'a Arc<HostShared>,
        stats: &'a HealthCheckStats,
    ) -> Self {
        Self { dialer, config, host, stats, connection: None }
    }

    /// One check. Where it is dropped before it ends, [`give_up`](Self::give_up) has to be called.
    pub(super) async fn check(&mut self) -> Verdict {
        let exchanged = match &self.config.check {
            Check::Http(check) => self.http(check).await,
            Check::Grpc(check) => self.grpc(check).await,
            Check::Tcp(check) => self.tcp(check).await,
        };
        let stays = exchanged.as_ref().is_ok_and(|e| e.stays && self.config.reuse_connection);
        if !stays {
            self.close();
        }
        exchanged.map_or(Verdict::failed(FailureKind::Network), |e| e.verdict)
    }

    /// The check took too long. Its connection is closed, but for a stream of gRPC, which alone is reset.
    pub(super) fn give_up(&mut self) {
        let keeps = matches!(self.config.check, Check::Grpc(_)) && self.config.reuse_connection;
        let kept = match &mut self.connection {
            Some(Connection::Http2(http2)) if keeps => http2.reset(),
            _ => false,
        };
        if !kept {
            self.close();
        }
    }

    fn close(&mut self) {
        self.connection = None;
    }

    /// Looks after the connection between two checks; resolves where what comes on it is a verdict by itself.
    pub(super) async fn idle(&mut self) -> Verdict {
        let verdict = match &mut self.connection {
            None => None,
            Some(Connection::Http1(http1)) => {
                http1.idle().await;
                None
            }
            Some(Connection::Http2(http2)) => {
                http2.idle().await;
                None
            }
            Some(Connection::Tcp(tcp)) => match &self.config.check {
                Check::Tcp(check) => Some(tcp.idle(check).await),
                Check::Http(_) | Check::Grpc(_) => None,
            },
        };
        match verdict {
            Some(good @ Verdict::Good { .. }) => good,
            Some(bad) => {
                self.close();
                bad
            }
            None => {
                self.close();
                pending().await
            }
        }
    }

    /// What requests ask for: the endpoint's own name for checks, else the check's, else the cluster's.
    fn authority<'n>(&'n self, of_check: &'n str) -> &'n str {
        let own = self.host.spec().checked_name();
        let named = [own, of_check].into_iter().find(|name| !name.is_empty());
        named.unwrap_or(&self.dialer.cluster.config().name)
    }
}

async fn write(stream: &dyn ByteStream, data: &[u8]) -> Result<(), Gone> {
    let mut at = 0;
    poll_fn(|cx| poll_write_all(stream, cx, data, &mut at)).await.map_err(|_| Gone)
}

/// Reads what has come behind `into`; nothing more will come where it is [`Gone`].
async fn read(stream: &dyn ByteStream, into: &mut Vec<u8>) -> Result<(), Gone> {
    into.reserve(4096);
    match poll_fn(|cx| poll_read_vec(stream, cx, into)).await {
        Ok(n) if n > 0 => Ok(()),
        _ => Err(Gone),
    }
}
