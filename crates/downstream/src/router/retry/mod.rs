//! Retries: what a policy and the request's headers say, and what was decided so far for one request.

mod policy;

pub use policy::RetryPolicy;

use crate::explain::Fact;
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead};
use nuncio_core::config::Place;
use nuncio_core::matcher::HeaderMatcher;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use nuncio_upstream::cluster::{Cluster, Permit, PickContext, RequestPriority};
use nuncio_upstream::error::ResetReason;
use nuncio_upstream::host::Host;
use nuncio_upstream::retry_on::RetryOn;
use nuncio_upstream::retry_plugin::PriorityLoads;
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// What is done about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// No condition holds.
    No,
    /// Another try is made after this time.
    Retry(Duration),
    /// A condition holds, but a circuit breaker or the retry budget refuses.
    Overflow,
    /// A condition holds, but all tries are used up.
    LimitExceeded,
}

/// The tries of one request. One that asks for nothing of its own, and is not tried again, allocates nothing.
pub(super) struct RetryState {
    policy: Arc<RetryPolicy>,
    on: RetryOn,
    left: u32,
    /// Held from the decision to the next one: a retry counts as active as long as it lasts.
    permit: Option<Permit>,
    attempted: SmallVec<[Rc<Host>; 1]>,
    more: Option<Box<More>>,
}

/// What few requests have: those whose headers ask for it, and those that are tried again.
#[derive(Default)]
struct More {
    /// `x-envoy-retriable-status-codes`
    codes: Vec<u32>,
    /// `x-envoy-retriable-header-names`
    headers: Vec<Box<str>>,
    /// Once there was a retry.
    back_off: Option<Interval>,
    priority: Option<Box<dyn PriorityLoads>>,
}

/// An interval that doubles up to a maximum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    next: Duration,
    max: Duration,
}

/// `425 Too Early`
const TOO_EARLY: u32 = 425;

/// Runtime key and default of the back-off's base, in milliseconds.
const BASE_KEY: (&str, u64) = ("upstream.base_retry_backoff_ms", 25);

/// What holds where a request's headers ask for retries and its route says nothing.
static NO_POLICY: LazyLock<Arc<RetryPolicy>> = LazyLock::new(Arc::default);

impl RetryState {
    /// The state for a request whose route has `policy`; `None` where neither it nor the headers ask for
    /// retries. `steered`: there may be headers that do. They stay; the router removes them.
    pub(super) fn new(policy: Option<&Arc<RetryPolicy>>, headers: &HeaderMap, steered: bool) -> Option<Self> {
        let asked =
            steered && (headers.contains(Known::XEnvoyRetryOn) || headers.contains(Known::XEnvoyRetryGrpcOn));
        let policy = policy.filter(|p| asked || !p.on.is_empty()).or_else(|| asked.then(|| &*NO_POLICY))?;
        let mut state = Self {
            policy: Arc::clone(policy),
            on: policy.on,
            left: policy.retries,
            permit: None,
            attempted: SmallVec::new(),
            more: None,
        };
        if steered {
            state.steer(headers);
        }
        if !policy.request_headers.is_empty() && !policy.request_headers.iter().any(|m| m.matches(headers)) {
            state.on = RetryOn::default();
            state.left = policy.retries;
        }
        Some(state)
    }

    /// Takes what the request's headers ask for.
    #[cold]
    fn steer(&mut self, headers: &HeaderMap) {
        let text = |name: Known| headers.get_str(name);
        self.on = self.on.with(text(Known::XEnvoyRetryOn).map(RetryOn::parse).unwrap_or_default());
        self.on = self.on.with(text(Known::XEnvoyRetryGrpcOn).map(RetryOn::parse_grpc).unwrap_or_default());
        let most = text(Known::XEnvoyMaxRetries).filter(|_| !self.on.is_empty());
        self.left = most.and_then(|n| n.trim().parse().ok()).unwrap_or(self.left);
        let list = |name| text(name).unwrap_or_default().split(',').map(str::trim).filter(|s| !s.is_empty());
        let codes: Vec<u32> =
            list(Known::XEnvoyRetriableStatusCodes).filter_map(|s| s.parse().ok()).collect();
        let headers: Vec<Box<str>> =
            list(Known::XEnvoyRetriableHeaderNames).map(|s| s.to_ascii_lowercase().into()).collect();
        if !(codes.is_empty() && headers.is_empty()) {
            self.more = Some(Box::new(More { codes, headers, ..More::default() }));
        }
    }

