//! Route configurations, compiled: from a request's head to the route that serves it.
//!
//! A [`RouteTable`] is built once from a `RouteConfiguration` and never changes; workers share it. Hosts and
//! paths are found in trees, so that a look-up costs the length of host and path and not the number of
//! routes, while the first route in configuration order always wins. A look-up allocates nothing.
//!
//! What a route carries is merged over the levels already: header changes in the order in which they run,
//! per-filter configuration as the most specific level has it. Each cluster of a `weighted_clusters` is a
//! route of its own; the look-up picks one.

mod action;
mod affix;
mod changes;
mod compile;
mod conditions;
mod domains;
mod feed;
mod index;
mod internal_redirect;
mod list;
mod per_filter;
mod places;
mod rate_limit;
mod redirect;
mod request_matcher;
mod rewrite;
mod scoped;
mod specifier;
mod stats;
mod template;
mod trie;
mod walk;
mod weighted;

pub use action::{
    Action, ClusterAction, ClusterSpecifier, DEFAULT_TIMEOUT, DirectResponseAction, GrpcTimeout, HostChoice,
    Limit, MirrorPolicy, Priority, StreamLimits,
};
pub use changes::LevelName;
pub use compile::{CompilePerRoute, RouteOptions};
pub use conditions::Mismatch;
pub(crate) use domains::port_start;
pub use feed::{RouteFeed, RouteFeeds, Routes};
pub use per_filter::{FilterOverride, PerFilter, RouteConfigs};
pub use rate_limit::{Descriptor, Hits, RateLimits, Subject};
pub use redirect::RedirectAction;
pub use request_matcher::RequestMatcher;
pub use rewrite::{HostRewrite, set_authority};
pub use scoped::ScopedRoutes;
pub use specifier::ClusterMatcher;
pub use stats::{Apart, ApartStats};
pub use walk::{MatcherAction, Met};

use crate::hcm::upgrade::RouteUpgrade;
use crate::tracing::{Decorator, RouteTracing};
pub use internal_redirect::{Followed, InternalRedirects};

use changes::LevelChanges;
use domains::{Domains, without_port};
use list::HostRoutes;
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_core::config::Place;
use nuncio_core::format::FormatContext;
use nuncio_core::header::HeaderName;
use nuncio_core::runtime::Runtime;
use nuncio_core::stream_info::{ConnectionInfo, Metadata, StreamInfo};
use nuncio_core::why::FieldPlaces;
use rewrite::{Matched, path_end};
use smallvec::SmallVec;
use std::sync::Arc;

/// What a look-up reads besides the head.
#[derive(Clone, Copy, Debug)]
pub struct MatchContext<'a> {
    /// The stream: its random number (the same for its whole life, so that a second look-up decides alike)
    /// and its dynamic metadata.
    pub info: &'a StreamInfo,
    /// Runtime values.
    pub runtime: &'a Runtime,
    /// What is known of the client's certificate.
    pub peer_certificate: PeerCertificate,
    /// Matchers count what they count: not where somebody asks on the side.
    pub counts: bool,
}

/// What `tls_context` asks; both are false on a connection without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The client presented one.
    pub presented: bool,
    /// It was validated.
    pub validated: bool,
}

impl PeerCertificate {
    /// What a connection's client has shown.
    #[inline]
    pub fn of(connection: &ConnectionInfo) -> Self {
        let peer = connection.tls().and_then(|tls| tls.peer.as_ref());
        Self { presented: peer.is_some(), validated: peer.is_some_and(|p| p.validated) }
    }
}

/// A path without parameters.
type Shortened = SmallVec<[u8; 256]>;

/// The outcome of a look-up.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The route that serves the request.
    Route(&'a Arc<Route>),
    /// No route of this virtual host matches.
    NoRoute(&'a Arc<VirtualHost>),
    /// No virtual host has the request's host.
    NoVirtualHost,
}

/// Where a route stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The number of its virtual host.
    pub host: usize,
    /// Its number in the list; none where a matcher leads to it.
    pub at: Option<usize>,
}

/// A compiled `RouteConfiguration`.
#[derive(Debug)]
pub struct RouteTable {
    place: Option<Place>,
    name: Arc<str>,
    domains: Domains,
    hosts: Box<[Host]>,
    ignore_port: bool,
    ignore_path_parameters: bool,
    host_header: Option<HeaderName>,
    internal_only_headers: Box<[Box<str>]>,
    stat_prefixes: Box<[Box<str>]>,
}

