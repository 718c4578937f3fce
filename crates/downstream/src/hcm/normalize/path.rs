//! The path's form: escapes, dot segments, slashes. The query is never touched.

use super::Normalization;

/// `path_with_escaped_slashes_action`: what `%2F` and `%5C` in a path are taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay escapes.
    #[default]
    KeepUnchanged,
    /// The request is refused.
    RejectRequest,
    /// They are decoded, and the client is sent to the new path.
    UnescapeAndRedirect,
    /// They are decoded.
    UnescapeAndForward,
}

/// A path in its form.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rewritten {
    /// To go on with.
    Path(Vec<u8>),
    /// To send the client to.
    Redirect(Vec<u8>),
    /// To be refused; the path as far as it came is what the log shows.
    Refused(Vec<u8>),
}

/// What a byte of a path means to normalisation.
const PLAIN: u8 = 0;
/// Stands for itself and also when written as an escape, so that the escape is decoded.
const UNRESERVED: u8 = 1;
/// Must be written as an escape.
const ESCAPE: u8 = 2;
/// `.`, `/`, `\`, `%`: has a meaning.
const SPECIAL: u8 = 4;

const CLASS: [u8; 256] = classes();

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of range is a build error"
)]
const fn classes() -> [u8; 256] {
    let mut out = [PLAIN; 256];
    let mut b = 0;
    while b < 256 {
        out[b] = match b as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'~' => UNRESERVED,
            b'.' | b'/' | b'\\' | b'%' => SPECIAL,
            0..=b' ' | b'"' | b'#' | b'<' | b'>' | b'?' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f.. => ESCAPE,
            _ => PLAIN,
        };
        b += 1;
    }
    out
}

#[inline]
fn class(b: u8) -> u8 {
    CLASS.get(usize::from(b)).copied().unwrap_or(PLAIN)
}

/// Whether `path` holds anything that `how` could change or refuse: one cheap walk, so that ordinary paths are
/// neither copied nor parsed.
#[inline]
pub(super) fn may_change(path: &[u8], how: &Normalization) -> bool {
    let mut before = 0;
    for &b in path {
        let class = class(b);
        if class & (SPECIAL | ESCAPE) != 0 {
            match b {
                b'?' => return false,
                b'%' => return true,
                b'/' if how.merge_slashes && before == b'/' => return true,
                b'/' => {}
                b'.' if !how.path || before != b'/' => {}
                _ if how.path => return true,
                _ => {}
            }
        }
        before = b;
    }
    false
}

/// Brings `path` (with its query, without a fragment) into its form.
pub(super) fn rewrite(path: &[u8], how: &Normalization) -> Rewritten {
    let end = memchr::memchr(b'?', path).unwrap_or(path.len());
    let (path, query) = path.split_at_checked(end).unwrap_or_default();
    let mut out = Vec::with_capacity(path.len() + query.len() + 2);
    let mut redirect = false;
    if how.escaped_slashes == EscapedSlashes::KeepUnchanged {
        out.extend_from_slice(path);
    } else if unescape_slashes(path, &mut out) {
        match how.escaped_slashes {
            EscapedSlashes::RejectRequest => {
                out.extend_from_slice(query);
                return Rewritten::Refused(out);
            }
            EscapedSlashes::UnescapeAndRedirect => redirect = true,
            EscapedSlashes::UnescapeAndForward | EscapedSlashes::KeepUnchanged => {}
        }
    }
    if how.path {
        let mut canonical = Vec::with_capacity(path.len() + query.len() + 2);
        out = strip_dot_parameters(&out);
        if canonicalize(&out, &mut canonical).is_none() {
            out.extend_from_slice(query);
            return Rewritten::Refused(out);
        }
        out = canonical;
    }
    if how.merge_slashes {
        merge_slashes(&mut out);
    }
    out.extend_from_slice(query);
    if redirect { Rewritten::Redirect(out) } else { Rewritten::Path(out) }
}

/// Appends `path` with `%2F` as `/` and `%5C` as `\`; whether there was one.
fn unescape_slashes(path: &[u8], out: &mut Vec<u8>) -> bool {
    let mut found = false;
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        let (byte, next) = match rest {
            [b'%', b'2', b'f' | b'F', tail @ ..] => (b'/', tail),
            [b'%', b'5', b'c' | b'C', tail @ ..] => (b'\\', tail),
            _ => (*first, tail),
        };
        found |= next.len() + 1 != rest.len();
        out.push(byte);
        rest = next;
    }
    found
}

