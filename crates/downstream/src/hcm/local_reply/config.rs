//! The parts of `local_reply_config`, compiled.

use bytes::Bytes;
use nuncio_core::access_log::LogFilter;
use nuncio_core::config::{CompileContext, data_source};
use nuncio_core::format::LineFormat;
use nuncio_core::header::{HeaderMutations, MutationFields};
use nuncio_core::runtime::Runtime;
use nuncio_proto::pb::envoy::config::core::v3 as core_pb;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use std::borrow::Cow;

const HEADERS: MutationFields = MutationFields { add: "headers_to_add", remove: "" };

/// A `ResponseMapper`: which replies it takes and what becomes of them.
#[derive(Debug)]
pub(super) struct Mapper {
    pub filter: LogFilter,
    pub status: Option<u16>,
    /// Taken as it stands, no format.
    pub body: Option<Bytes>,
    pub body_format: Option<BodyFormat>,
    pub headers: HeaderMutations,
}

impl Mapper {
    pub(super) fn compile(
        message: &pb::ResponseMapper,
        runtime: &Runtime,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let pb::ResponseMapper { filter, status_code, body, body_format_override, headers_to_add } = message;
        let Some(filter) = filter else {
            cx.field("filter").error("value is required");
            return None;
        };
        let filter = LogFilter::compile(filter, &cx.field("filter"), runtime);
        let headers = HeaderMutations::compile(headers_to_add, &[], cx, HEADERS);
        let body = match body {
            None => None,
            Some(source) => Some(data_source(source, &cx.field("body"))?.into()),
        };
        let body_format = match body_format_override {
            None => None,
            Some(format) => Some(BodyFormat::compile(format, &cx.field("body_format_override"))?),
        };
        // The rules of the message keep the status between 200 and 599.
        let status = status_code.and_then(|code| u16::try_from(code).ok());
        Some(Self { filter: filter?, status, body, body_format, headers: headers? })
    }
}

/// A format of bodies, and the content type of what it makes.
#[derive(Debug)]
pub struct BodyFormat {
    /// Makes the body.
    pub line: LineFormat,
    /// What it is; `None`: a text that names no type.
    pub content_type: Option<Cow<'static, [u8]>>,
}

impl BodyFormat {
    /// Compiles the message. `None`: refused, and the reason is recorded in `cx`.
    pub fn compile(message: &core_pb::SubstitutionFormatString, cx: &CompileContext<'_>) -> Option<Self> {
        let line = LineFormat::compile(message, cx)?;
        let content_type = match (&*message.content_type, &line) {
            ("", LineFormat::Text(_)) => None,
            ("", LineFormat::Json(_)) => Some(Cow::Borrowed(&b"application/json"[..])),
            (named, _) => Some(Cow::Owned(named.as_bytes().to_vec())),
        };
        Some(Self { line, content_type })
    }
}
