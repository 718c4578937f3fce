//! Field lines: the part that heads and trailers share.

use super::error::FieldError;
use super::scan::{self, STEP, Window};
use super::{DecoderLimits, UnderscoreAction};
use crate::head::{HeaderMap, Known, KnownSet};

/// What the fields belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `host` becomes `:authority`.
    Request,
    Response,
    Trailers,
}

/// How fields are taken in.
#[derive(Clone, Copy)]
pub(super) struct FieldRules {
    pub limits: DecoderLimits,
    pub underscores: UnderscoreAction,
    pub keep_case: bool,
    pub part: Part,
}

impl FieldRules {
    fn joined(self) -> KnownSet {
        match self.part {
            Part::Request => REQUEST_JOINED,
            Part::Response => RESPONSE_JOINED,
            Part::Trailers => KnownSet::of(&[]),
        }
    }
}

/// Appends the fields of `block` (whole lines, without the empty one) to `map`.
#[inline]
pub(super) fn parse(block: &[u8], rules: FieldRules, map: &mut HeaderMap) -> Result<(), FieldError> {
    parse_lines(block, rules, map).map_err(|error| worst(block, error))
}

/// As Envoy says it: a control character anywhere in a block outweighs whatever else is wrong with it.
#[cold]
pub(super) fn worst(block: &[u8], error: FieldError) -> FieldError {
    if scan::has_stray_controls(block) { FieldError::Value } else { error }
}

#[inline]
fn parse_lines(block: &[u8], rules: FieldRules, map: &mut HeaderMap) -> Result<(), FieldError> {
    let most = map.len() + rules.limits.max_headers as usize;
    let base = map.load(block);
    let plain = !rules.keep_case && rules.underscores == UnderscoreAction::Allow;
    let (joined, request) = (rules.joined(), rules.part == Part::Request);
    let mut at = 0;
    while at < block.len() {
        match plain_line(map.buffer(), base + at, base + block.len(), request) {
            Some(line) if plain && !(joined.contains(line.known) && map.contains(line.known)) => {
                map.push_in_place(line.known, base + at, line.name_len, line.value_len);
                at += line.name_len + line.value_len + 4;
            }
            _ => at = any_line(block, at, rules, map)?,
        }
        if map.len() > most {
            return Err(FieldError::TooMany);
        }
    }
    Ok(())
}

struct PlainLine {
    known: Known,
    name_len: usize,
    value_len: usize,
}

/// The line at `at` if it is `name: value CR LF` with nothing to fold, trim or refuse; its name is lower-cased
/// in place. `end` is the end of the block; [`HeaderMap::PAD`] bytes follow it.
#[inline(always)]
fn plain_line(buf: &mut [u8], at: usize, end: usize, request: bool) -> Option<PlainLine> {
    let name_len = lower_name(buf, at)?;
    let name = buf.get(at..at + name_len)?;
    let mut known = Known::find(name);
    if known == Known::Other && !valid_name(buf, at, name_len) {
        return None;
    }
    if known == Known::Host && request {
        known = Known::Authority;
    }
    let value_at = at + name_len + 2;
    if buf.get(value_at - 1) != Some(&b' ') || *buf.get(value_at)? == b' ' {
        return None;
    }
    let mut stop = scan::text_end(buf, value_at);
    while buf.get(stop) == Some(&b'\t') && stop > value_at {
        stop = scan::text_end(buf, stop + 1);
    }
    let (&before, rest) = buf.get(stop - 1..)?.split_first()?;
    let [b'\r', b'\n', next, ..] = *rest else { return None };
    let folded = matches!(next, b' ' | b'\t') && stop + 2 < end;
    let blank_behind = stop > value_at && matches!(before, b' ' | b'\t');
    if stop + 2 > end || folded || blank_behind {
        return None;
    }
    Some(PlainLine { known, name_len, value_len: stop - value_at })
}

