//! From a `RouteConfiguration` to a [`RouteTable`]. Every error is recorded, with its place.

mod action;
mod answer;
mod cluster;
mod level;
mod matcher;
pub(super) mod matching;
mod rewriting;

pub(super) use answer::redirect;

use super::changes::LevelName;
use super::domains::{DomainError, DomainsBuilder};
use super::index::{PathIndexBuilder, PathKey, Reach};
use super::list::{Entry, HostRoutes, RouteList, Target};
use super::per_filter::PerFilter;
use super::places::{OF_HOST, RoutePlaces};
use super::rate_limit::RateLimits;
use super::rewrite::Matched;
use super::stats::{StatPrefixes, VirtualClusters};
use super::{Host, RequireTls, Route, RouteTable, VirtualHost};
use crate::tracing::{Decorator, RouteTracing};
use level::{Level, with_cors};
use nuncio_core::config::{CompileContext, Place};
use nuncio_core::header::HeaderName;
use nuncio_core::matcher::tree::MatcherTree;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_core::why::FieldPlaces;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use nuncio_upstream::retry_plugin::RetryPlugins;
use prost_types::Any;
use std::cell::Cell;
use std::sync::Arc;

/// `max_direct_response_body_size_bytes` where it is not set.
const MAX_DIRECT_RESPONSE_BODY: u64 = 4096;

/// What a route table needs to know of the configuration around it.
#[derive(Clone, Copy)]
pub struct RouteOptions<'a> {
    /// Whether a cluster of this name is configured.
    pub cluster_exists: &'a dyn Fn(&str) -> bool,
    /// The configured cluster whose name is most like this one, where one is.
    pub nearest_cluster: &'a dyn Fn(&str) -> Option<String>,
    /// `validate_clusters` where it is not set: true for a table inside a listener, false for RDS.
    pub validate_clusters_default: bool,
    /// The filters' per-route configuration.
    pub per_route: &'a dyn CompilePerRoute,
    /// What may be plugged into retries.
    pub retry_plugins: &'a RetryPlugins,
    /// Runtime keys.
    pub runtime: &'a Runtime,
    /// Where matchers count.
    pub stats: &'a Registry,
}

/// Compiles the entries of `typed_per_filter_config`.
pub trait CompilePerRoute {
    /// Whether a filter takes this message: an entry marked `is_optional` is left out where none does.
    fn knows(&self, config: &Any) -> bool;

    /// The compiled configuration of the filter called `filter` in the chain; `None` after an error was
    /// recorded.
    fn compile(
        &self,
        filter: &str,
        config: &Any,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn std::any::Any + Send + Sync>>;
}

/// What the routes of a table have in common while it is compiled.
struct Scope<'a> {
    options: &'a RouteOptions<'a>,
    /// Off while a matcher's routes are compiled: nobody asks whether their clusters exist.
    validate_clusters: Cell<bool>,
    /// In bytes.
    max_body: u64,
    /// `most_specific_header_mutations_wins`.
    table_first: bool,
    ignore_path_parameters: bool,
    table: Level,
    stat_prefixes: StatPrefixes,
    mirrors: Option<Arc<[super::MirrorPolicy]>>,
    plugins: cluster::Plugins,
}

impl Scope<'_> {
    /// Whether a cluster of this name has to exist and does not.
    fn lacks(&self, cluster: &str) -> bool {
        self.validate_clusters.get() && !(self.options.cluster_exists)(cluster)
    }
}

/// What the routes of a virtual host have in common.
struct HostScope<'a> {
    scope: &'a Scope<'a>,
    host: Arc<VirtualHost>,
    level: Level,
    filters: Arc<PerFilter>,
    defaults: action::ForwardingDefaults,
}

/// All of `items`, after every one was tried.
fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut failed = false;
    let mut out = Vec::new();
    for item in items {
        match item {
            Some(item) => out.push(item),
            None => failed = true,
        }
    }
    (!failed).then_some(out)
}

