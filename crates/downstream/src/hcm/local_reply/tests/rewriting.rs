//! `local_reply_config`, each row as Envoy 1.40 answered it.

use super::*;
use nuncio_core::config::{CompileContext, Sink, Unsupported};
use nuncio_core::runtime::Runtime;
use nuncio_proto::pb::envoy::config::accesslog::v3 as log_pb;
use nuncio_proto::pb::envoy::config::core::v3 as core_pb;
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use prost_types::value::Kind;

impl LocalReplies {
    pub(super) fn compile_for_test(
        set: impl FnOnce(pb::LocalReplyConfig) -> pb::LocalReplyConfig,
        keep_connection: bool,
    ) -> Self {
        let sink = Sink::new(Unsupported::Refuse);
        let cx = CompileContext::root(&sink, "local_reply_config", None);
        let message = set(pb::LocalReplyConfig::default());
        Self::compile(Some(&message), keep_connection, &Runtime::default(), &cx).unwrap()
    }
}

fn text(format: &str, content_type: &str) -> core_pb::SubstitutionFormatString {
    core_pb::SubstitutionFormatString {
        content_type: content_type.into(),
        format: Some(core_pb::substitution_format_string::Format::TextFormatSource(inline(format))),
        ..Default::default()
    }
}

fn inline(text: &str) -> core_pb::DataSource {
    let specifier = core_pb::data_source::Specifier::InlineString(text.into());
    core_pb::DataSource { specifier: Some(specifier), ..core_pb::DataSource::default() }
}

/// A mapper for replies with this status.
fn on_status(status: u32) -> pb::ResponseMapper {
    let value = core_pb::RuntimeUInt32 { default_value: status, runtime_key: "k".into() };
    let comparison = log_pb::ComparisonFilter { op: 0, value: Some(value) };
    let filter = log_pb::StatusCodeFilter { comparison: Some(comparison) };
    let specifier = log_pb::access_log_filter::FilterSpecifier::StatusCodeFilter(filter);
    pb::ResponseMapper {
        filter: Some(log_pb::AccessLogFilter { filter_specifier: Some(specifier) }),
        ..Default::default()
    }
}

fn add(key: &str, value: &str, overwrite: bool) -> core_pb::HeaderValueOption {
    let header = core_pb::HeaderValue { key: key.into(), value: value.into(), ..Default::default() };
    core_pb::HeaderValueOption {
        header: Some(header),
        append_action: if overwrite { 2 } else { 0 },
        ..Default::default()
    }
}

fn mapped(mapper: pb::ResponseMapper) -> LocalReplies {
    LocalReplies::compile_for_test(|m| pb::LocalReplyConfig { mappers: vec![mapper], ..m }, false)
}

fn formatted(format: core_pb::SubstitutionFormatString) -> LocalReplies {
    LocalReplies::compile_for_test(|m| pb::LocalReplyConfig { body_format: Some(format), ..m }, false)
}

fn forbidden(body: &'static str) -> LocalReply {
    LocalReply::new(403, "direct_response").with_body(ReplyBody::Static(body))
}

fn json_body() -> LocalReply {
    forbidden("{}").with_header("content-type", "application/json").with_header("x-r", "1")
}

fn get(path: &str) -> RequestHead {
    let mut head = request("GET", None);
    head.headers.set(Known::Path, path.as_bytes());
    head
}

const FORMAT: &str =
    "[%LOCAL_REPLY_BODY%|%RESPONSE_CODE%|%RESP(x-r)%|%REQ(:path)%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%]";

#[test]
fn the_common_format_makes_every_body() {
    let how = formatted(text(FORMAT, ""));
    let plain = ["content-length", "content-type: text/plain"];
    let json = ["content-type: text/plain", "x-r: 1", "content-length"];
    for (reply, path, lines, body) in [
        (forbidden("hello"), "/b", &plain[..], "[hello|403|-|/b|-|direct_response]"),
        (json_body(), "/h", &json, "[{}|403|1|/h|-|direct_response]"),
        (LocalReply::no_route(), "/404", &plain, "[|404|-|/404|NR|route_not_found]"),
        (
            LocalReply::codec_error(400, "http1.codec_error"),
            "/",
            &plain,
            "[Bad Request|400|-|/|-|http1.codec_error]",
        ),
    ] {
        let out = built_by(&how, reply, &get(path));
        assert_eq!(String::from_utf8_lossy(&out.body), body);
        let lines: Vec<String> = lines
            .iter()
            .map(|l| match *l {
                "content-length" => format!("content-length: {}", body.len()),
                line => line.to_owned(),
            })
            .collect();
        assert_eq!(out.lines, lines);
    }
    let out = built_by(&how, LocalReply::codec_error(400, "x"), &get("/"));
    assert!(out.info.flags.contains(ResponseFlag::DownstreamProtocolError), "set behind the formats");
}

