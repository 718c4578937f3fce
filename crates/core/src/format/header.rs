//! Commands that read headers, paths and query parameters.

use super::FormatContext;
use super::command::{Op, write_number};
use super::parse::FormatError;
use nuncio_codec::head::{HeaderMap, Known, Name};

/// Whose headers a command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderSource {
    Request,
    RequestWithoutQuery,
    Response,
    Trailer,
}

/// A lower-case header name, looked up once.
#[derive(Debug)]
pub(super) enum OwnedName {
    Known(Known),
    /// `:status`, which is no entry of the header map.
    Status,
    Other(Box<str>),
}

impl OwnedName {
    fn new(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        match Known::find(lower.as_bytes()) {
            _ if lower == ":status" => Self::Status,
            Known::Other => Self::Other(lower.into()),
            Known::Host => Self::Known(Known::Authority),
            known => Self::Known(known),
        }
    }

    #[inline]
    fn get<'m>(&self, map: &'m HeaderMap) -> Option<&'m [u8]> {
        match self {
            Self::Known(Known::Authority) => {
                map.get_known(Known::Authority).or_else(|| map.get_known(Known::Host))
            }
            Self::Known(known) => map.get_known(*known),
            Self::Other(name) => map.get(Name::new(name.as_bytes())),
            Self::Status => None,
        }
    }
}

/// `NAME` or `NAME?OTHER`.
pub(super) fn headers(source: HeaderSource, argument: &str) -> Result<Op, FormatError> {
    let mut names = argument.split('?');
    let name = names.next().unwrap_or_default();
    let or = names.next();
    if names.next().is_some() {
        return Err(FormatError::Alternatives(argument.to_owned()));
    }
    let good = |name: &str| {
        let rest = name.strip_prefix(':').unwrap_or(name);
        rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    if !good(name) || !or.is_none_or(good) {
        return Err(FormatError::HeaderName);
    }
    let (name, or) = (OwnedName::new(name), or.filter(|n| !n.is_empty()).map(OwnedName::new));
    Ok(match (source, &name, &or) {
        // A request's host is its authority.
        (HeaderSource::Request, OwnedName::Known(known), None) => Op::RequestHeader(*known),
        _ => Op::Header { source, name, or },
    })
}

/// A header's value as it was found.
pub(super) enum HeaderText<'a> {
    Value(&'a [u8]),
    Status(u16),
}

#[inline]
pub(super) fn find<'a>(
    cx: &FormatContext<'a>,
    source: HeaderSource,
    name: &OwnedName,
    or: Option<&OwnedName>,
) -> Option<HeaderText<'a>> {
    let map = match source {
        HeaderSource::Request => cx.request?,
        HeaderSource::RequestWithoutQuery => {
            let map = cx.request?;
            let value = name.get(map).or_else(|| or?.get(map))?;
            return Some(HeaderText::Value(without_query(value)));
        }
        HeaderSource::Response => {
            let (map, status) = cx.response?;
            let status_first = matches!(name, OwnedName::Status);
            if status_first || (matches!(or, Some(OwnedName::Status)) && name.get(map).is_none()) {
                return Some(HeaderText::Status(status));
            }
            map
        }
        HeaderSource::Trailer => cx.trailers?,
    };
    name.get(map).or_else(|| or?.get(map)).map(HeaderText::Value)
}

/// Which path, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathForm {
    query: bool,
    which: Which,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Path,
    Original,
    OriginalOrPath,
}

/// `[WQ|NQ][:ORIG|:PATH|:ORIG_OR_PATH]`.
pub(super) fn path(argument: &str) -> Result<Op, FormatError> {
    // What follows a second colon is not read.
    let mut parts = argument.split(':');
    let (query, which) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let refuse =
        |option: &str, allowed| FormatError::Option { command: "PATH", option: option.to_owned(), allowed };
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(refuse(other, "'WQ'/'NQ'")),
    };
    let which = match which {
        "" | "ORIG_OR_PATH" => Which::OriginalOrPath,
        "ORIG" => Which::Original,
        "PATH" => Which::Path,
        other => return Err(refuse(other, "'ORIG'/'PATH'/'ORIG_OR_PATH'")),
    };
    Ok(Op::Path(PathForm { query, which }))
}

