//! `envoy.filters.http.compressor`: bodies are compressed where the reader of them says that it may be.

mod choice;
mod compile;

use super::coding::{Encoder, Part};
use super::frame::{Counts, Framed, Live, OfRoute, compiled};
use choice::{Candidate, Choice, REGISTRY, Registry, Said};
use compile::{Direction, RouteSettings, Settings};
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::{Registry as StatsRegistry, Scope};
use nuncio_core::stream_info::FilterState;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, Response, RouteSays,
};
use nuncio_proto::pb::envoy::extensions::filters::http::compressor::v3::{Compressor, CompressorPerRoute};
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

nuncio_core::stats_block! {
    /// What each direction counts.
    struct DirectionStats {
        counter compressed,
        counter content_length_too_small,
        counter not_compressed,
        counter total_compressed_bytes,
        counter total_uncompressed_bytes,
    }
}

nuncio_core::stats_block! {
    /// What only responses count.
    struct ResponseStats {
        counter header_compressor_overshadowed,
        counter header_compressor_used,
        counter header_identity,
        counter header_not_valid,
        counter header_wildcard,
        counter no_accept_header,
        counter not_compressed_etag,
    }
}

/// Compiles the filter's messages.
pub struct CompressorFactory;

impl HttpFilterFactory for CompressorFactory {
    type Config = Compressor;
    type PerRoute = CompressorPerRoute;

    fn compile(&self, message: Compressor, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<CompressorFilter>(Settings::compile(message, cx)?)
    }

    fn compile_route(
        &self,
        message: CompressorPerRoute,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        compile::of_route(message, cx)
    }
}

/// What it counts in, and what its last stream found.
struct CompressorStats {
    requests: Scope<DirectionStats>,
    responses: Scope<DirectionStats>,
    accepted: Scope<ResponseStats>,
    registered: RefCell<Option<Registered>>,
}

/// A stream's compressors up to this one: those of the next stream are most often the same.
struct Registered {
    coding: &'static str,
    before: Option<Rc<dyn FilterState>>,
    all: Rc<dyn FilterState>,
}

impl Counts<Settings> for CompressorStats {
    fn begin(settings: &Settings, stats: &StatsRegistry, prefix: &str) -> Self {
        let of_responses = if settings.responses.own_stats { "response." } else { "" };
        Self {
            requests: stats.scope(&format!("{prefix}request.")),
            responses: stats.scope(&format!("{prefix}{of_responses}")),
            accepted: stats.scope(prefix),
            registered: RefCell::default(),
        }
    }
}

/// One stream's filter.
struct CompressorFilter {
    live: Rc<Live<Self>>,
    route: Option<Arc<RouteSettings>>,
    /// The client's `accept-encoding`.
    accept: Option<Box<str>>,
    request: Option<Encoder>,
    response: Option<Encoder>,
    /// Whether it compresses anything is not known yet.
    undecided: bool,
}

impl Framed for CompressorFilter {
    type Settings = Settings;
    type Stats = CompressorStats;

    fn stat_prefix(settings: &Settings, hcm: &str) -> String {
        format!("{hcm}compressor.{}", settings.library.stat_prefix)
    }

    fn is_upstream_too(_: &Settings) -> bool {
        true
    }

    fn settings(live: &Live<Self>, _: RouteSays<'_>) -> Option<Arc<Settings>> {
        Some(Arc::clone(&live.settings))
    }

    fn make(live: Rc<Live<Self>>, _: Arc<Settings>, route: RouteSays<'_>) -> Option<Self> {
        let route = match route.said::<OfRoute<RouteSettings>>() {
            Some(OfRoute::Settings(settings)) => Some(Arc::clone(settings)),
            Some(OfRoute::Disabled) | None => None,
        };
        Some(Self { live, route, accept: None, request: None, response: None, undecided: true })
    }
}

impl Direction {
    /// Whether a message is long enough, as far as it says; counted where it is not.
    fn is_long_enough(&self, headers: &HeaderMap, stats: &DirectionStats) -> bool {
        let Some(length) = headers.get_str(Known::ContentLength) else { return true };
        let enough = length.parse::<u64>().is_ok_and(|length| length >= self.min_length);
        if !enough {
            stats.content_length_too_small.inc();
        }
        enough
    }

    fn takes_type(&self, headers: &HeaderMap) -> bool {
        let Some(given) = content_type(headers) else { return true };
        self.types.iter().any(|own| own.eq_ignore_ascii_case(given))
            || self.matchers.iter().any(|m| m.matches(given.as_bytes()))
    }
}

/// The type without its parameters.
fn content_type(headers: &HeaderMap) -> Option<&str> {
    let whole = headers.get_str(Known::ContentType)?;
    whole.split(';').next().map(str::trim)
}

