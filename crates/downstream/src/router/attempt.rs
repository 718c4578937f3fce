//! The attempts of one request: a host, a connection, the request up and the response down; and another, where
//! one fails and the policy wants it.

use super::cluster_options;
use super::failure::{Failure, failed, flag_of};
use super::flight::{Alarm, Attempt, Flight, Step, TimeoutRetry};
use super::override_host::{self, Chosen};
use super::pump::{self, Pumped};
use super::redirect;
use super::rehearse;
use super::retry::{Decision, RetryWorld};
use super::shadow;
use super::timeouts;
use super::upstream_filters::AttemptFilters;
use super::upstream_log::AttemptLog;
use crate::filter::Instead;
use crate::hcm::deadlines::Timeout;
use crate::hcm::exchange::Downstream;
use crate::hcm::local_reply::LocalReply;
use crate::hcm::stream::{End, Heads, Stream};
use crate::hcm::upgrade;
use crate::route::{HostChoice, set_authority};
use crate::tracing::upstream::{self as tracing, AttemptSpan};
use crate::why::{self, Fault};
use nuncio_codec::head::{Known, ResponseHead, Version};
use nuncio_core::stream_info::ResponseFlag;
use nuncio_upstream::cluster::{Carrier, PickContext};
use nuncio_upstream::host::Host;
use nuncio_upstream::outlier::Outcome;
use nuncio_upstream::pool::{Checkout, PoolError};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

/// Leads the request to the cluster and its response to the client.
pub(super) async fn run<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) -> End {
    let end = drive(stream, flight).await;
    flight.end_all(stream);
    flight.replay.release(stream.hcm.world.worker.buffers());
    end
}

async fn drive<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) -> End {
    let mut outcome = attempt(stream, flight);
    loop {
        let failure = match outcome {
            Turn::Going => None,
            Turn::Complete => match complete(stream, flight).await {
                Ok(end) => return end,
                Err(instead) => {
                    outcome = Turn::instead(instead);
                    continue;
                }
            },
            Turn::Failed(failure) => Some(*failure),
            Turn::Redirected | Turn::Rehearsed => {
                flight.end_all(stream);
                return End::Complete;
            }
            Turn::Instead(instead) => {
                flight.end_all(stream);
                let body = flight.replay.take_whole();
                return stream.put_instead(*instead, body).await;
            }
        };
        if let Some(failure) = failure
            && let Some(end) = failed(stream, flight, failure).await
        {
            return end;
        }
        let pumped = poll_fn(|cx| pump::poll(stream, flight, cx)).await;
        if !matches!(pumped, Pumped::Connected(_) | Pumped::Complete) {
            note_bytes(stream, flight);
        }
        outcome = match pumped {
            Pumped::Connected(at) => connected(stream, flight, at),
            Pumped::NotConnected(at, error) => Turn::failed(Failure::pool(Some(at), *error)),
            Pumped::Upstream(at, error) => Turn::failed(Failure::stream(at, &error)),
            Pumped::Head { at, end_stream } => head(stream, flight, at, end_stream),
            Pumped::Informational => {
                informational(stream, flight);
                Turn::Going
            }
            Pumped::Complete => Turn::Complete,
            Pumped::Alarm(Alarm::BackOff) => again(stream, flight),
            Pumped::Alarm(Alarm::PerTry(at)) => match timeouts::per_try(stream, flight, at) {
                Some(failure) => Turn::failed(failure),
                None => Turn::Going,
            },
            Pumped::Alarm(Alarm::Log(at)) => {
                let now = stream.now();
                flight.log(at).into_iter().for_each(|log| log.tick(now));
                Turn::Going
            }
            Pumped::Alarm(Alarm::StreamDuration(at)) => Turn::failed(timeouts::stream_duration(flight, at)),
            Pumped::Alarm(Alarm::PerTryIdle(at)) => Turn::failed(timeouts::per_try_idle(stream, flight, at)),
            Pumped::Timeout(Timeout::Route) => return timeouts::route(stream, flight).await,
            Pumped::Timeout(timeout) => {
                flight.end_all(stream);
                return stream.timed_out(timeout).await;
            }
            Pumped::Downstream(error) => {
                flight.end_all(stream);
                return stream.downstream_failed(*error).await;
            }
            Pumped::Filter(instead) => Turn::Instead(instead),
            Pumped::BodyTooLarge => {
                why::body_too_large(stream, flight.route, flight.limits.replay);
                Turn::instead(LocalReply::retry_buffer_exceeded())
            }
        };
    }
}

