//! Where readers find every block: scopes by prefix.

use super::{Block, Value};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The blocks of each scope; a block goes when its worker drops it.
type Scopes = BTreeMap<Arc<str>, Vec<Weak<dyn Block>>>;

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
        self.register(prefix, Arc::new(B::default()))
    }

    /// As [`scope`](Self::scope), with every `:` as it is.
    pub fn scope_verbatim<B: Block + Default>(&self, prefix: &str) -> Scope<B> {
        self.add(prefix.into(), Arc::new(B::default()))
    }

    /// As [`scope`](Self::scope), for a block that lives in something its owner shares.
    pub fn register<B: Block>(&self, prefix: &str, block: Arc<B>) -> Scope<B> {
        self.add(prefix.replace(':', "_").into(), block)
    }

    fn add<B: Block>(&self, prefix: Arc<str>, block: Arc<B>) -> Scope<B> {
        let weak: Weak<dyn Block> = Arc::downgrade(&block) as Weak<dyn Block>;
        // Most scopes have one block.
        self.lock().entry(prefix).or_insert_with(|| Vec::with_capacity(1)).push(weak);
        Scope(block)
    }

    /// Every scope in alphabetical order with its blocks, which live as long as the answer does. Blocks of one
    /// type are to be summed. Scopes whose blocks are gone are forgotten.
    pub fn scopes(&self) -> Vec<LiveScope> {
        let deferred = self.0.deferred.load(Relaxed);
        let mut scopes = self.lock();
        let mut all = Vec::with_capacity(scopes.len());
        scopes.retain(|prefix, blocks| {
            let mut live = Vec::with_capacity(blocks.len());
            blocks.retain(|weak| {
                live.extend(weak.upgrade());
                weak.strong_count() > 0
            });
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
