//! The server side: one downstream connection.

use super::body::{self, BodyDecoder, BodyEncoder, BodyStep, Chunk, ChunkPrefix, Trailers};
use super::connection::{self, has_token, is_upgrade};
use super::error::{EncodeError, RequestError};
use super::options::{IgnoredUpgrades, ServerOptions};
use super::request_head::{content_length, first_line, plain_head, take_target};
use super::request_line::{LineVersion, RequestLine};
use super::{Decoded, Event, HeaderCase, encode, fields};
use crate::head::{HeaderMap, Known, KnownSet, RequestHead, ResponseHead, Spelling, Version};
use crate::scan;

/// Where the request of the exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    /// Before the end of the head, of which so many bytes have been looked at; whether its first line was judged.
    Head { scanned: u32, line: Line },
    /// In the body.
    Body(BodyDecoder),
    /// A tunnel or an upgrade was asked for: nothing more is read until it is granted or refused.
    Paused,
    /// Complete.
    Complete,
    /// After an error: nothing more is read.
    Failed,
}

/// Whether the first line of an incomplete head was judged already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Unseen,
    Good,
}

/// Where the response of the exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Send {
    Nothing,
    Body(BodyEncoder),
    Complete,
}

/// What the response must know of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Any other method.
    Plain,
    /// HEAD: no body comes.
    Head,
    /// CONNECT: a 2xx opens a tunnel.
    Connect,
}

/// What becomes of the connection after the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// It goes on.
    KeepAlive,
    /// It goes on, and an HTTP/1.0 client must be told so.
    KeepAlive10,
    /// It ends.
    Close,
}

/// The HTTP/1 state of one downstream connection: one exchange after another, in order.
///
/// Requests that arrive early wait: [`decode`](Self::decode) answers [`Event::More`] without consuming them
/// until the response to the one before is complete.
#[derive(Debug)]
pub struct ServerCodec {
    receive: Receive,
    send: Send,
    asked: Asked,
    after: After,
    version: Version,
    case: HeaderCase,
}

impl Default for ServerCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerCodec {
    /// The state of a fresh connection.
    pub fn new() -> Self {
        Self {
            receive: Receive::Head { scanned: 0, line: Line::Unseen },
            send: Send::Nothing,
            asked: Asked::Plain,
            after: After::KeepAlive,
            version: Version::Http11,
            case: HeaderCase::Lower,
        }
    }

    /// Decodes at most one event from `input`: the bytes that arrived and are not consumed yet.
    ///
    /// `head` and `trailers` are filled in, in place of what they held, before [`Event::Head`] and
    /// [`Event::Trailers`]. An absent Host leaves `:authority` absent; `:scheme` is set for absolute targets
    /// only. After an error the connection can still carry one response, and must end then.
    pub fn decode(
        &mut self,
        options: &ServerOptions,
        input: &[u8],
        head: &mut RequestHead,
        trailers: &mut HeaderMap,
    ) -> Result<Decoded, RequestError> {
        if self.receive == Receive::Complete && self.send == Send::Complete {
            if self.after == After::Close {
                // Nothing that comes after the last exchange is a request.
                return Ok(Decoded::more(input.len()));
            }
            *self = Self::new();
        }
        let decoded = match self.receive {
            Receive::Head { scanned, line } => {
                let decoded = self.decode_head(options, scanned, line, input, head);
                if decoded.is_err() {
                    // As Envoy, which answers a head that fails without regard to its method.
                    self.asked = Asked::Plain;
                }
                decoded
            }
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
            Receive::Failed => Ok(Decoded::more(input.len())),
            Receive::Paused | Receive::Complete => Ok(Decoded::more(0)),
        };
        if decoded.is_err() {
            self.receive = Receive::Failed;
            self.after = After::Close;
        }
        decoded
    }

