//! Every expectation was seen from Envoy 1.40 with the same format and a like request.

use super::*;
use crate::stream_info::{ClusterInfo, ConnectionInfo, HostInfo, ResponseFlag, UpstreamConnectionInfo};
use nuncio_codec::head::Version;
use nuncio_proto::pb::envoy::config::core::v3::TrafficDirection;
use prost_types::Struct;
use prost_types::value::Kind as ValueKind;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

/// A proxied GET, as it was measured.
struct Sample {
    info: StreamInfo,
    request: HeaderMap,
    response: HeaderMap,
    trailers: HeaderMap,
    rng: Rng,
    now: Instant,
}

fn headers(list: &[(&str, &[u8])]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in list {
        map.append(*name, value);
    }
    map
}

fn address(text: &str) -> crate::address::Address {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

fn host(name: &str) -> Rc<HostInfo> {
    Rc::new(HostInfo {
        address: address("127.0.0.1:33867"),
        name: name.into(),
        metadata: None,
        locality: Default::default(),
        locality_metadata: None,
    })
}

/// 2026-11-22T03:27:42.438073Z.
fn start_wall() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_795_318_062, 438_073_000)
}

impl Sample {
    fn new() -> Self {
        let clock = crate::clock::Clock::virtual_at(start_wall());
        let start = clock.now();
        let connection = Rc::new(ConnectionInfo {
            id: 1,
            local: address("127.0.0.1:51981"),
            direct_local: address("127.0.0.1:51981"),
            direct_remote: address("127.0.0.1:53358"),
            remote: address("127.0.0.1:53358"),
            requested_server_name: None,
            direction: TrafficDirection::Unspecified,
            listener: "lis".into(),
            filter_chain: "fc".into(),
            tls: Default::default(),
            accepted: start,
            listener_metadata: None,
            filter_chain_metadata: None,
            state: Default::default(),
        });
        let mut info = StreamInfo::new(start, start_wall(), connection, 0);
        let at = |us| Some(start + Duration::from_micros(us));
        info.protocol = Some(Version::Http11);
        info.response_code = Some(200);
        info.details = Some("via_upstream".into());
        info.bytes_sent = 3;
        info.timings.downstream_rx_end = at(31);
        info.timings.upstream_tx_end = at(500);
        info.timings.upstream_rx_begin = at(900);
        info.timings.downstream_tx_end = at(1013);
        info.timings.complete = at(1013);
        info.route_name = Some("rt".into());
        let up = &mut info.upstream;
        let (name, observability_name) = ("c1".into(), "alt".into());
        up.cluster =
            Some(Rc::new(ClusterInfo { name, observability_name, metadata: None, members: 1.into() }));
        up.host = Some(host(""));
        up.connection = Some(Rc::new(UpstreamConnectionInfo {
            id: 2,
            local: address("127.0.0.1:52654"),
            peer: address("127.0.0.2:33868"),
            protocol: Some(Version::Http11),
            connect_begin: start,
            connect_end: start,
            tls: None,
        }));
        up.attempts = 1;
        let request = headers(&[
            (":method", b"GET"),
            (":path", b"/rw/p/q?a=foo&b=&c"),
            ("x-envoy-original-path", b"/p/q?a=foo&b=&c"),
            (":authority", b"ex.com:80"),
            ("user-agent", b"agent"),
            ("x-multi", b"1"),
            ("x-multi", b"2"),
            ("x-request-id", b"rid"),
        ]);
        let response = headers(&[("x-up", b"v1"), ("x-envoy-upstream-service-time", b"0")]);
        Self {
            info,
            request,
            response,
            trailers: HeaderMap::new(),
            rng: Rng::seeded(1),
            now: start + Duration::from_millis(7),
        }
    }