/// What a step came to.
enum Turn {
    /// There is more to come.
    Going,
    /// The response is complete.
    Complete,
    /// An attempt failed.
    Failed(Box<Failure>),
    /// The router answers, or a filter puts something in the response's stead.
    Instead(Box<Instead>),
    /// The response is followed: this request ends, and the stream has the next one.
    Redirected,
    /// The request is explained: its host is known, and nothing is sent.
    Rehearsed,
}

impl Turn {
    /// Boxed, so that the turns of a request that fares well are small.
    #[cold]
    fn failed(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }

    #[cold]
    fn instead(instead: impl Into<Instead>) -> Self {
        Self::Instead(Box::new(instead.into()))
    }
}

/// The first attempt.
fn attempt<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) -> Turn {
    let host = match override_host::choose(&stream.info, &flight.cluster) {
        Chosen::Nobody => flight.cluster.pick(&flight.pick),
        Chosen::Only(host) => host,
    };
    begin(stream, flight, host)
}

/// The back-off is over: another attempt, by the rules of the policy.
fn again<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) -> Turn {
    let because_of_timeout = flight.back_off.take().is_some_and(|(_, timeout)| timeout);
    let there = refresh_cluster(stream, flight);
    // By the head as the attempt before left it; and a cookie is made once more, as in Envoy.
    flight.pick.hash = cluster_options::hash(stream, flight.action, &flight.cluster, &mut flight.cookies);
    timeouts::announce_retry(stream, flight, because_of_timeout);
    if !there {
        return begin(stream, flight, None);
    }
    let cx = PickContext { ..flight.pick };
    let host = match &mut flight.retry {
        Some(retry) => retry.pick(&flight.cluster, &cx),
        None => flight.cluster.pick(&cx),
    };
    begin(stream, flight, host)
}

/// `refresh_cluster_on_retry`: whoever named the cluster is asked again, with the head as the attempt before left it.
/// `false` where the cluster that it names now does not exist.
fn refresh_cluster<D>(stream: &mut Stream<D>, flight: &mut Flight<'_>) -> bool {
    let Some(specifier) = &flight.action.specifier else { return true };
    if !flight.retry.as_ref().is_some_and(|retry| retry.refreshes_cluster()) {
        return true;
    }
    let name = specifier.name(&stream.heads.request, &stream.info);
    let cluster = stream.hcm.world.clusters.get(name);
    stream.info.upstream.cluster = cluster.as_ref().map(|cluster| Rc::clone(cluster.info()));
    match cluster {
        Some(cluster) => {
            flight.cluster = cluster;
            true
        }
        None => false,
    }
}