/// `path` with the parameters of its dot segments gone: `/a/..;x=1/b` means `/a/../b` to many servers, so it
/// must not mean something else here.
fn strip_dot_parameters(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for (i, segment) in path.split(|&b| b == b'/').enumerate() {
        if i > 0 {
            out.push(b'/');
        }
        out.extend_from_slice(match segment {
            [b'.', b';', ..] => b".",
            [b'.', b'.', b';', ..] => b"..",
            _ => segment,
        });
    }
    out
}

/// The value of the escape at the beginning of `rest`, if there is a valid one.
fn escape(rest: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = rest else { return None };
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// The length of the dot at the beginning of `rest`, itself or as an escape; 0 for none.
fn dot(rest: &[u8]) -> usize {
    match rest {
        [b'.', ..] => 1,
        [b'%', b'2', b'e' | b'E', ..] => 3,
        _ => 0,
    }
}

/// What stands behind the first dot of a segment.
enum AfterDot {
    /// The segment is a name that begins with a dot.
    Name,
    /// The segment is `.`; so many more bytes belong to it.
    Current(usize),
    /// The segment is `..`; so many more bytes belong to it.
    Up(usize),
}

fn after_dot(rest: &[u8]) -> AfterDot {
    match rest {
        [] => AfterDot::Current(0),
        [b'/' | b'\\', ..] => AfterDot::Current(1),
        _ => match dot(rest) {
            0 => AfterDot::Name,
            len => match rest.get(len) {
                None => AfterDot::Up(len),
                Some(b'/' | b'\\') => AfterDot::Up(len + 1),
                Some(_) => AfterDot::Name,
            },
        },
    }
}

/// Appends the canonical form of `path`, as browsers make it: unreserved escapes are decoded, what must be
/// escaped is, `\` is `/`, dot segments are resolved. Other escapes stay as they are. `None` for an escaped
/// NUL.
fn canonicalize(path: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    // Where in `out` the last `%` stands that begins no escape.
    let mut stray = None;
    while let Some(rest) = path.get(at..)
        && let Some(&b) = rest.first()
    {
        let dot_len = dot(rest);
        if dot_len > 0 {
            at += dot_len;
            if out.last() == Some(&b'/') {
                match after_dot(path.get(at..).unwrap_or_default()) {
                    AfterDot::Name => out.push(b'.'),
                    AfterDot::Current(more) => at += more,
                    AfterDot::Up(more) => {
                        at += more;
                        drop_last_segment(out);
                        stray = stray.filter(|&s| s < out.len());
                    }
                }
            } else {
                out.push(b'.');
            }
            continue;
        }
        match (b, escape(rest)) {
            (b'\\', _) => out.push(b'/'),
            (b'%', None) => {
                stray = Some(out.len());
                out.push(b'%');
            }
            (b'%', Some(0)) => return None,
            (b'%', Some(value)) => {
                if class(value) == UNRESERVED {
                    out.push(value);
                    mend_stray(stray, path.get(at + 3).copied(), out);
                } else {
                    out.extend_from_slice(rest.get(..3)?);
                }
                at += 2;
            }
            _ if class(b) == ESCAPE => push_escape(b, out),
            _ => out.push(b),
        }
        at += 1;
    }
    Some(())
}

/// Cuts `out`, which ends with `/`, behind the slash before that one; the first slash stays.
fn drop_last_segment(out: &mut Vec<u8>) {
    let inner = out.len().saturating_sub(1);
    let keep = out.get(..inner).and_then(|o| o.iter().rposition(|&b| b == b'/')).map_or(1, |slash| slash + 1);
    out.truncate(keep);
}

fn push_escape(b: u8, out: &mut Vec<u8>) {
    let digit = |n: u8| b"0123456789ABCDEF".get(usize::from(n)).copied().unwrap_or_default();
    out.extend_from_slice(&[b'%', digit(b >> 4), digit(b & 15)]);
}

/// A decoded character that follows a stray `%` could complete an escape that nobody sent (`%%32e` would
/// become `%2e`): the `%` is then escaped itself. `next` is the input's byte behind the decoded character.
fn mend_stray(stray: Option<usize>, next: Option<u8>, out: &mut Vec<u8>) {
    let Some(stray) = stray else { return };
    let completes = match out.get(stray + 1..) {
        Some([a]) => a.is_ascii_hexdigit() && next.is_some_and(|n| n.is_ascii_hexdigit()),
        Some([a, b]) => a.is_ascii_hexdigit() && b.is_ascii_hexdigit(),
        _ => false,
    };
    if completes {
        out.splice(stray + 1..stray + 1, *b"25");
    }
}

/// Makes one slash of several. A path of nothing but slashes becomes `//`, as Envoy has it.
fn merge_slashes(path: &mut Vec<u8>) {
    if path.len() > 1 && path.iter().all(|&b| b == b'/') {
        path.truncate(2);
        return;
    }
    path.dedup_by(|b, a| *a == b'/' && *b == b'/');
}
