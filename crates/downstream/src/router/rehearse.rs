//! A request that is explained and not sent: what the router knows when the host is picked.

use super::cluster_options;
use super::flight::Flight;
use crate::explain::{CONNECTION_MANAGER, Fact, Plan, Script};
use crate::hcm::exchange::Downstream;
use crate::hcm::stream::{Stream, header_context};
use crate::hcm::upgrade;
use crate::route::{Descriptor, HostChoice, Limit, Priority, Subject};
use crate::tracing::upstream::{AttemptSpan, inject};
use nuncio_codec::head::Version;
use nuncio_core::format::FormatContext;
use nuncio_core::why::{Spot, shown};
use nuncio_upstream::cluster::{Cluster, HostSource, UpstreamProtocol};
use nuncio_upstream::host::{Health, Host};
use nuncio_upstream::lb::{LbConfig, LbPolicy, WantedHosts};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The request stands before its host: tells of it all.
#[cold]
pub(super) fn tell<D: Downstream>(script: &Script, stream: &mut Stream<D>, flight: &Flight<'_>, host: &Host) {
    let place = flight.cluster.config().places.whole().place;
    script.stage("filters of the upstream's side", place, &stream.heads.request);
    if stream.info.span.is_some() {
        let start_child = flight.config.start_child_span;
        let span = AttemptSpan::begin(stream, flight.cluster.info(), host, start_child);
        inject(stream, span.as_deref());
        let place = stream.hcm.config.places.spot("tracing").place;
        script.stage("tracing", place, &stream.heads.request);
    }
    // No connection to a host is secured yet, where heads go out.
    stream.hcm.config.policy.on_upstream(&mut stream.heads.request, false);
    let place = stream.hcm.config.places.whole().place;
    script.stage(CONNECTION_MANAGER, place, &stream.heads.request);
    script.forwarded(Plan {
        matched: matched(stream, flight),
        upstream: upstream(stream, flight, host),
        timeouts: timeouts(stream, flight),
        retries: retries(stream, flight),
        rate_limits: rate_limits(stream, flight),
        responses: responses(flight),
    });
}

/// What the request counts as besides, and what it asks to become.
fn matched<D: Downstream>(stream: &Stream<D>, flight: &Flight<'_>) -> Vec<Fact> {
    let Flight { route, action, .. } = flight;
    let mut facts = Vec::new();
    if let Some(name) = &stream.info.virtual_cluster {
        facts.push(Fact::new("virtual_cluster", &**name, route.place_of("virtual_clusters")));
    }
    if let Some(number) = route.stats {
        let prefixes = stream.routing.table.stat_prefixes();
        let prefix = prefixes.get(number as usize).map(|prefix| prefix.trim_end_matches('.'));
        facts.push(Fact::new("stat_prefix", prefix.unwrap_or_default(), route.place_of("stat_prefix")));
    }
    if let Some(kind) = upgrade::requested(&stream.heads.request.headers).filter(|_| stream.upgrading) {
        let ours = action.upgrades.iter().any(|own| own.kind.as_bytes().eq_ignore_ascii_case(kind));
        let place = match ours {
            true => route.place_of("upgrade_configs"),
            false => stream.hcm.config.places.spot("upgrade_configs").place,
        };
        let how = match action.connect.as_ref().is_some_and(|c| c.terminates(&stream.heads.request)) {
            true => "ends here: the host gets its bytes alone",
            false => "is allowed",
        };
        facts.push(Fact::new("upgrade", format!("{} {how}", shown(kind)), place));
    }
    facts
}

/// The stages of `rate_limits` that configurations may name.
const STAGES: RangeInclusive<u32> = 0..=10;

