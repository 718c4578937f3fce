//! What a table, a virtual host, a route and a weighted cluster all may say: header changes and per-filter
//! configuration.

use super::{CompilePerRoute, HostScope, all};
use crate::route::changes::{LevelChanges, LevelName};
use crate::route::per_filter::{PerFilter, PerFilterLevel};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::header::{HeaderMutations, MutationFields};
use nuncio_proto::pb::envoy::config::core::v3::HeaderValueOption;
use nuncio_proto::pb::envoy::config::route::v3::{self as pb, FilterConfig};
use nuncio_proto::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use prost::{Message, Name};
use prost_types::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes of several levels, in the order in which they run.
type Levels = Box<[Arc<LevelChanges>]>;

/// The fields of one level, as configured.
#[derive(Debug)]
pub(super) struct Parts {
    pub name: LevelName,
    pub request_add: Vec<HeaderValueOption>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderValueOption>,
    pub response_remove: Vec<String>,
    pub filters: BTreeMap<String, Any>,
}

/// One compiled level.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    pub request: Option<Arc<LevelChanges>>,
    pub response: Option<Arc<LevelChanges>>,
    pub filters: Vec<PerFilterLevel>,
}

impl Parts {
    pub(super) fn compile(self, cx: &CompileContext<'_>, per_route: &dyn CompilePerRoute) -> Option<Level> {
        let Self { name: level, request_add, request_remove, response_add, response_remove, filters } = self;
        let request = HeaderMutations::compile(&request_add, &request_remove, cx, MutationFields::REQUEST);
        let response =
            HeaderMutations::compile(&response_add, &response_remove, cx, MutationFields::RESPONSE);
        let at = cx.field("typed_per_filter_config");
        let filters =
            all(filters.iter().map(|(name, any)| per_filter(level, (name, any), &at.key(name), per_route)));
        let filters = filters?.into_iter().flatten().collect();
        let some = |changes: HeaderMutations, fields| {
            (!changes.is_empty()).then(|| Arc::new(LevelChanges::new(level, changes, fields, cx)))
        };
        Some(Level {
            request: some(request?, MutationFields::REQUEST),
            response: some(response?, MutationFields::RESPONSE),
            filters,
        })
    }
}

impl Level {
    /// The header changes of a route of this level in the order in which they run: least specific last, or
    /// first with `most_specific_header_mutations_wins`.
    pub(super) fn ordered(&self, scope: &HostScope<'_>) -> (Levels, Levels) {
        let mut levels = [self, &scope.level, &scope.scope.table];
        if scope.scope.table_first {
            levels.reverse();
        }
        (
            levels.iter().filter_map(|l| l.request.clone()).collect(),
            levels.iter().filter_map(|l| l.response.clone()).collect(),
        )
    }

    /// The per-filter configuration of a route of this level; `weight` stands above the route's own.
    pub(super) fn merged(&self, scope: &HostScope<'_>, weight: &[PerFilterLevel]) -> Arc<PerFilter> {
        if self.filters.is_empty() && weight.is_empty() {
            return scope.filters.clone();
        }
        let levels = [weight, &self.filters, &scope.level.filters, &scope.scope.table.filters];
        Arc::new(PerFilter::merge(&levels))
    }
}

/// One entry of `typed_per_filter_config`; `Some(None)` where an optional one is left out.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
fn per_filter(
    level: LevelName,
    (name, any): (&str, &Any),
    cx: &CompileContext<'_>,
    per_route: &dyn CompilePerRoute,
) -> Option<Option<PerFilterLevel>> {
    let said = PerFilterLevel { level, filter: name.into(), disabled: None, config: None, place: cx.place() };
    if type_name(&any.type_url) != FilterConfig::full_name() {
        let config = per_route.compile(name, any, cx)?;
        return Some(Some(PerFilterLevel { config: Some(config), ..said }));
    }
    let FilterConfig { config, is_optional, disabled } = cx.unpack::<FilterConfig>(any)?;
    if disabled {
        return Some(Some(PerFilterLevel { disabled: Some(true), ..said }));
    }
    let Some(config) = config else {
        cx.error(format!("Empty route/virtual host per filter configuration for {name} filter"));
        return None;
    };
    if config.type_url.is_empty() {
        // It only says that the filter is on.
        return Some(Some(PerFilterLevel { disabled: Some(false), ..said }));
    }
    if is_optional && !per_route.knows(&config) {
        return Some(None);
    }
    let config = per_route.compile(name, &config, &cx.field("config"))?;
    Some(Some(PerFilterLevel { disabled: Some(false), config: Some(config), ..said }))
}

/// The name of the filter that the older `cors` fields are for.
const CORS: &str = "envoy.filters.http.cors";

/// The per-filter configuration of a level that says something of CORS in the place where that stood before. Where the
/// level, or the table, has it in the new place, too, nobody reads the older one.
pub(super) fn with_cors(
    mut filters: BTreeMap<String, Any>,
    cors: Option<pb::CorsPolicy>,
    table: &Level,
) -> BTreeMap<String, Any> {
    let Some(cors) = cors else { return filters };
    if filters.contains_key(CORS) || table.filters.iter().any(|level| *level.filter == *CORS) {
        return filters;
    }
    let pb::CorsPolicy {
        allow_origin_string_match,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        shadow_enabled,
        allow_private_network_access,
        forward_not_matching_preflights,
        enabled_specifier,
    } = cors;
    let policy = CorsPolicy {
        allow_origin_string_match,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        filter_enabled: enabled_specifier
            .map(|pb::cors_policy::EnabledSpecifier::FilterEnabled(enabled)| enabled),
        shadow_enabled,
        allow_private_network_access,
        forward_not_matching_preflights,
    };
    let type_url = format!("type.googleapis.com/{}", CorsPolicy::full_name());
    filters.insert(CORS.to_owned(), Any { type_url, value: policy.encode_to_vec() });
    filters
}
