//! The body of the target of TLS records: any bytes are a record, the beginning of one or none, whatever the key; what
//! one side seals the other opens, and nothing else.
#![allow(dead_code, reason = "each target uses its own part")]

use nuncio_net::tls::record::{ContentType, RecordKey};
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};

/// The key of one side, of the cipher and version that `choice` names.
fn key(choice: u8) -> RecordKey {
    let (key, iv) = (AeadKey::from([7; 32]), Iv::copy(&[9; 12]));
    let secrets = match choice % 3 {
        0 => ConnectionTrafficSecrets::Aes128Gcm { key, iv },
        1 => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        _ => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
    };
    RecordKey::new((u64::from(choice), secrets), choice & 4 != 0).expect("a good key")
}

/// `data` is a choice of cipher, a place to spoil, and bytes: taken as what a peer sent, and as what is to be sealed.
pub fn records(data: &[u8]) {
    let Some((&[choice, place, bit], bytes)) = data.split_first_chunk::<3>() else { return };
    for n in 0..=bytes.len().min(600) {
        let mut input = bytes[..n].to_vec();
        if let Ok(Some(opened)) = key(choice).open(&mut input) {
            assert!(opened.length <= n && opened.text.end <= opened.length, "beyond the record");
        }
    }
    let (mut ours, mut theirs) = (key(choice), key(choice));
    let mut wire = Vec::new();
    for piece in bytes.chunks(1 + usize::from(place)) {
        ours.seal(ContentType::Data, &mut wire, |out| out.extend_from_slice(piece)).expect("it is sealed");
    }
    let (mut at, mut read) = (0, Vec::new());
    while let Some(opened) = theirs.open(&mut wire[at..]).expect("what was sealed is opened") {
        assert_eq!(opened.kind, ContentType::Data);
        read.extend_from_slice(&wire[at..][opened.text]);
        at += opened.length;
    }
    assert_eq!((at, &read[..]), (wire.len(), bytes));
    spoiled(choice, place, bit, bytes);
}

/// One bit of a record is another one: it is not opened.
fn spoiled(choice: u8, place: u8, bit: u8, bytes: &[u8]) {
    let mut wire = Vec::new();
    let text = &bytes[..bytes.len().min(200)];
    key(choice).seal(ContentType::Data, &mut wire, |out| out.extend_from_slice(text)).expect("it is sealed");
    let at = usize::from(place) % wire.len();
    wire[at] ^= 1 << (bit % 8);
    // The version's second byte means nothing before TLS 1.3 authenticates it, nor there as we write it.
    if at != 2 {
        assert!(!matches!(key(choice).open(&mut wire), Ok(Some(_))), "bit {bit} of byte {at} does not count");
    }
}
