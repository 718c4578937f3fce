use super::*;
use crate::stream_info::{ClusterInfo, HostInfo, Locality};
use crate::testing::{headers, stream};
use nuncio_codec::head::HeaderMap;
use prost_types::{ListValue, Struct, value::Kind};
use std::rc::Rc;
use std::time::Duration;

const ALL: Features = Features { string_conversion: true, string_concat: true, string_functions: true };

fn refused(text: &str) -> String {
    Expression::new(text, Features::default()).unwrap_err().to_string()
}

fn struct_of(fields: Vec<(&str, Kind)>) -> Struct {
    let value = |kind| prost_types::Value { kind: Some(kind) };
    Struct { fields: fields.into_iter().map(|(k, kind)| (k.to_owned(), value(kind))).collect() }
}

/// A stream as it stands at its end.
struct Entry {
    info: crate::stream_info::StreamInfo,
    request: HeaderMap,
    response: HeaderMap,
}

impl Entry {
    fn new() -> Self {
        let mut info = stream();
        info.response_code = Some(200);
        info.bytes_received = 3;
        info.timings.complete = info.start.checked_add(Duration::from_nanos(2_041_371));
        info.route_name = Some("rt".into());
        info.upstream.attempts = 1;
        info.upstream.cluster = Some(Rc::new(ClusterInfo {
            name: "c1".into(),
            observability_name: "c1".into(),
            metadata: None,
            members: 2.into(),
        }));
        info.upstream.host = Some(Rc::new(HostInfo {
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 80)).into(),
            name: "".into(),
            metadata: None,
            locality: Locality { region: "lr".into(), zone: "lz".into(), sub_zone: "".into() }.into(),
            locality_metadata: None,
        }));
        let one = prost_types::Value { kind: Some(Kind::NumberValue(1.0)) };
        info.set_dynamic_metadata(
            "ns",
            struct_of(vec![
                ("s", Kind::StringValue("a\"\u{e9}".into())),
                ("f", Kind::NumberValue(1.5)),
                ("l", Kind::ListValue(ListValue { values: vec![one] })),
                ("o", Kind::StructValue(struct_of(vec![("k", Kind::BoolValue(true))]))),
                ("z", Kind::NullValue(0)),
            ]),
        );
        let request = headers(&[
            (":path", "/p/a?q=1&r=2#f"),
            (":authority", "h:80"),
            (":method", "POST"),
            ("x-a", "one"),
            ("x-a", "two"),
        ]);
        Self { info, request, response: headers(&[("x-r", "rv")]) }
    }

    fn activation(&self) -> Activation<'_> {
        Activation {
            connection: &self.info.connection,
            info: Some(&self.info),
            request: Some(&self.request),
            response: Some((&self.response, 200)),
            trailers: None,
            now: Some(self.info.start),
            too_early: None,
        }
    }

    /// The text of an expression, `-` where it has none.
    fn text(&self, text: &str) -> String {
        let mut out = Vec::new();
        let expression = Expression::new(text, ALL).unwrap_or_else(|e| panic!("{text}: {e}"));
        let there = expression.write_text(&self.activation(), &mut out);
        if there { String::from_utf8_lossy(&out).into_owned() } else { "-".into() }
    }

    /// The JSON of an expression, empty where it has none.
    fn json(&self, text: &str) -> String {
        let mut out = Vec::new();
        let expression = Expression::new(text, ALL).unwrap_or_else(|e| panic!("{text}: {e}"));
        let there = expression.write_json(&self.activation(), usize::MAX, &mut out);
        assert!(there || out.is_empty(), "{text}");
        String::from_utf8(out).unwrap()
    }
}

