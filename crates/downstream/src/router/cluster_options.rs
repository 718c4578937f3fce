//! What a cluster says of the requests to it (`HttpProtocolOptions`), in the place of what their routes say.

use super::retry::RetryPolicy;
use super::upstream_filters;
use crate::filter::{AnyHttpFilterFactory, ChainConfig};
use crate::hcm::stream::Stream;
use crate::route::{ClusterAction, MirrorPolicy};
use nuncio_core::config::CompileContext;
use nuncio_core::hash_policy::HashPolicies;
use nuncio_core::registry::Table;
use nuncio_upstream::cluster::Cluster;
use nuncio_upstream::requests::{CompileRequests, RequestMessages, RequestOptions};
use nuncio_upstream::retry_plugin::RetryPlugins;
use std::sync::Arc;

/// Compiles it.
pub struct ClusterOptionsCompiler {
    /// HTTP filters by the full name of their configuration message.
    pub http_filters: Arc<Table<dyn AnyHttpFilterFactory>>,
    /// What may be plugged into retries.
    pub retry_plugins: Arc<RetryPlugins>,
}

/// The compiled fields.
struct ClusterOptions {
    retry: Option<Arc<RetryPolicy>>,
    hash: HashPolicies,
    mirrors: Arc<[MirrorPolicy]>,
    filters: Option<ChainConfig>,
}

impl CompileRequests for ClusterOptionsCompiler {
    fn compile(&self, messages: RequestMessages, cx: &CompileContext<'_>) -> Option<RequestOptions> {
        let RequestMessages { retry_policy, hash_policy, request_mirror_policies, http_filters } = messages;
        let retry = match retry_policy {
            None => None,
            Some(message) => {
                Some(RetryPolicy::compile(message, &cx.field("retry_policy"), &self.retry_plugins)?)
            }
        };
        let hash = HashPolicies::compile(hash_policy, cx);
        // Nobody asks whether they are there.
        let mirrors = MirrorPolicy::compile_list(request_mirror_policies, cx, &|_| false);
        let filters = upstream_filters::compile(http_filters, cx, "http_filters", &self.http_filters);
        Some(RequestOptions::new(ClusterOptions {
            retry,
            hash: hash?,
            mirrors: mirrors?.unwrap_or_default(),
            filters: filters?,
        }))
    }
}

fn options(cluster: &Cluster) -> Option<&ClusterOptions> {
    cluster.config().http.requests.as_ref()?.get()
}

/// The retry policy in force.
#[inline]
pub(super) fn retry<'a>(action: &'a ClusterAction, cluster: &'a Cluster) -> Option<&'a Arc<RetryPolicy>> {
    options(cluster).and_then(|own| own.retry.as_ref()).or(action.retry.as_ref())
}

/// The hash policies in force: the balancer's own, the cluster's, or the route's.
#[inline]
pub(super) fn hash_policies<'a>(action: &'a ClusterAction, cluster: &'a Cluster) -> &'a HashPolicies {
    if let Some(own) = &cluster.config().lb.hash_policy {
        return own;
    }
    options(cluster).map(|own| &own.hash).filter(|hash| !hash.is_empty()).unwrap_or(&action.hash)
}

/// The hash that an attempt is placed by, of the stream's request as it is now. Cookies that the client shall be given are
/// appended to `cookies`. `None` where nothing is found, or no pick asks for it.
#[inline(always)]
pub(super) fn hash<D>(
    stream: &Stream<D>,
    action: &ClusterAction,
    cluster: &Cluster,
    cookies: &mut Vec<Vec<u8>>,
) -> Option<u64> {
    if !cluster.picks_by_hash() {
        return None;
    }
    let policies = hash_policies(action, cluster);
    policies.hash(Some(&stream.heads.request), &stream.info, Some(cookies))
}

/// The mirror policies in force.
#[inline]
pub(super) fn mirrors<'a>(action: &'a ClusterAction, cluster: &'a Cluster) -> &'a [MirrorPolicy] {
    options(cluster).map(|own| &*own.mirrors).filter(|own| !own.is_empty()).unwrap_or(&action.mirrors)
}

/// The cluster's own filters of the upstream's side.
#[inline]
pub(super) fn filters(cluster: &Cluster) -> Option<&ChainConfig> {
    options(cluster)?.filters.as_ref()
}
