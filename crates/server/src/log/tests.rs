use super::pattern::{self, Line};
use super::*;
use nuncio_core::civil::Civil;
use std::time::{Duration, UNIX_EPOCH};

fn line(text: &str) -> Line<'_> {
    let unix_seconds = 1_795_310_882;
    Line {
        at: Civil::of(UNIX_EPOCH + Duration::new(unix_seconds, 976_012_345)),
        unix_seconds,
        level: Level::Warning,
        component: "upstream",
        thread: 77,
        file: "a/b.rs",
        line: 12,
        text,
    }
}

fn shaped(pattern: &str, text: &str) -> String {
    let mut out = String::new();
    Pattern::compile(pattern).write(&line(text), &mut out);
    out
}

#[test]
fn the_default_line_has_envoys_shape() {
    assert_eq!(
        shaped(DEFAULT_FORMAT, "hello"),
        "[2026-11-22 01:28:02.976][77][warning][upstream] [a/b.rs:12] hello"
    );
}

#[test]
fn flags_are_spdlogs() {
    let rows = [
        ("%% %L %n", "% W upstream"),
        ("%a %A %b %B", "Sun Sunday Nov November"),
        ("%c", "Sun Nov 22 01:28:02 2026"),
        ("%D %R %r %p %I", "11/22/26 01:28 01:28:02 AM AM 01"),
        ("%e %f %F %E", "976 976012 976012345 1795310882"),
        ("%s:%# %g %@", "b.rs:12 a/b.rs a/b.rs:12"),
        ("[%8l][%-8l][%=9l]", "[ warning][warning ][ warning ]"),
        ("%q%", "%q%"),
        ("%v|%_|%j", "a\n\"|a\\n\"|a\\n\\\""),
    ];
    for (pattern, want) in rows {
        assert_eq!(shaped(pattern, "a\n\""), want, "{pattern}");
    }
}

#[test]
fn escaped_lines_stay_one_line() {
    assert_eq!(pattern::escape("a\nb\t\"\\"), "a\\nb\\t\\\"\\\\");
}

#[test]
fn levels_go_by_component_and_can_be_changed() {
    let log = Log::new(Settings {
        level: Level::Info,
        components: vec![("http", Level::Off)],
        pattern: Pattern::compile("%v"),
        escaped: false,
        path: None,
    })
    .unwrap();
    let level = |name| log.levels().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!((level("http"), level("main")), (Level::Off, Level::Info));
    log.set("main", Level::Trace);
    assert_eq!((level("http"), level("main")), (Level::Off, Level::Trace));
    log.set_all(Level::Error);
    assert_eq!((level("http"), level("main")), (Level::Error, Level::Error));
}
