//! `envoy.data.cluster.v3.OutlierDetectionEvent`, as a line of the event log.

use super::{Cause, SuccessRates};
use crate::event_log::JsonObject;
use crate::host::HostShared;
use std::time::{Duration, SystemTime};

/// What happened to a host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event {
    /// It is out, or would be if its cause was enforced.
    Ejected { cause: Cause, enforced: bool, rates: SuccessRates, own_rate: f64 },
    /// It is degraded.
    Degraded,
    /// It is let back.
    Unejected,
}

/// When and to whom.
pub(super) struct Told<'a> {
    pub(super) cluster: &'a str,
    pub(super) host: &'a HostShared,
    pub(super) at: SystemTime,
    /// How often it was ejected.
    pub(super) ejections: u32,
    /// The time since it was let back or, where it is let back, since it was ejected.
    pub(super) since: Option<Duration>,
}

impl Cause {
    /// `OutlierEjectionType`
    fn name(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "CONSECUTIVE_5XX",
            Self::ConsecutiveGatewayFailure => "CONSECUTIVE_GATEWAY_FAILURE",
            Self::ConsecutiveLocalOriginFailure => "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
            Self::SuccessRate => "SUCCESS_RATE",
            Self::LocalOriginSuccessRate => "SUCCESS_RATE_LOCAL_ORIGIN",
            Self::FailurePercentage => "FAILURE_PERCENTAGE",
            Self::LocalOriginFailurePercentage => "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
        }
    }
}

impl Event {
    /// The event; fields stand in the order of their numbers, as protobuf prints them, unset ones too.
    pub(super) fn json(self, told: &Told<'_>) -> JsonObject {
        let Told { cluster, host, at, ejections, since } = *told;
        let (kind, action, enforced) = match self {
            Self::Ejected { cause, enforced, .. } => (cause.name(), "EJECT", enforced),
            Self::Degraded => ("DEGRADED", "EJECT", true),
            // As Envoy has it: nobody says why a host comes back.
            Self::Unejected => (Cause::Consecutive5xx.name(), "UNEJECT", false),
        };
        let mut line = JsonObject::new().text("type", kind).time("timestamp", at);
        if let Some(since) = since {
            // A wrapped 64-bit number is text in protobuf's JSON.
            line = line.text("secs_since_last_action", &since.as_secs().to_string());
        }
        let line = line
            .text("cluster_name", cluster)
            .text("upstream_url", &host.address().to_string())
            .text("action", action)
            .number("num_ejections", ejections.into())
            .flag("enforced", enforced);
        let rate = || JsonObject::new().number("host_success_rate", self.own_rate());
        match self {
            Self::Unejected => line,
            Self::Ejected { cause: Cause::SuccessRate | Cause::LocalOriginSuccessRate, rates, .. } => line
                .object(
                    "eject_success_rate_event",
                    rate()
                        .number("cluster_average_success_rate", whole(rates.average))
                        .number("cluster_success_rate_ejection_threshold", whole(rates.threshold)),
                ),
            Self::Ejected {
                cause: Cause::FailurePercentage | Cause::LocalOriginFailurePercentage, ..
            } => line.object("eject_failure_percentage_event", rate()),
            Self::Ejected { .. } | Self::Degraded => {
                line.object("eject_consecutive_event", JsonObject::new())
            }
        }
    }

    fn own_rate(self) -> u64 {
        match self {
            Self::Ejected { own_rate, .. } => whole(own_rate),
            Self::Degraded | Self::Unejected => 0,
        }
    }
}

/// A percentage without its fraction; a negative one is none.
fn whole(rate: f64) -> u64 {
    rate as u64
}
