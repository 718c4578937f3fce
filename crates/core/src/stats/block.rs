//! The stats themselves, and the macro that puts them into blocks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A count that only grows. One thread writes, any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count since the start.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that rises and falls. One thread writes, any thread reads; only the sum over the blocks of a
/// scope means anything, since one worker may lower what another raised.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

/// The bit of a gauge that says that somebody has written it; the level is in the others.
const USED: u64 = 1 << 63;

impl Gauge {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes one.
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n) | USED, Relaxed);
    }

    /// Takes `n`.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n) | USED, Relaxed);
    }

    /// Sets the level.
    pub fn set(&self, n: u64) {
        self.0.store(n | USED, Relaxed);
    }

    /// Sets the level, unless nothing was ever written and there is nothing to write.
    pub fn follow(&self, n: u64) {
        if n != 0 || self.used() {
            self.set(n);
        }
    }

    /// This block's share of the level, modulo 2^63.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed) & !USED
    }

    /// Whether it was ever written.
    pub fn used(&self) -> bool {
        self.0.load(Relaxed) & USED != 0
    }

    /// Adds another one's share.
    pub(super) fn merge(&self, other: &Self) {
        if other.used() {
            self.add(other.value());
        }
    }

    /// The level of which `shares` are the blocks' own.
    pub fn sum(shares: impl IntoIterator<Item = u64>) -> u64 {
        shares.into_iter().fold(0, u64::wrapping_add) & !USED
    }
}

/// A gauge that is no level but a number of 64 bits, such as a hash: one block of its scope has it.
#[derive(Debug, Default)]
pub struct WholeGauge(AtomicU64);

