//! From text to commands.

use super::Piece;
use super::command::{Command, Limit, Op};
use super::header::{self, HeaderSource};
use super::state::{self, MetadataSource};
use super::time::{NewlineError, TimeFormat};
use super::tls::{TlsOf, Validity};
use super::{address, coalesce, duration, field, xfcc};
use crate::cel;

/// Commands beyond those that every format knows: what formatter extensions add.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// `REQ_WITHOUT_QUERY` (`envoy.extensions.formatter.req_without_query.v3`).
    pub req_without_query: bool,
    /// `FILE_CONTENT` (`envoy.extensions.formatter.file_content.v3`).
    pub file_content: bool,
    /// What expressions may do (`envoy.extensions.formatter.cel.v3`).
    pub cel: cel::Features,
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
    /// A field's name where none belongs, or none where one does.
    #[error("Invalid filter state serialize type, FIELD should be used with the field name.")]
    FilterStateField,
    /// `COALESCE` has a bad argument.
    #[error("COALESCE: {0}")]
    Coalesce(String),
    /// One of the operators of a `COALESCE` has a bad form.
    #[error("{0}")]
    CoalesceOperator(&'static str),
    /// A key that `x-forwarded-client-cert` does not have.
    #[error("XFCC_VALUE command does not support subcommand: {0}")]
    ClientCertificateKey(String),
    /// A bad argument of `FILE_CONTENT`.
    #[error("FILE_CONTENT: expected format 'path' or 'path:watch_directory', got '{0}'")]
    FileContent(String),
    /// A file that is to be read again when its folder changes.
    #[error("FILE_CONTENT: watching a directory is not supported yet")]
    WatchedFile,
    /// A file that cannot be read.
    #[error("Invalid path: {0}")]
    Path(String),
    /// A bad expression.
    #[error(transparent)]
    Cel(#[from] cel::CelError),
    /// A kind of metadata that is not known, or has no meaning for what is built.
    #[error("{0} is not supported type of metadata")]
    Metadata(String),
}

/// A command as it is written.
pub(super) struct Written<'t> {
    name: &'t str,
    argument: Option<&'t str>,
    length: Option<usize>,
    /// Bytes up to and with the closing `%`.
    len: usize,
}

