//! Requests of the proxy's own to a cluster: one head, one body, one answer.

use crate::cluster::{Cluster, PickContext, RequestPriority};
use crate::outlier::Outcome;
use crate::pool::{Checkout, Exchange, UpstreamEvent};
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// A request of the proxy's own.
pub struct Call<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// Its body; `None`: it is a head alone.
    pub body: Option<&'a [u8]>,
    /// How much of the answer's body is kept, in bytes; what is beyond it is read and dropped.
    pub keep: usize,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Answer {
    /// The head.
    pub head: ResponseHead,
    /// The body, as much as was to be kept.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: HeaderMap,
}

impl Call<'_> {
    /// Sends it to a host of `cluster` and reads the answer to its end. The answer, or what stands for it, is counted
    /// as that to an internal request.
    ///
    /// # Errors
    /// There is none: no host, no connection, or it broke off. Dropping the future gives the request up.
    pub async fn send(&self, cluster: &Rc<Cluster>) -> Result<Answer, NoAnswer> {
        let answer = self.exchange(cluster).await;
        count(cluster, answer.as_ref().map_or(503, |answer| answer.head.status));
        answer
    }

    async fn exchange(&self, cluster: &Rc<Cluster>) -> Result<Answer, NoAnswer> {
        let host = cluster.pick(&PickContext::default()).ok_or(NoAnswer)?;
        let checkout = cluster.checkout(&host, RequestPriority::Default, self.head.version);
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
        up.encode_head(self.head, self.body.is_none()).map_err(|_| NoAnswer)?;
        if let Some(body) = self.body {
            up.encode_data(body, true);
        }
        let (answer, whole) = self.read(&mut up).await;
        host.report(if answer.head.status == 0 {
            Outcome::Failed
        } else {
            Outcome::Response(answer.head.status)
        });
        if whole { Ok(answer) } else { Err(NoAnswer) }
    }

    /// Reads the answer; whether it came to its end.
    async fn read(&self, up: &mut Exchange) -> (Answer, bool) {
        let mut answer = Answer::default();
        answer.head.status = 0;
        let whole = poll_fn(|cx| {
            loop {
                // A failed write shows in reading.
                let _ = up.poll_flush(cx);
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
                    Poll::Ready(Ok(UpstreamEvent::Head { end_stream: false })) => {}
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

/// A request of the proxy's own was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer")]
pub struct NoAnswer;

/// It took too long: that is counted, as the 504 that stands for the answer.
pub fn timed_out(cluster: &Cluster) {
    cluster.stats().upstream_rq_timeout.inc();
    count(cluster, 504);
}

fn count(cluster: &Cluster, status: u16) {
    let stats = cluster.stats();
    stats.upstream_rq.inc(status);
    stats.internal_upstream_rq.inc(status);
}
