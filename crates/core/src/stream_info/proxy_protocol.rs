//! What a PROXY head said of a connection beyond its addresses.

use super::FilterState;
use nuncio_codec::proxy::Tlv;
use std::any::Any;

/// The name of [`ProxyProtocolState`] among a connection's filter state.
pub const PROXY_PROTOCOL_STATE: &str = "envoy.network.proxy_protocol_options";

/// The fields of a PROXY head that are kept for those to upstreams.
#[derive(Debug)]
pub struct ProxyProtocolState {
    /// In their order.
    pub tlvs: Vec<Tlv>,
}

impl FilterState for ProxyProtocolState {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        None
    }
}
