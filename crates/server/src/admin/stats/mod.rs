//! `/stats`, `/stats/prometheus` and `/reset_counters`.

mod bins;
mod prometheus;
mod sample;
mod tags;
mod text;

pub use sample::History;

use super::Admin;
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
}

/// Which stats are wanted.
struct Filter<'a> {
    config: &'a StatsConfig,
    used_only: bool,
    search: Option<Search>,
    invert: bool,
    kind: Option<Kind>,
}

impl<'a> Filter<'a> {
    fn of(request: &Request, config: &'a StatsConfig) -> Result<Self, Response> {
        let search = match request.non_empty("filter").map(Search::new).transpose() {
            Ok(search) => search,
            Err(error) => return Err(Response::error(400, format!("Invalid re2 regex: {error}"))),
        };
        let kind = match request.non_empty("type") {
            None | Some("All") => None,
            Some("Counters") => Some(Kind::Counter),
            Some("Gauges") => Some(Kind::Gauge),
            Some("Histograms") => Some(Kind::Histogram),
            Some("TextReadouts") => Some(Kind::Text),
            Some(_) => return Err(Response::error(400, "invalid &type= param")),
        };
        Ok(Self {
            config,
            used_only: request.has("usedonly"),
            search,
            invert: request.has("invert_filter"),
            kind,
        })
    }

    fn takes_name(&self, name: &str) -> bool {
        self.config.shows(name) && self.search.as_ref().is_none_or(|s| s.is_match(name) != self.invert)
    }

    /// Whether no name is left out.
    fn takes_all_names(&self) -> bool {
        self.search.is_none() && self.config.shows_all()
    }

    fn takes_kind(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|k| k == kind)
    }
}

fn buckets(request: &Request) -> Result<Option<Buckets>, Response> {
    const USAGE: &str =
        "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n";
    match request.non_empty("histogram_buckets") {
        None => Ok(None),
        Some("summary") => Ok(Some(Buckets::Summary)),
        Some("cumulative") => Ok(Some(Buckets::Cumulative)),
        Some("disjoint") => Ok(Some(Buckets::Disjoint)),
        Some("detailed") => Ok(Some(Buckets::Detailed)),
        Some(_) => Err(Response::error(400, USAGE)),
    }
}

/// `/stats`.
pub(super) fn stats(admin: &Admin, request: &Request) -> Response {
    answer(admin, request).unwrap_or_else(|refused| refused)
}

fn answer(admin: &Admin, request: &Request) -> Result<Response, Response> {
    let format = match request.non_empty("format") {
        None | Some("text") => Format::Text,
        Some("json") => Format::Json,
        Some("html" | "active-html") => Format::Html,
        Some("prometheus") => Format::Prometheus,
        Some(_) => {
            return Err(Response::error(
                400,
                "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n",
            ));
        }
    };
    let filter = Filter::of(request, &admin.stats_config)?;
    let buckets = buckets(request)?;
    refresh(admin);
    let history = admin.history.borrow();
    if format == Format::Prometheus {
        let out = prometheus::print(&admin.registry, &history, &filter, buckets, &admin.stats_config);
        return Ok(Response::text(Body::Pieces(Box::new(out))));
    }
    let samples = sample::collect(&admin.registry, &history, &filter);
    let buckets = buckets.unwrap_or(Buckets::Summary);
    Ok(match format {
        Format::Json => Response::json(text::json(&samples, buckets)),
        Format::Html => Response::html(text::html(&samples, buckets)),
        Format::Text | Format::Prometheus => Response::text(text::print(&samples, buckets)),
    })
}

/// `/stats/prometheus`.
pub(super) fn prometheus(admin: &Admin, request: &Request) -> Response {
    let (filter, buckets) = match (Filter::of(request, &admin.stats_config), buckets(request)) {
        (Ok(filter), Ok(buckets)) => (filter, buckets),
        (Err(refused), _) | (_, Err(refused)) => return refused,
    };
    refresh(admin);
    let history = admin.history.borrow();
    let out = prometheus::print(&admin.registry, &history, &filter, buckets, &admin.stats_config);
    Response::text(Body::Pieces(Box::new(out)))
}

/// `/reset_counters`: what counters show from now on is what they have gained since.
pub(super) fn reset_counters(admin: &Admin, _: &Request) -> Response {
    admin.history.borrow_mut().reset(&admin.registry);
    Response::ok()
}

/// Brings the gauges that describe the process up to date.
fn refresh(admin: &Admin) {
    if let Some(stats) = &admin.stats {
        stats.refresh(Moment {
            uptime: admin.clock.now().duration_since(admin.started),
            state: admin.state(),
            connections: (admin.connections)(),
        });
    }
}