/// Takes the request to a host.
fn begin<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>, host: Option<Rc<Host>>) -> Turn {
    stream.info.upstream.attempts += 1;
    let Some(host) = host else {
        if flight.attempts.is_empty() {
            stream.info.upstream.host = None;
        }
        return Turn::failed(Failure::no_host());
    };
    let up = &mut stream.info.upstream;
    up.transport_failure = None;
    if flight.attempts.is_empty() {
        up.connection = None;
    }
    up.host = Some(host.info());
    if let Some(retry) = &mut flight.retry {
        retry.attempted(&host);
    }
    if flight.timeouts.stream_by_cluster {
        flight.timeouts.stream = host.config().http.max_stream_duration;
    }
    rewrite_host_automatically(stream, flight, &host);
    if let Some(script) = stream.down.script() {
        let place = flight.route.place_of("auto_host_rewrite");
        script.stage("auto_host_rewrite", place, &stream.heads.request);
    }
    override_host::tell(&mut stream.info, &flight.cluster, &host);
    let mut filters = AttemptFilters::default();
    if let Some(live) = &flight.filters {
        filters = AttemptFilters::new(live, stream, flight.limits.replay);
        let head_only = flight.replay.is_head_only(stream.info.upstream.attempts > 1);
        if let Some(reply) = filters.start(stream, head_only) {
            return Turn::instead(reply);
        }
    }
    if let Some(script) = stream.down.script().cloned() {
        rehearse::tell(&script, stream, flight, &host);
        return Turn::Rehearsed;
    }
    if std::mem::take(&mut flight.mirrored) {
        shadow::send_copies(stream, flight);
    }
    let span = match &stream.info.span {
        None => None,
        Some(_) => {
            let cluster = flight.cluster.info();
            AttemptSpan::begin(stream, cluster, &host, flight.config.start_child_span)
        }
    };
    let mut log = match &flight.config.upstream_log {
        None => None,
        Some(to) => Some(AttemptLog::begin(to, stream, flight.cluster.info())),
    };
    let now = stream.now();
    stream.info.timings.upstream_pool_begin = Some(now);
    let request = &stream.heads.request;
    let connect = flight.action.connect.as_ref();
    let bytes_alone = match flight.cluster.config().http.carrier {
        Carrier::ByRoute => connect.is_some_and(|connect| connect.terminates(request)),
        Carrier::Http => false,
        Carrier::Bytes => true,
    };
    let checkout = match bytes_alone {
        true => {
            let options = host.transport_options(None, Some(&stream.info));
            let client = &*stream.info.connection;
            let head = connect.and_then(|connect| connect.proxy_head.as_ref());
            let first = head.map(|head| head.head(client)).unwrap_or_default();
            flight.cluster.checkout_tcp(&host, flight.priority, options, first)
        }
        _ if host.has_transport_options(flight.cluster.config(), &stream.info) => {
            let asked = Some((flight.cluster.config(), request));
            let options = host.transport_options(asked, Some(&stream.info));
            flight.cluster.checkout_with(&host, flight.priority, request.version, options)
        }
        _ => flight.cluster.checkout(&host, flight.priority, request.version),
    };
    let (step, ready) = match checkout {
        Ok(Checkout::Ready(up)) => (Step::Live(up), true),
        Ok(Checkout::Wait(pending)) => (Step::Waiting(pending), false),
        Err(error) => {
            if let Some(mut span) = span {
                span.broke(error.reason());
                span.end(stream);
            }
            log.iter_mut().for_each(|log| log.failed(flag_of(error.reason())));
            let at = flight.attempts.len();
            if error == PoolError::PoolOverflow {
                // As to Envoy, nobody asked a pool.
                stream.info.timings.upstream_pool_begin = None;
            }
            flight.failed_host = Some(host);
            return Turn::failed(Failure::pool((!error.names_host()).then_some(at), error));
        }
    };
    let at = flight.attempts.push(Attempt::new(host, step, now, (span, log, filters)));
    if ready {
        return connected(stream, flight, at);
    }
    if flight.filters.is_some() {
        return feed(stream, flight);
    }
    Turn::Going
}

/// Gives attempts what they have not had of the request's body.
fn feed<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) -> Turn {
    match pump::feed(stream, flight) {
        Ok(()) => Turn::Going,
        Err(Pumped::Filter(instead)) => Turn::Instead(instead),
        Err(Pumped::Upstream(at, error)) => Turn::failed(Failure::stream(at, &error)),
        // Nothing else comes of it.
        Err(_) => Turn::Going,
    }
}

