//! The body of the ClientHello target: any bytes are a hello, the beginning of one or none; longer input never changes
//! what a prefix was found to be, and neither does the way a hello is cut into records.
#![allow(dead_code, reason = "each target uses its own part")]

use nuncio_net::tls::hello::{Hello, inspect};

/// `data` is what a client sent, behind a byte that says how long the pieces of its hello's records are.
pub fn hello(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let whole = inspect(bytes);
    for n in 0..bytes.len() {
        match inspect(&bytes[..n]) {
            Hello::Incomplete => {}
            decided => {
                assert_eq!(decided, whole, "{n} of {bytes:?}");
                break;
            }
        }
    }
    // As one record of a client that took TLS 1.2 at most, the same bytes are the same hello in any records.
    let message: &[u8] = &bytes[..bytes.len().min(4096)];
    if let (Some(1), Ok(length)) = (message.first(), u16::try_from(message.len())) {
        let one = [&[22, 3, 1], &length.to_be_bytes()[..], message].concat();
        let mut several = Vec::new();
        for piece in message.chunks(usize::from(first).max(1)) {
            several.extend_from_slice(&[22, 3, 1, 0, piece.len() as u8]);
            several.extend_from_slice(piece);
        }
        assert_eq!(inspect(&one), inspect(&several), "{message:?}");
    }
}
