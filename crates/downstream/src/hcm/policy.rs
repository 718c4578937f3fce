//! What the connection manager does to every request before it is routed, and to every response before it is
//! sent: the compiled form of its fields about paths, hosts, addresses, ids and headers.
//!
//! ```text
//! RequestPolicy::compile(PolicyFields { … })                     once, when configuration is loaded
//! policy.on_request(&mut request, &mut info, &rng) -> Outcome    after the codec, before routing
//! policy.on_upstream(&mut request, secured)                      on the way to a host
//! policy.on_response(&mut response, &request, date)              after the filters, before the codec
//! ```
//!
//! What Envoy keeps as one header (`x-forwarded-for` and its like) the codec has joined. None allocates where nothing has to change. Left to the callers: `internal_only_headers` of the route
//! table (to be removed when `StreamInfo::internal` is not set), `expect`, and the `connection: close` of a
//! connection that ends, which the codec writes.

pub mod messages;

use super::client_cert::ClientCertPolicy;
use super::forwarded::{
    ClientAddress, Forwarding, InternalAddresses, IpLine, ProtoByPort, Scheme, SchemeTransformation,
};
use super::local_reply::LocalReply;
use super::normalize::{Normalization, Refusal};
use super::original_ip::{Detection, XffTrust};
use super::request_id::RequestIds;
use super::response_headers::{ResponseHeaders, ServerHeader};
use super::sanitize;
use nuncio_codec::head::{Known, RequestHead, ResponseHead, Version};
use nuncio_core::format::{FormatContext, LogType};
use nuncio_core::header::OrderedMutations;
use nuncio_core::rng::Rng;
use nuncio_core::stream_info::StreamInfo;
use std::net::IpAddr;
use std::sync::Arc;

/// The fields of `HttpConnectionManager` that the policy is made of, and what it needs of the server.
#[derive(Clone, Debug)]
pub struct PolicyFields {
    /// `normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action`, the `strip_` fields.
    pub normalization: Normalization,
    /// `use_remote_address`.
    pub use_remote_address: bool,
    /// `xff_num_trusted_hops`.
    pub xff_num_trusted_hops: u32,
    /// `skip_xff_append`.
    pub skip_xff_append: bool,
    /// `append_x_forwarded_port`.
    pub append_x_forwarded_port: bool,
    /// `original_ip_detection_extensions`.
    pub original_ip_detection: Vec<Detection>,
    /// `internal_address_config`.
    pub internal_addresses: InternalAddresses,
    /// `early_header_mutation_extensions`.
    pub early_mutations: Arc<[OrderedMutations]>,
    /// `scheme_header_transformation`.
    pub scheme: SchemeTransformation,
    /// `forward_proto_config`.
    pub proto_by_port: ProtoByPort,
    /// `generate_request_id`, `preserve_external_request_id`, `always_set_request_id_in_response`,
    /// `request_id_extension`.
    pub request_ids: RequestIds,
    /// `add_user_agent`.
    pub add_user_agent: bool,
    /// `via`.
    pub via: String,
    /// `server_name`; empty stands for `envoy`.
    pub server_name: String,
    /// `server_header_transformation`.
    pub server_header: ServerHeader,
    /// `forward_client_cert_details`, `set_current_client_cert_details` and `forward_client_cert_matcher`.
    pub client_cert: ClientCertPolicy,
    /// The bootstrap's `node.id`.
    pub node_id: String,
    /// The bootstrap's `node.cluster`.
    pub node_cluster: String,
    /// This machine's first address that is not loopback, or loopback where there is no other.
    pub own_address: IpAddr,
}

