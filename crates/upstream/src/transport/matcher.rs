//! `transport_socket_matcher`: a tree that names one of `transport_socket_matches` for a connection.

use super::{TransportMatch, TransportOptions};
use crate::host::{HostShared, LB_NAMESPACE};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::matcher::MetadataPath;
use nuncio_core::matcher::tree::{MatcherTree, Value, Vocabulary};
use nuncio_core::stream_info::Metadata;
use nuncio_proto::pb::envoy::extensions::matching::common_inputs::transport_socket::v3::endpoint_metadata_input::{
    PathSegment, path_segment,
};
use nuncio_proto::pb::envoy::extensions::matching::common_inputs::transport_socket::v3::{
    EndpointMetadataInput, FilterStateInput, TransportSocketNameAction,
};
use nuncio_proto::pb::xds::r#type::matcher::v3::Matcher;
use prost::Name as _;
use prost_types::Any;
use prost_types::value::Kind;
use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

/// A compiled `transport_socket_matcher`.
#[derive(Debug)]
pub(crate) struct TransportMatcher {
    tree: MatcherTree<Input, Box<str>>,
    /// It looks at what streams share with their connections.
    by_state: bool,
}

/// What is looked at.
#[derive(Debug)]
enum Input {
    /// `EndpointMetadataInput`
    Endpoint(MetadataPath),
    /// `FilterStateInput`
    State(Box<str>),
}

/// The inputs and actions of transport sockets.
#[derive(Default)]
struct Words {
    by_state: Cell<bool>,
}

impl Vocabulary for Words {
    type Input = Input;
    type Action = Box<str>;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<Input> {
        let kind = type_name(&any.type_url);
        if kind == EndpointMetadataInput::full_name() {
            let EndpointMetadataInput { filter, path } = cx.unpack(any)?;
            let keys = path.into_iter().filter_map(|PathSegment { segment }| match segment? {
                path_segment::Segment::Key(key) => Some(key.into()),
            });
            let namespace = if filter.is_empty() { LB_NAMESPACE } else { &filter };
            return Some(Input::Endpoint(MetadataPath::of(namespace, keys)));
        }
        if kind == FilterStateInput::full_name() {
            let FilterStateInput { key } = cx.unpack(any)?;
            self.by_state.set(true);
            return Some(Input::State(key.into()));
        }
        cx.unsupported(format!("the matching input {} is not built", any.type_url));
        None
    }

    fn action(&self, name: &str, any: &Any, cx: &CompileContext<'_>) -> Option<Box<str>> {
        let kind = type_name(&any.type_url);
        if kind != TransportSocketNameAction::full_name() {
            cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: '{kind}'"));
            return None;
        }
        let TransportSocketNameAction { name } = cx.unpack(any)?;
        Some(name.into())
    }
}

impl TransportMatcher {
    /// Compiles the field of `cx`. `None`: refused, with the reasons in `cx`.
    pub(crate) fn compile(
        message: Matcher,
        matches: &[TransportMatch],
        cx: &CompileContext<'_>,
    ) -> Option<Arc<Self>> {
        for (i, m) in matches.iter().enumerate() {
            let cx = cx.item("transport_socket_matches", i);
            if m.name.is_empty() {
                cx.field("name")
                    .error("Transport socket name is required when using transport_socket_matcher");
                return None;
            }
            if matches.iter().take(i).any(|other| other.name == m.name) {
                cx.field("name").error(format!(
                    "Duplicate transport socket name '{}' found in transport_socket_matches",
                    m.name
                ));
                return None;
            }
        }
        let words = Words::default();
        let tree = MatcherTree::compile(message, &words, &cx.field("transport_socket_matcher"))?;
        Some(Arc::new(Self { tree, by_state: words.by_state.get() }))
    }

    /// Whether it looks at what streams share with their connections.
    pub(crate) fn looks_at_state(&self) -> bool {
        self.by_state
    }

    /// The place of the socket that it names for a connection to `host`; none where it names none that there is.
    pub(super) fn find(
        &self,
        matches: &[TransportMatch],
        host: &HostShared,
        options: Option<&TransportOptions>,
    ) -> Option<usize> {
        let metadata = host.metadata();
        let name = self.tree.find(&|input| value(input, metadata.as_deref(), options))?;
        matches.iter().position(|m| m.name == *name)
    }
}

fn value<'v>(input: &Input, host: Option<&Metadata>, options: Option<&TransportOptions>) -> Value<'v> {
    let text = match input {
        Input::Endpoint(path) => path.find(host).and_then(|kind| match kind {
            Kind::StringValue(text) => Some(text.clone()),
            _ => None,
        }),
        Input::State(key) => options.and_then(|options| options.object(key)).and_then(|o| o.serialize()),
    };
    text.map(Cow::Owned).into()
}
