//! Why a stream or a connection failed, where the configuration explains it: one line at `warning` per failure, under
//! an identifier that `docs/why.md` explains.
//!
//! Nothing in here runs while all goes well. Lines are written for the component `config`, so that
//! `--component-log-level config:error` silences them.

mod limit;
mod places;
mod tongue;

pub use limit::{LINES, Limiter, PERIOD, SUBJECTS};
pub use places::{FieldPlaces, Spot};
pub use tongue::Tongue;

use crate::stream_info::{ConnectionInfo, StreamInfo};
use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Makes [`Why`] and its texts of one list.
macro_rules! reasons {
    ($($name:ident $id:literal $doc:literal),+ $(,)?) => {
        /// A cause that the configuration explains.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Why {
            $(#[doc = $doc] $name),+
        }

        impl Why {
            /// All of them, as `docs/why.md` lists them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The identifier that log lines begin with. It stays.
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id),+ }
            }
        }
    };
}

reasons! {
    UpgradeNotAllowed "upgrade-not-allowed" "An upgrade or CONNECT that neither connection manager nor route allows.",
    UpgradeRefusedUpstream "upgrade-refused-upstream" "The upstream answered an upgrade with something else.",
    AllowConnectMissing "allow-connect-missing" "Extended CONNECT came to a connection manager without `allow_connect`.",
    PeerWithoutConnect "peer-without-connect" "Extended CONNECT went to an upstream that had not announced it.",
    AllowMetadataMissing "allow-metadata-missing" "METADATA came, or was to be passed on, where it is not allowed.",
    Http2ToHttp1Listener "http2-to-http1-listener" "A client spoke HTTP/2 where only HTTP/1 is served.",
    Http1ToHttp2Listener "http1-to-http2-listener" "A client spoke HTTP/1 where only HTTP/2 is served.",
    TlsToClearListener "tls-to-clear-listener" "A client spoke TLS where there is none.",
    ClearToTlsListener "clear-to-tls-listener" "A client spoke no TLS where there has to be.",
    Http2ToHttp1Upstream "http2-to-http1-upstream" "The upstream answered HTTP/2 with HTTP/1.",
    Http1ToHttp2Upstream "http1-to-http2-upstream" "The upstream answered HTTP/1 with HTTP/2.",
    ClearToTlsUpstream "clear-to-tls-upstream" "The upstream wants TLS and got none.",
    TlsToClearUpstream "tls-to-clear-upstream" "The upstream speaks no TLS and was spoken to in it.",
    AlpnMismatch "alpn-mismatch" "Both sides of a handshake have no protocol in common.",
    SniMismatch "sni-mismatch" "A peer wants another server name, or one at all.",
    NoFilterChain "no-filter-chain" "No filter chain takes a connection.",
    SanMismatch "san-mismatch" "A peer's certificate is for other names.",
    CertificateExpired "certificate-expired" "A peer's certificate does not hold any more.",
    CertificateNotYetValid "certificate-not-yet-valid" "A peer's certificate does not hold yet.",
    CertificateUntrusted "certificate-untrusted" "A peer's certificate leads to no trusted authority.",
    CertificateWrongUsage "certificate-wrong-usage" "A peer's certificate, or its key, is for another use.",
    SpiffeTrustDomain "spiffe-trust-domain" "A peer's certificate is of no trust domain that is known.",
    SpiffeNotSvid "spiffe-not-svid" "A peer's certificate is no SPIFFE ID of a workload.",
    CertificateMissing "certificate-missing" "A client showed no certificate and has to.",
    CertificateNotPinned "certificate-not-pinned" "A peer's certificate is none of those that are pinned.",
    CertificateRefusedByPeer "certificate-refused-by-peer" "The peer refused our certificate, or the lack of one.",
    TlsParametersMismatch "tls-parameters-mismatch" "Both sides of a handshake have no version or cipher in common.",
    SecretMissing "secret-missing" "A secret has not come, so that nobody can be served or reached by TLS.",
    NoVirtualHost "no-virtual-host" "No virtual host has the request's host.",
    NoRoute "no-route" "No route of the virtual host takes the request.",
    ClusterNotFound "cluster-not-found" "A route leads to a cluster that is not there.",
    MaintenanceMode "maintenance-mode" "A runtime key keeps a cluster out of service.",
    DropOverload "drop-overload" "An assignment drops a share of the requests.",
    NoHealthyHost "no-healthy-host" "No host of a cluster may be used.",
    CircuitBreakerOpen "circuit-breaker-open" "A circuit breaker refused.",
    ConnectFailed "connect-failed" "A host cannot be connected to.",
    ConnectTimeout "connect-timeout" "A connection was not there in time.",
    StaleKeepAlive "stale-keep-alive" "A reused connection had been closed by the upstream.",
    RequestHeadersTooLarge "request-headers-too-large" "A request's headers are beyond a limit.",
    ResponseHeadersTooLarge "response-headers-too-large" "A response's headers are beyond a limit.",
    RequestBodyTooLarge "request-body-too-large" "A request's body is beyond what is kept for another try.",
    HeaderRefused "header-refused" "A request's header is refused by the configuration.",
    PathRefused "path-refused" "A request's path is refused by the configuration.",
    Http10NotAccepted "http10-not-accepted" "A client spoke HTTP/1.0, which is not accepted.",
    RouteTimeout "route-timeout" "The route's time for an answer ran out.",
    StreamTimeout "stream-timeout" "A timer of the connection manager ended a stream.",
}

