//! `envoy.filters.network.connection_limit`: so many connections at once and no more.

use super::Switch;
use nuncio_core::config::{self, CompileContext};
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_downstream::network::{
    CompiledFilter, ListenerFacts, NetworkFilterFactory, NetworkGate, NetworkGateConfig, Passed,
};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::stream::ByteStream;
use nuncio_net::timer::within;
use nuncio_proto::pb::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit as Message;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Compiles the filter's message.
pub struct ConnectionLimitFactory;

/// A compiled `ConnectionLimit`, and the count that all workers share.
struct ConnectionLimitConfig {
    prefix: String,
    max: u64,
    /// How long a connection beyond the limit waits before it is closed.
    delay: Option<Duration>,
    enabled: Switch,
    active: AtomicU64,
}

nuncio_core::stats_block! {
    /// `connection_limit.PREFIX.`
    struct ConnectionLimitStats {
        counter limited_connections,
        gauge active_connections,
    }
}

struct ConnectionLimit {
    config: Arc<ConnectionLimitConfig>,
    stats: Scope<ConnectionLimitStats>,
    world: Rc<World>,
}

/// One of the connections that there may be.
struct Slot(Rc<ConnectionLimit>);

impl NetworkFilterFactory for ConnectionLimitFactory {
    type Config = Message;

    fn compile(
        &self,
        config: Message,
        cx: &CompileContext<'_>,
        _: &CompileEnv<'_>,
        _: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let Message { stat_prefix, max_connections, delay, runtime_enabled } = config;
        let Some(max) = max_connections else {
            cx.error("Field 'max_connections' is missing");
            return None;
        };
        let delay = config::timeout(delay.as_ref(), None, &cx.field("delay"));
        Some(CompiledFilter::Gate(Arc::new(ConnectionLimitConfig {
            prefix: format!("connection_limit.{stat_prefix}."),
            max,
            delay,
            enabled: Switch::compile(runtime_enabled),
            active: AtomicU64::new(0),
        })))
    }
}

impl NetworkGateConfig for ConnectionLimitConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> Rc<dyn NetworkGate> {
        let stats = world.stats.scope(&self.prefix);
        Rc::new(ConnectionLimit { config: self, stats, world: Rc::clone(world) })
    }
}

impl ConnectionLimit {
    fn take(self: &Rc<Self>) -> Option<Slot> {
        let ConnectionLimitConfig { active, max, .. } = &*self.config;
        active.try_update(Relaxed, Relaxed, |n| (n < *max).then_some(n + 1)).ok()?;
        self.stats.active_connections.inc();
        Some(Slot(Rc::clone(self)))
    }
}

impl NetworkGate for ConnectionLimit {
    fn pass(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = Option<Passed>>>> {
        Box::pin(async move {
            if !self.config.enabled.is_on(&self.world.runtime) {
                return Some(Passed { io, hold: None });
            }
            if let Some(slot) = self.take() {
                return Some(Passed { io, hold: Some(Box::new(slot)) });
            }
            self.stats.limited_connections.inc();
            if let Some(delay) = self.config.delay {
                within(Some(delay), pending::<()>()).await;
            }
            connection.state.local_close.set(Some("over_connection_limit"));
            None
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.config.active.fetch_sub(1, Relaxed);
        self.0.stats.active_connections.dec();
    }
}
