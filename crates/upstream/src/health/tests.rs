use super::event::Event;
use super::probe::contains_in_order;
use super::*;
use crate::dns_cache::DnsCaches;
use crate::testing::{Manner, NoSources, World, checks, cluster, run};
use nuncio_core::rng::Rng;
use nuncio_core::runtime::{Layer, Runtime};
use nuncio_net::dns::SystemResolver;

const GOOD: Verdict = Verdict::Good { degraded: false };
const DEGRADED: Verdict = Verdict::Good { degraded: true };
const NETWORK: Verdict = Verdict::Bad(failure(FailureKind::Network, false));
const TIMEOUT: Verdict = Verdict::Bad(failure(FailureKind::Timeout, false));
const WRONG: Verdict = Verdict::Bad(failure(FailureKind::Active, false));
const RETRIABLE: Verdict = Verdict::Bad(failure(FailureKind::Active, true));

const fn failure(kind: FailureKind, retriable: bool) -> Failure {
    Failure { kind, retriable, status: 0, leaving: false }
}

fn new() -> Session {
    Session::new(HealthFlags::FAILED_ACTIVE_HC)
}

#[test]
fn the_first_verdict_decides_and_later_ones_need_their_number() {
    use Change::{Changed, None, Pending};
    type Row = (&'static [(Verdict, Change)], bool);
    let rows: &[Row] = &[
        (&[(GOOD, Changed), (NETWORK, Pending), (GOOD, None)], false),
        (&[(GOOD, Changed), (NETWORK, Pending), (TIMEOUT, Changed)], true),
        (&[(GOOD, Changed), (WRONG, Changed)], true),
        (&[(GOOD, Changed), (RETRIABLE, Pending)], false),
        (&[(NETWORK, None), (GOOD, Pending), (GOOD, Changed)], false),
        (&[(NETWORK, None), (GOOD, Pending), (WRONG, None), (GOOD, Pending)], true),
        (&[(GOOD, Changed), (DEGRADED, Changed), (DEGRADED, None), (GOOD, Changed)], false),
    ];
    for (verdicts, failed) in rows {
        let mut session = new();
        for (verdict, change) in *verdicts {
            assert_eq!(session.take(*verdict, &checks(2, 2), &mut |_| {}), *change, "{verdicts:?}");
        }
        assert_eq!(session.failed(), *failed, "{verdicts:?}");
    }
}

#[test]
fn events_tell_of_changes_and_of_all_else_where_asked() {
    let told = |config: &HealthCheckConfig, verdicts: &[Verdict]| {
        let (mut session, mut events) = (new(), Vec::new());
        for verdict in verdicts {
            session.take(*verdict, config, &mut |event| events.push(event));
        }
        events
    };
    let failed = |kind, first| Event::Failed { kind, first, status: 0 };
    let ejected = |kind| Event::Ejected { kind, status: 0 };
    let mut config = checks(1, 2);
    assert_eq!(
        told(&config, &[GOOD, NETWORK, TIMEOUT, NETWORK, GOOD, GOOD]),
        [Event::Added { first: true }, ejected(FailureKind::Timeout), Event::Added { first: false }]
    );
    assert_eq!(told(&config, &[WRONG, WRONG]), [failed(FailureKind::Active, true)]);
    assert_eq!(
        told(&config, &[DEGRADED, GOOD]),
        [Event::Added { first: true }, Event::Degraded, Event::NoLongerDegraded]
    );
    (config.events.all_failures, config.events.all_successes) = (true, true);
    assert_eq!(
        told(&config, &[GOOD, GOOD, WRONG]),
        [
            Event::Added { first: true },
            Event::Passed,
            ejected(FailureKind::Active),
            failed(FailureKind::Active, false)
        ]
    );
}

#[test]
fn a_timeout_is_shown_until_another_failure_or_a_recovery() {
    let mut session = new();
    let mut shown = |verdict| {
        session.take(verdict, &checks(2, 1), &mut |_| {});
        session.flags.contains(HealthFlags::ACTIVE_HC_TIMEOUT)
    };
    assert!(!shown(GOOD) && shown(TIMEOUT));
    assert!(shown(GOOD) && !shown(GOOD));
    assert!(shown(TIMEOUT) && !shown(NETWORK));
}

#[test]
fn each_state_has_its_interval() {
    let (config, rng) = (checks(1, 1), Rng::seeded(1));
    for (traffic, good, change, seconds) in [
        (true, true, Change::None, 1),
        (true, true, Change::Pending, 2),
        (true, false, Change::Changed, 3),
        (true, false, Change::Pending, 4),
        (false, false, Change::None, 5),
        (false, true, Change::Pending, 5),
        (false, true, Change::Changed, 6),
    ] {
        let wait = session::wait(&config, (good, change), traffic, &rng, &Runtime::default());
        assert_eq!(wait, Duration::from_secs(seconds));
    }
    let mut layer = Layer::admin("a");
    layer.values.insert("health_check.max_interval".into(), "700".into());
    let wait = session::wait(&config, (true, Change::None), true, &rng, &Runtime::new(vec![layer]));
    assert_eq!(wait, Duration::from_millis(700));
}

#[test]
fn payloads_have_to_come_in_their_order() {
    let pieces = |list: &[&[u8]]| list.iter().map(|p| Box::from(*p)).collect::<Vec<Box<[u8]>>>();
    assert!(contains_in_order(b"xabycdz", &pieces(&[b"ab", b"cd"])));
    assert!(!contains_in_order(b"xcdyab", &pieces(&[b"ab", b"cd"])));
    assert!(!contains_in_order(b"ab", &pieces(&[b"ab", b"b"])));
}

/// Follows the checks of a world with one cluster `c`, whose hosts are the world's peers.
fn follow_checks(world: &World) -> Rc<Discovery> {
    let (resolver, sources) = (Rc::new(SystemResolver::new()), Rc::new(NoSources));
    let connector: Rc<dyn crate::pool::Connector> = world.peers.clone();
    let discovery = Discovery::with_connector(&world.set, &world.worker, resolver, sources, connector);
    discovery.keep_caches(&DnsCaches::default());
    drop(discovery.start());
    discovery
}

fn flags(world: &World) -> HealthFlags {
    let cluster = Arc::clone(world.set.borrow().get("c").unwrap());
    cluster.hosts().hosts().next().unwrap().health_flags()
}

/// A world with one host that is checked by these checks.
fn world(checks: Vec<HealthCheckConfig>) -> World {
    let mut config = cluster(&[1]);
    config.health_checks = checks.into();
    World::new(vec![config])
}

/// As long as a check may take, and some more.
const SOON: Duration = Duration::from_millis(1500);

#[test]
fn a_host_goes_out_when_nobody_answers_and_comes_in_again() {
    run(async {
        let world = world(vec![checks(1, 2)]);
        let _kept = follow_checks(&world);
        tokio::time::sleep(SOON).await;
        assert_eq!(flags(&world), HealthFlags::default());
        world.peers.manner.set(Manner::Silent);
        // 6 s between checks of a host that is well and has no traffic, 5 s after one that failed.
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(flags(&world), HealthFlags::default());
        tokio::time::sleep(Duration::from_secs(6)).await;
        let out = HealthFlags::FAILED_ACTIVE_HC.with(HealthFlags::ACTIVE_HC_TIMEOUT);
        assert_eq!(flags(&world), out);
        world.peers.manner.set(Manner::Accept);
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(flags(&world), HealthFlags::default());
    });
}

#[test]
fn a_kept_connection_that_ends_is_a_failure_over_tcp_at_once() {
    run(async {
        let mut config = checks(1, 1);
        let receive = vec![Box::from(&b"pong"[..])];
        config.check = Check::Tcp(TcpCheck { send: (*b"ping").into(), receive, proxy_head: None });
        let world = world(vec![config]);
        let _kept = follow_checks(&world);
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.peer(|peer| assert_eq!(peer.read(), "ping"));
        world.peer(|peer| peer.write(b"pong"));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(flags(&world), HealthFlags::default());
        world.peers.accepted.borrow_mut().clear();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(flags(&world), HealthFlags::FAILED_ACTIVE_HC);
    });
}

#[test]
fn of_several_checks_each_may_put_a_host_out() {
    run(async {
        let mut silent = checks(1, 1);
        let receive = vec![Box::from(&b"pong"[..])];
        silent.check = Check::Tcp(TcpCheck { receive, ..TcpCheck::default() });
        let (mut a, mut b) = (checks(1, 1), silent);
        (a.name, b.name) = ("a".into(), "b".into());
        let world = world(vec![a, b]);
        let _kept = follow_checks(&world);
        tokio::time::sleep(SOON).await;
        assert!(flags(&world).contains(HealthFlags::FAILED_ACTIVE_HC));
    });
}
