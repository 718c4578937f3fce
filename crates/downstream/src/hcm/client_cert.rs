//! `x-forwarded-client-cert`: what the upstream is told of the client's certificate.

use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::stream_info::{CertificateInfo, TlsInfo};
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as pb;

/// `forward_client_cert_details`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardClientCert {
    /// The header goes.
    #[default]
    Sanitize,
    /// It stays where the client has shown a certificate.
    ForwardOnly,
    /// An element of our own is appended to it there.
    AppendForward,
    /// It is replaced by one of our own there.
    SanitizeSet,
    /// It stays, whoever sent it.
    AlwaysForwardOnly,
}

/// The compiled fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertPolicy {
    /// What becomes of the header.
    pub forward: ForwardClientCert,
    /// `set_current_client_cert_details`: what an element tells besides the hash.
    pub details: ClientCertDetails,
}

/// What an element tells of the certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCertDetails {
    cert: bool,
    chain: bool,
    subject: bool,
    uri: bool,
    dns: bool,
}

impl ClientCertPolicy {
    /// Compiles the fields; constraints have seen to their values.
    pub fn compile(mode: i32, details: Option<pb::SetCurrentClientCertDetails>) -> Self {
        use pb::ForwardClientCertDetails as Mode;
        let forward = match Mode::try_from(mode) {
            Ok(Mode::Sanitize) | Err(_) => ForwardClientCert::Sanitize,
            Ok(Mode::ForwardOnly) => ForwardClientCert::ForwardOnly,
            Ok(Mode::AppendForward) => ForwardClientCert::AppendForward,
            Ok(Mode::SanitizeSet) => ForwardClientCert::SanitizeSet,
            Ok(Mode::AlwaysForwardOnly) => ForwardClientCert::AlwaysForwardOnly,
        };
        let pb::SetCurrentClientCertDetails { subject, cert, chain, dns, uri } = details.unwrap_or_default();
        let subject = subject.unwrap_or_default();
        Self { forward, details: ClientCertDetails { cert, chain, subject, uri, dns } }
    }

    /// Gives a request the header that it goes on with. `tls`: what is known of its connection, if that is secured.
    #[inline]
    pub fn apply(&self, headers: &mut HeaderMap, tls: Option<&TlsInfo>) {
        if self.forward == ForwardClientCert::AlwaysForwardOnly {
            return;
        }
        match tls.filter(|tls| tls.peer.is_some()) {
            Some(tls) => self.tell(headers, tls),
            None => {
                headers.remove(Known::XForwardedClientCert);
            }
        }
    }

    /// The client has shown a certificate.
    #[cold]
    fn tell(&self, headers: &mut HeaderMap, tls: &TlsInfo) {
        const NAME: Known = Known::XForwardedClientCert;
        match self.forward {
            ForwardClientCert::Sanitize => {
                headers.remove(NAME);
            }
            ForwardClientCert::ForwardOnly | ForwardClientCert::AlwaysForwardOnly => {}
            ForwardClientCert::AppendForward => {
                headers.append_joined(NAME, b",", self.details.element(tls).as_bytes());
            }
            ForwardClientCert::SanitizeSet => headers.set(NAME, self.details.element(tls).as_bytes()),
        }
    }
}

impl ClientCertDetails {
    /// One element: `By`, `Hash`, then what is asked for, joined by `;`.
    fn element(self, tls: &TlsInfo) -> String {
        let (own, peer) = (tls.local.as_deref(), tls.peer_certificate());
        let mut parts: Vec<String> = Vec::new();
        parts.extend(own.iter().flat_map(|c| &c.uri_sans).map(|uri| format!("By={uri}")));
        parts.extend(peer.map(|c| format!("Hash={}", c.sha256)));
        if let Some(peer) = peer {
            if self.cert {
                parts.push(format!("Cert=\"{}\"", peer.url_encoded_pem()));
            }
            if self.chain {
                let chain: String =
                    tls.peer.iter().flat_map(|p| &p.chain).map(CertificateInfo::url_encoded_pem).collect();
                parts.push(format!("Chain=\"{chain}\""));
            }
            if self.subject {
                parts.push(format!("Subject=\"{}\"", peer.subject));
            }
            if self.uri {
                match peer.uri_sans.as_slice() {
                    [] => parts.push("URI=".to_owned()),
                    uris => parts.extend(uris.iter().map(|uri| format!("URI={uri}"))),
                }
            }
            if self.dns {
                parts.extend(peer.dns_sans.iter().map(|dns| format!("DNS={dns}")));
            }
        }
        parts.join(";")
    }
}

#[cfg(test)]
mod tests;
