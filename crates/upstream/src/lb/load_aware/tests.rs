use super::*;

fn config() -> LoadAware {
    LoadAware {
        update: Duration::from_secs(1),
        expiration: Duration::from_secs(180),
        metrics: Box::default(),
        threshold: 0.1,
        newness: 0.5,
        probes: 0.0,
        out_of_band: None,
    }
}

fn zone(name: &str) -> Arc<Locality> {
    Arc::new(Locality { zone: name.into(), ..Locality::default() })
}

/// So many hosts each, and how busy they are.
fn localities(all: &[(usize, Option<f64>)]) -> Vec<(Arc<Locality>, Reported)> {
    let each = all.iter().enumerate();
    each.map(|(i, (hosts, busy))| (zone(&i.to_string()), Reported { hosts: *hosts, busy: *busy })).collect()
}

fn weigh(
    weigher: &mut Weigher,
    all: &[(usize, Option<f64>)],
    own: bool,
    config: &LoadAware,
) -> (Vec<f64>, Vec<Condition>, u64) {
    let mut met = Vec::new();
    let (share, stale) = weigher.weigh(&localities(all), own, config, &mut |one| met.push(one));
    let thousandths = |weight: f64| (weight * 1000.0).round() / 1000.0;
    (share.weights.iter().map(|(_, weight)| thousandths(*weight)).collect(), met, stale)
}

#[test]
fn localities_share_by_room_and_the_own_comes_first() {
    use Condition::{Overloaded, Preferred, Probing, Spilling};
    type Row<'a> = (&'a [(usize, Option<f64>)], bool, f64, &'a [f64], &'a [Condition]);
    let rows: &[Row<'_>] = &[
        // The documentation's example.
        (&[(10, Some(0.7)), (10, Some(0.3)), (10, Some(0.4))], true, 0.0, &[3.0, 7.0, 6.0], &[Spilling]),
        (&[(10, Some(0.45)), (10, Some(0.4))], true, 0.0, &[11.5, 0.0], &[Preferred]),
        (&[(1, None), (1, None)], true, 0.0, &[2.0, 0.0], &[Preferred]),
        (&[(1, None), (1, None)], false, 0.5, &[1.0, 1.0], &[]),
        // Probes go by hosts, not by room.
        (&[(1, None), (1, Some(0.0)), (3, None)], true, 0.4, &[3.0, 0.5, 1.5], &[Preferred, Probing]),
        (&[(1, Some(1.0)), (2, Some(1.0))], true, 0.5, &[1.0, 2.0], &[Overloaded]),
        (&[(0, None), (2, None)], true, 0.5, &[0.0, 2.0], &[]),
        (&[(2, Some(0.5))], true, 0.5, &[1.0], &[]),
        (&[(0, None)], true, 0.5, &[0.0], &[]),
        (&[], true, 0.5, &[], &[]),
    ];
    for (all, own, probes, weights, conditions) in rows {
        let config = LoadAware { probes: *probes, ..config() };
        let (found, met, _) = weigh(&mut Weigher::default(), all, *own, &config);
        assert_eq!((&*found, &*met), (*weights, *conditions), "{all:?}");
    }
}

#[test]
fn figures_are_smoothed_and_kept_where_reports_end() {
    let (mut weigher, config) = (Weigher::default(), config());
    let mut look = |busy| weigh(&mut weigher, &[(4, busy)], false, &config);
    assert_eq!(look(None), (vec![4.0], vec![], 0));
    assert_eq!(look(Some(0.5)), (vec![2.0], vec![], 0));
    assert_eq!(look(Some(0.25)), (vec![2.5], vec![], 0));
    assert_eq!(look(None), (vec![4.0], vec![], 1));
    assert_eq!(look(Some(0.375)), (vec![2.5], vec![], 0));
}
