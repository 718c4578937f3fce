//! The actions of a route.

use super::answer::{direct_response, redirect};
use super::cluster::{self, Specifier, Weighted};
use super::rewriting::{PathFields, host_choice, path_rewrite};
use super::{Scope, all};
use crate::hcm::upgrade::RouteUpgrade;
use crate::route::ClusterMatcher;
use crate::route::action::{
    Action, ClusterAction, ClusterSpecifier, ConnectConfig, DEFAULT_TIMEOUT, GrpcTimeout, Limit,
    MirrorPolicy, Priority, StreamLimits,
};
use crate::route::internal_redirect::InternalRedirects;
use crate::route::rate_limit::RateLimits;
use crate::route::template::TemplateMatch;
use crate::router::retry::RetryPolicy;
use nuncio_core::config::{CompileContext, Fraction, duration, type_name, whole_millis};
use nuncio_core::hash_policy::HashPolicies;
use nuncio_core::header::{HeaderName, OrderedMutations};
use nuncio_core::runtime::RuntimeFraction;
use nuncio_proto::pb::envoy::config::core::v3 as core;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use nuncio_proto::pb::envoy::extensions::early_data::v3::DefaultEarlyDataPolicy;
use nuncio_upstream::host::LB_NAMESPACE;
use nuncio_upstream::lb::Criteria;
use nuncio_upstream::retry_plugin::RetryPlugins;
use nuncio_upstream::transport::ProxyHeadConfig;
use pb::route_action::{ClusterNotFoundResponseCode, InternalRedirectAction};
use prost::Name;
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
    lacks: &dyn Fn(&str) -> bool,
) -> Option<Option<Arc<[MirrorPolicy]>>> {
    let policies = all((0..).zip(list).map(|(i, message)| {
        let cx = cx.item("request_mirror_policies", i);
        let pb::route_action::RequestMirrorPolicy {
            cluster,
            cluster_header,
            runtime_fraction,
            disable_shadow_host_suffix_append,
            host_rewrite_literal,
            request_headers_mutations,
            trace_sampled,
        } = message;
        let headers = OrderedMutations::compile(&request_headers_mutations, &cx, "request_headers_mutations");
        let cluster = match (cluster.is_empty(), cluster_header.is_empty()) {
            (false, true) if lacks(&cluster) => {
                cx.field("cluster").error(format!("route: unknown shadow cluster '{cluster}'"));
                return None;
            }
            (false, true) => ClusterSpecifier::Name(cluster.into()),
            (true, false) => ClusterSpecifier::Header(HeaderName::new(&cluster_header)),
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
            headers: headers?,
            suffix: !disable_shadow_host_suffix_append,
            host: Some(host_rewrite_literal).filter(|h| !h.is_empty()).map(String::into_boxed_str),
            sampled: trace_sampled,
        })
    }))?;
    Some((!policies.is_empty()).then(|| policies.into()))
}

impl MirrorPolicy {
    /// Compiles the list in `request_mirror_policies`; `Some(None)` where it is empty. `lacks`: a cluster has to be there
    /// and is not.
    #[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
    pub(crate) fn compile_list(
        list: Vec<pb::route_action::RequestMirrorPolicy>,
        cx: &CompileContext<'_>,
        lacks: &dyn Fn(&str) -> bool,
    ) -> Option<Option<Arc<[MirrorPolicy]>>> {
        mirrors(list, cx, lacks)
    }
}

