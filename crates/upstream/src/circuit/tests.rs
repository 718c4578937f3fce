use super::*;

#[test]
fn a_limit_admits_exactly_as_many_from_many_threads() {
    let (breaker, limits) = (Breaker::default(), Limits { max_requests: 100, ..Limits::default() });
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| (0..1000).filter(|_| breaker.try_take(&limits, Resource::Requests)).count())
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum::<usize>()
    });
    assert_eq!(taken, 100);
    assert!(breaker.open(&limits, Resource::Requests));
    breaker.give_back(Resource::Requests);
    assert!(!breaker.open(&limits, Resource::Requests));
}

#[test]
fn a_limit_of_zero_refuses_all_and_is_open_from_the_start() {
    let (breaker, limits) = (Breaker::default(), Limits { max_pending: 0, ..Limits::default() });
    assert!(!breaker.try_take(&limits, Resource::Pending));
    assert!(breaker.open(&limits, Resource::Pending));
    breaker.take_anyway(Resource::Pending);
    assert_eq!(breaker.held(Resource::Pending), 1);
}

#[test]
fn a_retry_budget_takes_the_place_of_max_retries() {
    let budget = RetryBudget { percent: 20.0, min_concurrency: 3 };
    assert_eq!((budget.max_retries(4, 0), budget.max_retries(20, 9), budget.max_retries(100, 0)), (3, 5, 20));
    let limits = Limits { max_retries: 1, retry_budget: Some(budget), ..Limits::default() };
    let breaker = Breaker::default();
    assert_eq!((0..9).filter(|_| breaker.try_take(&limits, Resource::Retries)).count(), 3);
}
