//! Fingerprints of clients by their ClientHello: JA3 and JA4, as Envoy writes them.

use super::certificate::hex;
use super::hello::{ClientHello, Parts, numbers};
use aws_lc_rs::digest::{SHA256, digest};
use md5::{Digest, Md5};
use std::fmt::Write;

/// Values that clients strew in so that servers learn to ignore the unknown (RFC 8701).
fn is_grease(n: u16) -> bool {
    let [high, low] = n.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// The numbers in decimal, with hyphens between them.
fn joined(list: impl Iterator<Item = impl std::fmt::Display>, out: &mut String) {
    for (i, n) in list.enumerate() {
        // Writing to a String cannot fail.
        let _ = if i == 0 { write!(out, "{n}") } else { write!(out, "-{n}") };
    }
}

/// JA3: the MD5, in hex, of version, suites, extensions, groups and point formats. Groups keep their GREASE, as in Envoy.
pub fn ja3(hello: &ClientHello) -> Option<String> {
    let parts = hello.parts()?;
    let mut text = format!("{},", parts.legacy_version);
    joined(parts.suites().filter(|n| !is_grease(*n)), &mut text);
    text.push(',');
    joined(parts.extensions().map(|(kind, _)| kind).filter(|n| !is_grease(*n)), &mut text);
    text.push(',');
    joined(numbers(parts.list(10, 2).unwrap_or_default()), &mut text);
    text.push(',');
    joined(parts.list(11, 1).unwrap_or_default().iter(), &mut text);
    Some(hex(&Md5::digest(text.as_bytes())))
}

/// JA4: what is offered in short, then truncated hashes of the sorted suites and of the sorted extensions.
pub fn ja4(hello: &ClientHello) -> Option<String> {
    let parts = hello.parts()?;
    let mut suites: Vec<u16> = parts.suites().filter(|n| !is_grease(*n)).collect();
    let mut kinds: Vec<u16> = parts.extensions().map(|(kind, _)| kind).filter(|n| !is_grease(*n)).collect();
    let named = if kinds.contains(&0) { 'd' } else { 'i' };
    let (s, e) = (suites.len().min(99), kinds.len().min(99));
    let mut out = format!(
        "t{}{named}{s:02}{e:02}{}_",
        version(&parts),
        protocol(hello.alpn.first().map(|name| &**name))
    );
    suites.sort_unstable();
    out.push_str(&truncated(&in_hex(suites.into_iter())));
    out.push('_');
    kinds.retain(|kind| !matches!(kind, 0 | 16));
    kinds.sort_unstable();
    let mut text = in_hex(kinds.into_iter());
    // Envoy leaves GREASE among the signature schemes.
    let schemes = in_hex(numbers(parts.list(13, 2).unwrap_or_default()));
    if !schemes.is_empty() {
        text.push('_');
        text.push_str(&schemes);
    }
    out.push_str(&truncated(&text));
    Some(out)
}

/// The highest version that is offered, in two characters.
fn version(parts: &Parts<'_>) -> &'static str {
    let listed = parts.list(43, 1).and_then(|list| numbers(list).filter(|n| !is_grease(*n)).max());
    match listed.unwrap_or(parts.legacy_version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        _ => "00",
    }
}

/// The first and last character of the first protocol; where one of them is no letter or digit, of its hex.
fn protocol(name: Option<&[u8]>) -> String {
    let Some((&first, &last)) = name.and_then(|n| n.first().zip(n.last())) else { return "00".to_owned() };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(first), char::from(last)].iter().collect();
    }
    format!("{:x}{:x}", first >> 4, last & 0x0f)
}

fn in_hex(list: impl Iterator<Item = u16>) -> String {
    list.map(|n| format!("{n:04x}")).collect::<Vec<_>>().join(",")
}

/// The first 12 digits of a SHA-256; zeros of nothing.
fn truncated(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    let mut digits = hex(digest(&SHA256, text.as_bytes()).as_ref());
    digits.truncate(12);
    digits
}

#[cfg(test)]
mod tests;