/// An attempt is on a connection: the request's head goes out, and what is known of its body.
fn connected<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>, at: usize) -> Turn {
    let now = stream.now();
    let Some(attempt) = flight.attempts.get_mut(at) else { return Turn::Going };
    attempt.last_event = now;
    attempt.over_by = flight.timeouts.stream.and_then(|most| now.checked_add(most));
    let progress = &mut attempt.progress;
    let Step::Live(up) = &mut attempt.step else { return Turn::Going };
    stream.info.upstream.connection = Some(Rc::clone(up.connection()));
    attempt.host.report(Outcome::Connected);
    let secured = up.connection().tls.is_some();
    stream.hcm.config.policy.on_upstream(&mut stream.heads.request, secured);
    if stream.info.span.is_some() {
        let protocol = up.connection().protocol;
        attempt.span.iter_mut().for_each(|span| span.connected(protocol));
        tracing::inject(stream, attempt.span.as_deref());
    }
    if let Some(log) = &mut attempt.log {
        log.connected(up.connection(), &stream.heads.request);
    }
    stream.begin_upstream();
    stream.count_apart(|apart| apart.upstream_rq_total.inc());
    if attempt.filters.see_bodies() {
        return feed(stream, flight);
    }
    let head_only = flight.replay.is_head_only(stream.info.upstream.attempts > 1);
    if let Err(error) = up.encode_head(&stream.heads.request, head_only) {
        return Turn::failed(Failure::stream(at, &error));
    }
    if head_only {
        *progress = super::replay::Progress::head_only();
        return Turn::Going;
    }
    pump::hand_up_all_metadata(stream, &attempt.host, up);
    feed(stream, flight)
}

/// `auto_host_rewrite`: the request goes to the picked host under the host's own name, if it has one.
fn rewrite_host_automatically<D>(stream: &mut Stream<D>, flight: &Flight<'_>, host: &Host) {
    let Flight { action, config, .. } = flight;
    if matches!(action.host, HostChoice::Automatic) && !host.hostname().is_empty() {
        let head = &mut stream.heads.request;
        let name = host.hostname().as_bytes();
        set_authority(head, name, action.append_x_forwarded_host, !config.suppress_envoy_headers);
    }
}

/// A response's head came: another try, or stats, headers, filters, and on to the client.
fn head<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>, at: usize, end_stream: bool) -> Turn {
    if flight.filters.is_some()
        && let Some(attempt) = flight.attempts.get_mut(at)
        && let Some(reply) = attempt.filters.respond(stream, end_stream)
    {
        return Turn::instead(reply);
    }
    if let Some(log) = flight.log(at) {
        log.answered(&stream.heads.response);
    }
    flight.charge(at).report_response(stream);
    flight.take_load(at, &stream.heads.response.headers);
    if let Some(span) = flight.span(at) {
        span.answered(stream.heads.response.status, end_stream, stream.now());
    }
    if stream.heads.response.headers.contains(Known::XEnvoyImmediateHealthCheckFail)
        && let Some(attempt) = flight.attempts.get(at)
    {
        attempt.host.says_it_leaves();
    }
    if flight.retry.is_some() {
        if response_is_retried(stream, flight, at) {
            stream.heads.response.clear();
            return Turn::Going;
        }
        // The answer stands, and nothing is tried any more.
        flight.retry = None;
    }
    if let Some(policy) = &flight.action.redirects
        && policy.wants(stream.heads.response.status)
        && redirect::follow(stream, flight, policy)
    {
        return Turn::Redirected;
    }
    let verdict = if stream.upgrading { upgrade_answered(stream, flight, at) } else { Handshake::None };
    flight.settle_on(stream, at);
    let end_stream = end_stream || verdict == Handshake::Failed;
    if let Err(reply) = respond(stream, flight, verdict, end_stream) {
        return Turn::instead(reply);
    }
    if end_stream { Turn::Complete } else { Turn::Going }
}

