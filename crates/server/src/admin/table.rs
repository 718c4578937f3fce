//! The endpoints: one row each, in the order in which they are listed.

use super::request::{Request, Response};
use super::{Admin, actions, certs, clusters, config_dump, help, info, listeners, logging, runtime, stats};
use crate::explain;

/// Whether an endpoint changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// It does not; any method will do.
    Get,
    /// It does; only POST will do.
    Post,
}

/// What a parameter looks like in a form.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Flag,
    Text,
    OneOf(&'static [&'static str]),
}

#[derive(Debug)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) shape: Shape,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    pub(super) help: &'static str,
    pub(super) method: Method,
    pub(super) params: &'static [Param],
    pub(super) run: fn(&Admin, &Request) -> Response,
    /// It stands in the lists, which are Envoy's.
    pub(super) listed: bool,
}

const fn get(
    path: &'static str,
    help: &'static str,
    params: &'static [Param],
    run: fn(&Admin, &Request) -> Response,
) -> Endpoint {
    Endpoint { path, help, method: Method::Get, params, run, listed: true }
}

const fn post(
    path: &'static str,
    help: &'static str,
    params: &'static [Param],
    run: fn(&Admin, &Request) -> Response,
) -> Endpoint {
    Endpoint { path, help, method: Method::Post, params, run, listed: true }
}

const fn flag(name: &'static str, help: &'static str) -> Param {
    Param { name, help, shape: Shape::Flag }
}

const fn text(name: &'static str, help: &'static str) -> Param {
    Param { name, help, shape: Shape::Text }
}

