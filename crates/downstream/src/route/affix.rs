//! What a text must begin or end with for a regular expression to match the whole of it.

/// The literal bytes at both ends of every full match of a pattern. Empty where nothing is certain: the
/// answer may promise less than the pattern asks, never more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Affixes {
    /// Every match begins so.
    pub prefix: Vec<u8>,
    /// Every match ends so.
    pub suffix: Vec<u8>,
}

/// One piece of a pattern's top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal(u8),
    Anything,
}

/// The affixes of an RE2 `pattern` that has to match a whole text.
pub(super) fn affixes(pattern: &str) -> Affixes {
    let Some(pieces) = pieces(pattern.as_bytes()) else { return Affixes::default() };
    let literal = |p: &Piece| match p {
        Piece::Literal(b) => Some(*b),
        Piece::Anything => None,
    };
    let prefix = pieces.iter().map_while(literal).collect();
    let mut suffix: Vec<u8> = pieces.iter().rev().map_while(literal).collect();
    suffix.reverse();
    Affixes { prefix, suffix }
}

/// The top-level pieces in order; `None` for a pattern whose ends are not certain (alternatives, flags).
fn pieces(pattern: &[u8]) -> Option<Vec<Piece>> {
    let mut out = Vec::new();
    let mut rest = pattern;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'|' => return None,
            b'^' if out.is_empty() => {}
            b'$' if tail.is_empty() => {}
            b'^' | b'$' | b'.' => out.push(Piece::Anything),
            b'[' => {
                rest = behind_class(tail)?;
                out.push(Piece::Anything);
            }
            b'(' => {
                rest = behind_group(tail)?;
                out.push(Piece::Anything);
            }
            b'*' | b'+' | b'?' => *out.last_mut()? = Piece::Anything,
            b'{' => {
                rest = tail.get(tail.iter().position(|&b| b == b'}')? + 1..)?;
                *out.last_mut()? = Piece::Anything;
            }
            b'\\' => {
                let (&escaped, tail) = tail.split_first()?;
                rest = tail;
                match escaped {
                    b'Q' | b'x' | b'p' | b'P' | b'0'..=b'9' => return None,
                    b if b.is_ascii_punctuation() => out.push(Piece::Literal(b)),
                    _ => out.push(Piece::Anything),
                }
            }
            b if b.is_ascii() => out.push(Piece::Literal(b)),
            _ => return None,
        }
    }
    Some(out)
}

/// What follows a character class whose `[` was read.
fn behind_class(class: &[u8]) -> Option<&[u8]> {
    let mut at = usize::from(class.first() == Some(&b'^'));
    let first = at;
    loop {
        match class.get(at)? {
            b'\\' => at += 2,
            b'[' if class.get(at + 1) == Some(&b':') => {
                at += 2 + class.get(at + 2..)?.windows(2).position(|w| w == b":]")? + 2;
            }
            b']' if at > first => return class.get(at + 1..),
            _ => at += 1,
        }
    }
}

/// What follows a group whose `(` was read; `None` where the group sets flags for what follows, or quotes.
fn behind_group(group: &[u8]) -> Option<&[u8]> {
    if let [b'?', rest @ ..] = group {
        let flags_end = rest.iter().position(|b| matches!(b, b':' | b')' | b'<' | b'P'))?;
        if rest.get(flags_end) == Some(&b')') {
            return None;
        }
    }
    let mut rest = group;
    let mut depth = 1;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(rest);
                }
            }
            b'[' => rest = behind_class(tail)?,
            b'\\' => {
                if tail.first() == Some(&b'Q') {
                    return None;
                }
                rest = tail.get(1..)?;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
