//! The actions of a route.

use super::level::{Level, Parts};
use super::{HostScope, Scope, all};
use crate::hcm::upgrade::RouteUpgrade;
use crate::route::action::{
    Action, ClusterAction, ClusterSpecifier, ConnectConfig, DEFAULT_TIMEOUT, DirectResponseAction,
    HostChoice, Limit, MirrorPolicy, Priority, StreamLimits,
};
use crate::route::internal_redirect::InternalRedirects;
use crate::route::redirect::RedirectAction;
use crate::route::rewrite::{HostRewrite, PathRewrite};
use crate::route::template::{TemplateMatch, TemplateRewrite, TemplateRewriteError};
use crate::route::weighted::WeightedClusters;
use crate::route::{HashPolicies, Route, WeightChanges};
use crate::router::retry::{RetryPlugins, RetryPolicy};
use nuncio_core::config::{CompileContext, Fraction, data_source, duration, type_name};
use nuncio_core::matcher::RegexRewrite;
use nuncio_core::runtime::RuntimeFraction;
use nuncio_proto::pb::envoy::config::core::v3 as core;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use nuncio_proto::pb::envoy::extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig;
use nuncio_proto::pb::envoy::r#type::matcher::v3 as matcher;
use nuncio_upstream::host::LB_NAMESPACE;
use nuncio_upstream::lb::Criteria;
use nuncio_upstream::transport::ProxyHeadConfig;
use pb::route_action::{ClusterNotFoundResponseCode, HostRewriteSpecifier};
use prost::Name;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What an action reads of its route.
pub(super) struct Around<'a> {
    pub scope: &'a Scope<'a>,
    /// The route's name.
    pub name: &'a str,
    /// The template that its path is matched against.
    pub template: Option<&'a TemplateMatch>,
    /// What its virtual host says where it says nothing itself.
    pub defaults: ForwardingDefaults,
}

/// How requests are forwarded, as a virtual host says for all of its routes.
#[derive(Clone, Debug, Default)]
pub(super) struct ForwardingDefaults {
    pub(super) retry: Option<Arc<RetryPolicy>>,
    pub(super) hedge_on_per_try_timeout: Option<bool>,
    pub(super) body_limit: Option<u64>,
    pub(super) mirrors: Option<Arc<[MirrorPolicy]>>,
}

impl ForwardingDefaults {
    pub(super) fn compile(
        retry: Option<pb::RetryPolicy>,
        hedge: Option<pb::HedgePolicy>,
        body_limit: Option<u64>,
        cx: &CompileContext<'_>,
        plugins: &RetryPlugins,
    ) -> Option<Self> {
        let retry = match retry {
            None => None,
            Some(message) => Some(RetryPolicy::compile(message, &cx.field("retry_policy"), plugins)?),
        };
        Some(Self { retry, hedge_on_per_try_timeout: hedge.map(hedges), body_limit, mirrors: None })
    }
}

/// The policies of one level; `Some(None)` where it has none, so that another level's hold.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
pub(super) fn mirrors(
    list: Vec<pb::route_action::RequestMirrorPolicy>,
    cx: &CompileContext<'_>,
    scope: &Scope<'_>,
) -> Option<Option<Arc<[MirrorPolicy]>>> {
    let policies = all((0..).zip(list).map(|(i, message)| {
        let cx = cx.item("request_mirror_policies", i);
        let pb::route_action::RequestMirrorPolicy {
            cluster,
            cluster_header,
            runtime_fraction,
            disable_shadow_host_suffix_append,
            host_rewrite_literal,
        } = message;
        let cluster = match (cluster.is_empty(), cluster_header.is_empty()) {
            (false, true) if scope.validate_clusters && !(scope.options.cluster_exists)(&cluster) => {
                cx.field("cluster").error(format!("route: unknown shadow cluster '{cluster}'"));
                return None;
            }
            (false, true) => ClusterSpecifier::Name(cluster.into()),
            (true, false) => ClusterSpecifier::Header(cluster_header.to_ascii_lowercase().into()),
            (true, true) => {
                cx.error(
                    "Exactly one of cluster or cluster_header in request mirror policy can be specified",
                );
                return None;
            }
            (false, false) => {
                cx.error("Only one of cluster or cluster_header in request mirror policy can be specified");
                return None;
            }
        };
        Some(MirrorPolicy {
            cluster,
            fraction: runtime_fraction
                .as_ref()
                .map_or_else(|| RuntimeFraction::new("", Fraction::ALWAYS), RuntimeFraction::compile),
            suffix: !disable_shadow_host_suffix_append,
            host: Some(host_rewrite_literal).filter(|h| !h.is_empty()).map(String::into_boxed_str),
        })
    }))?;
    Some((!policies.is_empty()).then(|| policies.into()))
}

