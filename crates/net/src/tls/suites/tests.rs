use super::{RuleError, name, read};

/// What a rule leaves, in short: `e`cdsa or `r`sa, and the cipher; equals in brackets.
fn left(rule: &str) -> String {
    let short = |suite: &rustls::SupportedCipherSuite| {
        let name = name(suite.suite());
        let key = if name.contains("ECDSA") { 'e' } else { 'r' };
        let cipher = ["128", "256", "CHACHA"].iter().find(|c| name.contains(**c)).unwrap();
        format!("{key}{cipher}")
    };
    match read(rule) {
        Ok(groups) => {
            let group = |group: Vec<rustls::SupportedCipherSuite>| match &*group {
                [one] => short(one),
                several => format!("[{}]", several.iter().map(short).collect::<Vec<_>>().join("|")),
            };
            groups.into_iter().map(group).collect::<Vec<_>>().join(" ")
        }
        Err(RuleError::Words(words)) => format!("unknown {words:?}"),
        Err(RuleError::Unbuilt(suites)) => format!("unbuilt {}", suites.join(" ")),
    }
}

/// The order in which Envoy 1.40 offers them to a host.
#[test]
fn rules_leave_what_boringssl_leaves() {
    let six = "e128 r128 e256 r256 eCHACHA rCHACHA";
    let rows = [
        ("", "[e128|eCHACHA] [r128|rCHACHA] e256 r256"),
        ("ECDHE+AESGCM:ECDHE+CHACHA20", six),
        ("ALL:!kRSA:!PSK:!SHA1", six),
        ("TLSv1.2:!kRSA", six),
        ("ALL:!aECDSA:!PSK:!SHA1:!RSA", "r128 r256 rCHACHA"),
        ("!SHA1:AESGCM:-kRSA", "e128 r128 e256 r256"),
        ("AESGCM:+AES128:!kRSA", "e256 r256 e128 r128"),
        ("AESGCM:!kRSA:@STRENGTH", "e256 r256 e128 r128"),
        ("-ALL:ECDHE-RSA-AES256-GCM-SHA384", "r256"),
        ("CHACHA20:AES256+aRSA:!kRSA:!SHA1", "eCHACHA rCHACHA r256"),
        (
            "[ECDHE-RSA-AES256-GCM-SHA384|ECDHE-RSA-CHACHA20-POLY1305]:ECDHE-RSA-AES128-GCM-SHA256",
            "[r256|rCHACHA] r128",
        ),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "r128"),
        ("!ALL", "unknown []"),
        ("NONSENSE:AESGCM", "unknown [\"NONSENSE\"]"),
        ("!NONSENSE:AESGCM", "unknown [\"NONSENSE\"]"),
        ("AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256", "unbuilt AES128-SHA"),
        ("AESGCM", "unbuilt AES128-GCM-SHA256 AES256-GCM-SHA384"),
    ];
    for (rule, wanted) in rows {
        assert_eq!(left(rule), wanted, "{rule}");
    }
    assert_eq!(left("ALL"), left("HIGH"));
    assert_eq!(left("ALL").split(' ').count(), 9, "{}", left("ALL"));
}
