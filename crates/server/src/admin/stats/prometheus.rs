//! Prometheus' text format, with Envoy's families and labels.

use super::bins::{BOUNDS, QUANTILES};
use super::sample::{Distribution, History, Sample, Suffix, scopes};
use super::tags::{self, Tagged};
use super::{Buckets, Filter};
use nuncio_core::stats::{Registry, StatsConfig};
use std::collections::HashMap;
use std::fmt::Write;

/// The kinds in the order in which they are printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// All series of one name.
struct Family {
    kind: Type,
    name: String,
    lines: String,
}

/// Families as they are met: one lookup per stat, by the prefix's number and the name.
#[derive(Default)]
struct Families {
    all: Vec<Family>,
    by_name: HashMap<String, usize>,
    by_place: HashMap<(usize, &'static str, bool, bool), usize>,
    prefixes: HashMap<String, usize>,
}

impl Families {
    fn prefix(&mut self, rest: &str) -> usize {
        let next = self.prefixes.len();
        match self.prefixes.get(rest) {
            Some(id) => *id,
            None => {
                self.prefixes.insert(rest.to_owned(), next);
                next
            }
        }
    }

    fn place(&mut self, full: &str, kind: Type) -> usize {
        let name = sanitised(full);
        *self.by_name.entry(name.clone()).or_insert_with(|| {
            self.all.push(Family { kind, name, lines: String::new() });
            self.all.len() - 1
        })
    }

    /// The family of a name as it stands.
    fn named(&mut self, full: &str, kind: Type) -> Option<&mut Family> {
        let at = self.place(full, kind);
        self.all.get_mut(at)
    }

    /// The family of a stat; the class of a response code is `_xx` in the name, a code leaves nothing.
    fn family(
        &mut self,
        prefix: (usize, &str),
        name: &'static str,
        suffix: Suffix,
        kind: Type,
    ) -> Option<&mut Family> {
        let (class, completed) = (matches!(suffix, Suffix::Class(_)), suffix == Suffix::Completed);
        let key = (prefix.0, name, class, completed);
        let at = match self.by_place.get(&key) {
            Some(at) => *at,
            None => {
                let tail = if class {
                    "_xx"
                } else if completed {
                    "_completed"
                } else {
                    ""
                };
                let at = self.place(&format!("{}{name}{tail}", prefix.1), kind);
                self.by_place.insert(key, at);
                at
            }
        };
        self.all.get_mut(at)
    }
}

/// `envoy_` and the name, what is no letter or digit as `_`.
fn sanitised(name: &str) -> String {
    let mut out = String::from("envoy_");
    out.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    out
}

/// Prints what the filter takes. Without buckets asked for, histograms are cumulative.
pub(super) fn print(
    registry: &Registry,
    history: &History,
    filter: &Filter<'_>,
    buckets: Option<Buckets>,
    config: &StatsConfig,
) -> String {
    let mut families = Families::default();
    // Default tags are all in a scope's prefix; others are looked for name by name.
    let by_prefix = config.has_default_tags_only();
    scopes(registry, &mut |prefix, samples| {
        let tagged = if by_prefix { tags::extract(prefix) } else { Tagged::default() };
        let id = families.prefix(&tagged.rest);
        for (name, suffix, sample) in samples {
            if !sample.made(name) || !filter.takes_kind(sample.kind()) {
                continue;
            }
            let full = format!("{prefix}{name}{}", suffix.text());
            if !filter.takes_name(&full) {
                continue;
            }
            let sample = history.shown(&full, sample);
            if filter.used_only && !sample.used() {
                continue;
            }
            let kind = kind_of(&sample, buckets);
            if by_prefix {
                let (name, suffix) = match class_in(name) {
                    Some((stem, class)) => (stem, Suffix::Class(class)),
                    None => (*name, *suffix),
                };
                if let Some(family) = families.family((id, &tagged.rest), name, suffix, kind) {
                    series(family, &tagged.labels, suffix, &sample);
                }
            } else {
                let (rest, labels) = tags::by_patterns(config, &full);
                if let Some(family) = families.named(&rest, kind) {
                    series(family, &labels, Suffix::None, &sample);
                }
            }
        }
    });
    let mut all = families.all;
    all.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let mut out = String::with_capacity(all.iter().map(|f| f.lines.len() + 80).sum());
    for family in &all {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# TYPE {} {}", family.name, family.kind.name());
        out.push_str(&family.lines);
    }
    out
}

/// The stem and class of a counter that is named after a class of response codes (`downstream_rq_2xx`).
fn class_in(name: &'static str) -> Option<(&'static str, u16)> {
    let stem = name.strip_suffix("xx")?;
    let (stem, class) = stem.split_at_checked(stem.len().checked_sub(1)?)?;
    let stem = stem.strip_suffix('_').filter(|s| s.ends_with("_rq"))?;
    Some((stem, class.parse().ok()?))
}

fn kind_of(sample: &Sample, buckets: Option<Buckets>) -> Type {
    match sample {
        Sample::Counter(_) => Type::Counter,
        Sample::Gauge(_) => Type::Gauge,
        Sample::Histogram(_) if buckets == Some(Buckets::Summary) => Type::Summary,
        Sample::Histogram(_) => Type::Histogram,
    }
}

fn series(family: &mut Family, labels: &str, suffix: Suffix, sample: &Sample) {
    let comma = if labels.is_empty() { "" } else { "," };
    let Family { kind, name, lines } = family;
    // Writing to a String cannot fail.
    let _ = match (sample, suffix) {
        (Sample::Histogram(d), _) => {
            histogram(*kind, name, lines, labels, d);
            Ok(())
        }
        (Sample::Counter(n) | Sample::Gauge(n), Suffix::Code(code)) => {
            writeln!(lines, "{name}{{envoy_response_code=\"{code}\"{comma}{labels}}} {n}")
        }
        (Sample::Counter(n) | Sample::Gauge(n), Suffix::Class(class)) => {
            writeln!(lines, "{name}{{envoy_response_code_class=\"{class}\"{comma}{labels}}} {n}")
        }
        (Sample::Counter(n) | Sample::Gauge(n), Suffix::None | Suffix::Completed) => {
            writeln!(lines, "{name}{{{labels}}} {n}")
        }
    };
}

fn histogram(kind: Type, name: &str, out: &mut String, labels: &str, d: &Distribution) {
    let comma = if labels.is_empty() { "" } else { "," };
    // A summary is of the last interval, as in Envoy.
    let bins = if kind == Type::Summary { &d.interval } else { &d.total };
    let count = bins.count();
    // Writing to a String cannot fail.
    if kind == Type::Summary {
        for (q, _) in QUANTILES {
            let _ = match bins.quantile(q) {
                Some(value) => writeln!(out, "{name}{{{labels}{comma}quantile=\"{q}\"}} {value}"),
                None => writeln!(out, "{name}{{{labels}{comma}quantile=\"{q}\"}} nan"),
            };
        }
    } else {
        for bound in &BOUNDS {
            let n = bins.at_most(bound.at);
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{}\"}} {n}", bound.prometheus);
        }
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
    }
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {count}", digits(bins.sum()));
}

/// A number with 32 significant digits, as Envoy prints sums.
fn digits(value: f64) -> String {
    let whole = value.abs().trunc();
    let before = if whole >= 1.0 { whole.log10() as usize + 1 } else { 0 };
    let text = format!("{value:.*}", 32_usize.saturating_sub(before));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
