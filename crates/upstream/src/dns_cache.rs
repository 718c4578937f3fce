//! Names that requests want to go to, looked up when the first of them comes
//! (`envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig`). Filters and clusters share a cache by its name.

use crate::discovery::{DnsConfig, addresses};
use crate::host::Addresses;
use crate::line::Line;
use nuncio_core::config::{CompileContext, duration};
use nuncio_core::matcher::AddressMatcher;
use nuncio_net::dns::{Family, OldMessages, ResolverConfig};
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::DnsLookupFamily;
use nuncio_proto::pb::envoy::config::core::v3::SocketAddress;
use nuncio_proto::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use nuncio_proto::pb::envoy::extensions::common::dynamic_forward_proxy::v3 as pb;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;

/// A compiled `DnsCacheConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCacheConfig {
    name: Box<str>,
    /// How names are looked up; `refresh` is for those that have no address.
    pub(crate) dns: DnsConfig,
    /// `disable_dns_refresh_on_failure`: a name without an address is looked up again when somebody wants it.
    pub(crate) gives_up: bool,
    /// `resolved_address_filter`: addresses that names may not lead to.
    filter: Option<AddressMatcher>,
    /// `host_ttl`: names that nobody wanted for so long go.
    pub(crate) host_ttl: Duration,
    max_hosts: usize,
    /// `dns_query_timeout`; none where it is 0.
    pub(crate) query_timeout: Option<Duration>,
    /// `dns_cache_circuit_breaker.max_pending_requests`
    max_pending: u32,
    preresolved: Vec<(Box<str>, u16)>,
}

impl DnsCacheConfig {
    fn compile(message: pb::DnsCacheConfig, cx: &CompileContext<'_>, caches: &DnsCaches) -> Option<Self> {
        let pb::DnsCacheConfig {
            name,
            dns_lookup_family,
            dns_refresh_rate,
            host_ttl,
            max_hosts,
            dns_failure_refresh_rate,
            dns_cache_circuit_breaker,
            preresolve_hostnames,
            dns_query_timeout,
            dns_min_refresh_rate,
            typed_dns_resolver_config,
            dns_resolution_config,
            use_tcp_for_dns_lookups,
            disable_dns_refresh_on_failure,
            resolved_address_filter,
        } = message;
        let old = OldMessages {
            resolution: dns_resolution_config,
            tcp: use_tcp_for_dns_lookups,
            ..OldMessages::default()
        };
        let time = |value: Option<prost_types::Duration>, field: &str, default: u64| match value {
            Some(value) => duration(&value, &cx.field(field)),
            None => Some(Duration::from_secs(default)),
        };
        let dns = DnsConfig {
            family: DnsLookupFamily::try_from(dns_lookup_family).map_or(Family::Auto, DnsConfig::family),
            refresh: time(dns_refresh_rate, "dns_refresh_rate", 60)?,
            failure: DnsConfig::failure_rate(dns_failure_refresh_rate, cx)?,
            respect_ttl: true,
            min_refresh: time(dns_min_refresh_rate, "dns_min_refresh_rate", 5)?,
            resolver: caches.resolver(ResolverConfig::compile(typed_dns_resolver_config, old, cx)?),
            ..DnsConfig::default()
        };
        let preresolved = preresolve_hostnames.into_iter().map(|socket| {
            let SocketAddress { address, port_specifier, .. } = socket;
            let port = match port_specifier {
                Some(PortSpecifier::PortValue(port)) => port.try_into().unwrap_or(0),
                None => 0,
            };
            (address.into(), port)
        });
        let query_timeout = time(dns_query_timeout, "dns_query_timeout", 5)?;
        Some(Self {
            name: name.into(),
            dns,
            gives_up: disable_dns_refresh_on_failure,
            filter: match resolved_address_filter {
                None => None,
                Some(message) => {
                    Some(AddressMatcher::compile(message, &cx.field("resolved_address_filter"))?)
                }
            },
            host_ttl: time(host_ttl, "host_ttl", 300)?,
            max_hosts: max_hosts.unwrap_or(1024) as usize,
            query_timeout: (!query_timeout.is_zero()).then_some(query_timeout),
            max_pending: dns_cache_circuit_breaker
                .and_then(|pb::DnsCacheCircuitBreakers { max_pending_requests }| max_pending_requests)
                .unwrap_or(1024),
            preresolved: preresolved.collect(),
        })
    }
}

/// All caches of the process, by name, and who is asked where nobody is named.
#[derive(Clone, Default)]
pub struct DnsCaches(Arc<Shared>);

