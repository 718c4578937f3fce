//! Moves a request up and its response down at once, in one task.

use super::flight::{Alarm, Attempt, Flight, Limits, Step};
use super::replay::Replay;
use crate::filter::{Instead, LaneEvent};
use crate::hcm::deadlines::Timeout;
use crate::hcm::exchange::{Downstream, DownstreamError, RequestEvent};
use crate::hcm::local_reply::LocalReply;
use crate::hcm::stream::Stream;
use crate::hcm::upgrade;
use crate::why;
use nuncio_codec::h2::Metadata;
use nuncio_upstream::cluster::Cluster;
use nuncio_upstream::host::Host;
use nuncio_upstream::pool::{Exchange, PoolError, StreamError, UpstreamEvent};
use std::task::{Context, Poll};

/// What the pump came to.
#[derive(Debug)]
pub(super) enum Pumped {
    /// This attempt is on a connection: its head is to be sent.
    Connected(usize),
    /// This attempt got no connection.
    NotConnected(usize, Box<PoolError>),
    /// The response's head is in the stream's heads.
    Head {
        /// Whose it is.
        at: usize,
        /// It has no body.
        end_stream: bool,
    },
    /// An informational response is in the stream's heads.
    Informational,
    /// The response is complete.
    Complete,
    /// This attempt failed.
    Upstream(usize, Box<StreamError>),
    /// The downstream side failed.
    Downstream(Box<DownstreamError>),
    /// A timer of the stream ran out.
    Timeout(Timeout),
    /// A timer of the flight ran out.
    Alarm(Alarm),
    /// A filter puts something in the response's stead.
    Filter(Box<Instead>),
    /// The body outgrew what is kept for another attempt while there is none that it could go to.
    BodyTooLarge,
}

/// Moves what can be moved, until something has to be decided. Bytes are taken from a side only while the
/// other side's buffer is below its limit, so that a slow reader slows its sender.
///
/// Whether the client is still there and what time it is are asked where nothing moves any more: most turns end
/// before, with an answer.
pub(super) fn poll<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    cx: &mut Context<'_>,
) -> Poll<Pumped> {
    let (received, sent) = (stream.info.bytes_received, stream.info.bytes_sent);
    loop {
        let mut moved = match poll_request(stream, flight, cx) {
            Ok(moved) => moved,
            Err(end) => {
                // What the upstream was to get before the client failed is its own; nobody waits for it.
                for up in flight.attempts.iter_mut().filter_map(Attempt::live) {
                    let _ = up.poll_flush(cx);
                }
                return Poll::Ready(end);
            }
        };
        let mut at = 0;
        while at < flight.attempts.len() {
            match poll_attempt(stream, flight, at, cx) {
                Turn::Idle => {}
                Turn::Moved => moved = true,
                Turn::Done(pumped) => return Poll::Ready(pumped),
            }
            at += 1;
        }
        if stream.filters_see_bodies()
            && let Poll::Ready(instead) = stream.poll_filters(cx)
        {
            moved = true;
            if let Some(instead) = instead {
                return Poll::Ready(Pumped::Filter(Box::new(instead)));
            }
        }
        if moved && stream.buffered() <= flight.limits.down {
            let up = (stream.info.bytes_received - received) as usize > flight.limits.up;
            let down = (stream.info.bytes_sent - sent) as usize > flight.limits.down;
            if !(up || down) {
                continue;
            }
            return give_way(stream, flight, cx, (up, down));
        }
        let full = stream.buffered() > flight.limits.down;
        if let Poll::Ready(Err(error)) = stream.down.poll_flush(cx) {
            return Poll::Ready(Pumped::Downstream(Box::new(error)));
        }
        moved |= full && stream.buffered() <= flight.limits.down;
        if full || flight.held_back {
            count_pause(stream, flight);
        }
        if !moved {
            break;
        }
    }
    if stream.request_complete
        && let Poll::Ready(error) = stream.down.poll_disconnect(cx)
    {
        return Poll::Ready(Pumped::Downstream(Box::new(error)));
    }
    arm(stream, flight);
    stream.poll_timers(cx).map(|timeout| expired(stream, flight, timeout))
}

/// As much was handed on in this turn as may wait: both sides rest until the others have had their turn.
#[cold]
fn give_way<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    cx: &mut Context<'_>,
    (up, down): (bool, bool),
) -> Poll<Pumped> {
    if let Poll::Ready(Err(error)) = stream.down.poll_flush(cx) {
        return Poll::Ready(Pumped::Downstream(Box::new(error)));
    }
    if up {
        count_client_pause(stream, &flight.cluster, true);
        count_client_pause(stream, &flight.cluster, false);
    }
    if down {
        let stats = flight.cluster.stats();
        stats.upstream_flow_control_paused_reading_total.inc();
        stats.upstream_flow_control_resumed_reading_total.inc();
    }
    cx.waker().wake_by_ref();
    arm(stream, flight);
    stream.poll_timers(cx).map(|timeout| expired(stream, flight, timeout))
}

