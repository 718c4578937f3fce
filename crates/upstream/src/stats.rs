//! What a cluster counts: Envoy's names below `cluster.NAME.`.

use nuncio_core::stats::Counter;

nuncio_core::stats_block! {
    /// `cluster.NAME.MATCH.`: one of `transport_socket_matches`.
    pub struct MatchStats { counter total_match_count }
}

nuncio_core::stats_block! {
    /// A worker's share of what a cluster's balancer counts.
    pub struct ClusterLbStats {
        counter lb_healthy_panic,
        counter lb_local_cluster_not_ok,
        counter lb_recalculate_zone_structures,
        counter lb_subsets_created,
        counter lb_subsets_fallback,
        counter lb_subsets_fallback_panic,
        counter lb_subsets_removed,
        counter lb_subsets_selected,
        gauge lb_subsets_active,
        counter lb_zone_cluster_too_small,
        counter lb_zone_no_capacity_left,
        counter lb_zone_routing_all_directly,
        counter lb_zone_routing_cross_zone,
        counter lb_zone_routing_sampled,
    }
}

nuncio_core::stats_block! {
    /// What a cluster with subsets has besides.
    pub struct SubsetStats { gauge lb_subsets_single_host_per_subset_duplicate }
}

nuncio_core::stats_block! {
    /// `ring_hash_lb.`: how the ring's hashes spread over hosts.
    pub struct RingStats {
        gauge max_hashes_per_host,
        gauge min_hashes_per_host,
        gauge size,
    }
}

nuncio_core::stats_block! {
    /// `maglev_lb.`: how the table's entries spread over hosts.
    pub struct MaglevStats {
        gauge max_entries_per_host,
        gauge min_entries_per_host,
    }
}

nuncio_core::stats_block! {
    /// A worker's share of a cluster's traffic.
    pub struct ClusterStats {
        counter bind_errors,
        counter original_dst_host_invalid,
        counter retry_or_shadow_abandoned,
        gauge upstream_cx_active,
        counter upstream_cx_close_notify,
        counter upstream_cx_connect_attempts_exceeded,
        counter upstream_cx_connect_fail,
        counter upstream_cx_connect_timeout,
        counter upstream_cx_connect_with_0_rtt,
        counter upstream_cx_destroy,
        counter upstream_cx_destroy_local,
        counter upstream_cx_destroy_local_with_active_rq,
        counter upstream_cx_destroy_remote,
        counter upstream_cx_destroy_remote_with_active_rq,
        counter upstream_cx_destroy_with_active_rq,
        counter upstream_cx_http1_total,
        counter upstream_cx_http2_total,
        counter upstream_cx_http3_total,
        counter upstream_cx_idle_timeout,
        counter upstream_cx_max_duration_reached,
        counter upstream_cx_max_requests,
        counter upstream_cx_none_healthy,
        counter upstream_cx_overflow,
        counter upstream_cx_pool_overflow,
        counter upstream_cx_preconnect_skipped,
        counter upstream_cx_protocol_error,
        gauge upstream_cx_rx_bytes_buffered,
        counter upstream_cx_rx_bytes_total,
        counter upstream_cx_total,
        gauge upstream_cx_tx_bytes_buffered,
        counter upstream_cx_tx_bytes_total,
        counter upstream_flow_control_backed_up_total,
        counter upstream_flow_control_drained_total,
        counter upstream_flow_control_paused_reading_total,
        counter upstream_flow_control_resumed_reading_total,
        counter upstream_http3_broken,
        counter upstream_internal_redirect_failed_total,
        counter upstream_internal_redirect_succeeded_total,
        gauge upstream_queue_overloaded,
        summed_codes upstream_rq = "upstream_rq",
        codes internal_upstream_rq = "internal.upstream_rq",
        codes external_upstream_rq = "external.upstream_rq",
        codes canary_upstream_rq = "canary.upstream_rq",
        codes retry_upstream_rq = "retry.upstream_rq",
        counter upstream_rq_0rtt,
        gauge upstream_rq_active,
        counter upstream_rq_active_overflow,
        counter upstream_rq_cancelled,
        counter upstream_rq_maintenance_mode,
        counter upstream_rq_max_duration_reached,
        gauge upstream_rq_pending_active,
        counter upstream_rq_pending_failure_eject,
        counter upstream_rq_pending_overflow,
        counter upstream_rq_pending_total,
        counter upstream_rq_per_try_idle_timeout,
        counter upstream_rq_per_try_timeout,
        counter upstream_rq_retry,
        counter upstream_rq_retry_backoff_exponential,
        counter upstream_rq_retry_backoff_ratelimited,
        counter upstream_rq_retry_limit_exceeded,
        counter upstream_rq_retry_overflow,
        counter upstream_rq_retry_success,
        counter upstream_rq_rx_reset,
        counter upstream_rq_rx_reset_no_error,
        counter upstream_rq_timeout,
        counter upstream_rq_total,
        counter upstream_rq_tx_reset,
        histogram upstream_cx_connect_ms,
        histogram upstream_cx_length_ms,
        histogram upstream_rq_per_cx,
        histogram upstream_rq_time,
        histogram internal_upstream_rq_time = "internal.upstream_rq_time",
        histogram external_upstream_rq_time = "external.upstream_rq_time",
        histogram canary_upstream_rq_time = "canary.upstream_rq_time",
    }
}

nuncio_core::stats_block! {
    /// `cluster_manager.`
    pub struct ClusterManagerStats {
        counter cluster_added,
        counter cluster_modified,
        counter cluster_removed,
        counter cluster_updated,
        counter cluster_updated_via_merge,
        counter update_merge_cancelled,
        counter update_out_of_merge_window,
        gauge active_clusters,
        gauge warming_clusters,
    }
}

