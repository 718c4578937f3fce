use super::*;
use crate::call::Call;
use crate::retry_plugin::RetryHostPredicate;
use crate::testing::{World, cluster, run, settle};
use nuncio_codec::head::{Known, RequestHead, ResponseHead};
use nuncio_core::config::{Sink, Unsupported};
use std::sync::Arc;

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn compiled(message: RetryPolicy, on: Option<&str>) -> Result<Retries, String> {
    let sink = Sink::new(Unsupported::Refuse);
    let cx = CompileContext::root(&sink, "", None);
    let retries = Retries::compile(message, on, &cx, &RetryPlugins::default());
    retries.ok_or_else(|| format!("{:?}", sink.finish().0))
}

fn answer(status: u16) -> Result<Answer, NoAnswer> {
    Ok(Answer { head: ResponseHead::new(status), ..Answer::default() })
}

#[test]
fn without_a_word_one_more_try_is_made_after_up_to_a_second() {
    let retries = compiled(RetryPolicy::default(), Some("5xx")).unwrap();
    assert_eq!(
        (retries.most, retries.base, retries.max),
        (1, Duration::from_secs(1), Duration::from_secs(10))
    );
    assert!(retries.grow());
    assert_eq!(retries.patience(Duration::from_secs(3)), Duration::from_secs(3));
    assert_eq!(retries.patience(Duration::from_secs(30)), Duration::from_secs(10));
}

#[test]
fn the_longest_wait_may_be_shorter_than_the_first() {
    let back_off = BackoffStrategy { base_interval: Some(seconds(5)), max_interval: Some(seconds(2)) };
    let message =
        RetryPolicy { retry_back_off: Some(back_off), num_retries: Some(4), ..RetryPolicy::default() };
    let retries = compiled(message, None).unwrap();
    assert!(!retries.grow());
    assert_eq!((retries.most, retries.max), (4, Duration::from_secs(2)));
}

#[test]
fn conditions_decide_and_nothing_is_tried_again_without_one() {
    let reset = || Err(NoAnswer::Reset { reason: ResetReason::RemoteReset, sent: true });
    for (own, on, wants) in [
        ("5xx", None, [true, false, true, true, false]),
        ("gateway-error", None, [true, false, true, true, false]),
        ("", None, [false; 5]),
        ("5xx", Some("retriable-4xx"), [false, false, false, false, false]),
    ] {
        let message = RetryPolicy { retry_on: own.to_owned(), ..RetryPolicy::default() };
        let retries = compiled(message, on).unwrap();
        let outcomes = [answer(503), answer(404), Err(NoAnswer::TimedOut), reset(), Err(NoAnswer::NoHost)];
        assert_eq!(outcomes.each_ref().map(|outcome| retries.wants(outcome)), wants, "{own} {on:?}");
    }
}

/// Rejects every host that was tried.
#[derive(Debug)]
struct Another;

impl RetryHostPredicate for Another {
    fn rejects(&self, candidate: &Host, attempted: &[Rc<Host>]) -> bool {
        attempted.iter().any(|host| host.address() == candidate.address())
    }
}

#[test]
fn a_plug_in_sends_the_second_try_to_another_host() {
    run(async {
        let world = World::new(vec![cluster(&[1, 2])]);
        let (known, mut tries) = (world.cluster(), Tries::default());
        let mut retries = compiled(RetryPolicy::default(), Some("5xx")).unwrap();
        retries.choice.predicates = [Arc::new(Another) as Arc<dyn RetryHostPredicate>].into();
        retries.choice.attempts = 20;
        for _ in 0..10 {
            tries.hosts.clear();
            let cx = PickContext::default();
            let mut picked = || retries.pick(&mut tries, &known, &cx).unwrap();
            assert_ne!(picked().address(), picked().address());
        }
    });
}

#[test]
fn a_call_is_tried_again_until_somebody_answers_well() {
    run(async {
        let world = World::new(vec![cluster(&[1])]);
        let known = world.cluster();
        let retries = compiled(RetryPolicy::default(), Some("5xx")).unwrap();
        let mut head = RequestHead::new();
        for (name, value) in [(Known::Method, "GET"), (Known::Path, "/"), (Known::Authority, "c")] {
            head.headers.set(name, value.as_bytes());
        }
        let call = tokio::task::spawn_local(async move {
            let call = Call { head: &head, body: None, keep: 0, tried: None };
            call.send_within(&known, None, Some(&retries)).await.map(|answer| answer.head.status)
        });
        settle().await;
        world.peer(|peer| peer.write(b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n"));
        // The wait lasts for less than a second, on a clock that runs when nothing else does.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.peer(|peer| {
            assert_eq!(peer.read().matches("GET / ").count(), 2);
            peer.write(b"HTTP/1.1 200 ok\r\ncontent-length: 0\r\n\r\n");
        });
        assert!(matches!(call.await.unwrap(), Ok(200)));
        assert_eq!(world.cluster().stats().upstream_rq_retry_success.value(), 1);
    });
}