#[test]
fn json_bodies_end_with_a_line_end_but_in_grpc_and_have_their_own_type() {
    let value = |text: &str| prost_types::Value { kind: Some(Kind::StringValue(text.into())) };
    let fields = [("b", "%LOCAL_REPLY_BODY%"), ("n", "%RESPONSE_CODE%")];
    let fields: Tree = fields.into_iter().map(|(k, v)| (k.to_owned(), value(v))).collect();
    let json = |content_type: &str| core_pb::SubstitutionFormatString {
        content_type: content_type.into(),
        format: Some(core_pb::substitution_format_string::Format::JsonFormat(prost_types::Struct {
            fields: fields.clone(),
        })),
        ..Default::default()
    };
    let out = built_by(&formatted(json("")), forbidden("x\n"), &get("/"));
    assert_eq!(String::from_utf8_lossy(&out.body), "{\"b\":\"x\\n\",\"n\":403}\n");
    assert_eq!(out.lines[1], "content-type: application/json");
    let out = built_by(&formatted(json("application/problem+json")), json_body(), &get("/"));
    assert_eq!(out.lines[0], "content-type: application/problem+json");
    let mut grpc = get("/");
    grpc.headers.append(Known::ContentType, b"application/grpc");
    let out = built_by(&formatted(json("")), forbidden("x"), &grpc);
    assert_eq!(out.lines[2], "grpc-message: {\"b\":\"x\",\"n\":403}");
}

type Tree = std::collections::BTreeMap<String, prost_types::Value>;

#[test]
fn a_mapper_changes_status_body_and_headers() {
    let headers_to_add =
        vec![add("content-type", "x/y", true), add("x-s", "%RESPONSE_CODE% %LOCAL_REPLY_BODY%", false)];
    let how = mapped(pb::ResponseMapper {
        headers_to_add,
        status_code: Some(418),
        body: Some(inline("new %RESPONSE_CODE%")),
        ..on_status(403)
    });
    let out = built_by(&how, forbidden(""), &get("/e"));
    // Headers are formatted before the status changes, and see no body.
    assert_eq!((out.status, out.info.response_code), (418, Some(418)));
    assert_eq!(out.lines, ["content-type: x/y", "x-s: 403 ", "content-length: 19"]);
    assert_eq!(out.body, b"new %RESPONSE_CODE%");
    let out = built_by(&how, LocalReply::no_route(), &get("/"));
    assert_eq!((out.status, out.lines.len()), (404, 0), "another status is left alone");
}

#[test]
fn a_new_body_brings_its_type_unless_the_mapper_named_one() {
    let new = |headers_to_add| {
        mapped(pb::ResponseMapper { headers_to_add, body: Some(inline("new")), ..on_status(403) })
    };
    let out = built_by(&new(vec![]), json_body(), &get("/h"));
    assert_eq!(out.lines, ["content-type: text/plain", "x-r: 1", "content-length: 3"]);
    let out = built_by(&new(vec![add("content-type", "x/y", false)]), json_body(), &get("/h"));
    assert_eq!(out.lines, ["content-type: application/json,x/y", "x-r: 1", "content-length: 3"]);
    let same = mapped(pb::ResponseMapper { status_code: Some(500), ..on_status(403) });
    let out = built_by(&same, json_body(), &get("/h"));
    assert_eq!(out.lines, ["content-type: application/json", "x-r: 1", "content-length: 2"]);
    let empty = mapped(pb::ResponseMapper { body: Some(inline("")), ..on_status(403) });
    assert_eq!(built_by(&empty, json_body(), &get("/h")).lines, ["x-r: 1"]);
}

#[test]
fn the_first_mapper_that_matches_wins_and_its_format_goes_before_the_common_one() {
    let own = pb::ResponseMapper {
        body_format_override: Some(text("O%LOCAL_REPLY_BODY%", "a/b")),
        ..on_status(403)
    };
    let never = pb::ResponseMapper { status_code: Some(599), ..on_status(403) };
    let how = LocalReplies::compile_for_test(
        |_| pb::LocalReplyConfig {
            mappers: vec![own, never],
            body_format: Some(text("F%LOCAL_REPLY_BODY%", "")),
        },
        false,
    );
    let out = built_by(&how, json_body(), &get("/h"));
    assert_eq!((out.status, &*out.body), (403, &b"O{}"[..]));
    assert_eq!(out.lines[0], "content-type: a/b");
    assert_eq!(built_by(&how, LocalReply::no_route(), &get("/")).body, b"F");
}

#[test]
fn what_the_caller_modifies_is_seen_by_the_rewrite() {
    let out = built_with(&formatted(text("%RESP(x-r)%", "")), forbidden("x"), &get("/"), |response, info| {
        assert_eq!(info.response_code, None, "a route does not know the status yet");
        response.headers.append("x-r", b"route");
    });
    assert_eq!(out.body, b"route");
    assert_eq!(out.lines[0], "x-r: route");
}

#[test]
fn a_grpc_status_that_a_mapper_adds_stays() {
    let how =
        mapped(pb::ResponseMapper { headers_to_add: vec![add("grpc-status", "9", false)], ..on_status(403) });
    let out = built_by(&how, forbidden(""), &request("GET", Some("application/grpc")));
    assert_eq!(out.lines, ["grpc-status: 9", "content-type: application/grpc"]);
}

#[test]
fn a_mapper_without_a_filter_is_refused() {
    let sink = Sink::new(Unsupported::Refuse);
    let message = pb::LocalReplyConfig { mappers: vec![pb::ResponseMapper::default()], ..Default::default() };
    let cx = CompileContext::root(&sink, "local_reply_config", None);
    assert!(LocalReplies::compile(Some(&message), false, &Runtime::default(), &cx).is_none());
    let (errors, _) = sink.finish();
    assert!(errors.to_string().contains("local_reply_config.mappers[0].filter"), "{errors}");
}
