//! A listener's compiled configuration.

use super::SocketFacts;
use super::chain_matcher::ChainMatcher;
use super::filter::ListenerFilterConfig;
use super::limits;
use super::matching::{ChainMatch, find};
use super::predicate::Predicate;
use super::sockets::SocketFields;
use super::transport::DownstreamTransport;
use crate::network::{CompiledFilter, ListenerFacts, Named, NetworkFilterConfig, NetworkGateConfig};
use crate::world::CompileEnv;
use nuncio_core::access_log::AccessLog;
use nuncio_core::address::Address;
use nuncio_core::config::{self, CompileContext};
use nuncio_core::stream_info::Metadata;
use nuncio_core::why::FieldPlaces;
use nuncio_net::listen::ListenSpec;
use nuncio_net::tls::TlsOwner;
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use nuncio_proto::pb::envoy::config::listener::v3::listener::{InternalListenerConfig, ListenerSpecifier};
use nuncio_proto::pb::envoy::config::listener::v3::{
    self as pb, filter, listener::DrainType, listener_filter,
};
use nuncio_proto::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use nuncio_proto::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use prost::Name as _;
use prost_types::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Envoy's default of `per_connection_buffer_limit_bytes`.
const BUFFER_LIMIT: u32 = 1024 * 1024;

/// Envoy's default of `listener_filters_timeout`.
const LISTENER_FILTERS_TIMEOUT: Duration = Duration::from_secs(15);

/// A compiled `envoy.config.listener.v3.Listener`.
pub struct ListenerConfig {
    /// Where it and its fields stand.
    pub places: FieldPlaces,
    /// Its name, which may be empty.
    pub name: Arc<str>,
    /// Where it listens; its first address, where it has several.
    pub address: Address,
    /// Whose traffic it takes, for `/drain_listeners?inboundonly`.
    pub direction: TrafficDirection,
    /// `drain_type: MODIFY_ONLY`: it drains when it is changed or told to, not when health checks fail.
    pub modify_only: bool,
    /// Its filter chains in order; `default_filter_chain`, which takes what no other one takes, is the last.
    pub filter_chains: Vec<FilterChainConfig>,
    /// What each chain but the default one asks of a connection.
    pub(super) matches: Vec<ChainMatch>,
    /// What chooses the chain in the place of these.
    pub(super) chain_matcher: Option<ChainMatcher>,
    /// The chain of connections that no other one takes.
    pub(super) default_chain: Option<usize>,
    /// What looks at a connection before its chain is chosen, and which connections it leaves out.
    pub(super) listener_filters: Vec<FilterAndPredicate>,
    /// How long that may take.
    pub(super) filters_timeout: Option<Duration>,
    /// `per_connection_buffer_high_watermark_timeout`
    pub(super) patience: Option<Duration>,
    /// After that time the connection goes on as it is.
    pub(super) continue_on_filters_timeout: bool,
    /// Who is told of each connection that ends.
    pub access_logs: Vec<Arc<dyn AccessLog>>,
    /// What operators attached to it.
    pub metadata: Option<Arc<Metadata>>,
    /// Connections accepted per readiness event of the socket at most.
    pub max_accepts_per_turn: u32,
    /// `ignore_global_conn_limit`.
    pub(super) ignores_global_limit: bool,
    /// `bypass_overload_manager`.
    pub(super) bypasses_overload: bool,
    /// The runtime key of its own limit of connections.
    pub(super) limit_key: Box<str>,
    /// Its open connections, on all workers.
    pub(super) open: AtomicU64,
    /// Whether it has sockets (`bind_to_port`); without them others hand connections to it.
    pub binds: bool,
    /// `use_original_dst`: connections that were going elsewhere are handed to who listens there.
    pub(super) hands_off: bool,
    stat_prefix: String,
    specs: Vec<ListenSpec>,
}

