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
        ("a**", "bad repetition operator: *"),
        ("a*+", "bad repetition operator: +"),
        ("a{1001}", "invalid repetition size: {1001}"),
        ("a{3,2}", "invalid repetition size: {3,2}"),
        (r"\1", r"invalid escape sequence: \1"),
        (r"\y", r"invalid escape sequence: \y"),
        (r"\Z", r"invalid escape sequence: \Z"),
        ("a\\", r"trailing \"),
        ("[a", "missing ]: [a"),
        ("[b-a]", "invalid character class range: b-a"),
        ("[[:foo:]]", "invalid character class range: [:foo:]"),
        ("(a", "missing ): (a"),
        ("a)", "unexpected ): a)"),
        ("(?=a)", "invalid perl operator: (?="),
        ("(?<=a)", "invalid perl operator: (?<"),
        ("(?x)a", "invalid perl operator: (?x"),
        (r"\p{Armenian}", "not supported here: the character class Armenian"),
        ("(?i)\u{e9}", "not supported here: a byte above 0x7f below (?i)"),
    ] {
        assert_eq!(Regex::new(pattern).err().map(|e| e.to_string()).as_deref(), Some(want), "{pattern}");
    }
}

#[test]
fn a_pattern_whose_program_would_be_huge_is_refused() {
    let error = Regex::new(r"((\w{1000}){1000}){1000}").err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("pattern too large - compile failed"));
}
