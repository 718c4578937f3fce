//! Asks a host how it is.

use super::config::{Check, HealthCheckConfig, HttpCheck, TcpCheck};
use super::session::Verdict;
use crate::pool::Connector;
use nuncio_codec::h1::{ClientCodec, ClientOptions, Event, HeaderCase};
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_core::address::Address;
use nuncio_net::stream::{ByteStream, ConnectOptions, poll_read_vec, poll_write_all};
use std::future::poll_fn;

/// A host's connection for checks, and whom to ask for.
pub(super) struct Probe<'a> {
    pub(super) connector: &'a dyn Connector,
    pub(super) options: &'a ConnectOptions,
    pub(super) address: Address,
    /// The `host` of requests.
    pub(super) authority: &'a str,
    /// Kept from check to check.
    pub(super) kept: Option<Kept>,
}

/// A connection that has carried a check already.
pub(super) struct Kept(Box<dyn ByteStream>, ClientCodec);

/// What an HTTP answer says besides the verdict.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// `x-envoy-immediate-health-check-fail`
    pub(super) leaving: bool,
    /// The service's name was compared.
    pub(super) verified: bool,
}

/// No answer.
struct Gone;

impl Probe<'_> {
    /// One check. Dropping it gives the connection up.
    pub(super) async fn check(&mut self, config: &HealthCheckConfig) -> (Verdict, Said) {
        match &config.check {
            Check::Http(check) => match self.http(check, config.reuse_connection).await {
                Ok(done) => done,
                Err(Gone) => (Verdict::Network, Said::default()),
            },
            Check::Tcp(check) => match self.tcp(check, config.reuse_connection).await {
                Ok(()) => (Verdict::Good { degraded: false }, Said::default()),
                Err(Gone) => (Verdict::Network, Said::default()),
            },
        }
    }

    async fn open(&mut self) -> Result<Kept, Gone> {
        if let Some(kept) = self.kept.take() {
            return Ok(kept);
        }
        let stream = self.connector.connect(&self.address, self.options).await.map_err(|_| Gone)?;
        Ok(Kept(stream, ClientCodec::new()))
    }

    async fn http(&mut self, check: &HttpCheck, reuse: bool) -> Result<(Verdict, Said), Gone> {
        let Kept(stream, mut codec) = self.open().await?;
        let mut out = Vec::new();
        let body = check.body.as_deref().unwrap_or_default();
        let head = request(check, self.authority);
        codec.encode_head(HeaderCase::Lower, &head, body.is_empty(), &mut out).map_err(|_| Gone)?;
        if !body.is_empty() {
            codec.encode_data(body, true, &mut out);
        }
        write(&*stream, &out).await?;
        let (mut head, mut trailers) = (ResponseHead::default(), HeaderMap::new());
        let (mut input, mut got, mut headed) = (Vec::with_capacity(4096), Vec::new(), false);
        let options = ClientOptions::default();
        let mut complete = false;
        while !complete {
            let decoded = codec.decode(&options, &input, &mut head, &mut trailers).map_err(|_| Gone)?;
            match decoded.event {
                Event::More => {}
                Event::Head { end_stream } => (headed, complete) = (true, end_stream),
                Event::Informational => head.clear(),
                Event::Data { at, end_stream } => {
                    let room = check.response_buffer.saturating_sub(got.len());
                    got.extend(input.get(at).unwrap_or_default().iter().take(room));
                    complete = end_stream;
                }
                Event::Trailers | Event::End => complete = true,
            }
            input.drain(..decoded.consumed.min(input.len()));
            if decoded.consumed > 0 || complete {
                continue;
            }
            if read(&*stream, &mut input).await? == 0 {
                match codec.eof() {
                    Ok(Some(_)) if headed => complete = true,
                    _ => return Err(Gone),
                }
            }
        }
        if reuse && codec.reusable() && input.is_empty() {
            self.kept = Some(Kept(stream, codec));
        }
        Ok(judge(check, &head, &got))
    }

    async fn tcp(&mut self, check: &TcpCheck, reuse: bool) -> Result<(), Gone> {
        if check.send.is_none() && check.receive.is_empty() {
            // That it connects is all that is asked, each time anew.
            self.kept = None;
            return self.open().await.map(drop);
        }
        let Kept(stream, codec) = self.open().await?;
        if let Some(send) = &check.send {
            write(&*stream, send).await?;
        }
        let mut input = Vec::with_capacity(4096);
        while !contains_in_order(&input, &check.receive) {
            if read(&*stream, &mut input).await? == 0 {
                return Err(Gone);
            }
        }
        if reuse {
            self.kept = Some(Kept(stream, codec));
        }
        Ok(())
    }
}

fn request(check: &HttpCheck, authority: &str) -> RequestHead {
    let mut head = RequestHead::new();
    let headers = &mut head.headers;
    let host = if check.host.is_empty() { authority } else { &check.host };
    headers.append(Known::Method, check.method.as_bytes());
    headers.append(Known::Path, check.path.as_bytes());
    headers.append(Known::Authority, host.as_bytes());
    headers.append(Known::Scheme, b"http");
    headers.append("user-agent", b"Envoy/HC");
    if let Some(body) = &check.body {
        headers.append("content-length", body.len().to_string().as_bytes());
    }
    for name in &check.remove {
        headers.remove(&**name);
    }
    for (name, value) in &check.add {
        headers.append(&**name, value.as_bytes());
    }
    head
}

fn judge(check: &HttpCheck, head: &ResponseHead, body: &[u8]) -> (Verdict, Said) {
    let headers = &head.headers;
    let said = Said {
        leaving: headers.contains(Known::XEnvoyImmediateHealthCheckFail),
        verified: check.service.is_some(),
    };
    let is_in = |ranges: &[std::ops::Range<i64>]| ranges.iter().any(|r| r.contains(&i64::from(head.status)));
    if !is_in(&check.expected) {
        return (if is_in(&check.retriable) { Verdict::Retriable } else { Verdict::Wrong }, said);
    }
    if let Some(service) = &check.service {
        let name = headers.get(Known::XEnvoyUpstreamHealthcheckedCluster).unwrap_or_default();
        if !service.matches(name) {
            return (Verdict::Wrong, said);
        }
    }
    if !contains_in_order(body, &check.receive) {
        return (Verdict::Wrong, said);
    }
    (Verdict::Good { degraded: headers.contains(Known::XEnvoyDegraded) }, said)
}

/// Whether every piece is in `bytes`, each behind the one before.
pub(super) fn contains_in_order(bytes: &[u8], pieces: &[Box<[u8]>]) -> bool {
    let mut rest = bytes;
    pieces.iter().filter(|p| !p.is_empty()).all(|piece| {
        let found = rest.windows(piece.len()).position(|w| w == &**piece);
        rest = found.and_then(|at| rest.get(at + piece.len()..)).unwrap_or_default();
        found.is_some()
    })
}

async fn write(stream: &dyn ByteStream, data: &[u8]) -> Result<(), Gone> {
    let mut at = 0;
    poll_fn(|cx| poll_write_all(stream, cx, data, &mut at)).await.map_err(|_| Gone)
}

async fn read(stream: &dyn ByteStream, into: &mut Vec<u8>) -> Result<usize, Gone> {
    into.reserve(4096);
    poll_fn(|cx| poll_read_vec(stream, cx, into)).await.map_err(|_| Gone)
}
