//! Where reports go over HTTP: a cluster, a path, headers.

use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::CompileContext;
use nuncio_core::format::{Commands, Format, FormatContext, LogType};
use nuncio_core::stream_info::StreamInfo;
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_proto::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, HttpService, HttpUri, http_uri,
};
use nuncio_upstream::call::Call;
use std::net::IpAddr;
use std::time::Duration;

/// A collector that takes reports as bodies of requests.
pub(super) struct HttpCollector {
    pub(super) cluster: Box<str>,
    pub(super) host: Box<str>,
    pub(super) path: Box<str>,
    pub(super) headers: Box<[(Box<str>, Format)]>,
    /// `http_uri.timeout`
    pub(super) timeout: Option<Duration>,
    /// This machine, as the collector is told of it.
    pub(super) own_address: IpAddr,
}

impl HttpCollector {
    /// Compiles the message; `parts` makes host and path of its URI.
    pub(super) fn compile(
        message: HttpService,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
        parts: fn(&str) -> (&str, &str),
    ) -> Option<Self> {
        let HttpService { http_uri, request_headers_to_add } = message;
        let uri_cx = cx.field("http_uri");
        let Some(HttpUri { uri, timeout, http_upstream_type }) = http_uri else {
            uri_cx.error("the collector's http_uri is not set");
            return None;
        };
        let http_uri::HttpUpstreamType::Cluster(cluster) = http_upstream_type?;
        let (host, path) = parts(&uri);
        let headers = request_headers_to_add.into_iter().enumerate();
        let headers =
            headers.map(|(i, header)| compile_header(header, &cx.item("request_headers_to_add", i)));
        Some(Self {
            host: host.into(),
            path: path.into(),
            cluster: cluster.into(),
            headers: headers.collect::<Option<_>>()?,
            timeout: nuncio_core::config::timeout(timeout.as_ref(), None, &uri_cx.field("timeout")),
            own_address: env.own_address,
        })
    }

    /// Sends a report. The status of its answer.
    ///
    /// # Errors
    /// There is no such cluster, or no answer in time.
    pub(super) async fn post(&self, world: &World, report: Report<'_>) -> Result<u16, Unsent> {
        let head = self.head(world, &report);
        send(world, &self.cluster, &head, report.body, report.timeout).await
    }

    fn head(&self, world: &World, report: &Report<'_>) -> RequestHead {
        let mut head = RequestHead::new();
        let headers = &mut head.headers;
        headers.set(Known::Method, b"POST");
        headers.set(Known::Scheme, b"http");
        headers.set(Known::Authority, self.host.as_bytes());
        headers.set(Known::Path, self.path.as_bytes());
        headers.set(Known::ContentType, report.content_type.as_bytes());
        if let Some(name) = report.user_agent {
            headers.set(Known::UserAgent, name.as_bytes());
        }
        own_headers(&mut head, self.own_address, report.timeout);
        if !self.headers.is_empty() {
            self.add_headers(world, &mut head);
        }
        head
    }

    /// `request_headers_to_add`: each takes the place of what is there. Nothing but the process can be asked.
    fn add_headers(&self, world: &World, head: &mut RequestHead) {
        let worker = &world.worker;
        let (now, wall) = (worker.now(), worker.wall());
        let info = StreamInfo::none(now, wall);
        let cx = FormatContext {
            info: &info,
            request: None,
            response: None,
            trailers: None,
            local_reply_body: b"",
            log_type: LogType::NotSet,
            now,
            wall,
            rng: worker.rng(),
        };
        for (name, format) in &self.headers {
            let mut value = Vec::new();
            format.render(&cx, &mut value);
            match &**name {
                "host" => head.headers.set(Known::Authority, &value),
                name => head.headers.set(name, &value),
            }
        }
    }
}

/// A report that goes out.
#[derive(Clone, Copy)]
pub(super) struct Report<'a> {
    pub(super) content_type: &'a str,
    pub(super) user_agent: Option<&'a str>,
    pub(super) body: &'a [u8],
    /// How long the answer may take.
    pub(super) timeout: Option<Duration>,
}

/// Sends a request of a tracer's own. The status of its answer.
///
/// # Errors
/// There is no such cluster, or no answer in time.
pub(super) async fn send(
    world: &World,
    cluster: &str,
    head: &RequestHead,
    body: &[u8],
    timeout: Option<Duration>,
) -> Result<u16, Unsent> {
    let cluster = world.clusters.get(cluster).ok_or(Unsent::NoCluster)?;
    let call = Call { head, body: Some(body), keep: 0, tried: None };
    let answer = call.send_within(&cluster, timeout, None).await;
    answer.map(|answer| answer.head.status).map_err(|_| Unsent::NoAnswer)
}

/// Why a report did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The cluster is not there.
    NoCluster,
    /// Nobody answered, or too late.
    NoAnswer,
}

/// What the router adds to requests of the proxy's own.
pub(super) fn own_headers(head: &mut RequestHead, own: IpAddr, timeout: Option<Duration>) {
    head.headers.set(Known::XEnvoyInternal, b"true");
    head.headers.set(Known::XForwardedFor, own.to_string().as_bytes());
    if let Some(timeout) = timeout {
        head.headers.set_number(Known::XEnvoyExpectedRqTimeoutMs, timeout.as_millis() as u64);
    }
}

fn compile_header(message: HeaderValueOption, cx: &CompileContext<'_>) -> Option<(Box<str>, Format)> {
    let HeaderValueOption { header, append: _, append_action: _, keep_empty_value: _ } = message;
    let HeaderValue { key, value, raw_value: _ } = header?;
    match Format::with(&value, &Commands::default(), false) {
        Ok(format) => Some((key.to_ascii_lowercase().into(), format)),
        Err(error) => {
            cx.field("header").field("value").error(error.to_string());
            None
        }
    }
}
