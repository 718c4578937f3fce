//! The bodies of the HTTP/1 targets. The first four bytes of the data choose options, splits and what the peer does;
//! the rest is the connection's bytes. However they are split, the codec must see the same.
#![allow(dead_code, reason = "each target uses its own part")]

use nuncio_codec::h1::{
    ClientCodec, ClientOptions, DecoderLimits, Event, HeaderCase, ServerCodec, ServerOptions,
    UnderscoreAction,
};
use nuncio_codec::head::{HeaderMap, Known, PreserveCase, RequestHead, ResponseHead};

/// Choices that follow from a seed.
#[derive(Clone)]
struct Script(u32);

impl Script {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (self.0 >> 13) % limit
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn server_options(&mut self) -> ServerOptions {
        ServerOptions {
            limits: self.limits(),
            accept_http_10: self.flip(),
            default_host_for_http_10: self.flip().then(|| "fallback.example".into()),
            allow_absolute_url: self.flip(),
            allow_chunked_length: self.flip(),
            enable_trailers: self.flip(),
            underscores: match self.below(3) {
                0 => UnderscoreAction::Allow,
                1 => UnderscoreAction::RejectRequest,
                _ => UnderscoreAction::DropHeader,
            },
            preserve_case: self.preserve_case(),
            allow_custom_methods: self.flip(),
            ignored_upgrades: None,
        }
    }

    fn preserve_case(&mut self) -> Option<PreserveCase> {
        self.flip().then(|| PreserveCase { reason_phrase: self.flip(), proper_case: self.flip() })
    }

    fn client_options(&mut self) -> ClientOptions {
        ClientOptions {
            limits: self.limits(),
            allow_chunked_length: self.flip(),
            enable_trailers: self.flip(),
            preserve_case: self.preserve_case(),
        }
    }

    fn limits(&mut self) -> DecoderLimits {
        if self.flip() {
            DecoderLimits::default()
        } else {
            DecoderLimits { max_head_bytes: 200, max_headers: 5 }
        }
    }
}

fn split(data: &[u8]) -> Option<(Script, &[u8])> {
    let (seed, rest) = data.split_first_chunk()?;
    Some((Script(u32::from_le_bytes(*seed)), rest))
}

/// Offers `input` piece by piece; `step` answers how much it consumed, `None` when it is done.
fn feed(input: &[u8], mut pieces: impl FnMut() -> usize, mut step: impl FnMut(&[u8]) -> Option<usize>) {
    let (mut from, mut to) = (0, 0);
    while to < input.len() {
        to = (to + pieces().max(1)).min(input.len());
        let mut turns = 0;
        loop {
            let Some(consumed) = step(&input[from..to]) else { return };
            assert!(consumed <= to - from, "consumed more than there was");
            from += consumed;
            turns += 1;
            assert!(turns <= 4 * (input.len() + 4), "no progress");
            if consumed == 0 {
                break;
            }
        }
    }
}

/// Runs `see` over the whole, byte by byte, and by pieces of the script's choice: the answers must be equal.
fn invariant<T: PartialEq + std::fmt::Debug>(
    script: &Script,
    see: impl Fn(&mut dyn FnMut() -> usize) -> T,
) -> T {
    let whole = see(&mut || usize::MAX / 2);
    assert_eq!(see(&mut || 1), whole, "byte by byte");
    let mut random = script.clone();
    let most = [3, 16, 100][random.below(3) as usize];
    assert_eq!(see(&mut || 1 + random.below(most) as usize), whole, "in pieces");
    whole
}

fn fields(map: &HeaderMap) -> Vec<(Vec<u8>, Vec<u8>)> {
    map.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
}

/// What came of one message, or of the bytes that were none.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    status: u16,
    body: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    informational: u32,
    complete: bool,
    error: &'static str,
}

fn clean(fields: &[(Vec<u8>, Vec<u8>)]) {
    for (name, value) in fields {
        assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic), "{name:?}");
        assert!(!name.iter().any(u8::is_ascii_uppercase), "{name:?}");
        assert!(!value.iter().any(|b| b.is_ascii_control() && *b != b'\t'), "{value:?}");
        assert!(value.trim_ascii().len() == value.len(), "{value:?}");
    }
}

