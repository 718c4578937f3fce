//! Header names as configuration gives them, and changes to headers (`request_headers_to_add` and its like).

mod ordered;

pub use ordered::OrderedMutations;

use crate::config::CompileContext;
use crate::format::{Commands, Format, FormatContext};
use nuncio_codec::head::{HeaderMap, Known, Name, RequestHead, ResponseHead};
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use pb::header_value_option::HeaderAppendAction;
use smallvec::SmallVec;
use std::fmt;

/// A lower-case header name. `host` is `:authority`, as everywhere in Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName(Inner);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Inner {
    Known(Known),
    Other(Box<str>),
}

impl HeaderName {
    /// A name in any case.
    pub fn new(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        Self(match Known::find(lower.as_bytes()) {
            Known::Other => Inner::Other(lower.into()),
            Known::Host => Inner::Known(Known::Authority),
            known => Inner::Known(known),
        })
    }

    /// For look-ups in a map.
    #[inline]
    pub fn as_name(&self) -> Name<'_> {
        match &self.0 {
            Inner::Known(known) => Name::from(*known),
            Inner::Other(name) => Name::other(name.as_bytes()),
        }
    }

    /// The lower-case text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Inner::Known(known) => known.as_str(),
            Inner::Other(name) => name,
        }
    }

    /// Whether `headers` has it.
    #[inline]
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        headers.contains(self.as_name())
    }

    /// Its first value.
    #[inline]
    pub fn value<'m>(&self, headers: &'m HeaderMap) -> Option<&'m [u8]> {
        headers.get(self.as_name())
    }

    /// Its values in order.
    pub fn values<'m>(&'m self, headers: &'m HeaderMap) -> impl Iterator<Item = &'m [u8]> + 'm {
        headers.get_all(self.as_name())
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which headers a map holds: some are joined with a comma where a value is added to one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Request headers.
    Request,
    /// Response headers.
    Response,
}

/// Whether a second value of `name` is joined to the first with `,`, as Envoy does with the headers that it keeps
/// in fixed places; others stay separate lines. Seen on both sides of Envoy 1.40, for received headers and for
/// added ones.
pub fn is_joined(side: Side, name: Name<'_>) -> bool {
    use Known as K;
    let both = matches!(
        name.known(),
        K::CacheControl
            | K::ContentEncoding
            | K::ContentType
            | K::Via
            | K::XRequestId
            | K::XEnvoyAttemptCount
            | K::XEnvoyDecoratorOperation
    );
    both || match side {
        Side::Request => match name.known() {
            K::Accept
            | K::AcceptEncoding
            | K::AccessControlRequestMethod
            | K::Authorization
            | K::Origin
            | K::Referer
            | K::UserAgent => true,
            K::XForwardedFor
            | K::XForwardedHost
            | K::XForwardedPort
            | K::XForwardedProto
            | K::XClientTraceId => true,
            K::Other => matches!(
                name.as_bytes(),
                b"access-control-request-headers"
                    | b"grpc-accept-encoding"
                    | b"if-match"
                    | b"if-none-match"
                    | b"pragma"
            ),
            _ => false,
        },
        Side::Response => match name.known() {
            K::Age
            | K::Date
            | K::Etag
            | K::GrpcMessage
            | K::GrpcStatus
            | K::LastModified
            | K::Location
            | K::Server
            | K::Vary => true,
            K::XEnvoyDegraded => true,
            K::Other => matches!(
                name.as_bytes(),
                b"access-control-allow-headers"
                    | b"access-control-allow-origin"
                    | b"access-control-expose-headers"
                    | b"expires"
            ),
            _ => false,
        },
    }
}

/// The value of the first cookie called `name`, without surrounding double quotes. Blanks before a name are
/// skipped; everything behind `=` up to the `;` belongs to the value.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &[u8]) -> Option<&'h [u8]> {
    headers.get_all(Known::Cookie).flat_map(|line| line.split(|&b| b == b';')).find_map(|pair| {
        let pair = pair.get(pair.iter().position(|&b| b != b' ')?..)?;
        let value = pair.strip_prefix(name)?.strip_prefix(b"=")?;
        Some(match value {
            [b'"', inner @ .., b'"'] => inner,
            _ => value,
        })
    })
}

/// The changes of one level (a route, a virtual host, …): removals, then values to add or set.
#[derive(Debug, Default)]
pub struct HeaderMutations {
    remove: Box<[HeaderName]>,
    set: Box<[HeaderValue]>,
}