impl RouteTable {
    /// Compiles `message`; `None` when an error was recorded in `cx`.
    pub fn compile(
        message: pb::RouteConfiguration,
        cx: &CompileContext<'_>,
        options: &RouteOptions<'_>,
    ) -> Option<Arc<RouteTable>> {
        let pb::RouteConfiguration {
            name,
            virtual_hosts,
            internal_only_headers,
            response_headers_to_add,
            response_headers_to_remove,
            request_headers_to_add,
            validate_clusters,
            request_headers_to_remove,
            most_specific_header_mutations_wins,
            max_direct_response_body_size_bytes,
            ignore_port_in_host_matching,
            ignore_path_parameters_in_path_matching,
            typed_per_filter_config,
            metadata: _, // No operator and no matcher reads a table's metadata.
            vhost_header,
            request_mirror_policies,
            cluster_specifier_plugins,
        } = message;
        let plugins = cluster::plugins(cluster_specifier_plugins, cx, options);
        let plugins_good = plugins.is_some();
        let table = level::Parts {
            name: LevelName::Table,
            request_add: request_headers_to_add,
            request_remove: request_headers_to_remove,
            response_add: response_headers_to_add,
            response_remove: response_headers_to_remove,
            filters: typed_per_filter_config,
        }
        .compile(cx, options.per_route);
        let domains = domains(&name, &virtual_hosts, cx);
        let scope = Scope {
            options,
            validate_clusters: Cell::new(validate_clusters.unwrap_or(options.validate_clusters_default)),
            max_body: match max_direct_response_body_size_bytes {
                None => MAX_DIRECT_RESPONSE_BODY,
                Some(0) => u64::MAX,
                Some(most) => most.into(),
            },
            table_first: most_specific_header_mutations_wins,
            ignore_path_parameters: ignore_path_parameters_in_path_matching,
            table: table.clone().unwrap_or_default(),
            stat_prefixes: StatPrefixes::default(),
            mirrors: None,
            plugins: plugins.unwrap_or_default(),
        };
        let mirrors = action::mirrors(request_mirror_policies, cx, &|name| scope.lacks(name));
        let scope = Scope { mirrors: mirrors.clone().flatten(), ..scope };
        let hosts = all((0..)
            .zip(virtual_hosts)
            .map(|(i, host)| virtual_host(host, &cx.item("virtual_hosts", i), &scope)));
        if !plugins_good {
            return None;
        }
        table?;
        let lower = |text: String| text.to_ascii_lowercase().into_boxed_str();
        Some(Arc::new(RouteTable {
            place: cx.place(),
            name: name.into(),
            domains: domains?.freeze(),
            hosts: hosts?.into(),
            ignore_port: ignore_port_in_host_matching,
            ignore_path_parameters: ignore_path_parameters_in_path_matching,
            host_header: (!vhost_header.is_empty()).then(|| HeaderName::new(&vhost_header)),
            internal_only_headers: internal_only_headers.into_iter().map(lower).collect(),
            stat_prefixes: scope.stat_prefixes.into_inner(),
        }))
    }
}

fn domains(name: &str, hosts: &[pb::VirtualHost], cx: &CompileContext<'_>) -> Option<DomainsBuilder> {
    let mut builder = DomainsBuilder::default();
    let mut failed = false;
    for (h, host) in hosts.iter().enumerate() {
        for (d, domain) in host.domains.iter().enumerate() {
            let Err(error) = builder.add(domain, h as u32) else { continue };
            failed = true;
            let at = cx.item("virtual_hosts", h);
            let at = at.item("domains", d);
            match error {
                DomainError::SecondWildcard => {
                    at.error(format!("Only a single wildcard domain is permitted in route {name}"))
                }
                DomainError::Duplicate => at.error(format!(
                    "Only unique values for domains are permitted. Duplicate entry of domain {} in route {name}",
                    domain.to_ascii_lowercase()
                )),
            };
        }
    }
    (!failed).then_some(builder)
}

