//! Key sets (RFC 7517) and what they verify.

use super::failure::Failure;
use super::json;
use super::token::{Algorithm, Family, Hash, Token, decoded};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, VerificationAlgorithm};
use prost_types::Struct;
use prost_types::value::Kind as Json;

/// The keys of a set that are of a kind that we know. There is at least one.
#[derive(Debug)]
pub(super) struct KeySet(Box<[Key]>);

#[derive(Debug)]
struct Key {
    /// Empty where it has none.
    id: Box<str>,
    /// The only algorithm that it is for; empty: any.
    algorithm: Box<str>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Rsa(Components),
    /// The point as it is written without compression (SEC 1).
    Ec(Curve, Vec<u8>),
    Secret(Vec<u8>),
    Ed25519(ParsedPublicKey),
}

/// An RSA key's modulus and exponent.
type Components = PublicKeyComponents<Vec<u8>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

/// Why a text is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadKeys {
    #[error("Jwks is an invalid JSON")]
    Json,
    #[error("Jwks does not have [keys] field")]
    None,
    #[error("[keys] in Jwks is not an array")]
    NoArray,
    #[error("Jwks doesn't have any valid public key")]
    NoKey,
}

impl KeySet {
    /// Reads a set; keys of other kinds are passed over, and those that are wrong.
    ///
    /// # Errors
    /// It is no set, or nothing is left of it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, BadKeys> {
        let set = json::object(text).ok_or(BadKeys::Json)?;
        let Json::ListValue(list) =
            set.fields.get("keys").and_then(|v| v.kind.as_ref()).ok_or(BadKeys::None)?
        else {
            return Err(BadKeys::NoArray);
        };
        let objects = list.values.iter().filter_map(|value| match &value.kind {
            Some(Json::StructValue(object)) => Some(object),
            _ => None,
        });
        let keys: Box<[Key]> = objects.filter_map(Key::read).collect();
        if keys.is_empty() { Err(BadKeys::NoKey) } else { Ok(Self(keys)) }
    }

    /// Whether one of the keys has signed the token.
    ///
    /// # Errors
    /// None has, or none is for such tokens.
    pub(super) fn verify(&self, token: &Token) -> Result<(), Failure> {
        let mut tried = false;
        for key in self.0.iter().filter(|key| key.is_for(token)) {
            tried = true;
            match &key.kind {
                // Whoever asks for this key with a signature of another kind is not let on to the next one.
                Kind::Ed25519(_) if token.signature.len() != 64 => return Err(Failure::Ed25519Length),
                kind if kind.signed(token) => return Ok(()),
                _ => {}
            }
        }
        Err(if tried { Failure::Verification } else { Failure::NoSuchKey })
    }
}

impl Key {
    fn read(object: &Struct) -> Option<Self> {
        let text = |name| json::string(object, name).ok().flatten();
        let bytes = |name| text(name).and_then(decoded).filter(|bytes| !bytes.is_empty());
        let algorithm = text("alg").unwrap_or_default();
        let of =
            |families: &[&str]| algorithm.is_empty() || families.iter().any(|f| algorithm.starts_with(f));
        let kind = match text("kty")? {
            "RSA" if of(&["RS", "PS"]) => {
                let number =
                    |name| bytes(name).map(|bytes| bytes.into_iter().skip_while(|b| *b == 0).collect());
                Kind::Rsa(PublicKeyComponents { n: number("n")?, e: number("e")? })
            }
            "EC" => {
                let curve = match json::string(object, "crv") {
                    Ok(curve) => Curve::of(algorithm, curve.unwrap_or_default())?,
                    Err(_) => return None,
                };
                Kind::Ec(curve, curve.point(&bytes("x")?, &bytes("y")?)?)
            }
            "oct" if of(&["HS256", "HS384", "HS512"]) => Kind::Secret(bytes("k")?),
            "OKP" if of(&["EdDSA"]) && text("crv")? == "Ed25519" => {
                Kind::Ed25519(ParsedPublicKey::new(&signature::ED25519, bytes("x")?).ok()?)
            }
            _ => return None,
        };
        let id = text("kid").unwrap_or_default();
        Some(Self { id: id.into(), algorithm: algorithm.into(), kind })
    }

