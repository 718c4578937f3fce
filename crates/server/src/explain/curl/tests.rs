use super::*;
use nuncio_codec::head::Known;

fn question(line: &str) -> Question {
    parse(&[format!("curl {line}")]).unwrap().question(None)
}

fn mistake(line: &str) -> String {
    parse(&[format!("curl {line}")]).unwrap_err()
}

fn header<'q>(question: &'q Question, name: &str) -> Option<&'q str> {
    question.head.headers.get_str(name)
}

#[test]
fn words_are_divided_as_a_shell_divides_them() {
    for (line, want) in [
        ("a  b\tc", vec!["a", "b", "c"]),
        ("'a b' \"c d\"", vec!["a b", "c d"]),
        ("a'b'\"c\"", vec!["abc"]),
        (r#"a\ b "q\"q" 'n\n'"#, vec!["a b", "q\"q", "n\\n"]),
        ("a \\\n  b", vec!["a", "b"]),
        ("'' x", vec!["", "x"]),
    ] {
        assert_eq!(split(line).unwrap(), want, "{line}");
    }
    assert!(split("'a").is_err() && split("a\\").is_err());
}

#[test]
fn urls_give_scheme_host_port_and_path() {
    for (url, tls, authority, port, path) in [
        ("http://a/", false, "a", 80, "/"),
        ("a", false, "a", 80, "/"),
        ("a:81/x?y#z", false, "a:81", 81, "/x?y"),
        ("https://a:443/x", true, "a", 443, "/x"),
        ("https://a?q=1", true, "a", 443, "/?q=1"),
        ("ws://u:p@a:80/c", false, "a", 80, "/c"),
        ("http://[::1]:8080/x", false, "[::1]:8080", 8080, "/x"),
        ("http://[::1]/", false, "[::1]", 80, "/"),
    ] {
        let found = Url::parse(url).unwrap();
        let got = (found.tls, &*found.authority, found.port, &*found.path);
        assert_eq!(got, (tls, authority, port, path), "{url}");
    }
    for bad in ["ftp://a/", "http:///x", "a:b/", "a:70000/"] {
        assert!(Url::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn curls_options_make_the_request_that_curl_makes() {
    let q = question("-X PUT -H 'X-A: 1' -HX-B:2 -H 'X-C;' -u me:secret -d a=1 --data-raw @b http://h/p");
    assert_eq!((q.head.method(), q.body.as_deref()), (&b"PUT"[..], Some(&b"a=1&@b"[..])));
    let got =
        ["x-a", "x-b", "x-c", "authorization", "content-length", "content-type", "accept", "user-agent"]
            .map(|name| header(&q, name));
    let want =
        ["1", "2", "", "Basic bWU6c2VjcmV0", "6", "application/x-www-form-urlencoded", "*/*", "curl/8.5.0"];
    assert_eq!(got, want.map(Some));
    assert_eq!(question("-d x h").head.method(), b"POST");
    assert_eq!(question("-sI h").head.method(), b"HEAD");
    assert_eq!(question("-H 'host: other' h").head.authority(), b"other");
    assert_eq!(question("-H 'Accept: a/b' h").head.headers.get_all("accept").count(), 1);
    assert_eq!(question("--header=x:1 h").head.headers.get("x"), Some(&b"1"[..]));
    assert!(!question("-X CONNECT h:1").head.headers.contains(Known::Path));
}

#[test]
fn the_connection_is_that_of_the_url_unless_options_say_otherwise() {
    let q = question("http://10.0.0.1:81/");
    assert_eq!((q.to, q.port), (Some("10.0.0.1:81".parse().unwrap()), 81));
    assert_eq!(question("--resolve h:81:10.0.0.2 http://h:81/").to, Some("10.0.0.2:81".parse().unwrap()));
    assert_eq!(question("--connect-to h:81:10.0.0.2:82 h").to, Some("10.0.0.2:82".parse().unwrap()));
    assert_eq!(question("--from 1.2.3.4 h").from, "1.2.3.4:50000".parse().unwrap());
    assert_eq!(question("--from [::1]:7 h").from, "[::1]:7".parse().unwrap());
    let tls = question("https://Name/");
    assert_eq!((tls.tls, tls.sni.as_deref(), &*tls.alpn), (true, Some("name"), &["h2", "http/1.1"][..]));
    assert_eq!(question("--http1.1 --sni Other https://h/").sni.as_deref(), Some("other"));
    assert_eq!(question("https://1.2.3.4/").sni, None);
    assert!(question("--http2-prior-knowledge h").prior_knowledge && !question("--http2 h").prior_knowledge);
}

#[test]
fn requests_are_read_as_http1_writes_them() {
    let asked = request_text(b"POST /a?b HTTP/1.1\r\nHost: h:81\r\nX: 1\r\n\r\nbody").unwrap();
    let q = asked.question(None);
    assert_eq!(
        (q.head.method(), q.head.path(), q.head.authority()),
        (&b"POST"[..], &b"/a?b"[..], &b"h:81"[..])
    );
    assert_eq!((header(&q, "x"), q.body.as_deref(), q.port), (Some("1"), Some(&b"body"[..]), 81));
    let asked = request_text(b"GET https://h/x HTTP/1.1\n\n").unwrap();
    assert!(asked.question(None).tls);
    let asked = request_text(b"curl -X PUT \\\n  http://h/\n").unwrap();
    assert_eq!(asked.question(None).head.method(), b"PUT");
    for bad in [&b"GET"[..], b"GET / HTTP/1.1\n\n", b"GET / HTTP/1.1\nhost\n\n"] {
        assert!(request_text(bad).is_err());
    }
}

#[test]
fn what_is_not_understood_is_named() {
    for (line, part) in [
        ("", "no URL"),
        ("--zork h", "--zork"),
        ("-sZ h", "-sZ"),
        ("-H", "no value"),
        ("-H x h", "no header"),
        ("a b", "one URL"),
        ("--resolve h:1 h", "HOST:PORT:ADDRESS"),
        ("--from x h", "IP[:PORT]"),
        ("-d @/nowhere h", "/nowhere"),
    ] {
        assert!(mistake(line).contains(part), "{line}: {}", mistake(line));
    }
    // Nobody reads files through the admin port.
    let inline = split("-d @/etc/passwd http://h/").unwrap();
    assert_eq!(parse_inline(&inline).unwrap().body.unwrap(), b"@/etc/passwd");
}
