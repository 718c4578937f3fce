//! Which cluster, or which of several: `RouteAction.cluster_specifier`.

use super::action::{Around, criteria};
use super::level::{Level, Parts};
use super::{HostScope, all};
use crate::route::action::{Action, ClusterAction, ClusterSpecifier};
use crate::route::weighted::{Choice, WeightedClusters};
use crate::route::{Route, WeightChanges};
use nuncio_core::config::CompileContext;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use nuncio_upstream::lb::Criteria;
use std::sync::Arc;

/// A compiled `cluster_specifier`.
pub(super) enum Specifier {
    One(ClusterSpecifier),
    Weighted(Weighted),
}

/// The clusters of a weighted route, not yet routes of their own.
pub(super) struct Weighted {
    clusters: Vec<Weight>,
    by: By,
    runtime_prefix: Box<str>,
}

/// What decides between clusters, before the route's hash policies are known.
enum By {
    Chance,
    Header(Box<str>),
    Hash,
}

struct Weight {
    cluster: ClusterSpecifier,
    weight: u32,
    level: Level,
    host: Option<Box<str>>,
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
            if scope.validate_clusters && !(scope.options.cluster_exists)(&name) {
                let near = (scope.options.nearest_cluster)(&name);
                cx.field("cluster").error_near(format!("route: unknown cluster '{name}'"), near);
                return None;
            }
            Some(Specifier::One(ClusterSpecifier::Name(name.into())))
        }
        Some(Message::ClusterHeader(name)) => {
            Some(Specifier::One(ClusterSpecifier::Header(name.to_ascii_lowercase().into())))
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
        Some(RandomValueSpecifier::HeaderName(name)) => By::Header(name.to_ascii_lowercase().into()),
        Some(RandomValueSpecifier::UseHashPolicy(true)) => By::Hash,
        Some(RandomValueSpecifier::UseHashPolicy(false)) | None => By::Chance,
    };
    let clusters = all((0..).zip(clusters).map(|(i, m)| weight(m, &cx.item("clusters", i), around)))?;
    let total: u64 = clusters.iter().map(|c| u64::from(c.weight)).sum();
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
        (false, true) if scope.validate_clusters && !(scope.options.cluster_exists)(&name) => {
            let near = (scope.options.nearest_cluster)(&name);
            cx.field("name").error_near(format!("route: unknown weighted cluster '{name}'"), near);
            None
        }
        (false, true) => Some(ClusterSpecifier::Name(name.into())),
        (true, false) => Some(ClusterSpecifier::Header(cluster_header.to_ascii_lowercase().into())),
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
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
        filters: typed_per_filter_config,
    }
    .compile(cx, scope.options.per_route);
    let host = host_rewrite_specifier.map(|HostRewriteSpecifier::HostRewriteLiteral(host)| host);
    let host = host.filter(|h| !h.is_empty()).map(String::into_boxed_str);
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
                let route = Route {
                    stats: base.stats,
                    tracing: base.tracing.clone(),
                    decorator: base.decorator.clone(),
                    place: base.place,
                    name: base.name.clone(),
                    virtual_host: base.virtual_host.clone(),
                    metadata: base.metadata.clone(),
                    action: Action::Cluster(Box::new(ClusterAction {
                        cluster,
                        metadata_match,
                        ..action.clone()
                    })),
                    filters,
                    matched: base.matched,
                    weight: (!changes.is_empty()).then(|| Box::new(changes)),
                    request_headers: base.request_headers.clone(),
                    response_headers: base.response_headers.clone(),
                };
                (weight, name, Arc::new(route))
            });
        WeightedClusters::new(clusters.collect(), by, &runtime_prefix)
    }
}
