//! Request mirroring: copies of requests go to other clusters, whose answers nobody waits for.
//!
//! A copy is a task of its own. It is given the body as that comes, and holds as much of it as the buffers of either side
//! may: one that falls further behind is given up. So a copy neither slows nor fails the request that it is of.

mod filtered;

use super::cluster_options;
use super::flight::Flight;
use crate::hcm::exchange::{Downstream, RequestEvent};
use crate::hcm::stream::{Stream, header_context};
use crate::route::{MirrorPolicy, port_start};
use crate::tracing::CallSpan;
use crate::tracing::upstream::wall_and_now;
use filtered::Filtered;
use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use nuncio_net::timer::LazyTimer;
use nuncio_net::worker::Worker;
use nuncio_upstream::call::{self, BodySource, Call, GivenUp, NoAnswer, Tried};
use nuncio_upstream::cluster::Cluster;
use nuncio_upstream::pool::Exchange;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Copies of the request go to whom the route or the cluster says.
#[inline]
pub(super) fn send_copies<D: Downstream>(stream: &Stream<D>, flight: &mut Flight<'_>) {
    let policies = cluster_options::mirrors(flight.action, &flight.cluster);
    let shadows = Shadows::new(stream, policies, flight.limits.replay, flight.timeouts.global);
    flight.shadows = shadows;
}

/// The copies of one request while its body comes. Dropped before its end, they are given up.
pub(super) struct Shadows(Vec<Shadow>);

/// A copy as the main request sees it.
struct Shadow {
    cluster: Rc<Cluster>,
    body: Rc<Body>,
}

/// A body between the main request and a copy.
struct Body {
    /// What the copy has not taken yet.
    waiting: RefCell<Vec<u8>>,
    state: RefCell<State>,
    waker: RefCell<Option<Waker>>,
    /// Of what waits, in bytes.
    limit: usize,
    /// Of what waits at the upstream's connection, in bytes.
    room: usize,
}

/// How far the main request's body is.
enum State {
    Coming,
    Ended,
    Trailers(HeaderMap),
    Broken,
}

impl Shadows {
    /// Sends copies of the stream's request as it goes upstream, by those of `policies` that chance chooses; `None`
    /// where none of them waits for a body. `limit` is how much of a body each may hold, in bytes, where its cluster's connections hold less.
    #[inline]
    fn new<D: Downstream>(
        stream: &Stream<D>,
        policies: &[MirrorPolicy],
        limit: usize,
        timeout: Option<Duration>,
    ) -> Option<Box<Self>> {
        let runtime = &stream.hcm.world.runtime;
        let chosen = |policy: &&MirrorPolicy| policy.fraction.enabled(runtime, stream.info.random);
        if !policies.iter().any(|policy| chosen(&policy)) || stream.heads.request.method() == b"CONNECT" {
            return None;
        }
        Self::send(stream, policies.iter().filter(chosen), limit, timeout)
    }

    fn send<'p, D: Downstream>(
        stream: &Stream<D>,
        chosen: impl Iterator<Item = &'p MirrorPolicy>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Option<Box<Self>> {
        let world = &stream.hcm.world;
        let request = &stream.heads.request;
        let own = stream.hcm.config.policy.own_address();
        let mut copies = Vec::new();
        for policy in chosen {
            let Some(cluster) = world.clusters.get(policy.cluster.name(&request.headers)) else { continue };
            if cluster.in_maintenance(&world.runtime) {
                call::in_maintenance(&cluster);
                continue;
            }
            let mut head = request.clone();
            if !policy.headers.is_empty() {
                let context = header_context(&stream.info, &world.worker, stream.now());
                policy.headers.apply_request(&mut head, &context);
            }
            rewrite_host(&mut head, policy);
            head.headers.set(Known::XEnvoyInternal, b"true");
            append_address(&mut head, own);
            let body = (!stream.request_complete).then(|| Rc::new(Body::new(limit, &cluster)));
            let span = match &stream.info.span {
                Some(parent) => stream.hcm.tracer.as_ref().map(|tracer| {
                    let name = "mirror".to_owned();
                    CallSpan::begin(tracer, parent, name, policy.sampled, wall_and_now(stream))
                }),
                None => None,
            };
            if let Some(span) = &span {
                span.inject(&mut head.headers);
            }
            let filtered = Filtered::new(stream, &cluster, &head, limit);
            send(&world.worker, Rc::clone(&cluster), (head, body.clone(), filtered), timeout, span);
            copies.extend(body.map(|body| Shadow { cluster, body }));
        }
        (!copies.is_empty()).then(|| Box::new(Self(copies)))
    }

    /// A piece of the request came; `false` where nothing more is wanted.
    pub(super) fn see(&mut self, event: RequestEvent, data: &[u8], trailers: &HeaderMap) -> bool {
        self.0.retain(|shadow| {
            let kept = match event {
                RequestEvent::Data { end_stream } => shadow.body.push(data, end_stream),
                RequestEvent::Trailers => shadow.body.end(State::Trailers(trailers.clone())),
                RequestEvent::End => shadow.body.end(State::Ended),
                RequestEvent::Metadata => true,
            };
            if !kept {
                shadow.cluster.stats().retry_or_shadow_abandoned.inc();
            }
            kept
        });
        !self.0.is_empty() && matches!(event, RequestEvent::Data { end_stream: false })
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        if !self.body.is_complete() {
            self.body.end(State::Broken);
        }
    }
}

