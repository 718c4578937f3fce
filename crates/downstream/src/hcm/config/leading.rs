//! What leads a connection manager's requests, compiled: its routes, its filters, and those of upgrades.

use crate::filter::{AnyHttpFilterFactory, ChainConfig, ChainEntry, Compiled};
use crate::hcm::upgrade::{UpgradeConfig, Upgrades};
use crate::route::{CompilePerRoute, RouteOptions, RouteTable, Routes, ScopedRoutes};
use crate::router::RouterConfig;
use crate::world::CompileEnv;
use nuncio_core::config::{self, CompileContext};
use nuncio_core::source::FileSource;
use nuncio_proto::pb::envoy::config::route::v3::RouteConfiguration;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use pb::http_connection_manager::RouteSpecifier;
use std::any;
use std::sync::Arc;

/// Compiles the inline route table, or subscribes to one.
pub(super) fn compile_routes(
    specifier: Option<RouteSpecifier>,
    stat_prefix: &str,
    cx: &CompileContext<'_>,
    env: &CompileEnv<'_>,
) -> Option<Routes> {
    match specifier {
        Some(RouteSpecifier::RouteConfig(routes)) => {
            compile_table(routes, &cx.field("route_config"), env, true).map(Routes::Inline)
        }
        Some(RouteSpecifier::ScopedRoutes(scopes)) => {
            let table = |routes, cx: &CompileContext<'_>| compile_table(routes, cx, env, true);
            ScopedRoutes::compile(scopes, &cx.field("scoped_routes"), table)
                .map(|scopes| Routes::Scoped(Arc::new(scopes)))
        }
        Some(RouteSpecifier::Rds(pb::Rds { config_source, route_config_name })) => {
            let cx = cx.field("rds");
            let source = FileSource::compile(config_source.unwrap_or_default(), &cx.field("config_source"))?;
            let prefix = format!("http.{stat_prefix}.");
            Some(Routes::Rds(env.route_feeds.subscribe(source, route_config_name, &prefix)))
        }
        None => {
            cx.error("route_specifier: value is required");
            None
        }
    }
}

/// Compiles a route table; `validate` says whether its clusters have to be there where the table does not.
pub fn compile_table(
    message: RouteConfiguration,
    cx: &CompileContext<'_>,
    env: &CompileEnv<'_>,
    validate: bool,
) -> Option<Arc<RouteTable>> {
    let per_route = PerRoute(env);
    let options = RouteOptions {
        cluster_exists: env.cluster_exists,
        nearest_cluster: env.nearest_cluster,
        validate_clusters_default: validate,
        per_route: &per_route,
        retry_plugins: env.retry_plugins,
        runtime: env.runtime,
        stats: env.stats,
    };
    RouteTable::compile(message, cx, &options)
}

/// Compiles the filter list: everything but the last passes on, and the last is the router.
pub(super) fn compile_chain(
    filters: Vec<pb::HttpFilter>,
    field: &'static str,
    cx: &CompileContext<'_>,
    env: &CompileEnv<'_>,
) -> Option<ChainConfig> {
    let mut chain = ChainConfig { id: 0, filters: Vec::new(), router: None };
    let last = filters.len().saturating_sub(1);
    let mut good = true;
    for (i, filter) in filters.into_iter().enumerate() {
        let filter_cx = cx.item(field, i);
        let pb::HttpFilter { name, config_type, disabled, is_optional } = filter;
        let typed_cx = filter_cx.field("typed_config");
        let Some(pb::http_filter::ConfigType::TypedConfig(any)) = config_type else {
            filter_cx
                .error(format!("Didn't find a registered implementation for '{name}' with type URL: ''"));
            good = false;
            continue;
        };
        let Some(factory) = env.http_filters.get(&any.type_url) else {
            if !is_optional {
                typed_cx.unsupported(format!(
                    "the HTTP filter {} is not built",
                    config::type_name(&any.type_url)
                ));
                good = false;
            }
            continue;
        };
        let type_name = config::type_name(&any.type_url);
        match factory.compile_any(&any, &typed_cx) {
            None => good = false,
            Some(Compiled::Router(_)) if i != last => {
                filter_cx.error(format!(
                    "Error: terminal filter named {name} of type {type_name} must be the last filter in a http \
                     filter chain."
                ));
                good = false;
            }
            Some(Compiled::Router(_)) if disabled => {
                filter_cx.error(format!(
                    "Error: the last (terminal) filter ({name}) in the chain cannot be disabled by default."
                ));
                good = false;
            }
            Some(Compiled::Router(router)) => match RouterConfig::compile(*router, &typed_cx, env) {
                Some(router) => chain.router = Some(Arc::new(router)),
                None => good = false,
            },
            Some(Compiled::Filter(_)) if i == last => {
                filter_cx.error(format!(
                    "Error: non-terminal filter named {name} of type {type_name} is the last filter in a http \
                     filter chain."
                ));
                good = false;
            }
            Some(Compiled::Filter(config)) => {
                let place = filter_cx.place();
                chain.filters.push(ChainEntry { name: name.into(), place, config, disabled });
            }
        }
    }
    good.then_some(chain)
}

/// Compiles `upgrade_configs`. An entry without filters has the connection manager's.
pub(super) fn compile_upgrades(
    configs: Vec<pb::http_connection_manager::UpgradeConfig>,
    cx: &CompileContext<'_>,
    env: &CompileEnv<'_>,
) -> Option<Upgrades> {
    let mut entries: Vec<UpgradeConfig> = Vec::with_capacity(configs.len());
    let mut good = true;
    for (i, config) in configs.into_iter().enumerate() {
        let cx = cx.item("upgrade_configs", i);
        let pb::http_connection_manager::UpgradeConfig { upgrade_type, filters, enabled } = config;
        if entries.iter().any(|e| e.kind.eq_ignore_ascii_case(&upgrade_type)) {
            cx.error(format!("Error: multiple upgrade configs with the same name: '{upgrade_type}'"));
            good = false;
            continue;
        }
        let own = !filters.is_empty();
        let Some(chain) = compile_chain(filters, "filters", &cx, env) else {
            good = false;
            continue;
        };
        // The connection manager's own chain comes first.
        let id = 1 + entries.iter().filter(|e| e.chain.is_some()).count();
        let (enabled, chain) = (enabled.unwrap_or(true), own.then_some(ChainConfig { id, ..chain }));
        entries.push(UpgradeConfig { kind: upgrade_type.into(), enabled, chain });
    }
    good.then(|| Upgrades::new(entries))
}

/// Per-route filter configurations, by their message.
struct PerRoute<'a>(&'a CompileEnv<'a>);

impl PerRoute<'_> {
    fn factory(&self, config: &prost_types::Any) -> Option<&dyn AnyHttpFilterFactory> {
        let table = self.0.http_filters;
        let type_name = config::type_name(&config.type_url);
        table.names().filter_map(|name| table.get(name)).find(|f| f.route_type() == type_name)
    }
}

impl CompilePerRoute for PerRoute<'_> {
    fn knows(&self, config: &prost_types::Any) -> bool {
        self.factory(config).is_some()
    }

    fn compile(
        &self,
        filter: &str,
        config: &prost_types::Any,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn any::Any + Send + Sync>> {
        let type_name = config::type_name(&config.type_url);
        let Some(factory) = self.factory(config) else {
            cx.unsupported(format!(
                "no HTTP filter that is built takes {type_name} as its configuration per route (for '{filter}')"
            ));
            return None;
        };
        factory.compile_route_any(config, cx)
    }
}
