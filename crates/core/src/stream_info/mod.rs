//! What is known about one stream: the single source of its access-log line, span and histograms.

mod flags;
mod proxy_protocol;
mod state;
mod tls;
mod upstream;

pub use flags::{ResponseFlag, ResponseFlags};
pub use proxy_protocol::{PROXY_PROTOCOL_STATE, ProxyProtocolState};
pub use state::{
    ConnectionFilterState, FilterState, LazyState, Metadata, NamespaceFields, SharedObjects, Sharing,
};
pub use tls::{CertificateInfo, PeerInfo, TlsInfo};
pub use upstream::{ClusterInfo, HostInfo, Locality, UpstreamConnectionInfo, UpstreamInfo};

use crate::address::Address;
use crate::format::header_bytes_wanted;
use crate::trace::{Span, TraceReason};
use nuncio_codec::head::Version;
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What a stream knows of the downstream connection that carries it.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Unique among this process's downstream connections.
    pub id: u64,
    /// The socket's own address (`DOWNSTREAM_LOCAL_ADDRESS`; restored by `original_dst` or PROXY).
    pub local: Address,
    /// The socket's own address as accepted (`DOWNSTREAM_DIRECT_LOCAL_ADDRESS`).
    pub direct_local: Address,
    /// The peer's address (`DOWNSTREAM_DIRECT_REMOTE_ADDRESS`).
    pub direct_remote: Address,
    /// The peer's address after listener filters (PROXY).
    pub remote: Address,
    /// The SNI that a listener filter saw; [`server_name`](Self::server_name) knows the handshake's, too.
    pub requested_server_name: Option<Box<str>>,
    /// Name of the listener; empty when it has none.
    pub listener: Arc<str>,
    /// Which way the listener's traffic goes.
    pub direction: TrafficDirection,
    /// Name of the filter chain, empty when it has none.
    pub filter_chain: Arc<str>,
    /// What its handshake agreed on, where it is secured and the handshake is over.
    pub tls: OnceCell<Rc<TlsInfo>>,
    /// When it was accepted.
    pub accepted: Instant,
    /// The listener's metadata.
    pub listener_metadata: Option<Arc<Metadata>>,
    /// The filter chain's metadata.
    pub filter_chain_metadata: Option<Arc<Metadata>>,
    /// What becomes of it.
    pub state: ConnectionState,
}

impl ConnectionInfo {
    /// What its handshake agreed on, where it is secured and the handshake is over.
    #[inline]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.get().map(|tls| &**tls)
    }

    /// The SNI that the client asked for: seen by a listener filter, or in the handshake.
    pub fn server_name(&self) -> Option<&str> {
        self.requested_server_name.as_deref().or_else(|| self.tls()?.server_name.as_deref())
    }

    /// Stands for a client where the proxy asks for itself: as in Envoy, one at 127.0.0.1.
    pub fn of_proxy(now: Instant) -> Self {
        let here = Address::Ip(([127, 0, 0, 1], 0).into());
        Self {
            id: 0,
            local: here.clone(),
            direct_local: here.clone(),
            direct_remote: here.clone(),
            remote: here,
            direction: TrafficDirection::Unspecified,
            requested_server_name: None,
            listener: "".into(),
            filter_chain: "".into(),
            tls: OnceCell::new(),
            accepted: now,
            listener_metadata: None,
            filter_chain_metadata: None,
            state: ConnectionState::default(),
        }
    }
}

/// What becomes of a connection while it lives; its listener's access log tells it.
#[derive(Clone, Debug, Default)]
pub struct ConnectionState {
    /// The protocol that was spoken on it.
    pub protocol: Cell<Option<Version>>,
    /// Response flags of the connection itself.
    pub flags: Cell<ResponseFlags>,
    /// Why we closed it, where Envoy names a reason.
    pub local_close: Cell<Option<&'static str>>,
    /// The same of the connection to the host that its bytes go on to.
    pub upstream_local_close: Cell<Option<&'static str>>,
    /// The peer reset it.
    pub remote_reset: Cell<bool>,
    /// The round-trip time when its last request came, where a format asks for it (`DOWNSTREAM_CX_RTT`).
    pub round_trip: Cell<Option<Duration>>,
    /// Why its handshake failed (`DOWNSTREAM_TRANSPORT_FAILURE_REASON`).
    pub transport_failure: OnceCell<Box<str>>,
    /// Which filter closed it and why (`CONNECTION_TERMINATION_DETAILS`).
    pub termination: OnceCell<Box<str>>,
    /// What network filters leave for each other and for its streams.
    pub filter_state: ConnectionFilterState,
    /// Metadata that listener filters left for its own logs; streams do not see it.
    pub metadata: Option<Box<Metadata>>,
    /// How its ClientHello looks, where a listener filter was to see.
    pub fingerprints: Option<Box<Fingerprints>>,
}

