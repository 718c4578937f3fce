//! `envoy.filters.http.custom_response`: answers of the configuration's own take the place of those that a matcher tree
//! finds, the upstream's and the proxy's alike.

use super::frame::{Framed, Live, NoStats, compiled};
use nuncio_codec::head::{RequestHead, ResponseHead};
use nuncio_core::config::{CompileContext, data_source, type_name};
use nuncio_core::format::{FormatContext, LineFormat};
use nuncio_core::header::{HeaderMutations, MutationFields};
use nuncio_core::matcher::joined_values;
use nuncio_core::matcher::tree::{MatcherTree, Value, Vocabulary};
use nuncio_core::stream_info::StreamInfo;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Response, RouteSays};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_proto::pb::envoy::extensions::filters::http::custom_response::v3::CustomResponse;
use nuncio_proto::pb::envoy::extensions::http::custom_response::local_response_policy::v3 as policy;
use nuncio_proto::pb::envoy::r#type::matcher::v3::{
    HttpRequestHeaderMatchInput, HttpResponseHeaderMatchInput, HttpResponseStatusCodeClassMatchInput,
    HttpResponseStatusCodeMatchInput,
};
use policy::LocalResponsePolicy;
use policy::local_response_policy::ResponseCodeDetailsAction;
use prost::Name;
use prost_types::Any;
use std::any;
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct CustomResponseFactory;

impl HttpFilterFactory for CustomResponseFactory {
    type Config = CustomResponse;
    type PerRoute = CustomResponse;

    fn compile(&self, message: CustomResponse, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<Filter>(Settings::compile(message, cx)?)
    }

    fn compile_route(
        &self,
        message: CustomResponse,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn any::Any + Send + Sync>> {
        Some(Arc::new(Settings::compile(message, cx)?))
    }
}

/// A compiled `CustomResponse`, of the filter or of a level of its routes.
struct Settings(Option<MatcherTree<Input, Policy>>);

impl Settings {
    fn compile(message: CustomResponse, cx: &CompileContext<'_>) -> Option<Self> {
        let CustomResponse { custom_response_matcher } = message;
        Some(Self(match custom_response_matcher {
            None => None,
            Some(tree) => Some(MatcherTree::compile(tree, &Words, &cx.field("custom_response_matcher"))?),
        }))
    }

    /// What stands for a response, where something does.
    fn find(&self, request: &RequestHead, response: &ResponseHead) -> Option<&Policy> {
        self.0.as_ref()?.find(&|input| input.value(request, response))
    }
}

/// What is looked at.
#[derive(Debug)]
enum Input {
    Status,
    /// `5xx`
    Class,
    RequestHeader(Box<str>),
    ResponseHeader(Box<str>),
}

impl Input {
    fn value<'h>(&self, request: &'h RequestHead, response: &'h ResponseHead) -> Value<'h> {
        match self {
            Self::Status => Some(Cow::Owned(response.status.to_string())),
            Self::Class => Some(Cow::Owned(format!("{}xx", response.status / 100))),
            Self::RequestHeader(name) => joined_values(&request.headers, name),
            Self::ResponseHeader(name) => joined_values(&response.headers, name),
        }
    }
}

/// A compiled `LocalResponsePolicy`.
#[derive(Debug)]
struct Policy {
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

/// The inputs and actions of the filter.
struct Words;

impl Vocabulary for Words {
    type Input = Input;
    type Action = Policy;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<Input> {
        let kind = type_name(&any.type_url);
        if kind == HttpResponseStatusCodeMatchInput::full_name() {
            return Some(Input::Status);
        }
        if kind == HttpResponseStatusCodeClassMatchInput::full_name() {
            return Some(Input::Class);
        }
        if kind == HttpRequestHeaderMatchInput::full_name() {
            let HttpRequestHeaderMatchInput { header_name } = cx.unpack(any)?;
            return Some(Input::RequestHeader(header_name.to_ascii_lowercase().into()));
        }
        if kind == HttpResponseHeaderMatchInput::full_name() {
            let HttpResponseHeaderMatchInput { header_name } = cx.unpack(any)?;
            return Some(Input::ResponseHeader(header_name.to_ascii_lowercase().into()));
        }
        cx.unsupported(format!("the matching input {} is not built", any.type_url));
        None
    }

    fn action(&self, _: &str, any: &Any, cx: &CompileContext<'_>) -> Option<Policy> {
        if type_name(&any.type_url) != LocalResponsePolicy::full_name() {
            cx.unsupported(format!("the policy {} is not built", any.type_url));
            return None;
        }
        Policy::compile(cx.unpack(any)?, cx)
    }
}

impl Policy {
    fn compile(message: LocalResponsePolicy, cx: &CompileContext<'_>) -> Option<Self> {
        let LocalResponsePolicy {
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
    fn answer(&self, response: &ResponseHead, info: &StreamInfo, formats: &FormatContext<'_>) -> LocalReply {
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

/// One stream's filter.
struct Filter {
    live: Rc<Live<Self>>,
    /// Most specific first.
    levels: Vec<Arc<Settings>>,
}

impl Framed for Filter {
    type Settings = Settings;
    type Stats = NoStats;

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}custom_response.")
    }

    fn settings(live: &Live<Self>, _: RouteSays<'_>) -> Option<Arc<Settings>> {
        Some(Arc::clone(&live.settings))
    }

    fn make(
        live: Rc<Live<Self>>,
        settings: Arc<Settings>,
        says: RouteSays<'_>,
    ) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Self { live, levels: says.all().chain([settings]).collect() }))
    }
}

impl HttpFilter for Filter {
    fn encode_headers(&mut self, response: &mut Response<'_>, _: bool) -> Flow {
        let Response { head, request, info, .. } = response;
        let found = self.levels.iter().find_map(|level| level.find(request, head));
        let Some(policy) = found else { return Flow::Continue };
        let worker = &self.live.world.worker;
        let formats = FormatContext {
            request: Some(&request.headers),
            response: Some((&head.headers, head.status)),
            ..header_context(info, worker, worker.now())
        };
        Flow::Reply(policy.answer(head, info, &formats))
    }
}
