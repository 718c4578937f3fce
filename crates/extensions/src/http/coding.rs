//! Content codings (RFC 9110 section 8.4.1) as streams: pieces in, pieces out.

use brotli::enc::BrotliEncoderParams;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::io::Write;

/// What a piece of a body is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// More follows; what has come in is to come out.
    Middle,
    /// The last.
    Last,
}

/// Data that is not what its coding says, or grows beyond measure.
#[derive(Debug)]
pub(super) struct Broken;

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
pub(super) enum Decoder {
    Gzip(Box<Decompress>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
    /// It has ended; what follows is passed over.
    Done,
}

impl Decoder {
    /// For gzip, with windows up to `window_bits`.
    pub(super) fn gzip(window_bits: u8) -> Self {
        Self::Gzip(Box::new(Decompress::new_gzip(window_bits)))
    }

    /// For zstd; `None` where the library has no memory for it.
    pub(super) fn zstd(dictionary: &[u8]) -> Option<Self> {
        let decoder = zstd::stream::write::Decoder::with_dictionary(Vec::new(), dictionary).ok()?;
        Some(Self::Zstd(Box::new(decoder)))
    }

    /// Replaces `data` by what it stands for, of which there may be `most` bytes.
    ///
    /// # Errors
    /// It is not in this coding, or stands for more. What came out before is in `data`.
    pub(super) fn decode(&mut self, data: &mut Vec<u8>, most: usize) -> Result<(), Broken> {
        let input = std::mem::take(data);
        match self {
            Self::Gzip(inflate) => {
                if gunzip(inflate, &input, data, most)? {
                    *self = Self::Done;
                }
            }
            Self::Zstd(decoder) => {
                for step in input.chunks(STEP) {
                    let written = decoder.write_all(step).and_then(|()| decoder.flush());
                    data.append(decoder.get_mut());
                    if written.is_err() || data.len() > most {
                        return Err(Broken);
                    }
                }
            }
            Self::Done => {}
        }
        Ok(())
    }
}

/// Whether the stream has ended.
fn gunzip(inflate: &mut Decompress, input: &[u8], out: &mut Vec<u8>, most: usize) -> Result<bool, Broken> {
    let mut at = 0;
    loop {
        out.reserve(STEP);
        let (before, room) = (inflate.total_in(), out.capacity() - out.len());
        let made = out.len();
        let rest = input.get(at..).unwrap_or_default();
        let status = inflate.decompress_vec(rest, out, FlushDecompress::Sync).map_err(|_| Broken)?;
        at += (inflate.total_in() - before) as usize;
        if out.len() > most {
            return Err(Broken);
        }
        if status == Status::StreamEnd {
            return Ok(true);
        }
        // With room left there is nothing more in what has come.
        if out.len() - made < room {
            return if at >= input.len() { Ok(false) } else { Err(Broken) };
        }
    }
}

#[cfg(test)]
mod tests;