/// Counts that the upstream is no longer read because the client does not read, and that it is again.
#[cold]
fn count_pause<D: Downstream>(stream: &Stream<D>, flight: &mut Flight<'_>) {
    let held_back = stream.buffered() > flight.limits.down;
    if held_back != flight.held_back {
        flight.held_back = held_back;
        let stats = flight.cluster.stats();
        match held_back {
            true => stats.upstream_flow_control_paused_reading_total.inc(),
            false => stats.upstream_flow_control_resumed_reading_total.inc(),
        }
    }
}

/// The same for the client, whom an upstream that does not read holds back.
#[cold]
fn count_client_pause<D: Downstream>(stream: &Stream<D>, cluster: &Cluster, held_back: bool) {
    let (up, down) = (cluster.stats(), &stream.hcm.stats);
    match held_back {
        true => {
            up.upstream_flow_control_backed_up_total.inc();
            down.downstream_flow_control_paused_reading_total.inc();
        }
        false => {
            up.upstream_flow_control_drained_total.inc();
            down.downstream_flow_control_resumed_reading_total.inc();
        }
    }
}

/// Lets the stream watch the flight's own timers.
#[inline]
fn arm<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) {
    stream.deadlines.attempt = if flight.is_timed() {
        // A WebSocket's request has no end; its answer has to come in time all the same.
        let asked =
            stream.request_complete || (stream.upgrading && upgrade::is_websocket(&stream.heads.request));
        flight.next_deadline(stream.now(), asked)
    } else {
        None
    };
}

fn expired<D: Downstream>(stream: &Stream<D>, flight: &Flight<'_>, timeout: Timeout) -> Pumped {
    let alarm = if timeout == Timeout::Attempt { flight.alarm(stream.now()) } else { None };
    alarm.map_or(Pumped::Timeout(timeout), Pumped::Alarm)
}

/// What became of one attempt in one turn.
enum Turn {
    Idle,
    Moved,
    Done(Pumped),
}

#[inline]
fn poll_attempt<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    at: usize,
    cx: &mut Context<'_>,
) -> Turn {
    let Some(attempt) = flight.attempts.get_mut(at) else { return Turn::Idle };
    let up = match &mut attempt.step {
        Step::Live(up) => up,
        Step::Waiting(pending) => {
            return match pending.poll(cx) {
                Poll::Pending => Turn::Idle,
                Poll::Ready(Ok(up)) => {
                    attempt.step = Step::Live(up);
                    Turn::Done(Pumped::Connected(at))
                }
                Poll::Ready(Err(error)) => Turn::Done(Pumped::NotConnected(at, Box::new(error))),
            };
        }
    };
    let mut turn = Turn::Idle;
    let waiting = up.buffered();
    if up.wants_flush() || attempt.backed_up {
        let _ = up.poll_flush(cx);
        // With room again, the request goes on.
        let backed_up = up.buffered() > flight.limits.up;
        if backed_up != attempt.backed_up {
            attempt.backed_up = backed_up;
            count_client_pause(stream, &flight.cluster, backed_up);
        }
        if waiting > flight.limits.up && !backed_up {
            turn = Turn::Moved;
        }
    }
    if stream.buffered() <= flight.limits.down {
        match up.poll_event(cx, &mut stream.heads.response, &mut stream.heads.response_trailers) {
            Poll::Pending => {}
            Poll::Ready(Err(error)) => return Turn::Done(Pumped::Upstream(at, error)),
            Poll::Ready(Ok(event)) => {
                turn = Turn::Moved;
                if event == UpstreamEvent::Trailers && !flight.load_reported {
                    flight.load_reported = attempt.host.take_load(&stream.heads.response_trailers);
                }
                if let Some(end) = deliver(stream, attempt, at, event, cx) {
                    return Turn::Done(end);
                }
            }
        }
    }
    turn
}

