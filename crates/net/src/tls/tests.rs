use super::*;
use crate::stream::{pair, poll_read_vec, poll_write_all};
use crate::worker::Worker;
use nuncio_core::address::Address;
use nuncio_core::clock::Clock;
use nuncio_core::config::{CompileContext, Sink, Unsupported};
use nuncio_core::rng::Rng;
use nuncio_proto::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

fn inline(text: String) -> Option<DataSource> {
    Some(DataSource { specifier: Some(Specifier::InlineString(text)), ..DataSource::default() })
}

/// A certificate for these names that stands for itself, and its key.
fn identity(names: &[&str]) -> (String, pb::TlsCertificate) {
    let made = rcgen::generate_simple_self_signed(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    let made = made.unwrap();
    let pem = made.cert.pem();
    let certificate = pb::TlsCertificate {
        certificate_chain: inline(pem.clone()),
        private_key: inline(made.signing_key.serialize_pem()),
        ..Default::default()
    };
    (pem, certificate)
}

fn compile<M, T>(message: M, compile: impl Fn(M, &CompileContext<'_>, TlsOwner<'_>) -> Option<T>) -> T {
    let sink = Sink::new(Unsupported::Refuse);
    let owner = TlsOwner { manager: &TlsManager::default(), stat_prefix: "" };
    let compiled = compile(message, &CompileContext::root(&sink, "", None), owner);
    compiled.unwrap_or_else(|| panic!("{}", sink.finish().0))
}

fn server(certificates: Vec<pb::TlsCertificate>, alpn: &[&str]) -> Arc<ServerContext> {
    let common = pb::CommonTlsContext {
        tls_certificates: certificates,
        alpn_protocols: alpn.iter().map(|p| (*p).to_owned()).collect(),
        ..Default::default()
    };
    let message = pb::DownstreamTlsContext { common_tls_context: Some(common), ..Default::default() };
    compile(message, ServerContext::compile)
}

fn client(ca: Option<&str>, sni: &str, tls13: bool, alpn: &[&str]) -> Arc<ClientContext> {
    let validation = pb::CertificateValidationContext {
        trusted_ca: ca.and_then(|pem| inline(pem.to_owned())),
        ..Default::default()
    };
    let params =
        pb::TlsParameters { tls_maximum_protocol_version: if tls13 { 4 } else { 3 }, ..Default::default() };
    let common = pb::CommonTlsContext {
        tls_params: Some(params),
        alpn_protocols: alpn.iter().map(|p| (*p).to_owned()).collect(),
        validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
        ..Default::default()
    };
    let message = pb::UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: sni.to_owned(),
        ..Default::default()
    };
    compile(message, ClientContext::compile)
}

fn worker() -> Rc<Worker> {
    Worker::new(0, Clock::system(), Rng::seeded(1))
}

type Ends = (Result<Secured, HandshakeError>, Result<Secured, HandshakeError>);

/// Both ends of a connection over pipes of `limit` bytes, after their handshake: the server's and the client's.
async fn connected(server: &ServerContext, client: &ClientContext, limit: usize) -> Ends {
    let worker = worker();
    let address = || Address::Pipe("test".into());
    let (near, far) = pair(limit, address(), address());
    let (near, far) = tokio::join!(
        accept(Box::new(near), Vec::new(), server, &worker),
        connect(Box::new(far), client, Asked::default(), &worker),
    );
    (near.map_err(|unsecured| unsecured.error), far)
}

async fn write(stream: &TlsStream, data: &[u8]) {
    let mut at = 0;
    poll_fn(|cx| poll_write_all(stream, cx, data, &mut at)).await.unwrap();
}

async fn read_exactly(stream: &TlsStream, n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < n {
        out.reserve(4096);
        assert!(poll_fn(|cx| poll_read_vec(stream, cx, &mut out)).await.unwrap() > 0);
    }
    out
}

#[tokio::test]
async fn bytes_go_both_ways_whatever_the_version_and_the_width_of_the_pipe() {
    let (pem, certificate) = identity(&["a.example"]);
    let server = server(vec![certificate], &[]);
    for (tls13, limit) in [(true, 1 << 20), (true, 2000), (false, 1 << 20), (false, 2000)] {
        let (near, far) = connected(&server, &client(Some(&pem), "a.example", tls13, &[]), limit).await;
        let ((near, seen), (far, _)) = (near.unwrap(), far.unwrap());
        assert_eq!(seen.version, if tls13 { "TLSv1.3" } else { "TLSv1.2" });
        assert_eq!(seen.server_name.as_deref(), Some("a.example"));
        let data: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        let (_, there) = tokio::join!(write(&near, &data), read_exactly(&far, data.len()));
        let (_, back) = tokio::join!(write(&far, &data), read_exactly(&near, data.len()));
        assert!(there == data && back == data, "{tls13} {limit}");
    }
}