/// Decodes all requests; each complete one is answered by `reply` before the next.
fn serve(
    options: &ServerOptions,
    input: &[u8],
    pieces: &mut dyn FnMut() -> usize,
    mut reply: impl FnMut(&mut ServerCodec, &RequestHead),
) -> Vec<Seen> {
    let mut codec = ServerCodec::new();
    let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
    let mut seen: Vec<Seen> = Vec::new();
    feed(input, pieces, |bytes| {
        let decoded = match codec.decode(options, bytes, &mut head, &mut trailers) {
            Ok(decoded) => decoded,
            Err(error) => {
                assert!(!codec.keep_alive() && matches!(error.status(), 400 | 426 | 431 | 501));
                seen.push(Seen { error: error.details(), ..Seen::default() });
                return None;
            }
        };
        match decoded.event {
            Event::More => return Some(decoded.consumed),
            Event::Head { .. } => {
                clean(&fields(&head.headers));
                seen.push(Seen { fields: fields(&head.headers), ..Seen::default() });
            }
            Event::Data { ref at, .. } => {
                assert!(!at.is_empty() && at.end <= decoded.consumed);
                seen.last_mut().unwrap().body.extend_from_slice(&bytes[at.clone()]);
            }
            Event::Trailers => {
                clean(&fields(&trailers));
                seen.last_mut().unwrap().trailers = fields(&trailers);
            }
            Event::End => {}
            Event::Informational => panic!("a request has none"),
        }
        let ends = Event::Data { at: 0..0, end_stream: true };
        let ended = match (&decoded.event, ends) {
            (Event::Head { end_stream } | Event::Data { end_stream, .. }, _) => *end_stream,
            (Event::Trailers | Event::End, _) => true,
            _ => false,
        };
        assert_eq!(ended, codec.request_complete());
        if ended {
            seen.last_mut().unwrap().complete = true;
            reply(&mut codec, &head);
        }
        Some(decoded.consumed)
    });
    seen
}

fn ok(codec: &mut ServerCodec, _head: &RequestHead) {
    codec.encode_head(HeaderCase::Lower, &ResponseHead::new(200), true, &mut Vec::new()).unwrap();
}

/// A request head: the same under every split, clean, and what is written from it reads back as it was.
pub fn request_head(data: &[u8]) {
    let Some((mut script, input)) = split(data) else { return };
    let options = script.server_options();
    invariant(&script, |pieces| serve(&options, input, pieces, ok));
    let mut codec = ServerCodec::new();
    let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
    let Ok(decoded) = codec.decode(&options, input, &mut head, &mut trailers) else { return };
    let Event::Head { end_stream } = decoded.event else { return };
    if !head.path().starts_with(b"/") && head.method() != b"CONNECT" {
        // The path of `http://h?q` is `?q`, which the connection manager refuses.
        return;
    }
    let mut out = Vec::new();
    let mut client = ClientCodec::new();
    if client.encode_head(HeaderCase::Lower, &head, end_stream, &mut out).is_err() {
        // CONNECT and absolute targets may lack what a request line needs.
        return;
    }
    let lenient =
        ServerOptions { allow_custom_methods: true, allow_absolute_url: false, ..ServerOptions::default() };
    let mut again = RequestHead::new();
    let limits = DecoderLimits { max_head_bytes: u32::MAX, max_headers: u32::MAX };
    let lenient = ServerOptions { limits, ..lenient };
    let reread = ServerCodec::new().decode(&lenient, &out, &mut again, &mut trailers);
    let reread = reread.unwrap_or_else(|error| panic!("{error} in {}", out.escape_ascii()));
    assert_eq!(reread.consumed, out.len(), "{}", out.escape_ascii());
    assert_eq!(again.method(), head.method());
    assert_eq!(again.path(), head.path());
    assert_eq!(again.authority(), head.authority());
}

