//! The request checks of the connection manager and the one form of path and host that everything behind it
//! sees: `normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action`, `strip_trailing_host_dot`,
//! `strip_any_host_port`, `strip_matching_host_port`.
//!
//! Filters, routes and logs read the head after this, so that nobody decides on another path than the one
//! that goes upstream.

mod host;
mod path;

pub use host::{HostPort, authority_is_valid};
pub use path::EscapedSlashes;

use super::local_reply::LocalReply;
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::format::is_grpc_request;

/// What is done to the path and the host of every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Normalization {
    /// `normalize_path`: dot segments, escapes, backslashes (RFC 3986 section 6, as URL parsers do it).
    pub path: bool,
    /// `merge_slashes`.
    pub merge_slashes: bool,
    /// `path_with_escaped_slashes_action`.
    pub escaped_slashes: EscapedSlashes,
    /// `strip_trailing_host_dot`.
    pub strip_trailing_host_dot: bool,
    /// `strip_any_host_port`, `strip_matching_host_port`.
    pub host_port: HostPort,
}

/// Why a request goes no further, and what of it the stats count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An answer that counts nowhere but among the responses.
    Reply(LocalReply),
    /// `downstream_rq_non_relative_path`.
    NonRelativePath(LocalReply),
    /// `downstream_rq_failed_path_normalization`.
    FailedPathNormalization(LocalReply),
    /// `downstream_rq_redirected_with_normalized_path`.
    RedirectedWithNormalizedPath(LocalReply),
    /// `downstream_rq_rejected_via_ip_detection`.
    RejectedViaIpDetection(LocalReply),
}

impl Refusal {
    /// The answer.
    pub fn into_reply(self) -> LocalReply {
        match self {
            Self::Reply(reply)
            | Self::NonRelativePath(reply)
            | Self::FailedPathNormalization(reply)
            | Self::RedirectedWithNormalizedPath(reply)
            | Self::RejectedViaIpDetection(reply) => reply,
        }
    }
}

impl Normalization {
    /// Checks `head` and brings path and host into their form, in Envoy's order. `local_port` is the port that
    /// the connection came to. The answer is the port that was stripped from the host: CONNECT needs it again
    /// on its way upstream.
    ///
    /// # Errors
    /// The request must not be forwarded.
    #[inline]
    pub fn apply(&self, head: &mut RequestHead, local_port: Option<u16>) -> Result<Option<u32>, Refusal> {
        check(head)?;
        if head.headers.contains(Known::Path) {
            self.apply_path(head)?;
        }
        Ok(self.apply_host(head, local_port))
    }

    #[inline]
    fn apply_path(&self, head: &mut RequestHead) -> Result<(), Refusal> {
        let raw = head.path();
        if memchr::memchr(b'#', raw).is_some() {
            return Err(Refusal::FailedPathNormalization(LocalReply::path_normalization_failed()));
        }
        if !self.path && !self.merge_slashes && self.escaped_slashes == EscapedSlashes::KeepUnchanged {
            return Ok(());
        }
        if !path::may_change(raw, self) {
            return Ok(());
        }
        self.rewrite_path(head)
    }

    #[cold]
    fn rewrite_path(&self, head: &mut RequestHead) -> Result<(), Refusal> {
        let failed = || Refusal::FailedPathNormalization(LocalReply::path_normalization_failed());
        let raw = head.path();
        match path::rewrite(raw, self) {
            path::Rewritten::Path(new) => {
                if new != raw {
                    head.headers.set(Known::Path, &new);
                }
                Ok(())
            }
            path::Rewritten::Refused(new) => {
                head.headers.set(Known::Path, &new);
                Err(failed())
            }
            path::Rewritten::Redirect(new) => {
                // The redirect shows the new path in the log, and gRPC, which follows none, gets the error.
                head.headers.set(Known::Path, &new);
                if is_grpc_request(&head.headers) {
                    return Err(failed());
                }
                let reply = LocalReply::normalized_path_redirect(&new);
                Err(Refusal::RedirectedWithNormalizedPath(reply))
            }
        }
    }

    #[inline]
    fn apply_host(&self, head: &mut RequestHead, local_port: Option<u16>) -> Option<u32> {
        if !self.strip_trailing_host_dot && self.host_port == HostPort::Keep {
            return None;
        }
        let new = host::strip(head.authority(), self, local_port)?;
        head.headers.set(Known::Authority, &new.host);
        new.port
    }
}

/// Host, path and the content type of QUERY: what every request must have.
#[inline]
fn check(head: &RequestHead) -> Result<(), Refusal> {
    if !head.headers.contains(Known::Authority) {
        return Err(Refusal::Reply(LocalReply::missing_host()));
    }
    let method = head.method();
    let path = head.path();
    if path.first() != Some(&b'/') {
        check_unusual_path(method == b"CONNECT", head.headers.contains(Known::Path), path)?;
    }
    if method == b"QUERY" && !head.headers.contains(Known::ContentType) {
        return Err(Refusal::Reply(LocalReply::query_missing_content_type()));
    }
    Ok(())
}

/// CONNECT alone may come without a path; what stands there otherwise begins with `/`. `*` is no exception.
#[cold]
fn check_unusual_path(connect: bool, present: bool, path: &[u8]) -> Result<(), Refusal> {
    if path.is_empty() {
        if connect && !present {
            return Ok(());
        }
        return Err(Refusal::NonRelativePath(LocalReply::missing_path()));
    }
    Err(Refusal::NonRelativePath(LocalReply::absolute_path()))
}

#[cfg(test)]
mod tests;
