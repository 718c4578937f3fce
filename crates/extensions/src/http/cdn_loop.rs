//! `envoy.filters.http.cdn_loop`: requests that have come by here too often are answered (RFC 8586).

use super::frame::{Framed, Live, NoStats, compiled};
use nuncio_core::config::CompileContext;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Request, RouteSays};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_proto::pb::envoy::extensions::filters::http::cdn_loop::v3::CdnLoopConfig;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's message.
pub struct CdnLoopFactory;

impl HttpFilterFactory for CdnLoopFactory {
    type Config = CdnLoopConfig;
    type PerRoute = CdnLoopConfig;

    fn compile(&self, message: CdnLoopConfig, cx: &CompileContext<'_>) -> Option<Compiled> {
        let CdnLoopConfig { cdn_id, max_allowed_occurrences } = message;
        if cdn_ids(cdn_id.as_bytes()).is_none_or(|ids| ids.len() != 1 || ids != [cdn_id.as_bytes()]) {
            cx.field("cdn_id").error(format!("Provided cdn_id \"{cdn_id}\" is not a valid CDN identifier"));
            return None;
        }
        compiled::<CdnLoopFilter>(Settings { id: cdn_id.into(), most: max_allowed_occurrences as usize })
    }
}

struct Settings {
    /// What this CDN calls itself.
    id: Box<str>,
    /// How often a request may have been here.
    most: usize,
}

/// One stream's filter.
struct CdnLoopFilter(Arc<Settings>);

impl Framed for CdnLoopFilter {
    type Settings = Settings;
    type Stats = NoStats;

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}cdn_loop.")
    }

    fn make(_: Rc<Live<Self>>, settings: Arc<Settings>, _: RouteSays<'_>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Self(settings)))
    }
}

impl HttpFilter for CdnLoopFilter {
    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let headers = &mut request.head.headers;
        let Settings { id, most } = &*self.0;
        if let Some(value) = headers.get("cdn-loop") {
            let Some(ids) = cdn_ids(value) else {
                let text = ReplyBody::Static("Invalid CDN-Loop header in request.");
                return Flow::Reply(LocalReply::new(400, "invalid_cdn_loop_header").with_body(text));
            };
            if ids.iter().filter(|own| **own == id.as_bytes()).count() > *most {
                let text = ReplyBody::Static("The server has detected a loop between CDNs.");
                return Flow::Reply(LocalReply::new(502, "cdn_loop_detected").with_body(text));
            }
        }
        headers.append_joined("cdn-loop", b",", id.as_bytes());
        Flow::Continue
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The identifiers of a list of `cdn-info`, their parameters passed over; `None` where it is none.
fn cdn_ids(value: &[u8]) -> Option<Vec<&[u8]>> {
    let mut ids = Vec::new();
    let mut rest = skip_space(value);
    while !rest.is_empty() {
        if let [b',', after @ ..] = rest {
            rest = skip_space(after);
            continue;
        }
        let (id, after) = take(rest, |b| is_token(b) || matches!(b, b':' | b'[' | b']'));
        if id.is_empty() {
            return None;
        }
        ids.push(id);
        rest = skip_space(after);
        while let [b';', after @ ..] = rest {
            rest = skip_space(parameter(skip_space(after))?);
        }
        if !matches!(rest, [] | [b',', ..]) {
            return None;
        }
    }
    Some(ids)
}

/// What follows a parameter: `token = token`, or a quoted string.
fn parameter(text: &[u8]) -> Option<&[u8]> {
    let (name, rest) = take(text, is_token);
    let value = rest.strip_prefix(b"=").filter(|_| !name.is_empty())?;
    let Some(mut quoted) = value.strip_prefix(b"\"") else {
        let (token, rest) = take(value, is_token);
        return (!token.is_empty()).then_some(rest);
    };
    loop {
        match quoted {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', _, rest @ ..] | [_, rest @ ..] => quoted = rest,
            [] => return None,
        }
    }
}

fn take(text: &[u8], wanted: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| !wanted(*b)).unwrap_or(text.len());
    text.split_at(end)
}

fn skip_space(text: &[u8]) -> &[u8] {
    take(text, |b| matches!(b, b' ' | b'\t')).1
}

#[cfg(test)]
mod tests;
