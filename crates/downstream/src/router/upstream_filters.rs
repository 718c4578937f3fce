//! HTTP filters of the upstream's side: the router's `upstream_http_filters`, or the `http_filters` of the cluster,
//! which take their place. Each attempt has instances of its own. They change the request's head in place, which a later
//! attempt finds as they left it, and the response's before anything is decided by it; bodies go through those that see
//! them, on their way to the connection and from it.

use super::cluster_options;
use super::config::RouterConfig;
use super::replay::Rest;
use crate::filter::{
    AnyHttpFilterFactory, Chain, ChainConfig, ChainEntry, Compiled, Encode, Lane, LaneEvent, LiveChain,
    Verdict,
};
use crate::hcm::Hcm;
use crate::hcm::exchange::{Downstream, RequestEvent};
use crate::hcm::local_reply::LocalReply;
use crate::hcm::stream::Stream;
use crate::world::World;
use nuncio_codec::head::HeaderMap;
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::registry::Table;
use nuncio_proto::pb::envoy::extensions::filters::http::upstream_codec::v3::UpstreamCodec;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use nuncio_upstream::cluster::Cluster;
use nuncio_upstream::pool::{Exchange, UpstreamEvent};
use prost::Name;
use std::rc::Rc;

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
            _ if is_optional => {}
            _ => {
                let text = format!("the HTTP filter {kind} is not built for the upstream's side");
                cx.field("typed_config").unsupported(text);
                good = false;
            }
        }
    }
    good.then(|| Some(chain).filter(|chain| !chain.filters.is_empty()))
}

/// Where the filters of a request's attempts come from: its cluster, or the router. `None` where there are none.
#[inline]
pub(super) fn of_request(hcm: &Hcm, config: &RouterConfig, cluster: &Cluster) -> Option<Rc<LiveChain>> {
    match cluster_options::filters(cluster) {
        Some(chain) => of_cluster(&hcm.world, cluster, chain),
        None => hcm.upstream_chain(config.upstream_filters.as_ref()?),
    }
}

/// A cluster's own, on this worker.
fn of_cluster(world: &Rc<World>, cluster: &Cluster, chain: &ChainConfig) -> Option<Rc<LiveChain>> {
    cluster.keep(|| chain.start(world, &format!("cluster.{}.", cluster.name())))
}

/// Those of a copy, which has no route and knows of no router's.
pub(super) fn of_copy(world: &Rc<World>, cluster: &Cluster, limit: usize) -> Option<Box<Chain>> {
    let chain = cluster_options::filters(cluster)?;
    of_cluster(world, cluster, chain)?.make(None, None, limit)
}

/// The filters of one attempt, and what is on its way through them.
#[derive(Default)]
pub(super) struct AttemptFilters(Option<Box<Chain>>);

impl AttemptFilters {
    /// Of a request that has `live` ones. `limit` is how much of a body may wait where a filter says nothing of it.
    pub(super) fn new<D>(live: &LiveChain, stream: &Stream<D>, limit: usize) -> Self {
        Self(live.make(stream.route.as_ref(), None, limit))
    }

    /// Whether bodies go through one of them.
    #[inline]
    pub(super) fn see_bodies(&self) -> bool {
        self.0.as_ref().is_some_and(|chain| chain.sees_bodies())
    }

    /// The request's head, before the attempt has a connection; an answer where a filter gives one.
    pub(super) fn start<D: Downstream>(
        &mut self,
        stream: &mut Stream<D>,
        head_only: bool,
    ) -> Option<LocalReply> {
        answer(self.0.as_mut()?.start_request(stream.parts(), head_only))
    }

    /// What comes of the request's body, connected or not; an answer likewise.
    pub(super) fn push<D: Downstream>(
        &mut self,
        stream: &mut Stream<D>,
        rest: &Rest<'_>,
    ) -> Option<LocalReply> {
        let chain = self.0.as_mut()?;
        let apart = rest.last && stream.hands_on_ends_apart();
        let mut push = |event, data: &[u8]| answer(chain.push_request(stream.parts(), event, data));
        if let Some(data) = rest.data.filter(|data| !(apart && data.is_empty()))
            && let Some(reply) = push(RequestEvent::Data { end_stream: rest.last && !apart }, data)
        {
            return Some(reply);
        }
        match (apart, rest.trailers) {
            (true, _) => push(RequestEvent::End, &[]),
            (_, true) => push(RequestEvent::Trailers, &[]),
            (false, false) => None,
        }
    }

    /// How the request's head came out, where it has: whether it is all there is.
    pub(super) fn head_only(&mut self) -> Option<bool> {
        let lane = self.0.as_mut()?.request();
        lane.is_through().then(|| lane.is_finished())
    }

    /// Gives what has come out behind the head to the connection; how many bytes of the body that was.
    pub(super) fn give(&mut self, up: &mut Exchange, trailers: &HeaderMap) -> u64 {
        self.0.as_mut().map_or(0, |chain| give(chain, up, trailers))
    }

    /// Bytes of the request that wait for a connection or a filter.
    pub(super) fn waiting(&self) -> usize {
        self.0.as_ref().map_or(0, |chain| chain.request_waiting())
    }

    /// The response's head as it came; an answer where a filter gives one.
    pub(super) fn respond<D: Downstream>(
        &mut self,
        stream: &mut Stream<D>,
        end_stream: bool,
    ) -> Option<LocalReply> {
        answer(self.0.as_mut()?.start_response(stream.parts(), end_stream))
    }

    /// What comes behind it; an answer likewise.
    pub(super) fn push_response<D: Downstream>(
        &mut self,
        stream: &mut Stream<D>,
        event: UpstreamEvent,
        data: &[u8],
    ) -> Option<LocalReply> {
        let chain = self.0.as_mut()?;
        let verdict = match event {
            UpstreamEvent::Data { end_stream } => chain.push_response(stream.parts(), data, end_stream),
            UpstreamEvent::End => chain.push_response(stream.parts(), &[], true),
            UpstreamEvent::Trailers => chain.push_response_trailers(stream.parts()),
            UpstreamEvent::Head { .. } | UpstreamEvent::Informational | UpstreamEvent::Metadata => {
                return None;
            }
        };
        answer(verdict)
    }

    /// The response, as far as it has come out.
    pub(super) fn response(&mut self) -> Option<&mut Lane<Encode>> {
        self.0.as_mut().map(|chain| chain.response())
    }
}

impl Drop for AttemptFilters {
    fn drop(&mut self) {
        if let Some(chain) = self.0.take() {
            chain.give_back();
        }
    }
}

/// Gives a connection what of a request's body has come through the filters; how many bytes that was.
pub(super) fn give(chain: &mut Chain, up: &mut Exchange, trailers: &HeaderMap) -> u64 {
    let mut bytes = 0;
    while let Some(event) = chain.request().take_event() {
        match event {
            LaneEvent::Data { end_stream } => {
                let data = chain.request_data();
                bytes += data.len() as u64;
                up.encode_data(data, end_stream);
            }
            LaneEvent::Trailers => up.encode_trailers(trailers),
        }
    }
    bytes
}

/// What a filter answers.
pub(super) fn answer(verdict: Verdict) -> Option<LocalReply> {
    match verdict {
        Verdict::Going | Verdict::Again => None,
        Verdict::Reply(reply) | Verdict::ReplyAtEnd(reply) => Some(reply.of_upstream()),
    }
}