#[test]
fn literals_and_operators_print_as_envoy_prints_them() {
    let entry = Entry::new();
    for (text, wanted) in [
        ("1", "1"),
        ("null", "NULL"),
        ("1.0", "1"),
        ("1e100", "1e+100"),
        ("0.1+0.2", "0.3"),
        ("1e-7", "1e-07"),
        ("1000000.0", "1e+06"),
        ("-0.0", "-0"),
        ("1.0/0.0", "inf"),
        ("7/2", "3"),
        ("-7/2", "-3"),
        ("7/0", "-"),
        ("1+2.0", "-"),
        ("1-2u", "-"),
        ("9223372036854775807+1", "-"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("--1", "1"),
        ("!!true", "true"),
        ("!1", "-"),
        ("0x1Fu", "31"),
        ("1 == 1.0", "true"),
        ("1 == \"a\"", "false"),
        ("1 < 2.5", "true"),
        ("18446744073709551615u > 1e19", "true"),
        ("\"a\" < \"b\" && true", "true"),
        ("true ? 1 : nosuch", "1"),
        ("1 ? 1 : 2", "-"),
        ("nosuch || true", "true"),
        ("nosuch && false", "false"),
        ("nosuch || false", "-"),
        ("1 in [1, 2]", "true"),
        ("\"a\" in {\"a\": 1}", "true"),
        ("{1: 2}[1.0]", "2"),
        ("[1, 2][2]", "-"),
        ("{\"a\": 1, \"a\": 2}", "-"),
        ("[1]", "CelList value"),
        ("{}", "CelMap value"),
        ("int", "CelType value"),
        ("type(1) == int", "true"),
        ("type(duration(\"1s\")) == google.protobuf.Duration", "true"),
        ("r'\\n' + '\\x41' + \"\"\"'\"\"\"", "\\nA'"),
        ("size(\"\u{e9}\")", "1"),
        ("bytes(\"\u{e9}\").size()", "2"),
        ("1 // rest", "1"),
    ] {
        assert_eq!(entry.text(text), wanted, "{text}");
    }
}

#[test]
fn functions_do_what_cel_says() {
    let entry = Entry::new();
    for (text, wanted) in [
        ("\"abc\".contains(\"b\")", "true"),
        ("startsWith(\"abc\", \"b\")", "false"),
        ("\"abc\".matches(\"^a.c$\")", "true"),
        ("matches(\"xabc\", \"^a\")", "false"),
        ("int(\"5\") + int(1.9) + int(true)", "7"),
        ("int(1e30)", "-"),
        ("uint(-1)", "-"),
        ("double(\"x\")", "-"),
        ("bool(\"t\")", "true"),
        ("string(duration(\"1.5s\"))", "1.500s"),
        ("string(timestamp(5))", "1970-01-01T00:00:05Z"),
        ("string([1])", "-"),
        ("\"aXa\".replace(\"a\", \"b\", 1).lowerAscii()", "bxa"),
        ("\"a,b,c\".split(\",\", 2)[1]", "b,c"),
        ("[\"a\", \"b\"].join(\"-\")", "a-b"),
        ("duration(\"25h61m\")", "26h1m"),
        ("duration(\"-1.5s\")", "-1.5s"),
        ("duration(\"100ns\")", "100ns"),
        ("duration(\"0s\")", "0"),
        ("duration(\"\")", "-"),
        ("duration(\"1\")", "-"),
        ("duration(\"3723.5s\").getMinutes()", "62"),
        ("duration(\"3723.5s\").getMilliseconds()", "500"),
        ("timestamp(\"2020-01-02T03:04:05.678Z\").getDayOfMonth()", "1"),
        ("timestamp(\"2020-01-02T03:04:05.678Z\").getHours(\"+02:00\")", "5"),
        ("timestamp(\"2020-01-02T03:04:05.678Z\").getHours(\"nowhere\")", "-"),
        ("timestamp(\"2020-01-02T03:04:05.678Z\").getHours(\"UTC\")", "3"),
        ("timestamp(\"2020-01-01T00:00:00.5Z\") - timestamp(0) > duration(\"1h\")", "true"),
        ("timestamp(\"2020-01-01T00:00:00.50Z\")", "2020-01-01T00:00:00.5+00:00"),
    ] {
        assert_eq!(entry.text(text), wanted, "{text}");
    }
}

#[test]
fn attributes_are_read_from_the_stream() {
    let entry = Entry::new();
    for (text, wanted) in [
        ("request.path", "/p/a?q=1&r=2#f"),
        ("request[\"url_path\"]", "/p/a"),
        ("request.query", "q=1&r=2"),
        ("request.headers[\"X-A\"]", "one,two"),
        ("request.headers.host", "h:80"),
        ("request.headers[\"none\"]", "-"),
        ("has(request.headers.none)", "false"),
        ("has(request.path)", "true"),
        ("has(request.nonsense)", "false"),
        ("\"x-a\" in request.headers", "true"),
        ("size(request.headers)", "4"),
        ("request.duration", "2.041371ms"),
        ("request.size", "3"),
        ("request.nonsense", "-"),
        ("request", "CelMap value"),
        ("response.headers[\":status\"]", "200"),
        ("response.code in [200, 201]", "true"),
        ("response.grpc_status", "2"),
        ("connection.mtls", "false"),
        ("source.port", "1"),
        ("upstream.locality", "region: \"lr\" zone: \"lz\" "),
        ("upstream.num_endpoints", "2"),
        ("xds.cluster_name", "c1"),
        ("xds.cluster_metadata", ""),
        ("xds.upstream_host_metadata", "NULL"),
        ("metadata.filter_metadata.ns.l[0]", "1"),
        ("metadata.filter_metadata[\"ns\"].o.k", "true"),
        ("metadata.filter_metadata.none", "-"),
        (
            "metadata",
            "filter_metadata { key: \"ns\" value { fields { key: \"f\" value { number_value: 1.5 } } fields { key: \
             \"l\" value { list_value { values { number_value: 1 } } } } fields { key: \"o\" value { struct_value { \
             fields { key: \"k\" value { bool_value: true } } } } } fields { key: \"s\" value { string_value: \
             \"a\\\"\\303\\251\" } } fields { key: \"z\" value { null_value: NULL_VALUE } } } } ",
        ),
    ] {
        assert_eq!(entry.text(text), wanted, "{text}");
    }
}

#[test]
fn typed_values_keep_their_type_in_json() {
    let entry = Entry::new();
    for (text, wanted) in [
        ("1", "1"),
        ("18446744073709551615u", "18446744073709551616"),
        ("1000000.0", "1e+06"),
        ("100.0", "100"),
        ("0.0/0.0", "null"),
        ("\"a\\\"\"", "\"a\\\"\""),
        ("b\"ab\"", "\"YWI=\""),
        ("duration(\"1h\")", "\"3600s\""),
        ("timestamp(\"2020-01-01T00:00:00.12Z\")", "\"2020-01-01T00:00:00.120Z\""),
        ("{\"b\": [1, null], \"a\": true}", "{\"a\":true,\"b\":[1,null]}"),
        ("{1: 2}", "{\"1\":2}"),
        ("{true: 1}", ""),
        ("type(1)", ""),
        ("request", ""),
        (
            "request.headers",
            "{\":authority\":\"h:80\",\":method\":\"POST\",\":path\":\"/p/a?q=1&r=2#f\",\"x-a\":\"one,two\"}",
        ),
        ("upstream.locality", "{\"region\":\"lr\",\"zone\":\"lz\"}"),
        ("xds.route_metadata", "{}"),
        ("metadata.filter_metadata.ns.o", "{\"k\":true}"),
    ] {
        assert_eq!(entry.json(text), wanted, "{text}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused_with_its_place() {
    for (text, wanted) in [
        (
            "1 +",
            "<input>:1:4: Syntax error: mismatched input '<EOF>' expecting an expression\n | 1 +\n | ...^",
        ),
        ("", "<input>:1:1: Syntax error: mismatched input '<EOF>'"),
        ("a b", "<input>:1:3: Syntax error: extraneous input 'b' expecting <EOF>"),
        ("(1", "<input>:1:3: Syntax error: mismatched input '<EOF>' expecting ')'"),
        ("\"abc\\q\"", "<input>:1:1: Syntax error: token recognition error at: '\"abc\\q\"'"),
        ("1 = 2", "<input>:1:3: Syntax error: token recognition error at: '='"),
        ("9223372036854775808", "<input>:1:1: invalid int literal"),
        ("if", "<input>:1:1: reserved identifier: if"),
        ("a.?b", "unsupported syntax '.?'"),
        ("has(request)", "has() argument must be a field selection"),
        ("[1].all(x, x > 0)", "failed to create an expression: Comprehension support is disabled"),
        ("nosuch(1)", "No overload found in reference resolve step for nosuch"),
        ("size(1, 2)", "No overload found in reference resolve step for size"),
        ("string(1)", "No overload found in reference resolve step for string"),
        ("\"a\".lowerAscii()", "No overload found in reference resolve step for lowerAscii"),
        ("\"a\".matches(\"[\")", "invalid regular expression: missing ]: ["),
        ("\"a\".matches(request.path)", "not a literal"),
        ("\"a\".matches(\"(abc){50}\")", "exceeded RE2 max program size"),
        ("xds.node.extensions", "the attribute xds.node.extensions is not built"),
    ] {
        assert!(refused(text).contains(wanted), "{text}: {}", refused(text));
    }
}

#[test]
fn neither_brackets_nor_chains_are_deeper_than_envoy_lets_them_be() {
    let nested = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
    let chain = |n: usize| format!("1{}", "+1".repeat(n));
    let lists = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    for text in [nested(32), chain(31), lists(32), "true || ".repeat(5000) + "true", "!".repeat(501) + "true"]
    {
        assert!(Expression::new(&text, ALL).is_ok(), "{text}");
    }
    for text in [nested(33), chain(32), lists(33), nested(50_000), "x".repeat(100_001)] {
        assert!(Expression::new(&text, ALL).is_err(), "{text}");
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let rng = crate::rng::Rng::seeded(7);
    let parts = [
        "a", ".", "(", ")", "[", "]", "{", "}", "\"", "'", "\\", "1", "u", "e", "0x", "?", ":", "-", "é",
        "||", "in", "has", ",", "//", "\n",
    ];
    for _ in 0..20_000 {
        let text: String =
            (0..rng.next() % 12).map(|_| parts[(rng.next() % parts.len() as u64) as usize]).collect();
        let _ = Expression::new(&text, ALL);
    }
}
