//! Tags that names give up for Prometheus: which part of a scope's prefix is a value, and whose.

use nuncio_core::stats::StatsConfig;
use std::fmt::Write;

/// A prefix without its values, and the values as labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tagged {
    /// What is left of the prefix.
    pub(super) rest: String,
    /// `name="value"` joined by commas, in Envoy's order.
    pub(super) labels: String,
}

impl Tagged {
    /// Adds a label behind the others.
    pub(super) fn label(&mut self, name: &str, value: &str) {
        let comma = if self.labels.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(self.labels, "{comma}{name}=\"{}\"", escape(value));
    }
}

/// Backslashes, quotes and line ends as Prometheus wants them.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Takes Envoy's default tags out of a scope's prefix (`cluster.NAME.`, `http.PREFIX.`, `listener.ADDRESS.`
/// and so on). A value ends at its first dot, unless it is an address.
pub(super) fn extract(prefix: &str) -> Tagged {
    let mut tagged = Tagged::default();
    let (kind, after) = prefix.split_once('.').unwrap_or((prefix, ""));
    match kind {
        "cluster" => cluster(&mut tagged, kind, after),
        "http" => one(&mut tagged, kind, after, "envoy_http_conn_manager_prefix"),
        "tcp" => one(&mut tagged, kind, after, "envoy_tcp_prefix"),
        "vhost" => vhost(&mut tagged, after),
        "listener" => listener(&mut tagged, after),
        "server" | "thread_local_cluster_manager" => thread(&mut tagged, kind, after),
        _ => tagged.rest = prefix.to_owned(),
    }
    tagged
}

/// Takes every tag that the configuration names out of a full name: what is left, and the labels.
pub(super) fn by_patterns(config: &StatsConfig, name: &str) -> (String, String) {
    let found = config.extract(name);
    let mut tagged = Tagged { rest: found.rest, labels: String::new() };
    for tag in &found.tags {
        let name: String =
            tag.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        tagged.label(&name, &tag.value);
    }
    (tagged.rest, tagged.labels)
}

fn one(tagged: &mut Tagged, kind: &str, after: &str, name: &str) {
    match after.split_once('.') {
        Some((value, rest)) => {
            tagged.label(name, value);
            tagged.rest = format!("{kind}.{rest}");
        }
        None => tagged.rest = format!("{kind}.{after}"),
    }
}

/// One of several health checks (`health_check.name.CHECK.`) has a name of its own.
fn cluster(tagged: &mut Tagged, kind: &str, after: &str) {
    const CHECK: &str = "health_check.name.";
    let below = after.split_once('.').and_then(|(name, rest)| Some((name, rest.strip_prefix(CHECK)?)));
    match below.and_then(|(name, rest)| Some((name, rest.split_once('.')?))) {
        Some((name, (check, rest))) => {
            tagged.label("envoy_health_check_name", check);
            one(tagged, kind, &format!("{name}.health_check.{rest}"), "envoy_cluster_name");
        }
        None => one(tagged, kind, after, "envoy_cluster_name"),
    }
}

fn thread(tagged: &mut Tagged, kind: &str, after: &str) {
    match after.strip_prefix("worker_").and_then(|r| r.split_once('.')) {
        Some((id, rest)) => {
            tagged.label("envoy_worker_id", id);
            tagged.rest = format!("{kind}.worker_{rest}");
        }
        None => tagged.rest = format!("{kind}.{after}"),
    }
}

fn vhost(tagged: &mut Tagged, after: &str) {
    let (host, mut rest) = after.split_once('.').unwrap_or((after, ""));
    let mut kept = String::from("vhost.");
    let mut below = |word: &str, rest: &mut &str| {
        let (value, after) = rest.strip_prefix(word)?.split_once('.')?;
        kept.push_str(word);
        *rest = after;
        Some(value.to_owned())
    };
    let cluster = below("vcluster.", &mut rest);
    let route = below("route.", &mut rest);
    if let Some(cluster) = cluster {
        tagged.label("envoy_virtual_cluster", &cluster);
    }
    tagged.label("envoy_virtual_host", host);
    if let Some(route) = route {
        tagged.label("envoy_route", &route);
    }
    tagged.rest = kept + rest;
}

fn listener(tagged: &mut Tagged, after: &str) {
    // The admin port's listener keeps its name.
    let own = !after.starts_with("admin.");
    let (address, mut rest) = if own { split_address(after) } else { ("", after) };
    let mut kept = String::from("listener.");
    if !own {
        kept.push_str("admin.");
        rest = rest.strip_prefix("admin.").unwrap_or(rest);
    }
    if let Some((id, below)) = rest.strip_prefix("worker_").and_then(|r| r.split_once('.')) {
        tagged.label("envoy_worker_id", id);
        kept.push_str("worker_");
        rest = below;
    }
    if let Some((value, below)) = rest.strip_prefix("http.").and_then(|r| r.split_once('.')) {
        tagged.label("envoy_http_conn_manager_prefix", value);
        kept.push_str("http.");
        rest = below;
    }
    if own {
        tagged.label("envoy_listener_address", address);
    }
    tagged.rest = kept + rest;
}

/// An IPv4 address and port (`127.0.0.1_80`) has dots of its own; anything else ends at the first.
fn split_address(text: &str) -> (&str, &str) {
    let ip = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let end = text.get(..ip).and_then(|head| {
        let port = head.find('_')?;
        let after = head.get(port + 1..)?.find('.')?;
        Some(port + 1 + after)
    });
    match end.or_else(|| text.find('.')) {
        Some(end) => (text.get(..end).unwrap_or(text), text.get(end + 1..).unwrap_or("")),
        None => (text, ""),
    }
}