    fn decode_head(
        &mut self,
        o: &ServerOptions,
        scanned: u32,
        line: Line,
        input: &[u8],
        head: &mut RequestHead,
    ) -> Result<Decoded, RequestError> {
        if scanned == 0
            && let Some(len) = plain_head(o, input, head)
        {
            let asked = if head.method() == b"HEAD" { Asked::Head } else { Asked::Plain };
            let end_stream = self.conclude(o, asked, None, b"", head)?;
            return Ok(Decoded { consumed: len, event: Event::Head { end_stream } });
        }
        let skipped =
            if scanned == 0 { input.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count() } else { 0 };
        let bytes = input.get(skipped..).unwrap_or_default();
        let Some(&first) = bytes.first() else { return Ok(Decoded::more(skipped)) };
        // Anything else is judged with its line.
        if first <= b' ' {
            return Err(RequestError::Method);
        }
        let end = scan::head_end(bytes, scanned as usize);
        let (line, line_len) = match (end, line) {
            (Err(now), Line::Good) => return self.await_head(o, bytes.len(), now, Line::Good, skipped),
            (Err(now), Line::Unseen) => {
                let seen = bytes.get(scanned as usize..).unwrap_or_default().contains(&b'\n');
                match if seen { first_line(o, bytes)? } else { None } {
                    Some(found) if found.0.version == LineVersion::Absent => found,
                    _ => {
                        let line = if seen { Line::Good } else { Line::Unseen };
                        return self.await_head(o, bytes.len(), now, line, skipped);
                    }
                }
            }
            (Ok(end), _) => match first_line(o, bytes)? {
                Some(found) => found,
                None if end > o.limits.max_head_bytes as usize => return Err(RequestError::HeadersTooLarge),
                None => return Err(RequestError::HeaderValue),
            },
        };
        let end = match line.version {
            LineVersion::Absent => line_len,
            _ => end.unwrap_or(line_len),
        };
        if end > o.limits.max_head_bytes as usize {
            return Err(RequestError::HeadersTooLarge);
        }
        let block = body::field_lines(bytes.get(line_len..end).unwrap_or_default());
        let end_stream = self.take_head(o, line, block, head)?;
        if let Some(keep) = o.preserve_case {
            head.spelling = Some(Box::new(Spelling::of(block, b"", keep)));
        }
        Ok(Decoded { consumed: skipped + end, event: Event::Head { end_stream } })
    }

    /// The head is not complete: remembers how much of it was looked at.
    fn await_head(
        &mut self,
        o: &ServerOptions,
        len: usize,
        scanned: usize,
        line: Line,
        skipped: usize,
    ) -> Result<Decoded, RequestError> {
        if len > o.limits.max_head_bytes as usize {
            return Err(RequestError::HeadersTooLarge);
        }
        self.receive = Receive::Head { scanned: scanned as u32, line };
        Ok(Decoded::more(skipped))
    }

    /// Fills in `head` and sets the state; whether no body follows.
    fn take_head(
        &mut self,
        o: &ServerOptions,
        line: RequestLine<'_>,
        block: &[u8],
        head: &mut RequestHead,
    ) -> Result<bool, RequestError> {
        head.clear();
        let map = &mut head.headers;
        map.append(Known::Method, line.method);
        let asked = match line.method {
            b"HEAD" => Asked::Head,
            b"CONNECT" => Asked::Connect,
            _ => Asked::Plain,
        };
        let plain_target = line.target.first() == Some(&b'/') && asked != Asked::Connect;
        if plain_target {
            map.append(Known::Path, line.target);
        }
        fields::parse(block, o.rules(), map)?;
        self.conclude(
            o,
            asked,
            (!plain_target || line.version != LineVersion::Http11).then_some(line),
            block,
            head,
        )
    }

