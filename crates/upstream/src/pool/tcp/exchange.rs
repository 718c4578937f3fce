//! A request whose body goes to a host as it is, and whose answer is what the host sends: CONNECT, and POST where
//! `allow_post` says so.

use super::TcpConnection;
use crate::pool::{ResetReason, StreamError, UpstreamEvent};
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_core::stream_info::{ByteCounts, UpstreamConnectionInfo};
use nuncio_net::inbuf::InBuf;
use nuncio_net::stream::poll_write_all;
use nuncio_net::worker::BufferPool;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// What is still to be said to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// More may come.
    Open,
    /// Its end goes out behind what waits.
    Ending,
    /// Its end went out, or nothing can.
    Over,
}

/// The head of the answer is made here and is the first event; there are no trailers either way.
pub(in crate::pool) struct TcpExchange {
    connection: TcpConnection,
    answered: bool,
    sending: Sending,
    out: Vec<u8>,
    out_at: usize,
    input: InBuf,
    bytes: ByteCounts,
}

impl TcpExchange {
    /// `first` goes to the host before the body.
    pub(in crate::pool) fn new(connection: TcpConnection, first: Vec<u8>) -> Self {
        Self {
            connection,
            answered: false,
            sending: Sending::Open,
            bytes: ByteCounts { header_sent: first.len() as u64, ..ByteCounts::default() },
            out: first,
            out_at: 0,
            input: InBuf::default(),
        }
    }

    pub(in crate::pool) fn info(&self) -> &Rc<UpstreamConnectionInfo> {
        self.connection.info()
    }

    pub(in crate::pool) fn reused(&self) -> bool {
        false
    }

    pub(in crate::pool) fn bytes(&self) -> ByteCounts {
        self.bytes
    }

    pub(in crate::pool) fn buffered(&self) -> usize {
        self.out.len() - self.out_at
    }

    #[inline]
    pub(in crate::pool) fn wants_flush(&self) -> bool {
        self.buffered() > 0 || self.sending == Sending::Ending
    }

    pub(in crate::pool) fn data(&self) -> &[u8] {
        self.input.unread()
    }

    fn buffers(&self) -> &BufferPool {
        self.connection.count.core.worker.buffers()
    }

    /// Nothing of the head goes over.
    pub(in crate::pool) fn encode_head(
        &mut self,
        _: &RequestHead,
        end_stream: bool,
    ) -> Result<(), Box<StreamError>> {
        if end_stream {
            self.sending = Sending::Ending;
        }
        Ok(())
    }

    pub(in crate::pool) fn encode_data(&mut self, data: &[u8], end_stream: bool) {
        if self.sending != Sending::Open {
            return;
        }
        if !data.is_empty() {
            if self.out.capacity() == 0 {
                self.out = self.buffers().take();
            }
            self.out.extend_from_slice(data);
        }
        if end_stream {
            self.sending = Sending::Ending;
        }
    }

    pub(in crate::pool) fn send_data(&mut self, _: &mut Context<'_>, data: &[u8], end_stream: bool) {
        self.encode_data(data, end_stream);
    }

    /// They cannot be told; the request ends.
    pub(in crate::pool) fn encode_trailers(&mut self, _: &HeaderMap) {
        self.encode_data(b"", true);
    }

    pub(in crate::pool) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.sending == Sending::Over {
            return Poll::Ready(());
        }
        let before = self.out_at;
        let written = poll_write_all(self.connection.stream(), cx, &self.out, &mut self.out_at);
        let sent = self.out_at - before;
        if sent > 0 {
            self.bytes.wire_sent += sent as u64;
            self.connection.sent(sent);
        }
        // What the host said before it closed is still to be read; then reading says that it closed.
        let failed = ready!(written).is_err();
        self.release_out();
        if failed
            || (self.sending == Sending::Ending && ready!(self.connection.stream().poll_shutdown(cx)).is_ok())
        {
            self.sending = Sending::Over;
        }
        Poll::Ready(())
    }

    fn release_out(&mut self) {
        self.out_at = 0;
        if self.out.capacity() > 0 {
            let out = std::mem::take(&mut self.out);
            self.buffers().give(out);
        }
    }

    pub(in crate::pool) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        _: &mut HeaderMap,
    ) -> Poll<Result<UpstreamEvent, Box<StreamError>>> {
        if !self.answered {
            self.answered = true;
            *head = ResponseHead::new(200);
            return Poll::Ready(Ok(UpstreamEvent::Head { end_stream: false }));
        }
        self.input.clear();
        let Self { connection, input, .. } = self;
        let buffers = connection.count.core.worker.buffers();
        let filled = input.poll_fill(cx, connection.stream(), buffers);
        if !matches!(filled, Poll::Ready(Ok(1..))) {
            // Nothing is held while the host is silent.
            input.release(buffers);
        }
        Poll::Ready(match ready!(filled) {
            Ok(0) => {
                if self.sending == Sending::Over {
                    // Both sides have said all.
                    self.connection.complete();
                }
                Ok(UpstreamEvent::End)
            }
            Ok(n) => {
                self.bytes.wire_received += n as u64;
                self.connection.received(n);
                Ok(UpstreamEvent::Data { end_stream: false })
            }
            Err(_) => {
                self.connection.closed_by_host();
                Err(Box::new(StreamError {
                    reason: ResetReason::ConnectionTermination,
                    codec_details: None,
                    request_sent: self.bytes.wire_sent > 0,
                    response_begun: true,
                    stale_reuse: false,
                    oddity: None,
                }))
            }
        })
    }
}

impl Drop for TcpExchange {
    fn drop(&mut self) {
        self.release_out();
        let Self { connection, input, .. } = self;
        input.clear();
        input.release(connection.count.core.worker.buffers());
    }
}
