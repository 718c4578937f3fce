use super::super::forwarded::tests::{connection, info};
use super::super::original_ip::tests::ranges;
use super::*;
use crate::hcm::client_cert::{ClientCertRule, ForwardClientCert};

fn policy(fields: PolicyFields) -> RequestPolicy {
    let own_address = "192.0.2.2".parse().unwrap();
    RequestPolicy::compile(PolicyFields { own_address, ..fields }).unwrap()
}

fn request(lines: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::default();
    for (name, value) in
        [(":method", "GET"), (":path", "/"), (":authority", "test.example")].iter().chain(lines)
    {
        head.headers.append(*name, value.as_bytes());
    }
    head
}

/// The head as it goes on, without pseudo headers; ids are shown as `<uuid>`.
fn goes_on(policy: &RequestPolicy, lines: &[(&str, &str)]) -> Vec<String> {
    let (mut head, mut info) = (request(lines), info(connection("127.0.0.1", false)));
    assert_eq!(policy.on_request(&mut head, &mut info, &Rng::seeded(1)), Outcome::Continue);
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let shown = |known, v: &[u8]| {
        if known == Known::XRequestId && v.len() == 36 { "<uuid>".into() } else { text(v) }
    };
    let headers = head.headers.iter().filter(|(n, _)| !n.known().is_pseudo());
    headers.map(|(n, v)| format!("{}: {}", text(n.as_bytes()), shown(n.known(), v))).collect()
}

const ENVOY_HEADERS: &[(&str, &str)] = &[
    ("x-envoy-retry-on", "5xx"),
    ("x-envoy-max-retries", "1"),
    ("x-envoy-upstream-rq-timeout-ms", "5000"),
    ("x-envoy-expected-rq-timeout-ms", "7"),
    ("x-envoy-external-address", "6.6.6.6"),
    ("x-envoy-internal", "true"),
    ("x-envoy-decorator-operation", "op"),
    ("x-envoy-downstream-service-cluster", "dc"),
    ("x-envoy-downstream-service-node", "dn"),
    ("x-envoy-force-trace", "1"),
    ("x-envoy-ip-tags", "t"),
    ("x-envoy-original-path", "/op"),
    ("x-envoy-original-url", "http://x/"),
    ("x-envoy-attempt-count", "9"),
    ("x-envoy-custom", "keep"),
    ("x-forwarded-client-cert", "By=x"),
];

#[test]
fn a_plain_request_gets_proto_and_id_and_keeps_its_order() {
    let lines = [("accept", "*/*"), ("user-agent", "curl")];
    let got = goes_on(&policy(PolicyFields::default()), &lines);
    assert_eq!(got, ["accept: */*", "user-agent: curl", "x-forwarded-proto: http", "x-request-id: <uuid>"]);
}

#[test]
fn an_external_client_steers_nothing() {
    let fields = PolicyFields { use_remote_address: true, ..PolicyFields::default() };
    let mut lines = ENVOY_HEADERS.to_vec();
    lines.push(("x-forwarded-for", "8.8.8.8"));
    let want = [
        "x-envoy-external-address: 127.0.0.1",
        "x-envoy-attempt-count: 9",
        "x-envoy-custom: keep",
        "x-forwarded-for: 8.8.8.8,192.0.2.2",
        "x-forwarded-proto: http",
        "x-request-id: <uuid>",
    ];
    assert_eq!(goes_on(&policy(fields), &lines), want);
}

#[test]
fn an_internal_client_steers_and_is_called_internal() {
    let ranges = ranges(&["127.0.0.0"]);
    let fields = PolicyFields {
        use_remote_address: true,
        internal_addresses: InternalAddresses::Ranges { ranges, unix_sockets: false },
        ..PolicyFields::default()
    };
    let got = goes_on(&policy(fields), ENVOY_HEADERS);
    let stays = |(name, _): &&(&str, &str)| !matches!(*name, "x-envoy-internal" | "x-forwarded-client-cert");
    let mut want: Vec<String> =
        ENVOY_HEADERS.iter().filter(stays).map(|(n, v)| format!("{n}: {v}")).collect();
    want.extend(
        [
            "x-forwarded-for: 192.0.2.2",
            "x-forwarded-proto: http",
            "x-envoy-internal: true",
            "x-request-id: <uuid>",
        ]
        .map(String::from),
    );
    assert_eq!(got, want);
}

