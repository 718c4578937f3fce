//! Route tables that come and go while connections stay (RDS).

use super::{RouteTable, ScopedRoutes};
use nuncio_core::source::FileSource;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Where a connection manager's routes come from.
#[derive(Clone, Debug)]
pub enum Routes {
    /// `route_config`: they stand in the listener.
    Inline(Arc<RouteTable>),
    /// `scoped_routes`: several stand in the listener.
    Scoped(Arc<ScopedRoutes>),
    /// `rds`: they are fed.
    Rds(Arc<RouteFeed>),
}

/// The present table of one route configuration. The main thread publishes, workers follow at their next request.
#[derive(Debug)]
pub struct RouteFeed {
    /// `rds.route_config_name`
    pub name: Arc<str>,
    /// `rds.config_source`
    pub source: FileSource,
    /// `http.PREFIX.rds.NAME.`, where PREFIX is that of the first connection manager that asked for it.
    pub stat_prefix: String,
    generation: AtomicU64,
    table: RwLock<Arc<RouteTable>>,
}

impl RouteFeed {
    /// The table, and a number that changes with it.
    pub fn current(&self) -> (u64, Arc<RouteTable>) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        (self.generation(), Arc::clone(&table))
    }

    /// A number that changes with the table.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// From the next request on this table holds; requests that have a route keep theirs.
    pub fn publish(&self, new: Arc<RouteTable>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        *table = new;
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// The route configurations that connection managers subscribe to. Those of the same name and source share one.
#[derive(Debug, Default)]
pub struct RouteFeeds(Mutex<HashMap<(FileSource, String), Arc<RouteFeed>>>);

impl RouteFeeds {
    /// The feed of a name from a source; `http_prefix` is the `http.PREFIX.` of who asks. Until a table is published
    /// there are no routes.
    pub fn subscribe(&self, source: FileSource, name: String, http_prefix: &str) -> Arc<RouteFeed> {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let feed = || {
            Arc::new(RouteFeed {
                name: name.as_str().into(),
                source: source.clone(),
                stat_prefix: format!("{http_prefix}rds.{name}."),
                generation: AtomicU64::new(0),
                table: RwLock::new(Arc::new(RouteTable::empty(&name))),
            })
        };
        Arc::clone(feeds.entry((source.clone(), name.clone())).or_insert_with(feed))
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<RouteFeed>> {
        let feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = feeds.values().cloned().collect();
        all.sort_by(|a, b| (&a.name, &a.source.path).cmp(&(&b.name, &b.source.path)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_subscriptions_share_a_table_and_see_the_next_one() {
        let feeds = RouteFeeds::default();
        let source = FileSource { path: "/r".into(), directory: None };
        let one = feeds.subscribe(source.clone(), "r".into(), "http.a.");
        let other = feeds.subscribe(source.clone(), "r".into(), "http.b.");
        assert!(Arc::ptr_eq(&one, &other) && feeds.all().len() == 1);
        assert_eq!(one.stat_prefix, "http.a.rds.r.");
        let before = other.generation();
        one.publish(Arc::new(RouteTable::empty("new")));
        let (generation, table) = other.current();
        assert!(generation != before && &**table.name() == "new");
        feeds.subscribe(source, "s".into(), "http.a.");
        assert_eq!(feeds.all().len(), 2);
    }
}
