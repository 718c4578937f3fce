//! Why there is no secured connection, or no filter chain for it.

use crate::listener::{ListenerConfig, SocketFacts};
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_core::why::{FieldPlaces, Note, Spot, Subject, Why, tell};
use std::time::Instant;

/// Which side of a handshake is ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A listener's: the peer is a client.
    Server,
    /// A cluster's: the peer is a host.
    Client,
}

const VALIDATION: &str = "common_tls_context/validation_context";
/// The forms that it has; the first one that is set counts.
const VALIDATIONS: [&str; 3] = [
    "common_tls_context/combined_validation_context/default_validation_context",
    "common_tls_context/validation_context_sds_secret_config",
    VALIDATION,
];
/// Below a validation context.
const SPIFFE: &str = "common_tls_context/validation_context/custom_validator_config";
const CERTIFICATES: &str = "common_tls_context/tls_certificates";
const PARAMETERS: &str = "common_tls_context/tls_params";
const ALPN: &str = "common_tls_context/alpn_protocols";

/// What a handshake's failure means: cause, field below the TLS context, change.
type Meaning = (Why, &'static str, &'static str, &'static str);

/// What it means, by its text in the log.
pub(super) fn cause(text: &str, side: Side) -> Option<Meaning> {
    let client = side == Side::Client;
    let rows: [(&str, Meaning); 31] = [
        (
            "Secret is not supplied by SDS",
            (
                Why::SecretMissing,
                "a secret that the TLS context names has not come, or what came was refused",
                "",
                "look in this log for `Filesystem config update` of its file, and at `sds.NAME.update_rejected`",
            ),
        ),
        (
            "certificate has expired",
            (
                Why::CertificateExpired,
                "the peer's certificate has expired",
                VALIDATION,
                "renew it, or set `allow_expired_certificate`",
            ),
        ),
        (
            "certificate is not yet valid",
            (
                Why::CertificateNotYetValid,
                "the peer's certificate is not valid yet",
                VALIDATION,
                "set the clocks right, or let the peer use one that holds",
            ),
        ),
        (
            "SAN matcher",
            (
                Why::SanMismatch,
                "no name in the peer's certificate is one that is wanted",
                VALIDATION,
                "list one of its names in `match_typed_subject_alt_names`, or make the peer use another certificate",
            ),
        ),
        (
            "verify SAN list",
            (
                Why::SanMismatch,
                "the certificate of the host is for other names than the request's (auto_san_validation)",
                VALIDATION,
                "let the request's authority, or `sni`, be one of its names, or make the host use another certificate",
            ),
        ),
        (
            "cert hash and spki",
            (
                Why::CertificateNotPinned,
                "the peer's certificate is none of those that are pinned",
                VALIDATION,
                "add its hash to `verify_certificate_hash` or `verify_certificate_spki`",
            ),
        ),
        (
            "unsupported certificate purpose",
            (
                Why::CertificateWrongUsage,
                "the peer's certificate is not for its side of a TLS connection (keyUsage or extendedKeyUsage)",
                VALIDATION,
                if client {
                    "let the host use one whose extendedKeyUsage is serverAuth, or that has none"
                } else {
                    "let the client use one whose extendedKeyUsage is clientAuth, or that has none"
                },
            ),
        ),
        (
            "KEY_USAGE_BIT_INCORRECT",
            (
                Why::CertificateWrongUsage,
                "the key of the peer's certificate is not for signing handshakes (keyUsage without digitalSignature)",
                VALIDATION,
                "let the peer use one whose keyUsage has digitalSignature; no field lets this one pass",
            ),
        ),
        (
            "no trust bundle store",
            (
                Why::SpiffeTrustDomain,
                "the peer's certificate names no trust domain that is configured",
                SPIFFE,
                "add the domain of its first URI to `trust_domains`, or let the peer use a certificate of one of these",
            ),
        ),
        (
            "cert precheck",
            (
                Why::SpiffeNotSvid,
                "the peer's certificate may sign others, or does not say what its key is for, so that it is no X.509-SVID",
                SPIFFE,
                "let the peer use a leaf with a keyUsage that has neither keyCertSign nor cRLSign",
            ),
        ),
        (
            "verify cert failed: SAN match",
            (
                Why::SanMismatch,
                "no URI in the peer's certificate is one that is wanted",
                VALIDATION,
                "list its SPIFFE ID as a URI in `match_typed_subject_alt_names`",
            ),
        ),
        (
            "verify cert failed",
            (
                Why::CertificateUntrusted,
                "the peer's certificate does not lead to a trusted authority",
                VALIDATION,
                "put the authority that signed it into `trusted_ca`",
            ),
        ),
        (
            "PEER_DID_NOT_RETURN_A_CERTIFICATE",
            (
                Why::CertificateMissing,
                "the client showed no certificate",
                "require_client_certificate",
                "give the client one, or set it to false",
            ),
        ),
        (
            "NO_APPLICATION_PROTOCOL",
            (
                Why::AlpnMismatch,
                "both sides have no ALPN protocol in common",
                ALPN,
                "list one that the peer speaks (h2, http/1.1)",
            ),
        ),
        (
            "CLIENTHELLO_TLSEXT",
            (
                Why::SniMismatch,
                "the client named no server",
                "require_sni",
                "let the client send SNI, or set it to false",
            ),
        ),
        (
            "UNRECOGNIZED_NAME",
            (
                Why::SniMismatch,
                "the peer knows no server of the name that it was asked for",
                "sni",
                "set it to a name that the peer serves",
            ),
        ),
        (
            "ALERT_UNKNOWN_CA",
            (
                Why::CertificateRefusedByPeer,
                "the peer does not trust our certificate",
                CERTIFICATES,
                "use one that an authority of the peer's signed, with the whole chain",
            ),
        ),
        (
            "BAD_PACKET_LENGTH",
            (
                Why::CertificateRefusedByPeer,
                "the client ended the handshake when it saw our certificate",
                CERTIFICATES,
                "use one that the client trusts, with the whole chain",
            ),
        ),
        (
            "ALERT_CERTIFICATE_EXPIRED",
            (
                Why::CertificateRefusedByPeer,
                "the peer says that our certificate has expired",
                CERTIFICATES,
                "renew it",
            ),
        ),
        (
            "ALERT_CERTIFICATE_REQUIRED",
            (
                Why::CertificateRefusedByPeer,
                "the peer wants a certificate of ours and got none",
                CERTIFICATES,
                "set one",
            ),
        ),
        (
            "ALERT_BAD_CERTIFICATE",
            (
                Why::CertificateRefusedByPeer,
                "the peer refused our certificate, or its lack or names",
                CERTIFICATES,
                "use one that the peer takes",
            ),
        ),
        (
            "ALERT_CERTIFICATE",
            (
                Why::CertificateRefusedByPeer,
                "the peer refused our certificate",
                CERTIFICATES,
                "use one that the peer takes",
            ),
        ),
        (
            "ALERT_UNSUPPORTED_CERTIFICATE",
            (
                Why::CertificateRefusedByPeer,
                "the peer refused our certificate's kind",
                CERTIFICATES,
                "use one that the peer takes",
            ),
        ),
        (
            "ALERT_ACCESS_DENIED",
            (
                Why::CertificateRefusedByPeer,
                "the peer refused us",
                CERTIFICATES,
                "use a certificate that the peer takes",
            ),
        ),
        (
            "ALERT_HANDSHAKE_FAILURE",
            (
                Why::TlsParametersMismatch,
                "the peer found nothing in common, or misses a server name",
                PARAMETERS,
                "offer versions, ciphers and curves that it has; set `sni` where there is none",
            ),
        ),
        (
            "HTTP_REQUEST",
            (
                Why::ClearToTlsListener,
                "the client sent an HTTP request without TLS",
                "",
                "let the client speak TLS, or take the transport socket away",
            ),
        ),
        (
            "HTTPS_PROXY_REQUEST",
            (
                Why::ClearToTlsListener,
                "the client sent CONNECT to a proxy without TLS",
                "",
                "let the client speak TLS, or take the transport socket away",
            ),
        ),
        (
            "WRONG_VERSION_NUMBER",
            (
                if client { Why::TlsToClearUpstream } else { Why::ClearToTlsListener },
                if client {
                    "the host answered a TLS handshake with something else"
                } else {
                    "the client sent something that is not TLS"
                },
                "",
                "make both sides speak TLS, or neither",
            ),
        ),
        (
            "NO_SHARED_CIPHER",
            (
                Why::TlsParametersMismatch,
                "both sides have no cipher or curve in common",
                PARAMETERS,
                "offer one that the peer has",
            ),
        ),
        (
            "UNSUPPORTED_PROTOCOL",
            (
                Why::TlsParametersMismatch,
                "both sides have no TLS version in common",
                PARAMETERS,
                "change the minimum or maximum version",
            ),
        ),
        (
            "PROTOCOL_VERSION",
            (
                Why::TlsParametersMismatch,
                "the peer takes no TLS version that we offer",
                PARAMETERS,
                "change the minimum or maximum version",
            ),
        ),
    ];
    rows.into_iter().find(|(part, _)| text.contains(part)).map(|(_, what)| what)
}

/// Where the field of a TLS context stands.
pub(super) fn spot(places: &FieldPlaces, field: &str) -> Spot {
    let of_context = |field: &str| format!("transport_socket/typed_config/{field}");
    let all = match field.strip_prefix(VALIDATION) {
        Some(below) => {
            let validation = VALIDATIONS.iter().map(|form| of_context(form)).find(|form| places.has(form));
            format!("{}{below}", validation.unwrap_or_else(|| of_context(VALIDATION)))
        }
        None => of_context(field),
    };
    places.spot(all.trim_end_matches('/').trim_end_matches("/typed_config"))
}

/// A client's handshake failed with this text.
#[cold]
pub(crate) fn handshake(places: &FieldPlaces, connection: &ConnectionInfo, text: &str, now: Instant) {
    let Some((why, cause, field, change)) = cause(text, Side::Server) else { return };
    tell(why, places.path(), now, Subject::Connection(connection), || Note {
        cause: format!("{cause} ({text})"),
        change: change.into(),
        spot: spot(places, field),
    });
}

/// No filter chain takes the connection.
#[cold]
pub(crate) fn no_filter_chain(
    config: &ListenerConfig,
    connection: &ConnectionInfo,
    facts: &SocketFacts,
    now: Instant,
) {
    tell(Why::NoFilterChain, &config.name, now, Subject::Connection(connection), || {
        let alpn: Vec<_> = facts.application_protocols.iter().map(|p| p.escape_ascii().to_string()).collect();
        let cause = format!(
            "no filter chain takes the connection to {} (server name {}, transport protocol {}, ALPN [{}])",
            facts.local,
            facts.server_name.as_deref().unwrap_or("none"),
            facts.transport_protocol,
            alpn.join(", "),
        );
        let mut change = "change a chain's `filter_chain_match`, or add `default_filter_chain`".to_owned();
        if facts.transport_protocol == "raw_buffer" && config.asks_of_the_client_hello() {
            change += "; server names and ALPN are known where tls_inspector is one of `listener_filters`";
        }
        Note { cause, change, spot: config.places.spot("filter_chains") }
    });
}
