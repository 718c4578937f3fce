//! `envoy.filters.http.ip_tagging`: tells the upstream to which named address ranges the client belongs.

use super::frame::{Counts, Framed, Live, compiled};
use nuncio_codec::head::Known;
use nuncio_core::config::CompileContext;
use nuncio_core::header::HeaderName;
use nuncio_core::matcher::CidrList;
use nuncio_core::stats::{Registry, Scope};
use nuncio_core::stream_info::StreamInfo;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Request, RouteSays};
use nuncio_proto::pb::envoy::extensions::filters::http::ip_tagging::v3::{IpTagging, ip_tagging as pb};
use pb::RequestType;
use pb::ip_tag_header::HeaderAction;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

nuncio_core::stats_block! {
    /// Below `http.PREFIX.ip_tagging.TAG.`.
    struct TagStats {
        counter hit,
    }
}

nuncio_core::stats_block! {
    /// Below `http.PREFIX.ip_tagging.`: addresses without a tag.
    struct NoHitStats {
        counter no_hit,
    }
}

nuncio_core::stats_block! {
    /// Below `http.PREFIX.ip_tagging.`: addresses looked up.
    struct TotalStats {
        counter total,
    }
}

/// Compiles the filter's message.
pub struct IpTaggingFactory;

impl HttpFilterFactory for IpTaggingFactory {
    type Config = IpTagging;
    type PerRoute = IpTagging;

    fn compile(&self, message: IpTagging, cx: &CompileContext<'_>) -> Option<Compiled> {
        let IpTagging { request_type, ip_tags, ip_tag_header } = message;
        if ip_tags.is_empty() {
            cx.field("ip_tags").error(
                "HTTP IP Tagging Filter requires either ip_tags or ip_tags_datasource to be specified.",
            );
            return None;
        }
        let count = ip_tags.len();
        let tags: Vec<_> = ip_tags
            .into_iter()
            .enumerate()
            .filter_map(|(i, message)| {
                let pb::IpTag { ip_tag_name, mut ip_list } = message;
                for range in &mut ip_list {
                    // As in Envoy here, and here alone, a length that is too long is the longest.
                    let most = if range.address_prefix.contains(':') { 128 } else { 32 };
                    range.prefix_len = range.prefix_len.map(|len| len.min(most));
                }
                let ranges = CidrList::compile(&ip_list, &cx.item("ip_tags", i), "ip_list")?;
                Some(Tag { name: ip_tag_name.into(), ranges })
            })
            .collect();
        let header = ip_tag_header.map(|message| {
            let pb::IpTagHeader { header, action } = message;
            let adds = HeaderAction::try_from(action) == Ok(HeaderAction::AppendIfExistsOrAdd);
            Header { name: HeaderName::new(&header), adds }
        });
        let concerns = RequestType::try_from(request_type).unwrap_or(RequestType::Both);
        let good = tags.len() == count;
        good.then(|| compiled::<IpTaggingFilter>(Settings { concerns, tags: tags.into(), header }))?
    }
}

/// A compiled filter.
struct Settings {
    concerns: RequestType,
    tags: Box<[Tag]>,
    /// Where the tags go instead of `x-envoy-ip-tags`.
    header: Option<Header>,
}

struct Tag {
    name: Box<str>,
    ranges: CidrList,
}

struct Header {
    name: HeaderName,
    /// Tags come behind what the client says; otherwise they take its place.
    adds: bool,
}

/// What it counts, which is there from the first time on, as in Envoy.
struct IpTaggingStats {
    hits: Box<[OnceCell<Scope<TagStats>>]>,
    no_hit: OnceCell<Scope<NoHitStats>>,
    total: OnceCell<Scope<TotalStats>>,
}

impl Counts<Settings> for IpTaggingStats {
    fn begin(settings: &Settings, _: &Registry, _: &str) -> Self {
        let hits = settings.tags.iter().map(|_| OnceCell::new()).collect();
        Self { hits, no_hit: OnceCell::new(), total: OnceCell::new() }
    }
}

/// One stream's filter.
struct IpTaggingFilter {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
}

impl Framed for IpTaggingFilter {
    type Settings = Settings;
    type Stats = IpTaggingStats;

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}ip_tagging.")
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, _: RouteSays<'_>) -> Option<Self> {
        Some(Self { live, settings })
    }
}

impl IpTaggingFilter {
    /// Writes the tags of an address, in the order of the configuration.
    fn tags(&self, info: &StreamInfo) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(ip) = info.remote_address().ip() else { return out };
        let IpTaggingStats { hits, no_hit, total } = &self.live.stats;
        let (stats, prefix) = (&self.live.world.stats, self.live.prefix());
        for (tag, hits) in self.settings.tags.iter().zip(hits) {
            if tag.ranges.contains(ip) {
                hits.get_or_init(|| stats.scope(&format!("{prefix}{}.", tag.name))).hit.inc();
                if !out.is_empty() {
                    out.push(b',');
                }
                out.extend_from_slice(tag.name.as_bytes());
            }
        }
        if out.is_empty() {
            no_hit.get_or_init(|| stats.scope(prefix)).no_hit.inc();
        }
        total.get_or_init(|| stats.scope(prefix)).total.inc();
        out
    }
}

impl HttpFilter for IpTaggingFilter {
    fn sees_responses(&self) -> bool {
        false
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let settings = &self.settings;
        let concerned = match settings.concerns {
            RequestType::Both => true,
            RequestType::Internal => request.info.internal,
            RequestType::External => !request.info.internal,
        };
        if !concerned {
            return Flow::Continue;
        }
        let tags = self.tags(request.info);
        *request.reroute |= !tags.is_empty();
        let headers = &mut request.head.headers;
        match &settings.header {
            None if tags.is_empty() => {}
            None => headers.append_joined(Known::XEnvoyIpTags, b",", &tags),
            Some(Header { name, adds }) => {
                if !adds && headers.remove(name.as_name()) {
                    *request.reroute = true;
                }
                if !tags.is_empty() {
                    headers.append_joined(name.as_name(), b",", &tags);
                }
            }
        }
        Flow::Continue
    }
}
