//! The client side: one upstream connection.

use super::body::{self, BodyDecoder, BodyEncoder, BodyStep, Chunk, ChunkPrefix, Trailers};
use super::connection::{has_token, is_upgrade, remove_h2c};
use super::error::{EncodeError, ResponseError};
use super::options::ClientOptions;
use super::status_line::{self, StatusLine};
use super::{Decoded, Event, HeaderCase, encode, fields};
use crate::head::{HeaderMap, Known, RequestHead, ResponseHead, Spelling, Version};
use crate::scan;

/// Where the response of the exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    /// No request is out: nothing may come.
    Nothing,
    /// Before the end of a head, of which so many bytes have been looked at.
    Head { scanned: u32, line: Line },
    /// In the body.
    Body(BodyDecoder),
    /// All bytes are the tunnel's: no message, and with no end.
    Tunnel,
    /// Complete.
    Complete,
    /// After an error, or after bytes that belong to no response.
    Failed,
}

/// Whether the first line of an incomplete head was found good already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Unseen,
    Good,
}

/// Where the request of the exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Send {
    Nothing,
    Body(BodyEncoder),
    Complete,
}

/// What the decoder must know of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Plain,
    Head,
    Connect,
    Upgrade,
}

/// What becomes of the connection after the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    KeepAlive,
    Close,
    /// The response's head says that the server closes.
    CloseAnnounced,
}

/// How the target of requests is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Origin,
    Absolute,
}

/// The HTTP/1 state of one upstream connection: one exchange after another.
#[derive(Debug)]
pub struct ClientCodec {
    receive: Receive,
    send: Send,
    asked: Asked,
    after: After,
    target: Target,
    case: HeaderCase,
}

impl Default for ClientCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientCodec {
    /// The state of a fresh connection.
    pub fn new() -> Self {
        Self {
            receive: Receive::Nothing,
            send: Send::Nothing,
            asked: Asked::Plain,
            after: After::KeepAlive,
            target: Target::Origin,
            case: HeaderCase::Lower,
        }
    }

    /// Requests on this connection have absolute targets, as a forward proxy wants them
    /// (`send_fully_qualified_url`).
    pub fn set_fully_qualified_url(&mut self) {
        self.target = Target::Absolute;
    }

