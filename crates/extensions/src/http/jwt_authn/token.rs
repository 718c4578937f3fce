//! A token as it comes (RFC 7515 section 3.1, RFC 7519): `HEADER.PAYLOAD.SIGNATURE`.

use super::failure::Failure;
use super::json;
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_types::Struct;
use prost_types::value::Kind;

/// How a token is signed (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Algorithm {
    /// `RS256`, say.
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) hash: Hash,
}

/// What an algorithm's name begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Es,
    Hs,
    Rs,
    Ps,
    EdDsa,
}

/// What it ends with; EdDSA has none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    const fn of(name: &'static str, family: Family, hash: Hash) -> Self {
        Self { name, family, hash }
    }

    /// The algorithm of that name.
    fn find(name: &str) -> Option<Self> {
        ALGORITHMS.into_iter().find(|algorithm| algorithm.name == name)
    }
}

const ALGORITHMS: [Algorithm; 13] = [
    Algorithm::of("ES256", Family::Es, Hash::Sha256),
    Algorithm::of("ES384", Family::Es, Hash::Sha384),
    Algorithm::of("ES512", Family::Es, Hash::Sha512),
    Algorithm::of("HS256", Family::Hs, Hash::Sha256),
    Algorithm::of("HS384", Family::Hs, Hash::Sha384),
    Algorithm::of("HS512", Family::Hs, Hash::Sha512),
    Algorithm::of("RS256", Family::Rs, Hash::Sha256),
    Algorithm::of("RS384", Family::Rs, Hash::Sha384),
    Algorithm::of("RS512", Family::Rs, Hash::Sha512),
    Algorithm::of("PS256", Family::Ps, Hash::Sha256),
    Algorithm::of("PS384", Family::Ps, Hash::Sha384),
    Algorithm::of("PS512", Family::Ps, Hash::Sha512),
    Algorithm::of("EdDSA", Family::EdDsa, Hash::Sha256),
];

/// A token that was read; nothing of it is verified yet.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) algorithm: Algorithm,
    /// Which key signed it; empty where it does not say.
    pub(super) kid: Box<str>,
    pub(super) header: Struct,
    pub(super) payload: Struct,
    /// The payload as it came, in base64url.
    pub(super) payload_text: Box<str>,
    /// What is signed.
    pub(super) signed: Box<[u8]>,
    pub(super) signature: Vec<u8>,
    pub(super) issuer: Box<str>,
    pub(super) subject: Box<str>,
    pub(super) audiences: Vec<Box<str>>,
    /// In seconds since 1970; 0 where it does not say.
    pub(super) not_before: u64,
    pub(super) expires: u64,
}

/// base64url with padding or without.
const WEB: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes that base64url text stands for; blanks in it do not count. `None`: it is no such text.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    let bare: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let padded = bare.last() == Some(&b'=');
    if padded && !bare.len().is_multiple_of(4) { None } else { WEB.decode(bare).ok() }
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// It is none, or a claim has a type that it may not have.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let mut sections = text.split('.').filter(|section| !section.is_empty());
        let (Some(header_text), Some(payload_text), Some(signature), None) =
            (sections.next(), sections.next(), sections.next(), sections.next())
        else {
            return Err(Failure::Form);
        };
        let header = decoded(header_text).ok_or(Failure::HeaderBase64)?;
        let header = json::object(&header).ok_or(Failure::HeaderJson)?;
        let name = json::string(&header, "alg").ok().flatten().ok_or(Failure::Alg)?;
        let algorithm = Algorithm::find(name).ok_or(Failure::AlgUnknown)?;
        let kid = json::string(&header, "kid").map_err(|_| Failure::Kid)?.unwrap_or_default().into();
        let payload = decoded(payload_text).ok_or(Failure::PayloadBase64)?;
        let payload = json::object(&payload).ok_or(Failure::PayloadJson)?;
        let text = |name, failure| -> Result<Box<str>, Failure> {
            Ok(json::string(&payload, name).map_err(|_| failure)?.unwrap_or_default().into())
        };
        let (issuer, subject) = (text("iss", Failure::Iss)?, text("sub", Failure::Sub)?);
        number(&payload, "iat", Failure::IatKind, Failure::IatRange)?;
        let not_before = number(&payload, "nbf", Failure::NbfKind, Failure::NbfRange)?;
        let expires = number(&payload, "exp", Failure::ExpKind, Failure::ExpRange)?;
        text("jti", Failure::Jti)?;
        let audiences = audiences(&payload)?;
        let signature = decoded(signature).ok_or(Failure::SignatureBase64)?;
        let signed = format!("{header_text}.{payload_text}").into_bytes().into();
        let payload_text = payload_text.into();
        Ok(Self {
            algorithm,
            kid,
            header,
            payload,
            payload_text,
            signed,
            signature,
            issuer,
            subject,
            audiences,
            not_before,
            expires,
        })
    }

    /// Whether it is valid at `now`, in seconds since 1970, on a clock that may be wrong by `skew`.
    ///
    /// # Errors
    /// It is not yet, or no more.
    pub(super) fn at(&self, now: u64, skew: u64) -> Result<(), Failure> {
        if now.saturating_add(skew) < self.not_before {
            return Err(Failure::NotYetValid);
        }
        if self.expires != 0 && now > self.expires.saturating_add(skew) {
            return Err(Failure::Expired);
        }
        Ok(())
    }
}

/// A time, in whole seconds; 0 where there is none.
fn number(payload: &Struct, name: &str, kind: Failure, range: Failure) -> Result<u64, Failure> {
    match payload.fields.get(name).map(|value| &value.kind) {
        None => Ok(0),
        Some(Some(Kind::NumberValue(n))) if *n >= 0.0 && *n < u64::MAX as f64 => Ok(*n as u64),
        Some(Some(Kind::NumberValue(_))) => Err(range),
        Some(_) => Err(kind),
    }
}

fn audiences(payload: &Struct) -> Result<Vec<Box<str>>, Failure> {
    let Some(value) = payload.fields.get("aud") else { return Ok(Vec::new()) };
    match &value.kind {
        Some(Kind::StringValue(one)) => Ok(vec![one.as_str().into()]),
        Some(Kind::ListValue(list)) => {
            let each = list.values.iter().map(|value| match &value.kind {
                Some(Kind::StringValue(one)) => Ok(one.as_str().into()),
                _ => Err(Failure::Aud),
            });
            each.collect()
        }
        _ => Err(Failure::Aud),
    }
}

#[cfg(test)]
mod tests;
