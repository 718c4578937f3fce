//! What matcher trees look at: connections (`envoy.extensions.matching.common_inputs.network.v3`) and headers.

use super::tree::Value;
use crate::address::Address;
use crate::config::{CompileContext, type_name};
use crate::stream_info::FilterState;
use nuncio_codec::head::HeaderMap;
use nuncio_proto::pb::envoy::extensions::matching::common_inputs::network::v3 as pb;
use prost::Name;
use prost_types::Any;
use std::borrow::Cow;
use std::rc::Rc;

/// All values of a header, joined by commas, as matcher trees see it; `None` where there is none.
pub fn joined_values<'v>(headers: &HeaderMap, name: &str) -> Value<'v> {
    let mut values = headers.get_all(name);
    let first = String::from_utf8_lossy(values.next()?).into_owned();
    Some(Cow::Owned(values.fold(first, |all, next| all + "," + &String::from_utf8_lossy(next))))
}

/// An input that connections and their streams have.
#[derive(Clone, Debug)]
pub enum NetworkInput {
    /// `DestinationIPInput`
    DestinationIp,
    /// `DestinationPortInput`
    DestinationPort,
    /// `SourceIPInput`
    SourceIp,
    /// `SourcePortInput`
    SourcePort,
    /// `DirectSourceIPInput`
    DirectSourceIp,
    /// `ServerNameInput`
    ServerName,
    /// `FilterStateInput`: a key, and a field of its object.
    FilterState(Box<str>, Box<str>),
}

/// What they are read from.
pub struct NetworkFacts<'a, 's> {
    /// The destination.
    pub local: &'a Address,
    /// The client.
    pub remote: &'a Address,
    /// The peer of the socket.
    pub direct_remote: &'a Address,
    /// The name that the client asked for.
    pub server_name: Option<&'a str>,
    /// The filter state by its key.
    pub state: &'s dyn Fn(&str) -> Option<Rc<dyn FilterState>>,
}

impl NetworkInput {
    /// The input of that message. `Some(None)`: it is none of these; `None`: refused, with the reason in `cx`.
    pub fn compile(any: &Any, cx: &CompileContext<'_>) -> Option<Option<Self>> {
        let kind = type_name(&any.type_url);
        if kind == pb::FilterStateInput::full_name() {
            let pb::FilterStateInput { key, field } = cx.unpack(any)?;
            return Some(Some(Self::FilterState(key.into(), field.into())));
        }
        let plain = [
            (pb::DestinationIpInput::full_name(), Self::DestinationIp),
            (pb::DestinationPortInput::full_name(), Self::DestinationPort),
            (pb::SourceIpInput::full_name(), Self::SourceIp),
            (pb::SourcePortInput::full_name(), Self::SourcePort),
            (pb::DirectSourceIpInput::full_name(), Self::DirectSourceIp),
            (pb::ServerNameInput::full_name(), Self::ServerName),
        ];
        Some(plain.into_iter().find(|(name, _)| name == kind).map(|(_, input)| input))
    }

    /// What it is.
    pub fn value<'f>(&self, facts: &NetworkFacts<'f, '_>) -> Value<'f> {
        let ip = |address: &Address| address.ip().map(|ip| Cow::Owned(ip.to_string()));
        let port = |address: &Address| address.port().map(|port| Cow::Owned(port.to_string()));
        match self {
            Self::DestinationIp => ip(facts.local),
            Self::DestinationPort => port(facts.local),
            Self::SourceIp => ip(facts.remote),
            Self::SourcePort => port(facts.remote),
            Self::DirectSourceIp => ip(facts.direct_remote),
            Self::ServerName => facts.server_name.map(Cow::Borrowed),
            Self::FilterState(key, field) => {
                let state = (facts.state)(key)?;
                let text = if field.is_empty() { state.serialize() } else { state.field(field) };
                text.map(Cow::Owned)
            }
        }
    }
}