#[tokio::test]
async fn the_certificate_is_chosen_by_name_and_a_wildcard_stands_for_one_label() {
    let (a, b) = (identity(&["a.example"]).1, identity(&["b.example", "*.b.example"]).1);
    let server = server(vec![a, b], &[]);
    for (sni, want) in [
        ("a.example", "a.example"),
        ("b.example", "b.example"),
        ("x.b.example", "b.example"),
        ("x.y.b.example", "a.example"),
    ] {
        let (near, far) = connected(&server, &client(None, sni, true, &[]), 1 << 20).await;
        let ((_near, near), (_far, far)) = (near.unwrap(), far.unwrap());
        assert_eq!(&*near.local.unwrap().dns_sans[0], want, "{sni}");
        assert_eq!(&*far.peer_certificate().unwrap().dns_sans[0], want, "{sni}");
    }
}

#[tokio::test]
async fn protocols_that_nobody_shares_are_no_failure() {
    let server = server(vec![identity(&["a.example"]).1], &["h2", "http/1.1"]);
    for (offered, want) in [(&["http/1.1"][..], &b"http/1.1"[..]), (&["other"], b""), (&[], b"")] {
        let (near, _) = connected(&server, &client(None, "a.example", true, offered), 1 << 20).await;
        assert_eq!(&*near.unwrap().1.alpn, want);
    }
}

#[tokio::test]
async fn a_stranger_is_refused_and_both_sides_say_why() {
    let server = server(vec![identity(&["a.example"]).1], &[]);
    let stranger = client(Some(&identity(&["a.example"]).0), "a.example", true, &[]);
    let (near, far) = connected(&server, &stranger, 1 << 20).await;
    let Err(HandshakeError::Failed { text, refused }) = far else { panic!() };
    assert!(text.contains("CERTIFICATE_VERIFY_FAILED:verify cert failed"), "{text}");
    assert_eq!(refused, Some(RefusedPeer::Chain));
    assert!(near.is_err());
}

#[tokio::test]
async fn a_second_connection_resumes_the_session_of_the_first() {
    let server = server(vec![identity(&["a.example"]).1], &[]);
    let client = client(None, "a.example", true, &[]);
    for resumed in [false, true] {
        let (near, far) = connected(&server, &client, 1 << 20).await;
        let ((near, seen), (far, _)) = (near.unwrap(), far.unwrap());
        assert_eq!(seen.resumed, resumed);
        // The tickets come before the first bytes.
        tokio::join!(write(&near, b"hello"), read_exactly(&far, 5));
    }
}

#[tokio::test]
async fn an_end_that_goes_says_so() {
    let server = server(vec![identity(&["a.example"]).1], &[]);
    let (near, far) = connected(&server, &client(None, "a.example", true, &[]), 1 << 20).await;
    let ((near, _), (far, _)) = (near.unwrap(), far.unwrap());
    write(&near, b"bye").await;
    drop(near);
    assert_eq!(read_exactly(&far, 3).await, b"bye");
    let mut rest = Vec::with_capacity(16);
    assert_eq!(poll_fn(|cx| poll_read_vec(&far, cx, &mut rest)).await.unwrap(), 0);
}

#[test]
fn a_wildcard_stands_for_one_whole_label() {
    for (name, san, is) in [
        ("a.b.example", "*.b.example", true),
        ("A.B.example", "*.b.EXAMPLE", true),
        ("b.example", "*.b.example", false),
        ("x.a.b.example", "*.b.example", false),
        (".b.example", "*.b.example", false),
        ("a.example", "*.example", false),
        ("ab.b.example", "a*.b.example", false),
        ("example", "*", false),
    ] {
        assert_eq!(verify::dns_matches(name, san), is, "{name} {san}");
    }
}

#[test]
fn a_name_with_a_nul_in_it_is_no_name() {
    let mut params = rcgen::CertificateParams::new(vec!["b.example".to_owned()]).unwrap();
    let odd = rcgen::string::Ia5String::try_from("a.example\0.evil").unwrap();
    params.subject_alt_names.push(rcgen::SanType::DnsName(odd));
    let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let parsed = certificate::Certificate::parse(made.der()).unwrap();
    let mut names = Vec::new();
    parsed.for_each_san(|_, name| names.push(name.to_owned()));
    assert_eq!(names, ["b.example"]);
    assert_eq!(&*parsed.info(made.der()).dns_sans, [Box::from("b.example")]);
}

