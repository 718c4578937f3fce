//! `envoy.filters.listener.local_ratelimit`: so many connections at a time, and no more.

use nuncio_core::config::{self, CompileContext};
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
use nuncio_proto::pb::envoy::r#type::v3::TokenBucket;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Compiles the filter's message.
pub struct LocalRateLimitFactory;

/// A compiled `LocalRateLimit`, whose tokens all workers share.
struct LocalRateLimitConfig {
    stat_prefix: String,
    bucket: Bucket,
    /// `runtime_enabled`: a key, and what holds without it.
    enabled: (String, bool),
}

nuncio_core::stats_block! {
    /// `listener_local_ratelimit.PREFIX.`
    struct LocalRateLimitStats { counter rate_limited }
}

/// Tokens that come back by the interval.
struct Bucket {
    most: u32,
    per_fill: u32,
    every: Duration,
    state: Mutex<(u32, Option<Instant>)>,
}

impl Bucket {
    fn new(most: u32, per_fill: u32, every: Duration) -> Self {
        Self { most, per_fill, every, state: Mutex::new((most, None)) }
    }

    /// Takes a token, if there is one at `now`.
    fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, filled) = &mut *state;
        let since = *filled.get_or_insert(now);
        let fills = now.saturating_duration_since(since).as_nanos() / self.every.as_nanos().max(1);
        if fills > 0 {
            let fills = u32::try_from(fills).unwrap_or(u32::MAX);
            *tokens = tokens.saturating_add(fills.saturating_mul(self.per_fill)).min(self.most);
            *filled = since.checked_add(self.every.saturating_mul(fills)).or(Some(now));
        }
        let taken = tokens.checked_sub(1);
        *tokens = taken.unwrap_or(0);
        taken.is_some()
    }
}

/// Fills come at most so often, as in Envoy.
const SHORTEST_FILL: Duration = Duration::from_millis(50);

impl ListenerFilterFactory for LocalRateLimitFactory {
    type Config = Message;

    fn compile(&self, config: Message, cx: &CompileContext<'_>) -> Option<Arc<dyn ListenerFilterConfig>> {
        let Message { stat_prefix, token_bucket, runtime_enabled } = config;
        let TokenBucket { max_tokens, tokens_per_fill, fill_interval } = token_bucket?;
        let cx = cx.field("token_bucket");
        let every = config::duration(&fill_interval?, &cx.field("fill_interval"))?;
        if every < SHORTEST_FILL {
            cx.field("fill_interval").error("local rate limit token bucket fill timer must be >= 50ms");
            return None;
        }
        let RuntimeFeatureFlag { default_value, runtime_key } = runtime_enabled.unwrap_or_default();
        Some(Arc::new(LocalRateLimitConfig {
            stat_prefix: format!("listener_local_ratelimit.{stat_prefix}."),
            bucket: Bucket::new(max_tokens, tokens_per_fill.unwrap_or(1), every),
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
        if !self.runtime.boolean(key, *default) || self.config.bucket.take(self.worker.now()) {
            return Inspected::Done { consumed: 0 };
        }
        self.stats.rate_limited.inc();
        Inspected::Close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_by_the_interval_and_never_more_than_the_bucket_holds() {
        let bucket = Bucket::new(2, 1, Duration::from_secs(1));
        let start = nuncio_core::clock::Clock::virtual_at(std::time::UNIX_EPOCH).now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for (ms, taken) in [
            (0, true),
            (0, true),
            (0, false),
            (999, false),
            (1000, true),
            (1999, false),
            (2000, true),
            (60_000, true),
            (60_000, true),
            (60_000, false),
        ] {
            assert_eq!(bucket.take(at(ms)), taken, "{ms}");
        }
    }
}