nuncio_core::stats_block! {
    /// What the main thread knows of a cluster: one writer, whatever the number of workers.
    pub struct ClusterMainStats {
        counter assignment_stale,
        counter assignment_timeout_received,
        counter assignment_use_cached,
        counter default_total_match_count = "default.total_match_count",
        gauge max_host_weight,
        counter membership_change,
        gauge membership_degraded,
        gauge membership_excluded,
        gauge membership_healthy,
        gauge membership_total,
        counter update_attempt,
        counter update_empty,
        counter update_failure,
        counter update_no_rebuild,
        counter update_success,
        gauge version,
        gauge warming_state,
        gauge default_cx_open = "circuit_breakers.default.cx_open",
        gauge default_cx_pool_open = "circuit_breakers.default.cx_pool_open",
        gauge default_rq_open = "circuit_breakers.default.rq_open",
        gauge default_rq_pending_open = "circuit_breakers.default.rq_pending_open",
        gauge default_rq_retry_open = "circuit_breakers.default.rq_retry_open",
        gauge high_cx_open = "circuit_breakers.high.cx_open",
        gauge high_cx_pool_open = "circuit_breakers.high.cx_pool_open",
        gauge high_rq_open = "circuit_breakers.high.rq_open",
        gauge high_rq_pending_open = "circuit_breakers.high.rq_pending_open",
        gauge high_rq_retry_open = "circuit_breakers.high.rq_retry_open",
    }
}

nuncio_core::stats_block! {
    /// `dns.cares.`: look-ups of names, under the name of Envoy's resolver.
    pub struct DnsStats {
        counter get_addr_failure,
        counter not_found,
        counter reinits,
        counter resolve_total,
        counter timeouts,
        gauge pending_resolutions,
    }
}

nuncio_core::stats_block! {
    /// How large requests and responses are (`track_cluster_stats.request_response_sizes`), in bytes and fields.
    pub struct SizeStats {
        histogram upstream_rq_headers_size,
        histogram upstream_rq_headers_count,
        histogram upstream_rq_body_size,
        histogram upstream_rs_headers_size,
        histogram upstream_rs_headers_count,
        histogram upstream_rs_body_size,
    }
}

nuncio_core::stats_block! {
    /// The share of their time that requests took, in percent (`track_cluster_stats.timeout_budgets`).
    pub struct BudgetStats {
        histogram upstream_rq_timeout_budget_percent_used,
        histogram upstream_rq_timeout_budget_per_try_percent_used,
    }
}

nuncio_core::stats_block! {
    /// How much is left below each limit of one priority (`track_remaining`).
    pub struct RemainingStats {
        gauge remaining_cx,
        whole_gauge remaining_cx_pools,
        gauge remaining_pending,
        gauge remaining_retries,
        gauge remaining_rq,
    }
}

nuncio_core::stats_block! {
    /// `http1.`, below a cluster or for the whole downstream side: the HTTP/1 codec's own counters, made with
    /// the first codec.
    pub struct Http1CodecStats {
        counter dropped_headers_with_underscores,
        counter metadata_not_supported_error,
        counter requests_rejected_with_underscores_in_headers,
        counter response_flood,
    }
}

nuncio_core::stats_block! {
    /// `health_check.`, below a cluster that has a check, or `health_check.name.NAME.` of each. The main thread writes.
    pub struct HealthCheckStats {
        counter attempt,
        gauge degraded,
        counter failure,
        gauge healthy,
        counter network_failure,
        counter passive_failure,
        counter success,
        counter verify_cluster,
    }
}

nuncio_core::stats_block! {
    /// `health_check.`, below a cluster with several checks: what they come to together. The main thread writes.
    pub struct HealthGauges {
        gauge degraded,
        gauge healthy,
    }
}

nuncio_core::stats_block! {
    /// `outlier_detection.`, below a cluster that has it. The main thread writes.
    pub struct OutlierStats {
        gauge ejections_active,
        counter ejections_consecutive_5xx,
        counter ejections_detected_consecutive_5xx,
        counter ejections_detected_consecutive_gateway_failure,
        counter ejections_detected_consecutive_local_origin_failure,
        counter ejections_detected_degradation,
        counter ejections_detected_failure_percentage,
        counter ejections_detected_local_origin_failure_percentage,
        counter ejections_detected_local_origin_success_rate,
        counter ejections_detected_success_rate,
        counter ejections_enforced_consecutive_5xx,
        counter ejections_enforced_consecutive_gateway_failure,
        counter ejections_enforced_consecutive_local_origin_failure,
        counter ejections_enforced_failure_percentage,
        counter ejections_enforced_local_origin_failure_percentage,
        counter ejections_enforced_local_origin_success_rate,
        counter ejections_enforced_success_rate,
        counter ejections_enforced_total,
        counter ejections_overflow,
        counter ejections_success_rate,
        counter ejections_total,
    }
}

/// A worker's share of what `/clusters` prints for a host. One thread writes.
#[derive(Debug, Default)]
pub struct HostCounters {
    /// Connections opened, failed ones included.
    pub cx_total: Counter,
    /// Connections closed again.
    pub cx_closed: Counter,
    /// Connections that failed before they were there.
    pub cx_connect_fail: Counter,
    /// Requests sent.
    pub rq_total: Counter,
    /// Requests that failed: a status of 500 or above, a reset, no connection.
    pub rq_error: Counter,
    /// Requests answered with a status below 500.
    pub rq_success: Counter,
    /// Requests that timed out.
    pub rq_timeout: Counter,
    /// Requests that began to wait for a connection.
    pub rq_pending_begun: Counter,
    /// Requests that no longer wait for a connection.
    pub rq_pending_done: Counter,
}
