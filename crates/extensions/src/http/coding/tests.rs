//! What is compressed comes back, however it is cut.

use super::*;

/// Each with a decoder that lets its output be `ratio` times the input.
fn codings(ratio: u64) -> Vec<(Coding, Decoder)> {
    let params = BrotliEncoderParams { quality: 3, lgwin: 18, ..Default::default() };
    vec![
        (Coding::Gzip { level: 6, window_bits: 12 }, Decoder::gzip(15, ratio)),
        (Coding::Brotli(Box::new(params)), Decoder::brotli(ratio)),
        (
            Coding::Zstd { level: 3, checksum: true, dictionary: Box::default() },
            Decoder::zstd(&Arc::default(), ratio).unwrap(),
        ),
    ]
}

fn text() -> Vec<u8> {
    (0..60_000u32).flat_map(|n| (n % 977).to_le_bytes()).collect()
}

#[test]
fn every_piece_comes_out_at_once_and_the_whole_comes_back() {
    let text = text();
    for (coding, mut decoder) in codings(10_000) {
        let mut encoder = coding.encoder().unwrap();
        let mut back = Vec::new();
        let pieces = text.chunks(50_000).count();
        for (n, piece) in text.chunks(50_000).enumerate() {
            let mut data = piece.to_vec();
            encoder.encode(&mut data, if n + 1 == pieces { Part::Last } else { Part::Middle });
            for cut in data.chunks(7_001) {
                let mut cut = cut.to_vec();
                decoder.decode(&mut cut).unwrap();
                back.append(&mut cut);
            }
            assert_eq!(back.len(), text.len().min((n + 1) * 50_000), "{}: flushed", coding.name());
        }
        assert!(back == text, "{}", coding.name());
    }
}

#[test]
fn what_brotli_makes_of_pieces_is_one_stream() {
    let text = text();
    let params = BrotliEncoderParams { quality: 3, lgwin: 18, ..Default::default() };
    let mut encoder = Coding::Brotli(Box::new(params)).encoder().unwrap();
    let mut stream = Vec::new();
    for piece in text.chunks(50_000) {
        let mut data = piece.to_vec();
        encoder.encode(&mut data, Part::Middle);
        assert!(!data.is_empty(), "flushed");
        stream.append(&mut data);
    }
    let mut last = Vec::new();
    encoder.encode(&mut last, Part::Last);
    stream.append(&mut last);
    let mut back = Vec::new();
    brotli::BrotliDecompress(&mut stream.as_slice(), &mut back).unwrap();
    assert!(back == text);
}

#[test]
fn a_bomb_is_stopped_in_the_loop_and_garbage_is_told() {
    for (coding, mut decoder) in codings(100) {
        let mut bomb = vec![0; 10_000_000];
        coding.encoder().unwrap().encode(&mut bomb, Part::Last);
        assert!(bomb.len() < 20_000);
        assert_eq!(decoder.decode(&mut bomb), Err(Broken::TooMuch), "{}", coding.name());
        assert!(bomb.len() < 3_000_000, "{}", coding.name());
    }
    for (coding, mut decoder) in codings(100) {
        assert!(decoder.decode(&mut b"this is none of them, is it?".to_vec()).is_err(), "{}", coding.name());
    }
}
