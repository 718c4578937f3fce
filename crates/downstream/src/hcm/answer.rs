//! A connection manager that answers by itself: what stands in the router's place on the admin port.

use super::exchange::{Downstream, RequestEvent};
use super::local_reply::LocalReply;
use super::stream::{End, Stream};
use nuncio_codec::head::{RequestHead, ResponseHead};
use std::future::poll_fn;
use std::task::Poll;

/// Bytes of a request's body; more is answered 413.
const MAX_BODY: usize = 1 << 20;

/// The pieces of a body, each made when the client has taken those before the one in flight.
pub type Body = Box<dyn Iterator<Item = Vec<u8>>>;

/// What a [`Responder`] says.
pub struct Answer {
    /// Status and headers; the response policy adds `server` and `date`.
    pub head: ResponseHead,
    /// The body, which is sent chunked even where it is empty.
    pub body: Body,
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
            Ok(Ok(RequestEvent::Metadata | RequestEvent::Trailers | RequestEvent::End)) => {}
            Ok(Err(error)) => return stream.downstream_failed(error).await,
            Err(timeout) => return stream.timed_out(timeout).await,
        }
    }
    let Answer { head, body: mut pieces, details } = responder.respond(&stream.heads.request, &body);
    stream.info.details = Some(details.into());
    stream.heads.response = head;
    stream.start_response(false);
    let mut next = pieces.next();
    loop {
        let piece = next.take().unwrap_or_default();
        next = pieces.next();
        poll_fn(|cx| {
            stream.send_body(cx, &piece, next.is_none());
            Poll::Ready(())
        })
        .await;
        match stream.flush().await {
            End::Complete if next.is_some() => {}
            end => return end,
        }
    }
}
