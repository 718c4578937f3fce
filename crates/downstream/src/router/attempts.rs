//! The attempts of one request that are under way.

use super::flight::Attempt;

/// Nearly always one, which is found without a look at a list.
#[derive(Default)]
pub(super) struct Attempts {
    first: Option<Attempt>,
    /// Those begun beside it; none where there is no first.
    others: Vec<Attempt>,
}

impl Attempts {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    #[inline]
    pub(super) fn first(&self) -> Option<&Attempt> {
        self.first.as_ref()
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&Attempt> {
        if at == 0 { self.first.as_ref() } else { self.others.get(at - 1) }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Attempt> {
        if at == 0 { self.first.as_mut() } else { self.others.get_mut(at - 1) }
    }

    /// The one that there is, if there are no others.
    #[inline]
    pub(super) fn only(&mut self) -> Option<&mut Attempt> {
        if self.others.is_empty() { self.first.as_mut() } else { None }
    }

    /// All, in the order in which they were begun.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.first.iter().chain(&self.others)
    }

    /// As [`iter`](Self::iter).
    #[inline]
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Attempt> {
        self.first.iter_mut().chain(&mut self.others)
    }

    /// Shows all of them, in the same order.
    #[inline]
    pub(super) fn each(&mut self, mut see: impl FnMut(&mut Attempt)) {
        if let Some(first) = &mut self.first {
            see(first);
            self.others.iter_mut().for_each(see);
        }
    }

    /// Begins another; where it stands.
    #[inline(always)]
    pub(super) fn push(&mut self, attempt: Attempt) -> usize {
        if self.first.is_none() {
            self.first = Some(attempt);
            return 0;
        }
        self.others.push(attempt);
        self.others.len()
    }

    /// Takes one out; those behind it move up.
    pub(super) fn remove(&mut self, at: usize) -> Option<Attempt> {
        if at > 0 {
            return (at <= self.others.len()).then(|| self.others.remove(at - 1));
        }
        let next = if self.others.is_empty() { None } else { Some(self.others.remove(0)) };
        std::mem::replace(&mut self.first, next)
    }

    /// Makes the one at `at` the first and gives out all others.
    #[inline]
    pub(super) fn settle(&mut self, at: usize) -> Vec<Attempt> {
        if let (Some(first), Some(chosen)) = (&mut self.first, self.others.get_mut(at.wrapping_sub(1))) {
            std::mem::swap(first, chosen);
        }
        std::mem::take(&mut self.others)
    }

    /// Ends all of them.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.first = None;
        self.others.clear();
    }
}