impl Body {
    fn new(limit: usize, cluster: &Cluster) -> Self {
        let room = cluster.config().buffer_limit();
        Self {
            waiting: RefCell::default(),
            state: RefCell::new(State::Coming),
            waker: RefCell::default(),
            limit: limit.max(room),
            room,
        }
    }

    /// Takes a piece; `false` where too much waits already, and the copy is given up.
    fn push(&self, data: &[u8], last: bool) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() + data.len() > self.limit {
            return false;
        }
        waiting.extend_from_slice(data);
        drop(waiting);
        if last {
            return self.end(State::Ended);
        }
        self.wake();
        true
    }

    fn end(&self, state: State) -> bool {
        *self.state.borrow_mut() = state;
        self.wake();
        true
    }

    /// Whether the connection takes more, or the copy is to be given up. Else the flush before has arranged for a
    /// wake-up when there is room again.
    fn has_room(&self, cx: &Context<'_>, up: &Exchange) -> bool {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        up.buffered() <= self.room || matches!(*self.state.borrow(), State::Broken)
    }

    /// Gives `take` what has come since: bytes, whether they are the last, and the trailers behind them. Ready when that
    /// was all.
    ///
    /// # Errors
    /// The rest will not come, or `take` says so.
    fn poll_take(
        &self,
        cx: &Context<'_>,
        take: impl FnOnce(&[u8], bool, Option<&HeaderMap>) -> Result<(), GivenUp>,
    ) -> Poll<Result<(), GivenUp>> {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        let mut waiting = self.waiting.borrow_mut();
        let state = self.state.borrow();
        let (last, trailers) = match &*state {
            State::Broken => return Poll::Ready(Err(GivenUp)),
            State::Coming => (false, None),
            State::Ended => (true, None),
            State::Trailers(trailers) => (false, Some(trailers)),
        };
        let taken = take(&waiting, last, trailers);
        waiting.clear();
        match taken {
            Ok(()) if matches!(*state, State::Coming) => Poll::Pending,
            taken => Poll::Ready(taken),
        }
    }

    /// Whether all of the main request has come.
    fn is_complete(&self) -> bool {
        !matches!(*self.state.borrow(), State::Coming)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl BodySource for Body {
    fn poll_into(&self, cx: &mut Context<'_>, up: &mut Exchange) -> Poll<Result<(), GivenUp>> {
        if !self.has_room(cx, up) {
            return Poll::Pending;
        }
        self.poll_take(cx, |data, last, trailers| {
            if !data.is_empty() || last {
                up.encode_data(data, last);
            }
            if let Some(trailers) = trailers {
                up.encode_trailers(trailers);
            }
            Ok(())
        })
    }
}

/// A copy goes, in a task of its own. Its time begins when it has the whole request.
fn send(
    worker: &Rc<Worker>,
    cluster: Rc<Cluster>,
    (head, body, filtered): (RequestHead, Option<Rc<Body>>, Option<Filtered>),
    timeout: Option<Duration>,
    span: Option<CallSpan>,
) {
    let clock = Rc::clone(worker);
    worker.spawn(async move {
        let tried = span.is_some().then(Tried::default);
        let call = Call { head: &head, body: None, keep: 0, tried: tried.as_ref() };
        let mut copy = pin!(async {
            match (filtered, &body) {
                (Some(filtered), body) => filtered.send(body.as_deref(), &cluster, tried.as_ref()).await,
                (None, None) => call.send(&cluster).await,
                (None, Some(body)) => call.stream(&cluster, &**body).await,
            }
        });
        let mut complete = body.is_none().then(|| clock.now());
        let mut timer = LazyTimer::new();
        let mut answer = Err(NoAnswer::TimedOut);
        let in_time = poll_fn(|cx| {
            if let Poll::Ready(came) = copy.as_mut().poll(cx) {
                answer = came;
                return Poll::Ready(true);
            }
            if complete.is_none() && body.as_ref().is_some_and(|body| body.is_complete()) {
                complete = Some(clock.now());
            }
            let deadline = complete.zip(timeout).and_then(|(at, limit)| at.checked_add(limit));
            timer.poll(cx, clock.now(), deadline).map(|_| false)
        });
        if !in_time.await {
            call::timed_out(&cluster, true);
        }
        if let Some((mut span, tried)) = span.zip(tried.as_ref()) {
            span.tag_answer(cluster.info(), tried, Some(answer.as_ref().map_err(|none| *none)));
            span.end(&clock);
        }
    });
}

/// The copy's host: a literal one, or the request's with `-shadow` before its port.
fn rewrite_host(head: &mut RequestHead, policy: &MirrorPolicy) {
    if let Some(host) = &policy.host {
        head.headers.set(Known::Authority, host.as_bytes());
    } else if policy.suffix {
        let host = head.headers.get(Known::Authority).unwrap_or_default();
        let port = port_start(host).unwrap_or(host.len());
        let (name, port) = host.split_at_checked(port).unwrap_or((host, b""));
        let shadow = [name, b"-shadow", port].concat();
        head.headers.set(Known::Authority, &shadow);
    }
}

/// The copy came by this machine.
fn append_address(head: &mut RequestHead, own: IpAddr) {
    let own = own.to_string();
    let all = match head.headers.get(Known::XForwardedFor).filter(|old| !old.is_empty()) {
        Some(old) => [old, b",", own.as_bytes()].concat(),
        None => own.into_bytes(),
    };
    head.headers.set(Known::XForwardedFor, &all);
}
