//! Requests of the proxy's own to a cluster: one head, one body (whole, or as it comes), one answer.

pub mod grpc;

use crate::cluster::{Asking, Cluster, PickContext, RequestPriority};
use crate::outlier::Outcome;
use crate::pool::{Checkout, Exchange, UpstreamEvent};
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_core::rng::Rng;
use nuncio_core::stream_info::{HostInfo, UpstreamConnectionInfo};
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A request of the proxy's own.
pub struct Call<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// Its body; `None`: it is a head alone.
    pub body: Option<&'a [u8]>,
    /// How much of the answer's body is kept, in bytes; what is beyond it is read and dropped.
    pub keep: usize,
}

/// How a request of the proxy's own is tried again where it got no answer, or one that says 5xx
/// (`envoy.config.core.v3.RetryPolicy`).
#[derive(Clone, Debug)]
pub struct Retries {
    /// How often.
    pub most: u32,
    /// The first wait is by chance below this; the next ones below twice that of the one before.
    pub base: Duration,
    /// No wait is longer, and, as in Envoy, no try.
    pub max: Duration,
}

/// A body that comes while it is sent.
pub trait BodySource {
    /// Gives `up` what has come. Ready when that was the body's end; pending arranges for a wake-up when there is more.
    ///
    /// # Errors
    /// The rest will not come: the request is given up.
    fn poll_into(&self, cx: &mut Context<'_>, up: &mut Exchange) -> Poll<Result<(), GivenUp>>;
}

/// A body will not be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp;

/// What came back.
#[derive(Debug, Default)]
pub struct Answer {
    /// The head.
    pub head: ResponseHead,
    /// The body, as much as was to be kept.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: HeaderMap,
    /// Which host gave it, and over which connection.
    pub from: Option<(Rc<HostInfo>, Rc<UpstreamConnectionInfo>)>,
}

impl Call<'_> {
    /// Sends it to a host of `cluster` and reads the answer to its end. The answer, or what stands for it, is counted
    /// as that to an internal request where the head says that it is one.
    ///
    /// # Errors
    /// There is none: no host, no connection, or it broke off. Dropping the future gives the request up.
    pub async fn send(&self, cluster: &Rc<Cluster>) -> Result<Answer, NoAnswer> {
        let began = cluster.now();
        let answer = self.exchange(cluster, None).await;
        count_outcome(cluster, self.is_internal(), began, &answer);
        answer
    }

    /// The same, within that time, where there is one.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and where it took too long, which is counted as the 504 that stands for the answer.
    pub async fn send_within(
        &self,
        cluster: &Rc<Cluster>,
        timeout: Option<Duration>,
    ) -> Result<Answer, NoAnswer> {
        let Some(timeout) = timeout else { return self.send(cluster).await };
        match tokio::time::timeout(timeout, self.send(cluster)).await {
            Ok(answer) => answer,
            Err(_) => {
                cluster.stats().upstream_rq_timeout.inc();
                count(cluster, self.is_internal(), 504);
                Err(NoAnswer)
            }
        }
    }

