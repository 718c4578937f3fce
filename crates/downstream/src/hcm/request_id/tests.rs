use super::*;
use nuncio_core::config::{Fraction, fraction};
use nuncio_core::runtime::Runtime;
use nuncio_proto::pb::envoy::r#type::v3::FractionalPercent;

#[test]
fn a_uuid_has_its_version_its_variant_and_every_other_bit_by_chance() {
    assert_eq!(&uuid(0, 0), b"00000000-0000-4000-8000-000000000000");
    assert_eq!(&uuid(u64::MAX, u64::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(&uuid(0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef), b"01234567-89ab-4def-8123-456789abcdef");
}

#[test]
fn hex_digits_are_those_of_the_standard_library() {
    let rng = Rng::seeded(7);
    for n in (0..1000).map(|_| rng.next()).chain([0, u64::MAX, 0x0a9f_9a90_f0a9_9a0f]) {
        assert_eq!(hex(n), *format!("{n:016x}").as_bytes());
    }
}

#[test]
fn an_id_is_made_where_there_is_none_and_at_the_edge() {
    let plain = RequestIds::default();
    let preserve = RequestIds { preserve_external: true, ..plain };
    let off = RequestIds { generate: false, ..plain };
    // Configuration, edge, what came, whether it is kept.
    for (ids, edge, came, kept) in [
        (plain, false, Some("client-id"), true),
        (plain, false, Some(""), false),
        (plain, false, None, false),
        (plain, true, Some("client-id"), false),
        (preserve, true, Some("client-id"), true),
        (preserve, true, Some(""), false),
        (off, true, Some("client-id"), true),
        (off, true, None, true),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(came) = came {
            headers.append(Known::XRequestId, came.as_bytes());
        }
        ids.apply(&mut headers, edge, &Rng::seeded(1));
        let id = headers.get_str(Known::XRequestId);
        if kept {
            assert_eq!(id, came, "{ids:?} {edge}");
        } else {
            let id = id.unwrap();
            assert!(id.len() == 36 && id.as_bytes()[14] == b'4', "{ids:?} {edge} {id}");
        }
    }
}

#[test]
fn the_trace_reason_is_read_and_written_at_index_fourteen() {
    let mut headers = HeaderMap::new();
    headers.append(Known::XRequestId, &uuid(1, 2));
    for (reason, digit) in [
        (TraceReason::Sampling, b'9'),
        (TraceReason::ServiceForced, b'a'),
        (TraceReason::ClientForced, b'b'),
        (TraceReason::NotTraceable, b'4'),
    ] {
        set_trace_reason(&mut headers, reason);
        let id = headers.get(Known::XRequestId).unwrap();
        assert_eq!((id[14], trace_reason(id)), (digit, Some(reason)));
    }
    headers.set(Known::XRequestId, b"client-id-of-another-length");
    set_trace_reason(&mut headers, TraceReason::Sampling);
    assert_eq!(headers.get_str(Known::XRequestId), Some("client-id-of-another-length"));
    assert_eq!(trace_reason(b"client-id-of-another-length"), None);
}

#[test]
fn sampling_takes_the_first_eight_digits() {
    assert_eq!(sampling_number(b"00002711-0000-4000-8000-000000000000"), Some(1));
    assert_eq!(sampling_number(b"zzzzzzzz-0000-4000-8000-000000000000"), None);
    assert_eq!(sampling_number(b"123"), None);
}

#[test]
fn the_trace_decision_follows_the_id_the_headers_and_the_samplings() {
    let never = fraction(&FractionalPercent { numerator: 0, denominator: 0 });
    let always = Fraction::ALWAYS;
    let all = Sampling::new(always, always, always);
    let none = Sampling::new(always, never, always);
    let no_client = Sampling::new(never, never, always);
    let not_at_all = Sampling::new(always, always, never);
    let (ids, runtime) = (RequestIds::default(), Runtime::default());
    let no_sampling = RequestIds { trace_sampling: false, ..ids };
    let sampled = "00000000-0000-9000-8000-000000000000";
    let plain = "00000000-0000-4000-8000-000000000000";
    // Sampling, configuration of ids, id, further header, reason, digit in the id.
    for (sampling, ids, id, header, want, digit) in [
        (&all, ids, plain, "", TraceReason::Sampling, "9"),
        (&none, ids, plain, "", TraceReason::NotTraceable, "4"),
        (&none, ids, sampled, "", TraceReason::Sampling, "9"),
        (&none, ids, plain, "x-client-trace-id", TraceReason::ClientForced, "b"),
        (&no_client, ids, plain, "x-client-trace-id", TraceReason::NotTraceable, "4"),
        (&none, ids, plain, "x-envoy-force-trace", TraceReason::ServiceForced, "a"),
        (&not_at_all, ids, plain, "", TraceReason::NotTraceable, "4"),
        (&not_at_all, ids, sampled, "", TraceReason::NotTraceable, "4"),
        (&all, RequestIds { pack_trace_reason: false, ..ids }, plain, "", TraceReason::Sampling, "4"),
        (&none, no_sampling, plain, "", TraceReason::Sampling, "4"),
        (&all, ids, "not-hexadecimal", "", TraceReason::NotTraceable, "c"),
    ] {
        let mut headers = HeaderMap::new();
        headers.append(Known::XRequestId, id.as_bytes());
        if !header.is_empty() {
            headers.append(header, b"1");
        }
        assert_eq!(sampling.decide(&ids, &mut headers, &runtime, 0), want, "{id} {header}");
        let id = headers.get_str(Known::XRequestId).unwrap();
        assert_eq!(id.get(14..15).unwrap_or("c"), if id.len() == 36 { digit } else { "l" }, "{id} {header}");
    }
    assert_eq!(all.decide(&ids, &mut HeaderMap::new(), &runtime, 0), TraceReason::NotTraceable);
}
