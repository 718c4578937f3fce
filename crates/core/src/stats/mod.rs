//! Statistics: blocks of counters, gauges and histograms that one worker writes and the main thread reads.
//!
//! A block is a struct of atomics with a fixed place for each stat, declared by [`stats_block!`](crate::stats_block). Each worker
//! owns a block of its own per scope (a cluster, a listener, an HTTP connection manager), so that writing
//! is a plain load and store; [`Registry::visit`] sums the blocks of one scope when somebody asks.

mod block;
mod config;
mod registry;

pub use block::{
    Block, Counter, Def, Gauge, Histogram, Kind, ResponseCodes, Text, UNKNOWN_CODE, Value, WholeGauge,
};
pub use config::{StatsConfig, Tag, Tagged};
pub use registry::{LiveScope, Registry, Scope};

#[cfg(test)]
mod tests;
