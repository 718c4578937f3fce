//! From a [`LocalReply`] to a response: `local_reply_config`, framing, and what gRPC clients want.

use super::config::{BodyFormat, Mapper};
use super::{LocalReply, ReplyBody, decimal, grpc};
use nuncio_codec::head::{Known, RequestHead, ResponseHead, Version};
use nuncio_core::config::CompileContext;
use nuncio_core::format::{FormatContext, LogType, is_grpc_request};
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use nuncio_core::stream_info::{ResponseFlag, StreamInfo};
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use std::borrow::Cow;
use std::time::{Instant, SystemTime};

/// How local replies are rewritten and formed: a compiled `local_reply_config`.
#[derive(Debug, Default)]
pub struct LocalReplies {
    mappers: Box<[Mapper]>,
    body_format: Option<BodyFormat>,
    /// `stream_error_on_invalid_http_message`: a 400 does not end an HTTP/1 connection.
    keep_connection: bool,
}

/// What a local reply is made in the presence of.
pub struct ReplyContext<'a> {
    /// The request, as far as it is known.
    pub request: &'a RequestHead,
    /// Where the answer goes; emptied first.
    pub response: &'a mut ResponseHead,
    /// The stream: it gets the reply's flag, details and status.
    pub info: &'a mut StreamInfo,
    /// The present moment.
    pub now: Instant,
    /// The same on the wall.
    pub wall: SystemTime,
    /// Chance, for formats.
    pub rng: &'a Rng,
}

/// What is left to do for a local reply whose head is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The body to send, empty where none may follow: for gRPC, HEAD, 1xx, 204 and 304.
    pub body: ReplyBody,
    /// The connection (HTTP/1) ends with this answer.
    pub close: bool,
}

impl LocalReplies {
    /// Compiles `local_reply_config`; `cx` is at the field. `keep_connection` is
    /// `stream_error_on_invalid_http_message`. `None`: refused, and every reason is recorded in `cx`.
    pub fn compile(
        message: Option<&pb::LocalReplyConfig>,
        keep_connection: bool,
        runtime: &Runtime,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let Some(pb::LocalReplyConfig { mappers, body_format }) = message else {
            return Some(Self { keep_connection, ..Self::default() });
        };
        let compiled = mappers
            .iter()
            .enumerate()
            .filter_map(|(i, mapper)| Mapper::compile(mapper, runtime, &cx.item("mappers", i)))
            .collect::<Box<[_]>>();
        let body_format = match body_format {
            None => None,
            Some(format) => Some(BodyFormat::compile(format, &cx.field("body_format"))?),
        };
        (compiled.len() == mappers.len()).then_some(Self { mappers: compiled, body_format, keep_connection })
    }

    /// Builds the head of a reply, in Envoy's order: its status and headers, what `modify` adds (a route's
    /// `response_headers_to_add`), the configured rewrite, the form that gRPC wants.
    pub fn build(
        &self,
        reply: LocalReply,
        cx: ReplyContext<'_>,
        modify: impl FnOnce(&mut ResponseHead, &StreamInfo),
    ) -> Built {
        let ReplyContext { request, response, info, now, wall, rng } = cx;
        let LocalReply {
            status,
            flag,
            details,
            body,
            content_type,
            headers,
            grpc_status,
            close,
            whole: _,
            of_upstream: _,
        } = reply;
        let bad_request = status == 400 && matches!(request.version, Version::Http10 | Version::Http11);
        response.clear();
        response.status = status;
        info.details = Some(details);
        // Formats do not see the flag of a codec error, Envoy sets it later.
        let late = flag.filter(|&flag| flag == ResponseFlag::DownstreamProtocolError);
        if let Some(flag) = flag.filter(|_| late.is_none()) {
            info.flags.set(flag);
        }
        for (name, value) in &headers {
            response.headers.append(&**name, value);
        }
        // The formats of a route's headers do not see the status as that of the response yet.
        info.response_code = None;
        modify(response, info);
        if let Some(content_type) = content_type {
            response.headers.set(Known::ContentType, &content_type);
        }
        info.response_code = Some(status);
        let body = if self.mappers.is_empty() && self.body_format.is_none() {
            Formed::plain(body)
        } else {
            self.rewrite(body, Rewrite { request, response, info, moment: Moment { now, wall, rng } })
        };
        let head_only = request.method() == b"HEAD";
        let body = if is_grpc_request(&request.headers) && !info.made_grpc {
            grpc::convert(response, body.as_message(), grpc_status, head_only);
            ReplyBody::EMPTY
        } else {
            frame(response, body, head_only)
        };
        if let Some(flag) = late {
            info.flags.set(flag);
        }
        info.response_code = Some(response.status);
        Built { body, close: close || (bad_request && !self.keep_connection) }
    }

