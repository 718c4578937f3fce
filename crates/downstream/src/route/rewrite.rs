//! How a route changes `:path` and `:authority` on the way upstream.

use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::format::{Format, FormatContext};
use nuncio_core::header::HeaderName;
use nuncio_core::matcher::RegexRewrite;

/// What becomes of a path, query apart.
#[derive(Debug)]
pub(super) enum PathRewrite {
    /// `prefix_rewrite`: the matched part is replaced.
    Prefix(Box<str>),
    /// `regex_rewrite`: every match in the path is replaced.
    Regex(Box<RegexRewrite>),
    /// `path_rewrite_policy` with a URI template.
    Template(Box<super::template::TemplateRewrite>),
    /// `path_rewrite`: all of it is replaced by what the format says of the request.
    Format(Box<Format>),
}

/// How much of a path its route matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matched {
    /// So many bytes from its beginning.
    Bytes(usize),
    /// All of it, query apart.
    Whole,
    /// So many bytes of what is left without parameters (`ignore_path_parameters_in_path_matching`).
    WithoutParameters(usize),
}

impl Matched {
    /// The same of a path whose parameters were ignored.
    pub(super) fn without_parameters(self) -> Self {
        match self {
            Self::Bytes(n) => Self::WithoutParameters(n),
            other => other,
        }
    }

    /// How many bytes of `path` that is; `None` where parameters stand in between, so that `path` itself does not begin
    /// with what was matched.
    fn within(self, path: &[u8]) -> Option<usize> {
        match self {
            Self::Bytes(n) => Some(n.min(path.len())),
            Self::Whole => Some(path.len()),
            Self::WithoutParameters(n) => {
                let begins = memchr::memchr(b';', path).is_none_or(|at| n <= at);
                begins.then_some(n)
            }
        }
    }
}

/// Where the query or fragment of `path` begins; its length where it has none.
#[inline]
pub(super) fn path_end(path: &[u8]) -> usize {
    memchr::memchr2(b'?', b'#', path).unwrap_or(path.len())
}

impl PathRewrite {
    /// The field of `RouteAction` that says it.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Prefix(_) => "prefix_rewrite",
            Self::Regex(_) => "regex_rewrite",
            Self::Template(_) => "path_rewrite_policy",
            Self::Format(_) => "path_rewrite",
        }
    }

    /// Sets `:path` to what this makes of it. `keep_original` puts the old one into `x-envoy-original-path`.
    /// A rewrite that leaves nothing before the query, or a template that does not fit, changes nothing. `cx` is what
    /// formats read beside the head.
    pub(super) fn apply<'c>(
        &self,
        head: &mut RequestHead,
        matched: Matched,
        keep_original: bool,
        cx: impl Fn() -> FormatContext<'c>,
    ) {
        let path = head.path();
        let end = path_end(path);
        let (just_path, query) = path.split_at_checked(end).unwrap_or_default();
        let mut new = Vec::with_capacity(path.len() + 32);
        match self {
            Self::Prefix(to) => {
                let Some(from) = matched.within(just_path) else { return };
                new.extend_from_slice(to.as_bytes());
                new.extend_from_slice(path.get(from..).unwrap_or_default());
            }
            Self::Regex(rewrite) => {
                rewrite.replace_all(just_path, &mut new);
                if new.is_empty() {
                    return;
                }
                new.extend_from_slice(query);
            }
            Self::Template(rewrite) => {
                if !rewrite.write(just_path, &mut new) {
                    return;
                }
                new.extend_from_slice(query);
            }
            Self::Format(format) => {
                render(format, head, &cx(), &mut new);
                if new.is_empty() {
                    return;
                }
                new.extend_from_slice(query);
            }
        }
        if keep_original {
            let old = path.to_vec();
            head.headers.set(Known::XEnvoyOriginalPath, &old);
        }
        head.headers.set(Known::Path, &new);
    }
}

/// Appends what a format says of a request.
pub(super) fn render(format: &Format, head: &RequestHead, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
    format.render(&FormatContext { request: Some(&head.headers), ..*cx }, out);
}

/// What becomes of `:authority` before a host is picked.
#[derive(Debug)]
pub enum HostRewrite {
    /// `host_rewrite_literal`.
    Literal(Box<str>),
    /// `host_rewrite_header`: the first value of that header, lower-case name.
    Header(HeaderName),
    /// `host_rewrite_path_regex`, on the path without its query.
    PathRegex(Box<RegexRewrite>),
    /// `host_rewrite`: what the format says of the request.
    Format(Box<Format>),
}

impl HostRewrite {
    /// The field of `RouteAction` that says it.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Literal(_) => "host_rewrite_literal",
            Self::Header(_) => "host_rewrite_header",
            Self::PathRegex(_) => "host_rewrite_path_regex",
            Self::Format(_) => "host_rewrite",
        }
    }

    /// Sets `:authority` to what this says; where that is empty, nothing changes. `cx` as for [`PathRewrite::apply`].
    pub(super) fn apply<'c>(
        &self,
        head: &mut RequestHead,
        append_forwarded: bool,
        keep_original: bool,
        cx: impl Fn() -> FormatContext<'c>,
    ) {
        let mut new = Vec::new();
        match self {
            Self::Literal(host) => new.extend_from_slice(host.as_bytes()),
            Self::Header(name) => new.extend_from_slice(name.value(&head.headers).unwrap_or_default()),
            Self::PathRegex(rewrite) => {
                rewrite.replace_all(head.path_without_query(), &mut new);
            }
            Self::Format(format) => render(format, head, &cx(), &mut new),
        }
        if !new.is_empty() {
            set_authority(head, &new, append_forwarded, keep_original);
        }
    }
}

/// Replaces `:authority`, as every host rewrite does: `append_forwarded` joins the old one onto
/// `x-forwarded-host` unless it is the last value there, `keep_original` puts it into
/// `x-envoy-original-host`.
pub fn set_authority(head: &mut RequestHead, host: &[u8], append_forwarded: bool, keep_original: bool) {
    let old = head.authority().to_vec();
    if append_forwarded && !old.is_empty() {
        let last = head
            .headers
            .get(Known::XForwardedHost)
            .and_then(|v| v.split(|&b| b == b',').rfind(|part| !part.is_empty()));
        if last != Some(&old) {
            head.headers.append_joined(Known::XForwardedHost, b",", &old);
        }
    }
    if keep_original && !old.is_empty() {
        head.headers.set(Known::XEnvoyOriginalHost, &old);
    }
    head.headers.set(Known::Authority, host);
}

#[cfg(test)]
mod tests;
