//! `envoy.filters.listener.proxy_protocol`: whose connection it is, as a load balancer before us says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nuncio_codec::proxy::{Head, Said, Tlv, Version, Wanted, parse};
use nuncio_core::address::Address;
use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::{FilterState, Metadata, PROXY_PROTOCOL_STATE, ProxyProtocolState};
use nuncio_downstream::listener::{
    Inspected, ListenerFilter, ListenerFilterConfig, ListenerFilterFactory, MakeListenerFilter, SocketFacts,
};
use nuncio_downstream::world::World;
use nuncio_net::stream::ByteStream;
use nuncio_proto::pb::envoy::config::core::v3::proxy_protocol_config::Version as PbVersion;
use nuncio_proto::pb::envoy::config::core::v3::{
    ProxyProtocolPassThroughTlVs, proxy_protocol_pass_through_tl_vs::PassTlVsMatchType,
};
use nuncio_proto::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol as Message;
use nuncio_proto::pb::envoy::extensions::filters::listener::proxy_protocol::v3::proxy_protocol::{
    KeyValuePair, Rule, TlvLocation, key_value_pair::ValueStringEncoding,
};
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct ProxyProtocolFactory;

/// A compiled `ProxyProtocol`.
struct ProxyProtocolConfig {
    wanted: Wanted,
    /// `allow_requests_without_proxy_protocol`
    optional: bool,
    rules: Vec<TlvRule>,
    kept: Kept,
    /// `tlv_location: FILTER_STATE`
    in_filter_state: bool,
    stat_prefix: String,
}

/// Which fields a connection keeps for a PROXY head of its upstream (`pass_through_tlvs`).
enum Kept {
    None,
    All,
    Some(Vec<u8>),
}

/// `Rule`: a field whose value is kept as text.
struct TlvRule {
    kind: u8,
    namespace: String,
    key: String,
    base64: bool,
}

/// Where values go without a namespace.
const NAMESPACE: &str = "envoy.filters.listener.proxy_protocol";
/// The name of the filter state with values.
const TLV_STATE: &str = "envoy.network.proxy_protocol.tlv";

nuncio_core::stats_block! {
    /// Of all listeners.
    struct ErrorStats { counter downstream_cx_proxy_proto_error }
}

nuncio_core::stats_block! {
    /// `proxy_proto.`, or `proxy_proto.PREFIX.`
    struct ProxyProtocolStats {
        counter not_found_allowed,
        counter not_found_disallowed,
    }
}

nuncio_core::stats_block! {
    /// `proxy_proto.versions.VERSION.`
    struct VersionStats {
        counter disallowed,
        counter error,
        counter found,
    }
}

/// One worker's counters.
#[derive(Clone)]
struct Stats {
    errors: Scope<ErrorStats>,
    all: Scope<ProxyProtocolStats>,
    v1: Scope<VersionStats>,
    v2: Scope<VersionStats>,
}

impl ListenerFilterFactory for ProxyProtocolFactory {
    type Config = Message;

    fn compile(&self, config: Message, cx: &CompileContext<'_>) -> Option<Arc<dyn ListenerFilterConfig>> {
        let Message {
            rules,
            allow_requests_without_proxy_protocol,
            pass_through_tlvs,
            disallowed_versions,
            stat_prefix,
            tlv_location,
        } = config;
        let without = |version: PbVersion| !disallowed_versions.contains(&(version as i32));
        let wanted = Wanted { v1: without(PbVersion::V1), v2: without(PbVersion::V2) };
        if !wanted.v1 && !wanted.v2 {
            cx.field("disallowed_versions").error("All PROXY protocol versions are disallowed");
            return None;
        }
        Some(Arc::new(ProxyProtocolConfig {
            wanted,
            optional: allow_requests_without_proxy_protocol,
            rules: rules.into_iter().filter_map(TlvRule::of).collect(),
            kept: Kept::of(pass_through_tlvs),
            in_filter_state: TlvLocation::try_from(tlv_location) == Ok(TlvLocation::FilterState),
            stat_prefix: match stat_prefix.is_empty() {
                true => "proxy_proto.".to_owned(),
                false => format!("proxy_proto.{stat_prefix}."),
            },
        }))
    }
}

impl Kept {
    fn of(message: Option<ProxyProtocolPassThroughTlVs>) -> Self {
        let Some(ProxyProtocolPassThroughTlVs { match_type, tlv_type }) = message else { return Self::None };
        match PassTlVsMatchType::try_from(match_type) {
            Ok(PassTlVsMatchType::IncludeAll) | Err(_) => Self::All,
            Ok(PassTlVsMatchType::Include) => {
                Self::Some(tlv_type.into_iter().filter_map(|t| t.try_into().ok()).collect())
            }
        }
    }

    fn of_list(&self, tlvs: &[Tlv]) -> Vec<Tlv> {
        let kept = |kind: u8| match self {
            Self::None => false,
            Self::All => true,
            Self::Some(kinds) => kinds.contains(&kind),
        };
        tlvs.iter().filter(|(kind, _)| kept(*kind)).cloned().collect()
    }
}

