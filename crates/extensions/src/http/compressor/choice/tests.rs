use super::*;

fn chosen(accept: &str, candidates: &[(&'static str, bool)]) -> (Option<&'static str>, Said) {
    let candidates: Vec<Candidate> = candidates
        .iter()
        .map(|(coding, first)| Candidate { coding, types: vec!["text/html".into()].into(), first: *first })
        .collect();
    let choice = choose(accept, "text/html", &candidates);
    assert_eq!(choose(accept, "image/png", &candidates).coding, None);
    (choice.coding, choice.said)
}

#[test]
fn the_client_gets_what_it_weighs_most_and_the_first_among_equals() {
    let both = [("br", false), ("gzip", false)];
    let first = [("br", true), ("gzip", false)];
    for (accept, candidates, choice) in [
        ("gzip", both, (Some("gzip"), Said::Named)),
        ("gzip, br", both, (Some("gzip"), Said::Named)),
        ("gzip, br", first, (Some("br"), Said::Named)),
        ("gzip, br;q=0.9", first, (Some("gzip"), Said::Named)),
        ("gzip;q=0.5, br", both, (Some("br"), Said::Named)),
        ("*", both, (Some("br"), Said::Wildcard)),
        ("br;q=0, *", both, (Some("gzip"), Said::Wildcard)),
        ("br;q=0, gzip;q=0, *", both, (None, Said::Wildcard)),
        ("identity, gzip;q=0.5", both, (None, Said::Identity)),
        ("gzip;q=0.4, identity;q=0.6", both, (None, Said::Identity)),
        ("gzip;q=0", both, (None, Said::Nothing)),
        ("gzip;q=x", both, (None, Said::Nothing)),
        ("zstd", both, (None, Said::Nothing)),
        ("", both, (None, Said::Nothing)),
        ("GZIP", both, (None, Said::Nothing)),
        ("gzip;level=9", both, (Some("gzip"), Said::Named)),
    ] {
        assert_eq!(chosen(accept, &candidates), choice, "{accept}");
    }
}
