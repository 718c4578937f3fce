//! `envoy.filters.listener.local_ratelimit`: so many connections at a time, and no more.

use crate::token_bucket::TokenBucket;
use nuncio_core::config::CompileContext;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Scope;
use nuncio_downstream::listener::{
    Inspected, ListenerFilter, ListenerFilterConfig, ListenerFilterFactory, MakeListenerFilter, SocketFacts,
};
use nuncio_downstream::world::World;
use nuncio_net::stream::ByteStream;
use nuncio_net::worker::Worker;
use nuncio_proto::pb::envoy::config::core::v3::RuntimeFeatureFlag;
use nuncio_proto::pb::envoy::extensions::filters::listener::local_ratelimit::v3::LocalRateLimit as Message;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct LocalRateLimitFactory;

/// A compiled `LocalRateLimit`, whose tokens all workers share.
struct LocalRateLimitConfig {
    stat_prefix: String,
    bucket: TokenBucket,
    /// `runtime_enabled`: a key, and what holds without it.
    enabled: (String, bool),
}

nuncio_core::stats_block! {
    /// `listener_local_ratelimit.PREFIX.`
    struct LocalRateLimitStats { counter rate_limited }
}

impl ListenerFilterFactory for LocalRateLimitFactory {
    type Config = Message;

    fn compile(&self, config: Message, cx: &CompileContext<'_>) -> Option<Arc<dyn ListenerFilterConfig>> {
        let Message { stat_prefix, token_bucket, runtime_enabled } = config;
        let bucket = TokenBucket::compile(&token_bucket?, &cx.field("token_bucket"), "local rate limit")?;
        let RuntimeFeatureFlag { default_value, runtime_key } = runtime_enabled.unwrap_or_default();
        Some(Arc::new(LocalRateLimitConfig {
            stat_prefix: format!("listener_local_ratelimit.{stat_prefix}."),
            bucket,
            enabled: (runtime_key, default_value.unwrap_or(true)),
        }))
    }
}

impl ListenerFilterConfig for LocalRateLimitConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> MakeListenerFilter {
        let stats: Scope<LocalRateLimitStats> = world.stats.scope(&self.stat_prefix);
        let (worker, runtime) = (Rc::clone(&world.worker), world.runtime.clone());
        Box::new(move || {
            Box::new(LocalRateLimit {
                config: Arc::clone(&self),
                stats: stats.clone(),
                worker: Rc::clone(&worker),
                runtime: runtime.clone(),
            })
        })
    }
}

/// Asks for one connection.
struct LocalRateLimit {
    config: Arc<LocalRateLimitConfig>,
    stats: Scope<LocalRateLimitStats>,
    worker: Rc<Worker>,
    runtime: Runtime,
}

impl ListenerFilter for LocalRateLimit {
    fn inspect(&mut self, _: &[u8], _: &mut SocketFacts, _: &dyn ByteStream) -> Inspected {
        let (key, default) = &self.config.enabled;
        if !self.runtime.boolean(key, *default) || self.config.bucket.take(self.worker.now(), 1) {
            return Inspected::Done { consumed: 0 };
        }
        self.stats.rate_limited.inc();
        Inspected::Close
    }
}
