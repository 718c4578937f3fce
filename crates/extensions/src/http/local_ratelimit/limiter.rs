//! The buckets of a `LocalRateLimit`: those of its descriptors, and one for what none of them takes.

use crate::token_bucket::TokenBucket;
use nuncio_core::config::CompileContext;
use nuncio_downstream::route::{Descriptor, Hits};
use nuncio_proto::pb::envoy::extensions::common::ratelimit::v3::LocalRateLimitDescriptor;
use nuncio_proto::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Keys and values of a descriptor.
type Entries = Vec<Pair>;

/// A key and a value.
type Pair = (Box<str>, Box<str>);

/// The buckets of a filter, or of one connection.
#[derive(Debug)]
pub(super) struct Limiter {
    /// `None`: what no descriptor takes is not limited.
    default: Option<Arc<Purse>>,
    /// It pays for what descriptors take, too.
    always: bool,
    exact: HashMap<Entries, Arc<Purse>>,
    wildcards: Box<[Wildcard]>,
}

/// A bucket that may have to pay for nothing.
#[derive(Debug)]
pub(super) struct Purse {
    pub(super) bucket: TokenBucket,
    /// `shadow_mode`: requests go on all the same.
    pub(super) shadow: bool,
}

/// A descriptor of which some values may be any: each combination has a bucket of its own.
#[derive(Debug)]
struct Wildcard {
    /// An empty value stands for any.
    entries: Entries,
    model: Purse,
    /// So many combinations are known at a time.
    most: usize,
    known: Mutex<Known>,
}

/// Combinations, of which that goes first that was used longest ago.
#[derive(Debug, Default)]
struct Known {
    purses: HashMap<Entries, (u64, Arc<Purse>)>,
    used: BTreeMap<u64, Entries>,
    clock: u64,
}

/// What a limiter says of a request.
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// Whose bucket clients are told of.
    pub(super) purse: Option<Arc<Purse>>,
    /// Whether they are; `None`: as the filter says.
    pub(super) tells: Option<bool>,
}

impl Purse {
    fn new(bucket: TokenBucket, shadow: bool) -> Arc<Self> {
        Arc::new(Self { bucket, shadow })
    }

    fn fresh(&self) -> Arc<Self> {
        Self::new(self.bucket.fresh(), self.shadow)
    }

    /// Whether it pays.
    fn pays(&self, hits: Hits, members: u64, now: Instant) -> bool {
        match hits {
            Hits::Take(n) => self.bucket.take(now, n.saturating_mul(members)),
            Hits::Give(n) => {
                self.bucket.give(now, n);
                true
            }
        }
    }
}

impl Limiter {
    /// Compiles `descriptors`; `most` is how many combinations of each one with wildcards are kept.
    pub(super) fn compile(
        default: Option<TokenBucket>,
        descriptors: &[LocalRateLimitDescriptor],
        always: bool,
        most: usize,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let (mut exact, mut wildcards): (HashMap<Entries, _>, Vec<Wildcard>) = Default::default();
        for (i, message) in descriptors.iter().enumerate() {
            let cx = cx.item("descriptors", i);
            let LocalRateLimitDescriptor { entries, token_bucket, shadow_mode } = message;
            let bucket_cx = cx.field("token_bucket");
            let bucket =
                TokenBucket::compile(token_bucket.as_ref()?, &bucket_cx, "local rate limit descriptor")?;
            let entries: Entries = entries
                .iter()
                .map(|Entry { key, value }| (key.as_str().into(), value.as_str().into()))
                .collect();
            if exact.contains_key(&entries) || wildcards.iter().any(|w| w.entries == entries) {
                let text: Vec<String> = entries.iter().map(|(k, v)| format!("{k}={v}")).collect();
                let text = text.join(", ");
                cx.error(format!("duplicate descriptor in the local rate descriptor: [{text}]"));
                return None;
            }
            if entries.iter().any(|(_, value)| value.is_empty()) {
                let model = Purse { bucket, shadow: *shadow_mode };
                wildcards.push(Wildcard { entries, model, most, known: Mutex::default() });
            } else {
                exact.insert(entries, Purse::new(bucket, *shadow_mode));
            }
        }
        let default = default.map(|bucket| Purse::new(bucket, false));
        Some(Self { default, always, exact, wildcards: wildcards.into() })
    }

