//! `envoy.filters.http.csrf`: requests that change something have to come from a page of the same origin, or of one
//! that is named.

use super::frame::{Framed, Live, compiled, of_route};
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::StringMatcher;
use nuncio_core::runtime::{Runtime, RuntimeFraction};
use nuncio_core::stats::Scope;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Request, RouteSays};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_proto::pb::envoy::extensions::filters::http::csrf::v3::CsrfPolicy;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

nuncio_core::stats_block! {
    /// What the filter counts, below `http.PREFIX.csrf.`.
    struct CsrfStats {
        counter missing_source_origin,
        counter request_invalid,
        counter request_valid,
    }
}

/// Compiles the filter's message.
pub struct CsrfFactory;

impl HttpFilterFactory for CsrfFactory {
    type Config = CsrfPolicy;
    type PerRoute = CsrfPolicy;

    fn compile(&self, message: CsrfPolicy, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<CsrfFilter>(Policy::compile(message, cx)?)
    }

    fn compile_route(
        &self,
        message: CsrfPolicy,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        of_route(Policy::compile(message, cx)?)
    }
}

/// Whom requests may come from; that of a route stands for all of the filter's.
struct Policy {
    enabled: Option<RuntimeFraction>,
    shadow: Option<RuntimeFraction>,
    /// `additional_origins`, by host and port.
    others: Box<[StringMatcher]>,
}

impl Policy {
    fn compile(message: CsrfPolicy, cx: &CompileContext<'_>) -> Option<Self> {
        let CsrfPolicy { filter_enabled, shadow_enabled, additional_origins } = message;
        let others = additional_origins
            .iter()
            .enumerate()
            .map(|(i, m)| StringMatcher::compile(m, &cx.item("additional_origins", i)))
            .collect::<Option<_>>()?;
        Some(Self {
            enabled: filter_enabled.as_ref().map(RuntimeFraction::compile),
            shadow: shadow_enabled.as_ref().map(RuntimeFraction::compile),
            others,
        })
    }

    fn allows(&self, source: &[u8], head: &RequestHead) -> bool {
        source == host_and_port(head.authority()) || self.others.iter().any(|m| m.matches(source))
    }
}

fn falls_in(fraction: Option<&RuntimeFraction>, runtime: &Runtime, random: u64) -> bool {
    fraction.is_some_and(|f| f.enabled(runtime, random))
}

/// One stream's filter.
struct CsrfFilter {
    live: Rc<Live<Self>>,
    policy: Arc<Policy>,
}

impl Framed for CsrfFilter {
    type Settings = Policy;
    type Stats = Scope<CsrfStats>;

    fn stat_prefix(_: &Policy, hcm: &str) -> String {
        format!("{hcm}csrf.")
    }

    fn make(live: Rc<Live<Self>>, policy: Arc<Policy>, _: RouteSays<'_>) -> Option<Self> {
        let runtime = &live.world.runtime;
        let of_none = |f: &Option<RuntimeFraction>| f.as_ref().is_none_or(|f| f.is_never(runtime));
        let watches = !(of_none(&policy.enabled) && of_none(&policy.shadow));
        watches.then_some(Self { live, policy })
    }
}

impl HttpFilter for CsrfFilter {
    fn sees_responses(&self) -> bool {
        false
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _end_stream: bool) -> Flow {
        let Request { head, info, .. } = request;
        let (runtime, stats) = (&self.live.world.runtime, &self.live.stats);
        let enabled = falls_in(self.policy.enabled.as_ref(), runtime, info.random);
        let watched = enabled || falls_in(self.policy.shadow.as_ref(), runtime, info.random);
        if !watched || !matches!(head.method(), b"POST" | b"PUT" | b"DELETE" | b"PATCH") {
            return Flow::Continue;
        }
        let source = source(head);
        if source.is_empty() {
            stats.missing_source_origin.inc();
        } else if self.policy.allows(source, head) {
            stats.request_valid.inc();
            return Flow::Continue;
        } else {
            stats.request_invalid.inc();
        }
        if !enabled {
            return Flow::Continue;
        }
        let reply =
            LocalReply::new(403, "csrf_origin_mismatch").with_body(ReplyBody::Static("Invalid origin"));
        Flow::Reply(reply)
    }
}

/// Where the request comes from: the host and port of its `origin`, else of its `referer`; empty where it says
/// neither.
fn source(head: &RequestHead) -> &[u8] {
    let of = |name: Known| head.headers.get(name).unwrap_or_default();
    match of(Known::Origin) {
        // An origin that browsers do not tell (Fetch, section 3.1).
        b"null" => b"",
        b"" => host_and_port(of(Known::Referer)),
        origin => host_and_port(origin),
    }
}

/// The authority of an absolute URL without its userinfo; what is no URL stays as it is.
fn host_and_port(url: &[u8]) -> &[u8] {
    let Some(scheme) = url.windows(3).position(|w| w == b"://") else { return url };
    let rest = url.get(scheme + 3..).unwrap_or_default();
    let authority = rest.split(|b| matches!(b, b'/' | b'?' | b'#')).next().unwrap_or_default();
    if authority.is_empty() {
        return url;
    }
    authority.rsplit(|b| *b == b'@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_told_by_host_and_port() {
        for (url, host) in [
            ("https://a.example", "a.example"),
            ("http://a.example:81/x?y#z", "a.example:81"),
            ("http://u:p@a.example?q", "a.example"),
            ("a.example:80", "a.example:80"),
            ("null", "null"),
            ("https://", "https://"),
            ("ftp://a.example", "a.example"),
        ] {
            assert_eq!(host_and_port(url.as_bytes()), host.as_bytes(), "{url}");
        }
    }
}
