//! `envoy.config.accesslog.v3.AccessLogFilter`.

use crate::cel::Expression;
use crate::config::{CompileContext, fraction, type_name};
use crate::format::{FormatContext, LogType, grpc_status_of};
use crate::matcher::{HeaderMatcher, MetadataMatcher};
use crate::runtime::{Runtime, RuntimeFraction};
use crate::stream_info::ResponseFlag;
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_proto::pb::envoy::config::accesslog::v3 as pb;
use nuncio_proto::pb::envoy::config::core::v3::RuntimeUInt32;
use nuncio_proto::pb::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use pb::access_log_filter::FilterSpecifier as Specifier;
use pb::comparison_filter::Op;
use prost::Name;

/// Which entries a log takes.
#[derive(Debug)]
pub enum LogFilter {
    /// By status; 0 without one.
    StatusCode(Comparison),
    /// By duration in milliseconds.
    Duration(Comparison),
    /// Streams that a health-check filter did not mark.
    NotHealthCheck,
    /// Streams that a tracer would take up.
    Traceable,
    /// A share of the streams.
    Runtime {
        /// Which share.
        fraction: RuntimeFraction,
        /// By the stream's own random number instead of its request id.
        independent: bool,
        /// Where the key is looked up.
        runtime: Runtime,
    },
    /// All of these hold.
    All(Box<[LogFilter]>),
    /// One of these holds.
    Any(Box<[LogFilter]>),
    /// A request header.
    Header(HeaderMatcher),
    /// One of these response flags (legacy bits) is set; any flag, for 0.
    ResponseFlag(u32),
    /// The gRPC status is among these bits, or is not.
    GrpcStatus {
        /// Bit n stands for status n.
        statuses: u32,
        /// Among them is what does not pass.
        exclude: bool,
    },
    /// A value of the dynamic metadata.
    Metadata {
        /// What the value must be; none is ever found without it.
        matcher: Option<Box<MetadataMatcher>>,
        /// What holds where there is none.
        missing: bool,
    },
    /// An expression is true.
    Cel(Box<Expression>),
    /// The kind of entry is among these bits, or is not.
    LogType {
        /// Bit n stands for `AccessLogType` n.
        types: u32,
        /// Among them is what does not pass.
        exclude: bool,
    },
}

/// A number compared with one that runtime can override.
#[derive(Debug)]
pub struct Comparison {
    op: Op,
    default: u64,
    key: Box<str>,
    runtime: Runtime,
}

impl Comparison {
    fn compile(
        message: Option<&pb::ComparisonFilter>,
        cx: &CompileContext<'_>,
        runtime: &Runtime,
    ) -> Option<Self> {
        let Some(pb::ComparisonFilter { op, value: Some(RuntimeUInt32 { default_value, runtime_key }) }) =
            message
        else {
            cx.error("value is required");
            return None;
        };
        let Ok(op) = Op::try_from(*op) else {
            cx.field("op").error("value must be one of the defined enum values");
            return None;
        };
        let (default, key) = (u64::from(*default_value), runtime_key.as_str().into());
        Some(Self { op, default, key, runtime: runtime.clone() })
    }

    fn holds(&self, n: u64) -> bool {
        let wanted = self.runtime.integer(&self.key, self.default);
        match self.op {
            Op::Eq => n == wanted,
            Op::Ge => n >= wanted,
            Op::Le => n <= wanted,
            Op::Ne => n != wanted,
        }
    }
}

/// The number that Envoy draws from a request id: its first eight hexadecimal digits.
fn request_number(headers: Option<&HeaderMap>) -> Option<u64> {
    let id = headers?.get(Known::XRequestId)?.get(..8)?;
    u64::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()
}

