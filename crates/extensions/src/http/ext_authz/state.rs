//! What the filter leaves in the stream's filter state: how a question went (under the filter's name), and what would
//! have been decided (`NAME.shadow`).

use nuncio_core::format::write_json_string;
use nuncio_core::stream_info::FilterState;
use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::time::Duration;

/// How a question went, which logs may ask for field by field.
#[derive(Debug, Default)]
pub(super) struct Asked {
    took: Cell<Option<Duration>>,
    /// Bytes on the wire, sent and received.
    bytes: Cell<Option<(u64, u64)>>,
}

impl Asked {
    /// It is over.
    pub(super) fn ended(&self, took: Duration, bytes: Option<(u64, u64)>) {
        self.took.set(Some(took));
        self.bytes.set(bytes);
    }
}

impl FilterState for Asked {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        None
    }

    fn has_fields(&self) -> bool {
        true
    }

    fn field(&self, name: &str) -> Option<String> {
        match name {
            "latency_us" => self.took.get().map(|took| took.as_micros().to_string()),
            "bytesSent" => self.bytes.get().map(|(sent, _)| sent.to_string()),
            "bytesReceived" => self.bytes.get().map(|(_, received)| received.to_string()),
            _ => None,
        }
    }
}

/// What would have been decided (`envoy.extensions.filters.http.ext_authz.v3.ShadowDecision`).
#[derive(Debug)]
pub(super) struct Decision {
    /// `OK`, `DENIED` or `ERROR`.
    pub(super) result: &'static str,
    pub(super) status: u16,
    /// Those of a denial.
    pub(super) headers: Vec<(Cow<'static, str>, Vec<u8>)>,
}

impl Decision {
    /// As JSON; `names` are those of the three fields.
    fn write(&self, [result, status, headers]: [&str; 3]) -> String {
        let mut out = format!("{{\"{result}\":\"{}\",\"{status}\":{}", self.result, self.status).into_bytes();
        for (i, (key, value)) in self.headers.iter().enumerate() {
            match i {
                0 => out.extend_from_slice(format!(",\"{headers}\":[").as_bytes()),
                _ => out.push(b','),
            }
            out.extend_from_slice(b"{\"key\":");
            write_json_string(key.as_bytes(), &mut out);
            if !value.is_empty() {
                out.extend_from_slice(b",\"value\":");
                write_json_string(value, &mut out);
            }
            out.push(b'}');
        }
        out.extend_from_slice(if self.headers.is_empty() { b"}" } else { b"]}" });
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl FilterState for Decision {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        Some(self.write(["check_result", "status_code", "response_headers"]))
    }

    fn json(&self) -> Option<String> {
        Some(self.write(["checkResult", "statusCode", "responseHeaders"]))
    }

    fn has_fields(&self) -> bool {
        true
    }

    fn field(&self, name: &str) -> Option<String> {
        match name {
            "check_result" => Some(self.result.to_owned()),
            "status_code" => Some(self.status.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
