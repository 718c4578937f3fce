//! From text to commands.

use super::Piece;
use super::command::{Command, Limit, Op};
use super::field;
use super::header::{self, HeaderSource};
use super::time::{TimeFormat, TimeFormatError};

/// Commands beyond those that every format knows: what formatter extensions add.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// `REQ_WITHOUT_QUERY` (`envoy.extensions.formatter.req_without_query.v3`).
    pub req_without_query: bool,
}

/// Why a format string is refused, in Envoy's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` that begins no command.
    #[error("Incorrect configuration: {text}. Couldn't find valid command at position {at}")]
    NoCommand {
        /// The whole format.
        text: String,
        /// Where the `%` stands, in bytes.
        at: usize,
    },
    /// A command that is not known, or has no meaning for what is built.
    #[error("Not supported field in StreamInfo: {0}")]
    UnknownCommand(String),
    /// The command needs an argument.
    #[error("{0} requires parameters")]
    NoArgument(String),
    /// The command takes neither argument nor length.
    #[error("{0} does not take any parameters or length")]
    TakesNothing(String),
    /// The command takes no length.
    #[error("{0} does not allow length to be specified.")]
    NoLength(String),
    /// More than one `?`.
    #[error("More than 1 alternative header specified in token: {0}")]
    Alternatives(String),
    /// A header name that could not be one.
    #[error("Invalid header configuration. Format string contains invalid characters.")]
    HeaderName,
    /// A time format with `%n`.
    #[error("Invalid header configuration. Format string contains newline.")]
    Newline,
    /// A time specifier that is not known here.
    #[error("{0} is no time specifier that is supported here")]
    TimeSpecifier(String),
    /// A word that the command does not know.
    #[error("Invalid {command} option: '{option}', only {allowed} are allowed")]
    Option {
        /// The command.
        command: &'static str,
        /// The word.
        option: String,
        /// The words it knows.
        allowed: &'static str,
    },
    /// A bad argument of `GRPC_STATUS`.
    #[error("GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: {0}")]
    GrpcStatus(String),
    /// A bad argument of `COMMON_DURATION`.
    #[error("Invalid common duration configuration: {0}.")]
    CommonDuration(String),
    /// A bad precision of `COMMON_DURATION`.
    #[error("Invalid common duration precision: {0}.")]
    Precision(String),
    /// A filter state without its key.
    #[error("Invalid filter state configuration, key cannot be empty.")]
    FilterStateKey,
    /// A serialisation that does not exist.
    #[error("Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.")]
    FilterStateKind,
    /// A serialisation that is not built.
    #[error("filter state as {0} is not supported here")]
    FilterStateUnbuilt(&'static str),
    /// A kind of metadata that is not known, or has no meaning for what is built.
    #[error("{0} is not supported type of metadata")]
    Metadata(String),
}

/// A command as it is written.
struct Written<'t> {
    name: &'t str,
    argument: Option<&'t str>,
    length: Option<usize>,
    /// Bytes up to and with the closing `%`.
    len: usize,
}

/// Reads the command that `text` begins with: `%NAME%`, `%NAME(…)%`, `%NAME:9%`, `%NAME(…):9%`. The argument
/// ends at the first `)` behind which the command can end.
fn written(text: &str) -> Option<Written<'_>> {
    let rest = text.strip_prefix('%')?;
    let name_len =
        rest.bytes().take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_').count();
    let (name, rest) = rest.split_at_checked(name_len).filter(|(name, _)| !name.is_empty())?;
    let done = |argument, (length, end): (Option<usize>, &str)| Written {
        name,
        argument,
        length,
        len: text.len() - end.len(),
    };
    let Some(argument) = rest.strip_prefix('(') else { return tail(rest).map(|t| done(None, t)) };
    let line = argument.split('\n').next().unwrap_or_default();
    line.match_indices(')').find_map(|(at, _)| {
        let end = tail(argument.get(at + 1..)?)?;
        Some(done(argument.get(..at), end))
    })
}