/// A server with these keys for its tickets, which asks for a client's certificate where it has an authority.
fn server_with_tickets(certificate: pb::TlsCertificate, ca: Option<&str>) -> Arc<ServerContext> {
    use pb::downstream_tls_context::SessionTicketKeysType;
    let key = DataSource { specifier: Some(Specifier::InlineBytes(vec![7; 80])), ..DataSource::default() };
    let validation = ca.map(|pem| {
        ValidationContextType::ValidationContext(pb::CertificateValidationContext {
            trusted_ca: inline(pem.to_owned()),
            ..Default::default()
        })
    });
    let common = pb::CommonTlsContext {
        tls_certificates: vec![certificate],
        validation_context_type: validation,
        ..Default::default()
    };
    let keys = pb::TlsSessionTicketKeys { keys: vec![key] };
    let message = pb::DownstreamTlsContext {
        common_tls_context: Some(common),
        session_ticket_keys_type: Some(SessionTicketKeysType::SessionTicketKeys(keys)),
        ..Default::default()
    };
    compile(message, ServerContext::compile)
}

#[tokio::test]
async fn a_ticket_opens_a_session_of_a_server_alike_and_of_no_other() {
    let (pem, certificate) = identity(&["a.example"]);
    for tls13 in [true, false] {
        let first = server_with_tickets(certificate.clone(), None);
        for (second, resumed) in [
            (server_with_tickets(certificate.clone(), None), true),
            (server_with_tickets(certificate.clone(), Some(&pem)), false),
            (server_with_tickets(identity(&["b.example"]).1, None), false),
        ] {
            let client = client(None, "a.example", tls13, &[]);
            for (server, resumed) in [(&first, false), (&second, resumed)] {
                let (near, far) = connected(server, &client, 1 << 20).await;
                let ((near, seen), (far, _)) = (near.unwrap(), far.unwrap());
                assert_eq!(seen.resumed, resumed, "{tls13}");
                tokio::join!(write(&near, b"hello"), read_exactly(&far, 5));
            }
        }
    }
}

#[test]
fn object_identifiers_are_written_as_numbers() {
    for (text, bytes) in [
        ("1.2.3.4", Some(&[0x2a, 3, 4][..])),
        ("2.999.1", Some(&[0x88, 0x37, 1])),
        ("1.2.840.113549", Some(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d])),
        ("2.5.0.128", Some(&[0x55, 0, 0x81, 0])),
        ("3.1", None),
        ("1.40", None),
        ("1", None),
        ("1.2.x", None),
        ("", None),
    ] {
        assert_eq!(certificate::oid_bytes(text).as_deref(), bytes, "{text}");
    }
}

/// A source of secrets that is there.
fn file_source() -> nuncio_proto::pb::envoy::config::core::v3::ConfigSource {
    use nuncio_proto::pb::envoy::config::core::v3::{ConfigSource, config_source::ConfigSourceSpecifier};
    let own = format!("{}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
    ConfigSource { config_source_specifier: Some(ConfigSourceSpecifier::Path(own)) }
}

fn secret(certificate: pb::TlsCertificate) -> pb::Secret {
    pb::Secret { name: "one".into(), r#type: Some(pb::secret::Type::TlsCertificate(certificate)) }
}

#[test]
fn a_secret_that_is_refused_leaves_the_context_as_it_was() {
    let manager = TlsManager::default();
    let sink = Sink::new(Unsupported::Refuse);
    let cx = CompileContext::root(&sink, "", None);
    let named = pb::SdsSecretConfig { name: "one".into(), sds_config: Some(file_source()) };
    let common =
        pb::CommonTlsContext { tls_certificate_sds_secret_configs: vec![named], ..Default::default() };
    let message = pb::DownstreamTlsContext { common_tls_context: Some(common), ..Default::default() };
    let owner = TlsOwner { manager: &manager, stat_prefix: "" };
    let context = ServerContext::compile(message.clone(), &cx, owner).unwrap();
    let other = ServerContext::compile(message, &cx, owner).unwrap();
    assert!(context.present().is_none() && manager.shown().is_empty());
    let feeds = manager.feeds();
    let [feed] = &*feeds else { panic!("one subscription is shared") };
    let (good, bad) = (identity(&["a.example"]).1, identity(&["b.example"]).1);
    assert_eq!(feed.offer(secret(good.clone()), &cx), Ok(true));
    assert_eq!(feed.offer(secret(good.clone()), &cx), Ok(false));
    let before = context.present().unwrap();
    assert!(other.present().is_some() && !sink.has_errors());
    let mixed = pb::TlsCertificate { private_key: bad.private_key, ..good };
    assert!(feed.offer(secret(mixed), &cx).is_err() && sink.has_errors());
    assert!(Arc::ptr_eq(&before, &context.present().unwrap()));
    drop((context, other, feeds));
    assert!(manager.feeds().is_empty());
}
