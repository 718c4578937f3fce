//! Session tickets: what seals them, how long they hold, and which context they belong to.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use nuncio_core::config::{CompileContext, data_source};
use nuncio_proto::pb::envoy::extensions::transport_sockets::tls::v3::TlsSessionTicketKeys;
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Bytes of a configured key: its name, and what OpenSSL uses for HMAC-SHA256 and for AES-256-CBC.
const KEY: usize = 80;
/// Bytes of a key's name, which stands before what it sealed.
const NAME: usize = 16;

/// Keys for tickets: the first seals, all open.
pub(super) struct TicketKeys {
    keys: RwLock<Vec<Key>>,
    /// When the first key was made, for keys that are made here and replaced from time to time.
    made: Option<RwLock<u64>>,
}

struct Key {
    name: [u8; NAME],
    aead: LessSafeKey,
}

impl Key {
    fn new(bytes: &[u8; KEY]) -> Option<Self> {
        let (name, secret) = bytes.split_first_chunk::<NAME>()?;
        // The two secrets become one key.
        let key = UnboundKey::new(&AES_256_GCM, digest(&SHA256, secret).as_ref()).ok()?;
        Some(Self { name: *name, aead: LessSafeKey::new(key) })
    }

    fn random() -> Option<Self> {
        let mut bytes = [0; KEY];
        rand::fill(&mut bytes).ok()?;
        Self::new(&bytes)
    }
}

/// How long a key of our own seals tickets; after as long again it opens none.
const ROTATE: u64 = 2 * 24 * 3600;

impl TicketKeys {
    /// Keys that nobody else has, replaced every two days.
    pub(super) fn random() -> Self {
        Self {
            keys: RwLock::new(Key::random().into_iter().collect()),
            made: Some(RwLock::new(UnixTime::now().as_secs())),
        }
    }

    /// `TlsSessionTicketKeys`, which several processes may share.
    pub(super) fn compile(message: &TlsSessionTicketKeys, cx: &CompileContext<'_>) -> Option<Self> {
        let TlsSessionTicketKeys { keys } = message;
        let mut compiled = Vec::with_capacity(keys.len());
        for (i, source) in keys.iter().enumerate() {
            let cx = cx.item("keys", i);
            let bytes = data_source(source, &cx)?;
            let Some(key) = bytes.as_slice().try_into().ok().and_then(Key::new) else {
                cx.error(format!(
                    "Incorrect TLS session ticket key length. Length {}, expected length {KEY}.",
                    bytes.len()
                ));
                return None;
            };
            compiled.push(key);
        }
        Some(Self { keys: RwLock::new(compiled), made: None })
    }

    /// Replaces a key of our own that has sealed long enough.
    fn rotate(&self, now: u64) {
        let Some(made) = &self.made else { return };
        if now < made.read().unwrap_or_else(PoisonError::into_inner).saturating_add(ROTATE) {
            return;
        }
        let mut made = made.write().unwrap_or_else(PoisonError::into_inner);
        if now < made.saturating_add(ROTATE) {
            // Another thread was faster.
            return;
        }
        if let Some(key) = Key::random() {
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            keys.insert(0, key);
            keys.truncate(2);
            *made = now;
        }
    }

    fn seal(&self, plain: &[u8], context: &[u8], now: u64) -> Option<Vec<u8>> {
        self.rotate(now);
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut text = now.to_be_bytes().to_vec();
        text.extend_from_slice(plain);
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        key.aead.seal_in_place_append_tag(nonce_of, Aad::from(context), &mut text).ok()?;
        Some([&key.name, &nonce[..], &text].concat())
    }

    /// What was sealed, and when.
    fn open(&self, ticket: &[u8], context: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|k| k.name == *name)?;
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key.aead.open_in_place(nonce, Aad::from(context), &mut text).ok()?;
        let (time, plain) = plain.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*time), plain.to_vec()))
    }
}

/// How long a ticket opens a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime(Duration);

impl Lifetime {
    /// Two days, whatever `session_timeout` says, as in Envoy.
    pub(super) fn tls13() -> Self {
        Self(Duration::from_secs(2 * 24 * 3600))
    }

    /// `session_timeout`
    pub(super) fn tls12(timeout: Duration) -> Self {
        Self(timeout)
    }
}

/// Makes the tickets of one context and one version of TLS.
pub(super) struct Ticketer {
    keys: Arc<TicketKeys>,
    context: [u8; 32],
    lifetime: Lifetime,
}

impl Ticketer {
    /// Tickets that open nothing but sessions of `context`.
    pub(super) fn new(keys: &Arc<TicketKeys>, context: [u8; 32], lifetime: Lifetime) -> Arc<Self> {
        Arc::new(Self { keys: Arc::clone(keys), context, lifetime })
    }

    fn open_at(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (made, plain) = self.keys.open(ticket, &self.context)?;
        (now.saturating_sub(made) < self.lifetime.0.as_secs()).then_some(plain)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.0.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.seal(plain, &self.context, UnixTime::now().as_secs())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open_at(cipher, UnixTime::now().as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seeds: &[u8]) -> Arc<TicketKeys> {
        let keys = seeds.iter().filter_map(|s| Key::new(&[*s; KEY])).collect();
        Arc::new(TicketKeys { keys: RwLock::new(keys), made: None })
    }

    fn ticketer(seeds: &[u8], context: u8) -> Arc<Ticketer> {
        Ticketer::new(&of(seeds), [context; 32], Lifetime(Duration::from_secs(10)))
    }

    #[test]
    fn a_ticket_opens_where_its_key_is_known_and_the_context_is_the_same() {
        let ticket = ticketer(&[1], 7).encrypt(b"session").unwrap();
        for (seeds, context, opens) in
            [(&[1][..], 7, true), (&[2, 1], 7, true), (&[2], 7, false), (&[1], 8, false)]
        {
            let opened = ticketer(seeds, context).decrypt(&ticket);
            assert_eq!(opened.as_deref(), opens.then_some(&b"session"[..]), "{seeds:?} {context}");
        }
    }

    #[test]
    fn the_first_key_seals() {
        let ticket = ticketer(&[2, 1], 7).encrypt(b"session").unwrap();
        assert_eq!(ticketer(&[1], 7).decrypt(&ticket), None);
    }

    #[test]
    fn a_ticket_is_worth_nothing_after_its_lifetime_or_when_a_bit_is_changed() {
        let maker = ticketer(&[1], 7);
        let mut ticket = maker.keys.seal(b"session", &maker.context, 100).unwrap();
        assert!(maker.open_at(&ticket, 109).is_some());
        assert!(maker.open_at(&ticket, 110).is_none());
        for at in 0..ticket.len() {
            ticket[at] ^= 1;
            assert!(maker.open_at(&ticket, 101).is_none(), "{at}");
            ticket[at] ^= 1;
        }
    }

    #[test]
    fn a_key_of_our_own_opens_its_tickets_until_the_key_after_the_next() {
        let keys = TicketKeys::random();
        let start = UnixTime::now().as_secs();
        let ticket = keys.seal(b"session", b"", start).unwrap();
        for (after, opens) in [(ROTATE, true), (2 * ROTATE, false)] {
            keys.seal(b"another", b"", start + after).unwrap();
            assert_eq!(keys.open(&ticket, b"").is_some(), opens);
        }
    }
}