    /// Writes a request head: the request line from `:method` and `:path`, `host` from `:authority`, then the
    /// headers. Without Content-Length and `end_stream` the body is chunked. Begins a new exchange.
    pub fn encode_head(
        &mut self,
        case: HeaderCase,
        head: &RequestHead,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        match self.write_head(case, head, end_stream, out) {
            Ok((asked, framing)) => {
                self.asked = asked;
                self.case = case;
                self.send = if end_stream { Send::Complete } else { Send::Body(framing) };
                self.receive = Receive::Head { scanned: 0, line: Line::Unseen };
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    fn write_head(
        &self,
        case: HeaderCase,
        head: &RequestHead,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(Asked, BodyEncoder), EncodeError> {
        let map = &head.headers;
        let method = head.method();
        let asked = match method {
            b"HEAD" => Asked::Head,
            b"CONNECT" => Asked::Connect,
            _ if is_upgrade(map) => Asked::Upgrade,
            _ => Asked::Plain,
        };
        // Copies of a length known beforehand are no calls.
        match method {
            b"GET" => out.extend_from_slice(b"GET "),
            b"POST" => out.extend_from_slice(b"POST "),
            _ if scan::is_name(method) => {
                out.extend_from_slice(method);
                out.extend_from_slice(b" ");
            }
            _ => return Err(EncodeError::Method),
        }
        self.write_target(head, asked, out)?;
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let host = if map.contains(Known::Authority) { Known::Authority } else { Known::Host };
        let fields_at = out.len();
        encode::fields(map, host, encode::NOT_IN_REQUESTS, out)?;
        let length = body::content_length(map).map_err(|_| EncodeError::ContentLength)?;
        let framing = match length {
            _ if matches!(asked, Asked::Connect | Asked::Upgrade) => BodyEncoder::UntilClose,
            Some(length) => BodyEncoder::Length(length),
            None if !end_stream => {
                encode::field("transfer-encoding", b"chunked", out);
                BodyEncoder::Chunked
            }
            None => {
                if !matches!(method, b"GET" | b"HEAD" | b"DELETE" | b"TRACE" | b"CONNECT") {
                    encode::field("content-length", b"0", out);
                }
                BodyEncoder::None
            }
        };
        encode::spell(out.get_mut(fields_at..).unwrap_or_default(), head.spelling.as_deref(), case);
        out.extend_from_slice(b"\r\n");
        Ok((asked, framing))
    }

    fn write_target(&self, head: &RequestHead, asked: Asked, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if asked == Asked::Connect {
            return write_authority(head, out);
        }
        let path = head.headers.word(Known::Path).ok_or(EncodeError::Path)?;
        if self.target == Target::Absolute {
            out.extend_from_slice(match head.scheme() {
                b"https" => b"https://",
                _ => b"http://",
            });
            // An empty one stays empty, as in Envoy.
            if !head.authority().is_empty() {
                write_authority(head, out)?;
            }
        }
        out.extend_from_slice(path);
        Ok(())
    }

    /// Writes a piece of the body with its framing. Bytes beyond what the head announced are left out; then, and
    /// when fewer were written at the end, the connection is [`poisoned`](Self::poisoned).
    pub fn encode_data(&mut self, data: &[u8], end_stream: bool, out: &mut Vec<u8>) {
        let Send::Body(framing) = &mut self.send else { return };
        if framing.encode(data, end_stream, out).is_err() {
            self.fail();
        } else if end_stream {
            self.send = Send::Complete;
        }
    }

    /// What to write before and behind a piece of `len` bytes that the caller writes itself. The caller must
    /// write no more than [`room`](Self::room) bytes of body.
    pub fn data_framing(&mut self, len: usize, end_stream: bool) -> (ChunkPrefix, &'static [u8]) {
        let Send::Body(framing) = &mut self.send else { return (ChunkPrefix::default(), b"") };
        let (prefix, suffix, outcome) = framing.frame(len, end_stream);
        if outcome.is_err() {
            self.fail();
        } else if end_stream {
            self.send = Send::Complete;
        }
        (prefix, suffix)
    }

    /// The connection takes no other request, whether the server said so or not.
    fn ends_here(&mut self) {
        if self.after == After::KeepAlive {
            self.after = After::Close;
        }
    }

    fn fail(&mut self) {
        self.send = Send::Complete;
        self.receive = Receive::Failed;
        self.after = After::Close;
    }

    /// How many bytes of body may still be written: 0 where there is no body, all of 64 bits where the length
    /// was not announced.
    pub fn room(&self) -> u64 {
        match self.send {
            Send::Body(BodyEncoder::Length(left)) => left,
            Send::Body(BodyEncoder::Chunked | BodyEncoder::UntilClose) => u64::MAX,
            Send::Body(BodyEncoder::None) | Send::Nothing | Send::Complete => 0,
        }
    }

    /// Ends the body with trailers; where it is not chunked they are left out. Call it only where trailers are
    /// enabled, else end with [`encode_data`](Self::encode_data).
    pub fn encode_trailers(&mut self, trailers: &HeaderMap, out: &mut Vec<u8>) {
        let Send::Body(framing) = &mut self.send else { return };
        match framing.finish(trailers, self.case, out) {
            Ok(()) => self.send = Send::Complete,
            Err(_) => self.fail(),
        }
    }

    /// Decodes at most one event from `input`: the bytes that arrived and are not consumed yet. Bytes that
    /// belong to no response make an error, or, behind a complete one, a connection that is not
    /// [`reusable`](Self::reusable).
    pub fn decode(
        &mut self,
        options: &ClientOptions,
        input: &[u8],
        head: &mut ResponseHead,
        trailers: &mut HeaderMap,
    ) -> Result<Decoded, ResponseError> {
        let decoded = match self.receive {
            Receive::Head { scanned, line } => self.decode_head(options, scanned, line, input, head),
            Receive::Body(decoder) => {
                let trailers = Trailers { map: trailers, enabled: options.enable_trailers };
                match decoder.decode(input, options.rules(), trailers) {
                    Ok((decoded, step)) => {
                        self.receive = match step {
                            BodyStep::Body(decoder) => Receive::Body(decoder),
                            BodyStep::Complete => Receive::Complete,
                        };
                        Ok(decoded)
                    }
                    Err(error) => Err(error.into()),
                }
            }
            _ if input.is_empty() => Ok(Decoded::more(0)),
            Receive::Tunnel => {
                let event = Event::Data { at: 0..input.len(), end_stream: false };
                Ok(Decoded { consumed: input.len(), event })
            }
            Receive::Nothing => Err(ResponseError::Unsolicited),
            Receive::Complete | Receive::Failed => {
                self.after = After::Close;
                Ok(Decoded::more(input.len()))
            }
        };
        match &decoded {
            Ok(decoded) if self.receive == Receive::Complete && decoded.consumed < input.len() => {
                self.ends_here();
            }
            Ok(_) => {}
            Err(_) => self.fail(),
        }
        decoded
    }

    fn decode_head(
        &mut self,
        o: &ClientOptions,
        scanned: u32,
        line: Line,
        input: &[u8],
        head: &mut ResponseHead,
    ) -> Result<Decoded, ResponseError> {
        match input.first() {
            None => return Ok(Decoded::more(0)),
            Some(b'H') => {}
            Some(_) => return Err(ResponseError::StatusLine),
        }
        if scanned == 0
            && let Some((line, len)) = plain_head(o, input, head)
        {
            let event = self.take_head(o, line, &mut head.headers)?;
            return Ok(Decoded { consumed: len, event });
        }
        let most = o.limits.max_head_bytes as usize;
        let end = scan::head_end(input, scanned as usize);
        if let Err(now) = end {
            let rest = input.get(scanned as usize..).unwrap_or_default();
            let mut line = line;
            if line == Line::Unseen && rest.contains(&b'\n') {
                status_line::parse(input, most)?;
                line = Line::Good;
            }
            if input.len() > most {
                return Err(ResponseError::HeadersTooLarge);
            }
            self.receive = Receive::Head { scanned: now as u32, line };
            return Ok(Decoded::more(0));
        }
        let end = end.unwrap_or(input.len());
        let bytes = input.get(..end).unwrap_or_default();
        let (line, line_len) = status_line::parse(bytes, most)?;
        if end > most {
            return Err(ResponseError::HeadersTooLarge);
        }
        head.clear();
        head.status = line.status;
        head.version = if line.http_11 { Version::Http11 } else { Version::Http10 };
        let block = body::field_lines(bytes.get(line_len..).unwrap_or_default());
        fields::parse(block, o.rules(), &mut head.headers)?;
        if let Some(keep) = o.preserve_case {
            let reason = status_line::reason(bytes.get(..line_len).unwrap_or_default());
            head.spelling = Some(Box::new(Spelling::of(block, reason, keep)));
        }
        let event = self.take_head(o, line, &mut head.headers)?;
        Ok(Decoded { consumed: end, event })
    }

    /// Decides what follows the head.
    fn take_head(
        &mut self,
        o: &ClientOptions,
        line: StatusLine,
        map: &mut HeaderMap,
    ) -> Result<Event, ResponseError> {
        let status = line.status;
        let length = body::content_length(map).map_err(|_| ResponseError::ContentLength)?;
        if self.asked == Asked::Connect && status / 100 == 2 {
            // RFC 9110 section 9.3.6: lengths in it mean nothing.
            self.after = After::Close;
            self.receive = Receive::Tunnel;
            return Ok(Event::Head { end_stream: false });
        }
        let chunked = take_coding(o, length, map)?;
        if status < 200 || status == 204 {
            if chunked {
                return Err(ResponseError::TransferEncodingNotAllowed);
            }
            if length.is_some_and(|length| length != 0) {
                return Err(ResponseError::ContentLengthNotAllowed);
            }
            map.remove(Known::ContentLength);
        }
        if status < 200 && status != 101 {
            self.receive = Receive::Head { scanned: 0, line: Line::Unseen };
            return Ok(Event::Informational);
        }
        let (keep, close) = match map.get(Known::Connection) {
            None => (false, false),
            Some(b"keep-alive" | b"Keep-Alive") => (true, false),
            Some(value) => (has_token(value, b"keep-alive"), has_token(value, b"close")),
        };
        let close = close || map.get(Known::ProxyConnection).is_some_and(|v| has_token(v, b"close"));
        if close || !(line.http_11 || keep) {
            self.after = After::CloseAnnounced;
        } else if status == 101 {
            self.after = After::Close;
        }
        // As in Envoy, an answer to an upgrade that names one is a tunnel whatever its status: lengths and codings are
        // for show.
        let says_upgrade = self.asked == Asked::Upgrade && is_upgrade(map) && !remove_h2c(map);
        self.receive = if says_upgrade {
            self.ends_here();
            Receive::Tunnel
        } else if self.asked == Asked::Head || matches!(status, 101 | 204 | 304) {
            Receive::Complete
        } else if chunked {
            Receive::Body(BodyDecoder::Chunked(Chunk::START))
        } else {
            match length {
                Some(0) => Receive::Complete,
                Some(left) => Receive::Body(BodyDecoder::Length(left)),
                None => {
                    self.ends_here();
                    Receive::Body(BodyDecoder::UntilClose)
                }
            }
        };
        Ok(Event::Head { end_stream: self.receive == Receive::Complete })
    }

    /// The upstream has closed its side. Ends a body that only that can end; anything else that is incomplete
    /// is an error.
    pub fn eof(&mut self) -> Result<Option<Event>, ResponseError> {
        self.after = After::Close;
        match self.receive {
            Receive::Tunnel | Receive::Body(BodyDecoder::UntilClose) => {
                self.receive = Receive::Complete;
                Ok(Some(Event::End))
            }
            Receive::Head { .. } | Receive::Body(_) => {
                self.fail();
                Err(ResponseError::Premature)
            }
            Receive::Nothing | Receive::Complete | Receive::Failed => Ok(None),
        }
    }

    /// Whether the connection may carry another request: both messages complete, kept alive by both sides, and
    /// nothing left over.
    pub fn reusable(&self) -> bool {
        self.after == After::KeepAlive
            && matches!(
                (self.receive, self.send),
                (Receive::Complete, Send::Complete) | (Receive::Nothing, Send::Nothing)
            )
    }

    /// Whether the response's head said that the server closes the connection; ask when the head has come.
    pub fn close_announced(&self) -> bool {
        self.after == After::CloseAnnounced
    }

    /// Whether what was written is not a whole message, or what was read not one: the connection must be closed
    /// at once.
    pub fn poisoned(&self) -> bool {
        self.receive == Receive::Failed
    }

    /// Whether the request was written to its end.
    pub fn request_complete(&self) -> bool {
        self.send == Send::Complete
    }

    /// Whether the response has arrived to its end.
    pub fn response_complete(&self) -> bool {
        self.receive == Receive::Complete
    }

    /// Whether all bytes are the tunnel's: after an answer to an upgrade that says `upgrade`, or a 2xx to CONNECT.
    pub fn upgraded(&self) -> bool {
        self.receive == Receive::Tunnel
    }

    /// Whether the tunnel is one that CONNECT asked for.
    pub fn connected(&self) -> bool {
        self.upgraded() && self.asked == Asked::Connect
    }
}

fn write_authority(head: &RequestHead, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let authority = head.authority();
    if !scan::is_word(authority) {
        return Err(EncodeError::Authority);
    }
    out.extend_from_slice(authority);
    Ok(())
}

/// Fills in `head` from a head of the common form that is there as a whole; its first line and its length, or
/// `None`: what `head` holds then means nothing, and the general way must be taken.
#[inline]
fn plain_head(o: &ClientOptions, input: &[u8], head: &mut ResponseHead) -> Option<(StatusLine, usize)> {
    let rules = o.rules();
    if input.len() > fields::PLAIN_INPUT
        || input.len() > o.limits.max_head_bytes as usize
        || !rules.are_plain()
    {
        return None;
    }
    let (line, line_len) = status_line::plain(input)?;
    head.clear();
    head.status = line.status;
    let fields = input.get(line_len..)?;
    let at = head.headers.load(fields);
    let len = fields::parse_plain(&mut head.headers, at, fields.len(), rules)?;
    Some((line, line_len + len))
}

/// Whether the body is chunked; any other coding, and both lengths at once, are errors.
fn take_coding(o: &ClientOptions, length: Option<u64>, map: &mut HeaderMap) -> Result<bool, ResponseError> {
    let Some(coding) = map.get(Known::TransferEncoding) else { return Ok(false) };
    let chunked = coding.eq_ignore_ascii_case(b"chunked");
    if length.is_some() && !(chunked && o.allow_chunked_length) {
        return Err(ResponseError::ContentLengthAndChunked);
    }
    if !chunked {
        return Err(ResponseError::TransferEncoding);
    }
    map.remove(Known::ContentLength);
    Ok(true)
}
