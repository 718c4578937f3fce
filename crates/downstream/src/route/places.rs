//! Where the fields of a route stand, for explanations.

use super::Route;
use nuncio_core::config::{CompileContext, Place};
use std::sync::Arc;

/// Fields of `RouteAction` and of `Route`, as explanations name them; below what they stand.
const FIELDS: [(&str, &str); 34] = [
    ("route", "cluster"),
    ("route", "cluster_header"),
    ("route", "weighted_clusters"),
    ("route", "cluster_specifier_plugin"),
    ("route", "inline_cluster_specifier_plugin"),
    ("route", "timeout"),
    ("route", "idle_timeout"),
    ("route", "flush_timeout"),
    ("route", "max_stream_duration"),
    ("route", "retry_policy"),
    ("route", "hedge_policy"),
    ("route", "hash_policy"),
    ("route", "request_mirror_policies"),
    ("route", "host_rewrite_literal"),
    ("route", "host_rewrite_header"),
    ("route", "host_rewrite_path_regex"),
    ("route", "host_rewrite"),
    ("route", "auto_host_rewrite"),
    ("route", "prefix_rewrite"),
    ("route", "regex_rewrite"),
    ("route", "path_rewrite_policy"),
    ("route", "path_rewrite"),
    ("route", "priority"),
    ("route", "metadata_match"),
    ("route", "rate_limits"),
    ("route", "internal_redirect_policy"),
    ("route", "upgrade_configs"),
    ("route", "early_data_policy"),
    ("", "redirect"),
    ("", "direct_response"),
    ("", "request_body_buffer_limit"),
    ("", "tracing"),
    ("", "decorator"),
    ("", "stat_prefix"),
];

/// Those of which a route has one.
const ACTIONS: [&str; 7] = [
    "cluster",
    "cluster_header",
    "weighted_clusters",
    "cluster_specifier_plugin",
    "inline_cluster_specifier_plugin",
    "redirect",
    "direct_response",
];

/// Fields that a virtual host says for all of its routes.
pub(super) const OF_HOST: &[&str] = &[
    "retry_policy",
    "hedge_policy",
    "request_mirror_policies",
    "request_body_buffer_limit",
    "require_tls",
    "rate_limits",
    "virtual_clusters",
];

/// The fields that are set, by their numbers in [`FIELDS`].
#[derive(Clone, Debug)]
pub(super) struct RoutePlaces(Arc<[(u8, Place)]>);

impl RoutePlaces {
    /// Those of the route at `cx`.
    pub(super) fn new(cx: &CompileContext<'_>) -> Self {
        let place =
            |path: &[&'static str]| cx.place_below(path.iter().copied().filter(|name| !name.is_empty()));
        let found = (0_u8..).zip(FIELDS).filter_map(|(number, (below, field))| {
            // What is not set stands where the message around it does.
            let at = place(&[below, field])?;
            (Some(at) != place(&[below])).then_some((number, at))
        });
        Self(found.collect())
    }

    /// Of a route that stands nowhere.
    pub(super) fn none() -> Self {
        Self(Arc::default())
    }

    fn get(&self, field: &str) -> Option<Place> {
        let number = FIELDS.iter().position(|(_, name)| *name == field)?;
        self.0.iter().find(|(own, _)| usize::from(*own) == number).map(|(_, place)| *place)
    }
}

impl Route {
    /// Where a field stands that holds for its requests: in the route, in its virtual host, or else the route itself.
    pub fn place_of(&self, field: &str) -> Option<Place> {
        let of_host =
            || self.virtual_host.places.has(field).then(|| self.virtual_host.places.spot(field).place)?;
        self.places.get(field).or_else(of_host).or(self.place)
    }

    /// Where what names its cluster stands, or what answers in one's stead.
    pub fn place_of_action(&self) -> Option<Place> {
        ACTIONS.iter().find_map(|field| self.places.get(field)).or(self.place)
    }
}
