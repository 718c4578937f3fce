//! `envoy.filters.http.custom_response`: answers of the configuration's own take the place of those that a matcher tree
//! finds, the upstream's and the proxy's alike.

use super::frame::{Framed, Live, NoStats, compiled};
use nuncio_codec::head::ResponseHead;
use nuncio_core::config::{CompileContext, data_source, type_name};
use nuncio_core::format::{FormatContext, LineFormat};
use nuncio_core::header::{HeaderMutations, MutationFields};
use nuncio_core::matcher::tree::{MatcherTree, Vocabulary};
use nuncio_core::matcher::{HttpFacts, HttpInput};
use nuncio_core::stream_info::StreamInfo;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Response, RouteSays};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_proto::pb::envoy::extensions::filters::http::custom_response::v3::CustomResponse;
use nuncio_proto::pb::envoy::extensions::http::custom_response::local_response_policy::v3 as policy;
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
struct Settings(Option<MatcherTree<HttpInput, Policy>>);

impl Settings {
    fn compile(message: CustomResponse, cx: &CompileContext<'_>) -> Option<Self> {
        let CustomResponse { custom_response_matcher } = message;
        Some(Self(match custom_response_matcher {
            None => None,
            Some(tree) => Some(MatcherTree::compile(tree, &Words, &cx.field("custom_response_matcher"))?),
        }))
    }

    /// What stands for a response, where something does.
    fn find(&self, facts: &HttpFacts<'_>) -> Option<&Policy> {
        self.0.as_ref()?.find(&|input| input.value(facts))
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
    type Input = HttpInput;
    type Action = Policy;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<HttpInput> {
        let input = HttpInput::compile(any, cx)?;
        if input.is_none() {
            cx.unsupported(format!("the matching input {} is not built", any.type_url));
        }
        input
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
        let facts = HttpFacts { response: Some(head), ..HttpFacts::request(request, info) };
        let found = self.levels.iter().find_map(|level| level.find(&facts));
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
