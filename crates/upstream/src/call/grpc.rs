//! Unary gRPC calls of the proxy's own (`envoy.config.core.v3.GrpcService`).

use super::{Answer, Call, Retries};
use crate::manager::ClusterManager;
use crate::retry_plugin::RetryPlugins;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use nuncio_core::config::CompileContext;
use nuncio_core::format::{Commands, Format, FormatContext};
use nuncio_proto::pb::envoy::config::core::v3::{GrpcService, HeaderValue, grpc_service};
use std::net::IpAddr;
use std::time::Duration;

/// The longest answer that is read, in bytes.
const MOST: usize = 4 << 20;

/// Who asks, beyond what the message says.
#[derive(Clone, Copy)]
pub struct GrpcCaller<'a> {
    /// `/package.Service/Method`
    pub method: &'a str,
    /// This machine, as services are told of it.
    pub own_address: IpAddr,
    /// What may be plugged into retries.
    pub retry_plugins: &'a RetryPlugins,
    /// The `user-agent`, where there is one.
    pub user_agent: Option<&'a str>,
    /// Whether `initial_metadata` is formatted for a stream, or goes as it is.
    pub formats: bool,
    /// How long an answer may take; `None`: as long as it likes.
    pub timeout: Option<Duration>,
}

/// A method of a service that is called.
#[derive(Debug)]
pub struct GrpcMethod {
    cluster: Box<str>,
    /// The head of each call.
    head: RequestHead,
    /// Metadata that hangs on the stream that it is called for.
    metadata: Box<[(Box<str>, Format)]>,
    timeout: Option<Duration>,
    retries: Option<Retries>,
}

/// A call without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrpcError {
    /// The cluster is not there.
    #[error("the cluster is not there")]
    NoCluster,
    /// Nobody answered, too late, or with something that is no answer.
    #[error("no answer")]
    NoAnswer,
    /// The answer's status is not 0.
    #[error("the answer's status is {0}")]
    Status(u32),
}

impl GrpcError {
    /// An answer that is none.
    pub const BROKEN: Self = Self::Status(INTERNAL);

    /// The status that stands for it (`UNAVAILABLE` where nobody answered).
    pub fn status(self) -> u32 {
        match self {
            Self::NoCluster | Self::NoAnswer => 14,
            Self::Status(status) => status,
        }
    }
}

impl GrpcMethod {
    /// Compiles the message. `None`: refused, with the reason in `cx`.
    pub fn compile(message: GrpcService, caller: GrpcCaller<'_>, cx: &CompileContext<'_>) -> Option<Self> {
        // What the message says of time is its caller's: as in Envoy, some do not look at it.
        let GrpcService { target_specifier, timeout: _, initial_metadata, retry_policy } = message;
        let Some(grpc_service::TargetSpecifier::EnvoyGrpc(target)) = target_specifier else {
            if !cx.told_of("google_grpc") {
                cx.error("target_specifier: value is required");
            }
            return None;
        };
        // Answers are bounded here whatever it says.
        let grpc_service::EnvoyGrpc {
            cluster_name,
            authority,
            max_receive_message_length: _,
            skip_envoy_headers,
        } = target;
        let retries = match retry_policy {
            None => None,
            Some(policy) => {
                Some(Retries::compile(policy, None, &cx.field("retry_policy"), caller.retry_plugins)?)
            }
        };
        let mut head = RequestHead::new();
        let headers = &mut head.headers;
        let authority = if authority.is_empty() { &cluster_name } else { &authority };
        headers.set(Known::Method, b"POST");
        headers.set(Known::Scheme, b"http");
        headers.set(Known::Authority, authority.as_bytes());
        headers.set(Known::Path, caller.method.as_bytes());
        headers.set(Known::Te, b"trailers");
        headers.set(Known::ContentType, b"application/grpc");
        if let Some(name) = caller.user_agent {
            headers.set(Known::UserAgent, name.as_bytes());
        }
        if let Some(timeout) = caller.timeout {
            headers.set("grpc-timeout", grpc_timeout(timeout).as_bytes());
            let patience = retries.as_ref().map_or(timeout, |retries| retries.patience(timeout));
            headers.set_number(Known::XEnvoyExpectedRqTimeoutMs, patience.as_millis() as u64);
        }
        if !skip_envoy_headers {
            headers.set(Known::XEnvoyInternal, b"true");
            headers.set(Known::XForwardedFor, caller.own_address.to_string().as_bytes());
        }
        let mut metadata = Vec::new();
        for (i, HeaderValue { key, value, raw_value }) in initial_metadata.into_iter().enumerate() {
            let key = key.to_ascii_lowercase();
            if caller.formats && value.contains('%') {
                match Format::with(&value, &Commands::default(), true) {
                    Ok(format) => metadata.push((key.into(), format)),
                    Err(error) => {
                        cx.item("initial_metadata", i).field("value").error(error.to_string());
                        return None;
                    }
                }
                continue;
            }
            let value = if value.is_empty() { raw_value } else { value.into_bytes() };
            add(headers, &key, &value);
        }
        let (cluster, timeout) = (cluster_name.into(), caller.timeout);
        Some(Self { cluster, head, metadata: metadata.into(), timeout, retries })
    }

