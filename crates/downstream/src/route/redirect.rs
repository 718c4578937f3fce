//! `RedirectAction`: the answer that sends the client elsewhere.

use super::compile::redirect;
use super::domains::port_start;
use super::rewrite::{PathRewrite, render};
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::CompileContext;
use nuncio_core::format::{Format, FormatContext};
use nuncio_proto::pb::envoy::config::route::v3 as pb;

/// A compiled `RedirectAction`.
#[derive(Debug)]
pub struct RedirectAction {
    pub(super) status: u16,
    /// Empty: the request's.
    pub(super) scheme: Box<str>,
    /// Empty: the request's.
    pub(super) host: Box<str>,
    /// With its colon; empty: the request's, or none beside a `host_redirect`.
    pub(super) port: Box<str>,
    /// Where it says nothing: the request's path.
    pub(super) path: NewPath,
    pub(super) rewrite: Option<PathRewrite>,
    pub(super) strip_query: bool,
}

/// The path that a redirect names; it may have a query.
#[derive(Debug)]
pub(super) enum NewPath {
    /// `path_redirect`
    Literal(Box<str>),
    /// `path_rewrite`
    Format(Box<Format>),
}

impl RedirectAction {
    /// 301, 302, 303, 307 or 308.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Compiles a `RedirectAction` that stands outside of a route. `None`: refused, and the reasons are recorded.
    pub fn compile(message: pb::RedirectAction, cx: &CompileContext<'_>) -> Option<Self> {
        redirect(message, cx, false)
    }

    /// Appends the URL of `location` to `out`, from a head whose path was rewritten already
    /// (`Route::location` does both).
    pub fn write_location<'c>(
        &self,
        head: &RequestHead,
        cx: impl Fn() -> FormatContext<'c>,
        out: &mut Vec<u8>,
    ) {
        let scheme = if self.scheme.is_empty() { head.scheme() } else { self.scheme.as_bytes() };
        out.extend_from_slice(scheme);
        out.extend_from_slice(b"://");
        if self.host.is_empty() {
            out.extend_from_slice(request_host(head, scheme, !self.port.is_empty()));
        } else {
            out.extend_from_slice(self.host.as_bytes());
        }
        out.extend_from_slice(self.port.as_bytes());
        match &self.path {
            NewPath::Literal(new) => self.write_path(head.path(), new.as_bytes(), out),
            NewPath::Format(format) => {
                let mut new = Vec::new();
                render(format, head, &cx(), &mut new);
                self.write_path(head.path(), &new, out);
            }
        }
    }

    /// A query in a `new` path stays whatever `strip_query` says, and drops the request's. A path always
    /// begins with `/`: otherwise it would go on with the host.
    fn write_path(&self, path: &[u8], new: &[u8], out: &mut Vec<u8>) {
        let query_at = memchr::memchr(b'?', path).unwrap_or(path.len());
        let (before, query) = path.split_at_checked(query_at).unwrap_or_default();
        let begin = if new.is_empty() { path } else { new };
        if begin.first() != Some(&b'/') {
            out.push(b'/');
        }
        if new.is_empty() {
            out.extend_from_slice(before);
        } else {
            out.extend_from_slice(new);
            if new.contains(&b'?') {
                return;
            }
        }
        if !self.strip_query {
            out.extend_from_slice(query);
        }
    }
}

/// The request's host; without its port where another one follows, or where it is the default port of
/// `x-forwarded-proto` and the new scheme is a different one.
fn request_host<'a>(head: &'a RequestHead, scheme: &[u8], other_port: bool) -> &'a [u8] {
    let host = head.authority();
    let Some((name, port)) = port_start(host).and_then(|at| host.split_at_checked(at)) else { return host };
    let forwarded = head.headers.get(Known::XForwardedProto).unwrap_or_default();
    let default_port = match forwarded {
        b"https" => &b":443"[..],
        b"http" => b":80",
        _ => b"",
    };
    if other_port || (scheme != forwarded && port == default_port) { name } else { host }
}

/// Appends the request's own URL: what a `direct_response` of 201 or 3xx names as its `location`.
pub(super) fn write_own_url(head: &RequestHead, out: &mut Vec<u8>) {
    for part in [head.scheme(), b"://", request_host(head, head.scheme(), false), head.path()] {
        out.extend_from_slice(part);
    }
}

/// Appends the URL that `require_tls` sends the client to: the same one with `https`, its port kept.
pub(super) fn write_tls_url(head: &RequestHead, out: &mut Vec<u8>) {
    for part in [b"https://", head.authority(), head.path()] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
