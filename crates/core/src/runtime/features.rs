//! The feature flags of Envoy 1.40: `envoy.reloadable_features.*` and `envoy.restart_features.*`.
//!
//! Each is a switch between an old and a new behaviour. nuncio has the default one; the other is refused unless
//! it is built as well, or changes nothing that is built. The names and defaults are those that the binary of Envoy 1.40.0 holds.

use Effect::{Both, Moot, Seen};

/// What switching a flag away from its default comes to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that is built behaves otherwise: it concerns an extension or a protocol whose fields are refused,
    /// or Envoy's own inside. Whoever builds that extension looks here.
    Moot,
    /// It would be seen from outside.
    Seen,
    /// Either is built.
    Both,
}

/// A feature flag of Envoy 1.40.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its value where no runtime key sets it.
    pub default: bool,
    /// What the other value changes.
    pub effect: Effect,
}

/// Where a feature's key begins.
const RELOADABLE: &str = "envoy.reloadable_features.";
const RESTART: &str = "envoy.restart_features.";

/// Whether Envoy takes a key for that of a feature, known or not.
pub fn names_a_feature(key: &str) -> bool {
    key.starts_with(RELOADABLE) || key.starts_with(RESTART)
}

/// The flag that a runtime key switches; `None` where Envoy 1.40 knows no such flag.
pub fn feature(key: &str) -> Option<Feature> {
    let (names, name) = match key.strip_prefix(RELOADABLE) {
        Some(name) => (FEATURES, name),
        None => (RESTART_FEATURES, key.strip_prefix(RESTART)?),
    };
    let at = names.binary_search_by_key(&name, |(name, ..)| *name).ok()?;
    names.get(at).map(|&(_, default, effect)| Feature { default, effect })
}

