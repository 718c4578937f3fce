//! A small HTTP/1 server for what is not proxied: the admin port and the demo's upstreams.
//!
//! One request is answered at a time, with the whole of its body in memory on both sides. The proxy's own
//! codec does the reading and writing, so that framing attacks meet the same walls.

use nuncio_codec::h1::{Event, HeaderCase, RequestError, ServerCodec, ServerOptions, reason_phrase};
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_net::listen::Listener;
use nuncio_net::stream::{ByteStream, poll_read_vec, poll_write_all};
use nuncio_net::worker::Worker;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Connections at once; further ones are closed at once.
const MAX_CONNECTIONS: usize = 256;
/// Bytes of a request's body; more is answered 413.
const MAX_BODY: usize = 1 << 20;
/// Bytes written before the peer must have taken some.
const PIECE: usize = 64 << 10;
/// How long a connection may rest between requests.
const IDLE: Duration = Duration::from_secs(300);
/// How long a request may take to arrive, a piece of an answer to leave, and the peer to close.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Its head, with a target of the form `/path?query`.
    pub head: RequestHead,
    /// Its body.
    pub body: Vec<u8>,
}

/// An answer. `date` and `server: envoy` are added, and what frames the body.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: ResponseHead,
    /// The body; without any, `content-length: 0` is sent.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer without headers and body.
    pub fn new(status: u16) -> Self {
        Self { head: ResponseHead::new(status), body: Vec::new() }
    }

    /// The same with a header more.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.head.headers.append(name, value.as_bytes());
        self
    }
}

/// Accepts for ever and answers by `answer`. Drop the future to stop accepting.
pub async fn serve(listener: Listener, worker: Rc<Worker>, answer: Rc<dyn Fn(&Asked) -> Reply>) {
    let open = Rc::new(Cell::new(0_usize));
    let spawner = Rc::clone(&worker);
    listener
        .accept_loop(16, move |accepted| {
            if open.get() >= MAX_CONNECTIONS {
                return;
            }
            let place = Place::take(&open);
            let (worker, answer) = (Rc::clone(&worker), Rc::clone(&answer));
            spawner.spawn(async move {
                let _place = place;
                let stream = accepted.into_stream();
                // A peer that goes away is nobody's error.
                let _ = connection(&*stream, &worker, &*answer).await;
            });
        })
        .await;
}

/// One of [`MAX_CONNECTIONS`], for as long as it lives.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Reads requests and answers them until the peer or the protocol ends the connection.
async fn connection(
    stream: &dyn ByteStream,
    worker: &Worker,
    answer: &dyn Fn(&Asked) -> Reply,
) -> io::Result<()> {
    let mut codec = ServerCodec::new();
    let mut input = Vec::new();
    loop {
        let patience = if input.is_empty() { IDLE } else { PATIENCE };
        let reply = match timed(patience, read(stream, &mut codec, &mut input)).await? {
            Ok(Some(asked)) => answer(&asked),
            Ok(None) => return Ok(()),
            Err(refused) => {
                codec.set_close();
                refused
            }
        };
        write(stream, worker, &mut codec, reply).await?;
        if !codec.keep_alive() {
            return end(stream).await;
        }
    }
}

async fn timed<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The next request, none at the end of the connection, or what to answer to one that is not served.
async fn read(
    stream: &dyn ByteStream,
    codec: &mut ServerCodec,
    input: &mut Vec<u8>,
) -> io::Result<Result<Option<Asked>, Reply>> {
    let options = ServerOptions::default();
    let mut asked = Asked::default();
    let mut trailers = HeaderMap::new();
    loop {
        let decoded = match codec.decode(&options, input, &mut asked.head, &mut trailers) {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Err(refusal(error))),
        };
        let done = match decoded.event {
            Event::More if decoded.consumed == 0 => {
                input.reserve(8 << 10);
                if poll_fn(|cx| poll_read_vec(stream, cx, input)).await? == 0 {
                    return Ok(Ok(None));
                }
                false
            }
            Event::More | Event::Informational => false,
            Event::Head { end_stream } => {
                if let Some(refused) = refuse_head(&asked.head) {
                    return Ok(Err(refused));
                }
                if !end_stream && expects_continue(&asked.head) {
                    let mut out = Vec::new();
                    codec.encode_informational(&ResponseHead::new(100), &mut out);
                    send(stream, &out).await?;
                }
                end_stream
            }
            Event::Data { at, end_stream } => {
                asked.body.extend_from_slice(input.get(at).unwrap_or_default());
                if asked.body.len() > MAX_BODY {
                    return Ok(Err(refused(413)));
                }
                end_stream
            }
            Event::Trailers | Event::End => true,
        };
        input.drain(..decoded.consumed.min(input.len()));
        if done {
            return Ok(Ok(Some(asked)));
        }
    }
}

/// Envoy's answer to a request that cannot be read.
fn refusal(error: RequestError) -> Reply {
    refused(error.status())
}

fn refused(status: u16) -> Reply {
    let body = reason_phrase(status);
    let mut reply =
        Reply::new(status).with("content-length", &body.len().to_string()).with("content-type", "text/plain");
    reply.body = body.into();
    reply
}

/// What is wrong with a head that is well formed: no host 400, an upgrade 403, a target that is no path 404.
fn refuse_head(head: &RequestHead) -> Option<Reply> {
    if !head.headers.contains(Known::Authority) || head.path().contains(&b'#') {
        return Some(Reply::new(400));
    }
    if head.headers.contains(Known::Upgrade) {
        return Some(Reply::new(403));
    }
    (head.path().first() != Some(&b'/')).then(|| Reply::new(404))
}

fn expects_continue(head: &RequestHead) -> bool {
    head.headers.get(Known::Expect).is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"))
}

async fn write(
    stream: &dyn ByteStream,
    worker: &Worker,
    codec: &mut ServerCodec,
    mut reply: Reply,
) -> io::Result<()> {
    if !reply.head.headers.contains(Known::Date) {
        let date = worker.date(worker.clock().wall());
        reply.head.headers.append(Known::Date, date.as_bytes());
    }
    reply.head.headers.append(Known::Server, b"envoy");
    let empty = reply.body.is_empty();
    let mut out = Vec::with_capacity(512 + reply.body.len().min(PIECE));
    codec
        .encode_head(HeaderCase::Lower, &reply.head, empty, &mut out)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    let mut pieces = reply.body.chunks(PIECE).peekable();
    while let Some(piece) = pieces.next() {
        codec.encode_data(piece, pieces.peek().is_none(), &mut out);
        send(stream, &out).await?;
        out.clear();
    }
    send(stream, &out).await
}

async fn send(stream: &dyn ByteStream, bytes: &[u8]) -> io::Result<()> {
    let mut at = 0;
    timed(PATIENCE, poll_fn(|cx| poll_write_all(stream, cx, bytes, &mut at))).await
}

/// Closes our side and waits for the peer to close its own, so that what it has sent meanwhile does not turn
/// the answer into a reset.
async fn end(stream: &dyn ByteStream) -> io::Result<()> {
    poll_fn(|cx| stream.poll_shutdown(cx)).await?;
    let mut rest = Vec::new();
    timed(PATIENCE, async {
        loop {
            rest.clear();
            rest.reserve(4 << 10);
            if poll_fn(|cx| poll_read_vec(stream, cx, &mut rest)).await? == 0 {
                return Ok(());
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests;
