//! Content codings (RFC 9110 section 8.4.1) as streams: pieces in, pieces out.

use brotli::enc::BrotliEncoderParams;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, HeapAlloc, HuffmanCode};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use nuncio_core::config::{self, CompileContext};
use nuncio_proto::pb::envoy::config::core::v3::DataSource;
use std::io::Write;
use std::num::NonZeroU32;
use std::sync::Arc;
use zstd::stream::raw::Operation;

/// What a piece of a body is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// More follows; what has come in is to come out.
    Middle,
    /// The last.
    Last,
}

/// Why a stream cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is not what its coding says.
    Data,
    /// What comes out is not what was put in.
    Checksum,
    /// It grows beyond measure.
    TooMuch,
    /// Something follows its end.
    Redundant,
    /// It was made with a dictionary that is not there.
    Dictionary,
}

/// What both sides of a zstd stream may know beforehand, by the number that each has; shared by streams.
pub(super) type Dictionaries = Arc<[(NonZeroU32, Box<[u8]>)]>;

/// Reads a zstd dictionary, and its number.
pub(super) fn zstd_dictionary(
    source: &DataSource,
    cx: &CompileContext<'_>,
) -> Option<(NonZeroU32, Box<[u8]>)> {
    let bytes = config::data_source(source, cx)?;
    let number = zstd::zstd_safe::get_dict_id_from_dict(&bytes);
    if number.is_none() {
        cx.error("Illegal Zstd dictionary");
    }
    Some((number?, bytes.into()))
}

/// A coding's parameters.
#[derive(Clone, Debug)]
pub(super) enum Coding {
    /// RFC 1952.
    Gzip {
        /// 1 to 9.
        level: u32,
        /// 9 to 15.
        window_bits: u8,
    },
    /// RFC 7932.
    Brotli(Box<BrotliEncoderParams>),
    /// RFC 8878.
    Zstd {
        /// The library's own scale.
        level: i32,
        /// A checksum of the content ends each frame.
        checksum: bool,
        /// What both sides know beforehand; empty: nothing.
        dictionary: Box<[u8]>,
    },
}

/// A stream that is being compressed.
pub(super) enum Encoder {
    Gzip(Box<Compress>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    /// It is over.
    Done,
}

/// Bytes of the steps in which output is made.
const STEP: usize = 4096;

impl Coding {
    /// Its name in `content-encoding`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Brotli(_) => "br",
            Self::Zstd { .. } => "zstd",
        }
    }

    /// A new stream; `None` where the library has no memory for one.
    pub(super) fn encoder(&self) -> Option<Encoder> {
        Some(match self {
            Self::Gzip { level, window_bits } => {
                Encoder::Gzip(Box::new(Compress::new_gzip(Compression::new(*level), *window_bits)))
            }
            Self::Brotli(params) => {
                Encoder::Brotli(Box::new(brotli::CompressorWriter::with_params(Vec::new(), STEP, params)))
            }
            Self::Zstd { level, checksum, dictionary } => {
                let mut encoder =
                    zstd::stream::write::Encoder::with_dictionary(Vec::new(), *level, dictionary).ok()?;
                encoder.include_checksum(*checksum).ok()?;
                Encoder::Zstd(Box::new(encoder))
            }
        })
    }
}

impl Encoder {
    /// Replaces `data` by what it is when compressed. The last part ends the stream.
    pub(super) fn encode(&mut self, data: &mut Vec<u8>, part: Part) {
        let done = part == Part::Last;
        match self {
            // Writing into memory does not fail.
            Self::Gzip(compress) => gzip(compress, data, part),
            Self::Brotli(writer) => {
                let _ = writer.write_all(data);
                data.clear();
                if !done {
                    let _ = writer.flush();
                    data.append(writer.get_mut());
                }
            }
            Self::Zstd(encoder) => {
                let _ = encoder.write_all(data);
                data.clear();
                let _ = if done { encoder.do_finish() } else { encoder.flush() };
                data.append(encoder.get_mut());
            }
            Self::Done => data.clear(),
        }
        if done && let Self::Brotli(writer) = std::mem::replace(self, Self::Done) {
            data.append(&mut writer.into_inner());
        }
    }
}

fn gzip(compress: &mut Compress, data: &mut Vec<u8>, part: Part) {
    let input = std::mem::take(data);
    let flush = if part == Part::Last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut at = 0;
    loop {
        data.reserve(STEP);
        let before = compress.total_in();
        let rest = input.get(at..).unwrap_or_default();
        let Ok(status) = compress.compress_vec(rest, data, flush) else { return };
        at += (compress.total_in() - before) as usize;
        // With room left, everything that can come out has come out.
        if status == Status::StreamEnd || at >= input.len() && data.len() < data.capacity() {
            return;
        }
    }
}

/// A stream that is being decompressed.
pub(super) struct Decoder {
    engine: Engine,
    /// Output may be so many times the input, whatever has come so far.
    ratio: u64,
    read: u64,
    made: u64,
}

enum Engine {
    Gzip(Box<Decompress>),
    Brotli(Box<BrotliState<HeapAlloc<u8>, HeapAlloc<u32>, HeapAlloc<HuffmanCode>>>),
    Zstd(Box<zstd::stream::raw::Decoder<'static>>),
    /// The same, before the head of its first frame has said which of these it was made with.
    ZstdWith(Dictionaries),
    /// It has ended; what follows is passed over.
    Done,
}

/// What a step of decoding came to.
struct Decoded {
    read: usize,
    made: usize,
    /// The stream has ended.
    over: bool,
}

impl Decoder {
    fn new(engine: Engine, ratio: u64) -> Self {
        Self { engine, ratio, read: 0, made: 0 }
    }