/// A compiled filter chain.
pub struct FilterChainConfig {
    /// Where it and its fields stand.
    pub(crate) places: FieldPlaces,
    /// Its name, which may be empty.
    pub name: Arc<str>,
    /// What operators attached to it.
    pub metadata: Option<Arc<Metadata>>,
    /// What carries its connections' bytes.
    pub transport: DownstreamTransport,
    /// How long a handshake may take.
    pub(super) connect_timeout: Option<Duration>,
    /// What serves its connections; they are closed where there is nothing.
    pub filter: Option<Arc<dyn NetworkFilterConfig>>,
    /// Its name.
    pub(crate) filter_name: Option<Named>,
    /// What they pass before.
    pub gates: Vec<Arc<dyn NetworkGateConfig>>,
    /// Their names.
    pub(crate) gate_names: Vec<Named>,
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
            per_connection_buffer_high_watermark_timeout,
            enable_reuse_port,
            tcp_backlog_size,
            access_log,
            metadata,
            drain_type,
            listener_filters,
            listener_filters_timeout,
            continue_on_listener_filters_timeout,
            ignore_global_conn_limit,
            bypass_overload_manager,
            filter_chain_matcher,
            max_connections_to_accept_per_socket_event,
            additional_addresses,
            bind_to_port,
            deprecated_v1,
            use_original_dst,
            socket_options,
            tcp_keepalive,
            freebind,
            transparent,
            tcp_fast_open_queue_length,
            enable_mptcp,
            listener_specifier,
        } = message;
        let internal = match listener_specifier {
            Some(ListenerSpecifier::InternalListener(InternalListenerConfig {})) => true,
            None => false,
        };
        let sockets = SocketFields {
            address,
            additional_addresses,
            reuse_port: enable_reuse_port,
            backlog: tcp_backlog_size,
            socket_options,
            keepalive: tcp_keepalive,
            freebind,
            transparent,
            fast_open: tcp_fast_open_queue_length,
            mptcp: enable_mptcp,
            internal,
            internal_room: env.internal_room,
        };
        let specs = sockets.compile(&name, cx);
        // What is wrong with the filters is told even where the address is wrong.
        let address = specs.as_ref().and_then(|all| all.first()).map(|first| first.address.clone());
        let text = match &address {
            // As in Envoy stats call it otherwise than logs.
            Some(Address::Internal(internal)) => format!("envoy_internal_{}", internal.listener),
            Some(address) => address.to_string(),
            None => String::new(),
        };
        let pb::listener::DeprecatedV1 { bind_to_port: bound_by_old_field } =
            deprecated_v1.unwrap_or_default();
        let hands_off = use_original_dst.unwrap_or(false);
        let proxied = filter_chains.first().is_some_and(|c| c.use_proxy_proto == Some(true));
        let stat_prefix = format!("listener.{}.", if stat_prefix.is_empty() { &text } else { &stat_prefix });
        let facts = ListenerFacts {
            stat_prefix: &stat_prefix,
            buffer_limit: per_connection_buffer_limit_bytes.unwrap_or(BUFFER_LIMIT),
            outbound: TrafficDirection::try_from(traffic_direction) == Ok(TrafficDirection::Outbound),
            bypasses_overload: bypass_overload_manager,
        };
        let by_name = filter_chain_matcher.is_some();
        let chain_matcher = match filter_chain_matcher {
            None => Some(None),
            Some(message) => ChainMatcher::compile(message, &cx.field("filter_chain_matcher")).map(Some),
        };
        if by_name {
            check_names(&filter_chains, &text, cx);
        }
        let chains = compile_chains((filter_chains, by_name), default_filter_chain, &text, cx, env, facts);
        let filters = compile_listener_filters(listener_filters, (hands_off, proxied), cx, env);
        let patience = config::timeout(
            per_connection_buffer_high_watermark_timeout.as_ref(),
            None,
            &cx.field("per_connection_buffer_high_watermark_timeout"),
        )
        .filter(|_| facts.buffer_limit > 0);
        let filters_timeout = config::timeout(
            listener_filters_timeout.as_ref(),
            Some(LISTENER_FILTERS_TIMEOUT),
            &cx.field("listener_filters_timeout"),
        );
        let access_logs = env.access_logs.compile(&access_log, cx, "access_log");
        let (address, (filter_chains, matches, default_chain), access_logs) =
            (address?, chains?, access_logs?);
        let listener_filters = filters?;
        Some(Arc::new(Self {
            places: FieldPlaces::new(cx, &["filter_chains"]),
            limit_key: limits::key(&name),
            ignores_global_limit: ignore_global_conn_limit,
            bypasses_overload: bypass_overload_manager,
            open: AtomicU64::new(0),
            name: name.into(),
            address,
            direction: TrafficDirection::try_from(traffic_direction).unwrap_or(TrafficDirection::Unspecified),
            modify_only: DrainType::try_from(drain_type) == Ok(DrainType::ModifyOnly),
            filter_chains,
            matches,
            chain_matcher: chain_matcher?,
            default_chain,
            listener_filters,
            filters_timeout,
            patience,
            continue_on_filters_timeout: continue_on_listener_filters_timeout,
            access_logs,
            metadata: metadata.map(config::metadata),
            max_accepts_per_turn: max_connections_to_accept_per_socket_event.unwrap_or(u32::MAX),
            binds: bind_to_port.or(bound_by_old_field).unwrap_or(true),
            hands_off,
            stat_prefix,
            specs: specs?,
        }))
    }

    /// A listener of the process's own, such as the admin port: it has no chains and, for logs, no name;
    /// `listener.NAME.` stands before its stats.
    pub fn own(name: &str, spec: ListenSpec, ignores_global_limit: bool) -> Arc<Self> {
        Arc::new(Self {
            places: FieldPlaces::default(),
            ignores_global_limit,
            bypasses_overload: true,
            limit_key: limits::key(name),
            open: AtomicU64::new(0),
            name: "".into(),
            address: spec.address.clone(),
            direction: TrafficDirection::Unspecified,
            modify_only: false,
            filter_chains: Vec::new(),
            matches: Vec::new(),
            chain_matcher: None,
            default_chain: None,
            listener_filters: Vec::new(),
            filters_timeout: None,
            patience: None,
            continue_on_filters_timeout: false,
            access_logs: Vec::new(),
            metadata: None,
            max_accepts_per_turn: 1,
            binds: true,
            hands_off: false,
            stat_prefix: format!("listener.{name}."),
            specs: vec![ListenSpec { reuse_port: false, ..spec }],
        })
    }

    /// The chain that takes a connection.
    pub(super) fn chain_of(&self, facts: &SocketFacts) -> Option<usize> {
        let Some(matcher) = &self.chain_matcher else {
            return find(&self.matches, facts).or(self.default_chain);
        };
        // A name that no chain has is no reason for the default one.
        match matcher.find(facts) {
            Some(name) => {
                let chains = self.filter_chains.iter().take(self.matches.len());
                chains.map(|chain| &*chain.name).position(|n| n == name)
            }
            None => self.default_chain,
        }
    }

    /// Whether a chain asks for what the first message of a TLS client says.
    pub(crate) fn asks_of_the_client_hello(&self) -> bool {
        self.matches.iter().any(ChainMatch::asks_of_the_client_hello)
    }

    /// The prefix of its stats: `listener.ADDR.`.
    pub fn stat_prefix(&self) -> &str {
        &self.stat_prefix
    }

    /// What it is called where people read of it: its name, or its address where it has none.
    pub fn label(&self) -> String {
        if self.name.is_empty() { self.address.to_string() } else { self.name.to_string() }
    }

    /// Where it listens and how its sockets are bound, `address` first.
    pub fn listen_specs(&self) -> &[ListenSpec] {
        &self.specs
    }
}

