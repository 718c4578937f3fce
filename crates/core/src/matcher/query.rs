//! Query strings.

/// Appends the percent-decoded first value of the parameter `name` to `out`; `false` when there is none. A
/// parameter without `=` has an empty value. A name or value with a broken escape stays as it is.
pub fn query_value(query: &[u8], name: &[u8], out: &mut Vec<u8>) -> bool {
    for pair in query.split(|b| *b == b'&') {
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        let (key, value) = (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default());
        if decoded(key).eq(name.iter().copied()) {
            out.extend(decoded(value));
            return true;
        }
    }
    false
}

fn hex(b: Option<&u8>) -> Option<u8> {
    char::from(*b?).to_digit(16).map(|d| d as u8)
}

/// The bytes of `text` with `%41` as `A`; what is no escape stays.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let b = *text.get(at)?;
        if b == b'%'
            && let (Some(high), Some(low)) = (hex(text.get(at + 1)), hex(text.get(at + 2)))
        {
            at += 3;
            return Some(high << 4 | low);
        }
        at += 1;
        Some(b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_is_found_and_decoded() {
        for (query, name, want) in [
            ("x=%41+b&k%20k=1&x=2", "x", Some("A+b")),
            ("x=%41+b&k%20k=1&x=2", "k k", Some("1")),
            ("x&x=2", "x", Some("")),
            ("x=%zz%4", "x", Some("%zz%4")),
            ("X=1", "x", None),
            ("a=1=2&b", "a", Some("1=2")),
            ("", "a", None),
        ] {
            let mut out = Vec::new();
            let found = query_value(query.as_bytes(), name.as_bytes(), &mut out);
            assert_eq!(found.then(|| String::from_utf8(out).unwrap()).as_deref(), want, "{query} {name}");
        }
    }
}
