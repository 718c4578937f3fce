//! Names to addresses, by the machine's resolver configuration (`/etc/resolv.conf`, `/etc/hosts`).

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// Which addresses of a name are asked for (`dns_lookup_family`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// `AUTO`: IPv6, and IPv4 where there are none.
    #[default]
    Auto,
    /// `V4_ONLY`
    V4Only,
    /// `V6_ONLY`
    V6Only,
    /// `V4_PREFERRED`: IPv4, and IPv6 where there are none.
    V4Preferred,
    /// `ALL`: both.
    All,
}

/// The addresses of a name. A name that does not exist, or has none of the family, has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// In the order in which they came.
    pub addresses: Vec<IpAddr>,
    /// The shortest time to live among them; 0 where they have none.
    pub ttl: Duration,
    /// Why there are none, as Envoy names it.
    pub details: &'static str,
}

/// The lookup failed: no server answered, or not usefully.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsError {
    text: String,
    /// As Envoy names it.
    pub details: &'static str,
}

impl DnsError {
    /// It is no name that could be looked up.
    pub fn misformatted(text: impl Into<String>) -> Self {
        Self { text: text.into(), details: "cares_failure:Misformatted domain name" }
    }
}

impl std::fmt::Display for DnsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for DnsError {}

/// A lookup under way.
pub type LookupFuture<'a> = Pin<Box<dyn Future<Output = Result<Answer, DnsError>> + 'a>>;

/// Looks names up; tests put their own in its place.
pub trait Resolve {
    /// The addresses of `name`, which is no IP address.
    fn lookup<'a>(&'a self, name: &'a str, family: Family) -> LookupFuture<'a>;
}

/// The machine's resolver. Answers are not kept: whoever asks decides when to ask again.
#[derive(Default)]
pub struct SystemResolver {
    by_family: RefCell<HashMap<Family, Rc<TokioResolver>>>,
}

impl SystemResolver {
    /// A resolver that reads the machine's configuration with its first lookup. To be used on a tokio runtime.
    pub fn new() -> Self {
        Self::default()
    }

    fn resolver(&self, family: Family) -> Result<Rc<TokioResolver>, NetError> {
        if let Some(resolver) = self.by_family.borrow().get(&family) {
            return Ok(Rc::clone(resolver));
        }
        let mut builder = TokioResolver::builder_tokio()?;
        let options = builder.options_mut();
        options.cache_size = 0;
        options.ip_strategy = match family {
            Family::Auto => LookupIpStrategy::Ipv6thenIpv4,
            Family::V4Only => LookupIpStrategy::Ipv4Only,
            Family::V6Only => LookupIpStrategy::Ipv6Only,
            Family::V4Preferred => LookupIpStrategy::Ipv4thenIpv6,
            Family::All => LookupIpStrategy::Ipv6AndIpv4,
        };
        let resolver = Rc::new(builder.build()?);
        self.by_family.borrow_mut().insert(family, Rc::clone(&resolver));
        Ok(resolver)
    }

    async fn ask(&self, name: &str, family: Family) -> Result<Answer, DnsError> {
        let failed = |error: NetError| DnsError {
            details: match error {
                NetError::Timeout => "cares_failure:Timeout while contacting DNS servers",
                _ => "cares_failure:Could not contact DNS servers",
            },
            text: error.to_string(),
        };
        if !is_name(name) {
            return Err(DnsError::misformatted(format!("{name} is no name")));
        }
        let resolver = self.resolver(family).map_err(failed)?;
        match resolver.lookup_ip(name).await {
            Ok(found) => {
                let ttl = found.as_lookup().answers().iter().map(|r| r.ttl).min().unwrap_or(0);
                let ttl = if ttl == HOSTS_FILE_TTL { 0 } else { ttl };
                let addresses = found.iter().collect();
                Ok(Answer { addresses, ttl: Duration::from_secs(ttl.into()), details: "" })
            }
            Err(error) if error.is_nx_domain() => {
                Ok(Answer { details: "cares_norecords:Domain name not found", ..Answer::default() })
            }
            Err(error) if error.is_no_records_found() => Ok(Answer {
                details: "cares_norecords:DNS server returned answer with no data",
                ..Answer::default()
            }),
            Err(error) => Err(failed(error)),
        }
    }
}

/// The day that hickory gives names of the hosts file, which have no time to live.
const HOSTS_FILE_TTL: u32 = 86_400;

/// Whether DNS could know such a name.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = |label: &str| (1..64).contains(&label.len()) && !label.contains([':', '[', ']']);
    name.len() < 254 && name.split('.').all(fits)
}

impl Resolve for SystemResolver {
    fn lookup<'a>(&'a self, name: &'a str, family: Family) -> LookupFuture<'a> {
        Box::pin(self.ask(name, family))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::block_on_local;

    #[test]
    fn the_hosts_file_is_read() {
        let found = block_on_local(async {
            let resolver = SystemResolver::new();
            resolver.lookup("localhost", Family::V4Only).await
        });
        assert_eq!(found.unwrap().unwrap().addresses, [IpAddr::from([127, 0, 0, 1])]);
    }
}
