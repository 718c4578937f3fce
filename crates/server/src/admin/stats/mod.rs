//! `/stats`, `/stats/prometheus` and `/reset_counters`.

mod bins;
mod endpoints;
mod native;
mod prometheus;
mod protobuf;
mod sample;
mod tags;
mod text;

pub(super) use bins::general;
pub(super) use endpoints::tell as tell_endpoints;
pub use sample::History;

use super::Admin;
use super::certs::days_until;
use super::request::{Body, Request, Response};
use super::search::Search;
use crate::stats::Moment;
use nuncio_core::stats::StatsConfig;
use sample::Kind;

#[cfg(test)]
mod tests;

/// How `/stats` is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    Html,
    Prometheus,
}

/// How a histogram is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Buckets {
    Summary,
    Cumulative,
    Disjoint,
    Detailed,
    /// Of Prometheus' protobuf format only.
    Native {
        /// How many buckets a histogram has at most.
        most_buckets: u32,
    },
}

/// Which stats are wanted.
struct Filter<'a> {
    config: &'a StatsConfig,
    used_only: bool,
    search: Option<Search>,
    invert: bool,
    kind: Option<Kind>,
}

/// What a request for stats asks.
struct Query<'a> {
    filter: Filter<'a>,
    buckets: Option<Buckets>,
    format: Format,
}

impl<'a> Query<'a> {
    /// Reads it; what is wrong first is answered.
    fn of(request: &Request, config: &'a StatsConfig) -> Result<Self, Response> {
        let search = match request.non_empty("filter").map(Search::new).transpose() {
            Ok(search) => search,
            Err(error) => return Err(Response::error(400, format!("Invalid re2 regex: {error}"))),
        };
        let most_buckets =
            match request.non_empty("native_histogram_max_buckets").map(|most| most.trim().parse()) {
                None => native::MOST_BUCKETS,
                Some(Ok(most)) if most > 0 => most,
                Some(_) => {
                    let why = "invalid native_histogram_max_buckets value: must be a positive integer";
                    return Err(Response::error(400, why));
                }
            };
        let buckets = match request.non_empty("histogram_buckets") {
            None => None,
            Some("summary" | "none") => Some(Buckets::Summary),
            Some("cumulative") => Some(Buckets::Cumulative),
            Some("disjoint") => Some(Buckets::Disjoint),
            Some("detailed") => Some(Buckets::Detailed),
            Some("prometheusnative") => Some(Buckets::Native { most_buckets }),
            Some(_) => {
                return Err(Response::error(
                    400,
                    "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n",
                ));
            }
        };
        let kind = match request.non_empty("type") {
            None | Some("All") => None,
            Some("Counters") => Some(Kind::Counter),
            Some("Gauges") => Some(Kind::Gauge),
            Some("Histograms") => Some(Kind::Histogram),
            Some("TextReadouts") => Some(Kind::Text),
            Some(_) => return Err(Response::error(400, "invalid &type= param")),
        };
        let format = match request.non_empty("format") {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json,
            Some("html" | "active-html") => Format::Html,
            Some("prometheus") => Format::Prometheus,
            Some(_) => {
                let usage = "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n";
                return Err(Response::error(400, usage));
            }
        };
        let hidden = match request.non_empty("hidden") {
            None | Some("include" | "exclude") => false,
            // No stat of ours is hidden.
            Some("only") => true,
            Some(_) => return Err(Response::error(400, "usage: /stats?hidden=(include|only|exclude)\n\n")),
        };
        let filter = Filter {
            config,
            used_only: request.has("usedonly"),
            search,
            invert: request.has("invert_filter"),
            kind: if hidden { Some(Kind::Hidden) } else { kind },
        };
        Ok(Self { filter, buckets, format })
    }
}

