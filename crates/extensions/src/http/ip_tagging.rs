//! `envoy.filters.http.ip_tagging`: tells the upstream to which named address ranges the client belongs.

mod source;

use super::frame::{Counts, Framed, Live, compiled};
use nuncio_codec::head::Known;
use nuncio_core::config::CompileContext;
use nuncio_core::header::HeaderName;
use nuncio_core::stats::{Registry, Scope};
use nuncio_core::stream_info::StreamInfo;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Request, RouteSays};
use nuncio_proto::pb::envoy::extensions::filters::http::ip_tagging::v3::{IpTagging, ip_tagging as pb};
use pb::RequestType;
use pb::ip_tag_header::HeaderAction;
use source::{Tag, TagSource};
use std::cell::{Cell, OnceCell, RefCell};
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

nuncio_core::stats_block! {
    /// Below `http.PREFIX.ip_tagging.`: files of tags that were read anew.
    struct ReloadStats {
        counter reload_success,
    }
}

/// Compiles the filter's message.
pub struct IpTaggingFactory;

impl HttpFilterFactory for IpTaggingFactory {
    type Config = IpTagging;
    type PerRoute = IpTagging;

    fn compile(&self, message: IpTagging, cx: &CompileContext<'_>) -> Option<Compiled> {
        let IpTagging { request_type, ip_tags, ip_tag_header, ip_tags_datasource } = message;
        let tags = TagSource::compile(ip_tags, ip_tags_datasource, cx)?;
        let header = ip_tag_header.map(|message| {
            let pb::IpTagHeader { header, action } = message;
            let adds = HeaderAction::try_from(action) == Ok(HeaderAction::AppendIfExistsOrAdd);
            Header { name: HeaderName::new(&header), adds }
        });
        let concerns = RequestType::try_from(request_type).unwrap_or(RequestType::Both);
        compiled::<IpTaggingFilter>(Settings { concerns, tags, header })
    }
}

/// A compiled filter.
struct Settings {
    concerns: RequestType,
    tags: TagSource,
    /// Where the tags go instead of `x-envoy-ip-tags`.
    header: Option<Header>,
}

struct Header {
    name: HeaderName,
    /// Tags come behind what the client says; otherwise they take its place.
    adds: bool,
}

/// The tags that hold, and what each counts.
struct Tags {
    list: Arc<[Tag]>,
    hits: Box<[OnceCell<Scope<TagStats>>]>,
}

impl Tags {
    fn new(list: Arc<[Tag]>) -> Rc<Self> {
        Rc::new(Self { hits: list.iter().map(|_| OnceCell::new()).collect(), list })
    }
}

/// What it counts, which is there from the first time on, as in Envoy.
struct IpTaggingStats {
    tags: RefCell<Rc<Tags>>,
    /// Of the tags, where they come from a file.
    generation: Cell<u64>,
    no_hit: OnceCell<Scope<NoHitStats>>,
    total: OnceCell<Scope<TotalStats>>,
}

impl Counts<Settings> for IpTaggingStats {
    fn begin(settings: &Settings, _: &Registry, _: &str) -> Self {
        let (generation, list) = settings.tags.now();
        Self {
            tags: RefCell::new(Tags::new(list)),
            generation: Cell::new(generation),
            no_hit: OnceCell::new(),
            total: OnceCell::new(),
        }
    }
}

impl IpTaggingStats {
    /// The tags that hold now.
    fn tags(&self, source: &TagSource) -> Rc<Tags> {
        if source.generation() != self.generation.get() {
            let (generation, list) = source.now();
            self.generation.set(generation);
            *self.tags.borrow_mut() = Tags::new(list);
        }
        Rc::clone(&self.tags.borrow())
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

    fn start(live: &Live<Self>) {
        let (stats, prefix) = (live.world.stats.clone(), live.prefix().to_owned());
        let counter = OnceCell::new();
        live.settings.tags.follow(&live.world.worker, move || {
            counter.get_or_init(|| stats.scope::<ReloadStats>(&prefix)).reload_success.inc();
        });
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
        let IpTaggingStats { no_hit, total, .. } = &self.live.stats;
        let (stats, prefix) = (&self.live.world.stats, self.live.prefix());
        let tags = self.live.stats.tags(&self.settings.tags);
        for (tag, hits) in tags.list.iter().zip(&tags.hits) {
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
