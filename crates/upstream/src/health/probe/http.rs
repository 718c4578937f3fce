//! `http_health_check`

use super::http1::Http1;
use super::http2::Http2;
use super::{Connection, Exchanged, Gone, Judge, Probe, contains_in_order};
use crate::health::config::HttpCheck;
use crate::health::session::{Failure, FailureKind, Verdict};
use crate::stats::HealthCheckStats;
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead, Version};
use nuncio_core::config::Fraction;
use nuncio_core::format::{FormatContext, LogType};
use nuncio_core::header::HeaderMutations;
use nuncio_core::stream_info::{ConnectionInfo, HostInfo, StreamInfo};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

impl<'a> Probe<'a> {
    pub(super) async fn http(&mut self, check: &HttpCheck) -> Result<Exchanged, Gone> {
        if self.connection.is_none() {
            let (stream, tls) = self.dialer.open(self.host, self.config).await?;
            let http2 = match tls.as_ref().filter(|_| check.by_alpn).map(|info| &*info.alpn) {
                Some(b"h2") => true,
                Some(b"http/1.1") => false,
                _ => check.http2,
            };
            self.connection = Some(match http2 {
                true => Connection::Http2(Box::new(Http2::new(stream, self.dialer))),
                false => {
                    self.dialer.begin_http1();
                    Connection::Http1(Http1::new(stream))
                }
            });
        }
        let mut head = RequestHead::new();
        head.headers.append(Known::Method, check.method.as_bytes());
        head.headers.append(Known::Path, check.path.as_bytes());
        head.headers.append(Known::Authority, self.authority(&check.host).as_bytes());
        let version = match &self.connection {
            Some(Connection::Http2(_)) => Version::Http2,
            _ => Version::Http11,
        };
        self.complete(&mut head, version, &check.headers);
        if !check.body.is_empty() {
            head.headers.set(Known::ContentLength, check.body.len().to_string().as_bytes());
        } else if version == Version::Http11 && matches!(check.method, "POST" | "PUT" | "PATCH" | "OPTIONS") {
            head.headers.set(Known::ContentLength, b"0");
        }
        let verifies = self.verifies();
        let mut judge = HttpJudge { check, verifies, stats: self.stats, head: None, body: Vec::new() };
        match &mut self.connection {
            Some(Connection::Http1(http1)) => http1.exchange(&head, &check.body, &mut judge).await,
            Some(Connection::Http2(http2)) => http2.exchange(&head, &check.body, &mut judge).await,
            Some(Connection::Tcp(_)) | None => Err(Gone),
        }
    }

    /// What every request for a check says beside what it asks for, and what configuration adds.
    pub(super) fn complete(&self, head: &mut RequestHead, version: Version, changes: &HeaderMutations) {
        let secured = self.dialer.is_secured(self.host);
        head.headers.append(Known::Scheme, if secured { b"https" } else { b"http" });
        head.headers.append("user-agent", b"Envoy/HC");
        if changes.is_empty() {
            return;
        }
        let worker = &self.dialer.worker;
        let (now, wall) = (worker.now(), worker.wall());
        let mut info =
            StreamInfo::new(now, wall, Rc::new(ConnectionInfo::of_proxy(now)), worker.rng().next());
        info.protocol = Some(version);
        let spec = self.host.spec();
        info.upstream.host = Some(Rc::new(HostInfo {
            address: self.host.address(),
            name: Arc::clone(&spec.hostname),
            locality: Arc::clone(&spec.locality),
            metadata: self.host.metadata(),
            locality_metadata: spec.locality_metadata.clone(),
        }));
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
        changes.apply_own(head, &cx);
    }

    /// Whether the service's name is compared, where it is asked for (`health_check.verify_cluster`).
    fn verifies(&self) -> bool {
        let all = Fraction::new(100, 100);
        let share = self.dialer.cluster.runtime().fraction("health_check.verify_cluster", all);
        share.hit(self.dialer.worker.rng().next())
    }
}

struct HttpJudge<'a> {
    check: &'a HttpCheck,
    verifies: bool,
    stats: &'a HealthCheckStats,
    head: Option<ResponseHead>,
    body: Vec<u8>,
}

impl Judge for HttpJudge<'_> {
    fn head(&mut self, head: &ResponseHead, end_stream: bool) -> Option<Verdict> {
        self.head = Some(head.clone());
        end_stream.then(|| self.verdict())
    }

    fn data(&mut self, data: &[u8], end_stream: bool) -> Option<Verdict> {
        if !self.check.receive.is_empty() {
            let room = self.check.response_buffer.saturating_sub(self.body.len());
            self.body.extend(data.iter().take(room));
        }
        end_stream.then(|| self.verdict())
    }

    fn trailers(&mut self, _: &HeaderMap) -> Option<Verdict> {
        Some(self.verdict())
    }
}

impl HttpJudge<'_> {
    fn verdict(&self) -> Verdict {
        let Some(head) = &self.head else { return Verdict::failed(FailureKind::Network) };
        let headers = &head.headers;
        let is_in = |ranges: &[Range<i64>]| ranges.iter().any(|r| r.contains(&i64::from(head.status)));
        let leaving = headers.contains(Known::XEnvoyImmediateHealthCheckFail);
        let wrong = |retriable: bool, leaving: bool| {
            Verdict::Bad(Failure { kind: FailureKind::Active, retriable, status: head.status, leaving })
        };
        if !contains_in_order(&self.body, &self.check.receive) {
            return wrong(false, leaving);
        }
        if !is_in(&self.check.expected) {
            return wrong(is_in(&self.check.retriable), leaving);
        }
        if let Some(service) = self.check.service.as_ref().filter(|_| self.verifies) {
            self.stats.verify_cluster.inc();
            let name = headers.get(Known::XEnvoyUpstreamHealthcheckedCluster).unwrap_or_default();
            if !service.matches(name) {
                return wrong(false, false);
            }
        }
        Verdict::Good { degraded: headers.contains(Known::XEnvoyDegraded) }
    }
}