/// Lower-cases what stands before the first colon from `at` on, in place; its length, or `None` when there is no
/// colon. Where there is one, no value stands before it.
#[inline(always)]
fn lower_name(buf: &mut [u8], at: usize) -> Option<usize> {
    let mut from = at;
    loop {
        let window = Window::at(buf, from)?;
        let len = window.equal(b':').first();
        *buf.get_mut(from..)?.first_chunk_mut()? = window.lower_first(len);
        if len < STEP {
            return Some(from + len - at);
        }
        from += STEP;
    }
}

/// Whether `buf[at..at + len]` is a name.
#[inline]
fn valid_name(buf: &[u8], at: usize, len: usize) -> bool {
    let mut from = at;
    let end = at + len;
    while from < end {
        let piece = (end - from).min(STEP);
        let plain = Window::at(buf, from).is_some_and(|window| window.plain_name().covers(piece));
        if !plain && !buf.get(from..from + piece).unwrap_or_default().iter().copied().all(scan::is_token) {
            return false;
        }
        from += STEP;
    }
    len > 0 && len <= usize::from(u16::MAX)
}

/// Takes the line at `at` of `block` with all that lines may have: folds, blanks, bare LF and CR. The answer is
/// where the next one begins.
#[cold]
fn any_line(block: &[u8], at: usize, rules: FieldRules, map: &mut HeaderMap) -> Result<usize, FieldError> {
    let rest = block.get(at..).unwrap_or_default();
    let len = folded_len(rest)?;
    let whole = rest.get(..len).unwrap_or_default();
    if scan::has_stray_controls(whole) {
        return Err(FieldError::Value);
    }
    let line = trim_end(whole);
    let colon = line.iter().position(|&b| b == b':').ok_or(FieldError::Name)?;
    let (name, value) = line.split_at_checked(colon).ok_or(FieldError::Name)?;
    if name.is_empty() || name.len() > usize::from(u16::MAX) || !name.iter().copied().all(scan::is_token) {
        return Err(FieldError::Name);
    }
    let value = scan::trim(value.get(1..).unwrap_or_default());
    if name.contains(&b'_') {
        match rules.underscores {
            UnderscoreAction::Allow => {}
            UnderscoreAction::RejectRequest => return Err(FieldError::Underscore),
            UnderscoreAction::DropHeader => return Ok(at + len),
        }
    }
    if value.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        // As Envoy does: what folds lines goes, the blanks around it stay, and a CR on its own goes too.
        if FRAMING.contains(Known::find_any_case(name)) {
            // What one reader folds another may not: no length hangs on it (Envoy takes such a coding for none).
            return Err(FieldError::Name);
        }
        let flat: Vec<u8> = value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        append(name, &flat, rules, map)?;
    } else {
        append(name, value, rules, map)?;
    }
    Ok(at + len)
}

/// The fields on which the length of a message hangs.
const FRAMING: KnownSet = KnownSet::of(&[Known::ContentLength, Known::TransferEncoding]);

/// The length of the line and of the ones that continue it, line ends included.
fn folded_len(rest: &[u8]) -> Result<usize, FieldError> {
    let mut len = 0;
    loop {
        let tail = rest.get(len..).unwrap_or_default();
        len += tail.iter().position(|&b| b == b'\n').map_or(tail.len(), |newline| newline + 1);
        match rest.get(len) {
            Some(b' ' | b'\t') => {}
            Some(0..=b' ') => return Err(FieldError::Name),
            _ => return Ok(len),
        }
    }
}

fn trim_end(line: &[u8]) -> &[u8] {
    let mut rest = line;
    while let [head @ .., b] = rest
        && *b <= b' '
    {
        rest = head;
    }
    rest
}

fn append(name: &[u8], value: &[u8], rules: FieldRules, map: &mut HeaderMap) -> Result<(), FieldError> {
    let known = match Known::find_any_case(name) {
        Known::Host if rules.part == Part::Request => Known::Authority,
        known => known,
    };
    if rules.joined().contains(known) && map.contains(known) {
        if !value.is_empty() {
            map.append_joined(known, b",", value);
        }
        return Ok(());
    }
    if rules.keep_case {
        map.append_keep_case(name, value);
    } else {
        map.append_any_case(name, value);
    }
    if known == Known::Authority {
        map.rename_last(known);
    }
    Ok(())
}

