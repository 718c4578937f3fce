//! Commands that read how a connection is secured.

use super::command::Op;
use crate::stream_info::{CertificateInfo, TlsInfo};
use std::time::SystemTime;

/// Whose connection a command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsOf {
    Downstream,
    Upstream,
}

/// An end of the time for which a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    Start,
    End,
}

impl Validity {
    pub(super) fn of(self, certificate: &CertificateInfo) -> Option<SystemTime> {
        match self {
            Self::Start => certificate.not_before,
            Self::End => certificate.not_after,
        }
    }
}

/// Writes a value; false where there is none.
pub(super) type WriteTls = fn(&TlsInfo, &mut Vec<u8>) -> bool;

/// The command called `name`, if it reads a secured connection.
pub(super) fn find(name: &str) -> Option<Op> {
    let (of, field) = match name.strip_prefix("DOWNSTREAM_") {
        Some(field) => (TlsOf::Downstream, field),
        None => (TlsOf::Upstream, name.strip_prefix("UPSTREAM_")?),
    };
    if of == TlsOf::Upstream && DOWNSTREAM_ONLY.contains(&field) {
        return None;
    }
    let (_, write) = FIELDS.iter().find(|(f, _)| *f == field)?;
    Some(Op::Tls(of, *write))
}

/// What Envoy tells of clients alone.
const DOWNSTREAM_ONLY: &[&str] = &[
    "LOCAL_EMAIL_SAN",
    "LOCAL_OTHERNAME_SAN",
    "LOCAL_SUBJECT",
    "PEER_CHAIN_FINGERPRINTS_1",
    "PEER_CHAIN_FINGERPRINTS_256",
    "PEER_CHAIN_SERIALS",
    "PEER_EMAIL_SAN",
    "PEER_FINGERPRINT_1",
    "PEER_FINGERPRINT_256",
    "PEER_ISSUER_FINGERPRINT_256",
    "PEER_ISSUER_SERIAL",
    "PEER_OTHERNAME_SAN",
    "PEER_SERIAL",
];

fn put(text: &str, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(text.as_bytes());
    !text.is_empty()
}

fn put_hex(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    bytes.iter().for_each(|byte| out.extend_from_slice(format!("{byte:02x}").as_bytes()));
    !bytes.is_empty()
}

fn join<'a>(texts: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    for text in texts {
        if out.len() > before {
            out.push(b',');
        }
        out.extend_from_slice(text.as_bytes());
    }
    out.len() > before
}

fn peer(tls: &TlsInfo, out: &mut Vec<u8>, text: fn(&CertificateInfo) -> &str) -> bool {
    tls.peer_certificate().is_some_and(|c| put(text(c), out))
}

fn local(tls: &TlsInfo, out: &mut Vec<u8>, text: fn(&CertificateInfo) -> &str) -> bool {
    tls.local.as_ref().is_some_and(|c| put(text(c), out))
}

fn sans(
    certificate: Option<&CertificateInfo>,
    out: &mut Vec<u8>,
    list: fn(&CertificateInfo) -> &[Box<str>],
) -> bool {
    certificate.is_some_and(|c| join(list(c).iter().map(|s| &**s), out))
}

/// The certificate that signed the peer's own, where the peer showed it.
fn issuer(tls: &TlsInfo, out: &mut Vec<u8>, text: fn(&CertificateInfo) -> &str) -> bool {
    tls.peer.as_ref().and_then(|p| p.chain.get(1)).is_some_and(|c| put(text(c), out))
}

fn chain(tls: &TlsInfo, out: &mut Vec<u8>, text: fn(&CertificateInfo) -> &str) -> bool {
    tls.peer.as_ref().is_some_and(|p| join(p.chain.iter().map(text), out))
}

/// The values by the names that follow `DOWNSTREAM_` and `UPSTREAM_`.
const FIELDS: &[(&str, WriteTls)] = &[
    ("LOCAL_DNS_SAN", |t, out| sans(t.local.as_deref(), out, |c| &c.dns_sans)),
    ("LOCAL_EMAIL_SAN", |t, out| sans(t.local.as_deref(), out, |c| &c.email_sans)),
    ("LOCAL_IP_SAN", |t, out| sans(t.local.as_deref(), out, |c| &c.ip_sans)),
    ("LOCAL_OTHERNAME_SAN", |t, out| sans(t.local.as_deref(), out, |c| &c.other_sans)),
    ("LOCAL_SUBJECT", |t, out| local(t, out, |c| &c.subject)),
    ("LOCAL_URI_SAN", |t, out| sans(t.local.as_deref(), out, |c| &c.uri_sans)),
    ("PEER_CERT", |t, out| t.peer_certificate().is_some_and(|c| put(&c.url_encoded_pem(), out))),
    ("PEER_CHAIN_FINGERPRINTS_1", |t, out| chain(t, out, |c| &c.sha1)),
    ("PEER_CHAIN_FINGERPRINTS_256", |t, out| chain(t, out, |c| &c.sha256)),
    ("PEER_CHAIN_SERIALS", |t, out| chain(t, out, |c| &c.serial)),
    ("PEER_DNS_SAN", |t, out| sans(t.peer_certificate(), out, |c| &c.dns_sans)),
    ("PEER_EMAIL_SAN", |t, out| sans(t.peer_certificate(), out, |c| &c.email_sans)),
    ("PEER_FINGERPRINT_1", |t, out| peer(t, out, |c| &c.sha1)),
    ("PEER_FINGERPRINT_256", |t, out| peer(t, out, |c| &c.sha256)),
    ("PEER_IP_SAN", |t, out| sans(t.peer_certificate(), out, |c| &c.ip_sans)),
    ("PEER_ISSUER", |t, out| peer(t, out, |c| &c.issuer)),
    ("PEER_ISSUER_FINGERPRINT_256", |t, out| issuer(t, out, |c| &c.sha256)),
    ("PEER_ISSUER_SERIAL", |t, out| issuer(t, out, |c| &c.serial)),
    ("PEER_OTHERNAME_SAN", |t, out| sans(t.peer_certificate(), out, |c| &c.other_sans)),
    ("PEER_SERIAL", |t, out| peer(t, out, |c| &c.serial)),
    ("PEER_SUBJECT", |t, out| peer(t, out, |c| &c.subject)),
    ("PEER_URI_SAN", |t, out| sans(t.peer_certificate(), out, |c| &c.uri_sans)),
    ("TLS_CIPHER", |t, out| put(t.cipher, out)),
    ("TLS_SESSION_ID", |t, out| put_hex(&t.session_id, out)),
    ("TLS_GROUP", |t, out| put(t.group, out)),
    ("TLS_VERSION", |t, out| put(t.version, out)),
];
