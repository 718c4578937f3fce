//! `STRICT_DNS`: every address of every name is a host. `LOGICAL_DNS`: one host, whose first address is used
//! for new connections.

use super::{Discovery, update};
use crate::cluster::{ClusterConfig, ClusterShared, HostSource, NamedEndpoint};
use crate::host::{Addresses, HostShared, HostSnapshot, HostSpec};
use nuncio_core::address::Address;
use nuncio_core::rng::Rng;
use nuncio_net::dns::{Answer, DnsError, Family, ResolverConfig};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// `dns_lookup_family`
    pub family: Family,
    /// `dns_refresh_rate`
    pub refresh: Duration,
    /// `dns_failure_refresh_rate`; without one a failure waits as long as a success.
    pub failure: Option<FailureRate>,
    /// `respect_dns_ttl`: the answer's time to live, where it is not 0, takes the place of `refresh`.
    pub respect_ttl: bool,
    /// `dns_jitter`: up to so much longer.
    pub jitter: Duration,
    /// `dns_min_refresh_rate`: what an answer's time to live is raised to.
    pub min_refresh: Duration,
    /// `wait_for_warm_on_init`
    pub wait_for_warm: bool,
    /// Who is asked.
    pub resolver: Arc<ResolverConfig>,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            family: Family::Auto,
            refresh: Duration::from_secs(5),
            failure: None,
            respect_ttl: false,
            jitter: Duration::ZERO,
            min_refresh: Duration::ZERO,
            wait_for_warm: true,
            resolver: Arc::default(),
        }
    }
}

/// `RefreshRate`: waits grow from `base` to `max`, each by chance up to the interval it has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureRate {
    /// `base_interval`
    pub base: Duration,
    /// `max_interval`
    pub max: Duration,
}

impl DnsConfig {
    /// How long to wait after a lookup; `failures` of them in a row have failed.
    pub(super) fn wait(&self, answer: Option<&Answer>, failures: u32, rng: &Rng) -> Duration {
        let ttl = answer.map(|answer| answer.ttl.max(self.min_refresh)).filter(|ttl| !ttl.is_zero());
        let wait = match (ttl, self.failure) {
            (Some(ttl), _) if self.respect_ttl => ttl,
            (_, Some(rate)) if answer.is_none() => {
                let grown = rate.base.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(rate.max);
                Duration::from_millis(rng.below(grown.as_millis() as u64)).max(Duration::from_millis(1))
            }
            _ => self.refresh,
        };
        wait + Duration::from_millis(rng.below(self.jitter.as_millis() as u64))
    }
}

/// A cluster that is being followed.
struct Followed {
    discovery: Rc<Discovery>,
    cluster: Arc<ClusterShared>,
    /// The hosts of each name, by locality and name.
    found: RefCell<Vec<Vec<Vec<Arc<HostShared>>>>>,
    /// Names without their first answer.
    waiting: Cell<usize>,
    first: Cell<Option<oneshot::Sender<()>>>,
}

/// Begins to look up the names of a cluster, each in a task of its own; resolves when each has been looked up.
pub(super) fn follow(discovery: &Rc<Discovery>, cluster: Arc<ClusterShared>) -> oneshot::Receiver<()> {
    let (tell, first) = oneshot::channel();
    let endpoints = &cluster.config().discovery.endpoints;
    let followed = Rc::new(Followed {
        discovery: Rc::clone(discovery),
        found: RefCell::new(endpoints.iter().map(|l| vec![Vec::new(); l.names.len()]).collect()),
        waiting: Cell::new(endpoints.iter().map(|l| l.names.len()).sum()),
        first: Cell::new(Some(tell)),
        cluster: Arc::clone(&cluster),
    });
    for (locality, endpoints) in endpoints.iter().enumerate() {
        for name in 0..endpoints.names.len() {
            discovery.worker.spawn(Rc::clone(&followed).keep_up(locality, name));
        }
    }
    followed.answered(0);
    first
}

impl Followed {
    fn config(&self) -> &ClusterConfig {
        self.cluster.config()
    }

