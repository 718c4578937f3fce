//! Why a token is not taken.

/// What is wrong with a token, with the keys, or with both together. The numbers are Envoy's, which
/// `failed_status_in_metadata` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Missing = 1,
    NotYetValid = 2,
    Expired = 3,
    Form = 4,
    HeaderBase64 = 5,
    HeaderJson = 6,
    Alg = 7,
    AlgUnknown = 8,
    Kid = 9,
    PayloadBase64 = 10,
    PayloadJson = 11,
    Iss = 12,
    Sub = 13,
    IatKind = 14,
    IatRange = 15,
    NbfKind = 16,
    NbfRange = 17,
    ExpKind = 18,
    ExpRange = 19,
    Jti = 20,
    Aud = 21,
    SignatureBase64 = 22,
    Ed25519Length = 23,
    UnknownIssuer = 24,
    Audience = 25,
    Verification = 26,
    NoKeys = 31,
    NoSuchKey = 32,
    Fetch = 40,
}

impl Failure {
    /// What clients and logs are told.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Missing => "Jwt is missing",
            Self::NotYetValid => "Jwt not yet valid",
            Self::Expired => "Jwt is expired",
            Self::Form => "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
            Self::HeaderBase64 => "Jwt header is an invalid Base64url encoded",
            Self::HeaderJson => "Jwt header is an invalid JSON",
            Self::Alg => "Jwt header [alg] field is required and must be a string",
            Self::AlgUnknown => "Jwt header [alg] is not supported",
            Self::Kid => "Jwt header [kid] field is not a string",
            Self::PayloadBase64 => "Jwt payload is an invalid Base64url encoded",
            Self::PayloadJson => "Jwt payload is an invalid JSON",
            Self::Iss => "Jwt payload [iss] field is not a string",
            Self::Sub => "Jwt payload [sub] field is not a string",
            Self::IatKind => "Jwt payload [iat] field is not an integer",
            Self::IatRange => "Jwt payload [iat] field is not a positive 64 bit integer",
            Self::NbfKind => "Jwt payload [nbf] field is not an integer",
            Self::NbfRange => "Jwt payload [nbf] field is not a positive 64 bit integer",
            Self::ExpKind => "Jwt payload [exp] field is not an integer",
            Self::ExpRange => "Jwt payload [exp] field is not a positive 64 bit integer",
            Self::Jti => "Jwt payload [jti] field is not a string",
            Self::Aud => "Jwt payload [aud] field is not a string or string list",
            Self::SignatureBase64 => "Jwt signature is an invalid Base64url encoded",
            Self::Ed25519Length => "Jwt ED25519 signature is wrong length",
            Self::UnknownIssuer => "Jwt issuer is not configured",
            Self::Audience => "Audiences in Jwt are not allowed",
            Self::Verification => "Jwt verification fails",
            Self::NoKeys => "Jwks doesn't have any valid public key",
            Self::NoSuchKey => "Jwks doesn't have key to match kid or alg from Jwt",
            Self::Fetch => "Jwks remote fetch is failed",
        }
    }
}
