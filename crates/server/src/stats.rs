//! The stats that belong to the process as a whole, with Envoy's names. The main thread is their writer.

use crate::admin::State;
use crate::cli::{self, Options};
use crate::memory::Memory;
use crate::overload::OverloadCounts;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::{Registry, Scope};
use nuncio_downstream::hcm::stats::RouterStats;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::time::Duration;

nuncio_core::stats_block! {
    /// `server.`
    pub struct ServerStats {
        counter debug_assertion_failures,
        counter dropped_stat_flushes,
        counter dynamic_unknown_fields,
        counter envoy_bug_failures,
        counter envoy_notifications,
        counter static_unknown_fields,
        counter wip_protos,
        gauge fips_mode = "compilation_settings.fips_mode",
        gauge concurrency,
        gauge days_until_first_cert_expiring,
        gauge hot_restart_epoch,
        gauge live,
        gauge memory_allocated,
        gauge memory_heap_size,
        gauge memory_physical_size,
        gauge parent_connections,
        gauge seconds_until_first_ocsp_response_expiring,
        gauge state,
        gauge stats_recent_lookups,
        gauge total_connections,
        gauge uptime,
        gauge version,
        histogram initialization_time_ms,
    }
}

nuncio_core::stats_block! {
    /// `server.`, unless hot restarts are switched off.
    pub struct HotRestartStats {
        gauge hot_restart_generation,
    }
}

nuncio_core::stats_block! {
    /// `main_thread.`, `workers.`, `server.main_thread.` and `server.worker_N.`: nothing watches the threads,
    /// so that nothing is ever missed.
    pub struct WatchdogStats {
        counter watchdog_mega_miss,
        counter watchdog_miss,
    }
}

nuncio_core::stats_block! {
    /// `listener_manager.`
    pub struct ListenerManagerStats {
        counter listener_added,
        counter listener_create_failure,
        counter listener_create_success,
        counter listener_in_place_updated,
        counter listener_modified,
        counter listener_removed,
        counter listener_stopped,
        gauge total_filter_chains_draining,
        gauge total_listeners_active,
        gauge total_listeners_draining,
        gauge total_listeners_warming,
        gauge workers_pinned,
        gauge workers_started,
    }
}

nuncio_core::stats_block! {
    /// `runtime.`
    pub struct RuntimeStats {
        counter deprecated_feature_use,
        counter load_error,
        counter load_success,
        counter override_dir_exists,
        counter override_dir_not_exists,
        gauge admin_overrides_active,
        gauge deprecated_feature_seen_since_process_start,
        gauge num_keys,
        gauge num_layers,
    }
}

nuncio_core::stats_block! {
    /// `thread_local_cluster_manager.THREAD.`
    pub struct ThreadClustersStats {
        gauge clusters_inflated,
    }
}

nuncio_core::stats_block! {
    /// The two stats of the overload manager that are always there.
    pub struct OverloadStats {
        counter reset_high_memory_stream = "envoy.overload_actions.reset_high_memory_stream.count",
        histogram refresh_interval_delay = "overload.refresh_interval_delay",
    }
}

/// All of them, registered for as long as this lives.
pub struct ProcessStats {
    /// `server.`
    pub server: Scope<ServerStats>,
    /// `listener_manager.`
    pub listeners: Scope<ListenerManagerStats>,
    /// `runtime.`
    pub runtime: Scope<RuntimeStats>,
    _watchdogs: Vec<Scope<WatchdogStats>>,
    /// `http.async-client.`: requests that the server makes itself.
    _async_client: Scope<RouterStats>,
    _threads: Vec<Scope<ThreadClustersStats>>,
    /// Of the overload manager, whether there is one or not.
    pub overload: Scope<OverloadStats>,
    _hot_restart: Option<Scope<HotRestartStats>>,
    /// What workers count on behalf of the overload manager, where there is one.
    pub overload_counts: OnceCell<OverloadCounts>,
}

