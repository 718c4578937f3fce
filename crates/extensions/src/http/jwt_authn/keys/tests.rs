use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn set(keys: &str) -> Result<KeySet, BadKeys> {
    KeySet::parse(format!("{{\"keys\":[{keys}]}}").as_bytes())
}

/// A token with this header, signed by `sign`.
fn token(header: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> Token {
    let signed = format!("{}.e30", encode(header));
    Token::parse(&format!("{signed}.{}", encode(sign(signed.as_bytes())))).unwrap()
}

fn mac(secret: &'static [u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    |text| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text).as_ref().to_vec()
}

#[test]
fn a_text_that_is_no_set_says_why() {
    for (text, why) in [
        ("x", BadKeys::Json),
        ("{}", BadKeys::None),
        (r#"{"keys":{}}"#, BadKeys::NoArray),
        (r#"{"keys":[]}"#, BadKeys::NoKey),
        (r#"{"keys":[7,{"kty":"zz"},{"kty":"oct"}]}"#, BadKeys::NoKey),
    ] {
        assert_eq!(KeySet::parse(text.as_bytes()).err(), Some(why), "{text}");
    }
}

#[test]
fn name_and_algorithm_choose_the_key() {
    let key = |kid: &str, secret: &str| {
        format!(r#"{{"kty":"oct","kid":"{kid}","alg":"HS256","k":"{}"}}"#, encode(secret))
    };
    let keys = set(&format!("{},{}", key("a", "first"), key("b", "second"))).unwrap();
    let verdict = |header, secret| keys.verify(&token(header, mac(secret)));
    assert_eq!(verdict(r#"{"alg":"HS256","kid":"b"}"#, b"second"), Ok(()));
    assert_eq!(verdict(r#"{"alg":"HS256"}"#, b"second"), Ok(()));
    assert_eq!(verdict(r#"{"alg":"HS256","kid":"a"}"#, b"second"), Err(Failure::Verification));
    assert_eq!(verdict(r#"{"alg":"HS256","kid":"c"}"#, b"second"), Err(Failure::NoSuchKey));
    assert_eq!(verdict(r#"{"alg":"HS384","kid":"a"}"#, b"first"), Err(Failure::NoSuchKey));
}

#[test]
fn a_curve_verifies_what_its_key_signed() {
    let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    let key = |x: &[u8], y: &[u8]| {
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#, encode(x), encode(y))
    };
    let (x, y) = (&point[1..33], &point[33..]);
    let keys = set(&key(x, y)).unwrap();
    let rng = SystemRandom::new();
    let sign = |text: &[u8]| pair.sign(&rng, text).unwrap().as_ref().to_vec();
    assert_eq!(keys.verify(&token(r#"{"alg":"ES256"}"#, sign)), Ok(()));
    assert_eq!(keys.verify(&token(r#"{"alg":"ES256"}"#, mac(b"x"))), Err(Failure::Verification));
    assert_eq!(set(&key(y, x)).err(), Some(BadKeys::NoKey), "a point that is not on the curve");
}

#[test]
fn a_public_key_is_never_a_secret() {
    let (n, e) = (encode([0xc1; 256]), encode([1, 0, 1]));
    let key = format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#);
    let keys = set(&key).unwrap();
    for secret in [n.into_bytes().leak(), key.into_bytes().leak()] {
        assert_eq!(keys.verify(&token(r#"{"alg":"HS256"}"#, mac(secret))), Err(Failure::Verification));
    }
}