    /// The head of a call for a stream.
    pub fn head(&self, cx: &FormatContext<'_>) -> RequestHead {
        let mut head = self.head.clone();
        for (name, format) in &self.metadata {
            let mut value = Vec::new();
            format.render(cx, &mut value);
            add(&mut head.headers, name, &value);
        }
        head
    }

    /// The cluster of its service.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// What the service is called.
    pub fn authority(&self) -> &[u8] {
        self.head.authority()
    }

    /// Calls it for nobody's stream. The answer's message.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn call(&self, clusters: &ClusterManager, message: &[u8]) -> Result<Vec<u8>, GrpcError> {
        self.send(clusters, &self.head, message).await.1
    }

    /// Calls it with that head. Bytes on the wire, sent and received, where there was an answer, and the answer's message.
    ///
    /// # Errors
    /// There is no such cluster, no answer in time, or one that says that the call failed.
    pub async fn send(
        &self,
        clusters: &ClusterManager,
        head: &RequestHead,
        message: &[u8],
    ) -> (Option<(u64, u64)>, Result<Vec<u8>, GrpcError>) {
        let Some(cluster) = clusters.get(&self.cluster) else { return (None, Err(GrpcError::NoCluster)) };
        // One message, not compressed, with its length before it.
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
        let framed = [&[0], &length[..], message].concat();
        let call = Call { head, body: Some(&framed), keep: MOST, tried: None };
        match call.send_within(&cluster, self.timeout, self.retries.as_ref()).await {
            Err(_) => (None, Err(GrpcError::NoAnswer)),
            Ok(answer) => (Some((answer.wire_sent, answer.wire_received)), message_of(&answer)),
        }
    }
}

/// The message of an answer.
fn message_of(answer: &Answer) -> Result<Vec<u8>, GrpcError> {
    let headers = [&answer.trailers, &answer.head.headers];
    let said = headers.into_iter().find_map(|map| map.get("grpc-status"));
    let status = said.and_then(|said| std::str::from_utf8(said).ok()).and_then(|said| said.parse().ok());
    match (status, answer.head.status) {
        (Some(0), 200) => last_message(&answer.body).ok_or(GrpcError::BROKEN),
        (Some(0) | None, http) => Err(GrpcError::Status(of_http(http))),
        (Some(status), _) => Err(GrpcError::Status(status)),
    }
}

/// The status of a service that broke the protocol.
const INTERNAL: u32 = 13;

/// The status that stands for that of an answer over HTTP alone (grpc/doc/http-grpc-status-mapping.md).
fn of_http(status: u16) -> u32 {
    match status {
        400 => INTERNAL,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// Metadata; names that end in `-bin` have values in Base64.
fn add(headers: &mut HeaderMap, name: &str, value: &[u8]) {
    match name.ends_with("-bin") {
        true => headers.append(name, STANDARD.encode(value).as_bytes()),
        false => headers.append(name, value),
    }
}

/// At most eight digits and a unit, as the protocol wants it.
fn grpc_timeout(timeout: Duration) -> String {
    let millis = timeout.as_millis();
    match millis {
        0..100_000_000 => format!("{millis}m"),
        _ => format!("{}S", (millis / 1000).min(99_999_999)),
    }
}

/// The last whole message of a body; none where that has none, or a compressed one.
fn last_message(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut last = None;
    while let Some((flag, rest)) = body.split_first() {
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { break };
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let Some((message, rest)) = rest.split_at_checked(length) else { break };
        if *flag != 0 && length > 0 {
            return None;
        }
        (last, body) = (Some(message.to_vec()), rest);
    }
    last
}

#[cfg(test)]
mod tests;
