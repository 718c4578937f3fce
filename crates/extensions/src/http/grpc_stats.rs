//! `envoy.filters.http.grpc_stats`: counts calls, their messages and how they ended, below the name of their cluster.

mod counts;
mod frames;

use super::frame::{Counts as CountsIn, Framed, Live, cluster_of, compiled};
use counts::{Book, Counts};
use frames::{AnswerFrames, Frames};
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_core::config::CompileContext;
use nuncio_core::format::{is_grpc, is_grpc_request};
use nuncio_core::stats::Registry;
use nuncio_core::stream_info::{FilterState, StreamInfo};
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, Response, RouteSays,
};
use nuncio_downstream::route::Route;
use nuncio_proto::pb::envoy::config::core::v3::{GrpcMethodList, grpc_method_list};
use nuncio_proto::pb::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig;
use nuncio_proto::pb::envoy::extensions::filters::http::grpc_stats::v3::filter_config::PerMethodStatSpecifier;
use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

/// The name of what a stream is told of its messages.
const STATE: &str = "envoy.filters.http.grpc_stats";

/// Compiles the filter's message.
pub struct GrpcStatsFactory;

impl HttpFilterFactory for GrpcStatsFactory {
    type Config = FilterConfig;
    type PerRoute = FilterConfig;

    fn compile(&self, message: FilterConfig, _: &CompileContext<'_>) -> Option<Compiled> {
        let FilterConfig {
            emit_filter_state,
            enable_upstream_stats,
            replace_dots_in_grpc_service_name,
            per_method_stat_specifier,
        } = message;
        let methods = match per_method_stat_specifier {
            Some(PerMethodStatSpecifier::StatsForAllMethods(true)) => {
                Methods::All { replaces_dots: replace_dots_in_grpc_service_name }
            }
            Some(PerMethodStatSpecifier::StatsForAllMethods(false)) | None => Methods::None,
            Some(PerMethodStatSpecifier::IndividualMethodStatsAllowlist(list)) => Methods::listed(list),
        };
        let tells = emit_filter_state;
        compiled::<GrpcStats>(Settings { methods, tells, times: enable_upstream_stats })
    }
}

/// A compiled `grpc_stats.v3.FilterConfig`.
struct Settings {
    methods: Methods,
    /// Streams get the numbers of their messages as filter state.
    tells: bool,
    /// How long upstreams take is recorded.
    times: bool,
}

/// Whose calls are counted below names of their own.
enum Methods {
    /// Nobody's.
    None,
    /// Everybody's.
    All { replaces_dots: bool },
    /// Those of these methods, as `service/method`.
    Listed(HashSet<Box<str>>),
}

impl Methods {
    fn listed(list: GrpcMethodList) -> Self {
        let GrpcMethodList { services } = list;
        let mut all = HashSet::new();
        for grpc_method_list::Service { name, method_names } in services {
            all.extend(method_names.iter().map(|method| format!("{name}/{method}").into()));
        }
        Self::Listed(all)
    }

    /// What stands before the names of a method's counters; `method` is `service/method`.
    fn infix(&self, method: &str) -> String {
        let Some((service, name)) = method.split_once('/') else { return String::new() };
        match self {
            Self::None => String::new(),
            Self::All { replaces_dots: true } => format!("{}.{name}.", service.replace('.', "_")),
            Self::All { replaces_dots: false } | Self::Listed(_) => format!("{service}.{name}."),
        }
    }

    /// Under which name a call of `method` is counted; empty: under none of its own.
    fn name<'a>(&self, method: &'a str) -> &'a str {
        match self {
            Self::None => "",
            Self::All { .. } => method,
            Self::Listed(all) if all.contains(method) => method,
            Self::Listed(_) => "",
        }
    }
}

impl CountsIn<Settings> for Book {
    fn begin(_: &Settings, _: &Registry, _: &str) -> Self {
        Self::default()
    }
}

impl Framed for GrpcStats {
    type Settings = Settings;
    type Stats = Book;

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}grpc_stats.")
    }

    fn make(live: Rc<Live<Self>>, _: Arc<Settings>, says: RouteSays<'_>) -> Option<Self> {
        Some(Self {
            live,
            // What leads to no cluster is counted for none.
            route: says.route.filter(|_| says.forwards()).map(Arc::clone),
            kind: Kind::Other,
            unary: false,
            answers_calls: false,
            undecided: true,
            counts: None,
            asked: Frames::default(),
            answered: AnswerFrames::default(),
            told: None,
        })
    }
}

/// What a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Other,
    /// A gRPC call.
    Grpc,
    /// A streaming call of the Connect protocol, whose messages are framed alike.
    ConnectStream,
}

/// One stream's filter.
struct GrpcStats {
    live: Rc<Live<Self>>,
    route: Option<Arc<Route>>,
    kind: Kind,
    /// It names a version of the Connect protocol, whose unary calls are bodies without frames.
    unary: bool,
    /// The answer is one to a gRPC call.
    answers_calls: bool,
    /// The answer's head has not come.
    undecided: bool,
    /// Where it is counted; `None`: nowhere.
    counts: Option<Rc<Counts>>,
    asked: Frames,
    answered: AnswerFrames,
    told: Option<Rc<Messages>>,
}

/// How many messages went each way (`grpc_stats.v3.FilterObject`).
#[derive(Debug, Default)]
struct Messages {
    asked: Cell<u64>,
    answered: Cell<u64>,
}

