//! What the overload manager shows of itself, below `overload.`.

use super::OverloadConfig;
use super::monitor::CONNECTIONS;
use nuncio_core::overload::{ConnectionLimit, Overload};
use nuncio_core::stats::{Counter, Registry, Scope};
use std::sync::Arc;

nuncio_core::stats_block! {
    /// `overload.NAME.` of a resource that is measured.
    pub struct MonitorStats {
        counter failed_updates,
        counter skipped_updates,
        gauge pressure,
    }
}

nuncio_core::stats_block! {
    /// `overload.NAME.` of a resource that is counted whenever it changes.
    pub struct CountedStats {
        counter failed_updates,
        gauge pressure,
    }
}

nuncio_core::stats_block! {
    /// `overload.NAME.` of an action.
    pub struct ActionStats {
        gauge active,
        gauge scale_percent,
    }
}

nuncio_core::stats_block! {
    /// `overload.NAME.` of `shrink_heap`, besides.
    pub struct ShrinkStats {
        counter shrink_count,
    }
}

nuncio_core::stats_block! {
    /// `overload.NAME.` of a load shed point.
    pub struct PointStats {
        gauge scale_percent,
    }
}

nuncio_core::stats_block! {
    /// The same: what workers count.
    pub struct ShedStats {
        counter shed_load_count,
    }
}

/// What workers count on behalf of the overload manager, brought to the stats whenever those are read.
pub struct OverloadCounts {
    overload: Arc<Overload>,
    connections: Option<Scope<CountedStats>>,
    points: Vec<(Box<str>, Scope<ShedStats>)>,
}

impl OverloadCounts {
    /// Registers them.
    pub fn new(config: &OverloadConfig, overload: &Arc<Overload>, registry: &Registry) -> Self {
        let connections = config.connection_limit.map(|_| {
            let scope: Scope<CountedStats> = registry.scope(&format!("overload.{CONNECTIONS}."));
            scope.pressure.set(0);
            scope
        });
        let point = |name: &str| (name.into(), registry.scope(&format!("overload.{name}.")));
        let points = config.points.iter().map(|p| point(&p.name)).collect();
        Self { overload: Arc::clone(overload), connections, points }
    }

    /// Brings them up to date.
    pub fn refresh(&self) {
        let follow = |counter: &Counter, n: u64| counter.add(n.saturating_sub(counter.value()));
        if let Some(stats) = &self.connections {
            let refused = self.overload.connection_limit.as_ref().map_or(0, ConnectionLimit::refused);
            follow(&stats.failed_updates, refused);
        }
        for (name, stats) in &self.points {
            if let Some(point) = self.overload.points.named(name) {
                follow(&stats.shed_load_count, point.shed());
            }
        }
    }
}
