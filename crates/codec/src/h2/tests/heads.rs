//! Heads: what is taken, what is malformed, and what that ends.

use super::*;

fn one(fields: &[(&str, &str)]) -> String {
    serve(&Wire::client().head(1, flag::END_STREAM, fields)).0
}

fn with(more: &[(&str, &str)]) -> String {
    one(&[GET, more].concat())
}

#[test]
fn a_request_becomes_a_head_with_one_authority_and_one_cookie() {
    assert_eq!(one(GET), "head1/true[:method=GET,:scheme=http,:path=/,:authority=a,] ");
    let cookies = with(&[("cookie", "a=1"), ("x", " v "), ("cookie", "b=2"), ("host", "other")]);
    assert_eq!(cookies, "head1/true[:method=GET,:scheme=http,:path=/,:authority=a,x= v ,cookie=a=1; b=2,] ");
    let host = [GET[0], GET[1], GET[2], ("host", "h")];
    assert_eq!(one(&host), "head1/true[:method=GET,:scheme=http,:path=/,:authority=h,] ");
}

#[test]
fn malformed_heads_end_the_connection_with_envoys_details() {
    let field = "!Message { stream: 1, error: Field }";
    let messaging = "!Message { stream: 1, error: Messaging }";
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[("X-A", "1")], field),
        (&[("connection", "close")], field),
        (&[("keep-alive", "1")], field),
        (&[("proxy-connection", "1")], field),
        (&[("transfer-encoding", "chunked")], field),
        (&[("upgrade", "websocket")], field),
        (&[("te", "gzip")], field),
        (&[(":path", "/twice")], field),
        (&[("a", "b"), (":protocol", "late")], field),
        (&[(":foo", "x")], field),
        (&[(":status", "200")], field),
        (&[("", "x")], field),
        (&[("a b", "x")], field),
        (&[("x", "a\0b")], field),
        (&[("x", "a\rb")], field),
        (&[("x", "a\x7fb")], field),
        (&[("content-length", "+3")], field),
        (&[("content-length", "")], field),
        (&[("content-length", "99999999999999999999")], field),
        (&[("content-length", "3"), ("content-length", "3")], field),
        (&[("content-length", "3")], messaging),
        (&[("host", "a b")], field),
    ];
    for (more, want) in rows {
        assert_eq!(&with(more), want, "{more:?}");
    }
    for without in 0..4 {
        let mut fields = GET.to_vec();
        fields.remove(without);
        assert_eq!(one(&fields), messaging, "without {without}");
    }
    let replaced = |at: usize, value: &'static str| {
        let mut fields = GET.to_vec();
        fields[at].1 = value;
        one(&fields)
    };
    assert_eq!(replaced(0, "G T"), field);
    assert_eq!(replaced(1, "1http"), field);
    assert_eq!(replaced(2, ""), field);
    assert_eq!(replaced(2, "/a b"), field);
    assert_eq!(replaced(2, "x"), messaging);
    assert_eq!(replaced(3, "a b"), field);
    assert!(replaced(1, "ftp").starts_with("head1"));
    assert!(with(&[("te", "trailers")]).starts_with("head1"));
}

#[test]
fn connect_has_an_authority_alone_and_extended_connect_must_be_offered() {
    let plain = [(":method", "CONNECT"), (":authority", "a:1")];
    assert_eq!(one(&plain), "head1/true[:method=CONNECT,:authority=a:1,] ");
    assert_eq!(one(&[plain[0], plain[1], (":path", "/")]), "!Message { stream: 1, error: Messaging }");
    let extended = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    assert_eq!(one(&extended), "!Message { stream: 1, error: ConnectProtocol }");
    let options = Options { allow_connect: true, ..Options::default() };
    let (events, _) = run_with(Side::Server, &options, &Wire::client().head(1, 0, &extended));
    assert!(events.starts_with("head1/false[:method=CONNECT,:protocol=websocket"), "{events}");
    let get = [("protocol", "x")].map(|_| (":protocol", "websocket"));
    let get = [GET, &get].concat();
    let (events, _) = run_with(Side::Server, &options, &Wire::client().head(1, 0, &get));
    assert_eq!(events, "!Message { stream: 1, error: Messaging }");
}

