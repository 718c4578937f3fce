use super::*;

const DATE: &[u8] = b"Thu, 01 Jan 1970 00:00:00 GMT";

fn plain() -> ResponseHeaders {
    ResponseHeaders::new("envoy", ServerHeader::Overwrite, "", false)
}

fn applied(
    how: &ResponseHeaders,
    status: u16,
    response: &[(&str, &str)],
    request: &[(&str, &str)],
) -> Vec<String> {
    let (mut head, mut asked) = (ResponseHead::new(status), RequestHead::default());
    for (name, value) in response {
        head.headers.append(*name, value.as_bytes());
    }
    for (name, value) in request {
        asked.headers.append(*name, value.as_bytes());
    }
    how.apply(&mut head, &asked, DATE);
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    head.headers.iter().map(|(n, v)| format!("{}: {}", text(n.as_bytes()), text(v))).collect()
}

#[test]
fn date_and_server_stand_behind_the_upstreams_headers() {
    let lines = applied(&plain(), 200, &[("x-up", "1"), ("x-envoy-upstream-service-time", "3")], &[]);
    let date = format!("date: {}", String::from_utf8_lossy(DATE));
    assert_eq!(lines, ["x-up: 1", "x-envoy-upstream-service-time: 3", &date, "server: envoy"]);
    assert_eq!(applied(&plain(), 200, &[("date", "x")], &[]), ["date: x", "server: envoy"]);
}

#[test]
fn the_server_header_is_transformed_as_configured() {
    for (server, with, without) in [
        (ServerHeader::Overwrite, Some("n"), Some("n")),
        (ServerHeader::AppendIfAbsent, Some("up"), Some("n")),
        (ServerHeader::PassThrough, Some("up"), None),
    ] {
        let how = ResponseHeaders::new("n", server, "", false);
        let line = |response: &[(&str, &str)]| {
            let lines = applied(&how, 200, response, &[]);
            lines.iter().find_map(|l| l.strip_prefix("server: ").map(str::to_owned))
        };
        assert_eq!(line(&[("server", "up")]).as_deref(), with, "{server:?}");
        assert_eq!(line(&[]).as_deref(), without, "{server:?}");
    }
}

#[test]
fn hop_by_hop_headers_of_the_upstream_go_and_what_they_nominate_stays() {
    let came = [
        ("date", "x"),
        ("connection", "x-foo"),
        ("x-foo", "1"),
        ("keep-alive", "3"),
        ("proxy-connection", "x"),
        ("upgrade", "h2c"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x"),
        ("proxy-authenticate", "x"),
    ];
    let want = ["date: x", "x-foo: 1", "trailer: x", "proxy-authenticate: x", "server: envoy"];
    assert_eq!(applied(&plain(), 200, &came, &[]), want);
}

#[test]
fn an_upgrade_that_was_asked_for_passes_and_another_does_not() {
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let came = [("date", "x"), ("connection", "Upgrade"), ("upgrade", "websocket")];
    let lines = applied(&plain(), 101, &came, &upgrade);
    assert_eq!(lines, ["date: x", "connection: Upgrade", "upgrade: websocket", "server: envoy"]);
    assert_eq!(applied(&plain(), 101, &came, &[]), ["date: x", "server: envoy"]);
    let refused = applied(&plain(), 200, &came, &upgrade);
    assert_eq!(refused.last().map(String::as_str), Some("content-length: 0"));
}

#[test]
fn the_request_id_is_echoed_when_configured_or_forced() {
    let id = ("x-request-id", "r");
    let how = ResponseHeaders { request_id: true, ..plain() };
    let last = |lines: Vec<String>| lines.last().cloned().unwrap_or_default();
    assert_eq!(last(applied(&how, 200, &[], &[id])), "x-request-id: r");
    assert_eq!(last(applied(&how, 200, &[("x-request-id", "up")], &[id])), "server: envoy");
    assert_eq!(applied(&how, 200, &[("x-request-id", "up")], &[id])[0], "x-request-id: r");
    assert_eq!(last(applied(&plain(), 200, &[], &[id])), "server: envoy");
    assert_eq!(last(applied(&plain(), 200, &[], &[id, ("x-envoy-force-trace", "1")])), "x-request-id: r");
    assert_eq!(last(applied(&how, 200, &[], &[])), "server: envoy");
}

#[test]
fn via_is_appended() {
    let how = ResponseHeaders { via: "me".into(), ..plain() };
    assert_eq!(applied(&how, 200, &[("via", "1.0 up")], &[])[0], "via: 1.0 up, me");
    assert_eq!(applied(&how, 200, &[], &[])[2], "via: me");
}

#[test]
fn an_interim_response_gets_neither_date_nor_server() {
    assert_eq!(applied(&plain(), 100, &[("connection", "close")], &[]), [""; 0]);
}
