//! Looks up the names of a DNS cache for as long as somebody wants them, and tells the clusters that live on it.

use super::Discovery;
use super::dns::literal;
use crate::cluster::{ClusterShared, Destination};
use crate::dns_cache::{CacheNews, CachedHost, DnsCache};
use nuncio_core::stats::{Block, Def, Scope, Value};
use nuncio_net::dns::Answer;
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

nuncio_core::stats_block! {
    /// `dns_cache.NAME.`
    pub(super) struct CacheStats {
        counter cache_load,
        counter dns_address_filter_out,
        counter dns_query_attempt,
        counter dns_query_failure,
        counter dns_query_success,
        counter dns_query_timeout,
        counter dns_rq_pending_overflow,
        counter host_added,
        counter host_address_changed,
        counter host_overflow,
        counter host_removed,
        gauge num_hosts,
        gauge rq_pending_open = "circuit_breakers.rq_pending_open",
        gauge rq_pending_remaining = "circuit_breakers.rq_pending_remaining",
    }
}

/// The stats of a cache, whose gauges are looked at when somebody reads them.
struct Counted {
    stats: CacheStats,
    cache: Weak<DnsCache>,
}

impl Block for Counted {
    fn defs(&self) -> &'static [Def] {
        self.stats.defs()
    }

    fn value(&self, i: usize) -> Option<Value<'_>> {
        if i == 0
            && let Some(cache) = self.cache.upgrade()
        {
            let (hosts, remaining) = cache.room();
            self.stats.num_hosts.set(hosts as u64);
            self.stats.rq_pending_open.set(u64::from(cache.is_full()));
            self.stats.rq_pending_remaining.set(remaining.into());
        }
        self.stats.value(i)
    }
}

/// The main thread's part of one cache.
pub(super) struct Keeper {
    discovery: Rc<Discovery>,
    pub(super) cache: Arc<DnsCache>,
    counted: Scope<Counted>,
    /// Clusters whose hosts are its names.
    followers: RefCell<Vec<Arc<ClusterShared>>>,
}

impl Keeper {
    /// Begins to look up what is asked of `cache`.
    pub(super) fn new(discovery: &Rc<Discovery>, cache: Arc<DnsCache>) -> Rc<Self> {
        let news = cache.line.listen();
        let block = Counted { stats: CacheStats::default(), cache: Arc::downgrade(&cache) };
        let counted = discovery.set.borrow().registry().register(&cache.stat_prefix(), Arc::new(block));
        let keeper =
            Rc::new(Self { discovery: Rc::clone(discovery), cache, counted, followers: RefCell::default() });
        keeper.cache.preresolve();
        if let Some(news) = news {
            discovery.worker.spawn(Rc::clone(&keeper).listen(news));
        }
        keeper
    }

    /// The names are hosts of `cluster` from now on.
    pub(super) fn followed_by(&self, cluster: &Arc<ClusterShared>) {
        self.followers.borrow_mut().push(Arc::clone(cluster));
    }

    fn stats(&self) -> &CacheStats {
        &self.counted.stats
    }

    async fn listen(self: Rc<Self>, mut news: mpsc::UnboundedReceiver<CacheNews>) {
        while let Some(news) = news.recv().await {
            match news {
                CacheNews::Host(host) => {
                    self.stats().host_added.inc();
                    self.discovery.worker.spawn(Rc::clone(&self).keep_up(host));
                }
                CacheNews::HostOverflow => self.stats().host_overflow.inc(),
                CacheNews::RequestOverflow => self.stats().dns_rq_pending_overflow.inc(),
            }
        }
    }

    async fn keep_up(self: Rc<Self>, host: Arc<CachedHost>) {
        let config = &self.cache.config;
        let (mut failures, mut wanted) = (0_u32, Instant::now());
        loop {
            let answer = self.look_up(&host).await;
            failures = if answer.is_some() { 0 } else { failures.saturating_add(1) };
            if failures > 0 && config.gives_up {
                let _ = timeout(config.host_ttl, host.given_up.notified()).await;
                break;
            }
            let wait = config.dns.wait(answer.as_ref(), failures, self.discovery.worker.rng());
            tokio::time::sleep(wait).await;
            if host.used.swap(false, Relaxed) {
                wanted = Instant::now();
            } else if wanted.elapsed() >= config.host_ttl {
                break;
            }
        }
        self.cache.forget(&host);
        self.stats().host_removed.inc();
        let gone = Destination::Name(Arc::clone(&host.key));
        self.each_follower(|cluster| {
            if let Some(hosts) = cluster.on_demand() {
                hosts.remove(&gone);
            }
        });
    }

    /// Looks a name up once; what was found.
    async fn look_up(&self, host: &CachedHost) -> Option<Answer> {
        let config = &self.cache.config;
        self.stats().dns_query_attempt.inc();
        let asked = async {
            match host.name.parse::<IpAddr>() {
                Ok(ip) => literal(ip, config.dns.family),
                Err(_) => self.discovery.look_up(&host.name, &config.dns).await,
            }
        };
        let answer = match config.query_timeout {
            None => Some(asked.await),
            Some(most) => timeout(most, asked).await.ok(),
        };
        let outcome = match &answer {
            None => {
                self.stats().dns_query_timeout.inc();
                Err("resolve_timeout")
            }
            Some(Ok(found)) if found.addresses.is_empty() => Err(found.details),
            Some(Ok(found)) => Ok(self.cache.permitted(&found.addresses)),
            Some(Err(error)) => Err(error.details),
        };
        let outcome = match &outcome {
            Ok(permitted) => {
                self.stats().dns_query_success.inc();
                match permitted.is_empty() {
                    true => {
                        self.stats().dns_address_filter_out.inc();
                        Err("address_denied")
                    }
                    false => Ok(&**permitted),
                }
            }
            Err(details) => {
                self.stats().dns_query_failure.inc();
                Err(*details)
            }
        };
        if host.tell(outcome) {
            self.stats().host_address_changed.inc();
            let to = Destination::Name(Arc::clone(&host.key));
            self.each_follower(|cluster| cluster.has_demand(&to));
        }
        outcome.ok()?;
        answer?.ok()
    }

    fn each_follower(&self, tell: impl Fn(&ClusterShared)) {
        let mut followers = self.followers.borrow_mut();
        followers.retain(|cluster| self.discovery.is_current(cluster));
        followers.iter().for_each(|cluster| tell(cluster));
    }
}