/// Whether a list contains a token, whatever its letters.
fn lists(headers: &HeaderMap, name: Known, token: &str) -> bool {
    let value = headers.get_str(name).unwrap_or_default();
    value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token))
}

impl CompressorFilter {
    fn coding_name(&self) -> &'static str {
        self.library().coding.name()
    }

    fn library(&self) -> &compile::Library {
        let of_route = self.route.as_ref().and_then(|route| route.library.as_ref());
        of_route.unwrap_or(&self.live.settings.library)
    }

    fn compresses_responses(&self) -> bool {
        let spares = self.route.as_ref().is_some_and(|route| route.spares_responses);
        !spares && self.live.settings.responses.direction.enabled.is_on(&self.live.world.runtime)
    }

    /// The compressors of a stream know of one another, so that the client may choose.
    fn register(&self, request: &mut Request<'_>) {
        let (coding, before) = (self.coding_name(), request.info.filter_state(REGISTRY));
        let mut last = self.live.stats.registered.borrow_mut();
        let same = |last: &&Registered| {
            let pointer =
                |state: &Option<Rc<dyn FilterState>>| state.as_ref().map(|s| Rc::as_ptr(s).cast::<()>());
            last.coding == coding && pointer(&last.before) == pointer(&before)
        };
        if let Some(last) = last.as_ref().filter(same) {
            request.info.set_filter_state(REGISTRY, Rc::clone(&last.all));
            return;
        }
        let settings = &self.live.settings;
        let own = Candidate {
            coding,
            types: Arc::clone(&settings.responses.direction.types),
            first: settings.choose_first,
        };
        let registry = before.as_ref().and_then(|state| state.as_any().downcast_ref());
        let others = registry.map_or(&[][..], |Registry(candidates)| candidates);
        let all: Rc<dyn FilterState> = Rc::new(Registry([others, &[own]].concat()));
        request.info.set_filter_state(REGISTRY, Rc::clone(&all));
        *last = Some(Registered { coding, before, all });
    }

    /// Whether this filter is the one that the client gets; counted.
    fn is_chosen(&self, response: &Response<'_>) -> bool {
        let stats = &self.live.stats.accepted;
        let Some(accept) = &self.accept else {
            stats.no_accept_header.inc();
            return false;
        };
        // Where the filter tells why, it is asked about all types.
        let by_type = !self.live.settings.responses.tells;
        let content_type = content_type(&response.head.headers).filter(|_| by_type).unwrap_or_default();
        let state = response.info.filter_state(REGISTRY);
        let registry = state.as_ref().and_then(|state| state.as_any().downcast_ref());
        let Some(Registry(candidates)) = registry else { return false };
        let Choice { coding, said } = choice::choose(accept, content_type, candidates);
        let own = coding == Some(self.coding_name());
        match said {
            Said::Named if own => {
                stats.header_compressor_used.inc();
            }
            Said::Named => stats.header_compressor_overshadowed.inc(),
            Said::Wildcard => stats.header_wildcard.inc(),
            Said::Identity => stats.header_identity.inc(),
            Said::Nothing => stats.header_not_valid.inc(),
        }
        own
    }

    /// Why a response may not be compressed, whatever the client says; `None`: it may.
    fn obstacle(&self, response: &Response<'_>) -> Option<&'static str> {
        let responses = &self.live.settings.responses;
        let headers = &response.head.headers;
        if !responses.direction.takes_type(headers) {
            return Some("ContentTypeNotAllowed");
        }
        if responses.not_with_etag && headers.contains(Known::Etag) {
            self.live.stats.accepted.not_compressed_etag.inc();
            return Some("EtagNotAllowed");
        }
        if responses.not_with_status.contains(&response.head.status) {
            return Some("StatusCodeNotAllowed");
        }
        let encoded = headers.contains(Known::ContentEncoding);
        let kept = lists(headers, Known::CacheControl, "no-transform");
        (encoded || kept || headers.contains(Known::Upgrade)).then_some("")
    }

    /// A compressed response is not the one that its tag names.
    fn change_etag(&self, headers: &mut HeaderMap) {
        let Some(etag) = headers.get(Known::Etag) else { return };
        if etag.len() > 2 && !matches!(etag, [b'w' | b'W', b'/', ..]) {
            if self.live.settings.responses.weakens_etag {
                let weak = [b"W/", etag].concat();
                headers.set(Known::Etag, &weak);
            } else {
                headers.remove(Known::Etag);
            }
        }
    }

    fn tell(&self, response: &mut Response<'_>, status: &str) {
        if !self.live.settings.responses.tells || status.is_empty() {
            return;
        }
        let value = format!("{};{status}", self.coding_name());
        response.head.headers.append_joined("x-envoy-compression-status", b",", value.as_bytes());
    }

    fn encode(encoder: &mut Option<Encoder>, stats: &DirectionStats, data: &mut Vec<u8>, part: Part) {
        let Some(encoder) = encoder else { return };
        stats.total_uncompressed_bytes.add(data.len() as u64);
        encoder.encode(data, part);
        stats.total_compressed_bytes.add(data.len() as u64);
    }
}

