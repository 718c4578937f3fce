//! Requests of the proxy's own to a cluster: one head, one body (whole, or as it comes), one answer.

pub mod grpc;
mod retries;

pub use retries::Retries;

use crate::cluster::{Asking, Cluster, PickContext, RequestPriority};
use crate::outlier::Outcome;
use crate::pool::{Checkout, Exchange, PoolError, ResetReason, StreamError, UpstreamEvent};
use crate::retry_plugin::RetryPlugins;
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_core::stream_info::{HostInfo, ResponseFlag, UpstreamConnectionInfo};
use retries::Tries;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What all requests of the proxy's own have in common.
#[derive(Clone)]
pub struct Caller {
    /// This machine, as others are told of it.
    pub own_address: IpAddr,
    /// What may be plugged into retries.
    pub retry_plugins: Arc<RetryPlugins>,
}

/// A request of the proxy's own.
pub struct Call<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// Its body; `None`: it is a head alone.
    pub body: Option<&'a [u8]>,
    /// How much of the answer's body is kept, in bytes; what is beyond it is read and dropped.
    pub keep: usize,
    /// Who is asked is told here, whatever comes of it.
    pub tried: Option<&'a Tried>,
}

/// Who a request was sent to last.
#[derive(Debug, Default)]
pub struct Tried(RefCell<Option<Target>>);

/// A host, and the connection to it where there was one.
pub type Target = (Rc<HostInfo>, Option<Rc<UpstreamConnectionInfo>>);

impl Tried {
    /// The host, and the connection to it where there was one.
    pub fn last(&self) -> Option<Target> {
        self.0.borrow().clone()
    }
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
    /// Bytes that the request took on the wire.
    pub wire_sent: u64,
    /// Bytes that the answer took.
    pub wire_received: u64,
}