impl TlvRule {
    /// A rule without a key does nothing.
    fn of(message: Rule) -> Option<Self> {
        let Rule { tlv_type, on_tlv_present } = message;
        let KeyValuePair { metadata_namespace, key, value_string_encoding } = on_tlv_present?;
        Some(Self {
            kind: tlv_type.try_into().ok()?,
            namespace: if metadata_namespace.is_empty() { NAMESPACE.to_owned() } else { metadata_namespace },
            key,
            base64: ValueStringEncoding::try_from(value_string_encoding) == Ok(ValueStringEncoding::Base64),
        })
    }

    /// A value as the text that is kept.
    fn text(&self, value: &[u8]) -> String {
        if self.base64 { STANDARD.encode(value) } else { sanitized(value) }
    }
}

/// The text with `!` for each byte that is no UTF-8.
fn sanitized(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}

impl ListenerFilterConfig for ProxyProtocolConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> MakeListenerFilter {
        let prefix = &self.stat_prefix;
        let version = |name: &str| world.stats.scope(&format!("{prefix}versions.{name}."));
        let stats = Stats {
            errors: world.stats.scope(""),
            all: world.stats.scope(prefix),
            v1: version("v1"),
            v2: version("v2"),
        };
        Box::new(move || Box::new(ProxyProtocol { config: Arc::clone(&self), stats: stats.clone() }))
    }
}

/// One connection's reader.
struct ProxyProtocol {
    config: Arc<ProxyProtocolConfig>,
    stats: Stats,
}

impl Stats {
    fn of(&self, version: Version) -> &VersionStats {
        match version {
            Version::V1 => &self.v1,
            Version::V2 => &self.v2,
        }
    }
}

impl ListenerFilter for ProxyProtocol {
    fn inspect(&mut self, bytes: &[u8], facts: &mut SocketFacts, _: &dyn ByteStream) -> Inspected {
        let Self { config, stats } = self;
        // Where a head need not be there, one of a version that is not allowed is none.
        let wanted = if config.optional { config.wanted } else { Wanted { v1: true, v2: true } };
        match parse(bytes, wanted) {
            Head::Incomplete => Inspected::More,
            Head::None if config.optional => {
                stats.all.not_found_allowed.inc();
                Inspected::Done { consumed: 0 }
            }
            Head::None => {
                stats.all.not_found_disallowed.inc();
                stats.errors.downstream_cx_proxy_proto_error.inc();
                Inspected::Close
            }
            Head::Bad(version) => {
                stats.of(version).error.inc();
                stats.errors.downstream_cx_proxy_proto_error.inc();
                Inspected::Close
            }
            Head::Found(version, said, consumed) => {
                stats.of(version).found.inc();
                let allowed = match version {
                    Version::V1 => config.wanted.v1,
                    Version::V2 => config.wanted.v2,
                };
                if !allowed {
                    stats.of(version).disallowed.inc();
                    return Inspected::Close;
                }
                config.take(said, facts);
                Inspected::Done { consumed }
            }
        }
    }
}

impl ProxyProtocolConfig {
    /// The connection is what was said of it.
    fn take(&self, said: Said, facts: &mut SocketFacts) {
        let Said { addresses, tlvs } = said;
        if let Some((source, destination)) = addresses {
            (facts.remote, facts.local) = (Address::Ip(source), Address::Ip(destination));
        }
        let state = ProxyProtocolState { tlvs: self.kept.of_list(&tlvs) };
        facts.filter_state.set(PROXY_PROTOCOL_STATE, Rc::new(state));
        let mut values = Vec::new();
        for (kind, value) in &tlvs {
            if let Some(rule) = self.rules.iter().find(|rule| rule.kind == *kind) {
                values.push((rule, rule.text(value)));
            }
        }
        if values.is_empty() {
            return;
        }
        if self.in_filter_state {
            let mut state = TlvState::default();
            for (rule, text) in values {
                if !state.0.iter().any(|(key, _)| *key == rule.key) {
                    state.0.push((rule.key.clone(), text));
                }
            }
            return facts.filter_state.set(TLV_STATE, Rc::new(state));
        }
        for (rule, text) in values {
            keep(&mut facts.metadata, rule, text);
        }
    }
}

/// The first value of a key stays.
fn keep(metadata: &mut Metadata, rule: &TlvRule, text: String) {
    let fields = &mut metadata.entry(rule.namespace.clone()).or_default().fields;
    fields
        .entry(rule.key.clone())
        .or_insert_with(|| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text)) });
}

/// The values of fields by key, in their order.
#[derive(Debug, Default)]
struct TlvState(Vec<(String, String)>);

impl FilterState for TlvState {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        let fields = self.0.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
        Some(serde_json::Value::Object(fields.collect()).to_string())
    }

    fn json(&self) -> Option<String> {
        self.serialize()
    }

    fn has_fields(&self) -> bool {
        true
    }

    fn field(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }
}