/// What filters that limit rates see of the request, where they look at the route's list or its virtual host's.
fn rate_limits<D: Downstream>(stream: &Stream<D>, flight: &Flight<'_>) -> Vec<Fact> {
    let Flight { route, action, .. } = flight;
    let world = &stream.hcm.world;
    let formats = header_context(&stream.info, &world.worker, world.worker.now());
    let request = Some(&stream.heads.request.headers);
    let subject = Subject {
        head: &stream.heads.request,
        formats: FormatContext { request, ..formats },
        route: Some(route),
        node_cluster: &world.node_cluster,
    };
    let host = &route.virtual_host;
    let lists = [
        ("of the route", &action.rate_limits, route.place_of("rate_limits")),
        ("of the virtual host", &host.rate_limits, host.places.spot("rate_limits").place),
    ];
    let mut facts = Vec::new();
    for (name, limits, place) in lists {
        for stage in STAGES {
            let mut descriptors = Vec::new();
            limits.descriptors(stage, &subject, &mut descriptors);
            for Descriptor { entries, .. } in descriptors {
                let entries: Vec<String> = entries.iter().map(|(k, v)| format!("{k}={v}")).collect();
                let stage = if stage == 0 { String::new() } else { format!(" (stage {stage})") };
                facts.push(Fact::new(name, format!("{}{stage}", entries.join(", ")), place));
            }
        }
    }
    facts
}

/// What becomes of the host's answer.
fn responses(flight: &Flight<'_>) -> Vec<Fact> {
    let Flight { route, action, config, .. } = flight;
    let mut facts: Vec<Fact> = route
        .response_header_changes()
        .map(|(level, place, names)| Fact::new(level.as_str(), format!("changes {names}"), place))
        .collect();
    if let Some(redirects) = &action.redirects {
        let place = route.place_of("internal_redirect_policy");
        facts.push(Fact::new("internal_redirect_policy", redirects.to_string(), place));
    }
    if route.virtual_host.include_attempt_count_in_response {
        let text = "x-envoy-attempt-count tells how many there were";
        facts.push(Fact::new("include_attempt_count_in_response", text, route.virtual_host.place));
    }
    if config.suppress_envoy_headers {
        facts.push(Fact::new("suppress_envoy_headers", "x-envoy-* of the router stay away", None));
    }
    facts
}

fn upstream<D: Downstream>(stream: &Stream<D>, flight: &Flight<'_>, host: &Host) -> Vec<Fact> {
    let Flight { cluster, route, action, .. } = flight;
    let config = cluster.config();
    let at = config.places.whole().place;
    let mut facts = vec![Fact::new("cluster", &*config.name, at)];
    let request = &stream.heads.request;
    let upgrade = stream.upgrading && !action.connect.as_ref().is_some_and(|c| c.terminates(request));
    let protocol = match (config.http.protocol, upgrade) {
        (UpstreamProtocol::Http1, _) => "HTTP/1.1",
        (UpstreamProtocol::Http2, false) => "HTTP/2",
        (UpstreamProtocol::Http2, true) => {
            "HTTP/2, the upgrade as extended CONNECT (RFC 8441): the host has to allow it (allow_connect, and \
             upgrade_configs)"
        }
        (UpstreamProtocol::Downstream, _) => "that of the client",
        (UpstreamProtocol::Auto, _) => "HTTP/2 or HTTP/1.1, as the handshake decides",
    };
    facts.push(Fact::new("protocol", protocol, at));
    facts.push(Fact::new("lb_policy", policy_name(&config.lb), at));
    facts.push(Fact::new("discovery type", discovery_name(&config.discovery.source), at));
    facts.push(Fact::new("hosts", hosts(cluster), config.places.spot("load_assignment").place));
    if action.priority == Priority::High {
        facts.push(Fact::new("priority", "HIGH", route.place_of("priority")));
    }
    for (policy, found) in cluster_options::hash_policies(action, cluster).each(request, &stream.info) {
        let found = found.map_or_else(|| "nothing found".into(), |hash| format!("{hash:016x}"));
        facts.push(Fact::new("hash_policy", format!("{policy}: {found}"), route.place_of("hash_policy")));
    }
    if let Some(hash) = flight.pick.hash {
        facts.push(Fact::new("hash", format!("{hash:016x}"), route.place_of("hash_policy")));
    }
    facts.extend(flight.cookies.iter().map(|cookie| {
        Fact::new("set-cookie", String::from_utf8_lossy(cookie).into_owned(), route.place_of("hash_policy"))
    }));
    let name = host.hostname();
    let named = if name.is_empty() { String::new() } else { format!(" ({name})") };
    facts.push(Fact::new(
        "host",
        format!("{}{named}", host.address()),
        config.places.spot("load_assignment").place,
    ));
    facts.push(Fact::new("chosen by", chosen_by(&config.lb.policy, flight), at));
    if let HostChoice::Automatic = action.host {
        facts.push(Fact::new(
            "auto_host_rewrite",
            "the host's own name, if it has one",
            route.place_of("auto_host_rewrite"),
        ));
    }
    for mirror in cluster_options::mirrors(action, cluster) {
        let (name, runtime) = (mirror.cluster.name(&request.headers), &stream.hcm.world.runtime);
        let chosen = mirror.fraction.enabled(runtime, stream.info.random);
        let chosen = if chosen { "this time" } else { "not this time" };
        facts.push(Fact::new(
            "request_mirror_policies",
            format!("a copy to '{name}', {chosen}"),
            route.place_of("request_mirror_policies"),
        ));
    }
    facts
}

