//! Why a request did not get to a cluster, or was out of time.

use super::{is_out_of_scope, path_of_table, spot_of_route, tell_of};
use crate::hcm::deadlines::Timeout;
use crate::hcm::normalize::EscapedSlashes;
use crate::hcm::stream::Stream;
use crate::route::{Action, ClusterSpecifier, Found, MatchContext, PeerCertificate, Route};
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::stream_info::StreamInfo;
use nuncio_core::why::{FieldPlaces, Note, Spot, Subject, Why, shown, tell};
use nuncio_upstream::cluster::{ClusterConfig, Drops};
use std::time::Instant;

/// The request, as causes begin: `GET /chat of ws.example`.
fn request(head: &RequestHead) -> String {
    let [method, path, host] = [head.method(), head.path(), head.authority()].map(shown);
    if path.is_empty() { format!("{method} of {host}") } else { format!("{method} {path} of {host}") }
}

/// Neither connection manager nor route allows the upgrade to `kind`.
#[cold]
pub(crate) fn upgrade_not_allowed<D>(stream: &Stream<D>, kind: &[u8]) {
    tell_of(stream, Why::UpgradeNotAllowed, (stream.hcm.config.places.path(), kind), || {
        let kind = shown(kind);
        let same = |name: &str| name.eq_ignore_ascii_case(&kind);
        let asked = format!("{} asks for the upgrade {kind}", request(&stream.heads.request));
        let on_route = stream.route.as_ref().filter(|r| r.upgrades().iter().any(|u| same(&u.kind)));
        if let Some(route) = on_route {
            return Note {
                cause: format!("{asked}, which its route forbids (enabled: false)"),
                change: format!("remove `enabled: false` of {kind}"),
                spot: spot_of_route(stream, route, "route.upgrade_configs"),
            };
        }
        let spot = stream.hcm.config.places.spot("upgrade_configs");
        if stream.hcm.config.upgrades.names(kind.as_bytes()) {
            return Note {
                cause: format!("{asked}, which is switched off (enabled: false) and no route allows"),
                change: format!("remove `enabled: false` of {kind}, or allow it on the route"),
                spot,
            };
        }
        Note {
            cause: format!("{asked}, which neither the connection manager nor the route allows"),
            change: format!(
                "add `- upgrade_type: {}`",
                kind.to_ascii_lowercase().replace("connect", "CONNECT")
            ),
            spot,
        }
    });
}

/// No route takes the request.
#[cold]
pub(crate) fn no_route<D>(stream: &Stream<D>) {
    let routes = &stream.routing.table;
    let head = &stream.heads.request;
    let cx = MatchContext {
        info: &stream.info,
        runtime: &stream.hcm.world.runtime,
        peer_certificate: PeerCertificate::of(&stream.info.connection),
        counts: false,
    };
    if is_out_of_scope(stream) {
        return tell_of(stream, Why::NoVirtualHost, "", || {
            let spot = stream.hcm.config.places.spot("scoped_routes");
            let cause = format!("no scope has the key of {}, which so has no route table", request(head));
            Note { cause, change: "add a scope, or have the request say another one".into(), spot }
        });
    }
    let Some((at, host)) = routes.host_of(head) else {
        return tell_of(stream, Why::NoVirtualHost, head.authority(), || {
            let near = [without_port(head), with_other_case(head)].into_iter().flatten();
            let near = near.filter_map(|(head, how)| Some((routes.host_of(&head)?.1, how))).next();
            let asked = format!("no virtual host has the host of {}", request(head));
            let (cause, change, field) = match near {
                Some((host, how)) => (
                    format!("{asked}; without the port it would be '{}'", host.name),
                    how,
                    ".ignore_port_in_host_matching",
                ),
                None => {
                    (asked, "add the host to `domains` of a virtual host, or one with `*`", ".virtual_hosts")
                }
            };
            let path = format!("{}{field}", path_of_table(stream));
            Note { cause, change: change.into(), spot: Spot { path, place: routes.place() } }
        });
    };
    tell_of(stream, Why::NoRoute, &*host.name, || {
        let mut near = String::new();
        for met in routes.walk(head, &cx) {
            let Some(mismatch) = met.mismatch.filter(|m| !m.is_path()) else { continue };
            let place = met.route.place.map(|p| format!(" ({p})")).unwrap_or_default();
            near = format!("; routes[{}]{place} takes the path, but {mismatch} does not hold", met.at);
            break;
        }
        if near.is_empty() {
            near = near_path(head, |other| match routes.find(other, &cx) {
                Found::Route(route) => Some(route.place.map(|p| format!(" ({p})")).unwrap_or_default()),
                _ => None,
            });
        }
        if head.method() == b"CONNECT" && head.path().is_empty() {
            near = "; CONNECT has no path, so that only `connect_matcher` takes it".into();
        }
        let cause = format!("no route of virtual host '{}' takes {}{near}", host.name, request(head));
        let path = format!("{}.virtual_hosts[{at}].routes", path_of_table(stream));
        let spot = Spot { path, place: host.place.or(routes.place()) };
        Note { cause, change: "add a route that takes it, or change that one's `match`".into(), spot }
    });
}