/// The length and what follows the closing `%`.
fn tail(rest: &str) -> Option<(Option<usize>, &str)> {
    if let Some(end) = rest.strip_prefix('%') {
        return Some((None, end));
    }
    let rest = rest.strip_prefix(':')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let length = rest.get(..digits)?.parse().ok()?;
    Some((Some(length), rest.get(digits..)?.strip_prefix('%')?))
}

/// Splits a format into text and commands; `%%` is a percent sign.
pub(super) fn pieces(text: &str, commands: &Commands) -> Result<Vec<Piece>, FormatError> {
    let (mut pieces, mut literal) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|r| !r.is_empty()) {
        let plain = rest.bytes().position(|b| b == b'%').unwrap_or(rest.len());
        if plain > 0 {
            literal.extend_from_slice(rest.get(..plain).unwrap_or_default().as_bytes());
            at += plain;
            continue;
        }
        if rest.starts_with("%%") {
            literal.push(b'%');
            at += 2;
            continue;
        }
        let command = written(rest).ok_or_else(|| FormatError::NoCommand { text: text.to_owned(), at })?;
        at += command.len;
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
        }
        pieces.push(Piece::Command(compile(&command, commands)?));
    }
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal.into()));
    }
    Ok(pieces)
}

/// What a command may be given.
enum Takes {
    Nothing,
    Argument,
    ArgumentAndLength,
    NeedsArgument,
}

fn takes(name: &str) -> Takes {
    match name {
        "REQ" | "RESP" | "TRAILER" | "REQUEST_HEADER" | "RESPONSE_HEADER" | "RESPONSE_TRAILER"
        | "QUERY_PARAM" | "ENVIRONMENT" | "DYNAMIC_METADATA" | "CLUSTER_METADATA" | "UPSTREAM_METADATA"
        | "METADATA" | "REQ_WITHOUT_QUERY" => Takes::NeedsArgument,
        "START_TIME" | "EMIT_TIME" | "GRPC_STATUS" | "COMMON_DURATION" | "RESPONSE_CODE_DETAILS" => {
            Takes::Argument
        }
        "PATH" | "QUERY_PARAMS" | "REQUESTED_SERVER_NAME" | "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => {
            Takes::ArgumentAndLength
        }
        _ => Takes::Nothing,
    }
}

fn compile(w: &Written<'_>, commands: &Commands) -> Result<Command, FormatError> {
    let name = || w.name.to_owned();
    let argument = w.argument.unwrap_or_default();
    let op = match w.name {
        "REQ_WITHOUT_QUERY" if !commands.req_without_query => {
            return Err(FormatError::UnknownCommand(name()));
        }
        _ => op(w.name),
    };
    if let Some(make) = op {
        match takes(w.name) {
            Takes::NeedsArgument if argument.is_empty() => return Err(FormatError::NoArgument(name())),
            Takes::Argument if w.length.is_some() => return Err(FormatError::NoLength(name())),
            Takes::Nothing if !argument.is_empty() || w.length.is_some() => {
                return Err(FormatError::TakesNothing(name()));
            }
            _ => {}
        }
        return Ok(Command::new(make(argument)?, Limit(w.length)));
    }
    let op = field::find(w.name).ok_or_else(|| FormatError::UnknownCommand(name()))?;
    if !argument.is_empty() || w.length.is_some() {
        return Err(FormatError::TakesNothing(name()));
    }
    Ok(Command::new(op, Limit(None)))
}

type Make = fn(&str) -> Result<Op, FormatError>;

