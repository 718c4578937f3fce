use super::*;
use nuncio_core::rng::Rng;

fn pick<'a>(rng: &Rng, of: &[&'a str]) -> &'a str {
    of[rng.below(of.len() as u64) as usize]
}

fn word(rng: &Rng) -> String {
    (0..rng.below(4)).map(|_| pick(rng, &["/", "a", "B", "b"])).collect()
}

/// A random route match in YAML.
fn random_match(rng: &Rng) -> String {
    let path = match rng.below(7) {
        0 => format!("prefix: '/{}'", word(rng)),
        1 => format!("path: '/{}'", word(rng)),
        2 => format!("prefix: '/{}', case_sensitive: false", word(rng)),
        3 => format!("path: '/{}', case_sensitive: false", word(rng)),
        4 => format!("path_separated_prefix: '/a{}'", word(rng).replace('/', "")),
        5 => format!(
            "safe_regex: {{regex: '/{}{}'}}",
            word(rng),
            pick(rng, &[".*", "[ab]?", "(a|B)+", "$", "a|/b"])
        ),
        _ => format!("safe_regex: {{regex: '{}{}'}}", pick(rng, &[".*", "/[^/]*", "(?i)/a"]), word(rng)),
    };
    let header = match rng.below(5) {
        0 => format!(", headers: [{{name: X-A, exact_match: '{}'}}]", pick(rng, &["1", "2", "3"])),
        1 => format!(", headers: [{{name: x-a, string_match: {{exact: '{}'}}}}]", pick(rng, &["1", "2"])),
        2 => ", headers: [{name: x-a, string_match: {exact: '1'}, invert_match: true}]".into(),
        3 => ", headers: [{name: ':method', exact_match: GET}, {name: x-a, exact_match: '3'}]".into(),
        _ => String::new(),
    };
    format!("{{{path}{header}}}")
}

#[test]
fn random_tables_find_the_first_route_that_matches_alone() {
    let rng = Rng::seeded(23);
    let runtime = Runtime::default();
    let info = stream(0);
    let cx = MatchContext {
        info: &info,
        runtime: &runtime,
        peer_certificate: PeerCertificate::default(),
        counts: true,
    };
    let mut found = 0;
    for round in 0..120 {
        let matches: Vec<String> =
            (0..1 + rng.below(if round % 10 == 0 { 80 } else { 12 })).map(|_| random_match(&rng)).collect();
        let route =
            |i: usize, m: &str| format!("- {{name: r{i}, match: {m}, direct_response: {{status: 200}}}}\n");
        let all: String = matches.iter().enumerate().map(|(i, m)| route(i, m)).collect();
        let table = routes(&all);
        // Each route in a table of its own: no order and no neighbours to mislead the index.
        let alone: Vec<_> = matches.iter().enumerate().map(|(i, m)| routes(&route(i, m))).collect();
        for _ in 0..40 {
            let path = format!("/{}{}", word(&rng), word(&rng));
            let values = ["1", "2", "3"];
            let headers: Vec<_> = (0..rng.below(3)).map(|_| ("x-a", pick(&rng, &values))).collect();
            let head = get(&path, &headers);
            let want = alone.iter().find(|t| matches!(t.find(&head, &cx), Found::Route(_)));
            let want = want.map_or("-".into(), |t| name_for(t, &head));
            found += usize::from(want != "-");
            assert_eq!(name_for(&table, &head), want, "{path} {headers:?} in {matches:?}");
            let walked = table.walk(&head, &cx).find(|met| met.mismatch.is_none());
            assert_eq!(
                walked.map_or("-".into(), |met| met.route.name.to_string()),
                want,
                "{path} {headers:?} walked"
            );
        }
    }
    assert!(found > 1000, "{found}");
}
