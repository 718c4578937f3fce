//! Keys that a service gives (`RemoteJwks`): fetched over a cluster when a token needs them or ahead of time, and kept
//! for all workers until they are too old.

use super::JwtStats;
use super::keys::KeySet;
use nuncio_codec::head::{Known, RequestHead, Version};
use nuncio_core::stats::Scope;
use nuncio_downstream::world::World;
use nuncio_upstream::call::{Answer, Call, NoAnswer, Retries};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The longest answer that is taken, in bytes.
const MOST: usize = 1 << 20;

/// How long before their end keys are fetched ahead of time.
const AHEAD: Duration = Duration::from_secs(5);

/// A compiled `RemoteJwks`, and what was fetched last.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) cluster: Box<str>,
    pub(super) authority: Box<str>,
    pub(super) path: Box<str>,
    /// This machine's address, for `x-forwarded-for`.
    pub(super) own_address: Box<str>,
    pub(super) timeout: Duration,
    pub(super) retries: Option<Retries>,
    /// How long keys hold.
    pub(super) lasts: Duration,
    /// `async_fetch`: keys are fetched ahead; so long after a failure it is tried again.
    pub(super) ahead: Option<Duration>,
    pub(super) kept: RwLock<Option<Kept>>,
}

/// Keys, and until when they hold.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    keys: Arc<KeySet>,
    until: Instant,
}

/// One worker's way to the keys.
pub(super) struct RemoteKeys {
    config: Arc<Remote>,
    world: Rc<World>,
    stats: Rc<Scope<JwtStats>>,
    /// Whose turn it is to fetch.
    turn: Mutex<()>,
    /// How many fetches have ended, and how the last one did.
    ended: Cell<(u64, Result<(), NoKeys>)>,
}

/// The service gave no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoKeys;

/// Keys on their way.
pub(super) type Fetching = Pin<Box<dyn Future<Output = Result<Arc<KeySet>, NoKeys>>>>;

impl Remote {
    /// The keys, while they hold.
    fn keys(&self, now: Instant) -> Option<Arc<KeySet>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| now < kept.until).map(|kept| Arc::clone(&kept.keys))
    }

    fn question(&self) -> RequestHead {
        let mut head = RequestHead::new();
        head.version = Version::Http11;
        let headers = &mut head.headers;
        headers.set(Known::Method, b"GET");
        headers.set(Known::Scheme, b"http");
        headers.set(Known::Authority, self.authority.as_bytes());
        headers.set(Known::Path, self.path.as_bytes());
        headers.set(Known::UserAgent, b"Go-browser");
        headers.set(Known::XEnvoyInternal, b"true");
        headers.set(Known::XForwardedFor, self.own_address.as_bytes());
        let patience = self.retries.as_ref().map_or(self.timeout, |retries| retries.patience(self.timeout));
        headers.set_number(Known::XEnvoyExpectedRqTimeoutMs, patience.as_millis() as u64);
        head
    }
}

impl RemoteKeys {
    /// `world`'s way to them. Where keys are fetched ahead, the first worker does.
    pub(super) fn new(config: Arc<Remote>, world: &Rc<World>, stats: &Rc<Scope<JwtStats>>) -> Rc<Self> {
        let (world, stats) = (Rc::clone(world), Rc::clone(stats));
        let ended = Cell::new((0, Err(NoKeys)));
        let own = Rc::new(Self { config, world, stats, turn: Mutex::default(), ended });
        if let (Some(pause), 0) = (own.config.ahead, own.world.worker.id()) {
            own.world.worker.spawn(fetch_ahead(Rc::downgrade(&own), pause));
        }
        own
    }

    /// The keys that are at hand.
    pub(super) fn at_hand(&self) -> Option<Arc<KeySet>> {
        self.config.keys(self.world.worker.now())
    }

    /// The keys, fetched if they have to be. Who asks while a fetch is under way gets what comes of it.
    ///
    /// # Errors
    /// The service gave none in time.
    pub(super) async fn get(self: Rc<Self>) -> Result<Arc<KeySet>, NoKeys> {
        let (before, _) = self.ended.get();
        let _turn = self.turn.lock().await;
        if let Some(keys) = self.at_hand() {
            return Ok(keys);
        }
        match self.ended.get() {
            (now, Err(failed)) if now != before => Err(failed),
            _ => self.fetch().await,
        }
    }

    async fn fetch(&self) -> Result<Arc<KeySet>, NoKeys> {
        let fetched = self.ask().await;
        match &fetched {
            Ok(keys) => {
                self.stats.jwks_fetch_success.inc();
                let until = self.world.worker.now() + self.config.lasts;
                let kept = Kept { keys: Arc::clone(keys), until };
                *self.config.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
            }
            Err(_) => self.stats.jwks_fetch_failed.inc(),
        }
        let (count, _) = self.ended.get();
        self.ended.set((count + 1, fetched.as_ref().map(|_| ()).map_err(|e| *e)));
        fetched
    }

    async fn ask(&self) -> Result<Arc<KeySet>, NoKeys> {
        let config = &self.config;
        let cluster = self.world.clusters.get(&config.cluster).ok_or(NoKeys)?;
        let question = config.question();
        let call = Call { head: &question, body: None, keep: MOST + 1, tried: None };
        let answer = call.send_within(&cluster, Some(config.timeout), config.retries.as_ref()).await;
        keys_of(answer)
    }
}

/// The keys that an answer gives.
fn keys_of(answer: Result<Answer, NoAnswer>) -> Result<Arc<KeySet>, NoKeys> {
    let Answer { head, body, .. } = answer.map_err(|_| NoKeys)?;
    if head.status != 200 || body.len() > MOST {
        return Err(NoKeys);
    }
    KeySet::parse(&body).map(Arc::new).map_err(|_| NoKeys)
}

/// Fetches keys before anybody asks for them, for as long as the worker has the filter.
async fn fetch_ahead(keys: Weak<RemoteKeys>, pause: Duration) {
    while let Some(keys) = keys.upgrade() {
        let lasts = keys.config.lasts;
        let fetched = {
            let _turn = keys.turn.lock().await;
            keys.fetch().await
        };
        drop(keys);
        let pause = match fetched {
            Ok(_) => lasts.checked_sub(AHEAD).filter(|rest| !rest.is_zero()).unwrap_or(lasts),
            Err(NoKeys) => pause,
        };
        tokio::time::sleep(pause).await;
    }
}
