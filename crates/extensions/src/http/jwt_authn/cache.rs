//! Tokens that were verified, so that they need not be again (`jwt_cache_config`).

use super::token::Token;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Which tokens are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheConfig {
    /// How many; the one that was used longest ago makes room.
    pub(super) size: usize,
    /// The longest, in bytes.
    pub(super) longest: usize,
}

/// One worker's tokens.
#[derive(Debug)]
pub(super) struct Cache {
    config: CacheConfig,
    tokens: HashMap<Rc<str>, (u64, Rc<Token>)>,
    /// By the turn in which they were used last.
    used: BTreeMap<u64, Rc<str>>,
    turn: u64,
}

impl Cache {
    pub(super) fn new(config: CacheConfig) -> Self {
        Self { config, tokens: HashMap::new(), used: BTreeMap::new(), turn: 0 }
    }

    /// The token of that text; one that has expired at `now` is dropped.
    pub(super) fn find(&mut self, text: &str, now: u64, skew: u64) -> Option<Rc<Token>> {
        let (turn, token) = self.tokens.get_mut(text)?;
        let key = self.used.remove(turn)?;
        if token.at(now, skew).is_err() {
            self.tokens.remove(text);
            return None;
        }
        self.turn += 1;
        *turn = self.turn;
        self.used.insert(self.turn, key);
        Some(Rc::clone(token))
    }

    /// Keeps a token that was verified.
    pub(super) fn keep(&mut self, text: &str, token: Rc<Token>) {
        if text.len() > self.config.longest {
            return;
        }
        while self.tokens.len() >= self.config.size
            && let Some((_, oldest)) = self.used.pop_first()
        {
            self.tokens.remove(&oldest);
        }
        self.turn += 1;
        let key: Rc<str> = text.into();
        if let Some((old, _)) = self.tokens.insert(Rc::clone(&key), (self.turn, token)) {
            self.used.remove(&old);
        }
        self.used.insert(self.turn, key);
    }
}

#[cfg(test)]
mod tests;
