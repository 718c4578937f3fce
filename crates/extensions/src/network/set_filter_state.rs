//! `envoy.filters.network.set_filter_state`: objects of the filter state that are there from a connection's start.

use nuncio_core::config::CompileContext;
use nuncio_core::format::{FormatContext, LineFormat, LogType};
use nuncio_core::stream_info::{ConnectionInfo, FilterState, StreamInfo};
use nuncio_core::xx_hash::xx_hash64;
use nuncio_downstream::network::{
    CompiledFilter, ListenerFacts, NetworkFilterFactory, NetworkGate, NetworkGateConfig, Passed,
};
use nuncio_downstream::tcp_proxy::{CLUSTER_STATE, IDLE_STATE};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::stream::ByteStream;
use nuncio_proto::pb::envoy::extensions::filters::common::set_filter_state::v3 as common;
use nuncio_proto::pb::envoy::extensions::filters::network::set_filter_state::v3::Config as Message;
use std::any::Any;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct SetFilterStateFactory;

/// A compiled `set_filter_state.v3.Config`.
struct SetFilterStateConfig(Vec<Object>);

/// An object to be made.
#[derive(Debug)]
struct Object {
    key: Box<str>,
    kind: Kind,
    format: LineFormat,
    skip_if_empty: bool,
}

/// What makes objects of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Hashable,
    Number,
}

/// An object that is a text.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    hashable: bool,
}

impl Text {
    pub(super) fn new(text: String) -> Self {
        Self { text, hashable: false }
    }
}

impl FilterState for Text {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        Some(self.text.clone())
    }

    fn hash(&self) -> Option<u64> {
        self.hashable.then(|| xx_hash64(self.text.as_bytes(), 0))
    }
}

impl NetworkFilterFactory for SetFilterStateFactory {
    type Config = Message;

    fn compile(
        &self,
        config: Message,
        cx: &CompileContext<'_>,
        _: &CompileEnv<'_>,
        _: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let Message { on_new_connection } = config;
        let count = on_new_connection.len();
        let objects: Vec<_> = on_new_connection
            .into_iter()
            .enumerate()
            .filter_map(|(i, m)| object(m, &cx.item("on_new_connection", i)))
            .collect();
        let good = objects.len() == count;
        good.then(|| CompiledFilter::Gate(Arc::new(SetFilterStateConfig(objects))))
    }
}

fn object(message: common::FilterStateValue, cx: &CompileContext<'_>) -> Option<Object> {
    let common::FilterStateValue { key, value, factory_key, skip_if_empty } = message;
    let Some(common::filter_state_value::Key::ObjectKey(key)) = key else {
        cx.error("object_key is required");
        return None;
    };
    let factory = if factory_key.is_empty() { &key } else { &factory_key };
    let kind = match factory.as_str() {
        "envoy.string" | CLUSTER_STATE => Kind::Text,
        "envoy.hashable_string" => Kind::Hashable,
        IDLE_STATE => Kind::Number,
        other if other.starts_with("envoy.") => {
            cx.unsupported(format!("objects of the kind {other} are not built"));
            return None;
        }
        other => {
            cx.error(format!("'{other}' does not have an object factory"));
            return None;
        }
    };
    let Some(common::filter_state_value::Value::FormatString(format)) = value else {
        cx.error("format_string is required");
        return None;
    };
    let format = LineFormat::compile(&format, &cx.field("format_string"))?;
    Some(Object { key: key.into(), kind, format, skip_if_empty })
}

struct SetFilterState {
    config: Arc<SetFilterStateConfig>,
    world: Rc<World>,
}

impl NetworkGateConfig for SetFilterStateConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> Rc<dyn NetworkGate> {
        Rc::new(SetFilterState { config: self, world: Rc::clone(world) })
    }
}

impl NetworkGate for SetFilterState {
    fn pass(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = Option<Passed>>>> {
        let worker = &self.world.worker;
        let random = worker.rng().next();
        let info = StreamInfo::new(connection.accepted, worker.wall(), Rc::clone(&connection), random);
        for object in &self.config.0 {
            let context = FormatContext {
                info: &info,
                request: None,
                response: None,
                trailers: None,
                local_reply_body: b"",
                log_type: LogType::NotSet,
                now: worker.now(),
                wall: worker.wall(),
                rng: worker.rng(),
            };
            object.set(&context, &connection);
        }
        Box::pin(ready(Some(Passed { io, hold: None })))
    }
}

impl Object {
    fn set(&self, context: &FormatContext<'_>, connection: &ConnectionInfo) {
        let mut text = Vec::new();
        self.format.render(context, &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let wanted = match self.kind {
            Kind::Number => text.parse::<u64>().is_ok(),
            Kind::Text | Kind::Hashable => !(self.skip_if_empty && text.is_empty()),
        };
        if wanted {
            let hashable = self.kind == Kind::Hashable;
            connection.state.filter_state.set(&self.key, Rc::new(Text { text, hashable }));
        }
    }
}
