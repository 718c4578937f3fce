use super::relax;

#[test]
fn lines_within_brackets_and_quotes_move_right() {
    assert_eq!(relax("a: {\nb: c\n}\n").unwrap(), "a: {\n    b: c\n    }\n");
    assert_eq!(relax("a: {\n\t\tb: c }\nd: e\n").unwrap(), "a: {\n    b: c }\nd: e\n");
    assert_eq!(
        relax("  a: \"x\n  y\"\n  b: 'it''s\n\n z'\n").unwrap(),
        "  a: \"x\n      y\"\n  b: 'it''s\n\n      z'\n"
    );
}

#[test]
fn what_stands_well_stays_as_it_is() {
    for text in [
        "a: [b,\n     c]\nd: it's\ne: x\n",
        "a: |\n  {\n  \"\nb: c\n",
        "- a: >-\n    '[\n  b: \"c\"\n- |\n  [\n",
        "# {\na: b # [\nc: 'x # {'\nd: \"\\\"[\"\n",
        "a: b[0]\nc: d{e\n",
    ] {
        assert_eq!(relax(text), None, "{text}");
    }
}
