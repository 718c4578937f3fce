//! PKCS#12 files (RFC 7292): a key and its certificates, under one password.

use super::certificate::Certificate;
use super::der::{Reader, Value, tag};
use super::pbe::{self, Derived, Purpose, derive};
use aws_lc_rs::{digest, hmac};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// `1.2.840.113549.1.7.1`
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// `1.2.840.113549.1.7.6`
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x06];
/// `1.2.840.113549.1.12.10.1`, which the names of bags extend.
const BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01];
/// `1.2.840.113549.1.9.22.1`
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// `1.3.14.3.2.26`
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// `2.16.840.1.101.3.4.2`, whose `.1`, `.2` and `.3` are SHA-256, SHA-384 and SHA-512.
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// What a file holds.
#[derive(Default)]
struct Bags {
    key: Option<Vec<u8>>,
    certificates: Vec<CertificateDer<'static>>,
}

/// The key of a file and its chain, the key's own certificate first. `None`: it is no such file, the password is not
/// its own, or one of the two is missing.
pub(super) fn open(
    file: &[u8],
    password: &[u8],
    provider: &CryptoProvider,
) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let mut outer = Reader(file).expect(tag::SEQUENCE)?.inside();
    outer.expect(tag::INTEGER)?;
    let safe = content(outer.expect(tag::SEQUENCE)?, DATA)?.inside().expect(tag::OCTET_STRING)?.content;
    authenticated(safe, outer.expect(tag::SEQUENCE)?, password)?;
    let mut bags = Bags::default();
    for part in Reader(safe).expect(tag::SEQUENCE)?.inside() {
        if let Some(data) = content(part, DATA) {
            bags.take(data.inside().expect(tag::OCTET_STRING)?.content, password)?;
        } else {
            bags.take(&decrypted(content(part, ENCRYPTED_DATA)?, password)?, password)?;
        }
    }
    let Bags { key, mut certificates } = bags;
    let key: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(key?).into();
    let public = provider.key_provider.load_private_key(key.clone_key()).ok()?.public_key()?.to_vec();
    // As OpenSSL has it, the last one that the key fits.
    let own = certificates.iter().rposition(|der| {
        Certificate::parse(der).is_some_and(|certificate| certificate.spki == public.as_slice())
    })?;
    let own = certificates.remove(own);
    certificates.insert(0, own);
    Some((certificates, key))
}

/// What is in a ContentInfo of that type.
fn content<'a>(info: Value<'a>, kind: &[u8]) -> Option<Value<'a>> {
    let mut parts = info.inside();
    let is = parts.expect(tag::OID)?.content == kind;
    parts.expect(tag::context(0, true)).filter(|_| is)
}

/// Whether a MacData is of these bytes under the password.
fn authenticated(safe: &[u8], mac: Value<'_>, password: &[u8]) -> Option<()> {
    let mut parts = mac.inside();
    let mut info = parts.expect(tag::SEQUENCE)?.inside();
    let oid = info.expect(tag::SEQUENCE)?.inside().expect(tag::OID)?.content;
    let expected = info.expect(tag::OCTET_STRING)?.content;
    let salt = parts.expect(tag::OCTET_STRING)?.content;
    let rounds = match parts.optional(tag::INTEGER) {
        Some(rounds) => pbe::rounds(rounds)?,
        None => std::num::NonZeroU32::MIN,
    };
    let (hash, algorithm) = match (oid == SHA1, oid.strip_prefix(SHA2)) {
        (true, _) => (&digest::SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        (_, Some([1])) => (&digest::SHA256, hmac::HMAC_SHA256),
        (_, Some([2])) => (&digest::SHA384, hmac::HMAC_SHA384),
        (_, Some([3])) => (&digest::SHA512, hmac::HMAC_SHA512),
        _ => return None,
    };
    let key =
        derive(hash, password, Derived { salt, rounds, purpose: Purpose::Mac, len: hash.output_len() })?;
    hmac::verify(&hmac::Key::new(algorithm, &key), safe, expected).ok()
}

/// What is in an EncryptedData.
fn decrypted(data: Value<'_>, password: &[u8]) -> Option<Vec<u8>> {
    let mut parts = data.inside().expect(tag::SEQUENCE)?.inside();
    parts.expect(tag::INTEGER)?;
    let mut info = parts.expect(tag::SEQUENCE)?.inside();
    info.expect(tag::OID).filter(|oid| oid.content == DATA)?;
    let algorithm = info.expect(tag::SEQUENCE)?;
    pbe::decrypt(algorithm, password, info.expect(tag::context(0, false))?.content)
}

impl Bags {
    /// Takes the bags of a SafeContents; `None` where one cannot be read. Of several keys the first counts.
    fn take(&mut self, contents: &[u8], password: &[u8]) -> Option<()> {
        for bag in Reader(contents).expect(tag::SEQUENCE)?.inside() {
            let mut parts = bag.inside();
            let kind = parts.expect(tag::OID)?.content;
            let value = parts.expect(tag::context(0, true))?;
            match kind.strip_prefix(BAG) {
                Some([1]) => self.key = self.key.take().or_else(|| Some(value.content.to_vec())),
                Some([2]) if self.key.is_none() => {
                    self.key = Some(pbe::private_key_info(value.content, password)?);
                }
                Some([3]) => {
                    let mut certificate = value.inside().expect(tag::SEQUENCE)?.inside();
                    if certificate.expect(tag::OID)?.content == X509 {
                        let der = certificate.expect(tag::context(0, true))?.inside();
                        self.certificates.push({ der }.expect(tag::OCTET_STRING)?.content.to_vec().into());
                    }
                }
                _ => {}
            }
        }
        Some(())
    }
}
