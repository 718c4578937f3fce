//! What the levels of a route say of one filter.

use crate::route::RouteConfigs;
use std::any::Any;
use std::marker::PhantomData;

/// A route's configurations of one filter, most specific first.
pub struct Levels<T> {
    configs: Option<RouteConfigs>,
    kind: PhantomData<fn() -> T>,
}

impl<T: Any + Send + Sync> Levels<T> {
    pub(super) fn new(configs: Option<RouteConfigs>) -> Self {
        Self { configs, kind: PhantomData }
    }

    /// None at all.
    pub fn none() -> Self {
        Self::new(None)
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.configs.is_none()
    }

    /// Each of them.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.configs.iter().flat_map(|configs| configs.iter()).filter_map(|config| config.downcast_ref())
    }
}
