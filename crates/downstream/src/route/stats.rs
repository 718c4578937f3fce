//! What is counted apart from the cluster: for virtual clusters, and for routes with a `stat_prefix`.

use super::VirtualHost;
use nuncio_codec::head::HeaderMap;
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::HeaderMatcher;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use std::cell::RefCell;
use std::sync::Arc;

nuncio_core::stats_block! {
    /// `vhost.NAME.vcluster.NAME.` and `vhost.NAME.route.PREFIX.`: one worker's share.
    pub struct ApartStats {
        codes upstream_rq,
        counter upstream_rq_retry,
        counter upstream_rq_retry_limit_exceeded,
        counter upstream_rq_retry_overflow,
        counter upstream_rq_retry_success,
        histogram upstream_rq_time,
        counter upstream_rq_timeout,
        counter upstream_rq_total,
    }
}

/// The prefixes of a table's stats of this kind, by number, while it is compiled.
#[derive(Debug, Default)]
pub(super) struct StatPrefixes(RefCell<Vec<Box<str>>>);

impl StatPrefixes {
    /// The number of a prefix.
    pub(super) fn number(&self, prefix: String) -> u32 {
        let mut all = self.0.borrow_mut();
        all.push(prefix.into());
        all.len() as u32 - 1
    }

    pub(super) fn into_inner(self) -> Box<[Box<str>]> {
        self.0.into_inner().into()
    }
}

/// What a stream is counted for apart from its cluster, by number in the table's list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Apart {
    /// Its virtual cluster.
    pub virtual_cluster: Option<u32>,
    /// Its route.
    pub route: Option<u32>,
}

impl Apart {
    /// Whether it is counted for its cluster alone, as most are.
    #[inline]
    pub fn is_nobody(self) -> bool {
        self.virtual_cluster.is_none() && self.route.is_none()
    }
}

/// A virtual host's `virtual_clusters`.
#[derive(Debug, Default)]
pub(super) struct VirtualClusters {
    list: Box<[VirtualCluster]>,
    /// What none of them takes; there where the list is not empty.
    other: Option<u32>,
}

#[derive(Debug)]
struct VirtualCluster {
    name: Arc<str>,
    headers: Box<[HeaderMatcher]>,
    stats: u32,
}

impl VirtualClusters {
    /// The messages, compiled. `None`: refused, and the reasons are recorded in `cx`, the virtual host's.
    pub(super) fn compile(
        messages: Vec<pb::VirtualCluster>,
        host: &str,
        cx: &CompileContext<'_>,
        prefixes: &StatPrefixes,
    ) -> Option<Self> {
        let number = |name: &str| prefixes.number(format!("vhost.{host}.vcluster.{name}."));
        let one = |(i, message): (usize, pb::VirtualCluster)| {
            let pb::VirtualCluster { headers, name } = message;
            let cx = cx.item("virtual_clusters", i);
            if headers.is_empty() {
                cx.error("virtual clusters must define 'headers'");
                return None;
            }
            let compiled =
                headers.iter().enumerate().map(|(i, h)| HeaderMatcher::compile(h, &cx.item("headers", i)));
            let headers = compiled.collect::<Option<Box<[_]>>>()?;
            Some(VirtualCluster { stats: number(&name), name: name.into(), headers })
        };
        let list = messages.into_iter().enumerate().map(one).collect::<Option<Box<[_]>>>()?;
        let other = (!list.is_empty()).then(|| number("other"));
        Some(Self { list, other })
    }
}

impl VirtualHost {
    /// Whose stats a request is counted in, and its name for the log; `None` without virtual clusters.
    pub fn virtual_cluster(&self, headers: &HeaderMap) -> Option<(u32, Option<&Arc<str>>)> {
        let VirtualClusters { list, other } = &self.virtual_clusters;
        let taken = list.iter().find(|c| c.headers.iter().all(|h| h.matches(headers)));
        match taken {
            Some(cluster) => Some((cluster.stats, Some(&cluster.name))),
            None => other.map(|stats| (stats, None)),
        }
    }
}
