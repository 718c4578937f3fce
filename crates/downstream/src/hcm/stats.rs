//! The stats of an HTTP connection manager and of the listener it serves, with Envoy's names.

pub use nuncio_upstream::http2::Http2CodecStats;
pub use nuncio_upstream::stats::Http1CodecStats;

nuncio_core::stats_block! {
    /// `http.PREFIX.`: one worker's share of a connection manager's own stats.
    pub struct HcmStats {
        counter downstream_cx_delayed_close_timeout,
        counter downstream_cx_destroy,
        counter downstream_cx_destroy_active_rq,
        counter downstream_cx_destroy_local,
        counter downstream_cx_destroy_local_active_rq,
        counter downstream_cx_destroy_remote,
        counter downstream_cx_destroy_remote_active_rq,
        counter downstream_cx_drain_close,
        counter downstream_cx_http1_total,
        counter downstream_cx_http2_total,
        counter downstream_cx_http3_total,
        counter downstream_cx_idle_timeout,
        counter downstream_cx_max_duration_reached,
        counter downstream_cx_max_requests_reached,
        counter downstream_cx_overload_disable_keepalive,
        counter downstream_cx_protocol_error,
        counter downstream_cx_rx_bytes_total,
        counter downstream_cx_ssl_total,
        counter downstream_cx_total,
        counter downstream_cx_tx_bytes_total,
        counter downstream_cx_upgrades_total,
        counter downstream_flow_control_paused_reading_total,
        counter downstream_flow_control_resumed_reading_total,
        counter downstream_rq_1xx,
        counter downstream_rq_2xx,
        counter downstream_rq_3xx,
        counter downstream_rq_4xx,
        counter downstream_rq_5xx,
        counter downstream_rq_completed,
        counter downstream_rq_failed_path_normalization,
        counter downstream_rq_header_timeout,
        counter downstream_rq_http1_total,
        counter downstream_rq_http2_total,
        counter downstream_rq_http3_total,
        counter downstream_rq_idle_timeout,
        counter downstream_rq_max_duration_reached,
        counter downstream_rq_non_relative_path,
        counter downstream_rq_overload_close,
        counter downstream_rq_redirected_with_normalized_path,
        counter downstream_rq_rejected_via_ip_detection,
        counter downstream_rq_response_before_rq_complete,
        counter downstream_rq_rx_reset,
        counter downstream_rq_timeout,
        counter downstream_rq_too_large,
        counter downstream_rq_too_many_premature_resets,
        counter downstream_rq_total,
        counter downstream_rq_tx_reset,
        counter downstream_rq_ws_on_non_ws_route,
        counter rs_too_large,
        gauge downstream_cx_active,
        gauge downstream_cx_http1_active,
        gauge downstream_cx_http1_soft_drain,
        gauge downstream_cx_http2_active,
        gauge downstream_cx_http3_active,
        gauge downstream_cx_rx_bytes_buffered,
        gauge downstream_cx_ssl_active,
        gauge downstream_cx_tx_bytes_buffered,
        gauge downstream_cx_upgrades_active,
        gauge downstream_rq_active,
        histogram downstream_cx_length_ms,
        histogram downstream_rq_time,
    }
}

nuncio_core::stats_block! {
    /// `http.PREFIX.`: what the router counts, also for requests that the server makes itself.
    pub struct RouterStats {
        counter no_cluster,
        counter no_route,
        counter passthrough_internal_redirect_bad_location,
        counter passthrough_internal_redirect_no_route,
        counter passthrough_internal_redirect_predicate,
        counter passthrough_internal_redirect_too_many_redirects,
        counter passthrough_internal_redirect_unsafe_scheme,
        counter rq_direct_response,
        counter rq_overload_local_reply,
        counter rq_redirect,
        counter rq_reset_after_downstream_response_started,
        counter rq_total,
    }
}

nuncio_core::stats_block! {
    /// `http.PREFIX.tracing.`: why a request was traced or not.
    pub struct TracingStats {
        counter client_enabled,
        counter health_check,
        counter not_traceable,
        counter random_sampling,
        counter service_forced,
    }
}

nuncio_core::stats_block! {
    /// `listener.ADDR.http.PREFIX.`: what a connection manager adds to its listener's stats.
    pub struct ListenerHttpStats {
        counter downstream_rq_1xx,
        counter downstream_rq_2xx,
        counter downstream_rq_3xx,
        counter downstream_rq_4xx,
        counter downstream_rq_5xx,
        counter downstream_rq_completed,
    }
}

/// Counts a response's class in a block that has Envoy's five class counters and `completed`.
macro_rules! count_class {
    ($stats:expr, $code:expr) => {{
        let stats = &$stats;
        match $code / 100 {
            1 => stats.downstream_rq_1xx.inc(),
            2 => stats.downstream_rq_2xx.inc(),
            3 => stats.downstream_rq_3xx.inc(),
            4 => stats.downstream_rq_4xx.inc(),
            5 => stats.downstream_rq_5xx.inc(),
            _ => {}
        }
        stats.downstream_rq_completed.inc();
    }};
}
pub(crate) use count_class;