/// What a `metadata_match` says of balancing.
fn criteria(message: Option<core::Metadata>) -> Option<Criteria> {
    let core::Metadata { filter_metadata, typed_filter_metadata: _ } = message?;
    filter_metadata.get(LB_NAMESPACE).map(Criteria::new)
}

fn hedges(message: pb::HedgePolicy) -> bool {
    let pb::HedgePolicy { hedge_on_per_try_timeout } = message;
    hedge_on_per_try_timeout
}

/// A compiled action.
pub(super) enum Compiled {
    One(Action),
    Weighted(Box<Weighted>),
}

/// The clusters of a weighted route, not yet routes of their own.
pub(super) struct Weighted {
    clusters: Vec<Weight>,
    header: Option<Box<str>>,
    runtime_prefix: Box<str>,
    action: ClusterAction,
}

struct Weight {
    cluster: ClusterSpecifier,
    weight: u32,
    level: Level,
    host: Option<Box<str>>,
    metadata_match: Option<Criteria>,
}

pub(super) fn compile(
    action: pb::route::Action,
    cx: &CompileContext<'_>,
    around: &Around<'_>,
) -> Option<Compiled> {
    use pb::route::Action as Message;
    match action {
        Message::Route(message) => cluster_action(message, &cx.field("route"), around),
        Message::Redirect(message) => redirect(message, &cx.field("redirect"), around.template.is_some())
            .map(|r| Compiled::One(Action::Redirect(Box::new(r)))),
        Message::DirectResponse(message) => {
            direct_response(message, &cx.field("direct_response"), around.scope.max_body)
                .map(|d| Compiled::One(Action::DirectResponse(Box::new(d))))
        }
        Message::NonForwardingAction(pb::NonForwardingAction {}) => {
            Some(Compiled::One(Action::NonForwarding))
        }
    }
}

fn cluster_action(
    message: pb::RouteAction,
    cx: &CompileContext<'_>,
    around: &Around<'_>,
) -> Option<Compiled> {
    let pb::RouteAction {
        cluster_specifier,
        prefix_rewrite,
        host_rewrite_specifier,
        timeout,
        priority,
        cluster_not_found_response_code,
        idle_timeout,
        regex_rewrite,
        append_x_forwarded_host,
        path_rewrite_policy,
        retry_policy,
        hedge_policy,
        upgrade_configs,
        max_stream_duration,
        hash_policy,
        request_mirror_policies,
        metadata_match,
        internal_redirect_policy,
    } = message;
    let redirects = match internal_redirect_policy {
        None => None,
        Some(policy) => Some(InternalRedirects::compile(policy, &cx.field("internal_redirect_policy"))?),
    };
    let mirrors = mirrors(request_mirror_policies, cx, around.scope);
    let hash = HashPolicies::compile(hash_policy, cx);
    let own = ForwardingDefaults::compile(
        retry_policy,
        hedge_policy,
        around.defaults.body_limit,
        cx,
        around.scope.options.retry_plugins,
    );
    let (upgrades, connect) = upgrades(upgrade_configs, cx)?;
    let new_timeouts = max_stream_duration.is_some();
    let stream_limits = stream_limits(max_stream_duration, &cx.field("max_stream_duration"));
    let path = path_rewrite(prefix_rewrite, regex_rewrite, path_rewrite_policy, cx, around.template);
    let host = host_choice(host_rewrite_specifier, cx);
    let specifier = specifier(cluster_specifier, cx, around);
    let timeout = limit(timeout.as_ref(), &cx.field("timeout"));
    let idle_timeout = limit(idle_timeout.as_ref(), &cx.field("idle_timeout"));
    let own = own?;
    let action = ClusterAction {
        metadata_match: criteria(metadata_match).map(Arc::new),
        mirrors: mirrors?.or_else(|| around.defaults.mirrors.clone()).unwrap_or_default(),
        hash: Arc::new(hash?),
        retry: own.retry.or_else(|| around.defaults.retry.clone()),
        hedge_on_per_try_timeout: own
            .hedge_on_per_try_timeout
            .or(around.defaults.hedge_on_per_try_timeout)
            .unwrap_or(false),
        body_limit: own.body_limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        cluster: ClusterSpecifier::Name("".into()),
        timeout: match timeout? {
            // `max_stream_duration` takes its place.
            _ if new_timeouts => None,
            None => Some(DEFAULT_TIMEOUT),
            Some(Limit::Off) => None,
            Some(Limit::After(timeout)) => Some(timeout),
        },
        idle_timeout: idle_timeout?,
        connect,
        upgrades,
        stream_limits: stream_limits?,
        priority: match core::RoutingPriority::try_from(priority) {
            Ok(core::RoutingPriority::High) => Priority::High,
            // The support check refused other numbers.
            Ok(core::RoutingPriority::Default) | Err(_) => Priority::Default,
        },
        cluster_not_found_status: match ClusterNotFoundResponseCode::try_from(cluster_not_found_response_code)
        {
            Ok(ClusterNotFoundResponseCode::NotFound) => 404,
            Ok(ClusterNotFoundResponseCode::InternalServerError) => 500,
            Ok(ClusterNotFoundResponseCode::ServiceUnavailable) | Err(_) => 503,
        },
        host: host?,
        append_x_forwarded_host,
        path: path?,
        redirects,
    };
    Some(match specifier? {
        Specifier::One(cluster) => {
            Compiled::One(Action::Cluster(Box::new(ClusterAction { cluster, ..action })))
        }
        Specifier::Weighted { clusters, header, runtime_prefix } => {
            Compiled::Weighted(Box::new(Weighted { clusters, header, runtime_prefix, action }))
        }
    })
}

