//! `envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat`, which listeners and clusters share.

use crate::config::{CompileContext, type_name};
use nuncio_codec::h1::HeaderCase;
use nuncio_codec::head::PreserveCase;
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::config::core::v3::http1_protocol_options::HeaderKeyFormat;
use nuncio_proto::pb::envoy::config::core::v3::http1_protocol_options::header_key_format::HeaderFormat;
use nuncio_proto::pb::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig;
use nuncio_proto::pb::envoy::extensions::http::header_formatters::preserve_case::v3::preserve_case_formatter_config::FormatterTypeOnEnvoyHeaders;
use prost::Name;

/// How names are written, and whether those of incoming heads are kept as they were sent. `None`: refused, and the
/// reason is recorded.
pub fn compile(
    message: Option<HeaderKeyFormat>,
    cx: &CompileContext<'_>,
) -> Option<(HeaderCase, Option<PreserveCase>)> {
    let Some(HeaderKeyFormat { header_format }) = message else { return Some((HeaderCase::Lower, None)) };
    let extension = match header_format {
        None => {
            cx.error("field: \"header_format\", reason: is required");
            return None;
        }
        Some(HeaderFormat::ProperCaseWords(_)) => return Some((HeaderCase::ProperCaseWords, None)),
        Some(HeaderFormat::StatefulFormatter(extension)) => extension,
    };
    let TypedExtensionConfig { name, typed_config } = extension;
    let any = typed_config.unwrap_or_default();
    let cx = cx.field("stateful_formatter");
    if type_name(&any.type_url) != PreserveCaseFormatterConfig::full_name() {
        cx.error(format!(
            "Didn't find a registered implementation for '{name}' with type URL: '{}'",
            type_name(&any.type_url)
        ));
        return None;
    }
    let PreserveCaseFormatterConfig { forward_reason_phrase, formatter_type_on_envoy_headers } =
        cx.field("typed_config").unpack(&any)?;
    let proper_case = formatter_type_on_envoy_headers == FormatterTypeOnEnvoyHeaders::ProperCase as i32;
    let preserve = PreserveCase { reason_phrase: forward_reason_phrase, proper_case };
    Some((HeaderCase::Lower, Some(preserve)))
}
