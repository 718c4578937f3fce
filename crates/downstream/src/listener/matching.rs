//! `FilterChainMatch`: which filter chain takes a connection.

use nuncio_core::address::Address;
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::{CidrList, is_local};
use nuncio_core::stream_info::{ConnectionFilterState, Fingerprints, Metadata};
use nuncio_proto::pb::envoy::config::core::v3::CidrRange;
use nuncio_proto::pb::envoy::config::listener::v3 as pb;
use nuncio_proto::pb::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use std::net::IpAddr;

/// What is asked of a connection. Empty criteria match whatever comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainMatch {
    destination_port: Option<u16>,
    destination: CidrList,
    /// In lower case; `*.x` stands for all names below `x`.
    server_names: Vec<Box<str>>,
    transport_protocol: Box<str>,
    application_protocols: Vec<Box<str>>,
    direct_source: CidrList,
    source_type: SourceType,
    source: CidrList,
    source_ports: Vec<u16>,
}

/// `ConnectionSourceType`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceType {
    Any,
    Local,
    External,
}

/// What is known of a connection when its chain is looked for.
#[derive(Clone, Debug)]
pub struct SocketFacts {
    /// The destination, which a listener filter may have restored.
    pub local: Address,
    /// The client, which a listener filter may have restored.
    pub remote: Address,
    /// The peer of the socket.
    pub direct_remote: Address,
    /// The name that the client asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// `raw_buffer`, or `tls` where a listener filter found that.
    pub transport_protocol: &'static str,
    /// Protocols that the client offers, in its order.
    pub application_protocols: Vec<Box<[u8]>>,
    /// Metadata that listener filters leave for the connection's own logs.
    pub metadata: Metadata,
    /// Filter state that they leave for whoever serves it.
    pub filter_state: ConnectionFilterState,
    /// How the client's first message looks.
    pub fingerprints: Option<Box<Fingerprints>>,
}

impl SocketFacts {
    /// What the socket itself tells.
    pub fn of(local: &Address, peer: &Address) -> Self {
        Self {
            local: local.clone(),
            remote: peer.clone(),
            direct_remote: peer.clone(),
            server_name: None,
            transport_protocol: "raw_buffer",
            application_protocols: Vec::new(),
            metadata: Metadata::new(),
            filter_state: ConnectionFilterState::default(),
            fingerprints: None,
        }
    }

    /// Another listener takes the connection: what listener filters left beside the socket is gone.
    pub(super) fn forget_states(&mut self) {
        self.metadata = Metadata::new();
        self.filter_state = ConnectionFilterState::default();
    }
}

impl ChainMatch {
    /// Whether it asks for what the first message of a TLS client says.
    pub(super) fn asks_of_the_client_hello(&self) -> bool {
        let Self { server_names, application_protocols, transport_protocol, .. } = self;
        !server_names.is_empty() || !application_protocols.is_empty() || **transport_protocol == *"tls"
    }

    pub(super) fn compile(message: Option<pb::FilterChainMatch>, cx: &CompileContext<'_>) -> Option<Self> {
        let cx = cx.field("filter_chain_match");
        let pb::FilterChainMatch {
            destination_port,
            prefix_ranges,
            source_type,
            source_prefix_ranges,
            source_ports,
            server_names,
            transport_protocol,
            application_protocols,
            direct_source_prefix_ranges,
        } = message.unwrap_or_default();
        let ranges = |list: &[CidrRange], field: &str| CidrList::compile(list, &cx, field);
        let destination = ranges(&prefix_ranges, "prefix_ranges");
        let direct_source = ranges(&direct_source_prefix_ranges, "direct_source_prefix_ranges");
        let source = ranges(&source_prefix_ranges, "source_prefix_ranges");
        let mut names = Vec::new();
        let mut good = true;
        for (i, name) in server_names.iter().enumerate() {
            if name.trim_start_matches("*.").contains('*') {
                cx.item("server_names", i)
                    .error("error adding listener: partial wildcards are not supported in \"server_names\"");
                good = false;
            }
            names.push(name.to_ascii_lowercase().into());
        }
        let port = |port: u32| u16::try_from(port).ok();
        let compiled = Self {
            destination_port: destination_port.and_then(port),
            destination: destination?,
            server_names: names,
            transport_protocol: transport_protocol.into(),
            application_protocols: application_protocols.into_iter().map(Into::into).collect(),
            direct_source: direct_source?,
            source_type: match ConnectionSourceType::try_from(source_type) {
                Ok(ConnectionSourceType::SameIpOrLoopback) => SourceType::Local,
                Ok(ConnectionSourceType::External) => SourceType::External,
                Ok(ConnectionSourceType::Any) | Err(_) => SourceType::Any,
            },
            source: source?,
            source_ports: source_ports.into_iter().filter_map(port).collect(),
        };
        good.then_some(compiled)
    }

