//! Where readers find every block: scopes by prefix.

use super::{Block, Value};
use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering, Ordering::Relaxed, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The blocks of each scope.
type Scopes = BTreeMap<Arc<str>, Vec<Entry>>;

/// A block of a scope. What one has counted that its writer dropped counts on for as long as the name has another one
/// that lives, so that counters never fall: a cluster that is replaced goes on counting.
enum Entry {
    Own(Arc<dyn Block>),
    /// It lives in something else, and is gone with it.
    Lent(Weak<dyn Block>),
}

impl Entry {
    /// The block, unless it is gone for good.
    fn block(&self) -> Option<Arc<dyn Block>> {
        match self {
            Self::Own(block) => Some(Arc::clone(block)),
            Self::Lent(block) => block.upgrade(),
        }
    }

    /// Whether it still has a writer.
    fn lives(&self) -> bool {
        match self {
            Self::Own(block) => Arc::strong_count(block) > 1,
            Self::Lent(block) => block.strong_count() > 0,
        }
    }
}

/// Forgets a scope's blocks where none of them lives; else makes one of those of a type that have no writer any more.
fn tidy(entries: &mut Vec<Entry>) {
    if entries.iter().all(Entry::lives) {
        return;
    }
    if !entries.iter().any(Entry::lives) {
        entries.clear();
        return;
    }
    // What the writers wrote last is seen from here on.
    fence(Ordering::Acquire);
    let mut retired: Vec<Arc<dyn Block>> = Vec::new();
    entries.retain(|entry| match entry {
        Entry::Own(block) if !entry.lives() => {
            match retired.iter().find(|kept| type_of(&***kept) == type_of(&**block)) {
                Some(kept) => {
                    merge(&**kept, &**block);
                    false
                }
                None => {
                    retired.push(Arc::clone(block));
                    true
                }
            }
        }
        Entry::Own(_) => true,
        Entry::Lent(_) => entry.lives(),
    });
}

fn type_of(block: &dyn Block) -> TypeId {
    let block: &dyn Any = block;
    block.type_id()
}

/// Adds what one block has counted to another one of its type.
fn merge(to: &dyn Block, from: &dyn Block) {
    for i in 0..to.defs().len() {
        match (to.value(i), from.value(i)) {
            (Some(Value::Counter(to)), Some(Value::Counter(from))) => to.add(from.value()),
            (Some(Value::Gauge(to)), Some(Value::Gauge(from))) => to.merge(from),
            (Some(Value::Histogram(to)), Some(Value::Histogram(from))) => to.merge(from),
            (Some(Value::Codes(to)), Some(Value::Codes(from))) => to.merge(from),
            // Numbers and texts that are no counts are those of the living.
            _ => {}
        }
    }
}

/// A scope's prefix and its blocks of all types.
pub type LiveScope = (Arc<str>, Vec<Arc<dyn Block>>);

/// All scopes of the process. Clones share them. Writing stats never locks it; scrapes, and the making and
/// dropping of scopes, do.
#[derive(Clone, Default)]
pub struct Registry(Arc<Shared>);

#[derive(Default)]
struct Shared {
    scopes: Mutex<Scopes>,
    deferred: AtomicBool,
}

/// One worker's share of a scope: a block that stays registered as long as this lives.
pub struct Scope<B: Block>(Arc<B>);

impl<B: Block> Clone for Scope<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Block> std::ops::Deref for Scope<B> {
    type Target = B;

    #[inline]
    fn deref(&self) -> &B {
        &self.0
    }
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Scopes> {
        self.0.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on stats that a first use would make are not shown before it (`deferred_stat_options`).
    pub fn defer_creation(&self) {
        self.0.deferred.store(true, Relaxed);
    }

    /// Makes a block and registers it below `prefix` (with its trailing `.`; `:` is written as `_`).
    /// Blocks of the same prefix and type are summed by readers.
    pub fn scope<B: Block + Default>(&self, prefix: &str) -> Scope<B> {
        self.add_own(prefix.replace(':', "_").into())
    }

    /// As [`scope`](Self::scope), with every `:` as it is.
    pub fn scope_verbatim<B: Block + Default>(&self, prefix: &str) -> Scope<B> {
        self.add_own(prefix.into())
    }

    /// As [`scope`](Self::scope), for a block that lives in something its owner shares.
    pub fn register<B: Block>(&self, prefix: &str, block: Arc<B>) -> Scope<B> {
        self.add(prefix.replace(':', "_").into(), Entry::Lent(Arc::downgrade(&block) as Weak<dyn Block>));
        Scope(block)
    }

    fn add_own<B: Block + Default>(&self, prefix: Arc<str>) -> Scope<B> {
        let block = Arc::new(B::default());
        self.add(prefix, Entry::Own(Arc::clone(&block) as Arc<dyn Block>));
        Scope(block)
    }

    fn add(&self, prefix: Arc<str>, entry: Entry) {
        let mut scopes = self.lock();
        // Most scopes have one block.
        let entries = scopes.entry(prefix).or_insert_with(|| Vec::with_capacity(1));
        tidy(entries);
        entries.push(entry);
    }

    /// Every scope in alphabetical order with its blocks, which live as long as the answer does. Blocks of one
    /// type are to be summed. Scopes whose blocks are gone are forgotten.
    pub fn scopes(&self) -> Vec<LiveScope> {
        let deferred = self.0.deferred.load(Relaxed);
        let mut scopes = self.lock();
        let mut all = Vec::with_capacity(scopes.len());
        scopes.retain(|prefix, blocks| {
            tidy(blocks);
            let mut live: Vec<_> = blocks.iter().filter_map(Entry::block).collect();
            let own = live.len();
            for i in 0..own {
                if let Some(block) = live.get(i).map(Arc::clone) {
                    block.awaited(deferred, &mut |other| live.push(other));
                }
            }
            if !live.is_empty() {
                all.push((Arc::clone(prefix), live));
            }
            !blocks.is_empty()
        });
        all
    }

    /// Calls `visit(prefix, name, value)` with each stat of each block, scopes in alphabetical order; the
    /// caller sums what has one name.
    pub fn visit(&self, visit: &mut dyn FnMut(&str, &'static str, Value<'_>)) {
        for (prefix, blocks) in self.scopes() {
            for block in blocks {
                for (i, def) in block.defs().iter().enumerate() {
                    if let Some(value) = block.value(i) {
                        visit(&prefix, def.name, value);
                    }
                }
            }
        }
    }
}