    /// A key without a name, or without an algorithm, is for tokens of any.
    fn is_for(&self, token: &Token) -> bool {
        (token.kid.is_empty() || self.id.is_empty() || self.id == token.kid)
            && (self.algorithm.is_empty() || &*self.algorithm == token.algorithm.name)
    }
}

impl Kind {
    /// What a key is decides how it verifies; a token's algorithm cannot make a public key a secret.
    fn signed(&self, token: &Token) -> bool {
        let Token { algorithm, signed, signature, .. } = token;
        match self {
            Self::Rsa(key) => rsa_parameters(*algorithm)
                .is_some_and(|parameters| key.verify(parameters, signed, signature).is_ok()),
            Self::Ec(curve, point) => {
                let hash = if algorithm.family == Family::Es { algorithm.hash } else { Hash::Sha256 };
                let verifies =
                    |how: &dyn VerificationAlgorithm| how.verify_sig(point, signed, signature).is_ok();
                curve.verification(hash).is_some_and(verifies)
            }
            Self::Secret(secret) => {
                let hash = if algorithm.family == Family::Hs { algorithm.hash } else { Hash::Sha256 };
                let hash = match hash {
                    Hash::Sha256 => hmac::HMAC_SHA256,
                    Hash::Sha384 => hmac::HMAC_SHA384,
                    Hash::Sha512 => hmac::HMAC_SHA512,
                };
                hmac::verify(&hmac::Key::new(hash, secret), signed, signature).is_ok()
            }
            Self::Ed25519(key) => key.verify_sig(signed, signature).is_ok(),
        }
    }
}

/// RSA keys have at least 2,048 bits (RFC 7518, section 3.3).
fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match (algorithm.family, algorithm.hash) {
        (Family::Rs, Hash::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (Family::Rs, Hash::Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (Family::Rs, Hash::Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (Family::Ps, Hash::Sha256) => &signature::RSA_PSS_2048_8192_SHA256,
        (Family::Ps, Hash::Sha384) => &signature::RSA_PSS_2048_8192_SHA384,
        (Family::Ps, Hash::Sha512) => &signature::RSA_PSS_2048_8192_SHA512,
        (Family::Es | Family::Hs | Family::EdDsa, _) => return None,
    })
}

impl Curve {
    /// The curve of a key; where it says neither, P-256. `None`: there is none such, or algorithm and curve differ.
    fn of(algorithm: &str, name: &str) -> Option<Self> {
        let all =
            [("ES256", "P-256", Self::P256), ("ES384", "P-384", Self::P384), ("ES512", "P-521", Self::P521)];
        match (algorithm, name) {
            ("", "") => Some(Self::P256),
            _ => all.into_iter().find_map(|(alg, crv, curve)| {
                let fits = (algorithm.is_empty() || algorithm == alg) && (name.is_empty() || name == crv);
                fits.then_some(curve)
            }),
        }
    }

    /// Bytes of a coordinate.
    fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// A point from its coordinates; `None` where it is not on the curve.
    fn point(self, x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
        let mut point = vec![4];
        for coordinate in [x, y] {
            let lead = self.size().checked_sub(coordinate.len())?;
            point.resize(point.len() + lead, 0);
            point.extend_from_slice(coordinate);
        }
        let on_curve = match self {
            Self::P256 => ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &point),
            Self::P384 => ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, &point),
            Self::P521 => ParsedPublicKey::new(&signature::ECDSA_P521_SHA512_FIXED, &point),
        };
        on_curve.is_ok().then_some(point)
    }

    fn verification(self, hash: Hash) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match (self, hash) {
            (Self::P256, Hash::Sha256) => &signature::ECDSA_P256_SHA256_FIXED,
            (Self::P384, Hash::Sha384) => &signature::ECDSA_P384_SHA384_FIXED,
            (Self::P521, Hash::Sha256) => &signature::ECDSA_P521_SHA256_FIXED,
            (Self::P521, Hash::Sha384) => &signature::ECDSA_P521_SHA384_FIXED,
            (Self::P521, Hash::Sha512) => &signature::ECDSA_P521_SHA512_FIXED,
            (Self::P256, Hash::Sha384 | Hash::Sha512) | (Self::P384, Hash::Sha256 | Hash::Sha512) => {
                return None;
            }
        })
    }
}

#[cfg(test)]
mod tests;