/// What a piece is to its stream.
fn part(piece: &Piece) -> Part {
    if piece.end_stream { Part::Last } else { Part::Middle }
}

impl HttpFilter for CompressorFilter {
    fn sees_bodies(&self) -> bool {
        self.undecided || self.request.is_some() || self.response.is_some()
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, end_stream: bool) -> Flow {
        let settings = Arc::clone(&self.live.settings);
        self.register(request);
        let headers = &mut request.head.headers;
        self.accept = headers.get_str(Known::AcceptEncoding).map(Into::into);
        self.undecided = self.accept.is_some() && self.compresses_responses();
        let removes = self.route.as_ref().and_then(|route| route.removes_accept_encoding);
        if removes.unwrap_or(settings.responses.removes_accept_encoding) && self.compresses_responses() {
            headers.remove(Known::AcceptEncoding);
        }
        let stats = &self.live.stats.requests;
        let compresses = settings.requests.as_ref().is_some_and(|direction| {
            !end_stream
                && direction.enabled.is_on(&self.live.world.runtime)
                && direction.is_long_enough(headers, stats)
                && direction.takes_type(headers)
                && !headers.contains(Known::ContentEncoding)
        });
        self.request = if compresses { self.library().coding.encoder() } else { None };
        if self.request.is_none() {
            stats.not_compressed.inc();
            return Flow::Continue;
        }
        stats.compressed.inc();
        headers.remove(Known::ContentLength);
        headers.set(Known::ContentEncoding, self.coding_name().as_bytes());
        Flow::Continue
    }

    fn decode_data(&mut self, _: &mut Request<'_>, piece: &mut Piece) -> Flow {
        let part = part(piece);
        Self::encode(&mut self.request, &self.live.stats.requests, &mut piece.data, part);
        Flow::Continue
    }

    fn decode_trailers(&mut self, _: &mut Request<'_>, piece: &mut Piece) -> Flow {
        Self::encode(&mut self.request, &self.live.stats.requests, &mut piece.data, Part::Last);
        Flow::Continue
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, end_stream: bool) -> Flow {
        self.undecided = false;
        let stats = &self.live.stats.responses;
        let responses = &self.live.settings.responses;
        let enabled = self.compresses_responses();
        let long_enough = enabled && responses.direction.is_long_enough(&response.head.headers, stats);
        let obstacle = if enabled { self.obstacle(response) } else { Some("") };
        let compressible = long_enough && obstacle.is_none();
        let chosen = !end_stream && enabled && (long_enough || responses.tells) && self.is_chosen(response);
        self.response = if chosen && compressible { self.library().coding.encoder() } else { None };
        if self.response.is_some() {
            let headers = &mut response.head.headers;
            stats.compressed.inc();
            let length = headers.get_str(Known::ContentLength).unwrap_or_default().to_owned();
            self.change_etag(headers);
            headers.remove(Known::ContentLength);
            headers.set(Known::ContentEncoding, self.coding_name().as_bytes());
            self.tell(response, &format!("Compressed;OriginalLength={length}"));
        } else {
            stats.not_compressed.inc();
            if chosen {
                self.tell(response, obstacle.filter(|_| long_enough).unwrap_or("ContentLengthTooSmall"));
            }
        }
        let headers = &mut response.head.headers;
        // As in Envoy, other letters are another token here.
        let varies = headers.get_str(Known::Vary).unwrap_or_default();
        if compressible && !varies.split(',').any(|token| token.trim() == "Accept-Encoding") {
            headers.append_joined(Known::Vary, b", ", b"Accept-Encoding");
        }
        Flow::Continue
    }

    fn encode_data(&mut self, _: &mut Response<'_>, piece: &mut Piece) -> Flow {
        let part = part(piece);
        Self::encode(&mut self.response, &self.live.stats.responses, &mut piece.data, part);
        Flow::Continue
    }

    fn encode_trailers(&mut self, _: &mut Response<'_>, piece: &mut Piece) -> Flow {
        Self::encode(&mut self.response, &self.live.stats.responses, &mut piece.data, Part::Last);
        Flow::Continue
    }
}