    fn dns(&self) -> Option<&DnsConfig> {
        match &self.config().discovery.source {
            HostSource::StrictDns(config) | HostSource::LogicalDns(config) => Some(config),
            HostSource::Static
            | HostSource::Eds(_)
            | HostSource::OriginalDst(_)
            | HostSource::ForwardProxy(_)
            | HostSource::SubClusters(_)
            | HostSource::Aggregate(_) => None,
        }
    }

    fn endpoint(&self, locality: usize, name: usize) -> Option<&NamedEndpoint> {
        self.config().discovery.endpoints.get(locality)?.names.get(name)
    }

    async fn keep_up(self: Rc<Self>, locality: usize, name: usize) {
        let (Some(endpoint), Some(dns)) = (self.endpoint(locality, name), self.dns()) else { return };
        let (mut failures, mut new) = (0_u32, true);
        while self.discovery.is_current(&self.cluster) {
            let answer = self.look_up(endpoint, dns).await;
            match &answer {
                Ok(answer) => {
                    failures = 0;
                    self.take(locality, name, endpoint, answer);
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.cluster.main_stats().update_failure.inc();
                    tracing::debug!(target: "upstream", "dns resolution of {} failed: {error}", endpoint.name);
                }
            }
            if std::mem::take(&mut new) {
                self.answered(1);
            }
            let wait = dns.wait(answer.as_ref().ok(), failures, self.discovery.worker.rng());
            drop(answer);
            tokio::time::sleep(wait).await;
        }
    }

    async fn look_up(&self, endpoint: &NamedEndpoint, dns: &DnsConfig) -> Result<Answer, DnsError> {
        self.cluster.main_stats().update_attempt.inc();
        if let Ok(ip) = endpoint.name.parse::<IpAddr>() {
            self.discovery.told_of_literal(dns);
            return literal(ip, dns.family);
        }
        self.discovery.look_up(&endpoint.name, dns).await
    }

    /// So many more names have had their first answer; with the last one the cluster is warm.
    fn answered(&self, names: usize) {
        self.waiting.set(self.waiting.get().saturating_sub(names));
        if self.waiting.get() == 0
            && let Some(first) = self.first.take()
        {
            // Nobody may be waiting.
            let _ = first.send(());
        }
    }

    /// Takes an answer over: hosts whose address stays are the same as before.
    fn take(&self, locality: usize, name: usize, endpoint: &NamedEndpoint, answer: &Answer) {
        let stats = self.cluster.main_stats();
        stats.update_success.inc();
        let logical = matches!(self.config().discovery.source, HostSource::LogicalDns(_));
        let changed = {
            let mut found = self.found.borrow_mut();
            let Some(hosts) = found.get_mut(locality).and_then(|l| l.get_mut(name)) else { return };
            if logical {
                logical_host(hosts, endpoint, answer)
            } else {
                strict_hosts(hosts, endpoint, answer, |host| update::stays(self.config(), host))
            }
        };
        if changed {
            self.publish();
        } else {
            stats.update_no_rebuild.inc();
        }
    }

    fn publish(&self) {
        let old = self.cluster.hosts();
        let mut priorities = old.priorities.clone();
        // Localities stand in the snapshot in the order of configuration within their priority.
        let mut next = vec![0_usize; priorities.len()];
        for (endpoints, names) in self.config().discovery.endpoints.iter().zip(self.found.borrow().iter()) {
            let at = endpoints.priority as usize;
            let Some(index) = next.get_mut(at) else { continue };
            if let Some(locality) = priorities.get_mut(at).and_then(|p| p.get_mut(*index)) {
                locality.hosts = names.iter().flatten().cloned().collect();
            }
            *index += 1;
        }
        let snapshot = HostSnapshot { priorities, ..(*old).clone() };
        let warm = self.waiting.get() == 0;
        self.discovery.set.borrow_mut().set_hosts(&self.cluster, snapshot, 1, warm);
    }
}

/// An address that stands in a name's place; one of the other family is no name.
pub(super) fn literal(ip: IpAddr, family: Family) -> Result<Answer, DnsError> {
    let fits = match family {
        Family::V4Only => ip.is_ipv4(),
        Family::V6Only => ip.is_ipv6(),
        Family::Auto | Family::V4Preferred | Family::All => true,
    };
    if fits {
        Ok(Answer { addresses: vec![ip], ..Answer::default() })
    } else {
        Err(DnsError::misformatted("an address of the other family"))
    }
}

