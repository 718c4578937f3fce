//! Prometheus' text format, with Envoy's families and labels.

use super::bins::{QUANTILES, digits};
use super::sample::{Distribution, History, Read, Sample, Suffix, read, scopes, type_of};
use super::tags::{self, Tagged};
use super::{Buckets, Filter, protobuf};
use nuncio_core::stats::{Registry, StatsConfig};
use std::any::TypeId;
use std::collections::HashMap;
use std::io::Write;

/// The kinds in the order in which they are printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Type {
    Counter,
    Gauge,
    Histogram,
    Summary,
    /// A histogram of the protobuf format whose buckets are exponential.
    Native {
        /// How many it has at most.
        most_buckets: u32,
    },
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram | Self::Native { .. } => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// All series of one name.
pub(super) struct Family {
    pub(super) kind: Type,
    /// The name with its dots, by which families are sorted.
    dotted: String,
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

/// One series (or histogram): whose labels, the response code or class among them, and its value.
pub(super) struct Line {
    pub(super) row: u32,
    suffix: Suffix,
    pub(super) value: Shown,
}

impl Line {
    /// The label that a response code or class is.
    pub(super) fn code(&self) -> Option<(&'static str, u16)> {
        match self.suffix {
            Suffix::None | Suffix::Unknown | Suffix::Completed => None,
            Suffix::Code(code) => Some(("envoy_response_code", code)),
            Suffix::Class(class) => Some(("envoy_response_code_class", class)),
        }
    }
}

pub(super) enum Shown {
    Number(u64),
    Histogram(Box<Distribution>),
}

/// Families as they are met: one lookup per stat, by block type, what is left of the prefix, and place.
#[derive(Default)]
struct Families {
    all: Vec<Family>,
    by_name: HashMap<String, usize>,
    /// Per block type and what is left of the prefix: the families of each place.
    by_type: HashMap<(TypeId, String), Places>,
    /// The labels of each scope.
    rows: Vec<String>,
}

/// The families of a stat's plain form (or codes), of classes of codes, of their sum, and of codes without a class.
type Places = Vec<[Option<u32>; 4]>;

impl Families {
    /// The family of a name as it stands.
    fn named(&mut self, full: &str, kind: Type) -> usize {
        if let Some(at) = self.by_name.get(full) {
            return *at;
        }
        let at = self.all.len();
        self.by_name.insert(full.to_owned(), at);
        self.all.push(Family { kind, dotted: full.to_owned(), name: sanitised(full), lines: Vec::new() });
        at
    }

    fn push(&mut self, family: usize, line: Line) {
        if let Some(family) = self.all.get_mut(family) {
            family.lines.push(line);
        }
    }

    /// The number of a row of labels.
    fn row(&mut self, labels: String) -> u32 {
        self.rows.push(labels);
        self.rows.len() as u32 - 1
    }
}

/// `envoy_` and the name, what is no letter or digit as `_`.
fn sanitised(name: &str) -> String {
    let mut out = String::from("envoy_");
    out.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    out
}

/// Prints what the filter takes, as it is now. Without buckets asked for, histograms are cumulative.
pub(super) fn print(
    registry: &Registry,
    history: &History,
    filter: &Filter<'_>,
    buckets: Option<Buckets>,
    config: &StatsConfig,
) -> Printer {
    let mut families = Families::default();
    let mut full = String::new();
    let all_names = filter.takes_all_names();
    // Default tags are all in a scope's prefix; others are looked for name by name.
    let default_tags_only = config.has_default_tags_only();
    scopes(registry, &mut |prefix, blocks| {
        let Some(first) = blocks.first() else { return };
        // What handshakes agreed on and the names of certificates are tags of their own.
        let by_prefix = default_tags_only && !prefix.contains(".ssl.");
        let tagged = if by_prefix { tags::extract(prefix) } else { Tagged::default() };
        let key = (type_of(first), tagged.rest);
        let mut places = families.by_type.remove(&key).unwrap_or_default();
        places.resize(first.defs().len(), [None; 4]);
        let row = families.row(tagged.labels);
        read(blocks, &mut |Read { place, name, suffix, sample }| {
            // Texts are no series.
            let Some(kind) = kind_of(&sample, buckets).filter(|_| filter.takes_kind(sample.kind())) else {
                return;
            };
            full.clear();
            if !all_names || !by_prefix || history.needs_name(&sample, config) {
                full.push_str(prefix);
                full.push_str(name);
                suffix.append(&mut full);
            }
            if !all_names && !filter.takes_name(&full) {
                return;
            }
            let sample = history.shown(&full, sample, config);
            if filter.used_only && !sample.used() {
                return;
            }
            let value = match sample {
                Sample::Counter(n, _) | Sample::Gauge(n, _) => Shown::Number(n),
                Sample::Text(_) => return,
                Sample::Histogram(d) => Shown::Histogram(Box::new(d)),
            };
            if !by_prefix {
                let (rest, labels) = tags::by_patterns(config, &full);
                let (family, row) = (families.named(&rest, kind), families.row(labels));
                families.push(family, Line { row, suffix: Suffix::None, value });
                return;
            }
            let (stem, suffix) = match class_in(name) {
                Some((stem, class)) => (stem, Suffix::Class(class)),
                None => (name, suffix),
            };
            let (form, tail) = match suffix {
                Suffix::None | Suffix::Code(_) => (0, ""),
                Suffix::Class(_) => (1, "_xx"),
                Suffix::Completed => (2, "_completed"),
                Suffix::Unknown => (3, "_unknown"),
            };
            let known = places.get_mut(place).and_then(|forms| forms.get_mut(form));
            let Some(known) = known else { return };
            let family = match known {
                Some(family) => *family as usize,
                None => {
                    let family = families.named(&format!("{}{stem}{tail}", key.1), kind);
                    *known = u32::try_from(family).ok();
                    family
                }
            };
            families.push(family, Line { row, suffix, value });
        });
        families.by_type.insert(key, places);
    });
    let Families { mut all, rows, .. } = families;
    all.sort_by(|a, b| (a.kind, &a.dotted).cmp(&(b.kind, &b.dotted)));
    Printer { families: all, rows, family: 0, titled: false, line: 0 }
}

impl Printer {
    /// Puts a family of plain numbers behind all others: its name with dots, and the labels and value of each series.
    pub(super) fn append(&mut self, dotted: &str, kind: Type, series: impl Iterator<Item = (String, u64)>) {
        let (name, mut lines) = (sanitised(dotted), Vec::new());
        for (labels, n) in series {
            self.rows.push(labels);
            let row = self.rows.len() as u32 - 1;
            lines.push(Line { row, suffix: Suffix::None, value: Shown::Number(n) });
        }
        if !lines.is_empty() {
            self.families.push(Family { kind, dotted: dotted.to_owned(), name, lines });
        }
    }

