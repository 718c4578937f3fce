//! Where a session's host is kept: a cookie or a header.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nuncio_codec::head::{RequestHead, ResponseHead};
use nuncio_core::config::{CompileContext, duration};
use nuncio_core::header::{HeaderName, cookie};
use nuncio_proto::context::type_name;
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use nuncio_proto::pb::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use nuncio_proto::pb::envoy::r#type::http::v3::{Cookie, CookieAttribute};
use prost::Message;

/// A compiled `session_state`.
pub(super) enum Keeper {
    /// `CookieBasedSessionState`.
    Cookie {
        name: Box<str>,
        path: Box<str>,
        /// In seconds; 0: as long as the client's session.
        ttl: i64,
        /// `; NAME=VALUE` of each further attribute.
        attributes: Box<str>,
    },
    /// `HeaderBasedSessionState`.
    Header(HeaderName),
}

/// What a cookie says, as Envoy writes it.
#[derive(Clone, PartialEq, Message)]
struct Said {
    #[prost(string, tag = "1")]
    address: String,
    /// Seconds since 1970; 0: never.
    #[prost(int64, tag = "2")]
    expires: i64,
}

impl Keeper {
    pub(super) fn compile(extension: TypedExtensionConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let TypedExtensionConfig { name, typed_config } = extension;
        let config = typed_config.unwrap_or_default();
        // Envoy finds these by their name.
        if !["envoy.http.stateful_session.cookie", "envoy.http.stateful_session.header"].contains(&&*name) {
            cx.error(format!("Didn't find a registered implementation for name: '{name}'"));
            return None;
        }
        let cx = cx.field("typed_config");
        match type_name(&config.type_url).strip_prefix("envoy.extensions.http.stateful_session.") {
            Some("cookie.v3.CookieBasedSessionState") => {
                let CookieBasedSessionState { cookie: message } = cx.unpack(&config)?;
                let Cookie { name, ttl, path, attributes } = message?;
                let ttl = match ttl {
                    None => 0,
                    Some(ttl) => duration(&ttl, &cx.field("cookie").field("ttl"))?.as_secs() as i64,
                };
                let mut more = String::new();
                for CookieAttribute { name, value } in attributes {
                    more.push_str(&if value.is_empty() {
                        format!("; {name}")
                    } else {
                        format!("; {name}={value}")
                    });
                }
                Some(Self::Cookie { name: name.into(), path: path.into(), ttl, attributes: more.into() })
            }
            Some("header.v3.HeaderBasedSessionState") => {
                let HeaderBasedSessionState { name } = cx.unpack(&config)?;
                Some(Self::Header(HeaderName::new(&name)))
            }
            _ => {
                cx.unsupported("only cookies and headers keep sessions");
                None
            }
        }
    }

    /// Whether sessions of this request are kept: a cookie has a path.
    pub(super) fn keeps(&self, head: &RequestHead) -> bool {
        let Self::Cookie { path, .. } = self else { return true };
        let (asked, path) = (head.path_without_query(), path.as_bytes());
        match path {
            [] | [b'/'] => true,
            [.., b'/'] => asked.starts_with(path),
            _ => asked.strip_prefix(path).is_some_and(|rest| matches!(rest, [] | [b'/', ..])),
        }
    }

    /// The host that a request names, as text; whether there is such a one is not known here.
    pub(super) fn host(&self, head: &RequestHead, now: i64) -> Option<String> {
        match self {
            Self::Header(name) => {
                let decoded = STANDARD.decode(name.values(&head.headers).next()?).ok()?;
                Some(String::from_utf8_lossy(&decoded).into_owned()).filter(|host| !host.is_empty())
            }
            Self::Cookie { name, .. } => {
                let decoded = STANDARD.decode(cookie(&head.headers, name.as_bytes())?).ok()?;
                let Ok(Said { address, expires }) = Said::decode(decoded.as_slice()) else {
                    // The address alone is what older versions wrote.
                    return Some(String::from_utf8_lossy(&decoded).into_owned());
                };
                Some(address).filter(|host| !host.is_empty() && (expires == 0 || expires >= now))
            }
        }
    }

    /// Tells the client where it was.
    pub(super) fn tell(&self, head: &mut ResponseHead, host: &str, now: i64) {
        match self {
            Self::Header(name) => head.headers.set(name.as_name(), STANDARD.encode(host).as_bytes()),
            Self::Cookie { name, path, ttl, attributes } => {
                let expires = if *ttl == 0 { 0 } else { now + ttl };
                let said = STANDARD.encode(Said { address: host.to_owned(), expires }.encode_to_vec());
                let age = if *ttl == 0 { String::new() } else { format!("; Max-Age={ttl}") };
                let path = if path.is_empty() { String::new() } else { format!("; Path={path}") };
                let cookie = format!("{name}=\"{said}\"{age}{path}{attributes}; HttpOnly");
                head.headers.append("set-cookie", cookie.as_bytes());
            }
        }
    }
}