/// Names of which a request has one entry at most: what is repeated is joined onto the first with a comma, as
/// Envoy does (measured, one name after another).
const REQUEST_JOINED: KnownSet = KnownSet::of(&[
    Known::Accept,
    Known::AcceptEncoding,
    Known::AccessControlRequestHeaders,
    Known::AccessControlRequestMethod,
    Known::AccessControlRequestPrivateNetwork,
    Known::Authority,
    Known::Authorization,
    Known::CacheControl,
    Known::Connection,
    Known::ContentEncoding,
    Known::ContentType,
    Known::Expect,
    Known::GrpcAcceptEncoding,
    Known::GrpcTimeout,
    Known::IfMatch,
    Known::IfNoneMatch,
    Known::KeepAlive,
    Known::Origin,
    Known::Pragma,
    Known::ProxyConnection,
    Known::Referer,
    Known::Te,
    Known::TransferEncoding,
    Known::Upgrade,
    Known::UserAgent,
    Known::Via,
    Known::XClientTraceId,
    Known::XEnvoyAttemptCount,
    Known::XEnvoyDecoratorOperation,
    Known::XEnvoyDownstreamServiceCluster,
    Known::XEnvoyDownstreamServiceNode,
    Known::XEnvoyExpectedRqTimeoutMs,
    Known::XEnvoyExternalAddress,
    Known::XEnvoyForceTrace,
    Known::XEnvoyHedgeOnPerTryTimeout,
    Known::XEnvoyInternal,
    Known::XEnvoyIpTags,
    Known::XEnvoyMaxRetries,
    Known::XEnvoyOriginalHost,
    Known::XEnvoyOriginalPath,
    Known::XEnvoyOriginalUrl,
    Known::XEnvoyRetriableHeaderNames,
    Known::XEnvoyRetriableStatusCodes,
    Known::XEnvoyRetryGrpcOn,
    Known::XEnvoyRetryOn,
    Known::XEnvoyUpstreamAltStatName,
    Known::XEnvoyUpstreamRqPerTryTimeoutMs,
    Known::XEnvoyUpstreamRqTimeoutAltResponse,
    Known::XEnvoyUpstreamRqTimeoutMs,
    Known::XEnvoyUpstreamStreamDurationMs,
    Known::XForwardedClientCert,
    Known::XForwardedFor,
    Known::XForwardedHost,
    Known::XForwardedPort,
    Known::XForwardedProto,
    Known::XRequestId,
]);

/// As [`REQUEST_JOINED`], of responses.
const RESPONSE_JOINED: KnownSet = KnownSet::of(&[
    Known::AccessControlAllowCredentials,
    Known::AccessControlAllowHeaders,
    Known::AccessControlAllowMethods,
    Known::AccessControlAllowOrigin,
    Known::AccessControlAllowPrivateNetwork,
    Known::AccessControlExposeHeaders,
    Known::AccessControlMaxAge,
    Known::Age,
    Known::CacheControl,
    Known::Connection,
    Known::ContentEncoding,
    Known::ContentType,
    Known::Date,
    Known::Etag,
    Known::Expires,
    Known::GrpcMessage,
    Known::GrpcStatus,
    Known::KeepAlive,
    Known::LastModified,
    Known::Location,
    Known::ProxyConnection,
    Known::ProxyStatus,
    Known::Server,
    Known::TransferEncoding,
    Known::Upgrade,
    Known::Vary,
    Known::Via,
    Known::XEnvoyAttemptCount,
    Known::XEnvoyDecoratorOperation,
    Known::XEnvoyDegraded,
    Known::XEnvoyImmediateHealthCheckFail,
    Known::XEnvoyRatelimited,
    Known::XEnvoyUpstreamCanary,
    Known::XEnvoyUpstreamHealthcheckedCluster,
    Known::XEnvoyUpstreamServiceTime,
    Known::XRequestId,
]);