/// What a route allows, and what it terminates itself.
type RouteUpgrades = (Box<[RouteUpgrade]>, Option<ConnectConfig>);

fn upgrades(configs: Vec<pb::route_action::UpgradeConfig>, cx: &CompileContext<'_>) -> Option<RouteUpgrades> {
    let mut upgrades: Vec<RouteUpgrade> = Vec::with_capacity(configs.len());
    let mut connect = None;
    let mut good = true;
    for (i, config) in configs.into_iter().enumerate() {
        let pb::route_action::UpgradeConfig { upgrade_type, enabled, connect_config } = config;
        let cx = cx.item("upgrade_configs", i);
        if upgrades.iter().any(|u| u.kind.eq_ignore_ascii_case(&upgrade_type)) {
            cx.error(format!("Duplicate upgrade {upgrade_type}"));
            good = false;
        }
        if let Some(pb::route_action::upgrade_config::ConnectConfig { allow_post, proxy_protocol_config }) =
            connect_config
        {
            if upgrade_type.eq_ignore_ascii_case("CONNECT") {
                let proxy_head = proxy_protocol_config.map(|m| Arc::new(ProxyHeadConfig::compile(m)));
                connect = Some(ConnectConfig { allow_post, proxy_head });
            } else if upgrade_type.eq_ignore_ascii_case("CONNECT-UDP") {
                cx.field("connect_config").error("CONNECT-UDP is not terminated here");
                good = false;
            } else {
                cx.error(format!("Non-CONNECT upgrade type {upgrade_type} has ConnectConfig"));
                good = false;
            }
        }
        upgrades.push(RouteUpgrade { kind: upgrade_type.into(), enabled: enabled.unwrap_or(true) });
    }
    good.then(|| (upgrades.into(), connect))
}

/// `Some(None)` where nothing is said.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
fn stream_limits(
    message: Option<pb::route_action::MaxStreamDuration>,
    cx: &CompileContext<'_>,
) -> Option<Option<Box<StreamLimits>>> {
    let Some(message) = message else { return Some(None) };
    let pb::route_action::MaxStreamDuration {
        max_stream_duration,
        grpc_timeout_header_max,
        grpc_timeout_header_offset,
    } = message;
    let max = limit(max_stream_duration.as_ref(), &cx.field("max_stream_duration"));
    let grpc_max = limit(grpc_timeout_header_max.as_ref(), &cx.field("grpc_timeout_header_max"));
    let grpc_offset = limit(grpc_timeout_header_offset.as_ref(), &cx.field("grpc_timeout_header_offset"));
    let grpc_offset = match grpc_offset? {
        Some(Limit::After(offset)) => offset,
        Some(Limit::Off) | None => Duration::ZERO,
    };
    Some(Some(Box::new(StreamLimits { max: max?, grpc_max: grpc_max?, grpc_offset })))
}

