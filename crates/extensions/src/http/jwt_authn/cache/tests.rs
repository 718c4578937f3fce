use super::*;

/// A token that expires at `at`, or never for 0.
fn token(at: u64) -> Rc<Token> {
    let text = match at {
        0 => "eyJhbGciOiJIUzI1NiJ9.e30.AA".to_owned(),
        at => {
            use base64::Engine;
            let payload = format!("{{\"exp\":{at}}}");
            let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload);
            format!("eyJhbGciOiJIUzI1NiJ9.{payload}.AA")
        }
    };
    Rc::new(Token::parse(&text).unwrap())
}

fn cache(size: usize) -> Cache {
    Cache::new(CacheConfig { size, longest: 3 })
}

#[test]
fn the_token_that_was_used_longest_ago_makes_room() {
    let mut cache = cache(2);
    cache.keep("a", token(0));
    cache.keep("b", token(0));
    assert!(cache.find("a", 0, 0).is_some());
    cache.keep("c", token(0));
    let there = |name| cache.tokens.contains_key(name);
    assert_eq!((there("a"), there("b"), there("c")), (true, false, true));
    assert_eq!(cache.used.len(), 2);
}

#[test]
fn long_tokens_and_expired_ones_are_not_kept() {
    let mut cache = cache(2);
    cache.keep("long", token(0));
    cache.keep("a", token(10));
    assert!(cache.find("long", 0, 0).is_none());
    assert!(cache.find("a", 12, 2).is_some());
    assert!(cache.find("a", 13, 2).is_none());
    assert!(cache.tokens.is_empty() && cache.used.is_empty());
}

#[test]
fn keeping_a_token_again_does_not_take_more_room() {
    let mut cache = cache(2);
    for _ in 0..3 {
        cache.keep("a", token(0));
    }
    assert_eq!((cache.tokens.len(), cache.used.len()), (1, 1));
}
