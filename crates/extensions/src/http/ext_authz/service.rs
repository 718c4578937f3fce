//! The service that is asked, and what answers mean.

use super::check;
use super::compile::{Body, Settings};
use nuncio_codec::h1::reason_phrase;
use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use nuncio_core::format::{Format, FormatContext};
use nuncio_core::matcher::StringMatcher;
use nuncio_downstream::filter::{Piece, Request};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_downstream::tracing::CallSpan;
use nuncio_downstream::world::World;
use nuncio_net::worker::Worker;
use nuncio_proto::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use nuncio_proto::pb::envoy::service::auth::v3::CheckResponse;
use nuncio_upstream::call::grpc::{GrpcError, GrpcMethod};
use nuncio_upstream::call::{Answer, Call, NoAnswer, Retries, Tried};
use nuncio_upstream::cluster::Cluster;
use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Who is asked.
pub(super) enum Service {
    Http(Arc<HttpService>),
    /// `grpc_service`
    Grpc(Arc<GrpcMethod>),
}

/// A compiled `HttpService`.
pub(super) struct HttpService {
    pub(super) cluster: Box<str>,
    pub(super) timeout: Duration,
    pub(super) path_prefix: Box<str>,
    pub(super) path_override: Box<str>,
    /// Request headers that it sees besides method, path, host and `authorization`.
    pub(super) allowed: Box<[StringMatcher]>,
    pub(super) add: Box<[(Box<str>, Added)]>,
    pub(super) retries: Option<Retries>,
    /// Headers of its answer that take the place of the request's.
    pub(super) upstream: Box<[StringMatcher]>,
    /// Those that are added to the request's.
    pub(super) append: Box<[StringMatcher]>,
    /// Those of a denial that the client sees; empty: all.
    pub(super) client: Box<[StringMatcher]>,
    /// Those that the client sees with the response.
    pub(super) client_on_success: Box<[StringMatcher]>,
    /// Those that become dynamic metadata.
    pub(super) metadata: Box<[StringMatcher]>,
}

/// The value of a header that each question gets.
pub(super) enum Added {
    Fixed(Vec<u8>),
    /// It hangs on the stream.
    Formatted(Format),
}

/// What came of a question.
pub(super) enum Verdict {
    /// The request may go on.
    Ok(Box<Allowed>),
    /// It may not.
    Denied(Refusal),
    /// There was no answer that means either; the service may say what the client is answered.
    Error(Option<Refusal>),
}

impl Verdict {
    /// What spans call it.
    fn status(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ext_authz_ok",
            Self::Denied(_) => "ext_authz_unauthorized",
            Self::Error(_) => "ext_authz_error",
        }
    }
}

/// The tag of a question's span that says what came of it.
const STATUS_TAG: &str = "ext_authz_status";

/// The answer to a request that may not go on.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    /// Dynamic metadata.
    pub(super) metadata: Struct,
}

/// Headers with their values.
pub(super) type Headers = Vec<(Box<str>, Vec<u8>)>;

/// How a request that may go on is changed.
#[derive(Default)]
pub(super) struct Allowed {
    pub(super) set: Headers,
    /// These are added.
    pub(super) append: Headers,
    /// These are joined to ones that are there, by a comma.
    pub(super) join: Headers,
    pub(super) remove: Vec<Box<str>>,
    pub(super) query_set: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) query_remove: Vec<Vec<u8>>,
    pub(super) for_client: Vec<ForClient>,
    /// Dynamic metadata.
    pub(super) metadata: Struct,
}

/// A header of the response.
pub(super) type ForClient = (Box<str>, Vec<u8>, HeaderAppendAction);

impl Allowed {
    /// Whether the request is another one then.
    pub(super) fn changes(&self) -> bool {
        let headers = [&self.set, &self.append, &self.join];
        !(headers.iter().all(|list| list.is_empty())
            && self.remove.is_empty()
            && self.query_set.is_empty()
            && self.query_remove.is_empty())
    }
}

