//! The shape of a log line: spdlog's patterns, compiled once.

use super::Level;
use nuncio_core::civil::Civil;
use std::fmt::Write;

/// The shape unless `--log-format` says otherwise.
pub const DEFAULT_FORMAT: &str = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v";

/// A compiled pattern. Times are UTC. A flag that spdlog does not know is printed as it stands, as there.
#[derive(Clone, Debug)]
pub struct Pattern(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    Flag { flag: char, width: usize, align: Align },
}

#[derive(Clone, Copy, Debug)]
enum Align {
    Right,
    Left,
    Centre,
}

/// What a line says, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) at: Civil,
    pub(super) unix_seconds: u64,
    pub(super) level: Level,
    pub(super) component: &'a str,
    pub(super) thread: u64,
    pub(super) file: &'a str,
    pub(super) line: u32,
    pub(super) text: &'a str,
}

impl Pattern {
    /// Takes a pattern apart.
    pub fn compile(text: &str) -> Self {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                literal(&mut pieces, c);
                continue;
            }
            let align = match chars.next_if(|c| matches!(c, '-' | '=')) {
                Some('-') => Align::Left,
                Some(_) => Align::Centre,
                None => Align::Right,
            };
            let mut width = 0;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                width = (width * 10 + digit as usize).min(64);
                chars.next();
            }
            match chars.next() {
                Some('%') => literal(&mut pieces, '%'),
                Some(flag) => pieces.push(Piece::Flag { flag, width, align }),
                None => literal(&mut pieces, '%'),
            }
        }
        Self(pieces)
    }

    pub(super) fn write(&self, line: &Line<'_>, out: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Flag { flag, width: 0, .. } => write_flag(*flag, line, out),
                Piece::Flag { flag, width, align } => {
                    let mut value = String::new();
                    write_flag(*flag, line, &mut value);
                    let room = width.saturating_sub(value.chars().count());
                    let before = match align {
                        Align::Right => room,
                        Align::Left => 0,
                        Align::Centre => room / 2,
                    };
                    out.extend(std::iter::repeat_n(' ', before));
                    out.push_str(&value);
                    out.extend(std::iter::repeat_n(' ', room - before));
                }
            }
        }
    }
}

fn literal(pieces: &mut Vec<Piece>, c: char) {
    if let Some(Piece::Literal(text)) = pieces.last_mut() {
        text.push(c);
    } else {
        pieces.push(Piece::Literal(c.into()));
    }
}

fn write_flag(flag: char, l: &Line<'_>, out: &mut String) {
    let at = &l.at;
    let twelve = if at.hour.is_multiple_of(12) { 12 } else { at.hour % 12 };
    let half = if at.hour < 12 { "AM" } else { "PM" };
    let (y, mo, d, h, mi, s) = (at.year, at.month, at.day, at.hour, at.minute, at.second);
    // Writing to a String cannot fail.
    let _ = match flag {
        'v' => write!(out, "{}", l.text),
        '_' => write!(out, "{}", l.text.replace('\n', "\\n")),
        'j' => {
            write_json(l.text, out);
            Ok(())
        }
        'n' => write!(out, "{}", l.component),
        'l' => write!(out, "{}", l.level),
        'L' => write!(out, "{}", short(l.level)),
        't' => write!(out, "{}", l.thread),
        'P' => write!(out, "{}", std::process::id()),
        'g' => write!(out, "{}", l.file),
        's' => write!(out, "{}", base(l.file)),
        '#' => write!(out, "{}", l.line),
        '@' => write!(out, "{}:{}", l.file, l.line),
        'a' => write!(out, "{:.3}", at.weekday_name()),
        'A' => write!(out, "{}", at.weekday_name()),
        'b' | 'h' => write!(out, "{:.3}", at.month_name()),
        'B' => write!(out, "{}", at.month_name()),
        'c' => {
            write!(out, "{:.3} {:.3} {d} {h:02}:{mi:02}:{s:02} {y}", at.weekday_name(), at.month_name())
        }
        'C' => write!(out, "{:02}", y % 100),
        'Y' => write!(out, "{y:04}"),
        'D' | 'x' => write!(out, "{mo:02}/{d:02}/{:02}", y % 100),
        'm' => write!(out, "{mo:02}"),
        'd' => write!(out, "{d:02}"),
        'H' => write!(out, "{h:02}"),
        'I' => write!(out, "{twelve:02}"),
        'M' => write!(out, "{mi:02}"),
        'S' => write!(out, "{s:02}"),
        'e' => write!(out, "{:03}", at.nanos / 1_000_000),
        'f' => write!(out, "{:06}", at.nanos / 1_000),
        'F' => write!(out, "{:09}", at.nanos),
        'E' => write!(out, "{}", l.unix_seconds),
        'p' => write!(out, "{half}"),
        'r' => write!(out, "{twelve:02}:{mi:02}:{s:02} {half}"),
        'R' => write!(out, "{h:02}:{mi:02}"),
        'T' | 'X' => write!(out, "{h:02}:{mi:02}:{s:02}"),
        'z' => write!(out, "+00:00"),
        // The message without the tags of a connection or stream, and those tags, which no line of ours has.
        '+' => write!(out, "{}", l.text),
        '*' => Ok(()),
        // Colour ranges: there are no colours here; variables of the context, as in spdlog.
        '^' | '$' | '&' => Ok(()),
        other => write!(out, "%{other}"),
    };
}

fn short(level: Level) -> char {
    level.name().chars().next().unwrap_or('-').to_ascii_uppercase()
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The text as the inside of a JSON string.
fn write_json(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

/// C-style escapes for what would break a line (`--log-format-escaped`).
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\0' => out.push_str("\\0"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    out
}
