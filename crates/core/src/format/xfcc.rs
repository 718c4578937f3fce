//! `XFCC_VALUE`: one key of the request's `x-forwarded-client-cert`.

use super::FormatContext;
use super::command::Op;
use super::parse::FormatError;
use nuncio_codec::head::{HeaderMap, Known};

/// The keys that the header knows; their letters' case does not matter.
const KEYS: [&str; 7] = ["By", "Hash", "Cert", "Chain", "Subject", "URI", "DNS"];

pub(super) fn compile(argument: &str) -> Result<Op, FormatError> {
    let key = KEYS.into_iter().find(|key| key.eq_ignore_ascii_case(argument));
    key.map(Op::ClientCertificate).ok_or_else(|| FormatError::ClientCertificateKey(argument.to_owned()))
}

/// Appends the value of the first `key` in the header's elements.
pub(super) fn write(cx: &FormatContext<'_>, key: &str, out: &mut Vec<u8>) -> bool {
    let Some(map) = cx.request else { return false };
    // Several lines are one list.
    lines(map).any(|line| find(line, key).map(|value| write_value(value, out)).is_some())
}

fn lines(map: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    map.get_all(Known::XForwardedClientCert)
}

/// The value of the first `key` of a line, as it is written. A quote that is not closed ends what can be read.
fn find<'l>(line: &'l [u8], key: &str) -> Option<&'l [u8]> {
    let mut rest = line;
    loop {
        let (element, more) = split(rest, b',')?;
        let mut pairs = element;
        loop {
            // Quotes of an element are closed.
            let (pair, further) = split(pairs, b';')?;
            let at = pair.iter().position(|b| *b == b'=');
            let (name, value) = pair.split_at(at.unwrap_or(pair.len()));
            if name.trim_ascii().eq_ignore_ascii_case(key.as_bytes()) {
                return Some(value.get(1..).unwrap_or_default().trim_ascii());
            }
            match further {
                Some(further) => pairs = further,
                None => break,
            }
        }
        rest = more?;
    }
}

/// What stands before the first `separator` outside of quotes, and what stands behind it. `None`: a quote is not
/// closed.
fn split(text: &[u8], separator: u8) -> Option<(&[u8], Option<&[u8]>)> {
    let (mut quoted, mut escaped) = (false, false);
    for (i, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b if *b == separator && !quoted => return Some((text.get(..i)?, text.get(i + 1..))),
            _ => {}
        }
    }
    (!quoted).then_some((text, None))
}

/// Appends a value without its quotes and escapes.
fn write_value(value: &[u8], out: &mut Vec<u8>) {
    let inner = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
    let mut bytes = inner.unwrap_or(value).iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match bytes.peek() {
            Some(b'"' | b'\\') if byte == b'\\' => out.extend(bytes.next()),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_as_envoy_finds_them() {
        for (line, key, value) in [
            ("By=b1;URI=u1,By=b2;URI=u2", "URI", Some("u1")),
            (r#"Subject="a,b;c";URI= u "#, "URI", Some("u")),
            (r#"Subject="a,b;c";URI=u"#, "Subject", Some("a,b;c")),
            (r#"URI="a\"b""#, "URI", Some(r#"a"b"#)),
            (r#"Subject="x\\",URI=u"#, "URI", Some("u")),
            (r#"URI="y"z"#, "URI", Some(r#""y"z"#)),
            ("URI;URI=b", "URI", Some("")),
            ("URI=a,Subject=\"open", "URI", Some("a")),
            ("URI=a;Subject=\"open", "URI", None),
            ("nonsense", "URI", None),
        ] {
            let found = find(line.as_bytes(), key).map(|value| {
                let mut out = Vec::new();
                write_value(value, &mut out);
                String::from_utf8(out).unwrap()
            });
            assert_eq!(found.as_deref(), value, "{line}");
        }
    }
}
