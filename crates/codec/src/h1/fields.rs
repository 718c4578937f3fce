//! Field lines: the part that heads and trailers share.

use super::error::FieldError;
use super::{DecoderLimits, UnderscoreAction};
use crate::head::{HeaderMap, Known, KnownSet, REQUEST_JOINED, RESPONSE_JOINED, TRAILERS_JOINED};
use crate::scan::{self, STEP, Window};

/// What the fields belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `host` becomes `:authority`.
    Request,
    Response,
    Trailers,
}

/// How fields are taken in.
#[derive(Clone, Copy)]
pub(super) struct FieldRules {
    pub limits: DecoderLimits,
    pub underscores: UnderscoreAction,
    /// The head is read line by line, because its spelling is kept.
    pub preserve_case: bool,
    pub part: Part,
}

impl FieldRules {
    /// Whether lines without oddities are taken as they are.
    #[inline]
    pub(super) fn are_plain(self) -> bool {
        !self.preserve_case && self.underscores == UnderscoreAction::Allow
    }

    fn joined(self) -> KnownSet {
        match self.part {
            Part::Request => REQUEST_JOINED,
            Part::Response => RESPONSE_JOINED,
            Part::Trailers => TRAILERS_JOINED,
        }
    }
}

/// Appends the fields of `block` (whole lines, without the empty one) to `map`.
#[inline]
pub(super) fn parse(block: &[u8], rules: FieldRules, map: &mut HeaderMap) -> Result<(), FieldError> {
    parse_lines(block, rules, map).map_err(|error| worst(block, error))
}

/// An input up to this length is copied whole in the hope that it is a head of the common form.
pub(super) const PLAIN_INPUT: usize = 4096;

/// Appends the fields that stand from `at` on in the map's buffer, `len` bytes of what was loaded, if they are whole
/// (with the empty line), few enough, and all plain. The answer is their length with the empty line; after `None`
/// the map must be cleared.
#[inline]
pub(super) fn parse_plain(map: &mut HeaderMap, at: usize, len: usize, rules: FieldRules) -> Option<usize> {
    let most = map.len() + rules.limits.max_headers as usize;
    let (joined, request) = (rules.joined(), rules.part == Part::Request);
    let mut done = 0;
    loop {
        let left = len - done;
        let rest = map.buffer_from(at + done);
        if let [b'\r', b'\n', ..] = rest {
            map.end_load(at + done);
            return (left >= 2 && map.len() <= most).then_some(done + 2);
        }
        let line = plain_line(rest, left, request)?;
        if !map.push_in_place(line.known, joined, at + done, line.name_len, line.value_len) {
            return None;
        }
        done += line.name_len + line.value_len + 4;
        if done >= len {
            return None;
        }
    }
}

/// As Envoy says it: a control character anywhere in a block outweighs whatever else is wrong with it.
#[cold]
pub(super) fn worst(block: &[u8], error: FieldError) -> FieldError {
    if scan::has_stray_controls(block) { FieldError::Value } else { error }
}

#[inline]
fn parse_lines(block: &[u8], rules: FieldRules, map: &mut HeaderMap) -> Result<(), FieldError> {
    let most = map.len() + rules.limits.max_headers as usize;
    let base = map.load(block);
    let plain = rules.are_plain();
    let (joined, request) = (rules.joined(), rules.part == Part::Request);
    let mut at = 0;
    while at < block.len() {
        match plain_line(map.buffer_from(base + at), block.len() - at, request) {
            Some(line)
                if plain
                    && map.push_in_place(line.known, joined, base + at, line.name_len, line.value_len) =>
            {
                at += line.name_len + line.value_len + 4;
            }
            _ => at = any_line(block, at, rules, map)?,
        }
        if map.len() > most {
            return Err(FieldError::TooMany);
        }
    }
    Ok(())
}

struct PlainLine {
    known: Known,
    name_len: usize,
    value_len: usize,
}

/// The line at the beginning of `line` if it is `name: value CR LF` with nothing to fold, trim or refuse; its name is
/// lower-cased in place. `end` is the end of the block; [`HeaderMap::PAD`] bytes follow it.
#[inline(always)]
fn plain_line(line: &mut [u8], end: usize, request: bool) -> Option<PlainLine> {
    let (name_len, mut known) = plain_name(line)?;
    if known == Known::Host && request {
        known = Known::Authority;
    }
    let [b':', b' ', value @ ..] = line.get(name_len..)? else { return None };
    let mut len = scan::text_end(value);
    if value.get(len) == Some(&b'\t') {
        len = tabbed_end(value, len)?;
    }
    let [b'\r', b'\n', next, ..] = value.get(len..)? else { return None };
    let stop = name_len + 2 + len + 2;
    // Of control characters the value has tabs at most.
    let blank = |at: usize| value.get(at).is_some_and(|b| *b <= b' ');
    if (len > 0 && (blank(0) || blank(len - 1))) || (matches!(next, b' ' | b'\t') && stop < end) || stop > end
    {
        return None;
    }
    Some(PlainLine { known, name_len, value_len: len })
}

