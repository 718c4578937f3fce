use super::*;

crate::stats_block! {
    struct ThingStats {
        counter total,
        gauge active = "things.active",
        codes rq = "rq",
    }
}

#[test]
fn blocks_of_one_scope_are_seen_by_name_and_forgotten_when_the_last_one_is_dropped() {
    let registry = Registry::new();
    let (a, b) =
        (registry.scope::<ThingStats>("x.127.0.0.1:80."), registry.scope::<ThingStats>("x.127.0.0.1:80."));
    a.total.add(2);
    b.total.inc();
    a.active.inc();
    b.active.dec();
    b.rq.inc(204);
    let read = || {
        let (mut total, mut active, mut codes, mut blocks) = (0, 0_u64, Vec::new(), 0);
        registry.visit(&mut |prefix, name, value| {
            assert_eq!(prefix, "x.127.0.0.1_80.");
            match value {
                Value::Counter(c) if name == "total" => {
                    blocks += 1;
                    total += c.value();
                }
                Value::Gauge(g) if name == "things.active" => active = Gauge::sum([active, g.value()]),
                Value::Codes(c) => c.visit(&mut |code, n| codes.push((code, n))),
                _ => panic!("{name}"),
            }
        });
        (blocks, total, active, codes)
    };
    assert_eq!(read(), (2, 3, 0, vec![(204, 1)]));
    drop(b);
    assert_eq!(read(), (2, 3, 0, vec![(204, 1)]));
    drop(a);
    assert_eq!(read(), (0, 0, 0, vec![]));
}

#[test]
fn a_histogram_counts_by_two_digits_and_keeps_the_sum() {
    let h = super::block::Histogram::default();
    for value in [0, 1, 9, 10, 19, 99, 100, 109, 999_999_999_999, 1_000_000_000_000, u64::MAX] {
        h.record(value);
    }
    let mut seen = Vec::new();
    h.visit(&mut |bin, n| seen.push((bin, n)));
    let bins = [(0, 1), (1, 1), (81, 1), (91, 1), (100, 1), (180, 1), (181, 2), (1080, 1), (1081, 2)];
    assert_eq!(seen, bins);
}

crate::stats_block! {
    /// A block of every kind that is summed.
    struct Summed {
        counter total,
        gauge active,
        histogram ms,
        codes rq = "rq",
    }
}

#[test]
fn what_a_writer_has_counted_stays_as_long_as_its_name_lives() {
    let registry = Registry::new();
    let read = || {
        let mut sums = (0, 0, 0, 0);
        registry.visit(&mut |_, _, value| match value {
            Value::Counter(c) => sums.0 += c.value(),
            Value::Gauge(g) => sums.1 += g.value(),
            Value::Histogram(h) => sums.2 += h.sum(),
            Value::Codes(c) => c.visit(&mut |_, n| sums.3 += n),
            Value::WholeGauge(_) | Value::Text(_) => {}
        });
        sums
    };
    let count = |scope: &Scope<Summed>| {
        scope.total.inc();
        scope.active.inc();
        scope.ms.record(20);
        scope.rq.inc(200);
    };
    let living: Scope<Summed> = registry.scope("a.");
    for n in 1..4 {
        let other = registry.scope("a.");
        count(&other);
        drop(other);
        assert_eq!(read(), (n, n, 20 * n, n));
    }
    count(&living);
    assert_eq!(read(), (4, 4, 80, 4));
    drop(living);
    assert_eq!(read(), (0, 0, 0, 0));
    let next: Scope<Summed> = registry.scope("a.");
    assert_eq!((read(), next.total.value()), ((0, 0, 0, 0), 0));
}
