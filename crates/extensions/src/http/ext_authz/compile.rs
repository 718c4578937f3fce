//! The messages of ext_authz.

use super::super::frame::{RuntimeFlag, string_matchers};
use super::super::mutation_rules::MutationRules;
use super::check;
use super::permits::Permits;
use super::service::{Added, HttpService, Service};
use nuncio_core::cel;
use nuncio_core::config::{CompileContext, duration};
use nuncio_core::format::{Commands, Format};
use nuncio_core::matcher::{MetadataMatcher, StringMatcher};
use nuncio_core::runtime::RuntimeFraction;
use nuncio_proto::pb::envoy::config::core::v3::{GrpcService, HeaderValue, HttpUri, http_uri};
use nuncio_proto::pb::envoy::extensions::filters::http::ext_authz::v3 as pb;
use nuncio_proto::pb::envoy::r#type::v3::HttpStatus;
use nuncio_upstream::call::grpc::{GrpcCaller, GrpcMethod};
use nuncio_upstream::call::{Caller, Retries};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The method of a gRPC service.
const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// How long a gRPC service may take where its `timeout` does not say.
const USUAL_TIMEOUT: Duration = Duration::from_millis(200);

/// A compiled `ExtAuthz`.
pub(super) struct Settings {
    pub(super) service: Arc<Service>,
    pub(super) body: Option<Body>,
    pub(super) allows_failures: bool,
    /// `x-envoy-auth-failure-mode-allowed` says so to the upstream.
    pub(super) tells_of_failures: bool,
    pub(super) status_on_error: u16,
    pub(super) clears_route: bool,
    pub(super) enabled: Option<RuntimeFraction>,
    /// Requests are only asked about where it matches their dynamic metadata.
    pub(super) enabled_metadata: Option<MetadataMatcher>,
    pub(super) denies_when_disabled: RuntimeFlag,
    /// `PREFIX.`, or nothing.
    pub(super) stat_infix: Box<str>,
    /// Denials count as the route's cluster's answers.
    pub(super) charges_cluster: bool,
    pub(super) allowed: Box<[StringMatcher]>,
    pub(super) disallowed: Box<[StringMatcher]>,
    /// How much of a denial's body goes to the client, in bytes.
    pub(super) most_denied_body: usize,
    /// Questions have spans that are exported.
    pub(super) spans: bool,
    /// Dynamic metadata of answers is taken over.
    pub(super) ingests: bool,
    pub(super) told: Told,
    /// What answers may change.
    pub(super) permits: Permits,
    /// Filter state of the filter's name tells logs how questions went.
    pub(super) tells_logs: bool,
    /// There is such filter state.
    pub(super) keeps_state: bool,
    /// Responses that outgrow the limits of their upstream are refused.
    pub(super) limits_responses: bool,
    /// Nothing is refused: filter state tells what would have been decided.
    pub(super) shadow: bool,
}

/// What a gRPC service is told beyond the request.
pub(super) struct Told {
    /// Namespaces of the stream's metadata.
    pub(super) metadata: Box<[Box<str>]>,
    pub(super) typed_metadata: Box<[Box<str>]>,
    /// Namespaces of the route's metadata.
    pub(super) route_metadata: Box<[Box<str>]>,
    /// The client's certificate.
    pub(super) certificate: bool,
    /// The server's name that the client asked for.
    pub(super) tls_session: bool,
    /// Labels of this process.
    pub(super) labels: Box<[(String, String)]>,
    /// Headers go as a list of bytes, not as a map of texts.
    pub(super) raw_headers: bool,
}

/// A compiled `BufferSettings`.
#[derive(Clone, Copy)]
pub(super) struct Body {
    /// Bytes that the service sees.
    pub(super) most: usize,
    /// What is beyond them goes on all the same.
    pub(super) partial: bool,
    /// A gRPC service gets it as bytes, not as text.
    pub(super) as_bytes: bool,
}

