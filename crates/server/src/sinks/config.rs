//! `stats_sinks`, compiled.

use super::line::Style;
use nuncio_core::address::Address;
use nuncio_core::config::{self, CompileContext, type_name};
use nuncio_proto::pb::envoy::config::core::v3 as core;
use nuncio_proto::pb::envoy::config::metrics::v3::{
    DogStatsdSink, StatsSink, StatsdSink, dog_statsd_sink, stats_sink, statsd_sink,
};
use nuncio_proto::pb::envoy::extensions::stat_sinks::graphite_statsd::v3::{
    GraphiteStatsdSink, graphite_statsd_sink,
};
use prost::Name as _;

/// What stands before every name unless a sink says otherwise.
const PREFIX: &str = "envoy";

/// One of `stats_sinks`.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    pub(super) style: Style,
    /// Stands before every name, with a dot between them.
    pub(super) prefix: String,
    pub(super) target: Target,
}

/// Where lines go.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// In datagrams of at most so many bytes; 0: each line in one of its own.
    Datagrams { to: Address, at_most: usize },
    /// Over one connection to a host of this cluster.
    Cluster(String),
}

/// What sinks have to know beyond their messages.
pub struct SinkEnv<'a> {
    /// Whether the node has an id and a cluster.
    pub node_is_named: bool,
    /// Whether a cluster of that name is configured.
    pub cluster_exists: &'a dyn Fn(&str) -> bool,
}

impl SinkConfig {
    /// Compiles the field `stats_sinks` of `cx`. `None`: refused, with every reason recorded.
    pub fn compile_all(
        messages: Vec<StatsSink>,
        cx: &CompileContext<'_>,
        env: &SinkEnv<'_>,
    ) -> Option<Vec<Self>> {
        let count = messages.len();
        let each = |(i, message)| Self::compile(message, &cx.item("stats_sinks", i), env);
        let compiled: Vec<_> = messages.into_iter().enumerate().filter_map(each).collect();
        (compiled.len() == count).then_some(compiled)
    }

    fn compile(message: StatsSink, cx: &CompileContext<'_>, env: &SinkEnv<'_>) -> Option<Self> {
        let StatsSink { name, config_type } = message;
        let Some(stats_sink::ConfigType::TypedConfig(any)) = config_type else {
            if !cx.told_of("typed_config") {
                cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: ''"));
            }
            return None;
        };
        let cx = cx.field("typed_config");
        let kind = type_name(&any.type_url);
        if kind == StatsdSink::full_name() {
            let StatsdSink { statsd_specifier, prefix } = cx.unpack(&any)?;
            let target = match statsd_specifier {
                Some(statsd_sink::StatsdSpecifier::Address(to)) => datagrams(&to, None, &cx)?,
                Some(statsd_sink::StatsdSpecifier::TcpClusterName(name)) => cluster(name, &cx, env)?,
                None => return None,
            };
            return Some(Self::of(Style::Statsd, prefix, target));
        }
        if kind == DogStatsdSink::full_name() {
            let DogStatsdSink { dog_statsd_specifier, prefix, max_bytes_per_datagram } = cx.unpack(&any)?;
            let dog_statsd_sink::DogStatsdSpecifier::Address(to) = dog_statsd_specifier?;
            return Some(Self::of(Style::Dog, prefix, datagrams(&to, max_bytes_per_datagram, &cx)?));
        }
        if kind == GraphiteStatsdSink::full_name() {
            let GraphiteStatsdSink { statsd_specifier, prefix, max_bytes_per_datagram } = cx.unpack(&any)?;
            let graphite_statsd_sink::StatsdSpecifier::Address(to) = statsd_specifier?;
            return Some(Self::of(Style::Graphite, prefix, datagrams(&to, max_bytes_per_datagram, &cx)?));
        }
        cx.unsupported(format!("the stats sink {kind} is not built"));
        None
    }

    fn of(style: Style, prefix: String, target: Target) -> Self {
        Self { style, prefix: if prefix.is_empty() { PREFIX.to_owned() } else { prefix }, target }
    }
}

fn datagrams(to: &core::Address, at_most: Option<u64>, cx: &CompileContext<'_>) -> Option<Target> {
    let to = config::datagram_address(to, &cx.field("address"))?;
    let at_most = at_most.map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX));
    Some(Target::Datagrams { to, at_most })
}

fn cluster(name: String, cx: &CompileContext<'_>, env: &SinkEnv<'_>) -> Option<Target> {
    let cx = cx.field("tcp_cluster_name");
    if !env.node_is_named {
        cx.error(
            "tcp statsd: node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node \
             and --service-cluster options.",
        );
        return None;
    }
    if !(env.cluster_exists)(&name) {
        cx.error(format!("tcp statsd: unknown cluster '{name}'"));
        return None;
    }
    Some(Target::Cluster(name))
}
