//! How a host is.

use nuncio_proto::pb::envoy::config::core::v3::HealthStatus;
use std::fmt;

/// Why a host is not plainly healthy: a set of Envoy's health flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthFlags(pub(super) u32);

impl HealthFlags {
    /// It is well.
    pub const NONE: Self = Self(0);
    /// Active checks failed.
    pub const FAILED_ACTIVE_HC: Self = Self(1);
    /// Ejected as an outlier.
    pub const FAILED_OUTLIER_CHECK: Self = Self(1 << 1);
    /// The endpoint's configured status is `UNHEALTHY` or `TIMEOUT`.
    pub const FAILED_EDS_HEALTH: Self = Self(1 << 2);
    /// Active checks say that it is degraded.
    pub const DEGRADED_ACTIVE_HC: Self = Self(1 << 3);
    /// The endpoint's configured status is `DEGRADED`.
    pub const DEGRADED_EDS_HEALTH: Self = Self(1 << 4);
    /// Gone from discovery, kept while it passes active checks.
    pub const PENDING_DYNAMIC_REMOVAL: Self = Self(1 << 5);
    /// No active check has come back yet.
    pub const PENDING_ACTIVE_HC: Self = Self(1 << 6);
    /// An answer said that the host is going.
    pub const EXCLUDED_VIA_IMMEDIATE_HC_FAIL: Self = Self(1 << 7);
    /// The last active check timed out.
    pub const ACTIVE_HC_TIMEOUT: Self = Self(1 << 8);
    /// The endpoint's configured status is `DRAINING`.
    pub const EDS_STATUS_DRAINING: Self = Self(1 << 9);
    /// An answer said that it is degraded (`detect_degraded_hosts`).
    pub const DEGRADED_OUTLIER_DETECTION: Self = Self(1 << 10);
    /// New, and not counted before its first active check (`ignore_new_hosts_until_first_hc`). It has no text.
    pub(crate) const NOT_COUNTED_YET: Self = Self(1 << 11);
    /// Beside `FAILED_EDS_HEALTH`: the configured status is `TIMEOUT`. It has no text.
    pub(crate) const EDS_STATUS_TIMEOUT: Self = Self(1 << 12);
    /// The endpoint's configured status is `HEALTHY`, not `UNKNOWN`. It has no text.
    pub(crate) const EDS_STATUS_HEALTHY: Self = Self(1 << 13);
    /// All that an endpoint's configured status raises.
    pub(crate) const OF_EDS: Self = Self::FAILED_EDS_HEALTH
        .with(Self::DEGRADED_EDS_HEALTH)
        .with(Self::EDS_STATUS_DRAINING)
        .with(Self::EDS_STATUS_TIMEOUT)
        .with(Self::EDS_STATUS_HEALTHY);
    /// Those that `/clusters` does not tell.
    const WITHOUT_TEXT: Self =
        Self::NOT_COUNTED_YET.with(Self::EDS_STATUS_TIMEOUT).with(Self::EDS_STATUS_HEALTHY);

    /// Their texts in `/clusters`, in Envoy's order.
    const TEXTS: [(Self, &'static str); 11] = [
        (Self::FAILED_ACTIVE_HC, "/failed_active_hc"),
        (Self::FAILED_OUTLIER_CHECK, "/failed_outlier_check"),
        (Self::FAILED_EDS_HEALTH, "/failed_eds_health"),
        (Self::DEGRADED_ACTIVE_HC, "/degraded_active_hc"),
        (Self::DEGRADED_EDS_HEALTH, "/degraded_eds_health"),
        (Self::PENDING_DYNAMIC_REMOVAL, "/pending_dynamic_removal"),
        (Self::PENDING_ACTIVE_HC, "/pending_active_hc"),
        (Self::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "/excluded_via_immediate_hc_fail"),
        (Self::ACTIVE_HC_TIMEOUT, "/active_hc_timeout"),
        (Self::EDS_STATUS_DRAINING, "/eds_status_draining"),
        (Self::DEGRADED_OUTLIER_DETECTION, "/degraded_outlier_detection"),
    ];

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags but for those of `other`.
    #[must_use]
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of these flags that `other` has too.
    pub(crate) fn among(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// How balancers see a host with these flags.
    pub fn health(self) -> Health {
        const UNHEALTHY: u32 = 0b111;
        const EXCLUDED: HealthFlags = HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL
            .with(HealthFlags::NOT_COUNTED_YET)
            .with(HealthFlags::EDS_STATUS_DRAINING);
        const DEGRADED: u32 = 0b11 << 3 | HealthFlags::DEGRADED_OUTLIER_DETECTION.0;
        if self.among(EXCLUDED) != Self::NONE {
            Health::Excluded
        } else if self.0 & UNHEALTHY != 0 {
            Health::Unhealthy
        } else if self.0 & DEGRADED != 0 {
            Health::Degraded
        } else {
            Health::Healthy
        }
    }
}

impl HealthFlags {
    /// The one status that they come to: what checks found counts before what is configured, unless that is worse.
    fn status(self) -> HealthStatus {
        let any = |of: Self| self.among(of) != Self::NONE;
        if any(Self::FAILED_ACTIVE_HC.with(Self::FAILED_OUTLIER_CHECK)) {
            HealthStatus::Unhealthy
        } else if any(Self::EDS_STATUS_DRAINING) {
            HealthStatus::Draining
        } else if any(Self::EDS_STATUS_TIMEOUT) {
            HealthStatus::Timeout
        } else if any(Self::FAILED_EDS_HEALTH) {
            HealthStatus::Unhealthy
        } else if self.health() == Health::Degraded {
            HealthStatus::Degraded
        } else if any(Self::EDS_STATUS_HEALTHY) {
            HealthStatus::Healthy
        } else {
            HealthStatus::Unknown
        }
    }
}

impl fmt::Display for HealthFlags {
    /// As `/clusters` prints them: `healthy`, or each flag with a slash before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.without(Self::WITHOUT_TEXT) == Self::NONE {
            return f.write_str("healthy");
        }
        Self::TEXTS.iter().filter(|(flag, _)| self.contains(*flag)).try_for_each(|(_, t)| f.write_str(t))
    }
}

/// Statuses that a host may have to be taken by its name (`override_host_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthStatuses(u32);

impl HealthStatuses {
    /// A set of these.
    pub(crate) fn new(statuses: impl Iterator<Item = HealthStatus>) -> Self {
        Self(statuses.fold(0, |set, status| set | Self::bit(status)))
    }

    fn bit(status: HealthStatus) -> u32 {
        1 << status as i32
    }

    /// Whether a host with these flags has one of them.
    pub fn contain(self, flags: HealthFlags) -> bool {
        self.0 & Self::bit(flags.status()) != 0
    }
}

impl Default for HealthStatuses {
    fn default() -> Self {
        Self::new([HealthStatus::Unknown, HealthStatus::Healthy, HealthStatus::Degraded].into_iter())
    }
}

/// How balancers see a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It gets its share.
    Healthy,
    /// It gets traffic when there are too few healthy ones.
    Degraded,
    /// It gets traffic in panic only.
    Unhealthy,
    /// As unhealthy, and it does not count in any share.
    Excluded,
}

#[cfg(test)]
mod tests;