#[derive(Debug)]
struct HeaderValue {
    name: HeaderName,
    value: Format,
    action: HeaderAppendAction,
    keep_empty: bool,
}

/// Finds the message's fields in the context.
#[derive(Clone, Copy, Debug)]
pub struct MutationFields {
    /// The list of values to add.
    pub add: &'static str,
    /// The list of names to remove.
    pub remove: &'static str,
}

impl MutationFields {
    /// `request_headers_to_add` and `request_headers_to_remove`.
    pub const REQUEST: Self = Self { add: "request_headers_to_add", remove: "request_headers_to_remove" };
    /// `response_headers_to_add` and `response_headers_to_remove`.
    pub const RESPONSE: Self = Self { add: "response_headers_to_add", remove: "response_headers_to_remove" };
}

/// Whether configuration may change the header.
fn is_modifiable(name: &str) -> bool {
    !name.starts_with(':') && !name.eq_ignore_ascii_case("host")
}

/// Envoy's older spelling of metadata and per-request state in header values.
fn modern(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("_METADATA([").or_else(|| rest.find("%PER_REQUEST_STATE(")) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        rest = found;
        if let Some(inner) = found.strip_prefix("%PER_REQUEST_STATE(") {
            out.push_str("%FILTER_STATE(");
            let end = inner.find(")%").unwrap_or(inner.len());
            let (key, tail) = inner.split_at(end);
            out.push_str(key);
            out.push_str(":PLAIN");
            rest = tail;
        } else if let Some(inner) = found.strip_prefix("_METADATA([")
            && let Some(end) = inner.find("])%")
        {
            let (list, tail) = inner.split_at(end);
            let keys: Vec<&str> = list.split(',').map(|k| k.trim().trim_matches('"')).collect();
            out.push_str("_METADATA(");
            out.push_str(&keys.join(":"));
            rest = tail.strip_prefix(']').unwrap_or(tail);
        } else {
            break;
        }
    }
    out.push_str(rest);
    out
}

impl HeaderMutations {
    /// The messages, compiled. `None`: refused, and every reason is recorded.
    pub fn compile(
        add: &[pb::HeaderValueOption],
        remove: &[String],
        cx: &CompileContext<'_>,
        fields: MutationFields,
    ) -> Option<Self> {
        Self::compile_with(add, remove, cx, fields, &Commands::default())
    }

    /// The same with formats that know more commands.
    pub fn compile_with(
        add: &[pb::HeaderValueOption],
        remove: &[String],
        cx: &CompileContext<'_>,
        fields: MutationFields,
        commands: &Commands,
    ) -> Option<Self> {
        let set: Vec<_> = add
            .iter()
            .enumerate()
            .filter_map(|(i, m)| HeaderValue::compile(m, &cx.item(fields.add, i), commands))
            .collect();
        let mut good = set.len() == add.len();
        for (i, _) in remove.iter().enumerate().filter(|(_, name)| !is_modifiable(name)) {
            cx.item(fields.remove, i).error(":-prefixed or host headers may not be removed");
            good = false;
        }
        let remove = remove.iter().map(|name| HeaderName::new(name)).collect();
        good.then(|| Self { remove, set: set.into() })
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }

    /// The names of the headers that it may change, in the order in which it does.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.remove.iter().chain(self.set.iter().map(|header| &header.name))
    }

    /// Changes a request's headers; values read them as the removals leave them, whatever `cx.request` is.
    pub fn apply_request(&self, head: &mut RequestHead, cx: &FormatContext<'_>) {
        self.apply(&mut head.headers, Side::Request, Reads::Request, cx);
    }

    /// Changes the headers of a request of the proxy's own; values read the heads of `cx`.
    pub fn apply_own(&self, head: &mut RequestHead, cx: &FormatContext<'_>) {
        self.apply(&mut head.headers, Side::Request, Reads::Context, cx);
    }

    /// Changes a response's headers; values read them as the removals leave them, whatever `cx.response` is.
    pub fn apply_response(&self, head: &mut ResponseHead, cx: &FormatContext<'_>) {
        self.apply(&mut head.headers, Side::Response, Reads::Response(head.status), cx);
    }

    /// Removals; then every value is formatted; then what overwrites; then what is added.
    fn apply(&self, headers: &mut HeaderMap, side: Side, reads: Reads, cx: &FormatContext<'_>) {
        for name in &self.remove {
            headers.remove(name.as_name());
        }
        if self.set.is_empty() {
            return;
        }
        let mut values = Vec::new();
        let mut planned: SmallVec<[(&HeaderValue, usize, bool); 8]> = SmallVec::new();
        for header in &self.set {
            let from = values.len();
            match header.value.as_literal() {
                Some(text) => values.extend_from_slice(text),
                None => header.value.render(&reads.context(headers, cx), &mut values),
            }
            match header.overwrites(headers, values.len() == from) {
                Some(overwrite) => planned.push((header, values.len(), overwrite)),
                None => values.truncate(from),
            }
        }
        for overwriting in [true, false] {
            let mut from = 0;
            for (header, to, overwrite) in &planned {
                let value = values.get(from..*to).unwrap_or_default();
                from = *to;
                if *overwrite == overwriting {
                    header.put(headers, side, value, overwriting);
                }
            }
        }
    }
}

