use super::*;
use nuncio_core::matcher::Regex;
use nuncio_core::rng::Rng;

#[test]
fn literal_ends_are_found_and_nothing_else() {
    for (pattern, prefix, suffix) in [
        ("/b[io]t", "/b", "t"),
        (r"/num/\d+", "/num/", ""),
        (r".*\.(png|jpe?g)", "", ""),
        (r".*\.png", "", ".png"),
        ("^/a/b$", "/a/b", "/a/b"),
        ("/a|/b", "", ""),
        ("/ab*", "/a", ""),
        ("/ab+c", "/a", "c"),
        ("/ab?", "/a", ""),
        ("/ab{2}c", "/a", "c"),
        ("(?i)/a", "", ""),
        ("/a(?i)b", "", ""),
        ("/a(?i:b)c", "/a", "c"),
        ("/a(?P<x>b)c", "/a", "c"),
        (r"/a\Q.*\E", "", ""),
        ("/[]a]x/[^]b]y/[[:alpha:]]z", "/", "z"),
        (r"/a(\)|[)])b", "/a", "b"),
        ("/a(", "", ""),
        ("", "", ""),
    ] {
        let want = Affixes { prefix: prefix.into(), suffix: suffix.into() };
        assert_eq!(affixes(pattern), want, "{pattern}");
    }
}

#[test]
fn no_full_match_lacks_the_affixes() {
    let rng = Rng::seeded(3);
    let parts =
        ["a", "b", "/", ".", "[ab]", "(a|b)", "(?:/a)", "*", "+", "?", "{1,2}", "|", "^", "$", r"\.", r"\w"];
    let mut matched = 0;
    for _ in 0..4000 {
        let pattern: String =
            (0..rng.below(7)).map(|_| parts[rng.below(parts.len() as u64) as usize]).collect();
        let Ok(regex) = Regex::new(&pattern) else { continue };
        let found = affixes(&pattern);
        for _ in 0..12 {
            let text: Vec<u8> = (0..rng.below(6)).map(|_| b"ab/."[rng.below(4) as usize]).collect();
            if regex.is_full_match(&text) {
                matched += 1;
                assert!(
                    text.starts_with(&found.prefix) && text.ends_with(&found.suffix),
                    "{pattern} {text:?}"
                );
            }
        }
    }
    assert!(matched > 500, "{matched}");
}