/// A virtual host and its routes.
#[derive(Debug)]
struct Host {
    shared: Arc<VirtualHost>,
    require_tls: Option<RequireTls>,
    routes: HostRoutes,
}

/// `VirtualHost.require_tls`: requests that did not come by https are led there.
#[derive(Debug)]
struct RequireTls {
    /// `EXTERNAL_ONLY`
    external_only: bool,
    /// What answers them: it has neither a name nor header changes or filters' configuration.
    route: Arc<Route>,
}

/// What a virtual host says about all of its routes.
#[derive(Debug)]
pub struct VirtualHost {
    /// Where it stands in the configuration.
    pub place: Option<Place>,
    /// Its name.
    pub name: Arc<str>,
    /// `VirtualHost.metadata`.
    pub metadata: Option<Arc<Metadata>>,
    /// Requests carry `x-envoy-attempt-count`.
    pub include_request_attempt_count: bool,
    /// Responses carry `x-envoy-attempt-count`.
    pub include_attempt_count_in_response: bool,
    /// Retries carry `x-envoy-is-timeout-retry`.
    pub include_is_timeout_retry_header: bool,
    /// Where its fields stand.
    pub places: FieldPlaces,
    /// `VirtualHost.rate_limits`
    pub rate_limits: RateLimits,
    virtual_clusters: stats::VirtualClusters,
}

/// One compiled route, or one cluster of a weighted route.
#[derive(Debug)]
pub struct Route {
    /// Where it stands in the configuration.
    pub place: Option<Place>,
    /// Its name, empty when it has none.
    pub name: Arc<str>,
    /// The virtual host that it belongs to.
    pub virtual_host: Arc<VirtualHost>,
    /// `Route.metadata`, what access logs read as `%METADATA(ROUTE:…)%`.
    pub metadata: Option<Arc<Metadata>>,
    /// The number of its own stats (`stat_prefix`).
    pub stats: Option<u32>,
    /// `tracing`
    pub tracing: Option<Arc<RouteTracing>>,
    /// `decorator`
    pub decorator: Option<Arc<Decorator>>,
    /// What becomes of the request.
    pub action: Action,
    /// Per-filter configuration, merged over all levels.
    pub filters: Arc<PerFilter>,
    places: places::RoutePlaces,
    matched: Matched,
    weight: Option<Box<WeightChanges>>,
    request_headers: Box<[Arc<LevelChanges>]>,
    response_headers: Box<[Arc<LevelChanges>]>,
}

/// What a cluster of `weighted_clusters` changes before every other level, whatever their order.
#[derive(Debug, Default)]
struct WeightChanges {
    request_headers: Option<Arc<LevelChanges>>,
    response_headers: Option<Arc<LevelChanges>>,
    /// `host_rewrite_literal`, and where it stands: set without `x-envoy-original-host` or `x-forwarded-host`.
    host: Option<(Box<str>, Option<Place>)>,
}

impl WeightChanges {
    fn is_empty(&self) -> bool {
        let Self { request_headers, response_headers, host } = self;
        request_headers.is_none() && response_headers.is_none() && host.is_none()
    }
}

impl RouteTable {
    /// A table without virtual hosts: what holds until RDS has given one.
    pub fn empty(name: &str) -> Self {
        Self {
            place: None,
            name: name.into(),
            domains: Domains::default(),
            hosts: Box::default(),
            ignore_port: false,
            ignore_path_parameters: false,
            host_header: None,
            internal_only_headers: Box::default(),
            stat_prefixes: Box::default(),
        }
    }

    /// Where it stands in the configuration.
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// `RouteConfiguration.name`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// `internal_only_headers`, lower-case: removed from requests that come from outside.
    pub fn internal_only_headers(&self) -> &[Box<str>] {
        &self.internal_only_headers
    }

    /// The prefixes of what is counted apart from clusters; streams know them by number.
    pub fn stat_prefixes(&self) -> &[Box<str>] {
        &self.stat_prefixes
    }

