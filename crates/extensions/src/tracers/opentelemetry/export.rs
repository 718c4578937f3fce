//! How OTLP reports are sent: unary gRPC calls, or bodies of HTTP requests.

use super::super::collector::{self, HttpCollector, Report};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::CompileContext;
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_proto::pb::envoy::config::core::v3::{GrpcService, HeaderValue, HttpService, grpc_service};

/// The method that takes reports.
const METHOD: &[u8] = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Where reports go, and how.
pub(super) enum Exporter {
    /// `http_service`, and what the requests' `user-agent` is.
    Http(Box<HttpCollector>, Box<str>),
    /// `grpc_service`
    Grpc {
        cluster: Box<str>,
        /// The head of each call.
        head: Box<RequestHead>,
    },
}

fn user_agent(version: &str) -> String {
    format!("OTel-OTLP-Exporter-Envoy/{version}")
}

/// Host and path of a URI, with a scheme or without.
fn parts(uri: &str) -> (&str, &str) {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    }
}

impl Exporter {
    pub(super) fn http(
        message: HttpService,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        version: &str,
    ) -> Option<Self> {
        let collector = HttpCollector::compile(message, cx, env, parts)?;
        Some(Self::Http(Box::new(collector), user_agent(version).into()))
    }

    pub(super) fn grpc(
        message: GrpcService,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        version: &str,
    ) -> Option<Self> {
        // As in Envoy a report may take as long as it likes.
        let GrpcService { target_specifier, timeout: _, initial_metadata } = message;
        let Some(grpc_service::TargetSpecifier::EnvoyGrpc(target)) = target_specifier else {
            if !cx.told_of("google_grpc") {
                cx.error("target_specifier: value is required");
            }
            return None;
        };
        // Nobody reads what the collector says.
        let grpc_service::EnvoyGrpc {
            cluster_name,
            authority,
            max_receive_message_length: _,
            skip_envoy_headers,
        } = target;
        let mut head = RequestHead::new();
        let headers = &mut head.headers;
        let authority = if authority.is_empty() { &cluster_name } else { &authority };
        headers.set(Known::Method, b"POST");
        headers.set(Known::Scheme, b"http");
        headers.set(Known::Authority, authority.as_bytes());
        headers.set(Known::Path, METHOD);
        headers.set(Known::Te, b"trailers");
        headers.set(Known::ContentType, b"application/grpc");
        headers.set(Known::UserAgent, user_agent(version).as_bytes());
        for HeaderValue { key, value, raw_value } in initial_metadata {
            let key = key.to_ascii_lowercase();
            let value = if value.is_empty() { raw_value.to_vec() } else { value.into_bytes() };
            match key.ends_with("-bin") {
                true => headers.append(&*key, STANDARD.encode(value).as_bytes()),
                false => headers.append(&*key, &value),
            }
        }
        if !skip_envoy_headers {
            collector::own_headers(&mut head, env.own_address, None);
        }
        Some(Self::Grpc { cluster: cluster_name.into(), head: Box::new(head) })
    }

    /// Sends a report. What becomes of it shows in the cluster's stats.
    pub(super) async fn send(&self, world: &World, body: &[u8]) {
        let _ = match self {
            Self::Http(collector, user_agent) => {
                let report = Report {
                    content_type: "application/x-protobuf",
                    user_agent: Some(user_agent),
                    body,
                    timeout: collector.timeout,
                };
                collector.post(world, report).await
            }
            Self::Grpc { cluster, head } => {
                // One message, not compressed, with its length before it.
                let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
                let message = [&[0], &length[..], body].concat();
                collector::send(world, cluster, head, &message, None).await
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn a_uri_without_a_scheme_begins_with_its_host() {
        assert_eq!(parts("https://h:1/p?q"), ("h:1", "/p?q"));
        assert_eq!(parts("h:1/p"), ("h:1", "/p"));
        assert_eq!(parts("h"), ("h", "/"));
        assert_eq!(parts("/p"), ("", "/p"));
    }
}
