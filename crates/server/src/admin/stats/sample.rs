//! Stats read off the registry, summed over their writers.

use super::Filter;
use super::bins::{Bins, Bounds, bounds, default_bounds};
use crate::sinks::Told;
use nuncio_core::stats::{self, Block, Gauge, Registry, StatsConfig, Value};
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;

/// What sort of stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Text,
    /// There are none; the filter may still ask for them.
    Hidden,
}

/// A stat's value at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sample {
    /// The count, and whether it ever counted.
    Counter(u64, bool),
    /// The level, and whether it was ever written.
    Gauge(u64, bool),
    Text(Box<str>),
    Histogram(Distribution),
}

/// What a histogram holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Distribution {
    /// Since the start.
    pub(super) total: Bins,
    /// Of the last whole flush interval.
    pub(super) interval: Bins,
    /// The upper bounds of its buckets.
    pub(super) bounds: Bounds,
}

impl Sample {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Counter(..) => Kind::Counter,
            Self::Gauge(..) => Kind::Gauge,
            Self::Text(_) => Kind::Text,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    /// Whether `usedonly` shows it.
    pub(super) fn used(&self) -> bool {
        match self {
            Self::Counter(_, used) | Self::Gauge(_, used) => *used,
            Self::Text(text) => !text.is_empty(),
            Self::Histogram(d) => !d.total.is_empty(),
        }
    }
}

/// What a histogram's name ends with that is there from its first sample on only.
const ON_FIRST_USE: &str = "upstream_rq_time";
/// Counters that Envoy has added nothing to by the time it serves, so that they count as used.
const TOUCHED: [&str; 3] = ["static_unknown_fields", "dynamic_unknown_fields", "wip_protos"];

impl Sample {
    /// Whether Envoy would have made the stat by now.
    fn made(&self, name: &str) -> bool {
        self.used() || self.kind() != Kind::Histogram || !name.ends_with(ON_FIRST_USE)
    }
}

/// What stands behind a name that stands for a family of response codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Suffix {
    None,
    /// `_200`
    Code(u16),
    /// `_2xx`
    Class(u16),
    /// `_unknown`
    Unknown,
    /// `_completed`
    Completed,
}

impl Suffix {
    /// Appends its text.
    pub(super) fn append(self, name: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::None => Ok(()),
            Self::Code(code) => write!(name, "_{code}"),
            Self::Class(class) => write!(name, "_{class}xx"),
            Self::Unknown => write!(name, "_unknown"),
            Self::Completed => write!(name, "_completed"),
        };
    }
}

/// A stat of a scope: its place in the block, its name, what stands behind it, and its value since the start.
pub(super) struct Read {
    pub(super) place: usize,
    pub(super) name: &'static str,
    pub(super) suffix: Suffix,
    pub(super) sample: Sample,
}

/// The blocks of one type in a scope, whose values are summed.
pub(super) type Blocks = [Arc<dyn Block>];

/// A block's type.
pub(super) fn type_of(block: &Arc<dyn Block>) -> TypeId {
    let block: &dyn Any = &**block;
    block.type_id()
}

/// Calls `visit` with each scope's prefix and blocks, type by type; scopes in alphabetical order.
pub(super) fn scopes(registry: &Registry, visit: &mut dyn FnMut(&Arc<str>, &Blocks)) {
    for (prefix, mut blocks) in registry.scopes() {
        blocks.sort_by_key(type_of);
        for same in blocks.chunk_by(|a, b| type_of(a) == type_of(b)) {
            visit(&prefix, same);
        }
    }
}

/// Calls `visit` with each stat of blocks of one type that Envoy would have made by now.
pub(super) fn read(blocks: &Blocks, visit: &mut dyn FnMut(Read)) {
    let Some(first) = blocks.first() else { return };
    for (place, def) in first.defs().iter().enumerate() {
        // What no block shows is counted elsewhere under the same name, or of a scope that is not in force yet.
        if blocks.iter().all(|b| b.value(place).is_none()) {
            continue;
        }
        let mut found = |suffix, sample: Sample| {
            if sample.made(def.name) {
                visit(Read { place, name: def.name, suffix, sample });
            }
        };
        let values = || blocks.iter().filter_map(|b| b.value(place));
        match def.kind {
            stats::Kind::Counter => {
                let shares = values().map(|v| if let Value::Counter(c) = v { c.value() } else { 0 });
                let sum = shares.fold(0, u64::wrapping_add);
                found(Suffix::None, Sample::Counter(sum, sum != 0 || TOUCHED.contains(&def.name)));
            }
            stats::Kind::Gauge => {
                let gauges = || values().filter_map(|v| if let Value::Gauge(g) = v { Some(g) } else { None });
                let level = Gauge::sum(gauges().map(Gauge::value));
                found(Suffix::None, Sample::Gauge(level, gauges().any(Gauge::used)));
            }
            stats::Kind::WholeGauge => {
                // That of the block that came last.
                if let Some(Value::WholeGauge(g)) = values().next_back() {
                    found(Suffix::None, Sample::Gauge(g.value(), true));
                }
            }
            stats::Kind::Text => {
                if let Some(Value::Text(text)) = values().next_back() {
                    found(Suffix::None, Sample::Text(text.value()));
                }
            }
            stats::Kind::Histogram => {
                let mut total = Bins::default();
                for value in values() {
                    if let Value::Histogram(h) = value {
                        h.visit(&mut |bin, n| total.add(bin, n));
                    }
                }
                let (interval, bounds) = (Bins::default(), default_bounds());
                found(Suffix::None, Sample::Histogram(Distribution { total, interval, bounds }));
            }
            stats::Kind::Codes | stats::Kind::SummedCodes => {
                let mut codes: BTreeMap<u16, u64> = BTreeMap::new();
                for value in values() {
                    if let Value::Codes(c) = value {
                        c.visit(&mut |code, n| *codes.entry(code).or_default() += n);
                    }
                }
                let (mut classes, mut all) = (BTreeMap::new(), 0_u64);
                for (code, n) in codes {
                    all = all.wrapping_add(n);
                    // Code 0 stands for those that only the sum counts.
                    if code == stats::UNKNOWN_CODE {
                        found(Suffix::Unknown, Sample::Counter(n, true));
                    } else if code != 0 {
                        found(Suffix::Code(code), Sample::Counter(n, true));
                        *classes.entry(code / 100).or_insert(0_u64) += n;
                    }
                }
                for (class, n) in classes {
                    found(Suffix::Class(class), Sample::Counter(n, true));
                }
                if all != 0 || def.kind == stats::Kind::SummedCodes {
                    found(Suffix::Completed, Sample::Counter(all, all != 0));
                }
            }
        }
    }
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
    /// What counters showed when sinks were last told.
    told: HashMap<String, u64>,
}