/// A question on its way: what comes of it, and how many bytes a gRPC service was sent and gave.
pub(super) type Asking = dyn Future<Output = (Verdict, Option<(u64, u64)>)>;

pub(super) fn any(matchers: &[StringMatcher], name: &str) -> bool {
    matchers.iter().any(|m| m.matches(name.as_bytes()))
}

impl Service {
    /// The name of a question's span.
    fn operation(&self) -> String {
        match self {
            Self::Http(service) => format!("async {} egress", service.cluster),
            Self::Grpc(_) => "async envoy.service.auth.v3.Authorization.Check egress".to_owned(),
        }
    }

    /// Asks about a request; `piece` is what is there of its body where that is gathered, `context` what routes say. `told`:
    /// the question has a span that is exported (`emit_client_span`).
    pub(super) fn ask(
        &self,
        world: &Rc<World>,
        settings: &Arc<Settings>,
        request: &Request<'_>,
        (context, told): (&BTreeMap<String, String>, bool),
        piece: Option<(&Piece, Body)>,
    ) -> Pin<Box<Asking>> {
        let span = self.span(world, request, told);
        match self {
            Self::Http(service) => Box::pin(service.ask(world, settings, (request, span), piece)),
            Self::Grpc(method) => {
                let question = check::question(settings, request, context.clone(), piece).encode_to_vec();
                Box::pin(call(
                    Rc::clone(world),
                    Arc::clone(method),
                    Arc::clone(settings),
                    (request, span),
                    question,
                ))
            }
        }
    }

    fn span(&self, world: &World, request: &Request<'_>, told: bool) -> Option<CallSpan> {
        let (tracer, parent) = request.tracer.zip(request.info.span.as_deref())?;
        let start = (world.worker.wall(), world.worker.now());
        Some(CallSpan::begin(tracer, parent, self.operation(), (!told).then_some(false), start))
    }
}

/// The span of a question over HTTP, and what it tells when the question is over, or given up with the request.
struct Told {
    span: Option<CallSpan>,
    cluster: Rc<Cluster>,
    tried: Tried,
    worker: Rc<Worker>,
}

impl Told {
    fn ended(&mut self, answer: Result<&Answer, NoAnswer>) {
        let Some(mut span) = self.span.take() else { return };
        let status = answer.map_or_else(NoAnswer::status, |answer| answer.head.status);
        span.tag("ext_authz_http_status", reason_phrase(status));
        let allows = if status == 200 { "ext_authz_ok" } else { "ext_authz_unauthorized" };
        span.tag(STATUS_TAG, allows);
        span.tag_answer(self.cluster.info(), &self.tried, Some(answer));
        span.end(&self.worker);
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let Some(mut span) = self.span.take() else { return };
        span.tag("canceled", true);
        span.tag_answer(self.cluster.info(), &self.tried, None);
        span.end(&self.worker);
    }
}

/// The span of a question over gRPC.
struct GrpcTold {
    span: Option<CallSpan>,
    world: Rc<World>,
}

impl GrpcTold {
    fn ended(&mut self, answer: &Result<Verdict, GrpcError>) {
        let Some(mut span) = self.span.take() else { return };
        span.tag("grpc.status_code", answer.as_ref().map_or_else(|error| error.status(), |_| 0));
        match answer {
            Ok(verdict) => span.tag(STATUS_TAG, verdict.status()),
            Err(_) => span.tag("error", true),
        }
        span.end(&self.world.worker);
    }
}

impl Drop for GrpcTold {
    fn drop(&mut self) {
        let Some(mut span) = self.span.take() else { return };
        span.tag("status", "canceled");
        span.end(&self.world.worker);
    }
}

