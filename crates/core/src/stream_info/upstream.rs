//! The upstream side of a stream: what logs, headers and explanations tell of cluster, host and connection.
//!
//! Each of the three is shared with whoever it describes, so that a stream that is sent there takes one reference.

use super::{ByteCounts, Metadata, TlsInfo};
use crate::address::Address;
use nuncio_codec::head::Version;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What is known of the upstream side of a stream.
#[derive(Clone, Debug, Default)]
pub struct UpstreamInfo {
    /// The cluster, once the router has it.
    pub cluster: Option<Rc<ClusterInfo>>,
    /// The picked host.
    pub host: Option<Rc<HostInfo>>,
    /// The connection of the present attempt, once it has one.
    pub connection: Option<Rc<UpstreamConnectionInfo>>,
    /// Attempts made, retries included.
    pub attempts: u32,
    /// What the transport said when it failed, such as `delayed connect error: Connection refused`.
    pub transport_failure: Option<Box<str>>,
    /// The exchange went over a reused connection that the upstream had closed meanwhile.
    pub stale_reuse: bool,
    /// Bytes of the upstream side.
    pub bytes: ByteCounts,
}

/// A cluster as streams tell of it.
#[derive(Clone, Debug)]
pub struct ClusterInfo {
    /// Its name (`UPSTREAM_CLUSTER_RAW`).
    pub name: Arc<str>,
    /// Its name for observers: `alt_stat_name`, else its name (`UPSTREAM_CLUSTER`).
    pub observability_name: Arc<str>,
    /// `metadata`
    pub metadata: Option<Arc<Metadata>>,
    /// How many hosts it has.
    pub members: Cell<u64>,
}

/// Where a host stands (`envoy.config.core.v3.Locality`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// `region`
    pub region: Box<str>,
    /// `zone`
    pub zone: Box<str>,
    /// `sub_zone`
    pub sub_zone: Box<str>,
}

/// A host as streams tell of it.
#[derive(Clone, Debug)]
pub struct HostInfo {
    /// Where it listened when it was picked (`UPSTREAM_HOST`).
    pub address: Address,
    /// Its name; empty where it has none (`UPSTREAM_HOST_NAME`).
    pub name: Arc<str>,
    /// The endpoint's metadata.
    pub metadata: Option<Arc<Metadata>>,
    /// Where it stands.
    pub locality: Arc<Locality>,
    /// The metadata of its locality.
    pub locality_metadata: Option<Arc<Metadata>>,
}

/// An upstream connection as streams tell of it.
#[derive(Clone, Debug)]
pub struct UpstreamConnectionInfo {
    /// Unique among the process's upstream connections (`UPSTREAM_CONNECTION_ID`).
    pub id: u64,
    /// Our address on it (`UPSTREAM_LOCAL_ADDRESS`).
    pub local: Address,
    /// The address that it leads to, one of those that its host has (`UPSTREAM_REMOTE_ADDRESS`).
    pub peer: Address,
    /// The protocol spoken; none where it carries bytes alone (`UPSTREAM_PROTOCOL`).
    pub protocol: Option<Version>,
    /// When it was begun (`US_CX_BEG`).
    pub connect_begin: Instant,
    /// When it was there (`US_CX_END`).
    pub connect_end: Instant,
    /// What its handshake agreed on, where it is secured.
    pub tls: Option<Rc<TlsInfo>>,
}

impl UpstreamInfo {
    /// What the handshake of its connection agreed on, where it is secured.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.connection.as_ref()?.tls.as_deref()
    }
}