/// A compiled `ExtAuthzPerRoute`.
#[derive(Default)]
pub(super) struct Route {
    pub(super) disabled: bool,
    pub(super) no_body: bool,
    pub(super) body: Option<Body>,
    pub(super) service: Option<Arc<Service>>,
    /// The same as the filter's own `spans`.
    pub(super) spans: Option<bool>,
    /// What a gRPC service is told; less specific routes add to it.
    pub(super) context: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn compile(message: pb::ExtAuthz, own: &Caller, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::ExtAuthz {
            services,
            failure_mode_allow,
            with_request_body,
            clear_route_cache,
            status_on_error,
            filter_enabled,
            deny_at_disable,
            stat_prefix,
            allowed_headers,
            failure_mode_allow_header_add,
            charge_cluster_response_stats,
            disallowed_headers,
            max_denied_response_body_bytes,
            filter_enabled_metadata,
            metadata_context_namespaces,
            typed_metadata_context_namespaces,
            route_metadata_context_namespaces,
            route_typed_metadata_context_namespaces,
            include_peer_certificate,
            include_tls_session,
            bootstrap_metadata_labels_key,
            encode_raw_headers,
            enable_dynamic_metadata_ingestion,
            emit_client_span,
            validate_mutations,
            decoder_header_mutation_rules,
            filter_metadata,
            emit_filter_state_stats,
            enforce_response_header_limits,
            shadow_mode,
        } = message;
        let service = match services {
            Some(pb::ext_authz::Services::HttpService(service)) => {
                let cx = &cx.field("http_service");
                let service = compile_service(service, own, cx)?;
                if service.lists_headers() && allowed_headers.is_some() {
                    cx.error("Invalid duplicate configuration for allowed_headers.");
                    return None;
                }
                Service::Http(Arc::new(service))
            }
            Some(pb::ext_authz::Services::GrpcService(service)) => {
                if !route_typed_metadata_context_namespaces.is_empty() {
                    let cx = cx.field("route_typed_metadata_context_namespaces");
                    cx.unsupported("typed metadata of routes is not kept");
                    return None;
                }
                compile_grpc(service, own, &cx.field("grpc_service"))?
            }
            None => {
                cx.field("http_service").error("ext_authz needs a service that it asks");
                return None;
            }
        };
        let HttpStatus { code } = status_on_error.unwrap_or_default();
        Some(Self {
            service: Arc::new(service),
            body: with_request_body.map(Body::compile),
            allows_failures: failure_mode_allow,
            tells_of_failures: failure_mode_allow_header_add,
            status_on_error: if code == 0 { 403 } else { code as u16 },
            clears_route: clear_route_cache,
            enabled: filter_enabled.as_ref().map(RuntimeFraction::compile),
            denies_when_disabled: RuntimeFlag::compile(deny_at_disable, false),
            stat_infix: if stat_prefix.is_empty() { "".into() } else { format!("{stat_prefix}.").into() },
            charges_cluster: charge_cluster_response_stats.unwrap_or(true),
            allowed: string_matchers(allowed_headers.as_ref(), cx, "allowed_headers")?,
            disallowed: string_matchers(disallowed_headers.as_ref(), cx, "disallowed_headers")?,
            most_denied_body: match max_denied_response_body_bytes {
                0 => usize::MAX,
                most => most as usize,
            },
            enabled_metadata: match filter_enabled_metadata {
                None => None,
                Some(message) => {
                    Some(MetadataMatcher::compile(&message, &cx.field("filter_enabled_metadata"))?)
                }
            },
            spans: emit_client_span.unwrap_or(true),
            ingests: enable_dynamic_metadata_ingestion.unwrap_or(true),
            told: Told {
                metadata: names(metadata_context_namespaces),
                typed_metadata: names(typed_metadata_context_namespaces),
                route_metadata: names(route_metadata_context_namespaces),
                certificate: include_peer_certificate,
                tls_session: include_tls_session,
                labels: check::labels(
                    cel::Node::own().map(|node| &node.metadata),
                    &bootstrap_metadata_labels_key,
                ),
                raw_headers: encode_raw_headers,
            },
            permits: Permits {
                validates: validate_mutations,
                rules: match decoder_header_mutation_rules {
                    None => None,
                    Some(rules) => {
                        Some(MutationRules::compile(rules, &cx.field("decoder_header_mutation_rules"))?)
                    }
                },
            },
            tells_logs: emit_filter_state_stats,
            // What the metadata says can be read by nobody; that it is there can be seen.
            keeps_state: emit_filter_state_stats || filter_metadata.is_some(),
            limits_responses: enforce_response_header_limits,
            shadow: shadow_mode,
        })
    }
}

fn names(names: Vec<String>) -> Box<[Box<str>]> {
    names.into_iter().map(String::into_boxed_str).collect()
}

impl Body {
    fn compile(message: pb::BufferSettings) -> Self {
        let pb::BufferSettings { max_request_bytes, allow_partial_message, pack_as_bytes } = message;
        Self { most: max_request_bytes as usize, partial: allow_partial_message, as_bytes: pack_as_bytes }
    }
}

impl Route {
    pub(super) fn compile(
        message: pb::ExtAuthzPerRoute,
        own: &Caller,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let pb::ExtAuthzPerRoute { r#override } = message;
        let settings = match r#override? {
            pb::ext_authz_per_route::Override::Disabled(disabled) => {
                return Some(Self { disabled, ..Self::default() });
            }
            pb::ext_authz_per_route::Override::CheckSettings(settings) => settings,
        };
        let pb::CheckSettings {
            context_extensions,
            disable_request_body_buffering,
            with_request_body,
            service_override,
            emit_client_span,
        } = settings;
        let cx = cx.field("check_settings");
        if disable_request_body_buffering && with_request_body.is_some() {
            cx.error("only one of disable_request_body_buffering and with_request_body may be set");
            return None;
        }
        let service = match service_override {
            None => None,
            Some(pb::check_settings::ServiceOverride::HttpService(service)) => Some(Arc::new(Service::Http(
                Arc::new(compile_service(service, own, &cx.field("http_service"))?),
            ))),
            Some(pb::check_settings::ServiceOverride::GrpcService(service)) => {
                Some(Arc::new(compile_grpc(service, own, &cx.field("grpc_service"))?))
            }
        };
        Some(Self {
            disabled: false,
            no_body: disable_request_body_buffering,
            body: with_request_body.map(Body::compile),
            service,
            spans: emit_client_span,
            context: context_extensions.into_iter().collect(),
        })
    }
}

