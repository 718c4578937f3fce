//! `envoy.config.cluster.v3.OutlierDetection`, compiled.

use crate::event_log::EventLog;
use nuncio_core::config::{CompileContext, duration};
use nuncio_core::runtime::Runtime;
use nuncio_proto::pb::envoy::config::cluster::v3::OutlierDetection;
use std::time::Duration;

/// What the runtime keys begin with that override limits.
const KEYS: &str = "outlier_detection.";

/// How hosts are ejected for what they answer. Percentages are 0 to 100.
#[derive(Clone, Debug)]
pub struct OutlierConfig {
    /// `interval`: how often rates are looked at and ejected hosts are let back.
    pub interval: Duration,
    /// `base_ejection_time`
    pub base_ejection_time: Duration,
    /// `max_ejection_time`
    pub max_ejection_time: Duration,
    /// `max_ejection_time_jitter`
    pub max_ejection_time_jitter: Duration,
    /// `max_ejection_percent`
    pub max_ejection_percent: u32,
    /// `always_eject_one_host`
    pub always_eject_one_host: bool,
    /// `split_external_local_origin_errors`
    pub split: bool,
    /// `consecutive_5xx`, `consecutive_gateway_failure`, `consecutive_local_origin_failure`
    pub consecutive: [u32; 3],
    /// How often each kind of ejection is enforced, in the order of [`Cause`](super::Cause).
    pub enforcing: [u32; 7],
    /// `success_rate_*`
    pub success_rate: RateLimits,
    /// `success_rate_stdev_factor`, in thousandths.
    pub stdev_factor: u32,
    /// `failure_percentage_*`
    pub failure_percentage: RateLimits,
    /// `failure_percentage_threshold`
    pub failure_percentage_threshold: u32,
    /// `successful_active_health_check_uneject_host`
    pub check_ends_ejection: bool,
    /// `detect_degraded_hosts`
    pub detect_degraded: bool,
    /// `cluster_manager.outlier_detection.event_log_path` of the bootstrap.
    pub log: EventLog,
}

/// What it takes for rates to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// So many hosts with enough requests.
    pub minimum_hosts: u32,
    /// So many requests of a host in an interval.
    pub request_volume: u32,
}

impl OutlierConfig {
    pub(crate) fn compile(
        message: OutlierDetection,
        cx: &CompileContext<'_>,
        log: &EventLog,
    ) -> Option<Box<Self>> {
        let OutlierDetection {
            consecutive_5xx,
            interval,
            base_ejection_time,
            max_ejection_percent,
            enforcing_consecutive_5xx,
            enforcing_success_rate,
            success_rate_minimum_hosts,
            success_rate_request_volume,
            success_rate_stdev_factor,
            consecutive_gateway_failure,
            enforcing_consecutive_gateway_failure,
            split_external_local_origin_errors,
            consecutive_local_origin_failure,
            enforcing_consecutive_local_origin_failure,
            enforcing_local_origin_success_rate,
            failure_percentage_threshold,
            enforcing_failure_percentage,
            enforcing_failure_percentage_local_origin,
            failure_percentage_minimum_hosts,
            failure_percentage_request_volume,
            max_ejection_time,
            max_ejection_time_jitter,
            always_eject_one_host,
            successful_active_health_check_uneject_host,
            detect_degraded_hosts,
            // Envoy 1.40 has none: a type that is no monitor's does nothing, and a monitor's is refused for not being there.
            monitors: _,
        } = message;
        let time = |value: Option<prost_types::Duration>, field: &str, default: Duration| match value {
            None => Some(default),
            Some(value) => duration(&value, &cx.field(field)),
        };
        let seconds = Duration::from_secs;
        let base = time(base_ejection_time, "base_ejection_time", seconds(30))?;
        let max = time(max_ejection_time, "max_ejection_time", base.max(seconds(300)))?;
        if max < base {
            cx.error("outlier detector max_ejection_time cannot be smaller than base_ejection_time");
            return None;
        }
        Some(Box::new(Self {
            interval: time(interval, "interval", seconds(10))?,
            base_ejection_time: base,
            max_ejection_time: max,
            max_ejection_time_jitter: time(
                max_ejection_time_jitter,
                "max_ejection_time_jitter",
                Duration::ZERO,
            )?,
            max_ejection_percent: max_ejection_percent.unwrap_or(10).min(100),
            always_eject_one_host: always_eject_one_host.unwrap_or(false),
            split: split_external_local_origin_errors,
            consecutive: [
                consecutive_5xx.unwrap_or(5),
                consecutive_gateway_failure.unwrap_or(5),
                consecutive_local_origin_failure.unwrap_or(5),
            ],
            enforcing: [
                enforcing_consecutive_5xx.unwrap_or(100),
                enforcing_consecutive_gateway_failure.unwrap_or(0),
                enforcing_consecutive_local_origin_failure.unwrap_or(100),
                enforcing_success_rate.unwrap_or(100),
                enforcing_local_origin_success_rate.unwrap_or(100),
                enforcing_failure_percentage.unwrap_or(0),
                enforcing_failure_percentage_local_origin.unwrap_or(0),
            ],
            success_rate: RateLimits {
                minimum_hosts: success_rate_minimum_hosts.unwrap_or(5),
                request_volume: success_rate_request_volume.unwrap_or(100),
            },
            stdev_factor: success_rate_stdev_factor.unwrap_or(1900),
            failure_percentage: RateLimits {
                minimum_hosts: failure_percentage_minimum_hosts.unwrap_or(5),
                request_volume: failure_percentage_request_volume.unwrap_or(50),
            },
            failure_percentage_threshold: failure_percentage_threshold.unwrap_or(85),
            check_ends_ejection: successful_active_health_check_uneject_host.unwrap_or(true),
            detect_degraded: detect_degraded_hosts.unwrap_or(false),
            log: log.clone(),
        }))
    }

