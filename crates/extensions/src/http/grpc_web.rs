//! `envoy.filters.http.grpc_web`: calls of browsers, whose bodies carry the trailers and may be base64 text
//! (the gRPC-Web protocol), become gRPC calls.

use super::frame::{Framed, Live, cluster_of, compiled};
use super::grpc_stats::method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use nuncio_core::config::CompileContext;
use nuncio_core::format::is_grpc;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, Response, RouteSays,
};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody, grpc_message, grpc_status};
use nuncio_downstream::route::Route;
use nuncio_proto::pb::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of a frame's prefix: a flag and its length.
const PREFIX: usize = 5;
/// Of a longer frame no more waits than that, in bytes.
const KEEP: usize = 64 * 1024;
/// The flag of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;

/// Compiles the filter's message.
pub struct GrpcWebFactory;

impl HttpFilterFactory for GrpcWebFactory {
    type Config = GrpcWeb;
    type PerRoute = GrpcWeb;

    fn compile(&self, message: GrpcWeb, _: &CompileContext<'_>) -> Option<Compiled> {
        let GrpcWeb {} = message;
        compiled::<GrpcWebFilter>(())
    }
}

/// How one side of a call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Binary,
    Text,
}

impl Form {
    /// The form that a content type names.
    fn of(content_type: Option<&[u8]>) -> Option<Self> {
        match content_type? {
            b"application/grpc-web" | b"application/grpc-web+proto" => Some(Self::Binary),
            b"application/grpc-web-text" | b"application/grpc-web-text+proto" => Some(Self::Text),
            _ => None,
        }
    }

    fn content_type(self) -> &'static [u8] {
        match self {
            Self::Binary => b"application/grpc-web+proto",
            Self::Text => b"application/grpc-web-text+proto",
        }
    }
}

/// Where calls of a stream are counted.
struct Counter {
    live: Rc<Live<GrpcWebFilter>>,
    route: Arc<Route>,
    /// Below what the call counts; none: nowhere.
    prefix: Option<Box<str>>,
}

/// One stream's filter.
#[derive(Default)]
struct GrpcWebFilter {
    /// `None`: the route leads to no cluster.
    counter: Option<Counter>,
    /// How the request is written; none: it is no call of a browser.
    request: Option<Form>,
    response: Option<Form>,
    /// Characters of the request that are no whole group yet, or bytes of the response that are no whole frame.
    rest: Vec<u8>,
    /// What is to come of a frame that is passed on in parts.
    open: usize,
    /// The answer is no gRPC: its body becomes the message.
    foreign: bool,
}

impl Framed for GrpcWebFilter {
    type Settings = ();
    type Stats = ();

    fn stat_prefix((): &(), hcm: &str) -> String {
        format!("{hcm}grpc_web.")
    }

    fn make(live: Rc<Live<Self>>, _: Arc<()>, says: RouteSays<'_>) -> Option<Self> {
        let route = says.route.filter(|_| says.forwards()).map(Arc::clone);
        let counter = route.map(|route| Counter { live, route, prefix: None });
        Some(Self { counter, ..Self::default() })
    }
}

impl Counter {
    /// A call begins; it is counted where it names a method.
    fn begin(&mut self, head: &RequestHead) {
        let path = std::str::from_utf8(head.path()).unwrap_or_default();
        let cluster = cluster_of(&self.live.world, &self.route, head);
        self.prefix = method(path).zip(cluster).map(|(method, cluster)| {
            format!("{}grpc-web.{}.", cluster.stat_prefix(), method.replace('/', ".")).into()
        });
    }

    /// Counts how the call ended, where `headers` say it.
    fn end(&self, headers: &HeaderMap) {
        let (Some(prefix), Some(status)) = (&self.prefix, headers.get(Known::GrpcStatus)) else { return };
        let word = if status == b"0" { "success" } else { "failure" };
        for name in [&*String::from_utf8_lossy(status), word, "total"] {
            self.live.count(&format!("{prefix}{name}"));
        }
    }
}