/// Calls the service of that method.
fn call(
    world: Rc<World>,
    method: Arc<GrpcMethod>,
    settings: Arc<Settings>,
    (request, mut span): (&Request<'_>, Option<CallSpan>),
    question: Vec<u8>,
) -> impl Future<Output = (Verdict, Option<(u64, u64)>)> + 'static {
    let mut head = method.head(&context_of(&world, request));
    if let Some(span) = &mut span {
        span.tag("upstream_cluster", method.cluster());
        span.tag("upstream_address", String::from_utf8_lossy(method.authority()));
        span.tag("component", "proxy");
        span.inject(&mut head.headers);
    }
    async move {
        let mut told = GrpcTold { span, world };
        let (bytes, answer) = method.send(&told.world.clusters, &head, &question).await;
        let answer = answer.and_then(|answer| {
            let answer = CheckResponse::decode(&*answer);
            answer.map(|answer| check::verdict(&settings, answer)).map_err(|_| GrpcError::BROKEN)
        });
        told.ended(&answer);
        (answer.unwrap_or(Verdict::Error(None)), bytes)
    }
}

/// What formats read of a request.
fn context_of<'a>(world: &'a World, request: &'a Request<'_>) -> FormatContext<'a> {
    FormatContext {
        request: Some(&request.head.headers),
        ..header_context(request.info, &world.worker, world.worker.now())
    }
}