/// What a ClientHello looks like to those who tell clients apart; empty what nobody asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// The MD5 of JA3's text, in hex.
    pub ja3: Box<str>,
    /// JA4: version and counts in the clear, then two truncated SHA-256.
    pub ja4: Box<str>,
}

/// Points in a stream's life; unset where it did not get there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// The last byte of the request came in (`DS_RX_END`).
    pub downstream_rx_end: Option<Instant>,
    /// The last attempt asked for a connection.
    pub upstream_pool_begin: Option<Instant>,
    /// The first byte went upstream (`US_TX_BEG`).
    pub upstream_tx_begin: Option<Instant>,
    /// The last byte went upstream (`US_TX_END`).
    pub upstream_tx_end: Option<Instant>,
    /// The first byte of the response came (`US_RX_BEG`).
    pub upstream_rx_begin: Option<Instant>,
    /// The first byte of the response's body came (`US_RX_BODY_BEG`).
    pub upstream_rx_body_begin: Option<Instant>,
    /// The last byte of the response came (`US_RX_END`).
    pub upstream_rx_end: Option<Instant>,
    /// The first byte of the response went out (`DS_TX_BEG`).
    pub downstream_tx_begin: Option<Instant>,
    /// The last byte of the response went out (`DS_TX_END`).
    pub downstream_tx_end: Option<Instant>,
    /// The stream was over: where `DURATION` ends.
    pub complete: Option<Instant>,
}

/// Bytes of one side of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByteCounts {
    /// Everything, framing included, received.
    pub wire_received: u64,
    /// Everything, framing included, sent.
    pub wire_sent: u64,
    /// Bytes of heads and trailers received, counted as Envoy does, and only where
    /// [`header_bytes_wanted`](crate::format::header_bytes_wanted).
    pub header_received: u64,
    /// The same of those sent.
    pub header_sent: u64,
    /// Bytes of heads received, decompressed.
    pub decompressed_header_received: u64,
    /// Bytes of heads and trailers sent, before compression; 0 where the protocol compresses nothing.
    pub decompressed_header_sent: u64,
}

impl ByteCounts {
    /// A head of `bytes` was received. Envoy adds the whole count again with each head that follows a 1xx.
    pub fn received_head(&mut self, bytes: u64) {
        self.header_received += bytes;
        self.decompressed_header_received += self.header_received;
    }

    /// A compressed header block of `wire` bytes was received that says `text` bytes of names and values.
    pub fn received_block(&mut self, wire: u64, text: u64) {
        self.wire_received += wire;
        self.header_received += wire;
        self.decompressed_header_received += text;
    }

    /// One of `wire` bytes was sent; what it says is asked for only where it is wanted.
    pub fn sent_block(&mut self, wire: u64, text: impl FnOnce() -> usize) {
        self.wire_sent += wire;
        self.header_sent += wire;
        if header_bytes_wanted() {
            self.decompressed_header_sent += text() as u64;
        }
    }

    /// These and those of `later`, an attempt that came after them. Where it was not `over_http2`, what
    /// [`received_head`](Self::received_head) says holds for its head, too.
    pub fn then(self, later: Self, over_http2: bool) -> Self {
        let again = if later.header_received > 0 && !over_http2 { self.header_received } else { 0 };
        let both = self.plus(later);
        let decompressed_header_received = both.decompressed_header_received + again;
        Self { decompressed_header_received, ..both }
    }

    /// These and those of `other`.
    pub fn plus(self, other: Self) -> Self {
        Self {
            wire_received: self.wire_received + other.wire_received,
            wire_sent: self.wire_sent + other.wire_sent,
            header_received: self.header_received + other.header_received,
            header_sent: self.header_sent + other.header_sent,
            decompressed_header_received: self.decompressed_header_received
                + other.decompressed_header_received,
            decompressed_header_sent: self.decompressed_header_sent + other.decompressed_header_sent,
        }
    }

    /// Bytes of heads and trailers sent, before compression.
    pub fn decompressed_sent(&self) -> u64 {
        if self.decompressed_header_sent == 0 { self.header_sent } else { self.decompressed_header_sent }
    }
}

