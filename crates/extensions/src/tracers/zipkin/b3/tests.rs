//! What is read of headers is what was recorded of Envoy.

use super::*;

const TRACE_ID: &str = "463ac35c9f6413ad48485a3953bb6124";
const SPAN_ID: &str = "a2fb4a1d1a96d312";

fn single(value: &str) -> Result<Brought, Malformed> {
    let mut headers = HeaderMap::default();
    headers.set(SINGLE, value.as_bytes());
    Brought::read(&headers)
}

#[test]
fn a_single_header_is_a_flag_or_a_span_with_its_trace() {
    assert_eq!(single("0").map(|b| b.sampled), Ok(Some(false)));
    assert_eq!(single("d").map(|b| b.sampled), Ok(Some(true)));
    let whole = single(&format!("{TRACE_ID}-{SPAN_ID}-1-0020000000000001")).unwrap();
    let ids = whole.ids.unwrap();
    assert_eq!((ids.span, ids.parent), (0xa2fb_4a1d_1a96_d312, 0x0020_0000_0000_0001));
    assert_eq!(single(&format!("{TRACE_ID}-{SPAN_ID}")).map(|b| b.sampled), Ok(None));
    assert!(single(&format!("{TRACE_ID}-a2fb4a1d")).is_ok(), "a span may have fewer digits at the end");
    for bad in [
        "",
        "x",
        TRACE_ID,
        &format!("{TRACE_ID}-{SPAN_ID}-"),
        &format!("{TRACE_ID}-{SPAN_ID}-9"),
        &format!("{TRACE_ID}-{SPAN_ID}-{SPAN_ID}"),
        &format!("{TRACE_ID}-{SPAN_ID}-1-{SPAN_ID}0"),
    ] {
        assert_eq!(single(bad), Err(Malformed), "{bad}");
    }
}

#[test]
fn the_next_hop_is_told_in_the_form_in_which_this_one_was() {
    for value in [format!("{TRACE_ID}-{SPAN_ID}-1-0020000000000001"), format!("{SPAN_ID}-{SPAN_ID}-0")] {
        let Brought { form, sampled, ids } = single(&value).unwrap();
        let Ids { trace, span, parent } = ids.unwrap();
        let parent = Some(parent).filter(|p| *p != 0);
        let sampled = sampled.unwrap_or_default();
        let context = SpanContext { trace, span, parent, sampled, form, ..SpanContext::default() };
        let mut headers = HeaderMap::default();
        inject(&context, &mut headers);
        assert_eq!(headers.get(SINGLE), Some(value.as_bytes()));
        assert!(!headers.contains(TRACE));
    }
}
