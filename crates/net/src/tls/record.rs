//! The record layer after the handshake (RFC 8446, section 5; RFC 5246, section 6.2.3.3 with RFC 5288 and RFC 7905):
//! records are sealed and opened where they stand, so that nothing is allocated for them.

use super::TlsError;
use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;
use std::ops::Range;

/// Bytes of a record's header.
pub(super) const HEADER: usize = 5;
/// Plaintext bytes of a record at most.
pub(super) const MAX_PLAINTEXT: usize = 1 << 14;
/// Bytes of a record behind its header at most: plaintext, and what TLS 1.2 lets a cipher add.
const MAX_CIPHERTEXT: usize = MAX_PLAINTEXT + 2048;
/// Bytes of the tag of every cipher that is spoken.
const TAG: usize = 16;
/// Bytes of the nonce that AES-GCM of TLS 1.2 sends with each record.
const EXPLICIT: usize = 8;
/// Records that one key may seal; AES-GCM's limit is a little above (RFC 8446, 5.5).
const MAX_RECORDS: u64 = 1 << 24;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// `change_cipher_spec`
    ChangeCipherSpec,
    /// `alert`
    Alert,
    /// `handshake`
    Handshake,
    /// `application_data`
    Data,
}

impl ContentType {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::Data,
            _ => return None,
        })
    }

    fn byte(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }
}

/// How a version and a cipher lay a record out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// TLS 1.3: the true type stands behind the plaintext.
    Tls13,
    /// TLS 1.2 with AES-GCM: half of the nonce is sent.
    Tls12Explicit,
    /// TLS 1.2 with ChaCha20-Poly1305.
    Tls12,
}

/// The keys of one direction.
pub struct RecordKey {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
    layout: Layout,
}

impl RecordKey {
    /// The key for what rustls has agreed on.
    ///
    /// # Errors
    /// A cipher that is not spoken.
    pub fn new((sequence, secrets): (u64, ConnectionTrafficSecrets), tls13: bool) -> Result<Self, TlsError> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(TlsError::Internal),
        };
        let layout = match secrets {
            _ if tls13 => Layout::Tls13,
            ConnectionTrafficSecrets::Chacha20Poly1305 { .. } => Layout::Tls12,
            _ => Layout::Tls12Explicit,
        };
        // `AeadKey` is as wide as the widest key.
        let key = key.as_ref().get(..algorithm.key_len()).ok_or(TlsError::Internal)?;
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).map_err(|_| TlsError::Internal)?);
        let iv = <[u8; NONCE_LEN]>::try_from(iv.as_ref()).map_err(|_| TlsError::Internal)?;
        Ok(Self { key, iv, sequence, layout })
    }

    /// Whether the key has sealed as much as it may.
    pub(super) fn worn_out(&self) -> bool {
        self.sequence >= MAX_RECORDS
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (n, s) in nonce.iter_mut().skip(NONCE_LEN - 8).zip(self.sequence.to_be_bytes()) {
            *n ^= s;
        }
        nonce
    }

    /// The additional data of TLS 1.2.
    fn aad12(&self, kind: u8, length: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        let [high, low] = (length as u16).to_be_bytes();
        let tail = [kind, 3, 3, high, low];
        for (to, from) in aad.iter_mut().zip(self.sequence.to_be_bytes().into_iter().chain(tail)) {
            *to = from;
        }
        aad
    }

    /// Appends a record to `out` that carries what `fill` appends, 16,384 bytes at most.
    ///
    /// # Errors
    /// It could not be sealed.
    pub fn seal(
        &mut self,
        kind: ContentType,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TlsError> {
        let start = out.len();
        let nonce = self.nonce();
        let outer = if self.layout == Layout::Tls13 { ContentType::Data } else { kind };
        out.extend_from_slice(&[outer.byte(), 3, 3, 0, 0]);
        if self.layout == Layout::Tls12Explicit {
            out.extend_from_slice(nonce.get(NONCE_LEN - EXPLICIT..).unwrap_or_default());
        }
        let text = out.len();
        fill(out);
        let plain = out.len() - text;
        if self.layout == Layout::Tls13 {
            out.push(kind.byte());
        }
        let length = out.len() - start - HEADER + TAG;
        let [high, low] = (length as u16).to_be_bytes();
        if let Some(at) = out.get_mut(start + 3..start + HEADER) {
            at.copy_from_slice(&[high, low]);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let text = out.get_mut(text..).unwrap_or_default();
        let tag = if self.layout == Layout::Tls13 {
            self.key.seal_in_place_separate_tag(nonce, Aad::from([23, 3, 3, high, low]), text)
        } else {
            self.key.seal_in_place_separate_tag(nonce, Aad::from(self.aad12(kind.byte(), plain)), text)
        };
        out.extend_from_slice(tag.map_err(|_| TlsError::Internal)?.as_ref());
        self.sequence += 1;
        Ok(())
    }

    /// Opens the first record of `input` where it stands: its type, where its plaintext is, and its length in all.
    /// `None`: it is not all there yet.
    ///
    /// # Errors
    /// It is no record, none of this key's, or one that has no place here.
    pub fn open(&mut self, input: &mut [u8]) -> Result<Option<Opened>, TlsError> {
        let Some(&[outer, major, _, high, low]) = input.first_chunk::<HEADER>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let outer = ContentType::from_byte(outer).filter(|_| major == 3).ok_or(TlsError::NotTls)?;
        if length > MAX_CIPHERTEXT {
            return Err(TlsError::Oversized);
        }
        let end = HEADER + length;
        let Some(body) = input.get_mut(HEADER..end) else { return Ok(None) };
        if outer == ContentType::ChangeCipherSpec {
            // Middlebox compatibility (RFC 8446, 5): only during the handshake, which is over.
            return Err(TlsError::Unexpected);
        }
        let (skip, nonce) = match self.layout {
            Layout::Tls13 | Layout::Tls12 => (0, self.nonce()),
            Layout::Tls12Explicit => {
                let mut nonce = self.iv;
                let sent = body.first_chunk::<EXPLICIT>().ok_or(TlsError::BadMac)?;
                for (n, s) in nonce.iter_mut().skip(NONCE_LEN - EXPLICIT).zip(sent) {
                    *n = *s;
                }
                (EXPLICIT, nonce)
            }
        };
        let text = body.get_mut(skip..).unwrap_or_default();
        let plain = text.len().checked_sub(TAG).ok_or(TlsError::BadMac)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = if self.layout == Layout::Tls13 {
            self.key.open_in_place(nonce, Aad::from([outer.byte(), 3, 3, high, low]), text)
        } else {
            self.key.open_in_place(nonce, Aad::from(self.aad12(outer.byte(), plain)), text)
        };
        let opened = opened.map_err(|_| TlsError::BadMac)?;
        self.sequence += 1;
        let (kind, plain) = if self.layout == Layout::Tls13 {
            // Zeros pad, and the type stands before them.
            let at = opened.iter().rposition(|b| *b != 0).ok_or(TlsError::Unexpected)?;
            let kind =
                opened.get(at).copied().and_then(ContentType::from_byte).ok_or(TlsError::Unexpected)?;
            (kind, at)
        } else {
            (outer, opened.len())
        };
        if plain > MAX_PLAINTEXT {
            return Err(TlsError::Oversized);
        }
        let start = HEADER + skip;
        Ok(Some(Opened { kind, text: start..start + plain, length: end }))
    }
}

/// A record that was opened.
pub struct Opened {
    /// What it carries.
    pub kind: ContentType,
    /// Where its plaintext stands in the input.
    pub text: Range<usize>,
    /// Its bytes in the input.
    pub length: usize,
}
