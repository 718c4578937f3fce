//! Load reports out of band: each host tells over a stream of its own (`xds.service.orca.v3.OpenRcaService`).

use super::{LoadReport, LoadReports};
use crate::cluster::ClusterShared;
use crate::discovery::Discovery;
use crate::health::{Dialer, FailureKind, Gone, Http2, Judge, Verdict};
use crate::host::HostShared;
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_core::address::Address;
use nuncio_core::format::is_grpc;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::Metadata;
use prost::Message;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How hosts are asked for reports (`oob_reporting_period`, `OrcaOobReportingConfig`).
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfBand {
    /// How often hosts shall report.
    pub period: Duration,
    /// `port_value`, in place of the host's own.
    pub port: Option<u16>,
    /// `authority`; empty: the host's name, or where it listens.
    pub authority: Box<str>,
    /// `transport_socket_match_criteria`, in place of the host's metadata.
    pub criteria: Option<Metadata>,
}

nuncio_core::stats_block! {
    /// `cluster.NAME.lb_orca_oob.`
    pub struct OutOfBandStats {
        gauge active_sessions,
        counter report_errors,
        counter reports_received,
        counter stream_failures,
        counter stream_terminated,
    }
}

/// The wait before a stream is begun again: by chance below the first, doubled with each failure up to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A longer report is none.
const MAX_REPORT: usize = 64 << 10;

/// `UNIMPLEMENTED`
const UNIMPLEMENTED: &[u8] = b"12";

/// The streams to a cluster's hosts.
pub(super) struct Streams {
    asking: Rc<Asking>,
    /// A host's stream ends when this is dropped.
    kept: HashMap<*const HostShared, (Arc<HostShared>, oneshot::Sender<()>)>,
}

/// What all streams of a cluster share.
struct Asking {
    dialer: Dialer,
    /// What reports are for.
    purpose: LoadReports,
    how: OutOfBand,
    stats: Scope<OutOfBandStats>,
}

impl Streams {
    /// None yet.
    pub(super) fn new(
        discovery: &Discovery,
        cluster: &Arc<ClusterShared>,
        purpose: &LoadReports,
        how: &OutOfBand,
    ) -> Self {
        let prefix = format!("{}lb_orca_oob.", cluster.stat_prefix());
        let stats = discovery.set.borrow().registry().scope(&prefix);
        let (dialer, purpose, how) = (Dialer::new(discovery, cluster), purpose.clone(), how.clone());
        let asking = Asking { dialer, purpose, how, stats };
        Self { asking: Rc::new(asking), kept: HashMap::new() }
    }

    /// Ends the streams of hosts that are gone, and begins those of new ones.
    pub(super) fn keep_up(&mut self) {
        let hosts = self.asking.dialer.cluster.hosts();
        let there: HashMap<_, _> = hosts.hosts().map(|host| (Arc::as_ptr(host), host)).collect();
        self.kept.retain(|host, _| there.contains_key(host));
        for (at, host) in there {
            self.kept.entry(at).or_insert_with(|| {
                let (kept, ends) = oneshot::channel();
                let (asking, host) = (Rc::clone(&self.asking), Arc::clone(host));
                self.asking.dialer.worker.spawn({
                    let host = Arc::clone(&host);
                    async move {
                        tokio::select! {
                            () = asking.listen(&host) => {}
                            _ = ends => {}
                        }
                    }
                });
                (host, kept)
            });
        }
    }
}

/// One is added to the sessions for as long as it lives.
struct Session<'a>(&'a OutOfBandStats);

impl<'a> Session<'a> {
    fn new(stats: &'a OutOfBandStats) -> Self {
        stats.active_sessions.inc();
        Self(stats)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.0.active_sessions.dec();
    }
}

impl Asking {
    /// Listens to one host, until it says that it does not know the method.
    async fn listen(&self, host: &Arc<HostShared>) {
        let _session = Session::new(&self.stats);
        // So that not all hosts are asked at once.
        tokio::time::sleep(self.chance(self.how.period)).await;
        let mut back_off = BACK_OFF.0;
        loop {
            let mut stream = Reports { asking: self, host, input: Vec::new(), told: false, unknown: false };
            // Whatever it comes to, it is over.
            let _ = self.ask(host, &mut stream).await;
            if stream.unknown {
                self.stats.stream_terminated.inc();
                return;
            }
            self.stats.stream_failures.inc();
            if stream.told {
                back_off = BACK_OFF.0;
            }
            tokio::time::sleep(self.chance(back_off)).await;
            back_off = (back_off * 2).min(BACK_OFF.1);
        }
    }