/// The same request without a port in its host.
fn without_port(head: &RequestHead) -> Option<(RequestHead, &'static str)> {
    let host = head.authority();
    let end = host.iter().rposition(|b| *b == b':')?;
    let port = host.get(end + 1..)?;
    if port.is_empty() || !port.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut other = head.clone();
    other.headers.set(Known::Authority, host.get(..end)?);
    Some((other, "set it to true, or add the host with its port to `domains`"))
}

/// The same request without the dot at the end of its host.
fn with_other_case(head: &RequestHead) -> Option<(RequestHead, &'static str)> {
    let host = head.authority().strip_suffix(b".")?;
    let mut other = head.clone();
    other.headers.set(Known::Authority, host);
    Some((other, "set `strip_trailing_host_dot` of the connection manager"))
}

/// Whether a path that differs a little would be taken, and by which route.
fn near_path(head: &RequestHead, find: impl Fn(&RequestHead) -> Option<String>) -> String {
    let path = head.path();
    let end = path.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(path.len());
    let (bare, rest) = path.split_at(end);
    let with = |bare: &[u8]| {
        let mut other = head.clone();
        other.headers.set(Known::Path, &[bare, rest].concat());
        other
    };
    let slash = match bare.strip_suffix(b"/") {
        Some(shorter) if !shorter.is_empty() => (with(shorter), "without its last slash"),
        _ => (with(&[bare, b"/"].concat()), "with a slash behind it"),
    };
    let lower = (with(&bare.to_ascii_lowercase()), "in lower case");
    let found = [slash, lower].iter().find_map(|(head, how)| Some((find(head)?, *how)));
    found.map(|(place, how)| format!("; {how} a route{place} would take it")).unwrap_or_default()
}

/// The route leads to a cluster that is not there.
#[cold]
pub(crate) fn cluster_not_found<D>(stream: &Stream<D>, route: &Route) {
    let Action::Cluster(action) = &route.action else { return };
    let name = action.cluster.name(&stream.heads.request.headers);
    tell_of(stream, Why::ClusterNotFound, name, || {
        let name = shown(name.as_bytes());
        let (cause, change, field) = match &action.cluster {
            ClusterSpecifier::Name(_) => (
                format!("the route leads to cluster '{name}', which is not configured"),
                "add the cluster, or name one that there is",
                "route.cluster",
            ),
            ClusterSpecifier::Header(header) if name.is_empty() => (
                format!("the request has no header '{header}', which names its cluster"),
                "let a filter or a route before it set the header",
                "route.cluster_header",
            ),
            ClusterSpecifier::Header(header) => (
                format!("the header '{header}' names cluster '{name}', which is not configured"),
                "add the cluster, or let clients not choose",
                "route.cluster_header",
            ),
        };
        Note { cause, change: change.into(), spot: spot_of_route(stream, route, field) }
    });
}

/// A TCP proxy's cluster is not there.
#[cold]
pub(crate) fn no_cluster_for_tcp(places: &FieldPlaces, info: &StreamInfo, now: Instant) {
    tell(Why::ClusterNotFound, places.path(), now, Subject::Stream(info, None), || Note {
        cause: "the cluster that the TCP proxy leads to is not configured".into(),
        change: "add the cluster, or name one that there is".into(),
        spot: places.spot("cluster"),
    });
}

/// The request's body is larger than what is kept of it for another try.
#[cold]
pub(crate) fn body_too_large<D>(stream: &Stream<D>, route: &Route, limit: usize) {
    tell_of(stream, Why::RequestBodyTooLarge, &route.name, || Note {
        cause: format!("the body of {} is larger than {limit} bytes", request(&stream.heads.request)),
        change: "raise it, or take the retry policy away".into(),
        spot: spot_of_route(stream, route, "request_body_buffer_limit"),
    });
}

