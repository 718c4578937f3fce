//! A listener's compiled configuration.

use crate::network::{ListenerFacts, NetworkFilterConfig};
use crate::world::CompileEnv;
use nuncio_core::access_log::AccessLog;
use nuncio_core::address::Address;
use nuncio_core::config::{self, CompileContext, Place};
use nuncio_core::stream_info::Metadata;
use nuncio_net::listen::ListenSpec;
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use nuncio_proto::pb::envoy::config::listener::v3::{self as pb, filter, listener::DrainType};
use std::sync::Arc;

/// Envoy's default of `per_connection_buffer_limit_bytes`.
const BUFFER_LIMIT: u32 = 1024 * 1024;

/// A compiled `envoy.config.listener.v3.Listener`.
pub struct ListenerConfig {
    /// Where it stands.
    pub place: Option<Place>,
    /// Its name; that of its address where it has none.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: Address,
    /// Whose traffic it takes, for `/drain_listeners?inboundonly`.
    pub direction: TrafficDirection,
    /// `drain_type: MODIFY_ONLY`: it drains when it is changed or told to, not when health checks fail.
    pub modify_only: bool,
    /// Its filter chains in order; `default_filter_chain`, which takes what no other one takes, is the last.
    pub filter_chains: Vec<FilterChainConfig>,
    /// Who is told of each connection that ends.
    pub access_logs: Vec<Arc<dyn AccessLog>>,
    /// What operators attached to it.
    pub metadata: Option<Arc<Metadata>>,
    /// Connections accepted per readiness event of the socket at most.
    pub max_accepts_per_turn: u32,
    stat_prefix: String,
    spec: ListenSpec,
}

/// A compiled filter chain.
pub struct FilterChainConfig {
    /// Its name, which may be empty.
    pub name: Arc<str>,
    /// What operators attached to it.
    pub metadata: Option<Arc<Metadata>>,
    /// What serves its connections; they are closed where there is nothing.
    pub filter: Option<Arc<dyn NetworkFilterConfig>>,
}

impl ListenerConfig {
    /// Compiles a listener. `None`: refused, with every reason recorded in `cx`.
    pub fn compile(
        message: pb::Listener,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
    ) -> Option<Arc<Self>> {
        let pb::Listener {
            name,
            address,
            filter_chains,
            default_filter_chain,
            stat_prefix,
            traffic_direction,
            per_connection_buffer_limit_bytes,
            enable_reuse_port,
            tcp_backlog_size,
            access_log,
            metadata,
            drain_type,
        } = message;
        let ipv4_compat = address.as_ref().is_some_and(config::ipv4_compat);
        let address_cx = cx.field("address");
        let address = match &address {
            Some(address) => config::address(address, &address_cx),
            None if cx.told_of("internal_listener") => None,
            None => {
                address_cx.error("value is required");
                None
            }
        };
        // What is wrong with the filters is told even where the address is wrong.
        let text = address.as_ref().map(ToString::to_string).unwrap_or_default();
        let stat_prefix = format!("listener.{}.", if stat_prefix.is_empty() { &text } else { &stat_prefix });
        let facts = ListenerFacts {
            stat_prefix: &stat_prefix,
            buffer_limit: per_connection_buffer_limit_bytes.unwrap_or(BUFFER_LIMIT),
        };
        let chains = compile_chains(filter_chains, default_filter_chain, &text, cx, env, facts);
        let access_logs = env.access_logs.compile(&access_log, cx, "access_log");
        let (address, chains, access_logs) = (address?, chains?, access_logs?);
        let mut spec = ListenSpec::new(address.clone());
        spec.ipv4_compat = ipv4_compat;
        spec.reuse_port = enable_reuse_port.unwrap_or(true);
        if let Some(backlog) = tcp_backlog_size {
            spec.backlog = backlog;
        }
        Some(Arc::new(Self {
            place: cx.place(),
            name: if name.is_empty() { text.as_str().into() } else { name.into() },
            address,
            direction: TrafficDirection::try_from(traffic_direction).unwrap_or(TrafficDirection::Unspecified),
            modify_only: DrainType::try_from(drain_type) == Ok(DrainType::ModifyOnly),
            filter_chains: chains,
            access_logs,
            metadata: metadata.map(config::metadata),
            max_accepts_per_turn: u32::MAX,
            stat_prefix,
            spec,
        }))
    }