/// Name, default, and what the other value does; sorted.
#[rustfmt::skip]
const FEATURES: &[(&str, bool, Effect)] = &[
    ("abort_when_accessing_dead_decoder", false, Moot),
    ("allow_multiplexed_upstream_half_close", false, Seen),
    ("always_use_v6", false, Seen),
    ("async_host_selection", true, Moot),
    ("cares_dual_resolution_preserve_failure", true, Seen),
    ("cel_message_serialize_text_format", true, Moot),
    ("coalesce_formatter_accept_empty_values", true, Seen),
    ("coalesce_lb_rebuilds_on_batch_update", true, Moot),
    ("codec_client_enable_idle_timer_only_when_connected", true, Seen),
    ("composite_cluster_skip_clusters_without_hosts", true, Moot),
    ("conn_pool_fix_reentrancy", true, Moot),
    ("conn_pool_grid_early_return_on_teardown", true, Moot),
    ("connection_close_through_filter_manager", false, Seen),
    ("connectivity_grid_prevent_double_h2_scheduled", true, Moot),
    ("decouple_explicit_drain_pools_and_dns_refresh", true, Seen),
    ("dfp_cluster_resolves_hosts", true, Moot),
    ("direct_local_reply_flush_saved_response_metadata", true, Moot),
    ("disable_quic_ip_packet_info_socket_options", false, Moot),
    ("disable_quic_rx_queue_overflow_socket_options", false, Moot),
    ("disallow_quic_client_udp_mmsg", true, Moot),
    ("disallow_redirect_prefix_rewrite_with_path_match_policy", true, Moot),
    ("dns_cache_set_ip_version_to_remove", false, Moot),
    ("dynamic_modules_rtld_now", true, Moot),
    ("dynamic_modules_strip_custom_stat_prefix", false, Moot),
    ("ecds_filter_use_parent_stats_prefix", true, Moot),
    ("enable_batch_aware_update", true, Seen),
    ("enable_cel_response_path_matching", true, Moot),
    ("enable_compression_bomb_protection", true, Moot),
    ("enable_formatter_for_ratelimit_action_descriptor_value", false, Moot),
    ("enable_lrs_server_self_ads", false, Moot),
    ("enable_new_dns_implementation", true, Moot),
    ("enable_new_query_param_present_match_behavior", true, Seen),
    ("enable_send_rst_on_user_space_socket", true, Moot),
    ("enable_stats_explicit_tags", false, Seen),
    ("enable_universal_header_validator", false, Seen),
    ("ext_proc_fail_close_spurious_resp", true, Moot),
    ("ext_proc_graceful_grpc_close", false, Moot),
    ("ext_proc_inject_data_with_state_update", true, Moot),
    ("ext_proc_not_send_empty_data_with_false_eos", true, Moot),
    ("ext_proc_report_client_creation_error", true, Moot),
    ("ext_proc_return_stop_iteration", true, Moot),
    ("filter_chain_drain_uses_configured_strategy", true, Seen),
    ("filter_manager_forward_added_data_on_continue", true, Seen),
    ("fix_http3_early_data_timing", true, Moot),
    ("fixed_heap_use_allocated", false, Moot),
    ("getaddrinfo_no_ai_flags", false, Moot),
    ("google_grpc_disable_tls_13", false, Moot),
    ("grpc_side_stream_flow_control", true, Moot),
    ("grpc_timeout_returns_deadline_exceeded", false, Seen),
    ("happy_eyeballs_sort_non_ip_addresses", true, Seen),
    ("header_mutation_url_encode_query_params", true, Seen),
    ("health_check_after_cluster_warming", true, Seen),
    ("hide_transport_failure_reason_in_response_body", true, Seen),
    ("hot_restart_propagate_stat_tags", true, Moot),
    ("http1_allow_query_method", true, Seen),
    ("http1_close_connection_on_zombie_stream_complete", true, Seen),
    ("http2_discard_host_header", true, Seen),
    ("http2_fix_goaway_loadshed_point", true, Seen),
    ("http2_flood_protection_active_streams", true, Seen),
    ("http2_include_cookies_in_limits", true, Seen),
    ("http2_mask_continuation_flags", true, Seen),
    ("http2_record_histograms", false, Seen),
    ("http2_reject_frames_after_end_stream", true, Seen),
    ("http2_track_size_of_dropped_host_header", true, Seen),
    ("http2_use_oghttp2", false, Seen),
    ("http3_fix_goaway_loadshed_point", true, Moot),
    ("http3_happy_eyeballs", false, Moot),
    ("http_11_proxy_connect_legacy_format", false, Moot),
    ("http_inspector_fast_fail_invalid_method_bytes", true, Seen),
    ("http_inspector_use_balsa_parser", true, Seen),
    ("http_pause_generic_upgrade_request_body", true, Seen),
    ("http_preserve_rst_no_error", true, Seen),
    ("http_reject_path_with_fragment", true, Both),
    ("ja4_alpn_hex_conversion_fix", true, Moot),
    ("json_formatter_omit_empty_values", true, Seen),
    ("jwt_authn_add_verification_status_header", true, Moot),
    ("jwt_authn_sanitize_payload_headers_filter_wide", true, Moot),
    ("least_request_lb_count_pending_requests", false, Seen),
    ("limit_json_parser_nesting_depth", true, Seen),
    ("listener_filter_reentrant_continue_guard", true, Moot),
    ("local_ratelimit_shadow_mode_no_short_circuit", true, Seen),
    ("map_http_stream_reset_to_tcp_rst", true, Seen),
    ("match_headers_individually", true, Seen),
    ("mcp_filter_use_new_metadata_namespace", true, Moot),
    ("metadata_formatter_only_truncate_string", true, Seen),
    ("mobile_ipv6_probe_advanced_filtering", false, Moot),
    ("mobile_use_network_observer_registry", true, Moot),
    ("non_graceful_drain_notifies_connections", true, Seen),
    ("oauth2_client_retries_respect_user_retry_on", true, Moot),
    ("oauth2_legacy_cbc_decrypt_compat", true, Moot),
    ("oauth2_use_gcm_encryption", false, Moot),
    ("on_demand_cluster_no_recreate_stream", true, Moot),
    ("on_demand_vhds_no_recreate_stream", true, Moot),
    ("on_demand_vhds_require_route_match", true, Moot),
    ("orca_accept_unpadded_base64", true, Moot),
    ("orca_weight_manager_use_named_metrics_first", true, Moot),
    ("pqc_default_ecdh_curves", true, Seen),
    ("preserve_downstream_keepalive", true, Seen),
    ("propagate_downstream_rst_to_upstream", true, Seen),
    ("propagate_upstream_rst_through_tunneled_tcp_proxy", true, Seen),
    ("proxy_protocol_added_tlvs_format_string", true, Seen),
    ("proxy_protocol_allow_duplicate_tlvs", true, Seen),
    ("proxy_protocol_remove_too_long_tlvs", true, Seen),
    ("quic_disable_data_read_immediately", false, Moot),
    ("quic_enable_reset_ssl_after_handshake", false, Moot),
    ("quic_hot_restart_time_wait_before_forward", true, Moot),
    ("quic_mtls_resumption_disabled_by_default", true, Moot),
    ("quic_mtls_server_enabled", true, Moot),
    ("quic_no_tcp_delay", false, Moot),
    ("quic_reject_all", false, Moot),
    ("quic_send_server_preferred_address_to_all_clients", true, Moot),
    ("quic_session_ticket_support", false, Moot),
    ("quic_support_additional_ecdsa_curves", true, Moot),
    ("quic_support_web_transport", false, Moot),
    ("quic_upstream_auto_host_sni", true, Moot),
    ("quic_upstream_client_certificates", true, Moot),
    ("quic_upstream_reads_fixed_number_packets", true, Moot),
    ("quic_validate_headers_only_content_length", true, Moot),
    ("rbac_match_headers_individually", true, Seen),
    ("rbac_respect_ignore_path_parameters", true, Seen),
    ("re2_use_latin1_mode", true, Seen),
    ("remove_legacy_route_formatter", false, Seen),
    ("report_load_for_non_zero_stats", true, Moot),
    ("reresolve_if_no_connections", false, Seen),
    ("reresolve_null_addresses", false, Seen),
    ("response_headers_to_remove_on_1xx", true, Seen),
    ("reverse_conn_force_local_reply", false, Moot),
    ("runtime_initialized", false, Seen),
    ("sanitize_html_stats_names", true, Seen),
    ("sanitize_upstream_stream_duration_header", true, Seen),
    ("scope_upstream_tls_session_cache_by_sni", true, Seen),
    ("shadow_policy_inherit_dynamic_metadata", true, Seen),
    ("skip_dns_lookup_for_proxied_requests", true, Moot),
    ("skip_partition_original_dst_hosts", true, Moot),
    ("skip_pending_overflow_count_on_active_rq", true, Seen),
    ("spiffe_validator_use_upstream_subject_alt_names", true, Moot),
    ("ssl_socket_report_connection_reset", true, Seen),
    ("strict_chunk_parsing", false, Seen),
    ("strict_stats_matcher_unpacked", true, Seen),
    ("strip_dotdot_segments_with_parameters", true, Seen),
    ("strip_path_parameters_per_segment", true, Seen),
    ("strip_upgrade_header_on_failed_websocket_upgrades", false, Seen),
    ("tap_honor_tap_enabled", true, Moot),
    ("tcp_proxy_delay_route_selection", false, Seen),
    ("test_feature_false", false, Moot),
    ("test_feature_true", true, Moot),
    ("tls_certificate_compression_brotli", false, Seen),
    ("tls_inspector_enforce_client_tls_version", true, Seen),
    ("udp_hot_restart_session_handoff", true, Moot),
    ("udp_send_zero_length_datagrams", true, Moot),
    ("udp_set_do_not_fragment", true, Moot),
    ("uhv_allow_malformed_url_encoding", true, Moot),
    ("unified_mux", false, Moot),
    ("upstream_bind_config_fix_port_exhaustion", true, Seen),
    ("upstream_http_filters_correct_stats_prefix", true, Moot),
    ("upstream_wasm_filter_uses_root_scope", true, Moot),
    ("uri_template_mixed_variable_literals", true, Seen),
    ("use_canonical_suffix_for_initial_rtt_estimate", false, Moot),
    ("use_canonical_suffix_for_quic_brokenness", true, Moot),
    ("use_canonical_suffix_for_srtt", false, Moot),
    ("use_connection_event_drain", true, Seen),
    ("use_response_decoder_handle", true, Moot),
    ("use_stats_prefix_scope_for_http_filter", true, Seen),
    ("vhds_answered_alias_cache", true, Moot),
    ("xds_failover_to_primary_enabled", true, Moot),
    ("xds_legacy_delta_skip_subsequent_node", true, Moot),
    ("xdstp_based_config_singleton_subscriptions", false, Moot),
    ("zipkin_preserve_b3_single_header_format", true, Moot),
];