/// The commands that take an argument, or are more than a field of the stream.
fn op(name: &str) -> Option<Make> {
    Some(match name {
        "REQ" | "REQUEST_HEADER" => |a| header::headers(HeaderSource::Request, a),
        "RESP" | "RESPONSE_HEADER" => |a| header::headers(HeaderSource::Response, a),
        "TRAILER" | "RESPONSE_TRAILER" => |a| header::headers(HeaderSource::Trailer, a),
        "REQ_WITHOUT_QUERY" => |a| header::headers(HeaderSource::RequestWithoutQuery, a),
        "QUERY_PARAM" => |a| Ok(Op::QueryParam(a.into())),
        "QUERY_PARAMS" => query_params,
        "PATH" => header::path,
        "REQUESTED_SERVER_NAME" => requested_server_name,
        "START_TIME" => |a| Ok(Op::StartTime(time_format(a)?)),
        "EMIT_TIME" => |a| Ok(Op::EmitTime(time_format(a)?)),
        "ENVIRONMENT" => |a| Ok(Op::Constant(std::env::var(a).unwrap_or_else(|_| "-".to_owned()).into())),
        "HOSTNAME" => |_| Ok(Op::Constant(hostname().into())),
        "GRPC_STATUS" => header::grpc_status,
        "GRPC_STATUS_NUMBER" => |_| Ok(Op::GrpcStatus(header::GrpcForm::Number)),
        "RESPONSE_CODE_DETAILS" => |a| Ok(Op::Details { blanks: a == "ALLOW_WHITESPACES" }),
        "COMMON_DURATION" => field::common_duration,
        "DYNAMIC_METADATA" => |a| Ok(Op::Metadata(field::MetadataSource::Dynamic, metadata_path(a))),
        "CLUSTER_METADATA" => |a| Ok(Op::Metadata(field::MetadataSource::Cluster, metadata_path(a))),
        "UPSTREAM_METADATA" => |a| Ok(Op::Metadata(field::MetadataSource::Host, metadata_path(a))),
        "METADATA" => metadata,
        "FILTER_STATE" => filter_state,
        // Nothing that is built keeps state on an upstream connection.
        "UPSTREAM_FILTER_STATE" => |a| filter_state(a).map(|_| Op::Absent),
        _ => return None,
    })
}

fn time_format(argument: &str) -> Result<TimeFormat, FormatError> {
    if argument.is_empty() {
        return Ok(TimeFormat::default());
    }
    TimeFormat::new(argument).map_err(|e| match e {
        TimeFormatError::Newline => FormatError::Newline,
        TimeFormatError::Unknown(s) => FormatError::TimeSpecifier(s),
    })
}

fn query_params(argument: &str) -> Result<Op, FormatError> {
    match argument {
        "" | "ORIG" => Ok(Op::QueryParams),
        other => {
            Err(FormatError::Option { command: "QUERY_PARAMS", option: other.to_owned(), allowed: "'ORIG'" })
        }
    }
}

fn requested_server_name(argument: &str) -> Result<Op, FormatError> {
    match argument {
        "" | "SNI_ONLY" => Ok(Op::RequestedServerName),
        other => Err(FormatError::Option {
            command: "REQUESTED_SERVER_NAME",
            option: other.to_owned(),
            allowed: "'SNI_ONLY'",
        }),
    }
}

fn metadata_path(argument: &str) -> Box<[Box<str>]> {
    argument.split(':').map(Box::from).collect()
}

fn metadata(argument: &str) -> Result<Op, FormatError> {
    let (kind, path) = argument.split_once(':').unwrap_or((argument, ""));
    let source = match kind {
        "DYNAMIC" => field::MetadataSource::Dynamic,
        "CLUSTER" => field::MetadataSource::Cluster,
        "UPSTREAM_HOST" => field::MetadataSource::Host,
        "ROUTE" => field::MetadataSource::Route,
        other => return Err(FormatError::Metadata(other.to_owned())),
    };
    Ok(Op::Metadata(source, metadata_path(path)))
}

fn filter_state(argument: &str) -> Result<Op, FormatError> {
    let (key, kind) = argument.split_once(':').unwrap_or((argument, "TYPED"));
    if key.is_empty() {
        return Err(FormatError::FilterStateKey);
    }
    match kind.split(':').next() {
        Some(kind @ ("PLAIN" | "TYPED")) => Ok(Op::FilterState { key: key.into(), plain: kind == "PLAIN" }),
        Some("FIELD") => Err(FormatError::FilterStateUnbuilt("FIELD")),
        _ => Err(FormatError::FilterStateKind),
    }
}

/// The machine's name, as the kernel tells it; `-` where it does not.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "-".to_owned() } else { name.to_owned() }
}
