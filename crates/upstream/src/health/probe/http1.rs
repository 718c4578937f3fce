//! Checks over HTTP/1.1.

use super::{Exchanged, Gone, Judge, read, write};
use nuncio_codec::h1::{ClientCodec, ClientOptions, Event, HeaderCase};
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_net::stream::ByteStream;

/// A connection that carries one check after another.
pub(super) struct Http1 {
    stream: Box<dyn ByteStream>,
    codec: ClientCodec,
}

impl Http1 {
    pub(super) fn new(stream: Box<dyn ByteStream>) -> Self {
        Self { stream, codec: ClientCodec::new() }
    }

    pub(super) async fn exchange(
        &mut self,
        head: &RequestHead,
        body: &[u8],
        judge: &mut dyn Judge,
    ) -> Result<Exchanged, Gone> {
        let Self { stream, codec } = self;
        let mut out = Vec::new();
        codec.encode_head(HeaderCase::Lower, head, body.is_empty(), &mut out).map_err(|_| Gone)?;
        if !body.is_empty() {
            codec.encode_data(body, true, &mut out);
        }
        write(&**stream, &out).await?;
        let (mut head, mut trailers) = (ResponseHead::default(), HeaderMap::new());
        let (mut input, options) = (Vec::new(), ClientOptions::default());
        let verdict = loop {
            let decoded = codec.decode(&options, &input, &mut head, &mut trailers).map_err(|_| Gone)?;
            let verdict = match decoded.event {
                Event::More => None,
                Event::Head { end_stream } => judge.head(&head, end_stream),
                Event::Informational => {
                    head.clear();
                    None
                }
                Event::Data { at, end_stream } => judge.data(input.get(at).unwrap_or_default(), end_stream),
                Event::Trailers => judge.trailers(&trailers),
                Event::End => judge.data(&[], true),
            };
            input.drain(..decoded.consumed.min(input.len()));
            if let Some(verdict) = verdict {
                break verdict;
            }
            if decoded.consumed == 0 && read(&**stream, &mut input).await.is_err() {
                // An answer without a length ends with the connection.
                let Ok(Some(_)) = codec.eof() else { return Err(Gone) };
                break judge.data(&[], true).ok_or(Gone)?;
            }
        };
        Ok(Exchanged { verdict, stays: codec.reusable() && input.is_empty() })
    }

    /// Resolves when the connection cannot be used any more: between two checks nothing is to come.
    pub(super) async fn idle(&mut self) {
        // Bytes, the end, an error: whatever it is, nobody has asked for it.
        let _ = read(&*self.stream, &mut Vec::new()).await;
    }
}
