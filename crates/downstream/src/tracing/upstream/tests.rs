use super::*;
use crate::tracing::Beginning;
use nuncio_codec::head::{HeaderMap, ResponseHead};
use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use nuncio_core::trace::{SpanContext, SpanKind};
use std::cell::{Cell, RefCell};
use std::time::{Duration, UNIX_EPOCH};

/// Keeps what it is given.
#[derive(Default)]
struct Kept(RefCell<Vec<Span>>);

impl Tracer for Kept {
    fn begin(&self, _: &Beginning<'_>) -> Option<Box<Span>> {
        None
    }

    fn child(&self, parent: &SpanContext, _: Spans) -> (SpanContext, SpanKind) {
        (SpanContext { span: parent.span + 1, parent: Some(parent.span), ..parent.clone() }, SpanKind::Client)
    }

    fn inject(&self, context: &SpanContext, headers: &mut HeaderMap) {
        headers.set("x-span", context.span.to_string().as_bytes());
    }

    fn report(&self, span: Box<Span>) {
        self.0.borrow_mut().push(*span);
    }
}

fn parent(worker: &Worker, sampled: bool) -> Span {
    let context = SpanContext { trace: 7, span: 1, sampled, ..SpanContext::default() };
    Span::new(context, SpanKind::Server, "request".into(), (UNIX_EPOCH, worker.now()))
}

fn worker() -> (Rc<Worker>, Clock) {
    let clock = Clock::virtual_at(UNIX_EPOCH);
    (Worker::new(0, clock.clone(), Rng::seeded(1)), clock)
}

fn cluster() -> ClusterInfo {
    ClusterInfo {
        name: "ca".into(),
        observability_name: "seen".into(),
        metadata: None,
        members: Cell::new(1),
    }
}

/// The tags that a call's span has in the end.
fn tags(answer: Option<Result<&Answer, NoAnswer>>) -> Vec<(String, String)> {
    let (worker, _) = worker();
    let kept = Rc::new(Kept::default());
    let tracer: Rc<dyn Tracer> = kept.clone();
    let mut span =
        CallSpan::begin(&tracer, &parent(&worker, true), "ask".into(), None, (UNIX_EPOCH, worker.now()));
    span.tag_answer(&cluster(), &Tried::default(), answer);
    span.end(&worker);
    let spans = kept.0.borrow();
    spans.iter().flat_map(|span| &span.tags).map(|(key, value)| (key.to_string(), value.clone())).collect()
}

fn tag<'t>(tags: &'t [(String, String)], key: &str) -> Option<&'t str> {
    tags.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str())
}

#[test]
fn a_call_is_a_child_of_its_stream_and_tells_the_next_hop_so() {
    let (worker, clock) = worker();
    let kept = Rc::new(Kept::default());
    let tracer: Rc<dyn Tracer> = kept.clone();
    for (said, want) in [(None, true), (Some(false), false), (Some(true), true)] {
        let start = (UNIX_EPOCH, worker.now());
        let span = CallSpan::begin(&tracer, &parent(&worker, true), "ask".into(), said, start);
        let mut headers = HeaderMap::new();
        span.inject(&mut headers);
        assert_eq!(headers.get("x-span"), Some(&b"2"[..]));
        clock.advance(Duration::from_millis(5));
        span.end(&worker);
        let last = kept.0.borrow_mut().pop().unwrap();
        assert_eq!((last.context.trace, last.context.parent), (7, Some(1)));
        assert_eq!((last.context.sampled, &*last.name, last.took), (want, "ask", Duration::from_millis(5)));
    }
}

#[test]
fn its_tags_tell_what_the_call_came_to() {
    let good = Answer { head: ResponseHead::new(200), ..Answer::default() };
    let all = tags(Some(Ok(&good)));
    assert_eq!(tag(&all, "http.status_code"), Some("200"));
    assert_eq!(
        (tag(&all, "upstream_cluster"), tag(&all, "upstream_cluster.name")),
        (Some("ca"), Some("seen"))
    );
    assert_eq!((tag(&all, "error"), tag(&all, "response_flags")), (None, Some("-")));

    let bad = Answer { head: ResponseHead::new(503), ..Answer::default() };
    assert_eq!(tag(&tags(Some(Ok(&bad))), "error"), Some("true"));

    let none = tags(Some(Err(NoAnswer::NoHost)));
    assert_eq!((tag(&none, "error"), tag(&none, "response_flags")), (Some("true"), Some("UH")));
    assert_eq!(tag(&none, "upstream_address"), None);
}
