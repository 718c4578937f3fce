//! A copy to a cluster that has HTTP filters of its own: they see the request before it has a connection.

use super::Body;
use crate::filter::{Chain, Parts};
use crate::hcm::exchange::{Downstream, RequestEvent};
use crate::hcm::stream::{Heads, Stream};
use crate::router::upstream_filters;
use nuncio_codec::head::{HeaderMap, RequestHead};
use nuncio_core::stream_info::StreamInfo;
use nuncio_upstream::call::{Answer, BodySource, Call, GivenUp, NoAnswer, Tried};
use nuncio_upstream::cluster::Cluster;
use nuncio_upstream::pool::Exchange;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A copy on its way through its cluster's filters. What comes back passes none: nobody reads it.
pub(super) struct Filtered {
    chain: Option<Box<Chain>>,
    heads: Heads,
    info: StreamInfo,
    /// The end of the body is told apart from its last bytes.
    ends_apart: bool,
}

impl Filtered {
    /// Of a copy of this stream's request; `None` where its cluster has no filters.
    pub(super) fn new<D: Downstream>(
        stream: &Stream<D>,
        cluster: &Cluster,
        head: &RequestHead,
        limit: usize,
    ) -> Option<Self> {
        let world = &stream.hcm.world;
        let chain = upstream_filters::of_copy(world, cluster, limit)?;
        let of = &stream.info;
        let info =
            StreamInfo::new(world.worker.now(), world.worker.wall(), Rc::clone(&of.connection), of.random);
        let heads = Heads { request: head.clone(), ..Heads::default() };
        Some(Self { chain: Some(chain), heads, info, ends_apart: stream.hands_on_ends_apart() })
    }

    /// Sends it when the filters let its head go.
    ///
    /// # Errors
    /// As for [`Call::stream`]; a filter that answers gives the copy up.
    pub(super) async fn send(
        mut self,
        body: Option<&Body>,
        cluster: &Rc<Cluster>,
        tried: Option<&Tried>,
    ) -> Result<Answer, NoAnswer> {
        self.start(body.is_none()).map_err(|GivenUp| NoAnswer::GivenUp)?;
        let mut over = body.is_none();
        if let Some(body) = body {
            poll_fn(|cx| {
                while !over && !self.is_through() {
                    match body.poll_take(cx, |data, last, trailers| self.push(data, last, trailers)) {
                        Poll::Pending if self.is_through() => break,
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(())) => over = true,
                        Poll::Ready(Err(given_up)) => return Poll::Ready(Err(given_up)),
                    }
                }
                Poll::Ready(Ok(()))
            })
            .await
            .map_err(|GivenUp| NoAnswer::GivenUp)?;
        }
        let head = self.heads.request.clone();
        let call = Call { head: &head, body: None, keep: 0, tried };
        match body.filter(|_| !self.is_head_only()) {
            None => call.send(cluster).await,
            Some(body) => {
                let rest = Rest { filtered: RefCell::new(self), body, over: Cell::new(over) };
                call.stream(cluster, &rest).await
            }
        }
    }

    fn start(&mut self, head_only: bool) -> Result<(), GivenUp> {
        let Self { chain: Some(chain), heads, info, .. } = self else { return Ok(()) };
        let verdict = chain.start_request(Parts { heads, info, tracer: None }, head_only);
        upstream_filters::answer(verdict).map_or(Ok(()), |_| Err(GivenUp))
    }

    /// A piece of the body, and the trailers behind it.
    fn push(&mut self, data: &[u8], last: bool, trailers: Option<&HeaderMap>) -> Result<(), GivenUp> {
        let Self { chain: Some(chain), heads, info, ends_apart } = self else { return Ok(()) };
        let apart = last && *ends_apart;
        let piece = RequestEvent::Data { end_stream: last && !apart };
        let piece = (!data.is_empty() || last && !apart).then_some(piece);
        if let Some(trailers) = trailers {
            heads.request_trailers = trailers.clone();
        }
        let end = apart.then_some(RequestEvent::End).or(trailers.map(|_| RequestEvent::Trailers));
        for event in piece.into_iter().chain(end) {
            let parts = Parts { heads: &mut *heads, info: &mut *info, tracer: None };
            if upstream_filters::answer(chain.push_request(parts, event, data)).is_some() {
                return Err(GivenUp);
            }
        }
        Ok(())
    }

    fn is_through(&mut self) -> bool {
        self.chain.as_mut().is_none_or(|chain| chain.request().is_through())
    }

    fn is_head_only(&mut self) -> bool {
        self.chain.as_mut().is_some_and(|chain| chain.request().is_finished())
    }

    /// Gives `up` what has come out behind the head.
    fn give(&mut self, up: &mut Exchange) {
        if let Some(chain) = &mut self.chain {
            upstream_filters::give(chain, up, &self.heads.request_trailers);
        }
    }
}

impl Drop for Filtered {
    fn drop(&mut self) {
        if let Some(chain) = self.chain.take() {
            chain.give_back();
        }
    }
}

/// The body of a copy behind its filters.
struct Rest<'a> {
    filtered: RefCell<Filtered>,
    body: &'a Body,
    /// All of it has gone in.
    over: Cell<bool>,
}

impl BodySource for Rest<'_> {
    fn poll_into(&self, cx: &mut Context<'_>, up: &mut Exchange) -> Poll<Result<(), GivenUp>> {
        let mut filtered = self.filtered.borrow_mut();
        let polled = if self.over.get() {
            Poll::Ready(Ok(()))
        } else if !self.body.has_room(cx, up) {
            return Poll::Pending;
        } else {
            self.body.poll_take(cx, |data, last, trailers| filtered.push(data, last, trailers))
        };
        filtered.give(up);
        polled
    }
}
