//! `LocalResponsePolicy`: the answer stands in the configuration.

use nuncio_codec::head::ResponseHead;
use nuncio_core::config::{CompileContext, data_source};
use nuncio_core::format::{FormatContext, LineFormat};
use nuncio_core::header::{HeaderMutations, MutationFields};
use nuncio_core::stream_info::StreamInfo;
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_proto::pb::envoy::extensions::http::custom_response::local_response_policy::v3 as pb;
use pb::local_response_policy::ResponseCodeDetailsAction;
use std::borrow::Cow;

/// A compiled `LocalResponsePolicy`.
#[derive(Debug)]
pub(super) struct Local {
    /// `None`: that of the response.
    status: Option<u16>,
    body: Vec<u8>,
    format: Option<LineFormat>,
    headers: HeaderMutations,
    details: Details,
}

/// What the log says of such an answer.
#[derive(Debug)]
enum Details {
    Nothing,
    /// What it would have said of the response.
    Kept,
    Own(Box<str>),
}

impl Local {
    pub(super) fn compile(message: pb::LocalResponsePolicy, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::LocalResponsePolicy {
            body,
            body_format,
            status_code,
            response_headers_to_add,
            response_code_details_action,
        } = message;
        let fields = MutationFields { add: "response_headers_to_add", remove: "" };
        Some(Self {
            status: status_code.and_then(|status| u16::try_from(status).ok()),
            body: match body {
                None => Vec::new(),
                Some(body) => data_source(&body, &cx.field("body"))?,
            },
            format: match body_format {
                None => None,
                Some(format) => Some(LineFormat::compile(&format, &cx.field("body_format"))?),
            },
            headers: HeaderMutations::compile(&response_headers_to_add, &[], cx, fields)?,
            details: match response_code_details_action {
                Some(ResponseCodeDetailsAction::PreserveResponseCodeDetails(true)) => Details::Kept,
                Some(ResponseCodeDetailsAction::ResponseCodeDetails(own)) => Details::Own(own.into()),
                Some(ResponseCodeDetailsAction::PreserveResponseCodeDetails(false)) | None => {
                    Details::Nothing
                }
            },
        })
    }

    /// The answer that takes a response's place. Formats still see that response's status.
    pub(super) fn answer(
        &self,
        response: &ResponseHead,
        info: &StreamInfo,
        formats: &FormatContext<'_>,
    ) -> LocalReply {
        let status = self.status.unwrap_or(response.status);
        let body = match &self.format {
            None => self.body.clone(),
            Some(format) => {
                let mut body = Vec::new();
                format.render(&FormatContext { local_reply_body: &self.body, ..*formats }, &mut body);
                body
            }
        };
        let details = match &self.details {
            Details::Nothing => "".into(),
            Details::Kept => info.details.clone().unwrap_or_default(),
            Details::Own(own) => Cow::Owned(own.to_string()),
        };
        let reply = LocalReply::new(status, details).with_body(ReplyBody::Owned(body));
        let mut head = ResponseHead::new(status);
        self.headers.apply_response(&mut head, formats);
        head.headers.iter().fold(reply, |reply, (name, value)| {
            reply.with_header(String::from_utf8_lossy(name.as_bytes()).into_owned(), value)
        })
    }
}
