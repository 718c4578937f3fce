//! `envoy.config.route.v3.RetryPolicy`, compiled.

use nuncio_codec::head::HeaderMap;
use nuncio_core::config::{CompileContext, duration, timeout};
use nuncio_core::matcher::HeaderMatcher;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use nuncio_proto::pb::envoy::config::route::v3::retry_policy as parts;
use nuncio_upstream::retry_on::RetryOn;
use nuncio_upstream::retry_plugin::{RetryChoice, RetryPlugins, unknown};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A compiled `RetryPolicy`.
#[derive(Debug)]
pub struct RetryPolicy {
    pub(super) on: RetryOn,
    /// `num_retries`
    pub(super) retries: u32,
    /// `per_try_timeout`
    pub(crate) per_try_timeout: Option<Duration>,
    /// `per_try_idle_timeout`
    pub(crate) per_try_idle_timeout: Option<Duration>,
    pub(super) back_off: BackOff,
    pub(super) rate_limited: Option<RateLimitedBackOff>,
    pub(super) status_codes: Box<[u32]>,
    pub(super) headers: Box<[HeaderMatcher]>,
    /// Without one of these nothing is tried again; empty asks for none.
    pub(super) request_headers: Box<[HeaderMatcher]>,
    /// Its plug-ins.
    pub(super) choice: RetryChoice,
    /// `refresh_cluster_on_retry`
    pub(super) refresh_cluster: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            on: RetryOn::default(),
            retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            back_off: BackOff::default(),
            rate_limited: None,
            status_codes: Box::default(),
            headers: Box::default(),
            request_headers: Box::default(),
            choice: RetryChoice::default(),
            refresh_cluster: false,
        }
    }
}

/// `RetryBackOff`: unset values come from the runtime key and the base.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BackOff {
    pub(super) base: Option<Duration>,
    pub(super) max: Option<Duration>,
}

/// `RateLimitedRetryBackOff`
#[derive(Clone, Debug)]
pub(super) struct RateLimitedBackOff {
    headers: Box<[ResetHeader]>,
    max: Duration,
}

#[derive(Clone, Debug)]
struct ResetHeader {
    name: Box<str>,
    /// A point in time (seconds since 1970), not a number of seconds.
    timestamp: bool,
}

impl fmt::Display for RateLimitedBackOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |header: &ResetHeader| {
            format!("{} ({})", header.name, if header.timestamp { "a point in time" } else { "seconds" })
        };
        let headers: Vec<String> = self.headers.iter().map(said).collect();
        write!(f, "as {} say, {:?} at most", headers.join(" or "), self.max)
    }
}

impl RateLimitedBackOff {
    /// How long the response asks to wait, by the first header that says so within the maximum. `now` in
    /// seconds since 1970.
    pub(super) fn interval(&self, headers: &HeaderMap, now: u64) -> Option<Duration> {
        self.headers.iter().find_map(|reset| {
            let number: u64 = headers.get_str(&*reset.name)?.trim().parse().ok()?;
            let seconds = if reset.timestamp { number.checked_sub(now)? } else { number };
            let interval = Duration::from_secs(seconds);
            (interval <= self.max).then_some(interval)
        })
    }
}

