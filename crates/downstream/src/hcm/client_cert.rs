//! `x-forwarded-client-cert`: what the upstream is told of the client's certificate.

use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::matcher::tree::{MatcherTree, Vocabulary};
use nuncio_core::matcher::{HttpFacts, HttpInput};
use nuncio_core::stream_info::{CertificateInfo, PeerInfo, StreamInfo, TlsInfo};
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as pb;
use nuncio_proto::pb::xds::r#type::matcher::v3::Matcher;
use prost::Name;
use prost_types::Any;
use std::rc::Rc;
use std::sync::Arc;

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
#[derive(Clone, Debug, Default)]
pub struct ClientCertPolicy {
    /// What holds where no matcher says otherwise.
    pub rule: ClientCertRule,
    /// `forward_client_cert_matcher`
    matcher: Option<Arc<MatcherTree<HttpInput, ClientCertRule>>>,
}

/// What becomes of the header of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCertRule {
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
    issuer: bool,
    /// `format: JSON`, where there is no header before.
    json: bool,
}

/// What the matcher looks at, and leads to.
struct Words;

impl Vocabulary for Words {
    type Input = HttpInput;
    type Action = ClientCertRule;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<HttpInput> {
        let input = HttpInput::compile(any, cx)?;
        if input.is_none() {
            cx.unsupported(format!("the matching input {} is not built", any.type_url));
        }
        input
    }

    fn action(&self, name: &str, any: &Any, cx: &CompileContext<'_>) -> Option<ClientCertRule> {
        let kind = type_name(&any.type_url);
        if kind != pb::ForwardClientCertConfig::full_name() {
            let text = "Didn't find a registered implementation for";
            cx.error(format!("{text} '{name}' with type URL: '{kind}'"));
            return None;
        }
        let pb::ForwardClientCertConfig { forward_client_cert_details, set_current_client_cert_details } =
            cx.unpack(any)?;
        Some(ClientCertRule::of(forward_client_cert_details, set_current_client_cert_details))
    }
}

impl ClientCertPolicy {
    /// The same for every request.
    pub fn of(rule: ClientCertRule) -> Self {
        Self { rule, matcher: None }
    }

    /// Compiles the fields; constraints have seen to their values. `None`: refused, with the reasons in `cx`.
    pub fn compile(
        mode: i32,
        details: Option<pb::SetCurrentClientCertDetails>,
        matcher: Option<Matcher>,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let rule = ClientCertRule::of(mode, details);
        let Some(message) = matcher else { return Some(Self::of(rule)) };
        let tree = MatcherTree::compile(message, &Words, &cx.field("forward_client_cert_matcher"))?;
        Some(Self { rule, matcher: Some(Arc::new(tree)) })
    }

    /// Gives a request the header that it goes on with.
    #[inline]
    pub fn apply(&self, head: &mut RequestHead, info: &StreamInfo) {
        let rule = match &self.matcher {
            None => self.rule,
            Some(tree) => self.matched(tree, head, info),
        };
        rule.apply(&mut head.headers, info.connection.tls());
    }

    #[cold]
    fn matched(
        &self,
        tree: &MatcherTree<HttpInput, ClientCertRule>,
        head: &RequestHead,
        info: &StreamInfo,
    ) -> ClientCertRule {
        let facts = HttpFacts::request(head, info);
        tree.find(&|input| input.value(&facts)).copied().unwrap_or(self.rule)
    }
}

impl ClientCertRule {
    fn of(mode: i32, details: Option<pb::SetCurrentClientCertDetails>) -> Self {
        use pb::ForwardClientCertDetails as Mode;
        let forward = match Mode::try_from(mode) {
            Ok(Mode::Sanitize) | Err(_) => ForwardClientCert::Sanitize,
            Ok(Mode::ForwardOnly) => ForwardClientCert::ForwardOnly,
            Ok(Mode::AppendForward) => ForwardClientCert::AppendForward,
            Ok(Mode::SanitizeSet) => ForwardClientCert::SanitizeSet,
            Ok(Mode::AlwaysForwardOnly) => ForwardClientCert::AlwaysForwardOnly,
        };
        let pb::SetCurrentClientCertDetails { subject, cert, chain, dns, uri, issuer, format } =
            details.unwrap_or_default();
        let json = pb::ForwardClientCertFormat::try_from(format) == Ok(pb::ForwardClientCertFormat::Json);
        let subject = subject.unwrap_or_default();
        Self { forward, details: ClientCertDetails { cert, chain, subject, uri, dns, issuer, json } }
    }

    /// `tls`: what is known of the request's connection, if that is secured.
    #[inline]
    fn apply(self, headers: &mut HeaderMap, tls: Option<&TlsInfo>) {
        if self.forward == ForwardClientCert::AlwaysForwardOnly {
            return;
        }
        match tls.and_then(|tls| tls.peer.as_deref().map(|peer| (tls, peer))) {
            Some((tls, peer)) => self.tell(headers, tls, peer),
            None => {
                headers.remove(Known::XForwardedClientCert);
            }
        }
    }

