//! Sets of bytes, which are the characters of RE2's Latin-1 mode.

use super::tree::other_case;
use std::fmt::Write;

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes([u128; 2]);

impl Bytes {
    pub(super) fn contains(&self, b: u8) -> bool {
        let [low, high] = self.0;
        let half = if b < 128 { low } else { high };
        half >> (b & 127) & 1 != 0
    }

    pub(super) fn add(&mut self, b: u8) {
        let [low, high] = &mut self.0;
        *(if b < 128 { low } else { high }) |= 1 << (b & 127);
    }

    pub(super) fn add_range(&mut self, from: u8, to: u8) {
        (from..=to).for_each(|b| self.add(b));
    }

    pub(super) fn add_where(&mut self, holds: impl Fn(u8) -> bool) {
        (0..=255).filter(|&b| holds(b)).for_each(|b| self.add(b));
    }

    pub(super) fn add_all(&mut self, other: &Bytes) {
        self.add_where(|b| other.contains(b));
    }

    pub(super) fn invert(&mut self) {
        let [low, high] = self.0;
        self.0 = [!low, !high];
    }

    /// The Latin-1 characters of a Unicode general category or script; `None` where RE2 knows none of this name.
    pub(super) fn add_unicode(&mut self, name: &str) -> Option<()> {
        match name {
            "Any" => {
                self.add_where(|_| true);
                return Some(());
            }
            // Surrogates, which are no characters.
            "Cs" => return Some(()),
            _ => {}
        }
        // The engine takes names in any case, and short ones of scripts; RE2 takes the long ones as Unicode has them.
        let category = match name.as_bytes() {
            [kind] => b"CLMNPSZ".contains(kind),
            [kind, b] => b.is_ascii_lowercase() && b"CLMNPSZ".contains(kind) && name != "Cn",
            _ => false,
        };
        let part = |p: &str| {
            p.starts_with(|c: char| c.is_ascii_uppercase())
                && p.chars().skip(1).all(|c| c.is_ascii_lowercase() || c == '_')
        };
        let script = name.len() > 4
            || ["Cham", "Kawi", "Lisu", "Modi", "Thai", "Toto"].contains(&name)
            || ["Nko", "Mro", "Vai", "Lao", "Yi"].contains(&name);
        let script = script && name.split('_').all(|p| part(p) || p == "of");
        let expression = match (category, script) {
            (true, _) => format!("^\\p{{{name}}}$"),
            (_, true) => format!("^\\p{{Script={name}}}$"),
            _ => return None,
        };
        let class = regex::Regex::new(&expression).ok()?;
        self.add_where(|b| class.is_match(char::from(b).encode_utf8(&mut [0; 4])));
        Some(())
    }

    /// Adds the other case of each letter.
    pub(super) fn fold(&mut self) {
        let own = *self;
        self.add_where(|b| own.contains(other_case(b)));
    }

    /// Its ranges, in order, first and last byte of each.
    pub(super) fn ranges(&self) -> Vec<(u8, u8)> {
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for b in (0..=255).filter(|&b| self.contains(b)) {
            match ranges.last_mut() {
                Some((_, to)) if *to + 1 == b => *to = b,
                _ => ranges.push((b, b)),
            }
        }
        ranges
    }

    /// Writes the set as a bracket expression that folds nothing.
    pub(super) fn write(&self, out: &mut String) {
        let ranges = self.ranges();
        out.push_str("(?-i:[");
        if ranges.is_empty() {
            out.push_str("^\\x00-\\xff");
        }
        for (from, to) in ranges {
            let _ = write!(out, "\\x{from:02x}-\\x{to:02x}");
        }
        out.push_str("])");
    }
}
