//! Where reports go over HTTP: a cluster, a path, headers.

use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::CompileContext;
use nuncio_core::format::{Commands, Format, FormatContext, LogType};
use nuncio_core::stream_info::StreamInfo;
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_proto::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, HttpService, HttpUri, http_uri,
};
use nuncio_upstream::call::{self, Call};
use std::net::IpAddr;
use std::time::Duration;

/// A collector that takes reports as bodies of requests.
pub(super) struct HttpCollector {
    pub(super) cluster: Box<str>,
    pub(super) host: Box<str>,
    pub(super) path: Box<str>,
    pub(super) headers: Box<[(Box<str>, Format)]>,
    /// This machine, as the collector is told of it.
    pub(super) own_address: IpAddr,
}

impl HttpCollector {
    /// Compiles the message.
    pub(super) fn compile(
        message: HttpService,
        cx: &CompileContext<'_>,
        env: &CompileEnv<'_>,
    ) -> Option<Self> {
        let HttpService { http_uri, request_headers_to_add } = message;
        let uri_cx = cx.field("http_uri");
        // The time that a report may take is a runtime key's.
        let Some(HttpUri { uri, timeout: _, http_upstream_type }) = http_uri else {
            uri_cx.error("the collector's http_uri is not set");
            return None;
        };
        let http_uri::HttpUpstreamType::Cluster(cluster) = http_upstream_type?;
        let (host, path) = parts(&uri);
        let headers = request_headers_to_add.into_iter().enumerate();
        let headers =
            headers.map(|(i, header)| compile_header(header, &cx.item("request_headers_to_add", i)));
        Some(Self {
            host: if host.is_empty() { cluster.as_str().into() } else { host.into() },
            path: path.into(),
            cluster: cluster.into(),
            headers: headers.collect::<Option<_>>()?,
            own_address: env.own_address,
        })
    }

    /// Sends a report. The status of its answer; `None` where there is none in time, or no such cluster.
    pub(super) async fn post(
        &self,
        world: &World,
        content_type: &str,
        user_agent: Option<&str>,
        body: &[u8],
        timeout: Duration,
    ) -> Result<u16, Unsent> {
        let cluster = world.clusters.get(&self.cluster).ok_or(Unsent::NoCluster)?;
        let head = self.head(world, content_type, user_agent, timeout);
        let call = Call { head: &head, body: Some(body), keep: 0 };
        let answer = match tokio::time::timeout(timeout, call.send(&cluster)).await {
            Ok(answer) => answer,
            Err(_) => {
                call::timed_out(&cluster);
                return Err(Unsent::NoAnswer);
            }
        };
        answer.map(|answer| answer.head.status).map_err(|_| Unsent::NoAnswer)
    }

    fn head(
        &self,
        world: &World,
        content_type: &str,
        user_agent: Option<&str>,
        timeout: Duration,
    ) -> RequestHead {
        let mut head = RequestHead::new();
        let headers = &mut head.headers;
        headers.set(Known::Method, b"POST");
        headers.set(Known::Scheme, b"http");
        headers.set(Known::Authority, self.host.as_bytes());
        headers.set(Known::Path, self.path.as_bytes());
        headers.set(Known::ContentType, content_type.as_bytes());
        if let Some(name) = user_agent {
            headers.set(Known::UserAgent, name.as_bytes());
        }
        own_headers(&mut head, self.own_address, Some(timeout));
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

/// Host and path of a URI; what has no scheme is a path.
fn parts(uri: &str) -> (&str, &str) {
    let Some((_, rest)) = uri.split_once("://") else { return ("", uri) };
    match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
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

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn a_uri_without_a_scheme_is_a_path() {
        assert_eq!(parts("https://h:1/p?q"), ("h:1", "/p?q"));
        assert_eq!(parts("http://h"), ("h", "/"));
        assert_eq!(parts("/p"), ("", "/p"));
        assert_eq!(parts("h/p"), ("", "h/p"));
    }
}
