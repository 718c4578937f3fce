//! A compiled command and how it is written.

use super::FormatContext;
use super::address::{self, AddressForm, AddressOf};
use super::duration::{self, Point, Precision};
use super::field;
use super::header::{self, GrpcForm, HeaderSource, HeaderText, OwnedName, PathForm, ServerName};
use super::json;
use super::state::{self, Found, MetadataSource, StateForm};
use super::time::TimeFormat;
use super::tls::{TlsOf, Validity, WriteTls};
use super::xfcc;
use crate::cel::Expression;
use crate::civil::two;
use crate::stream_info::TlsInfo;
use nuncio_codec::head::Known;
use prost_types::value::Kind as ValueKind;

/// How many bytes of a value are written at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(usize);

impl Limit {
    /// `None`: no limit.
    pub(super) fn new(bytes: Option<usize>) -> Self {
        Self(bytes.unwrap_or(usize::MAX))
    }

    #[inline]
    fn cut(self, value: &[u8]) -> &[u8] {
        value.get(..self.0).unwrap_or(value)
    }
}

/// What a command reads. Functions write to the buffer and say whether there was a value.
#[derive(Debug)]
pub(super) enum Op {
    Text(fn(&FormatContext<'_>, &mut Vec<u8>) -> bool),
    Number(fn(&FormatContext<'_>) -> Option<u64>),
    /// What a secured connection's handshake agreed on.
    Tls(TlsOf, WriteTls),
    /// Envoy prints `-` wherever what is built can be used.
    Absent,
    Constant(Box<str>),
    /// A key of `x-forwarded-client-cert`. The length that a command states has no effect, as in Envoy.
    ClientCertificate(&'static str),
    /// When the peer's certificate begins or ends to hold.
    CertificateTime(TlsOf, Validity, TimeFormat),
    /// A well-known request header: what most lines are made of.
    RequestHeader(Known),
    Header {
        source: HeaderSource,
        name: OwnedName,
        or: Option<OwnedName>,
    },
    Path(PathForm),
    QueryParam(Box<str>),
    QueryParams {
        decoded: bool,
    },
    RequestedServerName(ServerName),
    Address(AddressOf, AddressForm),
    /// The first of these that has a value.
    Coalesce(Box<[Command]>),
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
        form: StateForm,
    },
    /// What an expression comes to; `typed`: in JSON with its type.
    Cel {
        expression: Box<Expression>,
        typed: bool,
    },
}

#[derive(Debug)]
pub(super) struct Command {
    op: Op,
    limit: Limit,
}

fn tls_of<'a>(cx: &FormatContext<'a>, of: TlsOf) -> Option<&'a TlsInfo> {
    match of {
        TlsOf::Downstream => cx.info.connection.tls(),
        TlsOf::Upstream => cx.info.upstream.tls(),
    }
}

/// Appends a decimal number.
#[inline]
pub(super) fn write_number(n: u64, out: &mut Vec<u8>) {
    if n < 10 {
        return out.push(b'0' + n as u8);
    }
    let small = n as u32;
    match n {
        0..100 => out.extend_from_slice(&two(small)),
        100..1000 => {
            let [tens, ones] = two(small % 100);
            out.extend_from_slice(&[b'0' + (small / 100) as u8, tens, ones]);
        }
        1000..10_000 => {
            let ([a, b], [c, d]) = (two(small / 100), two(small % 100));
            out.extend_from_slice(&[a, b, c, d]);
        }
        _ => write_digits(n, out),
    }
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

    /// Appends the value as text; `false`, and nothing appended, when there is none.
    #[inline]
    pub(super) fn write_text(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        if let Op::RequestHeader(known) = self.op {
            let Some(value) = cx.request.and_then(|map| map.get_known(known)) else { return false };
            out.extend_from_slice(self.limit.cut(value));
            return true;
        }
        let from = out.len();
        let there = self.write(cx, out);
        if self.limit.0 < usize::MAX && !matches!(self.op, Op::ClientCertificate(_)) {
            out.truncate(from.saturating_add(self.limit.0));
        }
        there
    }

    fn write(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let text =
            |value: Option<&[u8]>, out: &mut Vec<u8>| value.map(|v| out.extend_from_slice(v)).is_some();
        let number = |value: Option<u64>, out: &mut Vec<u8>| value.map(|n| write_number(n, out)).is_some();
        match &self.op {
            Op::Text(write) => write(cx, out),
            Op::Tls(of, write) => tls_of(cx, *of).is_some_and(|tls| write(tls, out)),
            Op::Number(read) => number(read(cx), out),
            Op::Absent => false,
            Op::ClientCertificate(key) => xfcc::write(cx, key, out),
            Op::CertificateTime(of, validity, format) => {
                let time = tls_of(cx, *of).and_then(|tls| validity.of(tls.peer_certificate()?));
                time.map(|time| format.write(time, out)).is_some()
            }
            Op::Constant(value) => text(Some(value.as_bytes()), out),
            Op::RequestHeader(known) => text(cx.request.and_then(|map| map.get_known(*known)), out),
            Op::Header { source, name, or } => match header::find(cx, *source, name, or.as_ref()) {
                Some(HeaderText::Value(value)) => text(Some(value), out),
                Some(HeaderText::Status(status)) => number(Some(u64::from(status)), out),
                None => false,
            },
            Op::Path(form) => text(header::path_of(cx, *form), out),
            Op::QueryParam(name) => header::write_query_param(cx, name, out),
            Op::QueryParams { decoded } => header::write_query(cx, *decoded, out),
            Op::RequestedServerName(form) => header::write_server_name(cx, *form, out),
            Op::Address(of, form) => address::write(cx, *of, *form, out),
            Op::Coalesce(commands) => commands.iter().any(|c| c.write_text(cx, out)),
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
                number(duration::between(cx, *from, *to, *precision), out)
            }
            Op::Metadata(source, path) => state::write_metadata(cx, *source, path, out),
            Op::Cel { expression, .. } => expression.write_text(&cx.into(), out),
            Op::FilterState { key, form } => state::write_filter_state(cx, key, form, out),
        }
    }

    /// Appends the value as JSON: numbers and metadata keep their type, everything else is a string. `false`, and
    /// nothing appended, when there is none. The length that a command states limits strings alone.
    pub(super) fn write_json(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        match &self.op {
            Op::RequestHeader(known) => match cx.request.and_then(|map| map.get_known(*known)) {
                Some(value) => {
                    json::write_json_string(self.limit.cut(value), out);
                    true
                }
                None => false,
            },
            Op::Number(read) => match read(cx) {
                Some(n) => {
                    write_number(n, out);
                    true
                }
                None => false,
            },
            Op::CommonDuration { .. }
            | Op::GrpcStatus(GrpcForm::Number)
            | Op::Address(_, AddressForm::Port) => self.write(cx, out),
            Op::Header { source, name, or } => match header::find(cx, *source, name, or.as_ref()) {
                Some(HeaderText::Value(value)) => {
                    json::write_json_string(self.limit.cut(value), out);
                    true
                }
                Some(HeaderText::Status(_)) => self.write_json_text(cx, out),
                None => false,
            },
            Op::Metadata(source, path) => match state::metadata_value(cx, *source, path) {
                Some(Found::Value(ValueKind::StringValue(text))) => {
                    json::write_json_string(self.limit.cut(text.as_bytes()), out);
                    true
                }
                Some(value) => {
                    value.write_json(out);
                    true
                }
                None => false,
            },
            Op::Cel { expression, typed: true } => expression.write_json(&cx.into(), self.limit.0, out),
            Op::Coalesce(commands) => commands.iter().any(|c| c.write_json(cx, out)),
            // Digits and signs: nothing to escape.
            Op::StartTime(format) if format.is_default() => {
                out.push(b'"');
                format.write(cx.info.start_wall, out);
                out.push(b'"');
                true
            }
            _ => self.write_json_text(cx, out),
        }
    }

    fn write_json_text(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        out.push(b'"');
        let from = out.len();
        let there = self.write_text(cx, out);
        if there {
            json::escape_from(from, out);
            out.push(b'"');
        } else {
            out.truncate(from - 1);
        }
        there
    }
}
