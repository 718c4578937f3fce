//! A connection manager that answers by itself: what stands in the router's place on the admin port.

use super::exchange::{Downstream, RequestEvent};
use super::local_reply::LocalReply;
use super::stream::{End, Stream};
use nuncio_codec::head::{RequestHead, ResponseHead};
use std::future::poll_fn;
use std::task::Poll;

/// Bytes of a request's body; more is answered 413.
const MAX_BODY: usize = 1 << 20;
/// Bytes encoded before the client must have taken them.
const PIECE: usize = 64 << 10;

/// What a [`Responder`] says.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers; the response policy adds `server` and `date`.
    pub head: ResponseHead,
    /// The body, which is sent chunked even where it is empty.
    pub body: Vec<u8>,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
}

/// Answers whole requests, at once.
pub trait Responder {
    /// The answer to a request whose body is complete.
    fn respond(&self, head: &RequestHead, body: &[u8]) -> Answer;
}

/// Serves a stream: reads the request to its end, asks, and sends the answer as fast as the client takes it.
pub(super) async fn serve<D: Downstream>(stream: &mut Stream<D>, responder: &dyn Responder) -> End {
    let mut body = Vec::new();
    while !stream.request_complete {
        let event = poll_fn(|cx| match stream.poll_timers(cx) {
            Poll::Ready(timeout) => Poll::Ready(Err(timeout)),
            Poll::Pending => stream.poll_request(cx).map(Ok),
        });
        match event.await {
            Ok(Ok(RequestEvent::Data { .. })) => {
                body.extend_from_slice(stream.down.data());
                if body.len() > MAX_BODY {
                    return stream.reply(LocalReply::request_too_large()).await;
                }
            }
            Ok(Ok(RequestEvent::Trailers | RequestEvent::End)) => {}
            Ok(Err(error)) => return stream.downstream_failed(error).await,
            Err(timeout) => return stream.timed_out(timeout).await,
        }
    }
    let Answer { head, body, details } = responder.respond(&stream.heads.request, &body);
    stream.info.details = Some(details.into());
    stream.heads.response = head;
    stream.start_response(false);
    let mut pieces = body.chunks(PIECE).peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        send(stream, piece, last).await;
        if !last {
            match stream.flush().await {
                End::Complete => {}
                end => return end,
            }
        }
    }
    if body.is_empty() {
        send(stream, &[], true).await;
    }
    stream.flush().await
}

async fn send<D: Downstream>(stream: &mut Stream<D>, piece: &[u8], last: bool) {
    poll_fn(|cx| {
        stream.send_body(cx, piece, last);
        Poll::Ready(())
    })
    .await;
}
