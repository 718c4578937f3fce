//! The fields that say how names are looked up.

use crate::discovery::{DnsConfig, FailureRate};
use nuncio_core::config::{CompileContext, duration};
use nuncio_net::dns::Family;
use nuncio_proto::pb::envoy::config::cluster::v3::cluster::{DnsLookupFamily, RefreshRate};
use prost_types::Duration;

/// What a cluster says of DNS.
pub(super) struct Messages {
    pub(super) refresh: Option<Duration>,
    pub(super) failure: Option<RefreshRate>,
    pub(super) respect_ttl: bool,
    pub(super) family: i32,
    pub(super) jitter: Option<Duration>,
    pub(super) wait_for_warm: Option<bool>,
}

pub(super) fn compile(messages: &Messages, cx: &CompileContext<'_>) -> Option<DnsConfig> {
    let Messages { refresh, failure, respect_ttl, family, jitter, wait_for_warm } = messages;
    let mut config = DnsConfig {
        respect_ttl: *respect_ttl,
        wait_for_warm: wait_for_warm.unwrap_or(true),
        family: match DnsLookupFamily::try_from(*family) {
            Ok(DnsLookupFamily::Auto) | Err(_) => Family::Auto,
            Ok(DnsLookupFamily::V4Only) => Family::V4Only,
            Ok(DnsLookupFamily::V6Only) => Family::V6Only,
            Ok(DnsLookupFamily::V4Preferred) => Family::V4Preferred,
            Ok(DnsLookupFamily::All) => Family::All,
        },
        ..DnsConfig::default()
    };
    if let Some(refresh) = refresh {
        config.refresh = duration(refresh, &cx.field("dns_refresh_rate"))?;
    }
    if let Some(jitter) = jitter {
        config.jitter = duration(jitter, &cx.field("dns_jitter"))?;
    }
    if let Some(RefreshRate { base_interval: Some(base), max_interval }) = failure {
        let cx = cx.field("dns_failure_refresh_rate");
        let base = duration(base, &cx.field("base_interval"))?;
        let max = match max_interval {
            Some(max) => duration(max, &cx.field("max_interval"))?,
            None => base * 10,
        };
        if max < base {
            cx.error(
                "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval",
            );
            return None;
        }
        config.failure = Some(FailureRate { base, max });
    }
    Some(config)
}
