//! Request mirroring: copies of requests go to other clusters, whose answers nobody waits for.

use crate::hcm::exchange::{Downstream, RequestEvent};
use crate::hcm::stream::{Stream, header_context};
use crate::route::MirrorPolicy;
use crate::world::World;
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_net::timer::LazyTimer;
use nuncio_upstream::cluster::{Asking, Cluster, PickContext, RequestPriority};
use nuncio_upstream::outlier::Outcome;
use nuncio_upstream::pool::{Checkout, Exchange, UpstreamEvent};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// The copies of one request, until its body is there.
pub(super) struct Shadows {
    copies: Vec<Shadow>,
    body: Vec<u8>,
    /// Of the body, in bytes.
    limit: usize,
    timeout: Option<Duration>,
}

struct Shadow {
    cluster: Rc<Cluster>,
    head: RequestHead,
}

impl Shadows {
    /// Copies of the stream's request as it goes upstream, by those of `policies` that chance chooses; `None`
    /// where none does.
    pub(super) fn new<D: Downstream>(
        stream: &Stream<D>,
        policies: &[MirrorPolicy],
        limit: usize,
        timeout: Option<Duration>,
    ) -> Option<Box<Self>> {
        let world = &stream.hcm.world;
        let request = &stream.heads.request;
        let own = stream.hcm.config.policy.own_address();
        let copies = policies.iter().filter(|p| p.fraction.enabled(&world.runtime, stream.info.random));
        let copies = copies.filter_map(|policy| {
            let cluster = world.clusters.get(policy.cluster.name(&request.headers))?;
            let mut head = request.clone();
            if !policy.headers.is_empty() {
                policy
                    .headers
                    .apply_request(&mut head, &header_context(&stream.info, &world.worker, stream.now()));
            }
            rewrite_host(&mut head, policy);
            head.headers.set(Known::XEnvoyInternal, b"true");
            append_address(&mut head, own);
            Some(Shadow { cluster, head })
        });
        let copies: Vec<Shadow> = copies.collect();
        let mut shadows = Box::new(Self { copies, body: Vec::new(), limit, timeout });
        if shadows.copies.is_empty() {
            return None;
        }
        if stream.request_complete {
            shadows.send(world, true);
            return None;
        }
        Some(shadows)
    }

    /// A piece of the request came; `false` where nothing more is wanted.
    pub(super) fn see(&mut self, event: RequestEvent, data: &[u8], world: &Rc<World>) -> bool {
        if let RequestEvent::Data { .. } = event {
            if self.body.len() + data.len() > self.limit {
                // The main request goes on; a copy without its end would mean something else.
                return false;
            }
            self.body.extend_from_slice(data);
        }
        if matches!(event, RequestEvent::Data { end_stream: false }) {
            return true;
        }
        self.send(world, false);
        false
    }

    /// The copies go, each in a task of its own.
    fn send(&mut self, world: &Rc<World>, bodiless: bool) {
        let body: Rc<[u8]> = std::mem::take(&mut self.body).into();
        for shadow in std::mem::take(&mut self.copies) {
            let body = Rc::clone(&body);
            let worker = Rc::clone(&world.worker);
            let deadline = self.timeout.and_then(|limit| worker.now().checked_add(limit));
            world.worker.spawn(async move {
                let mut copy = pin!(exchange(&shadow, &body, bodiless));
                let mut timer = LazyTimer::new();
                let status = poll_fn(|cx| match copy.as_mut().poll(cx) {
                    Poll::Ready(status) => Poll::Ready(Some(status)),
                    Poll::Pending => timer.poll(cx, worker.now(), deadline).map(|_| None),
                });
                let status = status.await;
                let stats = shadow.cluster.stats();
                if status.is_none() {
                    stats.upstream_rq_timeout.inc();
                }
                let status = status.unwrap_or(504);
                stats.upstream_rq.inc(status);
                stats.internal_upstream_rq.inc(status);
            });
        }
    }
}

/// Sends a copy and reads its answer to the end; the status, or what a client would have been told.
async fn exchange(shadow: &Shadow, body: &[u8], bodiless: bool) -> u16 {
    let destination = shadow.cluster.destination(&Asking { request: Some(&shadow.head), info: None });
    let pick = PickContext { destination: destination.as_ref(), ..PickContext::default() };
    let Some(host) = shadow.cluster.pick(&pick) else { return 503 };
    let options = host.transport_options(Some((shadow.cluster.config(), &shadow.head)), None);
    let (priority, version) = (RequestPriority::Default, shadow.head.version);
    let mut up = match shadow.cluster.checkout_with(&host, priority, version, options) {
        Ok(Checkout::Ready(up)) => up,
        Ok(Checkout::Wait(mut pending)) => match poll_fn(|cx| pending.poll(cx)).await {
            Ok(up) => up,
            Err(_) => {
                host.report(Outcome::Failed);
                return 503;
            }
        },
        Err(_) => return 503,
    };
    if up.encode_head(&shadow.head, bodiless).is_err() {
        return 503;
    }
    if !bodiless {
        up.encode_data(body, true);
    }
    let status = answer(&mut up).await;
    host.report(status.map_or(Outcome::Failed, Outcome::Response));
    status.unwrap_or(503)
}

/// Reads the answer; `None` where it broke off before its head.
async fn answer(up: &mut Exchange) -> Option<u16> {
    let (mut head, mut trailers, mut status) = (ResponseHead::default(), HeaderMap::new(), None);
    poll_fn(|cx| {
        loop {
            // A failed write shows in reading.
            let _ = up.poll_flush(cx);
            match up.poll_event(cx, &mut head, &mut trailers) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(UpstreamEvent::Head { end_stream })) => {
                    status = Some(head.status);
                    if end_stream {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Ok(UpstreamEvent::Informational)) => head.clear(),
                Poll::Ready(Ok(UpstreamEvent::Data { end_stream: false })) => {}
                Poll::Ready(Ok(
                    UpstreamEvent::Data { end_stream: true } | UpstreamEvent::Trailers | UpstreamEvent::End,
                )) => return Poll::Ready(()),
            }
        }
    })
    .await;
    status
}

/// The copy's host: a literal one, or the request's with `-shadow` before its port.
fn rewrite_host(head: &mut RequestHead, policy: &MirrorPolicy) {
    if let Some(host) = &policy.host {
        head.headers.set(Known::Authority, host.as_bytes());
    } else if policy.suffix {
        let host = head.headers.get(Known::Authority).unwrap_or_default();
        let mut parts = host.split(|b| *b == b':').filter(|part| !part.is_empty());
        let shadow = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(port), None) => [name, b"-shadow:", port].concat(),
            _ => [host, b"-shadow"].concat(),
        };
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