/// The end of a value in which the first control character, at `len`, is a tab.
#[cold]
fn tabbed_end(value: &[u8], mut len: usize) -> Option<usize> {
    while value.get(len) == Some(&b'\t') {
        len += 1 + scan::text_end(value.get(len + 1..)?);
    }
    Some(len)
}

/// The name that `line` begins with, lower-cased in place: its length and which it is. `None` where it is no token.
#[inline(always)]
fn plain_name(line: &mut [u8]) -> Option<(usize, Known)> {
    let chunk = line.first_chunk_mut()?;
    let window = Window::load(chunk);
    let len = window.equal(b':').first();
    if len == STEP {
        return long_name(line);
    }
    *chunk = window.lower_first(len);
    let known = Known::find_short(chunk, len);
    let token = known != Known::Other || (len > 0 && Window::load(chunk).plain_name().covers(len));
    (token || line.get(..len).is_some_and(scan::is_name)).then_some((len, known))
}

fn long_name(line: &mut [u8]) -> Option<(usize, Known)> {
    let len = lower_name(line)?;
    let name = line.get(..len)?;
    let known = Known::find(name);
    let token = known != Known::Other || (len <= usize::from(u16::MAX) && scan::is_name(name));
    token.then_some((len, known))
}

/// Lower-cases what stands before the first colon, in place; its length, or `None` when there is no colon. Where
/// there is one, no value stands before it.
#[inline(always)]
fn lower_name(line: &mut [u8]) -> Option<usize> {
    let mut before = 0;
    let mut rest = line;
    while let Some((chunk, tail)) = rest.split_first_chunk_mut() {
        let window = Window::load(chunk);
        let len = window.equal(b':').first();
        *chunk = window.lower_first(len);
        if len < STEP {
            return Some(before + len);
        }
        before += STEP;
        rest = tail;
    }
    None
}

/// Takes the line at `at` of `block` with all that lines may have: folds, blanks, bare LF and CR. The answer is
/// where the next one begins.
#[cold]
fn any_line(block: &[u8], at: usize, rules: FieldRules, map: &mut HeaderMap) -> Result<usize, FieldError> {
    let rest = block.get(at..).unwrap_or_default();
    let len = folded_len(rest)?;
    let whole = rest.get(..len).unwrap_or_default();
    if scan::has_stray_controls(whole) {
        return Err(FieldError::Value);
    }
    let line = trim_end(whole);
    let colon = line.iter().position(|&b| b == b':').ok_or(FieldError::Name)?;
    let (name, value) = line.split_at_checked(colon).ok_or(FieldError::Name)?;
    if name.is_empty() || name.len() > usize::from(u16::MAX) || !name.iter().copied().all(scan::is_token) {
        return Err(FieldError::Name);
    }
    let value = scan::trim(value.get(1..).unwrap_or_default());
    if name.contains(&b'_') {
        match rules.underscores {
            UnderscoreAction::Allow => {}
            UnderscoreAction::RejectRequest => return Err(FieldError::Underscore),
            UnderscoreAction::DropHeader => return Ok(at + len),
        }
    }
    if value.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        // As Envoy does: what folds lines goes, the blanks around it stay, and a CR on its own goes too.
        if FRAMING.contains(Known::find_any_case(name)) {
            // What one reader folds another may not: no length hangs on it (Envoy takes such a coding for none).
            return Err(FieldError::Name);
        }
        let flat: Vec<u8> = value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        append(name, &flat, rules, map)?;
    } else {
        append(name, value, rules, map)?;
    }
    Ok(at + len)
}

/// The fields on which the length of a message hangs.
const FRAMING: KnownSet = KnownSet::of(&[Known::ContentLength, Known::TransferEncoding]);

/// The length of the line and of the ones that continue it, line ends included.
fn folded_len(rest: &[u8]) -> Result<usize, FieldError> {
    let mut len = 0;
    loop {
        let tail = rest.get(len..).unwrap_or_default();
        len += tail.iter().position(|&b| b == b'\n').map_or(tail.len(), |newline| newline + 1);
        match rest.get(len) {
            Some(b' ' | b'\t') => {}
            Some(0..=b' ') => return Err(FieldError::Name),
            _ => return Ok(len),
        }
    }
}

fn trim_end(line: &[u8]) -> &[u8] {
    let mut rest = line;
    while let [head @ .., b] = rest
        && *b <= b' '
    {
        rest = head;
    }
    rest
}

fn append(name: &[u8], value: &[u8], rules: FieldRules, map: &mut HeaderMap) -> Result<(), FieldError> {
    let known = match Known::find_any_case(name) {
        Known::Host if rules.part == Part::Request => Known::Authority,
        known => known,
    };
    if rules.joined().contains(known) && map.contains(known) {
        if !value.is_empty() {
            map.append_joined(known, b",", value);
        }
        return Ok(());
    }
    map.append_any_case(name, value);
    if known == Known::Authority {
        map.rename_last(known);
    }
    Ok(())
}