    /// A listener of the process's own, such as the admin port: it has no chains and, for logs, no name;
    /// `listener.NAME.` stands before its stats.
    pub fn own(name: &str, address: Address, ipv4_compat: bool) -> Arc<Self> {
        let mut spec = ListenSpec::new(address.clone());
        spec.ipv4_compat = ipv4_compat;
        spec.reuse_port = false;
        Arc::new(Self {
            place: None,
            name: "".into(),
            address,
            direction: TrafficDirection::Unspecified,
            modify_only: false,
            filter_chains: Vec::new(),
            access_logs: Vec::new(),
            metadata: None,
            max_accepts_per_turn: 1,
            stat_prefix: format!("listener.{name}."),
            spec,
        })
    }

    /// The prefix of its stats: `listener.ADDR.`.
    pub fn stat_prefix(&self) -> &str {
        &self.stat_prefix
    }

    /// How its sockets are bound.
    pub fn listen_spec(&self) -> &ListenSpec {
        &self.spec
    }
}

/// The filter chains. Without a match, of which none is built, all have the same criteria, so that there may be one
/// beside the default.
fn compile_chains(
    messages: Vec<pb::FilterChain>,
    default: Option<pb::FilterChain>,
    address: &str,
    cx: &CompileContext<'_>,
    env: &CompileEnv<'_>,
    facts: ListenerFacts<'_>,
) -> Option<Vec<FilterChainConfig>> {
    if messages.is_empty() && default.is_none() {
        cx.error(format!("error adding listener '{address}': no filter chains specified"));
        return None;
    }
    let matched = cx.told_of("filter_chain_matcher")
        || (0..messages.len()).any(|i| cx.item("filter_chains", i).told_of("filter_chain_match"));
    let count = messages.len() + usize::from(default.is_some());
    let mut chains = Vec::with_capacity(count);
    for (i, chain) in messages.into_iter().enumerate() {
        let chain_cx = cx.item("filter_chains", i);
        let distinct = i == 0 || matched;
        if !distinct {
            chain_cx.error(format!(
                "error adding listener '{address}': filter chain '{}' has the same matching rules defined as ''. \
                 duplicate matcher is: {{}}",
                chain.name
            ));
        }
        chains.extend(FilterChainConfig::compile(chain, &chain_cx, env, facts).filter(|_| distinct));
    }
    if let Some(chain) = default {
        chains.extend(FilterChainConfig::compile(chain, &cx.field("default_filter_chain"), env, facts));
    }
    (chains.len() == count).then_some(chains)
}

impl FilterChainConfig {
    fn compile(
        message: pb::FilterChain,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        facts: ListenerFacts<'_>,
    ) -> Option<Self> {
        let pb::FilterChain { filters, name, metadata } = message;
        let count = filters.len();
        let last = count.saturating_sub(1);
        let mut terminal = None;
        for (i, filter) in filters.into_iter().enumerate() {
            let filter_cx = cx.item("filters", i);
            let pb::Filter { name, config_type } = filter;
            let typed_cx = filter_cx.field("typed_config");
            let Some(filter::ConfigType::TypedConfig(any)) = config_type else {
                filter_cx
                    .error(format!("Didn't find a registered implementation for '{name}' with type URL: ''"));
                continue;
            };
            let Some(factory) = env.network_filters.get(&any.type_url) else {
                typed_cx.unsupported(format!("the network filter {} is not built", any.type_url));
                continue;
            };
            if i != last {
                filter_cx.error(format!(
                    "Error: terminal filter named {name} of type {} must be the last filter in a network \
                     filter chain.",
                    config::type_name(&any.type_url)
                ));
                continue;
            }
            terminal = factory.compile_any(any, &typed_cx, env, facts);
        }
        if terminal.is_none() && count > 0 {
            return None;
        }
        Some(Self { name: name.into(), metadata: metadata.map(config::metadata), filter: terminal })
    }
}