fn compile_grpc(message: GrpcService, own: &Caller, cx: &CompileContext<'_>) -> Option<Service> {
    let timeout = match &message.timeout {
        None => Some(USUAL_TIMEOUT),
        // None at all.
        Some(timeout) => Some(duration(timeout, &cx.field("timeout"))?).filter(|timeout| !timeout.is_zero()),
    };
    let caller = GrpcCaller {
        method: METHOD,
        own_address: own.own_address,
        retry_plugins: &own.retry_plugins,
        user_agent: None,
        formats: true,
        timeout,
    };
    Some(Service::Grpc(Arc::new(GrpcMethod::compile(message, caller, cx)?)))
}

fn compile_service(message: pb::HttpService, own: &Caller, cx: &CompileContext<'_>) -> Option<HttpService> {
    let pb::HttpService {
        server_uri,
        path_prefix,
        authorization_request,
        authorization_response,
        path_override,
        retry_policy,
    } = message;
    // The cluster says where the service is, the request's own host what it is called.
    let Some(HttpUri { uri: _, timeout, http_upstream_type }) = server_uri else {
        cx.field("server_uri").error("the service's server_uri is not set");
        return None;
    };
    let http_uri::HttpUpstreamType::Cluster(cluster) = http_upstream_type?;
    if !path_prefix.is_empty() && !path_override.is_empty() {
        cx.error("only one of path_prefix and path_override may be set");
        return None;
    }
    for (field, path) in [("path_prefix", &path_prefix), ("path_override", &path_override)] {
        if !path.is_empty() && !path.starts_with('/') {
            cx.field(field).error(format!("{field} should start with \"/\"."));
            return None;
        }
    }
    let pb::AuthorizationRequest { allowed_headers, headers_to_add } =
        authorization_request.unwrap_or_default();
    let pb::AuthorizationResponse {
        allowed_upstream_headers,
        allowed_client_headers,
        allowed_upstream_headers_to_append,
        allowed_client_headers_on_success,
        dynamic_metadata_from_headers,
    } = authorization_response.unwrap_or_default();
    let of_request = cx.field("authorization_request");
    let of_response = cx.field("authorization_response");
    let list = |list: Option<_>, field| string_matchers(Option::as_ref(&list), &of_response, field);
    let mut add = Vec::new();
    for (i, header) in headers_to_add.into_iter().enumerate() {
        add.push(added(header, &of_request.item("headers_to_add", i))?);
    }
    Some(HttpService {
        cluster: cluster.into(),
        timeout: duration(&timeout?, &cx.field("server_uri").field("timeout"))?,
        path_prefix: path_prefix.into(),
        path_override: path_override.into(),
        allowed: string_matchers(allowed_headers.as_ref(), &of_request, "allowed_headers")?,
        add: add.into(),
        retries: match retry_policy {
            None => None,
            Some(policy) => {
                Some(Retries::compile(policy, None, &cx.field("retry_policy"), &own.retry_plugins)?)
            }
        },
        upstream: list(allowed_upstream_headers, "allowed_upstream_headers")?,
        append: list(allowed_upstream_headers_to_append, "allowed_upstream_headers_to_append")?,
        client: list(allowed_client_headers, "allowed_client_headers")?,
        client_on_success: list(allowed_client_headers_on_success, "allowed_client_headers_on_success")?,
        metadata: list(dynamic_metadata_from_headers, "dynamic_metadata_from_headers")?,
    })
}

/// A header of each question.
fn added(message: HeaderValue, cx: &CompileContext<'_>) -> Option<(Box<str>, Added)> {
    let HeaderValue { key, value, raw_value } = message;
    let key = key.to_ascii_lowercase();
    if key.starts_with(':') || key == "host" {
        cx.error(":-prefixed or host headers may not be modified");
        return None;
    }
    let value = match value.contains('%').then(|| Format::with(&value, &Commands::default(), true)) {
        None if value.is_empty() => Added::Fixed(raw_value.to_vec()),
        None => Added::Fixed(value.into_bytes()),
        Some(Ok(format)) => Added::Formatted(format),
        Some(Err(error)) => {
            cx.field("value").error(error.to_string());
            return None;
        }
    };
    Some((key.into(), value))
}