pub(super) fn path_of<'a>(cx: &FormatContext<'a>, form: PathForm) -> Option<&'a [u8]> {
    let map = cx.request?;
    let original = || map.get(Known::XEnvoyOriginalPath);
    let path = match form.which {
        Which::Path => map.get(Known::Path),
        Which::Original => original(),
        Which::OriginalOrPath => original().or_else(|| map.get(Known::Path)),
    }?;
    Some(if form.query { path } else { without_query(path) })
}

fn without_query(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|b| *b == b'?').unwrap_or(path.len());
    path.get(..end).unwrap_or_default()
}

/// What follows the `?` of the path, a fragment with it.
fn query<'a>(cx: &FormatContext<'a>) -> Option<&'a [u8]> {
    let path = cx.request?.get(Known::Path)?;
    let at = path.iter().position(|b| *b == b'?')?;
    path.get(at + 1..)
}

/// The query of the path, with the escapes that Envoy decodes decoded.
pub(super) fn write_query(cx: &FormatContext<'_>, decoded: bool, out: &mut Vec<u8>) -> bool {
    let Some(query) = query(cx) else { return false };
    if !decoded {
        out.extend_from_slice(query);
        return true;
    }
    let mut rest = query;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        match after {
            [high, low, behind @ ..] if b == b'%' => match hex_pair(*high, *low) {
                Some(byte) if is_readable(byte) => {
                    out.push(byte);
                    rest = behind;
                }
                Some(_) => {
                    out.extend_from_slice(&[b'%', *high, *low]);
                    rest = behind;
                }
                // A percent sign that begins no escape is dropped.
                None => {}
            },
            _ => out.push(b),
        }
    }
    true
}

/// What `QUERY_PARAMS(DECODED)` decodes: visible ASCII, except what has no place in a URL.
fn is_readable(b: u8) -> bool {
    b.is_ascii_graphic() && !b"\"<>\\^{|}".contains(&b)
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    Some(digit(high)? << 4 | digit(low)?)
}

/// Where `REQUESTED_SERVER_NAME` looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerName {
    order: ServerNameOrder,
    host: HostForm,
}

#[derive(Clone, Copy, Debug)]
enum ServerNameOrder {
    SniOnly,
    SniFirst,
    HostFirst,
}

#[derive(Clone, Copy, Debug)]
enum HostForm {
    OriginalOrHost,
    Host,
    Original,
}

/// `[SNI_ONLY|SNI_FIRST|HOST_FIRST][:ORIG_OR_HOST|:HOST|:ORIG]`.
pub(super) fn server_name(argument: &str) -> Result<Op, FormatError> {
    let mut parts = argument.split(':');
    let (order, host) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let refuse = |option: &str, allowed| FormatError::Option {
        command: "REQUESTED_SERVER_NAME",
        option: option.to_owned(),
        allowed,
    };
    let order = match order {
        "" | "SNI_ONLY" => ServerNameOrder::SniOnly,
        "SNI_FIRST" => ServerNameOrder::SniFirst,
        "HOST_FIRST" => ServerNameOrder::HostFirst,
        other => return Err(refuse(other, "'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST'")),
    };
    let host = match host {
        "" | "ORIG_OR_HOST" => HostForm::OriginalOrHost,
        "HOST" => HostForm::Host,
        "ORIG" => HostForm::Original,
        other => return Err(refuse(other, "'ORIG_OR_HOST'/'HOST'/'ORIG'")),
    };
    Ok(Op::RequestedServerName(ServerName { order, host }))
}

