use super::*;

#[test]
fn health_flags_decide_health_and_print_as_envoy_prints_them() {
    let eds = HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::EDS_STATUS_DRAINING);
    for (flags, health, text) in [
        (HealthFlags::default(), Health::Healthy, "healthy"),
        (eds, Health::Unhealthy, "/failed_active_hc/eds_status_draining"),
        (HealthFlags::EDS_STATUS_DRAINING, Health::Unhealthy, "/eds_status_draining"),
        (HealthFlags::DEGRADED_EDS_HEALTH, Health::Degraded, "/degraded_eds_health"),
        (HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, Health::Excluded, "/excluded_via_immediate_hc_fail"),
    ] {
        assert_eq!((flags.health(), flags.to_string().as_str()), (health, text));
    }
}