#[derive(Default)]
struct Shared {
    caches: Mutex<HashMap<Box<str>, Arc<DnsCache>>>,
    /// The bootstrap's resolver.
    resolver: OnceLock<Arc<ResolverConfig>>,
}

impl DnsCaches {
    /// Whoever names no resolver uses this one from now on. Counts once.
    pub fn use_resolver(&self, resolver: ResolverConfig) {
        self.0.resolver.get_or_init(|| Arc::new(resolver));
    }

    /// A resolver that is named, or the one of those who name none.
    pub(crate) fn resolver(&self, named: Option<ResolverConfig>) -> Arc<ResolverConfig> {
        named.map(Arc::new).or_else(|| self.0.resolver.get().cloned()).unwrap_or_default()
    }

    /// The cache that the message describes, which may be there already.
    pub fn compile(&self, message: pb::DnsCacheConfig, cx: &CompileContext<'_>) -> Option<Arc<DnsCache>> {
        let config = DnsCacheConfig::compile(message, cx, self)?;
        let mut all = self.0.caches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&config.name) {
            if known.config != config {
                cx.error(format!("config specified DNS cache '{}' with different settings", config.name));
                return None;
            }
            return Some(Arc::clone(known));
        }
        let cache = Arc::new(DnsCache {
            hosts: Mutex::default(),
            pending: AtomicU32::new(0),
            line: Line::new(),
            config,
        });
        all.insert(cache.config.name.clone(), Arc::clone(&cache));
        Some(cache)
    }

    /// Each of them.
    pub(crate) fn all(&self) -> Vec<Arc<DnsCache>> {
        self.0.caches.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// One cache: workers ask, the main thread looks up.
pub struct DnsCache {
    pub(crate) config: DnsCacheConfig,
    hosts: Mutex<HashMap<Arc<str>, Arc<CachedHost>>>,
    /// Requests that wait for an answer.
    pending: AtomicU32,
    pub(crate) line: Line<CacheNews>,
}

impl fmt::Debug for DnsCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// What workers tell the main thread of a cache.
pub(crate) enum CacheNews {
    /// A name is to be looked up.
    Host(Arc<CachedHost>),
    /// `max_hosts` kept one out.
    HostOverflow,
    /// `max_pending_requests` refused a request.
    RequestOverflow,
}

/// A name with a port, and what is known of it.
pub(crate) struct CachedHost {
    pub(crate) key: Arc<str>,
    pub(crate) name: Box<str>,
    port: u16,
    found: RwLock<Option<Found>>,
    /// There is a first answer.
    told: Notify,
    /// Another one has taken its place, since it had no address.
    pub(crate) given_up: Notify,
    /// Somebody has wanted it since the main thread last looked.
    pub(crate) used: AtomicBool,
}

/// What came of the last lookup that gave something; at first, of the first one.
struct Found {
    addresses: Option<Addresses>,
    details: Box<str>,
}

impl CachedHost {
    /// Its addresses; `None` while it is looked up for the first time.
    fn answer(&self) -> Option<Result<Addresses, Unresolved>> {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        let Found { addresses, details } = found.as_ref()?;
        Some(addresses.clone().ok_or_else(|| Unresolved::Failed(details.clone())))
    }

    /// A lookup's outcome: what it found, or why there is nothing. Whether its addresses are others than before.
    pub(crate) fn tell(&self, outcome: Result<&[IpAddr], &str>) -> bool {
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        let before = found.take().and_then(|f| f.addresses);
        let (now, details) = match outcome {
            Ok(ips) => (addresses(ips, self.port), ""),
            // The last good answer stays.
            Err(details) => (before.clone(), details),
        };
        let changed = now != before;
        *found = Some(Found { addresses: now, details: details.into() });
        drop(found);
        self.told.notify_waiters();
        changed
    }

    /// Waits for the first answer.
    async fn first(&self) -> Result<(), Unresolved> {
        loop {
            let mut told = pin!(self.told.notified());
            told.as_mut().enable();
            if let Some(answer) = self.answer() {
                return answer.map(drop);
            }
            told.await;
        }
    }
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The lookup failed; in Envoy's words.
    Failed(Box<str>),
    /// There are too many names already (`max_hosts`).
    Hosts,
    /// Too many requests wait already (`max_pending_requests`).
    Requests,
}

impl Unresolved {
    /// As details of a response name it.
    pub fn details(&self) -> String {
        match self {
            Self::Failed(details) => format!("dns_resolution_failure{{{}}}", details.replace(' ', "_")),
            Self::Hosts => "dns_cache_overflow".into(),
            Self::Requests => "dynamic_forward_proxy_pending_request_overflow".into(),
        }
    }
}

/// An answer to come.
pub type Arrival = Pin<Box<dyn Future<Output = Result<(), Unresolved>>>>;

/// A request that waits, for as long as it lives.
struct Waiting(Arc<DnsCache>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Relaxed);
    }
}