impl GrpcWebFilter {
    /// Text becomes bytes, as many groups as are whole; an error where it is no base64, with its name in the details.
    fn decode(&mut self, piece: &mut Piece) -> Result<(), &'static str> {
        self.rest.append(&mut piece.data);
        let whole = self.rest.len() & !3;
        if piece.end_stream && whole < self.rest.len() {
            return Err("grpc_base_64_decode_failed_bad_size");
        }
        let groups = self.rest.get(..whole).unwrap_or_default();
        STANDARD.decode_vec(groups, &mut piece.data).map_err(|_| "grpc_base_64_decode_failed")?;
        self.rest.drain(..whole);
        Ok(())
    }

    /// What the client gets by now, in the form that it takes: whole frames, and of a frame that is longer than may
    /// wait as much as has come.
    fn encode(&mut self, piece: &mut Piece) {
        if self.response != Some(Form::Text) {
            return;
        }
        self.rest.append(&mut piece.data);
        let mut text = String::new();
        if piece.end_stream {
            self.put(self.rest.len(), &mut text);
        }
        loop {
            if self.open == 0 {
                self.put(frames(&self.rest), &mut text);
                self.open = if self.rest.len() < KEEP { 0 } else { first_frame(&self.rest).unwrap_or(0) };
            }
            let there = self.open.min(self.rest.len());
            // Groups without padding, but at the frame's end.
            let taken = if there == self.open { there } else { there - there % 3 };
            if taken == 0 {
                break;
            }
            self.put(taken, &mut text);
            self.open -= taken;
        }
        piece.data = text.into_bytes();
    }

    /// Writes so many bytes of the rest.
    fn put(&mut self, count: usize, text: &mut String) {
        STANDARD.encode_string(self.rest.get(..count).unwrap_or_default(), text);
        self.rest.drain(..count);
    }

    /// The head of an answer that was none of a call; `body` is what it says.
    fn explain(response: &mut Response<'_>, body: &[u8]) {
        let head = &mut *response.head;
        head.headers.set(Known::GrpcStatus, grpc_status(head.status).to_string().as_bytes());
        if !body.is_empty() {
            head.headers.set(Known::GrpcMessage, &grpc_message(body));
        }
        head.headers.set_number(Known::ContentLength, 0);
    }
}

/// How long the frame at the start is, prefix included; `None` where its length has not come.
fn first_frame(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(1..PREFIX)?.try_into().ok()?;
    PREFIX.checked_add(u32::from_be_bytes(length) as usize)
}

/// Bytes of the whole frames at the start.
fn frames(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..)
        && let Some(length) = first_frame(rest).filter(|length| *length <= rest.len())
    {
        at += length;
    }
    at
}

