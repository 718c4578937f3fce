//! Messages of the admin port as wire bytes, for the printer that also prints configuration.

use std::time::{SystemTime, UNIX_EPOCH};

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Vec<u8>);

impl Wire {
    /// The same with a field of bytes: text or a message.
    pub(crate) fn with(mut self, number: u32, bytes: &[u8]) -> Self {
        self.add(number, bytes);
        self
    }

    /// Adds a field of bytes.
    pub(crate) fn add(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// The same with a number; 0 is left out.
    pub(crate) fn number(mut self, number: u32, value: u64) -> Self {
        if value != 0 {
            self.varint(u64::from(number) << 3);
            self.varint(value);
        }
        self
    }

    /// The same with a number, 0 too.
    pub(crate) fn always(mut self, number: u32, value: u64) -> Self {
        self.varint(u64::from(number) << 3);
        self.varint(value);
        self
    }

    /// The same with a number that may be negative (`sint32`, `sint64`), 0 too.
    pub(crate) fn signed(self, number: u32, value: impl Into<i64>) -> Self {
        let value = value.into();
        self.always(number, (value << 1 ^ value >> 63) as u64)
    }

    /// The same with a floating-point number, 0 too.
    pub(crate) fn double(mut self, number: u32, value: f64) -> Self {
        self.varint(u64::from(number) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// The same with a whole message behind its length.
    pub(crate) fn delimited(mut self, message: &[u8]) -> Self {
        self.varint(message.len() as u64);
        self.merged(message)
    }

    /// The same with further bytes of the same message.
    pub(crate) fn merged(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// `google.protobuf.Any`.
pub(crate) fn any(type_name: &str, bytes: &[u8]) -> Wire {
    Wire::default().with(1, format!("type.googleapis.com/{type_name}").as_bytes()).with(2, bytes)
}

/// Milliseconds since the epoch.
pub(crate) fn timestamp_millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// `google.protobuf.Timestamp`, to the millisecond.
pub(crate) fn timestamp(at: SystemTime) -> Wire {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Wire::default().number(1, since.as_secs()).number(2, u64::from(since.subsec_millis()) * 1_000_000)
}
