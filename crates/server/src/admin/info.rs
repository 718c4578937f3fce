//! The endpoints that tell about the process.

use super::json::pretty;
use super::request::{Request, Response};
use super::{Admin, State};
use crate::cli::{self, DrainStrategy, IpVersion, Mode, Options};
use crate::memory::Memory;
use serde_json::{Value, json};

/// `/ready`.
pub(super) fn ready(admin: &Admin, _: &Request) -> Response {
    let state = admin.state();
    let text = format!("{}\n", state.name());
    if state == State::Live { Response::text(text) } else { Response::error(503, text) }
}

/// `/hot_restart_version`.
pub(super) fn hot_restart_version(admin: &Admin, _: &Request) -> Response {
    Response::text(hot_restart(&admin.options))
}

fn hot_restart(options: &Options) -> &'static str {
    if options.disable_hot_restart { "disabled" } else { cli::HOT_RESTART_VERSION }
}

/// `/init_dump`: nothing waits, since configuration is read before the admin port opens.
pub(super) fn init_dump(_: &Admin, _: &Request) -> Response {
    Response::json("{}\n")
}

/// `/heapprofiler`.
pub(super) fn heap_profiler(_: &Admin, _: &Request) -> Response {
    Response::error(501, "The current build does not support heap profiler")
}

/// `/heap_dump`, `/peak_heap_dump` and `/memory/tcmalloc`, which look into an allocator that this process does not
/// have.
pub(super) fn no_heap_dump(_: &Admin, _: &Request) -> Response {
    Response::error(501, "Heap dump is not supported in current build")
}

/// `/cpuprofiler` and `/allocprofiler`: there is nothing to start.
pub(super) fn profiler(_: &Admin, request: &Request) -> Response {
    let cpu = request.path == "/cpuprofiler";
    match request.get("enable") {
        Some("y") => Response::error(500, "failure to start the profiler"),
        Some("n") if cpu => Response::ok(),
        Some("n") => Response::error(400, "Allocation profiler is not started"),
        _ => Response::error(400, "?enable=<y|n>\n"),
    }
}

/// `/contention`: nothing traces mutexes.
pub(super) fn contention(_: &Admin, _: &Request) -> Response {
    Response::text(
        "Mutex contention tracing is not enabled. To enable, run Envoy with flag --enable-mutex-tracing.",
    )
}

/// `/stats/recentlookups`: no stat is looked up by name while running, so that the list stays empty.
pub(super) fn lookups(admin: &Admin, _: &Request) -> Response {
    Response::text(if admin.lookups.get() {
        "   Count Lookup\n\ntotal: 0\n"
    } else {
        "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n\ntotal: 0\n"
    })
}

/// `/stats/recentlookups/enable`.
pub(super) fn enable_lookups(admin: &Admin, _: &Request) -> Response {
    admin.lookups.set(true);
    Response::ok()
}

/// `/stats/recentlookups/disable`.
pub(super) fn disable_lookups(admin: &Admin, _: &Request) -> Response {
    admin.lookups.set(false);
    Response::ok()
}

/// `/stats/recentlookups/clear`.
pub(super) fn clear_lookups(_: &Admin, _: &Request) -> Response {
    Response::ok()
}

/// `/memory`. The allocator keeps no books, so that these are the kernel's: what is resident and private
/// stands for what is allocated, the data segment for the heap.
pub(super) fn memory(_: &Admin, _: &Request) -> Response {
    let m = Memory::read();
    Response::json(pretty(&json!({
        "allocated": m.allocated.to_string(),
        "heap_size": m.heap.to_string(),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": m.physical.to_string(),
    })))
}

/// `/server_info`.
pub(super) fn server_info(admin: &Admin, _: &Request) -> Response {
    let uptime = format!("{}s", admin.clock.now().duration_since(admin.started).as_secs());
    Response::json(pretty(&json!({
        "version": cli::version(),
        "state": admin.state().name(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": hot_restart(&admin.options),
        "command_line_options": command_line(&admin.options),
        "node": admin.node,
        "hot_restart_initializing": false,
    })))
}

/// `envoy.admin.v3.CommandLineOptions`, defaults included.
fn command_line(o: &Options) -> Value {
    let seconds = |s: u32| format!("{s}s");
    let millis = o.file_flush_interval_msec;
    let flush = match millis % 1_000 {
        0 => format!("{}s", millis / 1_000),
        rest => format!("{}.{rest:03}s", millis / 1_000),
    };
    let list = |text: &str| Value::from(text.split(',').filter(|s| !s.is_empty()).collect::<Vec<_>>());
    json!({
        "base_id": o.base_id.to_string(),
        "concurrency": o.concurrency(),
        "config_path": o.config_path,
        "config_yaml": o.config_yaml,
        "allow_unknown_static_fields": o.allow_unknown_static_fields,
        "admin_address_path": o.admin_address_path,
        "local_address_ip_version": match o.local_address_ip_version {
            IpVersion::V4 => "v4",
            IpVersion::V6 => "v6",
        },
        "log_level": o.log_level,
        "component_log_level": o.component_log_level,
        "log_format": o.log_format(),
        "log_path": o.log_path,
        "service_cluster": o.service_cluster,
        "service_node": o.service_node,
        "service_zone": o.service_zone,
        "file_flush_interval": flush,
        "drain_time": seconds(o.drain_time_s),
        "parent_shutdown_time": seconds(o.parent_shutdown_time_s),
        "mode": match o.mode {
            Mode::Serve => "Serve",
            Mode::Validate => "Validate",
            Mode::InitOnly => "InitOnly",
        },
        "disable_hot_restart": o.disable_hot_restart,
        "enable_mutex_tracing": o.enable_mutex_tracing,
        "restart_epoch": o.restart_epoch,
        "cpuset_threads": o.cpuset_threads,
        "reject_unknown_dynamic_fields": o.reject_unknown_dynamic_fields,
        "log_format_escaped": o.log_format_escaped,
        "disabled_extensions": list(&o.disable_extensions),
        "ignore_unknown_dynamic_fields": o.ignore_unknown_dynamic_fields,
        "use_dynamic_base_id": o.use_dynamic_base_id,
        "base_id_path": o.base_id_path,
        "drain_strategy": match o.drain_strategy {
            DrainStrategy::Gradual => "Gradual",
            DrainStrategy::Immediate => "Immediate",
        },
        "enable_fine_grain_logging": o.enable_fine_grain_logging,
        "socket_path": o.socket_path,
        "socket_mode": u32::from_str_radix(&o.socket_mode, 8).unwrap_or(0),
        "enable_core_dump": o.enable_core_dump,
        "stats_tag": o.stats_tag,
        "skip_hot_restart_on_no_parent": o.skip_hot_restart_on_no_parent,
        "skip_hot_restart_parent_stats": o.skip_hot_restart_parent_stats,
        "skip_deprecated_logs": o.skip_deprecated_logs,
        // Envoy never fills it in.
        "file_flush_min_size": 0,
        "log_stacktrace_single_entry": o.log_stacktrace_single_entry,
    })
}
