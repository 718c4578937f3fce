//! Which cluster, or which of several: `RouteAction.cluster_specifier`.

use super::action::{Around, criteria};
use super::level::{Level, Parts};
use super::{HostScope, RouteOptions, all};
use crate::route::action::{Action, ClusterAction, ClusterSpecifier};
use crate::route::changes::LevelName;
use crate::route::specifier::{self, Specified};
use crate::route::weighted::{Choice, WeightedClusters};
use crate::route::{ClusterMatcher, Route, WeightChanges};
use nuncio_core::config::{CompileContext, Place, type_name};
use nuncio_core::header::HeaderName;
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use nuncio_proto::pb::envoy::extensions::router::cluster_specifiers::matcher::v3::MatcherClusterSpecifier;
use nuncio_upstream::lb::Criteria;
use prost::Name;
use std::collections::HashMap;
use std::sync::Arc;

/// A compiled `cluster_specifier`.
pub(super) enum Specifier {
    One(ClusterSpecifier),
    Weighted(Weighted),
    /// A plug-in's; none where it is optional and nobody knows it.
    Plugin(Option<Arc<ClusterMatcher>>),
}

/// The plug-ins of a table, by name; none where one is optional and nobody knows it.
pub(super) type Plugins = HashMap<Box<str>, Option<Arc<ClusterMatcher>>>;

/// `cluster_specifier_plugins`. Of several with one name, the first holds.
pub(super) fn plugins(
    messages: Vec<pb::ClusterSpecifierPlugin>,
    cx: &CompileContext<'_>,
    options: &RouteOptions<'_>,
) -> Option<Plugins> {
    let compiled = all((0..).zip(messages).map(|(i, message)| {
        let name = message.extension.as_ref().map(|e| e.name.as_str()).unwrap_or_default();
        let name = Box::<str>::from(name);
        Some((name, plugin(message, &cx.item("cluster_specifier_plugins", i), options)?))
    }))?;
    let mut plugins = Plugins::new();
    for (name, plugin) in compiled {
        plugins.entry(name).or_insert(plugin);
    }
    Some(plugins)
}

/// `Some(None)`: it is optional, and nobody knows it.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
fn plugin(
    message: pb::ClusterSpecifierPlugin,
    cx: &CompileContext<'_>,
    options: &RouteOptions<'_>,
) -> Option<Option<Arc<ClusterMatcher>>> {
    let pb::ClusterSpecifierPlugin { extension, is_optional } = message;
    let TypedExtensionConfig { name, typed_config } = extension.unwrap_or_default();
    let (any, cx) = (typed_config.unwrap_or_default(), cx.field("extension"));
    let cx = cx.field("typed_config");
    let kind = type_name(&any.type_url);
    if kind == MatcherClusterSpecifier::full_name() {
        let matcher = ClusterMatcher::compile(cx.unpack(&any)?, options, &cx)?;
        return Some(Some(Arc::new(matcher)));
    }
    if kind.starts_with(SPECIFIERS) {
        cx.unsupported(format!("the cluster specifier {kind} is not built"));
        return None;
    }
    if is_optional {
        return Some(None);
    }
    specifier::unknown(&name, &any, &cx);
    None
}

/// Where Envoy's own kinds are.
const SPECIFIERS: &str = "envoy.extensions.router.cluster_specifiers.";

/// The clusters of a weighted route, not yet routes of their own.
pub(super) struct Weighted {
    clusters: Vec<Weight>,
    by: By,
    runtime_prefix: Box<str>,
}

/// What decides between clusters, before the route's hash policies are known.
enum By {
    Chance,
    Header(HeaderName),
    Hash,
}

struct Weight {
    cluster: ClusterSpecifier,
    weight: u32,
    level: Level,
    /// `host_rewrite_literal`, and where it stands.
    host: Option<(Box<str>, Option<Place>)>,
    metadata_match: Option<Criteria>,
}

pub(super) fn compile(
    message: Option<pb::route_action::ClusterSpecifier>,
    cx: &CompileContext<'_>,
    around: &Around<'_>,
) -> Option<Specifier> {
    use pb::route_action::ClusterSpecifier as Message;
    match message {
        Some(Message::Cluster(name)) => {
            let scope = around.scope;
            if scope.lacks(&name) {
                let near = (scope.options.nearest_cluster)(&name);
                cx.field("cluster").error_near(format!("route: unknown cluster '{name}'"), near);
                return None;
            }
            Some(Specifier::One(ClusterSpecifier::Name(name.into())))
        }
        Some(Message::ClusterHeader(name)) => {
            Some(Specifier::One(ClusterSpecifier::Header(HeaderName::new(&name))))
        }
        Some(Message::ClusterSpecifierPlugin(name)) => match around.scope.plugins.get(&*name) {
            Some(plugin) => Some(Specifier::Plugin(plugin.clone())),
            None => {
                cx.field("cluster_specifier_plugin")
                    .error(format!("Unknown cluster specifier plugin name: {name} is used in the route"));
                None
            }
        },
        Some(Message::InlineClusterSpecifierPlugin(message)) => {
            let cx = cx.field("inline_cluster_specifier_plugin");
            plugin(message, &cx, around.scope.options).map(Specifier::Plugin)
        }
        Some(Message::WeightedClusters(message)) => weighted(message, &cx.field("weighted_clusters"), around),
        None => {
            cx.error("field: \"cluster_specifier\", reason: is required");
            None
        }
    }
}