    /// The same with full buckets.
    pub(super) fn fresh(&self) -> Self {
        let wildcard = |w: &Wildcard| Wildcard {
            entries: w.entries.clone(),
            model: Purse { bucket: w.model.bucket.fresh(), shadow: w.model.shadow },
            most: w.most,
            known: Mutex::default(),
        };
        Self {
            default: self.default.as_ref().map(|purse| purse.fresh()),
            always: self.always,
            exact: self.exact.iter().map(|(k, purse)| (k.clone(), purse.fresh())).collect(),
            wildcards: self.wildcards.iter().map(wildcard).collect(),
        }
    }

    /// Whether requests are asked for descriptors.
    pub(super) fn has_descriptors(&self) -> bool {
        !(self.exact.is_empty() && self.wildcards.is_empty())
    }

    fn purse(&self, entries: &Entries) -> Option<Arc<Purse>> {
        let wild = || self.wildcards.iter().find(|w| w.takes(entries)).map(|w| w.purse(entries));
        self.exact.get(entries).map(Arc::clone).or_else(wild)
    }

    /// Lets a request pay: the buckets of its descriptors, the slowest first, and the default one. One in shadow mode
    /// that cannot pay stops none of the others. Each of `members` proxies has its part of the buckets: what comes to one
    /// of them costs so many times as much.
    pub(super) fn ask(&self, descriptors: &[Descriptor], members: u64, now: Instant) -> Verdict {
        let mut found: Vec<(Arc<Purse>, &Descriptor)> =
            descriptors.iter().filter_map(|d| Some((self.purse(&d.entries)?, d))).collect();
        found.sort_by(|a, b| a.0.bucket.rate().total_cmp(&b.0.bucket.rate()));
        let verdict = |allowed, found: Option<&(Arc<Purse>, &Descriptor)>| Verdict {
            allowed,
            purse: found.map(|(purse, _)| Arc::clone(purse)),
            tells: found.and_then(|(_, descriptor)| descriptor.tells),
        };
        let mut in_shadow = None;
        for one in &found {
            if !one.0.pays(one.1.hits, members, now) {
                if !one.0.shadow {
                    return verdict(false, Some(one));
                }
                in_shadow = in_shadow.or(Some(one));
            }
        }
        let default = self.default.as_ref().filter(|_| found.is_empty() || self.always);
        if let Some(default) = default.filter(|default| !default.bucket.take(now, members)) {
            return Verdict { allowed: false, purse: Some(Arc::clone(default)), tells: None };
        }
        match (in_shadow, found.first()) {
            (Some(one), _) => verdict(false, Some(one)),
            (None, Some(first)) => verdict(true, Some(first)),
            (None, None) => Verdict { allowed: true, purse: default.map(Arc::clone), tells: None },
        }
    }
}

impl Wildcard {
    fn takes(&self, entries: &Entries) -> bool {
        let fits = |(own, other): (&Pair, &Pair)| own.0 == other.0 && (own.1.is_empty() || own.1 == other.1);
        self.entries.len() == entries.len() && self.entries.iter().zip(entries).all(fits)
    }

    /// The bucket of a combination.
    fn purse(&self, entries: &Entries) -> Arc<Purse> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { purses, used, clock } = &mut *known;
        *clock += 1;
        let (last, purse) = purses.entry(entries.clone()).or_insert_with(|| (*clock, self.model.fresh()));
        used.remove(last);
        *last = *clock;
        used.insert(*clock, entries.clone());
        let purse = Arc::clone(purse);
        if purses.len() > self.most
            && let Some((_, oldest)) = used.pop_first()
        {
            purses.remove(&oldest);
        }
        purse
    }
}
