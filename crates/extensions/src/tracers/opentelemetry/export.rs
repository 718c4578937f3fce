//! How OTLP reports are sent: unary gRPC calls, or bodies of HTTP requests.

use super::super::collector::{HttpCollector, Report};
use nuncio_core::config::CompileContext;
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_proto::pb::envoy::config::core::v3::{GrpcService, HttpService};
use nuncio_upstream::call::grpc::{GrpcCaller, GrpcMethod};

/// The method that takes reports.
const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Where reports go, and how.
pub(super) enum Exporter {
    /// `http_service`, and what the requests' `user-agent` is.
    Http(Box<HttpCollector>, Box<str>),
    /// `grpc_service`
    Grpc(Box<GrpcMethod>),
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
        let caller = GrpcCaller {
            method: METHOD,
            own_address: env.own_address,
            retry_plugins: env.retry_plugins,
            user_agent: Some(&user_agent(version)),
            formats: false,
            timeout: None,
        };
        GrpcMethod::compile(message, caller, cx).map(Box::new).map(Self::Grpc)
    }

    /// Sends a report. What becomes of it shows in the cluster's stats.
    pub(super) async fn send(&self, world: &World, body: &[u8]) {
        match self {
            Self::Http(collector, user_agent) => {
                let report = Report {
                    content_type: "application/x-protobuf",
                    user_agent: Some(user_agent),
                    body,
                    timeout: collector.timeout,
                };
                let _ = collector.post(world, report).await;
            }
            Self::Grpc(method) => {
                let _ = method.call(&world.clusters, body).await;
            }
        }
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
