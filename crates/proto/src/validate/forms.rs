//! Well-known forms of strings, and patterns.

use crate::schema::Form;
use regex::Regex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// The patterns of the proto files that were needed so far, compiled.
static PATTERNS: Mutex<Option<HashMap<&'static str, Option<Regex>>>> = Mutex::new(None);

/// True when the pattern matches somewhere. A pattern that does not compile holds for everything; a test tries all.
pub(super) fn matches(pattern: &'static str, text: &str) -> bool {
    let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = patterns.get_or_insert_default().entry(pattern).or_insert_with(|| Regex::new(pattern).ok());
    known.as_ref().is_none_or(|regex| regex.is_match(text))
}

/// What a form is called in an error.
pub(super) fn name(form: Form) -> &'static str {
    match form {
        Form::Email => "an email address",
        Form::Hostname => "a host name",
        Form::Ip => "an IP address",
        Form::Ipv4 => "an IPv4 address",
        Form::Ipv6 => "an IPv6 address",
        Form::Address => "a host name or an IP address",
        Form::Uri => "an absolute URI",
        Form::UriRef => "a URI reference",
        Form::Uuid => "a UUID",
        Form::HeaderName => "a valid HTTP header name",
        Form::HeaderValue => "a valid HTTP header value",
        Form::HeaderLoose => "free of NUL, CR and LF",
    }
}

/// True when the text has the form.
pub(super) fn holds(form: Form, text: &str) -> bool {
    match form {
        Form::Email => text.split_once('@').is_some_and(|(local, host)| !local.is_empty() && hostname(host)),
        Form::Hostname => hostname(text),
        Form::Ip => text.parse::<IpAddr>().is_ok(),
        Form::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
        Form::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
        Form::Address => hostname(text) || text.parse::<IpAddr>().is_ok(),
        Form::Uri => uri(text).is_some_and(|scheme| !scheme.is_empty()),
        Form::UriRef => uri(text).is_some(),
        Form::Uuid => uuid(text),
        Form::HeaderName => header_name(text),
        Form::HeaderValue => !text.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f),
        Form::HeaderLoose => !text.bytes().any(|b| matches!(b, 0 | b'\r' | b'\n')),
    }
}

fn hostname(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    !name.is_empty() && name.len() <= 253 && name.split('.').all(label)
}

/// The scheme of a URI reference, empty where it has none; none where the text is no reference.
fn uri(text: &str) -> Option<&str> {
    if text.is_empty() || text.bytes().any(|b| b <= b' ' || b == 0x7f || b"<>\"\\^`{|}".contains(&b)) {
        return None;
    }
    let scheme = match text.find([':', '/', '?', '#']) {
        Some(at) if text.as_bytes().get(at) == Some(&b':') => text.get(..at)?,
        _ => "",
    };
    let valid = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let letter = scheme.is_empty() || scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    if valid && letter { Some(scheme) } else { None }
}

fn uuid(text: &str) -> bool {
    let mut lengths = text.split('-').map(str::len);
    let shape =
        [8, 4, 4, 4, 12].into_iter().all(|wanted| lengths.next() == Some(wanted)) && lengths.next().is_none();
    shape && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

fn header_name(text: &str) -> bool {
    let name = text.strip_prefix(':').unwrap_or(text);
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_|~`".contains(&b);
    !name.is_empty() && name.bytes().all(token)
}