    /// The route for `head`, whose `x-forwarded-proto` is set already: without one no route matches, and
    /// `require_tls` reads it (and `x-envoy-internal`).
    pub fn find(&self, head: &RequestHead, cx: &MatchContext<'_>) -> Found<'_> {
        let Some(host) = self.virtual_host(&head.headers) else { return Found::NoVirtualHost };
        let forwarded = head.headers.get(Known::XForwardedProto).unwrap_or_default();
        if forwarded.is_empty() {
            return Found::NoRoute(&host.shared);
        }
        if let Some(route) = host.redirects_to_tls(forwarded, &head.headers) {
            return Found::Route(route);
        }
        let mut shortened = Shortened::new();
        let path = self.match_path(head.path(), &mut shortened);
        let entry = host.routes.of(head, cx).and_then(|list| list.find(head, path, cx));
        let route = entry.and_then(|entry| entry.target.route(head, cx));
        route.map_or(Found::NoRoute(&host.shared), Found::Route)
    }

    /// The virtual host that serves `head`, and its number in the list.
    pub fn host_of(&self, head: &RequestHead) -> Option<(usize, &Arc<VirtualHost>)> {
        let host = self.virtual_host(&head.headers)?;
        let at = self.hosts.iter().position(|other| std::ptr::eq(other, host))?;
        Some((at, &host.shared))
    }

    /// Where a route stands in the lists, one of whose clusters this may be. It walks them.
    pub fn position(&self, route: &Route) -> Option<Position> {
        let host = self.hosts.iter().position(|host| Arc::ptr_eq(&host.shared, &route.virtual_host))?;
        let routes = &self.hosts.get(host)?.routes;
        let is = |other: &Arc<Route>| std::ptr::eq(Arc::as_ptr(other), route);
        let at = match routes {
            HostRoutes::List(list) => {
                Some(list.entries.iter().position(|entry| entry.target.routes().into_iter().any(is))?)
            }
            HostRoutes::Matcher(..) => None,
        };
        Some(Position { host, at })
    }

    fn virtual_host(&self, headers: &HeaderMap) -> Option<&Host> {
        if let Some(any) = self.domains.only_any() {
            return self.hosts.get(any as usize);
        }
        let host = match &self.host_header {
            None => headers.get(Known::Authority),
            Some(name) => name.value(headers),
        }?;
        let found = self.domains.find(if self.ignore_port { without_port(host) } else { host });
        self.hosts.get(found? as usize)
    }

    /// What routes are matched on: the path without query and fragment; where parameters are ignored, each of its
    /// segments without `;…`, which is made in `shortened`.
    #[inline]
    fn match_path<'p>(&self, path: &'p [u8], shortened: &'p mut Shortened) -> &'p [u8] {
        let path = path.get(..path_end(path)).unwrap_or_default();
        if !self.ignore_path_parameters || memchr::memchr(b';', path).is_none() {
            return path;
        }
        for segment in path.split_inclusive(|b| *b == b'/') {
            let end = memchr::memchr(b';', segment).unwrap_or(segment.len());
            shortened.extend_from_slice(segment.get(..end).unwrap_or_default());
            if end < segment.len() && segment.ends_with(b"/") {
                shortened.push(b'/');
            }
        }
        shortened
    }
}

impl Host {
    /// The route that leads a request to https, if it has to go there.
    fn redirects_to_tls(&self, forwarded: &[u8], headers: &HeaderMap) -> Option<&Arc<Route>> {
        let RequireTls { external_only, route } = self.require_tls.as_ref()?;
        let asked =
            forwarded != b"https" && !(*external_only && headers.get(Known::XEnvoyInternal) == Some(b"true"));
        asked.then_some(route)
    }
}

impl Route {
    /// Tells a stream's info what route it takes, or that it takes none.
    #[inline]
    pub fn tell(route: Option<&Self>, info: &mut StreamInfo) {
        info.route_name = route.map(|route| Arc::clone(&route.name));
        info.route_metadata = route.and_then(|route| route.metadata.clone());
        info.virtual_host_metadata = route.and_then(|route| route.virtual_host.metadata.clone());
    }

    /// What upgrades it allows or forbids itself.
    pub fn upgrades(&self) -> &[RouteUpgrade] {
        match &self.action {
            Action::Cluster(action) => &action.upgrades,
            Action::Redirect(_) | Action::ToTls | Action::DirectResponse(_) | Action::NonForwarding => &[],
        }
    }