impl<'t> Written<'t> {
    /// A command whose parts stand apart.
    pub(super) fn new(name: &'t str, argument: Option<&'t str>, length: Option<usize>) -> Self {
        Self { name, argument, length, len: 0 }
    }
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
#[derive(Clone, Copy)]
enum Takes {
    Nothing,
    Argument,
    ArgumentAndLength,
    NeedsArgument,
    NeedsArgumentTakesLength,
}

/// How a command becomes an operation.
enum Found {
    Made(Op),
    Make(Make),
    Coalesce,
    Cel { typed: bool },
}

fn find(w: &Written<'_>, argument: &str, commands: &Commands) -> Option<(Takes, Found)> {
    match w.name {
        "REQ_WITHOUT_QUERY" if !commands.req_without_query => return None,
        "FILE_CONTENT" if !commands.file_content => return None,
        _ => {}
    }
    if let Some((takes, make)) = op(w.name) {
        return Some((takes, Found::Make(make)));
    }
    match w.name {
        "COALESCE" => return Some((Takes::NeedsArgumentTakesLength, Found::Coalesce)),
        "CEL" => return Some((Takes::ArgumentAndLength, Found::Cel { typed: false })),
        "TYPED_CEL" => return Some((Takes::ArgumentAndLength, Found::Cel { typed: true })),
        _ => {}
    }
    if !argument.is_empty()
        && let Some(op) = address::find_masked(w.name, argument)
    {
        return Some((Takes::Argument, Found::Made(op)));
    }
    Some((Takes::Nothing, Found::Made(field::find(w.name)?)))
}

/// Compiles one command.
pub(super) fn compile(w: &Written<'_>, commands: &Commands) -> Result<Command, FormatError> {
    let name = || w.name.to_owned();
    let argument = w.argument.unwrap_or_default();
    let Some((takes, found)) = find(w, argument, commands) else {
        return Err(FormatError::UnknownCommand(name()));
    };
    match takes {
        Takes::NeedsArgument | Takes::NeedsArgumentTakesLength if argument.is_empty() => {
            return Err(FormatError::NoArgument(name()));
        }
        Takes::Argument | Takes::NeedsArgument if w.length.is_some() => {
            return Err(FormatError::NoLength(name()));
        }
        Takes::Nothing if !argument.is_empty() || w.length.is_some() => {
            return Err(FormatError::TakesNothing(name()));
        }
        _ => {}
    }
    let op = match found {
        Found::Made(op) => op,
        Found::Make(make) => make(argument)?,
        Found::Coalesce => coalesce::compile(argument, commands)?,
        Found::Cel { typed } => {
            Op::Cel { expression: Box::new(cel::Expression::new(argument, commands.cel)?), typed }
        }
    };
    Ok(Command::new(op, Limit::new(w.length)))
}

type Make = fn(&str) -> Result<Op, FormatError>;

/// The commands that take an argument, or are more than a field of the stream.
fn op(name: &str) -> Option<(Takes, Make)> {
    use Takes::{Argument, ArgumentAndLength, NeedsArgument, NeedsArgumentTakesLength, Nothing};
    Some(match name {
        // The headers that a stream keeps for logs are those that every format reads.
        "REQ" | "REQUEST_HEADER" | "STREAM_INFO_REQ" => {
            (NeedsArgumentTakesLength, |a| header::headers(HeaderSource::Request, a))
        }
        "RESP" | "RESPONSE_HEADER" => {
            (NeedsArgumentTakesLength, |a| header::headers(HeaderSource::Response, a))
        }
        "TRAILER" | "RESPONSE_TRAILER" => {
            (NeedsArgumentTakesLength, |a| header::headers(HeaderSource::Trailer, a))
        }
        "REQ_WITHOUT_QUERY" => (ArgumentAndLength, |a| header::headers(HeaderSource::RequestWithoutQuery, a)),
        "QUERY_PARAM" => (NeedsArgumentTakesLength, |a| Ok(Op::QueryParam(a.into()))),
        "QUERY_PARAMS" => (ArgumentAndLength, query_params),
        "PATH" => (ArgumentAndLength, header::path),
        "REQUESTED_SERVER_NAME" => (Argument, header::server_name),
        "START_TIME" => (Argument, |a| Ok(Op::StartTime(TimeFormat::new(a, false)?))),
        "START_TIME_LOCAL" => (Argument, |a| Ok(Op::StartTime(TimeFormat::new(a, true)?))),
        "EMIT_TIME" => (Argument, |a| Ok(Op::EmitTime(TimeFormat::new(a, false)?))),
        "EMIT_TIME_LOCAL" => (Argument, |a| Ok(Op::EmitTime(TimeFormat::new(a, true)?))),
        "DOWNSTREAM_PEER_CERT_V_START" => {
            (Argument, |a| certificate_time(TlsOf::Downstream, Validity::Start, a))
        }
        "DOWNSTREAM_PEER_CERT_V_END" => (Argument, |a| certificate_time(TlsOf::Downstream, Validity::End, a)),
        "UPSTREAM_PEER_CERT_V_START" => (Argument, |a| certificate_time(TlsOf::Upstream, Validity::Start, a)),
        "UPSTREAM_PEER_CERT_V_END" => (Argument, |a| certificate_time(TlsOf::Upstream, Validity::End, a)),
        "XFCC_VALUE" => (NeedsArgumentTakesLength, xfcc::compile),
        "FILE_CONTENT" => (ArgumentAndLength, file_content),
        "ENVIRONMENT" => (NeedsArgumentTakesLength, |a| {
            Ok(Op::Constant(std::env::var(a).unwrap_or_else(|_| "-".to_owned()).into()))
        }),
        "HOSTNAME" => (Nothing, |_| Ok(Op::Constant(hostname().into()))),
        "GRPC_STATUS" => (Argument, header::grpc_status),
        "GRPC_STATUS_NUMBER" => (Nothing, |_| Ok(Op::GrpcStatus(header::GrpcForm::Number))),
        "RESPONSE_CODE_DETAILS" => (Argument, |a| Ok(Op::Details { blanks: a == "ALLOW_WHITESPACES" })),
        "COMMON_DURATION" => (NeedsArgument, duration::common_duration),
        "DYNAMIC_METADATA" => {
            (NeedsArgumentTakesLength, |a| Ok(Op::Metadata(MetadataSource::Dynamic, metadata_path(a))))
        }
        "CLUSTER_METADATA" => {
            (NeedsArgument, |a| Ok(Op::Metadata(MetadataSource::Cluster, metadata_path(a))))
        }
        "UPSTREAM_METADATA" => (NeedsArgument, |a| Ok(Op::Metadata(MetadataSource::Host, metadata_path(a)))),
        "METADATA" => (NeedsArgumentTakesLength, metadata),
        "FILTER_STATE" => (ArgumentAndLength, state::filter_state),
        // Nothing that is built keeps state on an upstream connection.
        "UPSTREAM_FILTER_STATE" => (ArgumentAndLength, |a| state::filter_state(a).map(|_| Op::Absent)),
        _ => return None,
    })
}

impl From<NewlineError> for FormatError {
    fn from(_: NewlineError) -> Self {
        Self::Newline
    }
}

fn certificate_time(of: TlsOf, validity: Validity, format: &str) -> Result<Op, FormatError> {
    Ok(Op::CertificateTime(of, validity, TimeFormat::new(format, false)?))
}

/// `PATH`: what the file holds when the configuration is loaded.
fn file_content(argument: &str) -> Result<Op, FormatError> {
    let bad = || FormatError::FileContent(argument.to_owned());
    match argument.split(':').collect::<Vec<_>>().as_slice() {
        [""] => Err(bad()),
        [path] => {
            let bytes = std::fs::read(path).map_err(|_| FormatError::Path((*path).to_owned()))?;
            let text = String::from_utf8(bytes).map_err(|_| FormatError::Path((*path).to_owned()))?;
            Ok(Op::Constant(text.into()))
        }
        [_, _] => Err(FormatError::WatchedFile),
        _ => Err(bad()),
    }
}

fn query_params(argument: &str) -> Result<Op, FormatError> {
    match argument {
        "" | "ORIG" => Ok(Op::QueryParams { decoded: false }),
        "DECODED" => Ok(Op::QueryParams { decoded: true }),
        other => Err(FormatError::Option {
            command: "QUERY_PARAMS",
            option: other.to_owned(),
            allowed: "'ORIG'/'DECODED'",
        }),
    }
}

fn metadata_path(argument: &str) -> Box<[Box<str>]> {
    argument.split(':').map(Box::from).collect()
}

fn metadata(argument: &str) -> Result<Op, FormatError> {
    let (kind, path) = argument.split_once(':').unwrap_or((argument, ""));
    let source = match kind {
        "DYNAMIC" => MetadataSource::Dynamic,
        "CLUSTER" => MetadataSource::Cluster,
        "UPSTREAM_HOST" => MetadataSource::Host,
        "ROUTE" => MetadataSource::Route,
        "LISTENER" => MetadataSource::Listener,
        "LISTENER_FILTER_CHAIN" => MetadataSource::FilterChain,
        "VIRTUAL_HOST" => MetadataSource::VirtualHost,
        other => return Err(FormatError::Metadata(other.to_owned())),
    };
    Ok(Op::Metadata(source, metadata_path(path)))
}

/// The machine's name, as the kernel tells it; `-` where it does not.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "-".to_owned() } else { name.to_owned() }
}