    /// The first mapper that takes the reply changes it; then its own format, or else the common one, makes the
    /// body.
    fn rewrite(&self, body: ReplyBody, cx: Rewrite<'_>) -> Formed {
        let Rewrite { request, response, info, moment } = cx;
        let (mut body, mut changed, mut own_format) = (body, false, None);
        let content_type = response.headers.get(Known::ContentType).map(<[u8]>::to_vec);
        for mapper in &self.mappers {
            if !mapper.filter.passes(&formats(request, Some(response), info, moment, b"")) {
                continue;
            }
            if let Some(new) = &mapper.body {
                changed |= **new != *body;
                body = ReplyBody::Shared(new.clone());
            }
            if !mapper.headers.is_empty() {
                mapper.headers.apply_response(response, &formats(request, None, info, moment, b""));
            }
            if let Some(status) = mapper.status {
                response.status = status;
                info.response_code = Some(status);
            }
            own_format = mapper.body_format.as_ref();
            break;
        }
        let named = response.headers.get(Known::ContentType) != content_type.as_deref();
        let Some(format) = own_format.or(self.body_format.as_ref()) else {
            return Formed { text: body, content_type: TEXT_PLAIN, overwrite: changed && !named };
        };
        let mut text = Vec::new();
        format.line.render(&formats(request, Some(response), info, moment, &body), &mut text);
        let overwrite = (changed || text != *body) && !named;
        let content_type = format.content_type.clone().unwrap_or(TEXT_PLAIN);
        Formed { text: ReplyBody::Owned(text), content_type, overwrite }
    }
}

/// What a rewrite works on.
struct Rewrite<'a> {
    request: &'a RequestHead,
    response: &'a mut ResponseHead,
    info: &'a mut StreamInfo,
    moment: Moment<'a>,
}

/// The time and the chance of a rewrite.
#[derive(Clone, Copy)]
struct Moment<'a> {
    now: Instant,
    wall: SystemTime,
    rng: &'a Rng,
}

/// What formats and filters see of a reply.
fn formats<'a>(
    request: &'a RequestHead,
    response: Option<&'a ResponseHead>,
    info: &'a StreamInfo,
    Moment { now, wall, rng }: Moment<'a>,
    body: &'a [u8],
) -> FormatContext<'a> {
    FormatContext {
        info,
        request: Some(&request.headers),
        response: response.map(|r| (&r.headers, r.status)),
        trailers: None,
        local_reply_body: body,
        log_type: LogType::NotSet,
        now,
        wall,
        rng,
    }
}

const TEXT_PLAIN: Cow<'static, [u8]> = Cow::Borrowed(b"text/plain");

/// A body and what it is.
struct Formed {
    text: ReplyBody,
    content_type: Cow<'static, [u8]>,
    /// The type takes the place of one that is there.
    overwrite: bool,
}

impl Formed {
    fn plain(text: ReplyBody) -> Self {
        Self { text, content_type: TEXT_PLAIN, overwrite: false }
    }

    /// The body as a gRPC message: without the end of the line that JSON has as a body.
    fn as_message(&self) -> &[u8] {
        match self.text.strip_suffix(b"\n") {
            Some(line) if *self.content_type == *b"application/json" => line,
            _ => &self.text,
        }
    }
}

/// Gives `response` the headers that describe `body`. The answer is what of it may be sent.
fn frame(response: &mut ResponseHead, body: Formed, head_only: bool) -> ReplyBody {
    let headers = &mut response.headers;
    let Formed { text, content_type, overwrite } = body;
    if text.is_empty() || matches!(response.status, 100..=199) {
        headers.remove(Known::ContentLength);
        headers.remove(Known::ContentType);
        return ReplyBody::EMPTY;
    }
    headers.set(Known::ContentLength, decimal(text.len() as u64, &mut [0; 20]));
    if overwrite || !headers.contains(Known::ContentType) {
        headers.set(Known::ContentType, &content_type);
    }
    // 204 and 304 describe a body as Envoy has them do, but the body itself would be read as the next response
    // (RFC 9112 section 6.3).
    if head_only || matches!(response.status, 204 | 304) { ReplyBody::EMPTY } else { text }
}
