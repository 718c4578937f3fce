//! The static table (RFC 7541 appendix A).

use super::{Facts, Field};
use crate::head::Known;

/// How many entries it has; the dynamic table's indexes begin behind them.
pub(super) const LEN: usize = 61;

/// An entry in the form that decoded fields have.
pub(super) struct Entry {
    pub(super) known: Known,
    facts: Facts,
    name_len: usize,
    line: &'static str,
}

const GOOD: Facts = Facts::NAME.and(Facts::VALUE);
const BARE: Facts = GOOD.and(Facts::BARE);

const fn pseudo(known: Known, line: &'static str) -> Entry {
    Entry { known, facts: BARE, name_len: 0, line }
}

const fn status(line: &'static str) -> Entry {
    Entry { known: Known::Other, facts: BARE.and(Facts::STATUS), name_len: 0, line }
}

macro_rules! field {
    ($known:ident, $name:literal, $value:literal) => {
        Entry {
            known: Known::$known,
            facts: GOOD,
            name_len: $name.len(),
            line: concat!($name, ": ", $value, "\r\n"),
        }
    };
}

const ENTRIES: [Entry; LEN] = [
    field!(Authority, "host", ""),
    pseudo(Known::Method, "GET"),
    pseudo(Known::Method, "POST"),
    pseudo(Known::Path, "/"),
    pseudo(Known::Path, "/index.html"),
    pseudo(Known::Scheme, "http"),
    pseudo(Known::Scheme, "https"),
    status("200"),
    status("204"),
    status("206"),
    status("304"),
    status("400"),
    status("404"),
    status("500"),
    field!(Other, "accept-charset", ""),
    field!(AcceptEncoding, "accept-encoding", "gzip, deflate"),
    field!(Other, "accept-language", ""),
    field!(Other, "accept-ranges", ""),
    field!(Accept, "accept", ""),
    field!(AccessControlAllowOrigin, "access-control-allow-origin", ""),
    field!(Age, "age", ""),
    field!(Other, "allow", ""),
    field!(Authorization, "authorization", ""),
    field!(CacheControl, "cache-control", ""),
    field!(Other, "content-disposition", ""),
    field!(ContentEncoding, "content-encoding", ""),
    field!(Other, "content-language", ""),
    field!(ContentLength, "content-length", ""),
    field!(Other, "content-location", ""),
    field!(Other, "content-range", ""),
    field!(ContentType, "content-type", ""),
    field!(Cookie, "cookie", ""),
    field!(Date, "date", ""),
    field!(Etag, "etag", ""),
    field!(Expect, "expect", ""),
    field!(Expires, "expires", ""),
    field!(Other, "from", ""),
    field!(Host, "host", ""),
    field!(IfMatch, "if-match", ""),
    field!(IfModifiedSince, "if-modified-since", ""),
    field!(IfNoneMatch, "if-none-match", ""),
    field!(IfRange, "if-range", ""),
    field!(IfUnmodifiedSince, "if-unmodified-since", ""),
    field!(LastModified, "last-modified", ""),
    field!(Other, "link", ""),
    field!(Location, "location", ""),
    field!(Other, "max-forwards", ""),
    field!(Other, "proxy-authenticate", ""),
    field!(Other, "proxy-authorization", ""),
    field!(Other, "range", ""),
    field!(Referer, "referer", ""),
    field!(Other, "refresh", ""),
    field!(Other, "retry-after", ""),
    field!(Server, "server", ""),
    field!(SetCookie, "set-cookie", ""),
    field!(Other, "strict-transport-security", ""),
    field!(TransferEncoding, "transfer-encoding", ""),
    field!(UserAgent, "user-agent", ""),
    field!(Vary, "vary", ""),
    field!(Via, "via", ""),
    field!(WwwAuthenticate, "www-authenticate", ""),
];
static TABLE: [Entry; LEN] = ENTRIES;

/// The entry of `index`, which counts from 1.
#[inline]
pub(super) fn get(index: usize) -> Option<Field<'static>> {
    let e = TABLE.get(index.checked_sub(1)?)?;
    Some(Field { known: e.known, facts: e.facts, name_len: e.name_len, line: e.line.as_bytes() })
}

/// For each known name the first index that has it, 0 for none.
static NAMES: [u8; 128] = names();

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of range is a build error"
)]
const fn names() -> [u8; 128] {
    let mut names = [0; 128];
    let mut i = LEN;
    while i > 0 {
        i -= 1;
        // Rewritten from the last entry to the first, so that the first stays.
        names[ENTRIES[i].known as usize] = i as u8 + 1;
    }
    names[Known::Other as usize] = 0;
    names
}

/// The first index whose name is `known`, 0 for none.
#[inline]
pub(super) fn name_index(known: Known) -> usize {
    NAMES.get(known as usize).copied().unwrap_or(0).into()
}