    /// The client has shown a certificate.
    #[cold]
    fn tell(self, headers: &mut HeaderMap, tls: &TlsInfo, peer: &PeerInfo) {
        const NAME: Known = Known::XForwardedClientCert;
        match self.forward {
            ForwardClientCert::Sanitize => {
                headers.remove(NAME);
            }
            ForwardClientCert::ForwardOnly | ForwardClientCert::AlwaysForwardOnly => {}
            ForwardClientCert::SanitizeSet => self.details.set(headers, tls, peer),
            ForwardClientCert::AppendForward => match headers.get(NAME) {
                None | Some([]) => self.details.set(headers, tls, peer),
                Some([b'[', list @ .., b']']) => {
                    let element = self.details.as_json(true).element(tls, peer);
                    let list = [b"[", list, b",", element.as_bytes(), b"]"].concat();
                    headers.set(NAME, &list);
                }
                Some(_) => {
                    let element = self.details.as_json(false).element(tls, peer);
                    headers.append_joined(NAME, b",", element.as_bytes());
                }
            },
        }
    }
}

impl ClientCertDetails {
    fn as_json(self, json: bool) -> Self {
        Self { json, ..self }
    }

    /// Puts an element in the place of what there was.
    fn set(self, headers: &mut HeaderMap, tls: &TlsInfo, peer: &PeerInfo) {
        const NAME: Known = Known::XForwardedClientCert;
        let element = self.element(tls, peer);
        if self.json {
            headers.set(NAME, format!("[{element}]").as_bytes());
        } else {
            headers.set(NAME, element.as_bytes());
        }
    }

    /// One element, made once for a connection.
    fn element(self, tls: &TlsInfo, peer: &PeerInfo) -> Rc<str> {
        let Self { cert, chain, subject, uri, dns, issuer, json } = self;
        let facts = [cert, chain, subject, uri, dns, issuer, json];
        let facts = facts.iter().fold(0_u8, |all, fact| all << 1 | u8::from(*fact));
        peer.told(facts, || if json { self.json(tls, peer) } else { self.text(tls, peer) })
    }

    /// `By`, `Hash`, then what is asked for, joined by `;`.
    fn text(self, tls: &TlsInfo, peer: &PeerInfo) -> String {
        let own = tls.local.as_deref();
        let mut parts: Vec<String> = Vec::new();
        parts.extend(own.iter().flat_map(|c| &c.uri_sans).map(|uri| format!("By={uri}")));
        let Some(leaf) = peer.chain.first() else { return parts.join(";") };
        parts.push(format!("Hash={}", leaf.sha256));
        if self.cert {
            parts.push(format!("Cert=\"{}\"", leaf.url_encoded_pem()));
        }
        if self.chain {
            let chain: String = peer.chain.iter().map(CertificateInfo::url_encoded_pem).collect();
            parts.push(format!("Chain=\"{chain}\""));
        }
        if self.subject {
            parts.push(format!("Subject=\"{}\"", leaf.subject));
        }
        if self.uri {
            match leaf.uri_sans.as_slice() {
                [] => parts.push("URI=".to_owned()),
                uris => parts.extend(uris.iter().map(|uri| format!("URI={uri}"))),
            }
        }
        if self.dns {
            parts.extend(leaf.dns_sans.iter().map(|dns| format!("DNS={dns}")));
        }
        if self.issuer {
            parts.push(format!("Issuer=\"{}\"", leaf.issuer));
        }
        parts.join(";")
    }

    /// The same as a JSON object; lists without anything in them are left out.
    fn json(self, tls: &TlsInfo, peer: &PeerInfo) -> String {
        let mut object = serde_json::Map::new();
        let texts = |values: &[Box<str>]| values.iter().map(|v| v.to_string()).collect::<Vec<_>>();
        if let Some(own) = tls.local.as_deref().filter(|own| !own.uri_sans.is_empty()) {
            object.insert("by".to_owned(), texts(&own.uri_sans).into());
        }
        if let Some(leaf) = peer.chain.first() {
            object.insert("hash".to_owned(), leaf.sha256.as_ref().into());
            if self.cert {
                object.insert("cert".to_owned(), leaf.pem().into());
            }
            if self.chain {
                let chain: Vec<String> = peer.chain.iter().map(CertificateInfo::pem).collect();
                object.insert("chain".to_owned(), chain.into());
            }
            if self.subject {
                object.insert("subject".to_owned(), leaf.subject.as_ref().into());
            }
            for (wanted, name, values) in
                [(self.uri, "uri", &leaf.uri_sans), (self.dns, "dns", &leaf.dns_sans)]
            {
                if wanted && !values.is_empty() {
                    object.insert(name.to_owned(), texts(values).into());
                }
            }
            if self.issuer {
                object.insert("issuer".to_owned(), leaf.issuer.as_ref().into());
            }
        }
        serde_json::Value::Object(object).to_string()
    }
}

#[cfg(test)]
mod tests;
