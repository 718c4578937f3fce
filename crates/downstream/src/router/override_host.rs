//! A host that a filter has chosen before the balancer could.

use nuncio_core::stream_info::{FilterState, StreamInfo};
use nuncio_upstream::cluster::Cluster;
use nuncio_upstream::host::Host;
use std::any::Any;
use std::rc::Rc;

/// The filter state in which an [`OverrideHost`] is found.
pub const OVERRIDE_HOST: &str = "envoy.upstream.override_host";

/// The host that a request shall go to. Retries are free to go elsewhere.
#[derive(Debug)]
pub struct OverrideHost {
    /// Its address as logs print it.
    pub address: Box<str>,
    /// Nobody else may serve the request.
    pub strict: bool,
}

impl FilterState for OverrideHost {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        Some(self.address.to_string())
    }
}

/// What comes of such a choice.
pub(super) enum Chosen {
    /// There is none, or it leaves the choice to the balancer.
    Nobody,
    /// This host serves, or (`None`) nobody.
    Only(Option<Rc<Host>>),
}

/// Looks for a host that was chosen. One of another health than `override_host_status` lets it have does not count.
#[inline(always)]
pub(super) fn choose(info: &StreamInfo, cluster: &Cluster) -> Chosen {
    match info.filter_state(OVERRIDE_HOST) {
        None => Chosen::Nobody,
        Some(state) => find(&*state, cluster),
    }
}

#[cold]
fn find(state: &dyn FilterState, cluster: &Cluster) -> Chosen {
    let Some(OverrideHost { address, strict }) = state.as_any().downcast_ref() else { return Chosen::Nobody };
    let statuses = cluster.config().lb.session_statuses;
    let host = cluster.host_at(address).filter(|host| statuses.contain(host.shared().health_flags()));
    match host {
        None if !strict => Chosen::Nobody,
        None => {
            cluster.stats().upstream_cx_none_healthy.inc();
            Chosen::Only(None)
        }
        host => Chosen::Only(host),
    }
}

/// Has the stream's metadata say which host was picked (`selected_host_key`).
#[inline(always)]
pub(super) fn tell(info: &mut StreamInfo, cluster: &Cluster, host: &Host) {
    if let Some(path) = cluster.config().lb.override_host.as_ref().and_then(|o| o.selected.as_ref()) {
        let (namespace, fields) = path.holding(host.address().to_string());
        info.set_dynamic_metadata(namespace, fields);
    }
}
