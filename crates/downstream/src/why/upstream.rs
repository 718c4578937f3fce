//! Why a host could not be reached, or not be used.

use super::{subject, tell_of, tls};
use crate::hcm::stream::Stream;
use nuncio_codec::head::ResponseHead;
use nuncio_core::stream_info::TlsInfo;
use nuncio_core::why::{Note, Spot, Subject, Tongue, Why, shown, tell};
use nuncio_upstream::cluster::{Cluster, ClusterConfig, HTTP_OPTIONS};
use nuncio_upstream::host::HealthFlags;
use nuncio_upstream::pool::{Oddity, PoolError};
use std::time::Instant;

/// What an attempt to use a cluster came to.
#[derive(Clone, Copy)]
pub(crate) enum Fault<'a> {
    /// This field of the circuit breakers' thresholds refused.
    Breaker(&'static str),
    /// There is no host to be used.
    NoHost,
    /// There is no connection, for this reason.
    Connect(&'a str),
    /// `connect_timeout`.
    ConnectTimeout,
    /// The connection was used before, and closed by the host meanwhile.
    Stale,
    /// The host is not what it was taken for; what the handshake agreed on, where there was one.
    Odd(Oddity, Option<&'a TlsInfo>),
    /// The host would not have a tunnel, and answered so.
    Tunnel(u16),
    /// The response's headers are beyond a limit (details of the codec).
    HeadersTooLarge(&'static str),
}

impl<'a> Fault<'a> {
    /// Why the pool gave no stream.
    pub(crate) fn of(error: &'a PoolError) -> Self {
        match (error, error.breaker()) {
            (_, Some(field)) => Self::Breaker(field),
            (PoolError::Timeout, None) => Self::ConnectTimeout,
            (error, None) => Self::Connect(error.transport_failure().unwrap_or_default()),
        }
    }
}

/// Where a field of `HttpProtocolOptions` stands: in the cluster itself where the cluster has the old fields.
fn http_spot(config: &ClusterConfig, field: &str) -> Spot {
    let options = format!("typed_extension_protocol_options/{HTTP_OPTIONS}");
    if config.places.has("http2_protocol_options") && !config.places.has(&options) {
        return config.places.spot(field.trim_start_matches("explicit_http_config/"));
    }
    config.places.spot(&format!("{options}/{field}"))
}

/// Explains why a cluster could not be used.
#[cold]
pub(crate) fn upstream(cluster: &Cluster, fault: Fault<'_>, whom: Subject<'_>, now: Instant) {
    let config = cluster.config();
    let tell_with = |why: Why, note: &dyn Fn() -> Note| tell(why, &config.name, now, whom, note);
    match fault {
        Fault::Breaker(field) => tell_with(Why::CircuitBreakerOpen, &|| Note {
            cause: format!("`{field}` of cluster '{}' is reached", config.name),
            change: format!("raise `thresholds: {field}`"),
            spot: config.places.spot("circuit_breakers"),
        }),
        Fault::NoHost => tell_with(Why::NoHealthyHost, &|| no_host(cluster)),
        Fault::Connect(text) => match tls::cause(text, tls::Side::Client) {
            Some((why, cause, field, change)) => tell_with(why, &|| Note {
                cause: format!("{cause} ({text})"),
                change: change.into(),
                spot: tls::spot(&config.places, field),
            }),
            None => tell_with(Why::ConnectFailed, &|| connect_failed(config, text)),
        },
        Fault::ConnectTimeout => tell_with(Why::ConnectTimeout, &|| Note {
            cause: format!("no connection to the host within {:?}", config.connect_timeout),
            change: "raise it, or see why the host or the network does not answer".into(),
            spot: config.places.spot("connect_timeout"),
        }),
        Fault::Stale => tell_with(Why::StaleKeepAlive, &|| stale(config)),
        Fault::Odd(oddity, tls) => {
            if let Some((why, cause, change, spot)) = odd(config, oddity, tls) {
                tell_with(why, &|| Note { cause: cause.into(), change: change.into(), spot: spot.clone() });
            }
        }
        Fault::Tunnel(status) => tell_with(Why::UpgradeRefusedUpstream, &|| Note {
            cause: format!("the host answered the tunnel with {status}"),
            change: "allow CONNECT (or POST) there, or lead to a host that tunnels".into(),
            spot: config.places.whole(),
        }),
        Fault::HeadersTooLarge(details) => tell_with(Why::ResponseHeadersTooLarge, &|| {
            let many = details.ends_with("too_many_headers");
            let field = if many { "max_headers_count" } else { "max_response_headers_kb" };
            Note {
                cause: format!("the headers of the response are beyond `{field}`"),
                change: "raise it".into(),
                spot: http_spot(config, &format!("common_http_protocol_options/{field}")),
            }
        }),
    }
}

fn connect_failed(config: &ClusterConfig, text: &str) -> Note {
    let cause = match text {
        "" => "the host closed the connection within the TLS handshake".to_owned(),
        text => format!("the host cannot be connected to ({text})"),
    };
    let change = "see whether something listens there, and correct the address or start it".into();
    Note { cause, change, spot: config.places.spot("load_assignment") }
}

fn stale(config: &ClusterConfig) -> Note {
    Note {
        cause: "the host had closed the connection, which served requests before, while it was idle".into(),
        change: "make it shorter than the host's keep-alive time, or let `retry_on: reset-before-request` try again"
            .into(),
        spot: http_spot(config, "common_http_protocol_options/idle_timeout"),
    }
}

/// How many hosts there are, and what keeps each kind from being used.
fn no_host(cluster: &Cluster) -> Note {
    let config = cluster.config();
    let mut counts = [0_usize; 4];
    cluster.with_hosts(|set| {
        for host in set.hosts() {
            let flags = host.health_flags();
            let kinds = [
                HealthFlags::FAILED_ACTIVE_HC,
                HealthFlags::FAILED_OUTLIER_CHECK,
                HealthFlags::FAILED_EDS_HEALTH,
            ];
            let [all, of_kind @ ..] = &mut counts;
            *all += 1;
            for (n, kind) in of_kind.iter_mut().zip(kinds) {
                *n += usize::from(flags.contains(kind));
            }
        }
    });
    let [all, checked, ejected, configured] = counts;
    let name = &config.name;
    let (cause, change, field) = if all == 0 {
        (
            format!("cluster '{name}' has no host (or its name was not resolved yet)"),
            "add an endpoint, or see why the look-up fails",
            "load_assignment",
        )
    } else if checked + ejected + configured == 0 {
        (
            format!("none of the {all} hosts of cluster '{name}' is in the subset that was asked for"),
            "change `metadata_match` of the route, the endpoints' metadata or `fallback_policy`",
            "lb_subset_config",
        )
    } else {
        (
            format!(
                "none of the {all} hosts of cluster '{name}' may be used: {checked} fail health checks, {ejected} \
                 are ejected as outliers, {configured} are configured so"
            ),
            "mend the hosts; `healthy_panic_threshold` above 0 sends to unhealthy ones rather than none",
            if ejected > checked { "outlier_detection" } else { "health_checks" },
        )
    };
    Note { cause, change: change.into(), spot: config.places.spot(field) }
}

fn odd(
    config: &ClusterConfig,
    oddity: Oddity,
    tls: Option<&TlsInfo>,
) -> Option<(Why, &'static str, &'static str, Spot)> {
    let http = |field: &str| http_spot(config, field);
    let without_h2 = tls.is_some_and(|tls| *tls.alpn != *b"h2");
    Some(match oddity {
        Oddity::Speaks(Tongue::Http1) | Oddity::Silent if without_h2 => (
            Why::AlpnMismatch,
            "the cluster speaks HTTP/2, and the handshake did not agree on h2",
            "list h2, and see that the host serves it",
            tls::spot(&config.places, "common_tls_context/alpn_protocols"),
        ),
        Oddity::Speaks(Tongue::Http1) => (
            Why::Http2ToHttp1Upstream,
            "the cluster speaks HTTP/2, and the host answered in HTTP/1",
            "make it http_protocol_options, or let the host serve HTTP/2 (codec_type AUTO)",
            http("explicit_http_config/http2_protocol_options"),
        ),
        Oddity::Silent => (
            Why::Http2ToHttp1Upstream,
            "the cluster speaks HTTP/2, and the host closed without a word of it",
            "make it http_protocol_options where the host serves HTTP/1 alone",
            http("explicit_http_config/http2_protocol_options"),
        ),
        Oddity::Speaks(Tongue::Http2) => (
            Why::Http1ToHttp2Upstream,
            "the cluster speaks HTTP/1, and the host answered in HTTP/2",
            "make it http2_protocol_options",
            http("explicit_http_config/http2_protocol_options"),
        ),
        Oddity::Speaks(Tongue::Tls) => (
            Why::ClearToTlsUpstream,
            "the cluster speaks without TLS, and the host answered with TLS",
            "give it an UpstreamTlsContext",
            config.places.spot("transport_socket"),
        ),
        Oddity::WithoutConnect => (
            Why::PeerWithoutConnect,
            "an upgrade went to the host as extended CONNECT, which it has not announced (RFC 8441)",
            "set `http2_protocol_options.allow_connect` in the connection manager of the proxy that the cluster leads \
             to, or let the cluster speak HTTP/1",
            http("explicit_http_config/http2_protocol_options"),
        ),
    })
}

/// The upstream answered an upgrade with something else, and goes on with its own answer.
#[cold]
pub(crate) fn refused_upgrade<D>(stream: &Stream<D>, cluster: &Cluster, response: &ResponseHead) {
    let config = cluster.config();
    tell_of(stream, Why::UpgradeRefusedUpstream, (&config.name, response.status), || {
        let details = response.headers.get("server").map(shown).unwrap_or_default();
        let server = if details.is_empty() { String::new() } else { format!(" (server: {details})") };
        Note {
            cause: format!("the host answered the upgrade with {}{server}", response.status),
            change: "where it is a proxy, allow the upgrade there (upgrade_configs, and allow_connect for HTTP/2); else \
                     see why it refuses"
                .into(),
            spot: config.places.whole(),
        }
    });
}

/// Which way METADATA was going that a cluster does not allow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// To the host.
    Sent,
    /// From it.
    Received,
}

/// A cluster's `allow_metadata` is not set, and METADATA was dropped for it.
#[cold]
pub(crate) fn metadata_of_cluster<D>(stream: &Stream<D>, config: &ClusterConfig, which: Metadata) {
    tell_of(stream, Why::AllowMetadataMissing, &config.name, || Note {
        cause: match which {
            Metadata::Sent => {
                "the client's METADATA is not passed on to the host, since allow_metadata is not set"
            }
            Metadata::Received => {
                "the host sent METADATA frames, which are skipped, since allow_metadata is not set"
            }
        }
        .into(),
        change: "set it to true".into(),
        spot: http_spot(config, "explicit_http_config/http2_protocol_options/allow_metadata"),
    });
}

/// Explains why a cluster could not be used by a stream.
#[cold]
pub(crate) fn of_stream<D>(stream: &Stream<D>, cluster: &Cluster, fault: Fault<'_>) {
    upstream(cluster, fault, subject(stream), stream.hcm.world.worker.now());
}
