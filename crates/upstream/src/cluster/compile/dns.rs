//! The fields that say how names are looked up.

use crate::cluster::HostSource;
use crate::discovery::{DnsConfig, FailureRate};
use crate::dns_cache::DnsCaches;
use nuncio_core::config::{CompileContext, duration};
use nuncio_net::dns::{Family, OldMessages, ResolverConfig};
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::{DnsLookupFamily, RefreshRate};
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as TypedFamily;
use nuncio_proto::pb::envoy::extensions::clusters::dns::v3::{DnsCluster, dns_cluster};
use prost_types::Duration;
use std::time::Duration as StdDuration;

/// What a cluster says of DNS.
pub(super) struct Messages {
    pub(super) refresh: Option<Duration>,
    pub(super) failure: Option<RefreshRate>,
    pub(super) respect_ttl: bool,
    pub(super) family: i32,
    pub(super) jitter: Option<Duration>,
    pub(super) wait_for_warm: Option<bool>,
    pub(super) min_refresh: Option<Duration>,
    pub(super) resolver: Option<TypedExtensionConfig>,
    pub(super) old_resolver: OldMessages,
}

/// `caches` knows the resolver of clusters that name none.
pub(super) fn compile(messages: Messages, cx: &CompileContext<'_>, caches: &DnsCaches) -> Option<DnsConfig> {
    let Messages {
        refresh,
        failure,
        respect_ttl,
        family,
        jitter,
        wait_for_warm,
        min_refresh,
        resolver,
        old_resolver,
    } = messages;
    // Without servers of their own the older fields say nothing.
    let old_resolver =
        OldMessages { tcp: old_resolver.tcp && !old_resolver.resolvers.is_empty(), ..old_resolver };
    let time = |value: Option<Duration>, field: &str, default: StdDuration| match value {
        Some(value) => duration(&value, &cx.field(field)),
        None => Some(default),
    };
    let default = DnsConfig::default();
    let config = DnsConfig {
        respect_ttl,
        wait_for_warm: wait_for_warm.unwrap_or(true),
        family: DnsLookupFamily::try_from(family).map_or(Family::Auto, DnsConfig::family),
        refresh: time(refresh, "dns_refresh_rate", default.refresh)?,
        jitter: time(jitter, "dns_jitter", default.jitter)?,
        min_refresh: time(min_refresh, "dns_min_refresh_rate", default.min_refresh)?,
        failure: DnsConfig::failure_rate(failure, cx)?,
        resolver: caches.resolver(ResolverConfig::compile(resolver, old_resolver, cx)?),
    };
    if config.failure.is_some_and(|rate| rate.max < rate.base) {
        cx.field("dns_failure_refresh_rate").error(
            "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval",
        );
        return None;
    }
    Some(config)
}

impl DnsConfig {
    /// `dns_lookup_family`
    pub(crate) fn family(family: DnsLookupFamily) -> Family {
        match family {
            DnsLookupFamily::Auto => Family::Auto,
            DnsLookupFamily::V4Only => Family::V4Only,
            DnsLookupFamily::V6Only => Family::V6Only,
            DnsLookupFamily::V4Preferred => Family::V4Preferred,
            DnsLookupFamily::All => Family::All,
        }
    }

    /// `dns_failure_refresh_rate`
    #[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
    pub(crate) fn failure_rate(
        message: Option<RefreshRate>,
        cx: &CompileContext<'_>,
    ) -> Option<Option<FailureRate>> {
        let Some(RefreshRate { base_interval: Some(base), max_interval }) = message else {
            return Some(None);
        };
        let cx = cx.field("dns_failure_refresh_rate");
        let base = duration(&base, &cx.field("base_interval"))?;
        let max = match max_interval {
            Some(max) => duration(&max, &cx.field("max_interval"))?,
            None => base * 10,
        };
        Some(Some(FailureRate { base, max }))
    }
}

/// `envoy.cluster.dns`: both kinds of clusters that look names up.
pub(super) fn typed(message: DnsCluster, cx: &CompileContext<'_>, caches: &DnsCaches) -> Option<HostSource> {
    let DnsCluster {
        dns_refresh_rate,
        dns_failure_refresh_rate,
        respect_dns_ttl,
        dns_jitter,
        dns_lookup_family,
        all_addresses_in_single_endpoint,
        typed_dns_resolver_config,
        dns_min_refresh_rate,
    } = message;
    let family = match TypedFamily::try_from(dns_lookup_family) {
        Ok(TypedFamily::Unspecified | TypedFamily::Auto) | Err(_) => DnsLookupFamily::Auto,
        Ok(TypedFamily::V4Only) => DnsLookupFamily::V4Only,
        Ok(TypedFamily::V6Only) => DnsLookupFamily::V6Only,
        Ok(TypedFamily::V4Preferred) => DnsLookupFamily::V4Preferred,
        Ok(TypedFamily::All) => DnsLookupFamily::All,
    };
    let failure = dns_failure_refresh_rate.map(|dns_cluster::RefreshRate { base_interval, max_interval }| {
        RefreshRate { base_interval, max_interval }
    });
    let messages = Messages {
        refresh: dns_refresh_rate,
        failure,
        respect_ttl: respect_dns_ttl,
        family: family as i32,
        jitter: dns_jitter,
        wait_for_warm: None,
        min_refresh: dns_min_refresh_rate,
        resolver: typed_dns_resolver_config,
        old_resolver: OldMessages::default(),
    };
    let config = compile(messages, cx, caches)?;
    Some(if all_addresses_in_single_endpoint {
        HostSource::LogicalDns(config)
    } else {
        HostSource::StrictDns(config)
    })
}