/// Takes the request's next piece, where there is one and those who get it have room, and hands it on.
fn poll_request<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    cx: &mut Context<'_>,
) -> Result<bool, Pumped> {
    if stream.request_complete || !has_room(flight) {
        return Ok(false);
    }
    if stream.down.metadata_is_next() && !flight.attempts.iter_mut().any(|attempt| attempt.live().is_some()) {
        // It waits for the connection, and what came behind it with it.
        return match stream.down.poll_disconnect(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(error) => Err(Pumped::Downstream(Box::new(error))),
        };
    }
    match stream.poll_request(cx) {
        Poll::Pending if flight.config.rejects_early_data && stream.down.held_back() > 0 => {
            let is_connect = stream.heads.request.method() == b"CONNECT";
            if is_connect {
                Err(Pumped::Filter(Box::new(LocalReply::early_connect_data().into())))
            } else {
                Ok(false)
            }
        }
        Poll::Pending => Ok(false),
        Poll::Ready(Err(error)) => Err(Pumped::Downstream(Box::new(error))),
        Poll::Ready(Ok(event)) => {
            hand_up(stream, flight, event, cx)?;
            stream.request_sent();
            Ok(true)
        }
    }
}

/// Whether more of the request may be read: nobody who gets it has too much waiting.
fn has_room(flight: &mut Flight<'_>) -> bool {
    let Limits { up: limit, .. } = flight.limits;
    let mut live = false;
    for attempt in flight.attempts.iter_mut() {
        let through_filters = attempt.filters.see_bodies();
        let waiting = attempt.filters.waiting();
        if let Some(up) = attempt.live() {
            live = true;
            if up.buffered() + waiting > limit {
                return false;
            }
        } else if through_filters {
            live = true;
            if waiting > limit {
                return false;
            }
        }
    }
    live || flight.replay.len() <= limit
}

#[inline]
fn hand_up<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    event: RequestEvent,
    cx: &mut Context<'_>,
) -> Result<(), Pumped> {
    if event == RequestEvent::Metadata {
        metadata_came(stream, flight);
        return Ok(());
    }
    if let Some(shadows) = &mut flight.shadows
        && !shadows.see(event, stream.data(), &stream.heads.request_trailers)
    {
        flight.shadows = None;
    }
    if flight.replay.is_passed_by()
        && let Some(attempt) = flight.attempts.only()
        && !attempt.filters.see_bodies()
        && let Step::Live(up) = &mut attempt.step
    {
        match event {
            RequestEvent::Data { end_stream } => up.send_data(cx, stream.data(), end_stream),
            RequestEvent::Trailers => up.encode_trailers(&stream.heads.request_trailers),
            RequestEvent::End => up.encode_data(&[], true),
            RequestEvent::Metadata => {}
        }
        attempt.progress.passed(stream.request_complete);
        flight.replay.passed(event);
        return Ok(());
    }
    keep(stream, flight, event)
}

/// METADATA goes to the first attempt that is on a connection, ahead of what waits there, and is kept for no other.
#[cold]
fn metadata_came<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) {
    let mut live = flight.attempts.iter_mut().find_map(|attempt| match &mut attempt.step {
        Step::Live(up) if attempt.head_out || !attempt.filters.see_bodies() => Some((&attempt.host, up)),
        Step::Live(_) | Step::Waiting(_) => None,
    });
    while let Some(metadata) = stream.down.take_metadata() {
        if let Some((host, up)) = &mut live {
            hand_up_metadata(stream, host, up, &metadata);
        }
    }
}

/// The same for what came before the request's head could go out.
#[inline]
pub(super) fn hand_up_all_metadata<D: Downstream>(stream: &mut Stream<D>, host: &Host, up: &mut Exchange) {
    while let Some(metadata) = stream.down.take_metadata() {
        hand_up_metadata(stream, host, up, &metadata);
    }
}

/// Writes METADATA of the request, where the cluster allows it.
#[cold]
fn hand_up_metadata<D>(stream: &Stream<D>, host: &Host, up: &mut Exchange, metadata: &Metadata) {
    if !up.encode_metadata(metadata) {
        why::metadata_of_cluster(stream, host.config(), why::Metadata::Sent);
    }
}

/// Writes METADATA of the response, where both sides allow it.
#[cold]
fn hand_down_metadata<D: Downstream>(stream: &mut Stream<D>, host: &Host, metadata: &Metadata) {
    if metadata.is_refused() {
        why::metadata_of_cluster(stream, host.config(), why::Metadata::Received);
    } else if !stream.down.encode_metadata(metadata) {
        why::metadata_not_passed_on(stream);
    }
}

/// Hands a piece on to attempts that are behind, or keeps it for those to come.
#[cold]
fn keep<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    event: RequestEvent,
) -> Result<(), Pumped> {
    if let RequestEvent::Data { .. } = event {
        let buffers = stream.hcm.world.worker.buffers();
        if flight.replay.push(stream.data(), flight.limits.replay, buffers).is_err() {
            flight.cluster.stats().retry_or_shadow_abandoned.inc();
            flight.retry = None;
            if flight.attempts.is_empty() {
                return Err(Pumped::BodyTooLarge);
            }
        }
    }
    flight.replay.passed(event);
    feed(stream, flight)
}

