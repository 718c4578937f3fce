//! What goes wrong with TLS, in the words that logs have for it.

use super::verify::Refusal;
use crate::stream::error_text;
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use std::cell::Cell;
use std::fmt::Write;
use std::io;
use std::sync::Arc;

/// Why a secured connection broke after its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// What came is no TLS record.
    #[error("not a TLS record")]
    NotTls,
    /// A record is larger than the protocol allows.
    #[error("record too large")]
    Oversized,
    /// A record was not sealed with the agreed key.
    #[error("bad record MAC")]
    BadMac,
    /// A message that has no place here.
    #[error("unexpected message")]
    Unexpected,
    /// The peer wants to renegotiate.
    #[error("renegotiation refused")]
    NoRenegotiation,
    /// The peer ended the connection with this alert.
    #[error("alert {0} received")]
    Alert(u8),
    /// Our side could not go on.
    #[error("internal error")]
    Internal,
}

impl TlsError {
    /// The alert that tells the peer of it (RFC 8446, section 6).
    pub(super) fn alert(self) -> Option<u8> {
        Some(match self {
            Self::NotTls | Self::Unexpected => 10,
            Self::Oversized => 22,
            Self::BadMac => 20,
            Self::NoRenegotiation => 100,
            Self::Internal => 80,
            Self::Alert(_) => return None,
        })
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        let kind = if let TlsError::Alert(_) = error {
            io::ErrorKind::ConnectionReset
        } else {
            io::ErrorKind::InvalidData
        };
        Self::new(kind, error)
    }
}

/// Why there is no secured connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The connection ended under the handshake.
    Closed,
    /// The handshake failed.
    Failed {
        /// The reason, as `%DOWNSTREAM_TRANSPORT_FAILURE_REASON%` and its upstream twin show it.
        text: Box<str>,
        /// What of the peer's certificate was refused.
        refused: Option<RefusedPeer>,
    },
}

/// Which certificate was refused, and why: each has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedPeer {
    /// It showed none and has to (`fail_verify_no_cert`).
    NoCertificate,
    /// The chain does not lead to a trusted authority (`fail_verify_error`).
    Chain,
    /// No subject alternative name is wanted (`fail_verify_san`).
    San,
    /// It is not one of those that are pinned (`fail_verify_cert_hash`).
    Hash,
    /// It is our own that may not be shown: it has no OCSP response that holds (`ocsp_staple_failed`).
    Staple,
    /// None: the connection was reset, which is counted nowhere.
    Reset,
    /// It is our own that has not come (`downstream_context_secrets_not_ready`, `upstream_context_secrets_not_ready`).
    Secrets,
}

/// The names of alerts where they are not `TLSV1_ALERT_…`, and what the others are called.
fn alert_name(code: u8) -> &'static str {
    match code {
        0 => "SSLV3_ALERT_CLOSE_NOTIFY",
        10 => "SSLV3_ALERT_UNEXPECTED_MESSAGE",
        20 => "SSLV3_ALERT_BAD_RECORD_MAC",
        21 => "TLSV1_ALERT_DECRYPTION_FAILED",
        22 => "TLSV1_ALERT_RECORD_OVERFLOW",
        30 => "SSLV3_ALERT_DECOMPRESSION_FAILURE",
        40 => "SSLV3_ALERT_HANDSHAKE_FAILURE",
        41 => "SSLV3_ALERT_NO_CERTIFICATE",
        42 => "SSLV3_ALERT_BAD_CERTIFICATE",
        43 => "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        44 => "SSLV3_ALERT_CERTIFICATE_REVOKED",
        45 => "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        46 => "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        47 => "SSLV3_ALERT_ILLEGAL_PARAMETER",
        48 => "TLSV1_ALERT_UNKNOWN_CA",
        49 => "TLSV1_ALERT_ACCESS_DENIED",
        50 => "TLSV1_ALERT_DECODE_ERROR",
        51 => "TLSV1_ALERT_DECRYPT_ERROR",
        60 => "TLSV1_ALERT_EXPORT_RESTRICTION",
        70 => "TLSV1_ALERT_PROTOCOL_VERSION",
        71 => "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        80 => "TLSV1_ALERT_INTERNAL_ERROR",
        86 => "TLSV1_ALERT_INAPPROPRIATE_FALLBACK",
        90 => "TLSV1_ALERT_USER_CANCELLED",
        100 => "TLSV1_ALERT_NO_RENEGOTIATION",
        110 => "TLSV1_ALERT_UNSUPPORTED_EXTENSION",
        111 => "TLSV1_ALERT_CERTIFICATE_UNOBTAINABLE",
        112 => "TLSV1_ALERT_UNRECOGNIZED_NAME",
        113 => "TLSV1_ALERT_BAD_CERTIFICATE_STATUS_RESPONSE",
        114 => "TLSV1_ALERT_BAD_CERTIFICATE_HASH_VALUE",
        115 => "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY",
        116 => "TLSV1_ALERT_CERTIFICATE_REQUIRED",
        120 => "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        _ => "UNKNOWN_ALERT_TYPE",
    }
}

/// What is wrong with a peer's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A check refused it.
    Refused(Refusal),
    /// Its key is not for signing handshakes.
    WrongKeyUsage,
}

