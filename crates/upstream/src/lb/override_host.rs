//! `override_host`: hosts that the request names itself, before any balancer is asked.

use super::layout::Layout;
use crate::cluster::Asking;
use crate::host::HostShared;
use nuncio_core::matcher::MetadataPath;
use prost_types::value::Kind;
use std::cell::Cell;
use std::sync::Arc;

/// `OverrideHost`; its fallback is the rest of the cluster's balancing.
#[derive(Clone, Debug)]
pub struct OverrideHost {
    /// `override_host_sources`
    pub sources: Box<[OverrideSource]>,
    /// `selected_host_key`: where the stream's metadata say which host was picked.
    pub selected: Option<MetadataPath>,
}

/// `OverrideHostSource`
#[derive(Clone, Debug)]
pub enum OverrideSource {
    /// A header of the request, in lower case; its first line counts.
    Header(Box<str>),
    /// A text in the stream's dynamic metadata.
    Metadata(MetadataPath),
}

/// The hosts that one request wants, in their order. Each is tried once: retries go on with those behind.
#[derive(Debug)]
pub struct WantedHosts {
    addresses: Vec<Box<str>>,
    next: Cell<usize>,
    /// The last pick came from here.
    gave: Cell<bool>,
}

impl OverrideHost {
    /// The addresses that all sources name, one behind the other.
    pub(crate) fn wanted(&self, asking: &Asking<'_>) -> WantedHosts {
        let texts = self.sources.iter().filter_map(|source| match source {
            OverrideSource::Header(name) => std::str::from_utf8(asking.request?.headers.get(&**name)?).ok(),
            OverrideSource::Metadata(path) => match path.find(asking.info?.dynamic_metadata())? {
                Kind::StringValue(text) => Some(text.as_str()),
                _ => None,
            },
        });
        let each = texts.flat_map(|text| text.split(',')).map(str::trim).filter(|one| !one.is_empty());
        WantedHosts { addresses: each.map(Box::from).collect(), next: Cell::new(0), gave: Cell::new(false) }
    }
}

impl WantedHosts {
    /// The next one that is a host of the cluster, whatever its health.
    pub(crate) fn next<'l>(&self, layout: &'l Layout) -> Option<&'l Arc<HostShared>> {
        let rest = self.addresses.get(self.next.get()..).unwrap_or_default();
        let found = rest.iter().enumerate().find_map(|(i, address)| Some((i, layout.host_at(address)?)));
        self.next.set(found.map_or(self.addresses.len(), |(i, _)| self.next.get() + i + 1));
        self.gave.set(found.is_some());
        found.map(|(_, host)| host)
    }

    /// Whether the last pick was one of them.
    pub fn gave(&self) -> bool {
        self.gave.get()
    }
}
