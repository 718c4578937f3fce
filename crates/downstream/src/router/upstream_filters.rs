//! HTTP filters of the upstream's side: the router's `upstream_http_filters`, or the `http_filters` of the cluster,
//! which take their place. They change the heads of every attempt: the request's, which a later attempt finds as they
//! left it, and the response's, before anything is decided by it.

use crate::filter::{
    AnyHttpFilterFactory, Chain, ChainConfig, ChainEntry, Compiled, Filters, Flow, Request, Response,
};
use crate::hcm::local_reply::LocalReply;
use crate::hcm::stream::{Heads, Stream};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::registry::Table;
use nuncio_proto::pb::envoy::extensions::filters::http::upstream_codec::v3::UpstreamCodec;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use prost::Name;

/// What Envoy has on the upstream's side and this has on the other alone.
const ELSEWHERE: [&str; 2] = [
    "envoy.extensions.filters.http.buffer.v3.Buffer",
    "envoy.extensions.filters.http.compressor.v3.Compressor",
];

/// Compiles the list in `field`, whose last one is the codec. `Some(None)`: there is nothing before it.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
pub(super) fn compile(
    filters: Vec<pb::HttpFilter>,
    cx: &CompileContext<'_>,
    field: &str,
    known: &Table<dyn AnyHttpFilterFactory>,
) -> Option<Option<ChainConfig>> {
    let mut chain = ChainConfig { id: 0, filters: Vec::new(), router: None };
    let (mut good, last) = (true, filters.len().saturating_sub(1));
    for (i, filter) in filters.into_iter().enumerate() {
        let cx = cx.item(field, i);
        let pb::HttpFilter { name, config_type, disabled, is_optional } = filter;
        let any = config_type.map(|pb::http_filter::ConfigType::TypedConfig(any)| any).unwrap_or_default();
        let kind = type_name(&any.type_url);
        let is_codec = kind == UpstreamCodec::full_name();
        if is_codec != (i == last) {
            let (which, place) = if is_codec { ("terminal", "must be") } else { ("non-terminal", "is") };
            cx.error(format!(
                "Error: {which} filter named {name} of type {kind} {place} the last filter in a http upstream \
                 filter chain."
            ));
            good = false;
        }
        if is_codec {
            good &= cx.field("typed_config").unpack::<UpstreamCodec>(&any).is_some();
            continue;
        }
        let compiled = known.get(&any.type_url).map(|f| f.compile_any(&any, &cx.field("typed_config")));
        match compiled {
            Some(None) => good = false,
            Some(Some(Compiled::Filter(config))) if config.is_upstream_too() => {
                chain.filters.push(ChainEntry { name: name.into(), place: cx.place(), config, disabled });
            }
            _ if is_optional && !ELSEWHERE.contains(&kind) => {}
            _ => {
                let text = format!("the HTTP filter {kind} is not built for the upstream's side");
                cx.field("typed_config").unsupported(text);
                good = false;
            }
        }
    }
    good.then(|| Some(chain).filter(|chain| !chain.filters.is_empty()))
}

/// The filters of one request's attempts; `None` where there are none.
pub(super) struct UpstreamFilters(Option<Box<Chain>>);

impl UpstreamFilters {
    pub(super) fn new(chain: Option<Box<Chain>>) -> Self {
        Self(chain)
    }

    /// The request's head, before an attempt has it; an answer where a filter gives one.
    #[inline]
    pub(super) fn request<D>(&mut self, stream: &mut Stream<D>) -> Option<LocalReply> {
        request(self.0.as_mut()?.filters(), stream)
    }

    /// The response's head as it came; an answer likewise.
    #[inline]
    pub(super) fn response<D>(&mut self, stream: &mut Stream<D>, end_stream: bool) -> Option<LocalReply> {
        response(self.0.as_mut()?.filters(), stream, end_stream)
    }
}

fn request<D>(filters: &mut Filters, stream: &mut Stream<D>) -> Option<LocalReply> {
    let Stream { heads, info, request_complete, hcm, .. } = stream;
    let Heads { request: head, request_trailers: trailers, .. } = &mut **heads;
    let (mut limit, mut reroute) = (usize::MAX, false);
    let (limit, reroute, tracer) = (&mut limit, &mut reroute, hcm.tracer.as_ref());
    let mut request = Request { head, trailers, info, limit, reroute, tracer };
    (0..filters.down_count())
        .find_map(|i| answer(filters.down(i)?.decode_headers(&mut request, *request_complete)))
}

fn response<D>(filters: &mut Filters, stream: &mut Stream<D>, end_stream: bool) -> Option<LocalReply> {
    let Stream { heads, info, .. } = stream;
    let Heads { request, response: head, response_trailers: trailers, .. } = &mut **heads;
    let mut limit = usize::MAX;
    let mut response = Response { head, trailers, request, info, limit: &mut limit };
    (0..filters.up_count()).find_map(|i| answer(filters.up(i)?.encode_headers(&mut response, end_stream)))
}

impl Drop for UpstreamFilters {
    fn drop(&mut self) {
        if let Some(chain) = self.0.take() {
            chain.give_back();
        }
    }
}

/// Filters that look at heads alone have nothing to wait for.
fn answer(flow: Flow) -> Option<LocalReply> {
    match flow {
        Flow::Continue | Flow::Wait | Flow::Buffer | Flow::Again => None,
        Flow::Reply(reply) | Flow::ReplyAtEnd(reply) => Some(reply),
    }
}