    /// Whether there is a connection of which both ask the same, so that neither is the better one.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        fn shares<T: PartialEq>(a: &[T], b: &[T]) -> bool {
            a.is_empty() && b.is_empty() || a.iter().any(|one| b.contains(one))
        }
        self.destination_port == other.destination_port
            && self.source_type == other.source_type
            && self.transport_protocol == other.transport_protocol
            && shares(&self.server_names, &other.server_names)
            && shares(&self.application_protocols, &other.application_protocols)
            && shares(&self.source_ports, &other.source_ports)
            && self.destination.shares(&other.destination)
            && self.direct_source.shares(&other.direct_source)
            && self.source.shares(&other.source)
    }

    /// Whether it asks for nothing.
    pub(super) fn takes_all(&self) -> bool {
        self.destination_port.is_none()
            && [&self.destination, &self.direct_source, &self.source].into_iter().all(CidrList::is_empty)
            && self.server_names.is_empty()
            && self.transport_protocol.is_empty()
            && self.application_protocols.is_empty()
            && self.source_type == SourceType::Any
            && self.source_ports.is_empty()
    }
}

/// The candidates that are left, level by level.
struct Candidates<'a> {
    all: &'a [ChainMatch],
    left: Vec<usize>,
}

impl Candidates<'_> {
    /// Keeps those for which `is` holds; if there is none, leaves all and says so.
    fn keep(&mut self, is: impl Fn(&ChainMatch) -> bool) -> bool {
        let kept: Vec<usize> =
            self.left.iter().copied().filter(|i| self.all.get(*i).is_some_and(&is)).collect();
        let any = !kept.is_empty();
        if any {
            self.left = kept;
        }
        any
    }

    /// Keeps those for which `is` holds, be it none.
    fn only(&mut self, is: impl Fn(&ChainMatch) -> bool) {
        if !self.keep(is) {
            self.left.clear();
        }
    }

    /// Keeps those with the longest range around `ip`; no range is as long as a range of length 0.
    fn ranges(&mut self, ip: Option<IpAddr>, list: impl Fn(&ChainMatch) -> &CidrList) {
        let length = |m: &ChainMatch| {
            let ranges = list(m);
            if ranges.is_empty() { Some(0) } else { ip.and_then(|ip| ranges.longest(ip)) }
        };
        let best = self.left.iter().filter_map(|i| self.all.get(*i).and_then(&length)).max();
        self.only(|m| length(m).is_some() && length(m) == best);
    }
}

/// The chain for a connection, as Envoy finds it: level by level, and what a level has ruled out does not come back.
pub(super) fn find(chains: &[ChainMatch], facts: &SocketFacts) -> Option<usize> {
    let mut c = Candidates { all: chains, left: (0..chains.len()).collect() };
    let port = facts.local.port();
    if !(port.is_some() && c.keep(|m| m.destination_port == port)) {
        c.only(|m| m.destination_port.is_none());
    }
    c.ranges(facts.local.ip(), |m| &m.destination);
    server_name(&mut c, facts.server_name.as_deref().unwrap_or_default());
    if !c.keep(|m| &*m.transport_protocol == facts.transport_protocol) {
        c.only(|m| m.transport_protocol.is_empty());
    }
    let offers = |m: &ChainMatch, p: &[u8]| m.application_protocols.iter().any(|a| a.as_bytes() == p);
    if !facts.application_protocols.iter().any(|p| c.keep(|m| offers(m, p))) {
        c.only(|m| m.application_protocols.is_empty());
    }
    c.ranges(facts.direct_remote.ip(), |m| &m.direct_source);
    let local = is_local(&facts.remote, &facts.local);
    let kind = if local { SourceType::Local } else { SourceType::External };
    if !c.keep(|m| m.source_type == kind) {
        c.only(|m| m.source_type == SourceType::Any);
    }
    c.ranges(facts.remote.ip(), |m| &m.source);
    let port = facts.remote.port().unwrap_or(0);
    if !c.keep(|m| m.source_ports.contains(&port)) {
        c.only(|m| m.source_ports.is_empty());
    }
    c.left.first().copied()
}

/// The exact name, then the longest wildcard, then none.
fn server_name(c: &mut Candidates<'_>, name: &str) {
    let has = |m: &ChainMatch, wanted: &str| m.server_names.iter().any(|n| **n == *wanted);
    if !name.is_empty() {
        if c.keep(|m| has(m, name)) {
            return;
        }
        let mut rest = name;
        while let Some((_, suffix)) = rest.split_once('.') {
            let wildcard = |n: &str| n.strip_prefix("*.") == Some(suffix);
            if c.keep(|m| m.server_names.iter().any(|n| wildcard(n))) {
                return;
            }
            rest = suffix;
        }
    }
    c.only(|m| m.server_names.is_empty());
}