impl LogFilter {
    /// The message, compiled. `None`: refused, and the reason is recorded in `cx`.
    pub fn compile(
        message: &pb::AccessLogFilter,
        cx: &CompileContext<'_>,
        runtime: &Runtime,
    ) -> Option<Self> {
        let pb::AccessLogFilter { filter_specifier } = message;
        let list = |filters: &[pb::AccessLogFilter], cx: &CompileContext<'_>| {
            let compiled: Vec<_> = filters
                .iter()
                .enumerate()
                .filter_map(|(i, f)| Self::compile(f, &cx.item("filters", i), runtime))
                .collect();
            (compiled.len() == filters.len()).then(|| compiled.into_boxed_slice())
        };
        Some(match filter_specifier {
            Some(Specifier::StatusCodeFilter(pb::StatusCodeFilter { comparison })) => {
                let cx = cx.field("status_code_filter");
                Self::StatusCode(Comparison::compile(comparison.as_ref(), &cx.field("comparison"), runtime)?)
            }
            Some(Specifier::DurationFilter(pb::DurationFilter { comparison })) => {
                let cx = cx.field("duration_filter");
                Self::Duration(Comparison::compile(comparison.as_ref(), &cx.field("comparison"), runtime)?)
            }
            Some(Specifier::NotHealthCheckFilter(pb::NotHealthCheckFilter {})) => Self::NotHealthCheck,
            Some(Specifier::TraceableFilter(pb::TraceableFilter {})) => Self::Traceable,
            Some(Specifier::RuntimeFilter(filter)) => runtime_filter(filter, runtime),
            Some(Specifier::AndFilter(pb::AndFilter { filters })) => {
                Self::All(list(filters, &cx.field("and_filter"))?)
            }
            Some(Specifier::OrFilter(pb::OrFilter { filters })) => {
                Self::Any(list(filters, &cx.field("or_filter"))?)
            }
            Some(Specifier::HeaderFilter(pb::HeaderFilter { header })) => {
                let (cx, header) = (cx.field("header_filter"), header.clone().unwrap_or_default());
                Self::Header(HeaderMatcher::compile(&header, &cx.field("header"))?)
            }
            Some(Specifier::ResponseFlagFilter(pb::ResponseFlagFilter { flags })) => {
                let bit = |name: &String| {
                    ResponseFlag::ALL.iter().find(|f| f.short() == name).map_or(0, |f| 1_u32 << (*f as u8))
                };
                Self::ResponseFlag(flags.iter().map(bit).fold(0, |all, bit| all | bit))
            }
            Some(Specifier::GrpcStatusFilter(pb::GrpcStatusFilter { statuses, exclude })) => {
                Self::GrpcStatus { statuses: bits(statuses), exclude: *exclude }
            }
            Some(Specifier::MetadataFilter(pb::MetadataFilter { matcher, match_if_key_not_found })) => {
                let cx = cx.field("metadata_filter");
                let matcher = match matcher {
                    None => None,
                    Some(matcher) => Some(Box::new(MetadataMatcher::compile(matcher, &cx.field("matcher"))?)),
                };
                Self::Metadata { matcher, missing: match_if_key_not_found.unwrap_or(true) }
            }
            Some(Specifier::LogTypeFilter(pb::LogTypeFilter { types, exclude })) => {
                Self::LogType { types: bits(types), exclude: *exclude }
            }
            Some(Specifier::ExtensionFilter(pb::ExtensionFilter { name, config_type })) => {
                Self::Cel(Box::new(expression(name, config_type.as_ref(), &cx.field("extension_filter"))?))
            }
            None => {
                cx.error("a filter is required");
                return None;
            }
        })
    }

    /// Whether the entry is to be written.
    pub fn passes(&self, cx: &FormatContext<'_>) -> bool {
        match self {
            Self::StatusCode(comparison) => comparison.holds(u64::from(cx.info.response_code.unwrap_or(0))),
            Self::Duration(comparison) => comparison.holds(cx.duration().as_millis() as u64),
            Self::NotHealthCheck => !cx.info.health_check,
            Self::Traceable => cx.info.is_traced() && !cx.info.health_check,
            Self::Runtime { fraction, independent, runtime } => {
                let of_request = if *independent { None } else { request_number(cx.request) };
                fraction.enabled(runtime, of_request.unwrap_or(cx.info.random))
            }
            Self::All(filters) => filters.iter().all(|f| f.passes(cx)),
            Self::Any(filters) => filters.iter().any(|f| f.passes(cx)),
            Self::Header(matcher) => {
                cx.request.map_or_else(|| matcher.matches(&HeaderMap::new()), |h| matcher.matches(h))
            }
            Self::ResponseFlag(0) => !cx.info.flags.is_empty(),
            Self::ResponseFlag(flags) => cx.info.flags.bits() & flags != 0,
            Self::GrpcStatus { statuses, exclude } => {
                let status = grpc_status_of(cx).unwrap_or(2);
                let among = u32::try_from(status).is_ok_and(|n| n < 32 && statuses >> n & 1 != 0);
                among != *exclude
            }
            Self::Metadata { matcher, missing } => {
                let metadata = cx.info.dynamic_metadata();
                match matcher.as_ref().filter(|m| m.is_found(metadata)) {
                    Some(matcher) => matcher.matches(metadata),
                    None => *missing,
                }
            }
            Self::Cel(expression) => expression.holds(&cx.into()),
            Self::LogType { types, exclude } => (types >> (cx.log_type as u32) & 1 != 0) != *exclude,
        }
    }
}

/// The only extension of filters that is built.
fn expression(
    name: &str,
    config: Option<&pb::extension_filter::ConfigType>,
    cx: &CompileContext<'_>,
) -> Option<Expression> {
    let unknown = |cx: &CompileContext<'_>, url: &str| {
        cx.error(format!("Didn't find a registered implementation for '{name}' with type URL: '{url}'"));
    };
    let Some(pb::extension_filter::ConfigType::TypedConfig(any)) = config else {
        unknown(cx, "");
        return None;
    };
    let cx = cx.field("typed_config");
    if type_name(&any.type_url) != ExpressionFilter::full_name() {
        unknown(&cx, type_name(&any.type_url));
        return None;
    }
    let ExpressionFilter { expression, cel_config } = cx.unpack(any)?;
    let compiled = Expression::new(&expression, cel_config.into());
    compiled.map_err(|error| cx.field("expression").error(error.to_string())).ok()
}

/// The bit of every number below 32.
fn bits(numbers: &[i32]) -> u32 {
    numbers.iter().filter_map(|n| 1_u32.checked_shl(u32::try_from(*n).ok()?)).fold(0, |all, bit| all | bit)
}

const _: () = assert!(LogType::ALL.len() < 32 && ResponseFlag::ALL.len() < 32);

fn runtime_filter(message: &pb::RuntimeFilter, runtime: &Runtime) -> LogFilter {
    let pb::RuntimeFilter { runtime_key, percent_sampled, use_independent_randomness } = message;
    let default = percent_sampled.as_ref().map(fraction).unwrap_or_default();
    LogFilter::Runtime {
        fraction: RuntimeFraction::new(runtime_key, default),
        independent: *use_independent_randomness,
        runtime: runtime.clone(),
    }
}

#[cfg(test)]
mod tests;
