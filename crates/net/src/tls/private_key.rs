//! Private keys in PEM, those with a password among them.

use super::certificate::from_hex;
use super::pbe::{self, Cipher};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

/// A PEM block with what encrypted keys have: lines before its content.
struct Block<'a> {
    label: &'a str,
    /// `DEK-Info`: cipher and initialisation vector.
    encryption: Option<&'a str>,
    der: Vec<u8>,
}

/// The first private key of a PEM text. `None`: there is none, or the password does not open it.
pub(super) fn private_key(pem: &[u8], password: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let Some(block) = std::str::from_utf8(pem).ok().and_then(encrypted) else {
        return PrivateKeyDer::from_pem_slice(pem).ok();
    };
    let Some(encryption) = block.encryption else {
        let key = pbe::private_key_info(&block.der, password)?;
        return Some(PrivatePkcs8KeyDer::from(key).into());
    };
    let key = traditional(encryption, &block.der, password)?;
    match block.label {
        "RSA PRIVATE KEY" => Some(PrivatePkcs1KeyDer::from(key).into()),
        "EC PRIVATE KEY" => Some(PrivateSec1KeyDer::from(key).into()),
        _ => None,
    }
}

/// The first block that is a private key, if it is encrypted.
fn encrypted(text: &str) -> Option<Block<'_>> {
    let mut lines = text.lines();
    let label = lines.find_map(|line| {
        let label = line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
        label.ends_with("PRIVATE KEY").then_some(label)
    })?;
    let (mut encryption, mut content) = (None, String::new());
    for line in lines.map(str::trim).take_while(|line| !line.starts_with("-----END")) {
        match line.split_once(':') {
            Some(("DEK-Info", value)) => encryption = Some(value.trim()),
            Some(_) => {}
            None => content.push_str(line),
        }
    }
    if encryption.is_none() && label != "ENCRYPTED PRIVATE KEY" {
        return None;
    }
    Some(Block { label, encryption, der: STANDARD.decode(content).ok()? })
}

/// Decrypts as OpenSSL's old format does: a key from MD5 over password and salt, which are the vector's first bytes.
fn traditional(encryption: &str, data: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    let (name, vector) = encryption.split_once(',')?;
    let cipher = match name {
        "AES-128-CBC" => Cipher::Aes128,
        "AES-192-CBC" => Cipher::Aes192,
        "AES-256-CBC" => Cipher::Aes256,
        "DES-EDE3-CBC" => Cipher::TripleDes,
        _ => return None,
    };
    let iv = from_hex(vector.trim())?;
    let salt = iv.get(..8)?;
    let mut key: Vec<u8> = Vec::new();
    while key.len() < cipher.key_len() {
        let mut hash = Md5::new();
        hash.update(key.len().checked_sub(16).and_then(|at| key.get(at..)).unwrap_or_default());
        hash.update(password);
        hash.update(salt);
        key.extend_from_slice(&hash.finalize());
    }
    cipher.decrypt(key.get(..cipher.key_len())?, &iv, data)
}