impl Default for PolicyFields {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            normalization: Normalization::default(),
            use_remote_address: false,
            xff_num_trusted_hops: 0,
            skip_xff_append: false,
            append_x_forwarded_port: false,
            original_ip_detection: Vec::new(),
            internal_addresses: InternalAddresses::default(),
            early_mutations: Arc::default(),
            scheme: SchemeTransformation::default(),
            proto_by_port: ProtoByPort::default(),
            request_ids: RequestIds::default(),
            add_user_agent: false,
            via: String::new(),
            server_name: String::new(),
            server_header: ServerHeader::default(),
            client_cert: ClientCertPolicy::default(),
            node_id: String::new(),
            node_cluster: String::new(),
            own_address: std::net::Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// Fields that do not go together. The texts are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Detection extensions look at requests, `use_remote_address` at the peer.
    #[error("Original IP detection extensions and use_remote_address may not be mixed")]
    DetectionWithRemoteAddress,
    /// Detection extensions bring their own number of hops.
    #[error("Original IP detection extensions and xff_num_trusted_hops may not be mixed")]
    DetectionWithHops,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is routed.
    Continue,
    /// It is answered here. What it counts as is in the refusal.
    Refuse(Refusal),
}

/// The compiled policy, shared by all workers.
#[derive(Clone, Debug)]
pub struct RequestPolicy {
    pub(crate) normalization: Normalization,
    early_mutations: Arc<[OrderedMutations]>,
    forwarding: Forwarding,
    request_ids: RequestIds,
    user_agent: Option<UserAgent>,
    client_cert: ClientCertPolicy,
    response: ResponseHeaders,
}

/// `add_user_agent`: the names of this proxy in the requests that it forwards.
#[derive(Clone, Debug)]
struct UserAgent {
    cluster: Box<str>,
    node: Box<str>,
}

impl RequestPolicy {
    /// Compiles the fields.
    ///
    /// # Errors
    /// Fields that do not go together.
    pub fn compile(fields: PolicyFields) -> Result<Self, PolicyError> {
        let PolicyFields {
            normalization,
            use_remote_address,
            xff_num_trusted_hops: hops,
            skip_xff_append,
            append_x_forwarded_port,
            original_ip_detection,
            internal_addresses,
            early_mutations,
            scheme,
            proto_by_port,
            request_ids,
            add_user_agent,
            via,
            server_name,
            server_header,
            client_cert,
            node_id,
            node_cluster,
            own_address,
        } = fields;
        let detects = !original_ip_detection.is_empty();
        let client = match (use_remote_address, detects) {
            (true, true) => return Err(PolicyError::DetectionWithRemoteAddress),
            (false, true) if hops > 0 => return Err(PolicyError::DetectionWithHops),
            (true, false) => ClientAddress::Peer { hops, skip_append: skip_xff_append },
            (false, true) => ClientAddress::Detected(original_ip_detection.into()),
            // Without extensions, X-Forwarded-For is looked at and never appended to.
            (false, false) => ClientAddress::Detected(Box::new([Detection::Xff {
                trust: XffTrust::Hops(hops),
                skip_append: true,
            }])),
        };
        let server_name = if server_name.is_empty() { "envoy" } else { &server_name };
        Ok(Self {
            normalization,
            early_mutations,
            forwarding: Forwarding {
                client,
                internal: internal_addresses,
                append_port: append_x_forwarded_port,
                scheme,
                proto_by_port,
                own_address,
            },
            request_ids,
            user_agent: add_user_agent
                .then(|| UserAgent { cluster: node_cluster.into(), node: node_id.into() }),
            client_cert,
            response: ResponseHeaders::new(server_name, server_header, &via, request_ids.always_in_response),
        })
    }

    /// Checks a request, brings it into its form and cleans it. `info` gets the client's address and whether the
    /// client is internal.
    #[inline]
    pub fn on_request(&self, head: &mut RequestHead, info: &mut StreamInfo, rng: &Rng) -> Outcome {
        match self.prepare(head, info, rng) {
            Ok(()) => Outcome::Continue,
            Err(refusal) => Outcome::Refuse(refusal),
        }
    }

    /// Prepares the request that an internal redirect makes: where it goes is new, who asks is known already.
    #[cold]
    pub fn on_redirected(&self, head: &mut RequestHead, info: &mut StreamInfo) -> Outcome {
        match self.normalization.apply(head, info.connection.local.port()) {
            Ok(port) => {
                info.connect_port = port;
                Outcome::Continue
            }
            Err(refusal) => Outcome::Refuse(refusal),
        }
    }

