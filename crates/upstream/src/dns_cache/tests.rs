use super::*;

#[test]
fn a_key_has_a_port() {
    for (authority, key) in [
        ("a.example", "a.example:80"),
        ("a.example:81", "a.example:81"),
        ("[::1]:81", "[::1]:81"),
        ("[::1]", "[::1]:80"),
        ("a.example:", "a.example::80"),
    ] {
        assert_eq!(&*DnsCache::key(authority, 80), key);
    }
}