impl HttpService {
    /// Whether it says itself which headers the service sees.
    pub(super) fn lists_headers(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// Asks about a request.
    fn ask(
        self: &Arc<Self>,
        world: &Rc<World>,
        settings: &Settings,
        (request, span): (&Request<'_>, Option<CallSpan>),
        piece: Option<(&Piece, Body)>,
    ) -> impl Future<Output = (Verdict, Option<(u64, u64)>)> + 'static {
        let seen = piece.map(|(piece, body)| {
            let most = piece.data.len().min(body.most);
            piece.data.get(..most).unwrap_or_default().to_vec()
        });
        let partial = piece.map(|(piece, body)| piece.data.len() > body.most);
        let length = seen.as_ref().map_or(0, Vec::len);
        let mut question = self.question(settings, request.head, length, partial);
        self.add_to(&mut question.headers, &context_of(world, request));
        if let Some(span) = &span {
            span.inject(&mut question.headers);
        }
        let (service, most) = (Arc::clone(self), settings.most_denied_body);
        let cluster = world.clusters.get(&service.cluster);
        let (worker, asked) = (Rc::clone(&world.worker), world.worker.now());
        async move {
            let Some(cluster) = cluster else { return (Verdict::Error(None), None) };
            let mut told = Told { span, cluster: Rc::clone(&cluster), tried: Tried::default(), worker };
            let tried = told.span.is_some().then_some(&told.tried);
            let call = Call { head: &question, body: seen.as_deref(), keep: most, tried };
            let answer = call.send_within(&cluster, Some(service.timeout), service.retries.as_ref()).await;
            told.ended(answer.as_ref().map_err(|none| *none));
            let Ok(mut answer) = answer else { return (Verdict::Error(None), None) };
            // What the router says of every upstream's answer.
            let took = told.worker.since(asked).as_millis() as u64;
            answer.head.headers.set_number(Known::XEnvoyUpstreamServiceTime, took);
            (service.verdict(answer), None)
        }
    }

    /// The head of a question.
    fn question(
        &self,
        settings: &Settings,
        head: &RequestHead,
        length: usize,
        partial: Option<bool>,
    ) -> RequestHead {
        let mut question = RequestHead::new();
        question.version = head.version;
        let headers = &mut question.headers;
        headers.set(Known::Method, head.method());
        headers.set(Known::Scheme, b"http");
        headers.set(Known::Authority, head.authority());
        let path = match (&*self.path_prefix, &*self.path_override) {
            ("", "") => head.path().to_vec(),
            (prefix, "") => [prefix.as_bytes(), head.path()].concat(),
            (_, path) => path.as_bytes().to_vec(),
        };
        headers.set(Known::Path, &path);
        headers.set_number(Known::ContentLength, length as u64);
        let given = !settings.allowed.is_empty() || !self.allowed.is_empty();
        for (name, value) in head.headers.iter() {
            let text = std::str::from_utf8(name.as_bytes()).unwrap_or_default();
            let shown = name.known() == Known::Authorization
                || given && (any(&settings.allowed, text) || any(&self.allowed, text));
            let own = text.starts_with(':') || matches!(name.known(), Known::ContentLength);
            if !shown || own || any(&settings.disallowed, text) {
                continue;
            }
            match headers.get(name) {
                Some(before) if !settings.told.raw_headers => {
                    let joined = [before, b",", value].concat();
                    headers.set(name, &joined);
                }
                _ => headers.append(name, value),
            }
        }
        if let Some(partial) = partial {
            let text: &[u8] = if partial { b"true" } else { b"false" };
            headers.set("x-envoy-auth-partial-body", text);
        }
        let patience = self.retries.as_ref().map_or(self.timeout, |retries| retries.patience(self.timeout));
        headers.set_number(Known::XEnvoyExpectedRqTimeoutMs, patience.as_millis() as u64);
        headers.set(Known::XEnvoyInternal, b"true");
        question
    }

    /// Adds what each question gets.
    fn add_to(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        let mut formatted = Vec::new();
        for (name, value) in &self.add {
            let value = match value {
                Added::Fixed(value) => value,
                Added::Formatted(format) => {
                    formatted.clear();
                    format.render(context, &mut formatted);
                    &formatted
                }
            };
            headers.set(&**name, value);
        }
    }

    /// What an answer means: 200 lets the request go on, 5xx is no answer, all else denies.
    fn verdict(&self, answer: Answer) -> Verdict {
        let Answer { head, body, .. } = answer;
        match head.status {
            200 => Verdict::Ok(Box::new(self.allowed(&head.headers))),
            500..=599 => Verdict::Error(None),
            status => {
                let mut told: Vec<(Cow<'static, str>, Vec<u8>)> =
                    vec![(":status".into(), status.to_string().into_bytes())];
                let mut metadata = Struct::default();
                for (name, value) in head.headers.iter() {
                    let Ok(text) = std::str::from_utf8(name.as_bytes()) else { continue };
                    if self.tells_client(text) {
                        told.push((text.to_owned().into(), value.to_vec()));
                    }
                    self.note(&mut metadata, text, value);
                }
                Verdict::Denied(Refusal { status, headers: told, body, metadata })
            }
        }
    }

    /// Takes a header of an answer as dynamic metadata, where it is to be.
    fn note(&self, metadata: &mut Struct, name: &str, value: &[u8]) {
        if any(&self.metadata, name) {
            let kind = Kind::StringValue(String::from_utf8_lossy(value).into_owned());
            metadata.fields.insert(name.to_owned(), Value { kind: Some(kind) });
        }
    }

    /// Whether a header of a denial goes to the client.
    fn tells_client(&self, name: &str) -> bool {
        let usual = matches!(name, "www-authenticate" | "location" | "content-length");
        name != "host" && (self.client.is_empty() || usual || any(&self.client, name))
    }

    fn allowed(&self, headers: &HeaderMap) -> Allowed {
        let mut allowed = Allowed::default();
        for (name, value) in headers.iter() {
            let Ok(text) = std::str::from_utf8(name.as_bytes()) else { continue };
            let pair = || (Box::<str>::from(text), value.to_vec());
            // Where its own body ends says nothing of the request's.
            let framing = matches!(name.known(), Known::ContentLength | Known::TransferEncoding);
            if !framing && any(&self.upstream, text) {
                allowed.set.push(pair());
            }
            if !framing && any(&self.append, text) {
                allowed.append.push(pair());
            }
            if any(&self.client_on_success, text) {
                let (name, value) = pair();
                allowed.for_client.push((name, value, HeaderAppendAction::AppendIfExistsOrAdd));
            }
            self.note(&mut allowed.metadata, text, value);
            if text == "x-envoy-auth-headers-to-remove" {
                let names = String::from_utf8_lossy(value).to_ascii_lowercase();
                let names = names.split(',').map(str::trim);
                // Neither pseudo headers nor the host can be taken from a request.
                let names = names.filter(|n| !n.is_empty() && !n.starts_with(':') && *n != "host");
                allowed.remove.extend(names.map(Box::from));
            }
        }
        allowed
    }
}