    /// Checks the fields and sets the state; whether no body follows. `line`: the first line, if its target or its
    /// version need a closer look; `block`: where to look for what spoils the head.
    fn conclude(
        &mut self,
        o: &ServerOptions,
        asked: Asked,
        line: Option<RequestLine<'_>>,
        block: &[u8],
        head: &mut RequestHead,
    ) -> Result<bool, RequestError> {
        self.asked = asked;
        let length = match content_length(&head.headers, block) {
            // It is going to be removed unread.
            Err(_) if o.allow_chunked_length && is_chunked(&head.headers) => Some(0),
            length => length?,
        };
        let old = line.is_some_and(|line| line.version != LineVersion::Http11);
        if old && o.accept_http_10 {
            self.take_old_version(o, head);
        }
        let map = &mut head.headers;
        let connection = map.get(Known::Connection);
        let odd_connection = !matches!(connection, None | Some(b"keep-alive" | b"Keep-Alive"));
        self.receive = if odd_connection || map.contains_any(SPECIAL) || asked == Asked::Connect {
            self.take_special(o, length, map)?
        } else {
            Receive::Complete
        };
        if let Some(line) = line
            && (line.target.first() != Some(&b'/') || asked == Asked::Connect)
        {
            take_target(o, line, map)?;
        }
        if old && !o.accept_http_10 {
            return Err(RequestError::LowVersion);
        }
        if map.get(Known::Authority).is_some_and(|host| !scan::is_authority(host)) {
            return Err(RequestError::Authority);
        }
        Ok(self.receive == Receive::Complete)
    }

    /// HTTP/1.0 and below, where it is served: without keep-alive and with a host of last resort.
    #[cold]
    fn take_old_version(&mut self, o: &ServerOptions, head: &mut RequestHead) {
        self.version = Version::Http10;
        head.version = Version::Http10;
        let map = &mut head.headers;
        let keep = map.get_all(Known::Connection).any(|v| has_token(v, b"keep-alive"));
        self.after = match self.after {
            After::KeepAlive if keep => After::KeepAlive10,
            _ => After::Close,
        };
        if let (Some(host), false) = (&o.default_host_for_http_10, map.contains(Known::Authority)) {
            map.append(Known::Authority, host.as_bytes());
        }
    }

    /// The headers that say how long the body is and how the connection goes on; what follows the head.
    fn take_special(
        &mut self,
        o: &ServerOptions,
        length: Option<u64>,
        map: &mut HeaderMap,
    ) -> Result<Receive, RequestError> {
        let http_11 = self.version == Version::Http11;
        if (http_11 && map.get(Known::Connection).is_some_and(|v| has_token(v, b"close")))
            || map.get(Known::ProxyConnection).is_some_and(|v| has_token(v, b"close"))
        {
            self.after = After::Close;
        }
        let connect = self.asked == Asked::Connect;
        if let Some(IgnoredUpgrades(is_ignored)) = &o.ignored_upgrades
            && map.contains(Known::Upgrade)
        {
            connection::remove_upgrades(map, &**is_ignored);
        }
        let upgrade = is_upgrade(map) && !connection::remove_h2c(map);
        if connect && length.is_some() {
            if length != Some(0) {
                return Err(RequestError::BodyDisallowed);
            }
            map.remove(Known::ContentLength);
        }
        let body = match map.get(Known::TransferEncoding) {
            None => match length {
                None | Some(0) => Receive::Complete,
                Some(left) => Receive::Body(BodyDecoder::Length(left)),
            },
            Some(_) => {
                let chunked = is_chunked(map);
                if map.contains(Known::ContentLength) && !(chunked && o.allow_chunked_length) {
                    return Err(RequestError::ContentLengthAndChunked);
                }
                if !chunked || connect {
                    return Err(RequestError::TransferEncoding);
                }
                map.remove(Known::ContentLength);
                if !http_11 {
                    // RFC 9112 section 6.1: an HTTP/1.0 sender that names a coding may have been misunderstood by
                    // whoever stands between, so that nothing behind this message can be trusted.
                    self.after = After::Close;
                }
                Receive::Body(BodyDecoder::Chunked(Chunk::START))
            }
        };
        if !upgrade {
            // As Envoy, which sends such a head on as it came.
            connection::remove_nominated(map)?;
        }
        Ok(if connect || upgrade { Receive::Paused } else { body })
    }

