use super::*;
use nuncio_core::rng::Rng;

/// A route as the plain walk sees it.
#[derive(Debug)]
struct Plainly {
    key: Vec<u8>,
    kind: u64,
    guard: Option<ExactHeader>,
    /// Stands for conditions that no index knows.
    other: bool,
}

impl Plainly {
    fn path_fits(&self, path: &[u8]) -> bool {
        let k = self.key.as_slice();
        let begins = |p: &[u8]| p.starts_with(k);
        match self.kind {
            0 => begins(path),
            1 => begins(path) && path.get(k.len()).is_none_or(|&b| b == b'/'),
            2 => path == k,
            3 => path.to_ascii_lowercase().starts_with(&k.to_ascii_lowercase()),
            4 => path.eq_ignore_ascii_case(k),
            _ => path.ends_with(k),
        }
    }

    fn key(&self) -> PathKey<'_> {
        match self.kind {
            0 => PathKey::Literal(&self.key, Reach::Prefix),
            1 => PathKey::Literal(&self.key, Reach::Separated),
            2 => PathKey::Literal(&self.key, Reach::Exact),
            3 => PathKey::Folded(&self.key, Reach::Prefix),
            4 => PathKey::Folded(&self.key, Reach::Exact),
            _ => PathKey::Suffix(&self.key),
        }
    }

    fn check(&self, headers: &HeaderMap) -> bool {
        self.other
            && self.guard.as_ref().is_none_or(|(name, value)| headers.get_all(&**name).any(|v| *v == **value))
    }
}

fn word(rng: &Rng, letters: &[u8], max: u64) -> Vec<u8> {
    (0..rng.below(max)).map(|_| letters[rng.below(letters.len() as u64) as usize]).collect()
}

#[test]
fn the_index_agrees_with_the_walk_over_the_list() {
    let rng = Rng::seeded(11);
    for round in 0..600 {
        let routes: Vec<Plainly> = (0..rng.below(if round % 10 == 0 { 300 } else { 24 }))
            .map(|_| Plainly {
                key: word(&rng, b"/aAb", 5),
                kind: rng.below(6),
                guard: (rng.below(3) > 0).then(|| {
                    let name = if rng.below(4) == 0 { "x-b" } else { "x-a" };
                    (name.into(), word(&rng, b"xy", 3).into())
                }),
                other: rng.below(4) > 0,
            })
            .collect();
        let mut builder = PathIndexBuilder::default();
        for (i, r) in routes.iter().enumerate() {
            builder.add(i as u32, r.key(), r.guard.clone());
        }
        let index = builder.freeze();
        for _ in 0..40 {
            let path = word(&rng, b"/aAb", 9);
            let mut headers = HeaderMap::new();
            for name in ["x-a", "x-b", "x-a"] {
                if rng.below(2) == 0 {
                    headers.append(name, &word(&rng, b"xy", 3));
                }
            }
            let want = routes.iter().position(|r| r.path_fits(&path) && r.check(&headers));
            let got = index.first(&path, &headers, |i| routes[i as usize].check(&headers));
            assert_eq!(got.map(|i| i as usize), want, "{path:?} {headers:?} in {routes:?}");
        }
    }
}

#[test]
fn a_long_list_asks_about_the_one_route_that_can_match() {
    let headers = HeaderMap::new();
    let mut builder = PathIndexBuilder::default();
    for i in 0..2000 {
        builder.add(i, PathKey::Literal(format!("/service-{i}/").as_bytes(), Reach::Prefix), None);
    }
    let index = builder.freeze();
    let mut asked = Vec::new();
    let got = index.first(b"/service-1999/x", &headers, |i| {
        asked.push(i);
        true
    });
    assert_eq!((got, asked), (Some(1999), vec![1999]));
}

#[test]
fn routes_told_apart_by_a_header_are_found_by_its_value() {
    let mut builder = PathIndexBuilder::default();
    for i in 0..2000 {
        let guard = ("x-tenant".into(), format!("t{i}").into_bytes().into());
        builder.add(i, PathKey::Literal(b"/", Reach::Prefix), Some(guard));
    }
    let index = builder.freeze();
    let mut headers = HeaderMap::new();
    headers.append("x-tenant", b"t1999");
    let mut asked = 0;
    let got = index.first(b"/x", &headers, |_| {
        asked += 1;
        true
    });
    assert_eq!((got, asked), (Some(1999), 1));
}

#[test]
fn an_early_match_ends_the_walk() {
    let mut builder = PathIndexBuilder::default();
    builder.add(0, PathKey::Literal(b"/", Reach::Prefix), None);
    builder.add(1, PathKey::Literal(b"/a", Reach::Prefix), None);
    builder.add(2, PathKey::Folded(b"/A/B", Reach::Exact), None);
    let index = builder.freeze();
    let mut asked = Vec::new();
    index.first(b"/a/b", &HeaderMap::new(), |i| {
        asked.push(i);
        true
    });
    assert_eq!(asked, [0]);
}