impl FilterState for Messages {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        Some(format!("{},{}", self.asked.get(), self.answered.get()))
    }

    fn json(&self) -> Option<String> {
        // As proto-JSON writes numbers of 64 bits; 0 is left out.
        let fields = [("requestMessageCount", &self.asked), ("responseMessageCount", &self.answered)];
        let fields = fields.into_iter().filter(|(_, n)| n.get() != 0);
        let fields: Vec<String> = fields.map(|(name, n)| format!("\"{name}\":\"{}\"", n.get())).collect();
        Some(format!("{{{}}}", fields.join(",")))
    }
}

/// The method that a path names, as `service/method`: its two parts, where it has two.
pub(super) fn method(path: &str) -> Option<Cow<'_, str>> {
    let path = path.split('?').next().unwrap_or_default();
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let (service, method) = (parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let plain = path.strip_prefix('/').filter(|plain| plain.len() == service.len() + 1 + method.len());
    Some(plain.map_or_else(|| Cow::Owned(format!("{service}/{method}")), Cow::Borrowed))
}

fn is_connect_stream(headers: &HeaderMap) -> bool {
    headers.get(Known::ContentType).is_some_and(|kind| kind.starts_with(b"application/connect+"))
}

impl GrpcStats {
    /// Where the call is counted.
    fn counts(&self, head: &RequestHead) -> Option<Rc<Counts>> {
        let live = &self.live;
        let cluster = cluster_of(&live.world, self.route.as_deref()?, head)?;
        let method = method(std::str::from_utf8(head.path()).ok()?)?;
        let name = live.settings.methods.name(&method);
        let prefix = || format!("{}grpc.{}", cluster.stat_prefix(), live.settings.methods.infix(name));
        Some(live.stats.counts(&live.world.stats, cluster.name(), name, prefix))
    }

    /// The stream is told how many messages there were.
    fn tell(&mut self, info: &mut StreamInfo, body: (bool, bool)) {
        if !self.live.settings.tells {
            return;
        }
        let told = self.told.get_or_insert_with(|| {
            let told = Rc::<Messages>::default();
            info.set_filter_state(STATE, Rc::clone(&told) as Rc<dyn FilterState>);
            told
        });
        let framed = (self.asked.count(), self.answered.count());
        let (asked, answered) = if self.unary { (body.0.into(), body.1.into()) } else { framed };
        told.asked.set(told.asked.get().max(asked));
        told.answered.set(told.answered.get().max(answered));
    }

    fn count(&self, count: impl Fn(&Counts)) {
        if let Some(counts) = &self.counts {
            count(counts);
        }
    }

    /// The answer is complete: how long it took from the last byte that went up, where there was an upstream.
    fn time(&self, info: &StreamInfo) {
        let (sent, timings) = (info.timings.upstream_tx_end, &info.timings);
        if let Some(sent) = sent.filter(|_| self.live.settings.times && timings.upstream_rx_begin.is_some()) {
            let took = self.live.world.worker.now().saturating_duration_since(sent);
            self.count(|counts| counts.took(took));
        }
    }

    /// How the call ended, where `headers` say it.
    fn end(&self, headers: &HeaderMap) {
        if let Some(status) = headers.get(Known::GrpcStatus) {
            self.count(|counts| counts.status(status));
        }
    }
}

/// Whether a head answers a gRPC call.
fn answers_call(head: &ResponseHead, end_stream: bool) -> bool {
    match end_stream {
        true => head.headers.contains(Known::GrpcStatus),
        false => head.status == 200 && is_grpc(&head.headers),
    }
}

impl HttpFilter for GrpcStats {
    fn sees_bodies(&self) -> bool {
        self.undecided || self.kind != Kind::Other || self.unary || self.answers_calls
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let headers = &request.head.headers;
        self.kind = match (is_grpc_request(headers), is_connect_stream(headers)) {
            (true, _) => Kind::Grpc,
            (false, true) => Kind::ConnectStream,
            (false, false) => Kind::Other,
        };
        self.unary = headers.get("connect-protocol-version").is_some_and(|version| !version.is_empty());
        if self.kind != Kind::Other || self.unary {
            self.counts = self.counts(request.head);
        }
        Flow::Continue
    }

    fn decode_data(&mut self, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        if self.kind == Kind::Other {
            if self.unary && piece.end_stream {
                self.tell(request.info, (true, false));
                self.count(|counts| counts.asked(1));
            }
            return Flow::Continue;
        }
        let new = self.asked.inspect(&piece.data);
        if new > 0 {
            self.tell(request.info, (false, false));
            self.count(|counts| counts.asked(new));
        }
        Flow::Continue
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, end_stream: bool) -> Flow {
        let head = &*response.head;
        self.undecided = false;
        self.answers_calls = answers_call(head, end_stream);
        if self.unary {
            self.count(|counts| counts.ended(head.status == 200));
        } else if head.status != 200 || !is_connect_stream(&head.headers) {
            self.end(&head.headers);
        }
        if end_stream {
            self.time(response.info);
        }
        Flow::Continue
    }

    fn encode_data(&mut self, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        let streams = self.kind == Kind::ConnectStream;
        if self.answers_calls || streams {
            let new = self.answered.inspect(&piece.data);
            if new > 0 {
                self.tell(response.info, (false, false));
                self.count(|counts| counts.answered(new));
            }
            if piece.end_stream && !self.answers_calls {
                self.count(|counts| counts.ended(self.answered.is_success()));
                self.time(response.info);
            }
        } else if self.unary && piece.end_stream {
            self.tell(response.info, (false, true));
            self.count(|counts| counts.answered(1));
            self.time(response.info);
        }
        Flow::Continue
    }

    fn encode_trailers(&mut self, response: &mut Response<'_>, _: &mut Piece) -> Flow {
        if self.kind == Kind::Grpc {
            self.end(response.trailers);
            self.time(response.info);
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests;