/// What the map that is being changed is to the values' formats.
#[derive(Clone, Copy)]
enum Reads {
    Request,
    Response(u16),
    /// Nothing: they read the context's heads.
    Context,
}

impl Reads {
    fn context<'a>(self, headers: &'a HeaderMap, cx: &FormatContext<'a>) -> FormatContext<'a> {
        match self {
            Self::Request => FormatContext { request: Some(headers), ..*cx },
            Self::Response(status) => FormatContext { response: Some((headers, status)), ..*cx },
            Self::Context => *cx,
        }
    }
}

impl HeaderValue {
    fn compile(
        message: &pb::HeaderValueOption,
        cx: &CompileContext<'_>,
        commands: &Commands,
    ) -> Option<Self> {
        let pb::HeaderValueOption { header, append, append_action, keep_empty_value } = message;
        let Some(pb::HeaderValue { key, value, raw_value }) = header else {
            cx.field("header").error("value is required");
            return None;
        };
        if !is_modifiable(key) {
            cx.field("header").error(":-prefixed or host headers may not be modified");
            return None;
        }
        let action =
            HeaderAppendAction::try_from(*append_action).unwrap_or(HeaderAppendAction::AppendIfExistsOrAdd);
        let action = match append {
            None => action,
            Some(_) if action != HeaderAppendAction::AppendIfExistsOrAdd => {
                cx.error("Both append and append_action are set and it's not allowed");
                return None;
            }
            Some(true) => HeaderAppendAction::AppendIfExistsOrAdd,
            Some(false) => HeaderAppendAction::OverwriteIfExistsOrAdd,
        };
        let value = if raw_value.is_empty() {
            value.clone()
        } else {
            match String::from_utf8(raw_value.clone()) {
                Ok(text) => text,
                Err(_) => {
                    cx.field("header")
                        .field("raw_value")
                        .unsupported("a raw value that is not UTF-8 is not built");
                    return None;
                }
            }
        };
        let format = Format::with(&modern(&value), commands, true);
        let value = format.map_err(|e| cx.field("header").field("value").error(e.to_string())).ok()?;
        Some(Self { name: HeaderName::new(key), value, action, keep_empty: *keep_empty_value })
    }

    /// Whether its value takes the place of those that are there, or comes beside them; `None` where it does not
    /// come at all. `empty`: the value is.
    fn overwrites(&self, headers: &HeaderMap, empty: bool) -> Option<bool> {
        let there = || self.name.is_in(headers);
        let overwrite = match self.action {
            HeaderAppendAction::AppendIfExistsOrAdd => Some(false),
            HeaderAppendAction::AddIfAbsent => (!there()).then_some(false),
            HeaderAppendAction::OverwriteIfExists => there().then_some(true),
            HeaderAppendAction::OverwriteIfExistsOrAdd => Some(true),
        };
        overwrite.filter(|_| !empty || self.keep_empty)
    }

    fn put(&self, headers: &mut HeaderMap, side: Side, value: &[u8], overwrite: bool) {
        let name = self.name.as_name();
        if overwrite {
            // As in Envoy the new one goes to the end.
            if !name.as_bytes().starts_with(b":") {
                headers.remove(name);
            }
            headers.set(name, value);
        } else if is_joined(side, name) {
            headers.append_joined(name, b",", value);
        } else {
            headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests;