impl Filter<'_> {
    fn takes_name(&self, name: &str) -> bool {
        self.config.shows(name) && self.finds_name(name)
    }

    /// As [`takes_name`](Self::takes_name), for stats that `stats_matcher` does not know.
    fn finds_name(&self, name: &str) -> bool {
        self.search.as_ref().is_none_or(|s| s.is_match(name) != self.invert)
    }

    /// Whether no name is left out.
    fn takes_all_names(&self) -> bool {
        self.search.is_none() && self.config.shows_all()
    }

    fn takes_kind(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|k| k == kind)
    }
}

/// `/stats`.
pub(super) fn stats(admin: &Admin, request: &Request) -> Response {
    let Query { filter, buckets, format } = match Query::of(request, &admin.stats_config) {
        Ok(query) => query,
        Err(refused) => return refused,
    };
    if format == Format::Prometheus {
        return exposition(admin, request, filter, buckets);
    }
    if matches!(buckets, Some(Buckets::Native { .. })) {
        return Response::error(400, "Invalid histogram_buckets type for non prometheus stats type");
    }
    refresh(admin);
    let mut samples = sample::collect(&admin.registry, &admin.history.borrow(), &filter);
    endpoints::append(&admin.clusters.borrow(), &filter, &mut samples);
    flush_on_admin(admin);
    let buckets = buckets.unwrap_or(Buckets::Summary);
    match format {
        Format::Json => Response::json(text::json(&samples, buckets)),
        Format::Html => Response::html(text::html(&samples, buckets)),
        Format::Text | Format::Prometheus => Response::text(text::print(&samples, buckets)),
    }
}

/// `/stats/prometheus`, whatever `format` says.
pub(super) fn prometheus(admin: &Admin, request: &Request) -> Response {
    match Query::of(request, &admin.stats_config) {
        Ok(Query { filter, buckets, .. }) => exposition(admin, request, filter, buckets),
        Err(refused) => refused,
    }
}

fn exposition(admin: &Admin, request: &Request, filter: Filter<'_>, buckets: Option<Buckets>) -> Response {
    let as_protobuf = request.has("prom_protobuf") || protobuf::accepted(&request.accept);
    match buckets {
        Some(Buckets::Disjoint | Buckets::Detailed) => {
            return Response::error(400, "unsupported prometheus histogram bucket mode");
        }
        Some(Buckets::Native { .. }) if !as_protobuf => {
            let why = "unsupported prometheusnative histogram type when not using protobuf exposition format";
            return Response::error(400, why);
        }
        None | Some(Buckets::Summary | Buckets::Cumulative | Buckets::Native { .. }) => {}
    }
    refresh(admin);
    // All types are shown, whichever is asked for.
    let kind = filter.kind.filter(|k| *k == Kind::Hidden);
    let filter = Filter { kind, ..filter };
    let mut out =
        prometheus::print(&admin.registry, &admin.history.borrow(), &filter, buckets, &admin.stats_config);
    endpoints::print(&admin.clusters.borrow(), &filter, &mut out);
    flush_on_admin(admin);
    if as_protobuf {
        let body = Body::Pieces(Box::new(out.protobuf()));
        return Response { status: 200, content_type: protobuf::CONTENT_TYPE, body };
    }
    Response::text(Body::Pieces(Box::new(out)))
}

/// `/reset_counters`: what counters show from now on is what they have gained since.
pub(super) fn reset_counters(admin: &Admin, _: &Request) -> Response {
    admin.history.borrow_mut().reset(&admin.registry);
    Response::ok()
}

/// Flushes where nothing but a request does. What it merges shows with the next request, as in Envoy.
fn flush_on_admin(admin: &Admin) {
    if admin.flush_interval.is_none() {
        admin.flush();
    }
}

/// Brings the gauges that describe the process up to date.
pub(super) fn refresh(admin: &Admin) {
    if let Some(stats) = &admin.stats {
        stats.refresh(Moment {
            uptime: admin.clock.now().duration_since(admin.started),
            state: admin.state(),
            connections: (admin.connections)(),
            days_left: admin.tls.first_expiry().map(|end| days_until(Some(end), admin.clock.wall())),
        });
    }
}