    fn chance(&self, below: Duration) -> Duration {
        Duration::from_millis(self.dialer.worker.rng().below(below.as_millis().max(1) as u64))
    }

    /// One stream, to its end.
    async fn ask(&self, host: &Arc<HostShared>, stream: &mut Reports<'_>) -> Result<(), Gone> {
        let how = &self.how;
        let address = match (host.address(), how.port) {
            (Address::Ip(ip), Some(port)) => Address::Ip(SocketAddr::new(ip.ip(), port)),
            (address, _) => address,
        };
        let http2 = [Box::from("h2")];
        let (bytes, secured) =
            self.dialer.open_at(host, &address, how.criteria.as_ref(), Some(&http2)).await?;
        let mut head = RequestHead::new();
        head.headers.append(Known::Method, b"POST");
        head.headers.append(
            Known::Scheme,
            match secured {
                Some(_) => b"https".as_slice(),
                None => b"http",
            },
        );
        head.headers.append(Known::Path, b"/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics");
        let dialed = address.to_string();
        let names = [&*how.authority, &*host.spec().hostname, &*dialed];
        let authority = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        head.headers.append(Known::Authority, authority.as_bytes());
        head.headers.append(Known::Te, b"trailers");
        head.headers.append(Known::ContentType, b"application/grpc");
        Http2::new(bytes, &self.dialer).exchange(&head, &request(how.period), stream).await?;
        Ok(())
    }
}

/// `OrcaLoadReportRequest`
#[derive(Clone, Copy, PartialEq, Message)]
struct ReportRequest {
    #[prost(message, optional, tag = "1")]
    report_interval: Option<prost_types::Duration>,
}

/// The one message of a request, with its length before it.
fn request(period: Duration) -> Vec<u8> {
    let message = ReportRequest { report_interval: period.try_into().ok() }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], &message].concat()
}

/// Takes the reports of one stream; its only verdict is that it is over.
struct Reports<'a> {
    asking: &'a Asking,
    host: &'a HostShared,
    input: Vec<u8>,
    /// It has told something.
    told: bool,
    /// The host does not know the method.
    unknown: bool,
}

const OVER: Option<Verdict> = Some(Verdict::failed(FailureKind::Network));

impl Reports<'_> {
    /// A whole message.
    fn take(&mut self, message: &[u8]) -> Option<()> {
        let report = LoadReport::decode(message).ok()?;
        let Asking { dialer, purpose, stats, how: _ } = self.asking;
        stats.reports_received.inc();
        self.told = true;
        purpose.take(&report, self.host.load(), dialer.worker.now());
        Some(())
    }
}

impl Judge for Reports<'_> {
    fn head(&mut self, head: &ResponseHead, end_stream: bool) -> Option<Verdict> {
        let status = head.headers.get("grpc-status");
        self.unknown = head.status == 404 || (end_stream && status == Some(UNIMPLEMENTED));
        let over = self.unknown || end_stream || head.status != 200 || !is_grpc(&head.headers);
        if over { OVER } else { None }
    }

    fn data(&mut self, data: &[u8], end_stream: bool) -> Option<Verdict> {
        self.input.extend_from_slice(data);
        while let Some((&[flag, a, b, c, d], rest)) = self.input.split_first_chunk() {
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            if flag != 0 || len > MAX_REPORT {
                return OVER;
            }
            let Some(message) = rest.get(..len) else { break };
            let message = message.to_vec();
            let behind = self.input.len() - rest.len() + len;
            self.input.drain(..behind);
            if self.take(&message).is_none() {
                return OVER;
            }
        }
        if end_stream { OVER } else { None }
    }

    fn trailers(&mut self, trailers: &HeaderMap) -> Option<Verdict> {
        self.unknown = trailers.get("grpc-status") == Some(UNIMPLEMENTED);
        OVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_often_and_has_its_length_before_it() {
        let wanted = [0, 0, 0, 0, 10, 0x0a, 8, 0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
        assert_eq!(request(Duration::from_millis(1500)), wanted);
    }
}