/// Whether the response in the stream's heads is not the one for the client: another try is made, or another
/// attempt may yet give a better one.
#[cold]
fn response_is_retried<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>, at: usize) -> bool {
    let Some(retry) = &flight.retry else { return false };
    let Heads { request, response, .. } = &*stream.heads;
    let wanted = retry.wants_response(request, response);
    let hedged = flight.attempts.get(at).is_some_and(|a| a.hedged);
    if !wanted && !hedged && !retry.is_retrying() {
        return false;
    }
    let status = stream.heads.response.status;
    if hedged {
        // Another try was begun in its stead already.
        return wanted && pass_over(stream, flight, at);
    }
    match decide(stream, flight, wanted, true) {
        Decision::Retry(delay) => {
            flight.charge(at).retried(stream, status);
            plan(stream, flight, Some(at), delay, false);
            true
        }
        Decision::No => false,
        Decision::Overflow => {
            retries_overflow(stream, flight);
            pass_over(stream, flight, at)
        }
        Decision::LimitExceeded => {
            stream.info.flags.set(ResponseFlag::UpstreamRetryLimitExceeded);
            pass_over(stream, flight, at)
        }
    }
}

/// `max_retries` or the retry budget refused another try.
#[cold]
pub(super) fn retries_overflow<D: Downstream>(stream: &mut Stream<D>, flight: &Flight<'_>) {
    stream.info.flags.set(ResponseFlag::UpstreamOverflow);
    why::of_stream(stream, &flight.cluster, Fault::Breaker("max_retries` or `retry_budget"));
}

/// A bad answer is dropped while others may still come; `false` where none may.
fn pass_over<D: Downstream>(stream: &Stream<D>, flight: &mut Flight<'_>, at: usize) -> bool {
    if flight.attempts.len() < 2 && flight.back_off.is_none() {
        return false;
    }
    flight.charge(at).host_error();
    flight.end(stream, at);
    true
}

/// Asks the policy, if there is one, what to do about what came of an attempt.
pub(super) fn decide<D: Downstream>(
    stream: &Stream<D>,
    flight: &mut Flight<'_>,
    wanted: bool,
    answered: bool,
) -> Decision {
    let Flight { retry: Some(retry), cluster, priority, .. } = flight else { return Decision::No };
    let world = &stream.hcm.world;
    let now = stream.info.start_wall + world.worker.since(stream.info.start);
    let wall = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let around =
        RetryWorld { cluster, priority: *priority, runtime: &world.runtime, rng: world.worker.rng(), wall };
    let response: Option<&ResponseHead> = answered.then_some(&stream.heads.response);
    let (decision, succeeded) = retry.decide(wanted, response, &around);
    stream.count_apart(|apart| match decision {
        Decision::Retry(_) => apart.upstream_rq_retry.inc(),
        Decision::Overflow => apart.upstream_rq_retry_overflow.inc(),
        Decision::LimitExceeded => apart.upstream_rq_retry_limit_exceeded.inc(),
        Decision::No if succeeded => apart.upstream_rq_retry_success.inc(),
        Decision::No => {}
    });
    decision
}

/// Another attempt will be made after `delay`; the one at `at`, if any, ends here.
pub(super) fn plan<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    at: Option<usize>,
    delay: std::time::Duration,
    because_of_timeout: TimeoutRetry,
) {
    if let Some(at) = at {
        flight.carry(at);
        flight.end(stream, at);
    }
    flight.back_off = stream.now().checked_add(delay).map(|at| (at, because_of_timeout));
}