/// Chunked framing: the same under every split, and what is written from it reads back as it was.
pub fn chunked(data: &[u8]) {
    let Some((mut script, input)) = split(data) else { return };
    let options = ServerOptions { enable_trailers: script.flip(), ..ServerOptions::default() };
    let start = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let whole = [start, input].concat();
    let seen = invariant(&script, |pieces| serve(&options, &whole, pieces, ok));
    let Some(first) = seen.first().filter(|first| first.complete) else { return };
    let mut request = RequestHead::new();
    for (name, value) in &first.fields {
        request.headers.append(nuncio_codec::head::Name::new(name), value);
    }
    let (mut client, mut out) = (ClientCodec::new(), Vec::new());
    client.encode_head(HeaderCase::Lower, &request, false, &mut out).unwrap();
    for piece in first.body.chunks(1 + script.below(40) as usize) {
        let (prefix, suffix) = client.data_framing(piece.len(), false);
        out.extend_from_slice(&prefix);
        out.extend_from_slice(piece);
        out.extend_from_slice(suffix);
    }
    client.encode_data(b"", true, &mut out);
    assert!(client.request_complete() && !client.poisoned());
    let again = serve(&options, &out, &mut || usize::MAX / 2, ok);
    assert_eq!(again.len(), 1);
    assert_eq!((&again[0].body, again[0].complete), (&first.body, true));
}

/// A downstream connection whose requests are answered as the script says: what is written is as many whole
/// responses as requests were complete, and a client of ours reads them so.
pub fn server_conn(data: &[u8]) {
    let Some((mut script, input)) = split(data) else { return };
    let options = script.server_options();
    let replies = script.clone();
    let see = |pieces: &mut dyn FnMut() -> usize| {
        let mut script = replies.clone();
        let mut wire: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = Vec::new();
        let seen = serve(&options, input, pieces, |codec, head| {
            let (mut out, mut body) = (Vec::new(), Vec::new());
            let response = respond(codec, &mut script, &mut out, &mut body);
            if response {
                wire.push((head.method().to_vec(), out, body));
            }
        });
        (seen, wire)
    };
    let (_, wire) = invariant(&script, see);
    for (method, out, body) in wire {
        let mut client = asked(&method);
        let (mut head, mut trailers) = (ResponseHead::new(200), HeaderMap::new());
        let mut got = Vec::new();
        let enabled = ClientOptions { enable_trailers: true, ..ClientOptions::default() };
        feed(
            &out,
            || 7,
            |bytes| {
                let decoded = client.decode(&enabled, bytes, &mut head, &mut trailers);
                let decoded = decoded.unwrap_or_else(|error| panic!("{error} in {}", out.escape_ascii()));
                if let Event::Data { at, .. } = decoded.event {
                    got.extend_from_slice(&bytes[at]);
                }
                Some(decoded.consumed)
            },
        );
        if !client.response_complete() {
            client.eof().unwrap_or_else(|error| panic!("{error} in {}", out.escape_ascii()));
        }
        assert!(client.response_complete(), "{}", out.escape_ascii());
        assert_eq!(got, body, "{}", out.escape_ascii());
    }
}

/// Writes a response of the script's choice; whether its body is as long as it said.
fn respond(codec: &mut ServerCodec, script: &mut Script, out: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
    if script.below(5) == 0 {
        codec.encode_informational(HeaderCase::Lower, &ResponseHead::new(103), out);
    }
    if script.below(8) == 0 {
        codec.set_close();
    }
    let status = [200, 204, 304, 404, 500][script.below(5) as usize];
    let mut response = ResponseHead::new(status);
    response.headers.append("x-reply", b"1");
    let pieces: Vec<Vec<u8>> =
        (0..script.below(4)).map(|i| vec![b'a' + i as u8; script.below(30) as usize]).collect();
    let len: usize = pieces.iter().map(Vec::len).sum();
    let announce = script.flip();
    if announce && !matches!(status, 204) {
        response.headers.append(Known::ContentLength, len.to_string().as_bytes());
    }
    let end_stream = pieces.is_empty() && len == 0;
    codec.encode_head(HeaderCase::ProperCaseWords, &response, end_stream, out).unwrap();
    let room = codec.room();
    for piece in &pieces {
        codec.encode_data(piece, false, out);
        if room > 0 {
            body.extend_from_slice(piece);
        }
    }
    if !end_stream && script.flip() {
        let mut trailers = HeaderMap::new();
        trailers.append("x-t", b"1");
        codec.encode_trailers(&trailers, out);
    } else {
        codec.encode_data(b"", true, out);
    }
    assert!(codec.response_complete() && codec.response_started());
    true
}

