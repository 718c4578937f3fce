use super::*;
use nuncio_core::stream_info::PeerInfo;
use std::sync::Arc;

fn certificate(uris: &[&str], dns: &[&str]) -> CertificateInfo {
    CertificateInfo {
        der: Box::new([0xfb, 0xff, 0xbf, 0x00]),
        sha256: "ab01".into(),
        subject: "CN=c".into(),
        uri_sans: uris.iter().map(|&s| s.into()).collect(),
        dns_sans: dns.iter().map(|&s| s.into()).collect(),
        ..CertificateInfo::default()
    }
}

fn tls(peer: Option<CertificateInfo>) -> TlsInfo {
    TlsInfo {
        local: Some(Arc::new(certificate(&["spiffe://own"], &[]))),
        peer: peer.map(|c| Box::new(PeerInfo { chain: vec![c], validated: true, distrusted: false })),
        ..TlsInfo::default()
    }
}

fn policy(forward: ForwardClientCert, details: ClientCertDetails) -> ClientCertPolicy {
    ClientCertPolicy { forward, details }
}

fn outcome(policy: &ClientCertPolicy, tls: Option<&TlsInfo>) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.append(Known::XForwardedClientCert, b"By=x");
    policy.apply(&mut headers, tls);
    headers.get_str(Known::XForwardedClientCert).map(str::to_owned)
}

#[test]
fn without_a_clients_certificate_the_header_stays_only_where_it_always_does() {
    use ForwardClientCert::*;
    for forward in [Sanitize, ForwardOnly, AppendForward, SanitizeSet, AlwaysForwardOnly] {
        let policy = policy(forward, ClientCertDetails::default());
        let kept = (forward == AlwaysForwardOnly).then(|| "By=x".to_owned());
        assert_eq!(outcome(&policy, None), kept, "{forward:?}");
        assert_eq!(outcome(&policy, Some(&tls(None))), kept, "{forward:?}");
    }
}

#[test]
fn with_one_each_mode_does_its_own() {
    use ForwardClientCert::*;
    let tls = tls(Some(certificate(&[], &[])));
    for (forward, want) in [
        (Sanitize, None),
        (ForwardOnly, Some("By=x")),
        (AppendForward, Some("By=x,By=spiffe://own;Hash=ab01")),
        (SanitizeSet, Some("By=spiffe://own;Hash=ab01")),
        (AlwaysForwardOnly, Some("By=x")),
    ] {
        let policy = policy(forward, ClientCertDetails::default());
        assert_eq!(outcome(&policy, Some(&tls)).as_deref(), want, "{forward:?}");
    }
}

#[test]
fn an_element_tells_what_is_asked_for_in_envoys_order() {
    let all = ClientCertDetails { cert: true, chain: true, subject: true, uri: true, dns: true };
    let pem = "-----BEGIN%20CERTIFICATE-----%0A%2B%2F%2BA%0A-----END%20CERTIFICATE-----%0A"
        .replace("%2B%2F%2BA", "%2B%2F%2B%2FAA%3D%3D");
    let named = tls(Some(certificate(&["spiffe://a", "spiffe://b"], &["a.test", "b.test"])));
    assert_eq!(
        all.element(&named),
        format!(
            "By=spiffe://own;Hash=ab01;Cert=\"{pem}\";Chain=\"{pem}\";Subject=\"CN=c\";URI=spiffe://a;URI=spiffe://b;DNS=a.test;DNS=b.test"
        )
    );
    let plain = ClientCertDetails { subject: true, uri: true, dns: true, ..ClientCertDetails::default() };
    assert_eq!(
        plain.element(&tls(Some(certificate(&[], &[])))),
        "By=spiffe://own;Hash=ab01;Subject=\"CN=c\";URI="
    );
}