pub(super) fn write_server_name(cx: &FormatContext<'_>, form: ServerName, out: &mut Vec<u8>) -> bool {
    let sni = |out: &mut Vec<u8>| {
        let name = cx.info.server_name();
        name.map(|name| write_sni(name.as_bytes(), out)).is_some()
    };
    let original = || cx.request?.get(Known::XEnvoyOriginalHost);
    let authority = || cx.request?.get(Known::Authority);
    let host = |out: &mut Vec<u8>| {
        let value = match form.host {
            HostForm::OriginalOrHost => original().or_else(authority),
            HostForm::Host => authority(),
            HostForm::Original => original(),
        };
        value.map(|value| out.extend_from_slice(value)).is_some()
    };
    match form.order {
        ServerNameOrder::SniOnly => sni(out),
        ServerNameOrder::SniFirst => sni(out) || host(out),
        ServerNameOrder::HostFirst => host(out) || sni(out),
    }
}

/// A name that a client asked for. What is no host name is marked, and shows nothing but letters, digits, dots and
/// hyphens: it is whatever somebody chose to send.
fn write_sni(name: &[u8], out: &mut Vec<u8>) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    if !name.iter().all(|b| plain(*b)) {
        out.extend_from_slice(b"invalid:");
    }
    out.extend(name.iter().map(|b| if plain(*b) { *b } else { b'_' }));
}

/// The first value of a query parameter, percent-decoded.
pub(super) fn write_query_param(cx: &FormatContext<'_>, name: &str, out: &mut Vec<u8>) -> bool {
    let Some(query) = query(cx) else { return false };
    crate::matcher::query_value(query, name.as_bytes(), out)
}

/// How a gRPC status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcForm {
    Camel,
    Snake,
    Number,
}

pub(super) fn grpc_status(argument: &str) -> Result<Op, FormatError> {
    Ok(Op::GrpcStatus(match argument {
        "" | "CAMEL_STRING" => GrpcForm::Camel,
        "SNAKE_STRING" => GrpcForm::Snake,
        "NUMBER" => GrpcForm::Number,
        other => return Err(FormatError::GrpcStatus(other.to_owned())),
    }))
}

/// The names of statuses 0 to 16.
const GRPC_NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// Whether headers are those of a gRPC request: content type `application/grpc` or `application/grpc+…`.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(Known::ContentType)
        .and_then(|v| v.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

/// Whether a request's headers are those of gRPC: they have its type and a path, which CONNECT has not.
#[inline]
pub fn is_grpc_request(headers: &HeaderMap) -> bool {
    is_grpc(headers) && headers.contains(Known::Path)
}

/// The gRPC status of a stream: of its trailers, else its headers, else what its HTTP status means; −1 for one
/// that is no number.
pub(crate) fn grpc_status_of(cx: &FormatContext<'_>) -> Option<i64> {
    grpc_status_in(cx.trailers, cx.response.map(|(map, _)| map), cx.info.response_code)
}

/// As [`grpc_status_of`], from its parts.
pub(crate) fn grpc_status_in(
    trailers: Option<&HeaderMap>,
    headers: Option<&HeaderMap>,
    response_code: Option<u16>,
) -> Option<i64> {
    let stated = |map: &HeaderMap| {
        let value = map.get(Known::GrpcStatus)?;
        Some(std::str::from_utf8(value).ok().and_then(|v| v.parse::<u32>().ok()).map_or(-1, i64::from))
    };
    trailers.and_then(stated).or_else(|| headers.and_then(stated)).or_else(|| {
        Some(match response_code? {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        })
    })
}

pub(super) fn write_grpc_status(cx: &FormatContext<'_>, form: GrpcForm, out: &mut Vec<u8>) -> bool {
    if !cx.request.is_some_and(is_grpc_request) {
        return false;
    }
    let Some(status) = grpc_status_of(cx) else { return false };
    let names = usize::try_from(status).ok().and_then(|n| GRPC_NAMES.get(n));
    match (form, names) {
        (GrpcForm::Camel, Some((camel, _))) => out.extend_from_slice(camel.as_bytes()),
        (GrpcForm::Snake, Some((_, snake))) => out.extend_from_slice(snake.as_bytes()),
        _ if status < 0 => out.extend_from_slice(b"-1"),
        _ => write_number(status.unsigned_abs(), out),
    }
    true
}
