use super::*;

#[test]
fn templates_that_envoy_refuses_are_refused_in_its_words() {
    for (template, want) in [
        ("a", "Invalid pattern: \"a\""),
        ("/a b", "Invalid pattern: \"/a b\""),
        ("/é", "Invalid pattern: \"/é\""),
        ("//", "Invalid literal: \"\""),
        ("/a//b", "Invalid literal: \"\""),
        ("/a?b", "Invalid literal: \"a?b\""),
        ("/x}", "Invalid literal: \"x}\""),
        ("/*{x}", "Invalid literal: \"{x}\""),
        ("/{x}{y}", "Invalid suffix literal: \"{y}\""),
        ("/{x}-{y}", "Invalid suffix literal: \"-{y}\""),
        ("/{x}/{x}", "Repeated variable name: \"x\""),
        ("/{x=**}/*", "Glob after text glob."),
        ("/**/**", "Glob after text glob."),
        ("/a/**/b/**", "Glob after text glob."),
        ("/**/{y}", "Implicit variable path glob after text glob."),
        ("/**b/c", "Prefix match not supported."),
        ("/{1x}", "Invalid variable name: \"1x\""),
        ("/{}", "Invalid variable name: \"\""),
        ("/{x=}", "Empty variable match"),
        ("/{x", "Unmatched variable bracket in mixed pattern: \"{x\""),
        (
            "/{abcdefghijklmnopq}",
            "Invalid variable name length (length of \"abcdefghijklmnopq\" should be at least 1 and no more than 16)",
        ),
        ("/{a}/{b}/{c}/{d}/{e}/{f}", "Exceeded variable count limit (5)"),
        ("/{x={y}}", "Invalid suffix literal: \"}\""),
        ("/{x=/a}", "Invalid literal: \"\""),
        ("/{x=a/}", "Invalid variable match: \"/\""),
        ("/{x=*a}", "Invalid variable match: \"a\""),
        ("/{x=**.a}", "Invalid variable match: \".a\""),
    ] {
        let got = TemplateMatch::new(template).err().map(|e| e.to_string());
        assert_eq!(got.as_deref(), Some(want), "{template}");
    }
}

#[test]
fn paths_match_as_they_do_in_envoy() {
    for (template, yes, no) in [
        ("/a*b", "/ab /aab /b /aaab", "/a*b"),
        ("/v*", "/v / /vv", "/v* /v1"),
        ("/*", "/x /x*y /x%20 /x=y /x' /x@:;,&!$ /(a) /x~_-.", "/ /x/ /x|y /x\" /x[ /x{ /x^ /x\\y /x<y /x`"),
        ("/**", "/ /a /a/b /a* // /a/b/", "/a|"),
        ("/x/**", "/x/ /x/a /x//", "/x"),
        ("/x/**/a", "/x//a /x/b/a /x/b/c/a", "/x/a"),
        ("/{x=a/*}/c", "/a/b/c", "/a/b/d/c /a//c"),
        ("/{x=**}/c", "//c /a/b/c", "/c /a/b/d"),
        ("/a+b$c(d).e", "/a+b$c(d).e", "/aab$c(d).e /a+b$c(d)xe"),
        ("/a/", "/a/", "/a"),
        ("/{x}y", "/xy /xyy", "/y /xyz"),
        ("/y{x}.z", "/y1.z", "/y1xz /y.z"),
        ("/***", "", "/*** /a / //"),
        ("/a**", "", "/a /aa /a** /a/b"),
        ("/*a", "/*a /xa /xya", "/a"),
        ("/**a", "/a /x/a /*a /xa", "/b"),
        ("/{x=**}y", "/a/by /y /xy", "/x"),
        ("/{x=a/*}-b/c", "/a/q-b/c", "/a/q/c"),
        ("/{x}*", "/ab /a* /a", ""),
        ("/*-*", "/a-b /a*b /a- /a-*", ""),
        ("/api/{country}/v*/users/{id=*}", "/api/de/v/users/7", "/api/de/v1/users/7 /api//v1/users/1"),
    ] {
        let t = TemplateMatch::new(template).unwrap();
        for path in yes.split_whitespace() {
            assert!(t.matches(path.as_bytes()), "{template} {path}");
        }
        for path in no.split_whitespace() {
            assert!(!t.matches(path.as_bytes()), "{template} {path}");
        }
    }
}

#[test]
fn a_matched_path_is_rewritten_from_its_variables() {
    for (template, rewrite, path, want) in [
        ("/{x}/{y}", "/{y}/r/{x}", "/1/2", Some("/2/r/1")),
        ("/p/{x=**}", "/q/{x}", "/p/", Some("/q/")),
        ("/p/{x=**}", "/q{x}", "/p/a/b", Some("/qa/b")),
        ("/p/{x=a/*}/{z}", "/{z}-{x}.h", "/p/a/b/c", Some("/c-a/b.h")),
        ("/y*{x}", "/{x}", "/yy1", Some("/1")),
        ("/{x}/{y=**}.m3u8", "/{x}/{y}", "/a/b/c.m3u8", Some("/a/b/c")),
        ("/{x}", "/{x}", "/a/b", None),
    ] {
        let matched = TemplateMatch::new(template).unwrap();
        let rewrite = TemplateRewrite::new(rewrite, &matched).unwrap().unwrap();
        let mut out = Vec::new();
        let fits = rewrite.write(path.as_bytes(), &mut out);
        assert_eq!(fits.then(|| String::from_utf8(out).unwrap()).as_deref(), want, "{template}");
    }
}

#[test]
fn rewrites_are_paths_of_known_variables() {
    let matched = TemplateMatch::new("/{x}").unwrap();
    let check = |rewrite: &str| TemplateRewrite::new(rewrite, &matched).err();
    for ok in ["/{x}{x}", "/a{x}b", "/*", "/", "/{x}/"] {
        assert_eq!(check(ok), None, "{ok}");
    }
    for bad in ["a", "/{x", "/x}", "/a//b", "/a?b", "//{x}", "/{}", "{x}", "/é", "/{x=*}", "/a#b"] {
        assert_eq!(check(bad), Some(TemplateRewriteError::Invalid), "{bad}");
    }
    assert_eq!(check("/a/{z}"), Some(TemplateRewriteError::Mismatch));
}
