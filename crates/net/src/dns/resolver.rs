//! Asks servers, in the order and with the patience of c-ares: each has its time, then the next one is asked, and
//! behind the last one the first again, with twice the time.

use super::{Answer, DnsError, Family, LookupFuture, Resolve, ResolverConfig};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    self as hickory, ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverOpts,
};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// Answers that are kept, where they are.
const KEPT_ANSWERS: u64 = 1024;

/// The day that hickory gives names of the hosts file, which have no time to live.
const HOSTS_FILE_TTL: u32 = 86_400;

/// No try has more than so much time, however often it was doubled.
const MOST: Duration = Duration::from_secs(300);

/// Looks names up by DNS, and in the machine's hosts file first. Unless `qcache_max_ttl` says so, answers are not kept:
/// whoever asks decides when to ask again.
#[derive(Default)]
pub struct SystemResolver {
    known: RefCell<HashMap<(ResolverConfig, Family), Rc<Servers>>>,
}

/// The servers that are asked one after another.
struct Servers {
    each: Vec<TokioResolver>,
    /// Which one begins.
    next: Cell<usize>,
}

impl SystemResolver {
    /// A resolver that reads the machine's configuration with its first lookup. To be used on a tokio runtime.
    pub fn new() -> Self {
        Self::default()
    }

    fn servers(&self, config: &ResolverConfig, family: Family) -> Result<Rc<Servers>, NetError> {
        let key = (config.clone(), family);
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        let servers = Rc::new(Servers::new(config, family)?);
        self.known.borrow_mut().insert(key, Rc::clone(&servers));
        Ok(servers)
    }

    async fn ask(&self, name: &str, family: Family, config: &ResolverConfig) -> Result<Answer, DnsError> {
        if !is_name(name) {
            return Err(DnsError::misformatted(format!("{name} is no name")));
        }
        match self.servers(config, family) {
            Ok(servers) => servers.ask(name, config).await,
            Err(error) => Err(failed(&error)),
        }
    }
}

impl Servers {
    fn new(config: &ResolverConfig, family: Family) -> Result<Self, NetError> {
        let system = read_system_conf();
        let (own, mut options) = match system {
            Ok(read) => read,
            Err(error) if config.servers.is_empty() => return Err(error),
            Err(_) => Default::default(),
        };
        let machines = || own.name_servers().iter().filter_map(address).collect::<Vec<_>>();
        let asked = match (config.servers.is_empty(), config.fallback) {
            (true, _) => machines(),
            (false, true) if !own.name_servers().is_empty() => machines(),
            (false, _) => config.servers.to_vec(),
        };
        set_options(&mut options, config, family);
        let each = asked.into_iter().map(|server| {
            let (domain, search) = match config.search {
                true => (own.domain().cloned(), own.search().to_vec()),
                false => (None, Vec::new()),
            };
            let one =
                hickory::ResolverConfig::from_parts(domain, search, vec![name_server(server, config.tcp)]);
            TokioResolver::builder_with_config(one, TokioRuntimeProvider::default())
                .with_options(options.clone())
                .build()
        });
        Ok(Self { each: each.collect::<Result<_, _>>()?, next: Cell::new(0) })
    }

    async fn ask(&self, name: &str, config: &ResolverConfig) -> Result<Answer, DnsError> {
        let begin = self.next.get();
        if config.rotate {
            self.next.set((begin + 1) % self.each.len().max(1));
        }
        let mut last = failed(&NetError::NoConnections);
        for round in 0..config.tries.max(1) {
            let time = config.timeout.saturating_mul(1_u32.checked_shl(round).unwrap_or(u32::MAX)).min(MOST);
            for resolver in self.each.iter().cycle().skip(begin).take(self.each.len()) {
                let error = match timeout(time, resolver.lookup_ip(name)).await {
                    Ok(Ok(found)) => return Ok(answer(&found)),
                    Ok(Err(error)) if error.is_no_records_found() => return Ok(nothing(&error)),
                    Ok(Err(error)) => error,
                    Err(_) => NetError::Timeout,
                };
                last = failed(&error);
            }
        }
        Err(last)
    }
}

/// What hickory is to do beyond naming the server; how long and how often is ours to say.
fn set_options(options: &mut ResolverOpts, config: &ResolverConfig, family: Family) {
    options.cache_size = if config.keep.is_zero() { 0 } else { KEPT_ANSWERS };
    options.positive_max_ttl = Some(config.keep).filter(|keep| !keep.is_zero());
    options.negative_max_ttl = options.positive_max_ttl;
    options.timeout = MOST;
    options.attempts = 0;
    if let Some(payload) = config.payload {
        (options.edns0, options.edns_payload_len) = (true, payload);
    }
    options.ip_strategy = match family {
        Family::Auto => LookupIpStrategy::Ipv6thenIpv4,
        Family::V4Only => LookupIpStrategy::Ipv4Only,
        Family::V6Only => LookupIpStrategy::Ipv6Only,
        Family::V4Preferred => LookupIpStrategy::Ipv4thenIpv6,
        Family::All => LookupIpStrategy::Ipv4AndIpv6,
    };
}

/// Where the machine's server listens.
fn address(server: &NameServerConfig) -> Option<SocketAddr> {
    Some(SocketAddr::new(server.ip, server.connections.first()?.port))
}

fn name_server(server: SocketAddr, tcp: bool) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::tcp()];
    if !tcp {
        connections.insert(0, ConnectionConfig::udp());
    }
    connections.iter_mut().for_each(|c| c.port = server.port());
    NameServerConfig::new(server.ip(), true, connections)
}

fn answer(found: &LookupIp) -> Answer {
    let ttl = found.as_lookup().answers().iter().map(|r| r.ttl).min().unwrap_or(0);
    let ttl = if ttl == HOSTS_FILE_TTL { 0 } else { ttl };
    let addresses = found.iter().collect();
    Answer { addresses, ttl: Duration::from_secs(ttl.into()), details: "" }
}

/// The name is unknown, or has none of the family.
fn nothing(error: &NetError) -> Answer {
    let details = match error.is_nx_domain() {
        true => "cares_norecords:Domain name not found",
        false => "cares_norecords:DNS server returned answer with no data",
    };
    Answer { details, ..Answer::default() }
}

fn failed(error: &NetError) -> DnsError {
    let timed_out = matches!(error, NetError::Timeout);
    let details = match timed_out {
        true => "cares_failure:Timeout while contacting DNS servers",
        false => "cares_failure:Could not contact DNS servers",
    };
    DnsError { details, text: error.to_string(), timed_out }
}

/// Whether DNS could know such a name.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = |label: &str| (1..64).contains(&label.len()) && !label.contains([':', '[', ']']);
    name.len() < 254 && name.split('.').all(fits)
}

impl Resolve for SystemResolver {
    fn lookup<'a>(&'a self, name: &'a str, family: Family, by: &'a ResolverConfig) -> LookupFuture<'a> {
        Box::pin(self.ask(name, family, by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::block_on_local;
    use std::net::IpAddr;

    #[test]
    fn the_hosts_file_is_read() {
        let found = block_on_local(async {
            let resolver = SystemResolver::new();
            resolver.lookup("localhost", Family::V4Only, &ResolverConfig::default()).await
        });
        assert_eq!(found.unwrap().unwrap().addresses, [IpAddr::from([127, 0, 0, 1])]);
    }
}