    /// The same, tried again as `retries` say; only what came of it in the end counts as the answer.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn send_again(
        &self,
        cluster: &Rc<Cluster>,
        retries: &Retries,
        rng: &Rng,
    ) -> Result<Answer, NoAnswer> {
        let stats = cluster.stats();
        let (mut left, mut wait) = (retries.most, retries.base);
        let mut permit = None;
        let began = cluster.now();
        loop {
            let answer = match tokio::time::timeout(retries.max, self.exchange(cluster, None)).await {
                Ok(answer) => answer,
                Err(_) => {
                    stats.upstream_rq_per_try_timeout.inc();
                    Err(NoAnswer)
                }
            };
            let status = answer.as_ref().map_or(503, |answer| answer.head.status);
            let earlier = permit.take().is_some();
            if status < 500 {
                if earlier {
                    stats.upstream_rq_retry_success.inc();
                }
            } else if left == 0 {
                stats.upstream_rq_retry_limit_exceeded.inc();
            } else {
                permit = cluster.try_retry(RequestPriority::Default);
                if permit.is_none() {
                    stats.upstream_rq_retry_overflow.inc();
                }
            }
            if permit.is_none() {
                count_outcome(cluster, true, began, &answer);
                return answer;
            }
            left -= 1;
            stats.upstream_rq_retry.inc();
            stats.upstream_rq_retry_backoff_exponential.inc();
            if answer.is_ok() {
                stats.retry_upstream_rq.inc(status);
            }
            let millis = wait.min(retries.max).as_millis() as u64;
            tokio::time::sleep(Duration::from_millis(rng.below(millis.max(1)))).await;
            wait = wait.saturating_mul(2);
        }
    }

    /// The same with a body that comes from `source` instead of `body`. A request that is given up before it was
    /// answered is not counted.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and where the source breaks off.
    pub async fn stream(&self, cluster: &Rc<Cluster>, source: &dyn BodySource) -> Result<Answer, NoAnswer> {
        let sending = Sending { source, over: Cell::new(None) };
        let began = cluster.now();
        let answer = self.exchange(cluster, Some(&sending)).await;
        if answer.is_ok() || sending.over.get() != Some(Err(GivenUp)) {
            count_outcome(cluster, true, began, &answer);
        }
        answer
    }

    /// Whether it is counted as one of the proxy's own: where it goes out as one.
    fn is_internal(&self) -> bool {
        self.head.headers.contains(Known::XEnvoyInternal)
    }

    async fn exchange(
        &self,
        cluster: &Rc<Cluster>,
        sending: Option<&Sending<'_>>,
    ) -> Result<Answer, NoAnswer> {
        let destination = cluster.destination(&Asking { request: Some(self.head), info: None });
        let pick = PickContext { destination: destination.as_ref(), ..PickContext::default() };
        let host = cluster.pick(&pick).ok_or(NoAnswer)?;
        let options = host.transport_options(Some((cluster.config(), self.head)), None);
        let checkout = cluster.checkout_with(&host, RequestPriority::Default, self.head.version, options);
        let mut up = match checkout.map_err(|_| NoAnswer)? {
            Checkout::Ready(up) => up,
            Checkout::Wait(mut pending) => match poll_fn(|cx| pending.poll(cx)).await {
                Ok(up) => up,
                Err(_) => {
                    host.report(Outcome::Failed);
                    return Err(NoAnswer);
                }
            },
        };
        let head_only = self.body.is_none() && sending.is_none();
        up.encode_head(self.head, head_only).map_err(|_| NoAnswer)?;
        if let Some(body) = self.body {
            up.encode_data(body, true);
        }
        let (mut answer, whole) = self.read(&mut up, sending).await;
        answer.from = Some((host.info(), Rc::clone(up.connection())));
        if sending.is_some_and(|s| s.over.get() == Some(Err(GivenUp))) {
            return Err(NoAnswer);
        }
        host.report(if answer.head.status == 0 {
            Outcome::Failed
        } else {
            Outcome::Response(host.config().http.judge(&answer.head).unwrap_or(answer.head.status))
        });
        if whole { Ok(answer) } else { Err(NoAnswer) }
    }

    /// Sends what comes of the body and reads the answer; whether it came to its end.
    async fn read(&self, up: &mut Exchange, sending: Option<&Sending<'_>>) -> (Answer, bool) {
        let mut answer = Answer::default();
        answer.head.status = 0;
        let whole = poll_fn(|cx| {
            loop {
                // A failed write shows in reading.
                let _ = up.poll_flush(cx);
                if let Some(sending) = sending {
                    if sending.poll(cx, up).is_err() {
                        return Poll::Ready(false);
                    }
                    let _ = up.poll_flush(cx);
                }
                match up.poll_event(cx, &mut answer.head, &mut answer.trailers) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Ready(Ok(UpstreamEvent::Informational)) => {
                        answer.head.clear();
                        answer.head.status = 0;
                    }
                    Poll::Ready(Ok(UpstreamEvent::Data { end_stream })) => {
                        let room = self.keep.saturating_sub(answer.body.len());
                        let data = up.data();
                        answer.body.extend_from_slice(data.get(..room).unwrap_or(data));
                        if end_stream {
                            return Poll::Ready(true);
                        }
                    }
                    Poll::Ready(Ok(UpstreamEvent::Head { end_stream: false } | UpstreamEvent::Metadata)) => {}
                    Poll::Ready(Ok(
                        UpstreamEvent::Head { end_stream: true }
                        | UpstreamEvent::Trailers
                        | UpstreamEvent::End,
                    )) => return Poll::Ready(true),
                }
            }
        })
        .await;
        (answer, whole)
    }
}

/// A body while it is sent, and how it ended.
struct Sending<'a> {
    source: &'a dyn BodySource,
    over: Cell<Option<Result<(), GivenUp>>>,
}

impl Sending<'_> {
    fn poll(&self, cx: &mut Context<'_>, up: &mut Exchange) -> Result<(), GivenUp> {
        if self.over.get().is_none()
            && let Poll::Ready(over) = self.source.poll_into(cx, up)
        {
            self.over.set(Some(over));
        }
        self.over.get().unwrap_or(Ok(()))
    }
}

/// A request of the proxy's own was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer")]
pub struct NoAnswer;

/// It took too long: that is counted, as the 504 that stands for the answer.
pub fn timed_out(cluster: &Cluster) {
    cluster.stats().upstream_rq_timeout.inc();
    count(cluster, true, 504);
}

/// What came of a request that began then: its status, and of an answer how long it took.
fn count_outcome(cluster: &Cluster, internal: bool, began: Instant, answer: &Result<Answer, NoAnswer>) {
    count(cluster, internal, answer.as_ref().map_or(503, |answer| answer.head.status));
    if answer.is_ok() {
        let took = cluster.now().saturating_duration_since(began).as_millis() as u64;
        let stats = cluster.stats();
        stats.upstream_rq_time.record(took);
        match internal {
            true => stats.internal_upstream_rq_time.record(took),
            false => stats.external_upstream_rq_time.record(took),
        }
    }
}

fn count(cluster: &Cluster, internal: bool, status: u16) {
    let stats = cluster.stats();
    stats.upstream_rq.inc(status);
    match internal {
        true => stats.internal_upstream_rq.inc(status),
        false => stats.external_upstream_rq.inc(status),
    }
}
