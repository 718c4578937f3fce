//! The body of the PROXY protocol's target: any bytes are a head, the beginning of one, none or a bad one; what is read
//! is what would be written, and longer input never changes what a prefix was found to be.
#![allow(dead_code, reason = "each target uses its own part")]

use nuncio_codec::proxy::{Head, Wanted, parse, write};

/// `data` begins with which versions are wanted.
pub fn head(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let wanted = Wanted { v1: first & 1 == 0, v2: first & 2 == 0 };
    let whole = parse(bytes, wanted);
    for n in 0..bytes.len() {
        match parse(&bytes[..n], wanted) {
            Head::Incomplete => {}
            decided => return assert_eq!(decided, whole, "{n} of {bytes:?}"),
        }
    }
    if let Head::Found(version, said, length) = whole {
        assert!(length <= bytes.len());
        let mut again = Vec::new();
        write(version, &said, &mut again);
        let both = Wanted { v1: true, v2: true };
        assert_eq!(parse(&again, both), Head::Found(version, said, again.len()));
    }
}
