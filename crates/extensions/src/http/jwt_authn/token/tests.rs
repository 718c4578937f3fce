use super::*;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn parse(header: &str, payload: &str) -> Result<Token, Failure> {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    Token::parse(&format!("{}.{}.AA", encode(header), encode(payload)))
}

fn payload(text: &str) -> Option<Failure> {
    parse(r#"{"alg":"ES256"}"#, text).err()
}

#[test]
fn each_section_has_its_own_failure() {
    for (text, failure) in [
        ("", Failure::Form),
        ("a.b", Failure::Form),
        ("a.b.c.d", Failure::Form),
        ("a..b.", Failure::Form),
        ("!.b.c", Failure::HeaderBase64),
        ("e30.b.c", Failure::Alg),
        ("eyJhbGciOiJIUzI1NiJ9.!.c", Failure::PayloadBase64),
        ("eyJhbGciOiJIUzI1NiJ9.e30.!", Failure::SignatureBase64),
    ] {
        assert_eq!(Token::parse(text).err(), Some(failure), "{text}");
    }
    assert_eq!(parse("[]", "{}").err(), Some(Failure::HeaderJson));
    assert_eq!(parse(r#"{"alg":"none"}"#, "{}").err(), Some(Failure::AlgUnknown));
    assert_eq!(parse(r#"{"alg":"ES256","kid":7}"#, "{}").err(), Some(Failure::Kid));
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    assert_eq!(payload(r#"{"iss":"a","iss":"b"}"#), Some(Failure::PayloadJson));
    assert_eq!(payload(r#"{"a":{"b":1,"b":2}}"#), Some(Failure::PayloadJson));
    assert_eq!(payload(r#"{"a":{"b":1},"b":2}"#), None);
}

#[test]
fn times_are_whole_seconds_that_fit() {
    for (text, failure) in [
        (r#"{"exp":"1"}"#, Some(Failure::ExpKind)),
        (r#"{"exp":null}"#, Some(Failure::ExpKind)),
        (r#"{"exp":-1}"#, Some(Failure::ExpRange)),
        (r#"{"nbf":1e30}"#, Some(Failure::NbfRange)),
        (r#"{"iat":[]}"#, Some(Failure::IatKind)),
        (r#"{"exp":1.9}"#, None),
        ("null", None),
    ] {
        assert_eq!(payload(text), failure, "{text}");
    }
}

#[test]
fn a_clock_that_is_wrong_is_allowed_for() {
    let token = parse(r#"{"alg":"ES256"}"#, r#"{"nbf":100,"exp":200}"#).unwrap();
    for (now, skew, verdict) in [
        (99, 0, Err(Failure::NotYetValid)),
        (99, 1, Ok(())),
        (200, 0, Ok(())),
        (201, 0, Err(Failure::Expired)),
        (201, 1, Ok(())),
    ] {
        assert_eq!(token.at(now, skew), verdict, "{now} {skew}");
    }
}

#[test]
fn base64_takes_blanks_and_padding_but_not_the_other_alphabet() {
    assert_eq!(decoded("YW Jj").as_deref(), Some(b"abc".as_slice()));
    assert_eq!(decoded("YWI="), decoded("YWI"));
    assert_eq!(decoded("-_8").as_deref(), Some([0xfb, 0xff].as_slice()));
    assert_eq!((decoded("+/8"), decoded("Y"), decoded("YWI==")), (None, None, None));
}