/// A listener filter, and which connections it leaves out (`filter_disabled`).
pub(super) type FilterAndPredicate = (Arc<dyn ListenerFilterConfig>, Option<Predicate>);

/// The chains, what each asks of a connection, and the place of the default one.
type Chains = (Vec<FilterChainConfig>, Vec<ChainMatch>, Option<usize>);

/// The fields of a filter chain that explanations of failures name.
const EXPLAINED: &[&str] = &[
    "filter_chain_match",
    "transport_socket",
    "transport_socket/typed_config/require_client_certificate",
    "transport_socket/typed_config/require_sni",
    "transport_socket/typed_config/common_tls_context/alpn_protocols",
    "transport_socket/typed_config/common_tls_context/tls_params",
    "transport_socket/typed_config/common_tls_context/tls_certificates",
    "transport_socket/typed_config/common_tls_context/validation_context",
    "transport_socket/typed_config/common_tls_context/validation_context/custom_validator_config",
    "transport_socket/typed_config/common_tls_context/validation_context_sds_secret_config",
    "transport_socket/typed_config/common_tls_context/combined_validation_context/default_validation_context",
];

/// Chains that a matcher names need names, each its own.
fn check_names(chains: &[pb::FilterChain], address: &str, cx: &CompileContext<'_>) {
    for (i, chain) in chains.iter().enumerate() {
        let (cx, name) = (cx.item("filter_chains", i), &chain.name);
        if name.is_empty() {
            cx.error(format!(
                "error adding listener '{address}': \"name\" field is required when using a listener matcher"
            ));
        } else if chains.iter().take(i).any(|c| c.name == *name) {
            cx.field("name").error(format!(
                "error adding listener '{address}': \"name\" field is duplicated with value '{name}'"
            ));
        }
    }
}

