//! `signature_algorithms`: how both sides of a handshake may sign.

use rustls::SignatureAlgorithm;
use rustls::SignatureScheme::{self, *};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use std::sync::Arc;

/// The schemes that there are, by the names that configuration and stats have for them (RFC 8446 section 4.2.3).
const SCHEMES: &[(&str, SignatureScheme)] = &[
    ("ecdsa_secp256r1_sha256", ECDSA_NISTP256_SHA256),
    ("rsa_pss_rsae_sha256", RSA_PSS_SHA256),
    ("rsa_pkcs1_sha256", RSA_PKCS1_SHA256),
    ("ecdsa_secp384r1_sha384", ECDSA_NISTP384_SHA384),
    ("rsa_pss_rsae_sha384", RSA_PSS_SHA384),
    ("rsa_pkcs1_sha384", RSA_PKCS1_SHA384),
    ("rsa_pss_rsae_sha512", RSA_PSS_SHA512),
    ("rsa_pkcs1_sha512", RSA_PKCS1_SHA512),
    ("ecdsa_secp521r1_sha512", ECDSA_NISTP521_SHA512),
    ("ed25519", ED25519),
];

/// How many of these a peer may sign with where nothing is configured; as BoringSSL's.
const USUAL: usize = 8;

/// The schemes of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schemes {
    list: Arc<[SignatureScheme]>,
    /// Our own keys are bound to them, too.
    ours: bool,
}

impl Schemes {
    /// Those of a context that names none.
    pub(super) fn usual() -> Self {
        Self { list: SCHEMES.iter().take(USUAL).map(|(_, scheme)| *scheme).collect(), ours: false }
    }

    /// Those with these names, the first preferred; the inner error is the name that is none of them.
    pub(super) fn named<'n>(names: impl Iterator<Item = &'n str>) -> Result<Self, &'n str> {
        let find = |name: &'n str| {
            SCHEMES.iter().find(|(known, _)| *known == name).map(|(_, scheme)| *scheme).ok_or(name)
        };
        Ok(Self { list: names.map(find).collect::<Result<_, _>>()?, ours: true })
    }

    /// Those that the policy `FIPS_202205` leaves.
    pub(super) const FIPS: [SignatureScheme; 8] = [
        RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512,
        ECDSA_NISTP256_SHA256,
        ECDSA_NISTP384_SHA384,
        RSA_PSS_SHA256,
        RSA_PSS_SHA384,
        RSA_PSS_SHA512,
    ];

    /// Those that `CNSA1_202603` and `CNSA2_202603` leave.
    pub(super) const CNSA: [SignatureScheme; 3] = [ECDSA_NISTP384_SHA384, RSA_PSS_SHA384, RSA_PKCS1_SHA384];

    /// Those of a policy.
    pub(super) fn of_policy(list: &[SignatureScheme]) -> Self {
        Self { list: list.into(), ours: true }
    }

    /// What a peer may sign with.
    pub(super) fn list(&self) -> &[SignatureScheme] {
        &self.list
    }

    /// A key that signs with no other.
    pub(super) fn bind(&self, key: CertifiedKey) -> CertifiedKey {
        if !self.ours {
            return key;
        }
        let bound = Bound { key: key.key, schemes: Arc::clone(&self.list) };
        CertifiedKey { key: Arc::new(bound), ..key }
    }
}

/// The name of a scheme as stats show it.
pub(super) fn signature_name(scheme: SignatureScheme) -> &'static str {
    SCHEMES.iter().find(|(_, known)| *known == scheme).map_or("", |(name, _)| name)
}

/// A key that is used with some schemes alone.
#[derive(Debug)]
struct Bound {
    key: Arc<dyn SigningKey>,
    schemes: Arc<[SignatureScheme]>,
}

impl SigningKey for Bound {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let shared = self.schemes.iter().filter(|scheme| offered.contains(scheme));
        shared.into_iter().find_map(|scheme| self.key.choose_scheme(&[*scheme]))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }
}