/// The response's head is the client's: stats, headers, filters, and on.
///
/// # Errors
/// A filter puts something in the response's stead.
fn respond<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &Flight<'_>,
    handshake: Handshake,
    end_stream: bool,
) -> Result<(), Instead> {
    let now = stream.now();
    stream.info.timings.upstream_rx_begin = Some(now);
    let failed = handshake == Handshake::Failed;
    let details = match failed {
        true => "websocket_handshake_unsuccessful",
        false => "via_upstream",
    };
    stream.info.details = Some(details.into());
    // The formats of response headers read it.
    stream.info.response_code = Some(stream.heads.response.status);
    if let Some(since) =
        stream.info.timings.downstream_rx_end.filter(|_| !flight.config.suppress_envoy_headers)
    {
        let elapsed = stream.hcm.world.worker.since(since).as_millis();
        let headers = &mut stream.heads.response.headers;
        headers.set_number(Known::XEnvoyUpstreamServiceTime, elapsed as u64);
    }
    flight.charge(0).response(stream, failed);
    for cookie in &flight.cookies {
        stream.heads.response.headers.append("set-cookie", cookie);
    }
    if flight.route.mutates_responses() {
        stream.mutate_response(flight.route, now);
    }
    stream.respond(end_stream)
}

/// The response is complete: what is left of it is sent.
///
/// # Errors
/// A filter puts something in the response's stead.
async fn complete<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) -> Result<End, Instead> {
    note_bytes(stream, flight);
    let charge = flight.charge(0);
    charge.sizes(stream, &flight.timeouts);
    charge.complete(stream);
    stream.info.timings.upstream_rx_end = Some(stream.now());
    if let Some(span) = flight.span(0) {
        span.complete();
    }
    flight.end_all(stream);
    stream.settle().await
}

/// What the first attempt has carried so far, and those before it, for the log.
#[inline(always)]
fn note_bytes<D>(stream: &mut Stream<D>, flight: &Flight<'_>) {
    if let Some(Attempt { step: Step::Live(up), .. }) = flight.attempts.first() {
        let bytes = &mut stream.info.upstream.bytes;
        *bytes = up.bytes();
        if let Some(before) = &flight.carried {
            *bytes = before.then(*bytes, up.connection().protocol == Some(Version::Http2));
        }
    }
}

/// What an answer is to a WebSocket's handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    /// None was asked for, it succeeds, or the answer goes on as it is.
    None,
    /// It has failed: what goes on of the answer is its head.
    Failed,
}

/// An upgrade is answered. Where it is granted, only idle time counts from now on; so it does where an HTTP/2 host
/// refuses a WebSocket, for to Envoy any answer of its ends the handshake.
#[cold]
fn upgrade_answered<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>, at: usize) -> Handshake {
    let up = flight.attempts.get_mut(at).and_then(Attempt::live);
    let by_http2 = up.is_some_and(|up| up.connection().protocol == Some(Version::Http2));
    let Heads { request, response, .. } = &mut *stream.heads;
    let websocket = upgrade::is_websocket(request);
    let granted = upgrade::switches(response, request);
    let failed = websocket && !by_http2 && upgrade::fails_handshake(response);
    if failed {
        response.headers.remove(Known::ContentLength);
        response.headers.remove(Known::TransferEncoding);
    }
    if !granted {
        why::refused_upgrade(stream, &flight.cluster, &stream.heads.response);
    }
    let let_through = !granted && websocket && by_http2;
    if let_through {
        stream.deadlines.route = None;
        stream.down.let_through();
    }
    if granted || let_through {
        flight.timeouts.per_try_idle = None;
    }
    if failed { Handshake::Failed } else { Handshake::None }
}

/// A 1xx: the first of those that Envoy knows is passed on, where the connection manager says so, and counted as an answer of
/// the upstream; then nothing is tried again.
fn informational<D: Downstream>(stream: &mut Stream<D>, flight: &mut Flight<'_>) {
    if stream.heads.response.is_passed_on_early() && !stream.interim_seen {
        stream.interim_seen = true;
        flight.retry = None;
        flight.charge(0).interim(stream);
        if stream.hcm.config.proxy_100_continue {
            stream.inform();
        }
    }
    stream.heads.response.clear();
}
