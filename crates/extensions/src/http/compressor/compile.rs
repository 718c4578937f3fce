//! The compressor's messages, and those of its libraries.

use super::super::coding::{Coding, zstd_dictionary};
use super::super::frame::{RuntimeFlag, of_route as hand_on};
use ::brotli::enc::BrotliEncoderParams;
use ::brotli::enc::backward_references::BrotliEncoderMode;
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::StringMatcher;
use nuncio_proto::context::type_name;
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::extensions::compression::brotli::compressor::v3::{Brotli, brotli::EncoderMode};
use nuncio_proto::pb::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use nuncio_proto::pb::envoy::extensions::compression::zstd::compressor::v3::Zstd;
use nuncio_proto::pb::envoy::extensions::filters::http::compressor::v3 as pb;
use std::any::Any;
use std::sync::Arc;

/// `content_type` where none is configured.
const TYPES: [&str; 18] = [
    "text/html",
    "text/plain",
    "text/css",
    "application/javascript",
    "application/x-javascript",
    "text/javascript",
    "text/x-javascript",
    "text/ecmascript",
    "text/js",
    "text/jscript",
    "text/x-js",
    "application/ecmascript",
    "application/x-json",
    "application/xml",
    "application/json",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
];

/// `min_content_length` where none is configured.
const MIN_LENGTH: u32 = 30;

/// A compiled `Compressor`.
pub(super) struct Settings {
    pub(super) library: Library,
    pub(super) choose_first: bool,
    /// `None`: requests are left alone.
    pub(super) requests: Option<Direction>,
    pub(super) responses: Responses,
}

/// A compression library and how it is named in stats.
pub(super) struct Library {
    pub(super) coding: Coding,
    /// `NAME.KIND.`, by its own name and what it is.
    pub(super) stat_prefix: Box<str>,
}

/// Which messages of a direction are compressed.
pub(super) struct Direction {
    pub(super) enabled: RuntimeFlag,
    /// Bytes; a message that does not tell its length passes.
    pub(super) min_length: u64,
    pub(super) types: Arc<[Box<str>]>,
    /// Further types.
    pub(super) matchers: Box<[StringMatcher]>,
}

/// The same for responses, and more.
pub(super) struct Responses {
    pub(super) direction: Direction,
    pub(super) not_with_etag: bool,
    pub(super) weakens_etag: bool,
    pub(super) removes_accept_encoding: bool,
    pub(super) not_with_status: Box<[u16]>,
    /// `x-envoy-compression-status` says what was done.
    pub(super) tells: bool,
    /// Stats have names of their own for the direction.
    pub(super) own_stats: bool,
}

/// What a route changes.
#[derive(Default)]
pub(super) struct RouteSettings {
    /// Responses are left alone, as in Envoy, where `disabled` says nothing of requests.
    pub(super) spares_responses: bool,
    pub(super) removes_accept_encoding: Option<bool>,
    pub(super) library: Option<Library>,
}

/// A route's message, compiled.
pub(super) fn of_route(
    message: pb::CompressorPerRoute,
    cx: &CompileContext<'_>,
) -> Option<Arc<dyn Any + Send + Sync>> {
    let pb::CompressorPerRoute { r#override } = message;
    let overrides = match r#override? {
        pb::compressor_per_route::Override::Disabled(_) => {
            return hand_on(RouteSettings { spares_responses: true, ..RouteSettings::default() });
        }
        pb::compressor_per_route::Override::Overrides(overrides) => overrides,
    };
    let pb::CompressorOverrides { response_direction_config, compressor_library } = overrides;
    let library = match compressor_library {
        None => None,
        Some(library) => Some(Library::compile(library, &cx.field("overrides").field("compressor_library"))?),
    };
    let removes_accept_encoding = response_direction_config.and_then(|responses| {
        let pb::ResponseDirectionOverrides { remove_accept_encoding_header } = responses;
        remove_accept_encoding_header
    });
    hand_on(RouteSettings { spares_responses: false, removes_accept_encoding, library })
}

impl Settings {
    #[allow(deprecated, reason = "Envoy still takes the older places of response settings")]
    pub(super) fn compile(message: pb::Compressor, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::Compressor {
            content_length,
            content_type,
            disable_on_etag_header,
            remove_accept_encoding_header,
            runtime_enabled,
            compressor_library,
            request_direction_config,
            response_direction_config,
            choose_first,
        } = message;
        let library = Library::compile(compressor_library?, &cx.field("compressor_library"))?;
        let requests = match request_direction_config {
            None => None,
            Some(pb::compressor::RequestDirectionConfig { common_config }) => {
                let cx = cx.field("request_direction_config");
                Some(Direction::compile(common_config.unwrap_or_default(), &cx.field("common_config"))?)
            }
        };
        let responses = match response_direction_config {
            Some(message) => Responses::compile(message, &cx.field("response_direction_config"))?,
            None => {
                let common = pb::compressor::CommonDirectionConfig {
                    enabled: runtime_enabled,
                    min_content_length: content_length,
                    content_type,
                    content_type_matcher: Vec::new(),
                };
                Responses {
                    direction: Direction::compile(common, cx)?,
                    not_with_etag: disable_on_etag_header,
                    weakens_etag: false,
                    removes_accept_encoding: remove_accept_encoding_header,
                    not_with_status: Box::default(),
                    tells: false,
                    own_stats: false,
                }
            }
        };
        Some(Self { library, choose_first, requests, responses })
    }
}

