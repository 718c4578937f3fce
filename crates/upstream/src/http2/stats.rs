//! The stats of HTTP/2 codecs, with Envoy's names.

use nuncio_codec::h2;

nuncio_core::stats_block! {
    /// `http2.`, below a cluster or for the whole downstream side: the HTTP/2 codec's own stats, made with the first
    /// codec.
    pub struct Http2CodecStats {
        counter cookies_total_bytes_too_large,
        counter dropped_headers_with_underscores,
        counter goaway_sent,
        counter header_list_size_too_large,
        counter header_overflow,
        counter headers_cb_no_stream,
        counter inbound_empty_frames_flood,
        counter inbound_priority_frames_flood,
        counter inbound_window_update_frames_flood,
        counter keepalive_timeout,
        counter metadata_empty_frames,
        counter nghttp2_downstream_connections,
        counter nghttp2_upstream_connections,
        counter oghttp2_downstream_connections,
        counter oghttp2_upstream_connections,
        counter outbound_control_flood,
        counter outbound_flood,
        counter requests_rejected_with_underscores_in_headers,
        counter rx_messaging_error,
        counter rx_reset,
        counter stream_refused_errors,
        counter trailers,
        counter tx_flush_timeout,
        counter tx_reset,
        gauge deferred_stream_close,
        gauge outbound_control_frames_active,
        gauge outbound_frames_active,
        gauge pending_send_bytes,
        gauge streams_active,
        histogram cookie_count,
        histogram cookie_size,
        histogram header_count,
        histogram header_list_size,
    }
}

impl Http2CodecStats {
    /// Adds what happened on one connection since it was last asked.
    #[inline]
    pub fn add(&self, counters: h2::Counters) {
        if counters != h2::Counters::default() {
            self.add_each(counters);
        }
    }

    fn add_each(&self, counters: h2::Counters) {
        let h2::Counters {
            dropped_headers_with_underscores,
            goaway_sent,
            header_overflow,
            headers_cb_no_stream,
            inbound_empty_frames_flood,
            inbound_priority_frames_flood,
            inbound_window_update_frames_flood,
            keepalive_timeout,
            metadata_empty_frames,
            outbound_control_flood,
            outbound_flood,
            requests_rejected_with_underscores_in_headers,
            rx_messaging_error,
            rx_reset,
            stream_refused_errors,
            trailers,
            tx_reset,
        } = counters;
        for (counter, n) in [
            (&self.dropped_headers_with_underscores, dropped_headers_with_underscores),
            (&self.goaway_sent, goaway_sent),
            (&self.header_overflow, header_overflow),
            (&self.headers_cb_no_stream, headers_cb_no_stream),
            (&self.inbound_empty_frames_flood, inbound_empty_frames_flood),
            (&self.inbound_priority_frames_flood, inbound_priority_frames_flood),
            (&self.inbound_window_update_frames_flood, inbound_window_update_frames_flood),
            (&self.keepalive_timeout, keepalive_timeout),
            (&self.metadata_empty_frames, metadata_empty_frames),
            (&self.outbound_control_flood, outbound_control_flood),
            (&self.outbound_flood, outbound_flood),
            (
                &self.requests_rejected_with_underscores_in_headers,
                requests_rejected_with_underscores_in_headers,
            ),
            (&self.rx_messaging_error, rx_messaging_error),
            (&self.rx_reset, rx_reset),
            (&self.stream_refused_errors, stream_refused_errors),
            (&self.trailers, trailers),
            (&self.tx_reset, tx_reset),
        ] {
            counter.add(n.into());
        }
    }
}