impl RetryPolicy {
    /// Compiles the message; `None` when an error was recorded in `cx`.
    pub(crate) fn compile(
        message: pb::RetryPolicy,
        cx: &CompileContext<'_>,
        plugins: &RetryPlugins,
    ) -> Option<Arc<Self>> {
        let pb::RetryPolicy {
            retry_on,
            num_retries,
            per_try_timeout,
            per_try_idle_timeout,
            retry_priority,
            retry_host_predicate,
            host_selection_retry_max_attempts,
            retriable_status_codes,
            retry_back_off,
            rate_limited_retry_back_off,
            retriable_headers,
            retriable_request_headers,
            retry_options_predicates,
            refresh_cluster_on_retry,
        } = message;
        if let Some(extension) = retry_options_predicates.first() {
            // Neither Envoy nor nuncio has any.
            let url = extension.typed_config.as_ref().map_or("", |any| &any.type_url);
            unknown(&extension.name, url, &cx.item("retry_options_predicates", 0));
            return None;
        }
        let per_try = timeout(per_try_timeout.as_ref(), None, &cx.field("per_try_timeout"));
        let per_try_idle = timeout(per_try_idle_timeout.as_ref(), None, &cx.field("per_try_idle_timeout"));
        let predicates = retry_host_predicate.into_iter().map(|predicate| {
            let parts::RetryHostPredicate { name, config_type } = predicate;
            (name, config_type.map(|parts::retry_host_predicate::ConfigType::TypedConfig(any)| any))
        });
        let priority = retry_priority.map(|parts::RetryPriority { name, config_type }| {
            (name, config_type.map(|parts::retry_priority::ConfigType::TypedConfig(any)| any))
        });
        let attempts = host_selection_retry_max_attempts;
        let choice = RetryChoice::compile(predicates.collect(), priority, attempts, cx, plugins);
        let matchers = |list: &[pb::HeaderMatcher], field: &str| {
            all((0..).zip(list).map(|(i, m)| HeaderMatcher::compile(m, &cx.item(field, i))))
        };
        let headers = matchers(&retriable_headers, "retriable_headers");
        let request_headers = matchers(&retriable_request_headers, "retriable_request_headers");
        Some(Arc::new(Self {
            on: RetryOn::parse_all(&retry_on),
            retries: num_retries.unwrap_or(1),
            per_try_timeout: per_try,
            per_try_idle_timeout: per_try_idle,
            back_off: back_off(retry_back_off, cx)?,
            rate_limited: match rate_limited_retry_back_off {
                Some(message) => Some(rate_limited(message, cx)?),
                None => None,
            },
            status_codes: retriable_status_codes.into(),
            headers: headers?.into(),
            request_headers: request_headers?.into(),
            choice: choice?,
            refresh_cluster: refresh_cluster_on_retry,
        }))
    }
}

/// All of `items`, after every one was tried.
fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let items: Vec<Option<T>> = items.collect();
    items.into_iter().collect()
}

fn back_off(message: Option<parts::RetryBackOff>, cx: &CompileContext<'_>) -> Option<BackOff> {
    let Some(parts::RetryBackOff { base_interval, max_interval }) = message else {
        return Some(BackOff::default());
    };
    let cx = cx.field("retry_back_off");
    let interval = |value: Option<prost_types::Duration>, field: &str| {
        let value = value.as_ref().and_then(|v| duration(v, &cx.field(field)));
        value.map(|d| d.max(Duration::from_millis(1)))
    };
    let back_off = BackOff {
        base: interval(base_interval, "base_interval"),
        max: interval(max_interval, "max_interval"),
    };
    if let (Some(base), Some(max)) = (back_off.base, back_off.max)
        && max < base
    {
        cx.error("retry_policy.max_interval must greater than or equal to the base_interval");
        return None;
    }
    Some(back_off)
}

fn rate_limited(
    message: parts::RateLimitedRetryBackOff,
    cx: &CompileContext<'_>,
) -> Option<RateLimitedBackOff> {
    let parts::RateLimitedRetryBackOff { reset_headers, max_interval } = message;
    let cx = cx.field("rate_limited_retry_back_off");
    let headers = reset_headers.into_iter().map(|parts::ResetHeader { name, format }| ResetHeader {
        name: name.to_ascii_lowercase().into(),
        timestamp: parts::ResetHeaderFormat::try_from(format) == Ok(parts::ResetHeaderFormat::UnixTimestamp),
    });
    let max = match max_interval {
        None => Duration::from_secs(300),
        Some(max) => duration(&max, &cx.field("max_interval"))?,
    };
    Some(RateLimitedBackOff { headers: headers.collect(), max })
}