impl WholeGauge {
    /// Sets the number.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A text, such as a version: one block of its scope has it. It is written seldom.
#[derive(Debug, Default)]
pub struct Text(Mutex<Box<str>>);

impl Text {
    /// Sets the text.
    pub fn set(&self, text: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    /// The text.
    pub fn value(&self) -> Box<str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A distribution of values (times in milliseconds, sizes in bytes). Storage comes with the first value, and for
/// each power of ten with the first value of that size.
#[derive(Debug, Default)]
pub struct Histogram(OnceLock<Box<Bins>>);

/// Bins of one power of ten: 1.0, 1.1 … 9.9, as the field's log-linear histograms have them.
const PER_DECADE: usize = 90;
/// Values from 0 to below 10^12; larger ones count in a bin of their own.
const DECADES: usize = 12;

/// What a histogram has counted.
#[derive(Debug, Default)]
struct Bins {
    sum: AtomicU64,
    zeros: AtomicU64,
    beyond: AtomicU64,
    decades: [OnceLock<Box<[AtomicU64; PER_DECADE]>>; DECADES],
}

/// Adds one. One thread writes.
#[inline]
fn bump(count: &AtomicU64) {
    count.store(count.load(Relaxed) + 1, Relaxed);
}

impl Histogram {
    /// Adds a value.
    #[inline]
    pub fn record(&self, value: u64) {
        self.record_at(Slot::of(value), value);
    }

    /// Adds a value to two of them, of which one counts a part of what the other does.
    #[inline]
    pub fn record_both(&self, part: &Self, value: u64) {
        let slot = Slot::of(value);
        self.record_at(slot, value);
        part.record_at(slot, value);
    }

    #[inline]
    fn record_at(&self, slot: Slot, value: u64) {
        let bins = self.0.get_or_init(Box::default);
        bump(bins.bin(slot));
        bins.sum.store(bins.sum.load(Relaxed).wrapping_add(value), Relaxed);
    }

    /// Calls `visit` with each bin in use, by index, and its count. Bin 0 holds zeros; bin 1 + 90·e + (d − 10) the
    /// values whose two leading digits are d·10^(e−1).
    pub fn visit(&self, visit: &mut dyn FnMut(usize, u64)) {
        let Some(bins) = self.0.get() else { return };
        let mut found = |i: usize, bin: &AtomicU64| match bin.load(Relaxed) {
            0 => {}
            n => visit(i, n),
        };
        found(0, &bins.zeros);
        for (decade, own) in bins.decades.iter().enumerate() {
            for (i, bin) in own.get().into_iter().flat_map(|b| b.iter()).enumerate() {
                found(1 + PER_DECADE * decade + i, bin);
            }
        }
        found(1 + PER_DECADE * DECADES, &bins.beyond);
    }

    /// Adds what another one has counted.
    pub(super) fn merge(&self, other: &Self) {
        let Some(theirs) = other.0.get() else { return };
        let own = self.0.get_or_init(Box::default);
        let add =
            |to: &AtomicU64, n: &AtomicU64| to.store(to.load(Relaxed).wrapping_add(n.load(Relaxed)), Relaxed);
        add(&own.sum, &theirs.sum);
        add(&own.zeros, &theirs.zeros);
        add(&own.beyond, &theirs.beyond);
        for (own, theirs) in own.decades.iter().zip(&theirs.decades) {
            let Some(theirs) = theirs.get() else { continue };
            let own = own.get_or_init(|| Box::new([const { AtomicU64::new(0) }; PER_DECADE]));
            own.iter().zip(theirs.iter()).for_each(|(own, n)| add(own, n));
        }
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.0.get().map_or(0, |bins| bins.sum.load(Relaxed))
    }
}

impl Bins {
    #[inline]
    fn bin(&self, slot: Slot) -> &AtomicU64 {
        let Slot::At { decade, place } = slot else { return &self.zeros };
        let own = self.decades.get(decade);
        let own = own.map(|d| d.get_or_init(|| Box::new([const { AtomicU64::new(0) }; PER_DECADE])));
        own.and_then(|bins| bins.get(place)).unwrap_or(&self.beyond)
    }
}

/// Which bin a value belongs to.
#[derive(Clone, Copy)]
enum Slot {
    Zero,
    /// By its power of ten, and what its two leading digits are beyond 10.
    At {
        decade: usize,
        place: usize,
    },
}

impl Slot {
    #[inline]
    fn of(value: u64) -> Self {
        // Most requests take less than 10 ms, and nearly all less than a second.
        let (decade, digits) = match value {
            0 => return Self::Zero,
            1..10 => (0, value * 10),
            10..100 => (1, value),
            100..1000 => (2, value / 10),
            _ => {
                let decade = value.ilog10();
                (decade as usize, value / 10_u64.pow(decade - 1))
            }
        };
        Self::At { decade, place: digits as usize - 10 }
    }
}

/// The code that stands for all that have no class (`PREFIX_unknown`).
pub const UNKNOWN_CODE: u16 = 600;

/// Counts of response codes: `PREFIX_NNN` and `PREFIX_Nxx`, created with the first response of a class.
#[derive(Debug, Default)]
pub struct ResponseCodes(OnceLock<Box<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// The codes of each class, from 1xx.
    classes: [OnceLock<Box<[AtomicU64; 100]>>; 5],
    /// Responses that only the sum counts.
    unnamed: AtomicU64,
    /// Responses whose code is beyond the classes.
    unknown: AtomicU64,
}

impl ResponseCodes {
    /// Counts a response; codes below 100 are not counted, those from [`UNKNOWN_CODE`] on are one.
    #[inline]
    pub fn inc(&self, code: u16) {
        let class = usize::from(code / 100).wrapping_sub(1);
        let counts = self.0.get_or_init(Box::default);
        let Some(codes) = counts.classes.get(class) else {
            if code >= UNKNOWN_CODE {
                bump(&counts.unknown);
            }
            return;
        };
        let codes = codes.get_or_init(|| Box::new([const { AtomicU64::new(0) }; 100]));
        if let Some(n) = codes.get(usize::from(code % 100)) {
            bump(n);
        }
    }

    /// Counts a response in the sum alone.
    pub fn inc_unnamed(&self) {
        bump(&self.0.get_or_init(Box::default).unnamed);
    }

    /// Adds what another one has counted.
    pub(super) fn merge(&self, other: &Self) {
        other.visit(&mut |code, n| {
            let counts = self.0.get_or_init(Box::default);
            if code == 0 {
                counts.unnamed.store(counts.unnamed.load(Relaxed).wrapping_add(n), Relaxed);
            }
            if code == UNKNOWN_CODE {
                counts.unknown.store(counts.unknown.load(Relaxed).wrapping_add(n), Relaxed);
            }
            let Some(codes) = counts.classes.get(usize::from(code / 100).wrapping_sub(1)) else { return };
            let codes = codes.get_or_init(|| Box::new([const { AtomicU64::new(0) }; 100]));
            if let Some(own) = codes.get(usize::from(code % 100)) {
                own.store(own.load(Relaxed).wrapping_add(n), Relaxed);
            }
        });
    }

    /// Calls `visit` with each code that occurred and its count; code 0 stands for those that only the sum counts,
    /// [`UNKNOWN_CODE`] for those beyond the classes.
    pub fn visit(&self, visit: &mut dyn FnMut(u16, u64)) {
        let Some(counts) = self.0.get() else { return };
        let unnamed = counts.unnamed.load(Relaxed);
        if unnamed != 0 {
            visit(0, unnamed);
        }
        for (class, codes) in (1..).zip(&counts.classes) {
            for (rest, n) in (0..).zip(codes.get().into_iter().flat_map(|c| c.iter())) {
                let n = n.load(Relaxed);
                if n != 0 {
                    visit(class * 100 + rest, n);
                }
            }
        }
        let unknown = counts.unknown.load(Relaxed);
        if unknown != 0 {
            visit(UNKNOWN_CODE, unknown);
        }
    }
}

/// What sort of stat a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Rises and falls.
    Gauge,
    /// A number that one block has.
    WholeGauge,
    /// A text that one block has.
    Text,
    /// A distribution.
    Histogram,
    /// Response codes: a family of counters below one name.
    Codes,
    /// Response codes whose sum is there before the first of them.
    SummedCodes,
}

/// One stat of a block: its name below the scope's prefix, and its kind.
#[derive(Clone, Copy, Debug)]
pub struct Def {
    /// Envoy's name, without the scope's prefix.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
}

/// A stat's storage, as a reader gets it.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A counter.
    Counter(&'a Counter),
    /// A gauge.
    Gauge(&'a Gauge),
    /// A gauge that one block has.
    WholeGauge(&'a WholeGauge),
    /// A text that one block has.
    Text(&'a Text),
    /// A histogram.
    Histogram(&'a Histogram),
    /// Response codes.
    Codes(&'a ResponseCodes),
}

/// A struct of stats with a fixed order. Implemented by [`stats_block!`](crate::stats_block).
pub trait Block: std::any::Any + Send + Sync {
    /// The stats in their order.
    fn defs(&self) -> &'static [Def];
    /// The storage of stat `i`.
    fn value(&self, i: usize) -> Option<Value<'_>>;
    /// Calls `visit` with blocks of the same scope that others will write, so that their stats are there before
    /// the first of those writers; `deferred` asks for those alone that are there from the start all the same. None
    /// by default.
    fn awaited(&self, _deferred: bool, _visit: &mut dyn FnMut(std::sync::Arc<dyn Block>)) {}
}

/// Declares a block: a struct whose fields are stats, with Envoy's names.
///
/// ```
/// nuncio_core::stats_block! {
///     /// What a thing counts.
///     pub struct ThingStats {
///         counter total,
///         gauge active,
///         histogram length_ms,
///         codes rq = "rq",
///     }
/// }
/// let stats = ThingStats::default();
/// stats.total.inc();
/// ```
///
/// `codes NAME = "stem"` makes counters `stem_200`, `stem_2xx` and so on, and `stem_completed`; with
/// `summed_codes` the last of them is there from the start.
#[macro_export]
macro_rules! stats_block {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($kind:ident $field:ident $(= $text:literal)?),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name {
            $(
                #[doc = concat!("`", $crate::stats_block!(@name $field $($text)?), "`")]
                pub $field: $crate::stats_block!(@type $kind),
            )*
        }

        impl $crate::stats::Block for $name {
            fn defs(&self) -> &'static [$crate::stats::Def] {
                const DEFS: &[$crate::stats::Def] = &[$($crate::stats::Def {
                    name: $crate::stats_block!(@name $field $($text)?),
                    kind: $crate::stats_block!(@kind $kind),
                }),*];
                DEFS
            }

            fn value(&self, i: usize) -> Option<$crate::stats::Value<'_>> {
                let mut at = 0;
                $(
                    if i == at {
                        return Some($crate::stats_block!(@value $kind, &self.$field));
                    }
                    at += 1;
                )*
                let _ = at;
                None
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $text:literal) => { $text };
    (@type counter) => { $crate::stats::Counter };
    (@type gauge) => { $crate::stats::Gauge };
    (@type whole_gauge) => { $crate::stats::WholeGauge };
    (@type text) => { $crate::stats::Text };
    (@type histogram) => { $crate::stats::Histogram };
    (@type codes) => { $crate::stats::ResponseCodes };
    (@type summed_codes) => { $crate::stats::ResponseCodes };
    (@kind counter) => { $crate::stats::Kind::Counter };
    (@kind gauge) => { $crate::stats::Kind::Gauge };
    (@kind whole_gauge) => { $crate::stats::Kind::WholeGauge };
    (@kind text) => { $crate::stats::Kind::Text };
    (@kind histogram) => { $crate::stats::Kind::Histogram };
    (@kind codes) => { $crate::stats::Kind::Codes };
    (@kind summed_codes) => { $crate::stats::Kind::SummedCodes };
    (@value counter, $e:expr) => { $crate::stats::Value::Counter($e) };
    (@value gauge, $e:expr) => { $crate::stats::Value::Gauge($e) };
    (@value whole_gauge, $e:expr) => { $crate::stats::Value::WholeGauge($e) };
    (@value text, $e:expr) => { $crate::stats::Value::Text($e) };
    (@value histogram, $e:expr) => { $crate::stats::Value::Histogram($e) };
    (@value codes, $e:expr) => { $crate::stats::Value::Codes($e) };
    (@value summed_codes, $e:expr) => { $crate::stats::Value::Codes($e) };
}