    fn context(&self) -> FormatContext<'_> {
        FormatContext {
            info: &self.info,
            request: Some(&self.request),
            response: Some((&self.response, 200)),
            trailers: Some(&self.trailers),
            local_reply_body: b"",
            log_type: LogType::DownstreamEnd,
            now: self.now,
            wall: start_wall() + Duration::from_millis(1),
            rng: &self.rng,
        }
    }

    fn text(&self, format: &str) -> String {
        let mut out = Vec::new();
        Format::new(format).unwrap_or_else(|e| panic!("{format}: {e}")).render(&self.context(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn json(&self, members: &[(&str, ValueKind)], omit: bool) -> String {
        let mut out = Vec::new();
        JsonFormat::new(&object(members), &Commands::default(), omit)
            .unwrap()
            .render(&self.context(), &mut out);
        String::from_utf8(out).unwrap()
    }
}

fn object(members: &[(&str, ValueKind)]) -> Struct {
    let value = |kind: &ValueKind| prost_types::Value { kind: Some(kind.clone()) };
    Struct { fields: members.iter().map(|(k, v)| ((*k).to_owned(), value(v))).collect() }
}

fn s(text: &str) -> ValueKind {
    ValueKind::StringValue(text.to_owned())
}

fn list(kinds: &[ValueKind]) -> ValueKind {
    let values = kinds.iter().map(|k| prost_types::Value { kind: Some(k.clone()) }).collect();
    ValueKind::ListValue(prost_types::ListValue { values })
}

#[test]
fn the_default_format_is_envoys_to_the_byte() {
    let mut sample = Sample::new();
    assert_eq!(
        sample.text(DEFAULT_FORMAT),
        "[2026-11-22T03:27:42.438Z] \"GET /p/q?a=foo&b=&c HTTP/1.1\" 200 - 0 3 1 0 \"-\" \"agent\" \"rid\" \"ex.com:80\" \"127.0.0.1:33867\"\n"
    );
    // A request that never was one.
    sample.request.clear();
    sample.response.clear();
    sample.info.flags.set(ResponseFlag::DownstreamProtocolError);
    sample.info.response_code = Some(400);
    sample.info.bytes_sent = 11;
    sample.info.upstream = Default::default();
    sample.info.timings.complete = Some(sample.info.start);
    assert_eq!(
        sample.text(DEFAULT_FORMAT),
        "[2026-11-22T03:27:42.438Z] \"- - HTTP/1.1\" 400 DPE 0 11 0 - \"-\" \"-\" \"-\" \"-\" \"-\"\n"
    );
}

#[test]
fn commands_print_what_envoy_prints() {
    let sample = Sample::new();
    for (format, want) in [
        ("%ACCESS_LOG_TYPE%", "DownstreamEnd"),
        ("%CUSTOM_FLAGS%", ""),
        ("%LOCAL_REPLY_BODY%", ""),
        ("%PATH%", "/p/q?a=foo&b=&c"),
        ("%PATH(NQ)%", "/p/q"),
        ("%PATH(WQ:PATH)%", "/rw/p/q?a=foo&b=&c"),
        ("%PATH(WQ:ORIG)%", "/p/q?a=foo&b=&c"),
        ("%QUERY_PARAMS%", "a=foo&b=&c"),
        (
            "%QUERY_PARAM(a)%|%QUERY_PARAM(b)%|%QUERY_PARAM(c)%|%QUERY_PARAM(d)%|%QUERY_PARAM(a):2%",
            "foo|||-|fo",
        ),
        ("%REQUESTED_SERVER_NAME%", "-"),
        (
            "%REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %DURATION%",
            "0 0 0 0 1",
        ),
        (
            "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%",
            "200 via_upstream - -",
        ),
        ("%ROUNDTRIP_DURATION% %TRACE_ID% %DOWNSTREAM_TLS_VERSION%", "- - -"),
        ("%ROUTE_NAME% %VIRTUAL_CLUSTER_NAME% %STREAM_ID%", "rt - rid"),
        (
            "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%",
            "127.0.0.1:51981 127.0.0.1 51981",
        ),
        ("%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%", ""),
        ("%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%", "alt c1"),
        ("%UPSTREAM_CONNECTION_ID% %UPSTREAM_CONNECTION_IDS_ATTEMPTED%", "2 2"),
        ("%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%", "127.0.0.1:33867 127.0.0.1"),
        (
            "%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_LOCAL_PORT% %UPSTREAM_PROTOCOL%",
            "127.0.0.2:33868 52654 HTTP/1.1",
        ),
        (
            "%REQ(X-MULTI)% %REQ(NOPE)% %REQ(NOPE?USER-AGENT)% %REQ(USER-AGENT):3% %REQ(USER-AGENT):0%",
            "1 - agent age ",
        ),
        ("%REQUEST_HEADER(HOST)% %REQ(:path)%", "ex.com:80 /rw/p/q?a=foo&b=&c"),
        ("%RESP(:STATUS)% %RESP(X-UP)% %RESP(NOPE)% %RESPONSE_HEADER(nope?:status)%", "200 v1 - 200"),
        ("%TRAILER(x)% %GRPC_STATUS% %GRPC_STATUS_NUMBER%", "- - -"),
        ("%DYNAMIC_METADATA(ns)% %CLUSTER_METADATA(ns:k)% %FILTER_STATE(k)%", "- - -"),
        ("%ENVIRONMENT(NUNCIO_SET_BY_NOBODY)%", "-"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)% %COMMON_DURATION(DS_RX_BEG:DS_TX_END:ns)%", "31 1013000"),
        ("%COMMON_DURATION(A:B:ms)% %COMMON_DURATION(DS_RX_BEG:DS_RX_END)%", "- 0"),
        (
            "%START_TIME(%s.%3f)% %START_TIME(%1f)% %START_TIME(%9f)% %START_TIME(%E*S)%",
            "1795318062.438 4 438073000 42.438073",
        ),
        ("%START_TIME(%Y/%m/%dT%H:%M:%E3S%z)%", "2026/11/22T03:27:42.438+0000"),
        ("%EMIT_TIME%", "2026-11-22T03:27:42.439Z"),
        ("100%% %REQ(user-agent)%%%", "100% agent%"),
        ("%BYTES_SENT%%BYTES_RECEIVED%x", "30x"),
        ("%REQ(a%b)%", "-"),
    ] {
        assert_eq!(sample.text(format), want, "{format}");
    }
}

#[test]
fn time_specifiers_are_those_of_envoys_library() {
    let all = "%a|%A|%b|%B|%c|%C|%D|%d|%e|%F|%g|%G|%h|%H|%I|%j|%m|%M|%p|%r|%R|%t|%T|%u|%U|%V|%w|%W|%x|%X|%y|%Y|%Z|%%|";
    let want = "Sun|Sunday|Nov|November|Sun Nov 22 03:27:42 2026|20|11/22/26|22|22|2026-11-22|26|2026|Nov|03|03|326|11|27|AM|03:27:42 AM|03:27|\t|03:27:42|7|47|47|0|46|11/22/26|03:27:42|26|2026|UTC|%|";
    let odd = "%Ez|%E4Y|%E6f|%E*f|%E0S|%Es|%k|%l|%P|%q|%E3S|%E12S|%ET|%f|%4f|%Ey|%Od|%N|%-d|%_d|%E*z|%:z|%::z|%L|%i|%v|%s|%E";
    let want_odd = "+00:00|2026|438073|438073|42|1795318062| 3| 3|am|%q|42.438|42.438073000000|T|438073000|4380|26|22|%N|22|22|+00:00:00|+00:00|+00:00:00|%L|%i|%v|1795318062|%E";
    for (format, want) in [(all, want), (odd, want_odd)] {
        let mut out = Vec::new();
        TimeFormat::new(format, false).unwrap().write(start_wall(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
    for (secs, want) in [
        (0, "1970-01-01 001 Thu 01"),
        (951_782_400, "2000-02-29 060 Tue 09"),
        (1_609_459_199, "2020-12-31 366 Thu 53"),
        (1_609_459_200, "2021-01-01 001 Fri 53"),
        (1_735_603_200, "2024-12-31 366 Tue 01"),
    ] {
        let mut out = Vec::new();
        TimeFormat::new("%F %j %a %V", false)
            .unwrap()
            .write(UNIX_EPOCH + Duration::from_secs(secs), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}

#[test]
fn only_the_last_attempt_counts_and_only_if_it_was_connected() {
    let mut sample = Sample::new();
    assert_eq!(sample.text("%UPSTREAM_HOSTS_ATTEMPTED%"), "127.0.0.1:33867");
    assert_eq!(sample.text("%UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%"), "127.0.0.1");
    assert_eq!(sample.text("%UPSTREAM_CONNECTION_IDS_ATTEMPTED%"), "2");
    sample.info.upstream.host = Some(host("one.test:81"));
    assert_eq!(sample.text("%UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT%"), "one.test");
    sample.info.upstream.connection = None;
    assert_eq!(sample.text("%UPSTREAM_HOSTS_ATTEMPTED% %UPSTREAM_HOST%"), "- 127.0.0.1:33867");
    sample.info.upstream = Default::default();
    sample.info.upstream.transport_failure = Some("delayed connect error: Connection refused".into());
    assert_eq!(
        sample.text("%UPSTREAM_HOSTS_ATTEMPTED% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_CONNECTION_ID% %UPSTREAM_TRANSPORT_FAILURE_REASON%"),
        "- - 0 delayed_connect_error:_Connection_refused"
    );
    sample.info.upstream.transport_failure = Some("".into());
    assert_eq!(sample.text("%UPSTREAM_TRANSPORT_FAILURE_REASON%"), "-");
}

#[test]
fn the_grpc_status_is_that_of_trailers_then_headers_then_the_http_status() {
    let mut sample = Sample::new();
    let format = "%GRPC_STATUS%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS(NUMBER)%";
    sample.request.append("content-type", b"application/grpc");
    assert_eq!(sample.text(format), "Unknown|UNKNOWN|2");
    sample.response.append("grpc-status", b"1");
    assert_eq!(sample.text(format), "Canceled|CANCELLED|1");
    for (status, want) in [
        ("7", "PermissionDenied|PERMISSION_DENIED|7"),
        ("17", "17|17|17"),
        ("-1", "-1|-1|-1"),
        ("X", "-1|-1|-1"),
    ] {
        sample.trailers.set("grpc-status", status.as_bytes());
        assert_eq!(sample.text(format), want);
    }
    sample.request.set("content-type", b"application/grpcx");
    assert_eq!(sample.text(format), "-|-|-");
}

#[test]
fn formats_that_envoy_refuses_are_refused_in_its_words() {
    for (format, want) in [
        ("%FOO%", "Not supported field in StreamInfo: FOO"),
        ("%A1%", "Not supported field in StreamInfo: A1"),
        ("%REQ%", "REQ requires parameters"),
        ("%REQ()%", "REQ requires parameters"),
        ("%REQ(%", "Incorrect configuration: %REQ(%. Couldn't find valid command at position 0"),
        ("100%", "Incorrect configuration: 100%. Couldn't find valid command at position 3"),
        ("a%%b%", "Incorrect configuration: a%%b%. Couldn't find valid command at position 4"),
        ("%req(a)%", "Incorrect configuration: %req(a)%. Couldn't find valid command at position 0"),
        ("%REQ(a):x%", "Incorrect configuration: %REQ(a):x%. Couldn't find valid command at position 0"),
        (
            "%REQ(a):99999999999999999999%",
            "Incorrect configuration: %REQ(a):99999999999999999999%. Couldn't find valid command at position 0",
        ),
        ("%REQ(\n)%", "Incorrect configuration: %REQ(\n)%. Couldn't find valid command at position 0"),
        ("%REQ(a?b?c)%", "More than 1 alternative header specified in token: a?b?c"),
        ("%REQ(a b)%", "Invalid header configuration. Format string contains invalid characters."),
        ("%REQ(a)):3%", "Invalid header configuration. Format string contains invalid characters."),
        ("%START_TIME:3%", "START_TIME does not allow length to be specified."),
        ("%START_TIME(%n)%", "Invalid header configuration. Format string contains newline."),
        ("%DURATION(x)%", "DURATION does not take any parameters or length"),
        ("%RESPONSE_FLAGS:3%", "RESPONSE_FLAGS does not take any parameters or length"),
        ("%HOSTNAME(x)%", "HOSTNAME does not take any parameters or length"),
        ("%COMMON_DURATION(a)%", "Invalid common duration configuration: a."),
        ("%COMMON_DURATION(A:B:C)%", "Invalid common duration precision: C."),
        (
            "%GRPC_STATUS(X)%",
            "GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: X",
        ),
        ("%PATH(X)%", "Invalid PATH option: 'X', only 'WQ'/'NQ' are allowed"),
        ("%PATH(WQ:X)%", "Invalid PATH option: 'X', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed"),
        ("%FILTER_STATE%", "Invalid filter state configuration, key cannot be empty."),
        ("%FILTER_STATE(k:X)%", "Invalid filter state serialize type, only support PLAIN/TYPED/FIELD."),
        ("%METADATA(a)%", "a is not supported type of metadata"),
        ("%REQ_WITHOUT_QUERY(a)%", "Not supported field in StreamInfo: REQ_WITHOUT_QUERY"),
    ] {
        assert_eq!(Format::new(format).err().map(|e| e.to_string()).as_deref(), Some(want), "{format}");
    }
    for format in [
        "%%",
        "%DURATION()%",
        "%START_TIME()%",
        "%START_TIME(a)b)%",
        "%REQ(?b)%",
        "%START_TIME(%Q)%",
        "%RESPONSE_CODE_DETAILS(X)%",
    ] {
        assert!(Format::new(format).is_ok(), "{format}");
    }
}

#[test]
fn json_keeps_types_sorts_keys_and_writes_null_for_what_is_missing() {
    let sample = Sample::new();
    let members = [
        ("z", s("%DURATION%")),
        (
            "a",
            ValueKind::StructValue(object(&[
                ("n", s("%BYTES_SENT%")),
                ("B", ValueKind::NumberValue(1.0)),
                ("b", s("x%BYTES_SENT%y")),
            ])),
        ),
        ("t", ValueKind::BoolValue(true)),
        ("f", ValueKind::NumberValue(1.5)),
        ("nul", ValueKind::NullValue(0)),
        ("l", list(&[s("%REQ(NOPE)%"), s("a"), list(&[])])),
        ("lo", list(&[ValueKind::StructValue(object(&[("a", s("%REQ(NOPE)%"))]))])),
        ("mix", s("%REQ(NOPE)%-%REQ(USER-AGENT)%")),
        ("lit", s("a\"b\\c\u{e9}\u{1}\n")),
        (
            "o2",
            ValueKind::StructValue(object(&[(
                "p",
                ValueKind::StructValue(object(&[("q", s("%REQ(NOPE)%"))])),
            )])),
        ),
        ("ups", s("%UPSTREAM_CONNECTION_ID%")),
        ("pp", s("100%%")),
        ("lrb", s("%LOCAL_REPLY_BODY%")),
    ];
    assert_eq!(
        sample.json(&members, false),
        r#"{"a":{"B":1,"b":"x3y","n":3},"f":1.5,"l":[null,"a",[]],"lit":"a\"b\\cé\u0001\n","lo":[{"a":null}],"lrb":"","mix":"--agent","nul":null,"o2":{"p":{"q":null}},"pp":"100%","t":true,"ups":2,"z":1}"#
    );
    assert_eq!(
        sample.json(&members, true),
        r#"{"a":{"B":1,"b":"x3y","n":3},"f":1.5,"l":["a",[]],"lit":"a\"b\\cé\u0001\n","lo":[],"lrb":"","mix":"-agent","pp":"100%","t":true,"ups":2,"z":1}"#
    );
}

#[test]
fn json_strings_cannot_be_broken_out_of() {
    let mut sample = Sample::new();
    for (value, want) in [
        (&b"\xc3\xa9\"u\\o<>/'&\t\xe2\x82\xac"[..], r#"{"a":"é\"u\\o<>/'&\t€","m":"é\"u\\o<>/'&\t€|1"}"#),
        (
            b"\xe9\"u\\o<>/'&\t\xff\x80",
            r#"{"a":"\u00e9\u0022u\u005co<>/'&\u0009\u00ff\u0080","m":"\u00e9\u0022u\u005co<>/'&\u0009\u00ff\u0080|1"}"#,
        ),
    ] {
        sample.request.set("x-a", value);
        assert_eq!(sample.json(&[("a", s("%REQ(X-A)%")), ("m", s("%REQ(X-A)%|%DURATION%"))], false), want);
    }
}

#[test]
fn metadata_is_text_in_text_and_a_value_in_json() {
    let mut sample = Sample::new();
    let deep = ValueKind::StructValue(object(&[("t", s("deep")), ("u", ValueKind::NullValue(0))]));
    let fields = [
        ("b", s("str\"q")),
        ("c", ValueKind::NumberValue(5.0)),
        ("d", ValueKind::BoolValue(true)),
        ("s", deep),
    ];
    sample.info.set_dynamic_metadata("a", object(&fields));
    let whole = r#"{"b":"str\"q","c":5,"d":true,"s":{"t":"deep","u":null}}"#;
    for (path, text, json) in [
        ("a:b", "str\"q", "\"str\\\"q\""),
        ("a:c", "5", "5"),
        ("a:d", "true", "true"),
        ("a", whole, whole),
        ("a:s:t", "deep", "\"deep\""),
        ("a:x", "-", "null"),
        ("x", "-", "null"),
    ] {
        assert_eq!(sample.text(&format!("%DYNAMIC_METADATA({path})%")), text);
        assert_eq!(sample.text(&format!("%METADATA(DYNAMIC:{path})%")), text);
        let format = format!("%DYNAMIC_METADATA({path})%");
        assert_eq!(sample.json(&[("v", s(&format))], false), format!("{{\"v\":{json}}}"));
    }
    sample.info.set_dynamic_metadata("a", object(&[("b", s("new"))]));
    assert_eq!(sample.text("%DYNAMIC_METADATA(a:b)% %DYNAMIC_METADATA(a:c)%"), "new 5");
    assert_eq!(sample.text("%DYNAMIC_METADATA(a:b):1%"), "n");
}

#[test]
fn every_random_id_is_a_new_uuid_of_version_4() {
    let sample = Sample::new();
    let (one, two) = (sample.text("%UNIQUE_ID%"), sample.text("%UNIQUE_ID%"));
    assert_ne!(one, two);
    assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert_eq!(one.as_bytes()[14], b'4');
    assert!(b"89ab".contains(&one.as_bytes()[19]));
}

#[test]
fn a_missing_value_prints_nothing_where_empty_values_are_omitted() {
    let sample = Sample::new();
    let format = Format::with(
        "[%REQ(NOPE)%] [%RESPONSE_FLAGS%] [%COMMON_DURATION(A:B:ms)%] [%ENVIRONMENT(NUNCIO_SET_BY_NOBODY)%]",
        &Commands::default(),
        true,
    );
    let mut out = Vec::new();
    format.unwrap().render(&sample.context(), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "[] [-] [] [-]");
}

#[test]
fn json_escapes_every_byte_that_needs_it_wherever_it_stands() {
    for byte in 0..=127_u8 {
        for len in 1..20 {
            for at in 0..len {
                let mut text = vec![b'a'; len];
                text[at] = byte;
                let mut out = Vec::new();
                write_json_string(&text, &mut out);
                let read: String = serde_json::from_slice(&out).unwrap();
                assert_eq!(read.as_bytes(), text, "byte {byte} at {at} of {len}");
                assert!(out.iter().all(|b| (0x20..0x80).contains(b)));
            }
        }
    }
    for byte in 128..=255_u8 {
        let mut out = Vec::new();
        write_json_string(&[b'a', b'"', byte, b'b', b'c', b'd', b'e', b'f', b'g'], &mut out);
        assert!(serde_json::from_slice::<String>(&out).is_ok(), "byte {byte}");
    }
}

#[test]
fn numbers_and_addresses_are_written_with_every_count_of_digits() {
    for n in [0, 7, 10, 99, 100, 101, 999, 1000, 1009, 9999, 10_000, 65_535, u64::MAX] {
        let mut out = Vec::new();
        super::command::write_number(n, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), n.to_string());
    }
    for text in ["0.10.100.255:1", "255.9.99.199:10", "1.2.3.4:100", "1.2.3.4:1000", "1.2.3.4:65535"] {
        let mut out = Vec::new();
        address(text).write_to(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        let mut out = Vec::new();
        address(text).write_ip_to(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text.split(':').next().unwrap());
    }
}
