//! `filter_chain_matcher`: a decision tree that names a filter chain, in place of each chain's own criteria.

use super::SocketFacts;
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::matcher::tree::{MatcherTree, Value, Vocabulary};
use nuncio_core::matcher::{NetworkFacts, NetworkInput};
use nuncio_proto::pb::envoy::extensions::matching::common_inputs::network::v3 as inputs;
use nuncio_proto::pb::xds::r#type::matcher::v3::Matcher;
use prost::Name;
use prost_types::Any;
use std::borrow::Cow;

/// A compiled `filter_chain_matcher`.
pub(super) struct ChainMatcher(MatcherTree<Input, Box<str>>);

/// What is looked at.
#[derive(Debug)]
enum Input {
    Network(NetworkInput),
    TransportProtocol,
    ApplicationProtocol,
}

/// The inputs and actions of listeners.
struct Words;

impl Vocabulary for Words {
    type Input = Input;
    type Action = Box<str>;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<Input> {
        let kind = type_name(&any.type_url);
        let plain: [(String, Input); 2] = [
            (inputs::TransportProtocolInput::full_name(), Input::TransportProtocol),
            (inputs::ApplicationProtocolInput::full_name(), Input::ApplicationProtocol),
        ];
        if let Some((_, input)) = plain.into_iter().find(|(name, _)| name == kind) {
            return Some(input);
        }
        if let Some(input) = NetworkInput::compile(any, cx)? {
            return Some(Input::Network(input));
        }
        cx.unsupported(format!("the matching input {} is not built", any.type_url));
        None
    }

    fn action(&self, name: &str, any: &Any, cx: &CompileContext<'_>) -> Option<Box<str>> {
        if type_name(&any.type_url) != String::full_name() {
            cx.error(format!(
                "cannot create a filter chain matcher: Didn't find a registered implementation for '{name}' \
                 with type URL: '{}'",
                type_name(&any.type_url)
            ));
            return None;
        }
        cx.unpack::<String>(any).map(String::into_boxed_str)
    }
}

impl ChainMatcher {
    /// Compiles the message. `None`: refused, with the reasons in `cx`.
    pub(super) fn compile(message: Matcher, cx: &CompileContext<'_>) -> Option<Self> {
        MatcherTree::compile(message, &Words, cx).map(Self)
    }

    /// The name of the chain that takes a connection.
    pub(super) fn find(&self, facts: &SocketFacts) -> Option<&str> {
        self.0.find(&|input| value(input, facts)).map(|name| &**name)
    }
}

fn value<'f>(input: &Input, facts: &'f SocketFacts) -> Value<'f> {
    match input {
        Input::Network(input) => input
            .value(&NetworkFacts {
                local: &facts.local,
                remote: &facts.remote,
                direct_remote: &facts.direct_remote,
                server_name: facts.server_name.as_deref(),
                state: &|key| facts.filter_state.get(key),
            })
            .into(),
        Input::TransportProtocol => Value::Text(Cow::Borrowed(facts.transport_protocol)),
        Input::ApplicationProtocol => {
            let quoted: Vec<String> = facts
                .application_protocols
                .iter()
                .map(|p| format!("'{}'", String::from_utf8_lossy(p)))
                .collect();
            (!quoted.is_empty()).then(|| Cow::Owned(quoted.join(","))).into()
        }
    }
}