    /// These limits, or what `outlier_detection.*` says in their place.
    pub(crate) fn at_runtime(&self, runtime: &Runtime) -> Self {
        if !runtime.has_prefix(KEYS) {
            return self.clone();
        }
        let number = |name: &str, value: u32| {
            u32::try_from(runtime.integer(&format!("{KEYS}{name}"), value.into())).unwrap_or(u32::MAX)
        };
        let time = |name: &str, value: Duration| {
            let ms = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
            let set = runtime.integer(&format!("{KEYS}{name}_ms"), ms);
            if set == ms { value } else { Duration::from_millis(set) }
        };
        let [consecutive_5xx, gateway, local] = self.consecutive;
        let enforced = |at: usize, name: &str| {
            let configured = self.enforcing.get(at).copied().unwrap_or_default();
            number(&format!("enforcing_{name}"), configured).min(100)
        };
        let rates = |name: &str, limits: RateLimits| RateLimits {
            minimum_hosts: number(&format!("{name}_minimum_hosts"), limits.minimum_hosts),
            request_volume: number(&format!("{name}_request_volume"), limits.request_volume),
        };
        Self {
            interval: time("interval", self.interval),
            base_ejection_time: time("base_ejection_time", self.base_ejection_time),
            max_ejection_time: time("max_ejection_time", self.max_ejection_time),
            max_ejection_time_jitter: time("max_ejection_time_jitter", self.max_ejection_time_jitter),
            max_ejection_percent: number("max_ejection_percent", self.max_ejection_percent).min(100),
            always_eject_one_host: self.always_eject_one_host,
            split: self.split,
            consecutive: [
                number("consecutive_5xx", consecutive_5xx),
                number("consecutive_gateway_failure", gateway),
                number("consecutive_local_origin_failure", local),
            ],
            enforcing: [
                enforced(0, "consecutive_5xx"),
                enforced(1, "consecutive_gateway_failure"),
                enforced(2, "consecutive_local_origin_failure"),
                enforced(3, "success_rate"),
                enforced(4, "local_origin_success_rate"),
                enforced(5, "failure_percentage"),
                enforced(6, "failure_percentage_local_origin"),
            ],
            success_rate: rates("success_rate", self.success_rate),
            stdev_factor: number("success_rate_stdev_factor", self.stdev_factor),
            failure_percentage: rates("failure_percentage", self.failure_percentage),
            failure_percentage_threshold: number(
                "failure_percentage_threshold",
                self.failure_percentage_threshold,
            ),
            check_ends_ejection: self.check_ends_ejection,
            detect_degraded: self.detect_degraded,
            log: self.log.clone(),
        }
    }
}
