//! A listener's stats, with Envoy's names.

nuncio_core::stats_block! {
    /// `listener.ADDR.`: one worker's share.
    pub struct ListenerStats {
        counter downstream_cx_destroy,
        counter downstream_cx_overflow,
        counter downstream_cx_overload_reject,
        counter downstream_cx_total,
        counter downstream_cx_transport_socket_connect_timeout,
        counter downstream_global_cx_overflow,
        counter downstream_listener_filter_error,
        counter downstream_listener_filter_remote_close,
        counter downstream_pre_cx_timeout,
        counter no_filter_chain_match,
        gauge downstream_cx_active,
        gauge downstream_pre_cx_active,
        histogram connections_accepted_per_socket_event,
        histogram downstream_cx_length_ms,
    }
}

nuncio_core::stats_block! {
    /// `listener.ADDR.`: filters whose configuration did not come. All of ours stands in the listener.
    pub struct ListenerDiscoveryStats {
        counter extension_config_missing,
        counter network_extension_config_missing,
    }
}

nuncio_core::stats_block! {
    /// `listener.ADDR.THREAD.`: one thread's own; `main_thread` for the admin port.
    pub struct ListenerWorkerStats {
        counter downstream_cx_total,
        gauge downstream_cx_active,
    }
}