/// What a `metadata_match` says of balancing.
pub(super) fn criteria(message: Option<core::Metadata>) -> Option<Criteria> {
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
    Weighted(Box<Weighted>, Box<ClusterAction>),
    /// A plug-in names the cluster.
    Specified(Arc<ClusterMatcher>, Box<ClusterAction>),
    /// Its plug-in is optional and unknown.
    Never(Action),
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
        Message::NonForwardingAction(pb::NonForwardingAction {})
        | Message::FilterAction(pb::FilterAction {}) => Some(Compiled::One(Action::NonForwarding)),
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
        internal_redirect_action,
        max_internal_redirects,
        max_grpc_timeout,
        grpc_timeout_offset,
        path_rewrite: path_format,
        early_data_policy,
        rate_limits,
        include_vh_rate_limits,
        flush_timeout,
        // Compiled with the filters' configuration.
        cors: _,
    } = message;
    let rate_limits = RateLimits::of_route(rate_limits, cx);
    if !early_data_policy.is_none_or(|policy| knows_early_data(policy, &cx.field("early_data_policy"))) {
        return None;
    }
    let older = InternalRedirectAction::try_from(internal_redirect_action);
    let redirects = match internal_redirect_policy {
        Some(policy) => Some(InternalRedirects::compile(policy, &cx.field("internal_redirect_policy"))?),
        None => (older == Ok(InternalRedirectAction::HandleInternalRedirect))
            .then(|| InternalRedirects::of_any(max_internal_redirects)),
    };
    let grpc_timeout = grpc_timeout(max_grpc_timeout.as_ref(), grpc_timeout_offset.as_ref(), cx);
    let mirrors = mirrors(request_mirror_policies, cx, &|name| around.scope.lacks(name));
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
    let path = PathFields {
        prefix: prefix_rewrite,
        regex: regex_rewrite,
        policy: path_rewrite_policy,
        format: path_format,
    };
    let path = path_rewrite(path, cx, around.template);
    let host = host_choice(host_rewrite_specifier, cx);
    let specifier = cluster::compile(cluster_specifier, cx, around);
    let timeout = limit(timeout.as_ref(), &cx.field("timeout"));
    let idle_timeout = limit(idle_timeout.as_ref(), &cx.field("idle_timeout"));
    let flush_timeout = limit(flush_timeout.as_ref(), &cx.field("flush_timeout"));
    let own = own?;
    let timeout = match timeout? {
        // `max_stream_duration` takes its place.
        _ if new_timeouts => None,
        None => Some(DEFAULT_TIMEOUT),
        Some(Limit::Off) => None,
        Some(Limit::After(timeout)) => Some(timeout),
    };
    let retry = own.retry.or_else(|| around.defaults.retry.clone());
    let hedge_on_per_try_timeout =
        own.hedge_on_per_try_timeout.or(around.defaults.hedge_on_per_try_timeout).unwrap_or(false);
    let action = ClusterAction {
        metadata_match: criteria(metadata_match).map(Arc::new),
        mirrors: mirrors?.or_else(|| around.defaults.mirrors.clone()).unwrap_or_default(),
        hash: Arc::new(hash?),
        timeout_line: timeout_line(timeout, retry.as_deref(), hedge_on_per_try_timeout),
        retry,
        hedge_on_per_try_timeout,
        body_limit: own.body_limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        cluster: ClusterSpecifier::Name("".into()),
        specifier: None,
        timeout,
        grpc_timeout: grpc_timeout?.filter(|_| !new_timeouts),
        idle_timeout: idle_timeout?,
        flush_timeout: flush_timeout?,
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
        rate_limits: rate_limits?,
        include_host_rate_limits: include_vh_rate_limits.unwrap_or(false),
    };
    Some(match specifier? {
        Specifier::One(cluster) => {
            Compiled::One(Action::Cluster(Box::new(ClusterAction { cluster, ..action })))
        }
        Specifier::Weighted(weighted) => Compiled::Weighted(Box::new(weighted), Box::new(action)),
        Specifier::Plugin(Some(by)) => {
            let specifier = Some(Arc::clone(&by));
            Compiled::Specified(by, Box::new(ClusterAction { specifier, ..action }))
        }
        Specifier::Plugin(None) => Compiled::Never(Action::Cluster(Box::new(action))),
    })
}

/// What the upstream is told of its time where only the route says something of it (`x-envoy-expected-rq-timeout-ms`).
fn timeout_line(global: Option<Duration>, retry: Option<&RetryPolicy>, hedges: bool) -> Box<[u8]> {
    let per_try = retry.and_then(|retry| retry.per_try_timeout).filter(|_| !hedges);
    let Some(time) = global.into_iter().chain(per_try).min() else { return Box::default() };
    format!("x-envoy-expected-rq-timeout-ms: {}\r\n", time.as_millis()).into_bytes().into()
}

/// Whether it is a policy that is known. What it says concerns early data of HTTP/3 alone, which no connection to an
/// upstream speaks here.
fn knows_early_data(extension: core::TypedExtensionConfig, cx: &CompileContext<'_>) -> bool {
    let core::TypedExtensionConfig { name, typed_config } = extension;
    let any = typed_config.unwrap_or_default();
    let type_name = type_name(&any.type_url);
    if type_name == DefaultEarlyDataPolicy::full_name() {
        return cx.unpack::<DefaultEarlyDataPolicy>(&any).is_some();
    }
    cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: '{type_name}'"));
    false
}

/// `max_grpc_timeout` and `grpc_timeout_offset`; `Some(None)` where they do not hold.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
fn grpc_timeout(
    max: Option<&prost_types::Duration>,
    offset: Option<&prost_types::Duration>,
    cx: &CompileContext<'_>,
) -> Option<Option<GrpcTimeout>> {
    let max = limit(max, &cx.field("max_grpc_timeout"))?;
    let offset = limit(offset, &cx.field("grpc_timeout_offset"))?;
    Some(
        max.map(|max| GrpcTimeout {
            max: max.time(),
            offset: offset.and_then(Limit::time).unwrap_or_default(),
        }),
    )
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
                let cx = cx.field("connect_config");
                let cx = cx.field("proxy_protocol_config");
                let wanted = proxy_protocol_config.is_some();
                let proxy_head =
                    proxy_protocol_config.and_then(|m| ProxyHeadConfig::compile(m, &cx)).map(Arc::new);
                good &= proxy_head.is_some() == wanted;
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
    let grpc_offset = grpc_offset?.and_then(Limit::time).unwrap_or_default();
    Some(Some(Box::new(StreamLimits { max: max?, grpc_max: grpc_max?, grpc_offset })))
}

/// A limit in which 0 means off and absence something else; `Some(None)` where it is absent.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
fn limit(value: Option<&prost_types::Duration>, cx: &CompileContext<'_>) -> Option<Option<Limit>> {
    let Some(value) = value else { return Some(None) };
    let value = whole_millis(duration(value, cx)?);
    Some(Some(if value.is_zero() { Limit::Off } else { Limit::After(value) }))
}
