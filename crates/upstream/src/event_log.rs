//! Event logs: what happens to hosts, as lines of JSON in files, written by the main thread alone.

use nuncio_core::address::Address;
use nuncio_core::civil::Civil;
use nuncio_core::format::write_json_value;
use nuncio_net::log_files::LogFile;
use nuncio_proto::json::quote;
use prost_types::{Struct, value};
use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

/// The files that a kind of events is written to.
#[derive(Clone, Debug, Default)]
pub struct EventLog {
    files: Vec<Arc<LogFile>>,
}

impl EventLog {
    /// Lines go to this file too.
    pub(crate) fn add(&mut self, file: Arc<LogFile>) {
        self.files.push(file);
    }

    /// Whether nothing is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes an event as a line.
    pub(crate) fn write(&self, event: JsonObject) {
        let line = event.end();
        for file in &self.files {
            file.append(usize::MAX, |buffer| {
                buffer.extend_from_slice(line.as_bytes());
                buffer.push(b'\n');
            });
        }
    }
}

/// An object of JSON as protobuf prints it: names in the order in which they are added, no blanks.
pub(crate) struct JsonObject(String);

impl JsonObject {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    fn name(&mut self, name: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        quote(&mut self.0, name);
        self.0.push(':');
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        quote(&mut self.0, value);
        self
    }

    pub(crate) fn flag(mut self, name: &str, value: bool) -> Self {
        self.name(name);
        self.0.push_str(if value { "true" } else { "false" });
        self
    }

    pub(crate) fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{value}");
        self
    }

    pub(crate) fn object(mut self, name: &str, value: Self) -> Self {
        self.name(name);
        self.0.push_str(&value.end());
        self
    }

    /// A `google.protobuf.Struct`.
    pub(crate) fn fields(mut self, name: &str, value: &Struct) -> Self {
        self.name(name);
        let mut text = Vec::new();
        write_json_value(Some(&value::Kind::StructValue(value.clone())), &mut text);
        self.0.push_str(&String::from_utf8_lossy(&text));
        self
    }

    /// A `google.protobuf.Timestamp`, to the millisecond.
    pub(crate) fn time(self, name: &str, at: SystemTime) -> Self {
        let Civil { year, month, day, hour, minute, second, nanos, .. } = Civil::of(at);
        let fraction = match nanos / 1_000_000 {
            0 => String::new(),
            ms => format!(".{ms:03}"),
        };
        self.text(
            name,
            &format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"),
        )
    }

    /// An `envoy.config.core.v3.Address`, with the fields that nobody set.
    pub(crate) fn address(self, name: &str, address: &Address) -> Self {
        let value = match address {
            Address::Ip(ip) => Self::new().object(
                "socket_address",
                Self::new()
                    .text("protocol", "TCP")
                    .text("address", &ip.ip().to_string())
                    .number("port_value", ip.port().into())
                    .text("resolver_name", "")
                    .flag("ipv4_compat", false)
                    .text("network_namespace_filepath", ""),
            ),
            Address::Pipe(path) => {
                Self::new().object("pipe", Self::new().text("path", path).number("mode", 0))
            }
            Address::Internal(internal) => Self::new().object(
                "envoy_internal_address",
                Self::new()
                    .text("server_listener_name", &internal.listener)
                    .text("endpoint_id", &internal.endpoint),
            ),
        };
        self.object(name, value)
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_are_told_to_the_millisecond() {
        for (nanos, text) in [
            (0, "1970-01-01T00:01:40Z"),
            (120_999_999, "1970-01-01T00:01:40.120Z"),
            (7, "1970-01-01T00:01:40Z"),
        ] {
            let line = JsonObject::new().time("t", UNIX_EPOCH + Duration::new(100, nanos)).end();
            assert_eq!(line, format!("{{\"t\":\"{text}\"}}"));
        }
    }

    #[test]
    fn names_come_in_their_order_and_text_is_quoted() {
        let inner = JsonObject::new().number("n", 3).flag("f", true);
        let line =
            JsonObject::new().text("a", "x\"y").object("o", inner).object("e", JsonObject::new()).end();
        assert_eq!(line, r#"{"a":"x\"y","o":{"n":3,"f":true},"e":{}}"#);
    }
}