    /// Writes the head of the final response, and decides how its body is framed: by the head's Content-Length;
    /// by none where the response has no body (HEAD, 1xx, 204, 304); else by `content-length: 0` or chunks; or
    /// by the connection's end (HTTP/1.0). With a 101, or a 2xx to CONNECT, all bytes are the tunnel's from then on, in
    /// both directions; an answer to an upgrade that refuses it and says `upgrade` all the same has a body without
    /// framing, as in Envoy. `connection: close` is added when the connection will end.
    pub fn encode_head(
        &mut self,
        case: HeaderCase,
        head: &ResponseHead,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        match self.write_head(case, head, end_stream, out) {
            Ok(framing) => {
                if self.awaits_tunnel() && self.switches(head) {
                    self.receive = Receive::Body(BodyDecoder::UntilClose);
                    self.after = After::Close;
                }
                self.case = case;
                self.send = if end_stream { Send::Complete } else { Send::Body(framing) };
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    /// Whether a response turns the connection into a tunnel.
    fn switches(&self, head: &ResponseHead) -> bool {
        match self.asked {
            Asked::Connect => head.status / 100 == 2,
            _ => head.status == 101 && is_upgrade(&head.headers),
        }
    }

    /// Whether a response names an upgrade, to a request other than CONNECT.
    fn says_upgrade(&self, head: &ResponseHead) -> bool {
        self.asked != Asked::Connect && is_upgrade(&head.headers)
    }

    fn write_head(
        &mut self,
        case: HeaderCase,
        head: &ResponseHead,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<BodyEncoder, EncodeError> {
        let length = body::content_length(&head.headers).map_err(|_| EncodeError::ContentLength)?;
        let switching = self.switches(head);
        if !matches!(self.receive, Receive::Complete) && !switching {
            self.after = After::Close;
        }
        if length.is_none() && self.version == Version::Http10 {
            self.after = After::Close;
        }
        let raw = switching || (self.receive == Receive::Paused && self.says_upgrade(head));
        let bodiless = self.asked == Asked::Head || head.status < 200 || matches!(head.status, 204 | 304);
        let framing = match length {
            _ if raw => BodyEncoder::UntilClose,
            _ if bodiless => BodyEncoder::None,
            Some(length) => BodyEncoder::Length(length),
            None if end_stream => BodyEncoder::None,
            None if self.version == Version::Http10 => BodyEncoder::UntilClose,
            None => BodyEncoder::Chunked,
        };
        let spelling = head.spelling.as_deref();
        status_line(self.version, head.status, spelling.and_then(Spelling::reason), out)?;
        let fields_at = out.len();
        encode::fields(&head.headers, Known::Other, encode::NOT_IN_RESPONSES, out)?;
        if let Some(value) = self.connection_header().filter(|_| !switching)
            && !head.headers.contains(Known::Connection)
        {
            encode::field("connection", value, out);
        }
        if length.is_none() && head.status >= 200 && !matches!(head.status, 204 | 304) && !switching {
            if end_stream && self.asked != Asked::Head {
                encode::field("content-length", b"0", out);
            } else if self.version == Version::Http11 {
                encode::field("transfer-encoding", b"chunked", out);
            }
        }
        encode::spell(out.get_mut(fields_at..).unwrap_or_default(), spelling, case);
        out.extend_from_slice(b"\r\n");
        Ok(framing)
    }

    /// What the final response says of the connection, where it says something.
    pub fn connection_header(&self) -> Option<&'static [u8]> {
        match self.after {
            After::KeepAlive => None,
            After::KeepAlive10 => Some(b"keep-alive"),
            After::Close => Some(b"close"),
        }
    }

    /// Writes a 1xx that is not the final response (100, 102, 103). Nothing is written once the final response
    /// has begun, or for a head that must not be written. An HTTP/1.0 client gets no other than the 100 that it
    /// asks for, as Envoy gives it.
    pub fn encode_informational(&mut self, case: HeaderCase, head: &ResponseHead, out: &mut Vec<u8>) {
        let start = out.len();
        let old = self.version != Version::Http11 && head.status != 100;
        if self.send != Send::Nothing || old || head.status / 100 != 1 {
            return;
        }
        let written = status_line(self.version, head.status, None, out).and_then(|()| {
            let fields_at = out.len();
            encode::fields(&head.headers, Known::Other, encode::NOT_IN_RESPONSES, out)?;
            encode::spell(out.get_mut(fields_at..).unwrap_or_default(), head.spelling.as_deref(), case);
            out.extend_from_slice(b"\r\n");
            Ok(())
        });
        if written.is_err() {
            out.truncate(start);
        }
    }

    /// Writes a piece of the body with its framing. Bytes beyond what the head announced are left out; then, and
    /// when fewer were written at the end, the connection will not be kept.
    pub fn encode_data(&mut self, data: &[u8], end_stream: bool, out: &mut Vec<u8>) {
        let Send::Body(framing) = &mut self.send else { return };
        if framing.encode(data, end_stream, out).is_err() {
            self.after = After::Close;
        }
        if end_stream {
            self.send = Send::Complete;
        }
    }

    /// What to write before and behind a piece of `len` bytes that the caller writes itself. The caller must
    /// write no more than [`room`](Self::room) bytes of body.
    pub fn data_framing(&mut self, len: usize, end_stream: bool) -> (ChunkPrefix, &'static [u8]) {
        let Send::Body(framing) = &mut self.send else { return (ChunkPrefix::default(), b"") };
        let (prefix, suffix, outcome) = framing.frame(len, end_stream);
        if outcome.is_err() {
            self.after = After::Close;
        }
        if end_stream {
            self.send = Send::Complete;
        }
        (prefix, suffix)
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
        if framing.finish(trailers, self.case, out).is_err() {
            self.after = After::Close;
        }
        self.send = Send::Complete;
    }

    /// The connection ends after this exchange; the response says so if its head is not written yet.
    pub fn set_close(&mut self) {
        self.after = After::Close;
    }

    /// Whether, the exchange being over, the connection may carry another.
    pub fn keep_alive(&self) -> bool {
        self.after != After::Close && self.request_complete() && self.response_complete()
    }

    /// Whether the request has arrived to its end.
    pub fn request_complete(&self) -> bool {
        self.receive == Receive::Complete
    }

    /// Whether the response was written to its end.
    pub fn response_complete(&self) -> bool {
        self.send == Send::Complete
    }

    /// Whether the head of the final response was written.
    pub fn response_started(&self) -> bool {
        self.send != Send::Nothing
    }

    /// Whether the request asks for a tunnel that is neither granted nor refused: what follows it is not read, for
    /// it is the tunnel's, or nobody's.
    pub fn awaits_tunnel(&self) -> bool {
        self.receive == Receive::Paused
    }

    /// Has what follows such a request read as its body, whatever the answer will be.
    pub fn let_through(&mut self) {
        if self.awaits_tunnel() {
            self.receive = Receive::Body(BodyDecoder::UntilClose);
        }
    }
}

/// Whether chunks say how long the body is.
fn is_chunked(headers: &HeaderMap) -> bool {
    headers.get(Known::TransferEncoding).is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
}

/// The headers that need a closer look, besides Connection.
const SPECIAL: KnownSet =
    KnownSet::of(&[Known::ContentLength, Known::TransferEncoding, Known::ProxyConnection, Known::Upgrade]);

fn status_line(
    version: Version,
    status: u16,
    reason: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if (version, status, reason) == (Version::Http11, 200, None) {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return Ok(());
    }
    out.extend_from_slice(if version == Version::Http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    encode::status(status, out)?;
    out.extend_from_slice(b" ");
    out.extend_from_slice(reason.unwrap_or(encode::reason_phrase(status).as_bytes()));
    out.extend_from_slice(b"\r\n");
    Ok(())
}
