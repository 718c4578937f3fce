//! `docs/vulnerabilities.md` names tests: each of them exists.

use std::path::Path;

/// The text of every Rust file below `folder`.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

#[test]
fn every_test_that_holds_a_line_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/vulnerabilities.md")).unwrap_or_default();
    let mut code = String::new();
    sources(&root.join("crates"), &mut code);
    let mut named = 0;
    // What stands between backticks and looks like the name of a test: words joined by `_`, at least four.
    for name in page.split('`').skip(1).step_by(2).filter_map(|path| path.rsplit("::").next()) {
        let word = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if name.split('_').count() >= 4 && name.split('_').all(word) {
            assert!(code.contains(&format!("fn {name}(")), "no test is called {name}");
            named += 1;
        }
    }
    assert!(named >= 30, "only {named} tests are named");
}