    /// The same in the protobuf format.
    pub(super) fn protobuf(self) -> impl Iterator<Item = Vec<u8>> {
        let Self { families, rows, .. } = self;
        families.into_iter().map(move |family| {
            let mut out = Vec::new();
            protobuf::write(&family, &rows, &mut out);
            out
        })
    }
}

/// Bytes after which a piece is handed out.
const PIECE: usize = 64 << 10;

/// The text, piece by piece.
pub(super) struct Printer {
    families: Vec<Family>,
    rows: Vec<String>,
    /// The family that comes next, whether its type line is out, and its line that comes next.
    family: usize,
    titled: bool,
    line: usize,
}

impl Iterator for Printer {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(PIECE + (4 << 10));
        while let Some(family) = self.families.get(self.family) {
            if !std::mem::replace(&mut self.titled, true) {
                put(&mut out, &["# TYPE ", &family.name, " ", family.kind.name(), "\n"]);
            }
            while let Some(line) = family.lines.get(self.line) {
                if out.len() >= PIECE {
                    return Some(out);
                }
                self.line += 1;
                let labels = self.rows.get(line.row as usize).map_or("", String::as_str);
                series(&mut out, family, labels, line);
            }
            self.family += 1;
            self.line = 0;
            self.titled = false;
        }
        (!out.is_empty()).then_some(out)
    }
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

/// Appends a number in decimal digits.
fn put_number(out: &mut Vec<u8>, n: u64) {
    if n < 10 {
        out.push(b'0' + n as u8);
    } else {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{n}");
    }
}

/// The stem and class of a counter that is named after a class of response codes (`downstream_rq_2xx`).
fn class_in(name: &'static str) -> Option<(&'static str, u16)> {
    let stem = name.strip_suffix("xx")?;
    let (stem, class) = stem.split_at_checked(stem.len().checked_sub(1)?)?;
    let stem = stem.strip_suffix('_').filter(|s| s.ends_with("_rq"))?;
    Some((stem, class.parse().ok()?))
}

/// `None` for what has no place in this format.
fn kind_of(sample: &Sample, buckets: Option<Buckets>) -> Option<Type> {
    match sample {
        Sample::Counter(..) => Some(Type::Counter),
        Sample::Gauge(..) => Some(Type::Gauge),
        Sample::Text(_) => None,
        Sample::Histogram(_) => Some(match buckets {
            Some(Buckets::Summary) => Type::Summary,
            Some(Buckets::Native { most_buckets }) => Type::Native { most_buckets },
            _ => Type::Histogram,
        }),
    }
}

fn series(out: &mut Vec<u8>, family: &Family, labels: &str, line: &Line) {
    let n = match &line.value {
        Shown::Number(n) => *n,
        Shown::Histogram(d) => return histogram(out, family, labels, d),
    };
    put(out, &[&family.name, "{"]);
    if let Some((label, code)) = line.code() {
        put(out, &[label, "=\""]);
        put_number(out, code.into());
        put(out, &[if labels.is_empty() { "\"" } else { "\"," }]);
    }
    put(out, &[labels, "} "]);
    put_number(out, n);
    out.push(b'\n');
}

fn histogram(out: &mut Vec<u8>, family: &Family, labels: &str, d: &Distribution) {
    let name = family.name.as_str();
    let comma = if labels.is_empty() { "" } else { "," };
    // A summary is of the last interval, as in Envoy.
    let summary = family.kind == Type::Summary;
    let bins = if summary { &d.interval } else { &d.total };
    let count = bins.count();
    if summary {
        for (q, _) in QUANTILES {
            let value = bins.quantile(q).map_or("nan".to_owned(), |v| v.to_string());
            // Writing to a Vec cannot fail.
            let _ = writeln!(out, "{name}{{{labels}{comma}quantile=\"{q}\"}} {value}");
        }
    } else {
        let mut bucket = |le: &str, n: u64| {
            put(out, &[name, "_bucket{", labels, comma, "le=\"", le, "\"} "]);
            put_number(out, n);
            out.push(b'\n');
        };
        for bound in d.bounds.iter() {
            bucket(&bound.prometheus, if count == 0 { 0 } else { bins.at_most(bound.at) });
        }
        bucket("+Inf", count);
    }
    put(out, &[name, "_sum{", labels, "} ", &digits(bins.sum()), "\n", name, "_count{", labels, "} "]);
    put_number(out, count);
    out.push(b'\n');
}