/// What the gauges of `server.` show at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since the start.
    pub uptime: Duration,
    /// The server's state.
    pub state: State,
    /// Downstream connections open.
    pub connections: u64,
    /// Whole days until the first certificate expires, where there is one.
    pub days_left: Option<u64>,
}

impl ProcessStats {
    /// Registers them for a process whose workers hold `clusters` clusters each.
    pub fn new(registry: &Registry, options: &Options, clusters: u64) -> Self {
        let workers = options.concurrency();
        let names = || (0..workers).map(|n| format!("worker_{n}")).chain(["main_thread".to_owned()]);
        let watchdogs = ["main_thread.".to_owned(), "workers.".to_owned()]
            .into_iter()
            .chain(names().map(|n| format!("server.{n}.")))
            .map(|prefix| registry.scope(&prefix))
            .collect();
        let threads = names()
            .map(|n| {
                let scope: Scope<ThreadClustersStats> =
                    registry.scope(&format!("thread_local_cluster_manager.{n}."));
                scope.clusters_inflated.set(clusters);
                scope
            })
            .collect();
        let server: Scope<ServerStats> = registry.scope("server.");
        server.concurrency.set(workers.into());
        server.version.set(revision());
        let hot_restart = (!options.disable_hot_restart).then(|| {
            let scope: Scope<HotRestartStats> = registry.scope("server.");
            scope.hot_restart_generation.set(1);
            scope
        });
        let stats = Self {
            server,
            listeners: registry.scope("listener_manager."),
            runtime: registry.scope("runtime."),
            _watchdogs: watchdogs,
            _async_client: registry.scope("http.async-client."),
            _threads: threads,
            overload: registry.scope(""),
            _hot_restart: hot_restart,
            overload_counts: OnceCell::new(),
        };
        // Envoy has written these by the time it serves, which `usedonly` tells.
        stats.server.fips_mode.set(0);
        stats.server.stats_recent_lookups.set(0);
        stats.listeners.total_listeners_warming.set(0);
        stats
    }

    /// Sets `server.state`, which as in Envoy follows at flushes only.
    pub fn flush(&self, state: State) {
        self.server.state.set(state as u64);
    }

    /// Brings the gauges up to date.
    pub fn refresh(&self, now: Moment) {
        let memory = Memory::read();
        let s = &self.server;
        s.uptime.set(now.uptime.as_secs());
        s.live.set((now.state == State::Live).into());
        s.total_connections.set(now.connections);
        self.overload_counts.get().into_iter().for_each(OverloadCounts::refresh);
        s.days_until_first_cert_expiring.set(now.days_left.unwrap_or(u32::MAX.into()));
        s.memory_allocated.set(memory.allocated);
        s.memory_heap_size.set(memory.heap);
        s.memory_physical_size.set(memory.physical);
    }
}

impl ProcessStats {
    /// Counts static listeners that came up.
    pub fn count_listeners(&self, n: u64) {
        self.listeners.listener_added.add(n);
        self.listeners.listener_create_success.add(n);
        self.listeners.total_listeners_active.set(n);
    }

    /// Counts a snapshot of the runtime layers, and tells how many there are and of how many keys.
    pub fn count_runtime(&self, runtime: &Runtime) {
        let layers = runtime.layers();
        let keys: BTreeSet<&str> = layers.iter().flat_map(|l| l.values.keys().map(|k| &**k)).collect();
        let overrides = layers.iter().any(|l| l.admin && !l.values.is_empty());
        self.runtime.load_success.inc();
        self.runtime.override_dir_not_exists.inc();
        self.runtime.num_layers.set(layers.len() as u64);
        self.runtime.num_keys.set(keys.len() as u64);
        self.runtime.admin_overrides_active.follow(overrides.into());
    }
}

/// The first six digits of the revision, as a number.
fn revision() -> u64 {
    cli::version().get(..6).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}
