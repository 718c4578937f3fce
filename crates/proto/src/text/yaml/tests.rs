use super::*;

fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut yaml = Yaml::new(text);
    let mut tokens = Vec::new();
    loop {
        match yaml.next() {
            Ok((Token::End, _)) => return Ok(tokens),
            Ok((token, _)) => tokens.push(token),
            Err(error) => return Err(error.message),
        }
    }
}

fn scalar(text: &str) -> Token<'static> {
    let text = format!("k: {text}\n");
    match tokens(&text).unwrap().into_iter().nth(2).unwrap() {
        Token::Str(text) => Token::Str(text.into_owned().into()),
        Token::Number(text) => Token::Number(text.into_owned().into()),
        Token::Bool(value) => Token::Bool(value),
        _ => Token::Null,
    }
}

fn string(text: &str) -> Token<'_> {
    Token::Str(text.into())
}

#[test]
fn plain_scalars_resolve_as_in_yaml_cpp() {
    for text in ["", "~", "null", "Null", "NULL"] {
        assert_eq!(scalar(text), Token::Null, "{text:?}");
    }
    for (text, value) in
        [("yes", true), ("Y", true), ("True", true), ("ON", true), ("n", false), ("Off", false)]
    {
        assert_eq!(scalar(text), Token::Bool(value), "{text:?}");
    }
    for (text, value) in
        [("5", "5"), ("+5", "5"), ("-5", "-5"), ("0x1F", "31"), ("010", "8"), ("2147483647", "2147483647")]
    {
        assert_eq!(scalar(text), Token::Number(value.into()), "{text:?}");
    }
    for text in ["oN", "tRUE", "nUll", "08", "0o17", "1e3", "1.5", ".inf", "1_000", "0x", "a b", "50%"] {
        assert_eq!(scalar(text), string(text), "{text:?}");
    }
    // Beyond 32 bits an integer is a string of its decimal digits.
    assert_eq!(scalar("2147483648"), string("2147483648"));
    assert_eq!(scalar("0x100000000"), string("4294967296"));
}

#[test]
fn quotes_and_the_bare_tag_make_strings_and_no_other_tag_matters() {
    for text in ["'5'", "\"5\"", "! 5", "|\n  5", "|-\n  5"] {
        assert!(matches!(scalar(text), Token::Str(_)), "{text:?}");
    }
    for text in ["!!str 5", "!foo 5"] {
        assert_eq!(scalar(text), Token::Number("5".into()), "{text:?}");
    }
    assert_eq!(scalar("!!int '5'"), Token::Number("5".into()));
    assert_eq!(scalar("!!str null"), string("null"));
    assert_eq!(scalar("'null'"), string("null"));
}

#[test]
fn keys_are_their_text() {
    let keys: Vec<Token<'_>> =
        tokens("{yes: 1, 5: 2, ~: 3, 'a': 4}").unwrap().into_iter().skip(1).step_by(2).collect();
    assert_eq!(keys, [string("yes"), string("5"), string("null"), string("a"), Token::EndMap]);
    assert_eq!(tokens("? [a]\n: b\n").unwrap_err(), "a key must be a scalar");
}

#[test]
fn an_alias_stands_for_what_its_anchor_named() {
    let plain = tokens("{a: {x: [1, {y: 2}]}, b: {x: [1, {y: 2}]}, c: {z: 2}}").unwrap();
    let aliased = tokens("{a: &m {x: [1, &n {y: &o 2}]}, b: *m, c: {z: *o}}").unwrap();
    assert_eq!(plain, aliased);
    let nested = tokens("{a: &p {y: 1}, b: &q [*p, *p], c: *q}").unwrap();
    assert_eq!(nested, tokens("{a: {y: 1}, b: [{y: 1}, {y: 1}], c: [{y: 1}, {y: 1}]}").unwrap());
    assert_eq!(tokens("{a: &k b, *k : c}").unwrap(), tokens("{a: b, b: c}").unwrap());
}

#[test]
fn a_key_tagged_ignore_goes_with_its_value_and_keeps_its_anchors() {
    assert_eq!(tokens("!ignore x: &a {id: b}\nnode: *a\n").unwrap(), tokens("node: {id: b}\n").unwrap());
    assert_eq!(
        tokens("!ignore x: [1, {y: 2}]\na: 1\n!ignore z: 5\nb: 2\n").unwrap(),
        tokens("a: 1\nb: 2\n").unwrap()
    );
}

#[test]
fn only_the_first_document_is_read() {
    assert_eq!(tokens("{}\n---\nfoo: [\n").unwrap(), [Token::Map, Token::EndMap]);
    assert_eq!(tokens("\u{feff}--- {}\n...\n").unwrap(), [Token::Map, Token::EndMap]);
    assert_eq!(tokens("# nothing\n").unwrap(), []);
}

#[test]
fn an_alias_bomb_and_a_self_reference_are_errors() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
    }
    assert!(tokens(&bomb).unwrap_err().contains("aliases stand for more than"));
    assert!(tokens("a: &a {b: *a}").unwrap_err().contains("inside of what it names"));
}

#[test]
fn nesting_ends_at_a_hundred_levels() {
    let nested = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(tokens(&nested(99)).is_ok());
    assert!(tokens(&nested(100)).unwrap_err().contains("nested deeper"));
}

#[test]
fn positions_count_from_one() {
    let mut yaml = Yaml::new("a:\n  b: c\n");
    let mut marks = Vec::new();
    while let Ok((token, mark)) = yaml.next() {
        if token == Token::End {
            break;
        }
        if let Token::Str(text) = token {
            marks.push((text.into_owned(), mark.line, mark.col));
        }
    }
    assert_eq!(marks, [("a".into(), 1, 1), ("b".into(), 2, 3), ("c".into(), 2, 6)]);
}
