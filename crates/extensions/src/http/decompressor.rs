//! `envoy.filters.http.decompressor`: bodies in a coding that it knows go on without it.

use super::coding::{Broken, Decoder, Dictionaries, zstd_dictionary};
use super::frame::{Counts, Framed, Live, RuntimeFlag, compiled};
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::{Registry, Scope};
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, Response, RouteSays,
};
use nuncio_proto::context::type_name;
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::extensions::compression::brotli::decompressor::v3::Brotli;
use nuncio_proto::pb::envoy::extensions::compression::gzip::decompressor::v3::Gzip;
use nuncio_proto::pb::envoy::extensions::compression::zstd::decompressor::v3::Zstd;
use nuncio_proto::pb::envoy::extensions::filters::http::decompressor::v3::{
    Decompressor, decompressor as pb,
};
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

nuncio_core::stats_block! {
    /// What each direction counts.
    struct DirectionStats {
        counter decompressed,
        counter not_decompressed,
        counter total_compressed_bytes,
        counter total_uncompressed_bytes,
    }
}

nuncio_core::stats_block! {
    /// What gzip's library would count; data that is none, or grows too much, is what we know of.
    struct GzipStats {
        counter zlib_buf_error,
        counter zlib_data_error,
        counter zlib_errno,
        counter zlib_mem_error,
        counter zlib_stream_error,
        counter zlib_version_error,
    }
}

nuncio_core::stats_block! {
    /// The same of brotli's.
    struct BrotliStats {
        counter brotli_error,
        counter brotli_output_overflow,
        counter brotli_redundant_input,
    }
}

nuncio_core::stats_block! {
    /// The same of zstd's.
    struct ZstdStats {
        counter zstd_checksum_wrong_error,
        counter zstd_dictionary_error,
        counter zstd_generic_error,
        counter zstd_memory_error,
    }
}

/// What the library counts.
enum LibraryStats {
    Gzip(Scope<GzipStats>),
    Brotli(Scope<BrotliStats>),
    Zstd(Scope<ZstdStats>),
}

impl LibraryStats {
    /// Counts as Envoy does, whose brotli looks at what is broken twice.
    fn count(&self, why: Broken) {
        match self {
            Self::Gzip(stats) => stats.zlib_data_error.inc(),
            Self::Brotli(stats) => {
                stats.brotli_error.inc();
                match why {
                    Broken::Redundant => stats.brotli_redundant_input.inc(),
                    Broken::TooMuch => {
                        stats.brotli_error.inc();
                        stats.brotli_output_overflow.add(2);
                    }
                    Broken::Data | Broken::Checksum | Broken::Dictionary => stats.brotli_error.inc(),
                }
            }
            Self::Zstd(stats) => match why {
                Broken::Checksum => stats.zstd_checksum_wrong_error.inc(),
                Broken::Dictionary => stats.zstd_dictionary_error.inc(),
                Broken::Data | Broken::TooMuch | Broken::Redundant => stats.zstd_generic_error.inc(),
            },
        }
    }
}

/// Compiles the filter's message.
pub struct DecompressorFactory;

impl HttpFilterFactory for DecompressorFactory {
    type Config = Decompressor;
    type PerRoute = Decompressor;

    fn compile(&self, message: Decompressor, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<DecompressorFilter>(Settings::compile(message, cx)?)
    }
}

/// A compiled `Decompressor`.
struct Settings {
    library: Library,
    /// `NAME.KIND.`, by the library's name and what it is.
    stat_prefix: Box<str>,
    /// Trailers that say how much came in and went out.
    trailers: [Box<str>; 2],
    requests: Direction,
    responses: Direction,
    advertises: bool,
}

/// A coding that is taken off.
enum Library {
    Gzip {
        window_bits: u8,
        /// Output may be so many times the input.
        ratio: u64,
    },
    Brotli,
    Zstd(Dictionaries),
}

/// Which messages of a direction are decompressed.
struct Direction {
    enabled: RuntimeFlag,
    ignores_no_transform: bool,
}

/// `max_inflate_ratio` where none is configured, and that of codings that have no such field.
const RATIO: u64 = 100;