impl History {
    /// From now on counters show what they gain (`/reset_counters`).
    pub fn reset(&mut self, registry: &Registry) {
        self.counters.clear();
        each(registry, &mut |name, sample| {
            if let Sample::Counter(n, true) = sample {
                self.counters.insert(name.to_owned(), n);
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

    /// Calls `tell` with each stat in use that `config` shows: what counters have gained since the last call, the
    /// levels of gauges, and what histograms gained in the interval that the last [`flush`](Self::flush) ended.
    pub(crate) fn tell(
        &mut self,
        registry: &Registry,
        config: &StatsConfig,
        tell: &mut dyn FnMut(&str, Told),
    ) {
        each(registry, &mut |name, sample| {
            if !sample.used() || !config.shows(name) {
                return;
            }
            match sample {
                Sample::Counter(n, _) => tell(name, Told::Counter(self.gained(name, n))),
                Sample::Gauge(n, _) => tell(name, Told::Gauge(n)),
                Sample::Histogram(_) | Sample::Text(_) => {}
            }
        });
        for (name, bins) in self.intervals.iter().filter(|(name, _)| config.shows(name)) {
            bins.samples().for_each(|(value, count)| tell(name, Told::Samples { value, count }));
        }
    }

    /// What a counter that is now `n` has gained since this was asked last.
    pub(super) fn gained(&mut self, name: &str, n: u64) -> u64 {
        let before = match self.told.get_mut(name) {
            Some(before) => std::mem::replace(before, n),
            None => self.told.insert(name.to_owned(), n).unwrap_or(0),
        };
        n.wrapping_sub(before)
    }

    /// Whether [`shown`](Self::shown) has to know the sample's name.
    pub(super) fn needs_name(&self, sample: &Sample, config: &StatsConfig) -> bool {
        match sample {
            Sample::Counter(..) => !self.counters.is_empty(),
            Sample::Gauge(..) | Sample::Text(_) => false,
            Sample::Histogram(d) => !d.total.is_empty() || config.has_buckets(),
        }
    }

    /// A sample as it is shown: histograms as they were at the last flush.
    pub(super) fn shown(&self, name: &str, sample: Sample, config: &StatsConfig) -> Sample {
        let of = |bins: &HashMap<String, Bins>| bins.get(name).cloned().unwrap_or_default();
        match sample {
            Sample::Counter(n, used) if !self.counters.is_empty() => {
                Sample::Counter(n.wrapping_sub(self.counters.get(name).copied().unwrap_or(0)), used)
            }
            Sample::Counter(..) | Sample::Gauge(..) | Sample::Text(_) => sample,
            Sample::Histogram(d) => {
                let (total, interval) = match d.total.is_empty() {
                    true => (d.total, d.interval),
                    false => (of(&self.flushed), of(&self.intervals)),
                };
                let bounds = config.buckets(name).map_or(d.bounds, |at| bounds(at));
                Sample::Histogram(Distribution { total, interval, bounds })
            }
        }
    }
}

/// Calls `visit` with the full name and the value since the start of every stat.
fn each(registry: &Registry, visit: &mut dyn FnMut(&str, Sample)) {
    let mut full = String::new();
    scopes(registry, &mut |prefix, blocks| {
        read(blocks, &mut |Read { name, suffix, sample, .. }| {
            full.clear();
            full.push_str(prefix);
            full.push_str(name);
            suffix.append(&mut full);
            visit(&full, sample);
        });
    });
}

/// All stats that the filter takes, by name.
pub(super) fn collect(registry: &Registry, history: &History, filter: &Filter<'_>) -> Vec<(String, Sample)> {
    let mut all = Vec::new();
    each(registry, &mut |name, sample| {
        if filter.takes_kind(sample.kind()) && filter.takes_name(name) {
            let sample = history.shown(name, sample, filter.config);
            if !filter.used_only || sample.used() {
                all.push((name.to_owned(), sample));
            }
        }
    });
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