/// A runtime key keeps the cluster out of service.
#[cold]
pub(crate) fn maintenance<D>(stream: &Stream<D>, cluster: &str) {
    tell_of(stream, Why::MaintenanceMode, cluster, || Note {
        cause: format!("cluster '{cluster}' is in maintenance mode"),
        change: format!("unset the runtime key `upstream.maintenance_mode.{cluster}`"),
        spot: Spot { path: "layered_runtime".into(), place: None },
    });
}

/// The cluster's assignment drops a share of the requests, and this one is of it.
#[cold]
pub(crate) fn dropped<D>(stream: &Stream<D>, cluster: &ClusterConfig, drops: Drops) {
    tell_of(stream, Why::DropOverload, &cluster.name, || Note {
        cause: match drops {
            Drops::All => format!("the assignment of cluster '{}' drops every request", cluster.name),
            Drops::Some => {
                format!("the assignment of cluster '{}' drops a share of the requests", cluster.name)
            }
        },
        change: "lower `policy.drop_overloads`, or cap it by the runtime key \
                 `load_balancing_policy.drop_overload_limit`"
            .into(),
        spot: cluster.places.spot("load_assignment"),
    });
}

/// The request's head was not complete in time.
#[cold]
pub(crate) fn late_head<D>(stream: &Stream<D>) {
    let field = "request_headers_timeout";
    tell_of(stream, Why::StreamTimeout, field, || Note {
        cause: "the request's head was not complete in time".into(),
        change: "raise it, or set it to 0s for no limit".into(),
        spot: stream.hcm.config.places.spot(field),
    });
}

/// A request's path is none that may go on.
#[cold]
pub(crate) fn path_refused<D>(stream: &Stream<D>) {
    let path = stream.heads.request.path();
    let slashes = stream.hcm.config.policy.normalization.escaped_slashes;
    let (what, field, change) = if path.contains(&b'#') {
        ("has a fragment", "", "let the client leave it out")
    } else if slashes != EscapedSlashes::KeepUnchanged {
        // What was unescaped is no longer to be told from what came so.
        (
            "had an escaped slash, or cannot be normalised",
            "path_with_escaped_slashes_action",
            "set it to UNESCAPE_AND_FORWARD or KEEP_UNCHANGED, if hosts read such paths as the routes do",
        )
    } else {
        ("cannot be normalised", "normalize_path", "let the client send a path that stays below `/`")
    };
    tell_of(stream, Why::PathRefused, field, || Note {
        cause: format!("the path of {} {what}", request(&stream.heads.request)),
        change: change.into(),
        spot: stream.hcm.config.places.spot(field),
    });
}

/// A timer ended the stream; `field` is that of the route which sets it, if one does.
#[cold]
pub(crate) fn timed_out<D>(stream: &Stream<D>, timeout: Timeout, details: &str) {
    let places = &stream.hcm.config.places;
    let action = stream.route.as_deref().and_then(|route| match &route.action {
        Action::Cluster(action) => Some((route, &**action)),
        _ => None,
    });
    let (why, cause, field, of_route) = match timeout {
        Timeout::Route | Timeout::Attempt => {
            let field = if details.contains("per_try_idle") {
                "route.retry_policy.per_try_idle_timeout"
            } else if details.contains("per_try") {
                "route.retry_policy.per_try_timeout"
            } else {
                "route.timeout"
            };
            (Why::RouteTimeout, "the upstream did not answer in time", field, true)
        }
        Timeout::StreamIdle => {
            let own = action.is_some_and(|(_, action)| action.idle_timeout.is_some());
            let field = if own { "route.idle_timeout" } else { "stream_idle_timeout" };
            (Why::StreamTimeout, "nothing was sent or received for too long", field, own)
        }
        Timeout::Request => {
            (Why::StreamTimeout, "the request was not complete in time", "request_timeout", false)
        }
        Timeout::MaxDuration => {
            let own = action.is_some_and(|(_, action)| action.stream_limits.is_some());
            let field = if own {
                "route.max_stream_duration"
            } else {
                "common_http_protocol_options/max_stream_duration"
            };
            (Why::StreamTimeout, "the stream lasted too long", field, own)
        }
    };
    let about = (stream.info.route_name.clone(), field);
    tell_of(stream, why, about, || Note {
        cause: format!("{cause} ({}; {details})", request(&stream.heads.request)),
        change: "raise it, or set it to 0s for no limit".into(),
        spot: match (of_route, action) {
            (true, Some((route, _))) => spot_of_route(stream, route, field),
            _ => places.spot(field),
        },
    });
}