fn weighted(message: pb::WeightedCluster, cx: &CompileContext<'_>, around: &Around<'_>) -> Option<Specifier> {
    use pb::weighted_cluster::RandomValueSpecifier;
    let pb::WeightedCluster { clusters, runtime_key_prefix, random_value_specifier } = message;
    let by = match random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => By::Header(HeaderName::new(&name)),
        Some(RandomValueSpecifier::UseHashPolicy(true)) => By::Hash,
        Some(RandomValueSpecifier::UseHashPolicy(false)) | None => By::Chance,
    };
    let clusters = all((0..).zip(clusters).map(|(i, m)| weight(m, &cx.item("clusters", i), around)))?;
    // Runtime keys count already: a table that begins without a choice is refused.
    let runtime = around.scope.options.runtime;
    let weight = |Weight { cluster, weight, .. }: &Weight| match cluster {
        ClusterSpecifier::Name(name) if !runtime_key_prefix.is_empty() => {
            runtime.integer(&format!("{runtime_key_prefix}.{name}"), (*weight).into())
        }
        ClusterSpecifier::Name(_) | ClusterSpecifier::Header(_) => (*weight).into(),
    };
    let total = clusters.iter().map(weight).fold(0, u64::saturating_add);
    if total == 0 {
        cx.error("Sum of weights in the weighted_cluster must be greater than 0.");
        return None;
    }
    if total > u64::from(u32::MAX) {
        cx.error(format!(
            "The sum of weights of all weighted clusters of route {} exceeds {}",
            around.name,
            u32::MAX
        ));
        return None;
    }
    Some(Specifier::Weighted(Weighted { clusters, by, runtime_prefix: runtime_key_prefix.into() }))
}

fn weight(
    message: pb::weighted_cluster::ClusterWeight,
    cx: &CompileContext<'_>,
    around: &Around<'_>,
) -> Option<Weight> {
    use pb::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    let pb::weighted_cluster::ClusterWeight {
        name,
        weight,
        request_headers_to_add,
        response_headers_to_add,
        response_headers_to_remove,
        request_headers_to_remove,
        typed_per_filter_config,
        host_rewrite_specifier,
        cluster_header,
        metadata_match,
    } = message;
    let scope = around.scope;
    let cluster = match (name.is_empty(), cluster_header.is_empty()) {
        (false, true) if scope.lacks(&name) => {
            let near = (scope.options.nearest_cluster)(&name);
            cx.field("name").error_near(format!("route: unknown weighted cluster '{name}'"), near);
            None
        }
        (false, true) => Some(ClusterSpecifier::Name(name.into())),
        (true, false) => Some(ClusterSpecifier::Header(HeaderName::new(&cluster_header))),
        (true, true) => {
            cx.error("At least one of name or cluster_header need to be specified");
            None
        }
        (false, false) => {
            cx.error("Only one of name or cluster_header can be specified");
            None
        }
    };
    if weight.is_none() {
        cx.error("Field 'weight' is missing");
    }
    let level = Parts {
        name: LevelName::Weight,
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
        filters: typed_per_filter_config,
    }
    .compile(cx, scope.options.per_route);
    let host = host_rewrite_specifier.map(|HostRewriteSpecifier::HostRewriteLiteral(host)| host);
    let place = cx.field("host_rewrite_literal").place();
    let host = host.filter(|h| !h.is_empty()).map(|host| (host.into_boxed_str(), place));
    let metadata_match = criteria(metadata_match);
    Some(Weight { cluster: cluster?, weight: weight?, level: level?, host, metadata_match })
}

impl Weighted {
    /// Each cluster as a route of its own: `base` with `action` and the cluster's changes on top.
    pub(super) fn into_routes(
        self,
        action: &ClusterAction,
        base: &Route,
        level: &Level,
        scope: &HostScope<'_>,
    ) -> WeightedClusters {
        let Self { clusters, by, runtime_prefix } = self;
        let by = match by {
            By::Chance => Choice::Random,
            By::Header(name) => Choice::Header(name),
            By::Hash => Choice::Hash(Arc::clone(&action.hash)),
        };
        let clusters =
            clusters.into_iter().map(|Weight { cluster, weight, level: own, host, metadata_match }| {
                let of_route = action.metadata_match.as_ref();
                let metadata_match = match (of_route, metadata_match) {
                    (Some(route), Some(own)) => Some(Arc::new(route.merged(&own))),
                    (route, own) => own.map(Arc::new).or_else(|| route.cloned()),
                };
                let name = match &cluster {
                    ClusterSpecifier::Name(name) => name.clone(),
                    ClusterSpecifier::Header(_) => "".into(),
                };
                let filters = level.merged(scope, &own.filters);
                let changes =
                    WeightChanges { request_headers: own.request, response_headers: own.response, host };
                let to = ClusterAction { cluster, metadata_match, ..action.clone() };
                let route = Route {
                    filters,
                    weight: (!changes.is_empty()).then(|| Box::new(changes)),
                    ..fork(base, to)
                };
                (weight, name, Arc::new(route))
            });
        WeightedClusters::new(clusters.collect(), by, &runtime_prefix)
    }
}

/// The route of a plug-in, as it is for each of the clusters that it may name.
pub(super) fn specified(by: Arc<ClusterMatcher>, action: &ClusterAction, base: &Route) -> Specified {
    Specified::new(by, |name| {
        fork(base, ClusterAction { cluster: ClusterSpecifier::Name(name), ..action.clone() })
    })
}

/// The same route with another action.
fn fork(base: &Route, action: ClusterAction) -> Route {
    Route {
        stats: base.stats,
        tracing: base.tracing.clone(),
        decorator: base.decorator.clone(),
        place: base.place,
        name: base.name.clone(),
        virtual_host: base.virtual_host.clone(),
        metadata: base.metadata.clone(),
        action: Action::Cluster(Box::new(action)),
        filters: base.filters.clone(),
        places: base.places.clone(),
        matched: base.matched,
        weight: None,
        request_headers: base.request_headers.clone(),
        response_headers: base.response_headers.clone(),
    }
}