impl DnsCache {
    /// The name of an authority, with its port or else `port`: what hosts are called, here and in clusters.
    pub fn key(authority: &str, port: u16) -> Arc<str> {
        let (name, port) = split(authority, port);
        format!("{name}:{port}").into()
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<CachedHost>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of a name that was looked up.
    pub(crate) fn addresses(&self, key: &str) -> Option<Addresses> {
        let host = self.hosts().get(key).cloned()?;
        host.used.store(true, Relaxed);
        host.answer()?.ok()
    }

    /// Sees to it that a name is looked up: `Ok(None)` where its address is known, else what is to be waited for.
    ///
    /// # Errors
    /// The name has no address, or a limit keeps it out, which is counted.
    pub fn ask(self: &Arc<Self>, key: &Arc<str>) -> Result<Option<Arrival>, Unresolved> {
        let open = |n: u32| (n < self.config.max_pending).then_some(n + 1);
        if self.pending.fetch_update(Relaxed, Relaxed, open).is_err() {
            self.line.tell(CacheNews::RequestOverflow);
            return Err(Unresolved::Requests);
        }
        let waiting = Waiting(Arc::clone(self));
        let host = self.enter(key).ok_or(Unresolved::Hosts)?;
        host.used.store(true, Relaxed);
        if let Some(answer) = host.answer() {
            return answer.map(|_| None);
        }
        Ok(Some(Box::pin(async move {
            let answer = host.first().await;
            drop(waiting);
            answer
        })))
    }

    fn enter(&self, key: &Arc<str>) -> Option<Arc<CachedHost>> {
        let mut hosts = self.hosts();
        match hosts.get(key) {
            Some(known) if self.config.gives_up && matches!(known.answer(), Some(Err(_))) => {
                known.given_up.notify_one();
                hosts.remove(key);
            }
            Some(known) => return Some(Arc::clone(known)),
            None => {}
        }
        if hosts.len() >= self.config.max_hosts {
            self.line.tell(CacheNews::HostOverflow);
            return None;
        }
        let (name, port) = split(key, 0);
        let host = Arc::new(CachedHost {
            key: Arc::clone(key),
            name: name.trim_matches(['[', ']']).into(),
            port,
            found: RwLock::default(),
            told: Notify::new(),
            given_up: Notify::new(),
            used: AtomicBool::new(true),
        });
        hosts.insert(Arc::clone(key), Arc::clone(&host));
        self.line.tell(CacheNews::Host(Arc::clone(&host)));
        Some(host)
    }

    /// Enters the names that are looked up before anybody wants them.
    pub(crate) fn preresolve(&self) {
        for (name, port) in &self.config.preresolved {
            self.enter(&Self::key(name, *port));
        }
    }

    /// Forgets a name, unless another look-up of it has begun.
    pub(crate) fn forget(&self, host: &Arc<CachedHost>) {
        let mut hosts = self.hosts();
        if hosts.get(&host.key).is_some_and(|known| Arc::ptr_eq(known, host)) {
            hosts.remove(&host.key);
        }
    }

    /// What was found, without addresses that names may not lead to; none where all of them are taken out.
    pub(crate) fn permitted<'a>(&self, found: &'a [IpAddr]) -> Cow<'a, [IpAddr]> {
        match &self.config.filter {
            None => Cow::Borrowed(found),
            Some(filter) => found.iter().copied().filter(|ip| !filter.matches(*ip)).collect(),
        }
    }

    /// What all clusters' stats of it begin with.
    pub(crate) fn stat_prefix(&self) -> String {
        format!("dns_cache.{}.", self.config.name)
    }

    /// How many names it holds, and how many more requests may wait.
    pub(crate) fn room(&self) -> (usize, u32) {
        (self.hosts().len(), self.config.max_pending.saturating_sub(self.pending.load(Relaxed)))
    }

    /// Whether requests wait, as many as may.
    pub(crate) fn is_full(&self) -> bool {
        let pending = self.pending.load(Relaxed);
        pending > 0 && pending >= self.config.max_pending
    }
}

/// A name and its port. What stands behind a colon and is no port is taken for part of the name.
pub(crate) fn split(authority: &str, port: u16) -> (&str, u16) {
    let end = authority.rfind(']').unwrap_or(0);
    let at = authority.rfind(':').filter(|at| *at >= end);
    let parts = at.and_then(|at| Some((authority.get(..at)?, authority.get(at + 1..)?.parse().ok()?)));
    parts.unwrap_or((authority, port))
}

#[cfg(test)]
mod tests;
