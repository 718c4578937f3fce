use super::tls::{Side, cause};
use nuncio_core::why::Why;

#[test]
fn handshakes_that_fail_are_told_apart_by_the_words_that_logs_have() {
    let verify =
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: ";
    let chain = "X509_verify_cert: certificate verification error at depth ";
    let rows = [
        (format!("{verify}{chain}0: certificate has expired"), Some(Why::CertificateExpired)),
        (format!("{verify}{chain}0: certificate is not yet valid"), Some(Why::CertificateNotYetValid)),
        (format!("{verify}{chain}0: self-signed certificate"), Some(Why::CertificateUntrusted)),
        (
            format!("{verify}{chain}1: unable to get local issuer certificate"),
            Some(Why::CertificateUntrusted),
        ),
        (format!("{verify}SAN matcher, certificate SANs are [a]"), Some(Why::SanMismatch)),
        (format!("{verify}verify SAN list, expected SANs: [b]"), Some(Why::SanMismatch)),
        (format!("{verify}cert hash and spki"), Some(Why::CertificateNotPinned)),
        (format!("{verify}{chain}0: unsupported certificate purpose"), Some(Why::CertificateWrongUsage)),
        ("…:KEY_USAGE_BIT_INCORRECT:TLS_error_end".into(), Some(Why::CertificateWrongUsage)),
        (format!("{verify}no trust bundle store"), Some(Why::SpiffeTrustDomain)),
        (format!("{verify}cert precheck"), Some(Why::SpiffeNotSvid)),
        (format!("{verify}SAN match:TLS_error_end"), Some(Why::SanMismatch)),
        ("…:PEER_DID_NOT_RETURN_A_CERTIFICATE:TLS_error_end".into(), Some(Why::CertificateMissing)),
        ("…:SSLV3_ALERT_CERTIFICATE_EXPIRED:…".into(), Some(Why::CertificateRefusedByPeer)),
        ("…:TLSV1_ALERT_UNKNOWN_CA:…".into(), Some(Why::CertificateRefusedByPeer)),
        ("…:BAD_PACKET_LENGTH|…".into(), Some(Why::CertificateRefusedByPeer)),
        ("…:HTTPS_PROXY_REQUEST:…".into(), Some(Why::ClearToTlsListener)),
        ("…:TLSV1_ALERT_UNRECOGNIZED_NAME:…".into(), Some(Why::SniMismatch)),
        ("…:TLSV1_ALERT_NO_APPLICATION_PROTOCOL:…".into(), Some(Why::AlpnMismatch)),
        ("…:NO_SHARED_CIPHER:…".into(), Some(Why::TlsParametersMismatch)),
        ("…:HTTP_REQUEST:…".into(), Some(Why::ClearToTlsListener)),
        ("delayed connect error: Connection refused".into(), None),
    ];
    for (text, why) in rows {
        assert_eq!(cause(&text, Side::Server).map(|c| c.0), why, "{text}");
    }
    assert_eq!(cause("…:WRONG_VERSION_NUMBER:…", Side::Client).map(|c| c.0), Some(Why::TlsToClearUpstream));
    assert_eq!(cause("…:WRONG_VERSION_NUMBER:…", Side::Server).map(|c| c.0), Some(Why::ClearToTlsListener));
}