/// What is known of whom it happened to.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A stream, and its request id.
    Stream(&'a StreamInfo, Option<&'a [u8]>),
    /// A connection before it had streams.
    Connection(&'a ConnectionInfo),
}

/// An explanation, before it is written.
#[derive(Clone, Debug)]
pub struct Note {
    /// What happened, and the cause.
    pub cause: String,
    /// What would have to change.
    pub change: String,
    /// Where.
    pub spot: Spot,
}

/// Longest line in bytes: what clients send may be part of it.
const LONGEST: usize = 2048;

thread_local! {
    /// What this thread would have told since somebody began to listen.
    static HEARD: RefCell<Option<Vec<(Why, Note)>>> = const { RefCell::new(None) };
}

/// Runs `run`, and gives what this thread explains meanwhile instead of writing it.
pub fn overhear<R>(run: impl FnOnce() -> R) -> (R, Vec<(Why, Note)>) {
    let before = HEARD.replace(Some(Vec::new()));
    let result = run();
    (result, HEARD.replace(before).unwrap_or_default())
}

static LIMITER: Mutex<Limiter> = Mutex::new(Limiter::new());

/// Writes the line that `note` makes, unless there were too many of it lately: at most [`LINES`] in [`PERIOD`] for each
/// identifier and `about`, which is what the fault is to be looked for in, such as a cluster's name.
#[cold]
pub fn tell(why: Why, about: impl Hash, now: Instant, subject: Subject<'_>, note: impl FnOnce() -> Note) {
    if HEARD.with_borrow(Option::is_some) {
        // Made before it is kept: a note may look at much.
        let note = note();
        return HEARD.with_borrow_mut(|heard| {
            if let Some(heard) = heard {
                heard.push((why, note));
            }
        });
    }
    if !tracing::event_enabled!(target: "config", tracing::Level::WARN) {
        return;
    }
    let mut hasher = DefaultHasher::new();
    about.hash(&mut hasher);
    let mut limiter = LIMITER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(held_back) = limiter.admit(why, hasher.finish(), now) else { return };
    drop(limiter);
    tracing::warn!(target: "config", "{}", line(why, subject, &note(), held_back));
}

/// The line's text, without control characters.
fn line(why: Why, subject: Subject<'_>, note: &Note, held_back: u32) -> String {
    let Note { cause, change, spot } = note;
    let mut out = format!("why {}: {cause}. To change it: {change}, at {spot}. [", why.id());
    // Writing to a string cannot fail.
    let _ = match subject {
        Subject::Stream(info, request_id) => write_stream(&mut out, info, request_id),
        Subject::Connection(connection) => write_connection(&mut out, connection),
    };
    out.push(']');
    if held_back > 0 {
        let _ = write!(out, " ({held_back} more like it were not written)");
    }
    let mut end = LONGEST.min(out.len());
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    out.truncate(end);
    if out.chars().any(char::is_control) { out.replace(char::is_control, "?") } else { out }
}

fn write_connection(out: &mut String, connection: &ConnectionInfo) -> fmt::Result {
    let ConnectionInfo { listener, id, remote, .. } = connection;
    match &**listener {
        "" => write!(out, "listener={}", connection.direct_local)?,
        name => write!(out, "listener={name}")?,
    }
    write!(out, " connection={id} remote={remote}")?;
    match connection.server_name() {
        Some(name) => write!(out, " sni={name}"),
        None => Ok(()),
    }
}

fn write_stream(out: &mut String, info: &StreamInfo, request_id: Option<&[u8]>) -> fmt::Result {
    write_connection(out, &info.connection)?;
    let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let id = request_id.map(|id| id.escape_ascii().to_string());
    write!(
        out,
        " request_id={} route={} cluster={}",
        or_none(id.as_deref()),
        or_none(info.route_name.as_deref().filter(|name| !name.is_empty())),
        or_none(info.upstream.cluster.as_ref().map(|c| &*c.name))
    )?;
    match &info.upstream.host {
        Some(host) => write!(out, " host={}", host.address),
        None => Ok(()),
    }
}

/// What a client sent, fit for a line: ASCII, and not too long.
pub fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 120;
    let cut = bytes.get(..MOST).unwrap_or(bytes);
    let dots = if bytes.len() > MOST { "…" } else { "" };
    format!("{}{dots}", cut.escape_ascii())
}

#[cfg(test)]
mod tests;
