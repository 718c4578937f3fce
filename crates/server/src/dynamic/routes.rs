//! RDS: route configurations.

use super::Dynamic;
use crate::admin::wire::timestamp_millis;
use nuncio_core::source::{Rejected, ResourceId, Subscriber, Update};
use nuncio_core::stats::Scope;
use nuncio_downstream::hcm::compile_table;
use nuncio_downstream::route::RouteFeed;
use nuncio_proto::near::nearest;
use nuncio_proto::pb::envoy::config::route::v3::RouteConfiguration;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

nuncio_core::stats_block! {
    /// `http.PREFIX.rds.NAME.`, besides what every subscription counts.
    pub struct RouteStats {
        counter config_reload,
        counter update_empty,
        gauge config_reload_time_ms,
    }
}

const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

/// A route configuration that holds.
#[derive(Clone, Debug)]
pub struct DynamicRoute {
    /// Its name.
    pub name: Arc<str>,
    /// `version_info` of the response that it came in.
    pub version: String,
    /// Its wire bytes.
    pub bytes: Vec<u8>,
    /// Since when it holds.
    pub updated: SystemTime,
    feed: Arc<RouteFeed>,
}

/// Compiles route configurations and publishes them to the workers.
pub struct RouteSubscriber {
    dynamic: Rc<Dynamic>,
    feed: Arc<RouteFeed>,
    stats: Scope<RouteStats>,
}

impl RouteSubscriber {
    /// For a feed that connection managers follow.
    pub fn new(dynamic: Rc<Dynamic>, feed: &Arc<RouteFeed>) -> Self {
        Self { stats: dynamic.registry.scope(&feed.stat_prefix), feed: Arc::clone(feed), dynamic }
    }

    /// Whether this very configuration holds already.
    fn holds(&self, bytes: &[u8]) -> bool {
        let known = self.dynamic.routes.borrow();
        known.iter().any(|r| Arc::ptr_eq(&r.feed, &self.feed) && r.bytes == bytes)
    }

    fn keep(&self, version: &str, bytes: &[u8]) {
        let updated = self.dynamic.wall();
        let new = DynamicRoute {
            name: Arc::clone(&self.feed.name),
            version: version.to_owned(),
            bytes: bytes.to_vec(),
            updated,
            feed: Arc::clone(&self.feed),
        };
        self.stats.config_reload.inc();
        self.stats.config_reload_time_ms.set(timestamp_millis(updated));
        let mut known = self.dynamic.routes.borrow_mut();
        match known.iter_mut().find(|r| Arc::ptr_eq(&r.feed, &self.feed)) {
            Some(old) => *old = new,
            None => known.push(new),
        }
    }
}

impl Subscriber for RouteSubscriber {
    fn update(&self, update: &Update<'_>) -> Result<(), Rejected> {
        let message: Option<RouteConfiguration> = update.single("RDS")?;
        let (Some(message), Some(resource)) = (message, update.resources.first()) else {
            self.stats.update_empty.inc();
            return Ok(());
        };
        let cx = update.cx.item("resources", 0);
        let id =
            |name: &str| ResourceId { type_name: ROUTES, name: name.into(), version: update.version.into() };
        if *message.name != *self.feed.name {
            return Err(Rejected::because(format!(
                "Unexpected RDS configuration (expecting {}): {}",
                self.feed.name, message.name
            )));
        }
        if self.holds(&resource.value) {
            return Ok(());
        }
        let clusters = self.dynamic.clusters.borrow();
        let names = || clusters.clusters().iter().map(|c| &*c.config().name);
        let exists = |name: &str| clusters.get(name).is_some();
        let near = |name: &str| nearest(name, names());
        let surroundings = &self.dynamic.surroundings;
        let env = surroundings.env(&exists, &near);
        let refused = || Rejected { resource: Some(id(&self.feed.name)), why: None };
        let table = compile_table(message, &cx, &env, false).ok_or_else(refused)?;
        if cx.has_errors() {
            return Err(refused());
        }
        self.feed.publish(table);
        self.keep(update.version, &resource.value);
        Ok(())
    }
}
