//! Looking at eight bytes at a time: the byte classes of HTTP/1 heads.
//!
//! A mask has bit 7 of each byte set that is of the class; the first byte is the lowest.

/// How many bytes one look covers.
pub(crate) const STEP: usize = 8;

const HIGH: u64 = splat(0x80);
const LOW7: u64 = splat(0x7f);

const fn splat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; STEP])
}

/// Eight bytes of a head.
#[derive(Clone, Copy)]
pub(crate) struct Window(u64);

/// Which bytes of a window are of a class.
#[derive(Clone, Copy)]
pub(crate) struct Mask(u64);

impl Mask {
    /// The index of the first such byte; 8 when there is none.
    #[inline(always)]
    pub(crate) fn first(self) -> usize {
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
    pub(crate) fn covers(self, len: usize) -> bool {
        !self.0 & HIGH & first_bytes(len) == 0
    }
}

/// All bits of the first `len` bytes.
#[inline(always)]
fn first_bytes(len: usize) -> u64 {
    !u64::MAX.checked_shl(8 * len as u32).unwrap_or(0)
}

impl Window {
    /// The window of these bytes.
    #[inline(always)]
    pub(crate) fn load(bytes: &[u8; STEP]) -> Self {
        Self(u64::from_le_bytes(*bytes))
    }

    /// Bit 7 of each byte whose low seven bits are at least `limit` (1 to 128).
    #[inline(always)]
    fn low7_at_least(self, limit: u8) -> u64 {
        (self.0 & LOW7) + splat(0x80 - limit)
    }

    /// Bytes equal to `byte`, which is ASCII.
    #[inline(always)]
    pub(crate) fn equal(self, byte: u8) -> Mask {
        let differs = Self(self.0 ^ splat(byte)).low7_at_least(1) | self.0;
        Mask(!differs & HIGH)
    }

    /// Control characters, DEL among them: what ends or spoils a field value (and the tab, which does not).
    #[inline(always)]
    pub(crate) fn controls(self) -> Mask {
        Mask((!self.low7_at_least(0x20) | self.low7_at_least(0x7f)) & !self.0 & HIGH)
    }

    /// Bytes that are not printable ASCII, blanks among them: what ends or spoils a request target.
    #[inline(always)]
    pub(crate) fn not_graphic(self) -> Mask {
        Mask((!self.low7_at_least(0x21) | self.low7_at_least(0x7f) | self.0) & HIGH)
    }

    /// Blanks and control characters.
    #[inline(always)]
    fn blanks_and_controls(self) -> Mask {
        Mask((!self.low7_at_least(0x21) | self.low7_at_least(0x7f)) & !self.0 & HIGH)
    }

    /// Letters, digits and `-`, of which nearly all field names are made.
    #[inline(always)]
    pub(crate) fn plain_name(self) -> Mask {
        let folded = Self(self.0 | splat(0x20));
        let letter = folded.low7_at_least(b'a') & !folded.low7_at_least(b'z' + 1);
        let digit = self.low7_at_least(b'0') & !self.low7_at_least(b'9' + 1);
        Mask(((letter | digit) & !self.0 & HIGH) | self.equal(b'-').0)
    }

    /// The window with its first `len` bytes in lower case.
    #[inline(always)]
    pub(crate) fn lower_first(self, len: usize) -> [u8; STEP] {
        let upper = self.low7_at_least(b'A') & !self.low7_at_least(b'Z' + 1) & !self.0 & HIGH;
        (self.0 | ((upper & first_bytes(len)) >> 2)).to_le_bytes()
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
    !name.is_empty() && rest.iter().copied().all(is_token)
}

/// A character of a token (RFC 9110 section 5.6.2), of which field names and methods are made.
#[inline(always)]
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
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

/// A character that an authority can have (RFC 3986 section 3.2).
#[inline(always)]
pub(crate) fn is_authority(byte: u8) -> bool {
    AUTHORITY.get(usize::from(byte)).copied().unwrap_or(false)
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
    !word.is_empty() && !rest.iter().any(|b| *b <= b' ' || *b == 0x7f)
}

/// Whether there is a control character other than the tab and what ends lines.
pub(crate) fn has_stray_controls(bytes: &[u8]) -> bool {
    bytes.iter().any(|&b| b.is_ascii_control() && !matches!(b, b'\t' | b'\r' | b'\n'))
}