#[test]
fn without_remote_address_an_external_client_keeps_what_only_the_edge_removes() {
    let got = goes_on(&policy(PolicyFields::default()), ENVOY_HEADERS);
    let want = [
        "x-envoy-external-address: 6.6.6.6",
        "x-envoy-decorator-operation: op",
        "x-envoy-downstream-service-cluster: dc",
        "x-envoy-downstream-service-node: dn",
        "x-envoy-original-path: /op",
        "x-envoy-attempt-count: 9",
        "x-envoy-custom: keep",
        "x-forwarded-proto: http",
        "x-request-id: <uuid>",
    ];
    assert_eq!(got, want);
}

#[test]
fn the_proxy_names_itself_where_asked_to() {
    let fields = PolicyFields {
        add_user_agent: true,
        node_cluster: "my-cluster".into(),
        node_id: "nid".into(),
        via: "me".into(),
        request_ids: RequestIds { generate: false, ..RequestIds::default() },
        ..PolicyFields::default()
    };
    let policy = policy(fields);
    let want = [
        "x-forwarded-proto: http",
        "x-envoy-downstream-service-cluster: my-cluster",
        "user-agent: my-cluster",
        "x-envoy-downstream-service-node: nid",
        "via: me",
    ];
    assert_eq!(goes_on(&policy, &[]), want);
    let got = goes_on(&policy, &[("user-agent", "mine"), ("via", "1.1 before")]);
    assert_eq!(got[..2], ["user-agent: mine", "via: 1.1 before, me"]);
}

#[test]
fn a_client_certificate_header_goes_unless_it_is_always_forwarded() {
    let line = [("x-forwarded-client-cert", "By=x")];
    let kept = PolicyFields {
        client_cert: ClientCertPolicy::of(ClientCertRule {
            forward: ForwardClientCert::AlwaysForwardOnly,
            ..ClientCertRule::default()
        }),
        ..PolicyFields::default()
    };
    assert!(goes_on(&policy(kept), &line).contains(&"x-forwarded-client-cert: By=x".to_owned()));
    assert!(!goes_on(&policy(PolicyFields::default()), &line).iter().any(|l| l.contains("By=x")));
}

#[test]
fn an_https_target_without_tls_is_refused_where_the_peer_is_the_client() {
    for (use_remote_address, tls, scheme, refused) in [
        (true, false, "https", true),
        (true, false, "HTTPS", true),
        (true, false, "http", false),
        (true, true, "https", false),
        (false, false, "https", false),
    ] {
        let policy = policy(PolicyFields { use_remote_address, ..PolicyFields::default() });
        let (mut head, mut info) = (request(&[(":scheme", scheme)]), info(connection("127.0.0.1", tls)));
        let got = policy.on_request(&mut head, &mut info, &Rng::seeded(1));
        let want = Outcome::Refuse(Refusal::Reply(LocalReply::https_on_plaintext()));
        assert_eq!(got == want, refused, "{use_remote_address} {tls} {scheme}");
    }
}

#[test]
fn detection_extensions_stand_alone() {
    let detection = Detection::Xff { trust: XffTrust::Hops(0), skip_append: true };
    let fields = PolicyFields { original_ip_detection: vec![detection], ..PolicyFields::default() };
    let with_remote = PolicyFields { use_remote_address: true, ..fields.clone() };
    let with_hops = PolicyFields { xff_num_trusted_hops: 1, ..fields };
    for (fields, text) in [
        (with_remote, "Original IP detection extensions and use_remote_address may not be mixed"),
        (with_hops, "Original IP detection extensions and xff_num_trusted_hops may not be mixed"),
    ] {
        assert_eq!(RequestPolicy::compile(fields).unwrap_err().to_string(), text);
    }
}

#[test]
fn a_refusal_says_what_it_counts_as() {
    let policy = policy(PolicyFields::default());
    let outcome = |head: &mut RequestHead| {
        policy.on_request(head, &mut info(connection("127.0.0.1", false)), &Rng::seeded(1))
    };
    let mut star = request(&[]);
    star.headers.set(Known::Path, b"*");
    assert!(matches!(outcome(&mut star), Outcome::Refuse(Refusal::NonRelativePath(_))));
    let mut fragment = request(&[]);
    fragment.headers.set(Known::Path, b"/a#b");
    assert!(matches!(outcome(&mut fragment), Outcome::Refuse(Refusal::FailedPathNormalization(_))));
}

#[test]
fn towards_a_host_the_scheme_is_that_of_the_connection_there_if_configured() {
    for (match_upstream, secured, want) in
        [(true, false, "http"), (true, true, "https"), (false, false, "https"), (false, true, "https")]
    {
        let scheme = SchemeTransformation { overwrite: None, match_upstream };
        let mut head = request(&[(":scheme", "https")]);
        policy(PolicyFields { scheme, ..PolicyFields::default() }).on_upstream(&mut head, secured);
        assert_eq!(head.scheme(), want.as_bytes(), "{match_upstream} {secured}");
    }
}