#[test]
fn a_head_beyond_a_limit_loses_its_stream_and_spares_the_connection() {
    let many: Vec<(String, String)> = (0..97).map(|i| (format!("x{i}"), "1".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let wire = |n: usize| Wire::client().head(1, flag::END_STREAM, &[GET, &many[..n]].concat()).get(3);
    let (events, sent) = serve(&wire(97));
    assert!(events.starts_with("refused1:TooManyHeaders head3"), "{events}");
    assert_eq!(sent, "ACK RST1:2 ");
    assert!(serve(&wire(96)).0.starts_with("head1"));
    let crumbs = [("cookie", "a=b"); 97];
    assert!(with(&crumbs).starts_with("refused1:TooManyHeaders"));
    let options = Options {
        limits: crate::h1::DecoderLimits { max_head_bytes: 100, max_headers: 100 },
        ..Options::default()
    };
    let bomb = "b".repeat(70);
    let wire = Wire::client().head(1, 1, &[GET, &[("x", &bomb)]].concat());
    assert_eq!(run_with(Side::Server, &options, &wire).0, "refused1:HeadersTooLarge ");
}

#[test]
fn underscores_do_as_configured_and_malformed_messages_may_spare_the_connection() {
    use crate::h1::UnderscoreAction;
    let wire = Wire::client().head(1, 1, &[GET, &[("a_b", "1"), ("c", "2")]].concat()).get(3);
    let see = |underscores| run_with(Side::Server, &Options { underscores, ..Options::default() }, &wire).0;
    assert!(see(UnderscoreAction::Allow).contains("a_b=1,c=2"));
    assert!(see(UnderscoreAction::DropHeader).contains(":authority=a,c=2"));
    assert!(see(UnderscoreAction::RejectRequest).starts_with("refused1:Underscore head3"));
    let options = Options { stream_error_on_invalid_message: true, ..Options::default() };
    let wire = Wire::client().head(1, 1, &[GET, &[("X", "1")]].concat()).get(3);
    let (events, sent) = run_with(Side::Server, &options, &wire);
    assert!(events.starts_with("refused1:Field head3"), "{events}");
    assert_eq!(sent, "ACK RST1:1 ");
}

#[test]
fn responses_are_heads_after_any_number_of_informational_ones() {
    let respond = |fields: &[&[(&str, &str)]], flags: u8| {
        let mut wire = Wire::server();
        for (i, fields) in fields.iter().enumerate() {
            wire = wire.head(1, if i == 0 { flags } else { 0 }, fields);
        }
        run_with(Side::Client, &Options::default(), &wire).0
    };
    let ok: &[(&str, &str)] = &[(":status", "200"), ("server", "x")];
    assert_eq!(respond(&[ok], flag::END_STREAM), "head1/true[200 server=x,] ");
    assert_eq!(
        respond(&[&[(":status", "103")], &[(":status", "100")], ok], 0),
        "info1[103] info1[100] head1/false[200 server=x,] "
    );
    let field = "!Message { stream: 1, error: Field }";
    assert_eq!(respond(&[&[(":status", "101")]], 0), field);
    assert_eq!(respond(&[&[(":status", "20")]], 0), field);
    assert_eq!(respond(&[&[(":status", "099")]], 0), field);
    assert_eq!(respond(&[&[(":status", "200"), (":path", "/")]], 0), field);
    assert_eq!(respond(&[&[(":status", "204"), ("content-length", "1")]], 1), field);
    let messaging = "!Message { stream: 1, error: Messaging }";
    assert_eq!(respond(&[&[("server", "x")]], 0), messaging);
    assert_eq!(respond(&[&[(":status", "100")]], 1), messaging);
    assert_eq!(respond(&[&[(":status", "200"), ("content-length", "1")]], 1), messaging);
    assert!(respond(&[&[(":status", "304"), ("content-length", "1")]], 1).starts_with("head1/true[304"));
}

#[test]
fn blocks_in_pieces_are_blocks_up_to_a_count_and_a_size() {
    let whole = block(GET);
    let pieces = |n: usize| {
        let mut wire = Wire::client().frame(kind::HEADERS, flag::END_STREAM, 1, &whole[..4]);
        for i in 0..n {
            let last = i + 1 == n;
            let piece = if last { &whole[4 + i..] } else { &whole[4 + i..5 + i] };
            wire = wire.frame(kind::CONTINUATION, if last { flag::END_HEADERS } else { 0 }, 1, piece);
        }
        serve(&wire).0
    };
    assert!(pieces(1).starts_with("head1/true"));
    assert!(pieces(8).starts_with("head1/true"));
    assert_eq!(pieces(9), "!BlockTooLong");
    let mut wire = Wire::client().frame(kind::HEADERS, flag::END_STREAM, 1, &whole);
    for _ in 0..5 {
        wire = wire.frame(kind::CONTINUATION, 0, 1, &[0; 16_384]);
    }
    assert_eq!(serve(&wire).0, "!BlockTooLong");
}