    /// Whether another try is possible at all: then the request's body is kept.
    pub(super) fn enabled(&self) -> bool {
        !self.on.is_empty()
    }

    /// The plan, for explanations; the policy stands, with its route, at `place`.
    pub(super) fn told(&self, place: Option<Place>, runtime: &Runtime) -> Vec<Fact> {
        let Self { policy, on, left, .. } = self;
        let mut facts = vec![
            Fact::new("retry_on", on.names().collect::<Vec<_>>().join(","), place),
            Fact::new("num_retries", left.to_string(), place),
        ];
        if on.any(RetryOn::STATUS_CODES) {
            let codes: Vec<String> = self.codes().map(ToString::to_string).collect();
            facts.push(Fact::new("retriable_status_codes", codes.join(","), place));
        }
        let Interval { next, max } = Interval::of(policy, runtime);
        if on.any(RetryOn::HEADERS) {
            let named = self.asked_headers().iter().map(|name| format!("{name} present"));
            let asked: Vec<String> = policy.headers.iter().map(ToString::to_string).chain(named).collect();
            facts.push(Fact::new("retriable_headers", asked.join(", "), place));
        }
        let back_off = format!("by chance below {next:?}, doubled up to {max:?}");
        facts.push(Fact::new("retry_back_off", back_off, place));
        if let Some(limited) = &policy.rate_limited {
            facts.push(Fact::new("rate_limited_retry_back_off", limited.to_string(), place));
        }
        for predicate in &policy.choice.predicates {
            let value = format!("{predicate:?}; {} picks at most", policy.choice.attempts);
            facts.push(Fact::new("retry_host_predicate", value, place));
        }
        if let Some(priority) = &policy.choice.priority {
            facts.push(Fact::new("retry_priority", format!("{priority:?}"), place));
        }
        if policy.refresh_cluster {
            let value = "the cluster specifier is asked again";
            facts.push(Fact::new("refresh_cluster_on_retry", value, place));
        }
        facts
    }

    /// The statuses that are reasons to try again, where such are asked for.
    fn codes(&self) -> impl Iterator<Item = &u32> {
        self.policy.status_codes.iter().chain(self.more.iter().flat_map(|more| &more.codes))
    }

    /// Whether it is tried again at once, because it came too early.
    fn is_too_early(&self, head: &ResponseHead) -> bool {
        u32::from(head.status) == TOO_EARLY
            && self.on.any(RetryOn::STATUS_CODES)
            && self.codes().any(|code| *code == TOO_EARLY)
    }

    fn asked_headers(&self) -> &[Box<str>] {
        self.more.as_ref().map_or(&[], |more| &more.headers)
    }

    /// Whether this head of a response to `request` is a reason to try again.
    pub(super) fn wants_response(&self, request: &RequestHead, head: &ResponseHead) -> bool {
        let on = self.on;
        on.wants_response(head, |head| {
            let status = u32::from(head.status);
            // RFC 8470, section 5.1: who sent early data of its own has to hear that it was too early.
            let told = || status == TOO_EARLY && request.headers.contains("early-data");
            on.any(RetryOn::STATUS_CODES) && self.codes().any(|code| *code == status) && !told()
                || on.any(RetryOn::HEADERS)
                    && (self.policy.headers.iter().any(|matcher| matches_response(matcher, head))
                        || self.asked_headers().iter().any(|name| head.headers.get(&**name).is_some()))
        })
    }

    /// Whether an attempt that ended without a response is a reason to try again. `sent`: the request was
    /// begun on a connection.
    pub(super) fn wants_reset(&self, reason: ResetReason, sent: bool) -> bool {
        self.on.wants_reset(reason, sent)
    }