/// One stream, from the first byte of its head to the last byte of its answer.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// Wall time of its start.
    pub start_wall: SystemTime,
    /// Monotonic time of its start.
    pub start: Instant,
    /// Points in its life.
    pub timings: Timings,
    /// The downstream connection.
    pub connection: Rc<ConnectionInfo>,
    /// The trusted client address (`DOWNSTREAM_REMOTE_ADDRESS`) where it is not the connection's.
    pub remote: Option<Address>,
    /// The downstream protocol.
    pub protocol: Option<Version>,
    /// Response flags in the order in which they were set.
    pub flags: ResponseFlags,
    /// The status sent downstream.
    pub response_code: Option<u16>,
    /// `%RESPONSE_CODE_DETAILS%`, blanks not yet replaced.
    pub details: Option<Cow<'static, str>>,
    /// Body bytes received from downstream.
    pub bytes_received: u64,
    /// Body bytes sent downstream.
    pub bytes_sent: u64,
    /// All bytes of the downstream side.
    pub bytes: ByteCounts,
    /// A number by chance, the same for the stream's whole life; it feeds fractions and weighted clusters.
    pub random: u64,
    /// The name of the route taken; empty where it has none.
    pub route_name: Option<Arc<str>>,
    /// The route's metadata.
    pub route_metadata: Option<Arc<Metadata>>,
    /// The virtual host's name, where an expression asks for it.
    pub virtual_host_name: Option<Arc<str>>,
    /// The virtual host's metadata.
    pub virtual_host_metadata: Option<Arc<Metadata>>,
    /// How often a route was looked for.
    pub route_resolutions: u32,
    /// How long it took to find the route, where a format asks for it.
    pub route_resolution: Duration,
    /// The name of the virtual cluster matched.
    pub virtual_cluster: Option<Arc<str>>,
    /// The upstream side.
    pub upstream: UpstreamInfo,
    /// The stream is a health check that a filter answered or marked.
    pub health_check: bool,
    /// A filter made a gRPC call of a request that was none: the proxy's own answers stay plain.
    pub made_grpc: bool,
    /// The client is internal by `internal_address_config`.
    pub internal: bool,
    /// Whether a tracer would take the request up, and why, once that is decided; the traceable log filter reads it.
    pub trace_reason: Option<TraceReason>,
    /// Its span, where there is a tracer.
    pub span: Option<Box<Span>>,
    /// Dynamic metadata and filter state.
    pub state: LazyState,
    /// The port that was stripped from the host; CONNECT gets it back on its way upstream.
    pub connect_port: Option<u32>,
}

impl StreamInfo {
    /// A stream that begins now. Inlined, so that it is made where it lives.
    #[inline(always)]
    pub fn new(start: Instant, start_wall: SystemTime, connection: Rc<ConnectionInfo>, random: u64) -> Self {
        Self {
            start_wall,
            start,
            timings: Timings::default(),
            connection,
            remote: None,
            protocol: None,
            flags: ResponseFlags::default(),
            response_code: None,
            details: None,
            bytes_received: 0,
            bytes_sent: 0,
            bytes: ByteCounts::default(),
            random,
            route_name: None,
            route_metadata: None,
            virtual_host_name: None,
            virtual_host_metadata: None,
            route_resolutions: 0,
            route_resolution: Duration::ZERO,
            virtual_cluster: None,
            upstream: UpstreamInfo::default(),
            health_check: false,
            made_grpc: false,
            internal: false,
            trace_reason: None,
            span: None,
            state: LazyState::default(),
            connect_port: None,
        }
    }

    /// No stream at all: what formats are given where only the process can be asked.
    pub fn none(now: Instant, wall: SystemTime) -> Self {
        let nowhere = Address::Pipe("".into());
        let connection = ConnectionInfo {
            id: 0,
            local: nowhere.clone(),
            direct_local: nowhere.clone(),
            direct_remote: nowhere.clone(),
            remote: nowhere,
            requested_server_name: None,
            listener: "".into(),
            direction: TrafficDirection::Unspecified,
            filter_chain: "".into(),
            tls: OnceCell::new(),
            accepted: now,
            listener_metadata: None,
            filter_chain_metadata: None,
            state: ConnectionState::default(),
        };
        Self::new(now, wall, Rc::new(connection), 0)
    }

    /// The SNI that the client asked for, where a listener filter has seen it: as in Envoy, a handshake does not tell it.
    pub fn server_name(&self) -> Option<&str> {
        self.connection.requested_server_name.as_deref()
    }

    /// The request was chosen to be traced.
    pub fn is_traced(&self) -> bool {
        self.trace_reason.is_some_and(|reason| reason != TraceReason::NotTraceable)
    }

    /// The trusted client address.
    pub fn remote_address(&self) -> &Address {
        self.remote.as_ref().unwrap_or(&self.connection.remote)
    }
}
