//! Looking at 16 bytes at a time: the byte classes of HTTP/1 heads.

use wide::u8x16;

/// How many bytes one look covers.
pub(crate) const STEP: usize = 16;

/// 16 bytes of a head.
#[derive(Clone, Copy)]
pub(crate) struct Window(u8x16);

/// Which bytes of a window are of a class: bit *n* is byte *n*.
#[derive(Clone, Copy)]
pub(crate) struct Mask(u32);

impl Mask {
    const ALL: u32 = (1 << STEP) - 1;

    #[inline(always)]
    fn of(lanes: u8x16) -> Self {
        Self(lanes.to_bitmask())
    }

    /// The index of the first such byte; 16 when there is none.
    #[inline(always)]
    pub(crate) fn first(self) -> usize {
        (self.0 | 1 << STEP).trailing_zeros() as usize
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
    pub(crate) fn covers(self, len: usize) -> bool {
        !self.0 & ((1 << len) - 1) == 0
    }
}

/// `FIRST[16 - n..][..16]` has its first *n* bytes set.
static FIRST: [u8; 2 * STEP] = {
    let mut mask = [0; 2 * STEP];
    let (mut rest, _) = mask.split_at_mut(STEP);
    while let Some((byte, tail)) = rest.split_first_mut() {
        *byte = 0xff;
        rest = tail;
    }
    mask
};

#[inline(always)]
fn first_bytes(len: usize) -> u8x16 {
    let mask = FIRST.get(STEP.saturating_sub(len)..).and_then(|mask| mask.first_chunk());
    u8x16::new(*mask.unwrap_or(&[0; STEP]))
}

#[inline(always)]
fn at_most(lanes: u8x16, limit: u8) -> u8x16 {
    lanes.min(u8x16::splat(limit)).simd_eq(lanes)
}

/// Lanes from `low` to `high`.
#[inline(always)]
fn between(lanes: u8x16, low: u8, high: u8) -> u8x16 {
    at_most(lanes - u8x16::splat(low), high - low)
}

#[inline(always)]
fn equal(lanes: u8x16, byte: u8) -> u8x16 {
    lanes.simd_eq(u8x16::splat(byte))
}

impl Window {
    /// The window of these bytes.
    #[inline(always)]
    pub(crate) fn load(bytes: &[u8; STEP]) -> Self {
        Self(u8x16::new(*bytes))
    }

    /// The window of what is left of a text, less than 16 bytes, filled up with `fill`.
    #[inline(always)]
    fn padded(rest: &[u8], fill: u8) -> Self {
        // From two overlapping halves: a copy whose length is not known beforehand would be a call.
        let text = match (rest.first_chunk(), rest.last_chunk()) {
            (Some(first), Some(last)) => {
                let last =
                    u64::from_le_bytes(*last).unbounded_shr(8 * STEP.saturating_sub(rest.len()) as u32);
                u128::from(u64::from_le_bytes(*first)) | u128::from(last) << 64
            }
            _ => rest.iter().rev().fold(0, |text, byte| text << 8 | u128::from(*byte)),
        };
        let (text, mask) = (u8x16::new(text.to_le_bytes()), first_bytes(rest.len()));
        Self(text | (u8x16::splat(fill) & !mask))
    }

    /// Bytes equal to `byte`.
    #[inline(always)]
    pub(crate) fn equal(self, byte: u8) -> Mask {
        Mask::of(equal(self.0, byte))
    }

    /// Control characters, DEL among them: what ends or spoils a field value (and the tab, which does not).
    #[inline(always)]
    pub(crate) fn controls(self) -> Mask {
        Mask::of(at_most(self.0, 0x1f) | equal(self.0, 0x7f))
    }

    /// Bytes that are not printable ASCII, blanks among them: what ends or spoils a request target.
    #[inline(always)]
    pub(crate) fn not_graphic(self) -> Mask {
        Mask(Mask::of(between(self.0, b'!', b'~')).0 ^ Mask::ALL)
    }

    /// Blanks and control characters.
    #[inline(always)]
    fn blanks_and_controls(self) -> Mask {
        Mask::of(at_most(self.0, b' ') | equal(self.0, 0x7f))
    }

    /// Letters, digits and `-`, of which nearly all field names are made.
    #[inline(always)]
    pub(crate) fn plain_name(self) -> Mask {
        Mask::of(self.letters_and_digits() | equal(self.0, b'-'))
    }

    /// Letters, digits, `-`, `.` and `:`, of which nearly all authorities are made.
    #[inline(always)]
    fn plain_authority(self) -> Mask {
        Mask::of(self.letters_and_digits() | between(self.0, b'-', b'.') | equal(self.0, b':'))
    }

    #[inline(always)]
    fn letters_and_digits(self) -> u8x16 {
        between(self.0 | u8x16::splat(0x20), b'a', b'z') | between(self.0, b'0', b'9')
    }

