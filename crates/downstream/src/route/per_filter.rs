//! `typed_per_filter_config`, merged over the levels of a route table.

use super::changes::LevelName;
use nuncio_core::config::Place;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What one level says about one filter.
#[derive(Clone)]
pub struct PerFilterLevel {
    /// The level.
    pub level: LevelName,
    /// The name of the filter in the chain.
    pub filter: Arc<str>,
    /// `Some(true)`: switched off; `Some(false)`: switched on, even where the chain says `disabled`.
    pub disabled: Option<bool>,
    /// The compiled configuration; none in a bare `FilterConfig`.
    pub config: Option<Arc<dyn Any + Send + Sync>>,
    /// Where it stands.
    pub place: Option<Place>,
}

impl fmt::Debug for PerFilterLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerFilterLevel")
            .field("filter", &self.filter)
            .field("disabled", &self.disabled)
            .field("config", &self.config.is_some())
            .finish()
    }
}

/// The configurations of one filter that a route's levels have, most specific first; shared by the route's streams.
pub type RouteConfigs = Arc<[Arc<dyn Any + Send + Sync>]>;

/// What a route says about one filter, all levels considered.
#[derive(Clone)]
pub struct FilterOverride {
    filter: Arc<str>,
    disabled: Option<bool>,
    /// `None`: no level has one.
    configs: Option<RouteConfigs>,
    /// Of every level that says something.
    places: Box<[(LevelName, Option<Place>)]>,
}

impl FilterOverride {
    /// The name of the filter in the chain.
    pub fn filter(&self) -> &Arc<str> {
        &self.filter
    }

    /// Whether the filter is off (`Some(true)`) or on (`Some(false)`) for this route by the most specific
    /// level that says so; `None`: as the chain has it.
    pub fn disabled(&self) -> Option<bool> {
        self.disabled
    }

    /// The most specific configuration.
    pub fn config(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.configs.as_ref()?.first()
    }

    /// Which levels say something of it, and where, most specific first.
    pub fn places(&self) -> &[(LevelName, Option<Place>)] {
        &self.places
    }

    /// The configurations of every level that has one, most specific first.
    #[inline]
    pub fn configs(&self) -> Option<&RouteConfigs> {
        self.configs.as_ref()
    }
}

impl fmt::Debug for FilterOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterOverride")
            .field("filter", &self.filter)
            .field("disabled", &self.disabled)
            .field("configs", &self.configs.as_ref().map_or(0, |configs| configs.len()))
            .finish()
    }
}

/// A route's view of every filter that its table, virtual host, route or weighted cluster names.
#[derive(Debug, Default)]
pub struct PerFilter(Box<[FilterOverride]>);

impl PerFilter {
    /// Merges `levels`, most specific first.
    pub(super) fn merge(levels: &[&[PerFilterLevel]]) -> Self {
        let mut names: Vec<&Arc<str>> = levels.iter().flat_map(|l| l.iter().map(|e| &e.filter)).collect();
        names.sort();
        names.dedup();
        let overrides = names.into_iter().map(|name| {
            let entries = || levels.iter().flat_map(|l| l.iter()).filter(|e| e.filter == *name);
            FilterOverride {
                filter: name.clone(),
                disabled: entries().find_map(|e| e.disabled),
                configs: Some(entries().filter_map(|e| e.config.clone()).collect())
                    .filter(|configs: &RouteConfigs| !configs.is_empty()),
                places: entries().map(|e| (e.level, e.place)).collect(),
            }
        });
        Self(overrides.collect())
    }

    /// What the route says about the filter `name`.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&FilterOverride> {
        self.0.iter().find(|o| *o.filter == *name)
    }

    /// Every filter that is named, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &FilterOverride> {
        self.0.iter()
    }

    /// Whether no filter is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
