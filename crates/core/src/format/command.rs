//! A compiled command and how it is written.

use super::FormatContext;
use super::field::{self, MetadataSource, Point, Precision};
use super::header::{self, GrpcForm, HeaderSource, OwnedName, PathForm};
use super::time::TimeFormat;

/// What a command yields, in the eyes of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, which JSON quotes.
    Text,
    /// A number, which JSON does not quote.
    Number,
    /// A value of any kind, which writes its own JSON.
    Value,
}

/// How many bytes of a value are written at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(pub(super) Option<usize>);

/// What a command reads. Functions write to the buffer and say whether there was a value.
#[derive(Debug)]
pub(super) enum Op {
    Text(fn(&FormatContext<'_>, &mut Vec<u8>) -> bool),
    Number(fn(&FormatContext<'_>) -> Option<u64>),
    /// Envoy prints `-` wherever what is built can be used.
    Absent,
    Constant(Box<str>),
    Header {
        source: HeaderSource,
        name: OwnedName,
        or: Option<OwnedName>,
    },
    Path(PathForm),
    QueryParam(Box<str>),
    QueryParams,
    RequestedServerName,
    StartTime(TimeFormat),
    EmitTime(TimeFormat),
    GrpcStatus(GrpcForm),
    Details {
        blanks: bool,
    },
    CommonDuration {
        from: Option<Point>,
        to: Option<Point>,
        precision: Precision,
    },
    Metadata(MetadataSource, Box<[Box<str>]>),
    FilterState {
        key: Box<str>,
        plain: bool,
    },
}

#[derive(Debug)]
pub(super) struct Command {
    op: Op,
    limit: Limit,
}

/// Appends a decimal number.
#[inline]
pub(super) fn write_number(n: u64, out: &mut Vec<u8>) {
    if n < 10 {
        return out.push(b'0' + n as u8);
    }
    write_digits(n, out);
}

fn write_digits(n: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = n;
    loop {
        at -= 1;
        if let Some(d) = digits.get_mut(at) {
            *d = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

impl Command {
    pub(super) fn new(op: Op, limit: Limit) -> Self {
        Self { op, limit }
    }

    pub(super) fn kind(&self) -> Kind {
        match &self.op {
            Op::Number(_) | Op::CommonDuration { .. } | Op::GrpcStatus(GrpcForm::Number) => Kind::Number,
            Op::Metadata(..) => Kind::Value,
            _ => Kind::Text,
        }
    }

    /// Appends the value as text; `false`, and nothing appended, when there is none.
    #[inline]
    pub(super) fn write_text(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let from = out.len();
        let there = self.write(cx, out);
        if let Limit(Some(max)) = self.limit {
            out.truncate(from.saturating_add(max));
        }
        there
    }

    fn write(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let text =
            |value: Option<&[u8]>, out: &mut Vec<u8>| value.map(|v| out.extend_from_slice(v)).is_some();
        let number = |value: Option<u64>, out: &mut Vec<u8>| value.map(|n| write_number(n, out)).is_some();
        match &self.op {
            Op::Text(write) => write(cx, out),
            Op::Number(read) => number(read(cx), out),
            Op::Absent => false,
            Op::Constant(value) => text(Some(value.as_bytes()), out),
            Op::Header { source, name, or } => header::write(cx, *source, name, or.as_ref(), out),
            Op::Path(form) => text(header::path_of(cx, *form), out),
            Op::QueryParam(name) => header::write_query_param(cx, name, out),
            Op::QueryParams => text(header::query(cx), out),
            Op::RequestedServerName => {
                text(cx.info.connection.requested_server_name.as_deref().map(str::as_bytes), out)
            }
            Op::StartTime(format) => {
                format.write(cx.info.start_wall, out);
                true
            }
            Op::EmitTime(format) => {
                format.write(cx.wall, out);
                true
            }
            Op::GrpcStatus(form) => header::write_grpc_status(cx, *form, out),
            Op::Details { blanks } => field::write_details(cx.info.details.as_deref(), *blanks, out),
            Op::CommonDuration { from, to, precision } => {
                number(field::duration_between(cx, *from, *to, *precision), out)
            }
            Op::Metadata(source, path) => field::write_metadata(cx, *source, path, out),
            Op::FilterState { key, plain } => field::write_filter_state(cx, key, *plain, out),
        }
    }

    /// Appends the value as JSON; `false`, and nothing appended, when there is none. Only for [`Kind::Value`].
    pub(super) fn write_value(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let Op::Metadata(source, path) = &self.op else { return false };
        let Some(value) = field::metadata_value(cx, *source, path) else { return false };
        if let Limit(Some(_)) = self.limit {
            let mut text = Vec::new();
            self.write_text(cx, &mut text);
            super::write_json_string(&text, out);
            return true;
        }
        value.write_json(out);
        true
    }
}