fn policy_name(lb: &LbConfig) -> &'static str {
    if let Some(reports) = &lb.reports {
        return match reports.localities {
            Some(_) => "load_aware_locality",
            None => "client_side_weighted_round_robin",
        };
    }
    match &lb.policy {
        LbPolicy::RoundRobin => "ROUND_ROBIN",
        LbPolicy::LeastRequest(_) => "LEAST_REQUEST",
        LbPolicy::Random => "RANDOM",
        LbPolicy::RingHash(_) => "RING_HASH",
        LbPolicy::Maglev(_) => "MAGLEV",
        LbPolicy::ClusterProvided => "CLUSTER_PROVIDED",
    }
}

fn discovery_name(source: &HostSource) -> &'static str {
    match source {
        HostSource::Static => "STATIC",
        HostSource::StrictDns(_) => "STRICT_DNS",
        HostSource::LogicalDns(_) => "LOGICAL_DNS",
        HostSource::Eds(_) => "EDS",
        HostSource::OriginalDst(_) => "ORIGINAL_DST",
        HostSource::ForwardProxy(_) | HostSource::SubClusters(_) => "envoy.clusters.dynamic_forward_proxy",
        HostSource::Aggregate(_) => "envoy.clusters.aggregate",
    }
}

/// How many hosts there are, and how many of them are healthy.
fn hosts(cluster: &Cluster) -> String {
    cluster.with_hosts(|set| {
        let healthy = set.hosts().filter(|h| h.health_flags().health() == Health::Healthy).count();
        format!("{} ({healthy} healthy)", set.hosts().count())
    })
}

