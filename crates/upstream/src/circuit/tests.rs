use super::*;
use nuncio_core::clock::Clock;

#[test]
fn a_limit_admits_exactly_as_many_from_many_threads() {
    let breaker = Breaker::new(&Limits { max_requests: 100, ..Limits::default() });
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..1000).filter(|_| breaker.try_take(Resource::Requests)).count()))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum::<usize>()
    });
    assert_eq!(taken, 100);
    assert!(breaker.open(Resource::Requests));
    breaker.give_back(Resource::Requests);
    assert!(!breaker.open(Resource::Requests));
}

#[test]
fn a_limit_of_zero_refuses_all_and_shows_as_open_once_it_was_passed() {
    let breaker = Breaker::new(&Limits { max_connections: 0, ..Limits::default() });
    assert!(!breaker.try_take(Resource::Connections));
    assert!(!breaker.open(Resource::Connections));
    breaker.take_anyway(Resource::Connections);
    assert!(breaker.open(Resource::Connections));
    breaker.give_back(Resource::Connections);
    assert!(breaker.open(Resource::Connections));
}

#[test]
fn a_retry_budget_takes_the_place_of_max_retries() {
    let budget = RetryBudget::default();
    let of = Budget::new(&budget);
    assert_eq!((of.max_retries(4), of.max_retries(29), of.max_retries(100)), (3, 5, 20));
    let limits = Limits { max_retries: 1, retry_budget: Some(Box::new(budget)), ..Limits::default() };
    let breaker = Breaker::new(&limits);
    let now = Clock::system().now();
    let retry = || breaker.try_take(Resource::Retries) || breaker.try_take_at(Resource::Retries, now);
    assert_eq!(breaker.remaining(Resource::Retries), 1);
    assert_eq!((0..9).filter(|_| retry()).count(), 3);
    // Gauges go by the limit beside it.
    assert!(breaker.open(Resource::Retries));
    assert_eq!(breaker.remaining(Resource::Retries), 0);
    breaker.set_limits(&Limits { max_retries: 4, ..Limits::default() });
    assert!(!breaker.open(Resource::Retries));
    assert_eq!((0..9).filter(|_| retry()).count(), 1);
}

#[test]
fn runtime_keys_take_the_place_of_limits() {
    use nuncio_core::runtime::{Layer, Runtime};
    let mut layer = Layer::admin("l");
    layer.values.insert("circuit_breakers.c.high.max_requests".into(), "7".into());
    let runtime = Runtime::new(vec![layer]);
    let limits = Limits::default();
    let at = |cluster, priority| limits.at_runtime(cluster, priority, &runtime).max_requests;
    assert_eq!(at("c", RequestPriority::High), 7);
    assert_eq!((at("c", RequestPriority::Default), at("d", RequestPriority::High)), (1024, 1024));
}

#[test]
fn either_runtime_key_makes_a_retry_budget() {
    use nuncio_core::runtime::{Layer, Runtime};
    let at = |key: &str, value: &str| {
        let mut layer = Layer::admin("l");
        layer.values.insert(format!("circuit_breakers.c.default.retry_budget.{key}").into(), value.into());
        let limits = Limits::default();
        let limits = limits.at_runtime("c", RequestPriority::Default, &Runtime::new(vec![layer]));
        limits.retry_budget.map(|budget| (budget.percent, budget.min_concurrency))
    };
    assert_eq!(at("budget_percent", "12.5"), Some((12.5, 3)));
    assert_eq!(at("min_retry_concurrency", "7"), Some((20.0, 7)));
    assert_eq!(at("other", "7"), None);
}

#[test]
fn a_budget_that_looks_back_counts_what_began_and_not_what_is_active() {
    let interval = Duration::from_millis(320);
    let budget = RetryBudget { percent: 50.0, min_concurrency: 0, interval: Some(interval) };
    let limits = Limits { max_requests: 9, retry_budget: Some(Box::new(budget)), ..Limits::default() };
    let begun = Clock::system().now();
    let breaker = Breaker::new(&limits);
    let begin = |at: Duration| {
        assert!(!breaker.try_take(Resource::Requests));
        breaker.try_take_at(Resource::Requests, begun + at)
    };
    // Some end, and count all the same; two stay.
    for _ in 0..6 {
        assert!(begin(Duration::ZERO));
        breaker.give_back(Resource::Requests);
    }
    assert!(begin(Duration::from_millis(100)) && begin(Duration::from_millis(100)));
    let retries = |at: u64| {
        let at = begun + Duration::from_millis(at);
        let taken = (0..9).filter(|_| breaker.try_take_at(Resource::Retries, at)).count();
        (0..taken).for_each(|_| breaker.give_back(Resource::Retries));
        taken
    };
    assert_eq!((retries(100), retries(300), retries(325), retries(425)), (4, 4, 1, 0));
    // The limit of requests itself still holds.
    assert_eq!((0..9).filter(|_| begin(interval * 3)).count(), 7);
    assert!(breaker.open(Resource::Requests));
}