impl Settings {
    fn compile(message: Decompressor, cx: &CompileContext<'_>) -> Option<Self> {
        let Decompressor { decompressor_library, request_direction_config, response_direction_config } =
            message;
        let pb::RequestDirectionConfig { common_config, advertise_accept_encoding } =
            request_direction_config.unwrap_or_default();
        let pb::ResponseDirectionConfig { common_config: of_responses } =
            response_direction_config.unwrap_or_default();
        let cx = cx.field("decompressor_library");
        let TypedExtensionConfig { name, typed_config } = decompressor_library?;
        let (library, kind) = Library::compile(&typed_config.unwrap_or_default(), &cx.field("typed_config"))?;
        Some(Self {
            library,
            stat_prefix: format!("{name}.{kind}.").into(),
            trailers: ["compressed", "uncompressed"]
                .map(|what| format!("x-envoy-decompressor-{name}-{what}-bytes").to_ascii_lowercase().into()),
            requests: Direction::compile(common_config.unwrap_or_default()),
            responses: Direction::compile(of_responses.unwrap_or_default()),
            advertises: advertise_accept_encoding.unwrap_or(true),
        })
    }
}

impl Direction {
    fn compile(message: pb::CommonDirectionConfig) -> Self {
        let pb::CommonDirectionConfig { enabled, ignore_no_transform_header } = message;
        Self {
            enabled: RuntimeFlag::compile(enabled, true),
            ignores_no_transform: ignore_no_transform_header,
        }
    }
}

impl Library {
    fn compile(config: &prost_types::Any, cx: &CompileContext<'_>) -> Option<(Self, &'static str)> {
        match type_name(&config.type_url).strip_prefix("envoy.extensions.compression.") {
            Some("gzip.decompressor.v3.Gzip") => {
                let Gzip { window_bits, max_inflate_ratio } = cx.unpack(config)?;
                let ratio = max_inflate_ratio.map_or(RATIO, u64::from);
                Some((Self::Gzip { window_bits: window_bits.unwrap_or(15) as u8, ratio }, "gzip"))
            }
            Some("brotli.decompressor.v3.Brotli") => {
                let Brotli {} = cx.unpack(config)?;
                Some((Self::Brotli, "brotli"))
            }
            Some("zstd.decompressor.v3.Zstd") => {
                let Zstd { dictionaries } = cx.unpack(config)?;
                let sources = dictionaries.iter().enumerate();
                let dictionaries: Option<Vec<_>> =
                    sources.map(|(i, source)| zstd_dictionary(source, &cx.item("dictionaries", i))).collect();
                Some((Self::Zstd(dictionaries?.into()), "zstd"))
            }
            _ => {
                cx.unsupported("only gzip, brotli and zstd decompress");
                None
            }
        }
    }

    fn coding(&self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Brotli => "br",
            Self::Zstd(_) => "zstd",
        }
    }

    fn decoder(&self) -> Option<Decoder> {
        match self {
            Self::Gzip { window_bits, ratio } => Some(Decoder::gzip(*window_bits, *ratio)),
            Self::Brotli => Some(Decoder::brotli(RATIO)),
            Self::Zstd(dictionaries) => Decoder::zstd(dictionaries, RATIO),
        }
    }

    /// What it counts, below `prefix`.
    fn stats(&self, stats: &Registry, prefix: &str) -> LibraryStats {
        let prefix = format!("{prefix}decompressor_library.");
        match self {
            Self::Gzip { .. } => LibraryStats::Gzip(stats.scope(&prefix)),
            Self::Brotli => LibraryStats::Brotli(stats.scope(&prefix)),
            Self::Zstd(_) => LibraryStats::Zstd(stats.scope(&prefix)),
        }
    }
}

/// What it counts in.
struct DecompressorStats {
    requests: Scope<DirectionStats>,
    responses: Scope<DirectionStats>,
    /// Made with the first message that is decompressed, as in Envoy.
    library: OnceCell<LibraryStats>,
}

impl Counts<Settings> for DecompressorStats {
    fn begin(_: &Settings, stats: &Registry, prefix: &str) -> Self {
        Self {
            requests: stats.scope(&format!("{prefix}request.")),
            responses: stats.scope(&format!("{prefix}response.")),
            library: OnceCell::new(),
        }
    }
}

fn library_stats(live: &Live<DecompressorFilter>) -> &LibraryStats {
    let make = || live.settings.library.stats(&live.world.stats, live.prefix());
    live.stats.library.get_or_init(make)
}

/// One stream's filter.
struct DecompressorFilter {
    live: Rc<Live<Self>>,
    request: Option<Decoder>,
    response: Option<Decoder>,
    /// The response's head has not come.
    undecided: bool,
}

impl Framed for DecompressorFilter {
    type Settings = Settings;
    type Stats = DecompressorStats;

    fn stat_prefix(settings: &Settings, hcm: &str) -> String {
        format!("{hcm}decompressor.{}", settings.stat_prefix)
    }

    fn make(live: Rc<Live<Self>>, _: Arc<Settings>, _: RouteSays<'_>) -> Option<Self> {
        Some(Self { live, request: None, response: None, undecided: true })
    }
}