fn spec_at(endpoint: &NamedEndpoint, ip: IpAddr) -> HostSpec {
    HostSpec { address: Address::Ip(SocketAddr::new(ip, endpoint.port)), ..endpoint.spec.clone() }
}

/// One host per address, and those that are no longer named and stay for now; whether there was a change.
fn strict_hosts(
    hosts: &mut Vec<Arc<HostShared>>,
    endpoint: &NamedEndpoint,
    answer: &Answer,
    stays: impl Fn(&HostShared) -> bool,
) -> bool {
    let mut new: Vec<Arc<HostShared>> = Vec::with_capacity(answer.addresses.len());
    for ip in &answer.addresses {
        let address = Address::Ip(SocketAddr::new(*ip, endpoint.port));
        if new.iter().any(|h| h.spec().address == address) {
            continue;
        }
        let known = hosts.iter().find(|h| h.spec().address == address).cloned();
        if let Some(known) = &known {
            update::is_named(known);
        }
        new.push(known.unwrap_or_else(|| HostShared::new(spec_at(endpoint, *ip))));
    }
    let gone = |host: &&Arc<HostShared>| !new.iter().any(|n| Arc::ptr_eq(n, host));
    let kept: Vec<_> = hosts.iter().filter(gone).filter(|host| stays(host)).cloned().collect();
    new.extend(kept);
    let same = new.len() == hosts.len() && new.iter().all(|n| hosts.iter().any(|h| Arc::ptr_eq(h, n)));
    if !same {
        *hosts = new;
    }
    !same
}

/// One host whose addresses move under it; whether it is new. An answer without addresses changes nothing.
fn logical_host(hosts: &mut Vec<Arc<HostShared>>, endpoint: &NamedEndpoint, answer: &Answer) -> bool {
    let Some((address, further)) = addresses(&answer.addresses, endpoint.port) else { return false };
    match hosts.first() {
        Some(host) => {
            host.move_to((address, further));
            false
        }
        None => {
            hosts.push(HostShared::new(HostSpec { address, further, ..endpoint.spec.clone() }));
            true
        }
    }
}

/// A port of all these.
pub(crate) fn addresses(found: &[IpAddr], port: u16) -> Option<Addresses> {
    let mut all = found.iter().map(|ip| Address::Ip(SocketAddr::new(*ip, port)));
    let first = all.next()?;
    Some((first, (found.len() > 1).then(|| all.collect())))
}

#[cfg(test)]
mod wait_tests {
    use super::*;

    #[test]
    fn waits_follow_ttl_failures_and_jitter() {
        let (rng, ttl) = (Rng::seeded(3), Duration::from_secs(60));
        let answer = Answer { ttl, ..Answer::default() };
        let mut config = DnsConfig { refresh: Duration::from_secs(7), ..DnsConfig::default() };
        assert_eq!(config.wait(Some(&answer), 0, &rng), config.refresh);
        assert_eq!(config.wait(None, 3, &rng), config.refresh);
        config.respect_ttl = true;
        assert_eq!(config.wait(Some(&answer), 0, &rng), ttl);
        assert_eq!(config.wait(Some(&Answer::default()), 0, &rng), config.refresh);
        config.failure = Some(FailureRate { base: Duration::from_secs(1), max: Duration::from_secs(10) });
        for (failures, most) in [(1, 1), (2, 2), (4, 8), (9, 10)] {
            let waits: Vec<_> = (0..200).map(|_| config.wait(None, failures, &rng)).collect();
            let (least, greatest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(*greatest < Duration::from_secs(most) && *greatest > Duration::from_secs(most) * 9 / 10);
            assert!(*least < Duration::from_secs(most) / 5);
        }
        config.jitter = Duration::from_secs(1);
        assert!((0..50).all(|_| (60..61).contains(&config.wait(Some(&answer), 0, &rng).as_secs())));
    }
}