const fn one_of(name: &'static str, values: &'static [&'static str], help: &'static str) -> Param {
    Param { name, help, shape: Shape::OneOf(values) }
}

const USED_ONLY: Param =
    flag("usedonly", "Only include stats that have been written by system since restart");
const FILTER: Param = text("filter", "Regular expression (Google re2) for filtering stats");
const INVERT: Param = flag("invert_filter", "Invert the filter regex");

/// Every endpoint. `/` is the first, the others by name.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("/", "Admin home page", &[], help::home),
    post(
        "/allocprofiler",
        "enable/disable the allocation profiler (if supported)",
        &[one_of("enable", &["y", "n"], "Whether it runs")],
        info::profiler,
    ),
    get("/certs", "print certs on machine", &[], certs::certs),
    get(
        "/clusters",
        "upstream cluster status",
        &[
            text("filter", "Regular expression (Google re2) for filtering clusters by name"),
            one_of("format", &["text", "json"], "File format to use"),
        ],
        clusters::clusters,
    ),
    get(
        "/config_dump",
        "dump current Envoy configs",
        &[
            text("resource", "The resource to dump"),
            text("mask", "Field paths to keep, comma-separated; with a resource, below each of its items"),
            text("name_regex", "Dump only the configurations whose names match the regular expression"),
            flag("include_eds", "Dump the endpoints of the clusters as well"),
        ],
        config_dump::config_dump,
    ),
    get("/contention", "dump current Envoy mutex contention stats (if enabled)", &[], info::contention),
    post(
        "/cpuprofiler",
        "enable/disable the CPU profiler",
        &[one_of("enable", &["y", "n"], "Whether it runs")],
        info::profiler,
    ),
    post(
        "/drain_listeners",
        "drain listeners",
        &[
            flag("graceful", "Drain the connections for the drain time before the listeners are closed"),
            flag("skip_exit", "Drain the connections and never close the listeners"),
            flag("inboundonly", "Only listeners with traffic_direction INBOUND"),
        ],
        actions::drain_listeners,
    ),
    Endpoint {
        path: "/explain",
        help: "explain what would become of a request",
        method: Method::Get,
        params: &[],
        run: explain::endpoint,
        listed: false,
    },
    post("/healthcheck/fail", "cause the server to fail health checks", &[], actions::healthcheck_fail),
    post("/healthcheck/ok", "cause the server to pass health checks", &[], actions::healthcheck_ok),
    get("/heap_dump", "dump current Envoy heap (if supported)", &[], info::no_heap_dump),
    post(
        "/heapprofiler",
        "enable/disable the heap profiler",
        &[one_of("enable", &["y", "n"], "Whether it runs")],
        info::heap_profiler,
    ),
    get("/help", "print out list of admin commands", &[], help::help),
    get(
        "/hot_restart_version",
        "print the hot restart compatibility version",
        &[],
        info::hot_restart_version,
    ),
    get(
        "/init_dump",
        "dump current Envoy init manager information (experimental)",
        &[text("mask", "The component whose unready targets to dump, as in mask=listener")],
        info::init_dump,
    ),
    get(
        "/listeners",
        "print listener info",
        &[one_of("format", &["text", "json"], "File format to use")],
        listeners::listeners,
    ),
    post(
        "/logging",
        "query/change logging levels",
        &[
            text("paths", "Change the levels of several loggers: <name>:<level>,<name>:<level>"),
            text("group", "Change a group of loggers (needs fine-grain logging)"),
            one_of(
                "level",
                &["", "trace", "debug", "info", "warning", "error", "critical", "off"],
                "Change the level of all loggers",
            ),
        ],
        logging::logging,
    ),
    get("/memory", "print current allocation/heap usage", &[], info::memory),
    get("/memory/tcmalloc", "print TCMalloc stats", &[], info::no_heap_dump),
    get("/peak_heap_dump", "dump peak Envoy heap (if supported)", &[], info::no_heap_dump),
    post("/quitquitquit", "exit the server", &[], actions::quit),
    get("/ready", "print server state, return 200 if LIVE, otherwise return 503", &[], info::ready),
    post("/reopen_logs", "reopen access logs", &[], actions::reopen_logs),
    post("/reset_counters", "reset all counters to zero", &[], stats::reset_counters),
    get("/runtime", "print runtime values", &[], runtime::runtime),
    post(
        "/runtime_modify",
        "Adds or modifies runtime values as passed in query parameters. To delete a previously added key, use an \
         empty string as the value. Note that deletion only applies to overrides added via this endpoint; values \
         loaded from disk can be modified via override but not deleted. E.g. ?key1=value1&key2=value2...",
        &[],
        runtime::modify,
    ),
    get("/server_info", "print server version/status information", &[], info::server_info),
    get(
        "/stats",
        "print server stats",
        &[
            USED_ONLY,
            FILTER,
            INVERT,
            one_of("format", &["html", "active-html", "text", "json"], "Format to use"),
            one_of(
                "type",
                &["All", "Counters", "Histograms", "Gauges", "TextReadouts"],
                "Stat types to include.",
            ),
            one_of(
                "histogram_buckets",
                &["cumulative", "disjoint", "detailed", "summary"],
                "Histogram bucket display mode",
            ),
        ],
        stats::stats,
    ),
    get(
        "/stats/prometheus",
        "print server stats in prometheus format",
        &[
            USED_ONLY,
            flag("text_readouts", "Render text_readouts as new gauges with value 0"),
            FILTER,
            INVERT,
            one_of("histogram_buckets", &["cumulative", "summary"], "Histogram bucket display mode"),
        ],
        stats::prometheus,
    ),
    get("/stats/recentlookups", "Show recent stat-name lookups", &[], info::lookups),
    post(
        "/stats/recentlookups/clear",
        "clear list of stat-name lookups and counter",
        &[],
        info::clear_lookups,
    ),
    post(
        "/stats/recentlookups/disable",
        "disable recording of reset stat-name lookup names",
        &[],
        info::disable_lookups,
    ),
    post(
        "/stats/recentlookups/enable",
        "enable recording of reset stat-name lookup names",
        &[],
        info::enable_lookups,
    ),
];

/// Finds the endpoint and runs it; 404 for an unknown path, 405 for a change without POST.
pub(super) fn dispatch(admin: &Admin, request: &Request) -> Response {
    let Some(endpoint) = ENDPOINTS.iter().find(|e| e.path == request.path) else {
        return help::not_found();
    };
    if endpoint.method == Method::Post && request.method != "POST" {
        tracing::error!(
            target: "admin",
            "admin path \"{}\" mutates state, method={} rather than POST",
            request.path,
            request.method
        );
        return Response::error(405, format!("Method {} not allowed, POST required.", request.method));
    }
    (endpoint.run)(admin, request)
}