impl DecompressorFilter {
    /// The decoder for a message with these headers, which are changed to tell of what comes out.
    fn begin(
        &self,
        direction: &Direction,
        headers: &mut HeaderMap,
        stats: &DirectionStats,
    ) -> Option<Decoder> {
        let library = &self.live.settings.library;
        let coded = headers.get_str(Known::ContentEncoding).unwrap_or_default();
        let (outer, rest) = coded.split_once(',').unwrap_or((coded, ""));
        let outer_is_own = outer.trim().eq_ignore_ascii_case(library.coding());
        let kept = || {
            let control = headers.get_str(Known::CacheControl).unwrap_or_default();
            control.split(',').any(|token| token.trim().eq_ignore_ascii_case("no-transform"))
        };
        let wanted = direction.enabled.is_on(&self.live.world.runtime)
            && outer_is_own
            && (direction.ignores_no_transform || !kept());
        let decoder = if wanted { library.decoder() } else { None };
        if decoder.is_none() {
            stats.not_decompressed.inc();
            return None;
        }
        library_stats(&self.live);
        stats.decompressed.inc();
        let rest = rest.trim().to_owned();
        if rest.is_empty() {
            headers.remove(Known::ContentEncoding);
        } else {
            headers.set(Known::ContentEncoding, rest.as_bytes());
        }
        headers.remove(Known::ContentLength);
        decoder
    }

    /// What cannot be decoded is dropped, as Envoy does; what came before it goes on.
    fn decode(decoder: &mut Option<Decoder>, live: &Live<Self>, stats: &DirectionStats, data: &mut Vec<u8>) {
        let Some(stream) = decoder else { return };
        stats.total_compressed_bytes.add(data.len() as u64);
        if let Err(why) = stream.decode(data) {
            library_stats(live).count(why);
        }
        stats.total_uncompressed_bytes.add(data.len() as u64);
    }

    /// Says in a message's trailers how much came in and went out.
    fn tell(&self, decoder: Option<&Decoder>, trailers: &mut HeaderMap) {
        let Some((read, made)) = decoder.map(Decoder::totals) else { return };
        for (name, count) in self.live.settings.trailers.iter().zip([read, made]) {
            trailers.append(&**name, count.to_string().as_bytes());
        }
    }
}

/// Names the coding last in `accept-encoding`, and nowhere else, whatever weight the client gave it.
fn advertise(headers: &mut HeaderMap, coding: &str) {
    let others = |value: &str| {
        let list = value.split(',').map(str::trim);
        let kept: Vec<&str> =
            list.filter(|one| one.split(';').next().map(str::trim) != Some(coding)).collect();
        kept.join(",")
    };
    match headers.get_str(Known::AcceptEncoding) {
        Some(value) if value.contains(coding) => {
            let others = others(value);
            headers.set(Known::AcceptEncoding, others.as_bytes());
        }
        _ => {}
    }
    headers.append_joined(Known::AcceptEncoding, b",", coding.as_bytes());
}

impl HttpFilter for DecompressorFilter {
    fn sees_bodies(&self) -> bool {
        self.undecided || self.request.is_some() || self.response.is_some()
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, end_stream: bool) -> Flow {
        let config = &self.live.settings;
        let headers = &mut request.head.headers;
        if config.advertises && config.responses.enabled.is_on(&self.live.world.runtime) {
            advertise(headers, config.library.coding());
        }
        if !end_stream {
            self.request = self.begin(&config.requests, headers, &self.live.stats.requests);
        }
        Flow::Continue
    }

    fn decode_data(&mut self, _: &mut Request<'_>, piece: &mut Piece) -> Flow {
        Self::decode(&mut self.request, &self.live, &self.live.stats.requests, &mut piece.data);
        Flow::Continue
    }

    fn decode_trailers(&mut self, request: &mut Request<'_>, _: &mut Piece) -> Flow {
        self.tell(self.request.as_ref(), request.trailers);
        Flow::Continue
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, end_stream: bool) -> Flow {
        self.undecided = false;
        if !end_stream {
            let config = &self.live.settings;
            self.response =
                self.begin(&config.responses, &mut response.head.headers, &self.live.stats.responses);
        }
        Flow::Continue
    }

    fn encode_data(&mut self, _: &mut Response<'_>, piece: &mut Piece) -> Flow {
        Self::decode(&mut self.response, &self.live, &self.live.stats.responses, &mut piece.data);
        Flow::Continue
    }

    fn encode_trailers(&mut self, response: &mut Response<'_>, _: &mut Piece) -> Flow {
        self.tell(self.response.as_ref(), response.trailers);
        Flow::Continue
    }
}