impl Call<'_> {
    /// Sends it to a host of `cluster` and reads the answer to its end. The answer, or what stands for it, is counted
    /// as that to an internal request where the head says that it is one.
    ///
    /// # Errors
    /// There is none: no host, no connection, or it broke off. Dropping the future gives the request up.
    pub async fn send(&self, cluster: &Rc<Cluster>) -> Result<Answer, NoAnswer> {
        let began = cluster.now();
        let answer = self.exchange(cluster, None, None).await;
        count_outcome(cluster, self.is_internal(), began, &answer);
        answer
    }

    /// The same, within that time, where there is one, and tried again as `retries` say.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and where it took too long, which is counted as the 504 that stands for the answer.
    pub async fn send_within(
        &self,
        cluster: &Rc<Cluster>,
        timeout: Option<Duration>,
        retries: Option<&Retries>,
    ) -> Result<Answer, NoAnswer> {
        let answer = async {
            match retries {
                None => self.send(cluster).await,
                Some(retries) => self.send_again(cluster, retries).await,
            }
        };
        let Some(timeout) = timeout else { return answer.await };
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                timed_out(cluster, self.is_internal());
                Err(NoAnswer::TimedOut)
            }
        }
    }

    /// Only what came of it in the end counts as the answer.
    async fn send_again(&self, cluster: &Rc<Cluster>, retries: &Retries) -> Result<Answer, NoAnswer> {
        let stats = cluster.stats();
        let (mut left, mut wait) = (retries.most, retries.base);
        let (mut permit, mut tries) = (None, Tries::default());
        let began = cluster.now();
        loop {
            let exchange = self.exchange(cluster, None, Some((retries, &mut tries)));
            let answer = match tokio::time::timeout(retries.max, exchange).await {
                Ok(answer) => answer,
                Err(_) => {
                    stats.upstream_rq_per_try_timeout.inc();
                    Err(NoAnswer::TimedOut)
                }
            };
            let earlier = permit.take().is_some();
            if !retries.wants(&answer) {
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
                count_outcome(cluster, self.is_internal(), began, &answer);
                return answer;
            }
            left -= 1;
            stats.upstream_rq_retry.inc();
            stats.upstream_rq_retry_backoff_exponential.inc();
            if let Ok(Answer { head, .. }) = &answer {
                stats.retry_upstream_rq.inc(head.status);
            }
            let millis = wait.as_millis() as u64;
            tokio::time::sleep(Duration::from_millis(cluster.rng().below(millis.max(1)))).await;
            wait = wait.saturating_mul(2).min(retries.max);
        }
    }

    /// The same with a body that comes from `source` instead of `body`. A request that is given up before its answer
    /// began is not counted.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and where the source breaks off.
    pub async fn stream(&self, cluster: &Rc<Cluster>, source: &dyn BodySource) -> Result<Answer, NoAnswer> {
        let sending = Sending { source, over: Cell::new(None) };
        let began = cluster.now();
        let answer = self.exchange(cluster, Some(&sending), None).await;
        if !matches!(answer, Err(NoAnswer::GivenUp)) {
            count_outcome(cluster, true, began, &answer);
        }
        answer
    }

    /// Whether it is counted as one of the proxy's own: where it goes out as one.
    fn is_internal(&self) -> bool {
        self.head.headers.contains(Known::XEnvoyInternal)
    }

    fn tell(&self, who: impl FnOnce() -> Target) {
        if let Some(Tried(tried)) = self.tried {
            *tried.borrow_mut() = Some(who());
        }
    }

    async fn exchange(
        &self,
        cluster: &Rc<Cluster>,
        sending: Option<&Sending<'_>>,
        again: Option<(&Retries, &mut Tries)>,
    ) -> Result<Answer, NoAnswer> {
        let destination = cluster.destination(&Asking { request: Some(self.head), info: None });
        let pick = PickContext { destination: destination.as_ref(), ..PickContext::default() };
        let host = match again {
            None => cluster.pick(&pick),
            Some((retries, tries)) => retries.pick(tries, cluster, &pick),
        };
        let host = host.ok_or(NoAnswer::NoHost)?;
        self.tell(|| (host.info(), None));
        let options = host.transport_options(Some((cluster.config(), self.head)), None);
        let checkout = cluster.checkout_with(&host, RequestPriority::Default, self.head.version, options);
        let mut up = match checkout.map_err(|error| NoAnswer::of_pool(&error))? {
            Checkout::Ready(up) => up,
            Checkout::Wait(mut pending) => match poll_fn(|cx| pending.poll(cx)).await {
                Ok(up) => up,
                Err(error) => {
                    host.report(Outcome::Failed);
                    return Err(NoAnswer::of_pool(&error));
                }
            },
        };
        self.tell(|| (host.info(), Some(Rc::clone(up.connection()))));
        let head_only = self.body.is_none() && sending.is_none();
        up.encode_head(self.head, head_only).map_err(|error| NoAnswer::of_stream(&error))?;
        if let Some(body) = self.body {
            up.encode_data(body, true);
        }
        let (mut answer, end) = self.read(&mut up, sending).await;
        let bytes = up.bytes();
        (answer.wire_sent, answer.wire_received) = (bytes.wire_sent, bytes.wire_received);
        if end == Err(NoAnswer::GivenUp) {
            if answer.head.status != 0 {
                // Its answer had begun: the copy of a tunnel, or of a body that was answered early.
                count(cluster, true, answer.head.status);
            }
            return Err(NoAnswer::GivenUp);
        }
        host.report(if answer.head.status == 0 {
            Outcome::Failed
        } else {
            Outcome::Response(host.config().http.judge(&answer.head).unwrap_or(answer.head.status))
        });
        end.map(|()| answer)
    }

    /// Sends what comes of the body and reads the answer; whether it came to its end, or why not.
    async fn read(&self, up: &mut Exchange, sending: Option<&Sending<'_>>) -> (Answer, Result<(), NoAnswer>) {
        let mut answer = Answer::default();
        answer.head.status = 0;
        let end = poll_fn(|cx| {
            loop {
                // A failed write shows in reading.
                let _ = up.poll_flush(cx);
                if let Some(sending) = sending {
                    if sending.poll(cx, up).is_err() {
                        return Poll::Ready(Err(NoAnswer::GivenUp));
                    }
                    let _ = up.poll_flush(cx);
                }
                match up.poll_event(cx, &mut answer.head, &mut answer.trailers) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(NoAnswer::of_stream(&error))),
                    Poll::Ready(Ok(UpstreamEvent::Informational)) => {
                        answer.head.clear();
                        answer.head.status = 0;
                    }
                    Poll::Ready(Ok(UpstreamEvent::Data { end_stream })) => {
                        let room = self.keep.saturating_sub(answer.body.len());
                        let data = up.data();
                        answer.body.extend_from_slice(data.get(..room).unwrap_or(data));
                        if end_stream {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Poll::Ready(Ok(UpstreamEvent::Head { end_stream: false } | UpstreamEvent::Metadata)) => {}
                    Poll::Ready(Ok(
                        UpstreamEvent::Head { end_stream: true }
                        | UpstreamEvent::Trailers
                        | UpstreamEvent::End,
                    )) => return Poll::Ready(Ok(())),
                }
            }
        })
        .await;
        (answer, end)
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

/// Why a request of the proxy's own was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// No host may be asked.
    #[error("no healthy host")]
    NoHost,
    /// It broke off, or never began.
    #[error("{}", .reason.as_str())]
    Reset {
        /// Why.
        reason: ResetReason,
        /// Whether any byte of the request went out.
        sent: bool,
    },
    /// It took too long.
    #[error("no answer in time")]
    TimedOut,
    /// Its body broke off.
    #[error("the body broke off")]
    GivenUp,
}

impl NoAnswer {
    fn of_pool(error: &PoolError) -> Self {
        Self::Reset { reason: error.reason(), sent: false }
    }

    fn of_stream(error: &StreamError) -> Self {
        Self::Reset { reason: error.reason, sent: error.request_sent }
    }

    /// The status that stands for the answer.
    pub fn status(self) -> u16 {
        if self == Self::TimedOut { 504 } else { 503 }
    }

    /// The response flag that goes with it.
    pub fn flag(self) -> ResponseFlag {
        match self {
            Self::NoHost => ResponseFlag::NoHealthyUpstream,
            Self::Reset { reason, .. } => reason.flag(),
            Self::TimedOut => ResponseFlag::UpstreamRequestTimeout,
            Self::GivenUp => ResponseFlag::LocalReset,
        }
    }
}

/// It took too long: that is counted, as the 504 that stands for the answer.
pub fn timed_out(cluster: &Cluster, internal: bool) {
    cluster.stats().upstream_rq_timeout.inc();
    count(cluster, internal, NoAnswer::TimedOut.status());
}

/// The cluster is in maintenance: that is counted, as the 503 that stands for the answer.
pub fn in_maintenance(cluster: &Cluster) {
    cluster.stats().upstream_rq_maintenance_mode.inc();
    count(cluster, true, 503);
}

/// What came of a request that began then: its status, and of an answer how long it took.
fn count_outcome(cluster: &Cluster, internal: bool, began: Instant, answer: &Result<Answer, NoAnswer>) {
    count(cluster, internal, answer.as_ref().map_or_else(|none| none.status(), |answer| answer.head.status));
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