fn virtual_host(message: pb::VirtualHost, cx: &CompileContext<'_>, scope: &Scope<'_>) -> Option<Host> {
    let pb::VirtualHost {
        name,
        domains: _, // Read by the table, for all of its hosts at once.
        routes,
        require_tls,
        request_headers_to_add,
        response_headers_to_add,
        response_headers_to_remove,
        request_headers_to_remove,
        include_request_attempt_count,
        typed_per_filter_config,
        include_attempt_count_in_response,
        include_is_timeout_retry_header,
        retry_policy,
        hedge_policy,
        request_body_buffer_limit,
        per_request_buffer_limit_bytes,
        request_mirror_policies,
        metadata,
        virtual_clusters,
        rate_limits,
        matcher,
        cors,
    } = message;
    let rate_limits = RateLimits::of_route(rate_limits, cx);
    let virtual_clusters = VirtualClusters::compile(virtual_clusters, &name, cx, &scope.stat_prefixes);
    let clusters_good = virtual_clusters.is_some();
    let mirrors = action::mirrors(request_mirror_policies, cx, &|name| scope.lacks(name));
    let level = level::Parts {
        name: LevelName::VirtualHost,
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
        filters: with_cors(typed_per_filter_config, cors, &scope.table),
    }
    .compile(cx, scope.options.per_route);
    let shared = Arc::new(VirtualHost {
        place: cx.place(),
        name: name.into(),
        metadata: metadata.map(nuncio_core::config::metadata),
        include_request_attempt_count,
        include_attempt_count_in_response,
        include_is_timeout_retry_header,
        places: FieldPlaces::new(cx, OF_HOST),
        virtual_clusters: virtual_clusters.unwrap_or_default(),
        rate_limits: rate_limits.clone().unwrap_or_default(),
    });
    let defaults = action::ForwardingDefaults::compile(
        retry_policy,
        hedge_policy,
        request_body_buffer_limit.or(per_request_buffer_limit_bytes.map(u64::from)),
        cx,
        scope.options.retry_plugins,
    );
    let failed =
        level.is_none() || defaults.is_none() || mirrors.is_none() || !clusters_good || rate_limits.is_none();
    let mut defaults = defaults.unwrap_or_default();
    defaults.mirrors = mirrors.flatten().or_else(|| scope.mirrors.clone());
    let level = level.unwrap_or_default();
    let filters = Arc::new(PerFilter::merge(&[&level.filters, &scope.table.filters]));
    let host_scope = HostScope { scope, host: shared.clone(), level, filters, defaults };
    let routes = match matcher {
        None => {
            // Each route is decoded by itself, and gone before the next: together they would take most of the memory of
            // a load.
            let messages =
                (0..).zip(routes).map(|(i, bytes)| (i, move |cx: &CompileContext<'_>| cx.decode(&bytes)));
            list(messages, cx, &host_scope).map(HostRoutes::List)
        }
        Some(message) => {
            if !routes.is_empty() {
                cx.field("matcher").error("cannot set both matcher and routes on virtual host");
                return None;
            }
            let cx = cx.field("matcher");
            let validates = scope.validate_clusters.replace(false);
            let tree = MatcherTree::compile(message, &matcher::Words { scope: &host_scope }, &cx);
            scope.validate_clusters.set(validates);
            tree.map(|tree| HostRoutes::Matcher(Box::new(tree), cx.place()))
        }
    };
    let routes = routes?;
    let require_tls = tls_requirement(require_tls, &shared);
    (!failed).then_some(Host { shared, require_tls, routes })
}

/// A list of routes, which `messages` give with their numbers in the field `routes`.
fn list(
    messages: impl Iterator<Item = (usize, impl FnOnce(&CompileContext<'_>) -> Option<pb::Route>)>,
    cx: &CompileContext<'_>,
    scope: &HostScope<'_>,
) -> Option<RouteList> {
    let mut list = ListBuilder::default();
    let whole = all(messages.map(|(i, message)| {
        let cx = cx.item("routes", i);
        list.add(route(message(&cx)?, &cx, scope)?);
        Some(())
    }));
    whole.map(|_| list.freeze(cx.place()))
}

/// The list of one route.
fn single(message: pb::Route, cx: &CompileContext<'_>, scope: &HostScope<'_>) -> Option<RouteList> {
    let mut list = ListBuilder::default();
    list.add(route(message, cx, scope)?);
    Some(list.freeze(cx.place()))
}

/// A [`RouteList`] while it grows.
#[derive(Default)]
struct ListBuilder {
    index: PathIndexBuilder,
    entries: Vec<Entry>,
    pathless: Vec<u32>,
    first_takes_all: bool,
}

impl ListBuilder {
    fn add(&mut self, (path, entry): (matching::PathPlace, Entry)) {
        let number = self.entries.len() as u32;
        if number == 0 {
            let every = matches!(path.key(), PathKey::Literal(b"" | b"/", Reach::Prefix));
            self.first_takes_all = every && entry.conditions.is_none();
        }
        self.index.add(number, path.key(), path.guard.clone());
        if path.without_path {
            self.pathless.push(number);
        }
        self.entries.push(entry);
    }

    fn freeze(self, place: Option<Place>) -> RouteList {
        let Self { index, entries, pathless, first_takes_all } = self;
        RouteList {
            place,
            index: index.freeze(),
            entries: entries.into(),
            first_takes_all,
            pathless: pathless.into(),
        }
    }
}

fn tls_requirement(value: i32, host: &Arc<VirtualHost>) -> Option<RequireTls> {
    use pb::virtual_host::TlsRequirementType;
    let external_only = match TlsRequirementType::try_from(value) {
        Ok(TlsRequirementType::All) => false,
        Ok(TlsRequirementType::ExternalOnly) => true,
        // The support check refused other numbers.
        Ok(TlsRequirementType::None) | Err(_) => return None,
    };
    let route = Arc::new(Route {
        place: host.place,
        name: "".into(),
        virtual_host: Arc::clone(host),
        metadata: None,
        stats: None,
        tracing: None,
        decorator: None,
        action: super::Action::ToTls,
        filters: Arc::default(),
        places: RoutePlaces::none(),
        matched: Matched::Whole,
        weight: None,
        request_headers: Box::default(),
        response_headers: Box::default(),
    });
    Some(RequireTls { external_only, route })
}

fn route(
    message: pb::Route,
    cx: &CompileContext<'_>,
    scope: &HostScope<'_>,
) -> Option<(matching::PathPlace, Entry)> {
    let pb::Route {
        r#match,
        mut action,
        metadata,
        request_headers_to_add,
        response_headers_to_add,
        response_headers_to_remove,
        request_headers_to_remove,
        typed_per_filter_config,
        name,
        request_body_buffer_limit,
        per_request_buffer_limit_bytes,
        stat_prefix,
        tracing,
        decorator,
    } = message;
    let cors = match &mut action {
        Some(pb::route::Action::Route(action)) => action.cors.take(),
        _ => None,
    };
    let level = level::Parts {
        name: LevelName::Route,
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
        filters: with_cors(typed_per_filter_config, cors, &scope.scope.table),
    }
    .compile(cx, scope.scope.options.per_route);
    let matched = matching::compile(
        r#match.unwrap_or_default(),
        &cx.field("match"),
        scope.scope.ignore_path_parameters,
    );
    let template = matched.as_ref().and_then(|m| m.template());
    let compiled = match action {
        Some(action) => {
            let own = request_body_buffer_limit.or(per_request_buffer_limit_bytes.map(u64::from));
            let body_limit = own.or(scope.defaults.body_limit);
            let defaults = action::ForwardingDefaults { body_limit, ..scope.defaults.clone() };
            let around = action::Around { scope: scope.scope, name: &name, template, defaults };
            action::compile(action, cx, &around)
        }
        None => {
            cx.error("a route needs an action");
            None
        }
    };
    let (level, mut matched, compiled) = (level?, matched?, compiled?);
    let (request_headers, response_headers) = level.ordered(scope);
    let stats = (!stat_prefix.is_empty())
        .then(|| scope.scope.stat_prefixes.number(format!("vhost.{}.route.{stat_prefix}.", scope.host.name)));
    let base = Route {
        stats,
        tracing: match tracing {
            Some(message) => Some(Arc::new(RouteTracing::compile(message, &cx.field("tracing"))?)),
            None => None,
        },
        decorator: decorator.map(|message| Arc::new(Decorator::compile(message))),
        place: cx.place(),
        name: name.as_str().into(),
        virtual_host: scope.host.clone(),
        metadata: metadata.map(nuncio_core::config::metadata),
        action: super::Action::NonForwarding,
        filters: level.merged(scope, &[]),
        places: RoutePlaces::new(cx),
        matched: matched.path.matched,
        weight: None,
        request_headers,
        response_headers,
    };
    let target = match compiled {
        action::Compiled::One(action) => Target::One(Arc::new(Route { action, ..base })),
        action::Compiled::Weighted(weighted, action) => {
            Target::Weighted(Box::new(weighted.into_routes(&action, &base, &level, scope)))
        }
        action::Compiled::Specified(by, action) => {
            Target::Specified(Box::new(cluster::specified(by, &action, &base)))
        }
        action::Compiled::Never(action) => {
            matched.conditions.no_specifier = true;
            Target::One(Arc::new(Route { action, ..base }))
        }
    };
    let matching::Compiled { path, conditions } = matched;
    let conditions = (!conditions.is_empty()).then(|| Box::new(conditions));
    Some((path, Entry { conditions, target }))
}
