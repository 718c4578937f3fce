//! The overload manager: measures resources again and again, and asks the others for what its triggers say.

mod config;
mod monitor;
mod stats;
mod told;

pub use config::OverloadConfig;
pub use stats::OverloadCounts;

use crate::stats::OverloadStats;
use config::{ActionConfig, Effect, Triggered};
use monitor::Monitor;
use nuncio_core::clock::Clock;
use nuncio_core::overload::{Level, Overload};
use nuncio_core::stats::{Registry, Scope};
use nuncio_net::sys;
use stats::{ActionStats, MonitorStats, PointStats, ShrinkStats};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// The overload manager of the process; the main thread runs it.
pub struct OverloadManager {
    overload: Arc<Overload>,
    refresh: Duration,
    clock: Clock,
    monitors: Vec<(Monitor, Scope<MonitorStats>)>,
    /// What each resource came to last.
    pressures: Vec<f64>,
    actions: Vec<Action>,
    points: Vec<(Triggered, Scope<PointStats>)>,
    stats: Scope<OverloadStats>,
}

/// A live action.
struct Action {
    config: ActionConfig,
    stats: Scope<ActionStats>,
    level: f64,
    shrinks: Option<Shrinks>,
}

/// `shrink_heap`
struct Shrinks {
    every: Duration,
    keep: u64,
    next: Instant,
    stats: Scope<ShrinkStats>,
}

impl OverloadManager {
    /// Starts to watch what `config` names. Must be called on the main thread's runtime.
    ///
    /// # Errors
    /// Where a file's directory cannot be watched.
    pub fn start(
        config: OverloadConfig,
        overload: Arc<Overload>,
        registry: &Registry,
        (clock, stats): (&Clock, Scope<OverloadStats>),
    ) -> io::Result<Self> {
        let OverloadConfig { refresh, connection_limit: _, monitors, actions, points } = config;
        let pressures = vec![0.0; monitors.len()];
        let monitors = monitors.iter().map(|(name, monitor)| {
            let stats: Scope<MonitorStats> = registry.scope(&format!("overload.{name}."));
            stats.pressure.set(0);
            Ok((monitor.start()?, stats))
        });
        let now = clock.now();
        let actions = actions.into_iter().map(|config| {
            let prefix = format!("overload.{}.", config.of.name);
            let stats: Scope<ActionStats> = registry.scope(&prefix);
            stats.active.set(0);
            stats.scale_percent.set(0);
            let shrinks = match config.effect {
                Effect::ShrinkHeap { every, keep } => {
                    Some(Shrinks { every, keep, next: now + every, stats: registry.scope(&prefix) })
                }
                Effect::Level | Effect::Timers(_) => None,
            };
            Action { config, stats, level: 0.0, shrinks }
        });
        let points = points.into_iter().map(|point| {
            let stats: Scope<PointStats> = registry.scope(&format!("overload.{}.", point.name));
            stats.scale_percent.set(0);
            (point, stats)
        });
        Ok(Self {
            monitors: monitors.collect::<io::Result<_>>()?,
            actions: actions.collect(),
            points: points.collect(),
            stats,
            clock: clock.clone(),
            overload,
            refresh,
            pressures,
        })
    }

    /// Measures for ever; calls `tell` when those have to learn of a change who wait.
    pub async fn run(mut self, tell: impl Fn()) {
        if self.monitors.is_empty() {
            return std::future::pending().await;
        }
        let mut ticks = tokio::time::interval(self.refresh);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut last = self.clock.now();
        loop {
            ticks.tick().await;
            let now = self.clock.now();
            let took = now.saturating_duration_since(last).saturating_sub(self.refresh);
            self.stats.refresh_interval_delay.record(took.as_millis() as u64);
            last = now;
            if self.turn(now) {
                self.overload.changed();
                tell();
            }
        }
    }

    /// Measures once; whether those have to learn of it who wait.
    fn turn(&mut self, now: Instant) -> bool {
        for ((monitor, stats), last) in self.monitors.iter_mut().zip(&mut self.pressures) {
            match monitor.measure() {
                Ok(pressure) => {
                    stats.pressure.set(percent(pressure));
                    *last = pressure;
                }
                Err(_) => stats.failed_updates.inc(),
            }
        }
        let mut wakes = false;
        for action in &mut self.actions {
            wakes |= action.follow(&self.pressures, &self.overload, now);
        }
        for (point, stats) in &self.points {
            let level = point.level(&self.pressures);
            stats.scale_percent.set(percent(level));
            if let Some(point) = self.overload.points.named(&point.name) {
                point.level.set(level);
            }
        }
        wakes
    }
}

impl Action {
    /// Takes its level from these pressures; whether those have to learn of it who wait.
    fn follow(&mut self, pressures: &[f64], overload: &Overload, now: Instant) -> bool {
        let level = self.config.of.level(pressures);
        if let Some(shrinks) = self.shrinks.as_mut().filter(|s| s.next <= now) {
            shrinks.next = now + shrinks.every;
            if level >= 1.0 {
                sys::release_free_memory(shrinks.keep);
                shrinks.stats.shrink_count.inc();
            }
        }
        if level == self.level {
            return false;
        }
        self.level = level;
        self.stats.active.set((level >= 1.0).into());
        self.stats.scale_percent.set(percent(level));
        match &self.config.effect {
            Effect::Level => {
                let own = overload.level(&self.config.of.name);
                own.into_iter().for_each(|own: &Level| own.set(level));
                own.is_some_and(|own| std::ptr::eq(own, &overload.stop_accepting_connections))
            }
            Effect::Timers(timers) => {
                let scaled = timers.iter().filter_map(|(timer, _)| overload.timers.get(*timer));
                scaled.for_each(|timer| timer.level.set(level));
                true
            }
            Effect::ShrinkHeap { .. } => false,
        }
    }
}

/// As Envoy counts: in whole percent, of a number of single precision.
fn percent(part: f64) -> u64 {
    (part as f32 * 100.0) as u64
}
