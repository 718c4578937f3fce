//! Encryption by passwords, as private keys and PKCS#12 files have it: PBES2 (RFC 8018) with PBKDF2, and PKCS#12's own
//! scheme (RFC 7292, appendix B). What BoringSSL does not read is not read here either.

use super::der::{Reader, Value, tag};
use aes::{Aes128, Aes192, Aes256};
use aws_lc_rs::digest::{self, Context, SHA1_FOR_LEGACY_USE_ONLY};
use aws_lc_rs::pbkdf2;
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use des::TdesEde3;
use std::num::NonZeroU32;

/// `1.2.840.113549.1.5.13`
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
/// `1.2.840.113549.1.5.12`
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// `1.2.840.113549.1.12.1.3`
const SHA1_3DES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01, 0x03];
/// `1.2.840.113549.2.7`
const HMAC_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x07];
/// `1.2.840.113549.2.9`
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
/// `1.2.840.113549.3.7`
const DES_EDE3_CBC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x03, 0x07];
/// `2.16.840.1.101.3.4.1`, which names of AES end with `.2`, `.22` and `.42` for CBC.
const AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];

/// Rounds of a derivation at most: a file must not hold the start up for minutes.
const MOST_ROUNDS: u32 = 100_000_000;

/// A block cipher in CBC mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128,
    Aes192,
    Aes256,
    TripleDes,
}

impl Cipher {
    fn of(oid: &[u8]) -> Option<Self> {
        match oid.strip_prefix(AES) {
            Some([2]) => Some(Self::Aes128),
            Some([22]) => Some(Self::Aes192),
            Some([42]) => Some(Self::Aes256),
            _ => (oid == DES_EDE3_CBC).then_some(Self::TripleDes),
        }
    }

    /// Bytes of its key.
    pub(super) fn key_len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
        }
    }

    /// What was encrypted, its padding taken off; `None` where that is wrong, or a length.
    pub(super) fn decrypt(self, key: &[u8], iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        fn by<C: BlockModeDecrypt + KeyIvInit>(key: &[u8], iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
            C::new_from_slices(key, iv).ok()?.decrypt_padded_vec::<Pkcs7>(data).ok()
        }
        match self {
            Self::Aes128 => by::<Decryptor<Aes128>>(key, iv, data),
            Self::Aes192 => by::<Decryptor<Aes192>>(key, iv, data),
            Self::Aes256 => by::<Decryptor<Aes256>>(key, iv, data),
            Self::TripleDes => by::<Decryptor<TdesEde3>>(key, iv, data),
        }
    }
}

/// Decrypts `data` as an AlgorithmIdentifier says; `None` where the password is wrong or the scheme is none of these.
pub(super) fn decrypt(algorithm: Value<'_>, password: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut parts = algorithm.inside();
    let (oid, parameters) = (parts.expect(tag::OID)?.content, parts.expect(tag::SEQUENCE)?);
    match oid {
        PBES2 => pbes2(parameters, password, data),
        SHA1_3DES => {
            let mut parts = parameters.inside();
            let salt = parts.expect(tag::OCTET_STRING)?.content;
            let rounds = rounds(parts.expect(tag::INTEGER)?)?;
            let of = |purpose, len| {
                derive(&SHA1_FOR_LEGACY_USE_ONLY, password, Derived { salt, rounds, purpose, len })
            };
            Cipher::TripleDes.decrypt(&of(Purpose::Key, 24)?, &of(Purpose::Iv, 8)?, data)
        }
        _ => None,
    }
}

fn pbes2(parameters: Value<'_>, password: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut parts = parameters.inside();
    let (mut kdf, mut scheme) =
        (parts.expect(tag::SEQUENCE)?.inside(), parts.expect(tag::SEQUENCE)?.inside());
    if kdf.expect(tag::OID)?.content != PBKDF2 {
        return None;
    }
    let mut derivation = kdf.expect(tag::SEQUENCE)?.inside();
    let salt = derivation.expect(tag::OCTET_STRING)?.content;
    let rounds = rounds(derivation.expect(tag::INTEGER)?)?;
    derivation.optional(tag::INTEGER);
    let algorithm = match derivation.optional(tag::SEQUENCE) {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(prf) => match prf.inside().expect(tag::OID)?.content {
            HMAC_SHA1 => pbkdf2::PBKDF2_HMAC_SHA1,
            HMAC_SHA256 => pbkdf2::PBKDF2_HMAC_SHA256,
            _ => return None,
        },
    };
    let cipher = Cipher::of(scheme.expect(tag::OID)?.content)?;
    let iv = scheme.expect(tag::OCTET_STRING)?.content;
    let mut key = vec![0; cipher.key_len()];
    pbkdf2::derive(algorithm, rounds, salt, password, &mut key);
    cipher.decrypt(&key, iv, data)
}

/// A count of rounds; `None` where it is none or beyond what is taken.
pub(super) fn rounds(value: Value<'_>) -> Option<NonZeroU32> {
    let n = value.content.iter().try_fold(0_u32, |n, b| n.checked_mul(256)?.checked_add(u32::from(*b)))?;
    NonZeroU32::new(n).filter(|n| n.get() <= MOST_ROUNDS)
}

/// What PKCS#12 derives bytes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// What is derived from a password.
#[derive(Clone, Copy)]
pub(super) struct Derived<'a> {
    pub(super) salt: &'a [u8],
    pub(super) rounds: NonZeroU32,
    pub(super) purpose: Purpose,
    /// Bytes of it.
    pub(super) len: usize,
}

/// RFC 7292, appendix B.2. `None`: the password is not text.
pub(super) fn derive(
    hash: &'static digest::Algorithm,
    password: &[u8],
    Derived { salt, rounds, purpose, len }: Derived<'_>,
) -> Option<Vec<u8>> {
    let block = hash.block_len();
    let text = std::str::from_utf8(password).ok()?;
    let password: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
    let filled = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().copied().cycle().take(bytes.len().div_ceil(block) * block).collect()
    };
    let mut input = filled(salt);
    input.extend(filled(&password));
    let mut out = Vec::with_capacity(len + hash.output_len());
    while out.len() < len {
        let mut context = Context::new(hash);
        context.update(&vec![purpose as u8; block]);
        context.update(&input);
        let mut a = context.finish();
        for _ in 1..rounds.get() {
            a = digest::digest(hash, a.as_ref());
        }
        out.extend_from_slice(a.as_ref());
        let b: Vec<u8> = a.as_ref().iter().copied().cycle().take(block).collect();
        for chunk in input.chunks_mut(block) {
            // chunk = chunk + b + 1, as numbers.
            let mut carry = 1_u16;
            for (digit, add) in chunk.iter_mut().zip(&b).rev() {
                carry += u16::from(*digit) + u16::from(*add);
                *digit = carry as u8;
                carry >>= 8;
            }
        }
    }
    out.truncate(len);
    Some(out)
}

/// An EncryptedPrivateKeyInfo (RFC 5958): the PrivateKeyInfo in it.
pub(super) fn private_key_info(der: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    let mut parts = Reader(der).expect(tag::SEQUENCE)?.inside();
    let (algorithm, data) = (parts.expect(tag::SEQUENCE)?, parts.expect(tag::OCTET_STRING)?.content);
    decrypt(algorithm, password, data)
}
