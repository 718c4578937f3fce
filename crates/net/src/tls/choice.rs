//! Which certificate a client is shown.

use super::material::Identity;
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::downstream_tls_context::OcspStaplePolicy;
use rustls::SignatureScheme;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

/// What a choice among certificates looks at.
#[derive(Debug)]
struct Choice {
    key: Arc<CertifiedKey>,
    /// The key with its OCSP response, and until when that holds.
    stapled: Option<(Arc<CertifiedKey>, u64)>,
    is_ecdsa: bool,
    names: Vec<Box<str>>,
}

impl Choice {
    fn of(identity: &Identity) -> Self {
        let stapled = identity.ocsp.as_ref().map(|ocsp| {
            let mut key = CertifiedKey::clone(&identity.key);
            key.ocsp = Some(ocsp.der.clone());
            (Arc::new(key), ocsp.times.holds_until())
        });
        let (key, names) = (Arc::clone(&identity.key), identity.names.clone());
        Self { key, stapled, is_ecdsa: identity.is_ecdsa, names }
    }

    /// What is shown now; `None` where the policy wants a response that holds.
    fn shown(&self, policy: OcspStaplePolicy, now: u64) -> Option<(Arc<CertifiedKey>, Staple)> {
        let plain = || Some((Arc::clone(&self.key), Staple::Omitted));
        match (&self.stapled, policy) {
            (Some((key, until)), _) if now < *until => Some((Arc::clone(key), Staple::Sent)),
            (_, OcspStaplePolicy::LenientStapling) | (None, OcspStaplePolicy::StrictStapling) => plain(),
            (Some(_), OcspStaplePolicy::StrictStapling) | (_, OcspStaplePolicy::MustStaple) => None,
        }
    }
}

/// What came of a certificate's OCSP response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staple {
    /// It is sent to a client that asks for it.
    Sent,
    /// There is none that holds.
    Omitted,
    /// There is none that holds, and the policy shows no certificate without one.
    Failed,
}

/// A choice that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The certificate's place in the list.
    pub(super) at: usize,
    pub(super) staple: Staple,
}

thread_local! {
    /// The choice that was just made on this thread: rustls tells nobody of it.
    static CHOSEN: Cell<Option<Chosen>> = const { Cell::new(None) };
}

/// Takes the choice that was made since the last call.
pub(super) fn take_chosen() -> Option<Chosen> {
    CHOSEN.take()
}

/// Chooses a certificate by server name, then by the kinds of keys that the client takes.
#[derive(Debug)]
pub(super) struct Resolver {
    all: Vec<Choice>,
    by_name: HashMap<Box<str>, Vec<usize>>,
    scan_on_mismatch: bool,
    policy: OcspStaplePolicy,
}

impl Resolver {
    pub(super) fn new(identities: &[Identity], scan_on_mismatch: bool, policy: OcspStaplePolicy) -> Self {
        let all: Vec<Choice> = identities.iter().map(Choice::of).collect();
        let mut by_name: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (at, choice) in all.iter().enumerate() {
            for name in &choice.names {
                by_name.entry(name.clone()).or_default().push(at);
            }
        }
        Self { all, by_name, scan_on_mismatch, policy }
    }

    /// The first that fits among `candidates`: an ECDSA client prefers such a key and takes another one.
    fn fitting(&self, candidates: impl Iterator<Item = usize>, ecdsa: bool) -> Option<usize> {
        let mut second = None;
        for at in candidates {
            let is = self.all.get(at)?.is_ecdsa;
            if is == ecdsa {
                return Some(at);
            }
            if ecdsa {
                second = second.or(Some(at));
            }
        }
        second
    }

    fn choose(&self, server_name: Option<&str>, ecdsa: bool) -> usize {
        let named =
            |name: &str| self.by_name.get(name).map(Vec::as_slice).unwrap_or_default().iter().copied();
        let mut found = None;
        if let Some(name) = server_name {
            let name = name.to_ascii_lowercase();
            found = self.fitting(named(&name), ecdsa).or_else(|| {
                let (_, rest) = name.split_once('.')?;
                self.fitting(named(&format!("*.{rest}")), ecdsa)
            });
            if found.is_none() && !self.scan_on_mismatch {
                found = Some(0);
            }
        }
        found.or_else(|| self.fitting(0..self.all.len(), ecdsa)).unwrap_or(0)
    }
}

/// What a client that takes ECDSA certificates offers.
const ECDSA: [SignatureScheme; 3] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
];

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let ecdsa = hello.signature_schemes().iter().any(|s| ECDSA.contains(s));
        let at = self.choose(hello.server_name(), ecdsa);
        let shown = self.all.get(at)?.shown(self.policy, UnixTime::now().as_secs());
        let staple = shown.as_ref().map_or(Staple::Failed, |(_, staple)| *staple);
        CHOSEN.set(Some(Chosen { at, staple }));
        shown.map(|(key, _)| key)
    }
}
