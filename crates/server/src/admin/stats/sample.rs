//! Stats read off the registry, summed over their writers.

use super::Filter;
use super::bins::Bins;
use nuncio_core::stats::{Registry, Value};
use std::collections::HashMap;

/// What sort of stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// There are none; the filter may still ask for them.
    Text,
}

/// A stat's value at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    Counter(u64),
    Gauge(u64),
    Histogram(Distribution),
}

/// What a histogram holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Distribution {
    /// Since the start.
    pub(super) total: Bins,
    /// Of the last whole flush interval.
    pub(super) interval: Bins,
}

impl Sample {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    pub(super) fn used(&self) -> bool {
        match self {
            Self::Counter(n) | Self::Gauge(n) => *n != 0,
            Self::Histogram(d) => !d.total.is_empty(),
        }
    }
}

/// A family of response codes whose sum is there before the first of them.
const ALWAYS_COMPLETED: &str = "upstream_rq";
/// What a histogram's name ends with that is there from its first sample on only.
const ON_FIRST_USE: &str = "upstream_rq_time";

impl Sample {
    /// Whether Envoy would have made the stat by now.
    pub(super) fn made(&self, name: &str) -> bool {
        self.used() || self.kind() != Kind::Histogram || !name.ends_with(ON_FIRST_USE)
    }
}

/// The stats of one scope by name.
#[derive(Default)]
pub(super) struct ScopeSamples {
    samples: Vec<Named>,
    places: HashMap<(*const u8, Suffix), usize>,
}

/// What stands behind a name that stands for a family of response codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Suffix {
    None,
    /// `_200`
    Code(u16),
    /// `_2xx`
    Class(u16),
    /// `_completed`
    Completed,
}

impl Suffix {
    pub(super) fn text(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Code(code) => format!("_{code}"),
            Self::Class(class) => format!("_{class}xx"),
            Self::Completed => "_completed".to_owned(),
        }
    }
}

impl ScopeSamples {
    fn sample(&mut self, name: &'static str, suffix: Suffix, new: fn() -> Sample) -> Option<&mut Sample> {
        // Names are static: one text in one place.
        let at = *self.places.entry((name.as_ptr(), suffix)).or_insert_with(|| {
            self.samples.push((name, suffix, new()));
            self.samples.len() - 1
        });
        self.samples.get_mut(at).map(|(.., sample)| sample)
    }

    fn add(&mut self, name: &'static str, suffix: Suffix, n: u64) {
        if let Some(Sample::Counter(sum)) = self.sample(name, suffix, || Sample::Counter(0)) {
            *sum = sum.wrapping_add(n);
        }
    }

    fn read(&mut self, name: &'static str, value: Value<'_>) {
        match value {
            Value::Counter(c) => self.add(name, Suffix::None, c.value()),
            Value::Gauge(g) => {
                if let Some(Sample::Gauge(sum)) = self.sample(name, Suffix::None, || Sample::Gauge(0)) {
                    *sum = sum.wrapping_add(g.value());
                }
            }
            Value::Histogram(h) => {
                let bins = self.sample(name, Suffix::None, || Sample::Histogram(Distribution::default()));
                if let Some(Sample::Histogram(d)) = bins {
                    h.visit(&mut |bin, n| d.total.add(bin, n));
                }
            }
            Value::Codes(codes) => {
                if name == ALWAYS_COMPLETED {
                    self.add(name, Suffix::Completed, 0);
                }
                codes.visit(&mut |code, n| {
                    self.add(name, Suffix::Code(code), n);
                    self.add(name, Suffix::Class(code / 100), n);
                    self.add(name, Suffix::Completed, n);
                });
            }
        }
    }
}

/// A stat of a scope: its name, what stands behind it, and its value.
pub(super) type Named = (&'static str, Suffix, Sample);

/// Calls `visit` with each scope's prefix and stats, scopes in alphabetical order.
pub(super) fn scopes(registry: &Registry, visit: &mut dyn FnMut(&str, &[Named])) {
    let (mut prefix, mut scope) = (String::new(), ScopeSamples::default());
    registry.visit(&mut |p, name, value| {
        if p != prefix {
            visit(&prefix, &scope.samples);
            p.clone_into(&mut prefix);
            scope.samples.clear();
            scope.places.clear();
        }
        scope.read(name, value);
    });
    visit(&prefix, &scope.samples);
}

/// What was true at earlier moments, and changes how stats are shown now.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What counters showed when they were last reset.
    counters: HashMap<String, u64>,
    /// What histograms held at the last flush.
    flushed: HashMap<String, Bins>,
    /// What they gained in the interval before it.
    intervals: HashMap<String, Bins>,
}

impl History {
    /// From now on counters show what they gain (`/reset_counters`).
    pub fn reset(&mut self, registry: &Registry) {
        self.counters.clear();
        scopes(registry, &mut |prefix, samples| {
            for (name, suffix, sample) in samples {
                if let Sample::Counter(n) = sample {
                    self.counters.insert(format!("{prefix}{name}{}", suffix.text()), *n);
                }
            }
        });
    }

    /// Ends an interval of the histograms and begins the next (`stats_flush_interval`).
    pub fn flush(&mut self, registry: &Registry) {
        let mut now: HashMap<String, Bins> = HashMap::new();
        registry.visit(&mut |prefix, name, value| {
            if let Value::Histogram(h) = value {
                let mut bins = Bins::default();
                h.visit(&mut |bin, n| bins.add(bin, n));
                if !bins.is_empty() {
                    now.entry(format!("{prefix}{name}")).or_default().merge(&bins);
                }
            }
        });
        self.intervals = now
            .iter()
            .map(|(name, bins)| (name.clone(), bins.since(self.flushed.get(name))))
            .filter(|(_, gained)| !gained.is_empty())
            .collect();
        self.flushed = now;
    }

    /// A sample as it is shown.
    pub(super) fn shown(&self, name: &str, sample: &Sample) -> Sample {
        match sample {
            Sample::Counter(n) => {
                Sample::Counter(n.wrapping_sub(self.counters.get(name).copied().unwrap_or(0)))
            }
            Sample::Gauge(n) => Sample::Gauge(*n),
            Sample::Histogram(d) => Sample::Histogram(Distribution {
                total: d.total.clone(),
                interval: self.intervals.get(name).cloned().unwrap_or_default(),
            }),
        }
    }
}

/// All stats that the filter takes, by name.
pub(super) fn collect(registry: &Registry, history: &History, filter: &Filter<'_>) -> Vec<(String, Sample)> {
    let mut all = Vec::new();
    scopes(registry, &mut |prefix, samples| {
        for (name, suffix, sample) in samples {
            let name = format!("{prefix}{name}{}", suffix.text());
            if sample.made(&name) && filter.takes_kind(sample.kind()) && filter.takes_name(&name) {
                let sample = history.shown(&name, sample);
                if !filter.used_only || sample.used() {
                    all.push((name, sample));
                }
            }
        }
    });
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