/// Gives every attempt that is on a connection, or has filters before it, what it has not had of the request.
///
/// # Errors
/// A filter answers, or the head that it lets go cannot be written.
pub(super) fn feed<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) -> Result<(), Pumped> {
    let Flight { attempts, replay, .. } = flight;
    for (at, attempt) in attempts.iter_mut().enumerate() {
        if attempt.filters.see_bodies() {
            feed_filters(stream, replay, attempt, at)?;
        } else if let Step::Live(up) = &mut attempt.step {
            replay.feed(&mut attempt.progress, up, &stream.heads.request_trailers);
        }
    }
    replay.settle(attempts.iter_mut().map(|a| &mut a.progress));
    Ok(())
}

/// The same for one whose filters see bodies: what they let out goes to its connection, once it has one.
#[cold]
fn feed_filters<D: Downstream>(
    stream: &mut Stream<D>,
    replay: &Replay,
    attempt: &mut Attempt,
    at: usize,
) -> Result<(), Pumped> {
    let Attempt { filters, step, progress, log, host, head_out, .. } = attempt;
    if filters.head_only() != Some(true)
        && let Some(rest) = replay.rest(progress)
        && let Some(reply) = filters.push(stream, &rest)
    {
        return Err(Pumped::Filter(Box::new(reply.into())));
    }
    let (Step::Live(up), Some(head_only)) = (step, filters.head_only()) else { return Ok(()) };
    if !*head_out {
        *head_out = true;
        log.iter_mut().for_each(|log| log.going(&stream.heads.request));
        up.encode_head(&stream.heads.request, head_only).map_err(|error| Pumped::Upstream(at, error))?;
        hand_up_all_metadata(stream, host, up);
    }
    let sent = filters.give(up, &stream.heads.request_trailers);
    log.iter_mut().for_each(|log| log.sent(sent));
    Ok(())
}

/// Hands an event of the response on; `Some` where the caller has to act.
#[inline]
fn deliver<D: Downstream>(
    stream: &mut Stream<D>,
    attempt: &mut Attempt,
    at: usize,
    event: UpstreamEvent,
    cx: &mut Context<'_>,
) -> Option<Pumped> {
    stream.touch();
    attempt.last_event = stream.deadlines.last_event;
    let Step::Live(up) = &mut attempt.step else { return None };
    match event {
        UpstreamEvent::Head { end_stream } => Some(Pumped::Head { at, end_stream }),
        UpstreamEvent::Informational => Some(Pumped::Informational),
        UpstreamEvent::Metadata => {
            if let Some(metadata) = up.take_metadata() {
                hand_down_metadata(stream, &attempt.host, &metadata);
            }
            None
        }
        _ if attempt.filters.see_bodies() => deliver_filtered(stream, attempt, event, cx),
        UpstreamEvent::Data { end_stream } => {
            if let Some(log) = &mut attempt.log {
                log.received(up.data().len());
            }
            let now = stream.now();
            stream.info.timings.upstream_rx_body_begin.get_or_insert(now);
            stream.send_body(cx, up.data(), end_stream);
            end_stream.then_some(Pumped::Complete)
        }
        UpstreamEvent::Trailers => {
            stream.send_trailers(cx);
            Some(Pumped::Complete)
        }
        UpstreamEvent::End => {
            stream.send_body(cx, &[], true);
            Some(Pumped::Complete)
        }
    }
}

/// Leads what comes behind the response's head through the attempt's filters, and what they let out to the client.
#[cold]
fn deliver_filtered<D: Downstream>(
    stream: &mut Stream<D>,
    attempt: &mut Attempt,
    event: UpstreamEvent,
    cx: &mut Context<'_>,
) -> Option<Pumped> {
    let Attempt { step: Step::Live(up), filters, log, .. } = attempt else { return None };
    if let Some(reply) = filters.push_response(stream, event, up.data()) {
        return Some(Pumped::Filter(Box::new(reply.into())));
    }
    let lane = filters.response()?;
    while let Some(out) = lane.take_event() {
        match out {
            LaneEvent::Data { end_stream } => {
                log.iter_mut().for_each(|log| log.received(lane.data().len()));
                stream.send_body(cx, lane.data(), end_stream);
            }
            LaneEvent::Trailers => stream.send_trailers(cx),
        }
    }
    lane.is_finished().then_some(Pumped::Complete)
}
