//! Plug-ins for retries.

pub mod omit_canary_hosts;
pub mod omit_host_metadata;
pub mod previous_hosts;
pub mod previous_priorities;
