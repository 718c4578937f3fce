use super::super::Regex;

#[test]
fn patterns_mean_what_re2_means_by_them() {
    let rows: &[(&str, &[u8], bool)] = &[
        (r"a.c", b"abc", true),
        (r"a.c", b"a\nc", false),
        (r"a.c", b"a\xffc", true),
        (r"[^a]", b"\xe9", true),
        (r"[^a]", b"\n", true),
        ("\u{e9}", b"\xc3\xa9", true),
        ("[\u{e9}]", b"\xa9", true),
        ("\u{e9}+", b"\xc3\xa9\xa9", true),
        (r"\s", b"\x0b", false),
        (r"[[:space:]]", b"\x0b", true),
        (r"\w+", b"aZ_9", true),
        (r"\w", b"\xe9", false),
        (r"\pL", b"\xe9", true),
        (r"\PL", b"\xe9", false),
        (r"[\p{Lu}0-9]+", b"A1", true),
        (r"\<a\>", b"<a>", true),
        (r"[a&&b]+", b"a&b", true),
        (r"[[a]+", b"[a", true),
        (r"[\w-]+", b"a-b", true),
        (r"[a\]]+", b"a]", true),
        (r"[]a]+", b"]a", true),
        (r"[a-]+", b"-a", true),
        (r"\Qa.b\E.", b"a.bc", true),
        (r"\Qa.b\E.", b"axbc", false),
        (r"\101\x42\x{43}\0", b"ABC\x00", true),
        (r"a{2}", b"aa", true),
        (r"a{,2}", b"a{,2}", true),
        (r"a{x", b"a{x", true),
        (r"(?i)abC", b"AbC", true),
        (r"(?i:a)b", b"Ab", true),
        (r"(?i:a)b", b"AB", false),
        (r"(?i)[a-c]\x41[^x]", b"Ba\x58", false),
        (r"(?i)[a-c]", b"C", true),
        ("(?i)\u{e9}b", b"\xc3\xa9B", true),
        ("(?i)\u{e9}", b"\xe3\xa9", false),
        ("(?i)[\u{e9}]+", b"\xe3", false),
        (r"(?s)a.b", b"a\nb", true),
        (r"(?P<n>a)(?<m>b)", b"ab", true),
        (r"a|b", b"b", true),
        (r"a|bc", b"a", true),
        (r"a|ab", b"ab", true),
        (r"", b"", true),
        (r"(|a)*", b"aaa", true),
        (r"\C", b"\xff", true),
        (r"x*", b"xxy", false),
        (r"/v1/[^/]+/x#y", b"/v1/a/x#y", true),
        (r"]}", b"]}", true),
    ];
    for &(pattern, subject, want) in rows {
        let regex = Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        assert_eq!(regex.is_full_match(subject), want, "{pattern} on {subject:?}");
    }
}

#[test]
fn what_re2_refuses_is_refused_in_its_words() {
    for (pattern, want) in [
        ("*a", "no argument for repetition operator: *"),
        ("*?", "no argument for repetition operator: *?"),
        (r"\Q\E*", "no argument for repetition operator: *"),
        ("a**", "bad repetition operator: **"),
        ("a*+", "bad repetition operator: *+"),
        ("a{2}{3}?", "bad repetition operator: {2}{3}?"),
        ("a{1001}", "invalid repetition size: {1001}"),
        ("a{3,2}", "invalid repetition size: {3,2}"),
        ("(?:a{100}){11}", "invalid repetition size: {11}"),
        (r"\1", r"invalid escape sequence: \1"),
        (r"\y", r"invalid escape sequence: \y"),
        (r"\Z", r"invalid escape sequence: \Z"),
        (r"\E", r"invalid escape sequence: \E"),
        (r"\400", r"invalid escape sequence: \400"),
        (r"\x{10ffff}", r"invalid escape sequence: \x{10f"),
        (r"\xzz", r"invalid escape sequence: \xzz"),
        ("\\\u{e9}", "invalid escape sequence: \\\u{c3}"),
        ("a\\", r"trailing \"),
        ("[a", "missing ]: [a"),
        ("[b-a]", "invalid character class range: b-a"),
        ("[[:foo:]]", "invalid character class range: [:foo:]"),
        (r"\p{Foo}", r"invalid character class range: \p{Foo}"),
        (r"\p{greek}", r"invalid character class range: \p{greek}"),
        (r"\p{Cn}", r"invalid character class range: \p{Cn}"),
        ("(a", "missing ): (a"),
        ("a)", "unexpected ): a)"),
        ("(?=a)", "invalid perl operator: (?="),
        ("(?<=a)", "invalid perl operator: (?<="),
        ("(?x)a", "invalid perl operator: (?x"),
        ("(?i", "invalid perl operator: (?i"),
        ("(?P<a-b>c)", "invalid named capture group: (?P<a-b>"),
    ] {
        assert_eq!(Regex::new(pattern).err().map(|e| e.to_string()).as_deref(), Some(want), "{pattern}");
    }
}

#[test]
fn programs_are_as_large_as_re2_makes_them() {
    // Sizes that Envoy 1.40 printed.
    for (pattern, size) in [
        ("abc", 7),
        ("^abc", 4),
        ("(^abc)", 7),
        ("a{99}", 103),
        (".*", 6),
        ("(?s)a(.*)", 9),
        ("a*aab", 8),
        ("a{0,1000}", 2004),
        ("(?:a{100}){10}", 1004),
        ("(|a)*", 12),
        ("(a*)*", 11),
        ("a|A|b", 6),
        ("(?:abc|[ab]|[ab]|x[0-9])", 11),
        ("(?:abc|abc)*(?i:k){,2}K(?:^bb|^a(?:)|b){2,4}(?:x[0-9](?:a|b)|x[0-9]y)\\x41\\b[aA]?", 44),
        (r"(?U:\z|\b){2,4}", 6),
        (r"(?:(?:\b|\B)\z){2,4}", 18),
        ("(?i:\u{e9})", 6),
        (r"[^\x00-\xff]", 1),
        (r"a[^\x00-\xff]|b", 5),
        (r"\p{Armenian}", 1),
        ("a{01}", 9),
        ("a{99999999999}", 18),
        ("(?P<n>a)(?P<n>b)", 10),
        ("(?ii)", 4),
        (r"\_", 5),
    ] {
        assert_eq!(Regex::new(pattern).map(|r| r.program_size()), Ok(size), "{pattern}");
    }
}

#[test]
fn a_pattern_whose_program_would_be_huge_is_refused() {
    let error = Regex::new(&format!("(?:{}){{1000}}", "x".repeat(700))).err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("pattern too large - compile failed"));
}
