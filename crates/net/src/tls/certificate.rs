//! X.509 certificates (RFC 5280) in the words of logs, headers and matchers.

use super::der::{Reader, Value, tag};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use nuncio_core::stream_info::CertificateInfo;
use rustls::pki_types::UnixTime;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

/// Kinds of subject alternative names (`SubjectAltNameMatcher.SanType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanType {
    /// `EMAIL`
    Email,
    /// `DNS`
    Dns,
    /// `URI`
    Uri,
    /// `IP_ADDRESS`
    IpAddress,
    /// `OTHER_NAME`
    OtherName,
}

/// The parts of a certificate that are looked at, where they stand in its DER.
pub struct Certificate<'a> {
    serial: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    not_before: SystemTime,
    not_after: SystemTime,
    /// The SubjectPublicKeyInfo, whole.
    pub spki: &'a [u8],
    extensions: Option<Reader<'a>>,
}

/// `2.5.29.17`
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// `2.5.29.15`
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// `2.5.29.19`
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// `1.2.840.10045.2.1`
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

impl<'a> Certificate<'a> {
    /// Reads a certificate; `None` where it is none.
    pub fn parse(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(der).expect(tag::SEQUENCE)?.inside();
        let mut body = outer.expect(tag::SEQUENCE)?.inside();
        body.optional(tag::context(0, true));
        let serial = body.expect(tag::INTEGER)?.content;
        body.expect(tag::SEQUENCE)?;
        let issuer = body.expect(tag::SEQUENCE)?.content;
        let mut validity = body.expect(tag::SEQUENCE)?.inside();
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = body.expect(tag::SEQUENCE)?.content;
        let spki = body.expect(tag::SEQUENCE)?.whole;
        body.optional(tag::context(1, false));
        body.optional(tag::context(2, false));
        let extensions = match body.optional(tag::context(3, true)) {
            Some(outer) => Some(outer.inside().expect(tag::SEQUENCE)?.inside()),
            None => None,
        };
        Some(Self { serial, issuer, subject, not_before, not_after, spki, extensions })
    }

