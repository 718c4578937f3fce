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
        peer: peer.map(|c| Box::new(PeerInfo { chain: vec![c], validated: true, ..PeerInfo::default() })),
        ..TlsInfo::default()
    }
}

fn policy(forward: ForwardClientCert, details: ClientCertDetails) -> ClientCertRule {
    ClientCertRule { forward, details }
}

fn outcome(policy: &ClientCertRule, tls: Option<&TlsInfo>) -> Option<String> {
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
    let all = ClientCertDetails {
        cert: true,
        chain: true,
        subject: true,
        uri: true,
        dns: true,
        ..ClientCertDetails::default()
    };
    let pem = "-----BEGIN%20CERTIFICATE-----%0A%2B%2F%2BA%0A-----END%20CERTIFICATE-----%0A"
        .replace("%2B%2F%2BA", "%2B%2F%2B%2FAA%3D%3D");
    let named = tls(Some(certificate(&["spiffe://a", "spiffe://b"], &["a.test", "b.test"])));
    assert_eq!(
        told(all, &named),
        format!(
            "By=spiffe://own;Hash=ab01;Cert=\"{pem}\";Chain=\"{pem}\";Subject=\"CN=c\";URI=spiffe://a;URI=spiffe://b;DNS=a.test;DNS=b.test"
        )
    );
    let plain = ClientCertDetails { subject: true, uri: true, dns: true, ..ClientCertDetails::default() };
    assert_eq!(
        told(plain, &tls(Some(certificate(&[], &[])))),
        "By=spiffe://own;Hash=ab01;Subject=\"CN=c\";URI="
    );
}

fn told(details: ClientCertDetails, tls: &TlsInfo) -> String {
    details.element(tls, tls.peer.as_deref().unwrap()).to_string()
}

#[test]
fn an_element_is_made_once_for_a_connection_and_each_choice_of_facts() {
    let tls = tls(Some(certificate(&["spiffe://a"], &[])));
    let peer = tls.peer.as_deref().unwrap();
    let with_uri = ClientCertDetails { uri: true, ..ClientCertDetails::default() };
    let first = with_uri.element(&tls, peer);
    assert!(Rc::ptr_eq(&first, &with_uri.element(&tls, peer)));
    assert_ne!(first, ClientCertDetails::default().element(&tls, peer));
    assert_eq!(
        *with_uri.as_json(true).element(&tls, peer),
        *r#"{"by":["spiffe://own"],"hash":"ab01","uri":["spiffe://a"]}"#
    );
}

#[test]
fn an_element_is_appended_in_the_form_that_is_there() {
    let tls = tls(Some(certificate(&[], &[])));
    let of = |before: &[u8], json: bool| {
        let mut headers = HeaderMap::new();
        headers.append(Known::XForwardedClientCert, before);
        let details = ClientCertDetails { json, ..ClientCertDetails::default() };
        policy(ForwardClientCert::AppendForward, details).apply(&mut headers, Some(&tls));
        headers.get_str(Known::XForwardedClientCert).unwrap().to_owned()
    };
    let (text, json) = ("By=spiffe://own;Hash=ab01", r#"{"by":["spiffe://own"],"hash":"ab01"}"#);
    assert_eq!(of(b"By=x", true), format!("By=x,{text}"));
    assert_eq!(of(b"[{}]", false), format!("[{{}},{json}]"));
    assert_eq!(of(b"[", true), format!("[,{text}"));
    assert_eq!(of(b"", true), format!("[{json}]"));
    assert_eq!(of(b"", false), text);
}