    /// For gzip, with windows up to `window_bits`.
    pub(super) fn gzip(window_bits: u8, ratio: u64) -> Self {
        Self::new(Engine::Gzip(Box::new(Decompress::new_gzip(window_bits))), ratio)
    }

    /// For brotli.
    pub(super) fn brotli(ratio: u64) -> Self {
        let state =
            BrotliState::new(HeapAlloc::new(0), HeapAlloc::new(0), HeapAlloc::new(Default::default()));
        Self::new(Engine::Brotli(Box::new(state)), ratio)
    }

    /// For zstd; `None` where the library has no memory for it.
    pub(super) fn zstd(dictionaries: &Dictionaries, ratio: u64) -> Option<Self> {
        Some(Self::new(
            match dictionaries.is_empty() {
                true => Engine::Zstd(Box::new(zstd::stream::raw::Decoder::new().ok()?)),
                false => Engine::ZstdWith(Arc::clone(dictionaries)),
            },
            ratio,
        ))
    }

    /// Bytes that came in and went out.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.read, self.made)
    }

    /// Replaces `data` by what it stands for. After an error the rest of the stream is passed over.
    ///
    /// # Errors
    /// It is not in this coding, or stands for too much. What came out before is in `data`.
    pub(super) fn decode(&mut self, data: &mut Vec<u8>) -> Result<(), Broken> {
        let input = std::mem::take(data);
        let done = self.decode_into(&input, data);
        if done != Ok(false) {
            self.engine = Engine::Done;
        }
        done.map(|_| ())
    }

    /// Whether the stream has ended.
    fn decode_into(&mut self, mut rest: &[u8], out: &mut Vec<u8>) -> Result<bool, Broken> {
        self.engine.choose(rest)?;
        let most = match self.engine {
            Engine::ZstdWith(_) => return Ok(false),
            Engine::Gzip(_) | Engine::Brotli(_) => 4 * STEP,
            Engine::Zstd(_) => 32 * STEP,
            Engine::Done => {
                self.read += rest.len() as u64;
                return Ok(true);
            }
        };
        loop {
            let begin = out.len();
            out.resize(begin + most, 0);
            let step = self.engine.step(rest, out.get_mut(begin..).unwrap_or_default());
            out.truncate(begin + step.as_ref().map_or(0, |step| step.made));
            let Decoded { read, made, over } = step?;
            rest = rest.get(read..).unwrap_or_default();
            self.read += read as u64;
            self.made += made as u64;
            if self.made / self.read.max(1) > self.ratio {
                return Err(Broken::TooMuch);
            }
            if over {
                let brotli = matches!(self.engine, Engine::Brotli(_));
                self.read += rest.len() as u64;
                return if brotli && !rest.is_empty() { Err(Broken::Redundant) } else { Ok(true) };
            }
            // With room left there is nothing more in what has come.
            if made < most && rest.is_empty() {
                return Ok(false);
            }
            if made == 0 && read == 0 {
                return Err(Broken::Data);
            }
        }
    }
}

impl Engine {
    /// Finds the dictionary that the first frame wants, as soon as something has come of it.
    fn choose(&mut self, input: &[u8]) -> Result<(), Broken> {
        let Self::ZstdWith(dictionaries) = self else { return Ok(()) };
        if input.is_empty() {
            return Ok(());
        }
        let wanted = zstd::zstd_safe::get_dict_id_from_frame(input);
        let found = dictionaries.iter().find(|(number, _)| Some(*number) == wanted);
        let dictionary = found.map_or(&[][..], |(_, dictionary)| dictionary);
        let decoder = zstd::stream::raw::Decoder::with_dictionary(dictionary);
        *self = Self::Zstd(Box::new(decoder.map_err(|_| Broken::Dictionary)?));
        Ok(())
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Decoded, Broken> {
        match self {
            Self::Gzip(inflate) => {
                let (read, made) = (inflate.total_in(), inflate.total_out());
                let status =
                    inflate.decompress(input, out, FlushDecompress::Sync).map_err(|_| Broken::Data)?;
                Ok(Decoded {
                    read: (inflate.total_in() - read) as usize,
                    made: (inflate.total_out() - made) as usize,
                    over: status == Status::StreamEnd,
                })
            }
            Self::Brotli(state) => {
                let (mut left, mut read, mut room, mut made, mut total) = (input.len(), 0, out.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut left, &mut read, input, &mut room, &mut made, out, &mut total, state,
                );
                match result {
                    BrotliResult::ResultFailure => Err(Broken::Data),
                    result => {
                        let over = matches!(result, BrotliResult::ResultSuccess);
                        Ok(Decoded { read, made, over })
                    }
                }
            }
            Self::Zstd(decoder) => match decoder.run_on_buffers(input, out) {
                Ok(status) => {
                    // Another frame may follow.
                    Ok(Decoded { read: status.bytes_read, made: status.bytes_written, over: false })
                }
                Err(error) if error.to_string().contains("checksum") => Err(Broken::Checksum),
                Err(error) if error.to_string().contains("Dictionary") => Err(Broken::Dictionary),
                Err(_) => Err(Broken::Data),
            },
            Self::ZstdWith(_) | Self::Done => Ok(Decoded { read: input.len(), made: 0, over: true }),
        }
    }
}

#[cfg(test)]
mod tests;
