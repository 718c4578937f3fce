//! Checks over HTTP/2: one stream after another.

use super::{Exchanged, Gone, Judge, read, write};
use crate::health::dial::Dialer;
use crate::health::session::{FailureKind, Verdict};
use nuncio_codec::h2::{Codec, ErrorCode, Event, Incoming, Options, Side, StreamKey};
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_net::stream::ByteStream;

/// A connection that carries one check after another.
pub(crate) struct Http2<'a> {
    stream: Box<dyn ByteStream>,
    codec: Codec,
    dialer: &'a Dialer,
    input: Vec<u8>,
    /// The stream of the check that is under way.
    current: Option<StreamKey>,
    /// The host takes no further stream.
    leaving: bool,
    head: ResponseHead,
    trailers: HeaderMap,
}

/// Why nothing more comes of a stream.
enum Ended {
    /// It was reset.
    Stream,
    Connection,
}

impl<'a> Http2<'a> {
    pub(crate) fn new(stream: Box<dyn ByteStream>, dialer: &'a Dialer) -> Self {
        let codec = Codec::new(Side::Client, &dialer.cluster.config().http.h2, dialer.worker.now());
        Self {
            stream,
            codec,
            dialer,
            input: Vec::new(),
            current: None,
            leaving: false,
            head: ResponseHead::default(),
            trailers: HeaderMap::new(),
        }
    }

    fn options(&self) -> &'a Options {
        &self.dialer.cluster.config().http.h2
    }

    /// One stream, until there is a verdict or it ends.
    pub(crate) async fn exchange(
        &mut self,
        head: &RequestHead,
        body: &[u8],
        judge: &mut dyn Judge,
    ) -> Result<Exchanged, Gone> {
        let now = self.dialer.worker.now();
        let key = self.codec.open(now, head, body.is_empty()).map_err(|_| Gone)?;
        self.current = Some(key);
        if !body.is_empty() {
            self.codec.encode_data(key, body, true);
        }
        match self.drive(Some(judge)).await {
            Ok(verdict) => {
                self.finish();
                Ok(Exchanged { verdict, stays: !self.leaving })
            }
            Err(Ended::Stream) => {
                self.finish();
                let verdict = Verdict::failed(FailureKind::Network);
                Ok(Exchanged { verdict, stays: !self.leaving })
            }
            Err(Ended::Connection) => Err(Gone),
        }
    }

    /// Gives the stream up that is under way; whether the connection serves another one.
    pub(super) fn reset(&mut self) -> bool {
        self.finish();
        !self.leaving
    }

    /// The stream is done with: a host that has more to say about it is told not to.
    fn finish(&mut self) {
        if let Some(key) = self.current.take() {
            self.codec.finish(key, Some(ErrorCode::CANCEL));
        }
    }

    /// Resolves when the connection cannot be used any more.
    pub(super) async fn idle(&mut self) {
        // It answers pings and settings meanwhile.
        let _ = self.drive(None).await;
    }

    /// Reads and writes until there is a verdict, or nothing more to wait for. Without a judge that is the end of the
    /// connection alone.
    async fn drive(&mut self, mut judge: Option<&mut dyn Judge>) -> Result<Verdict, Ended> {
        loop {
            self.flush().await.map_err(|Gone| Ended::Connection)?;
            if let Some(verdict) = self.decode(&mut judge)? {
                return Ok(verdict);
            }
            if !self.codec.unsent().is_empty() {
                continue;
            }
            read(&*self.stream, &mut self.input).await.map_err(|Gone| Ended::Connection)?;
        }
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        loop {
            self.codec.fill();
            let n = self.codec.unsent().len();
            if n == 0 {
                return Ok(());
            }
            write(&*self.stream, self.codec.unsent()).await?;
            self.codec.sent(n);
        }
    }

    /// Takes apart what has come.
    fn decode(&mut self, judge: &mut Option<&mut dyn Judge>) -> Result<Option<Verdict>, Ended> {
        loop {
            let (now, options) = (self.dialer.worker.now(), self.options());
            let into = Incoming::Response(&mut self.head);
            let decoded = self.codec.decode(now, options, &self.input, into, &mut self.trailers);
            self.dialer.http2_stats().add(self.codec.take_counters());
            let decoded = decoded.map_err(|_| Ended::Connection)?;
            let more = decoded.event == Event::More;
            let verdict = self.take(decoded.event, judge);
            self.input.drain(..decoded.consumed.min(self.input.len()));
            match verdict? {
                Some(verdict) => return Ok(Some(verdict)),
                None if more => return Ok(None),
                None => {}
            }
        }
    }

    fn take(&mut self, event: Event, judge: &mut Option<&mut dyn Judge>) -> Result<Option<Verdict>, Ended> {
        let ours = |stream: StreamKey| self.current == Some(stream);
        let verdict = match (event, judge) {
            (Event::Head { stream, end_stream }, Some(judge)) if ours(stream) => {
                judge.head(&self.head, end_stream)
            }
            (Event::Data { stream, at, end_stream }, judge) => {
                let data = self.input.get(at).unwrap_or_default();
                let verdict = match judge {
                    Some(judge) if ours(stream) => judge.data(data, end_stream),
                    _ => None,
                };
                let n = data.len();
                self.codec.consumed(stream, n);
                verdict
            }
            (Event::Trailers { stream }, Some(judge)) if ours(stream) => judge.trailers(&self.trailers),
            (Event::Reset { stream, .. } | Event::Failed { stream, .. }, _) if ours(stream) => {
                return Err(Ended::Stream);
            }
            (Event::GoAway { last, code }, judge) => {
                self.leaving = true;
                // One that is under way may end, if the host has nothing to complain of and looks at it at all.
                let goes_on = code == ErrorCode::NO_ERROR && self.current.is_some_and(|key| key.id() <= last);
                if judge.is_none() || !goes_on {
                    return Err(Ended::Connection);
                }
                None
            }
            _ => None,
        };
        Ok(verdict)
    }
}