/// A client that has sent a request with `method`.
fn asked(method: &[u8]) -> ClientCodec {
    let mut client = ClientCodec::new();
    let mut request = RequestHead::new();
    request.headers.append(Known::Method, method);
    request.headers.append(Known::Path, b"/");
    request.headers.append(Known::Authority, b"a:1");
    if method == b"UPGRADE" {
        request.headers.append(Known::Connection, b"upgrade");
        request.headers.append(Known::Upgrade, b"websocket");
    }
    client.encode_head(HeaderCase::Lower, &request, true, &mut Vec::new()).unwrap();
    client
}

/// Decodes one response after another, each to a request of the script's choice, and the connection's end.
fn responses(
    options: &ClientOptions,
    mut script: Script,
    input: &[u8],
    pieces: &mut dyn FnMut() -> usize,
) -> (Vec<Seen>, bool, bool) {
    const METHODS: [&[u8]; 5] = [b"GET", b"HEAD", b"POST", b"CONNECT", b"UPGRADE"];
    let mut codec = asked(METHODS[script.below(5) as usize]);
    let (mut head, mut trailers) = (ResponseHead::new(200), HeaderMap::new());
    let mut seen = vec![Seen::default()];
    let mut failed = false;
    feed(input, pieces, |bytes| {
        if codec.reusable() {
            codec = asked(METHODS[script.below(5) as usize]);
            seen.push(Seen::default());
        }
        let now = seen.last_mut().unwrap();
        let decoded = match codec.decode(options, bytes, &mut head, &mut trailers) {
            Ok(decoded) => decoded,
            Err(error) => {
                assert!(codec.poisoned() && !codec.reusable());
                now.error = error.details();
                failed = true;
                return None;
            }
        };
        match decoded.event {
            Event::More => {}
            Event::Head { .. } => {
                clean(&fields(&head.headers));
                (now.fields, now.status) = (fields(&head.headers), head.status);
                assert!((200..1000).contains(&head.status) || head.status == 101);
            }
            Event::Informational => {
                assert!((100..200).contains(&head.status));
                now.informational += 1;
            }
            Event::Data { ref at, .. } => {
                assert!(!at.is_empty() && at.end <= decoded.consumed);
                now.body.extend_from_slice(&bytes[at.clone()]);
            }
            Event::Trailers => {
                clean(&fields(&trailers));
                now.trailers = fields(&trailers);
            }
            Event::End => {}
        }
        now.complete = codec.response_complete();
        Some(decoded.consumed)
    });
    let eof = failed || codec.eof().is_ok();
    assert!(!codec.reusable());
    (seen, failed, eof)
}

/// A response head: the same under every split, and clean.
pub fn response_head(data: &[u8]) {
    let Some((mut script, input)) = split(data) else { return };
    let options = script.client_options();
    let one = |pieces: &mut dyn FnMut() -> usize| {
        let mut codec = asked(b"GET");
        let (mut head, mut trailers) = (ResponseHead::new(200), HeaderMap::new());
        let mut seen = Vec::new();
        let mut over = false;
        feed(input, pieces, |bytes| {
            if over {
                return None;
            }
            match codec.decode(&options, bytes, &mut head, &mut trailers) {
                Ok(decoded) => {
                    if matches!(decoded.event, Event::Head { .. } | Event::Informational) {
                        clean(&fields(&head.headers));
                        seen.push((head.status, fields(&head.headers), ""));
                    }
                    over = matches!(decoded.event, Event::Head { .. });
                    Some(decoded.consumed)
                }
                Err(error) => {
                    seen.push((0, Vec::new(), error.details()));
                    None
                }
            }
        });
        seen
    };
    invariant(&script, one);
}

/// An upstream connection with requests of the script's choice: the same under every split.
pub fn client_conn(data: &[u8]) {
    let Some((mut script, input)) = split(data) else { return };
    let options = script.client_options();
    let seed = script.clone();
    // Whether bytes behind a message came with it or later decides if the connection is used again, so that only the
    // first exchange is the same under every split.
    invariant(&script, |pieces| responses(&options, seed.clone(), input, pieces).0.swap_remove(0));
    responses(&options, seed, input, &mut || usize::MAX / 2);
}
