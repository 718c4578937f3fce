//! Names to addresses: what is asked of whom (`config`), and the asking (`resolver`).

mod config;
mod resolver;

pub use config::{OldMessages, ResolverConfig};
pub use resolver::SystemResolver;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
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
    /// No server answered the last one.
    pub timed_out: bool,
}

impl DnsError {
    /// It is no name that could be looked up.
    pub fn misformatted(text: impl Into<String>) -> Self {
        let details = "cares_failure:Misformatted domain name";
        Self { text: text.into(), details, timed_out: false }
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
    /// The addresses of `name`, which is no IP address, from the servers that `by` names.
    fn lookup<'a>(&'a self, name: &'a str, family: Family, by: &'a ResolverConfig) -> LookupFuture<'a>;
}