    /// The serial number, as its DER has it.
    pub fn serial(&self) -> &'a [u8] {
        self.serial
    }

    /// Whether its key is one for ECDSA.
    pub fn is_ecdsa(&self) -> bool {
        let algorithm = Reader(self.spki)
            .expect(tag::SEQUENCE)
            .and_then(|s| s.inside().expect(tag::SEQUENCE))
            .and_then(|a| a.inside().expect(tag::OID));
        algorithm.is_some_and(|oid| oid.content == EC_PUBLIC_KEY)
    }

    /// What its key may be used for; `None` where it does not say.
    pub(super) fn usage(&self) -> Option<Usage> {
        let bits = Reader(self.extension(KEY_USAGE)?).expect(tag::BIT_STRING)?.content;
        Some(Usage(bits.get(1).copied().unwrap_or_default()))
    }

    /// Whether it is one of an authority.
    pub(super) fn is_authority(&self) -> bool {
        let constraints = self.extension(BASIC_CONSTRAINTS).and_then(|v| Reader(v).expect(tag::SEQUENCE));
        constraints.and_then(|v| v.inside().optional(tag::BOOLEAN)).is_some_and(|ca| ca.content != [0])
    }

    /// When it begins to hold.
    pub fn begins(&self) -> UnixTime {
        let since = self.not_before.duration_since(SystemTime::UNIX_EPOCH);
        UnixTime::since_unix_epoch(since.unwrap_or_default())
    }

    /// Whether its time has begun.
    pub fn began_by(&self, now: SystemTime) -> bool {
        self.not_before <= now
    }

    /// Whether `issuer` is named as its issuer.
    pub fn issued_by(&self, issuer: &Certificate<'_>) -> bool {
        self.issuer == issuer.subject
    }

    /// Whether it names itself as its issuer.
    pub fn self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether `now` is within its time.
    pub fn holds_at(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Calls `each` with every subject alternative name as text. Names with a NUL byte in them are left out:
    /// they are made to look like others.
    pub fn for_each_san(&self, mut each: impl FnMut(SanType, &str)) {
        let Some(names) = self.extension(SUBJECT_ALT_NAME) else { return };
        let Some(names) = Reader(names).expect(tag::SEQUENCE) else { return };
        for name in names.inside() {
            let text = std::str::from_utf8(name.content).ok().filter(|t| !t.contains('\0'));
            match (name.tag & 0x1f, text) {
                (0, _) => {
                    if let Some((_, text)) = other_name(name) {
                        each(SanType::OtherName, &text);
                    }
                }
                (1, Some(text)) => each(SanType::Email, text),
                (2, Some(text)) => each(SanType::Dns, text),
                (6, Some(text)) => each(SanType::Uri, text),
                (7, _) => {
                    if let Some(ip) = ip_address(name.content) {
                        each(SanType::IpAddress, &ip.to_string());
                    }
                }
                _ => {}
            }
        }
    }

    /// Calls `each` with the type, as its DER has it, and the text of every other name that is a string.
    pub fn for_each_other_name(&self, mut each: impl FnMut(&[u8], &str)) {
        let Some(names) = self.extension(SUBJECT_ALT_NAME) else { return };
        let Some(names) = Reader(names).expect(tag::SEQUENCE) else { return };
        for name in names.inside().filter(|name| name.tag & 0x1f == 0) {
            if let Some((oid, text)) = other_name(name) {
                each(oid, &text);
            }
        }
    }

    /// The common name of the subject, the last one where there are several.
    pub fn common_name(&self) -> Option<String> {
        attributes(self.subject).filter(|(oid, _)| *oid == [0x55, 0x04, 0x03]).last().map(|(_, v)| text_of(v))
    }

    /// What of the certificate is shown.
    pub fn info(&self, der: &[u8]) -> CertificateInfo {
        let mut info = CertificateInfo {
            der: der.into(),
            sha256: hex(digest(&SHA256, der).as_ref()).into(),
            sha1: hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()).into(),
            serial: serial(self.serial).into(),
            subject: name(self.subject).into(),
            issuer: name(self.issuer).into(),
            not_before: Some(self.not_before),
            not_after: Some(self.not_after),
            ..CertificateInfo::default()
        };
        self.for_each_san(|kind, text| {
            let list = match kind {
                SanType::Email => &mut info.email_sans,
                SanType::Dns => &mut info.dns_sans,
                SanType::Uri => &mut info.uri_sans,
                SanType::IpAddress => &mut info.ip_sans,
                SanType::OtherName => &mut info.other_sans,
            };
            list.push(text.into());
        });
        info
    }

    fn extension(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        self.extensions?.find_map(|extension| {
            let mut parts = extension.inside();
            let oid = parts.expect(tag::OID)?;
            parts.optional(tag::BOOLEAN);
            let value = parts.expect(tag::OCTET_STRING)?;
            (oid.content == wanted).then_some(value.content)
        })
    }
}

/// The bits of a KeyUsage (RFC 5280, section 4.2.1.3), the first one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage(u8);

impl Usage {
    pub(super) const DIGITAL_SIGNATURE: Self = Self(0x80);
    pub(super) const KEY_ENCIPHERMENT: Self = Self(0x20);
    pub(super) const KEY_AGREEMENT: Self = Self(0x08);
    pub(super) const CERT_SIGN: Self = Self(0x04);
    pub(super) const CRL_SIGN: Self = Self(0x02);

    /// Whether it has one of these.
    pub(super) fn has_any(self, these: &[Self]) -> bool {
        these.iter().any(|this| self.0 & this.0 != 0)
    }
}

/// The DER of an object identifier that is written as numbers (`1.2.840`); `None` where it is none.
pub(super) fn oid_bytes(text: &str) -> Option<Vec<u8>> {
    let mut numbers = text.split('.').map(|n| n.parse::<u64>().ok());
    let (first, second) = (numbers.next()??, numbers.next()??);
    if first > 2 || (first < 2 && second > 39) {
        return None;
    }
    let mut out = Vec::new();
    for number in std::iter::once(Some(first.checked_mul(40)?.checked_add(second)?)).chain(numbers) {
        let number = number?;
        let groups = (u64::BITS - number.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let bits = (number >> (7 * group)) as u8 & 0x7f;
            out.push(if group > 0 { bits | 0x80 } else { bits });
        }
    }
    Some(out)
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that hex digits stand for; `None` where they do not.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(byte).collect())?
}

/// A serial number as OpenSSL prints one: hex without leading zero bytes.
fn serial(bytes: &[u8]) -> String {
    let at = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len().saturating_sub(1));
    hex(bytes.get(at..).unwrap_or_default())
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