    /// Changes a request's headers as the route, its virtual host and its table say, in the configured
    /// order; a weighted cluster's changes come first. Runs before the host is rewritten, and the path. `told` hears of
    /// each level once it has changed the head.
    #[inline]
    pub fn mutate_request(
        &self,
        head: &mut RequestHead,
        cx: &FormatContext<'_>,
        told: impl Fn(LevelName, Option<Place>, &RequestHead),
    ) {
        if let Some(weight) = &self.weight {
            if let Some(changes) = &weight.request_headers {
                changes.apply_request(head, cx);
                told(changes.level, changes.place, head);
            }
            if let Some((host, place)) = &weight.host {
                head.headers.set(Known::Authority, host.as_bytes());
                told(LevelName::Weight, *place, head);
            }
        }
        for changes in &self.request_headers {
            changes.apply_request(head, cx);
            told(changes.level, changes.place, head);
        }
    }

    /// Whether [`mutate_request`](Self::mutate_request) does anything.
    #[inline]
    pub fn mutates_requests(&self) -> bool {
        self.weight.is_some() || !self.request_headers.is_empty()
    }

    /// Whether [`mutate_response`](Self::mutate_response) may do anything.
    #[inline]
    pub fn mutates_responses(&self) -> bool {
        self.weight.is_some() || !self.response_headers.is_empty()
    }

    /// Changes a response's headers, in the same order.
    pub fn mutate_response(&self, head: &mut ResponseHead, cx: &FormatContext<'_>) {
        for changes in self.response_changes() {
            changes.apply_response(head, cx);
        }
    }

    fn response_changes(&self) -> impl Iterator<Item = &Arc<LevelChanges>> {
        let weight = self.weight.as_ref().and_then(|w| w.response_headers.as_ref());
        weight.into_iter().chain(&self.response_headers)
    }

    /// Rewrites `:authority`, then `:path`, on the way upstream. `keep_original` (not
    /// `suppress_envoy_headers`) puts the old ones into `x-envoy-original-host` and `-path`; `cx` is what formats read
    /// beside the head. `told` hears which field did it, and where it stands.
    #[inline]
    pub fn rewrite_request<'c>(
        &self,
        head: &mut RequestHead,
        keep_original: bool,
        cx: impl Fn() -> FormatContext<'c>,
        told: impl Fn(&'static str, Option<Place>, &RequestHead),
    ) {
        let Action::Cluster(action) = &self.action else { return };
        if let HostChoice::Rewrite(rewrite) = &action.host {
            rewrite.apply(head, action.append_x_forwarded_host, keep_original, &cx);
            told(rewrite.field(), self.place_of(rewrite.field()), head);
        }
        if let Some(rewrite) = &action.path {
            rewrite.apply(head, self.matched, keep_original, &cx);
            told(rewrite.field(), self.place_of(rewrite.field()), head);
        }
    }

    /// What its levels change of responses' headers: who, where, and which.
    pub fn response_header_changes(&self) -> impl Iterator<Item = (LevelName, Option<Place>, String)> {
        self.response_changes().map(|changes| {
            let names: Vec<&str> = changes.changes.names().map(HeaderName::as_str).collect();
            (changes.level, changes.place, names.join(", "))
        })
    }

    /// Appends the `location` of the answer that this route gives itself, and rewrites `:path` as a redirect
    /// does first; `false`, and nothing appended, where the answer has none. `keep_original` and `cx` as in
    /// [`rewrite_request`](Self::rewrite_request).
    pub fn location<'c>(
        &self,
        head: &mut RequestHead,
        keep_original: bool,
        cx: impl Fn() -> FormatContext<'c>,
        out: &mut Vec<u8>,
    ) -> bool {
        match &self.action {
            Action::Redirect(redirect) => {
                if let Some(rewrite) = &redirect.rewrite {
                    rewrite.apply(head, self.matched, keep_original, &cx);
                }
                redirect.write_location(head, cx, out);
                true
            }
            Action::ToTls => {
                redirect::write_tls_url(head, out);
                true
            }
            Action::DirectResponse(answer) if answer.status == 201 || answer.status / 100 == 3 => {
                redirect::write_own_url(head, out);
                true
            }
            Action::DirectResponse(_) | Action::Cluster(_) | Action::NonForwarding => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
