//! `envoy.filters.network.local_ratelimit`: so many new connections in a time and no more, counted by a bucket of
//! tokens that all workers share.

use super::Switch;
use nuncio_core::config::{CompileContext, duration};
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::{ConnectionInfo, ResponseFlag};
use nuncio_downstream::network::{
    CompiledFilter, ListenerFacts, NetworkFilterFactory, NetworkGate, NetworkGateConfig, Passed,
};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::stream::ByteStream;
use nuncio_proto::pb::envoy::extensions::filters::network::local_ratelimit::v3::LocalRateLimit as Message;
use nuncio_proto::pb::envoy::r#type::v3::TokenBucket;
use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Buckets are filled no quicker than this.
const MIN_FILL_INTERVAL: Duration = Duration::from_millis(50);

/// Compiles the filter's message; keeps the buckets that several filters share (`share_key`).
#[derive(Default)]
pub struct LocalRateLimitFactory {
    shared: Mutex<BTreeMap<String, Arc<Bucket>>>,
}

/// A compiled `LocalRateLimit`.
struct LocalRateLimitConfig {
    prefix: String,
    bucket: Arc<Bucket>,
    enabled: Switch,
}

/// A bucket of tokens, filled as time goes by.
struct Bucket {
    max: u64,
    per_fill: u64,
    interval: Duration,
    state: Mutex<Level>,
    begun: OnceLock<Instant>,
}

/// Tokens that are left, and how many fills went into them.
struct Level {
    tokens: u64,
    fills: u64,
}

impl Bucket {
    /// Takes a token, if one is left at `now`.
    fn take(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(*self.begun.get_or_init(|| now));
        let fills = elapsed.as_nanos().checked_div(self.interval.as_nanos()).unwrap_or(0) as u64;
        let mut level = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let new = fills.saturating_sub(level.fills);
        level.fills = level.fills.max(fills);
        level.tokens = level.tokens.saturating_add(new.saturating_mul(self.per_fill)).min(self.max);
        let taken = level.tokens > 0;
        level.tokens -= u64::from(taken);
        taken
    }
}

nuncio_core::stats_block! {
    /// `local_rate_limit.PREFIX.`
    struct LocalRateLimitStats {
        counter rate_limited,
    }
}

struct LocalRateLimit {
    config: Arc<LocalRateLimitConfig>,
    stats: Scope<LocalRateLimitStats>,
    world: Rc<World>,
}

impl NetworkFilterFactory for LocalRateLimitFactory {
    type Config = Message;

    fn compile(
        &self,
        config: Message,
        cx: &CompileContext<'_>,
        _: &CompileEnv<'_>,
        _: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let Message { stat_prefix, token_bucket, runtime_enabled, share_key } = config;
        let bucket_cx = cx.field("token_bucket");
        let TokenBucket { max_tokens, tokens_per_fill, fill_interval } = token_bucket?;
        let interval = duration(&fill_interval?, &bucket_cx.field("fill_interval"))?;
        if interval < MIN_FILL_INTERVAL {
            bucket_cx
                .field("fill_interval")
                .error("local rate limit token bucket fill timer must be >= 50ms");
            return None;
        }
        let bucket = Bucket {
            max: max_tokens.into(),
            per_fill: tokens_per_fill.unwrap_or(1).into(),
            interval,
            state: Mutex::new(Level { tokens: max_tokens.into(), fills: 0 }),
            begun: OnceLock::new(),
        };
        Some(CompiledFilter::Gate(Arc::new(LocalRateLimitConfig {
            prefix: format!("local_rate_limit.{stat_prefix}."),
            bucket: self.shared(share_key, bucket),
            enabled: Switch::compile(runtime_enabled),
        })))
    }
}

impl LocalRateLimitFactory {
    /// The bucket of that key; this one where it is the first.
    fn shared(&self, key: String, bucket: Bucket) -> Arc<Bucket> {
        if key.is_empty() {
            return Arc::new(bucket);
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shared.entry(key).or_insert_with(|| Arc::new(bucket)))
    }
}

impl NetworkGateConfig for LocalRateLimitConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> Rc<dyn NetworkGate> {
        let stats = world.stats.scope(&self.prefix);
        Rc::new(LocalRateLimit { config: self, stats, world: Rc::clone(world) })
    }
}

impl NetworkGate for LocalRateLimit {
    fn pass(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = Option<Passed>>>> {
        let off = !self.config.enabled.is_on(&self.world.runtime);
        if off || self.config.bucket.take(self.world.worker.now()) {
            return Box::pin(ready(Some(Passed { io, hold: None })));
        }
        self.stats.rate_limited.inc();
        let state = &connection.state;
        let mut flags = state.flags.get();
        // Envoy's choice, although nothing was tried.
        flags.set(ResponseFlag::UpstreamRetryLimitExceeded);
        state.flags.set(flags);
        state.local_close.set(Some("local_ratelimit_close_over_limit"));
        Box::pin(ready(None))
    }

    /// It would take a token.
    fn rehearses(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuncio_core::clock::Clock;

    #[test]
    fn a_bucket_gives_what_it_holds_and_what_time_fills() {
        let bucket = Bucket {
            max: 2,
            per_fill: 1,
            interval: Duration::from_secs(1),
            state: Mutex::new(Level { tokens: 2, fills: 0 }),
            begun: OnceLock::new(),
        };
        let start = Clock::system().now();
        let at = |ms| start + Duration::from_millis(ms);
        let taken = [0, 0, 0, 999, 1000, 1001, 9000, 9000, 9000].map(|ms| bucket.take(at(ms)));
        assert_eq!(taken, [true, true, false, false, true, false, true, true, false]);
    }
}