    #[inline]
    fn prepare(&self, head: &mut RequestHead, info: &mut StreamInfo, rng: &Rng) -> Result<(), Refusal> {
        if let Err(refusal) = self.check_scheme(head, info) {
            // As Envoy, whose codec refuses it: neither logs nor mappers see the request.
            head.clear();
            return Err(refusal);
        }
        let port = self.normalization.apply(head, info.connection.local.port())?;
        info.connect_port = port;
        if !self.early_mutations.is_empty() {
            self.mutate_early(head, info, rng);
        }
        sanitize::hop_by_hop(head);
        let client = self.forwarding.apply(head, info).map_err(Refusal::RejectedViaIpDetection)?;
        if client.internal {
            head.headers.append(Known::XEnvoyInternal, b"true");
        }
        sanitize::steering(head, client);
        self.introduce(head);
        if client.edge
            && let Some(ip) = info.remote_address().ip()
        {
            IpLine::new(b"x-envoy-external-address", ip)
                .set_in(&mut head.headers, Known::XEnvoyExternalAddress);
        }
        self.request_ids.apply(&mut head.headers, client.edge, rng);
        self.client_cert.apply(head, info);
        Ok(())
    }

    /// What is configured to change before anything is made of the headers.
    #[cold]
    fn mutate_early(&self, head: &mut RequestHead, info: &StreamInfo, rng: &Rng) {
        let cx = FormatContext {
            info,
            request: None,
            response: None,
            trailers: None,
            local_reply_body: b"",
            log_type: LogType::NotSet,
            now: info.start,
            wall: info.start_wall,
            rng,
        };
        for mutations in &*self.early_mutations {
            mutations.apply_request(head, &cx);
        }
    }

    /// A target `https://…` on a connection that is not secured: refused where the peer is the client. Behind a
    /// proxy that ends TLS it is in order.
    #[inline]
    fn check_scheme(&self, head: &RequestHead, info: &StreamInfo) -> Result<(), Refusal> {
        let suspicious = head.headers.contains(Known::Scheme)
            && matches!(head.version, Version::Http10 | Version::Http11)
            && info.connection.tls().is_none()
            && matches!(self.forwarding.client, ClientAddress::Peer { hops: 0, .. });
        if suspicious && head.scheme().eq_ignore_ascii_case(b"https") {
            return Err(Refusal::Reply(LocalReply::https_on_plaintext()));
        }
        Ok(())
    }

    /// `add_user_agent` and `via`.
    #[inline]
    fn introduce(&self, head: &mut RequestHead) {
        let headers = &mut head.headers;
        if let Some(UserAgent { cluster, node }) = &self.user_agent {
            headers.set(Known::XEnvoyDownstreamServiceCluster, cluster.as_bytes());
            if headers.get(Known::UserAgent).unwrap_or_default().is_empty() {
                headers.set(Known::UserAgent, cluster.as_bytes());
            }
            if !node.is_empty() {
                headers.set(Known::XEnvoyDownstreamServiceNode, node.as_bytes());
            }
        }
        if !self.response.via.is_empty() {
            headers.append_joined(Known::Via, b", ", self.response.via.as_bytes());
        }
    }

    /// Gives a request the scheme of the connection that it goes out on, where that is configured.
    #[inline]
    pub fn on_upstream(&self, head: &mut RequestHead, secured: bool) {
        if self.forwarding.scheme.match_upstream {
            let scheme = if secured { Scheme::Https } else { Scheme::Http };
            head.headers.set(Known::Scheme, scheme.as_str().as_bytes());
        }
    }

    /// What is done about request ids.
    pub fn request_ids(&self) -> &RequestIds {
        &self.request_ids
    }

    /// This machine's address, which stands for it in `x-forwarded-for`.
    pub fn own_address(&self) -> IpAddr {
        self.forwarding.own_address
    }

    /// Gives a 1xx other than 101 its last headers.
    pub fn on_interim(&self, interim: &mut ResponseHead, request: &RequestHead) {
        self.response.apply_to_interim(interim, request);
    }

    /// Gives a response its last headers. `date` is the text of the present moment.
    #[inline]
    pub fn on_response(&self, response: &mut ResponseHead, request: &RequestHead, date: &[u8]) {
        self.response.apply(response, request, date);
    }
}

#[cfg(test)]
mod tests;
