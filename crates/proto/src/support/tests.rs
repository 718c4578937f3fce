use super::*;
use std::path::Path;

#[test]
fn coverage_md_is_what_the_ledger_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/coverage.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, coverage()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == coverage(), "docs/coverage.md is stale: BLESS=1 cargo test -p nuncio-proto coverage");
}

#[test]
fn what_is_unbuilt_and_inert_in_a_named_message_is_counted() {
    let totals = field_totals();
    assert!(totals.built > 200, "{totals:?}");
    assert!(totals.inert > 0 && totals.unbuilt > 0, "{totals:?}");
}
