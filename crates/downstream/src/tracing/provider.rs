//! What a provider of traces is to whoever makes spans: it reads and writes the headers that carry a span's context,
//! and takes spans that are over.

use crate::world::{CompileEnv, World};
use nuncio_codec::head::HeaderMap;
use nuncio_core::config::{self, CompileContext};
use nuncio_core::registry::Table;
use nuncio_core::trace::{Span, SpanContext, SpanKind};
use nuncio_proto::pb::envoy::config::trace::v3::tracing::{Http, http};
use prost::{Message, Name};
use prost_types::Any;
use std::cell::RefCell;
use std::rc::{self, Rc};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Instant, SystemTime};

/// How a connection manager makes spans.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// A span without a name of its own is that of a caller: the listener's direction is OUTBOUND.
    pub egress: bool,
    /// Each request upstream has a span of its own (`spawn_upstream_span`), so that the proxy is a hop of the trace.
    pub of_upstream: bool,
}

impl Spans {
    /// The side of a span, which may be that of a request upstream, where the proxy is a hop or is not.
    pub fn kind(self, hop: bool, upstream: bool) -> SpanKind {
        let client = if hop { upstream } else { self.egress };
        if client { SpanKind::Client } else { SpanKind::Server }
    }
}

/// A request that a span is wanted for.
#[derive(Clone, Copy)]
pub struct Beginning<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// How spans are made here.
    pub spans: Spans,
    /// It was chosen; what its headers say may count for more.
    pub chosen: bool,
    /// When it began.
    pub start: (SystemTime, Instant),
}

/// One worker's tracer.
pub trait Tracer {
    /// The span of a request. `None`: what its headers bring along cannot be read; it goes on as it came.
    fn begin(&self, request: &Beginning<'_>) -> Option<Box<Span>>;

    /// The context and side of a span below `parent`, for a request upstream.
    fn child(&self, parent: &SpanContext, spans: Spans) -> (SpanContext, SpanKind);

    /// Tells the next hop.
    fn inject(&self, context: &SpanContext, headers: &mut HeaderMap);

    /// Takes a span that is over. Those that are not sampled are dropped.
    fn report(&self, span: Box<Span>);
}

/// A tracer whose spans nobody gets: that of requests that are explained.
pub(crate) struct Unheard(pub(crate) Rc<dyn Tracer>);

impl Tracer for Unheard {
    fn begin(&self, request: &Beginning<'_>) -> Option<Box<Span>> {
        self.0.begin(request)
    }

    fn child(&self, parent: &SpanContext, spans: Spans) -> (SpanContext, SpanKind) {
        self.0.child(parent, spans)
    }

    fn inject(&self, context: &SpanContext, headers: &mut HeaderMap) {
        self.0.inject(context, headers);
    }

    fn report(&self, _: Box<Span>) {}
}

/// A compiled provider.
pub trait TracerConfig: Send + Sync {
    /// A worker's live form.
    fn start(self: Arc<Self>, world: &Rc<World>) -> Rc<dyn Tracer>;
}

/// Compiles one provider's message. `None`: refused, and the reason is recorded in the context.
pub trait TracerFactory: Send + Sync {
    /// The provider's configuration message; its full name is the registry's key.
    type Config: Message + Name + Default;

    /// Compiles it.
    fn compile(
        &self,
        config: Self::Config,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
    ) -> Option<Arc<dyn TracerConfig>>;
}

/// A factory whose message type is erased: what the registry holds.
pub trait AnyTracerFactory: Send + Sync {
    /// Unpacks and compiles a provider's configuration.
    fn compile_any(
        &self,
        config: &Any,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
    ) -> Option<Arc<dyn TracerConfig>>;
}

impl<F: TracerFactory> AnyTracerFactory for F {
    fn compile_any(
        &self,
        config: &Any,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
    ) -> Option<Arc<dyn TracerConfig>> {
        self.compile(cx.unpack(config)?, cx, env)
    }
}

/// The providers that are built, and those that are configured: equal messages share one, so that the spans of equal
/// connection managers travel together.
#[derive(Default)]
pub struct Tracers {
    table: Table<dyn AnyTracerFactory>,
    made: Mutex<Vec<(Http, Weak<dyn TracerConfig>)>>,
}

impl Tracers {
    /// These are built.
    pub fn new(table: Table<dyn AnyTracerFactory>) -> Self {
        Self { table, made: Mutex::default() }
    }

    /// Compiles a `Tracing.Http`.
    pub fn compile(
        &self,
        message: &Http,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
    ) -> Option<Arc<dyn TracerConfig>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|(_, config)| config.strong_count() > 0);
        if let Some(shared) = made.iter().find(|(other, _)| other == message).and_then(|(_, c)| c.upgrade()) {
            return Some(shared);
        }
        let Http { name, config_type } = message;
        let Some(http::ConfigType::TypedConfig(any)) = config_type else {
            cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: ''"));
            return None;
        };
        let cx = cx.field("typed_config");
        let Some(factory) = self.table.get(&any.type_url) else {
            cx.unsupported(format!("the tracing provider {} is not built", config::type_name(&any.type_url)));
            return None;
        };
        let config = factory.compile_any(any, &cx, env)?;
        made.push((message.clone(), Arc::downgrade(&config)));
        Some(config)
    }
}

/// One worker's tracers, by their configuration.
#[derive(Default)]
pub struct LiveTracers(RefCell<Vec<LiveTracer>>);

/// A configuration and its live form.
type LiveTracer = (Weak<dyn TracerConfig>, rc::Weak<dyn Tracer>);

impl LiveTracers {
    /// The live form of `config`, which may be there already.
    pub(super) fn of(&self, config: &Arc<dyn TracerConfig>, world: &Rc<World>) -> Rc<dyn Tracer> {
        let mut live = self.0.borrow_mut();
        live.retain(|(_, tracer)| tracer.strong_count() > 0);
        let own = Arc::downgrade(config);
        if let Some(there) = live.iter().find(|(c, _)| c.ptr_eq(&own)).and_then(|(_, t)| t.upgrade()) {
            return there;
        }
        let tracer = Arc::clone(config).start(world);
        live.push((own, Rc::downgrade(&tracer)));
        tracer
    }
}
