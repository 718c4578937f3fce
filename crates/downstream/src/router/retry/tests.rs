use super::*;
use nuncio_codec::head::ResponseHead;

fn head(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    for (name, value) in fields {
        head.headers.append(*name, value.as_bytes());
    }
    head
}

fn state(on: &str, steering: &[(Known, &str)]) -> RetryState {
    let policy = Arc::new(RetryPolicy {
        on: RetryOn::parse(on).with(RetryOn::parse_grpc(on)),
        status_codes: [404].into(),
        ..RetryPolicy::default()
    });
    let mut headers = HeaderMap::new();
    for (name, value) in steering {
        headers.append(*name, value.as_bytes());
    }
    RetryState::new(Some(&policy), &headers, true).unwrap()
}

#[test]
fn each_condition_wants_its_own_responses() {
    for (on, status, fields, wanted) in [
        ("5xx", 599, &[][..], true),
        ("5xx", 499, &[], false),
        ("gateway-error", 500, &[], false),
        ("gateway-error", 504, &[], true),
        ("retriable-4xx", 409, &[], true),
        ("retriable-4xx", 404, &[], false),
        ("retriable-status-codes", 404, &[], true),
        ("5xx", 503, &[("x-envoy-ratelimited", "true")], false),
        ("envoy-ratelimited", 200, &[("x-envoy-ratelimited", "true")], true),
        ("unavailable", 200, &[("grpc-status", "14")], true),
        ("unavailable", 200, &[("grpc-status", "13")], false),
        ("internal, cancelled", 200, &[("grpc-status", "1")], true),
        ("connect-failure,reset", 503, &[], false),
    ] {
        assert_eq!(
            state(on, &[]).wants_response(&RequestHead::default(), &head(status, fields)),
            wanted,
            "{on} {status} {fields:?}"
        );
    }
}

#[test]
fn too_early_is_final_for_who_sent_early_data() {
    let policy =
        RetryPolicy { on: RetryOn::STATUS_CODES, status_codes: [425].into(), ..RetryPolicy::default() };
    let state = RetryState::new(Some(&Arc::new(policy)), &HeaderMap::new(), false).unwrap();
    let mut request = RequestHead::default();
    assert!(state.wants_response(&request, &head(425, &[])));
    request.headers.append("early-data", b"1");
    assert!(!state.wants_response(&request, &head(425, &[])));
}

#[test]
fn each_condition_wants_its_own_resets() {
    use ResetReason as R;
    for (on, reason, sent, wanted) in [
        ("reset", R::ConnectionTermination, true, true),
        ("5xx", R::RemoteReset, true, true),
        ("reset", R::Overflow, false, false),
        ("connect-failure", R::RemoteConnectionFailure, false, true),
        ("connect-failure", R::ConnectionTermination, true, false),
        ("reset-before-request", R::ConnectionTermination, true, false),
        ("reset-before-request", R::ConnectionTimeout, false, true),
        ("refused-stream", R::RemoteRefusedStreamReset, true, true),
        ("refused-stream", R::RemoteReset, true, false),
        ("retriable-4xx", R::RemoteReset, true, false),
    ] {
        assert_eq!(state(on, &[]).wants_reset(reason, sent), wanted, "{on} {reason:?}");
    }
}

#[test]
fn headers_add_conditions_codes_and_names_and_replace_the_number() {
    let s = state(
        "5xx",
        &[
            (Known::XEnvoyRetryOn, "retriable-status-codes, retriable-headers"),
            (Known::XEnvoyRetriableStatusCodes, "418, x,429"),
            (Known::XEnvoyRetriableHeaderNames, " X-Again "),
            (Known::XEnvoyMaxRetries, "7"),
        ],
    );
    assert_eq!(s.left, 7);
    for (status, fields, wanted) in
        [(429, &[][..], true), (404, &[], true), (403, &[], false), (200, &[("x-again", "")], true)]
    {
        assert_eq!(s.wants_response(&RequestHead::default(), &head(status, fields)), wanted, "{status}");
    }
}

#[test]
fn the_interval_doubles_to_its_maximum_and_chance_stays_below_it() {
    let policy = RetryPolicy::default();
    let mut interval = Interval::of(&policy, &Runtime::default());
    let rng = Rng::seeded(7);
    for most in [25, 50, 100, 200, 250, 250] {
        assert_eq!(interval.next, Duration::from_millis(most));
        assert!(interval.next(&rng) < Duration::from_millis(most));
    }
}
