//! Internal redirects: an upstream's redirect becomes another request of the same stream.

use super::flight::Flight;
use super::info_of_cluster;
use crate::hcm::exchange::Downstream;
use crate::hcm::stream::Stream;
use crate::route::{Found, InternalRedirects, MatchContext, PeerCertificate, port_start};
use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use std::rc::Rc;
use std::sync::Arc;

/// What an absolute URL is made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// In lower case.
    scheme: String,
    authority: &'a [u8],
    /// Without a fragment; `/` where there is neither path nor query.
    path: &'a [u8],
}

impl Target<'_> {
    /// Points a request at it.
    pub fn point(&self, head: &mut RequestHead) {
        head.headers.set(Known::Scheme, self.scheme.as_bytes());
        head.headers.set(Known::Authority, self.authority);
        head.headers.set(Known::Path, self.path);
    }
}

/// Takes a URL apart: a `location`, say. As in Envoy only a whole one can be followed.
pub fn target(url: &[u8]) -> Option<Target<'_>> {
    let colon = url.iter().position(|b| *b == b':')?;
    let (scheme, rest) = url.split_at(colon);
    let first = scheme.first().is_some_and(u8::is_ascii_alphabetic);
    let good = scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let rest = rest.strip_prefix(b"://").filter(|_| first && good)?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let userinfo = authority.iter().rposition(|b| *b == b'@').map_or(0, |at| at + 1);
    let authority = authority.get(userinfo..).filter(|host| !host.is_empty() && !host.starts_with(b":"))?;
    if authority.iter().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) || !has_good_port(authority)
    {
        return None;
    }
    let fragment = path.iter().position(|b| *b == b'#').unwrap_or(path.len());
    let path = path.get(..fragment).filter(|path| !path.is_empty()).unwrap_or(b"/");
    if path.iter().any(|b| *b == b' ' || b.is_ascii_control() && !b.is_ascii_whitespace()) {
        return None;
    }
    Some(Target { scheme: String::from_utf8_lossy(scheme).to_ascii_lowercase(), authority, path })
}

/// Whether the port of an authority, where it has one, is a number that ports may have.
fn has_good_port(authority: &[u8]) -> bool {
    port_start(authority)
        .and_then(|at| authority.get(at + 1..))
        .is_none_or(|port| std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok()))
}

/// Whether the response in the stream's heads is followed: then the stream's next request is ready, and this one ends.
#[cold]
pub(super) fn follow<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    policy: &InternalRedirects,
) -> bool {
    let whole = stream.request_complete && flight.replay.is_whole();
    let location = stream.heads.response.headers.get("location").map(<[u8]>::to_vec);
    let location = location.filter(|_| whole);
    let body = location.and_then(|location| rewrite(stream, flight, policy, &location));
    let stats = flight.cluster.stats();
    let Some(body) = body else {
        stats.upstream_internal_redirect_failed_total.inc();
        return false;
    };
    stats.upstream_internal_redirect_succeeded_total.inc();
    stream.begin_again(body);
    true
}

/// Makes the next request of this one, and gives its body; where that may not be, the request stays as it is.
fn rewrite<D: Downstream>(
    stream: &mut Stream<D>,
    flight: &mut Flight<'_>,
    policy: &InternalRedirects,
    location: &[u8],
) -> Option<Vec<u8>> {
    let hcm = Rc::clone(&stream.hcm);
    let stats = &hcm.router_stats;
    if !stream.heads.request.headers.contains(Known::Path) {
        return None;
    }
    let Some(target) = target(location) else {
        stats.passthrough_internal_redirect_bad_location.inc();
        return None;
    };
    // Without TLS it is http, whatever a request says.
    let secure = stream.info.connection.tls().is_some() && stream.heads.request.scheme() != b"http";
    let to_secure = target.scheme != "http";
    if !policy.cross_scheme && secure != to_secure {
        stats.passthrough_internal_redirect_unsafe_scheme.inc();
        return None;
    }
    let mut again = stream.again.take().unwrap_or_default();
    if again.redirects >= policy.most {
        stats.passthrough_internal_redirect_too_many_redirects.inc();
        stream.again = Some(again);
        return None;
    }
    let saved = stream.heads.request.clone();
    copy(&policy.copied, &stream.heads.response.headers, &mut stream.heads.request.headers);
    target.point(&mut stream.heads.request);
    let context = MatchContext {
        info: &stream.info,
        runtime: &hcm.world.runtime,
        peer_certificate: PeerCertificate::of(&stream.info.connection),
        counts: true,
    };
    let route = match stream.routing.table.find(&stream.heads.request, &context) {
        Found::Route(route) => Some(Arc::clone(route)),
        Found::NoRoute(_) | Found::NoVirtualHost => None,
    };
    // The log of this request tells of the route that the next one would take.
    stream.info.upstream.cluster = route.as_ref().and_then(|route| info_of_cluster(stream, route));
    let route = route.map(|route| Arc::clone(&route.name));
    stream.info.route_name = route.clone();
    let accepted = match &route {
        None => {
            stats.passthrough_internal_redirect_no_route.inc();
            false
        }
        Some(to) => {
            let good = policy.accept(&flight.route.name, to, (secure, to_secure), &mut again.followed);
            if !good {
                stats.passthrough_internal_redirect_predicate.inc();
            }
            good
        }
    };
    if !accepted {
        stream.heads.request = saved;
        stream.again = Some(again);
        return None;
    }
    let mut body = flight.replay.take_body();
    let head = &mut stream.heads.request;
    // RFC 9110 section 15.4.4.
    if stream.heads.response.status == 303 && !matches!(head.method(), b"GET" | b"HEAD") {
        head.headers.set(Known::Method, b"GET");
        head.headers.remove(Known::ContentLength);
        body.clear();
    }
    let scheme: &[u8] = if secure { b"https" } else { b"http" };
    let original = [scheme, b"://", saved.authority(), saved.path()].concat();
    head.headers.set(Known::XEnvoyOriginalUrl, &original);
    again.redirects += 1;
    stream.again = Some(again);
    Some(body)
}

/// `response_headers_to_copy`
fn copy(names: &[Box<str>], from: &HeaderMap, to: &mut HeaderMap) {
    for name in names {
        to.remove(&**name);
        for value in from.get_all(&**name) {
            to.append(&**name, value);
        }
    }
}

#[cfg(test)]
mod tests;
