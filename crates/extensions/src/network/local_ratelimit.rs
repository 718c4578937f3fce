//! `envoy.filters.network.local_ratelimit`: so many new connections in a time and no more, counted by a bucket of
//! tokens that all workers share.

use super::Switch;
use crate::token_bucket::TokenBucket;
use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::{ConnectionInfo, ResponseFlag};
use nuncio_downstream::network::{
    CompiledFilter, ListenerFacts, NetworkFilterFactory, NetworkGate, NetworkGateConfig, Passed,
};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::stream::ByteStream;
use nuncio_proto::pb::envoy::extensions::filters::network::local_ratelimit::v3::LocalRateLimit as Message;
use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

/// Compiles the filter's message; keeps the buckets that several filters share (`share_key`).
#[derive(Default)]
pub struct LocalRateLimitFactory {
    shared: Mutex<BTreeMap<ShareKey, Arc<TokenBucket>>>,
}

/// A `share_key`, and the size and rate (its bits) of the bucket: only those that are alike are one.
type ShareKey = (String, u32, u64);

/// A compiled `LocalRateLimit`.
struct LocalRateLimitConfig {
    prefix: String,
    bucket: Arc<TokenBucket>,
    enabled: Switch,
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
        let bucket = TokenBucket::compile(&token_bucket?, &cx.field("token_bucket"), "local rate limit")?;
        Some(CompiledFilter::Gate(Arc::new(LocalRateLimitConfig {
            prefix: format!("local_rate_limit.{stat_prefix}."),
            bucket: self.shared(share_key, bucket),
            enabled: Switch::compile(runtime_enabled),
        })))
    }
}

impl LocalRateLimitFactory {
    /// The bucket of that key and kind; this one where it is the first.
    fn shared(&self, key: String, bucket: TokenBucket) -> Arc<TokenBucket> {
        if key.is_empty() {
            return Arc::new(bucket);
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (key, bucket.most(), bucket.rate().to_bits());
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
        if off || self.config.bucket.take(self.world.worker.now(), 1) {
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
