//! `WeightedCluster`: which of several clusters a request goes to.

use super::Route;
use nuncio_codec::head::HeaderMap;
use std::sync::Arc;

/// The compiled choice: each cluster is a route of its own, its header changes and per-filter configuration
/// merged in.
#[derive(Debug)]
pub(super) struct WeightedClusters {
    /// With the end of its half-open interval.
    pub clusters: Box<[(u64, Arc<Route>)]>,
    /// Above 0.
    pub total: u64,
    /// `header_name`: its single decimal value replaces the random number.
    pub header: Option<Box<str>>,
}

impl WeightedClusters {
    /// The cluster in whose interval the value falls: the header's number where there is one, else `random`.
    pub(super) fn pick(&self, random: u64, headers: &HeaderMap) -> Option<&Arc<Route>> {
        let value = self.header.as_deref().and_then(|name| header_number(headers, name)).unwrap_or(random);
        let at = value.checked_rem(self.total)?;
        let first = self.clusters.partition_point(|(end, _)| *end <= at);
        self.clusters.get(first).map(|(_, route)| route)
    }

    /// Every route that can be picked.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.clusters.iter().map(|(_, route)| route)
    }
}

/// The number in `name`, if it stands there once.
fn header_number(headers: &HeaderMap, name: &str) -> Option<u64> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(value).ok()?.trim_ascii().parse().ok()
}
