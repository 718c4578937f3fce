//! The TCP proxy: a connection's bytes go to a host of a cluster, and the host's bytes come back.

mod config;
mod early;
mod log;
mod pump;
mod reach;
mod session;
mod stats;
mod tlvs;
mod tunnel;

pub use config::{TcpProxyConfig, TcpProxyFactory};
pub use reach::CLUSTER_STATE;
pub use session::IDLE_STATE;
pub use stats::TcpProxyStats;

use self::log::SessionLog;
use crate::listener::Draining;
use crate::network::{NetworkFilter, NetworkFilterConfig};
use crate::world::World;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_net::stream::ByteStream;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// One worker's live TCP proxy.
pub struct TcpProxy {
    config: Arc<TcpProxyConfig>,
    world: Rc<World>,
    draining: Rc<Draining>,
    stats: Scope<TcpProxyStats>,
}

impl NetworkFilterConfig for TcpProxyConfig {
    fn start(self: Arc<Self>, world: &Rc<World>, draining: &Rc<Draining>) -> Rc<dyn NetworkFilter> {
        let stats = world.stats.scope(&self.stat_prefix);
        Rc::new(TcpProxy { config: self, world: Rc::clone(world), draining: Rc::clone(draining), stats })
    }
}

impl NetworkFilter for TcpProxy {
    fn serve(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(session::serve(self, io, connection))
    }

    fn turned_away(self: Rc<Self>, connection: &Rc<ConnectionInfo>, _: bool) {
        self.stats.downstream_cx_total.inc();
        drop(SessionLog::begin(&self, Rc::clone(connection)));
    }

    /// It looks for a host at once, unless its mode says otherwise.
    fn precedes_handshake(&self) -> bool {
        true
    }
}