    /// Decides on what an attempt came to, and counts it for the cluster; says too whether a retry succeeded. `wanted`: it is a reason to try again; `response`
    /// is its head, if there is one, and `now` the time in seconds since 1970.
    pub(super) fn decide(
        &mut self,
        wanted: bool,
        response: Option<&ResponseHead>,
        around: &RetryWorld<'_>,
    ) -> (Decision, bool) {
        let stats = around.cluster.stats();
        if wanted && self.left == 0 {
            // A retry that is under way may succeed yet, beside what has just failed.
            stats.upstream_rq_retry_limit_exceeded.inc();
            return (Decision::LimitExceeded, false);
        }
        let earlier = self.permit.take().is_some();
        if !wanted {
            if earlier {
                stats.upstream_rq_retry_success.inc();
            }
            return (Decision::No, earlier);
        }
        self.left -= 1;
        let Some(permit) = around.cluster.try_retry(around.priority) else {
            stats.upstream_rq_retry_overflow.inc();
            return (Decision::Overflow, false);
        };
        if around.runtime.integer("upstream.use_retry", 100) <= around.rng.below(100) {
            return (Decision::No, false);
        }
        self.permit = Some(permit);
        stats.upstream_rq_retry.inc();
        if response.is_some_and(|head| self.is_too_early(head)) {
            // The answer says that only its time was wrong.
            return (Decision::Retry(Duration::ZERO), false);
        }
        let asked = response.zip(self.policy.rate_limited.as_ref());
        let asked = asked.and_then(|(head, limited)| limited.interval(&head.headers, around.wall));
        let Some(least) = asked.filter(|d| d.as_millis() > 1) else {
            stats.upstream_rq_retry_backoff_exponential.inc();
            let more = self.more.get_or_insert_default();
            let back_off = more.back_off.get_or_insert_with(|| Interval::of(&self.policy, around.runtime));
            return (Decision::Retry(back_off.next(around.rng)), false);
        };
        stats.upstream_rq_retry_backoff_ratelimited.inc();
        let least = least.as_millis() as u64;
        (Decision::Retry(Duration::from_millis(least + around.rng.below(least / 2))), false)
    }

    /// Whether the attempt under way is another try.
    pub(super) fn is_retrying(&self) -> bool {
        self.permit.is_some()
    }

    /// Whether another try asks anew who its cluster is.
    pub(super) fn refreshes_cluster(&self) -> bool {
        self.policy.refresh_cluster
    }

    /// A host was picked for an attempt.
    pub(super) fn attempted(&mut self, host: &Rc<Host>) {
        if self.policy.choice.remembers() {
            self.attempted.push(Rc::clone(host));
        }
    }

    /// Picks a host for another try.
    pub(super) fn pick(&mut self, cluster: &Cluster, cx: &PickContext<'_>) -> Option<Rc<Host>> {
        let Self { policy, attempted, more, .. } = self;
        let plugin = policy.choice.priority.as_ref();
        let memory =
            plugin.map(|plugin| more.get_or_insert_default().priority.get_or_insert_with(|| plugin.begin()));
        policy.choice.pick(attempted, memory.map(|memory| &mut **memory), cluster, cx)
    }
}

/// As of a map that holds the status, too.
fn matches_response(matcher: &HeaderMatcher, head: &ResponseHead) -> bool {
    match matcher.header() {
        ":status" => matcher.matches_value(Some(head.status.to_string().as_bytes())),
        _ => matcher.matches(&head.headers),
    }
}

/// What a decision reads and counts in.
pub(super) struct RetryWorld<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) priority: RequestPriority,
    pub(super) runtime: &'a Runtime,
    pub(super) rng: &'a Rng,
    /// Seconds since 1970.
    pub(super) wall: u64,
}

impl Interval {
    /// From `base` up; at most `max`, ten times the base where it is not set.
    pub(crate) fn new(base: Duration, max: Option<Duration>) -> Self {
        Self { next: base, max: max.unwrap_or(base * 10) }
    }

    fn of(policy: &RetryPolicy, runtime: &Runtime) -> Self {
        let base = policy.back_off.base;
        let base = base.unwrap_or_else(|| Duration::from_millis(runtime.integer(BASE_KEY.0, BASE_KEY.1)));
        Self::new(base, policy.back_off.max)
    }

    /// A time by chance below the present interval, which then doubles.
    pub(crate) fn next(&mut self, rng: &Rng) -> Duration {
        let present = self.next.min(self.max);
        self.next = present.saturating_mul(2).min(self.max);
        Duration::from_millis(rng.below((present.as_millis() as u64).max(1)))
    }
}

/// Whether the head asks that a per-try time-out leaves its attempt running; `None` where it says nothing.
pub(super) fn hedging_asked(head: &RequestHead) -> Option<bool> {
    match head.headers.get(Known::XEnvoyHedgeOnPerTryTimeout)? {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