    /// The window with its first `len` bytes in lower case.
    #[inline(always)]
    pub(crate) fn lower_first(self, len: usize) -> [u8; STEP] {
        let upper = between(self.0, b'A', b'Z') & first_bytes(len);
        (self.0 | (upper & u8x16::splat(0x20))).to_array()
    }
}

/// Where the empty line that ends a head ends; `Err` says where to look on when more bytes have come.
///
/// Line ends are LF or CR LF, so a head ends with LF LF or LF CR LF. `from` is 0 or what `Err` said.
#[inline]
pub(crate) fn head_end(bytes: &[u8], from: usize) -> Result<usize, usize> {
    let mut rest = bytes.get(from..).unwrap_or_default();
    while let Some((chunk, tail)) = rest.split_first_chunk() {
        let mut newlines = Window::load(chunk).equal(b'\n');
        while !newlines.is_empty() {
            let newline = bytes.len() - rest.len() + newlines.first();
            match empty_line(bytes, newline) {
                Some(0) => {}
                Some(len) => return Ok(newline + len),
                None => return Err(newline),
            }
            newlines = newlines.rest();
        }
        rest = tail;
    }
    let at = bytes.len() - rest.len();
    for (i, _) in rest.iter().enumerate().filter(|(_, b)| **b == b'\n') {
        match empty_line(bytes, at + i) {
            Some(0) => {}
            Some(len) => return Ok(at + i + len),
            None => return Err(at + i),
        }
    }
    Err(bytes.len())
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

/// The first byte that is not printable ASCII, or the end.
#[inline(always)]
pub(crate) fn graphic_end(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((chunk, tail)) = rest.split_first_chunk() {
        let stop = Window::load(chunk).not_graphic();
        if !stop.is_empty() {
            return bytes.len() - rest.len() + stop.first();
        }
        rest = tail;
    }
    let tail = rest.iter().position(|b| !b.is_ascii_graphic()).unwrap_or(rest.len());
    bytes.len() - rest.len() + tail
}

/// The first control character, or the end.
#[inline(always)]
pub(crate) fn text_end(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((chunk, tail)) = rest.split_first_chunk() {
        let stop = Window::load(chunk).controls();
        if !stop.is_empty() {
            return bytes.len() - rest.len() + stop.first();
        }
        rest = tail;
    }
    let tail = rest.iter().position(u8::is_ascii_control).unwrap_or(rest.len());
    bytes.len() - rest.len() + tail
}

/// Whether `name` is a token.
#[inline]
pub(crate) fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((chunk, tail)) = rest.split_first_chunk() {
        if !Window::load(chunk).plain_name().covers(STEP) && !chunk.iter().copied().all(is_token) {
            return false;
        }
        rest = tail;
    }
    let plain = Window::padded(rest, b'a').plain_name().covers(STEP);
    !name.is_empty() && (plain || rest.iter().copied().all(is_token))
}

/// Whether every byte of `authority` is one that an authority can have (RFC 3986 section 3.2).
#[inline]
pub(crate) fn is_authority(authority: &[u8]) -> bool {
    is_made_of(authority, |byte| in_set(&AUTHORITY, byte))
}

/// The same of an authority that may not say who asks: HTTP/2 knows no user information (RFC 9113 section 8.3.1).
#[inline]
pub(crate) fn is_host(authority: &[u8]) -> bool {
    is_made_of(authority, |byte| byte != b'@' && in_set(&AUTHORITY, byte))
}

#[inline(always)]
fn is_made_of(authority: &[u8], allowed: impl Fn(u8) -> bool + Copy) -> bool {
    let mut rest = authority;
    while let Some((chunk, tail)) = rest.split_first_chunk() {
        if !Window::load(chunk).plain_authority().covers(STEP) && !chunk.iter().copied().all(allowed) {
            return false;
        }
        rest = tail;
    }
    Window::padded(rest, b'a').plain_authority().covers(STEP) || rest.iter().copied().all(allowed)
}

/// A character of a token (RFC 9110 section 5.6.2), of which field names and methods are made.
#[inline(always)]
pub(crate) fn is_token(byte: u8) -> bool {
    in_set(&TOKEN, byte)
}

const TOKEN: [bool; 256] = set(b"!#$%&'*+-.^_`|~");
const AUTHORITY: [bool; 256] = set(b"!$%&'()*+,-.:;=@[]_~");

/// Letters, digits and `others`.
#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of range is a build error"
)]
const fn set(others: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut i = 0;
    while i < 256 {
        set[i] = (i as u8).is_ascii_alphanumeric();
        i += 1;
    }
    i = 0;
    while i < others.len() {
        set[others[i] as usize] = true;
        i += 1;
    }
    set
}

#[inline(always)]
fn in_set(set: &[bool; 256], byte: u8) -> bool {
    set.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Trims blanks and every other byte below them from both ends.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
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
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|item| !item.is_empty())
}

/// Whether a value has no control character but the tab.
#[inline]
pub(crate) fn is_text(value: &[u8]) -> bool {
    let mut rest = value;
    loop {
        match rest.get(text_end(rest)..) {
            Some([b'\t', tail @ ..]) => rest = tail,
            Some([]) | None => return true,
            _ => return false,
        }
    }
}

/// Whether there is neither a blank nor a control character: what ends no part of a start line.
#[inline]
pub(crate) fn is_word(word: &[u8]) -> bool {
    let mut rest = word;
    while let Some((chunk, tail)) = rest.split_first_chunk() {
        if !Window::load(chunk).blanks_and_controls().is_empty() {
            return false;
        }
        rest = tail;
    }
    !word.is_empty() && Window::padded(rest, b'a').blanks_and_controls().is_empty()
}

/// Whether there is a control character other than the tab and what ends lines.
pub(crate) fn has_stray_controls(bytes: &[u8]) -> bool {
    bytes.iter().any(|&b| b.is_ascii_control() && !matches!(b, b'\t' | b'\r' | b'\n'))
}
