use super::*;

fn chain() -> ChainConfig {
    ChainConfig { id: 0, filters: Vec::new(), router: None }
}

fn entry(kind: &str, enabled: bool) -> UpgradeConfig {
    UpgradeConfig { kind: kind.into(), enabled, chain: None }
}

#[test]
fn a_route_outweighs_the_connection_manager_both_ways() {
    let upgrades = Upgrades::new(vec![entry("websocket", true), entry("CONNECT", false)]);
    let usual = chain();
    let route = |kind: &str, enabled| [RouteUpgrade { kind: kind.into(), enabled }];
    for (kind, route, allowed) in [
        ("WebSocket", &[][..], true),
        ("foo", &[][..], false),
        ("CONNECT", &[][..], false),
        ("websocket", &route("WEBSOCKET", false)[..], false),
        ("connect", &route("CONNECT", true)[..], true),
        ("foo", &route("foo", true)[..], true),
        ("foo", &route("bar", true)[..], false),
    ] {
        let verdict = upgrades.judge(kind.as_bytes(), route, &usual);
        assert_eq!(matches!(verdict, Verdict::Through(_)), allowed, "{kind} {route:?}");
    }
}

#[test]
fn an_upgrade_of_its_own_filters_passes_those() {
    let own = UpgradeConfig { kind: "a".into(), enabled: true, chain: Some(chain()) };
    let upgrades = Upgrades::new(vec![own, entry("b", true)]);
    let usual = chain();
    let takes_usual = |kind: &[u8]| match upgrades.judge(kind, &[], &usual) {
        Verdict::Through(chain) => std::ptr::eq(chain, &usual),
        Verdict::Refused => panic!("{kind:?} is allowed"),
    };
    assert_eq!((takes_usual(b"a"), takes_usual(b"b")), (false, true));
}

#[test]
fn only_an_upgrade_header_or_connect_asks_for_one() {
    let mut headers = HeaderMap::default();
    headers.append(Known::Method, b"GET");
    assert_eq!(requested(&headers), None, "no path and no CONNECT");
    headers.append(Known::Path, b"/");
    assert_eq!(requested(&headers), None);
    headers.append(Known::Upgrade, b"foo");
    assert_eq!(requested(&headers), Some(&b"foo"[..]));
    let mut connect = HeaderMap::default();
    connect.append(Known::Method, b"CONNECT");
    assert_eq!(requested(&connect), Some(&b"CONNECT"[..]));
}
