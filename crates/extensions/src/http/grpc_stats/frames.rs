//! Messages of gRPC and Connect on a stream: a flag, a length of four bytes, and so many bytes.

use serde_json::Value;

/// Bytes before a message: its flag and its length.
const PREFIX: u8 = 5;

/// The flag of the frame that ends an answer of the Connect protocol.
const ENDS: u8 = 2;

/// As much as is kept of that frame; a larger one is taken for an error.
const MOST: usize = 64 * 1024;

/// Counts messages, however their bytes are cut into pieces. A message counts with its first byte.
#[derive(Debug, Default)]
pub(super) struct Frames {
    count: u64,
    /// How much of a prefix has come.
    prefix: u8,
    /// Of the message's length, as much as has come; then bytes that are to come.
    left: u32,
}

/// What bytes are.
enum Part<'a> {
    /// A frame begins, with this flag.
    Begins(u8),
    /// Bytes of its message.
    Bytes(&'a [u8]),
}

impl Frames {
    /// Messages that have begun.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How many messages begin in `data`.
    pub(super) fn inspect(&mut self, data: &[u8]) -> u64 {
        let before = self.count;
        self.walk(data, |_| true);
        self.count - before
    }

    /// Calls `see` with what `data` is, until that says that there is no more to be seen.
    fn walk<'d>(&mut self, mut data: &'d [u8], mut see: impl FnMut(Part<'d>) -> bool) {
        while let Some((&first, rest)) = data.split_first() {
            if self.prefix < PREFIX {
                if self.prefix == 0 {
                    if !see(Part::Begins(first)) {
                        return;
                    }
                    self.count += 1;
                    self.left = 0;
                } else {
                    self.left = self.left << 8 | u32::from(first);
                }
                self.prefix += 1;
                data = rest;
            } else {
                let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
                let (bytes, rest) = data.split_at(most);
                see(Part::Bytes(bytes));
                // It fits: `most` is not above `left`.
                self.left -= most as u32;
                data = rest;
            }
            if self.prefix == PREFIX && self.left == 0 {
                self.prefix = 0;
            }
        }
    }
}

/// The messages of an answer. The last frame of a Connect stream is none of them: it says how the call ended.
#[derive(Debug, Default)]
pub(super) struct AnswerFrames {
    frames: Frames,
    end: Option<Vec<u8>>,
}

impl AnswerFrames {
    /// As [`Frames::count`].
    pub(super) fn count(&self) -> u64 {
        self.frames.count() - u64::from(self.end.is_some())
    }

    /// As [`Frames::inspect`].
    pub(super) fn inspect(&mut self, data: &[u8]) -> u64 {
        let before = self.count();
        let Self { frames, end } = self;
        frames.walk(data, |part| match part {
            Part::Begins(_) if end.is_some() => false,
            Part::Begins(flag) => {
                if flag & ENDS != 0 {
                    *end = Some(Vec::new());
                }
                true
            }
            Part::Bytes(bytes) => {
                if let Some(end) = end {
                    let room = MOST.saturating_sub(end.len());
                    end.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                }
                true
            }
        });
        self.count() - before
    }

    /// Whether the last frame came and names no error.
    pub(super) fn is_success(&self) -> bool {
        let end = self.end.as_ref().and_then(|end| serde_json::from_slice::<Value>(end).ok());
        end.is_some_and(|end| end.is_object() && end.get("error").is_none())
    }
}
