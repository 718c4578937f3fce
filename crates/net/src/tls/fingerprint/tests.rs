use super::*;
use crate::tls::hello::tests::{extension, hello_of};
use crate::tls::hello::{Hello, inspect};

/// What a browser offers, with GREASE (`g`) at every place where some is allowed.
fn browser(g: Option<u16>) -> ClientHello {
    let greased = |list: &[u16]| -> Vec<u8> { g.iter().chain(list).flat_map(|n| n.to_be_bytes()).collect() };
    let list = |list: &[u16]| {
        let numbers = greased(list);
        [&(numbers.len() as u16).to_be_bytes()[..], &numbers].concat()
    };
    let mut extensions = Vec::new();
    extensions.extend(g.map(|g| extension(g, &[])));
    extensions.push(extension(0, b"\0\x0c\0\0\x09a.example"));
    extensions.push(extension(10, &list(&[29, 23])));
    extensions.push(extension(11, &[1, 0]));
    extensions.push(extension(16, b"\0\x0c\x02h2\x08http/1.1"));
    extensions.push(extension(13, &[0, 4, 4, 3, 8, 4]));
    let versions = greased(&[0x0304, 0x0303]);
    extensions.push(extension(43, &[&[versions.len() as u8][..], &versions].concat()));
    let suites = greased(&[0x1301, 0xc02f]);
    let Hello::Client(hello) = inspect(&hello_of(0x0303, &suites, &extensions.concat())) else { panic!() };
    hello
}

#[test]
fn ja3_and_ja4_are_what_a_client_offers_in_short() {
    let hello = browser(None);
    let md5 = |text: &str| hex(&Md5::digest(text));
    assert_eq!(ja3(&hello).as_deref(), Some(&*md5("771,4865-49199,0-10-11-16-13-43,29-23,0")));
    let sha = |text: &str| hex(digest(&SHA256, text.as_bytes()).as_ref())[..12].to_owned();
    let want = format!("t13d0206h2_{}_{}", sha("1301,c02f"), sha("000a,000b,000d,002b_0403,0804"));
    assert_eq!(ja4(&hello), Some(want));
}

#[test]
fn grease_counts_in_groups_alone() {
    let (plain, greased) = (browser(None), browser(Some(0x1a1a)));
    assert_eq!(ja4(&plain), ja4(&greased));
    let text = "771,4865-49199,0-10-11-16-13-43,6682-29-23,0";
    assert_eq!(ja3(&greased), Some(hex(&Md5::digest(text))));
    let values: Vec<u16> = (0..=u16::MAX).filter(|n| is_grease(*n)).collect();
    assert_eq!((values.len(), values[0], values[15]), (16, 0x0a0a, 0xfafa));
}

#[test]
fn a_protocol_is_two_characters() {
    for (name, want) in [
        (&b"h2"[..], "h2"),
        (b"x", "xx"),
        (b"http/1.0", "h0"),
        (b"\xab\xcd", "ad"),
        (b"0\xab", "3b"),
        (b"-a", "21"),
    ] {
        assert_eq!(protocol(Some(name)), want, "{name:?}");
    }
    assert_eq!(protocol(None), "00");
}
