//! Which servers are asked for names, and how: `typed_dns_resolver_config`, and the older fields for the same.

use nuncio_core::config::{CompileContext, socket_address, type_name};
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use nuncio_proto::pb::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use nuncio_proto::pb::envoy::extensions::network::dns_resolver::getaddrinfo::v3::GetAddrInfoDnsResolverConfig;
use prost::Name as _;
use std::net::SocketAddr;
use std::time::Duration;

/// A compiled resolver. Without servers those of the machine are asked (`/etc/resolv.conf`); its `/etc/hosts` goes first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResolverConfig {
    /// `resolvers`
    pub(super) servers: Box<[SocketAddr]>,
    /// `use_resolvers_as_fallback`: those only where the machine names none.
    pub(super) fallback: bool,
    /// `use_tcp_for_dns_lookups`
    pub(super) tcp: bool,
    /// Names are tried in the machine's search domains, too (not `no_default_search_domain`).
    pub(super) search: bool,
    /// `query_timeout_seconds`: what a server has for its first try; twice as much for the next one.
    pub(super) timeout: Duration,
    /// `query_tries` of each server, from 1.
    pub(super) tries: u32,
    /// `rotate_nameservers`: each lookup begins with the next server.
    pub(super) rotate: bool,
    /// `edns0_max_payload_size`
    pub(super) payload: Option<u16>,
    /// `qcache_max_ttl`: how long answers are kept; not at all where it is 0.
    pub(super) keep: Duration,
    /// Lookups count under `dns.cares.`.
    pub counted: bool,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            servers: Box::default(),
            fallback: false,
            tcp: false,
            search: true,
            timeout: Duration::from_secs(5),
            tries: 4,
            rotate: false,
            payload: None,
            keep: Duration::ZERO,
            counted: true,
        }
    }
}

/// The fields that a message has had for its resolver before `typed_dns_resolver_config`.
#[derive(Default)]
pub struct OldMessages {
    /// `dns_resolution_config`
    pub resolution: Option<pb::DnsResolutionConfig>,
    /// `dns_resolvers`
    pub resolvers: Vec<pb::Address>,
    /// `use_tcp_for_dns_lookups`
    pub tcp: bool,
}

impl ResolverConfig {
    /// Compiles the fields of `cx`; `Some(None)` where they name no resolver.
    pub fn compile(
        typed: Option<pb::TypedExtensionConfig>,
        old: OldMessages,
        cx: &CompileContext<'_>,
    ) -> Option<Option<Self>> {
        if let Some(typed) = typed {
            return Self::typed(typed, &cx.field("typed_dns_resolver_config")).map(Some);
        }
        let OldMessages { resolution, resolvers, tcp } = old;
        if let Some(pb::DnsResolutionConfig { resolvers, dns_resolver_options }) = resolution {
            let servers = servers(&resolvers, &cx.field("dns_resolution_config"), "resolvers")?;
            return Some(Some(Self { servers, ..Self::default() }.with(dns_resolver_options)));
        }
        let servers = servers(&resolvers, cx, "dns_resolvers")?;
        Some((tcp || !servers.is_empty()).then(|| Self { servers, tcp, ..Self::default() }))
    }

    fn with(self, options: Option<pb::DnsResolverOptions>) -> Self {
        let pb::DnsResolverOptions { use_tcp_for_dns_lookups, no_default_search_domain } =
            options.unwrap_or_default();
        Self { tcp: use_tcp_for_dns_lookups, search: !no_default_search_domain, ..self }
    }

    fn typed(message: pb::TypedExtensionConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::TypedExtensionConfig { name, typed_config } = message;
        if cx.told_of("typed_config") {
            return None;
        }
        let cx = cx.field("typed_config");
        let any = typed_config.unwrap_or_default();
        let kind = type_name(&any.type_url);
        if kind == CaresDnsResolverConfig::full_name() {
            return Self::cares(cx.unpack(&any)?, &cx);
        }
        if kind == GetAddrInfoDnsResolverConfig::full_name() {
            // The C library's own look-up blocks a thread; what it would read is asked instead.
            let GetAddrInfoDnsResolverConfig { num_retries } = cx.unpack(&any)?;
            let tries = num_retries.map_or(Self::default().tries, |n| n.saturating_add(1));
            return Some(Self { tries, counted: false, ..Self::default() });
        }
        let kind = if kind.is_empty() { &name } else { kind };
        cx.error(format!("Didn't find a registered DNS resolver factory for '{kind}'"));
        None
    }

    fn cares(message: CaresDnsResolverConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let CaresDnsResolverConfig {
            resolvers,
            use_resolvers_as_fallback,
            dns_resolver_options,
            query_timeout_seconds,
            query_tries,
            rotate_nameservers,
            edns0_max_payload_size,
            qcache_max_ttl,
        } = message;
        let default = Self::default();
        let own = Self {
            servers: servers(&resolvers, cx, "resolvers")?,
            fallback: use_resolvers_as_fallback,
            timeout: query_timeout_seconds.map_or(default.timeout, Duration::from_secs),
            tries: query_tries.unwrap_or(default.tries),
            rotate: rotate_nameservers,
            payload: edns0_max_payload_size.and_then(|n| n.try_into().ok()),
            keep: Duration::from_secs(qcache_max_ttl.unwrap_or(0).into()),
            ..default
        };
        Some(own.with(dns_resolver_options))
    }
}

fn servers(messages: &[pb::Address], cx: &CompileContext<'_>, field: &str) -> Option<Box<[SocketAddr]>> {
    let each = |(i, message): (usize, &pb::Address)| {
        let cx = cx.item(field, i);
        match &message.address {
            Some(pb::address::Address::SocketAddress(socket)) => {
                socket_address(socket, &cx.field("socket_address"))
            }
            Some(pb::address::Address::Pipe(_) | pb::address::Address::EnvoyInternalAddress(_)) | None => {
                cx.error("a DNS server is an IP address and a port");
                None
            }
        }
    };
    messages.iter().enumerate().map(each).collect()
}
