//! What is known of a secured connection: what logs, headers and routes may ask of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

/// A secured connection, as its handshake left it.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its name in OpenSSL (`ECDHE-RSA-AES128-GCM-SHA256`, `TLS_AES_128_GCM_SHA256`).
    pub cipher: &'static str,
    /// The group of the key exchange, such as `X25519`; empty where none was made.
    pub group: &'static str,
    /// How the peer signed, such as `rsa_pss_rsae_sha256`; empty where it showed no certificate or the session was
    /// resumed.
    pub signature: &'static str,
    /// The protocol agreed by ALPN; empty where none was.
    pub alpn: Box<[u8]>,
    /// The server name that the client asked for, on a client's side the one that we asked for.
    pub server_name: Option<Box<str>>,
    /// Our own certificate.
    pub local: Option<Arc<CertificateInfo>>,
    /// The peer's certificate.
    pub peer: Option<Box<PeerInfo>>,
    /// The session was resumed.
    pub resumed: bool,
    /// The session's identifier, which TLS 1.2 has; empty where none was given.
    pub session_id: Box<[u8]>,
    /// Whether a client that asked for our certificate's OCSP response got one; none where nobody asked.
    pub stapled: Option<bool>,
}

/// What a peer showed of itself.
#[derive(Clone, Debug, Default)]
pub struct PeerInfo {
    /// Its chain, its own certificate first; never empty.
    pub chain: Vec<CertificateInfo>,
    /// The chain leads to a trusted authority, or a pin matched.
    pub validated: bool,
    /// An authority is configured and its chain does not lead there, which was let pass.
    pub distrusted: bool,
    /// What upstreams are told of it, by which of its facts, made with the first request.
    pub told: RefCell<Vec<(u8, Rc<str>)>>,
}

impl PeerInfo {
    /// A peer whose `chain` was refused; none where it showed nothing.
    pub fn refused(chain: Vec<CertificateInfo>) -> Option<Box<Self>> {
        (!chain.is_empty()).then(|| Box::new(Self { chain, ..Self::default() }))
    }

    /// What is told of these facts (a number that stands for them), which `make` says the first time.
    pub fn told(&self, facts: u8, make: impl FnOnce() -> String) -> Rc<str> {
        if let Some((_, text)) = self.told.borrow().iter().find(|(known, _)| *known == facts) {
            return Rc::clone(text);
        }
        let text: Rc<str> = make().into();
        self.told.borrow_mut().push((facts, Rc::clone(&text)));
        text
    }
}

impl TlsInfo {
    /// The peer's own certificate.
    pub fn peer_certificate(&self) -> Option<&CertificateInfo> {
        self.peer.as_ref()?.chain.first()
    }
}

/// A certificate in the words of logs and headers. Names are in the form of RFC 2253.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateInfo {
    /// DER.
    pub der: Box<[u8]>,
    /// SHA-256 of the DER, in hex.
    pub sha256: Box<str>,
    /// SHA-1 of the DER, in hex.
    pub sha1: Box<str>,
    /// The serial number, in hex.
    pub serial: Box<str>,
    /// The subject's name.
    pub subject: Box<str>,
    /// The issuer's name.
    pub issuer: Box<str>,
    /// Subject alternative names of type URI.
    pub uri_sans: Vec<Box<str>>,
    /// Subject alternative names of type DNS.
    pub dns_sans: Vec<Box<str>>,
    /// Subject alternative names of type IP.
    pub ip_sans: Vec<Box<str>>,
    /// Subject alternative names of type email.
    pub email_sans: Vec<Box<str>>,
    /// Subject alternative names of type OtherName whose value is text.
    pub other_sans: Vec<Box<str>>,
    /// When it begins to hold.
    pub not_before: Option<SystemTime>,
    /// When it ends.
    pub not_after: Option<SystemTime>,
}

impl CertificateInfo {
    /// The certificate as PEM (RFC 7468).
    pub fn pem(&self) -> String {
        let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
        for (i, c) in STANDARD.encode(&self.der).chars().enumerate() {
            if i > 0 && i % 64 == 0 {
                out.push('\n');
            }
            out.push(c);
        }
        out.push_str("\n-----END CERTIFICATE-----\n");
        out
    }

    /// The same with what could not stand in a URL as escapes.
    pub fn url_encoded_pem(&self) -> String {
        let mut out = String::new();
        for c in self.pem().chars() {
            match c {
                '+' | '/' | '=' | ' ' | '\n' => {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "%{:02X}", u32::from(c));
                }
                _ => out.push(c),
            }
        }
        out
    }
}
