//! `ProxyProtocolUpstreamTransport`: what an upstream is told of the client.

use nuncio_codec::proxy::{Said, Tlv, Version, write};
use nuncio_core::address::Address;
use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::{ConnectionInfo, PROXY_PROTOCOL_STATE, ProxyProtocolState};
use nuncio_proto::pb::envoy::config::core::v3::{
    self as pb, ProxyProtocolPassThroughTlVs, proxy_protocol_config,
    proxy_protocol_pass_through_tl_vs::PassTlVsMatchType,
};

/// A compiled `ProxyProtocolConfig`.
#[derive(Debug)]
pub struct ProxyHeadConfig {
    version: Version,
    /// Which fields of the client's own head are told; none: no field.
    passed: Option<Passed>,
    /// `added_tlvs`
    added: Vec<Tlv>,
}

#[derive(Debug)]
enum Passed {
    All,
    Some(Vec<u8>),
}

impl Passed {
    fn has(&self, kind: u8) -> bool {
        match self {
            Self::All => true,
            Self::Some(kinds) => kinds.contains(&kind),
        }
    }
}

impl ProxyHeadConfig {
    /// Compiles the message at `cx`. `None`: refused, and the reason is recorded.
    pub fn compile(message: pb::ProxyProtocolConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::ProxyProtocolConfig { version, pass_through_tlvs, added_tlvs } = message;
        let passed = pass_through_tlvs.map(|ProxyProtocolPassThroughTlVs { match_type, tlv_type }| {
            match PassTlVsMatchType::try_from(match_type) {
                Ok(PassTlVsMatchType::Include) => {
                    Passed::Some(tlv_type.into_iter().filter_map(|t| t.try_into().ok()).collect())
                }
                Ok(PassTlVsMatchType::IncludeAll) | Err(_) => Passed::All,
            }
        });
        let mut added = Vec::new();
        for (i, pb::TlvEntry { r#type, value, format_string }) in added_tlvs.into_iter().enumerate() {
            if format_string.is_some() {
                // Envoy reads these formats of the upstream connection, which is not a stream that formats are given here.
                let text = "a format is built in proxy_protocol_tlvs of the TCP proxy alone";
                cx.item("added_tlvs", i).field("format_string").unsupported(text);
                return None;
            }
            added.push((r#type.try_into().ok()?, value.into()));
        }
        let version = match proxy_protocol_config::Version::try_from(version) {
            Ok(proxy_protocol_config::Version::V2) => Version::V2,
            Ok(proxy_protocol_config::Version::V1) | Err(_) => Version::V1,
        };
        Some(Self { version, passed, added })
    }

    /// What is said of a client.
    pub fn head(&self, client: &ConnectionInfo) -> Vec<u8> {
        let mut said = Said { addresses: None, tlvs: self.added.clone() };
        if let (Address::Ip(from), Address::Ip(to)) = (&client.remote, &client.local) {
            said.addresses = Some((*from, *to));
        }
        let state = client.state.filter_state.get(PROXY_PROTOCOL_STATE);
        let kept = state.as_ref().and_then(|s| s.as_any().downcast_ref::<ProxyProtocolState>());
        if let (Some(passed), Some(ProxyProtocolState { tlvs })) = (&self.passed, kept) {
            // What is added stands for the client's own of its type.
            let own = |kind: u8| self.added.iter().any(|(added, _)| *added == kind);
            said.tlvs.extend(tlvs.iter().filter(|(k, _)| passed.has(*k) && !own(*k)).cloned());
        }
        let mut head = Vec::new();
        write(self.version, &said, &mut head);
        head
    }

    /// What is said on a connection that no client asked for, a health check's say: by version 1 between whom it is, by
    /// version 2 that it is the proxy's own (`LOCAL`), without fields.
    pub(crate) fn own_head(&self, from: &Address, to: &Address) -> Vec<u8> {
        let addresses = match (self.version, from, to) {
            (Version::V1, Address::Ip(from), Address::Ip(to)) => Some((*from, *to)),
            _ => None,
        };
        let mut head = Vec::new();
        write(self.version, &Said { addresses, tlvs: Vec::new() }, &mut head);
        head
    }
}