/// Name, default, and what the other value does; sorted.
#[rustfmt::skip]
const RESTART_FEATURES: &[(&str, bool, Effect)] = &[
    ("quic_keylog_support", false, Moot),
    ("shared_cares_dns_resolver", false, Moot),
    ("upstream_http_filters_with_tcp_proxy", false, Seen),
    ("use_cached_grpc_client_for_xds", false, Moot),
    ("worker_threads_watchdog_fix", true, Moot),
    ("xds_failover_support", false, Moot),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_can_be_searched() {
        assert!(FEATURES.is_sorted_by_key(|f| f.0) && RESTART_FEATURES.is_sorted_by_key(|f| f.0));
        let known = feature("envoy.reloadable_features.http_reject_path_with_fragment").unwrap();
        assert_eq!(known, Feature { default: true, effect: Effect::Both });
        let other = feature("envoy.restart_features.upstream_http_filters_with_tcp_proxy").unwrap();
        assert!(!other.default);
    }

    #[test]
    fn a_key_that_envoy_does_not_know_is_no_feature() {
        assert_eq!(feature("envoy.reloadable_features.http_reject_path_with_fragments"), None);
        assert_eq!(feature("http_reject_path_with_fragment"), None);
        assert!(names_a_feature("envoy.restart_features.x") && !names_a_feature("envoy.features.x"));
    }
}