/// The type of an OtherName whose value is a string, as its DER has it, and its text.
fn other_name(name: Value<'_>) -> Option<(&[u8], String)> {
    let mut parts = name.inside();
    let oid = parts.expect(tag::OID)?.content;
    let value = parts.expect(tag::context(0, true))?.inside().next()?;
    Some((oid, text_of(value))).filter(|(_, t)| !t.is_empty() && !t.contains('\0'))
}

/// `UTCTime` and `GeneralizedTime` as certificates have them: to the second, in UTC (RFC 5280, 4.1.2.5).
pub(super) fn time(value: Value<'_>) -> Option<SystemTime> {
    let text = std::str::from_utf8(value.content).ok()?.strip_suffix('Z')?;
    let (year, rest) = text.split_at_checked(if value.tag == tag::UTC_TIME { 2 } else { 4 })?;
    let year: i64 = year.parse().ok()?;
    let year = match value.tag {
        tag::UTC_TIME if year < 50 => 2000 + year,
        tag::UTC_TIME => 1900 + year,
        _ => year,
    };
    let mut parts = [0_i64; 5];
    for (i, part) in parts.iter_mut().enumerate() {
        *part = rest.get(2 * i..2 * i + 2)?.parse().ok()?;
    }
    let [month, day, hour, minute, second] = parts;
    let days = days_from_civil(year, month, day);
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let magnitude = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(magnitude)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(magnitude)
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

/// The attributes of a name, in their order.
fn attributes(content: &[u8]) -> impl Iterator<Item = (&[u8], Value<'_>)> {
    Reader(content).filter(|set| set.tag == tag::SET).flat_map(|set| {
        set.inside().filter_map(|pair| {
            let mut parts = pair.inside();
            Some((parts.expect(tag::OID)?.content, parts.next()?))
        })
    })
}

/// A name as RFC 2253 writes it: the last relative name first, with `,` between them.
fn name(content: &[u8]) -> String {
    let mut sets: Vec<Value<'_>> = Reader(content).filter(|set| set.tag == tag::SET).collect();
    sets.reverse();
    let mut out = String::new();
    for (i, set) in sets.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        for (k, (oid, value)) in attributes(set.whole).enumerate() {
            if k > 0 {
                out.push('+');
            }
            write_type(oid, &mut out);
            out.push('=');
            escape(&text_of(value), &mut out);
        }
    }
    out
}

/// Short names as OpenSSL knows them; others are written as numbers.
fn write_type(oid: &[u8], out: &mut String) {
    const EMAIL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];
    const DC: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19];
    const UID: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01];
    let known = match oid {
        [0x55, 0x04, 0x03] => "CN",
        [0x55, 0x04, 0x04] => "SN",
        [0x55, 0x04, 0x05] => "serialNumber",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x09] => "street",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        [0x55, 0x04, 0x0c] => "title",
        [0x55, 0x04, 0x2a] => "GN",
        EMAIL => "emailAddress",
        DC => "DC",
        UID => "UID",
        _ => {
            let mut number = 0_u64;
            let mut first = true;
            for byte in oid {
                number = number << 7 | u64::from(byte & 0x7f);
                if byte & 0x80 == 0 {
                    if first {
                        let top = (number / 40).min(2);
                        let _ = write!(out, "{top}.{}", number - top * 40);
                    } else {
                        let _ = write!(out, ".{number}");
                    }
                    (number, first) = (0, false);
                }
            }
            return;
        }
    };
    out.push_str(known);
}

/// A string of any of the types that names use.
fn text_of(value: Value<'_>) -> String {
    match value.tag {
        tag::UTF8_STRING => String::from_utf8_lossy(value.content).into_owned(),
        tag::BMP_STRING => {
            let units: Vec<u16> = value
                .content
                .chunks_exact(2)
                .map(|c| c.iter().fold(0, |n, b| n << 8 | u16::from(*b)))
                .collect();
            String::from_utf16_lossy(&units)
        }
        // The others are ASCII or Latin-1.
        _ => value.content.iter().map(|b| char::from(*b)).collect(),
    }
}

/// Escapes as RFC 2253, 2.4, wants it, and control characters and bytes above ASCII as `\XX`.
fn escape(text: &str, out: &mut String) {
    let last = text.chars().count().saturating_sub(1);
    for (i, c) in text.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => {
                out.push('\\');
                out.push(c);
            }
            '#' if i == 0 => out.push_str("\\#"),
            ' ' if i == 0 || i == last => out.push_str("\\ "),
            ' '..='~' => out.push(c),
            _ => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(out, "\\{byte:02X}");
                }
            }
        }
    }
}
