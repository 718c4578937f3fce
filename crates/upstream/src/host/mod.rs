//! Hosts: what the balancer picks.

mod health;
mod live;
mod shared;
mod spec;

pub use health::{Health, HealthFlags, HealthStatuses};
pub use live::Host;
pub use nuncio_core::stream_info::Locality;
pub use shared::{HostShared, LB_NAMESPACE};
pub(crate) use spec::Addresses;
pub use spec::{HostSnapshot, HostSpec, LocalityHosts};
