use super::probe::contains_in_order;
use super::*;
use crate::testing::checks;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::{Layer, Runtime};

const GOOD: Verdict = Verdict::Good { degraded: false };

#[test]
fn the_first_verdict_decides_and_later_ones_need_their_number() {
    use Change::{Changed, None, Pending};
    type Row = (&'static [(Verdict, Change)], bool);
    let rows: &[Row] = &[
        (&[(GOOD, Changed), (Verdict::Network, Pending), (GOOD, None)], false),
        (&[(GOOD, Changed), (Verdict::Network, Pending), (Verdict::Timeout, Changed)], true),
        (&[(GOOD, Changed), (Verdict::Wrong, Changed)], true),
        (&[(GOOD, Changed), (Verdict::Retriable, Pending)], false),
        (&[(Verdict::Network, Changed), (GOOD, Pending), (GOOD, Changed)], false),
        (&[(Verdict::Network, Changed), (GOOD, Pending), (Verdict::Wrong, None), (GOOD, Pending)], true),
    ];
    for (verdicts, failed) in rows {
        let mut session = Session::new();
        for (verdict, change) in *verdicts {
            assert_eq!(session.take(*verdict, &checks(2, 2)), *change, "{verdicts:?}");
        }
        assert_eq!(session.failed, *failed, "{verdicts:?}");
    }
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