/// The filter chains; no two may ask for the same, unless they are found by name.
fn compile_chains(
    (messages, by_name): (Vec<pb::FilterChain>, bool),
    default: Option<pb::FilterChain>,
    address: &str,
    cx: &CompileContext<'_>,
    env: &CompileEnv<'_>,
    facts: ListenerFacts<'_>,
) -> Option<Chains> {
    if messages.is_empty() && default.is_none() {
        cx.error(format!("error adding listener '{address}': no filter chains specified"));
        return None;
    }
    let matched = by_name
        || cx.told_of("filter_chain_matcher")
        || (0..messages.len()).any(|i| cx.item("filter_chains", i).told_of("filter_chain_match"));
    let count = messages.len();
    let mut chains = Vec::with_capacity(count);
    let mut matches: Vec<ChainMatch> = Vec::with_capacity(count);
    let mut names: Vec<String> = Vec::with_capacity(count);
    for (i, mut chain) in messages.into_iter().enumerate() {
        let chain_cx = cx.item("filter_chains", i);
        let criteria = ChainMatch::compile(chain.filter_chain_match.take(), &chain_cx);
        let name = chain.name.clone();
        if let Some(criteria) = criteria {
            let twin = matches.iter().position(|m| *m == criteria && !matched);
            if let Some(twin) = twin {
                chain_cx.error(format!(
                    "error adding listener '{address}': filter chain '{name}' has the same matching rules \
                     defined as '{}'. duplicate matcher is: {{}}",
                    names.get(twin).map_or("", String::as_str)
                ));
            } else if !matched && matches.iter().any(|m| m.overlaps(&criteria)) {
                chain_cx.error(format!(
                    "error adding listener '{address}': multiple filter chains with overlapping matching rules \
                     are defined"
                ));
            }
            matches.push(criteria);
            names.push(name);
        }
        chains.extend(FilterChainConfig::compile(chain, &chain_cx, env, facts));
    }
    let mut default_chain = None;
    let mut good = chains.len() == count && matches.len() == count;
    if let Some(chain) = default {
        let compiled = FilterChainConfig::compile(chain, &cx.field("default_filter_chain"), env, facts);
        good &= compiled.is_some();
        default_chain = compiled.is_some().then_some(chains.len());
        chains.extend(compiled);
    }
    good.then_some((chains, matches, default_chain))
}

/// The listener filters: those of the list, then those that other fields stand for. `use_original_dst` of the listener
/// and `use_proxy_proto` of its first chain are `injected`.
fn compile_listener_filters(
    messages: Vec<pb::ListenerFilter>,
    injected: (bool, bool),
    cx: &CompileContext<'_>,
    env: &CompileEnv<'_>,
) -> Option<Vec<FilterAndPredicate>> {
    let count = messages.len();
    let mut filters = Vec::with_capacity(count);
    for (i, filter) in messages.into_iter().enumerate() {
        let cx = cx.item("listener_filters", i);
        let pb::ListenerFilter { name, config_type, filter_disabled } = filter;
        let disabled = match filter_disabled {
            None => Some(None),
            Some(message) => Predicate::compile(message, &cx.field("filter_disabled")).map(Some),
        };
        let Some(listener_filter::ConfigType::TypedConfig(any)) = config_type else {
            if !cx.told_of("typed_config") && !cx.told_of("config_discovery") {
                cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: ''"));
            }
            continue;
        };
        filters.extend(compile_listener_filter(&any, &cx.field("typed_config"), env).zip(disabled));
    }
    let complete = filters.len() == count;
    for (wanted, field, kind) in [
        (injected.0, "use_original_dst", OriginalDst::full_name()),
        (injected.1, "filter_chains", ProxyProtocol::full_name()),
    ] {
        if wanted {
            let any = Any { type_url: format!("type.googleapis.com/{kind}"), value: Vec::new() };
            filters.push((compile_listener_filter(&any, &cx.field(field), env)?, None));
        }
    }
    complete.then_some(filters)
}