/// A limit in which 0 means off and absence something else; `Some(None)` where it is absent.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
fn limit(value: Option<&prost_types::Duration>, cx: &CompileContext<'_>) -> Option<Option<Limit>> {
    let Some(value) = value else { return Some(None) };
    let value = duration(value, cx)?;
    // Timers count milliseconds: a smaller one is rounded up.
    let after = Limit::After(value.max(Duration::from_millis(1)));
    Some(Some(if value.is_zero() { Limit::Off } else { after }))
}

#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
fn path_rewrite(
    prefix: String,
    regex: Option<matcher::RegexMatchAndSubstitute>,
    policy: Option<core::TypedExtensionConfig>,
    cx: &CompileContext<'_>,
    template: Option<&TemplateMatch>,
) -> Option<Option<Arc<PathRewrite>>> {
    let rewrite = match (prefix, regex, policy) {
        (prefix, None, None) if prefix.is_empty() => return Some(None),
        (_, None, None) if template.is_some() => {
            cx.field("prefix_rewrite").error("Cannot use prefix_rewrite with matcher extension");
            return None;
        }
        (prefix, None, None) => PathRewrite::Prefix(prefix.into()),
        (prefix, Some(regex), None) if prefix.is_empty() => {
            PathRewrite::Regex(Box::new(RegexRewrite::compile(regex, &cx.field("regex_rewrite"))?))
        }
        (prefix, None, Some(policy)) if prefix.is_empty() => {
            let rewrite = template_rewrite(policy, &cx.field("path_rewrite_policy"), template)?;
            return Some(rewrite.map(|r| Arc::new(PathRewrite::Template(Box::new(r)))));
        }
        _ => {
            cx.error("Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy");
            return None;
        }
    };
    Some(Some(Arc::new(rewrite)))
}

/// `Some(None)` where the template matches nothing, so that nothing is rewritten.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
fn template_rewrite(
    extension: core::TypedExtensionConfig,
    cx: &CompileContext<'_>,
    template: Option<&TemplateMatch>,
) -> Option<Option<TemplateRewrite>> {
    let core::TypedExtensionConfig { name, typed_config } = extension;
    let any = typed_config.unwrap_or_default();
    let type_name = type_name(&any.type_url);
    if type_name != UriTemplateRewriteConfig::full_name() {
        cx.error(format!(
            "Didn't find a registered implementation for '{name}' with type URL: '{type_name}'"
        ));
        return None;
    }
    let Some(template) = template else {
        cx.error(
            "unable to use envoy.path.rewrite.uri_template.uri_template_rewriter extension without \
             envoy.path.match.uri_template.uri_template_matcher extension",
        );
        return None;
    };
    let cx = cx.field("typed_config");
    let UriTemplateRewriteConfig { path_template_rewrite: text } = cx.unpack(&any)?;
    match TemplateRewrite::new(&text, template) {
        Ok(rewrite) => Some(rewrite),
        Err(TemplateRewriteError::Invalid) => {
            cx.error(format!("path_rewrite_policy.path_template_rewrite {text} is invalid"));
            None
        }
        Err(TemplateRewriteError::Mismatch) => {
            cx.error(format!(
                "mismatch between variables in path_match_policy {} and path_rewrite_policy {text}",
                template.text()
            ));
            None
        }
    }
}

fn host_choice(specifier: Option<HostRewriteSpecifier>, cx: &CompileContext<'_>) -> Option<HostChoice> {
    let rewrite = match specifier {
        None | Some(HostRewriteSpecifier::AutoHostRewrite(false)) => return Some(HostChoice::Keep),
        Some(HostRewriteSpecifier::AutoHostRewrite(true)) => return Some(HostChoice::Automatic),
        Some(HostRewriteSpecifier::HostRewriteLiteral(text)) => HostRewrite::Literal(text.into()),
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            HostRewrite::Header(name.to_ascii_lowercase().into())
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(regex)) => HostRewrite::PathRegex(Box::new(
            RegexRewrite::compile(regex, &cx.field("host_rewrite_path_regex"))?,
        )),
    };
    Some(HostChoice::Rewrite(Arc::new(rewrite)))
}

