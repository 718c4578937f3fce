//! Looking at eight bytes at a time: the byte classes of HTTP/1 heads.
//!
//! A mask has bit 7 of each byte set that is of the class; the first byte is the lowest.

/// How many bytes one look covers.
pub(super) const STEP: usize = 8;

const HIGH: u64 = splat(0x80);
const LOW7: u64 = splat(0x7f);

const fn splat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; STEP])
}

/// Eight bytes of a head.
#[derive(Clone, Copy)]
pub(super) struct Window(u64);

/// Which bytes of a window are of a class.
#[derive(Clone, Copy)]
pub(super) struct Mask(u64);

impl Mask {
    /// The index of the first such byte; 8 when there is none.
    #[inline(always)]
    pub(super) fn first(self) -> usize {
        self.0.trailing_zeros() as usize / 8
    }

    /// Without the first such byte.
    #[inline(always)]
    fn rest(self) -> Self {
        Self(self.0 & self.0.wrapping_sub(1))
    }

    /// Whether there is none.
    #[inline(always)]
    fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the first `len` bytes all are.
    #[inline(always)]
    pub(super) fn covers(self, len: usize) -> bool {
        !self.0 & HIGH & first_bytes(len) == 0
    }
}

/// All bits of the first `len` bytes.
#[inline(always)]
fn first_bytes(len: usize) -> u64 {
    !u64::MAX.checked_shl(8 * len as u32).unwrap_or(0)
}

impl Window {
    /// The window at `at`; `None` when fewer than eight bytes follow.
    #[inline(always)]
    pub(super) fn at(bytes: &[u8], at: usize) -> Option<Self> {
        bytes.get(at..)?.first_chunk().map(|chunk| Self(u64::from_le_bytes(*chunk)))
    }

    /// Bit 7 of each byte whose low seven bits are at least `limit` (1 to 128).
    #[inline(always)]
    fn low7_at_least(self, limit: u8) -> u64 {
        (self.0 & LOW7) + splat(0x80 - limit)
    }

    /// Bytes equal to `byte`, which is ASCII.
    #[inline(always)]
    pub(super) fn equal(self, byte: u8) -> Mask {
        let differs = Self(self.0 ^ splat(byte)).low7_at_least(1) | self.0;
        Mask(!differs & HIGH)
    }

    /// Control characters, DEL among them: what ends or spoils a field value (and the tab, which does not).
    #[inline(always)]
    pub(super) fn controls(self) -> Mask {
        Mask((!self.low7_at_least(0x20) | self.low7_at_least(0x7f)) & !self.0 & HIGH)
    }

    /// Bytes that are not printable ASCII, blanks among them: what ends or spoils a request target.
    #[inline(always)]
    pub(super) fn not_graphic(self) -> Mask {
        Mask((!self.low7_at_least(0x21) | self.low7_at_least(0x7f) | self.0) & HIGH)
    }

    /// Letters, digits and `-`, of which nearly all field names are made.
    #[inline(always)]
    pub(super) fn plain_name(self) -> Mask {
        let folded = Self(self.0 | splat(0x20));
        let letter = folded.low7_at_least(b'a') & !folded.low7_at_least(b'z' + 1);
        let digit = self.low7_at_least(b'0') & !self.low7_at_least(b'9' + 1);
        Mask(((letter | digit) & !self.0 & HIGH) | self.equal(b'-').0)
    }

    /// The window with its first `len` bytes in lower case.
    #[inline(always)]
    pub(super) fn lower_first(self, len: usize) -> [u8; STEP] {
        let upper = self.low7_at_least(b'A') & !self.low7_at_least(b'Z' + 1) & !self.0 & HIGH;
        (self.0 | ((upper & first_bytes(len)) >> 2)).to_le_bytes()
    }
}

/// Where the empty line that ends a head ends; `Err` says where to look on when more bytes have come.
///
/// Line ends are LF or CR LF, so a head ends with LF LF or LF CR LF. `from` is 0 or what `Err` said.
#[inline]
pub(super) fn head_end(bytes: &[u8], from: usize) -> Result<usize, usize> {
    let mut at = from;
    while let Some(window) = Window::at(bytes, at) {
        let mut newlines = window.equal(b'\n');
        while !newlines.is_empty() {
            let newline = at + newlines.first();
            match empty_line(bytes, newline) {
                Some(0) => {}
                Some(len) => return Ok(newline + len),
                None => return Err(newline),
            }
            newlines = newlines.rest();
        }
        at += STEP;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'\n' {
            match empty_line(bytes, at) {
                Some(0) => {}
                Some(len) => return Ok(at + len),
                None => return Err(at),
            }
        }
        at += 1;
    }
    Err(at)
}

/// Whether an empty line follows the LF at `newline`: the bytes from there to its end, 0 when a line with
/// something on it follows, `None` when that cannot be told yet.
#[inline(always)]
fn empty_line(bytes: &[u8], newline: usize) -> Option<usize> {
    match (bytes.get(newline + 1)?, bytes.get(newline + 2)) {
        (b'\n', _) => Some(2),
        (b'\r', Some(b'\n')) => Some(3),
        (b'\r', None) => None,
        _ => Some(0),
    }
}

/// The first byte from `at` that is not printable ASCII, or the end.
#[inline]
pub(super) fn graphic_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(window) = Window::at(bytes, at) {
        let stop = window.not_graphic();
        if !stop.is_empty() {
            return at + stop.first();
        }
        at += STEP;
    }
    while bytes.get(at).is_some_and(u8::is_ascii_graphic) {
        at += 1;
    }
    at
}

/// The first control character from `at`, or the end.
#[inline]
pub(super) fn text_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(window) = Window::at(bytes, at) {
        let stop = window.controls();
        if !stop.is_empty() {
            return at + stop.first();
        }
        at += STEP;
    }
    while bytes.get(at).is_some_and(|b| !b.is_ascii_control()) {
        at += 1;
    }
    at
}

/// A character of a token (RFC 9110 section 5.6.2), of which field names and methods are made.
#[inline]
pub(super) fn is_token(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-'
        | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Trims blanks and every other byte below them from both ends.
#[inline]
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b, tail @ ..] = rest
        && *b <= b' '
    {
        rest = tail;
    }
    while let [head @ .., b] = rest
        && *b <= b' '
    {
        rest = head;
    }
    rest
}

/// The elements of a comma-separated list, trimmed; empty ones are left out.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|item| !item.is_empty())
}

/// How many control characters there are, tabs not counted.
#[inline]
pub(super) fn count_controls(bytes: &[u8]) -> usize {
    let control = |&b: &u8| u8::from((b < 0x20 && b != b'\t') || b == 0x7f);
    // Sums of at most 128 bytes stay in one byte each, which lets the compiler add 16 at a time.
    bytes.chunks(128).map(|piece| usize::from(piece.iter().map(control).sum::<u8>())).sum()
}

/// Whether there is a control character other than the tab and what ends lines.
pub(super) fn has_stray_controls(bytes: &[u8]) -> bool {
    bytes.iter().any(|&b| b.is_ascii_control() && !matches!(b, b'\t' | b'\r' | b'\n'))
}
