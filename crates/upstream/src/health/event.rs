//! `envoy.data.core.v3.HealthCheckEvent`, as a line of an event log.

use super::config::Check;
use super::session::FailureKind;
use crate::event_log::JsonObject;
use crate::host::HostShared;
use std::time::SystemTime;

/// What happened to a checked host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It gets no traffic any more.
    Ejected { kind: FailureKind, status: u16 },
    /// It gets traffic.
    Added { first: bool },
    /// A check failed.
    Failed { kind: FailureKind, first: bool, status: u16 },
    /// It says that it is degraded.
    Degraded,
    /// It says so no longer.
    NoLongerDegraded,
    /// A check succeeded, as the one before it did.
    Passed,
}

impl FailureKind {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Passive => "PASSIVE",
            Self::Network => "NETWORK",
            Self::Timeout => "NETWORK_TIMEOUT",
        }
    }
}

impl Check {
    /// `envoy.data.core.v3.HealthCheckerType`
    fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "HTTP",
            Self::Tcp(_) => "TCP",
            Self::Grpc(_) => "GRPC",
        }
    }
}

impl Event {
    /// The event; fields stand in the order of their numbers, as protobuf prints them, unset ones too.
    pub(super) fn json(self, check: &Check, cluster: &str, host: &HostShared, at: SystemTime) -> JsonObject {
        let none = JsonObject::new;
        let failure = |kind: FailureKind| none().text("failure_type", kind.name());
        let mut line = none()
            .text("health_checker_type", check.name())
            .address("host", &host.address())
            .text("cluster_name", cluster);
        line = match self {
            Self::Ejected { kind, status } => {
                line.object("eject_unhealthy_event", failure(kind).number("http_status_code", status.into()))
            }
            Self::Added { first } => line.object("add_healthy_event", none().flag("first_check", first)),
            _ => line,
        };
        line = line.time("timestamp", at);
        line = match self {
            Self::Failed { kind, first, status } => line.object(
                "health_check_failure_event",
                failure(kind).flag("first_check", first).number("http_status_code", status.into()),
            ),
            Self::Degraded => line.object("degraded_healthy_host", none()),
            Self::NoLongerDegraded => line.object("no_longer_degraded_host", none()),
            _ => line,
        };
        if let Some(metadata) = host.metadata() {
            let each = metadata.iter().fold(none(), |all, (name, fields)| all.fields(name, fields));
            let whole = none().object("filter_metadata", each).object("typed_filter_metadata", none());
            line = line.object("metadata", whole);
        }
        let here = &host.spec().locality;
        let locality =
            none().text("region", &here.region).text("zone", &here.zone).text("sub_zone", &here.sub_zone);
        line = line.object("locality", locality);
        match self {
            Self::Passed => line.object("successful_health_check_event", none()),
            _ => line,
        }
    }
}
