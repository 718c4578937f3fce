use super::*;
use nuncio_core::rng::Rng;

fn table(domains: &[&str]) -> Domains {
    let mut builder = DomainsBuilder::default();
    for (i, d) in domains.iter().enumerate() {
        builder.add(d, i as u32).unwrap();
    }
    builder.freeze()
}

#[test]
fn exact_beats_longest_suffix_beats_longest_prefix_beats_any() {
    let all = ["www.foo.com", "*.foo.com", "*.bar.foo.com", "foo.*", "foo.bar.*", "*", "*-x.foo.com"];
    let t = table(&all);
    for (host, want) in [
        ("www.foo.com", "www.foo.com"),
        ("WWW.FOO.COM", "www.foo.com"),
        ("x.foo.com", "*.foo.com"),
        ("x.bar.foo.com", "*.bar.foo.com"),
        ("bar.foo.com", "*.foo.com"),
        ("a-x.foo.com", "*-x.foo.com"),
        ("-x.foo.com", "*.foo.com"),
        ("foo.com", "foo.*"),
        ("foo.", "*"),
        ("foo.bar.net", "foo.bar.*"),
        ("foo.bar.net:99", "foo.bar.*"),
        ("www.foo.com:443", "*"),
        ("other", "*"),
    ] {
        let got = t.find(host.as_bytes()).and_then(|i| all.get(i as usize).copied());
        assert_eq!(got, Some(want), "{host}");
    }
}

#[test]
fn only_a_wildcard_takes_an_empty_host_and_only_a_lone_one_takes_none() {
    assert_eq!(table(&["*"]).find(b""), Some(0));
    assert_eq!(table(&["*"]).only_any(), Some(0));
    assert_eq!(table(&["a", "*"]).find(b""), Some(1));
    assert_eq!(table(&["a", "*"]).only_any(), None);
    assert_eq!(table(&["a"]).find(b""), None);
    assert_eq!(table(&[]).find(b"x"), None);
    assert_eq!(table(&["a"]).find(b"b"), None);
}

#[test]
fn duplicates_are_told_apart_from_a_second_wildcard() {
    for (first, second, want) in [
        ("*", "*", DomainError::SecondWildcard),
        ("a.b", "A.B", DomainError::Duplicate),
        ("*.b", "*.B", DomainError::Duplicate),
        ("a.*", "A.*", DomainError::Duplicate),
    ] {
        let mut b = DomainsBuilder::default();
        b.add(first, 0).unwrap();
        assert_eq!(b.add(second, 1), Err(want), "{first}");
    }
    let mut b = DomainsBuilder::default();
    for (i, different) in ["a", "a*", "*a", "*"].iter().enumerate() {
        b.add(different, i as u32).unwrap();
    }
}

#[test]
fn ports_are_found_behind_names_and_bracketed_addresses_only() {
    for (host, want) in
        [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a:", "a"), (":80", "")]
    {
        assert_eq!(without_port(host.as_bytes()), want.as_bytes(), "{host}");
    }
}

/// Envoy's rule, said plainly.
fn linear(domains: &[String], host: &str) -> Option<usize> {
    let literal: Vec<_> = domains.iter().enumerate().filter(|(_, d)| *d != "*").collect();
    let any = domains.iter().position(|d| d == "*");
    if literal.is_empty() {
        return any;
    }
    let exact = literal.iter().find(|(_, d)| *d == host && !d.starts_with('*') && !d.ends_with('*'));
    let suffix = literal
        .iter()
        .filter(|(_, d)| d.starts_with('*') && host.len() >= d.len() && host.ends_with(&d[1..]))
        .max_by_key(|(_, d)| d.len());
    let prefix = literal
        .iter()
        .filter(|(_, d)| !d.starts_with('*') && d.ends_with('*'))
        .filter(|(_, d)| host.len() >= d.len() && host.starts_with(&d[..d.len() - 1]))
        .max_by_key(|(_, d)| d.len());
    exact.or(suffix).or(prefix).map(|(i, _)| *i).or(any)
}

#[test]
fn the_tree_agrees_with_the_plain_rule_on_random_tables() {
    let rng = Rng::seeded(7);
    let word = |max: u64| -> String {
        let len = rng.below(max);
        (0..len).map(|_| ['a', 'b', '.', 'c'][rng.below(4) as usize]).collect()
    };
    for round in 0..400 {
        let mut builder = DomainsBuilder::default();
        let mut domains = Vec::new();
        for i in 0..round % 40 {
            let name = word(6);
            let domain = match i % 4 {
                0 => format!("*{name}"),
                1 => format!("{name}*"),
                _ => name,
            };
            if !domain.is_empty() && builder.add(&domain, domains.len() as u32).is_ok() {
                domains.push(domain);
            }
        }
        let tree = builder.freeze();
        for _ in 0..30 {
            let host = word(9);
            let got = tree.find(host.as_bytes()).map(|i| i as usize);
            assert_eq!(got, linear(&domains, &host), "{host:?} in {domains:?}");
        }
    }
}