thread_local! {
    /// What this thread's present step of a handshake found: rustls is told no more than which alert the peer gets.
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

impl From<Fault> for rustls::Error {
    fn from(fault: Fault) -> Self {
        let alert = match &fault {
            Fault::Refused(refusal) => refusal.alert,
            Fault::WrongKeyUsage => AlertDescription::UnsupportedCertificate,
        };
        FAULT.set(Some(fault));
        Self::InvalidCertificate(match alert {
            AlertDescription::BadCertificate => CertificateError::BadEncoding,
            AlertDescription::UnsupportedCertificate => CertificateError::InvalidPurpose,
            AlertDescription::CertificateRevoked => CertificateError::Revoked,
            AlertDescription::CertificateExpired => CertificateError::Expired,
            AlertDescription::UnknownCA => CertificateError::UnknownIssuer,
            AlertDescription::DecryptError => CertificateError::BadSignature,
            _ => CertificateError::Other(rustls::OtherError(Arc::new(Unnamed))),
        })
    }
}

/// Why a certificate is refused where rustls has no name for it.
#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Unnamed;

/// A record that was not sealed with the agreed key.
const BAD_MAC: (u32, &str) = (139, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC");

/// BoringSSL's numbers of the reasons that have one (`ssl.h`; logs are read by machines that know them).
fn reason(error: &rustls::Error, fault: &Option<Fault>) -> (u32, &'static str) {
    match error {
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => (247, "WRONG_VERSION_NUMBER"),
        rustls::Error::InvalidMessage(_) => (137, "DECODE_ERROR"),
        rustls::Error::AlertReceived(alert) => {
            let code = u8::from(*alert);
            (1000 + u32::from(code), alert_name(code))
        }
        rustls::Error::NoCertificatesPresented => (192, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        rustls::Error::InvalidCertificate(_) if *fault == Some(Fault::WrongKeyUsage) => {
            (302, "KEY_USAGE_BIT_INCORRECT")
        }
        rustls::Error::InvalidCertificate(_) => (125, "CERTIFICATE_VERIFY_FAILED"),
        rustls::Error::NoApplicationProtocol => (307, "NO_APPLICATION_PROTOCOL"),
        rustls::Error::DecryptError => BAD_MAC,
        rustls::Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon,
        ) => (184, "NO_SHARED_CIPHER"),
        rustls::Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => (240, "UNSUPPORTED_PROTOCOL"),
        rustls::Error::InappropriateMessage { .. } | rustls::Error::InappropriateHandshakeMessage { .. } => {
            (223, "UNEXPECTED_MESSAGE")
        }
        _ => (68, "INTERNAL_ERROR"),
    }
}

/// The beginning of a text that names reasons.
fn begun(reasons: &[(u32, &'static str)]) -> String {
    let mut text = "TLS_error:".to_owned();
    for (number, name) in reasons {
        // `ERR_LIB_SSL` in the upper bits.
        let _ = write!(text, "|{}:SSL routines:OPENSSL_internal:{name}", (16 << 24) + number);
    }
    text
}

impl HandshakeError {
    /// What rustls says, in BoringSSL's words.
    pub(super) fn from_rustls(error: &rustls::Error) -> Self {
        let fault = FAULT.take();
        let mut text = begun(&[reason(error, &fault)]);
        let mut refused = None;
        match error {
            rustls::Error::NoCertificatesPresented => {
                text.push_str(":peer did not provide required client certificate");
                refused = Some(RefusedPeer::NoCertificate);
            }
            rustls::Error::InvalidCertificate(_) => match fault {
                Some(Fault::WrongKeyUsage) => {}
                Some(Fault::Refused(refusal)) => {
                    let _ = write!(text, ":verify cert failed: {}", refusal.text);
                    refused = Some(refusal.what);
                }
                None => {
                    text.push_str(":verify cert failed: X509_verify_cert: certificate verification error");
                    refused = Some(RefusedPeer::Chain);
                }
            },
            _ => {}
        }
        text.push_str(":TLS_error_end");
        Self::Failed { text: text.into(), refused }
    }

    /// With these reasons, by their numbers and names, and nobody's certificate refused.
    pub(super) fn of(reasons: &[(u32, &'static str)]) -> Self {
        Self::Failed { text: (begun(reasons) + ":TLS_error_end").into(), refused: None }
    }

    /// An alert in the clear where records are sealed, as clients of OpenSSL send it when they do not like what TLS 1.3
    /// has just shown them: as in BoringSSL it is a record that cannot be opened.
    pub(super) fn alert_in_the_clear() -> Self {
        Self::of(&[(112, "BAD_PACKET_LENGTH"), BAD_MAC])
    }

    /// A server that would not have our ClientHello, without a word why.
    pub(super) fn refused_hello() -> Self {
        Self::of(&[(1040, alert_name(40)), (154, "HANDSHAKE_FAILURE_ON_CLIENT_HELLO")])
    }

    /// The stream beneath broke.
    pub(super) fn broken(error: &io::Error) -> Self {
        match error.raw_os_error() {
            // `ERR_LIB_SYS` in the upper bits.
            Some(number) if error.kind() == io::ErrorKind::ConnectionReset => Self::Failed {
                text: format!(
                    "TLS_error:|{}:system library:OPENSSL_internal:{}:TLS_error_end",
                    (2 << 24) + number,
                    error_text(error)
                )
                .into(),
                refused: Some(RefusedPeer::Reset),
            },
            _ => Self::Closed,
        }
    }

    /// No certificate may be shown, for want of an OCSP response that holds.
    pub(super) fn no_staple() -> Self {
        let text = "TLS_error:|268435646:SSL routines:OPENSSL_internal:OCSP_CB_ERROR:TLS_error_end";
        Self::Failed { text: text.into(), refused: Some(RefusedPeer::Staple) }
    }

    /// A secret of our side has not come.
    pub(super) fn no_secrets() -> Self {
        let text = "TLS_error: Secret is not supplied by SDS";
        Self::Failed { text: text.into(), refused: Some(RefusedPeer::Secrets) }
    }

    /// The handshake cannot go on for a reason that is nobody's certificate.
    pub(super) fn internal() -> Self {
        Self::from_rustls(&rustls::Error::General(String::new()))
    }
}