/// The frame that holds the trailers.
fn trailer_frame(trailers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in trailers.iter() {
        lines.extend_from_slice(name.as_bytes());
        lines.push(b':');
        lines.extend_from_slice(value);
        lines.extend_from_slice(b"\r\n");
    }
    let length = u32::try_from(lines.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![TRAILERS];
    frame.extend_from_slice(&length);
    frame.append(&mut lines);
    frame
}

impl HttpFilter for GrpcWebFilter {
    fn sees_bodies(&self) -> bool {
        true
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let headers = &mut request.head.headers;
        self.request = Form::of(headers.get(Known::ContentType));
        if self.request.is_none() {
            return Flow::Continue;
        }
        let accepts_text = Form::of(headers.get(Known::Accept)) == Some(Form::Text);
        self.response = Some(if accepts_text { Form::Text } else { Form::Binary });
        headers.remove(Known::ContentLength);
        headers.set(Known::ContentType, b"application/grpc");
        headers.set(Known::Te, b"trailers");
        headers.set(Known::GrpcAcceptEncoding, b"identity");
        request.info.made_grpc = true;
        if let Some(counter) = &mut self.counter {
            counter.begin(request.head);
        }
        Flow::Continue
    }

    fn decode_data(&mut self, _: &mut Request<'_>, piece: &mut Piece) -> Flow {
        if self.request != Some(Form::Text) {
            return Flow::Continue;
        }
        let Err(details) = self.decode(piece) else { return Flow::Continue };
        self.rest.clear();
        let body = ReplyBody::Static("Bad gRPC-web request, invalid base64 data.");
        Flow::Reply(LocalReply::new(400, details).with_body(body))
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, end_stream: bool) -> Flow {
        let Some(form) = self.response else { return Flow::Continue };
        self.counter.iter().for_each(|counter| counter.end(&response.head.headers));
        self.rest.clear();
        let headers = &response.head.headers;
        let is_call = match end_stream {
            true => headers.contains(Known::GrpcStatus),
            false => response.head.status == 200 && is_grpc(headers),
        };
        let is_web = Form::of(headers.get(Known::ContentType)).is_some();
        self.foreign = !is_call && !is_web;
        response.head.headers.set(Known::ContentType, form.content_type());
        if !self.foreign {
            if !end_stream {
                // Trailers may make it longer.
                response.head.headers.remove(Known::ContentLength);
            }
            return Flow::Continue;
        }
        // Without a body there is nothing to tell.
        if end_stream { Flow::Continue } else { Flow::Buffer }
    }

    fn encode_data(&mut self, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        if !self.foreign {
            self.encode(piece);
            return Flow::Continue;
        }
        if !piece.end_stream {
            return Flow::Buffer;
        }
        Self::explain(response, &piece.data);
        piece.data.clear();
        Flow::Continue
    }

    fn encode_trailers(&mut self, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        if self.response.is_none() {
            return Flow::Continue;
        }
        self.counter.iter().for_each(|counter| counter.end(response.trailers));
        if self.foreign {
            Self::explain(response, &piece.data);
            piece.data.clear();
            return Flow::Continue;
        }
        self.rest.append(&mut piece.data);
        self.rest.extend_from_slice(&trailer_frame(response.trailers));
        piece.data.append(&mut self.rest);
        if self.response == Some(Form::Text) {
            piece.data = STANDARD.encode(&piece.data).into_bytes();
        }
        piece.end_stream = true;
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_in_any_pieces() {
        let text = b"AAAAAAF4AAAAAAF5";
        for cut in 0..=text.len() {
            let (mut filter, mut out) = (GrpcWebFilter::default(), Vec::new());
            for (data, end_stream) in [(&text[..cut], false), (&text[cut..], true)] {
                let mut piece = Piece { data: data.to_vec(), end_stream };
                assert_eq!(filter.decode(&mut piece), Ok(()), "cut at {cut}");
                out.append(&mut piece.data);
            }
            assert_eq!(out, b"\0\0\0\0\x01x\0\0\0\0\x01y", "cut at {cut}");
        }
        let mut half = Piece { data: b"AAA".to_vec(), end_stream: true };
        assert!(GrpcWebFilter::default().decode(&mut half).is_err());
    }

    #[test]
    fn a_frame_that_is_too_long_to_wait_for_comes_in_parts_and_no_byte_is_lost() {
        let mut body = vec![0];
        body.extend_from_slice(&200_000_u32.to_be_bytes());
        body.extend((0..200_000_u32).map(|n| n as u8));
        body.extend_from_slice(b"\0\0\0\0\x01z");
        let mut filter = GrpcWebFilter { response: Some(Form::Text), ..GrpcWebFilter::default() };
        let (mut text, mut most) = (Vec::new(), 0);
        for part in body.chunks(10_007) {
            let mut piece = Piece { data: part.to_vec(), end_stream: false };
            filter.encode(&mut piece);
            most = most.max(filter.rest.len());
            text.append(&mut piece.data);
        }
        // The long frame ends with padding of its own: 200,005 bytes are no multiple of three.
        let long = STANDARD.encode(&body[..200_005]);
        assert_eq!(text, [long, STANDARD.encode(b"\0\0\0\0\x01z")].concat().into_bytes());
        assert!(most < KEEP + 10_007 && filter.rest.is_empty(), "{most}");
    }

    #[test]
    fn only_whole_frames_are_counted() {
        for (bytes, want) in [
            (&b""[..], 0),
            (b"\0\0\0\0", 0),
            (b"\0\0\0\0\x01", 0),
            (b"\0\0\0\0\x01xyz", 6),
            (b"\0\xff\xff\xff\xff", 0),
        ] {
            assert_eq!(frames(bytes), want, "{bytes:?}");
        }
    }
}
