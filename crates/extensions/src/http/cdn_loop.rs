//! `envoy.filters.http.cdn_loop`: ends requests that come back to the same content delivery network (RFC 8586).

use super::frame::{Framed, Live, compiled};
use nuncio_codec::head::{HeaderMap, Name};
use nuncio_core::config::CompileContext;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Request, RouteSays};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_proto::pb::envoy::extensions::filters::http::cdn_loop::v3::CdnLoopConfig as Message;
use std::rc::Rc;
use std::sync::Arc;

const HEADER: &[u8] = b"cdn-loop";

/// Compiles the filter's message.
pub struct CdnLoopFactory;

impl HttpFilterFactory for CdnLoopFactory {
    type Config = Message;
    type PerRoute = Message;

    fn compile(&self, message: Message, cx: &CompileContext<'_>) -> Option<Compiled> {
        let Message { cdn_id, max_allowed_occurrences } = message;
        if cdn_id_end(cdn_id.as_bytes()) != Some(cdn_id.len()) {
            cx.field("cdn_id").error(format!("Provided cdn_id \"{cdn_id}\" is not a valid CDN identifier"));
            return None;
        }
        let most = max_allowed_occurrences as usize;
        compiled::<CdnLoopFilter>(Settings { id: cdn_id.into(), most })
    }
}

/// A compiled filter.
struct Settings {
    id: Box<str>,
    /// How often a request may have been here.
    most: usize,
}

/// One stream's filter.
struct CdnLoopFilter(Arc<Settings>);

impl Framed for CdnLoopFilter {
    type Settings = Settings;
    type Stats = ();

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}cdn_loop.")
    }

    fn make(_: Rc<Live<Self>>, settings: Arc<Settings>, _: RouteSays<'_>) -> Option<Self> {
        Some(Self(settings))
    }
}

impl HttpFilter for CdnLoopFilter {
    fn sees_responses(&self) -> bool {
        false
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let Settings { id, most } = &*self.0;
        let headers = &mut request.head.headers;
        let reply = |status, details: &'static str, body| {
            Flow::Reply(LocalReply::new(status, details).with_body(ReplyBody::Static(body)))
        };
        match count_all(headers, id.as_bytes()) {
            None => reply(400, "invalid_cdn_loop_header", "Invalid CDN-Loop header in request."),
            Some(seen) if seen > *most => {
                reply(502, "cdn_loop_detected", "The server has detected a loop between CDNs.")
            }
            Some(_) => {
                headers.append_joined(Name::other(HEADER), b",", id.as_bytes());
                Flow::Continue
            }
        }
    }
}

/// As [`count`], of all values of the header.
fn count_all(headers: &HeaderMap, id: &[u8]) -> Option<usize> {
    let mut values = headers.get_all(Name::other(HEADER));
    match (values.next(), values.next()) {
        (None, _) => Some(0),
        (Some(list), None) => count(list, id),
        (Some(first), Some(second)) => {
            let all: Vec<&[u8]> = [first, second].into_iter().chain(values).collect();
            count(&all.join(&b","[..]), id)
        }
    }
}

/// How often `id` stands in the list; `None` where it is no list of CDN identifiers with parameters
/// (RFC 8586, section 2; empty elements as in RFC 9110, section 5.6.1).
fn count(list: &[u8], id: &[u8]) -> Option<usize> {
    let mut seen = 0;
    let mut rest = skip_blanks(list);
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix(b",") {
            rest = skip_blanks(behind);
            continue;
        }
        let (name, behind) = rest.split_at_checked(cdn_id_end(rest)?)?;
        seen += usize::from(name == id);
        rest = skip_blanks(behind);
        while let Some(behind) = rest.strip_prefix(b";") {
            rest = skip_blanks(parameter(skip_blanks(behind))?);
        }
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
    Some(seen)
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// Where the identifier at the start of `text` ends: a host with an optional port, or a pseudonym.
fn cdn_id_end(text: &[u8]) -> Option<usize> {
    let host = if text.starts_with(b"[") {
        let end = text.iter().position(|b| *b == b']')?;
        let inner = std::str::from_utf8(text.get(1..end)?).ok()?;
        inner.parse::<std::net::Ipv6Addr>().ok()?;
        end + 1
    } else {
        run(text, |b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~()".contains(&b))
    };
    if host == 0 {
        return None;
    }
    match text.get(host..)?.strip_prefix(b":") {
        None => Some(host),
        Some(port) => Some(host + 1 + run(port, |b| b.is_ascii_digit())),
    }
}

/// What is behind the parameter at the start of `text`: `name=token` or `name="text"`.
fn parameter(text: &[u8]) -> Option<&[u8]> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let name = run(text, is_token);
    let value = text.get(name..)?.strip_prefix(b"=").filter(|_| name > 0)?;
    let Some(mut quoted) = value.strip_prefix(b"\"") else {
        let end = run(value, is_token);
        return value.get(end..).filter(|_| end > 0);
    };
    loop {
        match quoted {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', _, rest @ ..] | [_, rest @ ..] => quoted = rest,
            [] => return None,
        }
    }
}

/// How many bytes at the start are such.
fn run(text: &[u8], is: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|b| !is(*b)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_counted_in_well_formed_lists_only() {
        for (list, want) in [
            ("", Some(0)),
            (",, ,", Some(0)),
            ("me", Some(1)),
            ("a, me;v=1 ; w=\"x, me\\\"\" ,me:80", Some(1)),
            ("me,me", Some(2)),
            ("ME", Some(0)),
            ("[::1]:80, me", Some(1)),
            ("[::g]", None),
            ("a;b", None),
            ("a b", None),
            ("\"me\"", None),
            ("a;b=", None),
            ("a;b=\"", None),
        ] {
            assert_eq!(count(list.as_bytes(), b"me"), want, "{list}");
        }
    }
}
