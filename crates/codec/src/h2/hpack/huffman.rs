//! The Huffman code of HPACK (RFC 7541 appendix B).
//!
//! The code is canonical: codes of one length are consecutive, in the order of their symbols. So the lengths are
//! the whole table, and everything else is computed from them by the compiler.

/// How long the code of each byte is; the 257th symbol, which ends nothing and must not occur, has 30 bits.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,];

/// The longest code.
const LONGEST: usize = 30;
/// Codes up to this length are decoded with one look.
const FAST_BITS: usize = 10;

/// For each beginning of `FAST_BITS` bits: the symbol and the length of its code, 0 for longer codes.
static FAST: [(u8, u8); 1 << FAST_BITS] = FULL.fast;
/// Symbols in the order of their codes.
static SYMBOLS: [u8; 256] = FULL.symbols;
/// For each length: the first code, how many there are, and where their symbols stand.
static RANGES: [(u32, u16, u16); LONGEST + 1] = FULL.ranges;
/// For each symbol: its code.
static CODES: [u32; 256] = FULL.codes;

struct Tables {
    fast: [(u8, u8); 1 << FAST_BITS],
    symbols: [u8; 256],
    ranges: [(u32, u16, u16); LONGEST + 1],
    codes: [u32; 256],
}

const FULL: Tables = tables();

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of range is a build error"
)]
const fn tables() -> Tables {
    let mut t = Tables {
        fast: [(0, 0); 1 << FAST_BITS],
        symbols: [0; 256],
        ranges: [(0, 0, 0); LONGEST + 1],
        codes: [0; 256],
    };
    let (mut code, mut at, mut len) = (0_u32, 0, 1);
    while len <= LONGEST {
        code <<= 1;
        t.ranges[len] = (code, 0, at as u16);
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == len {
                t.codes[symbol] = code;
                t.symbols[at] = symbol as u8;
                t.ranges[len].1 += 1;
                if len <= FAST_BITS {
                    let spare = FAST_BITS - len;
                    let mut i = 0;
                    while i < 1 << spare {
                        t.fast[(code as usize) << spare | i] = (symbol as u8, len as u8);
                        i += 1;
                    }
                }
                at += 1;
                code += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    t
}

/// The bytes are no Huffman code: a symbol that must not occur, or padding that is too long or not all ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHuffman;

/// Appends what `coded` stands for to `out`.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), NotHuffman> {
    // The next bits, from the highest down.
    let (mut window, mut bits) = (0_u64, 0_u32);
    let mut rest = coded;
    out.reserve(coded.len() * 8 / 5 + 1);
    loop {
        if bits <= 32 {
            if let Some((four, tail)) = rest.split_first_chunk::<4>() {
                window |= u64::from(u32::from_be_bytes(*four)) << (32 - bits);
                bits += 32;
                rest = tail;
            } else {
                while bits <= 56
                    && let [byte, tail @ ..] = rest
                {
                    window |= u64::from(*byte) << (56 - bits);
                    bits += 8;
                    rest = tail;
                }
            }
        }
        let (symbol, len) = match FAST.get((window >> (64 - FAST_BITS)) as usize) {
            Some(&(symbol, len)) if len > 0 => (symbol, u32::from(len)),
            _ => match long(window) {
                Some(found) => found,
                None => break,
            },
        };
        if len > bits {
            break;
        }
        out.push(symbol);
        window <<= len;
        bits -= len;
    }
    // What is left is a beginning of the code of ones, shorter than a byte.
    if bits < 8 && rest.is_empty() && window >> 56 == (0xff00_u64 >> bits) & 0xff {
        Ok(())
    } else {
        Err(NotHuffman)
    }
}

/// The symbol of a code that is too long for the table.
#[cold]
fn long(window: u64) -> Option<(u8, u32)> {
    for (len, &(first, count, at)) in RANGES.iter().enumerate().skip(FAST_BITS + 1) {
        let code = (window >> (64 - len)) as u32;
        if code >= first && code - first < u32::from(count) {
            let symbol = SYMBOLS.get(usize::from(at) + (code - first) as usize)?;
            return Some((*symbol, len as u32));
        }
    }
    None
}

/// How many bytes the code of `text` takes.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize =
        text.iter().map(|b| usize::from(LENGTHS.get(usize::from(*b)).copied().unwrap_or(0))).sum();
    bits.div_ceil(8)
}

/// Appends the code of `text` to `out`.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut window, mut bits) = (0_u64, 0_u32);
    for &byte in text {
        let len = u32::from(LENGTHS.get(usize::from(byte)).copied().unwrap_or(0));
        window = window << len | u64::from(CODES.get(usize::from(byte)).copied().unwrap_or(0));
        bits += len;
        while bits >= 8 {
            bits -= 8;
            out.push((window >> bits) as u8);
        }
    }
    if bits > 0 {
        out.push((window << (8 - bits)) as u8 | 0xff >> bits);
    }
}