enum Specifier {
    One(ClusterSpecifier),
    Weighted { clusters: Vec<Weight>, header: Option<Box<str>>, runtime_prefix: Box<str> },
}

fn specifier(
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
    let header = random_value_specifier
        .map(|RandomValueSpecifier::HeaderName(name)| name.to_ascii_lowercase().into_boxed_str());
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
    Some(Specifier::Weighted { clusters, header, runtime_prefix: runtime_key_prefix.into() })
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
    /// Each cluster as a route of its own: `base` with the cluster's changes on top.
    pub(super) fn into_routes(self, base: &Route, level: &Level, scope: &HostScope<'_>) -> WeightedClusters {
        let Self { clusters, header, runtime_prefix, action } = self;
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
        WeightedClusters::new(clusters.collect(), header, &runtime_prefix)
    }
}

fn redirect(
    message: pb::RedirectAction,
    cx: &CompileContext<'_>,
    by_template: bool,
) -> Option<RedirectAction> {
    use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
    let pb::RedirectAction {
        host_redirect,
        path_rewrite_specifier,
        response_code,
        scheme_rewrite_specifier,
        strip_query,
        port_redirect,
    } = message;
    let mut path = String::new();
    let rewrite = match path_rewrite_specifier {
        None => None,
        Some(PathRewriteSpecifier::PathRedirect(text)) => {
            path = text;
            None
        }
        Some(PathRewriteSpecifier::PrefixRewrite(text)) if by_template && !text.is_empty() => {
            cx.field("prefix_rewrite").error("Cannot use redirect.prefix_rewrite with path_match_policy");
            return None;
        }
        Some(PathRewriteSpecifier::PrefixRewrite(text)) => {
            (!text.is_empty()).then(|| PathRewrite::Prefix(text.into()))
        }
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => {
            Some(PathRewrite::Regex(Box::new(RegexRewrite::compile(regex, &cx.field("regex_rewrite"))?)))
        }
    };
    Some(RedirectAction {
        status: match RedirectResponseCode::try_from(response_code) {
            Ok(RedirectResponseCode::Found) => 302,
            Ok(RedirectResponseCode::SeeOther) => 303,
            Ok(RedirectResponseCode::TemporaryRedirect) => 307,
            Ok(RedirectResponseCode::PermanentRedirect) => 308,
            // The support check refused other numbers.
            Ok(RedirectResponseCode::MovedPermanently) | Err(_) => 301,
        },
        scheme: match scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https".into(),
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => scheme.into(),
            Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => "".into(),
        },
        host: host_redirect.into(),
        port: if port_redirect == 0 { "".into() } else { format!(":{port_redirect}").into() },
        path: path.into(),
        rewrite,
        strip_query,
    })
}

fn direct_response(
    message: pb::DirectResponseAction,
    cx: &CompileContext<'_>,
    max_body: u32,
) -> Option<DirectResponseAction> {
    let pb::DirectResponseAction { status, body } = message;
    let Ok(status) = u16::try_from(status) else {
        cx.field("status").error("value must be inside range [200, 600)");
        return None;
    };
    let body = match body {
        None => Vec::new(),
        Some(source) => direct_body(&source, &cx.field("body"), u64::from(max_body))?,
    };
    Some(DirectResponseAction { status, body: body.into() })
}

fn direct_body(source: &core::DataSource, cx: &CompileContext<'_>, max: u64) -> Option<Vec<u8>> {
    let file = match &source.specifier {
        Some(core::data_source::Specifier::Filename(name)) => Some(name),
        _ => None,
    };
    if let Some(name) = file {
        let Ok(size) = Path::new(name).metadata().map(|m| m.len()) else {
            cx.field("filename").error(format!("file {name} does not exist"));
            return None;
        };
        if size > max {
            cx.field("filename").error(format!("file {name} size is {size} bytes; maximum is {max}"));
            return None;
        }
    }
    let body = if source.specifier.is_none() { Vec::new() } else { data_source(source, cx)? };
    if body.len() as u64 > max {
        cx.error(format!("response body size is {} bytes; maximum is {max}", body.len()));
        return None;
    }
    Some(body)
}
