//! Frames (RFC 9113 section 4.1): the nine bytes before each, and the small ones whole.

/// Bytes before a frame's payload.
pub(super) const HEADER: usize = 9;
/// The longest payload that either side takes unless told otherwise; we never offer more nor send more.
pub(super) const MAX_PAYLOAD: usize = 16_384;
/// The largest window, and the largest id of a stream.
pub(super) const MAX_31: u32 = 0x7fff_ffff;

/// What a client sends first.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The types of frames.
pub(super) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    #[cfg(test)]
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
    pub(crate) const METADATA: u8 = 0x4d;
}

/// The flags of frames.
pub(super) mod flag {
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const END_METADATA: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHeader {
    /// Reads one from the beginning of `input`, if that is all there.
    #[inline]
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let &[l2, l1, l0, kind, flags, s3, s2, s1, s0] = input.first_chunk::<HEADER>()?;
        Some(Self {
            len: u32::from_be_bytes([0, l2, l1, l0]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s3, s2, s1, s0]) & MAX_31,
        })
    }

    /// Its bytes.
    #[inline]
    pub(super) fn bytes(self) -> [u8; HEADER] {
        let [_, l2, l1, l0] = (self.len as u32).to_be_bytes();
        let [s3, s2, s1, s0] = self.stream.to_be_bytes();
        [l2, l1, l0, self.kind, self.flags, s3, s2, s1, s0]
    }

    #[inline]
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Whether a frame is one that a peer can make us send: SETTINGS and PING (their acknowledgements), RST_STREAM.
#[inline]
pub(super) fn is_control(kind: u8) -> bool {
    matches!(kind, kind::SETTINGS | kind::PING | kind::RST_STREAM)
}

/// Reads the first four bytes as a number.
#[inline]
pub(super) fn read_u32(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