fn compile_listener_filter(
    any: &Any,
    cx: &CompileContext<'_>,
    env: &CompileEnv<'_>,
) -> Option<Arc<dyn ListenerFilterConfig>> {
    match env.listener_filters.get(&any.type_url) {
        Some(factory) => factory.compile_any(any, cx),
        None => {
            cx.unsupported(format!("the listener filter {} is not built", any.type_url));
            None
        }
    }
}

impl FilterChainConfig {
    fn compile(
        message: pb::FilterChain,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        facts: ListenerFacts<'_>,
    ) -> Option<Self> {
        let pb::FilterChain {
            filters,
            name,
            metadata,
            // The default chain's criteria, which nobody asks; those of the others were taken.
            filter_chain_match: _,
            // A listener filter, which that of the first chain brings in for all.
            use_proxy_proto: _,
            transport_socket,
            transport_socket_connect_timeout,
        } = message;
        let owner = TlsOwner { manager: env.tls, stat_prefix: facts.stat_prefix };
        let transport = DownstreamTransport::compile(transport_socket, cx, owner);
        let connect_timeout = config::timeout(
            transport_socket_connect_timeout.as_ref(),
            None,
            &cx.field("transport_socket_connect_timeout"),
        );
        let count = filters.len();
        let last = count.saturating_sub(1);
        let (mut terminal, mut gates) = (None, Vec::new());
        let (mut filter_name, mut gate_names) = (None, Vec::new());
        let mut good = true;
        for (i, filter) in filters.into_iter().enumerate() {
            let filter_cx = cx.item("filters", i);
            let pb::Filter { name, config_type } = filter;
            let typed_cx = filter_cx.field("typed_config");
            let Some(filter::ConfigType::TypedConfig(any)) = config_type else {
                filter_cx
                    .error(format!("Didn't find a registered implementation for '{name}' with type URL: ''"));
                good = false;
                continue;
            };
            let kind = config::type_name(&any.type_url).to_owned();
            let Some(factory) = env.network_filters.get(&any.type_url) else {
                typed_cx.unsupported(format!("the network filter {} is not built", any.type_url));
                continue;
            };
            match factory.compile_any(any, &typed_cx, env, facts) {
                Some(CompiledFilter::Serving(filter)) if i == last => {
                    terminal = Some(filter);
                    filter_name = Some(Named { name: name.into(), place: filter_cx.place() });
                }
                Some(CompiledFilter::Gate(gate)) if i != last => {
                    gates.push(gate);
                    gate_names.push(Named { name: name.into(), place: filter_cx.place() });
                }
                Some(CompiledFilter::Serving(_)) => {
                    filter_cx.error(format!(
                        "Error: terminal filter named {name} of type {kind} must be the last filter in a network \
                         filter chain."
                    ));
                    good = false;
                }
                Some(CompiledFilter::Gate(_)) => {
                    filter_cx.error(format!(
                        "Error: non-terminal filter named {name} of type {kind} is the last filter in a network \
                         filter chain."
                    ));
                    good = false;
                }
                None => good = false,
            }
        }
        if !good || (terminal.is_none() && count > 0) {
            return None;
        }
        let metadata = metadata.map(config::metadata);
        let places = FieldPlaces::new(cx, EXPLAINED);
        Some(Self {
            places,
            name: name.into(),
            metadata,
            transport: transport?,
            connect_timeout,
            filter: terminal,
            filter_name,
            gates,
            gate_names,
        })
    }
}