/// Whether the next request goes to the same host, and if not, why.
fn chosen_by(policy: &LbPolicy, flight: &Flight<'_>) -> &'static str {
    if flight.pick.wanted.is_some_and(WantedHosts::gave) {
        return "the request itself, which names it (override_host)";
    }
    let by_hash = matches!(policy, LbPolicy::RingHash(_) | LbPolicy::Maglev(_));
    let none = cluster_options::hash_policies(flight.action, &flight.cluster).is_empty();
    match (by_hash, flight.pick.hash, none) {
        (true, Some(_), _) => "the hash: the same hash goes to the same host",
        (true, None, true) => "chance: the route has no hash_policy, and neither has the cluster",
        (true, None, false) => "chance: no hash_policy found anything in the request",
        (false, _, false) => {
            "its turn or chance: this lb_policy looks at no hash, so that hash_policy is idle"
        }
        (false, _, true) => "its turn or chance: the next request may go elsewhere",
    }
}

/// A time as configurations write it.
fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

fn limited(time: Option<Duration>) -> String {
    time.map_or_else(|| "no limit".into(), seconds)
}

fn timeouts<D: Downstream>(stream: &Stream<D>, flight: &Flight<'_>) -> Vec<Fact> {
    let Flight { route, action, timeouts, cluster, .. } = flight;
    let places = &stream.hcm.config.places;
    let spot = |field: &str| places.spot(field).place;
    let timeout = match (timeouts.global, &action.stream_limits) {
        (None, Some(_)) => "no limit: max_stream_duration stands in its place".into(),
        (time, _) => limited(time),
    };
    let mut facts = vec![Fact::new("timeout", timeout, route.place_of("timeout"))];
    if timeouts.per_try.is_some() {
        facts.push(Fact::new("per_try_timeout", limited(timeouts.per_try), route.place_of("retry_policy")));
    }
    if timeouts.per_try_idle.is_some() {
        facts.push(Fact::new(
            "per_try_idle_timeout",
            limited(timeouts.per_try_idle),
            route.place_of("retry_policy"),
        ));
    }
    facts.push(match action.idle_timeout {
        Some(Limit::Off) => Fact::new("idle_timeout", "no limit", route.place_of("idle_timeout")),
        Some(Limit::After(time)) => Fact::new("idle_timeout", seconds(time), route.place_of("idle_timeout")),
        None => {
            let time = stream.hcm.config.timeouts.stream_idle;
            Fact::new("stream_idle_timeout", limited(time), spot("stream_idle_timeout"))
        }
    });
    if stream.info.protocol == Some(Version::Http2) {
        facts.push(match action.flush_timeout {
            Some(own) => Fact::new("flush_timeout", limited(own.time()), route.place_of("flush_timeout")),
            None => {
                let time = stream.hcm.config.timeouts.stream_flush;
                Fact::new("stream_flush_timeout", limited(time), spot("stream_flush_timeout"))
            }
        });
    }
    if let Some(until) = stream.deadlines.max_duration {
        let (field, place) = match &action.stream_limits {
            Some(_) => ("max_stream_duration", route.place_of("max_stream_duration")),
            None => ("max_stream_duration", spot("common_http_protocol_options/max_stream_duration")),
        };
        facts.push(Fact::new(field, seconds(until.saturating_duration_since(stream.info.start)), place));
    }
    if let Some(time) = stream.hcm.config.timeouts.request {
        facts.push(Fact::new("request_timeout", seconds(time), spot("request_timeout")));
    }
    if timeouts.stream.is_some() {
        let place = cluster.config().places.whole().place;
        facts.push(Fact::new("upstream max_stream_duration", limited(timeouts.stream), place));
    }
    let Spot { place, .. } = cluster.config().places.spot("connect_timeout");
    facts.push(Fact::new("connect_timeout", seconds(cluster.config().connect_timeout), place));
    facts
}

fn retries<D: Downstream>(stream: &Stream<D>, flight: &Flight<'_>) -> Vec<Fact> {
    let Flight { route, action, cluster, retry, .. } = flight;
    let Some(retry) = retry.as_ref().filter(|retry| retry.enabled()) else {
        let why = match cluster_options::retry(action, cluster) {
            None => {
                "none: neither cluster nor route nor virtual host has a retry_policy, and no header asks for one"
            }
            Some(_) => "none: no condition of the retry_policy is in force for this request",
        };
        return vec![Fact::new("retries", why, route.place_of("retry_policy"))];
    };
    let runtime = &stream.hcm.world.runtime;
    let mut facts = retry.told(route.place_of("retry_policy"), runtime);
    let limits = cluster.config().limits.get(flight.priority);
    let bound = match &limits.retry_budget {
        Some(budget) => format!("a retry_budget of {}%", budget.percent),
        None => format!("max_retries {} at once", limits.max_retries),
    };
    facts.push(Fact::new("circuit breaker", bound, cluster.config().places.spot("circuit_breakers").place));
    if flight.timeouts.hedge {
        facts.push(Fact::new(
            "hedge_on_per_try_timeout",
            "another attempt beside the first",
            route.place_of("hedge_policy"),
        ));
    }
    let kept = if stream.request_complete { 0 } else { flight.limits.replay };
    if kept > 0 {
        facts.push(Fact::new(
            "request_body_buffer_limit",
            format!("{kept} bytes"),
            route.place_of("request_body_buffer_limit"),
        ));
    }
    facts
}