impl Direction {
    fn compile(message: pb::compressor::CommonDirectionConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::compressor::CommonDirectionConfig {
            enabled,
            min_content_length,
            content_type,
            content_type_matcher,
        } = message;
        let types = match content_type.is_empty() {
            true => TYPES.iter().map(|t| (*t).into()).collect(),
            false => content_type.into_iter().map(Into::into).collect(),
        };
        let matchers = content_type_matcher
            .iter()
            .enumerate()
            .map(|(i, m)| StringMatcher::compile(m, &cx.item("content_type_matcher", i)))
            .collect::<Option<_>>()?;
        Some(Self {
            enabled: RuntimeFlag::compile(enabled, true),
            min_length: min_content_length.unwrap_or(MIN_LENGTH).into(),
            types,
            matchers,
        })
    }
}

impl Responses {
    fn compile(message: pb::compressor::ResponseDirectionConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::compressor::ResponseDirectionConfig {
            common_config,
            disable_on_etag_header,
            remove_accept_encoding_header,
            uncompressible_response_codes,
            status_header_enabled,
            weaken_etag_on_compress,
        } = message;
        Some(Self {
            direction: Direction::compile(common_config.unwrap_or_default(), &cx.field("common_config"))?,
            not_with_etag: disable_on_etag_header,
            weakens_etag: weaken_etag_on_compress,
            removes_accept_encoding: remove_accept_encoding_header,
            not_with_status: uncompressible_response_codes.into_iter().map(|code| code as u16).collect(),
            tells: status_header_enabled,
            own_stats: true,
        })
    }
}

impl Library {
    fn compile(extension: TypedExtensionConfig, cx: &CompileContext<'_>) -> Option<Self> {
        const PACKAGE: &str = "envoy.extensions.compression.";
        let TypedExtensionConfig { name, typed_config } = extension;
        let config = typed_config.unwrap_or_default();
        let cx = cx.field("typed_config");
        let (coding, kind) = match type_name(&config.type_url).strip_prefix(PACKAGE) {
            Some("gzip.compressor.v3.Gzip") => (gzip(&cx.unpack(&config)?), "gzip"),
            Some("brotli.compressor.v3.Brotli") => (brotli(&cx.unpack(&config)?), "brotli"),
            Some("zstd.compressor.v3.Zstd") => (zstd(&cx.unpack(&config)?, &cx)?, "zstd"),
            _ => {
                cx.unsupported("only gzip, brotli and zstd compress");
                return None;
            }
        };
        Some(Self { coding, stat_prefix: format!("{name}.{kind}.").into() })
    }
}

fn gzip(message: &Gzip) -> Coding {
    let Gzip { compression_level, window_bits } = message;
    let level = match *compression_level {
        0 => 6,
        level => level.unsigned_abs(),
    };
    Coding::Gzip { level, window_bits: window_bits.unwrap_or(12) as u8 }
}

fn brotli(message: &Brotli) -> Coding {
    let Brotli { quality, encoder_mode, window_bits, input_block_bits } = message;
    Coding::Brotli(Box::new(BrotliEncoderParams {
        quality: quality.unwrap_or(3) as i32,
        lgwin: window_bits.unwrap_or(18) as i32,
        lgblock: input_block_bits.unwrap_or(24) as i32,
        mode: match EncoderMode::try_from(*encoder_mode) {
            Ok(EncoderMode::Text) => BrotliEncoderMode::BROTLI_MODE_TEXT,
            Ok(EncoderMode::Font) => BrotliEncoderMode::BROTLI_MODE_FONT,
            _ => BrotliEncoderMode::BROTLI_MODE_GENERIC,
        },
        ..BrotliEncoderParams::default()
    }))
}

fn zstd(message: &Zstd, cx: &CompileContext<'_>) -> Option<Coding> {
    let Zstd { compression_level, enable_checksum, dictionary } = message;
    let dictionary = match dictionary {
        None => Vec::new(),
        Some(source) => zstd_dictionary(source, &cx.field("dictionary"))?.1.into(),
    };
    Some(Coding::Zstd {
        level: compression_level.unwrap_or(3) as i32,
        checksum: *enable_checksum,
        dictionary: dictionary.into(),
    })
}
