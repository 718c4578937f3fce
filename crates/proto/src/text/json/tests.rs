use super::*;

fn tokens(text: &str) -> Result<Vec<Token<'_>>, SyntaxError> {
    let mut json = Json::new(text);
    let mut tokens = Vec::new();
    loop {
        match json.next()? {
            (Token::End, _) => return Ok(tokens),
            (token, _) => tokens.push(token),
        }
    }
}

#[test]
fn the_legacy_forms_are_read() {
    let plain = tokens(r#"{"node": {"id": "a"}, "list": ["b"]}"#).unwrap();
    assert_eq!(tokens("{'node':{'id':'a'},'list':['b']}").unwrap(), plain);
    assert_eq!(tokens("{node:{id:\"a\",},list:[\"b\",],}").unwrap(), plain);
}

#[test]
fn what_the_reader_of_envoy_refuses_is_refused() {
    for text in [
        "",
        "{} x",
        "{/*x*/}",
        "{,}",
        "{\"a\":1,,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\" 1}",
        "{5:1}",
        "{null:1}",
        "[1 2]",
        "[,]",
        "{\"a\":+5}",
        "{\"a\":010}",
        "{\"a\":.5}",
        "{\"a\":5.}",
        "{\"a\":0x10}",
        "{\"a\":- 5}",
        "{\"a\":00}",
        "{\"a\":1e400}",
        "{\"a\":NaN}",
        "{\"a\":True}",
        "{\"a\":\"\\q\"}",
        "{\"a\":\"\\x41\"}",
        "{\"a\":\"\\ud83d\"}",
        "{\"a\":\"b}",
        "{\"a\"",
        "\u{feff}{}",
    ] {
        assert!(tokens(text).is_err(), "{text:?}");
    }
}

#[test]
fn escapes_and_raw_control_characters_stand_in_strings() {
    let text = "[\"\\u0041\\n\\/\\ud83d\\ude00\", \"a\nb\t\"]";
    let strings = tokens(text).unwrap();
    assert_eq!(strings[1], Token::Str("A\n/😀".into()));
    assert_eq!(strings[2], Token::Str("a\nb\t".into()));
}

#[test]
fn positions_count_lines_within_strings_too() {
    let mut json = Json::new("{\"a\": \"x\ny\",\n  \"b\": 1}");
    let mut last = Mark::default();
    while let Ok((token, mark)) = json.next() {
        match token {
            Token::End => break,
            Token::Number(_) => last = mark,
            _ => {}
        }
    }
    assert_eq!((last.line, last.col), (3, 8));
}
