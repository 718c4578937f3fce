use super::*;

#[test]
fn health_flags_decide_health_and_print_as_envoy_prints_them() {
    let eds = HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::EDS_STATUS_DRAINING);
    for (flags, health, text) in [
        (HealthFlags::default(), Health::Healthy, "healthy"),
        (eds, Health::Excluded, "/failed_active_hc/eds_status_draining"),
        (HealthFlags::EDS_STATUS_DRAINING, Health::Excluded, "/eds_status_draining"),
        (HealthFlags::DEGRADED_EDS_HEALTH, Health::Degraded, "/degraded_eds_health"),
        (HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, Health::Excluded, "/excluded_via_immediate_hc_fail"),
    ] {
        assert_eq!((flags.health(), flags.to_string().as_str()), (health, text));
    }
}

#[test]
fn what_checks_found_counts_before_what_is_configured() {
    let only = |status| HealthStatuses::new([status].into_iter());
    for (flags, status) in [
        (HealthFlags::NONE, HealthStatus::Unknown),
        (HealthFlags::EDS_STATUS_HEALTHY, HealthStatus::Healthy),
        (HealthFlags::DEGRADED_EDS_HEALTH, HealthStatus::Degraded),
        (HealthFlags::FAILED_EDS_HEALTH, HealthStatus::Unhealthy),
        (HealthFlags::FAILED_EDS_HEALTH.with(HealthFlags::EDS_STATUS_TIMEOUT), HealthStatus::Timeout),
        (HealthFlags::EDS_STATUS_DRAINING.with(HealthFlags::DEGRADED_ACTIVE_HC), HealthStatus::Draining),
        (HealthFlags::EDS_STATUS_DRAINING.with(HealthFlags::FAILED_OUTLIER_CHECK), HealthStatus::Unhealthy),
        (HealthFlags::EDS_STATUS_HEALTHY.with(HealthFlags::DEGRADED_ACTIVE_HC), HealthStatus::Degraded),
    ] {
        assert!(only(status).contain(flags), "{flags:?}");
        assert_eq!(
            HealthStatuses::default().contain(flags),
            flags.health() != Health::Unhealthy && flags.health() != Health::Excluded
        );
    }
}
