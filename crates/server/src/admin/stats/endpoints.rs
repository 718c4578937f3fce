//! Stats of hosts, where their cluster asks for them (`track_cluster_stats.per_endpoint_stats`). Nobody keeps them by
//! name: what `/clusters` counts is shown as stats, too.

use super::Filter;
use super::prometheus::{Printer, Type};
use super::sample::{History, Kind, Sample};
use super::tags::{self, Tagged};
use crate::admin::clusters::Counts;
use crate::sinks::Told;
use nuncio_core::stats::{self, StatsConfig, Tag};
use nuncio_upstream::host::{Health, HostShared};
use nuncio_upstream::manager::ClusterSet;
use std::borrow::Cow;

/// A host's stats by name, in the order of `/stats`.
fn samples_of(host: &HostShared) -> [(&'static str, Sample); 10] {
    let counts = Counts::of(host);
    let (counter, gauge) = (|n| Sample::Counter(n, true), |n| Sample::Gauge(n, true));
    [
        ("cx_connect_fail", counter(counts.cx_connect_fail)),
        ("cx_total", counter(counts.cx_total)),
        ("rq_error", counter(counts.rq_error)),
        ("rq_success", counter(counts.rq_success)),
        ("rq_timeout", counter(counts.rq_timeout)),
        ("rq_total", counter(counts.rq_total)),
        ("cx_active", gauge(counts.cx_active)),
        ("rq_active", gauge(counts.rq_active)),
        ("rq_pending_active", gauge(counts.rq_pending_active)),
        ("healthy", gauge((host.health_flags().health() == Health::Healthy).into())),
    ]
}

/// Calls `visit` with each such cluster's name in stats and each of its hosts.
fn each(clusters: &ClusterSet, visit: &mut dyn FnMut(&str, &HostShared)) {
    for cluster in clusters.clusters().iter().filter(|c| c.config().track.per_endpoint) {
        let name = &cluster.config().observability_name;
        cluster.hosts().hosts().for_each(|host| visit(name, host));
    }
}

fn full_name(cluster: &str, host: &HostShared, name: &str) -> String {
    format!("cluster.{cluster}.endpoint.{}.{name}", called(host)).replace(':', "_")
}

/// What stats call a host: its own name for them, else its address.
fn called(host: &HostShared) -> Cow<'_, str> {
    let spec = host.spec();
    spec.stat_name.as_deref().map_or_else(|| spec.address.to_string().into(), |name| name.as_str().into())
}

/// Puts those that the filter takes behind all other stats.
pub(super) fn append(clusters: &ClusterSet, filter: &Filter<'_>, out: &mut Vec<(String, Sample)>) {
    each(clusters, &mut |cluster, host| {
        for (name, sample) in samples_of(host) {
            let full = full_name(cluster, host, name);
            if filter.takes_kind(sample.kind()) && filter.finds_name(&full) {
                out.push((full, sample));
            }
        }
    });
}

/// Tells sinks of them: each with its full name, and with its name and tags apart.
pub(crate) fn tell(
    clusters: &ClusterSet,
    history: &mut History,
    config: &StatsConfig,
    tell: &mut dyn FnMut(&str, stats::Tagged, Told),
) {
    each(clusters, &mut |cluster, host| {
        let spec = host.spec();
        for (name, sample) in samples_of(host) {
            let full = full_name(cluster, host, name);
            let told = match sample {
                Sample::Counter(n, _) => Told::Counter(history.gained(&full, n)),
                Sample::Gauge(n, _) => Told::Gauge(n),
                Sample::Histogram(_) | Sample::Text(_) => continue,
            };
            let mut tags = config.extract("").tags;
            let mut tag = |name: &str, value: String| tags.push(Tag { name: name.to_owned(), value });
            tag("envoy.cluster_name", cluster.to_owned());
            tag("envoy.endpoint_address", called(host).into_owned());
            if !spec.hostname.is_empty() {
                tag("envoy.endpoint_hostname", spec.hostname.to_string());
            }
            tell(&full, stats::Tagged { rest: format!("cluster.endpoint.{name}"), tags }, told);
        }
    });
}

/// Puts those that the filter takes behind all other families, counters first.
pub(super) fn print(clusters: &ClusterSet, filter: &Filter<'_>, out: &mut Printer) {
    let mut series: Vec<(Type, &str, String, u64)> = Vec::new();
    each(clusters, &mut |cluster, host| {
        let spec = host.spec();
        // Tags of a fixed value come first.
        let (rest, labels) = tags::by_patterns(filter.config, "");
        let mut tagged = Tagged { rest, labels };
        tagged.label("envoy_cluster_name", cluster);
        tagged.label("envoy_endpoint_address", &called(host));
        if !spec.hostname.is_empty() {
            tagged.label("envoy_endpoint_hostname", &spec.hostname);
        }
        for (name, sample) in samples_of(host) {
            let (kind, n) = match sample {
                Sample::Counter(n, _) => (Type::Counter, n),
                Sample::Gauge(n, _) => (Type::Gauge, n),
                Sample::Histogram(_) | Sample::Text(_) => continue,
            };
            if filter.kind != Some(Kind::Hidden) && filter.finds_name(&full_name(cluster, host, name)) {
                series.push((kind, name, tagged.labels.clone(), n));
            }
        }
    });
    series.sort_by_key(|(kind, name, ..)| (*kind, *name));
    for family in series.chunk_by(|a, b| a.1 == b.1) {
        if let [(kind, name, ..), ..] = family {
            let lines = family.iter().map(|(.., labels, n)| (labels.clone(), *n));
            out.append(&format!("cluster.endpoint.{name}"), *kind, lines);
        }
    }
}
